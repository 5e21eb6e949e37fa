//! The page index: where the pages of a column are, and what is in them.
//!
//! It is a hint. What does not hold together is left aside, and the column is read whole; what
//! does is checked against the pages that are read. So an index can make a read fetch more than it
//! needs, and never yield other rows.
//!
//! ```text
//!   column chunk   | dictionary | page | page | page | page |
//!   rows                        0      900    2000   3100   4000
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use lakebed_log::error::Result;
use lakebed_log::thrift;
use parquet::basic::Type as Physical;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, PageIndexPolicy, ParquetColumnIndex, ParquetMetaData,
    ParquetMetaDataReader, ParquetOffsetIndex, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::pick::Picks;
use super::sparse::Sparse;

/// Indexes of more bytes than this are not read.
const INDEX_BYTES_MAX: u64 = 8 << 20;

/// What the indexes of some columns say, by row group and leaf column.
#[derive(Debug, Default)]
pub(super) struct Index {
    pages: BTreeMap<(usize, usize), Arc<Pages>>,
    bounds: BTreeMap<(usize, usize), Bounds>,
}

/// Pages of one column chunk.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    /// What comes before the first page: the dictionary, if there is one.
    pub(super) head: Range<u64>,
    /// Where each is in the file.
    pub(super) bytes: Vec<Range<u64>>,
    /// Which rows each has, counted from the first of the row group.
    pub(super) rows: Vec<Range<usize>>,
}

/// What the pages of one column chunk hold; as the library wants to have it.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) columns: ParquetColumnIndex,
    pub(super) offsets: ParquetOffsetIndex,
    pub(super) pages: ColumnIndexMetaData,
}

/// A column of a row group whose index is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) group: usize,
    pub(super) leaf: usize,
    /// Its bounds, too.
    pub(super) bounds: bool,
}

impl Index {
    pub(super) fn pages(&self, group: usize, leaf: usize) -> Option<&Arc<Pages>> {
        self.pages.get(&(group, leaf))
    }

    pub(super) fn bounds(&self, group: usize, leaf: usize) -> Option<&Bounds> {
        self.bounds.get(&(group, leaf))
    }

    /// Where the wanted indexes are in the file; nothing if they are too large.
    pub(super) fn ranges(
        metadata: &ParquetMetaData,
        wanted: &[Wanted],
        size: u64,
    ) -> Vec<Range<u64>> {
        let mut out = Vec::new();
        for it in wanted {
            let Some(column) = column(metadata, *it) else { continue };
            out.extend(offset_range(column, size));
            out.extend(bounds_range(column, size).filter(|_| it.bounds));
        }
        let total = out.iter().map(|it| it.end - it.start).fold(0, u64::saturating_add);
        if INDEX_BYTES_MAX < total { Vec::new() } else { out }
    }

    /// Decodes and checks the wanted indexes as far as their bytes are there.
    pub(super) fn decode(metadata: &ParquetMetaData, wanted: &[Wanted], file: &Sparse) -> Index {
        let mut index = Index::default();
        for it in wanted {
            let size = parquet::file::reader::Length::len(file);
            let Some(column) = column(metadata, *it) else { continue };
            let Some(group) = metadata.row_groups().get(it.group) else { continue };
            let Some(decoded) = offsets(metadata, column, file, size) else { continue };
            let Some(pages) = Pages::new(&decoded, column, group, size) else { continue };
            if it.bounds
                && let Some(bounds) = bounds(metadata, column, file, size)
                && usize::try_from(bounds.num_pages()).ok() == Some(pages.rows.len())
            {
                let mut columns = vec![ColumnIndexMetaData::NONE; it.leaf];
                columns.push(bounds.clone());
                let mut offsets = vec![nowhere(); it.leaf];
                offsets.push(decoded);
                let bounds =
                    Bounds { columns: vec![columns], offsets: vec![offsets], pages: bounds };
                index.bounds.insert((it.group, it.leaf), bounds);
            }
            index.pages.insert((it.group, it.leaf), Arc::new(pages));
        }
        index
    }
}

