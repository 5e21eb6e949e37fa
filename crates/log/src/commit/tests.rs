//! Drafts with one thing wrong each, and what rendering makes of sound ones.

use std::collections::BTreeMap;

use super::*;
use crate::action::DeletionVector;
use crate::files::FileList;
use crate::state::TableState;

const ID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn metadata(configuration: &[(&str, &str)]) -> Metadata {
    let schema = Schema::parse_ddl("p int, x long").unwrap();
    Metadata {
        id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".into(),
        name: None,
        description: None,
        format_provider: "parquet".into(),
        format_options: BTreeMap::new(),
        schema_string: schema.to_json(),
        partition_columns: vec!["p".into()],
        configuration: configuration.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        created_time: Some(0),
    }
}

fn head(configuration: &[(&str, &str)]) -> Head {
    let features: Vec<TableFeature> = configuration
        .iter()
        .filter(|(key, _)| *key == "delta.enableInCommitTimestamps")
        .map(|_| TableFeature::InCommitTimestamp)
        .collect();
    let protocol = Protocol::legacy().with_features(&features);
    Head::new(Version::from(4), protocol, metadata(configuration)).unwrap()
}

/// What a sound append looks like; rows change one thing in it.
fn draft() -> Draft {
    let intent = Intent { state: Some(state(Width::Wide)), ..Intent::default() };
    Draft {
        txn_id: ID.into(),
        operation: "WRITE".into(),
        adds: vec![add("p=1/a.parquet")],
        intent,
        ..Draft::default()
    }
}

/// Live are `b` and `p=1/b.parquet` of one row each, `silent`, which does not say how many rows it
/// has, and `v` of ten, two of them deleted.
fn state(width: Width) -> Arc<TableState> {
    let silent = Add { stats: None, ..add("silent") };
    let files = [add("b"), add("p=1/b.parquet"), silent, with_vector("v", 1, 10, 2)];
    let actions: Vec<Action> = files.into_iter().map(Action::Add).collect();
    let adds = LogBatch::from_actions(&actions).unwrap().adds;
    let files = FileList::empty(width).advance(adds.as_ref(), None).unwrap();
    Arc::new(TableState { head: head(&[]), files })
}

/// The `number`-th vector of a file.
fn vector(number: i32, cardinality: i64) -> DeletionVector {
    DeletionVector {
        storage_type: "u".into(),
        path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
        offset: Some(number),
        size_in_bytes: 34,
        cardinality,
    }
}

