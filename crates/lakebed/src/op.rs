//! One operation: what it costs, how far it is, how long it may take.
//!
//! An [`Op`] is handed down from a verb through planning, reading, writing and the store, so that
//! what a person sees (`--stats`, progress bars) and what tests pin (the exact number of requests
//! of an open or an append) is counted where it happens and nowhere else. Clones share the counts:
//! whatever runs on another thread for the operation is counted into it.
//!
//! A request is counted when it is sent, not when it succeeds: what a store bills is what we count.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest an operation runs unless told otherwise.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// A store that does not answer for this long is unavailable.
pub const ANSWER: Duration = Duration::from_secs(60);

/// Classes of requests, as stores bill them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// One page of names.
    List,
    /// An object or a range of one.
    Get,
    /// Size and time of an object.
    Head,
    /// An object, or a piece of one.
    Put,
    /// One object less.
    Delete,
}

/// What an operation used. Printed by `--stats`.
///
/// ```
/// use lakebed::op::{Op, Request};
///
/// let op = Op::default();
/// op.count(Request::List);
/// op.count(Request::Get);
/// op.read_bytes(42);
/// assert_eq!((op.usage().requests(), op.usage().bytes_read), (2, 42));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// LIST requests.
    pub lists: u64,
    /// GET requests, after neighbouring ranges were joined.
    pub gets: u64,
    /// HEAD requests.
    pub heads: u64,
    /// PUT requests.
    pub puts: u64,
    /// DELETE requests.
    pub deletes: u64,
    /// Bytes that came from the store.
    pub bytes_read: u64,
    /// Bytes that went to the store.
    pub bytes_written: u64,
    /// Live files of the versions that were planned.
    pub files_considered: u64,
    /// Files left after pruning.
    pub files_read: u64,
    /// Partitions of the versions that were planned.
    pub partitions_considered: u64,
    /// Partitions left after pruning.
    pub partitions_read: u64,
    /// Rows that came out or went in.
    pub rows: u64,
}

impl Usage {
    /// Requests of all classes.
    pub fn requests(&self) -> u64 {
        self.lists + self.gets + self.heads + self.puts + self.deletes
    }
}

/// Told about progress. Called from any thread, so it must neither block nor panic.
pub trait Observer: Send + Sync {
    /// `done` of `total` bytes or files of the phase (`"read"`, `"write"`, ..); a `total` of 0 is
    /// unknown.
    fn progress(&self, phase: &'static str, done: u64, total: u64);
}

/// The context of one operation. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub struct Op(Arc<Inner>);

struct Inner {
    counts: Arc<Counts>,
    deadline: Duration,
    observer: Option<Arc<dyn Observer>>,
}

/// [`Usage`], but shared between threads.
#[derive(Default)]
struct Counts {
    lists: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    files_considered: AtomicU64,
    files_read: AtomicU64,
    partitions_considered: AtomicU64,
    partitions_read: AtomicU64,
    rows: AtomicU64,
}

impl Default for Op {
    /// With the limit of [`DEADLINE`].
    fn default() -> Op {
        Op::new(DEADLINE)
    }
}

impl Op {
    /// With a time limit, counted from the start of the verb that uses it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// assert_eq!(op.deadline(), Duration::from_secs(5));
    /// ```
    pub fn new(deadline: Duration) -> Op {
        Op(Arc::new(Inner { counts: Arc::default(), deadline, observer: None }))
    }

    /// With somebody who watches as well.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use lakebed::{Observer, Op};
    /// struct Quiet;
    /// impl Observer for Quiet {
    ///     fn progress(&self, _phase: &'static str, _done: u64, _total: u64) {}
    /// }
    /// let op = Op::observed(Duration::from_secs(5), Arc::new(Quiet));
    /// # let _ = op;
    /// ```
    pub fn observed(deadline: Duration, observer: Arc<dyn Observer>) -> Op {
        Op(Arc::new(Inner { counts: Arc::default(), deadline, observer: Some(observer) }))
    }

    /// The same counts under another time limit.
    pub(crate) fn with_deadline(&self, deadline: Duration) -> Op {
        let (counts, observer) = (Arc::clone(&self.0.counts), self.0.observer.clone());
        Op(Arc::new(Inner { counts, deadline, observer }))
    }

