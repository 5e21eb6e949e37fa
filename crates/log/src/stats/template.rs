//! Many JSON statistics of one writer, read by what differs between them.
//!
//! The texts of one table are alike: the same keys in the same order, and most values as in the
//! file before. Parsing each of them again costs a microsecond and more, a million times. So the
//! last text that was parsed in full is kept with the places of its values. A text that agrees with
//! it everywhere but in values, each of which is again one sound scalar, is sound as a whole and
//! means the same, value by value:
//!
//! ```text
//!   template   {"numRecords":5,"minValues":{"id":10},"maxValues":{"id":17}}
//!                           ^                    ^^                  ^^
//!   text       {"numRecords":5,"minValues":{"id":18},"maxValues":{"id":2e9}}
//!              ---------equal------------------  ===  ----equal----    ===
//! ```
//!
//! Anything else (another key, a space, an object where a number was) is parsed in full, so that a
//! text is never believed more than a parser would believe it.

use super::json::{RawLeaf, Reader, Side, parse_value};
use super::structs::{Term, excludes};
use super::{ColumnStats, Stats};
use crate::schema::PrimitiveType;
use crate::value::Value;

/// Templates kept: a table may have had several writers.
const TEMPLATES_MAX: usize = 4;
/// So many texts are learned in any case, whether or not it helps.
const LESSONS_MIN: u64 = 64;

/// What was learned from texts. Belongs to one [`Reader`].
#[derive(Debug, Default)]
pub(crate) struct Templates {
    known: Vec<Template>,
    hits: u64,
    misses: u64,
    /// Places of the values found last, by slot.
    found: Vec<Option<(usize, usize)>>,
}

#[derive(Debug)]
struct Template {
    text: Vec<u8>,
    values: Vec<Place>,
}

/// A scalar value of the template.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    /// What it says, if it is one of the wanted.
    slot: Option<usize>,
}

/// Slots of the top level; those of the leaves follow, three each.
const ROWS: usize = 0;
const TIGHT: usize = 1;
const LEAVES: usize = 2;

impl Templates {
    /// Reads `text` into `stats`, which were made by [`Reader::blank`]: the same as
    /// [`Reader::read`], without its allocations.
    #[cfg(test)]
    pub(crate) fn read(&mut self, reader: &Reader, text: &str, stats: &mut Stats) {
        match self.follow(reader, text) {
            true => self.fill(reader, text, stats),
            false => {
                self.misses += 1;
                self.learn(reader, text);
                reader.fill(text, stats);
            }
        }
    }

    /// As [`Reader::fill`], unless whole numbers in the text already prove that no row can meet
    /// every term: then `false`, and `stats` are not touched.
    pub(crate) fn read_unless_ruled_out(
        &mut self,
        reader: &Reader,
        terms: &[Term],
        text: &str,
        stats: &mut Stats,
    ) -> bool {
        if !self.follow(reader, text) {
            self.misses += 1;
            self.learn(reader, text);
            reader.fill(text, stats);
            return true;
        }
        if terms.iter().any(|it| self.rules_out(reader, it, text) == Some(true)) {
            return false;
        }
        self.fill(reader, text, stats);
        true
    }

    /// `None`: a closer look is needed.
    fn rules_out(&self, reader: &Reader, term: &Term, text: &str) -> Option<bool> {
        let leaf = reader.leaves().iter().position(|it| it.path == term.column)?;
        let value = match (&term.value, reader.leaves().get(leaf)?.of?) {
            (Value::Long(it), PrimitiveType::Long) => *it,
            (Value::Integer(it), PrimitiveType::Integer) => i64::from(*it),
            _ => return None,
        };
        let number = |slot: usize| -> Option<i64> {
            let (start, end) = self.found.get(slot).copied().flatten()?;
            text.get(start..end)?.parse().ok()
        };
        let slot = LEAVES + 3 * leaf;
        let (low, high) = (number(slot)?, number(slot + 1)?);
        // A bound past the type is no bound.
        let fits = |it: i64| matches!(term.value, Value::Long(_)) || i32::try_from(it).is_ok();
        Some(fits(low) && fits(high) && low <= high && excludes(term.op, value, low, high))
    }

    /// Finds the places of the wanted values, if the text is like one that is known.
    fn follow(&mut self, reader: &Reader, text: &str) -> bool {
        let slots = LEAVES + 3 * reader.leaves().len();
        self.found.clear();
        self.found.resize(slots, None);
        let followed = (0..self.known.len()).find(|it| {
            let template = self.known.get(*it);
            template.is_some_and(|it| it.follow(text.as_bytes(), &mut self.found))
        });
        if let Some(at) = followed {
            self.hits += 1;
            self.known.swap(0, at);
        }
        followed.is_some()
    }

    /// From the places that were found.
    fn fill(&self, reader: &Reader, text: &str, stats: &mut Stats) {
        let text = |slot: usize| {
            let (start, end) = self.found.get(slot).copied().flatten()?;
            text.get(start..end).filter(|it| *it != "null")
        };
        stats.num_records = text(ROWS).and_then(|it| it.parse().ok());
        stats.tight_bounds = text(TIGHT).and_then(|it| it.parse().ok()).unwrap_or(true);
        for (at, leaf) in reader.leaves().iter().enumerate() {
            let Some(column) = stats.columns.get_mut(&leaf.path) else { continue };
            let slot = LEAVES + 3 * at;
            let value = |slot, side| leaf.of.and_then(|of| parse_value(text(slot)?, of, side));
            *column = ColumnStats {
                min: value(slot, Side::Min),
                max: value(slot + 1, Side::Max),
                null_count: text(slot + 2).and_then(|it| it.parse().ok()),
            };
        }
        stats.make_sound();
    }

