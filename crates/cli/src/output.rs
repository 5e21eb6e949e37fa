//! Rows and answers to standard output or a file, in every format.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use lakebed::{Code, Error, Result, schema_as_text, variants_as_text};
use parquet::arrow::ArrowWriter;
use tempfile::TempPath;

use crate::aligned::{Aligned, short};
use crate::args::Format;
use crate::exit::plain;
use crate::progress::Bar;
use crate::texts::{Keys, spelt};

/// Where rows go. A file appears under its name once it is whole.
pub(crate) struct Output {
    rows: Rows,
    /// Variants are printed as JSON text.
    as_text: bool,
    broken: Broken,
    file: Option<PathBuf>,
    /// The file while it grows, and the name that it gets; it is removed if it gets none.
    partial: Option<(TempPath, PathBuf)>,
}

pub(crate) type Sink = BufWriter<Tap>;

enum Rows {
    Table(Box<Aligned>),
    Json(Box<arrow_json::ArrayWriter<Sink>>),
    Ndjson(Box<arrow_json::LineDelimitedWriter<Sink>>),
    Csv { writer: Box<arrow_csv::Writer<Sink>>, empty: Option<SchemaRef> },
    Arrow(Box<arrow_ipc::writer::StreamWriter<Sink>>),
    Parquet(Box<ArrowWriter<Sink>>),
}

/// Most links followed from the name of an output file.
const LINKS_MAX: usize = 40;

/// What went wrong below a writer. Writers of formats turn I/O errors into text, which no longer
/// tells a closed pipe from a full disk.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Option<std::io::Error>>>);

impl Broken {
    fn keep(&self, error: &std::io::Error) {
        if error.kind() == std::io::ErrorKind::Interrupted {
            return;
        }
        let copy = match error.raw_os_error() {
            Some(it) => std::io::Error::from_raw_os_error(it),
            None => std::io::Error::new(error.kind(), error.to_string()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(copy);
    }

    fn take(&self) -> Option<std::io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The error of a writer, by its cause.
    fn or(&self, error: impl std::fmt::Display) -> Error {
        match self.take() {
            Some(it) => unwritable(it),
            None => Error::invalid(format!("the rows do not fit the format: {error}")),
        }
    }
}

/// The end of every writer: keeps the first error, and clears the bar before the first byte.
pub(crate) struct Tap {
    end: Box<dyn Write + Send>,
    broken: Broken,
    bar: Option<Bar>,
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
        self.end.write(bytes).inspect_err(|it| self.broken.keep(it))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.end.flush().inspect_err(|it| self.broken.keep(it))
    }
}

impl Output {
    /// Rows of `schema` to a file, or to standard output, which the bar must leave first.
    pub(crate) fn new(
        format: Format,
        schema: &SchemaRef,
        file: Option<&Path>,
        bar: &Bar,
    ) -> Result<Output> {
        // What has types keeps variants as they are; a person wants to read them.
        let as_text = !matches!(format, Format::Arrow | Format::Parquet);
        let schema = &if as_text { schema_as_text(schema) } else { schema.clone() };
        let broken = Broken::default();
        let (end, partial, bar): (Box<dyn Write + Send>, _, _) = match file {
            None => (Box::new(stdout()), None, Some(bar.clone())),
            Some(path) => {
                let (file, partial) = open(path).map_err(|it| it.at(path.display()))?;
                (Box::new(file), partial, None)
            }
        };
        let sink = BufWriter::new(Tap { end, broken: broken.clone(), bar });
        let rows = match format {
            Format::Table => Rows::Table(Box::new(Aligned::new(sink, schema))),
            Format::Json => Rows::Json(Box::new(arrow_json::ArrayWriter::new(sink))),
            Format::Ndjson => Rows::Ndjson(Box::new(arrow_json::LineDelimitedWriter::new(sink))),
            Format::Csv => Rows::Csv {
                writer: Box::new(arrow_csv::WriterBuilder::new().build(sink)),
                empty: Some(schema.clone()),
            },
            Format::Arrow => {
                let writer = arrow_ipc::writer::StreamWriter::try_new(sink, schema);
                Rows::Arrow(Box::new(writer.map_err(|it| broken.or(it))?))
            }
            Format::Parquet => {
                let writer = ArrowWriter::try_new(sink, schema.clone(), None);
                Rows::Parquet(Box::new(writer.map_err(|it| broken.or(it))?))
            }
        };
        Ok(Output { rows, as_text, broken, file: file.map(Path::to_path_buf), partial })
    }

