//! The checkpoint of a table that wants the second layout: it costs what has changed.
//!
//! ```text
//!   checkpoint before   top level -> sidecars a b c d
//!   commits since       remove a file of b, add some
//!   checkpoint          top level -> sidecars a   c d  b'  new
//! ```
//!
//! Which sidecar holds a file that is gone is told by the hashes of its paths, which are kept as
//! long as the table's handle, eight bytes a file; a handle that has none reads the paths once.
//! Sidecars that nothing has touched are neither read nor written.
//!
//! A long tail of commits is not held: its files come in ranges of the order, and sidecars are
//! written of them as they come.
//!
//! Cleanup deletes sidecars that no checkpoint names. Ours names those of the checkpoint before it;
//! so once it is there, that one must be there still. If it is, whoever deletes it later finds ours
//! first; if not, ours may name what is gone, and goes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::{NullableMap, Sidecar};
use lakebed_log::batch::{LogBatch, Names, Width};
use lakebed_log::checkpoint::{
    SIDECAR_ROWS, SidecarFile, render_next_sidecars, render_sidecars, render_top_level, to_merge,
};
use lakebed_log::checksum::Counts;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::files::{Above, Chunk, FileList, FileSum};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::{CheckpointName, LOG_DIR, LogPath, SIDECAR_DIR};
use lakebed_log::mutant::planted;
use lakebed_log::scan::sidecar_tags;
use lakebed_log::segment::{Hint, LogFile};
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;

use super::{Saved, merge::differing, write_hint};
use crate::env::Env;
use crate::load::{self, Layers, Loaded, LongTail, SidecarKeys, Trouble};
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::{Put, Store};

/// Writes a checkpoint of the second layout, from `tail` where the commits since the one before it
/// are many, reads back what is new of it, compares, and writes the hint.
///
/// # Errors
///
/// As [`checkpoint`](super::checkpoint); `log-moving` if the checkpoint before it was cleaned up
/// meanwhile.
pub(crate) async fn second_layout(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    tail: Option<&LongTail>,
) -> Result<Saved> {
    let version = of.head.version;
    let made = make(env, op, store, of, tail).await?;
    let sidecars: Vec<Sidecar> = made.iter().map(|it| it.sidecar.clone()).collect();
    let files: u64 = made.iter().map(|it| it.keys.files).sum();
    let bytes = made.iter().map(|it| it.keys.bytes).fold(0, u64::saturating_add);
    let rows: u64 = made.iter().map(|it| it.keys.files + it.keys.removes).sum();

    let (head, now) = (Arc::clone(&of.head), env.now());
    let named = sidecars.clone();
    let render = move || Ok(render_top_level(&head, now, &named));
    let (text, actions) = env.compute(render).await?;
    let path = LogPath::Checkpoint(version, CheckpointName::Uuid { id: env.id(), json: true });
    let key = path.to_path();
    put(op, store, &key, text.clone()).await?;
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let checked = async {
        let stored = store.get(op, &key, COMMIT_BYTES_MAX).await?;
        let read = LogBatch::from_json_checkpoint(&stored, Width::Head)?;
        if stored != text || read.sidecars != sidecars {
            return Err(differing(store, &key, 0, files));
        }
        // Where the one before it was cleaned up, what both name may be gone as well.
        for file in &of.segment.checkpoint {
            match store.head(op, &file.path.to_path()).await {
                Err(it) if it.code() == Code::FileNotFound => {
                    for sidecar in &sidecars {
                        let key = format!("{LOG_DIR}/{SIDECAR_DIR}/{}", sidecar.path);
                        store.head(op, &key).await?;
                    }
                    break;
                }
                there => drop(there?),
            }
        }
        Ok(())
    };
    if let Err(it) = checked.await {
        // What is proven wrong must not be found. Else it stays, without a hint: by now cleanup may
        // stand on it.
        if matches!(it.code(), Code::FileNotFound | Code::CorruptCheckpoint) {
            store.delete(op, &key).await?;
        }
        let what = "the checkpoint before this one was cleaned up meanwhile";
        return Err(match it.code() {
            Code::FileNotFound => Error::new(Code::LogMoving, what).because(it),
            _ => it,
        });
    }
    let hint = Hint {
        version,
        size: i64::try_from(actions + rows).ok(),
        parts: None,
        size_in_bytes: Some(size),
        num_of_add_files: Some(files),
    };
    write_hint(op, store, &hint).await?;
    let keys = made.into_iter().map(|it| (it.sidecar.path.clone(), it.keys));
    of.keep_sidecar_keys(keys.collect());
    let (table, count) = (store.location(), sidecars.len());
    tracing::info!(table, %version, files, sidecars = count, "checkpoint written");
    let file = LogFile { path, size, modified: now, etag: None };
    Ok(Saved { file, sidecars: Some(Arc::new(sidecars)), counts: Counts::new(files, bytes) })
}