fn with_vector(path: &str, number: i32, rows: u64, deleted: i64) -> Add {
    Add {
        deletion_vector: Some(vector(number, deleted)),
        stats: Some(format!(r#"{{"numRecords":{rows}}}"#)),
        ..add(path)
    }
}

fn add(path: &str) -> Add {
    Add {
        path: path.into(),
        partition_values: [("p".to_string(), Some("1".to_string()))].into(),
        size: 10,
        modification_time: 5,
        data_change: true,
        stats: Some(r#"{"numRecords":1}"#.into()),
        ..Add::default()
    }
}

fn remove(path: &str) -> Remove {
    Remove { path: path.into(), data_change: true, ..Remove::default() }
}

fn removing(draft: &mut Draft, path: &str) {
    draft.removes.push(remove(path));
    draft.intent.removes.insert((uri::canonical(path).into_owned(), None));
}

/// `-` if the draft is sound, else the code and a part of the message.
#[track_caller]
fn check(base: Option<&Head>, expected: &str, change: impl FnOnce(&mut Draft)) {
    let mut draft = draft();
    change(&mut draft);
    draft.note_adds();
    let base =
        base.map(|it| (it, support::writable(&it.protocol, &it.metadata, &it.schema).unwrap()));
    let verdict = match super::check(&draft, base) {
        Ok(()) => "-".to_string(),
        Err(it) => format!("{}: {it}", it.code().as_str()),
    };
    let (code, part) = expected.split_once(": ").unwrap_or((expected, ""));
    assert!(verdict.starts_with(code) && verdict.contains(part), "{verdict} is not {expected}");
}

/// spec: TXN-5, TXN-6, TXN-7, TXN-8, TXN-9, TXN-10, TXN-12, TXN-13
#[test]
fn rules_of_a_draft() {
    let plain = head(&[]);
    let base = Some(&plain);
    check(base, "-", |_| {});
    check(base, "-", |it| removing(it, "p=1/b.parquet"));
    check(base, "internal: transaction id", |it| it.txn_id = "1".into());
    check(base, "internal: operation", |it| it.operation.clear());

    check(None, "invalid-argument: protocol and metadata", |_| {});
    check(None, "-", |it| {
        it.protocol = Some(Protocol::legacy());
        it.metadata = Some(metadata(&[]));
        (it.intent.protocol, it.intent.metadata) = (true, true);
    });

    let append_only = head(&[("delta.appendOnly", "true")]);
    check(Some(&append_only), "-", |_| {});
    check(Some(&append_only), "invalid-argument: delta.appendOnly", |it| removing(it, "b"));
    check(Some(&append_only), "-", |it| {
        removing(it, "b");
        it.adds[0].data_change = false;
        it.removes[0].data_change = false;
        it.intent.rearranges_only = true;
    });

    check(base, "internal: `p` has no value", |it| it.adds[0].partition_values.clear());
    check(base, "internal: `q` is no partition column", |it| {
        it.adds[0].partition_values.insert("q".into(), None);
    });
    check(base, "invalid-partition-value", |it| {
        it.adds[0].partition_values.insert("p".into(), Some("one".into()));
    });
    check(base, "-", |it| drop(it.adds[0].partition_values.insert("p".into(), None)));
    check(base, "internal: negative", |it| it.adds[0].size = -1);
    check(base, "path-escape", |it| it.adds[0].path = "../a.parquet".into());

    check(base, "internal: added twice", |it| it.adds.push(add("p=1/%61.parquet")));
    check(base, "internal: removed twice", |it| {
        removing(it, "b");
        removing(it, "%62");
    });
    check(base, "internal: both added and removed", |it| removing(it, "p=1/a.parquet"));
    check(base, "internal: dataChange", |it| {
        removing(it, "b");
        it.removes[0].data_change = false;
    });
    check(base, "internal: vector without the feature", |it| {
        it.adds[0].deletion_vector = Some(vector(1, 1));
    });
}

/// spec: CDF-23
#[test]
fn rules_of_change_files() {
    let fed = head(&[("delta.enableChangeDataFeed", "true")]);
    let base = Some(&fed);
    let file = |path: &str| AddCdc {
        path: path.into(),
        partition_values: [("p".to_string(), Some("1".to_string()))].into(),
        size: 10,
        data_change: false,
        tags: None,
    };
    let good = file("_change_data/p=1/a.parquet");
    let mut draft = draft();
    draft.cdc = vec![good.clone()];
    draft.note_adds();
    let rendered = render(&draft, base, Version::from(5), NOW).unwrap();
    assert_eq!(rendered.batch.cdc, draft.cdc);

    check(base, "-", |it| it.cdc = vec![good.clone()]);
    check(Some(&head(&[])), "internal: no change feed", |it| it.cdc = vec![good.clone()]);
    check(base, "internal: outside of `_change_data/`", |it| it.cdc = vec![file("p=1/a.parquet")]);
    let bad = AddCdc { data_change: true, ..good.clone() };
    check(base, "internal: no data change", |it| it.cdc = vec![bad]);
    let bad = AddCdc { size: -1, ..good.clone() };
    check(base, "internal: negative", |it| it.cdc = vec![bad]);
    let bad = AddCdc { partition_values: BTreeMap::new(), ..good };
    check(base, "internal: `p` has no value", |it| it.cdc = vec![bad]);
}

/// A draft that would make a version which reads like a sound one and is not.
///
/// spec: TXN-40, TXN-41
#[test]
fn files_that_are_not_live() {
    let plain = with_vectors();
    let base = Some(&plain);
    check(base, "internal: `gone` is removed, and is not live in version 4", |it| {
        removing(it, "gone");
    });
    check(base, "internal: `v` is removed, and is not live", |it| removing(it, "v"));
    check(base, "internal: files that were not read", |it| {
        removing(it, "b");
        it.intent.state = None;
    });
    check(base, "-", |it| removing_vector(it, "v", vector(1, 2)));
    check(base, "internal: `v` is removed, and is not live", |it| {
        removing_vector(it, "v", vector(2, 2));
    });
    check(base, "-", |it| it.intent.state = None);
    check(base, "internal: `b` would be live with two", |it| {
        it.adds.push(with_vector("b", 1, 1, 1));
    });
    check(base, "internal: `v` would be live with two", |it| {
        it.adds.push(with_vector("v", 2, 10, 3));
    });
    check(base, "internal: `%76` would be live with two", |it| it.adds.push(add("%76")));
    check(base, "-", |it| {
        removing(it, "b");
        it.adds.push(with_vector("b", 1, 1, 1));
    });
    // Said once more, with other statistics.
    check(base, "-", |it| it.adds.push(with_vector("v", 1, 10, 2)));
}

/// spec: TXN-42
#[test]
fn rearranging_conserves_rows() {
    let plain = with_vectors();
    let rearranged = |expected: &str, change: &dyn Fn(&mut Draft)| {
        check(Some(&plain), expected, |it| {
            change(it);
            it.intent.rearranges_only = true;
            it.adds.iter_mut().for_each(|it| it.data_change = false);
            it.removes.iter_mut().for_each(|it| it.data_change = false);
        });
    };
    let rows = |it: &mut Draft, rows: u64| {
        it.adds[0].stats = Some(format!(r#"{{"numRecords":{rows}}}"#));
    };
    rearranged("-", &|it| removing(it, "b"));
    rearranged("internal: 1 rows become 2", &|it| {
        removing(it, "b");
        rows(it, 2);
    });
    rearranged("internal: 0 rows become 1", &|_| {});
    rearranged("-", &|it| {
        removing(it, "b");
        removing_vector(it, "v", vector(1, 2));
        rows(it, 9);
    });
    rearranged("internal: 9 rows become 11", &|it| {
        removing(it, "b");
        removing_vector(it, "v", vector(1, 2));
        rows(it, 11);
    });
    rearranged("internal: `silent` is rearranged, and how many", &|it| removing(it, "silent"));
    rearranged("internal: `p=1/a.parquet` is rearranged, and how many", &|it| {
        removing(it, "b");
        it.adds[0].stats = None;
    });
    rearranged("internal: `b` is rearranged, and how many", &|it| {
        removing(it, "b");
        it.intent.state = Some(state(Width::Narrow));
    });
    rearranged("-", &|it| it.adds = vec![with_vector("v", 1, 10, 2)]);
    rearranged("internal: 8 rows become 9", &|it| it.adds = vec![with_vector("v", 1, 11, 2)]);
}

/// spec: TXN-43
#[test]
fn vectors_forget_nothing() {
    let plain = with_vectors();
    let base = Some(&plain);
    let grown = |it: &mut Draft, rows: u64, deleted: i64| {
        removing_vector(it, "v", vector(1, 2));
        it.adds.push(with_vector("v", 2, rows, deleted));
    };
    let told = |it: &mut Draft, before: &[u64], after: &[u64]| {
        let set = |it: &[u64]| Arc::new(it.iter().copied().collect::<RowSet>());
        let before = (!before.is_empty()).then(|| set(before));
        it.vectors.insert("v".into(), VectorChange { before, after: set(after) });
    };
    check(base, "-", |it| grown(it, 10, 3));
    check(base, "internal: 1 rows are deleted, before it were 2", |it| grown(it, 10, 1));
    check(base, "internal: deletes 11 of 10 rows", |it| grown(it, 10, 11));
    check(base, "internal: no number of rows", |it| {
        grown(it, 10, 3);
        it.adds[1].stats = None;
    });
    let check = |expected: &str, before: &[u64], after: &[u64]| {
        check(base, expected, |it| {
            grown(it, 10, 3);
            told(it, before, after);
        });
    };
    check("-", &[1, 4], &[1, 4, 9]);
    check("internal: row 4 was deleted before", &[1, 4], &[1, 5, 9]);
    check("internal: deletes row 10 of 10", &[1, 4], &[1, 4, 10]);
    check("internal: has 2 rows, not 3", &[1, 4], &[1, 4]);
    check("internal: has 1 rows, not 2", &[1], &[1, 4, 9]);
    check("internal: before it is not told", &[], &[1, 4, 9]);
    super::tests::check(base, "internal: `v` is not added with a vector", |it| {
        told(it, &[1], &[1, 2]);
    });
}

fn with_vectors() -> Head {
    let protocol = Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(vec![TableFeature::DeletionVectors]),
        writer_features: Some(vec![TableFeature::DeletionVectors]),
    };
    Head::new(Version::from(4), protocol, metadata(&[])).unwrap()
}

fn removing_vector(draft: &mut Draft, path: &str, vector: DeletionVector) {
    let key = (path.to_string(), Some(vector.unique_id()));
    draft.intent.removes.insert(key);
    draft.removes.push(Remove { deletion_vector: Some(vector), ..remove(path) });
}

/// spec: TXN-10, TXN-11, TXN-12, TXN-17, TXN-44
#[test]
fn rules_of_a_draft_beside_files() {
    let plain = head(&[]);
    let base = Some(&plain);
    let txn = || SetTransaction { app_id: "s1".into(), version: 1, last_updated: None };
    check(base, "-", |it| {
        it.txns.push(txn());
        it.intent.apps.insert("s1".into());
    });
    check(base, "internal: set twice", |it| {
        it.txns = vec![txn(), txn()];
        it.intent.apps.insert("s1".into());
    });
    check(base, "internal: hides the applications", |it| it.txns.push(txn()));
    check(base, "internal: hides the files", |it| it.removes.push(remove("b")));
    let hidden = Draft { adds: vec![add("p=1/a.parquet")], ..draft() };
    let permit = support::writable(&plain.protocol, &plain.metadata, &plain.schema).unwrap();
    let refused = super::check(&hidden, Some((&plain, permit))).unwrap_err();
    assert!(refused.to_string().contains("hides the files it adds"), "{refused}");
    check(base, "internal: hides its new metadata", |it| it.metadata = Some(metadata(&[])));
    check(base, "internal: hides that it changes rows", |it| it.intent.rearranges_only = true);
    check(base, "internal: needs the feature `domainMetadata`", |it| {
        let (domain, configuration) = ("x".to_string(), String::new());
        it.domains.push(DomainMetadata { domain, configuration, removed: false });
        it.intent.domains.insert("x".into());
    });
    check(base, "internal: `delta.rowTracking` is not for drafts", |it| {
        let (domain, configuration) = ("delta.rowTracking".to_string(), String::new());
        it.domains.push(DomainMetadata { domain, configuration, removed: false });
        it.intent.domains.insert("delta.rowTracking".into());
    });

    let altered = |configuration: &[(&str, &str)]| {
        let metadata = metadata(configuration);
        move |it: &mut Draft| {
            it.metadata = Some(metadata);
            it.intent.metadata = true;
        }
    };
    check(base, "-", altered(&[("delta.appendOnly", "true"), ("mine", "1")]));
    check(base, "invalid-metadata", altered(&[("delta.checkpointInterval", "-1")]));
    check(base, "unsupported-protocol: created", |it| {
        altered(&[("delta.enableInCommitTimestamps", "true")])(it);
        let feature = [TableFeature::InCommitTimestamp];
        it.protocol = Some(Protocol::legacy().with_features(&feature));
        it.intent.protocol = true;
    });
    check(base, "unsupported-protocol", |it| {
        let feature = [TableFeature::Unknown("tomorrow".into())];
        it.protocol = Some(Protocol::legacy().with_features(&feature));
        it.intent.protocol = true;
    });
}

fn rendered(draft: &Draft, base: &Head) -> (Rendered, Map<String, Json>) {
    let rendered = render(draft, Some(base), Version::from(5), NOW).unwrap();
    let again = render(draft, Some(base), Version::from(5), NOW).unwrap();
    assert_eq!(rendered.bytes, again.bytes);
    let first = rendered.bytes.split(|it| *it == b'\n').next().unwrap();
    let line: Json = serde_json::from_slice(first).unwrap();
    (rendered, line["commitInfo"].as_object().unwrap().clone())
}

/// spec: TXN-1, TXN-2, TXN-3, TXN-4, TXN-18, TXN-19
#[test]
fn renders() {
    let mut base = head(&[]);
    let mut draft = draft();
    removing(&mut draft, "p=1/b.parquet");
    draft.parameters.insert("mode".into(), json!("Overwrite"));
    draft.metrics.insert("numFiles".into(), json!("1"));
    draft.user_metadata = Some("hand\nmade".into());
    draft.txns.push(SetTransaction { app_id: "s1".into(), version: 1, last_updated: Some(2) });
    draft.metadata = Some(metadata(&[("mine", "1")]));
    draft.protocol = Some(Protocol::legacy());

    let (it, info) = rendered(&draft, &base);
    let text = std::str::from_utf8(&it.bytes).unwrap();
    let kinds: Vec<String> = text
        .lines()
        .map(|it| {
            serde_json::from_str::<Map<String, Json>>(it).unwrap().keys().next().unwrap().clone()
        })
        .collect();
    assert_eq!(kinds, ["commitInfo", "protocol", "metaData", "txn", "remove", "add"]);
    let body = text.split_once('\n').unwrap().1;
    let expected = json!({
        "timestamp": NOW.as_millis(),
        "operation": "WRITE",
        "operationParameters": {"mode": "Overwrite"},
        "readVersion": 4,
        "isolationLevel": "Serializable",
        "isBlindAppend": false,
        "operationMetrics": {"numFiles": "1"},
        "engineInfo": ENGINE_INFO,
        "userMetadata": "hand\nmade",
        "txnId": ID,
        "prevTxnId": null,
        "bodyBytes": body.len(),
        "bodyCrc32": crc32(body.as_bytes()),
    });
    assert_eq!(Json::Object(info), expected);
    assert_eq!(it.timestamp, NOW);

    let batch = &it.batch;
    assert!(batch.commit_info_first);
    assert_eq!(batch.actions, 6);
    assert_eq!(batch.metadata, draft.metadata);
    assert_eq!(batch.txns, draft.txns);
    assert_eq!(batch.adds.as_ref().unwrap().get(0).unwrap(), draft.adds[0]);
    let removed = batch.removes.as_ref().unwrap().get(0).unwrap();
    assert_eq!(removed.deletion_timestamp, Some(NOW.as_millis()));
    for (came, stands) in [(5, NOW.as_millis()), (i64::MAX, i64::MAX)] {
        draft.removes[0].deletion_timestamp = Some(came);
        let (it, _) = rendered(&draft, &base);
        let removed = it.batch.removes.as_ref().unwrap().get(0).unwrap();
        assert_eq!(removed.deletion_timestamp, Some(stands));
    }

    draft.removes.clear();
    base.commit_info =
        Some(CommitInfo { fields: Map::from_iter([("txnId".into(), json!("before"))]) });
    let (_, info) = rendered(&draft, &base);
    assert_eq!((&info["prevTxnId"], &info["isBlindAppend"]), (&json!("before"), &json!(true)));
    draft.intent.reads = Reads::Everything;
    assert_eq!(rendered(&draft, &base).1["isBlindAppend"], json!(false));

    assert!(render(&draft, Some(&base), Version::from(6), NOW).is_err());
    let first = render(&draft, None, Version::ZERO, NOW).unwrap();
    assert!(first.batch.commit_info.unwrap().integer("readVersion").is_none());
}

/// spec: TXN-14
#[test]
fn in_commit_timestamps_increase() {
    let mut base = head(&[("delta.enableInCommitTimestamps", "true")]);
    let now = NOW.as_millis();
    for (before, expected) in [(now - 10, now), (now, now + 1), (now + 50, now + 51)] {
        let fields = Map::from_iter([("inCommitTimestamp".into(), json!(before))]);
        base.commit_info = Some(CommitInfo { fields });
        let (it, info) = rendered(&draft(), &base);
        assert_eq!(it.timestamp.as_millis(), expected);
        assert_eq!(info["inCommitTimestamp"], json!(expected));
    }
    base.commit_info = None;
    let error = render(&draft(), Some(&base), Version::from(5), NOW).unwrap_err();
    assert_eq!(error.code(), Code::CorruptLog);
}

/// spec: TXN-15, TXN-16
#[test]
fn identity_and_seal() {
    let ours = rendered(&draft(), &head(&[])).0.bytes.to_vec();
    let text = String::from_utf8(ours.clone()).unwrap();
    let cut = &text[..text.len() - 2];
    let swapped = text.replace("\"size\":10", "\"size\":11");
    assert_ne!(swapped, text);
    let mixed = text.replace("\"bodyBytes\":", "\"bodyBytes\":\"x\",\"was\":");
    let mixed = mixed.replace("\"bodyCrc32\":", "\"bodyCrc32\":null,\"too\":");
    let rows = [
        (text.as_str(), "ours", "sound"),
        (cut, "corrupt-log", "checksum-mismatch"),
        (&swapped, "corrupt-log", "checksum-mismatch"),
        (&mixed, "ours", "sound"),
        (&text.replace(ID, "80a083e8-7026-4e79-81be-64bd76c43a12"), "theirs", "sound"),
        (r#"{"commitInfo":{"operation":"WRITE","txnId":7}}"#, "theirs", "sound"),
        (r#"{"commitInfo":null}"#, "theirs", "sound"),
        ("{\"protocol\":{\"minReaderVersion\":1}}\n{\"commitInfo\":{}}\n", "theirs", "sound"),
        ("\u{feff}{}\r\n", "theirs", "sound"),
        ("", "corrupt-log", "sound"),
        ("{\"commitInfo\":{\"txnId\":\"80a0", "corrupt-log", "sound"),
    ];
    for (bytes, whose, seal) in rows {
        let actual = match is_ours(bytes.as_bytes(), ID) {
            Ok(true) => "ours",
            Ok(false) => "theirs",
            Err(it) => it.code().as_str(),
        };
        assert_eq!(actual, whose, "{bytes}");
        let actual = verify(bytes.as_bytes()).map_or_else(|it| it.code().as_str(), |()| "sound");
        assert_eq!(actual, seal, "{bytes}");
    }
}

proptest::proptest! {
    /// Any change of one byte of the body is noticed.
    #[test]
    fn damage_is_noticed(at: proptest::sample::Index, bits in 1..=255u8) {
        let mut bytes = rendered(&draft(), &head(&[])).0.bytes.to_vec();
        let body = bytes.iter().position(|it| *it == b'\n').unwrap() + 1;
        let at = body + at.index(bytes.len() - body);
        bytes[at] ^= bits;
        proptest::prop_assert!(verify(&bytes).is_err());
    }
}
