//! `Append`: adds rows.
//!
//! An append reads nothing of the table, so it applies on top of whatever others commit meanwhile:
//! its data files are written once, and only the one line that names them is tried again.

use std::collections::BTreeMap;

use lakebed_log::action::{Add, Metadata, Protocol, SetTransaction};
use lakebed_log::commit::Draft;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::feature::TableFeature;
use lakebed_log::property::Properties;
use lakebed_log::schema::{self, PrimitiveType, Schema};
use lakebed_log::state::Head;
use lakebed_log::stats::Stats;
use lakebed_log::support;
use serde_json::{Map, Value as Json};

use crate::create::{self, Create, NewTable};
use crate::load;
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};
use crate::write::{self, Data, Layout};

/// Options of [`crate::Table::append`]. An inert value: building one does nothing.
///
/// ```
/// # use lakebed::Append;
/// let once = Append::new().once("ingest-7", 1841).user_metadata("batch 1841");
/// assert_ne!(once, Append::new());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Append {
    pub(crate) evolve_schema: bool,
    pub(crate) once: Option<(String, i64)>,
    pub(crate) layout: Layout,
    pub(crate) partition_by: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) user_metadata: Option<String>,
    pub(crate) only_create: bool,
}

impl Append {
    /// Defaults.
    pub fn new() -> Append {
        Append::default()
    }

    /// Adds columns that the data has and the table lacks. Defaults to `false`: they are an error.
    ///
    /// ```
    /// # use lakebed::Append;
    /// let wider = Append::new().evolve_schema(true);
    /// # let _ = wider;
    /// ```
    pub fn evolve_schema(self, evolve: bool) -> Append {
        Append { evolve_schema: evolve, ..self }
    }

    /// Does nothing if the table has seen this version, or a later one, of the application. Without
    /// it, running an append again after an unknown outcome may add the rows twice.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/a-once").await?;
    /// let once = Append::new().once("ingest-7", 1841);
    /// table.append(rows.clone(), once.clone()).await?;
    /// assert!(!table.append(rows, once).await?.changed());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn once(self, app: impl Into<String>, version: i64) -> Append {
        Append { once: Some((app.into(), version)), ..self }
    }

    /// What [`Append::once`] asks for.
    ///
    /// ```
    /// # use lakebed::Append;
    /// let once = Append::new().once("ingest-7", 1841);
    /// assert_eq!(once.counter(), Some(("ingest-7", 1841)));
    /// assert_eq!(once.without_counter(), Append::new());
    /// ```
    pub fn counter(&self) -> Option<(&str, i64)> {
        self.once.as_ref().map(|(app, version)| (app.as_str(), *version))
    }

    /// The same without [`Append::once`], for an operation of a transaction that has it.
    pub fn without_counter(self) -> Append {
        Append { once: None, ..self }
    }

    /// File sizes, compression. Defaults to [`Layout::default`].
    ///
    /// ```
    /// # use lakebed::{Append, Layout};
    /// let plain = Layout { compression: Some(("none".into(), None)), ..Layout::default() };
    /// # let _ =
    /// Append::new().layout(plain);
    /// ```
    pub fn layout(self, layout: Layout) -> Append {
        Append { layout, ..self }
    }

    /// Partition columns of the table it makes if there is none; checked against the table's if
    /// there is one and this is not empty.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/a-parts").await?;
    /// # let days = std::sync::Arc::new(arrow_array::StringArray::from(vec!["mon", "tue"]));
    /// # let columns = [("day", days as _), ("id", rows.column(0).clone())];
    /// # let rows = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    /// let done = table.append(rows, Append::new().partition_by(["day"])).await?;
    /// assert_eq!(done.metrics()["numFiles"], "2");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn partition_by<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Append {
        Append { partition_by: columns.into_iter().map(Into::into).collect(), ..self }
    }

    /// A property of the table it makes if there is none.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/a-property").await?;
    /// let keep = Append::new().property("delta.appendOnly", "true");
    /// let done = table.append(rows, keep).await?;
    /// assert!(done.snapshot().head().properties.append_only);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Append {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// Makes the table; if there is one, or another writer makes it first, nothing is written:
    /// `table-exists`. Defaults to `false`.
    ///
    /// ```
    /// use lakebed::blocking::Table;
    /// use lakebed::{Append, Code};
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// let table = Table::open("memory://doc/only-create")?;
    /// table.append(rows.clone(), Append::new().only_create(true))?;
    /// let again = table.append(rows, Append::new().only_create(true)).err().unwrap();
    /// assert_eq!(again.code(), Code::TableExists);
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn only_create(self, only: bool) -> Append {
        Append { only_create: only, ..self }
    }

    /// Kept in the history. Defaults to none.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/a-user").await?;
    /// table.append(rows, Append::new().user_metadata("batch 7")).await?;
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn user_metadata(self, text: impl Into<String>) -> Append {
        Append { user_metadata: Some(text.into()), ..self }
    }
}

