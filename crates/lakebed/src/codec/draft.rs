//! What is decided about a file once its metadata is there, before the first row group is fetched.
//!
//! ```text
//!   metadata --> columns --> row groups that can match --> page index --> rows that can match
//!                                                                |
//!                                          rows of a batch, bytes of a row group
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::SchemaRef;
use lakebed_log::error::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Encoding, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::index::{Index, Wanted};
use super::label::Labels;
use super::late::{self, Late};
use super::logical::{self, Choice};
use super::pick::Picks;
use super::prune::Pruner;
use super::reader::{DEPTH, Group, bare, corrupt, damaged};
use super::sparse::Sparse;
use super::{Source, group, wanted};

/// A batch has about this many bytes at most, or one row.
const BATCH_BYTES: usize = 16 << 20;
/// Encoded pages of one column that are held at once, as a rule.
const PAGE_BYTES: u64 = 1 << 20;
/// Where fewer bytes are read, no page index is looked for.
const INDEX_BYTES_MIN: u64 = if cfg!(test) { 1 } else { 1 << 20 };

/// What the metadata says; made on a compute thread.
pub(super) struct Draft {
    pub(super) inferred: ArrowReaderMetadata,
    pub(super) hinted: ArrowReaderMetadata,
    pub(super) choice: Choice,
    /// The table's columns.
    pub(super) table: SchemaRef,
    pub(super) groups: Vec<Group>,
    /// Page indexes that are of use.
    pub(super) wanted: Vec<Wanted>,
}

/// All that there is to decide before the first row group is fetched.
pub(super) struct Plan {
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) choice: Choice,
    pub(super) index: Index,
    pub(super) table: SchemaRef,
    pub(super) full: SchemaRef,
    pub(super) groups: Vec<Group>,
    pub(super) late: Option<Late>,
    pub(super) batch_rows: usize,
    pub(super) row_bytes: usize,
    /// Most bytes that one row group takes while it is read.
    pub(super) group_bytes: u64,
    /// How many of them are kept of the filter's columns, until it is known which rows match.
    kept_bytes: u64,
}

