//! Commits put together: what a run of them amounts to, in one file.
//!
//! A reader that finds many commits above a checkpoint makes a request for each; a compacted file
//! spares it most of them. It proves nothing, so it is made only of commits that were read, and
//! what was made is folded again and held against them before it is written.

use bytes::Bytes;

use crate::action::Action;
use crate::batch::{LogBatch, Width};
use crate::error::{Error, Result};
use crate::replay::Replay;
use crate::uri::rooted_name;
use crate::version::Version;

/// The text of the compacted file of some commits, oldest first, decoded wide. Empty if there is
/// nothing to say, or something that can be said in its own commit alone.
///
/// ```
/// use lakebed_log::batch::{LogBatch, Width};
/// use lakebed_log::compact::compact;
///
/// let commit = |text: &str| LogBatch::from_json(text.as_bytes(), Width::Wide);
/// let one = commit(r#"{"txn":{"appId":"a","version":1}}"#)?;
/// let two = commit(r#"{"txn":{"appId":"a","version":2}}"#)?;
/// let text = compact(vec![one, two])?;
/// assert_eq!(text, "{\"txn\":{\"appId\":\"a\",\"version\":2}}\n");
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
///
/// # Errors
///
/// `invalid-action` if the commits contradict each other; `internal` if what was made does not say
/// what they say.
///
/// # Source
///
/// `spec/compacted.md`, CMP-5 to CMP-9.
pub fn compact(commits: Vec<LogBatch>) -> Result<Bytes> {
    let actions = amount(commits)?;
    // Without its commit, such a path would be one outside of the table.
    let rooted = |it: &Action| matches!(it, Action::Add(it) if rooted_name(&it.path).is_some());
    if actions.iter().any(rooted) {
        return Ok(Bytes::new());
    }
    let mut text = String::new();
    for action in &actions {
        text.push_str(&action.to_json_line());
        text.push('\n');
    }
    let again = match text.is_empty() {
        // Commits that say nothing amount to nothing.
        true => Vec::new(),
        false => amount(vec![LogBatch::from_compacted(text.as_bytes(), Width::Wide)?])?,
    };
    let lines = |actions: Vec<Action>| {
        let mut lines: Vec<String> = actions.iter().map(Action::to_json_line).collect();
        lines.sort_unstable();
        lines
    };
    match lines(again) == lines(actions) {
        true => Ok(text.into()),
        false => Err(Error::internal("a compacted file does not say what its commits say")),
    }
}

fn amount(commits: Vec<LogBatch>) -> Result<Vec<Action>> {
    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    for commit in commits.into_iter().rev() {
        replay.feed(commit)?;
    }
    replay.finish_actions()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::{actions, history, keys};
    use proptest::prelude::*;

    fn batch(text: &str) -> LogBatch {
        LogBatch::from_actions(&actions(text)).unwrap()
    }

    /// Sorted keys of a fold of batches, newest first.
    fn folded(newest_first: Vec<LogBatch>) -> Vec<String> {
        let mut replay = Replay::new(Version::ZERO, Width::Wide);
        newest_first.into_iter().for_each(|it| replay.feed(it).unwrap());
        keys(&replay.finish_files().unwrap())
    }

    proptest! {
        /// Read in place of the commits it is made of, the compacted file gives the same files and
        /// tombstones, whatever stands below and above it.
        ///
        /// spec: CMP-8, CMP-9
        #[test]
        fn stands_for_its_commits(
            history in history(),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let (from, to) = (from.index(history.len()), to.index(history.len()));
            let (from, to) = (from.min(to), from.max(to));
            let commits: Vec<LogBatch> = history.iter().map(|it| batch(it)).collect();
            let text = compact(commits[from..=to].to_vec()).unwrap();
            let mut layers: Vec<LogBatch> = commits[..from].to_vec();
            if !text.is_empty() {
                layers.push(LogBatch::from_compacted(&text, Width::Wide).unwrap());
            }
            layers.extend_from_slice(&commits[to + 1..]);
            layers.reverse();
            let all = commits.into_iter().rev().collect();
            prop_assert_eq!(folded(layers), folded(all));
        }
    }

    /// Removed domains stay, so that they hide older ones; what belongs to one version goes.
    ///
    /// spec: CMP-7, CMP-9
    #[test]
    fn newest_of_each() {
        let commit = |text: &str| LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap();
        let one = commit(concat!(
            r#"{"commitInfo":{"operation":"WRITE"}}"#,
            "\n",
            r#"{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}"#,
        ));
        let two = commit(concat!(
            r#"{"domainMetadata":{"domain":"d","configuration":"{}","removed":true}}"#,
            "\n",
            r#"{"cdc":{"path":"c","partitionValues":{},"size":1,"dataChange":false}}"#,
        ));
        let text = compact(vec![one, two]).unwrap();
        let only =
            "{\"domainMetadata\":{\"domain\":\"d\",\"configuration\":\"{}\",\"removed\":true}}\n";
        assert_eq!(text, only);
        assert!(compact(vec![LogBatch::default()]).unwrap().is_empty());
    }
}
