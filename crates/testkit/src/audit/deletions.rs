//! Every deletion of a run: was what it took still needed? And every checkpoint: does it say what
//! the commits said?

use std::collections::{BTreeMap, BTreeSet};

use lakebed::Timestamp;
use lakebed::Width;
use lakebed_log::batch::LogBatch;
use lakebed_log::log_path::{CheckpointName, LogPath};

use super::Case;
use crate::client::ROOT;
use crate::objects::Event;
use crate::oracle::FileKey;
use crate::weather::SKEW_MINUTES;

/// Clocks of two clients differ by at most this.
const SKEW_MILLIS: i64 = 2 * SKEW_MINUTES * 60_000;

/// I11, I12, I14, I15, I16.
pub fn deletions(case: &Case) -> Vec<String> {
    let mut broken = Vec::new();
    let needed = needed(case);
    let mut log = Log::default();
    for event in &case.journal {
        let Some(key) = event.key.strip_prefix(ROOT).and_then(|it| it.strip_prefix('/')) else {
            broken.push(format!("I14: {} is outside the table", event.key));
            continue;
        };
        match key.strip_prefix("_delta_log/") {
            Some(name) => in_log(case, event, name, &mut log, &mut broken),
            None if event.bytes.is_none() => {
                if let Some((version, until)) = needed.get(key)
                    && until.is_none_or(|until| event.at < until)
                {
                    let Event { at, client, .. } = event;
                    broken.push(format!(
                        "I11: {client} deletes {key} at {at}, which version {version} needs"
                    ));
                }
            }
            None => {}
        }
    }
    broken
}

/// Until when each file is needed, and by which version: for the retention after the last version
/// that has it was passed. `None` is for ever.
fn needed(case: &Case) -> BTreeMap<&str, (u64, Option<Timestamp>)> {
    let mut needed = BTreeMap::new();
    for (version, commit) in (0u64..).zip(&case.truth) {
        let margin = case.data_retention_millis - SKEW_MILLIS;
        let until = case.passed(version).map(|it| it.plus_millis(margin));
        for FileKey { path, vector_path, .. } in commit.files.keys() {
            needed.insert(path.as_str(), (version, until));
            if let Some(path) = vector_path {
                needed.insert(path.as_str(), (version, until));
            }
        }
    }
    needed
}

/// What lies in the log at one moment of the journal.
#[derive(Default)]
struct Log {
    /// Versions of commits.
    commits: BTreeSet<u64>,
    /// Versions of checkpoints.
    checkpoints: BTreeSet<u64>,
    /// The newest version there has been so far.
    newest: u64,
}

fn in_log(case: &Case, event: &Event, name: &str, log: &mut Log, broken: &mut Vec<String>) {
    let is_checkpoint = match LogPath::parse(name) {
        Some(LogPath::Commit(_)) => false,
        Some(LogPath::Checkpoint(_, CheckpointName::Classic)) => true,
        _ => return,
    };
    let Some(path) = LogPath::parse(name) else { return };
    let version = path.version().get();
    let there = if is_checkpoint { &mut log.checkpoints } else { &mut log.commits };
    match &event.bytes {
        Some(bytes) if is_checkpoint => {
            there.insert(version);
            let told = checkpoint(case, version, bytes.clone(), event.at);
            broken.extend(told.map(|it| format!("I16: checkpoint {version}: {it}")));
        }
        Some(_) => {
            there.insert(version);
            log.newest = log.newest.max(version);
        }
        None => {
            there.remove(&version);
            broken.extend(stranded(case, log, event.at, version));
        }
    }
}

/// A retained version that can no longer be made up.
fn stranded(case: &Case, log: &Log, at: Timestamp, deleted: u64) -> Option<String> {
    let cut = at.plus_millis(-case.log_retention_millis);
    let is_retained =
        |it: &u64| *it == log.newest || case.passed(*it).is_none_or(|passed| cut <= passed);
    let mut retained = (0..=log.newest).filter(is_retained);
    let is_whole = |version: &u64| {
        let base = log.checkpoints.range(..=*version).next_back();
        let first = base.map_or(0, |it| it + 1);
        (first..=*version).all(|it| log.commits.contains(&it))
    };
    let version = retained.find(|it| !is_whole(it))?;
    Some(format!("I12: version {version} is stranded by the deletion of {deleted} at {at}"))
}

/// What is wrong with a checkpoint.
fn checkpoint(
    case: &Case,
    version: u64,
    bytes: bytes::Bytes,
    written: Timestamp,
) -> Option<String> {
    let Some(truth) = case.version(version).filter(|it| it.at <= written) else {
        return Some("there is no such version".to_string());
    };
    let batch = match LogBatch::from_parquet(bytes, Width::Wide) {
        Ok(it) => it,
        Err(error) => return Some(error.to_string()),
    };
    let adds = batch.adds.as_ref();
    let held: BTreeSet<_> = (0..adds.map_or(0, |it| it.len()))
        .filter_map(|row| Some((adds?.path().value(row).to_string(), adds?.dv_id(row))))
        .collect();
    let live: BTreeSet<_> =
        truth.files.keys().map(|it| (it.path.clone(), it.vector.clone())).collect();
    if held != live {
        return Some(format!("it holds {held:?}, the version has {live:?}"));
    }
    let apps: BTreeMap<_, _> =
        batch.txns.iter().map(|it| (it.app_id.clone(), it.version)).collect();
    if apps != truth.apps {
        return Some(format!("it holds {apps:?}, the version has {:?}", truth.apps));
    }
    let configuration = batch.metadata.as_ref().map(|it| &it.configuration);
    if configuration != Some(&truth.configuration) {
        return Some(format!("it holds {configuration:?}"));
    }
    let removes = batch.removes.as_ref();
    let dead: BTreeSet<_> = (0..removes.map_or(0, |it| it.len()))
        .filter_map(|row| Some((removes?.path().value(row).to_string(), removes?.dv_id(row))))
        .collect();
    let cut = written.plus_millis(SKEW_MILLIS - case.data_retention_millis).as_millis();
    let until = usize::try_from(version).unwrap_or(usize::MAX);
    let young = case.truth.iter().take(until.saturating_add(1)).flat_map(|it| &it.tombstones);
    let mut young = young.filter(|(key, stamp)| cut < *stamp && !truth.files.contains_key(key));
    let lost = young.find(|(key, _)| !dead.contains(&(key.path.clone(), key.vector.clone())));
    lost.map(|(key, _)| format!("it has lost the tombstone of {key:?}"))
}
