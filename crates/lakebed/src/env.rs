//! Clock, ids, sleep, spawn for I/O, compute for CPU work. The only source of chance and time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lakebed_log::error::Result;
use lakebed_log::time::Timestamp;
use object_store::ObjectStore;
use uuid::Uuid;

use crate::budget::Budget;
use crate::codec::Codec;
use crate::store::Store;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an environment is made of. Two implementations: tokio's, and the simulator's (in `testkit`).
pub trait Runtime: Send + Sync {
    /// Wall clock.
    fn now(&self) -> Timestamp;
    /// Monotonic clock.
    fn elapsed(&self) -> Duration;
    /// 64 random bits.
    fn random(&self) -> u64;
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Runs a future to its end in the background.
    fn spawn(&self, future: BoxFuture<'static, ()>);
    /// Runs CPU work on its own threads, one per core; the simulator runs it at once.
    fn compute(&self, work: Box<dyn FnOnce() + Send + 'static>);
    /// How many `compute` threads there are.
    fn cores(&self) -> usize;
}

/// Everything the engine takes from outside. Cheap to clone.
#[derive(Clone)]
pub struct Env(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    codec: Arc<dyn Codec>,
    budget: Budget,
    stores: Vec<(String, Arc<dyn ObjectStore>)>,
    memory: Arc<dyn ObjectStore>,
    options: Vec<(String, String)>,
}

impl Env {
    /// With a runtime of the caller's, Parquet, and a budget of 1 GiB.
    pub fn new(_runtime: Arc<dyn Runtime>) -> Env { todo!() }
    /// On tokio. The process shares one.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Env { todo!() }
    /// Tables whose location starts with `prefix` (e.g. `sim://`) live in this store. `memory://` is there from the start,
    /// one store per `Env`.
    #[must_use]
    pub fn with_store(&self, _prefix: impl Into<String>, _store: Arc<dyn ObjectStore>) -> Env { todo!() }
    /// Another data file codec.
    #[must_use]
    pub fn with_codec(&self, _codec: Arc<dyn Codec>) -> Env { todo!() }
    /// Another memory budget, in bytes.
    #[must_use]
    pub fn with_budget(&self, _bytes: u64) -> Env { todo!() }
    /// A storage option. None is known to local stores: an unknown one is refused by name when a table opens.
    #[must_use]
    pub fn with_option(&self, _key: impl Into<String>, _value: impl Into<String>) -> Env { todo!() }
    /// Builds the store of a location: a path, `file://`, `memory://`, or a registered prefix. No request is made. Cloud
    /// schemes are `unsupported-path` and say which release brings them.
    pub fn open(&self, _location: &str) -> Result<Store> { todo!() }
    /// Wall clock.
    pub fn now(&self) -> Timestamp { self.0.runtime.now() }
    /// Monotonic clock.
    pub fn elapsed(&self) -> Duration { self.0.runtime.elapsed() }
    /// A random (version 4) UUID from the runtime's chance.
    pub fn id(&self) -> Uuid { todo!() }
    /// 64 random bits.
    pub fn random(&self) -> u64 { self.0.runtime.random() }
    /// Waits.
    pub async fn sleep(&self, duration: Duration) { self.0.runtime.sleep(duration).await }
    /// Runs a future in the background and gives its result; dropping the handle does not stop it. A panic in it is
    /// `internal`.
    pub async fn spawn<T: Send + 'static>(&self, _future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> { todo!() }
    /// Runs CPU work on the compute threads. A panic in it is `internal`.
    pub async fn compute<T: Send + 'static>(&self, _work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> { todo!() }
    /// How many compute threads there are.
    pub fn cores(&self) -> usize { self.0.runtime.cores() }
    /// The memory pool.
    pub fn budget(&self) -> &Budget { &self.0.budget }
    /// The data file codec.
    pub fn codec(&self) -> &Arc<dyn Codec> { &self.0.codec }
    /// Runs `future` unless `limit` passes first: then `unavailable`, saying what was waited for.
    pub async fn timeout<T>(&self, _limit: Duration, _what: &str, _future: impl Future<Output = Result<T>>) -> Result<T> { todo!() }
}
