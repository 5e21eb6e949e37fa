//! The footer of a Parquet file, judged before it is believed.
//!
//! The Parquet reader reserves room for as much as the bytes claim and trusts that no offset is
//! negative. So they are walked before they are decoded, see [`thrift`], and what comes out is
//! checked against the size of the file.
//!
//! ```text
//!   "PAR1"   column chunks ..   footer   length of the footer: u32 LE   "PAR1"
//!                               ^ this many bytes from the end are needed: length + 8
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use crate::batch::rules::{corrupt, of_checkpoint};
use crate::error::{Code, Error, Result};
use crate::limits::FOOTER_BYTES_MAX;
use crate::thrift;

/// Length and magic at the end.
const TAIL_BYTES: u64 = 8;

/// What the end of a file says.
#[derive(Clone, Debug)]
pub enum Footer {
    /// This many bytes from the end of the file are needed, more than were given.
    Need(u64),
    /// The footer, decoded and within the file.
    Ready(Arc<ParquetMetaData>),
}

/// Reads the footer out of the last bytes of a file of `size` bytes. Eight are enough to be told
/// how many it takes.
///
/// ```
/// use lakebed_log::batch::{Footer, parquet_footer};
///
/// # fn main() -> lakebed_log::error::Result<()> {
/// let tail = b"\x10\x27\0\0PAR1";
/// assert!(matches!(parquet_footer(tail, 20_000)?, Footer::Need(10_008)));
/// assert!(parquet_footer(tail, 5_000).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `corrupt-checkpoint` if this is not the end of a Parquet file or contradicts itself or the size;
/// `limit-exceeded` past [`FOOTER_BYTES_MAX`], or if the schema in it nests too deep.
pub fn parquet_footer(tail: &[u8], size: u64) -> Result<Footer> {
    let Some((before, end)) = tail.split_last_chunk::<8>() else {
        if size < 2 * TAIL_BYTES {
            return Err(corrupt(format!("a file of {size} bytes is not Parquet")));
        }
        return Ok(Footer::Need(TAIL_BYTES));
    };
    let [a, b, c, d, magic @ ..] = *end;
    if magic != *b"PAR1" {
        return Err(corrupt("the file does not end as Parquet does"));
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if length > FOOTER_BYTES_MAX {
        let what = format!("the footer has {length} bytes, the limit is {FOOTER_BYTES_MAX}");
        return Err(Error::new(Code::LimitExceeded, what));
    }
    if length + TAIL_BYTES + 4 > size {
        return Err(corrupt(format!("a footer of {length} bytes in a file of {size}")));
    }
    let start = usize::try_from(length).ok().and_then(|it| before.len().checked_sub(it));
    let Some(footer) = start.and_then(|it| before.get(it..)) else {
        return Ok(Footer::Need(length + TAIL_BYTES));
    };
    thrift::footer(footer).map_err(of_checkpoint)?;
    let metadata = ParquetMetaDataReader::decode_metadata(footer)
        .map_err(|it| corrupt("the footer does not decode").because(it))?;
    check(&metadata, size - length - TAIL_BYTES)?;
    Ok(Footer::Ready(Arc::new(metadata)))
}

/// Checks what the Parquet reader takes for granted: counts are not negative, chunks lie in the
/// file.
fn check(metadata: &ParquetMetaData, data_end: u64) -> Result<()> {
    let rows = metadata.file_metadata().num_rows();
    let groups = metadata.row_groups();
    let sum = groups.iter().try_fold(0_i64, |sum, it| {
        if it.num_rows() < 0 { None } else { sum.checked_add(it.num_rows()) }
    });
    if rows < 0 || sum != Some(rows) {
        return Err(corrupt(format!("the footer says {rows} rows, its row groups another number")));
    }
    for column in groups.iter().flat_map(|it| it.columns()) {
        let starts = [Some(column.data_page_offset()), column.dictionary_page_offset()];
        let starts_inside = |it: i64| u64::try_from(it).is_ok_and(|it| it <= data_end);
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size());
        let sound = starts.into_iter().flatten().all(starts_inside)
            && column.compressed_size() >= 0
            && column.uncompressed_size() >= 0
            && column.num_values() >= 0
            && column.file_path().is_none()
            && end.is_some_and(starts_inside);
        if !sound {
            let path = column.column_path().string();
            return Err(corrupt(format!("column `{path}` does not lie in the file")));
        }
    }
    Ok(())
}

/// A file of which only some ranges are in memory: what fetching the columns of one width leaves.
///
/// ```
/// use bytes::Bytes;
/// use lakebed_log::batch::SparseFile;
/// use parquet::file::reader::ChunkReader;
///
/// let mut file = SparseFile::new(100);
/// file.insert(40, Bytes::from_static(b"column"));
/// assert_eq!(file.get_bytes(42, 3).unwrap(), "lum");
/// assert!(file.get_bytes(0, 4).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct SparseFile {
    size: u64,
    /// By offset.
    parts: std::collections::BTreeMap<u64, Bytes>,
}

impl SparseFile {
    /// A file of `size` bytes, none of them known.
    pub fn new(size: u64) -> SparseFile {
        SparseFile { size, parts: std::collections::BTreeMap::new() }
    }

    /// Makes known the bytes from `offset` on.
    pub fn insert(&mut self, offset: u64, bytes: Bytes) {
        self.parts.insert(offset, bytes);
    }

    /// What is known from `start` on, up to the end of its part.
    fn from(&self, start: u64) -> Option<Bytes> {
        let (offset, bytes) = self.parts.range(..=start).next_back()?;
        let skip = usize::try_from(start - offset).ok()?;
        (skip <= bytes.len()).then(|| bytes.slice(skip..))
    }
}

impl Length for SparseFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for SparseFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        match self.from(start) {
            Some(bytes) => Ok(bytes.reader()),
            None => Err(ParquetError::EOF(format!("byte {start} was not fetched"))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self.from(start).filter(|it| length <= it.len()) {
            Some(bytes) => Ok(bytes.slice(..length)),
            None => Err(ParquetError::EOF(format!("bytes from {start} were not fetched"))),
        }
    }
}

/// Sorts ranges and joins those that touch.
pub(super) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|it| (it.start, it.end));
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
