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

/// Name of the column of positions.
const POSITIONS: &str = "_row_index";

/// The shape with the column of positions, if it is asked for.
pub(super) fn shape(source: &Source, table: SchemaRef) -> SchemaRef {
    if !source.positions {
        return table;
    }
    let mut fields = table.fields().to_vec();
    fields.push(Arc::new(Field::new(POSITIONS, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Do the sets name only rows that the file has?
pub(super) fn check(source: &Source, rows: u64) -> Result<()> {
    for set in [&source.deleted, &source.only].into_iter().flatten() {
        if let Some(last) = set.max().filter(|it| rows <= *it) {
            let what = format!("a deletion vector names row {last}, the file has {rows} rows");
            return Err(Error::new(Code::CorruptDv, what));
        }
    }
    Ok(())
}

/// Is any row of the range wanted?
pub(super) fn wants(source: &Source, rows: Range<u64>) -> bool {
    let len = rows.end.saturating_sub(rows.start);
    let deleted = source.deleted.as_ref().map_or(0, |it| it.count(rows.clone()));
    let only = source.only.as_ref().is_none_or(|it| 0 < it.count(rows.clone()));
    only && deleted < len
}

/// The wanted rows of a batch that has the rows `rows` of the file; `positions` adds a column.
pub(super) fn of(
    source: &Source,
    rows: Range<u64>,
    positions: bool,
    batch: RecordBatch,
) -> Result<RecordBatch> {
    let batch = if positions { with_positions(&batch, rows.clone())? } else { batch };
    match mask(source, rows) {
        None => Ok(batch),
        Some(mask) => filter_record_batch(&batch, &mask).map_err(lost),
    }
}

fn with_positions(batch: &RecordBatch, rows: Range<u64>) -> Result<RecordBatch> {
    let past = |_| Error::new(Code::LimitExceeded, "a file of more rows than positions");
    let start = i64::try_from(rows.start).map_err(past)?;
    let end = i64::try_from(rows.end).map_err(past)?;
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(start..end));
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(POSITIONS, DataType::Int64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(lost)
}

/// True for the rows that are wanted; `None` if all are.
fn mask(source: &Source, rows: Range<u64>) -> Option<BooleanArray> {
    let len = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
    let mut bits: Option<BooleanBufferBuilder> = None;
    if let Some(only) = &source.only {
        let mut none = BooleanBufferBuilder::new(len);
        none.append_n(len, false);
        set(&mut none, only.range(rows.clone()), rows.start, true);
        bits = Some(none);
    }
    if let Some(deleted) = &source.deleted {
        let mut gone = deleted.range(rows.clone()).peekable();
        if gone.peek().is_some() {
            let bits = bits.get_or_insert_with(|| {
                let mut all = BooleanBufferBuilder::new(len);
                all.append_n(len, true);
                all
            });
            set(bits, gone, rows.start, false);
        }
    }
    bits.map(|mut it| BooleanArray::new(it.finish(), None))
}

fn set(bits: &mut BooleanBufferBuilder, rows: impl Iterator<Item = u64>, start: u64, to: bool) {
    for row in rows {
        if let Ok(at) = usize::try_from(row - start) {
            bits.set_bit(at, to);
        }
    }
}

fn lost(err: arrow_schema::ArrowError) -> Error {
    Error::internal("the wanted rows do not come out of a batch").because(err)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
