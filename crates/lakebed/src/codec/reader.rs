//! Parquet in: footer, the row groups that can match, the ranges of the wanted columns.
//!
//! ```text
//!   tail of the file --> metadata --> row groups that can match --> one permit for the file
//!                                        |         |
//!                                     ranges    ranges            fetched ahead
//!                                        |         |
//!                                     batches   batches           decoded on compute threads
//! ```
//!
//! Everything a file says is doubted. Its length must be the one in the log, its metadata is walked
//! before it is believed (see [`thrift`]), every range must lie in the file, every page must say a
//! size that fits, and a row group must yield the rows it promised. The library's panics end on the
//! compute threads. A batch has so many rows that it stays within a bound of bytes, and text that
//! turns out longer than its pages is cut into more batches.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::SchemaRef;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::limits;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::ahead::Ahead;
use super::logical::{self, Choice};
use super::prune::Pruner;
use super::sparse::Sparse;
use super::{Source, Turn, thrift};
use crate::budget::Permit;
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// A file up to this size is fetched whole, in one request.
const WHOLE_BYTES: u64 = 1 << 20;
/// How much of the end of a larger file is fetched first.
const TAIL_BYTES: u64 = 64 << 10;
/// Magic, length and magic: no file is smaller.
const FRAME_BYTES: u64 = 12;
/// A footer past this size is paid for while it is decoded.
const FOOTER_FREE_BYTES: u64 = 1 << 20;
/// A batch has about this many bytes at most, or one row.
const BATCH_BYTES: usize = 16 << 20;
/// Batches that one job decodes: as many as fit in about this many bytes.
const JOB_BYTES: usize = 2 << 20;
/// Batches that one job decodes at most.
const JOB_BATCHES: usize = 16;
/// Batches of a row group that are decoded ahead.
const DEPTH: usize = 2;
/// Largest page, decompressed.
const PAGE_BYTES_MAX: u64 = 256 << 20;
/// Encoded pages of one column that are held at once, as a rule.
const PAGE_BYTES: u64 = 1 << 20;

/// Batches of a file, in its order.
pub(super) fn read(
    env: &Env,
    op: &Op,
    store: &Store,
    source: Source,
) -> BoxStream<'static, Result<RecordBatch>> {
    let pass = Pass(source.turn.clone());
    let job = Arc::new(Job { env: env.clone(), op: op.clone(), store: store.clone(), source });
    stream::once(open(job, pass)).try_flatten().boxed()
}

/// Lets the next file come, at the latest when this one is given up.
struct Pass(Turn);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.pass();
    }
}

/// What to read, and what with.
struct Job {
    env: Env,
    op: Op,
    store: Store,
    source: Source,
}

/// A file whose metadata is known.
struct File {
    job: Arc<Job>,
    metadata: ArrowReaderMetadata,
    choice: Choice,
    table: SchemaRef,
    batch_rows: usize,
    /// The end of the file, or all of it.
    tail: (u64, Bytes),
    /// Held until the last batch is out.
    _permit: Permit,
}

/// A row group to read.
#[derive(Clone, Copy, Debug)]
struct Group {
    at: usize,
    rows: usize,
}

/// What is left to decide once the metadata is there; made on a compute thread.
struct Plan {
    metadata: ArrowReaderMetadata,
    choice: Choice,
    table: SchemaRef,
    groups: Vec<Group>,
    batch_rows: usize,
    /// Most bytes that one row group takes while it is read.
    group_bytes: u64,
}

async fn open(job: Arc<Job>, pass: Pass) -> Result<Ahead<RecordBatch>> {
    let (metadata, tail) = job.metadata().await?;
    let source = job.source.clone();
    let plan = decode(&job.env, move || Plan::new(metadata, &source)).await?;

    let total = job.env.budget().total();
    let cores = job.env.cores() as u64;
    let affordable = (total / 4).checked_div(plan.group_bytes).unwrap_or(cores);
    let width = affordable.min(cores).min(plan.groups.len() as u64).max(1);
    pass.0.come().await;
    let permit = job.env.budget().acquire(plan.group_bytes.saturating_mul(width)).await?;
    drop(pass);
    let file = Arc::new(File {
        job,
        metadata: plan.metadata,
        choice: plan.choice,
        table: plan.table,
        batch_rows: plan.batch_rows,
        tail,
        _permit: permit,
    });
    let lanes = plan.groups.into_iter().map(move |group| read_group(Arc::clone(&file), group));
    let width = usize::try_from(width).unwrap_or(1);
    Ok(Ahead::new(lanes, width, DEPTH, || true))
}

