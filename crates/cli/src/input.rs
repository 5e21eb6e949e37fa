//! Input files: found, opened, and read as batches of one schema.
//!
//! Text has no types, so they come from `--schema`, else from the table that is there, else from a
//! look at every row. A cell that does not fit its type is an error with file, line, column and
//! value, never a null.

mod csv;
mod ndjson;
mod records;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use lakebed::codec::check_footer;
use lakebed::{Code, Error, Result, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as Physical;

use crate::args::{InputArgs, InputFormat, WriteArgs};

/// Batches as they are read.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows of a batch, when the reader may choose.
const BATCH_ROWS: usize = 8192;

/// Bytes of text after which a batch is full, however few its rows.
const BATCH_BYTES: usize = 1 << 20;

/// Longest row of text; what is longer is taken for a mistake before it fills the memory.
const ROW_BYTES: usize = 64 << 20;

/// Longest value shown in a message, in characters.
const SHOWN_CHARS: usize = 80;

/// One input file, open at its start.
struct Source {
    name: String,
    file: File,
    format: InputFormat,
    delimiter: u8,
}

/// A file's columns and rows.
type Opened = (SchemaRef, Batches);

/// Opens every file. `table` is the schema of the table that is there.
///
/// # Errors
///
/// `file-not-found`, `invalid-argument`, `schema-mismatch`; and per batch whatever its file holds
/// wrong.
pub(crate) fn open(write: &WriteArgs, table: Option<&Schema>) -> Result<Opened> {
    let args = &write.input;
    let sources = sources(&write.files, args)?;
    let given = args.schema.as_deref().map(Schema::parse_ddl).transpose()?;
    let names: Vec<String> = sources.iter().map(|it| it.name.clone()).collect();
    let mut texts: Vec<(usize, Source)> = Vec::new();
    let mut lines: Vec<(usize, Source)> = Vec::new();
    let mut opened: Vec<(usize, Opened)> = Vec::new();
    for (at, source) in sources.into_iter().enumerate() {
        let is_text = matches!(source.format, InputFormat::Csv | InputFormat::Ndjson);
        if given.is_some() && !is_text {
            let what = "`--schema` is for text files; this one brings its own types";
            return Err(Error::invalid(what).at(&source.name));
        }
        match source.format {
            InputFormat::Csv => texts.push((at, source)),
            InputFormat::Ndjson => lines.push((at, source)),
            InputFormat::Parquet => opened.push((at, typed_nulls(parquet(source)?, table))),
            InputFormat::Arrow => opened.push((at, typed_nulls(arrow(source)?, table))),
        }
    }
    if !texts.is_empty() {
        opened.extend(csv::open(texts, args, given.as_ref(), table)?);
    }
    if !lines.is_empty() {
        let may_add = write.evolve_schema && given.is_none();
        opened.extend(ndjson::open(lines, given.as_ref().or(table), may_add)?);
    }
    opened.sort_by_key(|it| it.0);
    let schemas: Vec<SchemaRef> = opened.iter().map(|it| Arc::clone(&it.1.0)).collect();
    same_columns(&names, &schemas, table, write.evolve_schema)?;
    let first = schemas.into_iter().next();
    let schema = first.ok_or_else(|| Error::invalid("there is no input file"))?;
    Ok((schema, Box::new(opened.into_iter().flat_map(|it| it.1.1))))
}

/// Every column of every file is one of the table or, where columns may be new, of the first file:
/// the rows of all files are one stream in the end, which no longer knows where they come from.
fn same_columns(
    names: &[String],
    schemas: &[SchemaRef],
    table: Option<&Schema>,
    may_add: bool,
) -> Result<()> {
    let folded = |it: &str| it.to_lowercase();
    let mut known: Vec<String> =
        table.iter().flat_map(|it| it.fields()).map(|it| folded(&it.name)).collect();
    let may_add = may_add || table.is_none();
    for (at, (name, schema)) in names.iter().zip(schemas).enumerate() {
        let columns = schema.fields().iter().map(|it| it.name());
        if at == 0 && may_add {
            known.extend(columns.map(|it| folded(it)));
            continue;
        }
        let is_new = |it: &&String| !known.contains(&folded(it));
        let new: Vec<String> = columns.filter(is_new).map(|it| format!("`{it}`")).collect();
        if !new.is_empty() {
            let who = if may_add { "the files before" } else { "the table" };
            let hint = if may_add { "" } else { "; `--evolve-schema` adds columns" };
            let what = format!("{who} have no column {}{hint}", new.join(", "));
            let what = what.replace("the table have", "the table has");
            return Err(Error::new(Code::SchemaMismatch, what).at(name));
        }
    }
    Ok(())
}

/// New columns of nulls alone become text: other engines cannot read a column without a type.
fn typed_nulls(opened: Opened, table: Option<&Schema>) -> Opened {
    let (schema, batches) = opened;
    let is_new = |it: &Field| table.is_none_or(|table| table.field(it.name()).is_none());
    let fields = schema.fields().iter().map(|it| match is_new(it) {
        true => Arc::new(it.as_ref().clone().with_data_type(without_null(it.data_type()))),
        false => Arc::clone(it),
    });
    let shape = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    if shape.fields() == schema.fields() {
        return (schema, batches);
    }
    let to = Arc::clone(&shape);
    let cast = move |batch: Result<RecordBatch>| {
        let batch = batch?;
        let columns = batch.columns().iter().zip(to.fields());
        let columns = columns.map(|it| arrow_cast::cast(it.0, it.1.data_type()));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
        let whole = columns.and_then(|it| RecordBatch::try_new(Arc::clone(&to), it));
        whole.map_err(|it| Error::new(Code::InvalidData, it.to_string()))
    };
    (shape, Box::new(batches.map(cast)))
}

/// The type, with text in place of the type that only null has.
fn without_null(data_type: &DataType) -> DataType {
    let field = |it: &Field| it.clone().with_data_type(without_null(it.data_type()));
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => DataType::List(Arc::new(field(item))),
        DataType::LargeList(item) => DataType::LargeList(Arc::new(field(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|it| field(it)).collect()),
        other => other.clone(),
    }
}

/// A value as messages show it.
fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", value.get(..at).unwrap_or_default()),
        None => value.to_string(),
    }
}

