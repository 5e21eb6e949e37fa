//! `LogBatch`: one log file as Arrow columns, from JSON lines or Parquet bytes.
//!
//! The file actions keep the shape of a checkpoint's `add` and `remove` columns, so that a checkpoint decodes into
//! them without a copy and is written from them without one.

use std::sync::Arc;

use arrow_array::{BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StructArray};
use arrow_schema::SchemaRef;
use bytes::Bytes;

use crate::action::{AddCdc, Add, CheckpointMetadata, CommitInfo, DomainMetadata, Metadata, Protocol, Remove, SetTransaction, Sidecar};
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
    /// `add` actions.
    pub adds: Option<Adds>,
    /// `remove` actions.
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

/// `add` actions as columns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Adds(RecordBatch);

/// `remove` actions as columns. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Removes(RecordBatch);

// Columns, in this order, names as in the protocol:
//   Adds:    path Utf8 !null, partitionValues Map<Utf8, Utf8?> !null, size Int64 !null, modificationTime Int64 !null,
//            dataChange Boolean !null, deletionVector Struct<storageType Utf8, pathOrInlineDv Utf8, offset Int32?,
//            sizeInBytes Int32, cardinality Int64>?, baseRowId Int64?, defaultRowCommitVersion Int64?,
//            clusteringProvider Utf8?          (Narrow ends here)
//            stats Utf8?, tags Map<Utf8, Utf8?>?   and, if the checkpoint has it, stats_parsed Struct (last)
//   Removes: path, deletionTimestamp Int64?, dataChange Boolean !null, extendedFileMetadata Boolean?,
//            partitionValues Map?, size Int64?, deletionVector?, baseRowId?, defaultRowCommitVersion?

impl LogBatch {
    /// Decodes a commit or compacted file strictly: one JSON object per line, no duplicate key at any depth, integers
    /// exact, the limits of `limits`. Blank lines, CRLF and one leading BOM are allowed; a file without any
    /// line is `corrupt-log`. Checks each action (`invalid-action`, `invalid-protocol`, `invalid-metadata`) and that a
    /// commit holds no two adds or two removes of one path, no add and remove of one (path, vector), no two metaData,
    /// protocol, txn of one app, or domain of one name (`invalid-action`). Places errors at `line N`.
    pub fn from_json(_bytes: &[u8], _width: Width) -> Result<LogBatch> { todo!() }

    /// Decodes a Parquet checkpoint (or part) fully held in memory; one `LogBatch` per call, row groups and batches
    /// concatenated. `corrupt-checkpoint` for a missing `add` column, wrong types, two actions in a row, null
    /// required fields, duplicates, no rows; `limit-exceeded`.
    pub fn from_parquet(_bytes: Bytes, _width: Width) -> Result<LogBatch> { todo!() }

    /// A batch from actions, for tests and for advancing a state by our own commit.
    pub fn from_actions(_actions: &[crate::action::Action]) -> Result<LogBatch> { todo!() }
}

impl Adds {
    /// The columns of the width.
    pub fn schema(_width: Width) -> SchemaRef { todo!() }
    /// Takes columns of that shape.
    pub fn new(_batch: RecordBatch) -> Result<Adds> { todo!() }
    /// How many rows.
    pub fn len(&self) -> usize { self.0.num_rows() }
    /// No rows?
    pub fn is_empty(&self) -> bool { self.len() == 0 }
    /// The columns.
    pub fn batch(&self) -> &RecordBatch { &self.0 }
    /// Paths as in the log, encoded.
    pub fn path(&self) -> &StringArray { todo!() }
    /// Partition strings.
    pub fn partition_values(&self) -> &MapArray { todo!() }
    /// Bytes.
    pub fn size(&self) -> &Int64Array { todo!() }
    /// Milliseconds.
    pub fn modification_time(&self) -> &Int64Array { todo!() }
    /// Not a mere rearrangement.
    pub fn data_change(&self) -> &BooleanArray { todo!() }
    /// Vectors.
    pub fn deletion_vector(&self) -> &StructArray { todo!() }
    /// JSON statistics; `None` if decoded narrow.
    pub fn stats(&self) -> Option<&StringArray> { todo!() }
    /// Struct statistics of a checkpoint, if it has them and was decoded wide.
    pub fn stats_parsed(&self) -> Option<&StructArray> { todo!() }
    /// The string of one partition column at one row; the outer `None`: no such key.
    pub fn partition_value(&self, _row: usize, _name: &str) -> Option<Option<&str>> { todo!() }
    /// Unique id of the row's vector.
    pub fn dv_id(&self, _row: usize) -> Option<String> { todo!() }
    /// One row as a struct.
    pub fn get(&self, _row: usize) -> Result<Add> { todo!() }
}

impl Removes {
    /// The columns.
    pub fn schema() -> SchemaRef { todo!() }
    /// Takes columns of that shape.
    pub fn new(_batch: RecordBatch) -> Result<Removes> { todo!() }
    /// How many rows.
    pub fn len(&self) -> usize { self.0.num_rows() }
    /// No rows?
    pub fn is_empty(&self) -> bool { self.len() == 0 }
    /// The columns.
    pub fn batch(&self) -> &RecordBatch { &self.0 }
    /// Paths as in the log, encoded.
    pub fn path(&self) -> &StringArray { todo!() }
    /// Milliseconds.
    pub fn deletion_timestamp(&self) -> &Int64Array { todo!() }
    /// Vectors.
    pub fn deletion_vector(&self) -> &StructArray { todo!() }
    /// Unique id of the row's vector.
    pub fn dv_id(&self, _row: usize) -> Option<String> { todo!() }
    /// One row as a struct.
    pub fn get(&self, _row: usize) -> Result<Remove> { todo!() }
}

/// Offsets of nested columns need this type often.
pub type Offsets = Int32Array;
/// Shared batches.
pub type SharedBatch = Arc<LogBatch>;
