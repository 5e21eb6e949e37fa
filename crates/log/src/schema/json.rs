//! The schema as JSON: `metaData.schemaString`.
//!
//! The text comes from strangers, and two parsers that understand it differently are two tables. So
//! a key may stand once only, and depth is bounded by a look at the bytes before anything recurses:
//! a schema may nest deeper than JSON parsers usually allow, since every struct costs three levels.

use std::fmt::{self, Write};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::{ArrayType, DataType, IntervalUnit, MapType, PrimitiveType, StructField, StructType};
use crate::error::{Code, Error, Result};
use crate::limits;

/// A struct is an object in a list in an object; field metadata may be deep on its own.
const DEPTH_MAX: usize = 3 * limits::SCHEMA_DEPTH_MAX + limits::JSON_DEPTH_MAX;

pub(super) fn parse(text: &str) -> Result<StructType> {
    if DEPTH_MAX < depth(text.as_bytes()) {
        let what = format!("the schema's JSON is nested deeper than {DEPTH_MAX}");
        return Err(Error::new(Code::LimitExceeded, what));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    parser.disable_recursion_limit();
    let json = Strict::deserialize(&mut parser).and_then(|it| parser.end().map(|()| it.0));
    let json = json.map_err(|it| invalid(format!("the schema is not JSON: {it}")))?;
    match type_of(&json)? {
        DataType::Struct(it) => Ok(it),
        other => Err(invalid(format!("the schema is `{other}`, not a struct"))),
    }
}

pub(super) fn print(schema: &StructType) -> String {
    let mut out = String::new();
    print_struct(schema, &mut out);
    out
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(Code::InvalidSchema, what)
}

fn type_of(json: &Json) -> Result<DataType> {
    let object = match json {
        Json::String(name) => return primitive(name).map(DataType::Primitive),
        Json::Object(it) => it,
        _ => return Err(invalid("a type is neither a name nor an object")),
    };
    let data_type = match string(object, "type")? {
        "struct" => {
            let fields = required(object, "fields")?.as_array();
            let fields = fields.ok_or_else(|| invalid("`fields` is not a list"))?;
            DataType::Struct(StructType::new(fields.iter().map(field).collect::<Result<_>>()?)?)
        }
        "array" => DataType::Array(Box::new(ArrayType {
            element: part(object, "elementType")?,
            contains_null: boolean(object, "containsNull")?,
        })),
        "map" => DataType::Map(Box::new(MapType {
            key: part(object, "keyType")?,
            value: part(object, "valueType")?,
            value_contains_null: boolean(object, "valueContainsNull")?,
        })),
        other => return Err(invalid(format!("`{other}` is no type with parts"))),
    };
    Ok(data_type)
}

fn field(json: &Json) -> Result<StructField> {
    let object = json.as_object().ok_or_else(|| invalid("a field is not an object"))?;
    let name = string(object, "name")?;
    let at = |it: Error| it.at(format!("field `{name}`"));
    let metadata = match object.get("metadata") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(it)) => it.clone(),
        Some(_) => return Err(at(invalid("`metadata` is not an object"))),
    };
    Ok(StructField {
        name: name.to_string(),
        data_type: required(object, "type").and_then(type_of).map_err(at)?,
        nullable: boolean(object, "nullable").map_err(at)?,
        metadata,
    })
}

/// A part of an array or map.
fn part(object: &Map<String, Json>, key: &str) -> Result<DataType> {
    required(object, key).and_then(type_of).map_err(|it| it.at(format!("`{key}`")))
}

fn required<'a>(object: &'a Map<String, Json>, key: &str) -> Result<&'a Json> {
    object.get(key).ok_or_else(|| invalid(format!("`{key}` is missing")))
}

fn string<'a>(object: &'a Map<String, Json>, key: &str) -> Result<&'a str> {
    let text = required(object, key)?.as_str();
    text.ok_or_else(|| invalid(format!("`{key}` is not a string")))
}

fn boolean(object: &Map<String, Json>, key: &str) -> Result<bool> {
    let value = required(object, key)?.as_bool();
    value.ok_or_else(|| invalid(format!("`{key}` is neither true nor false")))
}

