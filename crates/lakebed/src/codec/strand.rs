//! Columns encoded side by side, none of which waits for another.
//!
//! Columns differ in what they cost, and a few threads share them never quite evenly. If all of
//! them waited for the slowest with every step, cores would rest as often. So each strand, which is
//! a column or some small ones, has a queue of its own, and goes on to its next step when it is
//! done with one; who hands out the steps stays one ahead.
//!
//! ```text
//!   strand 0   | step 0       | step 1       | step 2 ..
//!   strand 1   | step 0 | step 1 | step 2 |
//!   strand 2   | step 0 |   | step 1 |   | step 2 ..
//!                                ^ handed out when all have done step 0
//! ```
//!
//! What a step has come to is told when all strands have done it, one step after the other: it
//! depends on the rows and never on who was faster.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use lakebed_log::error::{Error, Result};
use lakebed_log::pages::Chunk;

use super::column::Column;
use super::writer::array_bytes;
use crate::env::{BoxFuture, Env};

/// So many strands keep a core busy: few, because each step of one is a job and a wake-up, and
/// enough that the last one to finish is short.
const STRANDS_PER_CORE: usize = 4;

/// All columns of a file.
pub(super) struct Strands {
    env: Env,
    /// Columns, before the first step.
    columns: Vec<Column>,
    /// Widest first, after it.
    strands: Vec<Strand>,
}

/// Rows to write, and whether the row group ends with them.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) batches: Arc<[RecordBatch]>,
    pub(super) close: bool,
}

/// What a step has come to.
#[derive(Default)]
pub(super) struct Done {
    /// Bytes of the open row group once it is encoded, an estimate.
    pub(super) estimate: u64,
    /// Bytes of the open row group that are in memory.
    pub(super) held: u64,
    /// The row group that was closed, by column.
    pub(super) chunks: Vec<(usize, Vec<Chunk>)>,
}

/// A step of some columns under way.
type Job = BoxFuture<'static, Result<(Vec<Column>, Done)>>;

/// Columns that are encoded one after another.
#[derive(Default)]
struct Strand {
    /// Gone while a job has them, and for good once a job failed.
    columns: Option<Vec<Column>>,
    running: Option<Job>,
    todo: VecDeque<Step>,
    done: VecDeque<Done>,
}

impl Strands {
    pub(super) fn new(env: &Env, columns: Vec<Column>) -> Strands {
        Strands { env: env.clone(), columns, strands: Vec::new() }
    }

    /// Has there been a step?
    pub(super) fn began(&self) -> bool {
        !self.strands.is_empty()
    }

    /// Hands out a step to all columns.
    pub(super) fn push(&mut self, step: &Step) {
        if !self.began() {
            self.deal(&step.batches);
        }
        self.strands.iter_mut().for_each(|it| it.todo.push_back(step.clone()));
    }

    /// Deals out the columns, the widest first, each to the strand that has the least.
    fn deal(&mut self, batches: &[RecordBatch]) {
        let width = |at: usize| -> usize {
            batches.iter().filter_map(|it| it.columns().get(at)).map(array_bytes).sum()
        };
        let mut columns: Vec<(usize, Column)> =
            self.columns.drain(..).map(|it| (width(it.at), it)).collect();
        columns.sort_by_key(|(width, it)| (usize::MAX - width, it.at));
        let count = (self.env.cores() * STRANDS_PER_CORE).clamp(1, columns.len().max(1));
        let mut dealt: Vec<(usize, Vec<Column>)> = Vec::new();
        dealt.resize_with(count, Default::default);
        for (width, column) in columns {
            if let Some((all, columns)) = dealt.iter_mut().min_by_key(|it| it.0) {
                // A column without bytes is work, too.
                *all += width.max(1);
                columns.push(column);
            }
        }
        dealt.sort_by_key(|(width, _)| usize::MAX - width);
        let strand = |columns| Strand { columns: Some(columns), ..Strand::default() };
        self.strands = dealt.into_iter().map(|it| strand(it.1)).collect();
    }

    /// Works until no strand has more than `ahead` steps left.
    pub(super) async fn settle(&mut self, ahead: usize) -> Result<()> {
        poll_fn(|context| {
            for it in &mut self.strands {
                it.advance(&self.env, context)?;
            }
            match self.strands.iter().all(|it| it.left() <= ahead) {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// What the next step has come to, once all strands have done it.
    pub(super) fn pop(&mut self) -> Result<Done> {
        let mut all = Done::default();
        for it in &mut self.strands {
            let done = it.done.pop_front().ok_or_else(|| Error::internal("a step is not done"))?;
            all.estimate += done.estimate;
            all.held += done.held;
            all.chunks.extend(done.chunks);
        }
        all.chunks.sort_by_key(|it| it.0);
        Ok(all)
    }

    /// The columns, in order. No step may be left.
    pub(super) fn take(&mut self) -> Result<Vec<Column>> {
        let mut columns = std::mem::take(&mut self.columns);
        for it in self.strands.drain(..) {
            columns.extend(it.columns.ok_or_else(gone)?);
        }
        columns.sort_by_key(|it| it.at);
        Ok(columns)
    }
}

impl Strand {
    /// Goes as far as it can.
    fn advance(&mut self, env: &Env, context: &mut Context<'_>) -> Result<()> {
        loop {
            let Some(job) = &mut self.running else {
                let Some(step) = self.todo.pop_front() else { return Ok(()) };
                let columns = self.columns.take().ok_or_else(gone)?;
                self.running = Some(Box::pin(env.compute(move || work(columns, &step))));
                continue;
            };
            let Poll::Ready(done) = job.as_mut().poll(context) else { return Ok(()) };
            self.running = None;
            let (columns, done) = done?;
            self.columns = Some(columns);
            self.done.push_back(done);
        }
    }

    fn left(&self) -> usize {
        self.todo.len() + usize::from(self.running.is_some())
    }
}

fn work(mut columns: Vec<Column>, step: &Step) -> Result<(Vec<Column>, Done)> {
    let mut done = Done::default();
    for column in &mut columns {
        step.batches.iter().try_for_each(|it| column.write(it))?;
        if step.close {
            done.chunks.push((column.at, column.close()?));
        }
        done.estimate += column.estimate();
        done.held += column.held();
    }
    Ok((columns, done))
}

fn gone() -> Error {
    Error::internal("the file failed before")
}
