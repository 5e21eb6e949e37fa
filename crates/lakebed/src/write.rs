//! Record batches to data files with statistics.
//!
//! ```text
//!   Data --> conform --> split by partition --> waiting rows --> open file --> finished file
//!            `------ one step ahead ------'     per partition      rolls         Add
//! ```
//!
//! The next step of the input is cast and split on the compute threads while the step before it is
//! encoded, and finished files become durable while the rest goes on. A partition opens a file only
//! when it has rows worth one, so a table of many small partitions does not hold a handle for each.
//!
//! Memory is taken from the budget once, before the first row. When the open files outgrow it, the
//! largest is finished early: its partition gets one more file, which is worse for readers and
//! better than failing.

mod data;
mod input;
mod split;
mod void;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::future::{join, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use lakebed_log::action::Add;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::property::Properties;
use lakebed_log::schema::Schema;
use lakebed_log::stats::{self, Collector, Stats};
use lakebed_log::uri;

use crate::codec::{FileOptions, FileWriter, Written};
use crate::env::{BoxFuture, Deadline, Env};
use crate::op::Op;
use crate::store::Store;
use data::{Rows, input};
use input::{Input, batch_bytes, is_empty};

pub use data::{Data, Layout};
use split::{PartitionValues, Parts, Splitter};

/// A partition opens a file when it has this many bytes waiting.
const OPEN_BYTES: usize = 1 << 20;
/// Most files open at once.
const OPEN_MAX: usize = 64;
/// Most files being finished at once.
const FINISHING_MAX: usize = 16;
/// Most memory that one write takes from the pool of writes; never more than half of it.
const MEMORY_MAX: u64 = 256 << 20;
/// Least memory that one write takes from the budget.
const MEMORY_MIN: u64 = 1 << 20;

/// Writes rows as data files of the table: conforms to the schema, splits by partition, rolls,
/// collects statistics. Files are durable with the next commit or [`Store::settle`]; they are named
/// by nothing but the result.
///
/// Files are numbered in the order in which they were opened; the result is in that order. A
/// partition that is not at the end of the input stays open; memory is bounded by the budget: past
/// it the largest open files are finished early. Rows of a partition keep their order.
///
/// `folder` is where they go, with `/` at its end: empty for data files.
///
/// Dropping the future leaves what was finished behind, as files that no version names.
///
/// # Errors
///
/// `schema-mismatch` and `invalid-data` as [`conform`](lakebed_log::schema::conform) says;
/// `invalid-data` for a partition column that is not null and has no value; `unsupported-data` for
/// void where a file cannot leave it out; `invalid-argument` for an unknown compression; what the
/// input itself says; what the store says; `deadline-exceeded`; `memory-exceeded` if the budget is
/// less than the least that a write needs. On any error the files written so far are removed, as
/// far as the store allows.
#[allow(clippy::too_many_arguments, reason = "all of a table and of the wish, no more")]
pub(crate) async fn write(
    env: &Env,
    op: &Op,
    store: &Store,
    data: Data,
    folder: &str,
    schema: &Schema,
    partition_columns: &[String],
    properties: &Properties,
    layout: &Layout,
    deadline: &Deadline,
) -> Result<Vec<Add>> {
    let total = env.write_budget().total();
    let most = MEMORY_MAX.min(total / 2).max(MEMORY_MIN);
    let memory = match data.bytes {
        Some(bytes) => bytes.saturating_mul(3).clamp(MEMORY_MIN, most),
        None => most,
    };
    // More than a pool that is too small for any write has: then it says so.
    let permit = env.write_budget().acquire(memory);
    let _permit = env.until(deadline, "waiting for memory", permit).await?;

    let table = Arc::new(schema.clone());
    let (kept, file_schema) = match void::physical(&schema.to_arrow(), partition_columns) {
        Ok(physical) => physical,
        Err(err) => return if is_empty(env, data).await? { Ok(Vec::new()) } else { Err(err) },
    };
    let splitter = Splitter::new(schema, partition_columns, kept, Arc::clone(&file_schema))?;

    let options = options(layout, properties, memory);
    let target = target(layout, properties);
    let context = Context {
        env: env.clone(),
        op: op.clone(),
        store: store.clone(),
        file_schema,
        extension: env.codec().extension(&options),
        options,
        folder: folder.to_string(),
        table: Arc::clone(&table),
        partition_columns: partition_columns.to_vec(),
        properties: properties.clone(),
        target,
        memory,
    };
    let input = Input::new(env, data, table, layout.arrow, splitter, target.min(memory / 4));
    let mut files = Files::new(Arc::new(context));
    let done = env.until(deadline, "writing data files", files.run(input)).await;
    match done {
        Ok(()) => {
            // The commit waits for it, and there is much to do until then.
            drop(store.begin_to_settle());
            Ok(files.done.into_values().collect())
        }
        Err(err) => {
            let removed = env.spawn(async move {
                files.discard().await;
                Ok(())
            });
            // Past the deadline nobody waits for it, but it goes on.
            if err.code() != Code::DeadlineExceeded {
                removed.await?;
            }
            Err(err)
        }
    }
}

/// Files of the layout, in memory that the write has.
fn options(layout: &Layout, properties: &Properties, memory: u64) -> FileOptions {
    let half = usize::try_from(memory / 2).unwrap_or(usize::MAX);
    FileOptions {
        row_group_rows: layout.row_group_rows.max(1),
        row_group_bytes: layout.row_group_bytes.min(half).max(1),
        page_rows: layout.page_rows.max(1),
        page_bytes: layout.page_bytes.max(1),
        compression: layout
            .compression
            .clone()
            .unwrap_or_else(|| (properties.compression.unwrap_or("zstd").to_string(), None)),
    }
}

fn target(layout: &Layout, properties: &Properties) -> u64 {
    let default = Layout::default().target_file_bytes;
    match properties.target_file_bytes {
        Some(bytes) if layout.target_file_bytes == default => bytes,
        _ => layout.target_file_bytes,
    }
}

/// What every file of a write shares.
struct Context {
    env: Env,
    op: Op,
    store: Store,
    file_schema: SchemaRef,
    options: FileOptions,
    extension: String,
    /// Below the table's root, with `/` at its end; empty for data files.
    folder: String,
    table: Arc<Schema>,
    partition_columns: Vec<String>,
    properties: Properties,
    target: u64,
    memory: u64,
}

/// All files of a write.
struct Files {
    context: Arc<Context>,
    partitions: Vec<Partition>,
    finishing: FuturesUnordered<BoxFuture<'static, (String, u64, Result<Add>)>>,
    /// By number.
    done: BTreeMap<u64, Add>,
    /// Keys of files that are whole.
    keys: Vec<String>,
    failed: Option<Error>,
    opened: u64,
    rows: u64,
}

/// One partition: rows that wait for a file, or an open file.
struct Partition {
    values: PartitionValues,
    folder: String,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    open: Option<Open>,
}

/// An open file.
struct Open {
    number: u64,
    key: String,
    writer: Box<dyn FileWriter>,
    /// Gone while a job has it.
    collector: Option<Collector>,
}

impl Files {
    fn new(context: Arc<Context>) -> Files {
        Files {
            context,
            partitions: Vec::new(),
            finishing: FuturesUnordered::new(),
            done: BTreeMap::new(),
            keys: Vec::new(),
            failed: None,
            opened: 0,
            rows: 0,
        }
    }

