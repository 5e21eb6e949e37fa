//! The rows of one kind of action, their fields cast to one shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, StringArray, StructArray,
    new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;

use crate::action::NullableMap;
use crate::batch::columns::{entries_field, map_type, vector_fields};
use crate::batch::parquet::check_vector;
use crate::batch::rules::corrupt;
use crate::error::{Error, Result};

/// Rows of one kind; each row is filled.
pub(super) struct Section {
    kind: &'static str,
    rows: StructArray,
}

impl Section {
    pub(super) fn new(kind: &'static str, rows: StructArray) -> Section {
        Section { kind, rows }
    }

    /// Refuses more than one row.
    pub(super) fn one(&self) -> Result<()> {
        match self.rows.len() {
            1 => Ok(()),
            rows => Err(corrupt(format!("{rows} rows of `{}`, one is allowed", self.kind))),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<StringArray> {
        let column = self.column(name, &DataType::Utf8)?;
        self.typed(name, as_text(&column).and_then(|it| it.as_string_opt::<i32>().cloned()))
    }

    pub(super) fn longs(&self, name: &str) -> Result<Int64Array> {
        let column = self.column(name, &DataType::Int64)?;
        let long = as_integer(&column, &DataType::Int64);
        self.typed(name, long.and_then(|it| it.as_primitive_opt::<Int64Type>().cloned()))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Int32Array> {
        let column = self.column(name, &DataType::Int32)?;
        let int = as_integer(&column, &DataType::Int32);
        self.typed(name, int.and_then(|it| it.as_primitive_opt::<Int32Type>().cloned()))
    }

    pub(super) fn booleans(&self, name: &str) -> Result<BooleanArray> {
        let column = self.column(name, &DataType::Boolean)?;
        self.typed(name, column.as_boolean_opt().cloned())
    }

    pub(super) fn maps(&self, name: &str) -> Result<MapArray> {
        let column = self.column(name, &map_type())?;
        self.typed(name, column.as_map_opt().and_then(as_string_map))
    }

    pub(super) fn required_texts(&self, name: &str) -> Result<StringArray> {
        self.required(name, self.texts(name)?)
    }

    pub(super) fn required_longs(&self, name: &str) -> Result<Int64Array> {
        self.required(name, self.longs(name)?)
    }

    pub(super) fn required_ints(&self, name: &str) -> Result<Int32Array> {
        self.required(name, self.ints(name)?)
    }

    pub(super) fn required_booleans(&self, name: &str) -> Result<BooleanArray> {
        self.required(name, self.booleans(name)?)
    }

    pub(super) fn required_maps(&self, name: &str) -> Result<MapArray> {
        self.required(name, self.maps(name)?)
    }

    /// The column `path`, none of them empty.
    pub(super) fn paths(&self) -> Result<StringArray> {
        let paths = self.required_texts("path")?;
        if paths.value_offsets().windows(2).any(|it| it.first() == it.last()) {
            return Err(corrupt(format!("`{}.path` is empty in a row", self.kind)));
        }
        Ok(paths)
    }

    /// A column of sizes, none of them null or negative.
    pub(super) fn sizes(&self, name: &str) -> Result<Int64Array> {
        self.not_negative(name, self.required_longs(name)?)
    }

    pub(super) fn not_negative(&self, name: &str, column: Int64Array) -> Result<Int64Array> {
        if column.iter().flatten().any(|it| it < 0) {
            return Err(corrupt(format!("`{}.{name}` is negative in a row", self.kind)));
        }
        Ok(column)
    }

    /// A column of structs; `None` if there is no such column.
    pub(super) fn structure(&self, name: &str) -> Result<Option<StructArray>> {
        match self.rows.column_by_name(name) {
            None => Ok(None),
            Some(column) => self.typed(name, column.as_struct_opt().cloned()).map(Some),
        }
    }

    /// The deletion vectors, each checked.
    pub(super) fn vectors(&self) -> Result<StructArray> {
        let Some(found) = self.structure("deletionVector")? else {
            return Ok(StructArray::new_null(vector_fields(), self.rows.len()));
        };
        let parts = Section::new("deletionVector", found);
        let storage_type = parts.texts("storageType")?;
        let path = parts.texts("pathOrInlineDv")?;
        let offset = parts.ints("offset")?;
        let size_in_bytes = parts.ints("sizeInBytes")?;
        let cardinality = parts.longs("cardinality")?;
        for row in (0..parts.rows.len()).filter(|it| parts.rows.is_valid(*it)) {
            check_vector(
                storage_type.is_valid(row).then(|| storage_type.value(row)),
                path.is_valid(row).then(|| path.value(row)),
                offset.is_valid(row).then(|| offset.value(row)),
                size_in_bytes.is_valid(row).then(|| size_in_bytes.value(row)),
                cardinality.is_valid(row).then(|| cardinality.value(row)),
            )?;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(storage_type),
            Arc::new(path),
            Arc::new(offset),
            Arc::new(size_in_bytes),
            Arc::new(cardinality),
        ];
        StructArray::try_new(vector_fields(), columns, parts.rows.nulls().cloned())
            .map_err(|it| Error::internal("deletion vectors do not fit").because(it))
    }

    /// The map in one row; `None` if it is null.
    pub(super) fn map_at(&self, name: &str, row: usize) -> Result<Option<NullableMap>> {
        let maps = self.maps(name)?;
        if maps.is_null(row) {
            return Ok(None);
        }
        let entries = maps.value(row);
        let text = |column: usize| {
            let column = entries.columns().get(column).and_then(|it| it.as_string_opt::<i32>());
            self.typed(name, column.cloned())
        };
        let (keys, values) = (text(0)?, text(1)?);
        let pair = |(key, value): (Option<&str>, Option<&str>)| {
            Some((key?.to_string(), value.map(str::to_string)))
        };
        Ok(Some(keys.iter().zip(values.iter()).filter_map(pair).collect()))
    }

    /// The map in one row, empty if it is null; its values may not be.
    pub(super) fn not_null_map_at(
        &self,
        name: &str,
        row: usize,
    ) -> Result<BTreeMap<String, String>> {
        let pair = |(key, value): (String, Option<String>)| match value {
            Some(value) => Ok((key, value)),
            None => Err(corrupt(format!("`{}.{name}` has a null at a key", self.kind))),
        };
        self.map_at(name, row)?.into_iter().flatten().map(pair).collect()
    }

    /// The list of strings in one row; `None` if it is null.
    pub(super) fn list_at(&self, name: &str, row: usize) -> Result<Option<Vec<String>>> {
        let Some(column) = self.rows.column_by_name(name) else {
            return Ok(None);
        };
        if column.is_null(row) || *column.data_type() == DataType::Null {
            return Ok(None);
        }
        let elements = match column.data_type() {
            DataType::List(_) => column.as_list_opt::<i32>().map(|it| it.value(row)),
            DataType::LargeList(_) => column.as_list_opt::<i64>().map(|it| it.value(row)),
            _ => None,
        };
        let elements = self.typed(name, elements.and_then(|it| as_text(&it)))?;
        let elements = self.typed(name, elements.as_string_opt::<i32>().cloned())?;
        let elements = self.required(name, elements)?;
        Ok(Some(elements.iter().flatten().map(str::to_string).collect()))
    }

    /// The column of a name, null if the file does not have it.
    fn column(&self, name: &str, absent: &DataType) -> Result<ArrayRef> {
        Ok(match self.rows.column_by_name(name) {
            Some(column) if *column.data_type() != DataType::Null => column.clone(),
            _ => new_null_array(absent, self.rows.len()),
        })
    }

    fn required<A: Array>(&self, name: &str, column: A) -> Result<A> {
        if column.null_count() > 0 {
            return Err(corrupt(format!("`{}.{name}` is null in a row", self.kind)));
        }
        Ok(column)
    }

    fn typed<A>(&self, name: &str, column: Option<A>) -> Result<A> {
        column.ok_or_else(|| corrupt(format!("`{}.{name}` is of the wrong type", self.kind)))
    }
}

/// Strings, also those that a writer stored without saying that they are.
fn as_text(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Utf8 => Some(column.clone()),
        DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Dictionary(_, _) => cast(column, &DataType::Utf8),
        _ => None,
    }
}

/// Integers of any width, if all fit.
fn as_integer(column: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    match column.data_type() {
        same if same == to => Some(column.clone()),
        other if other.is_integer() => cast(column, to),
        _ => None,
    }
}

/// A map of strings, its entries named our way. Keys and values stay where they are.
fn as_string_map(maps: &MapArray) -> Option<MapArray> {
    if *maps.data_type() == map_type() {
        return Some(maps.clone());
    }
    let [keys, values] = maps.entries().columns() else {
        return None;
    };
    let (keys, values) = (as_text(keys)?, as_text(values)?);
    let DataType::Struct(fields) = entries_field().data_type().clone() else {
        return None;
    };
    let entries = StructArray::try_new(fields, vec![keys, values], None).ok()?;
    let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
    MapArray::try_new(entries_field(), offsets, entries, nulls, false).ok()
}

fn cast(column: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, to, &strict).ok()
}
