//! The local disk: list, read and durable commit of our own.
//!
//! `object_store` serves local files too, but never syncs, and hops to another thread for every
//! file. Here each call is one job for [`Env::block`], and what must survive a crash is synced,
//! and nothing else, since syncing is what a small append waits for: a commit and the data files it
//! names, not the hint and the checksum, which can be computed again.
//!
//! Symbolic links inside the table are followed as long as they stay inside it. A table may come
//! from anywhere, and one that links a partition to `/etc` must not read, write or delete there.
//! The log's folder is not looked at: whoever can link it can as well write what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::LOG_DIR;
use lakebed_log::time::Timestamp;

use crate::env::{BoxFuture, Env};
use crate::op::{Op, Request};
use crate::store::{
    Backend, Near, Object, Pin, Put, Store, Turn, Upload, join_ranges, short, too_large,
};

mod platform;
mod turn;
mod upload;
mod writes;

use platform::{etag, is_loop, open_plain};
use writes::{Temporary, is_temporary, temporary};

/// Small files that one job reads: enough to make the hop between threads cheap, few enough to keep
/// several threads busy.
const FILES_PER_JOB: usize = 64;
/// Jobs of one [`Store::get_many`] at once.
const JOBS_MAX: usize = 8;
/// Folders whose being inside the table is remembered.
const FOLDERS_MAX: usize = 100_000;

struct Local {
    env: Env,
    root: Arc<Root>,
}

/// The table's folder, and what we know about those below it.
struct Root {
    path: PathBuf,
    /// Is what must survive a crash synced?
    syncs: bool,
    folders: Mutex<Folders>,
    /// Held by whoever makes noted names durable.
    settling: Mutex<()>,
    /// What a file of the log is called before it has its name.
    usual: Arc<writes::Usual>,
    turns: turn::Turns,
}

#[derive(Default)]
struct Folders {
    /// Keys of folders that are inside the table, all links followed.
    inside: BTreeSet<String>,
    /// Is the entry of a folder in the one above durable? Of folders that we made, or are about to,
    /// and of those of the table that others made, once we have seen to it.
    named: BTreeMap<PathBuf, bool>,
    /// Folders with names of files that are not durable yet.
    noted: BTreeSet<PathBuf>,
    /// How often a folder with such names was found removed.
    vanished: u64,
    /// By path, files whose contents are not synced yet, or could not be.
    written: BTreeMap<PathBuf, Arc<writes::Written>>,
    /// Has a sync of them failed?
    lost: bool,
    /// Temporary files of writers that are no more, and when each was written.
    left_behind: BTreeMap<PathBuf, SystemTime>,
}

impl Folders {
    fn check(&self) -> Result<()> {
        if !self.lost {
            return Ok(());
        }
        let what = "names of files may not be durable since a sync of their folder failed; \
                    open the table anew";
        Err(Error::new(Code::Unavailable, what))
    }
}

impl Store {
    /// On the local disk, in the folder `root`, an absolute path. It need not exist.
    pub fn local(env: &Env, root: &Path, location: &str) -> Store {
        let root = Root::new(root, env.syncs());
        let backend = Local { env: env.clone(), root: Arc::new(root) };
        Store::new(Arc::new(backend), location)
    }
}

impl Local {
    /// Runs `work` on the root and a key where it may block.
    fn run<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Root, &str) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let (root, key) = (Arc::clone(&self.root), key.to_string());
        Box::pin(self.env.block(move || work(&root, &key)))
    }
}

