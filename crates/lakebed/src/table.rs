//! `Table`: opens, hands out snapshots, calls verbs. No logic.

use std::sync::{Arc, Mutex, PoisonError};

use lakebed_log::error::{Code, Result};
use lakebed_log::segment::LogSegment;
use lakebed_log::version::Version;

use crate::append::{self, Append};
use crate::clean::{self, CleanLog, CleanedLog};
use crate::create::{self, Create};
use crate::env::Env;
use crate::history;
use crate::load::{self, Catalog, Loaded};
use crate::op::Op;
use crate::overwrite::{self, Overwrite};
use crate::snapshot::{Snapshot, When};
use crate::store::Store;
use crate::txn::{Committed, Context};
use crate::write::Data;

mod look;
mod several;

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
    /// As [`Table::append`]; `unknown-column` and `invalid-expression` for the filter;
    /// `invalid-argument` for an append-only table; `invalid-data` for a new row that the filter
    /// does not match; what reading files says that hold other rows as well; `conflict` if others
    /// added or removed rows meanwhile where this one replaces them.
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

    /// Deletes the files of the log that no version within `delta.logRetentionDuration` needs. What
    /// goes is verified first: the checkpoint that stays is read whole, and held against what it
    /// replaces. Commits that write a checkpoint do the same by the way.
    ///
    /// Dropping the future, or a failure, leaves files for the next time.
    ///
    /// # Errors
    ///
    /// `invalid-argument` if `delta.enableExpiredLogCleanup` is false; `unsupported-protocol` for a
    /// table that a catalog manages, or with features that this build does not know; `clock-skew`
    /// if the clocks of this machine and of the store disagree; `corrupt-checkpoint`, `version-gap`
    /// for a log that is not sound.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/t-clean-log").await?;
    /// table.append(rows, Append::new()).await?;
    /// let done = table.clean_log(CleanLog::new()).await?;
    /// assert_eq!((done.base(), done.bytes()), (None, 0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn clean_log(&self, options: CleanLog) -> Result<CleanedLog> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        let Context { env, op, store, .. } = &context;
        let cleaned = clean::clean(env, op, store, newest.loaded(), &options);
        context.bounded("cleaning up the log", cleaned).await
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
        let Context { env, store, .. } = context;
        let held = self.held().filter(|_| self.catalog.is_none());
        let loaded = match &held {
            Some(held) => {
                let (own, from) = (context.clone(), held.loaded().clone());
                let refreshed = store.driven(env, async move {
                    load::refresh(&own.env, &own.op, &own.store, &from).await
                });
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
