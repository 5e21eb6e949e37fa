//! The rows of a batch that are left, and the batch without the others.
//!
//! Deleted rows are few as a rule, here and there, so what is left are runs of some dozen rows, and
//! all of it is copied once more. Values of a fixed width therefore move up within their own
//! memory, which is in the cache; text that comes as places in a dictionary is
//! [spelled out](super::spell) for the rows that are left alone; and of what else there is, the
//! library copies run after run.
//!
//! ```text
//!   values   a b c d e f g h      deleted: c, f
//!            a b d e g h          runs: 0..2, 3..5, 6..8
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch, RecordBatchOptions,
    downcast_primitive, make_array,
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_data::transform::{Capacities, MutableArrayData};
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};
use lakebed_log::error::{Error, Result};

use super::spell;

/// Values are copied by twice so many: a copy of a length that is known beforehand is a few
/// instructions and never guesses wrong, and what it takes too much is overwritten by the next.
/// Most runs are shorter. In two halves, because the compiler leaves longer copies to a function.
const HALF: usize = 16;

/// Most runs of `rows` rows: at worst every second row is one.
pub(super) fn runs_max(rows: usize) -> usize {
    rows.div_ceil(2)
}

/// Most bytes that they take.
pub(super) fn bytes_max(rows: usize) -> usize {
    runs_max(rows).saturating_mul(size_of::<Range<usize>>())
}

/// Rows of a batch, as ranges: ascending, none empty, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// Rows that the batch has.
    rows: usize,
    runs: Vec<Range<usize>>,
    kept: usize,
}

impl Live {
    /// None of no rows yet; with room for so many runs.
    pub(super) fn with_room(runs: usize) -> Live {
        Live { runs: Vec::with_capacity(runs), ..Live::default() }
    }

    /// All of `rows` rows.
    pub(super) fn all(rows: usize) -> Live {
        let mut live = Live::default();
        live.go_to(rows);
        live.keep(0..rows);
        live
    }

    /// The batch has at least so many rows.
    pub(super) fn go_to(&mut self, rows: usize) {
        self.rows = self.rows.max(rows);
    }

