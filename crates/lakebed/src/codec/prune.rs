//! Row groups and pages that cannot match.
//!
//! The footer has statistics of every column chunk. They go through the same judge as those of the
//! log, so there is one set of rules for what a bound proves. Three things make a bound in a footer
//! worth nothing: NaN, which some writers count and others pass over; the old statistics of text
//! and decimals, ordered as signed bytes; and a value that does not convert to the table's type.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use lakebed_log::schema::{self, DataType, PrimitiveType, StructField};
use lakebed_log::skip::Skipper;
use lakebed_log::stats::{ColumnStats, Stats};
use lakebed_log::value::Value;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::ColumnOrder;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;

use super::Source;
use super::index::{Bounds, Index, Pages};
use super::logical::{self, Choice};
use super::pick::Picks;

/// Pages are told apart up to this many times in a row group.
const INTERVALS_MAX: usize = 1 << 16;

/// Name, bounds, leaf column, and place in the table.
type Column<'a> = (&'a str, StatisticsConverter<'a>, usize, usize);

/// Judges row groups by the statistics in the footer, and pages by the page index.
pub(super) struct Pruner<'a> {
    skipper: Skipper,
    columns: Vec<Column<'a>>,
    /// Leaf columns whose bounds are ordered as their type is.
    ordered: BTreeSet<usize>,
    schema: &'a schema::Schema,
    table: &'a SchemaRef,
}

impl<'a> Pruner<'a> {
    /// `None` if the filter has no use for statistics of these columns.
    pub(super) fn new(
        source: &'a Source,
        inferred: &'a ArrowReaderMetadata,
        choice: &Choice,
        table: &'a SchemaRef,
    ) -> Option<Pruner<'a>> {
        let skipper = Skipper::new(source.filter.as_ref()?, &source.schema, &[]);
        let wanted = skipper.stats_columns().to_vec();
        let column = |field: &'a StructField| {
            let name = field.name.as_str();
            let at = table.index_of(name).ok()?;
            let place = choice.columns.get(at).copied().flatten()?;
            let &[leaf] = choice.decoded.get(place)?.as_slice() else { return None };
            let parquet = inferred.parquet_schema();
            let root = parquet.get_column_root_idx(leaf);
            let field = inferred.schema().fields().get(root)?;
            let converter = StatisticsConverter::from_column_index(leaf, field, parquet).ok()?;
            Some((name, converter, leaf, at))
        };
        let fields = source.schema.fields().iter();
        let fields =
            fields.filter(|it| wanted.iter().any(|path| path.as_slice() == [it.name.as_str()]));
        let columns: Vec<_> = fields.filter_map(column).collect();
        if columns.is_empty() {
            return None;
        }
        let ordered = columns.iter().map(|it| it.2).filter(|leaf| {
            let order = inferred.metadata().file_metadata().column_order(*leaf);
            matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_))
        });
        let ordered = ordered.collect();
        Some(Pruner { skipper, columns, ordered, schema: &source.schema, table })
    }

    /// Do the statistics of the row group prove that no row can match?
    pub(super) fn skips(&self, group: &RowGroupMetaData) -> bool {
        let mut stats = Stats {
            num_records: u64::try_from(group.num_rows()).ok(),
            tight_bounds: true,
            ..Stats::default()
        };
        for (name, converter, leaf, at) in &self.columns {
            if let Some(column) = self.column(group, converter, *leaf, *at) {
                stats.columns.insert(vec![(*name).to_string()], column);
            }
        }
        self.skipper.skips(&BTreeMap::new(), &stats)
    }

    fn column(
        &self,
        group: &RowGroupMetaData,
        converter: &StatisticsConverter<'a>,
        leaf: usize,
        at: usize,
    ) -> Option<ColumnStats> {
        let statistics = group.columns().get(leaf)?.statistics()?;
        let field = self.table.fields().get(at)?;
        let null_count = statistics.null_count_opt();
        // Old writers ordered bytes as signed, and decimals are bytes to them.
        let ordered = !statistics.is_min_max_deprecated()
            || self.schema.field(field.name()).is_some_and(|it| is_whole_number(&it.data_type));
        if !ordered {
            return Some(ColumnStats { null_count, ..ColumnStats::default() });
        }
        let bound = |array| Value::from_array(self.convert(array, at)?.as_ref(), 0).ok().flatten();
        let min = bound(converter.row_group_mins([group])).filter(|it| !is_nan(it));
        let max = bound(converter.row_group_maxes([group])).filter(|it| !is_nan(it));
        Some(ColumnStats { min, max, null_count })
    }

    /// Bounds as the table has them.
    fn convert(&self, bounds: Result<ArrayRef, ParquetError>, at: usize) -> Option<ArrayRef> {
        let (array, field) = (bounds.ok()?, self.table.fields().get(at)?);
        let of = array.data_type().clone();
        let columns = Schema::new(vec![Field::new(field.name(), of, true)]);
        let batch = RecordBatch::try_new(Arc::new(columns), vec![array]).ok()?;
        let nullable = field.as_ref().clone().with_nullable(true);
        let shape = Arc::new(Schema::new(vec![nullable]));
        logical::convert(&batch, &[(0, Some(0))], &shape).ok()?.pop()
    }

    /// Leaf columns whose bounds are of use.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|it| it.2)
    }

    /// The rows of row group `at` whose pages do not prove that they cannot match. Pages of two
    /// columns do not end at the same rows, so that rows are judged from one end to the next.
    pub(super) fn rows(&self, at: usize, group: &RowGroupMetaData, index: &Index) -> Picks {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let columns: Vec<Paged<'_>> =
            self.columns.iter().filter_map(|it| self.paged(it, at, index)).collect();
        let ends: BTreeSet<usize> =
            columns.iter().flat_map(|it| it.pages.rows.iter().map(|it| it.end)).collect();
        if ends.is_empty() || INTERVALS_MAX < ends.len() {
            return Picks::all(rows);
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let intervals = starts.zip(ends.iter().copied()).map(|(start, end)| start..end);
        Picks::new(intervals.filter(|it| {
            let mut stats = Stats {
                num_records: Some(it.len() as u64),
                tight_bounds: true,
                ..Stats::default()
            };
            for column in &columns {
                if let Some((name, column)) = column.over(it) {
                    stats.columns.insert(vec![name.to_string()], column);
                }
            }
            !self.skipper.skips(&BTreeMap::new(), &stats)
        }))
    }

    fn paged<'b>(&'b self, column: &'b Column<'a>, at: usize, index: &'b Index) -> Option<Paged<'b>>
    where
        'a: 'b,
    {
        let (name, converter, leaf, place) = column;
        let (pages, bounds) = (index.pages(at, *leaf)?, index.bounds(at, *leaf)?);
        let ordered = self.ordered.contains(leaf)
            || self.schema.field(name).is_some_and(|it| is_whole_number(&it.data_type));
        let (columns, offsets) = (&bounds.columns, &bounds.offsets);
        let bound = |array| {
            let array = self.convert(array, *place)?;
            (array.len() == pages.rows.len()).then_some(array)
        };
        let mins = bound(converter.data_page_mins(columns, offsets, &[0])).filter(|_| ordered);
        let maxes = bound(converter.data_page_maxes(columns, offsets, &[0])).filter(|_| ordered);
        Some(Paged { name, pages, bounds, mins, maxes })
    }
}