impl Job {
    /// Fetches the end of the file and decodes its metadata.
    async fn metadata(&self) -> Result<(ParquetMetaData, (u64, Bytes))> {
        let size = self.source.size;
        if size < FRAME_BYTES {
            return Err(self.suspect("it is too short for a Parquet file").await);
        }
        let start = if size <= WHOLE_BYTES { 0 } else { size - TAIL_BYTES };
        let tail = match self.store.get_range(&self.op, &self.source.key, start..size).await {
            Ok(tail) => tail,
            Err(err) => return Err(self.explain(err).await),
        };
        let Some((rest, &[a, b, c, d, ref magic @ ..])) = tail.split_last_chunk::<8>() else {
            return Err(self.suspect("it is shorter than the log says").await);
        };
        match magic {
            b"PAR1" => (),
            b"PARE" => {
                return Err(Error::new(Code::UnsupportedData, "the file's footer is encrypted"));
            }
            _ => return Err(self.suspect("it does not end as a Parquet file").await),
        }
        let len = u64::from(u32::from_le_bytes([a, b, c, d]));
        if size - FRAME_BYTES < len || len == 0 {
            let what = format!("its footer cannot have {len} bytes");
            return Err(self.suspect(&what).await);
        }
        if limits::FOOTER_BYTES_MAX < len {
            let what = format!("footer of {len} bytes is over {}", limits::FOOTER_BYTES_MAX);
            return Err(Error::new(Code::LimitExceeded, what));
        }
        let _permit = match len {
            0..FOOTER_FREE_BYTES => None,
            _ => Some(self.env.budget().acquire(len.saturating_mul(8)).await?),
        };
        let footer = match rest.len().checked_sub(usize::try_from(len).unwrap_or(usize::MAX)) {
            Some(from) => tail.slice(from..rest.len()),
            None => {
                let missing = size - 8 - len..start;
                let head = self.store.get_range(&self.op, &self.source.key, missing).await?;
                let mut whole = BytesMut::from(head);
                whole.extend_from_slice(rest);
                whole.freeze()
            }
        };
        let metadata = decode(&self.env, move || {
            thrift::footer(&footer)?;
            ParquetMetaDataReader::decode_metadata(&footer).map_err(damaged)
        });
        Ok((metadata.await?, (start, tail)))
    }

    /// Why could the range not be read? A size in the log that is not the file's is the likely one.
    async fn explain(&self, err: Error) -> Error {
        match err.code() {
            Code::FileNotFound | Code::Permission | Code::DeadlineExceeded => err,
            _ => match self.size().await {
                Ok(size) if size != self.source.size => self.wrong_size(size),
                _ => err,
            },
        }
    }

    /// The bytes are not those of a Parquet file; the size in the log may be why.
    async fn suspect(&self, what: &str) -> Error {
        match self.size().await {
            Ok(size) if size != self.source.size => self.wrong_size(size),
            Err(err) if err.code() == Code::FileNotFound => err,
            _ => Error::new(Code::CorruptData, format!("not a sound data file: {what}")),
        }
    }

    async fn size(&self) -> Result<u64> {
        Ok(self.store.head(&self.op, &self.source.key).await?.size)
    }

    fn wrong_size(&self, size: u64) -> Error {
        let what = format!("the file has {size} bytes, the log says {}", self.source.size);
        Error::new(Code::SizeMismatch, what)
    }
}

