//! Log cleanup: deletes the files of the log that no version within the retention needs.
//!
//! Deleting is the one thing that cannot be taken back, so what is to go is a plan first, and a
//! second way of reading has to agree with it before the first file goes:
//!
//! ```text
//!   LIST -> oldest version to keep, by time -> newest complete checkpoint at or before it
//!        -> read it whole, and what the older files say of its version: the same?
//!        -> marker _lakebed_cleanup {"version": base}, never lowered; the store's clock agrees?
//!        -> commits below the base, low to high; then checksums, compacted files, checkpoints
//!        -> LIST again -> sidecars that no checkpoint names any more
//! ```
//!
//! The marker is for writers that slept: a commit number that cleanup has freed can be created
//! anew, and whoever does so late must find out that the table has gone on without it.
//!
//! Sidecars go last and by a listing that is made after their checkpoints are gone. Whoever writes
//! a checkpoint that shares sidecars with an older one looks, after it is there, whether the older
//! one still is. So one of the two sees the other.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use lakebed_log::batch::Width;
use lakebed_log::cleanup::{self, Cleanup, MARKER};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::history::{CommitTime, effective_times};
use lakebed_log::log_path::{CheckpointName, LOG_DIR, LogPath, SIDECAR_DIR};
use lakebed_log::mutant::planted;
use lakebed_log::segment::LogFile;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::env::Env;
use crate::load::{self, Loaded};
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// Files deleted at once.
const DELETES: usize = 16;
/// Checkpoints that prove broken before a cleanup gives up.
const UNSOUND_MAX: usize = 8;
/// How far clocks may be apart: versions are kept so much longer, and beyond it nothing is deleted.
const SKEW: Duration = Duration::from_secs(600);
/// A shorter retention of the log counts as this.
const RETENTION_MILLIS_MIN: i64 = 3_600_000;
/// A sidecar that no checkpoint names may be about to be named, until it is so old.
const ORPHAN_MILLIS_MIN: i64 = 24 * 3_600_000;
/// Most files that the cleanup after a commit deletes: the commit waits for it.
const FILES_BY_THE_WAY: usize = 1_000;

/// How to clean up the log. An inert value.
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// # use lakebed::*;
/// # futures::executor::block_on(async {
/// let table = Table::open("memory://doc/clean-log").await?;
/// table.append(rows, Append::new()).await?;
/// let plan = table.clean_log(CleanLog::new().dry_run(true)).await?;
/// assert!(plan.files().is_empty(), "the log is young");
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanLog {
    dry_run: bool,
}

impl CleanLog {
    /// Deletes what `delta.logRetentionDuration` no longer keeps.
    pub fn new() -> CleanLog {
        CleanLog::default()
    }

    /// Finds out what would go, verifies it, and deletes nothing. Defaults to `false`.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> CleanLog {
        CleanLog { dry_run }
    }
}

/// What a cleanup of the log deletes, or has deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanedLog {
    oldest: Option<Version>,
    base: Option<Version>,
    files: Vec<(String, u64)>,
    dry_run: bool,
}

impl CleanedLog {
    /// The oldest version that is kept for its age; `None` if all that the log holds is young.
    pub fn oldest(&self) -> Option<Version> {
        self.oldest
    }

    /// The version of the checkpoint that it stands on, if anything goes: below it nothing is left,
    /// and it and all later versions can be opened.
    pub fn base(&self) -> Option<Version> {
        self.base
    }

