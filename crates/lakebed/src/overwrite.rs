//! `Overwrite`: replaces rows.

use lakebed_log::expr::Expr;

use crate::append::Append;

/// Options of [`crate::Table::overwrite`]. An inert value.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Overwrite {
    pub(crate) filter: Option<Expr>,
    pub(crate) partitions: bool,
    pub(crate) append: Append,
}

impl Overwrite {
    /// All rows of the table.
    pub fn all() -> Overwrite { Overwrite::default() }
    /// Rows that match; only partition columns may be named. Every new row must match too.
    pub fn filter(filter: Expr) -> Overwrite { Overwrite { filter: Some(filter), ..Overwrite::default() } }
    /// All rows of the partitions that the new rows name (Spark's dynamic partition overwrite).
    pub fn partitions() -> Overwrite { Overwrite { partitions: true, ..Overwrite::default() } }
    /// Everything else that an append knows: layout, once, schema evolution, properties.
    pub fn options(self, append: Append) -> Overwrite { Overwrite { append, ..self } }
}
