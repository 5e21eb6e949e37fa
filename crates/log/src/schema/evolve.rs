//! Evolution: which types go into which, and what a schema becomes when data brings more.
//!
//! One table of widenings serves both the cast of values and the merge of schemas, so that what
//! the merge admits the cast can do. Types of the table never change here: changing them needs a
//! table feature, and readers that know it.

use super::{ArrayType, DataType, MapType, PrimitiveType, Schema, StructField, StructType};
use crate::error::{Code, Error, ErrorKind, Result};

/// The table's schema with the new columns of `incoming` appended, also inside structs.
///
/// Columns match by name, ignoring case, and keep the table's spelling, type and nullability. New
/// ones come last in the struct they are in and are nullable with all that is in them, because
/// older rows have no value for them. A void column takes the type that the data brings.
///
/// # Errors
///
/// `schema-mismatch` for a column whose values do not go into the table's type without loss;
/// `limit-exceeded` as in [`StructType::new`].
///
/// ```
/// use lakebed_log::schema::{Schema, evolve};
///
/// let table = Schema::parse_ddl("id long not null, s struct<a int>")?;
/// let data = Schema::parse_ddl("ID int, s struct<b date>, extra string not null")?;
/// let evolved = evolve(&table, &data)?;
/// assert_eq!(
///     evolved.to_string(),
///     "id long not null, s struct<a integer, b date>, extra string"
/// );
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn evolve(table: &Schema, incoming: &Schema) -> Result<Schema> {
    merge_structs(table, incoming)
}

/// Does every value of `from` have an equal one in `to`?
pub(crate) fn widens(from: PrimitiveType, to: PrimitiveType) -> bool {
    use PrimitiveType as P;
    let digits = match from {
        P::Byte => 3,
        P::Short => 5,
        P::Integer => 10,
        P::Long => 19,
        _ => u8::MAX,
    };
    match (from, to) {
        (P::Void, _)
        | (P::Byte, P::Short | P::Integer | P::Long | P::Float | P::Double)
        | (P::Short, P::Integer | P::Long | P::Float | P::Double)
        | (P::Integer, P::Long | P::Double)
        | (P::Float, P::Double)
        | (P::Date, P::TimestampNtz) => true,
        (P::Decimal { precision: p, scale: s }, P::Decimal { precision, scale }) => {
            let room = precision.checked_sub(scale);
            s <= scale && room.is_some_and(|room| p.saturating_sub(s) <= room)
        }
        (_, P::Decimal { precision, scale }) => {
            precision.checked_sub(scale).is_some_and(|room| digits <= room)
        }
        _ => from == to,
    }
}

fn merge_structs(table: &StructType, incoming: &StructType) -> Result<StructType> {
    let mut fields = table.fields.clone();
    for field in &incoming.fields {
        let known = table.position(&field.name).and_then(|at| fields.get_mut(at));
        let Some(known) = known else {
            let data_type = relaxed(&field.data_type)?;
            fields.push(StructField { data_type, nullable: true, ..field.clone() });
            continue;
        };
        known.data_type = merge(&known.data_type, &field.data_type)
            .map_err(|it| it.at(format!("column `{}`", known.name)))?;
    }
    rebuilt(fields)
}

fn merge(table: &DataType, incoming: &DataType) -> Result<DataType> {
    let merged = match (table, incoming) {
        (_, DataType::Primitive(PrimitiveType::Void)) => table.clone(),
        (DataType::Primitive(PrimitiveType::Void), _) => relaxed(incoming)?,
        (DataType::Primitive(to), DataType::Primitive(from)) if widens(*from, *to) => table.clone(),
        (DataType::Struct(table), DataType::Struct(incoming)) => {
            DataType::Struct(merge_structs(table, incoming)?)
        }
        (DataType::Array(table), DataType::Array(incoming)) => {
            let element = merge(&table.element, &incoming.element)?;
            DataType::Array(Box::new(ArrayType { element, contains_null: table.contains_null }))
        }
        (DataType::Map(table), DataType::Map(incoming)) => DataType::Map(Box::new(MapType {
            key: merge(&table.key, &incoming.key)?,
            value: merge(&table.value, &incoming.value)?,
            value_contains_null: table.value_contains_null,
        })),
        _ => {
            let what = format!(
                "{incoming} does not go into the table's {table} without loss; cast the data"
            );
            return Err(Error::new(Code::SchemaMismatch, what));
        }
    };
    Ok(merged)
}

/// The type with everything in it nullable, but for the keys of maps.
fn relaxed(of: &DataType) -> Result<DataType> {
    let relaxed = match of {
        DataType::Primitive(_) => of.clone(),
        DataType::Struct(it) => {
            let field = |it: &StructField| {
                let data_type = self::relaxed(&it.data_type)?;
                Ok(StructField { data_type, nullable: true, ..it.clone() })
            };
            DataType::Struct(rebuilt(it.fields.iter().map(field).collect::<Result<_>>()?)?)
        }
        DataType::Array(it) => {
            let element = self::relaxed(&it.element)?;
            DataType::Array(Box::new(ArrayType { element, contains_null: true }))
        }
        DataType::Map(it) => DataType::Map(Box::new(MapType {
            key: it.key.clone(),
            value: self::relaxed(&it.value)?,
            value_contains_null: true,
        })),
    };
    Ok(relaxed)
}

/// A rule of schemas that breaks here is broken by the data, not by a stored table.
fn rebuilt(fields: Vec<StructField>) -> Result<StructType> {
    StructType::new(fields).map_err(|it| match it.kind() {
        ErrorKind::Corrupt => it.with_code(Code::SchemaMismatch),
        _ => it,
    })
}