impl Snapshot {
    /// Appends on top of this version, without a LIST: see [`crate::Table::append`].
    ///
    /// # Errors
    ///
    /// As [`crate::Table::append`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/a-append").await?;
    /// let done = table.append(rows.clone(), Append::new()).await?;
    /// let done = done.snapshot().append(rows, Append::new()).await?;
    /// assert_eq!(done.version(), Version::from(1));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn append(&self, data: impl Into<Data>, options: Append) -> Result<Committed> {
        self.check_committed()?;
        let context = Context::new(self.env(), &self.op(), self.store());
        let done = append(&context, Some(self), data.into(), &options).await?;
        Ok(done.logged("append", &context))
    }
}

/// Appends to `base`, or to a table that it makes.
pub(crate) async fn append(
    context: &Context,
    base: Option<&Snapshot>,
    data: Data,
    options: &Append,
) -> Result<Committed> {
    match (prepare(context, base, data, options).await?, base) {
        (Some(staged), None) => make(context, staged, options).await,
        (Some(staged), base) => txn::commit_staged(context, base, staged).await,
        (None, Some(base)) if options.once.is_some() => {
            txn::done_already(context, base.clone()).await
        }
        (None, Some(base)) => Ok(Committed::unchanged(&context.op, base.clone())),
        (None, None) => Err(Error::internal("nothing to do without a table")),
    }
}

/// Writes the rows and gives the commit that adds them; `None` if there is nothing to say.
pub(crate) async fn prepare(
    context: &Context,
    base: Option<&Snapshot>,
    data: Data,
    options: &Append,
) -> Result<Option<Staged>> {
    let target = Target::new(context, base, &data, options)?;
    if let (Some(base), Some(txn)) = (base, target.txn(context, options))
        && txn::covered(base.head(), &txn)
    {
        return Ok(None);
    }
    let adds = target.write(context, data, options).await?;
    let changes_rows_only = matches!(target.changes, Changes::Nothing);
    // Without rows there is nothing to say, but for columns and a counter that somebody wants.
    if adds.is_empty() && changes_rows_only && options.once.is_none() {
        return Ok(None);
    }
    let mut draft = target.draft(context, options, "Append", adds);
    let notes = target.notes.clone();
    target.stage(&mut draft);
    let once = options.once.is_some();
    Ok(Some(Staged { once, joins: changes_rows_only, notes, ..Staged::new(draft)? }))
}

/// Makes the table, or appends to the one that another writer makes first.
async fn make(context: &Context, staged: Staged, options: &Append) -> Result<Committed> {
    let (files, draft) = (staged.files.clone(), staged.draft.clone());
    match txn::commit_staged(context, None, staged).await {
        Err(lost) if txn::is_creation_lost(&lost) && options.only_create => {
            context.discard(&files).await;
            Err(create::exists().at(context.store.location()).because(lost))
        }
        Err(lost) if txn::is_creation_lost(&lost) => match rebase(context, draft, options).await {
            Ok(done) => Ok(done),
            Err(Rebase::Impossible(error)) => {
                context.discard(&files).await;
                Err(error.because(lost))
            }
            Err(Rebase::Failed(error)) => Err(error),
        },
        done => done,
    }
}

enum Rebase {
    /// Nothing was sent.
    Impossible(Error),
    /// What the commit said; it has cleaned up where that was right.
    Failed(Error),
}

