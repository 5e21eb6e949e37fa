//! `FileList`: the live files as columns and bitmaps.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::action::Add;
use crate::batch::{Adds, Removes, Width};
use crate::error::Result;

/// The live files of a version, in chunks shared between versions, newest chunk first; and the tombstones.
#[derive(Clone, Debug)]
pub struct FileList {
    chunks: Vec<Chunk>,
    tombstones: Vec<TombstoneChunk>,
    width: Width,
}

/// Rows of one log file, and which of them live.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Shared by every version that holds it.
    pub rows: Arc<Adds>,
    /// Which rows are live at this version.
    pub live: RoaringBitmap,
}

/// Removes of one log file, and which of them still stand.
#[derive(Clone, Debug)]
pub struct TombstoneChunk {
    /// Shared by every version that holds it.
    pub rows: Arc<Removes>,
    /// Which rows are tombstones at this version.
    pub live: RoaringBitmap,
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
    /// From decided chunks: [`crate::replay`] makes it.
    pub fn new(_chunks: Vec<Chunk>, _tombstones: Vec<TombstoneChunk>, _width: Width) -> FileList { todo!() }
    /// No files.
    pub fn empty(_width: Width) -> FileList { todo!() }
    /// Live files.
    pub fn len(&self) -> u64 { todo!() }
    /// No live file?
    pub fn is_empty(&self) -> bool { self.len() == 0 }
    /// Sum of `size` over live files, saturating.
    pub fn total_bytes(&self) -> u64 { todo!() }
    /// Does it carry statistics?
    pub fn width(&self) -> Width { self.width }
    /// Chunks, newest first.
    pub fn chunks(&self) -> &[Chunk] { &self.chunks }
    /// Tombstones, newest chunk first.
    pub fn tombstones(&self) -> &[TombstoneChunk] { &self.tombstones }
    /// Live files in a fixed order: oldest chunk first, rows ascending.
    pub fn iter(&self) -> impl Iterator<Item = FileAt> + '_ { std::iter::empty() }
    /// One file as a struct.
    pub fn get(&self, _at: FileAt) -> Result<Add> { todo!() }
    /// The columns and the row of one file.
    pub fn row(&self, _at: FileAt) -> Option<(&Adds, usize)> { todo!() }
    /// The live file of a (path, vector id) key, paths compared canonically.
    pub fn find(&self, _path: &str, _dv_id: Option<&str>) -> Option<FileAt> { todo!() }
    /// The next version: adds and removes of one commit on top; older chunks are shared, not copied.
    pub fn advance(&self, _adds: Option<&Adds>, _removes: Option<&Removes>) -> Result<FileList> { todo!() }
    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize { todo!() }
}
