//! Values as text, as JSON, in arrays, and their order.

use std::cmp::Ordering;

use super::*;
use proptest::prelude::*;

fn decimal(precision: u8, scale: u8) -> PrimitiveType {
    PrimitiveType::Decimal { precision, scale }
}

/// `expected` is the partition string that the value prints, `null`, or `-` for an error.
#[track_caller]
fn check(of: PrimitiveType, text: &str, expected: &str) {
    let seen = match Value::from_partition(text, of) {
        Ok(None) => "null".to_string(),
        Ok(Some(value)) => {
            assert_eq!(value.primitive_type(), of, "{text}");
            let printed = value.to_partition();
            let again = Value::from_partition(&printed, of).unwrap();
            assert_eq!(again.as_ref(), Some(&value), "{text}");
            printed
        }
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidPartitionValue, "{text}");
            "-".to_string()
        }
    };
    assert_eq!(seen, expected, "{of} {text}");
}

/// spec: PART-1, PART-2
#[test]
fn the_empty_string_is_null_for_every_type() {
    for of in [
        PrimitiveType::Boolean,
        PrimitiveType::Long,
        PrimitiveType::Double,
        decimal(5, 2),
        PrimitiveType::String,
        PrimitiveType::Binary,
        PrimitiveType::Date,
        PrimitiveType::Timestamp,
        PrimitiveType::TimestampNtz,
        PrimitiveType::Void,
    ] {
        check(of, "", "null");
    }
    check(PrimitiveType::String, "__HIVE_DEFAULT_PARTITION__", "__HIVE_DEFAULT_PARTITION__");
    check(PrimitiveType::Void, "x", "-");
    check(PrimitiveType::Variant, "x", "-");
}

/// spec: PART-3, PART-5, PART-6, PART-7
#[test]
fn partition_numbers() {
    check(PrimitiveType::Byte, "-128", "-128");
    check(PrimitiveType::Byte, "128", "-");
    check(PrimitiveType::Short, "32768", "-");
    check(PrimitiveType::Integer, "007", "7");
    for bad in ["abc", " 7", "7 ", "7.0", "1e3", "0x7", "--7", "2147483648", "\u{0667}"] {
        check(PrimitiveType::Integer, bad, "-");
    }
    check(PrimitiveType::Long, "9223372036854775807", "9223372036854775807");
    check(PrimitiveType::Long, "9223372036854775808", "-");

    check(PrimitiveType::Double, "1.0E10", "10000000000.0");
    check(PrimitiveType::Double, "1e300", "1e300");
    check(PrimitiveType::Double, "-0.0", "-0.0");
    check(PrimitiveType::Float, "0.1", "0.1");
    check(PrimitiveType::Float, "16777217", "16777216.0");
    for of in [PrimitiveType::Float, PrimitiveType::Double] {
        check(of, "NaN", "NaN");
        check(of, "Infinity", "Infinity");
        check(of, "-Infinity", "-Infinity");
        check(of, "inf", "Infinity");
        for bad in ["1e999", "0x1p3", "1.0f", "1,5", " 1.5", ".", "e5"] {
            check(of, bad, "-");
        }
    }

    check(decimal(12, 2), "1", "1.00");
    check(decimal(12, 2), "-0.5", "-0.50");
    check(decimal(12, 2), "1.500", "1.50");
    check(decimal(12, 2), "+0007.25", "7.25");
    check(decimal(5, 2), "1E+2", "100.00");
    check(decimal(5, 0), "12.0", "12");
    check(decimal(38, 0), &"9".repeat(38), &"9".repeat(38));
    check(decimal(38, 38), "0.5", &format!("0.5{}", "0".repeat(37)));
    check(decimal(5, 2), &format!("{}1", "0".repeat(100)), "1.00");
    check(decimal(5, 2), "0e999999", "0.00");
    for bad in [
        "1000",
        "1.005",
        "1e3",
        "1e-3",
        "1e99999999999",
        "",
        ".",
        "-",
        "1.2.3",
        "1e",
        "NaN",
        "0x1",
        "1e2147483647",
    ] {
        check(decimal(5, 2), bad, if bad.is_empty() { "null" } else { "-" });
    }
    check(decimal(38, 0), &"9".repeat(39), "-");
}

