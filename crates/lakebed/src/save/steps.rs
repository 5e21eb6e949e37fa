//! The checkpoint of a long tail of commits, in steps.
//!
//! The commits above a checkpoint are held, statistics and all, while the next one is made. Where
//! they are very many, because there was none for long, older versions get theirs first, each made
//! of the one before it:
//!
//! ```text
//!   commits       0  1  2  3  4  5  6  7  8
//!   checkpoints         2     4     6     8
//! ```
//!
//! So memory is that of one step. Each of them is as good as any other checkpoint, and who was
//! interrupted goes on from the last.

use lakebed_log::batch::Width;
use lakebed_log::error::{ErrorKind, Result};
use lakebed_log::limits::{CHECKPOINT_STEP_BYTES, CHECKPOINT_STEPS_MAX};
use lakebed_log::segment::LogFile;
use lakebed_log::support;
use lakebed_log::version::Version;

use super::{Saved, checkpoint, from_last};
use crate::env::Env;
use crate::load::{self, Loaded};
use crate::op::Op;
use crate::store::Store;

/// Writes checkpoints of older versions until the commits that are left make up one step, and on
/// the last of them that of the version. `None` if one step is all there is, or the way is barred:
/// then it has to do without. `step` is in bytes of commits.
///
/// # Errors
///
/// What reading and writing give, but for what says something of the older version alone.
pub(crate) async fn in_steps(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    step: Option<u64>,
) -> Result<Option<Saved>> {
    if of.is_by_catalog() {
        return Ok(None);
    }
    let step = step.unwrap_or_else(|| step_bytes(of));
    let mut reached: Option<Loaded> = None;
    loop {
        let from = reached.as_ref().unwrap_or(of);
        let Some(next) = next_step(from, step) else { break };
        match older(env, op, store, of, next).await {
            Ok(Some(it)) => reached = Some(from.rebased(it.file, it.sidecars)),
            Ok(None) => break,
            Err(it) => match it.kind() {
                ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported => {
                    tracing::debug!(error = ?it, version = %next, "no checkpoint on the way");
                    break;
                }
                _ => return Err(it),
            },
        }
    }
    match reached {
        Some(it) => write(env, op, store, &it).await.map(Some),
        None => Ok(None),
    }
}

/// A checkpoint of the older version; `None` if it is of another table by now.
async fn older(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    next: Version,
) -> Result<Option<Saved>> {
    let older = load::open(env, op, store, Some(next)).await?;
    if older.head.metadata.id != of.head.metadata.id {
        return Ok(None);
    }
    support::checkpointable(&older.head.protocol, older.head.read)?;
    write(env, op, store, &older.without_commits()).await.map(Some)
}

/// One checkpoint.
async fn write(env: &Env, op: &Op, store: &Store, of: &Loaded) -> Result<Saved> {
    match from_last(env, op, store, of).await? {
        Some(saved) => Ok(saved),
        None => {
            let state = load::files(env, op, store, of, Width::Wide, None).await?;
            checkpoint(env, op, store, &state).await
        }
    }
}

/// Commits above the checkpoint that the version rests on.
fn tail(of: &Loaded) -> impl Iterator<Item = &LogFile> {
    let after = of.segment.checkpoint_version;
    of.segment.commits.iter().filter(move |it| after < Some(it.path.version()))
}

/// Of a very long tail, steps are larger: each writes all that came before it.
fn step_bytes(of: &Loaded) -> u64 {
    let bytes = tail(of).map(|it| it.size).fold(0, u64::saturating_add);
    CHECKPOINT_STEP_BYTES.max(bytes / CHECKPOINT_STEPS_MAX)
}

/// The last version of the next step, of at least one commit, if it is not the last of all.
fn next_step(of: &Loaded, step: u64) -> Option<Version> {
    let mut bytes = 0u64;
    let fits = |it: &&LogFile| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(it.size);
        first || bytes <= step
    };
    let last = tail(of).take_while(fits).last()?;
    Some(last.path.version()).filter(|it| *it < of.head.version)
}

#[cfg(test)]
#[path = "steps/tests.rs"]
mod tests;
