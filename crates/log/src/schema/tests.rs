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
    check_json(&one(array), "a array<long not null>");
    let map = format!(
        r#"{{"type":"map","keyType":"string","valueType":{array},"valueContainsNull":true}}"#
    );
    check_json(&one(&map), "a map<string, array<long not null>>");
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

/// `expected` is the schema as it prints, or the error.
#[track_caller]
fn check_ddl(text: &str, expected: &str) {
    let seen = match StructType::parse_ddl(text) {
        Ok(schema) => {
            let printed = schema.to_string();
            if !printed.is_empty() {
                assert_eq!(StructType::parse_ddl(&printed).unwrap().to_string(), printed);
            }
            printed
        }
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidArgument, "{text}");
            error.to_string()
        }
    };
    assert_eq!(seen, expected, "{text}");
}

#[test]
fn schemas_in_words() {
    check_ddl("a long not null, b string", "a long not null, b string");
    check_ddl(" a : BIGINT NOT  NULL ,b text null ", "a long not null, b string");
    check_ddl("a int, b smallint, c tinyint, d real", "a integer, b short, c byte, d float");
    check_ddl("a bool, b bytea, c varchar", "a boolean, b binary, c string");
    check_ddl("a double precision, b timestamp_ntz", "a double, b timestamp_ntz");
    check_ddl(
        "a decimal, b numeric(5), c dec ( 38 , 38 )",
        "a decimal(10,0), b decimal(5,0), c decimal(38,38)",
    );
    check_ddl(r#""odd name" decimal(10,2), `a``b` date"#, "`odd name` decimal(10,2), `a``b` date");
    check_ddl(
        "s struct<x: int, y: array<map<string,double>>>, t timestamp",
        "s struct<x integer, y array<map<string, double>>>, t timestamp",
    );
    check_ddl(
        "a array<int not null>, m map<string, int not null>",
        "a array<integer not null>, m map<string, integer not null>",
    );
    check_ddl(
        "null int, comment int, struct struct<array int>",
        "null integer, comment integer, struct struct<array integer>",
    );
    check_ddl(r#"{"type":"struct","fields":[]}"#, "");
    check_ddl("gr\u{f6}\u{df}e int", "gr\u{f6}\u{df}e integer");

    let schema = StructType::parse_ddl("a long comment 'it''s, x', b int").unwrap();
    let comment = schema.field("a").unwrap().metadata.get("comment");
    assert_eq!(comment, Some(&Json::from("it's, x")));
}

#[test]
fn words_that_are_no_schema() {
    check_ddl("", "schema, at character 1: expected the name of a column, found the end");
    check_ddl("a", "schema, at character 2: expected a type, found the end");
    check_ddl("a long,", "schema, at character 8: expected the name of a column, found the end");
    check_ddl("a long b", "schema, at character 8: expected `,` or the end, found `b`");
    check_ddl("\u{f6} strng", "schema, at character 3: `strng` is no type");
    check_ddl("a long not", "schema, at character 11: expected `null`, found the end");
    check_ddl("a array<long", "schema, at character 13: expected `>`, found the end");
    check_ddl("a map<long>", "schema, at character 11: expected `,`, found `>`");
    check_ddl(
        "a decimal(39,2)",
        "schema, at character 11: decimal(39,2) has not 1 to 38 digits with the scale",
    );
    check_ddl(
        "a decimal(300)",
        "schema, at character 11: expected a number of digits, found `300)`",
    );
    check_ddl(
        "a varchar(20)",
        "schema, at character 10: `varchar` takes no length; a column has no such bound",
    );
    check_ddl("`a long", "schema, at character 1: a quote ` is not closed");
    check_ddl("a long, A int", "schema: two fields are named `A`, ignoring case");
    check_ddl("a long comment x", "schema, at character 16: expected 'text', found `x`");
    check_ddl(
        "{",
        "schema: the schema is not JSON: EOF while parsing an object at line 1 column 1",
    );

    let deep = format!("a {}int{}", "array<".repeat(200), ">".repeat(200));
    let error = StructType::parse_ddl(&deep).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
}

/// `expected` is the schema that the table has afterwards, or the error.
#[track_caller]
fn check_evolve(table: &str, incoming: &str, expected: &str) {
    let read = |it: &str| StructType::parse_ddl(it).unwrap();
    let seen = match evolve(&read(table), &read(incoming)) {
        Ok(it) => it.to_string(),
        Err(error) => {
            assert_eq!(error.code(), Code::SchemaMismatch);
            error.to_string()
        }
    };
    assert_eq!(seen, expected, "{table} + {incoming}");
}

/// spec: SCHEMA-10, SCHEMA-11, SCHEMA-12
#[test]
fn evolution() {
    check_evolve("a long", "a long", "a long");
    check_evolve("a long, b date", "b date, A integer", "a long, b date");
    check_evolve("a long", "c date not null, b string", "a long, c date, b string");
    check_evolve(
        "s struct<a long>, z int",
        "s struct<b long, a int>",
        "s struct<a long, b long>, z integer",
    );
    check_evolve(
        "a array<struct<x int>>",
        "a array<struct<y int not null> not null>",
        "a array<struct<x integer, y integer>>",
    );
    check_evolve(
        "m map<int, struct<x int>>",
        "m map<int, struct<y int>>",
        "m map<integer, struct<x integer, y integer>>",
    );
    check_evolve(
        "a int",
        "n struct<x int not null, y array<int not null>> not null",
        "a integer, n struct<x integer, y array<integer>>",
    );
    check_evolve("a void", "a struct<x int not null>", "a struct<x integer>");
    check_evolve("a long not null", "a void", "a long not null");
    check_evolve(
        "a integer",
        "a long",
        "column `a`: long does not go into the table's integer without loss; cast the data",
    );
    check_evolve(
        "a struct<b int>",
        "a struct<b string>",
        "column `a`: column `b`: string does not go into the table's integer without loss; \
         cast the data",
    );
    check_evolve(
        "a long",
        "a array<long>",
        "column `a`: array<long> does not go into the table's long without loss; cast the data",
    );
}

/// spec: SCHEMA-15
#[test]
fn widenings() {
    let table = "
        from            to
        byte            short integer long float double decimal(3,0) decimal(38,35)
        short           integer long float double decimal(5,0)
        integer         long double decimal(10,0) decimal(12,2)
        long            decimal(19,0) decimal(38,19)
        float           double
        double
        date            timestamp_ntz
        timestamp
        timestamp_ntz
        string
        binary
        boolean
        decimal(10,2)   decimal(11,2) decimal(12,4) decimal(38,30)
    ";
    let primitive = |it: &str| {
        let schema = StructType::parse_ddl(&format!("a {it}")).unwrap();
        schema.fields()[0].data_type.primitive().unwrap()
    };
    let all: BTreeSet<&str> = table.split_whitespace().skip(2).collect();
    for row in table.lines().skip(2).filter(|it| !it.trim().is_empty()) {
        let mut words = row.split_whitespace();
        let from = words.next().unwrap();
        let allowed: Vec<&str> = words.chain([from]).collect();
        for to in &all {
            let (wide, narrow) = (primitive(to), primitive(from));
            let decimals = matches!(wide, PrimitiveType::Decimal { .. });
            if decimals && !allowed.contains(to) {
                continue;
            }
            assert_eq!(evolve::widens(narrow, wide), allowed.contains(to), "{from} to {to}");
        }
    }
    for (from, to) in [
        ("byte", "decimal(2,0)"),
        ("long", "decimal(18,0)"),
        ("integer", "decimal(38,29)"),
        ("decimal(10,2)", "decimal(10,1)"),
        ("decimal(10,2)", "decimal(11,4)"),
        ("double", "decimal(38,0)"),
        ("string", "decimal(38,0)"),
    ] {
        assert!(!evolve::widens(primitive(from), primitive(to)), "{from} to {to}");
    }
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", "[ -~]{1,4}", "\\PC{1,3}"]
}

fn types() -> impl Strategy<Value = DataType> {
    let decimals = (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p));
    let leaf = prop_oneof![
        prop::sample::select(vec![
            PrimitiveType::Boolean,
            PrimitiveType::Byte,
            PrimitiveType::Integer,
            PrimitiveType::Double,
            PrimitiveType::String,
            PrimitiveType::Binary,
            PrimitiveType::Date,
            PrimitiveType::Timestamp,
            PrimitiveType::TimestampNtz,
            PrimitiveType::Void,
        ]),
        decimals.prop_map(|(precision, scale)| PrimitiveType::Decimal { precision, scale }),
    ];
    leaf.prop_map(DataType::Primitive).prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(element, contains_null)| {
                DataType::Array(Box::new(ArrayType { element, contains_null }))
            }),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(key, value, null)| {
                let value_contains_null = null;
                DataType::Map(Box::new(MapType { key, value, value_contains_null }))
            }),
            fields(inner).prop_map(DataType::Struct),
        ]
    })
}