/// spec: PART-15
#[test]
fn partitions_compare_by_value() {
    let same = |one: &str, other: &str, of| {
        let read = |it| Value::from_partition(it, of).unwrap();
        read(one) == read(other)
    };
    assert!(same("1", "01", PrimitiveType::Long));
    assert!(same("2020-1-1", "2020-01-01", PrimitiveType::Date));
    assert!(same("-0.0", "0.0", PrimitiveType::Double));
    assert!(same("1", "1.00", decimal(12, 2)));
    assert!(same("2024-01-01 00:00:00", "2024-01-01T00:00:00.000000Z", PrimitiveType::Timestamp));
    assert!(!same("a", "A", PrimitiveType::String));
}

/// spec: PART-4, PART-8, PART-9
#[test]
fn partition_booleans_text_and_bytes() {
    check(PrimitiveType::Boolean, "true", "true");
    check(PrimitiveType::Boolean, "False", "false");
    for bad in ["yes", "1", "t", " true"] {
        check(PrimitiveType::Boolean, bad, "-");
    }
    check(PrimitiveType::String, " ", " ");
    check(PrimitiveType::String, "../a=b/%20", "../a=b/%20");
    check(PrimitiveType::Binary, "\u{1}\u{e9}", "\u{1}\u{e9}");
    check(PrimitiveType::Binary, "\u{1f608}", "\u{1f608}");
    let bytes = Value::from_partition("\u{1}\u{e9}", PrimitiveType::Binary).unwrap().unwrap();
    assert!(matches!(bytes, Value::Binary(it) if it == [1, 0xc3, 0xa9]));
    assert!(!Value::Binary(vec![0xff]).has_partition());
}

/// spec: PART-10, PART-11, PART-12, PART-13
#[test]
fn partition_times() {
    check(PrimitiveType::Date, "2024-02-29", "2024-02-29");
    check(PrimitiveType::Date, "2020-1-1", "2020-01-01");
    check(PrimitiveType::Date, "99999-01-01", "+99999-01-01");
    check(PrimitiveType::Date, "-0044-03-15", "-0044-03-15");
    for bad in ["2024-13-01", "2023-02-29", "999999999-01-01", "2024-01-01T00:00:00", "20240101"] {
        check(PrimitiveType::Date, bad, "-");
    }

    let of = PrimitiveType::Timestamp;
    check(of, "2024-02-29 12:34:56", "2024-02-29T12:34:56.000000Z");
    check(of, "2024-02-29 12:34:56.5", "2024-02-29T12:34:56.500000Z");
    check(of, "2024-02-29T12:34:56.123456Z", "2024-02-29T12:34:56.123456Z");
    check(of, "2024-02-29T12:34:56.123456000Z", "2024-02-29T12:34:56.123456Z");
    check(of, "2024-02-29T12:34:56+01:00", "2024-02-29T11:34:56.000000Z");
    check(of, "1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999Z");
    check(of, "2024-01-01", "2024-01-01T00:00:00.000000Z");
    for bad in ["2024-02-29T12:34:56.123456789Z", "2016-12-31T23:59:60Z", "294248-01-01 00:00:00"] {
        check(of, bad, "-");
    }

    let of = PrimitiveType::TimestampNtz;
    check(of, "2024-01-01 12:00:00", "2024-01-01 12:00:00");
    check(of, "2024-01-01T12:00:00.000001", "2024-01-01 12:00:00.000001");
    check(of, "1969-12-31", "1969-12-31 00:00:00");
    check(of, "+10000-01-01 00:00:00", "+10000-01-01 00:00:00");
    check(of, "2024-01-01T12:00:00Z", "-");
}

