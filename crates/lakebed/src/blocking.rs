//! The same methods for callers without a runtime: command line, Python, C.
//!
//! Each call waits on the calling thread; the work runs where the environment runs it. Do not call
//! these from inside an async task: it would stand still.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use lakebed_log::checksum::Facts;
use lakebed_log::error::Result;
use lakebed_log::history::HistoryEntry;
use lakebed_log::scan::{Scan, ScanPlan};
use lakebed_log::state::TableState;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::append::Append;
use crate::clean::{CleanLog, CleanedLog};
use crate::create::Create;
use crate::doctor::{Doctor, Report};
use crate::env::Env;
use crate::feed::{self, Changes, Cursor};
use crate::load::{Catalog, Skipped};
use crate::op::Op;
use crate::overwrite::Overwrite;
use crate::read;
use crate::snapshot::{self, When};
use crate::split::Split;
use crate::table::{self, Resolved};
use crate::txn::Committed;
use crate::write::Data;

mod several;

pub use several::Transaction;

/// [`crate::Table`], waiting.
///
/// ```
/// use lakebed::blocking::Table;
/// use lakebed::{Create, Schema};
///
/// let schema = Schema::parse_ddl("id long not null")?;
/// let table = Table::create("memory://doc/blocking", Create::new(schema))?;
/// assert_eq!(table.snapshot()?.inner().version().get(), 0);
/// # Ok::<(), lakebed::Error>(())
/// ```
#[derive(Clone)]
pub struct Table(table::Table);

/// [`crate::Snapshot`], waiting.
#[derive(Clone)]
pub struct Snapshot(snapshot::Snapshot);

/// [`crate::read::Batches`] as an iterator.
pub struct Batches(read::Batches);

/// [`crate::feed::Feed`] as an iterator.
pub struct Feed(feed::Feed);

/// The history as an iterator.
pub struct History(BoxStream<'static, Result<HistoryEntry>>);

#[allow(clippy::missing_errors_doc, reason = "each is that of the async method of the same name")]
impl Table {
    /// See [`crate::Table::open`].
    #[cfg(feature = "tokio")]
    pub fn open(location: &str) -> Result<Table> {
        Table::open_with(&Env::tokio(), location)
    }

    /// See [`crate::Table::open_with`].
    pub fn open_with(env: &Env, location: &str) -> Result<Table> {
        table::Table::open_with(env, location).map(Table)
    }

    /// See [`crate::Table::with_op`].
    #[must_use]
    pub fn with_op(&self, op: Op) -> Table {
        Table(self.0.with_op(op))
    }

    /// See [`crate::Table::allow_root`].
    pub fn allow_root(&self, root: &str) -> Result<Table> {
        self.0.allow_root(root).map(Table)
    }

    /// See [`crate::Table::with_catalog`].
    #[must_use]
    pub fn with_catalog(&self, catalog: Catalog) -> Table {
        Table(self.0.with_catalog(catalog))
    }

    /// See [`crate::Table::create`].
    #[cfg(feature = "tokio")]
    pub fn create(location: &str, options: Create) -> Result<Table> {
        block_on(table::Table::create(location, options)).map(Table)
    }

    /// See [`crate::Table::create_here`].
    pub fn create_here(&self, options: Create) -> Result<Committed> {
        block_on(self.0.create_here(options))
    }

    /// See [`crate::Table::exists`].
    pub fn exists(&self) -> Result<bool> {
        block_on(self.0.exists())
    }

    /// See [`crate::Table::snapshot`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        block_on(self.0.snapshot()).map(Snapshot)
    }

    /// See [`crate::Table::snapshot_at`].
    pub fn snapshot_at(&self, when: impl Into<When>) -> Result<Snapshot> {
        block_on(self.0.snapshot_at(when)).map(Snapshot)
    }

    /// See [`crate::Table::version_at`].
    pub fn version_at(&self, at: Timestamp) -> Result<Version> {
        block_on(self.0.version_at(at))
    }

    /// See [`crate::Table::append`].
    pub fn append(&self, data: impl Into<Data>, options: Append) -> Result<Committed> {
        block_on(self.0.append(data, options))
    }

    /// See [`crate::Table::overwrite`].
    pub fn overwrite(&self, data: impl Into<Data>, options: Overwrite) -> Result<Committed> {
        block_on(self.0.overwrite(data, options))
    }

    /// See [`crate::Table::history`].
    pub fn history(&self) -> Result<History> {
        block_on(self.0.history()).map(History)
    }

    /// See [`crate::Table::clean_log`].
    pub fn clean_log(&self, options: CleanLog) -> Result<CleanedLog> {
        block_on(self.0.clean_log(options))
    }

    /// See [`crate::Table::doctor`].
    pub fn doctor(&self, options: Doctor) -> Result<Report> {
        block_on(self.0.doctor(options))
    }

    /// See [`crate::Table::changes`].
    pub fn changes(&self, which: impl Into<Changes>) -> Result<Feed> {
        block_on(self.0.changes(which)).map(Feed)
    }

    /// See [`crate::Table::changes_after`].
    pub fn changes_after(&self, cursor: &Cursor) -> Result<Feed> {
        block_on(self.0.changes_after(cursor)).map(Feed)
    }

    /// See [`crate::Table::diff`].
    pub fn diff(&self, from: impl Into<When>, to: impl Into<When>) -> Result<Batches> {
        block_on(self.0.diff(from, to)).map(Batches)
    }

    /// See [`crate::Table::diff_with`].
    pub fn diff_with(
        &self,
        from: impl Into<When>,
        to: impl Into<When>,
        scan: &Scan,
    ) -> Result<Batches> {
        block_on(self.0.diff_with(from, to, scan)).map(Batches)
    }

    /// See [`crate::Table::resolve`].
    pub fn resolve(&self, id: &str) -> Result<Resolved> {
        block_on(self.0.resolve(id))
    }

    /// See [`crate::Table::location`].
    pub fn location(&self) -> &str {
        self.0.location()
    }

    /// The handle for async callers.
    pub fn inner(&self) -> &table::Table {
        &self.0
    }
}

