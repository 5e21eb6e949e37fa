//! Bounds and null counts of one leaf column, batch by batch.
//!
//! This runs over every value that is written, so each type has one plain loop over its buffer, and
//! what survives a batch is a pair of scalars. Meaning (cuts, tie-breakers, zero signs) is given
//! once, at the end.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrowNativeTypeOp, RecordBatch};
use arrow_buffer::NullBuffer;

use super::ColumnStats;
use super::columns::Leaf;
use super::print::printable;
use super::texts::Extremes;
use crate::error::{Error, Result};
use crate::schema::PrimitiveType;
use crate::value::Value;

/// One leaf.
#[derive(Debug)]
pub(super) struct LeafCollector {
    leaf: Leaf,
    nulls: u64,
    range: Range,
}

/// Least and greatest so far.
#[derive(Debug)]
enum Range {
    /// No value yet, or a type without bounds.
    Nothing,
    Integer(i64, i64),
    Decimal(i128, i128),
    /// Floats of both widths; NaN apart.
    Float {
        min: f64,
        max: f64,
    },
    /// A NaN came by: no bound is safe any more.
    Nan,
    Text(String, String),
}

impl LeafCollector {
    pub(super) fn new(leaf: Leaf) -> LeafCollector {
        LeafCollector { leaf, nulls: 0, range: Range::Nothing }
    }

    pub(super) fn path(&self) -> &[String] {
        &self.leaf.path
    }

    pub(super) fn update(&mut self, batch: &RecordBatch, prefix_characters: usize) -> Result<()> {
        let (array, nulls) = self.find(batch)?;
        let null_count = nulls.as_ref().map_or(0, NullBuffer::null_count);
        self.nulls += null_count as u64;
        if null_count == array.len() {
            return Ok(());
        }
        let Some(of) = self.leaf.of else { return Ok(()) };
        let nulls = nulls.as_ref().filter(|_| null_count > 0);
        let found = match of {
            PrimitiveType::Byte => integers::<Int8Type>(array, nulls),
            PrimitiveType::Short => integers::<Int16Type>(array, nulls),
            PrimitiveType::Integer => integers::<Int32Type>(array, nulls),
            PrimitiveType::Long => integers::<Int64Type>(array, nulls),
            PrimitiveType::Date => integers::<Date32Type>(array, nulls),
            PrimitiveType::Timestamp | PrimitiveType::TimestampNtz => {
                integers::<TimestampMicrosecondType>(array, nulls)
            }
            PrimitiveType::Float => floats::<Float32Type>(array, nulls),
            PrimitiveType::Double => floats::<Float64Type>(array, nulls),
            PrimitiveType::Decimal { .. } => decimals(array, nulls),
            PrimitiveType::String => {
                let keep = prefix_characters.saturating_mul(2).saturating_add(1);
                texts(array, nulls, keep)
            }
            PrimitiveType::Boolean => booleans(array, nulls),
            PrimitiveType::Binary
            | PrimitiveType::Void
            | PrimitiveType::Variant
            | PrimitiveType::Interval(_) => Some(Range::Nothing),
        };
        let found = found.ok_or_else(|| {
            let (name, is) = (self.leaf.path.join("."), array.data_type());
            Error::internal(format!("column `{name}` is {is}, but its type is {of:?}"))
        })?;
        self.range.merge(found);
        Ok(())
    }

    /// The array of the leaf, and where it is null: itself or through a struct above it.
    fn find<'b>(&self, batch: &'b RecordBatch) -> Result<(&'b dyn Array, Option<NullBuffer>)> {
        let missing = || {
            let name = self.leaf.path.join(".");
            Error::internal(format!("column `{name}` is missing from the batch"))
        };
        let (first, rest) = self.leaf.names.split_first().ok_or_else(missing)?;
        let mut array = batch.column_by_name(first).ok_or_else(missing)?;
        let mut nulls = array.logical_nulls();
        for name in rest {
            let parent = array.as_struct_opt().ok_or_else(missing)?;
            array = parent.column_by_name(name).ok_or_else(missing)?;
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
        }
        Ok((array.as_ref(), nulls))
    }

    pub(super) fn finish(&self, prefix_characters: usize) -> ColumnStats {
        let bounds = self.leaf.of.and_then(|of| self.range.bounds(of, prefix_characters));
        let (min, max) = bounds.unwrap_or((None, None));
        ColumnStats { min, max, null_count: Some(self.nulls) }
    }
}

