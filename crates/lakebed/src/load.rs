//! Lists, fetches, decodes, replays; refreshes a state from an older one.
//!
//! Everything a version is made of is immutable, but the folder it lies in is not: commits arrive,
//! cleanup deletes, hints go stale, checkpoints prove broken. So a load is a loop around one rule:
//! what the log's files say is believed, what points at them is not.
//!
//! ```text
//!   hint? --> LIST from it --> LogSegment --> GET checkpoint, commits --> replay --> Loaded
//!               ^                 | fails           | absent, other size     |
//!               |<-- from zero ---+                 |                        | checkpoint broken:
//!               |<-- the log moved, a few times ----+                        | skip it
//!               +<-----------------------------------------------------------+
//! ```
//!
//! Opening decodes no more than the small state needs. The bytes it fetched are kept, so that the
//! files cost no second request when somebody asks for them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::commit;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::{CHECKPOINT_WHOLE_BYTES, COMMIT_BYTES_MAX, HINT_BYTES_MAX};
use lakebed_log::log_path::{CheckpointName, HINT, LOG_DIR, LogPath};
use lakebed_log::replay::Replay;
use lakebed_log::segment::{Hint, LogFile, LogSegment};
use lakebed_log::state::{Head, TableState};
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// How often a load starts over because files vanished under it, before it is `log-moving`.
const MOVES_MAX: usize = 5;
/// Checkpoint parts fetched at once.
const FETCHES: usize = 16;
/// Commits fetched before the first of them is decoded.
const FETCHED_TOGETHER: usize = 512;
/// Commits decoded in one go.
const DECODED_TOGETHER: usize = 32;
/// Commit bytes kept for [`files`]; beyond it the oldest are fetched again when they are needed.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// How far the store's clock may run ahead of ours before an object that we wrote ourselves looks
/// like another one. Too small costs a needless open, too large may miss a replaced table.
const SKEW_MILLIS: i64 = 1_000;

/// What one round of loading found. Bytes of small checkpoints and of commits are kept until the
/// files are asked for, so that nothing is fetched twice. Cheap to clone.
#[derive(Clone)]
pub struct Loaded {
    /// Which log files.
    pub segment: Arc<LogSegment>,
    /// The small state.
    pub head: Arc<Head>,
    kept: Arc<Kept>,
}

#[derive(Clone)]
struct Kept {
    /// Whole checkpoint parts, in part order; `None` where less than all was fetched.
    checkpoint: Vec<Option<Bytes>>,
    /// Ascending, without gap, ending at the version.
    commits: Vec<Arc<Commit>>,
    identity: Identity,
    seen: Seen,
    /// One per cold open: states of different lineages are states of different tables.
    lineage: Arc<()>,
}

/// A commit that was read.
struct Commit {
    version: Version,
    bytes: Bytes,
    width: Width,
    batch: LogBatch,
}

/// How to recognise the object of the newest version.
#[derive(Clone)]
enum Identity {
    /// As it was listed.
    Listed(LogFile),
    /// Written or read by us and not listed yet: its size, and when we knew that it was there.
    Met { path: LogPath, size: u64, by: Timestamp },
    /// The log holds no file of this version that could be compared.
    None,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Moment,
    /// Was it the newest version then?
    newest: bool,
}

/// A point in time by both clocks. The wall clock may be set, the monotonic one may stand still
/// while the machine sleeps: whoever asks for an age gets the larger.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    wall: Timestamp,
    elapsed: Duration,
}

impl Moment {
    /// Now.
    pub fn now(env: &Env) -> Moment {
        Moment { wall: env.now(), elapsed: env.elapsed() }
    }

    /// How long ago, by the clock that says more.
    pub fn age(&self, env: &Env) -> Duration {
        let wall = env.now().as_millis().saturating_sub(self.wall.as_millis());
        let wall = Duration::from_millis(u64::try_from(wall).unwrap_or(0));
        wall.max(env.elapsed().saturating_sub(self.elapsed))
    }
}

/// Why a segment did not load.
enum Trouble {
    /// A checkpoint is broken: another one, or the commits, may still prove the version.
    Checkpoint(Error),
    /// A listed file is gone or is another one now: list again.
    Moved(Error),
    /// Nothing else to try.
    Final(Error),
}

