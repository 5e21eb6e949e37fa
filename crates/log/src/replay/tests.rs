//! Folds of small logs.

use serde_json::json;

use super::*;
use crate::action::Action;
use crate::files::tests::{actions, keys};
use crate::support::MissingFeature;

/// Protocol and metadata of a table with one column, as the first commit has them.
pub(crate) fn head_actions() -> Vec<Action> {
    [
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#.to_string(),
        metadata_line("t", "a"),
    ]
    .iter()
    .map(|it| Action::from_json_line(it.as_bytes()).unwrap().unwrap())
    .collect()
}

/// A metadata line of a table `id` with one column.
pub(crate) fn metadata_line(id: &str, column: &str) -> String {
    let field = json!({"name": column, "type": "long", "nullable": true, "metadata": {}});
    let schema = json!({"type": "struct", "fields": [field]}).to_string();
    let format = json!({"provider": "parquet", "options": {}});
    json!({"metaData": {
        "id": id, "format": format, "schemaString": schema, "partitionColumns": [],
        "configuration": {},
    }})
    .to_string()
}

fn batch(text: &str) -> LogBatch {
    LogBatch::from_actions(&actions(text)).unwrap()
}

fn with_head(text: &str) -> LogBatch {
    let all: Vec<Action> = head_actions().into_iter().chain(actions(text)).collect();
    LogBatch::from_actions(&all).unwrap()
}

fn lines(lines: &[&str]) -> LogBatch {
    LogBatch::from_json(lines.join("\n").as_bytes(), Width::Wide).unwrap()
}

fn replay(newest_first: impl IntoIterator<Item = LogBatch>) -> Result<TableState> {
    let mut replay = Replay::new(Version::from(9), Width::Wide);
    for batch in newest_first {
        replay.feed(batch)?;
    }
    replay.finish()
}

/// Commits oldest first, separated by `|`, after a first one that makes the table.
fn check(commits: &str, expected: &str) {
    let batches: Vec<LogBatch> = commits.split('|').map(batch).collect();
    let newest_first = batches.into_iter().rev().chain([with_head("")]);
    match replay(newest_first) {
        Ok(state) => {
            let mut expected: Vec<&str> = expected.split_whitespace().collect();
            expected.sort_unstable();
            assert_eq!(keys(&state.files), expected, "{commits}");
        }
        Err(it) => assert_eq!(it.code().as_str(), expected, "{commits}: {it}"),
    }
}

/// spec: RECON-10, RECON-11, RECON-12, RECON-13, RECON-14, RECON-15, RECON-16
#[test]
fn first_action_fed_for_a_key_decides_it() {
    check("+a | -a", "-a");
    check("+a | -a | +a", "+a");
    check("+a +b | +a", "+a +b");
    check("-x", "-x");
    check("+a%20b | -a%2520b | +c", "+a_b +c -a%20b");
    check("+a | -a +a:1", "-a +a:1");
    check("+a:1 | -a:1 +a:2 | +b", "-a:1 +a:2 +b");
    check("+a | +a:1", "invalid-action");
    check("+a:1 | +b | +a:2", "invalid-action");
}

/// spec: RECON-17
#[test]
fn checkpoint_decides_a_key_once() {
    let code = |parts: &[&str], newer: &str| {
        let mut replay = Replay::new(Version::from(9), Width::Wide);
        replay.feed(batch(newer)).unwrap();
        let parts = parts.iter().map(|it| batch(it)).chain([with_head("")]);
        let fed = replay.feed_checkpoint(parts);
        fed.and_then(|()| replay.finish()).map_err(|it| it.code().as_str())
    };
    assert_eq!(code(&["+a +b", "+c -d"], "-a").map(|it| it.files.len()), Ok(2));
    for newer in ["", "-x", "+x"] {
        assert_eq!(code(&["+a", "+b -a"], newer).err(), Some("corrupt-checkpoint"), "{newer}");
        assert_eq!(code(&["+a", "+a"], newer).err(), Some("corrupt-checkpoint"), "{newer}");
    }
    let both = |it: &str, other: &str| LogBatch { removes: batch(other).removes, ..batch(it) };
    let one_file = replay([both("+a", "-a"), with_head("")]);
    assert_eq!(one_file.unwrap_err().code(), Code::CorruptCheckpoint);
    // Of one path, a vector may have gone and another come.
    assert!(replay([both("+a:1", "-a"), with_head("")]).is_ok());

    let mut two_heads = Replay::new(Version::from(9), Width::Wide);
    let fed = two_heads.feed_checkpoint([with_head("+a"), with_head("+b")]);
    assert_eq!(fed.unwrap_err().code(), Code::CorruptCheckpoint);
}

