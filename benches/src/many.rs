//! A table of very many files that exist only in its log: what planning has to find its way in.
//!
//! Adds come in an order that scatters partitions and keys, as a busy table gets them, so that what
//! stands together in the checkpoint stands so because the writer of the checkpoint put it there.

use std::fmt::Write as _;
use std::path::Path;

use lakebed::Table;
use serde_json::json;

use crate::{Figures, Outcome, figures, peak_mb};

/// Adds of one commit: some hundred megabytes of text.
const COMMIT_ADDS: u64 = 250_000;
/// Days of the partition column.
const DAYS: u64 = 365;
/// Keys of one file.
const KEYS: u64 = 6_000;

/// Writes commits of `files` adds, partitioned by day or not, and a checkpoint over them.
pub(crate) async fn make(location: &str, files: u64, partitioned: bool) -> Outcome<Figures> {
    let log = Path::new(location).join("_delta_log");
    std::fs::create_dir_all(&log)?;
    let mut version = 0;
    let mut text = head(partitioned);
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

fn checkpoint_bytes(log: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(log)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".checkpoint") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn head(partitioned: bool) -> String {
    let field =
        |name: &str, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let fields = [
        field("id", "long"),
        field("price", "double"),
        field("name", "string"),
        field("day", "string"),
    ];
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let by: &[&str] = if partitioned { &["day"] } else { &[] };
    let metadata = json!({"metaData": {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": by,
        "configuration": {},
        "createdTime": 1_700_000_000_000_i64,
    }});
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
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

fn add(text: &mut String, file: u64, partitioned: bool) -> Outcome<()> {
    let (low, high) = (file * KEYS, file * KEYS + KEYS - 1);
    let day = file % DAYS;
    let day = format!("2024-{:02}-{:02}", 1 + day / 31, 1 + day % 31);
    let (folder, values) = match partitioned {
        true => (format!("day={day}/"), format!("\"day\":\"{day}\"")),
        false => (String::new(), String::new()),
    };
    let random = file.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let other = random.rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let price = file % 613;
    let stats = format!(
        "{{\\\"numRecords\\\":100000,\\\"minValues\\\":{{\\\"id\\\":{low},\\\"price\\\":{price}.25,\
         \\\"name\\\":\\\"a{price:03}\\\"}},\\\"maxValues\\\":{{\\\"id\\\":{high},\\\"price\\\":9{price}.5,\
         \\\"name\\\":\\\"z{price:03}\\\"}},\\\"nullCount\\\":{{\\\"id\\\":0,\\\"price\\\":0,\
         \\\"name\\\":0}}}}"
    );
    writeln!(
        text,
        "{{\"add\":{{\"path\":\"{folder}part-{:05}-{random:016x}{other:016x}.c000.snappy.parquet\",\
         \"partitionValues\":{{{values}}},\"size\":{},\"modificationTime\":{},\"dataChange\":true,\
         \"stats\":\"{stats}\"}}}}",
        file % 100_000,
        5_000_000 + file % 100_000,
        1_700_000_000_000_u64 + file,
    )?;
    Ok(())
}
