//! The rows of a batch that are left, and the batch without the others.
//!
//! Deleted rows are few as a rule, here and there, so nearly all values move, by a few places.
//! Values of a fixed width therefore move up within their own memory, which is in the cache (see
//! [`squeeze`](super::squeeze)), and so do the bytes of text and its lengths. Text that comes as
//! places in a dictionary is [spelled out](super::spell) for the rows that are left alone. What
//! else there is, the library's filter takes apart.
//!
//! ```text
//!   values   a b c d e f g h      deleted: c, f
//!   words    1 1 0 1 1 0 1 1      a bit a row
//!            a b d e g h
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, Int32Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, GenericByteArray, PrimitiveArray,
    RecordBatch, RecordBatchOptions, downcast_primitive,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer,
    ScalarBuffer,
};
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};
use arrow_select::filter::filter;
use lakebed_log::error::{Code, Error, Result};

use super::spell;
use super::squeeze::{Runs, Squeeze, runs};

/// Offsets of text that are moved at once: few runs of rows are much longer.
const OFFSETS: usize = 16;

/// Rows that a word has bits for.
const WORD_ROWS: usize = u64::BITS as usize;

/// Bytes that it takes to know which of `rows` rows are left.
pub(super) fn bytes(rows: usize) -> usize {
    rows.div_ceil(WORD_ROWS).saturating_mul(size_of::<u64>())
}

/// Which rows of a batch are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    /// Rows that the batch has.
    rows: usize,
    kept: usize,
    /// A bit for each row, from the lowest on; zeros behind them.
    words: Vec<u64>,
}

impl Live {
    /// All of `rows` rows.
    pub(super) fn all(rows: usize) -> Live {
        let mut words = vec![u64::MAX; rows.div_ceil(WORD_ROWS)];
        if let (Some(last), 1..) = (words.last_mut(), rows % WORD_ROWS) {
            *last >>= WORD_ROWS - rows % WORD_ROWS;
        }
        Live { rows, kept: rows, words }
    }

    /// None of `rows` rows.
    pub(super) fn none(rows: usize) -> Live {
        Live { rows, kept: 0, words: vec![0; rows.div_ceil(WORD_ROWS)] }
    }

    /// Keeps these rows of the batch.
    pub(super) fn keep(&mut self, rows: impl Iterator<Item = usize>) {
        rows.filter(|it| *it < self.rows).for_each(|row| {
            if let Some(word) = self.words.get_mut(row / WORD_ROWS) {
                *word |= 1 << (row % WORD_ROWS);
            }
        });
        self.count();
    }

    /// Keeps these no longer.
    pub(super) fn leave_out(&mut self, rows: impl Iterator<Item = usize>) {
        rows.for_each(|row| {
            if let Some(word) = self.words.get_mut(row / WORD_ROWS) {
                *word &= !(1 << (row % WORD_ROWS));
            }
        });
        self.count();
    }

    fn count(&mut self) {
        self.kept = self.words.iter().map(|it| it.count_ones() as usize).sum();
    }

