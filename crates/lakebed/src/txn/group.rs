//! Commits of one process to one table take turns, and appends that wait for theirs land together.
//!
//! A store takes one commit of a table at a time, and a round trip for each. Writers that all ask
//! for the next version would get in each other's way, and each loss costs a round trip more. So
//! whoever comes while another commits waits in line, and when that one has landed, all appends of
//! the line go into the next version as one commit:
//!
//! ```text
//!   commit 7:  a                 nobody was there: a goes at once
//!   waiting:      b c D e f      while 7 is under way
//!   commit 8:  b c e f           appends; each is told its version and its own figures
//!   commit 9:  D                 an overwrite goes alone, when it is its turn
//! ```
//!
//! The first in line always goes, so nobody waits for ever. What follows a landed commit (checksum,
//! checkpoint) goes on beside the next ones. Who landed with others waits for a checkpoint alone if
//! others are still in line; else for all of it, since the process may end then.
//!
//! A group that meets what its members cannot all bear is in no version: then those that another
//! commit has made superfluous are told so, and if the commit itself was refused before anything
//! was sent, each member goes alone and gets its own answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;
use lakebed_log::commit::{Draft, added_up};
use lakebed_log::conflict::Reads;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::mutant::planted;
use lakebed_log::state::Head;

use super::attempt::{Attempt, Failure, Landed, safe_for};
use super::conclude::is_checkpoint_due;
use super::{Committed, Context, Staged, Unresolved, covered, done_already, is_creation_lost};
use crate::load::Moment;
use crate::snapshot::Snapshot;
use crate::store::Store;

mod line;

use line::{Landing, Line, Works};

/// Most files that the appends of one commit add together.
const GROUP_ACTIONS_MAX: usize = 10_000;
/// About the most bytes of the commit that appends make together.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// One commit that waits.
struct Entry {
    number: u64,
    context: Context,
    base: Option<Snapshot>,
    staged: Staged,
    answer: oneshot::Sender<Result<Committed>>,
    stage: Arc<Mutex<Stage>>,
}

/// How far a commit is.
#[derive(Clone, Default)]
enum Stage {
    /// In line.
    #[default]
    Waits,
    /// Under way by its own clock, as this transaction.
    Alone(String),
    /// Under way with others, as this transaction.
    Together(String),
    /// Landed; what follows a commit is still to be done.
    Landed(Box<Committed>),
}

/// Commits when it is its turn.
pub(super) async fn submit(
    context: &Context,
    base: Option<&Snapshot>,
    staged: Staged,
) -> Result<Committed> {
    let line: Arc<Line> = context.env.shared(&format!("commits to {}", context.store.location()));
    let (answer, result) = oneshot::channel();
    let stage = Arc::default();
    let (number, is_first) = {
        let mut waiting = line.waiting();
        waiting.numbers += 1;
        let number = waiting.numbers;
        let (context, base, stage) = (context.clone(), base.cloned(), Arc::clone(&stage));
        waiting.entries.push_back(Entry { number, context, base, staged, answer, stage });
        (number, !std::mem::replace(&mut waiting.busy, true))
    };
    if is_first {
        Works::begin(context, Arc::clone(&line));
    }
    line.answer(context, number, &stage, result).await
}

impl Entry {
    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// The commit as it is, by itself.
    fn head(&self) -> Option<&Head> {
        self.base.as_ref().map(Snapshot::head)
    }

    /// Takes a newer version to start from.
    fn starts_from(&mut self, base: &Snapshot) {
        let ours = self.base.as_ref();
        if ours.is_none_or(|it| it.version() < base.version()) {
            self.base = Some(base.with_op(ours.and_then(Snapshot::handle_op)));
        }
    }

    /// Did it look at the table before, perhaps?
    fn began_before(&self, at: Moment) -> bool {
        let Context { env, started, .. } = &self.context;
        at.age(env) <= started.age(env)
    }

    /// Is its table as this one says, but for files?
    fn is_of(&self, other: &Head) -> bool {
        self.head().is_some_and(|ours| {
            std::ptr::eq(ours, other)
                || (ours.metadata == other.metadata && ours.protocol == other.protocol)
        })
    }

