//! Variants in parts, as other writers leave them.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{Field, Fields};
use lakebed_log::error::Code;
use lakebed_log::schema::{is_variant, variants_as_text};
use lakebed_log::variant::{Scalar, write_array, write_object};

use crate::codec::tests::{Case, foreign};

/// The names a, b, c.
const NAMES: &[u8] = &[0x11, 3, 0, 1, 2, 3, b'a', b'b', b'c'];

fn long(it: i64) -> Vec<u8> {
    let mut out = Vec::new();
    Scalar::Int64(it).write(&mut out).unwrap();
    out
}

/// An object of the fields at these places in the dictionary.
fn object(fields: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let (mut values, mut parts) = (Vec::new(), Vec::new());
    for (id, bytes) in fields {
        parts.push((*id, values.len()..values.len() + bytes.len()));
        values.extend(bytes);
    }
    let mut out = Vec::new();
    write_object(&values, &parts, &mut out).unwrap();
    out
}

/// A group of these columns, in this order.
fn group(columns: Vec<(&str, ArrayRef)>, nulls: Option<Vec<bool>>) -> ArrayRef {
    let fields: Fields = columns
        .iter()
        .map(|(name, it)| Field::new(*name, it.data_type().clone(), *name != "metadata"))
        .collect();
    let arrays = columns.into_iter().map(|it| it.1).collect();
    Arc::new(StructArray::new(fields, arrays, nulls.map(NullBuffer::from)))
}

fn binary(values: &[Option<Vec<u8>>]) -> ArrayRef {
    Arc::new(values.iter().map(|it| it.as_deref()).collect::<BinaryArray>())
}

fn names(rows: usize) -> ArrayRef {
    Arc::new(BinaryArray::from(vec![NAMES; rows]))
}

/// What is read, as JSON; or the code of the error.
#[track_caller]
fn check(column: ArrayRef, expected: &[Option<&str>]) {
    match read(column) {
        Ok(rows) => {
            let expected: Vec<_> = expected.iter().map(|it| it.map(str::to_string)).collect();
            assert_eq!(rows, expected);
        }
        Err(code) => assert_eq!(expected, &[Some(code.as_str())]),
    }
}

fn read(column: ArrayRef) -> Result<Vec<Option<String>>, Code> {
    let case = Case::new("v variant", foreign(vec![("v", column)]));
    let batches = case.read().map_err(|it| it.code())?;
    assert!(is_variant(batches[0].schema().field(0)));
    let text = variants_as_text(&batches[0]).map_err(|it| it.code())?;
    Ok(text.column(0).as_string::<i32>().iter().map(|it| it.map(str::to_string)).collect())
}

/// spec: VAR-3, VAR-4, VAR-6
#[test]
fn whole_variants() {
    let values = binary(&[Some(long(7)), Some(vec![0]), None]);
    let nulls = Some(vec![true, true, false]);
    let expected = [Some("7"), Some("null"), None];
    check(group(vec![("metadata", names(3)), ("value", values.clone())], nulls.clone()), &expected);
    // In whatever order; the column that is missing has nothing to say.
    check(group(vec![("value", values), ("metadata", names(3))], nulls), &expected);
    check(group(vec![("metadata", names(1))], None), &[Some("null")]);
    check(group(vec![("value", binary(&[None]))], None), &[Some("corrupt-data")]);
    check(Arc::new(Int64Array::from(vec![1])), &[Some("type-mismatch")]);
    let text = Arc::new(StringArray::from(vec!["x"]));
    check(group(vec![("metadata", names(1)), ("value", text)], None), &[Some("corrupt-data")]);
}

/// spec: VAR-5
#[test]
fn columns_of_every_type() {
    let decimal = |precision, scale| {
        Decimal128Array::from(vec![-125]).with_precision_and_scale(precision, scale).unwrap()
    };
    let micros = || TimestampMicrosecondArray::from(vec![-1]);
    let table: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(Int8Array::from(vec![-1])), "-1"),
        (Arc::new(Int16Array::from(vec![-300])), "-300"),
        (Arc::new(Int32Array::from(vec![70_000])), "70000"),
        (Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
        (Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![0.1])), "0.1"),
        (Arc::new(decimal(9, 2)), "-1.25"),
        (Arc::new(decimal(18, 2)), "-1.25"),
        (Arc::new(decimal(38, 2)), "-1.25"),
        (Arc::new(Date32Array::from(vec![-1])), "\"1969-12-31\""),
        (Arc::new(Time64MicrosecondArray::from(vec![1_000_001])), "\"00:00:01.000001\""),
        (Arc::new(micros().with_timezone("UTC")), "\"1969-12-31 23:59:59.999999+00:00\""),
        (Arc::new(micros()), "\"1969-12-31 23:59:59.999999\""),
        (
            Arc::new(TimestampNanosecondArray::from(vec![-1]).with_timezone("UTC")),
            "\"1969-12-31 23:59:59.999999999+00:00\"",
        ),
        (Arc::new(StringArray::from(vec!["x"])), "\"x\""),
        (Arc::new(BinaryArray::from(vec![&b"eh?"[..]])), "\"ZWg/\""),
        (
            Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8; 16]].into_iter()).unwrap()),
            "\"01010101-0101-0101-0101-010101010101\"",
        ),
        (Arc::new(UInt64Array::from(vec![1])), "unsupported-data"),
    ];
    for (typed, expected) in table {
        let columns =
            vec![("metadata", names(1)), ("value", binary(&[None])), ("typed_value", typed)];
        check(group(columns, None), &[Some(expected)]);
    }
}