fn fields(of: impl Strategy<Value = DataType>) -> impl Strategy<Value = StructType> {
    prop::collection::vec((names(), of, any::<bool>()), 1..4).prop_filter_map(
        "names are unique",
        |fields| {
            let field = |(name, of, nullable): (String, DataType, bool)| {
                StructField::new(name, of, nullable)
            };
            let fields: Vec<StructField> = fields.into_iter().map(field).collect();
            StructType::new(fields).ok()
        },
    )
}

proptest! {
    /// A schema reads back from its JSON, from its words and from its Arrow shape.
    ///
    /// spec: SCHEMA-1
    #[test]
    fn schemas_read_back(schema in fields(types())) {
        prop_assert_eq!(&StructType::from_json(&schema.to_json()).unwrap(), &schema);
        prop_assert_eq!(&StructType::parse_ddl(&schema.to_string()).unwrap(), &schema);
        let (back, _) = from_arrow(&schema.to_arrow(), ArrowOptions::default()).unwrap();
        prop_assert_eq!(&back, &schema);
        prop_assert_eq!(&evolve(&schema, &schema).unwrap(), &schema);
    }

    #[test]
    fn parsing_is_total(text in "\\PC{0,40}", cut: prop::sample::Index, byte in 0u8..128) {
        let _ = StructType::from_json(&text);
        let _ = StructType::parse_ddl(&text);
        let map = r#"{"type":"map","keyType":"long","valueType":"date","valueContainsNull":true}"#;
        let json = one(map);
        for good in [json.as_str(), "a long not null, s struct<x: array<int>> comment 'x'"] {
            let mut bytes = good.as_bytes().to_vec();
            let at = cut.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = StructType::from_json(&text);
                let _ = StructType::parse_ddl(&text);
            }
        }
    }
}

/// spec: SCHEMA-3, SCHEMA-20
#[test]
fn intervals_have_many_names() {
    let of = |name: &str| {
        let field = format!(r#"{{"name":"c","type":"{name}","nullable":true,"metadata":{{}}}}"#);
        let schema = Schema::from_json(&format!(r#"{{"type":"struct","fields":[{field}]}}"#));
        schema.map_or("-".to_string(), |it| it.fields()[0].data_type.to_string())
    };
    for name in ["interval year", "interval month", "interval year to month"] {
        assert_eq!(of(name), "interval year to month");
    }
    for name in ["interval day", "interval day to hour", "interval minute to second"] {
        assert_eq!(of(name), "interval day to second");
    }
    for name in [
        "interval",
        "interval ",
        "interval Year",
        "interval month to year",
        "interval day to day",
        "interval year to day",
        "interval month to second",
        "interval day to second(3)",
    ] {
        assert_eq!(of(name), "-", "{name}");
    }
}