impl Pages {
    /// `None` if the pages do not follow one another through the whole of the chunk, or their rows
    /// through the whole of the row group.
    fn new(
        index: &OffsetIndexMetaData,
        column: &ColumnChunkMetaData,
        group: &RowGroupMetaData,
        size: u64,
    ) -> Option<Pages> {
        let chunk = chunk(column, size)?;
        let total = usize::try_from(group.num_rows()).ok()?;
        let locations = index.page_locations();
        let starts = locations.iter().map(|it| usize::try_from(it.first_row_index).ok());
        let starts = starts.collect::<Option<Vec<usize>>>()?;
        let ends = starts.iter().skip(1).copied().chain([total]);
        let rows: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect();
        let place = |it: &parquet::file::page_index::offset_index::PageLocation| {
            let start = u64::try_from(it.offset).ok()?;
            let len = u64::try_from(it.compressed_page_size).ok()?;
            Some(start..start.checked_add(len)?)
        };
        let bytes = locations.iter().map(place).collect::<Option<Vec<_>>>()?;
        let (first, last) = (bytes.first()?.start, bytes.last()?.end);
        let sound = *starts.first()? == 0
            && rows.iter().all(|it| it.start < it.end)
            && bytes.iter().all(|it| it.start < it.end)
            && bytes.iter().zip(bytes.iter().skip(1)).all(|(a, b)| a.end == b.start)
            && chunk.start <= first
            && last == chunk.end;
        sound.then_some(Pages { head: chunk.start..first, bytes, rows })
    }

    /// Which pages have some of these rows, ascending.
    pub(super) fn of(&self, picks: &Picks) -> Vec<usize> {
        let mut out: Vec<usize> = Vec::new();
        for range in picks.ranges() {
            let first = self.rows.partition_point(|it| it.end <= range.start);
            let first = out.last().map_or(first, |it| first.max(it + 1));
            let rest = self.rows.iter().enumerate().skip(first);
            out.extend(rest.take_while(|it| it.1.start < range.end).map(|it| it.0));
        }
        out
    }
}

fn nowhere() -> OffsetIndexMetaData {
    parquet::file::metadata::OffsetIndexBuilder::new().build()
}

fn column(metadata: &ParquetMetaData, wanted: Wanted) -> Option<&ColumnChunkMetaData> {
    metadata.row_groups().get(wanted.group)?.columns().get(wanted.leaf)
}

fn chunk(column: &ColumnChunkMetaData, size: u64) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    part(Some(start), Some(column.compressed_size()), size)
}

fn offset_range(column: &ColumnChunkMetaData, size: u64) -> Option<Range<u64>> {
    part(column.offset_index_offset(), column.offset_index_length().map(i64::from), size)
}

fn bounds_range(column: &ColumnChunkMetaData, size: u64) -> Option<Range<u64>> {
    part(column.column_index_offset(), column.column_index_length().map(i64::from), size)
}

fn part(start: Option<i64>, len: Option<i64>, size: u64) -> Option<Range<u64>> {
    let start = u64::try_from(start?).ok()?;
    let end = start.checked_add(u64::try_from(len?).ok()?)?;
    (start < end && end <= size).then_some(start..end)
}

/// Are the bytes there, and count they no more than they hold?
fn check(file: &Sparse, range: Range<u64>, walk: fn(&[u8]) -> Result<usize>) -> Option<()> {
    let bytes = file.range(range.start, usize::try_from(range.end - range.start).ok()?)?;
    walk(&bytes).ok().map(drop)
}

