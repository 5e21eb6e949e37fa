//! A file being written in pieces.
//!
//! Data files have names that nobody else uses, so they are written in place. Files of the log do
//! not, and would be read half-written, so they are written aside and linked, as a commit is.
//!
//! Nothing is made before there is a buffer full: a small file is created, written and synced by
//! one job. Of a small data file the caller hears before it is synced, because whoever settles its
//! name waits for that too. All jobs of a file take its lock, so one that removes it after a
//! dropped future comes after the one that was still writing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::channel::oneshot;
use lakebed_log::error::{Error, Result};

use super::writes::Written;
use super::{Root, in_log, temporary, writing};
use crate::env::{BoxFuture, Env};
use crate::op::{Op, Request};
use crate::store::Upload;

/// Bytes that are gathered before a job writes them.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes of one call. The page cache takes pages as large as a call is long, and large ones are
/// seldom at hand: on a virtual machine the host has to find each, at ten times the cost of a copy.
const WRITE_BYTES: usize = 8 << 10;

pub(super) struct LocalUpload {
    env: Env,
    op: Op,
    target: Arc<Target>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    size: u64,
    /// Whether dropping leaves everything as it is.
    done: bool,
}

struct Target {
    root: Arc<Root>,
    key: String,
    id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file, from the first piece until all of it is written.
    file: Option<File>,
    /// Where it is now.
    path: Option<PathBuf>,
    /// Removed, or failed: nothing more is written.
    closed: bool,
}

impl LocalUpload {
    pub(super) fn new(env: &Env, op: &Op, root: &Arc<Root>, key: &str) -> LocalUpload {
        let target = Target {
            root: Arc::clone(root),
            key: key.to_string(),
            id: env.id().to_string(),
            state: Mutex::default(),
        };
        LocalUpload {
            env: env.clone(),
            op: op.clone(),
            target: Arc::new(target),
            pending: Vec::new(),
            pending_bytes: 0,
            size: 0,
            done: false,
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    fn remove(&mut self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.done = true;
        let target = Arc::clone(&self.target);
        self.env.block(move || {
            target.remove();
            Ok(())
        })
    }
}

impl Upload for LocalUpload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.size += bytes.len() as u64;
            self.pending_bytes += bytes.len();
            self.pending.push(bytes);
            if self.pending_bytes < BUFFER_BYTES {
                return Ok(());
            }
            let (target, pieces) = (Arc::clone(&self.target), self.take());
            self.env.block(move || target.write(&pieces)).await
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            self.op.count(Request::Put);
            let (target, pieces) = (Arc::clone(&self.target), self.take());
            let (tell, told) = oneshot::channel();
            let job = self.env.block(move || {
                target.finish(&pieces, |finished| drop(tell.send(finished)));
                Ok(())
            });
            let finished = match told.await {
                Ok(finished) => finished,
                Err(_) => job.await.and_then(|()| Err(Error::internal("a file was not finished"))),
            };
            if let Err(error) = finished {
                // Awaited: a process that ends on this error would leave the file behind.
                self.abort().await;
                return Err(error);
            }
            self.done = true;
            Ok(self.size)
        })
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let removed = self.remove();
        Box::pin(async move {
            let _ = removed.await;
        })
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if !self.done {
            drop(self.remove());
        }
    }
}

impl Target {
    fn write(&self, pieces: &[Bytes]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.append(&mut state, pieces)
    }

    fn append(&self, state: &mut State, pieces: &[Bytes]) -> Result<()> {
        if state.closed {
            return Err(Error::internal("a piece came after the file was given up"));
        }
        // Until the end is reached: a file with a hole must not be finished.
        state.closed = true;
        let file = match &mut state.file {
            Some(file) => file,
            None => {
                let path = self.root.inside(&self.key)?;
                let path = if in_log(&self.key) { temporary(&path, &self.id)? } else { path };
                let file = self.root.create_new(&path).map_err(writing)?;
                state.path = Some(path);
                state.file.insert(file)
            }
        };
        for part in pieces.iter().flat_map(|it| it.chunks(WRITE_BYTES)) {
            file.write_all(part).map_err(writing)?;
        }
        state.closed = false;
        Ok(())
    }

    /// Writes the last pieces, tells, and makes durable what was told before it is.
    fn finish(&self, pieces: &[Bytes], tell: impl FnOnce(Result<()>)) {
        match self.close(pieces) {
            Ok(written) => {
                tell(Ok(()));
                if let Some(written) = written {
                    // Whoever settles is told.
                    let _ = self.root.sync_written(&written);
                }
            }
            Err(err) => tell(Err(err)),
        }
    }

    /// The whole file stands there. It is durable, or else the one that is given back: a small one,
    /// to be synced while others go on.
    fn close(&self, pieces: &[Bytes]) -> Result<Option<Arc<Written>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_small = state.file.is_none();
        self.append(&mut state, pieces)?;
        // The path is kept until the caller has heard of it: a dropped future still removes it.
        let (Some(file), Some(path)) = (state.file.take(), state.path.as_ref()) else {
            return Err(Error::internal("a file was finished before it was made"));
        };
        if is_small && !in_log(&self.key) {
            return Ok(self.root.note_written(path, file));
        }
        self.root.sync_file(&file).map_err(writing)?;
        if !in_log(&self.key) {
            self.root.note(path);
            return Ok(None);
        }
        let target = self.root.inside(&self.key)?;
        let temporary = super::Temporary::there(path.clone());
        if !temporary.link(&target)? {
            return Err(writing(std::io::ErrorKind::AlreadyExists.into()));
        }
        drop(temporary);
        self.root.sync_into(&target).map_err(writing)?;
        Ok(None)
    }

    fn remove(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        drop(state.file.take());
        if let Some(path) = state.path.take() {
            self.root.forget(&path);
            let _ = fs::remove_file(path);
        }
    }
}
