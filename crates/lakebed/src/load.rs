//! Lists, fetches, decodes, replays; refreshes a state from an older one.
//!
//! Everything a version is made of is immutable, but the folder it lies in is not: commits arrive,
//! cleanup deletes, hints go stale, checkpoints prove broken. So a load is a loop around one rule:
//! what the log's files say is believed, what points at them is not.
//!
//! ```text
//!   hint? --> LIST from it --> LogSegment --> GET checkpoint, commits --> replay --> Loaded
//!               ^                 | fails           | absent, other size     |
//!               |<-- from zero ---+                 |                        | a file broken that
//!               |<-- the log moved, a few times ----+                        | others can replace:
//!               +<-----------------------------------------------------------+ skip it
//! ```
//!
//! What was skipped is remembered with the reason: a table that heals itself on every open is still
//! one to mend.
//!
//! Opening decodes no more than the small state needs. The bytes it fetched are kept, so that the
//! files cost no second request when somebody asks for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakebed_log::action::CommitInfo;
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checksum::Counts;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::HINT_BYTES_MAX;
use lakebed_log::log_path::{HINT, LOG_DIR, LogPath, STAGED_DIR};
use lakebed_log::replay::Replay;
use lakebed_log::segment::{Hint, LogFile, LogSegment};
use lakebed_log::state::Head;
use lakebed_log::support::Access;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

mod advance;
mod catalog;
mod commits;
mod fetch;
mod files;
mod lineage;
mod marker;
mod sidecar;
mod sift;
mod source;
mod tail;
mod units;
mod walk;

pub use advance::refresh;
pub(crate) use advance::{
    Among, commits_after, follows, follows_from, is_passed_by, named_by_successor,
};
pub use catalog::Catalog;
pub(crate) use commits::{Commit, commit, decode, read_commits};
use fetch::check_hint;
pub(crate) use fetch::{Trouble, checkpoint_parts, checkpoint_place};
pub use files::files;
pub(crate) use files::{checkpoint_state, commits_from};
pub(crate) use marker::{marker, marker_key};
pub(crate) use sift::plan_once;
pub(crate) use tail::{LongTail, TailBounds, long_tail};
pub(crate) use walk::{
    Fetched, Layers, SidecarKeys, checkpoint_alone, layers, layers_below, prove, sidecars_of, sum,
};

use commits::{read_commit, read_tail};
use fetch::KeptPart;

/// How often a load starts over because files vanished under it, before it is `log-moving`.
const MOVES_MAX: usize = 5;
/// How many broken checkpoints or compacted files are stepped around one by one. With more of them
/// there is no point in trying each: the commits decide.
const DETOURS_MAX: usize = 16;

/// What one round of loading found. Bytes of small checkpoints and of commits are kept until the
/// files are asked for, so that nothing is fetched twice. Cheap to clone.
#[derive(Clone)]
pub struct Loaded {
    /// Which log files.
    pub segment: Arc<LogSegment>,
    /// The small state.
    pub head: Arc<Head>,
    kept: Arc<Kept>,
    skips: Skips,
}

/// A file that was passed over because it proved nothing, and something else proved the version.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Below the table's root.
    pub path: String,
    /// What is wrong with it.
    pub error: Arc<Error>,
}

/// What was skipped, by this open and by what builds on it.
#[derive(Clone, Default)]
struct Skips(Arc<Mutex<Vec<Skipped>>>);

impl Skips {
    fn push(&self, store: &Store, path: String, error: &Arc<Error>) {
        let table = store.location();
        tracing::warn!(table, path, %error, "a file is broken; doing without it");
        let mut skips = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !skips.iter().any(|it| it.path == path) {
            skips.push(Skipped { path, error: Arc::clone(error) });
        }
    }

    /// Takes note of every file, and gives the error back.
    fn push_all(&self, store: &Store, paths: &[LogPath], error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        for path in paths {
            self.push(store, path.to_path(), &error);
        }
        error
    }
}

