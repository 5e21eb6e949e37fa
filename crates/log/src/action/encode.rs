//! One action to one line of the log.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::action::{
    Action, Add, AddCdc, CheckpointMetadata, DeletionVector, DomainMetadata, Metadata, NullableMap,
    Protocol, Remove, SetTransaction, Sidecar,
};
use crate::feature::TableFeature;

/// The line of `action`, without line feed.
pub(super) fn line(action: &Action) -> String {
    let (name, body) = match action {
        Action::CommitInfo(info) => ("commitInfo", tree(&Json::Object(info.fields.clone()))),
        Action::Protocol(protocol) => ("protocol", protocol_body(protocol)),
        Action::Metadata(metadata) => ("metaData", metadata_body(metadata)),
        Action::Add(add) => ("add", add_body(add)),
        Action::Remove(remove) => ("remove", remove_body(remove)),
        Action::AddCdc(cdc) => ("cdc", cdc_body(cdc)),
        Action::SetTransaction(txn) => ("txn", txn_body(txn)),
        Action::DomainMetadata(domain) => ("domainMetadata", domain_body(domain)),
        Action::CheckpointMetadata(it) => ("checkpointMetadata", checkpoint_body(it)),
        Action::Sidecar(sidecar) => ("sidecar", sidecar_body(sidecar)),
    };
    let mut line = Object::new();
    line.raw(name, &body);
    line.close()
}

fn add_body(add: &Add) -> String {
    let mut body = Object::new();
    body.text("path", &add.path);
    body.nullable("partitionValues", &add.partition_values);
    body.integer("size", add.size);
    body.integer("modificationTime", add.modification_time);
    body.boolean("dataChange", add.data_change);
    body.some(add.stats.as_ref(), |it, stats| it.text("stats", stats));
    body.some(add.tags.as_ref(), |it, tags| it.nullable("tags", tags));
    body.some(add.deletion_vector.as_ref(), Object::vector);
    body.some(add.base_row_id, |it, id| it.integer("baseRowId", id));
    body.some(add.default_row_commit_version, |it, version| {
        it.integer("defaultRowCommitVersion", version);
    });
    body.some(add.clustering_provider.as_ref(), |it, name| it.text("clusteringProvider", name));
    body.close()
}

fn remove_body(remove: &Remove) -> String {
    let mut body = Object::new();
    body.text("path", &remove.path);
    body.some(remove.deletion_timestamp, |it, time| it.integer("deletionTimestamp", time));
    body.boolean("dataChange", remove.data_change);
    body.some(remove.extended_file_metadata, |it, is| it.boolean("extendedFileMetadata", is));
    body.some(remove.partition_values.as_ref(), |it, map| it.nullable("partitionValues", map));
    body.some(remove.size, |it, size| it.integer("size", size));
    body.some(remove.deletion_vector.as_ref(), Object::vector);
    body.some(remove.base_row_id, |it, id| it.integer("baseRowId", id));
    body.some(remove.default_row_commit_version, |it, version| {
        it.integer("defaultRowCommitVersion", version);
    });
    body.close()
}

fn cdc_body(cdc: &AddCdc) -> String {
    let mut body = Object::new();
    body.text("path", &cdc.path);
    body.nullable("partitionValues", &cdc.partition_values);
    body.integer("size", cdc.size);
    body.some(cdc.tags.as_ref(), |it, tags| it.nullable("tags", tags));
    body.boolean("dataChange", cdc.data_change);
    body.close()
}

fn protocol_body(protocol: &Protocol) -> String {
    let mut body = Object::new();
    body.integer("minReaderVersion", protocol.min_reader_version.into());
    body.integer("minWriterVersion", protocol.min_writer_version.into());
    let names = |it: &Vec<TableFeature>| it.iter().map(|it| it.name().to_string()).collect();
    body.some(protocol.reader_features.as_ref().map(names), |it, names: Vec<String>| {
        it.texts("readerFeatures", &names);
    });
    body.some(protocol.writer_features.as_ref().map(names), |it, names: Vec<String>| {
        it.texts("writerFeatures", &names);
    });
    body.close()
}

