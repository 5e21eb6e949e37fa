//! Data files as Parquet, or as rows in JSON in simulation; chosen by `Env`.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::stream::BoxStream;
use lakebed_log::error::Result;
use lakebed_log::expr::Expr;
use lakebed_log::schema::Schema;

use crate::env::{BoxFuture, Env};
use crate::op::Op;
use crate::store::{Store, Upload};

/// One data file to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Object key below the root.
    pub key: String,
    /// As the log says.
    pub size: u64,
    /// The table's schema without partition columns, cut to the wanted columns: shape of the batches.
    pub schema: Arc<Schema>,
    /// Bound filter on these columns, to skip row groups and pages with; rows are filtered again above.
    pub filter: Option<Expr>,
    /// At most this many rows per batch.
    pub batch_rows: usize,
}

/// How a data file is written.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// Most bytes of a row group, uncompressed estimate.
    pub row_group_bytes: usize,
    /// `zstd`, `snappy`, `none`, `gzip`, `lz4`, `brotli`; and its level.
    pub compression: (String, Option<i32>),
}

/// What a finished data file is.
#[derive(Clone, Debug)]
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
}

/// A format of data files. Two implementations: Parquet here, JSON rows in the simulator.
pub trait Codec: Send + Sync {
    /// End of the file name: `.zstd.parquet`, given the compression.
    fn extension(&self, options: &FileOptions) -> String;
    /// Batches in file order, in exactly the Arrow shape of `source.schema`: missing nullable columns as null, types as the
    /// table's. The memory it holds is taken from the budget.
    fn read(&self, env: &Env, op: &Op, store: &Store, source: Source) -> BoxStream<'static, Result<RecordBatch>>;
    /// A writer of batches of `schema` into `upload`.
    fn write(&self, env: &Env, op: &Op, upload: Box<dyn Upload>, schema: SchemaRef, options: &FileOptions) -> Result<Box<dyn FileWriter>>;
}

/// One data file being written.
pub trait FileWriter: Send {
    /// Takes the next rows.
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>>;
    /// Bytes so far, an estimate: rolling looks at it.
    fn bytes(&self) -> u64;
    /// Makes the file whole and durable.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Written>>;
    /// Removes what is there.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Data files as Parquet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parquet;

/// Placeholder of the trait's unused import.
pub type Body = Bytes;
