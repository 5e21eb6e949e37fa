//! What a checksum says, and what it finds.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::batch::{LogBatch, Width};
use crate::files::tests::{actions, history};
use crate::replay::Replay;
use crate::replay::tests::head_actions;
use crate::version::Version;

fn parse(line: &str) -> Action {
    Action::from_json_line(line.as_bytes()).unwrap().unwrap()
}

fn state(lines: &[&str], files: &str) -> TableState {
    let mut all = head_actions();
    all.extend(lines.iter().map(|it| parse(it)));
    all.extend(actions(files));
    let mut replay = Replay::new(Version::ZERO, Width::Narrow);
    replay.feed(LogBatch::from_actions(&all).unwrap()).unwrap();
    replay.finish().unwrap()
}

fn full() -> TableState {
    let lines = [
        r#"{"commitInfo":{"txnId":"id-1"}}"#,
        r#"{"txn":{"appId":"one","version":3}}"#,
        r#"{"txn":{"appId":"two","version":4,"lastUpdated":5}}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}"#,
        r#"{"domainMetadata":{"domain":"gone","configuration":"{}","removed":true}}"#,
    ];
    state(&lines, "+a +b -c")
}

/// spec: CRC-1, CRC-2, CRC-3, CRC-4, CRC-5
#[test]
fn document_says_what_the_version_adds_up_to() {
    let text = Checksum::of(&full()).to_json();
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json["tableSizeBytes"], 20);
    assert_eq!(json["numFiles"], 2);
    assert_eq!((&json["numMetadata"], &json["numProtocol"]), (&json!(1), &json!(1)));
    assert_eq!(json["txnId"], "id-1");
    assert_eq!(json["protocol"], json!({"minReaderVersion": 1, "minWriterVersion": 2}));
    assert_eq!(json["metadata"]["id"], "t");
    assert_eq!(
        json["setTransactions"],
        json!([
            {"appId": "one", "version": 3},
            {"appId": "two", "version": 4, "lastUpdated": 5},
        ])
    );
    assert_eq!(
        json["domainMetadata"],
        json!([{"domain": "d", "configuration": "{}", "removed": false}])
    );
    assert!(json.get("inCommitTimestampOpt").is_none());
    let bare: Json = serde_json::from_str(&Checksum::of(&state(&[], "")).to_json()).unwrap();
    assert!(bare.get("txnId").is_none());
    assert_eq!((&bare["numFiles"], &bare["setTransactions"]), (&json!(0), &json!([])));
}

