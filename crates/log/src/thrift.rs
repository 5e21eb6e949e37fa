//! Walks Thrift compact bytes without building anything.
//!
//! The Parquet library sizes its vectors by the counts that a footer or a page header claims. A few
//! hostile bytes claim two thousand million elements, and the allocation ends the process before
//! the missing bytes are noticed. So every structure is walked once before the library sees it: a
//! list cannot have more elements than there are bytes left, and nesting ends at a fixed depth.

use crate::error::{Code, Error, Result};
use crate::limits;

/// Deepest nesting of structures, lists and maps. Parquet's own metadata needs eight.
const DEPTH_MAX: usize = 32;
/// Deepest nesting of a file's schema. A list or map of the table is three levels in a file.
const SCHEMA_DEPTH_MAX: usize = 3 * limits::SCHEMA_DEPTH_MAX;

const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// What the header of a page says about the bytes behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageHeader {
    /// Kind of page: 2 is a dictionary.
    pub kind: i64,
    /// Values in a data page, nulls included.
    pub values: Option<u64>,
    /// How these are written.
    pub encoding: Option<i64>,
    /// Bytes once decompressed.
    pub uncompressed: u64,
    /// Bytes that follow the header.
    pub compressed: u64,
    /// Bytes of the header up to the end of its third field.
    pub prefix: usize,
    /// Does it carry a checksum?
    pub checksum: bool,
    /// Bytes of the header.
    pub len: usize,
}

/// Checks the metadata of a file and returns how many bytes it has.
///
/// ```
/// let list_of_two_thousand_million = [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07];
/// assert!(lakebed_log::thrift::footer(&list_of_two_thousand_million).is_err());
/// ```
///
/// # Errors
///
/// `corrupt-data` if it is cut short, nests too deep, or counts more than there is room for;
/// `limit-exceeded` if the schema in it nests too deep: the library goes down it by recursion.
pub fn footer(bytes: &[u8]) -> Result<usize> {
    let mut walk = Walk { bytes, at: 0 };
    let mut id = 0i64;
    loop {
        let head = walk.byte()?;
        if head == 0 {
            return Ok(walk.at);
        }
        id = walk.id(id, head)?;
        match (id, head & 0x0f) {
            (2, LIST) => walk.schema()?,
            (_, 1 | 2) => (),
            (_, kind) => walk.value(kind, 1)?,
        }
    }
}

/// Checks one structure, as [`footer`], and returns how many bytes it has.
///
/// ```
/// assert_eq!(lakebed_log::thrift::structure(&[0x15, 0x02, 0, 9]).unwrap(), 3);
/// ```
///
/// # Errors
///
/// `corrupt-data` if it is cut short, nests too deep, or counts more than there is room for.
pub fn structure(bytes: &[u8]) -> Result<usize> {
    let mut walk = Walk { bytes, at: 0 };
    walk.structure(0, &mut |_, _, _| ())?;
    Ok(walk.at)
}

/// Reads the header of a page at the start of `bytes`.
///
/// ```
/// let header = [0x15, 0x04, 0x15, 0x10, 0x15, 0x0e, 0];
/// let header = lakebed_log::thrift::page_header(&header).unwrap();
/// assert_eq!((header.kind, header.uncompressed, header.compressed), (2, 8, 7));
/// assert!(!header.checksum);
/// ```
///
/// # Errors
///
/// `corrupt-data` as for [`footer`], and for sizes that are absent or negative.
pub fn page_header(bytes: &[u8]) -> Result<PageHeader> {
    let mut walk = Walk { bytes, at: 0 };
    let mut header = PageHeader::default();
    let mut sizes = (None, None);
    let mut id = 0i64;
    loop {
        let head = walk.byte()?;
        if head == 0 {
            break;
        }
        id = walk.id(id, head)?;
        match (id, head & 0x0f) {
            (_, 1 | 2) => (),
            (1, 4..=6) => header.kind = walk.integer()?,
            (2, 4..=6) => sizes.0 = u64::try_from(walk.integer()?).ok(),
            (3, 4..=6) => {
                sizes.1 = u64::try_from(walk.integer()?).ok();
                header.prefix = walk.at;
            }
            (4, 4..=6) => {
                walk.integer()?;
                header.checksum = true;
            }
            // Of a data page of either version.
            (5 | 8, STRUCT) => {
                let encoding = if id == 5 { 2 } else { 4 };
                walk.structure(1, &mut |id, value, _| match id {
                    1 => header.values = u64::try_from(value).ok(),
                    _ if id == encoding => header.encoding = Some(value),
                    _ => (),
                })?;
            }
            (_, kind) => walk.value(kind, 1)?,
        }
    }
    let (Some(uncompressed), Some(compressed)) = sizes else {
        return Err(corrupt("page header has no usable size"));
    };
    Ok(PageHeader { uncompressed, compressed, len: walk.at, ..header })
}

