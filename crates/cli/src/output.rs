//! Rows and answers to standard output or a file, in every format.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, SchemaRef};
use lakebed::{Code, Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::args::Format;
use crate::exit::plain;

/// Where rows go. A file appears under its name once it is whole.
pub(crate) struct Output {
    rows: Rows,
    file: Option<(PathBuf, PathBuf)>,
}

type Sink = Box<dyn Write + Send>;

enum Rows {
    Table { sink: Sink, schema: SchemaRef, widths: Option<Vec<usize>>, rows: u64 },
    Json(Box<arrow_json::ArrayWriter<Sink>>),
    Ndjson(Box<arrow_json::LineDelimitedWriter<Sink>>),
    Csv { writer: Box<arrow_csv::Writer<Sink>>, empty: Option<SchemaRef> },
    Arrow(Box<arrow_ipc::writer::StreamWriter<Sink>>),
    Parquet(Box<ArrowWriter<Sink>>),
}

/// Longest cell of a table for people, in characters.
const CELL_CHARS: usize = 80;

impl Output {
    /// Rows of `schema` to a file, or to standard output.
    pub(crate) fn new(format: Format, schema: &SchemaRef, file: Option<&Path>) -> Result<Output> {
        let (sink, file): (Sink, _) = match file {
            None => (Box::new(BufWriter::new(stdout())), None),
            Some(path) => {
                let mut partial = path.as_os_str().to_os_string();
                partial.push(".partial");
                let partial = PathBuf::from(partial);
                let open =
                    File::create(&partial).map_err(|it| unwritable(it).at(partial.display()))?;
                (Box::new(BufWriter::new(open)), Some((partial, path.to_path_buf())))
            }
        };
        let rows = match format {
            Format::Table => Rows::Table { sink, schema: schema.clone(), widths: None, rows: 0 },
            Format::Json => Rows::Json(Box::new(arrow_json::ArrayWriter::new(sink))),
            Format::Ndjson => Rows::Ndjson(Box::new(arrow_json::LineDelimitedWriter::new(sink))),
            Format::Csv => Rows::Csv {
                writer: Box::new(arrow_csv::WriterBuilder::new().build(sink)),
                empty: Some(schema.clone()),
            },
            Format::Arrow => {
                let writer = arrow_ipc::writer::StreamWriter::try_new(sink, schema);
                Rows::Arrow(Box::new(writer.map_err(arrow)?))
            }
            Format::Parquet => {
                let writer = ArrowWriter::try_new(sink, schema.clone(), None);
                Rows::Parquet(Box::new(writer.map_err(parquet)?))
            }
        };
        Ok(Output { rows, file })
    }

    /// The next rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.rows {
            Rows::Table { sink, widths, rows, .. } => {
                *rows += batch.num_rows() as u64;
                table(sink, batch, widths).map_err(arrow)
            }
            Rows::Json(writer) => writer.write(batch).map_err(arrow),
            Rows::Ndjson(writer) => writer.write(batch).map_err(arrow),
            Rows::Csv { writer, empty } => {
                *empty = None;
                writer.write(batch).map_err(arrow)
            }
            Rows::Arrow(writer) => writer.write(batch).map_err(arrow),
            Rows::Parquet(writer) => writer.write(batch).map_err(parquet),
        }
    }

    /// The end of the rows.
    pub(crate) fn finish(mut self) -> Result<()> {
        match &mut self.rows {
            Rows::Table { sink, schema, widths, rows } => {
                if widths.is_none() {
                    let empty = RecordBatch::new_empty(schema.clone());
                    table(sink, &empty, widths).map_err(arrow)?;
                }
                let plural = if *rows == 1 { "" } else { "s" };
                writeln!(sink, "({rows} row{plural})")
                    .and_then(|()| sink.flush())
                    .map_err(unwritable)?;
            }
            Rows::Json(writer) => writer.finish().map_err(arrow)?,
            Rows::Ndjson(writer) => writer.finish().map_err(arrow)?,
            Rows::Csv { writer, empty } => {
                if let Some(schema) = empty.take() {
                    writer.write(&RecordBatch::new_empty(schema)).map_err(arrow)?;
                }
            }
            Rows::Arrow(writer) => writer.finish().map_err(arrow)?,
            Rows::Parquet(writer) => drop(writer.finish().map_err(parquet)?),
        }
        self.flush()?;
        if let Some((partial, path)) = self.file.take() {
            std::fs::rename(&partial, &path).map_err(|it| unwritable(it).at(path.display()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = match &mut self.rows {
            Rows::Table { sink, .. } => sink.flush(),
            Rows::Json(writer) => writer.get_mut().flush(),
            Rows::Ndjson(writer) => writer.get_mut().flush(),
            // The CSV writer flushes after each batch.
            Rows::Csv { .. } => Ok(()),
            Rows::Arrow(writer) => writer.get_mut().flush(),
            Rows::Parquet(writer) => writer.inner_mut().flush(),
        };
        flushed.map_err(unwritable)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            // What was half written is of no use to anybody.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Is this the end of the pipe that we write into? Then there is nothing left to do.
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::BrokenPipe;
        }
        source = cause.source();
    }
    false
}

fn unwritable(error: std::io::Error) -> Error {
    // EFBIG: a file over the limit of the process is as full as a disk.
    let full = matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::FileTooLarge
            | std::io::ErrorKind::QuotaExceeded
    );
    let code = match error.kind() {
        _ if full => Code::NoSpace,
        std::io::ErrorKind::PermissionDenied => Code::Permission,
        _ => Code::Unavailable,
    };
    Error::new(code, "the output cannot be written").because(error)
}