    /// Takes the input one step ahead of what is written.
    async fn run(&mut self, mut input: Input) -> Result<()> {
        let mut next = input.next().await?;
        while let Some(parts) = next {
            let (pulled, wrote) = join(input.next(), self.take(parts)).await;
            wrote?;
            next = pulled?;
        }
        for at in 0..self.partitions.len() {
            self.settle(FINISHING_MAX).await?;
            self.finish(at);
        }
        self.settle(1).await
    }

    async fn take(&mut self, parts: Parts) -> Result<()> {
        let rows: usize = parts.rows.iter().map(|it| it.1.num_rows()).sum();
        self.rows += rows as u64;
        self.context.op.rows(rows as u64);
        self.context.op.progress("write", self.rows, 0);
        for values in parts.new {
            self.partitions.push(Partition::new(&self.context, values));
        }
        let mut touched = Vec::new();
        for (at, batch) in parts.rows {
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.waiting_bytes += batch_bytes(&batch);
                partition.waiting.push(batch);
                touched.push(at);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        self.feed(&touched).await?;
        for at in touched {
            let open = self.partitions.get(at).and_then(|it| it.open.as_ref());
            if open.is_some_and(|it| self.context.target <= it.writer.bytes()) {
                self.settle(FINISHING_MAX).await?;
                self.finish(at);
            }
        }
        self.shrink().await
    }

    /// Writes the waiting rows of partitions that have a file, or enough rows for one.
    async fn feed(&mut self, touched: &[usize]) -> Result<()> {
        let context = &self.context;
        let mut jobs = Vec::new();
        for at in touched {
            if let Some(it) = self.partitions.get(*at)
                && it.open.is_none()
                && OPEN_BYTES <= it.waiting_bytes
            {
                let open = Open::new(context, &it.folder, self.opened).await?;
                self.opened += 1;
                if let Some(it) = self.partitions.get_mut(*at) {
                    it.open = Some(open);
                }
            }
        }
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            if touched.binary_search(&at).is_ok()
                && let Some(open) = &mut partition.open
            {
                partition.waiting_bytes = 0;
                jobs.push(open.feed(&context.env, std::mem::take(&mut partition.waiting)));
            }
        }
        let work = join_all(jobs);
        let results =
            alongside(work, &mut self.finishing, &mut self.done, &mut self.keys, &mut self.failed)
                .await;
        results.into_iter().collect()
    }