    /// The files, below the table's root, with their bytes, in the order in which they go.
    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|it| it.1).fold(0, u64::saturating_add)
    }

    /// Are they still there, because it was a dry run?
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// Cleans up the log of a table, of which `newest` is the newest version.
///
/// # Errors
///
/// `unsupported-protocol` and `invalid-metadata` for a table whose log is not ours to judge;
/// `invalid-argument` if its properties say that nothing goes; `version-gap`, `corrupt-checkpoint`
/// if the log is not sound, `clock-skew` if the store's clock says another time; what the store
/// gives. What was deleted before it failed leaves every kept version as it was.
///
/// # Source
///
/// `spec/cleanup.md`.
pub async fn clean(
    env: &Env,
    op: &Op,
    store: &Store,
    newest: &Loaded,
    options: &CleanLog,
) -> Result<CleanedLog> {
    let head = &newest.head;
    cleanup::check(head).map_err(|it| it.at(store.location()))?;
    if !head.properties.enable_expired_log_cleanup {
        let what = "`delta.enableExpiredLogCleanup` is false: the table keeps its whole log";
        return Err(Error::invalid(what).at(store.location()));
    }
    let cleaner = Cleaner { env, op, store, head };
    let Found { files, oldest, plan } = cleaner.find(usize::MAX).await?;
    let dry_run = options.dry_run;
    let Some(plan) = plan else {
        return Ok(CleanedLog { oldest, dry_run, ..CleanedLog::default() });
    };
    match dry_run {
        true => {
            let sidecars = cleaner.unnamed_sidecars(&plan).await?;
            Ok(CleanedLog { dry_run, ..CleanedLog::of(&plan, sidecars) })
        }
        false => cleaner.carry_out(&files, plan).await,
    }
}

/// Cleans up by the way, after a commit that wrote a checkpoint: if the table wants it, and there
/// may be something to delete. One LIST, or none while nothing can have expired.
///
/// # Errors
///
/// As [`clean`]; they are no fault of the commit.
pub(crate) async fn clean_by_the_way(
    env: &Env,
    op: &Op,
    store: &Store,
    newest: &Loaded,
) -> Result<()> {
    let head = &newest.head;
    let idle = env.now() < newest.nothing_expires_before();
    if !head.properties.enable_expired_log_cleanup || idle || cleanup::check(head).is_err() {
        return Ok(());
    }
    let cleaner = Cleaner { env, op, store, head };
    let Found { files, plan, .. } = cleaner.find(FILES_BY_THE_WAY).await?;
    let Some(plan) = plan else {
        newest.set_nothing_expires_before(cleaner.next_expiry(&files)?);
        return Ok(());
    };
    let cleaned = cleaner.carry_out(&files, plan).await?;
    let (table, files) = (store.location(), cleaned.files.len());
    tracing::info!(table, files, base = ?cleaned.base, "log cleaned up");
    Ok(())
}

/// What a look at the log has found.
struct Found {
    files: Vec<LogFile>,
    oldest: Option<Version>,
    plan: Option<Cleanup>,
}

struct Cleaner<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    head: &'a Head,
}

