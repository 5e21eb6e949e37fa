//! Statistics to JSON: bounds are cut as readers expect them, and what JSON cannot say is left out.

use serde_json::Value as Json;

use super::{ColumnStats, Stats};
use crate::value::Value;

/// See [`Stats::to_json`].
pub(super) fn print(stats: &Stats) -> String {
    let columns: Vec<(&[String], &ColumnStats)> =
        stats.columns.iter().map(|(path, it)| (path.as_slice(), it)).collect();
    let mut out = String::from("{");
    if let Some(rows) = stats.num_records {
        out.push_str(&format!("\"numRecords\":{rows},"));
    }
    let min = |it: &ColumnStats| it.min.as_ref().and_then(print_value);
    let max = |it: &ColumnStats| it.max.as_ref().and_then(print_value);
    let nulls = |it: &ColumnStats| it.null_count.map(|it| it.to_string());
    out.push_str("\"minValues\":");
    print_level(&mut out, &columns, 0, &min);
    out.push_str(",\"maxValues\":");
    print_level(&mut out, &columns, 0, &max);
    out.push_str(",\"nullCount\":");
    print_level(&mut out, &columns, 0, &nulls);
    if !stats.tight_bounds {
        out.push_str(",\"tightBounds\":false");
    }
    out.push('}');
    out
}

/// One object: the columns that share the first `depth` names. Their order brings equal names
/// together.
fn print_level(
    out: &mut String,
    columns: &[(&[String], &ColumnStats)],
    depth: usize,
    value: &impl Fn(&ColumnStats) -> Option<String>,
) {
    out.push('{');
    let mut first = true;
    for group in columns.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
        let Some((path, column)) = group.first() else { continue };
        let Some(name) = path.get(depth) else { continue };
        let text = if path.len() == depth + 1 {
            value(column)
        } else if group.iter().any(|(_, it)| value(it).is_some()) {
            let mut inner = String::new();
            print_level(&mut inner, group, depth + 1, value);
            Some(inner)
        } else {
            None
        };
        if let Some(text) = text {
            out.push_str(if first { "" } else { "," });
            first = false;
            out.push_str(&quote(name));
            out.push(':');
            out.push_str(&text);
        }
    }
    out.push('}');
}

fn quote(text: &str) -> String {
    Json::from(text).to_string()
}

/// One bound as JSON; `None` for types without bounds and times that do not print with four digits.
fn print_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Boolean(it) => it.to_string(),
        Value::Byte(it) => it.to_string(),
        Value::Short(it) => it.to_string(),
        Value::Integer(it) => it.to_string(),
        Value::Long(it) => it.to_string(),
        Value::Float(it) if it.is_finite() => serde_json::to_string(it).ok()?,
        Value::Double(it) if it.is_finite() => serde_json::to_string(it).ok()?,
        Value::Float(it) => print_non_finite(f64::from(*it)),
        Value::Double(it) => print_non_finite(*it),
        Value::Decimal { unscaled, scale, .. } => print_decimal(*unscaled, *scale),
        Value::String(it) => quote(it),
        Value::Date(days) => {
            let date = chrono::NaiveDate::from_epoch_days(*days)?;
            printable(date)?;
            format!("\"{}\"", date.format("%Y-%m-%d"))
        }
        Value::Timestamp(micros) => format!("\"{}Z\"", print_millis(*micros)?),
        Value::TimestampNtz(micros) => format!("\"{}\"", print_millis(*micros)?),
        Value::Binary(_) => return None,
    })
}

fn print_non_finite(value: f64) -> String {
    let name = match value {
        it if it.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        _ => "-Infinity",
    };
    quote(name)
}

fn print_decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// Down to milliseconds, before the epoch too.
fn print_millis(micros: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_millis(micros.div_euclid(1_000))?;
    printable(time.date_naive())?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3f").to_string())
}

/// Four digits of year, which is all that every reader parses.
pub(super) fn printable(date: chrono::NaiveDate) -> Option<()> {
    (0..=9999).contains(&chrono::Datelike::year(&date)).then_some(())
}
