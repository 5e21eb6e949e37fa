//! Uploads: an object is held back while it may still fit into one request, then sent in pieces.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::mutant::planted;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::Objects;
use super::creates::How;
use super::failure::failed;
use crate::env::{BoxFuture, Env};
use crate::op::{Op, Request};
use crate::store::Upload;

/// Pieces in flight for one upload.
const PIECES_MAX: usize = 4;

/// An object on its way: held back while it may still fit into one request, then sent in pieces.
pub(super) struct Pieces {
    objects: Objects,
    op: Op,
    path: Path,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    size: u64,
    multipart: Option<Box<dyn MultipartUpload>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Result<()>>>,
    /// Others may write under the name too, and the first is right: how it is created, then.
    shared: Option<How>,
}

impl Pieces {
    pub(super) fn new(objects: &Objects, op: &Op, path: Path, shared: Option<How>) -> Pieces {
        Pieces {
            objects: objects.clone(),
            op: op.clone(),
            path,
            pending: Vec::new(),
            pending_bytes: 0,
            size: 0,
            multipart: None,
            in_flight: FuturesUnordered::new(),
            shared,
        }
    }

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
                let (remote, path) = (Arc::clone(&objects.remote), path.clone());
                let start = async move { remote.pieces.put_multipart(&path).await.map_err(failed) };
                let start = objects.call(start);
                multipart.insert(objects.env.timeout(objects.remote.answer, "store", start).await?)
            }
        };
        op.count(Request::Put);
        let (objects, part) = (objects.clone(), multipart.put_part(piece));
        in_flight.push(Box::pin(async move {
            objects.call(async move { part.await.map_err(failed) }).await
        }));
        Ok(())
    }

    /// Waits until at most `limit` pieces are in flight. How long a piece takes is a matter of the
    /// way there, so it may take as long as the operation; its requests have limits of their own.
    async fn drain(&mut self, limit: usize) -> Result<()> {
        let Pieces { objects, op, in_flight, .. } = self;
        while limit < in_flight.len() {
            let next = async { in_flight.next().await.unwrap_or(Ok(())) };
            objects.env.timeout(op.deadline(), "store", next).await?;
        }
        Ok(())
    }

    async fn finish_all(&mut self) -> Result<u64> {
        let rest = self.take(self.pending_bytes);
        self.look().await?;
        if self.multipart.is_none() {
            let Pieces { objects, op, path, shared, .. } = self;
            let mode = match shared {
                Some(How::IfAbsent) => PutMode::Create,
                _ => PutMode::Overwrite,
            };
            let put = || {
                let (remote, path) = (Arc::clone(&objects.remote), path.clone());
                let (rest, options) = (rest.clone(), PutOptions::from(mode.clone()));
                async move {
                    let sent = remote.store.put_opts(&path, rest, options).await;
                    if planted(9) {
                        return Ok(());
                    }
                    match sent {
                        Err(object_store::Error::AlreadyExists { .. }) => Err(taken()),
                        sent => sent.map(|_| ()).map_err(failed),
                    }
                }
            };
            objects.send(op, Request::Put, put).await?;
            return Ok(self.size);
        }
        if 0 < rest.content_length() {
            self.send_piece(rest).await?;
        }
        self.drain(0).await?;
        if let Some(multipart) = self.multipart.take() {
            self.complete(multipart).await?;
        }
        Ok(self.size)
    }

    /// Is there an object of a shared name already?
    async fn look(&mut self) -> Result<()> {
        if self.shared.is_none() {
            return Ok(());
        }
        match self.objects.meta(&self.op, &self.path).await {
            Ok(_) => Err(taken()),
            Err(it) if it.code() == Code::FileNotFound => Ok(()),
            Err(it) => Err(it),
        }
    }

    /// The last request. Its answer may be lost, and a repeat then finds no upload to complete; the
    /// name is ours alone, so an object of our size under it is ours. Nor does a yes say that all
    /// of it is there.
    async fn complete(&mut self, mut multipart: Box<dyn MultipartUpload>) -> Result<()> {
        let Pieces { objects, op, path, size, .. } = self;
        op.count(Request::Put);
        let complete = objects.call(async move {
            let done = multipart.complete().await.map(|_| ()).map_err(failed);
            Ok((done, multipart))
        });
        let (err, multipart) =
            match objects.env.timeout(objects.remote.answer, "store", complete).await {
                Ok((Ok(()), _)) => {
                    let there = objects.meta(op, path).await?.size;
                    return match there == *size {
                        true => Ok(()),
                        false => Err(Error::new(
                            Code::Unavailable,
                            format!("{there} bytes of {size} are there after the upload"),
                        )),
                    };
                }
                Ok((Err(err), multipart)) => (err, Some(multipart)),
                Err(err) => (err, None),
            };
        let in_doubt = matches!(err.code(), Code::Unavailable | Code::FileNotFound);
        let is_ours = async { objects.meta(op, path).await.is_ok_and(|it| it.size == *size) };
        if in_doubt && (planted(55) || is_ours.await) {
            return Ok(());
        }
        self.multipart = multipart;
        Err(err)
    }
}

/// Somebody was faster.
fn taken() -> Error {
    Error::new(Code::Conflict, "an object of this name is there already")
}

impl Upload for Pieces {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.size += bytes.len() as u64;
            self.pending_bytes += bytes.len();
            self.pending.push(bytes);
            let piece_bytes = self.objects.env.piece_bytes();
            while piece_bytes < self.pending_bytes {
                let piece = self.take(piece_bytes);
                self.send_piece(piece).await?;
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move { self.finish_all().await })
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let (objects, multipart) = (self.objects.clone(), self.multipart.take());
        Box::pin(async move {
            if let Some(multipart) = multipart {
                discard(&objects, multipart).await;
            }
        })
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            let objects = self.objects.clone();
            let env: &Env = &self.objects.env;
            drop(env.spawn(async move {
                discard(&objects, multipart).await;
                Ok(())
            }));
        }
    }
}

/// Pieces that nobody completes are not visible, but may be billed.
async fn discard(objects: &Objects, mut multipart: Box<dyn MultipartUpload>) {
    let abort = objects.call(async move { multipart.abort().await.map_err(failed) });
    if let Err(err) = objects.env.timeout(objects.remote.answer, "store", abort).await {
        tracing::debug!(%err, "pieces of an abandoned upload were left behind");
    }
}
