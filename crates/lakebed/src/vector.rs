//! Deletion vectors of a plan: fetched for the files that survive, their ranges coalesced.
//!
//! A commit writes one file of vectors, so that many data files share it, and a request for each
//! would cost more than what it brings. But to fetch all that a plan names before its first row
//! would be as bad. So vectors are fetched by the window: the next tasks of the plan, as many as
//! have a few megabytes of vectors, and fewer in the first windows, for which the first rows wait;
//! and within a window by the file, when the first of its tasks asks.
//!
//! ```text
//!   tasks     a    b    c    d    e  |  f    g  ..     a window
//!   vectors   1:x  1:y  2:x  -    1:z|  ..             file:vector
//!   requests  1:xyz     2:x          |                 at a, at c
//! ```
//!
//! What a window holds is small and not accounted for; a vector that is not small is fetched by
//! itself and pays from the budget, when its file's turn has come. Its rows are then paid for with
//! the file that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::lock::Mutex as AsyncMutex;
use hashbrown::HashMap;
use lakebed_log::action::{DeletionVector, VectorBytes};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::limits::VECTOR_BYTES_MAX;
use lakebed_log::mutant::planted;
use lakebed_log::row_set::{FILE_VERSION, FRAME_BYTES, RowSet, unframe};

use crate::codec::Turn;
use crate::env::Env;
use crate::op::Op;
use crate::place::Roots;
use crate::store::Store;

/// Vectors of the first window, in bytes. Each has twice as many as the one before.
const FIRST_BYTES: u64 = 256 << 10;
/// Most bytes of a window, and at most this many tasks.
const WINDOW_BYTES: u64 = 2 << 20;
const WINDOW_TASKS: usize = 4096;
/// Vectors that are fetched together lie within so many bytes, so that gaps do not add up.
const SPAN_BYTES: u64 = 4 << 20;
/// A vector past this size pays for itself.
const SMALL_BYTES: u64 = 1 << 20;
/// A decoded vector and its bytes have at most about this many times the size of the bytes: a piece
/// with a single position has 10 of them, and takes 72.
const DECODED: u64 = 9;

/// The rows that a deletion vector of the table at `store` deletes. One GET, two if it begins far
/// from the start of its file, none if it is in the log.
///
/// # Errors
///
/// `corrupt-dv` for bytes that are not the vector that is described; `missing-file`; `path-escape`,
/// `unsupported-path`, `invalid-path` for a file outside the allowed roots; and what the store
/// says.
///
/// ```
/// use lakebed::{Env, Op, vector};
/// use lakebed_log::action::DeletionVector;
/// use lakebed_log::{row_set::RowSet, z85};
///
/// # futures::executor::block_on(async {
/// let rows: RowSet = [3, 4, 7].into_iter().collect();
/// let bytes = rows.to_bytes();
/// let inline = DeletionVector {
///     storage_type: "i".to_string(),
///     path_or_inline_dv: z85::encode(&bytes),
///     offset: None,
///     size_in_bytes: i32::try_from(bytes.len()).unwrap(),
///     cardinality: 3,
/// };
/// let env = Env::tokio();
/// let store = env.open("memory://doc/vector")?;
/// assert_eq!(*vector::rows(&env, &Op::default(), &store, &inline).await?, rows);
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
pub async fn rows(
    env: &Env,
    op: &Op,
    store: &Store,
    vector: &DeletionVector,
) -> Result<Arc<RowSet>> {
    let vectors = Vectors::new(env, op, &Roots::new(env, store)?);
    vectors.load(vector, &Turn::default()).await
}

/// Gives the vector of a task, by its place in the plan.
type Descriptors = dyn Fn(usize) -> Option<DeletionVector> + Send + Sync;

/// The vectors of one read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Vectors(Arc<Inner>);

struct Inner {
    env: Env,
    op: Op,
    roots: Roots,
    tasks: usize,
    vectors: Box<Descriptors>,
    windows: Mutex<Windows>,
    /// Files whose version has been looked at.
    checked: Arc<Mutex<BTreeSet<String>>>,
}

/// The windows.
struct Windows {
    /// Tasks that are in a window, or were.
    seen: usize,
    /// Bytes of the next one.
    next: u64,
    /// Those that are not yet used up, by their first task.
    open: BTreeMap<usize, Window>,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { seen: 0, next: FIRST_BYTES, open: BTreeMap::new() }
    }
}

struct Window {
    /// Of each task that is yet to ask, its vectors' file and its place there.
    of: HashMap<usize, (Arc<Unit>, usize)>,
}

