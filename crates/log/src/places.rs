//! Places in the dictionaries of columns whose values have a fixed width.
//!
//! The Parquet library looks such a place up without looking whether the dictionary has it, and
//! panics over one that it has not. So the places of those columns, wide decimals mostly, are
//! looked at before they are decoded:
//!
//! ```text
//!   dictionary page    value 0  value 1  ..
//!   data page          levels   bits: 1 byte   run | group of eight | ..
//! ```
//!
//! What is cut short is left to the library, which has errors for that.

use std::sync::Arc;

use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use crate::error::{Code, Error, Result};

/// Widest place.
const BITS_MAX: u8 = 32;

/// Checks the pages of a column chunk that is whole, if its values have a fixed width.
///
/// # Cost
///
/// The pages are unpacked once more.
///
/// # Errors
///
/// `corrupt-data` for a place that is not in the dictionary, and for pages that do not unpack.
pub fn check<R: ChunkReader + 'static>(column: &ColumnChunkMetaData, file: &Arc<R>) -> Result<()> {
    if column.column_type() != Type::FIXED_LEN_BYTE_ARRAY {
        return Ok(());
    }
    let descriptor = column.column_descr();
    let levels = [descriptor.max_rep_level(), descriptor.max_def_level()];
    let width = usize::try_from(descriptor.type_length()).unwrap_or(0).max(1);
    let broken = |it: ParquetError| corrupt("a page does not unpack").because(it);
    let mut pages = SerializedPageReader::new(Arc::clone(file), column, 0, None).map_err(broken)?;
    let mut dictionary = None;
    while let Some(page) = pages.get_next_page().map_err(broken)? {
        match &page {
            // An empty one stands for nulls alone, which the library knows.
            Page::DictionaryPage { buf, .. } if buf.is_empty() => dictionary = Some(usize::MAX),
            Page::DictionaryPage { buf, .. } => dictionary = Some(buf.len() / width),
            _ => check_page(&page, levels, dictionary)?,
        }
    }
    Ok(())
}

/// `levels` are the highest of repetition and of definition.
fn check_page(page: &Page, levels: [i16; 2], dictionary: Option<usize>) -> Result<()> {
    if !matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY) {
        return Ok(());
    }
    let Some(dictionary) = dictionary else {
        return Err(corrupt("a page points into a dictionary that is not there"));
    };
    let Some((bytes, values)) = places(page, levels) else { return Ok(()) };
    let Some((bits, runs)) = bytes.split_first() else { return Ok(()) };
    if BITS_MAX < *bits {
        return Err(corrupt(&format!("a page has places of {bits} bits")));
    }
    match highest(runs, *bits, values).filter(|it| dictionary as u64 <= *it) {
        None => Ok(()),
        Some(it) => {
            let what = format!("a page points at place {it} of a dictionary of {dictionary}");
            Err(corrupt(&what))
        }
    }
}

/// The bytes of the places of a page, and how many there are; `None` if it is cut short.
fn places(page: &Page, levels: [i16; 2]) -> Option<(&[u8], usize)> {
    match page {
        Page::DictionaryPage { .. } => None,
        Page::DataPageV2 {
            buf,
            num_values,
            num_nulls,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => {
            let before = usize::try_from(def_levels_byte_len.checked_add(*rep_levels_byte_len)?);
            let values = usize::try_from(num_values.saturating_sub(*num_nulls)).ok()?;
            Some((buf.get(before.ok()?..)?, values))
        }
        Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
            let (mut rest, mut values) = (buf.as_ref(), usize::try_from(*num_values).ok()?);
            let encodings = [rep_level_encoding, def_level_encoding];
            for (at, (most, encoding)) in levels.into_iter().zip(encodings).enumerate() {
                let most = u64::try_from(most).ok()?;
                let bits = u8::try_from(u64::BITS - most.leading_zeros()).ok()?;
                if most == 0 {
                    continue;
                }
                if *encoding != Encoding::RLE {
                    let bits = usize::try_from(*num_values).ok()?.checked_mul(bits.into())?;
                    rest = rest.get(bits.div_ceil(8)..)?;
                    continue;
                }
                let (len, after) = rest.split_first_chunk::<4>()?;
                let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
                let (runs, after) = after.split_at_checked(len)?;
                rest = after;
                if at == 1 {
                    let mut defined = 0;
                    let count =
                        |it: u64, times: usize| defined += if it == most { times } else { 0 };
                    walk(runs, bits, values, count);
                    values = defined;
                }
            }
            Some((rest, values))
        }
    }
}

