//! The actions as structs, to and from one JSON line.
//!
//! A commit is a list of actions, one JSON object per line. As structs they are for writing, for
//! tests, and for the kinds of which a table has few: protocol, metadata, transactions, domains.
//! Files, of which a table has millions, stay columns (`batch`) and become an [`Add`] only one at a
//! time.
//!
//! Lines are read by one strict decoder, shared with `batch`. They are written with the fields in
//! the order in which Spark writes them and without the optional ones that are absent, so that
//! equal actions are equal bytes.

mod decode;
mod encode;
mod json;
mod rows;
mod vector;

use std::collections::BTreeMap;

use hashbrown::HashSet;
use serde_json::{Map, Value as Json};

use crate::error::{Code, Error, Result};
use crate::feature::{FeatureKind, TableFeature};
use crate::schema::{ColumnMapping, DataType, Schema};

pub(crate) use decode::{Row, Wanted, invalid, line};
pub(crate) use json::{Parser, short};
pub use vector::VectorBytes;

pub(crate) use rows::{AddRow, Entries, RemoveRow, VectorRow};

/// `engineInfo` of every commit we make.
pub const ENGINE_INFO: &str = concat!("Lakebed/", env!("CARGO_PKG_VERSION"));

/// A map of strings whose values may be null.
pub type NullableMap = BTreeMap<String, Option<String>>;

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
    pub partition_values: NullableMap,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    pub stats: Option<String>,
    pub tags: Option<NullableMap>,
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
    pub partition_values: Option<NullableMap>,
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

/// A change data file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct AddCdc {
    pub path: String,
    pub partition_values: NullableMap,
    pub size: i64,
    pub data_change: bool,
    pub tags: Option<NullableMap>,
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

/// A file of a V2 checkpoint that holds file actions.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Sidecar {
    pub path: String,
    pub size_in_bytes: i64,
    pub modification_time: i64,
    pub tags: Option<NullableMap>,
}

/// Marks a V2 checkpoint.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct CheckpointMetadata {
    pub version: i64,
    pub tags: Option<NullableMap>,
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

impl DeletionVector {
    /// Storage type, path, and `@offset` if there is one. Together with the path of the data file
    /// it names a logical file.
    ///
    /// ```
    /// use lakebed_log::action::DeletionVector;
    ///
    /// let vector = DeletionVector {
    ///     storage_type: "u".to_string(),
    ///     path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".to_string(),
    ///     offset: Some(4),
    ///     size_in_bytes: 40,
    ///     cardinality: 6,
    /// };
    /// assert_eq!(vector.unique_id(), "uab^-aqEH.-t@S}K{vb[*k^@4");
    /// ```
    pub fn unique_id(&self) -> String {
        unique_id(&self.storage_type, &self.path_or_inline_dv, self.offset)
    }
}

/// The unique id of a vector by its parts.
pub(crate) fn unique_id(storage_type: &str, path: &str, offset: Option<i32>) -> String {
    match offset {
        Some(offset) => format!("{storage_type}{path}@{offset}"),
        None => format!("{storage_type}{path}"),
    }
}

impl CommitInfo {
    /// A text field.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Json::as_str)
    }

    /// An integer field.
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.fields.get(key).and_then(Json::as_i64)
    }

    /// `txnId`: whose commit it is.
    pub fn txn_id(&self) -> Option<&str> {
        self.text("txnId")
    }

    /// `inCommitTimestamp`, milliseconds.
    pub fn in_commit_timestamp(&self) -> Option<i64> {
        self.integer("inCommitTimestamp")
    }
}

impl Action {
    /// One line of a commit, without line feed. Field order is fixed; absent optional fields are
    /// left out.
    ///
    /// ```
    /// use lakebed_log::action::{Action, SetTransaction};
    ///
    /// let txn = SetTransaction { app_id: "ingest".to_string(), version: 7, last_updated: None };
    /// let line = Action::SetTransaction(txn).to_json_line();
    /// assert_eq!(line, r#"{"txn":{"appId":"ingest","version":7}}"#);
    /// ```
    pub fn to_json_line(&self) -> String {
        encode::line(self)
    }

