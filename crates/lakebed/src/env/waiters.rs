//! The threads that wait in the kernel for the file system.
//!
//! There are as many as have had something to do at once, and each commit has a few jobs for them,
//! one soon after another. So the one that has rested least goes first: its stack and its memory
//! are still in the caches of the processor, and with a queue of all of them each would be cold
//! when its turn comes. Those that nobody has needed for a while go.
//!
//! ```text
//!   idle    a b c d     d has rested least and takes the next job
//!   busy    e           when it is done, e rests after d: e is next
//! ```

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::answer::Work;

/// Who rests for so long goes.
pub(super) const REST: Duration = Duration::from_secs(10);

thread_local! {
    /// Is this one of the threads?
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

pub(super) struct Waiters {
    most: usize,
    rest: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A thread has gone for good.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    /// Waits for a thread, where all are busy.
    queue: VecDeque<Work>,
    /// Who has rested least comes last.
    idle: Vec<Arc<Seat>>,
    threads: usize,
    closed: bool,
}

/// Where a thread rests.
#[derive(Default)]
struct Seat {
    call: Mutex<Option<Call>>,
    came: Condvar,
}

enum Call {
    Work(Work),
    Leave,
}

impl Waiters {
    /// With no more threads than `most`, each of which goes once it has rested so long.
    pub(super) fn new(most: usize, rest: Duration) -> Waiters {
        Waiters { most: most.max(1), rest, shared: Arc::default() }
    }

    /// Runs work from now on, on a thread that may wait in the kernel. It is dropped if the system
    /// gives no thread at all.
    pub(super) fn run(&self, work: Work) {
        let mut state = self.shared.lock();
        if let Some(seat) = state.idle.pop() {
            drop(state);
            return seat.call(Call::Work(work));
        }
        state.queue.push_back(work);
        if state.threads < self.most {
            state.threads += 1;
            drop(state);
            self.start();
        }
    }

    fn start(&self) {
        let (shared, rest) = (Arc::clone(&self.shared), self.rest);
        let thread = thread::Builder::new().name("lakebed-io".to_string());
        if thread.spawn(move || shared.serve(rest)).is_err() {
            let mut state = self.shared.lock();
            state.threads -= 1;
            // Those that there are see to it.
            let lost = (state.threads == 0).then(|| std::mem::take(&mut state.queue));
            drop(state);
            drop(lost);
        }
    }
}

/// What is under way goes on to its end, and what waits as well, before it is gone: whoever has let
/// go of all may take away the folder that it works on.
impl Drop for Waiters {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        for seat in std::mem::take(&mut state.idle) {
            seat.call(Call::Leave);
        }
        // One of them would wait for itself.
        while 0 < state.threads && !WAITS.get() {
            state = self.shared.gone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, rest: Duration) {
        WAITS.set(true);
        let seat = Arc::new(Seat::default());
        while let Some(work) = self.next(&seat, rest) {
            // The work reports its own panics; this one only keeps the thread.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
        self.gone.notify_all();
    }

    /// What is to be done next; `None` if the thread is to go, which then no longer counts.
    fn next(&self, seat: &Arc<Seat>, rest: Duration) -> Option<Work> {
        let mut state = self.lock();
        let work = state.queue.pop_front();
        if work.is_some() {
            return work;
        }
        if state.closed {
            state.threads -= 1;
            return None;
        }
        state.idle.push(Arc::clone(seat));
        drop(state);
        match seat.rest(rest, || self.stands_up(seat)) {
            Some(Call::Work(work)) => return Some(work),
            Some(Call::Leave) => self.lock().threads -= 1,
            None => {}
        }
        None
    }

    /// Has it rested long enough, and did nobody call it just now? Then it no longer counts from
    /// this moment on: whoever comes next must not take it for one that is busy, and wait for it.
    fn stands_up(&self, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        let at = state.idle.iter().position(|it| Arc::ptr_eq(it, seat));
        let Some(at) = at else { return false };
        state.idle.remove(at);
        state.threads -= 1;
        true
    }
}

impl Seat {
    fn call(&self, call: Call) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
        self.came.notify_one();
    }

    /// Waits for a call, and asks from time to time whether it may go without one.
    fn rest(&self, rest: Duration, may_go: impl Fn() -> bool) -> Option<Call> {
        loop {
            let call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.came.wait_timeout_while(call, rest, |it| it.is_none());
            let mut call = waited.unwrap_or_else(PoisonError::into_inner).0;
            let called = call.take();
            drop(call);
            if called.is_some() || may_go() {
                return called;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread::ThreadId;

    use super::*;

    /// A job that tells where it runs, and goes on until it may end.
    struct Job {
        at: Receiver<ThreadId>,
        end: Sender<()>,
    }

    fn begin(waiters: &Waiters) -> Job {
        let (tell, at) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        waiters.run(Box::new(move || {
            tell.send(thread::current().id()).unwrap();
            let _ = ends.recv();
        }));
        Job { at, end }
    }

    /// Until so many rest.
    fn resting(waiters: &Waiters, count: usize) {
        while waiters.shared.lock().idle.len() != count {
            thread::yield_now();
        }
    }

    /// Whoever was the last to be done takes the next job, and the one before it another one.
    #[test]
    fn who_has_rested_least_goes_first() {
        let waiters = Waiters::new(8, REST);
        let jobs: Vec<Job> = (0..4).map(|_| begin(&waiters)).collect();
        let at: Vec<ThreadId> = jobs.iter().map(|it| it.at.recv().unwrap()).collect();
        for (done, job) in [2, 0, 3, 1].into_iter().zip(1..) {
            jobs[done].end.send(()).unwrap();
            resting(&waiters, job);
        }
        for _ in 0..3 {
            let one = begin(&waiters);
            assert_eq!(one.at.recv().unwrap(), at[1]);
            let other = begin(&waiters);
            assert_eq!(other.at.recv().unwrap(), at[3]);
            drop(other.end);
            resting(&waiters, 3);
            drop(one.end);
            resting(&waiters, 4);
        }
        drop(jobs);
    }

    /// More jobs than threads wait for one, a panic costs none, and all of them are done before
    /// the threads are gone.
    #[test]
    fn all_is_done_in_the_end() {
        let waiters = Waiters::new(2, REST);
        let jobs = [begin(&waiters), begin(&waiters)];
        let at: Vec<ThreadId> = jobs.iter().map(|it| it.at.recv().unwrap()).collect();
        assert_ne!(at[0], at[1]);
        let (tell, told) = mpsc::channel();
        for it in 0..50 {
            let tell = tell.clone();
            waiters.run(Box::new(move || {
                tell.send(it).unwrap();
                assert!(it % 2 == 0, "odd");
            }));
        }
        assert_eq!(waiters.shared.lock().threads, 2);
        assert_eq!((waiters.shared.lock().queue.len(), told.try_iter().count()), (50, 0));
        drop((jobs, tell));
        let shared = Arc::clone(&waiters.shared);
        drop(waiters);
        let mut all: Vec<i32> = told.try_iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert_eq!(shared.lock().threads, 0);
    }

    /// Nobody rests for ever, and who comes then finds somebody all the same.
    #[test]
    fn who_is_not_needed_goes() {
        let waiters = Waiters::new(2, Duration::from_millis(1));
        for _ in 0..20 {
            let job = begin(&waiters);
            job.at.recv().unwrap();
            drop(job.end);
            thread::yield_now();
        }
        while 0 < waiters.shared.lock().threads {
            thread::yield_now();
        }
        assert!(waiters.shared.lock().idle.is_empty());
        begin(&waiters).at.recv().unwrap();
    }

    /// Who comes while the only thread stands up is not left to one that goes.
    #[test]
    fn who_comes_as_somebody_goes() {
        let waiters = Waiters::new(1, Duration::ZERO);
        for _ in 0..3_000 {
            let job = begin(&waiters);
            while job.at.try_recv().is_err() {
                let state = waiters.shared.lock();
                assert!(state.queue.is_empty() || 0 < state.threads, "nobody is there for it");
            }
        }
    }
}
