//! Per-file statistics: collect, merge, widen; JSON form.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

use crate::error::Result;
use crate::property::Properties;
use crate::schema::Schema;
use crate::value::Value;

/// Statistics of one file. Keys are paths of (physical) names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Rows in the file, deleted ones included. `None` is unknown.
    pub num_records: Option<u64>,
    /// Outer bounds, inexact where the protocol says so.
    pub columns: BTreeMap<Vec<String>, ColumnStats>,
    /// `false` once deletion vectors made bounds loose.
    pub tight_bounds: bool,
}

/// Statistics of one leaf column. Absent is unknown, never "no rows".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStats {
    /// Lower bound.
    pub min: Option<Value>,
    /// Upper bound, as stored: see [`Stats::upper_bound`] for what it proves.
    pub max: Option<Value>,
    /// Nulls.
    pub null_count: Option<u64>,
}

impl Stats {
    /// Reads the JSON of `add.stats` for the leaves that `wanted` names (`None`: all leaves of the schema). Bad
    /// statistics are unknown statistics: this never fails, it leaves out.
    pub fn from_json(_text: &str, _schema: &Schema, _wanted: Option<&[Vec<String>]>) -> Stats { todo!() }
    /// The JSON of `add.stats`: numRecords, tightBounds if loose, minValues, maxValues, nullCount.
    pub fn to_json(&self) -> String { todo!() }
    /// Sound outer bounds of a stored column: timestamps up by 1 ms, min > max ignored, NaN and zero rules for
    /// floats. `(lower, upper)`; `None` proves nothing.
    pub fn bounds(_column: &ColumnStats) -> (Option<Value>, Option<Value>) { todo!() }
}

/// Collects statistics while a file is written: one per file, fed every batch.
#[derive(Debug)]
pub struct Collector {
    _private: (),
}

impl Collector {
    /// For the columns that the properties name (first 32 leaves by default); partition columns are left out.
    pub fn new(_schema: &Schema, _partition_columns: &[String], _properties: &Properties) -> Collector { todo!() }
    /// Takes the next rows, in the Arrow shape of the schema (partition columns may be absent).
    pub fn update(&mut self, _batch: &RecordBatch) -> Result<()> { todo!() }
    /// The statistics so far, truncated as the protocol says: strings to the prefix with tie-breaker, timestamps to
    /// milliseconds, floats with NaN rules.
    pub fn finish(&self) -> Stats { todo!() }
}
