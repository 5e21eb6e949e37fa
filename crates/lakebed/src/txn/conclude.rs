//! What follows a commit that landed: a checksum, now and then a checkpoint. None of it can fail
//! it.

use lakebed_log::batch::Width;
use lakebed_log::checksum::Checksum;
use lakebed_log::version::Version;

use super::attempt::{Attempt, Landed};
use super::{Committed, Context};
use crate::save;
use crate::snapshot::{Counts, Snapshot};

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
        let counts = self.counts(base, version);
        let snapshot = Snapshot::new(env, store, verb_op, loaded, base).with_counts(counts);
        let snapshot = checkpoint_if_due(self.context(), snapshot).await;
        if let Some(counts) = snapshot.counts() {
            let written = save::checksum(op, store, &checksum(&snapshot, counts)).await;
            if let Err(it) = written {
                tracing::debug!(error = ?it, "the version checksum was not written");
            }
        }
        let metrics = self.draft().metrics.clone();
        Committed { snapshot, changed: true, metrics, notes: Vec::new(), usage: op.usage() }
    }

    /// The version that stands there now, before anything else is done about it.
    pub(super) fn there(&self, base: Option<&Snapshot>, landed: &Landed) -> Snapshot {
        let Context { env, store, .. } = self.context();
        let (counts, loaded) = match landed {
            Landed::Ours(version, loaded) => (self.counts(base, *version), loaded),
            Landed::Covered(loaded) => (None, loaded),
        };
        let snapshot = Snapshot::new(env, store, None, loaded.clone(), base);
        if counts.is_some() { snapshot.with_counts(counts) } else { snapshot }
    }

    /// Number and bytes of the live files after our commit, if they are known: nobody else's may
    /// lie between it and the base whose counts are known.
    fn counts(&self, base: Option<&Snapshot>, version: Version) -> Option<Counts> {
        let before = match base {
            None => Counts { files: 0, bytes: 0 },
            Some(base) if base.version().next() == Some(version) => base.counts()?,
            Some(_) => return None,
        };
        let mut after = before;
        for add in &self.draft().adds {
            after.files = after.files.checked_add(1)?;
            after.bytes = after.bytes.checked_add(add.size)?;
        }
        for remove in &self.draft().removes {
            after.files = after.files.checked_sub(1)?;
            after.bytes = after.bytes.checked_sub(remove.size?)?;
        }
        Some(after)
    }
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
    if version == Version::ZERO || !version.get().is_multiple_of(interval) {
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