    /// Finishes the largest files until the rest fits in memory.
    async fn shrink(&mut self) -> Result<()> {
        loop {
            let open = self.partitions.iter().filter(|it| it.open.is_some()).count();
            let memory: u64 = self.partitions.iter().map(Partition::memory).sum();
            if open <= OPEN_MAX && memory <= self.context.memory {
                return Ok(());
            }
            let only_open = OPEN_MAX < open;
            let sizes = self.partitions.iter().enumerate();
            let sizes = sizes.filter(|(_, it)| !only_open || it.open.is_some());
            let largest = sizes.max_by_key(|(at, it)| (it.memory(), usize::MAX - at));
            let Some((at, _)) = largest else { return Ok(()) };
            self.finish(at);
            self.settle(2).await?;
        }
    }

    /// Lets the files being finished get below `most`, and gives the first error of one.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while most <= self.finishing.len()
            && let Some(it) = self.finishing.next().await
        {
            note(it, &mut self.done, &mut self.keys, &mut self.failed);
        }
        match self.failed.take() {
            Some(err) => Err(err),
            None => Ok(()),
        }
    }

    /// Starts to finish what a partition holds.
    fn finish(&mut self, at: usize) {
        let Some(partition) = self.partitions.get_mut(at) else { return };
        let waiting = std::mem::take(&mut partition.waiting);
        partition.waiting_bytes = 0;
        let open = partition.open.take();
        if open.is_none() && waiting.is_empty() {
            return;
        }
        let number = match &open {
            Some(open) => open.number,
            None => {
                self.opened += 1;
                self.opened - 1
            }
        };
        let context = Arc::clone(&self.context);
        let (folder, values) = (partition.folder.clone(), partition.values.clone());
        self.finishing.push(Box::pin(async move {
            let open = match open {
                Some(open) => Ok(open),
                None => Open::new(&context, &folder, number).await,
            };
            match open {
                Ok(open) => {
                    (open.key.clone(), number, open.finish(&context, waiting, values).await)
                }
                Err(err) => (String::new(), number, Err(err)),
            }
        }));
    }

    /// Removes everything, as far as the store allows.
    async fn discard(mut self) {
        let open = self.partitions.iter_mut().filter_map(|it| it.open.take());
        join_all(open.map(|it| it.writer.abort())).await;
        while let Some(it) = self.finishing.next().await {
            note(it, &mut self.done, &mut self.keys, &mut self.failed);
        }
        for key in self.keys {
            let _ = self.context.store.delete(&self.context.op, &key).await;
        }
    }
}

/// Does `work` while files are being finished beside it.
async fn alongside<T>(
    work: impl Future<Output = T>,
    finishing: &mut FuturesUnordered<BoxFuture<'static, (String, u64, Result<Add>)>>,
    done: &mut BTreeMap<u64, Add>,
    keys: &mut Vec<String>,
    failed: &mut Option<Error>,
) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        while let Poll::Ready(Some(it)) = finishing.poll_next_unpin(context) {
            note(it, done, keys, failed);
        }
        work.as_mut().poll(context)
    })
    .await
}

