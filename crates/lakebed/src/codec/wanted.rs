//! Which rows of a file are wanted, by their position.
//!
//! A deletion vector names rows by their place in the whole file, counted across row groups and
//! before anything is pruned. So every decoded batch knows the positions of its rows, and what is
//! not wanted is taken out before anything else looks at it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use lakebed_log::error::{Code, Error, Result};

use super::Source;
use super::pick::Picks;

/// Going to the next wanted row costs as much as so many rows.
const STEP_ROWS: u64 = 16;

/// Name of the column of positions.
const POSITIONS: &str = "_row_index";

/// The shape with the column of positions.
pub(super) fn shape(table: &SchemaRef) -> SchemaRef {
    let mut fields = table.fields().to_vec();
    fields.push(Arc::new(Field::new(POSITIONS, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Do the sets name only rows that the file has?
pub(super) fn check(source: &Source, rows: u64) -> Result<()> {
    for set in [&source.deleted, &source.only].into_iter().flatten() {
        if let Some(last) = set.max().filter(|it| rows <= *it) {
            let what = format!("a vector names row {last}, the file has {rows} rows");
            return Err(Error::new(Code::CorruptDv, what));
        }
    }
    Ok(())
}

/// The part of the range that is asked for.
pub(super) fn part(source: &Source, rows: Range<u64>) -> Range<u64> {
    let Some(asked) = &source.rows else { return rows };
    let start = asked.start.clamp(rows.start, rows.end);
    start..asked.end.clamp(start, rows.end)
}

/// Is any row of the range wanted?
pub(super) fn wants(source: &Source, rows: Range<u64>) -> bool {
    let rows = part(source, rows);
    let len = rows.end.saturating_sub(rows.start);
    let deleted = source.deleted.as_ref().map_or(0, |it| it.count(rows.clone()));
    let only = source.only.as_ref().is_none_or(|it| 0 < it.count(rows.clone()));
    !rows.is_empty() && only && deleted < len
}

/// The wanted rows of a row group, counted from its first, if they are so few, or lie together so
/// much, that going from one to the next is cheaper than taking the others out.
pub(super) fn picks(source: &Source, rows: Range<u64>) -> Option<Picks> {
    let len = rows.end.saturating_sub(rows.start);
    let mut found = Found { start: rows.start, len, picked: 0, ranges: Vec::new() };
    match (&source.only, &source.deleted) {
        (None, None) => return None,
        (Some(only), None) => {
            for row in only.range(rows) {
                found.add(row..row.saturating_add(1))?;
            }
        }
        (Some(only), Some(deleted)) => {
            let mut gone = deleted.range(rows.clone()).peekable();
            for row in only.range(rows) {
                while gone.next_if(|it| *it < row).is_some() {}
                if gone.peek() != Some(&row) {
                    found.add(row..row.saturating_add(1))?;
                }
            }
        }
        (None, Some(deleted)) => {
            let mut next = rows.start;
            for row in deleted.range(rows.clone()) {
                found.add(next..row)?;
                next = row.saturating_add(1);
            }
            found.add(next..rows.end)?;
        }
    }
    Some(Picks::new(found.ranges))
}

/// Rows found to be wanted.
struct Found {
    start: u64,
    len: u64,
    picked: u64,
    ranges: Vec<Range<usize>>,
}

impl Found {
    /// `None` once it is not worth it.
    fn add(&mut self, rows: Range<u64>) -> Option<()> {
        if rows.is_empty() {
            return Some(());
        }
        let start = usize::try_from(rows.start.checked_sub(self.start)?).ok()?;
        let end = usize::try_from(rows.end.checked_sub(self.start)?).ok()?;
        self.picked += rows.end - rows.start;
        match self.ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.ranges.push(start..end),
        }
        let cost = (self.ranges.len() as u64).saturating_mul(STEP_ROWS);
        (cost.saturating_add(self.picked) <= self.len).then_some(())
    }
}

/// The wanted rows of a batch that has the rows `rows` of the file; `positions` adds a column.
pub(super) fn of(
    source: &Source,
    rows: &[Range<u64>],
    positions: bool,
    batch: RecordBatch,
) -> Result<RecordBatch> {
    let batch = if positions { with_positions(&batch, rows)? } else { batch };
    match mask(source, rows) {
        None => Ok(batch),
        Some(mask) => filter_record_batch(&batch, &mask).map_err(lost),
    }
}

fn with_positions(batch: &RecordBatch, rows: &[Range<u64>]) -> Result<RecordBatch> {
    let past = |_| Error::new(Code::LimitExceeded, "a file of more rows than positions");
    let mut column = Vec::with_capacity(batch.num_rows());
    for range in rows {
        let start = i64::try_from(range.start).map_err(past)?;
        column.extend(start..i64::try_from(range.end).map_err(past)?);
    }
    let column: ArrayRef = Arc::new(Int64Array::from(column));
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(POSITIONS, DataType::Int64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(lost)
}

/// True for the rows that are wanted; `None` if all are.
fn mask(source: &Source, rows: &[Range<u64>]) -> Option<BooleanArray> {
    let lens = rows.iter().map(|it| usize::try_from(it.end - it.start).unwrap_or(usize::MAX));
    let len = lens.clone().fold(0, usize::saturating_add);
    let mut bits: Option<BooleanBufferBuilder> = None;
    let places = || {
        let starts = lens.clone().scan(0, |sum, len| {
            *sum += len;
            Some(*sum - len)
        });
        rows.iter().cloned().zip(starts)
    };
    if let Some(only) = &source.only {
        let mut none = BooleanBufferBuilder::new(len);
        none.append_n(len, false);
        for (range, at) in places() {
            set(&mut none, only.range(range.clone()), range.start, at, true);
        }
        bits = Some(none);
    }
    if let Some(deleted) = &source.deleted {
        for (range, at) in places() {
            let mut gone = deleted.range(range.clone()).peekable();
            if gone.peek().is_some() {
                let bits = bits.get_or_insert_with(|| {
                    let mut all = BooleanBufferBuilder::new(len);
                    all.append_n(len, true);
                    all
                });
                set(bits, gone, range.start, at, false);
            }
        }
    }
    bits.map(|mut it| BooleanArray::new(it.finish(), None))
}

fn set(
    bits: &mut BooleanBufferBuilder,
    rows: impl Iterator<Item = u64>,
    start: u64,
    at: usize,
    to: bool,
) {
    for row in rows {
        if let Ok(row) = usize::try_from(row - start) {
            bits.set_bit(at + row, to);
        }
    }
}

fn lost(err: arrow_schema::ArrowError) -> Error {
    Error::internal("the wanted rows do not come out of a batch").because(err)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
