//! Objects in pieces, in a store that loses, delays and repeats: each request of an upload may go
//! wrong as any other write may, and the one that completes it may come late, or twice.
//!
//! As clients of clouds do, this one sends what failed once more. So the end of an upload may find
//! that there is none any more, because its first try has made the object.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use lakebed::Timestamp;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use crate::sim_store::{SimStore, broken, missing};
use crate::weather::Class;

/// How often a request is sent at most.
const TRIES: usize = 2;

/// An upload of one client.
pub struct SimUpload {
    store: SimStore,
    key: String,
    parts: usize,
    there: Arc<Mutex<There>>,
}

/// What the store has of an upload.
#[derive(Default)]
struct There {
    parts: Vec<Option<Bytes>>,
    /// It was completed or given up.
    gone: bool,
}

impl SimUpload {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// What goes wrong with a write.
    pub async fn start(store: SimStore, key: String) -> Result<SimUpload> {
        let upload = SimUpload { store, key, parts: 0, there: Arc::default() };
        upload.tried("start", |_, _| Ok(())).await?;
        Ok(upload)
    }

    /// Sends a request, and once more if it fails.
    fn tried(
        &self,
        what: &'static str,
        effect: impl Fn(&mut There, Timestamp) -> Result<()> + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<()>> {
        let (store, key, there) = (self.store.clone(), self.key.clone(), Arc::clone(&self.there));
        let effect = Arc::new(effect);
        Box::pin(async move {
            let mut last = broken(what, &key);
            for _ in 0..TRIES {
                let (effect, there) = (Arc::clone(&effect), Arc::clone(&there));
                let (noted, name) = (store.clone(), key.clone());
                let happens = move |now| {
                    let done = effect(&mut lock(&there), now);
                    noted.note(what, &name, if done.is_ok() { "" } else { ": no" });
                    done.map(|()| PutResult { e_tag: None, version: None })
                };
                let sent = async {
                    let fault = store.leave(Class::Put, &key).await?;
                    store.send(fault, &key, happens).await
                };
                match sent.await {
                    Ok(_) => return Ok(()),
                    Err(it @ (Error::NotFound { .. } | Error::PermissionDenied { .. })) => {
                        return Err(it);
                    }
                    Err(it) => last = it,
                }
            }
            Err(last)
        })
    }
}

#[async_trait]
impl MultipartUpload for SimUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (at, bytes, key) = (self.parts, Bytes::from(data), self.key.clone());
        self.parts += 1;
        let effect = move |there: &mut There, _| {
            if there.gone {
                return Err(missing(&key));
            }
            if there.parts.len() <= at {
                there.parts.resize(at + 1, None);
            }
            there.parts.get_mut(at).into_iter().for_each(|it| *it = Some(bytes.clone()));
            Ok(())
        };
        self.tried("piece", effect)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, key, parts) = (self.store.clone(), self.key.clone(), self.parts);
        let effect = move |there: &mut There, now| {
            if there.gone {
                return Err(missing(&key));
            }
            let mut whole = BytesMut::new();
            for at in 0..parts {
                let piece = there.parts.get(at).and_then(Option::as_ref);
                whole.extend_from_slice(piece.ok_or_else(|| broken("piece", &key))?);
            }
            store.objects.put((store.client, now), &key, whole.freeze(), false);
            there.gone = true;
            Ok(())
        };
        self.tried("complete", effect).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let effect = |there: &mut There, _| {
            there.gone = true;
            Ok(())
        };
        self.tried("abort", effect).await
    }
}

fn lock(there: &Mutex<There>) -> MutexGuard<'_, There> {
    there.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SimUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimUpload of {}", self.key)
    }
}
