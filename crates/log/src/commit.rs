//! `Draft`: the rules one commit must meet; renders it for a given version.

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use crate::action::{Add, DomainMetadata, Metadata, Protocol, Remove, SetTransaction};
use crate::batch::LogBatch;
use crate::conflict::Intent;
use crate::error::Result;
use crate::state::Head;
use crate::support::WritePermit;
use crate::time::Timestamp;
use crate::version::Version;

/// A commit not yet numbered.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Identity: 128 bits as a UUID.
    pub txn_id: String,
    /// `operation`, Spark's name: WRITE, CREATE TABLE, ..
    pub operation: String,
    /// `operationParameters`: values are JSON text, as Spark writes them.
    pub parameters: Map<String, Json>,
    /// `operationMetrics`: numbers as text, as Spark writes them.
    pub metrics: Map<String, Json>,
    /// `userMetadata`
    pub user_metadata: Option<String>,
    /// The new protocol, if it changes.
    pub protocol: Option<Protocol>,
    /// The new metadata, if it changes.
    pub metadata: Option<Metadata>,
    /// New files.
    pub adds: Vec<Add>,
    /// Files that leave.
    pub removes: Vec<Remove>,
    /// Application counters.
    pub txns: Vec<SetTransaction>,
    /// Domains.
    pub domains: Vec<DomainMetadata>,
    /// What it read, for conflicts.
    pub intent: Intent,
}

/// A rendered commit: bytes for exactly one version.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The file.
    pub bytes: Bytes,
    /// The same, decoded, to advance a state with.
    pub batch: LogBatch,
    /// Its in-commit timestamp or commit time.
    pub timestamp: Timestamp,
}

/// Checks a draft against its base: append-only, no duplicate paths, partition values complete, every remove has
/// `dataChange` of its commit, metadata and protocol sound. `base` is `None` when it creates the table.
pub fn check(_draft: &Draft, _base: Option<(&Head, WritePermit)>) -> Result<()> { todo!() }

/// Renders the draft for one version on top of `base`. First line `commitInfo` with `txnId`, `prevTxnId`, `bodyBytes`,
/// `bodyCrc32`; then protocol, metaData, txn, domainMetadata, remove, add.
pub fn render(_draft: &Draft, _base: Option<&Head>, _version: Version, _now: Timestamp) -> Result<Rendered> { todo!() }

/// Whose commit is it? Compares `txnId` of the first line. Checks length and CRC where present: `corrupt-log`.
pub fn is_ours(_bytes: &[u8], _txn_id: &str) -> Result<bool> { todo!() }

/// Checks `bodyBytes` and `bodyCrc32` of a commit where present: `checksum-mismatch`. Foreign commits pass.
pub fn verify(_bytes: &[u8]) -> Result<()> { todo!() }
