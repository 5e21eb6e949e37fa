//! Memory permits: one pool of bytes, one acquisition per task.
//!
//! A task knows an upper bound of what it will hold before its first byte is fetched, takes all of
//! it at once, and never asks for more while holding some. So nobody waits for bytes while holding
//! bytes, and tasks cannot deadlock, whatever they do and however small the pool.
//!
//! First come, first served, also when a later task would fit: a large task must not starve behind
//! a stream of small ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;
use lakebed_log::error::{Code, Error, Result};

/// A pool of bytes. Cheap to clone; clones are the same pool.
///
/// ```
/// use lakebed::budget::Budget;
///
/// # futures::executor::block_on(async {
/// let budget = Budget::new(100);
/// let permit = budget.acquire(60).await?;
/// assert_eq!(budget.used(), 60);
/// drop(permit);
/// assert_eq!(budget.used(), 0);
/// assert!(budget.acquire(101).await.is_err());
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

/// Bytes held; given back on drop.
#[derive(Debug)]
#[must_use = "the bytes are given back as soon as the permit is dropped"]
pub struct Permit {
    pool: Arc<Pool>,
    bytes: u64,
}

#[derive(Debug)]
struct Pool {
    total: u64,
    state: Mutex<State>,
}

/// Invariant outside the lock: the first who waits does not fit, or has gone away.
#[derive(Debug)]
struct State {
    free: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    bytes: u64,
    grant: oneshot::Sender<Permit>,
}

/// Somebody in the queue. Leaving it early may be what the next in line waits for.
struct Place {
    pool: Arc<Pool>,
    granted: oneshot::Receiver<Permit>,
}

impl Budget {
    /// A pool of `bytes`.
    pub fn new(bytes: u64) -> Budget {
        let state = State { free: bytes, waiting: VecDeque::new() };
        Budget(Arc::new(Pool { total: bytes, state: Mutex::new(state) }))
    }

