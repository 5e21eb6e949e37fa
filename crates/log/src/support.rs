//! May this build read or write this table? Gives a permit or says which feature is missing.
//!
//! The permits are the point: what reads and what writes takes one as an argument, and they are
//! made here only, so that no path through the engine forgets to ask. A refusal names the feature,
//! because "unsupported table" tells nobody what to do.
//!
//! ```text
//!                        readers' list    only in the writers' list     implied by an old version
//!   known, for readers   must be read     must be read                  only if the table uses it
//!   known, for writers   must be read     no matter to readers          only if the table uses it
//!   unknown              refused          no matter to readers
//! ```
//!
//! Column mapping is used where its mode in the properties says so and the protocol allows it, see
//! [`column_mapping`]; a table that lists it with mode `none` reads as any other.

use serde_json::{Map, Value as Json};

use crate::action::{Metadata, Protocol};
use crate::error::{Code, Error, Result};
use crate::feature::{FeatureKind, TableFeature};
use crate::property::Properties;
use crate::schema::{ColumnMapping, DataType, PrimitiveType, Schema, StructType};
use crate::version::Version;

/// Proof that [`readable`] agreed.
#[derive(Clone, Copy, Debug)]
pub struct ReadPermit {
    access: Access,
}

/// How a table is come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// By its place alone: the files of the log are all that is known.
    #[default]
    Path,
    /// Through its catalog, which has said what is committed.
    Catalog,
}

impl ReadPermit {
    /// How the table was come by.
    pub fn access(&self) -> Access {
        self.access
    }
}

/// Proof that [`writable`] agreed.
#[derive(Clone, Copy, Debug)]
pub struct WritePermit(());

/// The highest reader version that has a meaning.
const READER_VERSION_MAX: i32 = 3;

/// The highest writer version that has a meaning.
const WRITER_VERSION_MAX: i32 = 7;

/// May this build read the table?
///
/// ```
/// use lakebed_log::action::{Metadata, Protocol};
/// use lakebed_log::feature::TableFeature;
/// use lakebed_log::support;
/// # let metadata = Metadata {
/// #     id: "x".to_string(), name: None, description: None,
/// #     format_provider: "parquet".to_string(), format_options: Default::default(),
/// #     schema_string: r#"{"type":"struct","fields":[]}"#.to_string(),
/// #     partition_columns: Vec::new(), configuration: Default::default(), created_time: None,
/// # };
///
/// assert!(support::readable(&Protocol::legacy(), &metadata).is_ok());
/// let newer = Protocol {
///     min_reader_version: 3,
///     min_writer_version: 7,
///     reader_features: Some(vec![TableFeature::parse("telepathy")]),
///     writer_features: Some(vec![TableFeature::parse("telepathy")]),
/// };
/// let refused = support::readable(&newer, &metadata).unwrap_err();
/// assert_eq!(refused.missing_feature().unwrap().feature.name(), "telepathy");
/// ```
///
/// # Errors
///
/// `unsupported-protocol` names the feature, see [`Error::missing_feature`]; `invalid-protocol`,
/// `invalid-metadata` and `invalid-schema` if the table breaks the protocol's rules.
pub fn readable(protocol: &Protocol, metadata: &Metadata) -> Result<ReadPermit> {
    readable_by(protocol, metadata, Access::Path)
}

/// The same where it matters how the table is come by: commits of a table that a catalog manages
/// may be known to the catalog alone, so that whoever goes by the log misses them.
///
/// # Errors
///
/// As [`readable`].
pub fn readable_by(protocol: &Protocol, metadata: &Metadata, access: Access) -> Result<ReadPermit> {
    admit(protocol, metadata, access).map(|it| it.read)
}

/// What the gate has found out of a table that may be read.
pub(crate) struct Admission {
    pub(crate) read: ReadPermit,
    pub(crate) schema: Schema,
    pub(crate) mapping: ColumnMapping,
}