/// The bytes that pairs of hexadecimal digits stand for.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pair = |it: &[u8]| match it {
        [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Files in the order given, those of a glob by name.
fn sources(files: &[String], args: &InputArgs) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in files {
        if name == "-" {
            let format = args.input_format.ok_or_else(|| {
                Error::invalid(
                    "standard input has no name to tell its format; say `--input-format`",
                )
            })?;
            let file = spooled(std::io::stdin().lock()).map_err(|it| unreadable(name, it))?;
            let delimiter = args.delimiter.unwrap_or(b',');
            let name = "standard input".to_string();
            sources.push(Source { name, file, format, delimiter });
            continue;
        }
        for path in expanded(name)? {
            let format = match args.input_format {
                Some(format) => format,
                None => format_of(&path)?,
            };
            let mut file = File::open(&path).map_err(|it| unreadable(&path, it))?;
            if file.metadata().is_ok_and(|it| it.is_dir()) {
                return Err(Error::invalid(format!("`{path}` is a folder; name its files")));
            }
            if file.stream_position().is_err() {
                file = spooled(file).map_err(|it| unreadable(&path, it))?;
            }
            let is_tabs = path.to_ascii_lowercase().ends_with(".tsv");
            let delimiter = args.delimiter.unwrap_or(if is_tabs { b'\t' } else { b',' });
            sources.push(Source { name: path, file, format, delimiter });
        }
    }
    Ok(sources)
}

fn expanded(name: &str) -> Result<Vec<String>> {
    if Path::new(name).exists() || !name.contains(['*', '?', '[']) {
        return Ok(vec![name.to_string()]);
    }
    let invalid = |it: String| Error::invalid(format!("`{name}` is no glob: {it}"));
    let mut paths = Vec::new();
    for path in glob::glob(name).map_err(|it| invalid(it.to_string()))? {
        let path = path.map_err(|it| invalid(it.to_string()))?;
        paths.push(path.to_string_lossy().into_owned());
    }
    if paths.is_empty() {
        return Err(Error::new(Code::FileNotFound, format!("no file matches `{name}`")));
    }
    Ok(paths)
}