    /// Keeps rows behind those that are kept.
    pub(super) fn keep(&mut self, run: Range<usize>) {
        if run.is_empty() {
            return;
        }
        self.kept += run.len();
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.runs.push(run),
        }
    }

    /// The batch with these rows alone, its text spelled out.
    pub(super) fn of(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let coded = |it: &ArrayRef| matches!(it.data_type(), DataType::Dictionary(..));
        let coded = batch.columns().iter().any(coded);
        let all = self.kept == self.rows;
        if batch.num_rows() != self.rows {
            return Err(Error::internal("other rows are left than there are"));
        }
        if all && !coded {
            return Ok(batch);
        }
        let (schema, columns, _) = batch.into_parts();
        let columns = columns.into_iter().map(|it| match it.as_dictionary_opt::<Int32Type>() {
            Some(coded) => {
                let coded = coded.clone();
                drop(it);
                spell::spell(coded, self)
            }
            None if all => Ok(it),
            None => self.column(it),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let schema = match coded {
            false => schema,
            true => {
                let field = |(field, array): (&FieldRef, &ArrayRef)| {
                    field.as_ref().clone().with_data_type(array.data_type().clone())
                };
                Arc::new(Schema::new(
                    schema.fields().iter().zip(&columns).map(field).collect::<Vec<_>>(),
                ))
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(self.kept));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(lost)
    }

    fn column(&self, array: ArrayRef) -> Result<ArrayRef> {
        macro_rules! fixed {
            ($of:ty) => {{
                let values = array.as_primitive::<$of>().clone();
                // It has to be the only one that holds the memory.
                drop(array);
                Ok(Arc::new(self.fixed(values)?))
            }};
        }
        downcast_primitive! {
            array.data_type() => (fixed),
            _ => self.rest(&array)
        }
    }

    /// Any values, copied run after run.
    fn rest(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let room = match array.data_type() {
            DataType::Utf8 => self.bytes(array.as_string::<i32>().value_offsets()),
            DataType::Binary => self.bytes(array.as_binary::<i32>().value_offsets()),
            _ => Capacities::Array(self.kept),
        };
        let from = array.to_data();
        let mut left = MutableArrayData::with_capacities(vec![&from], false, room);
        for run in &self.runs {
            left.try_extend(0, run.start, run.end).map_err(lost)?;
        }
        Ok(make_array(left.freeze()))
    }

    /// Room for text that has these offsets.
    fn bytes(&self, offsets: &[i32]) -> Capacities {
        let at = |it: usize| offsets.get(it).and_then(|it| usize::try_from(*it).ok()).unwrap_or(0);
        let lens = self.runs.iter().map(|it| at(it.end).saturating_sub(at(it.start)));
        Capacities::Binary(self.kept, Some(lens.sum()))
    }

    /// Values of a fixed width; in the same memory, if nobody else holds it.
    pub(super) fn fixed<T: ArrowPrimitiveType>(
        &self,
        array: PrimitiveArray<T>,
    ) -> Result<PrimitiveArray<T>> {
        let (data_type, values, nulls) = array.into_parts();
        let mut values = Vec::from(values);
        if values.len() != self.rows {
            return Err(Error::internal("a column has other rows than its batch"));
        }
        let mut end = 0;
        for run in &self.runs {
            move_up(&mut values, run.clone(), end);
            end += run.len();
        }
        values.truncate(end);
        let array = PrimitiveArray::<T>::try_new(values.into(), self.nulls(nulls.as_ref()));
        Ok(array.map_err(lost)?.with_data_type(data_type))
    }

    /// Which of the rows are null; `None` if none is.
    fn nulls(&self, nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
        let nulls = nulls.filter(|it| 0 < it.null_count())?;
        let (bytes, offset) = (nulls.validity(), nulls.offset());
        let mut bits = BooleanBufferBuilder::new(self.kept);
        for run in &self.runs {
            bits.append_packed_range(offset + run.start..offset + run.end, bytes);
        }
        Some(NullBuffer::new(bits.finish())).filter(|it| 0 < it.null_count())
    }
}

/// Copies a run to `to`, which is not behind it, and may spoil what lies between.
fn move_up<T: Copy>(values: &mut [T], run: Range<usize>, mut to: usize) {
    let mut from = run.start;
    while from < run.end && to != from {
        let (done, rest) = values.split_at_mut(from);
        let place =
            done.get_mut(to..).and_then(|it| it.as_chunks_mut::<HALF>().0.first_chunk_mut());
        match (place, rest.as_chunks::<HALF>().0.first_chunk()) {
            (Some([place, place_behind]), Some([half, half_behind])) => {
                *place = *half;
                *place_behind = *half_behind;
            }
            _ => {
                values.copy_within(from..run.end, to);
                return;
            }
        }
        from += 2 * HALF;
        to += 2 * HALF;
    }
}

/// The rows that are left of batches that several lanes read, each of which comes to them in its
/// own time.
#[derive(Debug)]
pub(super) struct Shared {
    /// So many are kept.
    most: usize,
    made: Mutex<VecDeque<(Range<usize>, Arc<Live>)>>,
}

impl Shared {
    pub(super) fn new(most: usize) -> Shared {
        Shared { most, made: Mutex::default() }
    }

    /// Those of the batch `of`; made by whoever comes first.
    pub(super) fn get(&self, of: Range<usize>, make: impl FnOnce() -> Live) -> Arc<Live> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, live)) = made.iter().find(|it| it.0 == of) {
            return Arc::clone(live);
        }
        let live = Arc::new(make());
        if made.len() == self.most {
            made.pop_front();
        }
        made.push_back((of, Arc::clone(&live)));
        live
    }
}

fn lost(err: ArrowError) -> Error {
    Error::internal("the wanted rows do not come out of a batch").because(err)
}

#[cfg(test)]
mod tests;