/// The pages of a column and what is known of them.
struct Paged<'a> {
    name: &'a str,
    pages: &'a Pages,
    bounds: &'a Bounds,
    mins: Option<ArrayRef>,
    maxes: Option<ArrayRef>,
}

impl Paged<'_> {
    /// What holds for rows that are all in one page.
    fn over(&self, rows: &Range<usize>) -> Option<(&str, ColumnStats)> {
        let page = self.pages.rows.partition_point(|it| it.end <= rows.start);
        let all = self.pages.rows.get(page)?.len() as u64;
        let value = |array: &Option<ArrayRef>| {
            Value::from_array(array.as_ref()?.as_ref(), page).ok().flatten()
        };
        let nulls = self.bounds.pages.null_count(page).and_then(|it| u64::try_from(it).ok());
        // Of a part of the page no more is known than of every row.
        let null_count = match nulls {
            Some(0) => Some(0),
            Some(nulls) if nulls == all => Some(rows.len() as u64),
            _ => None,
        };
        let min = value(&self.mins).filter(|it| !is_nan(it));
        let max = value(&self.maxes).filter(|it| !is_nan(it));
        Some((self.name, ColumnStats { min, max, null_count }))
    }
}

fn is_whole_number(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Primitive(
            PrimitiveType::Byte
                | PrimitiveType::Short
                | PrimitiveType::Integer
                | PrimitiveType::Long
                | PrimitiveType::Date
                | PrimitiveType::Timestamp
                | PrimitiveType::TimestampNtz
        )
    )
}

fn is_nan(value: &Value) -> bool {
    match value {
        Value::Float(it) => it.is_nan(),
        Value::Double(it) => it.is_nan(),
        _ => false,
    }
}
