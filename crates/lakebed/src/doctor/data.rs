//! The files of a version: are they there, and do they hold what the log says?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::{DeletionVector, VectorBytes};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::files::FileAt;
use lakebed_log::row_set::FRAME_BYTES;
use lakebed_log::scan::{self, Scan, ScanPlan, ScanTask};
use lakebed_log::state::TableState;
use lakebed_log::stats::{self, Audit};

use super::{Report, Severity};
use crate::place::Roots;
use crate::pool::map_ordered;
use crate::read::{FileRead, Reader, Shape, Spec};
use crate::store::Store;
use crate::txn::Context;
use crate::vector;

/// Requests at once.
const REQUESTS: usize = 16;
/// A folder with fewer files than this is not listed: they are asked for one by one.
const LISTED_MIN: usize = 4;
/// Why a file of another size may be sound.
const OTHER_SIZE: &str = "its writer logged something else as the size";

/// What is known of files before their rows are read.
#[derive(Default)]
pub(super) struct Known {
    /// Data files, and files of vectors, of which an error was told.
    told: BTreeSet<String>,
    /// Data files of another size than the log gives, and what is to be said of that.
    sizes: BTreeMap<String, String>,
}

impl Known {
    fn push(&mut self, report: &mut Report, code: Code, path: &str, what: String) {
        self.told.insert(path.to_string());
        report.push(code.as_str(), Severity::Error, path, what);
    }

    fn take(&mut self, report: &mut Report, path: &str, error: &Error) -> Result<()> {
        self.told.insert(path.to_string());
        report.take(Severity::Error, path, error)
    }

    /// Says what sizes are wrong, where no rows were read that could tell more.
    pub(super) fn warn(self, report: &mut Report) {
        for (path, what) in self.sizes {
            report.push(Code::SizeMismatch.as_str(), Severity::Warning, &path, what);
        }
    }
}

/// Are data files and vectors there, with the size that the log gives?
pub(super) async fn check(
    context: &Context,
    state: &TableState,
    report: &mut Report,
) -> Result<Known> {
    let mut known = Known::default();
    let roots = Roots::new(&context.env, &context.store)?;
    // By store and folder, so that one listing answers for many files.
    let mut folders: BTreeMap<(String, String), Vec<FileAt>> = BTreeMap::new();
    let mut vectors: BTreeMap<String, u64> = BTreeMap::new();
    for at in state.files.iter() {
        let Some((adds, row)) = state.files.row(at) else { continue };
        let path = adds.path().value(row);
        report.checked.data_files += 1;
        match roots.find_file(path) {
            Ok((store, key)) => {
                let folder = key.rsplit_once('/').map_or("", |it| it.0).to_string();
                folders.entry((store.location().to_string(), folder)).or_default().push(at);
            }
            Err(it) => known.take(report, path, &it)?,
        }
        if let Some(vector) = adds.get(row)?.deletion_vector {
            report.checked.vectors += 1;
            match vector.bytes() {
                Ok(VectorBytes::Inline(_)) => {}
                Ok(VectorBytes::File { path, offset, size }) => {
                    let end = offset.saturating_add(size).saturating_add(FRAME_BYTES);
                    let last = vectors.entry(path).or_default();
                    *last = end.max(*last);
                }
                Err(it) => known.take(report, path, &it)?,
            }
        }
    }
    for ((_, folder), files) in folders {
        check_folder(context, state, &roots, &folder, &files, (&mut known, report)).await?;
    }
    check_vectors(context, &roots, vectors, (&mut known, report)).await?;
    Ok(known)
}

async fn check_folder(
    context: &Context,
    state: &TableState,
    roots: &Roots,
    folder: &str,
    files: &[FileAt],
    (known, report): (&mut Known, &mut Report),
) -> Result<()> {
    let mut wanted: Vec<(String, Store, String, u64)> = Vec::with_capacity(files.len());
    for at in files {
        let Some((adds, row)) = state.files.row(*at) else { continue };
        let path = adds.path().value(row);
        let (store, key) = roots.find_file(path)?;
        let size = u64::try_from(adds.size().value(row)).unwrap_or(0);
        wanted.push((path.to_string(), store, key, size));
    }
    let Some((_, store, _, _)) = wanted.first() else { return Ok(()) };
    if LISTED_MIN <= wanted.len() {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let listed = store.list(&context.op, &prefix, None).await?;
        for (path, _, key, size) in &wanted {
            let found = listed.binary_search_by(|it| it.key.as_str().cmp(key));
            let found = found.ok().and_then(|it| listed.get(it)).map(|it| it.size);
            compare(path, *size, found, (known, report));
        }
        return Ok(());
    }
    for (path, store, key, size) in wanted {
        match store.head(&context.op, &key).await {
            Ok(it) => compare(&path, size, Some(it.size), (known, report)),
            Err(it) if it.code() == Code::FileNotFound => {
                compare(&path, size, None, (known, report));
            }
            Err(it) => return Err(it),
        }
    }
    Ok(())
}

