//! Stores behind the `object_store` crate: clouds, memory, the simulator.
//!
//! Three things are done here that the crate leaves open. A request that can be repeated is, a few
//! times, with a random pause, and every request as a whole is bounded in time; a create-if-absent
//! is sent once. A store that may not keep its word about creates is asked first. And errors, which
//! may quote URLs with signatures in them, are turned into ours without.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::LOG_DIR;
use lakebed_log::time::Timestamp;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
};

use crate::env::{BoxFuture, Env};
use crate::op::{ANSWER, Op, Request};
use crate::store::{Backend, Object, Pin, Put, Store, Upload, short, too_large};

mod creates;
mod failure;
mod pieces;

pub(crate) use creates::Creates;

use creates::How;
use failure::{failed, outcome};
use pieces::Pieces;

/// How often a request that can be repeated is sent at most.
pub(crate) const ATTEMPTS_MAX: u32 = 4;
/// Longest pause before the first repeat; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests in flight for one call.
const PARALLEL_MAX: usize = 16;
/// The same for many small objects, so that the tail of a log is one round.
const SMALL_PARALLEL_MAX: usize = 64;

/// An object store, and how it wants to be asked.
pub(crate) struct Remote {
    /// Sends each request once.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// For objects in pieces, whose requests can only be repeated by the client itself.
    pub(crate) pieces: Arc<dyn ObjectStore>,
    /// What is known about its creates.
    pub(crate) creates: Creates,
    /// Do requests run on the threads of [`Env::spawn`]? The clients of clouds work nowhere else.
    pub(crate) spawned: bool,
    /// How often a request that can be repeated is sent at most.
    pub(crate) attempts_max: u32,
    /// How long a request may take with its repeats.
    pub(crate) answer: Duration,
}

#[derive(Clone)]
struct Objects {
    env: Env,
    remote: Arc<Remote>,
    /// Without slash at its end; may be empty.
    root: String,
}

impl Remote {
    /// A store of the caller's, who has seen to its creates.
    pub(crate) fn plain(store: Arc<dyn ObjectStore>) -> Remote {
        Remote {
            pieces: Arc::clone(&store),
            store,
            creates: Creates::Kept,
            spawned: false,
            attempts_max: ATTEMPTS_MAX,
            answer: ANSWER,
        }
    }
}

impl Store {
    /// Over an object store, below `root` (a key prefix without slash at its end, may be empty).
    /// The store's own retries must be off for creates.
    pub fn object(env: &Env, store: Arc<dyn ObjectStore>, root: &str, location: &str) -> Store {
        Store::remote(env, Arc::new(Remote::plain(store)), root, location)
    }

    /// The same for a store that is asked in its own way.
    pub(crate) fn remote(env: &Env, remote: Arc<Remote>, root: &str, location: &str) -> Store {
        let backend = Objects { env: env.clone(), remote, root: root.to_string() };
        Store::new(Arc::new(backend), location)
    }
}

impl Objects {
    /// `Path::from` would percent-encode a name that is already as the store has it.
    fn path(&self, key: &str) -> Result<Path> {
        let full = match self.root.as_str() {
            "" => key.to_string(),
            root => format!("{root}/{key}"),
        };
        Path::parse(full).map_err(|_| {
            Error::new(Code::InvalidPath, "the key has a control character, which stores refuse")
        })
    }

    fn key(&self, path: &Path) -> Option<String> {
        let path = path.as_ref();
        if self.root.is_empty() {
            return Some(path.to_string());
        }
        path.strip_prefix(self.root.as_str())?.strip_prefix('/').map(str::to_string)
    }

