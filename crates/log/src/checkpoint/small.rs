//! The actions of which there are few: protocol, metadata, transactions, domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, StructArray, new_null_array,
};
use arrow_schema::{DataType, Field};

use super::{arrow_failed, field, structure};
use crate::action::{DomainMetadata, Metadata, Protocol, SetTransaction};
use crate::error::Result;
use crate::state::Head;
use crate::time::Timestamp;

/// One row per action, one column per kind.
pub(super) struct Small {
    pub(super) columns: Vec<(&'static str, StructArray)>,
    pub(super) rows: usize,
}

impl Small {
    pub(super) fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|(name, it)| field(name, it.data_type().clone())).collect()
    }
}

/// The transactions that have not expired.
pub(super) fn transactions_kept(head: &Head, now: Timestamp) -> Vec<&SetTransaction> {
    let kept = |it: &&SetTransaction| {
        let retention = head.properties.set_transaction_retention_millis;
        // One that does not say when it was set never expires.
        retention.zip(it.last_updated).is_none_or(|(retention, updated)| {
            Timestamp::from_millis(updated).plus_millis(retention) >= now
        })
    };
    head.txns.values().filter(kept).collect()
}

pub(super) fn actions(head: &Head, now: Timestamp) -> Result<Small> {
    let txns = transactions_kept(head, now);
    let domains: Vec<&DomainMetadata> = head.domains.values().filter(|it| !it.removed).collect();
    let kinds = [
        ("protocol", protocol(&head.protocol)?),
        ("metaData", metadata(&head.metadata)?),
        ("txn", transactions(&txns)?),
        ("domainMetadata", domain_metadata(&domains)?),
    ];
    let rows = kinds.iter().map(|(_, it)| it.len()).sum();
    let mut before = 0;
    let mut columns = Vec::new();
    for (name, array) in kinds {
        let after = rows - before - array.len();
        let (head, tail) =
            (new_null_array(array.data_type(), before), new_null_array(array.data_type(), after));
        before += array.len();
        let whole = arrow_select::concat::concat(&[&head, &array, &tail]).map_err(arrow_failed)?;
        columns.push((name, StructArray::from(whole.to_data())));
    }
    Ok(Small { columns, rows })
}

fn protocol(it: &Protocol) -> Result<StructArray> {
    let names = |features: &Option<Vec<crate::feature::TableFeature>>| {
        let names = features.as_ref().map(|it| it.iter().map(ToString::to_string).collect());
        strings(names)
    };
    structure(vec![
        ("minReaderVersion", Arc::new(Int32Array::from(vec![it.min_reader_version]))),
        ("minWriterVersion", Arc::new(Int32Array::from(vec![it.min_writer_version]))),
        ("readerFeatures", names(&it.reader_features)),
        ("writerFeatures", names(&it.writer_features)),
    ])
}

fn metadata(it: &Metadata) -> Result<StructArray> {
    let format = structure(vec![
        ("provider", text(Some(&it.format_provider))),
        ("options", string_map(&it.format_options)?),
    ])?;
    structure(vec![
        ("id", text(Some(&it.id))),
        ("name", text(it.name.as_deref())),
        ("description", text(it.description.as_deref())),
        ("format", Arc::new(format)),
        ("schemaString", text(Some(&it.schema_string))),
        ("partitionColumns", strings(Some(it.partition_columns.clone()))),
        ("configuration", string_map(&it.configuration)?),
        ("createdTime", Arc::new(Int64Array::from(vec![it.created_time]))),
    ])
}

fn transactions(txns: &[&SetTransaction]) -> Result<StructArray> {
    let app_id: StringArray = txns.iter().map(|it| Some(&it.app_id)).collect();
    let version: Int64Array = txns.iter().map(|it| Some(it.version)).collect();
    let updated: Int64Array = txns.iter().map(|it| it.last_updated).collect();
    structure(vec![
        ("appId", Arc::new(app_id)),
        ("version", Arc::new(version)),
        ("lastUpdated", Arc::new(updated)),
    ])
}

fn domain_metadata(domains: &[&DomainMetadata]) -> Result<StructArray> {
    let domain: StringArray = domains.iter().map(|it| Some(&it.domain)).collect();
    let configuration: StringArray = domains.iter().map(|it| Some(&it.configuration)).collect();
    let removed: BooleanArray = domains.iter().map(|it| Some(it.removed)).collect();
    structure(vec![
        ("domain", Arc::new(domain)),
        ("configuration", Arc::new(configuration)),
        ("removed", Arc::new(removed)),
    ])
}

fn text(it: Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from(vec![it]))
}

/// One list of text, or one null; elements are named as the Parquet standard asks.
fn strings(list: Option<Vec<String>>) -> ArrayRef {
    let element = Field::new("element", DataType::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element);
    match list {
        Some(list) => {
            list.iter().for_each(|it| builder.values().append_value(it));
            builder.append(true);
        }
        None => builder.append(false),
    }
    Arc::new(builder.finish())
}

/// One map of text.
fn string_map(map: &BTreeMap<String, String>) -> Result<ArrayRef> {
    let names = MapFieldNames {
        entry: "key_value".to_string(),
        key: "key".to_string(),
        value: "value".to_string(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (key, value) in map {
        builder.keys().append_value(key);
        builder.values().append_value(value);
    }
    builder.append(true).map_err(arrow_failed)?;
    Ok(Arc::new(builder.finish()))
}