/// A sidecar of the new checkpoint.
struct Made {
    sidecar: Sidecar,
    keys: Arc<SidecarKeys>,
}

/// Writes the sidecars.
async fn make(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    tail: Option<&LongTail>,
) -> Result<Vec<Made>> {
    let layers = match tail {
        None => load::layers(env, op, store, of, Width::Wide).await,
        Some(_) => load::layers_below(env, op, store, of).await,
    };
    let layers = &layers.map_err(Trouble::error)?;
    match tail {
        None => {
            let newest = &layers.newest;
            let mut decided = newest.path_hashes();
            decided.sort_unstable();
            let dead = newest.tombstones().iter().map(|it| it.live.len()).sum::<u64>();
            let (above, rows, now) = (Arc::clone(newest) as _, newest.len() + dead, env.now());
            let making = Making { env, op, store, of, layers, above, rows, now };
            making.make(&decided).await
        }
        Some(it) => {
            let (above, rows, now) = (Arc::clone(&it.tail) as _, it.tail.keys(), it.now);
            let making = Making { env, op, store, of, layers, above, rows, now };
            let mut made = making.make(it.tail.path_hashes()).await?;
            made.extend(making.make_of_tail(it).await?);
            Ok(made)
        }
    }
}

struct Making<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    of: &'a Loaded,
    layers: &'a Layers,
    /// What the commits since say, and of how many files.
    above: Arc<dyn Above>,
    rows: u64,
    now: Timestamp,
}

/// What becomes of a part of the checkpoint before.
enum Fate {
    /// It is named again.
    Shared(Made),
    /// Its rows are put together with what is new.
    Merged,
    /// It is written anew, without what is gone.
    Rewritten,
    /// It holds tombstones alone, and all of them have expired.
    Expired,
}

