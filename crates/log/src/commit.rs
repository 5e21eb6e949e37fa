//! `Draft`: the rules one commit must meet; renders it for a given version.
//!
//! A draft has no number. In-commit timestamp and previous transaction depend on the version it
//! lands at, so its bytes are made anew from draft and base for each attempt, and never patched:
//!
//! ```text
//!   line 1   {"commitInfo":{ .. "txnId" .. "bodyBytes":n, "bodyCrc32":c .. }}
//!   ------   first line feed: n and c are of all bytes below
//!   line 2   {"protocol":..}
//!   line 3   {"metaData":..}
//!   ..       txn, domainMetadata, remove, add, cdc
//! ```
//!
//! The identity lets us recognise our own commit after an answer was lost, and length and checksum
//! let any reader of ours notice a file that was cut or damaged. Other engines pass over the
//! fields.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::action::{
    Action, Add, AddCdc, CommitInfo, DomainMetadata, Metadata, Protocol, Remove, SetTransaction,
};
use crate::batch::{LogBatch, Width};
use crate::conflict::{Intent, ROW_TRACKING_DOMAIN, Reads};
use crate::crc::{crc32, crc32_after};
use crate::error::{Code, Error, Result};
use crate::feature::TableFeature;
use crate::mutant::planted;
use crate::property::{IsolationLevel, Properties};
use crate::row_set::RowSet;
use crate::schema::Schema;
use crate::state::Head;
use crate::support::{self, WritePermit};
use crate::time::Timestamp;
use crate::uri;
use crate::version::Version;

mod files;
mod join;

pub use join::{SEVERAL, added_up, dropped};

pub use crate::action::ENGINE_INFO;

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
    /// Files that leave. Each gets the time of the commit, unless it came with a later one.
    pub removes: Vec<Remove>,
    /// Change files. Where there are any, they tell all row changes of the commit.
    pub cdc: Vec<AddCdc>,
    /// Application counters.
    pub txns: Vec<SetTransaction>,
    /// Domains.
    pub domains: Vec<DomainMetadata>,
    /// What it read, for conflicts.
    pub intent: Intent,
    /// The rows of new vectors, by canonical path of the data file, as far as they are at hand.
    pub vectors: BTreeMap<String, VectorChange>,
}

impl Draft {
    /// Notes the files that it adds in its intent, once all of them are known.
    pub fn note_adds(&mut self) {
        let paths = self.adds.iter().map(|it| uri::canonical(&it.path).into_owned());
        self.intent.adds = paths.collect();
    }
}

