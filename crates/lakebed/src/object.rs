//! Stores behind the `object_store` crate: clouds, memory, the simulator.
//!
//! Two things are done here that the crate leaves open. A request that can be repeated is, a few
//! times, with a random pause, and every request as a whole is bounded in time; a create-if-absent
//! is sent once. And its errors, which may quote URLs with signatures in them, are turned into ours
//! without.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::mutant::planted;
use lakebed_log::time::Timestamp;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, UploadPart,
};

use crate::env::{BoxFuture, Env};
use crate::op::{ANSWER, Op, Request};
use crate::store::{Backend, Object, Put, Store, Upload, redact, short, too_large};

/// How often a request that can be repeated is sent at most.
const ATTEMPTS_MAX: u32 = 4;
/// Longest pause before the first repeat; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests in flight for one call.
const PARALLEL_MAX: usize = 16;
/// The same for many small objects, so that the tail of a log is one round.
const SMALL_PARALLEL_MAX: usize = 64;
/// Objects up to this size are sent whole, larger ones in pieces of it. Some stores ask for pieces
/// of equal size and for at least 5 MiB.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces in flight for one upload.
const PIECES_MAX: usize = 4;

#[derive(Clone)]
struct Objects {
    env: Env,
    store: Arc<dyn ObjectStore>,
    /// Without slash at its end; may be empty.
    root: String,
}

impl Store {
    /// Over an object store, below `root` (a key prefix without slash at its end, may be empty).
    /// The store's own retries must be off for creates.
    pub fn object(env: &Env, store: Arc<dyn ObjectStore>, root: &str, location: &str) -> Store {
        let backend = Objects { env: env.clone(), store, root: root.to_string() };
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

    /// Sends a request, and again while it fails in a way that may pass. The whole of it takes at
    /// most [`ANSWER`].
    async fn send<T, F>(&self, op: &Op, request: Request, mut once: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let attempts = async {
            for attempt in 1..ATTEMPTS_MAX {
                op.count(request);
                match once().await {
                    Err(err) if matches!(err.code(), Code::Unavailable | Code::ShortRead) => {
                        tracing::debug!(%err, attempt, "request failed, trying again");
                    }
                    done => return done,
                }
                self.env.sleep(self.pause(attempt)).await;
            }
            op.count(request);
            once().await
        };
        self.env.timeout(ANSWER, "store", attempts).await
    }

    /// Full jitter: clients that failed together must not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let most = PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.env.random() % micros)
    }

    async fn fetch(&self, path: &Path, max: u64) -> Result<Bytes> {
        let got = self.store.get_opts(path, GetOptions::default()).await.map_err(failed)?;
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

    async fn fetch_range(&self, path: &Path, range: &Range<u64>) -> Result<Bytes> {
        let options =
            GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let got = self.store.get_opts(path, options).await.map_err(failed)?;
        let bytes = got.bytes().await.map_err(failed)?;
        let wanted = range.end - range.start;
        if bytes.len() as u64 != wanted {
            return Err(short(bytes.len() as u64, wanted));
        }
        Ok(bytes)
    }

    /// A range behind the end is an error without a kind in most stores; the size tells it from an
    /// outage.
    async fn get_one(&self, op: &Op, path: &Path, range: &Range<u64>) -> Result<Bytes> {
        let got = self.send(op, Request::Get, || self.fetch_range(path, range)).await;
        let Err(err) = got else {
            return got;
        };
        if err.code() != Code::Unavailable {
            return Err(err);
        }
        let meta = async || self.store.head(path).await.map_err(failed);
        match self.send(op, Request::Head, meta).await {
            Ok(meta) if meta.size < range.end => {
                Err(short(meta.size.saturating_sub(range.start), range.end - range.start))
            }
            _ => Err(err),
        }
    }

    /// Gives the entity tag of what is there now.
    async fn put_with(
        &self,
        path: &Path,
        bytes: Bytes,
        mode: PutMode,
    ) -> object_store::Result<Option<String>> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(path, bytes.into(), options).await.map(|it| it.e_tag.map(bare))
    }
}

