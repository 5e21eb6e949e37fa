//! Parquet out: columns side by side, pieces as they come.
//!
//! Encoding and compressing is nearly all the cost of a write, and every column of a row group can
//! be encoded by itself. Rows are gathered into chunks of some megabytes; each chunk goes to all
//! columns, which are spread over the compute threads, while the bytes of the row group before it
//! travel to the store. What stays in memory is a chunk of rows that is gathered, one that is
//! encoded, and the encoded pages of one row group.
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

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::future::join;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::pages::{Chunk, Pieces};
use lakebed_log::property::{self, COMPRESSIONS};
use lakebed_log::stats::Stats;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::column::{Column, columns, encoding, without_texts};
use super::recorded::recorded;
use super::strand::{Done, Step, Strands};
use super::{FileOptions, FileWriter, Written};
use crate::env::{BoxFuture, Env};
use crate::store::Upload;

/// Rows are gathered to about this many bytes before they are encoded.
const CHUNK_BYTES: usize = 8 << 20;
/// But to no more than this part of a row group.
const CHUNK_SHARE: usize = 16;
/// So many chunks are still being encoded when the next one is gathered.
const AHEAD: usize = 1;
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
    strands: Strands,
    options: FileOptions,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    /// Raw bytes of the chunks that are being encoded.
    ahead: VecDeque<usize>,
    /// Encoded bytes on their way to the store.
    outbox: Vec<Bytes>,
    /// Of the open row group, pending rows included.
    group_rows: usize,
    group_bytes: usize,
    /// Of the whole file, without what is being encoded.
    rows: u64,
    raw_bytes: u64,
    encoded_bytes: u64,
    /// Of the row groups that are placed.
    placed_bytes: u64,
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
        let (encoder, columns) = Encoder::new(schema, options)?;
        Ok(Writer {
            env: env.clone(),
            upload,
            encoder: Some(encoder),
            strands: Strands::new(env, columns),
            options: options.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            ahead: VecDeque::new(),
            outbox: Vec::new(),
            group_rows: 0,
            group_bytes: 0,
            rows: 0,
            raw_bytes: 0,
            encoded_bytes: 0,
            placed_bytes: 0,
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
            if full || self.chunk_bytes() <= self.pending_bytes {
                self.encode(full).await?;
            }
        }
        Ok(())
    }

    /// Has the pending rows encoded, and waits for the chunk before, while some of the outbox goes
    /// to the store.
    async fn encode(&mut self, close: bool) -> Result<()> {
        let batches = std::mem::take(&mut self.pending).into();
        self.strands.push(&Step { batches, close });
        self.ahead.push_back(std::mem::take(&mut self.pending_bytes));
        if close {
            (self.group_rows, self.group_bytes) = (0, 0);
        }
        let some = self.some_of_outbox();
        self.settle(AHEAD, some).await
    }

    /// Sends some pieces while the columns get on, and takes in what they have come to.
    async fn settle(&mut self, ahead: usize, pieces: Vec<Bytes>) -> Result<()> {
        let sent = send(&mut *self.upload, pieces);
        let (encoded, sent) = join(self.strands.settle(ahead), sent).await;
        encoded?;
        sent?;
        while ahead < self.ahead.len() {
            self.raw_bytes += self.ahead.pop_front().unwrap_or_default() as u64;
            let Done { estimate, held, chunks } = self.strands.pop()?;
            self.place(chunks.into_iter().flat_map(|it| it.1).collect()).await?;
            self.encoded_bytes = self.placed_bytes + estimate;
            self.held_bytes = held;
        }
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
    async fn place(&mut self, chunks: Vec<Chunk>) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let mut encoder = self.encoder()?;
        let work = move || {
            Pieces::place_group(&mut encoder.file, &chunks)?;
            let pieces = Pieces::taken(&mut encoder.file)?;
            Ok((encoder, pieces))
        };
        let (encoder, pieces) = self.env.compute(work).await?;
        self.outbox.extend(pieces);
        self.placed_bytes = encoder.file.bytes_written() as u64;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Encodes what is left, and the footer.
    async fn end(&mut self) -> Result<Stats> {
        if self.strands.began() || INLINE_BYTES < self.pending_bytes {
            self.encode(true).await?;
        }
        let pieces = std::mem::take(&mut self.outbox);
        self.settle(0, pieces).await?;
        let mut encoder = self.encoder()?;
        let columns = self.strands.take()?;
        let pending = std::mem::take(&mut self.pending);
        let bytes = usize::try_from(self.raw_bytes).unwrap_or(usize::MAX);
        let bytes = bytes.saturating_add(self.pending_bytes);
        let work = move || encoder.finish(columns, &pending);
        let (pieces, recorded) = self.env.compute_of(bytes, work).await?;
        self.outbox.extend(pieces);
        send(&mut *self.upload, std::mem::take(&mut self.outbox)).await?;
        Ok(recorded)
    }

    async fn close(mut self: Box<Self>) -> Result<Written> {
        match self.end().await {
            Err(err) => {
                self.upload.abort().await;
                Err(err)
            }
            Ok(recorded) => {
                let (size, rows) = (self.upload.finish().await?, self.rows);
                Ok(Written { size, rows, recorded })
            }
        }
    }

    fn encoder(&mut self) -> Result<Encoder> {
        self.encoder.take().ok_or_else(|| Error::internal("the file failed before"))
    }

    /// Raw bytes that are not encoded, or not known to be.
    fn waiting(&self) -> u64 {
        (self.ahead.iter().sum::<usize>() + self.pending_bytes) as u64
    }
}

