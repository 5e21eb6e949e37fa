//! Writes checkpoint, hint and checksum.
//!
//! None of them is the truth: the commits are. They only spare readers work, so whoever calls this
//! may ignore a failure, and what is written here is verified before anything points at it: a
//! checkpoint that is wrong would be believed long after the commits that prove it wrong are gone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use lakebed_log::action::Sidecar;
use lakebed_log::batch::{FileUnit, Footer, LogBatch, Width, parquet_footer};
use lakebed_log::checkpoint;
use lakebed_log::checksum::{Checksum, Counts};
use lakebed_log::compact;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::feature::TableFeature;
use lakebed_log::limits::{CHECKPOINT_WHOLE_BYTES, HINT_BYTES_MAX};
use lakebed_log::log_path::{CheckpointName, HINT, LOG_DIR, LogPath};
use lakebed_log::mutant::planted;
use lakebed_log::segment::{Hint, LogFile};
use lakebed_log::state::{Head, TableState};
use lakebed_log::version::Version;

use crate::env::Env;
use crate::load::{self, Loaded, TailBounds};
use crate::op::Op;
use crate::store::{Put, Store};

mod merge;
mod second;

use merge::merged;
use second::second_layout;

/// A checkpoint that was written, or was there.
pub struct Saved {
    /// Its file, as a listing would show it: the classic one, or the top level.
    pub file: LogFile,
    /// The sidecars that it names, where that is known.
    pub(crate) sidecars: Option<Arc<Vec<Sidecar>>>,
    /// Number and bytes of the live files in it.
    pub counts: Option<Counts>,
}

/// Largest checksum that is read for its counts, in bytes: some hold every file.
const CHECKSUM_BYTES_MAX: u64 = 16 << 20;

/// About the bytes that a checkpoint has to say of a file, dead or alive, or of an application.
const ABOUT_A_ROW: u64 = 400;

/// Writes a checkpoint of a version in the layout that the table wants, from the one before it and
/// the commits since, or from a long tail of commits. `None` where the whole state is needed, or is
/// as good.
///
/// # Errors
///
/// What reading and writing give; `corrupt-checkpoint` if what was written does not hold the files
/// of the version.
pub(crate) async fn from_last(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
) -> Result<Option<Saved>> {
    from_tail_or_last(env, op, store, of, TailBounds::default()).await
}

async fn from_tail_or_last(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    bounds: TailBounds,
) -> Result<Option<Saved>> {
    if of.segment.checkpoint_version != Some(of.head.version) {
        let tail = match load::long_tail(env, op, store, of, bounds).await {
            Ok(it) => it,
            Err(it) => helpless(it.error())?,
        };
        if let Some(tail) = tail {
            let saved = match is_second(&of.head) {
                true => second_layout(env, op, store, of, Some(&tail)).await.map(Some),
                false => merged(env, op, store, of, Some(&tail)).await,
            };
            let saved = saved.or_else(helpless)?;
            if saved.is_some() {
                return Ok(saved);
            }
        }
    }
    if is_second(&of.head) {
        return second_layout(env, op, store, of, None).await.map(Some);
    }
    merged(env, op, store, of, None).await
}

/// What is wrong with what stands in the log is for the loader to step around, and to tell.
fn helpless<T>(error: Error) -> Result<Option<T>> {
    let moved = matches!(error.code(), Code::ObjectChanged | Code::LimitExceeded);
    if !moved && !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) {
        return Err(error);
    }
    tracing::debug!(error = ?error, "what is older is no help");
    Ok(None)
}

/// Does the table want the second layout?
fn is_second(head: &Head) -> bool {
    head.properties.checkpoint_policy_v2 && head.protocol.supports(&TableFeature::V2Checkpoint)
}

