//! Casts of batches: by type, by value, by name, and where nulls may be.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveRunBuilder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{OffsetBuffer, ScalarBuffer, i256};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType as ArrowType, Field, Fields, TimeUnit};

use super::*;
use crate::schema::from_arrow;

fn array(it: impl Array + 'static) -> ArrayRef {
    Arc::new(it)
}

fn conform_one(data: &ArrayRef, column: &str, options: ArrowOptions) -> Result<Vec<String>> {
    let table = Schema::parse_ddl(&format!("a {column}")).unwrap();
    let field = Field::new("a", data.data_type().clone(), true);
    let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(data)]).unwrap();
    let rows = conform(&batch, &table, options)?;
    assert_eq!(rows.schema(), table.to_arrow());
    rows.column(0).to_data().validate_full().unwrap();
    let format = FormatOptions::default().with_null("null");
    let column = printable(rows.column(0));
    let printer = ArrayFormatter::try_new(&column, &format).unwrap();
    Ok((0..rows.num_rows()).map(|row| printer.value(row).to_string()).collect())
}

/// Arrow prints times of named zones only where it has their rules.
fn printable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        ArrowType::Timestamp(_, Some(zone)) => {
            assert_eq!(&**zone, "UTC");
            let micros = column.as_primitive::<TimestampMicrosecondType>().clone();
            array(micros.with_timezone("+00:00"))
        }
        _ => Arc::clone(column),
    }
}

/// `expected` is the rows, joined by semicolons, or the error.
#[track_caller]
fn check(data: impl Array + 'static, column: &str, expected: &str) {
    let data = array(data);
    let options = ArrowOptions { uint64_as_decimal: true };
    let seen = match conform_one(&data, column, options) {
        Ok(rows) => rows.join("; "),
        Err(error) => format!("{}: {error}", error.code().as_str()),
    };
    assert_eq!(seen, expected, "{} to {column}", data.data_type());
}

/// spec: SCHEMA-14, SCHEMA-19
#[test]
fn text_and_bytes() {
    check(StringArray::from(vec![Some("x"), None]), "string", "x; null");
    check(LargeStringArray::from(vec!["x"]), "string", "x");
    check(StringViewArray::from(vec!["x"]), "string", "x");
    let mut words = StringDictionaryBuilder::<Int8Type>::new();
    words.extend([Some("x"), None, Some("y"), Some("x")]);
    check(words.finish(), "string", "x; null; y; x");
    check(BinaryArray::from(vec![&b"\x00\xff"[..]]), "binary", "00ff");
    check(LargeBinaryArray::from(vec![&b"\x01"[..]]), "binary", "01");
    check(BinaryViewArray::from(vec![&b"\x01"[..]]), "binary", "01");
    check(FixedSizeBinaryArray::new(2, vec![1u8, 2].into(), None), "binary", "0102");
    check(
        StringArray::from(vec!["7"]),
        "long",
        "schema-mismatch: column `a`: Utf8 does not go into long: not every value fits; \
         cast it to Int64 first",
    );
    check(
        BinaryArray::from(vec![&b"x"[..]]),
        "string",
        "schema-mismatch: column `a`: Binary does not go into string: not every value fits; \
         cast it to Utf8 first",
    );
}

/// spec: SCHEMA-14, SCHEMA-15
#[test]
fn numbers() {
    check(UInt8Array::from(vec![255]), "short", "255");
    check(UInt16Array::from(vec![65_535]), "int", "65535");
    check(UInt32Array::from(vec![u32::MAX]), "long", "4294967295");
    check(UInt64Array::from(vec![u64::MAX]), "decimal(20,0)", "18446744073709551615");
    check(Int8Array::from(vec![-1]), "long", "-1");
    check(Int32Array::from(vec![Some(i32::MIN), None]), "long", "-2147483648; null");
    check(Int32Array::from(vec![i32::MAX]), "double", "2147483647.0");
    check(Int32Array::from(vec![7]), "decimal(12,2)", "7.00");
    check(
        arrow_cast::cast(&Float32Array::from(vec![0.5]), &ArrowType::Float16).unwrap(),
        "float",
        "0.5",
    );
    check(Float32Array::from(vec![0.5]), "double", "0.5");
    check(BooleanArray::from(vec![true]), "boolean", "true");
    check(NullArray::new(2), "decimal(5,2)", "null; null");
    check(
        Int64Array::from(vec![1]),
        "int",
        "schema-mismatch: column `a`: Int64 does not go into integer: not every value fits; \
         cast it to Int32 first",
    );
    for (data, column) in [
        (array(Int64Array::from(vec![1])), "double"),
        (array(Int32Array::from(vec![1])), "float"),
        (array(Float64Array::from(vec![1.0])), "float"),
        (array(UInt8Array::from(vec![1])), "byte"),
        (array(BooleanArray::from(vec![true])), "int"),
        (array(Int64Array::from(vec![1])), "array<long>"),
        (array(Int64Array::from(vec![1])), "struct<x long>"),
        (array(Int64Array::from(vec![1])), "map<long, long>"),
        (array(Int64Array::from(vec![1])), "void"),
    ] {
        let error = conform_one(&data, column, ArrowOptions::default()).unwrap_err();
        assert_eq!(error.code(), Code::SchemaMismatch, "{} to {column}", data.data_type());
    }
    let wide = array(UInt64Array::from(vec![1]));
    let error = conform_one(&wide, "decimal(20,0)", ArrowOptions::default()).unwrap_err();
    assert!(error.to_string().contains("take it as decimal(20,0) by option"), "{error}");
}