/// The highest of the values.
fn highest(runs: &[u8], bits: u8, count: usize) -> Option<u64> {
    let mut highest = None;
    walk(runs, bits, count, |it, _| highest = highest.max(Some(it)));
    highest
}

/// Walks runs and groups of values of so many bits, up to so many values or the end of the bytes;
/// `each` hears of a value and how often it stands there.
fn walk(bytes: &[u8], bits: u8, count: usize, mut each: impl FnMut(u64, usize)) {
    let (mut rest, mut left) = (bytes, count);
    while 0 < left {
        let Some(head) = varint(&mut rest) else { return };
        let len = usize::try_from(head >> 1).unwrap_or(usize::MAX);
        if head & 1 == 0 {
            let Some((value, after)) = rest.split_at_checked(bits.div_ceil(8).into()) else {
                return;
            };
            let value = value.iter().rev().fold(0, |value, it| (value << 8) | u64::from(*it));
            let times = len.min(left);
            if 0 < times {
                each(value, times);
            }
            (rest, left) = (after, left - times);
        } else {
            let held = len.saturating_mul(bits.into()).min(rest.len());
            let (packed, after) = rest.split_at_checked(held).unwrap_or((rest, &[]));
            let times = len.saturating_mul(8).min(left);
            unpack(packed, bits, times, &mut each);
            (rest, left) = (after, left - times);
        }
    }
}

/// Values that are packed side by side, as many as are there.
fn unpack(packed: &[u8], bits: u8, count: usize, each: &mut impl FnMut(u64, usize)) {
    if bits == 0 && 0 < count {
        // All of them are zero, and there may be more than anybody wants to count.
        return each(0, count);
    }
    let (bits, mask) = (usize::from(bits), (1u64 << bits) - 1);
    let there = (packed.len() * 8).checked_div(bits).unwrap_or(usize::MAX);
    for at in 0..count.min(there) {
        let (byte, shift) = (at * bits / 8, at * bits % 8);
        let word = match packed.get(byte..).and_then(|it| it.first_chunk::<8>()) {
            Some(it) => u64::from_le_bytes(*it),
            None => {
                let tail = packed.get(byte..).unwrap_or_default().iter().rev();
                tail.fold(0, |word, it| (word << 8) | u64::from(*it))
            }
        };
        each((word >> shift) & mask, 1);
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            return Some(value);
        }
    }
    None
}

fn corrupt(what: &str) -> Error {
    Error::new(Code::CorruptData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs and groups as the format has them, and bytes that end too soon.
    #[test]
    fn runs_and_groups() {
        let rows: &[(&[u8], u8, usize, Option<u64>)] = &[
            (&[0x10, 5], 3, 8, Some(5)),
            (&[0x10, 0x34, 0x12], 16, 8, Some(0x1234)),
            (&[0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 8, Some(7)),
            // Only the values that there are count, not what fills the group.
            (&[0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 2, Some(1)),
            (&[0x03, 0xff], 1, 3, Some(1)),
            (&[0x03], 0, 8, Some(0)),
            // So many that counting them one by one would not end.
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 0, usize::MAX, Some(0)),
            (&[0x10], 3, 8, None),
            (&[0x03], 3, 8, None),
            (&[0xff; 12], 3, 8, None),
            (&[], 3, 8, None),
            (&[0x00, 5, 0x02, 1], 3, 8, Some(1)),
            (&[0x03, 0xff, 0xff, 0xff, 0xff], 32, 8, Some(u64::from(u32::MAX))),
        ];
        for (bytes, bits, count, expected) in rows {
            assert_eq!(highest(bytes, *bits, *count), *expected, "{bytes:?}");
        }
    }

    proptest! {
        /// Any bytes are walked to their end, and no more values come out than were asked for.
        #[test]
        fn any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            bits in 0u8..=32,
            count in 0usize..10_000,
        ) {
            let mut sum = 0;
            walk(&bytes, bits, count, |it, times| {
                assert!(it >> (bits.div_ceil(8) * 8) == 0);
                sum += times;
            });
            prop_assert!(sum <= count);
        }
    }
}
