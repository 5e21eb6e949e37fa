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

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::limits;
use lakebed_log::thrift;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};

use super::ahead::Ahead;
use super::draft::{Draft, Plan};
use super::index::{self, Index};
use super::late::{self, Late};
use super::logical::Choice;
use super::page::Text;
use super::pick::Picks;
use super::sparse::{Part, Sparse};
use super::{Deletions, Source, Turn, group, lane};
use crate::budget::Permit;
use crate::env::Env;
use crate::op::Op;
use crate::store::{Near, Pin, Store};

/// A file up to this size is fetched whole, in one request.
const WHOLE_BYTES: u64 = 1 << 20;
/// How much of the end of a larger file is fetched first.
const TAIL_BYTES: u64 = 64 << 10;
/// Magic, length and magic: no file is smaller.
const FRAME_BYTES: u64 = 12;
/// A footer past this size is paid for while it is decoded.
const FOOTER_FREE_BYTES: u64 = 1 << 20;
/// Batches of a row group that are decoded ahead.
pub(super) const DEPTH: usize = 2;
/// Row groups that are held at once: the next one is fetched while one is decoded.
const GROUPS_MAX: u64 = 2;

/// Batches of a file, in its order.
pub(super) fn read(
    env: &Env,
    op: &Op,
    store: &Store,
    source: Source,
    deleted: Deletions,
) -> BoxStream<'static, Result<RecordBatch>> {
    let pass = Pass(source.turn.clone());
    let (env, op, store) = (env.clone(), op.clone(), store.pinned(&Pin::default()));
    let job = Job { env, op, store, source, found: OnceLock::new() };
    stream::once(open(job, deleted, pass)).try_flatten().boxed()
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
    pub(super) index: Index,
    /// Shape of the batches.
    pub(super) table: SchemaRef,
    /// The same with positions.
    pub(super) full: SchemaRef,
    pub(super) batch_rows: usize,
    /// About the bytes of a row, decoded.
    pub(super) row_bytes: usize,
    late: Option<Late>,
    /// A filter that picks many rows gains nothing from coming first.
    in_vain: AtomicBool,
    /// What the last row group was decoded by.
    hinted: Mutex<Option<(BTreeMap<usize, Text>, ArrowReaderMetadata)>>,
    /// The end of the file, or all of it.
    pub(super) tail: (u64, Bytes),
    /// The rest of it, if it need not be asked for.
    pub(super) near: Option<Arc<dyn Near>>,
    /// Held until the last batch is out.
    _permit: Permit,
}

/// A row group to read.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) at: usize,
    pub(super) rows: usize,
    /// Position of its first row in the file.
    pub(super) first: u64,
    /// Rows that the page index leaves over.
    pub(super) picks: Option<Picks>,
}

enum Stage {
    Ready(Plan),
    /// Bytes of the page index are missing.
    Wants(Draft, Vec<Range<u64>>),
}

async fn open(mut job: Job, deleted: Deletions, pass: Pass) -> Result<Ahead<RecordBatch>> {
    let (looked, deleted) = futures::join!(job.look(), deleted);
    let deleted = deleted?;
    let (metadata, tail) = looked?;
    job.source = job.source.leaving_out(deleted);
    let job = Arc::new(job);
    // Sets of rows are there already, and are paid for with the rest.
    let sets = [&job.source.deleted, &job.source.only].into_iter().flatten();
    let sets = sets.map(|it| it.heap_bytes()).fold(0, u64::saturating_add);
    let total = job.env.budget().total().saturating_sub(sets);
    let plan = job.plan(metadata, &tail).await?.within(total);

    let near = match tail.0 == 0 || plan.groups.is_empty() || plan.choice.decoded.is_empty() {
        true => None,
        false => match job.store.near(&job.source.key).await {
            Ok(near) => near,
            Err(err) => return Err(job.explain(err).await),
        },
    };
    let affordable = (total / 4).checked_div(plan.group_bytes).unwrap_or(GROUPS_MAX);
    let width = affordable.min(GROUPS_MAX).min(plan.groups.len() as u64).max(1);
    pass.0.come().await;
    let bytes = plan.group_bytes.saturating_mul(width).saturating_add(sets);
    let permit = job.env.budget().acquire(bytes).await?;
    drop(pass);
    let file = Arc::new(File {
        job,
        metadata: plan.metadata,
        choice: plan.choice,
        index: plan.index,
        table: plan.table,
        full: plan.full,
        batch_rows: plan.batch_rows,
        row_bytes: plan.row_bytes,
        late: plan.late,
        in_vain: AtomicBool::new(false),
        hinted: Mutex::default(),
        tail,
        near,
        _permit: permit,
    });
    let lanes = plan.groups.into_iter().map(move |it| group::read(Arc::clone(&file), it));
    let width = usize::try_from(width).unwrap_or(1);
    Ok(Ahead::new(lanes, width, DEPTH, || true))
}

