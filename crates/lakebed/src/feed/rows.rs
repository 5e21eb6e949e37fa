//! The columns of a feed: those of the table, and what became of the row.
//!
//! The columns of the feed are columns like others: they can be asked for and filtered by, and a
//! file that has no change of the kind asked for is not opened. Where a row stands is read beside
//! them, for the cursor, and taken off again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{FieldRef, Schema as ArrowSchema, SchemaRef};
use lakebed_log::changes::{CHANGE_TYPE, ChangeTask};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::expr::{Expr, col};
use lakebed_log::scan::{MetadataColumn, Scan};
use lakebed_log::schema::{PrimitiveType, Schema, StructField, is_same_name};
use lakebed_log::skip::Skipper;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::value::Value;
use lakebed_log::version::Version;

use crate::read::Spec;

/// What became of the row.
/// The version that changed it.
const COMMIT_VERSION: &str = "_commit_version";
/// When that was committed.
const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

/// Rows of a batch, unless the scan says otherwise.
const BATCH_ROWS: usize = 8192;

/// What is the same for every file of a feed.
pub(super) struct Told {
    /// The version in whose schema rows are told.
    pub(super) head: Arc<Head>,
    /// Shape of the result.
    pub(super) result: SchemaRef,
    /// Columns of the table, then of the feed.
    all: Arc<Schema>,
    /// Columns of the feed.
    feed: Vec<StructField>,
    filter: Option<Expr>,
    /// Leaves out files by partition values and by the columns of the feed.
    skipper: Option<Skipper>,
    batch_rows: usize,
}

/// Rows of one batch of a file.
pub(super) struct Part {
    /// In the shape of the result.
    pub(super) batch: RecordBatch,
    /// The physical row of each.
    pub(super) rows: Int64Array,
}

impl Told {
    /// `of_commits`: are rows told with version and time, or only with what became of them?
    ///
    /// # Errors
    ///
    /// `unknown-column`, `invalid-expression`, `invalid-argument`; `unsupported-data` for a table
    /// that has a column of a name that row changes use.
    pub(super) fn new(head: Arc<Head>, scan: &Scan, of_commits: bool) -> Result<Told> {
        let mut feed = vec![StructField::new(CHANGE_TYPE, PrimitiveType::String, false)];
        if of_commits {
            feed.push(StructField::new(COMMIT_VERSION, PrimitiveType::Long, false));
            feed.push(StructField::new(COMMIT_TIMESTAMP, PrimitiveType::Timestamp, false));
        }
        let table = head.schema.fields();
        let own = feed.iter().map(|it| it.name.as_str()).chain([MetadataColumn::RowIndex.name()]);
        for name in own {
            if let Some(taken) = table.iter().find(|it| is_same_name(&it.name, name)) {
                let name = &taken.name;
                let what = format!("the table has a column `{name}`, a name that row changes use");
                return Err(Error::new(Code::UnsupportedData, what));
            }
        }
        let all = Arc::new(Schema::new(table.iter().chain(&feed).cloned().collect())?);
        let filter = scan.predicate().map(|it| it.bind_filter(&all)).transpose()?;
        let result = project(&all, &feed, scan.projection())?;
        let partition = head.metadata.partition_columns.iter().cloned();
        let constants: Vec<_> = partition.chain(feed.iter().map(|it| it.name.clone())).collect();
        let skipper = filter.as_ref().map(|it| Skipper::new(it, &all, &constants));
        let batch_rows = scan.rows_per_batch().unwrap_or(BATCH_ROWS).max(1);
        Ok(Told { head, result, all, feed, filter, skipper, batch_rows })
    }

    /// What to read of every data file, or of every change file.
    ///
    /// # Errors
    ///
    /// `internal`: the columns do not make a schema.
    pub(super) fn spec(&self, is_change_file: bool) -> Result<Spec> {
        let position = MetadataColumn::RowIndex.field();
        let columns = self.all.fields().iter().cloned().chain([position.clone()]);
        let schema = Schema::new(columns.collect())?;
        let output = self.result.fields().iter().cloned();
        let arrow = Schema::new(vec![position])?.to_arrow();
        let output: Vec<FieldRef> = output.chain(arrow.fields().iter().cloned()).collect();
        let own = self.feed.iter().map(|it| it.name.clone());
        let own = own.filter(|it| !is_change_file || it != CHANGE_TYPE);
        Ok(Spec {
            schema: Arc::new(schema),
            constants: self.head.metadata.partition_columns.iter().cloned().chain(own).collect(),
            metadata: vec![MetadataColumn::RowIndex],
            row_tracking: None,
            mapping: self.head.mapping,
            filter: self.filter.clone(),
            output: Arc::new(ArrowSchema::new(output)),
            batch_rows: self.batch_rows,
        })
    }

