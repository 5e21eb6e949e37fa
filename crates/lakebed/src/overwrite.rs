//! `Overwrite`: replaces rows.
//!
//! Removes files and adds new ones in one commit. Partition values and statistics decide which
//! files leave whole and which stay, unread; what is left are files that may hold both kinds of
//! rows, and those are rewritten without the rows that are replaced. What it removes it has read,
//! as far as conflicts go: rows that others add meanwhile where this one replaces must not survive
//! unseen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::FieldRef;
use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::{Add, SetTransaction};
use lakebed_log::batch::Width;
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Reads;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::{CompareOp, Expr};
use lakebed_log::scan;
use lakebed_log::schema::{self, ArrowOptions, DataType, Schema};
use lakebed_log::skip::Skipper;
use lakebed_log::state::{Head, TableState};
use lakebed_log::stats::{Reader, Stats};
use lakebed_log::uri;
use lakebed_log::value::Value;

use crate::append::{Append, Target};
use crate::create;
use crate::load;
use crate::rewrite::{self, Rewrite};
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};
use crate::write::Data;

mod changes;

use changes::Files;

/// With more partitions than this, what was read counts as everything: a filter of their names
/// would cost more than the conflicts it avoids.
const PARTITIONS_NAMED_MAX: usize = 1_000;

/// Options of [`crate::Table::overwrite`]. An inert value: building one does nothing.
///
/// ```
/// # use lakebed::{Append, Overwrite, col, lit};
/// let day = Overwrite::filter(col("day").eq(lit("2026-08-01")));
/// let all = Overwrite::all().options(Append::new().evolve_schema(true));
/// assert_ne!(day, all);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Overwrite {
    pub(crate) filter: Option<Expr>,
    pub(crate) other_rows: bool,
    pub(crate) partitions: bool,
    pub(crate) append: Append,
}

impl Overwrite {
    /// All rows of the table.
    ///
    /// ```
    /// # use lakebed::Overwrite;
    /// assert_eq!(Overwrite::all(), Overwrite::default());
    /// ```
    pub fn all() -> Overwrite {
        Overwrite::default()
    }

    /// Rows that match. Every new row must match too, see [`Overwrite::other_rows`].
    ///
    /// Files that hold matching rows and others are written anew, without the matching ones; a
    /// filter that names partition columns only reads no data.
    ///
    /// ```
    /// # use lakebed::{Overwrite, col, lit};
    /// let day = Overwrite::filter(col("day").eq(lit("2026-08-01")));
    /// # let _ = day;
    /// ```
    pub fn filter(filter: Expr) -> Overwrite {
        Overwrite { filter: Some(filter), ..Overwrite::default() }
    }

    /// Takes new rows that do not match the filter. Defaults to `false`: they are an error, because
    /// the same overwrite run again would not replace them.
    ///
    /// ```
    /// # use lakebed::{Overwrite, col, lit};
    /// let moved = Overwrite::filter(col("day").eq(lit("2026-08-01"))).other_rows(true);
    /// # let _ = moved;
    /// ```
    pub fn other_rows(self, allowed: bool) -> Overwrite {
        Overwrite { other_rows: allowed, ..self }
    }

    /// All rows of the partitions that the new rows name (Spark's dynamic partition overwrite).
    ///
    /// ```
    /// # use lakebed::Overwrite;
    /// assert_ne!(Overwrite::partitions(), Overwrite::all());
    /// ```
    pub fn partitions() -> Overwrite {
        Overwrite { partitions: true, ..Overwrite::default() }
    }

    /// Everything else that an append knows: layout, once, schema evolution, properties.
    ///
    /// ```
    /// # use lakebed::{Append, Overwrite};
    /// let once = Overwrite::all().options(Append::new().once("nightly", 12));
    /// # let _ = once;
    /// ```
    pub fn options(self, append: Append) -> Overwrite {
        Overwrite { append, ..self }
    }
}

