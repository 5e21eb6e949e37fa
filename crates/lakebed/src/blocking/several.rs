//! Transactions and files written before, waiting.

use futures::executor::block_on;
use lakebed_log::error::Result;
use lakebed_log::scan::Scan;
use lakebed_log::schema::Schema;

use super::{Batches, Snapshot, Table};
use crate::append::Append;
use crate::data_files::DataFiles;
use crate::overwrite::Overwrite;
use crate::transaction::{self, StagedTransaction};
use crate::txn::Committed;
use crate::write::Data;

/// [`crate::Transaction`], waiting.
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// use lakebed::blocking::Table;
/// use lakebed::{Append, Overwrite};
///
/// let table = Table::open("memory://doc/blocking-txn")?;
/// table.append(rows.clone(), Append::new())?;
/// let mut txn = table.begin()?;
/// txn.overwrite(rows.clone(), Overwrite::all())?;
/// txn.append(rows, Append::new())?;
/// assert_eq!(txn.commit()?.version().get(), 1);
/// # Ok::<(), lakebed::Error>(())
/// ```
pub struct Transaction(transaction::Transaction);

#[allow(clippy::missing_errors_doc, reason = "each is that of the async method of the same name")]
impl Table {
    /// See [`crate::Table::begin`].
    pub fn begin(&self) -> Result<Transaction> {
        block_on(self.0.begin()).map(Transaction)
    }

    /// See [`crate::Table::staged`].
    pub fn staged(&self, staged: &StagedTransaction) -> Result<Snapshot> {
        block_on(self.0.staged(staged)).map(Snapshot)
    }

    /// See [`crate::Table::publish`].
    pub fn publish(&self, staged: &StagedTransaction) -> Result<Committed> {
        block_on(self.0.publish(staged))
    }

    /// See [`crate::Table::discard`].
    pub fn discard(&self, staged: &StagedTransaction) -> Result<()> {
        block_on(self.0.discard(staged))
    }

    /// See [`crate::Table::write_files`].
    pub fn write_files(&self, data: impl Into<Data>, options: Append) -> Result<DataFiles> {
        block_on(self.0.write_files(data, options))
    }

    /// See [`crate::Table::commit_files`].
    pub fn commit_files(&self, files: Vec<DataFiles>, options: Append) -> Result<Committed> {
        block_on(self.0.commit_files(files, options))
    }
}

#[allow(clippy::missing_errors_doc, reason = "each is that of the async method of the same name")]
impl Transaction {
    /// See [`crate::Transaction::once`].
    pub fn once(&mut self, app: impl Into<String>, version: i64) -> bool {
        self.0.once(app, version)
    }

    /// See [`crate::Transaction::append`].
    pub fn append(&mut self, data: impl Into<Data>, options: Append) -> Result<()> {
        block_on(self.0.append(data, options))
    }

    /// See [`crate::Transaction::overwrite`].
    pub fn overwrite(&mut self, data: impl Into<Data>, options: Overwrite) -> Result<()> {
        block_on(self.0.overwrite(data, options))
    }

    /// See [`crate::Transaction::append_files`].
    pub fn append_files(&mut self, files: Vec<DataFiles>, options: Append) -> Result<()> {
        block_on(self.0.append_files(files, options))
    }

    /// See [`crate::Transaction::set_property`].
    pub fn set_property(&mut self, key: impl Into<String>, value: impl Into<String>) -> Result<()> {
        block_on(self.0.set_property(key, value))
    }

    /// See [`crate::Transaction::evolve_schema`].
    pub fn evolve_schema(&mut self, schema: &Schema) -> Result<()> {
        block_on(self.0.evolve_schema(schema))
    }

    /// See [`crate::Transaction::read`].
    pub fn read(&mut self, scan: &Scan) -> Result<Batches> {
        block_on(self.0.read(scan)).map(Batches)
    }

    /// See [`crate::Transaction::snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.snapshot())
    }

    /// See [`crate::Transaction::commit`].
    pub fn commit(self) -> Result<Committed> {
        block_on(self.0.commit())
    }

    /// See [`crate::Transaction::stage`].
    pub fn stage(self) -> Result<StagedTransaction> {
        block_on(self.0.stage())
    }

    /// See [`crate::Transaction::discard`].
    pub fn discard(self) {
        block_on(self.0.discard());
    }
}
