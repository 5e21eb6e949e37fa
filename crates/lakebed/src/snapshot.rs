//! `Snapshot`: a version, its small state, its files when asked, a way to read it.
//!
//! A snapshot never changes, so it can be held, cloned and shared without thought. Its file list is
//! the one thing that may be large: it is loaded on first use, then kept, and a newer snapshot of
//! the same table starts from it, so that the next version costs its own actions and not the table.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use lakebed_log::batch::Width;
use lakebed_log::checksum::Counts;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::scan::{self, Scan, ScanPlan};
use lakebed_log::schema::Schema;
use lakebed_log::state::{Head, TableState};
use lakebed_log::support;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::env::{Deadline, Env};
use crate::load::{self, Loaded};
use crate::op::Op;
use crate::read::{self, Batches};
use crate::save;
use crate::store::Store;

mod portions;
mod told;

/// One version of a table. Immutable, cheap to clone. Files are loaded on first use, then kept.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    env: Env,
    store: Store,
    op: Option<Op>,
    loaded: Loaded,
    /// Live files and their bytes, where they are known without the file list.
    counts: Option<Counts>,
    files: Files,
}

struct Files {
    /// The widest state so far: of this version, or of an older one to advance from.
    ready: Mutex<Option<Arc<TableState>>>,
    /// Held by whoever loads, so that two who ask at once load once.
    loading: futures::lock::Mutex<()>,
}

/// Which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// By number.
    Version(Version),
    /// The newest one not after it.
    Timestamp(Timestamp),
}

impl From<Version> for When {
    fn from(it: Version) -> When {
        When::Version(it)
    }
}

impl From<Timestamp> for When {
    fn from(it: Timestamp) -> When {
        When::Timestamp(it)
    }
}

impl Snapshot {
    /// `base` is an older snapshot to advance the files from; one of another table is no help.
    pub(crate) fn new(
        env: &Env,
        store: &Store,
        op: Option<Op>,
        loaded: Loaded,
        base: Option<&Snapshot>,
    ) -> Snapshot {
        let base = base.filter(|it| it.0.loaded.same_table(&loaded));
        let ready = base.and_then(|it| it.0.files.peek());
        let ready = ready.filter(|it| it.head.version <= loaded.head.version);
        let counts = base.filter(|it| it.version() == loaded.head.version);
        let counts = counts.and_then(Snapshot::counts);
        Snapshot::with(env, store, op, loaded, ready, counts)
    }

    fn with(
        env: &Env,
        store: &Store,
        op: Option<Op>,
        loaded: Loaded,
        ready: Option<Arc<TableState>>,
        counts: Option<Counts>,
    ) -> Snapshot {
        let files = Files { ready: Mutex::new(ready), loading: futures::lock::Mutex::new(()) };
        let (env, store) = (env.clone(), store.clone());
        Snapshot(Arc::new(Inner { env, store, op, loaded, counts, files }))
    }

    /// The same version with what a commit knows about its size.
    pub(crate) fn with_counts(&self, counts: Option<Counts>) -> Snapshot {
        let it = &self.0;
        Snapshot::with(
            &it.env,
            &it.store,
            it.op.clone(),
            it.loaded.clone(),
            it.files.peek(),
            counts,
        )
    }

    /// The same version, whose verbs count in `op`.
    pub(crate) fn with_op(&self, op: Option<Op>) -> Snapshot {
        let it = &self.0;
        Snapshot::with(&it.env, &it.store, op, it.loaded.clone(), it.files.peek(), it.counts)
    }

    /// The same version, resting on a checkpoint that was just written.
    pub(crate) fn rebased(&self, checkpoint: save::Saved) -> Snapshot {
        let it = &self.0;
        let loaded = it.loaded.rebased(checkpoint.file, checkpoint.sidecars);
        let counts = checkpoint.counts.or(it.counts);
        Snapshot::with(&it.env, &it.store, it.op.clone(), loaded, it.files.peek(), counts)
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.0.loaded
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.env
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Nothing is committed on what is not committed itself.
    pub(crate) fn check_committed(&self) -> Result<()> {
        match self.0.loaded.is_staged() {
            false => Ok(()),
            true => {
                let what = "the snapshot is of a transaction that is not committed: what is to \
                            come after it goes through the transaction";
                Err(Error::invalid(what).at(self.0.store.location()))
            }
        }
    }

    /// The newest version of the table.
    pub(crate) async fn newer(&self, op: &Op) -> Result<Snapshot> {
        let Inner { env, store, loaded, .. } = &*self.0;
        Ok(match load::refresh(env, op, store, loaded).await? {
            Some(it) => Snapshot::new(env, store, self.handle_op(), it, Some(self)),
            None => self.clone(),
        })
    }

    /// The context of a verb: the handle's, or a new one with the default deadline.
    pub(crate) fn op(&self) -> Op {
        self.0.op.clone().unwrap_or_default()
    }

    pub(crate) fn handle_op(&self) -> Option<Op> {
        self.0.op.clone()
    }

    /// What is known of the number of files without a request.
    pub(crate) fn counts(&self) -> Option<Counts> {
        let state = self.0.files.peek().filter(|it| it.head.version == self.version());
        match state {
            Some(state) => Some(Counts {
                files: i64::try_from(state.files.len()).ok()?,
                bytes: i64::try_from(state.files.total_bytes()).ok()?,
            }),
            None => self.0.counts,
        }
    }

    /// Which version.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-version").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// assert_eq!(table.snapshot().await?.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn version(&self) -> Version {
        self.head().version
    }

