//! Old files under a wider schema.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float32Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, MapArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields};
use lakebed_log::expr::{col, lit};
use lakebed_log::schema::{PrimitiveType, Schema};
use lakebed_log::value::Value;

use crate::codec::tests::{Case, foreign};

/// One column of a narrow type, in wider clothes.
struct Old {
    array: ArrayRef,
    to: &'static str,
    /// As partition strings; `None` if no file of the type may be read as `to`.
    expected: Option<&'static [&'static str]>,
}

fn old(array: impl Array + 'static, to: &'static str, expected: &'static [&'static str]) -> Old {
    Old { array: Arc::new(array), to, expected: Some(expected) }
}

fn refused(array: impl Array + 'static, to: &'static str) -> Old {
    Old { array: Arc::new(array), to, expected: None }
}

fn cases() -> Vec<Old> {
    let decimal = |precision, scale, values: Vec<i128>| {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
    };
    let bytes = || Int8Array::from(vec![-128, 127]);
    let shorts = || Int16Array::from(vec![-32768, 32767]);
    let ints = || Int32Array::from(vec![i32::MIN, i32::MAX]);
    let longs = || Int64Array::from(vec![i64::MIN, i64::MAX]);
    let days = || Date32Array::from(vec![-1, 2_932_896]);
    vec![
        old(bytes(), "short", &["-128", "127"]),
        old(bytes(), "int", &["-128", "127"]),
        old(bytes(), "long", &["-128", "127"]),
        old(shorts(), "int", &["-32768", "32767"]),
        old(shorts(), "long", &["-32768", "32767"]),
        old(ints(), "long", &["-2147483648", "2147483647"]),
        old(bytes(), "double", &["-128.0", "127.0"]),
        old(shorts(), "double", &["-32768.0", "32767.0"]),
        old(ints(), "double", &["-2147483648.0", "2147483647.0"]),
        old(
            Float32Array::from(vec![0.1, f32::MAX]),
            "double",
            &["0.10000000149011612", "3.4028234663852886e38"],
        ),
        old(days(), "timestamp_ntz", &["1969-12-31 00:00:00", "9999-12-31 00:00:00"]),
        old(bytes(), "decimal(10,0)", &["-128", "127"]),
        old(ints(), "decimal(12,2)", &["-2147483648.00", "2147483647.00"]),
        old(longs(), "decimal(20,0)", &["-9223372036854775808", "9223372036854775807"]),
        old(
            longs(),
            "decimal(38,18)",
            &["-9223372036854775808.000000000000000000", "9223372036854775807.000000000000000000"],
        ),
        old(decimal(4, 2, vec![-9999, 1]), "decimal(5,2)", &["-99.99", "0.01"]),
        old(decimal(4, 2, vec![-9999, 1]), "decimal(6,4)", &["-99.9900", "0.0100"]),
        old(
            decimal(18, 0, vec![1, -1]),
            "decimal(38,20)",
            &["1.00000000000000000000", "-1.00000000000000000000"],
        ),
        refused(longs(), "double"),
        refused(longs(), "int"),
        refused(ints(), "float"),
        refused(ints(), "decimal(9,0)"),
        refused(ints(), "decimal(12,3)"),
        refused(longs(), "decimal(19,0)"),
        refused(longs(), "timestamp"),
        refused(days(), "timestamp"),
        refused(Date32Array::from(vec![i32::MAX]), "timestamp_ntz"),
        refused(decimal(4, 2, vec![1]), "decimal(4,3)"),
        refused(decimal(4, 2, vec![1]), "decimal(4,1)"),
        refused(Float32Array::from(vec![0.5]), "decimal(38,10)"),
        refused(Float32Array::from(vec![0.5]), "long"),
    ]
}

fn values(array: &ArrayRef) -> Vec<String> {
    let value = |row| Value::from_array(array, row).unwrap().unwrap().to_partition();
    (0..array.len()).map(value).collect()
}

/// Alone, in a struct, in a list, as key and as value of a map.
fn wrapped(array: &ArrayRef, to: &str) -> Vec<(String, ArrayRef)> {
    let field = |name: &str| Arc::new(Field::new(name, array.data_type().clone(), true));
    let fields = |names: &[&str]| names.iter().map(|it| field(it)).collect::<Fields>();
    let pairs = Fields::from(vec![
        Field::new("key", array.data_type().clone(), false),
        Field::new("value", array.data_type().clone(), true),
    ]);
    let entries = StructArray::new(pairs.clone(), vec![array.clone(), array.clone()], None);
    let one = || OffsetBuffer::from_lengths([array.len()]);
    let entry = Arc::new(Field::new("key_value", DataType::Struct(pairs), false));
    vec![
        (to.to_string(), array.clone()),
        (
            format!("struct<x: {to}>"),
            Arc::new(StructArray::new(fields(&["x"]), vec![array.clone()], None)),
        ),
        (
            format!("array<{to}>"),
            Arc::new(ListArray::new(field("element"), one(), array.clone(), None)),
        ),
        (format!("map<{to}, {to}>"), Arc::new(MapArray::new(entry, one(), entries, None, false))),
    ]
}

