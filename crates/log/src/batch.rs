//! `LogBatch`: one log file as Arrow columns, from JSON lines or Parquet bytes.
//!
//! A table has a handful of actions of each kind but one: files, of which it may have ten million.
//! So the few become structs, and the file actions keep the shape that a checkpoint gives its `add`
//! and `remove` columns:
//!
//! ```text
//!            add                                          remove
//!   path     partitionValues  size  ..  [stats  tags]     path  deletionTimestamp  ..
//!   a        {day: 1}         100       {"numRecords"..   c     1700000000000
//!   b        {day: 2}         120       ..
//! ```
//!
//! A checkpoint decodes into them without a copy, a checkpoint is written from them without one,
//! and replay only decides which rows live. A commit is decoded into the same columns straight from
//! its text: no tree, no struct per file, and what the caller will not look at is checked and
//! dropped.
//!
//! Both forms are input that anyone can write. Text is taken strictly ([`LogBatch::from_json`]);
//! Parquet is cast where the same values can be stored in several ways and refused otherwise
//! ([`LogBatch::from_parquet`]).

mod build;
mod coded;
mod columns;
mod footer;
mod group;
mod json;
mod lines;
mod names;
mod parquet;
mod pick;
mod rules;
mod section;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::Int32Array;
use bytes::Bytes;

pub(crate) use coded::Coded;
pub(crate) use columns::Strings;
pub use columns::{Adds, Removes};
pub use footer::{Footer, SparseFile, parquet_footer};
pub use group::Group;
pub(crate) use group::{ChunkBounds, Form, TaskRows, kept, partition_strings, plain_texts, valid};
pub(crate) use json::BODY_CRC32;
pub(crate) use lines::{FileLines, PickedAdds, PickedRemoves, file_lines};
pub use names::Names;
pub use parquet::{decode_parquet, parquet_ranges};
pub use pick::FileUnit;

use crate::action::{
    Action, AddCdc, CheckpointMetadata, CommitInfo, DomainMetadata, Metadata, Protocol,
    SetTransaction, Sidecar,
};
use crate::error::Result;

/// What of the file actions to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// No file actions: protocol, metadata, transactions, domains only.
    Head,
    /// File actions without statistics and tags: what a snapshot keeps.
    Narrow,
    /// Everything that a checkpoint carries on, statistics as JSON text and/or `stats_parsed`.
    Wide,
}

/// One log file, decoded: columns of equal length, one file action per row, in file order.
#[derive(Clone, Debug, Default)]
pub struct LogBatch {
    /// `add` actions; `None` if there are none or they were not asked for.
    pub adds: Option<Adds>,
    /// `remove` actions; `None` if there are none or they were not asked for.
    pub removes: Option<Removes>,
    /// `cdc` actions.
    pub cdc: Vec<AddCdc>,
    /// At most one in a commit.
    pub protocol: Option<Protocol>,
    /// At most one in a commit.
    pub metadata: Option<Metadata>,
    /// One per application in a commit.
    pub txns: Vec<SetTransaction>,
    /// One per domain in a commit.
    pub domains: Vec<DomainMetadata>,
    /// The commit's own, if it has one.
    pub commit_info: Option<CommitInfo>,
    /// Was `commitInfo` the first action?
    pub commit_info_first: bool,
    /// V2 checkpoints only.
    pub checkpoint_metadata: Option<CheckpointMetadata>,
    /// V2 checkpoints only.
    pub sidecars: Vec<Sidecar>,
    /// How many actions the file holds, unknown ones left out.
    pub actions: u64,
}

