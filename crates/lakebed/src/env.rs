//! Clock, chance, threads: everything the engine takes from outside.
//!
//! No other module reads a clock, draws a random number or starts a thread, so that a whole engine
//! can be run from one seed. There are two implementations of [`Runtime`]: tokio's here, and the
//! simulator's, in which time is a number and all work happens when the scheduler says.
//!
//! Three kinds of work, three kinds of threads:
//!
//! ```text
//!   spawn     futures, waiting for stores            few threads, never block
//!   block     file system calls                      as many as are in the kernel
//!   compute   decoding, encoding, evaluating         one per core
//! ```
//!
//! A hop from one to another costs as much as a small file. So work on few bytes is done where it
//! is asked for, and a future that asks the disk for one small thing after another is driven where
//! it may wait.
//!
//! They are apart because a decoder on an I/O thread stalls every request that shares it, and a
//! hundred threads that decode only take turns. A panic in any of them ends the operation with an
//! `internal` error, not the process: we are guests in other people's processes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::time::Timestamp;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use uuid::Uuid;

use crate::budget::Budget;

mod answer;
#[cfg(feature = "tokio")]
mod chance;
#[cfg(feature = "tokio")]
mod cores;
mod credentials;
mod deadline;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tokio")]
mod waiters;

pub use credentials::{Credentials, Fresh};
pub(crate) use deadline::Deadline;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Memory that an [`Env`] hands out unless told otherwise, in bytes.
pub const BUDGET_BYTES: u64 = 1 << 30;
/// Size of a piece of an object that is too large for one request, unless told otherwise.
pub(crate) const PIECE_BYTES: usize = 8 << 20;

/// Up to this many bytes, work is done before another thread would have begun with it.
const BRIEF_BYTES: usize = 64 << 10;

/// What an environment is made of. Two implementations: tokio's, and the simulator's.
pub trait Runtime: Send + Sync {
    /// Wall clock.
    fn now(&self) -> Timestamp;
    /// Monotonic clock; where it starts does not matter.
    fn elapsed(&self) -> Duration;
    /// 64 random bits. Two of them make an id, so no two threads, processes or machines may ever
    /// draw the same pair.
    fn random(&self) -> u64;
    /// Waits. The time begins with the call, not with the first poll.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Runs a future to its end in the background.
    fn spawn(&self, future: BoxFuture<'static, ()>);
    /// Runs CPU work on its own threads, one per core; the simulator runs it at once.
    fn compute(&self, work: Box<dyn FnOnce() + Send + 'static>);
    /// The same for short work that lets more work begin: it goes before what waits in the queue of
    /// `compute`. By default as [`Runtime::compute`].
    fn compute_first(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.compute(work);
    }
    /// Runs work that waits in the kernel, away from the threads of `spawn` and `compute`; the
    /// simulator runs it at once.
    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>);
    /// Runs a future to its end in the background, on a thread that may wait in the kernel, so that
    /// what it hands to `block` need not go to another one. By default as [`Runtime::spawn`].
    fn drive(&self, future: BoxFuture<'static, ()>) {
        self.spawn(future);
    }
    /// How many `compute` threads there are.
    fn cores(&self) -> usize;
}

/// Everything the engine takes from outside: a [`Runtime`], the memory budget, the format of data
/// files, and the stores. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use lakebed::Env;
///
/// let env = Env::tokio().with_budget(64 << 20);
/// # futures::executor::block_on(async {
/// let sum = env.compute(|| Ok((1..=100u64).sum::<u64>())).await?;
/// assert_eq!(sum, 5050);
/// let never = std::future::pending::<lakebed::Result<()>>();
/// assert!(env.timeout(Duration::ZERO, "nothing", never).await.is_err());
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Env(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    runtime: Arc<dyn Runtime>,
    format: Option<Arc<dyn Any + Send + Sync>>,
    budget: Budget,
    write_budget: Budget,
    stores: Vec<(String, Arc<dyn ObjectStore>)>,
    options: Vec<(String, String)>,
    credentials: Option<Arc<dyn Credentials>>,
    roots: Vec<String>,
    syncs: bool,
    piece_bytes: usize,
    shared: Shared,
    kept: Arc<Mutex<Kept>>,
}

/// What all users of one environment have together, by name, as long as somebody holds it.
type Shared = Arc<Mutex<BTreeMap<String, Weak<dyn Any + Send + Sync>>>>;

/// What is made once for the options of an environment, and kept as long as it is.
type Kept = BTreeMap<String, Arc<dyn Any + Send + Sync>>;

impl Env {
    /// With a runtime of the caller's, data files as Parquet, and a budget of [`BUDGET_BYTES`].
    pub fn new(runtime: Arc<dyn Runtime>) -> Env {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Env(Arc::new(Inner {
            runtime,
            format: None,
            budget: Budget::new(BUDGET_BYTES - BUDGET_BYTES / 2),
            write_budget: Budget::new(BUDGET_BYTES / 2),
            stores: vec![("memory://".to_string(), memory)],
            options: Vec::new(),
            credentials: None,
            roots: Vec::new(),
            syncs: true,
            piece_bytes: PIECE_BYTES,
            shared: Shared::default(),
            kept: Arc::default(),
        }))
    }

