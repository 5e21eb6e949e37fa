//! A tail of commits that is too long to be held, put in the order of a checkpoint.
//!
//! A checkpoint is ordered, and the commits that it is made of are not. To hold all their files
//! with statistics takes more memory than they have bytes, so they are read several times, each
//! time for what stands together in the checkpoint:
//!
//! ```text
//!   samples     lines here and there          cut the order into ranges of about equal bytes
//!   survey      every line, checked           which file actions count, and in which range each is
//!   range 0     the lines of its files        ordered and written
//!   range n     ..
//!   tombstones  the lines of those that count
//! ```
//!
//! Files come in pieces of whole lines. From the survey on no path is held: a key is told by its
//! hash, of 128 bits, under a secret that whoever wrote the log cannot know. A file action takes 32
//! bytes until it is settled which of them count, and five bytes after that; 40 more where there is
//! an older checkpoint, whose files are held against them.

mod sampler;

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

pub use sampler::Sampler;

use super::files::{Adds, Shape, unexpired};
use crate::batch::{self, FileLines, PickedAdds, PickedRemoves, file_lines};
use crate::crc::crc32_after;
use crate::error::{Code, Error, Result};
use crate::files::{Above, Chunk, Keys, TombstoneChunk, contains_not};
use crate::state::Head;
use crate::time::Timestamp;

/// Lines of a survey that are decoded at once.
const SLICE_LINES: usize = 1_024;
/// In the place of a range: the file does not count.
const DEAD: u8 = u8::MAX;
/// In the place of a line: the tombstone does not count. No commit is that long.
const DEAD_LINE: u32 = u32::MAX;
/// Set in the row of a remove.
const REMOVE: u32 = 1 << 31;

fn whole(adds: batch::Adds) -> Chunk {
    let mut live = RoaringBitmap::new();
    live.insert_range(0..u32::try_from(adds.len()).unwrap_or(u32::MAX));
    Chunk::new(Arc::new(adds), live)
}

/// Hashes keys so that nobody who does not know the secret can make two the same.
struct Digests([DefaultHasher; 2]);

impl Digests {
    fn new(secret: [u64; 2]) -> Digests {
        let [a, b] = secret;
        let begun = |half: u8| {
            let mut hasher = DefaultHasher::new();
            (a, b, half).hash(&mut hasher);
            hasher
        };
        Digests([begun(0), begun(1)])
    }

    /// The hash of a canonical path.
    fn path(&self, path: &str) -> [u64; 2] {
        self.0.each_ref().map(|it| {
            let mut hasher = it.clone();
            hasher.write(path.as_bytes());
            hasher.finish()
        })
    }

    fn vector(&self, vector: Option<String>) -> u64 {
        let Some(vector) = vector else { return 0 };
        let [mut hasher, _] = self.0.clone();
        hasher.write(vector.as_bytes());
        hasher.finish()
    }
}

/// Surveys the files of a tail, each by itself, in any order.
pub struct Surveyor {
    shape: Shape,
    head: Arc<Head>,
    now: Timestamp,
    /// The first file of each range but the first.
    cuts: Vec<Chunk>,
    ranges: usize,
    digests: Digests,
    above: bool,
}

/// What a file of the tail says, by itself.
pub struct Surveyed {
    surveyor: Arc<Surveyor>,
    keys: Vec<Key>,
    hashes: Vec<u64>,
    file: File,
    /// Does the file say that it writes names with a slash before them?
    says_rooted: Option<bool>,
}

/// A file action. By path, then by vector; the newest of a key first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: [u64; 2],
    vector: u64,
    file: Reverse<u32>,
    row: u32,
}

impl Key {
    fn is_add(&self) -> bool {
        self.row & REMOVE == 0
    }

    fn is_of(&self, other: &Key) -> bool {
        (self.path, self.vector) == (other.path, other.vector)
    }
}

/// Where the file actions of a commit, or of a compacted file, stand.
#[derive(Debug)]
struct File {
    crc: u32,
    bytes: usize,
    /// File actions, also those that do not count.
    lines: usize,
    is_commit: bool,
    is_rooted: bool,
    /// Where the line of each add begins.
    adds: Vec<u32>,
    /// In which range it is.
    ranges: Vec<u8>,
    removes: Vec<u32>,
    /// One bit a range.
    touches: u32,
}

