//! One file to batches in the shape of the result: the one way in which rows are read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lakebed_log::action::DeletionVector;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::row_set::RowSet;
use lakebed_log::scan::ScanTask;
use lakebed_log::value::Value;

use super::shape::Shape;
use crate::codec::{Source, Turn};
use crate::env::{BoxFuture, Env};
use crate::op::Op;
use crate::place::Roots;
use crate::store::Store;
use crate::vector::Vectors;

/// Reads files, one like another. Cheap to clone.
///
/// ```text
///   Reader::new(env, op, store, Shape::new(spec)?)?     what is the same for all files
///       .expecting(n, |at| vector of the at-th task)    if their vectors are known before
///   reader.file(FileRead { at, turn, ..FileRead::new(task) })
///   reader.file(FileRead { only, constants, ..FileRead::new(task) })
/// ```
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    env: Env,
    op: Op,
    roots: Roots,
    shape: Arc<Shape>,
    vectors: Vectors,
}

/// One file to read, and what is its own.
#[derive(Clone, Debug)]
pub(crate) struct FileRead {
    /// Path, size, partition values, deletion vector, row ids. Rows that its vector names do not
    /// come; without a vector all rows are alive.
    pub(crate) task: ScanTask,
    /// Its place among the tasks that [`Reader::expecting`] was told of; then its vector is fetched
    /// together with others. `None`: by itself.
    pub(crate) at: Option<usize>,
    /// If given, no rows but these: physical positions. Those that the vector names are left out
    /// still.
    pub(crate) only: Option<Arc<RowSet>>,
    /// If given, no rows but those of this range of physical positions; it may end past the file.
    pub(crate) rows: Option<Range<u64>>,
    /// If given, so many rows has the file, or its statistics are wrong.
    pub(crate) counted: Option<u64>,
    /// Values of the shape's constants that are not partition columns; they win over partition
    /// values.
    pub(crate) constants: BTreeMap<String, Option<Value>>,
    /// When it may take its memory: needed where files are read side by side and handed out in
    /// order, see [`Turn`].
    pub(crate) turn: Turn,
}

impl FileRead {
    /// The live rows of a file that stands in no line.
    pub(crate) fn new(task: ScanTask) -> FileRead {
        let (only, rows, counted, constants) = (None, None, None, BTreeMap::new());
        FileRead { task, at: None, only, rows, counted, constants, turn: Turn::default() }
    }

    pub(super) fn constant(&self, name: &str) -> Result<Option<&Value>> {
        let value = self.constants.get(name).or_else(|| self.task.partition.get(name));
        let value = value.ok_or_else(|| Error::internal(format!("no value of `{name}`")))?;
        Ok(value.as_ref())
    }
}

/// Lets the next file come, at the latest when this one has begun or failed.
struct Pass(Option<Turn>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.iter().for_each(Turn::pass);
    }
}

impl Reader {
    /// # Errors
    ///
    /// That an allowed root cannot be opened.
    pub(crate) fn new(env: &Env, op: &Op, store: &Store, shape: Shape) -> Result<Reader> {
        let roots = Roots::new(env, store)?;
        let vectors = Vectors::new(env, op, &roots);
        let (env, op, shape) = (env.clone(), op.clone(), Arc::new(shape));
        Ok(Reader(Arc::new(Inner { env, op, roots, shape, vectors })))
    }

    /// The same, for tasks that are known before and read about in this order, once each: their
    /// vectors are fetched together.
    pub(crate) fn expecting(
        &self,
        tasks: usize,
        vector: impl Fn(usize) -> Option<DeletionVector> + Send + Sync + 'static,
    ) -> Reader {
        let Inner { env, op, roots, shape, vectors } = &*self.0;
        let vectors = vectors.expecting(tasks, vector);
        let (env, op, roots, shape) = (env.clone(), op.clone(), roots.clone(), Arc::clone(shape));
        Reader(Arc::new(Inner { env, op, roots, shape, vectors }))
    }

    /// The vectors of this read, for who wants rows that are deleted.
    pub(crate) fn vectors(&self) -> &Vectors {
        &self.0.vectors
    }

    /// Rows of one file, in its order, in the shape of the result, filtered. No batch is empty.
    /// Nothing is done before the first poll.
    ///
    /// Errors of the stream: see [`read`](super::read), placed at the file.
    pub(crate) fn file(&self, file: FileRead) -> BoxStream<'static, Result<RecordBatch>> {
        let inner = Arc::clone(&self.0);
        let place = inner.roots.shown(&file.task.path);
        let begun = async move { inner.begin(Arc::new(file)).await };
        stream::once(begun)
            .try_flatten()
            .try_filter(|it| std::future::ready(0 < it.num_rows()))
            .map_err(move |it| it.at(&place))
            .boxed()
    }
}

impl Inner {
    async fn begin(
        self: Arc<Inner>,
        file: Arc<FileRead>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let mut pass = Pass(Some(file.turn.clone()));
        let (store, key) = self.roots.find_file(&file.task.path)?;
        let source = Source {
            key,
            size: file.task.size,
            schema: Arc::clone(&self.shape.file),
            filter: self.shape.file_filter.clone(),
            mapping: self.shape.spec.mapping,
            deleted: None,
            only: file.only.clone(),
            rows: file.rows.clone(),
            counted: file.counted,
            positions: self.shape.positions,
            batch_rows: self.shape.batch_rows(&file)?,
            turn: file.turn.clone(),
        };
        // From here on the codec lets the next one come.
        pass.0 = None;
        let deleted = Arc::clone(&self).deleted(Arc::clone(&file));
        let rows = self.env.codec().read(&self.env, &self.op, &store, source, Box::pin(deleted));
        let rows = rows.map_err(|it| match it.code() {
            Code::FileNotFound => {
                let what = "the log names this data file and it is not there";
                Error::new(Code::MissingFile, what).because(it)
            }
            _ => it,
        });
        let width = self.env.cores().max(1);
        let finished =
            rows.map_ok(move |batch| Inner::finish(Arc::clone(&self), Arc::clone(&file), batch));
        Ok(finished.try_buffered(width).boxed())
    }

    /// The rows that the file's vector names.
    async fn deleted(self: Arc<Inner>, file: Arc<FileRead>) -> Result<Option<Arc<RowSet>>> {
        let Some(vector) = &file.task.deletion_vector else { return Ok(None) };
        let deleted = match file.at {
            Some(at) => self.vectors.get(at, vector, &file.turn).await?,
            None => self.vectors.load(vector, &file.turn).await?,
        };
        Ok((!deleted.is_empty()).then_some(deleted))
    }

    /// Work with a filter goes to the compute threads.
    fn finish(
        self: Arc<Inner>,
        file: Arc<FileRead>,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<RecordBatch>> {
        if self.shape.spec.filter.is_none() {
            return Box::pin(std::future::ready(self.shape.finish(&file, &batch)));
        }
        let env = self.env.clone();
        Box::pin(env.compute(move || self.shape.finish(&file, &batch)))
    }
}
