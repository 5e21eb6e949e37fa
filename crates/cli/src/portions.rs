//! Parts of a scan for other processes, and rows by position.

use std::io::Read as _;

use futures::{StreamExt, stream};
use lakebed::{Env, Error, Result, Split};

use crate::args::{ReadSplitArgs, SplitsArgs, TakeArgs};
use crate::commands::{Session, scan, trimmed};
use crate::output::{Output, line};
use crate::rows;

/// Longest file of splits, in bytes.
const SPLITS_BYTES_MAX: u64 = 256 << 20;

/// One split a line.
pub(crate) async fn splits(session: &Session<'_>, args: &SplitsArgs) -> Result<()> {
    let snapshot = session.snapshot(&args.from).await?;
    for split in snapshot.splits(&scan(&args.rows)?, args.target_bytes).await? {
        line(&split.to_string())?;
    }
    Ok(())
}

/// The rows of the splits in a file, one after the other.
pub(crate) async fn read_split(session: &Session<'_>, args: &ReadSplitArgs) -> Result<()> {
    let text = match args.file.as_os_str() == "-" {
        true => text(std::io::stdin().lock()),
        false => std::fs::File::open(&args.file).map_err(unreadable).and_then(text),
    };
    let text = text.map_err(|it| it.at(args.file.display()))?;
    let lines = text.lines().filter(|it| !it.trim().is_empty());
    let splits = lines.map(str::parse).collect::<Result<Vec<Split>>>()?;
    let mut roots = session.global.allow_root.iter();
    let env: Env = roots.try_fold(session.env.clone(), |env, root| env.allow_root(root))?;
    let batches = splits.iter().map(|it| it.read(&env, &session.op)).collect::<Result<Vec<_>>>()?;
    let Some(schema) = batches.first().map(|it| it.schema().clone()) else {
        return Err(Error::invalid("no split in the file"));
    };
    if batches.iter().any(|it| *it.schema() != schema) {
        return Err(Error::invalid("the splits are not of one scan"));
    }
    let batches = stream::iter(batches).flat_map(|it| it.boxed());
    rows::write(session, args.output.as_deref(), &schema, batches).await
}

fn text(from: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    let mut from = from.take(SPLITS_BYTES_MAX + 1);
    from.read_to_string(&mut text).map_err(unreadable)?;
    match text.len() as u64 <= SPLITS_BYTES_MAX {
        true => Ok(text),
        false => Err(Error::invalid(format!("splits of more than {SPLITS_BYTES_MAX} bytes"))),
    }
}

fn unreadable(err: std::io::Error) -> Error {
    Error::invalid("the splits cannot be read").because(err)
}

/// Rows by position, in the order asked for.
pub(crate) async fn take(session: &Session<'_>, args: &TakeArgs) -> Result<()> {
    let snapshot = session.snapshot(&args.from).await?;
    let mut scan = lakebed::Scan::new();
    if !args.columns.is_empty() {
        scan = scan.columns(trimmed(&args.columns));
    }
    let rows = snapshot.take(&args.positions, &scan).await?;
    let mut output = Output::new(session.format(), &rows.schema(), None, &session.bar)?;
    output.write(&rows)?;
    output.finish()
}
