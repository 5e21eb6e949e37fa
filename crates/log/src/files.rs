//! The live files of a version, kept as columns.
//!
//! A table has one row here per data file, and big tables have tens of millions of them. One
//! struct of strings per file would cost several allocations and hundreds of bytes each, and would
//! have to be turned back into columns to write a checkpoint. So the rows stay as the Arrow
//! batches that the log decoded into, and a bitmap per batch says which rows are live:
//!
//! ```text
//!            chunk 0 (newest commit)      chunk 1               chunk 2 (checkpoint)
//!   path     a  b                         c  a                  b  d  e
//!   live     1  1                         1  0                  0  1  1
//!                                            ^ a was added again by the newer commit
//! ```
//!
//! Tombstones, the removes that a checkpoint carries on, are kept the same way.
//!
//! Versions share chunks. The next version costs its own actions, a look-up per action and chunk,
//! and one bitmap per chunk that lost a row; [`FileList::advance`] merges small chunks, so that a
//! long chain of commits does not make look-ups slow.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::action::Add;
use crate::batch::{Adds, Removes, Width};
use crate::error::{Code, Error, Result};

mod keys;
mod layer;
mod sum;

pub use layer::{Chunk, Layer, TombstoneChunk};
pub(crate) use sum::contains_not;
pub use sum::{Above, FileSum, path_hashes};

pub(crate) use keys::{Index, Keys, Source, contradiction, hash};

/// The live files of a version, in chunks shared between versions, newest chunk first; and the
/// tombstones.
#[derive(Clone, Debug)]
pub struct FileList {
    chunks: Vec<Chunk>,
    tombstones: Vec<TombstoneChunk>,
    width: Width,
    bytes: u128,
}

/// Which file: chunk and row. Stable within one `FileList`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileAt {
    /// Index of the chunk.
    pub chunk: u32,
    /// Row in it.
    pub row: u32,
}

impl FileList {
    /// From decided chunks, newest first: [`crate::replay`] makes it.
    pub fn new(
        mut chunks: Vec<Chunk>,
        mut tombstones: Vec<TombstoneChunk>,
        width: Width,
    ) -> FileList {
        layer::settle(&mut chunks);
        layer::settle(&mut tombstones);
        let bytes = chunks.iter().map(bytes_of).sum();
        FileList { chunks, tombstones, width, bytes }
    }

    /// No files.
    pub fn empty(width: Width) -> FileList {
        FileList { chunks: Vec::new(), tombstones: Vec::new(), width, bytes: 0 }
    }

