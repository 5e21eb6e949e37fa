//! File actions as typed columns.
//!
//! The record batch is what others take and hand on; beside it stand its columns, downcast once, so
//! that no accessor can fail and none hides a search by name.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray,
    StructArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use crate::action::{Add, DeletionVector, NullableMap, Remove, unique_id};
use crate::batch::Width;
use crate::error::{Error, Result};

/// `add` actions as columns. Cheap to clone.
///
/// ```text
///   path Utf8, partitionValues Map<Utf8, Utf8?>, size Int64, modificationTime Int64,
///   dataChange Boolean, deletionVector Struct?, baseRowId Int64?,
///   defaultRowCommitVersion Int64?, clusteringProvider Utf8?        narrow ends here
///   stats Utf8?, tags Map<Utf8, Utf8?>?                             wide ends here
///   stats_parsed Struct?                                            if a checkpoint has it
/// ```
#[derive(Clone, Debug)]
pub struct Adds(Arc<AddColumns>);

#[derive(Debug)]
struct AddColumns {
    batch: RecordBatch,
    path: StringArray,
    partition_values: Strings,
    size: Int64Array,
    modification_time: Int64Array,
    data_change: BooleanArray,
    vectors: Vectors,
    base_row_id: Int64Array,
    default_row_commit_version: Int64Array,
    clustering_provider: StringArray,
    stats: Option<StringArray>,
    tags: Option<Strings>,
    stats_parsed: Option<StructArray>,
}

/// `remove` actions as columns. Cheap to clone.
///
/// ```text
///   path Utf8, deletionTimestamp Int64?, dataChange Boolean, extendedFileMetadata Boolean?,
///   partitionValues Map<Utf8, Utf8?>?, size Int64?, deletionVector Struct?, baseRowId Int64?,
///   defaultRowCommitVersion Int64?
/// ```
#[derive(Clone, Debug)]
pub struct Removes(Arc<RemoveColumns>);

#[derive(Debug)]
struct RemoveColumns {
    batch: RecordBatch,
    path: StringArray,
    deletion_timestamp: Int64Array,
    data_change: BooleanArray,
    extended_file_metadata: BooleanArray,
    partition_values: Strings,
    size: Int64Array,
    vectors: Vectors,
    base_row_id: Int64Array,
    default_row_commit_version: Int64Array,
}

/// A column of maps of strings.
#[derive(Debug)]
pub(crate) struct Strings {
    maps: MapArray,
    keys: StringArray,
    values: StringArray,
}

/// A column of deletion vectors.
#[derive(Debug)]
pub(super) struct Vectors {
    vectors: StructArray,
    storage_type: StringArray,
    path_or_inline_dv: StringArray,
    offset: Int32Array,
    size_in_bytes: Int32Array,
    cardinality: Int64Array,
}

/// Name of the struct column with statistics.
pub(super) const STATS_PARSED: &str = "stats_parsed";

static NARROW: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(add_fields(false))));
static WIDE: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(add_fields(true))));
static REMOVES: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(remove_fields())));
static VECTOR: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("storageType", DataType::Utf8, true),
        Field::new("pathOrInlineDv", DataType::Utf8, true),
        Field::new("offset", DataType::Int32, true),
        Field::new("sizeInBytes", DataType::Int32, true),
        Field::new("cardinality", DataType::Int64, true),
    ])
});
static ENTRIES: LazyLock<Arc<Field>> = LazyLock::new(|| {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    Arc::new(Field::new("key_value", DataType::Struct(entry), false))
});

fn add_fields(wide: bool) -> Vec<Field> {
    let mut fields = vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("partitionValues", map_type(), false),
        Field::new("size", DataType::Int64, false),
        Field::new("modificationTime", DataType::Int64, false),
        Field::new("dataChange", DataType::Boolean, false),
        Field::new("deletionVector", vector_type(), true),
        Field::new("baseRowId", DataType::Int64, true),
        Field::new("defaultRowCommitVersion", DataType::Int64, true),
        Field::new("clusteringProvider", DataType::Utf8, true),
    ];
    if wide {
        fields.push(Field::new("stats", DataType::Utf8, true));
        fields.push(Field::new("tags", map_type(), true));
    }
    fields
}

fn remove_fields() -> Vec<Field> {
    vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("deletionTimestamp", DataType::Int64, true),
        Field::new("dataChange", DataType::Boolean, false),
        Field::new("extendedFileMetadata", DataType::Boolean, true),
        Field::new("partitionValues", map_type(), true),
        Field::new("size", DataType::Int64, true),
        Field::new("deletionVector", vector_type(), true),
        Field::new("baseRowId", DataType::Int64, true),
        Field::new("defaultRowCommitVersion", DataType::Int64, true),
    ]
}