    /// May it land with others? Its clocks must leave room for that.
    fn joins(&self) -> bool {
        let Context { env, written, .. } = &self.context;
        let Draft { protocol, metadata, removes, domains, intent, .. } = &self.staged.draft;
        let plain = protocol.is_none()
            && metadata.is_none()
            && removes.is_empty()
            && domains.is_empty()
            && matches!(intent.reads, Reads::Nothing);
        let safe = |it: &Head| written.age(env) < safe_for(&it.properties);
        self.staged.joins
            && plain
            && !self.context.left().is_zero()
            && !self.context.is_bereft()
            && self.head().is_some_and(safe)
    }

    fn bytes(&self) -> usize {
        let stats = |it: &lakebed_log::action::Add| it.stats.as_ref().map_or(0, String::len);
        self.staged.draft.adds.iter().map(|it| 200 + it.path.len() + stats(it)).sum()
    }

    fn apps(&self) -> impl Iterator<Item = &String> {
        self.staged.draft.txns.iter().map(|it| &it.app_id)
    }

    /// What it is told of the version in which it has landed with others.
    fn landed(&self, there: &Snapshot) -> Committed {
        Committed {
            snapshot: there.with_op(self.base.as_ref().and_then(Snapshot::handle_op)),
            changed: true,
            metrics: self.staged.draft.metrics.clone(),
            notes: self.staged.notes.clone(),
            usage: self.context.op.usage(),
        }
    }

    /// Tells it of the version in which it has landed with others.
    fn told(self, there: &Snapshot) {
        let done = self.landed(there);
        self.tell(Ok(done));
    }

    fn tell(self, answer: Result<Committed>) {
        // Nobody may be waiting any more.
        let _ = self.answer.send(answer);
    }
}

/// Those that go as one commit: one of any kind, or some that join.
struct Group {
    entries: Vec<Entry>,
    joins: bool,
    actions: usize,
    bytes: usize,
    apps: BTreeSet<String>,
}

impl Group {
    fn new(first: Entry) -> Group {
        let joins = first.joins();
        let entries = Vec::new();
        let mut group = Group { entries, joins, actions: 0, bytes: 0, apps: BTreeSet::new() };
        group.push(first);
        group
    }

    fn push(&mut self, entry: Entry) {
        self.actions += entry.staged.draft.adds.len() + entry.staged.draft.txns.len();
        self.bytes += entry.bytes();
        self.apps.extend(entry.apps().cloned());
        self.entries.push(entry);
    }

    /// Are both of one kind, on one table, and is there room?
    fn takes(&self, entry: &Entry) -> bool {
        let Some(first) = self.entries.first().filter(|_| self.joins && entry.joins()) else {
            return false;
        };
        let (ours, theirs) = (&first.staged.draft, &entry.staged.draft);
        let same_table = entry.head().is_some_and(|it| first.is_of(it));
        ours.operation == theirs.operation
            && ours.parameters == theirs.parameters
            && ours.user_metadata == theirs.user_metadata
            && same_table
            && !entry.apps().any(|it| self.apps.contains(it))
            && self.actions + theirs.adds.len() + theirs.txns.len() <= GROUP_ACTIONS_MAX
            && self.bytes + entry.bytes() <= GROUP_BYTES_MAX
    }

    /// Commits on the newest version that any of them has seen, or that has landed since one of
    /// them looked.
    async fn land(mut self, line: &Arc<Line>) -> Landing {
        if self.joins {
            let last = line.waiting().last.clone();
            let there = last.filter(|(there, at)| {
                // What has changed no more than files changes nothing for those who join.
                self.entries.iter().any(|it| it.is_of(there.head()) && it.began_before(*at))
            });
            let there = there.map(|it| it.0);
            let bases = self.entries.iter().filter_map(|it| it.base.as_ref());
            let newest = there.iter().chain(bases).max_by_key(|it| it.version()).cloned();
            if let Some(base) = newest {
                self.tell_covered(&base);
                if 1 < self.entries.len() {
                    return self.land_together(line, base).await;
                }
                self.entries.iter_mut().for_each(|it| it.starts_from(&base));
            }
        }
        match self.entries.pop() {
            Some(entry) => land_alone(entry, Arc::clone(line)).await,
            None => Landing::nothing(),
        }
    }

