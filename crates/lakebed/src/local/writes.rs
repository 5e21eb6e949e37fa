//! What is written: whole or not at all, and durable where it must be.
//!
//! A name is durable when its folder is synced, and one sync does for all names of a folder. So a
//! data file, whose name nobody reads before the commit, only notes its folder, and what is noted
//! is synced before the commit has its name. That is begun as soon as the data files are there, and
//! goes on beside what the commit does until then. So do the contents of a small file; those of a
//! large one are synced before it is finished, beside the next one that is written.
//!
//! ```text
//!   data files   write each, note it, its folder --> fsync each, fsync the folders --+
//!   commit       wait for a turn, write .id.tmp, fsync it ---------------------------+-->
//!                link x, unlink .id.tmp, fsync the log's folder
//! ```
//!
//! `link` is the one step that creates if absent and shows the file whole. `rename` would replace:
//! also where it is told not to, on file systems that do not listen. `O_EXCL` would show it empty.
//!
//! A handle gives the same name to one file after the other before they have their own. Names lie
//! about a large folder as they hash, and each place that has changed is synced with the commit:
//! this one is the same place every time.
//!
//! A folder has a name, too. It is synced into the one above before the first file in it is
//! acknowledged, whoever made it: another process may have done so just now, and died before its
//! own sync. Each handle sees to that once a folder, as far up as the table's own, and farther
//! where it made what is above.
//!
//! A writer that is killed leaves its temporary file behind. Listings see those; the next commit
//! removes the ones that are so old that nobody can still be at work on them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::{CheckpointName, LOG_DIR, LogPath};
use lakebed_log::version::Version;

use super::platform::{etag, has_two_names, is_short, open_folder, open_to_sync};
use super::{FOLDERS_MAX, Root, is_missing, writing};
use crate::store::Put;

/// A temporary file that is older than this belongs to nobody any more.
pub(super) const TEMPORARY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Most old temporary files that one commit removes.
const SWEPT_MAX: usize = 100;

impl Root {
    /// `seen` is how many files and folders had vanished when somebody last looked for all those
    /// that the commit names.
    pub(super) fn put_if_absent(
        &self,
        key: &str,
        bytes: &[u8],
        id: &str,
        seen: Option<u64>,
    ) -> Result<Put> {
        let Some(aside) = self.aside(key, bytes, id)? else { return Ok(Put::Exists) };
        self.settle()?;
        // Whoever was at it before may have heard of it, and we not.
        if seen.is_some_and(|it| it != self.folders().vanished) {
            return Err(Error::new(Code::Unavailable, "files vanished before their commit"));
        }
        self.show(key, aside)
    }

