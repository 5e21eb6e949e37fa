//! The input of a write, one step at a time, cast to the table's shape and split by partition.
//!
//! Batches come in any size. A step is large enough to be worth spreading over threads, and small
//! enough that two of them, the one being written and the one being prepared, cost little memory.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::StreamExt;
use lakebed_log::error::{Error, Result};
use lakebed_log::schema::{self, ArrowOptions, Schema};

use super::split::{Parts, Splitter};
use super::{Data, Rows, input};
use crate::env::Env;

/// Steps have at most this many bytes.
const STEP_BYTES: usize = 16 << 20;
/// A step begins with at most this many rows, and small batches are gathered to half of it.
const STEP_ROWS: usize = 1 << 18;
/// Steps have at least this many bytes, however small the files.
const STEP_BYTES_MIN: usize = 1 << 16;

/// Yields steps.
pub(super) struct Input {
    pull: Pull,
    /// The rest of a batch larger than a step.
    carry: VecDeque<RecordBatch>,
    /// Gone while a job has it.
    splitter: Option<Splitter>,
    table: Arc<Schema>,
    arrow: ArrowOptions,
    step: usize,
}

impl Input {
    /// Steps no larger than a file should be.
    pub(super) fn new(
        env: &Env,
        data: Data,
        table: Arc<Schema>,
        arrow: ArrowOptions,
        splitter: Splitter,
        file_bytes: u64,
    ) -> Input {
        let step = usize::try_from(file_bytes).unwrap_or(STEP_BYTES);
        Input {
            pull: Pull::new(env, data),
            carry: VecDeque::new(),
            splitter: Some(splitter),
            table,
            arrow,
            step: step.clamp(STEP_BYTES_MIN, STEP_BYTES),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Parts>> {
        let mut splitter =
            self.splitter.take().ok_or_else(|| Error::internal("the input failed before"))?;
        let mut raw = Vec::new();
        let mut room = (self.step, STEP_ROWS / 2);
        while 0 < room.0 && 0 < room.1 {
            let Some(batch) = self.batch().await? else { break };
            room.0 = room.0.saturating_sub(batch_bytes(&batch));
            room.1 = room.1.saturating_sub(batch.num_rows());
            raw.push(batch);
        }
        if raw.is_empty() {
            return Ok(None);
        }
        let (table, arrow) = (Arc::clone(&self.table), self.arrow);
        let bytes = raw.iter().map(batch_bytes).sum();
        let work = move || {
            let conform = |it| schema::conform(it, &table, arrow);
            let batches = raw.iter().map(conform).collect::<Result<Vec<_>>>()?;
            let parts = splitter.split(&batches)?;
            Ok((splitter, parts))
        };
        let (splitter, parts) = self.pull.env.compute_of(bytes, work).await?;
        self.splitter = Some(splitter);
        Ok(Some(parts))
    }

    /// The next batch with rows, no larger than a step.
    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.carry.pop_front() {
            return Ok(Some(batch));
        }
        let batch = loop {
            match self.pull.next().await? {
                Some(batch) if batch.num_rows() == 0 => (),
                Some(batch) => break batch,
                None => return Ok(None),
            }
        };
        let steps = batch_bytes(&batch).div_ceil(self.step).max(1);
        let len = batch.num_rows().div_ceil(steps).clamp(1, STEP_ROWS);
        if batch.num_rows() <= len {
            return Ok(Some(batch));
        }
        let starts = (0..batch.num_rows()).step_by(len);
        self.carry.extend(starts.map(|it| batch.slice(it, len.min(batch.num_rows() - it))));
        Ok(self.carry.pop_front())
    }
}

/// The raw input.
struct Pull {
    env: Env,
    /// Gone at the end.
    rows: Option<Rows>,
}

impl Pull {
    fn new(env: &Env, data: Data) -> Pull {
        Pull { env: env.clone(), rows: Some(data.rows) }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = match self.rows.take() {
            None => return Ok(None),
            Some(Rows::Stream(mut stream)) => {
                let next = stream.next().await;
                self.rows = Some(Rows::Stream(stream));
                next
            }
            Some(Rows::Reader(mut reader)) => {
                let work = move || {
                    let next = reader.next();
                    Ok((reader, next))
                };
                // It may wait, and even for work on the compute threads: it must not hold one.
                let (reader, next) = self.env.block(work).await?;
                self.rows = Some(Rows::Reader(reader));
                next.map(|it| it.map_err(input))
            }
        };
        if next.is_none() {
            self.rows = None;
        }
        next.transpose()
    }
}

/// Is there no row at all?
pub(super) async fn is_empty(env: &Env, data: Data) -> Result<bool> {
    let mut pull = Pull::new(env, data);
    while let Some(batch) = pull.next().await? {
        if 0 < batch.num_rows() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bytes of the rows of a batch, not of the buffers that they are cut from.
pub(super) fn batch_bytes(batch: &RecordBatch) -> usize {
    let size = |it: &arrow_array::ArrayRef| it.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(size).sum()
}