/// What became of the deletion vector of one data file.
#[derive(Clone, Debug, Default)]
pub struct VectorChange {
    /// Rows that were deleted before; `None` if there was no vector.
    pub before: Option<Arc<RowSet>>,
    /// Rows that are deleted now.
    pub after: Arc<RowSet>,
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

/// Checks a draft against its base. `base` is `None` when the draft creates the table.
///
/// # Errors
///
/// `invalid-argument` if the draft removes rows of an append-only table, and for a draft that
/// creates a table without protocol and metadata. `invalid-protocol`, `invalid-metadata`,
/// `invalid-schema` and `unsupported-protocol` for a new protocol or metadata that this build could
/// not write to afterwards; the last also for switching on in-commit timestamps in a table that
/// exists. `internal` for a draft that no verb should make: a path twice, a missing partition
/// value, a negative size, an intent that hides what the draft does; a remove of what is not live,
/// a file that would be live twice, rows that a mere rearrangement loses, a vector that forgets
/// rows.
///
/// # Cost
///
/// That of the draft's actions: each looks up its path in the file list where it is at hand, and
/// appends have no need of one.
///
/// # Source
///
/// `spec/commit.md`, TXN-5 to TXN-13 and TXN-40 to TXN-44, `spec/change-feed.md`, CDF-23.
pub fn check(draft: &Draft, base: Option<(&Head, WritePermit)>) -> Result<()> {
    let base = base.map(|(head, _)| head);
    let target = Target::new(draft, base)?;
    target.check_support(draft, base)?;
    check_append_only(draft, base)?;
    check_identity(draft)?;
    files::check(draft, target.protocol, &target.metadata.partition_columns, &target.schema)?;
    if !draft.cdc.is_empty() && !target.properties.enable_change_data_feed {
        return Err(Error::internal("change files for a table that keeps no change feed"));
    }
    check_small(draft, &target)?;
    check_intent(draft)
}

/// Renders the draft for one version on top of `base`, the state of the version before.
///
/// The same arguments give the same bytes.
///
/// # Errors
///
/// `internal` if `version` does not follow `base`. `corrupt-log` if the table has in-commit
/// timestamps and that of `base` is not known. `limit-exceeded` for a commit that our own reader
/// would refuse.
///
/// # Source
///
/// `spec/commit.md`, TXN-1 to TXN-4 and TXN-14.
pub fn render(
    draft: &Draft,
    base: Option<&Head>,
    version: Version,
    now: Timestamp,
) -> Result<Rendered> {
    let expected = base.map_or(Some(Version::ZERO), |it| it.version.next());
    if expected != Some(version) {
        return Err(Error::internal(format!("version {version} does not follow the base")));
    }
    let target = Target::new(draft, base)?;
    let in_commit = target.in_commit_timestamps();
    let timestamp = if in_commit { in_commit_timestamp(base, now)? } else { now };

    let body = render_body(draft, timestamp);
    let mut info = commit_info(draft, base, &target, timestamp);
    if in_commit {
        info.insert("inCommitTimestamp".into(), timestamp.as_millis().into());
    }
    info.insert("bodyBytes".into(), body.len().into());
    info.insert("bodyCrc32".into(), crc32(body.as_bytes()).into());

    let mut text = Action::CommitInfo(CommitInfo { fields: info }).to_json_line();
    text.push('\n');
    text.push_str(&body);
    let bytes = Bytes::from(text);
    // Through the strict reader: a commit that we could not read back must not be written.
    let batch = LogBatch::from_json(&bytes, Width::Wide)
        .map_err(|it| it.at(format!("commit rendered for version {version}")))?;
    Ok(Rendered { bytes, batch, timestamp })
}

/// Whose commit is it? Compares `txnId` of the first line.
///
/// A commit whose first line is another action, or has no such id, is not ours.
///
/// # Errors
///
/// `corrupt-log` if the first line is not JSON, or length or checksum of the body are wrong: then
/// the file is damaged and neither answer may be given.
///
/// # Source
///
/// `spec/commit.md`, TXN-15 and TXN-16.
pub fn is_ours(bytes: &[u8], txn_id: &str) -> Result<bool> {
    let seal = Seal::read(bytes)
        .ok_or_else(|| Error::new(Code::CorruptLog, "the first line of the commit is not JSON"))?;
    seal.verify()
        .map_err(|it| Error::new(Code::CorruptLog, "the commit is damaged").because(it))?;
    Ok(!planted(1) && seal.txn_id.is_some_and(|it| it == txn_id))
}

/// Checks `bodyBytes` and `bodyCrc32` of a commit where present. Commits of others pass.
///
/// # Errors
///
/// `checksum-mismatch` says what was expected and what was found.
///
/// # Source
///
/// `spec/commit.md`, TXN-16.
pub fn verify(bytes: &[u8]) -> Result<()> {
    let mut verifier = Verifier::default();
    verifier.take(bytes);
    verifier.finish()
}

/// The same of a commit that comes in pieces of whole lines.
///
/// ```
/// use lakebed_log::commit::Verifier;
///
/// let mut verifier = Verifier::default();
/// verifier.take(b"{\"commitInfo\":{\"bodyBytes\":3,\"bodyCrc32\":0}}\n");
/// verifier.take(b"{}\n");
/// assert!(verifier.finish().is_err());
/// ```
#[derive(Debug, Default)]
pub struct Verifier {
    has_begun: bool,
    body_bytes: Option<u64>,
    body_crc32: Option<u64>,
    bytes: u64,
    crc: u32,
}

impl Verifier {
    /// Takes the next lines.
    pub fn take(&mut self, bytes: &[u8]) {
        let mut body = bytes;
        if !self.has_begun {
            self.has_begun = true;
            // A first line that is no JSON is for the decoder to name, with its place.
            let Some(seal) = Seal::read(bytes) else { return };
            (self.body_bytes, self.body_crc32) = (seal.body_bytes, seal.body_crc32);
            body = seal.body;
        }
        self.bytes += body.len() as u64;
        self.crc = crc32_after(self.crc, body);
    }

