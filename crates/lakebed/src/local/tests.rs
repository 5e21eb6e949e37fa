//! What only a disk has: links, pipes, folders, limits, what a crash or a kill leaves behind.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use futures::executor::block_on;
use futures::future::join;
use tempfile::TempDir;

use super::*;

struct Disk {
    folder: TempDir,
    store: Store,
}

impl Disk {
    /// A table's folder `t` beside a file `outside/secret`.
    fn new() -> Disk {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let root = folder.path().join("t");
        fs::create_dir_all(root.join("day=1")).unwrap();
        fs::write(root.join("day=1/data"), "data").unwrap();
        let store = Store::local(&Env::tokio(), &root, "t");
        Disk { folder, store }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("t").join(key)
    }

    fn get(&self, key: &str) -> String {
        match block_on(self.store.get(&Op::default(), key, 100)) {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(err) => err.code().as_str().to_string(),
        }
    }

    fn names(&self, key: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(key)).unwrap();
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn code<T>(result: Result<T>) -> &'static str {
    result.map_or_else(|it| it.code().as_str(), |_| "ok")
}

/// A link may lead about inside the table. One that leads out of it is neither read, written,
/// listed nor deleted through, whether it is the file or a folder above.
#[test]
fn links_stay_inside() {
    let disk = Disk::new();
    let link = |target: &str, key: &str| symlink(target, disk.path(key)).unwrap();
    link("data", "day=1/inside");
    link("day=1", "day=2");
    link("../outside", "day=3");
    link("../../outside/secret", "day=1/out");
    link("nowhere", "day=1/dangling");
    link("circle", "day=1/circle");
    link("../t2", "day=4");
    let absolute = disk.folder.path().join("outside");
    symlink(absolute, disk.path("day=5")).unwrap();
    // Begins like the table's folder, but is another.
    fs::create_dir_all(disk.folder.path().join("t2")).unwrap();
    fs::write(disk.folder.path().join("t2/secret"), "secret").unwrap();

    let rows = [
        ("day=1/inside", "data"),
        ("day=2/data", "data"),
        ("day=2/inside", "data"),
        ("day=1/out", "path-escape"),
        ("day=2/out", "path-escape"),
        ("day=3/secret", "path-escape"),
        ("day=4/secret", "path-escape"),
        ("day=5/secret", "path-escape"),
        ("day=1/dangling", "file-not-found"),
        ("day=1/circle", "file-not-found"),
    ];
    for _ in 0..2 {
        for (key, expected) in rows {
            assert_eq!(disk.get(key), expected, "{key}");
        }
    }
    let op = Op::default();
    let store = &disk.store;
    for folder in ["day=3", "day=4", "day=5"] {
        let key = format!("{folder}/secret");
        let codes = [
            code(block_on(store.get_range(&op, &key, 0..1))),
            code(block_on(store.head(&op, &key))),
            code(block_on(store.delete(&op, &key))),
            code(block_on(store.put(&op, &key, "x".into()))),
            code(block_on(store.put_new(&op, &key, "x".into()))),
            code(block_on(store.put_if_absent(&op, &key, "x".into()))),
            code(block_on(store.list(&op, &format!("{folder}/"), None))),
            code(block_on(async { store.create(&op, &key).await?.finish().await })),
        ];
        assert_eq!(codes, ["path-escape"; 8], "{folder}");
    }
    assert_eq!(code(block_on(store.head(&op, "day=1/out"))), "path-escape");
    // The link is ours to delete, what it leads to is not.
    assert_eq!(code(block_on(store.delete(&op, "day=1/out"))), "ok");
    let secret = disk.folder.path().join("outside/secret");
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
}

/// A table that is itself reached through a link is as good as any.
#[test]
fn the_table_may_be_a_link() {
    let disk = Disk::new();
    let link = disk.folder.path().join("link");
    symlink(disk.path(""), &link).unwrap();
    symlink("data", disk.path("day=1/inside")).unwrap();
    let store = Store::local(&Env::tokio(), &link, "link");
    let got = block_on(store.get(&Op::default(), "day=1/inside", 10)).unwrap();
    assert_eq!(got, "data");
}

