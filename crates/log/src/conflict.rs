//! Does a draft still apply after a winner?
//!
//! Two writers that start from one version race for the next. The loser need not start over: what
//! it read and what it writes is an [`Intent`], what the other did is its commit, and most pairs do
//! not touch each other. All rules stand in one array, in the order that is part of the contract,
//! because a rule that hides in a branch is a rule that nobody tests:
//!
//! ```text
//!   winner                        matters to a draft that
//!   protocol                      changes it too, or may break what is new or gone
//!   metadata                      changes it too, or holds rows by the old one
//!   domain, application           sets the same
//!   rows added                    read where they may be            Serializable
//!     by others than appends      the same                          WriteSerializable
//!     by anybody                  no draft                          SnapshotIsolation
//!   file removed                  read it
//!   file removed or added         removes or adds the same path, whatever the vectors
//! ```
//! Where the facts are not known
//! (a remove without partition values, a value that does not parse) the answer is "conflict": a
//! false alarm costs one retry, a missed one loses rows.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::action::{Metadata, Protocol};
use crate::batch::{LogBatch, Removes};
use crate::error::{Code, Error, Result};
use crate::expr::Expr;
use crate::feature::TableFeature;
use crate::mutant::planted;
use crate::property::IsolationLevel;
use crate::state::{Head, TableState};
use crate::version::Version;

mod read_set;

use read_set::{Overlap, ReadSet};

/// What a draft read and writes.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// What of the table's rows the operation read.
    pub reads: Reads,
    /// The version it read, where its files are loaded: tells what was in a file that a winner
    /// removes, and which files there are to remove.
    pub state: Option<Arc<TableState>>,
    /// (canonical path, vector id) of files it removes.
    pub removes: BTreeSet<(String, Option<String>)>,
    /// Canonical paths of files it adds.
    pub adds: BTreeSet<String>,
    /// Applications whose transaction it sets.
    pub apps: BTreeSet<String>,
    /// Domains it sets.
    pub domains: BTreeSet<String>,
    /// Does it change metadata?
    pub metadata: bool,
    /// Does it change the protocol?
    pub protocol: bool,
    /// Is every file action a mere rearrangement, `dataChange` false? Then nothing of others
    /// matters but the files it rearranges, whatever it read: the rows stay the same.
    pub rearranges_only: bool,
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
pub enum Reason {
    /// The winner changed which readers and writers may touch the table.
    ProtocolChanged,
    /// The winner changed schema, partitioning or properties.
    MetadataChanged,
    /// Both set one domain.
    ConcurrentDomainMetadata,
    /// Both set the transaction of one application.
    ConcurrentTransaction,
    /// The winner added rows where we read.
    ConcurrentAppend,
    /// The winner removed a file that we read.
    ConcurrentDeleteRead,
    /// The winner removed, or added anew, a file that we remove or add.
    ConcurrentDeleteDelete,
    /// Both made the table.
    TableCreated,
}

impl Reason {
    /// The exception name people search for.
    ///
    /// ```
    /// # use lakebed_log::conflict::Reason;
    /// assert_eq!(Reason::ConcurrentAppend.exception(), "ConcurrentAppendException");
    /// ```
    pub fn exception(self) -> &'static str {
        match self {
            Reason::ProtocolChanged | Reason::TableCreated => "ProtocolChangedException",
            Reason::MetadataChanged => "MetadataChangedException",
            Reason::ConcurrentDomainMetadata => "ConcurrentDomainMetadataException",
            Reason::ConcurrentTransaction => "ConcurrentTransactionException",
            Reason::ConcurrentAppend => "ConcurrentAppendException",
            Reason::ConcurrentDeleteRead => "ConcurrentDeleteReadException",
            Reason::ConcurrentDeleteDelete => "ConcurrentDeleteDeleteException",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Reason::ProtocolChanged => "changed the protocol of the table",
            Reason::MetadataChanged => {
                "changed the schema, partitioning or properties of the table"
            }
            Reason::ConcurrentDomainMetadata => "set a domain that this commit sets too",
            Reason::ConcurrentTransaction => {
                "set the transaction of an application that this commit sets too"
            }
            Reason::ConcurrentAppend => "added files where this operation had read",
            Reason::ConcurrentDeleteRead => "removed files that this operation had read",
            Reason::ConcurrentDeleteDelete => {
                "removed or replaced files that this commit replaces too"
            }
            Reason::TableCreated => "created the table",
        }
    }
}

