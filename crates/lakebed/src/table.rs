//! `Table`: opens, hands out snapshots, calls verbs. No logic.

use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use lakebed_log::error::{Code, Result};
use lakebed_log::history::HistoryEntry;
use lakebed_log::scan::Scan;
use lakebed_log::segment::LogSegment;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::append::{self, Append};
use crate::create::{self, Create};
use crate::doctor::{self, Doctor, Report};
use crate::env::Env;
use crate::feed::{self, Changes, Cursor, Feed};
use crate::history;
use crate::load::{self, Catalog, Loaded};
use crate::op::Op;
use crate::overwrite::{self, Overwrite};
use crate::read::Batches;
use crate::snapshot::{Snapshot, When};
use crate::store::Store;
use crate::txn::{Committed, Context};
use crate::write::Data;

pub use crate::history::Resolved;

/// A table at a location. Cheap to clone; clones share the last state seen.
///
/// There is no "current version" that could be stale: every verb takes the newest version by
/// itself, with one LIST, and uses the last state seen only to load less. Hold a [`Snapshot`] to
/// save the LIST too.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{Int64Array, RecordBatch};
/// use lakebed::{Append, Scan, Table};
///
/// # futures::executor::block_on(async {
/// let ids = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// let rows = RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
///
/// let table = Table::open("memory://doc/table").await?;
/// let done = table.append(rows, Append::new()).await?;
/// let batches = done.snapshot().read(&Scan::new()).await?.collect().await?;
/// assert_eq!(batches.iter().map(|it| it.num_rows()).sum::<usize>(), 3);
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Table {
    env: Env,
    store: Store,
    op: Option<Op>,
    catalog: Option<Arc<Catalog>>,
    last: Arc<Mutex<Option<Snapshot>>>,
}

