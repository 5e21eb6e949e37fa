//! How far log cleanup may have gone, and what that means for who reads an old version.
//!
//! A version below the marker may be half gone, and a writer that slept can create a number anew
//! that cleanup has freed. So nothing below it is read, whatever the listing shows; and commits of
//! ours, each of which names the one before it, must lead from one to the next.

use std::sync::Arc;

use lakebed_log::cleanup::{self, MARKER};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::{LOG_DIR, LogPath};
use lakebed_log::mutant::planted;
use lakebed_log::segment::LogFile;
use lakebed_log::version::Version;

use super::commits::Commit;
use crate::op::Op;
use crate::store::Store;

/// Longest marker that is read, in bytes.
const MARKER_BYTES_MAX: u64 = 4_096;

/// Where the marker of log cleanup lies.
pub(crate) fn marker_key() -> String {
    format!("{LOG_DIR}/{MARKER}")
}

/// Commits below this version may be gone; `None` if no cleanup of ours has been at work. One GET.
///
/// # Errors
///
/// What the store gives; `corrupt-log` for a marker that makes no sense, since what it said may
/// have been higher than anything that we know.
pub(crate) async fn marker(op: &Op, store: &Store) -> Result<Option<Version>> {
    let key = marker_key();
    match store.get(op, &key, MARKER_BYTES_MAX).await {
        Ok(bytes) => match cleanup::marker(&bytes) {
            Some(it) => Ok(Some(it)),
            None => {
                let what = "the marker of log cleanup makes no sense";
                Err(Error::new(Code::CorruptLog, what).at(format!("{}/{key}", store.location())))
            }
        },
        Err(it) if it.code() == Code::FileNotFound => Ok(None),
        Err(it) => Err(it),
    }
}

/// Has the log lost its beginning, so that the marker has something to say?
pub(super) fn is_cut(files: &[LogFile]) -> bool {
    !files.iter().any(|it| it.path == LogPath::Commit(Version::ZERO))
}

/// Why a version cannot be opened: for what was wrong first, which has to be mended; but what was
/// listed and is gone since was cleaned up, and the version with it.
pub(super) fn why(first: Option<Arc<Error>>, last: Error) -> Error {
    match first {
        Some(it) if it.code() == Code::FileNotFound && last.code() == Code::VersionNotFound => last,
        Some(it) => it.copied(),
        None => last,
    }
}

/// Refuses a version that cleanup may have taken apart. One GET.
///
/// # Errors
///
/// `version-not-found`; what the store gives.
pub(super) async fn refuse_cleaned(op: &Op, store: &Store, version: Version) -> Result<()> {
    // A marker that makes no sense keeps cleaners out, not readers.
    let marked = match marker(op, store).await {
        Err(it) if it.code() == Code::CorruptLog => None,
        marked => marked?,
    };
    match marked {
        Some(first) if version < first && !planted(25) => {
            let what = format!("version {version} was cleaned up; {first} is the oldest one left");
            Err(Error::new(Code::VersionNotFound, what).at(store.location()))
        }
        _ => Ok(()),
    }
}

/// Does each commit of ours name the one before it, where both are there?
///
/// # Errors
///
/// `log-moving`: one of them is not of this history; a listing that is made anew may tell.
pub(super) fn check_chain(store: &Store, commits: &[Arc<Commit>]) -> Result<()> {
    for pair in commits.windows(2) {
        let [before, after] = pair else { continue };
        let text = |it: &Commit, key: &str| {
            let info = it.batch.commit_info.as_ref()?;
            info.text(key).map(str::to_string)
        };
        let (named, there) = (text(after, "prevTxnId"), text(before, "txnId"));
        if after.first != after.version || before.first != before.version {
            continue;
        }
        if let (Some(named), Some(there)) = (named, there)
            && named != there
            && !planted(25)
        {
            let what = format!(
                "version {} does not follow from version {} as it is now: one of them was written \
                 after cleanup had passed it",
                after.version, before.version
            );
            return Err(Error::new(Code::LogMoving, what).at(store.location()));
        }
    }
    Ok(())
}
