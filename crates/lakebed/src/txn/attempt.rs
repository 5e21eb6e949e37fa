//! The loop itself: the base it stands on moves, the draft does not.

use std::iter::successors;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::{FutureExt, StreamExt};
use lakebed_log::action::{Add, CommitInfo};
use lakebed_log::batch::Width;
use lakebed_log::commit::{self, Draft, Rendered};
use lakebed_log::conflict::{self, Reason};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::COMMIT_BYTES_MAX;
use lakebed_log::log_path::LogPath;
use lakebed_log::mutant::planted;
use lakebed_log::property::Properties;
use lakebed_log::segment::LogFile;
use lakebed_log::state::Head;
use lakebed_log::version::Version;

use super::{Context, Unresolved, covered};
use crate::load::{self, Among, Commit, Loaded, Moment};
use crate::pool::map_ordered;
use crate::store::{Put, Turn};

mod settle;

/// First wait after a put that taught us nothing; doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_millis(2);
/// Longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Losing this often in a row is bad luck; losing more often is contention, and waiting helps.
const LOSSES_FREE: u32 = 3;
/// How long it waits for a turn, which others may forget to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks for winners meanwhile.
const LOOKS_EVERY: Duration = Duration::from_millis(10);
/// Winners fetched at once.
const FETCHES: usize = 16;
/// Retentions of the log and of removed files under this count as this.
const RETENTION_MIN: Duration = Duration::from_secs(3600);

/// Why a commit did not succeed.
pub(super) struct Failure {
    pub(super) error: Error,
    /// May it still be, or come to be, in the table?
    pub(super) open: bool,
}

impl From<Error> for Failure {
    /// For everything that happens while nothing is under way.
    fn from(error: Error) -> Failure {
        Failure { error, open: false }
    }
}

pub(super) enum Landed {
    /// It stands there.
    Ours(Version, Loaded),
    /// A commit of the same application made it superfluous.
    Covered(Loaded),
}

/// What one version turned out to hold.
enum Claim {
    /// With its entity tag, where the store gave one.
    Ours(Arc<Commit>, Option<String>),
    Theirs(Bytes),
}

pub(super) struct Attempt {
    context: Context,
    base: Option<Loaded>,
    draft: Arc<Draft>,
    /// See [`Staged::once`](super::Staged::once).
    once: bool,
    /// Ours to commit, among those who care.
    turn: Mutex<Option<Turn>>,
}

impl Attempt {
    pub(super) fn new(
        context: Context,
        base: Option<Loaded>,
        mut draft: Draft,
        once: bool,
    ) -> Attempt {
        draft.note_adds();
        Attempt { context, base, draft: Arc::new(draft), once, turn: Mutex::default() }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }

    pub(super) async fn run(&mut self) -> Result<Landed, Failure> {
        self.load_files().await?;
        self.check()?;
        if let Some(done) = self.catch_up_if_stale().await? {
            return self.found(done).await;
        }
        self.know_predecessor().await;
        // Before its turn, in which others wait.
        if let Err(it) = self.context.store.begin_to_settle().await
            && self.is_final(&it).await
        {
            return Err(it.into());
        }
        let landed = self.land().await;
        self.end_turn();
        landed
    }

    async fn land(&mut self) -> Result<Landed, Failure> {
        let mut losses = 0u32;
        loop {
            if let Some(done) = self.take_turn().await? {
                return self.found(done).await;
            }
            let (version, began) = (self.next()?, self.context.env.elapsed());
            match self.claim(version).await? {
                Claim::Ours(commit, tag) => {
                    let loaded = match self.base.take() {
                        Some(base) => base.advance(&self.context.env, &commit, tag),
                        None => Loaded::created(&self.context.env, commit, tag),
                    };
                    // It is committed, whatever we then fail to make of it.
                    let loaded = loaded.map_err(|it| self.doubt(version, it))?;
                    return Ok(Landed::Ours(version, loaded));
                }
                Claim::Theirs(bytes) => {
                    if let Some(done) = self.give_way(version, bytes).await? {
                        return self.found(done).await;
                    }
                    losses = losses.saturating_add(1);
                    let took = self.context.env.elapsed().saturating_sub(began);
                    // After a first loss the next one is likely ours, and a look is a round trip.
                    let looks = 1 < losses || self.context.store.is_disk();
                    if looks && let Some(done) = self.read_ahead().await? {
                        return self.found(done).await;
                    }
                    if LOSSES_FREE < losses {
                        // Who wins one try in so many has about so many rivals, and all have room
                        // if each waits for as many tries.
                        self.pause(took.saturating_mul(losses)).await;
                    }
                }
            }
        }
    }