impl FileWriter for Writer {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.take(batch))
    }

    /// Rows not yet encoded count as if they shrank like those before them.
    fn bytes(&self) -> u64 {
        let waiting = match self.raw_bytes {
            0 => self.waiting(),
            raw => self.waiting().saturating_mul(self.encoded_bytes) / raw,
        };
        self.encoded_bytes + waiting
    }

    fn memory(&self) -> u64 {
        let outbox: usize = self.outbox.iter().map(Bytes::len).sum();
        self.held_bytes + self.waiting() + outbox as u64
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Written>> {
        Box::pin(self.close())
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.upload.abort()
    }
}

/// The file that row groups are placed in. What moves into jobs.
struct Encoder {
    file: SerializedFileWriter<Pieces>,
    schema: SchemaRef,
}

impl Encoder {
    /// With the columns of the first row group.
    fn new(schema: SchemaRef, options: &FileOptions) -> Result<(Encoder, Vec<Column>)> {
        let properties = WriterProperties::builder()
            .set_created_by(format!("Lakebed version {}", env!("CARGO_PKG_VERSION")))
            .set_compression(compression(&options.compression)?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_data_page_row_count_limit(options.page_rows)
            .set_write_batch_size(options.page_rows.clamp(1, WRITE_ROWS))
            .set_data_page_size_limit(options.page_bytes)
            .set_dictionary_page_size_limit(options.page_bytes)
            .set_coerce_types(true);
        let properties = without_texts(properties, &schema).build();
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
        let file = SerializedFileWriter::new(Pieces::default(), root, properties.into())
            .map_err(unsupported)?;
        let columns = columns(&file, &schema)?;
        Ok((Encoder { file, schema }, columns))
    }

    /// Encodes the last rows, if any are left, and the footer; and says what stands there.
    fn finish(
        &mut self,
        mut columns: Vec<Column>,
        pending: &[RecordBatch],
    ) -> Result<(Vec<Bytes>, Stats)> {
        if !pending.is_empty() {
            let mut chunks = Vec::with_capacity(columns.len());
            for column in &mut columns {
                pending.iter().try_for_each(|it| column.write(it))?;
                chunks.extend(column.close()?);
            }
            Pieces::place_group(&mut self.file, &chunks)?;
        }
        let metadata = self.file.finish().map_err(encoding)?;
        let recorded = recorded(&metadata, &self.schema);
        Ok((Pieces::taken(&mut self.file)?, recorded))
    }
}

async fn send(upload: &mut dyn Upload, pieces: Vec<Bytes>) -> Result<()> {
    for piece in pieces {
        upload.write(piece).await?;
    }
    Ok(())
}

/// End of the file name, as other writers of Parquet name it.
pub(super) fn extension(options: &FileOptions) -> String {
    let codec = match property::compression(&options.compression.0) {
        Some("none") => return ".parquet".to_string(),
        Some("gzip") => "gz",
        Some("brotli") => "br",
        Some(other) => other,
        None => options.compression.0.as_str(),
    };
    format!(".{codec}.parquet")
}

fn compression((name, level): &(String, Option<i32>)) -> Result<Compression> {
    let bad = || {
        let level = level.unwrap_or_default();
        Error::invalid(format!("compression `{name}` has no level {level}"))
    };
    let unsigned = |default: u32| match level {
        None => Ok(default),
        Some(it) => u32::try_from(*it).map_err(|_| bad()),
    };
    let without_levels = |it| if level.is_none() { Ok(it) } else { Err(bad()) };
    match property::compression(name) {
        Some("zstd") => {
            let level = ZstdLevel::try_new(level.unwrap_or(1));
            Ok(Compression::ZSTD(level.map_err(|it| bad().because(it))?))
        }
        Some("snappy") => without_levels(Compression::SNAPPY),
        Some("none") => without_levels(Compression::UNCOMPRESSED),
        Some("gzip") => {
            let level = GzipLevel::try_new(unsigned(6)?);
            Ok(Compression::GZIP(level.map_err(|it| bad().because(it))?))
        }
        Some("lz4") => without_levels(Compression::LZ4_RAW),
        Some("brotli") => {
            let level = BrotliLevel::try_new(unsigned(1)?);
            Ok(Compression::BROTLI(level.map_err(|it| bad().because(it))?))
        }
        _ => {
            let known = COMPRESSIONS.iter().filter_map(|it| it.first().copied());
            let known = known.collect::<Vec<_>>().join(", ");
            Err(Error::invalid(format!("compression `{name}` is not one of {known}")))
        }
    }
}

/// Bytes of the rows of a batch, not of the buffers that they are cut from.
pub(super) fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

pub(super) fn array_bytes(it: &ArrayRef) -> usize {
    it.to_data().get_slice_memory_size().unwrap_or_else(|_| it.get_array_memory_size())
}

/// What `part` of `whole` is of `bytes`.
fn share(bytes: usize, part: usize, whole: usize) -> usize {
    bytes.checked_mul(part).map_or(bytes, |it| it / whole.max(1))
}
