//! `Create`: makes a table.
//!
//! A new table asks for no more than its schema and its properties need, so that old readers and
//! writers go on working with it: protocol (1,2), unless a column type or a property belongs to a
//! newer feature. What this build could not write to afterwards is refused by name, before anything
//! is written.

use std::collections::{BTreeMap, BTreeSet};

use lakebed_log::action::{Metadata, Protocol};
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Intent;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::feature::{FeatureKind, TableFeature};
use lakebed_log::property::Properties;
use lakebed_log::schema::{DataType, PrimitiveType, Schema};
use lakebed_log::segment::LogSegment;
use lakebed_log::support::{self, MissingFeature};
use serde_json::{Map, Value as Json};

use crate::env::Env;
use crate::load;
use crate::txn::{self, Committed, Context, Staged};

/// Options of [`crate::Table::create`]. An inert value: building one does nothing.
///
/// ```
/// # use lakebed::{Create, Schema};
/// let schema = Schema::parse_ddl("id long not null, day date").unwrap();
/// let create = Create::new(schema)
///     .partition_by(["day"])
///     .property("delta.appendOnly", "true");
/// # let _ = create;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Create {
    schema: Schema,
    partition_columns: Vec<String>,
    properties: BTreeMap<String, String>,
    name: Option<String>,
    description: Option<String>,
}

impl Create {
    /// An empty table of a schema.
    ///
    /// ```
    /// # use lakebed::{Create, Schema};
    /// # let schema = Schema::parse_ddl("id long, day date").unwrap();
    /// let create = Create::new(schema);
    /// # let _ = create;
    /// ```
    pub fn new(schema: impl Into<Schema>) -> Create {
        Create {
            schema: schema.into(),
            partition_columns: Vec::new(),
            properties: BTreeMap::new(),
            name: None,
            description: None,
        }
    }

    /// Partition columns, in order. Defaults to none.
    ///
    /// ```
    /// # use lakebed::{Create, Schema};
    /// # let schema = Schema::parse_ddl("id long, day date").unwrap();
    /// let create = Create::new(schema).partition_by(["day"]);
    /// # let _ = create;
    /// ```
    pub fn partition_by<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Create {
        Create { partition_columns: columns.into_iter().map(Into::into).collect(), ..self }
    }

