//! Rows by position.
//!
//! ```text
//!   positions --> files, by their live rows --> physical rows --> pages with them --> rows
//!                                                                 in the order asked for <--+
//! ```
//!
//! Positions count the live rows of a version in the order of its plan, so that they are dense: a
//! training run can draw from `0..rows` and never meets a deleted row. How many rows a file has is
//! in its statistics; only where they do not say, its footer is asked. Of each file the pages with
//! wanted rows are read, as far as it has a page index.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::{DataType, Schema as ArrowSchema};
use arrow_select::concat::concat_batches;
use arrow_select::take::take as gather;
use futures::TryStreamExt;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::row_set::RowSet;
use lakebed_log::scan::{ScanPlan, ScanTask};

use crate::codec::Turn;
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::read::{FileRead, Reader, Shape, Spec};
use crate::store::Store;

/// Most files read at once.
const FILES_MAX: usize = 16;

/// Rows of a plan without filter and limit, by position among its live rows; in the order of
/// `positions`, which may name a row more than once.
///
/// # Errors
///
/// `invalid-argument` for a position at or past the number of rows, `limit-exceeded` for more text
/// than a batch can hold, and what reading the files says.
pub(crate) async fn take(
    env: &Env,
    op: &Op,
    store: &Store,
    plan: &Arc<ScanPlan>,
    positions: &[u64],
) -> Result<RecordBatch> {
    let wanted: Vec<u64> = positions.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let reader = Reader::new(env, op, store, Shape::new(Spec::of(plan))?)?;
    let files = find(env, op, store, plan, &wanted).await?;
    let width = (2 * env.cores()).max(FILES_MAX);
    let turns = files.into_iter().zip(Turn::line());
    let read = |(file, turn): (Asked, Turn)| {
        let reader = reader.clone();
        async move { read_one(&reader, file, turn).await }
    };
    let rows: Vec<Vec<RecordBatch>> = map_ordered(turns, width, read).try_collect().await?;
    let rows: Vec<RecordBatch> = rows.into_iter().flatten().collect();
    let (schema, positions) = (Arc::clone(plan.schema()), positions.to_vec());
    env.compute(move || arrange(&schema, &rows, &wanted, &positions)).await
}

/// Live rows of one file: their place among the live rows of the file, ascending.
struct Asked {
    task: ScanTask,
    rows: Vec<u64>,
}

/// Which file has which of the positions; they are ascending.
async fn find(
    env: &Env,
    op: &Op,
    store: &Store,
    plan: &Arc<ScanPlan>,
    wanted: &[u64],
) -> Result<Vec<Asked>> {
    let mut out = Vec::new();
    let (mut first, mut rest) = (0u64, wanted);
    let mut counts = Counts { env, op, store, plan, reader: None };
    for task in plan.tasks() {
        if rest.is_empty() {
            break;
        }
        let end = first.saturating_add(counts.of(task).await?);
        let (here, after) = rest.split_at(rest.partition_point(|it| *it < end));
        if !here.is_empty() {
            let rows = here.iter().map(|it| it - first).collect();
            out.push(Asked { task: task.clone(), rows });
        }
        (first, rest) = (end, after);
    }
    match rest.first() {
        None => Ok(out),
        Some(position) => {
            Err(Error::invalid(format!("there is no row {position} among {first} rows")))
        }
    }
}

/// Live rows of files.
struct Counts<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    plan: &'a ScanPlan,
    /// Made when the first file is asked.
    reader: Option<Reader>,
}

impl Counts<'_> {
    /// By the log, or by the file's footer.
    async fn of(&mut self, task: &ScanTask) -> Result<u64> {
        if let Some(rows) = task.live_records() {
            return Ok(rows);
        }
        let reader = match &self.reader {
            Some(reader) => reader.clone(),
            None => {
                let output = Arc::new(ArrowSchema::empty());
                let spec =
                    Spec { output, filter: None, metadata: Vec::new(), ..Spec::of(self.plan) };
                let reader = Reader::new(self.env, self.op, self.store, Shape::new(spec)?)?;
                self.reader.insert(reader).clone()
            }
        };
        let batches = reader.file(FileRead::new(task.clone()));
        batches.try_fold(0u64, |sum, it| async move { Ok(sum + it.num_rows() as u64) }).await
    }
}

