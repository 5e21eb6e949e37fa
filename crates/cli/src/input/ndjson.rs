//! NDJSON: each line is read on its own, checked against the columns' types, and only then turned
//! into Arrow.
//!
//! The check comes first because the Arrow reader is lenient: it takes `12.5` for the integer 12.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema_from_iterator;
use arrow_schema::{ArrowError, DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef};
use lakebed::{Code, DataType, Error, PrimitiveType, Result, Schema, Value};
use serde_json::Value as Json;

use super::{
    BATCH_BYTES, BATCH_ROWS, Batches, Opened, ROW_BYTES, Source, broken, from_hex, shown,
    unreadable, without_null,
};

/// Opens files that hold one kind of rows, each with its place among the files. Columns come from
/// `known`, else, or with `may_add` those it lacks, from a look at every line of every file.
pub(super) fn open(
    sources: Vec<(usize, Source)>,
    known: Option<&Schema>,
    may_add: bool,
) -> Result<Vec<(usize, Opened)>> {
    let shape = match known {
        Some(schema) if may_add => with_new(schema.to_arrow(), &sources)?,
        Some(schema) => schema.to_arrow(),
        None => look(&sources, &Arc::new(ArrowSchema::empty()))?,
    };
    let mut all = Vec::new();
    for (at, mut source) in sources {
        source.file.rewind().map_err(|it| unreadable(&source.name, it))?;
        let batches = batches(source, Arc::clone(&shape), known.cloned());
        all.push((at, (Arc::clone(&shape), batches)));
    }
    Ok(all)
}

