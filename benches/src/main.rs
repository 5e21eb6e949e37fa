//! One operation in this fresh process, timed from the inside; prints one line of JSON.
//!
//! `lakebed-bench OPERATION TABLE [--KEY VALUE ..]`, for drivers that put engines side by side: see
//! `peers/lakebed_adapter.py`. Times end in `_s`; everything else is an answer to compare.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a harness prints and measures"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufRead;
use std::time::{Duration, Instant};

use arrow_array::{Array, RecordBatch};
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed::write::Layout;
use lakebed::{Append, Data, Env, Op, Scan, Snapshot, Table, Width};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value, json};

mod group;
mod many;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Figures = Map<String, Value>;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let (Some(operation), Some(table)) = (words.next(), words.next()) else {
        return Err("usage: lakebed-bench OPERATION TABLE [--KEY VALUE ..]".into());
    };
    let mut options = BTreeMap::new();
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| format!("{key} has no value"))?;
        options.insert(key.trim_start_matches('-').to_string(), value);
    }
    let mut figures = block_on(run(&operation, &table, &options))?;
    figures.insert("rss_mb".to_string(), json!(peak_mb()));
    println!("{}", Value::Object(figures));
    Ok(())
}

async fn run(operation: &str, table: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    match operation {
        "open" => open(table).await,
        "files" => files(table).await,
        "many" => {
            let files = options.get("files").map_or(Ok(100_000), |it| it.parse())?;
            let partitioned = options.get("by").is_none_or(|it| it == "day");
            let second = options.get("policy").is_some_and(|it| it == "v2");
            many::make(table, files, partitioned, second).await
        }
        "change" => {
            let files = options.get("files").map_or(Ok(100), |it| it.parse())?;
            let partitioned = options.get("by").is_none_or(|it| it == "day");
            many::change(table, files, partitioned).await
        }
        "plan" => plan(table, options).await,
        "refresh" => refresh(table).await,
        "write" => write(table, options).await,
        "appends" => appends(table, options).await,
        "appenders" => {
            let number = |key: &str, or: u64| options.get(key).map_or(Ok(or), |it| it.parse());
            let latency = std::time::Duration::from_millis(number("latency-ms", 30)?);
            group::appenders(number("writers", 200)?, number("n", 20)?, latency).await
        }
        "scan" => scan(table, options).await,
        "take" => take(table, options).await,
        "epoch" => epoch(table, options).await,
        "count" => count(table).await,
        other => Err(format!("no operation `{other}`").into()),
    }
}

/// Version, schema, protocol.
async fn open(location: &str) -> Outcome<Figures> {
    let start = Instant::now();
    let snapshot = Table::open(location).await?.snapshot().await?;
    let fields = snapshot.schema().fields().len();
    let open_s = start.elapsed().as_secs_f64();
    figures(json!({"open_s": open_s, "version": snapshot.version().get(), "n_fields": fields}))
}

/// Path length and size of every live file are touched.
async fn files(location: &str) -> Outcome<Figures> {
    let start = Instant::now();
    let snapshot = Table::open(location).await?.snapshot().await?;
    let (files, bytes, length) = touch(&snapshot).await?;
    figures(json!({
        "total_s": start.elapsed().as_secs_f64(),
        "n_files": files,
        "bytes": bytes,
        "path_bytes": length,
        "version": snapshot.version().get(),
    }))
}

async fn touch(snapshot: &Snapshot) -> Outcome<(u64, u64, u64)> {
    let state = snapshot.files().await?;
    let (mut files, mut bytes, mut length) = (0u64, 0u64, 0u64);
    for chunk in state.files.chunks() {
        let (paths, sizes) = (chunk.rows.path(), chunk.rows.size());
        for row in chunk.live.iter().filter_map(|it| usize::try_from(it).ok()) {
            files += 1;
            bytes += u64::try_from(sizes.value(row))?;
            length += paths.value(row).len() as u64;
        }
    }
    Ok((files, bytes, length))
}

async fn plan(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let filter = options.get("where").ok_or("--where is missing")?;
    let start = Instant::now();
    let op = Op::default();
    let snapshot = Table::open(location).await?.with_op(op.clone()).snapshot().await?;
    let opened = op.usage();
    let scan = Scan::new().filter(filter.parse()?);
    let tasks = snapshot.plan_with(&op, &scan).await?.tasks().len();
    let total_s = start.elapsed().as_secs_f64();
    let usage = op.usage();
    let again = Instant::now();
    snapshot.plan(&scan).await?;
    let warm_plan_s = again.elapsed().as_secs_f64();
    figures(json!({
        "total_s": total_s,
        "warm_plan_s": warm_plan_s,
        "n_files": tasks,
        "open_bytes": opened.bytes_read,
        "plan_bytes": usage.bytes_read - opened.bytes_read,
        "requests": usage.requests(),
    }))
}

