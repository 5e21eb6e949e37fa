//! `Head` and `TableState`: all of a version, without I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{CommitInfo, DomainMetadata, Metadata, Protocol, SetTransaction};
use crate::batch::LogBatch;
use crate::error::Result;
use crate::files::FileList;
use crate::property::Properties;
use crate::schema::Schema;
use crate::support::ReadPermit;
use crate::version::Version;

/// The small part of a version: everything but the files.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which version.
    pub version: Version,
    /// Checked.
    pub protocol: Protocol,
    /// Proof that this build may read the table.
    pub read: ReadPermit,
    /// As stored.
    pub metadata: Metadata,
    /// Parsed from the metadata. Present once the protocol allowed to read.
    pub schema: Arc<Schema>,
    /// Typed view of the configuration.
    pub properties: Properties,
    /// Newest per application.
    pub txns: BTreeMap<String, SetTransaction>,
    /// Newest per domain, removed ones left out.
    pub domains: BTreeMap<String, DomainMetadata>,
    /// That of the version's own commit, if it was read.
    pub commit_info: Option<CommitInfo>,
}

/// All of a version.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The small part.
    pub head: Head,
    /// The live files.
    pub files: FileList,
}

impl Head {
    /// Checks protocol, read support and metadata, parses the schema.
    pub fn new(_version: Version, _protocol: Protocol, _metadata: Metadata) -> Result<Head> { todo!() }
    /// The head after one more commit.
    pub fn advance(&self, _version: Version, _commit: &LogBatch) -> Result<Head> { todo!() }
    /// Identity of the last commit, for `prevTxnId`.
    pub fn txn_id(&self) -> Option<&str> { self.commit_info.as_ref().and_then(CommitInfo::txn_id) }
}

impl TableState {
    /// The state after one more commit; older chunks are shared.
    pub fn advance(&self, _version: Version, _commit: &LogBatch) -> Result<TableState> { todo!() }
}