/// The columns of the table, and after them those that only the lines show.
fn with_new(known: SchemaRef, sources: &[(usize, Source)]) -> Result<SchemaRef> {
    let seen = look(sources, &known)?;
    let is_new = |it: &&Arc<Field>| known.field_with_name(it.name()).is_err();
    let new = seen.fields().iter().filter(is_new);
    let fields: Vec<Arc<Field>> = known.fields().iter().chain(new).map(Arc::clone).collect();
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// The rows of one file, each checked before Arrow sees it.
fn batches(source: Source, shape: SchemaRef, declared: Option<Schema>) -> Batches {
    let name = source.name.clone();
    let mut lines = Lines::new(source.name, source.file, Arc::clone(&shape));
    Box::new(std::iter::from_fn(move || {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            match lines.next() {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok((line, row))) => {
                    bytes += lines.bytes;
                    if let Err(error) = fits(&row, &shape, declared.as_ref()) {
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
    }))
}

/// The columns that the lines show; the types of those in `known` are not looked for.
fn look(sources: &[(usize, Source)], known: &SchemaRef) -> Result<SchemaRef> {
    let mut names: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for (_, source) in sources {
        let copy = source.file.try_clone().map_err(|it| unreadable(&source.name, it))?;
        lines.push(Lines::new(source.name.clone(), copy, Arc::clone(known)));
        names.push(&source.name);
    }
    let rows = lines.into_iter().flatten();
    let unknown = |(_, mut row): (usize, Json)| {
        for (key, value) in row.as_object_mut().into_iter().flatten() {
            if known.field_with_name(key).is_ok() {
                *value = Json::Null;
            }
        }
        row
    };
    let rows = rows.map(|it| it.map(unknown).map_err(|it| ArrowError::ExternalError(Box::new(it))));
    let names = names.join(", ");
    let schema = infer_json_schema_from_iterator(rows).map_err(|it| broken(&names, it))?;
    if schema.fields().is_empty() {
        return Err(Error::invalid("the file is empty; no line tells its columns").at(names));
    }
    let typed = |it: &Field| it.clone().with_data_type(without_null(it.data_type()));
    let fields: Vec<Field> = schema.fields().iter().map(|it| typed(it)).collect();
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// Lines that hold an object, numbered from 1.
struct Lines {
    name: String,
    reader: BufReader<File>,
    /// Columns whose types are known.
    shape: SchemaRef,
    line: usize,
    /// Length of the line that came last.
    bytes: usize,
}

impl Lines {
    fn new(name: String, file: File, shape: SchemaRef) -> Lines {
        Lines { name, reader: BufReader::new(file), shape, line: 0, bytes: 0 }
    }

    /// The row on a line, numbers of decimal columns as text.
    fn row(text: &[u8], shape: &SchemaRef) -> std::result::Result<Json, String> {
        if ROW_BYTES < text.len() {
            return Err(format!("the line is longer than {} MiB", ROW_BYTES >> 20));
        }
        let no_json = |it: serde_json::Error| format!("the line is no JSON: {it}");
        let row = serde_json::from_slice::<Json>(text).map_err(no_json)?;
        if !row.is_object() {
            return Err("the line is no JSON object".to_string());
        }
        match exact(text, &ArrowType::Struct(shape.fields().clone()))? {
            Some(quoted) => serde_json::from_slice(&quoted).map_err(no_json),
            None => Ok(row),
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, Json)>;

    fn next(&mut self) -> Option<Result<(usize, Json)>> {
        let limit = u64::try_from(ROW_BYTES + 2).unwrap_or(u64::MAX);
        loop {
            let mut text = Vec::new();
            self.line += 1;
            match self.reader.by_ref().take(limit).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Err(error) => return Some(Err(unreadable(&self.name, error))),
                Ok(_) => {}
            }
            let marked = if self.line == 1 { text.strip_prefix(b"\xef\xbb\xbf") } else { None };
            let text = marked.unwrap_or(&text);
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = self.line;
            self.bytes = text.len();
            return Some(Lines::row(text, &self.shape).map(|row| (line, row)).map_err(|what| {
                Error::new(Code::InvalidData, what).at(format!("line {line}")).at(&self.name)
            }));
        }
    }
}

/// An object or array that is open.
struct Open<'a> {
    /// The type of the column or field that it fills, if that is known.
    of: Option<&'a ArrowType>,
    /// The type of the value that comes next in it.
    next: Option<&'a ArrowType>,
    keys: BTreeSet<String>,
}

impl<'a> Open<'a> {
    fn new(of: Option<&'a ArrowType>) -> Open<'a> {
        let next = match of {
            Some(ArrowType::List(item)) => Some(item.data_type()),
            _ => None,
        };
        Open { of, next, keys: BTreeSet::new() }
    }

    /// Goes on to the value of a key; false if the key was there before.
    fn key(&mut self, key: &str) -> bool {
        self.next = match self.of {
            Some(ArrowType::Struct(fields)) => fields.find(key).map(|it| it.1.data_type()),
            Some(ArrowType::Map(entry, _)) => match entry.data_type() {
                ArrowType::Struct(fields) => fields.get(1).map(|it| it.data_type()),
                _ => None,
            },
            _ => None,
        };
        self.keys.insert(key.to_string())
    }
}

/// Finds in valid JSON what the parser passes over in silence: a key that comes twice, of which it
/// keeps the last, and whole numbers that it rounds. Gives the text with quotes around the numbers
/// of decimal columns, if there are any: the parser would keep only as many digits as a double has.
fn exact(text: &[u8], row: &ArrowType) -> std::result::Result<Option<Vec<u8>>, String> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut quoted: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let start = text.len() - rest.len();
        rest = after;
        match byte {
            b'{' | b'[' => {
                let of = open.last().map_or(Some(row), |it| it.next);
                open.push(Open::new(of));
            }
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let (token, after) = string(rest);
                rest = after.trim_ascii_start();
                if rest.first() == Some(&b':') {
                    let name = [b"\"", token, b"\""].concat();
                    let key: String = serde_json::from_slice(&name).unwrap_or_default();
                    if open.last_mut().is_some_and(|it| !it.key(&key)) {
                        return Err(format!("the key `{}` comes twice", shown(&key)));
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |it: &u8| it.is_ascii_digit() || b"+-.eE".contains(it);
                let end = rest.iter().position(|it| !is_part(it)).unwrap_or(rest.len());
                rest = rest.get(end..).unwrap_or_default();
                let digits = text.get(start..=start + end).unwrap_or_default();
                if let Some(ArrowType::Decimal128(..)) = open.last().and_then(|it| it.next) {
                    let out = quoted.get_or_insert_with(Vec::new);
                    out.extend(text.get(copied..start).unwrap_or_default());
                    out.extend([b"\"", digits, b"\""].concat());
                    copied = start + digits.len();
                } else {
                    keeps_digits(&String::from_utf8_lossy(digits))?;
                }
            }
            _ => {}
        }
    }
    if let Some(out) = &mut quoted {
        out.extend(text.get(copied..).unwrap_or_default());
    }
    Ok(quoted)
}

/// Is a number, if it is whole, one that the parser keeps every digit of?
fn keeps_digits(number: &str) -> std::result::Result<(), String> {
    let fits = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    if !fits && !number.contains(['.', 'e', 'E']) && !is_exact::<f64>(number) {
        let what = "has more digits than a number keeps; write it as text";
        return Err(format!("`{}` {what}", shown(number)));
    }
    Ok(())
}

/// The inside of a string that begins here, and what follows it.
fn string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = text.iter().position(|it| {
        let ends = *it == b'"' && !escaped;
        escaped = *it == b'\\' && !escaped;
        ends
    });
    let (inside, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, &[]));
    (inside, rest.get(1..).unwrap_or_default())
}

/// Does a whole number keep every digit in a floating type?
fn is_exact<T: std::str::FromStr + std::fmt::Display>(digits: &str) -> bool {
    digits.parse::<T>().is_ok_and(|it| format!("{it:.0}") == digits)
}

/// Does every field of the row fit its column?
fn fits(row: &Json, shape: &SchemaRef, known: Option<&Schema>) -> Result<()> {
    for (key, value) in row.as_object().into_iter().flatten() {
        let Ok(field) = shape.field_with_name(key) else {
            let what = format!("there is no column `{key}`");
            return Err(Error::new(Code::SchemaMismatch, what));
        };
        if !value_fits(value, field.data_type()) {
            let declared = known.and_then(|it| it.field(key)).map(|it| &it.data_type);
            let kind = match declared {
                Some(DataType::Primitive(primitive)) => primitive.to_string(),
                _ => kind(field.data_type()),
            };
            let exact = if value.is_number() { " that keeps every digit" } else { "" };
            let exact = if kind == "double" || kind == "float" { exact } else { "" };
            let value = shown(&value.to_string());
            let what = format!("column `{key}`: `{value}` is no {kind}{exact}");
            return Err(Error::new(Code::InvalidData, what));
        }
    }
    let is_null = |it: &str| row.get(it).is_none_or(Json::is_null);
    let null = shape.fields().iter().find(|it| !it.is_nullable() && is_null(it.name()));
    match null {
        Some(field) => {
            let what = format!("column `{}` must not be null", field.name());
            Err(Error::new(Code::InvalidData, what))
        }
        None => Ok(()),
    }
}

/// The name that a type has in schemas.
fn kind(data_type: &ArrowType) -> String {
    match data_type {
        ArrowType::Utf8 => "string".to_string(),
        ArrowType::Int64 => "long".to_string(),
        ArrowType::Float64 => "double".to_string(),
        ArrowType::Boolean => "boolean".to_string(),
        ArrowType::List(item) => format!("array<{}>", kind(item.data_type())),
        ArrowType::Map(..) => "map".to_string(),
        ArrowType::Struct(fields) => {
            let field = |it: &Arc<Field>| format!("{}: {}", it.name(), kind(it.data_type()));
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string().to_lowercase(),
    }
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
        (Json::Number(number), ArrowType::Float32 | ArrowType::Float64) => {
            let text = number.to_string();
            match (number.is_f64(), data_type) {
                (true, ArrowType::Float32) => text.parse().is_ok_and(f32::is_finite),
                (true, _) => true,
                (false, ArrowType::Float32) => is_exact::<f32>(&text),
                (false, _) => is_exact::<f64>(&text),
            }
        }
        // What JSON has no number for, by the names that other engines write.
        (Json::String(text), ArrowType::Float32 | ArrowType::Float64) => {
            matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
        }
        (_, ArrowType::Utf8) => value.is_string(),
        (_, ArrowType::Binary) => value.as_str().is_some_and(|it| from_hex(it).is_some()),
        (_, ArrowType::Date32) => reads_as(PrimitiveType::Date),
        (_, ArrowType::Timestamp(_, Some(_))) => reads_as(PrimitiveType::Timestamp),
        (_, ArrowType::Timestamp(_, None)) => reads_as(PrimitiveType::TimestampNtz),
        (_, ArrowType::Decimal128(precision, scale)) => {
            // Numbers have become text, with all their digits.
            let Json::String(text) = value else { return false };
            let scale = u8::try_from(*scale).unwrap_or(0);
            Value::from_literal(text, PrimitiveType::Decimal { precision: *precision, scale })
                .is_ok()
        }
        (Json::Array(items), ArrowType::List(item)) => items.iter().all(|it| field_fits(it, item)),
        (Json::Object(entries), ArrowType::Map(entry, _)) => match entry.data_type() {
            ArrowType::Struct(fields) => {
                fields.get(1).is_some_and(|it| entries.values().all(|value| field_fits(value, it)))
            }
            _ => false,
        },
        (Json::Object(entries), ArrowType::Struct(fields)) => {
            let is_known = |key: &String| fields.iter().any(|it| it.name() == key);
            let fits = |it: &Arc<Field>| match entries.get(it.name()) {
                Some(value) => field_fits(value, it),
                None => it.is_nullable(),
            };
            entries.keys().all(is_known) && fields.iter().all(fits)
        }
        _ => false,
    }
}

fn field_fits(value: &Json, field: &Field) -> bool {
    if value.is_null() { field.is_nullable() } else { value_fits(value, field.data_type()) }
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
