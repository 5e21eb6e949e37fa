//! `Table`: opens, hands out snapshots, calls verbs. No logic.

use std::sync::Arc;

use futures::stream::BoxStream;
use lakebed_log::error::Result;
use lakebed_log::history::HistoryEntry;
use lakebed_log::version::Version;

use crate::append::Append;
use crate::create::Create;
use crate::env::Env;
use crate::op::Op;
use crate::overwrite::Overwrite;
use crate::snapshot::{Snapshot, When};
use crate::txn::Committed;
use crate::write::Data;

/// A table at a location. Cheap to clone; clones share the last state seen.
#[derive(Clone)]
pub struct Table(Arc<Inner>);

#[allow(dead_code)]
struct Inner {
    env: Env,
    op: Op,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It stands at this version.
    Committed(Version),
    /// It is in no version and never will be.
    NotCommitted,
    /// Still unknown: ask again.
    Unknown,
}

#[allow(dead_code)]
impl Table {
    /// Parses the location and builds the store; makes no request.
    #[cfg(feature = "tokio")]
    pub async fn open(_location: &str) -> Result<Table> { todo!() }
    /// The constructor behind the others.
    pub fn open_with(_env: &Env, _location: &str) -> Result<Table> { todo!() }
    /// The same table, whose verbs count in `op` and obey its deadline.
    #[must_use]
    pub fn with_op(&self, _op: Op) -> Table { todo!() }
    /// Makes a table; `table-exists` if there is one.
    pub async fn create(_location: &str, _options: Create) -> Result<Table> { todo!() }
    /// The same through this handle.
    pub async fn create_here(&self, _options: Create) -> Result<Committed> { todo!() }
    /// Is there a table? One LIST.
    pub async fn exists(&self) -> Result<bool> { todo!() }
    /// The newest version. A missing table is `not-a-table`.
    pub async fn snapshot(&self) -> Result<Snapshot> { todo!() }
    /// Another version.
    pub async fn snapshot_at(&self, _when: impl Into<When>) -> Result<Snapshot> { todo!() }
    /// Adds rows; makes the table if there is none.
    pub async fn append(&self, _data: impl Into<Data>, _options: Append) -> Result<Committed> { todo!() }
    /// Replaces rows; makes the table if there is none.
    pub async fn overwrite(&self, _data: impl Into<Data>, _options: Overwrite) -> Result<Committed> { todo!() }
    /// Commits, newest first.
    pub async fn history(&self) -> Result<BoxStream<'static, Result<HistoryEntry>>> { todo!() }
    /// What became of the commit with this id (see [`crate::txn::Unresolved`]). One LIST and a GET per commit looked at.
    pub async fn resolve(&self, _id: &str) -> Result<Resolved> { todo!() }
    /// The location, without secrets.
    pub fn location(&self) -> &str { todo!() }
}
