//! The bytes of a checkpoint to a [`LogBatch`].
//!
//! A checkpoint has one struct column per kind of action, and each row fills one of them. A big one
//! holds a million rows of `add`, so nothing here goes row by row over files: the columns of the
//! struct become the columns of [`Adds`] as they are, and where other kinds of rows stand between,
//! they are sliced or filtered out column by column.
//!
//! Writers differ in how they spell the same columns: order, names of map entries, nullability,
//! list layout, plain or annotated strings. What means the same is cast to one shape, by `Section`;
//! the rest is refused.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader, StringArray, StructArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use crate::action::{
    CheckpointMetadata, DomainMetadata, Metadata, Protocol, SetTransaction, Sidecar, VectorRow,
};
use crate::batch::columns::STATS_PARSED;
use crate::batch::pick::Picked;
use crate::batch::rules::{self, corrupt, of_checkpoint, spelled};
use crate::batch::section::Section;
use crate::batch::{Adds, Footer, LogBatch, Removes, Width, parquet_footer};
use crate::error::{Error, Result};
use crate::limits::STATS_BYTES_MAX;
use crate::places;

/// Rows decoded at a time, to be joined afterwards. All rows at once would be decoded into columns
/// that grow by being copied, and each time into memory that was never used before.
const BATCH_ROWS: usize = 8_192;

/// What a file of ours says of its writer.
const OURS: &str = "Lakebed version ";

/// See [`LogBatch::from_parquet`].
pub(super) fn from_bytes(bytes: Bytes, width: Width) -> Result<LogBatch> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    match parquet_footer(&bytes, size)? {
        Footer::Ready(metadata) => decode_parquet(bytes, &metadata, width),
        Footer::Need(_) => Err(corrupt(format!("a file of {size} bytes is not Parquet"))),
    }
}

/// Decodes a Parquet checkpoint whose footer was read before; `reader` must hold what
/// [`parquet_ranges`] names, see [`SparseFile`](crate::batch::SparseFile).
///
/// # Errors
///
/// Those of [`LogBatch::from_parquet`].
pub fn decode_parquet<R: ChunkReader + 'static>(
    reader: R,
    metadata: &Arc<ParquetMetaData>,
    width: Width,
) -> Result<LogBatch> {
    let picked = Picked::all(metadata, width);
    picked.check_shape(metadata, reader.len())?;
    let actions = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
    guarded(|| {
        let batch = match picked.groups.is_empty() {
            true => LogBatch::default(),
            false => to_batch(&read_rows(reader, metadata, &picked)?, width, is_ours(metadata))?,
        };
        rules::check_checkpoint(&batch)?;
        Ok(LogBatch { actions, ..batch })
    })
}

/// The byte ranges of the column chunks that a width needs, in order, those that touch as one.
///
/// ```no_run
/// # use lakebed_log::batch::{Footer, Width, parquet_footer, parquet_ranges};
/// # fn demo(tail: &[u8], size: u64) -> lakebed_log::error::Result<()> {
/// if let Footer::Ready(metadata) = parquet_footer(tail, size)? {
///     for range in parquet_ranges(&metadata, Width::Narrow) {
///         println!("fetch {range:?}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn parquet_ranges(metadata: &ParquetMetaData, width: Width) -> Vec<Range<u64>> {
    Picked::all(metadata, width).ranges(metadata)
}

/// The Parquet reader means to answer bad bytes with errors. Should it panic over some, the
/// caller's process is not to pay for it.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    decoded.unwrap_or_else(|_| Err(corrupt("the Parquet reader gave up on the file")))
}

/// The file again, once the library can be trusted with places in its dictionaries.
fn placed<R: ChunkReader + 'static>(
    reader: R,
    metadata: &ParquetMetaData,
    picked: &Picked,
) -> Result<R> {
    let file = Arc::new(reader);
    for group in picked.groups.iter().filter_map(|it| metadata.row_groups().get(*it)) {
        for column in picked.leaves.iter().filter_map(|it| group.columns().get(*it)) {
            places::check(column, &file).map_err(of_checkpoint)?;
        }
    }
    Arc::into_inner(file).ok_or_else(|| Error::internal("a checkpoint is held by its pages"))
}

