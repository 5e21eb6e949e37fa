//! A store of the local disk with a fence around one folder: what is asked for outside of it fails,
//! and is remembered.
//!
//! The engine promises that a table's log cannot make it touch anything outside the table. Its own
//! store refuses such keys by themselves; the fence stands behind it, so that a test sees a request
//! that should not have been made, whichever way it was reached.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use lakebed::Env;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What was asked for outside of the fence.
#[derive(Clone, Debug, Default)]
pub struct Touched(Arc<Mutex<Vec<String>>>);

impl Touched {
    /// The keys, in the order in which they were asked for.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An environment whose local disk, by path or by URL, is fenced in at `folder`, an absolute path.
pub fn fenced(env: &Env, folder: &str) -> (Env, Touched) {
    let touched = Touched::default();
    let folder = folder.trim_matches('/').to_string();
    let store = Fence { inside: LocalFileSystem::new(), folder, touched: touched.clone() };
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let env = env.with_store("/", Arc::clone(&store)).with_store("file:/", Arc::clone(&store));
    (env.with_store("file:///", store), touched)
}

#[derive(Debug)]
struct Fence {
    inside: LocalFileSystem,
    folder: String,
    touched: Touched,
}

impl Fence {
    fn check(&self, key: &Path) -> Result<()> {
        let below = key.as_ref().strip_prefix(&self.folder);
        if below.is_some_and(|it| it.is_empty() || it.starts_with('/')) {
            return Ok(());
        }
        let mut touched = self.touched.0.lock().unwrap_or_else(PoisonError::into_inner);
        touched.push(key.to_string());
        Err(Error::PermissionDenied { path: key.to_string(), source: "outside the fence".into() })
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk, fenced in at {}", self.folder)
    }
}

#[async_trait]
impl ObjectStore for Fence {
    async fn put_opts(&self, key: &Path, data: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.check(key)?;
        self.inside.put_opts(key, data, how).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(key)?;
        self.inside.put_multipart_opts(key, how).await
    }

    async fn get_opts(&self, key: &Path, how: GetOptions) -> Result<GetResult> {
        self.check(key)?;
        self.inside.get_opts(key, how).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let fence = (self.folder.clone(), self.touched.clone());
        let checked = keys.map(move |key| {
            let (folder, touched) = fence.clone();
            let fence = Fence { inside: LocalFileSystem::new(), folder, touched };
            key.and_then(|key| fence.check(&key).map(|()| key))
        });
        self.inside.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check(prefix.unwrap_or(&Path::default())) {
            Ok(()) => self.inside.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check(prefix.unwrap_or(&Path::default()))?;
        self.inside.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.inside.copy_opts(from, to, how).await
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use lakebed::Table;
    use object_store::ObjectStoreExt;

    use super::*;

    #[test]
    fn what_lies_outside_is_out_of_reach() {
        let (env, touched) = fenced(&Env::tokio(), "/tmp/fence/table");
        for outside in ["/tmp/fence/table2", "/tmp/fence", "file:///tmp/fence/other"] {
            let table = Table::open_with(&env, outside).unwrap();
            assert!(block_on(table.exists()).is_err(), "{outside}");
        }
        assert_eq!(touched.keys().len(), 3);
        let inside = Table::open_with(&env, "/tmp/fence/table/deep").unwrap();
        assert!(!block_on(inside.exists()).unwrap());
        let store = Fence {
            inside: LocalFileSystem::new(),
            folder: "a".to_string(),
            touched: Touched::default(),
        };
        assert!(block_on(store.get(&Path::from("ab"))).is_err());
        assert_eq!(store.touched.keys(), ["ab"]);
    }
}
