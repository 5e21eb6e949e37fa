//! Walks Thrift compact bytes without building anything.
//!
//! The Parquet library sizes its vectors by the counts that a footer or a page header claims. A few
//! hostile bytes claim two thousand million elements, and the allocation ends the process before
//! the missing bytes are noticed. So every structure is walked once before the library sees it: a
//! list cannot have more elements than there are bytes left, and nesting ends at a fixed depth.
//!
//! ```text
//!   field     number, and what it says it is     value ..
//!   known     read as what the format has it be, whatever it says
//!   unknown   stepped over as what it says
//! ```
//!
//! So does the library, and the walk has to see what the library will see: a field that says it is
//! a number, where the format has a list, is read by it as a list. What it reads is in
//! `shapes`; what is not there, it steps over.

use crate::error::{Code, Error, Result};
use crate::limits;

mod shapes;

use shapes::Kind;

/// Deepest nesting of structures, lists and maps. Parquet's own metadata needs eight.
const DEPTH_MAX: usize = 32;
/// Deepest nesting of a file's schema. A list or map of the table is three levels in a file.
const SCHEMA_DEPTH_MAX: usize = 3 * limits::SCHEMA_DEPTH_MAX;
/// Highest number of a field: it has 16 bits, signed.
const FIELD_MAX: usize = 32_767;
/// Most elements of a file's schema.
const SCHEMA_ELEMENTS_MAX: usize = 1 << 20;
/// Most row groups: the format counts them in 16 bits, signed.
const ROW_GROUPS_MAX: usize = 32_767;

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
/// let two_thousand_million_row_groups = [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
/// assert!(lakebed_log::thrift::footer(&two_thousand_million_row_groups).is_err());
/// ```
///
/// # Errors
///
/// `corrupt-data` if it is cut short, nests too deep, or counts more than there is room for;
/// `limit-exceeded` if the schema in it nests too deep: the library goes down it by recursion.
pub fn footer(bytes: &[u8]) -> Result<usize> {
    let (mut walk, mut id) = (Walk { bytes, at: 0 }, 0);
    let mut has_schema = false;
    while let Some((kind, says)) = walk.field(&mut id, shapes::FILE)? {
        match id {
            // The library steps over a second one as what it says it is.
            2 if has_schema => return Err(corrupt("metadata has two schemas")),
            2 => {
                walk.schema()?;
                has_schema = true;
            }
            4 => walk.list(&Kind::Struct(shapes::ROW_GROUP), ROW_GROUPS_MAX, 1)?,
            _ => walk.value(kind, says, 1)?,
        }
    }
    Ok(walk.at)
}

/// Checks where the pages of a column are, as [`footer`], and returns how many bytes it takes.
///
/// ```
/// let no_pages = [0x19, 0x0c, 0, 9];
/// assert_eq!(lakebed_log::thrift::offset_index(&no_pages).unwrap(), 3);
/// ```
///
/// # Errors
///
/// `corrupt-data` if it is cut short, nests too deep, or counts more than there is room for.
pub fn offset_index(bytes: &[u8]) -> Result<usize> {
    Walk { bytes, at: 0 }.whole(shapes::OFFSET_INDEX)
}

