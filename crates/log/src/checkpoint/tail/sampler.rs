//! Where to cut the order of a tail that nobody has seen whole.
//!
//! Some thousand lines at even distances stand for all of them: what lies between two of them in
//! the order has about as many bytes as what lies between two others. A cut that is off makes a
//! range smaller or larger, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Digests, Surveyor, whole};
use crate::batch::PickedAdds;
use crate::checkpoint::files::{Adds, Shape};
use crate::error::Result;
use crate::limits::CHECKPOINT_RANGES;
use crate::state::Head;
use crate::time::Timestamp;

/// About how many lines are looked into to cut the order.
const SAMPLES: u64 = 4_096;
/// About how many bytes they have at most: long lines are fewer.
const SAMPLED_BYTES: u64 = 16 << 20;

/// Lines of the tail, taken at even distances.
pub struct Sampler {
    tail_bytes: u64,
    every: u64,
    next: u64,
    at: u64,
    /// Lines that were looked at.
    lines: u64,
    picked: PickedAdds,
}

impl Sampler {
    /// For a tail of so many bytes.
    pub fn new(tail_bytes: u64) -> Sampler {
        let every = (tail_bytes / SAMPLES).max(1);
        let picked = PickedAdds::new(0, 0);
        Sampler { tail_bytes, every, next: 0, at: 0, lines: 0, picked }
    }

    /// Takes the next lines of the tail, whole ones.
    pub fn take(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        while self.next < end {
            let from = usize::try_from(self.next - self.at).unwrap_or(usize::MAX);
            let before = bytes.get(from.saturating_sub(1)..).unwrap_or_default();
            let begin = match from {
                0 => Some(0),
                _ => before.iter().position(|it| *it == b'\n').map(|it| from + it),
            };
            // A line that is longer than the distance is not looked at twice.
            let mut distance = self.every;
            let behind = match begin.filter(|it| *it < bytes.len()) {
                Some(begin) => {
                    self.lines += 1;
                    let line = bytes.get(begin..).unwrap_or_default();
                    let len = line.iter().position(|it| *it == b'\n').unwrap_or(line.len());
                    let share = (self.tail_bytes / SAMPLED_BYTES).max(1);
                    distance = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(share);
                    // What is wrong with a line is for the survey to say, which looks into all.
                    let _ = self.picked.push(bytes, begin, false);
                    self.at.saturating_add(u64::try_from(begin).unwrap_or(u64::MAX) + 1)
                }
                None => end,
            };
            self.next = self.next.saturating_add(distance.max(self.every)).max(behind);
        }
        self.at = end;
    }

    /// Cuts the order into ranges of about so many bytes of lines; of a very long tail there are
    /// fewer and larger ones. `secret` is what nobody else knows. `above`: is there an older
    /// checkpoint, whose files will be held against the tail?
    ///
    /// # Errors
    ///
    /// As [`render`](crate::checkpoint::render).
    pub fn cut(
        self,
        head: &Arc<Head>,
        now: Timestamp,
        secret: [u64; 2],
        range_bytes: u64,
        above: bool,
    ) -> Result<Surveyor> {
        let shape = Shape::new(head)?;
        let mut cuts = Vec::new();
        let mut ranges = 1;
        if let Some(adds) = self.picked.finish()? {
            let chunks = [whole(adds)];
            let adds = Adds::new(&shape, &chunks)?;
            let samples = u64::try_from(adds.len()).unwrap_or(u64::MAX);
            let bytes = self.tail_bytes / self.lines.max(1) * samples;
            let count = bytes.div_ceil(range_bytes.max(1));
            ranges = usize::try_from(count).unwrap_or(usize::MAX).clamp(1, CHECKPOINT_RANGES);
            let at: BTreeSet<usize> = (1..ranges).map(|it| it * adds.len() / ranges).collect();
            ranges = at.len() + 1;
            for picked in adds.pick(&chunks, |it, _| at.contains(&it)) {
                cuts.push(picked.dense()?);
            }
        }
        let (digests, head) = (Digests::new(secret), Arc::clone(head));
        Ok(Surveyor { shape, head, now, cuts, ranges, digests, above })
    }
}
