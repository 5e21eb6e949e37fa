//! A plan to record batches.
//!
//! ```text
//!   tasks -> codec -> + partition constants -> filter -> columns of the scan --+
//!   tasks -> codec -> + partition constants -> filter -> columns of the scan --+-> limit -> rows
//!   tasks -> ...                           read ahead, in the order of the plan
//! ```
//!
//! The plan has left out what statistics could rule out; here the filter sees every row. Files are
//! read ahead only while less than half of the memory budget is in use, so that several reads side
//! by side cannot starve each other: the file that a caller waits for always gets its turn.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::filter::filter_record_batch;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::Expr;
use lakebed_log::scan::{ScanPlan, ScanTask};
use lakebed_log::schema::{self, Schema, StructField};
use lakebed_log::value::Value;

use crate::codec::{Ahead, Source, Turn};
use crate::env::{BoxFuture, Env};
use crate::op::Op;
use crate::store::Store;

/// Least number of files read at once: opening one is mostly waiting.
const FILES_MIN: usize = 4;
/// Batches of a file that are held ready.
const DEPTH: usize = 4;

/// Batches of a plan, in plan order. Dropping it stops the reading. The deadline of the operation
/// bounds the whole reading.
pub struct Batches {
    schema: SchemaRef,
    stream: BoxStream<'static, Result<RecordBatch>>,
}

