//! A Parquet file of the log: checkpoints and sidecars.
//!
//! A checkpoint stands in for the commits below it, which are deleted one day. So its pages carry
//! checksums, as those of data files do: a flipped bit is found when the page is read, and never is
//! another file, or one less. That is why the row groups are laid out here, see
//! [`pages`](crate::pages).

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::parquet_failed;
use crate::error::{Error, Result};
use crate::pages::{Blobs, Chunk, Pieces, Shelf};

/// Rows of one page: of a path column some hundred kilobytes, which is what a selective reader
/// fetches at least.
const PAGE_ROWS: usize = 2_048;

/// Who wrote the file, in the form that Parquet readers parse.
const CREATED_BY: &str = concat!("Lakebed version ", env!("CARGO_PKG_VERSION"));

/// A file being written.
pub(super) struct Encoder {
    file: SerializedFileWriter<Pieces>,
    schema: SchemaRef,
    group_rows: usize,
    shelf: Arc<Shelf>,
    factory: ArrowRowGroupWriterFactory,
    /// The leaf columns of the open row group; none between two.
    leaves: Vec<(ArrowColumnWriter, Blobs)>,
    /// Of the open row group.
    rows: usize,
}

impl Encoder {
    /// With so many rows in each row group.
    pub(super) fn new(schema: SchemaRef, group_rows: usize) -> Result<Encoder> {
        let converted = ArrowSchemaConverter::new().convert(&schema).map_err(parquet_failed)?;
        let root = converted.root_schema_ptr();
        let file = SerializedFileWriter::new(Pieces::default(), root, Arc::new(properties()))
            .map_err(parquet_failed)?;
        let shelf = Arc::new(Shelf::default());
        let factory = ArrowRowGroupWriterFactory::new(&file, schema.clone())
            .with_page_store_factory(Arc::clone(&shelf) as _);
        let group_rows = group_rows.max(1);
        Ok(Encoder { file, schema, group_rows, shelf, factory, leaves: Vec::new(), rows: 0 })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut at = 0;
        while at < batch.num_rows() {
            let len = (self.group_rows - self.rows).min(batch.num_rows() - at);
            self.encode(&batch.slice(at, len))?;
            at += len;
            self.rows += len;
            if self.group_rows <= self.rows {
                self.close_group()?;
            }
        }
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.leaves.is_empty() {
            let at = self.file.flushed_row_groups().len();
            let writers = self.factory.create_column_writers(at).map_err(parquet_failed)?;
            self.leaves = writers.into_iter().zip(self.shelf.take()).collect();
        }
        let mut leaves = self.leaves.iter_mut();
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            for values in compute_leaves(field, column).map_err(parquet_failed)? {
                let Some((writer, _)) = leaves.next() else {
                    return Err(Error::internal("a batch has more columns than its file"));
                };
                writer.write(&values).map_err(parquet_failed)?;
            }
        }
        Ok(())
    }

    fn close_group(&mut self) -> Result<()> {
        self.rows = 0;
        let mut chunks = Vec::with_capacity(self.leaves.len());
        for (writer, blobs) in std::mem::take(&mut self.leaves) {
            chunks.push(Chunk::new(&writer.close().map_err(parquet_failed)?, &blobs)?);
        }
        match chunks.is_empty() {
            true => Ok(()),
            false => Pieces::place_group(&mut self.file, &chunks),
        }
    }

    /// What is encoded so far and was not taken yet.
    pub(super) fn take(&mut self) -> Result<Bytes> {
        let mut pieces = Pieces::taken(&mut self.file)?;
        Ok(match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => pieces.concat().into(),
        })
    }

    /// Writes what is left and the footer, and takes the rest.
    pub(super) fn finish(mut self) -> Result<Bytes> {
        self.close_group()?;
        self.file.finish().map_err(parquet_failed)?;
        self.take()
    }
}

/// Snappy and the first Parquet version, because every reader of checkpoints knows them. Paths and
/// statistics are nearly all distinct: a dictionary would be built and thrown away.
fn properties() -> WriterProperties {
    let column = |path: &[&str]| ColumnPath::new(path.iter().map(ToString::to_string).collect());
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_string())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS / 2)
        .set_column_statistics_enabled(column(&["add", "stats"]), EnabledStatistics::None)
        .set_column_dictionary_enabled(column(&["add", "path"]), false)
        .set_column_dictionary_enabled(column(&["add", "stats"]), false)
        .set_column_dictionary_enabled(column(&["remove", "path"]), false)
        .build()
}
