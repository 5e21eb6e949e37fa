//! One typed value: partition strings, statistics, order.
//!
//! A value meets its column as text in a path, as JSON in statistics, as a row of an Arrow array
//! and as a literal in a filter. Pruning is only right if all four are the same value, so each is
//! read here, and two of them are ordered here and nowhere else. Text that does not name exactly
//! one value of the type is an error or unknown; nothing is rounded, but for a float's digits,
//! which name the nearest float.

mod array;
mod number;
#[cfg(test)]
mod tests;
mod text;

use std::cmp::Ordering;
use std::fmt;

use arrow_array::{Array, ArrayRef};
use serde_json::Value as Json;

use crate::error::{Code, Error, Result};
use crate::schema::PrimitiveType;
use crate::time::{format_date, format_micros};
use number::Number;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A value that is not null. Null is `Option::None`.
///
/// ```
/// use lakebed_log::schema::PrimitiveType;
/// use lakebed_log::value::Value;
///
/// let of = PrimitiveType::Decimal { precision: 12, scale: 2 };
/// let value = Value::from_partition("1", of)?.unwrap();
/// assert_eq!(value.to_partition(), "1.00");
/// assert_eq!(value, Value::Long(1));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    Boolean(bool),
    Byte(i8),
    Short(i16),
    Integer(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// `unscaled` by ten to the minus `scale`, at most 38 digits.
    Decimal {
        unscaled: i128,
        precision: u8,
        scale: u8,
    },
    String(String),
    Binary(Vec<u8>),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    /// Microseconds since the epoch, no zone.
    TimestampNtz(i64),
}

impl Value {
    /// The type of the value.
    pub fn primitive_type(&self) -> PrimitiveType {
        match self {
            Value::Boolean(_) => PrimitiveType::Boolean,
            Value::Byte(_) => PrimitiveType::Byte,
            Value::Short(_) => PrimitiveType::Short,
            Value::Integer(_) => PrimitiveType::Integer,
            Value::Long(_) => PrimitiveType::Long,
            Value::Float(_) => PrimitiveType::Float,
            Value::Double(_) => PrimitiveType::Double,
            Value::Decimal { precision, scale, .. } => {
                PrimitiveType::Decimal { precision: *precision, scale: *scale }
            }
            Value::String(_) => PrimitiveType::String,
            Value::Binary(_) => PrimitiveType::Binary,
            Value::Date(_) => PrimitiveType::Date,
            Value::Timestamp(_) => PrimitiveType::Timestamp,
            Value::TimestampNtz(_) => PrimitiveType::TimestampNtz,
        }
    }

    /// Reads a partition value; `""` is null for every type.
    ///
    /// Timestamps without zone are read as UTC. Of binary values the bytes are the UTF-8 of
    /// the text.
    ///
    /// # Errors
    ///
    /// `invalid-partition-value` for a text that is no value of the type, or not exactly one: out
    /// of range, with more digits than the decimal has, with digits below the microsecond.
    pub fn from_partition(text: &str, of: PrimitiveType) -> Result<Option<Value>> {
        if text.is_empty() {
            return Ok(None);
        }
        let value = match of {
            PrimitiveType::Binary => Some(Value::Binary(text.as_bytes().to_vec())),
            _ => text::read(text, of),
        };
        value.map(Some).ok_or_else(|| no_value(Code::InvalidPartitionValue, text, of))
    }

    /// The partition string that reads back to this value: timestamps in ISO form with Z.
    ///
    /// The empty string and the empty binary read back as null, by the protocol. Bytes that are no
    /// UTF-8 have no partition string: writers ask [`Value::has_partition`] first.
    pub fn to_partition(&self) -> String {
        match self {
            Value::Boolean(it) => it.to_string(),
            Value::Byte(it) => it.to_string(),
            Value::Short(it) => it.to_string(),
            Value::Integer(it) => it.to_string(),
            Value::Long(it) => it.to_string(),
            Value::Float(it) if it.is_finite() => format!("{it:?}"),
            Value::Float(it) => text::not_finite(f64::from(*it)).to_string(),
            Value::Double(it) if it.is_finite() => format!("{it:?}"),
            Value::Double(it) => text::not_finite(*it).to_string(),
            Value::Decimal { unscaled, scale, .. } => number::print(*unscaled, *scale),
            Value::String(it) => it.clone(),
            Value::Binary(it) => String::from_utf8_lossy(it).into_owned(),
            Value::Date(it) => format_date(*it),
            Value::Timestamp(it) => format!("{}Z", format_micros(*it, 'T', Some(6))),
            Value::TimestampNtz(it) => format_micros(*it, ' ', None),
        }
    }

