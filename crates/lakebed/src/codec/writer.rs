//! Parquet out: columns side by side, pieces as they come.
//!
//! Encoding and compressing is nearly all the cost of a write, and every column of a row group can
//! be encoded by itself. Rows are gathered into chunks of some megabytes; each chunk goes through
//! all columns at once, spread over the compute threads, while the bytes of the row group before it
//! travel to the store. What stays in memory is one chunk of rows and the encoded pages of one row
//! group.
//!
//! ```text
//!   rows ----> chunk --+--> column a --> pages ---+
//!                      +--> column b --> pages ---+--> row group --> pieces --> Upload
//!                      +--> column c --> pages ---+
//! ```
//!
//! A file that fits in one chunk is encoded by a single job. The bytes depend on the rows and on
//! where the batches end, never on timing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{FieldRef, SchemaRef};
use bytes::Bytes;
use futures::future::{join, try_join_all};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::stats::Stats;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;

use super::pages::{Blobs, Chunk, Pieces, Shelf};
use super::recorded::recorded;
use super::{FileOptions, FileWriter, Written};
use crate::env::{BoxFuture, Env};
use crate::store::Upload;

/// Rows are gathered to about this many bytes before they are encoded: all columns wait for the
/// last one, so chunks are not small.
const CHUNK_BYTES: usize = 16 << 20;
/// But to no more than this part of a row group.
const CHUNK_SHARE: usize = 8;
/// This part of the outbox goes to the store while a chunk is encoded, or a chunk's worth.
const OUTBOX_SHARE: usize = 4;
/// Up to this many bytes, spreading the columns costs more than it saves.
const INLINE_BYTES: usize = 1 << 20;
/// Rows that the library encodes before it looks whether a page is full.
const WRITE_ROWS: usize = 1024;

/// A Parquet file being written.
pub(super) struct Writer {
    env: Env,
    upload: Box<dyn Upload>,
    /// Gone while a job has it, and for good once a job failed.
    encoder: Option<Encoder>,
    options: FileOptions,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    /// Encoded bytes on their way to the store.
    outbox: Vec<Bytes>,
    /// Of the open row group, pending rows included.
    group_rows: usize,
    group_bytes: usize,
    /// Of the whole file.
    rows: u64,
    raw_bytes: u64,
    encoded_bytes: u64,
    /// Bytes of pages held.
    held_bytes: u64,
}

impl Writer {
    pub(super) fn new(
        env: &Env,
        upload: Box<dyn Upload>,
        schema: SchemaRef,
        options: &FileOptions,
    ) -> Result<Writer> {
        Ok(Writer {
            env: env.clone(),
            upload,
            encoder: Some(Encoder::new(schema, options)?),
            options: options.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            outbox: Vec::new(),
            group_rows: 0,
            group_bytes: 0,
            rows: 0,
            raw_bytes: 0,
            encoded_bytes: 0,
            held_bytes: 0,
        })
    }

