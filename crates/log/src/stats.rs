//! Per-file statistics: which columns have them, collecting them, reading and writing them.
//!
//! Statistics decide which files a query does not read, so a wrong one loses rows without a trace.
//! Every step therefore errs to one side. Collecting writes bounds that hold in every reading the
//! engines give them; where none does (a NaN, a year that does not print) it writes none. Reading
//! trusts nothing: what does not make sense is unknown, and what is known is widened by whatever a
//! careless writer may have cut off. Unknown proves nothing, so it costs time and never rows.
//!
//! ```text
//!   rows --Collector--> Stats --to_json--> add.stats --Reader--> Stats --bounds--> what they prove
//! ```

mod audit;
mod collect;
mod columns;
mod json;
mod least;
mod print;
mod structs;
mod template;
mod texts;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow_array::{RecordBatch, StructArray};

use crate::error::Result;
use crate::property::Properties;
use crate::schema::{ColumnMapping, Schema};
use crate::value::Value;

pub use audit::{Audit, disagreement};
pub(crate) use columns::{Leaf, indexed};
pub use json::Reader;
pub(crate) use json::{Side, parse_value};
pub(crate) use least::least;
pub(crate) use structs::{SECTIONS, Structs, Term, is_silent};
pub(crate) use template::Templates;
pub use texts::Extremes;

/// Statistics of one file. Keys are paths of names of the schema that they are read with; files
/// have physical names in their place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Rows in the file, deleted ones included. `None` is unknown.
    pub num_records: Option<u64>,
    /// Outer bounds, inexact where the protocol says so.
    pub columns: BTreeMap<Vec<String>, ColumnStats>,
    /// `false` once deletion vectors made bounds loose.
    pub tight_bounds: bool,
}

/// Statistics of one leaf column. Absent is unknown, never "no rows".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStats {
    /// Lower bound.
    pub min: Option<Value>,
    /// Upper bound, as stored: see [`Stats::bounds`] for what it proves.
    pub max: Option<Value>,
    /// Nulls, those below a null struct included.
    pub null_count: Option<u64>,
}

/// What a stored bound in milliseconds may have lost, in microseconds.
const MILLISECOND_SLACK: i64 = 999;

/// A maximum of so many characters may have been cut: the length that writers cut to.
const CUT_CHARACTERS: usize = 32;

/// Unscaled decimals up to here survive a writer that goes through a 64-bit float.
const FLOAT_EXACT_MAX: u128 = 1_000_000_000_000_000;

impl Stats {
    /// Reads the JSON of `add.stats` for the leaves that `wanted` names; `None`: all leaves of the
    /// schema. Bad statistics are unknown statistics: this never fails, it leaves out.
    ///
    /// For many files of one table make one [`Reader`].
    pub fn from_json(text: &str, schema: &Schema, wanted: Option<&[Vec<String>]>) -> Stats {
        Reader::new(schema, wanted).read(text)
    }

    /// The same from one row of a checkpoint's `stats_parsed`. Its types may be those of an older
    /// schema; a value that is not of the column's type now is unknown.
    pub fn from_struct(
        parsed: &StructArray,
        row: usize,
        schema: &Schema,
        wanted: Option<&[Vec<String>]>,
    ) -> Stats {
        Reader::new(schema, wanted).read_struct(parsed, row)
    }

    /// The JSON of `add.stats`: `numRecords`, `minValues`, `maxValues`, `nullCount`, and
    /// `tightBounds` if they are loose. The same statistics give the same text.
    pub fn to_json(&self) -> String {
        print::print(self)
    }

    /// What the stored bounds of a column prove: every value that is not null is at least the first
    /// and at most the second, by [`Value::compare`]. `None` proves nothing.
    ///
    /// A maximum of a timestamp was cut to milliseconds and is raised again, a minimum up to 1970
    /// may have been cut upwards and is lowered. A maximum of a float
    /// proves nothing, because NaN is the greatest value and many writers pass over it. Bounds the
    /// wrong way round prove nothing. Decimals of more digits than a float holds are widened by
    /// what a writer that goes through floats may have lost, days before the Gregorian calendar by
    /// what a writer that prints them in the Julian one is off.
    ///
    /// # Source
    ///
    /// `spec/stats.md`, STATS-14 to STATS-18 and STATS-21.
    pub fn bounds(column: &ColumnStats) -> (Option<Value>, Option<Value>) {
        if let (Some(min), Some(max)) = (&column.min, &column.max)
            && !matches!(min.compare(max), Some(Ordering::Less | Ordering::Equal))
        {
            return (None, None);
        }
        (column.min.as_ref().and_then(lower_bound), column.max.as_ref().and_then(upper_bound))
    }

