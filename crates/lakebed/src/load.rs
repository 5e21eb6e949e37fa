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

use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::{COMMIT_BYTES_MAX, HINT_BYTES_MAX};
use lakebed_log::log_path::{HINT, LOG_DIR, LogPath};
use lakebed_log::replay::Replay;
use lakebed_log::segment::{Hint, LogFile, LogSegment};
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

mod fetch;
mod files;
mod units;

pub(crate) use fetch::{Commit, commit, decode};
pub use files::files;

use fetch::{KeptPart, Trouble, checkpoint_parts, checkpoint_place, read_commit, read_commits};

/// How often a load starts over because files vanished under it, before it is `log-moving`.
const MOVES_MAX: usize = 5;
/// Commit bytes kept for [`files`]; beyond it the oldest are fetched again when they are needed.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// How far the store's clock may run ahead of ours before an object that we wrote ourselves looks
/// like another one. Too small costs a needless open, too large may miss a replaced table.
const SKEW_MILLIS: i64 = 1_000;
/// With more new commits than this, a newer checkpoint is the shorter way.
const COMMITS_BEFORE_REOPEN: usize = 64;

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
    /// By part, in part order.
    checkpoint: Vec<KeptPart>,
    /// Ascending, without gap, ending at the version.
    commits: Vec<Arc<Commit>>,
    identity: Identity,
    seen: Seen,
    /// One per cold open: states of different lineages are states of different tables.
    lineage: Arc<()>,
}

/// How to recognise the object of the newest version.
#[derive(Clone)]
enum Identity {
    /// As it was listed.
    Listed(LogFile),
    /// Written or read by us and not listed yet: its size, and when we knew that it was there.
    Met { path: LogPath, size: u64, by: Timestamp, tag: Option<String> },
    /// The log holds no file of this version that could be compared.
    None,
}

/// Is what we hold still in the log?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// By what the listing shows.
    Yes,
    /// By its bytes, because the listing left a doubt.
    YesByBytes,
    /// It is gone, or another object has its name.
    No,
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
            // What else there is proves nothing either: the checkpoint is what has to be mended.
            Err(Trouble::Final(it)) if it.kind() == ErrorKind::Corrupt => {
                return Err(first_error.unwrap_or(it));
            }
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
        checkpoint_parts(env, op, store, &segment),
        read_commits(env, op, store, &segment.commits, Width::Narrow),
    );
    let (parts, commits) = (parts?, commits?);
    let found: u64 = parts.iter().map(|(_, it)| it.actions).sum();
    let (checkpoint, batches): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut head = fold_head(env, store, &segment, &commits, batches).await?;
    check_hint(store, &segment, hint, found)?;
    read_last_commit(env, op, store, &segment, &mut head).await?;

    let identity = match segment.last_commit.as_ref().or(segment.checkpoint.first()) {
        Some(it) => Identity::Listed(it.clone()),
        None => Identity::None,
    };
    let mut kept = Kept { checkpoint, commits, identity, seen, lineage: Arc::new(()) };
    kept.shed();
    Ok(Loaded { segment: Arc::new(segment), head: Arc::new(head), kept: Arc::new(kept) })
}

