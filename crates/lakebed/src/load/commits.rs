//! Fetches commits and decodes them, a part of the tail at a time.
//!
//! A tail may be long, and its commits large: bytes are fetched so many at a time, and let go once
//! they are decoded, but for those of the newest commits, which are kept for whoever asks for the
//! files next.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use lakebed_log::batch::{LogBatch, Run, Width};
use lakebed_log::error::{Code, ErrorKind, Result};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::LogPath;
use lakebed_log::segment::LogFile;
use lakebed_log::version::Version;

use super::fetch::{FETCHES, Trouble, all, changed};
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// Commits fetched before the first of them is decoded, at most.
const FETCHED_TOGETHER: usize = 512;
/// And bytes of them; of more than one.
const FETCHED_BYTES: u64 = 32 << 20;
/// Most looks at a commit whose bytes are damaged in another way each time.
const LOOKS_MAX: usize = 5;
/// Commit bytes kept for [`files`](super::files); beyond it the oldest are fetched again when they
/// are needed.
pub(super) const KEPT_BYTES_MAX: usize = 32 << 20;
/// Commits of a tail from which on it is long.
const RUN_MIN: usize = 64;
/// Commits decoded in one go.
const DECODED_TOGETHER: usize = 32;

/// A commit that was read, or written; or the compacted file of several.
pub(crate) struct Commit {
    /// The first version it covers: its own, but for a compacted file.
    pub(crate) first: Version,
    pub(crate) version: Version,
    /// None of a commit that is not kept.
    pub(crate) bytes: Bytes,
    /// What of its file actions was decoded.
    pub(crate) width: Width,
    pub(crate) batch: LogBatch,
    /// Where its file actions are, if they were decoded together with those of its neighbours.
    pub(crate) run: Option<Arc<CommitRun>>,
}

/// File actions of neighbouring commits, decoded together.
pub(crate) struct CommitRun {
    pub(crate) first: Version,
    pub(crate) last: Version,
    pub(crate) files: Run,
}

/// Commits and compacted files, decoded, in the order of `files`; their bytes are let go.
pub(crate) async fn read_commits(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
    width: Width,
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let how = Reading { width, together: false, kept: false };
    read(env, op, store, files, how).await
}

/// The same with their bytes, to be kept.
pub(crate) async fn read_kept(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let how = Reading { width: Width::Narrow, together: false, kept: true };
    read(env, op, store, files, how).await
}

/// The same of a tail that may be long, and how many of the oldest are not to be kept: of those, no
/// more than the small actions are decoded. With `all` there are none. The file actions of
/// neighbours are decoded together where there are many, see [`Commit::run`].
pub(crate) async fn read_tail(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
    all: bool,
) -> Result<(Vec<Arc<Commit>>, usize), Trouble> {
    let mut left = u64::try_from(KEPT_BYTES_MAX).unwrap_or(u64::MAX);
    let fits = |it: &&LogFile| match left.checked_sub(it.size) {
        Some(it) => {
            left = it;
            true
        }
        None => false,
    };
    let kept = if all { files.len() } else { files.iter().rev().take_while(fits).count() };
    let (older, newer) = files.split_at(files.len() - kept);
    let how = Reading { width: Width::Head, together: false, kept: false };
    let mut commits = read(env, op, store, older, how).await?;
    let together = RUN_MIN <= files.len();
    let how = Reading { width: Width::Narrow, together, kept: true };
    commits.extend(read(env, op, store, newer, how).await?);
    Ok((commits, older.len()))
}

/// How commits are read.
#[derive(Clone, Copy)]
struct Reading {
    width: Width,
    /// Are file actions of neighbours decoded together?
    together: bool,
    /// Do the bytes stay?
    kept: bool,
}

