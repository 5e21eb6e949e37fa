//! An independent reader: what a log said, by the dullest means.
//!
//! No statistics, no checkpoint, no cache, no code of the engine but the bits of deletion vectors:
//! every commit that was ever created is parsed as plain JSON, in the order of versions, and rows
//! are what the files of [`crate::json_rows`] hold. Nothing that was deleted since is missing here,
//! because it reads the journal of the store and not the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use lakebed::Timestamp;
use lakebed_log::action::{DeletionVector, VectorBytes};
use lakebed_log::row_set::{self, RowSet};
use serde_json::Value;

use crate::objects::{Event, commit_version};

/// A row of a simulated table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Which no other row has.
    pub id: i64,
    /// Its partition.
    pub day: String,
    /// A column that may come later.
    pub note: Option<String>,
}

/// A file of a version: its key, the key of its vector's file, the vector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileKey {
    /// Key of the data file, from the table's root.
    pub path: String,
    /// Its vector, as the log names it.
    pub vector: Option<String>,
    /// Key of the file the vector lies in.
    pub vector_path: Option<String>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `txnId` of the commit; empty in those of others.
    pub txn_id: String,
    /// `userMetadata`
    pub user_metadata: String,
    /// When it was created.
    pub at: Timestamp,
    /// The live files after it, with the rows of each.
    pub files: BTreeMap<FileKey, Vec<Row>>,
    /// Rows of the files it added.
    pub added: Vec<Row>,
    /// Rows of the files it removed.
    pub removed: Vec<Row>,
    /// `deletionTimestamp` of the files it removed.
    pub tombstones: Vec<(FileKey, i64)>,
    /// Newest version of each application.
    pub apps: BTreeMap<String, i64>,
    /// The configuration of the table.
    pub configuration: BTreeMap<String, String>,
}

impl Version {
    /// All rows, ascending.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.files.values().flatten().cloned().collect();
        rows.sort_unstable();
        rows
    }
}

/// Every version there ever was of the table at `root`, ascending.
///
/// # Errors
///
/// JSON that is none, a file that never was, a remove of a file that is not live.
pub fn read(journal: &[Event], root: &str) -> Result<Vec<Version>, String> {
    let mut commits: BTreeMap<u64, (&Event, &Bytes)> = BTreeMap::new();
    let mut files: BTreeMap<&str, &Bytes> = BTreeMap::new();
    for event in journal {
        let Some(bytes) = &event.bytes else { continue };
        match commit_version(&event.key) {
            Some(version) => drop(commits.entry(version).or_insert((event, bytes))),
            None => drop(files.entry(&event.key).or_insert(bytes)),
        }
    }
    let mut versions: Vec<Version> = Vec::new();
    for (version, (event, bytes)) in commits {
        let mut next = Version {
            txn_id: String::new(),
            user_metadata: String::new(),
            at: event.at,
            added: Vec::new(),
            removed: Vec::new(),
            tombstones: Vec::new(),
            files: versions.last().map(|it| it.files.clone()).unwrap_or_default(),
            apps: versions.last().map(|it| it.apps.clone()).unwrap_or_default(),
            configuration: versions.last().map(|it| it.configuration.clone()).unwrap_or_default(),
        };
        for line in bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            let action: Value =
                serde_json::from_slice(line).map_err(|it| format!("version {version}: {it}"))?;
            let applied = apply(&mut next, &action, &files, root);
            applied.map_err(|it| format!("version {version}: {it}"))?;
        }
        versions.push(next);
    }
    Ok(versions)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or(-1)
}

