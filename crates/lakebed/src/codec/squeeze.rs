//! Values move up to where the ones before them were left out, within their own memory.
//!
//! Some values at a time are loaded, brought together by one instruction where the processor has
//! it, and stored behind those that are there. That costs the same however many rows are left out
//! and wherever they are, and no branch depends on it.
//!
//! ```text
//!   values   a b c d  e f g h         bits   1 1 0 1  1 0 1 1
//!   a b d .                           three are left, so the next store begins behind the third
//!         e g h .
//!   a b d e g h
//! ```
//!
//! What a store spoils behind the values that are left was loaded before.

use std::ops::Range;
use std::sync::LazyLock;

use arrow_buffer::ArrowNativeType;
use fearless_simd::{Level, Simd, SimdBase, SimdMask, dispatch};

/// Bits of a word.
const WORD: usize = u64::BITS as usize;
/// What is loaded and stored for a word lies within so many values.
const ROOM: usize = 2 * WORD;
/// With fewer values at a time it is cheaper to copy run after run.
const LANES_MIN: usize = 4;

/// Found out once: that costs more than to squeeze a batch.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// Values of one of the widths that a processor knows.
pub(super) trait Squeeze: ArrowNativeType {
    /// Moves the values whose bits are set to the front, in their order; how many these are.
    /// `words` has a bit for each value, from the lowest on.
    fn squeeze(values: &mut [Self], words: &[u64]) -> usize {
        Self::squeeze_with(*LEVEL, values, words)
    }

    /// The same, as well as a processor of this level can.
    fn squeeze_with(level: Level, values: &mut [Self], words: &[u64]) -> usize;
}

macro_rules! squeeze {
    ($value:ty, $lanes:ident) => {
        impl Squeeze for $value {
            fn squeeze_with(level: Level, values: &mut [Self], words: &[u64]) -> usize {
                dispatch!(level, simd => $lanes(simd, values, words))
            }
        }

        #[inline(always)]
        fn $lanes<S: Simd>(simd: S, values: &mut [$value], words: &[u64]) -> usize {
            lanes::<S, S::$lanes>(simd, values, words)
        }
    };
}

squeeze!(u8, u8s);
squeeze!(u16, u16s);
squeeze!(u32, u32s);
squeeze!(u64, u64s);

/// As many at a time as the processor takes.
#[inline(always)]
fn lanes<S: Simd, V: SimdBase<S>>(simd: S, values: &mut [V::Element], words: &[u64]) -> usize {
    if V::LEN < LANES_MIN {
        return runs(values, words);
    }
    let mut to = 0;
    // The word by value: what is stored could otherwise be a word, for all that the compiler knows.
    for (at, &word) in words.iter().enumerate() {
        for before in (0..WORD).step_by(V::LEN) {
            // A length that is known spares all but one look at the bounds a word.
            let ahead = values.get(at * WORD..).and_then(|it| it.first_chunk::<ROOM>());
            let some = ahead.and_then(|it| it.get(before..before + V::LEN));
            let Some(some) = some else { return one_by_one(values, at * WORD, words, to) };
            let mask = V::Mask::from_bitmask(simd, word >> before);
            let some = V::from_slice(simd, some).compress(mask);
            let left = (word & !(u64::MAX << before)).count_ones() as usize;
            let room = values.get_mut(to..).and_then(|it| it.first_chunk_mut::<ROOM>());
            if let Some(place) = room.and_then(|it| it.get_mut(left..left + V::LEN)) {
                some.store_slice(place);
            }
        }
        to += word.count_ones() as usize;
    }
    to
}

/// The values from `from` on, which are few.
fn one_by_one<T: Copy>(values: &mut [T], from: usize, words: &[u64], mut to: usize) -> usize {
    for at in from..values.len() {
        let is_set = words.get(at / WORD).is_some_and(|it| it >> (at % WORD) & 1 == 1);
        if let (true, Some(value)) = (is_set, values.get(at).copied())
            && let Some(place) = values.get_mut(to)
        {
            *place = value;
            to += 1;
        }
    }
    to
}

/// The same for values of any width.
pub(super) fn runs<T: Copy>(values: &mut [T], words: &[u64]) -> usize {
    let mut to = 0;
    for run in Runs::new(words, values.len()) {
        let len = run.len();
        values.copy_within(run, to);
        to += len;
    }
    to
}

/// Stretches of set bits, ascending, none empty, none touching the next.
pub(super) struct Runs<'a> {
    words: &'a [u64],
    len: usize,
    /// Which word it is at.
    at: usize,
    /// Bits of this word that are in no stretch yet.
    left: u64,
}

impl Runs<'_> {
    /// Those of the first `len` bits.
    pub(super) fn new(words: &[u64], len: usize) -> Runs<'_> {
        Runs { words, len, at: 0, left: words.first().copied().unwrap_or(0) }
    }

    /// The end of a stretch that the word before did not end.
    fn go_on(&mut self) -> usize {
        loop {
            self.at += 1;
            let word = self.words.get(self.at).copied().unwrap_or(0);
            if word != u64::MAX {
                let ones = word.trailing_ones();
                self.left = word >> ones << ones;
                return self.at * WORD + ones as usize;
            }
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while self.left == 0 {
            self.at += 1;
            self.left = *self.words.get(self.at)?;
        }
        let start = self.at * WORD + self.left.trailing_zeros() as usize;
        // One more at the lowest bit carries through the stretch to the first bit behind it.
        let lowest = self.left & self.left.wrapping_neg();
        let end = match self.left.checked_add(lowest) {
            Some(carried) => {
                self.left &= carried;
                self.at * WORD + carried.trailing_zeros() as usize
            }
            None => self.go_on(),
        };
        (start < self.len).then_some(start..end.min(self.len))
    }
}

#[cfg(test)]
mod tests;