impl Surveyed {
    /// Looks into the next lines of the file, whole ones.
    ///
    /// # Errors
    ///
    /// Those of [`LogBatch::from_json`](crate::batch::LogBatch::from_json), but for what holds
    /// between lines; and those of [`render`](super::render).
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Surveyed { surveyor, keys, hashes, file, says_rooted } = self;
        let at = file.bytes;
        file.crc = crc32_after(file.crc, bytes);
        file.bytes += bytes.len();
        let said = file_lines(bytes, at, file.is_rooted, SLICE_LINES, |lines| {
            let FileLines { adds, add_lines, removes, remove_lines } = lines;
            if let Some(adds) = adds {
                surveyor.enter(&Keys::of_adds(&adds), file.adds.len(), 0, keys, hashes)?;
                file.adds.extend(add_lines);
                file.ranges.extend(surveyor.ranges_of(adds)?);
            }
            if let Some(removes) = removes {
                let found = Keys::of_removes(&removes);
                surveyor.enter(&found, file.removes.len(), REMOVE, keys, hashes)?;
                let rows = 0..u32::try_from(removes.len()).unwrap_or(u32::MAX);
                let chunk = TombstoneChunk::new(Arc::new(removes), rows.clone().collect());
                let kept = unexpired(&chunk, &surveyor.head, surveyor.now).live;
                let lines = rows.zip(remove_lines);
                file.removes.extend(lines.map(|(row, line)| match kept.contains(row) {
                    true => line,
                    false => DEAD_LINE,
                }));
            }
            Ok(())
        })?;
        *says_rooted = says_rooted.or(said);
        Ok(())
    }

    /// Has all of it to be taken again, because what it says of itself came late? Then from the
    /// beginning, into what is given.
    pub fn again(&self) -> Option<Surveyed> {
        let is_rooted = self.file.is_commit && self.says_rooted == Some(true);
        let again = is_rooted && !self.file.is_rooted;
        again.then(|| self.surveyor.begin_as(self.file.is_commit, true))
    }
}

impl Surveyor {
    /// Begins with a commit, or a compacted file.
    pub fn begin(self: &Arc<Surveyor>, is_commit: bool) -> Surveyed {
        self.begin_as(is_commit, false)
    }

    fn begin_as(self: &Arc<Surveyor>, is_commit: bool, is_rooted: bool) -> Surveyed {
        let (surveyor, keys, hashes) = (Arc::clone(self), Vec::new(), Vec::new());
        let file = File {
            crc: 0,
            bytes: 0,
            lines: 0,
            is_commit,
            is_rooted,
            adds: Vec::new(),
            ranges: Vec::new(),
            removes: Vec::new(),
            touches: 0,
        };
        Surveyed { surveyor, keys, hashes, file, says_rooted: None }
    }

    /// Notes the keys of the next rows of a file.
    fn enter(
        &self,
        found: &Keys,
        before: usize,
        kind: u32,
        keys: &mut Vec<Key>,
        hashes: &mut Vec<u64>,
    ) -> Result<()> {
        let first = u32::try_from(before).ok().filter(|it| it + found.rows().end < REMOVE);
        let too_long = || Error::new(Code::LimitExceeded, "the commit has too many file actions");
        let first = first.ok_or_else(too_long)?;
        for row in found.rows() {
            let path = self.digests.path(&found.path(row));
            let vector = self.digests.vector(found.vector(row));
            keys.push(Key { path, vector, file: Reverse(0), row: kind | (first + row) });
        }
        if self.above {
            hashes.extend(found.path_hashes());
        }
        Ok(())
    }

    /// In which range each of some files is: as many as there are cuts before it.
    fn ranges_of(&self, adds: batch::Adds) -> Result<Vec<u8>> {
        let mut ranges = vec![0; adds.len()];
        if self.cuts.is_empty() {
            return Ok(ranges);
        }
        let chunks: Vec<Chunk> = self.cuts.iter().cloned().chain([whole(adds)]).collect();
        let mut range = 0;
        for (chunk, row) in Adds::new(&self.shape, &chunks)?.order() {
            match chunk < self.cuts.len() {
                true => range += 1,
                false => ranges.get_mut(row).into_iter().for_each(|it| *it = range),
            }
        }
        Ok(ranges)
    }

    /// Begins to put together what the files say.
    pub fn begin_tail(self: &Arc<Surveyor>) -> Tail {
        let surveyor = Arc::clone(self);
        let ranges = self.ranges;
        Tail { surveyor, ranges, files: Vec::new(), keys: Vec::new(), hashes: Vec::new(), live: 0 }
    }
}

/// A tail that was surveyed: where what counts of it stands.
pub struct Tail {
    surveyor: Arc<Surveyor>,
    ranges: usize,
    files: Vec<File>,
    /// In the end: one of each key, if files of an older checkpoint are held against them.
    keys: Vec<Key>,
    hashes: Vec<u64>,
    live: u64,
}

/// Part of what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The files of a range, by its number.
    Range(usize),
    /// All tombstones.
    Tombstones,
}

