//! Keys of files, hashed and sorted, so that a later action finds the row that it replaces.
//!
//! An index is one number per row: the upper half of the path's hash, then the row. Sorting the
//! numbers sorts by hash, and eight bytes a file are all it costs to keep. Only the path is hashed,
//! so that one look-up finds every vector that a path ever had; rows of one path stand together,
//! ordered by vector.
//!
//! Half a hash collides now and then (a hundred times among a million paths), so whoever looks up
//! compares the keys themselves. The hash has no secret, and who may write the log may make paths
//! collide: a run of equal hashes is therefore ordered by key and searched by halves, never walked.

use std::borrow::Cow;
use std::cmp::Ordering;

use arrow_array::{Array, StringArray};

use crate::batch::{Adds, Removes};
use crate::uri;

/// The upper half of a packed entry.
const HASH_BITS: u64 = !0xffff_ffff;

/// The keys of one log file's adds or removes, read in place.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    path: StringArray,
    vectors: Option<Vectors>,
}

/// Where vector ids are read; absent where no row has a vector, which is the common case.
#[derive(Clone, Debug)]
enum Vectors {
    Adds(Adds),
    Removes(Removes),
}

impl Keys {
    /// Of `add` actions.
    pub(crate) fn of_adds(adds: &Adds) -> Keys {
        let any = adds.deletion_vector().null_count() < adds.len();
        Keys { path: adds.path().clone(), vectors: any.then(|| Vectors::Adds(adds.clone())) }
    }

    /// Of `remove` actions.
    pub(crate) fn of_removes(removes: &Removes) -> Keys {
        let any = removes.deletion_vector().null_count() < removes.len();
        Keys {
            path: removes.path().clone(),
            vectors: any.then(|| Vectors::Removes(removes.clone())),
        }
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.path.len()
    }

    /// Does any row have a vector?
    pub(crate) fn any_vector(&self) -> bool {
        self.vectors.is_some()
    }

    /// The canonical path at `row`.
    pub(crate) fn path(&self, row: u32) -> Cow<'_, str> {
        match usize::try_from(row) {
            Ok(row) if row < self.path.len() => uri::canonical(self.path.value(row)),
            _ => Cow::Borrowed(""),
        }
    }

    /// The path at `row` for a message. A URL may hold credentials, so only a path below the
    /// table's root is said.
    pub(crate) fn shown(&self, row: u32) -> String {
        let row = usize::try_from(row).ok().filter(|it| *it < self.path.len());
        match row.map(|it| uri::decode(self.path.value(it))) {
            Some(Ok(key)) => format!("`{key}`"),
            _ => "a path that is not below the table's root".to_string(),
        }
    }

    /// The vector id at `row`.
    pub(crate) fn vector(&self, row: u32) -> Option<String> {
        let row = usize::try_from(row).ok()?;
        match self.vectors.as_ref()? {
            Vectors::Adds(adds) => adds.dv_id(row),
            Vectors::Removes(removes) => removes.dv_id(row),
        }
    }

    /// Do two rows, perhaps of two log files, name the same file with the same vector?
    pub(crate) fn same(&self, row: u32, other: &Keys, other_row: u32) -> bool {
        self.path(row) == other.path(other_row) && self.vector(row) == other.vector(other_row)
    }

    /// Hashes of the paths, in row order.
    pub(crate) fn path_hashes(&self) -> Vec<u64> {
        self.rows().map(|row| hash(&self.path(row))).collect()
    }

    /// Hashes of path and vector, in row order, from those of the paths.
    pub(crate) fn key_hashes(&self, path_hashes: Vec<u64>) -> Vec<u64> {
        if self.vectors.is_none() {
            return path_hashes;
        }
        let with_vector = |(row, path_hash): (u32, u64)| match self.vector(row) {
            Some(vector) => path_hash ^ hash(&vector).rotate_left(1),
            None => path_hash,
        };
        self.rows().zip(path_hashes).map(with_vector).collect()
    }

    /// Row numbers. Rows past `u32::MAX` do not exist: whoever takes rows in has refused them.
    pub(crate) fn rows(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn order(&self, row: u32, path: &str, vector: Option<&str>) -> Ordering {
        let by_path = (*self.path(row)).cmp(path);
        by_path.then_with(|| self.vector(row).as_deref().cmp(&vector))
    }
}