async fn read(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
    how: Reading,
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let mut commits = Vec::with_capacity(files.len());
    let mut left = files;
    while !left.is_empty() {
        let (files, rest) = left.split_at(fetched_together(left));
        left = rest;
        let keys: Vec<_> = files.iter().map(|it| it.path.to_path()).collect();
        let bytes: u64 = files.iter().map(|it| it.size).fold(0, u64::saturating_add);
        let budget = env.budget();
        let permit = budget.acquire(bytes.min(budget.total())).await.map_err(Trouble::Final)?;
        let fetched = store.get_many(op, &keys, COMMIT_BYTES_MAX).await;
        let mut items = Vec::with_capacity(files.len());
        for (file, bytes) in files.iter().zip(fetched) {
            let bytes = as_listed(store, file, bytes).map_err(|it| it.of(file))?;
            items.push((file.clone(), bytes));
        }
        // A thread per commit would cost more than most commits do.
        let groups: Vec<_> = items.chunks(DECODED_TOGETHER).map(<[_]>::to_vec).collect();
        drop(items);
        // Others than the only one go to several threads.
        let alone = groups.len() == 1;
        let decode = |group: Vec<(LogFile, Bytes)>| decode_group(env, op, store, group, how, alone);
        let decoded = all(map_ordered(groups, env.cores(), decode)).await?;
        commits.extend(decoded.into_iter().flatten());
        drop(permit);
    }
    Ok(commits)
}

/// How many of the next files are fetched at once: at least one.
pub(super) fn fetched_together(files: &[LogFile]) -> usize {
    let mut bytes = 0u64;
    let fits = |it: &&LogFile| {
        bytes = bytes.saturating_add(it.size);
        bytes <= FETCHED_BYTES
    };
    files.iter().take(FETCHED_TOGETHER).take_while(fits).count().clamp(1, files.len().max(1))
}

/// The outer error never happens; the inner one says what to try next.
async fn decode_group(
    env: &Env,
    op: &Op,
    store: &Store,
    group: Vec<(LogFile, Bytes)>,
    how: Reading,
    alone: bool,
) -> Result<Result<Vec<Arc<Commit>>, Trouble>> {
    let Reading { width, together, kept } = how;
    let items = group.clone();
    let bytes = if alone { items.iter().map(|it| it.1.len()).sum() } else { usize::MAX };
    let decode = move || {
        if together && let Some(commits) = decode_run(&items)? {
            return Ok(commits);
        }
        let decode = |(file, bytes): (LogFile, Bytes)| {
            let commit = decode_now(&file.path, &bytes, width)?;
            Ok(Arc::new(if kept { Commit { bytes, ..commit } } else { commit }))
        };
        items.into_iter().map(decode).collect::<Result<Vec<_>>>()
    };
    match env.compute_of(bytes, decode).await {
        Ok(it) => Ok(Ok(it)),
        // Which one it was, and whether the damage is in the store, is found out one by one.
        Err(it) if it.kind() == ErrorKind::Corrupt || it.kind() == ErrorKind::Exhausted => {
            let mut commits = Vec::with_capacity(group.len());
            for (file, _) in &group {
                match read_commit(env, op, store, file, width).await {
                    Ok(it) => commits.push(it),
                    Err(it) => return Ok(Err(it.of(file))),
                }
            }
            Ok(Ok(commits))
        }
        Err(it) => Ok(Err(Trouble::Final(it.at(store.location())))),
    }
}

/// `None` if they have to be decoded one by one.
fn decode_run(items: &[(LogFile, Bytes)]) -> Result<Option<Vec<Arc<Commit>>>> {
    let versions = items.iter().map(|(file, _)| match file.path {
        LogPath::Commit(version) => Some(version),
        _ => None,
    });
    let Some(versions) = versions.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let (Some(first), Some(last)) = (versions.first(), versions.last()) else { return Ok(None) };
    let bytes: Vec<Bytes> = items.iter().map(|it| it.1.clone()).collect();
    bytes.iter().try_for_each(|it| lakebed_log::commit::verify(it))?;
    let Some((batches, files)) = Run::from_commits(&bytes)? else { return Ok(None) };
    let run = Arc::new(CommitRun { first: *first, last: *last, files });
    let commits = versions.iter().zip(bytes).zip(batches).map(|((version, bytes), batch)| {
        let run = Some(Arc::clone(&run));
        let (first, version) = (*version, *version);
        Arc::new(Commit { first, version, bytes, width: Width::Head, batch, run })
    });
    Ok(Some(commits.collect()))
}