fn compare(path: &str, size: u64, found: Option<u64>, (known, report): (&mut Known, &mut Report)) {
    match found {
        None => {
            let what = "a live data file is not there".to_string();
            known.push(report, Code::MissingFile, path, what);
        }
        Some(found) if found != size => {
            let what = format!("the log says {size} bytes, the file has {found}");
            known.sizes.insert(path.to_string(), what);
        }
        Some(_) => {}
    }
}

async fn check_vectors(
    context: &Context,
    roots: &Roots,
    vectors: BTreeMap<String, u64>,
    (known, report): (&mut Known, &mut Report),
) -> Result<()> {
    let look = |(path, end): (String, u64)| async move {
        let found = match roots.find(&path) {
            Ok((store, key)) => store.head(&context.op, &key).await.map(|it| it.size),
            Err(it) => Err(it),
        };
        Ok((path, end, found))
    };
    let mut found = Box::pin(map_ordered(vectors, REQUESTS, look));
    while let Some(it) = found.try_next().await? {
        match it {
            (path, _, Err(it)) if it.code() == Code::FileNotFound => {
                let what = "the file of deletion vectors is not there".to_string();
                known.push(report, Code::MissingFile, &path, what);
            }
            (path, _, Err(it)) => known.take(report, &path, &it)?,
            (path, end, Ok(size)) if size < end => {
                let what = format!("a deletion vector ends at byte {end}, the file has {size}");
                known.push(report, Code::CorruptDv, &path, what);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads every row of every file of which no error was told.
pub(super) async fn check_rows(
    context: &Context,
    state: &Arc<TableState>,
    mut known: Known,
    report: &mut Report,
) -> Result<()> {
    let planned = {
        let (state, permit) = (Arc::clone(state), state.head.read);
        context.env.compute(move || scan::plan(&state, permit, &Scan::new())).await
    };
    let plan = match planned {
        Ok(it) => it,
        Err(it) => {
            known.warn(report);
            return report.take(Severity::Error, "", &it);
        }
    };
    let shape = Shape::new(Spec::of(&plan))?;
    let reader = Reader::new(&context.env, &context.op, &context.store, shape)?;
    let told = std::mem::take(&mut known.told);
    let read = |task: ScanTask| {
        let (reader, plan, told) = (&reader, &plan, &told);
        async move {
            let found = audit(context, state, plan, reader, told, task.clone()).await;
            Ok((task.path, found))
        }
    };
    let tasks = plan.tasks().iter().filter(|it| !told.contains(&it.path)).cloned();
    let tasks: Vec<_> = tasks.collect();
    let mut found = Box::pin(map_ordered(tasks, context.env.cores(), read));
    while let Some((path, found)) = found.try_next().await? {
        match found {
            Ok((rows, wrong)) => {
                report.checked.rows += rows;
                if let Some(what) = known.sizes.remove(&path) {
                    // Some writers put another number there; such a file is read all the same.
                    let (severity, what) = match wrong.is_empty() {
                        true => {
                            (Severity::Note, format!("{what}, which reads whole: {OTHER_SIZE}"))
                        }
                        false => (Severity::Warning, what),
                    };
                    report.push(Code::SizeMismatch.as_str(), severity, &path, what);
                }
                for what in wrong {
                    report.push(Code::StatsMismatch.as_str(), Severity::Error, &path, what);
                }
            }
            Err(it) => {
                // One cause, and this one says more of it.
                known.sizes.remove(&path);
                report.take(Severity::Error, &path, &it)?;
            }
        }
    }
    known.warn(report);
    Ok(())
}

/// How many rows a file has, and what its statistics get wrong.
async fn audit(
    context: &Context,
    state: &TableState,
    plan: &ScanPlan,
    reader: &Reader,
    told: &BTreeSet<String>,
    mut task: ScanTask,
) -> Result<(u64, Vec<String>)> {
    let vector = task.deletion_vector.take();
    let id = vector.as_ref().map(DeletionVector::unique_id);
    let head = &state.head;
    let stats_reader = stats::Reader::mapped(&head.schema, head.mapping, None);
    let row = state.files.find(&task.path, id.as_deref()).and_then(|at| state.files.row(at));
    let stats = row.and_then(|(adds, row)| scan::stats_at(adds, row, &stats_reader));
    let mut audit = Audit::new(plan.table_schema(), stats.unwrap_or_default());
    // All rows, also those that are deleted; and what the statistics say does not bound them.
    task.num_records = None;
    let mut batches = reader.file(FileRead::new(task));
    let mut rows = 0_u64;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows = rows.saturating_add(batch.num_rows() as u64);
        audit.update(&batch)?;
    }
    let is_told = |it: &DeletionVector| match it.bytes() {
        Ok(VectorBytes::File { path, .. }) => told.contains(&path),
        _ => false,
    };
    if let Some(vector) = vector.filter(|it| !is_told(it)) {
        let Context { env, op, store, .. } = context;
        let deleted = vector::rows(env, op, store, &vector).await?;
        if let Some(last) = deleted.max().filter(|it| rows <= *it) {
            let what = format!("a deletion vector names row {last} of a file of {rows} rows");
            return Err(Error::new(Code::CorruptDv, what));
        }
    }
    Ok((rows, audit.finish()))
}
