//! Filter and statistics to the files that cannot match.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::expr::Expr;
use crate::schema::Schema;
use crate::stats::Stats;
use crate::value::Value;

/// A filter made ready to judge files: typed partition values and statistics prove that no row can match.
#[derive(Clone, Debug)]
pub struct Skipper {
    _private: (),
}

impl Skipper {
    /// From a bound filter.
    pub fn new(_filter: &Expr, _schema: &Schema, _partition_columns: &[String]) -> Skipper { todo!() }
    /// Leaf columns whose statistics the filter can use; empty: partition values alone decide.
    pub fn stats_columns(&self) -> &[Vec<String>] { todo!() }
    /// Do the partition values alone prove that no row can match?
    pub fn skips_partition(&self, _partition: &BTreeMap<String, Option<Value>>) -> bool { todo!() }
    /// Do partition values and statistics prove that no row can match? Unknown proves nothing.
    pub fn skips(&self, _partition: &BTreeMap<String, Option<Value>>, _stats: &Stats) -> bool { todo!() }
    /// Does every row of a file with these partition values match, whatever its data? (Filter on partition columns only.)
    pub fn covers_partition(&self, _partition: &BTreeMap<String, Option<Value>>) -> Result<bool> { todo!() }
}