impl File {
    pub(super) fn column(&self, group: usize, leaf: usize) -> Result<&ColumnChunkMetaData> {
        let groups = self.metadata.metadata().row_groups();
        let column = groups.get(group).and_then(|it| it.columns().get(leaf));
        column.ok_or_else(|| corrupt(format!("row group {group} lacks column {leaf}")))
    }

    /// Which top-level column of the file a decoded column is.
    pub(super) fn root(&self, decoded: usize) -> Result<usize> {
        let leaf = self.choice.decoded.get(decoded).and_then(|it| it.first());
        let leaf = leaf.ok_or_else(|| Error::internal("a column without leaves"))?;
        let parquet = self.metadata.parquet_schema();
        match *leaf < parquet.num_columns() {
            true => Ok(parquet.get_column_root_idx(*leaf)),
            false => Err(Error::internal("a column is not in the file")),
        }
    }

    /// The filter to go first in a row group, if there is one and it is worth it.
    pub(super) fn late_for(&self, group: &Group) -> Option<&Late> {
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        self.late.as_ref().filter(|_| !in_vain && late::ROWS_MIN <= group.rows)
    }

    pub(super) fn give_up_late(&self) {
        self.in_vain.store(true, Ordering::Relaxed);
    }

    /// What the library decodes by: text in the top-level columns `texts` as said there, other
    /// text as views.
    pub(super) fn hinted(&self, texts: &BTreeMap<usize, Text>) -> Result<ArrowReaderMetadata> {
        if texts.is_empty() {
            return Ok(self.metadata.clone());
        }
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, metadata)) = hinted.as_ref().filter(|it| it.0 == *texts) {
            return Ok(metadata.clone());
        }
        let fields = self.choice.schema.fields().iter().enumerate();
        let fields = fields.map(|(at, field)| lane::hint(field, texts.get(&at)));
        let options = bare().with_schema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        let raw = |it: usize| texts.get(&it) == Some(&Text::Raw);
        let metadata = match texts.keys().any(|it| raw(*it)) {
            false => Arc::clone(self.metadata.metadata()),
            true => {
                let bare = index::unannotated(self.metadata.metadata(), raw);
                Arc::new(bare.ok_or_else(|| corrupt("a column of text is not one of bytes"))?)
            }
        };
        let metadata = ArrowReaderMetadata::try_new(metadata, options).map_err(damaged)?;
        *hinted = Some((texts.clone(), metadata.clone()));
        Ok(metadata)
    }
}

/// The types in a file are taken from its Parquet schema alone.
pub(super) fn bare() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_skip_arrow_metadata(true)
}

impl Job {
    /// The metadata of the file. Some writers put another size in the log than it has; then it
    /// counts if it is whole as it is.
    async fn look(&mut self) -> Result<(ParquetMetaData, (u64, Bytes))> {
        match self.metadata().await {
            Err(err) if err.code() == Code::SizeMismatch => {
                self.source.size = self.size().await?;
                self.metadata().await.map_err(|_| err)
            }
            other => other,
        }
    }

    /// Fetches the end of the file and decodes its metadata.
    async fn metadata(&self) -> Result<(ParquetMetaData, (u64, Bytes))> {
        let size = self.source.size;
        if size < FRAME_BYTES {
            return Err(self.suspect("it is too short for a Parquet file").await);
        }
        let start = if size <= WHOLE_BYTES { 0 } else { size - self.tail_bytes() };
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
            return Err(too_long(len));
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
        let metadata = prepare(&self.env, move || {
            thrift::footer(&footer)?;
            ParquetMetaDataReader::decode_metadata(&footer).map_err(damaged)
        });
        Ok((metadata.await?, (start, tail)))
    }

    /// The page index lies before the footer, and grows with the file.
    fn tail_bytes(&self) -> u64 {
        let source = &self.source;
        match source.filter.is_some() || source.only.is_some() || source.rows.is_some() {
            true => (source.size / 256).clamp(TAIL_BYTES, WHOLE_BYTES),
            false => TAIL_BYTES,
        }
    }