impl Trouble {
    fn error(self) -> Error {
        match self {
            Trouble::Checkpoint(it) | Trouble::Moved(it) | Trouble::Final(it) => it,
        }
    }
}

/// Opens a version, the newest for `None`: the hint, one LIST, then checkpoint and commits at once.
///
/// # Errors
///
/// `not-a-table`, `version-not-found`, `version-gap`, and what decoding and the checks of the head
/// give, placed at the file. `log-moving` if cleanup was faster than we were, several times.
/// A broken checkpoint is an error only if nothing else proves the version.
pub async fn open(env: &Env, op: &Op, store: &Store, target: Option<Version>) -> Result<Loaded> {
    let hint = read_hint(op, store).await;
    // A hint above the target says nothing about where to start.
    let from = hint.as_ref().map(|it| it.version).filter(|it| target.is_none_or(|to| *it <= to));
    open_from(env, op, store, target, from, hint.as_ref(), Vec::new()).await
}

async fn open_from(
    env: &Env,
    op: &Op,
    store: &Store,
    target: Option<Version>,
    mut from: Option<Version>,
    hint: Option<&Hint>,
    mut skip: Vec<Version>,
) -> Result<Loaded> {
    let mut first_error = None;
    let mut moves = 0;
    loop {
        let at = Moment::now(env);
        let files = list(op, store, from).await?;
        let newest = files.iter().map(|it| it.path.version()).max();
        let segment = match LogSegment::new(files, target, &skip) {
            Ok(it) => it,
            // Hints are hints: without one, the whole log decides.
            Err(_) if from.is_some() => {
                from = None;
                continue;
            }
            Err(it) => return Err(first_error.unwrap_or(it.at(store.location()))),
        };
        let seen = Seen { at, newest: newest == Some(segment.version) };
        let checkpoint = segment.checkpoint_version;
        match load(env, op, store, segment, hint, seen).await {
            Ok(loaded) => return Ok(loaded),
            Err(Trouble::Final(it)) => return Err(it),
            Err(Trouble::Checkpoint(it)) => {
                tracing::warn!(error = ?it, "a checkpoint is broken; trying without it");
                skip.extend(checkpoint);
                first_error.get_or_insert(it);
            }
            Err(Trouble::Moved(it)) => {
                moves += 1;
                if moves >= MOVES_MAX {
                    return Err(moving(store, it));
                }
            }
        }
        from = None;
    }
}

fn moving(store: &Store, cause: Error) -> Error {
    let what = format!("log files vanished {MOVES_MAX} times while they were being read");
    Error::new(Code::LogMoving, what).at(store.location()).because(cause)
}

/// `None` for anything but a sound hint: it saves a longer listing and proves nothing.
async fn read_hint(op: &Op, store: &Store) -> Option<Hint> {
    let bytes = store.get(op, &format!("{LOG_DIR}/{HINT}"), HINT_BYTES_MAX).await.ok()?;
    Hint::parse(&bytes)
}

/// The files of the log that take part in replay, from a version on.
pub(crate) async fn list(op: &Op, store: &Store, from: Option<Version>) -> Result<Vec<LogFile>> {
    // No name of an older version is greater than the bare digits, every name of this one is.
    let after = from.map(|it| format!("{LOG_DIR}/{:020}", it.get()));
    let prefix = format!("{LOG_DIR}/");
    let objects = store.list(op, &prefix, after.as_deref()).await?;
    let parse = |it: crate::store::Object| {
        let path = LogPath::parse(it.key.strip_prefix(&prefix)?)?;
        Some(LogFile { path, size: it.size, modified: it.modified, etag: it.etag })
    };
    Ok(objects.into_iter().filter_map(parse).collect())
}

