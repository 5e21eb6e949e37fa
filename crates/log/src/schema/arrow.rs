//! Arrow types to protocol types and back: the one table.
//!
//! Going out there is one shape for each type. Coming in there are many: views, dictionaries, other
//! widths and units. [`natural`] names for each the narrowest protocol type that holds every value
//! of it, or every value that is exact, and whatever it does not name is refused. What casts the
//! values is in `conform`, and it asks here.

use std::sync::Arc;

use arrow_schema::{
    DataType as ArrowType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit,
};

use arrow_schema::extension::{EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY};

use super::{
    ArrayType, DataType, IntervalUnit, MapType, PrimitiveType, Schema, StructField, StructType,
};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::limits;

/// The extension type that Arrow has for variants.
const VARIANT_NAME: &str = "arrow.parquet.variant";

/// What to do with Arrow types that have no lossless twin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrowOptions {
    /// Take UInt64 as decimal(20,0). Defaults to `false`: such a column is refused.
    pub uint64_as_decimal: bool,
}

/// The schema of a new table for Arrow data, and sentences a person should see about it, such as
/// that a zone-less timestamp column becomes timestamp_ntz.
///
/// Arrow's own metadata is not taken over.
///
/// # Errors
///
/// `schema-mismatch` names the column, the type that no column type holds without loss, and the
/// cast that would help; also for names that differ in case only. `limit-exceeded` as in
/// [`StructType::new`].
///
/// ```
/// use arrow_schema::{DataType, Field, Schema, TimeUnit};
/// use lakebed_log::schema::{ArrowOptions, from_arrow};
///
/// let data = Schema::new(vec![
///     Field::new("id", DataType::UInt32, false),
///     Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
/// ]);
/// let (schema, notes) = from_arrow(&data, ArrowOptions::default())?;
/// assert_eq!(schema.to_string(), "id long not null, at timestamp_ntz");
/// assert!(notes[0].contains("`at`"));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn from_arrow(schema: &ArrowSchema, options: ArrowOptions) -> Result<(Schema, Vec<String>)> {
    let schema = natural_struct(&schema.fields, options, limits::SCHEMA_DEPTH_MAX)?;
    let mut notes = Vec::new();
    for field in schema.fields() {
        note_zoneless(&field.data_type, &field.name, &mut notes);
    }
    Ok((schema, notes))
}

pub(super) fn schema_of(schema: &StructType) -> SchemaRef {
    Arc::new(ArrowSchema::new(fields_of(schema)))
}

pub(super) fn type_of(of: &DataType) -> ArrowType {
    match of {
        DataType::Primitive(it) => primitive_of(*it),
        DataType::Struct(it) => ArrowType::Struct(fields_of(it)),
        DataType::Array(it) => ArrowType::List(element_of(it)),
        DataType::Map(it) => ArrowType::Map(entries_of(it), false),
    }
}

pub(super) fn fields_of(of: &StructType) -> Fields {
    let named = |it: &StructField| field(&it.name, &it.data_type, it.nullable);
    of.fields.iter().map(named).collect()
}

pub(super) fn element_of(of: &ArrayType) -> FieldRef {
    Arc::new(field("element", &of.element, of.contains_null))
}

pub(super) fn entries_of(of: &MapType) -> FieldRef {
    let entry =
        vec![field("key", &of.key, false), field("value", &of.value, of.value_contains_null)];
    Arc::new(Field::new("key_value", ArrowType::Struct(entry.into()), false))
}

/// A field of the type. Of a variant the field says what the struct is.
fn field(name: &str, of: &DataType, nullable: bool) -> Field {
    let field = Field::new(name, type_of(of), nullable);
    if *of != DataType::Primitive(PrimitiveType::Variant) {
        return field;
    }
    let pair = |(key, value): (&str, &str)| (key.to_string(), value.to_string());
    let extension =
        [(EXTENSION_TYPE_NAME_KEY, VARIANT_NAME), (EXTENSION_TYPE_METADATA_KEY, "")].map(pair);
    field.with_metadata(extension.into_iter().collect())
}