    fn learn(&mut self, reader: &Reader, text: &str) {
        if self.hits.saturating_add(LESSONS_MIN) < self.misses {
            return;
        }
        let Some(raw) = reader.read_raw(text).filter(|it| !it.is_odd) else { return };
        let Some(mut values) = scalars(text.as_bytes()) else { return };
        let mut slots = vec![(ROWS, raw.rows_text), (TIGHT, raw.tight_text)];
        for (at, RawLeaf { min, max, nulls, .. }) in raw.leaves.iter().enumerate() {
            let slot = LEAVES + 3 * at;
            slots.extend([(slot, *min), (slot + 1, *max), (slot + 2, *nulls)]);
        }
        for (slot, value) in slots {
            let Some(value) = value else { continue };
            let start = value.as_ptr().addr() - text.as_ptr().addr();
            match values.binary_search_by_key(&start, |it| it.start) {
                Ok(at) => {
                    if let Some(it) = values.get_mut(at) {
                        it.slot = Some(slot);
                    }
                }
                // Not a scalar: whatever it is, it says nothing of which a text could be made.
                Err(_) => return,
            }
        }
        self.known.truncate(TEMPLATES_MAX - 1);
        self.known.insert(0, Template { text: text.as_bytes().to_vec(), values });
    }
}

impl Template {
    /// Does `text` differ in scalars alone? Then the places of the wanted ones are found.
    fn follow(&self, text: &[u8], found: &mut [Option<(usize, usize)>]) -> bool {
        let (mut old, mut new) = (0, 0);
        let mut values = self.values.iter();
        let mut place = |value: &Place, start: usize, end: usize| {
            if let Some(slot) = value.slot.and_then(|it| found.get_mut(it)) {
                *slot = Some((start, end));
            }
        };
        loop {
            let (Some(a), Some(b)) = (self.text.get(old..), text.get(new..)) else { return false };
            let equal = equal_bytes(a, b);
            // A value that is equal up to the byte after it ends where the other one does.
            let differs = values.by_ref().find(|it| {
                let same = it.end < old + equal;
                if same {
                    place(it, new + it.start - old, new + it.end - old);
                }
                !same
            });
            let Some(value) = differs else {
                return equal == a.len() && equal == b.len();
            };
            if old + equal < value.start {
                return false;
            }
            let start = new + value.start - old;
            let Some(length) = text.get(start..).and_then(scalar) else { return false };
            place(value, start, start + length);
            (old, new) = (value.end, start + length);
        }
    }
}

/// How many bytes both start with.
fn equal_bytes(a: &[u8], b: &[u8]) -> usize {
    let (a_blocks, _) = a.as_chunks::<32>();
    let (b_blocks, _) = b.as_chunks::<32>();
    let blocks = a_blocks.iter().zip(b_blocks).take_while(|(a, b)| a == b).count();
    let start = blocks * 32;
    let (a, b) = (a.get(start..).unwrap_or_default(), b.get(start..).unwrap_or_default());
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut equal = start;
    for (a, b) in a_words.iter().zip(b_words) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            // The first byte is the lowest.
            return equal + usize::try_from(differs.trailing_zeros() / 8).unwrap_or(0);
        }
        equal += 8;
    }
    if a_words.len() != b_words.len() {
        let (a, b) = (a.get(equal - start..), b.get(equal - start..));
        let pairs = a.unwrap_or_default().iter().zip(b.unwrap_or_default());
        return equal + pairs.take_while(|(a, b)| a == b).count();
    }
    equal + a_rest.iter().zip(b_rest).take_while(|(a, b)| a == b).count()
}

/// The scalar values of a sound document, in order; `None` if it has a list.
fn scalars(text: &[u8]) -> Option<Vec<Place>> {
    let mut values = Vec::new();
    let mut at = 0;
    let mut after_colon = false;
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' => return None,
            b':' => {
                after_colon = true;
                at += 1;
            }
            b'{' | b'}' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {
                after_colon &= byte.is_ascii_whitespace();
                at += 1;
            }
            _ => {
                let length = scalar(text.get(at..)?)?;
                if after_colon {
                    values.push(Place { start: at, end: at + length, slot: None });
                }
                after_colon = false;
                at += length;
            }
        }
    }
    Some(values)
}

/// Length of the JSON scalar that stands at the start, as the parser takes it where it steps over a
/// value; `None` if there is none.
fn scalar(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string(text),
        b'-' | b'0'..=b'9' => number(text),
        b't' => text.starts_with(b"true").then_some(4),
        b'f' => text.starts_with(b"false").then_some(5),
        b'n' => text.starts_with(b"null").then_some(4),
        _ => None,
    }
}

fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += match text.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    b'u' => {
                        let digits = text.get(at + 2..at + 6)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(6)?
                    }
                    _ => return None,
                };
            }
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take_while(|it| it.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    // No digit may follow a leading zero.
    if whole == 0 || (1 < whole && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += (0 < fraction).then_some(1 + fraction)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        at += (0 < exponent).then_some(1 + sign + exponent)?;
    }
    Some(at)
}