/// Vectors of one file, fetched together.
struct Unit {
    path: String,
    /// Is the file's first byte, its version, to be looked at?
    first: bool,
    frames: Vec<Range<u64>>,
    /// The framed vectors that nobody has asked for yet; `None` before they are fetched.
    fetched: AsyncMutex<Option<Vec<Option<Bytes>>>>,
}

impl Vectors {
    /// For single vectors, see [`Vectors::load`].
    pub(crate) fn new(env: &Env, op: &Op, roots: &Roots) -> Vectors {
        Vectors(Arc::new(Inner {
            env: env.clone(),
            op: op.clone(),
            roots: roots.clone(),
            tasks: 0,
            vectors: Box::new(|_| None),
            windows: Mutex::default(),
            checked: Arc::default(),
        }))
    }

    /// The same for `tasks` tasks, whose vectors will be asked for about in their order. Makes no
    /// request.
    pub(crate) fn expecting(
        &self,
        tasks: usize,
        vectors: impl Fn(usize) -> Option<DeletionVector> + Send + Sync + 'static,
    ) -> Vectors {
        let Inner { env, op, roots, checked, .. } = &*self.0;
        Vectors(Arc::new(Inner {
            env: env.clone(),
            op: op.clone(),
            roots: roots.clone(),
            tasks,
            vectors: Box::new(vectors),
            windows: Mutex::default(),
            checked: Arc::clone(checked),
        }))
    }

    /// The vector of a task, fetched with those that will be asked for soon. To be asked once for
    /// each task; a second time costs a request.
    ///
    /// # Errors
    ///
    /// As [`Vectors::load`].
    pub(crate) async fn get(
        &self,
        at: usize,
        vector: &DeletionVector,
        turn: &Turn,
    ) -> Result<Arc<RowSet>> {
        let Some((unit, slot)) = self.0.planned(at) else { return self.load(vector, turn).await };
        let framed = self.0.fetched(&unit, slot).await?;
        self.0.decode(vector.clone(), framed, unit.path.clone()).await
    }

    /// One vector. A large one waits for its turn, and for memory.
    ///
    /// # Errors
    ///
    /// `corrupt-dv` for bytes that are not the vector that the log describes; `missing-file`;
    /// `path-escape`, `unsupported-path`, `invalid-path` for a file outside the allowed roots;
    /// `memory-exceeded`; and what the store says. Placed at the file.
    pub(crate) async fn load(&self, vector: &DeletionVector, turn: &Turn) -> Result<Arc<RowSet>> {
        let (path, offset, size) = match vector.bytes()? {
            VectorBytes::Inline(payload) => {
                let vector = vector.clone();
                let work = move || Ok(rows_of(vector.rows(&payload)?));
                return self.0.env.compute_first(work).await;
            }
            VectorBytes::File { path, offset, size } => (path, offset, size),
        };
        // Who holds the rows pays for them with what else it takes, at once: holding this one while
        // it waits for that, it could wait for ever.
        let _permit = match size {
            0..=SMALL_BYTES => None,
            _ if VECTOR_BYTES_MAX < size => {
                let what = format!("a vector of {size} bytes, the limit is {VECTOR_BYTES_MAX}");
                return Err(Error::new(Code::CorruptDv, what).at(self.0.roots.shown(&path)));
            }
            _ => {
                turn.come().await;
                Some(self.0.env.budget().acquire(size.saturating_mul(DECODED)).await?)
            }
        };
        let first = self.0.is_unchecked(&path);
        let frame = offset..offset.saturating_add(size).saturating_add(FRAME_BYTES);
        let unit = Unit::new(path.clone(), first, vec![frame]);
        let framed = self.0.fetched(&unit, 0).await?;
        self.0.decode(vector.clone(), framed, path).await
    }
}

/// The rows of a vector.
fn rows_of(rows: RowSet) -> Arc<RowSet> {
    let rows = if planted(20) { rows.iter().map(|it| it + 1).collect() } else { rows };
    Arc::new(rows)
}

impl Unit {
    fn new(path: String, first: bool, frames: Vec<Range<u64>>) -> Unit {
        Unit { path, first, frames, fetched: AsyncMutex::new(None) }
    }

    /// Does more lie between the frames, and before the first, than in them? They ascend.
    fn is_sparse(&self) -> bool {
        let (mut held, mut end) = (0u64, 0u64);
        for frame in &self.frames {
            held = held.saturating_add(frame.end.saturating_sub(frame.start.max(end)));
            end = end.max(frame.end);
        }
        let start = self.frames.first().map_or(0, |it| if self.first { 0 } else { it.start });
        held.saturating_mul(2) < end.saturating_sub(start)
    }
}

