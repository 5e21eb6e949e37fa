//! `DataFiles`: rows that are written and not committed yet.
//!
//! ```text
//!   worker 1   rows -> files -> DataFiles --+
//!   worker 2   rows -> files -> DataFiles --+--> driver: check, one commit
//!   worker 3   rows -> files -> DataFiles --+
//!
//!   { "lakebedDataFiles": 1,
//!     "tableId": "..", "partitionColumns": [..], "schema": {..},    which table, as it was
//!     "files": [ {"add": {..}}, .. ] }                              as the log has them
//! ```
//!
//! What a worker hands over is text without secrets, bound to one table and to the schema that the
//! rows were written by. The driver believes none of it: every file must lie in the table's folder,
//! be there with the size that is told, fit the schema of today, and be no file of the table
//! already. Files that nobody commits belong to vacuum, which takes them when they are old; so
//! files that are nearly that old are not committed any more.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use futures::TryStreamExt;
use lakebed_log::action::{Action, Add, Remove};
use lakebed_log::batch::Width;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::schema::{self, Schema};
use lakebed_log::state::{Head, TableState};
use lakebed_log::support;
use lakebed_log::time::Timestamp;
use lakebed_log::uri;
use serde_json::{Value, json};

use crate::append::{self, Append, Target};
use crate::create;
use crate::pool::map_ordered;
use crate::rewrite;
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};
use crate::write::Data;

/// The one form that there is.
const FORMAT: u64 = 1;
/// Files that are looked at at once.
const LOOKS: usize = 16;

/// Data files of one table that no version names yet; see [`crate::Table::write_files`].
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// # use lakebed::{*, data_files::DataFiles};
/// # futures::executor::block_on(async {
/// let table = Table::open("memory://doc/data-files").await?;
/// table.append(rows.clone(), Append::new()).await?;
/// // In a worker:
/// let text = table.write_files(rows, Append::new()).await?.to_string();
/// // In the driver:
/// let files: DataFiles = text.parse()?;
/// assert_eq!((files.files(), files.rows()), (1, Some(2)));
/// assert!(table.commit_files(vec![files.clone()], Append::new()).await?.changed());
/// assert!(!table.commit_files(vec![files], Append::new()).await?.changed());
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DataFiles {
    table_id: String,
    partition_columns: Vec<String>,
    schema: Schema,
    adds: Vec<Add>,
}

impl DataFiles {
    /// Identity of the table.
    pub fn table_id(&self) -> &str {
        &self.table_id
    }

    /// How many files.
    pub fn files(&self) -> usize {
        self.adds.len()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let size = |it: &Add| u64::try_from(it.size).unwrap_or(0);
        self.adds.iter().map(size).fold(0, u64::saturating_add)
    }

    /// Rows of all files, if their statistics say.
    pub fn rows(&self) -> Option<u64> {
        self.adds.iter().try_fold(0u64, |sum, it| sum.checked_add(append::rows_of(it)?))
    }
}

impl Snapshot {
    /// Writes rows as data files and commits nothing, without a LIST: see
    /// [`crate::Table::write_files`].
    ///
    /// # Errors
    ///
    /// As [`crate::Table::write_files`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-write-files").await?;
    /// let now = table.append(rows.clone(), Append::new()).await?.snapshot();
    /// assert_eq!(now.write_files(rows, Append::new()).await?.files(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn write_files(&self, data: impl Into<Data>, options: Append) -> Result<DataFiles> {
        self.check_committed()?;
        let context = Context::new(self.env(), &self.op(), self.store());
        write(&context, self, data.into(), &options).await
    }
}

/// Writes rows as files of the table, and names them nowhere.
pub(crate) async fn write(
    context: &Context,
    base: &Snapshot,
    data: Data,
    options: &Append,
) -> Result<DataFiles> {
    let target = Target::new(context, Some(base), &data, options)?;
    let adds = target.write(context, data, options).await?;
    if let Err(it) = context.settle().await {
        context.discard(&rewrite::keys(&adds)?).await;
        return Err(it);
    }
    Ok(DataFiles {
        table_id: base.head().metadata.id.clone(),
        partition_columns: target.partition_columns,
        schema: target.schema,
        adds,
    })
}

/// Commits files that were written before.
pub(crate) async fn commit(
    context: &Context,
    base: &Snapshot,
    files: Vec<DataFiles>,
    options: &Append,
) -> Result<Committed> {
    let mut context = context.clone();
    let again = files.clone();
    let Some(staged) = prepare(&mut context, base, files, options).await? else {
        return txn::done_already(&context, base.clone()).await;
    };
    match txn::commit_staged(&context, Some(base), staged).await {
        // Perhaps with the very same files.
        Err(lost) if lost.code() == Code::Conflict => {
            let opened = context.bounded("opening the table", base.newer(&context.op)).await;
            let Ok(newer) = opened else { return Err(lost) };
            match prepare(&mut context, &newer, again, options).await {
                Ok(None) => txn::done_already(&context, newer).await,
                _ => Err(lost),
            }
        }
        done => done.map(|it| it.logged("append", &context)),
    }
}