    /// Why could the range not be read? A size in the log that is not the file's is the likely one.
    pub(super) async fn explain(&self, err: Error) -> Error {
        match err.code() {
            Code::FileNotFound
            | Code::Permission
            | Code::DeadlineExceeded
            | Code::ObjectChanged => err,
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

impl Job {
    /// Decides what to read; fetches the page index where it is of use and not there yet.
    async fn plan(&self, metadata: ParquetMetaData, tail: &(u64, Bytes)) -> Result<Plan> {
        let (source, end) = (self.source.clone(), tail.clone());
        let stage = prepare(&self.env, move || {
            let draft = Draft::new(metadata, &source)?;
            let ranges = Index::ranges(draft.hinted.metadata(), &draft.wanted, source.size);
            let missing: Vec<_> = ranges.into_iter().filter(|it| it.start < end.0).collect();
            if !missing.is_empty() {
                return Ok(Stage::Wants(draft, missing));
            }
            draft
                .finish(&source, &Sparse::new(source.size, vec![Part::here(end.0, end.1)], None))
                .map(Stage::Ready)
        });
        let (draft, missing) = match stage.await? {
            Stage::Ready(plan) => return Ok(plan),
            Stage::Wants(draft, missing) => (draft, missing),
        };
        let bytes = match self.store.get_ranges(&self.op, &self.source.key, &missing).await {
            Ok(bytes) => bytes,
            Err(err) => return Err(self.explain(err).await),
        };
        let found = missing.iter().map(|it| it.start).zip(bytes);
        let mut parts: Vec<Part> = found.map(|(at, bytes)| Part::here(at, bytes)).collect();
        parts.push(Part::here(tail.0, tail.1.clone()));
        let source = self.source.clone();
        let finish = move || draft.finish(&source, &Sparse::new(source.size, parts, None));
        prepare(&self.env, finish).await
    }
}

/// Checks the metadata of a file for whoever has the Parquet library read it: that sizes its memory
/// by what the metadata counts. Whether it is a Parquet file at all is for the library to tell.
///
/// ```
/// let two_thousand_million_row_groups = [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
/// let mut file = b"PAR1".to_vec();
/// file.extend(two_thousand_million_row_groups);
/// file.extend(b"\x08\0\0\0PAR1");
/// assert!(lakebed::codec::check_footer(&mut std::io::Cursor::new(file)).is_err());
/// ```
///
/// # Errors
///
/// `corrupt-data` for metadata that counts more than it holds, or nests too deep; `limit-exceeded`
/// for 256 MiB of it, and a schema that nests too deep; `unavailable` if it cannot be read.
pub fn check_footer(file: &mut (impl io::Read + io::Seek)) -> Result<()> {
    let failed = |it| Error::new(Code::Unavailable, "the file cannot be read").because(it);
    let size = file.seek(io::SeekFrom::End(0)).map_err(failed)?;
    let Some(end) = size.checked_sub(8) else { return Ok(()) };
    let mut tail = [0; 8];
    file.seek(io::SeekFrom::Start(end)).and_then(|_| file.read_exact(&mut tail)).map_err(failed)?;
    let [a, b, c, d, magic @ ..] = tail;
    let len = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = end.checked_sub(len).filter(|_| &magic == b"PAR1") else { return Ok(()) };
    if limits::FOOTER_BYTES_MAX < len {
        return Err(too_long(len));
    }
    let mut footer = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.seek(io::SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut footer));
    read.map_err(failed)?;
    thrift::footer(&footer).map(drop)
}

fn too_long(footer: u64) -> Error {
    let what = format!("footer of {footer} bytes is over {}", limits::FOOTER_BYTES_MAX);
    Error::new(Code::LimitExceeded, what)
}

/// Runs work over the file's bytes on a compute thread. If it panics, the bytes are to blame.
/// It begins with the call.
pub(super) fn decode<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    blamed(env.compute(move || Ok(work())))
}

/// The same for what comes before the values: it goes before the decoding of values that waits.
pub(super) fn prepare<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    blamed(env.compute_first(move || Ok(work())))
}

async fn blamed<T>(work: impl Future<Output = Result<Result<T>>>) -> Result<T> {
    match work.await {
        Ok(result) => result,
        Err(err) => Err(corrupt("the decoder gave up").because(err)),
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
