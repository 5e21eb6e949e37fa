//! One row group of a checkpoint, read a few columns of a few rows at a time.
//!
//! A plan that is made once need not know every file of the table, only those that it reads. So a
//! row group is sifted: a column that the filter needs is read of all rows, the next one of the
//! rows that are left, and path and size of the few that stay. Where the file tells where its pages
//! lie, pages without such a row are not even fetched.
//!
//! ```text
//!   partition values  ##########     all rows
//!   statistics        #.##...#..     those of the partitions asked for
//!   path, size        ..#.......     those that may match
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, StructArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow_select::filter::filter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder,
    ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;

use crate::action::DeletionVector;
use crate::batch::columns::{STATS_PARSED, Strings, Vectors};
use crate::batch::footer::joined;
use crate::batch::parquet::{arrow_metadata, guarded, is_ours};
use crate::batch::pick::{check_expansion, is_all_null, may_hold};
use crate::batch::rules::{corrupt, of_checkpoint, spelled};
use crate::batch::section::Section;
use crate::error::Result;
use crate::thrift;

/// Bytes decoded at a time, about, as the footer counts them: they are to stay near the processor.
const BATCH_BYTES: u64 = 1 << 20;
/// Rows decoded at a time, at least and at most.
const BATCH_ROWS: (usize, usize) = (512, 8_192);

/// Pages are chosen only where they lie this far apart at most on average; with a row wanted of
/// nearly every page there is nothing to choose.
const ROWS_PER_WANTED_MIN: usize = 512;

/// A row group that may hold adds, alone in its metadata.
#[derive(Clone, Debug)]
pub struct Group {
    metadata: Arc<ParquetMetaData>,
    file_bytes: u64,
    rows: usize,
    adds: u64,
}

/// Bounds of a leaf column over all adds of a row group, from its footer.
#[derive(Clone, Debug)]
pub(crate) struct ChunkBounds {
    pub(crate) statistics: Statistics,
    /// Is it null in some add?
    pub(crate) some_null: bool,
    /// Is it null in all of them?
    pub(crate) all_null: bool,
}

/// How texts come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON statistics as views: they are most of a checkpoint and are looked at once, so they stay
    /// where the pages were unpacked, and are not copied together.
    Views,
    /// Partition values as numbers, as they mostly are stored, see [`Coded`](super::Coded).
    Codes,
}

/// What a plan needs of files.
pub(crate) struct TaskRows {
    pub(crate) path: StringArray,
    pub(crate) size: Int64Array,
    pub(crate) base_row_id: Int64Array,
    pub(crate) default_row_commit_version: Int64Array,
    pub(crate) partition_values: Option<Strings>,
    pub(crate) num_records: Option<Int64Array>,
    vectors: Vectors,
}

impl Group {
    /// The row groups of a checkpoint of `file_bytes` that may hold adds, in order.
    pub fn of(metadata: &ParquetMetaData, file_bytes: u64) -> Vec<Group> {
        let groups = metadata.row_groups().iter();
        let groups = groups.filter(|it| 0 < it.num_rows() && may_hold(it, "add"));
        let alone = |group: &RowGroupMetaData| {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let path = chunk_at(group, &["path"]);
            let nulls = path.and_then(|it| it.statistics()).and_then(|it| it.null_count_opt());
            let adds = u64::try_from(rows).unwrap_or(0).saturating_sub(nulls.unwrap_or(0));
            let builder = ParquetMetaDataBuilder::new(metadata.file_metadata().clone());
            let metadata = Arc::new(builder.add_row_group(group.clone()).build());
            Group { metadata, file_bytes, rows, adds }
        };
        groups.map(alone).collect()
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many of them are adds, as the footer says.
    pub fn adds(&self) -> u64 {
        self.adds
    }

    /// Did we write it, so that what the footer says of typed columns follows our own rules?
    pub(crate) fn is_ours(&self) -> bool {
        is_ours(&self.metadata)
    }

    /// Is there a column at a path below `add` that is not null in all rows?
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        self.chunk(path).is_some_and(|it| !is_all_null(it))
    }

