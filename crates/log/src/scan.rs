//! `Scan` and state to a `ScanPlan`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::action::DeletionVector;
use crate::error::Result;
use crate::expr::Expr;
use crate::schema::Schema;
use crate::state::TableState;
use crate::support::ReadPermit;
use crate::value::Value;
use crate::version::Version;

/// What to read. An inert value.
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
    pub fn new() -> Scan { Scan::default() }
    /// Only these columns, in this order; top-level names.
    pub fn columns<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Scan {
        Scan { columns: Some(columns.into_iter().map(Into::into).collect()), ..self }
    }
    /// Only rows for which it is true. Called twice: both.
    pub fn filter(self, filter: Expr) -> Scan { Scan { filter: Some(filter), ..self } }
    /// At most this many rows.
    pub fn limit(self, rows: u64) -> Scan { Scan { limit: Some(rows), ..self } }
    /// At most this many rows per batch. Defaults to 8,192.
    pub fn batch_rows(self, rows: usize) -> Scan { Scan { batch_rows: Some(rows), ..self } }
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
    filter: Option<Expr>,
    limit: Option<u64>,
    batch_rows: usize,
}

/// One file of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanTask {
    /// As in the log, encoded.
    pub path: String,
    /// Object key below the table's root.
    pub key: String,
    /// Bytes, as the log says.
    pub size: u64,
    /// Rows, if the statistics say.
    pub num_records: Option<u64>,
    /// Typed values of all partition columns. Shared by the files of one partition.
    pub partition: Arc<BTreeMap<String, Option<Value>>>,
    /// Rows to leave out.
    pub deletion_vector: Option<DeletionVector>,
}

/// Plans. Needs a state wide enough for the filter: see [`needs_stats`]. Errors: `unknown-column`,
/// `invalid-expression`, `invalid-partition-value`, `invalid-path`, `path-escape`.
pub fn plan(_state: &TableState, _permit: ReadPermit, _scan: &Scan) -> Result<ScanPlan> { todo!() }

/// Does the filter of this scan use statistics, so that a narrow state is not enough?
pub fn needs_stats(_head: &crate::state::Head, _scan: &Scan) -> Result<bool> { todo!() }

impl ScanPlan {
    /// The version read.
    pub fn version(&self) -> Version { self.version }
    /// The files to read, in a fixed order.
    pub fn tasks(&self) -> &[ScanTask] { &self.tasks }
    /// How many live files were considered.
    pub fn considered(&self) -> u64 { self.considered }
    /// How many distinct partitions the table has, and how many are read.
    pub fn partitions(&self) -> (u64, u64) { (self.partitions_read, self.partitions_considered) }
    /// Shape of the batches a read yields.
    pub fn schema(&self) -> &SchemaRef { &self.schema }
    /// The table's schema.
    pub fn table_schema(&self) -> &Arc<Schema> { &self.table_schema }
    /// The bound filter, applied to every row.
    pub fn filter(&self) -> Option<&Expr> { self.filter.as_ref() }
    /// At most this many rows.
    pub fn limit(&self) -> Option<u64> { self.limit }
    /// At most this many rows per batch.
    pub fn batch_rows(&self) -> usize { self.batch_rows }
}
