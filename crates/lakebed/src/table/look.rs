//! The verbs that look at a table's past and health, and write nothing.

use futures::stream::BoxStream;
use lakebed_log::error::Result;
use lakebed_log::history::HistoryEntry;
use lakebed_log::scan::Scan;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use super::{Resolved, Table};
use crate::doctor::{self, Doctor, Report};
use crate::feed::{self, Changes, Cursor, Feed};
use crate::history;
use crate::read::Batches;
use crate::snapshot::When;

impl Table {
    /// The newest version not after a time: what [`Table::snapshot_at`] would open. One LIST, and a
    /// few GETs where the table keeps in-commit timestamps.
    ///
    /// # Errors
    ///
    /// As [`Table::snapshot_at`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/version-at").await?;
    /// # table.append(rows, Append::new()).await?;
    /// let at = table.snapshot().await?.timestamp().await?;
    /// assert_eq!(table.version_at(at).await?, Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn version_at(&self, at: Timestamp) -> Result<Version> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        let version = history::version_at_time(&context, newest.head(), at);
        context.bounded("looking for the time", version).await
    }

    /// The commits that the log still holds, newest first. One LIST, and a GET per commit looked at
    /// and a few ahead.
    ///
    /// # Errors
    ///
    /// `not-a-table`; the stream yields what decoding gives, placed at the file, and
    /// `deadline-exceeded` to whoever polls or waits past the deadline, counted from this call.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/history").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// use futures::TryStreamExt;
    /// let log: Vec<HistoryEntry> = table.history().await?.try_collect().await?;
    /// assert_eq!(log[0].info.text("operation"), Some("WRITE"));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn history(&self) -> Result<BoxStream<'static, Result<HistoryEntry>>> {
        history::history(&self.context()).await
    }

    /// Checks the table against itself: the log's files against each other, data files against the
    /// log, and if it is to be deep every row. Nothing is written, and the check goes on after each
    /// find.
    ///
    /// # Errors
    ///
    /// `not-a-table`; `unsupported-protocol` for a table that this build cannot read; what the
    /// store gives. What is wrong with the table is in the report.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/t-doctor").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// for it in table.doctor(Doctor::new()).await?.findings() {
    ///     println!("{}: {}: {} [{}]: {}", it.severity, it.place, it.what, it.code, it.advice);
    /// }
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn doctor(&self, options: Doctor) -> Result<Report> {
        doctor::doctor(&self.context(), &options).await
    }

    /// Row changes of a range of versions, commit after commit: the rows with `_change_type`
    /// (`insert`, `delete`, `update_preimage`, `update_postimage`; or what else a change file
    /// says), `_commit_version` and `_commit_timestamp`.
    ///
    /// Rows are told in the schema of the last version of the range. A range is one of versions or
    /// of times, or [`Changes`] for more; version 3 itself is part of `Version::from(3)..`. Needs
    /// the commits of the range, and the files that they name: cleanup and vacuum end what can be
    /// told.
    /// Two or three LISTs, a GET a commit, and the files of the changes.
    ///
    /// Dropping the stream stops the reading and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// `version-not-found` for a range that the log does not hold, or not yet; `invalid-argument`
    /// for one that runs backwards; `unknown-column` and `invalid-expression`. The stream yields
    /// `feed-not-enabled` at the first version that did not keep the change feed
    /// ([`Changes::require_feed`]), `schema-mismatch` at one whose columns were renamed, dropped or
    /// changed to another type since, `unsupported-protocol` at one that this build cannot read,
    /// `expired-snapshot` for a file that vacuum took, and what reading gives, placed at the file.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// use futures::TryStreamExt;
    ///
    /// let table = Table::open("memory://doc/changes").await?;
    /// let kept = Append::new().property("delta.enableChangeDataFeed", "true");
    /// table.append(rows.clone(), kept).await?;
    /// table.overwrite(rows, Overwrite::all()).await?;
    ///
    /// let mut feed = table.changes(Version::from(1)..).await?;
    /// let mut changed = 0;
    /// while let Some(batch) = feed.try_next().await? {
    ///     changed += batch.num_rows();
    /// }
    /// assert_eq!(changed, 4, "two rows left, two came");
    ///
    /// let cursor = feed.cursor().to_string();
    /// let later = table.changes_after(&cursor.parse()?).await?;
    /// assert!(later.collect().await?.is_empty());
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn changes(&self, which: impl Into<Changes>) -> Result<Feed> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        feed::changes(&context, &newest, &which.into()).await
    }

    /// Row changes on from where an earlier reading stood, to the newest version: none is lost and
    /// none comes twice. With columns, filter or end: [`Changes::after`].
    ///
    /// # Errors
    ///
    /// As [`Table::changes`]; `invalid-argument` for the cursor of another table.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// use futures::TryStreamExt;
    /// use lakebed::feed::Changes;
    ///
    /// let table = Table::open("memory://doc/changes-after").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let from = Changes::new(Version::from(0)).require_feed(false);
    /// let mut feed = table.changes(from.limit(1)).await?;
    /// while let Some(batch) = feed.try_next().await? {
    ///     assert_eq!(batch.num_rows(), 1);
    /// }
    /// let rest = Changes::after(feed.cursor().clone()).require_feed(false);
    /// assert_eq!(table.changes(rest).await?.collect().await?[0].num_rows(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn changes_after(&self, cursor: &Cursor) -> Result<Feed> {
        self.changes(Changes::after(cursor.clone())).await
    }

    /// The rows by which two versions differ: those of the first that the second has not as
    /// `delete`, those of the second that the first has not as `insert`, in a column
    /// `_change_type`. In either order of time; whether or not the change feed was kept.
    ///
    /// The difference is one of files and of their deletion vectors: a file that both versions have
    /// costs nothing. So a row that was moved to another file in between, by compaction or because
    /// a row beside it was changed, is a delete and an insert of the same row; that those cancel is
    /// not found out, as it would take memory without bound. Rows are told in the schema of the
    /// later version, deletes first.
    ///
    /// # Errors
    ///
    /// As [`Table::snapshot_at`]; `schema-mismatch` if columns were renamed, dropped or changed to
    /// another type in between. The stream yields what reading gives, placed at the file, and
    /// `expired-snapshot` for a file that vacuum took.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/diff").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// table.append(rows, Append::new()).await?;
    /// let new = table.diff(Version::from(0), Version::from(1)).await?.collect().await?;
    /// assert_eq!(new[0].num_rows(), 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn diff(&self, from: impl Into<When>, to: impl Into<When>) -> Result<Batches> {
        self.diff_with(from, to, &Scan::new()).await
    }

    /// The same with columns, filter and limit. `_change_type` comes after the columns asked for,
    /// unless it is among them; the filter may name it.
    ///
    /// # Errors
    ///
    /// As [`Table::diff`], and `unknown-column`, `invalid-expression`, `invalid-argument`.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/diff-with").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// table.overwrite(rows, Overwrite::all()).await?;
    /// let came = Scan::new().filter(col("_change_type").eq(lit("insert")));
    /// let rows = table.diff_with(Version::from(0), Version::from(1), &came).await?;
    /// assert_eq!(rows.collect().await?[0].num_rows(), 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn diff_with(
        &self,
        from: impl Into<When>,
        to: impl Into<When>,
        scan: &Scan,
    ) -> Result<Batches> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        let (from, to) = (self.snapshot_at(from).await?, self.snapshot_at(to).await?);
        feed::diff(&context, &newest, [&from, &to], scan).await
    }

    /// What became of the commit with this id, of [`crate::txn::Unresolved`] or of the history. One
    /// GET; for an id without a version one LIST, and a GET per commit looked at.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for what is no id.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/resolve").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let snapshot = done.snapshot();
    /// let id = snapshot.head().txn_id().unwrap();
    /// assert_eq!(table.resolve(id).await?, Resolved::Committed(done.version()));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn resolve(&self, id: &str) -> Result<Resolved> {
        let context = self.context();
        context.bounded("resolving a commit", history::resolve(&context, id)).await
    }
}