impl LeafCollector {
    /// How many nulls there were.
    pub(super) fn nulls(&self) -> u64 {
        self.nulls
    }

    /// Least and greatest value, uncut; `None` where there is none, or no telling.
    pub(super) fn exact(&self) -> Option<(Value, Value)> {
        let of = self.leaf.of?;
        let pair = |min: Option<Value>, max: Option<Value>| Some((min?, max?));
        match (&self.range, of) {
            (Range::Integer(min, max), PrimitiveType::Timestamp) => {
                Some((Value::Timestamp(*min), Value::Timestamp(*max)))
            }
            (Range::Integer(min, max), PrimitiveType::TimestampNtz) => {
                Some((Value::TimestampNtz(*min), Value::TimestampNtz(*max)))
            }
            (Range::Float { min, max }, _) => pair(float_value(*min, of), float_value(*max, of)),
            (range, _) => range.bounds(of, usize::MAX).and_then(|(min, max)| pair(min, max)),
        }
    }
}

impl Range {
    fn merge(&mut self, found: Range) {
        match (&mut *self, found) {
            (_, Range::Nothing) | (Range::Nan, _) => {}
            (Range::Integer(min, max), Range::Integer(low, high)) => {
                (*min, *max) = ((*min).min(low), (*max).max(high));
            }
            (Range::Decimal(min, max), Range::Decimal(low, high)) => {
                (*min, *max) = ((*min).min(low), (*max).max(high));
            }
            (Range::Float { min, max }, Range::Float { min: low, max: high }) => {
                (*min, *max) = (min.min(low), max.max(high));
            }
            (Range::Text(min, max), Range::Text(low, high)) => {
                if low < *min {
                    *min = low;
                }
                if high > *max {
                    *max = high;
                }
            }
            (slot, found) => *slot = found,
        }
    }

    /// The bounds to write; `None` if none is safe.
    fn bounds(
        &self,
        of: PrimitiveType,
        prefix_characters: usize,
    ) -> Option<(Option<Value>, Option<Value>)> {
        let (min, max) = match self {
            Range::Nothing | Range::Nan => return None,
            Range::Text(min, max) => {
                let max = cut_above(max, prefix_characters).map(Value::String);
                return Some((Some(Value::String(cut_below(min, prefix_characters))), max));
            }
            Range::Integer(min, max) => (integer_value(*min, of)?, integer_value(*max, of)?),
            Range::Decimal(min, max) => {
                let PrimitiveType::Decimal { precision, scale } = of else { return None };
                let value = |unscaled| Value::Decimal { unscaled, precision, scale };
                (value(*min), value(*max))
            }
            // Some readers tell the zeros apart, some do not: outwards is right for both.
            Range::Float { min, max } => {
                let min = if *min == 0.0 { -0.0 } else { *min };
                let max = if *max == 0.0 { 0.0 } else { *max };
                (float_value(min, of)?, float_value(max, of)?)
            }
        };
        Some((Some(min), Some(max)))
    }
}

fn booleans(array: &dyn Array, nulls: Option<&NullBuffer>) -> Option<Range> {
    let array = array.as_boolean_opt()?;
    let (mut min, mut max) = (1, 0);
    for (row, value) in array.values().iter().enumerate() {
        if nulls.is_none_or(|it| it.is_valid(row)) {
            (min, max) = (min.min(i64::from(value)), max.max(i64::from(value)));
        }
    }
    Some(if min <= max { Range::Integer(min, max) } else { Range::Nothing })
}

/// `None` for a date or time whose year does not print with four digits.
fn integer_value(value: i64, of: PrimitiveType) -> Option<Value> {
    Some(match of {
        PrimitiveType::Boolean => Value::Boolean(value != 0),
        PrimitiveType::Byte => Value::Byte(value.try_into().ok()?),
        PrimitiveType::Short => Value::Short(value.try_into().ok()?),
        PrimitiveType::Integer => Value::Integer(value.try_into().ok()?),
        PrimitiveType::Long => Value::Long(value),
        PrimitiveType::Date => {
            let days = value.try_into().ok()?;
            printable(chrono::NaiveDate::from_epoch_days(days)?)?;
            Value::Date(days)
        }
        PrimitiveType::Timestamp => Value::Timestamp(whole_millis(value)?),
        PrimitiveType::TimestampNtz => Value::TimestampNtz(whole_millis(value)?),
        _ => return None,
    })
}