impl Inner {
    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is the version of a file to be looked at? Asked once, by whoever is about to.
    fn is_unchecked(&self, path: &str) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.insert(path.to_string())
    }

    /// Where the vector of a task is fetched together with others.
    fn planned(&self, at: usize) -> Option<(Arc<Unit>, usize)> {
        let mut windows = self.windows();
        while windows.seen <= at && windows.seen < self.tasks {
            self.open(&mut windows);
        }
        let (start, window) = windows.open.range_mut(..=at).next_back()?;
        let (start, found) = (*start, window.of.remove(&at));
        if window.of.is_empty() {
            windows.open.remove(&start);
        }
        found
    }

    /// The next window. Vectors that do not make sense, and large ones, are in none.
    fn open(&self, windows: &mut Windows) {
        let (start, most) = (windows.seen, windows.next);
        windows.next = most.saturating_mul(2).min(WINDOW_BYTES);
        let mut by_path: BTreeMap<String, Vec<(usize, Range<u64>)>> = BTreeMap::new();
        let mut bytes = 0;
        while windows.seen < self.tasks && bytes < most && windows.seen - start < WINDOW_TASKS {
            let at = windows.seen;
            windows.seen += 1;
            let Some(Ok(VectorBytes::File { path, offset, size })) =
                (self.vectors)(at).map(|it| it.bytes())
            else {
                continue;
            };
            if size <= SMALL_BYTES {
                let frame = offset..offset.saturating_add(size).saturating_add(FRAME_BYTES);
                by_path.entry(path).or_default().push((at, frame));
                bytes += size;
            }
        }
        let mut of = HashMap::new();
        for (path, mut tasks) in by_path {
            tasks.sort_unstable_by_key(|it| it.1.start);
            let mut rest = tasks.as_slice();
            while let Some((_, first)) = rest.first() {
                let near = |it: &(usize, Range<u64>)| it.1.end - first.start <= SPAN_BYTES;
                let (unit, after) = rest.split_at(rest.partition_point(near).max(1));
                rest = after;
                let frames = unit.iter().map(|it| it.1.clone()).collect();
                let first = self.is_unchecked(&path);
                let fetched = Arc::new(Unit::new(path.clone(), first, frames));
                let slots = unit.iter().enumerate();
                of.extend(slots.map(|(slot, it)| (it.0, (Arc::clone(&fetched), slot))));
            }
        }
        if !of.is_empty() {
            windows.open.insert(start, Window { of });
        }
    }

    /// A framed vector of a unit. Whoever asks first fetches all of them.
    async fn fetched(&self, unit: &Unit, slot: usize) -> Result<Bytes> {
        let mut fetched = unit.fetched.lock().await;
        let frames = match &mut *fetched {
            Some(frames) => frames,
            none => {
                let got = self.fetch(unit).await?;
                // They are parts of one buffer. Copied where much lies between, or each would hold
                // that, too.
                let own =
                    |it: Bytes| if unit.is_sparse() { Bytes::copy_from_slice(&it) } else { it };
                none.insert(got.into_iter().map(|it| Some(own(it))).collect())
            }
        };
        let frame = frames.get_mut(slot).and_then(Option::take);
        frame.ok_or_else(|| Error::internal("a deletion vector was asked for twice"))
    }

    async fn fetch(&self, unit: &Unit) -> Result<Vec<Bytes>> {
        let (store, key) = self.roots.find(&unit.path).map_err(|it| self.placed(unit, it))?;
        let mut ranges = unit.frames.clone();
        if unit.first {
            ranges.push(0..1);
        }
        let got = store.get_ranges(&self.op, &key, &ranges).await;
        let mut got = got.map_err(|it| match it.code() {
            Code::FileNotFound => {
                let what = "the log names this file of deletion vectors and it is not there";
                self.placed(unit, Error::new(Code::MissingFile, what).because(it))
            }
            Code::ShortRead => {
                let what = "the file of deletion vectors ends before the vector does";
                self.placed(unit, Error::new(Code::CorruptDv, what).because(it))
            }
            _ => it,
        })?;
        if unit.first {
            let version = got.pop().and_then(|it| it.first().copied()).unwrap_or(0);
            if version != FILE_VERSION {
                let what = format!("file of deletion vectors in version {version}, not 1");
                return Err(self.placed(unit, Error::new(Code::CorruptDv, what)));
            }
        }
        Ok(got)
    }

    fn placed(&self, unit: &Unit, err: Error) -> Error {
        err.at(self.roots.shown(&unit.path))
    }

    async fn decode(
        &self,
        vector: DeletionVector,
        framed: Bytes,
        path: String,
    ) -> Result<Arc<RowSet>> {
        let rows = move || Ok(rows_of(vector.rows(unframe(&framed)?)?));
        self.env.compute_first(rows).await.map_err(|it| it.at(self.roots.shown(&path)))
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