    /// What the footer says of the values of a leaf below `add`.
    pub(crate) fn bounds(&self, path: &[&str]) -> Option<ChunkBounds> {
        let chunk = self.chunk(path)?;
        let statistics = chunk.statistics()?.clone();
        let rows = u64::try_from(self.rows).ok()?;
        let nulls = statistics.null_count_opt()?.checked_sub(rows.checked_sub(self.adds)?)?;
        // Row groups hold at least one add, or it would not be known here.
        let (some_null, all_null) = (0 < nulls, self.adds <= nulls);
        Some(ChunkBounds { statistics, some_null, all_null })
    }

    fn chunk(&self, path: &[&str]) -> Option<&ColumnChunkMetaData> {
        chunk_at(self.metadata.row_groups().first()?, path)
    }

    /// The leaf columns below `add` whose path is wanted, those that are null throughout left out.
    pub(crate) fn leaves(&self, wanted: impl Fn(&[&str]) -> bool) -> Vec<usize> {
        let Some(group) = self.metadata.row_groups().first() else { return Vec::new() };
        let wanted = |chunk: &ColumnChunkMetaData| {
            let path: Vec<&str> = chunk.column_path().parts().iter().map(String::as_str).collect();
            let below = path.split_first().filter(|it| *it.0 == "add");
            below.is_some_and(|(_, path)| wanted(path))
                && (chunk.column_descr().max_rep_level() > 0 || !is_all_null(chunk))
        };
        let chunks = group.columns().iter().enumerate();
        chunks.filter(|(_, it)| wanted(it)).map(|(at, _)| at).collect()
    }

    /// Where it says where the pages of its columns lie, if that is worth knowing for so few rows.
    pub(crate) fn page_index(&self, selection: &RowSelection) -> Option<Range<u64>> {
        let (wanted, group) = (selection.row_count(), self.metadata.row_groups().first()?);
        let few = wanted <= self.rows / ROWS_PER_WANTED_MIN
            || (wanted <= self.rows / 2 && is_contiguous(selection));
        if self.metadata.offset_index().is_some() || !few {
            return None;
        }
        let mut whole: Option<Range<u64>> = None;
        for chunk in group.columns() {
            let start = u64::try_from(chunk.offset_index_offset()?).ok()?;
            let end = start.checked_add(u64::try_from(chunk.offset_index_length()?).ok()?)?;
            if self.file_bytes < end {
                return None;
            }
            whole = Some(match whole {
                Some(it) => it.start.min(start)..it.end.max(end),
                None => start..end,
            });
        }
        whole.filter(|it| it.end - it.start < (1 << 20))
    }