/// Another commit won.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Why.
    pub reason: Reason,
    /// The winning version.
    pub version: Version,
    /// Its operation, as it says.
    pub operation: Option<String>,
    /// Its writer, as it says: `engineInfo`.
    pub engine: Option<String>,
    /// Overlapping files, as the winner spells them, at most [`FILES_NAMED_MAX`].
    pub files: Vec<String>,
    /// The partitions of these files, as folders name them, ascending; empty where the table has no
    /// partition columns, or the winner does not say.
    pub partitions: Vec<String>,
    /// Does running the operation again from the newest version help?
    pub retry_helps: bool,
}

/// How many overlapping files a [`Conflict`] names: enough to see which part of the table is
/// contended, few enough to print.
pub const FILES_NAMED_MAX: usize = 10;

/// Checks one winner. `Ok`: our change applies on top of it unchanged.
///
/// `base` is the state that the winner was committed on, so that an action which repeats what is
/// there already counts as no change. Ask once about each winner, in version order.
///
/// # Errors
///
/// Code `conflict`, with a [`Conflict`], for the first rule that is broken.
///
/// # Source
///
/// `spec/conflict.md`, CON-1 to CON-17.
pub fn check(
    ours: &Intent,
    base: &Head,
    isolation: IsolationLevel,
    version: Version,
    winner: &LogBatch,
) -> Result<()> {
    let read = ReadSet::new(ours, base);
    let protocol = winner.protocol.as_ref().is_some_and(|it| protocol_matters(ours, base, it));
    let metadata = winner.metadata.as_ref().is_some_and(|it| metadata_matters(ours, base, it));
    let domain = winner
        .domains
        .iter()
        .any(|it| it.domain != ROW_TRACKING_DOMAIN && ours.domains.contains(&it.domain));
    let app = winner.txns.iter().any(|it| ours.apps.contains(&it.app_id));
    // What others removed counts by every level.
    let unseen = planted(5) || planted(54) && isolation == IsolationLevel::SnapshotIsolation;
    let gone = match &winner.removes {
        Some(removes) if !unseen => read.removed(removes),
        _ => Overlap::default(),
    };
    let added = match &winner.adds {
        Some(adds) if !planted(7) && adds_count(ours, isolation, winner) => read.added(adds, &gone),
        _ => Overlap::default(),
    };
    let both = if unseen { Overlap::default() } else { read.both(winner) };

    let files = |it: Overlap| (it.is_some(), it);
    let fact = |it: bool| (it, Overlap::default());
    let rules = [
        (fact(protocol), Reason::ProtocolChanged),
        (fact(metadata), Reason::MetadataChanged),
        (fact(domain), Reason::ConcurrentDomainMetadata),
        (fact(app), Reason::ConcurrentTransaction),
        (files(added), Reason::ConcurrentAppend),
        (files(gone), Reason::ConcurrentDeleteRead),
        (files(both), Reason::ConcurrentDeleteDelete),
    ];
    match rules.into_iter().find(|((broken, _), _)| *broken) {
        Some(((_, overlap), reason)) => Err(conflict(reason, version, winner, overlap, true)),
        None => Ok(()),
    }
}

/// The conflict of two creators: version 0 is there and it is not ours.
///
/// `adds_rows` says whether our draft holds rows: then running it again adds them to the table that
/// is there now. A draft that only makes the table will find it made.
pub fn table_created(winner: &LogBatch, adds_rows: bool) -> Error {
    conflict(Reason::TableCreated, Version::ZERO, winner, Overlap::default(), adds_rows)
}

/// Row ids are handed out by whoever renders a commit, above those of the winner before it: the
/// highest of them is no matter of two writers' will.
pub(crate) const ROW_TRACKING_DOMAIN: &str = "delta.rowTracking";

/// Features that may come to a table while a commit is under way: what the commit says stays true
/// with them. Those that ask something of every new row are not among them.
const FEATURES_TOLERATED: &[TableFeature] = &[
    TableFeature::AppendOnly,
    TableFeature::CatalogManaged,
    TableFeature::ChangeDataFeed,
    TableFeature::ColumnMapping,
    TableFeature::DeletionVectors,
    TableFeature::DomainMetadata,
    TableFeature::InCommitTimestamp,
    TableFeature::RowTracking,
    TableFeature::TimestampNtz,
    TableFeature::TypeWidening,
    TableFeature::V2Checkpoint,
    TableFeature::VacuumProtocolCheck,
];

/// Properties that may change while a commit of rows is under way: they say how later commits are
/// written, or are obeyed when a commit is rendered.
const PROPERTIES_TOLERATED: &[&str] = &[
    "delta.checkpointPolicy",
    "delta.enableDeletionVectors",
    "delta.enableInCommitTimestamps",
    "delta.inCommitTimestampEnablementTimestamp",
    "delta.inCommitTimestampEnablementVersion",
];

