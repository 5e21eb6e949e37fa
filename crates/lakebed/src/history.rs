//! The commits of a table, newest first; a time to a version; a commit's id to its outcome.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use lakebed_log::action::CommitInfo;
use lakebed_log::batch::Width;
use lakebed_log::commit;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::history::{CommitTime, HistoryEntry, effective_times, version_at};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::LogPath;
use lakebed_log::segment::{LogFile, LogSegment};
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::load;
use crate::pool::map_ordered;
use crate::txn::Context;

/// Commits read ahead of the one that is looked at.
const AHEAD: usize = 16;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It stands at this version.
    Committed(Version),
    /// It is in no version and never will be.
    NotCommitted,
    /// Still unknown: ask again.
    Unknown,
    /// The log was cleaned up past the version it was tried at, and what is left does not tell.
    Expired,
}

/// The commits that the log still holds, newest first, each with the time that time travel goes by.
pub(crate) async fn history(context: &Context) -> Result<BoxStream<'static, Result<HistoryEntry>>> {
    let files = files(context).await?;
    let commits = commits_of(&files);
    if commits.is_empty() {
        // A log of which cleanup has left a checkpoint alone is a table without history.
        LogSegment::new(files, None, &[]).map_err(|it| it.at(context.store.location()))?;
    }
    let times = Arc::new(file_times(&commits)?);
    let deadline = context.deadline();
    let context = context.clone();
    let read = move |file: LogFile| {
        let (context, times) = (context.clone(), Arc::clone(&times));
        async move { entry(&context, &file, &times).await }
    };
    let entries = map_ordered(commits.into_iter().rev(), AHEAD, read);
    // What cleanup deletes while we read is no longer history.
    let entries = entries.filter_map(|it| async { it.transpose() }).boxed();
    Ok(deadline.stream("reading the history", entries))
}

async fn entry(
    context: &Context,
    file: &LogFile,
    times: &[(Version, Timestamp)],
) -> Result<Option<HistoryEntry>> {
    let version = file.path.version();
    let Some(info) = commit_info(context, file).await? else { return Ok(None) };
    // A commit carries an in-commit timestamp exactly where the table goes by it.
    let at = match info.in_commit_timestamp() {
        Some(it) => Some(Timestamp::from_millis(it)),
        None => time_of(times, version),
    };
    let timestamp = at.unwrap_or(file.modified);
    Ok(Some(HistoryEntry { version, timestamp, info }))
}

/// `None` if the file is gone.
async fn commit_info(context: &Context, file: &LogFile) -> Result<Option<CommitInfo>> {
    let read = read(context, file).await?;
    Ok(read.map(|it| it.batch.commit_info.clone().unwrap_or_default()))
}

async fn read(context: &Context, file: &LogFile) -> Result<Option<Arc<load::Commit>>> {
    let Context { env, op, store, catalog, .. } = context;
    load::commit_by(env, op, store, file, catalog.as_deref(), Width::Head).await
}

async fn files(context: &Context) -> Result<Vec<LogFile>> {
    let Context { op, store, catalog, .. } = context;
    context.bounded("listing the log", load::list_by(op, store, None, catalog.as_deref())).await
}

/// The commits that the log holds, oldest first.
pub(crate) async fn commits(context: &Context) -> Result<Vec<LogFile>> {
    files(context).await.map(|it| commits_of(&it))
}

/// The commits of a listing, ascending; of two of one version the one of the catalog.
fn commits_of(files: &[LogFile]) -> Vec<LogFile> {
    let is_commit = |it: &&LogFile| matches!(it.path, LogPath::Commit(_) | LogPath::Staged { .. });
    let mut commits: Vec<_> = files.iter().filter(is_commit).cloned().collect();
    let is_staged = |it: &LogFile| matches!(it.path, LogPath::Staged { .. });
    commits.sort_by_key(|it| (it.path.version(), !is_staged(it)));
    commits.dedup_by_key(|it| it.path.version());
    commits
}

fn file_times(commits: &[LogFile]) -> Result<Vec<(Version, Timestamp)>> {
    let time = |it: &LogFile| CommitTime {
        version: it.path.version(),
        modified: it.modified,
        in_commit: None,
    };
    effective_times(&commits.iter().map(time).collect::<Vec<_>>(), None)
}

fn time_of(times: &[(Version, Timestamp)], version: Version) -> Option<Timestamp> {
    let at = times.binary_search_by_key(&version, |it| it.0).ok()?;
    times.get(at).map(|it| it.1)
}

/// The newest version not after a time. `newest` is the head of the newest version.
///
/// Tables that keep in-commit timestamps go by them from the version on at which they were switched
/// on, and before it by the times of the files; the two are never compared.
pub(crate) async fn version_at_time(
    context: &Context,
    newest: &Head,
    at: Timestamp,
) -> Result<Version> {
    let place = context.store.location();
    let commits = commits(context).await?;
    let (before, since) = split(newest, &commits, at);
    if since.is_empty() {
        let times = file_times(before)?;
        return version_at(&times, at).map_err(|it| it.at(place));
    }
    // In-commit timestamps ascend, so a few of them tell. The last comes first: it is what a time
    // that is near asks for.
    let (mut low, mut high) = (0, since.len());
    let mut probe = since.len() - 1;
    while low < high {
        let Some(file) = since.get(probe) else { break };
        if in_commit_time(context, file).await? <= at {
            low = probe + 1;
        } else {
            high = probe;
        }
        probe = low + (high - low) / 2;
    }
    match low.checked_sub(1).and_then(|it| since.get(it)) {
        Some(file) => {
            let before = low.checked_sub(2).and_then(|it| since.get(it));
            check_order(context, before, file).await?;
            Ok(file.path.version())
        }
        None => {
            let first = since.first().map(|it| it.path.version()).unwrap_or(Version::ZERO);
            let what = format!("version {first}, the oldest one there is, is newer than {at}");
            Err(Error::new(Code::VersionNotFound, what).at(place))
        }
    }
}

