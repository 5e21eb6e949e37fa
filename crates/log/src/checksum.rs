//! The version checksum (`.crc`): compute, advance by one commit, compare.
//!
//! A checksum says how many files and bytes a version has, and repeats its small actions, so that
//! a reader can notice that it replayed something else. It is an aid, never an authority: nothing
//! that a checksum says changes what a table is, and one that makes no sense is no checksum.

use std::collections::BTreeSet;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::action::{Action, CommitInfo, ENGINE_INFO};
use crate::batch::LogBatch;
use crate::crc::crc32;
use crate::error::{Code, Error, Result};
use crate::feature::TableFeature;
use crate::files::FileSum;
use crate::segment::Strict;
use crate::state::{Head, TableState};

/// Contents of a `.crc` file: what the protocol requires.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Checksum {
    pub txn_id: Option<String>,
    pub table_size_bytes: i64,
    pub num_files: i64,
    pub in_commit_timestamp: Option<i64>,
    /// As in the head.
    pub head: Head,
}

/// What a stored checksum says, whoever wrote it. Nothing of it is believed without the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Facts {
    pub table_size_bytes: Option<i64>,
    pub num_files: Option<i64>,
    pub num_metadata: Option<i64>,
    pub num_protocol: Option<i64>,
    pub in_commit_timestamp: Option<i64>,
    pub num_deleted_records: Option<i64>,
    pub num_deletion_vectors: Option<i64>,
    pub txn_id: Option<String>,
    /// Names of the fields that are there and not null, sorted.
    pub fields: Vec<String>,
    stored: Stored,
}

impl Facts {
    /// `None` for what is not one JSON object without duplicate keys: that is no checksum.
    ///
    /// ```
    /// use lakebed_log::checksum::Facts;
    ///
    /// let facts = Facts::parse(br#"{"numFiles":2,"tableSizeBytes":-1,"txnId":"x"}"#).unwrap();
    /// assert_eq!((facts.num_files, facts.table_size_bytes), (Some(2), None));
    /// assert_eq!(facts.fields, ["numFiles", "tableSizeBytes", "txnId"]);
    /// assert_eq!(Facts::parse(b"{} {}"), None);
    /// ```
    pub fn parse(bytes: &[u8]) -> Option<Facts> {
        let stored = Stored::parse(bytes)?;
        let present = stored.0.iter().filter(|(_, it)| !it.is_null());
        Some(Facts {
            table_size_bytes: stored.count("tableSizeBytes"),
            num_files: stored.count("numFiles"),
            num_metadata: stored.count("numMetadata"),
            num_protocol: stored.count("numProtocol"),
            in_commit_timestamp: stored.0.get("inCommitTimestampOpt").and_then(Json::as_i64),
            num_deleted_records: stored.count("numDeletedRecordsOpt"),
            num_deletion_vectors: stored.count("numDeletionVectorsOpt"),
            txn_id: stored.txn_id(),
            fields: present.map(|(key, _)| key.clone()).collect(),
            stored,
        })
    }

