//! From the columns of a file to the columns of the table.
//!
//! Files are older than the schema they are read with, and come from many writers. Columns are
//! matched as the table says, see [`super::label`]; what the table has and the file lacks is null;
//! what the file has and the table lacks is not read. Types must be the table's, or turn into it
//! without losing anything: those that a table may widen to the table's, and a coarser or exact
//! finer clock. Everything else is an error, because the alternative is a wrong value.
//!
//! The choice of columns and the conversion of arrays go down the same two trees, the file's and
//! the table's, by the same rule of names.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{
    ArrowError, DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit,
};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::schema::is_variant;
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::schema::types::SchemaDescriptor;

use super::label::{Labels, matches};
use super::shred;

/// Which columns of a file to decode, and as what.
#[derive(Debug)]
pub(super) struct Choice {
    /// For each column to decode its leaf columns in the file; all ascending.
    pub(super) decoded: Vec<Vec<usize>>,
    /// The file's schema with the types to decode to.
    pub(super) schema: Schema,
    /// For each column of the table, its place among the decoded ones.
    pub(super) columns: Vec<Option<usize>>,
    /// Names by which the file knows the fields of the table.
    pub(super) labels: Labels,
}

impl Choice {
    /// Leaf columns of the file, ascending.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        self.decoded.iter().flatten().copied()
    }

    /// Where each column of the table is when all are decoded together.
    pub(super) fn places(&self) -> Vec<Place> {
        self.columns.iter().copied().enumerate().collect()
    }
}

/// Chooses the columns of `file`, as the Parquet library sees it, that the table needs.
///
/// # Errors
///
/// `corrupt-data` if a name or id fits two columns of the file, and if columns are found by id and
/// the file has none; `type-mismatch` if a column is nested here and not there.
pub(super) fn choose(file: &Schema, parquet: &SchemaDescriptor, labels: Labels) -> Result<Choice> {
    labels.check(file.fields())?;
    let mut walk = Walk { parquet, next: 0, leaves: Vec::new() };
    let table = Arc::clone(labels.wanted());
    let matched = matches(file.fields(), table.fields())?;
    let mut fields = Vec::with_capacity(file.fields().len());
    let mut decoded = Vec::new();
    let targets = targets(file.fields(), table.fields(), &matched);
    let mut leaves = Vec::new();
    for (at, (field, target)) in file.fields().iter().zip(targets).enumerate() {
        fields.push(walk.field(field, target, field.name())?);
        if target.is_some() {
            decoded.push(at);
            leaves.push(std::mem::take(&mut walk.leaves));
        }
    }
    let place = |(field, at): (&FieldRef, &Option<usize>)| {
        let at = at.filter(|_| *field.data_type() != DataType::Null)?;
        decoded.binary_search(&at).ok()
    };
    let columns = table.fields().iter().zip(&matched).map(place).collect();
    Ok(Choice { decoded: leaves, schema: Schema::new(fields), columns, labels })
}

/// The other way round: for each field of the file the field of the table that it fills.
fn targets<'a>(
    file: &Fields,
    table: &'a Fields,
    matched: &[Option<usize>],
) -> Vec<Option<&'a Field>> {
    let mut targets = vec![None; file.len()];
    for (field, at) in table.iter().zip(matched) {
        let void = *field.data_type() == DataType::Null;
        if let Some(target) = at.and_then(|at| targets.get_mut(at)).filter(|_| !void) {
            *target = Some(field.as_ref());
        }
    }
    targets
}

struct Walk<'a> {
    parquet: &'a SchemaDescriptor,
    /// The leaf column that comes next.
    next: usize,
    leaves: Vec<usize>,
}