/// As [`readable_by`]; the schema is parsed once.
pub(crate) fn admit(protocol: &Protocol, metadata: &Metadata, access: Access) -> Result<Admission> {
    protocol.check()?;
    if protocol.min_reader_version > READER_VERSION_MAX {
        let error = version("read", protocol.min_reader_version, READER_VERSION_MAX);
        return Err(error.with_payload(Unreadable::new(protocol, Vec::new())));
    }
    let lacks = lacking(protocol, access);
    if let Some(first) = lacks.first() {
        let error = if first.is_catalog_managed() { managed(first) } else { missing(first, true) };
        return Err(error.with_payload(Unreadable::new(protocol, lacks)));
    }
    let schema = metadata.checked()?;
    let mapping = column_mapping(protocol, metadata);
    mapping.check(&schema)?;
    if let Some(feature) = type_feature(&schema)
        && !feature.can_read()
    {
        let error = missing(&feature, true);
        return Err(error.with_payload(Unreadable::new(protocol, vec![feature])));
    }
    Ok(Admission { read: ReadPermit { access }, schema, mapping })
}

/// The features that keep this build from reading.
fn lacking(protocol: &Protocol, access: Access) -> Vec<TableFeature> {
    let for_readers = |it: &&TableFeature| {
        it.kind() == Some(FeatureKind::ReaderWriter) || it.is_misspelled_for_readers()
    };
    let listed = protocol.reader_features.iter().flatten();
    let also = protocol.writer_features.iter().flatten().filter(for_readers);
    let mut lacks = Vec::new();
    for feature in listed.chain(also) {
        let has = match feature.is_catalog_managed() {
            true => access == Access::Catalog,
            false => feature.can_read(),
        };
        if !has && !lacks.contains(feature) {
            lacks.push(feature.clone());
        }
    }
    lacks
}

/// How the data files of a table name its columns: as the mode says, if the protocol allows columns
/// to be mapped.
///
/// It does with reader version 2, and where either list names the feature: tables exist that have
/// it in the writers' list alone, and their files are written by physical names. Everywhere else
/// the mode has no meaning. A mode that nobody knows counts as none here; [`readable`] refuses it.
pub fn column_mapping(protocol: &Protocol, metadata: &Metadata) -> ColumnMapping {
    let lists = [&protocol.reader_features, &protocol.writer_features];
    let listed = || lists.into_iter().flatten().flatten();
    let allowed =
        protocol.min_reader_version == 2 || listed().any(|it| *it == TableFeature::ColumnMapping);
    let mode = metadata.configuration.get("delta.columnMapping.mode");
    match mode.and_then(|it| ColumnMapping::parse(it)) {
        Some(mapping) if allowed => mapping,
        _ => ColumnMapping::None,
    }
}

/// May this build write a checkpoint of the table? It repeats what is there, so most of what only
/// data can break does not matter to it; but what nobody here has heard of may.
///
/// # Errors
///
/// `unsupported-protocol`: writers are asked for a version or a feature that this build does not
/// know by name; or the table's catalog has the say, since a version may not be published yet.
pub fn checkpointable(protocol: &Protocol, permit: ReadPermit) -> Result<()> {
    if protocol.min_writer_version > WRITER_VERSION_MAX {
        return Err(version("write", protocol.min_writer_version, WRITER_VERSION_MAX));
    }
    let features = protocol.features();
    let is_protected = |it: &&TableFeature| {
        **it == TableFeature::CheckpointProtection
            || it.is_catalog_managed()
            || matches!(it, TableFeature::Unknown(_))
    };
    match features.iter().find(is_protected) {
        Some(feature) => Err(missing(feature, false)),
        None if permit.access() == Access::Catalog => Err(by_catalog()),
        None => Ok(()),
    }
}

/// A table that was opened through a catalog is not written: what lies in the log's folder need not
/// be what the catalog has ratified.
///
/// # Errors
///
/// `unsupported-protocol`.
pub fn refuse_catalog(permit: ReadPermit) -> Result<()> {
    match permit.access() {
        Access::Path => Ok(()),
        Access::Catalog => Err(by_catalog()),
    }
}

