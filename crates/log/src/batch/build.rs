//! Rows that borrow from a line of the log, appended to columns.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBufferBuilder;

use crate::action::{AddRow, Entries, RemoveRow, VectorRow};
use crate::batch::Width;
use crate::batch::columns::{Adds, Removes, vector_fields};
use crate::batch::rules::spelled;
use crate::error::{Code, Error, Result};

/// Builds [`Adds`] row by row.
pub(super) struct AddsBuilder {
    width: Width,
    rows: usize,
    bytes: Bytes,
    path: StringBuilder,
    partition_values: Maps,
    size: Int64Builder,
    modification_time: Int64Builder,
    data_change: BooleanBuilder,
    vectors: VectorsBuilder,
    base_row_id: Int64Builder,
    default_row_commit_version: Int64Builder,
    clustering_provider: StringBuilder,
    stats: StringBuilder,
    tags: Maps,
}

/// Builds [`Removes`] row by row.
pub(super) struct RemovesBuilder {
    rows: usize,
    bytes: Bytes,
    path: StringBuilder,
    deletion_timestamp: Int64Builder,
    data_change: BooleanBuilder,
    extended_file_metadata: BooleanBuilder,
    partition_values: Maps,
    size: Int64Builder,
    vectors: VectorsBuilder,
    base_row_id: Int64Builder,
    default_row_commit_version: Int64Builder,
}

impl AddsBuilder {
    /// Wide, with room for so many rows of so many bytes of text: what grows by and by is copied as
    /// often, and leaves holes behind.
    pub(super) fn with_room(rows: usize, text_bytes: usize) -> AddsBuilder {
        AddsBuilder {
            path: StringBuilder::with_capacity(rows, text_bytes / 4),
            size: Int64Builder::with_capacity(rows),
            modification_time: Int64Builder::with_capacity(rows),
            data_change: BooleanBuilder::with_capacity(rows),
            base_row_id: Int64Builder::with_capacity(rows),
            default_row_commit_version: Int64Builder::with_capacity(rows),
            stats: StringBuilder::with_capacity(rows, text_bytes / 8 * 5),
            ..AddsBuilder::new(Width::Wide)
        }
    }

    pub(super) fn new(width: Width) -> AddsBuilder {
        AddsBuilder {
            width,
            rows: 0,
            bytes: Bytes(0),
            path: texts(),
            partition_values: Maps::new(),
            size: longs(),
            modification_time: longs(),
            data_change: booleans(),
            vectors: VectorsBuilder::new(),
            base_row_id: longs(),
            default_row_commit_version: longs(),
            clustering_provider: texts(),
            stats: texts(),
            tags: Maps::new(),
        }
    }

    pub(super) fn append(&mut self, row: &AddRow<'_>) -> Result<()> {
        self.bytes.count(&row.path)?;
        self.path.append_value(&row.path);
        self.partition_values.append(Some(&row.partition_values), &mut self.bytes)?;
        self.size.append_value(row.size);
        self.modification_time.append_value(row.modification_time);
        self.data_change.append_value(row.data_change);
        self.vectors.append(row.deletion_vector.as_ref(), &mut self.bytes)?;
        self.base_row_id.append_option(row.base_row_id);
        self.default_row_commit_version.append_option(row.default_row_commit_version);
        self.clustering_provider.append_option(row.clustering_provider.as_deref());
        if self.width == Width::Wide {
            self.bytes.count(row.stats.as_deref().unwrap_or_default())?;
            self.stats.append_option(row.stats.as_deref());
            self.tags.append(row.tags.as_ref(), &mut self.bytes)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// `None` if nothing was appended; `rooted` as [`spelled`] has it.
    pub(super) fn finish(mut self, rooted: bool) -> Result<Option<Adds>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(spelled(self.path.finish(), rooted)),
            self.partition_values.finish(),
            Arc::new(self.size.finish()),
            Arc::new(self.modification_time.finish()),
            Arc::new(self.data_change.finish()),
            self.vectors.finish()?,
            Arc::new(self.base_row_id.finish()),
            Arc::new(self.default_row_commit_version.finish()),
            Arc::new(self.clustering_provider.finish()),
        ];
        if self.width == Width::Wide {
            columns.push(Arc::new(self.stats.finish()));
            columns.push(self.tags.finish());
        }
        let batch = RecordBatch::try_new(Adds::schema(self.width), columns).map_err(internal)?;
        Adds::new(batch).map(Some)
    }
}

impl RemovesBuilder {
    pub(super) fn new() -> RemovesBuilder {
        RemovesBuilder {
            rows: 0,
            bytes: Bytes(0),
            path: texts(),
            deletion_timestamp: longs(),
            data_change: booleans(),
            extended_file_metadata: booleans(),
            partition_values: Maps::new(),
            size: longs(),
            vectors: VectorsBuilder::new(),
            base_row_id: longs(),
            default_row_commit_version: longs(),
        }
    }