impl Backend for Local {
    fn get<'a>(&'a self, op: &'a Op, key: &'a str, max: u64) -> BoxFuture<'a, Result<Bytes>> {
        op.count(Request::Get);
        self.run(key, move |root, key| root.get(key, max))
    }

    fn get_ranges<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        ranges: &'a [Range<u64>],
        _pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        join_ranges(ranges).iter().for_each(|_| op.count(Request::Get));
        let ranges = ranges.to_vec();
        self.run(key, move |root, key| root.get_ranges(key, &ranges))
    }

    fn joins_ranges(&self) -> bool {
        false
    }

    fn is_disk(&self) -> bool {
        true
    }

    fn turn(&self, patience: Duration) -> BoxFuture<'_, Option<Turn>> {
        Box::pin(turn::turn(&self.env, &self.root, patience))
    }

    fn near<'a>(&'a self, key: &'a str) -> Option<BoxFuture<'a, Result<Arc<dyn Near>>>> {
        let open = |root: &Root, key: &str| {
            let (file, _) = root.open(key)?;
            Ok(Arc::new(platform::NearFile::new(file)) as Arc<dyn Near>)
        };
        cfg!(unix).then(|| self.run(key, open))
    }

    fn get_many<'a>(
        &'a self,
        op: &'a Op,
        keys: &'a [String],
        max: u64,
    ) -> BoxFuture<'a, Vec<Result<Bytes>>> {
        keys.iter().for_each(|_| op.count(Request::Get));
        Box::pin(async move {
            let job = |keys: &[String]| {
                let (root, keys) = (Arc::clone(&self.root), keys.to_vec());
                self.env.block(move || {
                    Ok(keys.iter().map(|it| root.get(it, max)).collect::<Vec<Result<Bytes>>>())
                })
            };
            // A job fails as a whole only if it panicked; then each of its files did.
            let all = |(keys, got): (&[String], Result<Vec<Result<Bytes>>>)| match got {
                Ok(got) => got,
                Err(err) => keys.iter().map(|_| Err(Error::internal(err.message()))).collect(),
            };
            let chunks: Vec<&[String]> = keys.chunks(FILES_PER_JOB).collect();
            let jobs = chunks.iter().map(|it| job(it)).collect::<Vec<_>>();
            let got = stream::iter(jobs).buffered(JOBS_MAX).collect::<Vec<_>>().await;
            chunks.into_iter().zip(got).flat_map(all).collect()
        })
    }

    fn list<'a>(
        &'a self,
        op: &'a Op,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Object>>> {
        op.count(Request::List);
        let after = after.map(str::to_string);
        let now = UNIX_EPOCH + since_epoch(self.env.now());
        self.run(prefix, move |root, prefix| root.list(prefix, after.as_deref(), now))
    }

    fn head<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Object>> {
        op.count(Request::Head);
        self.run(key, Root::head)
    }

    fn put_if_absent<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
        seen: Option<u64>,
    ) -> BoxFuture<'a, Result<Put>> {
        op.count(Request::Put);
        let id = self.env.id().to_string();
        self.run(key, move |root, key| root.put_if_absent(key, &bytes, &id, seen))
    }

    fn put_new<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<bool>> {
        op.count(Request::Put);
        let id = self.env.id();
        self.run(key, move |root, key| root.put_new(key, &bytes, &id.to_string()))
    }

    fn put<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        op.count(Request::Put);
        let id = self.env.id();
        self.run(key, move |root, key| root.put(key, &bytes, &id.to_string()))
    }

    fn create<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        let upload = upload::LocalUpload::new(&self.env, op, &self.root, key);
        Box::pin(std::future::ready(Ok(Box::new(upload) as Box<dyn Upload>)))
    }

    fn sync<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.run(key, Root::sync)
    }

    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        self.run("", |root, _| root.settle())
    }

    fn begin_to_settle(&self) -> BoxFuture<'_, Result<()>> {
        self.run("", |root, _| root.begin_to_settle())
    }

    fn vanished(&self) -> u64 {
        self.root.folders().vanished
    }

    fn delete<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<()>> {
        op.count(Request::Delete);
        self.run(key, Root::delete)
    }
}

impl Root {
    fn new(path: &Path, syncs: bool) -> Root {
        Root {
            path: path.to_path_buf(),
            syncs,
            folders: Mutex::default(),
            settling: Mutex::default(),
            usual: Arc::default(),
            turns: turn::Turns::default(),
        }
    }

