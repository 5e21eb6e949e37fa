//! Files all of whose rows match: what removes rows may remove them whole, unread.
//!
//! Here unknown counts the other way: a file is covered only if it is proved that its rows are not
//! anything else than true. Whoever takes a wrong proof for a right one loses rows for good, not
//! for one read, so less is believed than where files are skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema as ArrowSchema};

use super::{Facts, Skipper};
use crate::error::{Code, Error, Result};
use crate::eval;
use crate::expr::Expr;
use crate::schema::DataType;
use crate::stats::Stats;
use crate::value::Value;

impl Skipper {
    /// Do partition values and statistics prove that every row matches? Counts of nulls inside
    /// structs prove nothing: writers do not agree on what they count where the struct is null.
    pub fn covers(&self, partition: &BTreeMap<String, Option<Value>>, stats: &Stats) -> bool {
        if self.stats_columns.iter().any(|it| 1 < it.len()) {
            return false;
        }
        let facts = Facts { skipper: self, partition, stats: Some(stats), common: None };
        let outcomes = self.check.outcomes(&facts);
        !outcomes.no && !outcomes.null
    }

    /// Does every row of a file with these partition values match, whatever its data?
    ///
    /// # Errors
    ///
    /// `invalid-expression` if the filter names a column that is no partition column: it cannot be
    /// decided without reading rows. `invalid-data` if evaluating fails.
    pub fn covers_partition(&self, partition: &BTreeMap<String, Option<Value>>) -> Result<bool> {
        if let Some(other) = self.filter.columns().into_iter().find(|it| !self.is_partition(it)) {
            let what = format!("`{other}` is not a partition column");
            return Err(Error::new(Code::InvalidExpression, what));
        }
        let row = self.row(&self.filter, partition)?;
        Ok(eval::matches(&self.filter, &self.schema, &row)?.true_count() == 1)
    }

    /// One row of the partition columns that an expression names.
    pub(super) fn row(
        &self,
        expr: &Expr,
        partition: &BTreeMap<String, Option<Value>>,
    ) -> Result<RecordBatch> {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for name in expr.columns() {
            let of = self.schema.field(&name).map(|it| &it.data_type);
            let (Some(DataType::Primitive(of)), Some(value)) = (of, partition.get(&name)) else {
                return Err(Error::internal(format!("partition value of `{name}` is missing")));
            };
            let array = Value::to_array(value.as_ref(), *of, 1)?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(fields)), arrays, &options)
            .map_err(|it| Error::internal("cannot build a row of partition values").because(it))
    }
}