impl Snapshot {
    /// Overwrites what this version holds: see [`crate::Table::overwrite`].
    ///
    /// # Errors
    ///
    /// As [`crate::Table::overwrite`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/o-overwrite").await?;
    /// let done = table.append(rows.clone(), Append::new()).await?;
    /// let done = done.snapshot().overwrite(rows, Overwrite::all()).await?;
    /// assert_eq!(done.version(), Version::from(1));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn overwrite(&self, data: impl Into<Data>, options: Overwrite) -> Result<Committed> {
        self.check_committed()?;
        let context = Context::new(self.env(), &self.op(), self.store());
        let done = overwrite(&context, Some(self), data.into(), &options).await?;
        Ok(done.logged("overwrite", &context))
    }
}

/// Replaces rows of `base`, or makes a table of the new ones.
pub(crate) async fn overwrite(
    context: &Context,
    base: Option<&Snapshot>,
    data: Data,
    options: &Overwrite,
) -> Result<Committed> {
    let staged = match (prepare(context, base, data, options).await?, base) {
        (Some(staged), _) => staged,
        (None, Some(base)) if options.append.once.is_some() => {
            return txn::done_already(context, base.clone()).await;
        }
        (None, Some(base)) => return Ok(Committed::unchanged(&context.op, base.clone())),
        (None, None) => return Err(Error::internal("nothing to do without a table")),
    };
    let (files, txns) = (staged.files.clone(), staged.draft.txns.clone());
    match txn::commit_staged(context, base, staged).await {
        Err(it) if txn::is_creation_lost(&it) => {
            context.discard(&files).await;
            match options.append.only_create {
                true => Err(create::exists().at(context.store.location()).because(it)),
                false => lost(context, &txns, it).await,
            }
        }
        done => done,
    }
}

/// Another writer made the table first: what stands there may be another run of this overwrite.
async fn lost(context: &Context, txns: &[SetTransaction], error: Error) -> Result<Committed> {
    let Context { env, op, store, .. } = context;
    if txns.is_empty() {
        return Err(error);
    }
    let opened = context.bounded("opening the table", load::open(env, op, store, None)).await?;
    let there = Snapshot::new(env, store, None, opened, None);
    match txns.iter().any(|it| txn::covered(there.head(), it)) {
        true => txn::done_already(context, there).await,
        false => Err(error),
    }
}

/// Writes the new rows and gives the commit that puts them in place of others; `None` if it would
/// change nothing.
pub(crate) async fn prepare(
    context: &Context,
    base: Option<&Snapshot>,
    data: Data,
    options: &Overwrite,
) -> Result<Option<Staged>> {
    let target = Target::new(context, base, &data, &options.append)?;
    if let (Some(base), Some(txn)) = (base, target.txn(context, &options.append))
        && txn::covered(base.head(), &txn)
    {
        return Ok(None);
    }
    let which = Which::new(options, &target, base).map_err(|it| it.at(context.store.location()))?;
    let state = match base {
        Some(base) => {
            let files = base.state(&context.op, which.width());
            Some(context.bounded("reading the file list", files).await?)
        }
        None => None,
    };
    let append_only = base.is_some_and(|it| it.head().properties.append_only);
    if append_only && state.as_ref().is_some_and(|it| !it.files.is_empty()) {
        let what = "the table is append-only (property `delta.appendOnly` is true)";
        return Err(Error::invalid(what).at(context.store.location()));
    }
    let data = match &options.filter {
        Some(asked) if !options.other_rows => {
            let check = RowCheck {
                asked: asked.to_string(),
                bound: asked.bind_filter(&target.schema)?,
                schema: target.schema.clone(),
                partition_columns: target.partition_columns.clone(),
                arrow: options.append.layout.arrow,
                rows: AtomicU64::new(0),
            };
            checked(context, data, check)
        }
        _ => data,
    };
    let adds = target.write(context, data, &options.append).await?;
    stage(context, target, options, which, state, adds).await
}

/// The commit, or `None` if it would change nothing. What was written is deleted if it fails.
async fn stage(
    context: &Context,
    target: Target,
    options: &Overwrite,
    which: Which,
    state: Option<Arc<TableState>>,
    adds: Vec<Add>,
) -> Result<Option<Staged>> {
    let notes = target.notes.clone();
    let mut draft = target.draft(context, &options.append, "Overwrite", adds);
    if let Some(filter) = &options.filter {
        draft.parameters.insert("predicate".into(), filter.to_string().into());
    }
    if let Some(state) = state {
        let written = Staged::new(draft.clone())?.files;
        let replaced = replace(context, &target, options, which, state, &mut draft).await;
        if let Err(it) = replaced {
            context.discard(&written).await;
            return Err(it.at(context.store.location()));
        }
        if draft.adds.is_empty() && draft.removes.is_empty() && draft.txns.is_empty() {
            return Ok(None);
        }
    }
    target.stage(&mut draft);
    let once = options.append.once.is_some();
    Ok(Some(Staged { once, notes, ..Staged::new(draft)? }))
}

