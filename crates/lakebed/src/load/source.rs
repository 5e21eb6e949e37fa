//! Parts of a large checkpoint, decoded from wherever their bytes are.
//!
//! Ranges that come from far are fetched together and wait in memory for the decoder. On a local
//! disk a page costs no request: it is read when the decoder comes to it, into memory that the page
//! before it has just left. So a checkpoint never stands in memory compressed, and the system need
//! not find memory for each page of it.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lakebed_log::batch::SparseFile;
use lakebed_log::error::{Error, Result};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::fetch::{Piece, Trouble, trouble};
use crate::env::Env;
use crate::op::{Op, Request};
use crate::store::{Near, Store};

/// Headers of pages are read in pieces of so many bytes.
const PEEK_BYTES: u64 = 1 << 10;

/// How many buffers are kept for pages: one for each column that is read at once, about.
const KEPT_BUFFERS: usize = 8;
/// Buffers come in multiples of this, so that one fits the next page too.
const BUFFER_BYTES: usize = 256 << 10;
/// Larger ones are not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Decodes what some ranges of a file hold, within the budget. `whole` is all of the file, where
/// that was kept.
///
/// The outer error: the bytes could not be had. The inner one: they do not decode.
pub(super) async fn decode_ranges<T: Send + 'static>(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    whole: Option<Bytes>,
    ranges: &[Range<u64>],
    decode: impl FnOnce(Reader) -> Result<T> + Send + 'static,
) -> Result<Result<T>, Trouble> {
    let bytes = ranges.iter().map(|it| it.end - it.start).fold(0, u64::saturating_add);
    let budget = env.budget();
    let _permit = budget.acquire(bytes.min(budget.total())).await.map_err(Trouble::Final)?;
    let mut sparse = SparseFile::new(file.size);
    if let Some(whole) = whole {
        sparse.insert(0, whole);
    } else if let Some(near) = store.near(&file.key).await.map_err(|it| trouble(file, it))? {
        // They count like those that are fetched.
        ranges.iter().for_each(|_| op.count(Request::Get));
        op.read_bytes(bytes);
        near.expect(ranges);
        let near = NearFile { near, size: file.size, kept: Arc::default(), fault: Arc::default() };
        let reader = Reader::Near(near.clone());
        let decoded = env.compute(move || decode(reader)).await;
        return match near.fault() {
            Some(it) => Err(trouble(file, it.at(format!("{}/{}", store.location(), file.key)))),
            None => Ok(decoded),
        };
    } else {
        let fetched = store.pinned(&file.pin).get_ranges(op, &file.key, ranges).await;
        for (range, bytes) in ranges.iter().zip(fetched.map_err(|it| trouble(file, it))?) {
            sparse.insert(range.start, bytes);
        }
    }
    Ok(env.compute(move || decode(Reader::Sparse(sparse))).await)
}

/// For the Parquet library to read from.
#[derive(Debug)]
pub(super) enum Reader {
    Sparse(SparseFile),
    Near(NearFile),
}

impl Length for Reader {
    fn len(&self) -> u64 {
        match self {
            Reader::Sparse(it) => it.len(),
            Reader::Near(it) => it.size,
        }
    }
}

impl ChunkReader for Reader {
    type T = Box<dyn io::Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(match self {
            Reader::Sparse(it) => Box::new(it.get_read(start)?),
            Reader::Near(it) => {
                Box::new(Onward { file: it.clone(), at: start, ready: Bytes::new() })
            }
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Reader::Sparse(it) => it.get_bytes(start, length),
            Reader::Near(it) => it.page(start, length),
        }
    }
}

/// A file on a local disk.
#[derive(Clone, Debug)]
pub(super) struct NearFile {
    near: Arc<dyn Near>,
    /// As it was listed: nothing beyond is read.
    size: u64,
    /// Memory of pages. One that nobody else holds is free to be used again.
    kept: Arc<Mutex<Vec<Arc<Vec<u8>>>>>,
    /// Why bytes could not be had; the Parquet library would only say that they are missing.
    fault: Arc<Mutex<Option<Error>>>,
}

impl NearFile {
    fn fault(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// All bytes of a page.
    fn page(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = u64::try_from(length).ok().and_then(|it| start.checked_add(it));
        self.check_end(end.unwrap_or(u64::MAX))?;
        let mut buffer = self.free_buffer(length);
        // Nobody else holds it, so this does not copy.
        let bytes = Arc::make_mut(&mut buffer).get_mut(..length).unwrap_or_default();
        self.near.read_into(start, bytes).map_err(|it| self.failed(it))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS && length <= KEPT_BYTES_MAX {
            kept.push(Arc::clone(&buffer));
        }
        Ok(Bytes::from_owner(Page(buffer)).slice(..length))
    }

    /// At least so many bytes that nobody else holds.
    fn free_buffer(&self, length: usize) -> Arc<Vec<u8>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |it: &Arc<Vec<u8>>| Arc::strong_count(it) == 1 && length <= it.len();
        match kept.iter().position(is_free) {
            Some(at) => kept.swap_remove(at),
            None => {
                // What is free and too small would be in the way.
                kept.retain(|it| 1 < Arc::strong_count(it));
                Arc::new(vec![0; length.next_multiple_of(BUFFER_BYTES)])
            }
        }
    }

    /// The few bytes of a header.
    fn bytes(&self, range: Range<u64>) -> parquet::errors::Result<Bytes> {
        self.check_end(range.end)?;
        self.near.read(range).map_err(|it| self.failed(it))
    }

    fn check_end(&self, end: u64) -> parquet::errors::Result<()> {
        match end <= self.size {
            true => Ok(()),
            false => Err(ParquetError::EOF(format!("byte {end} is past the end"))),
        }
    }

    fn failed(&self, error: Error) -> ParquetError {
        let what = ParquetError::General(error.to_string());
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        what
    }
}

/// Memory that is lent to the decoder.
struct Page(Arc<Vec<u8>>);

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads on from somewhere, a piece at a time.
struct Onward {
    file: NearFile,
    at: u64,
    ready: Bytes,
}

impl io::Read for Onward {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(PEEK_BYTES).min(self.file.size);
        if self.ready.is_empty() && !out.is_empty() && self.at < end {
            self.ready = self.file.bytes(self.at..end).map_err(io::Error::other)?;
            self.at = end;
        }
        let length = self.ready.len().min(out.len());
        let head = self.ready.split_to(length);
        out.get_mut(..length).unwrap_or_default().copy_from_slice(&head);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
