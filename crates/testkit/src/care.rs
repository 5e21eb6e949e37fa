//! A full vacuum, plain: what deletes data in a simulated run until the engine's own does; and a
//! log cleanup as other engines have it.
//!
//! Vacuum is the dangerous kind of code, so its rules stand by themselves. It lists first and looks
//! at the table afterwards: what is in no version then, and old, will be in none. What left the
//! table is kept for the retention after the latest moment at which it can have left, which is
//! later than its stamp. Files of deletion vectors are files like others.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use lakebed::op::Op;
use lakebed::store::{Object, Store};
use lakebed::{Env, Error, Result, Snapshot, Table, Timestamp, Version, Width};
use lakebed_log::action::{DeletionVector, Remove, VectorBytes};
use lakebed_log::log_path::{CheckpointName, LogPath};
use lakebed_log::mutant::planted;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::client::ROOT;
use crate::sim_store::SimStore;
use crate::weather::{DATA_RETENTION_HOURS, LONG_MINUTES, SKEW_MINUTES};

/// Cleans up a log as others do: without a marker, commits from the lowest on, checkpoints last.
///
/// # Errors
///
/// What the store gives.
pub async fn clean(env: &Env, op: &Op, store: &Store, table: &Table) -> Result<()> {
    let newest = table.snapshot().await?;
    let retention = newest.head().properties.log_retention_millis;
    let listed = store.list(op, "_delta_log/", None).await?;
    let now = env.now().plus_millis(-SKEW_MINUTES * 60_000);
    let Some(keep) = first_kept(&listed, now.plus_millis(-retention)) else { return Ok(()) };
    let (mut commits, mut checkpoints) = (Vec::new(), Vec::new());
    for object in &listed {
        match log_path(object) {
            Some(path) if keep <= path.version() => {}
            Some(LogPath::Checkpoint(..)) => checkpoints.push(&object.key),
            Some(_) => commits.push(&object.key),
            None => {}
        }
    }
    for key in commits.into_iter().chain(checkpoints) {
        store.delete(op, key).await?;
    }
    Ok(())
}

fn log_path(object: &Object) -> Option<LogPath> {
    LogPath::parse(object.key.strip_prefix("_delta_log/")?)
}

/// The version of the checkpoint from which everything retained can be made up. A version is
/// retained while the one after it is not older than the cut.
fn first_kept(listed: &[Object], cut: Timestamp) -> Option<Version> {
    let (mut commits, mut checkpoints) = (Vec::new(), Vec::new());
    for object in listed {
        match log_path(object) {
            Some(LogPath::Commit(version)) => commits.push((version, object.modified)),
            Some(LogPath::Checkpoint(version, CheckpointName::Classic)) => {
                checkpoints.push(version);
            }
            _ => {}
        }
    }
    let last = commits.last()?.0;
    let passed = |(version, at): &(Version, Timestamp)| *at < cut && *version <= last;
    // The commits that passed the cut, from below; the last of them is still current at the cut.
    let retained = commits.iter().take_while(|it| passed(it)).last()?.0;
    checkpoints.into_iter().filter(|it| *it <= retained).max()
}

/// Longest time between the stamp of a tombstone and the moment at which its commit takes effect.
const COMMIT_MILLIS_MAX: i64 = {
    let long = LONG_MINUTES as i64 * 60_000;
    DATA_RETENTION_HOURS as i64 * 3_600_000 / 3 + 2 * long + SKEW_MINUTES * 60_000
};

/// Deletes what is in no version and has been there for longer than the retention, and what left
/// the table longer ago than that.
///
/// # Errors
///
/// What the store gives.
pub async fn vacuum(
    env: &Env,
    op: &Op,
    store: &Store,
    objects: &SimStore,
    table: &Table,
    held: Option<&Snapshot>,
) -> Result<()> {
    let listed: Vec<_> =
        objects.list(Some(&Path::from(ROOT))).try_collect().await.map_err(failed)?;
    let fresh = table.snapshot().await?;
    let snapshot = held.filter(|_| planted(22)).unwrap_or(&fresh);
    let retention = snapshot.head().properties.deleted_file_retention_millis;
    let cut = env.now().plus_millis(-retention);
    let kept = kept(op, snapshot, cut).await?;
    for meta in listed {
        let key = meta.location.as_ref().strip_prefix(ROOT).unwrap_or("").trim_start_matches('/');
        let is_log = key.is_empty() || key.starts_with("_delta_log");
        let is_young = cut <= Timestamp::from_millis(meta.last_modified.timestamp_millis());
        if is_log || kept.contains(key) || (is_young && !planted(10)) {
            continue;
        }
        store.delete(op, key).await?;
    }
    Ok(())
}

/// Keys of data files and of files of vectors that a version may need.
async fn kept(op: &Op, snapshot: &Snapshot, cut: Timestamp) -> Result<BTreeSet<String>> {
    let state = snapshot.state(op, Width::Wide).await?;
    let mut kept = BTreeSet::new();
    let mut keep = |path: String, vector: Option<DeletionVector>| {
        if let Some(VectorBytes::File { path, .. }) = vector.map(|it| it.bytes()).transpose()? {
            kept.insert(path);
        }
        kept.insert(path);
        Ok::<(), Error>(())
    };
    for at in state.files.iter() {
        let add = state.files.get(at)?;
        keep(add.path, add.deletion_vector)?;
    }
    let late = if planted(26) { 0 } else { COMMIT_MILLIS_MAX };
    for chunk in state.files.tombstones() {
        for row in chunk.live.iter() {
            let remove: Remove = chunk.rows.get(usize::try_from(row).unwrap_or(usize::MAX))?;
            let stamp = Timestamp::from_millis(remove.deletion_timestamp.unwrap_or(0));
            if cut <= stamp.plus_millis(late) && !planted(11) {
                keep(remove.path, remove.deletion_vector)?;
            }
        }
    }
    Ok(kept)
}

fn failed(error: object_store::Error) -> Error {
    Error::new(lakebed::Code::Unavailable, error.to_string())
}