    /// Checks what the first line says of the others.
    ///
    /// # Errors
    ///
    /// As [`verify`].
    pub fn finish(self) -> Result<()> {
        check_seal(self.body_bytes, self.body_crc32, self.bytes, self.crc)
    }
}

fn check_seal(bytes: Option<u64>, crc: Option<u64>, found: u64, found_crc: u32) -> Result<()> {
    let mismatch = |what: &str, expected: u64, found: u64| {
        let what = format!("`{what}` is {expected}, but {found} was found");
        Err(Error::new(Code::ChecksumMismatch, what))
    };
    match (bytes, crc) {
        (Some(expected), _) if expected != found => mismatch("bodyBytes", expected, found),
        (_, Some(expected)) if expected != u64::from(found_crc) => {
            mismatch("bodyCrc32", expected, u64::from(found_crc))
        }
        _ => Ok(()),
    }
}

/// The table as it will be after the draft.
struct Target<'a> {
    protocol: &'a Protocol,
    metadata: &'a Metadata,
    schema: Schema,
    properties: Properties,
}

impl<'a> Target<'a> {
    fn new(draft: &'a Draft, base: Option<&'a Head>) -> Result<Target<'a>> {
        let protocol = draft.protocol.as_ref().or(base.map(|it| &it.protocol));
        let metadata = draft.metadata.as_ref().or(base.map(|it| &it.metadata));
        let (Some(protocol), Some(metadata)) = (protocol, metadata) else {
            let what = "the first commit of a table needs a protocol and metadata";
            return Err(Error::invalid(what));
        };
        let (schema, properties) = match base {
            Some(base) if draft.metadata.is_none() => {
                (base.schema.as_ref().clone(), base.properties.clone())
            }
            _ => (metadata.schema()?, Properties::read(&metadata.configuration)),
        };
        Ok(Target { protocol, metadata, schema, properties })
    }

    /// A property alone does not do it: at a legacy level the feature is not there.
    fn in_commit_timestamps(&self) -> bool {
        in_commit_timestamps(self.protocol, &self.properties)
    }

    fn check_support(&self, draft: &Draft, base: Option<&Head>) -> Result<()> {
        if let Some(protocol) = &draft.protocol {
            protocol.check()?;
        }
        if let Some(metadata) = &draft.metadata {
            metadata.check()?;
            Properties::check(&metadata.configuration)?;
        }
        if draft.protocol.is_some() || draft.metadata.is_some() {
            support::writable(self.protocol, self.metadata, &self.schema)?;
        }
        let before = base.is_some_and(|it| in_commit_timestamps(&it.protocol, &it.properties));
        if base.is_some() && !before && self.in_commit_timestamps() {
            let what = "in-commit timestamps can be switched on only when a table is created";
            return Err(Error::new(Code::UnsupportedProtocol, what));
        }
        Ok(())
    }
}

fn in_commit_timestamps(protocol: &Protocol, properties: &Properties) -> bool {
    properties.enable_in_commit_timestamps && protocol.supports(&TableFeature::InCommitTimestamp)
}

