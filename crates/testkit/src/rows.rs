//! Rows as text, so that engines which differ in Arrow types, order and null flags can be compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use lakebed_log::schema::is_variant;
use lakebed_log::variant::to_json;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use serde_json::Value as Json;

/// Each distinct row, and how often it is there.
pub type Multiset = BTreeMap<String, u64>;

/// Rows by content: columns by name, numbers by value, NaN alike, -0.0 as 0.0, maps unordered,
/// timestamps in microseconds UTC.
///
/// # Errors
///
/// A type that no Delta table yields.
pub fn multiset(batches: &[RecordBatch]) -> Result<Multiset, ArrowError> {
    let mut rows = Multiset::new();
    for batch in batches {
        let schema = batch.schema();
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            columns.push((field.name(), plain(column)?));
        }
        columns.sort_by_key(|it| it.0);
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (name, column) in &columns {
                let _ = write!(text, "{name}=");
                print(column, row, &mut text)?;
                text.push(' ');
            }
            *rows.entry(text).or_default() += 1;
        }
    }
    Ok(rows)
}

/// Rows by content as JSON, which has no types of its own: what variants are compared by. Numbers
/// with a fraction are alike if they are so as 32-bit floats.
///
/// # Errors
///
/// A type that JSON does not show.
pub fn json_multiset(batches: &[RecordBatch]) -> Result<Multiset, Box<dyn std::error::Error>> {
    let mut rows = Multiset::new();
    for batch in batches {
        let fields = batch.schema_ref().fields().clone();
        for row in 0..batch.num_rows() {
            let mut object = serde_json::Map::new();
            for (field, column) in fields.iter().zip(batch.columns()) {
                object.insert(field.name().clone(), json(column, field, row)?);
            }
            *rows.entry(flat(&Json::Object(object))).or_default() += 1;
        }
    }
    Ok(rows)
}

/// The same of lines of JSON.
///
/// # Errors
///
/// Lines that are not JSON.
pub fn json_lines(text: &str) -> Result<Multiset, serde_json::Error> {
    let mut rows = Multiset::new();
    for line in text.lines().filter(|it| !it.trim().is_empty()) {
        *rows.entry(flat(&serde_json::from_str(line)?)).or_default() += 1;
    }
    Ok(rows)
}

/// A cell.
fn json(array: &ArrayRef, field: &Field, row: usize) -> Result<Json, Box<dyn std::error::Error>> {
    let array = &plain(array)?;
    if array.is_null(row) {
        return Ok(Json::Null);
    }
    if is_variant(field) {
        let bytes = |at| array.as_struct().column(at).as_binary::<i32>().value(row);
        return Ok(serde_json::from_str(&to_json(bytes(0), bytes(1))?)?);
    }
    Ok(match (array.data_type(), field.data_type()) {
        (DataType::Int64, _) => array.as_primitive::<Int64Type>().value(row).into(),
        (DataType::Utf8, _) => array.as_string::<i32>().value(row).into(),
        (DataType::Struct(fields), _) => {
            let mut object = serde_json::Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                object.insert(field.name().clone(), json(column, field, row)?);
            }
            Json::Object(object)
        }
        (DataType::List(element), _) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|it| json(&items, element, it));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        (DataType::Map(..), _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (plain(entries.column(0))?, entries.column(1));
            let value = entries.fields().get(1).cloned().ok_or("a map without values")?;
            let mut object = serde_json::Map::new();
            for at in 0..entries.len() {
                let key = keys.as_string::<i32>().value(at).to_string();
                object.insert(key, json(values, &value, at)?);
            }
            Json::Object(object)
        }
        (other, _) => return Err(format!("{other} as JSON").into()),
    })
}