/// The commit of the files; `None` if all of them are in the table already, or were superfluous.
pub(crate) async fn prepare(
    context: &mut Context,
    base: &Snapshot,
    files: Vec<DataFiles>,
    options: &Append,
) -> Result<Option<Staged>> {
    let place = context.store.location().to_string();
    let head = base.head();
    support::refuse_catalog(head.read).map_err(|it| it.at(&place))?;
    let ours = append::counter(context, options);
    if ours.as_ref().is_some_and(|it| txn::covered(head, it)) {
        return Ok(None);
    }
    let evolved = fit(head, &files, options).map_err(|it| it.at(&place))?;
    let adds: Vec<Add> = files.into_iter().flat_map(|it| it.adds).collect();
    check_names(&adds).map_err(|it| it.at(&place))?;
    let state = base.state(&context.op, Width::Narrow).await?;
    let known = adds.iter().filter(|it| is_known(&state, &it.path)).count();
    if known == adds.len() && ours.is_none() && evolved.is_none() {
        return Ok(None);
    }
    if 0 < known {
        let one = adds.iter().find(|it| is_known(&state, &it.path));
        let name = one.map_or("", |it| it.path.as_str());
        let what = format!("{known} of {} files are in the table already: `{name}`", adds.len());
        return Err(Error::invalid(what).at(place));
    }
    if let Some(oldest) = check_there(context, &adds).await? {
        *context = context.clone().written(oldest);
    }
    let mut draft =
        append::draft_of(context, options, "Append", &head.metadata.partition_columns, adds);
    if let Some(evolved) = evolved {
        let (metadata, protocol) = append::metadata_of(head, &evolved);
        draft.intent.metadata = true;
        draft.intent.protocol = protocol.is_some();
        draft.metadata = Some(metadata);
        draft.protocol = protocol;
    }
    let once = options.once.is_some();
    // They are whoever's who wrote them: a failed commit does not delete them.
    let (files, notes) = (Vec::new(), Vec::new());
    Ok(Some(Staged { draft, files, once, joins: false, notes }))
}

/// Do the files fit the table? Gives the schema with their new columns, if there are such.
fn fit(head: &Head, files: &[DataFiles], options: &Append) -> Result<Option<Schema>> {
    let mut schema = Schema::clone(&head.schema);
    for it in files {
        if it.table_id != head.metadata.id {
            return Err(Error::invalid(format!(
                "the files were written for the table with id `{}`, this one has `{}`",
                it.table_id, head.metadata.id
            )));
        }
        if it.partition_columns != head.metadata.partition_columns {
            let what = format!(
                "the files are partitioned by {}, the table by {}",
                create::json_text(&it.partition_columns),
                create::json_text(&head.metadata.partition_columns)
            );
            return Err(Error::new(Code::SchemaMismatch, what));
        }
        let names = it.schema.fields().iter().map(|it| it.name.as_str());
        let absent = create::absent(names, &schema);
        if !absent.is_empty() && !options.evolve_schema {
            let what = format!(
                "the table has no column {}; evolve the schema to add it",
                absent.join(", ")
            );
            return Err(Error::new(Code::SchemaMismatch, what));
        }
        check_columns(&schema, &it.schema)?;
        schema = schema::evolve(&schema, &it.schema)?;
    }
    Ok((schema != *head.schema).then_some(schema))
}

/// A column keeps its type, and one that may not be null is there and is not.
fn check_columns(table: &Schema, written: &Schema) -> Result<()> {
    for field in table.fields() {
        let what = match written.field(&field.name) {
            Some(it) if it.data_type != field.data_type => {
                format!("`{}` was {} when the files were written", field.name, it.data_type)
            }
            Some(it) if it.nullable && !field.nullable => {
                format!("`{}` may not be null, and it could be in the files", field.name)
            }
            None if !field.nullable => {
                format!("`{}` may not be null, and the files do not have it", field.name)
            }
            _ => continue,
        };
        return Err(Error::new(Code::SchemaMismatch, what));
    }
    Ok(())
}

/// In the table's folder, each once, and whole.
fn check_names(adds: &[Add]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for add in adds {
        let key = uri::decode(&add.path).map_err(|it| it.with_code(Code::InvalidArgument))?;
        let hidden = |it: &str| it.starts_with('_') && !it.contains('=') || it.starts_with('.');
        if key.split('/').any(hidden) {
            let what = format!("`{}` is no name of a data file", add.path);
            return Err(Error::invalid(what));
        }
        if add.deletion_vector.is_some() || !add.data_change {
            let what = format!("`{}` is no new file", add.path);
            return Err(Error::invalid(what));
        }
        if !seen.insert(uri::canonical(&add.path)) {
            return Err(Error::invalid(format!("`{}` is named twice", add.path)));
        }
    }
    Ok(())
}