/// Puts what leaves into the draft, with the files that take the place of those that hold other
/// rows too, and what all that means for conflicts.
async fn replace(
    context: &Context,
    target: &Target,
    options: &Overwrite,
    which: Which,
    state: Arc<TableState>,
    draft: &mut Draft,
) -> Result<()> {
    let (new, judged) = (draft.adds.clone(), Arc::clone(&state));
    let work = move || Ok((which.leaving(&judged, &new)?, which));
    let (leaving, which) = context.env.compute(work).await?;
    draft.intent.reads = leaving.reads;
    draft.intent.state = Some(Arc::clone(&state));
    let mut rows = leaving.rows;
    let mut removed = leaving.whole;
    if let Some(filter) = which.filter.as_ref().filter(|_| !leaving.perhaps.is_empty()) {
        let rewrite = Rewrite::new(context, &state.head, filter);
        let write = |data| target.write(context, data, &options.append);
        let done = rewrite.leave_out(leaving.perhaps, write).await?;
        if state.head.properties.enable_change_data_feed && !done.both.is_empty() {
            let files = Files { whole: &removed, rewritten: &done, new: &draft.adds };
            let told = changes::write(context, target, options, &rewrite, &state.head, files).await;
            draft.cdc = match told {
                Ok(it) => it,
                Err(it) => {
                    context.discard(&rewrite::keys(&done.added)?).await;
                    return Err(it);
                }
            };
            count(draft, "numAddedChangeFiles", draft.cdc.len());
        }
        rows = rows.and_then(|it| it.checked_add(done.deleted_rows));
        count(draft, "numCopiedRows", done.copied_rows);
        note_files(draft, &done.added);
        removed.extend(done.whole);
        removed.extend(done.both);
        draft.adds.extend(done.added);
    } else if which.filter.is_some() {
        count(draft, "numCopiedRows", 0);
    }
    if let Some(rows) = rows {
        count(draft, "numDeletedRows", rows);
    }
    let bytes: i64 = removed.iter().map(|it| it.size).fold(0, i64::saturating_add);
    count(draft, "numRemovedFiles", removed.len());
    count(draft, "numRemovedBytes", bytes);
    let now = context.env.now().as_millis();
    for add in removed {
        let vector = add.deletion_vector.as_ref().map(|it| it.unique_id());
        draft.intent.removes.insert((uri::canonical(&add.path).into_owned(), vector));
        draft.removes.push(rewrite::remove(add, now));
    }
    Ok(())
}

/// Numbers in metrics are text.
fn count(draft: &mut Draft, metric: &str, number: impl ToString) {
    draft.metrics.insert(metric.into(), number.to_string().into());
}

/// Rows that the caller gave are counted; files and bytes are of those that were copied too.
fn note_files(draft: &mut Draft, added: &[Add]) {
    let files = draft.adds.iter().chain(added);
    let (number, bytes) = files
        .fold((0usize, 0i64), |(number, bytes), it| (number + 1, bytes.saturating_add(it.size)));
    count(draft, "numFiles", number);
    count(draft, "numOutputBytes", bytes);
}

/// Refuses new rows that the overwrite would not replace if it were run again.
struct RowCheck {
    asked: String,
    bound: Expr,
    schema: Schema,
    partition_columns: Vec<String>,
    arrow: ArrowOptions,
    /// Rows seen so far.
    rows: AtomicU64,
}

impl RowCheck {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let conformed = schema::conform(batch, &self.schema, self.arrow)?;
        let conformed = as_stored(&conformed, &self.partition_columns)?;
        let matches = eval::matches(&self.bound, &self.schema, &conformed)?;
        let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        let before = self.rows.fetch_add(rows, Ordering::Relaxed);
        match matches.values().iter().position(|it| !it) {
            None => Ok(()),
            Some(row) => {
                let row = before.saturating_add(u64::try_from(row).unwrap_or(u64::MAX));
                let what = format!(
                    "row {row} (counted from 0) does not match the filter `{}` of the overwrite",
                    self.asked
                );
                Err(Error::new(Code::InvalidData, what))
            }
        }
    }
}

