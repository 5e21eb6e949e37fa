//! Commit after commit to the files that hold its row changes.
//!
//! Each version is checked before its rows are told: its protocol, whether it kept the feed, and
//! whether its rows fit the schema in which all are told. What the files of the version before are
//! is asked only where a commit leaves it open; from then on they are carried along, a commit at a
//! time.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use lakebed_log::batch::Width;
use lakebed_log::changes::{CommitChanges, Tasks as _, check_schema};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::files::FileList;
use lakebed_log::log_path::LogPath;
use lakebed_log::segment::LogFile;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use super::cursor::Cursor;
use super::lanes::Lane;
use super::range::other_table;
use super::reader::{Files, FilesOf};
use super::rows::Part;
use crate::codec::Turn;
use crate::load::{self, Commit};
use crate::pool::map_ordered;
use crate::txn::Context;

/// Commits fetched ahead of the one whose files are read.
const AHEAD: usize = 4;

/// What a feed hands on.
pub(super) enum Step {
    /// Rows of one file, and the place of the file.
    Rows { part: Part, file: Cursor },
    /// No rows: everything before has been handed out.
    Passed(Cursor),
}

/// The commits of a range, one after the other.
pub(super) struct Walk {
    files: Files,
    commits: Lane<Arc<Commit>>,
    /// Times by file of the versions that go by them.
    times: BTreeMap<Version, Timestamp>,
    require_feed: bool,
    /// Where to begin.
    start: Cursor,
    turns: Box<dyn Iterator<Item = Turn> + Send>,
    /// Of the version before the next commit; at first of the next one itself.
    head: Arc<Head>,
    /// The last in-commit timestamp.
    last: Option<Timestamp>,
    /// The files of the version before the next commit, once a commit asked for them.
    before: Option<FileList>,
    current: Option<Current>,
}

/// A commit whose files are being handed out.
struct Current {
    version: Version,
    table: String,
    changes: FilesOf<CommitChanges>,
    next: usize,
    /// The physical row to begin with in the next file.
    row: u64,
}

impl Walk {
    /// Of `commits`, which have no gap. `head` is that of the first of them.
    pub(super) fn new(
        files: Files,
        commits: Vec<LogFile>,
        times: BTreeMap<Version, Timestamp>,
        require_feed: bool,
        start: Cursor,
        head: Arc<Head>,
    ) -> Walk {
        let context = files.context.clone();
        let read = move |file: LogFile| {
            let Context { env, op, store, catalog, .. } = context.clone();
            async move {
                let (catalog, width) = (catalog.as_deref(), Width::Narrow);
                let read = load::commit_by(&env, &op, &store, &file, catalog, width).await?;
                read.ok_or_else(|| {
                    let what = "the commit vanished while it was being read";
                    let place = format!("{}/{}", store.location(), file.path.to_path());
                    Error::new(Code::LogMoving, what).at(place)
                })
            }
        };
        Walk {
            files,
            commits: map_ordered(commits, AHEAD, read).boxed(),
            times,
            require_feed,
            start,
            turns: Box::new(Turn::line()),
            head,
            last: None,
            before: None,
            current: None,
        }
    }

