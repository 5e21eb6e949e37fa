//! Many appenders of one process over a store that takes its time.
//!
//! What dominates is the round trip: an append lists, writes its file, and waits for a commit,
//! three round trips and the rest of the commit that is under way. So the rate should grow with the
//! appenders until a core is busy, and the commits should stay as few as round trips allow.
//!
//! Budget: 200 appenders, 30 ms a request, 1,000 appends a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Int64Array, RecordBatch};
use lakebed::{Append, Create, Env, Error, Scan, Schema, Table};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use serde_json::json;

use crate::{Figures, Outcome, figures};

/// So many appenders at once, each so many appends of ten rows, one after the other.
pub(crate) async fn appenders(writers: u64, rounds: u64, latency: Duration) -> Outcome<Figures> {
    let waits = ThrottleConfig {
        wait_delete_per_call: latency,
        wait_get_per_call: latency,
        wait_list_per_call: latency,
        wait_list_with_delimiter_per_call: latency,
        wait_put_per_call: latency,
        ..ThrottleConfig::default()
    };
    let env = Env::tokio();
    let env = env.with_store("slow://", Arc::new(ThrottledStore::new(InMemory::new(), waits)));
    // The store waits by the clock of the runtime, so all of it goes on there.
    let inside = env.clone();
    let done = env.spawn(async move {
        let run = run(&inside, writers, rounds).await;
        run.map_err(|it| Error::invalid(it.to_string()))
    });
    Ok(done.await?)
}

async fn run(env: &Env, writers: u64, rounds: u64) -> Outcome<Figures> {
    let table = Table::open_with(env, "slow://table")?;
    let made = table.create_here(Create::new(Schema::parse_ddl("id long")?)).await?;
    let ids = Arc::new(Int64Array::from_iter_values(0..10));
    let rows = RecordBatch::try_from_iter([("id", ids as _)])?;
    let start = Instant::now();
    let tasks = (0..writers).map(|_| {
        let (table, rows) = (table.clone(), rows.clone());
        env.spawn(async move {
            let mut latencies = Vec::new();
            for _ in 0..rounds {
                let begin = Instant::now();
                table.append(rows.clone(), Append::new()).await?;
                latencies.push(begin.elapsed().as_secs_f64());
            }
            Ok(latencies)
        })
    });
    let mut latencies: Vec<f64> =
        futures::future::try_join_all(tasks).await?.into_iter().flatten().collect();
    let total_s = start.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied();
    let snapshot = table.snapshot().await?;
    let tasks = snapshot.plan(&Scan::new()).await?;
    let appends = u32::try_from(writers * rounds)?;
    figures(json!({
        "total_s": total_s,
        "appends": appends,
        "appends_per_s": f64::from(appends) / total_s,
        "commits": snapshot.version().get() - made.version().get(),
        "p50_s": at(50),
        "p99_s": at(99),
        "version": snapshot.version().get(),
        "n_files": tasks.tasks().len(),
    }))
}
