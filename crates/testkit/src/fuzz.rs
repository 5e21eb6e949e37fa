//! Bodies of the fuzz targets: each takes the bytes of a stranger and must neither panic nor hang.
//!
//! Where the code promises a law, it is asserted as well: what decodes encodes back, what prints
//! parses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use lakebed::{Code, Env, Error, Op, Scan, Table, Width};
use lakebed_log::action::Action;
use lakebed_log::batch::LogBatch;
use lakebed_log::expr::Expr;
use lakebed_log::log_path::LogPath;
use lakebed_log::replay::Replay;
use lakebed_log::row_set::{RowSet, frame, unframe};
use lakebed_log::schema::{PrimitiveType, Schema};
use lakebed_log::segment::Hint;
use lakebed_log::stats::Stats;
use lakebed_log::uri;
use lakebed_log::value::Value;
use lakebed_log::version::Version;
use lakebed_log::z85;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutOptions, PutPayload};
use serde_json::json;

/// Takes the bytes of a stranger.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("commit", commit),
    ("checkpoint", checkpoint),
    ("schema", schema),
    ("stats", stats),
    ("value", value),
    ("expr", expr),
    ("path", path),
    ("vector", vector),
    ("log", log),
    ("data", data),
];

/// A commit file, replayed if it decodes; and the lines of it, each of which prints and parses to
/// itself.
pub fn commit(bytes: &[u8]) {
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        if let Ok(batch) = LogBatch::from_json(bytes, width) {
            let mut replay = Replay::new(Version::ZERO, width);
            let fed = replay.feed(batch);
            if width == Width::Head {
                drop(replay.finish_head())
            } else {
                drop(replay.finish())
            }
            drop(fed);
        }
    }
    for line in bytes.split(|it| *it == b'\n') {
        if let Ok(Some(action)) = Action::from_json_line(line) {
            let printed = action.to_json_line();
            let again = Action::from_json_line(printed.as_bytes());
            assert!(matches!(again, Ok(Some(it)) if it == action), "{printed}");
        }
    }
}

/// A Parquet checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        if let Ok(batch) = LogBatch::from_parquet(Bytes::copy_from_slice(bytes), width) {
            let mut replay = Replay::new(Version::ZERO, width);
            let fed = replay.feed_checkpoint([batch]);
            match width {
                Width::Head => drop(replay.finish_head()),
                _ => drop(replay.finish()),
            }
            drop(fed);
        }
    }
    let _ = Hint::parse(bytes);
}

/// A schema, as JSON and as DDL; what parses prints back to itself.
pub fn schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(schema) = Schema::from_json(text) {
        let again = Schema::from_json(&schema.to_json());
        assert!(again.is_ok_and(|it| it == schema), "{text}");
        let _ = schema.to_arrow();
    }
    let _ = Schema::parse_ddl(text);
}

/// Statistics of a file.
pub fn stats(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ddl =
        "n long, x double, s string, d date, t timestamp, p decimal(38,10), q struct<b: boolean>";
    let Ok(schema) = Schema::parse_ddl(ddl) else { return };
    let stats = Stats::from_json(text, &schema, None);
    for column in stats.columns.values() {
        let _ = Stats::bounds(column);
    }
    let _ = stats.to_json();
}

/// A partition value and a literal of every type; a value prints to what it was read from, or to
/// its equal.
pub fn value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for primitive in TYPES {
        if let Ok(Some(value)) = Value::from_partition(text, *primitive) {
            let again = Value::from_partition(&value.to_partition(), *primitive);
            let same = matches!(&again, Ok(Some(it)) if *it == value);
            // The empty string is null when read back: that is the protocol's.
            assert!(
                same || value.to_partition().is_empty(),
                "{text:?} as {primitive:?}: {again:?}"
            );
        }
        let _ = Value::from_literal(text, *primitive);
    }
}

const TYPES: &[PrimitiveType] = &[
    PrimitiveType::Boolean,
    PrimitiveType::Byte,
    PrimitiveType::Long,
    PrimitiveType::Float,
    PrimitiveType::Double,
    PrimitiveType::Decimal { precision: 12, scale: 3 },
    PrimitiveType::String,
    PrimitiveType::Binary,
    PrimitiveType::Date,
    PrimitiveType::Timestamp,
    PrimitiveType::TimestampNtz,
];

/// An expression; what parses prints back to itself.
pub fn expr(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(expr) = text.parse::<Expr>() {
        let printed = expr.to_string();
        let again = printed.parse::<Expr>();
        assert!(
            again.as_ref().is_ok_and(|it| *it == expr),
            "{text} prints as {printed}: {again:?}"
        );
    }
}

/// The name of a log file and the path of a data file; a key survives encoding.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(path) = LogPath::parse(text) {
        assert_eq!(path.to_string(), text);
    }
    let _ = uri::canonical(text);
    if let Ok(key) = uri::decode(text) {
        assert!(!key.starts_with('/') && !key.split('/').any(|it| it == ".."), "{text} escapes");
        let encoded = uri::encode(&key);
        assert!(uri::decode(&encoded).is_ok_and(|it| it == key), "{text} encodes as {encoded}");
        assert_eq!(uri::canonical(&encoded), uri::canonical(text));
    }
}

