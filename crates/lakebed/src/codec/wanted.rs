//! Which rows of a file are wanted, by their position.
//!
//! A deletion vector names rows by their place in the whole file, counted across row groups and
//! before anything is pruned. So every decoded batch knows the positions of its rows, and what is
//! not wanted is taken out before anything else looks at it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::row_set::RowSet;

use super::Source;
use super::live::Live;
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

/// Has the file the rows that it must have, and do the sets name none but those?
pub(super) fn check(source: &Source, rows: u64) -> Result<()> {
    if let Some(counted) = source.counted.filter(|it| *it != rows) {
        let what = format!("the statistics count {counted} rows, the file has {rows}");
        return Err(Error::new(Code::StatsMismatch, what));
    }
    for set in [&source.deleted, &source.only].into_iter().flatten() {
        if let Some(last) = set.max().filter(|it| rows <= *it) {
            let what = format!("a vector names row {last}, the file has {rows} rows");
            return Err(Error::new(Code::CorruptDv, what));
        }
    }
    Ok(())
}

/// May rows be left out of what is decoded?
pub(super) fn sifts(source: &Source) -> bool {
    source.deleted.is_some() || source.only.is_some()
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

/// The stretches of wanted rows in a range, ascending; `None` as soon as `each` says so.
fn stretches(
    source: &Source,
    rows: Range<u64>,
    mut each: impl FnMut(Range<u64>) -> Option<()>,
) -> Option<()> {
    match (&source.only, &source.deleted) {
        (None, None) => each(rows),
        (None, Some(deleted)) => deleted.absent(rows).try_for_each(each),
        (Some(only), deleted) => {
            let deleted = deleted.iter().flat_map(|it| it.range(rows.clone()));
            let mut gone = deleted.peekable();
            for row in only.range(rows.clone()) {
                while gone.next_if(|it| *it < row).is_some() {}
                if gone.peek() != Some(&row) {
                    each(row..row.saturating_add(1))?;
                }
            }
            Some(())
        }
    }
}

/// Do the sets want a row?
pub(super) fn has(source: &Source, row: u64) -> bool {
    source.only.as_ref().is_none_or(|it| it.contains(row))
        && source.deleted.as_ref().is_none_or(|it| !it.contains(row))
}

/// The wanted rows of a row group, counted from its first, if they are so few, or lie together so
/// much, that going from one to the next is cheaper than taking the others out.
pub(super) fn picks(source: &Source, rows: Range<u64>) -> Option<Picks> {
    let len = rows.end.saturating_sub(rows.start);
    let all = match (&source.only, &source.deleted) {
        (None, None) => return None,
        (None, Some(deleted)) => len.saturating_sub(deleted.count(rows.clone())),
        (Some(_), _) => 0,
    };
    let mut found = Found { start: rows.start, len, picked: 0, all, ranges: Vec::new() };
    stretches(source, rows, |it| found.add(it))?;
    Some(Picks::new(found.ranges))
}

/// Rows found to be wanted.
struct Found {
    start: u64,
    len: u64,
    picked: u64,
    /// So many will be picked at least.
    all: u64,
    ranges: Vec<Range<usize>>,
}

impl Found {
    /// `None` once it is not worth it.
    fn add(&mut self, rows: Range<u64>) -> Option<()> {
        let start = usize::try_from(rows.start.checked_sub(self.start)?).ok()?;
        let end = usize::try_from(rows.end.checked_sub(self.start)?).ok()?;
        self.picked += rows.end - rows.start;
        match self.ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.ranges.push(start..end),
        }
        let cost = (self.ranges.len() as u64).saturating_mul(STEP_ROWS);
        (cost.saturating_add(self.picked.max(self.all)) <= self.len).then_some(())
    }
}

/// The wanted rows of a batch that has the rows `rows` of the file; `positions` adds a column.
pub(super) fn of(
    source: &Source,
    rows: &[Range<u64>],
    positions: bool,
    batch: RecordBatch,
) -> Result<RecordBatch> {
    let batch = if positions { with_positions(batch, rows)? } else { batch };
    live(source, rows).of(batch)
}

/// The wanted rows of a batch that has the rows `rows` of the file.
pub(super) fn live(source: &Source, rows: &[Range<u64>]) -> Live {
    let all = rows.iter().map(len).fold(0, usize::saturating_add);
    let mut live = match &source.only {
        None => Live::all(all),
        Some(only) => {
            let mut live = Live::none(all);
            live.keep(places(only, rows));
            live
        }
    };
    if let Some(deleted) = &source.deleted {
        live.leave_out(places(deleted, rows));
    }
    live
}

/// Where in a batch of these rows those of the set are.
fn places(set: &RowSet, rows: &[Range<u64>]) -> impl Iterator<Item = usize> {
    let place = |at: &mut usize, range: &Range<u64>| {
        let start = *at;
        *at = start.saturating_add(len(range));
        Some((start, range.clone()))
    };
    rows.iter().scan(0, place).flat_map(|(at, range)| {
        let first = range.start;
        set.range(range).map(move |it| at.saturating_add(index(it - first)))
    })
}

fn len(rows: &Range<u64>) -> usize {
    index(rows.end.saturating_sub(rows.start))
}

fn index(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// The batch with the positions of its rows.
pub(super) fn with_positions(batch: RecordBatch, rows: &[Range<u64>]) -> Result<RecordBatch> {
    let past = |_| Error::new(Code::LimitExceeded, "a file of more rows than positions");
    let mut column = Vec::with_capacity(batch.num_rows());
    for range in rows {
        let start = i64::try_from(range.start).map_err(past)?;
        column.extend(start..i64::try_from(range.end).map_err(past)?);
    }
    let column: ArrayRef = Arc::new(Int64Array::from(column));
    // Taken apart, so that nobody else holds the memory of its columns.
    let (schema, mut columns, _) = batch.into_parts();
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(POSITIONS, DataType::Int64, false)));
    columns.push(column);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(lost)
}

fn lost(err: arrow_schema::ArrowError) -> Error {
    Error::internal("positions do not fit their rows").because(err)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
