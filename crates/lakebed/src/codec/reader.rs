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
//! Everything a file says is doubted. If its length is not the one in the log, it must be whole by
//! the length that the store says. Its metadata is walked
//! before it is believed (see [`thrift`]), every range must lie in the file, every page must say a
//! size that fits, and a row group must yield the rows it promised. The library's panics end on the
//! compute threads. A batch has so many rows that it stays within a bound of bytes, and text that
//! turns out longer than its pages is cut into more batches.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::limits;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use super::ahead::Ahead;
use super::label::Labels;
use super::logical::{self, Choice};
use super::prune::Pruner;
use super::sparse::Sparse;
use super::{Source, Turn, group, thrift, wanted};
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
/// Batches of a row group that are decoded ahead.
const DEPTH: usize = 2;
/// Row groups that are held at once: the next one is fetched while one is decoded.
const GROUPS_MAX: u64 = 2;
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
    let (env, op, store) = (env.clone(), op.clone(), store.clone());
    let job = Job { env, op, store, source, found: OnceLock::new() };
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
pub(super) struct Job {
    pub(super) env: Env,
    pub(super) op: Op,
    pub(super) store: Store,
    pub(super) source: Source,
    /// Bytes of the file, once the store was asked.
    found: OnceLock<u64>,
}

/// A file whose metadata is known.
pub(super) struct File {
    pub(super) job: Arc<Job>,
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) choice: Choice,
    /// Shape of the batches.
    pub(super) table: SchemaRef,
    pub(super) batch_rows: usize,
    /// About the bytes of a row, decoded.
    pub(super) row_bytes: usize,
    /// The end of the file, or all of it.
    pub(super) tail: (u64, Bytes),
    /// Held until the last batch is out.
    _permit: Permit,
}

/// A row group to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) at: usize,
    pub(super) rows: usize,
    /// Position of its first row in the file.
    pub(super) first: u64,
}

/// What is left to decide once the metadata is there; made on a compute thread.
struct Plan {
    metadata: ArrowReaderMetadata,
    choice: Choice,
    table: SchemaRef,
    groups: Vec<Group>,
    batch_rows: usize,
    row_bytes: usize,
    /// Most bytes that one row group takes while it is read.
    group_bytes: u64,
}

async fn open(mut job: Job, pass: Pass) -> Result<Ahead<RecordBatch>> {
    let (metadata, tail) = match job.metadata().await {
        Err(err) if err.code() == Code::SizeMismatch => job.whole().await.map_err(|_| err)?,
        other => other?,
    };
    let job = Arc::new(job);
    let source = job.source.clone();
    let plan = decode(&job.env, move || Plan::new(metadata, &source)).await?;

    let total = job.env.budget().total();
    let affordable = (total / 4).checked_div(plan.group_bytes).unwrap_or(GROUPS_MAX);
    let width = affordable.min(GROUPS_MAX).min(plan.groups.len() as u64).max(1);
    pass.0.come().await;
    let permit = job.env.budget().acquire(plan.group_bytes.saturating_mul(width)).await?;
    drop(pass);
    let file = Arc::new(File {
        job,
        metadata: plan.metadata,
        choice: plan.choice,
        table: plan.table,
        batch_rows: plan.batch_rows,
        row_bytes: plan.row_bytes,
        tail,
        _permit: permit,
    });
    let lanes = plan.groups.into_iter().map(move |it| group::read(Arc::clone(&file), it));
    let width = usize::try_from(width).unwrap_or(1);
    Ok(Ahead::new(lanes, width, DEPTH, || true))
}

impl Job {
    /// The metadata of a file for which the log has another size. Some writers put another number
    /// there; the file counts if it is whole as it is.
    async fn whole(&mut self) -> Result<(ParquetMetaData, (u64, Bytes))> {
        self.source.size = self.size().await?;
        self.metadata().await
    }

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
    pub(super) async fn explain(&self, err: Error) -> Error {
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
        if let Some(size) = self.found.get() {
            return Ok(*size);
        }
        let size = self.store.head(&self.op, &self.source.key).await?.size;
        Ok(*self.found.get_or_init(|| size))
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
        let labels = Labels::new(&source.schema, source.mapping);
        let choice = logical::choose(inferred.schema(), inferred.parquet_schema(), labels)?;
        let hinted = bare.with_schema(Arc::new(choice.schema.clone()));
        let hinted =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), hinted).map_err(damaged)?;

        if choice.decoded.is_empty() {
            check_counts(&metadata)?;
        }
        let pruner = Pruner::new(source, &inferred, &choice, &table);
        let mut groups = Vec::new();
        let mut first = 0u64;
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let odd = || corrupt(format!("row group {at} has {} rows", group.num_rows()));
            let rows = usize::try_from(group.num_rows()).map_err(|_| odd())?;
            let end = first.checked_add(rows as u64).ok_or_else(odd)?;
            if wanted::wants(source, first..end)
                && !pruner.as_ref().is_some_and(|it| it.skips(group))
            {
                ranges(group, choice.leaves(), source.size)?;
                groups.push(Group { at, rows, first });
            }
            first = end;
        }
        wanted::check(source, first)?;
        let table = wanted::shape(source, table);
        let chosen = || groups.iter().filter_map(|it| metadata.row_groups().get(it.at));
        let width = chosen().map(|it| row_bytes(it, choice.leaves())).max().unwrap_or(0);
        let rows = source.batch_rows.max(1);
        let batch_rows = BATCH_BYTES.checked_div(width).unwrap_or(rows).clamp(1, rows);
        let batch_rows = match chosen().any(|it| shares_prefixes(it, choice.leaves())) {
            true => batch_rows.min(1024),
            false => batch_rows,
        };
        let longest = groups.iter().map(|it| it.rows).max().unwrap_or(0);
        let decoded = group::decoded_bytes(width, batch_rows.min(longest), DEPTH);
        let held = chosen().map(|it| held_bytes(it, choice.leaves())).max().unwrap_or(0);
        let group_bytes = held.saturating_add(decoded);
        let (metadata, row_bytes) = (hinted, width);
        let plan = Plan { metadata, choice, table, groups, batch_rows, row_bytes, group_bytes };
        plan.check_types()?;
        Ok(plan)
    }

    /// Types that do not fit are found before the first row group is fetched.
    fn check_types(&self) -> Result<()> {
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), self.choice.leaves());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Sparse::new(0, Vec::new()),
            self.metadata.clone(),
        );
        let reader = reader.with_projection(mask).with_row_groups(Vec::new()).build();
        let empty = RecordBatch::new_empty(reader.map_err(damaged)?.schema());
        let places = self.choice.places();
        let empty = self.choice.labels.name(empty, &places)?;
        logical::convert(&empty, &places, &self.table).map(|_| ())
    }
}

