//! Writers that are not ours, as a simulated run has them: their commits look as those of Spark and
//! of delta-rs do, without an identity, and they delete rows by deletion vectors.
//!
//! They are as simple as a writer can be: they know what is there, write the next version, and give
//! up when somebody else was first. So nothing that goes wrong in a run is their doing.

use std::collections::BTreeSet;
use std::sync::Arc;

use lakebed::Code;
use lakebed::env::Runtime;
use lakebed_log::row_set::{self, RowSet};
use lakebed_log::z85;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde_json::{Map, Value, json};

use crate::choices::Client;
use crate::client::{ROOT, Shared};
use crate::history::{Change, Deed, Told};
use crate::oracle::{self, FileKey, Row};
use crate::sim::Side;
use crate::sim_store::SimStore;

/// The first commit of a table with deletion vectors, as Spark makes it.
pub fn create(shared: &Shared) -> String {
    let field =
        |name: &str, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let schema = json!({
        "type": "struct",
        "fields": [field("day", "string"), field("id", "long"), field("note", "string")],
    });
    let mut configuration: Map<String, Value> = Map::new();
    for (key, value) in shared.properties() {
        configuration.insert(key, value.into());
    }
    configuration.insert("delta.enableDeletionVectors".into(), "true".into());
    let mut readers = vec!["deletionVectors"];
    readers.extend(shared.weather.table.second_layout.then_some("v2Checkpoint"));
    let writers = [readers.as_slice(), &["appendOnly", "invariants"]].concat();
    lines(&[
        json!({"commitInfo": {"operation": "CREATE TABLE", "engineInfo": "Apache-Spark/3.5.3"}}),
        json!({"metaData": {
            "id": "e6a1b9d2-0d0c-4b3f-8f7e-3a1b3c5d7e9f",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_string(),
            "partitionColumns": ["day"],
            "configuration": configuration,
            "createdTime": shared.world.now().as_millis(),
        }}),
        json!({"protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": readers,
            "writerFeatures": writers,
        }}),
    ])
}

fn lines(actions: &[Value]) -> String {
    actions.iter().map(|it| format!("{it}\n")).collect()
}

/// Ids of some rows of one file, as a predicate might find them.
pub fn some_ids(shared: &Shared, client: Client) -> Vec<i64> {
    let versions = oracle::read(&shared.objects.journal(), ROOT).unwrap_or_default();
    let Some(newest) = versions.last() else { return Vec::new() };
    let choices = shared.world.choices();
    let files: Vec<&Vec<Row>> = newest.files.values().filter(|it| !it.is_empty()).collect();
    let file = choices.pick("file", client, files.len() as u64);
    let Some(rows) = usize::try_from(file).ok().and_then(|it| files.get(it)) else {
        return Vec::new();
    };
    let from = choices.pick("delete-from", client, rows.len() as u64);
    let count = 1 + choices.pick("delete-count", client, 2);
    let taken = rows.iter().skip(usize::try_from(from).unwrap_or(0));
    taken.take(usize::try_from(count).unwrap_or(1)).map(|it| it.id).collect()
}

/// One try of a deed. Conflicts and faults alike are given up on.
pub async fn write(shared: &Shared, store: &SimStore, side: &Arc<Side>, deed: &Deed) -> Told {
    let versions = match oracle::read(&shared.objects.journal(), ROOT) {
        Ok(it) => it,
        Err(what) => return Told::Failed(Code::Internal, what),
    };
    let version = versions.len();
    let mut actions = vec![json!({"commitInfo": {
        "timestamp": side.now().as_millis(),
        "operation": "WRITE",
        "engineInfo": "Apache-Spark/3.5.3 Delta-Lake/3.2.1",
        "userMetadata": format!("{}/{}", deed.client, deed.operation),
    }})];
    let newest = versions.last();
    let written = match &deed.change {
        Change::Append(rows) => append(store, side, rows, &mut actions).await,
        Change::Delete(ids) => match newest {
            Some(newest) => delete(shared, store, side, newest, ids, &mut actions).await,
            None => Err("there is no table".to_string()),
        },
        Change::Overwrite(..) | Change::Property(_) => Err("a foreign writer cannot".to_string()),
    };
    if let Err(what) = written {
        return Told::Failed(Code::Unavailable, what);
    }
    // Some writers put their name last.
    if side.random().is_multiple_of(2) {
        actions.rotate_left(1);
    }
    let key = Path::from(format!("{ROOT}/_delta_log/{version:020}.json"));
    let text = lines(&actions);
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    if store.put_opts(&key, text.clone().into(), create).await.is_ok() {
        return Told::Version(version as u64);
    }
    let read = async { store.get(&key).await?.bytes().await };
    match read.await {
        Ok(there) if there == text.as_bytes() => Told::Version(version as u64),
        Ok(_) => Told::Failed(Code::Conflict, "another was first".to_string()),
        Err(_) => Told::Unknown(String::new()),
    }
}

