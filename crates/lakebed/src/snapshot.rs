//! `Snapshot`: a version, its small state, its files when asked, a way to read it.

use std::sync::Arc;

use lakebed_log::batch::Width;
use lakebed_log::error::Result;
use lakebed_log::scan::{Scan, ScanPlan};
use lakebed_log::schema::Schema;
use lakebed_log::state::{Head, TableState};
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::append::Append;
use crate::env::Env;
use crate::load::Loaded;
use crate::op::Op;
use crate::overwrite::Overwrite;
use crate::read::Batches;
use crate::store::Store;
use crate::txn::Committed;
use crate::write::Data;

/// One version of a table. Immutable, cheap to clone. Files are loaded on first use, then kept.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

#[allow(dead_code)]
struct Inner {
    env: Env,
    store: Store,
    loaded: Loaded,
    // lazily: narrow state, wide state
}

/// Which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// By number.
    Version(Version),
    /// The newest one not after it.
    Timestamp(Timestamp),
}

impl From<Version> for When { fn from(it: Version) -> When { When::Version(it) } }
impl From<Timestamp> for When { fn from(it: Timestamp) -> When { When::Timestamp(it) } }

#[allow(dead_code)]
impl Snapshot {
    pub(crate) fn new(_env: Env, _store: Store, _loaded: Loaded, _base: Option<&Snapshot>) -> Snapshot { todo!() }
    pub(crate) fn loaded(&self) -> &Loaded { &self.0.loaded }
    pub(crate) fn env(&self) -> &Env { &self.0.env }
    pub(crate) fn store(&self) -> &Store { &self.0.store }
    /// Which version.
    pub fn version(&self) -> Version { todo!() }
    /// The table's schema.
    pub fn schema(&self) -> &Arc<Schema> { todo!() }
    /// Protocol, metadata, properties, transactions, domains.
    pub fn head(&self) -> &Head { todo!() }
    /// When it was committed: one GET of nothing more than the commit, or none.
    pub async fn timestamp(&self) -> Result<Timestamp> { todo!() }
    /// The live files; loaded once.
    pub async fn files(&self) -> Result<Arc<TableState>> { todo!() }
    /// The same, counted in `op`, at least at a width.
    pub async fn state(&self, _op: &Op, _width: Width) -> Result<Arc<TableState>> { todo!() }
    /// Which files a scan would read.
    pub async fn plan(&self, _scan: &Scan) -> Result<ScanPlan> { todo!() }
    /// The same, counted in `op`.
    pub async fn plan_with(&self, _op: &Op, _scan: &Scan) -> Result<ScanPlan> { todo!() }
    /// Rows.
    pub async fn read(&self, _scan: &Scan) -> Result<Batches> { todo!() }
    /// The same, counted in `op`.
    pub async fn read_with(&self, _op: &Op, _scan: &Scan) -> Result<Batches> { todo!() }
    /// Appends on top of this version, without a LIST: see [`crate::Table::append`].
    pub async fn append(&self, _data: impl Into<Data>, _options: Append) -> Result<Committed> { todo!() }
    /// Overwrites what this version holds: see [`crate::Table::overwrite`].
    pub async fn overwrite(&self, _data: impl Into<Data>, _options: Overwrite) -> Result<Committed> { todo!() }
    /// Writes a checkpoint of this version.
    pub async fn checkpoint(&self) -> Result<()> { todo!() }
}
