//! Parts of a scan for other processes, and rows by position.

use std::io::Read as _;

use arrow_array::RecordBatch;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use lakebed::{Code, Env, Error, Result, Split};

use crate::args::{ReadSplitArgs, SplitsArgs, TakeArgs};
use crate::commands::{Session, scan, trimmed};
use crate::output::line;
use crate::rows;

/// Longest file of splits, in bytes.
const SPLITS_BYTES_MAX: u64 = 256 << 20;
/// Most rows that are taken at once: a short range can name very many.
const POSITIONS_MAX: u64 = 16 << 20;

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
    let limit = limit(&splits)?;
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
    rows::write(session, args.output.as_deref(), &schema, first(batches, limit)).await
}

/// How many rows the splits have together at most. A limit is one of a scan, so that all of them
/// must be of the same one then.
fn limit(splits: &[Split]) -> Result<Option<u64>> {
    let limit = splits.iter().find_map(|it| it.scan().row_limit());
    let scan = |it: &Split| (it.table_id().to_string(), it.version(), it.scan().row_limit());
    let mut others = splits.windows(2);
    match limit.is_some() && others.any(|it| it.first().map(scan) != it.last().map(scan)) {
        true => Err(Error::invalid("the splits are not of one scan, and there is a limit")),
        false => Ok(limit),
    }
}

/// The first rows; nothing is read past them.
fn first<S>(batches: S, limit: Option<u64>) -> impl Stream<Item = Result<RecordBatch>>
where
    S: Stream<Item = Result<RecordBatch>> + Unpin,
{
    let most = limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
    stream::try_unfold((batches, most), async |(mut batches, left)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = batches.try_next().await? else { return Ok(None) };
        let batch = batch.slice(0, left.min(batch.num_rows()));
        let left = left - batch.num_rows();
        Ok(Some((batch, (batches, left))))
    })
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
    let count = args.positions.iter().map(|it| it.end().saturating_sub(*it.start()));
    let count = count.fold(0, |all: u64, it| all.saturating_add(it).saturating_add(1));
    if POSITIONS_MAX < count {
        let what = format!("{count} positions, at most {POSITIONS_MAX} are taken at once");
        return Err(Error::new(Code::LimitExceeded, what));
    }
    let positions: Vec<u64> = args.positions.iter().cloned().flatten().collect();
    let snapshot = session.snapshot(&args.from).await?;
    let mut scan = lakebed::Scan::new();
    if !args.columns.is_empty() {
        scan = scan.columns(trimmed(&args.columns));
    }
    let rows = snapshot.take(&positions, &scan).await?;
    let schema = rows.schema();
    let rows = stream::iter([Ok(rows)]);
    rows::write(session, args.output.as_deref(), &schema, rows).await
}
