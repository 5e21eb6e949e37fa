//! What is asked after a put that took long: is the version that was written still ours, and are
//! its files still there?

use futures::TryStreamExt;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::log_path::LogPath;
use lakebed_log::mutant::planted;
use lakebed_log::uri;
use lakebed_log::version::Version;

use super::{Attempt, Context, FETCHES, Failure, retention, safe_for};
use crate::load::{self, Moment};
use crate::op::ANSWER;
use crate::pool::map_ordered;

impl Attempt {
    /// A commit names the one before it. A base that comes out of a checkpoint alone does not know
    /// it, and reading goes without; it is asked for here, and if it is gone it stays unknown.
    pub(super) async fn know_predecessor(&mut self) {
        let Context { env, op, store, .. } = &self.context;
        let Some(base) = &self.base else { return };
        let found = base.with_last_commit(env, op, store);
        let found = env.timeout(self.context.left(), "reading a commit", found).await;
        if let Ok(Some(base)) = found {
            self.base = Some(base);
        }
    }

    /// Looks after a commit that may have landed, past the deadline as well but not for ever: by
    /// then what is asked here is all that is left to know.
    async fn settled<T>(&self, looked: impl Future<Output = Result<T>>) -> Result<T> {
        let Context { env, .. } = &self.context;
        env.timeout(self.context.left().max(ANSWER), "settling a commit", looked).await
    }

    /// What may have gone on while a put took long.
    pub(super) async fn check_landed(
        &self,
        version: Version,
        began: Moment,
    ) -> Result<(), Failure> {
        self.check_number(version, began).await?;
        self.check_files(version).await
    }

    /// Before a put, where somebody has removed files that nobody had committed yet. Up to how many
    /// [`Store::vanished`](crate::store::Store::vanished) says, all of ours are there.
    pub(super) async fn check_bereft(&self, open: bool) -> Result<u64, Failure> {
        let seen = self.context.store.vanished();
        if open || !self.context.is_bereft() {
            return Ok(seen);
        }
        match self.context.bounded("looking for the data files", self.look_for_files()).await {
            Err(it) if it.code() == Code::FileNotFound => {
                let what = "a data file was removed before its commit; nothing was committed";
                let error = Error::new(Code::Unavailable, what).because(it);
                Err(error.at(self.context.store.location()).into())
            }
            Err(it) => Err(it.into()),
            Ok(()) => Ok(seen),
        }
    }

    async fn look_for_files(&self) -> Result<()> {
        let Context { op, store, .. } = &self.context;
        let look = |path: String| async move {
            let key = uri::decode(&path)?.into_owned();
            store.head(op, &key).await.map(|_| ())
        };
        let changes = self.draft.cdc.iter().map(|it| &it.path);
        let paths = self.draft.adds.iter().map(|it| &it.path).chain(changes).cloned();
        map_ordered(paths.collect::<Vec<String>>(), FETCHES, look).try_collect().await
    }

    /// After a put that took long: vacuum takes files that no version names, perhaps ours before
    /// this one named them.
    async fn check_files(&self, version: Version) -> Result<(), Failure> {
        let Context { env, store, written, .. } = &self.context;
        if written.age(env) <= safe_for(&self.properties()) {
            return Ok(());
        }
        match self.settled(self.look_for_files()).await {
            Ok(()) => Ok(()),
            Err(it) if it.code() == Code::FileNotFound => {
                let what = format!(
                    "the commit took so long that vacuum has taken its data files; it stands as \
                     version {version}, which cannot be read whole"
                );
                let error = Error::new(Code::MissingFile, what).because(it);
                Err(Failure { error: error.at(store.location()), open: true })
            }
            Err(it) => Err(self.doubt(version, it)),
        }
    }

    /// After a put that took long: was its number still free for us to take, or had cleanup freed
    /// it? It had where the marker of cleanup says so, where the commit before it is gone, or where
    /// the table went on from another one.
    async fn check_number(&self, version: Version, began: Moment) -> Result<(), Failure> {
        let Context { env, op, store, .. } = &self.context;
        let limit = retention(self.properties().log_retention_millis) / 2;
        // The base may have grown old after it was compared with the log.
        let base = self.base.as_ref().and_then(|it| it.age(env)).unwrap_or_default();
        if began.age(env).max(base) <= limit || planted(19) {
            return Ok(());
        }
        let before = version.get().checked_sub(1).and_then(Version::new);
        let looked = async {
            // The marker last: what cleanup deletes it has marked before.
            let files = load::list(op, store, before.or(Some(version))).await?;
            Ok((files, load::marker(op, store).await?))
        };
        let looked = self.settled(looked).await;
        let (files, marker) = looked.map_err(|it| self.doubt(version, it))?;
        let commit = |it: Version| files.iter().find(|file| file.path == LogPath::Commit(it));
        let reused = marker.is_some_and(|it| version <= it)
            || before.is_some_and(|it| commit(it).is_none())
            || commit(version).is_none_or(|ours| {
                load::commits_after(&files, version).iter().any(|it| it.modified < ours.modified)
            });
        if !reused {
            return Ok(());
        }
        let named = self.settled(load::named_by_successor(env, op, store, version)).await;
        let named = named.map_err(|it| self.doubt(version, it))?;
        if named.is_some_and(|it| it == self.draft.txn_id) {
            return Ok(());
        }
        // Cleanup took it: after readers had seen it, or because none could. Or the listing is
        // behind, and it stands.
        if commit(version).is_none() && !planted(56) {
            let what = "the commit has been cleaned up meanwhile";
            return Err(self.doubt(version, Error::new(Code::LogMoving, what)));
        }
        let what = format!(
            "the commit took longer than half of `delta.logRetentionDuration`, and version \
             {version} was cleaned up and passed by before it arrived"
        );
        let error = Error::new(Code::TransactionExpired, what).at(store.location());
        // The log still names the files: they are for vacuum to judge.
        Err(Failure { error, open: true })
    }
}