/// Rows as a filter will find them: an empty text or binary is null in a partition column.
fn as_stored(batch: &RecordBatch, partition_columns: &[String]) -> Result<RecordBatch> {
    let fields = batch.schema();
    let stored = |(field, it): (&FieldRef, &ArrayRef)| -> ArrayRef {
        if !partition_columns.contains(field.name()) {
            Arc::clone(it)
        } else if let Some(texts) = it.as_string_opt::<i32>() {
            let full = texts.iter().map(|it| it.filter(|it| !it.is_empty()));
            Arc::new(full.collect::<StringArray>())
        } else if let Some(bytes) = it.as_binary_opt::<i32>() {
            let full = bytes.iter().map(|it| it.filter(|it| !it.is_empty()));
            Arc::new(full.collect::<BinaryArray>())
        } else {
            Arc::clone(it)
        }
    };
    let columns = fields.fields().iter().zip(batch.columns()).map(stored).collect();
    let nullable = fields.fields().iter().map(|it| it.as_ref().clone().with_nullable(true));
    let schema = Arc::new(arrow_schema::Schema::new(nullable.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns)
        .map_err(|it| Error::internal("rows lost their shape").because(it))
}

fn checked(context: &Context, data: Data, check: RowCheck) -> Data {
    let (schema, stream) = data.into_parts(&context.env);
    let (env, check) = (context.env.clone(), Arc::new(check));
    let stream = stream.and_then(move |batch| {
        let (env, check) = (env.clone(), Arc::clone(&check));
        async move {
            let work = move || {
                check.check(&batch)?;
                Ok(batch)
            };
            env.compute(work).await
        }
    });
    Data::stream(schema, stream.boxed())
}

/// Which files leave.
struct Which {
    /// Bound to the schema of the version that is read, or of the table to make.
    filter: Option<Expr>,
    partitions: bool,
    schema: Arc<Schema>,
    columns: Vec<String>,
}

/// What is known of the files before one is opened.
struct Leaving {
    /// All rows leave.
    whole: Vec<Add>,
    /// Some rows may leave.
    perhaps: Vec<Add>,
    /// How many rows leave with whole files, where statistics say.
    rows: Option<u64>,
    reads: Reads,
}

/// Typed partition values by column.
type Partition = BTreeMap<String, Option<Value>>;

impl Which {
    fn new(options: &Overwrite, target: &Target, base: Option<&Snapshot>) -> Result<Which> {
        if options.partitions && target.partition_columns.is_empty() {
            let what = "the table has no partition columns, so no partitions to overwrite";
            return Err(Error::invalid(what));
        }
        let schema = match base {
            Some(base) => Arc::clone(base.schema()),
            None => Arc::new(target.schema.clone()),
        };
        let filter = options.filter.as_ref().map(|it| it.bind_filter(&schema)).transpose()?;
        let (partitions, columns) = (options.partitions, target.partition_columns.clone());
        Ok(Which { filter, partitions, schema, columns })
    }

    /// A filter is judged by statistics as well; without one they are not worth their memory.
    fn width(&self) -> Width {
        if self.filter.is_some() { Width::Wide } else { Width::Narrow }
    }

    fn leaving(&self, state: &TableState, new: &[Add]) -> Result<Leaving> {
        let mut named = BTreeMap::new();
        if self.partitions {
            for add in new {
                let partition = self.partition(add)?;
                named.insert(key(&partition), partition);
            }
        }
        let reads = self.reads(&named)?;
        let mut leaving = Leaving { whole: Vec::new(), perhaps: Vec::new(), rows: Some(0), reads };
        let judge = self.filter.as_ref().map(|it| Judge::new(it, self, &state.head));
        for at in state.files.iter() {
            let add = state.files.get(at)?;
            let verdict = match &judge {
                Some(judge) => {
                    let stats = state.files.row(at);
                    let stats = stats.and_then(|(it, row)| scan::stats_at(it, row, &judge.reader));
                    let verdict = judge.file(&self.partition(&add)?, stats.as_ref())?;
                    if verdict == Leaves::Whole {
                        let rows = stats.and_then(|it| live_rows(&it, &add));
                        leaving.rows = leaving.rows.zip(rows).map(|(a, b)| a.saturating_add(b));
                    }
                    verdict
                }
                None => {
                    leaving.rows = None;
                    let leaves =
                        !self.partitions || named.contains_key(&key(&self.partition(&add)?));
                    if leaves { Leaves::Whole } else { Leaves::Not }
                }
            };
            match verdict {
                Leaves::Not => {}
                Leaves::Perhaps => leaving.perhaps.push(add),
                Leaves::Whole => leaving.whole.push(add),
            }
        }
        Ok(leaving)
    }

    fn reads(&self, named: &BTreeMap<Vec<Option<String>>, Partition>) -> Result<Reads> {
        Ok(match (&self.filter, self.partitions) {
            (Some(filter), _) => Reads::Matching(Box::new(filter.clone())),
            (None, false) => Reads::Everything,
            (None, true) if PARTITIONS_NAMED_MAX < named.len() => Reads::Everything,
            (None, true) => {
                let any = Expr::Or(named.values().map(filter_of).collect());
                Reads::Matching(Box::new(any.bind(&self.schema)?))
            }
        })
    }

    fn partition(&self, add: &Add) -> Result<Partition> {
        let value = |name: &String| {
            let text = add.partition_values.get(name).and_then(Option::as_deref);
            let field = self.schema.field(name).map(|it| &it.data_type);
            let value = match (text, field) {
                (Some(text), Some(DataType::Primitive(of))) => Value::from_partition(text, *of)?,
                _ => None,
            };
            Ok((name.clone(), value))
        };
        let partition: Result<Partition> = self.columns.iter().map(value).collect();
        partition.map_err(|it| it.at(format!("add `{}`", add.path)))
    }
}

/// Does a file leave?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// No row of it matches.
    Not,
    /// That has to be looked up.
    Perhaps,
    /// Every row of it matches.
    Whole,
}