/// Rows by hash of their path.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    keys: Keys,
    sorted: Vec<u64>,
}

impl Index {
    /// Sorts the rows of `keys`, whose path hashes are given.
    pub(crate) fn new(keys: Keys, path_hashes: &[u64]) -> Index {
        let pack = |(row, hash): (u32, &u64)| (hash & HASH_BITS) | u64::from(row);
        let mut sorted: Vec<u64> = keys.rows().zip(path_hashes).map(pack).collect();
        sorted.sort_unstable();
        for run in sorted.chunk_by_mut(|a, b| a & HASH_BITS == b & HASH_BITS) {
            if let [_, _, ..] = run {
                run.sort_by_cached_key(|it| {
                    (keys.path(row_of(*it)).into_owned(), keys.vector(row_of(*it)), *it)
                });
            }
        }
        Index { keys, sorted }
    }

    /// The keys that are indexed.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Rows of the key, ascending.
    pub(crate) fn rows_of_key<'a>(
        &'a self,
        path_hash: u64,
        path: &'a str,
        vector: Option<&'a str>,
    ) -> impl Iterator<Item = u32> + 'a {
        let run = self.run(path_hash);
        let start = run.partition_point(|it| self.keys.order(row_of(*it), path, vector).is_lt());
        let rows = run.get(start..).unwrap_or_default().iter().map(|it| row_of(*it));
        rows.take_while(move |row| self.keys.order(*row, path, vector).is_eq())
    }

    /// Rows of the path, whatever their vector.
    pub(crate) fn rows_of_path<'a>(
        &'a self,
        path_hash: u64,
        path: &'a str,
    ) -> impl Iterator<Item = u32> + 'a {
        let run = self.run(path_hash);
        let start = run.partition_point(|it| *self.keys.path(row_of(*it)) < *path);
        let rows = run.get(start..).unwrap_or_default().iter().map(|it| row_of(*it));
        rows.take_while(move |row| self.keys.path(*row) == path)
    }

    /// A row whose path another row has too, or with `with_vector` whose whole key.
    pub(crate) fn repeated(&self, with_vector: bool) -> Option<u32> {
        let same = |a: u32, b: u32| {
            let paths = self.keys.path(a) == self.keys.path(b);
            paths && (!with_vector || self.keys.vector(a) == self.keys.vector(b))
        };
        self.sorted.array_windows().find_map(|[a, b]| {
            let candidate = a & HASH_BITS == b & HASH_BITS;
            (candidate && same(row_of(*a), row_of(*b))).then(|| row_of(*b))
        })
    }

    /// A row of ours whose whole key `other` has too.
    pub(crate) fn shared(&self, other: &Index) -> Option<u32> {
        let mut theirs = other.sorted.as_slice();
        self.sorted.iter().find_map(|it| {
            while let Some((first, rest)) = theirs.split_first()
                && first & HASH_BITS < it & HASH_BITS
            {
                theirs = rest;
            }
            let hit = theirs.first().is_some_and(|first| first & HASH_BITS == it & HASH_BITS);
            let row = row_of(*it);
            let found = hit && {
                let (path, vector) = (self.keys.path(row), self.keys.vector(row));
                other.rows_of_key(*it, &path, vector.as_deref()).next().is_some()
            };
            found.then_some(row)
        })
    }

    /// Bytes held beside the rows themselves.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.sorted.capacity() * size_of::<u64>()
    }

    /// The entries whose hash has the same upper half.
    fn run(&self, path_hash: u64) -> &[u64] {
        let wanted = path_hash & HASH_BITS;
        let start = self.sorted.partition_point(|it| it & HASH_BITS < wanted);
        let rest = self.sorted.get(start..).unwrap_or_default();
        if rest.first().is_none_or(|it| it & HASH_BITS != wanted) {
            return &[];
        }
        let end = rest.partition_point(|it| it & HASH_BITS == wanted);
        rest.get(..end).unwrap_or_default()
    }
}