/// Folders and pipes are no files, and nobody waits for a pipe.
#[test]
fn only_regular_files() {
    let disk = Disk::new();
    let pipe = disk.path("day=1/pipe");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    for key in ["day=1", "day=1/pipe", "day=1/data/x"] {
        assert_eq!(disk.get(key), "file-not-found", "{key}");
        let head = block_on(disk.store.head(&Op::default(), key));
        assert_eq!(code(head), "file-not-found", "{key}");
    }
    let listed = block_on(disk.store.list(&Op::default(), "day=1/", None)).unwrap();
    assert_eq!(listed.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["day=1/data"]);
}

/// Listings leave out temporary files, other people's names that are no text, and folders; dangling
/// links are not there.
#[test]
fn listings_leave_out() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let disk = Disk::new();
    fs::write(disk.path("day=1/.x.json.abc.tmp"), "").unwrap();
    fs::write(disk.path("day=1").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    symlink("nowhere", disk.path("day=1/dangling")).unwrap();
    fs::create_dir(disk.path("day=1/sub")).unwrap();
    let listed = block_on(disk.store.list(&Op::default(), "day=1/", None)).unwrap();
    assert_eq!(listed.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["day=1/data"]);
}

/// A name that the file system cannot have is not there, and cannot be made.
#[test]
fn long_names() {
    let disk = Disk::new();
    let name = "x".repeat(300);
    assert_eq!(disk.get(&name), "file-not-found");
    let put = block_on(disk.store.put_if_absent(&Op::default(), &name, Bytes::new()));
    assert_eq!(code(put), "invalid-argument");
    assert_eq!(code(block_on(disk.store.delete(&Op::default(), &name))), "ok");
}

/// The errors of the operating system that callers act on.
#[test]
fn errors_of_the_system() {
    use std::io::ErrorKind as E;
    let rows = [
        (E::NotFound, "file-not-found", "unavailable"),
        (E::NotADirectory, "file-not-found", "invalid-path"),
        (E::InvalidFilename, "file-not-found", "invalid-argument"),
        (E::PermissionDenied, "permission", "permission"),
        (E::ReadOnlyFilesystem, "permission", "permission"),
        (E::StorageFull, "no-space", "no-space"),
        (E::QuotaExceeded, "no-space", "no-space"),
        (E::FileTooLarge, "no-space", "no-space"),
        (E::TimedOut, "unavailable", "unavailable"),
        (E::Other, "unavailable", "unavailable"),
    ];
    for (kind, read, write) in rows {
        assert_eq!(reading(kind.into()).code().as_str(), read, "{kind}");
        assert_eq!(writing(kind.into()).code().as_str(), write, "{kind}");
    }
}

/// A write that fails halfway leaves nothing, under whatever name.
#[test]
fn failed_writes_leave_nothing() {
    let disk = Disk::new();
    let op = Op::default();
    // A folder stands where the object should be: the last step fails, whichever it is.
    fs::create_dir_all(disk.path("_delta_log/x")).unwrap();
    assert_eq!(code(block_on(disk.store.put(&op, "_delta_log/x", "y".into()))), "invalid-path");
    assert_eq!(disk.names("_delta_log"), ["x"]);
    assert!(!block_on(disk.store.put_new(&op, "_delta_log/x", "y".into())).unwrap());
    let put = block_on(disk.store.put_if_absent(&op, "_delta_log/x", "y".into())).unwrap();
    assert!(matches!(put, Put::Exists));
    assert_eq!(disk.names("_delta_log"), ["x"]);
    // A file stands where a folder should be.
    let put = block_on(disk.store.put_if_absent(&op, "day=1/data/x", "y".into()));
    assert_eq!(code(put), "invalid-path");
    assert_eq!(disk.names("day=1"), ["data"]);
}

/// Names in the log are shared: an upload shows its file whole, and the second loses.
#[test]
fn uploads_to_the_log() {
    let disk = Disk::new();
    let (op, key) = (Op::default(), "_delta_log/1.checkpoint.parquet");
    let start = || async {
        let mut upload = disk.store.create(&op, key).await?;
        upload.write(vec![b'x'; 2 << 20].into()).await?;
        Ok::<_, Error>(upload)
    };
    let (first, second) = (block_on(start()).unwrap(), block_on(start()).unwrap());
    assert_eq!(disk.get(key), "file-not-found");
    assert_eq!(block_on(first.finish()).unwrap(), 2 << 20);
    assert_eq!(code(block_on(second.finish())), "conflict");
    assert_eq!(block_on(disk.store.head(&op, key)).unwrap().size, 2 << 20);
    block_on(Env::tokio().sleep(std::time::Duration::from_millis(100)));
    assert_eq!(disk.names("_delta_log"), ["1.checkpoint.parquet"]);
}

