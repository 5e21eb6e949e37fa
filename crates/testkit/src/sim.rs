//! A world in one thread: virtual time, tasks polled in a fixed order, no runtime inside.
//!
//! Nothing happens between two polls, and time stands still while any task can run; when none can,
//! it jumps to the next timer. What comes before what is decided by how long requests travel, which
//! the choices say. So a run is a function of its choices, and hours of it cost milliseconds.
//!
//! A client may be frozen, as a process is that the machine puts to sleep: none of its tasks is
//! polled, and its timers go off when it wakes. It may be killed: its tasks end where they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lakebed::Timestamp;
use lakebed::env::{BoxFuture, Runtime};

use crate::choices::{Choices, Client, mix};

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
    frozen: BTreeMap<Client, Duration>,
    doomed: BTreeSet<Client>,
    notes: Vec<Note>,
    calm: bool,
}

/// What happened, for whoever reads a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Since the beginning.
    pub at: Duration,
    /// Who.
    pub client: Client,
    /// What.
    pub what: String,
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
const STEPS_MAX: u64 = 400_000;

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
        let millis = self.since().as_millis();
        BEGINNING.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// The true time since the beginning.
    pub fn since(&self) -> Duration {
        self.state().now
    }

    /// From here on nothing goes wrong any more: what is left is to look.
    pub fn clear_up(&self) {
        let mut state = self.state();
        state.calm = true;
        state.frozen.clear();
        state.steps = 0;
    }

    /// Has the sky cleared up?
    pub fn is_calm(&self) -> bool {
        self.state().calm
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

    /// The client is not polled for this long.
    pub fn freeze(&self, client: Client, how_long: Duration) {
        let mut state = self.state();
        let until = state.now + how_long;
        state.frozen.insert(client, until);
    }

    /// Ends every task of a client once the present poll is over, as `kill -9` does.
    pub fn doom(&self, client: Client) {
        self.state().doomed.insert(client);
    }

    /// Takes note of what happened.
    pub fn note(&self, client: Client, what: impl FnOnce() -> String) {
        let what = what();
        self.choices.note(&what);
        let mut state = self.state();
        let at = state.now;
        state.notes.push(Note { at, client, what });
    }

    /// What was noted, in order.
    pub fn notes(&self) -> Vec<Note> {
        self.state().notes.clone()
    }

    /// Waits in virtual time.
    pub fn sleep(self: &Arc<World>, duration: Duration) -> BoxFuture<'static, ()> {
        let due = self.since() + duration;
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
            } else {
                drop(task);
            }
            self.bury();
        }
    }

    fn bury(&self) {
        let dead: Vec<Task> = {
            let mut state = self.state();
            if state.doomed.is_empty() {
                return;
            }
            let State { tasks, doomed, .. } = &mut *state;
            let ids = tasks.iter().filter(|it| doomed.contains(&it.1.client)).map(|it| *it.0);
            let ids: Vec<u64> = ids.collect();
            doomed.clear();
            ids.iter().filter_map(|id| tasks.remove(id)).collect()
        };
        // Without the lock: destructors may spawn. What they spawn ends too.
        let clients: BTreeSet<Client> = dead.iter().map(|it| it.client).collect();
        let before = self.state().next_task;
        drop(dead);
        let late: Vec<Task> = {
            let mut state = self.state();
            let ids = state.tasks.range(before..);
            let ids: Vec<u64> =
                ids.filter(|it| clients.contains(&it.1.client)).map(|it| *it.0).collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        drop(late);
    }

    /// The next task to poll; moves time when none can run.
    fn next(&self) -> Result<Option<u64>, String> {
        loop {
            let waker = {
                let mut state = self.state();
                state.steps += 1;
                if STEPS_MAX < state.steps {
                    return Err(format!("no end after {STEPS_MAX} steps"));
                }
                let State { now, tasks, ready, frozen, .. } = &mut *state;
                ready.retain(|it| tasks.contains_key(it));
                frozen.retain(|_, until| *now < *until);
                let asleep = |id: &u64| tasks.get(id).and_then(|it| frozen.get(&it.client));
                if let Some(id) = ready.iter().find(|it| asleep(it).is_none()).copied() {
                    ready.remove(&id);
                    return Ok(Some(id));
                }
                let wakes = ready.iter().filter_map(asleep).min().copied();
                match (state.timers.first_key_value().map(|it| it.0.0), wakes) {
                    (due, Some(wakes)) if due.is_none_or(|due| wakes < due) => {
                        state.now = wakes;
                        continue;
                    }
                    (None, _) if state.tasks.is_empty() => return Ok(None),
                    (None, _) => {
                        return Err(format!("{} tasks wait for ever", state.tasks.len()));
                    }
                    (Some(due), _) => {
                        state.now = state.now.max(due);
                        state.timers.pop_first().map(|it| it.1)
                    }
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
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

impl Side {
    /// From here on other random numbers: two operations, or two lives of a client, share none.
    pub fn reseed(&self, life: u64, operation: u64) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *random = mix(mix(mix(u64::from(self.client)) ^ life) ^ operation);
    }
}

impl Runtime for Side {
    fn now(&self) -> Timestamp {
        self.world.now().plus_millis(self.skew_millis)
    }

    fn elapsed(&self) -> Duration {
        self.world.since()
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