impl Table {
    /// Parses the location and builds the store; makes no request, so that a table that is not
    /// there can be made by the first append.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for a location that makes no sense, `unsupported-path` for a scheme that
    /// this release does not know.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/open").await?;
    /// assert!(!table.exists().await?);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    pub async fn open(location: &str) -> Result<Table> {
        Table::open_with(&Env::tokio(), location)
    }

    /// The constructor behind the others, for an environment of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Table::open`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let env = Env::tokio().with_budget(64 << 20);
    /// let table = Table::open_with(&env, "memory://doc/open-with")?;
    /// # let _ = table;
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn open_with(env: &Env, location: &str) -> Result<Table> {
        let store = env.open(location)?;
        Ok(Table { env: env.clone(), store, op: None, catalog: None, last: Arc::default() })
    }

    /// The same table, whose verbs count in `op` and obey its deadline. Without one, every verb
    /// counts for itself and has ten minutes.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/with-op").await?;
    /// let op = Op::new(std::time::Duration::from_secs(5));
    /// table.with_op(op.clone()).append(rows, Append::new()).await?;
    /// assert_eq!(op.usage().rows, 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_op(&self, op: Op) -> Table {
        Table { op: Some(op), ..self.clone() }
    }

    /// The same table, whose log may name files below `root` by absolute paths, as shallow clones
    /// do. Without it they are refused: a table that somebody sent must not read what is not its
    /// own. Called twice: both.
    ///
    /// # Errors
    ///
    /// As [`Table::open`], for the root.
    ///
    /// ```
    /// # use lakebed::Table;
    /// # futures::executor::block_on(async {
    /// let clone = Table::open("memory://doc/clone").await?.allow_root("memory://doc/source")?;
    /// # let _ = clone;
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn allow_root(&self, root: &str) -> Result<Table> {
        let env = self.env.allow_root(root)?;
        // The last snapshot holds the environment before.
        Ok(Table { env, last: Arc::default(), ..self.clone() })
    }

    /// The same table, read through its catalog: with the commits that the catalog has ratified,
    /// and with none above its newest version. A table with feature `catalogManaged` is read in no
    /// other way, and is not written yet.
    ///
    /// The catalog is what it was when it was asked: who wants to see newer commits asks it again.
    ///
    /// ```
    /// # use lakebed::*;
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/with-catalog").await?;
    /// # table.append(rows.clone(), Append::new()).await?;
    /// # table.append(rows, Append::new()).await?;
    /// let catalog = Catalog::new(Version::from(0));
    /// let now = table.with_catalog(catalog).snapshot().await?;
    /// assert_eq!(now.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_catalog(&self, catalog: Catalog) -> Table {
        let catalog = Some(Arc::new(catalog));
        Table { catalog, last: Arc::default(), ..self.clone() }
    }

    /// Makes a table. One LIST and one PUT.
    ///
    /// Dropping the future before the commit began leaves nothing behind; afterwards the commit
    /// goes on to its end.
    ///
    /// # Errors
    ///
    /// `table-exists`; `unknown-column` and `invalid-argument` for partition columns and properties
    /// that make no sense; `unsupported-protocol` for what this build could not write to.
    ///
    /// ```
    /// # use lakebed::{Code, Create, Schema, Table};
    /// # futures::executor::block_on(async {
    /// let create = Create::new(Schema::parse_ddl("id long, day date")?).partition_by(["day"]);
    /// Table::create("memory://doc/new", create.clone()).await?;
    /// let again = Table::create("memory://doc/new", create).await.err().unwrap();
    /// assert_eq!(again.code(), Code::TableExists);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tokio")]
    pub async fn create(location: &str, options: Create) -> Result<Table> {
        let table = Table::open(location).await?;
        table.create_here(options).await?;
        Ok(table)
    }

    /// The same through this handle.
    ///
    /// # Errors
    ///
    /// As [`Table::create`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/create-here").await?;
    /// let schema = Schema::parse_ddl("id long not null")?;
    /// let done = table.create_here(Create::new(schema)).await?;
    /// assert_eq!(done.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn create_here(&self, options: Create) -> Result<Committed> {
        let done = create::create(&self.context(), &options).await?;
        Ok(self.seen(done))
    }

    /// Is there a table? One LIST.
    ///
    /// # Errors
    ///
    /// What listing gives.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/exists").await?;
    /// assert!(!table.exists().await?);
    /// # let done = table.append(rows, Append::new()).await?;
    /// assert!(table.exists().await?);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn exists(&self) -> Result<bool> {
        let context = self.context();
        let listed = load::list(&context.op, &context.store, None);
        let files = context.bounded("listing the log", listed).await?;
        let table = LogSegment::new(files, None, &[]);
        Ok(!matches!(table, Err(it) if it.code() == Code::NotATable))
    }

    /// The newest version. One LIST if this handle has seen the table before.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// `not-a-table` if there is none; what reading and decoding the log gives, placed at the file.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/snapshot").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let now = table.snapshot().await?;
    /// assert_eq!(now.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn snapshot(&self) -> Result<Snapshot> {
        self.newest(&self.context()).await
    }

    /// Another version: by number, or the newest one not after a time.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// `version-not-found` with the range that is there, for a number; for a time before the first
    /// version that is left. A time after the last gives the newest. Else as [`Table::snapshot`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/snapshot-at").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let first = table.snapshot_at(Version::from(0)).await?;
    /// let same = table.snapshot_at(first.timestamp().await?).await?;
    /// assert_eq!(same.version(), first.version());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn snapshot_at(&self, when: impl Into<When>) -> Result<Snapshot> {
        let context = self.context();
        let version = match when.into() {
            When::Version(it) => it,
            When::Timestamp(at) => {
                let newest = self.newest(&context).await?;
                let version = history::version_at_time(&context, newest.head(), at);
                let version = context.bounded("looking for the time", version).await?;
                if version == newest.version() {
                    return Ok(newest);
                }
                version
            }
        };
        let loaded = self.open_at(&context, Some(version)).await?;
        let snapshot = Snapshot::new(&self.env, &self.store, self.op.clone(), loaded, None);
        logged("opened", &snapshot);
        Ok(snapshot)
    }

    /// The newest version not after a time: what [`Table::snapshot_at`] would open. One LIST, and a
    /// few GETs where the table keeps in-commit timestamps.
    ///
    /// # Errors
    ///
    /// As [`Table::snapshot_at`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/version-at").await?;
    /// # table.append(rows, Append::new()).await?;
    /// let at = table.snapshot().await?.timestamp().await?;
    /// assert_eq!(table.version_at(at).await?, Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn version_at(&self, at: Timestamp) -> Result<Version> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        let version = history::version_at_time(&context, newest.head(), at);
        context.bounded("looking for the time", version).await
    }

    /// Adds rows; makes the table if there is none.
    ///
    /// Dropping the future before the commit began leaves data files that no version names, for
    /// vacuum; afterwards the commit goes on to its end. "At most once" is promised after an
    /// unknown outcome only with [`Append::once`].
    ///
    /// # Errors
    ///
    /// `schema-mismatch` and `invalid-data` for rows that do not fit, `unsupported-protocol` for a
    /// table that this build cannot write, `conflict` if others changed the schema meanwhile,
    /// `outcome-unknown` if the store did not say whether it landed: see [`Table::resolve`];
    /// `table-exists` if it was to be made ([`Append::only_create`]).
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/append").await?;
    /// let done = table.append(rows, Append::new()).await?;
    /// assert_eq!((done.version(), done.changed()), (Version::from(0), true));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn append(&self, data: impl Into<Data>, options: Append) -> Result<Committed> {
        let context = self.context();
        let base = self.base(&context).await?;
        let done = append::append(&context, base.as_ref(), data.into(), &options).await?;
        Ok(self.seen(done.logged("append", &context)))
    }

    /// Replaces rows; makes the table if there is none.
    ///
    /// Dropping the future: as for [`Table::append`].
    ///
    /// # Errors
    ///
    /// As [`Table::append`]; `invalid-argument` for a filter on other than partition columns and
    /// for an append-only table; `invalid-data` for a new row that the filter does not match;
    /// `conflict` if others added or removed rows meanwhile where this one replaces them.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/overwrite").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let done = table.overwrite(rows, Overwrite::all()).await?;
    /// assert_eq!(done.metrics()["numRemovedFiles"], "1");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn overwrite(&self, data: impl Into<Data>, options: Overwrite) -> Result<Committed> {
        let context = self.context();
        let base = self.base(&context).await?;
        let done = overwrite::overwrite(&context, base.as_ref(), data.into(), &options).await?;
        Ok(self.seen(done.logged("overwrite", &context)))
    }

    /// The commits that the log still holds, newest first. One LIST, and a GET per commit looked at
    /// and a few ahead.
    ///
    /// # Errors
    ///
    /// `not-a-table`; the stream yields what decoding gives, placed at the file, and
    /// `deadline-exceeded` to whoever polls or waits past the deadline, counted from this call.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/history").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// use futures::TryStreamExt;
    /// let log: Vec<HistoryEntry> = table.history().await?.try_collect().await?;
    /// assert_eq!(log[0].info.text("operation"), Some("WRITE"));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn history(&self) -> Result<BoxStream<'static, Result<HistoryEntry>>> {
        history::history(&self.context()).await
    }

    /// Checks the table against itself: the log's files against each other, data files against the
    /// log, and if it is to be deep every row. Nothing is written, and the check goes on after each
    /// find.
    ///
    /// # Errors
    ///
    /// `not-a-table`; `unsupported-protocol` for a table that this build cannot read; what the
    /// store gives. What is wrong with the table is in the report.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/t-doctor").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// for it in table.doctor(Doctor::new()).await?.findings() {
    ///     println!("{}: {}: {} [{}]: {}", it.severity, it.place, it.what, it.code, it.advice);
    /// }
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn doctor(&self, options: Doctor) -> Result<Report> {
        doctor::doctor(&self.context(), &options).await
    }

    /// Row changes of a range of versions, commit after commit: the rows with `_change_type`
    /// (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version` and
    /// `_commit_timestamp`.
    ///
    /// Rows are told in the schema of the last version of the range. A range is one of versions or
    /// of times, or [`Changes`] for more; version 3 itself is part of `Version::from(3)..`. Needs the
    /// commits of the range, and the files that they name: cleanup and vacuum end what can be told.
    /// Two or three LISTs, a GET a commit, and the files of the changes.
    ///
    /// Dropping the stream stops the reading and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// `version-not-found` for a range that the log does not hold, or not yet; `invalid-argument`
    /// for one that runs backwards; `unknown-column` and `invalid-expression`. The stream yields
    /// `feed-not-enabled` at the first version that did not keep the change feed
    /// ([`Changes::require_feed`]), `schema-mismatch` at one whose columns were renamed, dropped or
    /// changed to another type since, `unsupported-protocol` at one that this build cannot read,
    /// `expired-snapshot` for a file that vacuum took, and what reading gives, placed at the file.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// use futures::TryStreamExt;
    ///
    /// let table = Table::open("memory://doc/changes").await?;
    /// let kept = Append::new().property("delta.enableChangeDataFeed", "true");
    /// table.append(rows.clone(), kept).await?;
    /// table.overwrite(rows, Overwrite::all()).await?;
    ///
    /// let mut feed = table.changes(Version::from(1)..).await?;
    /// let mut changed = 0;
    /// while let Some(batch) = feed.try_next().await? {
    ///     changed += batch.num_rows();
    /// }
    /// assert_eq!(changed, 4, "two rows left, two came");
    ///
    /// let cursor = feed.cursor().to_string();
    /// let later = table.changes_after(&cursor.parse()?).await?;
    /// assert!(later.collect().await?.is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn changes(&self, which: impl Into<Changes>) -> Result<Feed> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        feed::changes(&context, &newest, &which.into()).await
    }

    /// Row changes on from where an earlier reading stood, to the newest version: none is lost and
    /// none comes twice. With columns, filter or end: [`Changes::after`].
    ///
    /// # Errors
    ///
    /// As [`Table::changes`]; `invalid-argument` for the cursor of another table.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// use futures::TryStreamExt;
    /// use lakebed::feed::Changes;
    ///
    /// let table = Table::open("memory://doc/changes-after").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let from = Changes::new(Version::from(0)).require_feed(false);
    /// let mut feed = table.changes(from.limit(1)).await?;
    /// while let Some(batch) = feed.try_next().await? {
    ///     assert_eq!(batch.num_rows(), 1);
    /// }
    /// let rest = Changes::after(feed.cursor().clone()).require_feed(false);
    /// assert_eq!(table.changes(rest).await?.collect().await?[0].num_rows(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn changes_after(&self, cursor: &Cursor) -> Result<Feed> {
        self.changes(Changes::after(cursor.clone())).await
    }

    /// The rows by which two versions differ: those of the first that the second has not as
    /// `delete`, those of the second that the first has not as `insert`, in a column
    /// `_change_type`. In either order of time; whether or not the change feed was kept.
    ///
    /// The difference is one of files and of their deletion vectors: a file that both versions have
    /// costs nothing. So a row that was moved to another file in between, by compaction or because a
    /// row beside it was changed, is a delete and an insert of the same row; that those cancel is
    /// not found out, as it would take memory without bound. Rows are told in the schema of the
    /// later version, deletes first.
    ///
    /// # Errors
    ///
    /// As [`Table::snapshot_at`]; `schema-mismatch` if columns were renamed, dropped or changed to
    /// another type in between. The stream yields what reading gives, placed at the file, and
    /// `expired-snapshot` for a file that vacuum took.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/diff").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// table.append(rows, Append::new()).await?;
    /// let new = table.diff(Version::from(0), Version::from(1)).await?.collect().await?;
    /// assert_eq!(new[0].num_rows(), 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn diff(&self, from: impl Into<When>, to: impl Into<When>) -> Result<Batches> {
        self.diff_with(from, to, &Scan::new()).await
    }

    /// The same with columns, filter and limit. `_change_type` comes after the columns asked for,
    /// unless it is among them; the filter may name it.
    ///
    /// # Errors
    ///
    /// As [`Table::diff`], and `unknown-column`, `invalid-expression`, `invalid-argument`.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/diff-with").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// table.overwrite(rows, Overwrite::all()).await?;
    /// let came = Scan::new().filter(col("_change_type").eq(lit("insert")));
    /// let rows = table.diff_with(Version::from(0), Version::from(1), &came).await?;
    /// assert_eq!(rows.collect().await?[0].num_rows(), 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn diff_with(
        &self,
        from: impl Into<When>,
        to: impl Into<When>,
        scan: &Scan,
    ) -> Result<Batches> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        let (from, to) = (self.snapshot_at(from).await?, self.snapshot_at(to).await?);
        feed::diff(&context, &newest, [&from, &to], scan).await
    }

    /// What became of the commit with this id, of [`crate::txn::Unresolved`] or of the history. One
    /// GET; for an id without a version one LIST, and a GET per commit looked at.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for what is no id.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/resolve").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let snapshot = done.snapshot();
    /// let id = snapshot.head().txn_id().unwrap();
    /// assert_eq!(table.resolve(id).await?, Resolved::Committed(done.version()));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn resolve(&self, id: &str) -> Result<Resolved> {
        let context = self.context();
        context.bounded("resolving a commit", history::resolve(&context, id)).await
    }

    /// The location, without secrets.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/location").await?;
    /// assert_eq!(table.location(), "memory://doc/location");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn location(&self) -> &str {
        self.store.location()
    }

    fn context(&self) -> Context {
        Context::new(&self.env, &self.op.clone().unwrap_or_default(), &self.store)
            .by(self.catalog.clone())
    }

    fn held(&self) -> Option<Snapshot> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn newest(&self, context: &Context) -> Result<Snapshot> {
        let Context { env, op, store, .. } = context;
        let held = self.held().filter(|_| self.catalog.is_none());
        let loaded = match &held {
            Some(held) => {
                let refreshed = load::refresh(env, op, store, held.loaded());
                match context.bounded("refreshing the table", refreshed).await {
                    Ok(None) => {
                        logged("refreshed", held);
                        return Ok(held.with_op(self.op.clone()));
                    }
                    Ok(Some(it)) => it,
                    Err(it) => {
                        if it.code() == Code::NotATable {
                            self.forget();
                        }
                        return Err(it);
                    }
                }
            }
            None => self.open_at(context, None).await?,
        };
        let snapshot = Snapshot::new(env, store, self.op.clone(), loaded, held.as_ref());
        self.keep_newer(&snapshot);
        logged(if held.is_some() { "refreshed" } else { "opened" }, &snapshot);
        Ok(snapshot)
    }

    async fn open_at(&self, context: &Context, version: Option<Version>) -> Result<Loaded> {
        let Context { env, op, store, catalog, .. } = context;
        let opened = load::open_by(env, op, store, version, catalog.as_deref());
        context.bounded("opening the table", opened).await
    }

    /// The newest version to write on, or `None` for a table that is not there.
    async fn base(&self, context: &Context) -> Result<Option<Snapshot>> {
        match self.newest(context).await {
            Ok(it) => Ok(Some(it)),
            Err(it) if it.code() == Code::NotATable => Ok(None),
            Err(it) => Err(it),
        }
    }

    fn seen(&self, done: Committed) -> Committed {
        self.keep_newer(&done.snapshot());
        done
    }

    /// Clones run at once: the one that saw less must not take back what another saw.
    fn keep_newer(&self, snapshot: &Snapshot) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let older = last.as_ref().is_none_or(|it| {
            !it.loaded().same_table(snapshot.loaded()) || it.version() <= snapshot.version()
        });
        if older {
            *last = Some(snapshot.clone());
        }
    }
}

/// One line for whoever watches the process.
fn logged(what: &'static str, snapshot: &Snapshot) {
    let table = snapshot.store().location();
    let files = snapshot.counts().map(|it| it.files);
    tracing::info!(table, version = %snapshot.version(), files, "{what}");
}
