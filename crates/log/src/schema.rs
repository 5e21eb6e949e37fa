//! Table schema: JSON, Arrow, evolution rules, and the one table of Arrow to Delta types.
//!
//! There are three worlds of types: the protocol's (JSON in the log), Arrow's (what callers hand in
//! and get back) and the words people type. The protocol's is the one we keep, and each of the
//! others has exactly one door:
//!
//! ```text
//!   schemaString   <- from_json / to_json ->  StructType  -- to_arrow -->  what `read` yields
//!   `a long, ..`   -- parse_ddl ------------>      ^
//!   Arrow schema   -- from_arrow -------------------+     conform: a batch --> that shape
//! ```
//!
//! Reading in from Arrow is where data gets lost in other engines: a nanosecond rounded, a wide
//! integer wrapped, a zone invented. So a cast here is lossless for its types, or exact for each
//! value and an error where it is not, or does not happen.

mod arrow;
mod conform;
mod ddl;
mod evolve;
mod json;
mod mapping;
#[cfg(test)]
mod tests;
mod text;
mod widening;

use std::collections::BTreeSet;
use std::fmt;

use arrow_schema::SchemaRef;
use serde_json::{Map, Value as Json};

use crate::error::{Code, Error, Result};
use crate::limits;

pub use arrow::{ArrowOptions, from_arrow, is_variant};
pub use conform::conform;
pub(crate) use ddl::primitive as type_of_name;
pub use evolve::evolve;
pub(crate) use evolve::widens;
pub use mapping::ColumnMapping;
pub use text::{schema_as_text, variants_as_text};

/// A type of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum DataType {
    /// A type without parts.
    Primitive(PrimitiveType),
    /// Named fields.
    Struct(StructType),
    /// A list.
    Array(Box<ArrayType>),
    /// A map.
    Map(Box<MapType>),
}

/// A type without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PrimitiveType {
    Boolean,
    Byte,
    Short,
    Integer,
    Long,
    Float,
    Double,
    /// Invariant in a [`StructType`]: `1 <= precision <= 38` and `scale <= precision`.
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
    Binary,
    Date,
    /// Microseconds, UTC.
    Timestamp,
    /// Microseconds, no zone.
    TimestampNtz,
    /// Holds nothing but null; never in data files.
    Void,
    /// A value of any type, see [`crate::variant`].
    Variant,
    /// A span of time. Such columns are read and not written.
    Interval(IntervalUnit),
}

/// What an interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalUnit {
    /// Months, in 32 bits.
    Months,
    /// Microseconds, in 64 bits.
    Micros,
}

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayType {
    /// Type of the elements.
    pub element: DataType,
    /// May elements be null?
    pub contains_null: bool,
}

/// A map.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// Type of the keys, which are never null.
    pub key: DataType,
    /// Type of the values.
    pub value: DataType,
    /// May values be null?
    pub value_contains_null: bool,
}

/// A named column or field. `metadata` is kept as it is, unknown keys included.
#[derive(Clone, Debug, PartialEq)]
pub struct StructField {
    /// Logical name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// May it be null?
    pub nullable: bool,
    /// Arbitrary JSON.
    pub metadata: Map<String, Json>,
}

/// Fields in order; names are unique ignoring case.
///
/// ```
/// use lakebed_log::schema::Schema;
///
/// let schema = Schema::parse_ddl("id long not null, tags array<string>")?;
/// assert_eq!(schema.field("ID").unwrap().name, "id");
/// assert_eq!(Schema::from_json(&schema.to_json())?, schema);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StructType {
    fields: Vec<StructField>,
}

/// A table's schema is a struct.
pub type Schema = StructType;

impl StructType {
    /// A struct of these fields.
    ///
    /// # Errors
    ///
    /// `invalid-schema` for an empty name, two names that differ in case only, or a decimal out of
    /// bounds; `limit-exceeded` past [`limits::SCHEMA_DEPTH_MAX`] or [`limits::COLUMNS_MAX`].
    pub fn new(fields: Vec<StructField>) -> Result<StructType> {
        let mut names = BTreeSet::new();
        for field in &fields {
            if field.name.is_empty() {
                return Err(Error::new(Code::InvalidSchema, "a field has an empty name"));
            }
            if !names.insert(folded(&field.name)) {
                let what = format!("two fields are named `{}`, ignoring case", field.name);
                return Err(Error::new(Code::InvalidSchema, what));
            }
        }
        let mut leaves = 0;
        for field in &fields {
            check(&field.data_type, limits::SCHEMA_DEPTH_MAX - 1, &mut leaves)
                .map_err(|it| it.at(format!("field `{}`", field.name)))?;
        }
        Ok(StructType { fields })
    }

