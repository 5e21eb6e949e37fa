//! Sets of row positions and their serialized forms (deletion vectors).
//!
//! A file of a hundred million rows may have any of them deleted, so a set is a compressed bitmap:
//! arrays, bitmaps and runs by the piece. Serialized, it is what a deletion vector is:
//!
//! ```text
//!   payload    magic 1681511377 (LE) | buckets: u64 LE | { high 32 bits: u32 LE | bitmap } ..
//!   framed     size of the payload: u32 BE | payload | CRC-32 of the payload: u32 BE
//!   file       version 1: one byte | framed | framed | ..
//! ```
//!
//! The bytes are a stranger's. Nothing is allocated that they do not pay for, runs stay runs, and
//! what is not to the last byte a sound bitmap is `corrupt-dv`: a vector that was read wrong
//! brings deleted rows back.

use std::ops::Range;

use roaring::bitmap::Iter;
use roaring::treemap::BitmapIter;
use roaring::{RoaringBitmap, RoaringTreemap};

use crate::crc::crc32;
use crate::error::{Code, Error, Result};

/// First byte of a file of vectors.
pub const FILE_VERSION: u8 = 1;
/// Bytes of a framed vector besides its payload: size and checksum.
pub const FRAME_BYTES: u64 = 8;

/// About what a bitmap takes, and each of its pieces, besides the positions in it.
const BITMAP_BYTES: u64 = 96;
const PIECE_BYTES: u64 = 64;

/// So many positions are taken out of a bitmap at once.
const AT_ONCE: usize = 64;

const MAGIC: u32 = 1_681_511_377;
/// The layout that Spark used before it was released.
const NATIVE_MAGIC: u32 = 1_681_511_376;

/// Positions of rows in one data file: physical, from zero, across row groups.
///
/// ```
/// use lakebed_log::row_set::RowSet;
///
/// let rows: RowSet = [3, 4, 7].into_iter().collect();
/// assert_eq!(RowSet::from_bytes(&rows.to_bytes(), 3)?, rows);
/// assert_eq!(rows.absent(2..9).collect::<Vec<_>>(), [2..3, 5..7, 8..9]);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet(RoaringTreemap);

impl RowSet {
    /// The empty set.
    pub fn new() -> RowSet {
        RowSet::default()
    }

    /// About the bytes that it takes.
    pub fn heap_bytes(&self) -> u64 {
        let of = |(_, it): (u32, &RoaringBitmap)| {
            let stats = it.statistics();
            let bytes = [
                stats.n_bytes_array_containers,
                stats.n_bytes_run_containers,
                stats.n_bytes_bitset_containers,
            ];
            BITMAP_BYTES
                .saturating_add(u64::from(stats.n_containers).saturating_mul(PIECE_BYTES))
                .saturating_add(bytes.into_iter().fold(0, u64::saturating_add))
        };
        self.0.bitmaps().map(of).fold(0, u64::saturating_add)
    }

    /// How many positions.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this position one of them?
    pub fn contains(&self, row: u64) -> bool {
        self.0.contains(row)
    }

    /// The greatest position.
    pub fn max(&self) -> Option<u64> {
        self.0.max()
    }

    /// Adds a position; false if it was there.
    pub fn insert(&mut self, row: u64) -> bool {
        self.0.insert(row)
    }

    /// Adds all positions of a range.
    pub fn insert_range(&mut self, rows: Range<u64>) {
        self.0.insert_range(rows);
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter()
    }

    /// The positions from `rows.start` on and before `rows.end`, ascending.
    pub fn range(&self, rows: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        Positions::new(&self.0, rows)
    }

    /// How many positions are in the range.
    pub fn count(&self, rows: Range<u64>) -> u64 {
        self.0.range_cardinality(rows)
    }

    /// The stretches of a range that are not in the set, ascending: what is left of a file's rows
    /// where the set is what was deleted.
    pub fn absent(&self, rows: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut next = rows.start;
        let end = rows.end;
        let mut inside = self.range(rows);
        std::iter::from_fn(move || {
            while next < end {
                let stop = inside.next().unwrap_or(end);
                let stretch = next..stop;
                next = stop.saturating_add(1);
                if !stretch.is_empty() {
                    return Some(stretch);
                }
            }
            None
        })
    }

