//! Statistics: collected, printed, read, and what they prove.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Schema as ArrowSchema};
use proptest::prelude::*;

use super::*;

fn properties(configuration: &[(&str, &str)]) -> Properties {
    let pairs = configuration.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Properties::read(&pairs.collect())
}

/// Statistics of one column `c`, as JSON.
fn collected(ddl: &str, arrays: Vec<ArrayRef>) -> String {
    let schema = Schema::parse_ddl(&format!("c {ddl}")).unwrap();
    let mut collector = Collector::new(&schema, &[], &properties(&[]));
    let arrow: Arc<ArrowSchema> = schema.to_arrow();
    for array in arrays {
        let batch = RecordBatch::try_new(arrow.clone(), vec![array]).unwrap();
        collector.update(&batch).unwrap();
    }
    collector.finish().to_json()
}

/// One batch per array; the JSON as `numRecords min max nullCount`, `-` for absent.
#[track_caller]
fn check(ddl: &str, arrays: Vec<ArrayRef>, expected: &str) {
    let text = collected(ddl, arrays);
    let section = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":{{")).unwrap();
        let inner = rest.strip_prefix("\"c\":");
        inner.map_or("-", |it| it.split_once('}').unwrap().0).to_string()
    };
    let rows = text.strip_prefix("{\"numRecords\":").unwrap().split_once(',').unwrap().0;
    let [min, max, nulls] = ["minValues", "maxValues", "nullCount"].map(section);
    assert_eq!(format!("{rows} {min} {max} {nulls}"), expected, "{text}");
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn doubles(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn times(values: &[i64], zone: bool) -> ArrayRef {
    let array = TimestampMicrosecondArray::from(values.to_vec());
    if zone { Arc::new(array.with_timezone("UTC")) } else { Arc::new(array) }
}

/// spec: STATS-4, STATS-7, STATS-11, STATS-12, STATS-13
#[test]
fn numbers() {
    let longs = |it: &[Option<i64>]| Arc::new(Int64Array::from(it.to_vec())) as ArrayRef;
    check("long", vec![], "0 - - 0");
    check("long", vec![longs(&[None, None])], "2 - - 2");
    let (low, high) = (longs(&[Some(5), None, Some(-3)]), longs(&[Some(i64::MAX), Some(4)]));
    check("long", vec![low, longs(&[None]), high], "6 -3 9223372036854775807 2");

    check("double", vec![doubles(&[Some(1.5), None, Some(-2e300)])], "3 -2e+300 1.5 1");
    check("double", vec![doubles(&[Some(0.0), Some(1.0)])], "2 -0.0 1.0 0");
    check("double", vec![doubles(&[Some(-1.0), Some(-0.0)])], "2 -1.0 0.0 0");
    let ends = [Some(f64::INFINITY), Some(f64::NEG_INFINITY)];
    check("double", vec![doubles(&ends)], "2 \"-Infinity\" \"Infinity\" 0");
    let nan = doubles(&[Some(f64::NAN)]);
    check("double", vec![doubles(&[Some(1.0)]), nan.clone(), doubles(&[Some(2.0)])], "3 - - 0");
    check("double", vec![nan], "1 - - 0");
    let behind_null = NullBuffer::from(vec![false, true]);
    let hidden = Float64Array::new(vec![f64::NAN, 1.0].into(), Some(behind_null));
    check("double", vec![Arc::new(hidden)], "2 1.0 1.0 1");
    let floats = Float32Array::from(vec![0.1, f32::MAX]);
    check("float", vec![Arc::new(floats)], "2 0.1 3.4028235e+38 0");

    let decimal = |it: &[i128]| {
        let array = Decimal128Array::from(it.to_vec());
        Arc::new(array.with_precision_and_scale(38, 2).unwrap()) as ArrayRef
    };
    let wide = 12_345_678_901_234_567_890_123_456_789_012_345_678;
    let expected = "2 -0.05 123456789012345678901234567890123456.78 0";
    check("decimal(38,2)", vec![decimal(&[wide, -5])], expected);
}

/// spec: STATS-8, STATS-9
#[test]
fn text_is_cut() {
    let prefix = "a".repeat(32);
    check("string", vec![texts(&["b", "a", "\u{fc}"])], "3 \"a\" \"\u{fc}\" 0");
    check("string", vec![texts(&[&prefix])], &format!("1 \"{prefix}\" \"{prefix}\" 0"));
    let check_max = |cut: &str, tie: &str| {
        let text = format!("{prefix}{cut}");
        check("string", vec![texts(&[&text])], &format!("1 \"{prefix}\" \"{prefix}{tie}\" 0"));
    };
    check_max("z", "\u{7f}");
    check_max("zzz", "\u{7f}");
    check_max("\u{7f}", "\u{10ffff}");
    check_max("\u{e9}", "\u{10ffff}");
    check_max("\u{10ffff}b", "\u{10ffff}\u{7f}");
    check_max("\u{10ffff}", "\u{10ffff}");
    let highest = format!("{prefix}{}", "\u{10ffff}".repeat(40));
    check("string", vec![texts(&[&highest])], &format!("1 \"{prefix}\" - 0"));
    // Cut between characters, not bytes.
    let smile = "\u{1f600}".repeat(40);
    let kept = "\u{1f600}".repeat(32);
    check("string", vec![texts(&[&smile])], &format!("1 \"{kept}\" \"{kept}\u{10ffff}\" 0"));
}

/// spec: STATS-10, STATS-13
#[test]
fn times_are_cut() {
    let second = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
    let both = [second + 1_999, second + 999_999];
    let (low, high) = ("2026-01-01T00:00:00.001", "2026-01-01T00:00:00.999");
    let expected = format!("2 \"{low}Z\" \"{high}Z\" 0");
    check("timestamp", vec![times(&both, true)], &expected);
    let expected = format!("2 \"{low}\" \"{high}\" 0");
    check("timestamp_ntz", vec![times(&both, false)], &expected);
    let before = "\"1969-12-31T23:59:59.999Z\"";
    check("timestamp", vec![times(&[-1], true)], &format!("1 {before} {before} 0"));
    let late = 253_402_300_800_000_000; // 10000-01-01T00:00:00Z
    check("timestamp", vec![times(&[0, late], true)], "2 - - 0");
    check("timestamp", vec![times(&[i64::MIN, i64::MAX], true)], "2 - - 0");
}

/// spec: STATS-1, STATS-2, STATS-3, STATS-5, STATS-6
#[test]
fn columns() {
    let ddl = "p int, a long, s struct<x: long, t: struct<y: string>, v: void>, b boolean, \
               l array<int>, z binary, d date";
    let schema = Schema::parse_ddl(ddl).unwrap();
    let check = |configuration: &[(&str, &str)], expected: &str| {
        let leaves =
            indexed(&schema, ColumnMapping::None, &["p".into()], &properties(configuration));
        let names: Vec<String> = leaves.iter().map(|it| it.path.join(".")).collect();
        assert_eq!(names.join(" "), expected);
    };
    let all = "a s.x s.t.y b l z d";
    let first = "delta.dataSkippingNumIndexedCols";
    let named = "delta.dataSkippingStatsColumns";
    check(&[], all);
    check(&[(first, "-1")], all);
    check(&[(first, "0")], "");
    check(&[(first, "3")], "a s.x s.t.y");
    check(&[(first, "1"), (named, "d,s.t,p")], "s.t.y d");

    let schema = Schema::parse_ddl("s struct<x: long>, b boolean").unwrap();
    let mut collector = Collector::new(&schema, &[], &properties(&[]));
    let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(9)]));
    let DataType::Struct(fields) = schema.to_arrow().field(0).data_type().clone() else { panic!() };
    // The last row has a value under a null struct: it is no value.
    let nulls = NullBuffer::from(vec![true, true, true, false]);
    let s: ArrayRef = Arc::new(StructArray::new(fields, vec![x], Some(nulls)));
    let b: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, None, Some(false)]));
    let batch = RecordBatch::try_new(schema.to_arrow(), vec![s, b]).unwrap();
    collector.update(&batch).unwrap();
    let expected = "{\"numRecords\":4,\
                    \"minValues\":{\"b\":false,\"s\":{\"x\":1}},\
                    \"maxValues\":{\"b\":true,\"s\":{\"x\":3}},\
                    \"nullCount\":{\"b\":2,\"s\":{\"x\":2}}}";
    assert_eq!(collector.finish().to_json(), expected);
    assert!(collector.update(&batch.project(&[1]).unwrap()).is_err());
}