    /// Drops counts that contradict each other.
    fn make_sound(&mut self) {
        if let Some(rows) = self.num_records {
            for column in self.columns.values_mut() {
                column.null_count = column.null_count.filter(|it| *it <= rows);
            }
        }
    }
}

fn lower_bound(min: &Value) -> Option<Value> {
    match min {
        Value::Float(it) if it.is_nan() => None,
        Value::Double(it) if it.is_nan() => None,
        Value::Double(it) => Some(Value::Double(below_float(*it))),
        Value::Date(it) => julian_days(*it, -2).map(Value::Date),
        Value::Timestamp(it) => julian_micros(below_cut(*it), -3).map(Value::Timestamp),
        Value::TimestampNtz(it) => julian_micros(below_cut(*it), -3).map(Value::TimestampNtz),
        Value::Decimal { unscaled, precision, scale } => Some(Value::Decimal {
            unscaled: unscaled.saturating_sub(float_slack(*unscaled)),
            precision: *precision,
            scale: *scale,
        }),
        other => Some(other.clone()),
    }
}

/// Whoever cuts to milliseconds by a division cuts towards 1970, which raises what is before it.
fn below_cut(micros: i64) -> i64 {
    let cut = micros <= 0 && micros % 1_000 == 0;
    if cut { micros.saturating_sub(MILLISECOND_SLACK) } else { micros }
}

/// Of a column that was float the minimum may stand there in a float's digits, and those name a
/// double that may lie above the float.
fn below_float(min: f64) -> f64 {
    /// Sign, nine digits, point and exponent: writers need no more for a float.
    const FLOAT_TEXT_MAX: usize = 16;
    let text = format!("{min:?}");
    let float: Option<f32> = if text.len() <= FLOAT_TEXT_MAX { text.parse().ok() } else { None };
    float.map_or(min, |it| min.min(f64::from(it)))
}

fn upper_bound(max: &Value) -> Option<Value> {
    match max {
        Value::Float(_) | Value::Double(_) => None,
        Value::Date(it) => julian_days(*it, 10).map(Value::Date),
        Value::Timestamp(it) => {
            let it = it.saturating_add(MILLISECOND_SLACK);
            julian_micros(it, 11).map(Value::Timestamp)
        }
        Value::TimestampNtz(it) => {
            let it = it.saturating_add(MILLISECOND_SLACK);
            julian_micros(it, 11).map(Value::TimestampNtz)
        }
        Value::Decimal { unscaled, precision, scale } => Some(Value::Decimal {
            unscaled: unscaled.saturating_add(float_slack(*unscaled)),
            precision: *precision,
            scale: *scale,
        }),
        Value::String(it) => text_upper_bound(it).map(Value::String),
        other => Some(other.clone()),
    }
}

/// The first day of the Gregorian calendar, 1582-10-15, and of the year 1, as days since 1970.
const GREGORIAN_DAYS: i32 = -141_427;
const YEAR_ONE_DAYS: i32 = -719_162;
const DAY_MICROS: i64 = 86_400_000_000;

/// A day in statistics from before the Gregorian calendar may be printed in the Julian one, as Java
/// does, though the data file counts days without regard to calendars. The two are apart from minus
/// two to plus ten days from the year 1 on; what is earlier proves nothing.
fn julian_days(days: i32, slack: i32) -> Option<i32> {
    match days {
        GREGORIAN_DAYS.. => Some(days),
        YEAR_ONE_DAYS.. => Some(days + slack),
        _ => None,
    }
}

/// The same of a time. One more day of slack: zones were local mean times then.
fn julian_micros(micros: i64, slack_days: i64) -> Option<i64> {
    let days = i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MIN);
    let moved = julian_days(days, 0)?;
    let is_gregorian = GREGORIAN_DAYS < moved;
    Some(if is_gregorian { micros } else { micros + slack_days * DAY_MICROS })
}

/// A text that is as long as writers cut to may be cut, with a tie-breaker or without one, and the
/// replacement character was a tie-breaker once, though emoji stand above it. Then every text that
/// goes on from there is below the successor of the prefix.
fn text_upper_bound(max: &str) -> Option<String> {
    let prefix = max.trim_end_matches(char::REPLACEMENT_CHARACTER);
    if prefix.len() == max.len() && max.chars().nth(CUT_CHARACTERS - 1).is_none() {
        return Some(max.to_string());
    }
    successor(prefix)
}

