//! A table of very many files that exist only in its log: what planning has to find its way in.
//!
//! Adds come in an order that scatters partitions and keys, as a busy table gets them, so that what
//! stands together in the checkpoint stands so because the writer of the checkpoint put it there.

use std::fmt::Write as _;
use std::path::Path;

use lakebed::Table;
use serde_json::json;

use crate::{Figures, Outcome, figures, peak_mb};

/// Adds of one commit: some twenty megabytes of text.
const COMMIT_ADDS: u64 = 50_000;
/// Days of the partition column.
const DAYS: u64 = 365;
/// Keys of one file.
const KEYS: u64 = 6_000;

/// Writes commits of `files` adds, partitioned by day or not, and a checkpoint over them.
pub(crate) async fn make(
    location: &str,
    files: u64,
    partitioned: bool,
    second: bool,
) -> Outcome<Figures> {
    let log = Path::new(location).join("_delta_log");
    std::fs::create_dir_all(&log)?;
    let mut version = 0;
    let mut text = head(partitioned, second);
    for at in 0..files {
        add(&mut text, scattered(at, files), partitioned)?;
        if (at + 1) % COMMIT_ADDS == 0 || at + 1 == files {
            std::fs::write(log.join(format!("{version:020}.json")), &text)?;
            text.clear();
            version += 1;
        }
    }
    drop(text);
    let before = peak_mb();
    let start = std::time::Instant::now();
    Table::open(location).await?.snapshot().await?.checkpoint().await?;
    let checkpoint_s = start.elapsed().as_secs_f64();
    figures(json!({
        "checkpoint_s": checkpoint_s,
        "n_files": files,
        "rss_before_mb": before,
        "checkpoint_bytes": checkpoint_bytes(&log)?,
    }))
}

/// Changes `changed` files of such a table, half of them removed and of one day, and writes a
/// checkpoint: by a handle that has just opened the table, then again by the same one.
pub(crate) async fn change(location: &str, changed: u64, partitioned: bool) -> Outcome<Figures> {
    let log = Path::new(location).join("_delta_log");
    let before = checkpoint_bytes(&log)?;
    let table = Table::open(location).await?;
    let mut rounds = Vec::new();
    let opened = peak_mb();
    for round in 0..2 {
        let version = table.snapshot().await?.version().get() + 1;
        let mut text = String::new();
        for at in 0..changed / 2 {
            let file = (at + round * changed) * DAYS;
            let day = day_of(file);
            writeln!(
                text,
                "{{\"remove\":{{\"path\":\"{}\",\"dataChange\":true,\"deletionTimestamp\":{}}}}}",
                path_of(file, &day, partitioned),
                u64::try_from(lakebed::Env::tokio().now().as_millis())?,
            )?;
            add(&mut text, (1 << 40) + at + round * changed, partitioned)?;
        }
        std::fs::write(log.join(format!("{version:020}.json")), &text)?;
        let bytes = checkpoint_bytes(&log)?;
        let snapshot = table.snapshot().await?;
        let start = std::time::Instant::now();
        snapshot.checkpoint().await?;
        rounds.push(json!({
            "checkpoint_s": start.elapsed().as_secs_f64(),
            "checkpoint_bytes": checkpoint_bytes(&log)? - bytes,
        }));
    }
    figures(json!({"before_bytes": before, "rss_opened_mb": opened, "rounds": rounds}))
}

/// Bytes of all checkpoints, and of the sidecars.
fn checkpoint_bytes(log: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(log)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".checkpoint") {
            bytes += entry.metadata()?.len();
        }
    }
    if let Ok(sidecars) = std::fs::read_dir(log.join("_sidecars")) {
        for entry in sidecars {
            bytes += entry?.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn head(partitioned: bool, second: bool) -> String {
    let field =
        |name: &str, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let fields = [
        field("id", "long"),
        field("price", "double"),
        field("name", "string"),
        field("day", "string"),
    ];
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let configuration = match second {
        false => json!({}),
        true => json!({"delta.checkpointPolicy": "v2"}),
    };
    let by: &[&str] = if partitioned { &["day"] } else { &[] };
    let metadata = json!({"metaData": {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": by,
        "configuration": configuration,
        "createdTime": 1_700_000_000_000_i64,
    }});
    let protocol = match second {
        false => json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        true => json!({"protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["v2Checkpoint"],
            "writerFeatures": ["v2Checkpoint"],
        }}),
    };
    format!("{protocol}\n{metadata}\n")
}

/// A permutation of `0..files`: the numbers of a multiplication by something prime to it.
fn scattered(at: u64, files: u64) -> u64 {
    let mut step = 2_654_435_761 % files.max(1);
    while gcd(step.max(1), files) != 1 {
        step += 1;
    }
    u64::try_from(u128::from(at) * u128::from(step.max(1)) % u128::from(files)).unwrap_or(at)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn day_of(file: u64) -> String {
    let day = file % DAYS;
    format!("2024-{:02}-{:02}", 1 + day / 31, 1 + day % 31)
}

fn path_of(file: u64, day: &str, partitioned: bool) -> String {
    let folder = if partitioned { format!("day={day}/") } else { String::new() };
    let random = file.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let other = random.rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93);
    format!("{folder}part-{:05}-{random:016x}{other:016x}.c000.snappy.parquet", file % 100_000)
}

fn add(text: &mut String, file: u64, partitioned: bool) -> Outcome<()> {
    let (low, high) = (file.wrapping_mul(KEYS), file.wrapping_mul(KEYS) + KEYS - 1);
    let day = day_of(file);
    let values = if partitioned { format!("\"day\":\"{day}\"") } else { String::new() };
    let price = file % 613;
    let stats = format!(
        "{{\\\"numRecords\\\":100000,\\\"minValues\\\":{{\\\"id\\\":{low},\\\"price\\\":{price}.25,\
         \\\"name\\\":\\\"a{price:03}\\\"}},\\\"maxValues\\\":{{\\\"id\\\":{high},\\\"price\\\":9{price}.5,\
         \\\"name\\\":\\\"z{price:03}\\\"}},\\\"nullCount\\\":{{\\\"id\\\":0,\\\"price\\\":0,\
         \\\"name\\\":0}}}}"
    );
    writeln!(
        text,
        "{{\"add\":{{\"path\":\"{}\",\
         \"partitionValues\":{{{values}}},\"size\":{},\"modificationTime\":{},\"dataChange\":true,\
         \"stats\":\"{stats}\"}}}}",
        path_of(file, &day, partitioned),
        5_000_000 + file % 100_000,
        1_700_000_000_000_u64 + file,
    )?;
    Ok(())
}