/// A map of strings, its entries named as Parquet names them.
pub(super) fn map_type() -> DataType {
    DataType::Map(ENTRIES.clone(), false)
}

/// The one field of a map: its entries.
pub(super) fn entries_field() -> Arc<Field> {
    ENTRIES.clone()
}

/// The fields of a deletion vector.
pub(super) fn vector_fields() -> Fields {
    VECTOR.clone()
}

fn vector_type() -> DataType {
    DataType::Struct(VECTOR.clone())
}

impl Adds {
    /// The columns of the width. [`Head`](Width::Head) has none and gives those of
    /// [`Narrow`](Width::Narrow).
    pub fn schema(width: Width) -> SchemaRef {
        match width {
            Width::Head | Width::Narrow => NARROW.clone(),
            Width::Wide => WIDE.clone(),
        }
    }

    /// Takes columns of that shape, narrow or wide, with `stats_parsed` last if there is one.
    ///
    /// # Errors
    ///
    /// `internal` if the shape is another.
    pub fn new(batch: RecordBatch) -> Result<Adds> {
        let wide = batch.num_columns() > NARROW.fields().len();
        let expected = if wide { &*WIDE } else { &*NARROW };
        let mut columns = Columns::new(&batch, expected)?;
        let columns = AddColumns {
            path: columns.text()?,
            partition_values: columns.map()?,
            size: columns.long()?,
            modification_time: columns.long()?,
            data_change: columns.boolean()?,
            vectors: columns.vectors()?,
            base_row_id: columns.long()?,
            default_row_commit_version: columns.long()?,
            clustering_provider: columns.text()?,
            stats: if wide { Some(columns.text()?) } else { None },
            tags: if wide { Some(columns.map()?) } else { None },
            stats_parsed: columns.stats_parsed()?,
            batch,
        };
        Ok(Adds(Arc::new(columns)))
    }

    /// Some of the rows, without a copy.
    pub(super) fn slice(&self, rows: std::ops::Range<usize>) -> Result<Adds> {
        check_rows(&rows, self.len())?;
        Adds::new(self.batch().slice(rows.start, rows.len()))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.0.batch.num_rows()
    }

    /// No rows?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns.
    pub fn batch(&self) -> &RecordBatch {
        &self.0.batch
    }

    /// Paths as in the log, encoded.
    pub fn path(&self) -> &StringArray {
        &self.0.path
    }

    /// Partition strings.
    pub fn partition_values(&self) -> &MapArray {
        &self.0.partition_values.maps
    }

    /// Bytes.
    pub fn size(&self) -> &Int64Array {
        &self.0.size
    }

    /// Milliseconds.
    pub fn modification_time(&self) -> &Int64Array {
        &self.0.modification_time
    }

    /// Not a mere rearrangement.
    pub fn data_change(&self) -> &BooleanArray {
        &self.0.data_change
    }

    /// Vectors.
    pub fn deletion_vector(&self) -> &StructArray {
        &self.0.vectors.vectors
    }

    /// Id of the first row, in tables that track rows.
    pub fn base_row_id(&self, row: usize) -> Option<i64> {
        long_at(&self.0.base_row_id, row)
    }

    /// The version that rows without one of their own were last written by.
    pub fn default_row_commit_version(&self, row: usize) -> Option<i64> {
        long_at(&self.0.default_row_commit_version, row)
    }

    /// JSON statistics; `None` if decoded narrow.
    pub fn stats(&self) -> Option<&StringArray> {
        self.0.stats.as_ref()
    }

    /// Struct statistics of a checkpoint, if it has them and was decoded wide. Their types are
    /// those of the file.
    pub fn stats_parsed(&self) -> Option<&StructArray> {
        self.0.stats_parsed.as_ref()
    }

    /// The string of one partition column at one row; the outer `None`: no such key.
    pub fn partition_value(&self, row: usize, name: &str) -> Option<Option<&str>> {
        self.0.partition_values.get(row, name)
    }

    /// The partition strings, to be looked up by row and name.
    pub(crate) fn partition_strings(&self) -> &Strings {
        &self.0.partition_values
    }

    /// The row's vector.
    pub fn vector(&self, row: usize) -> Option<DeletionVector> {
        self.0.vectors.get(row)
    }

    /// Unique id of the row's vector.
    pub fn dv_id(&self, row: usize) -> Option<String> {
        self.0.vectors.unique_id(row)
    }

