//! Variants in batches, for people.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow_schema::{
    ArrowError, DataType as ArrowType, Field, FieldRef, Schema as ArrowSchema, SchemaRef,
};

use super::is_variant;
use crate::error::{Code, Error, Result};
use crate::variant::to_json;

/// The shape of a batch once its variants are text.
fn shape(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        _ if is_variant(field) => {
            return Arc::new(Field::new(field.name(), ArrowType::Utf8, field.is_nullable()));
        }
        ArrowType::Struct(fields) => ArrowType::Struct(fields.iter().map(shape).collect()),
        ArrowType::List(element) => ArrowType::List(shape(element)),
        ArrowType::Map(entries, sorted) => ArrowType::Map(shape(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The schema of [`variants_as_text`].
pub fn schema_as_text(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(shape).collect();
    Arc::new(ArrowSchema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batch with JSON text in place of every variant, at any depth.
///
/// # Errors
///
/// Those of [`to_json`]; `limit-exceeded` for more text than an array holds.
///
/// ```
/// # use std::sync::Arc;
/// use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StructArray, cast::AsArray};
/// use lakebed_log::schema::{Schema, variants_as_text};
///
/// let shape = Schema::parse_ddl("v variant")?.to_arrow();
/// let arrow_schema::DataType::Struct(fields) = shape.field(0).data_type() else { unreachable!() };
/// let binary = |bytes: &[u8]| Arc::new(BinaryArray::from_vec(vec![bytes])) as ArrayRef;
/// let columns = vec![binary(&[1, 0, 0]), binary(&[0b1100, 7])];
/// let variants = StructArray::new(fields.clone(), columns, None);
/// let batch = RecordBatch::try_new(shape, vec![Arc::new(variants)]).unwrap();
/// assert_eq!(variants_as_text(&batch)?.column(0).as_string::<i32>().value(0), "7");
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn variants_as_text(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let shape = schema_as_text(&schema);
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, it)| text_of(it, field)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(shape, columns, &options).map_err(unexpected)
}

fn text_of(array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    if is_variant(field) {
        return variants(array);
    }
    let target = shape(field);
    if target == *field {
        return Ok(Arc::clone(array));
    }
    match (field.data_type(), target.data_type()) {
        (ArrowType::Struct(_), ArrowType::Struct(_)) => {
            Ok(Arc::new(structure(array.as_struct(), &target)?))
        }
        (ArrowType::List(element), ArrowType::List(to)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = text_of(&values, element)?;
            let list = ListArray::try_new(Arc::clone(to), offsets, values, nulls);
            Ok(Arc::new(list.map_err(unexpected)?))
        }
        (ArrowType::Map(..), ArrowType::Map(to, sorted)) => {
            let (_, offsets, entries, nulls, _) = array.as_map().clone().into_parts();
            let entries = structure(&entries, to)?;
            let map = MapArray::try_new(Arc::clone(to), offsets, entries, nulls, *sorted);
            Ok(Arc::new(map.map_err(unexpected)?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn structure(array: &StructArray, to: &Field) -> Result<StructArray> {
    let ArrowType::Struct(fields) = to.data_type() else {
        return Err(Error::internal("entries of a map are no struct"));
    };
    let columns = array.fields().iter().zip(array.columns());
    let columns = columns.map(|(field, it)| text_of(it, field)).collect::<Result<_>>()?;
    StructArray::try_new(fields.clone(), columns, array.nulls().cloned()).map_err(unexpected)
}

fn variants(array: &ArrayRef) -> Result<ArrayRef> {
    let part = |name: &str| {
        let part = array.as_struct_opt().and_then(|it| it.column_by_name(name));
        let part = part.and_then(|it| it.as_binary_opt::<i32>());
        part.ok_or_else(|| Error::internal("a variant is no struct of binaries"))
    };
    let (metadata, value) = (part("metadata")?, part("value")?);
    let mut text = StringBuilder::new();
    for row in 0..array.len() {
        match array.is_null(row) {
            true => text.append_null(),
            false => {
                let json = to_json(metadata.value(row), value.value(row))?;
                let total = text.values_slice().len().checked_add(json.len());
                if total.and_then(|it| i32::try_from(it).ok()).is_none() {
                    let what = format!("variants of a batch are over {} bytes as text", i32::MAX);
                    return Err(Error::new(Code::LimitExceeded, what));
                }
                text.append_value(json);
            }
        }
    }
    Ok(Arc::new(text.finish()))
}

fn unexpected(error: ArrowError) -> Error {
    Error::internal("text does not fit where a variant was").because(error)
}