    /// One lane a file, and one a version that says that it is done.
    pub(super) fn lanes(self) -> Lane<Lane<Step>> {
        let next = |mut walk: Walk| async move {
            let lane = walk.next().await?;
            Ok(lane.map(|it| (it, walk)))
        };
        stream::try_unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Result<Option<Lane<Step>>> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(commit) = self.commits.try_next().await? else { return Ok(None) };
                let place = LogPath::Commit(commit.version).to_path();
                let place = format!("{}/{place}", self.files.context.store.location());
                self.current = Some(self.open(&commit).await.map_err(|it| it.at(place))?);
                continue;
            };
            let (at, row) = (current.next, std::mem::take(&mut current.row));
            if current.changes.len() <= at {
                let after = current.version.next().unwrap_or(current.version);
                let passed = Step::Passed(Cursor::at(&current.table, after));
                self.current = None;
                return Ok(Some(stream::iter([Ok(passed)]).boxed()));
            }
            current.next += 1;
            let turn = self.turns.next().unwrap_or_default();
            let Some(lane) = current.changes.lane(at, turn, row)? else { continue };
            let file = u64::try_from(at).unwrap_or(u64::MAX);
            let place = Cursor { file, ..Cursor::at(&current.table, current.version) };
            let step = move |part: Part| Step::Rows { part, file: place.clone() };
            return Ok(Some(lane.map_ok(step).boxed()));
        }
    }

    async fn open(&mut self, commit: &Arc<Commit>) -> Result<Current> {
        let (version, batch) = (commit.version, &commit.batch);
        let is_first = self.head.version == version;
        if !is_first {
            self.head = Arc::new(self.head.advance(version, batch)?);
        }
        let head = Arc::clone(&self.head);
        if is_first && head.metadata.id != self.start.table {
            // Between two versions, the next one may have given the table another id.
            if !self.start.is_start() || batch.metadata.is_none() {
                return Err(other_table(&self.start, &head.metadata.id));
            }
        }
        let told = Arc::clone(&self.files.told.head);
        if self.require_feed && !head.properties.enable_change_data_feed {
            let what = format!(
                "version {version} did not keep the change feed: `delta.enableChangeDataFeed` is \
                 not true; row changes can be derived from the files instead, if that is asked for"
            );
            return Err(Error::new(Code::FeedNotEnabled, what));
        }
        check_schema(&told, &head)?;
        let timestamp = self.time(&head)?;
        let asks = CommitChanges::needs_before(batch, &head)?;
        if asks && self.before.is_none() {
            self.before = Some(files_before(&self.files.context, version).await?);
        }
        // The commit that changed the schema may remove rows that had another one.
        let removes = batch.cdc.is_empty() && batch.removes.is_some();
        if is_first && batch.metadata.is_some() && removes && version != Version::ZERO {
            let before = open_before(&self.files.context, version).await?;
            check_schema(&told, &before.head)?;
        }
        let (before, commit) = (self.before.take(), Arc::clone(commit));
        let plan = move || {
            let changes = CommitChanges::new(&commit.batch, &head, before.as_ref())?;
            let (adds, removes) = (commit.batch.adds.as_ref(), commit.batch.removes.as_ref());
            let after = before.map(|it| it.advance(adds, removes)).transpose()?;
            Ok((changes, after))
        };
        let (changes, after) = self.files.context.env.compute(plan).await?;
        self.before = after;
        let starts = version == self.start.version && !self.start.is_start();
        let next = usize::try_from(self.start.file).unwrap_or(usize::MAX);
        if starts && changes.len() <= next {
            let what = format!(
                "the cursor stands at file {next} of version {version}, which changed rows of {}",
                changes.len()
            );
            return Err(Error::invalid(what));
        }
        let next = if starts { next } else { 0 };
        Ok(Current {
            version,
            table: self.head.metadata.id.clone(),
            changes: self.files.of(changes, Some((version, timestamp)), next),
            next,
            row: if starts { self.start.row } else { 0 },
        })
    }

    /// By the table's own clock where it keeps one, else by the times of the files.
    fn time(&mut self, head: &Head) -> Result<Timestamp> {
        let version = head.version;
        if !head.properties.enable_in_commit_timestamps {
            let at = self.times.get(&version).copied();
            return at.ok_or_else(|| Error::internal(format!("version {version} has no time")));
        }
        let at = head.commit_info.as_ref().and_then(|it| it.in_commit_timestamp());
        let at = at.map(Timestamp::from_millis).ok_or_else(|| {
            let what = "the table keeps in-commit timestamps and this commit has none";
            Error::new(Code::InvalidAction, what)
        })?;
        match self.last.replace(at) {
            Some(last) if at <= last => {
                let what =
                    format!("`inCommitTimestamp` is {at}, not after its predecessor's {last}");
                Err(Error::new(Code::InvalidAction, what))
            }
            _ => Ok(at),
        }
    }
}

/// The version before.
async fn open_before(context: &Context, version: Version) -> Result<load::Loaded> {
    let before = version.get().checked_sub(1).and_then(Version::new);
    let Some(before) = before else {
        let what = "the first version removes files";
        return Err(Error::new(Code::InvalidAction, what));
    };
    super::open(context, before).await
}

async fn files_before(context: &Context, version: Version) -> Result<FileList> {
    let Context { env, op, store, .. } = context;
    let loaded = open_before(context, version).await?;
    let state = load::files(env, op, store, &loaded, Width::Narrow, None).await?;
    Ok(state.files.clone())
}
