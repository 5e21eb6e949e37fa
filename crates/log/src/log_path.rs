//! Names of files in `_delta_log`, parsed once.

use std::fmt;

use uuid::Uuid;

use crate::version::Version;

/// The folder of the log, below the table's root, without slash.
pub const LOG_DIR: &str = "_delta_log";
/// The checkpoint hint, in the log's folder.
pub const HINT: &str = "_last_checkpoint";

/// A file of the log that takes part in replay. `Display` and `parse` are inverse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogPath {
    /// The actions of one version.
    Commit(Version),
    /// The whole state at one version, or one part of it.
    Checkpoint(Version, CheckpointName),
    /// The reconciled actions of `first..=last`; `first < last`.
    Compacted {
        /// First version covered.
        first: Version,
        /// Last version covered.
        last: Version,
    },
    /// The version checksum.
    Checksum(Version),
}

/// How a checkpoint file is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckpointName {
    /// `<v>.checkpoint.parquet`
    Classic,
    /// `<v>.checkpoint.<part>.<parts>.parquet`, `1 <= part <= parts`.
    Part {
        /// One-based.
        part: u32,
        /// How many there are.
        parts: u32,
    },
    /// `<v>.checkpoint.<uuid>.json|parquet`
    Uuid {
        /// What makes the name unique.
        id: Uuid,
        /// JSON rather than Parquet.
        json: bool,
    },
}

impl LogPath {
    /// Reads a file name relative to `_delta_log/`, or `None` if it is no part of replay.
    pub fn parse(_name: &str) -> Option<LogPath> {
        todo!()
    }
    /// The version the file belongs to; the last one of a compacted file.
    pub fn version(&self) -> Version {
        todo!()
    }
    /// The path below the table's root: `_delta_log/<name>`.
    pub fn to_path(&self) -> String {
        format!("{LOG_DIR}/{self}")
    }
}

impl fmt::Display for LogPath {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
