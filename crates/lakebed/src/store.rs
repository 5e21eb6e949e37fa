//! Requests to one table's place, with outcomes we can trust. Only this module makes requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lakebed_log::error::{Error, Result};
use lakebed_log::time::Timestamp;
use object_store::ObjectStore;

use crate::env::{BoxFuture, Env};
use crate::op::Op;

/// The place of one table. Keys are relative to the root, decoded, with `/`. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn Backend>,
    location: Arc<str>,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Relative to the table's root.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Of the store.
    pub modified: Timestamp,
    /// Entity tag.
    pub etag: Option<String>,
}

/// What put-if-absent says. Only `Created` is an answer; the others are reasons to look.
#[derive(Debug)]
pub enum Put {
    /// It is ours.
    Created,
    /// The store says something is there. It may be ours.
    Exists,
    /// No answer we can trust.
    Unknown(Error),
}

/// What a backend does; the local disk and `object_store` are the two implementations.
pub trait Backend: Send + Sync {
    /// The object, or a range of it. Missing: `file-not-found`.
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>>;
    /// Names, sizes and times below `prefix` (a folder with `/` at its end) with keys greater than `after`; sorted.
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> BoxFuture<'a, Result<Vec<Object>>>;
    /// Size and time.
    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Object>>;
    /// Creates if absent, durably. A definite failure (`permission`, `no-space` before any effect) is `Err`.
    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Put>>;
    /// Replaces, durably and at once: hint only.
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>>;
    /// Starts a new object with a name nobody else uses.
    fn create<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>>;
    /// Deletes; a missing one is fine.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// An object being written in pieces; not visible, or not named by anybody, until finished.
pub trait Upload: Send {
    /// Appends.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>>;
    /// Makes it durable and gives its size.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<u64>>;
    /// Removes what is there, as far as possible.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl Store {
    /// Over an object store, below `root` (a key prefix without slash at its end, may be empty). The store's own
    /// retries must be off for creates.
    pub fn object(_env: &Env, _store: Arc<dyn ObjectStore>, _root: &str, _location: &str) -> Store { todo!() }
    /// On the local disk. The folder need not exist.
    pub fn local(_env: &Env, _root: &std::path::Path, _location: &str) -> Store { todo!() }
    /// The location as given, without secrets, for messages.
    pub fn location(&self) -> &str { &self.location }
    /// The whole object. One GET. Larger than `max`: `limit-exceeded` before it is in memory.
    pub async fn get(&self, _op: &Op, _key: &str, _max: u64) -> Result<Bytes> { let _ = &self.inner; todo!() }
    /// A range; shorter than asked is `short-read`. One GET.
    pub async fn get_range(&self, _op: &Op, _key: &str, _range: Range<u64>) -> Result<Bytes> { todo!() }
    /// Ranges in the order given, neighbours coalesced. One GET per coalesced range.
    pub async fn get_ranges(&self, _op: &Op, _key: &str, _ranges: &[Range<u64>]) -> Result<Vec<Bytes>> { todo!() }
    /// Sorted by key; one LIST (per page, where the store tells).
    pub async fn list(&self, _op: &Op, _prefix: &str, _after: Option<&str>) -> Result<Vec<Object>> { todo!() }
    /// One HEAD.
    pub async fn head(&self, _op: &Op, _key: &str) -> Result<Object> { todo!() }
    /// One PUT, no retry inside.
    pub async fn put_if_absent(&self, _op: &Op, _key: &str, _bytes: Bytes) -> Result<Put> { todo!() }
    /// One PUT.
    pub async fn put(&self, _op: &Op, _key: &str, _bytes: Bytes) -> Result<()> { todo!() }
    /// Counts one PUT when finished.
    pub async fn create(&self, _op: &Op, _key: &str) -> Result<Box<dyn Upload>> { todo!() }
    /// One DELETE.
    pub async fn delete(&self, _op: &Op, _key: &str) -> Result<()> { todo!() }
}
