//! CSV: cells are text until their column's type is known, then they fit it or are an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, Decimal128Builder, PrimitiveBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, NullArray, RecordBatch, StringArray};
use arrow_csv::ReaderBuilder;
use arrow_schema::{ArrowError, DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef};
use lakebed::{Code, DataType, Error, PrimitiveType, Result, Schema, Value};

use super::records::{Cutter, Records};
use super::{Batches, Opened, Source, broken, from_hex, shown, unreadable};
use crate::args::InputArgs;

/// What to make of the columns of one file, in file order.
type Columns = Vec<(String, PrimitiveType)>;

/// Opens CSV files that hold one kind of rows, each with its place among the files.
pub(super) fn open(
    mut sources: Vec<(usize, Source)>,
    args: &InputArgs,
    given: Option<&Schema>,
    table: Option<&Schema>,
) -> Result<Vec<(usize, Opened)>> {
    let mut headers = Vec::new();
    for (_, source) in &mut sources {
        headers.push(header(source, args, given)?);
    }
    let mut known: BTreeMap<String, PrimitiveType> = BTreeMap::new();
    let mut unknown: BTreeMap<String, Guess> = BTreeMap::new();
    for ((_, source), header) in sources.iter().zip(&headers) {
        for name in header {
            match known_type(name, given, table).map_err(|it| it.at(&source.name))? {
                Some(primitive) => drop(known.insert(name.clone(), primitive)),
                None => drop(unknown.insert(name.clone(), Guess::default())),
            }
        }
    }
    if !unknown.is_empty() {
        for ((_, source), header) in sources.iter_mut().zip(&headers) {
            look(source, args, header, &mut unknown)?;
        }
        known.extend(unknown.iter().map(|(name, guess)| (name.clone(), guess.primitive())));
    }
    let mut all = Vec::new();
    for ((at, source), header) in sources.into_iter().zip(headers) {
        let typed = |name: String| {
            let primitive = known.get(&name).copied().unwrap_or(PrimitiveType::String);
            (name, primitive)
        };
        let columns: Columns = header.into_iter().map(typed).collect();
        let shape = shape(&columns, given.or(table))?;
        let batches = batches(source, args, columns, Arc::clone(&shape))?;
        all.push((at, (shape, batches)));
    }
    Ok(all)
}

/// Names of the columns: of the header, else of `--schema`, else c0, c1, ..
fn header(source: &mut Source, args: &InputArgs, given: Option<&Schema>) -> Result<Vec<String>> {
    let first = cutter(source)?.next(1)?;
    rewind(source)?;
    let mismatch = |what: String| Error::new(Code::SchemaMismatch, what).at(&source.name);
    let given_names = given.map(|it| it.fields().iter().map(|it| it.name.clone()));
    let Some(first) = first else {
        return match (args.no_header, given_names) {
            (true, Some(names)) => Ok(names.collect()),
            (true, None) => Err(Error::invalid("the file is empty").at(&source.name)),
            (false, _) => {
                let what = "the file is empty; it has no header";
                Err(Error::invalid(what).at(&source.name))
            }
        };
    };
    let names: Vec<String> = match (args.no_header, given_names) {
        (true, Some(names)) => names.collect(),
        (true, None) => (0..first.cells).map(|it| format!("c{it}")).collect(),
        (false, _) => {
            let row = parsed(&first, first.cells).map_err(|it| broken(&source.name, it))?;
            let cell = |it: &ArrayRef| it.as_string::<i32>().value(0).to_string();
            row.columns().iter().map(cell).collect()
        }
    };
    if names.len() != first.cells {
        let what =
            format!("the file has {} columns, `--schema` names {}", first.cells, names.len());
        return Err(mismatch(what));
    }
    let mut earlier = BTreeSet::new();
    if let Some(twice) = names.iter().find(|it| !earlier.insert(it.as_str())) {
        return Err(mismatch(format!("the header names `{twice}` twice")));
    }
    let lacking = given.iter().flat_map(|it| it.fields()).find(|it| !names.contains(&it.name));
    if let Some(field) = lacking {
        return Err(mismatch(format!("the header lacks `{}`, which `--schema` names", field.name)));
    }
    Ok(names)
}

fn rewind(source: &mut Source) -> Result<()> {
    source.file.seek(SeekFrom::Start(0)).map_err(|it| unreadable(&source.name, it))?;
    Ok(())
}

/// The records of a file, from its start.
fn cutter(source: &mut Source) -> Result<Cutter> {
    rewind(source)?;
    let file = source.file.try_clone().map_err(|it| unreadable(&source.name, it))?;
    Ok(Cutter::new(source.name.clone(), file, source.delimiter))
}

