//! Commits as text, checkpoints as Parquet made here, and bytes of both changed by chance.

use std::sync::{Arc, LazyLock};

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::ChunkReader;
use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch,
    StringArray, StructArray, TimestampNanosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::action::{Add, Remove};
use crate::error::{Code, Result};

const ADD: &str = r#"{"add":{"path":"a","partitionValues":{"p":"x","q":null},"size":9,
    "modificationTime":1,"dataChange":true,"stats":"{\"numRecords\":3}","tags":{"k":"v"},
    "baseRowId":5}}"#;

fn add(path: &str) -> String {
    ADD.replace('\n', "").replace("\"path\":\"a\"", &format!("\"path\":\"{path}\""))
}

fn add_with_vector(path: &str, inline: &str) -> String {
    let vector = format!(
        "\"deletionVector\":{{\"storageType\":\"i\",\"pathOrInlineDv\":\"{inline}\",\
         \"sizeInBytes\":4,\"cardinality\":1}},\"baseRowId\""
    );
    add(path).replace("\"baseRowId\"", &vector)
}

fn remove(path: &str) -> String {
    format!("{{\"remove\":{{\"path\":\"{path}\",\"dataChange\":true,\"deletionTimestamp\":7}}}}")
}

/// What a log file holds, short, or the error as it prints.
fn show(batch: &Result<LogBatch>) -> String {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return format!("{}: {error}", error.code().as_str()),
    };
    let mut parts = Vec::new();
    for row in 0..batch.adds.as_ref().map_or(0, Adds::len) {
        let adds = batch.adds.as_ref().unwrap();
        parts.push(format!("+{}{}", adds.path().value(row), adds.dv_id(row).unwrap_or_default()));
    }
    for row in 0..batch.removes.as_ref().map_or(0, Removes::len) {
        let removes = batch.removes.as_ref().unwrap();
        let vector = removes.dv_id(row).unwrap_or_default();
        parts.push(format!("-{}{vector}", removes.path().value(row)));
    }
    parts.extend(batch.protocol.iter().map(|_| "protocol".to_string()));
    parts.extend(batch.metadata.iter().map(|it| format!("metaData {}", it.id)));
    parts.extend(batch.txns.iter().map(|it| format!("txn {}={}", it.app_id, it.version)));
    parts.extend(batch.domains.iter().map(|it| format!("domain {}", it.domain)));
    parts.extend(batch.cdc.iter().map(|it| format!("cdc {}", it.path)));
    parts.extend(batch.commit_info.iter().map(|_| "commitInfo".to_string()));
    parts.extend(batch.checkpoint_metadata.iter().map(|it| format!("checkpoint {}", it.version)));
    parts.extend(batch.sidecars.iter().map(|it| format!("sidecar {}", it.path)));
    parts.join(", ")
}

/// Decodes the text of a commit; an error is compared up to the end of `expected`.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: &str) {
    let actual = show(&LogBatch::from_json(text.as_ref(), Width::Narrow));
    if expected.contains(':') {
        assert!(actual.starts_with(expected), "{actual}");
    } else {
        assert_eq!(actual, expected);
    }
}

/// spec: FILE-14, FILE-17
#[test]
fn text_around_the_lines() {
    let (a, b) = (add("a"), add("b"));
    check(format!("{a}\n{b}\n"), "+a, +b");
    check(format!("{a}\n{b}"), "+a, +b");
    check(format!("\u{feff}{a}\r\n\r\n  \t\n{b}\r\n\n"), "+a, +b");
    check("{}", "");
    check(format!("{{}}\n{{\"add\":null}}\n{{\"Add\":{{}}}}\n{a}"), "+a");
    check("", "corrupt-log: the file holds no line");
    check("\n \n", "corrupt-log: the file holds no line");
    check("\u{feff}", "corrupt-log: the file holds no line");
    check(format!("{a}\n{}", "\0".repeat(256)), "corrupt-log: line 2: ");
    check(format!("{a}{b}"), "corrupt-log: line 1: something follows");
    check(format!("{a}x"), "corrupt-log: line 1: something follows");
    check(format!("{a}\n\u{feff}{b}"), "corrupt-log: line 2: ");
    check(format!("{a}\n{}", &b[..b.len() - 9]), "corrupt-log: line 2: ");
    check(ADD, "corrupt-log: line 1: ");
    check(b"{\"a\":1}\n{\"a\":\"\xff\xfe\"}", "corrupt-log: line 2: the line is not UTF-8");
    check(b"\xff\xfe{\0}\0", "corrupt-log: line 1: ");
    check(b"\x1f\x8b\x08\0\0\0\0", "corrupt-log: line 1: ");
}

