//! Bounds of the texts of a column, for the footer and the page index.
//!
//! The library compares every text with the least and the greatest so far, which takes as long as
//! it takes to compress them. So it is told to leave them alone, and what it leaves out is put in
//! here, as it would have done it; only how the least and the greatest are found is our own.
//!
//! Where a page ends is known when the row group is closed, and then the rows are gone. So bounds
//! are kept of runs of so many rows as the library looks at before it ends a page. In the rare case
//! that it ends one in the midst of a run, as for very long texts, the bounds of that run are those
//! of both pages.
//!
//! ```text
//!   rows     | run | run | run | run | run | run |
//!   pages    | page            | page         | page ..
//!                                        `---- both have the bounds of this run
//! ```

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{NullBuffer, NullBufferBuilder};
use lakebed_log::error::{Error, Result};
use lakebed_log::stats::Extremes;
use parquet::basic::{BoundaryOrder, Type};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnIndexBuilder, LevelHistogram};
use parquet::file::properties::DEFAULT_STATISTICS_TRUNCATE_LENGTH;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::column::encoding;

/// Longer texts are cut in the footer.
const FOOTER_BYTES: usize = match DEFAULT_STATISTICS_TRUNCATE_LENGTH {
    Some(bytes) => bytes,
    None => usize::MAX,
};
/// So much of a text is kept here: more than goes into the footer.
const KEPT_BYTES: usize = 128;

/// Runs shorter than this part of one, as where batches are small, are put together.
const SHORT_SHARE: usize = 16;

/// The texts of a column in one row group.
pub(super) struct Texts {
    /// Rows of a run.
    step: usize,
    rows: usize,
    runs: Vec<Run>,
    nulls: NullBufferBuilder,
}

/// Some rows that follow each other.
struct Run {
    rows: Range<usize>,
    /// None if all are null.
    bounds: Option<Bounds>,
}

#[derive(Clone, PartialEq, Eq)]
struct Bounds {
    min: Text,
    max: Text,
}

/// A text, or the head of a long one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    head: String,
    is_cut: bool,
}

/// A bound as it stands in the footer, and whether it is no text of the column.
type Cut = (Vec<u8>, bool);

impl Texts {
    /// None yet; the library looks whether a page is full after so many rows.
    pub(super) fn new(step: usize) -> Texts {
        let nulls = NullBufferBuilder::new(0);
        Texts { step: step.max(1), rows: 0, runs: Vec::new(), nulls }
    }

    /// Takes the next rows.
    pub(super) fn take(&mut self, array: &ArrayRef) -> Result<()> {
        let texts = array.as_string_opt::<i32>();
        let texts = texts.ok_or_else(|| Error::internal("a column of text holds none"))?;
        let nulls = texts.nulls().filter(|it| 0 < it.null_count());
        for from in (0..texts.len()).step_by(self.step) {
            let len = self.step.min(texts.len() - from);
            let mut extremes = Extremes::new(texts);
            match nulls {
                None => extremes.take(from, from + len),
                Some(nulls) => {
                    let nulls = nulls.slice(from, len);
                    nulls.valid_slices().for_each(|it| extremes.take(from + it.0, from + it.1));
                }
            }
            let bounds = extremes.finish();
            let bounds = bounds.map(|(min, max)| Bounds { min: Text::of(min), max: Text::of(max) });
            self.push(self.rows + from..self.rows + from + len, bounds);
        }
        match nulls {
            Some(nulls) => self.nulls.append_buffer(nulls),
            None => self.nulls.append_n_non_nulls(texts.len()),
        }
        self.rows += texts.len();
        Ok(())
    }

    fn push(&mut self, rows: Range<usize>, bounds: Option<Bounds>) {
        let short = |it: &&mut Run| it.rows.len() + rows.len() <= self.step / SHORT_SHARE;
        match self.runs.last_mut().filter(short) {
            Some(last) => {
                last.rows.end = rows.end;
                last.bounds = merged(last.bounds.take(), bounds);
            }
            None => self.runs.push(Run { rows, bounds }),
        }
    }

    /// Puts the bounds into what the library says of the column.
    pub(super) fn tell(mut self, mut close: ColumnCloseResult) -> Result<ColumnCloseResult> {
        let pages = pages(&close, self.rows)?;
        let all_nulls = self.nulls.finish();
        let nulls_of = |rows: &Range<usize>| nulls_of(all_nulls.as_ref(), rows);
        let nullable = 0 < close.metadata.column_descr().max_def_level();
        let mut index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        let (mut order, mut all, mut bounded) = (Order::default(), None, true);
        for page in pages {
            let nulls = nulls_of(&page);
            let bounds = match nulls < page.len() {
                true => Some(self.bounds_of(&page).ok_or_else(odd)?),
                false => None,
            };
            order.see(bounds.as_ref());
            match bounds.as_ref().map(Bounds::cut) {
                None => index.append(true, Vec::new(), Vec::new(), signed(nulls)?),
                Some((min, Some((max, _)))) => {
                    index.append(false, min.0, max, signed(nulls)?);
                }
                Some((_, None)) => bounded = false,
            }
            index.append_histograms(&None, &histogram(nullable, page.len(), nulls)?);
            all = merged(all, bounds);
        }
        index.set_boundary_order(order.of());
        let nulls = nulls_of(&(0..self.rows));
        let lengths = close.offset_index.as_ref();
        let lengths = lengths.and_then(|it| it.unencoded_byte_array_data_bytes.as_ref());
        let length = lengths.map(|it| it.iter().sum());
        let builder = close.metadata.into_builder();
        close.metadata = builder
            .set_statistics(statistics(all.as_ref(), nulls as u64))
            .set_unencoded_byte_array_data_bytes(length)
            .set_definition_level_histogram(histogram(nullable, self.rows, nulls)?)
            .build()
            .map_err(encoding)?;
        close.column_index = match bounded && 0 < self.rows {
            true => Some(index.build().map_err(encoding)?),
            false => None,
        };
        Ok(close)
    }

