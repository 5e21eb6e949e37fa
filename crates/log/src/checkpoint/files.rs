//! File actions: picked from the chunks of a state, ordered, and written in slices.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    Array, ArrayRef, BooleanArray, MapArray, RecordBatch, StringArray, StructArray, UInt32Array,
    new_null_array,
};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::{DataType, Field, Fields, SortOptions};
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use roaring::RoaringBitmap;

use super::parsed::{self, Values};
use super::{arrow_failed, field, structure};
use crate::action::DomainMetadata;
use crate::batch;
use crate::error::{Error, Result};
use crate::files::{Chunk, TombstoneChunk};
use crate::mutant::planted;
use crate::schema::{DataType as TableType, PrimitiveType, Schema};
use crate::state::Head;
use crate::stats::{Leaf, Reader, Stats, indexed};
use crate::time::Timestamp;
use crate::value::Value;

/// The domain that says by which columns files are clustered.
const CLUSTERING: &str = "delta.clustering";

/// Columns of `add` that are taken as they are, in order.
const ADD_COLUMNS: [&str; 9] = [
    "path",
    "partitionValues",
    "size",
    "modificationTime",
    "tags",
    "deletionVector",
    "baseRowId",
    "defaultRowCommitVersion",
    "clusteringProvider",
];

/// Columns of `remove`, in order. A tombstone has no statistics and no tags.
const REMOVE_COLUMNS: [&str; 8] = [
    "path",
    "deletionTimestamp",
    "extendedFileMetadata",
    "partitionValues",
    "size",
    "deletionVector",
    "baseRowId",
    "defaultRowCommitVersion",
];

/// How the files of a table are written: in which order, and with which statistics.
pub(super) struct Shape {
    /// A checkpoint has physical names throughout.
    schema: Schema,
    order: Vec<Leaf>,
    /// Physical names and types.
    partitions: Vec<(String, PrimitiveType)>,
    reader: Reader,
    as_json: bool,
    as_struct: bool,
}

impl Shape {
    pub(super) fn new(head: &Head) -> Result<Shape> {
        let columns = &head.metadata.partition_columns;
        let leaves = indexed(&head.schema, head.mapping, columns, &head.properties);
        let mut partitions = Vec::new();
        for name in columns {
            let field = head.schema.field(name);
            let Some(TableType::Primitive(of)) = field.map(|it| &it.data_type) else {
                return Err(Error::internal(format!("partition column `{name}` has no type")));
            };
            let physical = field.map_or(name.as_str(), |it| it.physical_name(head.mapping));
            partitions.push((physical.to_string(), *of));
        }
        Ok(Shape {
            schema: head.schema.physical(head.mapping),
            order: order(&leaves, &head.domains),
            partitions,
            reader: Reader::of(leaves),
            as_json: head.properties.checkpoint_write_stats_as_json,
            as_struct: head.properties.checkpoint_write_stats_as_struct,
        })
    }
}

/// Live files, in order.
pub(super) struct Adds<'a> {
    shape: &'a Shape,
    rows: Rows,
    /// JSON statistics by chunk, those that only a struct had included.
    stats: Vec<StringArray>,
    /// Typed partition values by row before ordering.
    partitions: Vec<(String, ArrayRef)>,
}

impl<'a> Adds<'a> {
    pub(super) fn new(shape: &'a Shape, chunks: &[Chunk]) -> Result<Adds<'a>> {
        let mut rows = Rows::default();
        let mut stats = Vec::new();
        let mut partitions = Partitions::new(shape)?;
        for chunk in chunks {
            partitions.append(&chunk.rows, &chunk.live)?;
            stats.push(json_stats(&chunk.rows, &chunk.live, &shape.schema)?);
            rows.push(chunk.rows.batch(), &ADD_COLUMNS, &chunk.live)?;
        }
        let partitions = partitions.finish();
        let minimums = minimums(&shape.order, &stats)?;
        let keys: Vec<&ArrayRef> = partitions.iter().map(|(_, it)| it).chain(&minimums).collect();
        rows.sort(&keys, &[])?;
        Ok(Adds { shape, rows, stats, partitions })
    }

    /// Of which chunk each row is, and which of its live rows, in order.
    pub(super) fn order(
        &self,
    ) -> impl DoubleEndedIterator<Item = (usize, usize)> + ExactSizeIterator + '_ {
        self.rows.order.iter().map(|it| (it.0, it.1))
    }

