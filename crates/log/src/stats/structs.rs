//! Struct statistics of many files: the columns of the wanted leaves are found once, and rows of
//! which two bounds already tell enough are told in bulk.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Int64Array, StructArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::columns::Leaf;
use super::json::Reader;
use super::{ColumnStats, GREGORIAN_DAYS, MILLISECOND_SLACK, Stats};
use crate::expr::CompareOp;
use crate::schema::PrimitiveType;
use crate::value::Value;

/// Names of the sections, in the order in which they are kept.
pub(crate) const SECTIONS: [&str; 3] = ["minValues", "maxValues", "nullCount"];

/// `stats_parsed` of a batch, by leaf of a [`Reader`].
pub(crate) struct Structs {
    valid: Option<NullBuffer>,
    num_records: Option<Int64Array>,
    tight: Option<BooleanArray>,
    leaves: Vec<[Option<Column>; 3]>,
}

/// A leaf of one section, and where nothing on the way to it is null.
struct Column {
    array: ArrayRef,
    valid: Option<NullBuffer>,
}

/// A condition that a filter demands of every row: column, comparison, constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) column: Vec<String>,
    pub(crate) op: CompareOp,
    pub(crate) value: Value,
}

impl Structs {
    pub(crate) fn new(parsed: &StructArray, reader: &Reader) -> Structs {
        let part = |name: &str| parsed.column_by_name(name);
        let leaf = |leaf: &Leaf| {
            SECTIONS.map(|name| {
                let section = part(name)?.as_struct_opt()?;
                descend(section, &leaf.names)
            })
        };
        Structs {
            valid: parsed.nulls().cloned(),
            num_records: part("numRecords").and_then(|it| it.as_primitive_opt().cloned()),
            tight: part("tightBounds").and_then(|it| it.as_boolean_opt().cloned()),
            leaves: reader.leaves().iter().map(leaf).collect(),
        }
    }

    /// Does the row have any?
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|it| it.is_valid(row))
    }

    /// Reads a row into `stats`, which were made by [`Reader::blank`]. A value that is not of the
    /// column's type is unknown.
    pub(crate) fn read(&self, reader: &Reader, row: usize, stats: &mut Stats) {
        let count = |it: Option<i64>| it.and_then(|it| u64::try_from(it).ok());
        let valid = self.is_valid(row);
        stats.num_records = None;
        stats.tight_bounds = true;
        if valid {
            let rows = self.num_records.as_ref().filter(|it| it.is_valid(row));
            stats.num_records = count(rows.map(|it| it.value(row)));
            let tight = self.tight.as_ref().filter(|it| it.is_valid(row));
            stats.tight_bounds = tight.is_none_or(|it| it.value(row));
        }
        for (leaf, sections) in reader.leaves().iter().zip(&self.leaves) {
            let Some(column) = stats.columns.get_mut(&leaf.path) else { continue };
            *column = ColumnStats::default();
            if !valid {
                continue;
            }
            let [min, max, nulls] = sections;
            let bound = |it: &Option<Column>| it.as_ref()?.value(row, leaf.of?);
            column.min = bound(min);
            column.max = bound(max);
            column.null_count = count(nulls.as_ref().and_then(|it| it.long(row)));
        }
        stats.make_sound();
    }

    /// Marks rows in which no row of the file can meet every term, by bounds alone. Rows that are
    /// not marked may still be ruled out by [`Structs::read`] and a closer look; not the reverse.
    pub(crate) fn ruled_out(&self, reader: &Reader, terms: &[Term], rows: usize) -> BooleanBuffer {
        let mut out = BooleanBuffer::new_unset(rows);
        for term in terms {
            let leaf = reader.leaves().iter().position(|it| it.path == term.column);
            let Some([Some(min), Some(max), _]) = leaf.and_then(|it| self.leaves.get(it)) else {
                continue;
            };
            let any = i64::MIN;
            // Times up to 1970 may have been cut upwards.
            let (day, time) = (GREGORIAN_FROM, 1);
            let marks = match &term.value {
                Value::Long(it) => marked::<Int64Type>(min, max, term.op, *it, 0, any),
                Value::Integer(it) => marked::<Int32Type>(min, max, term.op, *it, 0, any),
                Value::Date(it) => marked::<Date32Type>(min, max, term.op, *it, 0, day),
                Value::Timestamp(it) | Value::TimestampNtz(it) => {
                    let slack = MILLISECOND_SLACK;
                    marked::<TimestampMicrosecondType>(min, max, term.op, *it, slack, time)
                }
                _ => None,
            };
            if let Some(marks) = marks.filter(|it| it.len() == rows) {
                out = &out | &marks;
            }
        }
        match &self.valid {
            Some(valid) => &out & valid.inner(),
            None => out,
        }
    }
}