/// spec: FILE-13, FILE-22, META-1, PROTO-1
#[test]
fn actions_of_one_commit() {
    let (a, b) = (add("a"), add("b"));
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    let metadata = r#"{"metaData":{"id":"m","format":{"provider":"parquet"},
        "schemaString":"","partitionColumns":[]}}"#
        .replace('\n', "");
    let txn = |app: &str| format!("{{\"txn\":{{\"appId\":\"{app}\",\"version\":1}}}}");
    let domain = |name: &str| {
        format!(
            "{{\"domainMetadata\":{{\"domain\":\"{name}\",\"configuration\":\"\",\
             \"removed\":false}}}}"
        )
    };
    let rows = [
        (vec![a.clone(), b.clone(), remove("c")], "+a, +b, -c"),
        (vec![add_with_vector("a", "x"), remove("a")], "+aix, -a"),
        (vec![remove("a"), add_with_vector("a", "x")], "+aix, -a"),
        (vec![protocol.to_string(), metadata.clone()], "protocol, metaData m"),
        (vec![txn("p"), txn("q")], "txn p=1, txn q=1"),
        (vec![domain("p"), domain("q")], "domain p, domain q"),
        (vec![b.clone(), a.clone(), a.clone()], "invalid-action: line 3: "),
        (vec![a.clone(), add_with_vector("a", "x")], "invalid-action: line 2: "),
        (vec![add("a b"), add("a%20b")], "invalid-action: line 2: "),
        (vec![remove("a"), remove("a")], "invalid-action: line 2: "),
        (vec![a.clone(), remove("a")], "invalid-action: line 2: "),
        (vec![remove("%61"), a.clone()], "invalid-action: line 1: "),
        (vec![protocol.to_string(), protocol.to_string()], "invalid-action: line 2: "),
        (vec![metadata.clone(), metadata], "invalid-action: line 2: "),
        (vec![txn("p"), txn("q"), txn("p")], "invalid-action: line 3: "),
        (vec![domain("p"), domain("p")], "invalid-action: line 2: "),
    ];
    for (lines, expected) in rows {
        check(lines.join("\n"), expected);
    }
}

