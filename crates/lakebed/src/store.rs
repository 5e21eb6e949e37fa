//! Requests to one table's place, with outcomes we can trust. Only this module and its two backends
//! make requests.
//!
//! Stores do not say enough. "Already exists" may be our own first try; a lost answer may be a
//! success; a short body may come without an error; a listing need not be sorted. What goes up from
//! here says only what is known:
//!
//! - a create-if-absent is [`Put::Created`], or a reason to look ([`Put::Exists`],
//!   [`Put::Unknown`]), or an error that proves that nothing happened;
//! - bytes are as many as were asked for, or an error;
//! - names are sorted, and below the table's root: no key that leaves it is sent anywhere;
//! - errors name the object by the table's location, without what may be a secret.
//!
//! ```text
//!   Store --- Backend --- object: object_store, bounded retries, bounded time
//!                  `----- local: the disk, by our own hand, durable
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::Either;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::time::Timestamp;

use crate::env::{BoxFuture, Env};
use crate::op::Op;

pub mod conformance;
mod ranges;
mod text;

use ranges::cut;
pub(crate) use ranges::join_ranges;
pub(crate) use text::{percent_decode, redact};

/// The place of one table.
///
/// Keys are relative to its root, decoded, with `/` between segments: `_delta_log/x.json`,
/// `day=1/part-0.parquet`. Cheap to clone.
///
/// ```
/// use lakebed::{Env, Op};
/// use lakebed::store::Put;
///
/// # futures::executor::block_on(async {
/// let store = Env::tokio().open("memory://doc-store")?;
/// let op = Op::default();
/// let put = store.put_if_absent(&op, "a/b", "hello".into()).await?;
/// assert!(matches!(put, Put::Created(_)));
/// assert_eq!(store.get(&op, "a/b", 100).await?, "hello");
/// assert_eq!(store.list(&op, "a/", None).await?.len(), 1);
/// assert_eq!(op.usage().requests(), 3);
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    location: Arc<str>,
    root: Arc<str>,
    pin: Option<Pin>,
}

/// The entity tag of one object, as the store first gave it to whoever reads it in parts: all parts
/// must be of the object with this tag.
pub(crate) type Pin = Arc<OnceLock<String>>;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Relative to the table's root.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// By the store's clock.
    pub modified: Timestamp,
    /// Changes whenever the object is replaced, where the store has such a thing.
    pub etag: Option<String>,
}

/// What a create-if-absent says. Only `Created` is an answer; the others are reasons to look.
#[derive(Debug)]
pub enum Put {
    /// It is ours. Holds its entity tag, where the store gives one.
    Created(Option<String>),
    /// The store says that something is there. It may be ours.
    Exists,
    /// No answer we can trust: it may be there, now or later, or not.
    Unknown(Error),
}