/// Reads a plan: partition constants, null columns, the filter on every row, the limit. Files are
/// read ahead.
///
/// Rows come in the order of the plan's files and of the rows in them. Batches without rows do not
/// come. Makes no request before the first poll.
///
/// Errors of the stream, placed at the file: `missing-file` for a file that the log names and that
/// is not there, `unsupported-protocol` for a file with a deletion vector, those of the data file
/// ([`Codec::read`](crate::codec::Codec::read)), and `invalid-data` if the filter cannot be
/// evaluated over a row.
pub fn read(env: &Env, op: &Op, store: &Store, plan: Arc<ScanPlan>) -> Batches {
    let schema = Arc::clone(plan.schema());
    let shape = match Shape::new(&plan) {
        Ok(shape) => Arc::new(shape),
        Err(err) => return Batches::new(schema, futures::stream::iter([Err(err)]).boxed()),
    };
    let reader = Reader {
        env: env.clone(),
        op: op.clone(),
        store: store.clone(),
        plan: Arc::clone(&plan),
        shape,
    };
    let small = plan.limit().is_some_and(|it| it <= plan.batch_rows() as u64);
    let width = if small { 1 } else { (2 * env.cores()).max(FILES_MIN) };
    let budget = env.budget().clone();
    let tasks = (0..plan.tasks().len()).zip(Turn::line());
    let lanes = tasks.map(move |(at, turn)| reader.clone().task(at, turn));
    let rows = Ahead::new(lanes, width, DEPTH, move || budget.used() < budget.total() / 2);
    let place = store.location().to_string();
    let rows = Limited { rows, plan, op: op.clone(), out: 0, told: usize::MAX, place };
    Batches::new(schema, rows.boxed())
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

/// What is the same for every file of a plan.
struct Shape {
    /// Columns that are read from files.
    file: Arc<Schema>,
    /// The part of the filter that looks at nothing else.
    file_filter: Option<Expr>,
    /// Columns that the filter and the result need, in the table's order.
    needed: Vec<StructField>,
    /// The same, as Arrow has them.
    arrow: SchemaRef,
    /// For each column of the result its place among them.
    columns: Vec<usize>,
}

impl Shape {
    fn new(plan: &ScanPlan) -> Result<Shape> {
        let filter = plan.filter();
        let in_filter = filter.map(Expr::columns).unwrap_or_default();
        let in_result = |name: &str| plan.schema().column_with_name(name).is_some();
        let needed = plan.table_schema().fields().iter();
        let needed = needed.filter(|it| in_filter.contains(&it.name) || in_result(&it.name));
        let needed: Vec<StructField> = needed.cloned().collect();

        let partition = plan.tasks().first().map(|it| Arc::clone(&it.partition));
        let constant = |it: &StructField| {
            let void = schema::DataType::Primitive(schema::PrimitiveType::Void);
            it.data_type == void || partition.as_ref().is_some_and(|of| of.contains_key(&it.name))
        };
        let file: Vec<_> = needed.iter().filter(|it| !constant(it)).cloned().collect();
        let of_file =
            |it: &&Expr| it.columns().iter().all(|name| file.iter().any(|it| it.name == *name));
        let terms = filter.map(Expr::conjuncts).unwrap_or_default();
        let terms: Vec<Expr> = terms.into_iter().filter(of_file).cloned().collect();

        let arrow = Schema::new(needed.clone())?.to_arrow();
        let place = |field: &arrow_schema::FieldRef| {
            let at = arrow.index_of(field.name()).ok();
            at.ok_or_else(|| Error::internal(format!("column `{}` is not read", field.name())))
        };
        let columns = plan.schema().fields().iter().map(place).collect::<Result<_>>()?;
        Ok(Shape {
            file: Arc::new(Schema::new(file)?),
            file_filter: (!terms.is_empty()).then_some(Expr::And(terms)),
            needed,
            arrow,
            columns,
        })
    }
}

/// Reads one file after another of a plan.
#[derive(Clone)]
struct Reader {
    env: Env,
    op: Op,
    store: Store,
    plan: Arc<ScanPlan>,
    shape: Arc<Shape>,
}

impl Reader {
    /// Rows of one file, in the shape of the result.
    fn task(self, at: usize, turn: Turn) -> BoxStream<'static, Result<RecordBatch>> {
        let Some(task) = self.plan.tasks().get(at) else {
            return futures::stream::empty().boxed();
        };
        if task.deletion_vector.is_some() {
            turn.pass();
            // A protocol that allows them has been refused before.
            let what = "the file has a deletion vector, which the protocol does not allow";
            let err = Error::new(Code::InvalidProtocol, what).at(self.place(task));
            return futures::stream::iter([Err(err)]).boxed();
        }
        let source = Source {
            key: task.key.clone(),
            size: task.size,
            schema: Arc::clone(&self.shape.file),
            filter: self.shape.file_filter.clone(),
            mapping: self.plan.mapping(),
            deleted: None,
            only: None,
            positions: false,
            batch_rows: self.plan.batch_rows(),
            turn,
        };
        let place = self.place(task);
        let rows = self.env.codec().read(&self.env, &self.op, &self.store, source);
        let width = self.env.cores().max(1);
        let finished = rows.map_ok(move |batch| self.clone().finish(at, batch));
        finished
            .try_buffered(width)
            .try_filter(|it| std::future::ready(0 < it.num_rows()))
            .map_err(move |it| match it.code() {
                Code::FileNotFound => {
                    let what = "the log names this data file and it is not there";
                    Error::new(Code::MissingFile, what).because(it).at(&place)
                }
                _ => it.at(&place),
            })
            .boxed()
    }

    fn place(&self, task: &ScanTask) -> String {
        format!("{}/{}", self.store.location().trim_end_matches('/'), task.path)
    }

    /// Adds what is not in the file, filters, and projects. Work goes to the compute threads.
    fn finish(self, at: usize, batch: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>> {
        if self.plan.filter().is_none() {
            let batch = self.complete(at, &batch).and_then(|it| self.project(&it));
            return Box::pin(std::future::ready(batch));
        }
        let env = self.env.clone();
        let work = move || {
            let batch = self.complete(at, &batch)?;
            match self.plan.filter() {
                None => self.project(&batch),
                Some(filter) => {
                    let kept = eval::matches(filter, self.plan.table_schema(), &batch)?;
                    let batch = self.project(&batch)?;
                    filter_record_batch(&batch, &kept)
                        .map_err(|it| Error::internal("the rows do not filter").because(it))
                }
            }
        };
        Box::pin(env.compute(work))
    }

    /// All columns that are needed: from the file, of the partition, void.
    fn complete(&self, at: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let task = self.plan.tasks().get(at);
        let column = |field: &StructField| -> Result<ArrayRef> {
            if let Some(array) = batch.column_by_name(&field.name) {
                return Ok(Arc::clone(array));
            }
            match (&field.data_type, task.and_then(|it| it.partition.get(&field.name))) {
                (schema::DataType::Primitive(of), Some(value)) => {
                    Value::to_array(value.as_ref(), *of, rows)
                }
                _ => Ok(new_null_array(&DataType::Null, rows)),
            }
        };
        let arrays = self.shape.needed.iter().map(column).collect::<Result<Vec<_>>>()?;
        assemble(&self.shape.arrow, arrays, rows)
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.shape.columns.iter().filter_map(|it| batch.columns().get(*it).cloned());
        assemble(self.plan.schema(), columns.collect(), batch.num_rows())
    }
}

/// A null here is one that the log has for a partition column that is not null.
fn assemble(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|it| Error::new(Code::CorruptData, format!("the rows do not fit the table: {it}")))
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