/// The same of the bounds of a column's pages.
///
/// ```
/// let two_pages = [0x19, 0x22, 1, 2, 0];
/// assert_eq!(lakebed_log::thrift::column_index(&two_pages).unwrap(), 5);
/// ```
///
/// # Errors
///
/// As for [`offset_index`].
pub fn column_index(bytes: &[u8]) -> Result<usize> {
    Walk { bytes, at: 0 }.whole(shapes::COLUMN_INDEX)
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
    let (mut walk, mut id) = (Walk { bytes, at: 0 }, 0);
    let mut header = PageHeader::default();
    let (mut uncompressed, mut compressed) = (None, None);
    while let Some((kind, says)) = walk.field(&mut id, shapes::PAGE_HEADER)? {
        match (id, kind) {
            (1, _) => header.kind = walk.int()?.into(),
            (2, _) => uncompressed = u64::try_from(walk.int()?).ok(),
            (3, _) => {
                compressed = u64::try_from(walk.int()?).ok();
                header.prefix = walk.at;
            }
            (4, _) => {
                walk.integer()?;
                header.checksum = true;
            }
            (5, Kind::Struct(fields)) => walk.data_page(fields, 2, &mut header)?,
            (8, Kind::Struct(fields)) => walk.data_page(fields, 4, &mut header)?,
            _ => walk.value(kind, says, 1)?,
        }
    }
    let (Some(uncompressed), Some(compressed)) = (uncompressed, compressed) else {
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
    fn whole(mut self, fields: &'static [Kind]) -> Result<usize> {
        self.structure(fields, 0)?;
        Ok(self.at)
    }

    /// Where the next field begins: what it is to be, and what it says it is. `None` at the end.
    ///
    /// Inlined, because a scan comes here ten times a page.
    #[inline(always)]
    fn field(
        &mut self,
        id: &mut usize,
        fields: &'static [Kind],
    ) -> Result<Option<(&'static Kind, u8)>> {
        let head = self.byte()?;
        if head & 0x0f == 0 {
            return Ok(None);
        }
        let next = match head >> 4 {
            0 => usize::try_from(self.integer()?).unwrap_or(usize::MAX),
            step => *id + usize::from(step),
        };
        if FIELD_MAX < next {
            return Err(corrupt("metadata has a field whose number is too large"));
        }
        *id = next;
        Ok(Some((fields.get(next).unwrap_or(&Kind::Any), head & 0x0f)))
    }

    fn structure(&mut self, fields: &'static [Kind], depth: usize) -> Result<()> {
        let mut id = 0;
        while let Some((kind, says)) = self.field(&mut id, fields)? {
            self.value(kind, says, depth + 1)?;
        }
        Ok(())
    }

    /// What the header of a page says of its values; `encoding` is the field that has theirs.
    fn data_page(
        &mut self,
        fields: &'static [Kind],
        encoding: usize,
        header: &mut PageHeader,
    ) -> Result<()> {
        let mut id = 0;
        while let Some((kind, says)) = self.field(&mut id, fields)? {
            match id {
                1 => header.values = u64::try_from(self.int()?).ok(),
                _ if id == encoding => header.encoding = Some(self.int()?.into()),
                _ => self.value(kind, says, 2)?,
            }
        }
        Ok(())
    }

    /// The list of schema elements: a tree in order of its nodes, each with a count of children.
    fn schema(&mut self) -> Result<()> {
        let (len, _) = self.list_head(SCHEMA_ELEMENTS_MAX)?;
        // Nodes that are children of none so far, but for the root.
        let mut free = len.saturating_sub(1);
        let mut open: Vec<usize> = Vec::new();
        for _ in 0..len {
            let (mut id, mut children) = (0, 0);
            while let Some((kind, says)) = self.field(&mut id, shapes::SCHEMA_ELEMENT)? {
                match id {
                    5 => children = self.int()?,
                    _ => self.value(kind, says, 2)?,
                }
            }
            let children = usize::try_from(children).ok();
            let left = children.and_then(|it| free.checked_sub(it));
            let (Some(children), Some(left)) = (children, left) else {
                return Err(corrupt("the file's schema counts more than it holds"));
            };
            free = left;
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

    /// A value that is of a kind, or else what it says it is.
    fn value(&mut self, kind: &'static Kind, says: u8, depth: usize) -> Result<()> {
        if DEPTH_MAX < depth {
            return Err(corrupt("metadata nests too deep"));
        }
        match (kind, says) {
            // The field has said which.
            (Kind::Bool, _) | (Kind::Any, 1 | 2) => Ok(()),
            (Kind::Byte, _) | (Kind::Any, 3) => self.skip(1),
            (Kind::Int, _) | (Kind::Any, 4..=6) => self.integer().map(drop),
            (Kind::Double, _) | (Kind::Any, 7) => self.skip(8),
            (Kind::Binary, _) | (Kind::Any, 8) => {
                let len = self.count()?;
                self.skip(len)
            }
            (Kind::List(of), _) => self.list(of, usize::MAX, depth),
            (Kind::Any, 9 | 10) => self.list(&Kind::Any, usize::MAX, depth),
            (Kind::Any, 11) => self.map(depth),
            (Kind::Struct(fields), _) => self.structure(fields, depth),
            (Kind::Any, 12) => self.structure(&[], depth),
            (Kind::Any, 13) => self.skip(16),
            _ => Err(corrupt("metadata holds a value of unknown kind")),
        }
    }

    /// A list of at most `most` elements.
    fn list(&mut self, of: &'static Kind, most: usize, depth: usize) -> Result<()> {
        let (len, says) = self.list_head(most)?;
        match (of, says) {
            (Kind::Bool, _) => self.skip(len),
            (Kind::Any, 1 | 2) => self.no_bools(len),
            _ => (0..len).try_for_each(|_| self.value(of, says, depth + 1)),
        }
    }

    /// How many elements a list has, and what it says they are.
    fn list_head(&mut self, most: usize) -> Result<(usize, u8)> {
        let head = self.byte()?;
        let len = match head >> 4 {
            15 => self.count()?,
            len => usize::from(len),
        };
        self.room(len)?;
        match len <= most {
            true => Ok((len, head & 0x0f)),
            false => Err(corrupt("metadata counts more than the format allows")),
        }
    }

    fn map(&mut self, depth: usize) -> Result<()> {
        let len = self.count()?;
        if len == 0 {
            return Ok(());
        }
        self.room(len)?;
        let kinds = self.byte()?;
        let (key, value) = (kinds >> 4, kinds & 0x0f);
        if matches!(key, 1 | 2) || matches!(value, 1 | 2) {
            self.no_bools(len)?;
        }
        (0..len).try_for_each(|_| {
            self.value(&Kind::Any, key, depth + 1)?;
            self.value(&Kind::Any, value, depth + 1)
        })
    }

    /// One stands in a byte, but the library steps over it as if it stood in none: what follows
    /// would be for the library alone to read.
    fn no_bools(&self, len: usize) -> Result<()> {
        match len {
            0 => Ok(()),
            _ => Err(corrupt("metadata holds values that nobody can step over")),
        }
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

    /// A number of 32 bits. Of a longer one the library would take the lower half.
    fn int(&mut self) -> Result<i32> {
        let value = self.integer()?;
        i32::try_from(value).map_err(|_| corrupt("metadata holds a number that is too large"))
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
        let list_bomb = [0xf9, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
        // Row groups that say they are a number: the library counts them all the same.
        let number_bomb = [0x46, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
        let two_schemas = [
            0x15, 2, 0x19, 0x1c, 0x48, 1, b'a', 0, 0x08, 4, 2, 0x48, 7, 0x29, 0xfc, 0xff, 0xff,
            0xff, 0xff, 7, 0,
        ];
        let mut deep = vec![0xfc];
        deep.extend([0x1c; 5_000]);
        deep.extend([0; 5_001]);
        let endless = [0x15; 1].iter().chain(&[0xff; 12]).copied().collect::<Vec<u8>>();
        let mut many = vec![0x49, 0xfc, 0x80, 0x80, 0x02];
        many.extend([0; 32_769]);
        let table: &[(&[u8], Option<usize>)] = &[
            (&[0], Some(1)),
            (&[0x15, 0x02, 0, 9], Some(3)),
            (&[0xf8, 3, b'a', b'b', b'c', 0], Some(6)),
            (&[0xf8, 5, b'a', b'b', b'c', 0], None),
            (&[0xf9, 0x2c, 0, 0, 0], Some(5)),
            (&[0xfb, 1, 0x55, 2, 2, 0], Some(6)),
            (&[0xfb, 0, 0], Some(3)),
            (&[0xf1, 0x12, 0], Some(3)),
            (&[0x15], None),
            (&[], None),
            (&list_bomb, None),
            (&number_bomb, None),
            (&deep, None),
            (&endless, None),
            (&many, None),
            // Values without bytes for the library, with bytes for all others.
            (&[0xf9, 0x22, 1, 1, 0], None),
            (&[0xfb, 1, 0x51, 2, 1, 0], None),
            // Number 65,538 of the fields, which is 2 in 16 bits.
            (&[0x05, 0x84, 0x80, 0x08, 0, 0], None),
            (&[0x05, 0x04, 0, 0], Some(4)),
            // A second schema: for whoever steps over it, row groups without end.
            (&two_schemas, None),
            (two_schemas.get(..8).unwrap(), None),
            // What it is, whatever it says: a version, a name of a writer.
            (&[0x18, 2, 0], Some(3)),
            (&[0x65, 2, b'a', b'b', 0], Some(5)),
        ];
        for (bytes, expected) in table {
            assert_eq!(footer(bytes).ok(), *expected, "{:?}", &bytes[..bytes.len().min(12)]);
        }
    }

    /// A tree of nodes has as many as it says.
    #[test]
    fn schemas_that_lie() {
        let check = |children: &[i32], expected: std::result::Result<(), Code>| {
            let mut bytes = vec![0x29, 0xfc];
            let [low, high, ..] = children.len().to_le_bytes();
            bytes.extend([low | 0x80, (low >> 7) | (high << 1)]);
            for it in children {
                bytes.push(0x55);
                put_varint(*it, &mut bytes);
                bytes.push(0);
            }
            bytes.push(0);
            let found = footer(&bytes).map_err(|it| it.code());
            assert_eq!(found, expected.map(|()| bytes.len()), "{} nodes", children.len());
        };
        check(&[], Ok(()));
        check(&[0], Ok(()));
        check(&[2, 0, 1, 0], Ok(()));
        check(&[3, 0, 1, 0], Err(Code::CorruptData));
        check(&[i32::MAX, 0], Err(Code::CorruptData));
        check(&[1, -1], Err(Code::CorruptData));
        let chain = |len: usize| [vec![1; len], vec![0]].concat();
        check(&chain(SCHEMA_DEPTH_MAX), Ok(()));
        check(&chain(SCHEMA_DEPTH_MAX + 1), Err(Code::LimitExceeded));
    }

    /// A number of more than 32 bits is another one for the library.
    #[test]
    fn pages_that_lie() {
        let sizes = [0x15, 0, 0x15, 0x10, 0x15, 0x0e];
        let check = |rest: &[u8], expected: Option<Option<u64>>| {
            let header = page_header(&[&sizes, rest].concat()).ok();
            assert_eq!(header.map(|it| it.values), expected, "{rest:?}");
        };
        check(&[0], Some(None));
        check(&[0x2c, 0x15, 6, 0x15, 0, 0, 0], Some(Some(3)));
        check(&[0x2c, 0x16, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0], None);
        // Its size once more, under a number that is 2 in 16 bits.
        check(&[0x05, 0x84, 0x80, 0x08, 0x7e, 0], None);
        check(&[0x05, 0x04, 0xfe, 0xff, 0xff, 0xff, 0x1f, 0], None);
    }

    proptest! {
        /// Any bytes are measured or refused, and never more than there are.
        #[test]
        fn footer_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(len) = footer(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            let _ = (page_header(&bytes), offset_index(&bytes), column_index(&bytes));
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
