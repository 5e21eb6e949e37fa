//! Variants that a file has in parts, put together.
//!
//! A file may keep what most values of a variant have in common as columns of their own, so that
//! they compress and have statistics. Each level of such a group has up to two columns:
//!
//! ```text
//!   metadata                     dictionary of all names
//!   value        typed_value     what they say together
//!   null         null            missing: a field that is not there, else the variant null
//!   bytes        null            the bytes
//!   null         7               7
//!   {"b": ..}    {a: ..}         an object of both, a having such a pair of columns again
//! ```
//!
//! A reader of the table sees the two binaries of a whole variant, whichever way the file has it.
//! Types are kept: what was a 64-bit column becomes a 64-bit integer.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types as arrow;
use arrow_array::{Array, ArrayRef, BinaryViewArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Fields, TimeUnit};
use hashbrown::{HashMap, HashSet};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::variant::{Names, Scalar, Variant, write_array, write_object};

/// The variant null.
const NULL: &[u8] = &[0];

/// A group of a file as the two binaries that `fields` names.
///
/// # Errors
///
/// `corrupt-data` for a group that is no variant, or whose parts do not fit together;
/// `unsupported-data` for a part of a type that no variant has; `limit-exceeded` for more bytes
/// than a column holds.
pub(super) fn whole(group: &StructArray, fields: &Fields, path: &str) -> Result<ArrayRef> {
    let bad = |it: Error| it.at(format!("column `{path}`"));
    let metadata = group.column_by_name("metadata").ok_or_else(|| corrupt("it has no `metadata`"));
    let metadata = metadata.and_then(binary).map_err(bad)?;
    let node = Node::new(group).map_err(bad)?;
    let mut names = BinaryBuilder::with_capacity(group.len(), 0);
    let mut values = BinaryBuilder::with_capacity(group.len(), 0);
    let mut value = Vec::new();
    let mut dictionary = Dictionary::default();
    for row in 0..group.len() {
        value.clear();
        if group.is_null(row) {
            names.append_value([]);
            values.append_value([]);
            continue;
        }
        let name = bytes_at(&metadata, row).ok_or_else(|| bad(corrupt("`metadata` is null")))?;
        dictionary.turn_to(name);
        if !node.put(&mut dictionary, row, &mut value).map_err(bad)? {
            value.extend_from_slice(NULL);
        }
        for (builder, bytes) in [(&mut names, name), (&mut values, &value)] {
            let total = builder.values_slice().len().checked_add(bytes.len());
            if total.and_then(|it| i32::try_from(it).ok()).is_none() {
                let what = format!("variants of a batch take over {} bytes", i32::MAX);
                return Err(bad(Error::new(Code::LimitExceeded, what)));
            }
            builder.append_value(bytes);
        }
    }
    let columns: [ArrayRef; 2] = [Arc::new(names.finish()), Arc::new(values.finish())];
    let array = StructArray::try_new(fields.clone(), columns.into(), group.nulls().cloned());
    Ok(Arc::new(array.map_err(|it| Error::internal("no shape of a variant").because(it))?))
}

/// The names of a row. Mostly those of the row before, so what was found out is kept: rows that
/// share a long dictionary must not cost a walk through it each.
#[derive(Default)]
struct Dictionary<'a> {
    metadata: &'a [u8],
    read: Option<(Names<'a>, HashMap<&'a str, usize>)>,
}

impl<'a> Dictionary<'a> {
    fn turn_to(&mut self, metadata: &'a [u8]) {
        if self.metadata != metadata {
            *self = Dictionary { metadata, read: None };
        }
    }

    fn read(&mut self) -> Result<&(Names<'a>, HashMap<&'a str, usize>)> {
        let read = match self.read.take() {
            Some(read) => read,
            None => {
                let names = Names::read(self.metadata)?;
                let mut places = HashMap::with_capacity(names.len());
                for id in 0..names.len() {
                    if let Some(name) = names.name(id) {
                        places.entry(name).or_insert(id);
                    }
                }
                (names, places)
            }
        };
        Ok(self.read.insert(read))
    }

    fn name(&mut self, id: usize) -> Result<Option<&'a str>> {
        Ok(self.read()?.0.name(id))
    }

    fn find(&mut self, name: &str) -> Result<Option<usize>> {
        Ok(self.read()?.1.get(name).copied())
    }
}

/// A pair of columns.
struct Node {
    /// Where the group around the pair is not there, neither is what it says.
    nulls: Option<NullBuffer>,
    value: Option<BinaryViewArray>,
    typed: Option<Typed>,
}