fn check_append_only(draft: &Draft, base: Option<&Head>) -> Result<()> {
    let append_only = base.is_some_and(|it| it.properties.append_only);
    match draft.removes.iter().find(|it| it.data_change) {
        Some(it) if append_only => Err(Error::invalid(format!(
            "the table is append-only (`delta.appendOnly` is true), but `{}` would be removed",
            it.path
        ))),
        _ => Ok(()),
    }
}

fn check_identity(draft: &Draft) -> Result<()> {
    if uuid::Uuid::try_parse(&draft.txn_id).is_err() {
        return Err(Error::internal(format!("`{}` is not a transaction id", draft.txn_id)));
    }
    if draft.operation.is_empty() {
        return Err(Error::internal("the commit names no operation"));
    }
    Ok(())
}

/// Transactions and domains: one of each name, and the feature that domains need.
fn check_small(draft: &Draft, target: &Target<'_>) -> Result<()> {
    let mut apps = BTreeSet::new();
    if let Some(txn) = draft.txns.iter().find(|it| !apps.insert(&it.app_id)) {
        return Err(Error::internal(format!("application `{}` is set twice", txn.app_id)));
    }
    let mut domains = BTreeSet::new();
    if let Some(it) = draft.domains.iter().find(|it| !domains.insert(&it.domain)) {
        return Err(Error::internal(format!("domain `{}` is set twice", it.domain)));
    }
    // Whoever renders hands out row ids above those of the version before.
    if domains.iter().any(|it| *it == ROW_TRACKING_DOMAIN) {
        let what = format!("domain `{ROW_TRACKING_DOMAIN}` is not for drafts to set");
        return Err(Error::internal(what));
    }
    if !domains.is_empty() && !target.protocol.supports(&TableFeature::DomainMetadata) {
        return Err(Error::internal("domain metadata needs the feature `domainMetadata`"));
    }
    Ok(())
}

/// An intent that leaves out what the draft does would let a conflict pass unseen.
fn check_intent(draft: &Draft) -> Result<()> {
    let intent = &draft.intent;
    let apps = draft.txns.iter().all(|it| intent.apps.contains(&it.app_id));
    let domains = draft.domains.iter().all(|it| intent.domains.contains(&it.domain));
    let removes = draft.removes.iter().all(|it| {
        let vector = it.deletion_vector.as_ref().map(|it| it.unique_id());
        intent.removes.contains(&(uri::canonical(&it.path).into_owned(), vector))
    });
    let adds = draft.adds.iter().all(|it| intent.adds.contains(uri::canonical(&it.path).as_ref()));
    let rearranges = !intent.rearranges_only
        || !draft.adds.iter().any(|it| it.data_change)
            && !draft.removes.iter().any(|it| it.data_change);
    let rows = [
        (apps, "the applications it sets"),
        (domains, "the domains it sets"),
        (removes, "the files it removes"),
        (adds, "the files it adds"),
        (intent.metadata || draft.metadata.is_none(), "its new metadata"),
        (intent.protocol || draft.protocol.is_none(), "its new protocol"),
        (rearranges, "that it changes rows"),
    ];
    match rows.iter().find(|(told, _)| !told) {
        Some((_, what)) => Err(Error::internal(format!("the commit's intent hides {what}"))),
        None => Ok(()),
    }
}

/// Strictly after that of the commit before, whatever our clock says.
fn in_commit_timestamp(base: Option<&Head>, now: Timestamp) -> Result<Timestamp> {
    let Some(base) = base else { return Ok(now) };
    let before = base.commit_info.as_ref().and_then(CommitInfo::in_commit_timestamp);
    let before = before.ok_or_else(|| {
        Error::new(
            Code::CorruptLog,
            "the commit has no `inCommitTimestamp`, but the table wants it",
        )
        .at(format!("version {}", base.version))
    })?;
    Ok(now.max(Timestamp::from_millis(before).plus_millis(1)))
}

