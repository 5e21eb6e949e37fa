//! `Transaction`: several operations, one version; looked at before anybody else sees it.
//!
//! Each operation runs against the table as the ones before it have left it, and what they all come
//! to is one draft against the version at which the transaction began:
//!
//! ```text
//!   base (version 7) ----------------------------------------+--> commit: version 8, or none
//!     | append   -> files a, b -> draft 1                    |
//!   view 1 = base + draft 1                                  |
//!     | overwrite where day = 3 -> removes x, b; adds c      |
//!   view 2 = base + (draft 1, then 2 = adds a, c; removes x) +
//! ```
//!
//! A view is a snapshot like any other, so it is planned, read and counted with what there is for
//! that. It is of no version of the log, and nothing can be committed on it but through its
//! transaction. File `b` came and went: it is in no version, and is deleted when the outcome is
//! known.
//!
//! Write, audit, publish: a transaction can be laid aside as text ([`StagedTransaction`]), read by
//! whoever checks it, and published or discarded later, by another process as well. Its identity
//! stays the same, so that publishing it twice is publishing it once.

use std::collections::BTreeSet;
use std::sync::Arc;

use lakebed_log::action::{Metadata, SetTransaction};
use lakebed_log::batch::Width;
use lakebed_log::commit::{self, Draft};
use lakebed_log::conflict::Reads;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::property::Properties;
use lakebed_log::scan::Scan;
use lakebed_log::schema::{self, Schema};
use lakebed_log::state::Head;
use lakebed_log::support;
use lakebed_log::uri;
use serde_json::json;

use crate::append::{self, Append};
use crate::create;
use crate::data_files::{self, DataFiles};
use crate::load::Commit;
use crate::overwrite::{self, Overwrite};
use crate::read::Batches;
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};
use crate::write::Data;

mod staged;

pub use staged::StagedTransaction;
pub(crate) use staged::{discard, expired, publish, settled, view};

/// Several operations that become one version, or none.
///
/// What an operation does is seen by the later ones and by [`Transaction::snapshot`], and by nobody
/// else before [`Transaction::commit`]. An operation that fails leaves the transaction as it was.
/// The deadline counts from the beginning, for all of it.
///
/// Dropping it commits nothing, and leaves data files that no version names, for vacuum;
/// [`Transaction::discard`] takes them away.
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// # use lakebed::*;
/// # futures::executor::block_on(async {
/// let table = Table::open("memory://doc/txn").await?;
/// table.append(rows.clone(), Append::new()).await?;
///
/// let mut txn = table.begin().await?;
/// txn.overwrite(rows.slice(0, 1), Overwrite::all()).await?;
/// txn.append(rows, Append::new()).await?;
/// let staged = txn.read(&Scan::new()).await?.collect().await?;
/// assert_eq!(staged.iter().map(|it| it.num_rows()).sum::<usize>(), 3);
/// let done = txn.commit().await?;
/// assert_eq!(done.version(), Version::from(1));
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
pub struct Transaction {
    context: Context,
    base: Snapshot,
    view: Snapshot,
    txn_id: String,
    /// What all operations come to, relative to the base.
    draft: Option<Draft>,
    /// What was read besides, through the transaction.
    reads: Reads,
    /// Has the table seen the application's version already?
    is_covered: bool,
    once: Option<SetTransaction>,
    /// Keys of the data files that its operations wrote.
    written: BTreeSet<String>,
    notes: Vec<String>,
    /// Has it copied rows into other files, with nothing to tell them from new ones?
    copies: bool,
}

impl Transaction {
    pub(crate) fn new(context: Context, base: Snapshot) -> Result<Transaction> {
        let head = base.head();
        let place = context.store.location();
        let writable = support::refuse_catalog(head.read).and_then(|()| head.writable());
        writable.map_err(|it| it.at(place))?;
        let txn_id = context.env.id().to_string();
        Ok(Transaction {
            view: base.clone(),
            context,
            base,
            txn_id,
            draft: None,
            reads: Reads::Nothing,
            is_covered: false,
            once: None,
            written: BTreeSet::new(),
            notes: Vec::new(),
            copies: false,
        })
    }

