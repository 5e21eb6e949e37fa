//! By which names a data file knows the columns of the table.
//!
//! Without column mapping they are the names of the table. With it they are physical names, or the
//! field ids of Parquet, at every level. So there are two trees of one shape: the table as the user
//! sees it, and the table as its files name it. Columns are looked up by the second; what was
//! decoded gets the names of the first, so that all that follows knows one set of names only.
//!
//! ```text
//!   table    s struct<x long, y long>                    y was dropped and added again
//!   wanted   col-1 struct<col-2 long, col-9 long>
//!   file     col-1 struct<col-2 long, y long>            this `y` is the dropped one
//!   named    s struct<x long, (nothing) long>
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow_schema::{
    ArrowError, DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef,
};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::schema::{
    ColumnMapping, DataType as TableType, Schema, StructField, is_same_name,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::logical::Place;

/// The columns of the table, and the same as files name them.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    mapping: ColumnMapping,
    table: SchemaRef,
    wanted: SchemaRef,
}

impl Labels {
    pub(super) fn new(schema: &Schema, mapping: ColumnMapping) -> Labels {
        let table = schema.to_arrow();
        let wanted = match mapping {
            ColumnMapping::None => Arc::clone(&table),
            _ => Arc::new(ArrowSchema::new(labelled(schema.fields(), table.fields(), mapping))),
        };
        Labels { mapping, table, wanted }
    }

    /// The columns as files name them: by name, or by the field id in their metadata.
    pub(super) fn wanted(&self) -> &SchemaRef {
        &self.wanted
    }

    /// A file without any field id, in a table that finds columns by them, would be all null; it
    /// was not written for this table.
    ///
    /// # Errors
    ///
    /// `corrupt-data`.
    pub(super) fn check(&self, file: &Fields) -> Result<()> {
        let needed = self.wanted.fields().iter().any(|it| id_of(it).is_some());
        if needed && !file.iter().any(|it| has_id(it)) {
            let what = "the table finds columns by field id and the file has none";
            return Err(Error::new(Code::CorruptData, what));
        }
        Ok(())
    }

    /// Gives the fields inside decoded columns the names that the table has for them.
    ///
    /// # Errors
    ///
    /// `corrupt-data` if the columns are not what the file's schema says.
    pub(super) fn name(&self, batch: RecordBatch, places: &[Place]) -> Result<RecordBatch> {
        if self.mapping == ColumnMapping::None {
            return Ok(batch);
        }
        let mut fields: Vec<FieldRef> = batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        for (to, from) in places {
            let (Some(wanted), Some(table)) =
                (self.wanted.fields().get(*to), self.table.fields().get(*to))
            else {
                continue;
            };
            let from = from.unwrap_or(usize::MAX);
            if let (Some(field), Some(column)) = (fields.get_mut(from), columns.get_mut(from))
                && column.data_type().is_nested()
            {
                *column = named(column, wanted.data_type(), table.data_type()).map_err(broken)?;
                let typed = field.as_ref().clone().with_data_type(column.data_type().clone());
                *field = Arc::new(typed);
            }
        }
        let schema = Arc::new(ArrowSchema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(broken)
    }
}

/// Fields as files name them. Both slices are of the same fields.
fn labelled(fields: &[StructField], arrow: &Fields, mapping: ColumnMapping) -> Fields {
    let label = |(field, arrow): (&StructField, &FieldRef)| {
        let labelled = arrow
            .as_ref()
            .clone()
            .with_name(field.physical_name(mapping))
            .with_data_type(labelled_type(&field.data_type, arrow.data_type(), mapping));
        match (mapping, field.field_id()) {
            (ColumnMapping::Id, Some(id)) => {
                let mut metadata = labelled.metadata().clone();
                metadata.insert(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string());
                labelled.with_metadata(metadata)
            }
            _ => labelled,
        }
    };
    fields.iter().zip(arrow).map(label).collect()
}

fn labelled_type(of: &TableType, arrow: &DataType, mapping: ColumnMapping) -> DataType {
    let part = |of: &TableType, arrow: &FieldRef| {
        arrow.as_ref().clone().with_data_type(labelled_type(of, arrow.data_type(), mapping))
    };
    match (of, arrow) {
        (TableType::Struct(of), DataType::Struct(fields)) => {
            DataType::Struct(labelled(of.fields(), fields, mapping))
        }
        (TableType::Array(of), DataType::List(element)) => {
            DataType::List(part(&of.element, element).into())
        }
        (TableType::Map(of), DataType::Map(entries, sorted)) => {
            let DataType::Struct(fields) = entries.data_type() else { return arrow.clone() };
            let parts = [&of.key, &of.value].into_iter().zip(fields).map(|(of, it)| part(of, it));
            let entries = entries.as_ref().clone();
            DataType::Map(entries.with_data_type(DataType::Struct(parts.collect())).into(), *sorted)
        }
        _ => arrow.clone(),
    }
}

fn id_of(field: &Field) -> Option<&str> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY).map(String::as_str)
}

/// Depth is that of the file's schema, which has been checked.
fn has_id(field: &Field) -> bool {
    id_of(field).is_some()
        || match field.data_type() {
            DataType::Struct(fields) => fields.iter().any(|it| has_id(it)),
            DataType::List(it) | DataType::Map(it, _) => has_id(it),
            _ => false,
        }
}