    async fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let (rows, bytes) = (batch.num_rows(), slice_bytes(&batch));
        let mut from = 0;
        while from < rows {
            let room = self.options.row_group_rows.max(1).saturating_sub(self.group_rows);
            let len = room.min(rows - from);
            let part = if len == rows { batch.clone() } else { batch.slice(from, len) };
            let part_bytes = share(bytes, len, rows);
            from += len;

            self.pending.push(part);
            self.pending_bytes += part_bytes;
            self.group_rows += len;
            self.group_bytes += part_bytes;
            self.rows += len as u64;
            let full = self.options.row_group_rows <= self.group_rows
                || self.options.row_group_bytes <= self.group_bytes;
            if full {
                self.encode(true).await?;
                self.place().await?;
            } else if self.chunk_bytes() <= self.pending_bytes {
                self.encode(false).await?;
            }
        }
        Ok(())
    }

    /// Encodes the pending rows, all columns at once, while some of the outbox goes to the store.
    async fn encode(&mut self, close: bool) -> Result<()> {
        let mut encoder = self.encoder()?;
        let batches: Arc<[RecordBatch]> = std::mem::take(&mut self.pending).into();
        let columns = std::mem::take(&mut encoder.columns);
        let some = self.some_of_outbox();
        let encode = encode(&self.env, columns, batches, close);
        let (encoded, sent) = join(encode, send(&mut *self.upload, some)).await;
        encoder.columns = encoded?;
        sent?;
        self.settle(encoder);
        Ok(())
    }

    fn chunk_bytes(&self) -> usize {
        (self.options.row_group_bytes / CHUNK_SHARE).clamp(INLINE_BYTES, CHUNK_BYTES)
    }

    /// The first pieces of the outbox: no more than are sent while a chunk is encoded, so that no
    /// core waits for them, and no fewer than a share, so that they do not pile up.
    fn some_of_outbox(&mut self) -> Vec<Bytes> {
        let all: usize = self.outbox.iter().map(Bytes::len).sum();
        let (most, mut bytes) = (self.chunk_bytes().max(all / OUTBOX_SHARE), 0);
        let first = self.outbox.iter().take_while(|it| {
            let room = bytes < most;
            bytes += it.len();
            room
        });
        let count = first.count();
        self.outbox.drain(..count).collect()
    }

    /// Places the closed columns in the file as one row group.
    async fn place(&mut self) -> Result<()> {
        let mut encoder = self.encoder()?;
        let (encoder, pieces) = self
            .env
            .compute(move || {
                encoder.place()?;
                encoder.open_group()?;
                let pieces = encoder.pieces()?;
                Ok((encoder, pieces))
            })
            .await?;
        self.outbox.extend(pieces);
        (self.group_rows, self.group_bytes) = (0, 0);
        self.settle(encoder);
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Written> {
        if INLINE_BYTES < self.pending_bytes
            && let Err(err) = self.encode(true).await
        {
            return self.fail(err).await;
        }
        let done = match self.encoder() {
            Err(err) => Err(err),
            Ok(mut encoder) => {
                let pending = std::mem::take(&mut self.pending);
                let bytes = usize::try_from(self.raw_bytes).unwrap_or(usize::MAX);
                let bytes = bytes.saturating_add(self.pending_bytes);
                self.env.compute_of(bytes, move || encoder.finish(&pending)).await
            }
        };
        let sent = match done {
            Err(err) => Err(err),
            Ok((pieces, recorded)) => {
                self.outbox.extend(pieces);
                let sent = send(&mut *self.upload, std::mem::take(&mut self.outbox)).await;
                sent.map(|()| recorded)
            }
        };
        match sent {
            Err(err) => self.fail(err).await,
            Ok(recorded) => {
                let (size, rows) = (self.upload.finish().await?, self.rows);
                Ok(Written { size, rows, recorded })
            }
        }
    }

    async fn fail(self: Box<Self>, err: Error) -> Result<Written> {
        self.upload.abort().await;
        Err(err)
    }

    fn encoder(&mut self) -> Result<Encoder> {
        self.encoder.take().ok_or_else(|| Error::internal("the file failed before"))
    }

    fn settle(&mut self, encoder: Encoder) {
        self.raw_bytes += std::mem::take(&mut self.pending_bytes) as u64;
        let open = encoder.columns.iter().flat_map(|it| &it.writers);
        let (estimate, held) = open.fold((0, 0), |(estimate, held), it| {
            (estimate + it.get_estimated_total_bytes() as u64, held + it.memory_size() as u64)
        });
        self.encoded_bytes = encoder.file.bytes_written() as u64 + estimate;
        self.held_bytes = held;
        self.encoder = Some(encoder);
    }
}

impl FileWriter for Writer {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.take(batch))
    }

    /// Rows not yet encoded count as if they shrank like those before them.
    fn bytes(&self) -> u64 {
        let pending = self.pending_bytes as u64;
        let pending = match self.raw_bytes {
            0 => pending,
            raw => pending.saturating_mul(self.encoded_bytes) / raw,
        };
        self.encoded_bytes + pending
    }

    fn memory(&self) -> u64 {
        let outbox: usize = self.outbox.iter().map(Bytes::len).sum();
        self.held_bytes + (self.pending_bytes + outbox) as u64
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Written>> {
        Box::pin(self.close())
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.upload.abort()
    }
}

