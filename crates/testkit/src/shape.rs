//! Shapes of a log that Lakebed reads and does not write: checkpoints of the second layout, and
//! compacted files, made of what it does write.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
    new_null_array,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use lakebed_log::action::{Action, CheckpointMetadata, Sidecar};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::uri;
use parquet::arrow::ArrowWriter;

use crate::rows::read_parquet;

/// How a checkpoint of the second layout looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its top level is JSON rather than Parquet.
    pub json: bool,
    /// Named as a classic checkpoint is; then it is Parquet.
    pub classic: bool,
    /// How many sidecars it has; with none its files stand in the top level.
    pub sidecars: usize,
}

/// The name of everything that is named by id here.
const ID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";

/// Turns the classic checkpoint of a version into one of the second layout, and gives its path. The
/// hint goes with the old one.
///
/// # Errors
///
/// A table that has no such checkpoint, or that is not on the local disk.
pub fn second_layout(table: &Path, version: u64, how: Layout) -> Result<PathBuf, Box<dyn Error>> {
    let log = table.join("_delta_log");
    let classic = log.join(format!("{version:020}.checkpoint.parquet"));
    let batches = read_parquet(&classic)?;
    let whole = LogBatch::from_parquet(fs::read(&classic)?.into(), Width::Wide)?;
    fs::remove_file(&classic)?;
    let _ = fs::remove_file(log.join("_last_checkpoint"));

    let sidecars = sidecars(&log, &batches, how.sidecars)?;
    let marker = CheckpointMetadata { version: i64::try_from(version)?, tags: None };
    let with_files = how.sidecars == 0;
    let name = match how {
        Layout { classic: true, .. } => format!("{version:020}.checkpoint.parquet"),
        Layout { json: true, .. } => format!("{version:020}.checkpoint.{ID}.json"),
        Layout { json: false, .. } => format!("{version:020}.checkpoint.{ID}.parquet"),
    };
    let path = log.join(name);
    if how.json {
        fs::write(&path, lines(&whole, marker, sidecars, with_files)?)?;
    } else {
        top_level(&path, &batches, &marker, &sidecars, with_files)?;
    }
    Ok(path)
}

/// The file actions of a checkpoint, dealt out to files of their own.
fn sidecars(
    log: &Path,
    batches: &[RecordBatch],
    files: usize,
) -> Result<Vec<Sidecar>, Box<dyn Error>> {
    let mut sidecars = Vec::new();
    let folder = log.join("_sidecars");
    for file in 0..files {
        fs::create_dir_all(&folder)?;
        // A name that has to be decoded.
        let name = format!("{file} of {files}.{ID}.parquet");
        let only = |row: usize| row % files == file;
        write(&folder.join(&name), batches, &["add", "remove"], only)?;
        let size_in_bytes = i64::try_from(fs::metadata(folder.join(&name))?.len())?;
        let path = uri::encode(&name);
        sidecars.push(Sidecar { path, size_in_bytes, modification_time: 0, tags: None });
    }
    Ok(sidecars)
}

/// Writes the rows that fill one of the columns, as far as they are wanted.
fn write(
    path: &Path,
    batches: &[RecordBatch],
    columns: &[&str],
    wanted: impl Fn(usize) -> bool,
) -> Result<(), Box<dyn Error>> {
    let Some(first) = batches.first() else { return Err("an empty checkpoint".into()) };
    let places: Vec<usize> =
        columns.iter().map(|it| first.schema().index_of(it)).collect::<Result<_, _>>()?;
    let schema = Arc::new(first.schema().project(&places)?);
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, None)?;
    let mut at = 0;
    for batch in batches {
        let batch = batch.project(&places)?;
        for row in 0..batch.num_rows() {
            if batch.columns().iter().any(|it| it.is_valid(row)) {
                if wanted(at) {
                    writer.write(&batch.slice(row, 1))?;
                }
                at += 1;
            }
        }
    }
    writer.close()?;
    Ok(())
}

fn lines(
    whole: &LogBatch,
    marker: CheckpointMetadata,
    sidecars: Vec<Sidecar>,
    with_files: bool,
) -> Result<String, Box<dyn Error>> {
    let mut actions = vec![Action::CheckpointMetadata(marker)];
    actions.extend(whole.protocol.clone().map(Action::Protocol));
    actions.extend(whole.metadata.clone().map(Action::Metadata));
    actions.extend(whole.txns.iter().cloned().map(Action::SetTransaction));
    actions.extend(whole.domains.iter().cloned().map(Action::DomainMetadata));
    actions.extend(sidecars.into_iter().map(Action::Sidecar));
    if with_files {
        for row in 0..whole.adds.as_ref().map_or(0, |it| it.len()) {
            actions.extend(whole.adds.as_ref().map(|it| it.get(row)).transpose()?.map(Action::Add));
        }
        for row in 0..whole.removes.as_ref().map_or(0, |it| it.len()) {
            let remove = whole.removes.as_ref().map(|it| it.get(row)).transpose()?;
            actions.extend(remove.map(Action::Remove));
        }
    }
    Ok(actions.iter().map(|it| it.to_json_line() + "\n").collect())
}

