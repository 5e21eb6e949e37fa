//! The commit loop: one draft, landed exactly once, or known not to have landed.
//!
//! The store gives one atomic step, put-if-absent, and may lose its answer: a lost answer looks
//! like a failure and may be a success, and a second try then finds the file "already there". So
//! neither is taken at its word. Every draft carries an identity, and whenever the answer is not a
//! plain yes the version is read, and what stands there decides:
//!
//! ```text
//!           +----------------------------- v := v + 1 ------------------------------+
//!           v                                                                        |
//!  render(draft, base, v) -> put_if_absent(v)                                        |
//!     created ---------------------------------------------------> done at v         |
//!     exists or unknown -> read(v)                                                   |
//!                            absent ------> put_if_absent(v) again                   |
//!                            ours by txnId -----------------------> done at v        |
//!                            theirs -> conflict::check(intent, winner)               |
//!                                        clear ---> base.advance(winner) ------------+
//!                                        conflict -> Err(Conflict), nothing committed
//! ```
//!
//! Trying the same version again is safe: whichever of our puts arrives first wins, and the others
//! find it there with our identity. Only a *different* commit at the version turns "open" into "not
//! committed", and only then may the data files of the draft be deleted; while the outcome is open
//! they belong to vacuum.
//!
//! Put-if-absent has a second hole. Log cleanup makes old versions absent again, so a writer that
//! slept through the log's retention could create a version that every reader has passed, and be
//! told yes. Hence the clocks: a base that is old, or was never the newest, is compared with the
//! log before the first put; a put that took long is compared afterwards; and an operation that has
//! run so long that vacuum may have taken its files is refused.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lakebed_log::action::SetTransaction;
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Reason;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::LogPath;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::uri;
use lakebed_log::version::Version;
use serde_json::{Map, Value as Json};

use crate::env::{Deadline, Env};
use crate::load::{Catalog, Moment};
use crate::op::{Op, Usage};
use crate::pool::map_ordered;
use crate::snapshot::Snapshot;
use crate::store::Store;

mod attempt;
mod conclude;
mod group;

pub use lakebed_log::conflict::Unresolved;

/// Data files deleted at once after a conflict.
const DELETES: usize = 16;

/// What a verb did.
#[derive(Clone)]
pub struct Committed {
    snapshot: Snapshot,
    changed: bool,
    metrics: Map<String, Json>,
    notes: Vec<String>,
    usage: Usage,
}

impl Committed {
    /// The version it landed at, or the one it read if nothing changed.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-version").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert_eq!(done.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// Did it commit anything?
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-changed").await?;
    /// let done = table.append(rows.slice(0, 0), Append::new()).await?;
    /// assert!(done.changed(), "it made the table");
    /// assert!(!table.append(rows.slice(0, 0), Append::new()).await?.changed());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The table after it: the base advanced by our own commit, without a request.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-snapshot").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert_eq!(done.snapshot().version(), done.version());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// `operationMetrics` of the commit; empty if nothing changed.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-metrics").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert_eq!(done.metrics()["numOutputRows"], "2");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn metrics(&self) -> &Map<String, Json> {
        &self.metrics
    }

    /// What a person should know, e.g. that a zone-less timestamp column became `timestamp_ntz`.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-notes").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert!(done.notes().is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Requests, bytes, rows.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/c-usage").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert_eq!(done.usage().lists, 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn unchanged(op: &Op, snapshot: Snapshot) -> Committed {
        let (metrics, notes) = (Map::new(), Vec::new());
        Committed { snapshot, changed: false, metrics, notes, usage: op.usage() }
    }

    /// One line for whoever watches the process.
    pub(crate) fn logged(self, verb: &'static str, context: &Context) -> Committed {
        let metric = |key: &str| self.metrics.get(key).and_then(Json::as_str).unwrap_or("0");
        tracing::info!(
            table = context.store.location(),
            version = %self.version(),
            changed = self.changed,
            files = metric("numFiles"),
            rows = metric("numOutputRows"),
            "{verb}"
        );
        self
    }
}

/// What a verb runs in: the outside, its counts, and when it began.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) op: Op,
    pub(crate) store: Store,
    pub(crate) started: Moment,
    /// When the oldest of its data files was begun: vacuum leaves it alone for so long only.
    pub(crate) written: Moment,
    /// What the catalog of the table says is committed, where there is one.
    pub(crate) catalog: Option<Arc<Catalog>>,
    /// [`Store::vanished`] before it wrote anything.
    pub(crate) vanished: u64,
}

impl Context {
    /// Begins now.
    pub(crate) fn new(env: &Env, op: &Op, store: &Store) -> Context {
        let started = Moment::now(env);
        let (env, op, store) = (env.clone(), op.clone(), store.clone());
        let vanished = store.vanished();
        Context { env, op, store, started, written: started, catalog: None, vanished }
    }

    /// The same with data files of which the oldest was there at a time.
    pub(crate) fn written(self, oldest: Timestamp) -> Context {
        let oldest = Moment::at(&self.env, oldest);
        match oldest.age(&self.env) < self.written.age(&self.env) {
            true => self,
            false => Context { written: oldest, ..self },
        }
    }

    /// The same, for a table that is come by through its catalog.
    pub(crate) fn by(self, catalog: Option<Arc<Catalog>>) -> Context {
        Context { catalog, ..self }
    }

