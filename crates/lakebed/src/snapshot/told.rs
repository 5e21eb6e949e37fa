//! What the log tells of a version beside its state: when it was, what was skipped, its checksum.

use lakebed_log::action::CommitInfo;
use lakebed_log::checksum::Facts;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::history::CommitTime;
use lakebed_log::log_path::LogPath;
use lakebed_log::time::Timestamp;

use super::Snapshot;
use crate::load::{self, Skipped};

/// How much of a checksum file is read, in bytes: some writers list every file in it.
const CHECKSUM_BYTES_MAX: u64 = 256 << 20;

impl Snapshot {
    /// When it was committed.
    ///
    /// By the table's own clock where it keeps in-commit timestamps; that needs no request. Else by
    /// the times of the commit files, made strictly increasing: one LIST if a checkpoint hides the
    /// older ones or the commit is our own.
    ///
    /// # Errors
    ///
    /// `version-not-found` if the log no longer holds the commit.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-timestamp").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let at = table.snapshot().await?.timestamp().await?;
    /// assert!("2020-01-01T00:00:00Z".parse::<Timestamp>()? < at);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn timestamp(&self) -> Result<Timestamp> {
        let head = self.head();
        if head.properties.enable_in_commit_timestamps {
            let last = self.0.loaded.last_commit();
            let info = head.commit_info.as_ref();
            let is_first = last.is_none_or(|it| it.commit_info_first);
            return match info.and_then(CommitInfo::in_commit_timestamp).filter(|_| is_first) {
                Some(at) => Ok(Timestamp::from_millis(at)),
                None if info.is_some() => {
                    let what = "the table keeps in-commit timestamps, and this commit has none in \
                                a `commitInfo` that comes first";
                    let place = LogPath::Commit(head.version).to_path();
                    let place = format!("{}/{place}", self.0.store.location());
                    Err(Error::new(Code::InvalidAction, what).at(place))
                }
                None => Err(self.without_commit()),
            };
        }
        let segment = &self.0.loaded.segment;
        let listed = self.0.loaded.modified().is_some() && segment.checkpoint.is_empty();
        let files = match listed {
            true => segment.commits.clone(),
            false => load::list(&self.op(), &self.0.store, None).await?,
        };
        let commits: Vec<_> = files
            .iter()
            .filter_map(|it| match it.path {
                LogPath::Commit(version) if version <= head.version => {
                    Some(CommitTime { version, modified: it.modified, in_commit: None })
                }
                _ => None,
            })
            .collect();
        let times = lakebed_log::history::effective_times(&commits, None)?;
        let found = times.iter().find(|(version, _)| *version == head.version);
        found.map(|(_, at)| *at).ok_or_else(|| self.without_commit())
    }

    fn without_commit(&self) -> Error {
        let what = format!("the log no longer holds the commit of version {}", self.version());
        Error::new(Code::VersionNotFound, what).at(self.0.store.location())
    }

    /// What the open, and the loading of the files, passed over because it was broken while
    /// something else proved the version: the hint, checkpoints, compacted files. Each is to be
    /// mended; `lakebed doctor` says how.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-skipped").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// assert!(table.snapshot().await?.skipped().is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub fn skipped(&self) -> Vec<Skipped> {
        self.0.loaded.skipped()
    }

    /// What the checksum file of this version says; `None` if there is none, or none that makes
    /// sense. Nothing of it is believed: compare it with [`Facts::mismatches`]. One GET.
    ///
    /// # Errors
    ///
    /// What reading gives.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-checksum").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let now = table.snapshot().await?;
    /// let facts = now.checksum().await?.unwrap();
    /// assert_eq!(facts.num_files, Some(1));
    /// assert!(facts.mismatches(&*now.files().await?).is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn checksum(&self) -> Result<Option<Facts>> {
        let key = LogPath::Checksum(self.version()).to_path();
        match self.0.store.get(&self.op(), &key, CHECKSUM_BYTES_MAX).await {
            Ok(it) => Ok(Facts::parse(&it)),
            Err(it) if matches!(it.code(), Code::FileNotFound | Code::LimitExceeded) => Ok(None),
            Err(it) => Err(it),
        }
    }
}