    /// The fields that are there and say other than the state does, sorted. Of what a writer left
    /// out nothing is said.
    pub fn mismatches(&self, state: &TableState) -> Vec<&'static str> {
        let ours = Checksum::of(state);
        let (vectors, deleted) = vectors_of(state);
        let counts = [
            ("numDeletedRecordsOpt", self.num_deleted_records, deleted),
            ("numDeletionVectorsOpt", self.num_deletion_vectors, vectors),
            ("numFiles", self.num_files, ours.num_files),
            ("numMetadata", self.num_metadata, 1),
            ("numProtocol", self.num_protocol, 1),
            ("tableSizeBytes", self.table_size_bytes, ours.table_size_bytes),
        ];
        let differs = |it: &(&str, Option<i64>, i64)| self.has(it.0) && it.1 != Some(it.2);
        let mut wrong: Vec<_> = counts.into_iter().filter(differs).map(|it| it.0).collect();
        let head = &state.head;
        let actions = [
            ("metadata", "metaData", Action::Metadata(head.metadata.clone())),
            ("protocol", "protocol", Action::Protocol(head.protocol.clone())),
        ];
        for (key, name, ours) in actions {
            if self.has(key) && self.stored.action(key, name) != Some(ours) {
                wrong.push(key);
            }
        }
        let domains = head.domains.values().cloned().map(Action::DomainMetadata);
        if !self.stored.holds("domainMetadata", "domainMetadata", domains) {
            wrong.push("domainMetadata");
        }
        let txns = head.txns.values().cloned().map(Action::SetTransaction);
        if !self.stored.holds("setTransactions", "txn", txns) {
            wrong.push("setTransactions");
        }
        let (theirs, ours) = (self.in_commit_timestamp, ours.in_commit_timestamp);
        if theirs.is_some() && ours.is_some() && theirs != ours {
            wrong.push("inCommitTimestampOpt");
        }
        wrong.sort_unstable();
        wrong
    }

    fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|it| it == key)
    }
}

/// How many live files have a deletion vector, and how many rows those delete.
fn vectors_of(state: &TableState) -> (i64, i64) {
    let mut found = (0_i64, 0_i64);
    for chunk in state.files.chunks() {
        let vectors = chunk.rows.deletion_vector();
        if vectors.null_count() == vectors.len() {
            continue;
        }
        let rows = vectors.column_by_name("cardinality");
        let rows = rows.and_then(|it| it.as_primitive_opt::<Int64Type>());
        for row in chunk.live.iter().filter_map(|it| usize::try_from(it).ok()) {
            if vectors.is_valid(row) {
                let deleted = rows.filter(|it| it.is_valid(row)).map_or(0, |it| it.value(row));
                found = (found.0.saturating_add(1), found.1.saturating_add(deleted));
            }
        }
    }
    found
}

/// The document, in the order in which it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_id: Option<&'a str>,
    table_size_bytes: i64,
    num_files: i64,
    num_metadata: u32,
    num_protocol: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_commit_timestamp_opt: Option<i64>,
    set_transactions: Vec<Box<RawValue>>,
    domain_metadata: Vec<Box<RawValue>>,
    metadata: Option<Box<RawValue>>,
    protocol: Option<Box<RawValue>>,
}

/// Number and bytes of the live files of a version: what a writer must know to write a checksum,
/// and can carry from version to version without knowing the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many live files.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
}

impl Counts {
    /// Of live files that were added up.
    pub fn of(sum: FileSum) -> Option<Counts> {
        Counts::new(sum.files, sum.bytes)
    }

    /// Of so many live files. `None` for numbers that a checksum cannot say.
    pub fn new(files: u64, bytes: u64) -> Option<Counts> {
        let (files, bytes) = (i64::try_from(files).ok()?, i64::try_from(bytes).ok()?);
        Some(Counts { files, bytes })
    }

    /// By the stored checksum of the version that `head` is of. `None` if it makes no sense, or is
    /// of another commit or another table: then it is as if there were none.
    pub fn stored(bytes: &[u8], head: &Head) -> Option<Counts> {
        let stored = Stored::parse(bytes).filter(|_| is_whole(bytes))?;
        let is_of = |key, name, ours: Action| stored.action(key, name) == Some(ours);
        let other = matches!((stored.txn_id(), head.txn_id()), (Some(a), Some(b)) if a != b);
        if other
            || !is_of("metadata", "metaData", Action::Metadata(head.metadata.clone()))
            || !is_of("protocol", "protocol", Action::Protocol(head.protocol.clone()))
        {
            return None;
        }
        let (files, bytes) = (stored.count("numFiles")?, stored.count("tableSizeBytes")?);
        Some(Counts { files, bytes })
    }

    /// After so many files and bytes more; `None` if a count leaves its range, which makes no
    /// sense.
    #[must_use]
    pub fn moved(self, files: i64, bytes: i64) -> Option<Counts> {
        let moved = |it: i64, by: i64| it.checked_add(by).filter(|it| 0 <= *it);
        Some(Counts { files: moved(self.files, files)?, bytes: moved(self.bytes, bytes)? })
    }

