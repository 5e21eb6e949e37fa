//! Void columns and fields are left out of data files.
//!
//! They hold nothing, and Parquet has no type for them that every reader knows. A reader fills them
//! with null, as it does any column that a file lacks.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use lakebed_log::error::{Code, Error, Result};

/// The columns of `table` that go into its files, each with its place there.
///
/// # Errors
///
/// `unsupported-data` if there is none, for a struct of nothing but void, and for void inside a
/// list or map: the length of the list would have nowhere to be.
pub(super) fn physical(
    table: &Schema,
    partition_columns: &[String],
) -> Result<(Vec<usize>, SchemaRef)> {
    let (mut kept, mut fields) = (Vec::new(), Vec::new());
    for (at, field) in table.fields().iter().enumerate() {
        let void = *field.data_type() == DataType::Null;
        if !void && !partition_columns.contains(field.name()) {
            kept.push(at);
            fields.push(without_void(field, field.name())?);
        }
    }
    if kept.is_empty() {
        let what = "a data file needs a column that is neither void nor a partition column";
        return Err(Error::new(Code::UnsupportedData, what));
    }
    Ok((kept, Arc::new(Schema::new(fields))))
}

fn without_void(field: &FieldRef, path: &str) -> Result<FieldRef> {
    let refuse = |what: &str| {
        let what = format!("column `{path}` is {what}, which a data file cannot hold");
        Err(Error::new(Code::UnsupportedData, what))
    };
    let inside = |it: &FieldRef| without_void(it, &format!("{path}.{}", it.name()));
    let data_type = match field.data_type() {
        DataType::Null => return refuse("void inside a list or map"),
        DataType::Struct(fields) => {
            let kept = fields.iter().filter(|it| *it.data_type() != DataType::Null);
            let kept = kept.map(inside).collect::<Result<Vec<_>>>()?;
            if kept.is_empty() {
                return refuse("a struct of nothing but void");
            }
            DataType::Struct(kept.into())
        }
        DataType::List(element) => DataType::List(inside(element)?),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return refuse("a map without entries");
            };
            let fields = fields.iter().map(inside).collect::<Result<Vec<_>>>()?;
            let entries = Field::clone(entries).with_data_type(DataType::Struct(fields.into()));
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    };
    Ok(Arc::new(Field::clone(field).with_data_type(data_type)))
}

/// The array in the shape that [`physical`] gave its type.
pub(super) fn strip(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let nulls = array.nulls().cloned();
    let internal = |it| Error::internal("void fields do not strip").because(it);
    Ok(match (array.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Arc::new(strip_struct(array.as_struct(), fields)?)
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = strip(list.values(), element.data_type())?;
            let (element, offsets) = (Arc::clone(element), list.offsets().clone());
            Arc::new(ListArray::try_new(element, offsets, values, nulls).map_err(internal)?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(Error::internal("a map without entries"));
            };
            let map = array.as_map();
            let values = strip_struct(map.entries(), fields)?;
            let (entries, offsets) = (Arc::clone(entries), map.offsets().clone());
            let map = MapArray::try_new(entries, offsets, values, nulls, *sorted);
            Arc::new(map.map_err(internal)?)
        }
        (from, to) => {
            return Err(Error::internal(format!("rows of {from} do not fit a file of {to}")));
        }
    })
}

fn strip_struct(array: &StructArray, fields: &Fields) -> Result<StructArray> {
    let child = |field: &FieldRef| match array.column_by_name(field.name()) {
        Some(child) => strip(child, field.data_type()),
        None => Err(Error::internal(format!("field `{}` is gone", field.name()))),
    };
    let children = fields.iter().map(child).collect::<Result<Vec<_>>>()?;
    StructArray::try_new(fields.clone(), children, array.nulls().cloned())
        .map_err(|it| Error::internal("void fields do not strip").because(it))
}