/// spec: SCHEMA-14, SCHEMA-15
#[test]
fn decimals() {
    let decimal = |values: Vec<i128>, precision, scale| {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
    };
    check(decimal(vec![150], 5, 2), "decimal(5,2)", "1.50");
    check(decimal(vec![150], 5, 2), "decimal(38,20)", "1.50000000000000000000");
    check(decimal(vec![15], 5, -2), "decimal(7,0)", "1500");
    let small = Decimal32Array::from(vec![150]).with_precision_and_scale(5, 2).unwrap();
    check(small, "decimal(5,2)", "1.50");
    let small = Decimal64Array::from(vec![150]).with_precision_and_scale(15, 2).unwrap();
    check(small, "decimal(15,2)", "1.50");
    let wide = |precision| {
        let values = vec![i256::from_i128(150)];
        Decimal256Array::from(values).with_precision_and_scale(precision, 2).unwrap()
    };
    check(wide(38), "decimal(38,2)", "1.50");
    check(
        wide(39),
        "decimal(38,2)",
        "schema-mismatch: column `a`: Decimal256(39, 2) has no column type that holds it without \
         loss; cast it to Decimal128",
    );
    check(
        decimal(vec![1, 100_000], 5, 2),
        "decimal(5,2)",
        "invalid-data: column `a`: row 1: unscaled 100000 has more than 5 digits",
    );
    let error = conform_one(&array(decimal(vec![1], 10, 2)), "decimal(10,1)", Default::default());
    assert_eq!(error.unwrap_err().code(), Code::SchemaMismatch);
}

/// spec: SCHEMA-14, SCHEMA-16, SCHEMA-17
#[test]
fn dates_and_times() {
    check(Date32Array::from(vec![-1]), "date", "1969-12-31");
    check(Date64Array::from(vec![Some(-86_400_000), None]), "date", "1969-12-31; null");
    check(
        Date64Array::from(vec![0, 1]),
        "date",
        "invalid-data: column `a`: row 1: 1 is no whole day",
    );
    check(Date32Array::from(vec![1]), "timestamp_ntz", "1970-01-02T00:00:00");
    check(
        Date32Array::from(vec![i32::MAX]),
        "timestamp_ntz",
        "invalid-data: column `a`: row 0: 2147483647 is out of range for timestamp_ntz",
    );

    let paris = "+02:00";
    check(
        TimestampMicrosecondArray::from(vec![1]).with_timezone(paris),
        "timestamp",
        "1970-01-01T00:00:00.000001Z",
    );
    check(
        TimestampSecondArray::from(vec![Some(-1), None]).with_timezone("UTC"),
        "timestamp",
        "1969-12-31T23:59:59Z; null",
    );
    check(TimestampMillisecondArray::from(vec![1]), "timestamp_ntz", "1970-01-01T00:00:00.001");
    check(
        TimestampNanosecondArray::from(vec![-1000]),
        "timestamp_ntz",
        "1969-12-31T23:59:59.999999",
    );
    check(
        TimestampNanosecondArray::from(vec![1000, 1001]),
        "timestamp_ntz",
        "invalid-data: column `a`: row 1: 1001 nanoseconds are not whole microseconds; \
         truncate them",
    );
    check(
        TimestampSecondArray::from(vec![i64::MAX]),
        "timestamp_ntz",
        "invalid-data: column `a`: row 0: 9223372036854775807 is out of range for microseconds",
    );
    check(
        TimestampMicrosecondArray::from(vec![1]),
        "timestamp",
        "schema-mismatch: column `a`: Timestamp(\u{b5}s) does not go into timestamp: which zone is \
         meant is unknown; cast it to Timestamp(\u{b5}s, \"UTC\") first",
    );
    check(
        TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC"),
        "timestamp_ntz",
        "schema-mismatch: column `a`: Timestamp(\u{b5}s, \"UTC\") does not go into timestamp_ntz: \
         its zone would be lost; cast it to Timestamp(\u{b5}s) first",
    );
    check(
        Time32SecondArray::from(vec![1]),
        "long",
        "schema-mismatch: column `a`: Time32(s) has no column type that holds it without loss; \
         cast it to Int64 or Utf8",
    );
    for data in [
        array(DurationSecondArray::from(vec![1])),
        array(IntervalYearMonthArray::from(vec![1])),
        array(Time64NanosecondArray::from(vec![1])),
    ] {
        let error = conform_one(&data, "long", ArrowOptions::default()).unwrap_err();
        assert_eq!(error.code(), Code::SchemaMismatch, "{}", data.data_type());
    }
}

