//! `Transaction`: a base snapshot, staged actions, the commit loop.

use lakebed_log::commit::Draft;
use lakebed_log::error::Result;
use lakebed_log::version::Version;

use crate::env::Env;
use crate::op::{Op, Usage};
use crate::snapshot::Snapshot;
use crate::store::Store;

/// A draft on top of a base, ready to commit.
pub struct Transaction {
    #[allow(dead_code)]
    base: Option<Snapshot>,
}

/// What a verb did.
#[derive(Clone)]
pub struct Committed {
    #[allow(dead_code)]
    snapshot: Snapshot,
    #[allow(dead_code)]
    changed: bool,
    #[allow(dead_code)]
    usage: Usage,
}

/// A commit whose outcome is unknown at the deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Identity to ask `resolve` with.
    pub id: String,
}

impl Committed {
    /// The version it landed at, or the one it read if nothing changed.
    pub fn version(&self) -> Version { todo!() }
    /// Did it commit anything?
    pub fn changed(&self) -> bool { self.changed }
    /// The table after it: the base advanced by our own commit, without a request.
    pub fn snapshot(&self) -> Snapshot { self.snapshot.clone() }
    /// `operationMetrics` of the commit.
    pub fn metrics(&self) -> &serde_json::Map<String, serde_json::Value> { todo!() }
    /// Requests, bytes, rows.
    pub fn usage(&self) -> &Usage { &self.usage }
}

/// Commits a draft at the first version after its base that it still applies to; then checksum, and checkpoint every n.
/// Runs as a spawned task to its end. Backoff with full jitter, bounded by the deadline of `op`.
pub async fn commit(_env: &Env, _op: &Op, _store: &Store, _base: Option<&Snapshot>, _draft: Draft) -> Result<Committed> { todo!() }