impl LogBatch {
    /// Decodes a commit strictly: one JSON object per line, no key twice at any depth, integers
    /// exact, the limits of [`limits`](crate::limits). Blank lines, CRLF and one leading byte order
    /// mark are allowed. Unknown actions and fields are stepped over, but they must be sound JSON.
    ///
    /// ```
    /// use lakebed_log::batch::{LogBatch, Width};
    ///
    /// # fn main() -> lakebed_log::error::Result<()> {
    /// let commit = br#"
    /// {"commitInfo":{"operation":"WRITE"}}
    /// {"remove":{"path":"a.parquet","dataChange":true,"deletionTimestamp":1700000000000}}
    /// "#;
    /// let batch = LogBatch::from_json(commit, Width::Narrow)?;
    /// assert_eq!(batch.actions, 2);
    /// assert_eq!(batch.removes.unwrap().path().value(0), "a.parquet");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    ///
    /// Linear in `bytes`, in one pass. What is left out by `width` allocates nothing.
    ///
    /// # Errors
    ///
    /// Each placed at `line N`:
    /// - `corrupt-log`: no line at all, not UTF-8, a line that is not exactly one JSON object, a
    ///   key that stands twice in one object.
    /// - `invalid-action`: a field that is missing, of the wrong type or out of range; two actions
    ///   in one object; two adds, or two removes, of one path; an add and a remove of one path and
    ///   vector; two of `metaData`, of `protocol`, of a `txn` of one application or of a domain of
    ///   one name. Paths are compared as [`uri::canonical`](crate::uri::canonical) gives them. At
    ///   width [`Head`](Width::Head) file actions are not looked into.
    /// - `invalid-protocol`, `invalid-metadata`, `invalid-schema`: the same for those two actions.
    /// - `limit-exceeded`: the file, a line, or the nesting is past its limit.
    pub fn from_json(bytes: &[u8], width: Width) -> Result<LogBatch> {
        json::decode(bytes, width, json::Form::Commit)
    }

    /// Decodes a compacted file, `x.y.compacted.json`, as strictly. Of one path it may hold several
    /// removes that differ in their vector. `commitInfo` and `cdc`, which belong to one version,
    /// are left out should it have them.
    ///
    /// # Errors
    ///
    /// As [`LogBatch::from_json`]; `invalid-action` for `checkpointMetadata` and `sidecar`.
    pub fn from_compacted(bytes: &[u8], width: Width) -> Result<LogBatch> {
        json::decode(bytes, width, json::Form::Compacted)
    }

    /// Decodes the top level of a checkpoint in JSON.
    ///
    /// # Errors
    ///
    /// As [`LogBatch::from_json`], with `corrupt-checkpoint` for `corrupt-log` and
    /// `invalid-action`.
    pub fn from_json_checkpoint(bytes: &[u8], width: Width) -> Result<LogBatch> {
        json::checkpoint(bytes, width)
    }

    /// Decodes a Parquet checkpoint, or one part of it, that is held in memory. Columns may come in
    /// any order; one that is missing is null, an unknown one is left out. Row groups come out as
    /// one batch.
    ///
    /// # Cost
    ///
    /// Reads the columns that `width` asks for and no others. What it allocates is bounded by a
    /// multiple of the size of the file.
    ///
    /// # Errors
    ///
    /// - `corrupt-checkpoint`: not Parquet, cut short, no rows, no `add` column, a column of the
    ///   wrong type, a row with two actions, a required field that is null, a size that is
    ///   negative, two rows of one kind or of one file.
    /// - `invalid-protocol` if the protocol contradicts itself.
    /// - `limit-exceeded` for a footer or a column past its limit.
    pub fn from_parquet(bytes: Bytes, width: Width) -> Result<LogBatch> {
        parquet::from_bytes(bytes, width)
    }

    /// A batch from actions, at full width, for tests and for advancing a state by our own commit.
    ///
    /// # Errors
    ///
    /// `invalid-action` if together they break a rule of one commit; see [`LogBatch::from_json`].
    pub fn from_actions(actions: &[Action]) -> Result<LogBatch> {
        json::from_actions(actions)
    }
}

/// The file actions of many small commits in a row, in one set of columns: a commit that adds one
/// file would otherwise need thirty arrays for it.
#[derive(Clone, Debug)]
pub struct Run {
    pub(crate) adds: Option<Adds>,
    pub(crate) removes: Option<Removes>,
    /// Which rows are whose: adds and removes by commit, oldest first.
    pub(crate) rows: Vec<(Range<usize>, Range<usize>)>,
}

impl Run {
    /// Decodes commits, oldest first, at width [`Narrow`](Width::Narrow): what each says beside
    /// its file actions, and the file actions of all of them. `None` if they have to be decoded one
    /// by one.
    ///
    /// # Errors
    ///
    /// Those of [`LogBatch::from_json`], of any of them, and not told of which.
    pub fn from_commits(commits: &[Bytes]) -> Result<Option<(Vec<LogBatch>, Run)>> {
        json::run(commits)
    }
}

/// Offsets of nested columns need this type often.
pub type Offsets = Int32Array;
/// Shared batches.
pub type SharedBatch = Arc<LogBatch>;

#[cfg(test)]
mod tests;
