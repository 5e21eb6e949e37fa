//! May the rows of one version be told in the schema of another?
//!
//! Row changes of many versions come out in one shape, that of the last version. Columns that came
//! later are null in earlier rows, and types that became wider hold every earlier value. All else
//! would tell a row that never was: a column that was dropped would be missing, one that was
//! renamed would stand under a name that it did not have, and another type would need a guess.

use crate::action::Metadata;
use crate::error::{Code, Error, Result};
use crate::schema::{
    ColumnMapping, DataType, PrimitiveType, StructField, StructType, is_same_name, widens,
};
use crate::state::Head;

/// Checks that rows of the version `of` can be told in the schema of the version `told`.
///
/// # Errors
///
/// `schema-mismatch` names the column that was dropped, renamed, changed to another type or made
/// not null in between, or says that the partition columns are others.
pub fn check_schema(told: &Head, of: &Head) -> Result<()> {
    if of.schema == told.schema
        && of.mapping == told.mapping
        && of.metadata.partition_columns == told.metadata.partition_columns
    {
        return Ok(());
    }
    let error = |what: String| {
        let versions = format!("version {} to version {}", of.version, told.version);
        let hint = "read up to the version before the change, and then from it on";
        Error::new(Code::SchemaMismatch, format!("{what} from {versions}; {hint}"))
    };
    let sorted = |it: &Metadata| {
        let mut names = it.partition_columns.clone();
        names.sort();
        names
    };
    if sorted(&of.metadata) != sorted(&told.metadata) {
        return Err(error("the partition columns changed".to_string()));
    }
    let names = [of.mapping, told.mapping];
    structs(&of.schema, &told.schema, names, "").map_err(error)
}

/// What hinders, in words. `names` are the mappings of the two.
fn structs(
    of: &StructType,
    told: &StructType,
    names: [ColumnMapping; 2],
    prefix: &str,
) -> Result<(), String> {
    let [of_names, told_names] = names;
    let same = |a: &StructField, b: &StructField| {
        is_same_name(a.physical_name(of_names), b.physical_name(told_names))
    };
    for field in of.fields() {
        let shown = format!("{prefix}{}", field.name);
        let Some(now) = told.fields().iter().find(|it| same(field, it)) else {
            return Err(format!("column `{shown}` was dropped"));
        };
        if !is_same_name(&field.name, &now.name) {
            return Err(format!("column `{shown}` was renamed to `{prefix}{}`", now.name));
        }
        if field.nullable && !now.nullable {
            return Err(format!("column `{shown}` became not null"));
        }
        types(&field.data_type, &now.data_type, names, &shown)?;
    }
    let is_new = |it: &&StructField| !of.fields().iter().any(|field| same(field, it));
    match told.fields().iter().filter(is_new).find(|it| !it.nullable) {
        Some(new) => Err(format!("column `{prefix}{}`, which is not null, was added", new.name)),
        None => Ok(()),
    }
}

fn types(
    of: &DataType,
    told: &DataType,
    names: [ColumnMapping; 2],
    shown: &str,
) -> Result<(), String> {
    let nulls = |of: bool, told: bool| match of && !told {
        true => Err(format!("what is in column `{shown}` became not null")),
        false => Ok(()),
    };
    match (of, told) {
        (DataType::Primitive(PrimitiveType::Void), _) => Ok(()),
        (DataType::Primitive(of), DataType::Primitive(told)) if widens(*of, *told) => Ok(()),
        (DataType::Struct(of), DataType::Struct(told)) => {
            structs(of, told, names, &format!("{shown}."))
        }
        (DataType::Array(of), DataType::Array(told)) => {
            nulls(of.contains_null, told.contains_null)?;
            types(&of.element, &told.element, names, shown)
        }
        (DataType::Map(of), DataType::Map(told)) => {
            nulls(of.value_contains_null, told.value_contains_null)?;
            types(&of.key, &told.key, names, shown)?;
            types(&of.value, &told.value, names, shown)
        }
        _ => Err(format!("column `{shown}` changed its type from {of} to {told}")),
    }
}
