//! The commit loop: one draft, landed exactly once, or known not to have landed.
//!
//! The store gives one atomic step, put-if-absent, and may lose its answer: a lost answer looks like
//! a failure and may be a success, and a second try then finds the file "already there". So neither
//! is taken at its word. Every draft carries an identity, and whenever the answer is not a plain yes
//! the version is read, and what stands there decides:
//!
//! ```text
//!           +----------------------------- v := v + 1 ------------------------------+
//!           v                                                                        |
//!  render(draft, base, v) -> put_if_absent(v)                                        |
//!     created ---------------------------------------------------> done at v         |
//!     exists or unknown -> read(v)                                                   |
//!                            absent ------> put_if_absent(v) again                   |
//!                            ours by txnId -----------------------> done at v        |
//!                            theirs -> conflict::check(intent, winner)               |
//!                                        clear ---> base.advance(winner) ------------+
//!                                        conflict -> Err(Conflict), nothing committed
//! ```
//!
//! Trying the same version again is safe: whichever of our puts arrives first wins, and the others
//! find it there with our identity. Only a *different* commit at the version turns "open" into "not
//! committed", and only then may the data files of the draft be deleted; while the outcome is open
//! they belong to vacuum.
//!
//! Put-if-absent has a second hole. Log cleanup makes old versions absent again, so a writer that
//! slept through the log's retention could create a version that every reader has passed, and be told
//! yes. Hence the clocks: a base that is old, or was never the newest, is compared with the log before
//! the first put; a put that took long is compared afterwards; and an operation that has run so long
//! that vacuum may have taken its files is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lakebed_log::action::SetTransaction;
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checksum::Checksum;
use lakebed_log::commit::{self, Draft, Rendered};
use lakebed_log::conflict::{self, Reason};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::LogPath;
use lakebed_log::property::Properties;
use lakebed_log::segment::LogFile;
use lakebed_log::state::Head;
use lakebed_log::support;
use lakebed_log::uri;
use lakebed_log::version::Version;
use serde_json::{Map, Value as Json};

use crate::env::Env;
use crate::load::{self, Loaded, Moment};
use crate::op::{Op, Usage};
use crate::pool::map_ordered;
use crate::save;
use crate::snapshot::{Counts, Snapshot};
use crate::store::{Put, Store};

/// First wait after a put that taught us nothing; doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_millis(2);
/// Longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Losing this often in a row is bad luck; losing more often is contention, and waiting helps.
const LOSSES_FREE: u32 = 3;
/// After this many losses in a row the rest is listed and fetched at once.
const LOSSES_BEFORE_LIST: u32 = 8;
/// Retentions of the log and of removed files under this count as this.
const RETENTION_MIN: Duration = Duration::from_secs(3600);
/// Data files deleted at once after a conflict.
const DELETES: usize = 16;

/// What a verb did.
#[derive(Clone)]
pub struct Committed {
    snapshot: Snapshot,
    changed: bool,
    metrics: Map<String, Json>,
    notes: Vec<String>,
    usage: Usage,
}

/// A commit whose outcome was unknown at the deadline: the payload of `outcome-unknown`.
///
/// ```
/// # use lakebed::txn::Unresolved;
/// # use lakebed::{Code, Error};
/// let err = Error::new(Code::OutcomeUnknown, "the deadline passed")
///     .with_payload(Unresolved { id: "7d6b...@42".into() });
/// assert_eq!(err.payload::<Unresolved>().unwrap().id, "7d6b...@42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Identity to ask [`Table::resolve`](crate::Table::resolve) with: the transaction's id, `@`, and
    /// the version it was tried at.
    pub id: String,
}

impl Committed {
    /// The version it landed at, or the one it read if nothing changed.
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// Did it commit anything?
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The table after it: the base advanced by our own commit, without a request.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// `operationMetrics` of the commit; empty if nothing changed.
    pub fn metrics(&self) -> &Map<String, Json> {
        &self.metrics
    }

    /// What a person should know, e.g. that a zone-less timestamp column became `timestamp_ntz`.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Requests, bytes, rows.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn unchanged(op: &Op, snapshot: Snapshot) -> Committed {
        let (metrics, notes) = (Map::new(), Vec::new());
        Committed { snapshot, changed: false, metrics, notes, usage: op.usage() }
    }

    pub(crate) fn with_notes(self, notes: Vec<String>) -> Committed {
        Committed { notes, ..self }
    }
}

