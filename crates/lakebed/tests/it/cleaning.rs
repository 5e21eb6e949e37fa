//! Log cleanup: what is old goes, what is kept can be opened, and nothing rests on what is not
//! there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::executor::block_on;
use lakebed::{Append, CleanLog, CleanedLog, Code, Create, Env, Schema, Table, Version};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt};

use crate::between::{Between, Over};
use crate::help::{fresh, grown, ids, rows, rows_of, table};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A table of so many versions, those below `young` forty days old.
struct Aged {
    folder: tempfile::TempDir,
}

impl Aged {
    fn new(versions: i64, young: u64) -> Aged {
        let aged = Aged { folder: tempfile::tempdir().unwrap() };
        grown(aged.place(), versions);
        aged.age(young);
        aged
    }

    fn place(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("_delta_log")
    }

    fn age(&self, young: u64) {
        let then = SystemTime::now() - 40 * DAY;
        for name in self.names() {
            let version = name.get(..20).and_then(|it| it.parse::<u64>().ok());
            if version.is_some_and(|it| it < young) {
                set_time(&self.log().join(name), then);
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.log()).unwrap();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn table(&self) -> Table {
        table(self.place())
    }

    fn clean(&self) -> lakebed::Result<CleanedLog> {
        block_on(self.table().clean_log(CleanLog::new()))
    }

    fn has(&self, name: &str) -> bool {
        self.log().join(name).exists()
    }

    /// Every version from `first` on reads as it was made, and none below does.
    #[track_caller]
    fn check_versions(&self, first: u64, last: u64) {
        for version in first..=last {
            let then = block_on(self.table().snapshot_at(Version::new(version).unwrap())).unwrap();
            let expected: Vec<i64> = (0..=version.cast_signed()).collect();
            assert_eq!(rows(&then), expected, "version {version}");
        }
        if let Some(below) = first.checked_sub(1) {
            let below = block_on(self.table().snapshot_at(Version::new(below).unwrap()));
            assert_eq!(below.err().unwrap().code(), Code::VersionNotFound);
        }
    }
}

fn set_time(path: &Path, at: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

fn commit(version: u64) -> String {
    format!("{version:020}.json")
}

fn checkpoint(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// spec: CLEAN-1, CLEAN-5, CLEAN-9
#[test]
fn what_is_old_goes() {
    let aged = Aged::new(25, 15);
    let before = aged.names();
    let plan = block_on(aged.table().clean_log(CleanLog::new().dry_run(true))).unwrap();
    assert_eq!(aged.names(), before, "a dry run deletes nothing");
    assert_eq!((plan.oldest(), plan.base()), (Some(14u32.into()), Some(10u32.into())));
    let keys: Vec<&str> = plan.files().iter().map(|it| it.0.as_str()).collect();
    let expected: Vec<String> = (0..10).map(|it| format!("_delta_log/{}", commit(it))).collect();
    assert_eq!(keys[..10], expected);

    let done = aged.clean().unwrap();
    assert_eq!((done.files(), done.is_dry_run()), (plan.files(), false));
    let gone: Vec<&String> = before.iter().filter(|it| !aged.has(it)).collect();
    assert_eq!(gone.len(), plan.files().len());
    assert!(gone.iter().all(|it| it.as_str() < commit(10).as_str()), "{gone:?}");
    assert!(aged.has(&commit(10)) && aged.has(&checkpoint(10)));
    let marker = fs::read_to_string(aged.log().join("_lakebed_cleanup")).unwrap();
    assert_eq!(marker, r#"{"version":10}"#);
    aged.check_versions(10, 24);

    let again = aged.clean().unwrap();
    assert_eq!((again.base(), again.files().len()), (None, 0));
    // The table goes on.
    block_on(aged.table().append(ids([25]), Append::new())).unwrap();
    aged.check_versions(10, 25);
}

/// The marker of another cleaner that went further is left as it is.
///
/// spec: CLEAN-9
#[test]
fn the_marker_is_never_lowered() {
    let aged = Aged::new(25, 15);
    let marker = aged.log().join("_lakebed_cleanup");
    fs::write(&marker, r#"{"version":20}"#).unwrap();
    assert_eq!(aged.clean().unwrap().base(), Some(10u32.into()));
    assert_eq!(fs::read_to_string(&marker).unwrap(), r#"{"version":20}"#);
    fs::write(&marker, "what?").unwrap();
    aged.age(25);
    assert_eq!(aged.clean().unwrap_err().code(), Code::CorruptLog);
    aged.check_versions(10, 24);
}

/// A checkpoint that is cut short, or is another version's, holds nothing up: the next older one
/// does.
///
/// spec: CLEAN-2
#[test]
fn nothing_stands_on_a_broken_checkpoint() {
    for how in ["cut", "another", "missing"] {
        let aged = Aged::new(35, 25);
        let path = aged.log().join(checkpoint(20));
        let then = fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = fs::read(&path).unwrap();
        match how {
            "cut" => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            "another" => fs::copy(aged.log().join(checkpoint(30)), &path).map(|_| ()).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        if how != "missing" {
            set_time(&path, then);
        }
        let done = aged.clean().unwrap();
        assert_eq!((done.oldest(), done.base()), (Some(24u32.into()), Some(10u32.into())), "{how}");
        assert!(!aged.has(&commit(9)) && aged.has(&commit(11)), "{how}");
        let newest = block_on(aged.table().snapshot()).unwrap();
        assert_eq!(rows(&newest), (0..35).collect::<Vec<_>>(), "{how}");
    }
}

/// What a cleanup that was cut short left behind goes with the next one, late commits of old
/// versions included, however young they are.
///
/// spec: CLEAN-4, CLEAN-13
#[test]
fn leftovers_go() {
    let aged = Aged::new(25, 15);
    for version in [0, 1, 2, 5] {
        fs::remove_file(aged.log().join(commit(version))).unwrap();
    }
    aged.check_versions(10, 24);
    set_time(&aged.log().join(commit(3)), SystemTime::now());
    assert_eq!(aged.clean().unwrap().base(), Some(10u32.into()));
    assert!((0..10).all(|it| !aged.has(&commit(it))), "{:?}", aged.names());
    aged.check_versions(10, 24);
}

/// spec: CLEAN-4
#[test]
fn a_gap_stops_it() {
    let aged = Aged::new(25, 15);
    fs::remove_file(aged.log().join(commit(17))).unwrap();
    let before = aged.names();
    assert_eq!(aged.clean().unwrap().files(), []);
    assert_eq!(aged.names(), before);
}

/// spec: CLEAN-12
#[test]
fn commits_clean_up_by_the_way() {
    let aged = Aged::new(19, 15);
    let (table, op) = fresh(aged.place());
    block_on(table.append(ids([19]), Append::new())).unwrap();
    assert!(aged.has(&commit(0)), "no checkpoint was due");
    block_on(table.append(ids([20]), Append::new())).unwrap();
    assert!(!aged.has(&commit(0)) && aged.has(&commit(10)) && aged.has(&checkpoint(10)));
    aged.check_versions(10, 20);

    // Once it is known that nothing else can expire, nobody looks again.
    for id in 21..=40 {
        block_on(table.append(ids([id]), Append::new())).unwrap();
    }
    let lists = op.usage().lists;
    for id in 41..=50 {
        block_on(table.append(ids([id]), Append::new())).unwrap();
    }
    assert_eq!(op.usage().lists - lists, 10, "one an append, to see what is new");
    aged.check_versions(10, 50);
}

/// A cleanup that goes wrong is no fault of the commit.
///
/// spec: CLEAN-12
#[test]
fn commits_stand_whatever_becomes_of_cleanup() {
    let aged = Aged::new(20, 15);
    fs::write(aged.log().join("_lakebed_cleanup"), "what?").unwrap();
    let done = block_on(aged.table().append(ids([20]), Append::new())).unwrap();
    assert_eq!(done.version(), Version::from(20));
    assert!(aged.has(&commit(0)));
    aged.check_versions(0, 20);
}

/// spec: CLEAN-7, CLEAN-8
#[test]
fn tables_that_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let schema = || Schema::parse_ddl("id long").unwrap();
    let kept = Create::new(schema()).property("delta.enableExpiredLogCleanup", "false");
    block_on(table(place).create_here(kept)).unwrap();
    let error = block_on(table(place).clean_log(CleanLog::new())).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    for feature in ["telepathy", "checkpointProtection"] {
        let aged = Aged::new(25, 15);
        let protocol = format!(
            "{{\"protocol\":{{\"minReaderVersion\":1,\"minWriterVersion\":7,\
             \"writerFeatures\":[\"{feature}\"]}}}}\n"
        );
        fs::write(aged.log().join(commit(25)), protocol).unwrap();
        let before = aged.names();
        let error = aged.clean().unwrap_err();
        assert_eq!(error.code(), Code::UnsupportedProtocol, "{error}");
        assert_eq!(aged.names(), before);
    }
}

/// Sidecars that checkpoints share stay as long as one of them does; a young one may be about to be
/// named.
///
/// spec: CLEAN-6
#[test]
fn sidecars_that_nobody_names_go() {
    let aged = Aged { folder: tempfile::tempdir().unwrap() };
    let schema = Schema::parse_ddl("id long").unwrap();
    let create = Create::new(schema).property("delta.checkpointPolicy", "v2");
    block_on(aged.table().create_here(create)).unwrap();
    for id in 1..=10 {
        block_on(aged.table().append(ids([id]), Append::new())).unwrap();
    }
    block_on(aged.table().overwrite(ids(0..11), lakebed::Overwrite::all())).unwrap();
    for id in 12..=34 {
        block_on(aged.table().append(ids([id]), Append::new())).unwrap();
    }
    let folder = aged.log().join("_sidecars");
    let sidecars = || -> Vec<String> {
        let entries = fs::read_dir(&folder).unwrap();
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    };
    let named = |from: u64| -> Vec<String> {
        let tops = aged.names().into_iter().filter(|it| it.contains(".checkpoint."));
        let tops = tops.filter(|it| from <= it[..20].parse().unwrap());
        let read = |it: String| {
            let bytes = fs::read(aged.log().join(it)).unwrap();
            let top =
                lakebed_log::batch::LogBatch::from_json_checkpoint(&bytes, lakebed::Width::Head);
            top.unwrap().sidecars.into_iter().map(|it| it.path)
        };
        let mut named: Vec<String> = tops.flat_map(read).collect();
        named.sort();
        named.dedup();
        named
    };
    let (kept, all) = (named(20), named(0));
    assert!(kept.len() < all.len());
    aged.age(25);
    for name in sidecars() {
        set_time(&folder.join(name), SystemTime::now() - 40 * DAY);
    }
    fs::write(folder.join("being-written.parquet"), "PAR1").unwrap();
    let plan = block_on(aged.table().clean_log(CleanLog::new().dry_run(true))).unwrap();
    let done = aged.clean().unwrap();
    assert_eq!((done.base(), done.files()), (Some(20u32.into()), plan.files()));
    let mut left = sidecars();
    left.sort();
    let mut expected = kept;
    expected.push("being-written.parquet".to_string());
    expected.sort();
    assert_eq!(left, expected);
    for version in 20..=34u64 {
        let then = block_on(aged.table().snapshot_at(Version::new(version).unwrap())).unwrap();
        let expected: Vec<i64> = (0..11).chain(12..=version.cast_signed()).collect();
        assert_eq!(rows(&then), expected, "version {version}");
    }
}

/// Cleanup takes the first two versions, once it may, when the checkpoint of the second is read.
#[derive(Default)]
struct Cleaned(AtomicBool);

#[async_trait]
impl Between for Cleaned {
    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Key,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        if path.as_ref().ends_with(&checkpoint(1)) && self.0.load(Ordering::SeqCst) {
            for name in [commit(0), commit(1), checkpoint(1)] {
                inner.delete(&Key::from(format!("t/_delta_log/{name}"))).await?;
            }
        }
        inner.get_opts(path, options).await
    }
}

/// A version that is cleaned up while it is opened is not there any more: no file is missing.
#[test]
fn versions_that_go_while_they_are_opened() {
    let store = Over::new(Cleaned::default());
    let env = Env::tokio().with_store("cleaned://", Arc::clone(&store) as Arc<dyn ObjectStore>);
    let table = Table::open_with(&env, "cleaned://t").unwrap();
    block_on(async {
        for id in 0..4 {
            let made = table.append(ids([id]), Append::new()).await.unwrap().snapshot();
            if id % 2 == 1 {
                made.checkpoint().await.unwrap();
            }
        }
        assert_eq!(rows_of(&table.snapshot_at(Version::from(1)).await.unwrap()).await, [0, 1]);
        store.0.store(true, Ordering::SeqCst);
        let gone = table.snapshot_at(Version::from(1)).await.err().unwrap();
        assert_eq!(gone.code(), Code::VersionNotFound, "{gone:?}");
        assert_eq!(rows_of(&table.snapshot().await.unwrap()).await, [0, 1, 2, 3]);
    });
}
