//! The least and the greatest of many texts.
//!
//! Few of the values of a column are a new extreme, but to find that out by comparing texts costs
//! two calls a value and a branch that nothing predicts where values repeat. So each text becomes a
//! number first, by instructions without a branch, and only a number past those of the extremes is
//! looked at again:
//!
//! ```text
//!   "AIR"                41 49 52 00 00 00 00 00 00 00 00 00 00 00 00 | 03
//!   "TAKE BACK RETURN"   54 41 4b 45 20 42 41 43 4b 20 52 45 54 55 52 | 10   the N does not fit
//! ```

use arrow_array::StringArray;

/// Bytes of a text in its number.
const HEAD_BYTES: usize = 15;
/// What stands for the length of a text that does not fit.
const LONG: u128 = 16;

/// The least and the greatest text so far.
///
/// ```
/// use arrow_array::StringArray;
/// use lakebed_log::stats::Extremes;
///
/// let texts = StringArray::from(vec!["RAIL", "AIR", "TRUCK", "SHIP"]);
/// let mut extremes = Extremes::new(&texts);
/// extremes.take(0, 2);
/// extremes.take(3, 4);
/// assert_eq!(extremes.finish(), Some(("AIR", "SHIP")));
/// ```
#[derive(Debug)]
pub struct Extremes<'a> {
    array: &'a StringArray,
    found: Option<Found<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    min: &'a str,
    max: &'a str,
    /// A text whose number is below this may be less.
    below: u128,
    /// A text whose number is above this may be greater.
    above: u128,
}

impl<'a> Extremes<'a> {
    /// Of no row yet.
    pub fn new(array: &'a StringArray) -> Extremes<'a> {
        Extremes { array, found: None }
    }

    /// Takes rows `from..to`, none of which is null.
    pub fn take(&mut self, from: usize, to: usize) {
        let (array, data) = (self.array, self.array.value_data());
        let ends = array.value_offsets().get(from..=to).unwrap_or_default();
        for (row, ends) in (from..to).zip(ends.windows(2)) {
            let [start, end] = ends else { continue };
            let number = number(data, start.unsigned_abs() as usize, end.unsigned_abs() as usize);
            match &mut self.found {
                Some(found) => {
                    // One branch, as good as never taken.
                    if (number < found.below) | (found.above < number) {
                        found.widen(array.value(row), number);
                    }
                }
                None => self.found = Some(Found::new(array.value(row), number)),
            }
        }
    }

    /// The least and the greatest, if there was any.
    pub fn finish(self) -> Option<(&'a str, &'a str)> {
        self.found.map(|it| (it.min, it.max))
    }
}

impl<'a> Found<'a> {
    fn new(text: &'a str, number: u128) -> Found<'a> {
        Found { min: text, max: text, below: below(number), above: above(number) }
    }

    fn widen(&mut self, text: &'a str, number: u128) {
        if text < self.min {
            (self.min, self.below) = (text, below(number));
        }
        if self.max < text {
            (self.max, self.above) = (text, above(number));
        }
    }
}

/// A long text may be less than another one of the same number.
fn below(number: u128) -> u128 {
    number + u128::from(is_long(number))
}

fn above(number: u128) -> u128 {
    number - u128::from(is_long(number))
}

fn is_long(number: u128) -> bool {
    number & 0xff == LONG
}

/// The first bytes of `data[from..to]`, padded with zeros, and how many there are: ordered as the
/// texts are, but for long ones with the same head, which have one number.
fn number(data: &[u8], from: usize, to: usize) -> u128 {
    let len = to.saturating_sub(from);
    // What follows the text is masked, so it may be another text.
    let head = match data.get(from..).and_then(|it| it.first_chunk()) {
        Some(bytes) => u128::from_be_bytes(*bytes),
        None => {
            let rest = data.get(from..).unwrap_or_default();
            let padded = rest.iter().copied().chain(std::iter::repeat(0)).take(16);
            padded.fold(0, |head, it| head << 8 | u128::from(it))
        }
    };
    let missing = HEAD_BYTES - len.min(HEAD_BYTES);
    let mask = (u128::MAX << 8) << (8 * missing);
    head & mask | (len as u128).min(LONG)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Numbers have the order of texts, and tie only where both are long.
        #[test]
        fn numbers_are_ordered_as_texts(
            texts in prop::collection::vec("[\\x00a\u{10ffff}]{0,6}[\\x00ab]{0,14}", 2..5),
        ) {
            let array = StringArray::from(texts.clone());
            let (data, ends) = (array.value_data(), array.value_offsets());
            let of = |row: usize| number(data, ends[row] as usize, ends[row + 1] as usize);
            for (a, left) in texts.iter().enumerate() {
                for (b, right) in texts.iter().enumerate() {
                    let tie = of(a) == of(b);
                    prop_assert!(!tie || left == right || HEAD_BYTES < left.len().min(right.len()));
                    prop_assert!(tie || of(a).cmp(&of(b)) == left.cmp(right));
                }
            }
        }

        /// The extremes are those of the texts, however they are taken.
        #[test]
        fn extremes_are_found(
            texts in prop::collection::vec("(a{0,20}|[\\x00-\\x02]{0,2}|TAKE BACK RETURN)b?", 1..40),
            cut: prop::sample::Index,
        ) {
            let array = StringArray::from(texts.clone());
            let cut = cut.index(texts.len());
            let mut extremes = Extremes::new(&array);
            extremes.take(0, cut);
            extremes.take(cut, texts.len());
            let (min, max) = extremes.finish().unwrap();
            prop_assert_eq!(Some(min), texts.iter().map(String::as_str).min());
            prop_assert_eq!(Some(max), texts.iter().map(String::as_str).max());
        }
    }

    #[test]
    fn of_no_rows_there_is_none() {
        let array = StringArray::from(vec!["a"; 3]).slice(1, 2);
        let mut extremes = Extremes::new(&array);
        extremes.take(1, 1);
        assert_eq!(extremes.finish(), None);
    }
}