/// spec: FILE-23
#[test]
fn widths() {
    let text = [
        r#"{"commitInfo":{"txnId":"t"}}"#.to_string(),
        add("a"),
        remove("b"),
        r#"{"cdc":{"path":"c","partitionValues":{},"size":1,"dataChange":false}}"#.to_string(),
    ]
    .join("\n");
    let head = LogBatch::from_json(text.as_bytes(), Width::Head).unwrap();
    assert_eq!(show(&Ok(head.clone())), "commitInfo");
    assert_eq!(head.actions, 4);
    assert!(head.commit_info_first);
    assert_eq!(head.commit_info.unwrap().txn_id(), Some("t"));

    let narrow = LogBatch::from_json(text.as_bytes(), Width::Narrow).unwrap();
    let adds = narrow.adds.unwrap();
    assert_eq!(adds.batch().schema(), Adds::schema(Width::Narrow));
    assert!(adds.stats().is_none() && adds.stats_parsed().is_none());
    assert_eq!(adds.get(0).unwrap().stats, None);

    let wide = LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
    let adds = wide.adds.unwrap();
    assert_eq!(adds.batch().schema(), Adds::schema(Width::Wide));
    assert_eq!(adds.stats().unwrap().value(0), r#"{"numRecords":3}"#);
    assert_eq!(adds.partition_value(0, "p"), Some(Some("x")));
    assert_eq!(adds.partition_value(0, "q"), Some(None));
    assert_eq!(adds.partition_value(0, "r"), None);
    assert_eq!(adds.partition_value(1, "p"), None);
    assert_eq!(adds.size().value(0), 9);
    assert_eq!(adds.get(0).unwrap().base_row_id, Some(5));
    assert_eq!(adds.get(1).unwrap_err().code(), Code::Internal);
    assert_eq!(wide.removes.unwrap().get(0).unwrap().deletion_timestamp, Some(7));

    // A line that is not looked into is still checked.
    let broken = add("a").replace(":9", ":09");
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        let error = LogBatch::from_json(broken.as_bytes(), width).unwrap_err();
        assert_eq!(error.code(), Code::CorruptLog);
    }
    let after = format!("{text}\n{}", r#"{"commitInfo":{}}"#);
    let twice = LogBatch::from_json(after.as_bytes(), Width::Head).unwrap();
    assert_eq!(twice.commit_info.unwrap().txn_id(), Some("t"));
    let last = format!("{}\n{}", add("a"), r#"{"commitInfo":{}}"#);
    assert!(!LogBatch::from_json(last.as_bytes(), Width::Head).unwrap().commit_info_first);
}

/// spec: FILE-24
#[test]
fn statistics_that_are_too_long_are_left_out() {
    let long = "x".repeat(crate::limits::STATS_BYTES_MAX + 1);
    let text = add("a").replace(r#"{\"numRecords\":3}"#, &long);
    let batch = LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
    assert!(batch.adds.unwrap().stats().unwrap().is_null(0));

    let mut checkpoint = Checkpoint::new(2);
    checkpoint.stats = StringArray::from(vec![Some(long.as_str()), Some("{}")]);
    let batch = LogBatch::from_parquet(checkpoint.bytes(), Width::Wide).unwrap();
    let adds = batch.adds.unwrap();
    assert!(adds.stats().unwrap().is_null(0));
    assert_eq!(adds.stats().unwrap().value(1), "{}");
}

proptest! {
    /// Rows become columns and rows again.
    ///
    /// spec: FILE-9, FILE-10
    #[test]
    fn columns_and_rows_agree(
        actions in proptest::collection::vec(crate::action::tests::files(), 0..9),
    ) {
        let Ok(batch) = LogBatch::from_actions(&actions) else {
            return Ok(());
        };
        let adds: Vec<Add> = actions.iter().filter_map(|it| match it {
            Action::Add(add) if crate::uri::rooted_name(&add.path).is_some() => {
                Some(Add { path: format!("file://{}", add.path), ..add.clone() })
            }
            Action::Add(add) => Some(add.clone()),
            _ => None,
        }).collect();
        let removes: Vec<Remove> = actions.iter().filter_map(|it| match it {
            Action::Remove(remove) => Some(remove.clone()),
            _ => None,
        }).collect();
        for (row, add) in adds.iter().enumerate() {
            let columns = batch.adds.as_ref().unwrap();
            prop_assert_eq!(&columns.get(row).unwrap(), add);
            let vector = add.deletion_vector.as_ref().map(|it| it.unique_id());
            prop_assert_eq!(columns.dv_id(row), vector);
            for (key, value) in &add.partition_values {
                prop_assert_eq!(columns.partition_value(row, key), Some(value.as_deref()));
            }
        }
        for (row, remove) in removes.iter().enumerate() {
            prop_assert_eq!(&batch.removes.as_ref().unwrap().get(row).unwrap(), remove);
        }
        let text: String = actions.iter().map(|it| it.to_json_line() + "\n").collect();
        if !actions.is_empty() {
            let decoded = LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
            prop_assert_eq!(decoded.adds.map(|it| it.batch().clone()),
                batch.adds.map(|it| it.batch().clone()));
            prop_assert_eq!(decoded.removes.map(|it| it.batch().clone()),
                batch.removes.map(|it| it.batch().clone()));
        }
    }

    /// Whatever the bytes, there is an answer, and it is the same at every width that looks.
    ///
    /// spec: FILE-15
    #[test]
    fn text_decoding_is_total(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [add_with_vector("a", "x"), remove("b"), add("c")].join("\n").into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = bytes.len();
        bytes.truncate(whole - cut.index(whole) / 4);
        let narrow = LogBatch::from_json(&bytes, Width::Narrow);
        let wide = LogBatch::from_json(&bytes, Width::Wide);
        prop_assert_eq!(show(&narrow), show(&wide));
        if narrow.is_ok() {
            prop_assert!(LogBatch::from_json(&bytes, Width::Head).is_ok());
        }
    }

    /// The same for Parquet, most of whose bytes are lengths and offsets.
    ///
    /// spec: FILE-26
    #[test]
    fn parquet_decoding_is_total(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = Checkpoint::new(3).bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for width in [Width::Head, Width::Wide] {
            drop(LogBatch::from_parquet(Bytes::from(bytes.clone()), width));
        }
    }
}

/// A checkpoint in the making: a row of protocol, one of metadata, then as many adds as asked for,
/// then a remove and a transaction. Each part can be replaced.
struct Checkpoint {
    adds: usize,
    paths: ArrayRef,
    sizes: ArrayRef,
    stats: StringArray,
    protocols: usize,
    metadatas: usize,
    removed: &'static str,
    also_removed: Option<usize>,
    extra: Vec<(&'static str, ArrayRef)>,
    without: &'static [&'static str],
    row_group_rows: usize,
    map_names: [&'static str; 3],
}

impl Checkpoint {
    fn new(adds: usize) -> Checkpoint {
        Checkpoint {
            adds,
            paths: Arc::new((0..adds).map(|it| Some(format!("f{it}"))).collect::<StringArray>()),
            sizes: Arc::new((0..adds as i64).collect::<Int64Array>()),
            stats: (0..adds).map(|it| Some(format!("{{\"numRecords\":{it}}}"))).collect(),
            protocols: 1,
            metadatas: 1,
            removed: "old",
            also_removed: None,
            extra: Vec::new(),
            without: &[],
            row_group_rows: 1 << 20,
            map_names: ["key_value", "key", "value"],
        }
    }

    fn rows(&self) -> usize {
        self.protocols + self.metadatas + self.adds + 2
    }

    /// A column of structs, filled from `start` on.
    fn column(&self, start: usize, fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
        let length = fields[0].1.len();
        let pad = |array: &ArrayRef| {
            let at = |row: usize| row.checked_sub(start).filter(|it| *it < length);
            let indices: arrow_array::UInt64Array =
                (0..self.rows()).map(|row| at(row).map(|it| it as u64)).collect();
            arrow_select::take::take(array, &indices, None).unwrap()
        };
        let columns: Vec<ArrayRef> = fields.iter().map(|it| pad(&it.1)).collect();
        let fields: Fields =
            fields.iter().map(|it| Field::new(it.0, it.1.data_type().clone(), true)).collect();
        let valid = (0..self.rows()).map(|it| it >= start && it < start + length);
        let valid = NullBuffer::from_iter(valid.enumerate().map(|(row, it)| {
            it || fields[0].name() == "path" && self.also_removed == Some(row) && length == 1
        }));
        Arc::new(StructArray::try_new(fields, columns, Some(valid)).unwrap())
    }

    fn maps(&self, rows: usize, entries: &[(&str, Option<&str>)]) -> ArrayRef {
        let [entry, key, value] = self.map_names.map(str::to_string);
        let names = MapFieldNames { entry, key, value };
        let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for _ in 0..rows {
            for (key, value) in entries {
                maps.keys().append_value(key);
                maps.values().append_option(*value);
            }
            maps.append(true).unwrap();
        }
        Arc::new(maps.finish())
    }

    fn batch(&self) -> RecordBatch {
        let (p, m, n) = (self.protocols, self.metadatas, self.adds);
        let longs = |value: i64, rows: usize| Arc::new(Int64Array::from(vec![value; rows])) as _;
        let ints = |value: i32, rows: usize| Arc::new(Int32Array::from(vec![value; rows])) as _;
        let texts = |value: &str, rows: usize| Arc::new(StringArray::from(vec![value; rows])) as _;
        let yes = |rows: usize| Arc::new(BooleanArray::from(vec![true; rows])) as ArrayRef;
        let mut add = vec![
            ("path", self.paths.clone()),
            ("dataChange", yes(n)),
            ("someday", ints(7, n)),
            ("size", self.sizes.clone()),
            ("modificationTime", longs(1, n)),
            ("stats", Arc::new(self.stats.clone()) as ArrayRef),
            ("partitionValues", self.maps(n, &[("p", Some("x")), ("q", None)])),
            ("tags", self.maps(n, &[])),
        ];
        add.retain(|it| !self.without.contains(&it.0));
        add.extend(self.extra.iter().cloned());
        let mut columns = vec![
            (
                "txn",
                self.column(
                    p + m + n + 1,
                    vec![("appId", texts("app", 1)), ("version", longs(4, 1))],
                ),
            ),
            ("add", self.column(p + m, add)),
            (
                "protocol",
                self.column(
                    0,
                    vec![("minReaderVersion", ints(1, p)), ("minWriterVersion", ints(2, p))],
                ),
            ),
            ("metaData", self.metadata()),
            ("someday", ints(7, self.rows())),
            (
                "remove",
                self.column(
                    p + m + n,
                    vec![
                        ("path", texts(self.removed, 1)),
                        ("dataChange", yes(1)),
                        ("deletionTimestamp", longs(7, 1)),
                    ],
                ),
            ),
        ];
        columns.retain(|it| !self.without.contains(&it.0));
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn metadata(&self) -> ArrayRef {
        let rows = self.metadatas;
        let texts = |value: &str| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for _ in 0..rows {
            lists.values().append_value("p");
            lists.append(true);
        }
        let provider = Arc::new(Field::new("provider", DataType::Utf8, true));
        let format = StructArray::from(vec![(provider, texts("parquet"))]);
        let fields = vec![
            ("id", texts("m")),
            ("schemaString", texts("{}")),
            ("format", Arc::new(format) as ArrayRef),
            ("partitionColumns", Arc::new(lists.finish()) as ArrayRef),
            ("configuration", self.maps(rows, &[("a", Some("b"))])),
        ];
        self.column(self.protocols, fields)
    }

    fn bytes(&self) -> Bytes {
        write(&self.batch(), self.row_group_rows)
    }
}

fn write(batch: &RecordBatch, row_group_rows: usize) -> Bytes {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(row_group_rows)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    Bytes::from(bytes)
}

/// Decodes a checkpoint; `expected` is what it holds or the code of its error.
#[track_caller]
fn check_parquet(checkpoint: &Checkpoint, expected: &str) {
    let decoded = LogBatch::from_parquet(checkpoint.bytes(), Width::Wide);
    match &decoded {
        Ok(_) => assert_eq!(show(&decoded), expected),
        Err(error) => assert_eq!(error.code().as_str(), expected, "{error}"),
    }
}

const SOUND: &str = "+f0, +f1, +f2, -old, protocol, metaData m, txn app=4";

/// spec: FILE-25
#[test]
fn a_checkpoint_is_spelled_in_many_ways() {
    check_parquet(&Checkpoint::new(3), SOUND);
    check_parquet(&Checkpoint { row_group_rows: 2, ..Checkpoint::new(3) }, SOUND);
    check_parquet(
        &Checkpoint { map_names: ["entries", "keys", "values"], ..Checkpoint::new(3) },
        SOUND,
    );
    let large: LargeStringArray = ["f0", "f1", "f2"].into_iter().map(Some).collect();
    check_parquet(&Checkpoint { paths: Arc::new(large), ..Checkpoint::new(3) }, SOUND);
    let binary = arrow_array::BinaryArray::from(vec![b"f0".as_slice(), b"f1", b"f2"]);
    check_parquet(&Checkpoint { paths: Arc::new(binary), ..Checkpoint::new(3) }, SOUND);
    let ints = Int32Array::from(vec![1, 2, 3]);
    check_parquet(&Checkpoint { sizes: Arc::new(ints), ..Checkpoint::new(3) }, SOUND);
    check_parquet(&Checkpoint { without: &["stats", "tags"], ..Checkpoint::new(3) }, SOUND);
    let no_txn = "+f0, +f1, +f2, -old, protocol, metaData m";
    check_parquet(&Checkpoint { without: &["txn"], ..Checkpoint::new(3) }, no_txn);

    let batch = LogBatch::from_parquet(Checkpoint::new(3).bytes(), Width::Narrow).unwrap();
    let adds = batch.adds.unwrap();
    assert_eq!(adds.batch().schema(), Adds::schema(Width::Narrow));
    assert_eq!(adds.partition_value(2, "p"), Some(Some("x")));
    assert_eq!(adds.partition_value(2, "q"), Some(None));
    assert_eq!(batch.actions, 7);
    let metadata = batch.metadata.unwrap();
    assert_eq!(metadata.partition_columns, ["p"]);
    assert_eq!(metadata.configuration.get("a").map(String::as_str), Some("b"));
    let head = LogBatch::from_parquet(Checkpoint::new(3).bytes(), Width::Head);
    assert_eq!(show(&head), "protocol, metaData m, txn app=4");
}

/// spec: FILE-25, FILE-26
#[test]
fn a_checkpoint_that_breaks_the_rules() {
    let texts = |it: &[Option<&str>]| Arc::new(StringArray::from(it.to_vec())) as ArrayRef;
    let longs = |it: &[Option<i64>]| Arc::new(Int64Array::from(it.to_vec())) as ArrayRef;
    let bad = |paths: ArrayRef, sizes: ArrayRef| Checkpoint { paths, sizes, ..Checkpoint::new(2) };
    let sizes = longs(&[Some(1), Some(2)]);
    let paths = texts(&[Some("a"), Some("b")]);
    let rows = [
        bad(texts(&[Some("a"), Some("a")]), sizes.clone()),
        bad(texts(&[Some("a b"), Some("a%20b")]), sizes.clone()),
        bad(texts(&[Some("a"), None]), sizes.clone()),
        bad(texts(&[Some("a"), Some("")]), sizes.clone()),
        bad(longs(&[Some(1), Some(2)]), sizes.clone()),
        bad(paths.clone(), longs(&[Some(1), None])),
        bad(paths.clone(), longs(&[Some(1), Some(-2)])),
        bad(paths.clone(), texts(&[Some("1"), Some("2")])),
        bad(paths.clone(), Arc::new(arrow_array::Float64Array::from(vec![1.0, 2.0]))),
        Checkpoint { removed: "f0", ..Checkpoint::new(2) },
        Checkpoint { also_removed: Some(2), ..Checkpoint::new(2) },
        Checkpoint { protocols: 2, ..Checkpoint::new(2) },
        Checkpoint { metadatas: 2, ..Checkpoint::new(2) },
        Checkpoint { without: &["add"], ..Checkpoint::new(2) },
        Checkpoint { without: &["path"], ..Checkpoint::new(2) },
        Checkpoint { without: &["partitionValues"], ..Checkpoint::new(2) },
        Checkpoint { without: &["dataChange"], ..Checkpoint::new(2) },
    ];
    for checkpoint in rows {
        check_parquet(&checkpoint, "corrupt-checkpoint");
    }
    let add: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let plain = RecordBatch::try_from_iter([("add", add)]).unwrap();
    let empty = Checkpoint::new(1).batch().slice(0, 0);
    for batch in [plain, empty] {
        let error = LogBatch::from_parquet(write(&batch, 9), Width::Narrow).unwrap_err();
        assert_eq!(error.code(), Code::CorruptCheckpoint);
    }
}

/// spec: FILE-12, FILE-25
#[test]
fn vectors_of_a_checkpoint() {
    let vectors = |storage: Option<&str>, cardinality: i64| {
        let fields = vec![
            ("storageType", Arc::new(StringArray::from(vec![storage; 2])) as ArrayRef),
            ("pathOrInlineDv", Arc::new(StringArray::from(vec!["x"; 2])) as ArrayRef),
            ("sizeInBytes", Arc::new(Int32Array::from(vec![4; 2])) as ArrayRef),
            ("cardinality", Arc::new(Int64Array::from(vec![cardinality; 2])) as ArrayRef),
            ("maxRowIndex", Arc::new(Int64Array::from(vec![9; 2])) as ArrayRef),
        ];
        let types: Fields =
            fields.iter().map(|it| Field::new(it.0, it.1.data_type().clone(), true)).collect();
        let columns = fields.into_iter().map(|it| it.1).collect();
        let valid = Some(NullBuffer::from(vec![false, true]));
        let vectors = StructArray::try_new(types, columns, valid).unwrap();
        let extra = vec![("deletionVector", Arc::new(vectors) as ArrayRef)];
        Checkpoint { extra, ..Checkpoint::new(2) }
    };
    let all = "+f0, +f1ix, -old, protocol, metaData m, txn app=4";
    check_parquet(&vectors(Some("i"), 1), all);
    check_parquet(&vectors(Some("x"), 1), "corrupt-checkpoint");
    check_parquet(&vectors(None, 1), "corrupt-checkpoint");
    check_parquet(&vectors(Some("i"), -1), "corrupt-checkpoint");
}

/// spec: FILE-25
#[test]
fn struct_statistics_keep_the_types_of_the_file() {
    let times = TimestampNanosecondArray::from(vec![1_000, 2_000]);
    let counts = Int64Array::from(vec![10, 20]);
    let fields = Fields::from(vec![
        Field::new("numRecords", DataType::Int64, true),
        Field::new("t", times.data_type().clone(), true),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(counts), Arc::new(times)];
    let stats = StructArray::try_new(fields, columns, None).unwrap();
    let extra = vec![("stats_parsed", Arc::new(stats) as ArrayRef)];
    let checkpoint = Checkpoint { extra, ..Checkpoint::new(2) };
    let wide = LogBatch::from_parquet(checkpoint.bytes(), Width::Wide).unwrap();
    let adds = wide.adds.unwrap();
    let parsed = adds.stats_parsed().unwrap();
    let counts = parsed.column_by_name("numRecords").unwrap().as_primitive::<Int64Type>();
    assert_eq!(counts.values(), &[10, 20]);
    let narrow = LogBatch::from_parquet(checkpoint.bytes(), Width::Narrow).unwrap();
    assert!(narrow.adds.unwrap().stats_parsed().is_none());
}

/// spec: FILE-26
#[test]
fn footers_that_lie() {
    let sound = Checkpoint::new(2).bytes();
    let size = sound.len() as u64;
    assert!(matches!(parquet_footer(&[], size).unwrap(), Footer::Need(8)));
    let Footer::Need(need) = parquet_footer(&sound[sound.len() - 8..], size).unwrap() else {
        panic!("eight bytes are not a footer");
    };
    let tail = &sound[sound.len() - usize::try_from(need).unwrap()..];
    assert!(matches!(parquet_footer(tail, size).unwrap(), Footer::Ready(_)));

    // A list of 2^31-1 row groups in 21 bytes.
    let bomb = b"PAR1\x15\x02\x19\x0c\x16\x02\x19\xfc\xff\xff\xff\xff\x07\x0c\0\0\0PAR1";
    // The same that say they are a number, below a schema of one node.
    let number = b"PAR1\x15\x02\x19\x1c\x48\x01a\0\
        \x16\x02\x16\xfc\xff\xff\xff\xff\x07\0\x12\0\0\0PAR1";
    // A node with 2^31-1 children.
    let children = b"PAR1\x15\x02\x19\x1c\x48\x01a\
        \x15\xfe\xff\xff\xff\x0f\0\x16\0\x19\x0c\0\x13\0\0\0PAR1";
    // Structures in structures.
    let mut deep = b"PAR1\xfc".to_vec();
    deep.extend([0x1c; 5_000]);
    deep.extend(5_001_u32.to_le_bytes());
    deep.extend(b"PAR1");
    let cut = sound.slice(..sound.len() / 2);
    let headless = sound.slice(sound.len() - 8..);
    let bad: [&[u8]; 9] =
        [b"", b"PAR1", b"PAR1\0\0\0\0PAR1", bomb, number, children, &deep, &cut, &headless];
    for bytes in bad {
        let error = LogBatch::from_parquet(Bytes::copy_from_slice(bytes), Width::Narrow);
        assert_eq!(error.unwrap_err().code(), Code::CorruptCheckpoint);
    }
    // Nodes below nodes: the library goes down by recursion.
    let mut chain = b"PAR1\x29\xfc\xa0\x8d\x06".to_vec();
    chain.extend(b"\x55\x02\0".repeat(100_000));
    chain.extend(300_006_u32.to_le_bytes());
    chain.extend(b"PAR1");
    chain.insert(chain.len() - 8, 0);
    let error = LogBatch::from_parquet(chain.into(), Width::Narrow).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
    let huge = b"\xff\xff\xff\x7fPAR1";
    assert_eq!(parquet_footer(huge, u64::MAX).unwrap_err().code(), Code::LimitExceeded);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The library reads a footer as it was walked, however broken it is: up to where that ended.
    #[test]
    fn footers_are_read_as_they_were_walked(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SOUND: LazyLock<Bytes> = LazyLock::new(|| Checkpoint::new(1).bytes());
        let (rest, end) = SOUND.split_last_chunk::<8>().unwrap();
        let len = u32::from_le_bytes(*end.first_chunk().unwrap()) as usize;
        let mut bytes = rest[rest.len() - len..].to_vec();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Ok(walked) = crate::thrift::footer(&bytes) {
            let decodes = |it: &[u8]| {
                let decode = || Ok(ParquetMetaDataReader::decode_metadata(it).is_ok());
                parquet::guarded(decode).unwrap_or(false)
            };
            prop_assert_eq!(decodes(&bytes), decodes(&bytes[..walked]));
        }
    }
}

/// Only the bytes that a width names are needed for it.
///
/// spec: FILE-23
#[test]
fn a_checkpoint_in_ranges() {
    let checkpoint = Checkpoint { row_group_rows: 4, ..Checkpoint::new(9) };
    let bytes = checkpoint.bytes();
    let size = bytes.len() as u64;
    let Footer::Ready(metadata) = parquet_footer(&bytes, size).unwrap() else {
        panic!("the whole file is enough");
    };
    let mut fetched = Vec::new();
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        let mut file = SparseFile::new(size);
        let ranges = parquet_ranges(&metadata, width);
        assert!(ranges.windows(2).all(|it| it[0].end < it[1].start));
        for range in &ranges {
            let at = |it: u64| usize::try_from(it).unwrap();
            let part = bytes.slice(at(range.start)..at(range.end));
            file.insert(range.start, part);
        }
        fetched.push(ranges.iter().map(|it| it.end - it.start).sum::<u64>());
        let sparse = decode_parquet(file, &metadata, width);
        assert_eq!(show(&sparse), show(&LogBatch::from_parquet(bytes.clone(), width)));
    }
    assert!(fetched.is_sorted_by(|a, b| a < b), "{fetched:?}");
    let error = decode_parquet(SparseFile::new(size), &metadata, Width::Narrow).unwrap_err();
    assert_eq!(error.code(), Code::CorruptCheckpoint);
}

/// Paths and counts are had from their columns alone.
#[test]
fn names_of_a_checkpoint() {
    let checkpoint = Checkpoint { row_group_rows: 4, ..Checkpoint::new(9) };
    let bytes = checkpoint.bytes();
    let whole = LogBatch::from_parquet(bytes.clone(), Width::Narrow).unwrap();
    let footer = |bytes: &Bytes| match parquet_footer(bytes, bytes.len() as u64).unwrap() {
        Footer::Ready(metadata) => metadata,
        Footer::Need(_) => panic!("the whole file is enough"),
    };
    let metadata = footer(&bytes);
    let (size, ranges) = (bytes.len() as u64, Names::ranges(&metadata));
    let mut file = SparseFile::new(size);
    for range in &ranges {
        let at = |it: u64| usize::try_from(it).unwrap();
        file.insert(range.start, bytes.slice(at(range.start)..at(range.end)));
    }
    let len = |it: &[Range<u64>]| it.iter().map(|it| it.end - it.start).sum::<u64>();
    assert!(len(&ranges) < len(&parquet_ranges(&metadata, Width::Narrow)));
    let names = names_in(file, &metadata).unwrap();
    assert_eq!(names.added, Names::of(&whole).added);
    assert_eq!(names.removed, Names::of(&whole).removed);
    assert_eq!(names.added.unwrap().0.len(), 9);

    let lacking = names_in(SparseFile::new(size), &metadata).unwrap_err();
    assert_eq!(lacking.code(), Code::CorruptCheckpoint);
    let check = |checkpoint: Checkpoint| {
        let bytes = checkpoint.bytes();
        let metadata = footer(&bytes);
        names_in(bytes, &metadata).map_err(|it| it.code())
    };
    let paths = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let sizes = Arc::new(Int64Array::from(vec![1, -1, 3]));
    let broken = [
        Checkpoint { paths, ..Checkpoint::new(3) },
        Checkpoint { sizes, ..Checkpoint::new(3) },
        Checkpoint { without: &["path"], ..Checkpoint::new(3) },
        Checkpoint { without: &["path", "size"], ..Checkpoint::new(3) },
        Checkpoint { without: &["add"], ..Checkpoint::new(3) },
        Checkpoint { also_removed: Some(3), ..Checkpoint::new(3) },
    ];
    for it in broken {
        assert_eq!(check(it).unwrap_err(), Code::CorruptCheckpoint);
    }
    let rooted = Arc::new(StringArray::from(vec!["/a", "b", "c"]));
    let rooted = Checkpoint { paths: rooted, ..Checkpoint::new(3) };
    let whole = LogBatch::from_parquet(rooted.bytes(), Width::Narrow).unwrap();
    assert_eq!(check(rooted).unwrap().added, Names::of(&whole).added);
}

/// All of them, of few rows.
fn names_in<R: ChunkReader + 'static>(reader: R, metadata: &Arc<ParquetMetaData>) -> Result<Names> {
    let mut found = Names::default();
    Names::decode(reader, metadata, |it| found = it.clone())?;
    Ok(found)
}

/// Where pages hold fewer rows than the footer says, no slice is the last one.
#[test]
fn rows_that_are_not_there() {
    let bytes = Checkpoint::new(9).bytes();
    let Footer::Ready(sound) = parquet_footer(&bytes, bytes.len() as u64).unwrap() else {
        panic!("the whole file is enough");
    };
    let group = sound.row_group(0).clone().into_builder();
    let more = group.set_num_rows(sound.row_group(0).num_rows() + 1).build().unwrap();
    let lie = sound.as_ref().clone().into_builder().set_row_groups(vec![more]).build();
    let lie = Arc::new(lie);
    for (metadata, expected) in [(sound, None), (lie, Some(Code::CorruptCheckpoint))] {
        let names = names_in(bytes.clone(), &metadata).map(drop);
        let mut slices = Ok(());
        for unit in FileUnit::of(&metadata, Width::Wide) {
            slices =
                slices.and_then(|()| unit.decode_slices(bytes.clone(), &metadata, 5, |_| Ok(())));
        }
        assert_eq!([names, slices].map(|it| it.map_err(|it| it.code()).err()), [expected; 2]);
    }
}

/// spec: FILE-25
#[test]
fn rows_between_the_adds() {
    // Adds on rows 0, 2 and 3; a transaction on row 1.
    let valid = NullBuffer::from(vec![true, false, true, true]);
    let paths = StringArray::from(vec![Some("a"), None, Some("b"), Some("c")]);
    let full = Checkpoint::new(4);
    let maps = full.maps(4, &[("p", Some("x"))]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("path", Arc::new(paths)),
        ("partitionValues", maps),
        ("size", Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3)]))),
        ("modificationTime", Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3)]))),
        (
            "dataChange",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(true)])),
        ),
    ];
    let fields: Fields =
        columns.iter().map(|it| Field::new(it.0, it.1.data_type().clone(), true)).collect();
    let adds =
        StructArray::try_new(fields, columns.into_iter().map(|it| it.1).collect(), Some(valid))
            .unwrap();
    let schema = Schema::new(vec![Field::new("add", adds.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(adds)]).unwrap();
    let decoded = LogBatch::from_parquet(write(&batch, 3), Width::Narrow);
    assert_eq!(show(&decoded), "+a, +b, +c");
    let adds = decoded.unwrap().adds.unwrap();
    assert_eq!(adds.get(1).unwrap().size, 2);
    assert_eq!(adds.partition_value(2, "p"), Some(Some("x")));
}