async fn read_one(reader: &Reader, file: Asked, turn: Turn) -> Result<Vec<RecordBatch>> {
    let Asked { mut task, rows } = file;
    let wanted = rows.len();
    // By this number the positions were found.
    let counted = task.num_records;
    let only: RowSet = match task.deletion_vector.take() {
        // The rows that are asked for are alive, so that the vector is not needed again.
        Some(vector) => {
            let deleted = reader.vectors().load(&vector, &Turn::default()).await?;
            alive(&deleted, &rows)
        }
        None => rows.into_iter().collect(),
    };
    let path = task.path.clone();
    let file = FileRead { only: Some(Arc::new(only)), turn, counted, ..FileRead::new(task) };
    let batches: Vec<RecordBatch> = reader.file(file).try_collect().await?;
    let read: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if read != wanted {
        let what = format!("the file has {read} of {wanted} rows that its statistics promise");
        return Err(Error::new(Code::CorruptData, what).at(path));
    }
    Ok(batches)
}

/// Physical rows of live rows, which are ascending.
fn alive(deleted: &RowSet, rows: &[u64]) -> RowSet {
    let mut gone = deleted.iter().peekable();
    let mut before = 0u64;
    let physical = rows.iter().map(|row| {
        while gone.next_if(|it| *it <= row.saturating_add(before)).is_some() {
            before += 1;
        }
        row.saturating_add(before)
    });
    physical.collect()
}

/// The rows of `wanted`, which come in its order, in the order of `positions`.
fn arrange(
    schema: &Arc<ArrowSchema>,
    rows: &[RecordBatch],
    wanted: &[u64],
    positions: &[u64],
) -> Result<RecordBatch> {
    let all = concat_batches(schema, rows).map_err(|it| {
        Error::new(Code::LimitExceeded, format!("the rows do not fit a batch: {it}"))
    })?;
    let place = |it: &u64| wanted.binary_search(it).ok().map(|it| it as u64);
    let places = positions.iter().map(place).collect::<Option<Vec<u64>>>();
    let places = places.ok_or_else(|| Error::internal("a position is lost"))?;
    if places.iter().copied().eq(0..all.num_rows() as u64) {
        return Ok(all);
    }
    let places = UInt64Array::from(places);
    let column = |it: &ArrayRef| {
        check_text(it, &places)?;
        gather(it, &places, None)
            .map_err(|it| Error::internal("the rows cannot be put in order").because(it))
    };
    let columns = all.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|it| Error::internal("the rows lost their shape").because(it))
}

/// Does the text of so many rows still fit in one array?
fn check_text(column: &ArrayRef, places: &UInt64Array) -> Result<()> {
    let offsets = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().offsets(),
        DataType::Binary => column.as_binary::<i32>().offsets(),
        _ => return Ok(()),
    };
    let lens: Vec<usize> = offsets.lengths().collect();
    let len = |it: &u64| usize::try_from(*it).ok().and_then(|it| lens.get(it)).copied();
    let total = places.values().iter().filter_map(len).fold(0, usize::saturating_add);
    match i32::try_from(total) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(Code::LimitExceeded, format!("{total} bytes of text in a batch"))),
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    /// The k-th live row is found behind the deleted ones before it.
    #[test]
    fn live_rows_are_found() {
        let check = |deleted: &[u64], rows: &[u64], expected: &[u64]| {
            let deleted: RowSet = deleted.iter().copied().collect();
            let found: Vec<u64> = alive(&deleted, rows).iter().collect();
            assert_eq!(found, expected, "{deleted:?} {rows:?}");
        };
        check(&[], &[0, 5], &[0, 5]);
        check(&[0], &[0, 5], &[1, 6]);
        check(&[0, 1, 2], &[0], &[3]);
        check(&[1, 3, 4], &[0, 1, 2, 3], &[0, 2, 5, 6]);
        check(&[9], &[0, 8, 9], &[0, 8, 10]);
    }
}