fn metadata_body(metadata: &Metadata) -> String {
    let mut format = Object::new();
    format.text("provider", &metadata.format_provider);
    format.map("options", &metadata.format_options);
    let mut body = Object::new();
    body.text("id", &metadata.id);
    body.some(metadata.name.as_ref(), |it, name| it.text("name", name));
    body.some(metadata.description.as_ref(), |it, text| it.text("description", text));
    body.raw("format", &format.close());
    body.text("schemaString", &metadata.schema_string);
    body.texts("partitionColumns", &metadata.partition_columns);
    body.map("configuration", &metadata.configuration);
    body.some(metadata.created_time, |it, time| it.integer("createdTime", time));
    body.close()
}

fn txn_body(txn: &SetTransaction) -> String {
    let mut body = Object::new();
    body.text("appId", &txn.app_id);
    body.integer("version", txn.version);
    body.some(txn.last_updated, |it, time| it.integer("lastUpdated", time));
    body.close()
}

fn domain_body(domain: &DomainMetadata) -> String {
    let mut body = Object::new();
    body.text("domain", &domain.domain);
    body.text("configuration", &domain.configuration);
    body.boolean("removed", domain.removed);
    body.close()
}

fn checkpoint_body(checkpoint: &CheckpointMetadata) -> String {
    let mut body = Object::new();
    body.integer("version", checkpoint.version);
    body.some(checkpoint.tags.as_ref(), |it, tags| it.nullable("tags", tags));
    body.close()
}

fn sidecar_body(sidecar: &Sidecar) -> String {
    let mut body = Object::new();
    body.text("path", &sidecar.path);
    body.integer("sizeInBytes", sidecar.size_in_bytes);
    body.integer("modificationTime", sidecar.modification_time);
    body.some(sidecar.tags.as_ref(), |it, tags| it.nullable("tags", tags));
    body.close()
}

/// A JSON object while it is being written.
struct Object {
    text: String,
}

impl Object {
    fn new() -> Object {
        Object { text: String::from("{") }
    }

    fn close(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn key(&mut self, key: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        quote(key, &mut self.text);
        self.text.push(':');
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.text.push_str(json);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(value, &mut self.text);
    }

    fn integer(&mut self, key: &str, value: i64) {
        self.raw(key, &value.to_string());
    }

    fn boolean(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        self.key(key);
        self.text.push('[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            quote(value, &mut self.text);
        }
        self.text.push(']');
    }

    fn map(&mut self, key: &str, entries: &BTreeMap<String, String>) {
        let mut map = Object::new();
        for (key, value) in entries {
            map.text(key, value);
        }
        self.raw(key, &map.close());
    }

    fn nullable(&mut self, key: &str, entries: &NullableMap) {
        let mut map = Object::new();
        for (key, value) in entries {
            match value {
                Some(value) => map.text(key, value),
                None => map.raw(key, "null"),
            }
        }
        self.raw(key, &map.close());
    }

    fn vector(&mut self, vector: &DeletionVector) {
        let mut body = Object::new();
        body.text("storageType", &vector.storage_type);
        body.text("pathOrInlineDv", &vector.path_or_inline_dv);
        body.some(vector.offset, |it, offset| it.integer("offset", offset.into()));
        body.integer("sizeInBytes", vector.size_in_bytes.into());
        body.integer("cardinality", vector.cardinality);
        self.raw("deletionVector", &body.close());
    }

    /// Writes a field that may be absent.
    fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Object, T)) {
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Writes `text` as a JSON string. Characters outside ASCII stay as they are.
fn quote(text: &str, into: &mut String) {
    into.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|it| it < 0x20 || it == b'"' || it == b'\\') {
        let (plain, special) = rest.split_at(at);
        into.push_str(plain);
        let mut characters = special.chars();
        match characters.next().unwrap_or_default() {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            control => into.push_str(&format!("\\u{:04x}", u32::from(control))),
        }
        rest = characters.as_str();
    }
    into.push_str(rest);
    into.push('"');
}

/// A tree as text. Nothing in a tree can fail to print.
fn tree(json: &Json) -> String {
    json.to_string()
}