/// Fetches and decodes what the small state needs.
async fn load(
    env: &Env,
    op: &Op,
    store: &Store,
    segment: LogSegment,
    hint: Option<&Hint>,
    seen: Seen,
) -> Result<Loaded, Trouble> {
    let (parts, commits) = futures::join!(
        checkpoint_parts(env, op, store, &segment, Width::Head, &[]),
        read_commits(env, op, store, &segment.commits, Width::Narrow),
    );
    let (parts, commits) = (parts?, commits?);
    let counted = hint.filter(|it| Some(it.version) == segment.checkpoint_version);
    if let Some(expected) = counted.and_then(|it| it.size) {
        let found: u64 = parts.iter().map(|(_, it)| it.actions).sum();
        if u64::try_from(expected) != Ok(found) {
            let what = format!("the checkpoint holds {found} actions, the hint says {expected}");
            let at = checkpoint_place(store, &segment);
            return Err(Trouble::Checkpoint(Error::new(Code::CorruptCheckpoint, what).at(at)));
        }
    }

    let (checkpoint, batches): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut head = fold_head(env, store, &segment, &commits, batches).await?;
    read_last_commit(env, op, store, &segment, &mut head).await?;

    let identity = match segment.last_commit.as_ref().or(segment.checkpoint.first()) {
        Some(it) => Identity::Listed(it.clone()),
        None => Identity::None,
    };
    let mut kept = Kept { checkpoint, commits, identity, seen, lineage: Arc::new(()) };
    kept.shed();
    Ok(Loaded { segment: Arc::new(segment), head: Arc::new(head), kept: Arc::new(kept) })
}

async fn fold_head(
    env: &Env,
    store: &Store,
    segment: &LogSegment,
    commits: &[Arc<Commit>],
    checkpoint: Vec<LogBatch>,
) -> Result<Head, Trouble> {
    let version = segment.version;
    let sidecars = checkpoint.iter().any(|it| !it.sidecars.is_empty());
    let newest_first: Vec<_> = commits.iter().rev().map(Arc::clone).collect();
    let fold = move || {
        let mut replay = Replay::new(version, Width::Head);
        for commit in newest_first {
            replay.feed(commit.batch.clone())?;
        }
        for part in checkpoint {
            replay.feed(part)?;
        }
        replay.finish_head()
    };
    let head = match env.compute(fold).await {
        Ok(head) => head,
        // What the head lacks may be what a broken checkpoint lacks.
        Err(it) if it.kind() == ErrorKind::Corrupt && !segment.checkpoint.is_empty() => {
            return Err(Trouble::Checkpoint(it.at(checkpoint_place(store, segment))));
        }
        Err(it) => return Err(Trouble::Final(it.at(store.location()))),
    };
    if sidecars {
        let what = "the checkpoint keeps its files in sidecars, which this build does not read";
        let it = Error::new(Code::UnsupportedProtocol, what);
        return Err(Trouble::Final(it.at(checkpoint_place(store, segment))));
    }
    Ok(head)
}

/// A table with in-commit timestamps cannot be written without that of its last commit, and a
/// checkpoint does not carry it.
async fn read_last_commit(
    env: &Env,
    op: &Op,
    store: &Store,
    segment: &LogSegment,
    head: &mut Head,
) -> Result<(), Trouble> {
    if !head.properties.enable_in_commit_timestamps || head.commit_info.is_some() {
        return Ok(());
    }
    if let Some(file) = &segment.last_commit {
        let commit = read_commit(env, op, store, file, Width::Head).await?;
        head.commit_info = commit.batch.commit_info.clone();
    }
    Ok(())
}

/// The parts of the checkpoint, decoded, with their bytes where the whole file was fetched.
/// `kept` are bytes from before.
async fn checkpoint_parts(
    env: &Env,
    op: &Op,
    store: &Store,
    segment: &LogSegment,
    width: Width,
    kept: &[Option<Bytes>],
) -> Result<Vec<(Option<Bytes>, LogBatch)>, Trouble> {
    let mut items = Vec::with_capacity(segment.checkpoint.len());
    for (part, file) in segment.checkpoint.iter().enumerate() {
        items.push((file.clone(), kept.get(part).cloned().flatten()));
    }
    let read = |(file, kept): (LogFile, Option<Bytes>)| async move {
        Ok(read_part(env, op, store, &file, width, kept).await)
    };
    let parts = map_ordered(items, FETCHES, read).try_collect::<Vec<_>>().await;
    parts.map_err(Trouble::Final)?.into_iter().collect()
}