/// The slots of nulls may hold anything.
#[test]
fn values_below_nulls_are_not_judged() {
    let nulls = || Some(NullBuffer::from(vec![false, true]));
    let nanos = TimestampNanosecondArray::new(vec![1, 1000].into(), nulls());
    check(nanos, "timestamp_ntz", "null; 1970-01-01T00:00:00.000001");
    let decimals = Decimal128Array::new(vec![i128::MAX, 1].into(), nulls());
    check(decimals.with_precision_and_scale(5, 0).unwrap(), "decimal(5,0)", "null; 1");
    let inside = array(Int32Array::from(vec![None, Some(7)]));
    let list = ListArray::new(
        Arc::new(Field::new("x", ArrowType::Int32, true)),
        OffsetBuffer::new(vec![0, 1, 2].into()),
        inside,
        nulls(),
    );
    check(list, "array<long not null>", "null; [7]");
}

#[test]
fn encodings() {
    let mut runs = PrimitiveRunBuilder::<Int16Type, Int32Type>::new();
    runs.extend([Some(1), Some(1), None, Some(2)]);
    let runs = runs.finish();
    check(runs.slice(1, 3), "long", "1; null; 2");
    let dates = TimestampNanosecondArray::from(vec![1000, 2000]);
    let keys = UInt8Array::from(vec![Some(1), None, Some(0)]);
    check(
        DictionaryArray::new(keys, array(dates)),
        "timestamp_ntz",
        "1970-01-01T00:00:00.000002; null; 1970-01-01T00:00:00.000001",
    );
}

fn ints(rows: &[Option<&[i32]>]) -> ListArray {
    let mut list = ListBuilder::new(Int32Array::builder(0));
    for row in rows {
        match row {
            Some(values) => list.append_value(values.iter().map(|it| Some(*it))),
            None => list.append(false),
        }
    }
    list.finish()
}

#[test]
fn lists() {
    let rows = ints(&[Some(&[1, 2]), None, Some(&[]), Some(&[3])]);
    check(rows.clone(), "array<long>", "[1, 2]; null; []; [3]");
    check(rows.slice(2, 2), "array<long>", "[]; [3]");
    let large = arrow_cast::cast(
        &rows,
        &ArrowType::LargeList(Arc::new(Field::new("item", ArrowType::Int32, true))),
    )
    .unwrap();
    check(large, "array<long>", "[1, 2]; null; []; [3]");

    let field = || Arc::new(Field::new("item", ArrowType::Int32, true));
    let values = || array(Int32Array::from(vec![1, 2, 3, 4, 5, 6]));
    let nulls = NullBuffer::from(vec![true, false, true]);
    let fixed = FixedSizeListArray::new(field(), 2, values(), Some(nulls));
    check(fixed.clone(), "array<int>", "[1, 2]; null; [5, 6]");
    check(fixed.slice(1, 2), "array<int>", "null; [5, 6]");
    let offsets = ScalarBuffer::from(vec![4, 0, 1]);
    let view = ListViewArray::new(field(), offsets, vec![2, 2, 0].into(), values(), None);
    check(view, "array<int>", "[5, 6]; [1, 2]; []");

    let holes = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
    check(holes.clone(), "array<int>", "[1, null]");
    check(
        holes,
        "array<int not null>",
        "invalid-data: column `a.element`: element 1 is null and must not be",
    );
}