    /// One row as a struct. Statistics that only a struct column holds are not in it.
    ///
    /// # Errors
    ///
    /// `internal` if there is no such row.
    pub fn get(&self, row: usize) -> Result<Add> {
        let it = &*self.0;
        check_row(row, self.len())?;
        Ok(Add {
            path: it.path.value(row).to_string(),
            partition_values: it.partition_values.all(row).unwrap_or_default(),
            size: it.size.value(row),
            modification_time: it.modification_time.value(row),
            data_change: it.data_change.value(row),
            stats: it.stats.as_ref().and_then(|it| text_at(it, row)).map(str::to_string),
            tags: it.tags.as_ref().and_then(|it| it.all(row)),
            deletion_vector: it.vectors.get(row),
            base_row_id: long_at(&it.base_row_id, row),
            default_row_commit_version: long_at(&it.default_row_commit_version, row),
            clustering_provider: text_at(&it.clustering_provider, row).map(str::to_string),
        })
    }
}

impl Removes {
    /// The columns.
    pub fn schema() -> SchemaRef {
        REMOVES.clone()
    }

    /// Takes columns of that shape.
    ///
    /// # Errors
    ///
    /// `internal` if the shape is another.
    pub fn new(batch: RecordBatch) -> Result<Removes> {
        let mut columns = Columns::new(&batch, &REMOVES)?;
        let columns = RemoveColumns {
            path: columns.text()?,
            deletion_timestamp: columns.long()?,
            data_change: columns.boolean()?,
            extended_file_metadata: columns.boolean()?,
            partition_values: columns.map()?,
            size: columns.long()?,
            vectors: columns.vectors()?,
            base_row_id: columns.long()?,
            default_row_commit_version: columns.long()?,
            batch,
        };
        Ok(Removes(Arc::new(columns)))
    }

    /// Some of the rows, without a copy.
    pub(super) fn slice(&self, rows: std::ops::Range<usize>) -> Result<Removes> {
        check_rows(&rows, self.len())?;
        Removes::new(self.batch().slice(rows.start, rows.len()))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.0.batch.num_rows()
    }

    /// No rows?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns.
    pub fn batch(&self) -> &RecordBatch {
        &self.0.batch
    }

    /// Paths as in the log, encoded.
    pub fn path(&self) -> &StringArray {
        &self.0.path
    }

    /// Bytes of the file, where the writer said so.
    pub fn size(&self) -> &Int64Array {
        &self.0.size
    }

    /// Milliseconds.
    pub fn deletion_timestamp(&self) -> &Int64Array {
        &self.0.deletion_timestamp
    }

    /// Not a mere rearrangement.
    pub fn data_change(&self) -> &BooleanArray {
        &self.0.data_change
    }

    /// Vectors.
    pub fn deletion_vector(&self) -> &StructArray {
        &self.0.vectors.vectors
    }

    /// The row's vector.
    pub fn vector(&self, row: usize) -> Option<DeletionVector> {
        self.0.vectors.get(row)
    }

    /// Unique id of the row's vector.
    pub fn dv_id(&self, row: usize) -> Option<String> {
        self.0.vectors.unique_id(row)
    }

    /// One row as a struct.
    ///
    /// # Errors
    ///
    /// `internal` if there is no such row.
    pub fn get(&self, row: usize) -> Result<Remove> {
        let it = &*self.0;
        check_row(row, self.len())?;
        let extended = &it.extended_file_metadata;
        Ok(Remove {
            path: it.path.value(row).to_string(),
            deletion_timestamp: long_at(&it.deletion_timestamp, row),
            data_change: it.data_change.value(row),
            extended_file_metadata: extended.is_valid(row).then(|| extended.value(row)),
            partition_values: it.partition_values.all(row),
            size: long_at(&it.size, row),
            deletion_vector: it.vectors.get(row),
            base_row_id: long_at(&it.base_row_id, row),
            default_row_commit_version: long_at(&it.default_row_commit_version, row),
        })
    }
}

impl Strings {
    pub(super) fn new(maps: MapArray) -> Result<Strings> {
        let keys = typed(maps.keys().as_string_opt::<i32>())?;
        let values = typed(maps.values().as_string_opt::<i32>())?;
        Ok(Strings { maps, keys, values })
    }

    /// The value at a key; the outer `None`: no such key.
    pub(crate) fn get(&self, row: usize, key: &str) -> Option<Option<&str>> {
        let mut entries = self.range(row)?;
        let at = entries.find(|at| text_at(&self.keys, *at) == Some(key))?;
        Some(text_at(&self.values, at))
    }

    /// All entries; `None` if the map is null.
    fn all(&self, row: usize) -> Option<NullableMap> {
        let owned = |at: usize| {
            let value = text_at(&self.values, at).map(str::to_string);
            text_at(&self.keys, at).map(|key| (key.to_string(), value))
        };
        Some(self.range(row)?.filter_map(owned).collect())
    }