/// What a place for objects does. Two implementations: the local disk and `object_store`.
///
/// Keys are checked before they get here. Implementations count the requests that they make, so
/// that a retry counts.
pub(crate) trait Backend: Send + Sync {
    /// The whole object; `limit-exceeded` if it is larger than `max`.
    fn get<'a>(&'a self, op: &'a Op, key: &'a str, max: u64) -> BoxFuture<'a, Result<Bytes>>;
    /// Non-empty ranges that are far apart, each in full or `short-read`; `object-changed` where
    /// the store can tell that they are not of the object that is pinned.
    fn get_ranges<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        ranges: &'a [Range<u64>],
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Vec<Bytes>>>;
    /// Is one larger range cheaper than some that lie close together?
    fn joins_ranges(&self) -> bool {
        true
    }
    /// Is an answer here sooner than another thread could take over?
    fn is_disk(&self) -> bool {
        false
    }
    /// A turn to commit, where those who want one can agree on that; see [`Turn`].
    fn turn(&self, patience: Duration) -> BoxFuture<'_, Option<Turn>> {
        let _ = patience;
        Box::pin(std::future::ready(None))
    }
    /// The object to read from without requests, where that is possible.
    fn near<'a>(&'a self, key: &'a str) -> Option<BoxFuture<'a, Result<Arc<dyn Near>>>> {
        let _ = key;
        None
    }
    /// Many small objects, as [`Backend::get`] gives each.
    fn get_many<'a>(
        &'a self,
        op: &'a Op,
        keys: &'a [String],
        max: u64,
    ) -> BoxFuture<'a, Vec<Result<Bytes>>>;
    /// What is directly in the folder `prefix` (with `/` at its end, or empty), in any order.
    fn list<'a>(
        &'a self,
        op: &'a Op,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Object>>>;
    /// Size and time.
    fn head<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Object>>;
    /// Creates if absent, durably, by one attempt; `unavailable` if more has vanished than when
    /// [`Backend::vanished`] said `seen`.
    fn put_if_absent<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
        seen: Option<u64>,
    ) -> BoxFuture<'a, Result<Put>>;
    /// Makes what is under the key durable, if it is not yet: a create may have failed after it was
    /// there for all to see.
    fn sync<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Makes finished uploads durable, where that takes a step of its own.
    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// The same, but where somebody is at it already, it is left to them. Goes on to its end though
    /// the future is dropped.
    fn begin_to_settle(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// How often uploads of this handle were found removed before their names were durable.
    fn vanished(&self) -> u64 {
        0
    }
    /// Creates if absent, whole or not at all, but it may be lost in a crash.
    fn put_new<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes)
    -> BoxFuture<'a, Result<bool>>;
    /// Replaces, whole or not at all, but it may be lost in a crash.
    fn put<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>>;
    /// Starts an object with a name that nobody else uses.
    fn create<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>>;
    /// Deletes; a missing one is fine.
    fn delete<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// A turn among the processes that commit to one table, as long as this lives. A courtesy: nobody
/// has to ask for one, and nothing but speed depends on it.
pub(crate) struct Turn {
    _held: Box<dyn Send + Sync>,
}

impl Turn {
    pub(crate) fn new(held: impl Send + Sync + 'static) -> Turn {
        Turn { _held: Box::new(held) }
    }
}

/// An object that lies so near that its bytes are read when they are needed, without a request and
/// without a copy of them waiting in memory.
pub trait Near: Send + Sync + fmt::Debug {
    /// The bytes of a range. Blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// `short-read` if there are fewer, and what the system says.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
    /// The same into memory that is there already, from `at` on.
    ///
    /// # Errors
    ///
    /// As [`Near::read`].
    fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()>;
    /// These will be read soon.
    fn expect(&self, ranges: &[Range<u64>]);
}

/// An object being written in pieces.
///
/// Nobody may name it before [`Upload::finish`] has answered. Dropping it is [`Upload::abort`]
/// without waiting.
pub trait Upload: Send {
    /// Appends.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>>;
    /// Completes it and gives its size. It is durable; on the local disk, outside of the log, with
    /// the next create-if-absent, which fails if it cannot be.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<u64>>;
    /// Removes what is there, as far as possible.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl Store {
    pub(crate) fn new(backend: Arc<dyn Backend>, location: &str) -> Store {
        let location: Arc<str> = redact(location.trim_end_matches('/')).into();
        Store { backend, root: Arc::clone(&location), location, pin: None }
    }

    /// The same, for ranges of one object: `object-changed` for what comes after, if it is replaced
    /// meanwhile and the store can tell.
    pub(crate) fn pinned(&self, pin: &Pin) -> Store {
        Store { pin: Some(Arc::clone(pin)), ..self.clone() }
    }

    /// The same, whose root absolute paths spell in this way.
    pub(crate) fn rooted(self, root: &str) -> Store {
        Store { root: root.trim_end_matches('/').into(), ..self }
    }