/// What a verb runs in: the outside, its counts, and when it began.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) op: Op,
    pub(crate) store: Store,
    pub(crate) started: Moment,
}

impl Context {
    /// Begins now.
    pub(crate) fn new(env: &Env, op: &Op, store: &Store) -> Context {
        let started = Moment::now(env);
        Context { env: env.clone(), op: op.clone(), store: store.clone(), started }
    }

    /// What is left of the deadline.
    pub(crate) fn left(&self) -> Duration {
        self.op.deadline().saturating_sub(self.started.age(&self.env))
    }

    /// Runs a step of a verb that may be given up: nothing of it is visible yet.
    pub(crate) async fn bounded<T>(
        &self,
        what: &str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = self.env.timeout(self.left(), what, step).await;
        match done {
            Err(it) if it.code() == Code::Unavailable && self.left().is_zero() => {
                Err(self.late(what).because(it))
            }
            done => done,
        }
    }

    fn late(&self, what: &str) -> Error {
        let what = format!("{what}: not done within {:?}", self.op.deadline());
        Error::new(Code::DeadlineExceeded, what).at(self.store.location())
    }

    /// Deletes data files that no commit names and none will.
    pub(crate) async fn discard(&self, staged: &[String]) {
        let delete = |key: String| async move {
            if let Err(it) = self.store.delete(&self.op, &key).await {
                tracing::debug!(error = ?it, "a data file of a failed commit stays behind");
            }
            Ok(())
        };
        map_ordered(staged.to_vec(), DELETES, delete).for_each(|_| async {}).await;
    }
}

/// A draft with what the commit loop must know about it.
pub(crate) struct Staged {
    pub(crate) draft: Draft,
    /// Object keys of the data files that were written for it and for nothing else.
    pub(crate) files: Vec<String>,
    /// Does a commit of the same application that already covers ours make it superfluous?
    pub(crate) once: bool,
}

impl Staged {
    /// A draft whose added files were all written for it.
    pub(crate) fn new(draft: Draft) -> Result<Staged> {
        let key = |path: &str| uri::decode(path).map(std::borrow::Cow::into_owned);
        let files = draft.adds.iter().map(|it| key(&it.path)).collect::<Result<_>>()?;
        Ok(Staged { draft, files, once: false })
    }
}

/// Commits a draft at the first version after its base that it still applies to; then writes the
/// checksum where the counts are known, and a checkpoint every `delta.checkpointInterval` versions.
/// Without a base it makes the table.
///
/// Runs as a spawned task: once begun it goes on to its end, though its future is dropped.
///
/// # Errors
///
/// `conflict` with a [`Conflict`](conflict::Conflict): it is in no version and never will be.
/// `transaction-expired` if base or start are too old. `deadline-exceeded` if nothing was sent that
/// could still arrive; `outcome-unknown` with an [`Unresolved`] otherwise.
pub async fn commit(
    env: &Env,
    op: &Op,
    store: &Store,
    base: Option<&Snapshot>,
    draft: Draft,
) -> Result<Committed> {
    let context = Context::new(env, op, store);
    commit_staged(&context, base, Staged { draft, files: Vec::new(), once: false }).await
}

/// The same for data files that were written for the draft: they are deleted where it is certain
/// that it is in no version, but for a table that another writer made first, where they may still
/// be of use to the caller.
pub(crate) async fn commit_staged(
    context: &Context,
    base: Option<&Snapshot>,
    staged: Staged,
) -> Result<Committed> {
    let (context, base) = (context.clone(), base.cloned());
    let env = context.env.clone();
    env.spawn(async move {
        let Staged { draft, files, once } = staged;
        let mut attempt = Attempt {
            base: base.as_ref().map(|it| it.loaded().clone()),
            draft: Arc::new(draft),
            once,
            context,
        };
        match attempt.run().await {
            Ok(landed) => Ok(attempt.conclude(base.as_ref(), landed, &files).await),
            Err(Failure { error, open: true }) => Err(error),
            Err(Failure { error, open: false }) => {
                if !is_creation_lost(&error) {
                    attempt.context.discard(&files).await;
                }
                Err(error)
            }
        }
    })
    .await
}

