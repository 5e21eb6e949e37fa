//! `Scan` and state to a `ScanPlan`.
//!
//! Planning decides which files a read opens. It goes from cheap to dear: partition values are
//! judged once per distinct tuple (a table of a million files may have a few hundred), and only
//! what they leave in is judged by the statistics of each file, of which only the columns that the
//! filter names are parsed.
//!
//! ```text
//!   live files --partition tuple--> typed once --skips?--> statistics --skips?--> ScanTask
//! ```
//!
//! A plan may hold files without a matching row, never the reverse: what is unknown is read.

mod given;
mod judge;
mod metadata;
mod partitions;
mod sift;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Schema as ArrowSchema, SchemaRef};

use crate::action::DeletionVector;
use crate::error::{Code, Error, Result};
use crate::expr::{Expr, col};
use crate::schema::{ColumnMapping, Schema, StructField};
use crate::skip::Skipper;
use crate::state::{Head, TableState};
use crate::support::ReadPermit;
use crate::value::Value;
use crate::version::Version;

pub use judge::stats_at;
pub use metadata::{MetadataColumn, RowTracking};
pub use sift::{Sift, SiftGroup, sidecar_tags};

/// Rows of a batch, unless the scan says otherwise.
const BATCH_ROWS: usize = 8192;

/// What to read. An inert value: building one does nothing.
///
/// ```
/// use lakebed_log::expr::{col, lit};
/// use lakebed_log::scan::Scan;
///
/// let scan = Scan::new().columns(["user", "ts"]).filter(col("n").gt(lit(10))).limit(100);
/// assert_eq!(scan.row_limit(), Some(100));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a scan does nothing until it is planned or read"]
pub struct Scan {
    columns: Option<Vec<String>>,
    filter: Option<Expr>,
    limit: Option<u64>,
    batch_rows: Option<usize>,
}

impl Scan {
    /// Everything.
    pub fn new() -> Scan {
        Scan::default()
    }