    /// What the rows of a task have in common, beside partition values. `None`: no row of it can
    /// match the filter.
    pub(super) fn constants(
        &self,
        task: &ChangeTask,
        commit: Option<(Version, Timestamp)>,
    ) -> Option<BTreeMap<String, Option<Value>>> {
        let mut values = BTreeMap::new();
        if let Some(change) = task.change {
            let value = Value::String(change.as_str().to_string());
            values.insert(CHANGE_TYPE.to_string(), Some(value));
        }
        if let Some((version, at)) = commit {
            let micros = at.as_millis().saturating_mul(1000);
            values.insert(COMMIT_VERSION.to_string(), Some(Value::Long(version.as_i64())));
            values.insert(COMMIT_TIMESTAMP.to_string(), Some(Value::Timestamp(micros)));
        }
        let Some(skipper) = &self.skipper else { return Some(values) };
        let mut known = task.partition.clone();
        known.extend(values.clone());
        (!skipper.skips_partition(&known)).then_some(values)
    }

    /// Takes the positions off a batch, and the rows before `from`, which were handed out before.
    ///
    /// # Errors
    ///
    /// `corrupt-data` for a row of a change file that does not say what became of it.
    pub(super) fn part(&self, batch: &RecordBatch, from: u64) -> Result<Part> {
        let width = self.result.fields().len();
        let rows = batch.columns().get(width).and_then(|it| it.as_primitive_opt::<Int64Type>());
        let rows = rows.ok_or_else(|| Error::internal("rows come without their positions"))?;
        let is_old = |it: &i64| u64::try_from(*it).is_ok_and(|it| it < from);
        let old = rows.values().partition_point(is_old);
        let (left, rows) = (rows.len() - old, rows.slice(old, rows.len() - old));
        let columns: Vec<_> =
            batch.columns().iter().take(width).map(|it| it.slice(old, left)).collect();
        let told = self.result.index_of(CHANGE_TYPE).ok().and_then(|it| columns.get(it));
        if told.is_some_and(|it| 0 < it.null_count()) {
            let what = format!("a row of a change file has no `{CHANGE_TYPE}`");
            return Err(Error::new(Code::CorruptData, what));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(left));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.result), columns, &options)
            .map_err(|it| Error::internal("rows do not fit their own shape").because(it))?;
        Ok(Part { batch, rows })
    }
}

/// The columns asked for, and after them those of the feed that were not asked for.
fn project(all: &Schema, feed: &[StructField], columns: Option<&[String]>) -> Result<SchemaRef> {
    let arrow = all.to_arrow();
    let Some(columns) = columns else { return Ok(arrow) };
    let mut fields: Vec<FieldRef> = Vec::with_capacity(columns.len() + feed.len());
    let mut push = |name: &str| -> Result<bool> {
        let field = arrow.fields().find(name).map(|(_, it)| Arc::clone(it));
        let field = field.ok_or_else(|| Error::internal(format!("`{name}` is in no schema")))?;
        let is_new = !fields.iter().any(|it| it.name() == field.name());
        fields.extend(is_new.then_some(field));
        Ok(is_new)
    };
    for name in columns {
        let name = &column(all, name)?.name;
        if !push(name)? {
            return Err(Error::invalid(format!("column `{name}` is asked for twice")));
        }
    }
    for own in feed {
        push(&own.name)?;
    }
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// A top-level column: the exact name first, then ignoring case.
fn column<'a>(schema: &'a Schema, name: &str) -> Result<&'a StructField> {
    schema.field(name).ok_or_else(|| match col(name).bind(schema) {
        Err(unknown) => unknown,
        Ok(_) => Error::new(Code::UnknownColumn, format!("there is no column `{name}`")),
    })
}
