//! The checkpoint of a large table, made of the one before it and of the commits since, without
//! holding them.
//!
//! The older one is read a slice at a time, and a long tail of commits a range of the order at a
//! time; the newer one leaves as it is encoded, and reading it back goes part by part as well.
//! Memory is some row groups and ranges, however many files there are.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checkpoint::{Pushed, Writer, Written};
use lakebed_log::checksum::Counts;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::files::{Chunk, FileSum};
use lakebed_log::limits::CHECKPOINT_WHOLE_BYTES;
use lakebed_log::log_path::{CheckpointName, LogPath};
use lakebed_log::segment::{Hint, LogFile};

use super::{Saved, helpless, write_hint};
use crate::env::Env;
use crate::load::{self, Fetched, Layers, Loaded, LongTail, Trouble};
use crate::op::Op;
use crate::store::{Store, Upload};

/// Rows of the older checkpoint decoded at once.
/// Few: an allocator that is handed megabytes at a time keeps more of them than it gives back.
const SLICE_ROWS: usize = 1_024;

/// Writes a classic checkpoint from the one that the version rests on, and from `tail` where the
/// commits since are many, reads it back, compares, and writes the hint. `None` where there is
/// nothing to gain or no way: the older one is small, is of this version, does not read, or is not
/// in order.
///
/// # Errors
///
/// As [`checkpoint`](super::checkpoint).
pub(crate) async fn merged(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    tail: Option<&LongTail>,
) -> Result<Option<Saved>> {
    let version = of.head.version;
    let after = of.segment.checkpoint_version;
    let is_small = after.is_none() || of.checkpoint_bytes() <= CHECKPOINT_WHOLE_BYTES;
    if after == Some(version) || (tail.is_none() && is_small) {
        return Ok(None);
    }
    let path = LogPath::Checkpoint(version, CheckpointName::Classic);
    let key = path.to_path();
    let is_there = match store.head(op, &key).await {
        Ok(_) => true,
        Err(it) if it.code() == Code::FileNotFound => false,
        Err(it) => return Err(it),
    };
    let written = match (is_there, tail) {
        (true, None) => None,
        // What is there is held against what would be written.
        _ => match write(env, op, store, of, tail, (!is_there).then_some(key.as_str())).await? {
            Some(it) => Some(it),
            None => return Ok(None),
        },
    };
    let expected = match &written {
        Some(it) => it.sum,
        None => load::sum(env, op, store, of).await.map_err(Trouble::error)?,
    };
    let stored = store.head(op, &key).await?;
    let file = LogFile { path, size: stored.size, modified: stored.modified, etag: stored.etag };
    let (found, alone) =
        load::checkpoint_alone(env, op, store, std::slice::from_ref(&file)).await?;
    let actions = alone.checkpoint_actions();
    // One that was there already may hold other tombstones.
    let differs = written.as_ref().is_some_and(|it| it.is_ours && it.actions != actions);
    if found != expected || differs {
        return Err(differing(store, &key, found.files, expected.files));
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

pub(super) fn differing(store: &Store, key: &str, found: u64, expected: u64) -> Error {
    let what = format!("the checkpoint holds {found} files, the version has {expected}, or others");
    Error::new(Code::CorruptCheckpoint, what).at(format!("{}/{key}", store.location()))
}

/// What was written.
struct Poured {
    actions: u64,
    sum: FileSum,
    /// Does it stand there, rather than another writer's?
    is_ours: bool,
}

/// `None` if the older checkpoint is no help. Without a key nothing is written, and all else is the
/// same.
async fn write(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    tail: Option<&LongTail>,
    key: Option<&str>,
) -> Result<Option<Poured>> {
    let layers = match tail {
        None => load::layers(env, op, store, of, Width::Wide).await,
        Some(_) => load::layers_below(env, op, store, of).await,
    };
    let layers = match layers {
        Ok(it) => it,
        Err(it) => return helpless(it.error()),
    };
    let (head, newest) = (of.head.clone(), layers.newest.clone());
    let writer = match tail {
        None => {
            let now = env.now();
            env.compute(move || Writer::new(&head, &newest, now)).await?
        }
        Some(it) => Writer::of_ranges(&head, it.tail.clone(), it.now)?,
    };
    let upload = match key {
        Some(key) => Some(store.create(op, key).await?),
        None => None,
    };
    let mut pouring = Pouring { env, op, store, upload };
    let poured = match tail {
        None => pouring.older(&layers, writer, &mut std::pin::pin!(futures::stream::empty())).await,
        Some(it) => pouring.tail(&layers, writer, it).await,
    };
    match (poured, pouring.upload) {
        (Ok(Some(written)), upload) => {
            let Written { actions, sum, .. } = written;
            let is_ours = match upload {
                None => false,
                Some(upload) => match upload.finish().await {
                    Ok(_) => true,
                    // Another writer of the same version was faster.
                    Err(it) if it.code() == Code::Conflict => false,
                    Err(it) => return Err(it),
                },
            };
            Ok(Some(Poured { actions, sum, is_ours }))
        }
        (poured, upload) => {
            if let Some(upload) = upload {
                upload.abort().await;
            }
            poured.map(|_| None).or_else(helpless)
        }
    }
}

/// A checkpoint on its way out.
struct Pouring<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    upload: Option<Box<dyn Upload>>,
}

/// What comes of a range of a tail.
type Range = Result<Result<Option<Chunk>, Trouble>>;

impl Pouring<'_> {
    /// A long tail, and what is older, if anything is.
    async fn tail(
        &mut self,
        layers: &Layers,
        writer: Writer,
        tail: &LongTail,
    ) -> Result<Option<Written>> {
        let Pouring { env, op, store, .. } = *self;
        let mut ranges = std::pin::pin!(tail.ranges(env, op, store));
        let mut writer = match self.merge(layers, writer, &mut ranges).await? {
            Some(it) => it,
            None => return Ok(None),
        };
        let mut next = ranges.next().await;
        while let Some(range) = next {
            let range = range?.map_err(Trouble::error)?;
            let write = async {
                let write = move || {
                    range.map(|it| writer.push_range(it)).transpose()?;
                    writer.write_ranges()?;
                    Ok(writer)
                };
                let mut writer = env.compute(write).await?;
                self.send(writer.take()?).await?;
                Ok(writer)
            };
            let (written, following) = futures::join!(write, ranges.next());
            (writer, next) = (written?, following);
        }
        if let Some(it) = tail.tombstones(env, op, store).await.map_err(Trouble::error)? {
            writer.add_tombstones(&it);
        }
        self.finish(writer).await.map(Some)
    }

    /// What is older, and what the writer has of what is newer.
    async fn older(
        &mut self,
        layers: &Layers,
        writer: Writer,
        ranges: &mut (impl Stream<Item = Range> + Unpin),
    ) -> Result<Option<Written>> {
        match self.merge(layers, writer, ranges).await? {
            Some(it) => self.finish(it).await.map(Some),
            None => Ok(None),
        }
    }

    /// Merges the older checkpoint and as much of what is newer as comes before its end. `None` if
    /// it is not in order.
    async fn merge(
        &mut self,
        layers: &Layers,
        mut writer: Writer,
        ranges: &mut (impl Stream<Item = Range> + Unpin),
    ) -> Result<Option<Writer>> {
        let Pouring { env, op, store, .. } = *self;
        for unit in layers.units(op, store, Width::Wide).await.map_err(Trouble::error)? {
            let fetched = unit.fetch(env, op, store).await.map_err(Trouble::error)?;
            // Slices of the unit that are merged: where one waits for a range, the unit is decoded
            // again, because its other slices would have to be held.
            let mut merged = 0;
            loop {
                let again = fetched.clone();
                let push = move || push_unit(again, merged, writer);
                let (after, mut pushed, slices) = env.compute(push).await?;
                writer = after;
                self.send(writer.take()?).await?;
                merged += slices;
                let waits = pushed == Pushed::Waits;
                while pushed == Pushed::Waits {
                    let range = match ranges.next().await {
                        Some(it) => it?.map_err(Trouble::error)?.map(Some),
                        None => Some(None),
                    };
                    let Some(range) = range else { continue };
                    let push = move || {
                        let pushed = match range {
                            Some(it) => writer.push_range(it)?,
                            None => writer.end_ranges()?,
                        };
                        Ok((writer, pushed))
                    };
                    (writer, pushed) = env.compute(push).await?;
                    self.send(writer.take()?).await?;
                }
                match pushed {
                    Pushed::OutOfOrder => return Ok(None),
                    _ if !waits => break,
                    _ => {}
                }
            }
        }
        Ok(Some(writer))
    }

    async fn send(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.upload {
            Some(upload) if !bytes.is_empty() => upload.write(bytes).await,
            _ => Ok(()),
        }
    }

    async fn finish(&mut self, writer: Writer) -> Result<Written> {
        let mut written = self.env.compute(move || writer.finish()).await?;
        self.send(std::mem::take(&mut written.bytes)).await?;
        Ok(written)
    }
}

/// Pushes the slices of a unit but the first ones, up to one that waits, and tells how many.
fn push_unit(unit: Fetched, merged: usize, mut writer: Writer) -> Result<(Writer, Pushed, usize)> {
    let (mut at, mut pushed, mut slices) = (0, Pushed::Merged, 0);
    unit.decode(SLICE_ROWS, |slice: LogBatch| {
        at += 1;
        if merged < at && pushed == Pushed::Merged {
            pushed = writer.push(slice)?;
            slices += 1;
        }
        Ok(())
    })?;
    Ok((writer, pushed, slices))
}
