//! A file of which some ranges are in memory, and others can be read at once.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use lakebed_log::error::Error;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::store::Near;

/// Page headers are looked for in pieces of so many bytes.
const PEEK_BYTES: u64 = 1 << 10;

/// What is known of a file, for the Parquet library to read from.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    len: u64,
    /// Ascending.
    parts: Arc<[Part]>,
    near: Option<Arc<dyn Near>>,
    /// Why bytes that should be there could not be had.
    fault: Arc<Mutex<Option<Error>>>,
}

/// A range, by where it is for who reads, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    at: u64,
    len: u64,
    bytes: Held,
}

#[derive(Clone, Debug)]
enum Held {
    Here(Bytes),
    /// At this offset in the file.
    Near(u64),
}

impl Part {
    /// Bytes in memory.
    pub(super) fn here(at: u64, bytes: Bytes) -> Part {
        Part { at, len: bytes.len() as u64, bytes: Held::Here(bytes) }
    }

    /// A range of the file, to be read when it is needed.
    pub(super) fn near(range: &Range<u64>) -> Part {
        let len = range.end.saturating_sub(range.start);
        Part { at: range.start, len, bytes: Held::Near(range.start) }
    }

    fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }

    /// What is in a range that is in this part, for who reads it at `to`.
    fn cut(&self, range: &Range<u64>, to: u64) -> Option<Part> {
        let (skip, len) = (range.start.checked_sub(self.at)?, range.end - range.start);
        let bytes = match &self.bytes {
            Held::Near(offset) => Held::Near(offset.checked_add(skip)?),
            Held::Here(bytes) => {
                let (skip, len) = (usize::try_from(skip).ok()?, usize::try_from(len).ok()?);
                let end = skip.checked_add(len).filter(|it| *it <= bytes.len())?;
                Held::Here(bytes.slice(skip..end))
            }
        };
        Some(Part { at: to, len, bytes })
    }
}

impl Sparse {
    /// A file of `len` bytes of which these parts are known; those that are not in memory are read
    /// from `near`.
    pub(super) fn new(len: u64, mut parts: Vec<Part>, near: Option<Arc<dyn Near>>) -> Sparse {
        parts.sort_by_key(|it| it.at);
        Sparse { len, parts: parts.into(), near, fault: Arc::default() }
    }

    /// Another file, made of parts of this one.
    pub(super) fn patched(&self, len: u64, parts: Vec<Part>) -> Sparse {
        let (near, fault) = (self.near.clone(), Arc::clone(&self.fault));
        Sparse { len, parts: parts.into(), near, fault }
    }

    /// Why bytes were missing that the store should have given.
    pub(super) fn fault(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The parts that make up a range, for who reads it at `to`.
    pub(super) fn parts(&self, range: &Range<u64>, to: u64) -> Option<Vec<Part>> {
        let (mut out, mut at) = (Vec::new(), range.start);
        while at < range.end {
            let part = self.part(at)?;
            let end = part.end().min(range.end);
            out.push(part.cut(&(at..end), to + (at - range.start))?);
            at = end;
        }
        Some(out)
    }

    /// The part with the byte at `start`.
    fn part(&self, start: u64) -> Option<&Part> {
        let after = self.parts.partition_point(|it| it.at <= start);
        // Parts may overlap: the end of the file is there before the columns in it are asked for.
        self.parts.get(..after)?.iter().rev().find(|it| start < it.end())
    }

    /// Bytes from `start`, at most `most` and as many as lie together; at least one.
    pub(super) fn some(&self, start: u64, most: u64) -> Option<Bytes> {
        let part = self.part(start)?;
        let end = part.end().min(start.saturating_add(most));
        match part.cut(&(start..end), start)?.bytes {
            Held::Here(bytes) => Some(bytes),
            Held::Near(offset) => {
                let near = self.near.as_ref()?;
                match near.read(offset..offset.checked_add(end - start)?) {
                    Ok(bytes) => Some(bytes),
                    Err(err) => {
                        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
                        fault.get_or_insert(err);
                        None
                    }
                }
            }
        }
    }

    /// `len` known bytes from `start`; a copy if they are in several parts.
    pub(super) fn range(&self, start: u64, len: usize) -> Option<Bytes> {
        if len == 0 {
            return Some(Bytes::new());
        }
        let bytes = self.some(start, len as u64)?;
        if bytes.len() == len {
            return Some(bytes);
        }
        let mut out = BytesMut::from(bytes);
        while out.len() < len {
            let at = start.checked_add(out.len() as u64)?;
            out.extend_from_slice(&self.some(at, (len - out.len()) as u64)?);
        }
        Some(out.freeze())
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Sparse {
    type T = Tap;

    fn get_read(&self, start: u64) -> Result<Tap, ParquetError> {
        let first = self.some(start, PEEK_BYTES).ok_or_else(|| beyond(start, 1))?;
        Ok(Tap { at: start + first.len() as u64, ready: first, file: self.clone() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.range(start, length).ok_or_else(|| beyond(start, length))
    }
}

/// Reads on from somewhere, a piece at a time.
#[derive(Debug)]
pub(super) struct Tap {
    file: Sparse,
    at: u64,
    ready: Bytes,
}

impl io::Read for Tap {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && !out.is_empty() {
            self.ready = self.file.some(self.at, PEEK_BYTES).unwrap_or_default();
            self.at += self.ready.len() as u64;
        }
        let len = self.ready.len().min(out.len());
        let head = self.ready.split_to(len);
        out.get_mut(..len).unwrap_or_default().copy_from_slice(&head);
        Ok(len)
    }
}

fn beyond(start: u64, len: usize) -> ParquetError {
    let what = format!("{len} bytes at {start} are not part of the column");
    io::Error::new(io::ErrorKind::UnexpectedEof, what).into()
}