/// Another writer made the table first: our files go into that one, if they fit.
async fn rebase(
    context: &Context,
    mut draft: Draft,
    options: &Append,
) -> Result<Committed, Rebase> {
    let impossible = Rebase::Impossible;
    let Context { env, op, store, .. } = context;
    let opened = context.bounded("opening the table", load::open(env, op, store, None)).await;
    let base = Snapshot::new(env, store, None, opened.map_err(impossible)?, None);
    let head = base.head();
    let Some(ours) = draft.metadata.take() else {
        return Err(impossible(Error::internal("the table was made without metadata")));
    };
    let schema = ours.schema().map_err(impossible)?;
    let fits = |it: &lakebed_log::schema::StructField| {
        schema.field(&it.name).is_some_and(|ours| {
            ours.name == it.name
                && ours.data_type == it.data_type
                && (it.nullable || !ours.nullable)
        })
    };
    let same = head.schema.fields().len() == schema.fields().len()
        && head.schema.fields().iter().all(fits)
        && head.metadata.partition_columns == ours.partition_columns;
    if !same {
        let what = "another writer made the table first, with another schema or partitioning";
        return Err(impossible(Error::new(Code::SchemaMismatch, what).at(store.location())));
    }
    if draft.txns.iter().any(|it| txn::covered(head, it)) {
        let staged = Staged::new(draft).map_err(impossible)?;
        context.discard(&staged.files).await;
        return txn::done_already(context, base).await.map_err(Rebase::Failed);
    }
    draft.protocol = None;
    draft.intent.protocol = false;
    draft.intent.metadata = false;
    let staged = Staged::new(draft).map_err(Rebase::Impossible)?;
    let staged = Staged { once: options.once.is_some(), joins: true, ..staged };
    txn::commit_staged(context, Some(&base), staged).await.map_err(Rebase::Failed)
}

/// The table as the new rows will find it.
pub(crate) struct Target {
    pub(crate) schema: Schema,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) properties: Properties,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
    changes: Changes,
}

/// What the commit must change besides the rows.
enum Changes {
    Nothing,
    Schema(Box<Metadata>, Option<Protocol>),
    Everything(Box<NewTable>),
}

impl Target {
    /// Checks everything that can be checked before a file is written.
    pub(crate) fn new(
        context: &Context,
        base: Option<&Snapshot>,
        data: &Data,
        options: &Append,
    ) -> Result<Target> {
        let place = context.store.location();
        let target = match base {
            Some(_) if options.only_create => Err(create::exists()),
            Some(base) => Target::of_table(base.head(), data, options),
            None => Target::of_data(context, data, options),
        };
        target.map_err(|it| it.at(place))
    }

    fn of_data(context: &Context, data: &Data, options: &Append) -> Result<Target> {
        let (schema, notes) = schema::from_arrow(data.schema(), options.layout.arrow)?;
        let create = Create::new(schema)
            .partition_by(options.partition_by.iter().cloned())
            .properties(options.properties.clone());
        let new = create.plan(&context.env)?;
        Ok(Target {
            schema: new.schema.clone(),
            partition_columns: new.metadata.partition_columns.clone(),
            properties: new.properties.clone(),
            notes,
            changes: Changes::Everything(Box::new(new)),
        })
    }

    fn of_table(head: &Head, data: &Data, options: &Append) -> Result<Target> {
        support::refuse_catalog(head.read)?;
        head.writable()?;
        let partition_columns = &head.metadata.partition_columns;
        if !options.partition_by.is_empty() && options.partition_by != *partition_columns {
            let what = format!(
                "the table is partitioned by {}, not by {}",
                create::json_text(partition_columns),
                create::json_text(&options.partition_by)
            );
            return Err(Error::invalid(what));
        }
        let (schema, changes, notes) = evolve(head, data, options)?;
        let (partition_columns, properties) = (partition_columns.clone(), head.properties.clone());
        Ok(Target { schema, partition_columns, properties, notes, changes })
    }

    /// Writes the rows as data files. They are removed again if it fails.
    pub(crate) async fn write(
        &self,
        context: &Context,
        data: Data,
        options: &Append,
    ) -> Result<Vec<Add>> {
        self.write_to(context, "", &self.schema, data, options).await
    }

    /// The same into a folder, by a schema.
    pub(crate) async fn write_to(
        &self,
        context: &Context,
        folder: &str,
        schema: &Schema,
        data: Data,
        options: &Append,
    ) -> Result<Vec<Add>> {
        let Context { env, op, store, .. } = context;
        let mut layout = options.layout.clone();
        if let Some(bytes) = self.properties.target_file_bytes
            && layout.target_file_bytes == Layout::default().target_file_bytes
        {
            layout.target_file_bytes = bytes;
        }
        let (columns, deadline) = (&self.partition_columns, context.deadline());
        let write = write::write(
            env,
            op,
            store,
            data,
            folder,
            schema,
            columns,
            &self.properties,
            &layout,
            &deadline,
        );
        write.await
    }

    /// The application counter that the options ask for.
    pub(crate) fn txn(&self, context: &Context, options: &Append) -> Option<SetTransaction> {
        counter(context, options)
    }

