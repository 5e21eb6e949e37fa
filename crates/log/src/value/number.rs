//! Numbers of different types, compared and cast by what they are.
//!
//! A double is a whole number times a power of two, a decimal times a power of ten. They can be
//! compared exactly without wide arithmetic: first the whole parts, which fit 128 bits or are
//! plainly larger, then the fractions, one binary digit at a time. A double has finitely many.

use std::cmp::Ordering;

use arrow_buffer::i256;
use serde_json::Value as Json;

use super::Value;
use crate::schema::PrimitiveType;

/// The digits of the widest decimal.
const DIGITS_MAX: u8 = 38;

/// A value that is a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// `unscaled` by ten to the minus `scale`.
    Exact { unscaled: i128, scale: u8 },
    /// A float is a double, too.
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Number> {
        let whole = |it: i64| Some(Number::Exact { unscaled: it.into(), scale: 0 });
        match value {
            Value::Byte(it) => whole(i64::from(*it)),
            Value::Short(it) => whole(i64::from(*it)),
            Value::Integer(it) => whole(i64::from(*it)),
            Value::Long(it) => whole(*it),
            Value::Float(it) => Some(Number::Float(f64::from(*it))),
            Value::Double(it) => Some(Number::Float(*it)),
            Value::Decimal { unscaled, scale, .. } => {
                Some(Number::Exact { unscaled: *unscaled, scale: *scale })
            }
            _ => None,
        }
    }

    pub(super) fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (
                Number::Exact { unscaled, scale },
                Number::Exact { unscaled: other, scale: other_scale },
            ) => compare_exact((unscaled, scale), (other, other_scale)),
            (Number::Exact { unscaled, scale }, Number::Float(other)) => {
                compare_float(unscaled, scale, other)
            }
            (Number::Float(one), Number::Exact { unscaled, scale }) => {
                compare_float(unscaled, scale, one).reverse()
            }
            (Number::Float(one), Number::Float(other)) => match (one.is_nan(), other.is_nan()) {
                (false, false) => one.partial_cmp(&other).unwrap_or(Ordering::Equal),
                (one, other) => one.cmp(&other),
            },
        }
    }

    /// The same number in another type, or `None`.
    pub(super) fn cast(self, to: PrimitiveType) -> Option<Value> {
        let value = match to {
            PrimitiveType::Byte => Value::Byte(self.whole()?.try_into().ok()?),
            PrimitiveType::Short => Value::Short(self.whole()?.try_into().ok()?),
            PrimitiveType::Integer => Value::Integer(self.whole()?.try_into().ok()?),
            PrimitiveType::Long => Value::Long(self.whole()?.try_into().ok()?),
            // The nearest one is printed and read; whether it is the same is asked afterwards.
            PrimitiveType::Float => Value::Float(self.text(0).parse().ok()?),
            PrimitiveType::Double => match self {
                Number::Float(it) => Value::Double(it),
                Number::Exact { .. } => Value::Double(self.text(0).parse().ok()?),
            },
            PrimitiveType::Decimal { precision, scale } => {
                let unscaled = match self {
                    Number::Exact { unscaled, scale: from } => rescale(unscaled, from, scale)?,
                    Number::Float(it) if it.is_finite() => parse(&self.text(scale), scale)?,
                    Number::Float(_) => return None,
                };
                fits(unscaled, precision).then_some(Value::Decimal {
                    unscaled,
                    precision,
                    scale,
                })?
            }
            _ => return None,
        };
        (Number::of(&value)?.compare(self) == Ordering::Equal).then_some(value)
    }

    /// The number if it has no fraction.
    fn whole(self) -> Option<i128> {
        match self {
            Number::Exact { unscaled, scale } => rescale(unscaled, scale, 0),
            Number::Float(it) => truncated(it).filter(|_| it.fract() == 0.0),
        }
    }

    /// In digits that name this number alone; a double to so many digits where a scale is asked.
    fn text(self, scale: u8) -> String {
        match self {
            Number::Exact { unscaled, scale } => print(unscaled, scale),
            Number::Float(it) if scale == 0 => format!("{it:?}"),
            Number::Float(it) => format!("{it:.0$}", usize::from(scale)),
        }
    }
}

pub(super) fn is_number(of: PrimitiveType) -> bool {
    matches!(
        of,
        PrimitiveType::Byte
            | PrimitiveType::Short
            | PrimitiveType::Integer
            | PrimitiveType::Long
            | PrimitiveType::Float
            | PrimitiveType::Double
            | PrimitiveType::Decimal { .. }
    )
}

/// Has the number at most so many digits?
pub(super) fn fits(unscaled: i128, precision: u8) -> bool {
    let bound = 10u128.checked_pow(u32::from(precision.min(DIGITS_MAX)));
    bound.is_some_and(|it| unscaled.unsigned_abs() < it)
}

/// The unscaled number of a decimal's text at this scale: an optional sign, digits with an optional
/// point, an optional exponent. `None` if it is not exact there or has more than 38 digits.
pub(super) fn parse(text: &str, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let written = digits.len();
    digits.truncate(digits.trim_end_matches('0').len());
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // Ten to this power times the digits that are left is the unscaled number.
    let zeros = i64::try_from(written - digits.len()).ok()?;
    let fraction = i64::try_from(fraction.len()).ok()?;
    let power = i64::from(scale) + i64::from(exponent) + zeros - fraction;
    let power = u32::try_from(power).ok().filter(|it| *it <= u32::from(DIGITS_MAX))?;
    let unscaled = significant.parse::<i128>().ok()?.checked_mul(10i128.checked_pow(power)?)?;
    fits(unscaled, DIGITS_MAX).then_some(if negative { -unscaled } else { unscaled })
}