/// The leaves of a column that was wrapped.
fn leaves(array: &ArrayRef) -> Vec<ArrayRef> {
    use arrow_array::cast::AsArray;
    match array.data_type() {
        DataType::Struct(_) => array.as_struct().columns().to_vec(),
        DataType::List(_) => vec![array.as_list::<i32>().values().clone()],
        DataType::Map(..) => array.as_map().entries().columns().to_vec(),
        _ => vec![array.clone()],
    }
}

/// spec: WIDE-1, WIDE-3, DATA-7
#[test]
fn narrow_files_become_the_type_at_every_level() {
    for case in cases() {
        let from = case.array.data_type().clone();
        for (ddl, array) in wrapped(&case.array, case.to) {
            let read = Case::new(&format!("c {ddl}"), foreign(vec![("c", array)]));
            match (read.read(), case.expected) {
                (Ok(batches), Some(expected)) => {
                    assert_eq!(batches[0].schema(), read.schema.to_arrow());
                    for leaf in leaves(batches[0].column(0)) {
                        assert_eq!(values(&leaf), expected, "{from} as {ddl}");
                    }
                }
                (Err(err), None) => {
                    assert_eq!(err.code().as_str(), "type-mismatch", "{from} as {ddl}");
                }
                (result, _) => panic!("{from} as {ddl}: {result:?}"),
            }
        }
    }
}

/// The footer's bounds are of the narrow type, the filter's values of the wide one.
///
/// spec: WIDE-6, DATA-14
#[test]
fn filters_find_rows_of_narrow_files() {
    for case in cases() {
        let Some(expected) = case.expected else { continue };
        let ddl = format!("c {}", case.to);
        let bytes = foreign(vec![("c", case.array.clone())]);
        let schema = Schema::parse_ddl(&ddl).unwrap();
        let of: PrimitiveType = schema.fields()[0].data_type.primitive().unwrap();
        for text in expected {
            let value = Value::from_partition(text, of).unwrap().unwrap();
            for filter in [
                col("c").eq(lit(value.clone())),
                col("c").gt_eq(lit(value.clone())),
                col("c").lt_eq(lit(value.clone())),
            ] {
                let read = Case { filter: Some(filter), ..Case::new(&ddl, bytes.clone()) };
                let rows: usize = read.read().unwrap().iter().map(|it| it.num_rows()).sum();
                assert_eq!(rows, 2, "{} as {}, {text}", case.array.data_type(), case.to);
            }
        }
    }
}

/// Intervals are plain numbers in files.
///
/// spec: SCHEMA-20
#[test]
fn intervals_are_numbers_in_files() {
    let field = |name: &str, of: &str| {
        format!(r#"{{"name":"{name}","type":"{of}","nullable":true,"metadata":{{}}}}"#)
    };
    let check = |of: &str, array: ArrayRef| {
        let case = Case::new("c long", foreign(vec![("c", array)]));
        let text = format!(r#"{{"type":"struct","fields":[{}]}}"#, field("c", of));
        let case = Case { schema: Schema::from_json(&text).unwrap(), ..case };
        let batches = case.read().map_err(|it| it.code().as_str())?;
        assert_eq!(batches[0].schema(), case.schema.to_arrow());
        Ok::<String, &str>(format!("{:?}", batches[0].column(0).to_data().buffers()[0].as_slice()))
    };
    let months = || Arc::new(Int32Array::from(vec![14])) as ArrayRef;
    let micros = || Arc::new(Int64Array::from(vec![-1])) as ArrayRef;
    for of in ["interval year to month", "interval month", "interval year"] {
        assert_eq!(check(of, months()).unwrap(), "[14, 0, 0, 0]");
        assert_eq!(check(of, micros()), Err("type-mismatch"));
    }
    for of in ["interval day to second", "interval hour to minute", "interval second"] {
        assert_eq!(check(of, micros()).unwrap(), format!("{:?}", [255; 8]));
        assert_eq!(check(of, months()), Err("type-mismatch"));
    }
}