impl Walk<'_> {
    /// Goes down a field of the file; without a target nothing below it is chosen, and all of it
    /// for a variant, which the file may have in parts of its own.
    fn field(&mut self, file: &Field, target: Option<&Field>, path: &str) -> Result<Field> {
        let target = target.map(|it| if is_variant(it) { file } else { it });
        let (first, before) = (self.next, self.leaves.len());
        let data_type = match (file.data_type(), target.map(Field::data_type)) {
            (DataType::Struct(fields), to) => {
                let to = match to {
                    None => None,
                    Some(DataType::Struct(to)) => Some(to),
                    Some(to) => return Err(mismatch(path, file.data_type(), to)),
                };
                let targets = match to {
                    None => vec![None; fields.len()],
                    Some(to) => targets(fields, to, &matches(fields, to)?),
                };
                let mut out = Vec::with_capacity(fields.len());
                for (field, target) in fields.iter().zip(targets) {
                    out.push(self.field(field, target, &format!("{path}.{}", field.name()))?);
                }
                DataType::Struct(out.into())
            }
            (DataType::List(element), to) => {
                let to = match to {
                    None => None,
                    Some(DataType::List(to)) => Some(to.as_ref()),
                    Some(to) => return Err(mismatch(path, file.data_type(), to)),
                };
                DataType::List(self.field(element, to, &format!("{path}.element"))?.into())
            }
            (DataType::Map(entries, sorted), to) => {
                let to = match to {
                    None => None,
                    Some(DataType::Map(to, _)) => Some(to.as_ref()),
                    Some(to) => return Err(mismatch(path, file.data_type(), to)),
                };
                DataType::Map(self.entries(entries, to, path)?.into(), *sorted)
            }
            (leaf, to) => {
                let column = self.parquet.columns().get(self.next).ok_or_else(lost)?;
                if to.is_some() {
                    self.leaves.push(self.next);
                }
                self.next += 1;
                let annotated = column.converted_type() == ConvertedType::UTF8;
                match (leaf, column.physical_type()) {
                    _ if to.is_none() => leaf.clone(),
                    // It does not say whether it has a zone.
                    (DataType::Timestamp(TimeUnit::Nanosecond, None), Physical::INT96) => {
                        DataType::Timestamp(TimeUnit::Microsecond, None)
                    }
                    (DataType::Utf8, _) if annotated => DataType::Utf8View,
                    (DataType::Binary, Physical::BYTE_ARRAY) => DataType::BinaryView,
                    _ => leaf.clone(),
                }
            }
        };
        // What is null is written in the levels of any leaf.
        if target.is_some() && self.leaves.len() == before && first < self.next {
            self.leaves.push(first);
        }
        Ok(file.clone().with_data_type(data_type))
    }

    /// Keys and values are matched by place: writers name them as they like.
    fn entries(&mut self, file: &Field, target: Option<&Field>, path: &str) -> Result<Field> {
        let DataType::Struct(fields) = file.data_type() else {
            return Err(lost());
        };
        let to = match target.map(Field::data_type) {
            Some(DataType::Struct(to)) => Some(to),
            _ => None,
        };
        let mut out = Vec::with_capacity(fields.len());
        for (at, field) in fields.iter().enumerate() {
            let target = to.and_then(|it| it.get(at)).map(AsRef::as_ref);
            out.push(self.field(field, target, &format!("{path}.{}", field.name()))?);
        }
        Ok(file.clone().with_data_type(DataType::Struct(out.into())))
    }
}

/// A column of the table by its place there, and its place in a decoded batch if it has one.
pub(super) type Place = (usize, Option<usize>);

/// Turns decoded columns into columns of the table, in the order of `places`.
///
/// # Errors
///
/// `type-mismatch` names the column and both types; `corrupt-data` for null in a column or field
/// that is not null, for a column that is not null and not there, and for text that is not UTF-8.
pub(super) fn convert(
    batch: &RecordBatch,
    places: &[Place],
    table: &SchemaRef,
) -> Result<Vec<ArrayRef>> {
    let column = |(to, from): &Place| {
        let field = table.fields().get(*to).ok_or_else(lost)?;
        let found = from.and_then(|it| batch.columns().get(it));
        let array = child(found, field, batch.num_rows(), field.name())?;
        if !field.is_nullable() && 0 < array.null_count() {
            return Err(null_in(field.name()));
        }
        Ok(array)
    };
    places.iter().map(column).collect()
}

/// One column or field, which the file may lack.
fn child(found: Option<&ArrayRef>, to: &FieldRef, rows: usize, path: &str) -> Result<ArrayRef> {
    match found {
        Some(array) => array_to(array, to, path),
        None if to.is_nullable() || rows == 0 => Ok(new_null_array(to.data_type(), rows)),
        None => {
            let what = format!("column `{path}` is not null and the file does not have it");
            Err(Error::new(Code::CorruptData, what))
        }
    }
}

