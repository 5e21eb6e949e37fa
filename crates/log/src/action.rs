//! The actions as structs, to and from one JSON line. For writing, and for the few that are not files.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::error::Result;
use crate::feature::TableFeature;
use crate::schema::Schema;

/// Which readers and writers may touch the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// `minReaderVersion`
    pub min_reader_version: i32,
    /// `minWriterVersion`
    pub min_writer_version: i32,
    /// Present exactly at reader version 3.
    pub reader_features: Option<Vec<TableFeature>>,
    /// Present exactly at writer version 7.
    pub writer_features: Option<Vec<TableFeature>>,
}

/// What the table is.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// GUID.
    pub id: String,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// `format.provider`, "parquet".
    pub format_provider: String,
    /// `format.options`
    pub format_options: BTreeMap<String, String>,
    /// JSON text of the schema, as stored.
    pub schema_string: String,
    /// Logical names, in order.
    pub partition_columns: Vec<String>,
    /// Properties, unknown keys included.
    pub configuration: BTreeMap<String, String>,
    /// Milliseconds.
    pub created_time: Option<i64>,
}

/// A data file joins the table.
#[derive(Clone, Debug, PartialEq, Default)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Add {
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    pub stats: Option<String>,
    pub tags: Option<BTreeMap<String, Option<String>>>,
    pub deletion_vector: Option<DeletionVector>,
    pub base_row_id: Option<i64>,
    pub default_row_commit_version: Option<i64>,
    pub clustering_provider: Option<String>,
}

/// A data file leaves the table.
#[derive(Clone, Debug, PartialEq, Default)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Remove {
    pub path: String,
    pub deletion_timestamp: Option<i64>,
    pub data_change: bool,
    pub extended_file_metadata: Option<bool>,
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    pub size: Option<i64>,
    pub deletion_vector: Option<DeletionVector>,
    pub base_row_id: Option<i64>,
    pub default_row_commit_version: Option<i64>,
}

/// Where the bytes of a deletion vector are.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct DeletionVector {
    pub storage_type: String,
    pub path_or_inline_dv: String,
    pub offset: Option<i32>,
    pub size_in_bytes: i32,
    pub cardinality: i64,
}

impl DeletionVector {
    /// Storage type, path, and `@offset` if there is one.
    pub fn unique_id(&self) -> String { todo!() }
}

/// A change data file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct AddCdc {
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub data_change: bool,
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// The newest version of an application's own counter.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct SetTransaction {
    pub app_id: String,
    pub version: i64,
    pub last_updated: Option<i64>,
}

/// Configuration of one domain.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct DomainMetadata {
    pub domain: String,
    pub configuration: String,
    pub removed: bool,
}

/// Who did what: free-form, kept whole.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CommitInfo {
    /// Every field, as stored.
    pub fields: Map<String, Json>,
}

impl CommitInfo {
    /// A text field.
    pub fn text(&self, key: &str) -> Option<&str> { self.fields.get(key).and_then(Json::as_str) }
    /// An integer field.
    pub fn integer(&self, key: &str) -> Option<i64> { self.fields.get(key).and_then(Json::as_i64) }
    /// `txnId`: whose commit it is.
    pub fn txn_id(&self) -> Option<&str> { self.text("txnId") }
    /// `inCommitTimestamp`, milliseconds.
    pub fn in_commit_timestamp(&self) -> Option<i64> { self.integer("inCommitTimestamp") }
}

/// A file of a V2 checkpoint that holds file actions.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Sidecar {
    pub path: String,
    pub size_in_bytes: i64,
    pub modification_time: i64,
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// Marks a V2 checkpoint.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct CheckpointMetadata {
    pub version: i64,
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// One action. Used to write and to test; never to hold a table.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    CommitInfo(CommitInfo),
    Protocol(Protocol),
    Metadata(Metadata),
    Add(Add),
    Remove(Remove),
    AddCdc(AddCdc),
    SetTransaction(SetTransaction),
    DomainMetadata(DomainMetadata),
    CheckpointMetadata(CheckpointMetadata),
    Sidecar(Sidecar),
}

impl Action {
    /// One line of a commit, without line feed. Field order is fixed; absent optional fields are left out.
    pub fn to_json_line(&self) -> String { todo!() }
    /// Reads one line strictly; `None` for an unknown action, `{}` and `{"add":null}`. Same rules and errors as
    /// [`crate::batch::LogBatch::from_json`].
    pub fn from_json_line(_line: &[u8]) -> Result<Option<Action>> { todo!() }
}

impl Protocol {
    /// (1,2), the oldest that Lakebed writes.
    pub fn legacy() -> Protocol { todo!() }
    /// Versions and lists agree, names once, reader features are writer features: `invalid-protocol`.
    pub fn check(&self) -> Result<()> { todo!() }
    /// Every feature that the protocol lists or that its legacy versions imply.
    pub fn features(&self) -> Vec<TableFeature> { todo!() }
    /// Does the protocol list or imply it?
    pub fn supports(&self, _feature: &TableFeature) -> bool { todo!() }
    /// The smallest protocol that allows `features` on top of this one.
    pub fn with_features(&self, _features: &[TableFeature]) -> Protocol { todo!() }
}

impl Metadata {
    /// Parses the schema: `invalid-schema`.
    pub fn schema(&self) -> Result<Schema> { todo!() }
    /// Provider, partition columns exist and are primitive, are not all columns: `invalid-metadata`.
    pub fn check(&self) -> Result<()> { todo!() }
}