    /// Reads one line strictly; `None` for an unknown action, `{}` and `{"add":null}`.
    ///
    /// ```
    /// use lakebed_log::action::Action;
    ///
    /// # fn main() -> lakebed_log::error::Result<()> {
    /// let line = br#"{"txn":{"appId":"ingest","version":7,"someday":true}}"#;
    /// assert!(matches!(Action::from_json_line(line)?, Some(Action::SetTransaction(_))));
    /// assert_eq!(Action::from_json_line(br#"{"someday":{}}"#)?, None);
    /// assert!(Action::from_json_line(br#"{"txn":{"appId":"ingest","version":7.0}}"#).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `corrupt-log` if the bytes are not exactly one JSON object or give a key twice at any depth,
    /// `limit-exceeded` if they are nested too deep, and `invalid-action`, `invalid-protocol`,
    /// `invalid-metadata` or `invalid-schema` if the action breaks the rules of its kind.
    pub fn from_json_line(line: &[u8]) -> Result<Option<Action>> {
        let text = std::str::from_utf8(line)
            .map_err(|it| Error::new(Code::CorruptLog, "the line is not UTF-8").because(it))?;
        let mut parser = Parser::new(text);
        let row = decode::line(&mut parser, Wanted { files: true, stats: true })?;
        if !parser.end_line() || !parser.is_done() {
            return Err(Error::new(Code::CorruptLog, "something follows the object of the line"));
        }
        Ok(match row {
            Row::Add(row) => Some(Action::Add(row.into())),
            Row::Remove(row) => Some(Action::Remove(row.into())),
            Row::Other(action) => action.map(|it| *it),
            Row::Unwanted => None,
        })
    }
}

impl Protocol {
    /// (1,2), the oldest that Lakebed writes.
    pub fn legacy() -> Protocol {
        Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        }
    }

    /// Versions and lists agree, and every reader feature is a writer feature. Versions above the
    /// ones that have a meaning today pass: they are sound, and it is for the gate to refuse them.
    ///
    /// A feature for readers that stands in the writers' list alone passes too, because tables with
    /// column mapping are written that way; the gate looks at both lists.
    ///
    /// # Errors
    ///
    /// `invalid-protocol`.
    pub fn check(&self) -> Result<()> {
        let (reader, writer) = (self.min_reader_version, self.min_writer_version);
        let bad = |what: String| Err(Error::new(Code::InvalidProtocol, what));
        if reader < 1 || writer < 1 {
            return bad(format!("protocol ({reader},{writer}) has a version below 1"));
        }
        if 3 < reader {
            // Nobody here knows what its lists mean; the gate refuses it by its version.
            return Ok(());
        }
        let lists = [
            ("readerFeatures", "minReaderVersion", reader, 3, &self.reader_features),
            ("writerFeatures", "minWriterVersion", writer, 7, &self.writer_features),
        ];
        for (list, key, version, least, features) in lists {
            if version == least && features.is_none() {
                return bad(format!("`{key}` is {version} and there is no `{list}`"));
            }
            if version < least && features.is_some() {
                return bad(format!("`{list}` is there and `{key}` is {version}, not {least}"));
            }
        }
        if reader == 3 && writer < 7 {
            return bad(format!(
                "`minReaderVersion` is 3 and `minWriterVersion` is {writer}, not 7"
            ));
        }
        let writers: HashSet<_> = self.writer_features.iter().flatten().collect();
        let mut readers = self.reader_features.iter().flatten();
        if let Some(feature) = readers.find(|it| !writers.contains(it)) {
            let shown = short(feature.name());
            return bad(format!(
                "feature `{shown}` is in `readerFeatures` and not in `writerFeatures`"
            ));
        }
        Ok(())
    }

    /// Every feature that the protocol lists or that its legacy versions imply.
    ///
    /// ```
    /// use lakebed_log::action::Protocol;
    /// use lakebed_log::feature::TableFeature;
    ///
    /// let implied = [TableFeature::AppendOnly, TableFeature::Invariants];
    /// assert_eq!(Protocol::legacy().features(), implied);
    /// ```
    pub fn features(&self) -> Vec<TableFeature> {
        let mut features = match &self.writer_features {
            Some(listed) => listed.clone(),
            None => self.implied().collect(),
        };
        let seen: HashSet<_> = features.iter().cloned().collect();
        let readers = self.reader_features.iter().flatten();
        features.extend(readers.filter(|it| !seen.contains(*it)).cloned());
        features
    }

    /// The features of a protocol without lists.
    fn implied(&self) -> impl Iterator<Item = TableFeature> {
        let (reader, writer) = (self.min_reader_version, self.min_writer_version);
        TableFeature::known().filter(move |it| {
            it.legacy()
                .is_some_and(|(least, writer_least)| least <= reader && writer_least <= writer)
        })
    }

    /// Does the protocol list or imply it, under its own or an older name?
    pub fn supports(&self, feature: &TableFeature) -> bool {
        self.features().iter().any(|it| it.stable() == feature.stable())
    }

    /// The smallest protocol that allows `features`, and what they require, on top of this one. It
    /// keeps everything that this one allows.
    ///
    /// ```
    /// use lakebed_log::action::Protocol;
    /// use lakebed_log::feature::TableFeature;
    ///
    /// let table = Protocol::legacy();
    /// let old = table.with_features(&[TableFeature::CheckConstraints]);
    /// assert_eq!((old.min_reader_version, old.min_writer_version), (1, 3));
    /// let new = table.with_features(&[TableFeature::TimestampNtz]);
    /// assert_eq!((new.min_reader_version, new.min_writer_version), (3, 7));
    /// ```
    pub fn with_features(&self, features: &[TableFeature]) -> Protocol {
        let mut all = self.features();
        let mut wanted = features.to_vec();
        while let Some(feature) = wanted.pop() {
            if !all.iter().any(|it| it.stable() == feature.stable()) {
                wanted.extend_from_slice(feature.requires());
                all.push(feature);
            }
        }
        let old = self.features().len();
        if let Some(new) = all.get_mut(old..) {
            new.sort();
        }
        if all.len() == old {
            return self.clone();
        }
        if self.writer_features.is_none() && all.iter().all(|it| it.legacy().is_some()) {
            let levels = || all.iter().filter_map(TableFeature::legacy);
            let reader = levels().map(|it| it.0).fold(self.min_reader_version, i32::max);
            let writer = levels().map(|it| it.1).fold(self.min_writer_version, i32::max);
            return Protocol {
                min_reader_version: reader,
                min_writer_version: writer,
                reader_features: None,
                writer_features: None,
            };
        }
        self.listing(all)
    }

    /// A protocol that lists `all`, with no older reader version than this one has.
    fn listing(&self, all: Vec<TableFeature>) -> Protocol {
        let for_readers = |it: &TableFeature| {
            it.kind() == Some(FeatureKind::ReaderWriter)
                || self.reader_features.as_ref().is_some_and(|listed| listed.contains(it))
        };
        let needs_list = |it: &TableFeature| for_readers(it) && it.legacy().is_none();
        let readers_list = self.min_reader_version >= 3 || all.iter().any(needs_list);
        let maps = all.contains(&TableFeature::ColumnMapping);
        let legacy_reader = if maps { 2 } else { self.min_reader_version };
        Protocol {
            min_reader_version: if readers_list { 3 } else { legacy_reader },
            min_writer_version: 7,
            reader_features: readers_list
                .then(|| all.iter().filter(|it| for_readers(it)).cloned().collect()),
            writer_features: Some(all),
        }
    }
}