fn array_to(array: &ArrayRef, field: &Field, path: &str) -> Result<ArrayRef> {
    let to = field.data_type();
    if is_variant(field) {
        return match (array.data_type(), to) {
            (DataType::Struct(_), DataType::Struct(fields)) => {
                shred::whole(array.as_struct(), fields, path)
            }
            (from, _) => Err(Error::new(
                Code::TypeMismatch,
                format!("column `{path}` is {} in the file and variant in the table", words(from)),
            )),
        };
    }
    if array.data_type() == to {
        return match to {
            // Text that is not annotated as UTF-8 was not checked by the decoder.
            DataType::Utf8 => cast(&cast(array, &DataType::Binary, path)?, to, path),
            _ => Ok(Arc::clone(array)),
        };
    }
    match (array.data_type(), to) {
        (DataType::Null, _) | (_, DataType::Null) => Ok(new_null_array(to, array.len())),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Ok(Arc::new(struct_to(array.as_struct(), fields, path)?))
        }
        (DataType::List(_), DataType::List(element)) => list_to(array.as_list(), element, path),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            map_to(array.as_map(), entries, *sorted, path)
        }
        (from, to) if is_lossless(from, to) => cast(array, to, path),
        (DataType::Int32, DataType::Int8 | DataType::Int16) => cast(array, to, path),
        (DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, None)) => {
            midnights(array, to, path)
        }
        // Some writers leave out that a timestamp is in UTC; the table says that it is. The other
        // way round an instant would be taken for a time of day.
        (DataType::Timestamp(unit, zone), DataType::Timestamp(_, to_zone))
            if zone.is_none() || to_zone.is_some() =>
        {
            timestamp_to(array, *unit, to, path)
        }
        (DataType::Decimal128(from, scale), DataType::Decimal128(to, to_scale))
            if scale == to_scale && from <= to =>
        {
            let array = array.as_primitive::<arrow_array::types::Decimal128Type>().clone();
            let array = array.with_precision_and_scale(*to, *to_scale);
            Ok(Arc::new(array.map_err(|it| damaged(path, &it))?))
        }
        (from, to) => Err(mismatch(path, from, to)),
    }
}

/// Casts that keep every value, given that the values are what they say.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Duration, FixedSizeBinary, Float32, Float64, Int8, Int16, Int32, Int64,
        Interval, UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    matches!(
        (from, to),
        (Utf8View | BinaryView | Utf8 | Binary, Utf8 | Binary)
            | (FixedSizeBinary(_), Binary)
            | (Int8, Int16 | Int32 | Int64)
            | (Int16, Int32 | Int64)
            | (Int32, Int64)
            | (UInt8, Int16 | Int32 | Int64)
            | (UInt16, Int32 | Int64)
            | (UInt32, Int64)
            | (Int8 | Int16 | Int32 | Float32, Float64)
            | (Int32, Interval(IntervalUnit::YearMonth))
            | (Int64, Duration(TimeUnit::Microsecond))
    ) || widens_decimal(from, to)
}

/// Does the decimal have a place for every digit?
fn widens_decimal(from: &DataType, to: &DataType) -> bool {
    let DataType::Decimal128(precision, scale) = to else { return false };
    let whole = i16::from(*precision) - i16::from(*scale);
    match from {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => 0 <= *scale && 10 <= whole,
        DataType::Int64 => 0 <= *scale && 20 <= whole,
        DataType::Decimal128(from, from_scale) => {
            from_scale < scale && i16::from(*from) - i16::from(*from_scale) <= whole
        }
        _ => false,
    }
}

/// Bytes as the text that they must be; in the same memory.
///
/// # Errors
///
/// `corrupt-data` if they are not UTF-8.
pub(super) fn text(bytes: &ArrayRef, path: &str) -> Result<ArrayRef> {
    cast(bytes, &DataType::Utf8, path)
}

/// Days as the moments that they begin at, if those can be told.
fn midnights(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let days = array.as_primitive::<Date32Type>();
    let micros = days.try_unary::<_, TimestampMicrosecondType, Error>(|it| {
        i64::from(it)
            .checked_mul(MICROS_PER_DAY)
            .ok_or_else(|| mismatch(path, &DataType::Date32, to))
    });
    Ok(Arc::new(micros?))
}

fn cast(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|it| match array.data_type() {
        DataType::Int32 => mismatch(path, array.data_type(), to).because(it),
        _ => damaged(path, &it),
    })
}

/// To microseconds, if nothing is lost.
fn timestamp_to(array: &ArrayRef, unit: TimeUnit, to: &DataType, path: &str) -> Result<ArrayRef> {
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = to else {
        return Err(mismatch(path, array.data_type(), to));
    };
    let range = || mismatch(path, array.data_type(), to);
    let micros = match unit {
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().clone(),
        TimeUnit::Millisecond => array
            .as_primitive::<TimestampMillisecondType>()
            .try_unary(|it: i64| it.checked_mul(1_000).ok_or_else(range))?,
        TimeUnit::Nanosecond => array
            .as_primitive::<TimestampNanosecondType>()
            .try_unary(|it: i64| if it % 1_000 == 0 { Ok(it / 1_000) } else { Err(range()) })?,
        TimeUnit::Second => return Err(range()),
    };
    Ok(Arc::new(micros.with_timezone_opt(zone.clone())))
}

fn struct_to(array: &StructArray, to: &Fields, path: &str) -> Result<StructArray> {
    let nulls = array.nulls().cloned();
    if to.is_empty() {
        return Ok(StructArray::new_empty_fields(array.len(), nulls));
    }
    let matched = matches(array.fields(), to)?;
    let field = |(field, at): (&FieldRef, Option<usize>)| {
        let found = at.and_then(|it| array.columns().get(it));
        child(found, field, array.len(), &format!("{path}.{}", field.name()))
    };
    let children = to.iter().zip(matched).map(field).collect::<Result<Vec<_>>>()?;
    let made = StructArray::try_new(to.clone(), children.clone(), nulls.clone());
    made.map_err(|it| {
        let part = null_part(to, &children, nulls.as_ref());
        part.map_or_else(|| null_in(path), |it| null_in(&format!("{path}.{it}"))).because(it)
    })
}

