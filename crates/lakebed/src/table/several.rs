//! The verbs of more than one step: transactions, and files that workers write for a driver.

use lakebed_log::error::{Code, Result};

use super::Table;
use crate::append::Append;
use crate::data_files::{self, DataFiles};
use crate::snapshot::Snapshot;
use crate::transaction::{self, StagedTransaction, Transaction};
use crate::txn::Committed;
use crate::write::Data;

impl Table {
    /// Begins a transaction on the newest version: several operations, one commit. One LIST.
    ///
    /// # Errors
    ///
    /// `not-a-table`; `unsupported-protocol` for a table that this build cannot write.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/begin").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows.clone(), Append::new()).await?;
    /// txn.append(rows, Append::new()).await?;
    /// assert_eq!(txn.commit().await?.version(), Version::from(1));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn begin(&self) -> Result<Transaction> {
        let context = self.context();
        let base = self.newest(&context).await?;
        Transaction::new(context, base)
    }

    /// The table as a staged transaction would leave it: to be read and checked.
    ///
    /// # Errors
    ///
    /// `invalid-argument` if it was made for another table; `transaction-expired` if the version
    /// that it is based on is gone.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/staged").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// let staged = txn.stage().await?;
    /// assert_eq!(table.staged(&staged).await?.files().await?.files.len(), 2);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn staged(&self, staged: &StagedTransaction) -> Result<Snapshot> {
        let base = self.base_of(staged).await?;
        transaction::view(&self.context(), &base, staged).await
    }

    /// Publishes a staged transaction, at the first version after its base that it still applies
    /// to. Publishing it again finds it published, and changes nothing. One HEAD a file.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`]; `missing-file` and `invalid-data` for files that are not there
    /// as they were written; `transaction-expired` if it was staged so long ago that vacuum may
    /// have taken its files, or the log its base. Nothing is deleted.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/publish").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// let staged = txn.stage().await?;
    /// assert_eq!(table.publish(&staged).await?.version(), Version::from(1));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn publish(&self, staged: &StagedTransaction) -> Result<Committed> {
        let context = self.context();
        let done = match self.base_of(staged).await {
            Ok(base) => transaction::publish(&context, &base, staged).await?,
            Err(it) if it.code() == Code::TransactionExpired => {
                let newest = self.newest(&context).await?;
                transaction::settled(&context, newest, staged, it).await?
            }
            Err(it) => return Err(it),
        };
        Ok(self.seen(done))
    }

    /// Deletes the files of a staged transaction, which is then worth nothing. Not to be called
    /// while somebody else publishes it.
    ///
    /// # Errors
    ///
    /// `invalid-argument` if it is published, or was made for another table.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/discard").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let mut txn = table.begin().await?;
    /// txn.append(rows, Append::new()).await?;
    /// let staged = txn.stage().await?;
    /// table.discard(&staged).await?;
    /// assert_eq!(table.publish(&staged).await.err().unwrap().code(), Code::MissingFile);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn discard(&self, staged: &StagedTransaction) -> Result<()> {
        let context = self.context();
        let newest = self.newest(&context).await?;
        transaction::discard(&context, &newest, staged).await
    }

    /// Writes rows as data files of the table and commits nothing: what comes back is text, and is
    /// committed by [`Table::commit_files`], in this process or another. One LIST.
    ///
    /// Of the options it takes the layout, and whether the schema may evolve. Files that nobody
    /// commits belong to vacuum.
    ///
    /// # Errors
    ///
    /// `not-a-table`; else as [`Table::append`] before its commit.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/write-files").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let files = table.write_files(rows, Append::new()).await?;
    /// assert_eq!(files.rows(), Some(2));
    /// assert_eq!(table.snapshot().await?.version(), Version::from(0));
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn write_files(&self, data: impl Into<Data>, options: Append) -> Result<DataFiles> {
        let context = self.context();
        let base = self.newest(&context).await?;
        data_files::write(&context, &base, data.into(), &options).await
    }

    /// Commits files that were written before, those of many workers at once. One HEAD a file.
    ///
    /// Files that are in the table already are not added again: if all are, nothing is changed. Of
    /// the options it takes whether the schema may evolve, [`Append::once`] and the text for the
    /// history.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for files of another table, outside the table's folder, named twice, or
    /// in the table already beside others that are not; `schema-mismatch` if columns were changed
    /// since; `missing-file`, and `invalid-data` if the size is another one than was told;
    /// `transaction-expired` for files so old that vacuum may take them; else as [`Table::append`].
    /// The files stay where they are.
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/commit-files").await?;
    /// table.append(rows.clone(), Append::new()).await?;
    /// let one = table.write_files(rows.clone(), Append::new()).await?;
    /// let other = table.write_files(rows, Append::new()).await?;
    /// let done = table.commit_files(vec![one, other], Append::new()).await?;
    /// assert_eq!(done.metrics()["numOutputRows"], "4");
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn commit_files(&self, files: Vec<DataFiles>, options: Append) -> Result<Committed> {
        let context = self.context();
        let base = self.newest(&context).await?;
        let done = data_files::commit(&context, &base, files, &options).await?;
        Ok(self.seen(done))
    }

    async fn base_of(&self, staged: &StagedTransaction) -> Result<Snapshot> {
        self.snapshot_at(staged.version()).await.map_err(transaction::expired)
    }
}
