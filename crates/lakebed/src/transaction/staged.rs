//! A transaction laid aside as text: written, not published.
//!
//! ```text
//!   { "lakebedTransaction": 1,
//!     "tableId": "..", "version": 7,            the table, and the version that it is based on
//!     "stagedAt": 1730000000000,                vacuum leaves its files alone for so long only
//!     "txnId": "..", "once": true,
//!     "operation": "..", "operationParameters": {..}, "operationMetrics": {..},
//!     "userMetadata": "..", "rearranges": false,
//!     "reads": "day = 3",                       a filter; `true` for all rows, or absent
//!     "actions": [ {"metaData": {..}}, {"txn": {..}}, {"remove": {..}}, {"add": {..}} ] }
//! ```
//!
//! Actions have the form of the log and pass the checks of a commit before anything is sent.
//! Whoever publishes a text trusts who wrote it as far as rows go, and no further: it is bound to
//! one table, its files lie in the table's folder and are looked at, and what it removes must be
//! there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lakebed_log::action::Action;
use lakebed_log::batch::Width;
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Reads;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::expr::Expr;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::uri;
use lakebed_log::version::Version;
use serde_json::{Map, Value, json};

use super::{check_table, keys, seen_from};
use crate::data_files;
use crate::history::{self, Resolved};
use crate::snapshot::Snapshot;
use crate::txn::{self, Committed, Context, Staged};

/// The one form that there is.
const FORMAT: u64 = 1;

/// A transaction that is written and not published, as one line of text; see
/// [`Transaction::stage`](super::Transaction::stage).
///
/// ```
/// use lakebed::transaction::StagedTransaction;
///
/// assert!("{}".parse::<StagedTransaction>().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct StagedTransaction {
    table_id: String,
    version: Version,
    staged_at: Timestamp,
    once: bool,
    /// The filter as it is written down; bound when the table is known.
    filter: Option<String>,
    /// `None` if there is nothing to commit.
    draft: Option<Draft>,
}

impl StagedTransaction {
    pub(super) fn new(head: &Head, draft: Option<Draft>, once: bool, now: Timestamp) -> Self {
        let filter = draft.as_ref().and_then(|it| match &it.intent.reads {
            Reads::Matching(filter) => Some(filter.to_string()),
            Reads::Nothing | Reads::Everything => None,
        });
        StagedTransaction {
            table_id: head.metadata.id.clone(),
            version: head.version,
            staged_at: now,
            once,
            filter,
            draft,
        }
    }

    /// Identity of the table.
    pub fn table_id(&self) -> &str {
        &self.table_id
    }

    /// The version that it is based on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Files that it adds, and files that it removes.
    pub fn files(&self) -> (usize, usize) {
        self.draft.as_ref().map_or((0, 0), |it| (it.adds.len(), it.removes.len()))
    }

    /// The commit, once the schema is known.
    fn bound(&self, head: &Head) -> Result<Option<Draft>> {
        check_table(&head.metadata, &self.table_id)?;
        let Some(mut draft) = self.draft.clone() else { return Ok(None) };
        if let Some(filter) = &self.filter {
            let schema = match &draft.metadata {
                Some(it) => Arc::new(it.schema()?),
                None => Arc::clone(&head.schema),
            };
            // What cannot be told any more counts as everything.
            if let Ok(bound) = filter.parse::<Expr>().and_then(|it| it.bind_filter(&schema)) {
                draft.intent.reads = Reads::Matching(Box::new(bound));
            }
        }
        Ok(Some(draft))
    }
}

/// The table as it would be.
pub(crate) async fn view(
    context: &Context,
    base: &Snapshot,
    staged: &StagedTransaction,
) -> Result<Snapshot> {
    let draft = staged.bound(base.head()).map_err(|it| it.at(context.store.location()))?;
    match draft {
        Some(draft) => seen_from(context, base, &draft).await,
        None => Ok(base.clone()),
    }
}

