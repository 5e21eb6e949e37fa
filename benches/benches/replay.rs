//! How fast a log is decoded and reconciled.
//!
//! Decoding is bound by the JSON parser and by copying text into columns; reconciling by hashing
//! keys and probing a table that outgrows the cache. Both should grow in line with the number of
//! files, and hardly at all with the share of files that newer commits replace.
//!
//! Budget: a million actions a second on one core, decode and fold together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may stop"
)]

use std::fmt::Write;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::replay::Replay;
use lakebed_log::version::Version;

const HEAD: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"m","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"n\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}
"#;

/// Paths look like those that writers make: a long shared prefix, then a unique part.
fn adds(ids: std::ops::Range<u64>) -> String {
    let mut text = String::new();
    for id in ids {
        let path = format!("date=2026-01-01/part-{:05}-{id:032x}.parquet", id % 100_000);
        let stats = r#"{\"numRecords\":1000,\"minValues\":{\"n\":1},\"maxValues\":{\"n\":9},\"nullCount\":{\"n\":0}}"#;
        writeln!(
            text,
            r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1048576,"modificationTime":1700000000000,"dataChange":true,"stats":"{stats}"}}}}"#
        )
        .unwrap();
    }
    text
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(10);
    for files in [1_000, 100_000] {
        let text = adds(0..files);
        group.throughput(Throughput::Elements(files));
        for (name, width) in [("narrow", Width::Narrow), ("wide", Width::Wide)] {
            let id = BenchmarkId::new(format!("files={files}"), name);
            group.bench_function(id, |b| {
                b.iter(|| LogBatch::from_json(text.as_bytes(), width).unwrap());
            });
        }
    }
    group.finish();
}

fn reconcile(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    group.sample_size(10);
    for files in [10_000u64, 100_000, 1_000_000] {
        for replaced_percent in [0, 10] {
            let batch = |text: String| LogBatch::from_json(text.as_bytes(), Width::Narrow).unwrap();
            let newer = batch(HEAD.to_string() + &adds(0..files * replaced_percent / 100));
            let older = batch(adds(0..files));
            let name =
                BenchmarkId::new(format!("files={files}"), format!("replaced={replaced_percent}%"));
            group.throughput(Throughput::Elements(files));
            group.bench_function(name, |b| {
                let run = |log: [LogBatch; 2]| {
                    let mut replay = Replay::new(Version::from(1), Width::Narrow);
                    log.into_iter().for_each(|it| replay.feed(it).unwrap());
                    replay.finish().unwrap()
                };
                b.iter_batched(|| [newer.clone(), older.clone()], run, BatchSize::LargeInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, reconcile);
criterion_main!(benches);
