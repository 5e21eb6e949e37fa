//! Row groups that cannot match.
//!
//! The footer has statistics of every column chunk. They go through the same judge as those of the
//! log, so there is one set of rules for what a bound proves. Three things make a bound in a footer
//! worth nothing: NaN, which some writers count and others pass over; the old statistics of text
//! and decimals, ordered as signed bytes; and a value that does not convert to the table's type.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use lakebed_log::schema::{DataType, PrimitiveType, Schema, StructField};
use lakebed_log::skip::Skipper;
use lakebed_log::stats::{ColumnStats, Stats};
use lakebed_log::value::Value;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;

use super::Source;
use super::logical::{self, Choice};

/// Judges row groups by the statistics in the footer.
pub(super) struct Pruner<'a> {
    skipper: Skipper,
    columns: Vec<(&'a str, StatisticsConverter<'a>, usize, usize)>,
    schema: &'a Schema,
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
        Some(Pruner { skipper, columns, schema: &source.schema, table })
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
        let bound = |array: Result<ArrayRef, ParquetError>| {
            let array = array.ok()?;
            let columns = arrow_schema::Schema::new(vec![arrow_schema::Field::new(
                field.name(),
                array.data_type().clone(),
                true,
            )]);
            let batch = RecordBatch::try_new(Arc::new(columns), vec![array]).ok()?;
            let nullable = field.as_ref().clone().with_nullable(true);
            let shape = Arc::new(arrow_schema::Schema::new(vec![nullable]));
            let arrays = logical::convert(&batch, &[(0, Some(0))], &shape).ok()?;
            Value::from_array(arrays.first()?.as_ref(), 0).ok().flatten()
        };
        let min = bound(converter.row_group_mins([group])).filter(|it| !is_nan(it));
        let max = bound(converter.row_group_maxes([group])).filter(|it| !is_nan(it));
        Some(ColumnStats { min, max, null_count })
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
