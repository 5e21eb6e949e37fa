//! Runs the cases of a conformance manifest: real tables by many writers, with expected answers.
//!
//! A case either passes, or is refused by the name of a feature that this build does not claim, or
//! fails. The features that are not claimed stand in one list here, in the manifest's words: a case
//! that needs none of them must pass, so a refusal can never hide a wrong answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use lakebed::{Append, Code, Env, Error, Scan, Snapshot, Table, Version};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::rows::{difference, multiset, read_parquet};

/// One case of the manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Names it.
    pub id: String,
    /// Folder of the table, relative to the manifest.
    pub table: String,
    /// What to do.
    pub op: String,
    /// Which version; the newest if there is none.
    pub version: Option<u64>,
    /// What the table has and uses.
    #[serde(default)]
    pub features: Vec<String>,
    /// What must come out.
    pub expected: Map<String, Value>,
    /// `false`: advice only.
    #[serde(default = "yes")]
    pub normative: bool,
    /// `should`, or absent for must.
    #[serde(default)]
    pub strength: Option<String>,
    /// Prefixes of paths that belong to other tables.
    #[serde(default)]
    pub path_map: Option<Value>,
}

fn yes() -> bool {
    true
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Refused, naming a feature that this build does not claim.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// Operations that this build runs.
pub const OPERATIONS: &[&str] = &["read", "snapshot", "append_refuse"];

/// Features not claimed, as prefixes of the manifest's words.
const UNCLAIMED: &[&str] = &[
    "active:deletionVectors",
    "catalog",
    "checkpoint:sidecars",
    "checkpoint:v2",
    "columnMapping:",
    "dv:",
    "feature:adaptiveMetadata",
    "feature:catalog",
    "feature:deletionVectors",
    "feature:typeWidening",
    "feature:v2Checkpoint",
    "feature:variant",
    "path:absolute",
    "staged-commits",
    "type-variant",
];

/// The manifest's names of errors, and the codes that say the same.
const ERRORS: &[(&str, &[Code])] = &[
    ("bad-path", &[Code::InvalidPath, Code::PathEscape]),
    ("bad-schema", &[Code::InvalidSchema, Code::InvalidMetadata, Code::InvalidAction]),
    ("corrupt-checkpoint", &[Code::CorruptCheckpoint]),
    ("corrupt-commit", &[Code::CorruptLog, Code::InvalidAction]),
    ("invalid-protocol", &[Code::InvalidProtocol]),
    ("log-gap", &[Code::VersionGap, Code::VersionNotFound]),
    ("missing-file", &[Code::MissingFile]),
    ("missing-sidecar", &[Code::MissingFile, Code::CorruptCheckpoint]),
    ("no-metadata", &[Code::InvalidMetadata]),
    ("no-protocol", &[Code::InvalidProtocol]),
    ("not-a-table", &[Code::NotATable]),
    ("unsupported-feature", &[Code::UnsupportedProtocol]),
    ("unsupported-protocol", &[Code::UnsupportedProtocol]),
    ("unsupported-type-change", &[Code::UnsupportedProtocol]),
    ("unsupported-writer-feature", &[Code::UnsupportedProtocol]),
];

/// Reads the manifest of a folder.
///
/// # Errors
///
/// A manifest that is not there or has another form.
pub fn manifest(folder: &Path) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    #[derive(Deserialize)]
    struct Manifest {
        cases: Vec<Case>,
    }
    let text = fs::read(folder.join("manifest.json"))?;
    Ok(serde_json::from_slice::<Manifest>(&text)?.cases)
}

/// Runs one case.
pub async fn run(env: &Env, folder: &Path, case: &Case) -> Verdict {
    let is_unclaimed = |it: &String| UNCLAIMED.iter().any(|not| it.starts_with(not));
    // What must be refused may be refused for a feature, whatever else is wrong with it.
    let waits = case.features.iter().any(is_unclaimed) || case.expected.contains_key("error");
    match outcome(env, folder, case).await {
        Ok(None) => Verdict::Passed,
        Ok(Some(wrong)) => Verdict::Failed(wrong),
        Err(error) => match (error.missing_feature(), waits) {
            (Some(missing), true) if error.code() == Code::UnsupportedProtocol => {
                Verdict::Refused(missing.feature.to_string())
            }
            _ => Verdict::Failed(format!("{error:?}")),
        },
    }
}

/// How many cases of each operation passed, were refused, failed; and each failure.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Passed, refused and failed by operation.
    pub counts: BTreeMap<String, (usize, usize, usize)>,
    /// Cases refused by feature.
    pub refused: BTreeMap<String, usize>,
    /// Cases of operations that this build does not run yet.
    pub waiting: BTreeMap<String, usize>,
    /// Failures of what must hold.
    pub failures: Vec<String>,
    /// Failures of what should hold, or is advice.
    pub advice: Vec<String>,
}

/// Runs every case of a folder.
///
/// # Errors
///
/// A manifest that cannot be read.
pub async fn run_all(env: &Env, folder: &Path) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report::default();
    for case in manifest(folder)? {
        if !OPERATIONS.contains(&case.op.as_str()) {
            *report.waiting.entry(case.op.clone()).or_default() += 1;
            continue;
        }
        let counts = report.counts.entry(case.op.clone()).or_default();
        match run(env, folder, &case).await {
            Verdict::Passed => counts.0 += 1,
            Verdict::Refused(feature) => {
                counts.1 += 1;
                *report.refused.entry(feature).or_default() += 1;
            }
            Verdict::Failed(why) => {
                counts.2 += 1;
                let must = case.normative && case.strength.is_none();
                let list = if must { &mut report.failures } else { &mut report.advice };
                list.push(format!("{}: {why}", case.id));
            }
        }
    }
    Ok(report)
}

