//! Parts of a version: rows by position, and splits for other processes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use lakebed_log::batch::Width;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::scan::{Scan, ScanTask};

use super::{Inner, Snapshot};
use crate::env::Deadline;
use crate::split::Split;
use crate::take;

impl Snapshot {
    /// Rows by position, in the order of `positions`, which may name a row more than once.
    ///
    /// Position 0 is the first live row of the first file of the version, and deleted rows have
    /// none: a table of n rows has the positions `0..n`. They hold for this version alone. The scan
    /// says which columns; of each file the pages that have the rows are read, if it has a page
    /// index, as files written with [`Layout::random_access`](crate::write::Layout::random_access)
    /// have for many small ones.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for a position that there is not, and for a scan with a filter or a
    /// limit; `limit-exceeded` for more text than one batch can hold; and as [`Snapshot::read`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![7, 8, 9]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-take").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let rows = table.snapshot().await?.take(&[2, 0, 2], &Scan::new()).await?;
    /// assert_eq!(rows.num_rows(), 3);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn take(&self, positions: &[u64], scan: &Scan) -> Result<RecordBatch> {
        if scan.predicate().is_some() || scan.row_limit().is_some() {
            return Err(Error::invalid("rows are taken by position, not by filter or limit"));
        }
        let Inner { env, store, .. } = &*self.0;
        let op = self.op();
        let deadline = Deadline::new(env, op.deadline(), op.deadline(), store.location());
        let work = async {
            // How many rows a file has is in the statistics.
            self.state(&op, Width::Wide).await?;
            let plan = Arc::new(self.plan_with(&op, scan).await?);
            match take::take(env, &op, store, &plan, positions).await {
                Err(it) if it.code() == Code::MissingFile => {
                    Err(self.missing(&op, &plan, it).await)
                }
                rows => rows,
            }
        };
        env.until(&deadline, "taking rows", work).await
    }

    /// The scan in parts of about `target_bytes` bytes of files, to be read in other processes; see
    /// [`Split`]. Large files are cut by rows where the statistics say how many they have, small
    /// ones are put together; a scan without files is one split without rows. They name a table on
    /// the local disk by its absolute location.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for parts of no bytes, and as [`Snapshot::plan`].
    ///
    /// ```
    /// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    /// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
    /// # use lakebed::*;
    /// # futures::executor::block_on(async {
    /// let table = Table::open("memory://doc/s-splits").await?;
    /// # let done = table.append(rows, Append::new()).await?;
    /// let splits = done.snapshot().splits(&Scan::new(), 128 << 20).await?;
    /// assert_eq!(splits.len(), 1);
    /// # Ok::<(), lakebed::Error>(()) }).unwrap();
    /// ```
    pub async fn splits(&self, scan: &Scan, target_bytes: u64) -> Result<Vec<Split>> {
        if target_bytes == 0 {
            return Err(Error::invalid("splits have at least one byte, not 0"));
        }
        let op = self.op();
        let mut plan = self.plan_with(&op, scan).await?;
        let large = |it: &ScanTask| target_bytes < it.size && it.num_records.is_none();
        if plan.tasks().iter().any(large) {
            self.state(&op, Width::Wide).await?;
            plan = self.plan_with(&op, scan).await?;
        }
        let location = self.0.env.portable(&self.0.store);
        Ok(Split::plan(&location, self.head(), scan, &plan, target_bytes))
    }
}