fn apply(
    next: &mut Version,
    action: &Value,
    files: &BTreeMap<&str, &Bytes>,
    root: &str,
) -> Result<(), String> {
    if let Some(remove) = action.get("remove") {
        let (key, _) = file_key(remove)?;
        let rows = next.files.remove(&key);
        next.removed.extend(rows.ok_or_else(|| format!("removes {key:?}, which is not live"))?);
        next.tombstones.push((key, number(remove, "deletionTimestamp")));
    } else if let Some(add) = action.get("add") {
        let (key, vector) = file_key(add)?;
        let rows = rows(files, root, &key, vector.as_ref(), add)?;
        next.added.extend(rows.iter().cloned());
        let twice = next.files.keys().any(|it| it.path == key.path && *it != key);
        if twice || next.files.insert(key.clone(), rows).is_some() {
            return Err(format!("adds {key:?}, which is live"));
        }
    } else if let Some(info) = action.get("commitInfo") {
        next.txn_id = text(info, "txnId");
        next.user_metadata = text(info, "userMetadata");
    } else if let Some(txn) = action.get("txn") {
        next.apps.insert(text(txn, "appId"), number(txn, "version"));
    } else if let Some(metadata) = action.get("metaData") {
        let configuration = metadata.get("configuration").and_then(Value::as_object);
        let pairs = configuration.into_iter().flatten();
        let pairs = pairs.map(|(key, it)| (key.clone(), it.as_str().unwrap_or("").to_string()));
        next.configuration = pairs.collect();
    }
    Ok(())
}

/// What an `add` or a `remove` names.
pub fn key_of(action: &Value) -> Option<FileKey> {
    file_key(action).ok().map(|it| it.0)
}

fn file_key(action: &Value) -> Result<(FileKey, Option<DeletionVector>), String> {
    let path = text(action, "path");
    let Some(it) = action.get("deletionVector").filter(|it| !it.is_null()) else {
        return Ok((FileKey { path, vector: None, vector_path: None }, None));
    };
    let small = |key: &str| i32::try_from(number(it, key)).unwrap_or(-1);
    let vector = DeletionVector {
        storage_type: text(it, "storageType"),
        path_or_inline_dv: text(it, "pathOrInlineDv"),
        offset: it.get("offset").map(|_| small("offset")),
        size_in_bytes: small("sizeInBytes"),
        cardinality: number(it, "cardinality"),
    };
    let vector_path = match vector.bytes().map_err(|it| it.to_string())? {
        VectorBytes::Inline(_) => None,
        VectorBytes::File { path, .. } => Some(path),
    };
    let name = Some(vector.unique_id());
    Ok((FileKey { path, vector: name, vector_path }, Some(vector)))
}

/// The rows of a data file that its vector leaves.
fn rows(
    files: &BTreeMap<&str, &Bytes>,
    root: &str,
    key: &FileKey,
    vector: Option<&DeletionVector>,
    add: &Value,
) -> Result<Vec<Row>, String> {
    let get = |key: &str| {
        let there = files.get(format!("{root}/{key}").as_str()).copied();
        there.ok_or_else(|| format!("{key} never was there"))
    };
    let deleted = match vector {
        Some(vector) => deleted(vector, get)?,
        None => RowSet::new(),
    };
    let values = add.get("partitionValues");
    let partition = values.and_then(|it| it.get("day")).and_then(Value::as_str);
    let bytes = get(&key.path)?;
    let rows = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut live = Vec::new();
    for (position, row) in (0u64..).zip(rows) {
        let row = row.map_err(|it| format!("{}: {it}", key.path))?;
        if deleted.contains(position) {
            continue;
        }
        let id = row.get("id").and_then(Value::as_i64);
        let id = id.ok_or_else(|| format!("{}: a row without id", key.path))?;
        let day = partition.map_or_else(|| text(&row, "day"), str::to_string);
        let note = row.get("note").and_then(Value::as_str).map(str::to_string);
        live.push(Row { id, day, note });
    }
    Ok(live)
}

fn deleted<'a>(
    vector: &DeletionVector,
    get: impl Fn(&str) -> Result<&'a Bytes, String>,
) -> Result<RowSet, String> {
    let rows = match vector.bytes().map_err(|it| it.to_string())? {
        VectorBytes::Inline(payload) => vector.rows(&payload),
        VectorBytes::File { path, offset, size } => {
            let framed = usize::try_from(size + row_set::FRAME_BYTES).unwrap_or(usize::MAX);
            let bytes = get(&path)?.iter().copied().skip(usize::try_from(offset).unwrap_or(0));
            let framed: Vec<u8> = bytes.take(framed).collect();
            let payload = row_set::unframe(&framed).map_err(|it| it.to_string())?;
            vector.rows(payload)
        }
    };
    rows.map_err(|it| it.to_string())
}