impl Draft {
    pub(super) fn new(metadata: ParquetMetaData, source: &Source) -> Result<Draft> {
        let metadata = Arc::new(metadata);
        let table = source.schema.to_arrow();
        let inferred =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), bare()).map_err(damaged)?;
        let labels = Labels::new(&source.schema, source.mapping);
        let choice = logical::choose(inferred.schema(), inferred.parquet_schema(), labels)?;
        let hinted = bare().with_schema(Arc::new(choice.schema.clone()));
        let hinted =
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), hinted).map_err(damaged)?;

        if choice.decoded.is_empty() {
            check_counts(&metadata)?;
        }
        let pruner = Pruner::new(source, &inferred, &choice, &table);
        let (mut groups, mut first) = (Vec::new(), 0u64);
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let odd = || corrupt(format!("row group {at} has {} rows", group.num_rows()));
            let rows = usize::try_from(group.num_rows()).map_err(|_| odd())?;
            let end = first.checked_add(rows as u64).ok_or_else(odd)?;
            let skips = || pruner.as_ref().is_some_and(|it| it.skips(group));
            if wanted::wants(source, first..end) && !skips() {
                ranges(group, choice.leaves(), source.size)?;
                groups.push(Group { at, rows, first, picks: None });
            }
            first = end;
        }
        wanted::check(source, first)?;
        let bounded: Vec<usize> = pruner.iter().flat_map(Pruner::leaves).collect();
        let mut draft = Draft { inferred, hinted, choice, table, groups, wanted: Vec::new() };
        draft.want_index(source, &bounded);
        Ok(draft)
    }

    /// The page index pays if it can save much; of flat columns only, whose pages say how many rows
    /// they have.
    fn want_index(&mut self, source: &Source, bounded: &[usize]) {
        let metadata = self.hinted.metadata();
        let groups = self.groups.iter().filter_map(|it| metadata.row_groups().get(it.at));
        let bytes = groups.map(|it| held_bytes(it, self.choice.leaves()));
        let few = bytes.fold(0, u64::saturating_add) < INDEX_BYTES_MIN;
        if few || (bounded.is_empty() && source.only.is_none() && source.rows.is_none()) {
            return;
        }
        let parquet = self.hinted.parquet_schema();
        for group in &self.groups {
            for leaf in self.choice.leaves() {
                let column = parquet.columns().get(leaf);
                if column.is_some_and(|it| it.path().parts().len() == 1 && it.max_rep_level() == 0)
                {
                    let bounds = bounded.contains(&leaf);
                    self.wanted.push(Wanted { group: group.at, leaf, bounds });
                }
            }
        }
    }

    pub(super) fn finish(self, source: &Source, bytes: &Sparse) -> Result<Plan> {
        let Draft { inferred, hinted, choice, table, mut groups, wanted } = self;
        let metadata = Arc::clone(hinted.metadata());
        let index = Index::decode(&metadata, &wanted, bytes);
        if let Some(pruner) = Pruner::new(source, &inferred, &choice, &table) {
            for group in groups.iter_mut().filter(|_| !wanted.is_empty()) {
                let of = metadata.row_groups().get(group.at);
                group.picks = of.map(|it| pruner.rows(group.at, it, &index));
            }
            groups.retain(|it| !it.picks.as_ref().is_some_and(Picks::is_empty));
        }
        let late = Late::new(source, &choice);

        let chosen = || groups.iter().filter_map(|it| metadata.row_groups().get(it.at));
        let widths = chosen().map(|it| row_bytes(it, choice.leaves()));
        let width = widths.collect::<Result<Vec<usize>>>()?.into_iter().max().unwrap_or(0);
        let rows = source.batch_rows.max(1);
        let batch_rows = BATCH_BYTES.checked_div(width).unwrap_or(rows).clamp(1, rows);
        let batch_rows = match chosen().any(|it| shares_prefixes(it, choice.leaves())) {
            true => batch_rows.min(1024),
            false => batch_rows,
        };
        let longest = groups.iter().map(|it| it.rows).max().unwrap_or(0);
        let sifted = wanted::sifts(source);
        let decoded = group::decoded_bytes(width, batch_rows.min(longest), DEPTH, sifted);
        let held = chosen().map(|it| held_bytes(it, choice.leaves())).max().unwrap_or(0);
        // No more is kept than there is in all.
        let all = width.saturating_mul(longest).min(late::KEPT_BYTES) as u64;
        let kept_bytes = late.as_ref().map_or(0, |_| all);
        let group_bytes = held.saturating_add(decoded).saturating_add(kept_bytes);
        let full = wanted::shape(&table);
        let table = if source.positions { Arc::clone(&full) } else { table };
        let (metadata, row_bytes) = (hinted, width);
        let plan = Plan {
            metadata,
            choice,
            index,
            table,
            full,
            groups,
            late,
            batch_rows,
            row_bytes,
            group_bytes,
            kept_bytes,
        };
        plan.check_types()?;
        Ok(plan)
    }
}

impl Plan {
    /// Where there is no room to keep the filter's columns, all columns are decoded side by side.
    pub(super) fn within(self, bytes: u64) -> Plan {
        if self.group_bytes <= bytes {
            return self;
        }
        let group_bytes = self.group_bytes.saturating_sub(self.kept_bytes);
        Plan { late: None, kept_bytes: 0, group_bytes, ..self }
    }

    /// Types that do not fit are found before the first row group is fetched.
    fn check_types(&self) -> Result<()> {
        let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), self.choice.leaves());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Sparse::new(0, Vec::new(), None),
            self.metadata.clone(),
        );
        let reader = reader.with_projection(mask).with_row_groups(Vec::new()).build();
        let empty = RecordBatch::new_empty(reader.map_err(damaged)?.schema());
        let places = self.choice.places();
        let empty = self.choice.labels.name(empty, &places)?;
        logical::convert(&empty, &places, &self.full).map(|_| ())
    }
}