/// Commits it, or finds that it is committed.
pub(crate) async fn publish(
    context: &Context,
    base: &Snapshot,
    staged: &StagedTransaction,
) -> Result<Committed> {
    let place = context.store.location();
    let draft = staged.bound(base.head()).map_err(|it| it.at(place))?;
    let Some(mut draft) = draft else {
        return txn::done_already(context, base.clone()).await;
    };
    let oldest = match data_files::check_there(context, &draft.adds).await {
        // Published before, perhaps, and gone since.
        Err(it) if it.code() == Code::MissingFile => {
            let newest = base.newer(&context.op).await?;
            return settled(context, newest, staged, it).await;
        }
        there => there?,
    };
    let oldest = oldest.map_or(staged.staged_at, |it| it.min(staged.staged_at));
    let context = context.clone().written(oldest);
    if !draft.removes.is_empty() {
        data_files::check_live(&context, base, &draft.removes).await?;
    }
    if draft.removes.iter().any(|it| it.deletion_timestamp.is_none()) {
        let now = context.env.now().as_millis();
        draft.removes.iter_mut().for_each(|it| it.deletion_timestamp = Some(now));
    }
    // Its files stay: whether they are still wanted is for whoever staged them to say.
    let (files, notes, once) = (Vec::new(), Vec::new(), staged.once);
    let ours = Staged { draft, files, once, joins: false, notes };
    let done = txn::commit_staged(&context, Some(base), ours).await?;
    Ok(done.logged("publish", &context))
}

/// What became of a transaction that cannot be published any more.
pub(crate) async fn settled(
    context: &Context,
    newest: Snapshot,
    staged: &StagedTransaction,
    error: Error,
) -> Result<Committed> {
    let place = context.store.location();
    check_table(&newest.head().metadata, &staged.table_id).map_err(|it| it.at(place))?;
    let Some(draft) = &staged.draft else { return Err(error) };
    match history::resolve(context, &draft.txn_id).await? {
        Resolved::Committed(_) => Ok(Committed::unchanged(&context.op, newest)),
        Resolved::NotCommitted | Resolved::Unknown => Err(error),
        Resolved::Expired => {
            let what = "whether it is published already is not known; look before staging it again";
            Err(Error::new(Code::OutcomeUnknown, what).at(place).because(error))
        }
    }
}

/// Deletes the data files of a transaction that is not published.
///
/// Not to be called while somebody else publishes it.
pub(crate) async fn discard(
    context: &Context,
    newest: &Snapshot,
    staged: &StagedTransaction,
) -> Result<()> {
    let place = context.store.location();
    check_table(&newest.head().metadata, &staged.table_id).map_err(|it| it.at(place))?;
    let Some(draft) = &staged.draft else { return Ok(()) };
    if let Resolved::Committed(version) = history::resolve(context, &draft.txn_id).await? {
        let what = format!("it is published, as version {version}");
        return Err(Error::invalid(what).at(place));
    }
    let state = newest.state(&context.op, Width::Narrow).await?;
    let taken = draft.adds.iter().find(|it| data_files::is_known(&state, &it.path));
    if let Some(add) = taken {
        let what = format!("`{}` belongs to the table", add.path);
        return Err(Error::invalid(what).at(place));
    }
    context.discard(&keys(draft)?).await;
    Ok(())
}

/// As one line of JSON.
impl fmt::Display for StagedTransaction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = json!({
            "lakebedTransaction": FORMAT,
            "tableId": self.table_id,
            "version": self.version.get(),
            "stagedAt": self.staged_at.as_millis(),
        });
        if let (Some(draft), Some(fields)) = (&self.draft, text.as_object_mut()) {
            describe(draft, self.filter.as_deref(), fields).map_err(|_| fmt::Error)?;
            fields.insert("once".into(), self.once.into());
        }
        write!(out, "{text}")
    }
}

fn describe(draft: &Draft, filter: Option<&str>, fields: &mut Map<String, Value>) -> Result<()> {
    let mut set = |key: &str, value: Value| drop(fields.insert(key.to_string(), value));
    set("txnId", draft.txn_id.clone().into());
    set("operation", draft.operation.clone().into());
    set("operationParameters", draft.parameters.clone().into());
    set("operationMetrics", draft.metrics.clone().into());
    set("rearranges", draft.intent.rearranges_only.into());
    if let Some(text) = &draft.user_metadata {
        set("userMetadata", text.clone().into());
    }
    match (&draft.intent.reads, filter) {
        (Reads::Nothing, _) => {}
        (Reads::Matching(_), Some(filter)) => set("reads", filter.into()),
        (Reads::Matching(_), None) | (Reads::Everything, _) => set("reads", true.into()),
    }
    let mut actions = Vec::new();
    actions.extend(draft.protocol.iter().cloned().map(Action::Protocol));
    actions.extend(draft.metadata.iter().cloned().map(Action::Metadata));
    actions.extend(draft.txns.iter().cloned().map(Action::SetTransaction));
    actions.extend(draft.domains.iter().cloned().map(Action::DomainMetadata));
    actions.extend(draft.removes.iter().cloned().map(Action::Remove));
    actions.extend(draft.adds.iter().cloned().map(Action::Add));
    let actions: Result<Vec<Value>> = actions.into_iter().map(data_files::as_json).collect();
    set("actions", actions?.into());
    Ok(())
}