fn flat(json: &Json) -> String {
    match json {
        Json::Array(it) => format!("[{}]", it.iter().map(flat).collect::<Vec<_>>().join(",")),
        Json::Object(it) => {
            let mut pairs: Vec<String> =
                it.iter().map(|(key, value)| format!("{key:?}:{}", flat(value))).collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(","))
        }
        Json::Number(it) if !it.is_i64() && !it.is_u64() => {
            let text = it.to_string();
            match text.parse::<f32>() {
                Ok(it) if it.is_finite() => format!("{it:?}"),
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

/// Rows from lines of JSON.
///
/// # Errors
///
/// `invalid-data` for lines that are not rows of the schema.
pub fn from_ndjson(schema: &lakebed::Schema, lines: &str) -> lakebed::Result<Vec<RecordBatch>> {
    let wrong = |it| {
        let what = "the lines are not rows of the schema";
        lakebed::Error::new(lakebed::Code::InvalidData, what).because(it)
    };
    let reader = arrow_json::ReaderBuilder::new(schema.to_arrow()).build(lines.as_bytes());
    reader.map_err(wrong)?.map(|it| it.map_err(wrong)).collect()
}

/// Where two multisets differ, in few words; `None` if they do not.
pub fn difference(ours: &Multiset, expected: &Multiset) -> Option<String> {
    let more = |a: &Multiset, b: &Multiset| -> Vec<String> {
        let over = |it: &(&String, &u64)| b.get(it.0).copied().unwrap_or(0) < *it.1;
        a.iter().filter(over).map(|it| format!("{} x {}", it.1, it.0)).take(2).collect()
    };
    let (extra, missing) = (more(ours, expected), more(expected, ours));
    if extra.is_empty() && missing.is_empty() {
        return None;
    }
    Some(format!("missing {missing:?}, extra {extra:?}"))
}

/// All rows of a Parquet file, or of the Parquet files of a folder.
///
/// # Errors
///
/// Files that are not there or are no Parquet.
pub fn read_parquet(path: &Path) -> Result<Vec<RecordBatch>, Box<dyn std::error::Error>> {
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        files =
            std::fs::read_dir(path)?.map(|it| Ok(it?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|it| it.extension().is_some_and(|it| it == "parquet"));
        files.sort();
    }
    let mut batches = Vec::new();
    for file in files {
        let file = std::fs::File::open(file)?;
        let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        // Nanoseconds would overflow outside 1677 to 2262.
        let wanted: Vec<_> =
            found.schema().fields().iter().map(|it| Arc::new(micros(it))).collect();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(wanted)));
        let reader =
            ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?.build()?;
        batches.extend(reader.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(batches)
}

fn micros(field: &Field) -> Field {
    let inner = |it: &Arc<Field>| Arc::new(micros(it));
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// The widest type of each family, so that printing knows few.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        it if it.is_integer() => DataType::Int64,
        DataType::Timestamp(_, zone) => {
            let utc = zone.as_ref().map(|_| "UTC".into());
            DataType::Timestamp(TimeUnit::Microsecond, utc)
        }
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, value) => {
            return plain(&arrow_cast::cast(array, value)?);
        }
        DataType::LargeList(item) => DataType::List(Arc::clone(item)),
        _ => return Ok(Arc::clone(array)),
    };
    arrow_cast::cast(array, &to)
}

fn print(array: &ArrayRef, row: usize, out: &mut String) -> Result<(), ArrowError> {
    let array = &plain(array)?;
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Int64 => put(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => put(out, array.as_boolean().value(row)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into(), out),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), out),
        DataType::Utf8 => put(out, format_args!("{:?}", array.as_string::<i32>().value(row))),
        DataType::Binary => put(out, format_args!("{:02x?}", array.as_binary::<i32>().value(row))),
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value(row);
            put(out, format_args!("day {day}"));
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let mark = if zone.is_some() { "Z" } else { "" };
            put(out, format_args!("{micros}us{mark}"));
        }
        DataType::Decimal128(_, scale) => {
            decimal(array.as_primitive::<Decimal128Type>().value(row), *scale, out);
        }
        DataType::Struct(_) => structure(array, row, out)?,
        DataType::List(_) => list(&array.as_list::<i32>().value(row), out)?,
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            let mut printed = Vec::new();
            for at in 0..entries.len() {
                let mut entry = String::new();
                for column in entries.as_struct().columns() {
                    print(column, at, &mut entry)?;
                    entry.push(':');
                }
                printed.push(entry);
            }
            printed.sort();
            put(out, format_args!("{{{}}}", printed.join(",")));
        }
        other => {
            return Err(ArrowError::NotYetImplemented(format!("rows of {other}")));
        }
    }
    Ok(())
}

fn put(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{value}");
}

fn float(value: f64, out: &mut String) {
    let _ = if value.is_nan() { write!(out, "NaN") } else { write!(out, "{:?}", value + 0.0) };
}

/// Without zeros at the end, so that scales do not count.
fn decimal(mut unscaled: i128, mut scale: i8, out: &mut String) {
    while unscaled % 10 == 0 && scale != 0 && unscaled != 0 {
        unscaled /= 10;
        scale -= 1;
    }
    let scale = if unscaled == 0 { 0 } else { scale };
    let _ = write!(out, "{unscaled}e-{scale}");
}

fn structure(array: &ArrayRef, row: usize, out: &mut String) -> Result<(), ArrowError> {
    let array = array.as_struct();
    out.push('{');
    let mut fields: Vec<_> = array.fields().iter().zip(array.columns()).collect();
    fields.sort_by_key(|it| it.0.name().clone());
    for (field, column) in fields {
        let _ = write!(out, "{}:", field.name());
        print(column, row, out)?;
        out.push(',');
    }
    out.push('}');
    Ok(())
}

fn list(items: &ArrayRef, out: &mut String) -> Result<(), ArrowError> {
    out.push('[');
    for at in 0..items.len() {
        print(items, at, out)?;
        out.push(',');
    }
    out.push(']');
    Ok(())
}