#[derive(Clone)]
struct Kept {
    /// By part, in part order.
    checkpoint: Vec<KeptPart>,
    /// Ascending, without gap, ending at the version. A compacted file is one of them.
    commits: Vec<Arc<Commit>>,
    /// Of all of them.
    commit_bytes: usize,
    identity: Identity,
    seen: Seen,
    /// Actions of the top level of the checkpoint, where it was read.
    checkpoint_actions: u64,
    /// Live files of the checkpoint, as the hint or it itself has them, where they lie in sidecars.
    hinted_adds: Option<u64>,
    /// One per cold open: states of different lineages are states of different tables.
    lineage: Arc<Lineage>,
}

/// What all states share that go back to one cold open.
struct Lineage {
    /// Before this time, in milliseconds, no file of the log can expire.
    settled_until: AtomicI64,
    /// Number and bytes of the live files of the newest version of which they are known.
    counts: Mutex<Option<(Version, Counts)>>,
    /// What the sidecars of the newest checkpoint hold, by path.
    sidecars: Mutex<BTreeMap<String, Arc<SidecarKeys>>>,
}

impl Default for Lineage {
    fn default() -> Lineage {
        let settled_until = AtomicI64::new(i64::MIN);
        Lineage { settled_until, counts: Mutex::default(), sidecars: Mutex::default() }
    }
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
    /// It is not committed: the log holds nothing of it.
    Staged,
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

    /// A time of the past.
    pub(crate) fn at(env: &Env, wall: Timestamp) -> Moment {
        Moment { wall, elapsed: env.elapsed() }
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
    open_by(env, op, store, target, None).await
}

/// The same with what the catalog of the table says is committed.
///
/// # Errors
///
/// As [`open`]; `missing-file` for a staged commit that is not there.
pub async fn open_by(
    env: &Env,
    op: &Op,
    store: &Store,
    target: Option<Version>,
    catalog: Option<&Catalog>,
) -> Result<Loaded> {
    let skips = Skips::default();
    let target = target.or(catalog.map(Catalog::latest));
    let hint = read_hint(op, store, &skips).await;
    // A hint above the target says nothing about where to start.
    let from = hint.as_ref().map(|it| it.version).filter(|it| target.is_none_or(|to| *it <= to));
    let opening = Opening { env, op, store, catalog, hint: hint.as_ref(), skips };
    opening.run(target, from, Vec::new(), 0).await
}

/// What all rounds of one open share.
struct Opening<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    catalog: Option<&'a Catalog>,
    hint: Option<&'a Hint>,
    skips: Skips,
}