/// The field that has a null where it must not, and its struct has none.
fn null_part<'a>(
    to: &'a Fields,
    children: &[ArrayRef],
    nulls: Option<&NullBuffer>,
) -> Option<&'a str> {
    let is_there = |row: usize| nulls.is_none_or(|it| it.is_valid(row));
    let mut fields = to.iter().zip(children).filter(|it| !it.0.is_nullable());
    let found = fields.find(|(_, column)| {
        let own = column.logical_nulls();
        own.is_some_and(|own| (0..own.len()).any(|row| own.is_null(row) && is_there(row)))
    });
    found.map(|it| it.0.name().as_str())
}

fn list_to(list: &ListArray, element: &FieldRef, path: &str) -> Result<ArrayRef> {
    let (offsets, values) = trim(list.offsets(), list.values());
    let values = array_to(&values, element, &format!("{path}.element"))?;
    let list = ListArray::try_new(Arc::clone(element), offsets, values, list.nulls().cloned());
    Ok(Arc::new(list.map_err(|it| null_in(path).because(it))?))
}

fn map_to(map: &MapArray, entries: &FieldRef, sorted: bool, path: &str) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else { return Err(lost()) };
    let (offsets, values) = trim(map.offsets(), &(Arc::new(map.entries().clone()) as ArrayRef));
    let values = values.as_struct();
    let part = |(array, field): (&ArrayRef, &FieldRef)| {
        array_to(array, field, &format!("{path}.{}", field.name()))
    };
    let parts = values.columns().iter().zip(fields).map(part).collect::<Result<Vec<_>>>()?;
    let values = StructArray::try_new(fields.clone(), parts, values.nulls().cloned())
        .map_err(|it| null_in(path).because(it))?;
    let map = MapArray::try_new(Arc::clone(entries), offsets, values, map.nulls().cloned(), sorted);
    Ok(Arc::new(map.map_err(|it| null_in(path).because(it))?))
}

/// Offsets from zero and the values that they reach.
fn trim(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let (from, to) = reach(offsets);
    if from == 0 && to == values.len() {
        return (offsets.clone(), Arc::clone(values));
    }
    let lengths = offsets.lengths();
    (OffsetBuffer::from_lengths(lengths), values.slice(from, to.saturating_sub(from)))
}

fn reach(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let at = |it: Option<&i32>| it.and_then(|it| usize::try_from(*it).ok()).unwrap_or_default();
    (at(offsets.first()), at(offsets.last()))
}

/// Bytes that text and binary of a decoded batch take once each value has its own copy.
///
/// A dictionary of one long value makes a page of few bytes and rows of many, so this is known only
/// after decoding, and decoding shares the bytes between rows.
pub(super) fn text_bytes(array: &dyn Array) -> usize {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(size).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(size).sum(),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|it| text_bytes(it)).sum(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            text_bytes(&trim(list.offsets(), list.values()).1)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries = Arc::new(map.entries().clone()) as ArrayRef;
            text_bytes(&trim(map.offsets(), &entries).1)
        }
        _ => 0,
    }
}

fn size(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn mismatch(path: &str, from: &DataType, to: &DataType) -> Error {
    let (from, to) = (words(from), words(to));
    let what = format!("column `{path}` is {from} in the file and {to} in the table");
    Error::new(Code::TypeMismatch, what)
}

/// A type in the words of the table's schema, if it has a word for it.
fn words(of: &DataType) -> String {
    let word = match of {
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 => "short",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::BinaryView => "binary",
        DataType::Date32 => "date",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz",
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "a timestamp of nanoseconds",
        DataType::Timestamp(TimeUnit::Millisecond, _) => "a timestamp of milliseconds",
        DataType::Decimal128(precision, scale) => return format!("decimal({precision},{scale})"),
        DataType::Struct(_) => "a struct",
        DataType::List(_) => "an array",
        DataType::Map(..) => "a map",
        other => return other.to_string(),
    };
    word.to_string()
}

fn null_in(path: &str) -> Error {
    Error::new(Code::CorruptData, format!("column `{path}` is not null and the file has nulls"))
}

fn damaged(path: &str, err: &ArrowError) -> Error {
    Error::new(Code::CorruptData, format!("column `{path}` does not decode: {err}"))
}

fn lost() -> Error {
    Error::new(Code::CorruptData, "the file's schema does not describe its columns")
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