/// Loads and lists, waits for a line on standard input, then refreshes and lists again.
async fn refresh(location: &str) -> Outcome<Figures> {
    let table = Table::open(location).await?;
    touch(&table.snapshot().await?).await?;
    println!("ready");
    std::io::stdin().lock().lines().next().transpose()?;
    let start = Instant::now();
    let snapshot = table.snapshot().await?;
    let snapshot_s = start.elapsed().as_secs_f64();
    let (files, ..) = touch(&snapshot).await?;
    figures(json!({
        "snapshot_s": snapshot_s,
        "refresh_s": start.elapsed().as_secs_f64(),
        "version": snapshot.version().get(),
        "n_files": files,
    }))
}

fn reader(options: &BTreeMap<String, String>) -> Outcome<ParquetRecordBatchReader> {
    let path = options.get("src").ok_or("--src is missing")?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    Ok(reader.with_batch_size(64 << 10).build()?)
}

fn source(options: &BTreeMap<String, String>) -> Outcome<Vec<RecordBatch>> {
    Ok(reader(options)?.collect::<Result<_, _>>()?)
}

/// Syncs nothing with `--sync never`.
fn environment(options: &BTreeMap<String, String>) -> Env {
    let relaxed = options.get("sync").is_some_and(|it| it == "never");
    Env::tokio().with_sync(!relaxed)
}

fn layout(options: &BTreeMap<String, String>) -> Outcome<Layout> {
    let mut layout = match options.get("layout").map(String::as_str) {
        Some("random-access") => Layout::random_access(),
        _ => Layout::default(),
    };
    if let Some(codec) = options.get("codec") {
        let level = options.get("level").map(|it| it.parse()).transpose()?;
        layout.compression = Some((codec.clone(), level));
    }
    if let Some(bytes) = options.get("target-bytes") {
        layout.target_file_bytes = bytes.parse()?;
    }
    Ok(layout)
}

/// One commit of rows that are decoded beforehand; with `--stream yes`, as they are decoded.
async fn write(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let rows = match options.get("stream").is_some_and(|it| it == "yes") {
        true => Data::reader(reader(options)?),
        false => Data::from(source(options)?),
    };
    let layout = layout(options)?;
    let before = peak_mb();
    let start = Instant::now();
    let table = Table::open_with(&environment(options), location)?;
    table.append(rows, Append::new().layout(layout)).await?;
    let write_s = start.elapsed().as_secs_f64();
    let mut figures = count(location).await?;
    figures.insert("write_s".to_string(), json!(write_s));
    figures.insert("rss_before_mb".to_string(), json!(before));
    Ok(figures)
}

/// Many commits of the same rows by one writer.
async fn appends(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let rows = source(options)?;
    let append = Append::new().layout(layout(options)?);
    let commits: u64 = options.get("n").map_or(Ok(1), |it| it.parse())?;
    let env = environment(options);
    let table = Table::open_with(&env, location)?;
    // From a held snapshot, or by the table as others leave it.
    let mut held = match options.contains_key("held") {
        true => Some(table.snapshot().await?),
        false => None,
    };
    let (mut latencies, mut errors) = (Vec::new(), BTreeMap::<String, u64>::new());
    if let Some(at) = options.get("start-at") {
        wait_until(&env, at.parse()?).await?;
    }
    let start = Instant::now();
    for _ in 0..commits {
        let begin = Instant::now();
        let done = match &held {
            Some(held) => held.append(rows.clone(), append.clone()).await,
            None => table.append(rows.clone(), append.clone()).await,
        };
        match done {
            Ok(done) if held.is_some() => held = Some(done.snapshot()),
            Ok(_) => {}
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
        latencies.push(begin.elapsed().as_secs_f64());
    }
    let total_s = start.elapsed().as_secs_f64();
    let t_end = since_epoch(&env)?.as_secs_f64();
    let version = table.snapshot().await?.version().get();
    figures(json!({
        "total_s": total_s,
        "t_end": t_end,
        "latencies": latencies,
        "failed": errors.values().sum::<u64>(),
        "errors": errors,
        "version": version,
    }))
}

fn since_epoch(env: &Env) -> Outcome<Duration> {
    Ok(Duration::from_millis(u64::try_from(env.now().as_millis())?))
}

/// All processes of a run begin at one moment, in seconds since the epoch.
async fn wait_until(env: &Env, at: f64) -> Outcome<()> {
    let left = Duration::from_secs_f64(at).saturating_sub(since_epoch(env)?);
    env.sleep(left).await;
    Ok(())
}

async fn scan(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let start = Instant::now();
    let snapshot = Table::open(location).await?.snapshot().await?;
    let mut scan = Scan::new();
    if let Some(columns) = options.get("columns") {
        scan = scan.columns(columns.split(','));
    }
    if let Some(filter) = options.get("where") {
        scan = scan.filter(filter.parse()?);
    }
    let (mut rows, mut sum) = (0u64, 0.0f64);
    let mut batches = snapshot.read(&scan).await?;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows() as u64;
        if let Some(column) = options.get("sum").and_then(|it| batch.column_by_name(it)) {
            let doubles = arrow_cast::cast(column, &arrow_schema::DataType::Float64)?;
            let doubles = doubles.as_any().downcast_ref::<arrow_array::Float64Array>();
            sum += doubles.and_then(arrow_arith::aggregate::sum).unwrap_or(0.0);
        }
    }
    let sum = options.get("sum").map(|_| sum);
    figures(json!({"total_s": start.elapsed().as_secs_f64(), "rows": rows, "sum": sum}))
}