    /// Live files.
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|it| it.live.len()).sum()
    }

    /// No live file?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of `size` over live files, saturating.
    pub fn total_bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    /// Does it carry statistics?
    pub fn width(&self) -> Width {
        self.width
    }

    /// Chunks, newest first.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Tombstones, newest chunk first.
    pub fn tombstones(&self) -> &[TombstoneChunk] {
        &self.tombstones
    }

    /// Live files in a fixed order: oldest chunk first, rows ascending.
    pub fn iter(&self) -> impl Iterator<Item = FileAt> + '_ {
        self.chunks.iter().enumerate().rev().flat_map(|(chunk, it)| {
            let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
            it.live.iter().map(move |row| FileAt { chunk, row })
        })
    }

    /// One file as a struct.
    ///
    /// # Errors
    ///
    /// `internal` if `at` is of another list.
    pub fn get(&self, at: FileAt) -> Result<Add> {
        let (rows, row) =
            self.row(at).ok_or_else(|| Error::internal(format!("no file at {at:?}")))?;
        rows.get(row)
    }

    /// The columns and the row of one file.
    pub fn row(&self, at: FileAt) -> Option<(&Adds, usize)> {
        let rows = &*self.chunks.get(usize::try_from(at.chunk).ok()?)?.rows;
        let row = usize::try_from(at.row).ok().filter(|it| *it < rows.len())?;
        Some((rows, row))
    }

    /// The live file of a (path, vector id) key, paths compared canonically.
    pub fn find(&self, path: &str, dv_id: Option<&str>) -> Option<FileAt> {
        let path = crate::uri::canonical(path);
        let path_hash = hash(&path);
        (0u32..).zip(&self.chunks).find_map(|(chunk, it)| {
            let mut rows = it.index().rows_of_key(path_hash, &path, dv_id);
            rows.find(|row| it.live.contains(*row)).map(|row| FileAt { chunk, row })
        })
    }

    /// The live file of a path, whatever its vector: no path is live twice.
    pub fn find_path(&self, path: &str) -> Option<FileAt> {
        let path = crate::uri::canonical(path);
        let path_hash = hash(&path);
        (0u32..).zip(&self.chunks).find_map(|(chunk, it)| {
            let mut rows = it.index().rows_of_path(path_hash, &path);
            rows.find(|row| it.live.contains(*row)).map(|row| FileAt { chunk, row })
        })
    }

    /// Does the list say what became of a (path, vector id) key: is it live, or a tombstone?
    pub fn decides(&self, path: &str, dv_id: Option<&str>) -> bool {
        let path = crate::uri::canonical(path);
        self.decides_hashed(&path, hash(&path), dv_id)
    }

    /// The same of a path that is canonical, and its hash.
    fn decides_hashed(&self, path: &str, path_hash: u64, dv_id: Option<&str>) -> bool {
        let stands = |index: &Index, live: &RoaringBitmap| {
            index.rows_of_key(path_hash, path, dv_id).any(|row| live.contains(row))
        };
        self.chunks.iter().any(|it| stands(it.index(), &it.live))
            || self.tombstones.iter().any(|it| stands(it.index(), &it.live))
    }

    /// Is a path live, whatever its vector? Paths are compared canonically.
    pub fn is_live(&self, path: &str) -> bool {
        let path = crate::uri::canonical(path);
        let path_hash = hash(&path);
        self.chunks
            .iter()
            .any(|it| it.index().rows_of_path(path_hash, &path).any(|row| it.live.contains(row)))
    }

    /// The next version: adds and removes of one commit on top; older chunks are shared, not
    /// copied.
    ///
    /// A key of the commit takes out whatever an older commit said about it: a live file, or a
    /// tombstone. Actions wider than the list are narrowed.
    ///
    /// # Errors
    ///
    /// `invalid-action` if the commit decides one key twice, or adds a path that stays live with
    /// another vector. `internal` if its adds were decoded narrower than the list is.
    pub fn advance(&self, adds: Option<&Adds>, removes: Option<&Removes>) -> Result<FileList> {
        let mut next = self.clone();
        if self.width == Width::Head {
            return Ok(next);
        }
        let code = Code::InvalidAction;
        let (adds, removes) = decide(adds, removes, self.width, code)?;
        for keys in [removes.as_ref().map(|it| &it.keys), adds.as_ref().map(|it| &it.keys)] {
            let Some(keys) = keys else { continue };
            next.take_out(keys);
        }
        if let Some(adds) = adds {
            next.refuse_second_vector(&adds)?;
            let chunk = adds.all_live();
            next.bytes += bytes_of(&chunk);
            next.chunks.insert(0, chunk);
        }
        if let Some(removes) = removes {
            next.tombstones.insert(0, removes.all_live());
        }
        layer::settle(&mut next.chunks);
        layer::settle(&mut next.tombstones);
        Ok(next)
    }

    /// No path may be live twice. Keys are distinct already, so only vectors can tell two rows of
    /// one path apart, and a table without vectors is not searched.
    ///
    /// # Errors
    ///
    /// `invalid-action` names the path.
    pub(crate) fn refuse_two_vectors(&self) -> Result<()> {
        if !self.chunks.iter().any(|it| it.index().keys().any_vector()) {
            return Ok(());
        }
        let sources: Vec<_> =
            self.chunks.iter().map(|it| Source { index: it.index(), is_add: true }).collect();
        let counts =
            |chunk: usize, row| self.chunks.get(chunk).is_some_and(|it| it.live.contains(row));
        match contradiction(&sources, counts) {
            Some((chunk, row)) => match self.chunks.get(chunk) {
                Some(chunk) => Err(two_vectors(chunk.index().keys(), row)),
                None => Err(Error::internal("no such chunk")),
            },
            None => Ok(()),
        }
    }

    /// Bytes held in memory, shared chunks in full.
    pub fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Layer::memory_bytes).sum();
        chunks + self.tombstones.iter().map(Layer::memory_bytes).sum::<usize>()
    }

    /// What older commits said about these keys no longer counts.
    fn take_out(&mut self, HashedKeys { keys, path_hashes }: &HashedKeys) {
        for (row, path_hash) in keys.rows().zip(path_hashes) {
            let (path, vector) = (keys.path(row), keys.vector(row));
            for chunk in &mut self.chunks {
                for dead in rows_to_kill(chunk, *path_hash, &path, vector.as_deref()) {
                    let size = size_at(chunk, dead);
                    if chunk.kill(dead) {
                        self.bytes -= size;
                    }
                }
            }
            for chunk in &mut self.tombstones {
                for dead in rows_to_kill(chunk, *path_hash, &path, vector.as_deref()) {
                    chunk.kill(dead);
                }
            }
        }
    }

    fn refuse_second_vector(&self, adds: &Decided<Adds>) -> Result<()> {
        let HashedKeys { keys, path_hashes } = &adds.keys;
        for (row, path_hash) in keys.rows().zip(path_hashes) {
            let path = keys.path(row);
            for chunk in &self.chunks {
                let mut rows = chunk.index().rows_of_path(*path_hash, &path);
                if rows.any(|row| chunk.live.contains(row)) {
                    return Err(two_vectors(keys, row));
                }
            }
        }
        Ok(())
    }
}