/// Statistics of the column `c` of a type, as they prove: `rows lower upper nulls`.
fn proved(ddl: &str, text: &str) -> String {
    let schema = Schema::parse_ddl(&format!("c {ddl}")).unwrap();
    let stats = Stats::from_json(text, &schema, None);
    let column = stats.columns.get(&["c".to_string()][..]).cloned().unwrap_or_default();
    let (lower, upper) = Stats::bounds(&column);
    let value = |it: Option<Value>| match it {
        None => "-".to_string(),
        Some(Value::Timestamp(it) | Value::TimestampNtz(it)) => it.to_string(),
        Some(it) => it.to_string(),
    };
    let count = |it: Option<u64>| it.map_or("-".to_string(), |it| it.to_string());
    let (rows, nulls) = (count(stats.num_records), count(column.null_count));
    format!("{rows} {} {} {nulls}", value(lower), value(upper))
}

/// spec: STATS-14, STATS-15, STATS-16, STATS-17, STATS-18, STATS-19
#[test]
fn reading() {
    let bounds = |min: &str, max: &str| {
        format!(r#"{{"numRecords":9,"minValues":{{"c":{min}}},"maxValues":{{"c":{max}}}}}"#)
    };
    let rows: &[(&str, &str, &str)] = &[
        ("long", r#"{"numRecords":9,"nullCount":{"c":2},"other":[{"c":1}]}"#, "9 - - 2"),
        ("long", &bounds("-5", "7"), "9 -5 7 -"),
        (
            "long",
            &bounds("9007199254740993", "9007199254740995"),
            "9 9007199254740993 9007199254740995 -",
        ),
        ("long", &bounds("1.0", "1e2"), "9 1 100 -"),
        ("int", &bounds("1", "4294967296"), "9 1 - -"),
        ("long", &bounds("null", "\"7\""), "9 - - -"),
        ("long", &bounds("{\"x\":1}", "[1]"), "9 - - -"),
        ("long", r#"{"minValues":7,"maxValues":[1],"nullCount":"x","numRecords":-1}"#, "- - - -"),
        ("long", &bounds("8", "7"), "9 - - -"),
        ("long", r#"{"numRecords":1,"nullCount":{"c":2}}"#, "1 - - -"),
        // Statistics that cannot be trusted as a whole.
        ("long", r#"{"numRecords":1,"numRecords":1}"#, "- - - -"),
        ("long", r#"{"numRecords":1,"minValues":{"c":1,"c":1}}"#, "- - - -"),
        ("long", r#"{"numRecords":1}x"#, "- - - -"),
        ("long", r#"{"numRecords":1"#, "- - - -"),
        ("long", "[]", "- - - -"),
        ("long", "", "- - - -"),
        // Floats: no upper bound, no NaN.
        ("double", &bounds("-1.5", "7.0"), "9 -1.5e0 - -"),
        ("double", &bounds("\"-Infinity\"", "\"Infinity\""), "9 DOUBLE '-Infinity' - -"),
        ("double", &bounds("\"NaN\"", "\"NaN\""), "9 - - -"),
        // Times: the maximum stands for its millisecond.
        (
            "timestamp",
            &bounds("\"1970-01-01T00:00:01.001Z\"", "\"1970-01-01T00:00:01.001Z\""),
            "9 1001000 1001999 -",
        ),
        (
            "timestamp_ntz",
            &bounds("\"1970-01-01T00:00:01\"", "\"1970-01-01T00:00:02\""),
            "9 1000000 2000999 -",
        ),
        ("date", &bounds("\"yesterday\"", "\"1970-01-02\""), "9 - DATE '1970-01-02' -"),
        // Decimals by their digits, outwards.
        ("decimal(10,2)", &bounds("1.10", "12"), "9 1.10 12.00 -"),
        ("decimal(10,2)", &bounds("1.119", "1.111"), "9 1.11 1.12 -"),
        ("decimal(10,2)", &bounds("-1.119", "-1.111"), "9 -1.12 -1.11 -"),
        ("decimal(10,2)", &bounds("-1e-9", "1E+2"), "9 -0.01 100.00 -"),
        ("decimal(10,2)", &bounds("\"1.10\"", "1e400"), "9 1.10 - -"),
        (
            "decimal(20,0)",
            &bounds("1000000000000000", "10000000000000000000"),
            "9 1000000000000000 10000000000000008882 -",
        ),
        ("boolean", &bounds("false", "true"), "9 false true -"),
        ("string", &bounds("\"a\\u0041\"", "\"b\""), "9 'aA' 'b' -"),
        ("binary", &bounds("\"a\"", "\"b\""), "9 - - -"),
    ];
    for (ddl, text, expected) in rows {
        assert_eq!(proved(ddl, text), *expected, "{ddl} {text}");
    }
    let long = format!(r#"{{"numRecords":9,"x":"{}"}}"#, "y".repeat(1 << 20));
    assert_eq!(proved("long", &long), "- - - -");
    let deep = format!(r#"{{"numRecords":9,"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    proved("long", &deep);

    let schema = Schema::parse_ddl("c long").unwrap();
    let tight = |text: &str| Stats::from_json(text, &schema, None).tight_bounds;
    assert!(tight("{}") && tight(r#"{"tightBounds":true}"#) && tight(r#"{"tightBounds":null}"#));
    assert!(!tight(r#"{"tightBounds":false}"#));
}

/// Days that old writers print in the Julian calendar, and milliseconds that were cut.
///
/// spec: STATS-16, STATS-21
#[test]
fn days_and_milliseconds() {
    let rows = [
        ("date", "0100-01-01", "9 DATE '0099-12-30' DATE '0100-01-11' -"),
        ("date", "1582-10-04", "9 DATE '1582-10-02' DATE '1582-10-14' -"),
        ("date", "1582-10-15", "9 DATE '1582-10-15' DATE '1582-10-15' -"),
        ("date", "0000-12-31", "9 - - -"),
        ("timestamp", "1582-10-01T00:00:00Z", "9 -12220761600000999 -12219551999999001 -"),
        ("timestamp_ntz", "1969-12-31T23:59:59.999", "9 -1999 -1 -"),
        ("timestamp_ntz", "1969-12-31T23:59:59.999001", "9 -999 0 -"),
        ("timestamp_ntz", "1970-01-01T00:00:01", "9 1000000 1000999 -"),
    ];
    for (ddl, day, expected) in rows {
        let text = format!(
            r#"{{"numRecords":9,"minValues":{{"c":"{day}"}},"maxValues":{{"c":"{day}"}}}}"#
        );
        assert_eq!(proved(ddl, &text), expected, "{ddl} {day}");
    }
}

/// Only the leaves asked for, by any spelling of their name; the answer has the caller's.
#[test]
fn wanted_leaves() {
    let schema =
        Schema::parse_ddl("a long, S struct<x: long, y: long>, `odd.\"name` long").unwrap();
    let text = r#"{"minValues":{"a":1,"S":{"x":2,"y":3},"odd.\"name":4}}"#;
    let check = |path: &[&str], expected: Option<i64>| {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let stats = Stats::from_json(text, &schema, Some(std::slice::from_ref(&path)));
        let min = stats.columns.get(&path).and_then(|it| it.min.clone());
        assert_eq!(min, expected.map(Value::Long), "{path:?}");
        assert!(stats.columns.len() <= 1);
    };
    check(&["a"], Some(1));
    check(&["S", "y"], Some(3));
    check(&["s", "X"], Some(2));
    check(&["odd.\"name"], Some(4));
    check(&["S"], None);
    check(&["a", "x"], None);
    check(&["nothing"], None);
}

/// Columns are found whatever their order in the text, and whichever of them it leaves out.
#[test]
fn any_order_of_columns() {
    let names = ["d", "a", "c", "b"];
    let field = |name: &str| format!("{name} long, S{name} struct<{name} long, x{name} long>");
    let schema = Schema::parse_ddl(&names.map(field).join(", ")).unwrap();
    let check = |order: &[&str]| {
        let value = |name: &&str| {
            let number = u32::from(name.as_bytes()[0]);
            format!(r#""{name}":{number},"S{name}":{{"x{name}":{number},"else":7,"{name}":0}}"#)
        };
        let text = order.iter().map(value).collect::<Vec<_>>().join(r#","none":{"a":5},"#);
        let text = format!(r#"{{"maxValues":{{"else":1}},"minValues":{{{text}}}}}"#);
        let stats = Stats::from_json(&text, &schema, None);
        for name in names {
            let number = order.contains(&name).then(|| i64::from(name.as_bytes()[0]));
            let inner = number.map(|_| 0);
            let within = (format!("S{name}"), format!("x{name}"));
            let paths = [
                (vec![name.to_string()], number),
                (vec![within.0.clone(), within.1], number),
                (vec![within.0, name.to_string()], inner),
            ];
            for (path, expected) in paths {
                let found = stats.columns.get(&path).and_then(|it| it.min.clone());
                assert_eq!(found, expected.map(Value::Long), "{path:?} of {text}");
            }
        }
    };
    for order in [&["d", "a", "c", "b"], &["a", "b", "c", "d"], &["c", "d", "b", "a"]] {
        check(order);
        for out in 0..4 {
            let left: Vec<&str> = (0..4).filter(|it| *it != out).map(|it| order[it]).collect();
            check(&left);
            check(&left[1..]);
        }
    }
}

/// What a checkpoint is ordered by ends the reading, and what makes no sense after it is not met.
#[test]
fn the_least_alone() {
    let schema = Schema::parse_ddl("a long, s struct<x: long>").unwrap();
    let leaves = indexed(&schema, ColumnMapping::None, &[], &properties(&[]));
    let check = |text: &str, expected: [Option<i64>; 2]| {
        let found: Vec<_> = leaves.iter().map(|it| least(text, it)).collect();
        assert_eq!(found, expected.map(|it| it.map(Value::Long)), "{text}");
    };
    check(r#"{"minValues":{"a":1,"s":{"x":2}}}"#, [Some(1), Some(2)]);
    check(r#"{"numRecords":3,"maxValues":{"a":9},"minValues":{"s":{"x":2}}}"#, [None, Some(2)]);
    check(r#"{"minValues":{"a":1,"s":{"x":2,{]"#, [Some(1), Some(2)]);
    check(r#"{"minValues":{"a":"1","s":5}}"#, [None, None]);
    check(r#"{"minValues":{{"a":1}}"#, [None, None]);
    check(r#"{"minValues":null}"#, [None, None]);
    check("[1]", [None, None]);
    check("", [None, None]);
}

/// Values of all types with bounds, as one row of a batch makes them.
fn stats() -> impl Strategy<Value = Stats> {
    let long = prop::option::of(any::<i64>().prop_map(Value::Long));
    let double = prop::option::of(any::<f64>().prop_map(Value::Double));
    let text = prop::option::of(".{0,40}".prop_map(Value::String));
    let money = |unscaled| Value::Decimal { unscaled, precision: 38, scale: 3 };
    let decimal = prop::option::of((-(10i128.pow(37))..10i128.pow(37)).prop_map(money));
    let millis = -62_135_596_800_000..253_402_300_800_000i64;
    let time = prop::option::of(millis.prop_map(|it| Value::Timestamp(it * 1_000)));
    let value = (long, double, text, decimal, time);
    let pair = (value.clone(), value, prop::option::of(0..9u64));
    (pair, any::<bool>()).prop_map(|((min, max, null_count), tight_bounds)| {
        let column = |name: &[&str], min, max| {
            let path = name.iter().map(ToString::to_string).collect();
            (path, ColumnStats { min, max, null_count })
        };
        let columns = [
            column(&["l"], min.0, max.0),
            column(&["s", "d"], min.1, max.1),
            column(&["s", "t"], min.2, max.2),
            column(&["s", "u", "m"], min.3, max.3),
            column(&["z"], min.4, max.4),
        ];
        let known = columns.into_iter().filter(|(_, it)| *it != ColumnStats::default());
        Stats { num_records: Some(9), columns: known.collect(), tight_bounds }
    })
}

/// JSON whose objects have names of columns, some of them escaped, in any order and at any depth.
fn any_json() -> impl Strategy<Value = String> {
    let scalars = [
        "1",
        "-7",
        "1.5",
        "1e2",
        "12345678901234567890",
        "null",
        "true",
        "\"\"",
        "\"a\"",
        "\"\\u0061\"",
        "\"2020-01-02\"",
        "\"2020-01-02T03:04:05.678Z\"",
        "[1,{\"a\":2}]",
        "[]",
    ];
    let name = prop::sample::select(vec!["a", "ab", "s", "x"]);
    let scalar = prop::sample::select(scalars.to_vec()).prop_map(str::to_string);
    scalar.prop_recursive(4, 40, 5, move |inner| {
        let fields = prop::collection::btree_map(name.clone(), (any::<bool>(), inner), 0..5);
        let fields = fields.prop_map(|it| it.into_iter().collect::<Vec<_>>()).prop_shuffle();
        fields.prop_map(|all| {
            let named = |(name, (escaped, value)): &(&str, (bool, String))| {
                let name = if *escaped { name.replace('a', "\\u0061") } else { name.to_string() };
                format!("\"{name}\": {value}")
            };
            format!("{{{}}}", all.iter().map(named).collect::<Vec<_>>().join(" ,"))
        })
    })
}

/// Statistics in which any JSON stands where values by column are expected.
fn any_stats() -> impl Strategy<Value = String> {
    let rest = ["maxValues", "nullCount", "minValue", "min\\u0056alues2"];
    let rest = prop::sample::subsequence(rest.to_vec(), 0..=4);
    (rest, any_json(), any_json(), any::<bool>()).prop_flat_map(|(rest, min, other, escaped)| {
        let mut all: Vec<String> = rest.iter().map(|it| format!("\"{it}\":{other}")).collect();
        let name = if escaped { "min\\u0056alues" } else { "minValues" };
        all.push(format!("\"{name}\":{min}"));
        Just(all).prop_shuffle().prop_map(|it| format!("{{{}}}", it.join(",")))
    })
}

proptest! {
    /// The minimum of one column, and those of all of them, are what a reading of that column alone
    /// says, wherever the text makes sense; where it is cut off nothing worse happens than none.
    #[test]
    fn columns_are_found_in_any_text(text in any_stats(), cut in any::<prop::sample::Index>()) {
        let inner = "x decimal(10,2), a timestamp, s struct<ab: string, a: boolean>";
        let ddl = format!("x date, a long, ab double, s struct<{inner}>");
        let schema = Schema::parse_ddl(&ddl).unwrap();
        let leaves = indexed(&schema, ColumnMapping::None, &[], &properties(&[]));
        let all = Reader::of(leaves.clone());
        let all = all.read_raw(&text).unwrap();
        for (leaf, among_all) in leaves.iter().zip(&all.leaves) {
            let alone = Reader::of(vec![leaf.clone()]);
            let alone = alone.read_raw(&text).unwrap();
            let min = alone.leaves[0].min;
            prop_assert_eq!(among_all.min, min, "{:?} of {}", leaf.path, text);
            prop_assert_eq!(among_all.max, alone.leaves[0].max, "{:?} of {}", leaf.path, text);
            let value = min.zip(leaf.of).and_then(|(it, of)| parse_value(it, of, Side::Min));
            prop_assert_eq!(least(&text, leaf), value, "{:?} of {}", leaf.path, text);
            let _ = least(&text[..cut.index(text.len())], leaf);
        }
    }

    /// What is printed reads back to the same values, floats to the same bits.
    #[test]
    fn json_round_trips(stats in stats()) {
        let inner = "d: double, t: string, u: struct<m: decimal(38,3)>";
        let ddl = &format!("l long, s struct<{inner}>, z timestamp");
        let schema = Schema::parse_ddl(ddl).unwrap();
        let text = stats.to_json();
        let back = Stats::from_json(&text, &schema, None);
        prop_assert_eq!(&back, &stats, "{}", text);
        for leaf in indexed(&schema, ColumnMapping::None, &[], &properties(&[])) {
            let min = stats.columns.get(&leaf.path).and_then(|it| it.min.clone());
            prop_assert_eq!(least(&text, &leaf), min, "{:?} of {}", leaf.path, text);
        }
        prop_assert_eq!(back.to_json(), text);
    }

    /// Bounds hold for every value, text by bytes and floats with NaN greatest.
    #[test]
    fn bounds_hold(texts in prop::collection::vec("[a-c\u{7e}\u{7f}\u{e9}\u{10ffff}]{0,70}", 1..4),
                   doubles in prop::collection::vec(any::<f64>(), 1..4),
                   micros in prop::collection::vec(any::<i64>(), 1..4)) {
        let schema = Schema::parse_ddl("t string, d double, m timestamp").unwrap();
        let columns: [(&str, ArrayRef, Vec<Value>); 3] = [
            ("t", Arc::new(StringArray::from(texts.clone())),
                texts.into_iter().map(Value::String).collect()),
            ("d", Arc::new(Float64Array::from(doubles.clone())),
                doubles.into_iter().map(Value::Double).collect()),
            ("m", times(&micros, true), micros.into_iter().map(Value::Timestamp).collect()),
        ];
        for (name, array, values) in columns {
            let schema = Schema::new(vec![schema.field(name).unwrap().clone()]).unwrap();
            let mut collector = Collector::new(&schema, &[], &properties(&[]));
            let batch = RecordBatch::try_new(schema.to_arrow(), vec![array]).unwrap();
            collector.update(&batch).unwrap();
            let stats = Stats::from_json(&collector.finish().to_json(), &schema, None);
            let (lower, upper) = Stats::bounds(&stats.columns[&[name.to_string()][..]]);
            for value in values {
                let below = lower.as_ref().map(|it| it.compare(&value).unwrap());
                let above = upper.as_ref().map(|it| it.compare(&value).unwrap());
                prop_assert!(below != Some(Ordering::Greater), "{lower:?} {value:?}");
                prop_assert!(above != Some(Ordering::Less), "{upper:?} {value:?}");
            }
        }
    }

    /// No text makes reading panic.
    #[test]
    fn reading_is_total(text in "[\\[\\]{}\":,0-9a-z.eE+\\-\\\\]{0,60}", at in 0..60usize) {
        let schema = Schema::parse_ddl("c decimal(38,10), s struct<x: double>").unwrap();
        let whole = r#"{"numRecords":2,"minValues":{"c":1.5,"s":{"x":1}},"nullCount":{"c":0}}"#;
        let (head, tail) = whole.split_at(at);
        for text in [text.clone(), format!("{head}{text}{tail}")] {
            let stats = Stats::from_json(&text, &schema, None);
            stats.columns.values().for_each(|it| drop(Stats::bounds(it)));
        }
    }
}

/// spec: STATS-20
#[test]
fn struct_form() {
    use crate::schema::Schema;
    let schema = Schema::parse_ddl("a long, s struct<x: int>, b double").unwrap();
    let text = r#"{"numRecords":3,"minValues":{"a":1,"s":{"x":2}},"maxValues":{"a":4},
        "nullCount":{"a":1,"s":{"x":0}},"tightBounds":false}"#;
    let expected = Stats::from_json(text, &schema, None);
    let part = |columns: Vec<(&str, ArrayRef)>| -> ArrayRef {
        let fields = columns
            .iter()
            .map(|(name, it)| arrow_schema::Field::new(*name, it.data_type().clone(), true));
        let fields = fields.collect::<Vec<_>>().into();
        Arc::new(StructArray::new(fields, columns.into_iter().map(|(_, it)| it).collect(), None))
    };
    let long = |it: Option<i64>| Arc::new(Int64Array::from(vec![it])) as ArrayRef;
    let min = part(vec![("a", long(Some(1))), ("s", part(vec![("x", long(Some(2)))]))]);
    // A column of another type than the table's now.
    let max = part(vec![("a", long(Some(4))), ("b", texts(&["odd"]))]);
    let nulls = part(vec![("a", long(Some(1))), ("s", part(vec![("x", long(Some(0)))]))]);
    let parsed = part(vec![
        ("numRecords", long(Some(3))),
        ("minValues", min),
        ("maxValues", max),
        ("nullCount", nulls),
        ("tightBounds", Arc::new(BooleanArray::from(vec![false]))),
    ]);
    let parsed: &StructArray = parsed.as_any().downcast_ref().unwrap();
    assert_eq!(Stats::from_struct(parsed, 0, &schema, None), expected);
    let wanted = [vec!["s".to_string(), "x".to_string()]];
    assert_eq!(Stats::from_struct(parsed, 0, &schema, Some(&wanted)).columns.len(), 1);
}

/// Statistics of files that are older than the type, as text and as columns.
///
/// spec: WIDE-5, WIDE-6, VAR-8
#[test]
fn statistics_of_narrower_types() {
    let check = |ddl: &str, min: &str, max: &str, array: ArrayRef, expected: (&str, &str)| {
        let schema = Schema::parse_ddl(&format!("c {ddl}")).unwrap();
        let text = format!(
            r#"{{"numRecords":1,"minValues":{{"c":{min}}},"maxValues":{{"c":{max}}},"nullCount":{{"c":0}}}}"#
        );
        let bounds = |array: ArrayRef| {
            let field = arrow_schema::Field::new("c", array.data_type().clone(), true);
            Arc::new(StructArray::new(vec![field].into(), vec![array], None)) as ArrayRef
        };
        let (low, high) = (bounds(array.slice(0, 1)), bounds(array.slice(1, 1)));
        let field = |name: &str, it: &ArrayRef| {
            arrow_schema::Field::new(name, it.data_type().clone(), true)
        };
        let fields = vec![field("minValues", &low), field("maxValues", &high)];
        let parsed = StructArray::new(fields.into(), vec![low, high], None);
        let show = |stats: &Stats| {
            let (low, high) =
                stats.columns.get(&[s("c")][..]).map(Stats::bounds).unwrap_or_default();
            let show = |it: Option<Value>| it.map_or("-".to_string(), |it| it.to_partition());
            (show(low), show(high))
        };
        let expected = (expected.0.to_string(), expected.1.to_string());
        assert_eq!(show(&Stats::from_json(&text, &schema, None)), expected, "{ddl}");
        if !array.is_empty() && array.null_count() == 0 {
            assert_eq!(show(&Stats::from_struct(&parsed, 0, &schema, None)), expected, "{ddl}");
        }
    };
    fn s(it: &str) -> String {
        it.to_string()
    }
    let ints = || Arc::new(arrow_array::Int32Array::from(vec![-3, 7])) as ArrayRef;
    let days = Arc::new(arrow_array::Date32Array::from(vec![-1, 0])) as ArrayRef;
    let decimal = Decimal128Array::from(vec![-125, 125]).with_precision_and_scale(5, 2).unwrap();
    let unknown = || Arc::new(Int64Array::from(vec![None, None])) as ArrayRef;
    check("long", "-3", "7", ints(), ("-3", "7"));
    check("decimal(12,2)", "-3", "7", ints(), ("-3.00", "7.00"));
    // A maximum of a float proves nothing.
    check("double", "-3", "7", ints(), ("-3.0", "-"));
    check("decimal(10,4)", "-1.25", "1.25", Arc::new(decimal), ("-1.2500", "1.2500"));
    let (low, high) = (r#""1969-12-31""#, r#""1970-01-01""#);
    let slack = "1970-01-01 00:00:00.000999";
    check("timestamp_ntz", low, high, days, ("1969-12-30 23:59:59.999001", slack));
    // The float 0.7 lies below the double of that name, the float 0.1 above.
    check("double", "0.7", "0.7", unknown(), ("0.699999988079071", "-"));
    check("double", "0.1", "0.1", unknown(), ("0.1", "-"));
    check("double", "0.1234567890123456", "1", unknown(), ("0.1234567890123456", "-"));
    check("byte", "-3", "700", unknown(), ("-3", "-"));
    check("variant", "\"0rJlc5f$Ec\"", "\"0rJlc5f$Ec\"", unknown(), ("-", "-"));
    // Timestamps of 96 bits have no mark of their zone.
    let marked = times(&[-1, 1], false);
    let (low, high) = (r#""1969-12-31T23:59:59.999999Z""#, r#""1970-01-01T00:00:00.000001Z""#);
    let expected = ("1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00.001000Z");
    check("timestamp", low, high, marked, expected);
}

/// Texts that differ from one another in any place: what a template says of the next one is what
/// the parser says of it.
#[test]
fn templates_read_what_the_parser_reads() {
    let schema = Schema::parse_ddl("a long, b string, s struct<c: double>, d boolean").unwrap();
    let base = r#"{"numRecords":3,"minValues":{"a":1,"b":"x","s":{"c":-0.5},"d":false},
        "maxValues":{"a":12,"b":"y\"z","s":{"c":1e3},"d":true},
        "nullCount":{"a":0,"b":1,"s":{"c":2},"d":0},"tightBounds":true,"other":{"k":null}}"#;
    let scalars = [
        "1",
        "-1",
        "0",
        "00",
        "-",
        "1.",
        "1.5e",
        "1.5e+7",
        "1e400",
        "12345678901234567890",
        "null",
        "true",
        "false",
        "tru",
        "\"\"",
        "\"q\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\n\"",
        "{}",
        "[1]",
        "{\"a\":1}",
        "\"a\",\"a\":\"b\"",
        "1,\"a\":2",
        " 7 ",
        "",
    ];
    let paths = [vec!["a"], vec!["b"], vec!["s", "c"], vec!["d"]];
    let wanted: Vec<Vec<String>> =
        paths.iter().map(|it| it.iter().map(ToString::to_string).collect()).collect();
    let reader = Reader::new(&schema, Some(&wanted));
    let mut texts: Vec<String> = vec![base.to_string()];
    // Every value replaced by every scalar, and a bracket here and there.
    let starts: Vec<usize> = base.match_indices(':').map(|it| it.0 + 1).collect();
    for start in &starts {
        let rest = &base[*start..];
        let end = rest.find([',', '}']).unwrap_or(0);
        for scalar in scalars {
            texts.push(format!("{}{scalar}{}", &base[..*start], &rest[end..]));
        }
    }
    for cut in 0..base.len() {
        texts.push(base[..cut].to_string());
        texts.push(format!("{} {}", &base[..cut], &base[cut..]));
    }
    let mut templates = Templates::default();
    for text in &texts {
        let mut read = reader.blank();
        for _ in 0..2 {
            templates.read(&reader, base, &mut reader.blank());
            templates.read(&reader, text, &mut read);
            read.columns.retain(|_, it| *it != ColumnStats::default());
            assert_eq!(read, reader.read(text), "{text}");
            read = reader.blank();
        }
    }
}
