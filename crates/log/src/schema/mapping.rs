//! Column mapping: the names and numbers by which data files, partition values and statistics know
//! a column, where they are not the names that users see.
//!
//! With it a column can be renamed or dropped without a file being touched, and a new column of an
//! old name does not find the bytes of the old one. That holds only while names and numbers tell
//! columns apart, so a schema in which they do not is refused before anything is looked up by them.

use std::collections::BTreeSet;

use super::{ArrayType, DataType, MapType, StructField, StructType};
use crate::error::{Code, Error, Result};

const ID: &str = "delta.columnMapping.id";
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

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

impl ColumnMapping {
    /// The value of `delta.columnMapping.mode`, in any case; `None` for a mode that nobody knows.
    pub fn parse(mode: &str) -> Option<ColumnMapping> {
        match mode.to_ascii_lowercase().as_str() {
            "none" => Some(ColumnMapping::None),
            "name" => Some(ColumnMapping::Name),
            "id" => Some(ColumnMapping::Id),
            _ => None,
        }
    }

    /// Do the fields of a schema, at every level, have what this mapping finds them by?
    ///
    /// # Errors
    ///
    /// `invalid-schema` for a field without id or physical name, for an id that two fields have,
    /// and for a physical name that two fields of one struct have.
    pub fn check(self, schema: &StructType) -> Result<()> {
        match self {
            ColumnMapping::None => Ok(()),
            _ => check_struct(schema, &mut BTreeSet::new()),
        }
    }
}

impl StructField {
    /// The name in data files, partition values and statistics.
    pub fn physical_name(&self, mapping: ColumnMapping) -> &str {
        let named = self.metadata.get(PHYSICAL_NAME);
        match mapping {
            ColumnMapping::None => &self.name,
            _ => named.and_then(|it| it.as_str()).unwrap_or(&self.name),
        }
    }

    /// The field id of Parquet, under either mapping.
    pub fn field_id(&self) -> Option<i32> {
        let id = self.metadata.get(ID)?.as_i64()?;
        i32::try_from(id).ok()
    }
}

impl StructType {
    /// The same schema by physical names, at every level.
    ///
    /// ```
    /// use lakebed_log::schema::{ColumnMapping, Schema};
    ///
    /// let schema = Schema::from_json(
    ///     r#"{"type":"struct","fields":[{"name":"day","type":"date","nullable":true,"metadata":
    ///         {"delta.columnMapping.id":1,"delta.columnMapping.physicalName":"col-7f"}}]}"#,
    /// )?;
    /// assert_eq!(schema.physical(ColumnMapping::Name).fields()[0].name, "col-7f");
    /// assert_eq!(schema.physical(ColumnMapping::None), schema);
    /// # Ok::<(), lakebed_log::error::Error>(())
    /// ```
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

