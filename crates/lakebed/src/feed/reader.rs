//! Opens the files of a feed, one lane a file.

use std::sync::Arc;

use futures::future;
use futures::stream::{self, StreamExt, TryStreamExt};
use lakebed_log::batch::Width;
use lakebed_log::changes::ChangeTask;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::scan::{Scan, ScanTask};
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use super::lanes::Lane;
use super::rows::{Part, Told};
use crate::codec::Turn;
use crate::read::{FileRead, Reader, Shape};
use crate::snapshot::Snapshot;
use crate::txn::Context;
use crate::vector::Deleted;

/// Reads one file after another. Cheap to clone.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) context: Context,
    pub(super) told: Arc<Told>,
    data: Reader,
    change: Reader,
    /// The newest version there is: a file that it does not need may be gone.
    newest: Snapshot,
}

impl Files {
    /// Of rows that are told in the schema of `head`.
    ///
    /// # Errors
    ///
    /// Those of [`Told::new`].
    pub(super) fn new(
        context: &Context,
        newest: &Snapshot,
        head: Arc<Head>,
        scan: &Scan,
        of_commits: bool,
    ) -> Result<Files> {
        let Context { env, op, store, .. } = context;
        let told = Arc::new(Told::new(head, scan, of_commits)?);
        let reader = |change| Reader::new(env, op, store, Shape::new(told.spec(change)?)?);
        let (data, change) = (reader(false)?, reader(true)?);
        let (context, newest) = (context.clone(), newest.clone());
        Ok(Files { context, told, data, change, newest })
    }

    /// The rows of a task, without those before the physical row `from`; no part is empty. `None`:
    /// no row of it can match.
    pub(super) fn lane(
        &self,
        task: ChangeTask,
        commit: Option<(Version, Timestamp)>,
        turn: Turn,
        from: u64,
    ) -> Option<Lane<Part>> {
        let Some(constants) = self.told.constants(&task, commit) else {
            turn.pass();
            return None;
        };
        let file = FileRead {
            constants,
            turn,
            ..FileRead::new(ScanTask {
                path: task.path.clone(),
                // The reader finds the file by its path.
                key: String::new(),
                size: task.size,
                num_records: None,
                partition: Arc::new(task.partition.clone()),
                deletion_vector: task.except.clone(),
                base_row_id: None,
                default_row_commit_version: None,
            })
        };
        let (files, task) = (self.clone(), Arc::new(task));
        let rows = {
            let (files, task) = (files.clone(), Arc::clone(&task));
            stream::once(async move { files.begin(&task, file).await }).try_flatten()
        };
        let told = Arc::clone(&self.told);
        let parts = rows.and_then(move |it| future::ready(told.part(&it, from)));
        let parts = parts.try_filter(|it| future::ready(0 < it.batch.num_rows()));
        let explained = move |it| {
            let (files, task) = (files.clone(), Arc::clone(&task));
            async move {
                match it {
                    Ok(part) => Ok(part),
                    Err(it) => Err(files.explained(&task, it).await),
                }
            }
        };
        Some(parts.then(explained).boxed())
    }

    /// Rows that a vector names are a vector less another one, and only then does it take both.
    async fn begin(
        &self,
        task: &ChangeTask,
        mut file: FileRead,
    ) -> Result<Lane<arrow_array::RecordBatch>> {
        let reader = if task.change.is_some() { &self.data } else { &self.change };
        let Some(among) = &task.among else { return Ok(reader.file(file)) };
        let held = self.vectors([Some(among), task.except.as_ref()], &file.turn).await;
        let held = held.inspect_err(|_| file.turn.pass())?;
        let [among, except] = &held;
        let (Some(among), except) = (among, except.as_ref()) else {
            return Err(Error::internal("a vector was not read"));
        };
        let only = match except {
            Some(except) => Arc::new(among.rows().minus(except.rows())),
            None => Arc::clone(among.rows()),
        };
        if only.is_empty() {
            file.turn.pass();
            return Ok(stream::empty().boxed());
        }
        (file.task.deletion_vector, file.only) = (None, Some(only));
        // The vectors' memory is held as long as the rows are read.
        let rows = reader.file(file).inspect(move |_| {
            let _held = &held;
        });
        Ok(rows.boxed())
    }

    async fn vectors(
        &self,
        of: [Option<&lakebed_log::action::DeletionVector>; 2],
        turn: &Turn,
    ) -> Result<[Option<Deleted>; 2]> {
        let mut held = [None, None];
        for (of, held) in of.into_iter().zip(&mut held) {
            if let Some(of) = of {
                *held = Some(self.data.vectors().load(of, turn).await?);
            }
        }
        Ok(held)
    }

    /// A file that is not there: did vacuum take it, as it may, or is the table damaged?
    async fn explained(&self, task: &ChangeTask, cause: Error) -> Error {
        if cause.code() != Code::MissingFile {
            return cause;
        }
        let is_needed = match task.change {
            // No version needs a change file.
            None => false,
            Some(_) => match self.newest.state(&self.context.op, Width::Narrow).await {
                Ok(state) => state.files.find_path(&task.path).is_some(),
                Err(_) => true,
            },
        };
        if is_needed {
            return cause;
        }
        let what = format!(
            "a file is deleted that version {} no longer needs: its row changes cannot be told any \
             more",
            self.newest.version()
        );
        Error::new(Code::ExpiredSnapshot, what).at(self.context.store.location()).because(cause)
    }
}
