//! What the footer of a file just written says of its columns.
//!
//! The library that encodes the rows counts for itself: a second opinion on the statistics that go
//! into the log, for the price of looking at the footer. Of texts at the top it only counts; their
//! bounds were found by us, but in a pass of their own, see [`texts`](super::texts).

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, Schema};
use lakebed_log::stats::{ColumnStats, Stats};
use lakebed_log::value::Value;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

/// Rows, and bounds and nulls of every column outside lists and maps. Bounds that the library has
/// cut are left out.
pub(super) fn recorded(metadata: &ParquetMetaData, schema: &Schema) -> Stats {
    let rows = u64::try_from(metadata.file_metadata().num_rows()).ok();
    let mut stats = Stats { num_records: rows, tight_bounds: true, ..Stats::default() };
    let parquet = metadata.file_metadata().schema_descr();
    for (leaf, column) in parquet.columns().iter().enumerate() {
        let path = column.path().parts();
        if column.max_rep_level() == 0
            && let Some(field) = field_at(schema, path)
            && let Ok(converter) = StatisticsConverter::from_column_index(leaf, field, parquet)
        {
            let column = column_stats(metadata.row_groups(), leaf, &converter);
            stats.columns.insert(path.to_vec(), column);
        }
    }
    stats
}

fn field_at<'a>(schema: &'a Schema, path: &[String]) -> Option<&'a Field> {
    let (first, rest) = path.split_first()?;
    let mut field = schema.field_with_name(first).ok()?;
    for name in rest {
        let DataType::Struct(fields) = field.data_type() else { return None };
        field = fields.find(name)?.1;
    }
    Some(field)
}

fn column_stats<'a>(
    groups: &'a [RowGroupMetaData],
    leaf: usize,
    converter: &StatisticsConverter<'a>,
) -> ColumnStats {
    let of = |it: &'a RowGroupMetaData| it.columns().get(leaf)?.statistics();
    let nulls = |it: &'a RowGroupMetaData| of(it)?.null_count_opt();
    let null_count = groups.iter().map(nulls).try_fold(0u64, |sum, it| sum.checked_add(it?));
    // A group of nothing but nulls has no bounds, and needs none.
    let holds = |it: &RowGroupMetaData| u64::try_from(it.num_rows()).ok();
    let counted: Vec<&RowGroupMetaData> =
        groups.iter().filter(|it| nulls(it).is_none() || nulls(it) != holds(it)).collect();
    let exact = |test: fn(&Statistics) -> bool| counted.iter().all(|it| of(it).is_some_and(test));
    let min = Some(converter.row_group_mins(counted.iter().copied()))
        .filter(|_| exact(Statistics::min_is_exact))
        .and_then(|it| outermost(it.ok()?, Ordering::Less));
    let max = Some(converter.row_group_maxes(counted.iter().copied()))
        .filter(|_| exact(Statistics::max_is_exact))
        .and_then(|it| outermost(it.ok()?, Ordering::Greater));
    ColumnStats { min, max, null_count }
}

/// The least or the greatest; `None` if a group does not say.
fn outermost(bounds: ArrayRef, wanted: Ordering) -> Option<Value> {
    let mut found: Option<Value> = None;
    for row in 0..bounds.len() {
        let value = Value::from_array(bounds.as_ref(), row).ok().flatten()?;
        let further = found.as_ref().is_none_or(|it| value.compare(it) == Some(wanted));
        if further {
            found = Some(value);
        }
    }
    found
}
