//! `Create`: makes a table.

use std::collections::BTreeMap;

use lakebed_log::schema::Schema;

/// Options of [`crate::Table::create`]. An inert value.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Create {
    schema: Schema,
    partition_columns: Vec<String>,
    properties: BTreeMap<String, String>,
    name: Option<String>,
    description: Option<String>,
}

#[allow(dead_code)]
impl Create {
    /// An empty table of a schema.
    pub fn new(schema: impl Into<Schema>) -> Create { Create { schema: schema.into(), partition_columns: Vec::new(), properties: BTreeMap::new(), name: None, description: None } }
    /// Partition columns, in order. Defaults to none.
    pub fn partition_by<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Create { Create { partition_columns: columns.into_iter().map(Into::into).collect(), ..self } }
    /// A table property.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Create { self.properties.insert(key.into(), value.into()); self }
    /// For people.
    pub fn name(self, name: impl Into<String>) -> Create { Create { name: Some(name.into()), ..self } }
    /// For people.
    pub fn description(self, text: impl Into<String>) -> Create { Create { description: Some(text.into()), ..self } }
}