    fn object(&self, meta: ObjectMeta) -> Option<Object> {
        Some(Object {
            key: self.key(&meta.location)?,
            size: meta.size,
            modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()),
            etag: meta.e_tag.map(bare),
        })
    }

    /// Makes one request where its client can work.
    async fn call<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.remote.spawned { self.env.spawn(request).await } else { request.await }
    }

    /// Sends a request, and again while it fails in a way that may pass. The whole of it is bounded
    /// in time.
    async fn send<T, F>(&self, op: &Op, request: Request, once: impl FnMut() -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let attempts = self.repeat(op, request, once);
        self.env.timeout(self.remote.answer, "store", attempts).await
    }

    async fn repeat<T, F>(
        &self,
        op: &Op,
        request: Request,
        mut once: impl FnMut() -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        for attempt in 1..self.remote.attempts_max {
            op.count(request);
            match self.call(once()).await {
                Err(err) if matches!(err.code(), Code::Unavailable | Code::ShortRead) => {
                    tracing::debug!(%err, attempt, "request failed, trying again");
                }
                done => return done,
            }
            self.env.sleep(self.pause(attempt)).await;
        }
        op.count(request);
        self.call(once()).await
    }

    /// Full jitter: clients that failed together must not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let most = PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.env.random() % micros)
    }

    /// A range behind the end is an error without a kind in most stores; the size tells it from an
    /// outage.
    async fn get_one(&self, op: &Op, path: &Path, range: &Range<u64>, pin: &Pin) -> Result<Bytes> {
        let fetch = || {
            let (remote, pin) = (Arc::clone(&self.remote), Arc::clone(pin));
            fetch_range(remote, path.clone(), range.clone(), pin)
        };
        let got = self.send(op, Request::Get, fetch).await;
        let Err(err) = got else {
            return got;
        };
        if err.code() != Code::Unavailable {
            return Err(err);
        }
        match self.meta(op, path).await {
            Ok(meta) if meta.size < range.end => {
                Err(short(meta.size.saturating_sub(range.start), range.end - range.start))
            }
            _ => Err(err),
        }
    }

    async fn meta(&self, op: &Op, path: &Path) -> Result<ObjectMeta> {
        let head = || {
            let (remote, path) = (Arc::clone(&self.remote), path.clone());
            async move { remote.store.head(&path).await.map_err(failed) }
        };
        self.send(op, Request::Head, head).await
    }

    /// One put, whose answer is the entity tag of what is there now.
    fn put_with(
        &self,
        path: &Path,
        bytes: &Bytes,
        mode: PutMode,
    ) -> impl Future<Output = object_store::Result<Option<String>>> + Send + use<> {
        let (remote, path, bytes) = (Arc::clone(&self.remote), path.clone(), bytes.clone());
        let options = PutOptions { mode, ..PutOptions::default() };
        async move {
            remote.store.put_opts(&path, bytes.into(), options).await.map(|it| it.e_tag.map(bare))
        }
    }
}

async fn fetch(remote: Arc<Remote>, path: Path, max: u64) -> Result<Bytes> {
    let got = remote.store.get_opts(&path, GetOptions::default()).await.map_err(failed)?;
    let size = got.meta.size;
    if max < size {
        return Err(too_large(size, max));
    }
    let bytes = got.bytes().await.map_err(failed)?;
    if bytes.len() as u64 != size {
        return Err(short(bytes.len() as u64, size));
    }
    Ok(bytes)
}

async fn fetch_range(
    remote: Arc<Remote>,
    path: Path,
    range: Range<u64>,
    pin: Pin,
) -> Result<Bytes> {
    let wanted = range.end - range.start;
    // By a weak tag a store may match nothing.
    let if_match = pin.get().filter(|it| !it.starts_with("W/")).cloned();
    let range = Some(GetRange::Bounded(range));
    let options = GetOptions { range, if_match, ..GetOptions::default() };
    let got = remote.store.get_opts(&path, options).await.map_err(failed)?;
    // Those that were asked for at once know no tag beforehand.
    if let Some(tag) = &got.meta.e_tag
        && pin.get_or_init(|| tag.clone()) != tag
    {
        let what = "the object was replaced while parts of it were read";
        return Err(Error::new(Code::ObjectChanged, what));
    }
    let bytes = got.bytes().await.map_err(failed)?;
    if bytes.len() as u64 != wanted {
        return Err(short(bytes.len() as u64, wanted));
    }
    Ok(bytes)
}

/// What is directly in a folder. Without an offset the store is asked for one level. With one it
/// lists all levels, as the crate offers nothing else; what is deeper is left out by the caller.
async fn listed(
    remote: Arc<Remote>,
    folder: Option<Path>,
    offset: Option<Path>,
    moved: Arc<AtomicU64>,
) -> Result<Vec<ObjectMeta>> {
    match &offset {
        Some(offset) => {
            let all = remote.store.list_with_offset(folder.as_ref(), offset);
            let all = all.inspect(|_| _ = moved.fetch_add(1, Ordering::Relaxed));
            all.try_collect::<Vec<ObjectMeta>>().await.map_err(failed)
        }
        None => {
            let level = remote.store.list_with_delimiter(folder.as_ref()).await;
            level.map(|it| it.objects).map_err(failed)
        }
    }
}