fn top_level(
    path: &Path,
    batches: &[RecordBatch],
    marker: &CheckpointMetadata,
    sidecars: &[Sidecar],
    with_files: bool,
) -> Result<(), Box<dyn Error>> {
    let field = |name: &str, of: DataType| Arc::new(Field::new(name, of, true));
    let versions = Fields::from(vec![field("version", DataType::Int64)]);
    let files = Fields::from(vec![
        field("path", DataType::Utf8),
        field("sizeInBytes", DataType::Int64),
        field("modificationTime", DataType::Int64),
    ]);
    let Some(first) = batches.first() else { return Err("an empty checkpoint".into()) };
    let mut fields: Vec<_> = first.schema().fields().iter().cloned().collect();
    fields.push(field("checkpointMetadata", DataType::Struct(versions.clone())));
    fields.push(field("sidecar", DataType::Struct(files.clone())));
    let schema: SchemaRef = Arc::new(Schema::new(fields));

    let mut writer = ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), None)?;
    for batch in batches {
        let is_file = |row: usize| {
            let filled = |it: &str| batch.column_by_name(it).is_some_and(|it| it.is_valid(row));
            filled("add") || filled("remove")
        };
        for row in (0..batch.num_rows()).filter(|it| with_files || !is_file(*it)) {
            let mut columns = batch.slice(row, 1).columns().to_vec();
            for field in schema.fields().iter().skip(columns.len()) {
                columns.push(new_null_array(field.data_type(), 1));
            }
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
    }
    // One row of the marker, then one of each sidecar.
    let rows = 1 + sidecars.len();
    let nulls = |filled: &dyn Fn(usize) -> bool| {
        let marks: BooleanArray = (0..rows).map(|it| filled(it).then_some(true)).collect();
        marks.nulls().cloned()
    };
    let version: ArrayRef =
        Arc::new(Int64Array::from_iter((0..rows).map(|it| (it == 0).then_some(marker.version))));
    let marked = StructArray::try_new(versions, vec![version], nulls(&|it| it == 0))?;
    let of = |it: usize| it.checked_sub(1).and_then(|it| sidecars.get(it));
    let paths = StringArray::from_iter((0..rows).map(|it| of(it).map(|it| it.path.as_str())));
    let sizes = Int64Array::from_iter((0..rows).map(|it| of(it).map(|it| it.size_in_bytes)));
    let times = Int64Array::from_iter((0..rows).map(|it| of(it).map(|it| it.modification_time)));
    let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(sizes), Arc::new(times)];
    let named = StructArray::try_new(files, columns, nulls(&|it| it != 0))?;
    let mut columns: Vec<ArrayRef> =
        first.schema().fields().iter().map(|it| new_null_array(it.data_type(), rows)).collect();
    columns.push(Arc::new(marked));
    columns.push(Arc::new(named));
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.close()?;
    Ok(())
}

/// Writes the compacted file of some versions, and gives its path.
///
/// # Errors
///
/// A commit that is not there or does not parse.
pub fn compact(table: &Path, first: u64, last: u64) -> Result<PathBuf, Box<dyn Error>> {
    let log = table.join("_delta_log");
    let mut seen = BTreeSet::new();
    let mut lines = String::new();
    for version in (first..=last).rev() {
        let text = fs::read(log.join(format!("{version:020}.json")))?;
        for line in text.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            let Some(action) = Action::from_json_line(line)? else { continue };
            let key = match &action {
                Action::Add(it) => format!("file {} {:?}", it.path, it.deletion_vector),
                Action::Remove(it) => format!("file {} {:?}", it.path, it.deletion_vector),
                Action::Protocol(_) => "protocol".to_string(),
                Action::Metadata(_) => "metadata".to_string(),
                Action::SetTransaction(it) => format!("txn {}", it.app_id),
                Action::DomainMetadata(it) => format!("domain {}", it.domain),
                _ => continue,
            };
            if seen.insert(key) {
                lines += &(action.to_json_line() + "\n");
            }
        }
    }
    // A commit may hold nothing that lasts.
    let lines = if lines.is_empty() { "{}\n".to_string() } else { lines };
    let path = log.join(format!("{first:020}.{last:020}.compacted.json"));
    fs::write(&path, lines)?;
    Ok(path)
}