impl Backend for Objects {
    fn get<'a>(&'a self, op: &'a Op, key: &'a str, max: u64) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let path = self.path(key)?;
            self.send(op, Request::Get, || self.fetch(&path, max)).await
        })
    }

    fn get_ranges<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        Box::pin(async move {
            let path = &self.path(key)?;
            let gets: Vec<_> = ranges.iter().map(|it| self.get_one(op, path, it)).collect();
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

    /// Without an offset the store is asked for one level. With one it lists all levels, as the
    /// crate offers nothing else; what is deeper is left out by the caller.
    fn list<'a>(
        &'a self,
        op: &'a Op,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Object>>> {
        Box::pin(async move {
            let folder = self.path(prefix.trim_end_matches('/'))?;
            let offset = after.map(|it| self.path(it)).transpose()?;
            let folder = (!folder.as_ref().is_empty()).then_some(&folder);
            let list = async || match &offset {
                Some(offset) => {
                    let all = self.store.list_with_offset(folder, offset);
                    all.try_collect::<Vec<ObjectMeta>>().await.map_err(failed)
                }
                None => {
                    let level = self.store.list_with_delimiter(folder).await;
                    level.map(|it| it.objects).map_err(failed)
                }
            };
            match self.send(op, Request::List, list).await {
                Ok(listed) => Ok(listed.into_iter().filter_map(|it| self.object(it)).collect()),
                Err(err) if err.code() == Code::FileNotFound => Ok(Vec::new()),
                Err(err) => Err(err),
            }
        })
    }

    fn head<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Object>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let head = async || self.store.head(&path).await.map_err(failed);
            let meta = self.send(op, Request::Head, head).await?;
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
    ) -> BoxFuture<'a, Result<Put>> {
        Box::pin(async move {
            let path = self.path(key)?;
            op.count(Request::Put);
            let put = async { Ok(self.put_with(&path, bytes, PutMode::Create).await) };
            match self.env.timeout(ANSWER, "store", put).await {
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
            let path = self.path(key)?;
            let put = async || match self.put_with(&path, bytes.clone(), PutMode::Create).await {
                Ok(_) => Ok(true),
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ) => Ok(false),
                Err(err) => Err(failed(err)),
            };
            self.send(op, Request::Put, put).await
        })
    }

    fn put<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let put = async || {
                self.put_with(&path, bytes.clone(), PutMode::Overwrite).await.map_err(failed)
            };
            self.send(op, Request::Put, put).await.map(|_| ())
        })
    }

    fn create<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        Box::pin(async move {
            let path = self.path(key)?;
            Ok(Box::new(Pieces {
                objects: self.clone(),
                op: op.clone(),
                path,
                pending: Vec::new(),
                pending_bytes: 0,
                size: 0,
                multipart: None,
                in_flight: FuturesUnordered::new(),
            }) as Box<dyn Upload>)
        })
    }

    fn delete<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let delete = async || match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(err) => Err(failed(err)),
            };
            self.send(op, Request::Delete, delete).await
        })
    }
}

/// An object on its way: held back while it may still fit into one request, then sent in pieces.
struct Pieces {
    objects: Objects,
    op: Op,
    path: Path,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    size: u64,
    multipart: Option<Box<dyn MultipartUpload>>,
    in_flight: FuturesUnordered<UploadPart>,
}

impl Pieces {
    /// Takes the next `size` bytes off what is pending, or all of it.
    fn take(&mut self, size: usize) -> PutPayload {
        let mut left = size.min(self.pending_bytes);
        self.pending_bytes -= left;
        let mut piece = Vec::new();
        let mut rest = std::mem::take(&mut self.pending).into_iter();
        while 0 < left
            && let Some(mut bytes) = rest.next()
        {
            if left < bytes.len() {
                self.pending.push(bytes.split_off(left));
            }
            left -= bytes.len();
            piece.push(bytes);
        }
        self.pending.extend(rest);
        piece.into_iter().collect()
    }

    /// Starts sending a piece, once fewer than `limit` are in flight.
    async fn send_piece(&mut self, piece: PutPayload) -> Result<()> {
        self.drain(PIECES_MAX - 1).await?;
        let Pieces { objects, op, path, multipart, in_flight, .. } = self;
        let multipart = match multipart {
            Some(it) => it,
            None => {
                op.count(Request::Put);
                let start = async { objects.store.put_multipart(path).await.map_err(failed) };
                multipart.insert(objects.env.timeout(ANSWER, "store", start).await?)
            }
        };
        op.count(Request::Put);
        in_flight.push(multipart.put_part(piece));
        Ok(())
    }

