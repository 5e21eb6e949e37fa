//! Ranges of one object: which to fetch together, and what was asked for out of what came.

use std::ops::Range;

use bytes::Bytes;

/// Neighbouring ranges with a smaller gap than this are fetched as one: the bytes between cost less
/// than another request.
pub(super) const GAP_BYTES: u64 = 64 << 10;

/// The fewest ranges that hold all of `ranges`, apart by more than [`GAP_BYTES`], sorted.
pub(crate) fn join_ranges(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|it| !it.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|it| it.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The bytes of `range` out of those fetched for `joined`, without a copy.
pub(super) fn cut(joined: &[Range<u64>], got: &[Bytes], range: &Range<u64>) -> Option<Bytes> {
    if range.is_empty() {
        return Some(Bytes::new());
    }
    let at = joined.partition_point(|it| it.end < range.end);
    let (whole, bytes) = (joined.get(at)?, got.get(at)?);
    let start = usize::try_from(range.start.checked_sub(whole.start)?).ok()?;
    let end = usize::try_from(range.end.checked_sub(whole.start)?).ok()?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}