/// In plain digits, with as many after the point as the scale says.
pub(super) fn print(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), scale + 1);
    match digits.split_at_checked(digits.len() - scale) {
        Some((whole, fraction)) if scale > 0 => format!("{sign}{whole}.{fraction}"),
        _ => format!("{sign}{digits}"),
    }
}

/// A JSON number with exactly the value, or null.
pub(super) fn to_json(unscaled: i128, scale: u8) -> Json {
    if let Some(whole) = rescale(unscaled, scale, 0).and_then(|it| i64::try_from(it).ok()) {
        return whole.into();
    }
    // Fifteen digits survive a double and print as they were.
    let short = fits(unscaled, 15);
    let double = print(unscaled, scale).parse::<f64>().ok().filter(|_| short);
    double.map_or(Json::Null, Json::from)
}

fn rescale(unscaled: i128, from: u8, to: u8) -> Option<i128> {
    if from <= to {
        return unscaled.checked_mul(10i128.checked_pow(u32::from(to - from))?);
    }
    let lost = 10i128.checked_pow(u32::from(from - to));
    match lost {
        Some(lost) if unscaled % lost == 0 => Some(unscaled / lost),
        None if unscaled == 0 => Some(0),
        _ => None,
    }
}

fn compare_exact((one, one_scale): (i128, u8), (other, other_scale): (i128, u8)) -> Ordering {
    if other_scale < one_scale {
        return compare_exact((other, other_scale), (one, one_scale)).reverse();
    }
    let power = i256::from_i128(10).checked_pow(u32::from(other_scale - one_scale));
    match power.and_then(|it| i256::from_i128(one).checked_mul(it)) {
        Some(one) => one.cmp(&i256::from_i128(other)),
        // Too large for 256 bits is farther from zero than anything in 128.
        None => one.cmp(&0),
    }
}

fn compare_float(unscaled: i128, scale: u8, float: f64) -> Ordering {
    if float.is_nan() {
        return Ordering::Less;
    }
    let Some(float_whole) = truncated(float) else {
        return if float < 0.0 { Ordering::Greater } else { Ordering::Less };
    };
    // Only a value made by hand has a larger scale; its last digits are then past comparing.
    let excess = scale.saturating_sub(DIGITS_MAX);
    let unscaled = (0..excess).fold(unscaled, |it, _| it / 10);
    let one = 10i128.pow(u32::from(scale - excess));
    let (whole, rest) = (unscaled / one, unscaled % one);
    if whole != float_whole {
        return whole.cmp(&float_whole);
    }
    let fraction = float.fract();
    let signs = rest.signum().cmp(&sign(fraction));
    if signs != Ordering::Equal || rest == 0 {
        return signs;
    }
    let size = compare_fractions(rest.unsigned_abs(), one.unsigned_abs(), fraction.abs());
    if rest < 0 { size.reverse() } else { size }
}

fn sign(float: f64) -> i128 {
    match float.partial_cmp(&0.0) {
        Some(Ordering::Less) => -1,
        Some(Ordering::Greater) => 1,
        _ => 0,
    }
}

/// Compares `rest / one` with `fraction`, both in `0..1`. Doubling is exact on both sides: a double
/// only changes its exponent, and twice ten to the 38th fits.
fn compare_fractions(mut rest: u128, one: u128, mut fraction: f64) -> Ordering {
    while fraction != 0.0 && rest != 0 {
        (rest, fraction) = (rest * 2, fraction * 2.0);
        let (digit, float_digit) = (rest >= one, fraction >= 1.0);
        if digit != float_digit {
            return digit.cmp(&float_digit);
        }
        if digit {
            (rest, fraction) = (rest - one, fraction - 1.0);
        }
    }
    (rest != 0).cmp(&(fraction != 0.0))
}

/// The whole part of a double, towards zero; `None` if it does not fit or is not finite.
fn truncated(float: f64) -> Option<i128> {
    const FRACTION_BITS: u64 = 52;
    let bits = float.to_bits();
    let exponent = (bits >> FRACTION_BITS) & 0x7ff;
    let digits = u128::from(bits & ((1 << FRACTION_BITS) - 1) | (1 << FRACTION_BITS));
    // The digits are a whole number times two to this power.
    let power = exponent.cast_signed() - 1075;
    let size = match power {
        ..-52 => 0,
        -52..0 => digits >> power.unsigned_abs(),
        0..=74 => digits << power,
        _ => return None,
    };
    let size = i128::try_from(size).ok()?;
    Some(if float < 0.0 { -size } else { size })
}

/// Reads a double as the other types are read, for the types that are one.
pub(super) fn read_float<F: std::str::FromStr + Copy + Into<f64>>(text: &str) -> Option<F> {
    let value: F = text.parse().ok()?;
    // The parser takes `1e999` for infinity, and it is not.
    let says_infinite = text.contains(['i', 'I']);
    (says_infinite || !value.into().is_infinite()).then_some(value)
}
