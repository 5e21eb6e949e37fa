//! Versions reached in several ways.

use proptest::prelude::*;

use super::*;
use crate::action::Action;
use crate::batch::Width;
use crate::error::Code;
use crate::files::tests::{actions, history, keys};
use crate::replay::Replay;
use crate::replay::tests::{head_actions, metadata_line};

fn parse(line: &str) -> Action {
    Action::from_json_line(line.as_bytes()).unwrap().unwrap()
}

fn replay(commits: &[LogBatch], width: Width) -> TableState {
    let version = u32::try_from(commits.len() - 1).unwrap();
    let mut replay = Replay::new(Version::from(version), width);
    for commit in commits.iter().rev() {
        replay.feed(commit.clone()).unwrap();
    }
    replay.finish().unwrap()
}

/// The whole state as text, but for the order of files.
fn shown(state: &TableState) -> String {
    let head = &state.head;
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        head.version,
        head.protocol,
        head.metadata,
        head.schema,
        head.txns,
        head.domains,
        head.commit_info,
        keys(&state.files),
    )
}

/// spec: RECON-18, RECON-20, RECON-21, RECON-22
#[test]
fn advancing_takes_the_small_actions() {
    let base = replay(&[LogBatch::from_actions(&head_actions()).unwrap()], Width::Wide);
    let commit = |lines: &[&str]| {
        LogBatch::from_actions(&lines.iter().map(|it| parse(it)).collect::<Vec<_>>()).unwrap()
    };
    let first = commit(&[
        r#"{"commitInfo":{"txnId":"x"}}"#,
        r#"{"txn":{"appId":"one","version":7}}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":"1","removed":false}}"#,
    ]);
    let next = base.advance(Version::from(1), &first).unwrap();
    assert_eq!(next.head.txn_id(), Some("x"));
    assert_eq!(next.head.domains["d"].configuration, "1");
    assert!(Arc::ptr_eq(&base.head.schema, &next.head.schema));

    let second = commit(&[
        r#"{"txn":{"appId":"one","version":3}}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":"","removed":true}}"#,
        &metadata_line("u", "a"),
    ]);
    let last = next.advance(Version::from(2), &second).unwrap();
    assert_eq!((last.head.txn_id(), last.head.txns["one"].version), (None, 3));
    assert!(last.head.domains.is_empty());
    assert_eq!(last.head.metadata.id, "u");
    assert!(Arc::ptr_eq(&base.head.schema, &last.head.schema), "the same schema is shared");

    let third = commit(&[&metadata_line("u", "b")]);
    let last = last.advance(Version::from(3), &third).unwrap();
    assert_eq!(last.head.schema.fields()[0].name, "b");
    assert_eq!(last.head.txns["one"].version, 3);
}

#[test]
fn advancing_goes_one_version_on() {
    let base = replay(&[LogBatch::from_actions(&head_actions()).unwrap()], Width::Wide);
    let skipped = base.advance(Version::from(2), &LogBatch::default());
    assert_eq!(skipped.unwrap_err().code(), Code::Internal);
}

/// spec: RECON-23
#[test]
fn advancing_checks_a_new_protocol() {
    let base = replay(&[LogBatch::from_actions(&head_actions()).unwrap()], Width::Wide);
    let line = concat!(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"#,
        r#""readerFeatures":["fromTheFuture"],"writerFeatures":["fromTheFuture"]}}"#,
    );
    let commit = LogBatch::from_actions(&[parse(line)]).unwrap();
    let refused = base.advance(Version::from(1), &commit).unwrap_err();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
}

/// Small actions beside file actions, a few of each kind.
fn small_actions() -> impl Strategy<Value = Vec<Action>> {
    let metadata = proptest::option::weighted(0.2, (0u8..3, "[a-c]"));
    let txns = proptest::collection::btree_map("[xyz]", -1i64..9, 0..2);
    let domains = proptest::collection::btree_map("[de]", any::<bool>(), 0..2);
    let info = proptest::option::of(0u8..9);
    (metadata, txns, domains, info).prop_map(|(metadata, txns, domains, info)| {
        let mut all: Vec<String> = Vec::new();
        all.extend(info.map(|it| format!(r#"{{"commitInfo":{{"txnId":"{it}"}}}}"#)));
        all.extend(metadata.map(|(id, column)| metadata_line(&id.to_string(), &column)));
        all.extend(
            txns.iter().map(|(app, version)| {
                format!(r#"{{"txn":{{"appId":"{app}","version":{version}}}}}"#)
            }),
        );
        all.extend(domains.iter().map(|(domain, removed)| {
            let fields = format!(r#""domain":"{domain}","removed":{removed}"#);
            format!(r#"{{"domainMetadata":{{{fields},"configuration":""}}}}"#)
        }));
        all.iter().map(|it| parse(it)).collect()
    })
}

proptest! {
    /// One history, one state, by whatever way: from all commits, or from any version and the
    /// commits since.
    ///
    /// spec: RECON-18
    #[test]
    fn every_way_gives_the_same_state(
        files in history(),
        small in proptest::collection::vec(small_actions(), 40),
        split in 0usize..40,
    ) {
        let mut commits = vec![LogBatch::from_actions(&head_actions()).unwrap()];
        for (files, mut small) in files.iter().zip(small) {
            small.extend(actions(files));
            commits.push(LogBatch::from_actions(&small).unwrap());
        }
        let whole = replay(&commits, Width::Wide);
        let split = split.min(commits.len() - 1);
        let mut state = replay(&commits[..=split], Width::Wide);
        for commit in &commits[split + 1..] {
            let version = state.head.version.next().unwrap();
            state = state.advance(version, commit).unwrap();
        }
        prop_assert_eq!(shown(&state), shown(&whole));
        prop_assert_eq!(state.files.len(), whole.files.len());
        prop_assert_eq!(state.files.total_bytes(), whole.files.total_bytes());
        // The order of files is that of the log as well, merged or not.
        let paths = |it: &TableState| {
            it.files.iter().map(|at| it.files.get(at).unwrap().path).collect::<Vec<_>>()
        };
        prop_assert_eq!(paths(&state), paths(&whole));
    }
}
