//! The whole state of a version: from an older one, or by replay.

use std::sync::Arc;

use lakebed_log::batch::Width;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::replay::Replay;
use lakebed_log::segment::{LogFile, LogSegment};
use lakebed_log::state::{Head, TableState};
use lakebed_log::support::Access;
use lakebed_log::version::Version;

use super::commits::{Commit, CommitRun, read_commits, widen};
use super::fetch::{Trouble, check_hinted_adds, checkpoint_files, checkpoint_parts};
use super::{Loaded, MOVES_MAX, Opening, blame, moving};
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

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
    let (mut moves, mut detours) = (0, 0);
    while moves < MOVES_MAX {
        match replay(env, op, store, &of, width).await {
            Ok(state) => return Ok(Arc::new(state)),
            Err(Trouble::Final(it)) => return Err(it),
            Err(Trouble::Moved(it)) => {
                moves += 1;
                first_error.get_or_insert(Arc::new(it));
            }
            Err(Trouble::Checkpoint(it)) => {
                let paths: Vec<_> =
                    of.segment.checkpoint.iter().map(|it| it.path.clone()).collect();
                first_error.get_or_insert(of.skips.push_all(store, &paths, it));
                skip.extend(paths);
                detours += 1;
            }
            Err(Trouble::Compacted(paths, it)) => {
                first_error.get_or_insert(of.skips.push_all(store, &paths, it));
                skip.extend(paths);
                detours += 1;
            }
        }
        if of.is_by_catalog() {
            break;
        }
        let id = of.head.metadata.id.clone();
        let skips = of.skips.clone();
        let opening = Opening { env, op, store, catalog: None, hint: None, skips };
        of = match opening.run(Some(version), None, skip.clone(), detours).await {
            Ok(it) if it.head.metadata.id == id => it,
            Ok(_) => {
                let what = format!("version {version} was replaced by another table");
                return Err(Error::new(Code::ExpiredSnapshot, what).at(store.location()));
            }
            Err(it) => return Err(first_error.map_or(it, |it| it.copied())),
        };
    }
    let cause = first_error.map_or_else(|| Error::internal("nothing moved"), |it| it.copied());
    match moves {
        0 => Err(cause),
        _ => Err(moving(store, cause)),
    }
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
    if kept.iter().any(|it| it.first != it.version) {
        return Ok(None);
    }
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

async fn replay(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
) -> Result<TableState, Trouble> {
    let segment = &of.segment;
    let (parts, commits) = futures::join!(
        checkpoint_files(env, op, store, segment, width, &of.kept.checkpoint),
        tail(env, op, store, of, width),
    );
    let (parts, commits) = (parts?, commits?);
    check_hinted_adds(store, segment, of.kept.hinted_adds, &parts)?;

    let (version, head) = (of.head.version, Arc::clone(&of.head));
    let (all, access) = (commits.clone(), of.head.read.access());
    let fold = move || {
        let mut replay = Replay::new(version, width).by(access);
        let mut runs_from = None;
        for commit in all.iter().rev() {
            match &commit.run {
                None => replay.feed(commit.batch.clone())?,
                // All of its commits are here: it is fed where the newest of them stands.
                Some(run) if runs_from != Some(run.first) => {
                    runs_from = Some(run.first);
                    replay.feed_run(&run.files)?;
                }
                Some(_) => {}
            }
        }
        replay.feed_parts(parts)?;
        Ok(TableState { head: Head::clone(&head), files: replay.finish_files()? })
    };
    env.compute(fold).await.map_err(|it| blame(it, store, segment, &commits))
}

/// The state of a version as one checkpoint alone tells it, and nothing else: to compare.
pub(crate) async fn checkpoint_state(
    env: &Env,
    op: &Op,
    store: &Store,
    files: Vec<LogFile>,
    access: Access,
) -> Result<TableState, Trouble> {
    let segment = LogSegment::new(files, None, &[]).map_err(Trouble::Final)?;
    let parts = checkpoint_parts(env, op, store, &segment).await?;
    let (kept, batches): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let files = checkpoint_files(env, op, store, &segment, Width::Narrow, &kept).await?;
    let version = segment.version;
    let fold = move || {
        let mut head = Replay::new(version, Width::Head).by(access);
        head.feed_checkpoint(batches)?;
        let mut replay = Replay::new(version, Width::Narrow);
        replay.feed_parts(files)?;
        Ok(TableState { head: head.finish_head()?, files: replay.finish_files()? })
    };
    env.compute(fold).await.map_err(|it| blame(it, store, &segment, &[]))
}

/// The same, but that neighbours may share their file actions: runs are left as they are where a
/// narrow state is asked for and every commit of the run is above the checkpoint and kept.
async fn tail(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let kept = &of.kept.commits;
    let (first, after) = (kept.first().map(|it| it.first), of.segment.checkpoint_version);
    let is_whole = |run: &CommitRun| {
        first.is_some_and(|it| it <= run.first)
            && after.is_none_or(|it| it < run.first)
            && kept.last().is_some_and(|it| run.last <= it.version)
    };
    let shared = |it: &&Arc<Commit>| it.run.as_deref().is_some_and(is_whole);
    if width != Width::Narrow || !kept.iter().any(|it| shared(&it)) {
        return commits_above(env, op, store, of, width).await;
    }
    let above = kept.iter().filter(|it| after.is_none_or(|v| v < it.first));
    let (runs, alone): (Vec<_>, Vec<_>) = above.map(Arc::clone).partition(|it| shared(&it));
    let unread = of.segment.cover(None, first);
    let mut commits = read_commits(env, op, store, &unread, width).await?;
    commits.extend(widen(env, store, alone, width).await.map_err(Trouble::Final)?);
    commits.extend(runs);
    commits.sort_by_key(|it| it.version);
    Ok(commits)
}

/// The commits above the checkpoint at a width, ascending. Uses kept bytes.
pub(super) async fn commits_above(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
) -> Result<Vec<Arc<Commit>>, Trouble> {
    let after = of.segment.checkpoint_version;
    let kept = of.kept.commits.iter().filter(|it| after.is_none_or(|v| v < it.first));
    let kept: Vec<_> = kept.map(Arc::clone).collect();
    let unread = of.segment.cover(None, kept.first().map(|it| it.first));
    let mut commits = read_commits(env, op, store, &unread, width).await?;
    commits.extend(widen(env, store, kept, width).await.map_err(Trouble::Final)?);
    Ok(commits)
}

/// The commits from a version up to the version itself, decoded wide, ascending; `None` if they do
/// not all lie above the checkpoint as they are.
///
/// # Errors
///
/// What reading them gives.
pub(crate) async fn commits_from(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    first: Version,
) -> Result<Option<Vec<Arc<Commit>>>> {
    let commits = commits_above(env, op, store, of, Width::Wide).await.map_err(Trouble::error)?;
    let commits: Vec<_> = commits.into_iter().filter(|it| first <= it.version).collect();
    let expected = of.head.version.get().checked_sub(first.get()).and_then(|it| it.checked_add(1));
    let whole = commits.iter().all(|it| it.first == it.version);
    Ok((whole && u64::try_from(commits.len()).ok() == expected).then_some(commits))
}
