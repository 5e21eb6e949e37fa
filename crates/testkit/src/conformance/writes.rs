//! Appends to a copy: what must be refused leaves nothing behind.

use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use lakebed::{Append, Env, Error, Scan, Table};

use super::{Answer, Case, broken, open};
use crate::rows::from_ndjson;

/// An append of no rows, which is refused before any file is written.
pub(super) async fn nothing(env: &Env, case: &Case, location: &Path) -> Answer {
    let schema = open(env, location, case).await?.schema().to_arrow();
    append(env, location, RecordBatch::new_empty(schema)).await?;
    Ok(Ok(None))
}

/// An append of one row; columns not named are null.
pub(super) async fn row(env: &Env, case: &Case, location: &Path) -> Answer {
    let snapshot = open(env, location, case).await?;
    let line = case.row.as_ref().map(ToString::to_string).unwrap_or_default();
    let rows = from_ndjson(snapshot.schema(), &line)?;
    let rows = rows.into_iter().next().ok_or_else(|| broken("no row"))?;
    append(env, location, rows).await?;
    Ok(Ok(None))
}

async fn append(env: &Env, location: &Path, rows: RecordBatch) -> Result<(), Error> {
    let copy = tempfile::tempdir().map_err(broken)?;
    copy_folder(location, copy.path()).map_err(broken)?;
    let before = count(copy.path()).map_err(broken)?;
    let table = Table::open_with(env, &copy.path().to_string_lossy())?;
    let rows_before = table.snapshot().await?.version();
    match table.append(rows, Append::new()).await {
        Ok(done) => {
            done.snapshot().read(&Scan::new()).await?;
            Ok(())
        }
        Err(_) if count(copy.path()).map_err(broken)? != before => {
            Err(broken(format!("a refused append left files behind at {rows_before}")))
        }
        Err(error) => Err(error),
    }
}

/// Copies a folder and what is in it.
///
/// # Errors
///
/// What reading and writing the disk gives.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn count(folder: &Path) -> std::io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(found)
}
