//! One line of the log to one action.
//!
//! File actions come out as rows that borrow from the line, because a table has millions of them
//! and they go on into columns; the rest are few and come out as the structs that they are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::action::json::{Kind, Parser, short};
use crate::action::rows::{AddRow, Entries, RemoveRow, VectorRow, owned};
use crate::action::{
    Action, AddCdc, CheckpointMetadata, CommitInfo, DomainMetadata, Metadata, Protocol,
    SetTransaction, Sidecar,
};
use crate::error::{Code, Error, Result};
use crate::feature::TableFeature;
use crate::limits::STATS_BYTES_MAX;

/// What of file actions to hand out; all of a line is checked in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// File actions at all?
    pub(crate) files: bool,
    /// Statistics and tags?
    pub(crate) stats: bool,
}

/// What a line holds.
#[derive(Debug)]
pub(crate) enum Row<'a> {
    /// A file that joins.
    Add(AddRow<'a>),
    /// A file that leaves.
    Remove(RemoveRow<'a>),
    /// Any other action, or nothing.
    Other(Option<Box<Action>>),
    /// A file action that was not wanted.
    Unwanted,
}

/// Reads the object that a line holds, up to its closing bracket.
///
/// # Errors
///
/// `corrupt-log` for what is not one JSON object or gives a key twice at any depth,
/// `limit-exceeded` past the depth allowed, `invalid-action`, `invalid-protocol`,
/// `invalid-metadata` and `invalid-schema` for an action that breaks the rules of its kind.
pub(crate) fn line<'a>(parser: &mut Parser<'a>, wanted: Wanted) -> Result<Row<'a>> {
    if parser.kind()? != Kind::Object {
        parser.skip()?;
        return Err(Error::new(Code::CorruptLog, "the line is not a JSON object"));
    }
    let mut found: Option<(String, Row<'a>)> = None;
    parser.object(|it, name| {
        if it.kind()? == Kind::Null {
            return it.null();
        }
        let Some(row) = action(it, name, wanted)? else {
            return Ok(());
        };
        if let Some((first, _)) = &found {
            return Err(invalid(format!("the line holds two actions, `{first}` and `{name}`")));
        }
        found = Some((name.to_string(), row));
        Ok(())
    })?;
    Ok(found.map_or(Row::Other(None), |(_, row)| row))
}

/// Reads the action called `name`; `None` if there is no such action.
fn action<'a>(parser: &mut Parser<'a>, name: &str, wanted: Wanted) -> Result<Option<Row<'a>>> {
    let other = match name {
        "add" | "remove" | "cdc" if !wanted.files => {
            parser.skip()?;
            return Ok(Some(Row::Unwanted));
        }
        "add" => return Ok(Some(Row::Add(add(parser, wanted)?))),
        "remove" => return Ok(Some(Row::Remove(remove(parser)?))),
        "cdc" => Action::AddCdc(cdc(parser)?),
        "protocol" => {
            Action::Protocol(protocol(parser).map_err(|it| recode(it, Code::InvalidProtocol))?)
        }
        "metaData" => {
            Action::Metadata(metadata(parser).map_err(|it| recode(it, Code::InvalidMetadata))?)
        }
        "txn" => Action::SetTransaction(txn(parser)?),
        "domainMetadata" => Action::DomainMetadata(domain(parser)?),
        "commitInfo" => Action::CommitInfo(commit_info(parser)?),
        "checkpointMetadata" => Action::CheckpointMetadata(checkpoint_metadata(parser)?),
        "sidecar" => Action::Sidecar(sidecar(parser)?),
        _ => {
            parser.skip()?;
            return Ok(None);
        }
    };
    Ok(Some(Row::Other(Some(Box::new(other)))))
}

