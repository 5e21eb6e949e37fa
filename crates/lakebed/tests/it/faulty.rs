//! A store that does not tell the truth about some of its puts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, ObjectStore, PutOptions, PutPayload, PutResult, Result,
};

use crate::between::{Between, Over};

/// What the next put of a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it should.
    Fine,
    /// It lands, and the answer is lost.
    LostAfter,
    /// It does not land, and the answer is lost.
    LostBefore,
    /// It lands, and the answer says that something was there already.
    OwnExists,
    /// It does not land, and the answer says that something was there already.
    FalseExists,
    /// It is refused.
    Denied,
    /// The answer is lost, and it lands when the next request arrives.
    Late,
}

/// Puts of commits meet their fates in turn; everything else is as in memory.
#[derive(Default)]
pub struct Faulty {
    fates: Mutex<VecDeque<Fate>>,
    late: Mutex<Option<(Path, PutPayload, PutOptions)>>,
    during_put: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Faulty {
    pub fn new() -> Arc<Over<Faulty>> {
        Over::new(Faulty::default())
    }

    pub fn plan(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap() = fates.into_iter().collect();
    }

    /// How many fates are still to come.
    pub fn left(&self) -> usize {
        self.fates.lock().unwrap().len()
    }

    /// What else happens while the next commit is put.
    pub fn during_put(&self, happens: impl FnOnce() + Send + 'static) {
        *self.during_put.lock().unwrap() = Some(Box::new(happens));
    }

    async fn arrive(&self, inner: &InMemory) {
        let late = self.late.lock().unwrap().take();
        if let Some((path, payload, options)) = late {
            let _ = inner.put_opts(&path, payload, options).await;
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the connection was reset".into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "it says".into() }
}

#[async_trait]
impl Between for Faulty {
    async fn put(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.arrive(inner).await;
        let commit = path.as_ref().contains("_delta_log/") && path.as_ref().ends_with(".json");
        let fate = match commit {
            true => self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Fine),
            false => Fate::Fine,
        };
        if commit && let Some(happens) = self.during_put.lock().unwrap().take() {
            happens();
        }
        match fate {
            Fate::Fine => inner.put_opts(path, payload, options).await,
            Fate::LostAfter => {
                let _ = inner.put_opts(path, payload, options).await;
                Err(lost())
            }
            Fate::OwnExists => {
                let _ = inner.put_opts(path, payload, options).await;
                Err(exists(path))
            }
            Fate::LostBefore => Err(lost()),
            Fate::FalseExists => Err(exists(path)),
            Fate::Denied => Err(Error::PermissionDenied {
                path: path.to_string(),
                source: "not for you".into(),
            }),
            Fate::Late => {
                *self.late.lock().unwrap() = Some((path.clone(), payload, options));
                Err(lost())
            }
        }
    }

    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        let got = inner.get_opts(path, options).await;
        self.arrive(inner).await;
        got
    }
}