    /// The table's schema.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-schema").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let now = table.snapshot().await?;
    /// assert_eq!(now.schema().fields()[0].name, "id");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn schema(&self) -> &Arc<Schema> {
        &self.head().schema
    }

    /// Protocol, metadata, properties, transactions, domains.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-head").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let now = table.snapshot().await?;
    /// assert!(now.head().metadata.partition_columns.is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn head(&self) -> &Head {
        &self.0.loaded.head
    }

    /// The live files; loaded once. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// What reading and decoding the log gives, placed at the file.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-files").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let state = table.snapshot().await?.files().await?;
    /// assert_eq!(state.files.len(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn files(&self) -> Result<Arc<TableState>> {
        self.state(&self.op(), Width::Narrow).await
    }

    /// The same, counted in `op`, at least at a width.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::files`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-state").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let state = done.snapshot().state(&Op::default(), Width::Wide).await?;
    /// assert_eq!(state.files.len(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn state(&self, op: &Op, width: Width) -> Result<Arc<TableState>> {
        let Inner { env, store, loaded, files, .. } = &*self.0;
        if let Some(it) = files.ready(self.version(), width) {
            return Ok(it);
        }
        let _loading = files.loading.lock().await;
        if let Some(it) = files.ready(self.version(), width) {
            return Ok(it);
        }
        let base = files.peek();
        let state = load::files(env, op, store, loaded, width, base.as_deref()).await?;
        files.set(Arc::clone(&state));
        Ok(state)
    }

    /// Which files a scan would read. No request once the files are loaded.
    ///
    /// # Errors
    ///
    /// `unknown-column`, `invalid-expression`, and as [`Snapshot::files`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-plan").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let plan = done.snapshot().plan(&Scan::new().filter(col("id").gt(lit(2)))).await?;
    /// assert_eq!((plan.considered(), plan.tasks().len()), (1, 0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn plan(&self, scan: &Scan) -> Result<ScanPlan> {
        self.plan_with(&self.op(), scan).await
    }

    /// The same, counted in `op`.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::plan`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-plan-with").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let op = Op::default();
    /// done.snapshot().plan_with(&op, &Scan::new()).await?;
    /// assert_eq!(op.usage().files_read, 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn plan_with(&self, op: &Op, scan: &Scan) -> Result<ScanPlan> {
        let width = match scan::needs_stats(self.head(), scan)? {
            true => Width::Wide,
            false => Width::Narrow,
        };
        let plan = match self.plan_once(op, scan, width).await? {
            Some(plan) => plan,
            None => {
                let state = self.state_to_plan(op, width).await?;
                let (permit, scan) = (self.head().read, scan.clone());
                self.0.env.compute(move || scan::plan(&state, permit, &scan)).await?
            }
        };
        let read = u64::try_from(plan.tasks().len()).unwrap_or(u64::MAX);
        op.planned(plan.considered(), read, plan.partitions());
        Ok(plan)
    }

    /// Statistics only spare work, so where they alone do not read, a plan does without.
    async fn state_to_plan(&self, op: &Op, width: Width) -> Result<Arc<TableState>> {
        let error = match self.state(op, width).await {
            Err(it) if width == Width::Wide && it.kind() == ErrorKind::Corrupt => it,
            state => return state,
        };
        match self.state(op, Width::Narrow).await {
            Ok(state) => {
                let table = self.0.store.location();
                tracing::warn!(table, ?error, "statistics do not read; every file is read");
                Ok(state)
            }
            Err(_) => Err(error),
        }
    }

    /// A plan without the state, where there is none to start from.
    async fn plan_once(&self, op: &Op, scan: &Scan, width: Width) -> Result<Option<ScanPlan>> {
        let Inner { env, store, loaded, files, .. } = &*self.0;
        if files.peek().is_some_and(|it| it.files.width() >= width) {
            return Ok(None);
        }
        load::plan_once(env, op, store, loaded, scan).await
    }

    /// Rows. Dropping the stream stops the reading and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::plan`]; the stream yields what reading the data files gives. A file that is
    /// gone is `expired-snapshot` if a newer version no longer needs it, else `missing-file`. The
    /// deadline counts from this call: whoever polls or waits past it gets `deadline-exceeded`, so
    /// a read that may take longer than ten minutes needs an [`Op`] of its own.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-read").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let batches = done.snapshot().read(&Scan::new().limit(1)).await?.collect().await?;
    /// assert_eq!(batches[0].num_rows(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn read(&self, scan: &Scan) -> Result<Batches> {
        self.read_with(&self.op(), scan).await
    }

    /// The same, counted in `op`.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::read`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-read-with").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let op = Op::default();
    /// done.snapshot().read_with(&op, &Scan::new()).await?.collect().await?;
    /// assert_eq!(op.usage().rows, 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn read_with(&self, op: &Op, scan: &Scan) -> Result<Batches> {
        let Inner { env, store, .. } = &*self.0;
        let deadline = Deadline::new(env, op.deadline(), op.deadline(), store.location());
        let plan = env.until(&deadline, "planning", self.plan_with(op, scan)).await?;
        let plan = Arc::new(plan);
        let batches = read::read(env, op, store, Arc::clone(&plan));
        let schema = Arc::clone(batches.schema());
        let (snapshot, op) = (self.clone(), op.clone());
        let stream = batches.then(move |it| {
            let (snapshot, op, plan) = (snapshot.clone(), op.clone(), Arc::clone(&plan));
            async move {
                match it {
                    Err(it) if it.code() == Code::MissingFile => {
                        Err(snapshot.missing(&op, &plan, it).await)
                    }
                    it => it,
                }
            }
        });
        Ok(Batches::new(schema, deadline.stream("reading", stream.boxed())))
    }

    /// A file of the plan is gone: was it removed from the table since, and vacuumed?
    async fn missing(&self, op: &Op, plan: &ScanPlan, cause: Error) -> Error {
        let Inner { env, store, loaded, .. } = &*self.0;
        // Only the catalog could say whether there is a newer version.
        if loaded.is_by_catalog() {
            return cause;
        }
        let newer = match load::refresh(env, op, store, loaded).await {
            Ok(Some(it)) => Snapshot::new(env, store, None, it, Some(self)),
            Ok(None) | Err(_) => return cause,
        };
        let Ok(state) = newer.state(op, Width::Narrow).await else { return cause };
        let live = |path: &str, vector: Option<&str>| state.files.find(path, vector).is_some();
        let gone = plan.tasks().iter().any(|it| {
            let vector = it.deletion_vector.as_ref().map(|it| it.unique_id());
            !live(&it.path, vector.as_deref())
        });
        if !gone {
            return cause;
        }
        let what = format!(
            "files of version {} are deleted and version {} no longer needs them; \
             read the newest version",
            self.version(),
            newer.version()
        );
        Error::new(Code::ExpiredSnapshot, what).at(store.location()).because(cause)
    }

    /// Writes a checkpoint of this version.
    ///
    /// Dropping the future may leave a whole checkpoint that nothing points at yet; it is found by
    /// its name and does no harm.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::files`], and what writing gives. `unsupported-protocol` if the table asks
    /// writers for what this build does not know, or its catalog has the say.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-checkpoint").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// table.snapshot().await?.checkpoint().await?;
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn checkpoint(&self) -> Result<()> {
        self.check_committed()?;
        support::checkpointable(&self.head().protocol, self.head().read)?;
        self.write_checkpoint(&self.op()).await.map(|_| ())
    }

    /// Writes one from the checkpoint before it, from a long tail, or else from the whole state.
    pub(crate) async fn write_checkpoint(&self, op: &Op) -> Result<save::Saved> {
        let Inner { env, store, loaded, .. } = &*self.0;
        match save::from_last(env, op, store, loaded).await? {
            Some(saved) => Ok(saved),
            None => {
                let state = self.state(op, Width::Wide).await?;
                save::checkpoint(env, op, store, &state).await
            }
        }
    }
}

impl Files {
    fn peek(&self) -> Option<Arc<TableState>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ready(&self, version: Version, width: Width) -> Option<Arc<TableState>> {
        self.peek().filter(|it| it.head.version == version && it.files.width() >= width)
    }

    fn set(&self, state: Arc<TableState>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }
}