    /// Waits until at most `limit` pieces are in flight.
    async fn drain(&mut self, limit: usize) -> Result<()> {
        let Pieces { objects, in_flight, .. } = self;
        while limit < in_flight.len() {
            let next = async { in_flight.next().await.unwrap_or(Ok(())).map_err(failed) };
            objects.env.timeout(ANSWER, "store", next).await?;
        }
        Ok(())
    }

    async fn complete(&mut self) -> Result<u64> {
        let rest = self.take(self.pending_bytes);
        if self.multipart.is_none() {
            let Pieces { objects, op, path, .. } = self;
            let put = async || {
                let sent = objects.store.put(path, rest.clone()).await;
                if planted(9) {
                    return Ok(());
                }
                sent.map(|_| ()).map_err(failed)
            };
            objects.send(op, Request::Put, put).await?;
            return Ok(self.size);
        }
        if 0 < rest.content_length() {
            self.send_piece(rest).await?;
        }
        self.drain(0).await?;
        if let Some(multipart) = &mut self.multipart {
            self.op.count(Request::Put);
            let complete = async { multipart.complete().await.map_err(failed) };
            self.objects.env.timeout(ANSWER, "store", complete).await?;
        }
        self.multipart = None;
        Ok(self.size)
    }
}

impl Upload for Pieces {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.size += bytes.len() as u64;
            self.pending_bytes += bytes.len();
            self.pending.push(bytes);
            while PIECE_BYTES < self.pending_bytes {
                let piece = self.take(PIECE_BYTES);
                self.send_piece(piece).await?;
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move { self.complete().await })
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let (env, multipart) = (self.objects.env.clone(), self.multipart.take());
        Box::pin(async move {
            if let Some(multipart) = multipart {
                discard(env, multipart).await;
            }
        })
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            let env = self.objects.env.clone();
            let discard = discard(env.clone(), multipart);
            drop(env.spawn(async move {
                discard.await;
                Ok(())
            }));
        }
    }
}

/// Pieces that nobody completes are not visible, but may be billed.
async fn discard(env: Env, mut multipart: Box<dyn MultipartUpload>) {
    let abort = async { multipart.abort().await.map_err(failed) };
    if let Err(err) = env.timeout(ANSWER, "store", abort).await {
        tracing::debug!(%err, "pieces of an abandoned upload were left behind");
    }
}

/// An entity tag as all answers give it: some stores quote it in one and not in the other.
fn bare(tag: String) -> String {
    tag.trim_matches('"').to_string()
}

/// What a single create-if-absent came to.
fn outcome(answer: object_store::Result<Option<String>>) -> Result<Put> {
    use object_store::Error::{AlreadyExists, Precondition};
    match answer {
        Ok(tag) => Ok(Put::Created(tag)),
        Err(AlreadyExists { .. } | Precondition { .. }) => Ok(Put::Exists),
        Err(err) => {
            let err = failed(err);
            match err.code() {
                Code::Permission | Code::NoSpace | Code::StoreUnsafe => Err(err),
                _ => Ok(Put::Unknown(err)),
            }
        }
    }
}

/// Our error for one of the crate's. The original is not kept as a cause: printed, it may show the
/// URL of the request, and with it the signature.
fn failed(err: object_store::Error) -> Error {
    use object_store::Error as E;
    let (code, what) = match &err {
        E::NotFound { .. } => return Error::new(Code::FileNotFound, "there is no such object"),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            (Code::Permission, "the store refuses access")
        }
        E::Precondition { .. } | E::NotModified { .. } => {
            (Code::ObjectChanged, "the object was replaced")
        }
        E::AlreadyExists { .. } => (Code::Conflict, "the object exists already"),
        E::NotSupported { .. } | E::NotImplemented { .. } => {
            (Code::StoreUnsafe, "the store cannot do what safe commits need")
        }
        E::InvalidPath { .. } => (Code::InvalidPath, "the store refuses the name"),
        E::UnknownConfigurationKey { .. } => {
            (Code::InvalidArgument, "the store does not know an option")
        }
        _ if is_full(&err) => (Code::NoSpace, "the store is full"),
        _ => (Code::Unavailable, "the store failed"),
    };
    let text: String = redact(&err.to_string()).chars().take(500).collect();
    Error::new(code, format!("{what}: {text}"))
}

/// A full disk comes without a kind of its own, as the input-output error below.
fn is_full(err: &object_store::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(err) = next {
        if let Some(io) = err.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), FileTooLarge | QuotaExceeded | StorageFull);
        }
        next = err.source();
    }
    false
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
