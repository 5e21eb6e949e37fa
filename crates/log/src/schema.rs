//! Table schema: JSON, Arrow, evolution rules, and the one table of Arrow to Delta types.

use arrow_array::RecordBatch;
use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use serde_json::{Map, Value as Json};

use crate::error::Result;

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
    Decimal { precision: u8, scale: u8 },
    String,
    Binary,
    Date,
    /// Microseconds, UTC.
    Timestamp,
    /// Microseconds, no zone.
    TimestampNtz,
    /// Holds nothing but null; never in data files.
    Void,
    /// Named so that the schema parses; this build refuses tables with it.
    Variant,
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
    /// Type of the keys.
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
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StructType {
    fields: Vec<StructField>,
}

/// A table's schema is a struct.
pub type Schema = StructType;

impl StructType {
    /// Checks names and depth: `invalid-schema`.
    pub fn new(_fields: Vec<StructField>) -> Result<StructType> {
        todo!()
    }
    /// The fields in order.
    pub fn fields(&self) -> &[StructField] {
        &self.fields
    }
    /// Exact name first, then ignoring case.
    pub fn field(&self, _name: &str) -> Option<&StructField> {
        todo!()
    }
    /// The field at a path of names, through structs only.
    pub fn at_path(&self, _path: &[String]) -> Option<&StructField> {
        todo!()
    }
    /// Reads `schemaString`: `invalid-schema`, or `limit-exceeded` for depth and width.
    pub fn from_json(_text: &str) -> Result<StructType> {
        todo!()
    }
    /// The `schemaString`.
    pub fn to_json(&self) -> String {
        todo!()
    }
    /// What `read` yields: Utf8, Timestamp(us[, "UTC"]), Date32, Decimal128, List, Map, Struct, Null for void.
    pub fn to_arrow(&self) -> SchemaRef {
        todo!()
    }
    /// Reads `a long not null, b string, s struct<x: int>, "odd name" decimal(10,2)`, or schema JSON.
    pub fn parse_ddl(_text: &str) -> Result<StructType> {
        todo!()
    }
    /// How many leaf columns there are.
    pub fn leaf_count(&self) -> usize {
        todo!()
    }
}

/// What to do with Arrow types that have no lossless Delta twin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrowOptions {
    /// Take UInt64 as decimal(20,0). Defaults to `false`: such a column is refused.
    pub uint64_as_decimal: bool,
}

/// The Delta schema of Arrow data for a new table. The second value says what a person should know, e.g. that
/// a zone-less timestamp column becomes timestamp_ntz. Errors name column and cast: `schema-mismatch`.
pub fn from_arrow(_schema: &ArrowSchema, _options: ArrowOptions) -> Result<(Schema, Vec<String>)> {
    todo!()
}

/// Casts a batch losslessly to the table's schema (`to_arrow` shape, columns by name, missing nullable columns
/// filled with null). Errors: `schema-mismatch` names column, types and the cast; a value that does not fit
/// exactly (nanoseconds, overflow) and a null in a not-null column are `invalid-data`.
pub fn conform(_batch: &RecordBatch, _schema: &Schema, _options: ArrowOptions) -> Result<RecordBatch> {
    todo!()
}

/// The table's schema with new nullable columns of `incoming` appended (also inside structs). Incompatible types:
/// `schema-mismatch`.
pub fn evolve(_table: &Schema, _incoming: &Schema) -> Result<Schema> {
    todo!()
}
