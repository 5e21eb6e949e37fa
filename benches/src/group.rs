//! Many appenders of one process over a store that takes its time.
//!
//! What dominates is the round trip: an append lists, writes its file, and waits for a commit,
//! three round trips and the rest of the commit that is under way. So the rate should grow with the
//! appenders until a core is busy, and the commits should stay as few as round trips allow.
//!
//! Budget: 200 appenders, 30 ms a request, 1,000 appends a second.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use lakebed::{Append, Create, Env, Scan, Schema, Table};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::json;

use crate::{Figures, Outcome, figures};

/// Requests wait, then they are as in memory.
struct Slow {
    env: Env,
    latency: Duration,
    inner: Arc<InMemory>,
    commits: AtomicU64,
}

/// So many appenders at once, each so many appends of ten rows, one after the other.
pub(crate) async fn appenders(writers: u64, rounds: u64, latency: Duration) -> Outcome<Figures> {
    let env = Env::tokio();
    let store = Arc::new(Slow {
        env: env.clone(),
        latency,
        inner: Arc::default(),
        commits: AtomicU64::new(0),
    });
    let env = env.with_store("slow://", Arc::clone(&store) as Arc<dyn ObjectStore>);
    let table = Table::open_with(&env, "slow://table")?;
    table.create_here(Create::new(Schema::parse_ddl("id long")?)).await?;
    let ids = Arc::new(Int64Array::from_iter_values(0..10));
    let rows = RecordBatch::try_from_iter([("id", ids as _)])?;
    let before = store.commits.load(Ordering::Relaxed);
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
    let commits = store.commits.load(Ordering::Relaxed) - before;
    let snapshot = table.snapshot().await?;
    let tasks = snapshot.plan(&Scan::new()).await?;
    let appends = u32::try_from(writers * rounds)?;
    figures(json!({
        "total_s": total_s,
        "appends": appends,
        "appends_per_s": f64::from(appends) / total_s,
        "commit_puts": commits,
        "p50_s": at(50),
        "p99_s": at(99),
        "version": snapshot.version().get(),
        "n_files": tasks.tasks().len(),
    }))
}

impl Slow {
    async fn wait(&self) {
        self.env.sleep(self.latency).await;
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let is_commit = path.as_ref().contains("_delta_log/") && path.as_ref().ends_with(".json");
        if is_commit {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        self.wait().await;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.wait().await;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.wait().await;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (env, latency) = (self.env.clone(), self.latency);
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.cloned());
        let listed = async move {
            env.sleep(latency).await;
            inner.list(prefix.as_ref())
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.wait().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}