    /// The same row group, knowing its pages. `file` must hold the range of the index.
    pub(crate) fn with_pages<R: ChunkReader>(&self, file: &R) -> Result<Group> {
        let bad = |it: ParquetError| corrupt("the page index does not decode").because(it);
        let Some(group) = self.metadata.row_groups().first() else { return Ok(self.clone()) };
        guarded(|| {
            for chunk in group.columns() {
                let start = chunk.offset_index_offset().and_then(|it| u64::try_from(it).ok());
                let length = chunk.offset_index_length().and_then(|it| usize::try_from(it).ok());
                if let (Some(start), Some(length)) = (start, length) {
                    let index = file.get_bytes(start, length).map_err(bad)?;
                    thrift::offset_index(&index).map_err(of_checkpoint)?;
                }
            }
            let metadata = ParquetMetaData::clone(&self.metadata);
            let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Optional);
            reader.read_page_indexes(file).map_err(bad)?;
            Ok(Group { metadata: Arc::new(reader.finish().map_err(bad)?), ..self.clone() })
        })
    }

    /// What to fetch of some leaves for the rows of a selection, `None` being all.
    pub(crate) fn ranges(
        &self,
        leaves: &[usize],
        selection: Option<&RowSelection>,
    ) -> Vec<Range<u64>> {
        let Some(group) = self.metadata.row_groups().first() else { return Vec::new() };
        let pages = self.metadata.offset_index().and_then(|it| it.first());
        let mut ranges = Vec::new();
        for leaf in leaves {
            let Some(chunk) = group.columns().get(*leaf) else { continue };
            let (start, length) = chunk.byte_range();
            let all = start..start.saturating_add(length);
            let pages = pages.and_then(|it| it.get(*leaf)).map(|it| it.page_locations());
            match (pages, selection) {
                (Some(pages), Some(selection)) if !pages.is_empty() => {
                    // The dictionary stands before the first page.
                    let first = pages.first().and_then(|it| u64::try_from(it.offset).ok());
                    ranges.extend(first.filter(|it| start < *it).map(|it| start..it));
                    let inside = |it: &Range<u64>| all.start <= it.start && it.end <= all.end;
                    let scanned = selection.scan_ranges(pages);
                    match scanned.iter().all(inside) {
                        true => ranges.extend(scanned),
                        false => ranges.push(all),
                    }
                }
                _ => ranges.push(all),
            }
        }
        joined(ranges)
    }

    fn batch_rows<'a>(&self, chunks: impl Iterator<Item = &'a ColumnChunkMetaData>) -> usize {
        let bytes = chunks.map(|it| u64::try_from(it.uncompressed_size()).unwrap_or(0));
        let bytes = bytes.fold(1, u64::saturating_add);
        let rows = u64::try_from(self.rows).unwrap_or(u64::MAX);
        let fit = u128::from(rows) * u128::from(BATCH_BYTES) / u128::from(bytes);
        let (least, most) = BATCH_ROWS;
        usize::try_from(fit).unwrap_or(most).clamp(least, most)
    }

    /// Reads some leaves of the rows of a selection, a batch after the other: the struct `add`, in
    /// which other rows are null.
    pub(crate) fn read<R: ChunkReader + 'static>(
        &self,
        file: R,
        leaves: &[usize],
        selection: Option<&RowSelection>,
        form: Form,
        mut each: impl FnMut(StructArray) -> Result<()>,
    ) -> Result<()> {
        let bad = |it: ParquetError| corrupt("the columns do not decode").because(it);
        let groups = self.metadata.row_groups().iter();
        let chunks = groups.flat_map(|it| leaves.iter().filter_map(|leaf| it.columns().get(*leaf)));
        check_expansion(chunks.clone(), self.file_bytes)?;
        let batch_rows = self.batch_rows(chunks);
        let expected = selection.map_or(self.rows, RowSelection::row_count);
        let mut read = 0;
        guarded(|| {
            let schema = self.metadata.file_metadata().schema_descr();
            let mask = ProjectionMask::leaves(schema, leaves.iter().copied());
            let metadata = hinted(&self.metadata, form)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let mut builder = builder.with_projection(mask).with_batch_size(batch_rows);
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection.clone());
                if self.metadata.offset_index().is_some() {
                    // Pages that were not fetched can only be stepped over.
                    builder = builder.with_row_selection_policy(RowSelectionPolicy::Selectors);
                }
            }
            for batch in builder.build().map_err(bad)? {
                let batch = batch.map_err(|it| corrupt("the columns do not decode").because(it))?;
                let add = batch.column_by_name("add").and_then(|it| it.as_struct_opt());
                let add = add.ok_or_else(|| corrupt("column `add` is not a struct"))?;
                read += add.len();
                each(add.clone())?;
            }
            Ok(())
        })?;
        match read == expected {
            true => Ok(()),
            false => Err(corrupt(format!("{expected} rows were to be read, {read} are there"))),
        }
    }
}

impl TaskRows {
    /// The leaves it is made of.
    pub(crate) fn wants(path: &[&str], partition_values: bool) -> bool {
        match path {
            ["path" | "size" | "baseRowId" | "defaultRowCommitVersion"] => true,
            ["deletionVector", _] | [STATS_PARSED, "numRecords"] => true,
            ["partitionValues", ..] => partition_values,
            _ => false,
        }
    }

