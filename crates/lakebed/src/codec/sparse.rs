//! A file of which only some ranges are in memory.

use std::io;

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// The ranges of a file that were fetched, for the Parquet library to read from.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    len: u64,
    parts: Vec<(u64, Bytes)>,
}

impl Sparse {
    /// A file of `len` bytes of which `parts` are known, each with its offset.
    pub(super) fn new(len: u64, parts: Vec<(u64, Bytes)>) -> Sparse {
        Sparse { len, parts }
    }

    /// The known bytes from `start` to the end of their part.
    pub(super) fn from(&self, start: u64) -> Option<Bytes> {
        self.parts.iter().find_map(|(offset, bytes)| {
            let at = usize::try_from(start.checked_sub(*offset)?).ok()?;
            (at < bytes.len()).then(|| bytes.slice(at..))
        })
    }

    /// `len` known bytes from `start`.
    pub(super) fn range(&self, start: u64, len: usize) -> Option<Bytes> {
        if len == 0 {
            return Some(Bytes::new());
        }
        let bytes = self.from(start)?;
        (len <= bytes.len()).then(|| bytes.slice(..len))
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Sparse {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.from(start).map(Buf::reader).ok_or_else(|| beyond(start, 1))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.range(start, length).ok_or_else(|| beyond(start, length))
    }
}

fn beyond(start: u64, len: usize) -> ParquetError {
    let what = format!("{len} bytes at {start} are not part of the column");
    io::Error::new(io::ErrorKind::UnexpectedEof, what).into()
}
