//! Values in Arrow arrays.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types as arrow;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray, new_null_array,
};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, TimeUnit};

use super::Value;
use crate::error::{Code, Error, Result};
use crate::schema::PrimitiveType;

pub(super) fn at(array: &dyn Array, row: usize) -> Result<Option<Value>> {
    if array.len() <= row {
        return Err(Error::internal(format!("row {row} of an array of {}", array.len())));
    }
    if array.data_type() == &DataType::Null || array.is_null(row) {
        return Ok(None);
    }
    /// Reads a row as the primitive type that the shape has.
    macro_rules! of {
        ($arrow:ty) => {
            array.as_primitive_opt::<$arrow>().map(|it| it.value(row))
        };
    }
    let value = match array.data_type() {
        DataType::Boolean => array.as_boolean_opt().map(|it| Value::Boolean(it.value(row))),
        DataType::Int8 => of!(arrow::Int8Type).map(Value::Byte),
        DataType::Int16 => of!(arrow::Int16Type).map(Value::Short),
        DataType::Int32 => of!(arrow::Int32Type).map(Value::Integer),
        DataType::Int64 => of!(arrow::Int64Type).map(Value::Long),
        DataType::Float32 => of!(arrow::Float32Type).map(Value::Float),
        DataType::Float64 => of!(arrow::Float64Type).map(Value::Double),
        DataType::Decimal128(precision, scale) => {
            let value = of!(arrow::Decimal128Type).zip(u8::try_from(*scale).ok());
            let precision = *precision;
            value.map(|(unscaled, scale)| Value::Decimal { unscaled, precision, scale })
        }
        DataType::Utf8 => {
            array.as_string_opt::<i32>().map(|it| Value::String(it.value(row).to_string()))
        }
        DataType::Binary => {
            array.as_binary_opt::<i32>().map(|it| Value::Binary(it.value(row).to_vec()))
        }
        DataType::Date32 => of!(arrow::Date32Type).map(Value::Date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let value = of!(arrow::TimestampMicrosecondType);
            match zone {
                Some(_) => value.map(Value::Timestamp),
                None => value.map(Value::TimestampNtz),
            }
        }
        _ => None,
    };
    let complaint = || Error::internal(format!("{} is no shape of a value", array.data_type()));
    value.map(Some).ok_or_else(complaint)
}

pub(super) fn repeat(value: Option<&Value>, of: PrimitiveType, len: usize) -> Result<ArrayRef> {
    let Some(value) = value else {
        return Ok(new_null_array(&of.to_arrow(), len));
    };
    let complaint = || Error::internal(format!("{value} is no value of type {of}"));
    let array: ArrayRef = match value.cast(of).ok_or_else(complaint)? {
        Value::Boolean(true) => Arc::new(BooleanArray::new(BooleanBuffer::new_set(len), None)),
        Value::Boolean(false) => Arc::new(BooleanArray::new(BooleanBuffer::new_unset(len), None)),
        Value::Byte(it) => Arc::new(PrimitiveArray::<arrow::Int8Type>::from_value(it, len)),
        Value::Short(it) => Arc::new(PrimitiveArray::<arrow::Int16Type>::from_value(it, len)),
        Value::Integer(it) => Arc::new(PrimitiveArray::<arrow::Int32Type>::from_value(it, len)),
        Value::Long(it) => Arc::new(PrimitiveArray::<arrow::Int64Type>::from_value(it, len)),
        Value::Float(it) => Arc::new(PrimitiveArray::<arrow::Float32Type>::from_value(it, len)),
        Value::Double(it) => Arc::new(PrimitiveArray::<arrow::Float64Type>::from_value(it, len)),
        Value::Decimal { unscaled, .. } => {
            let array = PrimitiveArray::<arrow::Decimal128Type>::from_value(unscaled, len);
            Arc::new(array.with_data_type(of.to_arrow()))
        }
        Value::String(it) => {
            check_bytes(it.len(), len)?;
            Arc::new(StringArray::new_repeated(it, len))
        }
        Value::Binary(it) => {
            check_bytes(it.len(), len)?;
            Arc::new(BinaryArray::new_repeated(it, len))
        }
        Value::Date(it) => Arc::new(PrimitiveArray::<arrow::Date32Type>::from_value(it, len)),
        Value::Timestamp(it) | Value::TimestampNtz(it) => {
            let array = PrimitiveArray::<arrow::TimestampMicrosecondType>::from_value(it, len);
            Arc::new(array.with_data_type(of.to_arrow()))
        }
    };
    Ok(array)
}

/// Arrays count their bytes in 31 bits.
fn check_bytes(bytes: usize, len: usize) -> Result<()> {
    let total = bytes.checked_mul(len).and_then(|it| i32::try_from(it).ok());
    let what = || format!("{len} times a value of {bytes} bytes is over {} bytes", i32::MAX);
    total.map(|_| ()).ok_or_else(|| Error::new(Code::LimitExceeded, what()))
}
