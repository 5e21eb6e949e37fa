//! The line of those who wait to commit to one table, and whoever works on it.
//!
//! Whoever finds nobody at work has somebody work on the line from then on, until it is empty. What
//! follows a landed commit is done beside the next ones, by the same worker.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use lakebed_log::error::{Error, Result};

use super::{Committed, Context, Entry, Group, Stage, in_doubt};
use crate::env::BoxFuture;
use crate::load::Moment;
use crate::op::ANSWER;
use crate::snapshot::Snapshot;

/// What follows a commit goes on beside the next ones, but of no more than this many.
const AFTERS_MAX: usize = 8;

/// The commits of one table that wait for their turn. One for each location of an environment.
#[derive(Default)]
pub(super) struct Line(Mutex<Waiting>);

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) entries: VecDeque<Entry>,
    /// Does somebody work on the line?
    pub(super) busy: bool,
    /// What has landed last, and when.
    pub(super) last: Option<(Snapshot, Moment)>,
    pub(super) numbers: u64,
}

impl Line {
    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer, and no longer than the deadline where nobody else sees to that.
    pub(super) async fn answer(
        &self,
        context: &Context,
        number: u64,
        stage: &Mutex<Stage>,
        result: oneshot::Receiver<Result<Committed>>,
    ) -> Result<Committed> {
        let stage_now = || stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Whoever worked on it is gone; what was sent may have arrived.
        let given = |it: Result<Result<Committed>, oneshot::Canceled>| {
            it.unwrap_or_else(|_| match stage_now() {
                Stage::Waits => Err(Error::internal("the commit stopped before it was sent")),
                Stage::Alone(id) | Stage::Together(id) => Err(in_doubt(context, id)),
                Stage::Landed(done) => Ok(*done),
            })
        };
        let late = Box::pin(context.env.sleep(context.left()));
        let mut result = match select(result, late).await {
            Either::Left((answer, _)) => return given(answer),
            Either::Right(((), result)) => result,
        };
        let waits = {
            let mut waiting = self.waiting();
            let at = waiting.entries.iter().position(|it| it.number == number);
            at.and_then(|it| waiting.entries.remove(it))
        };
        if let Some(entry) = waits {
            context.discard(&entry.staged.files).await;
            return Err(context.late("waiting for other commits of this process"));
        }
        match (result.try_recv(), stage_now()) {
            (Ok(Some(answer)), _) => answer,
            // Where it will stand is open: only its identity can be asked for.
            (_, Stage::Together(id)) => Err(in_doubt(context, id)),
            (_, Stage::Landed(done)) => Ok(*done),
            // It ends by its own clock, unless the store keeps it from that.
            _ => match select(result, Box::pin(context.env.sleep(ANSWER))).await {
                Either::Left((answer, _)) => given(answer),
                Either::Right(_) => given(Err(oneshot::Canceled)),
            },
        }
    }

    /// Those who go next; nobody if the line is empty, and then nobody works on it any more.
    pub(super) fn next(&self) -> Option<Group> {
        let mut waiting = self.waiting();
        let Some(first) = waiting.entries.pop_front() else {
            waiting.busy = false;
            return None;
        };
        let mut group = Group::new(first);
        for entry in std::mem::take(&mut waiting.entries) {
            match group.takes(&entry) {
                true => group.push(entry),
                false => waiting.entries.push_back(entry),
            }
        }
        Some(group)
    }

    /// Does anybody wait to go next?
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting().entries.is_empty()
    }

    /// Takes note of what stands there now.
    fn stands(&self, there: Option<(Snapshot, Moment)>) {
        let before = std::mem::replace(&mut self.waiting().last, there);
        // May be much, and is let go of while nobody waits for the line.
        drop(before);
    }

    /// The same version, after what follows a commit: it may rest on a checkpoint by now, and then
    /// nobody needs what it rested on before.
    pub(super) fn rests(&self, done: &Snapshot) {
        let mut waiting = self.waiting();
        let is_same =
            |it: &Snapshot| it.version() == done.version() && it.loaded().same_table(done.loaded());
        let same = waiting.last.as_mut().filter(|it| is_same(&it.0));
        let before = same.map(|it| std::mem::replace(&mut it.0, done.with_op(None)));
        drop(waiting);
        drop(before);
    }

    /// Puts back those who must go once more, before all others.
    pub(super) fn put_back(&self, entries: Vec<Entry>) {
        let mut waiting = self.waiting();
        for entry in entries.into_iter().rev() {
            entry.enter(Stage::Waits);
            waiting.entries.push_front(entry);
        }
    }
}

/// Whoever works on a line.
pub(super) struct Works {
    pub(super) line: Arc<Line>,
    pub(super) is_done: bool,
}

impl Works {
    /// Has somebody work on it from now on, in the background.
    pub(super) fn begin(context: &Context, line: Arc<Line>) {
        let Context { env, store, .. } = context;
        let works = Works { line, is_done: false };
        let run = store.driven(env, async move {
            works.run().await;
            Ok(())
        });
        // On a disk it has begun: nobody needs to wait for it, or be woken when it is done.
        if store.is_disk() { drop(run) } else { drop(env.spawn(run)) }
    }

    pub(super) async fn run(mut self) {
        let mut afters = Afters::new();
        while let Some(group) = self.line.next() {
            let landing = alongside(group.land(&self.line), &mut afters).await;
            self.line.stands(landing.there);
            afters.push(landing.after);
            while AFTERS_MAX < afters.len() {
                afters.next().await;
            }
        }
        // Whoever comes now finds nobody and begins at once.
        self.is_done = true;
        afters.collect::<()>().await;
    }
}

type Afters = FuturesUnordered<BoxFuture<'static, ()>>;

/// Does `work` while what follows other commits is done beside it.
async fn alongside<T>(work: impl Future<Output = T>, afters: &mut Afters) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        // First, since who has left the line must be known to be on the way before anything waits.
        let done = work.as_mut().poll(context);
        while let Poll::Ready(Some(())) = afters.poll_next_unpin(context) {}
        done
    })
    .await
}

/// What a landed commit leaves.
pub(super) struct Landing {
    /// What is still to be done, beside what comes next; with it everybody has an answer.
    pub(super) after: BoxFuture<'static, ()>,
    /// The version that stands there now, and since when.
    pub(super) there: Option<(Snapshot, Moment)>,
}

impl Landing {
    pub(super) fn nothing() -> Landing {
        Landing { after: Box::pin(async {}), there: None }
    }
}

/// A panic, or a runtime that stops, must not leave a line in which everybody waits for ever.
impl Drop for Works {
    fn drop(&mut self) {
        if !self.is_done {
            let left = {
                let mut waiting = self.line.waiting();
                waiting.busy = false;
                std::mem::take(&mut waiting.entries)
            };
            drop(left);
        }
    }
}