    /// A commit of the new files, by Spark's names.
    pub(crate) fn draft(
        &self,
        context: &Context,
        options: &Append,
        mode: &str,
        adds: Vec<Add>,
    ) -> Draft {
        draft_of(context, options, mode, &self.partition_columns, adds)
    }

    /// Puts what changes besides the rows into the commit.
    pub(crate) fn stage(self, draft: &mut Draft) {
        match self.changes {
            Changes::Nothing => {}
            Changes::Schema(metadata, protocol) => {
                draft.intent.metadata = true;
                draft.intent.protocol = protocol.is_some();
                draft.metadata = Some(*metadata);
                draft.protocol = protocol;
            }
            Changes::Everything(new) => new.stage(draft),
        }
    }
}

/// The application counter that the options ask for.
pub(crate) fn counter(context: &Context, options: &Append) -> Option<SetTransaction> {
    options.once.as_ref().map(|(app_id, version)| SetTransaction {
        app_id: app_id.clone(),
        version: *version,
        last_updated: Some(context.env.now().as_millis()),
    })
}

/// A commit of new files, by Spark's names.
pub(crate) fn draft_of(
    context: &Context,
    options: &Append,
    mode: &str,
    partition_columns: &[String],
    adds: Vec<Add>,
) -> Draft {
    let mut draft = Draft {
        txn_id: context.env.id().to_string(),
        operation: "WRITE".into(),
        metrics: metrics(&adds),
        user_metadata: options.user_metadata.clone(),
        adds,
        ..Draft::default()
    };
    let partition_by = create::json_text(partition_columns);
    draft.parameters.insert("mode".into(), mode.into());
    draft.parameters.insert("partitionBy".into(), partition_by.into());
    if let Some(txn) = counter(context, options) {
        draft.intent.apps.insert(txn.app_id.clone());
        draft.txns.push(txn);
    }
    draft
}

/// Metadata with another schema, and the protocol where that needs another one.
pub(crate) fn metadata_of(head: &Head, schema: &Schema) -> (Metadata, Option<Protocol>) {
    let metadata = Metadata { schema_string: schema.to_json(), ..head.metadata.clone() };
    let zone_less = |it: &Schema| {
        it.fields().iter().any(|it| create::holds(&it.data_type, PrimitiveType::TimestampNtz))
    };
    let needs = zone_less(schema) && !head.protocol.supports(&TableFeature::TimestampNtz);
    let protocol = needs.then(|| head.protocol.with_features(&[TableFeature::TimestampNtz]));
    (metadata, protocol)
}

/// Rows of a file, if its statistics say.
pub(crate) fn rows_of(add: &Add) -> Option<u64> {
    Stats::from_json(add.stats.as_deref()?, &Schema::default(), Some(&[])).num_records
}

/// The schema after the write, and what has to change for it.
fn evolve(head: &Head, data: &Data, options: &Append) -> Result<(Schema, Changes, Vec<String>)> {
    let table = Schema::clone(&head.schema);
    let names = data.schema().fields().iter().map(|it| it.name().as_str());
    let absent = create::absent(names, &table);
    if !options.evolve_schema {
        if absent.is_empty() {
            return Ok((table, Changes::Nothing, Vec::new()));
        }
        let what =
            format!("the table has no column {}; evolve the schema to add it", absent.join(", "));
        return Err(Error::new(Code::SchemaMismatch, what));
    }
    let (incoming, notes) = schema::from_arrow(data.schema(), options.layout.arrow)?;
    let evolved = schema::evolve(&table, &incoming)?;
    if evolved == table {
        return Ok((table, Changes::Nothing, notes));
    }
    let (metadata, protocol) = metadata_of(head, &evolved);
    Ok((evolved, Changes::Schema(Box::new(metadata), protocol), notes))
}

/// `operationMetrics` of a write, by Spark's names; numbers as text.
fn metrics(adds: &[Add]) -> Map<String, Json> {
    let bytes: i64 = adds.iter().map(|it| it.size).fold(0, i64::saturating_add);
    let rows: u64 = adds.iter().filter_map(rows_of).fold(0, u64::saturating_add);
    let mut metrics = Map::new();
    let mut set = |key: &str, value: String| metrics.insert(key.into(), value.into());
    set("numFiles", adds.len().to_string());
    set("numOutputRows", rows.to_string());
    set("numOutputBytes", bytes.to_string());
    metrics
}
