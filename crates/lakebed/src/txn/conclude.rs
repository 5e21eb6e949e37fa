//! What follows a commit that landed: a checksum, now and then a checkpoint. None of it can fail
//! it.

use lakebed_log::checksum::{Checksum, Counts};
use lakebed_log::version::Version;

use super::attempt::{Attempt, Landed};
use super::{Committed, Context};
use crate::load::Loaded;
use crate::snapshot::Snapshot;
use crate::{clean, save};

impl Attempt {
    /// What follows a commit. None of it can fail it.
    pub(super) async fn conclude(
        &self,
        base: Option<&Snapshot>,
        landed: Landed,
        files: &[String],
    ) -> Committed {
        let Context { env, op, store, .. } = self.context();
        let verb_op = base.map(Snapshot::handle_op).unwrap_or_default();
        let (version, loaded) = match landed {
            Landed::Ours(version, loaded) => (version, loaded),
            Landed::Covered(loaded) => {
                self.context().discard(files).await;
                let snapshot = Snapshot::new(env, store, verb_op, loaded, base);
                return Committed::unchanged(op, snapshot);
            }
        };
        let counts = counts_after(self.context(), base, version, &loaded).await;
        let snapshot = Snapshot::new(env, store, verb_op, loaded, base).with_counts(counts);
        let snapshot = checkpoint_if_due(self.context(), snapshot).await;
        if let Some(counts) = snapshot.counts() {
            snapshot.loaded().keep_counts(version, counts);
            let checksum = Checksum::new(snapshot.head(), counts);
            if let Err(it) = save::checksum(op, store, &checksum).await {
                tracing::debug!(error = ?it, "the version checksum was not written");
            }
        }
        if let Err(it) = save::compact_if_due(env, op, store, snapshot.loaded()).await {
            tracing::debug!(error = ?it, "the commits were not put together");
        }
        let metrics = self.draft().metrics.clone();
        Committed { snapshot, changed: true, metrics, notes: Vec::new(), usage: op.usage() }
    }

    /// The version that stands there now, before anything else is done about it.
    pub(super) fn there(&self, base: Option<&Snapshot>, landed: &Landed) -> Snapshot {
        let Context { env, store, .. } = self.context();
        let (counts, loaded) = match landed {
            Landed::Ours(version, loaded) => (known_counts(base, *version, loaded), loaded),
            Landed::Covered(loaded) => (None, loaded),
        };
        let snapshot = Snapshot::new(env, store, None, loaded.clone(), base);
        if counts.is_some() { snapshot.with_counts(counts) } else { snapshot }
    }
}

/// Number and bytes of the live files after our commit, if they are known without a request: those
/// of the base, or of an older version of this handle, moved by the commits since, ours and those
/// of winners.
fn known_counts(base: Option<&Snapshot>, version: Version, loaded: &Loaded) -> Option<Counts> {
    let (from, before) = match base {
        None => (None, Counts::default()),
        Some(base) => match base.counts() {
            Some(it) => (Some(base.version()), it),
            None => {
                let (from, before) = loaded.known_counts().filter(|it| it.0 <= version)?;
                (Some(from), before)
            }
        },
    };
    moved(from, before, version, loaded)
}

/// The same, and else from those that the checksum of the base says.
async fn counts_after(
    context: &Context,
    base: Option<&Snapshot>,
    version: Version,
    loaded: &Loaded,
) -> Option<Counts> {
    match (known_counts(base, version, loaded), base) {
        (None, Some(base)) => {
            let before = save::stored_counts(&context.op, &context.store, base.loaded()).await?;
            moved(Some(base.version()), before, version, loaded)
        }
        (known, _) => known,
    }
}

fn moved(
    from: Option<Version>,
    before: Counts,
    version: Version,
    loaded: &Loaded,
) -> Option<Counts> {
    let commits = loaded.commits_since(from, version)?;
    commits.iter().try_fold(before, |counts, it| counts.after(&it.batch))
}

/// Does this version get a checkpoint, to rest on?
pub(super) fn is_checkpoint_due(snapshot: &Snapshot) -> bool {
    let interval = snapshot.head().properties.checkpoint_interval.max(1);
    let version = snapshot.version();
    version != Version::ZERO && version.get().is_multiple_of(interval)
}

/// Every n-th version gets a checkpoint from whoever made it; the snapshot then rests on it.
async fn checkpoint_if_due(context: &Context, snapshot: Snapshot) -> Snapshot {
    if !is_checkpoint_due(&snapshot) {
        return snapshot;
    }
    let (own, of) = (context.clone(), snapshot.clone());
    let written = async move { Ok(checkpoint(&own, of).await) };
    // Not on the thread of the line, which may come to its turn to commit meanwhile.
    context.store.driven(&context.env, written).await.unwrap_or(snapshot)
}

async fn checkpoint(context: &Context, snapshot: Snapshot) -> Snapshot {
    let Context { env, op, store, .. } = context;
    let version = snapshot.version();
    match snapshot.write_checkpoint(op).await {
        Ok(saved) => {
            let cleaned = clean::clean_by_the_way(env, op, store, snapshot.loaded()).await;
            if let Err(it) = cleaned {
                tracing::warn!(error = ?it, %version, "the log was not cleaned up");
            }
            snapshot.rebased(saved)
        }
        Err(it) => {
            tracing::warn!(error = ?it, %version, "the checkpoint was not written");
            snapshot
        }
    }
}
