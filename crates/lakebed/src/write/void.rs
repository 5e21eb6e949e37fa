//! Void columns and fields are left out of data files.
//!
//! They hold nothing, and Parquet has no type for them that every reader knows. A reader fills them
//! with null, as it does any column that a file lacks.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use lakebed_log::error::{Error, Result};

/// The field as it goes into a file; `None` if nothing of it does.
pub(super) fn physical(field: &FieldRef) -> Option<FieldRef> {
    let data_type = match field.data_type() {
        DataType::Null => return None,
        DataType::Struct(fields) => {
            let kept: Fields = fields.iter().filter_map(physical).collect();
            if kept.is_empty() {
                return None;
            }
            DataType::Struct(kept)
        }
        DataType::List(element) => DataType::List(physical(element)?),
        DataType::Map(entries, sorted) => {
            let kept = physical(entries)?;
            match kept.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => DataType::Map(kept, *sorted),
                _ => return None,
            }
        }
        other => other.clone(),
    };
    Some(Arc::new(Field::clone(field).with_data_type(data_type)))
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