/// A checkpoint that was cut short may still be sound Parquet; the hint knows how long it was.
fn check_hint(
    store: &Store,
    segment: &LogSegment,
    hint: Option<&Hint>,
    found: u64,
) -> Result<(), Trouble> {
    let counted = hint.filter(|it| Some(it.version) == segment.checkpoint_version);
    let Some(expected) = counted.and_then(|it| it.size) else { return Ok(()) };
    // Old writers gave bytes where the protocol wants actions.
    let bytes = segment.checkpoint.iter().map(|it| it.size).fold(0, u64::saturating_add);
    if [Ok(found), Ok(bytes)].contains(&u64::try_from(expected)) {
        return Ok(());
    }
    let what = format!("the checkpoint holds {found} actions, the hint says {expected}");
    let at = checkpoint_place(store, segment);
    Err(Trouble::Checkpoint(Error::new(Code::CorruptCheckpoint, what).at(at)))
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
        replay.feed_checkpoint(checkpoint)?;
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
        let commits = commits_after(&files, held);
        let there = from.is_among(op, store, &files).await?;
        // From a newer checkpoint, rather than through all that it covers.
        let is_far = COMMITS_BEFORE_REOPEN < commits.len()
            && files.iter().any(|it| match it.path {
                LogPath::Checkpoint(version, _) => held < version,
                _ => false,
            });
        if there == Among::No || !follows(held, &commits) || is_far {
            return reopen(env, op, store, from).await;
        }
        let newest = commits.last().map(|it| it.path.version());
        match read_commits(env, op, store, &commits, Width::Narrow).await {
            Ok(read) if read.is_empty() && there == Among::Yes => return Ok(None),
            Ok(read) => {
                let mut loaded = from.clone();
                for (file, commit) in commits.iter().zip(read) {
                    if !follows_from(&loaded.head, &commit.batch) {
                        return reopen(env, op, store, from).await;
                    }
                    loaded = loaded.advance_by(file.clone(), commit, false)?;
                }
                let seen = Seen { at, newest: true };
                let last = LogPath::Commit(loaded.head.version);
                let last = files.iter().find(|it| it.path == last).cloned();
                return Ok(Some(loaded.listed(last, seen).with_checkpoint(files, newest)));
            }
            Err(Trouble::Moved(it)) => cause = Some(it),
            Err(it) => return Err(it.error()),
        }
    }
    let cause = cause.unwrap_or_else(|| Error::internal("nothing moved"));
    Err(moving(store, cause))
}

