//! The checkpoint of a large table, made of the one before it without holding either.
//!
//! The older one is read a slice at a time, the newer one leaves as it is encoded, and reading it
//! back goes part by part as well. Memory is some row groups, however many files there are.

use std::sync::Arc;

use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checkpoint::{Pushed, Writer, Written};
use lakebed_log::checksum::Counts;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::files::FileSum;
use lakebed_log::limits::CHECKPOINT_WHOLE_BYTES;
use lakebed_log::log_path::{CheckpointName, LogPath};
use lakebed_log::segment::{Hint, LogFile};

use super::{Saved, write_hint};
use crate::env::Env;
use crate::load::{self, Layers, Loaded};
use crate::op::Op;
use crate::store::{Store, Upload};

/// Rows of the older checkpoint decoded at once.
/// Few: an allocator that is handed megabytes at a time keeps more of them than it gives back.
const SLICE_ROWS: usize = 1_024;

/// Writes a classic checkpoint from the one that the version rests on, reads it back, compares,
/// and writes the hint. `None` where there is nothing to gain or no way: the older one is small, is
/// of this version, does not read, or is not in order.
///
/// # Errors
///
/// As [`checkpoint`](super::checkpoint).
pub(crate) async fn merged(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
) -> Result<Option<Saved>> {
    let version = of.head.version;
    if of.segment.checkpoint_version.is_none_or(|it| it == version)
        || of.checkpoint_bytes() <= CHECKPOINT_WHOLE_BYTES
    {
        return Ok(None);
    }
    let path = LogPath::Checkpoint(version, CheckpointName::Classic);
    let key = path.to_path();
    let is_there = match store.head(op, &key).await {
        Ok(_) => true,
        Err(it) if it.code() == Code::FileNotFound => false,
        Err(it) => return Err(it),
    };
    let written = match is_there {
        true => None,
        false => match write(env, op, store, of, &key).await? {
            Some(it) => Some(it),
            None => return Ok(None),
        },
    };
    let expected = match &written {
        Some(it) => it.sum,
        None => load::sum(env, op, store, of).await.map_err(load::Trouble::error)?,
    };
    let stored = store.head(op, &key).await?;
    let file = LogFile { path, size: stored.size, modified: stored.modified, etag: stored.etag };
    let (found, alone) =
        load::checkpoint_alone(env, op, store, std::slice::from_ref(&file)).await?;
    let actions = alone.checkpoint_actions();
    // One that was there already may hold other tombstones.
    let differs = written.as_ref().is_some_and(|it| it.is_ours && it.actions != actions);
    if found != expected || differs {
        return Err(differing(store, &key, found, expected));
    }
    let hint = Hint {
        version,
        size: i64::try_from(actions).ok(),
        parts: None,
        size_in_bytes: Some(file.size),
        num_of_add_files: Some(found.files),
    };
    write_hint(op, store, &hint).await?;
    let (table, files, size) = (store.location(), found.files, file.size);
    tracing::info!(table, %version, files, size, "checkpoint written");
    // Another writer's may be of the second layout.
    let sidecars = written.is_some_and(|it| it.is_ours).then(Arc::default);
    Ok(Some(Saved { file, sidecars, counts: Counts::of(found) }))
}

pub(super) fn differing(store: &Store, key: &str, found: FileSum, expected: FileSum) -> Error {
    let what = format!(
        "the checkpoint holds {} files, the version has {}, or other ones",
        found.files, expected.files
    );
    Error::new(Code::CorruptCheckpoint, what).at(format!("{}/{key}", store.location()))
}

/// What was written.
struct Poured {
    actions: u64,
    sum: FileSum,
    /// Does it stand there, rather than another writer's?
    is_ours: bool,
}

/// `None` if the older checkpoint is no help.
async fn write(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    key: &str,
) -> Result<Option<Poured>> {
    let layers = match load::layers(env, op, store, of, Width::Wide).await {
        Ok(it) => it,
        Err(it) => return helpless(it.error()),
    };
    let (head, newest, now) = (of.head.clone(), layers.newest.clone(), env.now());
    let writer = env.compute(move || Writer::new(&head, &newest, now)).await?;
    let mut upload = store.create(op, key).await?;
    match pour(env, op, store, &layers, writer, &mut upload).await {
        Ok(Some(written)) => {
            let Written { actions, sum, .. } = written;
            match upload.finish().await {
                Ok(_) => Ok(Some(Poured { actions, sum, is_ours: true })),
                // Another writer of the same version was faster.
                Err(it) if it.code() == Code::Conflict => {
                    Ok(Some(Poured { actions, sum, is_ours: false }))
                }
                Err(it) => Err(it),
            }
        }
        Ok(None) => {
            upload.abort().await;
            Ok(None)
        }
        Err(it) => {
            upload.abort().await;
            helpless(it)
        }
    }
}

/// What is wrong with the older checkpoint is for the loader to step around.
fn helpless(error: Error) -> Result<Option<Poured>> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::NotFound => {
            tracing::debug!(error = ?error, "the older checkpoint is no help");
            Ok(None)
        }
        _ => Err(error),
    }
}

async fn pour(
    env: &Env,
    op: &Op,
    store: &Store,
    layers: &Layers,
    mut writer: Writer,
    upload: &mut Box<dyn Upload>,
) -> Result<Option<Written>> {
    for unit in layers.units(op, store, Width::Wide).await.map_err(load::Trouble::error)? {
        let fetched = unit.fetch(env, op, store).await.map_err(load::Trouble::error)?;
        let push = move || {
            let mut order = Pushed::Merged;
            fetched.decode(SLICE_ROWS, |slice: LogBatch| {
                if order == Pushed::Merged {
                    order = writer.push(slice)?;
                }
                Ok(())
            })?;
            Ok((writer, order))
        };
        let (after, order) = env.compute(push).await?;
        writer = after;
        if order == Pushed::OutOfOrder {
            return Ok(None);
        }
        let bytes = writer.take();
        if !bytes.is_empty() {
            upload.write(bytes).await?;
        }
    }
    let mut written = env.compute(move || writer.finish()).await?;
    upload.write(std::mem::take(&mut written.bytes)).await?;
    Ok(Some(written))
}
