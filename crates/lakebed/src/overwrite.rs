//! `Overwrite`: replaces rows.
//!
//! Removes whole files and adds new ones in one commit. Which files leave is decided by their
//! partition values alone, so no row is read. What it removes it has read, as far as conflicts go:
//! rows that others add meanwhile where this one replaces must not survive unseen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::{Add, Remove, SetTransaction};
use lakebed_log::batch::Width;
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Reads;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::{CompareOp, Expr};
use lakebed_log::schema::{self, ArrowOptions, DataType, Schema};
use lakebed_log::skip::Skipper;
use lakebed_log::state::TableState;
use lakebed_log::uri;
use lakebed_log::value::Value;

use crate::append::{Append, Target};
use crate::create;
use crate::load;
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};
use crate::write::Data;

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

    /// Rows that match; only partition columns may be named. Every new row must match too.
    ///
    /// ```
    /// # use lakebed::{Overwrite, col, lit};
    /// let day = Overwrite::filter(col("day").eq(lit("2026-08-01")));
    /// # let _ = day;
    /// ```
    pub fn filter(filter: Expr) -> Overwrite {
        Overwrite { filter: Some(filter), ..Overwrite::default() }
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
        true => Ok(Committed::unchanged(op, there)),
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
    let filter = bound_filter(options, &target)?;
    let state = match base {
        Some(base) => {
            let files = base.state(&context.op, Width::Narrow);
            Some(context.bounded("reading the file list", files).await?)
        }
        None => None,
    };
    let append_only = base.is_some_and(|it| it.head().properties.append_only);
    if append_only && state.as_ref().is_some_and(|it| !it.files.is_empty()) {
        let what = "the table is append-only (property `delta.appendOnly` is true)";
        return Err(Error::invalid(what).at(context.store.location()));
    }
    let data = match (&options.filter, &filter) {
        (Some(asked), Some(bound)) => {
            let check = RowCheck {
                asked: asked.to_string(),
                bound: bound.clone(),
                schema: target.schema.clone(),
                arrow: options.append.layout.arrow,
                rows: AtomicU64::new(0),
            };
            checked(context, data, check)
        }
        _ => data,
    };
    let adds = target.write(context, data, &options.append).await?;
    stage(context, target, options, filter, state, adds).await
}

/// The commit, or `None` if it would change nothing. What was written is deleted if it fails.
async fn stage(
    context: &Context,
    target: Target,
    options: &Overwrite,
    filter: Option<Expr>,
    state: Option<Arc<TableState>>,
    adds: Vec<Add>,
) -> Result<Option<Staged>> {
    let notes = target.notes.clone();
    let mut draft = target.draft(context, &options.append, "Overwrite", adds);
    if let Some(filter) = &options.filter {
        draft.parameters.insert("predicate".into(), filter.to_string().into());
    }
    let written = Staged::new(draft.clone())?.files;
    if let Some(state) = state {
        let which = Which {
            filter,
            partitions: options.partitions,
            schema: target.schema.clone(),
            columns: target.partition_columns.clone(),
        };
        let now = context.env.now().as_millis();
        let work = move || {
            which.remove(&state, now, &mut draft)?;
            Ok(draft)
        };
        draft = match context.env.compute(work).await {
            Ok(it) => it,
            Err(it) => {
                context.discard(&written).await;
                return Err(it.at(context.store.location()));
            }
        };
        if draft.adds.is_empty() && draft.removes.is_empty() && draft.txns.is_empty() {
            return Ok(None);
        }
    }
    target.stage(&mut draft);
    let once = options.append.once.is_some();
    Ok(Some(Staged { draft, files: written, once, joins: false, notes }))
}

/// The filter bound to the schema; only partition columns may be named.
fn bound_filter(options: &Overwrite, target: &Target) -> Result<Option<Expr>> {
    if options.partitions && target.partition_columns.is_empty() {
        let what = "the table has no partition columns, so no partitions to overwrite";
        return Err(Error::invalid(what));
    }
    let Some(filter) = &options.filter else { return Ok(None) };
    let bound = filter.bind_filter(&target.schema)?;
    let columns = &target.partition_columns;
    if let Some(name) = bound.columns().iter().find(|it| !columns.contains(it)) {
        let what = format!(
            "`{name}` is not a partition column; overwriting by other columns comes in a later \
             release"
        );
        return Err(Error::invalid(what));
    }
    Ok(Some(bound))
}

/// Refuses new rows that the overwrite would not replace if it were run again.
struct RowCheck {
    asked: String,
    bound: Expr,
    schema: Schema,
    arrow: ArrowOptions,
    /// Rows seen so far.
    rows: AtomicU64,
}

impl RowCheck {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let conformed = as_stored(&schema::conform(batch, &self.schema, self.arrow)?)?;
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

/// Rows as a filter on partition columns will find them: an empty text or binary is null there.
/// Other columns do not matter to such a filter.
fn as_stored(batch: &RecordBatch) -> Result<RecordBatch> {
    let stored = |it: &ArrayRef| -> ArrayRef {
        if let Some(texts) = it.as_string_opt::<i32>() {
            let full = texts.iter().map(|it| it.filter(|it| !it.is_empty()));
            Arc::new(full.collect::<StringArray>())
        } else if let Some(bytes) = it.as_binary_opt::<i32>() {
            let full = bytes.iter().map(|it| it.filter(|it| !it.is_empty()));
            Arc::new(full.collect::<BinaryArray>())
        } else {
            Arc::clone(it)
        }
    };
    let columns = batch.columns().iter().map(stored).collect();
    let fields = batch.schema();
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
    filter: Option<Expr>,
    partitions: bool,
    schema: Schema,
    columns: Vec<String>,
}

/// Typed partition values by column.
type Partition = BTreeMap<String, Option<Value>>;

impl Which {
    /// Adds the removes to the draft, and what they mean for conflicts.
    fn remove(&self, state: &TableState, now: i64, draft: &mut Draft) -> Result<()> {
        let skipper = self.filter.as_ref().map(|it| Skipper::new(it, &self.schema, &self.columns));
        let mut new = BTreeMap::new();
        if self.partitions {
            for add in &draft.adds {
                let partition = self.partition(add)?;
                new.insert(key(&partition), partition);
            }
        }
        let mut bytes = 0i64;
        for at in state.files.iter() {
            let add = state.files.get(at)?;
            let leaves = match &skipper {
                Some(skipper) => skipper.covers_partition(&self.partition(&add)?)?,
                None if self.partitions => new.contains_key(&key(&self.partition(&add)?)),
                None => true,
            };
            if leaves {
                bytes = bytes.saturating_add(add.size);
                let vector = add.deletion_vector.as_ref().map(|it| it.unique_id());
                draft.intent.removes.insert((uri::canonical(&add.path).into_owned(), vector));
                draft.removes.push(remove(add, now));
            }
        }
        draft.intent.reads = match (&self.filter, self.partitions) {
            (Some(filter), _) => Reads::Matching(Box::new(filter.clone())),
            (None, false) => Reads::Everything,
            (None, true) if PARTITIONS_NAMED_MAX < new.len() => Reads::Everything,
            (None, true) => {
                let any = Expr::Or(new.values().map(filter_of).collect());
                Reads::Matching(Box::new(any.bind(&self.schema)?))
            }
        };
        let removed = draft.removes.len().to_string();
        draft.metrics.insert("numRemovedFiles".into(), removed.into());
        draft.metrics.insert("numRemovedBytes".into(), bytes.to_string().into());
        Ok(())
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

fn remove(add: Add, now: i64) -> Remove {
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
