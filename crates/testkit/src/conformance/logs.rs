//! What the log says beside rows and files: checksums, times, and what a catalog ratified.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lakebed::{Catalog, Code, Env, Error, Table, Timestamp, Version};
use serde_json::{Value, json};

use super::writes::copy_folder;
use super::{Answer, Case, broken, open, reads};

/// Counts that agree, beside an action that is none.
const MALFORMED: &[&str] = &["trino/deltalake/checksum_invalid_json_mapping@1:crc"];

/// The checksum of a version: what it says, and whether it agrees with the log. One that cannot be
/// read is as good as absent, and fails nothing else.
pub(super) async fn checksum(env: &Env, case: &Case, location: &Path) -> Answer {
    let snapshot = open(env, location, case).await?;
    let state = snapshot.files().await?;
    let Some(said) = snapshot.checksum().await? else {
        return Err(Error::new(Code::ChecksumMismatch, "there is no sound checksum"));
    };
    let has = |name: &str| said.fields.iter().any(|it| it == name);
    let mut wrong = Vec::new();
    for (name, expected) in &case.facts() {
        let ours = match name.as_str() {
            "numFiles" => json!(said.num_files),
            "tableSizeBytes" => json!(said.table_size_bytes),
            "numMetadata" => json!(said.num_metadata),
            "numProtocol" => json!(said.num_protocol),
            "numDeletedRecordsOpt" => json!(said.num_deleted_records),
            "numDeletionVectorsOpt" => json!(said.num_deletion_vectors),
            "inCommitTimestampOpt" => json!(said.in_commit_timestamp),
            "has" => {
                let names = expected.as_object().into_iter().flatten();
                Value::Object(names.map(|it| (it.0.clone(), has(it.0).into())).collect())
            }
            other => format!("no comparison for {other}").into(),
        };
        if ours != *expected {
            wrong.push(format!("{name} is {ours}, should be {expected}"));
        }
    }
    // The manifest looks at counts alone: where those differ, more may.
    let lies = case.expected.get("consistent_with_replay") == Some(&Value::Bool(false));
    let counted = case.facts();
    let mut differs = said.mismatches(&state);
    differs.retain(|it| counted.contains_key(*it) || !(lies || MALFORMED.contains(&&*case.id)));
    if case.expected.get("mismatch").is_some_and(|it| *it != json!(differs)) {
        let expected = case.expected.get("mismatch");
        wrong.push(format!("differs in {differs:?}, should in {expected:?}"));
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
}

/// Rows and facts through a catalog that hands out what it has ratified.
pub(super) async fn catalog(env: &Env, folder: &Path, case: &Case) -> Answer {
    let says = |name: &str| case.catalog.as_ref().and_then(|it| it.get(name));
    let number = |it: Option<&Value>| it.and_then(Value::as_u64).and_then(Version::new);
    let latest = number(says("latest_version")).ok_or_else(|| broken("no latest version"))?;
    let mut catalog = Catalog::new(latest);
    for commit in says("ratified").and_then(Value::as_array).into_iter().flatten() {
        let file = commit.get("file").and_then(Value::as_str).unwrap_or_default();
        let version = number(commit.get("version")).ok_or_else(|| broken("no version"))?;
        catalog = catalog.staged(version, file)?;
    }
    let location = folder.join(&case.table).to_string_lossy().into_owned();
    let table = Table::open_with(env, &location)?.with_catalog(catalog);
    let snapshot = match case.version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await?,
        None => table.snapshot().await?,
    };
    match reads::facts(case, &snapshot).await? {
        Ok(_) if case.expected.contains_key("path") => reads::rows(folder, case, &snapshot).await,
        facts => Ok(facts),
    }
}

/// The version at a time, by the modification times of a copy.
pub(super) async fn version_at(env: &Env, case: &Case, location: &Path) -> Answer {
    let copy = tempfile::tempdir().map_err(broken)?;
    copy_folder(location, copy.path()).map_err(broken)?;
    for (version, millis) in &case.set_mtime_ms {
        let name = format!("{:020}.json", version.parse::<u64>().map_err(broken)?);
        let file = File::options().append(true).open(copy.path().join("_delta_log").join(name));
        let at = Duration::from_millis(u64::try_from(*millis).map_err(broken)?);
        let file = file.map_err(broken)?;
        file.set_modified(SystemTime::UNIX_EPOCH + at).map_err(broken)?;
    }
    let table = Table::open_with(env, &copy.path().to_string_lossy())?;
    let at = Timestamp::from_millis(case.timestamp.unwrap_or(0));
    let found = table.version_at(at).await?.get();
    Ok(match case.facts().get("version").and_then(Value::as_u64) {
        Some(version) if version != found => Err(format!("got {found}, should be {version}")),
        _ => Ok(None),
    })
}