enum Typed {
    Scalar(ArrayRef),
    List { nulls: Option<NullBuffer>, offsets: OffsetBuffer<i32>, element: Box<Node> },
    Object { nulls: Option<NullBuffer>, fields: Vec<(String, Node)>, names: HashSet<String> },
}

impl Node {
    fn new(group: &StructArray) -> Result<Node> {
        let value = group.column_by_name("value").map(binary).transpose()?;
        let typed = group.column_by_name("typed_value").map(Typed::new).transpose()?;
        Ok(Node { nulls: group.nulls().cloned(), value, typed })
    }

    /// A group that must hold a pair of columns.
    fn of(array: &ArrayRef) -> Result<Node> {
        match array.as_struct_opt() {
            Some(group) => Node::new(group),
            None => Err(corrupt("a part is no group of `value` and `typed_value`")),
        }
    }

    /// Appends what the pair says; `false` if that is nothing.
    fn put(&self, dictionary: &mut Dictionary<'_>, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.nulls.as_ref().is_some_and(|it| it.is_null(row)) {
            return Ok(false);
        }
        let value = self.value.as_ref().and_then(|it| bytes_at(it, row));
        let typed = self.typed.as_ref().filter(|it| it.is_there(row));
        match (typed, value) {
            (None, None) => return Ok(false),
            (None, Some(value)) => out.extend_from_slice(Variant::bytes(value)?),
            (Some(Typed::Object { fields, names, .. }), rest) => {
                object(fields, names, rest, dictionary, row, out)?;
            }
            (Some(_), Some(_)) => return Err(corrupt("a value is there twice")),
            (Some(Typed::Scalar(array)), None) => scalar(array, row)?.write(out)?,
            (Some(Typed::List { offsets, element, .. }), None) => {
                let (mut values, mut parts) = (Vec::new(), Vec::new());
                for at in reach(offsets, row) {
                    let from = values.len();
                    if !element.put(dictionary, at, &mut values)? {
                        values.extend_from_slice(NULL);
                    }
                    parts.push(from..values.len());
                }
                write_array(&values, &parts, out)?;
            }
        }
        Ok(true)
    }
}

impl Typed {
    fn new(array: &ArrayRef) -> Result<Typed> {
        let nulls = array.nulls().cloned();
        Ok(match array.data_type() {
            DataType::Struct(fields) => {
                let nodes = fields.iter().zip(array.as_struct().columns());
                let nodes = nodes.map(|(field, it)| Ok((field.name().clone(), Node::of(it)?)));
                let names = fields.iter().map(|it| it.name().clone()).collect();
                Typed::Object { nulls, fields: nodes.collect::<Result<_>>()?, names }
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let element = Box::new(Node::of(list.values())?);
                Typed::List { nulls, offsets: list.offsets().clone(), element }
            }
            // Text that is not annotated as UTF-8 was not checked by the decoder.
            DataType::Utf8 => {
                Typed::Scalar(cast(&cast(array, &DataType::Binary)?, &DataType::Utf8)?)
            }
            _ => Typed::Scalar(Arc::clone(array)),
        })
    }

    fn is_there(&self, row: usize) -> bool {
        match self {
            Typed::Scalar(array) => array.is_valid(row),
            Typed::List { nulls, .. } | Typed::Object { nulls, .. } => {
                nulls.as_ref().is_none_or(|it| it.is_valid(row))
            }
        }
    }
}

/// Appends the object of the fields that have columns, and of those in the rest, by their names.
fn object(
    columns: &[(String, Node)],
    column_names: &HashSet<String>,
    rest: Option<&[u8]>,
    dictionary: &mut Dictionary<'_>,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut values = Vec::new();
    let mut fields: Vec<(&str, usize, Range<usize>)> = Vec::new();
    for (name, node) in columns {
        let from = values.len();
        if node.put(dictionary, row, &mut values)? {
            let id = dictionary.find(name)?;
            let id = id.ok_or_else(|| corrupt("a field is not in its dictionary"))?;
            fields.push((name, id, from..values.len()));
        }
    }
    if let Some(rest) = rest {
        let Variant::Object(parts) = Variant::read(rest)? else {
            return Err(corrupt("an object has a rest that is none"));
        };
        let most = values.len().saturating_add(rest.len());
        for at in 0..parts.len() {
            let id = parts.id(at).ok_or_else(|| corrupt("a field has no name"))?;
            let name = dictionary.name(id)?.ok_or_else(|| corrupt("a field has no name"))?;
            if column_names.contains(name) {
                return Err(corrupt("a field is there twice"));
            }
            let from = values.len();
            values.extend_from_slice(Variant::bytes(parts.value(at)?)?);
            if most < values.len() {
                return Err(corrupt("its parts lie upon each other"));
            }
            fields.push((name, id, from..values.len()));
        }
    }
    fields.sort_by_key(|it| it.0);
    let fields: Vec<_> = fields.into_iter().map(|(_, id, range)| (id, range)).collect();
    write_object(&values, &fields, out)
}