/// The rows of the groups as batches of struct columns, so many rows each, all of them.
pub(super) fn slices<R: ChunkReader + 'static>(
    reader: R,
    metadata: &Arc<ParquetMetaData>,
    picked: &Picked,
    rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let bad = |it: parquet::errors::ParquetError| corrupt("the columns do not decode").because(it);
    let leaves = picked.leaves.iter().copied();
    let mask = ProjectionMask::leaves(metadata.file_metadata().schema_descr(), leaves);
    let reader = placed(reader, metadata, picked)?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(reader, arrow_metadata(metadata)?);
    let builder = builder.with_projection(mask).with_row_groups(picked.groups.clone());
    let mut batches = builder.with_batch_size(rows).build().map_err(bad)?;
    let (said, mut found) = (picked.rows(metadata), 0);
    Ok(std::iter::from_fn(move || match batches.next() {
        Some(batch) => {
            found += batch.as_ref().map_or(0, RecordBatch::num_rows);
            Some(batch.map_err(|it| corrupt("the columns do not decode").because(it)))
        }
        None if found == said => None,
        None => {
            let lacking = other_rows(said, found);
            found = said;
            Some(Err(lacking))
        }
    }))
}

fn other_rows(said: usize, found: usize) -> Error {
    corrupt(format!("the footer says {said} rows, {found} are there"))
}

/// The rows of the groups as one batch of struct columns.
pub(super) fn read_rows<R: ChunkReader + 'static>(
    reader: R,
    metadata: &Arc<ParquetMetaData>,
    picked: &Picked,
) -> Result<RecordBatch> {
    let bad = |it: parquet::errors::ParquetError| corrupt("the columns do not decode").because(it);
    let leaves = picked.leaves.iter().copied();
    let mask = ProjectionMask::leaves(metadata.file_metadata().schema_descr(), leaves);
    let rows = picked.rows(metadata);
    let reader = placed(reader, metadata, picked)?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(reader, arrow_metadata(metadata)?);
    let builder = builder.with_projection(mask).with_row_groups(picked.groups.clone());
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(bad)?;
    let schema = batches.schema();
    let batches: Vec<RecordBatch> = batches
        .collect::<Result<_, _>>()
        .map_err(|it| corrupt("the columns do not decode").because(it))?;
    let batch = match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => batch,
        Err(batches) => concat_batches(&schema, &batches)
            .map_err(|it| corrupt("the row groups do not fit together").because(it))?,
    };
    if batch.num_rows() != rows {
        return Err(other_rows(rows, batch.num_rows()));
    }
    Ok(batch)
}