async fn put(store: &SimStore, key: &str, bytes: Vec<u8>) -> Result<(), String> {
    let key = Path::from(format!("{ROOT}/{key}"));
    store.put(&key, bytes.into()).await.map(|_| ()).map_err(|it| it.to_string())
}

fn id(side: &Side) -> [u8; 16] {
    let (high, low) = (side.random(), side.random());
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

fn hex(id: [u8; 16]) -> String {
    let text: String = id.iter().map(|it| format!("{it:02x}")).collect();
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|it| text.get(it).unwrap_or("").to_string());
    parts.join("-")
}

/// One file a day.
async fn append(
    store: &SimStore,
    side: &Arc<Side>,
    rows: &[Row],
    actions: &mut Vec<Value>,
) -> Result<(), String> {
    let days: BTreeSet<&String> = rows.iter().map(|it| &it.day).collect();
    for day in days {
        let rows: Vec<&Row> = rows.iter().filter(|it| it.day == *day).collect();
        let path = format!("day={day}/part-00000-{}.c000.json", hex(id(side)));
        let text: String = rows.iter().map(|it| format!("{}\n", json!({"id": it.id}))).collect();
        put(store, &path, text.clone().into_bytes()).await?;
        let (least, most) = (rows.iter().map(|it| it.id).min(), rows.iter().map(|it| it.id).max());
        let stats = json!({
            "numRecords": rows.len(),
            "minValues": {"id": least},
            "maxValues": {"id": most},
            "nullCount": {"id": 0},
        });
        actions.push(json!({"add": {
            "path": path,
            "partitionValues": {"day": day},
            "size": text.len(),
            "modificationTime": side.now().as_millis(),
            "dataChange": true,
            "stats": stats.to_string(),
        }}));
    }
    Ok(())
}

/// Deletes rows of one file by a new vector; a file without rows leaves.
async fn delete(
    shared: &Shared,
    store: &SimStore,
    side: &Arc<Side>,
    newest: &oracle::Version,
    ids: &[i64],
    actions: &mut Vec<Value>,
) -> Result<(), String> {
    let holds = |rows: &[Row]| ids.iter().all(|id| rows.iter().any(|it| it.id == *id));
    let file = newest.files.iter().find(|it| holds(it.1));
    let (key, live) = file.ok_or_else(|| "the rows are gone".to_string())?;
    let old = old_add(shared, key).ok_or_else(|| "the file never was added".to_string())?;
    let mut remove = old.clone();
    remove
        .retain(|name, _| ["path", "partitionValues", "size", "deletionVector"].contains(&&**name));
    remove.insert("deletionTimestamp".into(), side.now().as_millis().into());
    remove.insert("dataChange".into(), true.into());
    remove.insert("extendedFileMetadata".into(), true.into());
    actions.push(json!({"remove": remove}));
    if live.len() == ids.len() {
        return Ok(());
    }
    let bytes = shared.objects.get(&format!("{ROOT}/{}", key.path));
    let bytes = bytes.ok_or_else(|| "the file is gone".to_string())?.bytes;
    let rows = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let stays = |row: &Value| {
        let id = row.get("id").and_then(Value::as_i64).unwrap_or(-1);
        live.iter().any(|it| it.id == id) && !ids.contains(&id)
    };
    let dead = (0u64..).zip(rows.flatten()).filter(|(_, row)| !stays(row));
    let dead: RowSet = dead.map(|it| it.0).collect();
    let payload = dead.to_bytes();
    let (size, cardinality) = (payload.len(), dead.len());
    let vector = match side.random().is_multiple_of(2) {
        true => json!({
            "storageType": "i",
            "pathOrInlineDv": z85::encode(&padded(&payload)),
            "sizeInBytes": size,
            "cardinality": cardinality,
        }),
        false => {
            let id = id(side);
            let mut file = vec![row_set::FILE_VERSION];
            file.extend(row_set::frame(&payload).map_err(|it| it.to_string())?);
            put(store, &format!("deletion_vector_{}.bin", hex(id)), file).await?;
            json!({
                "storageType": "u",
                "pathOrInlineDv": z85::encode(&id),
                "offset": 1,
                "sizeInBytes": size,
                "cardinality": cardinality,
            })
        }
    };
    let mut add = old;
    add.insert("deletionVector".into(), vector);
    add.insert("dataChange".into(), true.into());
    actions.push(json!({"add": add}));
    Ok(())
}

fn padded(payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    bytes.resize(payload.len().next_multiple_of(4), 0);
    bytes
}

/// The action that added a file, as it stands in the log.
fn old_add(shared: &Shared, key: &FileKey) -> Option<Map<String, Value>> {
    let journal = shared.objects.journal();
    let commits =
        journal.iter().filter(|it| it.key.ends_with(".json") && it.key.contains("_delta_log"));
    let texts = commits.filter_map(|it| it.bytes.as_ref());
    let adds = texts.flat_map(|it| {
        let lines = it.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok());
        lines.collect::<Vec<Value>>()
    });
    let adds = adds.filter_map(|it| it.get("add").cloned());
    let added = adds.filter(|it| oracle::key_of(it).as_ref() == Some(key)).last();
    added?.as_object().cloned()
}