/// `Ok(None)`: as expected. `Ok(Some(..))`: another answer. `Err`: an error where none was
/// expected, or another one.
async fn outcome(env: &Env, folder: &Path, case: &Case) -> Result<Option<String>, Error> {
    let location = folder.join(&case.table);
    let answer = answer(env, folder, &location, case).await;
    let Some(name) = case.expected.get("error").and_then(Value::as_str) else { return answer };
    let known = ERRORS.iter().find(|it| it.0 == name).map_or(&[][..], |it| it.1);
    match answer {
        Err(error) if known.contains(&error.code()) => Ok(None),
        Err(error) => Err(error),
        Ok(found) => match case.expected.get("alternative").and_then(|it| it.get("rows")) {
            Some(rows) if found.as_deref() == Some(&format!("{rows} rows")) => Ok(None),
            _ => Ok(Some(format!("expected {name}, got {found:?}"))),
        },
    }
}

async fn answer(
    env: &Env,
    folder: &Path,
    location: &Path,
    case: &Case,
) -> Result<Option<String>, Error> {
    let table = Table::open_with(env, &location.to_string_lossy())?;
    let snapshot = match case.version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await?,
        None => table.snapshot().await?,
    };
    match case.op.as_str() {
        "read" => read(folder, case, &snapshot).await,
        "snapshot" => facts(case, &snapshot).await,
        _ => append(env, location, &snapshot).await,
    }
}

async fn read(folder: &Path, case: &Case, snapshot: &Snapshot) -> Result<Option<String>, Error> {
    let batches: Vec<_> = snapshot.read(&Scan::new()).await?.try_collect().await?;
    let broken = |it: String| Error::internal("the case cannot be compared").because(it);
    let ours = multiset(&batches).map_err(|it| broken(it.to_string()))?;
    let count: u64 = ours.values().sum();
    let Some(path) = case.expected.get("path").and_then(Value::as_str) else {
        return Ok(Some(format!("{count} rows")));
    };
    let theirs = read_parquet(&folder.join(path)).map_err(|it| broken(it.to_string()))?;
    let theirs = multiset(&theirs).map_err(|it| broken(it.to_string()))?;
    // Files of no rows tell nothing of their columns.
    Ok(difference(&ours, &theirs))
}

/// Every fact of the manifest that this build knows how to compare; an unknown one fails.
async fn facts(case: &Case, snapshot: &Snapshot) -> Result<Option<String>, Error> {
    let head = snapshot.head();
    let state = snapshot.files().await?;
    let facts = case.expected.get("facts").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for at in state.files.iter() {
        paths.insert(state.files.get(at)?.path);
    }
    let mut wrong = Vec::new();
    for (name, expected) in &facts {
        let ours = match name.as_str() {
            "version" => snapshot.version().get().into(),
            "protocol" => protocol(&head.protocol),
            "metadata_id" => head.metadata.id.clone().into(),
            "name" => head.metadata.name.clone().into(),
            "partition_columns" => head.metadata.partition_columns.clone().into(),
            "configuration" => serde_json::json!(head.metadata.configuration),
            "schema" => serde_json::from_str(&head.metadata.schema_string).unwrap_or_default(),
            "num_files" => state.files.len().into(),
            "total_bytes" => state.files.total_bytes().into(),
            "num_files_with_dv" | "deleted_rows" => 0.into(),
            "app_transactions" => {
                let txns = head.txns.values().map(|it| (it.app_id.clone(), it.version.into()));
                Value::Object(txns.collect())
            }
            "domains" => {
                let domains = head.domains.values();
                let pairs = domains.map(|it| (it.domain.clone(), it.configuration.clone().into()));
                Value::Object(pairs.collect())
            }
            "paths" => paths.iter().cloned().collect::<Vec<_>>().into(),
            "version_timestamp_ms" => snapshot.timestamp().await?.as_millis().into(),
            other => format!("no comparison for {other}").into(),
        };
        if !alike(name, &ours, expected) {
            wrong.push(format!("{name} is {ours}, should be {expected}"));
        }
    }
    Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
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

fn protocol(protocol: &lakebed::Protocol) -> Value {
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

/// Tries to append a row of nulls to a copy; that must be refused before any file is written.
async fn append(env: &Env, location: &Path, snapshot: &Snapshot) -> Result<Option<String>, Error> {
    let broken = |it: std::io::Error| Error::internal("the table cannot be copied").because(it);
    let copy = tempfile::tempdir().map_err(broken)?;
    copy_folder(location, copy.path()).map_err(broken)?;
    let before = count(copy.path()).map_err(broken)?;
    let row = arrow_array::RecordBatch::new_empty(snapshot.schema().to_arrow());
    let table = Table::open_with(env, &copy.path().to_string_lossy())?;
    let refusal = table.append(row, Append::new()).await.map(|_| Some("appended".to_string()));
    if count(copy.path()).map_err(broken)? != before {
        return Ok(Some("left files behind".to_string()));
    }
    refusal
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn count(folder: &Path) -> std::io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(found)
}