    /// A path of names, through structs only, by physical names; `None` if there is no such field.
    pub fn physical_path(&self, path: &[String], mapping: ColumnMapping) -> Option<Vec<String>> {
        let mut names = Vec::with_capacity(path.len());
        let mut fields = Some(self);
        for name in path {
            let field = fields?.field(name)?;
            names.push(field.physical_name(mapping).to_string());
            fields = match &field.data_type {
                DataType::Struct(inner) => Some(inner),
                _ => None,
            };
        }
        Some(names)
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

/// Depth is bounded by that of schemas.
fn check_struct(schema: &StructType, ids: &mut BTreeSet<i32>) -> Result<()> {
    let bad = |what: String| Err(Error::new(Code::InvalidSchema, what));
    let mut names = BTreeSet::new();
    for field in &schema.fields {
        let shown: String = field.name.chars().take(80).flat_map(char::escape_debug).collect();
        let Some(id) = field.field_id() else {
            return bad(format!("columns are mapped and `{shown}` has no `{ID}`"));
        };
        if !ids.insert(id) {
            return bad(format!("columns are mapped and two have `{ID}` {id}, one is `{shown}`"));
        }
        let name = field.metadata.get(PHYSICAL_NAME).and_then(|it| it.as_str());
        let Some(name) = name.filter(|it| !it.is_empty()) else {
            return bad(format!("columns are mapped and `{shown}` has no `{PHYSICAL_NAME}`"));
        };
        if !names.insert(name) {
            let what =
                format!("columns are mapped and two have the `{PHYSICAL_NAME}` of `{shown}`");
            return bad(what);
        }
        check_type(&field.data_type, ids)?;
    }
    Ok(())
}

fn check_type(of: &DataType, ids: &mut BTreeSet<i32>) -> Result<()> {
    match of {
        DataType::Primitive(_) => Ok(()),
        DataType::Struct(it) => check_struct(it, ids),
        DataType::Array(it) => check_type(&it.element, ids),
        DataType::Map(it) => {
            check_type(&it.key, ids)?;
            check_type(&it.value, ids)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn field(name: &str, of: &str, metadata: &str) -> String {
        format!(r#"{{"name":"{name}","type":{of},"nullable":true,"metadata":{{{metadata}}}}}"#)
    }

    fn mapped(name: &str, of: &str, id: &str, physical: &str) -> String {
        field(name, of, &format!(r#""{ID}":{id},"{PHYSICAL_NAME}":{physical}"#))
    }

    fn structure(fields: &[String]) -> String {
        format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","))
    }

    fn array(of: &str) -> String {
        format!(r#"{{"type":"array","elementType":{of},"containsNull":true}}"#)
    }

    fn map(key: &str, value: &str) -> String {
        format!(r#"{{"type":"map","keyType":{key},"valueType":{value},"valueContainsNull":true}}"#)
    }

    fn long(name: &str, id: i32, physical: &str) -> String {
        mapped(name, r#""long""#, &id.to_string(), &format!("\"{physical}\""))
    }

    /// Sound under either mapping, or the part of a message.
    #[track_caller]
    fn check(fields: &[String], wrong: Option<&str>) {
        let schema = Schema::from_json(&structure(fields)).unwrap();
        ColumnMapping::None.check(&schema).unwrap();
        for mapping in [ColumnMapping::Name, ColumnMapping::Id] {
            match (mapping.check(&schema), wrong) {
                (Ok(()), None) => (),
                (Err(error), Some(wrong)) => {
                    assert_eq!(error.code(), Code::InvalidSchema);
                    assert!(error.message().contains(wrong), "{error}");
                }
                (outcome, _) => panic!("{outcome:?}, expected {wrong:?}"),
            }
        }
    }

    /// spec: MAP-3, MAP-4, MAP-5
    #[test]
    fn names_and_ids_tell_columns_apart() {
        let plain = field("b", r#""long""#, "");
        let inner = |id, name| structure(&[long("x", id, name)]);
        check(&[long("a", 1, "p"), long("b", 2, "q")], None);
        check(&[long("a", 1, "p"), plain.clone()], Some("`b` has no"));
        check(&[long("a", 1, "p"), long("b", 1, "q")], Some("two have"));
        check(&[long("a", 1, "p"), long("b", 2, "p")], Some("`b`"));
        for id in ["null", "1.5", "2147483648", "\"1\""] {
            check(&[mapped("a", r#""long""#, id, r#""p""#)], Some("columnMapping.id"));
        }
        for name in ["null", "7", r#""""#] {
            check(&[mapped("a", r#""long""#, "1", name)], Some("physicalName"));
        }
        // The path to a field must be unique, not its last name.
        let nested = |of: &str| mapped("s", of, "2", r#""q""#);
        check(&[long("a", 1, "p"), nested(&inner(3, "p"))], None);
        check(&[nested(&map(&inner(3, "p"), &inner(4, "p")))], None);
        for of in [inner(1, "r"), array(&inner(1, "r")), map(r#""long""#, &inner(1, "r"))] {
            check(&[long("a", 1, "p"), nested(&of)], Some("two have"));
        }
        let bare = structure(&[plain]);
        for of in [bare.clone(), array(&array(&bare)), map(&bare, r#""long""#)] {
            check(&[long("a", 1, "p"), nested(&of)], Some("`b` has no"));
        }
        let twice = structure(&[long("x", 3, "r"), long("y", 4, "r")]);
        check(&[nested(&array(&twice))], Some("`y`"));
    }

    /// spec: MAP-1, MAP-6
    #[test]
    fn physical_names_at_every_level() {
        let inner = structure(&[long("x", 3, "r")]);
        let of = map(&inner.replace('3', "4"), &array(&inner));
        let schema = structure(&[
            mapped("S", &inner.replace('3', "6"), "5", r#""t""#),
            mapped("m", &of, "2", r#""q""#),
        ]);
        let schema = Schema::from_json(&schema).unwrap();
        ColumnMapping::Id.check(&schema).unwrap();
        let shown = "t struct<r long>, q map<struct<r long>, array<struct<r long>>>";
        assert_eq!(schema.physical(ColumnMapping::Name).to_string(), shown);
        assert_eq!(schema.physical(ColumnMapping::Id).to_string(), shown);
        assert_eq!(schema.physical(ColumnMapping::None), schema);

        let path = |it: &[&str]| {
            let path: Vec<String> = it.iter().map(ToString::to_string).collect();
            schema.physical_path(&path, ColumnMapping::Name).map(|it| it.join("/"))
        };
        assert_eq!(path(&["s", "X"]).as_deref(), Some("t/r"));
        assert_eq!(path(&["m"]).as_deref(), Some("q"));
        for none in [&["t"][..], &["s", "r"], &["m", "x"], &["s", "x", "y"]] {
            assert_eq!(path(none), None);
        }
    }

    /// spec: MAP-1
    #[test]
    fn modes_in_any_case() {
        assert_eq!(ColumnMapping::parse("none"), Some(ColumnMapping::None));
        assert_eq!(ColumnMapping::parse("Name"), Some(ColumnMapping::Name));
        assert_eq!(ColumnMapping::parse("ID"), Some(ColumnMapping::Id));
        assert_eq!(ColumnMapping::parse("telepathy"), None);
    }
}
