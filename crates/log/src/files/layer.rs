//! One log file's rows with the bitmap of those that count, and how layers are kept few.

use std::sync::{Arc, OnceLock};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::{concat::concat_batches, take::take_record_batch};
use roaring::RoaringBitmap;

use super::keys::{Index, Keys};
use crate::batch::{Adds, Removes};
use crate::error::{Error, Result};

/// Layers of up to this many rows are merged; larger ones cost too much to copy.
const SMALL_ROWS_MAX: u64 = 1 << 16;
/// As many neighbours of one size class become one layer. Also the ratio between classes, so that
/// a row is copied once per class and there are few layers of each.
const MERGE_COUNT: usize = 8;
/// Classes of small layers: up to 8, 64, .. 65,536 rows.
const CLASSES: u32 = 6;
/// Bytes of one merged layer at most; text offsets are 32 bits wide.
const MERGE_BYTES_MAX: usize = 256 << 20;

/// Rows of one log file, and which of them count at this version.
///
/// Cheap to clone: everything is shared until a bit changes.
#[derive(Clone, Debug)]
pub struct Layer<R> {
    /// Shared by every version that holds it.
    pub rows: Arc<R>,
    /// Which rows count at this version.
    pub live: Arc<RoaringBitmap>,
    /// Built by the first look-up, then shared like the rows.
    index: Arc<OnceLock<Index>>,
}

/// Rows of one log file, and which of them live.
pub type Chunk = Layer<Adds>;

/// Removes of one log file, and which of them still stand.
pub type TombstoneChunk = Layer<Removes>;

/// What adds and removes have in common.
pub(crate) trait Rows: Clone {
    fn keys(&self) -> Keys;
    fn batch(&self) -> &RecordBatch;
    fn from_batch(batch: RecordBatch) -> Result<Self>;
}

impl Rows for Adds {
    fn keys(&self) -> Keys {
        Keys::of_adds(self)
    }
    fn batch(&self) -> &RecordBatch {
        Adds::batch(self)
    }
    fn from_batch(batch: RecordBatch) -> Result<Adds> {
        Adds::new(batch)
    }
}

impl Rows for Removes {
    fn keys(&self) -> Keys {
        Keys::of_removes(self)
    }
    fn batch(&self) -> &RecordBatch {
        Removes::batch(self)
    }
    fn from_batch(batch: RecordBatch) -> Result<Removes> {
        Removes::new(batch)
    }
}

impl<R> Layer<R> {
    /// Rows and which of them count.
    pub fn new(rows: Arc<R>, live: RoaringBitmap) -> Layer<R> {
        Layer { rows, live: Arc::new(live), index: Arc::default() }
    }

    /// As `new`, with an index at hand.
    pub(crate) fn with_index(rows: Arc<R>, live: RoaringBitmap, index: Index) -> Layer<R> {
        Layer { rows, live: Arc::new(live), index: Arc::new(OnceLock::from(index)) }
    }

    /// Takes the row out. Was it in?
    pub(crate) fn kill(&mut self, row: u32) -> bool {
        self.live.contains(row) && Arc::make_mut(&mut self.live).remove(row)
    }
}

#[allow(private_bounds, reason = "the two kinds of rows are closed")]
impl<R: Rows> Layer<R> {
    /// Where the keys are.
    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let keys = self.rows.keys();
            let hashes = keys.path_hashes();
            Index::new(keys, &hashes)
        })
    }

    /// Bytes held in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let index = self.index.get().map_or(0, Index::memory_bytes);
        self.rows.batch().get_array_memory_size() + self.live.serialized_size() + index
    }

    /// The rows that count alone, copied: what is left of a large layer holds all of it.
    ///
    /// # Errors
    ///
    /// `internal` if they cannot be copied.
    pub(crate) fn dense(&self) -> Result<Layer<R>> {
        Layer::of_live(self.live_batch()?)
    }

    /// The rows that count, in order.
    fn live_batch(&self) -> Result<RecordBatch> {
        let batch = self.rows.batch();
        if self.live.len() == rows_of(batch) {
            return Ok(batch.clone());
        }
        let indices: UInt32Array = self.live.iter().map(Some).collect();
        take_record_batch(batch, &indices)
            .map_err(|it| Error::internal("cannot copy file actions").because(it))
    }

    fn of_live(batch: RecordBatch) -> Result<Layer<R>> {
        let mut live = RoaringBitmap::new();
        live.insert_range(0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX));
        Ok(Layer::new(Arc::new(R::from_batch(batch)?), live))
    }

    fn is_small(&self) -> bool {
        self.live.len() <= SMALL_ROWS_MAX
    }

    /// Size class: 0 up to 7 rows, 1 up to 63, and so on.
    fn class(&self) -> u32 {
        self.live.len().max(1).ilog2() / 3
    }
}

/// Keeps layers few and dense, so that look-ups stay cheap along a chain of any length: an empty
/// layer goes, one of which less than half counts is copied down to what does, and neighbours of
/// like size are merged. Deterministic, and the order of rows does not change.
///
/// Newest layer first.
pub(crate) fn settle<R: Rows>(layers: &mut Vec<Layer<R>>) {
    layers.retain(|it| !it.live.is_empty());
    for layer in layers.iter_mut() {
        let sparse = layer.live.len() * 2 < rows_of(layer.rows.batch());
        // A copy that fails is left out: it saves memory, no more.
        if sparse && let Ok(dense) = layer.live_batch().and_then(Layer::of_live) {
            *layer = dense;
        }
    }
    for class in 0..CLASSES {
        merge_runs(layers, class);
    }
}

/// Merges every run of at least [`MERGE_COUNT`] neighbours of at most this class.
fn merge_runs<R: Rows>(layers: &mut Vec<Layer<R>>, class: u32) {
    let joins = |a: &Layer<R>, b: &Layer<R>| {
        let sized = [a, b].iter().all(|it| it.is_small() && it.class() <= class);
        sized && a.rows.batch().schema_ref() == b.rows.batch().schema_ref()
    };
    if !layers.chunk_by(joins).any(|run| MERGE_COUNT <= run.len()) {
        return;
    }
    let runs: Vec<Vec<Layer<R>>> = layers.chunk_by(joins).map(<[_]>::to_vec).collect();
    *layers = runs.into_iter().flat_map(merge_run).collect();
}

fn merge_run<R: Rows>(run: Vec<Layer<R>>) -> Vec<Layer<R>> {
    let bytes: usize = run.iter().map(Layer::memory_bytes).sum();
    if run.len() < MERGE_COUNT || MERGE_BYTES_MAX < bytes {
        return run;
    }
    match merged(&run) {
        Ok(layer) => vec![layer],
        Err(_) => run,
    }
}

fn merged<R: Rows>(run: &[Layer<R>]) -> Result<Layer<R>> {
    let batches: Vec<RecordBatch> =
        run.iter().rev().map(Layer::live_batch).collect::<Result<_>>()?;
    let schema = batches.first().map(RecordBatch::schema);
    let schema = schema.ok_or_else(|| Error::internal("nothing to merge"))?;
    let batch = concat_batches(&schema, &batches)
        .map_err(|it| Error::internal("cannot merge file actions").because(it))?;
    Layer::of_live(batch)
}

fn rows_of(batch: &RecordBatch) -> u64 {
    u64::try_from(batch.num_rows()).unwrap_or(u64::MAX)
}