/// Where no column is decoded the rows are those that the footer counts. It counts them in several
/// places, which must agree.
fn check_counts(metadata: &ParquetMetaData) -> Result<()> {
    let (said, mut total) = (metadata.file_metadata().num_rows(), 0i64);
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        for (leaf, column) in group.columns().iter().enumerate() {
            let values = column.num_values();
            let fits = match column.column_descr().max_rep_level() {
                0 => values == rows,
                _ => rows <= values,
            };
            if !fits {
                let what = format!("row group {at} has {rows} rows, its column {leaf} {values}");
                return Err(corrupt(what));
            }
        }
        total = total.saturating_add(rows);
    }
    if total != said {
        return Err(corrupt(format!("it has {said} rows, its row groups {total}")));
    }
    Ok(())
}

/// Where the chosen columns of a row group are; in the file, or it is `corrupt-data`.
pub(super) fn ranges(
    group: &RowGroupMetaData,
    leaves: impl Iterator<Item = usize>,
    size: u64,
) -> Result<Vec<Range<u64>>> {
    let one = |leaf| {
        let column = group.columns().get(leaf);
        range(column.ok_or_else(|| outside(leaf))?, leaf, size)
    };
    leaves.map(one).collect()
}

/// Where a column chunk is.
pub(super) fn range(column: &ColumnChunkMetaData, leaf: usize, size: u64) -> Result<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let len = u64::try_from(column.compressed_size());
    let found = u64::try_from(start).ok().zip(len.ok());
    let end = found.and_then(|(start, len)| start.checked_add(len)).filter(|it| *it <= size);
    found.zip(end).map(|((start, _), end)| start..end).ok_or_else(|| outside(leaf))
}

fn outside(leaf: usize) -> Error {
    corrupt(format!("column {leaf} is outside"))
}

/// About how many bytes a row takes once decoded.
fn row_bytes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> Result<usize> {
    let leaf = |leaf: usize| {
        let column = group.columns().get(leaf).ok_or_else(|| outside(leaf))?;
        let negative = |_| corrupt(format!("column {leaf} has {} values", column.num_values()));
        let values = u64::try_from(column.num_values()).map_err(negative)?;
        let fixed = match column.column_type() {
            Physical::BOOLEAN => 1,
            Physical::INT32 | Physical::FLOAT => 4,
            Physical::INT64 | Physical::DOUBLE | Physical::INT96 => 8,
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => 16,
        };
        let text = match column.column_type() {
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => column
                .unencoded_byte_array_data_bytes()
                .unwrap_or(0)
                .max(column.uncompressed_size()),
            _ => 0,
        };
        let text = u64::try_from(text).map_err(|_| outside(leaf))?;
        Ok(values.saturating_mul(fixed).saturating_add(text))
    };
    let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    let bytes = leaves.map(|it| leaf(it).map(|it: u64| it / rows));
    let bytes = bytes.collect::<Result<Vec<u64>>>()?.into_iter().fold(0, u64::saturating_add);
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Does a column store values as changes to the one before? A few bytes may then stand for long
/// values, which the decoder spells out.
fn shares_prefixes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> bool {
    let mut columns = leaves.filter_map(|it| group.columns().get(it));
    columns.any(|it| it.encodings_mask().is_set(Encoding::DELTA_BYTE_ARRAY))
}

/// Bytes of a row group that are in memory while it is decoded: what was fetched, and pages.
fn held_bytes(group: &RowGroupMetaData, leaves: impl Iterator<Item = usize>) -> u64 {
    let columns = leaves.filter_map(|it| group.columns().get(it));
    let bytes = columns.map(|it| {
        let fetched = u64::try_from(it.compressed_size()).unwrap_or(0);
        let pages = u64::try_from(it.uncompressed_size()).unwrap_or(0);
        fetched.saturating_add(pages.min(2 * PAGE_BYTES))
    });
    bytes.fold(0, u64::saturating_add)
}
