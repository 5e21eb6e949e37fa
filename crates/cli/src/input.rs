//! Input files: found, opened, and read as batches of one schema.
//!
//! Text has no types, so they come from `--schema`, else from the table that is there, else from a
//! look at every row. A cell that does not fit its type is an error with file, line, column and
//! value, never a null.

mod csv;
mod ndjson;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use lakebed::{Code, Error, Result, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::args::{InputArgs, InputFormat};

/// Batches as they are read.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows of a batch, when the reader may choose.
const BATCH_ROWS: usize = 8192;

/// One input file, open at its start.
struct Source {
    name: String,
    file: File,
    format: InputFormat,
}

/// Opens every file. `table` is the schema of the table that is there.
///
/// # Errors
///
/// `file-not-found`, `invalid-argument`; and per batch whatever its file holds wrong.
pub(crate) fn open(
    files: &[String],
    args: &InputArgs,
    table: Option<&Schema>,
) -> Result<(SchemaRef, Batches)> {
    let sources = sources(files, args)?;
    let given = args.schema.as_deref().map(Schema::parse_ddl).transpose()?;
    let known = given.as_ref().or(table);
    let mut schema: Option<SchemaRef> = None;
    let mut all: Vec<Batches> = Vec::new();
    let (texts, others): (Vec<Source>, Vec<Source>) =
        sources.into_iter().partition(|it| it.format == InputFormat::Csv);
    if !texts.is_empty() {
        let (found, batches) = csv::open(texts, args, given.as_ref(), table)?;
        schema = Some(found);
        all.push(batches);
    }
    for source in others {
        let (found, batches) = match source.format {
            InputFormat::Ndjson => ndjson::open(source, known)?,
            InputFormat::Parquet => parquet(source)?,
            InputFormat::Arrow | InputFormat::Csv => arrow(source)?,
        };
        schema.get_or_insert(found);
        all.push(batches);
    }
    let schema = schema.ok_or_else(|| Error::invalid("there is no input file"))?;
    Ok((schema, Box::new(all.into_iter().flatten())))
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
            let file = spool().map_err(|it| unreadable(name, it))?;
            sources.push(Source { name: "standard input".to_string(), file, format });
            continue;
        }
        for path in expanded(name)? {
            let format = match args.input_format {
                Some(format) => format,
                None => format_of(&path)?,
            };
            let file = File::open(&path).map_err(|it| unreadable(&path, it))?;
            if file.metadata().is_ok_and(|it| it.is_dir()) {
                return Err(Error::invalid(format!("`{path}` is a folder; name its files")));
            }
            sources.push(Source { name: path, file, format });
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

/// Standard input as a file, because readers look at it twice.
fn spool() -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
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
    let Source { name, file, .. } = source;
    let invalid =
        |it: parquet::errors::ParquetError| Error::new(Code::InvalidData, it.to_string()).at(&name);
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(invalid)?;
    let is_old = |it: usize| {
        let column = found.parquet_schema().column(it);
        column.physical_type() == parquet::basic::Type::INT96
    };
    // Old writers store timestamps as INT96, in UTC; nanoseconds would overflow outside 1677 to
    // 2262.
    let options = if (0..found.parquet_schema().num_columns()).any(is_old) {
        let fields = found.schema().fields().iter().map(|it| Arc::new(micros(it)));
        ArrowReaderOptions::new()
            .with_schema(Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())))
    } else {
        ArrowReaderOptions::new()
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .and_then(|it| it.with_batch_size(BATCH_ROWS).build())
        .map_err(invalid)?;
    let schema = arrow_array::RecordBatchReader::schema(&reader);
    Ok((schema, Box::new(reader.map(move |it| it.map_err(|it| broken(&name, it))))))
}

fn micros(field: &Field) -> Field {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => field
            .clone()
            .with_data_type(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        _ => field.clone(),
    }
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
