//! Row changes and differences, printed as rows are.
//!
//! A cursor file makes a repeated call go on where the last one ended. It moves on after the rows
//! are out, so a call that fails in between prints some rows again and never loses one.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{Stream, TryStreamExt};
use lakebed::feed::{Changes, Cursor};
use lakebed::{Code, Error, Expr, Result, When};

use crate::args::{ChangesArgs, DiffArgs, RowsArgs};
use crate::commands::{Session, scan, trimmed};
use crate::output::Output;

/// Longest cursor file that is read, in bytes.
const CURSOR_BYTES_MAX: u64 = 1 << 20;

/// Prints batches as they come.
pub(crate) async fn print(
    session: &Session<'_>,
    args: &RowsArgs,
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<()> {
    write(session, args.output.as_deref(), schema, batches).await
}

/// Batches into a file, or to standard output.
pub(crate) async fn write(
    session: &Session<'_>,
    file: Option<&Path>,
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<()> {
    let mut batches = std::pin::pin!(batches);
    let mut output = Output::new(session.global.format_for(file), schema, file, &session.bar)?;
    while let Some(batch) = batches.try_next().await? {
        output.write(&batch)?;
    }
    output.finish()
}

pub(crate) async fn changes(session: &Session<'_>, args: &ChangesArgs) -> Result<()> {
    let kept = args.cursor.as_deref().map(read_cursor).transpose()?.flatten();
    let from = args.from.map(When::Version).or(args.from_timestamp.map(When::Timestamp));
    let mut which = match (kept, from) {
        (Some(cursor), _) => Changes::after(cursor),
        (None, Some(from)) => Changes::new(from),
        (None, None) => {
            let what = "the cursor file is not there yet: say `--from` or `--from-timestamp`";
            return Err(Error::invalid(what));
        }
    };
    if let Some(to) = args.to.map(When::Version).or(args.to_timestamp.map(When::Timestamp)) {
        which = which.to(to);
    }
    if !args.rows.which.columns.is_empty() {
        which = which.columns(trimmed(&args.rows.which.columns));
    }
    if let Some(filter) = &args.rows.which.filter {
        which = which.filter(filter.parse::<Expr>()?);
    }
    if let Some(limit) = args.rows.which.limit {
        which = which.limit(limit);
    }
    let mut feed = session.table(&args.table)?.changes(which.require_feed(!args.derive)).await?;
    let schema = feed.schema().clone();
    print(session, &args.rows, &schema, &mut feed).await?;
    match &args.cursor {
        Some(file) => write_cursor(file, feed.cursor()),
        None => Ok(()),
    }
}

pub(crate) async fn diff(session: &Session<'_>, args: &DiffArgs) -> Result<()> {
    let (from, to) = (args.from.clone(), args.to.clone());
    let table = session.table(&args.table)?;
    let batches = table.diff_with(from, to, &scan(&args.rows.which)?).await?;
    let schema = batches.schema().clone();
    print(session, &args.rows, &schema, batches).await
}

/// `None` if the file is not there.
fn read_cursor(file: &Path) -> Result<Option<Cursor>> {
    let place = file.display();
    match fs::metadata(file) {
        Err(it) if it.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(it) if CURSOR_BYTES_MAX < it.len() => {
            return Err(Error::invalid("this is no cursor file: it is too long").at(place));
        }
        _ => {}
    }
    let text = fs::read_to_string(file)
        .map_err(|it| Error::invalid("the cursor file cannot be read").because(it).at(&place))?;
    text.parse().map(Some).map_err(|it: Error| it.at(place))
}

/// The old file stands until the new one is whole.
fn write_cursor(file: &Path, cursor: &Cursor) -> Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let written = fs::File::create(&name)
        .and_then(|mut it| writeln!(it, "{cursor}").and_then(|()| it.sync_all()))
        .and_then(|()| fs::rename(&name, file));
    written.map_err(|it| {
        let code = match it.kind() {
            std::io::ErrorKind::StorageFull => Code::NoSpace,
            std::io::ErrorKind::PermissionDenied => Code::Permission,
            _ => Code::InvalidArgument,
        };
        let what = "the rows are out, but the cursor file cannot be written";
        Error::new(code, what).because(it).at(file.display())
    })
}