/// How the columns become Arrow. The Arrow schema that some writers embed is not looked at: it
/// could ask for any type. Spark's timestamps of 96 bits come as microseconds, since nanoseconds of
/// 64 bits do not hold the year 9999.
pub(super) fn arrow_metadata(metadata: &Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata> {
    let bad = |it: parquet::errors::ParquetError| corrupt("the schema does not decode").because(it);
    let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(metadata.clone(), plain).map_err(bad)?;
    let columns = metadata.file_metadata().schema_descr().columns();
    if !columns.iter().any(|it| it.physical_type() == PhysicalType::INT96) {
        return Ok(plain);
    }
    let hint = ArrowReaderOptions::new().with_schema(in_microseconds(plain.schema()));
    Ok(ArrowReaderMetadata::try_new(metadata.clone(), hint).unwrap_or(plain))
}

fn in_microseconds(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(micro_field);
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

fn micro_field(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(micro_field).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

pub(super) fn to_batch(rows: &RecordBatch, width: Width, ours: bool) -> Result<LogBatch> {
    check_one_action_per_row(rows)?;
    let mut batch = LogBatch {
        actions: u64::try_from(rows.num_rows()).unwrap_or(u64::MAX),
        ..LogBatch::default()
    };
    if let Some(section) = section(rows, "add")? {
        batch.adds = Some(adds(&section, width, ours)?);
    }
    if let Some(section) = section(rows, "remove")? {
        batch.removes = Some(removes(&section)?);
    }
    if let Some(section) = section(rows, "protocol")? {
        batch.protocol = Some(protocol(&section)?);
    }
    if let Some(section) = section(rows, "metaData")? {
        batch.metadata = Some(metadata(&section)?);
    }
    if let Some(section) = section(rows, "txn")? {
        batch.txns = txns(&section)?;
    }
    if let Some(section) = section(rows, "domainMetadata")? {
        batch.domains = domains(&section)?;
    }
    if let Some(section) = section(rows, "checkpointMetadata")? {
        section.one()?;
        let version = section.required_longs("version")?.value(0);
        let tags = section.map_at("tags", 0)?;
        batch.checkpoint_metadata = Some(CheckpointMetadata { version, tags });
    }
    if let Some(section) = section(rows, "sidecar")? {
        batch.sidecars = sidecars(&section)?;
    }
    Ok(batch)
}

/// A row is one action: no two of the columns are filled in it.
pub(super) fn check_one_action_per_row(rows: &RecordBatch) -> Result<()> {
    let mut filled = BooleanBuffer::new_unset(rows.num_rows());
    for column in rows.columns() {
        let valid = match column.nulls() {
            Some(nulls) => nulls.inner().clone(),
            None => BooleanBuffer::new_set(rows.num_rows()),
        };
        if let Some(row) = (&filled & &valid).set_indices().next() {
            return Err(corrupt(format!("row {row} holds two actions")));
        }
        filled = &filled | &valid;
    }
    Ok(())
}

/// The rows that hold an action of one kind; `None` if there is none.
pub(super) fn section(rows: &RecordBatch, kind: &'static str) -> Result<Option<Section>> {
    let Some(column) = rows.column_by_name(kind) else {
        return Ok(None);
    };
    let Some(column) = column.as_struct_opt() else {
        return Err(corrupt(format!("column `{kind}` is not a struct")));
    };
    let Some(nulls) = column.nulls().filter(|it| it.null_count() > 0) else {
        return Ok(Some(Section::new(kind, column.clone())));
    };
    let valid = nulls.len() - nulls.null_count();
    let filled: StructArray = match nulls.valid_slices().next() {
        None => return Ok(None),
        Some((start, end)) if end - start == valid => column.slice(start, valid),
        Some(_) => filter(column, &arrow_array::BooleanArray::new(nulls.inner().clone(), None))
            .ok()
            .and_then(|it| it.as_struct_opt().cloned())
            .ok_or_else(|| corrupt(format!("column `{kind}` does not filter")))?,
    };
    Ok(Some(Section::new(kind, filled)))
}

/// Did we write it?
pub(super) fn is_ours(metadata: &ParquetMetaData) -> bool {
    metadata.file_metadata().created_by().is_some_and(|it| it.starts_with(OURS))
}

fn adds(section: &Section, width: Width, ours: bool) -> Result<Adds> {
    let vectors = section.vectors()?;
    let mut columns: Vec<ArrayRef> = vec![
        // A slash that we repeat was one in a commit of the engine that may.
        Arc::new(spelled(section.paths()?, ours)),
        Arc::new(section.required_maps("partitionValues")?),
        Arc::new(section.sizes("size")?),
        Arc::new(section.required_longs("modificationTime")?),
        Arc::new(section.required_booleans("dataChange")?),
        Arc::new(vectors),
        Arc::new(section.longs("baseRowId")?),
        Arc::new(section.longs("defaultRowCommitVersion")?),
        Arc::new(section.texts("clusteringProvider")?),
    ];
    let mut schema = Adds::schema(width);
    if width == Width::Wide {
        columns.push(Arc::new(trusted(section.texts("stats")?)));
        columns.push(Arc::new(section.maps("tags")?));
        if let Some(stats) = section.structure(STATS_PARSED)? {
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(Field::new(STATS_PARSED, stats.data_type().clone(), true)));
            schema = Arc::new(Schema::new(fields));
            columns.push(Arc::new(stats));
        }
    }
    let batch = RecordBatch::try_new(schema, columns)
        .map_err(|it| Error::internal("the columns of `add` do not fit").because(it))?;
    Adds::new(batch)
}

/// Statistics without those that are too long to be taken for a hint.
fn trusted(stats: StringArray) -> StringArray {
    let offsets = stats.value_offsets().windows(2);
    let is_long = |it: &[i32]| match it {
        [start, end] => usize::try_from(end - start).is_ok_and(|it| it > STATS_BYTES_MAX),
        _ => false,
    };
    if !offsets.clone().any(is_long) {
        return stats;
    }
    stats.iter().map(|it| it.filter(|it| it.len() <= STATS_BYTES_MAX)).collect()
}

fn removes(section: &Section) -> Result<Removes> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(section.paths()?),
        Arc::new(section.longs("deletionTimestamp")?),
        Arc::new(section.required_booleans("dataChange")?),
        Arc::new(section.booleans("extendedFileMetadata")?),
        Arc::new(section.maps("partitionValues")?),
        Arc::new(section.not_negative("size", section.longs("size")?)?),
        Arc::new(section.vectors()?),
        Arc::new(section.longs("baseRowId")?),
        Arc::new(section.longs("defaultRowCommitVersion")?),
    ];
    let batch = RecordBatch::try_new(Removes::schema(), columns)
        .map_err(|it| Error::internal("the columns of `remove` do not fit").because(it))?;
    Removes::new(batch)
}