fn note(
    (key, number, result): (String, u64, Result<Add>),
    done: &mut BTreeMap<u64, Add>,
    keys: &mut Vec<String>,
    failed: &mut Option<Error>,
) {
    match result {
        Ok(add) => {
            done.insert(number, add);
            keys.push(key);
        }
        Err(err) => {
            failed.get_or_insert(err);
        }
    }
}

impl Partition {
    fn new(context: &Context, values: PartitionValues) -> Partition {
        let folder = context.partition_columns.iter().map(|name| {
            let value = values.get(name).and_then(Option::as_deref);
            uri::partition_folder(name, value) + "/"
        });
        let folder = context.folder.clone() + &folder.collect::<String>();
        Partition { values, folder, waiting: Vec::new(), waiting_bytes: 0, open: None }
    }

    fn memory(&self) -> u64 {
        self.waiting_bytes as u64 + self.open.as_ref().map_or(0, |it| it.writer.memory())
    }
}

impl Open {
    async fn new(context: &Context, folder: &str, number: u64) -> Result<Open> {
        let id = context.env.id();
        let key = format!("{folder}part-{number:05}-{id}.c000{}", context.extension);
        let upload = context.store.create(&context.op, &key).await?;
        let schema = Arc::clone(&context.file_schema);
        let codec = context.env.codec();
        let writer = codec.write(&context.env, &context.op, upload, schema, &context.options)?;
        let collector =
            Collector::new(&context.table, &context.partition_columns, &context.properties);
        Ok(Open { number, key, writer, collector: Some(collector) })
    }

    /// Writes rows and takes their statistics, side by side. The statistics come first: the columns
    /// go on when this has returned.
    async fn feed(&mut self, env: &Env, batches: Vec<RecordBatch>) -> Result<()> {
        let mut collector =
            self.collector.take().ok_or_else(|| Error::internal("the file failed before"))?;
        let seen = batches.clone();
        let bytes = seen.iter().map(batch_bytes).sum();
        let stats = async {
            let take = move || {
                seen.iter().try_for_each(|it| collector.update(it))?;
                Ok(collector)
            };
            env.compute_of(bytes, take).await
        };
        let writer = &mut self.writer;
        let rows = async move {
            for batch in batches {
                writer.write(batch).await?;
            }
            Ok(())
        };
        let (stats, rows) = join(stats, rows).await;
        self.collector = Some(stats?);
        rows
    }

    async fn finish(
        mut self,
        context: &Context,
        waiting: Vec<RecordBatch>,
        values: PartitionValues,
    ) -> Result<Add> {
        if !waiting.is_empty()
            && let Err(err) = self.feed(&context.env, waiting).await
        {
            self.writer.abort().await;
            return Err(err);
        }
        let Some(collector) = self.collector else {
            return Err(Error::internal("the file failed before"));
        };
        let written = self.writer.finish().await?;
        let stats = collector.finish().to_json();
        if let Err(err) = check(&stats, &written, &context.table) {
            let _ = context.store.delete(&context.op, &self.key).await;
            return Err(err.at(self.key));
        }
        let size = i64::try_from(written.size)
            .map_err(|_| Error::internal("a data file is larger than a number of the log"))?;
        Ok(Add {
            path: uri::encode(&self.key),
            partition_values: values,
            size,
            modification_time: context.env.now().as_millis(),
            data_change: true,
            stats: Some(stats),
            ..Add::default()
        })
    }
}

/// Do the statistics, as readers will find them, hold for the file as its own footer has it? A file
/// whose statistics lie loses rows without a trace, so no commit may name it.
fn check(stats: &str, written: &Written, table: &Schema) -> Result<()> {
    let said = Stats::from_json(stats, table, None);
    if said.num_records != Some(written.rows) {
        let rows = said.num_records.unwrap_or(0);
        let what = format!("statistics of {rows} rows for a file of {}", written.rows);
        return Err(Error::internal(what));
    }
    match stats::disagreement(&said, &written.recorded) {
        Some(what) => Err(Error::internal(format!("statistics do not fit the file: {what}"))),
        None => Ok(()),
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
