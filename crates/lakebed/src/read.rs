//! A plan to record batches.
//!
//! ```text
//!   task -> codec, without the vector's rows -> + constants -> filter -> columns --+
//!   task -> codec, without the vector's rows -> + constants -> filter -> columns --+-> limit
//!   task -> ...                            read ahead, in the order of the plan
//! ```
//!
//! One file is read in one place, [`Reader::file`], whoever asks: a plan, the change feed, a take,
//! a split. They differ in the [`Spec`] that says what is the same for all their files, and in the
//! [`FileRead`] that says what is not.
//!
//! The plan has left out what statistics could rule out; here the filter sees every row. Files are
//! read ahead only while less than half of the memory budget is in use, so that several reads side
//! by side cannot starve each other: the file that a caller waits for always gets its turn.

mod file;
mod shape;

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use lakebed_log::error::Result;
use lakebed_log::scan::ScanPlan;

pub(crate) use file::{FileRead, Reader};
pub(crate) use shape::{Shape, Spec};

use crate::codec::{Ahead, Turn};
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// Most files read at once.
const FILES_MAX: usize = 16;
/// About the bytes of the files that are read at once: what is fetched long before it is decoded
/// only takes up memory.
const FILE_BYTES: u64 = 64 << 20;
/// Batches of a file that are held ready.
const DEPTH: usize = 4;

/// Batches of a plan, in plan order. Dropping it stops the reading. The deadline of the operation
/// bounds the whole reading.
pub struct Batches {
    schema: SchemaRef,
    stream: BoxStream<'static, Result<RecordBatch>>,
}

/// Reads a plan: deletion vectors, partition constants, null columns, the filter on every row, the
/// limit. Files are read ahead.
///
/// Rows come in the order of the plan's files and of the rows in them. Batches without rows do not
/// come. Makes no request before the first poll.
///
/// Errors of the stream, placed at the file: `missing-file` for a file that the log names and that
/// is not there, `path-escape` and `unsupported-path` for one outside the allowed roots,
/// `corrupt-dv` for a deletion vector that is not sound, those of the data file
/// ([`Codec::read`](crate::codec::Codec::read)), and `invalid-data` if the filter cannot be
/// evaluated over a row.
pub fn read(env: &Env, op: &Op, store: &Store, plan: Arc<ScanPlan>) -> Batches {
    read_parts(env, op, store, plan, Vec::new())
}

/// The same for parts of files: `parts` has for each task the physical rows to read, where these
/// are not all.
pub(crate) fn read_parts(
    env: &Env,
    op: &Op,
    store: &Store,
    plan: Arc<ScanPlan>,
    parts: Vec<Option<Range<u64>>>,
) -> Batches {
    let schema = Arc::clone(plan.schema());
    let reader = Shape::new(Spec::of(&plan)).and_then(|it| Reader::new(env, op, store, it));
    let reader = match reader {
        Ok(reader) => reader,
        Err(err) => return Batches::new(schema, futures::stream::iter([Err(err)]).boxed()),
    };
    let tasks = Arc::clone(&plan);
    let vector = move |at: usize| tasks.tasks().get(at).and_then(|it| it.deletion_vector.clone());
    let reader = reader.expecting(plan.tasks().len(), vector);
    let small = plan.limit().is_some_and(|it| it <= plan.batch_rows() as u64);
    let width = if small { 1 } else { width(env, &plan) };
    let budget = env.budget().clone();
    let tasks = Arc::clone(&plan);
    let lanes = (0..plan.tasks().len()).zip(Turn::line()).filter_map(move |(at, turn)| {
        let task = tasks.tasks().get(at)?.clone();
        let rows = parts.get(at).cloned().flatten();
        Some(reader.file(FileRead { at: Some(at), rows, turn, ..FileRead::new(task) }))
    });
    let rows = Ahead::new(lanes, width, DEPTH, move || budget.used() < budget.total() / 2);
    let place = store.location().to_string();
    let rows = Limited { rows, plan, op: op.clone(), out: 0, told: usize::MAX, place };
    Batches::new(schema, rows.boxed())
}

/// How many files are read at once. Opening one is mostly waiting, so small ones are many.
fn width(env: &Env, plan: &ScanPlan) -> usize {
    let bytes: u64 = plan.tasks().iter().map(|it| it.size).fold(0, u64::saturating_add);
    let mean = bytes.checked_div(plan.tasks().len() as u64).unwrap_or(0).max(1);
    let files = usize::try_from(FILE_BYTES / mean).unwrap_or(FILES_MAX);
    files.clamp(env.cores().min(FILES_MAX), FILES_MAX)
}

impl Batches {
    /// From a stream whose shape is known.
    pub(crate) fn new(
        schema: SchemaRef,
        stream: BoxStream<'static, Result<RecordBatch>>,
    ) -> Batches {
        Batches { schema, stream }
    }

    /// Shape of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// The first of the stream; what came before it is dropped.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.stream.try_collect().await
    }
}

impl futures::Stream for Batches {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch>>> {
        self.stream.as_mut().poll_next(context)
    }
}

/// Stops at the limit, counts rows, tells progress.
struct Limited {
    rows: Ahead<RecordBatch>,
    plan: Arc<ScanPlan>,
    op: Op,
    out: u64,
    told: usize,
    place: String,
}

impl Drop for Limited {
    fn drop(&mut self) {
        let (version, files) = (self.plan.version(), self.plan.tasks().len());
        tracing::info!(table = %self.place, %version, files, rows = self.out, "read");
    }
}

impl futures::Stream for Limited {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch>>> {
        let left = self.plan.limit().map(|it| it.saturating_sub(self.out));
        let next = match left {
            Some(0) => Poll::Ready(None),
            _ => self.rows.poll_next_unpin(context),
        };
        let ended = self.rows.ended();
        if ended != self.told {
            self.told = ended;
            self.op.progress("read", ended as u64, self.plan.tasks().len() as u64);
        }
        let Poll::Ready(Some(Ok(batch))) = next else { return next };
        let rows = match left {
            Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows()),
            None => batch.num_rows(),
        };
        self.out += rows as u64;
        self.op.rows(rows as u64);
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