impl Plan {
    fn new(metadata: ParquetMetaData, source: &Source) -> Result<Plan> {
        let metadata = Arc::new(metadata);
        let table = source.schema.to_arrow();
        let bare = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let inferred =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), bare.clone()).map_err(damaged)?;
        let choice = logical::choose(inferred.schema(), inferred.parquet_schema(), &table)?;
        let hinted = bare.with_schema(Arc::new(choice.schema.clone()));
        let hinted =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), hinted).map_err(damaged)?;

        let pruner = Pruner::new(source, &inferred, &table);
        let mut groups = Vec::new();
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows())
                .map_err(|_| corrupt(format!("row group {at} has {} rows", group.num_rows())))?;
            if rows != 0 && !pruner.as_ref().is_some_and(|it| it.skips(group)) {
                ranges(group, &choice.leaves, source.size)?;
                groups.push(Group { at, rows });
            }
        }
        let chosen = || groups.iter().filter_map(|it| metadata.row_groups().get(it.at));
        let width = chosen().map(|it| row_bytes(it, &choice.leaves)).max().unwrap_or(0);
        let rows = source.batch_rows.max(1);
        let batch_rows = BATCH_BYTES.checked_div(width).unwrap_or(rows).clamp(1, rows);
        let batch_rows = match chosen().any(|it| shares_prefixes(it, &choice.leaves)) {
            true => batch_rows.min(1024),
            false => batch_rows,
        };
        let batch_bytes = (width.saturating_mul(batch_rows)).max(1 << 16) as u64;
        let held = chosen().map(|it| held_bytes(it, &choice.leaves)).max().unwrap_or(0);
        let group_bytes = held + batch_bytes.saturating_mul(DEPTH as u64 + 1);
        let plan = Plan { metadata: hinted, choice, table, groups, batch_rows, group_bytes };
        plan.check_types()?;
        Ok(plan)
    }

    /// Types that do not fit are found before the first row group is fetched.
    fn check_types(&self) -> Result<()> {
        let mask = mask(&self.metadata, &self.choice);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Sparse::new(0, Vec::new()),
            self.metadata.clone(),
        );
        let reader = reader.with_projection(mask).with_row_groups(Vec::new()).build();
        let empty = RecordBatch::new_empty(reader.map_err(damaged)?.schema());
        logical::convert(&empty, &self.choice.columns, &self.table).map(|_| ())
    }
}

fn mask(metadata: &ArrowReaderMetadata, choice: &Choice) -> ProjectionMask {
    ProjectionMask::leaves(metadata.parquet_schema(), choice.leaves.iter().copied())
}

/// Where the chosen columns of a row group are; in the file, or it is `corrupt-data`.
fn ranges(group: &RowGroupMetaData, leaves: &[usize], size: u64) -> Result<Vec<Range<u64>>> {
    let range = |leaf: &usize| {
        let column = group.columns().get(*leaf)?;
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let start = u64::try_from(start).ok()?;
        let end = start.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
        (end <= size).then_some(start..end)
    };
    let out =
        |leaf: &usize| range(leaf).ok_or_else(|| corrupt(format!("column {leaf} is outside")));
    leaves.iter().map(out).collect()
}

/// About how many bytes a row takes once decoded.
fn row_bytes(group: &RowGroupMetaData, leaves: &[usize]) -> usize {
    let leaf = |leaf: &usize| {
        let column = group.columns().get(*leaf)?;
        let values = u64::try_from(column.num_values()).ok()?;
        let fixed = match column.column_type() {
            Physical::BOOLEAN => 1,
            Physical::INT32 | Physical::FLOAT => 4,
            Physical::INT64 | Physical::DOUBLE | Physical::INT96 => 8,
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => 16,
        };
        let text = match column.column_type() {
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => column
                .unencoded_byte_array_data_bytes()
                .unwrap_or(0)
                .max(column.uncompressed_size()),
            _ => 0,
        };
        values.checked_mul(fixed)?.checked_add(u64::try_from(text).ok()?)
    };
    let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    let bytes: u64 = leaves
        .iter()
        .map(|it| leaf(it).unwrap_or(u64::MAX / 2) / rows)
        .fold(0, u64::saturating_add);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Does a column store values as changes to the one before? A few bytes may then stand for long
/// values, which the decoder spells out.
fn shares_prefixes(group: &RowGroupMetaData, leaves: &[usize]) -> bool {
    let mut columns = leaves.iter().filter_map(|it| group.columns().get(*it));
    columns.any(|it| it.encodings_mask().is_set(Encoding::DELTA_BYTE_ARRAY))
}

/// Bytes of a row group that are in memory while it is decoded: what was fetched, and pages.
fn held_bytes(group: &RowGroupMetaData, leaves: &[usize]) -> u64 {
    let columns = leaves.iter().filter_map(|it| group.columns().get(*it));
    let bytes = columns.map(|it| {
        let fetched = u64::try_from(it.compressed_size()).unwrap_or(0);
        let pages = u64::try_from(it.uncompressed_size()).unwrap_or(0);
        fetched.saturating_add(pages.min(2 * PAGE_BYTES))
    });
    bytes.fold(0, u64::saturating_add)
}

/// Batches of one row group.
fn read_group(file: Arc<File>, group: Group) -> BoxStream<'static, Result<RecordBatch>> {
    let reading = Reading { file, group, state: State::Fetch, ready: VecDeque::new() };
    let next = |mut reading: Reading| async move {
        loop {
            if let Some(batch) = reading.ready.pop_front() {
                return Ok(Some((batch, reading)));
            }
            if matches!(reading.state, State::Done) {
                return Ok(None);
            }
            reading = reading.step().await?;
        }
    };
    stream::try_unfold(reading, next).boxed()
}