    /// Commits nothing if the table has seen this version of the application, or a later one, now
    /// or by the time of the commit. `false` if it has: then there is nothing left to do but to
    /// commit, which makes sure that what has been done is there to stay.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-once").await?;
    /// table.append(rows.clone(), Append::new().once("nightly", 7)).await?;
    /// let mut txn = table.begin().await?;
    /// assert!(!txn.once("nightly", 7));
    /// txn.append(rows, Append::new()).await?;
    /// assert!(!txn.commit().await?.changed());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn once(&mut self, app: impl Into<String>, version: i64) -> bool {
        let last_updated = Some(self.context.env.now().as_millis());
        let ours = SetTransaction { app_id: app.into(), version, last_updated };
        self.is_covered = txn::covered(self.base.head(), &ours);
        self.once = Some(ours);
        !self.is_covered
    }

    /// Adds rows: see [`crate::Table::append`]. A schema that evolves is seen by what follows.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for options of a table that is to be made, and for
    /// [`Append::once`], which is [`Transaction::once`] here; else those of writing data files.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-append").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows.clone(), Append::new()).await?;
    /// txn.append(rows, Append::new()).await?;
    /// assert_eq!(txn.commit().await?.metrics()["numOutputRows"], "4");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn append(&mut self, data: impl Into<Data>, options: Append) -> Result<()> {
        self.check_options(&options)?;
        let (context, view) = (&self.context, Some(&self.view));
        match append::prepare(context, view, data.into(), &options).await? {
            Some(staged) => self.take(staged).await,
            None => Ok(()),
        }
    }

    /// Replaces rows, those that this transaction has added among them: see
    /// [`crate::Table::overwrite`].
    ///
    /// # Errors
    ///
    /// As [`Transaction::append`], and those of an overwrite; `unsupported-protocol` if files hold
    /// other rows as well and the table keeps a change feed.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-overwrite").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows.clone(), Append::new()).await?;
    /// txn.overwrite(rows, Overwrite::all()).await?;
    /// let done = txn.commit().await?;
    /// assert_eq!(done.snapshot().files().await?.files.len(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn overwrite(&mut self, data: impl Into<Data>, options: Overwrite) -> Result<()> {
        self.check_options(&options.append)?;
        let (context, view) = (&self.context, Some(&self.view));
        match overwrite::prepare(context, view, data.into(), &options).await? {
            Some(staged) => self.take(staged).await,
            None => Ok(()),
        }
    }

    /// Adds the files that workers have written: see [`crate::Table::commit_files`].
    ///
    /// # Errors
    ///
    /// As [`crate::Table::commit_files`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-files").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let files = table.write_files(rows, Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append_files(vec![files], Append::new()).await?;
    /// assert_eq!(txn.commit().await?.metrics()["numOutputRows"], "2");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn append_files(&mut self, files: Vec<DataFiles>, options: Append) -> Result<()> {
        self.check_options(&options)?;
        match data_files::prepare(&mut self.context, &self.view, files, &options).await? {
            Some(staged) => self.take(staged).await,
            None => Ok(()),
        }
    }

    /// Sets a property of the table, and asks for the feature that it needs.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for a value that the property cannot have; `unsupported-protocol` for a
    /// property that this build could not honour.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-property").await?;
    /// table.append(rows, Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.set_property("delta.appendOnly", "true").await?;
    /// let done = txn.commit().await?;
    /// assert!(done.snapshot().head().properties.append_only);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn set_property(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<()> {
        let (key, value) = (key.into(), value.into());
        let head = self.view.head();
        let set = [(key.clone(), value.clone())].into();
        Properties::check_set(&set, &head.schema)?;
        let protocol = create::protocol_for(&head.protocol, &set)?;
        let mut metadata = head.metadata.clone();
        metadata.configuration.insert(key.clone(), value.clone());
        let properties = json!({ key: value }).to_string();
        let mut draft = Draft {
            operation: "SET TBLPROPERTIES".into(),
            metadata: Some(metadata),
            protocol,
            ..Draft::default()
        };
        draft.parameters.insert("properties".into(), properties.into());
        self.take_change(draft).await
    }

    /// Adds columns that the schema has and the table lacks, at its end. Rows that are there have
    /// null in them.
    ///
    /// # Errors
    ///
    /// `schema-mismatch` for columns of another type; `unsupported-protocol` for types that this
    /// build cannot write.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-evolve").await?;
    /// table.append(rows, Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.evolve_schema(&Schema::parse_ddl("id long, name string")?).await?;
    /// assert_eq!(txn.snapshot().schema().fields().len(), 2);
    /// txn.commit().await?;
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn evolve_schema(&mut self, schema: &Schema) -> Result<()> {
        let head = self.view.head();
        let evolved = schema::evolve(&head.schema, schema)?;
        if evolved == *head.schema {
            return Ok(());
        }
        let (metadata, protocol) = append::metadata_of(head, &evolved);
        let mut draft = Draft {
            operation: "ADD COLUMNS".into(),
            metadata: Some(metadata),
            protocol,
            ..Draft::default()
        };
        let columns = evolved.fields().iter().filter(|it| head.schema.field(&it.name).is_none());
        let columns: Vec<String> = columns.map(|it| it.name.clone()).collect();
        draft.parameters.insert("columns".into(), create::json_text(&columns).into());
        self.take_change(draft).await
    }

    /// Rows as the transaction has left them so far. What is read here counts for conflicts: the
    /// commit fails if another one changed it meanwhile, by the table's isolation level. A look
    /// that does not count is [`Transaction::snapshot`].
    ///
    /// # Errors
    ///
    /// As [`Snapshot::read`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-read").await?;
    /// table.append(rows, Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// let read = txn.read(&Scan::new().filter(col("id").eq(lit(2)))).await?.collect().await?;
    /// assert_eq!(read[0].num_rows(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn read(&mut self, scan: &Scan) -> Result<Batches> {
        let read = match scan.predicate() {
            Some(filter) => Reads::Matching(Box::new(filter.bind_filter(self.view.schema())?)),
            None => Reads::Everything,
        };
        let batches = self.view.read_with(&self.context.op, scan).await?;
        self.reads = std::mem::take(&mut self.reads).joined(read);
        Ok(batches)
    }

    /// The table as the transaction has left it so far: to plan, to read, to count. It says the
    /// version that it would be at the earliest. Nothing is committed on it, and what is read
    /// through it does not count for conflicts.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-snapshot").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// assert_eq!(txn.snapshot().files().await?.files.len(), 2);
    /// assert_eq!(table.snapshot().await?.files().await?.files.len(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.view.clone()
    }

    /// The version that it began at.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-base").await?;
    /// table.append(rows, Append::new()).await?;
    /// assert_eq!(table.begin().await?.base().version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// Commits all of it as one version, at the first one after its beginning that it still applies
    /// to. Nothing done, or seen already: nothing committed.
    ///
    /// # Errors
    ///
    /// As [`crate::Table::append`] and [`crate::Table::overwrite`]. After any but `outcome-unknown`
    /// it is in no version that is read, and its files are gone; where the commit itself took
    /// longer than the retentions (`transaction-expired`, `missing-file`) the log may name them,
    /// and they are left to vacuum.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-commit").await?;
    /// table.append(rows, Append::new()).await?;
    /// assert!(!table.begin().await?.commit().await?.changed());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn commit(self) -> Result<Committed> {
        let (context, base) = (self.context.clone(), self.base.clone());
        let (written, notes) = (self.written.clone(), self.notes.clone());
        let once = self.once.is_some();
        let Some(draft) = self.finished() else {
            let files: Vec<String> = written.into_iter().collect();
            context.discard(&files).await;
            return match once {
                true => txn::done_already(&context, base).await,
                false => Ok(Committed::unchanged(&context.op, base)),
            };
        };
        let scrap = commit::dropped(&written, &draft);
        let files = written.into_iter().filter(|it| !scrap.contains(it)).collect();
        let staged = Staged { draft, files, once, joins: false, notes };
        let done = txn::commit_staged(&context, Some(&base), staged).await;
        // No version names them, whatever became of the commit.
        context.discard(&scrap).await;
        done.map(|it| it.logged("transaction", &context))
    }

    /// Lays it aside to be looked at and published later, perhaps by another process. What it would
    /// commit stays as it is from here on.
    ///
    /// # Errors
    ///
    /// Those of the checks that every commit passes.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::{*, transaction::StagedTransaction};
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-stage").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// let text = txn.stage().await?.to_string();
    ///
    /// let staged: StagedTransaction = text.parse()?;
    /// let audited = table.staged(&staged).await?.read(&Scan::new()).await?.collect().await?;
    /// assert_eq!(audited.iter().map(|it| it.num_rows()).sum::<usize>(), 4);
    /// assert_eq!(table.publish(&staged).await?.version(), Version::from(1));
    /// assert_eq!(table.publish(&staged).await?.version(), Version::from(1));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn stage(self) -> Result<StagedTransaction> {
        let (context, base, written) =
            (self.context.clone(), self.base.clone(), self.written.clone());
        let once = self.once.is_some();
        let draft = self.finished();
        let kept = draft.clone().unwrap_or_default();
        context.discard(&commit::dropped(&written, &kept)).await;
        if let Err(it) = context.settle().await {
            context.discard(&Vec::from_iter(written)).await;
            return Err(it);
        }
        let now = context.env.now();
        Ok(StagedTransaction::new(base.head(), draft, once, now))
    }

    /// Commits nothing and deletes the data files it has written.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/txn-discard").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// txn.discard().await;
    /// assert_eq!(table.snapshot().await?.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn discard(self) {
        let files: Vec<String> = self.written.into_iter().collect();
        self.context.discard(&files).await;
    }

    fn check_options(&self, options: &Append) -> Result<()> {
        if options.once.is_some() {
            let what = "an operation of a transaction has no counter of its own: set that of the \
                        transaction";
            return Err(Error::invalid(what).at(self.context.store.location()));
        }
        Ok(())
    }

    /// What is to be committed; `None` if there is nothing.
    fn finished(self) -> Option<Draft> {
        if self.is_covered {
            return None;
        }
        let Transaction { draft, once, reads, txn_id, .. } = self;
        let mut draft = match (draft, &once) {
            (Some(draft), _) => draft,
            (None, Some(_)) => Draft { operation: commit::SEVERAL.into(), ..Draft::default() },
            (None, None) => return None,
        };
        draft.txn_id = txn_id;
        if let Some(ours) = once {
            draft.intent.apps.insert(ours.app_id.clone());
            draft.txns.push(ours);
        }
        draft.intent.reads = draft.intent.reads.joined(reads);
        Some(draft)
    }

    async fn take_change(&mut self, mut draft: Draft) -> Result<()> {
        draft.intent.metadata = draft.metadata.is_some();
        draft.intent.protocol = draft.protocol.is_some();
        self.take(Staged::new(draft)?).await
    }

    /// One more operation; if it does not fit, its files are deleted and all is as it was.
    async fn take(&mut self, staged: Staged) -> Result<()> {
        let Staged { draft, files, notes, .. } = staged;
        let copies = draft.metrics.get("numCopiedRows").is_some_and(|it| it != "0");
        let switches_on =
            |it: &Metadata| Properties::read(&it.configuration).enable_change_data_feed;
        let switches_on = self.copies && draft.metadata.as_ref().is_some_and(switches_on);
        if !draft.cdc.is_empty() || switches_on {
            self.context.discard(&files).await;
            return Err(keeps_feed().at(self.context.store.location()));
        }
        let whole = match self.draft.clone() {
            Some(before) => before.then(draft),
            None => Draft { txn_id: self.txn_id.clone(), ..draft },
        };
        match seen_from(&self.context, &self.base, &whole).await {
            Ok(view) => {
                self.view = view;
                self.draft = Some(whole);
                self.copies |= copies;
                self.written.extend(files);
                self.notes.extend(notes);
                Ok(())
            }
            Err(error) => {
                self.context.discard(&files).await;
                Err(error)
            }
        }
    }
}