    /// The fields in order.
    pub fn fields(&self) -> &[StructField] {
        &self.fields
    }

    /// The field of this name, ignoring case: there is at most one.
    pub fn field(&self, name: &str) -> Option<&StructField> {
        self.position(name).and_then(|at| self.fields.get(at))
    }

    /// Where the field of this name is, ignoring case.
    pub fn position(&self, name: &str) -> Option<usize> {
        // Most callers spell names as the schema does, and folding allocates.
        let exact = self.fields.iter().position(|it| it.name == name);
        exact.or_else(|| {
            let name = folded(name);
            self.fields.iter().position(|it| folded(&it.name) == name)
        })
    }

    /// The field at a path of names, through structs only.
    pub fn at_path(&self, path: &[String]) -> Option<&StructField> {
        let (first, rest) = path.split_first()?;
        let field = self.field(first)?;
        match &field.data_type {
            _ if rest.is_empty() => Some(field),
            DataType::Struct(inner) => inner.at_path(rest),
            _ => None,
        }
    }

    /// How many leaf columns there are, those inside arrays and maps included.
    pub fn leaf_count(&self) -> usize {
        self.fields.iter().map(|it| it.data_type.leaf_count()).sum()
    }

    /// Reads `schemaString`.
    ///
    /// # Errors
    ///
    /// `invalid-schema` if the text is not JSON, has a key twice, is not a struct, or breaks a rule
    /// of [`StructType::new`]; `limit-exceeded` for depth and width.
    pub fn from_json(text: &str) -> Result<StructType> {
        json::parse(text)
    }

    /// The `schemaString`, with keys in the order in which other writers put them.
    pub fn to_json(&self) -> String {
        json::print(self)
    }

    /// The shape in which rows are read and written.
    ///
    /// Strings are Utf8, timestamps are microseconds with zone `UTC` or without zone, dates Date32,
    /// decimals Decimal128; lists have the field `element`, maps `key_value` of `key` and `value`,
    /// as Parquet files do; void is Null. A variant is a struct of the binaries `metadata` and
    /// `value`, whose field says so by the extension type `arrow.parquet.variant`. Intervals are
    /// Interval of months or Duration of microseconds. Nullability is the schema's.
    pub fn to_arrow(&self) -> SchemaRef {
        arrow::schema_of(self)
    }

    /// Reads `a long not null, b string, s struct<x: int>, "odd name" decimal(10,2)`, or schema
    /// JSON if the text starts with a brace.
    ///
    /// Type names are the protocol's and SQL's: `int`, `bigint`, `text`, `real`, `numeric` and
    /// their like. Names with spaces or other signs go in double quotes or backquotes, doubled
    /// inside. `not null` may follow a field, an element and a map's value; `comment 'text'` a
    /// field.
    ///
    /// # Errors
    ///
    /// `invalid-argument` with the place in the text; `limit-exceeded` as in [`StructType::new`].
    ///
    /// ```
    /// # use lakebed_log::schema::Schema;
    /// let error = Schema::parse_ddl("a long, b strng").unwrap_err();
    /// assert_eq!(error.to_string(), "schema, at character 11: `strng` is no type");
    /// ```
    pub fn parse_ddl(text: &str) -> Result<StructType> {
        ddl::parse(text)
    }
}

impl DataType {
    /// The primitive, or `None` for a type with parts.
    pub fn primitive(&self) -> Option<PrimitiveType> {
        match self {
            DataType::Primitive(it) => Some(*it),
            _ => None,
        }
    }

    /// The shape of the type's values in memory; see [`StructType::to_arrow`].
    pub fn to_arrow(&self) -> arrow_schema::DataType {
        arrow::type_of(self)
    }

    fn leaf_count(&self) -> usize {
        match self {
            DataType::Primitive(_) => 1,
            DataType::Struct(it) => it.leaf_count(),
            DataType::Array(it) => it.element.leaf_count(),
            DataType::Map(it) => it.key.leaf_count() + it.value.leaf_count(),
        }
    }
}