/// The log no longer leads on from what we hold: another table stands there now, or cleanup has
/// gone past us, or the listing is behind what we have seen with our own eyes.
async fn reopen(env: &Env, op: &Op, store: &Store, from: &Loaded) -> Result<Option<Loaded>> {
    let opened = open(env, op, store, None).await?;
    let last = from.kept.commits.last().filter(|_| opened.head.version < from.head.version);
    if let Some(last) = last {
        let key = LogPath::Commit(last.version).to_path();
        let there = store.get(op, &key, COMMIT_BYTES_MAX).await;
        if there.is_ok_and(|it| it == last.bytes) {
            return Ok(None);
        }
    }
    Ok(Some(opened))
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

impl Loaded {
    /// The first version of a table that we have just made.
    pub(crate) fn created(env: &Env, commit: Arc<Commit>, tag: Option<String>) -> Result<Loaded> {
        let version = commit.version;
        let mut replay = Replay::new(version, Width::Head);
        replay.feed(commit.batch.clone())?;
        let head = replay.finish_head()?;
        let file = LogFile { etag: tag, ..met(&commit, env.now()) };
        let segment = LogSegment {
            version,
            checkpoint: Vec::new(),
            checkpoint_version: None,
            commits: vec![file.clone()],
            last_commit: Some(file.clone()),
        };
        let kept = Kept {
            checkpoint: Vec::new(),
            commits: vec![commit],
            identity: Identity::met(file),
            seen: Seen { at: Moment::now(env), newest: true },
            lineage: Arc::new(()),
        };
        Ok(Loaded { segment: Arc::new(segment), head: Arc::new(head), kept: Arc::new(kept) })
    }

    /// One version on, by a commit we hold decoded (our own, or a winner that was read): no
    /// request.
    ///
    /// # Errors
    ///
    /// What the checks of the head after it give.
    pub(crate) fn advance(
        &self,
        env: &Env,
        commit: &Arc<Commit>,
        tag: Option<String>,
    ) -> Result<Loaded> {
        let file = LogFile { etag: tag, ..met(commit, env.now()) };
        let mut loaded = self.clone().advance_by(file, Arc::clone(commit), true)?;
        Arc::make_mut(&mut loaded.kept).seen = Seen { at: Moment::now(env), newest: true };
        Ok(loaded)
    }

    /// In place, where nobody else holds it: many commits cost what they are, not their square.
    fn advance_by(mut self, file: LogFile, commit: Arc<Commit>, met: bool) -> Result<Loaded> {
        self.head = Arc::new(self.head.advance(commit.version, &commit.batch)?);
        let segment = Arc::make_mut(&mut self.segment);
        segment.version = commit.version;
        segment.commits.push(file.clone());
        segment.last_commit = Some(file.clone());
        let kept = Arc::make_mut(&mut self.kept);
        kept.commits.push(commit);
        kept.shed();
        if met {
            kept.identity = Identity::met(file);
        }
        Ok(self)
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
            kept.checkpoint = vec![KeptPart::default(); segment.checkpoint.len()];
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
        kept.checkpoint = vec![KeptPart::default()];
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

    /// Does a listing still hold the object this version was read from? No request unless that is
    /// in doubt.
    pub(crate) async fn is_among(
        &self,
        op: &Op,
        store: &Store,
        files: &[LogFile],
    ) -> Result<Among> {
        let (path, size, by) = match &self.kept.identity {
            Identity::Listed(held) => {
                let there = files.iter().any(|it| it.path == held.path && same(it, held));
                return Ok(if there { Among::Yes } else { Among::No });
            }
            Identity::Met { path, tag: Some(tag), .. } if tagged(files, path).is_some() => {
                let is_ours = tagged(files, path) == Some(tag.as_str());
                return Ok(if is_ours { Among::Yes } else { Among::No });
            }
            Identity::Met { path, size, by, .. } => (path, *size, *by),
            Identity::None => return Ok(Among::No),
        };
        let Some(file) = files.iter().find(|it| it.path == *path && it.size == size) else {
            return Ok(Among::No);
        };
        if file.modified <= by.plus_millis(SKEW_MILLIS) {
            return Ok(Among::Yes);
        }
        // Another object, or two clocks that disagree: only the bytes can tell.
        let Some(commit) = self.kept.commits.last() else { return Ok(Among::No) };
        match store.get(op, &path.to_path(), COMMIT_BYTES_MAX).await {
            Ok(it) if it == commit.bytes => Ok(Among::YesByBytes),
            Ok(_) => Ok(Among::No),
            Err(it) if it.code() == Code::FileNotFound => Ok(Among::No),
            Err(it) => Err(it),
        }
    }

    /// When the file of this version was written, where a listing told.
    pub(crate) fn modified(&self) -> Option<Timestamp> {
        match &self.kept.identity {
            Identity::Listed(it) => Some(it.modified),
            Identity::Met { .. } | Identity::None => None,
        }
    }
}

/// A commit as a listing would show it, but for what only the store knows.
fn met(commit: &Commit, by: Timestamp) -> LogFile {
    let size = u64::try_from(commit.bytes.len()).unwrap_or(u64::MAX);
    LogFile { path: LogPath::Commit(commit.version), size, modified: by, etag: None }
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
        Identity::Met { path: file.path, size: file.size, by: file.modified, tag: file.etag }
    }
}

/// The tag under which a listing has a file.
fn tagged<'a>(files: &'a [LogFile], path: &LogPath) -> Option<&'a str> {
    files.iter().find(|it| it.path == *path)?.etag.as_deref()
}

/// May the commit follow the version? One of ours names its predecessor.
pub(crate) fn follows_from(head: &Head, commit: &LogBatch) -> bool {
    let named = commit.commit_info.as_ref().and_then(|it| it.text("prevTxnId"));
    match (named, head.txn_id()) {
        (Some(named), Some(held)) => named == held,
        _ => true,
    }
}

/// One object by its tag where the store gives one, else by size and time.
fn same(a: &LogFile, b: &LogFile) -> bool {
    match (&a.etag, &b.etag) {
        (Some(a), Some(b)) => a == b,
        _ => a.size == b.size && a.modified == b.modified,
    }
}
