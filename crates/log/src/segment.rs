//! `LogSegment`: which log files make up a version, from a list of names.

use crate::error::Result;
use crate::log_path::LogPath;
use crate::time::Timestamp;
use crate::version::Version;

/// One name of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Parsed name.
    pub path: LogPath,
    /// Bytes.
    pub size: u64,
    /// Of the store.
    pub modified: Timestamp,
    /// Entity tag of the store, if it gives one.
    pub etag: Option<String>,
}

/// What to read for a version. No gaps; one complete checkpoint or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSegment {
    /// The version it makes up.
    pub version: Version,
    /// Parts of the checkpoint, in part order; empty if replay starts at version 0.
    pub checkpoint: Vec<LogFile>,
    /// Version of the checkpoint.
    pub checkpoint_version: Option<Version>,
    /// Commits after the checkpoint, ascending, no gap.
    pub commits: Vec<LogFile>,
    /// The commit of the version itself, also if the checkpoint covers it.
    pub last_commit: Option<LogFile>,
}

/// The checkpoint hint, `_last_checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Version of the checkpoint.
    pub version: Version,
    /// Actions in it.
    pub size: Option<i64>,
    /// Parts, of a multi-part one.
    pub parts: Option<u32>,
    /// Bytes of the checkpoint.
    pub size_in_bytes: Option<u64>,
}

impl Hint {
    /// `None` for anything that is not a sound hint: hints are lenient.
    pub fn parse(_bytes: &[u8]) -> Option<Hint> { todo!() }
    /// The JSON to write.
    pub fn to_json(&self) -> String { todo!() }
}

impl LogSegment {
    /// Picks the files for `target` (newest if `None`). `skip` names checkpoint versions that proved broken: the next
    /// older one, or the commits alone, is taken. Names may come in any order. Errors: `not-a-table` (no log
    /// files), `version-gap`, `version-not-found` with the range that is there.
    pub fn new(_files: Vec<LogFile>, _target: Option<Version>, _skip: &[Version]) -> Result<LogSegment> { todo!() }
}