/// A column list as a scan.
fn columns(options: &BTreeMap<String, String>) -> Scan {
    match options.get("columns") {
        Some(columns) => Scan::new().columns(columns.split(',')),
        None => Scan::new(),
    }
}

/// Numbers that look random and are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// Rows at `n` different positions among `rows`, in order of position.
async fn take(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let number = |key: &str| {
        options
            .get(key)
            .ok_or(format!("--{key} is missing"))?
            .parse::<u64>()
            .map_err(|it| it.to_string())
    };
    let (n, rows) = (number("n")?, number("rows")?);
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    let mut positions = std::collections::BTreeSet::new();
    while (positions.len() as u64) < n.min(rows) {
        positions.insert(draws.below(rows));
    }
    let positions: Vec<u64> = positions.into_iter().collect();
    let start = Instant::now();
    let snapshot = Table::open(location).await?.snapshot().await?;
    let taken = snapshot.take(&positions, &columns(options)).await?;
    figures(json!({"total_s": start.elapsed().as_secs_f64(), "rows": taken.num_rows()}))
}

/// All rows in a random order, in batches: decoded once, gathered in memory.
async fn epoch(location: &str, options: &BTreeMap<String, String>) -> Outcome<Figures> {
    let size: usize = options.get("batch").map_or(Ok(1024), |it| it.parse())?;
    let most: usize = options.get("max-batches").map_or(Ok(usize::MAX), |it| it.parse())?;
    let start = Instant::now();
    let snapshot = Table::open(location).await?.snapshot().await?;
    let batches = snapshot.read(&columns(options)).await?.collect().await?;
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        order.extend((0..batch.num_rows()).map(|row| (at, row)));
    }
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    for at in (1..order.len()).rev() {
        order.swap(at, usize::try_from(draws.below(at as u64 + 1))?);
    }
    let (mut rows, mut count, mut first) = (0, 0, None);
    let parts: Vec<&RecordBatch> = batches.iter().collect();
    for indices in order.chunks(size.max(1)).take(most) {
        let batch = arrow_select::interleave::interleave_record_batch(&parts, indices)?;
        rows += batch.num_rows();
        count += 1;
        first.get_or_insert(start.elapsed().as_secs_f64());
    }
    let total_s = start.elapsed().as_secs_f64();
    figures(json!({
        "total_s": total_s,
        "first_batch_s": first,
        "rows": rows,
        "batches": count,
        "rows_per_s": f64::from(u32::try_from(rows)?) / total_s,
    }))
}

async fn count(location: &str) -> Outcome<Figures> {
    let snapshot = Table::open(location).await?.snapshot().await?;
    let state = snapshot.state(&lakebed::Op::default(), Width::Wide).await?;
    let plan = snapshot.plan(&Scan::new()).await?;
    let rows: u64 = plan.tasks().iter().filter_map(|it| it.num_records).sum();
    figures(json!({
        "rows": rows,
        "bytes": state.files.total_bytes(),
        "files": state.files.len(),
        "n_files": state.files.len(),
        "version": snapshot.version().get(),
    }))
}

fn figures(value: Value) -> Outcome<Figures> {
    match value {
        Value::Object(figures) => Ok(figures),
        _ => Err("figures are an object".into()),
    }
}

/// Peak resident memory of this process in MiB, where the system tells.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
