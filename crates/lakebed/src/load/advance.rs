//! From one version to the next: refreshing a state, and advancing it by a commit that is held.

use std::sync::Arc;
use std::time::Duration;

use lakebed_log::action::Sidecar;
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::LogPath;
use lakebed_log::mutant::planted;
use lakebed_log::replay::Replay;
use lakebed_log::segment::{LogFile, LogSegment};
use lakebed_log::state::Head;
use lakebed_log::support::Access;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use super::commits::{Commit, KEPT_BYTES_MAX, decode, fetched_together, read_commit, read_kept};
use super::fetch::{KeptPart, Trouble};
use super::{Identity, Kept, Loaded, MOVES_MAX, Moment, Seen, Skips, list, moving, open};
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

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

/// How far the store's clock may run ahead of ours before an object that we wrote ourselves looks
/// like another one. Too small costs a needless open, too large may miss a replaced table.
const SKEW_MILLIS: i64 = 1_000;
/// With more new commits than this, a newer checkpoint is the shorter way.
const COMMITS_BEFORE_REOPEN: usize = 64;

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
        if commits.is_empty() && there == Among::Yes {
            return Ok(None);
        }
        match advanced(env, op, store, from, &commits).await {
            Ok(None) => return reopen(env, op, store, from).await,
            Ok(Some(loaded)) => {
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

/// What is held, moved on by newer commits, some at a time. `None`: they do not lead on from it, or
/// not all of them are for this build; then it is opened anew.
async fn advanced(
    env: &Env,
    op: &Op,
    store: &Store,
    from: &Loaded,
    commits: &[LogFile],
) -> Result<Option<Loaded>, Trouble> {
    let mut loaded = from.clone();
    let mut left = commits;
    while !left.is_empty() {
        let (files, rest) = left.split_at(fetched_together(left));
        left = rest;
        for (file, commit) in files.iter().zip(read_kept(env, op, store, files).await?) {
            if !follows_from(&loaded.head, &commit.batch) {
                return Ok(None);
            }
            loaded = match loaded.advance_by(file.clone(), commit, false) {
                // A version between the two may be none for this build; the newest may.
                Err(it) if it.kind() == ErrorKind::Unsupported => return Ok(None),
                advanced => advanced.map_err(Trouble::Final)?,
            };
        }
    }
    Ok(Some(loaded))
}

/// The log no longer leads on from what we hold: another table stands there now, or cleanup has
/// gone past us, or the listing is behind what we have seen with our own eyes.
async fn reopen(env: &Env, op: &Op, store: &Store, from: &Loaded) -> Result<Option<Loaded>> {
    let opened = open(env, op, store, None).await?;
    let last = from.kept.commits.last().filter(|_| opened.head.version < from.head.version);
    if let Some(last) = last.filter(|it| it.first == it.version) {
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

/// Did the log pass by a version before the commit that a listing has there now was written? Then
/// cleanup had made its number free, and no reader ever sees it. `None`: there is no such commit.
pub(crate) fn is_passed_by(files: &[LogFile], version: Version) -> Option<bool> {
    let there = files.iter().find(|it| it.path == LogPath::Commit(version))?;
    let mut later = files.iter().filter(|it| version < it.path.version());
    Some(later.any(|it| it.modified < there.modified))
}

/// Which transaction the commit after a version says it follows; a commit of Lakebed names it.
/// `None` if there is no such commit, or it says nothing.
pub(crate) async fn named_by_successor(
    env: &Env,
    op: &Op,
    store: &Store,
    version: Version,
) -> Result<Option<String>> {
    let Some(next) = version.next() else { return Ok(None) };
    let read = store.get(op, &LogPath::Commit(next).to_path(), COMMIT_BYTES_MAX).await;
    let bytes = match read {
        Err(it) if it.code() == Code::FileNotFound => return Ok(None),
        read => read?,
    };
    let commit = decode(env, store, next, bytes, Width::Head).await?;
    let info = commit.batch.commit_info.as_ref();
    Ok(info.and_then(|it| it.text("prevTxnId")).map(str::to_string))
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
            compacted: Vec::new(),
            last_commit: Some(file.clone()),
        };
        let commit_bytes = commit.bytes.len();
        let kept = Kept {
            commit_bytes,
            checkpoint: Vec::new(),
            commits: vec![commit],
            identity: Identity::met(file),
            seen: Seen { at: Moment::now(env), newest: true },
            checkpoint_actions: 0,
            hinted_adds: None,
            lineage: Arc::default(),
        };
        let (segment, head, kept) = (Arc::new(segment), Arc::new(head), Arc::new(kept));
        Ok(Loaded { segment, head, kept, skips: Skips::default() })
    }

    /// One version on, by a commit we hold decoded (our own, or a winner that was read): no
    /// request.
    ///
    /// # Errors
    ///
    /// What the checks of the head after it give.
    pub(crate) fn advance(
        self,
        env: &Env,
        commit: &Arc<Commit>,
        tag: Option<String>,
    ) -> Result<Loaded> {
        let file = LogFile { etag: tag, ..met(commit, env.now()) };
        let mut loaded = self.advance_by(file, Arc::clone(commit), true)?;
        Arc::make_mut(&mut loaded.kept).seen = Seen { at: Moment::now(env), newest: true };
        Ok(loaded)
    }

    /// One version on, by a commit that is not in the log and may never be.
    ///
    /// # Errors
    ///
    /// What the checks of the head after it give.
    pub(crate) fn staged(&self, commit: Arc<Commit>) -> Result<Loaded> {
        let file = met(&commit, Timestamp::from_millis(0));
        let (head, version) = (self.head.advance(commit.version, &commit.batch)?, commit.version);
        let mut segment = LogSegment::clone(&self.segment);
        segment.version = version;
        segment.commits.push(file.clone());
        segment.last_commit = Some(file);
        let mut kept = Kept::clone(&self.kept);
        // Whatever its size, there is no other place to fetch it from.
        kept.commit_bytes += commit.bytes.len();
        kept.commits.push(commit);
        kept.identity = Identity::Staged;
        let (segment, head, kept) = (Arc::new(segment), Arc::new(head), Arc::new(kept));
        Ok(Loaded { segment, head, kept, skips: self.skips.clone() })
    }

    /// Is it of no version of the log?
    pub(crate) fn is_staged(&self) -> bool {
        matches!(self.kept.identity, Identity::Staged)
    }

    /// In place, where nobody else holds it: many commits cost what they are, not their square.
    fn advance_by(mut self, file: LogFile, commit: Arc<Commit>, met: bool) -> Result<Loaded> {
        self.head = Arc::new(self.head.advance(commit.version, &commit.batch)?);
        let segment = Arc::make_mut(&mut self.segment);
        segment.version = commit.version;
        segment.commits.push(file.clone());
        segment.last_commit = Some(file.clone());
        let kept = Arc::make_mut(&mut self.kept);
        kept.push(commit);
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
            kept.hinted_adds = None;
            self.segment = Arc::new(segment);
        }
        self
    }

    /// The same version, now resting on a checkpoint that was just written, with its sidecars where
    /// they are known.
    pub(crate) fn rebased(
        &self,
        checkpoint: LogFile,
        sidecars: Option<Arc<Vec<Sidecar>>>,
    ) -> Loaded {
        let mut loaded = self.clone();
        let segment = Arc::make_mut(&mut loaded.segment);
        segment.checkpoint_version = Some(segment.version);
        segment.checkpoint = vec![checkpoint];
        segment.commits.clear();
        segment.compacted.clear();
        let kept = Arc::make_mut(&mut loaded.kept);
        kept.checkpoint = vec![KeptPart { sidecars, ..KeptPart::default() }];
        kept.hinted_adds = None;
        kept.commits.clear();
        kept.commit_bytes = 0;
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
            Identity::None | Identity::Staged => return Ok(Among::No),
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

    /// The commits after a version up to another, ascending, where all of them were read with their
    /// files; `None` else. After nothing means from the first.
    pub(crate) fn commits_since(
        &self,
        after: Option<Version>,
        last: Version,
    ) -> Option<Vec<Arc<Commit>>> {
        let wanted = |it: Version| after.is_none_or(|after| after < it) && it <= last;
        let commits: Vec<_> =
            self.kept.commits.iter().filter(|it| wanted(it.version)).map(Arc::clone).collect();
        let is_whole = |it: &Arc<Commit>| it.first == it.version && it.width >= Width::Narrow;
        let expected = last.get().checked_sub(after.map_or(0, Version::get))?;
        let expected = if after.is_none() { expected.checked_add(1)? } else { expected };
        let complete = u64::try_from(commits.len()) == Ok(expected);
        (complete && commits.iter().all(is_whole)).then_some(commits)
    }

    /// Was the version read from a listing, rather than made or met by us?
    pub(crate) fn is_listed(&self) -> bool {
        matches!(self.kept.identity, Identity::Listed(_))
    }

    /// Is the table come by through its catalog, whose word a refresh would have to ask for?
    pub(crate) fn is_by_catalog(&self) -> bool {
        self.head.read.access() == Access::Catalog
    }

    /// The actions of the version's own commit, where they were read.
    pub(crate) fn last_commit(&self) -> Option<&LogBatch> {
        let last = self.kept.commits.last();
        last.filter(|it| it.version == self.head.version && it.first == it.version)
            .map(|it| &it.batch)
    }

    /// The same with what its own commit says of itself; `None` if that is known, or gone. One GET.
    ///
    /// # Errors
    ///
    /// What reading it gives.
    pub(crate) async fn with_last_commit(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
    ) -> Result<Option<Loaded>> {
        let Some(file) = self.segment.last_commit.as_ref().filter(|_| !self.is_by_catalog()) else {
            return Ok(None);
        };
        if self.head.commit_info.is_some() {
            return Ok(None);
        }
        let read = read_commit(env, op, store, file, Width::Head).await;
        let commit = read.map_err(Trouble::error)?;
        let Some(info) = commit.batch.commit_info.clone() else { return Ok(None) };
        let head = Head { commit_info: Some(info), ..Head::clone(&self.head) };
        Ok(Some(Loaded { head: Arc::new(head), ..self.clone() }))
    }

    /// When the file of this version was written, where a listing told.
    pub(crate) fn modified(&self) -> Option<Timestamp> {
        match &self.kept.identity {
            Identity::Listed(it) => Some(it.modified),
            Identity::Met { .. } | Identity::None | Identity::Staged => None,
        }
    }
}

/// A commit as a listing would show it, but for what only the store knows.
fn met(commit: &Commit, by: Timestamp) -> LogFile {
    let size = u64::try_from(commit.bytes.len()).unwrap_or(u64::MAX);
    LogFile { path: LogPath::Commit(commit.version), size, modified: by, etag: None }
}

impl Kept {
    /// Takes one more commit, and lets go of the oldest ones beyond the bound. Costs no more than
    /// what goes, however many stay.
    pub(super) fn push(&mut self, commit: Arc<Commit>) {
        self.commit_bytes += commit.bytes.len();
        self.commits.push(commit);
        self.shed();
    }

    /// Lets go of the oldest commits beyond the bound.
    pub(super) fn shed(&mut self) {
        let mut over = self.commit_bytes.saturating_sub(KEPT_BYTES_MAX);
        if over == 0 {
            return;
        }
        let goes = |it: &&Arc<Commit>| {
            let goes = 0 < over;
            over = over.saturating_sub(it.bytes.len());
            goes
        };
        let gone = self.commits.iter().take_while(goes).count();
        let gone = self.commits.drain(..gone).map(|it| it.bytes.len()).sum();
        self.commit_bytes = self.commit_bytes.saturating_sub(gone);
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
        (Some(named), Some(held)) => named == held || planted(25),
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