/// One top-level column of the open row group.
struct Column {
    at: usize,
    field: FieldRef,
    writers: Vec<ArrowColumnWriter>,
    blobs: Vec<Blobs>,
    /// Of each leaf: was a NaN among its values?
    nans: Vec<bool>,
    closed: Vec<Chunk>,
}

impl Column {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(array) = batch.columns().get(self.at) else {
            return Err(Error::internal("a batch has fewer columns than its file"));
        };
        let leaves = compute_leaves(&self.field, array).map_err(encoding)?;
        for (writer, leaf) in self.writers.iter_mut().zip(&leaves) {
            writer.write(leaf).map_err(encoding)?;
        }
        let mut nans = Vec::with_capacity(self.nans.len());
        find_nans(array, &mut nans);
        self.nans.iter_mut().zip(nans).for_each(|(seen, found)| *seen |= found);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let leaves = self.writers.drain(..).zip(self.blobs.drain(..)).zip(self.nans.drain(..));
        for ((writer, blobs), nan) in leaves {
            let chunk = writer.close().map_err(encoding)?;
            let chunk = Chunk::new(&chunk, &blobs)?;
            self.closed.push(if nan { chunk.without_bounds()? } else { chunk });
        }
        Ok(())
    }
}

/// The file and its open row group. What moves into jobs.
struct Encoder {
    file: SerializedFileWriter<Pieces>,
    /// Of the row groups to come.
    properties: WriterPropertiesPtr,
    factory: ArrowRowGroupWriterFactory,
    shelf: Arc<Shelf>,
    schema: SchemaRef,
    columns: Vec<Column>,
    groups: usize,
}