    /// Makes what it wrote durable, for those who do not commit it themselves.
    ///
    /// # Errors
    ///
    /// What the store says; `unavailable` if something vanished that it wrote, perhaps.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.store.settle().await?;
        match self.is_bereft() {
            true => {
                let what = "files vanished before they were durable; write them again";
                Err(Error::new(Code::Unavailable, what).at(self.store.location()))
            }
            false => Ok(()),
        }
    }

    /// Has somebody removed what it wrote, perhaps?
    pub(crate) fn is_bereft(&self) -> bool {
        self.store.vanished() != self.vanished
    }

    /// What is left of the deadline.
    pub(crate) fn left(&self) -> Duration {
        self.op.deadline().saturating_sub(self.started.age(&self.env))
    }

    /// The same, for what goes on without this context.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::new(&self.env, self.left(), self.op.deadline(), self.store.location())
    }

    /// Runs a step of a verb that may be given up: nothing of it is visible yet.
    pub(crate) async fn bounded<T>(
        &self,
        what: &str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = self.env.timeout(self.left(), what, step).await;
        match done {
            Err(it) if it.code() == Code::Unavailable && self.left().is_zero() => {
                Err(self.late(what).because(it))
            }
            done => done,
        }
    }

    fn late(&self, what: &str) -> Error {
        let what = format!("{what}: not done within {:?}", self.op.deadline());
        Error::new(Code::DeadlineExceeded, what).at(self.store.location())
    }

    /// Makes durable what stands in the log up to a version, whoever has put it there.
    pub(crate) async fn make_durable(&self, version: Version) -> Result<()> {
        let Context { op, store, .. } = self;
        let key = LogPath::Commit(version).to_path();
        let Err(error) = store.sync(&key).await else { return Ok(()) };
        match store.head(op, &key).await {
            // Cleanup has taken it, which takes nothing that is young.
            Err(it) if it.code() == Code::FileNotFound => Ok(()),
            _ => Err(error),
        }
    }

    /// Deletes data files that no commit names and none will.
    pub(crate) async fn discard(&self, staged: &[String]) {
        let delete = |key: String| async move {
            if let Err(it) = self.store.delete(&self.op, &key).await {
                tracing::debug!(error = ?it, "a data file of a failed commit stays behind");
            }
            Ok(())
        };
        map_ordered(staged.to_vec(), DELETES, delete).for_each(|_| async {}).await;
    }
}

/// A draft with what the commit loop must know about it.
pub(crate) struct Staged {
    pub(crate) draft: Draft,
    /// Object keys of the data files that were written for it and for nothing else.
    pub(crate) files: Vec<String>,
    /// Does a commit of the same application that already covers ours make it superfluous?
    pub(crate) once: bool,
    /// May it land as one version with others of its kind? For what reads nothing, removes nothing,
    /// changes nothing but the files and whose files are its own.
    pub(crate) joins: bool,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

impl Staged {
    /// A draft whose data and change files were all written for it.
    pub(crate) fn new(draft: Draft) -> Result<Staged> {
        let key = |path: &str| uri::decode(path).map(std::borrow::Cow::into_owned);
        let changes = draft.cdc.iter().map(|it| &it.path);
        let paths = draft.adds.iter().map(|it| &it.path).chain(changes);
        let files = paths.map(|it| key(it)).collect::<Result<_>>()?;
        Ok(Staged { draft, files, once: false, joins: false, notes: Vec::new() })
    }
}

/// Commits a draft at the first version after its base that it still applies to; then writes the
/// checksum where the counts are known, and a checkpoint every `delta.checkpointInterval` versions.
/// Without a base it makes the table.
///
/// Commits of one process to one table take turns, and appends that wait land together as one
/// version. Runs as a spawned task: once begun it goes on to its end, though its future is dropped.
///
/// # Errors
///
/// `conflict` with a [`Conflict`](conflict::Conflict): it is in no version and never will be.
/// `transaction-expired` if base or start are too old. `deadline-exceeded` if nothing was sent that
/// could still arrive; `outcome-unknown` with an [`Unresolved`] otherwise.
pub async fn commit(
    env: &Env,
    op: &Op,
    store: &Store,
    base: Option<&Snapshot>,
    draft: Draft,
) -> Result<Committed> {
    let context = Context::new(env, op, store);
    let files = Vec::new();
    let staged = Staged { draft, files, once: false, joins: false, notes: Vec::new() };
    commit_staged(&context, base, staged).await
}

/// The same for data files that were written for the draft: they are deleted where it is certain
/// that it is in no version, but for a table that another writer made first, where they may still
/// be of use to the caller.
pub(crate) async fn commit_staged(
    context: &Context,
    base: Option<&Snapshot>,
    staged: Staged,
) -> Result<Committed> {
    if let Some(base) = base {
        base.check_committed()?;
    }
    group::submit(context, base, staged).await
}

/// Nothing is left to do: a commit up to the version of `there` has done it. That is told once it
/// is durable, since whoever brought it about may die before having got that far.
pub(crate) async fn done_already(context: &Context, there: Snapshot) -> Result<Committed> {
    context.make_durable(there.version()).await?;
    Ok(Committed::unchanged(&context.op, there))
}

/// Did another writer make the table that this one wanted to make?
pub(crate) fn is_creation_lost(error: &Error) -> bool {
    error.conflict().is_some_and(|it| it.reason == Reason::TableCreated)
}

/// Has the table seen this version of the application, or a later one?
pub(crate) fn covered(head: &Head, ours: &SetTransaction) -> bool {
    head.txns.get(&ours.app_id).is_some_and(|it| ours.version <= it.version)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