fn add<'a>(parser: &mut Parser<'a>, wanted: Wanted) -> Result<AddRow<'a>> {
    let (mut path, mut partition_values, mut size, mut modification_time) =
        (None, None, None, None);
    let (mut data_change, mut stats, mut tags, mut deletion_vector) = (None, None, None, None);
    let (mut base_row_id, mut default_row_commit_version) = (None, None);
    let mut clustering_provider = None;
    fields(parser, "add", |it, key| {
        match key {
            "path" => path = text(it, "add.path")?,
            "partitionValues" => partition_values = entries(it, "add.partitionValues")?,
            "size" => size = integer(it, "add.size")?,
            "modificationTime" => modification_time = integer(it, "add.modificationTime")?,
            "dataChange" => data_change = boolean(it, "add.dataChange")?,
            "stats" => stats = statistics(it, wanted.stats)?,
            "tags" => tags = entries(it, "add.tags")?,
            "deletionVector" => deletion_vector = vector(it)?,
            "baseRowId" => base_row_id = integer(it, "add.baseRowId")?,
            "defaultRowCommitVersion" => {
                default_row_commit_version = integer(it, "add.defaultRowCommitVersion")?;
            }
            "clusteringProvider" => clustering_provider = text(it, "add.clusteringProvider")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(AddRow {
        path: not_empty(required(path, "add.path")?, "add.path")?,
        partition_values: required(partition_values, "add.partitionValues")?,
        size: not_negative(required(size, "add.size")?, "add.size")?,
        modification_time: required(modification_time, "add.modificationTime")?,
        data_change: required(data_change, "add.dataChange")?,
        stats,
        tags: tags.filter(|_| wanted.stats),
        deletion_vector,
        base_row_id,
        default_row_commit_version,
        clustering_provider,
    })
}

fn remove<'a>(parser: &mut Parser<'a>) -> Result<RemoveRow<'a>> {
    let (mut path, mut deletion_timestamp, mut data_change) = (None, None, None);
    let (mut extended_file_metadata, mut partition_values, mut size) = (None, None, None);
    let (mut deletion_vector, mut base_row_id) = (None, None);
    let mut default_row_commit_version = None;
    fields(parser, "remove", |it, key| {
        match key {
            "path" => path = text(it, "remove.path")?,
            "deletionTimestamp" => deletion_timestamp = integer(it, "remove.deletionTimestamp")?,
            "dataChange" => data_change = boolean(it, "remove.dataChange")?,
            "extendedFileMetadata" => {
                extended_file_metadata = boolean(it, "remove.extendedFileMetadata")?;
            }
            "partitionValues" => partition_values = entries(it, "remove.partitionValues")?,
            "size" => size = integer(it, "remove.size")?,
            "deletionVector" => deletion_vector = vector(it)?,
            "baseRowId" => base_row_id = integer(it, "remove.baseRowId")?,
            "defaultRowCommitVersion" => {
                default_row_commit_version = integer(it, "remove.defaultRowCommitVersion")?;
            }
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(RemoveRow {
        path: not_empty(required(path, "remove.path")?, "remove.path")?,
        deletion_timestamp,
        data_change: required(data_change, "remove.dataChange")?,
        extended_file_metadata,
        partition_values,
        size: size.map(|it| not_negative(it, "remove.size")).transpose()?,
        deletion_vector,
        base_row_id,
        default_row_commit_version,
    })
}

fn vector<'a>(parser: &mut Parser<'a>) -> Result<Option<VectorRow<'a>>> {
    if parser.kind()? == Kind::Null {
        return parser.null().map(|()| None);
    }
    let (mut storage_type, mut path_or_inline_dv, mut offset) = (None, None, None);
    let (mut size_in_bytes, mut cardinality) = (None, None);
    fields(parser, "deletionVector", |it, key| {
        match key {
            "storageType" => storage_type = text(it, "deletionVector.storageType")?,
            "pathOrInlineDv" => path_or_inline_dv = text(it, "deletionVector.pathOrInlineDv")?,
            "offset" => offset = integer32(it, "deletionVector.offset")?,
            "sizeInBytes" => size_in_bytes = integer32(it, "deletionVector.sizeInBytes")?,
            "cardinality" => cardinality = integer(it, "deletionVector.cardinality")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    let vector = VectorRow {
        storage_type: required(storage_type, "deletionVector.storageType")?,
        path_or_inline_dv: required(path_or_inline_dv, "deletionVector.pathOrInlineDv")?,
        offset,
        size_in_bytes: required(size_in_bytes, "deletionVector.sizeInBytes")?,
        cardinality: required(cardinality, "deletionVector.cardinality")?,
    };
    vector.check()?;
    Ok(Some(vector))
}

fn cdc(parser: &mut Parser<'_>) -> Result<AddCdc> {
    let (mut path, mut partition_values, mut size) = (None, None, None);
    let (mut data_change, mut tags) = (None, None);
    fields(parser, "cdc", |it, key| {
        match key {
            "path" => path = text(it, "cdc.path")?,
            "partitionValues" => partition_values = entries(it, "cdc.partitionValues")?,
            "size" => size = integer(it, "cdc.size")?,
            "dataChange" => data_change = boolean(it, "cdc.dataChange")?,
            "tags" => tags = entries(it, "cdc.tags")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(AddCdc {
        path: not_empty(required(path, "cdc.path")?, "cdc.path")?.into_owned(),
        partition_values: owned(required(partition_values, "cdc.partitionValues")?),
        size: not_negative(required(size, "cdc.size")?, "cdc.size")?,
        data_change: required(data_change, "cdc.dataChange")?,
        tags: tags.map(owned),
    })
}

fn protocol(parser: &mut Parser<'_>) -> Result<Protocol> {
    let (mut reader, mut writer) = (None, None);
    let (mut reader_features, mut writer_features) = (None, None);
    fields(parser, "protocol", |it, key| {
        match key {
            "minReaderVersion" => reader = integer32(it, "protocol.minReaderVersion")?,
            "minWriterVersion" => writer = integer32(it, "protocol.minWriterVersion")?,
            "readerFeatures" => reader_features = strings(it, "protocol.readerFeatures")?,
            "writerFeatures" => writer_features = strings(it, "protocol.writerFeatures")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    let protocol = Protocol::from_parts(
        required(reader, "protocol.minReaderVersion")?,
        required(writer, "protocol.minWriterVersion")?,
        reader_features,
        writer_features,
    );
    protocol.check()?;
    Ok(protocol)
}

impl Protocol {
    /// A protocol as stored. A list is a set: a name given twice counts once. A list without a
    /// name, at a version that has none, says nothing, and some writers store null that way.
    pub(crate) fn from_parts(
        min_reader_version: i32,
        min_writer_version: i32,
        reader_features: Option<Vec<String>>,
        writer_features: Option<Vec<String>>,
    ) -> Protocol {
        let set = |names: Vec<String>| {
            let mut features: Vec<TableFeature> = Vec::with_capacity(names.len());
            let mut seen = hashbrown::HashSet::new();
            for name in names {
                let feature = TableFeature::parse(&name);
                if seen.insert(name) {
                    features.push(feature);
                }
            }
            features
        };
        let listed = |names: Option<Vec<String>>, lists: bool| {
            names.filter(|it| lists || !it.is_empty()).map(set)
        };
        Protocol {
            min_reader_version,
            min_writer_version,
            reader_features: listed(reader_features, min_reader_version >= 3),
            writer_features: listed(writer_features, min_writer_version >= 7),
        }
    }
}

fn metadata(parser: &mut Parser<'_>) -> Result<Metadata> {
    let (mut id, mut name, mut description, mut format) = (None, None, None, None);
    let (mut schema_string, mut partition_columns) = (None, None);
    let (mut configuration, mut created_time) = (None, None);
    fields(parser, "metaData", |it, key| {
        match key {
            "id" => id = text(it, "metaData.id")?,
            "name" => name = text(it, "metaData.name")?,
            "description" => description = text(it, "metaData.description")?,
            "format" => format = file_format(it)?,
            "schemaString" => {
                schema_string = text(it, "metaData.schemaString")
                    .map_err(|it| recode(it, Code::InvalidSchema))?;
            }
            "partitionColumns" => partition_columns = strings(it, "metaData.partitionColumns")?,
            "configuration" => configuration = entries(it, "metaData.configuration")?,
            "createdTime" => created_time = integer(it, "metaData.createdTime")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    // A table may start without a schema; only the version that is read needs one.
    let schema_string = schema_string.unwrap_or_default();
    let (provider, options) = required(format, "metaData.format")?;
    Ok(Metadata {
        id: required(id, "metaData.id")?.into_owned(),
        name: name.map(Cow::into_owned),
        description: description.map(Cow::into_owned),
        format_provider: provider.into_owned(),
        format_options: not_null(options, "metaData.format.options")?,
        schema_string: schema_string.into_owned(),
        partition_columns: required(partition_columns, "metaData.partitionColumns")?,
        configuration: not_null(configuration.unwrap_or_default(), "metaData.configuration")?,
        created_time,
    })
}

/// Provider and options.
fn file_format<'a>(parser: &mut Parser<'a>) -> Result<Option<(Cow<'a, str>, Entries<'a>)>> {
    if parser.kind()? == Kind::Null {
        return parser.null().map(|()| None);
    }
    let (mut provider, mut options) = (None, None);
    fields(parser, "metaData.format", |it, key| {
        match key {
            "provider" => provider = text(it, "metaData.format.provider")?,
            "options" => options = entries(it, "metaData.format.options")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(Some((required(provider, "metaData.format.provider")?, options.unwrap_or_default())))
}

fn txn(parser: &mut Parser<'_>) -> Result<SetTransaction> {
    let (mut app_id, mut version, mut last_updated) = (None, None, None);
    fields(parser, "txn", |it, key| {
        match key {
            "appId" => app_id = text(it, "txn.appId")?,
            "version" => version = integer(it, "txn.version")?,
            "lastUpdated" => last_updated = integer(it, "txn.lastUpdated")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(SetTransaction {
        app_id: required(app_id, "txn.appId")?.into_owned(),
        version: required(version, "txn.version")?,
        last_updated,
    })
}

fn domain(parser: &mut Parser<'_>) -> Result<DomainMetadata> {
    let (mut domain, mut configuration, mut removed) = (None, None, None);
    fields(parser, "domainMetadata", |it, key| {
        match key {
            "domain" => domain = text(it, "domainMetadata.domain")?,
            "configuration" => configuration = text(it, "domainMetadata.configuration")?,
            "removed" => removed = boolean(it, "domainMetadata.removed")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(DomainMetadata {
        domain: required(domain, "domainMetadata.domain")?.into_owned(),
        configuration: required(configuration, "domainMetadata.configuration")?.into_owned(),
        removed: required(removed, "domainMetadata.removed")?,
    })
}

fn commit_info(parser: &mut Parser<'_>) -> Result<CommitInfo> {
    match parser.tree()? {
        serde_json::Value::Object(fields) => Ok(CommitInfo { fields }),
        _ => Err(invalid("`commitInfo` is not an object")),
    }
}

fn checkpoint_metadata(parser: &mut Parser<'_>) -> Result<CheckpointMetadata> {
    let (mut version, mut tags) = (None, None);
    fields(parser, "checkpointMetadata", |it, key| {
        match key {
            "version" => version = integer(it, "checkpointMetadata.version")?,
            "tags" => tags = entries(it, "checkpointMetadata.tags")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    let version = required(version, "checkpointMetadata.version")?;
    Ok(CheckpointMetadata { version, tags: tags.map(owned) })
}

fn sidecar(parser: &mut Parser<'_>) -> Result<Sidecar> {
    let (mut path, mut size_in_bytes, mut modification_time, mut tags) = (None, None, None, None);
    fields(parser, "sidecar", |it, key| {
        match key {
            "path" => path = text(it, "sidecar.path")?,
            "sizeInBytes" => size_in_bytes = integer(it, "sidecar.sizeInBytes")?,
            "modificationTime" => modification_time = integer(it, "sidecar.modificationTime")?,
            "tags" => tags = entries(it, "sidecar.tags")?,
            _ => it.skip()?,
        }
        Ok(())
    })?;
    Ok(Sidecar {
        path: not_empty(required(path, "sidecar.path")?, "sidecar.path")?.into_owned(),
        size_in_bytes: not_negative(
            required(size_in_bytes, "sidecar.sizeInBytes")?,
            "sidecar.sizeInBytes",
        )?,
        modification_time: required(modification_time, "sidecar.modificationTime")?,
        tags: tags.map(owned),
    })
}

/// Reads the object that an action is.
fn fields<'a>(
    parser: &mut Parser<'a>,
    name: &str,
    mut field: impl FnMut(&mut Parser<'a>, &str) -> Result<()>,
) -> Result<()> {
    if parser.kind()? != Kind::Object {
        return Err(wrong(parser, name, "an object"));
    }
    parser.object(|it, key| field(it, key))
}

fn text<'a>(parser: &mut Parser<'a>, name: &str) -> Result<Option<Cow<'a, str>>> {
    match parser.kind()? {
        Kind::Null => parser.null().map(|()| None),
        Kind::String => Ok(Some(parser.raw_string()?.unescape())),
        _ => Err(wrong(parser, name, "a string")),
    }
}

/// Statistics are a hint for planning: such as are too long to trust are left out, and not an
/// error.
fn statistics<'a>(parser: &mut Parser<'a>, wanted: bool) -> Result<Option<Cow<'a, str>>> {
    match parser.kind()? {
        Kind::Null => parser.null().map(|()| None),
        Kind::String => {
            let raw = parser.raw_string()?;
            let keep = wanted && raw.len() <= STATS_BYTES_MAX;
            Ok(keep.then(|| raw.unescape()))
        }
        _ => Err(wrong(parser, "add.stats", "a string")),
    }
}

fn boolean(parser: &mut Parser<'_>, name: &str) -> Result<Option<bool>> {
    match parser.kind()? {
        Kind::Null => parser.null().map(|()| None),
        Kind::Boolean => parser.boolean().map(Some),
        _ => Err(wrong(parser, name, "true or false")),
    }
}

/// An integer, exact: neither `12.0` nor `1e3` nor what 64 bits do not hold.
fn integer(parser: &mut Parser<'_>, name: &str) -> Result<Option<i64>> {
    match parser.kind()? {
        Kind::Null => parser.null().map(|()| None),
        Kind::Number => {
            let digits = parser.number()?;
            match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    let shown = short(digits);
                    Err(invalid(format!("`{name}` is {shown}, not an integer of 64 bits")))
                }
            }
        }
        _ => Err(wrong(parser, name, "an integer")),
    }
}

fn integer32(parser: &mut Parser<'_>, name: &str) -> Result<Option<i32>> {
    let Some(number) = integer(parser, name)? else {
        return Ok(None);
    };
    match i32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(invalid(format!("`{name}` is {number}, not an integer of 32 bits"))),
    }
}

fn entries<'a>(parser: &mut Parser<'a>, name: &str) -> Result<Option<Entries<'a>>> {
    match parser.kind()? {
        Kind::Null => return parser.null().map(|()| None),
        Kind::Object => {}
        _ => return Err(wrong(parser, name, "an object")),
    }
    let mut entries = Entries::new();
    parser.object(|it, key| {
        let value = match it.kind()? {
            Kind::Null => it.null().map(|()| None)?,
            Kind::String => Some(it.raw_string()?.unescape()),
            _ => return Err(wrong(it, &format!("{name}.{}", short(key)), "a string")),
        };
        entries.push((key.clone(), value));
        Ok(())
    })?;
    Ok(Some(entries))
}

fn strings(parser: &mut Parser<'_>, name: &str) -> Result<Option<Vec<String>>> {
    match parser.kind()? {
        Kind::Null => return parser.null().map(|()| None),
        Kind::Array => {}
        _ => return Err(wrong(parser, name, "an array")),
    }
    let mut strings = Vec::new();
    parser.array(|it| {
        if it.kind()? != Kind::String {
            return Err(wrong(it, name, "an array of strings"));
        }
        strings.push(it.raw_string()?.unescape().into_owned());
        Ok(())
    })?;
    Ok(Some(strings))
}

/// The error of a value of the wrong kind, unless the value is no JSON in the first place.
fn wrong(parser: &mut Parser<'_>, name: &str, wanted: &str) -> Error {
    match parser.skip() {
        Ok(()) => invalid(format!("`{name}` is not {wanted}")),
        Err(worse) => worse,
    }
}

fn required<T>(value: Option<T>, name: &str) -> Result<T> {
    value.ok_or_else(|| invalid(format!("`{name}` is missing")))
}

fn not_empty<'a>(text: Cow<'a, str>, name: &str) -> Result<Cow<'a, str>> {
    if text.is_empty() {
        return Err(invalid(format!("`{name}` is empty")));
    }
    Ok(text)
}

pub(crate) fn not_negative(number: i64, name: &str) -> Result<i64> {
    if number < 0 {
        return Err(invalid(format!("`{name}` is {number}, which is negative")));
    }
    Ok(number)
}

/// A map whose values may not be null.
fn not_null(entries: Entries<'_>, name: &str) -> Result<BTreeMap<String, String>> {
    let pair = |(key, value): (Cow<'_, str>, Option<Cow<'_, str>>)| match value {
        Some(value) => Ok((key.into_owned(), value.into_owned())),
        None => Err(invalid(format!("`{name}` has a null at key `{}`", short(&key)))),
    };
    entries.into_iter().map(pair).collect()
}

/// The same error under the code of the action that it is about.
fn recode(error: Error, code: Code) -> Error {
    if error.code() == Code::InvalidAction { Error::new(code, error.message()) } else { error }
}

pub(crate) fn invalid(what: impl Into<String>) -> Error {
    Error::new(Code::InvalidAction, what)
}