    /// Waits for `bytes`, behind everybody who came before. Dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// `memory-exceeded`, naming the number, if `bytes` is more than the whole pool: waiting would
    /// not help.
    pub async fn acquire(&self, bytes: u64) -> Result<Permit> {
        let total = self.0.total;
        if total < bytes {
            let what = format!(
                "{bytes} bytes of memory are needed at once and the limit is {total} bytes"
            );
            return Err(Error::new(Code::MemoryExceeded, what));
        }
        let mut place = {
            let mut state = self.0.lock();
            if state.waiting.is_empty() && bytes <= state.free {
                state.free -= bytes;
                return Ok(Permit { pool: Arc::clone(&self.0), bytes });
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back(Waiter { bytes, grant });
            Place { pool: Arc::clone(&self.0), granted }
        };
        let granted = (&mut place.granted).await;
        granted.map_err(|_| Error::internal("the memory pool lost a waiter"))
    }

    /// Size of the pool.
    pub fn total(&self) -> u64 {
        self.0.total
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.0.total - self.0.lock().free
    }
}

impl Permit {
    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but `bytes`, when a task turns out to need less than its bound.
    pub fn shrink_to(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.pool.give_back(back);
    }
}

impl Pool {
    /// Poisoning is stepped over: no code that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `bytes` and grants what fits now, in order. Grants are sent outside the lock, because
    /// waking may run code of others.
    fn give_back(self: &Arc<Pool>, bytes: u64) {
        let mut bytes = bytes;
        loop {
            let waiter = {
                let mut state = self.lock();
                state.free += bytes;
                while state.waiting.front().is_some_and(|it| it.grant.is_canceled()) {
                    state.waiting.pop_front();
                }
                match state.waiting.front() {
                    Some(first) if first.bytes <= state.free => state.free -= first.bytes,
                    _ => return,
                }
                state.waiting.pop_front()
            };
            let Some(Waiter { bytes: wanted, grant }) = waiter else {
                return;
            };
            bytes = match grant.send(Permit { pool: Arc::clone(self), bytes: wanted }) {
                Ok(()) => 0,
                // Gone in this very moment. Taken apart here, as dropping it would recurse.
                Err(mut permit) => std::mem::take(&mut permit.bytes),
            };
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if 0 < self.bytes {
            self.pool.give_back(self.bytes);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closed first, so that the queue sees that nobody waits here. A permit that was granted
        // but never taken goes back with the receiver.
        self.granted.close();
        self.pool.give_back(0);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use futures::executor::block_on;

    use super::*;

    type Acquire<'a> = Pin<Box<dyn Future<Output = Result<Permit>> + 'a>>;

    fn acquire(budget: &Budget, bytes: u64) -> Acquire<'_> {
        let mut waiting: Acquire<'_> = Box::pin(budget.acquire(bytes));
        assert!(poll(&mut waiting).is_none(), "{bytes} bytes were free");
        waiting
    }

    fn poll(waiting: &mut Acquire<'_>) -> Option<Permit> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn takes_and_gives_back() {
        let budget = Budget::new(10);
        let (a, mut b) =
            (block_on(budget.acquire(4)).unwrap(), block_on(budget.acquire(6)).unwrap());
        assert_eq!((budget.total(), budget.used(), a.bytes()), (10, 10, 4));
        b.shrink_to(1);
        b.shrink_to(9);
        assert_eq!((budget.used(), b.bytes()), (5, 1));
        drop((a, b));
        assert_eq!(budget.used(), 0);
        assert_eq!(block_on(budget.acquire(0)).unwrap().bytes(), 0);
    }

    /// A request that can never be met is refused at once, with the number.
    #[test]
    fn more_than_the_pool() {
        let err = block_on(Budget::new(10).acquire(11)).unwrap_err();
        assert_eq!(err.code(), Code::MemoryExceeded);
        let text = "11 bytes of memory are needed at once and the limit is 10 bytes";
        assert_eq!(err.to_string(), text);
    }

    /// A small one that would fit waits behind the large one that came first.
    #[test]
    fn first_come_first_served() {
        let budget = Budget::new(10);
        let held = block_on(budget.acquire(5)).unwrap();
        let mut large = acquire(&budget, 8);
        let mut small = acquire(&budget, 1);
        drop(held);
        assert!(poll(&mut small).is_some());
        let large = poll(&mut large).unwrap();
        assert_eq!(budget.used(), 8);
        drop(large);
        assert_eq!(budget.used(), 0);
    }

    /// Leaving the queue lets the next one through, at once; leaving it after the grant but before
    /// the permit was taken gives the bytes back.
    #[test]
    fn leaving_the_queue() {
        let budget = Budget::new(10);
        let held = block_on(budget.acquire(5)).unwrap();
        let large = acquire(&budget, 8);
        let mut small = acquire(&budget, 5);
        drop(large);
        let small = poll(&mut small).unwrap();
        assert_eq!(budget.used(), 10);

        let (granted, mut next) = (acquire(&budget, 7), acquire(&budget, 10));
        drop((held, small));
        assert_eq!(budget.used(), 7);
        assert!(poll(&mut next).is_none());
        drop(granted);
        assert_eq!(poll(&mut next).unwrap().bytes(), 10);
        drop(next);
        assert_eq!(budget.used(), 0);
    }

    /// Many who left at once do not recurse and do not lose a byte.
    #[test]
    fn many_leave() {
        let budget = Budget::new(1);
        let held = block_on(budget.acquire(1)).unwrap();
        let waiting: Vec<_> = (0..10_000).map(|_| acquire(&budget, 1)).collect();
        drop(held);
        assert_eq!(budget.used(), 1);
        drop(waiting);
        assert_eq!(budget.used(), 0);
    }

    /// Threads that take, hold, shrink and leave: the pool is never overdrawn and ends whole.
    #[test]
    fn under_threads() {
        let budget = Budget::new(100);
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let budget = budget.clone();
                scope.spawn(move || {
                    for round in 0..500u64 {
                        let bytes = (thread * 31 + round * 17) % 101;
                        if round % 7 == 3 {
                            let mut abandoned: Acquire<'_> = Box::pin(budget.acquire(bytes));
                            let _ = poll(&mut abandoned);
                            continue;
                        }
                        let mut permit = block_on(budget.acquire(bytes)).unwrap();
                        assert!(budget.used() <= 100);
                        permit.shrink_to(bytes / 2);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
