//! The columns of the filter first, the others only for the rows that match.
//!
//! ```text
//!   filter columns --> filter --> rows that match and are not deleted --+--> pages and rows of
//!                         |                                             |    the other columns
//!                         +--> their values ----------------------------+--> batches
//! ```
//!
//! Deleted rows go after the filter: a few rows are asked for whether they are deleted, and the
//! others are not copied together for that.
//!
//! It pays when few rows match, and nobody knows that before. So it is tried: when too many of the
//! first rows match, the row group is read plainly, and so is the rest of the file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::Schema;
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use lakebed_log::error::{Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::Expr;

use super::lane::{Ground, Piece, zip};
use super::logical::Choice;
use super::pick::Picks;
use super::{Source, wanted};

/// Rows that are looked at before the matches are judged.
const TRIAL_ROWS: usize = if cfg!(test) { 64 } else { 16 << 10 };
/// One in so many rows may match.
const FEW: usize = 4;
/// Most bytes of values of the filter's columns that are kept.
pub(super) const KEPT_BYTES: usize = 8 << 20;
/// Fewer rows are read at once.
pub(super) const ROWS_MIN: usize = if cfg!(test) { 8 } else { 8 << 10 };

/// A filter whose columns come first.
#[derive(Debug)]
pub(super) struct Late {
    filter: Expr,
    /// Places among the decoded columns, ascending.
    pub(super) columns: Vec<usize>,
    pub(super) others: Vec<usize>,
}

/// The rows that match.
pub(super) struct Found {
    pub(super) picks: Picks,
    /// Values of the filter's columns, and which columns these are.
    pub(super) pieces: VecDeque<Piece>,
    pub(super) columns: Vec<usize>,
}

impl Late {
    /// `None` where there is no filter, where the file lacks a column of it, and where there are no
    /// other columns.
    pub(super) fn new(source: &Source, choice: &Choice) -> Option<Late> {
        let filter = source.filter.clone()?;
        let mut columns = Vec::new();
        for name in filter.columns() {
            let at = source.schema.fields().iter().position(|it| it.name == name)?;
            columns.push(choice.columns.get(at).copied().flatten()?);
        }
        columns.sort_unstable();
        columns.dedup();
        let others: Vec<usize> =
            (0..choice.decoded.len()).filter(|it| columns.binary_search(it).is_err()).collect();
        let use_it = !columns.is_empty() && !others.is_empty();
        use_it.then_some(Late { filter, columns, others })
    }
}

/// Finds the rows that match; `None` if they are too many, or the filter cannot be evaluated over
/// all rows: then whoever filters afterwards says so.
pub(super) fn find(mut ground: Ground<'_>, late: Option<&Late>) -> Result<Option<Found>> {
    let Some(late) = late else { return Ok(None) };
    let file = ground.file;
    // Rows that are not wanted are left out here.
    let exact = std::mem::replace(&mut ground.exact, true);
    let (mut lanes, columns) = ground.lanes(&late.columns)?;
    let mut queues: Vec<VecDeque<Piece>> = lanes.iter().map(|_| VecDeque::new()).collect();
    let positions = file.choice.columns.len();
    let mut present: Vec<usize> = columns.iter().flatten().copied().collect();
    present.sort_unstable();
    let source = &file.job.source;
    let of_filter = present.iter().filter(|it| **it != positions);
    let fields = of_filter.filter_map(|it| file.table.fields().get(*it).cloned());
    let shape = Arc::new(Schema::new(fields.collect::<Vec<_>>()));

    let (mut kept, mut matches) = (Kept::default(), Vec::new());
    let mut seen = 0usize;
    while lanes.iter().any(|it| 0 < it.left()) {
        for (lane, queue) in lanes.iter_mut().zip(&mut queues) {
            let before = lane.left();
            queue.append(&mut lane.decode(file, 1)?);
            if lane.slot == 0 {
                seen += before - lane.left();
            }
        }
        while let Some((_, mut arrays)) = zip(&mut queues, &columns, positions + 1) {
            let Some(positions) = arrays.pop() else {
                return Err(Error::internal("rows without positions"));
            };
            let batch = RecordBatch::try_new(Arc::clone(&shape), arrays)
                .map_err(|it| Error::internal("the filter's columns do not fit").because(it))?;
            let Ok(mask) = eval::matches(&late.filter, &source.schema, &batch) else {
                return Ok(None);
            };
            let mask = match exact {
                true => mask,
                false => wanted_of(source, &mask, &positions),
            };
            if mask.true_count() == 0 {
                continue;
            }
            let rows = filter(&positions, &mask).map_err(lost)?;
            for row in rows.as_primitive::<Int64Type>().values() {
                let row = u64::try_from(*row).ok().and_then(|it| it.checked_sub(ground.first));
                let row = row.and_then(|it| usize::try_from(it).ok());
                push(&mut matches, row.ok_or_else(|| Error::internal("a row is elsewhere"))?);
            }
            let columns = batch.columns().iter().map(|it| filter(it, &mask).map_err(lost));
            let mut columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
            if source.positions {
                columns.push(rows);
            }
            kept.push(columns);
        }
        let many = seen / FEW < kept.rows && TRIAL_ROWS <= seen;
        if many || KEPT_BYTES < kept.bytes {
            return Ok(None);
        }
    }
    if !source.positions {
        present.retain(|it| *it != positions);
    }
    let pieces = kept.joined()?;
    Ok(Some(Found { picks: Picks::new(matches), pieces, columns: present }))
}

/// Those of the rows that are wanted.
fn wanted_of(source: &Source, mask: &BooleanArray, positions: &ArrayRef) -> BooleanArray {
    let positions = positions.as_primitive::<Int64Type>().values();
    let mut bits = BooleanBufferBuilder::new(mask.len());
    bits.append_n(mask.len(), false);
    for at in mask.values().set_indices() {
        let row = positions.get(at).and_then(|it| u64::try_from(*it).ok());
        if row.is_some_and(|it| wanted::has(source, it)) {
            bits.set_bit(at, true);
        }
    }
    BooleanArray::new(bits.finish(), mask.nulls().cloned())
}

/// Adds a row behind the ranges.
fn push(ranges: &mut Vec<Range<usize>>, row: usize) {
    match ranges.last_mut() {
        Some(last) if last.end == row => last.end += 1,
        _ => ranges.push(row..row + 1),
    }
}

/// Values of the rows that match.
#[derive(Default)]
struct Kept {
    pieces: Vec<Vec<ArrayRef>>,
    rows: usize,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, arrays: Vec<ArrayRef>) {
        self.rows += arrays.first().map_or(0, |it| it.len());
        self.bytes += arrays.iter().map(|it| it.get_array_memory_size()).sum::<usize>();
        self.pieces.push(arrays);
    }

    /// All in one: a few rows of each batch make many small ones.
    fn joined(self) -> Result<VecDeque<Piece>> {
        let Some(first) = self.pieces.first() else { return Ok(VecDeque::new()) };
        let column = |at: usize| {
            let parts = self.pieces.iter().filter_map(|it| it.get(at).map(|it| it.as_ref()));
            concat(&parts.collect::<Vec<_>>()).map_err(lost)
        };
        let arrays = (0..first.len()).map(column).collect::<Result<Vec<_>>>()?;
        Ok(VecDeque::from([Piece { rows: self.rows, arrays }]))
    }
}

fn lost(err: arrow_schema::ArrowError) -> Error {
    Error::internal("the rows that match do not come out of a batch").because(err)
}
