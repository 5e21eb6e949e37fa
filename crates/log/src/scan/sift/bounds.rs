//! What the footer of one of our checkpoints says of all files of a row group.
//!
//! We write typed partition values and struct statistics, order files by them, and leave out bounds
//! that would not hold (those the wrong way round, those of columns with a NaN). So the bounds of a
//! column chunk are bounds of all its files. They pass over nulls, which is why a bound that some
//! file lacks says nothing.

use std::borrow::Cow;

use parquet::file::statistics::Statistics;

use crate::batch::{ChunkBounds, Group};
use crate::schema::{DataType, PrimitiveType};
use crate::skip::{Common, Range};
use crate::state::Head;
use crate::stats::{Reader, common_lower, common_text_upper, is_plain, raised};
use crate::value::Value;

/// The columns that the filter names, as far as the footer tells.
pub(super) fn common(
    group: &Group,
    head: &Head,
    partition_columns: impl IntoIterator<Item = String>,
    reader: &Reader,
) -> Common {
    let mut common = Common::default();
    for name in partition_columns {
        let Some(field) = head.schema.field(&name) else { continue };
        let DataType::Primitive(of) = field.data_type else { continue };
        let path = ["partitionValues_parsed", field.physical_name(head.mapping)];
        if let Some(bounds) = group.bounds(&path) {
            let (lower, upper) = typed(&bounds, of);
            let range = Range {
                lower: lower.map(Cow::Owned),
                upper: upper.map(Cow::Owned),
                some_null: bounds.some_null,
                all_null: bounds.all_null,
            };
            common.partition.insert(name, range);
        }
    }
    for leaf in reader.leaves() {
        let Some(of) = leaf.of else { continue };
        let section = |name: &str| {
            let names = leaf.names.iter().map(String::as_str);
            let path: Vec<&str> = ["stats_parsed", name].into_iter().chain(names).collect();
            group.bounds(&path).filter(|it| !it.some_null)
        };
        let lower = section("minValues").and_then(|it| typed(&it, of).0);
        // What one maximum proves may be above what a greater one does, if it is of old times.
        let upper = section("maxValues").map(|it| typed(&it, of));
        let upper = upper.filter(|it| it.0.as_ref().is_some_and(is_plain)).and_then(|it| it.1);
        let nulls = section("nullCount").and_then(|it| typed(&it, PrimitiveType::Long).1);
        let range = Range {
            lower: lower.filter(has_order).and_then(|it| common_lower(&it)).map(Cow::Owned),
            upper: upper.filter(has_order).and_then(widest).map(Cow::Owned),
            some_null: !matches!(nulls, Some(Value::Long(0))),
            all_null: false,
        };
        common.columns.insert(leaf.path.clone(), range);
    }
    common
}

/// NaN has a place among values, and none in footers.
fn has_order(bound: &Value) -> bool {
    !matches!(bound, Value::Float(_) | Value::Double(_))
}

/// The greatest value that a file with a stored maximum of at most `max` may hold.
fn widest(max: Value) -> Option<Value> {
    match max {
        Value::String(it) => common_text_upper(&it).map(Value::String),
        other => raised(&other),
    }
}

/// Least and greatest value of the chunk as values of the column.
fn typed(bounds: &ChunkBounds, of: PrimitiveType) -> (Option<Value>, Option<Value>) {
    let statistics = &bounds.statistics;
    // Of old writers it is not known by which order they compared.
    if statistics.is_min_max_deprecated() || bounds.all_null {
        return (None, None);
    }
    match (statistics, of) {
        (Statistics::Int32(it), _) => {
            let value = |it: Option<&i32>| it.and_then(|it| from_int(*it, of));
            (value(it.min_opt()), value(it.max_opt()))
        }
        (Statistics::Int64(it), _) => {
            let value = |it: Option<&i64>| it.and_then(|it| from_long(*it, of));
            (value(it.min_opt()), value(it.max_opt()))
        }
        (Statistics::ByteArray(it), PrimitiveType::String) => {
            let text = |it: &[u8]| String::from_utf8(it.to_vec()).ok().map(Value::String);
            let value = |it: Option<&[u8]>| it.and_then(text);
            (value(it.min_bytes_opt()), value(it.max_bytes_opt()))
        }
        (Statistics::Boolean(it), PrimitiveType::Boolean) => {
            let value = |it: Option<&bool>| it.map(|it| Value::Boolean(*it));
            (value(it.min_opt()), value(it.max_opt()))
        }
        _ => (None, None),
    }
}

fn from_int(it: i32, of: PrimitiveType) -> Option<Value> {
    match of {
        PrimitiveType::Byte => i8::try_from(it).ok().map(Value::Byte),
        PrimitiveType::Short => i16::try_from(it).ok().map(Value::Short),
        PrimitiveType::Integer => Some(Value::Integer(it)),
        PrimitiveType::Long => Some(Value::Long(it.into())),
        PrimitiveType::Date => Some(Value::Date(it)),
        _ => None,
    }
}

fn from_long(it: i64, of: PrimitiveType) -> Option<Value> {
    match of {
        PrimitiveType::Long => Some(Value::Long(it)),
        PrimitiveType::Timestamp => Some(Value::Timestamp(it)),
        PrimitiveType::TimestampNtz => Some(Value::TimestampNtz(it)),
        _ => None,
    }
}