/// A deletion vector: its payload, as it stands in a file, and as text of the log. What decodes
/// encodes to what decodes to it.
pub fn vector(bytes: &[u8]) {
    // The number of positions is checked: a stranger who knows it goes further.
    for cardinality in [0, 1, 3, 6, 4096, 1 << 32] {
        if let Ok(rows) = RowSet::from_bytes(bytes, cardinality) {
            assert_eq!(rows.len(), cardinality);
            let again = RowSet::from_bytes(&rows.to_bytes(), cardinality);
            assert!(again.is_ok_and(|it| it == rows), "{bytes:02x?}");
        }
    }
    if let Ok(payload) = unframe(bytes) {
        assert!(frame(payload).is_ok_and(|it| it == bytes), "{bytes:02x?}");
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(decoded) = z85::decode(text)
    {
        assert_eq!(z85::encode(&decoded), text);
    }
}

/// A whole log, opened as a table is: `== name` on a line of its own begins a file. What it says,
/// it says twice, and no verb that only looks hangs or panics.
pub fn log(bytes: &[u8]) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    block_on(fill(store.as_ref(), bytes));
    let env = Env::tokio().with_store("fuzz://", store);
    let said = [0; 2].map(|_| block_on(look(&env)).map_err(|it| it.code()));
    let [first, second] = &said;
    assert_eq!(first, second);
    assert_ne!(*first, Err(Code::Internal), "an invariant of ours is broken");
}

/// Most files in a fuzzed log.
const LOG_FILES_MAX: usize = 64;

async fn fill(store: &dyn ObjectStore, bytes: &[u8]) {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in bytes.split_inclusive(|it| *it == b'\n') {
        match line.strip_prefix(b"== ") {
            Some(it) if files.len() < LOG_FILES_MAX => {
                files.push((String::from_utf8_lossy(it).trim().to_string(), Vec::new()));
            }
            _ => {
                if let Some((_, text)) = files.last_mut() {
                    text.extend_from_slice(line);
                }
            }
        }
    }
    for (name, bytes) in files {
        if let Ok(key) = Path::parse(format!("t/_delta_log/{name}")) {
            let _ = store.put_opts(&key, PutPayload::from(bytes), PutOptions::default()).await;
        }
    }
}

/// Version, files and what a plan keeps.
async fn look(env: &Env) -> Result<(u64, u64, usize), Error> {
    let op = Op::new(Duration::from_secs(20));
    let table = Table::open_with(env, "fuzz://t")?.with_op(op.clone());
    let mut history = table.history().await?;
    while let Some(Ok(_)) = history.next().await {}
    let snapshot = table.snapshot().await?;
    let _ = snapshot.timestamp().await;
    let files = snapshot.state(&op, Width::Wide).await?.files.len();
    let name = snapshot.schema().fields().first().map(|it| it.name.clone());
    let scan = name.map_or(Scan::new(), |it| Scan::new().filter(lakebed::col(it).is_not_null()));
    let plan = snapshot.plan(&scan).await?;
    // There are no data files: reading ends in an error or in no rows.
    if let Ok(mut batches) = snapshot.read(&scan).await {
        while let Some(Ok(_)) = batches.next().await {}
    }
    Ok((snapshot.version().get(), files, plan.tasks().len()))
}

/// A data file of a table that has a column of most kinds. Read twice it says the same, and never
/// that an invariant of ours is broken.
pub fn data(bytes: &[u8]) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let env = Env::tokio().with_store("fuzz://", Arc::clone(&store));
    let said = [0; 2].map(|_| block_on(scan(&env, store.as_ref(), bytes)).map_err(|it| it.code()));
    let [first, second] = &said;
    assert_eq!(first, second);
    assert_ne!(*first, Err(Code::Internal), "an invariant of ours is broken");
}

/// Rows of a table of one file, all and filtered.
async fn scan(env: &Env, store: &dyn ObjectStore, bytes: &[u8]) -> Result<[usize; 2], Error> {
    let ddl = "n long, s string, x double, p decimal(12,2), t timestamp, q struct<a: array<int>>";
    let schema = Schema::parse_ddl(ddl)?.to_json();
    let actions = [
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {"id": "fuzz", "format": {"provider": "parquet", "options": {}},
            "schemaString": schema, "partitionColumns": [], "configuration": {}}}),
        json!({"add": {"path": "a.parquet", "partitionValues": {}, "size": bytes.len(),
            "modificationTime": 1, "dataChange": true}}),
    ];
    let log = actions.map(|it| format!("{it}\n")).concat();
    let put = |key: &str, bytes: Vec<u8>| {
        let key = Path::from(key);
        async move { store.put_opts(&key, PutPayload::from(bytes), PutOptions::default()).await }
    };
    let broken = |it: object_store::Error| Error::invalid("cannot put").because(it);
    put("t/_delta_log/00000000000000000000.json", log.into_bytes()).await.map_err(broken)?;
    put("t/a.parquet", bytes.to_vec()).await.map_err(broken)?;
    let table = Table::open_with(env, "fuzz://t")?.with_op(Op::new(Duration::from_secs(20)));
    let snapshot = table.snapshot().await?;
    let mut rows = [0; 2];
    let filter: Expr = "n > 3 and s is not null".parse()?;
    for (scan, rows) in [Scan::new(), Scan::new().filter(filter)].iter().zip(&mut rows) {
        let mut batches = snapshot.read(scan).await?;
        while let Some(batch) = batches.next().await {
            *rows += batch?.num_rows();
        }
    }
    Ok(rows)
}