/// spec: CRC-4
#[test]
fn in_commit_timestamp_is_there_if_enabled() {
    let mut state = full();
    let info = r#"{"commitInfo":{"inCommitTimestamp":77}}"#;
    let Action::CommitInfo(info) = parse(info) else { panic!() };
    state.head.commit_info = Some(info);
    assert_eq!(Checksum::of(&state).in_commit_timestamp, None);
    state.head.properties.enable_in_commit_timestamps = true;
    assert_eq!(Checksum::of(&state).in_commit_timestamp, None);
    let features = [TableFeature::InCommitTimestamp];
    state.head.protocol = state.head.protocol.with_features(&features);
    assert_eq!(Checksum::of(&state).in_commit_timestamp, Some(77));
    assert!(Checksum::of(&state).to_json().contains(r#""inCommitTimestampOpt":77"#));
}

/// spec: CRC-7
#[test]
fn counts_are_read_leniently() {
    let text = Checksum::of(&full()).to_json();
    let counts = Checksum::parse_counts(text.as_bytes());
    assert_eq!(counts, Some((20, 2, Some("id-1".to_string()))));
    let rows = [
        (r#"{"tableSizeBytes":1,"numFiles":2}"#, Some((1, 2, None))),
        (r#"{"tableSizeBytes":1,"numFiles":2,"txnId":null,"x":[]}"#, Some((1, 2, None))),
        (r#"{"tableSizeBytes":-1,"numFiles":2}"#, None),
        (r#"{"tableSizeBytes":1,"numFiles":"2"}"#, None),
        (r#"{"tableSizeBytes":1}"#, None),
        (r#"{"tableSizeBytes":1,"numFiles":2,"numFiles":2}"#, None),
        (r#"{"tableSizeBytes":1,"numFiles":2}x"#, None),
        ("[]", None),
        ("garbage", None),
        ("", None),
    ];
    for (text, expected) in rows {
        assert_eq!(Checksum::parse_counts(text.as_bytes()), expected, "{text}");
    }
}

/// spec: CRC-8
#[test]
fn differences_are_found() {
    let state = full();
    let text = Checksum::of(&state).to_json();
    let check = |change: &dyn Fn(&mut Json), expected: Option<&str>| {
        let mut json: Json = serde_json::from_str(&text).unwrap();
        change(&mut json);
        let compared = Checksum::compare(json.to_string().as_bytes(), &state);
        match (expected, compared) {
            (None, Ok(())) => {}
            (Some(part), Err(it)) => {
                assert_eq!(it.code(), Code::ChecksumMismatch);
                assert!(it.message().contains(part), "{it}");
            }
            (expected, other) => panic!("{expected:?}: {other:?}"),
        }
    };
    let remove = |key: &'static str| {
        move |it: &mut Json| {
            it.as_object_mut().unwrap().remove(key);
        }
    };
    check(&|_| {}, None);
    check(&remove("txnId"), None);
    check(&remove("setTransactions"), None);
    check(&remove("domainMetadata"), None);
    check(&|it| it["someday"] = json!(1), None);
    check(&|it| it["setTransactions"].as_array_mut().unwrap().reverse(), None);
    check(&remove("numFiles"), Some("numFiles"));
    check(&remove("metadata"), Some("metadata"));
    check(&|it| it["numFiles"] = json!(3), Some("`numFiles` is 3 in the checksum, 2 in the log"));
    check(&|it| it["tableSizeBytes"] = json!(21), Some("tableSizeBytes"));
    check(&|it| it["numProtocol"] = json!(2), Some("numProtocol"));
    check(&|it| it["metadata"]["id"] = json!("evil"), Some("metadata"));
    check(&|it| it["protocol"]["minWriterVersion"] = json!(3), Some("protocol"));
    check(&|it| it["setTransactions"][0]["version"] = json!(9), Some("setTransactions"));
    check(&|it| it["domainMetadata"] = json!([]), Some("domainMetadata"));
    check(&|it| it["domainMetadata"] = json!({}), Some("domainMetadata"));
    check(&|it| it["txnId"] = json!("id-2"), Some("txnId"));
    assert!(Checksum::compare(b"garbage", &state).is_err());
}

/// spec: CRC-6
#[test]
fn advance_makes_sense_or_nothing() {
    let state = full();
    let sum = Checksum::of(&state);
    let next = state.head.advance(Version::from(1), &LogBatch::default()).unwrap();
    let moved = |files, bytes| {
        sum.advance(&next, files, bytes).map(|it| (it.num_files, it.table_size_bytes))
    };
    assert_eq!(moved(1, 5), Some((3, 25)));
    assert_eq!(moved(-2, -20), Some((0, 0)));
    assert_eq!(moved(-3, 0), None);
    assert_eq!(moved(0, -21), None);
    assert_eq!(moved(i64::MAX, 0), None);
    assert!(sum.advance(&state.head, 1, 1).is_none());
    assert_eq!(sum.advance(&next, 0, 0).unwrap().txn_id, None);
}

proptest! {
    /// Advanced by the counts of each commit, a checksum equals that of the whole state, and its
    /// document agrees with it.
    ///
    /// spec: CRC-6, CRC-8
    #[test]
    fn advance_agrees_with_the_whole(history in history()) {
        let mut state = state(&[], "");
        let mut sum = Checksum::of(&state);
        for commit in &history {
            let batch = LogBatch::from_actions(&actions(commit)).unwrap();
            let next = state.advance(state.head.version.next().unwrap(), &batch).unwrap();
            let count = |it: &TableState| i64::try_from(it.files.len()).unwrap();
            let bytes = |it: &TableState| i64::try_from(it.files.total_bytes()).unwrap();
            let (files, bytes) = (count(&next) - count(&state), bytes(&next) - bytes(&state));
            sum = sum.advance(&next.head, files, bytes).unwrap();
            state = next;
            prop_assert_eq!(sum.to_json(), Checksum::of(&state).to_json());
            prop_assert!(Checksum::compare(sum.to_json().as_bytes(), &state).is_ok());
        }
    }
}

/// spec: CRC-9, CRC-10
#[test]
fn facts_of_a_stored_checksum() {
    let state = full();
    let facts = |text: &str| Facts::parse(text.as_bytes()).unwrap();
    assert_eq!(facts(&Checksum::of(&state).to_json()).mismatches(&state), [""; 0]);
    let rows: &[(&str, &[&str])] = &[
        ("{}", &[]),
        (r#"{"numFiles":2,"tableSizeBytes":20,"numDeletionVectorsOpt":0}"#, &[]),
        (r#"{"numFiles":3,"tableSizeBytes":"x"}"#, &["numFiles", "tableSizeBytes"]),
        (r#"{"numDeletedRecordsOpt":1,"numMetadata":2}"#, &["numDeletedRecordsOpt", "numMetadata"]),
        (r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#, &[]),
        (r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":3}}"#, &["protocol"]),
        (r#"{"metadata":{"id":"z"},"someday":1}"#, &["metadata"]),
        (r#"{"setTransactions":[],"domainMetadata":[]}"#, &["domainMetadata", "setTransactions"]),
        (r#"{"setTransactions":null,"metadata":null}"#, &[]),
    ];
    for (text, expected) in rows {
        assert_eq!(facts(text).mismatches(&state), *expected, "{text}");
    }
    for text in ["", "{", "[]", "{} x", r#"{"numFiles":1,"numFiles":2}"#] {
        assert_eq!(Facts::parse(text.as_bytes()), None, "{text}");
    }
}