    /// What another attempt brought about stands there, but perhaps not for good: its name may
    /// still be on its way to disk.
    async fn found(&self, done: Landed) -> Result<Landed, Failure> {
        let version = match &done {
            Landed::Ours(version, _) => *version,
            Landed::Covered(loaded) => loaded.head.version,
        };
        match self.context.store.sync(&LogPath::Commit(version).to_path()).await {
            Ok(()) => Ok(done),
            Err(it) => Err(self.doubt(version, it)),
        }
    }

    /// Waits for a turn, where there are turns, unless it has one. Where it has to wait, it reads
    /// on meanwhile, so that the turn is short.
    async fn take_turn(&mut self) -> Result<Option<Landed>> {
        if self.turn.get_mut().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(None);
        }
        let Context { env, store, .. } = self.context.clone();
        let patience = PATIENCE.min(self.context.left() / 2);
        let mut turn = pin!(store.turn(patience));
        let mut came = turn.as_mut().now_or_never();
        let waits = came.is_none();
        while came.is_none() {
            let look = Box::pin(env.sleep(LOOKS_EVERY));
            match select(turn.as_mut(), look).await {
                Either::Left((it, _)) => came = Some(it),
                Either::Right(_) => {
                    if let Some(done) = self.read_ahead().await? {
                        return Ok(Some(done));
                    }
                }
            }
        }
        *self.turn.get_mut().unwrap_or_else(PoisonError::into_inner) = came.flatten();
        if waits { self.read_ahead().await } else { Ok(None) }
    }

    fn end_turn(&self) {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    /// What a draft removes is looked up in the files of the version it was made on.
    async fn load_files(&mut self) -> Result<()> {
        let Context { env, op, store, .. } = &self.context;
        let Some(base) = self.base.as_ref().filter(|_| !self.draft.removes.is_empty()) else {
            return Ok(());
        };
        if let Some(state) = &self.draft.intent.state {
            let (read, held) = (state.head.version, base.head.version);
            return match read == held {
                true => Ok(()),
                false => {
                    let what = format!("files of version {read} are removed from version {held}");
                    Err(Error::internal(what))
                }
            };
        }
        let rearranges = self.draft.removes.iter().any(|it| !it.data_change);
        let width = if rearranges { Width::Wide } else { Width::Narrow };
        let state = load::files(env, op, store, base, width, None);
        let state = self.context.bounded("reading the log", state).await?;
        Arc::make_mut(&mut self.draft).intent.state = Some(state);
        Ok(())
    }

    /// Everything a commit must meet, before anything is sent.
    fn check(&self) -> Result<()> {
        let base = match self.head() {
            Some(head) => Some((head, head.writable()?)),
            None => None,
        };
        commit::check(&self.draft, base).map_err(|it| it.at(self.context.store.location()))
    }

    /// Puts and looks until it is known whose this version is.
    async fn claim(&self, version: Version) -> Result<Claim, Failure> {
        let Context { env, op, store, .. } = &self.context;
        let mut key = LogPath::Commit(version).to_path();
        let rendered = self.render(version).await?;
        let began = Moment::now(env);
        // May one of our puts have landed, or land yet?
        let mut open = false;
        let mut cause = None;
        let mut damaged = None;
        for tries in 0u32.. {
            self.check_clocks(version, open, &mut cause)?;
            let seen = self.check_bereft(open).await?;
            let put = self.put(&key, rendered.bytes.clone(), seen);
            match self.answer(put).await {
                Ok(Put::Created(tag)) => {
                    self.check_landed(version, began).await?;
                    return Ok(Claim::Ours(written(version, rendered), tag));
                }
                Ok(Put::Exists) => open = true,
                Ok(Put::Unknown(it)) if planted(2) => return Err(it.into()),
                Ok(Put::Unknown(it)) => {
                    open = true;
                    cause = Some(it);
                }
                Err(it) if !open && self.is_final(&it).await => return Err(it.into()),
                Err(it) => cause = Some(it),
            }
            let looked = store.get(op, &key, COMMIT_BYTES_MAX);
            match env.timeout(self.context.left(), "reading a commit", looked).await {
                Ok(bytes) => match commit::is_ours(&bytes, &self.draft.txn_id) {
                    // There, but perhaps not for good: it may still be on its way to disk.
                    Ok(true) => match store.sync(&key).await {
                        Ok(()) => {
                            self.check_landed(version, began).await?;
                            let read = load::decode(env, store, version, bytes, Width::Wide).await;
                            let read = read.map_err(|it| self.doubt(version, it))?;
                            return Ok(Claim::Ours(read, None));
                        }
                        Err(it) if self.is_final(&it).await => return Err(self.doubt(version, it)),
                        Err(it) => {
                            open = true;
                            cause = Some(it);
                        }
                    },
                    Ok(false) => return Ok(Claim::Theirs(bytes)),
                    // Damage may be on the way and not in the store, unless two looks agree on it.
                    Err(it) if damaged.as_ref() == Some(&bytes) => {
                        let place = format!("{}/{key}", store.location());
                        return Err(self.doubt(version, it.at(place)));
                    }
                    Err(_) => damaged = Some(bytes),
                },
                Err(it) if it.code() == Code::FileNotFound && planted(24) && open => {
                    return Err(it.into());
                }
                Err(it) if it.code() == Code::FileNotFound => {
                    if planted(3) && open {
                        key = LogPath::Commit(version.next().unwrap_or(version)).to_path();
                    }
                }
                Err(it) => cause = Some(it),
            }
            self.back_off(tries).await;
        }
        Err(Error::internal("tries are without end").into())
    }

    /// Would another try fail as well? What a sync has lost, no later one brings back.
    async fn is_final(&self, error: &Error) -> bool {
        error.kind() != ErrorKind::Unavailable || self.context.store.settle().await.is_err()
    }

    async fn put(&self, key: &str, bytes: Bytes, seen: u64) -> Result<Put> {
        let Context { op, store, .. } = &self.context;
        if planted(4) {
            return store.put(op, key, bytes).await.map(|()| Put::Created(None));
        }
        store.put_seeing(op, key, bytes, Some(seen)).await
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
        let bytes = if self.draft.metadata.is_some() { usize::MAX } else { self.bytes() };
        let rendered = self.context.env.compute_of(bytes, render).await;
        rendered.map_err(|it| it.at(self.context.store.location()))
    }

    /// About how many bytes its adds and removes are.
    fn bytes(&self) -> usize {
        let Draft { adds, removes, .. } = &*self.draft;
        let stats = |it: &Add| it.stats.as_ref().map_or(0, String::len);
        let adds: usize = adds.iter().map(|it| 400 + it.path.len() + stats(it)).sum();
        adds + removes.iter().map(|it| 400 + it.path.len()).sum::<usize>()
    }

    /// Refuses to go on past the deadline, or past the time for which our data files are safe.
    fn check_clocks(
        &self,
        version: Version,
        open: bool,
        cause: &mut Option<Error>,
    ) -> Result<(), Failure> {
        let Context { env, op, store, started, written, .. } = &self.context;
        let (age, files) = (started.age(env), written.age(env));
        let limit = safe_for(&self.properties());
        let mut error = if open && (age >= op.deadline() || files > limit) {
            self.unknown(version, &format!("is not known after {age:?}"))
        } else if files > limit {
            let what = format!(
                "its files were begun {files:?} ago, and are safe from vacuum for {limit:?} \
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

    fn unknown(&self, version: Version, why: &str) -> Error {
        let id = format!("{}@{version}", self.draft.txn_id);
        let what = format!(
            "whether the commit stands at version {version} {why}; \
             ask with its id `{id}` before doing it again"
        );
        Error::new(Code::OutcomeUnknown, what).with_payload(Unresolved { id })
    }

    /// A failure after which the commit may stand all the same.
    fn doubt(&self, version: Version, cause: Error) -> Failure {
        let error = self.unknown(version, "could not be made sure").because(cause);
        Failure { error: error.at(self.context.store.location()), open: true }
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
        let listed = load::list(op, store, Some(held));
        let files = self.context.bounded("listing the log", listed).await?;
        let winners = load::commits_after(&files, held);
        let passed = files.iter().any(|it| it.path.version() > held);
        let leads_on = load::follows(held, &winners) && (!winners.is_empty() || !passed);
        let there = base.is_among(op, store, &files);
        let there = self.context.bounded("reading the log", there).await?;
        if there == Among::No || !leads_on {
            let what = format!("the log no longer leads on from version {held}; start again");
            return Err(Error::new(Code::TransactionExpired, what).at(store.location()));
        }
        self.give_way_to_all(winners).await
    }

    /// After a loss: reads on as far as there are winners, the more at once the more there were,
    /// because a read is cheaper than a put that is lost too.
    async fn read_ahead(&mut self) -> Result<Option<Landed>> {
        let mut at_once = 1;
        loop {
            let first = self.next()?;
            let versions: Vec<_> = successors(Some(first), |it| it.next()).take(at_once).collect();
            let context = &self.context.clone();
            let read = |version: Version| async move {
                let key = LogPath::Commit(version).to_path();
                let looked = context.store.get(&context.op, &key, COMMIT_BYTES_MAX);
                // Absent, or not to be had: the put will tell.
                let read = context.bounded("reading a commit", looked).await;
                Ok(read.ok().map(|bytes| (version, bytes)))
            };
            let mut winners = pin!(map_ordered(versions, FETCHES, read));
            while let Some(winner) = winners.next().await {
                let Some((version, bytes)) = winner? else { return Ok(None) };
                if let Some(done) = self.give_way(version, bytes).await? {
                    return Ok(Some(done));
                }
            }
            at_once = (at_once * 2).min(FETCHES);
        }
    }

    async fn give_way_to_all(&mut self, winners: Vec<LogFile>) -> Result<Option<Landed>> {
        for chunk in winners.chunks(FETCHES * 4) {
            let context = &self.context.clone();
            let read = |file: LogFile| async move {
                let Context { env, op, store, .. } = context;
                let commit = load::commit(env, op, store, &file, Width::Wide);
                context.bounded("reading a commit", commit).await
            };
            let mut read = pin!(map_ordered(chunk.to_vec(), FETCHES, read));
            while let Some(winner) = read.next().await {
                let Some(winner) = winner? else {
                    let what = "a commit vanished while it was being read";
                    return Err(Error::new(Code::LogMoving, what).at(context.store.location()));
                };
                let newest = winners.last().map(|it| it.path.version()) == Some(winner.version);
                if let Some(done) = self.yield_to(&winner, newest)? {
                    return Ok(Some(done));
                }
            }
        }
        Ok(None)
    }

    async fn give_way(&mut self, version: Version, mut bytes: Bytes) -> Result<Option<Landed>> {
        let Context { env, op, store, .. } = &self.context;
        let winner = loop {
            match load::decode(env, store, version, bytes.clone(), Width::Wide).await {
                // Damage may be on the way and not in the store, unless two looks agree on it.
                Err(it) if it.kind() == ErrorKind::Corrupt => {
                    let key = LogPath::Commit(version).to_path();
                    let looked = store.get(op, &key, COMMIT_BYTES_MAX);
                    let again = self.context.bounded("reading a commit", looked).await?;
                    if std::mem::replace(&mut bytes, again) == bytes {
                        return Err(it);
                    }
                }
                winner => break winner?,
            }
        };
        let newest = !planted(6) || {
            let next = LogPath::Commit(version.next().unwrap_or(version)).to_path();
            store.get(op, &next, COMMIT_BYTES_MAX).await.is_err()
        };
        self.yield_to(&winner, newest)
    }

    /// Moves the base past a winner that does not matter to us; in place, since there may be many.
    /// After an error there is none.
    fn yield_to(&mut self, winner: &Arc<Commit>, newest: bool) -> Result<Option<Landed>> {
        let (version, batch) = (winner.version, &winner.batch);
        let place = self.context.store.location();
        let Some(base) = self.base.take() else {
            let adds_rows = !self.draft.adds.is_empty();
            return Err(conflict::table_created(batch, adds_rows).at(place));
        };
        let head = Arc::clone(&base.head);
        let isolation = head.properties.isolation_level;
        let checked = conflict::check(&self.draft.intent, &head, isolation, version, batch);
        let checked = if planted(6) && !newest { Ok(()) } else { checked };
        check_lineage(&head, winner).map_err(|it| it.at(place))?;
        let base = base.advance(&self.context.env, winner, None)?;
        // A draft that was staged and is published twice finds itself.
        let info = winner.batch.commit_info.as_ref();
        if !planted(1) && info.and_then(CommitInfo::txn_id) == Some(self.draft.txn_id.as_str()) {
            return Ok(Some(Landed::Ours(version, base)));
        }
        if self.context.left().is_zero() {
            return Err(self.context.late("commit"));
        }
        // The counter was set by another run of this very operation: nothing else matters then.
        if self.once && self.draft.txns.iter().any(|it| covered(&base.head, it)) {
            return Ok(Some(Landed::Covered(base)));
        }
        if let Err(it) = checked {
            let same_app = |it: &conflict::Conflict| it.reason == Reason::ConcurrentTransaction;
            if !self.once || !it.conflict().is_some_and(same_app) {
                return Err(it.at(place));
            }
            // An older counter of our application: the rules below that one still have to hold.
            let mut intent = self.draft.intent.clone();
            intent.apps.clear();
            conflict::check(&intent, &head, isolation, version, batch)
                .map_err(|it| it.at(place))?;
        }
        self.base = Some(base);
        if batch.protocol.is_some() || batch.metadata.is_some() {
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

    /// Waits longer with every try.
    async fn back_off(&self, tries: u32) {
        self.pause(BACKOFF_FIRST.saturating_mul(1u32 << tries.min(16))).await;
    }

    /// Waits with full jitter, and never past the deadline. Others go meanwhile.
    async fn pause(&self, longest: Duration) {
        self.end_turn();
        let env = &self.context.env;
        let longest = longest.min(BACKOFF_MAX).min(self.context.left());
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        env.sleep(Duration::from_nanos(env.random() % nanos.max(1))).await;
    }
}

/// A commit that we have just written.
fn written(version: Version, rendered: Rendered) -> Arc<Commit> {
    let Rendered { bytes, batch, .. } = rendered;
    let (first, width, run) = (version, Width::Wide, None);
    Arc::new(Commit { first, version, bytes, width, batch, run })
}

/// A commit of Lakebed names its predecessor; one that names another belongs to another table.
fn check_lineage(head: &Head, winner: &Commit) -> Result<()> {
    if load::follows_from(head, &winner.batch) {
        return Ok(());
    }
    let what = format!(
        "version {} does not follow from the version held; the table was replaced, start again",
        winner.version
    );
    Err(Error::new(Code::TransactionExpired, what))
}

/// For how long vacuum leaves alone what an operation writes.
pub(super) fn safe_for(properties: &Properties) -> Duration {
    retention(properties.deleted_file_retention_millis) / 3
}

fn retention(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).max(RETENTION_MIN)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
