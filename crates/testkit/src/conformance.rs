//! Runs the cases of a conformance manifest: real tables by many writers, with expected answers.
//!
//! A case passes, or is refused by the name of a feature that this build does not claim, or waits
//! for an operation that this build does not have, or is wrong. What may be refused and what waits
//! stands in the tables here, with reasons, and nowhere else: so a refusal can never hide a wrong
//! answer, and the day on which nothing waits any more can be seen.
//!
//! ```text
//!   manifest.json --> Case --> answer --> Verdict --> Report --> counts by operation, feature, ..
//!                               |   \
//!                 reads, logs, pruning, writes      each compares with what the manifest expects
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lakebed::{Code, Env, Error, Snapshot, Table, Version};
use serde::Deserialize;
use serde_json::{Map, Value};

mod logs;
mod pruning;
mod reads;
mod report;
mod vectors;
mod writes;

pub use report::{Counts, Line, Report, dispute, source};
pub use writes::copy_folder;

/// One case of the manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Case {
    /// Names it.
    pub id: String,
    /// Who made the table.
    pub source: String,
    /// Folder of the table, relative to the manifest.
    pub table: String,
    /// What to do.
    pub op: String,
    /// Which version; the newest if there is none.
    pub version: Option<u64>,
    /// Milliseconds since 1970, for what asks for a time.
    pub timestamp: Option<i64>,
    /// What the table has and uses.
    pub features: Vec<String>,
    /// What must come out.
    pub expected: Map<String, Value>,
    /// `false`: advice only.
    pub normative: Option<bool>,
    /// `should`, or absent for must.
    pub strength: Option<String>,
    /// Prefixes of paths that belong to other tables.
    pub path_map: Option<Value>,
    /// What to filter by.
    pub predicate: Option<Value>,
    /// Modification times to put on commits first, in milliseconds, by version.
    pub set_mtime_ms: BTreeMap<String, i64>,
    /// A deletion vector, as in the log.
    pub descriptor: Option<Value>,
    /// What a catalog says of the table.
    pub catalog: Option<Value>,
    /// The row to append.
    pub row: Option<Value>,
    /// First version of a range.
    pub start_version: Option<u64>,
    /// Last version of a range; the newest if there is none.
    pub end_version: Option<u64>,
}

impl Case {
    /// Must it hold, or is it advice?
    pub fn must(&self) -> bool {
        self.normative != Some(false) && self.strength.is_none()
    }

    /// The expected facts; none if an error is expected.
    fn facts(&self) -> Map<String, Value> {
        self.expected.get("facts").and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Refused, naming a feature that this build does not claim.
    Refused(String),
    /// This build cannot be asked yet, for this reason.
    Waiting(String),
    /// An answer, and not the expected one.
    Wrong(String),
    /// An error, and none or another one was expected.
    Failed(String),
}

/// What waits, by the end of a case's id, each with the reason. A case that passes all the same
/// passes.
const WAITING: &[(&str, &str)] = &[];

/// Features that readers must know and this build does not: a case that must hold may be refused
/// for these alone.
pub const UNREAD: &[&str] = &[];

/// Features that writers must know and this build does not: an append may be refused for these.
const UNWRITTEN: &[&str] = &["generatedColumns", "invariants"];

/// Cases that are believed wrong, by the end of the id, each with the number of its entry in
/// `spec/discrepancies.md`.
const DISPUTED: &[(&str, u32)] = &[
    ("_derived/ict-not-first@latest:snapshot", 7),
    ("basic-stats-all-types-checkpoint/delta@all types:prune_set", 4),
    ("basic-stats-all-types-columnmapping-id/delta@all types:prune_set", 4),
    ("basic-stats-all-types/delta@all types:prune_set", 4),
    ("trino/databricks73/pruning/double_inf@val>100:prune", 4),
    ("trino/databricks73/pruning/float_inf@val>100:prune", 4),
];

/// The manifest's names of errors, and the codes that say the same.
const ERRORS: &[(&str, &[Code])] = &[
    ("bad-crc-file", &[Code::ChecksumMismatch, Code::CorruptLog]),
    ("bad-deletion-vector", &[Code::CorruptDv, Code::MissingFile]),
    ("bad-path", &[Code::InvalidPath, Code::PathEscape]),
    ("bad-schema", &[Code::InvalidSchema, Code::InvalidMetadata, Code::InvalidAction]),
    ("cdf-not-enabled", &[Code::FeedNotEnabled]),
    ("commit-info-not-first", &[Code::InvalidAction, Code::CorruptLog]),
    ("commits-missing", &[Code::ExpiredSnapshot, Code::VersionNotFound]),
    ("constraint-violation", &[Code::InvalidData]),
    ("corrupt-checkpoint", &[Code::CorruptCheckpoint]),
    ("corrupt-commit", &[Code::CorruptLog, Code::InvalidAction]),
    ("identity-explicit-value", &[Code::InvalidData]),
    ("invalid-protocol", &[Code::InvalidProtocol]),
    ("invalid-range", &[Code::InvalidArgument]),
    ("log-gap", &[Code::VersionGap, Code::VersionNotFound]),
    // What lies outside the table is refused before it is looked for.
    ("missing-file", &[Code::MissingFile, Code::PathEscape, Code::UnsupportedPath]),
    ("missing-sidecar", &[Code::MissingFile, Code::CorruptCheckpoint]),
    ("no-metadata", &[Code::InvalidMetadata]),
    ("no-protocol", &[Code::InvalidProtocol]),
    ("not-a-table", &[Code::NotATable]),
    ("timestamp-after-last-version", &[Code::VersionNotFound]),
    ("timestamp-before-first-version", &[Code::VersionNotFound]),
    ("unsupported-feature", &[Code::UnsupportedProtocol]),
    ("unsupported-protocol", &[Code::UnsupportedProtocol]),
    ("unsupported-type-change", &[Code::UnsupportedProtocol, Code::InvalidSchema]),
    ("unsupported-writer-feature", &[Code::UnsupportedProtocol]),
    ("version-not-found", &[Code::VersionNotFound]),
    ("version-not-ratified", &[Code::VersionNotFound]),
];

/// What the comparison of one case gives. `Ok(Ok(found))`: as expected, and what was found where
/// the manifest says it. `Ok(Err(wrong))`: another answer. `Err`: an error.
type Answer = Result<Result<Found, String>, Error>;

/// What a case found: the number of rows, where an expected error has rows as an alternative.
type Found = Option<u64>;

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

/// Runs every case of a folder whose id holds `part`.
///
/// # Errors
///
/// A manifest that cannot be read.
pub async fn run_all(
    env: &Env,
    folder: &Path,
    part: &str,
) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report::default();
    for case in manifest(folder)?.into_iter().filter(|it| it.id.contains(part)) {
        let verdict = run(env, folder, &case).await;
        report.add(case, verdict);
    }
    Ok(report)
}