/// spec: CMP-5, CMP-6, CMP-7, CKPT-18
#[test]
fn compacted_files_and_checkpoints_in_lines() {
    let vector = |it: u32| {
        let path = r#""storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}K{vb[*k^""#;
        let rest = format!(r#""offset":{it},"sizeInBytes":40,"cardinality":2"#);
        format!(r#","deletionVector":{{{path},{rest}}}"#)
    };
    let remove = |path: &str, vector: &str| {
        format!(r#"{{"remove":{{"path":"{path}","dataChange":true{vector}}}}}"#)
    };
    let add = |path: &str, vector: &str| {
        let rest = r#""partitionValues":{},"size":1,"modificationTime":1,"dataChange":true"#;
        format!(r#"{{"add":{{"path":"{path}",{rest}{vector}}}}}"#)
    };
    let txn = r#"{"txn":{"appId":"a","version":1}}"#.to_string();
    let info = r#"{"commitInfo":{"txnId":"x"}}"#.to_string();
    let marker = r#"{"checkpointMetadata":{"version":2}}"#.to_string();
    // As a commit, as a compacted file, as a checkpoint.
    let rows = [
        (vec![remove("a", ""), remove("a", &vector(1))], "invalid-action", "ok", "ok"),
        (vec![add("a", &vector(1)), remove("a", "")], "ok", "ok", "ok"),
        (vec![add("a", ""), add("a", &vector(1))], "invalid-action", "invalid-action", "corrupt"),
        (vec![add("a", ""), remove("a", "")], "invalid-action", "invalid-action", "corrupt"),
        (vec![remove("a", ""), remove("a", "")], "invalid-action", "invalid-action", "corrupt"),
        (vec![txn.clone(), txn], "invalid-action", "invalid-action", "corrupt"),
        (vec![info.clone()], "ok", "ok", "ok"),
        (vec![marker], "ok", "invalid-action", "ok"),
        (vec!["{}}".to_string()], "corrupt-log", "corrupt-log", "corrupt"),
    ];
    for (lines, commit, compacted, checkpoint) in rows {
        let text = lines.join("\n");
        let code = |it: Result<LogBatch>| it.map_or_else(|it| it.code().as_str(), |_| "ok");
        let width = Width::Narrow;
        assert_eq!(code(LogBatch::from_json(text.as_bytes(), width)), commit, "{text}");
        assert_eq!(code(LogBatch::from_compacted(text.as_bytes(), width)), compacted, "{text}");
        let seen = code(LogBatch::from_json_checkpoint(text.as_bytes(), width));
        assert_eq!(seen, checkpoint.replace("corrupt", "corrupt-checkpoint"), "{text}");
    }
    let compacted = LogBatch::from_compacted(info.as_bytes(), Width::Head).unwrap();
    assert!(compacted.commit_info.is_none());
}

/// Paths that one engine writes with a slash before them are names below the root, and a remove by
/// anyone finds them.
///
/// spec: FILE-27
#[test]
fn rooted_names_of_one_engine() {
    let add = |path: &str| {
        format!(
            r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true}}}}"#
        )
    };
    let paths = |engine: &str| {
        let info = format!(r#"{{"commitInfo":{{"engineInfo":"{engine}"}}}}"#);
        let text = [add("/x.parquet"), add("/data/y.parquet"), add("z.parquet"), info].join("\n");
        let batch = LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
        let adds = batch.adds.unwrap();
        [0, 1, 2].map(|row| adds.path().value(row).to_string())
    };
    let key = |path: &str| crate::uri::locate(path).unwrap().into_owned();
    let theirs = paths("DuckDB v1");
    assert_eq!(theirs, ["/x.parquet", "/data/y.parquet", "z.parquet"], "as the log spells them");
    assert_eq!(theirs.map(|it| key(&it)), ["x.parquet", "/data/y.parquet", "z.parquet"]);
    let info = r#"{"commitInfo":{"engineInfo":"DuckDB"}}"#;
    let text = format!("{info}\n{}", add("/x.parquet"));
    let batch = LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
    assert_eq!(crate::compact::compact(vec![batch]).unwrap(), "", "it would say something else");
    let others = paths("Other");
    assert_eq!(others, ["file:///x.parquet", "/data/y.parquet", "z.parquet"]);
    assert_eq!(others.map(|it| key(&it)), ["/x.parquet", "/data/y.parquet", "z.parquet"]);
    assert_eq!(crate::uri::canonical("/x.parquet"), crate::uri::canonical("x.parquet"));
    assert_ne!(crate::uri::canonical("/d/x.parquet"), crate::uri::canonical("d/x.parquet"));
}