/// What a stored maximum proves alone: see [`Stats::bounds`].
pub(crate) fn raised(max: &Value) -> Option<Value> {
    upper_bound(max)
}

/// A lower bound of all values of files whose stored minimum is at least `min`. Of times up to 1970
/// a greater minimum may prove less, because it looks as if it was cut.
pub(crate) fn common_lower(min: &Value) -> Option<Value> {
    match min {
        Value::Timestamp(it) if *it <= 0 => {
            lower_bound(&Value::Timestamp(it.saturating_sub(MILLISECOND_SLACK)))
        }
        Value::TimestampNtz(it) if *it <= 0 => {
            lower_bound(&Value::TimestampNtz(it.saturating_sub(MILLISECOND_SLACK)))
        }
        other => lower_bound(other),
    }
}

/// Is it no day or time, or one that every calendar writes alike?
pub(crate) fn is_plain(value: &Value) -> bool {
    match value {
        Value::Date(it) => GREGORIAN_DAYS < *it,
        Value::Timestamp(it) | Value::TimestampNtz(it) => {
            i64::from(GREGORIAN_DAYS) + 1 < it.div_euclid(DAY_MICROS)
        }
        _ => true,
    }
}

/// An upper bound of all texts of files whose stored maximum is at most `max`.
///
/// The bound that one maximum proves is not monotone in it: `"a\u{fffd}"` may have been cut after
/// the first letter and proves only `"b"`, though it is less than `"a\u{1f600}"`. Among texts up to
/// `max` no such one is left if `max` has no character above the replacement character, and is
/// itself cut before the first of those.
pub(crate) fn common_text_upper(max: &str) -> Option<String> {
    if max.chars().any(|it| char::REPLACEMENT_CHARACTER < it) {
        return None;
    }
    match max.split_once(char::REPLACEMENT_CHARACTER) {
        Some((prefix, _)) => successor(prefix),
        None => match max.char_indices().nth(CUT_CHARACTERS) {
            Some((cut, _)) => successor(max.get(..cut)?),
            None => text_upper_bound(max),
        },
    }
}

/// The least text above all that start with `prefix`.
fn successor(prefix: &str) -> Option<String> {
    let mut bound = prefix.to_string();
    while let Some(last) = bound.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}

/// More than the three roundings of a trip through a 64-bit float and its shortest decimal text.
fn float_slack(unscaled: i128) -> i128 {
    if unscaled.unsigned_abs() <= FLOAT_EXACT_MAX { 0 } else { (unscaled >> 50).abs() + 1 }
}

/// Collects statistics while a file is written: one per file, fed every batch.
#[derive(Debug)]
pub struct Collector {
    leaves: Vec<collect::LeafCollector>,
    rows: u64,
    prefix_characters: usize,
}

impl Collector {
    /// For the columns that the properties name: the first 32 leaves by default. Partition columns
    /// are left out and do not count.
    pub fn new(
        schema: &Schema,
        partition_columns: &[String],
        properties: &Properties,
    ) -> Collector {
        let leaves = indexed(schema, ColumnMapping::None, partition_columns, properties);
        Collector {
            leaves: leaves.into_iter().map(collect::LeafCollector::new).collect(),
            rows: 0,
            prefix_characters: properties.data_skipping_string_prefix_length,
        }
    }

    /// Takes the next rows, in the Arrow shape of the schema; partition columns may be absent.
    ///
    /// # Cost
    ///
    /// One pass over the values of each column, without an allocation per row.
    ///
    /// # Errors
    ///
    /// `internal` if the batch has another shape.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for leaf in &mut self.leaves {
            leaf.update(batch, self.prefix_characters)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The statistics so far, cut as the protocol says: text to its prefix, with a tie-breaker
    /// after the prefix of a maximum; times to milliseconds. A column with a NaN has no bounds,
    /// because engines do not agree where NaN stands. A bound that is zero is `-0.0` below and
    /// `0.0` above.
    ///
    /// # Source
    ///
    /// `spec/stats.md`, STATS-4 to STATS-13.
    pub fn finish(&self) -> Stats {
        let columns = self
            .leaves
            .iter()
            .map(|it| (it.path().to_vec(), it.finish(self.prefix_characters)))
            .collect();
        Stats { num_records: Some(self.rows), columns, tight_bounds: true }
    }
}

#[cfg(test)]
mod tests;