    /// The time limit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// assert!(op.deadline() < Op::default().deadline());
    /// ```
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// Counts one request.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.count(Request::Get);
    /// assert_eq!(op.usage().gets, 1);
    /// ```
    pub fn count(&self, request: Request) {
        let counts = &self.0.counts;
        add(
            match request {
                Request::List => &counts.lists,
                Request::Get => &counts.gets,
                Request::Head => &counts.heads,
                Request::Put => &counts.puts,
                Request::Delete => &counts.deletes,
            },
            1,
        );
    }

    /// Counts bytes that came from the store.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.read_bytes(7);
    /// assert_eq!(op.usage().bytes_read, 7);
    /// ```
    pub fn read_bytes(&self, bytes: u64) {
        add(&self.0.counts.bytes_read, bytes);
    }

    /// Counts bytes that went to the store.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.wrote_bytes(7);
    /// assert_eq!(op.usage().bytes_written, 7);
    /// ```
    pub fn wrote_bytes(&self, bytes: u64) {
        add(&self.0.counts.bytes_written, bytes);
    }

    /// Counts the files of a plan, and its partitions as `(considered, read)`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.planned(9, 2, (3, 1));
    /// assert_eq!(op.usage().partitions_read, 1);
    /// ```
    pub fn planned(&self, considered: u64, read: u64, partitions: (u64, u64)) {
        let counts = &self.0.counts;
        add(&counts.files_considered, considered);
        add(&counts.files_read, read);
        add(&counts.partitions_considered, partitions.0);
        add(&counts.partitions_read, partitions.1);
    }

    /// Counts rows that came out or went in.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.rows(7);
    /// assert_eq!(op.usage().rows, 7);
    /// ```
    pub fn rows(&self, rows: u64) {
        add(&self.0.counts.rows, rows);
    }

    /// Tells the observer, if there is one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// op.progress("read", 1, 2);
    /// ```
    pub fn progress(&self, phase: &'static str, done: u64, total: u64) {
        if let Some(observer) = &self.0.observer {
            observer.progress(phase, done, total);
        }
    }

    /// The counts so far.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lakebed::{Op, op::Request};
    /// let op = Op::new(Duration::from_secs(5));
    /// assert_eq!(op.usage().requests(), 0);
    /// ```
    pub fn usage(&self) -> Usage {
        let counts = &self.0.counts;
        let get = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Usage {
            lists: get(&counts.lists),
            gets: get(&counts.gets),
            heads: get(&counts.heads),
            puts: get(&counts.puts),
            deletes: get(&counts.deletes),
            bytes_read: get(&counts.bytes_read),
            bytes_written: get(&counts.bytes_written),
            files_considered: get(&counts.files_considered),
            files_read: get(&counts.files_read),
            partitions_considered: get(&counts.partitions_considered),
            partitions_read: get(&counts.partitions_read),
            rows: get(&counts.rows),
        }
    }
}

/// Relaxed, because a count orders nothing: whoever reads it has waited for the work by other
/// means.
fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Op").field(&self.usage()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Clones count together; each class has its own count.
    #[test]
    fn counts() {
        let op = Op::default();
        let clone = op.clone();
        for request in [
            Request::List,
            Request::Get,
            Request::Get,
            Request::Head,
            Request::Put,
            Request::Delete,
        ] {
            clone.count(request);
        }
        clone.read_bytes(10);
        op.wrote_bytes(20);
        op.planned(7, 3, (5, 2));
        op.planned(1, 1, (1, 1));
        op.rows(9);
        let expected = Usage {
            lists: 1,
            gets: 2,
            heads: 1,
            puts: 1,
            deletes: 1,
            bytes_read: 10,
            bytes_written: 20,
            files_considered: 8,
            files_read: 4,
            partitions_considered: 6,
            partitions_read: 3,
            rows: 9,
        };
        assert_eq!(op.usage(), expected);
        assert_eq!(expected.requests(), 6);
        assert_eq!(op.deadline(), DEADLINE);
    }

    #[derive(Default)]
    struct Seen(Mutex<Vec<(&'static str, u64, u64)>>);

    impl Observer for Seen {
        fn progress(&self, phase: &'static str, done: u64, total: u64) {
            self.0.lock().unwrap().push((phase, done, total));
        }
    }

    #[test]
    fn progress_reaches_the_observer() {
        Op::default().progress("read", 1, 2);
        let seen = Arc::new(Seen::default());
        Op::observed(DEADLINE, seen.clone()).progress("write", 3, 0);
        assert_eq!(*seen.0.lock().unwrap(), [("write", 3, 0)]);
    }
}