    /// Some of the rows as they came: `wanted` is asked for place and chunk of each. `chunks` are
    /// those that this was made of.
    pub(super) fn pick(
        &self,
        chunks: &[Chunk],
        wanted: impl Fn(usize, usize) -> bool,
    ) -> Vec<Chunk> {
        let order = self.rows.order.iter().enumerate();
        chosen(chunks, order.filter(|(at, it)| wanted(*at, it.0)).map(|it| it.1))
    }

    /// All of them, in pieces of so many rows, each as a set. `chunks` are those that this was made
    /// of.
    pub(super) fn pieces(&self, chunks: &[Chunk], rows: usize) -> Vec<Vec<Chunk>> {
        let pieces = self.rows.order.chunks(rows.max(1));
        pieces.map(|rows| chosen(chunks, rows.iter())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn fields(&self) -> Result<Fields> {
        Ok(self.rows(0..0)?.fields().clone())
    }

    /// Some of the files. `dataChange` is false: a checkpoint changes no rows.
    pub(super) fn rows(&self, range: Range<usize>) -> Result<StructArray> {
        let mut columns = self.rows.columns(&ADD_COLUMNS, range.clone())?;
        for (name, column) in &mut columns {
            if planted(12) && *name == "deletionVector" {
                *column = new_null_array(column.data_type(), column.len());
            }
        }
        let still: BooleanArray = range.clone().map(|_| Some(false)).collect();
        columns.insert(4, ("dataChange", Arc::new(still)));
        let sources: Vec<&dyn Array> = self.stats.iter().map(|it| it as &dyn Array).collect();
        let stats = self.rows.gather(&sources, &DataType::Utf8, range.clone())?;
        let stats = StringArray::from(stats.to_data());
        if self.shape.as_struct && !self.partitions.is_empty() {
            let global = self.rows.positions(range)?;
            let typed = self.partitions.iter().map(|(name, array)| {
                Ok((name.as_str(), take(array, &global, None).map_err(arrow_failed)?))
            });
            let typed = structure(typed.collect::<Result<_>>()?)?;
            columns.push(("partitionValues_parsed", Arc::new(typed)));
        }
        if self.shape.as_struct {
            let parsed = parsed::stats(&self.shape.reader, &stats)?;
            columns.push(("stats_parsed", Arc::new(parsed)));
        }
        if self.shape.as_json {
            columns.push(("stats", Arc::new(stats)));
        }
        structure(columns)
    }
}

/// Rows of an order of chunks, as they came.
fn chosen<'o>(
    chunks: &[Chunk],
    order: impl Iterator<Item = &'o (usize, usize, u32)>,
) -> Vec<Chunk> {
    let mut picked = vec![RoaringBitmap::new(); chunks.len()];
    for (chunk, row, _) in order {
        let row = u32::try_from(*row).ok();
        let row = row.zip(chunks.get(*chunk)).and_then(|(row, it)| it.live.select(row));
        if let Some((rows, row)) = picked.get_mut(*chunk).zip(row) {
            rows.insert(row);
        }
    }
    let left = chunks.iter().zip(picked).filter(|(_, rows)| !rows.is_empty());
    left.map(|(it, rows)| Chunk::new(Arc::clone(&it.rows), rows)).collect()
}

/// Those of some tombstones that have not expired by `now`.
pub(super) fn unexpired(chunk: &TombstoneChunk, head: &Head, now: Timestamp) -> TombstoneChunk {
    let retention = head.properties.tombstone_retention_millis();
    let deleted = chunk.rows.deletion_timestamp();
    let kept = |row: &u32| {
        let row = *row as usize;
        // One that does not say when it was deleted was deleted long ago.
        let since = if deleted.is_valid(row) { deleted.value(row) } else { 0 };
        !planted(13) && Timestamp::from_millis(since).plus_millis(retention) >= now
    };
    TombstoneChunk::new(Arc::clone(&chunk.rows), chunk.live.iter().filter(kept).collect())
}

/// Tombstones, by path and vector.
pub(super) struct Removes {
    rows: Rows,
}

impl Removes {
    pub(super) fn new(chunks: &[TombstoneChunk]) -> Result<Removes> {
        let mut rows = Rows::default();
        let mut vectors = StringBuilder::new();
        for chunk in chunks {
            chunk.live.iter().for_each(|row| vectors.append_option(chunk.rows.dv_id(row as usize)));
            rows.push(chunk.rows.batch(), &REMOVE_COLUMNS, &chunk.live)?;
        }
        let vectors: ArrayRef = Arc::new(vectors.finish());
        rows.sort(&[], &[&vectors])?;
        Ok(Removes { rows })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn fields(&self) -> Result<Fields> {
        Ok(self.rows(0..0)?.fields().clone())
    }

    pub(super) fn rows(&self, range: Range<usize>) -> Result<StructArray> {
        let mut columns = self.rows.columns(&REMOVE_COLUMNS, range.clone())?;
        let still: BooleanArray = range.map(|_| Some(false)).collect();
        columns.insert(2, ("dataChange", Arc::new(still)));
        structure(columns)
    }
}

/// Rows of several chunks in one order.
#[derive(Default)]
struct Rows {
    /// By chunk, then by column: the rows that are written, in the chunk's order.
    chunks: Vec<Vec<ArrayRef>>,
    /// Chunk, row in it, and position among all rows before ordering.
    order: Vec<(usize, usize, u32)>,
}

impl Rows {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn push(&mut self, batch: &RecordBatch, names: &[&str], live: &RoaringBitmap) -> Result<()> {
        let picks = UInt32Array::from_iter_values(live.iter());
        let all = live.len() == batch.num_rows() as u64;
        let columns = names.iter().map(|name| {
            let to = column_type(name);
            let Some(column) = batch.column_by_name(name) else {
                return Ok(new_null_array(&to, picks.len()));
            };
            let column = renamed(column, &to)?;
            if all { Ok(column) } else { take(&column, &picks, None).map_err(arrow_failed) }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        for row in 0..picks.len() {
            let position = u32::try_from(self.order.len())
                .map_err(|_| Error::internal("too many files for one checkpoint"))?;
            self.order.push((self.chunks.len(), row, position));
        }
        self.chunks.push(columns);
        Ok(())
    }

    /// By some keys, then by path, then by further keys. A key is an array of all rows.
    fn sort(&mut self, before: &[&ArrayRef], after: &[&ArrayRef]) -> Result<()> {
        let comparators = |keys: &[&ArrayRef]| -> Result<Vec<DynComparator>> {
            let compare = |it: &&ArrayRef| make_comparator(it, it, SortOptions::default());
            keys.iter().map(compare).collect::<Result<_, _>>().map_err(arrow_failed)
        };
        let (before, after) = (comparators(before)?, comparators(after)?);
        let by = |keys: &[DynComparator], a: u32, b: u32| {
            let mut each = keys.iter().map(|it| it(a as usize, b as usize));
            each.find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
        };
        let chunks = self.chunks.iter();
        let paths: Vec<Option<&StringArray>> =
            chunks.map(|it| it.first().and_then(|it| it.as_any().downcast_ref())).collect();
        let path = |chunk: usize, row: usize| {
            paths.get(chunk).copied().flatten().map_or("", |it| it.value(row))
        };
        self.order.sort_unstable_by(|&(ac, ar, a), &(bc, br, b)| {
            by(&before, a, b)
                .then_with(|| path(ac, ar).cmp(path(bc, br)))
                .then_with(|| by(&after, a, b))
        });
        Ok(())
    }

    /// The rows of `range`, column by column.
    fn columns<'n>(
        &self,
        names: &[&'n str],
        range: Range<usize>,
    ) -> Result<Vec<(&'n str, ArrayRef)>> {
        let column = |(at, name): (usize, &&'n str)| {
            let sources = self.chunks.iter().filter_map(|it| it.get(at).map(AsRef::as_ref));
            let sources: Vec<&dyn Array> = sources.collect();
            Ok((*name, self.gather(&sources, &column_type(name), range.clone())?))
        };
        names.iter().enumerate().map(column).collect()
    }

    /// The rows of `range` from one array per chunk.
    fn gather(
        &self,
        sources: &[&dyn Array],
        to: &DataType,
        range: Range<usize>,
    ) -> Result<ArrayRef> {
        if sources.is_empty() || range.is_empty() {
            return Ok(new_null_array(to, 0));
        }
        let picks = self.order.get(range).unwrap_or_default();
        let picks: Vec<(usize, usize)> =
            picks.iter().map(|(chunk, row, _)| (*chunk, *row)).collect();
        interleave(sources, &picks).map_err(arrow_failed)
    }

    fn positions(&self, range: Range<usize>) -> Result<UInt32Array> {
        let order = self.order.get(range).unwrap_or_default();
        Ok(UInt32Array::from_iter_values(order.iter().map(|(.., it)| *it)))
    }
}

/// JSON statistics of the live rows of a chunk. Where a checkpoint had only the struct form, they
/// are printed from it, so that a reader of either form finds them.
fn json_stats(rows: &batch::Adds, live: &RoaringBitmap, schema: &Schema) -> Result<StringArray> {
    let json = rows.stats();
    let parsed = rows.stats_parsed();
    if let (Some(json), None) = (json, parsed) {
        let picks = UInt32Array::from_iter_values(live.iter());
        let all = picks.len() == json.len();
        if all {
            return Ok(json.clone());
        }
        let texts = take(json, &picks, None).map_err(arrow_failed)?;
        return Ok(StringArray::from(texts.to_data()));
    }
    let mut texts = StringBuilder::new();
    for row in live {
        let row = row as usize;
        let text = json.filter(|it| it.is_valid(row)).map(|it| it.value(row));
        match (text, parsed.filter(|it| it.is_valid(row))) {
            (Some(text), _) => texts.append_value(text),
            (None, Some(parsed)) => {
                let stats = Stats::from_struct(parsed, row, schema, None);
                texts.append_value(stats.to_json());
            }
            (None, None) => texts.append_null(),
        }
    }
    Ok(texts.finish())
}

/// By what files are ordered within a partition: the clustering columns, or the first column with
/// bounds.
fn order(leaves: &[Leaf], domains: &BTreeMap<String, DomainMetadata>) -> Vec<Leaf> {
    let named = |path: &Vec<String>| leaves.iter().find(|it| it.names == *path && it.has_bounds());
    let clustered = domains.get(CLUSTERING).and_then(|it| clustering(&it.configuration));
    let clustered: Vec<Leaf> =
        clustered.iter().flatten().filter_map(|it| named(it).cloned()).collect();
    match clustered.is_empty() {
        true => leaves.iter().find(|it| it.has_bounds()).cloned().into_iter().collect(),
        false => clustered,
    }
}

/// Paths of physical names; `None` for a configuration that makes no sense: it is a hint.
fn clustering(configuration: &str) -> Option<Vec<Vec<String>>> {
    let parsed: serde_json::Value = serde_json::from_str(configuration).ok()?;
    let columns = parsed.get("clusteringColumns")?.as_array()?;
    let names = |it: &serde_json::Value| {
        let names = it.as_array()?.iter();
        names.map(|it| it.as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
    };
    columns.iter().map(names).collect()
}

/// The order within a partition: for each leaf one array over all rows.
fn minimums(leaves: &[Leaf], stats: &[StringArray]) -> Result<Vec<ArrayRef>> {
    let mut all = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let Some(of) = leaf.of else { continue };
        let Some(mut values) = Values::new(of)? else { continue };
        stats.iter().for_each(|texts| parsed::minimums(leaf, texts, &mut values));
        all.push(values.finish());
    }
    Ok(all)
}

/// Typed partition values being made.
struct Partitions {
    columns: Vec<(String, PrimitiveType, Values)>,
}

impl Partitions {
    fn new(shape: &Shape) -> Result<Partitions> {
        let mut columns = Vec::new();
        for (name, of) in &shape.partitions {
            if let Some(values) = Values::new(*of)? {
                columns.push((name.clone(), *of, values));
            }
        }
        Ok(Partitions { columns })
    }