/// For each wanted field its place in the file: by its field id if it has one, else by exact name,
/// else ignoring case.
pub(super) fn matches(file: &Fields, wanted: &Fields) -> Result<Vec<Option<usize>>> {
    let mut ids: Option<BTreeMap<&str, Vec<usize>>> = None;
    let mut exact: Option<BTreeMap<&str, Vec<usize>>> = None;
    let mut folded: Option<BTreeMap<String, Vec<usize>>> = None;
    let find = |wanted: &FieldRef| {
        let name = wanted.name();
        let found = match id_of(wanted) {
            Some(id) => {
                let ids = ids.get_or_insert_with(|| places(file.iter().map(|it| id_of(it))));
                ids.get(id)
            }
            None => {
                let names = || file.iter().map(|it| Some(it.name().as_str()));
                let exact = exact.get_or_insert_with(|| places(names()));
                exact.get(name.as_str()).or_else(|| {
                    let lower = || file.iter().map(|it| Some(it.name().to_lowercase()));
                    folded.get_or_insert_with(|| places(lower())).get(&name.to_lowercase())
                })
            }
        };
        match found.map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([at]) => Ok(Some(*at)),
            Some(_) => {
                let what = match id_of(wanted) {
                    Some(id) => format!("two columns of the file have the field id {id}"),
                    None => format!("two columns of the file are named `{name}`"),
                };
                Err(Error::new(Code::CorruptData, what))
            }
        }
    };
    wanted.iter().map(find).collect()
}

/// Where each key stands.
fn places<K: Ord>(keys: impl Iterator<Item = Option<K>>) -> BTreeMap<K, Vec<usize>> {
    let mut places: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (at, key) in keys.enumerate() {
        if let Some(key) = key {
            places.entry(key).or_default().push(at);
        }
    }
    places
}

fn named(array: &ArrayRef, wanted: &DataType, table: &DataType) -> Result<ArrayRef, ArrowError> {
    match (wanted, table) {
        (DataType::Struct(wanted), DataType::Struct(table)) => match array.as_struct_opt() {
            Some(array) => Ok(Arc::new(named_struct(array, wanted, table)?)),
            None => Ok(Arc::clone(array)),
        },
        (DataType::List(wanted), DataType::List(table)) => match array.as_list_opt::<i32>() {
            Some(list) => {
                let values = named(list.values(), wanted.data_type(), table.data_type())?;
                let DataType::List(element) = list.data_type() else { return Ok(array.clone()) };
                let element = typed(element, &values);
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(element, offsets, values, nulls)?))
            }
            None => Ok(Arc::clone(array)),
        },
        (DataType::Map(wanted, _), DataType::Map(table, _)) => match array.as_map_opt() {
            Some(map) => named_map(map, wanted.data_type(), table.data_type()),
            None => Ok(Arc::clone(array)),
        },
        _ => Ok(Arc::clone(array)),
    }
}

/// A field that the table does not have, decoded because nulls of the struct are written with it,
/// must not pass for one that it has.
fn named_struct(
    array: &StructArray,
    wanted: &Fields,
    table: &Fields,
) -> Result<StructArray, ArrowError> {
    let matched = matches(array.fields(), wanted)
        .map_err(|it| ArrowError::SchemaError(it.message().to_string()))?;
    let mut fields: Vec<Field> = array.fields().iter().map(|it| it.as_ref().clone()).collect();
    let mut columns = array.columns().to_vec();
    for (at, field) in fields.iter_mut().enumerate() {
        let taken = table.iter().any(|it| is_same_name(it.name(), field.name()));
        if taken && !matched.contains(&Some(at)) {
            field.set_name("");
        }
    }
    for ((wanted, table), at) in wanted.iter().zip(table).zip(matched) {
        let at = at.unwrap_or(usize::MAX);
        if let (Some(field), Some(column)) = (fields.get_mut(at), columns.get_mut(at)) {
            *column = named(column, wanted.data_type(), table.data_type())?;
            let renamed = field.clone().with_name(table.name());
            *field = renamed.with_data_type(column.data_type().clone());
        }
    }
    StructArray::try_new_with_length(fields.into(), columns, array.nulls().cloned(), array.len())
}

/// Keys and values are found by place.
fn named_map(map: &MapArray, wanted: &DataType, table: &DataType) -> Result<ArrayRef, ArrowError> {
    let (DataType::Struct(wanted), DataType::Struct(table), DataType::Map(field, sorted)) =
        (wanted, table, map.data_type())
    else {
        return Ok(Arc::new(map.clone()));
    };
    let entries = map.entries();
    let parts = entries.columns().iter().zip(wanted.iter().zip(table));
    let parts = parts.map(|(it, (wanted, table))| named(it, wanted.data_type(), table.data_type()));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let fields: Fields =
        entries.fields().iter().zip(&parts).map(|(it, of)| typed(it, of)).collect();
    let entries = StructArray::try_new(fields, parts, entries.nulls().cloned())?;
    let field = field.as_ref().clone().with_data_type(entries.data_type().clone());
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(field.into(), offsets, entries, nulls, *sorted)?))
}

fn typed(field: &FieldRef, array: &ArrayRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(array.data_type().clone()))
}

fn broken(err: ArrowError) -> Error {
    Error::new(Code::CorruptData, format!("the columns do not fit the file's schema: {err}"))
}

#[cfg(test)]
mod tests;
