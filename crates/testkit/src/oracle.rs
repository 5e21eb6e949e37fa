//! An independent reader: what a log says, by the dullest means.
//!
//! No statistics, no checkpoint, no cache, no code of the engine: every commit from version 0 on is
//! parsed as plain JSON, and rows are what the files of [`crate::json_rows`] hold. It reads only
//! what the simulated writers write.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sim_store::Objects;

/// One commit and the table after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// `txnId` of the commit.
    pub txn_id: String,
    /// Ids of the rows in the files it added, ascending.
    pub added: Vec<i64>,
    /// Ids of all rows of the table after it, ascending.
    pub rows: Vec<i64>,
    /// `txn` actions: application and version.
    pub apps: Vec<(String, i64)>,
}

/// Every version of the table at `root`, ascending.
///
/// # Errors
///
/// A version that is missing between others, JSON that is none, a file that is not there.
pub fn read(objects: &Objects, root: &str) -> Result<Vec<Committed>, String> {
    let mut files: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut versions: Vec<Committed> = Vec::new();
    let log = format!("{root}/_delta_log/");
    let is_commit = |it: &String| it.ends_with(".json") && it.len() == log.len() + 25;
    for (version, key) in objects.keys(&log).into_iter().filter(is_commit).enumerate() {
        if key != format!("{log}{version:020}.json") {
            return Err(format!("version {version} is missing, there is {key}"));
        }
        let bytes = objects.get(&key).unwrap_or_default();
        let mut commit = Committed {
            txn_id: String::new(),
            added: Vec::new(),
            rows: Vec::new(),
            apps: Vec::new(),
        };
        for line in bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            let action: Value =
                serde_json::from_slice(line).map_err(|it| format!("{key}: {it}"))?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            if let Some(remove) = action.get("remove") {
                let path = text(&remove["path"]);
                files.remove(&path).ok_or_else(|| format!("{key}: removes unknown {path}"))?;
            } else if let Some(add) = action.get("add") {
                let path = text(&add["path"]);
                let rows = ids(objects, &format!("{root}/{path}"))?;
                commit.added.extend(&rows);
                files.insert(path, rows);
            } else if let Some(info) = action.get("commitInfo") {
                commit.txn_id = text(&info["txnId"]);
            } else if let Some(txn) = action.get("txn") {
                commit.apps.push((text(&txn["appId"]), txn["version"].as_i64().unwrap_or(-1)));
            }
        }
        commit.added.sort_unstable();
        commit.rows = files.values().flatten().copied().collect();
        commit.rows.sort_unstable();
        versions.push(commit);
    }
    Ok(versions)
}

/// The `id` of each row of a data file.
fn ids(objects: &Objects, key: &str) -> Result<Vec<i64>, String> {
    let bytes = objects.get(key).ok_or_else(|| format!("{key} is not there"))?;
    let rows = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let id = |row: serde_json::Result<Value>| {
        row.ok()
            .and_then(|it| it.get("id")?.as_i64())
            .ok_or_else(|| format!("{key}: a row without id"))
    };
    rows.map(id).collect()
}