/// Did another writer make the table that this one wanted to make?
pub(crate) fn is_creation_lost(error: &Error) -> bool {
    error.conflict().is_some_and(|it| it.reason == Reason::TableCreated)
}

/// Why a commit did not succeed.
struct Failure {
    error: Error,
    /// May it still be, or come to be, in the table?
    open: bool,
}

impl From<Error> for Failure {
    /// For everything that happens while nothing is under way.
    fn from(error: Error) -> Failure {
        Failure { error, open: false }
    }
}

enum Landed {
    /// It stands there.
    Ours(Version, Loaded),
    /// A commit of the same application made it superfluous.
    Covered(Loaded),
}

/// What one version turned out to hold.
enum Claim {
    Ours(Bytes, LogBatch),
    Theirs(Bytes),
}

struct Attempt {
    context: Context,
    base: Option<Loaded>,
    draft: Arc<Draft>,
    once: bool,
}

impl Attempt {
    async fn run(&mut self) -> Result<Landed, Failure> {
        self.check()?;
        if let Some(done) = self.catch_up_if_stale().await? {
            return Ok(done);
        }
        let mut losses = 0;
        loop {
            let version = self.next()?;
            match self.claim(version).await? {
                Claim::Ours(bytes, batch) => {
                    let loaded = match &self.base {
                        Some(base) => base.advance(&self.context.env, version, &batch, bytes),
                        None => Loaded::created(&self.context.env, bytes, &batch),
                    };
                    // It is committed, whatever we then fail to make of it.
                    let loaded = loaded.map_err(|error| Failure { error, open: true })?;
                    return Ok(Landed::Ours(version, loaded));
                }
                Claim::Theirs(bytes) => {
                    if let Some(done) = self.give_way(version, bytes).await? {
                        return Ok(done);
                    }
                    losses += 1;
                    if let Some(done) = self.read_ahead(&mut losses).await? {
                        return Ok(done);
                    }
                    if let Some(tries) = losses.checked_sub(LOSSES_FREE) {
                        self.back_off(tries).await;
                    }
                }
            }
        }
    }

    /// The version to try: the one after the base.
    fn next(&self) -> Result<Version> {
        match &self.base {
            Some(base) => base.head.version.next().ok_or_else(|| {
                Error::new(Code::LimitExceeded, "the table is out of versions")
                    .at(self.context.store.location())
            }),
            None => Ok(Version::ZERO),
        }
    }

    fn head(&self) -> Option<&Head> {
        self.base.as_ref().map(|it| &*it.head)
    }

    /// Everything a commit must meet, before anything is sent.
    fn check(&self) -> Result<()> {
        let base = match self.head() {
            Some(head) => {
                Some((head, support::writable(&head.protocol, &head.metadata, &head.schema)?))
            }
            None => None,
        };
        commit::check(&self.draft, base).map_err(|it| it.at(self.context.store.location()))
    }

    /// Puts and looks until it is known whose this version is.
    async fn claim(&self, version: Version) -> Result<Claim, Failure> {
        let Context { env, op, store, .. } = &self.context;
        let key = LogPath::Commit(version).to_path();
        let rendered = self.render(version).await?;
        let began = Moment::now(env);
        // May one of our puts have landed, or land yet?
        let mut open = false;
        let mut cause = None;
        let mut damaged = false;
        for tries in 0u32.. {
            self.check_clocks(version, open, &mut cause)?;
            let put = store.put_if_absent(op, &key, rendered.bytes.clone());
            match self.answer(put).await {
                Ok(Put::Created) => {
                    self.check_number(version, began).await?;
                    return Ok(Claim::Ours(rendered.bytes, rendered.batch));
                }
                Ok(Put::Exists) => open = true,
                Ok(Put::Unknown(it)) => {
                    open = true;
                    cause = Some(it);
                }
                Err(it) if !open && it.kind() != ErrorKind::Unavailable => return Err(it.into()),
                Err(it) => cause = Some(it),
            }
            let looked = store.get(op, &key, COMMIT_BYTES_MAX);
            match env.timeout(self.context.left(), "reading a commit", looked).await {
                Ok(bytes) => match commit::is_ours(&bytes, &self.draft.txn_id) {
                    Ok(true) => {
                        self.check_number(version, began).await?;
                        let read = load::decode(env, store, version, bytes, Width::Wide).await;
                        let read = read.map_err(|error| Failure { error, open: true })?;
                        return Ok(Claim::Ours(read.bytes, read.batch));
                    }
                    Ok(false) => return Ok(Claim::Theirs(bytes)),
                    // Damage may be on the way and not in the store: look once more.
                    Err(it) if damaged => {
                        let place = format!("{}/{key}", store.location());
                        return Err(Failure { error: it.at(place), open: true });
                    }
                    Err(_) => damaged = true,
                },
                Err(it) if it.code() == Code::FileNotFound => {}
                Err(it) => cause = Some(it),
            }
            self.back_off(tries).await;
        }
        Err(Error::internal("tries are without end").into())
    }

