//! What goes into a write, and how its files are laid out.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, Schema as ArrowSchema, SchemaRef};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use lakebed_log::error::{Error, Result};
use lakebed_log::schema::ArrowOptions;

use crate::env::Env;
use crate::read::Batches;

/// Rows to write: batches, a `RecordBatchReader`, or a stream of results, all of one schema.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{Int64Array, RecordBatch};
/// use lakebed::Data;
///
/// let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// let data = Data::from(vec![batch.clone(), batch]);
/// assert_eq!(data.schema().fields().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Data {
    pub(super) schema: SchemaRef,
    pub(super) rows: Rows,
    /// How much it is, if that is known.
    pub(super) bytes: Option<u64>,
}

type Reader = Box<dyn RecordBatchReader + Send>;

pub(super) enum Rows {
    Stream(BoxStream<'static, Result<RecordBatch>>),
    Reader(Reader),
}

impl Data {
    /// From a stream whose schema is known.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator};
    /// # use lakebed::{Append, Data, blocking::Table};
    /// # let ids = Arc::new(Int64Array::from(vec![1, 2]));
    /// # let batch = RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// let schema = batch.schema();
    /// let rows = futures::stream::iter([Ok(batch.clone()), Ok(batch)]);
    /// let table = Table::open("memory://doc/data-stream")?;
    /// let done = table.append(Data::stream(schema, rows), Append::new())?;
    /// assert_eq!(done.metrics()["numOutputRows"], "4");
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn stream(
        schema: SchemaRef,
        stream: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Data {
        Data { schema, rows: Rows::Stream(stream.boxed()), bytes: None }
    }

    /// From a reader; it is pulled on threads for blocking work.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator};
    /// # use lakebed::{Append, Data, blocking::Table};
    /// # let ids = Arc::new(Int64Array::from(vec![1, 2]));
    /// # let batch = RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// let reader = RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
    /// let table = Table::open("memory://doc/data-reader")?;
    /// let done = table.append(Data::reader(reader), Append::new())?;
    /// assert_eq!(done.metrics()["numOutputRows"], "2");
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn reader(reader: impl RecordBatchReader + Send + 'static) -> Data {
        Data { schema: reader.schema(), rows: Rows::Reader(Box::new(reader)), bytes: None }
    }

    /// The schema.
    ///
    /// ```
    /// assert_eq!(lakebed::Data::from(vec![]).schema().fields().len(), 0);
    /// ```
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Schema and stream, for whoever looks at rows before they are written.
    pub(crate) fn into_parts(
        self,
        env: &Env,
    ) -> (SchemaRef, BoxStream<'static, Result<RecordBatch>>) {
        let stream = match self.rows {
            Rows::Stream(stream) => stream,
            Rows::Reader(reader) => pulled(env.clone(), reader),
        };
        (self.schema, stream)
    }
}

/// A reader as a stream; it is pulled on threads for blocking work.
fn pulled(env: Env, reader: Reader) -> BoxStream<'static, Result<RecordBatch>> {
    let next = move |reader: Option<Reader>| {
        let env = env.clone();
        async move {
            let mut reader = reader?;
            let work = move || {
                let next = reader.next();
                Ok((reader, next))
            };
            match env.block(work).await {
                Ok((reader, next)) => Some((next?.map_err(input), Some(reader))),
                Err(it) => Some((Err(it), None)),
            }
        }
    };
    stream::unfold(Some(reader), next).boxed()
}

pub(super) fn input(err: ArrowError) -> Error {
    Error::invalid("the input ends in an error").because(err)
}

/// One batch.
impl From<RecordBatch> for Data {
    fn from(batch: RecordBatch) -> Data {
        Data::from(vec![batch])
    }
}

/// Batches of one schema; an empty list has no columns.
impl From<Vec<RecordBatch>> for Data {
    fn from(batches: Vec<RecordBatch>) -> Data {
        let schema =
            batches.first().map_or_else(|| Arc::new(ArrowSchema::empty()), |it| it.schema());
        let bytes = batches.iter().map(|it| it.get_array_memory_size() as u64).sum();
        let rows = Rows::Stream(stream::iter(batches.into_iter().map(Ok)).boxed());
        Data { schema, rows, bytes: Some(bytes) }
    }
}

/// What a reader yields, as [`Data::reader`].
impl From<Reader> for Data {
    fn from(reader: Reader) -> Data {
        Data { schema: reader.schema(), rows: Rows::Reader(reader), bytes: None }
    }
}

/// Rows of a table, as they are read.
impl From<Batches> for Data {
    fn from(batches: Batches) -> Data {
        Data::stream(Arc::clone(batches.schema()), batches)
    }
}

/// How files are laid out.
///
/// ```
/// # use lakebed::{Append, Layout};
/// let small = Layout { target_file_bytes: 16 << 20, ..Layout::default() };
/// let options = Append::new().layout(small);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Files roll at about this many bytes. Defaults to 128 MiB; a table's `delta.targetFileSize`
    /// takes the place of the default.
    pub target_file_bytes: u64,
    /// Most rows of a row group. Defaults to 1,048,576.
    pub row_group_rows: usize,
    /// Most bytes of a row group. Defaults to 128 MiB.
    pub row_group_bytes: usize,
    /// Most rows of a page. Defaults to 20,000.
    pub page_rows: usize,
    /// About the most bytes of a page. Defaults to 1 MiB.
    pub page_bytes: usize,
    /// `zstd`, `snappy`, `gzip`, `lz4`, `brotli` or `none`, and a level for those that have some.
    /// Defaults to what the table's `delta.parquet.compression.codec` says, or else zstd at
    /// level 1.
    pub compression: Option<(String, Option<i32>)>,
    /// What to do with Arrow types that have no lossless twin.
    pub arrow: ArrowOptions,
}

impl Layout {
    /// For rows that are taken by position: small pages, so that a row is had without thousands of
    /// others, in row groups of moderate size. Files become larger by about a tenth.
    ///
    /// ```
    /// # use lakebed::{Append, Layout};
    /// let options = Append::new().layout(Layout::random_access());
    /// # let _ = options;
    /// ```
    pub fn random_access() -> Layout {
        Layout {
            row_group_rows: 256 << 10,
            row_group_bytes: 64 << 20,
            page_rows: 256,
            page_bytes: 16 << 10,
            ..Layout::default()
        }
    }
}

impl Default for Layout {
    fn default() -> Layout {
        Layout {
            target_file_bytes: 128 << 20,
            row_group_rows: 1 << 20,
            row_group_bytes: 128 << 20,
            page_rows: 20_000,
            page_bytes: 1 << 20,
            compression: None,
            arrow: ArrowOptions::default(),
        }
    }
}