/// Can no number of `low..=high` meet the comparison with `value`?
pub(super) fn excludes(op: CompareOp, value: i64, low: i64, high: i64) -> bool {
    match op {
        CompareOp::Eq => value < low || high < value,
        CompareOp::Lt => value <= low,
        CompareOp::LtEq => value < low,
        CompareOp::Gt => high <= value,
        CompareOp::GtEq => high < value,
        CompareOp::NotEq => false,
    }
}

/// Days that are surely of the Gregorian calendar, so that bounds mean what they say.
const GREGORIAN_FROM: i64 = GREGORIAN_DAYS as i64 + 2;

/// `slack` is what a maximum may have lost; bounds below `least` need a closer look.
fn marked<T>(
    min: &Column,
    max: &Column,
    op: CompareOp,
    value: T::Native,
    slack: i64,
    least: i64,
) -> Option<BooleanBuffer>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let value: i64 = value.into();
    let (mins, maxs) = (min.array.as_primitive_opt::<T>()?, max.array.as_primitive_opt::<T>()?);
    let pairs = mins.values().iter().zip(maxs.values());
    let marks: Vec<bool> = pairs
        .map(|(low, high)| {
            let (low, high): (i64, i64) = ((*low).into(), (*high).into());
            // Bounds the wrong way round prove nothing.
            least <= low && low <= high && excludes(op, value, low, high.saturating_add(slack))
        })
        .collect();
    let marks = BooleanBuffer::from(marks);
    let known = NullBuffer::union(min.valid.as_ref(), max.valid.as_ref());
    Some(match known {
        Some(known) => &marks & known.inner(),
        None => marks,
    })
}

impl Column {
    fn value(&self, row: usize, of: PrimitiveType) -> Option<Value> {
        if self.valid.as_ref().is_some_and(|it| it.is_null(row)) {
            return None;
        }
        let value = match (Value::from_array(&self.array, row).ok().flatten()?, of) {
            // Timestamps of 96 bits do not say whether they have a zone.
            (Value::TimestampNtz(it), PrimitiveType::Timestamp) => Value::Timestamp(it),
            (value, _) => value,
        };
        if value.primitive_type() == of { Some(value) } else { value.cast(of) }
    }

    fn long(&self, row: usize) -> Option<i64> {
        let array = self.array.as_primitive_opt::<Int64Type>()?;
        self.valid.as_ref().is_none_or(|it| it.is_valid(row)).then(|| array.value(row))
    }
}

fn descend(section: &StructArray, names: &[String]) -> Option<Column> {
    let (last, parents) = names.split_last()?;
    let mut here = section;
    let mut valid = here.nulls().cloned();
    for name in parents {
        here = here.column_by_name(name)?.as_struct_opt()?;
        valid = NullBuffer::union(valid.as_ref(), here.nulls());
    }
    let array = here.column_by_name(last)?.clone();
    let valid = NullBuffer::union(valid.as_ref(), array.nulls());
    Some(Column { array, valid })
}

/// Do statistics leave open, for some wanted leaf, what another form of them might tell?
pub(crate) fn is_silent(stats: &Stats, reader: &Reader) -> bool {
    reader.leaves().iter().any(|leaf| match stats.columns.get(&leaf.path) {
        None => true,
        Some(it) => {
            let all_null = it.null_count.is_some() && it.null_count == stats.num_records;
            (it.min.is_none() || it.max.is_none()) && !all_null
        }
    })
}