    /// On tokio. The process has one, with one budget and one `memory://`; the threads start when
    /// they are first needed. It works inside and outside a tokio runtime of the caller's, and uses
    /// none of the caller's threads. The allocator of glibc, where that is the process's, is led to
    /// keep up to 8 MB of freed memory a thread.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Env {
        use std::sync::OnceLock;
        static SHARED: OnceLock<Env> = OnceLock::new();
        SHARED.get_or_init(|| Env::new(Arc::new(tokio::Tokio::start()))).clone()
    }

    /// Tables whose location starts with `prefix` (e.g. `sim://`) live in this store, below the
    /// rest of their location. The longest prefix that fits wins. `memory://` is there from the
    /// start, one store per [`Env::new`], shared by what is derived from it.
    ///
    /// The store must create an object only if it is absent when asked to
    /// ([`PutMode::Create`](object_store::PutMode::Create)), and must not repeat such a request by
    /// itself: a retry that finds the object of the first try looks like somebody else's.
    /// [`conformance`](crate::store::conformance) finds out whether it will do.
    #[must_use]
    pub fn with_store(&self, prefix: impl Into<String>, store: Arc<dyn ObjectStore>) -> Env {
        self.with(|it| it.stores.push((prefix.into(), store)))
    }

    /// Another memory budget, in bytes, not shared with the one before. One half is for reading,
    /// one for writing.
    #[must_use]
    pub fn with_budget(&self, bytes: u64) -> Env {
        self.with(|it| {
            it.budget = Budget::new(bytes - bytes / 2);
            it.write_budget = Budget::new(bytes / 2);
        })
    }

    /// A storage option, under the names that users of cloud stores know: `aws_region`,
    /// `azure_storage_account_name`, `google_service_account`, `timeout`; upper or lower case.
    /// Options win over the variables of the process's environment. One that no store knows is
    /// refused by name when a location is opened. The page `docs/stores.md` lists them.
    ///
    /// ```
    /// let env = lakebed::Env::tokio().with_option("aws_regoin", "eu-west-1");
    /// let error = env.open("/data/events").unwrap_err();
    /// assert!(error.to_string().contains("the nearest is `aws_region`"));
    /// ```
    #[must_use]
    pub fn with_option(&self, key: impl Into<String>, value: impl Into<String>) -> Env {
        self.with(|it| {
            it.options.push((key.into(), value.into()));
            it.kept = Arc::default();
        })
    }

    /// Credentials of cloud stores come from here, and are asked for anew before they expire. They
    /// win over options and over the environment.
    #[must_use]
    pub fn with_credentials(&self, credentials: Arc<dyn Credentials>) -> Env {
        self.with(|it| {
            it.credentials = Some(credentials);
            it.kept = Arc::default();
        })
    }

    /// Are commits and data files on the local disk synced before they are acknowledged? Defaults
    /// to `true`. Without, a commit still lands whole or not at all as long as the machine runs; a
    /// crash of the machine may lose the last ones, or leave a table that has to be repaired.
    ///
    /// ```
    /// # use lakebed::Env;
    /// let fast_and_loose = Env::tokio().with_sync(false);
    /// # let _ = fast_and_loose;
    /// ```
    #[must_use]
    pub fn with_sync(&self, syncs: bool) -> Env {
        self.with(|it| it.syncs = syncs)
    }

