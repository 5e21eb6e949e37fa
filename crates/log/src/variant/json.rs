//! Variants as JSON text.
//!
//! A few bytes of a variant could stand for a text without end: parts that lie upon each other, a
//! long name that many objects say. So each value pays for its bytes, of which there are only so
//! many, and the text as a whole has a limit.

use std::fmt::Write;

use super::{Names, Scalar, Variant, corrupt};
use crate::error::{Code, Error, Result};
use crate::limits::{JSON_DEPTH_MAX, VARIANT_TEXT_MAX};
use crate::time::{format_date, format_micros};

/// A variant as JSON text.
///
/// Dates and times are texts, timestamps with `+00:00` where they are in UTC; binary is base64;
/// floats that are no numbers are texts. Decimals keep their digits.
///
/// # Errors
///
/// `corrupt-data` for bytes that are no variant, and for parts that lie upon each other: a few
/// bytes could stand for a text without end. `limit-exceeded` for one nested deeper than
/// [`JSON_DEPTH_MAX`], and for a text over [`VARIANT_TEXT_MAX`].
///
/// ```
/// use lakebed_log::variant::to_json;
///
/// let names = [1, 1, 0, 1, b'a'];
/// assert_eq!(to_json(&names, &[0b10, 1, 0, 0, 2, 0b1100, 7])?, r#"{"a":7}"#);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn to_json(metadata: &[u8], value: &[u8]) -> Result<String> {
    let names = Names::read(metadata)?;
    let mut printer = Printer { names, bytes_left: value.len(), out: String::new() };
    printer.print(value, JSON_DEPTH_MAX)?;
    Ok(printer.out)
}

struct Printer<'a> {
    names: Names<'a>,
    /// Each value pays for its own bytes.
    bytes_left: usize,
    out: String,
}

impl Printer<'_> {
    fn print(&mut self, value: &[u8], depth_left: usize) -> Result<()> {
        let parsed = Variant::parse(value);
        let (value, len) = parsed.ok_or_else(|| corrupt("its value does not parse"))?;
        let own = len.saturating_sub(value.parts_len());
        let left = self.bytes_left.checked_sub(own);
        self.bytes_left = left.ok_or_else(|| corrupt("its parts lie upon each other"))?;
        if VARIANT_TEXT_MAX < self.out.len() {
            let what = format!("a variant is over {VARIANT_TEXT_MAX} bytes as text");
            return Err(Error::new(Code::LimitExceeded, what));
        }
        let below = || {
            depth_left.checked_sub(1).ok_or_else(|| {
                let what = format!("a variant is nested deeper than {JSON_DEPTH_MAX}");
                Error::new(Code::LimitExceeded, what)
            })
        };
        match value {
            Variant::Scalar(it) => print_scalar(it, &mut self.out),
            Variant::Array(parts) => {
                let below = below()?;
                self.out.push('[');
                for at in 0..parts.len() {
                    self.out.push_str(if at == 0 { "" } else { "," });
                    self.print(parts.value(at)?, below)?;
                }
                self.out.push(']');
            }
            Variant::Object(parts) => {
                let below = below()?;
                self.out.push('{');
                for at in 0..parts.len() {
                    self.out.push_str(if at == 0 { "" } else { "," });
                    let name = parts.id(at).and_then(|it| self.names.name(it));
                    let name = name.ok_or_else(|| corrupt("a field has no name"))?;
                    quote(name, &mut self.out);
                    self.out.push(':');
                    self.print(parts.value(at)?, below)?;
                }
                self.out.push('}');
            }
        }
        Ok(())
    }
}

fn print_scalar(it: Scalar<'_>, out: &mut String) {
    let nanos = |it: i64| {
        let (micros, rest) = (it.div_euclid(1_000), it.rem_euclid(1_000));
        short(format!("{}{rest:03}", format_micros(micros, ' ', Some(6))))
    };
    let micros = |it: i64| short(format_micros(it, ' ', Some(6)));
    // Writing to a string does not fail.
    let _ = match it {
        Scalar::Null => write!(out, "null"),
        Scalar::Boolean(it) => write!(out, "{it}"),
        Scalar::Int8(it) => write!(out, "{it}"),
        Scalar::Int16(it) => write!(out, "{it}"),
        Scalar::Int32(it) => write!(out, "{it}"),
        Scalar::Int64(it) => write!(out, "{it}"),
        Scalar::Double(it) if it.is_finite() => write!(out, "{it:?}"),
        Scalar::Float(it) if it.is_finite() => write!(out, "{it:?}"),
        Scalar::Double(it) => write!(out, "\"{}\"", not_finite(it)),
        Scalar::Float(it) => write!(out, "\"{}\"", not_finite(f64::from(it))),
        Scalar::Decimal4(it, scale) => write!(out, "{}", decimal(it.into(), scale)),
        Scalar::Decimal8(it, scale) => write!(out, "{}", decimal(it.into(), scale)),
        Scalar::Decimal16(it, scale) => write!(out, "{}", decimal(it, scale)),
        Scalar::Date(it) => write!(out, "\"{}\"", format_date(it)),
        Scalar::Timestamp(it) => write!(out, "\"{}+00:00\"", micros(it)),
        Scalar::TimestampNtz(it) => write!(out, "\"{}\"", micros(it)),
        Scalar::TimestampNanos(it) => write!(out, "\"{}+00:00\"", nanos(it)),
        Scalar::TimestampNtzNanos(it) => write!(out, "\"{}\"", nanos(it)),
        Scalar::Time(it) => {
            let text = micros(it);
            write!(out, "\"{}\"", text.split_once(' ').map_or("", |it| it.1))
        }
        Scalar::String(it) => {
            quote(it, out);
            Ok(())
        }
        Scalar::Binary(it) => write!(out, "\"{}\"", base64(it)),
        Scalar::Uuid(it) => write!(out, "\"{}\"", uuid::Uuid::from_bytes(it)),
    };
}

/// Without zeros at the end of the fraction.
fn short(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn not_finite(it: f64) -> &'static str {
    match it {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

/// In plain digits, without zeros at the end of the fraction.
fn decimal(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0usize, |it, byte| it << 8 | usize::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS.get(group >> (18 - 6 * at) & 63).copied().unwrap_or_default();
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
