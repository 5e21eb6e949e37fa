//! Write, audit, publish: what is written is laid aside in a file, looked at by whoever checks it,
//! and published or thrown away.

use std::fs;
use std::path::Path;

use lakebed::write::Data;
use lakebed::{Append, Code, Error, Overwrite, Result, Snapshot, StagedTransaction, Table};
use serde_json::json;

use crate::args::{Mode, StagedArgs};
use crate::commands::Session;

/// Longest text of a staged transaction.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Writes the rows, and the transaction into a file instead of the log.
pub(crate) async fn stage(
    session: &Session<'_>,
    table: &Table,
    (data, options): (Data, Append),
    (mode, filter): (Mode, Option<Overwrite>),
    path: &Path,
) -> Result<()> {
    let mut txn = table.begin().await?;
    if let Some((app, version)) = options.counter() {
        txn.once(app, version);
    }
    let options = options.without_counter();
    match (mode, filter) {
        (Mode::Overwrite, Some(it)) => txn.overwrite(data, it.options(options)).await?,
        (Mode::Overwrite, None) => txn.overwrite(data, Overwrite::all().options(options)).await?,
        _ => txn.append(data, options).await?,
    }
    let staged = txn.stage().await?;
    fs::write(path, format!("{staged}\n")).map_err(|it| {
        Error::new(Code::Unavailable, "the staged transaction cannot be written down")
            .at(path.display())
            .because(it)
    })?;
    let (added, removed) = staged.files();
    session.answer(&[
        ("done", json!("staged")),
        ("base", json!(staged.version().get())),
        ("files", json!(added)),
        ("removed files", json!(removed)),
    ])
}

pub(crate) async fn publish(session: &Session<'_>, args: &StagedArgs) -> Result<()> {
    let committed = session.table(&args.table)?.publish(&read(&args.file)?).await?;
    let what = if committed.changed() { "published" } else { "already there" };
    session.done(&committed, what)
}

pub(crate) async fn discard(session: &Session<'_>, args: &StagedArgs) -> Result<()> {
    session.table(&args.table)?.discard(&read(&args.file)?).await?;
    session.answer(&[("done", json!("discarded"))])
}

/// The table as the transaction in a file would leave it.
pub(crate) async fn snapshot(session: &Session<'_>, table: &str, file: &Path) -> Result<Snapshot> {
    session.table(table)?.staged(&read(file)?).await
}

fn read(file: &Path) -> Result<StagedTransaction> {
    let unreadable = |it: std::io::Error| {
        let code = match it.kind() {
            std::io::ErrorKind::NotFound => Code::FileNotFound,
            std::io::ErrorKind::PermissionDenied => Code::Permission,
            _ => Code::InvalidArgument,
        };
        Error::new(code, "the staged transaction cannot be read").at(file.display()).because(it)
    };
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if TEXT_BYTES_MAX < size {
        let what = format!("a staged transaction of more than {TEXT_BYTES_MAX} bytes");
        return Err(Error::invalid(what).at(file.display()));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    text.trim().parse().map_err(|it: Error| it.at(file.display()))
}