/// Rows of one log file whose keys were hashed and proved distinct.
pub(crate) struct Decided<R> {
    pub(crate) rows: R,
    pub(crate) keys: HashedKeys,
    pub(crate) index: Index,
}

/// Adds and removes of one log file, where it has any.
pub(crate) type DecidedFile = (Option<Decided<Adds>>, Option<Decided<Removes>>);

/// Keys with the hashes of their paths.
pub(crate) struct HashedKeys {
    pub(crate) keys: Keys,
    pub(crate) path_hashes: Vec<u64>,
}

impl<R> Decided<R> {
    pub(crate) fn all_live(self) -> Layer<R> {
        let mut live = RoaringBitmap::new();
        live.insert_range(self.keys.keys.rows());
        Layer::with_index(Arc::new(self.rows), live, self.index)
    }

    fn new(rows: R, keys: Keys) -> Result<Decided<R>> {
        if u32::try_from(keys.len()).is_err() {
            let what = format!("a log file of {} file actions is over {}", keys.len(), u32::MAX);
            return Err(Error::new(Code::LimitExceeded, what));
        }
        let path_hashes = keys.path_hashes();
        let index = Index::new(keys.clone(), &path_hashes);
        Ok(Decided { rows, keys: HashedKeys { keys, path_hashes }, index })
    }

    /// Refuses a path, or with `with_vector` a key, that stands twice.
    fn distinct(self, with_vector: bool, code: Code) -> Result<Decided<R>> {
        match self.index.repeated(with_vector) {
            None => Ok(self),
            Some(row) => Err(twice(&self.keys.keys, row, code)),
        }
    }
}

/// Hashes the file actions of one log file and proves that no two of them decide one key: no path
/// is added twice, whatever its vectors, no key is removed twice, and none is both added and
/// removed. `code` is that of the error.
pub(crate) fn decide(
    adds: Option<&Adds>,
    removes: Option<&Removes>,
    width: Width,
    code: Code,
) -> Result<DecidedFile> {
    let adds = adds.filter(|it| !it.is_empty()).map(|it| {
        let rows = at_width(it, width)?;
        let keys = Keys::of_adds(&rows);
        Decided::new(rows, keys)?.distinct(false, code)
    });
    let removes = removes.filter(|it| !it.is_empty()).map(|it| {
        let keys = Keys::of_removes(it);
        Decided::new(it.clone(), keys)?.distinct(true, code)
    });
    let (adds, removes) = (adds.transpose()?, removes.transpose()?);
    if let (Some(adds), Some(removes)) = (&adds, &removes)
        && let Some(row) = adds.index.shared(&removes.index)
    {
        return Err(twice(&adds.keys.keys, row, code));
    }
    Ok((adds, removes))
}

/// The columns of `width`. Adds that were decoded wider are narrowed.
fn at_width(adds: &Adds, width: Width) -> Result<Adds> {
    let is_wide = adds.stats().is_some();
    match width {
        Width::Wide if !is_wide => {
            Err(Error::internal("file actions were decoded without the statistics asked for"))
        }
        Width::Narrow if is_wide => {
            let columns: Vec<usize> = (0..Adds::schema(width).fields().len()).collect();
            let batch = adds.batch().project(&columns);
            Adds::new(batch.map_err(|it| Error::internal("cannot narrow adds").because(it))?)
        }
        _ => Ok(adds.clone()),
    }
}

/// The rows of the key that count.
fn rows_to_kill<R: layer::Rows>(
    layer: &Layer<R>,
    path_hash: u64,
    path: &str,
    vector: Option<&str>,
) -> Vec<u32> {
    let rows = layer.index().rows_of_key(path_hash, path, vector);
    rows.filter(|row| layer.live.contains(*row)).collect()
}

fn bytes_of(chunk: &Chunk) -> u128 {
    let sizes = chunk.rows.size();
    if usize::try_from(chunk.live.len()) == Ok(sizes.len()) {
        return sizes.values().iter().filter_map(|it| u128::try_from(*it).ok()).sum();
    }
    chunk.live.iter().map(|row| size_at(chunk, row)).sum()
}

/// The size the log gives; decoding has refused negative ones.
fn size_at(chunk: &Chunk, row: u32) -> u128 {
    let row = usize::try_from(row).ok().filter(|it| *it < chunk.rows.len());
    row.and_then(|it| u128::try_from(chunk.rows.size().value(it)).ok()).unwrap_or(0)
}

pub(crate) fn twice(keys: &Keys, row: u32, code: Code) -> Error {
    Error::new(code, format!("{} stands twice in one log file", keys.shown(row)))
}

/// One path, live with two vectors: its rows would be read twice.
fn two_vectors(keys: &Keys, row: u32) -> Error {
    let what = format!("{} is live with two deletion vectors", keys.shown(row));
    Error::new(Code::InvalidAction, what)
}

#[cfg(test)]
pub(crate) mod tests;
