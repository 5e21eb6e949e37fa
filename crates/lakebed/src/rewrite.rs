//! Row changes to one file: a new file. What delete, update and merge will share.
//!
//! A file that holds rows of both kinds cannot leave whole. Its statistics could not tell, so it is
//! looked into twice: the columns of the filter first, which most files of a selective filter come
//! through untouched, and then all of the files that hold both.
//!
//! ```text
//!   files --> filter columns --> matching rows of each
//!                                  none    the file stays, and costs no more
//!                                  some    --> all columns --> rows that stay --> new files
//!                                  all     the file leaves
//! ```
//!
//! Rows go from one file to the next in batches; nothing waits for the end of a file. The first
//! look skips what row groups and pages rule out, the second one reads every row, and both must
//! have found as many rows to leave: where statistics inside a file lie, nothing is committed.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::Schema as ArrowSchema;
use arrow_select::filter::filter_record_batch;
use futures::{StreamExt, TryStreamExt, future};
use lakebed_log::action::{Add, Remove};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::Expr;
use lakebed_log::scan::{Scan, ScanPlan, ScanTask};
use lakebed_log::schema::Schema;
use lakebed_log::state::Head;
use lakebed_log::uri;

use crate::codec::Turn;
use crate::pool::map_ordered;
use crate::read::{self, Batches, FileRead, Reader, Shape, Spec};
use crate::txn::Context;
use crate::write::Data;

/// Most files looked into at once.
const FILES_MAX: usize = 16;

/// What becomes of files without the rows that match a filter.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// Files that held rows that match alone, and leave.
    pub(crate) whole: Vec<Add>,
    /// Files that held both kinds, and leave.
    pub(crate) both: Vec<Add>,
    /// How many rows that match these held.
    pub(crate) matching: u64,
    /// Files with the rows of these that do not match.
    pub(crate) added: Vec<Add>,
    /// Rows that leave.
    pub(crate) deleted_rows: u64,
    /// Rows that stay, in new files.
    pub(crate) copied_rows: u64,
}

/// Files of one version, to be read.
pub(crate) struct Rewrite<'a> {
    context: &'a Context,
    head: &'a Head,
    /// Bound to the schema of the version.
    filter: &'a Expr,
}

impl<'a> Rewrite<'a> {
    pub(crate) fn new(context: &'a Context, head: &'a Head, filter: &'a Expr) -> Rewrite<'a> {
        Rewrite { context, head, filter }
    }

    /// The same for files of another version.
    pub(crate) fn of<'b>(&self, head: &'b Head) -> Rewrite<'b>
    where
        'a: 'b,
    {
        Rewrite { context: self.context, head, filter: self.filter }
    }

    /// Leaves out of `files` the rows that match. `write` writes the others, in the table's shape,
    /// and is called only if there is a file with both kinds.
    ///
    /// # Errors
    ///
    /// What reading the files says and what `write` says; `corrupt-data` if statistics inside a
    /// file hide rows that match. Then no file is left behind.
    pub(crate) async fn leave_out<W>(
        &self,
        files: Vec<Add>,
        write: impl FnOnce(Data) -> W,
    ) -> Result<Rewritten>
    where
        W: Future<Output = Result<Vec<Add>>>,
    {
        let tasks = files.iter().map(|it| ScanTask::from_add(self.head, it));
        let tasks: Vec<ScanTask> = tasks.collect::<Result<_>>()?;
        let counting = self.count(tasks.clone(), Some(self.filter));
        let matching = self.context.bounded("looking for rows that match", counting).await?;
        // The log may be wrong about how many rows a file has, and what it hides must stay.
        let whole = |it: &(&ScanTask, &u64)| it.0.live_records() == Some(*it.1) && 0 < *it.1;
        let whole = tasks.iter().zip(&matching).filter(whole).map(|it| it.0.clone());
        let counting = self.count(whole.collect(), None);
        let live = self.context.bounded("counting rows", counting).await?;
        let mut live = live.into_iter();
        let mut done = Rewritten::default();
        let mut both = Vec::new();
        for ((file, task), matching) in files.into_iter().zip(tasks).zip(matching) {
            if matching == 0 {
                continue;
            }
            done.deleted_rows += matching;
            let is_whole = task.live_records() == Some(matching) && live.next() == Some(matching);
            if is_whole {
                done.whole.push(file);
            } else {
                done.matching += matching;
                both.push(task);
                done.both.push(file);
            }
        }
        if !both.is_empty() {
            let sieve = Arc::new(Sieve::new(self.head, self.filter, false));
            done.added = self.copy(both, &sieve, write).await?;
            done.copied_rows = sieve.passed.load(Relaxed);
            self.compare(done.matching, &sieve.stopped, keys(&done.added)?).await?;
        }
        Ok(done)
    }

