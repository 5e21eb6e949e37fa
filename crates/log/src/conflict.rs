//! Does a draft still apply after a winner? All rules in one table.

use std::collections::BTreeSet;

use crate::batch::LogBatch;
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::property::IsolationLevel;
use crate::state::Head;
use crate::version::Version;

/// What a draft read and writes.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// What of the table's rows the operation read.
    pub reads: Reads,
    /// (canonical path, vector id) of files it removes.
    pub removes: BTreeSet<(String, Option<String>)>,
    /// Applications whose transaction it sets.
    pub apps: BTreeSet<String>,
    /// Domains it sets.
    pub domains: BTreeSet<String>,
    /// Does it change metadata?
    pub metadata: bool,
    /// Does it change the protocol?
    pub protocol: bool,
    /// Every action is a mere rearrangement.
    pub data_change: bool,
}

/// What of the table's rows an operation read.
#[derive(Clone, Debug, Default)]
pub enum Reads {
    /// Nothing: a blind append.
    #[default]
    Nothing,
    /// Rows that match a bound filter.
    Matching(Box<Expr>),
    /// Everything.
    Everything,
}

/// Why a draft no longer applies; names as in Delta's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Reason {
    ProtocolChanged, MetadataChanged, ConcurrentDomainMetadata, ConcurrentTransaction, ConcurrentAppend,
    ConcurrentDeleteRead, ConcurrentDeleteDelete, TableCreated,
}

impl Reason {
    /// The exception name people search for, e.g. `ConcurrentAppendException`.
    pub fn exception(self) -> &'static str { todo!() }
}

/// Another commit won.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Why.
    pub reason: Reason,
    /// The winning version.
    pub version: Version,
    /// Its operation and writer, as it says.
    pub operation: Option<String>,
    /// `engineInfo` of the winner.
    pub engine: Option<String>,
    /// Overlapping files, at most ten.
    pub files: Vec<String>,
    /// Does running the operation again from the newest version help?
    pub retry_helps: bool,
}

/// Checks one winner. `Ok`: our change applies on top of it unchanged. `Err`: code `conflict` with a [`Conflict`].
pub fn check(_ours: &Intent, _base: &Head, _isolation: IsolationLevel, _version: Version, _winner: &LogBatch) -> Result<()> { todo!() }

impl Error {
    /// What won, for code `conflict`.
    pub fn conflict(&self) -> Option<&Conflict> { self.payload() }
}