/// A row group being read.
struct Reading {
    file: Arc<File>,
    group: Group,
    state: State,
    ready: VecDeque<RecordBatch>,
}

enum State {
    Fetch,
    /// No column of the file is wanted: rows are only counted.
    Count {
        left: usize,
    },
    Decode {
        reader: Box<ParquetRecordBatchReader>,
        left: usize,
    },
    Done,
}

impl Reading {
    async fn step(self) -> Result<Reading> {
        let Reading { file, group, state, mut ready } = self;
        let state = match state {
            State::Done => State::Done,
            State::Fetch if file.choice.leaves.is_empty() => State::Count { left: group.rows },
            State::Fetch => {
                let sparse = file.fetch(group).await?;
                let of = Arc::clone(&file);
                let reader = decode(&file.job.env, move || of.reader(group, sparse)).await?;
                State::Decode { reader: Box::new(reader), left: group.rows }
            }
            State::Count { left } => {
                let rows = left.min(file.batch_rows);
                ready.push_back(file.count(rows)?);
                if left == rows { State::Done } else { State::Count { left: left - rows } }
            }
            State::Decode { mut reader, left } => {
                let of = Arc::clone(&file);
                let work = move || {
                    let (batches, left) = of.batches(&mut reader, left)?;
                    Ok((reader, batches, left))
                };
                let (reader, batches, left) = decode(&file.job.env, work).await?;
                ready.extend(batches);
                if left == 0 { State::Done } else { State::Decode { reader, left } }
            }
        };
        Ok(Reading { file, group, state, ready })
    }
}

impl File {
    fn group(&self, group: Group) -> Result<&RowGroupMetaData> {
        let groups = self.metadata.metadata().row_groups();
        groups.get(group.at).ok_or_else(|| Error::internal("a row group is gone"))
    }

    /// The bytes of the chosen columns; what came with the footer is not fetched again.
    async fn fetch(&self, group: Group) -> Result<Sparse> {
        let ranges = ranges(self.group(group)?, &self.choice.leaves, self.job.source.size)?;
        let (start, tail) = &self.tail;
        let missing: Vec<_> = ranges.into_iter().filter(|it| it.start < *start).collect();
        let mut parts = vec![(*start, tail.clone())];
        if !missing.is_empty() {
            let job = &self.job;
            let bytes = match job.store.get_ranges(&job.op, &job.source.key, &missing).await {
                Ok(bytes) => bytes,
                Err(err) => return Err(job.explain(err).await),
            };
            parts.splice(0..0, missing.iter().map(|it| it.start).zip(bytes));
        }
        Ok(Sparse::new(self.job.source.size, parts))
    }

