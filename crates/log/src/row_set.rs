//! Sets of row positions and their serialized forms (deletion vectors).

use std::ops::Range;

use roaring::RoaringTreemap;

/// Positions of rows in one data file: physical, from zero, across row groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet(RoaringTreemap);

impl RowSet {
    /// The empty set.
    pub fn new() -> RowSet {
        RowSet::default()
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

    /// The positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter()
    }

    /// The positions from `rows.start` on and before `rows.end`, ascending.
    pub fn range(&self, rows: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let mut from = self.0.iter();
        from.advance_to(rows.start);
        from.take_while(move |it| *it < rows.end)
    }

    /// How many positions are in the range.
    pub fn count(&self, rows: Range<u64>) -> u64 {
        self.0.range_cardinality(rows)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &RowSet) -> RowSet {
        RowSet(&self.0 - &other.0)
    }
}

impl FromIterator<u64> for RowSet {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> RowSet {
        RowSet(rows.into_iter().collect())
    }
}