fn protocol(section: &Section) -> Result<Protocol> {
    section.one()?;
    let protocol = Protocol::from_parts(
        section.required_ints("minReaderVersion")?.value(0),
        section.required_ints("minWriterVersion")?.value(0),
        section.list_at("readerFeatures", 0)?,
        section.list_at("writerFeatures", 0)?,
    );
    protocol.check()?;
    Ok(protocol)
}

fn metadata(section: &Section) -> Result<Metadata> {
    section.one()?;
    let text = |name: &str| Ok::<_, Error>(text_at(&section.texts(name)?, 0).map(str::to_string));
    let required = |name: &str| section.required_texts(name).map(|it| it.value(0).to_string());
    let format = section
        .structure("format")?
        .map(|it| Section::new("metaData.format", it))
        .ok_or_else(|| corrupt("`metaData.format` is missing"))?;
    let created = section.longs("createdTime")?;
    Ok(Metadata {
        id: required("id")?,
        name: text("name")?,
        description: text("description")?,
        format_provider: format.required_texts("provider")?.value(0).to_string(),
        format_options: format.not_null_map_at("options", 0)?,
        // As in a commit: a table may start without a schema.
        schema_string: text("schemaString")?.unwrap_or_default(),
        partition_columns: section
            .list_at("partitionColumns", 0)?
            .ok_or_else(|| corrupt("`metaData.partitionColumns` is null"))?,
        configuration: section.not_null_map_at("configuration", 0)?,
        created_time: created.is_valid(0).then(|| created.value(0)),
    })
}

fn txns(section: &Section) -> Result<Vec<SetTransaction>> {
    let apps = section.required_texts("appId")?;
    let versions = section.required_longs("version")?;
    let updated = section.longs("lastUpdated")?;
    let names = || (0..apps.len()).map(|row| apps.value(row));
    if let Some((_, app)) = rules::twice(names()) {
        return Err(corrupt(format!("two rows of `txn` for application `{}`", app.escape_debug())));
    }
    let txn = |(row, app): (usize, &str)| SetTransaction {
        app_id: app.to_string(),
        version: versions.value(row),
        last_updated: updated.is_valid(row).then(|| updated.value(row)),
    };
    Ok(names().enumerate().map(txn).collect())
}

fn domains(section: &Section) -> Result<Vec<DomainMetadata>> {
    let domains = section.required_texts("domain")?;
    let configurations = section.required_texts("configuration")?;
    let removed = section.required_booleans("removed")?;
    let names = || (0..domains.len()).map(|row| domains.value(row));
    if let Some((_, name)) = rules::twice(names()) {
        return Err(corrupt(format!("two rows of domain `{}`", name.escape_debug())));
    }
    let domain = |(row, name): (usize, &str)| DomainMetadata {
        domain: name.to_string(),
        configuration: configurations.value(row).to_string(),
        removed: removed.value(row),
    };
    Ok(names().enumerate().map(domain).collect())
}

fn sidecars(section: &Section) -> Result<Vec<Sidecar>> {
    let paths = section.paths()?;
    let sizes = section.sizes("sizeInBytes")?;
    let times = section.required_longs("modificationTime")?;
    let sidecar = |row: usize| {
        Ok(Sidecar {
            path: paths.value(row).to_string(),
            size_in_bytes: sizes.value(row),
            modification_time: times.value(row),
            tags: section.map_at("tags", row)?,
        })
    };
    (0..paths.len()).map(sidecar).collect()
}

fn text_at(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// Checks a descriptor, each part of which may be null in a file.
pub(super) fn check_vector(
    storage_type: Option<&str>,
    path: Option<&str>,
    offset: Option<i32>,
    size_in_bytes: Option<i32>,
    cardinality: Option<i64>,
) -> Result<()> {
    let null = || corrupt("a deletion vector lacks a part");
    let vector = VectorRow {
        storage_type: storage_type.ok_or_else(null)?.into(),
        path_or_inline_dv: path.ok_or_else(null)?.into(),
        offset,
        size_in_bytes: size_in_bytes.ok_or_else(null)?,
        cardinality: cardinality.ok_or_else(null)?,
    };
    vector.check().map_err(|it| corrupt(it.message()))
}