    /// How many live rows of each file match; how many there are, without a filter.
    async fn count(&self, tasks: Vec<ScanTask>, filter: Option<&Expr>) -> Result<Vec<u64>> {
        let Context { env, op, store, .. } = self.context;
        let plan = ScanPlan::of_tasks(self.head, &Scan::new(), Vec::new())?;
        let output = Arc::new(ArrowSchema::empty());
        let spec = Spec { filter: filter.cloned(), output, ..Spec::of(&plan) };
        let reader = Reader::new(env, op, store, Shape::new(spec)?)?;
        let count = |(task, turn): (ScanTask, Turn)| {
            let rows = reader.file(FileRead { turn, ..FileRead::new(task) });
            rows.try_fold(0u64, |sum, it| future::ok(sum + it.num_rows() as u64))
        };
        map_ordered(tasks.into_iter().zip(Turn::line()), FILES_MAX, count).try_collect().await
    }

    /// Writes the rows of `tasks` that do not match.
    async fn copy<W>(
        &self,
        tasks: Vec<ScanTask>,
        sieve: &Arc<Sieve>,
        write: impl FnOnce(Data) -> W,
    ) -> Result<Vec<Add>>
    where
        W: Future<Output = Result<Vec<Add>>>,
    {
        write(self.sifted(tasks, sieve)?).await
    }

    /// The rows of `tasks` that the sieve lets pass.
    fn sifted(&self, tasks: Vec<ScanTask>, sieve: &Arc<Sieve>) -> Result<Data> {
        let rows = self.rows(tasks)?;
        let schema = Arc::clone(rows.schema());
        let (env, sieve) = (self.context.env.clone(), Arc::clone(sieve));
        let passed = rows.and_then(move |batch| {
            let sieve = Arc::clone(&sieve);
            env.compute(move || sieve.sift(&batch))
        });
        let passed = passed.try_filter(|it| future::ready(0 < it.num_rows()));
        Ok(Data::stream(schema, passed.boxed()))
    }

    fn rows(&self, tasks: Vec<ScanTask>) -> Result<Batches> {
        let Context { env, op, store, .. } = self.context;
        let plan = ScanPlan::of_tasks(self.head, &Scan::new(), tasks)?;
        Ok(read::read(env, op, store, Arc::new(plan)))
    }

    /// All rows of files.
    pub(crate) fn all_of(&self, files: &[Add]) -> Result<Data> {
        let tasks = files.iter().map(|it| ScanTask::from_add(self.head, it));
        Ok(self.rows(tasks.collect::<Result<_>>()?)?.into())
    }

    /// Hands the rows that match of files that hold both kinds to `write`, which writes them; gives
    /// what it has written, if it was as many as were found before.
    pub(crate) async fn take_out<W>(
        &self,
        done: &Rewritten,
        write: impl FnOnce(Data) -> W,
    ) -> Result<Vec<Add>>
    where
        W: Future<Output = Result<Vec<Add>>>,
    {
        let tasks = done.both.iter().map(|it| ScanTask::from_add(self.head, it));
        let sieve = Arc::new(Sieve::new(self.head, self.filter, true));
        let written = write(self.sifted(tasks.collect::<Result<_>>()?, &sieve)?).await?;
        self.compare(done.matching, &sieve.passed, keys(&written)?).await?;
        Ok(written)
    }

    /// Both looks have found as many rows to leave, or the new files go again.
    async fn compare(&self, expected: u64, left: &AtomicU64, added: Vec<String>) -> Result<()> {
        let left = left.load(Relaxed);
        if left == expected {
            return Ok(());
        }
        self.context.discard(&added).await;
        let what = format!(
            "of the files to rewrite {left} rows match the filter, but {expected} by what their \
             row groups and pages say"
        );
        Err(Error::new(Code::CorruptData, what).at(self.context.store.location()))
    }
}

/// The object keys of files.
pub(crate) fn keys(files: &[Add]) -> Result<Vec<String>> {
    files.iter().map(|it| uri::decode(&it.path).map(Cow::into_owned)).collect()
}

/// Lets the rows of batches pass that match, or those that do not, and counts both kinds.
struct Sieve {
    filter: Expr,
    schema: Arc<Schema>,
    /// Which kind passes.
    matching: bool,
    passed: AtomicU64,
    stopped: AtomicU64,
}

impl Sieve {
    fn new(head: &Head, filter: &Expr, matching: bool) -> Sieve {
        let (filter, schema) = (filter.clone(), Arc::clone(&head.schema));
        let (passed, stopped) = (AtomicU64::new(0), AtomicU64::new(0));
        Sieve { filter, schema, matching, passed, stopped }
    }

    fn sift(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let matches = eval::matches(&self.filter, &self.schema, batch)?;
        let passes: BooleanArray =
            matches.values().iter().map(|it| Some(it == self.matching)).collect();
        let passed = filter_record_batch(batch, &passes)
            .map_err(|it| Error::internal("rows cannot be taken out").because(it))?;
        let stopped = batch.num_rows() - passed.num_rows();
        self.passed.fetch_add(passed.num_rows() as u64, Relaxed);
        self.stopped.fetch_add(stopped as u64, Relaxed);
        Ok(passed)
    }
}

/// The remove of a file.
pub(crate) fn remove(add: Add, now: i64) -> Remove {
    Remove {
        path: add.path,
        deletion_timestamp: Some(now),
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values),
        size: Some(add.size),
        deletion_vector: add.deletion_vector,
        base_row_id: add.base_row_id,
        default_row_commit_version: add.default_row_commit_version,
    }
}
