//! Commit times, in-commit or by file; a time to a version.

use crate::action::CommitInfo;
use crate::error::Result;
use crate::time::Timestamp;
use crate::version::Version;

/// When one version was committed, as the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTime {
    /// Which version.
    pub version: Version,
    /// Modification time of the file.
    pub modified: Timestamp,
    /// `inCommitTimestamp`, where known.
    pub in_commit: Option<Timestamp>,
}

/// File times made strictly increasing: one that is not later than its predecessor becomes predecessor + 1 ms. In-commit
/// timestamps from `enablement` (version, timestamp) on are taken as they are. Ascending by version.
pub fn effective_times(_commits: &[CommitTime], _enablement: Option<(Version, Timestamp)>) -> Result<Vec<(Version, Timestamp)>> { todo!() }

/// The newest version not after `at`. Before the first: `version-not-found`. After the last: the last.
pub fn version_at(_times: &[(Version, Timestamp)], _at: Timestamp) -> Result<Version> { todo!() }

/// One row of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Which version.
    pub version: Version,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// What the commit says about itself, whole.
    pub info: CommitInfo,
}