/// The type of a column that somebody has named.
fn known_type(
    name: &str,
    given: Option<&Schema>,
    table: Option<&Schema>,
) -> Result<Option<PrimitiveType>> {
    let field = match (given, table) {
        (Some(given), _) => Some(given.field(name).ok_or_else(|| {
            Error::new(Code::SchemaMismatch, format!("`--schema` has no column `{name}`"))
        })?),
        (None, Some(table)) => table.field(name),
        (None, None) => None,
    };
    match field.map(|it| &it.data_type) {
        None => Ok(None),
        Some(DataType::Primitive(primitive)) => Ok(Some(*primitive)),
        Some(_) => {
            let what = format!("column `{name}` is nested, which CSV cannot hold");
            Err(Error::new(Code::SchemaMismatch, what))
        }
    }
}

/// The Arrow shape of one file's rows; what is not null in the schema is not null here.
fn shape(columns: &Columns, schema: Option<&Schema>) -> Result<SchemaRef> {
    let mut fields = Vec::new();
    for (name, primitive) in columns {
        let known = schema.and_then(|it| it.field(name));
        let field = lakebed::StructField {
            name: name.clone(),
            data_type: DataType::Primitive(*primitive),
            nullable: known.is_none_or(|it| it.nullable),
            metadata: Default::default(),
        };
        fields.push(field);
    }
    Ok(Schema::new(fields)?.to_arrow())
}

/// Cells of records as text, null where they are empty.
fn parsed(records: &Records, width: usize) -> std::result::Result<RecordBatch, ArrowError> {
    let field = |it: usize| Field::new(it.to_string(), ArrowType::Utf8, true);
    let fields: Vec<Field> = (0..width).map(field).collect();
    let mut decoder = ReaderBuilder::new(Arc::new(ArrowSchema::new(fields)))
        .with_header(false)
        .with_delimiter(records.delimiter)
        .with_batch_size(records.lines.len())
        .build_decoder();
    let mut rest = records.bytes.as_slice();
    while !rest.is_empty() {
        let used = decoder.decode(rest)?;
        if used == 0 {
            break;
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    let batch = decoder.flush()?.filter(|it| it.num_rows() == records.lines.len());
    batch.ok_or_else(|| ArrowError::CsvError("records went missing".to_string()))
}

/// The cells of a file as text, batch by batch, with the line of each row.
fn cells(
    source: &mut Source,
    args: &InputArgs,
    width: usize,
) -> Result<impl Iterator<Item = Result<(Vec<usize>, RecordBatch)>> + Send + use<>> {
    let mut cutter = cutter(source)?;
    if !args.no_header {
        cutter.next(1)?;
    }
    let name = source.name.clone();
    let mut next = move || {
        let Some(records) = cutter.next(usize::MAX)? else { return Ok(None) };
        let batch = parsed(&records, width).map_err(|it| {
            let first = records.lines.first().copied().unwrap_or_default();
            broken(&name, it).at(format!("after line {first}"))
        })?;
        Ok(Some((records.lines, batch)))
    };
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let found: Result<_> = next();
        failed = found.is_err();
        found.transpose()
    }))
}

/// Looks at every cell of the columns whose type nobody has named.
fn look(
    source: &mut Source,
    args: &InputArgs,
    header: &[String],
    unknown: &mut BTreeMap<String, Guess>,
) -> Result<()> {
    for batch in cells(source, args, header.len())? {
        let (_, batch) = batch?;
        for (name, column) in header.iter().zip(batch.columns()) {
            let Some(guess) = unknown.get_mut(name) else { continue };
            for cell in column.as_string::<i32>().iter().flatten() {
                if !args.null.iter().any(|it| it == cell) {
                    guess.see(cell);
                }
            }
        }
    }
    Ok(())
}

/// Which types every cell seen so far fits; the first is the narrowest.
#[derive(Clone, Debug, Default)]
struct Guess {
    seen: bool,
    ruled_out: [bool; CANDIDATES.len()],
}

const CANDIDATES: [PrimitiveType; 6] = [
    PrimitiveType::Long,
    PrimitiveType::Double,
    PrimitiveType::Boolean,
    PrimitiveType::Date,
    PrimitiveType::Timestamp,
    PrimitiveType::TimestampNtz,
];

impl Guess {
    fn see(&mut self, cell: &str) {
        self.seen = true;
        for (out, candidate) in self.ruled_out.iter_mut().zip(CANDIDATES) {
            *out = *out || !looks_like(cell, candidate);
        }
    }

    fn primitive(&self) -> PrimitiveType {
        let mut left = self.ruled_out.iter().zip(CANDIDATES).filter(|it| !it.0);
        match left.next() {
            Some((_, primitive)) if self.seen => primitive,
            _ => PrimitiveType::String,
        }
    }
}