    fn get(&self, key: &str, max: u64) -> Result<Bytes> {
        let (mut file, size) = self.open(key)?;
        if max < size {
            return Err(too_large(size, max));
        }
        let mut bytes = Vec::new();
        let length = usize::try_from(size).map_err(|_| too_large(size, max))?;
        bytes.try_reserve_exact(length).map_err(|_| out_of_memory(size))?;
        // One call that reads all, then none that asks for more: a file may grow while it is read.
        bytes.resize(length, 0);
        read_full(&mut bytes, |buffer, _| file.read(buffer))?;
        Ok(bytes.into())
    }

    fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (file, size) = self.open(key)?;
        let read = |range: &Range<u64>| {
            let wanted = range.end.saturating_sub(range.start);
            if size < range.end {
                return Err(short(size.saturating_sub(range.start).min(wanted), wanted));
            }
            let length = usize::try_from(wanted).map_err(|_| out_of_memory(wanted))?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length).map_err(|_| out_of_memory(wanted))?;
            let mut file = &file;
            file.seek(SeekFrom::Start(range.start)).map_err(reading)?;
            // Into memory that nobody has cleared before.
            match file.take(wanted).read_to_end(&mut bytes).map_err(reading)? {
                all if all == length => Ok(Bytes::from(bytes)),
                some => Err(short(some as u64, wanted)),
            }
        };
        ranges.iter().map(read).collect()
    }

    /// Opens a file to read, and gives its size.
    fn open(&self, key: &str) -> Result<(File, u64)> {
        let path = self.inside(key)?;
        let opened = match open_plain(&path, !in_log(key)) {
            // Perhaps the file itself is a link. Where it leads is fine if that is inside.
            Err(err) if is_loop(&err) => open_plain(&self.followed(&path)?, true),
            opened => opened,
        };
        let file = opened.map_err(reading)?;
        let meta = file.metadata().map_err(reading)?;
        match meta.is_file() {
            true => Ok((file, meta.len())),
            false => Err(Error::new(Code::FileNotFound, "what is there is not a regular file")),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, now: SystemTime) -> Result<Vec<Object>> {
        let folder = self.path.join(prefix);
        if !in_log(prefix) {
            self.inside(&format!("{prefix}."))?;
        }
        let entries = match fs::read_dir(&folder) {
            Err(err) if is_missing(&err) => return Ok(Vec::new()),
            entries => entries.map_err(reading)?,
        };
        let mut objects = Vec::new();
        for entry in entries {
            let entry = entry.map_err(reading)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let key = format!("{prefix}{name}");
            if is_temporary(&name) {
                if in_log(prefix)
                    && let Ok(modified) = entry.metadata().and_then(|it| it.modified())
                {
                    self.note_temporary(entry.path(), modified, now);
                }
                continue;
            }
            if after.is_some_and(|it| key.as_str() <= it) {
                continue;
            }
            let kind = entry.file_type().map_err(reading)?;
            if kind.is_dir() {
                continue;
            }
            let meta =
                if kind.is_symlink() { fs::metadata(entry.path()) } else { entry.metadata() };
            match meta {
                Ok(meta) if meta.is_file() => objects.push(object(key, &meta)),
                Ok(_) => {}
                // Deleted since the folder was read.
                Err(err) if is_missing(&err) => {}
                Err(err) => return Err(reading(err)),
            }
        }
        Ok(objects)
    }

    fn head(&self, key: &str) -> Result<Object> {
        let path = self.inside(key)?;
        let mut meta = fs::symlink_metadata(&path).map_err(reading)?;
        if meta.is_symlink() {
            let target = if in_log(key) { path } else { self.followed(&path)? };
            meta = fs::metadata(target).map_err(reading)?;
        }
        match meta.is_file() {
            true => Ok(object(key.to_string(), &meta)),
            false => Err(Error::new(Code::FileNotFound, "what is there is not a regular file")),
        }
    }

    /// The path of `key`, once the folders on the way are known to lead nowhere else.
    fn inside(&self, key: &str) -> Result<PathBuf> {
        let path = self.path.join(key);
        let Some((folder, _)) = key.rsplit_once('/').filter(|_| !in_log(key)) else {
            return Ok(path);
        };
        if self.folders().inside.contains(folder) {
            return Ok(path);
        }
        let mut at = self.path.clone();
        for segment in folder.split('/') {
            at.push(segment);
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_symlink() => drop(self.followed(&at)?),
                Ok(_) => {}
                // What is not there leads nowhere; it is looked at again when it is.
                Err(err) if is_missing(&err) => return Ok(path),
                Err(err) => return Err(reading(err)),
            }
        }
        let mut folders = self.folders();
        if folders.inside.len() == FOLDERS_MAX {
            folders.inside.clear();
        }
        folders.inside.insert(folder.to_string());
        Ok(path)
    }

    /// Where the link at `path` leads.
    fn followed(&self, path: &Path) -> Result<PathBuf> {
        let target = fs::canonicalize(path).map_err(reading)?;
        let root = fs::canonicalize(&self.path).map_err(reading)?;
        match target.starts_with(root) {
            true => Ok(target),
            false => Err(Error::new(Code::PathEscape, "a symbolic link leads out of the table")),
        }
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_log(key: &str) -> bool {
    key.strip_prefix(LOG_DIR).is_some_and(|it| it.is_empty() || it.starts_with('/'))
}

fn object(key: String, meta: &fs::Metadata) -> Object {
    let modified = meta.modified().unwrap_or(UNIX_EPOCH);
    Object { key, size: meta.len(), modified: timestamp(modified), etag: etag(meta) }
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let millis = |it: u128| i64::try_from(it).unwrap_or(i64::MAX);
    Timestamp::from_millis(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after.as_millis()),
        Err(before) => -millis(before.duration().as_nanos().div_ceil(1_000_000)),
    })
}

