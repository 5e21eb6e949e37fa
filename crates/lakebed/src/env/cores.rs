//! The compute threads: one per core. What comes first is done first, but for short work that lets
//! more work begin: it goes before all other, or it would wait behind what is long while cores run
//! dry.
//!
//! A thread starts when work comes and none is idle, so a process that only appends a row never
//! starts more than it needs. Threads stay for the life of the process.
//!
//! What they do above all is unpack pages, a megabyte each, into memory that the next page needs
//! again. An allocator that hands such memory back to the system in between costs more than the
//! unpacking: each page is then cleared, mapped and unmapped anew.

use std::collections::VecDeque;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::answer::Work;

/// A block of memory of the size that pages of Parquet, and batches of them, stay below.
const PAGE_BYTES_MAX: usize = 4 << 20;

pub(super) struct Cores {
    count: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    /// Goes before the queue.
    first: VecDeque<Work>,
    queue: VecDeque<Work>,
    started: usize,
    idle: usize,
}

impl State {
    fn next(&mut self) -> Option<Work> {
        self.first.pop_front().or_else(|| self.queue.pop_front())
    }
}

impl Cores {
    pub(super) fn new(count: usize) -> Cores {
        keep_pages();
        Cores { count: count.max(1), shared: Arc::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn run(&self, work: Work) {
        self.push(|state| state.queue.push_back(work));
    }

    /// Runs work before that of [`Cores::run`] which has not begun.
    pub(super) fn run_first(&self, work: Work) {
        self.push(|state| state.first.push_back(work));
    }

    fn push(&self, push: impl FnOnce(&mut State)) {
        let start = {
            let mut state = self.shared.lock();
            push(&mut state);
            let waiting = state.first.len() + state.queue.len();
            let start = state.idle < waiting && state.started < self.count;
            state.started += usize::from(start);
            start
        };
        self.shared.came.notify_one();
        if start && !self.start() {
            let alone = {
                let mut state = self.shared.lock();
                state.started -= 1;
                state.started == 0
            };
            // The system gives no thread at all: better slow, on the caller's, than never.
            if alone {
                self.shared.drain();
            }
        }
    }

    fn start(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("lakebed-compute".to_string());
        thread.spawn(move || shared.serve()).is_ok()
    }
}

/// Has the allocator keep what pages were unpacked into, a few of them a thread. The one of glibc
/// learns from the largest block that was freed what comes and goes, and keeps up to twice its
/// size; nothing touches the block, so it costs nothing. Other allocators do as they please.
fn keep_pages() {
    drop(black_box(Vec::<u8>::with_capacity(PAGE_BYTES_MAX)));
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.next() {
                drop(state);
                // The work reports its own panics; this one only keeps the thread.
                let _ = catch_unwind(AssertUnwindSafe(work));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn drain(&self) {
        loop {
            let Some(work) = self.lock().next() else {
                return;
            };
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}