    async fn land_together(mut self, line: &Arc<Line>, base: Snapshot) -> Landing {
        let Some(context) = self.context() else { return Landing::nothing() };
        let once = self.entries.iter().any(|it| it.staged.once);
        let draft = self.draft(context.env.id().to_string());
        self.entries.iter().for_each(|it| it.enter(Stage::Together(draft.txn_id.clone())));
        let settled = self.settle_others().await;
        let mut attempt = Attempt::new(context, Some(base.loaded().clone()), draft, once);
        let unsettled = settled.is_err();
        let landed = match settled {
            Ok(()) => attempt.run().await,
            Err(it) => Err(it.into()),
        };
        let unsettled = unsettled || attempt.context().is_bereft();
        match landed {
            Ok(landed @ Landed::Ours(..)) => {
                let there = there(&attempt, Some(&base), &landed);
                for entry in &self.entries {
                    entry.enter(Stage::Landed(Box::new(entry.landed(&there.0))));
                }
                // The checksum comes while those work who still wait. Without any, this process may
                // end; and what they go on with rests on the checkpoint, where there will be one.
                if line.is_busy() && !is_checkpoint_due(&there.0) {
                    std::mem::take(&mut self.entries).into_iter().for_each(|it| it.told(&there.0));
                }
                let line = Arc::clone(line);
                let after = async move {
                    let done = attempt.conclude(Some(&base), landed, &[]).await;
                    line.rests(&done.snapshot);
                    self.entries.into_iter().for_each(|it| it.told(&done.snapshot));
                };
                return Landing { after: Box::pin(after), there: Some(there) };
            }
            Ok(landed @ Landed::Covered(_)) => {
                let base = attempt.there(Some(&base), &landed);
                self.tell_covered(&base);
                self.entries.iter_mut().for_each(|it| it.starts_from(&base));
                line.put_back(self.entries);
            }
            // Somebody's own fault, perhaps: then it is not everybody's.
            Err(Failure { error, open: false }) if unsettled || is_of_one(&error) => {
                self.entries.iter_mut().for_each(|it| it.staged.joins = false);
                line.put_back(self.entries);
            }
            Err(Failure { error, open }) => {
                let after = async move { self.tell_failed(&error, open).await };
                return Landing { after: Box::pin(after), there: None };
            }
        }
        Landing::nothing()
    }

    /// The commit makes the names durable that its own handle of the place has noted; those of
    /// other handles are made so here.
    async fn settle_others(&self) -> Result<()> {
        let mut stores = self.entries.iter().map(|it| &it.context.store);
        let mut settled: Vec<&Store> = stores.next().into_iter().collect();
        for store in stores {
            if !settled.iter().any(|it| it.is_same(store)) {
                store.settle().await?;
                settled.push(store);
            }
        }
        match self.entries.iter().any(|it| it.context.is_bereft()) {
            true => Err(Error::new(Code::Unavailable, "files vanished before their commit")),
            false => Ok(()),
        }
    }

    /// One context for all: the first pays, the oldest files count, and the longest deadline.
    fn context(&self) -> Option<Context> {
        let first = &self.entries.first()?.context;
        let mut contexts = self.entries.iter().map(|it| &it.context);
        let left = contexts.clone().map(Context::left).max()?;
        let deadline = left.saturating_add(first.started.age(&first.env));
        let written = contexts.clone().map(|it| it.written).max_by_key(|it| it.age(&first.env))?;
        let op = contexts.next()?.op.with_deadline(deadline);
        Some(Context { written, op, ..first.clone() })
    }

