//! Casts: those that cannot lose anything, and those a user asked for.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType as ArrowType, TimeUnit};

use super::{Column, compare, failed, primitive_type};
use crate::error::{Code, Error, Result};
use crate::expr::CompareOp;
use crate::schema::PrimitiveType;
use crate::value::Value;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A cast to a type that holds every value of the source; failing is the exception.
pub(super) fn exact(array: &ArrayRef, to: &ArrowType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    kernel(array, to).map_err(|it| failed(it, &format!("a cast to {to}")))
}

/// A cast as asked for, checked as ANSI SQL asks: a value that does not fit is an error. Digits
/// after the point are cut off toward zero for whole numbers and rounded for decimals.
///
/// Text goes through the same reader as a text literal, so that `CAST(s AS date)` and
/// `d = '2024-01-01'` understand the same dates.
pub(super) fn checked(column: &Column, to: PrimitiveType, what: &str) -> Result<Column> {
    let array = &column.array;
    let from = primitive_type(array.data_type());
    let array = match (from, to) {
        (Some(from), to) if from == to => Arc::clone(array),
        (Some(PrimitiveType::String), to) => from_text(array, to, what)?,
        (Some(_), PrimitiveType::String) => to_text(array, what)?,
        (Some(PrimitiveType::Void), to) => Value::to_array(None, to, array.len())?,
        (Some(_), PrimitiveType::Boolean) => {
            let zero = Value::to_array(Some(&Value::Byte(0)), PrimitiveType::Byte, 1)?;
            let zero = Column { array: zero, constant: true };
            let rows = Column::rows(Arc::clone(array));
            compare::compare(CompareOp::NotEq, &rows, &zero, || what.to_owned())?.array
        }
        (Some(PrimitiveType::Boolean), PrimitiveType::Decimal { .. }) => {
            let bits = exact(array, &ArrowType::Int64)?;
            kernel(&bits, &to.to_arrow()).map_err(|it| failed(it, what))?
        }
        _ => kernel(array, &to.to_arrow()).map_err(|it| failed(it, what))?,
    };
    Ok(Column { array, constant: column.constant })
}

/// Arrow's cast, except for moments: Arrow's takes them through a calendar that ends earlier.
fn kernel(array: &ArrayRef, to: &ArrowType) -> Result<ArrayRef, ArrowError> {
    let micros = |it: TimestampMicrosecondArray, to: &ArrowType| -> ArrayRef {
        let zone = match to {
            ArrowType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        Arc::new(it.with_timezone_opt(zone))
    };
    match (array.data_type(), to) {
        (
            ArrowType::Timestamp(TimeUnit::Microsecond, _),
            ArrowType::Timestamp(TimeUnit::Microsecond, _),
        ) => Ok(micros(array.as_primitive::<TimestampMicrosecondType>().clone(), to)),
        (ArrowType::Date32, ArrowType::Timestamp(TimeUnit::Microsecond, _)) => {
            let days = array.as_primitive::<Date32Type>();
            let moments = days.try_unary::<_, TimestampMicrosecondType, _>(|it| {
                let overflow = || ArrowError::ArithmeticOverflow(format!("day {it}"));
                i64::from(it).checked_mul(DAY).ok_or_else(overflow)
            })?;
            Ok(micros(moments, to))
        }
        (ArrowType::Timestamp(TimeUnit::Microsecond, _), ArrowType::Date32) => {
            let moments = array.as_primitive::<TimestampMicrosecondType>();
            let days: Date32Array = moments.try_unary(|it| {
                let overflow = |_| ArrowError::ArithmeticOverflow(format!("microsecond {it}"));
                i32::try_from(it.div_euclid(DAY)).map_err(overflow)
            })?;
            Ok(Arc::new(days))
        }
        _ => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, to, &options)
        }
    }
}

fn from_text(array: &ArrayRef, to: PrimitiveType, what: &str) -> Result<ArrayRef> {
    let rows = array.as_string::<i32>();
    let mut values = Vec::with_capacity(rows.len());
    for text in rows {
        values.push(match text {
            None => None,
            Some(text) => Some(Value::from_literal(text, to).map_err(|it| {
                let what = format!("cannot compute `{what}`: {}", it.message());
                Error::new(Code::InvalidData, what).because(it)
            })?),
        });
    }
    compare::collect(&to.to_arrow(), values.iter().map(Option::as_ref))
}

fn to_text(array: &ArrayRef, what: &str) -> Result<ArrayRef> {
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        texts.push(match Value::from_array(array, row)? {
            None => None,
            Some(Value::Binary(bytes)) => Some(String::from_utf8(bytes).map_err(|it| {
                let what = format!("cannot compute `{what}`: bytes are not text in UTF-8");
                Error::new(Code::InvalidData, what).because(it)
            })?),
            Some(value) => Some(value.to_partition()),
        });
    }
    Ok(Arc::new(StringArray::from(texts)))
}