impl Opening<'_> {
    /// `skip` are files that proved broken before, in so many `detours`.
    async fn run(
        &self,
        target: Option<Version>,
        mut from: Option<Version>,
        mut skip: Vec<LogPath>,
        mut detours: usize,
    ) -> Result<Loaded> {
        let Opening { store, skips, .. } = self;
        // Of the first thing that was skipped: what has to be mended, if nothing else helps.
        let mut first_error: Option<Arc<Error>> = None;
        let (mut moves, mut gaps) = (0, 0);
        // The whole log, as long as nothing says that it has changed.
        let mut listed: Option<(Moment, Vec<LogFile>)> = None;
        loop {
            let (at, files) = self.files(from, &mut listed, &mut skip, detours).await?;
            let newest = files.iter().map(|it| it.path.version()).max();
            let is_cut = from.is_none() && marker::is_cut(&files);
            let voucher = lineage::voucher(&files, target.filter(|_| is_cut));
            let segment = match LogSegment::new(files, target, &skip) {
                Ok(it) => it,
                // Hints are hints: without one, the whole log decides.
                Err(it) if from.is_some() => {
                    from = None;
                    skips.push(store, format!("{LOG_DIR}/{HINT}"), &Arc::new(it));
                    continue;
                }
                // A listing that is made while commits arrive may have a later one and not the
                // earlier one: a gap counts that is still there when one looks again.
                Err(it) if it.code() == Code::VersionGap && skip.is_empty() && gaps == 0 => {
                    gaps += 1;
                    continue;
                }
                Err(it) => return Err(marker::why(first_error, it.at(store.location()))),
            };
            let seen = Seen { at, newest: newest == Some(segment.version) };
            if is_cut && !seen.newest {
                marker::refuse_cleaned(self.op, store, segment.version).await?;
            }
            let checkpoint: Vec<_> = segment.checkpoint.iter().map(|it| it.path.clone()).collect();
            let (paths, it) = match self.load_vouched(segment, seen, voucher).await {
                Ok(loaded) => return Ok(loaded),
                // What else there is proves nothing either: the file is what has to be mended.
                Err(Trouble::Final(it)) if it.kind() == ErrorKind::Corrupt => {
                    return Err(marker::why(first_error, it));
                }
                Err(Trouble::Final(it)) => return Err(it),
                Err(Trouble::Moved(it)) => {
                    moves += 1;
                    if moves >= MOVES_MAX {
                        return Err(moving(store, it));
                    }
                    (listed, from) = (None, None);
                    continue;
                }
                Err(Trouble::Checkpoint(it)) => (checkpoint, it),
                Err(Trouble::Compacted(paths, it)) => (paths, it),
            };
            first_error.get_or_insert(skips.push_all(store, &paths, it));
            skip.extend(paths);
            detours += 1;
            from = None;
        }
    }

    /// The log, from a version on. After a first detour the whole log is kept in `listed`; after
    /// many, all of it that is no commit is skipped.
    async fn files(
        &self,
        from: Option<Version>,
        listed: &mut Option<(Moment, Vec<LogFile>)>,
        skip: &mut Vec<LogPath>,
        detours: usize,
    ) -> Result<(Moment, Vec<LogFile>)> {
        let (at, files) = match listed {
            Some((at, files)) => (*at, files.clone()),
            None => {
                let at = Moment::now(self.env);
                (at, list_by(self.op, self.store, from, self.catalog).await?)
            }
        };
        if 0 < detours && from.is_none() && listed.is_none() {
            *listed = Some((at, files.clone()));
        }
        if DETOURS_MAX <= detours {
            let aids = files.iter().map(|it| &it.path).filter(|it| !it.is_commit());
            *skip = aids.cloned().collect();
        }
        Ok((at, files))
    }

    /// Fetches and decodes what the small state needs.
    async fn load(&self, segment: LogSegment, seen: Seen) -> Result<Loaded, Trouble> {
        let Opening { env, op, store, catalog, hint, skips } = self;
        let mut cover = segment.cover(None, None);
        let given = catalog.map(|it| it.take_given(&mut cover)).unwrap_or_default();
        let (parts, commits) = futures::join!(
            checkpoint_parts(env, op, store, &segment),
            read_tail(env, op, store, &cover, catalog.is_some()),
        );
        let (parts, (mut commits, older)) = (parts?, commits?);
        for (version, bytes) in given {
            let commit = decode(env, store, version, bytes, Width::Narrow).await;
            commits.push(commit.map_err(Trouble::Final)?);
        }
        commits.sort_by_key(|it| it.version);
        marker::check_chain(store, &commits).map_err(Trouble::Moved)?;
        let found: u64 = parts.iter().map(|(_, it)| it.actions).sum();
        let (checkpoint, batches): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let counted = batches.iter().all(|it| it.sidecars.is_empty());
        let tagged = batches.iter().find_map(fetch::tagged_adds);
        let mut head = self.fold_head(&segment, &commits, batches).await?;
        check_hint(store, &segment, hint.filter(|_| counted), found)?;
        let in_sidecars =
            hint.filter(|it| !counted && Some(it.version) == segment.checkpoint_version);
        self.read_last_commit(&segment, &mut head).await?;
        commits.drain(..older.min(commits.len()));
        let identity = match segment.last_commit.as_ref().or(segment.checkpoint.first()) {
            Some(it) => Identity::Listed(it.clone()),
            None => Identity::None,
        };
        let commit_bytes = commits.iter().map(|it| it.bytes.len()).sum();
        let lineage = Arc::default();
        let hinted_adds = in_sidecars.and_then(|it| it.num_of_add_files).max(tagged);
        let checkpoint_actions = found;
        let mut kept = Kept {
            checkpoint,
            commits,
            commit_bytes,
            identity,
            seen,
            checkpoint_actions,
            hinted_adds,
            lineage,
        };
        // What the catalog gave cannot be fetched again.
        if catalog.is_none() {
            kept.shed();
        }
        let (segment, head, kept) = (Arc::new(segment), Arc::new(head), Arc::new(kept));
        Ok(Loaded { segment, head, kept, skips: skips.clone() })
    }

    async fn fold_head(
        &self,
        segment: &LogSegment,
        commits: &[Arc<Commit>],
        checkpoint: Vec<LogBatch>,
    ) -> Result<Head, Trouble> {
        let version = segment.version;
        let access = self.catalog.map_or(Access::Path, |_| Access::Catalog);
        let newest_first: Vec<_> = commits.iter().rev().map(Arc::clone).collect();
        let fold = move || {
            let mut replay = Replay::new(version, Width::Head).by(access);
            for commit in newest_first {
                replay.feed_small(&commit.batch);
            }
            replay.feed_checkpoint(checkpoint)?;
            replay.finish_head()
        };
        let head = self.env.compute(fold).await;
        head.map_err(|it| blame(it, self.store, segment, commits))
    }

    /// A table with in-commit timestamps cannot be written without that of its last commit, and
    /// neither a checkpoint nor a compacted file carries it.
    async fn read_last_commit(&self, segment: &LogSegment, head: &mut Head) -> Result<(), Trouble> {
        if !head.properties.enable_in_commit_timestamps || head.commit_info.is_some() {
            return Ok(());
        }
        let Opening { env, op, store, catalog, .. } = self;
        let Some(file) = &segment.last_commit else { return Ok(()) };
        let given = catalog.map(|it| it.take_given(&mut vec![file.clone()])).unwrap_or_default();
        let commit = match given.into_iter().next() {
            Some((version, bytes)) => {
                decode(env, store, version, bytes, Width::Head).await.map_err(Trouble::Final)?
            }
            None => read_commit(env, op, store, file, Width::Head).await?,
        };
        let first = commit.batch.commit_info.as_ref().filter(|_| commit.batch.commit_info_first);
        head.commit_info = first.cloned().or_else(|| Some(CommitInfo::default()));
        Ok(())
    }
}

