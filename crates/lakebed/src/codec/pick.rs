//! Rows of a row group, as ranges.

use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::arrow_reader::RowSelection;

/// Ranges of rows, counted from the first row of their row group: ascending, none empty, none
/// touching the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picks(Arc<[Range<usize>]>);

impl Picks {
    /// All of `rows` rows.
    pub(super) fn all(rows: usize) -> Picks {
        Picks::new(std::iter::once(0..rows))
    }

    /// Ascending ranges that do not overlap; those that touch become one.
    pub(super) fn new(ranges: impl IntoIterator<Item = Range<usize>>) -> Picks {
        let mut out: Vec<Range<usize>> = Vec::new();
        for range in ranges.into_iter().filter(|it| !it.is_empty()) {
            match out.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => out.push(range),
            }
        }
        Picks(out.into())
    }

    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rows.
    pub(super) fn rows(&self) -> usize {
        self.0.iter().map(Range::len).sum()
    }

    /// Are these all of `rows` rows?
    pub(super) fn are_all(&self, rows: usize) -> bool {
        matches!(self.0.as_ref(), [all] if *all == (0..rows))
    }

    /// Rows in both.
    pub(super) fn and(&self, other: &Picks) -> Picks {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut out = Vec::new();
        while let (Some(one), Some(two)) = (a.peek(), b.peek()) {
            let both = one.start.max(two.start)..one.end.min(two.end);
            let first_ends = one.end < two.end;
            if !both.is_empty() {
                out.push(both);
            }
            if first_ends {
                a.next();
            } else {
                b.next();
            }
        }
        Picks::new(out)
    }

    /// For the Parquet library.
    pub(super) fn selection(&self, rows: usize) -> RowSelection {
        RowSelection::from_consecutive_ranges(self.0.iter().cloned(), rows)
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { picks: self.clone(), range: 0, done: 0, left: self.rows() }
    }
}

/// Goes over picked rows once.
#[derive(Debug)]
pub(super) struct Cursor {
    picks: Picks,
    /// Which range, and how many rows of it are done.
    range: usize,
    done: usize,
    left: usize,
}

impl Cursor {
    /// Rows to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The next `rows` rows, of those that are left.
    pub(super) fn take(&mut self, rows: usize) -> Vec<Range<usize>> {
        let mut out = Vec::new();
        let mut wanted = rows.min(self.left);
        self.left -= wanted;
        while 0 < wanted {
            let Some(range) = self.picks.0.get(self.range) else { break };
            let start = range.start + self.done;
            let end = range.end.min(start.saturating_add(wanted));
            out.push(start..end);
            wanted -= end - start;
            self.done += end - start;
            if end == range.end {
                (self.range, self.done) = (self.range + 1, 0);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(rows: &[bool]) -> Picks {
        let picked = rows.iter().enumerate().filter(|it| *it.1);
        Picks::new(picked.map(|(at, _)| at..at + 1))
    }

    fn rows(ranges: &[Range<usize>]) -> Vec<usize> {
        ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        /// Picks are sets of rows, and a cursor gives each of them once.
        #[test]
        fn picks_are_sets(
            pair in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..60),
            step in 1usize..20,
        ) {
            let (a, b): (Vec<bool>, Vec<bool>) = pair.iter().copied().unzip();
            let both: Vec<bool> = pair.iter().map(|it| it.0 && it.1).collect();
            prop_assert_eq!(of(&a).and(&of(&b)), of(&both));
            prop_assert_eq!(of(&a).rows(), a.iter().filter(|it| **it).count());
            let mut cursor = of(&a).cursor();
            let mut seen = Vec::new();
            while 0 < cursor.left() {
                seen.extend(rows(&cursor.take(step)));
            }
            prop_assert_eq!(seen, rows(of(&a).ranges()));
            prop_assert_eq!(of(&a).are_all(a.len()), a.iter().all(|it| *it) && !a.is_empty());
        }
    }
}