    /// How absolute paths spell the root, decoded: `/data/t` or `s3://bucket/t`.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The location as given, without secrets, for messages.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Is an answer here sooner than another thread could take over?
    pub(crate) fn is_disk(&self) -> bool {
        self.backend.is_disk()
    }

    /// Is it the same handle of the place? Another one knows nothing of what this one has written.
    pub(crate) fn is_same(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
    }

    /// A future that asks this store for one small thing after another, where that costs least.
    pub(crate) fn driven<T, F>(
        &self,
        env: &Env,
        future: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.is_disk() { Either::Left(env.drive(future)) } else { Either::Right(future) }
    }

    /// A turn to commit; `None` where there are none, or none comes in time. No request.
    pub(crate) async fn turn(&self, patience: Duration) -> Option<Turn> {
        self.backend.turn(patience).await
    }

    /// The whole object. One GET.
    ///
    /// # Errors
    ///
    /// `file-not-found`; `limit-exceeded` before it is in memory if it is larger than `max`;
    /// `short-read`; `permission`; `unavailable`. As all errors of this type, placed at the object.
    pub async fn get(&self, op: &Op, key: &str, max: u64) -> Result<Bytes> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "get");
        let got = self.backend.get(op, key, max).await;
        self.received(op, key, got)
    }

    /// Many small objects, in the order of their keys: cheaper than one [`Store::get`] each where
    /// that is a system call rather than a journey. One GET each.
    pub async fn get_many(&self, op: &Op, keys: &[String], max: u64) -> Vec<Result<Bytes>> {
        if keys.iter().any(|it| check_key(it).is_err()) {
            let mut got = Vec::with_capacity(keys.len());
            for key in keys {
                got.push(self.get(op, key, max).await);
            }
            return got;
        }
        tracing::debug!(table = self.location(), keys = keys.len(), "get many");
        let got = self.backend.get_many(op, keys, max).await;
        keys.iter().zip(got).map(|(key, got)| self.received(op, key, got)).collect()
    }

    /// A range of an object. One GET, or none for an empty range.
    ///
    /// # Errors
    ///
    /// As [`Store::get`]; `short-read` if the object ends before the range does; `object-changed`
    /// if it is replaced between two requests and the store can tell.
    pub async fn get_range(&self, op: &Op, key: &str, range: Range<u64>) -> Result<Bytes> {
        let mut got = self.get_ranges(op, key, &[range]).await?;
        got.pop().ok_or_else(|| Error::internal("no bytes for a range"))
    }

    /// Ranges of an object, in the order given. Neighbours are fetched together: one GET each.
    ///
    /// # Errors
    ///
    /// As [`Store::get_range`].
    pub async fn get_ranges(
        &self,
        op: &Op,
        key: &str,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "get_ranges");
        let joined = match self.backend.joins_ranges() {
            true => join_ranges(ranges),
            false => ranges.to_vec(),
        };
        let got = match joined.is_empty() {
            true => Ok(Vec::new()),
            false => {
                let pin = self.pin.clone().unwrap_or_default();
                self.backend.get_ranges(op, key, &joined, &pin).await
            }
        };
        let got = got.map_err(|it| self.placed(key, it))?;
        op.read_bytes(got.iter().map(|it| it.len() as u64).sum());
        if !self.backend.joins_ranges() {
            return Ok(got);
        }
        ranges
            .iter()
            .map(|it| cut(&joined, &got, it))
            .collect::<Option<Vec<Bytes>>>()
            .ok_or_else(|| self.placed(key, Error::internal("a range came back short")))
    }

    /// The object to read from without requests; `None` where there is no such way.
    ///
    /// # Errors
    ///
    /// As [`Store::get_ranges`].
    pub(crate) async fn near(&self, key: &str) -> Result<Option<Arc<dyn Near>>> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        let Some(opening) = self.backend.near(key) else { return Ok(None) };
        opening.await.map(Some).map_err(|it| self.placed(key, it))
    }

    /// What is directly in the folder `prefix` (with `/` at its end, or empty for the root), with
    /// keys greater than `after`, sorted by key. A folder that is not there is empty. One LIST.
    ///
    /// # Errors
    ///
    /// `permission`, `unavailable`: half a listing is none.
    pub async fn list(&self, op: &Op, prefix: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let folder = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            check_key(folder).map_err(|it| self.placed(prefix, it))?;
        }
        tracing::debug!(table = self.location(), prefix, after, "list");
        let listed = self.backend.list(op, prefix, after).await;
        let mut objects = listed.map_err(|it| self.placed(prefix, it))?;
        objects.retain(|it| {
            let name = it.key.strip_prefix(prefix).filter(|it| !it.is_empty());
            name.is_some_and(|it| !it.contains('/'))
                && after.is_none_or(|after| after < it.key.as_str())
        });
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Size and time of an object. One HEAD.
    ///
    /// # Errors
    ///
    /// As [`Store::get`].
    pub async fn head(&self, op: &Op, key: &str) -> Result<Object> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "head");
        self.backend.head(op, key).await.map_err(|it| self.placed(key, it))
    }

    /// Creates an object unless there is one, durably. One PUT: no retry inside, because a second
    /// try that finds the object of the first would call it somebody else's.
    ///
    /// # Errors
    ///
    /// Only if nothing happened and nothing will: `permission`, `no-space`, `store-unsafe` if the
    /// store cannot create if absent, `unavailable` if the disk failed before the step that counts.
    pub async fn put_if_absent(&self, op: &Op, key: &str, bytes: Bytes) -> Result<Put> {
        self.put_seeing(op, key, bytes, None).await
    }

    /// The same for a commit, unless something has vanished since [`Store::vanished`] said `seen`:
    /// then it is `unavailable`, since it may be a file that the commit names.
    pub(crate) async fn put_seeing(
        &self,
        op: &Op,
        key: &str,
        bytes: Bytes,
        seen: Option<u64>,
    ) -> Result<Put> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "put_if_absent");
        op.wrote_bytes(bytes.len() as u64);
        match self.backend.put_if_absent(op, key, bytes, seen).await {
            Ok(Put::Unknown(err)) => Ok(Put::Unknown(self.placed(key, err))),
            other => other.map_err(|it| self.placed(key, it)),
        }
    }

    /// Makes an object that is there durable, after a [`Put::Unknown`] that left it in doubt. No
    /// request: object stores keep what they show.
    ///
    /// # Errors
    ///
    /// `unavailable`, `no-space` if the disk fails again.
    pub async fn sync(&self, key: &str) -> Result<()> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        self.backend.sync(key).await.map_err(|it| self.placed(key, it))
    }

    /// Makes finished uploads durable, for those who do not commit them themselves.
    ///
    /// # Errors
    ///
    /// `unavailable`, `no-space` if the disk fails.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.backend.settle().await.map_err(|it| it.at(self.location()))
    }

    /// The same ahead of a commit, which waits for it before it has its name: where somebody is at
    /// it already, it is left to them. It goes on to its end though the future is dropped.
    pub(crate) fn begin_to_settle(&self) -> impl Future<Output = Result<()>> {
        let begun = self.backend.begin_to_settle();
        async move { begun.await.map_err(|it| it.at(self.location())) }
    }

    /// How often uploads of this handle were found removed before their names were durable, whoever
    /// had written them. No request.
    pub(crate) fn vanished(&self) -> u64 {
        self.backend.vanished()
    }

    /// Creates an object unless there is one, and says whether it did. Readers see it whole or not
    /// at all, but on a local disk it may be gone after a crash: for what can be computed again.
    /// One PUT.
    ///
    /// # Errors
    ///
    /// `permission`, `no-space`, `unavailable`; then it may be there all the same.
    pub async fn put_new(&self, op: &Op, key: &str, bytes: Bytes) -> Result<bool> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "put_new");
        op.wrote_bytes(bytes.len() as u64);
        self.backend.put_new(op, key, bytes).await.map_err(|it| self.placed(key, it))
    }

    /// Replaces an object. Readers see the old or the new one, but on a local disk a crash may take
    /// either: for hints alone. One PUT.
    ///
    /// # Errors
    ///
    /// As [`Store::put_new`].
    pub async fn put(&self, op: &Op, key: &str, bytes: Bytes) -> Result<()> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "put");
        op.wrote_bytes(bytes.len() as u64);
        self.backend.put(op, key, bytes).await.map_err(|it| self.placed(key, it))
    }

    /// Starts an object with a name that nobody else uses; durable as [`Upload::finish`] says. One
    /// PUT, when finished, unless it is so large that it is sent in pieces: then one each.
    ///
    /// In the log, where names are shared, whoever finishes first wins; the others get `conflict`
    /// from [`Upload::finish`] where the store can tell.
    ///
    /// # Errors
    ///
    /// Here and from the upload: `permission`, `no-space`, `unavailable`.
    pub async fn create(&self, op: &Op, key: &str) -> Result<Box<dyn Upload>> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "create");
        let upload = self.backend.create(op, key).await.map_err(|it| self.placed(key, it))?;
        Ok(Box::new(Placed { upload, place: self.place(key), op: op.clone() }))
    }

    /// Deletes an object; a missing one is fine. One DELETE.
    ///
    /// # Errors
    ///
    /// `permission`, `unavailable`.
    pub async fn delete(&self, op: &Op, key: &str) -> Result<()> {
        check_key(key).map_err(|it| self.placed(key, it))?;
        tracing::debug!(table = self.location(), key, "delete");
        self.backend.delete(op, key).await.map_err(|it| self.placed(key, it))
    }

    fn received(&self, op: &Op, key: &str, got: Result<Bytes>) -> Result<Bytes> {
        let got = got.map_err(|it| self.placed(key, it))?;
        op.read_bytes(got.len() as u64);
        Ok(got)
    }

    fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }

    fn placed(&self, key: &str, err: Error) -> Error {
        err.at(self.place(key))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.location).finish()
    }
}