fn keeps_feed() -> Error {
    let what = "the table keeps a change feed (property `delta.enableChangeDataFeed` is true), and \
                change files, which an overwrite of files that hold other rows, too, needs, would \
                hide the changes of what else is in the transaction; overwrite by itself, name \
                partitions, or switch the feed off";
    Error::new(Code::UnsupportedProtocol, what)
}

/// The table as it would be if the draft were committed right after the base.
async fn seen_from(context: &Context, base: &Snapshot, draft: &Draft) -> Result<Snapshot> {
    let Context { env, store, .. } = context;
    let place = store.location();
    let head: Arc<Head> = Arc::clone(&base.loaded().head);
    let Some(version) = head.version.next() else {
        return Err(Error::invalid("the table is out of versions").at(place));
    };
    let (mut draft, now) = (draft.clone(), env.now());
    draft.note_adds();
    if !draft.removes.is_empty() && draft.intent.state.is_none() {
        draft.intent.state = Some(base.state(&context.op, Width::Narrow).await?);
    }
    let work = move || {
        let permit = head.writable()?;
        commit::check(&draft, Some((&head, permit)))?;
        commit::render(&draft, Some(&head), version, now)
    };
    let rendered = env.compute(work).await.map_err(|it| it.at(place))?;
    let commit::Rendered { bytes, batch, .. } = rendered;
    let commit = Commit { first: version, version, bytes, width: Width::Wide, batch, run: None };
    let loaded = base.loaded().staged(Arc::new(commit))?;
    Ok(Snapshot::new(env, store, base.handle_op(), loaded, Some(base)))
}

/// Keys of the files that a draft adds.
fn keys(draft: &Draft) -> Result<Vec<String>> {
    let key = |path: &str| uri::decode(path).map(std::borrow::Cow::into_owned);
    draft.adds.iter().map(|it| key(&it.path)).collect()
}

/// The table's metadata is what makes two tables one.
fn check_table(metadata: &Metadata, id: &str) -> Result<()> {
    match metadata.id == id {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "it was made for the table with id `{id}`, this one has `{}`",
            metadata.id
        ))),
    }
}
