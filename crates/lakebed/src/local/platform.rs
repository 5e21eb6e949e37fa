//! What differs between systems: flags, positions, links, tags.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use lakebed_log::error::Result;

use super::{out_of_memory, read_full};
use crate::store::Near;

/// Opens to read without waiting, as a pipe that somebody put there would have us do for ever.
#[cfg(unix)]
pub(super) fn open_plain(path: &Path, no_link: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, no_link);
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
pub(super) fn open_plain(path: &Path, no_link: bool) -> io::Result<File> {
    if no_link && fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    File::open(path)
}

/// A link where none was allowed, or links in a circle.
#[cfg(unix)]
pub(super) fn is_loop(err: &io::Error) -> bool {
    err.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
pub(super) fn is_loop(_err: &io::Error) -> bool {
    false
}

/// A file that is read from where and when its bytes are needed.
#[derive(Debug)]
pub(super) struct NearFile(File);

impl NearFile {
    pub(super) fn new(file: File) -> NearFile {
        NearFile(file)
    }
}

impl Near for NearFile {
    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let len = usize::try_from(wanted).map_err(|_| out_of_memory(wanted))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| out_of_memory(wanted))?;
        bytes.resize(len, 0);
        self.read_into(range.start, &mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        read_full(bytes, |rest, done| read_at(&self.0, rest, at + done))
    }

    fn expect(&self, ranges: &[Range<u64>]) {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        for range in ranges {
            use rustix::fs::{Advice, fadvise};
            let len = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
            // The system may know better.
            let _ = fadvise(&self.0, range.start, len, Advice::WillNeed);
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

/// Elsewhere threads that share a file share its position.
#[cfg(not(unix))]
fn read_at(_file: &File, _buffer: &mut [u8], _at: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens a file, to sync it.
pub(super) fn open_to_sync(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    if let Some(err) = FAILS_TO_OPEN.get() {
        return Err(io::Error::from_raw_os_error(err));
    }
    File::open(path)
}

/// The same for a folder. `None` where folders cannot be opened: there the file system journals
/// names by itself.
#[cfg(unix)]
pub(super) fn open_folder(folder: &Path) -> Option<io::Result<File>> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|it| it.push(folder.to_path_buf()));
    Some(open_to_sync(folder))
}

#[cfg(test)]
thread_local! {
    /// What this thread has synced, for tests.
    pub(super) static SYNCED: std::cell::RefCell<Vec<std::path::PathBuf>> =
        const { std::cell::RefCell::new(Vec::new()) };
    /// With which error of the system this thread opens nothing to sync it, for tests.
    pub(super) static FAILS_TO_OPEN: std::cell::Cell<Option<i32>> =
        const { std::cell::Cell::new(None) };
}

#[cfg(not(unix))]
pub(super) fn open_folder(_folder: &Path) -> Option<io::Result<File>> {
    None
}

/// Has the system, or the process, no file or memory left just now? What it could not open for that
/// it has not looked at.
#[cfg(unix)]
pub(super) fn is_short(err: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    err.raw_os_error().is_some_and(|it| short.contains(&it))
}

#[cfg(not(unix))]
pub(super) fn is_short(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::OutOfMemory
}

/// Takes the lock of a file or folder, as soon as nobody has it.
#[cfg(unix)]
pub(super) fn lock(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(err) if err == rustix::io::Errno::INTR => {}
            done => return done.map_err(io::Error::from),
        }
    }
}

/// The same, if nobody has it; else `WouldBlock`.
#[cfg(unix)]
pub(super) fn try_lock(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
}

/// Gives the lock back, from children as well that were forked meanwhile and have the file, too.
#[cfg(unix)]
pub(super) fn unlock(file: &File) {
    use rustix::fs::{FlockOperation, flock};
    let _ = flock(file, FlockOperation::Unlock);
}

#[cfg(not(unix))]
pub(super) fn unlock(_file: &File) {}

/// Elsewhere folders cannot be opened, and so not be locked.
#[cfg(not(unix))]
pub(super) fn lock(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
pub(super) fn try_lock(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
pub(super) fn has_two_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).is_ok_and(|it| it.nlink() == 2)
}

#[cfg(not(unix))]
pub(super) fn has_two_names(_path: &Path) -> bool {
    false
}

/// Another file under the same name is told from the one before, even of equal size and time.
#[cfg(unix)]
pub(super) fn etag(meta: &fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let (inode, seconds, nanos) = (meta.ino(), meta.mtime(), meta.mtime_nsec());
    Some(format!("{inode:x}-{seconds:x}-{nanos:x}-{:x}", meta.len()))
}

#[cfg(not(unix))]
pub(super) fn etag(_meta: &fs::Metadata) -> Option<String> {
    None
}