/// Appends `value` as a zigzag varint.
///
/// ```
/// let mut bytes = Vec::new();
/// lakebed_log::thrift::put_varint(-1, &mut bytes);
/// assert_eq!(bytes, [1]);
/// ```
pub fn put_varint(value: i32, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(Code::CorruptData, what)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    /// Walks a structure; `seen` hears of its own integer fields: id, value, and where they end.
    fn structure(&mut self, depth: usize, seen: &mut dyn FnMut(i64, i64, usize)) -> Result<()> {
        if DEPTH_MAX <= depth {
            return Err(corrupt("metadata nests too deep"));
        }
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = self.id(id, head)?;
            match head & 0x0f {
                1 | 2 => (),
                3 => self.skip(1)?,
                4..=6 => {
                    let value = self.integer()?;
                    seen(id, value, self.at);
                }
                kind => self.value(kind, depth + 1)?,
            }
        }
    }

    /// The id of the field that begins with `head`.
    fn id(&mut self, before: i64, head: u8) -> Result<i64> {
        match head >> 4 {
            0 => self.integer(),
            step => Ok(before.saturating_add(i64::from(step))),
        }
    }

    /// The list of schema elements: a tree in order of its nodes, each with a count of children.
    fn schema(&mut self) -> Result<()> {
        let head = self.byte()?;
        let len = self.list_len(head)?;
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..len {
            let mut children = 0;
            match head & 0x0f {
                STRUCT => self.structure(1, &mut |id, value, _| {
                    if id == 5 {
                        children = value;
                    }
                })?,
                kind => self.value(kind, 1)?,
            }
            while let Some(rest) = open.last_mut() {
                if 0 < *rest {
                    *rest -= 1;
                    break;
                }
                open.pop();
            }
            if 0 < children {
                open.push(children);
            }
            if SCHEMA_DEPTH_MAX < open.len() {
                let what = format!("the file's schema nests deeper than {SCHEMA_DEPTH_MAX}");
                return Err(Error::new(Code::LimitExceeded, what));
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.integer().map(|_| ()),
            7 => self.skip(8),
            BINARY => {
                let len = self.count()?;
                self.skip(len)
            }
            LIST | SET => self.list(depth),
            MAP => self.map(depth),
            STRUCT => self.structure(depth, &mut |_, _, _| ()),
            UUID => self.skip(16),
            _ => Err(corrupt("metadata holds a value of unknown kind")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<()> {
        if DEPTH_MAX <= depth {
            return Err(corrupt("metadata nests too deep"));
        }
        let head = self.byte()?;
        let len = self.list_len(head)?;
        (0..len).try_for_each(|_| self.value(head & 0x0f, depth + 1))
    }

    fn list_len(&mut self, head: u8) -> Result<usize> {
        let len = match head >> 4 {
            15 => self.count()?,
            len => usize::from(len),
        };
        self.room(len)?;
        Ok(len)
    }

    fn map(&mut self, depth: usize) -> Result<()> {
        if DEPTH_MAX <= depth {
            return Err(corrupt("metadata nests too deep"));
        }
        let len = self.count()?;
        if len == 0 {
            return Ok(());
        }
        self.room(len)?;
        let kinds = self.byte()?;
        (0..len).try_for_each(|_| {
            self.value(kinds >> 4, depth + 1)?;
            self.value(kinds & 0x0f, depth + 1)
        })
    }

    /// Every element takes a byte at least, so a larger count is a lie.
    fn room(&self, len: usize) -> Result<()> {
        if self.bytes.len() - self.at < len {
            return Err(corrupt("metadata counts more than it holds"));
        }
        Ok(())
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        self.room(len)?;
        self.at += len;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).ok_or_else(|| corrupt("metadata is cut short"))?;
        self.at += 1;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(corrupt("metadata holds an endless number"))
    }

    fn count(&mut self) -> Result<usize> {
        usize::try_from(self.varint()?).map_err(|_| corrupt("metadata counts more than it holds"))
    }

    fn integer(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that lie about counts and depth are refused; sound ones are measured.
    #[test]
    fn lies_are_found() {
        let list_bomb = [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07];
        let mut deep = vec![0x1c; 5_000];
        deep.extend([0; 5_000]);
        let endless = [0x15; 1].iter().chain(&[0xff; 12]).copied().collect::<Vec<u8>>();
        let table: &[(&[u8], Option<usize>)] = &[
            (&[0], Some(1)),
            (&[0x15, 0x02, 0, 9], Some(3)),
            (&[0x18, 3, b'a', b'b', b'c', 0], Some(6)),
            (&[0x18, 5, b'a', b'b', b'c', 0], None),
            (&[0x19, 0x2c, 0, 0, 0], Some(5)),
            (&[0x15], None),
            (&[], None),
            (&list_bomb, None),
            (&deep, None),
            (&endless, None),
        ];
        for (bytes, expected) in table {
            assert_eq!(footer(bytes).ok(), *expected, "{:?}", &bytes[..bytes.len().min(12)]);
        }
    }

    proptest! {
        /// Any bytes are measured or refused, and never more than there are.
        #[test]
        fn footer_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(len) = footer(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            let _ = page_header(&bytes);
        }

        /// Varints read back.
        #[test]
        fn varints_read_back(value in any::<i32>()) {
            let mut bytes = vec![];
            put_varint(value, &mut bytes);
            let read = Walk { bytes: &bytes, at: 0 }.integer().unwrap();
            prop_assert_eq!(read, i64::from(value));
        }
    }
}