/// Stricter than reading: a code such as `007` is no number, and a long run of digits no double.
fn looks_like(cell: &str, primitive: PrimitiveType) -> bool {
    let digits = cell.trim_start_matches(['-', '+']);
    let is_code = digits.len() > 1 && digits.starts_with('0') && !digits.contains(['.', 'e', 'E']);
    match primitive {
        PrimitiveType::Long => !is_code && !cell.starts_with('+') && cell.parse::<i64>().is_ok(),
        PrimitiveType::Double => {
            let is_whole = digits.bytes().all(|it| it.is_ascii_digit());
            let is_exact = !is_whole || digits.len() <= 15;
            let is_number = digits.starts_with(|it: char| it.is_ascii_digit() || it == '.');
            is_number && !is_code && is_exact && cell.parse::<f64>().is_ok_and(f64::is_finite)
        }
        PrimitiveType::Boolean => {
            matches!(cell, "true" | "false" | "TRUE" | "FALSE" | "True" | "False")
        }
        PrimitiveType::Date => cell.len() == 10 && Value::from_literal(cell, primitive).is_ok(),
        PrimitiveType::Timestamp => has_zone(cell) && Value::from_literal(cell, primitive).is_ok(),
        _ => !has_zone(cell) && cell.len() > 10 && Value::from_literal(cell, primitive).is_ok(),
    }
}

fn has_zone(cell: &str) -> bool {
    let time = cell.get(10..).unwrap_or_default();
    time.ends_with(['Z', 'z']) || time.contains('+') || time.contains('-')
}

/// The rows of one file in their types.
fn batches(
    mut source: Source,
    args: &InputArgs,
    columns: Columns,
    shape: SchemaRef,
) -> Result<Batches> {
    let reader = cells(&mut source, args, columns.len())?;
    let nulls = args.null.clone();
    let typed = move |batch: Result<(Vec<usize>, RecordBatch)>| {
        let (lines, batch) = batch?;
        let wrong = |row: usize, what: String| {
            let line = lines.get(row).copied().unwrap_or_default();
            Error::new(Code::InvalidData, what).at(format!("line {line}")).at(&source.name)
        };
        let mut arrays = Vec::new();
        let fields = columns.iter().zip(shape.fields());
        for (((name, primitive), field), column) in fields.zip(batch.columns()) {
            let cells = without(column.as_string::<i32>(), &nulls);
            let array = typed(&cells, *primitive).map_err(|(row, why)| {
                let cell = shown(cells.value(row));
                wrong(row, format!("column `{name}`: `{cell}` is no {primitive}{why}"))
            })?;
            let null = (0..array.len()).find(|it| !field.is_nullable() && array.is_null(*it));
            if let Some(row) = null {
                return Err(wrong(row, format!("column `{name}` must not be null")));
            }
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::clone(&shape), arrays).map_err(|it| broken(&source.name, it))
    };
    Ok(Box::new(reader.map(typed)))
}

/// The cells, null where they are one of the texts that mean null.
fn without(cells: &StringArray, nulls: &[String]) -> StringArray {
    if nulls.is_empty() {
        return cells.clone();
    }
    cells.iter().map(|it| it.filter(|it| !nulls.iter().any(|null| null == it))).collect()
}