    /// How large an object must be to be sent to an object store in pieces, and how large these
    /// are, in bytes. Defaults to 8 MiB. Most stores refuse pieces below 5 MiB; up to four of an
    /// object are in memory.
    ///
    /// ```
    /// # use lakebed::Env;
    /// let far_away = Env::tokio().with_piece_bytes(32 << 20);
    /// # let _ = far_away;
    /// ```
    #[must_use]
    pub fn with_piece_bytes(&self, bytes: usize) -> Env {
        self.with(|it| it.piece_bytes = bytes.max(1))
    }

    pub(crate) fn piece_bytes(&self) -> usize {
        self.0.piece_bytes
    }

    pub(crate) fn syncs(&self) -> bool {
        self.0.syncs
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Env {
        let mut inner = (*self.0).clone();
        // A location may mean another place there.
        inner.shared = Shared::default();
        change(&mut inner);
        Env(Arc::new(inner))
    }

    /// The one `T` of that name that all clones of this environment share. It lives as long as
    /// somebody holds it; what is derived by one of the `with` methods has its own.
    pub(crate) fn shared<T: Any + Send + Sync + Default>(&self, name: &str) -> Arc<T> {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let there = shared.get(name).and_then(Weak::upgrade);
        if let Some(Ok(it)) = there.map(Arc::downcast::<T>) {
            return it;
        }
        let new = Arc::new(T::default());
        shared.retain(|_, it| 0 < it.strong_count());
        let kept: Arc<dyn Any + Send + Sync> = new.clone();
        shared.insert(name.to_string(), Arc::downgrade(&kept));
        new
    }

    /// Locations below which the paths of a log may lead.
    pub(crate) fn roots(&self) -> &[String] {
        &self.0.roots
    }

    pub(crate) fn with_root(&self, root: &str) -> Env {
        self.with(|it| it.roots.push(root.to_string()))
    }

    /// The storage options. Their values may be secrets and are not for messages.
    pub(crate) fn options(&self) -> &[(String, String)] {
        &self.0.options
    }

    /// Where credentials come from, if the caller has said.
    #[cfg(feature = "cloud")]
    pub(crate) fn credentials(&self) -> Option<&Arc<dyn Credentials>> {
        self.0.credentials.as_ref()
    }

    /// The same, that keeps nothing: for what is itself kept, and would keep itself for ever.
    #[cfg(feature = "cloud")]
    pub(crate) fn apart(&self) -> Env {
        self.with(|it| it.kept = Arc::default())
    }

    /// What `make` gave when it was first asked under this name with these options.
    #[cfg(feature = "cloud")]
    pub(crate) fn kept<T: Any + Send + Sync>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = kept.get(name).and_then(|it| Arc::clone(it).downcast().ok()) {
            return Ok(it);
        }
        let made = Arc::new(make()?);
        kept.insert(name.to_string(), Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        Ok(made)
    }

    /// The store registered for `location`, and the rest of the location. Among equally long
    /// prefixes the last one registered wins.
    pub(crate) fn registered<'a>(
        &self,
        location: &'a str,
    ) -> Option<(&Arc<dyn ObjectStore>, &'a str)> {
        let fits = |it: &&(String, Arc<dyn ObjectStore>)| location.starts_with(it.0.as_str());
        let (prefix, store) = self.0.stores.iter().filter(fits).max_by_key(|it| it.0.len())?;
        Some((store, location.get(prefix.len()..)?))
    }