/// Replay failed over what was decoded. What the state lacks, or has twice, may be what a compacted
/// file or a checkpoint lacks or has too much; the commits are what is believed.
fn blame(error: Error, store: &Store, segment: &LogSegment, commits: &[Arc<Commit>]) -> Trouble {
    if error.kind() != ErrorKind::Corrupt {
        return Trouble::Final(error.at(store.location()));
    }
    let compacted = commits.iter().filter(|it| it.first != it.version);
    let compacted: Vec<_> =
        compacted.map(|it| LogPath::Compacted { first: it.first, last: it.version }).collect();
    match compacted.first() {
        Some(first) => {
            let place = format!("{}/{}", store.location(), first.to_path());
            Trouble::Compacted(compacted, error.at(place))
        }
        None if segment.checkpoint.is_empty() => Trouble::Final(error.at(store.location())),
        None => Trouble::Checkpoint(error.at(checkpoint_place(store, segment))),
    }
}

fn moving(store: &Store, cause: Error) -> Error {
    let what = format!("log files vanished {MOVES_MAX} times while they were being read");
    Error::new(Code::LogMoving, what).at(store.location()).because(cause)
}

/// `None` for anything but a sound hint: it saves a longer listing and proves nothing.
async fn read_hint(op: &Op, store: &Store, skips: &Skips) -> Option<Hint> {
    let key = format!("{LOG_DIR}/{HINT}");
    let what = match store.get(op, &key, HINT_BYTES_MAX).await {
        Ok(bytes) => match Hint::parse(&bytes) {
            Some(it) => return Some(it),
            None => Error::new(Code::CorruptLog, "the checkpoint hint makes no sense"),
        },
        Err(it) if it.code() == Code::LimitExceeded => it,
        Err(_) => return None,
    };
    skips.push(store, key, &Arc::new(what));
    None
}

/// The files of the log that take part in replay, from a version on.
pub(crate) async fn list(op: &Op, store: &Store, from: Option<Version>) -> Result<Vec<LogFile>> {
    // No name of an older version is greater than the bare digits, every name of this one is.
    let after = from.map(|it| format!("{LOG_DIR}/{:020}", it.get()));
    list_folder(op, store, &format!("{LOG_DIR}/"), after.as_deref(), LogPath::parse).await
}