    /// Does [`Value::to_partition`] read back to this value, or to null if it is empty?
    pub fn has_partition(&self) -> bool {
        !matches!(self, Value::Binary(it) if std::str::from_utf8(it).is_err())
    }

    /// Reads a text literal as a value of the type: `ts >= '2024-01-01T00:00:00Z'`, `x = 'NaN'`.
    ///
    /// # Errors
    ///
    /// `invalid-expression` for a text that is not exactly one value of the type.
    pub fn from_literal(text: &str, of: PrimitiveType) -> Result<Value> {
        let value = match of {
            PrimitiveType::Binary => Some(Value::Binary(text.as_bytes().to_vec())),
            PrimitiveType::String => Some(Value::String(text.to_string())),
            _ => text::read(text.trim(), of),
        };
        value.ok_or_else(|| no_value(Code::InvalidExpression, text, of))
    }

    /// Reads min or max of JSON statistics; `None` where the JSON makes no sense for the type (then
    /// unknown), or is a number that may have been rounded on its way here.
    pub fn from_stats(json: &Json, of: PrimitiveType) -> Option<Value> {
        match (json, of) {
            (_, PrimitiveType::Binary) => None,
            (Json::Bool(it), PrimitiveType::Boolean) => Some(Value::Boolean(*it)),
            (Json::String(it), _) => text::read(it, of),
            (Json::Number(it), _) if it.is_i64() || it.is_u64() => {
                number::is_number(of).then(|| text::read(&it.to_string(), of))?
            }
            // A number with a point has become a double by now. Only up to 15 digits does every
            // decimal survive that.
            (Json::Number(it), PrimitiveType::Decimal { precision: ..=15, .. })
            | (Json::Number(it), PrimitiveType::Float | PrimitiveType::Double) => {
                text::read(&it.to_string(), of)
            }
            _ => None,
        }
    }

    /// The same of a text of that JSON, without its quotes.
    pub(crate) fn from_stats_text(text: &str, of: PrimitiveType) -> Option<Value> {
        text::read(text, of)
    }

    /// As min or max of JSON statistics; NaN and infinities as strings, decimals as exact numbers.
    ///
    /// Null, which bounds nothing, for binaries, and for decimals that a JSON number of this
    /// library's cannot hold exactly.
    pub fn to_stats(&self) -> Json {
        match self {
            Value::Boolean(it) => (*it).into(),
            Value::Byte(it) => (*it).into(),
            Value::Short(it) => (*it).into(),
            Value::Integer(it) => (*it).into(),
            Value::Long(it) => (*it).into(),
            Value::Float(it) if it.is_finite() => f64::from(*it).into(),
            Value::Double(it) if it.is_finite() => (*it).into(),
            Value::Float(it) => text::not_finite(f64::from(*it)).into(),
            Value::Double(it) => text::not_finite(*it).into(),
            Value::Decimal { unscaled, scale, .. } => number::to_json(*unscaled, *scale),
            Value::String(it) => it.as_str().into(),
            Value::Binary(_) => Json::Null,
            Value::Date(it) => format_date(*it).into(),
            Value::Timestamp(it) => format!("{}Z", format_micros(*it, 'T', fraction(*it))).into(),
            Value::TimestampNtz(it) => format_micros(*it, 'T', fraction(*it)).into(),
        }
    }

