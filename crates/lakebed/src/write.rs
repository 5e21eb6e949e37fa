//! Record batches to data files with statistics.

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use lakebed_log::action::Add;
use lakebed_log::error::Result;
use lakebed_log::schema::{ArrowOptions, Schema};
use lakebed_log::property::Properties;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// Rows to write: batches, a `RecordBatchReader`, or a stream of results, all of one schema.
pub struct Data {
    schema: SchemaRef,
    stream: BoxStream<'static, Result<RecordBatch>>,
}

impl Data {
    /// From a stream whose schema is known.
    pub fn stream(schema: SchemaRef, stream: BoxStream<'static, Result<RecordBatch>>) -> Data { Data { schema, stream } }
    /// From a reader; it is pulled on the compute threads' side of `write`.
    pub fn reader(_reader: impl RecordBatchReader + Send + 'static) -> Data { todo!() }
    /// The schema.
    pub fn schema(&self) -> &SchemaRef { &self.schema }
    /// Schema and stream, for whoever looks at rows before they are written.
    pub(crate) fn into_parts(self) -> (SchemaRef, BoxStream<'static, Result<RecordBatch>>) { (self.schema, self.stream) }
}

/// One batch.
impl From<RecordBatch> for Data {
    fn from(_batch: RecordBatch) -> Data { todo!() }
}

/// Batches of one schema; an empty list has no columns.
impl From<Vec<RecordBatch>> for Data {
    fn from(_batches: Vec<RecordBatch>) -> Data { todo!() }
}

/// How files are laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Files roll at about this many bytes. Defaults to 128 MiB.
    pub target_file_bytes: u64,
    /// Most rows of a row group. Defaults to 1,048,576.
    pub row_group_rows: usize,
    /// Most bytes of a row group. Defaults to 128 MiB.
    pub row_group_bytes: usize,
    /// Defaults to zstd at level 1.
    pub compression: (String, Option<i32>),
    /// What to do with Arrow types that have no lossless twin.
    pub arrow: ArrowOptions,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { target_file_bytes: 128 << 20, row_group_rows: 1 << 20, row_group_bytes: 128 << 20, compression: ("zstd".into(), Some(1)), arrow: ArrowOptions::default() }
    }
}

/// Writes rows as data files of the table: conforms to the schema, splits by partition, rolls, collects statistics. On any
/// error the files written so far are removed. Files are durable when it returns. A partition that is not at the end of the
/// input stays open; memory is bounded by the budget: past it the largest open files are finished early.
pub async fn write(_env: &Env, _op: &Op, _store: &Store, _data: Data, _schema: &Schema, _partition_columns: &[String], _properties: &Properties, _layout: &Layout) -> Result<Vec<Add>> { todo!() }
