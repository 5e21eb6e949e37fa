//! A store in memory, and somebody between it and the engine: what the stores of these tests have
//! in common.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A wait, anew at each call.
pub type Pause = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

/// What becomes of requests on their way; what is not said is as in memory.
#[async_trait]
pub trait Between: Send + Sync + 'static {
    async fn put(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        inner.put_opts(path, payload, options).await
    }

    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        inner.get_opts(path, options).await
    }

    /// What each entry of a listing waits for.
    fn entry(&self) -> Pause {
        Box::new(|| ready(()).boxed())
    }

    /// What a listing waits for.
    fn list(&self, _prefix: Option<&Path>, _offset: Option<&Path>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    /// What each deletion waits for.
    fn delete(&self) -> Pause {
        Box::new(|| ready(()).boxed())
    }
}

pub struct Over<B> {
    pub inner: Arc<InMemory>,
    between: B,
}

impl<B: Between> Over<B> {
    pub fn new(between: B) -> Arc<Over<B>> {
        Over::sharing(Arc::default(), between)
    }

    /// Over objects that others see as well.
    pub fn sharing(inner: Arc<InMemory>, between: B) -> Arc<Over<B>> {
        Arc::new(Over { inner, between })
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let waited = self.between.list(prefix, offset);
        let (inner, prefix, offset) = (Arc::clone(&self.inner), prefix.cloned(), offset.cloned());
        let listed = waited.map(move |()| match offset {
            Some(offset) => inner.list_with_offset(prefix.as_ref(), &offset),
            None => inner.list(prefix.as_ref()),
        });
        let entry = self.between.entry();
        listed.flatten_stream().then(move |it| entry().map(move |()| it)).boxed()
    }
}

impl<B> Deref for Over<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.between
    }
}

#[async_trait]
impl<B: Between> ObjectStore for Over<B> {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.between.put(&self.inner, path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.between.get(&self.inner, path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let delete = self.between.delete();
        self.inner.delete_stream(paths.then(move |it| delete().map(move |()| it)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.between.list(prefix, None).await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl<B> fmt::Debug for Over<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<B> fmt::Display for Over<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("over memory")
    }
}
