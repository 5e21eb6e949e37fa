//! Opens the files of a feed, one lane a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future;
use futures::stream::{self, StreamExt, TryStreamExt};
use lakebed_log::action::DeletionVector;
use lakebed_log::batch::Width;
use lakebed_log::changes::{ChangeTask, Tasks};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::row_set::RowSet;
use lakebed_log::scan::{Scan, ScanTask};
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::value::Value;
use lakebed_log::version::Version;

use super::lanes::Lane;
use super::rows::{Part, Told};
use crate::codec::Turn;
use crate::read::{FileRead, Reader, Shape};
use crate::snapshot::Snapshot;
use crate::txn::Context;

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

/// The same for tasks that belong together: their vectors are fetched together.
pub(super) struct FilesOf<T> {
    files: Files,
    tasks: Arc<T>,
    commit: Option<(Version, Timestamp)>,
}

/// Each task has two places among the vectors.
fn among_of(at: usize) -> usize {
    at.saturating_mul(2)
}

fn except_of(at: usize) -> usize {
    among_of(at).saturating_add(1)
}

impl<T: Tasks> FilesOf<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The rows of a task, without those before the physical row `from`; no part is empty. `None`:
    /// no row of it can match.
    ///
    /// # Errors
    ///
    /// Those of [`Tasks::task`].
    pub(super) fn lane(&self, at: usize, turn: Turn, from: u64) -> Result<Option<Lane<Part>>> {
        let told = &self.files.told;
        let task = self.tasks.task(at, &told.head)?;
        let Some(constants) = told.constants(&task, self.commit) else {
            turn.pass();
            return Ok(None);
        };
        Ok(Some(self.files.lane(at, task, constants, turn, from)))
    }
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

    /// For the tasks of a version, or of a difference, from one of them on.
    pub(super) fn of<T: Tasks + Send + Sync + 'static>(
        &self,
        tasks: T,
        commit: Option<(Version, Timestamp)>,
        from: usize,
    ) -> FilesOf<T> {
        let tasks = Arc::new(tasks);
        let vector = {
            let (tasks, told) = (Arc::clone(&tasks), Arc::clone(&self.told));
            move |slot: usize| {
                let at = Some(slot / 2).filter(|it| from <= *it)?;
                let [among, except] = tasks.vectors(at);
                let vector = if slot == among_of(at) { among? } else { except? };
                // A file that is passed by asks for none.
                told.constants(&tasks.task(at, &told.head).ok()?, commit).map(|_| vector)
            }
        };
        let data = self.data.expecting(tasks.len().saturating_mul(2), vector);
        FilesOf { files: Files { data, ..self.clone() }, tasks, commit }
    }

    fn lane(
        &self,
        at: usize,
        task: ChangeTask,
        constants: BTreeMap<String, Option<Value>>,
        turn: Turn,
        from: u64,
    ) -> Lane<Part> {
        let file = FileRead {
            at: Some(except_of(at)),
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
            stream::once(async move { files.begin(at, &task, file).await }).try_flatten()
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
        parts.then(explained).boxed()
    }

    /// Rows that a vector names are a vector less another one, and only then does it take both.
    async fn begin(
        &self,
        at: usize,
        task: &ChangeTask,
        mut file: FileRead,
    ) -> Result<Lane<arrow_array::RecordBatch>> {
        let reader = if task.change.is_some() { &self.data } else { &self.change };
        let Some(among) = &task.among else { return Ok(reader.file(file)) };
        let of = [(among_of(at), Some(among)), (except_of(at), task.except.as_ref())];
        let held = self.vectors(of, &file.turn).await;
        let held = held.inspect_err(|_| file.turn.pass())?;
        let [among, except] = &held;
        let (Some(among), except) = (among, except.as_ref()) else {
            return Err(Error::internal("a vector was not read"));
        };
        let only = match except {
            Some(except) => Arc::new(among.minus(except)),
            None => Arc::clone(among),
        };
        if only.is_empty() {
            file.turn.pass();
            return Ok(stream::empty().boxed());
        }
        (file.task.deletion_vector, file.only) = (None, Some(only));
        Ok(reader.file(file))
    }

    async fn vectors(
        &self,
        of: [(usize, Option<&DeletionVector>); 2],
        turn: &Turn,
    ) -> Result<[Option<Arc<RowSet>>; 2]> {
        let mut held = [None, None];
        for ((slot, of), held) in of.into_iter().zip(&mut held) {
            if let Some(of) = of {
                *held = Some(self.data.vectors().get(slot, of, turn).await?);
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