fn by_catalog() -> Error {
    let what = "the table is opened through its catalog, and this build does not write such tables";
    Error::new(Code::UnsupportedProtocol, what)
}

/// May this build write the table? At a legacy level only what the table really uses counts, and
/// the same for the features that are old enough to have one: what is there to obey in a table
/// without constraints?
///
/// # Errors
///
/// Those of [`readable`], and `invalid-metadata` for a property that makes no sense.
pub fn writable(protocol: &Protocol, metadata: &Metadata, schema: &Schema) -> Result<WritePermit> {
    readable(protocol, metadata)?;
    also_writable(protocol, metadata, schema)
}

/// The same of a table that is known to be readable.
pub(crate) fn also_writable(
    protocol: &Protocol,
    metadata: &Metadata,
    schema: &Schema,
) -> Result<WritePermit> {
    if protocol.min_writer_version > WRITER_VERSION_MAX {
        return Err(version("write", protocol.min_writer_version, WRITER_VERSION_MAX));
    }
    let properties = Properties::read(&metadata.configuration);
    for feature in protocol.features() {
        if !feature.can_write() && is_used(&feature, &properties, schema) {
            return Err(missing(&feature, false));
        }
    }
    if schema.fields().iter().any(|it| holds_interval(&it.data_type)) {
        let what = "the table has a column of type interval, which this build does not write";
        return Err(Error::new(Code::UnsupportedProtocol, what));
    }
    if let Some(feature) = type_feature(schema)
        && !feature.can_write()
    {
        return Err(missing(&feature, false));
    }
    // A constraint binds whether or not the protocol says that there may be one. A mode of column
    // mapping that means nothing today gets its meaning when the protocol is raised.
    for feature in [
        TableFeature::ColumnMapping,
        TableFeature::Invariants,
        TableFeature::CheckConstraints,
        TableFeature::GeneratedColumns,
        TableFeature::IdentityColumns,
        TableFeature::AllowColumnDefaults,
    ] {
        if !feature.can_write() && is_used(&feature, &properties, schema) {
            return Err(missing(&feature, false));
        }
    }
    Properties::check(&metadata.configuration)?;
    Ok(WritePermit(()))
}

/// Does a table that lists the feature use it? Where only the lists could tell, they do.
fn is_used(feature: &TableFeature, properties: &Properties, schema: &Schema) -> bool {
    match feature {
        TableFeature::Invariants => any_field(schema, &|it| it.contains_key("delta.invariants")),
        TableFeature::CheckConstraints => !properties.constraints.is_empty(),
        TableFeature::GeneratedColumns => {
            any_field(schema, &|it| it.contains_key("delta.generationExpression"))
        }
        TableFeature::IdentityColumns => {
            any_field(schema, &|it| it.keys().any(|key| key.starts_with("delta.identity.")))
        }
        TableFeature::AllowColumnDefaults => {
            any_field(schema, &|it| it.contains_key("CURRENT_DEFAULT"))
        }
        TableFeature::ColumnMapping => properties.column_mapping_mode != "none",
        _ => true,
    }
}

/// Does the metadata of any field, at any depth, match?
fn any_field(fields: &StructType, matches: &impl Fn(&Map<String, Json>) -> bool) -> bool {
    fields.fields().iter().any(|it| matches(&it.metadata) || any_inside(&it.data_type, matches))
}

fn any_inside(data_type: &DataType, matches: &impl Fn(&Map<String, Json>) -> bool) -> bool {
    match data_type {
        DataType::Primitive(_) => false,
        DataType::Struct(fields) => any_field(fields, matches),
        DataType::Array(array) => any_inside(&array.element, matches),
        DataType::Map(map) => any_inside(&map.key, matches) || any_inside(&map.value, matches),
    }
}