/// Writes a classic checkpoint of a wide state, reads it back and compares, then the hint (never
/// back to an older version).
///
/// One that is there already is left as it is, because two writers of one version write the same;
/// it is compared all the same, unless it is of the second layout.
///
/// # Errors
///
/// What writing and reading give; `corrupt-checkpoint` if what is there does not hold the files of
/// the state. Then the hint is not written.
pub async fn checkpoint(env: &Env, op: &Op, store: &Store, state: &TableState) -> Result<Saved> {
    let version = state.head.version;
    let named = if planted(14) { version.next().unwrap_or(version) } else { version };
    let path = LogPath::Checkpoint(named, CheckpointName::Classic);
    let key = path.to_path();
    let (now, rendered) = (env.now(), state.clone());
    let dead: u64 = state.files.tombstones().iter().map(|it| it.live.len()).sum();
    let rows = state.files.sum().files + dead + state.head.txns.len() as u64;
    let about = usize::try_from(rows.saturating_mul(ABOUT_A_ROW)).unwrap_or(usize::MAX);
    let written = env.compute_of(about, move || checkpoint::render(&rendered, now)).await?;
    if let Put::Unknown(cause) = store.put_if_absent(op, &key, written.bytes.clone()).await? {
        tracing::debug!(error = ?cause, "whether the checkpoint was written is not known yet");
    }

    // Another writer's may keep other tombstones, by its own clock, so it may be larger than ours.
    let size_max = u64::try_from(written.bytes.len()).unwrap_or(u64::MAX).saturating_mul(2);
    let stored = store.get(op, &key, size_max.max(1 << 20)).await?;
    let size = u64::try_from(stored.len()).unwrap_or(u64::MAX);
    let ours = stored == written.bytes;
    let expected = digest_of_state(state);
    let compare = move || {
        let (head, found) = contents(stored)?;
        // Another writer's, of the second layout: its files may lie elsewhere, and its hint is its
        // writer's.
        if !ours && head.checkpoint_metadata.is_some() {
            return Ok(None);
        }
        let actions = head.actions;
        if found != expected || (ours && actions != written.actions) {
            let what = format!(
                "the checkpoint holds {} files, the version has {}, or other ones",
                found.0, expected.0
            );
            return Err(Error::new(Code::CorruptCheckpoint, what));
        }
        Ok(Some((actions, written.hint)))
    };
    let compared = env.compute_of(about, compare).await;
    let compared = compared.map_err(|it| it.at(format!("{}/{key}", store.location())))?;
    let file = LogFile { path, size, modified: now, etag: None };
    let counts = Counts::of(state.files.sum());
    let Some((actions, hint)) = compared else {
        return Ok(Saved { file, sidecars: None, counts });
    };

    let hint = Hint { size: i64::try_from(actions).ok(), size_in_bytes: Some(size), ..hint };
    write_hint(op, store, &hint).await?;
    let files = expected.0;
    tracing::info!(table = store.location(), %version, files, size, "checkpoint written");
    Ok(Saved { file, sidecars: ours.then(Arc::default), counts })
}

/// Points readers at a checkpoint unless they are pointed at a newer one already.
async fn write_hint(op: &Op, store: &Store, hint: &Hint) -> Result<()> {
    let key = format!("{LOG_DIR}/{HINT}");
    let there = store.get(op, &key, HINT_BYTES_MAX).await.ok().and_then(|it| Hint::parse(&it));
    match there {
        Some(it) if it.version == hint.version => return Ok(()),
        // Another writer's newer one, if there is such a checkpoint; else it misleads everybody.
        Some(it) if hint.version < it.version => {
            let files = load::list(op, store, Some(it.version)).await?;
            let is_there = |file: &LogFile| match file.path {
                LogPath::Checkpoint(version, _) => it.version <= version,
                _ => false,
            };
            if files.iter().any(is_there) {
                return Ok(());
            }
        }
        _ => {}
    }
    store.put(op, &key, hint.to_json().into()).await
}