    /// The file under another name; `None` if there is one of that name.
    pub(super) fn aside(&self, key: &str, bytes: &[u8], id: &str) -> Result<Option<Temporary>> {
        let path = self.inside(key)?;
        // Looked at first, because those who lose a race need not pay for a sync.
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(None);
        }
        self.check_predecessor(key)?;
        Temporary::write(self, &path, bytes, id, self.syncs).map(Some)
    }

    /// Gives the file its name, for all to see.
    pub(super) fn show(&self, key: &str, aside: Temporary) -> Result<Put> {
        let path = self.inside(key)?;
        if !aside.link(&path)? {
            return Ok(Put::Exists);
        }
        if commit_of(key).is_some() {
            self.turns.end();
        }
        let tag = fs::symlink_metadata(&path).ok().and_then(|it| etag(&it));
        // It is there for all to see; from here on a failure is no proof that it is not.
        drop(aside);
        let synced = self.sync_into(&path);
        self.sweep();
        match synced {
            Ok(()) => Ok(Put::Created(tag)),
            Err(err) => Ok(Put::Unknown(writing(err))),
        }
    }

    /// Both the file and its name, which a create may have left in doubt.
    pub(super) fn sync(&self, key: &str) -> Result<()> {
        if !self.syncs {
            return Ok(());
        }
        let path = self.inside(key)?;
        self.folders().check()?;
        let synced = self.sync_opened(open_to_sync(&path), |_| false);
        synced.and_then(|()| self.sync_into(&path)).map_err(writing)
    }

    /// Syncs what was opened for that. A sync that fails is told once: the next one would say yes
    /// to what this one has lost. Nothing is lost where none was tried, because the system had no
    /// file left to open it with; nor by what is gone, where nobody will miss a name.
    fn sync_opened(
        &self,
        opened: io::Result<File>,
        is_fine: impl Fn(&io::Error) -> bool,
    ) -> io::Result<()> {
        let untried = opened.as_ref().is_err_and(is_short);
        match opened.and_then(|it| it.sync_all()) {
            Err(err) if is_fine(&err) => Ok(()),
            Err(err) => {
                self.folders().lost |= !untried && !is_missing(&err);
                Err(err)
            }
            Ok(()) => Ok(()),
        }
    }

    /// A commit whose predecessor is gone would tear a gap: the table was removed, and perhaps made
    /// anew, under a writer that still held it. Free to ask here, unlike on an object store.
    fn check_predecessor(&self, key: &str) -> Result<()> {
        let before = commit_of(key).and_then(|it| it.get().checked_sub(1));
        let Some(before) = before.and_then(Version::new) else {
            return Ok(());
        };
        let checkpoint = LogPath::Checkpoint(before, CheckpointName::Classic);
        let is_there = |it: LogPath| fs::symlink_metadata(self.path.join(it.to_path())).is_ok();
        if is_there(LogPath::Commit(before)) || is_there(checkpoint) {
            return Ok(());
        }
        let what = format!("version {before} is gone; the table was replaced, start again");
        Err(Error::new(Code::TransactionExpired, what))
    }

    pub(super) fn put_new(&self, key: &str, bytes: &[u8], id: &str) -> Result<bool> {
        let path = self.inside(key)?;
        Temporary::write(self, &path, bytes, id, false)?.link(&path)
    }

    pub(super) fn put(&self, key: &str, bytes: &[u8], id: &str) -> Result<()> {
        let path = self.inside(key)?;
        let temporary = Temporary::write(self, &path, bytes, id, false)?;
        temporary.rename(&path)
    }

    pub(super) fn delete(&self, key: &str) -> Result<()> {
        let path = self.inside(key)?;
        self.forget(&path);
        match fs::remove_file(path) {
            Err(err) if !is_missing(&err) => Err(writing(err)),
            _ => Ok(()),
        }
    }

    /// Creates a file that is not there, and the folders above it where needed.
    pub(super) fn create_new(&self, path: &Path) -> io::Result<File> {
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        match (create(), path.parent()) {
            (Err(err), Some(folder)) if err.kind() == io::ErrorKind::NotFound => {
                self.make_folder(folder)?;
                create()
            }
            (created, _) => created,
        }
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        // Noted before it is there: whoever finds it there must not take its name for durable. Nor
        // is it, where somebody has removed the one that was.
        self.folders().named.insert(folder.to_path_buf(), false);
        match (fs::create_dir(folder), folder.parent()) {
            (Err(err), Some(parent)) if err.kind() == io::ErrorKind::NotFound => {
                self.make_folder(parent)?;
                match fs::create_dir(folder) {
                    Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
                    _ => Ok(()),
                }
            }
            (Err(err), _) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
            _ => Ok(()),
        }
    }

    /// Makes the contents of a file durable.
    pub(super) fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.syncs { file.sync_all() } else { Ok(()) }
    }

    /// Makes the name `path` durable: its entry in its folder, and those of the folders above.
    pub(super) fn sync_into(&self, path: &Path) -> io::Result<()> {
        match path.parent().filter(|_| self.syncs) {
            Some(folder) => self.sync_folders(BTreeSet::from([folder.to_path_buf()])),
            None => Ok(()),
        }
    }

    /// Makes all names in these folders durable, and those of the folders themselves where that is
    /// not known to be done.
    fn sync_folders(&self, folders: BTreeSet<PathBuf>) -> io::Result<()> {
        folders.iter().try_for_each(|it| self.sync_folder(it))?;
        let nameless: Vec<PathBuf> =
            folders.into_iter().filter(|it| self.is_nameless(it)).collect();
        let above = nameless.iter().filter_map(|it| it.parent().map(Path::to_path_buf));
        let above: BTreeSet<PathBuf> = above.collect();
        if !above.is_empty() {
            self.sync_folders(above)?;
        }
        let named = &mut self.folders().named;
        if FOLDERS_MAX < named.len() {
            named.retain(|_, is_durable| !*is_durable);
        }
        named.extend(nameless.into_iter().map(|it| (it, true)));
        Ok(())
    }

    /// May the entry of a folder in the one above be lost? What is above the table, and was there
    /// before we came, is none of ours.
    fn is_nameless(&self, folder: &Path) -> bool {
        let known = self.folders().named.get(folder).copied();
        known.map_or_else(|| folder.starts_with(&self.path), |is_durable| !is_durable)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(opened) = open_folder(folder) else { return Ok(()) };
        let is_of_others =
            || self.path.parent() == Some(folder) && !self.folders().named.contains_key(&self.path);
        // Where we may not look somebody else has made the table's folder.
        self.sync_opened(opened, |err| is_refused(err) && is_of_others())
    }

    /// The name of a file is to be made durable by whoever settles next.
    pub(super) fn note(&self, path: &Path) {
        if let Some(folder) = path.parent().filter(|_| self.syncs) {
            self.folders().noted.insert(folder.to_path_buf());
        }
    }

    /// The same for its contents as well. `None` where nothing is synced.
    pub(super) fn note_written(&self, path: &Path, file: File) -> Option<Arc<Written>> {
        if !self.syncs {
            return None;
        }
        self.note(path);
        let written = Written { path: path.to_path_buf(), file, synced: Mutex::default() };
        let written = Arc::new(written);
        self.folders().written.insert(path.to_path_buf(), Arc::clone(&written));
        Some(written)
    }

    /// Makes the contents of a noted file durable, or waits for who is about to. A file for which
    /// that fails is removed, so that the commit that names it fails, and the handle goes on; one
    /// that settles meanwhile hears of it as well, once.
    pub(super) fn sync_written(&self, written: &Written) -> io::Result<()> {
        let synced = written.sync();
        // Gone before anybody is told that it is: whoever looks then must not find it.
        let stays =
            synced.is_err() && fs::remove_file(&written.path).is_err_and(|it| !is_missing(&it));
        let mut folders = self.folders();
        match folders.written.remove(&written.path) {
            // Given up meanwhile, or told by somebody else.
            None => Ok(()),
            Some(_) => {
                folders.vanished += u64::from(synced.is_err());
                folders.lost |= stays;
                synced
            }
        }
    }

    /// What the file holds is not to be made durable, or is.
    pub(super) fn forget(&self, path: &Path) {
        self.folders().written.remove(path);
    }

    /// Makes what was noted durable, or waits for who is about to.
    pub(super) fn settle(&self) -> Result<()> {
        let settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        self.settle_noted(&settling)
    }

    /// The same, but leaves it to who is about to, if there is somebody.
    pub(super) fn begin_to_settle(&self) -> Result<()> {
        match self.settling.try_lock() {
            Ok(settling) => self.settle_noted(&settling),
            Err(TryLockError::Poisoned(settling)) => self.settle_noted(settling.get_ref()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    fn settle_noted(&self, _: &MutexGuard<'_, ()>) -> Result<()> {
        let (noted, written) = {
            let mut folders = self.folders();
            folders.check()?;
            let written: Vec<Arc<Written>> = folders.written.values().cloned().collect();
            (std::mem::take(&mut folders.noted), written)
        };
        // The names first: whoever wrote the files is at their contents already.
        let Err(err) = self.sync_folders(noted.clone()) else {
            let synced = written.iter().map(|it| self.sync_written(it));
            return synced.fold(Ok(()), Result::and).map_err(writing);
        };
        let mut folders = self.folders();
        for folder in noted {
            match fs::symlink_metadata(&folder) {
                // Somebody has removed it, and what we wrote there. It is told once: nobody else
                // waits for it.
                Err(err) if is_missing(&err) => folders.vanished += 1,
                _ => drop(folders.noted.insert(folder)),
            }
        }
        Err(writing(err))
    }

    /// Takes note of a temporary file that nobody can still be at work on.
    pub(super) fn note_temporary(&self, path: PathBuf, modified: SystemTime, now: SystemTime) {
        let is_old = now.duration_since(modified).is_ok_and(|it| TEMPORARY_AGE < it);
        let mut folders = self.folders();
        if is_old && folders.left_behind.len() < SWEPT_MAX {
            folders.left_behind.insert(path, modified);
        }
    }

    /// Removes the temporary files that were noted. One that was written since is somebody's who
    /// was not dead but asleep, and has the same name for the next file.
    fn sweep(&self) {
        let left_behind = std::mem::take(&mut self.folders().left_behind);
        for (path, noted) in left_behind {
            let modified = fs::symlink_metadata(&path).and_then(|it| it.modified());
            if modified.is_ok_and(|it| it == noted) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// A small data file that stands there; its contents are on their way to disk.
pub(super) struct Written {
    path: PathBuf,
    file: File,
    /// Whether they got there.
    synced: Mutex<Option<Result<(), (io::ErrorKind, String)>>>,
}

impl Written {
    /// Tries once: what the system could not write it may have dropped, and say yes the next time.
    fn sync(&self) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let sync = || self.file.sync_all().map_err(|it| (it.kind(), it.to_string()));
        let synced = synced.get_or_insert_with(sync).clone();
        synced.map_err(|(kind, what)| io::Error::new(kind, what))
    }
}

/// Is a folder one that we may not sync, or that cannot be?
fn is_refused(err: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(err.kind(), PermissionDenied | InvalidInput | ReadOnlyFilesystem | Unsupported)
}

/// The version whose commit this is.
fn commit_of(key: &str) -> Option<Version> {
    match LogPath::parse(key.strip_prefix(LOG_DIR)?.strip_prefix('/')?) {
        Some(LogPath::Commit(version)) => Some(version),
        _ => None,
    }
}

/// A name for one file at a time.
#[derive(Default)]
pub(super) struct Usual {
    id: OnceLock<String>,
    is_taken: AtomicBool,
}

/// Has the usual name, until this is dropped. What has it then is nobody's but ours: were the file
/// swept under us, no other thread, nor a process forked from this one, would make one that we
/// take for it.
struct Held(Arc<Usual>);

impl Held {
    fn new(usual: &Arc<Usual>) -> Option<Held> {
        let was_taken = usual.is_taken.swap(true, Ordering::AcqRel);
        (!was_taken).then(|| Held(Arc::clone(usual)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// A file under a name that listings leave out; removed on drop, unless it was renamed.
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    /// Given back after the file is gone.
    _held: Option<Held>,
}

impl Temporary {
    /// One that stands there.
    pub(super) fn there(path: PathBuf) -> Temporary {
        Temporary { path, _held: None }
    }

    fn write(root: &Root, target: &Path, bytes: &[u8], id: &str, sync: bool) -> Result<Temporary> {
        let (temporary, mut file) = match Temporary::usual(root, target, id) {
            Some(made) => made,
            None => {
                let path = temporary(target, id)?;
                let file = root.create_new(&path).map_err(writing)?;
                (Temporary::there(path), file)
            }
        };
        file.write_all(bytes).map_err(writing)?;
        if sync {
            file.sync_all().map_err(writing)?;
        }
        Ok(temporary)
    }

    /// An empty one under the usual name, unless something has it.
    fn usual(root: &Root, target: &Path, id: &str) -> Option<(Temporary, File)> {
        let held = Held::new(&root.usual)?;
        let id = root.usual.id.get_or_init(|| id.to_string());
        let path = target.with_file_name(format!(".{id}.{}.tmp", process::id()));
        let file = root.create_new(&path).ok()?;
        Some((Temporary { path, _held: Some(held) }, file))
    }

    /// Gives the file its name, unless something has it: then `false`.
    pub(super) fn link(&self, target: &Path) -> Result<bool> {
        let Err(err) = fs::hard_link(&self.path, target) else {
            return Ok(true);
        };
        // A network file system may do it, lose the answer, do it again and find it done.
        if has_two_names(&self.path) {
            return Ok(true);
        }
        match err.kind() {
            io::ErrorKind::AlreadyExists => Ok(false),
            // The folder takes new names, as it just took one: it is links that it does not take.
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks => Err(Error::new(
                Code::StoreUnsafe,
                "the file system has no hard links, which safe commits need",
            )
            .because(err)),
            _ => Err(writing(err)),
        }
    }

    fn rename(self, target: &Path) -> Result<()> {
        // On success there is nothing left to remove; a failed removal is not looked at.
        fs::rename(&self.path, target).map_err(writing)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `.<name>.<id>.tmp` beside `target`.
pub(super) fn temporary(target: &Path, id: &str) -> Result<PathBuf> {
    let name = target.file_name().and_then(|it| it.to_str());
    let name = name.ok_or_else(|| Error::internal("a key without a name"))?;
    Ok(target.with_file_name(format!(".{name}.{id}.tmp")))
}

pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}