/// spec: VAR-4, VAR-5
#[test]
fn values_beside_columns() {
    let typed = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let columns = |value: &[Option<Vec<u8>>], of: Vec<Option<i64>>| {
        vec![("typed_value", typed(of)), ("value", binary(value)), ("metadata", names(value.len()))]
    };
    let mixed = columns(&[None, Some(vec![0]), None, None], vec![Some(1), None, None, Some(9)]);
    let nulls = Some(vec![true, true, true, false]);
    check(group(mixed, nulls), &[Some("1"), Some("null"), Some("null"), None]);
    check(group(columns(&[Some(long(1))], vec![Some(1)]), None), &[Some("corrupt-data")]);
    check(
        group(vec![("metadata", names(1)), ("typed_value", typed(vec![Some(5)]))], None),
        &[Some("5")],
    );
}

/// An object whose `a` has columns, and the rest of it.
fn objects(
    rest: &[Option<Vec<u8>>],
    a: Vec<Option<i64>>,
    a_rest: &[Option<Vec<u8>>],
    there: Vec<bool>,
) -> ArrayRef {
    let a: ArrayRef = Arc::new(Int64Array::from(a));
    let a = group(vec![("value", binary(a_rest)), ("typed_value", a)], None);
    let typed = group(vec![("a", a)], Some(there));
    group(
        vec![("metadata", names(rest.len())), ("value", binary(rest)), ("typed_value", typed)],
        None,
    )
}

/// spec: VAR-5, VAR-10
#[test]
fn objects_in_parts() {
    let rest = object(&[(1, long(2)), (2, object(&[]))]);
    check(
        objects(
            &[None, Some(rest), Some(long(7)), None, None],
            vec![Some(1), None, None, None, None],
            &[None, Some(vec![0]), None, None, None],
            vec![true, true, false, true, false],
        ),
        &[
            Some(r#"{"a":1}"#),
            Some(r#"{"a":null,"b":2,"c":{}}"#),
            Some("7"),
            Some("{}"),
            Some("null"),
        ],
    );
    let one = |rest: Vec<u8>| objects(&[Some(rest)], vec![Some(1)], &[None], vec![true]);
    check(one(object(&[(0, long(2))])), &[Some("corrupt-data")]);
    check(one(long(2)), &[Some("corrupt-data")]);
    check(one(vec![0xff; 3]), &[Some("corrupt-data")]);
    // Many fields that share their bytes would make much of little.
    let mut shared = vec![0b10, 40];
    shared.extend([1; 40]);
    shared.extend([0; 40]);
    shared.push(9);
    shared.extend(long(2));
    check(one(shared), &[Some("corrupt-data")]);
    // Fields come in the order of their names, wherever they were.
    let b: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let b = group(vec![("typed_value", b)], None);
    let z: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let z = group(vec![("typed_value", z)], None);
    let both = group(vec![("c", z.clone()), ("b", b)], None);
    let columns = |typed| {
        vec![("metadata", names(1)), ("value", binary(&[Some(object(&[(0, long(0))]))])), typed]
    };
    check(group(columns(("typed_value", both)), None), &[Some(r#"{"a":0,"b":2,"c":1}"#)]);
    let unknown = group(vec![("z", z)], None);
    check(group(columns(("typed_value", unknown)), None), &[Some("corrupt-data")]);
}

/// spec: VAR-5
#[test]
fn lists_in_parts() {
    let items: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let element =
        group(vec![("value", binary(&[None, Some(long(2)), None])), ("typed_value", items)], None);
    let field = Arc::new(Field::new("element", element.data_type().clone(), false));
    let list = ListArray::new(
        field,
        OffsetBuffer::from_lengths([3, 0, 0]),
        element,
        Some(NullBuffer::from(vec![true, true, false])),
    );
    let mut other = Vec::new();
    write_array(&[], &[], &mut other).unwrap();
    let columns = vec![
        ("metadata", names(3)),
        ("value", binary(&[None, None, Some(long(7))])),
        ("typed_value", Arc::new(list) as ArrayRef),
    ];
    check(group(columns, None), &[Some("[1,2,null]"), Some("[]"), Some("7")]);
    // An element that is no pair of columns.
    let mut plain = ListBuilder::new(Int64Builder::new());
    plain.append_value([Some(1)]);
    let columns =
        vec![("metadata", names(1)), ("typed_value", Arc::new(plain.finish()) as ArrayRef)];
    check(group(columns, None), &[Some("corrupt-data")]);
}

/// spec: VAR-6
#[test]
fn variants_inside() {
    let inner = group(
        vec![("value", binary(&[Some(long(1)), Some(long(2)), None])), ("metadata", names(3))],
        Some(vec![true, false, false]),
    );
    let outer = group(vec![("v", inner)], Some(vec![true, true, false]));
    let case = Case::new("s struct<v: variant>", foreign(vec![("s", outer)]));
    let batches = case.read().unwrap();
    assert_eq!(batches[0].schema(), case.schema.to_arrow());
    let text = variants_as_text(&batches[0]).unwrap();
    let s = text.column(0).as_struct();
    let v = s.column(0).as_string::<i32>();
    assert_eq!((v.value(0), v.is_null(1), s.is_null(1), s.is_null(2)), ("1", true, false, true));
}