fn structs(columns: Vec<(&str, ArrayRef)>, nulls: Option<Vec<bool>>) -> StructArray {
    let field = |(name, it): &(&str, ArrayRef)| Field::new(*name, it.data_type().clone(), true);
    let fields: Fields = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, it)| it).collect();
    StructArray::new(fields, arrays, nulls.map(NullBuffer::from))
}

/// spec: SCHEMA-18
#[test]
fn structs_and_maps() {
    let x = || array(Int32Array::from(vec![Some(1), None]));
    check(
        structs(vec![("X", x())], None),
        "struct<x long, y string>",
        "{x: 1, y: null}; {x: null, y: null}",
    );
    check(structs(vec![("x", x())], Some(vec![true, false])), "struct<x int>", "{x: 1}; null");
    check(
        structs(vec![("x", x()), ("z", x())], None),
        "struct<x int>",
        "schema-mismatch: the table has no columns `a.z`; schema evolution would add them, or \
         leave them out",
    );
    check(
        structs(vec![("x", x())], None),
        "struct<x int, y int not null>",
        "schema-mismatch: column `a.y`: the data lacks it and it is not null",
    );

    let keys = array(StringArray::from(vec!["k", "l"]));
    let entries = structs(vec![("keys", keys), ("values", x())], None);
    let entries = StructArray::new(
        vec![
            Field::new("keys", ArrowType::Utf8, false),
            Field::new("values", ArrowType::Int32, true),
        ]
        .into(),
        entries.columns().to_vec(),
        None,
    );
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::new(vec![0, 0, 2].into());
    let map = MapArray::new(field, offsets, entries, None, false);
    check(map.clone(), "map<string, long>", "{}; {k: 1, l: null}");
    check(map.slice(1, 1), "map<string, long>", "{k: 1, l: null}");
    check(
        map,
        "map<string, int not null>",
        "invalid-data: column `a.value`: element 1 is null and must not be",
    );
}

/// spec: SCHEMA-13
#[test]
fn nulls_where_none_may_be() {
    check(Int32Array::from(vec![Some(1)]), "int not null", "1");
    check(
        Int32Array::from(vec![Some(1), None]),
        "int not null",
        "invalid-data: column `a`: row 1 is null and must not be",
    );
    check(
        NullArray::new(1),
        "int not null",
        "invalid-data: column `a`: row 0 is null and must not be",
    );
    let x = || array(Int32Array::from(vec![1, 2]));
    let there = structs(vec![("x", x())], None);
    check(there, "struct<x int not null>", "{x: 1}; {x: 2}");
    let missing = || structs(vec![("x", x())], Some(vec![true, false]));
    check(
        missing(),
        "struct<x int not null>",
        "invalid-data: column `a.x`: row 1 is null and must not be",
    );
    let outer =
        structs(vec![("s", array(structs(vec![("x", x())], None)))], Some(vec![false, true]));
    check(
        outer,
        "struct<s struct<x int not null>>",
        "invalid-data: column `a.s.x`: row 0 is null and must not be",
    );
    let element = Arc::new(Field::new("item", missing().data_type().clone(), true));
    let list =
        ListArray::new(element, OffsetBuffer::new(vec![0, 2].into()), array(missing()), None);
    check(list, "array<struct<x int not null>>", "[{x: 1}, null]");
}

#[track_caller]
fn check_names(data: &[&str], table: &str, expected: &str) {
    let table = Schema::parse_ddl(table).unwrap();
    let column = |at: usize| array(Int32Array::from(vec![i32::try_from(at).unwrap()]));
    let fields: Vec<Field> =
        data.iter().map(|it| Field::new(*it, ArrowType::Int32, true)).collect();
    let batch = RecordBatch::try_new(
        Arc::new(arrow_schema::Schema::new(fields)),
        (0..data.len()).map(column).collect(),
    )
    .unwrap();
    let seen = match conform(&batch, &table, ArrowOptions::default()) {
        Ok(rows) => {
            let first = |it: &ArrayRef| arrow_cast::display::array_value_to_string(it, 0).unwrap();
            rows.columns().iter().map(first).collect::<Vec<_>>().join(",")
        }
        Err(error) => {
            assert_eq!(error.code(), Code::SchemaMismatch);
            error.to_string()
        }
    };
    assert_eq!(seen, expected);
}

