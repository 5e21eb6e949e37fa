//! What a checkpoint costs: rendering it, and decoding it again.
//!
//! Rendering is dominated by turning JSON statistics into columns and by compression; decoding
//! narrow should be a small part of decoding wide, because statistics are most of the bytes.
//!
//! Budget: 100,000 files render in a second and decode narrow in a tenth of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may stop"
)]

use std::fmt::Write;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checkpoint::render;
use lakebed_log::replay::Replay;
use lakebed_log::state::TableState;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

const HEAD: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"m","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"n\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}},{\"name\":\"s\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}
"#;

fn state(files: u64) -> TableState {
    let mut text = HEAD.to_string();
    for id in 0..files {
        let stats = format!(
            r#"{{\"numRecords\":1000,\"minValues\":{{\"n\":{id},\"s\":\"aaa{id}\"}},\"maxValues\":{{\"n\":{},\"s\":\"zzz{id}\"}},\"nullCount\":{{\"n\":0,\"s\":1}}}}"#,
            id + 999
        );
        writeln!(
            text,
            r#"{{"add":{{"path":"part-{id:032x}.parquet","partitionValues":{{}},"size":1048576,"modificationTime":1700000000000,"dataChange":true,"stats":"{stats}"}}}}"#
        )
        .unwrap();
    }
    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    replay.feed(LogBatch::from_json(text.as_bytes(), Width::Wide).unwrap()).unwrap();
    replay.finish().unwrap()
}

fn checkpoint(c: &mut Criterion) {
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(10);
    for files in [10_000, 100_000] {
        let state = state(files);
        let now = Timestamp::from_millis(1_700_000_000_000);
        let bytes = render(&state, now).unwrap().bytes;
        group.throughput(Throughput::Elements(files));
        group.bench_function(BenchmarkId::new("render", format!("files={files}")), |b| {
            b.iter(|| render(&state, now).unwrap());
        });
        for (name, width) in [("narrow", Width::Narrow), ("wide", Width::Wide)] {
            let id = BenchmarkId::new(format!("decode {name}"), format!("files={files}"));
            group.bench_function(id, |b| {
                b.iter(|| LogBatch::from_parquet(bytes.clone(), width).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, checkpoint);
criterion_main!(benches);