/// A data file never replaces one that is there, nor removes it when it fails.
#[test]
fn uploads_do_not_replace() {
    let disk = Disk::new();
    let mut upload = block_on(disk.store.create(&Op::default(), "day=1/data")).unwrap();
    block_on(upload.write("other".into())).unwrap();
    assert_eq!(code(block_on(upload.finish())), "conflict");
    block_on(Env::tokio().sleep(std::time::Duration::from_millis(100)));
    assert_eq!(disk.get("day=1/data"), "data");
}

/// Folders that we made are noted until they are synced into their parent, and no longer.
#[test]
fn new_folders_are_synced_once() {
    let folder = TempDir::new().unwrap();
    let root = Root::new(&folder.path().join("a/b"), true);
    let put = |key: &str| root.put_if_absent(key, b"x", "id", None).unwrap();

    root.put("c/hint", b"x", "id").unwrap();
    let made = ["a", "a/b", "a/b/c"].map(|it| folder.path().join(it));
    assert_eq!(unsynced(&root), made);
    assert!(matches!(put("c/1"), Put::Created(_)));
    assert!(unsynced(&root).is_empty());
    assert!(matches!(put("c/2"), Put::Created(_)));
    assert!(matches!(put("d/e/f/1"), Put::Created(_)));
    assert!(unsynced(&root).is_empty());
}

fn unsynced(root: &Root) -> Vec<PathBuf> {
    let folders = root.folders();
    let unsynced = folders.named.iter().filter(|it| !it.1);
    unsynced.map(|it| it.0.clone()).collect()
}

/// What this thread has synced since it was last asked, below a folder.
fn synced(folder: &Path) -> Vec<String> {
    let all = platform::SYNCED.take();
    let short = |it: PathBuf| it.strip_prefix(folder).unwrap().to_str().unwrap().to_string();
    all.into_iter().map(short).collect()
}

/// Who made a folder may die before syncing it into the one above. Each handle sees to that by
/// itself before it commits what lies below, once; its later commits sync what they must alone.
///
/// spec: STORE-12
#[test]
fn folders_of_others_are_synced_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/t");
    let other = Root::new(&path, true);
    other.put("_delta_log/_last_checkpoint", b"x", "id").unwrap();
    other.create_new(&path.join("day=1/b=2/other")).unwrap();

    let commit = |root: &Root, version: u64, data: &str| {
        root.create_new(&path.join(data)).unwrap();
        root.note(&path.join(data));
        let key = format!("_delta_log/{version:020}.json");
        assert!(matches!(root.put_if_absent(&key, b"x", "id", None).unwrap(), Put::Created(_)));
        synced(folder.path())
    };
    let root = Root::new(&path, true);
    let data = ["a/t/day=1/b=2", "a/t/day=1", "a/t", "a"];
    let log = ["a/t/_delta_log", "a/t"];
    assert_eq!(commit(&root, 0, "day=1/b=2/data"), [&data[..], &log].concat());
    for version in 1..4 {
        let data = format!("day=1/b=2/data{version}");
        assert_eq!(commit(&root, version, &data), ["a/t/day=1/b=2", "a/t/_delta_log"]);
    }
    assert_eq!(commit(&root, 4, "data"), ["a/t", "a/t/_delta_log"]);

    // What is not synced may be lost by whoever finds it there as well.
    let third = Root::new(&path, true);
    third.sync("_delta_log/00000000000000000000.json").unwrap();
    assert_eq!(synced(folder.path()), ["a/t/_delta_log", "a/t", "a"]);
    let loose = Root::new(&path, false);
    assert_eq!(commit(&loose, 5, "day=1/data"), [""; 0]);
}