/// The cells in their type, or the row of the first that does not fit and why.
fn typed(
    cells: &StringArray,
    primitive: PrimitiveType,
) -> std::result::Result<ArrayRef, (usize, String)> {
    match primitive {
        PrimitiveType::String => Ok(Arc::new(cells.clone())),
        PrimitiveType::Byte => numbers::<Int8Type>(cells, |it| it.trim().parse().ok()),
        PrimitiveType::Short => numbers::<Int16Type>(cells, |it| it.trim().parse().ok()),
        PrimitiveType::Integer => numbers::<Int32Type>(cells, |it| it.trim().parse().ok()),
        PrimitiveType::Long => numbers::<Int64Type>(cells, |it| it.trim().parse().ok()),
        PrimitiveType::Float => numbers::<Float32Type>(cells, |it| {
            it.trim().parse().ok().filter(|found: &f32| found.is_finite() || !has_digit(it))
        }),
        PrimitiveType::Double => numbers::<Float64Type>(cells, |it| {
            it.trim().parse().ok().filter(|found: &f64| found.is_finite() || !has_digit(it))
        }),
        PrimitiveType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(cells.len());
            for (row, cell) in cells.iter().enumerate() {
                let value = cell.map(|it| boolean(it.trim()).ok_or((row, String::new())));
                builder.append_option(value.transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        PrimitiveType::Binary => {
            let mut builder = BinaryBuilder::new();
            let wrong = |row| (row, ": expected pairs of hexadecimal digits".to_string());
            for (row, cell) in cells.iter().enumerate() {
                let bytes = cell.map(|it| from_hex(it).ok_or_else(|| wrong(row)));
                builder.append_option(bytes.transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        PrimitiveType::Void => match cells.iter().position(|it| it.is_some()) {
            None => Ok(Arc::new(NullArray::new(cells.len()))),
            Some(row) => Err((row, String::new())),
        },
        PrimitiveType::Variant | PrimitiveType::Interval(_) => {
            Err((0, ": CSV cannot hold it".to_string()))
        }
        _ => values(cells, primitive),
    }
}

/// Words such as `inf` mean infinity; digits mean a finite number.
fn has_digit(cell: &str) -> bool {
    cell.contains(|it: char| it.is_ascii_digit())
}

fn boolean(cell: &str) -> Option<bool> {
    match cell.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn numbers<T: ArrowPrimitiveType>(
    cells: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> std::result::Result<ArrayRef, (usize, String)> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        let value = cell.map(|it| parse(it).ok_or((row, String::new())));
        builder.append_option(value.transpose()?);
    }
    Ok(Arc::new(builder.finish()))
}

/// Dates, times and decimals, read as the engine reads literals: exactly or not at all.
fn values(
    cells: &StringArray,
    primitive: PrimitiveType,
) -> std::result::Result<ArrayRef, (usize, String)> {
    let mut parsed = Vec::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        let value = cell.map(|it| Value::from_literal(it.trim(), primitive));
        let value = value.transpose().map_err(|it| (row, format!(": {}", it.message())))?;
        parsed.push(value);
    }
    let days = |it: &Option<Value>| match it {
        Some(Value::Date(days)) => Some(*days),
        _ => None,
    };
    let micros = |it: &Option<Value>| match it {
        Some(Value::Timestamp(micros) | Value::TimestampNtz(micros)) => Some(*micros),
        _ => None,
    };
    let unscaled = |it: &Option<Value>| match it {
        Some(Value::Decimal { unscaled, .. }) => Some(*unscaled),
        _ => None,
    };
    Ok(match primitive {
        PrimitiveType::Date => {
            Arc::new(parsed.iter().map(days).collect::<arrow_array::PrimitiveArray<Date32Type>>())
        }
        PrimitiveType::Decimal { precision, scale } => {
            let mut builder = Decimal128Builder::with_capacity(parsed.len());
            parsed.iter().for_each(|it| builder.append_option(unscaled(it)));
            let scale = i8::try_from(scale).unwrap_or(i8::MAX);
            let array = builder.finish().with_precision_and_scale(precision, scale);
            Arc::new(array.map_err(|it| (0, format!(": {it}")))?)
        }
        _ => {
            let array = parsed.iter().map(micros);
            let array: arrow_array::PrimitiveArray<TimestampMicrosecondType> = array.collect();
            let zone = (primitive == PrimitiveType::Timestamp).then_some("UTC");
            Arc::new(array.with_timezone_opt(zone))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a column of these cells is taken for.
    #[test]
    fn guesses() {
        let rows: &[(&[&str], PrimitiveType)] = &[
            (&["1", "-2", "0"], PrimitiveType::Long),
            (&["1", "2.5"], PrimitiveType::Double),
            (&["007", "1"], PrimitiveType::String),
            (&["12345678901234567890"], PrimitiveType::String),
            (&["true", "FALSE"], PrimitiveType::Boolean),
            (&["1", "true"], PrimitiveType::String),
            (&["2024-02-29"], PrimitiveType::Date),
            (&["2023-02-29"], PrimitiveType::String),
            (&["2024-02-29T12:00:00Z"], PrimitiveType::Timestamp),
            (&["2024-02-29T12:00:00+02:00"], PrimitiveType::Timestamp),
            (&["2024-02-29 12:00:00"], PrimitiveType::TimestampNtz),
            (&["2024-02-29T12:00:00Z", "2024-02-29 12:00:00"], PrimitiveType::String),
            (&["nan"], PrimitiveType::String),
            (&[], PrimitiveType::String),
        ];
        for (cells, expected) in rows {
            let mut guess = Guess::default();
            cells.iter().for_each(|it| guess.see(it));
            assert_eq!(guess.primitive(), *expected, "{cells:?}");
        }
    }

    #[test]
    fn cells_fit_or_are_named() {
        let cells = StringArray::from(vec![Some("1"), None, Some("x")]);
        assert_eq!(typed(&cells, PrimitiveType::Long).unwrap_err().0, 2);
        let cells = StringArray::from(vec!["1.25", "-0.5"]);
        let decimal = PrimitiveType::Decimal { precision: 5, scale: 1 };
        assert_eq!(typed(&cells, decimal).unwrap_err().0, 0);
        assert!(typed(&cells, PrimitiveType::Double).is_ok());
    }
}
