//! The runtime of real programs: tokio for waiting, threads of our own for computing and for what
//! waits in the kernel.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::tokio::runtime::{Builder, Runtime as Io};
use futures::executor::block_on;
use lakebed_log::time::Timestamp;

use super::chance::Chance;
use super::cores::Cores;
use super::waiters::{REST, Waiters};
use super::{BoxFuture, Runtime};

/// Threads that wait in the kernel for the file system. More than cores, because disks like
/// company; bounded, because each holds a stack and the kernel's queue is bounded too.
const BLOCKED_MAX: usize = 64;

/// How many of them drive futures at most: the others are for the jobs of everybody else.
const DRIVING_MAX: usize = BLOCKED_MAX / 2;

/// Who waits for longer than this need not wake anybody to say so.
const STANDING: Duration = Duration::from_secs(5);

thread_local! {
    /// Does this thread drive a future, so that its jobs may wait right here?
    static DRIVES: Cell<bool> = const { Cell::new(false) };
}

pub(super) struct Tokio {
    /// `None` if the system gives no threads. Then nothing is spawned, every time is up at once,
    /// and whoever waits is told so: an error, not a hang.
    io: OnceLock<Option<Io>>,
    cores: Cores,
    waiters: Waiters,
    chance: Chance,
    start: Instant,
    driving: Arc<AtomicUsize>,
    standing: Arc<Standing>,
}

/// A timer that stands while others come and go. The thread that looks after timers is woken by
/// each new one that would be the first to be up; and deadlines, of which every operation has some,
/// are hardly ever up. With one that is up before them, they are noted and nobody wakes.
#[derive(Default)]
struct Standing {
    is_up: AtomicBool,
    /// Did somebody wait since it was set?
    asked: AtomicBool,
}

impl Standing {
    #[expect(clippy::disallowed_methods, reason = "the timer behind `Env::sleep`")]
    fn stand(self: &Arc<Self>, io: &Io) {
        self.asked.store(true, Ordering::Relaxed);
        if self.is_up.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = Arc::clone(self);
        drop(io.spawn(async move {
            while this.asked.swap(false, Ordering::Relaxed) {
                ::tokio::time::sleep(STANDING).await;
            }
            this.is_up.store(false, Ordering::Relaxed);
        }));
    }
}

/// One of those that drive, until this is dropped.
struct Driving(Arc<AtomicUsize>);

impl Driving {
    /// `None` if there are so many that the next one must do without.
    fn new(driving: &Arc<AtomicUsize>) -> Option<Driving> {
        let this = Driving(Arc::clone(driving));
        (this.0.fetch_add(1, Ordering::Relaxed) < DRIVING_MAX).then_some(this)
    }

    fn run(self, future: BoxFuture<'static, ()>) {
        DRIVES.set(true);
        block_on(future);
        DRIVES.set(false);
        drop(self);
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tokio {
    #[expect(clippy::disallowed_methods, reason = "the clock behind `Env::elapsed`")]
    pub(super) fn start() -> Tokio {
        Tokio {
            io: OnceLock::new(),
            cores: Cores::new(available_parallelism().map_or(1, |it| it.get())),
            waiters: Waiters::new(BLOCKED_MAX, REST),
            chance: Chance::new(),
            start: Instant::now(),
            driving: Arc::default(),
            standing: Arc::default(),
        }
    }

    fn io(&self) -> Option<&Io> {
        let start = || {
            let mut builder = Builder::new_multi_thread();
            builder
                .worker_threads(self.cores.count().clamp(1, 8))
                .max_blocking_threads(BLOCKED_MAX)
                .thread_name("lakebed-io")
                .enable_all();
            builder.build().ok()
        };
        self.io.get_or_init(start).as_ref()
    }
}

impl Runtime for Tokio {
    #[expect(clippy::disallowed_methods, reason = "the clock behind `Env::now`")]
    fn now(&self) -> Timestamp {
        let millis = |it: Duration| i64::try_from(it.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> u64 {
        self.chance.draw()
    }

    #[expect(clippy::disallowed_methods, reason = "the timer behind `Env::sleep`")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match self.io() {
            Some(io) => {
                if STANDING < duration {
                    self.standing.stand(io);
                }
                // Our timer, whatever runtime polls it.
                let _inside = io.enter();
                Box::pin(::tokio::time::sleep(duration))
            }
            None => Box::pin(std::future::ready(())),
        }
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        if let Some(io) = self.io() {
            drop(io.spawn(future));
        }
    }

    fn compute(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.cores.run(work);
    }

    fn compute_first(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.cores.run_first(work);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        if DRIVES.get() {
            work();
        } else {
            self.waiters.run(work);
        }
    }

    fn drive(&self, future: BoxFuture<'static, ()>) {
        let Some(driving) = Driving::new(&self.driving) else { return self.spawn(future) };
        // What the user has called on the way may want a runtime, as it finds one elsewhere.
        let io = self.io().map(|it| it.handle().clone());
        self.waiters.run(Box::new(move || {
            let _inside = io.as_ref().map(|it| it.enter());
            driving.run(future);
        }));
    }

    fn cores(&self) -> usize {
        self.cores.count()
    }
}