impl Making<'_> {
    /// `decided` are the hashes of the paths that the commits since name, ascending.
    async fn make(&self, decided: &[u64]) -> Result<Vec<Made>> {
        let Making { env, layers, now, .. } = self;
        let fates = self.fates(decided).await?;
        let mut made = Vec::new();
        let mut pool = vec![FileList::clone(&layers.newest)];
        for (at, fate) in fates.into_iter().enumerate() {
            match fate {
                Fate::Shared(it) => made.push(it),
                Fate::Merged => pool.extend(self.left_of(at).await?),
                Fate::Rewritten => made.extend(self.rewritten(at).await?),
                Fate::Expired => {}
            }
        }
        let (head, now) = (Arc::clone(&self.of.head), *now);
        let render = move || rendered(&head, &FileList::joined(pool, Width::Wide), now);
        for it in env.compute(render).await? {
            made.push(self.write(it).await?);
        }
        Ok(made)
    }

    /// Those of a long tail: a range is read while sidecars of the one before it are written.
    async fn make_of_tail(&self, tail: &LongTail) -> Result<Vec<Made>> {
        let Making { env, op, store, of, now, .. } = self;
        let mut made = Vec::new();
        let mut left: Vec<Chunk> = Vec::new();
        let mut ranges = std::pin::pin!(tail.ranges(env, op, store));
        let mut next = ranges.next().await;
        while let Some(range) = next {
            let range = range?.map_err(Trouble::error)?;
            let write = async {
                let files: Vec<Chunk> = left.drain(..).chain(range).collect();
                let head = Arc::clone(&of.head);
                let render = move || rendered_next(&head, &files);
                let (files, rest) = env.compute(render).await?;
                let mut made = Vec::new();
                for it in files {
                    made.push(self.write(it).await?);
                }
                Ok((made, rest))
            };
            let (written, following) = futures::join!(write, ranges.next());
            let (more, rest) = written?;
            made.extend(more);
            (left, next) = (rest, following);
        }
        let dead = tail.tombstones(env, op, store).await.map_err(Trouble::error)?;
        let (head, now) = (Arc::clone(&of.head), *now);
        let list = FileList::new(left, dead.into_iter().collect(), Width::Wide);
        for it in env.compute(move || rendered(&head, &list, now)).await? {
            made.push(self.write(it).await?);
        }
        let files: u64 = made.iter().map(|it| it.keys.files).sum();
        match files == tail.tail.live() {
            true => Ok(made),
            false => Err(Error::internal("the files of the tail do not add up")),
        }
    }

    async fn fates(&self, decided: &[u64]) -> Result<Vec<Fate>> {
        let Making { env, op, store, of, layers, .. } = self;
        let retention = of.head.properties.tombstone_retention_millis();
        let expired = self.now.as_millis().saturating_sub(retention);
        let mut fates = Vec::new();
        let mut small: Vec<(usize, u64)> = Vec::new();
        let keys = |at: usize| async move {
            let Some(sidecar) = layers.sidecar(at) else { return Ok(None) };
            let keys = match of.sidecar_keys(&sidecar.path) {
                Some(it) => it,
                None => Arc::new(layers.read_keys(env, op, store, at).await?),
            };
            Ok(Some((sidecar, keys)))
        };
        let parts = map_ordered(0..layers.parts(), env.cores() + 1, keys);
        let parts: Vec<_> = parts.try_collect().await?;
        for (at, part) in parts.into_iter().enumerate() {
            let Some((sidecar, keys)) = part else {
                fates.push(Fate::Rewritten);
                continue;
            };
            if keys.files == 0 && keys.removed_until.is_some_and(|it| it < expired) {
                fates.push(Fate::Expired);
                continue;
            }
            let touched = keys.holds_any(decided) && !planted(50);
            let rows = keys.files;
            let is_whole = u64::try_from(SIDECAR_ROWS / 2).is_ok_and(|it| it <= rows);
            match (touched, is_whole, keys.removes) {
                (true, false, _) => fates.push(Fate::Merged),
                (true, true, _) => fates.push(Fate::Rewritten),
                (false, _, removes) => {
                    if !is_whole {
                        small.push((at, rows + removes));
                    }
                    fates.push(Fate::Shared(Made { sidecar: sidecar.clone(), keys }));
                }
            }
        }
        let rows: Vec<u64> = small.iter().map(|it| it.1).collect();
        for merged in to_merge(&rows, self.rows) {
            let fate = small.get(merged).and_then(|it| fates.get_mut(it.0));
            if let Some(fate) = fate {
                *fate = Fate::Merged;
            }
        }
        Ok(fates)
    }

    /// The rows of a part that no commit above it has decided.
    async fn left_of(&self, at: usize) -> Result<Vec<FileList>> {
        let Making { env, op, store, layers, .. } = self;
        let mut lists = Vec::new();
        for unit in layers.units_of(op, store, at, Width::Wide).await.map_err(Trouble::error)? {
            let fetched = unit.fetch(env, op, store).await.map_err(Trouble::error)?;
            let above = Arc::clone(&self.above);
            let decode = move || {
                let mut lists = Vec::new();
                fetched.decode(SIDECAR_ROWS, |slice| {
                    lists.push(undecided(slice, &*above));
                    Ok(())
                })?;
                Ok(lists)
            };
            lists.extend(env.compute(decode).await?);
        }
        Ok(lists)
    }

    /// The same, written again, a slice at a time.
    async fn rewritten(&self, at: usize) -> Result<Vec<Made>> {
        let Making { env, op, store, of, layers, now, .. } = self;
        let mut made = Vec::new();
        for unit in layers.units_of(op, store, at, Width::Wide).await.map_err(Trouble::error)? {
            let fetched = unit.fetch(env, op, store).await.map_err(Trouble::error)?;
            let (head, above, now) = (Arc::clone(&of.head), Arc::clone(&self.above), *now);
            let render = move || {
                let mut files = Vec::new();
                fetched.decode(SIDECAR_ROWS, |slice| {
                    files.extend(rendered(&head, &undecided(slice, &*above), now)?);
                    Ok(())
                })?;
                Ok(files)
            };
            for it in env.compute(render).await? {
                made.push(self.write(it).await?);
            }
        }
        Ok(made)
    }

    /// Writes a sidecar and reads it back.
    async fn write(&self, rendered: Rendered) -> Result<Made> {
        let Making { env, op, store, .. } = self;
        let Rendered { file, keys, mut tags } = rendered;
        let name = format!("{}.parquet", env.id());
        let key = format!("{LOG_DIR}/{SIDECAR_DIR}/{name}");
        put(op, store, &key, file.bytes.clone()).await?;
        let size = u64::try_from(file.bytes.len()).unwrap_or(u64::MAX);
        if store.get(op, &key, size).await? != file.bytes {
            return Err(differing(store, &key, 0, file.sum.files));
        }
        if !tags.is_empty() {
            tags.insert("lakebed.name".to_string(), Some(name.clone()));
        }
        let sidecar = Sidecar {
            path: name,
            size_in_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: env.now().as_millis(),
            tags: (!tags.is_empty()).then_some(tags),
        };
        Ok(Made { sidecar, keys: Arc::new(keys) })
    }
}