    /// From rows of which each is an add.
    pub(crate) fn new(add: StructArray, partition_values: bool, ours: bool) -> Result<TaskRows> {
        let parsed = add.column_by_name(STATS_PARSED).and_then(|it| it.as_struct_opt());
        let num_records = parsed.and_then(|it| it.column_by_name("numRecords").cloned());
        let num_records = num_records.and_then(|it| it.as_primitive_opt().cloned());
        let section = Section::new("add", add);
        let values = match partition_values {
            true => Some(Strings::new(section.required_maps("partitionValues")?)?),
            false => None,
        };
        Ok(TaskRows {
            path: spelled(section.paths()?, ours),
            size: section.sizes("size")?,
            base_row_id: section.longs("baseRowId")?,
            default_row_commit_version: section.longs("defaultRowCommitVersion")?,
            partition_values: values,
            num_records,
            vectors: Vectors::new(section.vectors()?)?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.path.len()
    }

    pub(crate) fn vector(&self, row: usize) -> Option<DeletionVector> {
        self.vectors.get(row)
    }
}

/// A column of text as plain text, also where a writer stored it without saying that it is.
pub(crate) fn plain_texts(column: &ArrayRef, name: &'static str) -> Result<StringArray> {
    let field = Field::new(name, column.data_type().clone(), true);
    let alone = StructArray::try_new(vec![field].into(), vec![column.clone()], None);
    let alone = alone.map_err(|it| corrupt("a column does not stand alone").because(it))?;
    Section::new("add", alone).texts(name)
}

/// The partition values of adds.
pub(crate) fn partition_strings(add: &StructArray) -> Result<Strings> {
    Strings::new(Section::new("add", add.clone()).required_maps("partitionValues")?)
}

/// The rows that a mask keeps, all of which are adds.
pub(crate) fn kept(add: &StructArray, mask: BooleanBuffer) -> Result<StructArray> {
    let filtered = filter(add, &arrow_array::BooleanArray::new(mask, None));
    let filtered = filtered.map_err(|it| corrupt("column `add` does not filter").because(it))?;
    filtered.as_struct_opt().cloned().ok_or_else(|| corrupt("column `add` does not filter"))
}

/// Which rows are adds.
pub(crate) fn valid(add: &StructArray) -> BooleanBuffer {
    match add.nulls().map(NullBuffer::inner) {
        Some(it) => it.clone(),
        None => BooleanBuffer::new_set(add.len()),
    }
}

fn chunk_at<'a>(group: &'a RowGroupMetaData, path: &[&str]) -> Option<&'a ColumnChunkMetaData> {
    group.columns().iter().find(|it| match it.column_path().parts().split_first() {
        Some((first, rest)) => {
            first == "add" && rest.iter().map(String::as_str).eq(path.iter().copied())
        }
        None => false,
    })
}

/// Do the wanted rows stand together?
fn is_contiguous(selection: &RowSelection) -> bool {
    selection.iter().filter(|it| !it.skip).count() <= 2
}

/// How the columns become Arrow: text in the form asked for, where it is said to be text.
fn hinted(metadata: &Arc<ParquetMetaData>, form: Form) -> Result<ArrowReaderMetadata> {
    let plain = arrow_metadata(metadata)?;
    let hint = ArrowReaderOptions::new().with_schema(with_form(plain.schema(), form));
    Ok(ArrowReaderMetadata::try_new(metadata.clone(), hint).unwrap_or(plain))
}

fn with_form(schema: &SchemaRef, form: Form) -> SchemaRef {
    let below = |field: &FieldRef| match (form, field.name().as_str(), field.data_type()) {
        (Form::Views, "stats", DataType::Utf8) => retyped(field, DataType::Utf8View),
        (Form::Codes, "partitionValues", DataType::Map(entries, sorted)) => {
            let DataType::Struct(fields) = entries.data_type() else { return field.clone() };
            let fields = DataType::Struct(fields.iter().map(coded).collect());
            retyped(field, DataType::Map(retyped(entries, fields), *sorted))
        }
        _ => field.clone(),
    };
    let add = |field: &FieldRef| match field.data_type() {
        DataType::Struct(fields) if field.name() == "add" => {
            retyped(field, DataType::Struct(fields.iter().map(below).collect()))
        }
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(add).collect::<Fields>()))
}

fn coded(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8 => {
            let to = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            retyped(field, to)
        }
        _ => field.clone(),
    }
}

fn retyped(field: &FieldRef, to: DataType) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(to))
}