fn offsets(
    metadata: &ParquetMetaData,
    column: &ColumnChunkMetaData,
    file: &Sparse,
    size: u64,
) -> Option<OffsetIndexMetaData> {
    check(file, offset_range(column, size)?, thrift::offset_index)?;
    let bare = column.clone().into_builder().set_column_index_offset(None);
    let bare = bare.set_column_index_length(None).build().ok()?;
    let policies = (PageIndexPolicy::Skip, PageIndexPolicy::Optional);
    let found = alone(metadata, bare, policies, file, size)?;
    found.offset_index()?.first()?.first().cloned()
}

fn bounds(
    metadata: &ParquetMetaData,
    column: &ColumnChunkMetaData,
    file: &Sparse,
    size: u64,
) -> Option<ColumnIndexMetaData> {
    check(file, bounds_range(column, size)?, thrift::column_index)?;
    let bare = column.clone().into_builder().set_offset_index_offset(None);
    let bare = bare.set_offset_index_length(None).build().ok()?;
    let policies = (PageIndexPolicy::Optional, PageIndexPolicy::Skip);
    let found = alone(metadata, bare, policies, file, size)?;
    found.column_index()?.first()?.first().cloned()
}

/// The metadata of a file that has this column alone, with its index.
fn alone(
    metadata: &ParquetMetaData,
    column: ColumnChunkMetaData,
    (bounds, offsets): (PageIndexPolicy, PageIndexPolicy),
    file: &Sparse,
    size: u64,
) -> Option<ParquetMetaData> {
    let alone = lone(metadata, column, 0)?;
    let mut reader = ParquetMetaDataReader::new_with_metadata(alone)
        .with_column_index_policy(bounds)
        .with_offset_index_policy(offsets);
    reader.read_page_indexes_sized(file, size).ok()?;
    reader.finish().ok()
}

/// The metadata of a file of `rows` rows that has this top-level column alone.
pub(super) fn lone(
    metadata: &ParquetMetaData,
    column: ColumnChunkMetaData,
    rows: i64,
) -> Option<ParquetMetaData> {
    let schema = of_fields(vec![column.column_descr().self_type_ptr()])?;
    let group = RowGroupMetaData::builder(Arc::clone(&schema))
        .set_num_rows(rows)
        .set_total_byte_size(column.uncompressed_size())
        .add_column_metadata(column)
        .build();
    Some(with_groups(metadata.file_metadata(), schema, rows, vec![group.ok()?]))
}

/// The same metadata, but that of these top-level columns it does not say that they are text.
pub(super) fn unannotated(
    metadata: &ParquetMetaData,
    of: impl Fn(usize) -> bool,
) -> Option<ParquetMetaData> {
    let file = metadata.file_metadata();
    let as_bytes = |field: &Type| {
        if !field.is_primitive() || field.get_physical_type() != Physical::BYTE_ARRAY {
            return None;
        }
        let info = field.get_basic_info();
        let bytes = Type::primitive_type_builder(info.name(), Physical::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_id(info.has_id().then(|| info.id()));
        bytes.build().ok().map(Arc::new)
    };
    let field = |(at, field): (usize, &TypePtr)| match of(at) {
        true => as_bytes(field),
        false => Some(Arc::clone(field)),
    };
    let fields = file.schema_descr().root_schema().get_fields().iter().enumerate().map(field);
    let schema = of_fields(fields.collect::<Option<_>>()?)?;
    Some(with_groups(file, schema, file.num_rows(), metadata.row_groups().to_vec()))
}

fn of_fields(fields: Vec<TypePtr>) -> Option<SchemaDescPtr> {
    let root = Type::group_type_builder("schema").with_fields(fields).build().ok()?;
    Some(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

fn with_groups(
    file: &FileMetaData,
    schema: SchemaDescPtr,
    rows: i64,
    groups: Vec<RowGroupMetaData>,
) -> ParquetMetaData {
    let created = file.created_by().map(str::to_string);
    ParquetMetaData::new(
        FileMetaData::new(file.version(), rows, created, None, schema, None),
        groups,
    )
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