#[track_caller]
fn check_stats(json: &str, of: PrimitiveType, expected: &str) {
    let json: Json = serde_json::from_str(json).unwrap();
    let seen = Value::from_stats(&json, of).map_or("-".to_string(), |it| it.to_partition());
    assert_eq!(seen, expected, "{of} {json}");
}

#[test]
fn statistics_are_exact_or_unknown() {
    check_stats("9007199254740993", PrimitiveType::Long, "9007199254740993");
    check_stats("3.0", PrimitiveType::Long, "-");
    check_stats("300", PrimitiveType::Byte, "-");
    check_stats("3", PrimitiveType::Date, "-");
    check_stats("3", PrimitiveType::String, "-");
    check_stats("null", PrimitiveType::Long, "-");
    check_stats("{}", PrimitiveType::Long, "-");
    check_stats("true", PrimitiveType::Boolean, "true");
    check_stats("0.1", PrimitiveType::Float, "0.1");
    check_stats("3", PrimitiveType::Double, "3.0");
    check_stats("\"NaN\"", PrimitiveType::Double, "NaN");
    check_stats("\"-Infinity\"", PrimitiveType::Float, "-Infinity");
    check_stats("1.25", decimal(10, 2), "1.25");
    check_stats("1.25", decimal(38, 2), "-");
    check_stats("\"1.25\"", decimal(38, 2), "1.25");
    check_stats("18446744073709551615", decimal(38, 0), "18446744073709551615");
    check_stats("12345678901234567890123456789012345678", decimal(38, 0), "-");
    check_stats("1.2345678901234567e37", decimal(38, 0), "-");
    check_stats("\"2024-01-01\"", PrimitiveType::Date, "2024-01-01");
    check_stats("\"2024-01-01\"", PrimitiveType::TimestampNtz, "2024-01-01 00:00:00");
    check_stats(
        "\"2026-08-10T22:04:53.080+02:00\"",
        PrimitiveType::Timestamp,
        "2026-08-10T20:04:53.080000Z",
    );
    check_stats("\"a\"", PrimitiveType::Binary, "-");
    check_stats("\"a\"", PrimitiveType::String, "a");
}

