//! One row group: fetched, checked, decoded.
//!
//! ```text
//!   fetch --> check pages --+--> columns a c --> pieces --+
//!                           +--> columns b d --> pieces --+--> batches
//! ```
//!
//! Rows must come out in order and in bounded memory, so threads cannot each take a part of the
//! rows; they take a part of the columns. All parts decode the same rows, one step at a time, and
//! the next step is under way while the batches of this one are handed out.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema as ArrowSchema;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, StreamExt};
use lakebed_log::error::{Code, Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;

use super::logical::{self, Place};
use super::reader::{File, Group, corrupt, damaged, decode, ranges, undecodable};
use super::sparse::Sparse;
use super::{thrift, wanted};
use crate::env::BoxFuture;

/// A step decodes as many batches as fit in about this many bytes.
const STEP_BYTES: usize = 4 << 20;
/// Batches that one step decodes at most.
const STEP_BATCHES: usize = 16;
/// Rows of fewer bytes are not worth spreading over threads.
const SPREAD_BYTES: usize = 4 << 20;
/// Largest page, decompressed.
const PAGE_BYTES_MAX: u64 = 256 << 20;
/// Text of a batch that is not cut further.
const TEXT_BYTES: usize = 64 << 20;

/// Bytes that a row group holds besides pages: a step handed out, one under way, and `ready`
/// batches that nobody has asked for yet.
pub(super) fn decoded_bytes(row_bytes: usize, batch_rows: usize, ready: usize) -> u64 {
    let batch = row_bytes.saturating_mul(batch_rows).max(1 << 10);
    let batches = 2 * step_batches(row_bytes, batch_rows) + ready;
    batch.saturating_mul(batches) as u64
}

fn step_batches(row_bytes: usize, batch_rows: usize) -> usize {
    let batch = row_bytes.saturating_mul(batch_rows).max(1);
    (STEP_BYTES / batch).clamp(1, STEP_BATCHES)
}

/// Batches of one row group.
pub(super) fn read(file: Arc<File>, group: Group) -> BoxStream<'static, Result<RecordBatch>> {
    let reading = Reading { file, group, state: State::Fetch, ready: VecDeque::new() };
    let next = |mut reading: Reading| async move {
        loop {
            if let Some(batch) = reading.ready.pop_front() {
                return Ok(Some((batch, reading)));
            }
            if matches!(reading.state, State::Done) {
                return Ok(None);
            }
            reading = reading.advance().await?;
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
    Count(Range<u64>),
    /// A step under way.
    Step(BoxFuture<'static, Result<Step>>),
    Done,
}

/// What one step gives.
struct Step {
    parts: Vec<Part>,
    batches: Vec<RecordBatch>,
}

/// Some of the columns.
struct Part {
    reader: ParquetRecordBatchReader,
    places: Vec<Place>,
    /// Hands out the positions of the rows.
    positions: bool,
    /// Rows still to come.
    left: Range<u64>,
}

/// Columns of a part, in the order of its places, for some rows.
struct Piece {
    rows: usize,
    arrays: Vec<ArrayRef>,
}

impl Reading {
    async fn advance(self) -> Result<Reading> {
        let Reading { file, group, state, mut ready } = self;
        let state = match state {
            State::Done => State::Done,
            State::Fetch if file.choice.decoded.is_empty() => State::Count(group.positions()),
            State::Fetch => {
                let sparse = file.fetch(group).await?;
                let of = Arc::clone(&file);
                let parts = decode(&file.job.env, move || of.parts(group, &sparse)).await?;
                State::Step(step(&file, parts))
            }
            State::Count(rows) => {
                let middle = rows.end.min(rows.start.saturating_add(file.batch_rows as u64));
                ready.push_back(file.count(rows.start..middle)?);
                if middle == rows.end { State::Done } else { State::Count(middle..rows.end) }
            }
            State::Step(under_way) => {
                let Step { parts, batches } = under_way.await?;
                ready.extend(batches);
                match parts.iter().any(|it| !it.left.is_empty()) {
                    true => State::Step(step(&file, parts)),
                    false => State::Done,
                }
            }
        };
        Ok(Reading { file, group, state, ready })
    }
}

impl Group {
    /// Positions of its rows in the file.
    fn positions(&self) -> Range<u64> {
        self.first..self.first.saturating_add(self.rows as u64)
    }
}

/// Begins the next step: every part decodes the same rows.
fn step(file: &Arc<File>, parts: Vec<Part>) -> BoxFuture<'static, Result<Step>> {
    let jobs: Vec<_> = parts
        .into_iter()
        .map(|mut part| {
            let of = Arc::clone(file);
            decode(&file.job.env, move || {
                let pieces = part.decode(&of)?;
                Ok((part, pieces))
            })
        })
        .collect();
    let file = Arc::clone(file);
    Box::pin(async move {
        let (parts, pieces): (Vec<_>, Vec<_>) = try_join_all(jobs).await?.into_iter().unzip();
        let batches = file.zip(&parts, pieces)?;
        Ok(Step { parts, batches })
    })
}

impl Part {
    fn decode(&mut self, file: &File) -> Result<VecDeque<Piece>> {
        let mut out = VecDeque::new();
        for _ in 0..step_batches(file.row_bytes, file.batch_rows) {
            if self.left.is_empty() {
                break;
            }
            let Some(batch) = self.reader.next().transpose().map_err(undecodable)? else {
                let lacking = self.left.end - self.left.start;
                return Err(corrupt(format!("a row group lacks {lacking} of its rows")));
            };
            let end = self.left.start.saturating_add(batch.num_rows() as u64);
            if self.left.end < end {
                return Err(corrupt("a row group has more rows than it says"));
            }
            let rows = self.left.start..end;
            self.left.start = end;
            let batch = wanted::of(&file.job.source, rows, self.positions, batch)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = file.choice.labels.name(batch, &self.places)?;
            cut(&batch, &mut |part| {
                let arrays = logical::convert(part, &self.places, &file.table)?;
                out.push_back(Piece { rows: part.num_rows(), arrays });
                Ok(())
            })?;
        }
        if self.left.is_empty() && self.reader.next().is_some() {
            return Err(corrupt("a row group has more rows than it says"));
        }
        Ok(out)
    }
}

impl File {
    fn group(&self, group: Group) -> Result<&RowGroupMetaData> {
        let groups = self.metadata.metadata().row_groups();
        groups.get(group.at).ok_or_else(|| Error::internal("a row group is gone"))
    }

    /// The bytes of the chosen columns; what came with the footer is not fetched again.
    async fn fetch(&self, group: Group) -> Result<Sparse> {
        let job = &self.job;
        let ranges = ranges(self.group(group)?, self.choice.leaves(), job.source.size)?;
        let (start, tail) = &self.tail;
        let missing: Vec<_> = ranges.into_iter().filter(|it| it.start < *start).collect();
        let mut parts = vec![(*start, tail.clone())];
        if !missing.is_empty() {
            let bytes = match job.store.get_ranges(&job.op, &job.source.key, &missing).await {
                Ok(bytes) => bytes,
                Err(err) => return Err(job.explain(err).await),
            };
            parts.splice(0..0, missing.iter().map(|it| it.start).zip(bytes));
        }
        Ok(Sparse::new(job.source.size, parts))
    }

    /// Checks the pages and deals the columns out.
    fn parts(&self, group: Group, sparse: &Sparse) -> Result<Vec<Part>> {
        self.check_pages(group, sparse)?;
        let columns = &self.choice.decoded;
        let count = match self.row_bytes.saturating_mul(group.rows) {
            0..SPREAD_BYTES => 1,
            _ => self.job.env.cores().clamp(1, columns.len().max(1)),
        };
        let metadata = self.group(group)?;
        let weight = |leaves: &Vec<usize>| -> i64 {
            let columns = leaves.iter().filter_map(|it| metadata.columns().get(*it));
            columns.map(|it| it.uncompressed_size().saturating_add(it.num_values())).sum()
        };
        let mut dealt: Vec<(i64, Vec<usize>)> = vec![(0, Vec::new()); count];
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|at| Reverse(columns.get(*at).map_or(0, weight)));
        for column in order {
            if let Some(lightest) = dealt.iter_mut().min_by_key(|it| it.0) {
                lightest.0 += columns.get(column).map_or(0, weight);
                lightest.1.push(column);
            }
        }
        let parts = dealt.into_iter().enumerate().map(|(at, (_, mut mine))| {
            mine.sort_unstable();
            self.part(group, sparse, &mine, at == 0)
        });
        parts.collect()
    }

    /// A reader of some of the columns. The first part has those that the file lacks, too.
    fn part(&self, group: Group, sparse: &Sparse, mine: &[usize], first: bool) -> Result<Part> {
        let place = |(to, from): Place| match from {
            Some(from) => mine.binary_search(&from).ok().map(|it| (to, Some(it))),
            None => first.then_some((to, None)),
        };
        let mut places: Vec<Place> = self.choice.places().into_iter().filter_map(place).collect();
        let positions = first && self.job.source.positions;
        if positions {
            places.push((self.choice.columns.len(), Some(mine.len())));
        }
        let leaves = mine.iter().filter_map(|it| self.choice.decoded.get(*it)).flatten().copied();
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), leaves);
        let metadata = self.metadata.clone();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(sparse.clone(), metadata)
            .with_projection(mask)
            .with_row_groups(vec![group.at])
            .with_batch_size(self.batch_rows)
            .build()
            .map_err(damaged)?;
        Ok(Part { reader, places, positions, left: group.positions() })
    }

    fn check_pages(&self, group: Group, sparse: &Sparse) -> Result<()> {
        let leaves = self.choice.leaves();
        let ranges = ranges(self.group(group)?, leaves, self.job.source.size)?;
        let mut largest = 0u64;
        for (range, leaf) in ranges.into_iter().zip(self.choice.leaves()) {
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
        Ok(())
    }

    /// Puts the columns of all parts side by side. A part whose text was cut has more pieces than
    /// the others, which are then cut where it was.
    fn zip(&self, parts: &[Part], mut pieces: Vec<VecDeque<Piece>>) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        loop {
            let rows = pieces.iter().map(|it| it.front().map(|it| it.rows));
            let Some(rows) = rows.min().flatten() else { return Ok(out) };
            let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.table.fields().len()];
            for (part, pieces) in parts.iter().zip(&mut pieces) {
                let Some(piece) = pieces.front_mut() else { continue };
                for (array, (to, _)) in piece.arrays.iter_mut().zip(&part.places) {
                    let head = if piece.rows == rows {
                        Arc::clone(array)
                    } else {
                        let head = array.slice(0, rows);
                        *array = array.slice(rows, piece.rows - rows);
                        head
                    };
                    if let Some(place) = arrays.get_mut(*to) {
                        *place = Some(head);
                    }
                }
                piece.rows -= rows;
                if piece.rows == 0 {
                    pieces.pop_front();
                }
            }
            out.push(self.batch(arrays.into_iter().flatten().collect(), rows)?);
        }
    }

    /// Rows of a file of which no column is wanted.
    fn count(&self, rows: Range<u64>) -> Result<RecordBatch> {
        let source = &self.job.source;
        let len = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        let empty = Arc::new(ArrowSchema::empty());
        let batch = RecordBatch::try_new_with_options(empty, Vec::new(), &options)
            .map_err(|it| Error::internal("rows without columns").because(it))?;
        let batch = wanted::of(source, rows, source.positions, batch)?;
        let mut places = self.choice.places();
        if source.positions {
            places.push((places.len(), Some(0)));
        }
        self.batch(logical::convert(&batch, &places, &self.table)?, batch.num_rows())
    }

    fn batch(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.table), arrays, &options)
            .map_err(|it| Error::internal("the rows do not have the table's shape").because(it))
    }
}

/// Cuts a batch in halves until its text fits in a batch.
fn cut(batch: &RecordBatch, each: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let bytes: usize = batch.columns().iter().map(|it| logical::text_bytes(it)).sum();
    let rows = batch.num_rows();
    if bytes <= TEXT_BYTES {
        return each(batch);
    }
    if rows == 1 {
        return match i32::try_from(bytes) {
            Ok(_) => each(batch),
            Err(_) => {
                Err(Error::new(Code::LimitExceeded, format!("a row of {bytes} bytes of text")))
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
        rest = next.ok_or_else(|| corrupt("a page is cut short"))?;
    }
    Ok(largest)
}
