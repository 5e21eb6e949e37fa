//! Schemas: JSON, Arrow, words and evolution.

use super::*;
use proptest::prelude::*;

/// `expected` is the schema in words, or the code of the error.
#[track_caller]
fn check_json(json: &str, expected: &str) {
    let seen = StructType::from_json(json)
        .map_or_else(|it| it.code().as_str().to_string(), |it| it.to_string());
    assert_eq!(seen, expected, "{json}");
}

/// A schema of one column `a` of the type given as JSON.
fn one(of: &str) -> String {
    let field = format!(r#"{{"name":"a","type":{of},"nullable":true,"metadata":{{}}}}"#);
    format!(r#"{{"type":"struct","fields":[{field}]}}"#)
}

fn nested(levels: usize) -> String {
    (1..levels).fold(one("\"long\""), |inner, _| one(&inner))
}

/// spec: SCHEMA-1, SCHEMA-3, SCHEMA-5, SCHEMA-6, SCHEMA-7
#[test]
fn type_names() {
    for name in [
        "boolean",
        "byte",
        "short",
        "integer",
        "long",
        "float",
        "double",
        "string",
        "binary",
        "date",
        "timestamp",
        "timestamp_ntz",
        "void",
        "variant",
        "decimal(10,2)",
        "decimal(38,38)",
    ] {
        check_json(&one(&format!("\"{name}\"")), &format!("a {name}"));
    }
    check_json(&one("\"decimal\""), "a decimal(10,0)");
    check_json(&one("\"decimal(10, 2)\""), "a decimal(10,2)");
    check_json(&one("\"decimal(7)\""), "a decimal(7,0)");
    for name in [
        "hyperlong",
        "LONG",
        "int",
        "bigint",
        " long",
        "decimal(39,2)",
        "decimal(5,9)",
        "decimal(5,-2)",
        "decimal(99999999999,1)",
        "decimal(0,0)",
        "decimal(,)",
        "decimal(+5,2)",
        "decimal(1,2,3)",
        "decimal(10,2",
        "",
    ] {
        check_json(&one(&format!("\"{name}\"")), "invalid-schema");
    }
    let array = r#"{"type":"array","elementType":"long","containsNull":false}"#;
    check_json(&one(array), "a array<long>");
    let map = format!(
        r#"{{"type":"map","keyType":"string","valueType":{array},"valueContainsNull":true}}"#
    );
    check_json(&one(&map), "a map<string, array<long>>");
    check_json(&one(&one("\"date\"")), "a struct<a date>");
}

/// spec: SCHEMA-1, SCHEMA-2, SCHEMA-3, SCHEMA-4
#[test]
fn what_is_no_schema() {
    for bad in [
        "",
        "\"long\"",
        "null",
        "{}",
        "[]",
        r#"{"type":"struct"}"#,
        r#"{"type":"struct","fields":{}}"#,
        r#"{"type":"struct","fields":[]}x"#,
        r#"{"type":"struct","fields":[],"fields":[]}"#,
        r#"{"type":"array","elementType":"long","containsNull":true}"#,
        r#"{"type":"struct","fields":["a"]}"#,
        r#"{"type":"struct","fields":[{"name":"a","type":"long"}]}"#,
        r#"{"type":"struct","fields":[{"name":1,"type":"long","nullable":true}]}"#,
        r#"{"type":"struct","fields":[{"name":"","type":"long","nullable":true}]}"#,
        r#"{"type":"struct","fields":[{"name":"a","type":"long","nullable":1}]}"#,
        r#"{"type":"struct","fields":[{"name":"a","type":"long","nullable":true,"metadata":1}]}"#,
    ] {
        check_json(bad, "invalid-schema");
    }
    check_json(&one(r#"{"type":"array","elementType":"long"}"#), "invalid-schema");
    check_json(&one(r#"{"type":"map","keyType":"long","valueType":"long"}"#), "invalid-schema");
    check_json(&one(r#"{"type":"udt","sqlType":"long"}"#), "invalid-schema");
    check_json(r#"{"fields":[],"type":"struct"}"#, "");
    check_json(
        r#"{"fields":[{"nullable":false,"type":"long","name":"a"}],"type":"struct"}"#,
        "a long not null",
    );
}

fn two(one: &str, other: &str) -> String {
    let field = |it: &str| format!(r#"{{"name":"{it}","type":"long","nullable":true}}"#);
    format!(r#"{{"type":"struct","fields":[{},{}]}}"#, field(one), field(other))
}

/// spec: SCHEMA-2
#[test]
fn names_are_unique_ignoring_case() {
    check_json(&two("id", "id"), "invalid-schema");
    check_json(&two("id", "ID"), "invalid-schema");
    check_json(&two("\u{e9}", "\u{c9}"), "invalid-schema");
    check_json(&one(&two("x", "X")), "invalid-schema");
    check_json(&two("I", "\u{131}"), "I long, \u{131} long");
    check_json(&two("a.b", "`"), "`a.b` long, ```` long");
}

/// spec: SCHEMA-8
#[test]
fn depth_and_width_are_bounded() {
    assert!(StructType::from_json(&nested(limits::SCHEMA_DEPTH_MAX)).is_ok());
    check_json(&nested(limits::SCHEMA_DEPTH_MAX + 1), "limit-exceeded");
    check_json(&nested(5_000), "limit-exceeded");
    let arrays = |n: usize| {
        let open = r#"{"type":"array","containsNull":true,"elementType":"#.repeat(n);
        one(&format!("{open}\"long\"{}", "}".repeat(n)))
    };
    assert!(StructType::from_json(&arrays(limits::SCHEMA_DEPTH_MAX - 1)).is_ok());
    check_json(&arrays(limits::SCHEMA_DEPTH_MAX), "limit-exceeded");
    check_json(&"[".repeat(100_000), "limit-exceeded");

    let wide = |n: usize| {
        let field = |it: usize| format!(r#"{{"name":"c{it}","type":"long","nullable":true}}"#);
        let fields: Vec<String> = (0..n).map(field).collect();
        format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","))
    };
    let schema = StructType::from_json(&wide(10_000)).unwrap();
    assert_eq!(schema.leaf_count(), 10_000);
    check_json(&wide(limits::COLUMNS_MAX + 1), "limit-exceeded");
}

/// spec: SCHEMA-9
#[test]
fn metadata_is_kept() {
    let json = concat!(
        r#"{"type":"struct","fields":[{"name":"a","type":"long","nullable":true,"#,
        r#""metadata":{"__CHAR_VARCHAR_TYPE_STRING":"char(5)","comment":"x \"y\" \u0001","#,
        r#""deep":[1,2.5,null,{"x":true}],"n":18446744073709551615}}]}"#,
    );
    let schema = StructType::from_json(json).unwrap();
    assert_eq!(schema.to_json(), json);
    let twice = one("\"long\"").replace("{}", r#"{"k":1,"k":2}"#);
    check_json(&twice, "invalid-schema");
}

/// spec: SCHEMA-2
#[test]
fn fields_are_found_ignoring_case() {
    let field = |name: &str, of: DataType| StructField::new(name, of, true);
    let leaf = field("Leaf", PrimitiveType::Long.into());
    let inner = StructType::new(vec![leaf]).unwrap();
    let schema = StructType::new(vec![field("Top", DataType::Struct(inner))]).unwrap();
    let path = |names: &[&str]| names.iter().map(|it| (*it).to_string()).collect::<Vec<_>>();
    assert_eq!(schema.field("tOP").unwrap().name, "Top");
    assert_eq!(schema.position("nope"), None);
    assert_eq!(schema.at_path(&path(&["top", "leaf"])).unwrap().name, "Leaf");
    for missing in [&["top", "x"][..], &["top", "leaf", "x"], &[]] {
        assert_eq!(schema.at_path(&path(missing)), None);
    }
}
