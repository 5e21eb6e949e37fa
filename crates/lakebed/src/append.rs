//! `Append`: adds rows.

use std::collections::BTreeMap;

use crate::write::Layout;

/// Options of [`crate::Table::append`]. An inert value.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Append {
    pub(crate) evolve_schema: bool,
    pub(crate) once: Option<(String, i64)>,
    pub(crate) layout: Layout,
    pub(crate) partition_by: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) user_metadata: Option<String>,
}

impl Append {
    /// Defaults.
    pub fn new() -> Append { Append::default() }
    /// Adds columns that the data has and the table lacks. Defaults to `false`: they are an error.
    pub fn evolve_schema(self, evolve: bool) -> Append { Append { evolve_schema: evolve, ..self } }
    /// Does nothing if the table has seen this version, or a later one, of the application.
    pub fn once(self, app: impl Into<String>, version: i64) -> Append { Append { once: Some((app.into(), version)), ..self } }
    /// File sizes, compression.
    pub fn layout(self, layout: Layout) -> Append { Append { layout, ..self } }
    /// Partition columns of the table it makes if there is none; checked against the table's if there is one and this is
    /// not empty.
    pub fn partition_by<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Append { Append { partition_by: columns.into_iter().map(Into::into).collect(), ..self } }
    /// A property of the table it makes if there is none.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Append { self.properties.insert(key.into(), value.into()); self }
    /// Kept in the history.
    pub fn user_metadata(self, text: impl Into<String>) -> Append { Append { user_metadata: Some(text.into()), ..self } }
}