/// Judges files by what the log knows of them.
struct Judge {
    skipper: Skipper,
    reader: Reader,
    /// Does the filter name partition columns only, so that no row has to be read?
    by_partition: bool,
}

impl Judge {
    fn new(filter: &Expr, which: &Which, head: &Head) -> Judge {
        let by_partition = filter.columns().iter().all(|it| which.columns.contains(it));
        let skipper = Skipper::new(filter, &which.schema, &which.columns);
        let reader = Reader::mapped(&head.schema, head.mapping, Some(skipper.stats_columns()));
        Judge { skipper, reader, by_partition }
    }

    fn file(&self, partition: &Partition, stats: Option<&Stats>) -> Result<Leaves> {
        if self.by_partition {
            let covers = self.skipper.covers_partition(partition)?;
            return Ok(if covers { Leaves::Whole } else { Leaves::Not });
        }
        let unknown = Stats::default();
        let stats = stats.unwrap_or(&unknown);
        Ok(match () {
            () if self.skipper.skips(partition, stats) => Leaves::Not,
            () if self.skipper.covers(partition, stats) => Leaves::Whole,
            () => Leaves::Perhaps,
        })
    }
}

fn live_rows(stats: &Stats, add: &Add) -> Option<u64> {
    let deleted = add.deletion_vector.as_ref().map_or(0, |it| it.cardinality);
    stats.num_records?.checked_sub(u64::try_from(deleted).ok()?)
}

/// Two spellings of one value are one partition.
fn key(partition: &Partition) -> Vec<Option<String>> {
    partition.values().map(|it| it.as_ref().map(Value::to_partition)).collect()
}

fn filter_of(partition: &Partition) -> Expr {
    let term = |(name, value): (&String, &Option<Value>)| {
        let column = Box::new(Expr::Column(vec![name.clone()]));
        match value {
            Some(_) => {
                let value = Box::new(Expr::Literal(value.clone()));
                Expr::Compare(CompareOp::Eq, column, value)
            }
            None => Expr::IsNull(column),
        }
    };
    Expr::And(partition.iter().map(term).collect())
}