/// A folder that was removed by hand is made again, and its name made durable again.
#[test]
fn folders_that_were_removed_are_made_again() {
    let above = TempDir::new().unwrap();
    let folder = above.path().join("t");
    let root = Root::new(&folder, true);
    let upload = |name: &str| {
        let path = folder.join(name);
        root.create_new(&path).unwrap();
        root.note(&path);
    };
    upload("day=1/a");
    root.settle().unwrap();
    upload("day=1/b");
    fs::remove_dir_all(folder.join("day=1")).unwrap();
    upload("day=2/c");
    assert_eq!(root.folders().vanished, 0);
    assert!(root.settle().is_err(), "somebody's file is gone");
    assert_eq!(root.folders().vanished, 1);
    root.settle().unwrap();
    synced(above.path());

    upload("day=1/d");
    root.settle().unwrap();
    assert_eq!(synced(above.path()), ["t/day=1", "t"]);
    assert!(unsynced(&root).is_empty());
}

/// Many threads that make the same folders at once get in nobody's way.
#[test]
fn folders_are_made_together() {
    let folder = TempDir::new().unwrap();
    for round in 0..20 {
        let path = folder.path().join(round.to_string());
        let root = Arc::new(Root::new(&path, true));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let root = &root;
                scope.spawn(move || {
                    let key = format!("a/b/{}/{thread}", thread % 2);
                    let put = root.put_if_absent(&key, b"x", &thread.to_string(), None).unwrap();
                    assert!(matches!(put, Put::Created(_)));
                });
            }
        });
        assert!(unsynced(&root).is_empty());
    }
}

#[test]
fn times_before_the_epoch() {
    use std::time::Duration;
    let millis = |it: SystemTime| timestamp(it).as_millis();
    assert_eq!(millis(UNIX_EPOCH + Duration::from_micros(1999)), 1);
    assert_eq!(millis(UNIX_EPOCH - Duration::from_micros(1999)), -2);
}

/// Names of data files are made durable by the next commit, by whoever settles, or never; one sync
/// does for all of a folder.
#[test]
fn names_are_settled_together() {
    let disk = Disk::new();
    let root = Root::new(&disk.path(""), true);
    for key in ["day=1/a", "day=1/b", "day=2/c"] {
        root.create_new(&disk.path(key)).unwrap();
        root.note(&disk.path(key));
    }
    let folders: Vec<_> = root.folders().noted.iter().cloned().collect();
    assert_eq!(folders, [disk.path("day=1"), disk.path("day=2")]);
    assert!(!root.folders().noted.is_empty());
    let key = "_delta_log/00000000000000000000.json";
    assert!(matches!(root.put_if_absent(key, b"x", "id", None).unwrap(), Put::Created(_)));
    assert!(root.folders().noted.is_empty());

    // Begun beforehand, it is left to who is about to; else it is done.
    root.note(&disk.path("day=1/a"));
    let settling = root.settling.lock().unwrap();
    root.begin_to_settle().unwrap();
    assert!(!root.folders().noted.is_empty());
    drop(settling);
    root.begin_to_settle().unwrap();
    assert!(root.folders().noted.is_empty());

    // Where a folder cannot be synced the commit is not there.
    root.note(&disk.path("nowhere/a"));
    let next = "_delta_log/00000000000000000001.json";
    assert!(root.put_if_absent(next, b"x", "id", None).is_err());
    assert_eq!(disk.get(next), "file-not-found");

    let loose = Root::new(&disk.path(""), false);
    loose.note(&disk.path("day=1/a"));
    assert!(loose.folders().noted.is_empty());
    assert!(matches!(loose.put_if_absent(next, b"x", "id", None).unwrap(), Put::Created(_)));
}

/// A sync that has failed is not made good by one that succeeds: the system tells of a loss once.
#[cfg(target_os = "linux")]
#[test]
fn names_that_may_be_lost() {
    let disk = Disk::new();
    let root = Root::new(&disk.path(""), true);
    // There is nothing to sync here, and the system says so.
    root.note(std::path::Path::new("/proc/a"));
    assert!(root.settle().is_err());
    root.folders().noted.clear();
    let key = "_delta_log/00000000000000000000.json";
    let error = root.put_if_absent(key, b"x", "id", None).unwrap_err();
    assert!(error.to_string().contains("open the table anew"), "{error}");
    assert_eq!(disk.get(key), "file-not-found");
    fs::write(disk.path("a"), b"x").unwrap();
    assert!(root.sync("a").is_err(), "nor does it say so of what is there");
}

