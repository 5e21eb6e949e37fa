//! Column mapping: the names and numbers by which data files, partition values and statistics know
//! a column, where they are not the names that users see.

use super::{ArrayType, DataType, MapType, StructField, StructType};

/// How the columns of data files are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnMapping {
    /// By the names of the schema; whatever mapping metadata stands there is ignored.
    #[default]
    None,
    /// By physical names.
    Name,
    /// By the field ids of Parquet.
    Id,
}

impl StructField {
    /// The name in data files, partition values and statistics.
    pub fn physical_name(&self, mapping: ColumnMapping) -> &str {
        let named = self.metadata.get("delta.columnMapping.physicalName");
        match mapping {
            ColumnMapping::None => &self.name,
            _ => named.and_then(|it| it.as_str()).unwrap_or(&self.name),
        }
    }

    /// The field id of Parquet, under either mapping.
    pub fn field_id(&self) -> Option<i32> {
        let id = self.metadata.get("delta.columnMapping.id")?.as_i64()?;
        i32::try_from(id).ok()
    }
}

impl StructType {
    /// The same schema by physical names, at every level.
    #[must_use]
    pub fn physical(&self, mapping: ColumnMapping) -> StructType {
        let field = |it: &StructField| StructField {
            name: it.physical_name(mapping).to_string(),
            data_type: physical(&it.data_type, mapping),
            nullable: it.nullable,
            metadata: it.metadata.clone(),
        };
        StructType { fields: self.fields.iter().map(field).collect() }
    }
}

fn physical(of: &DataType, mapping: ColumnMapping) -> DataType {
    match of {
        DataType::Primitive(it) => DataType::Primitive(*it),
        DataType::Struct(it) => DataType::Struct(it.physical(mapping)),
        DataType::Array(it) => DataType::Array(Box::new(ArrayType {
            element: physical(&it.element, mapping),
            contains_null: it.contains_null,
        })),
        DataType::Map(it) => DataType::Map(Box::new(MapType {
            key: physical(&it.key, mapping),
            value: physical(&it.value, mapping),
            value_contains_null: it.value_contains_null,
        })),
    }
}