    /// The answer to a put, unless the deadline passes first; then there may be an effect.
    async fn answer(&self, put: impl Future<Output = Result<Put>>) -> Result<Put> {
        let Context { env, .. } = &self.context;
        let put = async { Ok(put.await) };
        match env.timeout(self.context.left(), "writing a commit", put).await {
            Ok(answer) => answer,
            Err(it) => Ok(Put::Unknown(it)),
        }
    }

    async fn render(&self, version: Version) -> Result<Rendered> {
        let (draft, base) = (Arc::clone(&self.draft), self.base.clone());
        let now = self.context.env.now();
        let render = move || {
            let head = base.as_ref().map(|it| &*it.head);
            commit::render(&draft, head, version, now)
        };
        let rendered = self.context.env.compute(render).await;
        rendered.map_err(|it| it.at(self.context.store.location()))
    }

    /// Refuses to go on past the deadline, or past the time for which our data files are safe.
    fn check_clocks(
        &self,
        version: Version,
        open: bool,
        cause: &mut Option<Error>,
    ) -> Result<(), Failure> {
        let Context { env, op, store, started } = &self.context;
        let age = started.age(env);
        let limit = retention(self.properties().deleted_file_retention_millis) / 3;
        let mut error = if open && (age >= op.deadline() || age > limit) {
            let id = format!("{}@{version}", self.draft.txn_id);
            let what = format!(
                "whether the commit stands at version {version} is not known after {age:?}; \
                 ask with its id `{id}` before doing it again"
            );
            Error::new(Code::OutcomeUnknown, what).with_payload(Unresolved { id })
        } else if age > limit {
            let what = format!(
                "the operation began {age:?} ago, and its files are safe from vacuum for {limit:?} \
                 only (a third of `delta.deletedFileRetentionDuration`)"
            );
            Error::new(Code::TransactionExpired, what)
        } else if age >= op.deadline() {
            self.context.late("commit")
        } else {
            return Ok(());
        };
        if let Some(cause) = cause.take() {
            error = error.because(cause);
        }
        Err(Failure { error: error.at(store.location()), open })
    }

    /// After a put that took long: was its number still free for us to take, or had cleanup freed it?
    async fn check_number(&self, version: Version, began: Moment) -> Result<(), Failure> {
        let Context { env, op, store, .. } = &self.context;
        let limit = retention(self.properties().log_retention_millis) / 2;
        if began.age(env) <= limit {
            return Ok(());
        }
        let listed = load::list(op, store, Some(version)).await;
        let files = listed.map_err(|error| Failure { error, open: true })?;
        let ours = files.iter().find(|it| it.path == LogPath::Commit(version));
        let reused = ours.is_none_or(|ours| {
            load::commits_after(&files, version).iter().any(|it| it.modified < ours.modified)
        });
        if !reused {
            return Ok(());
        }
        let what = format!(
            "the commit took longer than half of `delta.logRetentionDuration`, and version \
             {version} was cleaned up and passed by before it arrived"
        );
        let error = Error::new(Code::TransactionExpired, what).at(store.location());
        // The log still names the files: they are for vacuum to judge.
        Err(Failure { error, open: true })
    }

    /// A base that is old, or was not the newest when it was read, says nothing about the version
    /// after it: cleanup may have made that absent. The log must still lead from the base on.
    async fn catch_up_if_stale(&mut self) -> Result<Option<Landed>> {
        let Context { env, op, store, .. } = &self.context;
        let Some(base) = &self.base else { return Ok(None) };
        let limit = retention(base.head.properties.log_retention_millis) / 2;
        if base.age(env).is_some_and(|it| it <= limit) {
            return Ok(None);
        }
        let held = base.head.version;
        let files = load::list(op, store, Some(held)).await?;
        let winners = load::commits_after(&files, held);
        let passed = files.iter().any(|it| it.path.version() > held);
        let leads_on = load::follows(held, &winners) && (!winners.is_empty() || !passed);
        if !base.is_among(&files) || !leads_on {
            let what = format!("the log no longer leads on from version {held}; start again");
            return Err(Error::new(Code::TransactionExpired, what).at(store.location()));
        }
        self.give_way_to_all(winners).await
    }