fn holds_interval(of: &DataType) -> bool {
    match of {
        DataType::Primitive(it) => matches!(it, PrimitiveType::Interval(_)),
        DataType::Struct(fields) => fields.fields().iter().any(|it| holds_interval(&it.data_type)),
        DataType::Array(array) => holds_interval(&array.element),
        DataType::Map(map) => holds_interval(&map.key) || holds_interval(&map.value),
    }
}

/// The feature behind a type that this build does not read.
fn type_feature(fields: &StructType) -> Option<TableFeature> {
    fields.fields().iter().find_map(|it| feature_of(&it.data_type))
}

fn feature_of(data_type: &DataType) -> Option<TableFeature> {
    match data_type {
        DataType::Primitive(PrimitiveType::Variant) => Some(TableFeature::VariantType),
        DataType::Primitive(_) => None,
        DataType::Struct(fields) => type_feature(fields),
        DataType::Array(array) => feature_of(&array.element),
        DataType::Map(map) => feature_of(&map.key).or_else(|| feature_of(&map.value)),
    }
}

fn version(verb: &str, needed: i32, highest: i32) -> Error {
    let what = format!(
        "the table needs protocol version {needed} to {verb}, this build knows up to {highest}"
    );
    Error::new(Code::UnsupportedProtocol, what)
}

fn missing(feature: &TableFeature, to_read: bool) -> Error {
    let verb = if to_read { "read" } else { "write" };
    let name: String = feature.name().chars().take(80).flat_map(char::escape_debug).collect();
    let what =
        format!("the table needs feature `{name}` to {verb}, which this build does not have");
    let payload = MissingFeature { feature: feature.clone(), to_read };
    Error::new(Code::UnsupportedProtocol, what).with_payload(payload)
}

fn managed(feature: &TableFeature) -> Error {
    let what = format!(
        "the table has feature `{feature}`: its newest commits may be known to its catalog alone, \
         so it is not read by its path; open it with the commits that the catalog gives"
    );
    Error::new(Code::UnsupportedProtocol, what)
}

/// The feature that a table needs and this build lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingFeature {
    /// Which.
    pub feature: TableFeature,
    /// Needed to read, or only to write?
    pub to_read: bool,
}

/// What is known of a table that this build cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// Its version, where one was to be read.
    pub version: Option<Version>,
    /// All that it needs.
    pub protocol: Protocol,
    /// What of it is missing; empty where it is the reader version itself, of which nobody here
    /// knows what it means.
    pub missing: Vec<MissingFeature>,
}

impl Unreadable {
    fn new(protocol: &Protocol, lacks: Vec<TableFeature>) -> Unreadable {
        let missing = lacks.into_iter().map(|feature| MissingFeature { feature, to_read: true });
        Unreadable { version: None, protocol: protocol.clone(), missing: missing.collect() }
    }
}

impl Error {
    /// Which feature is missing, for `unsupported-protocol`; `None` where a whole version is.
    pub fn missing_feature(&self) -> Option<&MissingFeature> {
        self.payload().or_else(|| self.unreadable()?.missing.first())
    }

    /// What is known of a table that cannot be read, for `unsupported-protocol`.
    ///
    /// ```
    /// use lakebed_log::action::{Metadata, Protocol};
    /// use lakebed_log::state::Head;
    /// use lakebed_log::version::Version;
    /// # let metadata = Metadata {
    /// #     id: "x".to_string(), name: None, description: None,
    /// #     format_provider: "parquet".to_string(), format_options: Default::default(),
    /// #     schema_string: r#"{"type":"struct","fields":[]}"#.to_string(),
    /// #     partition_columns: Vec::new(), configuration: Default::default(), created_time: None,
    /// # };
    ///
    /// let newer = Protocol { min_reader_version: 4, ..Protocol::legacy() };
    /// let refused = Head::new(Version::from(9), newer, metadata).unwrap_err();
    /// let known = refused.unreadable().unwrap();
    /// assert_eq!(known.version, Some(Version::from(9)));
    /// assert_eq!(known.protocol.min_reader_version, 4);
    /// ```
    pub fn unreadable(&self) -> Option<&Unreadable> {
        self.payload()
    }

