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
    /// Of paths without vectors.
    pub(crate) fn of_paths(path: StringArray) -> Keys {
        Keys { path, vectors: None }
    }

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
        let name = |path| uri::decode(uri::rooted_name(path).unwrap_or(path));
        match row.map(|it| name(self.path.value(it))) {
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
        if self.has_escape() {
            return self.rows().map(|row| hash(&self.path(row))).collect();
        }
        let hashed = |path: &str| match uri::may_be_rooted(path) {
            true => hash(&uri::canonical(path)),
            false => hash(path),
        };
        (0..self.path.len()).map(|row| hashed(self.path.value(row))).collect()
    }

    /// Is there a `%` in any path? Few tables have one, and all paths together are searched faster
    /// than each by itself.
    fn has_escape(&self) -> bool {
        let offsets = self.path.value_offsets();
        let at = |it: Option<&i32>| it.and_then(|it| usize::try_from(*it).ok());
        let (Some(start), Some(end)) = (at(offsets.first()), at(offsets.last())) else {
            return true;
        };
        let Some(bytes) = self.path.value_data().get(start..end) else { return true };
        // No early end within a piece, so that many bytes are compared at once.
        let is_found = |piece: &[u8]| piece.iter().fold(false, |found, it| found | (*it == b'%'));
        bytes.chunks(4_096).any(is_found)
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
        let entries: Vec<u64> = keys.rows().zip(path_hashes).map(pack).collect();
        let mut sorted = sorted_by_hash(entries);
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

/// Hashes of one bucket are told apart by as many marks, so that few entries share one by chance.
const MARKS: usize = 1 << 17;

/// A row, as source and row in it, that contradicts another one: a path that is added twice, or a
/// key twice of which not both are adds. Rows that `counts` leaves out contradict nothing.
///
/// Sources are sorted each by itself. They are walked side by side, a few hashes of all of them at
/// a time, so that no second copy of the whole exists. Nearly every hash stands alone: each leaves
/// a mark, and only those whose mark was there already are sorted and compared.
pub(crate) fn contradiction(
    sources: &[Source<'_>],
    counts: impl Fn(usize, u32) -> bool,
) -> Option<(usize, u32)> {
    let total: usize = sources.iter().map(|it| it.index.sorted.len()).sum();
    let buckets = (total / BUCKET_ENTRIES).clamp(1, 1 << 30).next_power_of_two();
    let width = (u64::MAX >> buckets.trailing_zeros()).max(1);
    let mut rests: Vec<&[u64]> = sources.iter().map(|it| it.index.sorted.as_slice()).collect();
    let mut marks = Marks::new(width);
    let mut bucket: Vec<(u64, usize)> = Vec::new();
    let mut end = width;
    loop {
        let mut taken = Vec::with_capacity(rests.len());
        for rest in &mut rests {
            let count = rest.iter().take_while(|it| **it <= end).map(|it| marks.add(*it)).count();
            let (first, left) = rest.split_at_checked(count).unwrap_or((*rest, &[]));
            taken.push(first);
            *rest = left;
        }
        if marks.any_twice() {
            bucket.clear();
            for (source, entries) in taken.iter().enumerate() {
                let twice = entries.iter().filter(|it| marks.is_twice(**it));
                bucket.extend(twice.map(|it| (*it, source)));
            }
            if let Some(found) = contradiction_among(sources, &mut bucket, &counts) {
                return Some(found);
            }
        }
        marks.clear();
        if end == u64::MAX {
            return None;
        }
        end = end.checked_add(width).and_then(|it| it.checked_add(1)).unwrap_or(u64::MAX);
    }
}

/// Which hashes of one bucket were met, and which perhaps twice.
struct Marks {
    met: Vec<u64>,
    twice: Vec<u64>,
    any_twice: bool,
    /// Right shift of an entry, and the bits of it that name a mark then.
    shift: u32,
    mask: u64,
}

impl Marks {
    /// For buckets of so many entries at most, one after the other.
    fn new(width: u64) -> Marks {
        // Rows of one hash have one mark.
        let shift = (u64::BITS - width.leading_zeros()).saturating_sub(MARKS.trailing_zeros());
        let shift = shift.max(HASH_BITS.trailing_zeros());
        let mask = (width >> shift) & u64::try_from(MARKS - 1).unwrap_or(0);
        let words = usize::try_from(mask / 64).unwrap_or(0) + 1;
        Marks { met: vec![0; words], twice: vec![0; words], any_twice: false, shift, mask }
    }

    fn add(&mut self, entry: u64) {
        let (at, bit) = self.place(entry);
        let (Some(met), Some(twice)) = (self.met.get_mut(at), self.twice.get_mut(at)) else {
            return;
        };
        *twice |= *met & bit;
        self.any_twice |= *met & bit != 0;
        *met |= bit;
    }

    fn any_twice(&self) -> bool {
        self.any_twice
    }

    fn is_twice(&self, entry: u64) -> bool {
        let (at, bit) = self.place(entry);
        self.twice.get(at).is_some_and(|it| it & bit != 0)
    }

    fn clear(&mut self) {
        self.met.fill(0);
        self.twice.fill(0);
        self.any_twice = false;
    }

    fn place(&self, entry: u64) -> (usize, u64) {
        let mark = (entry >> self.shift) & self.mask;
        (usize::try_from(mark / 64).unwrap_or(usize::MAX), 1 << (mark % 64))
    }
}

/// The same among entries of one bucket.
fn contradiction_among(
    sources: &[Source<'_>],
    entries: &mut Vec<(u64, usize)>,
    counts: &impl Fn(usize, u32) -> bool,
) -> Option<(usize, u32)> {
    entries.retain(|(entry, source)| counts(*source, row_of(*entry)));
    entries.sort_unstable();
    let mut runs = entries.chunk_by(|a, b| a.0 & HASH_BITS == b.0 & HASH_BITS);
    runs.find_map(|run| match run {
        [_, _, ..] => contradiction_in(sources, run),
        _ => None,
    })
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

/// Fewer entries than this are sorted by comparing them.
const RADIX_ENTRIES_MIN: usize = 1 << 10;

/// Sorts packed entries by hash; those of one hash keep their order. A byte at a time, from the
/// last of the hash to the first: a million comparisons would each be a coin's throw.
fn sorted_by_hash(mut entries: Vec<u64>) -> Vec<u64> {
    if entries.len() < RADIX_ENTRIES_MIN {
        entries.sort_by_key(|it| it & HASH_BITS);
        return entries;
    }
    let mut sorted = vec![0; entries.len()];
    for shift in (HASH_BITS.trailing_zeros()..u64::BITS).step_by(8) {
        let digit = |it: u64| usize::try_from((it >> shift) & 0xff).unwrap_or(0);
        let mut places = [0_usize; 256];
        for entry in &entries {
            if let Some(count) = places.get_mut(digit(*entry)) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for entry in &entries {
            if let Some(place) = places.get_mut(digit(*entry))
                && let Some(to) = sorted.get_mut(*place)
            {
                *to = *entry;
                *place += 1;
            }
        }
        std::mem::swap(&mut entries, &mut sorted);
    }
    entries
}

fn row_of(entry: u64) -> u32 {
    u32::try_from(entry & !HASH_BITS).unwrap_or(u32::MAX)
}

/// Hashes text with a fixed seed, sixteen bytes at a time: a multiplication whose halves are
/// folded.
///
/// Fixed, because an index outlives the fold that made it, and because runs must repeat exactly.
pub(crate) fn hash(text: &str) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |a: u64, b: u64| {
        let (low, high) = a.carrying_mul(b, 0);
        low ^ high
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<16>();
    let mut state = SEED;
    for pair in pairs {
        let (low, high) = halves(*pair);
        state = fold(state ^ low, FACTOR ^ high);
    }
    let (low, high) = ends(rest);
    state = fold(state ^ low, FACTOR ^ high);
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    fold(state ^ length, SEED)
}

fn halves(pair: [u8; 16]) -> (u64, u64) {
    let number = u128::from_le_bytes(pair);
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    (low, u64::try_from(number >> 64).unwrap_or(0))
}

/// Up to fifteen bytes as two numbers, which differ for different bytes of one length. They overlap
/// rather than to be filled up byte by byte.
fn ends(rest: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    match rest {
        [a, b, c] => (u64::from(*a), u64::from(*b) << 8 | u64::from(*c)),
        [a, b] => (u64::from(*a), u64::from(*b)),
        [a] => (u64::from(*a), 0),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests;