    /// The position that is the `n`-th, from zero, of those not in the set: of the `n`-th row that
    /// is left, where the set is what was deleted. `None` past the last one of 64 bits.
    pub fn nth_absent(&self, n: u64) -> Option<u64> {
        let (mut low, mut high) = (n, n.checked_add(self.len())?);
        while low < high {
            let middle = low + (high - low) / 2;
            // Rows left up to and with the middle.
            match middle.saturating_add(1).saturating_sub(self.0.rank(middle)) > n {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Some(low)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &RowSet) -> RowSet {
        RowSet(&self.0 - &other.0)
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &RowSet) -> RowSet {
        RowSet(&self.0 | &other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &RowSet) -> RowSet {
        RowSet(&self.0 & &other.0)
    }

    /// Reads the payload of a deletion vector, which has `cardinality` positions.
    ///
    /// # Errors
    ///
    /// `corrupt-dv`: another magic number, a bitmap that is not sound, too short or too long, a
    /// position past a signed 64-bit number, more or fewer positions.
    pub fn from_bytes(payload: &[u8], cardinality: u64) -> Result<RowSet> {
        let rest = &mut &payload[..];
        match u32::from_le_bytes(take(rest)?) {
            MAGIC => {}
            NATIVE_MAGIC => {
                let what = format!("magic number {NATIVE_MAGIC} is of a layout never released");
                return Err(corrupt(what));
            }
            other => return Err(corrupt(format!("magic number {other}, not {MAGIC}"))),
        }
        let buckets = u64::from_le_bytes(take(rest)?);
        let (mut bitmaps, mut last, mut rows) = (Vec::new(), None, 0u64);
        for _ in 0..buckets {
            let high = u32::from_le_bytes(take(rest)?);
            if last.is_some_and(|it| high <= it) {
                return Err(corrupt(format!("bucket {high} does not ascend")));
            }
            last = Some(high);
            if i32::try_from(high).is_err() {
                return Err(corrupt(format!("bucket {high} is past 63 bits of positions")));
            }
            let bitmap = RoaringBitmap::deserialize_from(&mut *rest)
                .map_err(|it| corrupt(format!("bucket {high} is no bitmap: {it}")))?;
            rows = rows.saturating_add(bitmap.len());
            if cardinality < rows {
                return Err(cardinality_differs(rows, cardinality));
            }
            if !bitmap.is_empty() {
                bitmaps.push((high, bitmap));
            }
        }
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes follow the bitmap", rest.len())));
        }
        if rows != cardinality {
            return Err(cardinality_differs(rows, cardinality));
        }
        Ok(RowSet(RoaringTreemap::from_bitmaps(bitmaps)))
    }

    /// The payload of a deletion vector with these positions, none of which is past a signed 64-bit
    /// number.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut packed = self.0.clone();
        packed.optimize();
        let mut bytes = Vec::with_capacity(packed.serialized_size() + 4);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        // Writing to a vector does not fail.
        let _ = packed.serialize_into(&mut bytes);
        bytes
    }
}

/// Positions of a set, ascending. Some are taken out at once: to go from one to the next inside the
/// bitmap costs several times as much.
struct Positions<'a> {
    buckets: BitmapIter<'a>,
    /// Of the bucket whose first position is `first`.
    inside: Option<Iter<'a>>,
    first: u64,
    end: u64,
    /// The low bits of some positions, and which of them are still to come.
    some: [u32; AT_ONCE],
    ready: Range<usize>,
}

impl Positions<'_> {
    /// The positions of a range.
    fn new(of: &RoaringTreemap, rows: Range<u64>) -> Positions<'_> {
        let mut buckets = of.bitmaps();
        let (mut inside, mut first) = (None, 0);
        for (high, bitmap) in buckets.by_ref() {
            first = u64::from(high) << 32;
            let Some(past) = rows.start.checked_sub(first) else {
                inside = Some(bitmap.iter());
                break;
            };
            if let Ok(past) = u32::try_from(past) {
                let mut from = bitmap.iter();
                from.advance_to(past);
                inside = Some(from);
                break;
            }
        }
        Positions { buckets, inside, first, end: rows.end, some: [0; AT_ONCE], ready: 0..0 }
    }

    /// Takes out the next positions; `None` if there are no more.
    fn take_out(&mut self) -> Option<()> {
        loop {
            self.ready = 0..self.inside.as_mut()?.next_many(&mut self.some).len();
            if !self.ready.is_empty() {
                return Some(());
            }
            let (high, bitmap) = self.buckets.next()?;
            (self.first, self.inside) = (u64::from(high) << 32, Some(bitmap.iter()));
        }
    }
}

impl Iterator for Positions<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.ready.is_empty() {
            self.take_out()?;
        }
        let low = self.ready.next().and_then(|at| self.some.get(at));
        low.map(|it| self.first | u64::from(*it)).filter(|it| *it < self.end)
    }

    fn fold<B, F: FnMut(B, u64) -> B>(mut self, init: B, mut each: F) -> B {
        let mut folded = init;
        loop {
            for low in self.some.get(self.ready.clone()).unwrap_or_default() {
                let row = self.first | u64::from(*low);
                if self.end <= row {
                    return folded;
                }
                folded = each(folded, row);
            }
            if self.take_out().is_none() {
                return folded;
            }
        }
    }
}

/// A payload with its size and its checksum, as it stands in a file.
///
/// # Errors
///
/// `limit-exceeded` for a payload that the format cannot hold.
pub fn frame(payload: &[u8]) -> Result<Vec<u8>> {
    let size = i32::try_from(payload.len()).map_err(|_| {
        let what = format!("a deletion vector of {} bytes does not fit", payload.len());
        Error::new(Code::LimitExceeded, what)
    })?;
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32(payload).to_be_bytes());
    Ok(bytes)
}

/// The payload of a framed vector, to the last byte.
///
/// # Errors
///
/// `corrupt-dv` if the size is not that of the payload, or the checksum not the payload's.
pub fn unframe(framed: &[u8]) -> Result<&[u8]> {
    let rest = &mut &framed[..];
    let size = u32::from_be_bytes(take(rest)?);
    let Some((payload, crc)) = rest.split_last_chunk::<4>() else {
        return Err(corrupt(format!("{} bytes are no deletion vector", framed.len())));
    };
    if payload.len() as u64 != u64::from(size) {
        let what = format!("the file says {size} bytes, the log {}", payload.len());
        return Err(corrupt(what));
    }
    let (said, is) = (u32::from_be_bytes(*crc), crc32(payload));
    if said != is {
        return Err(corrupt(format!("its checksum is {is:08x}, the file says {said:08x}")));
    }
    Ok(payload)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let Some((head, tail)) = rest.split_first_chunk::<N>() else {
        return Err(corrupt("it ends within a number".to_string()));
    };
    *rest = tail;
    Ok(*head)
}

fn cardinality_differs(rows: u64, cardinality: u64) -> Error {
    corrupt(format!("the log says {cardinality} rows, the bitmap has {rows} or more"))
}

fn corrupt(what: String) -> Error {
    Error::new(Code::CorruptDv, what)
}

impl FromIterator<u64> for RowSet {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> RowSet {
        RowSet(rows.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