impl Metadata {
    /// Parses the schema.
    ///
    /// # Errors
    ///
    /// `invalid-schema`, and `limit-exceeded` for one too deep or too wide.
    pub fn schema(&self) -> Result<Schema> {
        Schema::from_json(&self.schema_string)
    }

    /// The provider is Parquet; every partition column is a column of the schema, of a primitive
    /// type and named once; a column is left that is not one; the column mapping mode is one that
    /// the protocol names.
    ///
    /// # Errors
    ///
    /// `invalid-metadata`, or what [`Metadata::schema`] fails with.
    pub fn check(&self) -> Result<()> {
        self.checked().map(|_| ())
    }

    /// The same, and the schema that was parsed for it: that of a wide table is not small.
    pub(crate) fn checked(&self) -> Result<Schema> {
        let bad = |what: String| Err(Error::new(Code::InvalidMetadata, what));
        if self.format_provider != "parquet" {
            let shown = short(&self.format_provider);
            return bad(format!("`metaData.format.provider` is `{shown}`, not `parquet`"));
        }
        if let Some(mode) = self.configuration.get("delta.columnMapping.mode")
            && ColumnMapping::parse(mode).is_none()
        {
            let shown = short(mode);
            return bad(format!("`delta.columnMapping.mode` is `{shown}`, not none, name or id"));
        }
        let schema = self.schema()?;
        let mut seen = HashSet::with_capacity(self.partition_columns.len());
        for name in &self.partition_columns {
            let shown = short(name);
            // By its exact name: values are looked up by it in every file.
            let Some(field) = schema.fields().iter().find(|it| it.name == *name) else {
                return bad(format!("partition column `{shown}` is not a column of the schema"));
            };
            if !matches!(field.data_type, DataType::Primitive(_)) {
                return bad(format!("partition column `{shown}` is not of a primitive type"));
            }
            if !seen.insert(name) {
                return bad(format!("partition column `{shown}` is named twice"));
            }
        }
        let partitioned = seen.len();
        if 0 < partitioned && partitioned == schema.fields().len() {
            return bad("every column is a partition column; one must be left for the data".into());
        }
        Ok(schema)
    }
}

#[cfg(test)]
pub(crate) mod tests;