    /// The same error, of this version of the table.
    pub(crate) fn of_version(self, version: Version) -> Error {
        match self.unreadable().cloned() {
            Some(it) => self.with_payload(Unreadable { version: Some(version), ..it }),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::feature::TableFeature as F;

    const PLAIN: &str = r#"{"name":"a","type":"long","nullable":true,"metadata":{}}"#;

    fn table(field: &str, properties: &[(&str, &str)]) -> Metadata {
        let owned = |it: &(&str, &str)| (it.0.to_string(), it.1.to_string());
        Metadata {
            id: "1".to_string(),
            name: None,
            description: None,
            format_provider: "parquet".to_string(),
            format_options: BTreeMap::new(),
            schema_string: format!("{{\"type\":\"struct\",\"fields\":[{field}]}}"),
            partition_columns: Vec::new(),
            configuration: properties.iter().map(owned).collect(),
            created_time: None,
        }
    }

    fn listed(readers: &[&str], writers: &[&str]) -> Protocol {
        let names = |it: &[&str]| it.iter().map(|it| F::parse(it)).collect::<Vec<_>>();
        Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(names(readers)),
            writer_features: Some(names(&[readers, writers].concat())),
        }
    }

    fn versions(min_reader_version: i32, min_writer_version: i32) -> Protocol {
        let lists = (min_writer_version >= 7).then(Vec::new);
        Protocol {
            min_reader_version,
            min_writer_version,
            reader_features: (min_reader_version >= 3).then(Vec::new),
            writer_features: lists,
        }
    }

    /// What hinders reading, and what writing: a feature, a code, or `ok`.
    #[track_caller]
    fn check(protocol: &Protocol, metadata: &Metadata, read: &str, write: &str) {
        let show = |outcome: Result<()>, to_read: Option<bool>| match outcome {
            Ok(()) => "ok".to_string(),
            Err(error) => match error.missing_feature() {
                Some(missing) => {
                    assert_eq!(error.code(), Code::UnsupportedProtocol);
                    assert!(error.message().contains(missing.feature.name()));
                    assert!(to_read.is_none_or(|it| it == missing.to_read));
                    missing.feature.to_string()
                }
                None => error.code().as_str().to_string(),
            },
        };
        let schema = metadata.schema().unwrap_or_default();
        assert_eq!(show(readable(protocol, metadata).map(drop), Some(true)), read);
        assert_eq!(show(writable(protocol, metadata, &schema).map(drop), None), write);
    }

    /// spec: FEAT-4, FEAT-5, FEAT-6, FEAT-11, FEAT-13, PROTO-8, PROTO-10
    #[test]
    fn by_the_protocol_alone() {
        let plain = table(PLAIN, &[]);
        let rows = [
            (versions(1, 1), "ok", "ok"),
            (Protocol::legacy(), "ok", "ok"),
            (versions(2, 6), "ok", "ok"),
            (versions(3, 7), "ok", "ok"),
            (versions(99, 7), "unsupported-protocol", "unsupported-protocol"),
            (versions(1, 8), "ok", "unsupported-protocol"),
            (versions(0, 0), "invalid-protocol", "invalid-protocol"),
            (listed(&["timestampNtz", "vacuumProtocolCheck"], &[]), "ok", "ok"),
            (listed(&[], &["domainMetadata", "inCommitTimestamp"]), "ok", "ok"),
            (listed(&["columnMapping"], &["changeDataFeed", "invariants"]), "ok", "ok"),
            (listed(&["deletionVectors"], &[]), "ok", "ok"),
            (listed(&["DeletionVectors"], &[]), "DeletionVectors", "DeletionVectors"),
            (listed(&["v2Checkpoint"], &[]), "ok", "ok"),
            (listed(&["catalogManaged"], &[]), "catalogManaged", "catalogManaged"),
            (
                listed(&["catalogOwned-preview"], &[]),
                "catalogOwned-preview",
                "catalogOwned-preview",
            ),
            (listed(&["typeWidening-preview"], &[]), "ok", "typeWidening-preview"),
            (listed(&["typeWidening"], &[]), "ok", "typeWidening"),
            (listed(&["variantType", "variantShredding-preview"], &[]), "ok", "variantType"),
            (listed(&["telepathy"], &[]), "telepathy", "telepathy"),
            (listed(&[], &["deletionVectors"]), "ok", "ok"),
            (listed(&[], &["DeletionVECTORS"]), "DeletionVECTORS", "DeletionVECTORS"),
            (listed(&[], &["APPENDOnly"]), "ok", "APPENDOnly"),
            (listed(&["timestampWithoutTimezone"], &[]), "ok", "timestampWithoutTimezone"),
            (listed(&[], &["inCommitTimestamp-preview"]), "ok", "inCommitTimestamp-preview"),
            (listed(&[], &["liquid"]), "ok", "liquid"),
            (listed(&[], &["collations-preview"]), "ok", "collations-preview"),
            (listed(&["geospatial"], &[]), "geospatial", "geospatial"),
            (listed(&["adaptiveMetadata"], &[]), "adaptiveMetadata", "adaptiveMetadata"),
            (listed(&[], &["telepathy"]), "ok", "telepathy"),
            (listed(&[], &["rowTracking"]), "ok", "rowTracking"),
            (listed(&[], &["clustering"]), "ok", "clustering"),
            (listed(&[], &["icebergCompatV2"]), "ok", "icebergCompatV2"),
            (listed(&[], &["checkpointProtection"]), "ok", "checkpointProtection"),
            (listed(&[], &["materializePartitionColumns"]), "ok", "materializePartitionColumns"),
        ];
        for (protocol, read, write) in rows {
            check(&protocol, &plain, read, write);
        }
    }

    /// spec: CAT-1, CAT-7
    #[test]
    fn through_a_catalog() {
        let plain = table(PLAIN, &[]);
        for name in ["catalogManaged", "catalogOwned", "catalogOwned-preview"] {
            let protocol = listed(&[name, "vacuumProtocolCheck"], &["inCommitTimestamp"]);
            let permit = readable_by(&protocol, &plain, Access::Catalog).unwrap();
            assert_eq!(permit.access(), Access::Catalog);
            check(&protocol, &plain, name, name);
        }
        let other = listed(&["catalogManaged", "telepathy"], &["telepathy", "DELETIONvectors"]);
        let lacks = |access| {
            let refused = readable_by(&other, &plain, access).unwrap_err();
            let lacks = refused.unreadable().unwrap().missing.clone();
            lacks.iter().map(|it| it.feature.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(lacks(Access::Path), ["catalogManaged", "telepathy", "DELETIONvectors"]);
        assert_eq!(lacks(Access::Catalog), ["telepathy", "DELETIONvectors"]);
        let refused = readable_by(&other, &plain, Access::Catalog).unwrap_err();
        assert_eq!(refused.missing_feature().unwrap().feature.name(), "telepathy");
    }

    /// spec: FEAT-7, FEAT-8, FEAT-9, FEAT-10, PROP-2, PROP-3
    #[test]
    fn by_what_the_table_uses() {
        let field = |metadata: &str| PLAIN.replace("{}", &format!("{{{metadata}}}"));
        let inside = |metadata: &str| {
            let inner = field(metadata);
            let array = format!(r#"{{"type":"struct","fields":[{inner}]}}"#);
            let outer = format!(r#"{{"type":"array","elementType":{array},"containsNull":true}}"#);
            format!(r#"{{"name":"s","type":{outer},"nullable":true,"metadata":{{}}}}"#)
        };
        let unmapped = [("delta.columnMapping.mode", "none")];
        let unknown = [("delta.columnMapping.mode", "telepathy")];
        let checked = [("delta.constraints.c", "a > 0")];
        let banana = [("delta.logRetentionDuration", "interval banana")];
        let invariant = r#""delta.invariants":"a < 3""#;
        let generated = r#""delta.generationExpression":"b + 1""#;
        let identity = r#""delta.identity.start":1"#;
        let default = r#""CURRENT_DEFAULT":"7""#;
        let variant = PLAIN.replace("long", "variant");
        let interval = PLAIN.replace("long", "interval day to second");
        let odd = PLAIN.replace("long", "hyperlong");
        let rows = [
            (table(PLAIN, &unmapped), "ok", "ok"),
            (table(PLAIN, &unknown), "invalid-metadata", "invalid-metadata"),
            (table(PLAIN, &checked), "ok", "checkConstraints"),
            (table(PLAIN, &banana), "ok", "invalid-metadata"),
            (table(PLAIN, &[("delta.enableChangeDataFeed", "true")]), "ok", "ok"),
            (table(&field(invariant), &[]), "ok", "invariants"),
            (table(&inside(invariant), &[]), "ok", "invariants"),
            (table(&field(generated), &[]), "ok", "generatedColumns"),
            (table(&field(identity), &[]), "ok", "identityColumns"),
            (table(&field(default), &[]), "ok", "allowColumnDefaults"),
            (table(&variant, &[]), "ok", "variantType"),
            (table(&interval, &[]), "ok", "unsupported-protocol"),
            (table(&odd, &[]), "invalid-schema", "invalid-schema"),
        ];
        for (metadata, read, write) in &rows {
            for protocol in [versions(2, 6), versions(1, 2), listed(&["columnMapping"], &[])] {
                check(&protocol, metadata, read, write);
            }
        }
    }

    /// spec: MAP-1, MAP-2, MAP-3, MAP-15, FEAT-9, PROTO-10
    #[test]
    fn columns_are_mapped_where_the_protocol_allows_it() {
        let ids = |id: i32, name: &str| {
            let metadata = format!(
                "{{\"delta.columnMapping.id\":{id},\"delta.columnMapping.physicalName\":\"{name}\"}}"
            );
            PLAIN.replace("{}", &metadata)
        };
        let two = |id, name| [ids(1, "p"), ids(id, name).replace("\"a\"", "\"b\"")].join(",");
        let old = Protocol { writer_features: Some(vec![F::ColumnMapping]), ..versions(2, 7) };
        let rows = [
            (versions(1, 2), false),
            (versions(1, 7), false),
            (versions(3, 7), false),
            (versions(2, 5), true),
            (versions(2, 2), true),
            (versions(2, 7), true),
            (old, true),
            (listed(&["columnMapping"], &[]), true),
            (listed(&[], &["columnMapping"]), true),
        ];
        for (protocol, allowed) in rows {
            let modes = [
                ("name", ColumnMapping::Name),
                ("ID", ColumnMapping::Id),
                ("none", ColumnMapping::None),
            ];
            for (mode, mapping) in modes {
                let used = mapping != ColumnMapping::None;
                let write = if used { "columnMapping" } else { "ok" };
                let mode = [("delta.columnMapping.mode", mode)];
                let sound = table(&two(2, "q"), &mode);
                let expected = if allowed { mapping } else { ColumnMapping::None };
                assert_eq!(column_mapping(&protocol, &sound), expected, "{protocol:?}");
                check(&protocol, &sound, "ok", write);
                for broken in [two(1, "q"), two(2, "p"), PLAIN.to_string()] {
                    let broken = table(&broken, &mode);
                    match used && allowed {
                        true => check(&protocol, &broken, "invalid-schema", "invalid-schema"),
                        false => check(&protocol, &broken, "ok", write),
                    }
                }
            }
            let none = table(PLAIN, &[]);
            assert_eq!(column_mapping(&protocol, &none), ColumnMapping::None);
        }
    }
}