    /// The next rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let text = if self.as_text { Some(variants_as_text(batch)?) } else { None };
        let batch = text.as_ref().unwrap_or(batch);
        let keys = match &self.rows {
            Rows::Json(_) | Rows::Ndjson(_) => Keys::Text,
            _ => Keys::Kept,
        };
        let broken = &self.broken;
        let far = match self.as_text {
            true => spelt(batch, keys).map_err(|it| self.placed(broken.or(it)))?,
            false => None,
        };
        let batch = far.as_ref().unwrap_or(batch);
        let written = match &mut self.rows {
            Rows::Table(table) => table.write(batch),
            Rows::Json(writer) => writer.write(batch),
            Rows::Ndjson(writer) => writer.write(batch),
            Rows::Csv { writer, empty } => {
                *empty = None;
                writer.write(batch)
            }
            Rows::Arrow(writer) => writer.write(batch),
            Rows::Parquet(writer) => writer.write(batch).map_err(ArrowError::from),
        };
        written.map_err(|it| self.placed(broken.or(it)))
    }

    /// The end of the rows.
    pub(crate) fn finish(mut self) -> Result<()> {
        let ended = self.end();
        ended.map_err(|it| self.placed(self.broken.or(it)))?;
        let Some((partial, path)) = self.partial.take() else { return Ok(()) };
        // What cannot get its name is removed when the error is dropped.
        partial.persist(&path).map_err(|it| self.placed(unwritable(it.error)))
    }

    fn end(&mut self) -> std::result::Result<(), ArrowError> {
        match &mut self.rows {
            Rows::Table(table) => table.finish()?,
            Rows::Json(writer) => {
                writer.finish()?;
                writer.get_mut().write_all(b"\n")?;
                writer.get_mut().flush()?;
            }
            Rows::Ndjson(writer) => {
                writer.finish()?;
                writer.get_mut().flush()?;
            }
            // The CSV writer flushes after each batch.
            Rows::Csv { writer, empty } => {
                if let Some(schema) = empty.take() {
                    writer.write(&RecordBatch::new_empty(schema))?;
                }
            }
            Rows::Arrow(writer) => {
                writer.finish()?;
                writer.get_mut().flush()?;
            }
            Rows::Parquet(writer) => {
                writer.finish()?;
                writer.inner_mut().flush()?;
            }
        }
        Ok(())
    }

    fn placed(&self, error: Error) -> Error {
        match &self.file {
            Some(path) => error.at(path.display()),
            None => error,
        }
    }
}

/// Opens an output file: pipes and devices as they are, files beside their name.
fn open(path: &Path) -> Result<(File, Option<(TempPath, PathBuf)>)> {
    match std::fs::metadata(path) {
        Ok(it) if it.is_dir() => return Err(Error::invalid("the output is a folder; name a file")),
        Ok(it) if !it.is_file() => {
            let file = File::options().write(true).open(path).map_err(unwritable)?;
            return Ok((file, None));
        }
        _ => {}
    }
    let mut target = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Ok(link) = std::fs::read_link(&target) else { break };
        target = target.parent().unwrap_or(Path::new("")).join(link);
    }
    let name = target.file_name().ok_or_else(|| Error::invalid("the output is no file name"))?;
    let folder = match target.parent() {
        Some(it) if it != Path::new("") => it,
        _ => Path::new("."),
    };
    let mut prefix = name.to_os_string();
    prefix.push(".");
    let mut options = tempfile::Builder::new();
    options.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        options.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let (file, partial) = options.tempfile_in(folder).map_err(unwritable)?.into_parts();
    Ok((file, Some((partial, target))))
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
        std::io::ErrorKind::NotFound => Code::FileNotFound,
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::IsADirectory => {
            Code::InvalidArgument
        }
        _ => Code::Unavailable,
    };
    Error::new(code, "the output cannot be written").because(error)
}

/// One line of text.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut sink = stdout().lock();
    writeln!(sink, "{text}").and_then(|()| sink.flush()).map_err(unwritable)
}

/// Something to standard error. If nobody reads that any more, there is nobody to tell.
pub(crate) fn aside(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A short answer: pairs of name and value, for people, as rows of CSV or as one JSON document.
pub(crate) fn answer(format: Format, pairs: &[(&str, serde_json::Value)]) -> Result<()> {
    if format == Format::Csv {
        let rows: Vec<_> =
            pairs.iter().map(|it| vec![serde_json::json!(it.0), it.1.clone()]).collect();
        return list(format, &["name", "value"], &rows, Cells::Whole);
    }
    let mut sink = stdout().lock();
    let written = if format == Format::Table {
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

/// How much of a cell people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    /// All of it, because it is copied from here.
    Whole,
    /// What a person reads.
    Short,
}

/// A list of answers: one line each for people, else JSON.
pub(crate) fn list(
    format: Format,
    names: &[&str],
    rows: &[Vec<serde_json::Value>],
    cells: Cells,
) -> Result<()> {
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
                table.add_row(row.iter().map(|it| match cells {
                    Cells::Whole => plain(&text(it)),
                    Cells::Short => short(&text(it)),
                }));
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