impl Encoder {
    fn new(schema: SchemaRef, options: &FileOptions) -> Result<Encoder> {
        let properties = WriterProperties::builder()
            .set_created_by(format!("Lakebed version {}", env!("CARGO_PKG_VERSION")))
            .set_compression(compression(&options.compression)?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_data_page_row_count_limit(options.page_rows)
            .set_write_batch_size(options.page_rows.clamp(1, WRITE_ROWS))
            .set_data_page_size_limit(options.page_bytes)
            .set_dictionary_page_size_limit(options.page_bytes)
            .set_coerce_types(true)
            .build();
        let unsupported = |err: ParquetError| {
            Error::new(Code::UnsupportedData, "the columns cannot be stored as Parquet")
                .because(err)
        };
        let converted = ArrowSchemaConverter::new()
            .with_coerce_types(true)
            .schema_root("schema")
            .convert(&schema)
            .map_err(unsupported)?;
        let root = converted.root_schema_ptr();
        let properties = Arc::new(properties);
        let file = SerializedFileWriter::new(Pieces::default(), root, Arc::clone(&properties))
            .map_err(unsupported)?;
        let shelf = Arc::new(Shelf::default());
        let factory = factory(&file, &schema, &shelf);
        let columns = Vec::new();
        let mut encoder = Encoder { file, properties, factory, shelf, schema, columns, groups: 0 };
        encoder.open_group()?;
        Ok(encoder)
    }

    fn open_group(&mut self) -> Result<()> {
        let writers = self.factory.create_column_writers(self.groups).map_err(encoding)?;
        let mut leaves = writers.into_iter().zip(self.shelf.take());
        self.groups += 1;
        self.columns.clear();
        for (at, field) in self.schema.fields().iter().enumerate() {
            let count = leaf_count(field);
            let (writers, blobs) = leaves.by_ref().take(count).unzip();
            let (field, nans) = (Arc::clone(field), vec![false; count]);
            self.columns.push(Column { at, field, writers, blobs, nans, closed: Vec::new() });
        }
        Ok(())
    }

    fn place(&mut self) -> Result<()> {
        let chunks: Vec<Chunk> = self.columns.drain(..).flat_map(|it| it.closed).collect();
        self.file.flush().map_err(|it| encoding(it.into()))?;
        chunks.iter().for_each(|it| self.file.inner_mut().place(it));
        let mut group = self.file.next_row_group().map_err(encoding)?;
        for chunk in &chunks {
            group.append_column(chunk, chunk.close().clone()).map_err(encoding)?;
        }
        group.close().map_err(encoding)?;
        self.learn(&chunks)
    }

    /// Goes on without the dictionaries that this row group has given up. The next file tries them
    /// again.
    fn learn(&mut self, chunks: &[Chunk]) -> Result<()> {
        let mut in_vain = chunks.iter().filter(|it| it.gave_up_dictionary()).peekable();
        if in_vain.peek().is_none() {
            return Ok(());
        }
        let mut properties = WriterProperties::clone(&self.properties).into_builder();
        for chunk in in_vain {
            let path = chunk.close().metadata.column_path().clone();
            properties = properties.set_column_dictionary_enabled(path, false);
        }
        self.properties = Arc::new(properties.build());
        let root = self.file.schema_descr().root_schema_ptr();
        let template =
            SerializedFileWriter::new(Pieces::default(), root, Arc::clone(&self.properties));
        self.factory = factory(&template.map_err(encoding)?, &self.schema, &self.shelf);
        Ok(())
    }

    fn pieces(&mut self) -> Result<Vec<Bytes>> {
        self.file.flush().map_err(|it| encoding(it.into()))?;
        self.file.inner_mut().take()
    }

    /// Encodes the last rows, if any are left, and the footer; and says what stands there.
    fn finish(&mut self, pending: &[RecordBatch]) -> Result<(Vec<Bytes>, Stats)> {
        for batch in pending {
            self.columns.iter_mut().try_for_each(|it| it.write(batch))?;
        }
        self.columns.iter_mut().try_for_each(Column::close)?;
        let rows = self.columns.iter().flat_map(|it| &it.closed).map(|it| it.close().rows_written);
        if rows.max().is_some_and(|it| 0 < it) {
            self.place()?;
        }
        let metadata = self.file.finish().map_err(encoding)?;
        let recorded = recorded(&metadata, &self.schema);
        Ok((self.pieces()?, recorded))
    }
}

/// Makes writers of columns with the properties of `file`.
fn factory(
    file: &SerializedFileWriter<Pieces>,
    schema: &SchemaRef,
    shelf: &Arc<Shelf>,
) -> ArrowRowGroupWriterFactory {
    ArrowRowGroupWriterFactory::new(file, Arc::clone(schema))
        .with_page_store_factory(Arc::clone(shelf) as _)
}

/// Writes the batches to every column. Each job takes the next column that nobody has, the widest
/// first, so that a heavy one does not hold up the rest.
async fn encode(
    env: &Env,
    mut columns: Vec<Column>,
    batches: Arc<[RecordBatch]>,
    close: bool,
) -> Result<Vec<Column>> {
    let width = |at: usize| -> usize {
        batches.iter().filter_map(|it| it.columns().get(at)).map(array_bytes).sum()
    };
    columns.sort_by_cached_key(|it| (usize::MAX - width(it.at), it.at));
    let jobs = env.cores().clamp(1, columns.len().max(1));
    let queue = Arc::new(Mutex::new(VecDeque::from(columns)));
    let run = |_| {
        let (queue, batches) = (Arc::clone(&queue), Arc::clone(&batches));
        env.compute(move || {
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(mut column) = next else { return Ok(done) };
                batches.iter().try_for_each(|it| column.write(it))?;
                if close {
                    column.close()?;
                }
                done.push(column);
            }
        })
    };
    let done = try_join_all((0..jobs).map(run)).await?;
    let mut done: Vec<Column> = done.into_iter().flatten().collect();
    done.sort_by_key(|it| it.at);
    Ok(done)
}