async fn read_part(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    width: Width,
    kept: Option<Bytes>,
) -> Result<(Option<Bytes>, LogBatch), Trouble> {
    let key = file.path.to_path();
    let place = || format!("{}/{key}", store.location());
    let json = matches!(file.path, LogPath::Checkpoint(_, CheckpointName::Uuid { json: true, .. }));
    let budget = env.budget();
    let permit = budget.acquire(file.size.min(budget.total())).await.map_err(Trouble::Final)?;
    let bytes = match kept {
        Some(it) => it,
        None => match store.get(op, &key, file.size.max(1)).await {
            Ok(it) => it,
            Err(it) if it.code() == Code::FileNotFound => return Err(Trouble::Checkpoint(it)),
            Err(it) => return Err(Trouble::Final(it)),
        },
    };
    let bytes = as_listed(store, file, Ok(bytes))?;
    let decoded = bytes.clone();
    let decode = move || match json {
        true => LogBatch::from_json(&decoded, width),
        false => LogBatch::from_parquet(decoded, width),
    };
    let batch = match env.compute(decode).await {
        Ok(it) => it,
        Err(it) if it.kind() == ErrorKind::Internal => return Err(Trouble::Final(it)),
        Err(it) => return Err(Trouble::Checkpoint(it.at(place()))),
    };
    drop(permit);
    let small = file.size <= CHECKPOINT_WHOLE_BYTES;
    Ok((small.then_some(bytes), batch))
}

async fn read_commits(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
    width: Width,
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let mut commits = Vec::with_capacity(files.len());
    for files in files.chunks(FETCHED_TOGETHER) {
        let keys: Vec<_> = files.iter().map(|it| it.path.to_path()).collect();
        let bytes: u64 = files.iter().map(|it| it.size).fold(0, u64::saturating_add);
        let budget = env.budget();
        let permit = budget.acquire(bytes.min(budget.total())).await.map_err(Trouble::Final)?;
        let fetched = store.get_many(op, &keys, COMMIT_BYTES_MAX).await;
        let mut items = Vec::with_capacity(files.len());
        for (file, bytes) in files.iter().zip(fetched) {
            items.push((file.clone(), as_listed(store, file, bytes)?));
        }
        // A thread per commit would cost more than most commits do.
        let groups: Vec<_> = items.chunks(DECODED_TOGETHER).map(<[_]>::to_vec).collect();
        let decode = |group: Vec<(LogFile, Bytes)>| decode_group(env, op, store, group, width);
        let decoded = map_ordered(groups, env.cores(), decode).try_collect::<Vec<_>>().await;
        for group in decoded.map_err(Trouble::Final)? {
            commits.extend(group?);
        }
        drop(permit);
    }
    Ok(commits)
}

/// The outer error never happens; the inner one says what to try next.
async fn decode_group(
    env: &Env,
    op: &Op,
    store: &Store,
    group: Vec<(LogFile, Bytes)>,
    width: Width,
) -> Result<Result<Vec<Arc<Commit>>, Trouble>> {
    let items = group.clone();
    let decode = move || {
        let decode =
            |(file, bytes): (LogFile, Bytes)| decode_now(file.path.version(), bytes, width);
        items.into_iter().map(decode).collect::<Result<Vec<_>>>()
    };
    match env.compute(decode).await {
        Ok(it) => Ok(Ok(it)),
        // Which one it was, and whether the damage is in the store, is found out one by one.
        Err(it) if it.kind() == ErrorKind::Corrupt || it.kind() == ErrorKind::Exhausted => {
            let mut commits = Vec::with_capacity(group.len());
            for (file, _) in &group {
                match read_commit(env, op, store, file, width).await {
                    Ok(it) => commits.push(it),
                    Err(it) => return Ok(Err(it)),
                }
            }
            Ok(Ok(commits))
        }
        Err(it) => Ok(Err(Trouble::Final(it.at(store.location())))),
    }
}