/// What the system had no file or memory left to open was not synced, and nothing was lost by it:
/// it is not told as durable, and a later try makes it so. A disk that fails is another matter.
///
/// spec: STORE-15
#[test]
fn names_that_are_not_durable_yet() {
    use rustix::io::Errno;
    let fails = |err: Option<Errno>| platform::FAILS_TO_OPEN.set(err.map(Errno::raw_os_error));
    for short in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        let above = TempDir::new().unwrap();
        let path = above.path().join("t");
        let root = Root::new(&path, true);
        let key = |version: u64| format!("_delta_log/{version:020}.json");
        let there = |version: u64| path.join(key(version)).exists();
        root.create_new(&path.join("day=1/data")).unwrap();
        root.note(&path.join("day=1/data"));
        let before = unsynced(&root);

        // Of the data files: then there is no commit.
        fails(Some(short));
        for _ in 0..2 {
            let put = root.put_if_absent(&key(0), b"x", "id", Some(0));
            assert_eq!(put.unwrap_err().code(), Code::Unavailable, "{short}");
            assert!(root.begin_to_settle().is_err());
        }
        assert!(!there(0) && before.iter().all(|it| unsynced(&root).contains(it)));
        fails(None);
        synced(above.path());
        let put = root.put_if_absent(&key(0), b"x", "id", Some(0)).unwrap();
        assert!(matches!(put, Put::Created(_)));
        let names = ["t/day=1", "t", "", "t/_delta_log", "t"];
        assert_eq!(synced(above.path()), names, "{short}");

        // Of the commit: then it is there, and is not told.
        let aside = root.aside(&key(1), b"x", "id").unwrap().unwrap();
        fails(Some(short));
        assert!(matches!(root.show(&key(1), aside).unwrap(), Put::Unknown(_)), "{short}");
        assert!(there(1) && root.sync(&key(1)).is_err());
        fails(None);
        synced(above.path());
        root.sync(&key(1)).unwrap();
        assert_eq!(synced(above.path()), ["t/_delta_log"], "{short}");

        fails(Some(Errno::IO));
        assert!(root.sync(&key(1)).is_err());
        fails(None);
        let error = root.sync(&key(1)).unwrap_err();
        assert!(error.to_string().contains("open the table anew"), "{error}");
    }
}

/// The contents of small files are made durable with the names. A file for which that fails is
/// removed, and a commit that had looked for its files before does not get its name.
#[cfg(target_os = "linux")]
#[test]
fn contents_that_are_lost() {
    let disk = Disk::new();
    let root = Root::new(&disk.path(""), true);
    let note = |key: &str, lost: bool| {
        let file = root.create_new(&disk.path(key)).unwrap();
        // There is nothing to sync here, and the system says so.
        let file = if lost { fs::File::open("/dev/null").unwrap() } else { file };
        root.note_written(&disk.path(key), file).unwrap();
    };
    let seen = |root: &Root| Some(root.folders().vanished);
    let key = "_delta_log/00000000000000000000.json";
    for begun in [false, true] {
        let before = seen(&root);
        note("day=1/good", false);
        note("day=1/lost", true);
        if begun {
            // Whoever began hears of it, and perhaps nobody listens.
            assert!(root.begin_to_settle().is_err());
        }
        let put = root.put_if_absent(key, b"x", "id", before);
        assert_eq!(put.unwrap_err().code(), Code::Unavailable, "{begun}");
        assert_eq!(disk.get(key), "file-not-found");
        assert_eq!(disk.get("day=1/lost"), "file-not-found");
        assert!(disk.path("day=1/good").exists());
        root.delete("day=1/good").unwrap();
        root.settle().unwrap();
    }
    assert!(matches!(root.put_if_absent(key, b"x", "id", seen(&root)).unwrap(), Put::Created(_)));

    let loose = Root::new(&disk.path(""), false);
    let null = fs::File::open("/dev/null").unwrap();
    assert!(loose.note_written(&disk.path("d"), null).is_none());
    loose.settle().unwrap();
}