/// Where no column is decoded the rows are those that the footer counts. It counts them in several
/// places, which must agree.
fn check_counts(metadata: &ParquetMetaData) -> Result<()> {
    let (said, mut total) = (metadata.file_metadata().num_rows(), 0i64);
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        for (leaf, column) in group.columns().iter().enumerate() {
            let values = column.num_values();
            let fits = match column.column_descr().max_rep_level() {
                0 => values == rows,
                _ => rows <= values,
            };
            if !fits {
                let what = format!("row group {at} has {rows} rows, its column {leaf} {values}");
                return Err(corrupt(what));
            }
        }
        total = total.saturating_add(rows);
    }
    if total != said {
        return Err(corrupt(format!("it has {said} rows, its row groups {total}")));
    }
    Ok(())
}

/// Where the chosen columns of a row group are; in the file, or it is `corrupt-data`.
pub(super) fn ranges(
    group: &RowGroupMetaData,
    leaves: impl Iterator<Item = usize>,
    size: u64,
) -> Result<Vec<Range<u64>>> {
    let range = |leaf: usize| {
        let column = group.columns().get(leaf)?;
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let start = u64::try_from(start).ok()?;
        let end = start.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
        (end <= size).then_some(start..end)
    };
    let out = |leaf| range(leaf).ok_or_else(|| corrupt(format!("column {leaf} is outside")));
    leaves.map(out).collect()
}

/// About how many bytes a row takes once decoded.
fn row_bytes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> usize {
    let leaf = |leaf: usize| {
        let column = group.columns().get(leaf)?;
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
    let bytes: u64 =
        leaves.map(|it| leaf(it).unwrap_or(u64::MAX / 2) / rows).fold(0, u64::saturating_add);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Does a column store values as changes to the one before? A few bytes may then stand for long
/// values, which the decoder spells out.
fn shares_prefixes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> bool {
    let mut columns = leaves.filter_map(|it| group.columns().get(it));
    columns.any(|it| it.encodings_mask().is_set(Encoding::DELTA_BYTE_ARRAY))
}

/// Bytes of a row group that are in memory while it is decoded: what was fetched, and pages.
fn held_bytes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> u64 {
    let columns = leaves.filter_map(|it| group.columns().get(it));
    let bytes = columns.map(|it| {
        let fetched = u64::try_from(it.compressed_size()).unwrap_or(0);
        let pages = u64::try_from(it.uncompressed_size()).unwrap_or(0);
        fetched.saturating_add(pages.min(2 * PAGE_BYTES))
    });
    bytes.fold(0, u64::saturating_add)
}

/// Runs work over the file's bytes on a compute thread. If it panics, the bytes are to blame.
/// It begins with the call.
pub(super) fn decode<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    let work = env.compute(move || Ok(work()));
    async move {
        match work.await {
            Ok(result) => result,
            Err(err) => Err(corrupt("the decoder gave up").because(err)),
        }
    }
}

pub(super) fn damaged(err: ParquetError) -> Error {
    let code = match err {
        ParquetError::NYI(_) => Code::UnsupportedData,
        _ => Code::CorruptData,
    };
    Error::new(code, format!("not a sound data file: {err}"))
}

/// The library's error out of the wrapping that it gets on its way through Arrow.
pub(super) fn undecodable(err: ArrowError) -> Error {
    match err {
        ArrowError::ExternalError(it) => match it.downcast::<ParquetError>() {
            Ok(it) => damaged(*it),
            Err(it) => corrupt(it),
        },
        ArrowError::ParquetError(it) => corrupt(it),
        other => corrupt(other),
    }
}

pub(super) fn corrupt(what: impl fmt::Display) -> Error {
    Error::new(Code::CorruptData, format!("not a sound data file: {what}"))
}