fn format_of(path: &str) -> Result<InputFormat> {
    let extension = Path::new(path).extension().and_then(|it| it.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "csv" | "tsv" | "txt" => InputFormat::Csv,
        "ndjson" | "jsonl" | "json" => InputFormat::Ndjson,
        "parquet" | "pq" => InputFormat::Parquet,
        "arrow" | "arrows" | "ipc" | "feather" => InputFormat::Arrow,
        _ => {
            let what = format!("the name of `{path}` tells no format; say `--input-format`");
            return Err(Error::invalid(what));
        }
    })
}

/// What comes through a pipe as a file, because readers look at it twice.
fn spooled(mut pipe: impl Read) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    std::io::copy(&mut pipe, &mut file)?;
    file.flush()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn unreadable(name: &str, error: std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::FileNotFound,
        std::io::ErrorKind::PermissionDenied => Code::Permission,
        std::io::ErrorKind::StorageFull => Code::NoSpace,
        _ => Code::Unavailable,
    };
    Error::new(code, "the file cannot be read").at(name).because(error)
}

fn broken(name: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(error) => *error,
            Err(inner) => Error::new(Code::InvalidData, inner.to_string()).at(name),
        },
        other => Error::new(Code::InvalidData, other.to_string()).at(name),
    }
}

fn parquet(source: Source) -> Result<(SchemaRef, Batches)> {
    let Source { name, mut file, .. } = source;
    check_footer(&mut file).map_err(|it| match it.code() {
        Code::Unavailable => it.at(&name),
        _ => Error::new(Code::InvalidData, it.message()).at(&name),
    })?;
    let invalid =
        |it: parquet::errors::ParquetError| Error::new(Code::InvalidData, it.to_string()).at(&name);
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(invalid)?;
    // Old writers store timestamps as INT96, in UTC; nanoseconds would overflow outside 1677 to
    // 2262.
    let mut leaves = found.parquet_schema().columns().iter().map(|it| it.physical_type());
    let fields = found.schema().fields().iter().map(|it| micros(it, &mut leaves));
    let shape = ArrowSchema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        found.schema().metadata().clone(),
    );
    let options = match shape.fields() == found.schema().fields() {
        true => ArrowReaderOptions::new(),
        false => ArrowReaderOptions::new().with_schema(Arc::new(shape)),
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .and_then(|it| it.with_batch_size(BATCH_ROWS).build())
        .map_err(invalid)?;
    let schema = arrow_array::RecordBatchReader::schema(&reader);
    Ok((schema, Box::new(reader.map(move |it| it.map_err(|it| broken(&name, it))))))
}

/// The field, with microseconds in UTC for each leaf that the file stores as INT96. `leaves` are
/// the stored types of the leaves from this field on.
fn micros(field: &Field, leaves: &mut dyn Iterator<Item = Physical>) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|it| micros(it, leaves)).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(micros(item, leaves))),
        DataType::LargeList(item) => DataType::LargeList(Arc::new(micros(item, leaves))),
        DataType::ListView(item) => DataType::ListView(Arc::new(micros(item, leaves))),
        DataType::LargeListView(item) => DataType::LargeListView(Arc::new(micros(item, leaves))),
        DataType::FixedSizeList(item, length) => {
            DataType::FixedSizeList(Arc::new(micros(item, leaves)), *length)
        }
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(micros(entries, leaves)), *sorted),
        leaf => match (leaf, leaves.next()) {
            (DataType::Timestamp(TimeUnit::Nanosecond, _), Some(Physical::INT96)) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            _ => leaf.clone(),
        },
    };
    field.clone().with_data_type(data_type)
}

fn arrow(source: Source) -> Result<(SchemaRef, Batches)> {
    let Source { name, mut file, .. } = source;
    let mut magic = [0; 6];
    let is_file = file.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
    file.seek(SeekFrom::Start(0)).map_err(|it| unreadable(&name, it))?;
    let file = std::io::BufReader::new(file);
    if is_file {
        let reader =
            arrow_ipc::reader::FileReader::try_new(file, None).map_err(|it| broken(&name, it))?;
        let schema = reader.schema();
        return Ok((schema, Box::new(reader.map(move |it| it.map_err(|it| broken(&name, it))))));
    }
    let reader =
        arrow_ipc::reader::StreamReader::try_new(file, None).map_err(|it| broken(&name, it))?;
    let schema = reader.schema();
    Ok((schema, Box::new(reader.map(move |it| it.map_err(|it| broken(&name, it))))))
}