/// A listing of one file twice in one log file, which only a checkpoint that was not decoded by
/// us could hold.
///
/// spec: RECON-17
#[test]
fn rows_are_not_doubled() {
    let once = batch("+a +b").adds.unwrap();
    let doubled =
        arrow_select::concat::concat_batches(&once.batch().schema(), [once.batch(), once.batch()]);
    let adds = crate::batch::Adds::new(doubled.unwrap()).unwrap();
    let broken = LogBatch { adds: Some(adds), ..LogBatch::default() };
    for newer in ["", "+a", "-x"] {
        let state = replay([batch(newer), broken.clone(), with_head("")]);
        assert_eq!(state.unwrap_err().code(), Code::CorruptCheckpoint, "{newer}");
    }
}

/// spec: RECON-19, RECON-20, RECON-21, RECON-22
#[test]
fn newest_of_each_small_action_counts() {
    let newest = lines(&[
        r#"{"commitInfo":{"operation":"new"}}"#,
        &metadata_line("newer", "b"),
        r#"{"txn":{"appId":"one","version":3}}"#,
        r#"{"domainMetadata":{"domain":"gone","configuration":"","removed":true}}"#,
    ]);
    let middle = lines(&[
        r#"{"commitInfo":{"operation":"old"}}"#,
        r#"{"txn":{"appId":"one","version":7}}"#,
        r#"{"txn":{"appId":"two","version":1}}"#,
        r#"{"domainMetadata":{"domain":"gone","configuration":"1","removed":false}}"#,
        r#"{"domainMetadata":{"domain":"kept","configuration":"2","removed":false}}"#,
    ]);
    let oldest = lines(&[
        r#"{"domainMetadata":{"domain":"gone","configuration":"0","removed":false}}"#,
        r#"{"domainMetadata":{"domain":"kept","configuration":"0","removed":false}}"#,
    ]);
    let batches = [newest, middle.clone(), oldest, with_head("")];
    let mut fold = Replay::new(Version::from(3), Width::Head);
    let mut known = Vec::new();
    for batch in batches.clone() {
        fold.feed(batch).unwrap();
        known.push(fold.has_head());
    }
    assert_eq!(known, [false, false, false, true]);
    for head in [fold.finish_head().unwrap(), replay(batches).unwrap().head] {
        assert_eq!(head.metadata.id, "newer");
        assert_eq!(head.schema.fields()[0].name, "b");
        assert_eq!(head.txns.values().map(|it| it.version).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(head.domains.keys().collect::<Vec<_>>(), ["kept"]);
        assert_eq!(head.domains["kept"].configuration, "2");
        assert_eq!(head.commit_info.unwrap().text("operation"), Some("new"));
    }
    // A newest commit without `commitInfo` has none; an older one's is not its own.
    let state = replay([batch("+a"), middle, with_head("")]).unwrap();
    assert_eq!(state.head.commit_info, None);
}

/// spec: RECON-19, RECON-23
#[test]
fn a_version_has_protocol_and_metadata() {
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    let future = concat!(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"#,
        r#""readerFeatures":["fromTheFuture"],"writerFeatures":["fromTheFuture"]}}"#,
    );
    let metadata = metadata_line("t", "a");
    let code = |log: &[&str]| replay([lines(log)]).map(|_| ()).map_err(|it| it.code().as_str());
    assert_eq!(code(&[protocol, &metadata]), Ok(()));
    assert_eq!(code(&[&metadata]), Err("invalid-protocol"));
    assert_eq!(code(&[protocol]), Err("invalid-metadata"));
    let error = replay([lines(&[future, &metadata])]).unwrap_err();
    assert_eq!(error.code(), Code::UnsupportedProtocol);
    let missing: Option<&MissingFeature> = error.missing_feature();
    assert_eq!(missing.map(|it| it.feature.name()), Some("fromTheFuture"));
}

/// An older log file is only looked up among newer keys, and a newer one that has no file actions
/// costs nothing: the order of feeding is all that matters.
#[test]
fn tail_without_file_actions_changes_nothing() {
    let info = || lines(&[r#"{"commitInfo":{"operation":"OPTIMIZE"}}"#]);
    let state = replay([info(), batch("-b"), info(), with_head("+a +b")]).unwrap();
    assert_eq!(keys(&state.files), ["+a", "-b"]);
    assert_eq!(state.head.commit_info.unwrap().text("operation"), Some("OPTIMIZE"));
}

#[test]
fn narrow_folds_drop_statistics() {
    let mut replay = Replay::new(Version::ZERO, Width::Narrow);
    replay.feed(with_head("+a -b")).unwrap();
    let state = replay.finish().unwrap();
    assert_eq!(state.files.width(), Width::Narrow);
    assert!(state.files.chunks()[0].rows.stats().is_none());
    assert_eq!(keys(&state.files), ["+a", "-b"]);
}
