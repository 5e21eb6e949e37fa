//! The footer of a Parquet file, judged before it is believed.
//!
//! A footer is a Thrift structure whose lists say how long they are, and the Parquet reader
//! reserves room for as many row groups as a list claims: 21 bytes can ask for hundreds of
//! gigabytes, which no error handling survives. It also trusts that no offset is negative. So the
//! bytes are walked once before they are decoded, and what comes out is checked against the size of
//! the file.
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

use crate::error::{Code, Error, Result};
use crate::limits::FOOTER_BYTES_MAX;

/// Length and magic at the end.
const TAIL_BYTES: u64 = 8;

/// Deepest nesting of the Thrift structures of a footer; the format itself needs about ten.
const DEPTH_MAX: usize = 32;

/// Most row groups: the format counts them in 16 bits, signed.
const ROW_GROUPS_MAX: u64 = 32_767;

/// Most elements of the file's schema.
const SCHEMA_ELEMENTS_MAX: u64 = 1 << 20;

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
/// `limit-exceeded` past [`FOOTER_BYTES_MAX`].
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
    Walk { rest: footer }.file_metadata()?;
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

/// Checks one structure of Thrift's compact protocol: no list in it claims more than there is.
pub(super) fn walk(bytes: &[u8]) -> Result<()> {
    Walk { rest: bytes }.structure(DEPTH_MAX, false)
}

/// Walks Thrift's compact protocol and keeps nothing.
struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    /// The top structure, whose field 2 is the schema and field 4 the row groups.
    fn file_metadata(&mut self) -> Result<()> {
        self.structure(DEPTH_MAX, true)
    }

    fn structure(&mut self, depth: usize, is_top: bool) -> Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(corrupt("the footer is nested too deep"));
        };
        let mut id = 0_u64;
        loop {
            let header = self.byte()?;
            let kind = header & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            id = match header >> 4 {
                0 => self.varint()? >> 1,
                delta => id.saturating_add(delta.into()),
            };
            let most = match id {
                2 if is_top => SCHEMA_ELEMENTS_MAX,
                4 if is_top => ROW_GROUPS_MAX,
                _ => u64::MAX,
            };
            match kind {
                1 | 2 => {}
                9 | 10 => self.list(depth, most)?,
                _ => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<()> {
        match kind {
            // A boolean in a list or map has a byte of its own.
            1..=3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8),
            8 => {
                let length = self.varint()?;
                self.take(length)
            }
            9 | 10 => self.list(depth, u64::MAX),
            11 => self.map(depth),
            12 => self.structure(depth, false),
            13 => self.take(16),
            _ => Err(corrupt(format!("the footer has a field of unknown kind {kind}"))),
        }
    }

    fn list(&mut self, depth: usize, most: u64) -> Result<()> {
        let header = self.byte()?;
        let length = match header >> 4 {
            15 => self.varint()?,
            short => short.into(),
        };
        self.check_length(length, most)?;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(corrupt("the footer is nested too deep"));
        };
        for _ in 0..length {
            self.value(header & 0x0f, depth)?;
        }
        Ok(())
    }

    fn map(&mut self, depth: usize) -> Result<()> {
        let length = self.varint()?;
        self.check_length(length, u64::MAX)?;
        if length == 0 {
            return Ok(());
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(corrupt("the footer is nested too deep"));
        };
        let kinds = self.byte()?;
        for _ in 0..length {
            self.value(kinds >> 4, depth)?;
            self.value(kinds & 0x0f, depth)?;
        }
        Ok(())
    }

    /// An element takes a byte at least.
    fn check_length(&self, length: u64, most: u64) -> Result<()> {
        let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        if length > left.min(most) {
            return Err(corrupt(format!("the footer has a list of {length} elements")));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(corrupt("the footer has a number of more than 64 bits"))
    }

    fn take(&mut self, bytes: u64) -> Result<()> {
        let rest = usize::try_from(bytes).ok().and_then(|it| self.rest.get(it..));
        self.rest = rest.ok_or_else(cut)?;
        Ok(())
    }
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

fn cut() -> Error {
    corrupt("the footer is cut short")
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::CorruptCheckpoint, what)
}