/// Down to a millisecond: readers add it back to a maximum.
fn whole_millis(micros: i64) -> Option<i64> {
    let millis = micros.div_euclid(1_000);
    printable(chrono::DateTime::from_timestamp_millis(millis)?.date_naive())?;
    millis.checked_mul(1_000)
}

#[expect(clippy::cast_possible_truncation, reason = "it was widened from this type")]
fn float_value(value: f64, of: PrimitiveType) -> Option<Value> {
    match of {
        PrimitiveType::Float => Some(Value::Float(value as f32)),
        PrimitiveType::Double => Some(Value::Double(value)),
        _ => None,
    }
}

/// The longest prefix of at most `characters`: never above the text.
fn cut_below(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// A text of few characters that is not below `text`: itself if it is short, else a prefix and a
/// tie-breaker above the first character cut. Where nothing is above that character the prefix
/// grows; past twice the length there is no bound.
fn cut_above(text: &str, characters: usize) -> Option<String> {
    const ASCII_LAST: char = '\u{7f}';
    let mut rest = text.chars();
    let mut prefix: String = rest.by_ref().take(characters).collect();
    let longest = characters.saturating_mul(2);
    let mut length = characters;
    loop {
        match rest.next() {
            None => return Some(prefix),
            Some(char::MAX) if length < longest => prefix.push(char::MAX),
            Some(char::MAX) => return None,
            Some(cut) => {
                prefix.push(if cut < ASCII_LAST { ASCII_LAST } else { char::MAX });
                return Some(prefix);
            }
        }
        length += 1;
    }
}

/// Folds the valid runs of a buffer, so that the inner loop has no branch per value.
fn fold_runs<T: Copy, A>(
    values: &[T],
    nulls: Option<&NullBuffer>,
    start: A,
    fold: impl Fn(A, &[T]) -> A,
) -> A {
    match nulls {
        None => fold(start, values),
        Some(nulls) => nulls.valid_slices().fold(start, |so_far, (from, to)| {
            fold(so_far, values.get(from..to).unwrap_or_default())
        }),
    }
}

/// `None` if the array is of another type. Called with at least one valid value.
fn integers<T>(array: &dyn Array, nulls: Option<&NullBuffer>) -> Option<Range>
where
    T: ArrowPrimitiveType,
    T::Native: Ord + Into<i64>,
{
    let (min, max) = extremes::<T>(array, nulls)?;
    Some(Range::Integer(min.into(), max.into()))
}

fn decimals(array: &dyn Array, nulls: Option<&NullBuffer>) -> Option<Range> {
    let (min, max) = extremes::<Decimal128Type>(array, nulls)?;
    Some(Range::Decimal(min, max))
}

fn extremes<T>(array: &dyn Array, nulls: Option<&NullBuffer>) -> Option<(T::Native, T::Native)>
where
    T: ArrowPrimitiveType,
    T::Native: Ord,
{
    let values = array.as_primitive_opt::<T>()?.values();
    let (first, last) = (T::Native::MIN_TOTAL_ORDER, T::Native::MAX_TOTAL_ORDER);
    Some(fold_runs(values, nulls, (last, first), |so_far, run| {
        run.iter().fold(so_far, |(min, max), it| (min.min(*it), max.max(*it)))
    }))
}

fn floats<T>(array: &dyn Array, nulls: Option<&NullBuffer>) -> Option<Range>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + PartialOrd,
{
    let values = array.as_primitive_opt::<T>()?.values();
    let start = (f64::INFINITY, f64::NEG_INFINITY, false);
    let (min, max, nan) = fold_runs(values, nulls, start, |so_far, run| {
        run.iter().fold(so_far, |(min, max, nan), it| {
            let it: f64 = (*it).into();
            (if it < min { it } else { min }, if it > max { it } else { max }, nan | it.is_nan())
        })
    });
    Some(if nan { Range::Nan } else { Range::Float { min, max } })
}

/// Keeps a prefix that decides order and cuts as the whole text would: memory does not follow the
/// longest value.
fn texts(array: &dyn Array, nulls: Option<&NullBuffer>, keep: usize) -> Option<Range> {
    let mut extremes = Extremes::new(array.as_string_opt()?);
    match nulls {
        None => extremes.take(0, array.len()),
        Some(nulls) => nulls.valid_slices().for_each(|(from, to)| extremes.take(from, to)),
    }
    let (min, max) = extremes.finish()?;
    Some(Range::Text(cut_below(min, keep), cut_below(max, keep)))
}