/// The commits that go by the times of their files, and those that go by their own; one of the two
/// is empty, because the time lies on one side.
fn split<'a>(
    newest: &Head,
    commits: &'a [LogFile],
    at: Timestamp,
) -> (&'a [LogFile], &'a [LogFile]) {
    let properties = &newest.properties;
    if !properties.enable_in_commit_timestamps {
        return (commits, &[]);
    }
    match properties.in_commit_timestamp_enablement {
        None => (&[], commits),
        Some((version, enabled)) => {
            let older = commits.partition_point(|it| it.path.version().get() < version);
            let (before, since) = commits.split_at(older);
            match before.is_empty() || Timestamp::from_millis(enabled) <= at {
                true => (&[], since),
                false => (before, &[]),
            }
        }
    }
}

/// In-commit timestamps ascend, or halving them finds nothing. At the place that was found it is
/// checked.
async fn check_order(context: &Context, before: Option<&LogFile>, found: &LogFile) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    let (earlier, later) =
        futures::try_join!(in_commit_time(context, before), in_commit_time(context, found))?;
    if earlier < later {
        return Ok(());
    }
    let what = format!(
        "its in-commit timestamp is {later}, not after that of version {}, {earlier}",
        before.path.version()
    );
    let place = format!("{}/{}", context.store.location(), found.path.to_path());
    Err(Error::new(Code::InvalidAction, what).at(place))
}

async fn in_commit_time(context: &Context, file: &LogFile) -> Result<Timestamp> {
    let place = || format!("{}/{}", context.store.location(), file.path.to_path());
    let Some(commit) = read(context, file).await? else {
        let what = "the commit vanished while it was being read";
        return Err(Error::new(Code::LogMoving, what).at(place()));
    };
    let info = commit.batch.commit_info.as_ref().filter(|_| commit.batch.commit_info_first);
    let at = info.and_then(CommitInfo::in_commit_timestamp).map(Timestamp::from_millis);
    at.ok_or_else(|| {
        let what = "the table keeps in-commit timestamps, and this commit has none in a \
                    `commitInfo` that comes first";
        Error::new(Code::InvalidAction, what).at(place())
    })
}

/// What became of the commit with this id.
pub(crate) async fn resolve(context: &Context, id: &str) -> Result<Resolved> {
    let (txn_id, version) = match id.split_once('@') {
        Some((txn_id, version)) => {
            let version = version.parse().ok().and_then(Version::new);
            let version = version.ok_or_else(|| {
                Error::invalid(format!("`{id}` is no commit id: no version follows the `@`"))
            })?;
            (txn_id, Some(version))
        }
        None => (id, None),
    };
    if uuid::Uuid::try_parse(txn_id).is_err() {
        let what = format!("`{id}` is no commit id; one looks like `<uuid>@<version>`");
        return Err(Error::invalid(what));
    }
    let Some(version) = version else { return search(context, txn_id).await };
    let Context { env, op, store, .. } = context;
    let files = context.bounded("listing the log", load::list(op, store, Some(version))).await?;
    match load::is_passed_by(&files, version) {
        Some(false) => claim(context, txn_id, version).await,
        // It may be on its way.
        None if files.is_empty() => Ok(Resolved::Unknown),
        // What was there is gone by cleanup; what lies under its number now, if anything does, came
        // too late and says nothing.
        Some(true) | None => {
            let named = load::named_by_successor(env, op, store, version);
            Ok(match context.bounded("reading a commit", named).await? {
                Some(named) if named == txn_id => Resolved::Committed(version),
                Some(_) => Resolved::NotCommitted,
                None => Resolved::Expired,
            })
        }
    }
}

/// What stands at the version decides: one is tried only after all before it turned out to be
/// others'.
async fn claim(context: &Context, txn_id: &str, version: Version) -> Result<Resolved> {
    let key = LogPath::Commit(version).to_path();
    let mut damaged = None;
    loop {
        let read = context.store.get(&context.op, &key, COMMIT_BYTES_MAX);
        let bytes = match context.bounded("reading a commit", read).await {
            Err(it) if it.code() == Code::FileNotFound => return Ok(Resolved::Unknown),
            read => read?,
        };
        match commit::is_ours(&bytes, txn_id) {
            Ok(true) => return settled(context, version).await,
            Ok(false) => return Ok(Resolved::NotCommitted),
            // Damage may be on the way and not in the store, unless two looks agree on it.
            Err(it) if damaged.as_ref() == Some(&bytes) => {
                return Err(it.at(format!("{}/{key}", context.store.location())));
            }
            Err(_) => damaged = Some(bytes),
        }
    }
}

/// Without the version it was tried at: found, or not known. Absence proves nothing then.
async fn search(context: &Context, txn_id: &str) -> Result<Resolved> {
    let read = |file: LogFile| async move {
        let info = commit_info(context, &file).await?;
        let ours = info.is_some_and(|it| it.txn_id() == Some(txn_id));
        Ok(ours.then(|| file.path.version()))
    };
    let commits = commits(context).await?;
    let mut found = std::pin::pin!(map_ordered(commits.into_iter().rev(), AHEAD, read));
    while let Some(it) = found.next().await {
        if let Some(version) = it? {
            return settled(context, version).await;
        }
    }
    Ok(Resolved::Unknown)
}

/// It stands there, and is told of once it does for good: who wrote it may not have got that far.
async fn settled(context: &Context, version: Version) -> Result<Resolved> {
    context.make_durable(version).await?;
    Ok(Resolved::Committed(version))
}
