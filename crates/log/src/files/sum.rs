//! What live files add up to, in whatever order and parts they come.

use std::sync::Arc;

use arrow_array::StringArray;
use roaring::RoaringBitmap;

use super::{Chunk, FileList, Keys, TombstoneChunk, hash};
use crate::batch::{Adds, Removes, Width};

/// Number and bytes of files, and a sum over their keys: two lists with the same one hold the same
/// files, but for an accident of one in 2^64.
///
/// ```
/// use lakebed_log::files::FileSum;
///
/// let (one, other) = (FileSum { files: 1, bytes: 10, keys: 7 }, FileSum::default());
/// assert_eq!(one.and(other), one);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSum {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Over path and vector of each.
    pub keys: u64,
}

impl FileSum {
    /// Of the live rows of a chunk.
    pub fn of(chunk: &Chunk) -> FileSum {
        let keys = Keys::of_adds(&chunk.rows);
        let mut sum = FileSum::default();
        for (row, path) in chunk.live.iter().zip(live_path_hashes(&keys, &chunk.live)) {
            let vector = keys.vector(row).map_or(0, |it| hash(&it).rotate_left(1));
            // Mixed once more: paths differ in few bits, and a sum has no order to tell them by.
            let key = (path ^ vector).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sum.keys = sum.keys.wrapping_add(key ^ (key >> 29));
            sum.files += 1;
            let row = usize::try_from(row).ok().filter(|it| *it < chunk.rows.len());
            let size = row.and_then(|it| u64::try_from(chunk.rows.size().value(it)).ok());
            sum.bytes = sum.bytes.saturating_add(size.unwrap_or(0));
        }
        sum
    }

    /// Of both.
    #[must_use]
    pub fn and(self, other: FileSum) -> FileSum {
        FileSum {
            files: self.files.saturating_add(other.files),
            bytes: self.bytes.saturating_add(other.bytes),
            keys: self.keys.wrapping_add(other.keys),
        }
    }
}

impl FileList {
    /// What its live files add up to.
    pub fn sum(&self) -> FileSum {
        self.chunks().iter().map(FileSum::of).fold(FileSum::default(), FileSum::and)
    }

    /// Hashes of the canonical paths of all files that it decides: live ones and tombstones.
    pub fn path_hashes(&self) -> Vec<u64> {
        let mut hashes = Vec::new();
        for chunk in self.chunks() {
            hashes.extend(live_path_hashes(&Keys::of_adds(&chunk.rows), &chunk.live));
        }
        for chunk in self.tombstones() {
            hashes.extend(live_path_hashes(&Keys::of_removes(&chunk.rows), &chunk.live));
        }
        hashes
    }

    /// Lists that decide nothing about each other's files as one, the newest first.
    pub fn joined(lists: Vec<FileList>, width: Width) -> FileList {
        let (mut chunks, mut tombstones) = (Vec::new(), Vec::new());
        for list in lists {
            chunks.extend(list.chunks().iter().cloned());
            tombstones.extend(list.tombstones().iter().cloned());
        }
        FileList::new(chunks, tombstones, width)
    }

    fn undecided_rows(&self, keys: &Keys) -> RoaringBitmap {
        let mut live = RoaringBitmap::new();
        live.insert_range(keys.rows());
        if self.chunks().is_empty() && self.tombstones().is_empty() {
            return live;
        }
        for row in keys.rows() {
            let (path, vector) = (keys.path(row), keys.vector(row));
            if self.decides_hashed(&path, hash(&path), vector.as_deref()) {
                live.remove(row);
            }
        }
        live
    }
}

/// What newer files of the log say, to hold older ones against.
pub trait Above: Send + Sync {
    /// Rows of an older file of the log, with those taken out whose keys are decided here.
    fn undecided(&self, older: Adds) -> Chunk;

    /// The same of tombstones.
    fn undecided_removes(&self, older: Removes) -> TombstoneChunk;
}

impl Above for FileList {
    fn undecided(&self, older: Adds) -> Chunk {
        let live = self.undecided_rows(&Keys::of_adds(&older));
        Chunk::new(Arc::new(older), live)
    }

    fn undecided_removes(&self, older: Removes) -> TombstoneChunk {
        let live = self.undecided_rows(&Keys::of_removes(&older));
        TombstoneChunk::new(Arc::new(older), live)
    }
}

/// All rows but some.
pub(crate) fn contains_not(keys: &Keys, decided: &RoaringBitmap) -> RoaringBitmap {
    let mut left = RoaringBitmap::new();
    left.insert_range(keys.rows());
    left - decided
}

/// Hashes of the canonical paths of files, as [`FileList::path_hashes`] has them.
///
/// ```
/// use arrow_array::StringArray;
/// use lakebed_log::files::path_hashes;
///
/// let hashes = path_hashes(&StringArray::from(vec!["a%20b", "a b", "c"]));
/// assert_eq!(hashes[0], hashes[1]);
/// assert_ne!(hashes[1], hashes[2]);
/// ```
pub fn path_hashes(paths: &StringArray) -> Vec<u64> {
    Keys::of_paths(paths.clone()).path_hashes()
}

/// Hashes of the canonical paths of some rows, in order; of all of them at once if all are live.
fn live_path_hashes(keys: &Keys, live: &RoaringBitmap) -> Vec<u64> {
    match live.len() == keys.rows().len() as u64 {
        true => keys.path_hashes(),
        false => live.iter().map(|row| hash(&keys.path(row))).collect(),
    }
}
