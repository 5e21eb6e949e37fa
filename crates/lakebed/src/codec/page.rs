//! Pages as they lie in a column chunk, before anything is decoded.
//!
//! Every page that is going to be decoded is looked at first: its header must fit its place, and
//! its size the memory. What is seen on the way also decides how text is decoded. A few bytes of
//! dictionary can stand for gigabytes of text, so text is decoded as views into its pages, and
//! copied out batch by batch. Where the pages prove that no batch can grow large, the copy is
//! saved: text is then decoded straight into the form that the table has, or, where the dictionary
//! is small and all pages point into it, as places in it, see [`spell`](super::spell).

use std::ops::Range;
use std::sync::Arc;

use lakebed_log::error::{Code, Error, Result};
use lakebed_log::places;
use lakebed_log::thrift::{self, PageHeader};
use parquet::basic::{ConvertedType, Encoding, Type as Physical};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::reader::corrupt;
use super::sparse::Sparse;
use super::spell::{ROWS_PER_TEXT, SHORT_BYTES};

/// So much is looked at first to find the header of a page.
const HEADER_BYTES: usize = 256;
/// Largest page, decompressed.
const PAGE_BYTES_MAX: u64 = 256 << 20;
/// Kinds of pages.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;
/// Encodings of places in a dictionary.
const PLACES: [i64; 2] = [2, 8];

/// How text of which no batch grows large is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Into the form that the table has.
    Straight,
    /// As bytes, which are checked once the rows that are left out are gone.
    Raw,
    /// As places in a small dictionary of short texts.
    Coded,
}

/// What the headers of some pages of a column say.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Bytes of the largest page, decompressed.
    pub(super) largest: u64,
    /// Of data pages: values, and bytes decompressed.
    data: Vec<(u64, u64)>,
    dictionary: bool,
    /// Not all values are places in the dictionary.
    spelled: bool,
    /// Some values are.
    placed: bool,
}

impl Walked {
    /// Walks pages that lie one after the other.
    pub(super) fn run(&mut self, file: &Sparse, mut rest: Range<u64>) -> Result<()> {
        while !rest.is_empty() {
            rest.start = self.page(file, &rest)?.1;
        }
        Ok(())
    }

    /// What precedes the first data page: nothing, or a dictionary.
    pub(super) fn head(&mut self, file: &Sparse, mut rest: Range<u64>) -> Result<()> {
        while !rest.is_empty() {
            let (header, next) = self.page(file, &rest)?;
            if header.kind != DICTIONARY {
                return Err(misplaced());
            }
            rest.start = next;
        }
        Ok(())
    }

    /// One data page that fills the range and has `rows` rows, one value a row.
    pub(super) fn one(&mut self, file: &Sparse, place: &Range<u64>, rows: usize) -> Result<()> {
        let (header, end) = self.page(file, place)?;
        let data = matches!(header.kind, DATA | DATA_V2);
        match data && end == place.end && header.values == Some(rows as u64) {
            true => Ok(()),
            false => Err(misplaced()),
        }
    }

    /// Looks at the places that the library would take at their word, see [`places`].
    pub(super) fn check_places(
        &self,
        column: &ColumnChunkMetaData,
        pages: &Arc<Sparse>,
    ) -> Result<()> {
        match self.placed {
            true => places::check(column, pages),
            false => Ok(()),
        }
    }

    /// Bytes of the data pages, decompressed.
    pub(super) fn unpacked(&self) -> u64 {
        self.data.iter().map(|it| it.1).fold(0, u64::saturating_add)
    }

    /// What decoding them costs, in comparison: a value of fixed width as much as to decompress
    /// some bytes, and text twice of both.
    pub(super) fn weight(&self, of: Physical) -> u64 {
        let page = |(values, bytes): &(u64, u64)| values.saturating_mul(5).saturating_add(*bytes);
        let weight = self.data.iter().map(page).fold(0, u64::saturating_add);
        match of {
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => weight.saturating_mul(2),
            _ => weight,
        }
    }

    /// The page at the start of the range, and where it ends.
    fn page(&mut self, file: &Sparse, place: &Range<u64>) -> Result<(PageHeader, u64)> {
        let header = header(file, place)?;
        if PAGE_BYTES_MAX < header.uncompressed {
            let what = format!("page of {} bytes is over {PAGE_BYTES_MAX}", header.uncompressed);
            return Err(Error::new(Code::LimitExceeded, what));
        }
        self.largest = self.largest.max(header.uncompressed);
        match header.kind {
            DICTIONARY => self.dictionary = true,
            _ => {
                let values = header.values.unwrap_or(0).min(u64::from(u32::MAX));
                self.data.push((values, header.uncompressed));
                let is_place = |it: i64| PLACES.contains(&it);
                self.spelled |= !header.encoding.is_some_and(is_place);
                self.placed |= header.encoding.is_some_and(is_place);
            }
        }
        let len = (header.len as u64).checked_add(header.compressed);
        let end = len.and_then(|it| place.start.checked_add(it)).filter(|it| *it <= place.end);
        Ok((header, end.ok_or_else(|| corrupt("a page is cut short"))?))
    }