    /// The batch with these rows alone, its text spelled out.
    pub(super) fn of(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let coded = |it: &ArrayRef| matches!(it.data_type(), DataType::Dictionary(..));
        let coded = batch.columns().iter().any(coded);
        if batch.num_rows() != self.rows {
            return Err(Error::internal("other rows are left than there are"));
        }
        if self.are_all() && !coded {
            return Ok(batch);
        }
        let (schema, columns, _) = batch.into_parts();
        let columns = columns.into_iter().map(|it| self.column(it));
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

    fn are_all(&self) -> bool {
        self.kept == self.rows
    }

    fn column(&self, array: ArrayRef) -> Result<ArrayRef> {
        // The part that is worked on has to be the only one that holds the memory.
        if let Some(coded) = array.as_dictionary_opt::<Int32Type>().cloned() {
            drop(array);
            return spell::spell(coded, self);
        }
        if self.are_all() {
            return Ok(array);
        }
        macro_rules! fixed {
            ($of:ty) => {{
                let values = array.as_primitive::<$of>().clone();
                drop(array);
                Ok(Arc::new(self.fixed(values)?))
            }};
        }
        downcast_primitive! {
            array.data_type() => (fixed),
            DataType::Utf8 => {
                let text = array.as_string::<i32>().clone();
                drop(array);
                Ok(Arc::new(self.text(text)?))
            }
            DataType::Binary => {
                let text = array.as_binary::<i32>().clone();
                drop(array);
                Ok(Arc::new(self.text(text)?))
            }
            _ => self.rest(&array)
        }
    }

    /// Values of any kind.
    fn rest(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let mask = BooleanBuffer::new(Buffer::from_vec(self.words.clone()), 0, self.rows);
        filter(array, &BooleanArray::new(mask, None)).map_err(lost)
    }

    /// Values of a fixed width; in the same memory, if nobody else holds it.
    pub(super) fn fixed<T: ArrowPrimitiveType>(
        &self,
        array: PrimitiveArray<T>,
    ) -> Result<PrimitiveArray<T>> {
        if array.len() != self.rows {
            return Err(Error::internal("a column has other rows than its batch"));
        }
        if self.are_all() {
            return Ok(array);
        }
        let (data_type, values, nulls) = array.into_parts();
        // Which values these are is of no interest, only where each of them begins.
        let values = match (size_of::<T::Native>(), align_of::<T::Native>()) {
            (1, 1) => self.packed::<u8>(values.into_inner()),
            (2, 2) => self.packed::<u16>(values.into_inner()),
            (4, 4) => self.packed::<u32>(values.into_inner()),
            (8, 8) => self.packed::<u64>(values.into_inner()),
            _ => {
                let mut values = Vec::from(values);
                let kept = runs(&mut values, &self.words);
                values.truncate(kept);
                Buffer::from_vec(values)
            }
        };
        let values = ScalarBuffer::new(values, 0, self.kept);
        let array = PrimitiveArray::<T>::try_new(values, self.nulls(nulls.as_ref()));
        Ok(array.map_err(lost)?.with_data_type(data_type))
    }

    fn packed<T: Squeeze>(&self, values: Buffer) -> Buffer {
        let mut values = owned::<T>(values);
        let kept = T::squeeze(&mut values, &self.words);
        values.truncate(kept);
        Buffer::from_vec(values)
    }

    /// Text; in the same memory, if nobody else holds it.
    fn text<T: ByteArrayType<Offset = i32>>(
        &self,
        array: GenericByteArray<T>,
    ) -> Result<GenericByteArray<T>> {
        let (offsets, bytes, nulls) = array.into_parts();
        let (mut bytes, base) = match bytes.into_vec::<u8>() {
            Ok(bytes) => (bytes, 0),
            Err(shared) => {
                let ends = offsets.first().zip(offsets.last());
                let used = ends.and_then(|(from, to)| shared.get(place(*from)..place(*to)));
                (used.unwrap_or_default().to_vec(), offsets.first().copied().unwrap_or(0))
            }
        };
        let mut offsets = owned::<i32>(offsets.into_inner().into_inner());
        let (mut rows, mut end) = (0, 0i32);
        for run in Runs::new(&self.words, self.rows) {
            let ends = offsets.get(run.start).zip(offsets.get(run.end));
            let Some((from, to)) = ends.map(|(from, to)| (from - base, to - base)) else { break };
            bytes.copy_within(place(from)..place(to), place(end));
            move_up(&mut offsets, run.start + 1..run.end + 1, rows + 1, from + base - end);
            (rows, end) = (rows + run.len(), end + (to - from));
        }
        bytes.truncate(place(end));
        offsets.truncate(self.kept + 1);
        if let Some(first) = offsets.first_mut() {
            *first = 0;
        }
        let nulls = self.nulls(nulls.as_ref());
        let offsets = OffsetBuffer::new(offsets.into());
        // The library checks only text of one of several annotations.
        GenericByteArray::try_new(offsets, bytes.into(), nulls)
            .map_err(|it| Error::new(Code::CorruptData, format!("not a sound data file: {it}")))
    }

    /// Which of the rows are null; `None` if none is.
    fn nulls(&self, nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
        let nulls = nulls.filter(|it| 0 < it.null_count())?;
        let (bytes, offset) = (nulls.validity(), nulls.offset());
        let mut bits = BooleanBufferBuilder::new(self.kept);
        for run in Runs::new(&self.words, self.rows) {
            bits.append_packed_range(offset + run.start..offset + run.end, bytes);
        }
        Some(NullBuffer::new(bits.finish())).filter(|it| 0 < it.null_count())
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

/// The values; in the same memory, if nobody else holds it.
fn owned<T: ArrowNativeType>(values: Buffer) -> Vec<T> {
    values.into_vec::<T>().unwrap_or_else(|shared| shared.typed_data::<T>().to_vec())
}

/// Where in the bytes of a text an offset is.
fn place(offset: i32) -> usize {
    offset.unsigned_abs() as usize
}

/// Moves the offsets of some rows up to `to`, each less by `less`.
fn move_up(offsets: &mut [i32], of: Range<usize>, to: usize, less: i32) {
    let mut done = 0;
    // What is written too much is where nothing is any more that is still to be moved.
    let far = OFFSETS <= of.start.saturating_sub(to);
    while far && done < of.len() {
        let some = offsets.get(of.start + done..).and_then(|it| it.first_chunk::<OFFSETS>());
        let Some(some) = some.map(|it| it.map(|it| it.wrapping_sub(less))) else { break };
        let place = offsets.get_mut(to + done..).and_then(|it| it.first_chunk_mut::<OFFSETS>());
        let Some(place) = place else { break };
        *place = some;
        done += OFFSETS;
    }
    for at in done..of.len() {
        let offset = offsets.get(of.start + at).copied();
        if let Some((offset, place)) = offset.zip(offsets.get_mut(to + at)) {
            *place = offset.wrapping_sub(less);
        }
    }
}

fn lost(err: ArrowError) -> Error {
    Error::internal("the wanted rows do not come out of a batch").because(err)
}

#[cfg(test)]
mod tests;