/// Everything of `commitInfo` but what depends on the body.
fn commit_info(
    draft: &Draft,
    base: Option<&Head>,
    target: &Target<'_>,
    timestamp: Timestamp,
) -> Map<String, Json> {
    let isolation = match target.properties.isolation_level {
        _ if draft.intent.rearranges_only => "SnapshotIsolation",
        IsolationLevel::Serializable => "Serializable",
        IsolationLevel::WriteSerializable => "WriteSerializable",
        IsolationLevel::SnapshotIsolation => "SnapshotIsolation",
    };
    let blind = matches!(draft.intent.reads, Reads::Nothing) && draft.removes.is_empty();
    let mut info = Map::new();
    let mut set = |key: &str, value: Json| info.insert(key.to_string(), value);
    set("timestamp", timestamp.as_millis().into());
    set("operation", draft.operation.clone().into());
    set("operationParameters", draft.parameters.clone().into());
    if let Some(base) = base {
        set("readVersion", base.version.as_i64().into());
    }
    set("isolationLevel", isolation.into());
    set("isBlindAppend", blind.into());
    set("operationMetrics", draft.metrics.clone().into());
    set("engineInfo", ENGINE_INFO.into());
    if let Some(text) = &draft.user_metadata {
        set("userMetadata", text.clone().into());
    }
    set("txnId", draft.txn_id.clone().into());
    set("prevTxnId", json!(base.and_then(Head::txn_id)));
    info
}

/// The lines after the first, each with its line feed.
fn render_body(draft: &Draft, timestamp: Timestamp) -> String {
    let mut body = String::new();
    let mut line = |action: Action| {
        body.push_str(&action.to_json_line());
        body.push('\n');
    };
    draft.protocol.iter().cloned().map(Action::Protocol).for_each(&mut line);
    draft.metadata.iter().cloned().map(Action::Metadata).for_each(&mut line);
    draft.txns.iter().cloned().map(Action::SetTransaction).for_each(&mut line);
    draft.domains.iter().cloned().map(Action::DomainMetadata).for_each(&mut line);
    for remove in &draft.removes {
        // The time of the operation that found the file would let vacuum have it too early.
        let deleted = remove.deletion_timestamp.max(Some(timestamp.as_millis()));
        line(Action::Remove(Remove { deletion_timestamp: deleted, ..remove.clone() }));
    }
    draft.adds.iter().cloned().map(Action::Add).for_each(&mut line);
    draft.cdc.iter().cloned().map(Action::AddCdc).for_each(&mut line);
    body
}

/// What the first line says about itself and the rest.
struct Seal<'a> {
    txn_id: Option<String>,
    body_bytes: Option<u64>,
    body_crc32: Option<u64>,
    body: &'a [u8],
}

impl Seal<'_> {
    /// `None` if the first line is not a JSON object. Fields of other types are fields of others.
    fn read(bytes: &[u8]) -> Option<Seal<'_>> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(rename = "commitInfo")]
            info: Option<Info>,
        }
        #[derive(Default, Deserialize)]
        struct Info {
            #[serde(rename = "txnId")]
            txn_id: Option<Json>,
            #[serde(rename = "bodyBytes")]
            body_bytes: Option<Json>,
            #[serde(rename = "bodyCrc32")]
            body_crc32: Option<Json>,
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (first, body) = match bytes.iter().position(|it| *it == b'\n') {
            Some(at) => (bytes.get(..at)?, bytes.get(at + 1..)?),
            None => (bytes, &[][..]),
        };
        let line: Line = serde_json::from_slice(first).ok()?;
        let info = line.info.unwrap_or_default();
        Some(Seal {
            txn_id: info.txn_id.as_ref().and_then(Json::as_str).map(str::to_string),
            body_bytes: info.body_bytes.as_ref().and_then(Json::as_u64),
            body_crc32: info.body_crc32.as_ref().and_then(Json::as_u64),
            body,
        })
    }

    fn verify(&self) -> Result<()> {
        let (bytes, crc) = (self.body.len() as u64, crc32(self.body));
        check_seal(self.body_bytes, self.body_crc32, bytes, crc)
    }
}

#[cfg(test)]
mod tests;