/// One list of adds or of removes among several that together are one state.
pub(crate) struct Source<'a> {
    pub(crate) index: &'a Index,
    pub(crate) is_add: bool,
}

/// How many entries of all sources are compared at once, about.
const BUCKET_ENTRIES: usize = 4_096;

/// A row, as source and row in it, that contradicts another one: a path that is added twice, or a
/// key twice of which not both are adds. Rows that `counts` leaves out contradict nothing.
///
/// Sources are sorted each by itself. They are walked side by side, a few hashes of all of them at
/// a time, so that no second copy of the whole exists.
pub(crate) fn contradiction(
    sources: &[Source<'_>],
    counts: impl Fn(usize, u32) -> bool,
) -> Option<(usize, u32)> {
    let total: usize = sources.iter().map(|it| it.index.sorted.len()).sum();
    let buckets = (total / BUCKET_ENTRIES).clamp(1, 1 << 30).next_power_of_two();
    let width = (u64::MAX >> buckets.trailing_zeros()).max(1);
    let mut rests: Vec<&[u64]> = sources.iter().map(|it| it.index.sorted.as_slice()).collect();
    let mut bucket: Vec<(u64, usize)> = Vec::new();
    let mut end = width;
    loop {
        bucket.clear();
        for (source, rest) in rests.iter_mut().enumerate() {
            let (taken, left) = rest.split_at(rest.partition_point(|it| *it <= end));
            bucket.extend(taken.iter().map(|it| (*it, source)));
            *rest = left;
        }
        bucket.retain(|(entry, source)| counts(*source, row_of(*entry)));
        bucket.sort_unstable();
        for run in bucket.chunk_by(|a, b| a.0 & HASH_BITS == b.0 & HASH_BITS) {
            if let [_, _, ..] = run
                && let Some(found) = contradiction_in(sources, run)
            {
                return Some(found);
            }
        }
        if end == u64::MAX {
            return None;
        }
        end = end.checked_add(width).and_then(|it| it.checked_add(1)).unwrap_or(u64::MAX);
    }
}

/// The same among rows of one hash.
fn contradiction_in(sources: &[Source<'_>], run: &[(u64, usize)]) -> Option<(usize, u32)> {
    let row = |(entry, number): &(u64, usize)| Some((sources.get(*number)?, row_of(*entry)));
    let mut run: Vec<_> = run.iter().filter_map(|it| Some((it.1, row(it)?))).collect();
    run.sort_by_cached_key(|(_, (source, row))| {
        let keys = source.index.keys();
        (keys.path(*row).into_owned(), keys.vector(*row))
    });
    let path = |(source, row): &(&'_ Source<'_>, u32)| source.index.keys().path(*row).into_owned();
    for same in run.chunk_by(|(_, a), (_, b)| path(a) == path(b)) {
        let mut adds = same.iter().filter(|(_, (source, _))| source.is_add);
        if let (Some(_), Some((number, (_, row)))) = (adds.next(), adds.next()) {
            return Some((*number, *row));
        }
        let key = |(source, row): &(&'_ Source<'_>, u32)| source.index.keys().vector(*row);
        let twice = same.array_windows().find(|[(_, a), (_, b)]| key(a) == key(b));
        if let Some([_, (number, (_, row))]) = twice {
            return Some((*number, *row));
        }
    }
    None
}

fn row_of(entry: u64) -> u32 {
    u32::try_from(entry & !HASH_BITS).unwrap_or(u32::MAX)
}

/// Hashes text with a fixed seed, eight bytes at a time: a multiplication whose halves are folded.
///
/// Fixed, because an index outlives the fold that made it, and because runs must repeat exactly.
pub(crate) fn hash(text: &str) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |a: u64, b: u64| {
        let (low, high) = a.carrying_mul(b, 0);
        low ^ high
    };
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut state = SEED;
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), FACTOR);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    state = fold(state ^ u64::from_le_bytes(last), FACTOR);
    fold(state ^ length, SEED)
}
