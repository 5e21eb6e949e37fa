//! One operation: its counts, progress, deadline. Goes through store, read and write from the first day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Request { List, Get, Head, Put, Delete }

/// What an operation used. Printed by `--stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Usage {
    pub lists: u64,
    pub gets: u64,
    pub heads: u64,
    pub puts: u64,
    pub deletes: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub files_considered: u64,
    pub files_read: u64,
    pub partitions_considered: u64,
    pub partitions_read: u64,
    pub rows: u64,
}

impl Usage {
    /// All requests.
    pub fn requests(&self) -> u64 { self.lists + self.gets + self.heads + self.puts + self.deletes }
}

/// Told about progress; called from any thread, must not block.
pub trait Observer: Send + Sync {
    /// `done` of `total` bytes or files of the phase (`"read"`, `"write"`, ..); `total` 0 is unknown.
    fn progress(&self, phase: &'static str, done: u64, total: u64);
}

/// Context of one operation. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub struct Op(Arc<Inner>);

struct Inner {
    /// Lists, gets, heads, puts, deletes, bytes read, bytes written, files considered, files read, partitions
    /// considered, partitions read, rows: as in `Usage`.
    counts: [AtomicU64; 12],
    deadline: Duration,
    observer: Option<Arc<dyn Observer>>,
}

/// Longest an operation runs unless told otherwise.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// A store that does not answer for this long is unavailable.
pub const ANSWER: Duration = Duration::from_secs(60);

impl Default for Op {
    fn default() -> Op { Op::new(DEADLINE) }
}

impl Op {
    /// With a time limit, counted from the start of the verb that uses it.
    pub fn new(deadline: Duration) -> Op {
        Op(Arc::new(Inner { counts: Default::default(), deadline, observer: None }))
    }
    /// With an observer as well.
    pub fn observed(deadline: Duration, observer: Arc<dyn Observer>) -> Op {
        Op(Arc::new(Inner { counts: Default::default(), deadline, observer: Some(observer) }))
    }
    /// The time limit.
    pub fn deadline(&self) -> Duration { self.0.deadline }
    /// Counts one request.
    pub fn count(&self, request: Request) { let _ = (request, &self.0.counts, Ordering::Relaxed); todo!() }
    /// Counts bytes.
    pub fn read_bytes(&self, _bytes: u64) { todo!() }
    /// Counts bytes.
    pub fn wrote_bytes(&self, _bytes: u64) { todo!() }
    /// Counts files and partitions of a plan.
    pub fn planned(&self, _considered: u64, _read: u64, _partitions: (u64, u64)) { todo!() }
    /// Counts rows that came out or went in.
    pub fn rows(&self, _rows: u64) { todo!() }
    /// Tells the observer.
    pub fn progress(&self, phase: &'static str, done: u64, total: u64) {
        if let Some(observer) = &self.0.observer { observer.progress(phase, done, total); }
    }
    /// The counts so far.
    pub fn usage(&self) -> Usage { todo!() }
}