/// Of a small file the caller hears before it is durable, and a commit then waits for it; what was
/// given up is waited for by nobody.
#[test]
fn uploads_are_settled() {
    let disk = Disk::new();
    let root = Arc::new(Root::new(&disk.path(""), true));
    let op = Op::default();
    let upload = |key: &str, bytes: usize| {
        let upload = upload::LocalUpload::new(&Env::tokio(), &op, &root, key);
        let mut upload: Box<dyn Upload> = Box::new(upload);
        block_on(upload.write(vec![1; bytes].into())).unwrap();
        upload
    };
    for (key, bytes) in [("day=1/small", 10), ("day=1/large", 3 << 20)] {
        assert_eq!(block_on(upload(key, bytes).finish()).unwrap(), bytes as u64);
        assert!(!root.folders().noted.is_empty(), "{key}");
        root.settle().unwrap();
        let folders = root.folders();
        assert!(folders.noted.is_empty() && folders.written.is_empty(), "{key}");
    }
    block_on(upload("day=1/small", 10).finish()).unwrap_err();
    block_on(upload("day=1/none", 10).abort());
    assert!(root.folders().written.is_empty());
    root.settle().unwrap();
}

/// Through the store: an upload is named by a commit, and a commit that loses leaves no file.
#[test]
fn uploads_and_commits() {
    let disk = Disk::new();
    let op = Op::default();
    let upload = |key: &str| {
        let mut upload = block_on(disk.store.create(&op, key)).unwrap();
        block_on(upload.write("rows".into())).unwrap();
        block_on(upload.finish()).unwrap()
    };
    assert_eq!(upload("day=1/new"), 4);
    let key = "_delta_log/00000000000000000000.json";
    for expected in [true, false] {
        upload(if expected { "day=1/one" } else { "day=1/two" });
        let put = block_on(disk.store.put_if_absent(&op, key, "x".into())).unwrap();
        assert_eq!(matches!(put, Put::Created(_)), expected);
    }
    assert_eq!(disk.names("_delta_log"), ["00000000000000000000.json"]);
    upload("day=1/three");
    block_on(disk.store.settle()).unwrap();
}

/// Temporary files of writers that are no more go with a commit of somebody who has listed them;
/// young ones, those of others, and one that somebody has written anew by then stay.
#[test]
fn what_killed_writers_leave_is_swept() {
    use std::time::Duration;
    let disk = Disk::new();
    fs::create_dir_all(disk.path("_delta_log")).unwrap();
    let make = |key: &str, age: Duration| {
        let file = fs::File::create(disk.path(key)).unwrap();
        let now = UNIX_EPOCH + since_epoch(Env::tokio().now());
        file.set_modified(now - age).unwrap();
    };
    let (old, young) = (writes::TEMPORARY_AGE * 2, writes::TEMPORARY_AGE / 2);
    make("_delta_log/.1.json.abc.tmp", old);
    make("_delta_log/.2.json.def.tmp", young);
    make("_delta_log/.again.tmp", old);
    make("_delta_log/.profile", old);
    make("day=1/.x.tmp", old);
    let op = Op::default();
    let commit = |version: u64| {
        let key = format!("_delta_log/{version:020}.json");
        drop(block_on(disk.store.put_if_absent(&op, &key, "x".into())).unwrap());
    };
    commit(0);
    assert_eq!(disk.names("_delta_log").len(), 5);
    block_on(disk.store.list(&op, "_delta_log/", None)).unwrap();
    block_on(disk.store.list(&op, "day=1/", None)).unwrap();
    assert_eq!(disk.names("_delta_log").len(), 5, "looking deletes nothing");
    make("_delta_log/.again.tmp", Duration::ZERO);
    commit(1);
    let mut names = disk.names("_delta_log");
    names.sort();
    let left = [".2.json.def.tmp", ".again.tmp", ".profile"].map(str::to_string);
    assert_eq!(names[..3], left);
    assert_eq!(names.len(), 5);
    assert!(disk.names("day=1").contains(&".x.tmp".to_string()));
}