/// spec: SCHEMA-18
#[test]
fn columns_match_by_name() {
    check_names(&["a", "b"], "a int, b int", "0,1");
    check_names(&["b", "A"], "a int, b int", "1,0");
    check_names(&["b"], "a int, b int", ",0");
    check_names(
        &["a", "c", "d"],
        "a int",
        "the table has no columns `c`, `d`; schema evolution would add them, or leave them out",
    );
    check_names(
        &["a", "A"],
        "a int",
        "the table has no columns `A`; `A` is there more than once, ignoring case",
    );
    check_names(
        &["b"],
        "a int not null, b int",
        "column `a`: the data lacks it and it is not null",
    );
}

#[test]
fn rows_without_columns_are_counted() {
    let rows = RecordBatchOptions::new().with_row_count(Some(3));
    let empty = Arc::new(arrow_schema::Schema::empty());
    let batch = RecordBatch::try_new_with_options(empty, vec![], &rows).unwrap();
    let table = Schema::parse_ddl("a int").unwrap();
    assert_eq!(conform(&batch, &table, ArrowOptions::default()).unwrap().num_rows(), 3);
}

/// The Arrow type as the column type it makes, or the code of the error.
#[track_caller]
fn check_from(of: ArrowType, expected: &str) {
    let schema = arrow_schema::Schema::new(vec![Field::new("a", of.clone(), true)]);
    let seen = match from_arrow(&schema, ArrowOptions::default()) {
        Ok((schema, _)) => schema.fields()[0].data_type.to_string(),
        Err(error) => error.code().as_str().to_string(),
    };
    assert_eq!(seen, expected, "{of}");
}

/// spec: SCHEMA-14
#[test]
fn types_of_new_tables() {
    let field = |of| Arc::new(Field::new("x", of, false));
    check_from(ArrowType::Null, "void");
    check_from(ArrowType::LargeUtf8, "string");
    check_from(ArrowType::FixedSizeBinary(16), "binary");
    check_from(ArrowType::UInt32, "long");
    check_from(ArrowType::UInt64, "schema-mismatch");
    check_from(ArrowType::Float16, "float");
    check_from(ArrowType::Decimal256(38, 10), "decimal(38,10)");
    check_from(ArrowType::Decimal256(39, 10), "schema-mismatch");
    check_from(ArrowType::Decimal128(36, -2), "decimal(38,0)");
    check_from(ArrowType::Decimal128(37, -2), "schema-mismatch");
    check_from(ArrowType::Date64, "date");
    check_from(
        ArrowType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Paris".into())),
        "timestamp",
    );
    check_from(ArrowType::Timestamp(TimeUnit::Second, None), "timestamp_ntz");
    check_from(ArrowType::LargeListView(field(ArrowType::Int8)), "array<byte not null>");
    check_from(
        ArrowType::Struct(vec![field(ArrowType::Utf8View)].into()),
        "struct<x string not null>",
    );
    check_from(
        ArrowType::Dictionary(Box::new(ArrowType::Int8), Box::new(ArrowType::Utf8)),
        "string",
    );
    check_from(ArrowType::RunEndEncoded(field(ArrowType::Int32), field(ArrowType::Int8)), "byte");
    check_from(ArrowType::Time64(TimeUnit::Nanosecond), "schema-mismatch");
    check_from(ArrowType::Duration(TimeUnit::Second), "schema-mismatch");
    check_from(ArrowType::List(field(ArrowType::Time32(TimeUnit::Second))), "schema-mismatch");
    let deep = (0..200).fold(ArrowType::Int8, |it, _| ArrowType::List(field(it)));
    check_from(deep, "limit-exceeded");
}

#[test]
fn new_tables_are_explained() {
    let zoneless = ArrowType::Timestamp(TimeUnit::Millisecond, None);
    let inner = Field::new("at", zoneless, true);
    let outer = Field::new("s", ArrowType::Struct(vec![inner].into()), true);
    let schema = arrow_schema::Schema::new(vec![Field::new("id", ArrowType::Int64, true), outer]);
    let (_, notes) = from_arrow(&schema, ArrowOptions::default()).unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("column `s.at` has timestamps without zone"), "{}", notes[0]);

    let twins = ["a", "A"].map(|it| Field::new(it, ArrowType::Int64, true)).to_vec();
    let error = from_arrow(&arrow_schema::Schema::new(twins), ArrowOptions::default()).unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
}