/// An upload whose errors name the object and whose bytes are counted.
struct Placed {
    upload: Box<dyn Upload>,
    place: String,
    op: Op,
}

impl Upload for Placed {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.op.wrote_bytes(bytes.len() as u64);
            self.upload.write(bytes).await.map_err(|it| it.at(&self.place))
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<u64>> {
        let Placed { upload, place, .. } = *self;
        let finish = upload.finish();
        Box::pin(async move { finish.await.map_err(|it| it.at(place)) })
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.upload.abort()
    }
}

/// A key is relative and stays below the root, whatever backend resolves it.
fn check_key(key: &str) -> Result<()> {
    let wrong = |code, what: &str| Err(Error::new(code, format!("the key {what}")));
    if key.is_empty() {
        return wrong(Code::InvalidPath, "is empty");
    }
    if key.contains('\0') {
        return wrong(Code::InvalidPath, "has a zero byte");
    }
    for segment in key.split('/') {
        match segment {
            ".." => return wrong(Code::PathEscape, "leaves the table with `..`"),
            "" | "." => return wrong(Code::InvalidPath, "has an empty or dot segment"),
            _ => {}
        }
    }
    Ok(())
}

/// Fewer bytes came than were asked for.
pub(crate) fn short(got: u64, wanted: u64) -> Error {
    Error::new(Code::ShortRead, format!("{got} bytes came where {wanted} were asked for"))
}

/// More bytes are there than the reader is ready for.
pub(crate) fn too_large(size: u64, max: u64) -> Error {
    Error::new(Code::LimitExceeded, format!("it has {size} bytes and the limit is {max}"))
}

#[cfg(test)]
pub(crate) mod frail;
#[cfg(test)]
mod tests;