/// Fills `buffer`; `read` gets what is still empty and how much is not.
fn read_full(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> Result<()> {
    let (mut done, wanted) = (0, buffer.len());
    while let Some(rest) = buffer.get_mut(done..).filter(|it| !it.is_empty()) {
        match read(rest, done as u64) {
            Ok(0) => return Err(short(done as u64, wanted as u64)),
            Ok(more) => done += more,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(reading(err)),
        }
    }
    Ok(())
}

/// Whether there is nothing of that name: a file as a folder on the way, a name that is longer than
/// any can be, or links in a circle, prove it too.
fn is_missing(err: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(err.kind(), NotFound | NotADirectory | InvalidFilename) || is_loop(err)
}

fn reading(err: io::Error) -> Error {
    if is_missing(&err) {
        return Error::new(Code::FileNotFound, "there is no such file").because(err);
    }
    failed(err)
}

fn writing(err: io::Error) -> Error {
    if err.kind() == io::ErrorKind::InvalidFilename {
        return Error::invalid("the name is too long for the file system").because(err);
    }
    failed(err)
}

fn failed(err: io::Error) -> Error {
    use io::ErrorKind as E;
    let (code, what) = match err.kind() {
        E::PermissionDenied => (Code::Permission, "permission denied"),
        E::ReadOnlyFilesystem => (Code::Permission, "the file system is read-only"),
        E::StorageFull => (Code::NoSpace, "the disk is full"),
        E::QuotaExceeded => (Code::NoSpace, "the disk quota is used up"),
        E::FileTooLarge => (Code::NoSpace, "the file is larger than the system allows"),
        E::AlreadyExists => (Code::Conflict, "the file exists already"),
        E::NotADirectory => (Code::InvalidPath, "a part of the path is a file, not a folder"),
        E::IsADirectory => (Code::InvalidPath, "a folder stands where a file should"),
        _ => {
            let what = format!("the file system failed: {err}");
            return Error::new(Code::Unavailable, what).because(err);
        }
    };
    Error::new(code, what).because(err)
}

fn out_of_memory(bytes: u64) -> Error {
    Error::new(Code::MemoryExceeded, format!("the system has no {bytes} bytes of memory"))
}

#[cfg(all(test, unix, feature = "tokio"))]
mod tests;
