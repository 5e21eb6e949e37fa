//! May this build read or write this table? Gives a permit or says which feature is missing.
//!
//! The permits are the point: what reads and what writes takes one as an argument, and they are made
//! here only, so that no path through the engine forgets to ask. A refusal names the feature, because
//! "unsupported table" tells nobody what to do.
//!
//! ```text
//!                        readers' list    only in the writers' list     implied by an old version
//!   known, for readers   must be read     must be read                  only if the table uses it
//!   known, for writers   must be read     no matter to readers          only if the table uses it
//!   unknown              refused          no matter to readers
//! ```
//!
//! Column mapping is the exception: its mode in the properties says whether data files use it, and a
//! table that lists it with mode `none` reads as any other.

use serde_json::{Map, Value as Json};

use crate::action::{Metadata, Protocol};
use crate::error::{Code, Error, Result};
use crate::feature::{FeatureKind, TableFeature};
use crate::property::Properties;
use crate::schema::{DataType, PrimitiveType, Schema, StructType};

/// Proof that [`readable`] agreed.
#[derive(Clone, Copy, Debug)]
pub struct ReadPermit(());

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
/// let vectors = Protocol::legacy().with_features(&[TableFeature::DeletionVectors]);
/// let refused = support::readable(&vectors, &metadata).unwrap_err();
/// assert_eq!(refused.missing_feature().unwrap().feature, TableFeature::DeletionVectors);
/// ```
///
/// # Errors
///
/// `unsupported-protocol` names the feature, see [`Error::missing_feature`]; `invalid-protocol`,
/// `invalid-metadata` and `invalid-schema` if the table breaks the protocol's rules.
pub fn readable(protocol: &Protocol, metadata: &Metadata) -> Result<ReadPermit> {
    protocol.check()?;
    if protocol.min_reader_version > READER_VERSION_MAX {
        return Err(version("read", protocol.min_reader_version, READER_VERSION_MAX));
    }
    let listed = protocol.reader_features.iter().flatten();
    let for_readers = |it: &&TableFeature| it.kind() == Some(FeatureKind::ReaderWriter);
    let also = protocol.writer_features.iter().flatten().filter(for_readers);
    for feature in listed.chain(also) {
        if !feature.can_read() && *feature != TableFeature::ColumnMapping {
            return Err(missing(feature, true));
        }
    }
    let mode = metadata.configuration.get("delta.columnMapping.mode").map(String::as_str);
    if matches!(mode, Some("name" | "id")) {
        return Err(missing(&TableFeature::ColumnMapping, true));
    }
    metadata.check()?;
    let schema = metadata.schema()?;
    if let Some(feature) = type_feature(&schema)
        && !feature.can_read()
    {
        return Err(missing(&feature, true));
    }
    Ok(ReadPermit(()))
}

/// May this build write the table? At a legacy level only what the table really uses counts, and the same
/// for the features that are old enough to have one: what is there to obey in a table without constraints?
///
/// # Errors
///
/// Those of [`readable`], and `invalid-metadata` for a property that makes no sense.
pub fn writable(protocol: &Protocol, metadata: &Metadata, schema: &Schema) -> Result<WritePermit> {
    readable(protocol, metadata)?;
    if protocol.min_writer_version > WRITER_VERSION_MAX {
        return Err(version("write", protocol.min_writer_version, WRITER_VERSION_MAX));
    }
    let properties = Properties::read(&metadata.configuration);
    for feature in protocol.features() {
        if !feature.can_write() && is_used(&feature, &properties, schema) {
            return Err(missing(&feature, false));
        }
    }
    // A constraint binds whether or not the protocol says that there may be one.
    for feature in [
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
        "the table needs protocol version {needed} to {verb}, this build knows versions up to {highest}"
    );
    Error::new(Code::UnsupportedProtocol, what)
}

fn missing(feature: &TableFeature, to_read: bool) -> Error {
    let verb = if to_read { "read" } else { "write" };
    let name: String = feature.name().chars().take(80).flat_map(char::escape_debug).collect();
    let what =
        format!("the table needs feature `{name}` to {verb}, which this build does not have");
    Error::new(Code::UnsupportedProtocol, what)
        .with_payload(MissingFeature { feature: feature.clone(), to_read })
}

/// The feature that a table needs and this build lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeature {
    /// Which.
    pub feature: TableFeature,
    /// Needed to read, or only to write?
    pub to_read: bool,
}

impl Error {
    /// Which feature is missing, for `unsupported-protocol`; `None` where a whole version is.
    pub fn missing_feature(&self) -> Option<&MissingFeature> {
        self.payload()
    }
}