/// Is the field that of a variant: a struct of two binaries, `metadata` and `value`?
///
/// ```
/// use lakebed_log::schema::{Schema, is_variant};
///
/// let ddl = "v variant, s struct<metadata: binary, value: binary>";
/// let shape = Schema::parse_ddl(ddl)?.to_arrow();
/// assert!(is_variant(shape.field(0)) && !is_variant(shape.field(1)));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn is_variant(field: &Field) -> bool {
    field.extension_type_name() == Some(VARIANT_NAME)
}

pub(super) fn primitive_of(of: PrimitiveType) -> ArrowType {
    match of {
        PrimitiveType::Boolean => ArrowType::Boolean,
        PrimitiveType::Byte => ArrowType::Int8,
        PrimitiveType::Short => ArrowType::Int16,
        PrimitiveType::Integer => ArrowType::Int32,
        PrimitiveType::Long => ArrowType::Int64,
        PrimitiveType::Float => ArrowType::Float32,
        PrimitiveType::Double => ArrowType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            // The scale is at most 38 in every schema that was checked.
            ArrowType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
        }
        PrimitiveType::String => ArrowType::Utf8,
        PrimitiveType::Binary => ArrowType::Binary,
        PrimitiveType::Date => ArrowType::Date32,
        PrimitiveType::Timestamp => {
            ArrowType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
        }
        PrimitiveType::TimestampNtz => ArrowType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Void => ArrowType::Null,
        PrimitiveType::Interval(IntervalUnit::Months) => {
            ArrowType::Interval(arrow_schema::IntervalUnit::YearMonth)
        }
        PrimitiveType::Interval(IntervalUnit::Micros) => ArrowType::Duration(TimeUnit::Microsecond),
        PrimitiveType::Variant => ArrowType::Struct(
            vec![
                Field::new("metadata", ArrowType::Binary, false),
                Field::new("value", ArrowType::Binary, false),
            ]
            .into(),
        ),
    }
}

/// The protocol type that holds what the Arrow type holds.
///
/// | Arrow | protocol | values |
/// |---|---|---|
/// | Utf8, LargeUtf8, Utf8View | string | all |
/// | Binary, LargeBinary, BinaryView, FixedSizeBinary | binary | all |
/// | Boolean; Int8, Int16, Int32, Int64 | boolean; byte, short, integer, long | all |
/// | UInt8, UInt16, UInt32 | short, integer, long | all |
/// | UInt64 | decimal(20,0) | all, if asked |
/// | Float16, Float32; Float64 | float; double | all |
/// | Decimal32, Decimal64, Decimal128, Decimal256 | decimal | up to 38 digits |
/// | Date32; Date64 | date | all; whole days |
/// | Timestamp with a zone; without | timestamp; timestamp_ntz | exact microseconds |
/// | List, LargeList, FixedSizeList, ListView, LargeListView | array | by the element |
/// | Map; Struct | map; struct | by the parts |
/// | Dictionary, RunEndEncoded | as their values | |
/// | Null | void | |
/// | Time32, Time64, Duration, Interval, Union | refused | |
pub(super) fn natural(of: &ArrowType, options: ArrowOptions, depth: usize) -> Result<DataType> {
    let Some(below) = depth.checked_sub(1) else {
        let what = format!("the type is nested deeper than {}", limits::SCHEMA_DEPTH_MAX);
        return Err(Error::new(Code::LimitExceeded, what));
    };
    let part = |it: &FieldRef| natural(it.data_type(), options, below);
    match of {
        ArrowType::Dictionary(_, values) => natural(values, options, below),
        ArrowType::RunEndEncoded(_, values) => part(values),
        ArrowType::List(element)
        | ArrowType::LargeList(element)
        | ArrowType::FixedSizeList(element, _)
        | ArrowType::ListView(element)
        | ArrowType::LargeListView(element) => Ok(DataType::Array(Box::new(ArrayType {
            element: part(element)?,
            contains_null: element.is_nullable(),
        }))),
        ArrowType::Map(entries, _) => {
            let ArrowType::Struct(entry) = entries.data_type() else { return Err(refused(of)) };
            let [key, value] = &entry[..] else { return Err(refused(of)) };
            Ok(DataType::Map(Box::new(MapType {
                key: part(key)?,
                value: part(value)?,
                value_contains_null: value.is_nullable(),
            })))
        }
        ArrowType::Struct(fields) => natural_struct(fields, options, below).map(DataType::Struct),
        _ => natural_primitive(of, options).map(DataType::Primitive).ok_or_else(|| refused(of)),
    }
}