impl Tail {
    /// Takes the next newer file of the tail.
    ///
    /// # Errors
    ///
    /// `limit-exceeded` past `u32::MAX` files.
    pub fn push(&mut self, surveyed: Surveyed) -> Result<()> {
        let Surveyed { keys, hashes, file, .. } = surveyed;
        let number = u32::try_from(self.files.len())
            .map_err(|_| Error::new(Code::LimitExceeded, "the log has too many files"))?;
        self.keys.extend(keys.into_iter().map(|it| Key { file: Reverse(number), ..it }));
        self.hashes.extend(hashes);
        self.files.push(file);
        Ok(())
    }

    /// Settles which file actions count: the newest of each key.
    ///
    /// # Errors
    ///
    /// `invalid-action` if one file says two things of a key, or one path is live with two vectors.
    pub fn settle(mut self) -> Result<Tail> {
        let mut keys = std::mem::take(&mut self.keys);
        keys.sort_unstable();
        for of_path in keys.chunk_by(|a, b| a.path == b.path) {
            if let [_, _, ..] = of_path {
                self.refuse_twice(of_path)?;
            }
            let mut live = 0;
            for of_key in of_path.chunk_by(Key::is_of) {
                let Some((newest, older)) = of_key.split_first() else { continue };
                live += u64::from(newest.is_add());
                older.iter().for_each(|it| self.forget(it));
            }
            if 1 < live {
                return Err(Error::new(Code::InvalidAction, "a path is live with two vectors"));
            }
            self.live += live;
        }
        for file in &mut self.files {
            file.keep_what_counts();
        }
        if self.surveyor.above {
            keys.dedup_by(|a, b| a.is_of(b));
            self.keys = keys;
            self.hashes.sort_unstable();
            self.hashes.dedup();
        }
        Ok(self)
    }

    /// A commit names a path once among its adds and once among its removes, and not the same
    /// vector in both; a compacted file may remove it with several vectors.
    fn refuse_twice(&self, of_path: &[Key]) -> Result<()> {
        let mut by_file = of_path.to_vec();
        by_file.sort_unstable_by_key(|it| (it.file, it.is_add(), it.vector));
        for of_file in by_file.chunk_by(|a, b| a.file == b.file) {
            let [first, _, ..] = of_file else { continue };
            let (added, removed): (Vec<&Key>, Vec<&Key>) =
                of_file.iter().partition(|it| it.is_add());
            let is_commit = self.file_of(first).is_none_or(|it| it.is_commit);
            let removed_twice = match is_commit {
                true => 1 < removed.len(),
                false => removed.array_windows().any(|[a, b]| a.vector == b.vector),
            };
            let is_both = |add: &&Key| removed.iter().any(|it| it.is_of(add));
            if 1 < added.len() || removed_twice || added.first().is_some_and(is_both) {
                return Err(Error::new(Code::InvalidAction, "a file stands twice in one log file"));
            }
        }
        Ok(())
    }

    fn file_of(&self, key: &Key) -> Option<&File> {
        self.files.get(usize::try_from(key.file.0).ok()?)
    }

    fn forget(&mut self, key: &Key) {
        let (number, row) = (usize::try_from(key.file.0), usize::try_from(key.row & !REMOVE));
        let (Ok(number), Ok(row)) = (number, row) else { return };
        let Some(file) = self.files.get_mut(number) else { return };
        match key.is_add() {
            true => file.ranges.get_mut(row).into_iter().for_each(|it| *it = DEAD),
            false => file.removes.get_mut(row).into_iter().for_each(|it| *it = DEAD_LINE),
        }
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.ranges
    }

    /// How many files are live.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// How many keys it decides; none if there is no older checkpoint.
    pub fn keys(&self) -> u64 {
        u64::try_from(self.keys.len()).unwrap_or(u64::MAX)
    }

    /// Hashes of the canonical paths of all files that it decides, ascending; none if there is no
    /// older checkpoint.
    pub fn path_hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Which files of the tail hold something of a part, by their numbers, ascending.
    pub fn files_of(&self, part: Part) -> Vec<usize> {
        let holds = |it: &(usize, &File)| match part {
            Part::Range(range) => it.1.touches >> range & 1 == 1,
            Part::Tombstones => !it.1.removes.is_empty(),
        };
        self.files.iter().enumerate().filter(holds).map(|it| it.0).collect()
    }

    /// Begins to put a part together.
    pub fn gather(self: &Arc<Tail>, part: Part) -> Gather {
        let (mut rows, mut bytes) = (0usize, 0usize);
        for file in &self.files {
            let count = file.rows(part);
            rows += count;
            // Lines are of about one length.
            bytes += (file.bytes / file.lines.max(1)).saturating_mul(count);
        }
        let adds = match part {
            Part::Range(_) => PickedAdds::new(rows, bytes + bytes / 8),
            Part::Tombstones => PickedAdds::new(0, 0),
        };
        let tail = Arc::clone(self);
        Gather { tail, part, adds, removes: PickedRemoves::new(), rows, at: 0, crc: 0 }
    }

