//! Data files as Parquet, or as rows in JSON in simulation; chosen by `Env`.
//!
//! The engine above asks for batches in the table's shape and hands over batches in the table's
//! shape; what lies in the file is this module's business alone. That makes the seam small enough
//! for a second implementation: the simulator keeps rows as JSON, so that a run costs milliseconds.
//!
//! ```text
//!   write   batches -> columns encoded side by side -> row group -> pieces -> Upload
//!   read    footer -> row groups that can match -> ranges -> decode -> logical -> batches
//! ```
//!
//! Encoding and decoding run on the compute threads; a panic of the Parquet library over hostile
//! bytes ends there and becomes `corrupt-data`.

mod ahead;
mod column;
mod draft;
mod group;
mod index;
mod label;
mod lane;
mod late;
mod live;
mod logical;
mod page;
mod pick;
mod prune;
mod reader;
mod recorded;
mod shred;
mod sparse;
mod spell;
mod squeeze;
mod strand;
mod texts;
mod turn;
mod wanted;
mod writer;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use lakebed_log::error::Result;
use lakebed_log::expr::Expr;
use lakebed_log::row_set::RowSet;
use lakebed_log::schema::{ColumnMapping, Schema};
use lakebed_log::stats::Stats;

pub(crate) use ahead::Ahead;
pub use reader::check_footer;
pub use turn::Turn;

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
    /// The table's schema without partition columns, cut to the wanted columns: shape of the
    /// batches.
    pub schema: Arc<Schema>,
    /// How the file names these columns.
    pub mapping: ColumnMapping,
    /// Bound filter on these columns, to skip row groups and pages with; rows are filtered again
    /// above.
    pub filter: Option<Expr>,
    /// Rows to leave out, see [`Source::leaving_out`].
    pub(crate) deleted: Option<Arc<RowSet>>,
    /// If given, no rows but these. A position past the file's rows is `corrupt-dv`.
    pub only: Option<Arc<RowSet>>,
    /// If given, no rows but those of this range of positions, which may end past the file.
    pub rows: Option<Range<u64>>,
    /// If given, so many rows has the file, or else it is `stats-mismatch`.
    pub counted: Option<u64>,
    /// Batches get one more column, the last: the physical position of each row in the file, from
    /// zero (Int64, not null, named `_row_index`).
    pub positions: bool,
    /// At most this many rows per batch.
    pub batch_rows: usize,
    /// When it may take its memory.
    pub turn: Turn,
}

/// The rows to leave out of a file: its deletion vector, once it is fetched.
pub type Deletions = BoxFuture<'static, Result<Option<Arc<RowSet>>>>;

impl Source {
    /// The same without these rows. For codecs.
    #[must_use]
    pub fn leaving_out(self, deleted: Option<Arc<RowSet>>) -> Source {
        Source { deleted, ..self }
    }

    /// The wanted rows of a batch that holds the rows `rows` of the file, without regard to the
    /// filter; with the column of positions if it is asked for. For codecs.
    ///
    /// # Errors
    ///
    /// `limit-exceeded` for positions past 63 bits.
    pub fn wanted(&self, rows: Range<u64>, batch: RecordBatch) -> Result<RecordBatch> {
        let part = wanted::part(self, rows.clone());
        let index = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        let (skipped, kept) = (part.start - rows.start, part.end - part.start);
        let batch = batch.slice(index(skipped), index(kept));
        wanted::of(self, &[part], self.positions, batch)
    }

    /// Do the sets of rows name only rows that a file of `rows` rows has, and is that the number it
    /// must have? For codecs.
    ///
    /// # Errors
    ///
    /// `corrupt-dv` and `stats-mismatch` if not.
    pub fn check_rows(&self, rows: u64) -> Result<()> {
        wanted::check(self, rows)
    }
}

/// How a data file is written.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// Most bytes of a row group, uncompressed estimate.
    pub row_group_bytes: usize,
    /// Most rows of a page.
    pub page_rows: usize,
    /// About the most bytes of a page, also of a dictionary.
    pub page_bytes: usize,
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
    /// What the format itself has noted of the columns, by their names in the file; a column that
    /// it notes nothing of is left out. The statistics of the log are held against it.
    pub recorded: Stats,
}

/// A format of data files. Two implementations: Parquet here, JSON rows in the simulator.
pub trait Codec: Send + Sync {
    /// End of the file name: `.zstd.parquet`, given the compression.
    fn extension(&self, options: &FileOptions) -> String;
    /// Batches in file order, in exactly the Arrow shape of `source.schema`: missing nullable
    /// columns as null, types as the table's. The memory it holds is taken from the budget.
    ///
    /// `deleted` may take a request of its own, so the codec looks at the file meanwhile. If both
    /// fail, its error is told.
    ///
    /// Errors of the stream: `file-not-found`, `size-mismatch`, `corrupt-data`, `corrupt-dv` for a
    /// set of rows that names one that the file does not have, `type-mismatch`,
    /// `limit-exceeded`, `memory-exceeded`, and what the store says.
    fn read(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        source: Source,
        deleted: Deletions,
    ) -> BoxStream<'static, Result<RecordBatch>>;
    /// A writer of batches of `schema` into `upload`.
    ///
    /// Nothing is taken from the budget: the caller holds a permit for all the files it has open
    /// and looks at [`FileWriter::memory`].
    ///
    /// # Errors
    ///
    /// `invalid-argument` for a compression that does not exist, `unsupported-data` for a schema
    /// that the format cannot hold.
    fn write(
        &self,
        env: &Env,
        op: &Op,
        upload: Box<dyn Upload>,
        schema: SchemaRef,
        options: &FileOptions,
    ) -> Result<Box<dyn FileWriter>>;
}

/// One data file being written.
pub trait FileWriter: Send {
    /// Takes the next rows.
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>>;
    /// Bytes so far, an estimate: rolling looks at it.
    fn bytes(&self) -> u64;
    /// Bytes held in memory, an estimate. Defaults to [`FileWriter::bytes`].
    fn memory(&self) -> u64 {
        self.bytes()
    }
    /// Makes the file whole and durable.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Written>>;
    /// Removes what is there.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl Env {
    /// The data file codec: [`Parquet`] unless told otherwise.
    pub fn codec(&self) -> &Arc<dyn Codec> {
        static PARQUET: LazyLock<Arc<dyn Codec>> = LazyLock::new(|| Arc::new(Parquet));
        self.format().unwrap_or(&PARQUET)
    }

    /// Another data file codec.
    #[must_use]
    pub fn with_codec(&self, codec: Arc<dyn Codec>) -> Env {
        self.with_format(codec)
    }
}

/// Data files as Parquet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parquet;

impl Codec for Parquet {
    fn extension(&self, options: &FileOptions) -> String {
        writer::extension(options)
    }

    fn read(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        source: Source,
        deleted: Deletions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        reader::read(env, op, store, source, deleted)
    }

    fn write(
        &self,
        env: &Env,
        _op: &Op,
        upload: Box<dyn Upload>,
        schema: SchemaRef,
        options: &FileOptions,
    ) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(writer::Writer::new(env, upload, schema, options)?))
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