/// The bytes of a listed file, if it still is that file.
pub(super) fn as_listed(
    store: &Store,
    file: &LogFile,
    bytes: Result<Bytes>,
) -> Result<Bytes, Trouble> {
    match bytes {
        Ok(it) if u64::try_from(it.len()) == Ok(file.size) => Ok(it),
        Ok(it) => Err(Trouble::Moved(changed(store, &file.path.to_path(), file.size, it.len()))),
        Err(it) if it.code() == Code::FileNotFound => Err(Trouble::Moved(it)),
        Err(it) => Err(Trouble::Final(it)),
    }
}

/// One commit, verified and decoded.
pub(super) async fn read_commit(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    width: Width,
) -> Result<Arc<Commit>, Trouble> {
    let mut damaged = None;
    for _ in 1..LOOKS_MAX {
        let bytes = listed(op, store, file).await?;
        match decode_file(env, store, file.path.clone(), bytes.clone(), width).await {
            // Damage may be on the way and not in the store, unless two looks agree on it.
            Err(it) if it.kind() == ErrorKind::Corrupt && damaged.as_ref() != Some(&bytes) => {
                damaged = Some(bytes);
            }
            read => return read.map_err(Trouble::Final),
        }
    }
    let bytes = listed(op, store, file).await?;
    decode_file(env, store, file.path.clone(), bytes, width).await.map_err(Trouble::Final)
}

async fn listed(op: &Op, store: &Store, file: &LogFile) -> Result<Bytes, Trouble> {
    let bytes = store.get(op, &file.path.to_path(), COMMIT_BYTES_MAX).await;
    as_listed(store, file, bytes)
}

/// Decodes the bytes of a commit that was read, after checking its own length and CRC.
pub(crate) async fn decode(
    env: &Env,
    store: &Store,
    version: Version,
    bytes: Bytes,
    width: Width,
) -> Result<Arc<Commit>> {
    decode_file(env, store, LogPath::Commit(version), bytes, width).await
}

async fn decode_file(
    env: &Env,
    store: &Store,
    path: LogPath,
    bytes: Bytes,
    width: Width,
) -> Result<Arc<Commit>> {
    let place = format!("{}/{}", store.location(), path.to_path());
    let size = bytes.len();
    let decode = move || {
        let commit = decode_now(&path, &bytes, width)?;
        Ok(Arc::new(Commit { bytes, ..commit }))
    };
    env.compute_of(size, decode).await.map_err(|it| it.at(place))
}

/// Without its bytes.
fn decode_now(path: &LogPath, bytes: &[u8], width: Width) -> Result<Commit> {
    let version = path.version();
    let (first, batch) = match path {
        LogPath::Compacted { first, .. } => (*first, LogBatch::from_compacted(bytes, width)?),
        _ => {
            lakebed_log::commit::verify(bytes)?;
            (version, LogBatch::from_json(bytes, width)?)
        }
    };
    Ok(Commit { first, version, bytes: Bytes::new(), width, batch, run: None })
}

/// Reads one listed commit. `None`: it is gone, or is another file by now.
pub(crate) async fn commit(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    width: Width,
) -> Result<Option<Arc<Commit>>> {
    match read_commit(env, op, store, file, width).await {
        Ok(it) => Ok(Some(it)),
        Err(Trouble::Moved(_)) => Ok(None),
        Err(it) => Err(it.error()),
    }
}

/// Decodes kept commits again where they were decoded too narrow.
pub(super) async fn widen(
    env: &Env,
    store: &Store,
    commits: Vec<Arc<Commit>>,
    width: Width,
) -> Result<Vec<Arc<Commit>>> {
    let decode = |it: Arc<Commit>| async move {
        if it.width >= width {
            return Ok(it);
        }
        let path = match it.first == it.version {
            true => LogPath::Commit(it.version),
            false => LogPath::Compacted { first: it.first, last: it.version },
        };
        decode_file(env, store, path, it.bytes.clone(), width).await
    };
    map_ordered(commits, FETCHES, decode).try_collect().await
}