/// One file at a time has the usual name before its own, another one that is written meanwhile a
/// name of its own, and so has one that finds the usual name taken by what somebody left. The name
/// is one process's: a forked one has all of its memory.
#[test]
fn one_file_at_a_time_has_the_usual_name() {
    let disk = Disk::new();
    let root = Root::new(&disk.path(""), true);
    let key = |version: u64| format!("_delta_log/{version:020}.json");
    let aside = |version: u64, text: &str, id: &str| {
        let aside = root.aside(&key(version), text.as_bytes(), id).unwrap().unwrap();
        let name = aside.path.file_name().unwrap().to_str().unwrap().to_string();
        (aside, name)
    };
    let show = |version: u64, aside| {
        assert!(matches!(root.show(&key(version), aside).unwrap(), Put::Created(_)));
    };
    let usual = format!(".a.{}.tmp", std::process::id());
    let (first, name) = aside(0, "first", "a");
    assert_eq!(name, usual);
    let (other, name) = aside(0, "other", "b");
    assert_eq!(name, format!(".{:020}.json.b.tmp", 0));
    // Swept under whoever has it, it is nobody else's either.
    fs::remove_file(&first.path).unwrap();
    let (third, name) = aside(0, "third", "c");
    assert_eq!(name, format!(".{:020}.json.c.tmp", 0));
    assert!(root.show(&key(0), first).is_err());
    show(0, other);
    assert!(matches!(root.show(&key(0), third).unwrap(), Put::Exists));
    assert_eq!(disk.get(&key(0)), "other");

    let (next, name) = aside(1, "next", "d");
    assert_eq!(name, usual);
    show(1, next);
    fs::write(disk.path("_delta_log").join(&usual), "left").unwrap();
    let (last, name) = aside(2, "last", "e");
    assert_eq!(name, format!(".{:020}.json.e.tmp", 2));
    show(2, last);
    assert_eq!((disk.get(&key(1)), disk.get(&key(2))), ("next".into(), "last".into()));
    assert_eq!(disk.names("_delta_log").len(), 4);
}

/// A turn is one process's, by whatever handles the others ask; it ends with what holds it, or as
/// soon as its commit has a name; and whoever gets none in time goes on without.
#[test]
fn turns_to_commit() {
    let disk = Disk::new();
    let other = Store::local(&Env::tokio(), &disk.path(""), "t");
    let patience = Duration::from_secs(100);
    assert!(block_on(other.turn(patience)).is_none(), "there is no log to lock");
    fs::create_dir_all(disk.path("_delta_log")).unwrap();

    let ours = block_on(disk.store.turn(patience)).unwrap();
    let impatient = Duration::from_millis(20);
    assert!(block_on(other.turn(impatient)).is_none());
    // A thread still stands in line; the next one does not wait behind it.
    assert!(block_on(other.turn(patience)).is_none());
    drop(ours);
    // That thread gets the turn, finds nobody and lets go of it: then there is one again.
    let theirs = loop {
        if let Some(it) = block_on(other.turn(patience)) {
            break it;
        }
    };

    let op = Op::default();
    let waiting = async {
        let named = async {
            let key = "_delta_log/00000000000000000000.json";
            let put = other.put_if_absent(&op, key, "x".into()).await.unwrap();
            assert!(matches!(put, Put::Created(_)));
        };
        join(disk.store.turn(patience), named).await.0
    };
    assert!(block_on(waiting).is_some(), "the commit has a name");
    drop(theirs);
}

/// A process that is killed in its turn holds nobody up: whoever stands in line is next.
#[test]
fn a_killed_process_ends_its_turn() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    const TABLE: &str = "LAKEBED_TEST_TURN";
    let patience = Duration::from_secs(100);
    if let Some(table) = std::env::var_os(TABLE) {
        // The one that is killed.
        let store = Store::local(&Env::tokio(), Path::new(&table), "t");
        let _turn = block_on(store.turn(patience)).unwrap();
        println!("\nmine");
        block_on(std::future::pending::<()>());
    }
    let disk = Disk::new();
    fs::create_dir_all(disk.path("_delta_log")).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "local::tests::a_killed_process_ends_its_turn"])
        .env(TABLE, disk.path(""))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(said.any(|it| it.unwrap() == "mine"));
    let killed = async {
        Env::tokio().sleep(Duration::from_millis(50)).await;
        other.kill().unwrap();
        other.wait().unwrap();
    };
    let (turn, ()) = block_on(join(disk.store.turn(patience), killed));
    let turn = turn.expect("it is ours now");
    let impatient = Store::local(&Env::tokio(), &disk.path(""), "t");
    assert!(block_on(impatient.turn(Duration::from_millis(20))).is_none());
    drop(turn);
}