    pub(super) fn append(&mut self, row: &RemoveRow<'_>) -> Result<()> {
        self.bytes.count(&row.path)?;
        self.path.append_value(&row.path);
        self.deletion_timestamp.append_option(row.deletion_timestamp);
        self.data_change.append_value(row.data_change);
        self.extended_file_metadata.append_option(row.extended_file_metadata);
        self.partition_values.append(row.partition_values.as_ref(), &mut self.bytes)?;
        self.size.append_option(row.size);
        self.vectors.append(row.deletion_vector.as_ref(), &mut self.bytes)?;
        self.base_row_id.append_option(row.base_row_id);
        self.default_row_commit_version.append_option(row.default_row_commit_version);
        self.rows += 1;
        Ok(())
    }

    /// `None` if nothing was appended.
    pub(super) fn finish(mut self) -> Result<Option<Removes>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.path.finish()),
            Arc::new(self.deletion_timestamp.finish()),
            Arc::new(self.data_change.finish()),
            Arc::new(self.extended_file_metadata.finish()),
            self.partition_values.finish(),
            Arc::new(self.size.finish()),
            self.vectors.finish()?,
            Arc::new(self.base_row_id.finish()),
            Arc::new(self.default_row_commit_version.finish()),
        ];
        let batch = RecordBatch::try_new(Removes::schema(), columns).map_err(internal)?;
        Removes::new(batch).map(Some)
    }
}

/// How much text the columns hold. Their offsets have 32 bits, and a builder would panic past them.
struct Bytes(usize);

impl Bytes {
    fn count(&mut self, text: &str) -> Result<()> {
        self.0 = self.0.saturating_add(text.len());
        if i32::try_from(self.0).is_err() {
            let what = format!("the file actions of one log file hold over {} bytes", i32::MAX);
            return Err(Error::new(Code::LimitExceeded, what));
        }
        Ok(())
    }
}

/// A column of maps of strings.
struct Maps(MapBuilder<StringBuilder, StringBuilder>);

impl Maps {
    fn new() -> Maps {
        let names = MapFieldNames {
            entry: "key_value".to_string(),
            key: "key".to_string(),
            value: "value".to_string(),
        };
        Maps(MapBuilder::with_capacity(Some(names), texts(), texts(), 0))
    }

    fn append(&mut self, entries: Option<&Entries<'_>>, bytes: &mut Bytes) -> Result<()> {
        for (key, value) in entries.into_iter().flatten() {
            bytes.count(key)?;
            bytes.count(value.as_deref().unwrap_or_default())?;
            self.0.keys().append_value(key);
            self.0.values().append_option(value.as_deref());
        }
        self.0.append(entries.is_some()).map_err(internal)
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// A column of deletion vectors.
struct VectorsBuilder {
    storage_type: StringBuilder,
    path_or_inline_dv: StringBuilder,
    offset: Int32Builder,
    size_in_bytes: Int32Builder,
    cardinality: Int64Builder,
    valid: NullBufferBuilder,
}

impl VectorsBuilder {
    fn new() -> VectorsBuilder {
        VectorsBuilder {
            storage_type: texts(),
            path_or_inline_dv: texts(),
            offset: Int32Builder::with_capacity(0),
            size_in_bytes: Int32Builder::with_capacity(0),
            cardinality: longs(),
            valid: NullBufferBuilder::new(0),
        }
    }

    fn append(&mut self, row: Option<&VectorRow<'_>>, bytes: &mut Bytes) -> Result<()> {
        bytes.count(row.map_or("", |it| &it.path_or_inline_dv))?;
        self.storage_type.append_option(row.map(|it| &it.storage_type));
        self.path_or_inline_dv.append_option(row.map(|it| &it.path_or_inline_dv));
        self.offset.append_option(row.and_then(|it| it.offset));
        self.size_in_bytes.append_option(row.map(|it| it.size_in_bytes));
        self.cardinality.append_option(row.map(|it| it.cardinality));
        self.valid.append(row.is_some());
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.storage_type.finish()),
            Arc::new(self.path_or_inline_dv.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.size_in_bytes.finish()),
            Arc::new(self.cardinality.finish()),
        ];
        let vectors = StructArray::try_new(vector_fields(), columns, self.valid.finish());
        Ok(Arc::new(vectors.map_err(internal)?))
    }
}

// Most commits add one file: builders start empty, because their default room is for a thousand.

fn texts() -> StringBuilder {
    StringBuilder::with_capacity(0, 0)
}

fn longs() -> Int64Builder {
    Int64Builder::with_capacity(0)
}

fn booleans() -> BooleanBuilder {
    BooleanBuilder::with_capacity(0)
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal("file actions do not make up columns").because(error)
}
