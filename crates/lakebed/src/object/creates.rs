//! May a store be trusted to create an object only if it is absent?
//!
//! Every commit rests on it. AWS, Google and Azure promise it. Of a store at an address that the
//! user named nothing is known: some overwrite in silence, and then two writers are both told that
//! theirs is the commit. So before the first write such a store is asked to create one object twice
//! at once, and again when it is there; exactly the first may succeed.
//!
//! ```text
//!   create k "first"   ---+     one created, one refused
//!   create k "second"  ---+
//!   create k "third"            refused
//!   get k                       what the winner sent
//! ```
//!
//! Where the answer is no, the table is read and not written, unless the user says that there is
//! one writer; then a look takes the place of the condition.

use futures::future::join;
use futures::lock::Mutex;
use lakebed_log::error::{Code, Error, Result};
use object_store::path::Path;
use object_store::{Error as Answer, PutMode};

use super::{Objects, failed, fetch};
use crate::op::{Op, Request};

/// Tries to get an answer out of a store that fails.
const QUESTIONS_MAX: usize = 3;
/// Bytes of an object of ours, generously.
const PROBE_BYTES_MAX: u64 = 1 << 10;

/// What is known about a store's creates.
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "stores of the caller's keep it"))]
pub(crate) enum Creates {
    /// It keeps its word.
    Kept,
    /// It is asked before the first write.
    Asked {
        /// Does the user say that nobody else writes?
        single_writer: bool,
        /// The answer, once there is one: does it keep its word?
        keeps: Mutex<Option<bool>>,
    },
    /// Nothing may be created there, and why.
    Refused(&'static str),
}

impl Creates {
    /// A store at an address that the user named; `keeps` if the answer is known.
    #[cfg(feature = "cloud")]
    pub(crate) fn asked(single_writer: bool, keeps: Option<bool>) -> Creates {
        Creates::Asked { single_writer, keeps: Mutex::new(keeps) }
    }
}

/// How an object is created that must not replace another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// On the condition that there is none.
    IfAbsent,
    /// After a look whether there is one: good enough for a single writer.
    AfterALook,
}

impl Objects {
    /// Called before every write.
    ///
    /// # Errors
    ///
    /// `store-unsafe`; and what the store says where it cannot be asked.
    pub(super) async fn creating(&self, op: &Op) -> Result<How> {
        let (single_writer, keeps) = match &self.remote.creates {
            Creates::Kept => return Ok(How::IfAbsent),
            Creates::Refused(why) => return Err(Error::new(Code::StoreUnsafe, *why)),
            Creates::Asked { single_writer, keeps } => (*single_writer, keeps),
        };
        let mut keeps = keeps.lock().await;
        let known = match *keeps {
            Some(known) => known,
            None => *keeps.insert(self.ask(op).await?),
        };
        match (known, single_writer) {
            (true, _) => Ok(How::IfAbsent),
            (false, true) => Ok(How::AfterALook),
            (false, false) => {
                let what = "the store does not create an object only if it is absent, so one \
                            writer's commit could replace another's; use a store that does, or \
                            set the option `single_writer=true` if nobody else writes the table";
                Err(Error::new(Code::StoreUnsafe, what))
            }
        }
    }

    /// Is there an object?
    pub(super) async fn is_there(&self, op: &Op, path: &Path) -> Result<bool> {
        match self.meta(op, path).await {
            Ok(_) => Ok(true),
            Err(err) if err.code() == Code::FileNotFound => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Does the store keep its word?
    async fn ask(&self, op: &Op) -> Result<bool> {
        let mut last = Error::internal("a question is asked at least once");
        for _ in 0..QUESTIONS_MAX {
            let key = format!("_lakebed_probe-{}", self.env.id());
            let path = self.path(&key)?;
            let asked = self.ask_once(op, &path).await;
            if let Err(err) = super::Backend::delete(self, op, &key).await {
                tracing::debug!(%err, key, "the object of a probe stays behind");
            }
            match asked {
                Err(err) if err.code() == Code::Unavailable => last = err,
                asked => {
                    tracing::debug!(?asked, "asked whether creates are safe");
                    return asked;
                }
            }
        }
        Err(last)
    }

    async fn ask_once(&self, op: &Op, path: &Path) -> Result<bool> {
        let create = async |text: &'static str| {
            op.count(Request::Put);
            let put = self.put_with(path, &text.into(), PutMode::Create);
            let put = self.call(async move { Ok(put.await) });
            match self.env.timeout(self.remote.answer, "store", put).await? {
                Ok(_) => Ok(Some(text)),
                Err(Answer::AlreadyExists { .. } | Answer::Precondition { .. }) => Ok(None),
                Err(err) => Err(failed(err)),
            }
        };
        let created = join(create("first"), create("second")).await;
        let winner = match created {
            (Err(err), _) | (_, Err(err)) if err.code() == Code::StoreUnsafe => return Ok(false),
            (Err(err), _) | (_, Err(err)) => return Err(err),
            (Ok(Some(_)), Ok(Some(_))) => return Ok(false),
            (Ok(None), Ok(None)) => {
                let what = "the store refused to create an object that was not there";
                return Err(Error::new(Code::Unavailable, what));
            }
            (Ok(Some(winner)), Ok(None)) | (Ok(None), Ok(Some(winner))) => winner,
        };
        if create("third").await?.is_some() {
            return Ok(false);
        }
        let get = || fetch(std::sync::Arc::clone(&self.remote), path.clone(), PROBE_BYTES_MAX);
        Ok(self.send(op, Request::Get, get).await? == winner)
    }
}