    /// Most bytes that the pages with `rows` rows in a row have, one value a row.
    fn most(&self, rows: u64) -> u64 {
        let (mut from, mut values, mut bytes, mut most) = (0, 0u64, 0u64, 0u64);
        for (at, (count, size)) in self.data.iter().enumerate() {
            values = values.saturating_add(*count);
            bytes = bytes.saturating_add(*size);
            // The first page counts while its last row and the first of this can be in one batch.
            while let Some((first, first_size)) = self.data.get(from) {
                let between = values.saturating_sub(first + count);
                if at <= from || between.saturating_add(2) <= rows {
                    break;
                }
                values -= first;
                bytes -= first_size;
                from += 1;
            }
            most = most.max(bytes);
        }
        most
    }

    /// How to decode this column of text if no batch of `rows` rows of it is longer than `max`
    /// bytes. The rows of a batch follow each other (`dense`), or are any.
    pub(super) fn text(
        &self,
        column: &ColumnChunkMetaData,
        pages: &Arc<Sparse>,
        rows: usize,
        dense: bool,
        max: usize,
    ) -> Option<Text> {
        let descriptor = column.column_descr();
        if column.column_type() != Physical::BYTE_ARRAY
            || descriptor.max_rep_level() != 0
            || column.encodings_mask().is_set(Encoding::DELTA_BYTE_ARRAY)
        {
            return None;
        }
        let plain = if dense { self.most(rows as u64) } else { self.most(u64::MAX) };
        let texts = match self.dictionary {
            true => Texts::of(column, pages)?,
            false => Texts::default(),
        };
        let coded = texts.longest.saturating_mul(rows);
        if (max as u64) < plain.saturating_add(coded as u64) {
            return None;
        }
        let small = texts.longest <= SHORT_BYTES && texts.count <= rows / ROWS_PER_TEXT;
        let annotated = is_annotated(column);
        match self.dictionary && !self.spelled && small && annotated {
            true => Some(Text::Coded),
            false => Some(Text::Straight),
        }
    }
}

/// Does the file say that the column is text? Then the library checks what it decodes.
pub(super) fn is_annotated(column: &ColumnChunkMetaData) -> bool {
    column.column_descr().converted_type() == ConvertedType::UTF8
}

/// What is in a dictionary.
#[derive(Default)]
struct Texts {
    count: usize,
    /// Bytes of the longest.
    longest: usize,
}

impl Texts {
    fn of(column: &ColumnChunkMetaData, pages: &Arc<Sparse>) -> Option<Texts> {
        let mut reader = SerializedPageReader::new(Arc::clone(pages), column, 0, None).ok()?;
        let Page::DictionaryPage { buf, .. } = reader.get_next_page().ok()?? else { return None };
        let mut rest = buf.as_ref();
        let mut texts = Texts::default();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            texts.count += 1;
            texts.longest = texts.longest.max(len);
            rest = after.get(len..)?;
        }
        rest.is_empty().then_some(texts)
    }
}

/// The header of the page at the start of the range. Nearly all are short.
fn header(file: &Sparse, place: &Range<u64>) -> Result<PageHeader> {
    let room = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
    let mut len = HEADER_BYTES.min(room);
    loop {
        let bytes = file.range(place.start, len);
        let bytes = bytes.ok_or_else(|| corrupt("a column is cut short"))?;
        match thrift::page_header(&bytes) {
            Err(_) if len < room => len = len.saturating_mul(64).min(room),
            header => return header,
        }
    }
}

fn misplaced() -> Error {
    corrupt("a page is not what the page index says")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a batch are bounded by the pages that it can touch.
    #[test]
    fn windows_of_pages() {
        let check = |data: &[(u64, u64)], rows: u64, expected: u64| {
            let walked = Walked { data: data.to_vec(), ..Walked::default() };
            assert_eq!(walked.most(rows), expected, "{data:?} {rows}");
        };
        check(&[], 5, 0);
        check(&[(10, 100)], 5, 100);
        check(&[(10, 100), (10, 50), (10, 100)], 1, 100);
        check(&[(10, 100), (10, 50), (10, 100)], 2, 150);
        check(&[(10, 100), (10, 50), (10, 100)], 11, 150);
        check(&[(10, 100), (10, 50), (10, 100)], 12, 250);
        check(&[(10, 100), (10, 50), (10, 100)], u64::MAX, 250);
        check(&[(1, 7), (1, 8), (1, 9), (1, 1)], 2, 17);
    }
}
