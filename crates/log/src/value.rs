//! One typed value: partition strings, statistics, order.

use std::cmp::Ordering;
use std::fmt;

use arrow_array::{Array, ArrayRef};
use serde_json::Value as Json;

use crate::error::Result;
use crate::schema::PrimitiveType;

/// A value that is not null. Null is `Option::None`.
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
    Decimal { unscaled: i128, precision: u8, scale: u8 },
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
        todo!()
    }
    /// Reads a partition value; `""` is null for every type. `invalid-partition-value`.
    pub fn from_partition(_text: &str, _of: PrimitiveType) -> Result<Option<Value>> {
        todo!()
    }
    /// The partition string that reads back to this value: timestamps in ISO form with Z.
    pub fn to_partition(&self) -> String {
        todo!()
    }
    /// Reads a text literal as a value of the type: `ts >= '2024-01-01T00:00:00Z'`, `x = 'NaN'`. `invalid-expression`.
    pub fn from_literal(_text: &str, _of: PrimitiveType) -> Result<Value> {
        todo!()
    }
    /// Reads min or max of JSON statistics; `None` where the JSON makes no sense for the type (then unknown).
    pub fn from_stats(_json: &Json, _of: PrimitiveType) -> Option<Value> {
        todo!()
    }
    /// As min or max of JSON statistics; NaN and infinities as strings, decimals as exact numbers.
    pub fn to_stats(&self) -> Json {
        todo!()
    }
    /// The value at `row`, in the Arrow shape of `Schema::to_arrow`; `None` for null.
    pub fn from_array(_array: &dyn Array, _row: usize) -> Result<Option<Value>> {
        todo!()
    }
    /// `len` copies as an array of the type; all null for `None`.
    pub fn to_array(_value: Option<&Value>, _of: PrimitiveType, _len: usize) -> Result<ArrayRef> {
        todo!()
    }
    /// Order of one type: numbers by value across widths, -0.0 = 0.0, NaN equal and greatest, text by UTF-8 bytes.
    /// `None` for types that do not compare.
    pub fn compare(&self, _other: &Value) -> Option<Ordering> {
        todo!()
    }
    /// Lossless cast; `None` if the value does not fit exactly.
    pub fn cast(&self, _to: PrimitiveType) -> Option<Value> {
        todo!()
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
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
