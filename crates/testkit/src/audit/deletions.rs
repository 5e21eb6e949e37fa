//! Every deletion of a run: was what it took still needed? And every checkpoint: does it say what
//! the commits said?

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lakebed::{Error, Timestamp, Width};
use lakebed_log::batch::LogBatch;
use lakebed_log::log_path::LogPath;

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
    /// Checkpoints by their names: the version, and the sidecars that each names.
    checkpoints: BTreeMap<String, (u64, Vec<String>)>,
    /// Sidecars by their names.
    sidecars: BTreeMap<String, Bytes>,
    /// Those that were deleted.
    gone: BTreeSet<String>,
    /// The newest version there has been so far.
    newest: u64,
}

impl Log {
    /// The version of the newest whole checkpoint at or before a version.
    fn base(&self, version: u64) -> Option<u64> {
        let whole = self.checkpoints.values().filter(|(of, sidecars)| {
            *of <= version && sidecars.iter().all(|it| self.sidecars.contains_key(it))
        });
        whole.map(|it| it.0).max()
    }

    /// The parts of a checkpoint; `None` if what it names is not there any more.
    fn parts(&self, name: &str, bytes: &Bytes) -> Option<Result<Vec<LogBatch>, Error>> {
        let top = match name.ends_with(".json") {
            true => LogBatch::from_json_checkpoint(bytes, Width::Wide),
            false => LogBatch::from_parquet(bytes.clone(), Width::Wide),
        };
        let top = match top {
            Ok(it) => it,
            Err(error) => return Some(Err(error)),
        };
        let was = |it: &str| self.sidecars.contains_key(it) || self.gone.contains(it);
        if let Some(it) = top.sidecars.iter().find(|it| !was(&it.path)) {
            return Some(Err(Error::internal(format!("there never was a sidecar {}", it.path))));
        }
        let sidecars: Option<Vec<&Bytes>> =
            top.sidecars.iter().map(|it| self.sidecars.get(&it.path)).collect();
        let read = sidecars?.into_iter().map(|it| LogBatch::from_parquet(it.clone(), Width::Wide));
        Some(std::iter::once(Ok(top)).chain(read).collect())
    }
}

fn in_log(case: &Case, event: &Event, name: &str, log: &mut Log, broken: &mut Vec<String>) {
    let Event { at, bytes, .. } = event;
    if let Some(sidecar) = name.strip_prefix("_sidecars/") {
        match bytes {
            Some(bytes) => drop(log.sidecars.insert(sidecar.to_string(), bytes.clone())),
            None => {
                log.sidecars.remove(sidecar);
                log.gone.insert(sidecar.to_string());
                broken.extend(stranded(case, log, *at, name));
            }
        }
        return;
    }
    let Some(path) = LogPath::parse(name) else { return };
    let version = path.version().get();
    match (path, bytes) {
        (LogPath::Commit(_), Some(_)) => {
            log.commits.insert(version);
            log.newest = log.newest.max(version);
        }
        (LogPath::Commit(_), None) => {
            log.commits.remove(&version);
            broken.extend(stranded(case, log, *at, name));
        }
        (LogPath::Checkpoint(..), Some(bytes)) => {
            // What names a sidecar that is gone is none, and its writer takes it away.
            let Some(parts) = log.parts(name, bytes) else { return };
            let told = match &parts {
                Ok(parts) => checkpoint(case, version, parts, *at),
                Err(error) => Some(error.to_string()),
            };
            broken.extend(told.map(|it| format!("I16: checkpoint {name}: {it}")));
            let sidecars = parts.iter().flatten().flat_map(|it| &it.sidecars);
            let sidecars = sidecars.map(|it| it.path.clone()).collect();
            log.checkpoints.insert(name.to_string(), (version, sidecars));
        }
        (LogPath::Checkpoint(..), None) => {
            log.checkpoints.remove(name);
            broken.extend(stranded(case, log, *at, name));
        }
        _ => {}
    }
}

/// A retained version that can no longer be made up.
fn stranded(case: &Case, log: &Log, at: Timestamp, deleted: &str) -> Option<String> {
    let cut = at.plus_millis(-case.log_retention_millis);
    let is_retained =
        |it: &u64| *it == log.newest || case.passed(*it).is_none_or(|passed| cut <= passed);
    let mut retained = (0..=log.newest).filter(is_retained);
    let is_whole = |version: &u64| {
        let first = log.base(*version).map_or(0, |it| it + 1);
        (first..=*version).all(|it| log.commits.contains(&it))
    };
    let version = retained.find(|it| !is_whole(it))?;
    Some(format!("I12: version {version} is stranded by the deletion of {deleted} at {at}"))
}

/// What is wrong with a checkpoint.
fn checkpoint(case: &Case, version: u64, parts: &[LogBatch], written: Timestamp) -> Option<String> {
    let Some(truth) = case.version(version).filter(|it| it.at <= written) else {
        return Some("there is no such version".to_string());
    };
    let adds = parts.iter().filter_map(|it| it.adds.as_ref());
    let held: Vec<_> = adds
        .flat_map(|it| (0..it.len()).map(|row| (it.path().value(row).to_string(), it.dv_id(row))))
        .collect();
    let live: BTreeSet<_> =
        truth.files.keys().map(|it| (it.path.clone(), it.vector.clone())).collect();
    if held.len() != live.len() || held.iter().cloned().collect::<BTreeSet<_>>() != live {
        return Some(format!("it holds {held:?}, the version has {live:?}"));
    }
    let txns = parts.iter().flat_map(|it| &it.txns);
    let apps: BTreeMap<_, _> = txns.map(|it| (it.app_id.clone(), it.version)).collect();
    if apps != truth.apps {
        return Some(format!("it holds {apps:?}, the version has {:?}", truth.apps));
    }
    let metadata = parts.iter().find_map(|it| it.metadata.as_ref());
    let configuration = metadata.map(|it| &it.configuration);
    if configuration != Some(&truth.configuration) {
        return Some(format!("it holds {configuration:?}"));
    }
    let removes = parts.iter().filter_map(|it| it.removes.as_ref());
    let dead: BTreeSet<_> = removes
        .flat_map(|it| (0..it.len()).map(|row| (it.path().value(row).to_string(), it.dv_id(row))))
        .collect();
    let cut = written.plus_millis(SKEW_MILLIS - case.data_retention_millis).as_millis();
    let until = usize::try_from(version).unwrap_or(usize::MAX);
    let young = case.truth.iter().take(until.saturating_add(1)).flat_map(|it| &it.tombstones);
    let mut young = young.filter(|(key, stamp)| cut < *stamp && !truth.files.contains_key(key));
    let lost = young.find(|(key, _)| !dead.contains(&(key.path.clone(), key.vector.clone())));
    lost.map(|(key, _)| format!("it has lost the tombstone of {key:?}"))
}
