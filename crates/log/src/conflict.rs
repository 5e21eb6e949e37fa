//! Does a draft still apply after a winner?
//!
//! Two writers that start from one version race for the next. The loser need not start over: what
//! it read and what it writes is an [`Intent`], what the other did is its commit, and most pairs do
//! not touch each other. All rules stand in one array, in the order that is part of the contract,
//! because a rule that hides in a branch is a rule that nobody tests. Where the facts are not known
//! (a remove without partition values, a value that does not parse) the answer is "conflict": a
//! false alarm costs one retry, a missed one loses rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow_array::Array;

use crate::action::Protocol;
use crate::batch::{Adds, LogBatch, Removes};
use crate::error::{Code, Error, Result};
use crate::expr::Expr;
use crate::property::IsolationLevel;
use crate::schema::DataType;
use crate::skip::Skipper;
use crate::state::Head;
use crate::stats::Reader;
use crate::uri;
use crate::value::Value;
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
    /// Is every file action a mere rearrangement, `dataChange` false? Then the adds of others do
    /// not matter, whatever it read: the rows stay the same.
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
    /// The winner removed a file that we remove.
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
            Reason::ConcurrentDeleteDelete => "removed files that this commit removes too",
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
/// `spec/conflict.md`, CON-1 to CON-9.
pub fn check(
    ours: &Intent,
    base: &Head,
    isolation: IsolationLevel,
    version: Version,
    winner: &LogBatch,
) -> Result<()> {
    let read = ReadSet::new(ours, base);
    let protocol = winner.protocol.as_ref().is_some_and(|it| !same_protocol(it, &base.protocol));
    let metadata = winner.metadata.as_ref().is_some_and(|it| *it != base.metadata);
    let domain = winner.domains.iter().any(|it| ours.domains.contains(&it.domain));
    let app = winner.txns.iter().any(|it| ours.apps.contains(&it.app_id));
    let added = match &winner.adds {
        Some(adds) if adds_count(ours, isolation, winner) => read.added(adds),
        _ => Vec::new(),
    };
    let gone = winner.removes.as_ref().map_or_else(Vec::new, |it| read.removed(it));
    let gone_twice = winner.removes.as_ref().map_or_else(Vec::new, |it| removed_twice(ours, it));

    let rules = [
        (protocol, Reason::ProtocolChanged, Vec::new()),
        (metadata, Reason::MetadataChanged, Vec::new()),
        (domain, Reason::ConcurrentDomainMetadata, Vec::new()),
        (app, Reason::ConcurrentTransaction, Vec::new()),
        (!added.is_empty(), Reason::ConcurrentAppend, added),
        (!gone.is_empty(), Reason::ConcurrentDeleteRead, gone),
        (!gone_twice.is_empty(), Reason::ConcurrentDeleteDelete, gone_twice),
    ];
    match rules.into_iter().find(|(broken, ..)| *broken) {
        Some((_, reason, files)) => Err(conflict(reason, version, winner, files, true)),
        None => Ok(()),
    }
}

/// The conflict of two creators: version 0 is there and it is not ours.
///
/// `adds_rows` says whether our draft holds rows: then running it again adds them to the table that
/// is there now. A draft that only makes the table will find it made.
pub fn table_created(winner: &LogBatch, adds_rows: bool) -> Error {
    conflict(Reason::TableCreated, Version::ZERO, winner, Vec::new(), adds_rows)
}

/// Do the adds of this winner count against what we read? By isolation level.
fn adds_count(ours: &Intent, isolation: IsolationLevel, winner: &LogBatch) -> bool {
    let blind = winner
        .commit_info
        .as_ref()
        .and_then(|it| it.fields.get("isBlindAppend"))
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false);
    match isolation {
        _ if ours.rearranges_only => false,
        IsolationLevel::Serializable => true,
        IsolationLevel::WriteSerializable => ours.metadata || !blind,
        IsolationLevel::SnapshotIsolation => false,
    }
}

/// Same versions and same features, in whatever order they are listed.
fn same_protocol(a: &Protocol, b: &Protocol) -> bool {
    let features = |it: &Protocol| -> BTreeSet<_> { it.features().into_iter().collect() };
    a.min_reader_version == b.min_reader_version
        && a.min_writer_version == b.min_writer_version
        && features(a) == features(b)
}

/// What we read, made ready to judge files.
enum ReadSet<'a> {
    Nothing,
    Matching { base: &'a Head, skipper: Box<Skipper> },
    Everything,
}