/// # Errors
///
/// `invalid-argument` for text that is no staged transaction, or one of a later form; what reading
/// an action of the log gives for actions that make no sense.
impl FromStr for StagedTransaction {
    type Err = Error;

    fn from_str(text: &str) -> Result<StagedTransaction> {
        let said: Value = serde_json::from_str(text).map_err(|it| bad("JSON").because(it))?;
        data_files::check_form(&said, "lakebedTransaction", FORMAT)?;
        let table_id = said.get("tableId").and_then(Value::as_str);
        let version = said.get("version").and_then(Value::as_u64).and_then(Version::new);
        let staged_at = said.get("stagedAt").and_then(Value::as_i64);
        let (draft, filter) = match said.get("txnId") {
            None => (None, None),
            Some(_) => read(&said).map(|(draft, filter)| (Some(draft), filter))?,
        };
        Ok(StagedTransaction {
            table_id: table_id.ok_or_else(|| bad("`tableId`"))?.to_string(),
            version: version.ok_or_else(|| bad("`version`"))?,
            staged_at: Timestamp::from_millis(staged_at.ok_or_else(|| bad("`stagedAt`"))?),
            once: said.get("once").and_then(Value::as_bool).unwrap_or(false),
            filter,
            draft,
        })
    }
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("no staged transaction: {what} is not what it must be"))
}

fn read(said: &Value) -> Result<(Draft, Option<String>)> {
    let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_string);
    let fields = |key: &str| said.get(key).and_then(Value::as_object).cloned();
    let mut draft = Draft {
        txn_id: text("txnId").ok_or_else(|| bad("`txnId`"))?,
        operation: text("operation").ok_or_else(|| bad("`operation`"))?,
        parameters: fields("operationParameters").unwrap_or_default(),
        metrics: fields("operationMetrics").unwrap_or_default(),
        user_metadata: text("userMetadata"),
        ..Draft::default()
    };
    let actions = said.get("actions").and_then(Value::as_array);
    for action in actions.ok_or_else(|| bad("`actions`"))? {
        let action = Action::from_json_line(action.to_string().as_bytes())?;
        match action.ok_or_else(|| bad("`actions`"))? {
            Action::Protocol(it) => draft.protocol = Some(it),
            Action::Metadata(it) => draft.metadata = Some(it),
            Action::SetTransaction(it) => draft.txns.push(it),
            Action::DomainMetadata(it) => draft.domains.push(it),
            Action::Remove(it) => draft.removes.push(it),
            Action::Add(it) => draft.adds.push(it),
            _ => return Err(bad("`actions`")),
        }
    }
    let (reads, filter) = match said.get("reads") {
        None => (Reads::Nothing, None),
        // Bound when the schema is known; until then it stands for all rows.
        Some(Value::String(filter)) => (Reads::Everything, Some(filter.clone())),
        Some(Value::Bool(true)) => (Reads::Everything, None),
        Some(_) => return Err(bad("`reads`")),
    };
    draft.intent.reads = reads;
    declare(&mut draft);
    draft.intent.rearranges_only = said.get("rearranges").and_then(Value::as_bool).unwrap_or(false);
    Ok((draft, filter))
}

/// What a draft does is what it is checked for, whatever its text says.
fn declare(draft: &mut Draft) {
    let intent = &mut draft.intent;
    intent.metadata = draft.metadata.is_some();
    intent.protocol = draft.protocol.is_some();
    intent.apps.extend(draft.txns.iter().map(|it| it.app_id.clone()));
    intent.domains.extend(draft.domains.iter().map(|it| it.domain.clone()));
    intent.removes.extend(draft.removes.iter().map(|it| {
        let vector = it.deletion_vector.as_ref().map(|it| it.unique_id());
        (uri::canonical(&it.path).into_owned(), vector)
    }));
}

/// A base that is no longer in the log cannot be committed on.
pub(crate) fn expired(error: Error) -> Error {
    match error.code() {
        Code::VersionNotFound | Code::ExpiredSnapshot => {
            let what = "the version that the transaction is based on is gone; stage it again";
            Error::new(Code::TransactionExpired, what).because(error)
        }
        _ => error,
    }
}
