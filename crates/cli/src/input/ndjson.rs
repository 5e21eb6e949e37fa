//! NDJSON: each line is read on its own, checked against the columns' types, and only then turned
//! into Arrow.
//!
//! The check comes first because the Arrow reader is lenient: it takes `12.5` for the integer 12.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema_from_iterator;
use arrow_schema::{ArrowError, DataType as ArrowType, SchemaRef};
use lakebed::{Code, DataType, Error, PrimitiveType, Result, Schema, Value};
use serde_json::Value as Json;

use super::{BATCH_ROWS, Batches, Source, broken, unreadable};

/// Opens one file. Columns come from `known`, else from a look at every line.
pub(super) fn open(source: Source, known: Option<&Schema>) -> Result<(SchemaRef, Batches)> {
    let Source { name, mut file, .. } = source;
    let shape = match known {
        Some(schema) => schema.to_arrow(),
        None => look(&name, &mut file)?,
    };
    let types = shape.fields().iter().map(|it| (it.name().clone(), it.data_type().clone()));
    let checks: Vec<(String, ArrowType)> = types.collect();
    let declared = known.cloned();
    let mut lines = Lines::new(name.clone(), file);
    let schema = Arc::clone(&shape);
    let batches = std::iter::from_fn(move || {
        let mut rows = Vec::new();
        while rows.len() < BATCH_ROWS {
            match lines.next() {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok((line, row))) => {
                    if let Err(error) = fits(&row, &checks, declared.as_ref()) {
                        return Some(Err(error.at(format!("line {line}")).at(&name)));
                    }
                    rows.push(row);
                }
            }
        }
        if rows.is_empty() {
            None
        } else {
            Some(batch(&rows, &shape).map_err(|it| broken(&name, it)))
        }
    });
    Ok((schema, Box::new(batches)))
}

/// The columns that the lines show.
fn look(name: &str, file: &mut File) -> Result<SchemaRef> {
    let copy = file.try_clone().map_err(|it| unreadable(name, it))?;
    let lines = Lines::new(name.to_string(), copy);
    let rows =
        lines.map(|it| it.map(|it| it.1).map_err(|it| ArrowError::ExternalError(Box::new(it))));
    let schema = infer_json_schema_from_iterator(rows).map_err(|it| broken(name, it))?;
    file.seek(SeekFrom::Start(0)).map_err(|it| unreadable(name, it))?;
    Ok(Arc::new(schema))
}

/// Lines that hold an object, numbered from 1.
struct Lines {
    name: String,
    reader: BufReader<File>,
    line: usize,
}

impl Lines {
    fn new(name: String, file: File) -> Lines {
        Lines { name, reader: BufReader::new(file), line: 0 }
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, Json)>;

    fn next(&mut self) -> Option<Result<(usize, Json)>> {
        loop {
            let mut text = Vec::new();
            self.line += 1;
            match self.reader.read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Err(error) => return Some(Err(unreadable(&self.name, error))),
                Ok(_) if text.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => {
                    let line = self.line;
                    let row = match serde_json::from_slice::<Json>(&text) {
                        Ok(row @ Json::Object(_)) => Ok((line, row)),
                        Ok(_) => Err("the line is no JSON object".to_string()),
                        Err(error) => Err(format!("the line is no JSON: {error}")),
                    };
                    return Some(row.map_err(|what| {
                        Error::new(Code::InvalidData, what)
                            .at(format!("line {line}"))
                            .at(&self.name)
                    }));
                }
            }
        }
    }
}

/// Does every field of the row fit its column?
fn fits(row: &Json, columns: &[(String, ArrowType)], known: Option<&Schema>) -> Result<()> {
    for (key, value) in row.as_object().into_iter().flatten() {
        let Some((_, data_type)) = columns.iter().find(|it| it.0 == *key) else {
            let what = format!("there is no column `{key}`");
            return Err(Error::new(Code::SchemaMismatch, what));
        };
        if !value_fits(value, data_type) {
            let declared = known.and_then(|it| it.field(key)).map(|it| &it.data_type);
            let kind = match declared {
                Some(DataType::Primitive(primitive)) => primitive.to_string(),
                _ => data_type.to_string(),
            };
            let what = format!("column `{key}`: `{value}` is no {kind}");
            return Err(Error::new(Code::InvalidData, what));
        }
    }
    Ok(())
}