/// A sidecar to write, and what it holds.
struct Rendered {
    file: SidecarFile,
    keys: SidecarKeys,
    tags: NullableMap,
}

fn undecided(slice: LogBatch, newest: &dyn Above) -> FileList {
    let adds = slice.adds.map(|it| newest.undecided(it)).into_iter().collect();
    let removes = slice.removes.map(|it| newest.undecided_removes(it)).into_iter().collect();
    FileList::new(adds, removes, Width::Wide)
}

/// The sidecars of a list, each decoded again: what it really holds.
fn rendered(head: &Head, list: &FileList, now: Timestamp) -> Result<Vec<Rendered>> {
    checked(head, render_sidecars(head, list, now, SIDECAR_ROWS)?, list.sum())
}

/// The same of the next files of a tail, as far as they fill sidecars, and those that are left.
fn rendered_next(head: &Head, files: &[Chunk]) -> Result<(Vec<Rendered>, Vec<Chunk>)> {
    let (made, left) = render_next_sidecars(head, files, SIDECAR_ROWS)?;
    let sum_of = |it: &[Chunk]| it.iter().map(FileSum::of).fold(FileSum::default(), FileSum::and);
    let sum = made.iter().map(|it| it.sum).fold(sum_of(&left), FileSum::and);
    if sum != sum_of(files) {
        return Err(Error::internal("the files of a range do not add up"));
    }
    let sum = made.iter().map(|it| it.sum).fold(FileSum::default(), FileSum::and);
    Ok((checked(head, made, sum)?, left))
}

fn checked(head: &Head, files: Vec<SidecarFile>, expected: FileSum) -> Result<Vec<Rendered>> {
    let mut made = Vec::new();
    let mut sum = FileSum::default();
    for file in files {
        let batch = LogBatch::from_parquet(file.bytes.clone(), Width::Narrow)?;
        let keys = SidecarKeys::of(&Names::of(&batch));
        let none = FileList::empty(Width::Narrow);
        let held = batch.adds.map(|it| FileSum::of(&none.undecided(it))).unwrap_or_default();
        if held != file.sum || keys.removes != file.removes {
            return Err(Error::internal("a sidecar does not hold the files it was made of"));
        }
        let tags = match keys.files {
            0 => NullableMap::new(),
            _ => sidecar_tags(&file.bytes, head)?,
        };
        sum = sum.and(held);
        made.push(Rendered { file, keys, tags });
    }
    match sum == expected {
        true => Ok(made),
        false => Err(Error::internal("the files of the sidecars do not add up")),
    }
}

/// Creates an object under a name that is ours alone.
async fn put(op: &Op, store: &Store, key: &str, bytes: bytes::Bytes) -> Result<()> {
    match store.put_if_absent(op, key, bytes).await? {
        Put::Created(_) => {}
        // Whether it is there, and whole, is seen when it is read back.
        Put::Exists => {}
        Put::Unknown(cause) => tracing::debug!(error = ?cause, key, "written, or not"),
    }
    Ok(())
}