    fn decided(&self, keys: &Keys) -> RoaringBitmap {
        let digests = &self.surveyor.digests;
        let is_decided = |row: &u32| {
            let path = digests.path(&keys.path(*row));
            let vector = digests.vector(keys.vector(*row));
            self.keys.binary_search_by(|it| (it.path, it.vector).cmp(&(path, vector))).is_ok()
        };
        keys.rows().filter(is_decided).collect()
    }
}

impl Above for Tail {
    fn undecided(&self, older: batch::Adds) -> Chunk {
        let live = contains_not(&Keys::of_adds(&older), &self.decided(&Keys::of_adds(&older)));
        Chunk::new(Arc::new(older), live)
    }

    fn undecided_removes(&self, older: batch::Removes) -> TombstoneChunk {
        let keys = Keys::of_removes(&older);
        let live = contains_not(&keys, &self.decided(&keys));
        TombstoneChunk::new(Arc::new(older), live)
    }
}

impl File {
    /// Lets go of lines that do not count.
    fn keep_what_counts(&mut self) {
        self.lines = self.adds.len() + self.removes.len();
        let mut ranges = self.ranges.iter();
        self.adds.retain(|_| ranges.next().is_some_and(|it| *it != DEAD));
        self.ranges.retain(|it| *it != DEAD);
        self.removes.retain(|it| *it != DEAD_LINE);
        self.touches = self.ranges.iter().fold(0, |bits, it| bits | 1 << it);
        self.adds.shrink_to_fit();
        self.ranges.shrink_to_fit();
        self.removes.shrink_to_fit();
    }

    fn rows(&self, part: Part) -> usize {
        match part {
            Part::Range(range) => {
                self.ranges.iter().filter(|it| usize::from(**it) == range).count()
            }
            Part::Tombstones => self.removes.len(),
        }
    }
}

/// A part of a tail being put together.
pub struct Gather {
    tail: Arc<Tail>,
    part: Part,
    adds: PickedAdds,
    removes: PickedRemoves,
    /// Rows that are still missing.
    rows: usize,
    /// Bytes of the file that were taken, and their checksum.
    at: usize,
    crc: u32,
}

impl Gather {
    /// Takes the next lines of a file of the tail, whole ones.
    ///
    /// # Errors
    ///
    /// Those of the lines.
    pub fn take(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let Some(file) = self.tail.files.get(number) else { return Ok(()) };
        let (start, end) = (self.at, self.at + bytes.len());
        self.at = end;
        self.crc = crc32_after(self.crc, bytes);
        match self.part {
            Part::Range(range) => {
                let within = within(&file.adds, start, end);
                let ranges = file.ranges.get(within.clone()).unwrap_or_default();
                let lines = file.adds.get(within).unwrap_or_default().iter().zip(ranges);
                for (line, _) in lines.filter(|it| usize::from(*it.1) == range) {
                    let taken = self.adds.push(bytes, offset(*line) - start, file.is_rooted)?;
                    self.rows = self.rows.saturating_sub(usize::from(taken));
                }
            }
            Part::Tombstones => {
                let within = within(&file.removes, start, end);
                for line in file.removes.get(within).unwrap_or_default() {
                    let taken = self.removes.push(bytes, offset(*line) - start)?;
                    self.rows = self.rows.saturating_sub(usize::from(taken));
                }
            }
        }
        Ok(())
    }

    /// Ends a file. `false` if its bytes are not those that were surveyed.
    #[must_use = "what was taken is of no use then"]
    pub fn end_file(&mut self, number: usize) -> bool {
        let (at, crc) = (std::mem::take(&mut self.at), std::mem::take(&mut self.crc));
        self.tail.files.get(number).is_some_and(|it| (it.bytes, it.crc) == (at, crc))
    }

    /// What was put together, files and tombstones.
    ///
    /// # Errors
    ///
    /// `internal` if something is missing.
    pub fn finish(self) -> Result<(Option<Chunk>, Option<TombstoneChunk>)> {
        if self.rows != 0 {
            let what = format!("{} file actions of the tail are missing", self.rows);
            return Err(Error::internal(what));
        }
        let removes = self.removes.finish()?.map(|it| {
            let rows = 0..u32::try_from(it.len()).unwrap_or(u32::MAX);
            TombstoneChunk::new(Arc::new(it), rows.collect())
        });
        Ok((self.adds.finish()?.map(whole), removes))
    }
}

fn offset(line: u32) -> usize {
    usize::try_from(line).unwrap_or(usize::MAX)
}

/// Which of some lines, ascending, begin between two bytes.
fn within(lines: &[u32], start: usize, end: usize) -> Range<usize> {
    let before = |at: usize| lines.partition_point(|it| offset(*it) < at);
    before(start)..before(end)
}

#[cfg(test)]
#[path = "tail/tests.rs"]
mod tests;