impl Cleaner<'_> {
    fn retention_millis(&self) -> i64 {
        self.head.properties.log_retention_millis.max(RETENTION_MILLIS_MIN)
    }

    /// The oldest version to keep, and what goes, once two ways of reading agree on what stays.
    /// Nothing is written. With more than `files_max` to go, as many go as may be.
    async fn find(&self, files_max: usize) -> Result<Found> {
        let Cleaner { env, op, store, head } = self;
        let files = load::list(op, store, None).await?;
        let now = env.now().plus_millis(-millis(SKEW));
        let at = cleanup::cut(now, self.retention_millis());
        let oldest = self.newest_at(&files, at).await?.map(|it| it.min(head.version));
        let Some(version) = oldest else { return Ok(Found { files, oldest, plan: None }) };
        let mut unsound: Vec<LogPath> = Vec::new();
        for _ in 0..UNSOUND_MAX {
            let mut plan = match Cleanup::of(&files, version, &unsound) {
                Ok(Some(plan)) => plan,
                Ok(None) => return Ok(Found { files, oldest, plan: None }),
                // It cannot be opened, and what can be is younger.
                Err(it) if it.kind() == ErrorKind::NotFound => {
                    return Ok(Found { files, oldest, plan: None });
                }
                Err(it) => return Err(it.at(store.location())),
            };
            let proved = match planted(16) {
                true => Ok(()),
                false => load::prove(env, op, store, &files, &plan.checkpoint).await.map(|_| ()),
            };
            match proved {
                Ok(()) => {
                    plan.commits.truncate(files_max);
                    plan.others.truncate(files_max - plan.commits.len());
                    return Ok(Found { files, oldest, plan: Some(plan) });
                }
                // Nothing can stand on it. Another one may do.
                Err(it) if it.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(table = store.location(), error = %it, "not cleaned up to there");
                    unsound.extend(plan.checkpoint.into_iter().map(|it| it.path));
                }
                Err(it) => return Err(it),
            }
        }
        let what = format!("{UNSOUND_MAX} checkpoints are broken; see `lakebed doctor`");
        Err(Error::new(Code::CorruptCheckpoint, what).at(store.location()))
    }

    /// The version that was the newest at a time, by the times of the files and, where commits
    /// carry their own, by those as well: the older of both answers.
    async fn newest_at(&self, files: &[LogFile], at: Timestamp) -> Result<Option<Version>> {
        let commits = cleanup::leading(files);
        let Some(by_file) = cleanup::newest_at(&times(&commits)?, at) else { return Ok(None) };
        if !self.head.properties.enable_in_commit_timestamps {
            return Ok(Some(by_file));
        }
        let end = commits.partition_point(|it| it.path.version() <= by_file);
        let (mut low, mut high) = (0, end);
        let mut probe = end.saturating_sub(1);
        while low < high {
            let Some(file) = commits.get(probe) else { break };
            if self.in_commit_time(file).await?.is_none_or(|it| it <= at) {
                low = probe + 1;
            } else {
                high = probe;
            }
            probe = low + (high - low) / 2;
        }
        Ok(low.checked_sub(1).and_then(|it| commits.get(it)).map(|it| it.path.version()))
    }

    async fn in_commit_time(&self, file: &LogFile) -> Result<Option<Timestamp>> {
        let Cleaner { env, op, store, .. } = self;
        let Some(commit) = load::commit(env, op, store, file, Width::Head).await? else {
            let what = "a commit vanished while it was being read";
            return Err(Error::new(Code::LogMoving, what).at(store.location()));
        };
        let time = commit.batch.commit_info.as_ref().and_then(|it| it.in_commit_timestamp());
        Ok(time.map(Timestamp::from_millis))
    }

    /// Before this time no file can go: when the next checkpoint becomes the one to stand on.
    fn next_expiry(&self, files: &[LogFile]) -> Result<Timestamp> {
        let times = times(&cleanup::leading(files))?;
        let first = files.iter().map(|it| it.path.version()).min();
        let base = |it: &&(Version, Timestamp)| {
            let is_checkpoint = |file: &LogFile| match file.path {
                LogPath::Checkpoint(version, _) => version == it.0,
                _ => false,
            };
            first < Some(it.0) && files.iter().any(is_checkpoint)
        };
        let at = times.iter().find(base).map_or(self.env.now(), |it| it.1);
        Ok(at.plus_millis(self.retention_millis()))
    }

    async fn carry_out(&self, files: &[LogFile], plan: Cleanup) -> Result<CleanedLog> {
        let Cleaner { op, store, .. } = self;
        self.check_clock(files).await?;
        self.raise_marker(plan.base).await?;
        // Between our look at the marker and our write of it another cleaner may have written a
        // higher one, and ours may have come after it. Whoever deletes sees to its own.
        self.raise_marker(plan.base).await?;
        for files in [&plan.commits, &plan.others] {
            let delete = |file: LogFile| {
                let key = file.path.to_path();
                async move { store.delete(op, &key).await }
            };
            map_ordered(files.clone(), DELETES, delete).try_collect::<Vec<()>>().await?;
        }
        let sidecars = self.delete_sidecars(&plan).await?;
        self.raise_marker(plan.base).await?;
        Ok(CleanedLog::of(&plan, sidecars))
    }

    /// Sees to it that the marker says this version or a later one.
    async fn raise_marker(&self, base: Version) -> Result<()> {
        let Cleaner { op, store, .. } = self;
        if load::marker(op, store).await?.is_some_and(|it| base <= it) {
            return Ok(());
        }
        store.put(op, &load::marker_key(), cleanup::marker_text(base).into()).await?;
        match load::marker(op, store).await? {
            Some(it) if base <= it => Ok(()),
            _ => {
                let what = "the marker of the cleanup is not what was written";
                Err(Error::new(Code::LogMoving, what).at(store.location()))
            }
        }
    }

    /// Ages of files mean something only if our clock and the store's agree. What was written a
    /// moment ago tells, and if nothing was, an object that is written to be looked at.
    async fn check_clock(&self, files: &[LogFile]) -> Result<()> {
        let Cleaner { env, op, store, .. } = self;
        let latest = files.iter().map(|it| it.modified).max();
        if latest.is_some_and(|it| env.now() <= it.plus_millis(millis(SKEW))) {
            return Ok(());
        }
        let key = format!("{LOG_DIR}/{MARKER}.{}", env.id());
        store.put(op, &key, "{}".into()).await?;
        let stamped = store.head(op, &key).await;
        store.delete(op, &key).await?;
        let (theirs, ours) = (stamped?.modified, env.now());
        if ours <= theirs.plus_millis(millis(SKEW)) {
            return Ok(());
        }
        let what = format!("the clock of this machine says {ours}, that of the store {theirs}");
        Err(Error::new(Code::ClockSkew, what).at(store.location()))
    }

    /// Deletes the sidecars that no checkpoint names any more.
    async fn delete_sidecars(&self, plan: &Cleanup) -> Result<Vec<(String, u64)>> {
        let Cleaner { op, store, .. } = self;
        let delete = |(key, bytes): (String, u64)| async move {
            store.delete(op, &key).await?;
            Ok((key, bytes))
        };
        let doomed = self.unnamed_sidecars(plan).await?;
        map_ordered(doomed, DELETES, delete).try_collect().await
    }

    /// Sidecars that no checkpoint names but those that are gone, and that are too old to belong to
    /// a checkpoint that is being written. Where a checkpoint cannot be read it is not known which
    /// ones it needs, and none goes.
    async fn unnamed_sidecars(&self, plan: &Cleanup) -> Result<Vec<(String, u64)>> {
        let Cleaner { env, op, store, .. } = self;
        let gone: BTreeSet<&LogPath> = plan.others.iter().map(|it| &it.path).collect();
        let folder = format!("{LOG_DIR}/{SIDECAR_DIR}/");
        let there = store.list(op, &folder, None).await?;
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let files = load::list(op, store, None).await?;
        let is_kept = |it: &&LogFile| match &it.path {
            LogPath::Checkpoint(_, CheckpointName::Part { .. }) => false,
            LogPath::Checkpoint(..) => !gone.contains(&it.path),
            _ => false,
        };
        let kept: Vec<LogFile> = files.iter().filter(is_kept).cloned().collect();
        let mut named = BTreeSet::new();
        for file in kept {
            match load::sidecars_of(env, op, store, std::slice::from_ref(&file)).await {
                Ok(it) if !planted(53) => named.extend(it),
                Ok(_) => {}
                Err(it) if matches!(it.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    let table = store.location();
                    tracing::warn!(table, error = %it, "no sidecar goes while this does not read");
                    return Ok(Vec::new());
                }
                Err(it) => return Err(it),
            }
        }
        let young = env.now().plus_millis(-ORPHAN_MILLIS_MIN);
        let doomed = there.into_iter().filter(|it| !named.contains(&it.key) && it.modified < young);
        Ok(doomed.map(|it| (it.key, it.size)).collect())
    }
}

impl CleanedLog {
    fn of(plan: &Cleanup, sidecars: Vec<(String, u64)>) -> CleanedLog {
        let files = plan.commits.iter().chain(&plan.others);
        let files = files.map(|it| (it.path.to_path(), it.size)).chain(sidecars).collect();
        let (oldest, base) = (Some(plan.oldest), Some(plan.base));
        CleanedLog { oldest, base, files, dry_run: false }
    }
}

fn times(commits: &[&LogFile]) -> Result<Vec<(Version, Timestamp)>> {
    let time = |it: &&LogFile| CommitTime {
        version: it.path.version(),
        modified: it.modified,
        in_commit: None,
    };
    effective_times(&commits.iter().map(time).collect::<Vec<_>>(), None)
}

fn millis(it: Duration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}