/// The bytes of a listed file, if it still is that file.
fn as_listed(store: &Store, file: &LogFile, bytes: Result<Bytes>) -> Result<Bytes, Trouble> {
    let bytes = match bytes {
        Ok(it) => it,
        Err(it) if it.code() == Code::FileNotFound => return Err(Trouble::Moved(it)),
        Err(it) => return Err(Trouble::Final(it)),
    };
    if u64::try_from(bytes.len()) == Ok(file.size) {
        return Ok(bytes);
    }
    let what = format!("{} bytes were listed and {} were read", file.size, bytes.len());
    let it = Error::new(Code::ObjectChanged, what);
    Err(Trouble::Moved(it.at(format!("{}/{}", store.location(), file.path.to_path()))))
}

/// One commit, verified and decoded.
async fn read_commit(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    width: Width,
) -> Result<Arc<Commit>, Trouble> {
    let bytes = store.get(op, &file.path.to_path(), COMMIT_BYTES_MAX).await;
    let bytes = as_listed(store, file, bytes)?;
    decode_commit(env, store, file.path.version(), bytes, width).await.map_err(Trouble::Final)
}

async fn decode_commit(
    env: &Env,
    store: &Store,
    version: Version,
    bytes: Bytes,
    width: Width,
) -> Result<Arc<Commit>> {
    let place = || format!("{}/{}", store.location(), LogPath::Commit(version).to_path());
    env.compute(move || decode_now(version, bytes, width)).await.map_err(|it| it.at(place()))
}

fn decode_now(version: Version, bytes: Bytes, width: Width) -> Result<Arc<Commit>> {
    commit::verify(&bytes)?;
    let batch = LogBatch::from_json(&bytes, width)?;
    Ok(Arc::new(Commit { version, bytes, width, batch }))
}

fn checkpoint_place(store: &Store, segment: &LogSegment) -> String {
    let name = segment.checkpoint.first().map(|it| it.path.to_path()).unwrap_or_default();
    format!("{}/{name}", store.location())
}

/// A version read for its own sake: a winner of the commit loop, a row of the history.
pub(crate) struct ReadCommit {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// Decoded.
    pub(crate) batch: LogBatch,
}

/// Decodes the bytes of a commit that was read, after checking its own length and CRC.
pub(crate) async fn decode(
    env: &Env,
    store: &Store,
    version: Version,
    bytes: Bytes,
    width: Width,
) -> Result<ReadCommit> {
    let commit = decode_commit(env, store, version, bytes, width).await?;
    Ok(ReadCommit { bytes: commit.bytes.clone(), batch: commit.batch.clone() })
}

/// Reads one listed commit. `None`: it is gone, or is another file by now.
pub(crate) async fn commit(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    width: Width,
) -> Result<Option<ReadCommit>> {
    match read_commit(env, op, store, file, width).await {
        Ok(it) => Ok(Some(ReadCommit { bytes: it.bytes.clone(), batch: it.batch.clone() })),
        Err(Trouble::Moved(_)) => Ok(None),
        Err(it) => Err(it.error()),
    }
}

/// One LIST from the version held, inclusive. `Ok(None)`: nothing newer. A replaced table is opened
/// anew.
///
/// # Errors
///
/// As [`open`].
pub async fn refresh(env: &Env, op: &Op, store: &Store, from: &Loaded) -> Result<Option<Loaded>> {
    let held = from.head.version;
    let mut cause = None;
    for _ in 0..MOVES_MAX {
        let at = Moment::now(env);
        let files = list(op, store, Some(held)).await?;
        if !from.kept.identity.is_among(&files) {
            return open(env, op, store, None).await.map(Some);
        }
        let commits = commits_after(&files, held);
        let newest = commits.last().map(|it| it.path.version());
        if !follows(held, &commits) {
            return open(env, op, store, None).await.map(Some);
        }
        match read_commits(env, op, store, &commits, Width::Narrow).await {
            Ok(read) if read.is_empty() => return Ok(None),
            Ok(read) => {
                let mut loaded = from.clone();
                for (file, commit) in commits.iter().zip(read) {
                    loaded = loaded.advance_by(file.clone(), commit, false)?;
                }
                let seen = Seen { at, newest: true };
                let last = commits.last().cloned();
                return Ok(Some(loaded.listed(last, seen).with_checkpoint(files, newest)));
            }
            Err(Trouble::Moved(it)) => cause = Some(it),
            Err(it) => return Err(it.error()),
        }
    }
    let cause = cause.unwrap_or_else(|| Error::internal("nothing moved"));
    Err(moving(store, cause))
}

