//! Tables of lines, one thing wrong in each, and round trips of generated actions.

use proptest::prelude::*;

use super::*;
use crate::feature::TableFeature as F;

/// Reads a line: the Debug name of what it holds, `-` for nothing, or the code of its error.
#[track_caller]
fn check(line: &str, expected: &str) {
    let actual = match Action::from_json_line(line.as_bytes()) {
        Ok(None) => "-".to_string(),
        Ok(Some(action)) => {
            let text = format!("{action:?}");
            text.split('(').next().unwrap().to_string()
        }
        Err(error) => error.code().as_str().to_string(),
    };
    assert_eq!(actual, expected, "{line}");
}

/// A sound `add` with one field replaced or added, as text.
fn add_with(field: &str, value: &str) -> String {
    let fields = [
        ("path", "\"a.parquet\""),
        ("partitionValues", "{}"),
        ("size", "9"),
        ("modificationTime", "0"),
        ("dataChange", "true"),
    ];
    let mut all: Vec<(&str, &str)> = fields.into_iter().filter(|it| it.0 != field).collect();
    if value != "absent" {
        all.push((field, value));
    }
    let body: Vec<String> = all.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{\"add\":{{{}}}}}", body.join(","))
}

/// spec: FILE-14, FILE-15, FILE-17, FILE-18, FILE-19
#[test]
fn lines() {
    let rows = [
        ("{}", "-"),
        (" \t{ } \r", "-"),
        (r#"{"add":null}"#, "-"),
        (r#"{"someday":{"a":[1,2.5e3,null,true,"x"]}}"#, "-"),
        (r#"{"Add":{"path":1}}"#, "-"),
        (r#"{"txn":{"appId":"a","version":1,"more":{}}}"#, "SetTransaction"),
        (r#"{"txn":{"appId":"","version":-1}}"#, "SetTransaction"),
        (r#"{"add":null,"txn":{"appId":"a","version":1}}"#, "SetTransaction"),
        (r#"{"\u0074xn":{"appId":"a","version":1}}"#, "SetTransaction"),
        (r#"{"commitInfo":{"operation":"\u001b[2J","n":1e400}}"#, "CommitInfo"),
        // One thing wrong in each.
        ("", "corrupt-log"),
        ("42", "corrupt-log"),
        ("null", "corrupt-log"),
        (r#"[{"txn":{"appId":"a","version":1}}]"#, "corrupt-log"),
        (r#"{"txn":{"appId":"a","version":1}"#, "corrupt-log"),
        (r#"{"txn":{"appId":"a","version":1}}}"#, "corrupt-log"),
        (r#"{"txn":{"appId":"a","version":1}}{}"#, "corrupt-log"),
        ("{}\n{}", "corrupt-log"),
        ("{\n}", "corrupt-log"),
        (r#"{"txn":{"appId":"a","version":1,}}"#, "corrupt-log"),
        (r#"{"txn":{"appId":"a" "version":1}}"#, "corrupt-log"),
        (r#"{"txn":{"appId":'a',"version":1}}"#, "corrupt-log"),
        ("// comment", "corrupt-log"),
        ("<html>", "corrupt-log"),
        ("\0\0\0\0", "corrupt-log"),
        (r#"{"a":tru}"#, "corrupt-log"),
        (r#"{"a":"\x"}"#, "corrupt-log"),
        (r#"{"a":"\ud800"}"#, "corrupt-log"),
        (r#"{"a":"\ud800\u0041"}"#, "corrupt-log"),
        (r#"{"a":"\udc00"}"#, "corrupt-log"),
        (r#"{"a":"\u12"}"#, "corrupt-log"),
        (r#"{"a":"\u+123"}"#, "corrupt-log"),
        ("{\"a\":\"\t\"}", "corrupt-log"),
        (r#"{"a":"open}"#, "corrupt-log"),
        (
            r#"{"txn":{"appId":"a","version":1},"commitInfo":{"operation":"WRITE"}}"#,
            "invalid-action",
        ),
    ];
    for (line, expected) in rows {
        check(line, expected);
    }
}

/// spec: FILE-16
#[test]
fn a_key_stands_once() {
    let many: String = (0..40).map(|it| format!("\"k{it}\":{it},")).collect();
    let rows = [
        r#"{"txn":{"appId":"a","version":1},"txn":{"appId":"a","version":1}}"#.to_string(),
        r#"{"add":null,"add":null}"#.to_string(),
        r#"{"txn":{"appId":"a","version":1,"appId":"a"}}"#.to_string(),
        r#"{"txn":{"appId":"a","version":1,"x":{"y":[{"z":1,"z":1}]}}}"#.to_string(),
        r#"{"someday":{"a":1,"\u0061":2}}"#.to_string(),
        r#"{"commitInfo":{"a":1,"a":1}}"#.to_string(),
        format!("{{\"someday\":{{{many}\"k39\":0}}}}"),
        format!("{{\"someday\":{{{many}\"k3\":0}}}}"),
        add_with("partitionValues", r#"{"p":"1","p":"1"}"#),
    ];
    for line in rows {
        check(&line, "corrupt-log");
    }
    check(&format!("{{\"someday\":{{{many}\"k40\":0}}}}"), "-");
}

/// spec: FILE-20
#[test]
fn nesting_is_bounded() {
    let nested =
        |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    check(&nested(crate::limits::JSON_DEPTH_MAX), "-");
    check(&nested(crate::limits::JSON_DEPTH_MAX + 1), "limit-exceeded");
    check(&nested(100_000), "limit-exceeded");
    check(&format!("{{\"x\":{}", "[".repeat(200_000)), "limit-exceeded");
    check(&format!("{{\"x\":{}", "{\"y\":".repeat(200_000)), "limit-exceeded");
    check(&format!("{{\"commitInfo\":{}", "{\"y\":".repeat(200_000)), "limit-exceeded");
    check(&"[".repeat(200_000), "limit-exceeded");
}

/// spec: FILE-9, FILE-11, FILE-12
#[test]
fn fields_of_an_add() {
    let vector = |fields: &str| format!("{{{fields}}}");
    let sound = r#""storageType":"u","pathOrInlineDv":"x","sizeInBytes":4,"cardinality":1"#;
    let digits = "1".repeat(100_000);
    let rows = [
        ("size", "0", "Add"),
        ("modificationTime", "-9223372036854775808", "Add"),
        ("modificationTime", "9223372036854775807", "Add"),
        ("stats", "null", "Add"),
        ("stats", "\"no JSON\"", "Add"),
        ("tags", r#"{"a":null,"b":"x"}"#, "Add"),
        ("partitionValues", r#"{"a":null,"b":"x"}"#, "Add"),
        ("deletionVector", "null", "Add"),
        ("deletionVector", &vector(sound), "Add"),
        ("deletionVector", &vector(&format!("{sound},\"offset\":null,\"maxRowIndex\":7")), "Add"),
        ("someday", r#"{"a":[]}"#, "Add"),
        // One thing wrong in each.
        ("path", "absent", "invalid-action"),
        ("path", "null", "invalid-action"),
        ("path", "\"\"", "invalid-action"),
        ("path", "7", "invalid-action"),
        ("partitionValues", "absent", "invalid-action"),
        ("partitionValues", "null", "invalid-action"),
        ("partitionValues", "[]", "invalid-action"),
        ("partitionValues", r#"{"a":7}"#, "invalid-action"),
        ("partitionValues", r#"{"a":{"b":"c"}}"#, "invalid-action"),
        ("size", "absent", "invalid-action"),
        ("size", "null", "invalid-action"),
        ("size", "-1", "invalid-action"),
        ("size", "12.5", "invalid-action"),
        ("size", "12.0", "invalid-action"),
        ("size", "1e3", "invalid-action"),
        ("size", "1e400", "invalid-action"),
        ("size", "\"1000\"", "invalid-action"),
        ("size", "18446744073709551615", "invalid-action"),
        ("size", "9223372036854775808", "invalid-action"),
        ("size", &digits, "invalid-action"),
        ("size", "NaN", "corrupt-log"),
        ("size", "Infinity", "corrupt-log"),
        ("size", "+1", "corrupt-log"),
        ("size", "01", "corrupt-log"),
        ("size", "1.", "corrupt-log"),
        ("size", ".5", "corrupt-log"),
        ("size", "1e", "corrupt-log"),
        ("size", "-", "corrupt-log"),
        ("modificationTime", "absent", "invalid-action"),
        ("dataChange", "absent", "invalid-action"),
        ("dataChange", "\"true\"", "invalid-action"),
        ("dataChange", "1", "invalid-action"),
        ("stats", "{}", "invalid-action"),
        ("tags", r#"{"a":1}"#, "invalid-action"),
        ("baseRowId", "1.5", "invalid-action"),
        ("deletionVector", "{}", "invalid-action"),
        ("deletionVector", &vector(&sound.replace("\"u\"", "\"x\"")), "invalid-action"),
        ("deletionVector", &vector(&sound.replace("\"u\"", "null")), "invalid-action"),
        ("deletionVector", &vector(&sound.replace(":4", ":-4")), "invalid-action"),
        ("deletionVector", &vector(&sound.replace(":1", ":-1")), "invalid-action"),
        ("deletionVector", &vector(&sound.replace(":4", ":2147483648")), "invalid-action"),
        ("deletionVector", &vector(&format!("{sound},\"offset\":-1")), "invalid-action"),
    ];
    for (field, value, expected) in rows {
        check(&add_with(field, value), expected);
    }
}

/// spec: FILE-10
#[test]
fn fields_of_a_remove() {
    let rows = [
        (r#"{"remove":{"path":"a","dataChange":true}}"#, "Remove"),
        (r#"{"remove":{"path":"a","dataChange":false,"partitionValues":null}}"#, "Remove"),
        (r#"{"remove":{"path":"a"}}"#, "invalid-action"),
        (r#"{"remove":{"dataChange":true}}"#, "invalid-action"),
        (r#"{"remove":{"path":"","dataChange":true}}"#, "invalid-action"),
        (r#"{"remove":{"path":"a","dataChange":true,"size":-1}}"#, "invalid-action"),
        (r#"{"remove":{"path":"a","dataChange":true,"deletionTimestamp":1.5}}"#, "invalid-action"),
    ];
    for (line, expected) in rows {
        check(line, expected);
    }
}

/// spec: META-2, META-6
#[test]
fn fields_of_metadata() {
    let fields = [
        ("id", r#""1""#),
        ("format", r#"{"provider":"parquet","options":{}}"#),
        ("schemaString", r#""{}""#),
        ("partitionColumns", "[]"),
        ("configuration", r#"{"a":"b"}"#),
    ];
    let with = |field: &str, value: &str| {
        let value_of = |it: &(&str, &'static str)| match it.0 == field {
            true => format!("\"{field}\":{value}"),
            false => format!("\"{}\":{}", it.0, it.1),
        };
        format!(
            "{{\"metaData\":{{{}}}}}",
            fields.iter().map(value_of).collect::<Vec<_>>().join(",")
        )
    };
    let rows = [
        ("id", r#""2""#, "Metadata"),
        ("configuration", "null", "Metadata"),
        ("format", r#"{"provider":"parquet","options":null}"#, "Metadata"),
        ("id", "null", "invalid-metadata"),
        ("schemaString", "null", "Metadata"),
        ("schemaString", "{}", "invalid-schema"),
        ("partitionColumns", "null", "invalid-metadata"),
        ("partitionColumns", "[1]", "invalid-metadata"),
        ("format", r#"{"options":{}}"#, "invalid-metadata"),
        ("configuration", r#"{"a":7}"#, "invalid-metadata"),
        ("configuration", r#"{"a":null}"#, "invalid-metadata"),
    ];
    for (field, value, expected) in rows {
        check(&with(field, value), expected);
    }
}

/// spec: PROTO-1, PROTO-2, PROTO-3, PROTO-4, PROTO-5, PROTO-6
#[test]
fn protocols() {
    // Reader version and list, writer version and list.
    let rows = [
        ("1", "", "2", "", "Protocol"),
        ("1", "", "7", r#"["a"]"#, "Protocol"),
        ("3", "[]", "7", "[]", "Protocol"),
        ("3", r#"["a","a"]"#, "7", r#"["a"]"#, "Protocol"),
        ("3", "[]", "7", r#"["columnMapping"]"#, "Protocol"),
        ("1", "null", "2", "[]", "Protocol"),
        ("99", "", "99", "", "Protocol"),
        // One thing wrong in each.
        ("1", "", "null", "", "invalid-protocol"),
        ("0", "", "2", "", "invalid-protocol"),
        ("-1", "", "2", "", "invalid-protocol"),
        ("2147483648", "", "2", "", "invalid-protocol"),
        ("1.0", "", "2", "", "invalid-protocol"),
        ("1", r#"["a"]"#, "2", "", "invalid-protocol"),
        ("1", "", "2", r#"["a"]"#, "invalid-protocol"),
        ("3", "", "7", "[]", "invalid-protocol"),
        ("1", "", "7", "", "invalid-protocol"),
        ("3", "[]", "6", "", "invalid-protocol"),
        ("3", r#"["a"]"#, "7", r#"["b"]"#, "invalid-protocol"),
        ("3", "[1]", "7", "[]", "invalid-protocol"),
    ];
    for (reader, reader_list, writer, writer_list, expected) in rows {
        let list = |key: &str, list: &str| match list {
            "" => String::new(),
            list => format!(",\"{key}\":{list}"),
        };
        let lists = list("readerFeatures", reader_list) + &list("writerFeatures", writer_list);
        let versions = format!("\"minReaderVersion\":{reader},\"minWriterVersion\":{writer}");
        check(&format!("{{\"protocol\":{{{versions}{lists}}}}}"), expected);
    }
}

/// Versions and lists of a protocol, short.
fn show(protocol: &Protocol) -> String {
    let names = |list: &Option<Vec<F>>| match list {
        None => "-".to_string(),
        Some(list) => list.iter().map(F::name).collect::<Vec<_>>().join(" "),
    };
    let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
    let lists = (names(&protocol.reader_features), names(&protocol.writer_features));
    format!("{reader},{writer} [{}] [{}]", lists.0, lists.1)
}

/// spec: PROTO-7, PROTO-9, FEAT-3
#[test]
fn the_smallest_protocol_for_a_feature() {
    let rows: [(&[F], &str); 9] = [
        (&[], "1,2 [-] [-]"),
        (&[F::AppendOnly], "1,2 [-] [-]"),
        (&[F::CheckConstraints], "1,3 [-] [-]"),
        (&[F::ChangeDataFeed], "1,4 [-] [-]"),
        (&[F::ColumnMapping], "2,5 [-] [-]"),
        (&[F::DomainMetadata], "1,7 [-] [appendOnly invariants domainMetadata]"),
        (&[F::Clustering], "1,7 [-] [appendOnly invariants domainMetadata clustering]"),
        (
            &[F::ColumnMapping, F::DomainMetadata],
            "2,7 [-] [appendOnly invariants columnMapping domainMetadata]",
        ),
        (&[F::TimestampNtz], "3,7 [timestampNtz] [appendOnly invariants timestampNtz]"),
    ];
    for (features, expected) in rows {
        let raised = Protocol::legacy().with_features(features);
        assert_eq!(show(&raised), expected);
        raised.check().unwrap();
        assert!(features.iter().all(|it| raised.supports(it)));
        assert_eq!(raised.with_features(features), raised);
    }
    let listed = Protocol::legacy().with_features(&[F::TimestampNtz]);
    let raised = listed.with_features(&[F::CheckConstraints]);
    assert_eq!(
        show(&raised),
        "3,7 [timestampNtz] [appendOnly invariants timestampNtz checkConstraints]"
    );
    let implied = Protocol { min_writer_version: 6, min_reader_version: 2, ..Protocol::legacy() };
    assert_eq!(implied.features().len(), 7);
    let unmapped = Protocol { min_reader_version: 1, ..implied };
    assert!(!unmapped.supports(&F::ColumnMapping));
}

/// spec: PROTO-11
#[test]
fn older_names_count() {
    let early = Protocol::legacy().with_features(&[F::TypeWideningPreview]);
    assert_eq!(
        show(&early),
        "3,7 [typeWidening-preview] [appendOnly invariants typeWidening-preview]"
    );
    assert!(early.supports(&F::TypeWidening));
    assert_eq!(early.with_features(&[F::TypeWidening]), early);
    assert!(!early.supports(&F::VariantType));
    let listed = Protocol::legacy().with_features(&[F::TypeWidening]);
    assert!(listed.supports(&F::TypeWideningPreview));
}

/// spec: META-3, META-4, META-5, META-7
#[test]
fn metadata_is_checked_against_its_schema() {
    let schema = r#"{"type":"struct","fields":[
        {"name":"a","type":"long","nullable":true,"metadata":{}},
        {"name":"s","type":{"type":"struct","fields":[]},"nullable":true,"metadata":{}},
        {"name":"p","type":"string","nullable":true,"metadata":{}}]}"#;
    let sound = Metadata {
        id: "1".to_string(),
        name: None,
        description: None,
        format_provider: "parquet".to_string(),
        format_options: BTreeMap::new(),
        schema_string: schema.to_string(),
        partition_columns: vec!["p".to_string()],
        configuration: BTreeMap::new(),
        created_time: None,
    };
    let with = |columns: &[&str], mode: &str, provider: &str, schema: &str| Metadata {
        partition_columns: columns.iter().map(|it| it.to_string()).collect(),
        configuration: BTreeMap::from([("delta.columnMapping.mode".to_string(), mode.to_string())]),
        format_provider: provider.to_string(),
        schema_string: schema.to_string(),
        ..sound.clone()
    };
    sound.check().unwrap();
    let one = r#"{"type":"struct","fields":[
        {"name":"a","type":"long","nullable":true,"metadata":{}}]}"#;
    let empty = r#"{"type":"struct","fields":[]}"#;
    let rows = [
        (with(&[], "none", "parquet", empty), "ok"),
        (with(&["a", "p"], "name", "parquet", schema), "ok"),
        (with(&["x"], "none", "parquet", schema), "invalid-metadata"),
        (with(&["p", "p"], "none", "parquet", schema), "invalid-metadata"),
        (with(&["s"], "none", "parquet", schema), "invalid-metadata"),
        (with(&["a"], "none", "parquet", one), "invalid-metadata"),
        (with(&[], "none", "orc", schema), "invalid-metadata"),
        (with(&[], "telepathy", "parquet", schema), "invalid-metadata"),
        (with(&[], "none", "parquet", "no JSON"), "invalid-schema"),
        (with(&[], "none", "parquet", ""), "invalid-schema"),
    ];
    for (metadata, expected) in rows {
        let actual = metadata.check().map_or_else(|it| it.code().as_str(), |()| "ok");
        assert_eq!(actual, expected, "{metadata:?}");
    }
}

/// spec: FILE-21
#[test]
fn lines_are_written_in_the_order_of_spark() {
    let lines = [
        r#"{"commitInfo":{"operation":"WRITE","timestamp":1}}"#,
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,
            "readerFeatures":["timestampNtz"],"writerFeatures":["timestampNtz"]}}"#,
        r#"{"metaData":{"id":"1","name":"n","description":"d",
            "format":{"provider":"parquet","options":{}},
            "schemaString":"{\"type\":\"struct\"}","partitionColumns":["p"],
            "configuration":{"a":"b"},"createdTime":5}}"#,
        r#"{"add":{"path":"a%20b","partitionValues":{"p":null,"q":"x"},"size":1,
            "modificationTime":2,"dataChange":false,"stats":"{\"numRecords\":3}",
            "tags":{"k":"v"},
            "deletionVector":{"storageType":"u","pathOrInlineDv":"x","offset":1,
            "sizeInBytes":4,"cardinality":6},
            "baseRowId":7,"defaultRowCommitVersion":8,"clusteringProvider":"liquid"}}"#,
        r#"{"remove":{"path":"a","deletionTimestamp":1,"dataChange":true,
            "extendedFileMetadata":true,"partitionValues":{"p":"x"},"size":2,
            "deletionVector":{"storageType":"i","pathOrInlineDv":"x",
            "sizeInBytes":4,"cardinality":6},"baseRowId":7,"defaultRowCommitVersion":8}}"#,
        r#"{"cdc":{"path":"c","partitionValues":{},"size":1,
            "tags":{"k":null},"dataChange":false}}"#,
        r#"{"txn":{"appId":"a","version":1,"lastUpdated":2}}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}"#,
        r#"{"checkpointMetadata":{"version":1,"tags":{"k":"v"}}}"#,
        r#"{"sidecar":{"path":"s","sizeInBytes":1,"modificationTime":2,"tags":{"k":"v"}}}"#,
    ];
    for line in lines {
        let line: String = line.lines().map(str::trim_start).collect();
        let action = Action::from_json_line(line.as_bytes()).unwrap().unwrap();
        assert_eq!(action.to_json_line(), line);
    }
}

fn map() -> impl Strategy<Value = NullableMap> {
    proptest::collection::btree_map(".{0,6}", proptest::option::of(".{0,6}"), 0..4)
}

fn vector() -> impl Strategy<Value = DeletionVector> {
    let parts = ("[uip]", ".{0,9}", proptest::option::of(0..i32::MAX), 0..i32::MAX, 0..i64::MAX);
    parts.prop_map(|(storage_type, path_or_inline_dv, offset, size_in_bytes, cardinality)| {
        DeletionVector { storage_type, path_or_inline_dv, offset, size_in_bytes, cardinality }
    })
}

/// Adds and removes of every form.
pub(crate) fn files() -> impl Strategy<Value = Action> {
    use proptest::option::of;
    let add = (
        (".{1,9}", map(), 0..i64::MAX, any::<i64>(), any::<bool>()),
        (of(".{0,9}"), of(map()), of(vector()), of(any::<i64>()), of(any::<i64>()), of(".{0,5}")),
    );
    let add = add.prop_map(|(required, optional)| {
        Action::Add(Add {
            path: required.0,
            partition_values: required.1,
            size: required.2,
            modification_time: required.3,
            data_change: required.4,
            stats: optional.0,
            tags: optional.1,
            deletion_vector: optional.2,
            base_row_id: optional.3,
            default_row_commit_version: optional.4,
            clustering_provider: optional.5,
        })
    });
    let remove = (
        (".{1,9}", of(any::<i64>()), any::<bool>(), of(any::<bool>()), of(map())),
        (of(0..i64::MAX), of(vector()), of(any::<i64>()), of(any::<i64>())),
    );
    let remove = remove.prop_map(|(first, second)| {
        Action::Remove(Remove {
            path: first.0,
            deletion_timestamp: first.1,
            data_change: first.2,
            extended_file_metadata: first.3,
            partition_values: first.4,
            size: second.0,
            deletion_vector: second.1,
            base_row_id: second.2,
            default_row_commit_version: second.3,
        })
    });
    prop_oneof![add, remove]
}

proptest! {
    /// spec: FILE-21
    #[test]
    fn a_line_reads_back(action in files()) {
        let line = action.to_json_line();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(Action::from_json_line(line.as_bytes()).unwrap(), Some(action));
    }

    /// What we take for JSON, a general parser does too, and the tree is the same.
    ///
    /// spec: FILE-15
    #[test]
    fn only_json_is_taken(text in r#"[\[\]{}:, "a\\u0-9.eE+\-tn]{0,24}"#) {
        let line = format!("{{\"commitInfo\":{{\"a\":{text}}}}}");
        if let Ok(Some(Action::CommitInfo(info))) = Action::from_json_line(line.as_bytes())
            && let Ok(tree) = serde_json::from_str::<Json>(&line)
        {
            prop_assert_eq!(Json::Object(info.fields), tree["commitInfo"].clone());
        }
        let outcome = Action::from_json_line(format!("{{\"x\":{text}}}").as_bytes());
        if serde_json::from_str::<Json>(&format!("{{\"x\":{text}}}")).is_err() && outcome.is_ok() {
            // Only numbers past the range of a double.
            prop_assert!(text.contains(['e', 'E']), "{}", text);
        }
    }
}