async fn send(upload: &mut dyn Upload, pieces: Vec<Bytes>) -> Result<()> {
    for piece in pieces {
        upload.write(piece).await?;
    }
    Ok(())
}

/// End of the file name, as other writers of Parquet name it.
pub(super) fn extension(options: &FileOptions) -> String {
    let codec = match options.compression.0.as_str() {
        "none" | "uncompressed" => return ".parquet".to_string(),
        "gzip" => "gz",
        "brotli" => "br",
        other => other,
    };
    format!(".{codec}.parquet")
}

fn compression((name, level): &(String, Option<i32>)) -> Result<Compression> {
    let bad = |err: ParquetError| {
        Error::invalid(format!("compression level {} of `{name}`", level.unwrap_or_default()))
            .because(err)
    };
    let unsigned = |default: u32| match level {
        None => Ok(default),
        Some(it) => u32::try_from(*it)
            .map_err(|_| Error::invalid(format!("compression level {it} of `{name}`"))),
    };
    Ok(match name.as_str() {
        "zstd" => Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(1)).map_err(bad)?),
        "snappy" => Compression::SNAPPY,
        "none" | "uncompressed" => Compression::UNCOMPRESSED,
        "gzip" => Compression::GZIP(GzipLevel::try_new(unsigned(6)?).map_err(bad)?),
        "lz4" => Compression::LZ4_RAW,
        "brotli" => Compression::BROTLI(BrotliLevel::try_new(unsigned(1)?).map_err(bad)?),
        _ => {
            let known = "zstd, snappy, gzip, lz4, brotli, none";
            return Err(Error::invalid(format!("compression `{name}` is not one of {known}")));
        }
    })
}

fn leaf_count(field: &FieldRef) -> usize {
    use arrow_schema::DataType::{List, Map, Struct};
    match field.data_type() {
        Struct(fields) => fields.iter().map(leaf_count).sum(),
        List(element) | Map(element, _) => leaf_count(element),
        _ => 1,
    }
}

/// Says of each leaf, in the order of the file, whether there is a NaN in it. One that no row can
/// see, under a null, may count too: that costs bounds and no rows.
fn find_nans(array: &ArrayRef, out: &mut Vec<bool>) {
    use arrow_schema::DataType::{Float32, Float64, List, Map, Struct};
    match array.data_type() {
        Float32 => {
            out.push(array.as_primitive::<Float32Type>().values().iter().any(|it| it.is_nan()));
        }
        Float64 => {
            out.push(array.as_primitive::<Float64Type>().values().iter().any(|it| it.is_nan()));
        }
        Struct(_) => array.as_struct().columns().iter().for_each(|it| find_nans(it, out)),
        List(_) => {
            let list = array.as_list::<i32>();
            find_nans(&within(list.values(), list.offsets()), out);
        }
        Map(..) => {
            let map = array.as_map();
            let entries = map.entries().columns().iter();
            entries.for_each(|it| find_nans(&within(it, map.offsets()), out));
        }
        _ => out.push(false),
    }
}

/// The elements that the lists of a slice can have.
fn within(elements: &ArrayRef, offsets: &OffsetBuffer<i32>) -> ArrayRef {
    let place = |at: Option<&i32>| at.and_then(|it| usize::try_from(*it).ok()).unwrap_or(0);
    let (from, to) = (place(offsets.first()), place(offsets.last()));
    elements.slice(from, to.saturating_sub(from))
}

/// Bytes of the rows of a batch, not of the buffers that they are cut from.
pub(super) fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

fn array_bytes(it: &ArrayRef) -> usize {
    it.to_data().get_slice_memory_size().unwrap_or_else(|_| it.get_array_memory_size())
}

/// What `part` of `whole` is of `bytes`.
fn share(bytes: usize, part: usize, whole: usize) -> usize {
    bytes.checked_mul(part).map_or(bytes, |it| it / whole.max(1))
}

fn encoding(err: ParquetError) -> Error {
    Error::internal("the rows could not be encoded as Parquet").because(err)
}