/// The commits of a listing above a version, ascending.
pub(crate) fn commits_after(files: &[LogFile], held: Version) -> Vec<LogFile> {
    let newer = |it: &&LogFile| matches!(it.path, LogPath::Commit(v) if v > held);
    let mut commits: Vec<_> = files.iter().filter(newer).cloned().collect();
    commits.sort_by_key(|it| it.path.version());
    commits
}

/// Do the commits follow the version without gap?
pub(crate) fn follows(held: Version, commits: &[LogFile]) -> bool {
    let mut expected = held.next();
    commits.iter().all(|it| {
        let fits = Some(it.path.version()) == expected;
        expected = expected.and_then(Version::next);
        fits
    })
}

/// The whole state at a width. Uses kept bytes; `base` is an older state of the same table to
/// advance from, if it is wide enough and the commits in between are known.
///
/// # Errors
///
/// As [`open`].
pub async fn files(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
    base: Option<&TableState>,
) -> Result<Arc<TableState>> {
    if let Some(base) = base
        && let Some(state) = advance_from(env, op, store, of, width, base).await?
    {
        return Ok(Arc::new(state));
    }
    let version = of.head.version;
    let mut of = of.clone();
    let mut skip = Vec::new();
    let mut first_error = None;
    for _ in 0..MOVES_MAX {
        match replay(env, op, store, &of, width).await {
            Ok(state) => return Ok(Arc::new(state)),
            Err(Trouble::Final(it)) => return Err(it),
            Err(Trouble::Moved(it)) => {
                first_error.get_or_insert(it);
            }
            Err(Trouble::Checkpoint(it)) => {
                tracing::warn!(error = ?it, "a checkpoint is broken; trying without it");
                skip.extend(of.segment.checkpoint_version);
                first_error.get_or_insert(it);
            }
        }
        let id = of.head.metadata.id.clone();
        of = match open_from(env, op, store, Some(version), None, None, skip.clone()).await {
            Ok(it) if it.head.metadata.id == id => it,
            Ok(_) => {
                let what = format!("version {version} was replaced by another table");
                return Err(Error::new(Code::ExpiredSnapshot, what).at(store.location()));
            }
            Err(it) => return Err(first_error.unwrap_or(it)),
        };
    }
    let cause = first_error.unwrap_or_else(|| Error::internal("nothing moved"));
    Err(moving(store, cause))
}

/// `None` if the commits between are not all at hand.
async fn advance_from(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
    base: &TableState,
) -> Result<Option<TableState>> {
    let (first, last) = (base.head.version, of.head.version);
    if base.files.width() < width || last < first {
        return Ok(None);
    }
    // What is at hand must be as wide as what it is laid on.
    let width = base.files.width();
    let needed = |it: Version| first < it && it <= last;
    let kept: Vec<_> =
        of.kept.commits.iter().filter(|it| needed(it.version)).map(Arc::clone).collect();
    let unread: Vec<_> = (of.segment.commits.iter())
        .filter(|it| needed(it.path.version()))
        .filter(|it| kept.first().is_none_or(|kept| it.path.version() < kept.version))
        .cloned()
        .collect();
    let found = u64::try_from(kept.len() + unread.len()).unwrap_or(u64::MAX);
    if found != last.get() - first.get() {
        return Ok(None);
    }
    let mut commits = match read_commits(env, op, store, &unread, width).await {
        Ok(it) => it,
        Err(Trouble::Moved(_)) => return Ok(None),
        Err(it) => return Err(it.error()),
    };
    commits.extend(widen(env, store, kept, width).await?);
    let (state, head) = (base.clone(), Arc::clone(&of.head));
    let advance = move || {
        let mut state = state;
        for commit in commits {
            state = state.advance(commit.version, &commit.batch)?;
        }
        state.head = Head::clone(&head);
        Ok(state)
    };
    env.compute(advance).await.map_err(|it| it.at(store.location())).map(Some)
}