/// Is the file of the table, or was it until lately?
pub(crate) fn is_known(state: &TableState, path: &str) -> bool {
    let tombstone = || state.files.decides(path, None);
    state.files.is_live(path) || tombstone()
}

/// Looks at every file: it must be there with the size that is told. Gives the time of the oldest.
pub(crate) async fn check_there(context: &Context, adds: &[Add]) -> Result<Option<Timestamp>> {
    let files: Vec<(String, i64)> = adds.iter().map(|it| (it.path.clone(), it.size)).collect();
    let look = |(path, size): (String, i64)| async move {
        let Context { op, store, .. } = context;
        let key = uri::decode(&path)?.into_owned();
        match store.head(op, &key).await {
            Ok(there) if i64::try_from(there.size) == Ok(size) => Ok(there.modified),
            Ok(there) => {
                let what = format!("`{path}` has {} bytes, not {size} as told", there.size);
                Err(Error::new(Code::InvalidData, what).at(store.location()))
            }
            Err(it) if it.code() == Code::FileNotFound => {
                let what = format!("`{path}` is not there (any more)");
                Err(Error::new(Code::MissingFile, what).at(store.location()).because(it))
            }
            Err(it) => Err(it),
        }
    };
    let looked = map_ordered(files, LOOKS, look).try_collect::<Vec<_>>();
    Ok(context.bounded("looking at the files", looked).await?.into_iter().min())
}

/// What a draft removes must be live in the version it is based on.
pub(crate) async fn check_live(
    context: &Context,
    base: &Snapshot,
    removes: &[Remove],
) -> Result<()> {
    let state = base.state(&context.op, Width::Narrow).await?;
    for remove in removes {
        let vector = remove.deletion_vector.as_ref().map(|it| it.unique_id());
        if state.files.find(&remove.path, vector.as_deref()).is_none() {
            let what = format!("`{}` is no file of version {}", remove.path, base.version());
            return Err(Error::invalid(what).at(context.store.location()));
        }
    }
    Ok(())
}

/// As one line of JSON.
impl fmt::Display for DataFiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Result<Vec<Value>> =
            self.adds.iter().cloned().map(|it| as_json(Action::Add(it))).collect();
        let schema: Value = serde_json::from_str(&self.schema.to_json()).map_err(|_| fmt::Error)?;
        let text = json!({
            "lakebedDataFiles": FORMAT,
            "tableId": self.table_id,
            "partitionColumns": self.partition_columns,
            "schema": schema,
            "files": files.map_err(|_| fmt::Error)?,
        });
        write!(out, "{text}")
    }
}

/// # Errors
///
/// `invalid-argument` for text that names no data files, or is of a later form; what reading a
/// schema or an action of the log gives for those that make no sense.
impl FromStr for DataFiles {
    type Err = Error;

    fn from_str(text: &str) -> Result<DataFiles> {
        let said: Value = serde_json::from_str(text).map_err(|it| bad("JSON").because(it))?;
        check_form(&said, "lakebedDataFiles", FORMAT)?;
        let table_id = said.get("tableId").and_then(Value::as_str);
        let columns = said.get("partitionColumns").and_then(Value::as_array);
        let name = |it: &Value| it.as_str().map(str::to_string);
        let columns = columns.and_then(|it| it.iter().map(name).collect::<Option<Vec<_>>>());
        let schema = said.get("schema").filter(|it| it.is_object());
        let schema = schema.ok_or_else(|| bad("`schema`"))?.to_string();
        let files = said.get("files").and_then(Value::as_array);
        let add = |it: &Value| match Action::from_json_line(it.to_string().as_bytes())? {
            Some(Action::Add(it)) => Ok(it),
            _ => Err(bad("`files`")),
        };
        let adds: Result<Vec<Add>> = files.ok_or_else(|| bad("`files`"))?.iter().map(add).collect();
        Ok(DataFiles {
            table_id: table_id.ok_or_else(|| bad("`tableId`"))?.to_string(),
            partition_columns: columns.ok_or_else(|| bad("`partitionColumns`"))?,
            schema: Schema::from_json(&schema)?,
            adds: adds?,
        })
    }
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("no data files: {what} is not what it must be"))
}

/// An action as JSON.
pub(crate) fn as_json(action: Action) -> Result<Value> {
    let line = action.to_json_line();
    serde_json::from_str(&line).map_err(|it| Error::internal("an action is no JSON").because(it))
}

/// A text of ours says which form it has.
pub(crate) fn check_form(said: &Value, key: &str, known: u64) -> Result<()> {
    match said.get(key).and_then(Value::as_u64) {
        Some(form) if form == known => Ok(()),
        Some(form) => Err(Error::invalid(format!("`{key}` of form {form}, known is {known}"))),
        None => Err(Error::invalid(format!("the text is no `{key}`"))),
    }
}
