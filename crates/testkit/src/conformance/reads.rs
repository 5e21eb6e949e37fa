//! Rows and facts of a version.

use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use lakebed::{Changes, Env, Error, Protocol, Scan, Snapshot, Table, Version};
use serde_json::{Map, Value, json};

use super::{Answer, Case, broken};
use crate::rows::{difference, json_lines, json_multiset, multiset, read_parquet};

/// Every row of the version.
pub(super) async fn rows(folder: &Path, case: &Case, snapshot: &Snapshot) -> Answer {
    let batches: Vec<_> = snapshot.read(&Scan::new()).await?.try_collect().await?;
    let ours = multiset(&batches).map_err(broken)?;
    let count: u64 = ours.values().sum();
    let expected = |key: &str| case.expected.get(key).and_then(Value::as_str);
    let mut answer = Ok(Some(count));
    if let Some(path) = expected("path") {
        let theirs = read_parquet(&folder.join(path)).map_err(broken)?;
        let theirs = multiset(&theirs).map_err(broken)?;
        answer = difference(&ours, &theirs).map_or(answer, Err);
    }
    // One variant has many encodings: what they say decides where their bytes differ.
    if let (Some(path), true) =
        (expected("json_rows"), answer.is_err() || expected("path").is_none())
    {
        let ours = json_multiset(&batches).map_err(broken)?;
        let text = std::fs::read_to_string(folder.join(path)).map_err(broken)?;
        let theirs = json_lines(&text).map_err(broken)?;
        answer = difference(&ours, &theirs).map_or(Ok(Some(count)), Err);
    }
    Ok(answer)
}

/// Every row change of the range, with its kind and its version.
pub(super) async fn changes(env: &Env, folder: &Path, case: &Case) -> Answer {
    let table = Table::open_with(env, &folder.join(&case.table).to_string_lossy())?;
    let first = case.start_version.and_then(Version::new).unwrap_or(Version::ZERO);
    let mut range = Changes::new(first);
    if let Some(last) = case.end_version.and_then(Version::new) {
        range = range.to(last);
    }
    let ours = without_times(table.changes(range).await?.collect().await?)?;
    let ours = multiset(&ours).map_err(broken)?;
    let count: u64 = ours.values().sum();
    let Some(path) = case.expected.get("path").and_then(Value::as_str) else {
        return Ok(Ok(Some(count)));
    };
    let theirs = without_times(read_parquet(&folder.join(path)).map_err(broken)?)?;
    let theirs = multiset(&theirs).map_err(broken)?;
    Ok(difference(&ours, &theirs).map_or(Ok(Some(count)), Err))
}

/// The time of a commit may be that of its file, which is of the day of the copy.
fn without_times(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Error> {
    let narrow = |batch: RecordBatch| {
        let fields = batch.schema().fields().clone();
        let kept = (0..).zip(&fields).filter(|it| it.1.name() != "_commit_timestamp");
        batch.project(&kept.map(|it| it.0).collect::<Vec<_>>()).map_err(broken)
    };
    batches.into_iter().map(narrow).collect()
}

/// Every fact of the manifest that this build knows how to compare; an unknown one is wrong.
pub(super) async fn facts(case: &Case, snapshot: &Snapshot) -> Answer {
    let mut wrong = Vec::new();
    for (name, expected) in &case.facts() {
        let ours = fact(name, snapshot).await?;
        if !alike(name, &ours, expected) {
            wrong.push(format!("{name} is {ours}, should be {expected}"));
        }
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
}

async fn fact(name: &str, snapshot: &Snapshot) -> Result<Value, Error> {
    let head = snapshot.head();
    Ok(match name {
        "version" => snapshot.version().get().into(),
        "protocol" => protocol(&head.protocol),
        "metadata_id" => head.metadata.id.clone().into(),
        "name" => head.metadata.name.clone().into(),
        "partition_columns" => head.metadata.partition_columns.clone().into(),
        "configuration" => json!(head.metadata.configuration),
        "schema" => serde_json::from_str(&head.metadata.schema_string).unwrap_or_default(),
        "num_files" => snapshot.files().await?.files.len().into(),
        "total_bytes" => snapshot.files().await?.files.total_bytes().into(),
        "num_files_with_dv" => vectors(snapshot).await?.0.into(),
        "deleted_rows" => vectors(snapshot).await?.1.into(),
        "app_transactions" => {
            let txns = head.txns.values().map(|it| (it.app_id.clone(), it.version.into()));
            Value::Object(txns.collect())
        }
        "domains" => {
            let domains = head.domains.values();
            let pairs = domains.map(|it| (it.domain.clone(), it.configuration.clone().into()));
            Value::Object(pairs.collect())
        }
        "paths" => {
            let state = snapshot.files().await?;
            let path = |at| state.files.get(at).map(|it| it.path);
            let paths = state.files.iter().map(path).collect::<Result<BTreeSet<_>, _>>()?;
            paths.into_iter().collect::<Vec<_>>().into()
        }
        "version_timestamp_ms" => snapshot.timestamp().await?.as_millis().into(),
        other => format!("no comparison for {other}").into(),
    })
}

/// How many files have a vector, and how many rows these delete.
async fn vectors(snapshot: &Snapshot) -> Result<(u64, i64), Error> {
    let state = snapshot.files().await?;
    let (mut files, mut rows) = (0, 0);
    for at in state.files.iter() {
        if let Some(vector) = state.files.get(at)?.deletion_vector {
            files += 1;
            rows += vector.cardinality;
        }
    }
    Ok((files, rows))
}

/// Lists of paths and of features are sets.
fn alike(name: &str, ours: &Value, expected: &Value) -> bool {
    let sorted = |it: &Value| {
        let mut texts: Vec<String> =
            it.as_array().into_iter().flatten().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    match (name, ours, expected) {
        ("paths", ..) | (_, Value::Array(_), Value::Array(_)) if name != "partition_columns" => {
            sorted(ours) == sorted(expected)
        }
        ("protocol", Value::Object(ours), Value::Object(expected)) => {
            ours.len() == expected.len()
                && ours
                    .iter()
                    .all(|(key, value)| expected.get(key).is_some_and(|it| alike(key, value, it)))
        }
        _ => ours == expected,
    }
}

fn protocol(protocol: &Protocol) -> Value {
    let mut json = Map::new();
    json.insert("minReaderVersion".to_string(), protocol.min_reader_version.into());
    json.insert("minWriterVersion".to_string(), protocol.min_writer_version.into());
    let lists = [
        ("readerFeatures", &protocol.reader_features),
        ("writerFeatures", &protocol.writer_features),
    ];
    for (name, list) in lists {
        if let Some(list) = list {
            let names: Vec<String> = list.iter().map(ToString::to_string).collect();
            json.insert(name.to_string(), names.into());
        }
    }
    Value::Object(json)
}