    /// After a loss: reads on as far as there are winners, because a read is cheaper than a put that
    /// is lost too.
    async fn read_ahead(&mut self, losses: &mut u32) -> Result<Option<Landed>> {
        loop {
            let version = self.next()?;
            let Context { op, store, .. } = &self.context;
            if *losses >= LOSSES_BEFORE_LIST {
                *losses = LOSSES_FREE;
                let held = self.base.as_ref().map(|it| it.head.version);
                let files = load::list(op, store, Some(version)).await?;
                let winners = held.map(|it| load::commits_after(&files, it)).unwrap_or_default();
                if let Some(held) = held
                    && load::follows(held, &winners)
                    && let Some(done) = self.give_way_to_all(winners).await?
                {
                    return Ok(Some(done));
                }
                continue;
            }
            let key = LogPath::Commit(version).to_path();
            match store.get(op, &key, COMMIT_BYTES_MAX).await {
                Ok(bytes) => {
                    if let Some(done) = self.give_way(version, bytes).await? {
                        return Ok(Some(done));
                    }
                    *losses += 1;
                }
                // Absent, or not to be had: the put will tell.
                Err(_) => return Ok(None),
            }
        }
    }

    async fn give_way_to_all(&mut self, winners: Vec<LogFile>) -> Result<Option<Landed>> {
        for chunk in winners.chunks(DELETES * 4) {
            let Context { env, op, store, .. } = self.context.clone();
            let read = |file: LogFile| {
                let (env, op, store) = (env.clone(), op.clone(), store.clone());
                async move {
                    let commit = load::commit(&env, &op, &store, &file, Width::Wide).await?;
                    Ok(commit.map(|it| (file.path.version(), it)))
                }
            };
            let mut read = std::pin::pin!(map_ordered(chunk.to_vec(), DELETES, read));
            while let Some(winner) = read.next().await {
                let Some((version, winner)) = winner? else {
                    let what = "a commit vanished while it was being read";
                    return Err(Error::new(Code::LogMoving, what).at(store.location()));
                };
                if let Some(done) = self.yield_to(version, winner.batch, winner.bytes)? {
                    return Ok(Some(done));
                }
            }
        }
        Ok(None)
    }

    async fn give_way(&mut self, version: Version, bytes: Bytes) -> Result<Option<Landed>> {
        let Context { env, store, .. } = &self.context;
        let winner = load::decode(env, store, version, bytes, Width::Wide).await?;
        self.yield_to(version, winner.batch, winner.bytes)
    }

    /// Moves the base past a winner that does not matter to us.
    fn yield_to(
        &mut self,
        version: Version,
        winner: LogBatch,
        bytes: Bytes,
    ) -> Result<Option<Landed>> {
        let place = self.context.store.location();
        let Some(base) = &self.base else {
            let adds_rows = !self.draft.adds.is_empty();
            return Err(conflict::table_created(&winner, adds_rows).at(place));
        };
        let head = &base.head;
        let isolation = head.properties.isolation_level;
        let checked = conflict::check(&self.draft.intent, head, isolation, version, &winner);
        let base = base.advance(&self.context.env, version, &winner, bytes)?;
        if let Err(it) = checked {
            let same_app = |it: &conflict::Conflict| it.reason == Reason::ConcurrentTransaction;
            if !self.once || !it.conflict().is_some_and(same_app) {
                return Err(it.at(place));
            }
            if self.draft.txns.iter().any(|it| covered(&base.head, it)) {
                return Ok(Some(Landed::Covered(base)));
            }
            // An older counter of our application: the rules below that one still have to hold.
            let mut intent = self.draft.intent.clone();
            intent.apps.clear();
            conflict::check(&intent, head, isolation, version, &winner)
                .map_err(|it| it.at(place))?;
        }
        self.base = Some(base);
        if winner.protocol.is_some() || winner.metadata.is_some() {
            self.check()?;
        }
        Ok(None)
    }