    /// All of them as one draft.
    fn draft(&self, txn_id: String) -> Draft {
        let mut drafts = self.entries.iter().map(|it| &it.staged.draft);
        let first = drafts.next().cloned().unwrap_or_default();
        let mut all = Draft { txn_id, ..first };
        for draft in drafts.take_while(|_| !planted(51)) {
            all.adds.extend(draft.adds.iter().cloned());
            all.txns.extend(draft.txns.iter().cloned());
            all.intent.apps.extend(draft.intent.apps.iter().cloned());
            all.metrics = added_up(&all.metrics, draft.metrics.clone());
        }
        all.metrics.insert("numAppends".into(), self.entries.len().to_string().into());
        all
    }

    /// Tells those whose application has been there already, and lets them go.
    fn tell_covered(&mut self, base: &Snapshot) {
        let is_covered = |it: &mut Entry| {
            let mut txns = it.staged.draft.txns.iter();
            it.staged.once && txns.any(|it| covered(base.head(), it))
        };
        for entry in self.entries.extract_if(.., is_covered) {
            let (context, files) = (entry.context.clone(), entry.staged.files.clone());
            let there = base.with_op(entry.base.as_ref().and_then(Snapshot::handle_op));
            drop(context.env.clone().spawn(async move {
                entry.tell(done_already(&context, there).await);
                context.discard(&files).await;
                Ok(())
            }));
        }
    }

    async fn tell_failed(self, error: &Error, open: bool) {
        for entry in self.entries {
            if !open || planted(17) {
                entry.context.discard(&entry.staged.files).await;
            }
            entry.tell(Err(copied(error)));
        }
    }
}

/// A commit by itself, by its own clock.
async fn land_alone(mut entry: Entry, line: Arc<Line>) -> Landing {
    entry.enter(Stage::Alone(entry.staged.draft.txn_id.clone()));
    let draft = std::mem::take(&mut entry.staged.draft);
    let held = entry.base.as_ref().map(|it| it.loaded().clone());
    let mut attempt = Attempt::new(entry.context.clone(), held, draft, entry.staged.once);
    let landed = attempt.run().await;
    let there = landed.as_ref().ok().map(|it| there(&attempt, entry.base.as_ref(), it));
    if let (Ok(Landed::Ours(..)), Some((there, _))) = (&landed, &there) {
        let done = Committed { metrics: attempt.draft().metrics.clone(), ..entry.landed(there) };
        entry.enter(Stage::Landed(Box::new(done)));
    }
    let after = async move {
        let files = &entry.staged.files;
        let answer = match landed {
            Ok(landed) => {
                let done = attempt.conclude(entry.base.as_ref(), landed, files).await;
                line.rests(&done.snapshot);
                let notes = if done.changed { entry.staged.notes.clone() } else { Vec::new() };
                Ok(Committed { notes, ..done })
            }
            Err(Failure { error, open }) => {
                if (!open || planted(17)) && !is_creation_lost(&error) {
                    attempt.context().discard(files).await;
                }
                Err(error)
            }
        };
        entry.tell(answer);
    };
    Landing { after: Box::pin(after), there }
}

/// What stands there now.
fn there(attempt: &Attempt, base: Option<&Snapshot>, landed: &Landed) -> (Snapshot, Moment) {
    let at = Moment::now(&attempt.context().env);
    (attempt.there(base, landed), at)
}

/// Its outcome is open.
fn in_doubt(context: &Context, id: String) -> Error {
    let what = format!(
        "whether the commit landed is not known within {:?}; \
         ask with its id `{id}` before doing it again",
        context.op.deadline()
    );
    let error = Error::new(Code::OutcomeUnknown, what).at(context.store.location());
    error.with_payload(Unresolved { id })
}

/// Errors that one draft of many may bring about.
fn is_of_one(error: &Error) -> bool {
    use ErrorKind::{Exhausted, Internal, Invalid, Unsupported};
    matches!(error.kind(), Invalid | Unsupported | Exhausted | Internal)
        || error.code() == Code::TransactionExpired
}

/// The same for somebody else, with what programs branch on.
fn copied(error: &Error) -> Error {
    let copy = error.copied();
    match (error.conflict(), error.unresolved()) {
        (Some(it), _) => copy.with_payload(it.clone()),
        (None, Some(it)) => copy.with_payload(it.clone()),
        (None, None) => copy,
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
