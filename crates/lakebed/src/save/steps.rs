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
//!
//! Not so in the second layout: what stands together in its sidecars stays there, and from steps
//! they would be ordered each by itself, so that later changes touch all of them.

use lakebed_log::batch::Width;
use lakebed_log::error::{ErrorKind, Result};
use lakebed_log::limits::{CHECKPOINT_STEP_BYTES, CHECKPOINT_STEPS, CHECKPOINT_STEPS_FROM_BYTES};
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
    if of.is_by_catalog() || super::is_second(&of.head) {
        return Ok(None);
    }
    let Some(step) = step.or_else(|| step_bytes(of)) else { return Ok(None) };
    let mut reached = of.segment.checkpoint_version;
    while let Some(next) = next_step(of, reached, step) {
        match older(env, op, store, of, next).await {
            Ok(true) => reached = Some(next),
            Ok(false) => break,
            Err(it) => match it.kind() {
                ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported => {
                    tracing::debug!(error = ?it, version = %next, "no checkpoint on the way");
                    break;
                }
                _ => return Err(it),
            },
        }
    }
    if reached == of.segment.checkpoint_version {
        return Ok(None);
    }
    let newer = load::open(env, op, store, Some(of.head.version)).await?;
    let rests = reached <= newer.segment.checkpoint_version;
    match rests && is_of_the_table(&newer, of) {
        true => write(env, op, store, &newer.without_commits()).await.map(Some),
        false => Ok(None),
    }
}

/// Sees to a checkpoint of an older version; `false` if that is of another table by now.
async fn older(env: &Env, op: &Op, store: &Store, of: &Loaded, next: Version) -> Result<bool> {
    let older = load::open(env, op, store, Some(next)).await?;
    if !is_of_the_table(&older, of) {
        return Ok(false);
    }
    // Who was interrupted left it, or another writer made it.
    if older.segment.checkpoint_version != Some(next) {
        support::checkpointable(&older.head.protocol, older.head.read)?;
        write(env, op, store, &older.without_commits()).await?;
    }
    Ok(true)
}

fn is_of_the_table(it: &Loaded, of: &Loaded) -> bool {
    it.head.metadata.id == of.head.metadata.id
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

/// Commits above a checkpoint, up to the version.
fn tail(of: &Loaded, after: Option<Version>) -> impl Iterator<Item = &LogFile> {
    of.segment.commits.iter().filter(move |it| after < Some(it.path.version()))
}

/// Bytes of a step, if the tail is long enough for steps. Each writes all that came before it, so
/// of a very long tail they are larger.
fn step_bytes(of: &Loaded) -> Option<u64> {
    let tail = tail(of, of.segment.checkpoint_version);
    let bytes = tail.map(|it| it.size).fold(0, u64::saturating_add);
    let step = CHECKPOINT_STEP_BYTES.max(bytes / CHECKPOINT_STEPS);
    (CHECKPOINT_STEPS_FROM_BYTES < bytes).then_some(step)
}

/// The last version of the next step, of at least one commit, if it is not the last of all.
fn next_step(of: &Loaded, after: Option<Version>, step: u64) -> Option<Version> {
    let mut bytes = 0u64;
    let fits = |it: &&LogFile| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(it.size);
        first || bytes <= step
    };
    let last = tail(of, after).take_while(fits).last()?;
    Some(last.path.version()).filter(|it| *it < of.head.version)
}

#[cfg(test)]
#[path = "steps/tests.rs"]
mod tests;