    fn properties(&self) -> Properties {
        let metadata = self.draft.metadata.as_ref();
        match (self.head(), metadata) {
            (Some(head), _) => head.properties.clone(),
            (None, Some(it)) => Properties::read(&it.configuration),
            (None, None) => Properties::read(&Default::default()),
        }
    }

    /// Exponential with full jitter, and never past the deadline.
    async fn back_off(&self, tries: u32) {
        let env = &self.context.env;
        let longest = BACKOFF_FIRST.saturating_mul(1u32 << tries.min(16)).min(BACKOFF_MAX);
        let longest = longest.min(self.context.left());
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        env.sleep(Duration::from_nanos(env.random() % nanos.max(1))).await;
    }

    /// What follows a commit. None of it can fail it.
    async fn conclude(
        &self,
        base: Option<&Snapshot>,
        landed: Landed,
        files: &[String],
    ) -> Committed {
        let Context { env, op, store, .. } = &self.context;
        let verb_op = base.map(Snapshot::handle_op).unwrap_or_default();
        let (version, loaded) = match landed {
            Landed::Ours(version, loaded) => (version, loaded),
            Landed::Covered(loaded) => {
                self.context.discard(files).await;
                let snapshot = Snapshot::new(env, store, verb_op, loaded, base);
                return Committed::unchanged(op, snapshot);
            }
        };
        let counts = self.counts(base, version);
        let snapshot = Snapshot::new(env, store, verb_op, loaded, base).with_counts(counts);
        let snapshot = checkpoint_if_due(&self.context, snapshot).await;
        if let Some(counts) = snapshot.counts() {
            let written = save::checksum(op, store, &checksum(&snapshot, counts)).await;
            if let Err(it) = written {
                tracing::debug!(error = ?it, "the version checksum was not written");
            }
        }
        let metrics = self.draft.metrics.clone();
        Committed { snapshot, changed: true, metrics, notes: Vec::new(), usage: op.usage() }
    }

    /// Number and bytes of the live files after our commit, if they are known: nobody else's may lie
    /// between it and the base whose counts are known.
    fn counts(&self, base: Option<&Snapshot>, version: Version) -> Option<Counts> {
        let before = match base {
            None => Counts { files: 0, bytes: 0 },
            Some(base) if base.version().next() == Some(version) => base.counts()?,
            Some(_) => return None,
        };
        let mut after = before;
        for add in &self.draft.adds {
            after.files = after.files.checked_add(1)?;
            after.bytes = after.bytes.checked_add(add.size)?;
        }
        for remove in &self.draft.removes {
            after.files = after.files.checked_sub(1)?;
            after.bytes = after.bytes.checked_sub(remove.size?)?;
        }
        Some(after)
    }
}

/// Has the table seen this version of the application, or a later one?
pub(crate) fn covered(head: &Head, ours: &SetTransaction) -> bool {
    head.txns.get(&ours.app_id).is_some_and(|it| ours.version <= it.version)
}

fn retention(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).max(RETENTION_MIN)
}

fn checksum(snapshot: &Snapshot, counts: Counts) -> Checksum {
    let head = snapshot.head();
    let info = head.commit_info.as_ref();
    Checksum {
        txn_id: head.txn_id().map(str::to_string),
        table_size_bytes: counts.bytes,
        num_files: counts.files,
        in_commit_timestamp: match head.properties.enable_in_commit_timestamps {
            true => info.and_then(|it| it.in_commit_timestamp()),
            false => None,
        },
        head: head.clone(),
    }
}

/// Every n-th version gets a checkpoint from whoever made it; the snapshot then rests on it.
async fn checkpoint_if_due(context: &Context, snapshot: Snapshot) -> Snapshot {
    let Context { env, op, store, .. } = context;
    let interval = snapshot.head().properties.checkpoint_interval.max(1);
    let version = snapshot.version();
    if version == Version::ZERO || version.get() % interval != 0 {
        return snapshot;
    }
    let written = async {
        let state = snapshot.state(op, Width::Wide).await?;
        save::checkpoint(env, op, store, &state).await
    };
    match written.await {
        Ok(file) => snapshot.rebased(file),
        Err(it) => {
            tracing::warn!(error = ?it, %version, "the checkpoint was not written");
            snapshot
        }
    }
}