/// The same features in another order, or under other version numbers, are no change. Whether this
/// build can write what the table has become is asked again before the next try.
fn protocol_matters(ours: &Intent, base: &Head, theirs: &Protocol) -> bool {
    let features = |it: &Protocol| -> BTreeSet<_> { it.features().into_iter().collect() };
    let (before, after) = (features(&base.protocol), features(theirs));
    let removed = before.difference(&after).next().is_some();
    let mut added = after.difference(&before).peekable();
    let same_numbers = base.protocol.min_reader_version == theirs.min_reader_version
        && base.protocol.min_writer_version == theirs.min_writer_version;
    let changed = removed || added.peek().is_some() || !same_numbers;
    changed && (ours.protocol || removed || added.any(|it| !FEATURES_TOLERATED.contains(it)))
}

fn metadata_matters(ours: &Intent, base: &Head, theirs: &Metadata) -> bool {
    if *theirs == base.metadata {
        return false;
    }
    let bare = |it: &Metadata| {
        let mut it = it.clone();
        it.configuration.retain(|key, _| !PROPERTIES_TOLERATED.contains(&key.as_str()));
        it
    };
    ours.metadata || bare(theirs) != bare(&base.metadata)
}

/// Do the adds of this winner count against what we read? By isolation level.
fn adds_count(ours: &Intent, isolation: IsolationLevel, winner: &LogBatch) -> bool {
    match isolation {
        _ if ours.rearranges_only => false,
        IsolationLevel::Serializable => true,
        IsolationLevel::WriteSerializable if planted(52) => ours.metadata,
        IsolationLevel::WriteSerializable => ours.metadata || !is_blind_append(winner),
        IsolationLevel::SnapshotIsolation => false,
    }
}

/// As the winner says, unless it removes something, which no append does.
fn is_blind_append(winner: &LogBatch) -> bool {
    let info = winner.commit_info.as_ref();
    let said = info.and_then(|it| it.fields.get("isBlindAppend")).and_then(|it| it.as_bool());
    said == Some(true) && winner.removes.as_ref().is_none_or(Removes::is_empty)
}

fn conflict(
    reason: Reason,
    version: Version,
    winner: &LogBatch,
    overlap: Overlap,
    retry_helps: bool,
) -> Error {
    let says =
        |key: &str| winner.commit_info.as_ref().and_then(|it| it.text(key)).map(str::to_string);
    let conflict = Conflict {
        reason,
        version,
        operation: says("operation"),
        engine: says("engineInfo"),
        files: overlap.files,
        partitions: overlap.partitions.into_iter().collect(),
        retry_helps,
    };
    Error::new(Code::Conflict, conflict.to_string()).with_payload(conflict)
}

/// One line for people: the exception's name, who won and how, which files, and what to do.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason;
        write!(f, "{}: version {}", reason.exception(), self.version)?;
        match (&self.operation, &self.engine) {
            (Some(operation), Some(engine)) => write!(f, " (`{operation}` by `{engine}`)")?,
            (Some(it), None) => write!(f, " (`{it}`)")?,
            (None, Some(it)) => write!(f, " (by `{it}`)")?,
            (None, None) => {}
        }
        write!(f, " {}", reason.sentence())?;
        named(f, ": ", &self.files)?;
        if self.files.len() == FILES_NAMED_MAX {
            f.write_str(" and perhaps more")?;
        }
        named(f, "; of partition ", &self.partitions)?;
        f.write_str(if self.retry_helps {
            "; nothing was committed; run the operation again"
        } else {
            "; nothing was committed; running the operation again will not help"
        })
    }
}

fn named(f: &mut fmt::Formatter<'_>, before: &str, names: &[String]) -> fmt::Result {
    for (index, name) in names.iter().enumerate() {
        write!(f, "{}`{name}`", if index == 0 { before } else { ", " })?;
    }
    Ok(())
}

/// A commit whose outcome was not known at the deadline.
///
/// ```
/// # use lakebed_log::conflict::Unresolved;
/// # use lakebed_log::error::{Code, Error};
/// let err = Error::new(Code::OutcomeUnknown, "the deadline passed")
///     .with_payload(Unresolved { id: "80a083e8-7026-4e79-81be-64bd76c43a11@42".into() });
/// assert!(err.unresolved().unwrap().id.ends_with("@42"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The transaction's id, `@`, and the version it was tried at: what stands there tells what
    /// became of it.
    pub id: String,
}

impl Error {
    /// What won, for code `conflict`.
    pub fn conflict(&self) -> Option<&Conflict> {
        self.payload()
    }

    /// What to ask about, for code `outcome-unknown`.
    pub fn unresolved(&self) -> Option<&Unresolved> {
        self.payload()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