impl<'a> ReadSet<'a> {
    fn new(ours: &Intent, base: &'a Head) -> ReadSet<'a> {
        match &ours.reads {
            Reads::Nothing => ReadSet::Nothing,
            Reads::Everything => ReadSet::Everything,
            Reads::Matching(filter) => ReadSet::Matching {
                base,
                skipper: Box::new(Skipper::new(
                    filter,
                    &base.schema,
                    &base.metadata.partition_columns,
                )),
            },
        }
    }

    /// Files that may hold rows we would have read. Rearranged files hold none that are new.
    fn added(&self, adds: &Adds) -> Vec<String> {
        let changes = |row: &usize| adds.data_change().value(*row);
        let read = |row: &usize| match self {
            ReadSet::Nothing => false,
            ReadSet::Everything => true,
            ReadSet::Matching { base, skipper } => add_may_match(base, skipper, adds, *row),
        };
        let rows = (0..adds.len()).filter(changes).filter(read);
        rows.take(FILES_NAMED_MAX).map(|row| adds.path().value(row).to_string()).collect()
    }

    /// Files that we read and that are gone, rearranged or not: our answer named them.
    fn removed(&self, removes: &Removes) -> Vec<String> {
        let read = |row: &usize| match self {
            ReadSet::Nothing => false,
            ReadSet::Everything => true,
            ReadSet::Matching { base, skipper } => remove_may_match(base, skipper, removes, *row),
        };
        let rows = (0..removes.len()).filter(read);
        rows.take(FILES_NAMED_MAX).map(|row| removes.path().value(row).to_string()).collect()
    }
}

fn add_may_match(base: &Head, skipper: &Skipper, adds: &Adds, row: usize) -> bool {
    let text = |name: &str| adds.partition_value(row, name);
    let Some(partition) = typed_partition(base, text) else { return true };
    if skipper.skips_partition(&partition) {
        return false;
    }
    let text = adds.stats().filter(|it| it.is_valid(row)).map(|it| it.value(row));
    let wanted = skipper.stats_columns();
    match text {
        Some(text) => {
            let stats = Reader::mapped(&base.schema, base.mapping, Some(wanted)).read(text);
            !skipper.skips(&partition, &stats)
        }
        None => true,
    }
}

fn remove_may_match(base: &Head, skipper: &Skipper, removes: &Removes, row: usize) -> bool {
    let Ok(remove) = removes.get(row) else { return true };
    let Some(values) = remove.partition_values else { return true };
    // Some writers leave out the keys of null values in removes.
    let text = |name: &str| Some(values.get(name).and_then(|it| it.as_deref()));
    match typed_partition(base, text) {
        Some(partition) => !skipper.skips_partition(&partition),
        None => true,
    }
}

/// Typed values of all partition columns; `None` if one is absent or does not parse.
fn typed_partition<'t>(
    base: &Head,
    text: impl Fn(&str) -> Option<Option<&'t str>>,
) -> Option<BTreeMap<String, Option<Value>>> {
    let mut values = BTreeMap::new();
    for name in &base.metadata.partition_columns {
        let field = base.schema.field(name)?;
        let DataType::Primitive(of) = field.data_type else { return None };
        let value = match text(field.physical_name(base.mapping))? {
            Some(text) => Value::from_partition(text, of).ok()?,
            None => None,
        };
        values.insert(name.clone(), value);
    }
    Some(values)
}

fn removed_twice(ours: &Intent, removes: &Removes) -> Vec<String> {
    if ours.removes.is_empty() {
        return Vec::new();
    }
    let path = removes.path();
    let both = |row: &usize| {
        let key = (uri::canonical(path.value(*row)).into_owned(), removes.dv_id(*row));
        ours.removes.contains(&key)
    };
    let rows = (0..removes.len()).filter(both);
    rows.take(FILES_NAMED_MAX).map(|row| path.value(row).to_string()).collect()
}

fn conflict(
    reason: Reason,
    version: Version,
    winner: &LogBatch,
    files: Vec<String>,
    retry_helps: bool,
) -> Error {
    let says =
        |key: &str| winner.commit_info.as_ref().and_then(|it| it.text(key)).map(str::to_string);
    let conflict = Conflict {
        reason,
        version,
        operation: says("operation"),
        engine: says("engineInfo"),
        files,
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
        for (index, file) in self.files.iter().enumerate() {
            write!(f, "{}`{file}`", if index == 0 { ": " } else { ", " })?;
        }
        if self.files.len() == FILES_NAMED_MAX {
            f.write_str(" and perhaps more")?;
        }
        f.write_str(if self.retry_helps {
            "; nothing was committed; run the operation again"
        } else {
            "; nothing was committed; running the operation again will not help"
        })
    }
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
mod tests;
