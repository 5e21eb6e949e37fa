//! Number literals: exact where they can be.

use crate::value::Value;

/// The most digits a decimal has.
const DIGITS_MAX: usize = 38;

/// Reads an unsigned or signed number: a 64-bit integer if it has no point and fits, a decimal up
/// to 38 digits, else a double. With an exponent it is a double. `None` if it is none of these, or
/// too large even for a double.
pub(super) fn parse(text: &str) -> Option<Value> {
    if let Ok(long) = text.parse::<i64>() {
        return Some(Value::Long(long));
    }
    if !text.contains(['e', 'E'])
        && let Some(decimal) = decimal(text)
    {
        return Some(decimal);
    }
    text.parse::<f64>().ok().filter(|it| it.is_finite()).map(Value::Double)
}

/// Reads plain digits with an optional sign and point as the narrowest decimal.
pub(super) fn decimal(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let scale = u8::try_from(fraction.len()).ok().filter(|it| usize::from(*it) <= DIGITS_MAX)?;
    if all.is_empty() || !all.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0').len().max(1);
    if significant > DIGITS_MAX {
        return None;
    }
    let unscaled = all.parse::<i128>().ok()?;
    let precision = u8::try_from(significant).ok()?.max(scale);
    Some(Value::Decimal { unscaled: if negative { -unscaled } else { unscaled }, precision, scale })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::value::Value;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let actual = match parse(text) {
            None => "-".to_owned(),
            Some(Value::Long(it)) => format!("long {it}"),
            Some(Value::Double(it)) => format!("double {it:e}"),
            Some(other) => format!("{} {other}", other.primitive_type()),
        };
        assert_eq!(actual, expected, "{text}");
    }

    /// Integers stay exact, a point makes a decimal, an exponent a double.
    #[test]
    fn numbers() {
        let nines = "9".repeat(38);
        let rows = [
            ("0", "long 0"),
            ("9223372036854775807", "long 9223372036854775807"),
            ("-9223372036854775808", "long -9223372036854775808"),
            ("9223372036854775808", "decimal(19,0) 9223372036854775808"),
            ("1.50", "decimal(3,2) 1.50"),
            ("-0.05", "decimal(2,2) -0.05"),
            (".5", "decimal(1,1) 0.5"),
            ("1.", "decimal(1,0) 1"),
            ("00.10", "decimal(2,2) 0.10"),
            (&nines, &format!("decimal(38,0) {nines}")),
            (&format!("{nines}9"), "double 1e39"),
            ("1e3", "double 1e3"),
            ("1.5E-3", "double 1.5e-3"),
            ("1e999", "-"),
            (".", "-"),
            ("", "-"),
            ("-", "-"),
        ];
        for (text, expected) in rows {
            check(text, expected);
        }
    }
}