    /// The value at `row`, in the Arrow shape of `Schema::to_arrow`; `None` for null.
    ///
    /// # Errors
    ///
    /// `internal` for an array of another shape and for a row past its end.
    pub fn from_array(array: &dyn Array, row: usize) -> Result<Option<Value>> {
        array::at(array, row)
    }

    /// `len` copies as an array of the type; all null for `None`.
    ///
    /// # Errors
    ///
    /// `internal` for a value that [`Value::cast`] does not take to the type, `limit-exceeded` for
    /// more text than an array holds.
    pub fn to_array(value: Option<&Value>, of: PrimitiveType, len: usize) -> Result<ArrayRef> {
        array::repeat(value, of, len)
    }

    /// Order of one type: numbers by value across widths, -0.0 = 0.0, NaN equal and greatest, text
    /// by UTF-8 bytes. `None` for types that do not compare.
    ///
    /// Numbers compare by what they are, never by a rounding of one of them: the double that is
    /// written `0.1` is greater than the decimal 0.1.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        if let (Some(one), Some(other)) = (Number::of(self), Number::of(other)) {
            return Some(one.compare(other));
        }
        match (self, other) {
            (Value::Boolean(one), Value::Boolean(other)) => Some(one.cmp(other)),
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Binary(one), Value::Binary(other)) => Some(one.cmp(other)),
            (Value::Date(one), Value::Date(other)) => Some(one.cmp(other)),
            (Value::Timestamp(one), Value::Timestamp(other))
            | (Value::TimestampNtz(one), Value::TimestampNtz(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// Lossless cast; `None` if the value does not fit exactly.
    ///
    /// Numbers go to any number type that holds them, dates to the midnight of either timestamp,
    /// and midnights back to dates. Nothing else changes its type.
    pub fn cast(&self, to: PrimitiveType) -> Option<Value> {
        if self.primitive_type() == to {
            return Some(self.clone());
        }
        if let Some(number) = Number::of(self) {
            return number.cast(to);
        }
        let midnight = |days: i32| i64::from(days).checked_mul(MICROS_PER_DAY);
        match (self, to) {
            (Value::Date(it), PrimitiveType::Timestamp) => midnight(*it).map(Value::Timestamp),
            (Value::Date(it), PrimitiveType::TimestampNtz) => {
                midnight(*it).map(Value::TimestampNtz)
            }
            (Value::Timestamp(it) | Value::TimestampNtz(it), PrimitiveType::Date) => {
                let whole = it % MICROS_PER_DAY == 0;
                i32::try_from(it / MICROS_PER_DAY).ok().filter(|_| whole).map(Value::Date)
            }
            _ => None,
        }
    }
}

/// Equal by [`Value::compare`].
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.compare(other) == Some(Ordering::Equal)
    }
}

/// As a SQL literal.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Float(_) => write!(f, "FLOAT '{}'", self.to_partition()),
            Value::Double(it) if it.is_finite() => write!(f, "{it:e}"),
            Value::Double(_) => write!(f, "DOUBLE '{}'", self.to_partition()),
            Value::String(it) => write!(f, "'{}'", it.replace('\'', "''")),
            Value::Binary(it) => {
                f.write_str("X'")?;
                it.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            Value::Date(_) => write!(f, "DATE '{}'", self.to_partition()),
            Value::Timestamp(_) => write!(f, "TIMESTAMP '{}'", self.to_partition()),
            Value::TimestampNtz(_) => write!(f, "TIMESTAMP_NTZ '{}'", self.to_partition()),
            _ => f.write_str(&self.to_partition()),
        }
    }
}

/// Milliseconds where they say it all, as most readers write, else microseconds: a bound that is
/// cut would need every reader to know that it was.
fn fraction(micros: i64) -> Option<u32> {
    if micros % 1000 == 0 { Some(3) } else { Some(6) }
}

fn no_value(code: Code, text: &str, of: PrimitiveType) -> Error {
    const SHOWN_CHARS_MAX: usize = 100;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let dots = if shown.len() < text.len() { ".." } else { "" };
    Error::new(code, format!("`{shown}{dots}` is no value of type {of}"))
}