    /// Wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.runtime.now()
    }

    /// Monotonic clock; where it starts does not matter.
    pub fn elapsed(&self) -> Duration {
        self.0.runtime.elapsed()
    }

    /// A random (version 4) UUID from the runtime's chance.
    pub fn id(&self) -> Uuid {
        let (high, low) = (self.random(), self.random());
        let bits = u128::from(high) << 64 | u128::from(low);
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.0.runtime.random()
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        self.0.runtime.sleep(duration).await;
    }

    /// Runs a future in the background, from now on, and gives its result. Dropping the handle does
    /// not stop it.
    ///
    /// # Errors
    ///
    /// Those of the future; `internal` if it panics.
    pub fn spawn<T, F>(&self, future: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.background(future, |runtime, it| runtime.spawn(it))
    }

    /// The same on a thread that may wait in the kernel: for what asks the local disk for one small
    /// thing after another.
    pub(crate) fn drive<T, F>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.background(future, |runtime, it| runtime.drive(it))
    }

    fn background<T, F>(
        &self,
        future: F,
        start: fn(&dyn Runtime, BoxFuture<'static, ()>),
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (future, result) = answer::of_future(future);
        start(&*self.0.runtime, future);
        result
    }

    /// Runs CPU work on the compute threads, from now on. Work whose handle is dropped before it
    /// began is left out.
    ///
    /// # Errors
    ///
    /// Those of the work; `internal` if it panics.
    pub fn compute<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let (work, result) = answer::of_work_if_wanted(work);
        self.0.runtime.compute(work);
        result
    }

    /// The same for short work that lets more work begin: it goes before what is long and waits.
    ///
    /// # Errors
    ///
    /// As [`Env::compute`].
    pub(crate) fn compute_first<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let (work, result) = answer::of_work_if_wanted(work);
        self.0.runtime.compute_first(work);
        result
    }

    /// CPU work on about so many bytes: few are worked on right here, more as by [`Env::compute`].
    ///
    /// # Errors
    ///
    /// As [`Env::compute`].
    pub(crate) async fn compute_of<T, W>(&self, bytes: usize, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        match bytes <= BRIEF_BYTES {
            true => answer::caught(work),
            false => self.compute(work).await,
        }
    }

    /// Runs work that waits in the kernel, from now on and to its end, whether or not somebody
    /// still waits for the result.
    ///
    /// # Errors
    ///
    /// Those of the work; `internal` if it panics.
    pub fn block<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let (work, result) = answer::of_work(work);
        self.0.runtime.block(work);
        result
    }

    /// How many compute threads there are.
    pub fn cores(&self) -> usize {
        self.0.runtime.cores()
    }

    /// The memory pool of everything that reads.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// The memory pool of writes. Apart, because the input of a write may be a read: from one pool,
    /// writes could hold all that their own inputs wait for.
    pub fn write_budget(&self) -> &Budget {
        &self.0.write_budget
    }

    /// What [`Env::with_format`] hung on, if it is a `T`.
    pub(crate) fn format<T: Any>(&self) -> Option<&T> {
        self.0.format.as_deref().and_then(|it| it.downcast_ref())
    }

    /// Carries the data file format for the module that knows what that is, which stands above and
    /// is not named here.
    pub(crate) fn with_format<T: Any + Send + Sync>(&self, format: T) -> Env {
        self.with(|it| it.format = Some(Arc::new(format)))
    }

    /// Runs `future` unless `limit` passes first.
    ///
    /// # Errors
    ///
    /// Those of the future; `unavailable`, saying what was waited for, at the limit. The future is
    /// dropped then.
    pub async fn timeout<T>(
        &self,
        limit: Duration,
        what: &str,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match select(pin!(future), self.0.runtime.sleep(limit)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(unanswered(what, limit)),
        }
    }
}

impl Env {
    /// Runs `future` as long as it gets on: until `moved` has not grown for about `limit`. For what
    /// takes many answers, whose number nobody knows before.
    pub(crate) async fn while_moving<T>(
        &self,
        limit: Duration,
        what: &str,
        moved: &AtomicU64,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (mut future, mut seen) = (pin!(future), moved.load(Ordering::Relaxed));
        loop {
            match select(future.as_mut(), self.0.runtime.sleep(limit)).await {
                Either::Left((result, _)) => return result,
                Either::Right(_) => {
                    let now = moved.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(unanswered(what, limit));
                    }
                    seen = now;
                }
            }
        }
    }

    /// Runs `future` unless the deadline passes first. The future is dropped then.
    pub(crate) async fn until<T>(
        &self,
        deadline: &Deadline,
        what: &str,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match select(pin!(future), self.0.runtime.sleep(deadline.left())).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(deadline.error(what)),
        }
    }
}

impl fmt::Debug for Env {
    /// Without the values of options, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes: Vec<&str> = self.0.stores.iter().map(|it| it.0.as_str()).collect();
        f.debug_struct("Env")
            .field("budget", &self.0.budget.total())
            .field("stores", &prefixes)
            .field("options", &self.0.options.iter().map(|it| &it.0).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn unanswered(what: &str, limit: Duration) -> Error {
    Error::new(Code::Unavailable, format!("{what}: no answer within {limit:?}"))
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