    /// Only these columns, in this order; top-level names. Defaults to all of them.
    ///
    /// Where the table has no column of that name, `_file`, `_row_index`, `_row_id` and
    /// `_commit_version` tell where a row lies and which one it is, see [`MetadataColumn`]; a
    /// filter may name them too.
    pub fn columns<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Scan {
        Scan { columns: Some(columns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Only rows for which it is true. Called twice: both. Defaults to all rows.
    pub fn filter(self, filter: Expr) -> Scan {
        let filter = match self.filter {
            Some(first) => Expr::And(vec![first, filter]),
            None => filter,
        };
        Scan { filter: Some(filter), ..self }
    }

    /// At most this many rows. Defaults to no limit.
    pub fn limit(self, rows: u64) -> Scan {
        Scan { limit: Some(rows), ..self }
    }

    /// At most this many rows per batch, at least one. Defaults to 8,192.
    pub fn batch_rows(self, rows: usize) -> Scan {
        Scan { batch_rows: Some(rows), ..self }
    }

    /// The most rows of a batch; `None` is the default.
    pub fn rows_per_batch(&self) -> Option<usize> {
        self.batch_rows
    }

    /// The columns asked for; `None` is all.
    pub fn projection(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// The filter, not bound to a schema yet.
    pub fn predicate(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// The most rows asked for.
    pub fn row_limit(&self) -> Option<u64> {
        self.limit
    }
}

/// Which files to read for a scan, and how.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    version: Version,
    tasks: Vec<ScanTask>,
    considered: u64,
    partitions_considered: u64,
    partitions_read: u64,
    schema: SchemaRef,
    table_schema: Arc<Schema>,
    metadata_columns: Vec<MetadataColumn>,
    partition_columns: Vec<String>,
    row_tracking: Option<RowTracking>,
    mapping: ColumnMapping,
    filter: Option<Expr>,
    limit: Option<u64>,
    batch_rows: usize,
}

/// One file of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanTask {
    /// As in the log, encoded.
    pub path: String,
    /// Object key below the table's root; of a file elsewhere, its location.
    pub key: String,
    /// Bytes, as the log says.
    pub size: u64,
    /// Rows, if the statistics say.
    pub num_records: Option<u64>,
    /// Typed values of all partition columns. Shared by the files of one partition.
    pub partition: Arc<BTreeMap<String, Option<Value>>>,
    /// Rows to leave out.
    pub deletion_vector: Option<DeletionVector>,
    /// Id of the first row, in tables that track rows.
    pub base_row_id: Option<i64>,
    /// The version that rows without one of their own were last written by.
    pub default_row_commit_version: Option<i64>,
}

impl ScanTask {
    /// Rows that are left, if the statistics say how many there were.
    pub fn live_records(&self) -> Option<u64> {
        let deleted = self.deletion_vector.as_ref().map_or(0, |it| it.cardinality);
        self.num_records?.checked_sub(u64::try_from(deleted).ok()?)
    }
}

/// Plans a read of `state`.
///
/// The state should be wide enough for the filter, see [`needs_stats`]; from a narrower one the
/// plan is sound too, and holds more files.
///
/// # Errors
///
/// `unknown-column`, `invalid-expression` and `invalid-argument` are the caller's.
/// `invalid-partition-value` if a file lacks the value of a partition column or has one that is
/// not of its type; `invalid-path`, `path-escape`, `unsupported-path` for the path of a file that
/// would be read. Absolute paths are in the plan: who reads knows which roots are allowed.
pub fn plan(state: &TableState, _permit: ReadPermit, scan: &Scan) -> Result<ScanPlan> {
    let (plan, skipper) = outline(&state.head, scan)?;
    let (tasks, partitions) = judge::files(&state.head, &state.files, skipper.as_ref())?;
    let (partitions_considered, partitions_read) = partitions.count();
    let considered = state.files.len();
    Ok(ScanPlan { tasks, considered, partitions_considered, partitions_read, ..plan })
}

/// The plan without its files, and how to judge them.
fn outline(head: &Head, scan: &Scan) -> Result<(ScanPlan, Option<Skipper>)> {
    head.schema.check_type_changes()?;
    let (all, metadata_columns) = metadata::with_metadata(head, scan)?;
    let schema = match scan.projection() {
        // Metadata columns come only where they are named.
        None => head.schema.to_arrow(),
        Some(columns) => project(&all, columns)?,
    };
    let filter = bound_filter(&all, scan)?;
    let skipper = filter.as_ref().map(|it| skipper(head, it));
    let plan = ScanPlan {
        version: head.version,
        tasks: Vec::new(),
        considered: 0,
        partitions_considered: 0,
        partitions_read: 0,
        schema,
        table_schema: all,
        metadata_columns,
        partition_columns: head.metadata.partition_columns.clone(),
        row_tracking: RowTracking::of(head),
        mapping: head.mapping,
        filter,
        limit: scan.limit,
        batch_rows: scan.batch_rows.unwrap_or(BATCH_ROWS).max(1),
    };
    Ok((plan, skipper))
}

/// Does the filter of this scan use statistics, so that a narrow state is not enough?
///
/// # Errors
///
/// `unknown-column` and `invalid-expression`, as [`plan`].
pub fn needs_stats(head: &Head, scan: &Scan) -> Result<bool> {
    let filter = bound_filter(&metadata::with_metadata(head, scan)?.0, scan)?;
    Ok(filter.is_some_and(|it| !skipper(head, &it).stats_columns().is_empty()))
}

impl ScanPlan {
    /// The version read.
    pub fn version(&self) -> Version {
        self.version
    }
    /// The files to read, in a fixed order.
    pub fn tasks(&self) -> &[ScanTask] {
        &self.tasks
    }
    /// How many live files were considered. A plan from a [`Sift`] counts by footers and commits,
    /// and counts a file twice that was added again without being removed.
    pub fn considered(&self) -> u64 {
        self.considered
    }
    /// How many distinct partitions were met, and how many of them are read. Without a [`Sift`]
    /// all of the table's are met.
    pub fn partitions(&self) -> (u64, u64) {
        (self.partitions_considered, self.partitions_read)
    }
    /// Shape of the batches a read yields.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// The table's schema, and after it the metadata columns that the scan names.
    pub fn table_schema(&self) -> &Arc<Schema> {
        &self.table_schema
    }
    /// The columns of [`ScanPlan::table_schema`] that are not the table's.
    pub fn metadata_columns(&self) -> &[MetadataColumn] {
        &self.metadata_columns
    }
    /// Columns whose values stand in the log and not in the files.
    pub fn partition_columns(&self) -> &[String] {
        &self.partition_columns
    }
    /// Where files keep the ids of rows, if the table tracks them.
    pub fn row_tracking(&self) -> Option<&RowTracking> {
        self.row_tracking.as_ref()
    }

    /// How data files name the columns.
    pub fn mapping(&self) -> ColumnMapping {
        self.mapping
    }
    /// The bound filter, applied to every row.
    pub fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }
    /// At most this many rows.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }
    /// At most this many rows per batch.
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }
}

fn skipper(head: &Head, filter: &Expr) -> Skipper {
    Skipper::new(filter, &head.schema, &head.metadata.partition_columns)
}

fn bound_filter(schema: &Schema, scan: &Scan) -> Result<Option<Expr>> {
    let Some(filter) = scan.predicate() else { return Ok(None) };
    filter.bind_filter(schema).map(Some)
}

/// The Arrow shape of the columns asked for, in the order asked for.
fn project(schema: &Schema, columns: &[String]) -> Result<SchemaRef> {
    let arrow = schema.to_arrow();
    let mut indices: Vec<usize> = Vec::with_capacity(columns.len());
    for name in columns {
        let field = column(schema, name)?;
        let index = schema.fields().iter().position(|it| it.name == field.name);
        let index = index.ok_or_else(|| Error::internal("a field is not in its schema"))?;
        if indices.contains(&index) {
            return Err(Error::invalid(format!("column `{}` is asked for twice", field.name)));
        }
        indices.push(index);
    }
    let fields = arrow.fields();
    let fields: Vec<_> = indices.into_iter().filter_map(|it| fields.get(it).cloned()).collect();
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// A top-level column: the exact name first, then ignoring case.
fn column<'a>(schema: &'a Schema, name: &str) -> Result<&'a StructField> {
    schema.field(name).ok_or_else(|| match col(name).bind(schema) {
        Err(unknown) => unknown,
        Ok(_) => Error::new(Code::UnknownColumn, format!("there is no column `{name}`")),
    })
}

#[cfg(test)]
mod tests;