#[test]
fn statistics_that_cannot_be_exact_are_null() {
    let stats =
        |unscaled, scale| Value::Decimal { unscaled, precision: 38, scale }.to_stats().to_string();
    assert_eq!(stats(125, 2), "1.25");
    assert_eq!(stats(100, 2), "1");
    assert_eq!(stats(10i128.pow(37) + 1, 2), "null");
    assert_eq!(Value::Timestamp(-1).to_stats(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(Value::Timestamp(1_000).to_stats(), "1970-01-01T00:00:00.001Z");
    assert_eq!(Value::Double(f64::NAN).to_stats(), "NaN");
    assert_eq!(Value::Binary(vec![1]).to_stats(), Json::Null);
}

#[test]
fn literals_are_exact() {
    let read = |text, of| Value::from_literal(text, of);
    assert_eq!(read("NaN", PrimitiveType::Double).unwrap(), Value::Double(f64::NAN));
    assert_eq!(read(" 7 ", PrimitiveType::Byte).unwrap(), Value::Byte(7));
    assert_eq!(read("", PrimitiveType::String).unwrap(), Value::String(String::new()));
    assert_eq!(
        read("1970-01-01T00:00:01Z", PrimitiveType::Timestamp).unwrap().to_string(),
        "TIMESTAMP '1970-01-01T00:00:01.000000Z'"
    );
    for (text, of) in [
        ("", PrimitiveType::Long),
        ("300", PrimitiveType::Byte),
        ("1.005", decimal(5, 2)),
        ("tomorrow", PrimitiveType::Date),
        ("2024-01-01T00:00:00.0000001Z", PrimitiveType::Timestamp),
    ] {
        let error = read(text, of).unwrap_err();
        assert_eq!(error.code(), Code::InvalidExpression, "{text}");
    }
}

#[test]
fn prints_as_sql() {
    for (value, sql) in [
        (Value::Long(-1), "-1"),
        (Value::Decimal { unscaled: -150, precision: 5, scale: 2 }, "-1.50"),
        (Value::Double(0.5), "5e-1"),
        (Value::Double(f64::NEG_INFINITY), "DOUBLE '-Infinity'"),
        (Value::String("it's".into()), "'it''s'"),
        (Value::Binary(vec![0, 255]), "X'00ff'"),
        (Value::Date(0), "DATE '1970-01-01'"),
        (Value::TimestampNtz(1), "TIMESTAMP_NTZ '1970-01-01 00:00:00.000001'"),
    ] {
        assert_eq!(value.to_string(), sql);
    }
}

/// Values written from the least to the greatest; a line of equals shares its rank.
#[test]
fn numbers_order_by_value() {
    let dec = |unscaled, scale| Value::Decimal { unscaled, precision: 38, scale };
    let ranks: &[&[Value]] = &[
        &[Value::Double(f64::NEG_INFINITY), Value::Float(f32::NEG_INFINITY)],
        &[Value::Double(f64::MIN)],
        &[dec(-(10i128.pow(38) - 1), 0)],
        &[Value::Long(i64::MIN), Value::Double(-9_223_372_036_854_775_808.0)],
        &[Value::Double(-1.5), dec(-15, 1), dec(-150, 2)],
        &[Value::Double(-0.1)],
        &[dec(-1, 1)],
        &[Value::Double(-f64::MIN_POSITIVE)],
        &[Value::Double(-0.0), Value::Float(0.0), Value::Byte(0), dec(0, 9)],
        &[Value::Double(f64::from_bits(1))],
        &[dec(1, 38)],
        &[dec(1, 1)],
        &[Value::Double(0.1)],
        &[Value::Float(0.1)],
        &[Value::Short(1), Value::Float(1.0), dec(1000, 3)],
        &[Value::Double(9_007_199_254_740_992.0), Value::Long(9_007_199_254_740_992)],
        &[Value::Long(9_007_199_254_740_993)],
        &[Value::Long(i64::MAX)],
        &[Value::Double(9_223_372_036_854_775_808.0)],
        &[Value::Double(9e37)],
        &[dec(9 * 10i128.pow(37) + 1_000_000_000_000_000_000_000_000, 0)],
        &[dec(10i128.pow(38) - 1, 0)],
        &[Value::Double(1e39)],
        &[Value::Double(f64::INFINITY)],
        &[Value::Double(f64::NAN), Value::Float(-f32::NAN)],
    ];
    for (at, left) in ranks.iter().enumerate() {
        for (other_at, right) in ranks.iter().enumerate() {
            for (one, other) in
                left.iter().flat_map(|it| right.iter().map(move |other| (it, other)))
            {
                assert_eq!(one.compare(other), Some(at.cmp(&other_at)), "{one} and {other}");
            }
        }
    }
}

#[test]
fn other_types_order_within_themselves() {
    let text = |it: &str| Value::String(it.into());
    assert_eq!(text("\u{fffd}").compare(&text("\u{1f33c}")), Some(Ordering::Less));
    assert_eq!(Value::Boolean(false).compare(&Value::Boolean(true)), Some(Ordering::Less));
    assert_eq!(Value::Date(1).compare(&Value::Date(1)), Some(Ordering::Equal));
    assert_eq!(Value::Date(1).compare(&Value::TimestampNtz(1)), None);
    assert_eq!(Value::Timestamp(1).compare(&Value::TimestampNtz(1)), None);
    assert_eq!(text("1").compare(&Value::Long(1)), None);
}

#[track_caller]
fn check_cast(value: &Value, to: PrimitiveType, expected: &str) {
    let seen = value.cast(to);
    if let Some(seen) = &seen {
        assert_eq!(seen.primitive_type(), to);
    }
    let seen = seen.map_or("-".to_string(), |it| it.to_partition());
    assert_eq!(seen, expected, "{value} to {to}");
}

#[test]
fn casts_are_lossless() {
    let dec = Value::Decimal { unscaled: 150, precision: 5, scale: 2 };
    check_cast(&Value::Long(127), PrimitiveType::Byte, "127");
    check_cast(&Value::Long(128), PrimitiveType::Byte, "-");
    check_cast(&Value::Double(3.0), PrimitiveType::Long, "3");
    check_cast(&Value::Double(3.5), PrimitiveType::Long, "-");
    check_cast(&Value::Double(1e19), PrimitiveType::Long, "-");
    check_cast(&Value::Long(9_007_199_254_740_993), PrimitiveType::Double, "-");
    check_cast(&Value::Long(9_007_199_254_740_992), PrimitiveType::Double, "9007199254740992.0");
    check_cast(&Value::Double(0.1), PrimitiveType::Float, "-");
    check_cast(&Value::Double(f64::NAN), PrimitiveType::Float, "NaN");
    check_cast(&Value::Float(0.5), PrimitiveType::Double, "0.5");
    check_cast(&dec, PrimitiveType::Double, "1.5");
    check_cast(&dec, PrimitiveType::Long, "-");
    check_cast(&dec, decimal(5, 1), "1.5");
    check_cast(&dec, decimal(5, 0), "-");
    check_cast(&dec, decimal(38, 37), &format!("1.5{}", "0".repeat(36)));
    check_cast(&Value::Long(100), decimal(2, 0), "-");
    check_cast(&Value::Double(0.5), decimal(5, 2), "0.50");
    check_cast(&Value::Double(0.1), decimal(5, 2), "-");
    check_cast(&Value::Double(f64::INFINITY), decimal(5, 2), "-");
    check_cast(&Value::Date(1), PrimitiveType::TimestampNtz, "1970-01-02 00:00:00");
    check_cast(&Value::Date(i32::MAX), PrimitiveType::Timestamp, "-");
    check_cast(&Value::Timestamp(-86_400_000_000), PrimitiveType::Date, "1969-12-31");
    check_cast(&Value::Timestamp(1), PrimitiveType::Date, "-");
    check_cast(&Value::Timestamp(1), PrimitiveType::TimestampNtz, "-");
    check_cast(&Value::Long(1), PrimitiveType::String, "-");
}

#[test]
fn arrays_hold_what_was_put_in() {
    for value in samples() {
        let of = value.primitive_type();
        let array = Value::to_array(Some(&value), of, 3).unwrap();
        assert_eq!((array.len(), array.data_type()), (3, &of.to_arrow()));
        assert_eq!(Value::from_array(&array, 2).unwrap(), Some(value));
        assert_eq!(Value::from_array(&array, 3).unwrap_err().code(), Code::Internal);
        let nulls = Value::to_array(None, of, 2).unwrap();
        assert_eq!(nulls.data_type(), &of.to_arrow());
        assert_eq!(Value::from_array(&nulls, 1).unwrap(), None);
    }
    let wider = Value::to_array(Some(&Value::Integer(7)), decimal(12, 2), 1).unwrap();
    assert_eq!(Value::from_array(&wider, 0).unwrap().unwrap().to_partition(), "7.00");
    let void = Value::to_array(None, PrimitiveType::Void, 2).unwrap();
    assert_eq!(Value::from_array(&void, 0).unwrap(), None);
    let huge =
        Value::to_array(Some(&Value::String("x".repeat(1 << 20))), PrimitiveType::String, 1 << 20);
    assert_eq!(huge.unwrap_err().code(), Code::LimitExceeded);
}

fn samples() -> Vec<Value> {
    vec![
        Value::Boolean(true),
        Value::Boolean(false),
        Value::Byte(-1),
        Value::Short(-1),
        Value::Integer(-1),
        Value::Long(-1),
        Value::Float(0.1),
        Value::Double(f64::NAN),
        Value::Decimal { unscaled: -12345, precision: 7, scale: 2 },
        Value::String("caf\u{e9}".into()),
        Value::Binary(vec![0, 255]),
        Value::Date(-1),
        Value::Timestamp(-1),
        Value::TimestampNtz(-1),
    ]
}

/// Values at the seams: around zero, around the doubles' whole numbers, at the ends.
fn numbers() -> impl Strategy<Value = Value> {
    let long = prop_oneof![
        -3i64..3,
        (1i64 << 53) - 3..(1 << 53) + 3,
        i64::MAX - 3..i64::MAX,
        any::<i64>()
    ];
    let bound = 10i128.pow(38) - 1;
    prop_oneof![
        long.prop_map(Value::Long),
        any::<f64>().prop_map(Value::Double),
        (-300i32..300).prop_map(|it| Value::Double(f64::from(it) / 100.0)),
        any::<f32>().prop_map(Value::Float),
        (-bound..bound, 0u8..=38)
            .prop_map(|(unscaled, scale)| { Value::Decimal { unscaled, precision: 38, scale } }),
        (-300i128..300).prop_map(|unscaled| Value::Decimal { unscaled, precision: 5, scale: 2 }),
    ]
}

fn types() -> impl Strategy<Value = PrimitiveType> {
    let fixed = samples().into_iter().map(|it| it.primitive_type()).collect::<Vec<_>>();
    let decimals = (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(p, s)| decimal(p, s));
    prop_oneof![prop::sample::select(fixed), decimals]
}

proptest! {
    /// A partition string reads back to the value it was printed from.
    ///
    /// spec: PART-14
    #[test]
    fn partition_strings_are_inverse(value in numbers(), micros: i64, days: i32, bytes: Vec<u8>) {
        let others = [Value::Timestamp(micros), Value::TimestampNtz(micros), Value::Date(days)];
        let empty = Value::Binary(Vec::new());
        let bytes = Some(Value::Binary(bytes)).filter(|it| it.has_partition() && *it != empty);
        for value in others.into_iter().chain(bytes).chain([value]) {
            let text = value.to_partition();
            let read = Value::from_partition(&text, value.primitive_type());
            prop_assert_eq!(read.unwrap(), Some(value));
        }
    }

    /// Any text is a value, null or an error of any type: never a panic.
    #[test]
    fn reading_is_total(text in "[-+0-9.eE:TZ ]{0,40}|.*", of in types()) {
        let _ = Value::from_partition(&text, of);
        let _ = Value::from_literal(&text, of);
        let _ = Value::from_stats(&Json::String(text), of);
    }

    /// The order is total: antisymmetric and transitive, over all kinds of numbers.
    #[test]
    fn order_is_total(a in numbers(), b in numbers(), c in numbers()) {
        let order = |a: &Value, b: &Value| a.compare(b).unwrap();
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        prop_assert_eq!(order(&a, &a), Ordering::Equal);
        if order(&a, &b) != Ordering::Greater && order(&b, &c) != Ordering::Greater {
            prop_assert_ne!(order(&a, &c), Ordering::Greater);
        }
    }

    /// What a cast returns is the number it was given, and the way back leads to it.
    #[test]
    fn casts_keep_the_value(value in numbers(), to in types()) {
        if let Some(cast) = value.cast(to) {
            prop_assert_eq!(cast.primitive_type(), to);
            prop_assert_eq!(&cast, &value);
            prop_assert_eq!(cast.cast(value.primitive_type()), Some(value));
        }
    }

    /// Statistics of our own read back exactly, or are unknown.
    #[test]
    fn statistics_read_back(value in numbers()) {
        let json = serde_json::from_str(&value.to_stats().to_string()).unwrap();
        if let Some(read) = Value::from_stats(&json, value.primitive_type()) {
            prop_assert_eq!(read, value);
        }
    }
}