    /// Bounds of all runs that have one of the rows.
    fn bounds_of(&self, rows: &Range<usize>) -> Option<Bounds> {
        let first = self.runs.partition_point(|it| it.rows.end <= rows.start);
        let runs = self.runs.get(first..).unwrap_or_default().iter();
        let runs = runs.take_while(|it| it.rows.start < rows.end);
        runs.fold(None, |all, it| merged(all, it.bounds.clone()))
    }
}

impl Text {
    fn of(text: &str) -> Text {
        let head = text.get(..text.floor_char_boundary(KEPT_BYTES)).unwrap_or_default();
        Text { head: head.to_string(), is_cut: head.len() < text.len() }
    }

    fn is_long(&self) -> bool {
        FOOTER_BYTES < self.head.len()
    }

    /// What is nowhere above the text.
    fn below(&self) -> Cut {
        let head = self.head.get(..self.head.floor_char_boundary(FOOTER_BYTES));
        (head.unwrap_or_default().as_bytes().to_vec(), self.is_long())
    }

    /// What is nowhere below the text, if there is anything, the shorter the better.
    fn above(&self) -> Option<Cut> {
        if !self.is_long() {
            return Some((self.head.as_bytes().to_vec(), false));
        }
        let head = self.head.get(..self.head.floor_char_boundary(FOOTER_BYTES))?;
        let next = |(at, it): (usize, char)| {
            let next = char::from_u32(u32::from(it) + 1)?;
            // The library makes no character longer, and neither do we.
            (next.len_utf8() == it.len_utf8()).then(|| {
                let mut out = head.get(..at).unwrap_or_default().to_string();
                out.push(next);
                out.into_bytes()
            })
        };
        let above = head.char_indices().rev().find_map(next).map(|it| (it, true));
        let whole = (!self.is_cut).then(|| (self.head.as_bytes().to_vec(), false));
        above.or(whole)
    }
}

impl Bounds {
    /// As they stand in the footer, and whether they are cut.
    fn cut(&self) -> (Cut, Option<Cut>) {
        (self.min.below(), self.max.above())
    }
}

fn merged(one: Option<Bounds>, other: Option<Bounds>) -> Option<Bounds> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Bounds { min: one.min.min(other.min), max: one.max.max(other.max) })
        }
        (one, other) => one.or(other),
    }
}

/// Do the pages with values go up, or down?
struct Order {
    last: Option<Bounds>,
    up: bool,
    down: bool,
}

impl Default for Order {
    fn default() -> Order {
        Order { last: None, up: true, down: true }
    }
}

impl Order {
    fn see(&mut self, bounds: Option<&Bounds>) {
        let Some(next) = bounds else { return };
        if let Some(last) = &self.last {
            self.up &= last.min <= next.min && last.max <= next.max;
            self.down &= next.min <= last.min && next.max <= last.max;
        }
        self.last = Some(next.clone());
    }

    fn of(&self) -> BoundaryOrder {
        match (self.up, self.down) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        }
    }
}

fn nulls_of(nulls: Option<&NullBuffer>, rows: &Range<usize>) -> usize {
    nulls.map_or(0, |it| it.slice(rows.start, rows.len()).null_count())
}

/// Rows of the pages.
fn pages(close: &ColumnCloseResult, rows: usize) -> Result<Vec<Range<usize>>> {
    let index = close.offset_index.as_ref().ok_or_else(odd)?;
    let first = |at: i64| usize::try_from(at).ok().filter(|it| *it <= rows).ok_or_else(odd);
    let starts = index.page_locations.iter().map(|it| first(it.first_row_index));
    let starts = starts.collect::<Result<Vec<usize>>>()?;
    let ends = starts.iter().copied().skip(1).chain([rows]);
    let pages: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect();
    let whole = pages.first().map_or(rows == 0, |it| it.start == 0);
    let follow = pages.iter().all(|it| it.start <= it.end);
    if whole && follow { Ok(pages) } else { Err(odd()) }
}

fn statistics(bounds: Option<&Bounds>, nulls: u64) -> Statistics {
    let cut = bounds.map(Bounds::cut).and_then(|(min, max)| Some((min, max?)));
    let values = match cut {
        None => ValueStatistics::new(None, None, None, Some(nulls), false),
        Some(((min, is_less), (max, is_more))) => {
            let (min, max) = (ByteArray::from(min), ByteArray::from(max));
            ValueStatistics::new(Some(min), Some(max), None, Some(nulls), false)
                .with_min_is_exact(!is_less)
                .with_max_is_exact(!is_more)
        }
    };
    Statistics::ByteArray(values)
}

/// How many are null and how many are not, where they may be.
fn histogram(nullable: bool, rows: usize, nulls: usize) -> Result<Option<LevelHistogram>> {
    let Some(mut histogram) = LevelHistogram::try_new(i16::from(nullable)) else {
        return Ok(None);
    };
    histogram.increment_by(0, signed(nulls)?);
    histogram.increment_by(1, signed(rows.saturating_sub(nulls))?);
    Ok(Some(histogram))
}

fn odd() -> Error {
    Error::internal("the pages of a column have other rows than it")
}

fn signed(it: usize) -> Result<i64> {
    i64::try_from(it).map_err(|_| Error::internal("a row group has too many rows"))
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
