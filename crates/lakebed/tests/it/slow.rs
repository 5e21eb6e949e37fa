//! A store in a simulated world: every request takes its time, and puts of commits may go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use lakebed::{Env, Op, Table};
use lakebed_testkit::choices::Choices;
use lakebed_testkit::json_rows::JsonRows;
use lakebed_testkit::sim::World;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, ObjectStore, PutOptions, PutPayload, PutResult, Result,
};

use crate::between::{Between, Over, Pause};

/// How long a request takes.
pub const TAKES: Duration = Duration::from_millis(30);

/// One store for all processes of a world.
#[derive(Clone)]
pub struct Slow {
    world: Arc<World>,
    inner: Arc<InMemory>,
    /// One in how many puts of commits goes wrong; 0 is none.
    faults_one_in: u64,
    commits: Arc<AtomicU64>,
    puts: Arc<AtomicU64>,
    /// From now on, how long a put of a commit takes, in milliseconds.
    hangs: Arc<AtomicU64>,
    /// The same of the checksum that follows one.
    lingers: Arc<AtomicU64>,
    /// The same between two entries of a listing.
    crawls: Arc<AtomicU64>,
    /// The same of a deletion.
    clings: Arc<AtomicU64>,
}

impl Slow {
    pub fn new(seed: u64, faults_one_in: u64) -> Slow {
        Slow {
            world: World::new(Choices::seeded(seed)),
            inner: Arc::default(),
            faults_one_in,
            commits: Arc::default(),
            puts: Arc::default(),
            hangs: Arc::new(AtomicU64::new(30)),
            lingers: Arc::new(AtomicU64::new(30)),
            crawls: Arc::default(),
            clings: Arc::default(),
        }
    }

    /// The table, as one process of the world sees it.
    pub fn process(&self, number: u32) -> Env {
        Env::new(self.world.side(number, 0))
            .with_codec(Arc::new(JsonRows))
            .with_store("slow://", Over::sharing(Arc::clone(&self.inner), self.clone()))
    }

    pub fn table(&self, number: u32) -> Table {
        let table = Table::open_with(&self.process(number), "slow://table").unwrap();
        table.with_op(Op::new(Duration::from_secs(60)))
    }

    /// Runs the world to its end, and says how long that took there.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> Duration {
        let before = self.world.now();
        self.world.spawn(0, task.boxed());
        self.world.run().unwrap();
        let millis = self.world.now().as_millis() - before.as_millis();
        Duration::from_millis(millis as u64)
    }

    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.world.sleep(duration)
    }

    /// Puts of commits so far, and puts of all kinds.
    pub fn puts(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.puts.load(Ordering::Relaxed))
    }

    pub fn hang(&self, commits: Duration) {
        let millis = u64::try_from(commits.as_millis()).unwrap();
        self.hangs.store(millis, Ordering::Relaxed);
    }

    pub fn linger(&self, checksums: Duration) {
        let millis = u64::try_from(checksums.as_millis()).unwrap();
        self.lingers.store(millis, Ordering::Relaxed);
    }

    pub fn crawl(&self, listings: Duration) {
        let millis = u64::try_from(listings.as_millis()).unwrap();
        self.crawls.store(millis, Ordering::Relaxed);
    }

    pub fn cling(&self, deletions: Duration) {
        let millis = u64::try_from(deletions.as_millis()).unwrap();
        self.clings.store(millis, Ordering::Relaxed);
    }

    pub fn inner(&self) -> &InMemory {
        &self.inner
    }

    fn picks(&self, one_in: u64) -> bool {
        0 < one_in && self.world.choices().pick("slow-fault", 0, one_in) == 0
    }
}

fn lost() -> Error {
    Error::Generic { store: "slow", source: "the connection was reset".into() }
}

#[async_trait]
impl Between for Slow {
    async fn put(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let commit = path.as_ref().contains("_delta_log/") && path.as_ref().ends_with(".json");
        if !commit {
            let takes = match path.as_ref().ends_with(".crc") {
                true => Duration::from_millis(self.lingers.load(Ordering::Relaxed)),
                false => TAKES,
            };
            self.world.sleep(takes).await;
            return inner.put_opts(path, payload, options).await;
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        let takes = Duration::from_millis(self.hangs.load(Ordering::Relaxed));
        self.world.sleep(takes).await;
        if !self.picks(self.faults_one_in) {
            return inner.put_opts(path, payload, options).await;
        }
        match self.world.choices().pick("slow-fate", 0, 3) {
            0 => {}
            1 => drop(inner.put_opts(path, payload, options).await),
            _ => {
                let (inner, path) = (Arc::clone(inner), path.clone());
                let late = self.world.sleep(TAKES * 5);
                let late = late.then(|()| async move {
                    let _ = inner.put_opts(&path, payload, options).await;
                });
                self.world.spawn(0, late.boxed());
            }
        }
        Err(lost())
    }

    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        self.world.sleep(TAKES).await;
        inner.get_opts(path, options).await
    }

    fn list(&self, _prefix: Option<&Path>, _offset: Option<&Path>) -> BoxFuture<'static, ()> {
        self.world.sleep(TAKES)
    }

    fn entry(&self) -> Pause {
        let (world, crawls) = (Arc::clone(&self.world), Arc::clone(&self.crawls));
        Box::new(move || world.sleep(Duration::from_millis(crawls.load(Ordering::Relaxed))))
    }

    fn delete(&self) -> Pause {
        let (world, clings) = (Arc::clone(&self.world), Arc::clone(&self.clings));
        Box::new(move || world.sleep(Duration::from_millis(clings.load(Ordering::Relaxed))))
    }
}
