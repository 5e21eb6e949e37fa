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

/// spec: CRC-7, CRC-11
#[test]
fn counts_are_taken_from_a_sound_checksum_of_the_version() {
    let state = full();
    let text = Checksum::of(&state).to_json();
    let check = |change: &dyn Fn(&mut Json), expected: Option<(i64, i64)>| {
        // As another writer would have it.
        let mut json: Json = serde_json::from_str(&text).unwrap();
        json.as_object_mut().unwrap().remove("lakebed.crc32").unwrap();
        change(&mut json);
        let found = Counts::stored(json.to_string().as_bytes(), &state.head);
        assert_eq!(found.map(|it| (it.files, it.bytes)), expected, "{json}");
    };
    check(&|_| {}, Some((2, 20)));
    check(&|it| it["txnId"] = Json::Null, Some((2, 20)));
    check(&|it| it["someday"] = json!([]), Some((2, 20)));
    check(&|it| it["numFiles"] = json!(7), Some((7, 20)));
    check(&|it| it["txnId"] = json!("id-2"), None);
    check(&|it| it["tableSizeBytes"] = json!(-1), None);
    check(&|it| it["numFiles"] = json!("2"), None);
    check(&|it| it["numFiles"] = Json::Null, None);
    check(&|it| it["metadata"]["id"] = json!("other"), None);
    check(&|it| it["protocol"]["minWriterVersion"] = json!(7), None);
    check(&|it| it["protocol"] = Json::Null, None);
    let twice = text.replacen('{', "{\"numFiles\":2,", 1);
    for text in [twice.as_str(), "[]", "garbage", "", &format!("{text}x")] {
        assert_eq!(Counts::stored(text.as_bytes(), &state.head), None, "{text}");
    }
}

/// Of ours, nothing may differ.
///
/// spec: CRC-14
#[test]
fn a_damaged_checksum_of_ours_counts_nothing() {
    let state = full();
    let text = Checksum::of(&state).to_json();
    let counts = |text: &str| Counts::stored(text.as_bytes(), &state.head).map(|it| it.files);
    assert_eq!(counts(&text), Some(2));
    assert_eq!(counts(&format!("{text}\n")), Some(2));
    for (from, to) in
        [("\"numFiles\":2", "\"numFiles\":3"), ("\"lastUpdated\":5", "\"lastUpdated\":4")]
    {
        assert!(text.contains(from), "{text}");
        assert_eq!(counts(&text.replace(from, to)), None, "{to}");
    }
}

/// spec: CRC-6, CRC-12
#[test]
fn counts_move_with_commits_that_tell() {
    let before = Counts { files: 2, bytes: 20 };
    let ours = format!(r#"{{"commitInfo":{{"engineInfo":"{ENGINE_INFO}"}}}}"#);
    let theirs = r#"{"commitInfo":{"engineInfo":"other"}}"#;
    let add = |change| {
        let file = r#""path":"a","partitionValues":{},"size":5,"modificationTime":0"#;
        format!("{{\"add\":{{{file},\"dataChange\":{change}}}}}")
    };
    let remove = r#"{"remove":{"path":"b","size":7,"dataChange":true}}"#;
    let unsized_remove = r#"{"remove":{"path":"b","dataChange":true}}"#;
    let check = |lines: &[&str], expected: Option<(i64, i64)>| {
        let batch = LogBatch::from_json(lines.join("\n").as_bytes(), Width::Narrow).unwrap();
        let found = before.after(&batch).map(|it| (it.files, it.bytes));
        assert_eq!(found, expected, "{lines:?}");
    };
    let (new, again) = (&add(true), &add(false));
    for info in [ours.as_str(), theirs] {
        check(&[info], Some((2, 20)));
        check(&[info, new], Some((3, 25)));
        check(&[info, unsized_remove], None);
    }
    check(&[&ours, again, remove], Some((2, 18)));
    check(&[&ours, remove], Some((1, 13)));
    // Whether it was live, or still is, their actions do not tell.
    check(&[theirs, again], None);
    check(&[theirs, remove], None);
    check(&[again], None);
    let huge = r#"{"remove":{"path":"b","size":70,"dataChange":true}}"#;
    check(&[&ours, huge], None);
    assert_eq!(before.moved(-2, -20), Some(Counts::default()));
    assert_eq!(before.moved(-3, 0), None);
    assert_eq!(before.moved(1, i64::MAX), None);
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

proptest! {
    /// Made of counts that moved with each commit, a checksum equals that of the whole state, and
    /// its document agrees with it.
    ///
    /// spec: CRC-6, CRC-8
    #[test]
    fn counts_that_moved_agree_with_the_whole(history in history()) {
        let mut state = state(&[], "");
        let mut counts = Counts::default();
        for commit in &history {
            let batch = LogBatch::from_actions(&actions(commit)).unwrap();
            let next = state.advance(state.head.version.next().unwrap(), &batch).unwrap();
            let count = |it: &TableState| i64::try_from(it.files.len()).unwrap();
            let bytes = |it: &TableState| i64::try_from(it.files.total_bytes()).unwrap();
            let (files, bytes) = (count(&next) - count(&state), bytes(&next) - bytes(&state));
            counts = counts.moved(files, bytes).unwrap();
            state = next;
            prop_assert_eq!(Counts::of(state.files.sum()), Some(counts));
            let sum = Checksum::new(&state.head, counts);
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