/// Decodes kept commits again where they were decoded too narrow.
async fn widen(
    env: &Env,
    store: &Store,
    commits: Vec<Arc<Commit>>,
    width: Width,
) -> Result<Vec<Arc<Commit>>> {
    let decode = |it: Arc<Commit>| async move {
        if it.width >= width {
            return Ok(it);
        }
        decode_commit(env, store, it.version, it.bytes.clone(), width).await
    };
    map_ordered(commits, FETCHES, decode).try_collect().await
}

async fn replay(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
) -> Result<TableState, Trouble> {
    let segment = &of.segment;
    let first_kept = of.kept.commits.first().map(|it| it.version);
    let after = segment.checkpoint_version;
    let kept = of.kept.commits.iter().filter(|it| after.is_none_or(|v| v < it.version));
    let kept: Vec<_> = kept.map(Arc::clone).collect();
    let unread: Vec<_> = (segment.commits.iter())
        .filter(|it| first_kept.is_none_or(|kept| it.path.version() < kept))
        .cloned()
        .collect();
    let (parts, commits) = futures::join!(
        checkpoint_parts(env, op, store, segment, width, &of.kept.checkpoint),
        read_commits(env, op, store, &unread, width),
    );
    let (parts, mut commits) = (parts?, commits?);
    commits.extend(widen(env, store, kept, width).await.map_err(Trouble::Final)?);

    let (version, head) = (of.head.version, Arc::clone(&of.head));
    let fold = move || {
        let mut replay = Replay::new(version, width);
        for commit in commits.iter().rev() {
            replay.feed(commit.batch.clone())?;
        }
        for (_, part) in parts {
            replay.feed(part)?;
        }
        let mut state = replay.finish()?;
        state.head = Head::clone(&head);
        Ok(state)
    };
    match env.compute(fold).await {
        Ok(state) => Ok(state),
        Err(it) if it.kind() == ErrorKind::Corrupt && !segment.checkpoint.is_empty() => {
            Err(Trouble::Checkpoint(it.at(checkpoint_place(store, segment))))
        }
        Err(it) => Err(Trouble::Final(it.at(store.location()))),
    }
}

impl Loaded {
    /// The first version of a table that we have just made.
    pub(crate) fn created(env: &Env, bytes: Bytes, batch: &LogBatch) -> Result<Loaded> {
        let version = Version::ZERO;
        let mut replay = Replay::new(version, Width::Head);
        replay.feed(batch.clone())?;
        let head = replay.finish_head()?;
        let file = met(version, &bytes, env.now());
        let segment = LogSegment {
            version,
            checkpoint: Vec::new(),
            checkpoint_version: None,
            commits: vec![file.clone()],
            last_commit: Some(file.clone()),
        };
        let commit = Commit { version, bytes, width: Width::Wide, batch: batch.clone() };
        let kept = Kept {
            checkpoint: Vec::new(),
            commits: vec![Arc::new(commit)],
            identity: Identity::met(file),
            seen: Seen { at: Moment::now(env), newest: true },
            lineage: Arc::new(()),
        };
        Ok(Loaded { segment: Arc::new(segment), head: Arc::new(head), kept: Arc::new(kept) })
    }

    /// One version on, by a commit we hold decoded (our own, or a winner that was read): no request.
    ///
    /// # Errors
    ///
    /// What the checks of the head after it give.
    pub fn advance(
        &self,
        env: &Env,
        version: Version,
        batch: &LogBatch,
        bytes: Bytes,
    ) -> Result<Loaded> {
        let file = met(version, &bytes, env.now());
        let commit = Commit { version, bytes, width: Width::Wide, batch: batch.clone() };
        let mut loaded = self.advance_by(file, Arc::new(commit), true)?;
        Arc::make_mut(&mut loaded.kept).seen = Seen { at: Moment::now(env), newest: true };
        Ok(loaded)
    }

