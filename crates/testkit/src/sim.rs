//! A world in one thread: virtual time, tasks polled in an order that the choices pick, no runtime
//! inside.
//!
//! Nothing happens between two polls, and time stands still while any task can run; when none can,
//! it jumps to the next timer. So a run is a function of its choices, and hours of it cost
//! milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lakebed::Timestamp;
use lakebed::env::{BoxFuture, Runtime};

use crate::choices::{Choices, Client, WORLD, mix};

/// When every simulated world begins: 2024-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// Time, tasks and choices of one run.
pub struct World {
    choices: Choices,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Duration,
    next_task: u64,
    tasks: BTreeMap<u64, Task>,
    ready: BTreeSet<u64>,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
    steps: u64,
}

struct Task {
    client: Client,
    future: BoxFuture<'static, ()>,
}

/// The part of a world that one client sees: its clock may be off.
pub struct Side {
    world: Arc<World>,
    client: Client,
    skew_millis: i64,
    random: Mutex<u64>,
}

/// Most polls of one run; more is a loop that never ends.
const STEPS_MAX: u64 = 200_000;

impl World {
    /// A world that takes its course from `choices`.
    pub fn new(choices: Choices) -> Arc<World> {
        Arc::new(World { choices, state: Mutex::default() })
    }

    /// Where its decisions come from.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        let millis = self.state().now.as_millis();
        BEGINNING.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// The runtime of one client, whose wall clock is `skew_millis` ahead.
    pub fn side(self: &Arc<World>, client: Client, skew_millis: i64) -> Arc<Side> {
        let random = Mutex::new(mix(u64::from(client)));
        Arc::new(Side { world: Arc::clone(self), client, skew_millis, random })
    }

    /// Starts a task of a client.
    pub fn spawn(&self, client: Client, future: BoxFuture<'static, ()>) {
        let mut state = self.state();
        let id = state.next_task;
        state.next_task += 1;
        state.tasks.insert(id, Task { client, future });
        state.ready.insert(id);
    }

    /// Ends every task of a client where it stands, as a killed process does.
    pub fn kill(&self, client: Client) {
        let dead: Vec<Task> = {
            let mut state = self.state();
            let ids: Vec<u64> =
                state.tasks.iter().filter(|it| it.1.client == client).map(|it| *it.0).collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        // Dropped without the lock: destructors may spawn.
        drop(dead);
    }

    /// Waits in virtual time.
    pub fn sleep(self: &Arc<World>, duration: Duration) -> BoxFuture<'static, ()> {
        let due = self.state().now + duration;
        Box::pin(Sleep { world: Arc::clone(self), due, timer: None })
    }

    /// Runs until no task is left.
    ///
    /// # Errors
    ///
    /// Tasks that wait for nothing that will come, or a run without end.
    pub fn run(self: &Arc<World>) -> Result<(), String> {
        loop {
            let Some(id) = self.next()? else { return Ok(()) };
            let Some(mut task) = self.state().tasks.remove(&id) else { continue };
            let waker = Waker::from(Arc::new(Wakes { world: Arc::clone(self), id }));
            let poll = task.future.as_mut().poll(&mut Context::from_waker(&waker));
            if poll.is_pending() {
                self.state().tasks.insert(id, task);
            }
        }
    }

    /// The next task to poll, picked among those that can run; moves time when none can.
    fn next(&self) -> Result<Option<u64>, String> {
        loop {
            let ready: Vec<u64> = {
                let mut state = self.state();
                state.steps += 1;
                if STEPS_MAX < state.steps {
                    return Err(format!("no end after {STEPS_MAX} steps"));
                }
                let State { tasks, ready, .. } = &mut *state;
                ready.retain(|it| tasks.contains_key(it));
                ready.iter().copied().collect()
            };
            if !ready.is_empty() {
                let at = self.choices.pick("task", WORLD, ready.len() as u64);
                let picked = usize::try_from(at).ok().and_then(|it| ready.get(it)).copied();
                if let Some(id) = picked {
                    self.state().ready.remove(&id);
                }
                return Ok(picked);
            }
            let waker = {
                let mut state = self.state();
                match state.timers.pop_first() {
                    Some(((due, _), waker)) => {
                        state.now = state.now.max(due);
                        waker
                    }
                    None if state.tasks.is_empty() => return Ok(None),
                    None => return Err(format!("{} tasks wait for ever", state.tasks.len())),
                }
            };
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Wakes {
    world: Arc<World>,
    id: u64,
}

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.world.state().ready.insert(self.id);
    }
}

struct Sleep {
    world: Arc<World>,
    due: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        let Sleep { world, due, timer } = &mut *self;
        let mut state = world.state();
        if *due <= state.now {
            return Poll::Ready(());
        }
        let number = *timer.get_or_insert_with(|| {
            state.next_timer += 1;
            state.next_timer
        });
        state.timers.insert((*due, number), context.waker().clone());
        Poll::Pending
    }
}

/// A wait that nobody awaits any more must not hold up the end of the world.
impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.timer {
            self.world.state().timers.remove(&(self.due, number));
        }
    }
}

impl Runtime for Side {
    fn now(&self) -> Timestamp {
        self.world.now().plus_millis(self.skew_millis)
    }

    fn elapsed(&self) -> Duration {
        self.world.state().now
    }

    fn random(&self) -> u64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *random = mix(*random);
        *random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.world.sleep(duration)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.world.spawn(self.client, future);
    }

    fn compute(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }

    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }

    fn cores(&self) -> usize {
        1
    }
}