#[allow(clippy::missing_errors_doc, reason = "each is that of the async method of the same name")]
impl Snapshot {
    /// See [`crate::Snapshot::plan`].
    pub fn plan(&self, scan: &Scan) -> Result<ScanPlan> {
        block_on(self.0.plan(scan))
    }

    /// See [`crate::Snapshot::read`].
    pub fn read(&self, scan: &Scan) -> Result<Batches> {
        block_on(self.0.read(scan)).map(Batches)
    }

    /// See [`crate::Snapshot::take`].
    pub fn take(&self, positions: &[u64], scan: &Scan) -> Result<RecordBatch> {
        block_on(self.0.take(positions, scan))
    }

    /// See [`crate::Snapshot::splits`]. Each is read as [`Batches::of_split`].
    pub fn splits(&self, scan: &Scan, target_bytes: u64) -> Result<Vec<Split>> {
        block_on(self.0.splits(scan, target_bytes))
    }

    /// See [`crate::Snapshot::files`].
    pub fn files(&self) -> Result<Arc<TableState>> {
        block_on(self.0.files())
    }

    /// See [`crate::Snapshot::timestamp`].
    pub fn timestamp(&self) -> Result<Timestamp> {
        block_on(self.0.timestamp())
    }

    /// See [`crate::Snapshot::checksum`].
    pub fn checksum(&self) -> Result<Option<Facts>> {
        block_on(self.0.checksum())
    }

    /// See [`crate::Snapshot::skipped`].
    pub fn skipped(&self) -> Vec<Skipped> {
        self.0.skipped()
    }

    /// See [`crate::Snapshot::append`].
    pub fn append(&self, data: impl Into<Data>, options: Append) -> Result<Committed> {
        block_on(self.0.append(data, options))
    }

    /// See [`crate::Snapshot::overwrite`].
    pub fn overwrite(&self, data: impl Into<Data>, options: Overwrite) -> Result<Committed> {
        block_on(self.0.overwrite(data, options))
    }

    /// See [`crate::Snapshot::checkpoint`].
    pub fn checkpoint(&self) -> Result<()> {
        block_on(self.0.checkpoint())
    }

    /// The handle for async callers, with everything that needs no waiting.
    pub fn inner(&self) -> &snapshot::Snapshot {
        &self.0
    }
}

impl From<snapshot::Snapshot> for Snapshot {
    fn from(it: snapshot::Snapshot) -> Snapshot {
        Snapshot(it)
    }
}

impl Batches {
    /// See [`Split::read`].
    ///
    /// # Errors
    ///
    /// Those of [`Split::read`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// use lakebed::blocking::{Batches, Table};
    /// use lakebed::{Append, Env, Op, Scan};
    ///
    /// let table = Table::open("memory://doc/blocking-split")?;
    /// table.append(rows, Append::new())?;
    /// let snapshot = table.snapshot()?;
    /// assert_eq!(table.version_at(snapshot.timestamp()?)?, snapshot.inner().version());
    /// assert_eq!(snapshot.take(&[1], &Scan::new())?.num_rows(), 1);
    /// for split in snapshot.splits(&Scan::new(), 64 << 20)? {
    ///     let rows = Batches::of_split(&split, &Env::tokio(), &Op::default())?;
    ///     assert_eq!(rows.map(|it| it.map_or(0, |it| it.num_rows())).sum::<usize>(), 2);
    /// }
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn of_split(split: &Split, env: &Env, op: &Op) -> Result<Batches> {
        split.read(env, op).map(Batches)
    }

    /// Shape of the batches.
    pub fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        block_on(self.0.next())
    }
}

impl Feed {
    /// Shape of the batches.
    pub fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    /// See [`crate::feed::Feed::cursor`].
    pub fn cursor(&self) -> &Cursor {
        self.0.cursor()
    }
}

impl Iterator for Feed {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        block_on(self.0.next())
    }
}

impl Iterator for History {
    type Item = Result<HistoryEntry>;

    fn next(&mut self) -> Option<Result<HistoryEntry>> {
        block_on(self.0.next())
    }
}