    /// Where the entries of a row stand.
    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        if row >= self.maps.len() || self.maps.is_null(row) {
            return None;
        }
        let offsets = self.maps.value_offsets();
        let at = |index: usize| offsets.get(index).and_then(|it| usize::try_from(*it).ok());
        Some(at(row)?..at(row + 1)?)
    }
}

impl Vectors {
    pub(super) fn new(vectors: StructArray) -> Result<Vectors> {
        let mut children = Columns { columns: vectors.columns().iter() };
        Ok(Vectors {
            storage_type: children.text()?,
            path_or_inline_dv: children.text()?,
            offset: typed(children.next()?.as_primitive_opt::<Int32Type>())?,
            size_in_bytes: typed(children.next()?.as_primitive_opt::<Int32Type>())?,
            cardinality: children.long()?,
            vectors: vectors.clone(),
        })
    }

    fn unique_id(&self, row: usize) -> Option<String> {
        if row >= self.vectors.len() || self.vectors.is_null(row) {
            return None;
        }
        let storage_type = text_at(&self.storage_type, row).unwrap_or_default();
        let path = text_at(&self.path_or_inline_dv, row).unwrap_or_default();
        Some(unique_id(storage_type, path, self.offset_at(row)))
    }

    pub(super) fn get(&self, row: usize) -> Option<DeletionVector> {
        if row >= self.vectors.len() || self.vectors.is_null(row) {
            return None;
        }
        Some(DeletionVector {
            storage_type: text_at(&self.storage_type, row).unwrap_or_default().to_string(),
            path_or_inline_dv: text_at(&self.path_or_inline_dv, row)
                .unwrap_or_default()
                .to_string(),
            offset: self.offset_at(row),
            size_in_bytes: self.size_in_bytes.value(row),
            cardinality: self.cardinality.value(row),
        })
    }

    fn offset_at(&self, row: usize) -> Option<i32> {
        self.offset.is_valid(row).then(|| self.offset.value(row))
    }
}

/// Hands out the columns of a batch one after the other, downcast.
struct Columns<'a> {
    columns: std::slice::Iter<'a, ArrayRef>,
}

impl<'a> Columns<'a> {
    /// Checks that `batch` starts with the columns of `expected` and may have struct statistics
    /// after.
    fn new(batch: &'a RecordBatch, expected: &Schema) -> Result<Columns<'a>> {
        let schema = batch.schema_ref();
        let width = expected.fields().len();
        let mut pairs = expected.fields().iter().zip(schema.fields());
        let starts = schema.fields().len() >= width
            && pairs.all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        let rest = schema.fields().iter().skip(width);
        let ends = rest.clone().count() <= 1 && rest.clone().all(|it| it.name() == STATS_PARSED);
        if !starts || !ends {
            return Err(Error::internal(format!("file actions have the columns {schema}")));
        }
        let required = expected.fields().iter().zip(batch.columns());
        for (field, column) in required {
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::internal(format!("column `{}` has nulls", field.name())));
            }
        }
        Ok(Columns { columns: batch.columns().iter() })
    }

    fn next(&mut self) -> Result<&'a ArrayRef> {
        self.columns.next().ok_or_else(|| Error::internal("file actions lack a column"))
    }

    fn text(&mut self) -> Result<StringArray> {
        typed(self.next()?.as_string_opt::<i32>())
    }

    fn long(&mut self) -> Result<Int64Array> {
        typed(self.next()?.as_primitive_opt::<Int64Type>())
    }

    fn boolean(&mut self) -> Result<BooleanArray> {
        typed(self.next()?.as_boolean_opt())
    }

    fn map(&mut self) -> Result<Strings> {
        Strings::new(typed(self.next()?.as_map_opt())?)
    }

    fn vectors(&mut self) -> Result<Vectors> {
        Vectors::new(typed(self.next()?.as_struct_opt())?)
    }

    /// The struct statistics, if there is one more column.
    fn stats_parsed(&mut self) -> Result<Option<StructArray>> {
        match self.columns.next() {
            Some(column) => typed(column.as_struct_opt()).map(Some),
            None => Ok(None),
        }
    }
}

fn typed<T: Clone>(column: Option<&T>) -> Result<T> {
    column.cloned().ok_or_else(|| Error::internal("a column of file actions has another type"))
}

fn check_rows(rows: &std::ops::Range<usize>, all: usize) -> Result<()> {
    if rows.end < rows.start || all < rows.end {
        return Err(Error::internal(format!("rows {rows:?} of {all} file actions")));
    }
    Ok(())
}

fn check_row(row: usize, rows: usize) -> Result<()> {
    if row >= rows {
        return Err(Error::internal(format!("row {row} of {rows} file actions")));
    }
    Ok(())
}

fn text_at(column: &StringArray, row: usize) -> Option<&str> {
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}

fn long_at(column: &Int64Array, row: usize) -> Option<i64> {
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}