fn value_fits(value: &Json, data_type: &ArrowType) -> bool {
    let between = |low: i64, high: i64| value.as_i64().is_some_and(|it| low <= it && it <= high);
    let reads_as =
        |primitive| value.as_str().is_some_and(|it| Value::from_literal(it, primitive).is_ok());
    match (value, data_type) {
        (Json::Null, _) => true,
        (_, ArrowType::Boolean) => value.is_boolean(),
        (_, ArrowType::Int8) => between(i8::MIN.into(), i8::MAX.into()),
        (_, ArrowType::Int16) => between(i16::MIN.into(), i16::MAX.into()),
        (_, ArrowType::Int32) => between(i32::MIN.into(), i32::MAX.into()),
        (_, ArrowType::Int64) => value.is_i64(),
        (_, ArrowType::Float32 | ArrowType::Float64) => value.is_number(),
        (_, ArrowType::Utf8 | ArrowType::Binary) => value.is_string(),
        (_, ArrowType::Date32) => reads_as(PrimitiveType::Date),
        (_, ArrowType::Timestamp(_, Some(_))) => reads_as(PrimitiveType::Timestamp),
        (_, ArrowType::Timestamp(_, None)) => reads_as(PrimitiveType::TimestampNtz),
        (_, ArrowType::Decimal128(precision, scale)) => {
            let text = match value {
                // A number of more digits has been through a double.
                Json::Number(number) if number.to_string().len() <= 16 => number.to_string(),
                Json::String(text) => text.clone(),
                _ => return false,
            };
            let scale = u8::try_from(*scale).unwrap_or(0);
            Value::from_literal(&text, PrimitiveType::Decimal { precision: *precision, scale })
                .is_ok()
        }
        (Json::Array(items), ArrowType::List(item)) => {
            items.iter().all(|it| value_fits(it, item.data_type()))
        }
        (Json::Object(entries), ArrowType::Map(entry, _)) => match entry.data_type() {
            ArrowType::Struct(fields) => fields
                .get(1)
                .is_some_and(|it| entries.values().all(|value| value_fits(value, it.data_type()))),
            _ => false,
        },
        (Json::Object(entries), ArrowType::Struct(fields)) => entries.iter().all(|(key, value)| {
            fields.iter().any(|it| it.name() == key && value_fits(value, it.data_type()))
        }),
        _ => false,
    }
}

fn batch(rows: &[Json], shape: &SchemaRef) -> std::result::Result<RecordBatch, ArrowError> {
    let mut decoder =
        ReaderBuilder::new(Arc::clone(shape)).with_batch_size(rows.len()).build_decoder()?;
    decoder.serialize(rows)?;
    decoder.flush()?.ok_or_else(|| ArrowError::JsonError("rows went missing".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::TimeUnit;
    use serde_json::json;

    #[test]
    fn values_fit_exactly_or_not_at_all() {
        let moment = ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let rows = [
            (json!(12), ArrowType::Int64, true),
            (json!(12.5), ArrowType::Int64, false),
            (json!("12"), ArrowType::Int64, false),
            (json!(300), ArrowType::Int8, false),
            (json!(u64::MAX), ArrowType::Int64, false),
            (json!(1), ArrowType::Float64, true),
            (json!(null), ArrowType::Int64, true),
            (json!(1), ArrowType::Utf8, false),
            (json!("2024-01-01T00:00:00Z"), moment.clone(), true),
            (json!("yesterday"), moment, false),
            (json!("1.25"), ArrowType::Decimal128(5, 2), true),
            (json!("1.255"), ArrowType::Decimal128(5, 2), false),
            (json!([1]), ArrowType::Int64, false),
        ];
        for (value, data_type, expected) in rows {
            assert_eq!(value_fits(&value, &data_type), expected, "{value} as {data_type}");
        }
    }
}