    /// After another writer's commit, decoded at any width with files, as far as its actions tell.
    ///
    /// A commit may add a file that is live, to give it other statistics, or remove one that is
    /// not; only who knows the files sees that. Commits of ours do neither, and one that only adds
    /// new rows does not either. After any other nothing is known.
    #[must_use]
    pub fn after(self, commit: &LogBatch) -> Option<Counts> {
        let info = commit.commit_info.as_ref();
        let is_ours = info.and_then(|it| it.text("engineInfo")) == Some(ENGINE_INFO);
        let mut counts = self;
        if let Some(adds) = &commit.adds {
            if !is_ours && adds.data_change().false_count() > 0 {
                return None;
            }
            for size in adds.size().values() {
                counts = counts.moved(1, *size)?;
            }
        }
        if let Some(removes) = &commit.removes {
            if !is_ours || removes.size().null_count() > 0 {
                return None;
            }
            for size in removes.size().values() {
                counts = counts.moved(-1, size.checked_neg()?)?;
            }
        }
        Some(counts)
    }
}

impl Checksum {
    /// From a whole state.
    pub fn of(state: &TableState) -> Checksum {
        let counts = Counts {
            files: i64::try_from(state.files.len()).unwrap_or(i64::MAX),
            bytes: i64::try_from(state.files.total_bytes()).unwrap_or(i64::MAX),
        };
        Checksum::new(&state.head, counts)
    }

    /// From what is known of a version whose files nobody holds.
    pub fn new(head: &Head, counts: Counts) -> Checksum {
        Checksum {
            txn_id: head.txn_id().map(str::to_string),
            table_size_bytes: counts.bytes,
            num_files: counts.files,
            in_commit_timestamp: in_commit_timestamp(head),
            head: head.clone(),
        }
    }

    /// The JSON document. The same checksum gives the same text.
    pub fn to_json(&self) -> String {
        let head = &self.head;
        let txns = head.txns.values().cloned().map(Action::SetTransaction);
        let domains = head.domains.values().cloned().map(Action::DomainMetadata);
        let document = Document {
            txn_id: self.txn_id.as_deref(),
            table_size_bytes: self.table_size_bytes,
            num_files: self.num_files,
            num_metadata: 1,
            num_protocol: 1,
            in_commit_timestamp_opt: self.in_commit_timestamp,
            set_transactions: txns.filter_map(|it| inner(&it)).collect(),
            domain_metadata: domains.filter_map(|it| inner(&it)).collect(),
            metadata: inner(&Action::Metadata(head.metadata.clone())),
            protocol: inner(&Action::Protocol(head.protocol.clone())),
        };
        sealed(&serde_json::to_string(&document).unwrap_or_default())
    }

    /// Does a stored checksum agree with the state?
    ///
    /// What the protocol requires must be there and equal; what it leaves optional must be equal
    /// where it is there, but for the transaction id, which a version without `commitInfo` lacks.
    ///
    /// # Errors
    ///
    /// `checksum-mismatch` says in what.
    pub fn compare(bytes: &[u8], state: &TableState) -> Result<()> {
        let mismatch = |what: String| Err(Error::new(Code::ChecksumMismatch, what));
        let Some(stored) = Stored::parse(bytes) else {
            return mismatch("the version checksum is not a JSON object".to_string());
        };
        let ours = Checksum::of(state);
        let counts = [
            ("tableSizeBytes", ours.table_size_bytes),
            ("numFiles", ours.num_files),
            ("numMetadata", 1),
            ("numProtocol", 1),
        ];
        for (key, ours) in counts {
            match stored.count(key) {
                Some(it) if it == ours => {}
                Some(it) => {
                    return mismatch(format!("`{key}` is {it} in the checksum, {ours} in the log"));
                }
                None => return mismatch(format!("the checksum has no sound `{key}`")),
            }
        }
        let head = &state.head;
        if stored.action("protocol", "protocol") != Some(Action::Protocol(head.protocol.clone())) {
            return mismatch("`protocol` differs from that of the log".to_string());
        }
        if stored.action("metadata", "metaData") != Some(Action::Metadata(head.metadata.clone())) {
            return mismatch("`metadata` differs from that of the log".to_string());
        }
        let txns = head.txns.values().cloned().map(Action::SetTransaction);
        let domains = head.domains.values().cloned().map(Action::DomainMetadata);
        if !stored.holds("setTransactions", "txn", txns) {
            return mismatch("`setTransactions` differ from those of the log".to_string());
        }
        if !stored.holds("domainMetadata", "domainMetadata", domains) {
            return mismatch("`domainMetadata` differ from those of the log".to_string());
        }
        match (stored.txn_id(), ours.txn_id) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                mismatch(format!("`txnId` is `{theirs}` in the checksum, `{ours}` in the log"))
            }
            _ => Ok(()),
        }
    }
}

