//! What the log says beside rows and files: checksums and times.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lakebed::{Env, Table, Timestamp};
use lakebed_log::checksum::Checksum;
use serde_json::Value;

use super::writes::copy_folder;
use super::{Answer, Case, broken, open};

/// The checksum of a version: its counts, and whether it agrees with the log.
pub(super) async fn checksum(env: &Env, case: &Case, location: &Path) -> Answer {
    let version = case.version.unwrap_or(0);
    let file = location.join("_delta_log").join(format!("{version:020}.crc"));
    let bytes = fs::read(file).map_err(broken)?;
    // One that cannot be read fails nothing else.
    let state = open(env, location, case).await?.files().await?;
    let verdict = Checksum::compare(&bytes, &state);
    let Some((size, files, txn)) = Checksum::parse_counts(&bytes) else {
        verdict?;
        return Ok(Err("the checksum agrees and cannot be read".to_string()));
    };
    let facts = case.facts();
    let is = |name: &str, ours: Value| match facts.get(name) {
        Some(it) if *it != ours => Some(format!("{name} is {ours}, should be {it}")),
        _ => None,
    };
    let mut wrong: Vec<String> = [is("tableSizeBytes", size.into()), is("numFiles", files.into())]
        .into_iter()
        .flatten()
        .collect();
    let has = |name: &str| facts.get("has").and_then(|it| it.get(name)).and_then(Value::as_bool);
    if has("txnId").is_some_and(|it| it != txn.is_some()) {
        wrong.push(format!("txnId is {txn:?}"));
    }
    let agrees = case.expected.get("consistent_with_replay").and_then(Value::as_bool);
    if agrees.is_some_and(|it| it != verdict.is_ok()) {
        wrong.push(format!("agrees should be {agrees:?}: {verdict:?}"));
    }
    if let (Err(error), Some(lies)) =
        (&verdict, case.expected.get("mismatch").and_then(Value::as_array))
        && !lies.iter().filter_map(Value::as_str).any(|it| error.message().contains(it))
    {
        wrong.push(format!("{error:?} names none of {lies:?}"));
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
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
    let found = table.snapshot_at(at).await?.version().get();
    Ok(match case.facts().get("version").and_then(Value::as_u64) {
        Some(version) if version != found => Err(format!("got {found}, should be {version}")),
        _ => Ok(None),
    })
}