/// The same, as the catalog of the table sees it.
pub(crate) async fn list_by(
    op: &Op,
    store: &Store,
    from: Option<Version>,
    catalog: Option<&Catalog>,
) -> Result<Vec<LogFile>> {
    let files = list(op, store, from).await?;
    let Some(catalog) = catalog else { return Ok(files) };
    let staged = match catalog.has_staged() {
        true => {
            let folder = format!("{LOG_DIR}/{STAGED_DIR}/");
            list_folder(op, store, &folder, None, LogPath::parse_staged).await?
        }
        false => Vec::new(),
    };
    catalog.merge(files, &staged).map_err(|it| it.at(store.location()))
}

async fn list_folder(
    op: &Op,
    store: &Store,
    folder: &str,
    after: Option<&str>,
    parse: impl Fn(&str) -> Option<LogPath>,
) -> Result<Vec<LogFile>> {
    let objects = store.list(op, folder, after).await?;
    let parse = |it: crate::store::Object| {
        let path = parse(it.key.strip_prefix(folder)?)?;
        Some(LogFile { path, size: it.size, modified: it.modified, etag: it.etag })
    };
    Ok(objects.into_iter().filter_map(parse).collect())
}

/// The commit of a listed file, or of the catalog, for those who look at commits one by one.
/// `None`: it is gone, or is another file by now.
pub(crate) async fn commit_by(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    catalog: Option<&Catalog>,
    width: Width,
) -> Result<Option<Arc<Commit>>> {
    let given = catalog.map(|it| it.take_given(&mut vec![file.clone()])).unwrap_or_default();
    match given.into_iter().next() {
        Some((version, bytes)) => decode(env, store, version, bytes, width).await.map(Some),
        None => commit(env, op, store, file, width).await,
    }
}

impl Loaded {
    /// The time before which cleanup need not look at the log again.
    pub(crate) fn nothing_expires_before(&self) -> Timestamp {
        Timestamp::from_millis(self.kept.lineage.settled_until.load(Ordering::Relaxed))
    }

    pub(crate) fn set_nothing_expires_before(&self, at: Timestamp) {
        self.kept.lineage.settled_until.store(at.as_millis(), Ordering::Relaxed);
    }

    /// What is known of the number of files of some version of this handle.
    pub(crate) fn known_counts(&self) -> Option<(Version, Counts)> {
        *self.kept.lineage.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep_counts(&self, version: Version, counts: Counts) {
        let mut known = self.kept.lineage.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none_or(|it| it.0 <= version) {
            *known = Some((version, counts));
        }
    }

    /// What a sidecar holds, if it was read or written by this handle.
    pub(crate) fn sidecar_keys(&self, path: &str) -> Option<Arc<SidecarKeys>> {
        let sidecars = &self.kept.lineage.sidecars;
        sidecars.lock().unwrap_or_else(PoisonError::into_inner).get(path).map(Arc::clone)
    }

    /// Keeps what the sidecars of a new checkpoint hold, and forgets those of older ones.
    pub(crate) fn keep_sidecar_keys(&self, keys: BTreeMap<String, Arc<SidecarKeys>>) {
        let sidecars = &self.kept.lineage.sidecars;
        *sidecars.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Bytes of the checkpoint that it rests on, those of its sidecars included as far as they are
    /// known.
    pub(crate) fn checkpoint_bytes(&self) -> u64 {
        let files = self.segment.checkpoint.iter().map(|it| it.size);
        let named = self.kept.checkpoint.iter().filter_map(|it| it.sidecars.as_ref());
        let sidecars = named.flat_map(|it| it.iter());
        let sidecars = sidecars.filter_map(|it| u64::try_from(it.size_in_bytes).ok());
        files.chain(sidecars).fold(0, u64::saturating_add)
    }

    /// Actions of the top level of the checkpoint that it was opened from.
    pub(crate) fn checkpoint_actions(&self) -> u64 {
        self.kept.checkpoint_actions
    }

    /// What was passed over so far to make up this version, and why.
    pub(crate) fn skipped(&self) -> Vec<Skipped> {
        self.skips.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