impl PrimitiveType {
    /// The shape of the type's values in memory; see [`StructType::to_arrow`].
    pub fn to_arrow(self) -> arrow_schema::DataType {
        arrow::primitive_of(self)
    }
}

impl From<PrimitiveType> for DataType {
    fn from(it: PrimitiveType) -> DataType {
        DataType::Primitive(it)
    }
}

impl StructField {
    /// A field without metadata.
    pub fn new(name: impl Into<String>, of: impl Into<DataType>, nullable: bool) -> StructField {
        StructField { name: name.into(), data_type: of.into(), nullable, metadata: Map::new() }
    }
}

/// The name the protocol gives the type.
impl fmt::Display for PrimitiveType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            PrimitiveType::Boolean => "boolean",
            PrimitiveType::Byte => "byte",
            PrimitiveType::Short => "short",
            PrimitiveType::Integer => "integer",
            PrimitiveType::Long => "long",
            PrimitiveType::Float => "float",
            PrimitiveType::Double => "double",
            PrimitiveType::Decimal { precision, scale } => {
                return write!(f, "decimal({precision},{scale})");
            }
            PrimitiveType::String => "string",
            PrimitiveType::Binary => "binary",
            PrimitiveType::Date => "date",
            PrimitiveType::Timestamp => "timestamp",
            PrimitiveType::TimestampNtz => "timestamp_ntz",
            PrimitiveType::Void => "void",
            PrimitiveType::Variant => "variant",
            PrimitiveType::Interval(IntervalUnit::Months) => "interval year to month",
            PrimitiveType::Interval(IntervalUnit::Micros) => "interval day to second",
        };
        f.write_str(name)
    }
}

/// As [`StructType::parse_ddl`] reads it.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Primitive(it) => it.fmt(f),
            DataType::Struct(it) => write!(f, "struct<{it}>"),
            DataType::Array(it) => write!(f, "array<{}{}>", it.element, not_null(it.contains_null)),
            DataType::Map(it) => {
                write!(f, "map<{}, {}{}>", it.key, it.value, not_null(it.value_contains_null))
            }
        }
    }
}

/// As [`StructType::parse_ddl`] reads it, without metadata.
impl fmt::Display for StructType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.fields.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let name = ddl::quoted(&field.name);
            write!(f, "{comma}{name} {}{}", field.data_type, not_null(field.nullable))?;
        }
        Ok(())
    }
}

fn not_null(nullable: bool) -> &'static str {
    if nullable { "" } else { " not null" }
}

/// Do two names name the same column? Names compare ignoring case, and case does not depend on the
/// language of the machine.
pub fn is_same_name(one: &str, other: &str) -> bool {
    one == other || folded(one) == folded(other)
}

/// The form in which names that differ only in case are equal.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Checks what a field's type must hold, down to `depth_left` levels of parts.
fn check(of: &DataType, depth_left: usize, leaves: &mut usize) -> Result<()> {
    if depth_left == 0 && of.primitive().is_none() {
        let what = format!("the schema is nested deeper than {}", limits::SCHEMA_DEPTH_MAX);
        return Err(Error::new(Code::LimitExceeded, what));
    }
    match of {
        DataType::Primitive(it) => {
            if let PrimitiveType::Decimal { precision, scale } = it
                && !(1..=38).contains(precision) | (precision < scale)
            {
                let what = format!("`{it}` is no decimal: 1 to 38 digits, the scale among them");
                return Err(Error::new(Code::InvalidSchema, what));
            }
            *leaves += 1;
            if limits::COLUMNS_MAX < *leaves {
                let what = format!("the schema has more than {} columns", limits::COLUMNS_MAX);
                return Err(Error::new(Code::LimitExceeded, what));
            }
            Ok(())
        }
        DataType::Struct(it) => {
            it.fields.iter().try_for_each(|it| check(&it.data_type, depth_left - 1, leaves))
        }
        DataType::Array(it) => check(&it.element, depth_left - 1, leaves),
        DataType::Map(it) => {
            check(&it.key, depth_left - 1, leaves)?;
            check(&it.value, depth_left - 1, leaves)
        }
    }
}