/// Count of the live files and a sum over their keys, which does not depend on their order.
fn digest_of_state(state: &TableState) -> (u64, u64) {
    let keys = state.files.iter().filter_map(|at| {
        let (adds, row) = state.files.row(at)?;
        Some(digest(adds.path().value(row), adds.dv_id(row)))
    });
    keys.fold((0, 0), |(count, sum), it| (count + 1, it.wrapping_add(sum)))
}

/// The head of a checkpoint, and the digest of its live files. A large one is decoded a part at a
/// time: nobody needs all of it at once.
fn contents(stored: Bytes) -> Result<(LogBatch, (u64, u64))> {
    let size = u64::try_from(stored.len()).unwrap_or(u64::MAX);
    let footer = match parquet_footer(&stored, size)? {
        Footer::Ready(footer) if CHECKPOINT_WHOLE_BYTES < size => footer,
        _ => {
            let batch = LogBatch::from_parquet(stored, Width::Narrow)?;
            let digest = digest_of_batch(&batch);
            return Ok((batch, digest));
        }
    };
    let head = LogBatch::from_parquet(stored.clone(), Width::Head)?;
    let mut found = (0, 0u64);
    for unit in FileUnit::of(&footer, Width::Narrow) {
        let (count, sum) = digest_of_batch(&unit.decode(stored.clone(), &footer)?);
        found = (found.0 + count, found.1.wrapping_add(sum));
    }
    Ok((head, found))
}

fn digest_of_batch(batch: &LogBatch) -> (u64, u64) {
    let Some(adds) = &batch.adds else { return (0, 0) };
    let keys = (0..adds.len()).map(|row| digest(adds.path().value(row), adds.dv_id(row)));
    keys.fold((0, 0), |(count, sum), it| (count + 1, it.wrapping_add(sum)))
}

fn digest(path: &str, vector: Option<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, vector).hash(&mut hasher);
    hasher.finish()
}

/// Writes the checksum of a version if it has none. One PUT.
///
/// # Errors
///
/// What writing gives.
pub async fn checksum(op: &Op, store: &Store, checksum: &Checksum) -> Result<()> {
    let key = LogPath::Checksum(checksum.head.version).to_path();
    store.put_new(op, &key, checksum.to_json().into()).await.map(|_| ())
}

/// Number and bytes of the live files of a version, as its checksum says. One GET; none for a
/// version that we have made ourselves, because then we know whether there is a checksum.
pub(crate) async fn stored_counts(op: &Op, store: &Store, of: &Loaded) -> Option<Counts> {
    if !of.is_listed() {
        return None;
    }
    let key = LogPath::Checksum(of.head.version).to_path();
    let stored = store.get(op, &key, CHECKSUM_BYTES_MAX).await.ok()?;
    Counts::stored(&stored, &of.head)
}

/// Puts the last commits together, if `lakebed.logCompactionInterval` says that so many have come
/// since the checkpoint, or since they were put together last. One PUT.
///
/// # Errors
///
/// What reading them gives, and writing.
pub(crate) async fn compact_if_due(env: &Env, op: &Op, store: &Store, of: &Loaded) -> Result<()> {
    let Some(interval) = of.head.properties.log_compaction_interval else { return Ok(()) };
    let last = of.head.version.get();
    let after = of.segment.checkpoint_version.map_or(0, |it| it.get() + 1);
    let count = (last + 1).saturating_sub(after);
    if count == 0 || !count.is_multiple_of(interval) {
        return Ok(());
    }
    let Some(first) = Version::new(last + 1 - interval) else { return Ok(()) };
    let Some(commits) = load::commits_from(env, op, store, of, first).await? else {
        return Ok(());
    };
    let batches = commits.iter().map(|it| it.batch.clone()).collect();
    let text = env.compute(move || compact::compact(batches)).await?;
    if text.is_empty() {
        return Ok(());
    }
    let key = LogPath::Compacted { first, last: of.head.version }.to_path();
    store.put_new(op, &key, text).await.map(|_| ())
}

#[cfg(test)]
#[path = "save/tests.rs"]
mod tests;
