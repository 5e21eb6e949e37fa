//! Casts of arrays without parts.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types as arrow;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_cast::CastOptions;
use arrow_schema::{ArrowError, DataType as ArrowType, TimeUnit};

use super::Place;
use crate::error::{Code, Error, Result};
use crate::schema::arrow::natural;
use crate::schema::evolve::widens;
use crate::schema::{ArrowOptions, DataType, PrimitiveType};

const MILLIS_PER_DAY: i64 = 86_400_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The array as the column's type.
pub(super) fn cast(
    array: &ArrayRef,
    to: PrimitiveType,
    options: ArrowOptions,
    place: &Place<'_>,
) -> Result<ArrayRef> {
    // A leaf of the batch: one level is enough to see that it is one.
    let from = match natural(array.data_type(), options, 1) {
        Ok(DataType::Primitive(it)) => it,
        Ok(_) => return Err(mismatch(array.data_type(), to, place)),
        Err(error) if error.code() == Code::LimitExceeded => {
            return Err(mismatch(array.data_type(), to, place));
        }
        Err(error) => return Err(error.at(place)),
    };
    if from != to && !widens(from, to) {
        return Err(mismatch(array.data_type(), to, place));
    }
    let array = to_natural(array, from, place)?;
    match (from, to) {
        _ if from == to => Ok(array),
        // Arrow's own cast wraps around.
        (PrimitiveType::Date, PrimitiveType::TimestampNtz) => {
            let micros = |days: i32| i64::from(days).checked_mul(MICROS_PER_DAY);
            let why = "is out of range for timestamp_ntz";
            exact::<arrow::Date32Type, arrow::TimestampMicrosecondType>(&array, micros, why, place)
        }
        _ => by_arrow(&array, &to.to_arrow(), place),
    }
}

/// The array in the one shape of the type that it naturally is.
fn to_natural(array: &ArrayRef, of: PrimitiveType, place: &Place<'_>) -> Result<ArrayRef> {
    let shape = of.to_arrow();
    let too_early_or_late = "is out of range for microseconds";
    let array = match array.data_type() {
        ArrowType::Date64 => {
            let days = |millis: i64| {
                i32::try_from(millis / MILLIS_PER_DAY).ok().filter(|_| millis % MILLIS_PER_DAY == 0)
            };
            let why = "is no whole day";
            exact::<arrow::Date64Type, arrow::Date32Type>(array, days, why, place)?
        }
        ArrowType::Timestamp(TimeUnit::Second, _) => {
            let micros = |it: i64| it.checked_mul(1_000_000);
            micros_of::<arrow::TimestampSecondType>(array, micros, too_early_or_late, place)?
        }
        ArrowType::Timestamp(TimeUnit::Millisecond, _) => {
            let micros = |it: i64| it.checked_mul(1000);
            micros_of::<arrow::TimestampMillisecondType>(array, micros, too_early_or_late, place)?
        }
        ArrowType::Timestamp(TimeUnit::Nanosecond, _) => {
            let micros = |it: i64| (it % 1000 == 0).then_some(it / 1000);
            let why = "nanoseconds are not whole microseconds; truncate them";
            micros_of::<arrow::TimestampNanosecondType>(array, micros, why, place)?
        }
        _ => Arc::clone(array),
    };
    let array = match (array.data_type(), &shape) {
        (from, to) if from == to => array,
        // Instants are the same in every zone; only the label changes.
        (ArrowType::Timestamp(TimeUnit::Microsecond, _), ArrowType::Timestamp(_, zone)) => {
            let micros = array.as_primitive::<arrow::TimestampMicrosecondType>();
            Arc::new(micros.clone().with_timezone_opt(zone.clone()))
        }
        _ => by_arrow(&array, &shape, place)?,
    };
    if let PrimitiveType::Decimal { precision, .. } = of {
        check_digits(array.as_primitive(), precision, place)?;
    }
    Ok(array)
}

fn micros_of<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    micros: impl Fn(i64) -> Option<i64>,
    why: &str,
    place: &Place<'_>,
) -> Result<ArrayRef> {
    exact::<T, arrow::TimestampMicrosecondType>(array, micros, why, place)
}

/// Casts value by value; the first that has no exact twin is the error.
fn exact<From: ArrowPrimitiveType, To: ArrowPrimitiveType>(
    array: &ArrayRef,
    cast: impl Fn(From::Native) -> Option<To::Native>,
    why: &str,
    place: &Place<'_>,
) -> Result<ArrayRef> {
    let array = array.as_primitive::<From>();
    let mut values = Vec::with_capacity(array.len());
    for (row, value) in array.iter().enumerate() {
        let Some(value) = value else {
            values.push(To::default_value());
            continue;
        };
        let complaint = || bad_value(place, row, &format!("{value:?} {why}"));
        values.push(cast(value).ok_or_else(complaint)?);
    }
    Ok(Arc::new(PrimitiveArray::<To>::new(values.into(), array.nulls().cloned())))
}

/// Arrow does not look whether the digits of an array's decimals are as few as its type says.
fn check_digits(
    array: &PrimitiveArray<arrow::Decimal128Type>,
    precision: u8,
    place: &Place<'_>,
) -> Result<()> {
    let bound = 10u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX);
    let over = |value: &i128| bound <= value.unsigned_abs();
    // The slots of nulls hold anything; most arrays have nothing to look at twice.
    if !array.values().iter().any(over) {
        return Ok(());
    }
    let bad = array.iter().enumerate().find_map(|(row, it)| Some((row, it.filter(over)?)));
    bad.map_or(Ok(()), |(row, value)| {
        Err(bad_value(place, row, &format!("unscaled {value} has more than {precision} digits")))
    })
}

/// The casts that cannot fail for any value, or not without saying so.
fn by_arrow(array: &ArrayRef, to: &ArrowType, place: &Place<'_>) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    arrow_cast::cast_with_options(array, to, &strict).map_err(|error: ArrowError| {
        let what = format!("{place}: {} does not become {to}", array.data_type());
        Error::new(Code::InvalidData, what).because(error)
    })
}

fn bad_value(place: &Place<'_>, row: usize, what: &str) -> Error {
    Error::new(Code::InvalidData, format!("{place}: {} {row}: {what}", place.rows()))
}

fn mismatch(from: &ArrowType, to: PrimitiveType, place: &Place<'_>) -> Error {
    let why = match (from, to) {
        (ArrowType::Timestamp(_, None), PrimitiveType::Timestamp) => {
            "which zone is meant is unknown"
        }
        (ArrowType::Timestamp(_, Some(_)), PrimitiveType::TimestampNtz) => "its zone would be lost",
        _ => "not every value fits",
    };
    let help = format!("cast it to {} first", to.to_arrow());
    place.mismatch(format!("{from} does not go into {to}: {why}; {help}"))
}