/// Names are exact, as every writer spells them alike; only decimals are met in several spellings.
pub(super) fn primitive(name: &str) -> Result<PrimitiveType> {
    let primitive = match name {
        "boolean" => PrimitiveType::Boolean,
        "byte" => PrimitiveType::Byte,
        "short" => PrimitiveType::Short,
        "integer" => PrimitiveType::Integer,
        "long" => PrimitiveType::Long,
        "float" => PrimitiveType::Float,
        "double" => PrimitiveType::Double,
        "decimal" => PrimitiveType::Decimal { precision: 10, scale: 0 },
        "string" => PrimitiveType::String,
        "binary" => PrimitiveType::Binary,
        "date" => PrimitiveType::Date,
        "timestamp" => PrimitiveType::Timestamp,
        "timestamp_ntz" => PrimitiveType::TimestampNtz,
        "void" => PrimitiveType::Void,
        "variant" => PrimitiveType::Variant,
        _ => {
            let other = decimal(name).or_else(|| interval(name).map(PrimitiveType::Interval));
            return other.ok_or_else(|| invalid(format!("`{name}` is no type")));
        }
    };
    Ok(primitive)
}

/// `interval UNIT` or `interval UNIT to UNIT`: of years and months, or of days and what is shorter.
fn interval(name: &str) -> Option<IntervalUnit> {
    const LONG: &[&str] = &["year", "month"];
    const SHORT: &[&str] = &["day", "hour", "minute", "second"];
    let units = name.strip_prefix("interval ")?;
    let (first, last) = units.split_once(" to ").map_or((units, None), |it| (it.0, Some(it.1)));
    let within = |units: &[&str]| {
        let place = |name: &str| units.iter().position(|it| *it == name);
        match (place(first), last.map(place)) {
            (Some(_), None) => true,
            (Some(first), Some(Some(last))) => first < last,
            _ => false,
        }
    };
    match (within(LONG), within(SHORT)) {
        (true, _) => Some(IntervalUnit::Months),
        (_, true) => Some(IntervalUnit::Micros),
        _ => None,
    }
}

/// `decimal(p,s)`, with spaces at the numbers. Bounds are checked where the struct is made, but for
/// numbers that no field can hold.
fn decimal(name: &str) -> Option<PrimitiveType> {
    let inside = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    let number = |it: &str| -> Option<u8> {
        let digits = it.trim_matches(' ');
        digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    Some(PrimitiveType::Decimal { precision: number(precision)?, scale: number(scale)? })
}

fn print_type(of: &DataType, out: &mut String) {
    match of {
        DataType::Primitive(it) => put(out, format_args!("\"{it}\"")),
        DataType::Struct(it) => print_struct(it, out),
        DataType::Array(it) => {
            out.push_str(r#"{"type":"array","elementType":"#);
            print_type(&it.element, out);
            put(out, format_args!(",\"containsNull\":{}}}", it.contains_null));
        }
        DataType::Map(it) => {
            out.push_str(r#"{"type":"map","keyType":"#);
            print_type(&it.key, out);
            out.push_str(r#","valueType":"#);
            print_type(&it.value, out);
            put(out, format_args!(",\"valueContainsNull\":{}}}", it.value_contains_null));
        }
    }
}

fn print_struct(of: &StructType, out: &mut String) {
    out.push_str(r#"{"type":"struct","fields":["#);
    for (at, field) in of.fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let name = Json::from(field.name.as_str());
        put(out, format_args!("{comma}{{\"name\":{name},\"type\":"));
        print_type(&field.data_type, out);
        let metadata = Json::Object(field.metadata.clone());
        put(out, format_args!(",\"nullable\":{},\"metadata\":{metadata}}}", field.nullable));
    }
    out.push_str("]}");
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string has no way to fail.
    let _ = out.write_fmt(text);
}

/// How deep the brackets of a JSON text nest. Wrong for what is not JSON, which fails to parse.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// JSON in which no object has a key twice.
struct Strict(Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_str<E: de::Error>(self, it: &str) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_string<E: de::Error>(self, it: String) -> std::result::Result<Json, E> {
        Ok(it.into())
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key `{key}` stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}