/// What stands before the checksum of a checksum file of ours, its last field.
const SEAL: &str = ",\"lakebed.crc32\":";

/// The document with the CRC-32 of it as it was.
fn sealed(document: &str) -> String {
    let open = document.strip_suffix('}').unwrap_or(document);
    format!("{open}{SEAL}{}}}", crc32(document.as_bytes()))
}

/// Is a document what its seal says? One without, as others write them, is taken as it is.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((open, seal)) = str::from_utf8(bytes).ok().and_then(|it| it.rsplit_once(SEAL)) else {
        return true;
    };
    let expected = seal.trim_end().strip_suffix('}').and_then(|it| it.parse().ok());
    expected == Some(crc32(format!("{open}}}").as_bytes()))
}

/// Present exactly if the table has in-commit timestamps enabled.
fn in_commit_timestamp(head: &Head) -> Option<i64> {
    let enabled = head.properties.enable_in_commit_timestamps
        && head.protocol.supports(&TableFeature::InCommitTimestamp);
    let info = head.commit_info.as_ref().filter(|_| enabled);
    info.and_then(CommitInfo::in_commit_timestamp)
}

/// An action as its line has it, without the name around it.
fn inner(action: &Action) -> Option<Box<RawValue>> {
    let line = action.to_json_line();
    let (_, rest) = line.split_once(':')?;
    RawValue::from_string(rest.strip_suffix('}')?.to_string()).ok()
}

/// A checksum as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stored(serde_json::Map<String, Json>);

impl Stored {
    fn parse(bytes: &[u8]) -> Option<Stored> {
        match serde_json::from_slice(bytes).ok()? {
            Strict(Json::Object(fields)) => Some(Stored(fields)),
            Strict(_) => None,
        }
    }

    fn count(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64().filter(|it| 0 <= *it)
    }

    fn txn_id(&self) -> Option<String> {
        Some(self.0.get("txnId")?.as_str()?.to_string())
    }

    fn action(&self, key: &str, name: &str) -> Option<Action> {
        named(self.0.get(key)?, name)
    }

    /// Does the list, if there is one, hold exactly these, in any order?
    fn holds(&self, key: &str, name: &str, wanted: impl Iterator<Item = Action>) -> bool {
        let items = match self.0.get(key) {
            None | Some(Json::Null) => return true,
            Some(Json::Array(items)) => items,
            Some(_) => return false,
        };
        let line = |it: Action| it.to_json_line();
        let wanted: BTreeSet<String> = wanted.map(line).collect();
        let stored: Option<BTreeSet<String>> =
            items.iter().map(|it| named(it, name).map(line)).collect();
        items.len() == wanted.len() && stored == Some(wanted)
    }
}

fn named(fields: &Json, name: &str) -> Option<Action> {
    let line = format!("{{\"{name}\":{fields}}}");
    Action::from_json_line(line.as_bytes()).ok().flatten()
}

#[cfg(test)]
mod tests;