    fn advance_by(&self, file: LogFile, commit: Arc<Commit>, met: bool) -> Result<Loaded> {
        let head = self.head.advance(commit.version, &commit.batch)?;
        let mut segment = LogSegment::clone(&self.segment);
        segment.version = commit.version;
        segment.commits.push(file.clone());
        segment.last_commit = Some(file.clone());
        let mut kept = Kept::clone(&self.kept);
        kept.commits.push(commit);
        kept.shed();
        if met {
            kept.identity = Identity::met(file);
        }
        Ok(Loaded { segment: Arc::new(segment), head: Arc::new(head), kept: Arc::new(kept) })
    }

    fn listed(mut self, last: Option<LogFile>, seen: Seen) -> Loaded {
        let kept = Arc::make_mut(&mut self.kept);
        kept.seen = seen;
        if let Some(last) = last {
            kept.identity = Identity::Listed(last);
        }
        self
    }

    /// Starts from a newer checkpoint of the listing, if there is one, so that a handle that lives
    /// long does not carry every commit since it was opened.
    fn with_checkpoint(mut self, files: Vec<LogFile>, target: Option<Version>) -> Loaded {
        if let Ok(segment) = LogSegment::new(files, target, &[])
            && segment.checkpoint_version.is_some()
            && segment.version == self.head.version
        {
            let kept = Arc::make_mut(&mut self.kept);
            kept.checkpoint = vec![None; segment.checkpoint.len()];
            self.segment = Arc::new(segment);
        }
        self
    }

    /// The same version, now resting on a checkpoint that was just written.
    pub(crate) fn rebased(&self, checkpoint: LogFile) -> Loaded {
        let mut loaded = self.clone();
        let segment = Arc::make_mut(&mut loaded.segment);
        segment.checkpoint_version = Some(segment.version);
        segment.checkpoint = vec![checkpoint];
        segment.commits.clear();
        let kept = Arc::make_mut(&mut loaded.kept);
        kept.checkpoint = vec![None];
        kept.commits.clear();
        loaded
    }

    /// Are both states of one table, so that one can be advanced to the other?
    pub(crate) fn same_table(&self, other: &Loaded) -> bool {
        Arc::ptr_eq(&self.kept.lineage, &other.kept.lineage)
    }

    /// For how long has this not been compared with the log? `None` if it was not the newest even
    /// then.
    pub(crate) fn age(&self, env: &Env) -> Option<Duration> {
        self.kept.seen.newest.then(|| self.kept.seen.at.age(env))
    }

    /// Does a listing still hold the object this version was read from?
    pub(crate) fn is_among(&self, files: &[LogFile]) -> bool {
        self.kept.identity.is_among(files)
    }

    /// When the file of this version was written, where a listing told.
    pub(crate) fn modified(&self) -> Option<Timestamp> {
        match &self.kept.identity {
            Identity::Listed(it) => Some(it.modified),
            Identity::Met { .. } | Identity::None => None,
        }
    }
}

fn met(version: Version, bytes: &Bytes, by: Timestamp) -> LogFile {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    LogFile { path: LogPath::Commit(version), size, modified: by, etag: None }
}

impl Kept {
    /// Lets go of the oldest commits beyond the bound.
    fn shed(&mut self) {
        let mut bytes = 0;
        let fits = |it: &&Arc<Commit>| {
            bytes += it.bytes.len();
            bytes <= KEPT_BYTES_MAX
        };
        let keep = self.commits.iter().rev().take_while(fits).count();
        self.commits.drain(..self.commits.len() - keep);
    }
}

impl Identity {
    fn met(file: LogFile) -> Identity {
        Identity::Met { path: file.path, size: file.size, by: file.modified }
    }

    fn is_among(&self, files: &[LogFile]) -> bool {
        match self {
            Identity::Listed(held) => files.iter().any(|it| it.path == held.path && same(it, held)),
            Identity::Met { path, size, by } => files.iter().any(|it| {
                it.path == *path && it.size == *size && it.modified <= by.plus_millis(SKEW_MILLIS)
            }),
            Identity::None => false,
        }
    }
}

/// One object by its tag where the store gives one, else by size and time.
fn same(a: &LogFile, b: &LogFile) -> bool {
    match (&a.etag, &b.etag) {
        (Some(a), Some(b)) => a == b,
        _ => a.size == b.size && a.modified == b.modified,
    }
}