impl Backend for Objects {
    fn get<'a>(&'a self, op: &'a Op, key: &'a str, max: u64) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let once = || fetch(Arc::clone(&self.remote), path.clone(), max);
            self.send(op, Request::Get, once).await
        })
    }

    fn get_ranges<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        ranges: &'a [Range<u64>],
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        Box::pin(async move {
            let path = &self.path(key)?;
            let gets: Vec<_> = ranges.iter().map(|it| self.get_one(op, path, it, pin)).collect();
            stream::iter(gets).buffered(PARALLEL_MAX).try_collect().await
        })
    }

    fn get_many<'a>(
        &'a self,
        op: &'a Op,
        keys: &'a [String],
        max: u64,
    ) -> BoxFuture<'a, Vec<Result<Bytes>>> {
        Box::pin(async move {
            let gets: Vec<_> = keys.iter().map(|it| self.get(op, it, max)).collect();
            stream::iter(gets).buffered(SMALL_PARALLEL_MAX).collect().await
        })
    }

    fn list<'a>(
        &'a self,
        op: &'a Op,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Object>>> {
        Box::pin(async move {
            let folder = self.path(prefix.trim_end_matches('/'))?;
            let offset = after.map(|it| self.path(it)).transpose()?;
            let folder = (!folder.as_ref().is_empty()).then_some(folder);
            // A long one is many answers, and is bounded by how long each of them takes; without an
            // offset the crate tells of all of them at once.
            let moved = Arc::new(AtomicU64::new(0));
            let once = || {
                let (remote, moved) = (Arc::clone(&self.remote), Arc::clone(&moved));
                listed(remote, folder.clone(), offset.clone(), moved)
            };
            let attempts = self.repeat(op, Request::List, once);
            match self.env.while_moving(self.remote.answer, "store", &moved, attempts).await {
                Ok(listed) => Ok(listed.into_iter().filter_map(|it| self.object(it)).collect()),
                Err(err) if err.code() == Code::FileNotFound => Ok(Vec::new()),
                Err(err) => Err(err),
            }
        })
    }

    fn head<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Object>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let meta = self.meta(op, &path).await?;
            self.object(meta).ok_or_else(|| Error::internal("the store answered for another key"))
        })
    }

    fn sync<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn put_if_absent<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
        _seen: Option<u64>,
    ) -> BoxFuture<'a, Result<Put>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let mode = match self.creating(op).await? {
                How::IfAbsent => PutMode::Create,
                How::AfterALook if self.is_there(op, &path).await? => return Ok(Put::Exists),
                How::AfterALook => PutMode::Overwrite,
            };
            op.count(Request::Put);
            let put = self.put_with(&path, &bytes, mode);
            let put = self.call(async move { Ok(put.await) });
            match self.env.timeout(self.remote.answer, "store", put).await {
                Ok(answer) => outcome(answer),
                Err(err) => Ok(Put::Unknown(err)),
            }
        })
    }

    /// Repeats are harmless: that our own first try is there is as good as somebody else's.
    fn put_new<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            use object_store::Error::{AlreadyExists, Precondition};
            let path = self.path(key)?;
            let mode = match self.creating(op).await? {
                How::IfAbsent => PutMode::Create,
                How::AfterALook if self.is_there(op, &path).await? => return Ok(false),
                How::AfterALook => PutMode::Overwrite,
            };
            let put = || {
                let put = self.put_with(&path, &bytes, mode.clone());
                async move {
                    match put.await {
                        Ok(_) => Ok(true),
                        Err(AlreadyExists { .. } | Precondition { .. }) => Ok(false),
                        Err(err) => Err(failed(err)),
                    }
                }
            };
            self.send(op, Request::Put, put).await
        })
    }

    fn put<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.creating(op).await?;
            let path = self.path(key)?;
            let put = || {
                let put = self.put_with(&path, &bytes, PutMode::Overwrite);
                async move { put.await.map_err(failed) }
            };
            self.send(op, Request::Put, put).await.map(|_| ())
        })
    }

    fn create<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        Box::pin(async move {
            let how = self.creating(op).await?;
            let path = self.path(key)?;
            // Data files have names of their own, files of the log do not.
            let shared = key.starts_with(LOG_DIR).then_some(how);
            Ok(Box::new(Pieces::new(self, op, path, shared)) as Box<dyn Upload>)
        })
    }

    fn delete<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let delete = || {
                let (remote, path) = (Arc::clone(&self.remote), path.clone());
                async move {
                    match remote.store.delete(&path).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                        Err(err) => Err(failed(err)),
                    }
                }
            };
            self.send(op, Request::Delete, delete).await
        })
    }
}

/// An entity tag as all answers give it: some stores quote it in one and not in the other.
fn bare(tag: String) -> String {
    tag.trim_matches('"').to_string()
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
