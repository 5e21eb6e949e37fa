//! A file of which only some ranges are in memory.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// The ranges of a file that were fetched, for the Parquet library to read from.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    len: u64,
    /// Ascending.
    parts: Vec<(u64, Bytes)>,
}

impl Sparse {
    /// A file of `len` bytes of which `parts` are known, each with its offset.
    pub(super) fn new(len: u64, mut parts: Vec<(u64, Bytes)>) -> Sparse {
        parts.sort_by_key(|it| it.0);
        Sparse { len, parts }
    }

    /// The known bytes from `start` to the end of their part.
    pub(super) fn from(&self, start: u64) -> Option<Bytes> {
        let after = self.parts.partition_point(|it| it.0 <= start);
        let holds = |(offset, bytes): &(u64, Bytes)| {
            let at = usize::try_from(start.checked_sub(*offset)?).ok()?;
            (at < bytes.len()).then(|| bytes.slice(at..))
        };
        // Parts may overlap: the end of the file is there before the columns in it are asked for.
        self.parts.get(..after)?.iter().rev().find_map(holds)
    }

    /// `len` known bytes from `start`; a copy if they are in several parts.
    pub(super) fn range(&self, start: u64, len: usize) -> Option<Bytes> {
        if len == 0 {
            return Some(Bytes::new());
        }
        let bytes = self.from(start)?;
        if len <= bytes.len() {
            return Some(bytes.slice(..len));
        }
        let mut out = BytesMut::from(bytes);
        while out.len() < len {
            let next = self.from(start.checked_add(out.len() as u64)?)?;
            let missing = (len - out.len()).min(next.len());
            out.extend_from_slice(next.get(..missing)?);
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