    /// A table property. `delta.feature.<name>` with the value `supported`,
    /// `delta.minReaderVersion` and `delta.minWriterVersion` shape the protocol and are not kept as
    /// properties.
    ///
    /// ```
    /// # use lakebed::{Create, Schema};
    /// # let schema = Schema::parse_ddl("id long, day date").unwrap();
    /// let create = Create::new(schema).property("delta.appendOnly", "true");
    /// # let _ = create;
    /// ```
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Create {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// For people. Defaults to none.
    ///
    /// ```
    /// # use lakebed::{Create, Schema};
    /// # let schema = Schema::parse_ddl("id long, day date").unwrap();
    /// let create = Create::new(schema).name("events");
    /// # let _ = create;
    /// ```
    pub fn name(self, name: impl Into<String>) -> Create {
        Create { name: Some(name.into()), ..self }
    }

    /// For people. Defaults to none.
    ///
    /// ```
    /// # use lakebed::{Create, Schema};
    /// # let schema = Schema::parse_ddl("id long, day date").unwrap();
    /// let create = Create::new(schema).description("one row a click");
    /// # let _ = create;
    /// ```
    pub fn description(self, text: impl Into<String>) -> Create {
        Create { description: Some(text.into()), ..self }
    }

    pub(crate) fn properties(self, properties: BTreeMap<String, String>) -> Create {
        Create { properties, ..self }
    }

    /// What the first commit of such a table holds. Checks everything that can be checked without
    /// a request.
    pub(crate) fn plan(&self, env: &Env) -> Result<NewTable> {
        let partition_columns = self.check_partition_columns()?;
        let asked = Asked::new(&self.properties)?;
        Properties::check_set(&asked.configuration, &self.schema)?;

        let mut features = asked.features;
        if self.schema.fields().iter().any(|it| holds(&it.data_type, PrimitiveType::TimestampNtz)) {
            features.push(TableFeature::TimestampNtz);
        }
        let protocol = Protocol::legacy().with_features(&features);
        let protocol = at_least(protocol, asked.min_reader, asked.min_writer)?;
        let metadata = Metadata {
            id: env.id().to_string(),
            name: self.name.clone(),
            description: self.description.clone(),
            format_provider: "parquet".into(),
            format_options: BTreeMap::new(),
            schema_string: self.schema.to_json(),
            partition_columns,
            configuration: asked.configuration,
            created_time: Some(env.now().as_millis()),
        };
        protocol.check()?;
        metadata.check()?;
        support::readable(&protocol, &metadata)?;
        support::writable(&protocol, &metadata, &self.schema)?;
        let properties = Properties::read(&metadata.configuration);
        Ok(NewTable { protocol, metadata, schema: self.schema.clone(), properties })
    }

    /// As the schema spells them.
    fn check_partition_columns(&self) -> Result<Vec<String>> {
        let fields = self.schema.fields();
        if fields.is_empty() {
            return Err(Error::invalid("a table needs at least one column"));
        }
        let mut columns: Vec<String> = Vec::new();
        for name in &self.partition_columns {
            let Some(field) = self.schema.field(name) else {
                let names: Vec<_> = fields.iter().map(|it| format!("`{}`", it.name)).collect();
                let what = format!(
                    "partition column `{name}` is not in the schema, which has {}",
                    names.join(", ")
                );
                return Err(Error::new(Code::UnknownColumn, what));
            };
            if !matches!(field.data_type, DataType::Primitive(_)) {
                let what =
                    format!("partition column `{name}` is nested; only primitive types can be");
                return Err(Error::invalid(what));
            }
            if columns.contains(&field.name) {
                return Err(Error::invalid(format!("partition column `{name}` is named twice")));
            }
            columns.push(field.name.clone());
        }
        if columns.len() == fields.len() {
            let what = "every column is a partition column; data files would have none";
            return Err(Error::invalid(what));
        }
        Ok(columns)
    }
}

/// A table that is not there yet.
pub(crate) struct NewTable {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Metadata,
    pub(crate) schema: Schema,
    pub(crate) properties: Properties,
}

impl NewTable {
    /// Puts what makes the table into the first commit.
    pub(crate) fn stage(self, draft: &mut Draft) {
        draft.protocol = Some(self.protocol);
        draft.metadata = Some(self.metadata);
        draft.intent.protocol = true;
        draft.intent.metadata = true;
    }
}

/// The protocol that a table needs with these properties as well; `None` if it has it.
pub(crate) fn protocol_for(
    protocol: &Protocol,
    properties: &BTreeMap<String, String>,
) -> Result<Option<Protocol>> {
    let asked = Asked::new(properties)?;
    if asked.configuration.len() < properties.len() {
        let what = "features and protocol versions are asked for when a table is made";
        return Err(Error::invalid(what));
    }
    let wanted = protocol.with_features(&asked.features);
    Ok((wanted != *protocol).then_some(wanted))
}

/// Properties, taken apart into what is kept and what shapes the protocol.
struct Asked {
    configuration: BTreeMap<String, String>,
    features: Vec<TableFeature>,
    min_reader: i32,
    min_writer: i32,
}

/// Properties that switch a feature on when they are `true`.
const SWITCHES: &[(&str, TableFeature)] = &[
    ("delta.appendOnly", TableFeature::AppendOnly),
    ("delta.enableChangeDataFeed", TableFeature::ChangeDataFeed),
    ("delta.enableDeletionVectors", TableFeature::DeletionVectors),
    ("delta.enableIcebergCompatV1", TableFeature::IcebergCompatV1),
    ("delta.enableIcebergCompatV2", TableFeature::IcebergCompatV2),
    ("delta.enableInCommitTimestamps", TableFeature::InCommitTimestamp),
    ("delta.enableRowTracking", TableFeature::RowTracking),
    ("delta.enableTypeWidening", TableFeature::TypeWidening),
    ("delta.enableVariantShredding", TableFeature::VariantShredding),
];

impl Asked {
    fn new(properties: &BTreeMap<String, String>) -> Result<Asked> {
        let mut asked = Asked {
            configuration: BTreeMap::new(),
            features: Vec::new(),
            min_reader: 1,
            min_writer: 2,
        };
        for (key, value) in properties {
            match key.as_str() {
                "delta.minReaderVersion" => asked.min_reader = protocol_version(key, value, 3)?,
                "delta.minWriterVersion" => asked.min_writer = protocol_version(key, value, 7)?,
                _ => match key.strip_prefix("delta.feature.") {
                    Some(name) => asked.features.push(supported_feature(key, name, value)?),
                    None => {
                        if let Some(feature) = feature_of(key, value) {
                            check_writable(&feature, key)?;
                            asked.features.push(feature);
                        }
                        asked.configuration.insert(key.clone(), value.clone());
                    }
                },
            }
        }
        Ok(asked)
    }
}

/// The feature that a property switches on.
fn feature_of(key: &str, value: &str) -> Option<TableFeature> {
    let on = value.eq_ignore_ascii_case("true");
    match key {
        "delta.columnMapping.mode" => {
            (!value.eq_ignore_ascii_case("none")).then_some(TableFeature::ColumnMapping)
        }
        "delta.checkpointPolicy" => {
            value.eq_ignore_ascii_case("v2").then_some(TableFeature::V2Checkpoint)
        }
        _ if key.starts_with("delta.constraints.") => Some(TableFeature::CheckConstraints),
        _ => SWITCHES.iter().find(|it| on && it.0 == key).map(|it| it.1.clone()),
    }
}

fn supported_feature(key: &str, name: &str, value: &str) -> Result<TableFeature> {
    if !matches!(value, "supported" | "enabled") {
        let what = format!("`{key}` is `{value}`; the one value it may have is `supported`");
        return Err(Error::invalid(what));
    }
    match TableFeature::parse(name) {
        TableFeature::Unknown(name) => {
            Err(missing(TableFeature::Unknown(name), &format!("property `{key}`")))
        }
        feature => Ok(feature),
    }
}

fn check_writable(feature: &TableFeature, key: &str) -> Result<()> {
    match feature.can_write() {
        true => Ok(()),
        false => Err(missing(feature.clone(), &format!("property `{key}`"))),
    }
}

fn missing(feature: TableFeature, asked_by: &str) -> Error {
    let what = format!("{asked_by} needs the feature `{feature}`, which this build cannot write");
    let payload = MissingFeature { feature, to_read: false };
    Error::new(Code::UnsupportedProtocol, what).with_payload(payload)
}

fn protocol_version(key: &str, value: &str, max: i32) -> Result<i32> {
    match value.parse() {
        Ok(it) if (1..=max).contains(&it) => Ok(it),
        _ => Err(Error::invalid(format!("`{key}` is `{value}`, not a number from 1 to {max}"))),
    }
}

/// Raises the versions, and goes over to lists of features where the raised ones demand it.
fn at_least(protocol: Protocol, reader: i32, writer: i32) -> Result<Protocol> {
    let min_reader_version = protocol.min_reader_version.max(reader);
    let min_writer_version = protocol.min_writer_version.max(writer);
    if min_reader_version == 3 && min_writer_version < 7 {
        let what = "`delta.minReaderVersion` 3 needs `delta.minWriterVersion` 7";
        return Err(Error::invalid(what));
    }
    let features = protocol.features();
    let for_readers = features.iter().filter(|it| it.kind() == Some(FeatureKind::ReaderWriter));
    let reader_features = match min_reader_version {
        3 => Some(protocol.reader_features.unwrap_or_else(|| for_readers.cloned().collect())),
        _ => None,
    };
    let writer_features = match min_writer_version {
        7 => Some(protocol.writer_features.unwrap_or(features)),
        _ => None,
    };
    Ok(Protocol { min_reader_version, min_writer_version, reader_features, writer_features })
}

/// Is there a column or field of this type anywhere in it?
pub(crate) fn holds(data_type: &DataType, wanted: PrimitiveType) -> bool {
    match data_type {
        DataType::Primitive(it) => *it == wanted,
        DataType::Struct(it) => it.fields().iter().any(|it| holds(&it.data_type, wanted)),
        DataType::Array(it) => holds(&it.element, wanted),
        DataType::Map(it) => holds(&it.key, wanted) || holds(&it.value, wanted),
    }
}

/// Makes the table. One LIST, because log cleanup may have made version 0 of an old table absent,
/// and one PUT.
pub(crate) async fn create(context: &Context, options: &Create) -> Result<Committed> {
    let new = options.plan(&context.env)?;
    let place = context.store.location();
    let listed = load::list(&context.op, &context.store, None);
    let files = context.bounded("listing the log", listed).await?;
    match LogSegment::new(files, None, &[]) {
        Err(it) if it.code() == Code::NotATable => {}
        _ => return Err(exists().at(place)),
    }
    let mut draft = Draft {
        txn_id: context.env.id().to_string(),
        operation: "CREATE TABLE".into(),
        parameters: parameters(&new.metadata),
        intent: Intent::default(),
        ..Draft::default()
    };
    new.stage(&mut draft);
    match txn::commit_staged(context, None, Staged::new(draft)?).await {
        Err(it) if txn::is_creation_lost(&it) => Err(exists().at(place).because(it)),
        done => done.map(|it| it.logged("create", context)),
    }
}

pub(crate) fn exists() -> Error {
    Error::new(Code::TableExists, "there is a table already")
}

fn parameters(metadata: &Metadata) -> Map<String, Json> {
    let mut parameters = Map::new();
    let properties = Json::from_iter(metadata.configuration.clone());
    parameters.insert("isManaged".into(), "false".into());
    parameters.insert("description".into(), metadata.description.clone().into());
    parameters.insert("partitionBy".into(), json_text(&metadata.partition_columns).into());
    parameters.insert("properties".into(), properties.to_string().into());
    parameters
}

/// A list of names as JSON text, which is how `operationParameters` holds lists.
pub(crate) fn json_text(names: &[String]) -> String {
    Json::from(names.to_vec()).to_string()
}

/// Names in one list and not in the other, for messages.
pub(crate) fn absent<'a>(names: impl Iterator<Item = &'a str>, schema: &Schema) -> Vec<String> {
    let absent: BTreeSet<_> = names.filter(|it| schema.field(it).is_none()).collect();
    absent.into_iter().map(|it| format!("`{it}`")).collect()
}