fn natural_struct(fields: &Fields, options: ArrowOptions, depth: usize) -> Result<StructType> {
    let field = |it: &FieldRef| {
        let data_type = natural(it.data_type(), options, depth)
            .map_err(|error| error.at(format!("column `{}`", it.name())))?;
        Ok(StructField::new(it.name(), data_type, it.is_nullable()))
    };
    let schema = StructType::new(fields.iter().map(field).collect::<Result<_>>()?);
    // The rules of schemas are broken here by the caller's data, not by a stored table.
    schema.map_err(|it| match it.kind() {
        ErrorKind::Corrupt => it.with_code(Code::SchemaMismatch),
        _ => it,
    })
}

fn natural_primitive(of: &ArrowType, options: ArrowOptions) -> Option<PrimitiveType> {
    let primitive = match of {
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => PrimitiveType::String,
        ArrowType::Binary
        | ArrowType::LargeBinary
        | ArrowType::BinaryView
        | ArrowType::FixedSizeBinary(_) => PrimitiveType::Binary,
        ArrowType::Boolean => PrimitiveType::Boolean,
        ArrowType::Int8 => PrimitiveType::Byte,
        ArrowType::Int16 | ArrowType::UInt8 => PrimitiveType::Short,
        ArrowType::Int32 | ArrowType::UInt16 => PrimitiveType::Integer,
        ArrowType::Int64 | ArrowType::UInt32 => PrimitiveType::Long,
        ArrowType::UInt64 if options.uint64_as_decimal => {
            PrimitiveType::Decimal { precision: 20, scale: 0 }
        }
        ArrowType::Float16 | ArrowType::Float32 => PrimitiveType::Float,
        ArrowType::Float64 => PrimitiveType::Double,
        ArrowType::Decimal32(precision, scale)
        | ArrowType::Decimal64(precision, scale)
        | ArrowType::Decimal128(precision, scale)
        | ArrowType::Decimal256(precision, scale) => decimal(*precision, *scale)?,
        ArrowType::Date32 | ArrowType::Date64 => PrimitiveType::Date,
        ArrowType::Timestamp(_, Some(_)) => PrimitiveType::Timestamp,
        ArrowType::Timestamp(_, None) => PrimitiveType::TimestampNtz,
        ArrowType::Null => PrimitiveType::Void,
        _ => return None,
    };
    Some(primitive)
}

/// Arrow's scale may be negative: digits that are always zero, which we write out.
fn decimal(precision: u8, scale: i8) -> Option<PrimitiveType> {
    let zeros = if scale < 0 { scale.unsigned_abs() } else { 0 };
    let (precision, scale) = (precision.checked_add(zeros)?, u8::try_from(scale).unwrap_or(0));
    let exists = (1..=38).contains(&precision) && scale <= precision;
    exists.then_some(PrimitiveType::Decimal { precision, scale })
}

fn refused(of: &ArrowType) -> Error {
    let help = match of {
        ArrowType::UInt64 => "take it as decimal(20,0) by option, or cast it to Int64",
        ArrowType::Decimal256(..) => "cast it to Decimal128",
        ArrowType::Time32(_) | ArrowType::Time64(_) | ArrowType::Duration(_) => {
            "cast it to Int64 or Utf8"
        }
        _ => "cast it to Utf8 or leave the column out",
    };
    let what = format!("{of} has no column type that holds it without loss; {help}");
    Error::new(Code::SchemaMismatch, what)
}

fn note_zoneless(of: &DataType, path: &str, notes: &mut Vec<String>) {
    match of {
        DataType::Primitive(PrimitiveType::TimestampNtz) => notes.push(format!(
            "column `{path}` has timestamps without zone and becomes timestamp_ntz, which needs \
             readers that know the feature; give it a zone to make it a timestamp"
        )),
        DataType::Primitive(_) => {}
        DataType::Struct(it) => {
            for field in &it.fields {
                note_zoneless(&field.data_type, &format!("{path}.{}", field.name), notes);
            }
        }
        DataType::Array(it) => note_zoneless(&it.element, &format!("{path}.element"), notes),
        DataType::Map(it) => {
            note_zoneless(&it.key, &format!("{path}.key"), notes);
            note_zoneless(&it.value, &format!("{path}.value"), notes);
        }
    }
}