fn arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, io) => unwritable(io),
        ArrowError::ExternalError(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => unwritable(*io),
            Err(inner) => Error::invalid(format!("the rows do not fit the format: {inner}")),
        },
        other => Error::invalid(format!("the rows do not fit the format: {other}")),
    }
}

fn parquet(error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => unwritable(*io),
            Err(inner) => Error::invalid(format!("the rows do not fit the format: {inner}")),
        },
        other => Error::invalid(format!("the rows do not fit the format: {other}")),
    }
}

/// Aligned columns. The first batch decides the widths, so that rows can be printed as they come.
fn table(
    sink: &mut Sink,
    batch: &RecordBatch,
    widths: &mut Option<Vec<usize>>,
) -> std::result::Result<(), ArrowError> {
    let options = FormatOptions::default().with_null("").with_display_error(true);
    let schema = batch.schema();
    let mut columns: Vec<(String, bool, Vec<String>)> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let cells = (0..batch.num_rows()).map(|it| short(&formatter.value(it).to_string()));
        columns.push((short(field.name()), field.data_type().is_numeric(), cells.collect()));
    }
    let chars = |it: &String| it.chars().count();
    let is_first = widths.is_none();
    let widths = widths.get_or_insert_with(|| {
        let widest = |it: &(String, bool, Vec<String>)| {
            it.2.iter().map(chars).max().unwrap_or(0).max(chars(&it.0))
        };
        columns.iter().map(widest).collect()
    });
    let mut line = |cells: Vec<(&str, bool)>| -> std::io::Result<()> {
        let mut text = String::new();
        for ((cell, right), width) in cells.into_iter().zip(&*widths) {
            text += &if right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        writeln!(sink, "{}", text.trim_end())
    };
    if is_first {
        line(columns.iter().map(|it| (it.0.as_str(), it.1)).collect())?;
        let rule: Vec<String> = widths.iter().map(|it| "-".repeat(*it)).collect();
        line(rule.iter().map(|it| (it.as_str(), false)).collect())?;
    }
    for row in 0..batch.num_rows() {
        let cell = |it: &'_ (String, bool, Vec<String>)| it.2.get(row).cloned().unwrap_or_default();
        let cells: Vec<(String, bool)> = columns.iter().map(|it| (cell(it), it.1)).collect();
        line(cells.iter().map(|it| (it.0.as_str(), it.1)).collect())?;
    }
    Ok(())
}

/// Without what a terminal would obey, and not longer than a person reads.
fn short(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(CELL_CHARS) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// A short answer: pairs of name and value, for people or as one JSON document.
pub(crate) fn answer(format: Format, pairs: &[(&str, serde_json::Value)]) -> Result<()> {
    let mut sink = stdout().lock();
    let is_text = matches!(format, Format::Table | Format::Csv);
    let written = if is_text {
        let width = pairs.iter().map(|it| it.0.len()).max().unwrap_or(0);
        pairs.iter().try_for_each(|(name, value)| {
            let text = match value {
                serde_json::Value::String(text) => plain(text),
                serde_json::Value::Null => "-".to_string(),
                other => plain(&other.to_string()),
            };
            writeln!(sink, "{name:<width$}  {text}")
        })
    } else {
        let map: serde_json::Map<_, _> =
            pairs.iter().map(|it| (it.0.replace(' ', "_"), it.1.clone())).collect();
        writeln!(sink, "{}", serde_json::Value::Object(map))
    };
    written.and_then(|()| sink.flush()).map_err(unwritable)
}

/// A list of answers: one line each for people, else JSON.
pub(crate) fn list(format: Format, names: &[&str], rows: &[Vec<serde_json::Value>]) -> Result<()> {
    let mut sink = stdout().lock();
    let object = |row: &Vec<serde_json::Value>| {
        let pairs = names.iter().zip(row).map(|it| ((*it.0).to_string(), it.1.clone()));
        serde_json::Value::Object(pairs.collect())
    };
    let written = match format {
        Format::Json => {
            let all: Vec<_> = rows.iter().map(object).collect();
            writeln!(sink, "{}", serde_json::Value::Array(all))
        }
        Format::Ndjson => rows.iter().try_for_each(|it| writeln!(sink, "{}", object(it))),
        Format::Csv => {
            let mut lines = vec![names.join(",")];
            lines.extend(
                rows.iter().map(|row| row.iter().map(csv_cell).collect::<Vec<_>>().join(",")),
            );
            lines.iter().try_for_each(|it| writeln!(sink, "{it}"))
        }
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.load_preset(comfy_table::presets::NOTHING);
            table.set_header(names);
            for row in rows {
                table.add_row(row.iter().map(|it| short(&text(it))));
            }
            table.lines().try_for_each(|it| writeln!(sink, "{}", it.trim_end()))
        }
        Format::Arrow | Format::Parquet => {
            return Err(Error::invalid("this list is printed as table, json, ndjson or csv"));
        }
    };
    written.and_then(|()| sink.flush()).map_err(unwritable)
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn csv_cell(value: &serde_json::Value) -> String {
    let text = text(value);
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