/// The elements of a row of a list.
fn reach(offsets: &OffsetBuffer<i32>, row: usize) -> Range<usize> {
    let at = |it: usize| offsets.get(it).and_then(|it| usize::try_from(*it).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

fn binary(array: &ArrayRef) -> Result<BinaryViewArray> {
    match array.data_type() {
        DataType::Binary | DataType::BinaryView => {}
        other => return Err(corrupt(format!("a part that must be binary is {other}"))),
    }
    Ok(cast(array, &DataType::BinaryView)?.as_binary_view().clone())
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options)
        .map_err(|it| corrupt(format!("a part does not decode: {it}")))
}

fn bytes_at(array: &BinaryViewArray, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| array.value(row))
}

/// A value of a column, as the variant of its type.
fn scalar(array: &ArrayRef, row: usize) -> Result<Scalar<'_>> {
    macro_rules! of {
        ($arrow:ty, $scalar:path) => {
            array.as_primitive_opt::<$arrow>().map(|it| $scalar(it.value(row)))
        };
    }
    let scalar = match array.data_type() {
        DataType::Boolean => array.as_boolean_opt().map(|it| Scalar::Boolean(it.value(row))),
        DataType::Int8 => of!(arrow::Int8Type, Scalar::Int8),
        DataType::Int16 => of!(arrow::Int16Type, Scalar::Int16),
        DataType::Int32 => of!(arrow::Int32Type, Scalar::Int32),
        DataType::Int64 => of!(arrow::Int64Type, Scalar::Int64),
        DataType::Float32 => of!(arrow::Float32Type, Scalar::Float),
        DataType::Float64 => of!(arrow::Float64Type, Scalar::Double),
        DataType::Date32 => of!(arrow::Date32Type, Scalar::Date),
        DataType::Time64(TimeUnit::Microsecond) => {
            of!(arrow::Time64MicrosecondType, Scalar::Time)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            of!(arrow::TimestampMicrosecondType, Scalar::Timestamp)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            of!(arrow::TimestampMicrosecondType, Scalar::TimestampNtz)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => {
            of!(arrow::TimestampNanosecondType, Scalar::TimestampNanos)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            of!(arrow::TimestampNanosecondType, Scalar::TimestampNtzNanos)
        }
        DataType::Decimal128(precision, scale) => {
            let value = array.as_primitive_opt::<arrow::Decimal128Type>().map(|it| it.value(row));
            value.and_then(|it| decimal(it, *precision, *scale))
        }
        DataType::Utf8 => array.as_string_opt::<i32>().map(|it| Scalar::String(it.value(row))),
        DataType::Utf8View => array.as_string_view_opt().map(|it| Scalar::String(it.value(row))),
        DataType::Binary => array.as_binary_opt::<i32>().map(|it| Scalar::Binary(it.value(row))),
        DataType::BinaryView => array.as_binary_view_opt().map(|it| Scalar::Binary(it.value(row))),
        DataType::FixedSizeBinary(_) => {
            let value = array.as_fixed_size_binary_opt().map(|it| it.value(row));
            value.and_then(|it| it.try_into().ok()).map(Scalar::Uuid)
        }
        _ => None,
    };
    scalar.ok_or_else(|| {
        let what = format!("not a variant: a part of it is {}", array.data_type());
        Error::new(Code::UnsupportedData, what)
    })
}

/// The narrowest decimal of the digits that the column has.
fn decimal(unscaled: i128, precision: u8, scale: i8) -> Option<Scalar<'static>> {
    let scale = u8::try_from(scale).ok()?;
    Some(match precision {
        0..=9 => Scalar::Decimal4(unscaled.try_into().ok()?, scale),
        10..=18 => Scalar::Decimal8(unscaled.try_into().ok()?, scale),
        _ => Scalar::Decimal16(unscaled, scale),
    })
}

fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(Code::CorruptData, format!("not a variant: {what}"))
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