/// Runs one case.
pub async fn run(env: &Env, folder: &Path, case: &Case) -> Verdict {
    let answer = answer(env, folder, case).await;
    let verdict = match case.expected.get("error").and_then(Value::as_str) {
        Some(name) => refusal(case, name, answer),
        None => match answer {
            Ok(Ok(_)) => Verdict::Passed,
            Ok(Err(wrong)) => Verdict::Wrong(wrong),
            Err(error) => failure(&error),
        },
    };
    let waits = WAITING.iter().find(|it| case.id.ends_with(it.0));
    match (verdict, waits) {
        (Verdict::Wrong(what) | Verdict::Failed(what), Some((_, why))) => {
            Verdict::Waiting(format!("{why} ({what})"))
        }
        (verdict, _) => verdict,
    }
}

/// The verdict where an error is expected; some manifests name rows that are as good.
fn refusal(case: &Case, name: &str, answer: Answer) -> Verdict {
    let known = ERRORS.iter().find(|it| it.0 == name).map_or(&[][..], |it| it.1);
    match answer {
        Err(error) if known.contains(&error.code()) => Verdict::Passed,
        Err(error) => failure(&error),
        Ok(Ok(rows)) => {
            let other = case.expected.get("alternative").and_then(|it| it.get("rows"));
            match other.and_then(Value::as_u64) {
                Some(other) if rows == Some(other) => Verdict::Passed,
                _ => Verdict::Wrong(format!("expected {name}, got rows: {rows:?}")),
            }
        }
        Ok(Err(wrong)) => Verdict::Wrong(format!("expected {name}, got an answer: {wrong}")),
    }
}

/// The verdict on an error that is not expected. A feature that this build has is no excuse.
fn failure(error: &Error) -> Verdict {
    match error.missing_feature() {
        Some(missing) if error.code() == Code::UnsupportedProtocol => {
            Verdict::Refused(missing.feature.to_string())
        }
        _ => Verdict::Failed(format!("{error:?}")),
    }
}

async fn answer(env: &Env, folder: &Path, case: &Case) -> Answer {
    let location = folder.join(&case.table);
    match case.op.as_str() {
        "read" => reads::rows(folder, case, &open(env, &location, case).await?).await,
        "snapshot" => reads::facts(case, &open(env, &location, case).await?).await,
        "prune" => pruning::one(case, &open(env, &location, case).await?).await,
        "prune_set" => pruning::set(case, &open(env, &location, case).await?).await,
        "column_stats" => pruning::statistics(case, &location),
        "dv_decode" => vectors::decode(env, case, &location).await,
        "crc" => logs::checksum(env, case, &location).await,
        "cdf" => reads::changes(env, folder, case).await,
        "catalog_read" => logs::catalog(env, folder, case).await,
        "timestamp_to_version" => logs::version_at(env, case, &location).await,
        "version_timestamp" => {
            open(env, &location, case).await?.timestamp().await?;
            Ok(Ok(None))
        }
        "append_refuse" => writes::nothing(env, case, &location).await,
        "append_row" => writes::row(env, case, &location).await,
        other => Ok(Err(format!("no comparison for {other}"))),
    }
}

async fn open(env: &Env, location: &Path, case: &Case) -> Result<Snapshot, Error> {
    let table = Table::open_with(env, &location.to_string_lossy())?;
    match case.version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await,
        None => table.snapshot().await,
    }
}

/// What keeps a case from being compared is no answer of the engine's.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::internal(format!("the case cannot be compared: {what}"))
}