    fn append(&mut self, rows: &batch::Adds, live: &RoaringBitmap) -> Result<()> {
        for (name, of, values) in &mut self.columns {
            for row in live {
                let text = rows.partition_value(row as usize, name).flatten();
                let value = match text {
                    Some(text) => Value::from_partition(text, *of)
                        .map_err(|it| it.at(format!("partition column `{name}`")))?,
                    None => None,
                };
                values.append(value);
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<(String, ArrayRef)> {
        let finish = |(name, _, mut values): (String, _, Values)| (name, values.finish());
        self.columns.into_iter().map(finish).collect()
    }
}

/// How a column is declared in the file. Names within maps are those of the Parquet standard.
fn column_type(name: &str) -> DataType {
    match name {
        "partitionValues" | "tags" => {
            let entry: Fields = vec![
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Utf8, true),
            ]
            .into();
            let entries = Field::new("key_value", DataType::Struct(entry), false);
            DataType::Map(Arc::new(entries), false)
        }
        "deletionVector" => {
            let fields: Fields = vec![
                field("storageType", DataType::Utf8),
                field("pathOrInlineDv", DataType::Utf8),
                field("offset", DataType::Int32),
                field("sizeInBytes", DataType::Int32),
                field("cardinality", DataType::Int64),
            ]
            .into();
            DataType::Struct(fields)
        }
        "path" | "clusteringProvider" => DataType::Utf8,
        "extendedFileMetadata" => DataType::Boolean,
        _ => DataType::Int64,
    }
}

/// The same values under the names and nullability of `to`.
fn renamed(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let unfit = || Error::internal(format!("a column is {}, not {to}", array.data_type()));
    match to {
        DataType::Map(entries_field, sorted) => {
            let map: &MapArray = array.as_any().downcast_ref().ok_or_else(unfit)?;
            let (_, offsets, entries, nulls, _) = map.clone().into_parts();
            let DataType::Struct(fields) = entries_field.data_type() else { return Err(unfit()) };
            let (_, arrays, valid) = entries.into_parts();
            let entries =
                StructArray::try_new(fields.clone(), arrays, valid).map_err(arrow_failed)?;
            let map = MapArray::try_new(entries_field.clone(), offsets, entries, nulls, *sorted);
            Ok(Arc::new(map.map_err(arrow_failed)?))
        }
        DataType::Struct(fields) => {
            let from: &StructArray = array.as_any().downcast_ref().ok_or_else(unfit)?;
            let column = |field: &Arc<Field>| match from.column_by_name(field.name()) {
                Some(it) => renamed(it, field.data_type()),
                None => Ok(new_null_array(field.data_type(), from.len())),
            };
            let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
            let renamed = StructArray::try_new(fields.clone(), columns, from.nulls().cloned());
            Ok(Arc::new(renamed.map_err(arrow_failed)?))
        }
        _ => Err(unfit()),
    }
}