    /// Checks the pages and makes a reader of them.
    fn reader(&self, group: Group, sparse: Sparse) -> Result<ParquetRecordBatchReader> {
        let metadata = self.group(group)?;
        let ranges = ranges(metadata, &self.choice.leaves, self.job.source.size)?;
        let mut largest = 0u64;
        for (range, leaf) in ranges.into_iter().zip(&self.choice.leaves) {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let bytes = sparse.range(range.start, len);
            let bytes = bytes.ok_or_else(|| corrupt(format!("column {leaf} is cut short")))?;
            let page = largest_page(&bytes)
                .map_err(|it| it.at(format!("row group {}, column {leaf}", group.at)))?;
            largest = largest.saturating_add(page);
        }
        let total = self.job.env.budget().total();
        if total < largest {
            let what = format!("pages of one row group take {largest} bytes of {total}");
            return Err(Error::new(Code::MemoryExceeded, what));
        }
        ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, self.metadata.clone())
            .with_projection(mask(&self.metadata, &self.choice))
            .with_row_groups(vec![group.at])
            .with_batch_size(self.batch_rows)
            .build()
            .map_err(damaged)
    }

    /// Decodes some batches; `left` rows are still to come.
    fn batches(
        &self,
        reader: &mut ParquetRecordBatchReader,
        mut left: usize,
    ) -> Result<(Vec<RecordBatch>, usize)> {
        let mut out = Vec::new();
        let mut bytes = 0;
        while 0 < left && bytes < JOB_BYTES && out.len() < JOB_BATCHES {
            let Some(batch) = reader.next().transpose().map_err(|it| damaged(it.into()))? else {
                return Err(corrupt(format!("a row group lacks {left} of its rows")));
            };
            left = left
                .checked_sub(batch.num_rows())
                .ok_or_else(|| corrupt("a row group has more rows than it says".to_string()))?;
            bytes += batch.get_array_memory_size();
            cut(&batch, &mut |part| {
                out.push(logical::convert(part, &self.choice.columns, &self.table)?);
                Ok(())
            })?;
        }
        if left == 0 && reader.next().is_some() {
            return Err(corrupt("a row group has more rows than it says".to_string()));
        }
        Ok((out, left))
    }

    /// Rows of a file of which no column is wanted.
    fn count(&self, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let empty = Arc::new(arrow_schema::Schema::empty());
        let batch = RecordBatch::try_new_with_options(empty, Vec::new(), &options)
            .map_err(|it| Error::internal("rows without columns").because(it))?;
        logical::convert(&batch, &self.choice.columns, &self.table)
    }
}

/// Cuts a batch in halves until its text fits in a batch.
fn cut(batch: &RecordBatch, each: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let bytes: usize = batch.columns().iter().map(|it| logical::text_bytes(it)).sum();
    let rows = batch.num_rows();
    if bytes <= 4 * BATCH_BYTES {
        return each(batch);
    }
    if rows == 1 {
        return match i32::try_from(bytes) {
            Ok(_) => each(batch),
            Err(_) => {
                let what = format!("a row of {bytes} bytes of text");
                Err(Error::new(Code::LimitExceeded, what))
            }
        };
    }
    cut(&batch.slice(0, rows / 2), each)?;
    cut(&batch.slice(rows / 2, rows - rows / 2), each)
}

/// Walks the pages of a column chunk; the decompressed size of the largest.
fn largest_page(chunk: &Bytes) -> Result<u64> {
    let mut rest = chunk.as_ref();
    let mut largest = 0;
    while !rest.is_empty() {
        let header = thrift::page_header(rest)?;
        if PAGE_BYTES_MAX < header.uncompressed {
            let what = format!("page of {} bytes is over {PAGE_BYTES_MAX}", header.uncompressed);
            return Err(Error::new(Code::LimitExceeded, what));
        }
        largest = largest.max(header.uncompressed);
        let len = usize::try_from(header.compressed).unwrap_or(usize::MAX);
        let next = header.len.checked_add(len).and_then(|it| rest.get(it..));
        rest = next.ok_or_else(|| corrupt("a page is cut short".to_string()))?;
    }
    Ok(largest)
}

/// Runs work over the file's bytes on a compute thread. If it panics, the bytes are to blame.
async fn decode<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match env.compute(move || Ok(work())).await {
        Ok(result) => result,
        Err(err) => Err(corrupt("the decoder gave up".to_string()).because(err)),
    }
}

fn damaged(err: ParquetError) -> Error {
    let code = match err {
        ParquetError::NYI(_) => Code::UnsupportedData,
        _ => Code::CorruptData,
    };
    Error::new(code, format!("not a sound data file: {err}"))
}

fn corrupt(what: String) -> Error {
    Error::new(Code::CorruptData, format!("not a sound data file: {what}"))
}
