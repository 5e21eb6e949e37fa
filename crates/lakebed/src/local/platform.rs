//! What differs between systems: flags, positions, links, tags.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

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

#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be opened; the file system journals names by itself.
#[cfg(not(unix))]
pub(super) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
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
