//! Values in words: partition strings, literals, and what statistics hold in quotes.

use super::{Value, number};
use crate::schema::PrimitiveType;
use crate::time::Written;

/// Reads a text as exactly one value of the type. Binaries have no common form and are not read.
pub(super) fn read(text: &str, of: PrimitiveType) -> Option<Value> {
    let value = match of {
        PrimitiveType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        PrimitiveType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        PrimitiveType::Byte => Value::Byte(text.parse().ok()?),
        PrimitiveType::Short => Value::Short(text.parse().ok()?),
        PrimitiveType::Integer => Value::Integer(text.parse().ok()?),
        PrimitiveType::Long => Value::Long(text.parse().ok()?),
        PrimitiveType::Float => Value::Float(number::read_float(text)?),
        PrimitiveType::Double => Value::Double(number::read_float(text)?),
        PrimitiveType::Decimal { precision, scale } => {
            let unscaled = number::parse(text, scale)?;
            let fits = number::fits(unscaled, precision);
            fits.then_some(Value::Decimal { unscaled, precision, scale })?
        }
        PrimitiveType::String => Value::String(text.to_string()),
        PrimitiveType::Date => Value::Date(Written::parse(text)?.date()?),
        PrimitiveType::Timestamp => Value::Timestamp(Written::parse(text)?.micros_utc()?),
        PrimitiveType::TimestampNtz => Value::TimestampNtz(Written::parse(text)?.micros_local()?),
        PrimitiveType::Boolean
        | PrimitiveType::Binary
        | PrimitiveType::Void
        | PrimitiveType::Variant
        | PrimitiveType::Interval(_) => return None,
    };
    Some(value)
}

/// The name of a float that is no number.
pub(super) fn not_finite(float: f64) -> &'static str {
    match float {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}
