//! Row changes of a range of versions; and the difference of two.
//!
//! A change feed is a stream of rows with what became of them, commit after commit. Where writers
//! kept change files these are read; else changes follow from the files that a commit added and
//! removed, and from the rows by which two vectors of one file differ. Both are the rule of the
//! protocol, and the second one holds whether or not the feed was kept.
//!
//! ```text
//!   versions --check--> commit --changes--> files, vectors --read ahead--> rows + _change_type,
//!                                                              _commit_version, _commit_timestamp
//! ```
//!
//! What is held is a few commits and the batches under way. A [`Cursor`] says after each batch
//! where the reading stands, so that it goes on in another process without losing or repeating a
//! row.

use std::collections::BTreeMap;
use std::ops::{Range, RangeFrom, RangeInclusive};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use lakebed_log::batch::Width;
use lakebed_log::changes::{Difference, check_schema};
use lakebed_log::error::Result;
use lakebed_log::expr::Expr;
use lakebed_log::scan::Scan;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use crate::codec::Turn;
use crate::load::{self, Loaded};
use crate::op::Op;
use crate::read::Batches;
use crate::snapshot::{Snapshot, When};
use crate::txn::Context;

mod cursor;
mod lanes;
mod range;
mod reader;
mod rows;
mod walk;

pub use cursor::Cursor;

use lanes::{Lane, Lanes};
use reader::Files;
use rows::Part;
use walk::{Step, Walk};

/// Least number of files read at once: opening one is mostly waiting.
const FILES_MIN: usize = 4;
/// Batches of a file that are held ready.
const DEPTH: usize = 4;

/// Which row changes to read. An inert value: building one does nothing.
///
/// A range of versions or of times is one, too: `Version::from(3)..` is everything from version 3
/// on, with the changes that version 3 itself made.
///
/// ```
/// use lakebed::feed::Changes;
/// use lakebed::{Version, col, lit};
///
/// let changes = Changes::new(Version::from(3))
///     .to(Version::from(9))
///     .columns(["id"])
///     .filter(col("_change_type").not_eq(lit("update_preimage")));
/// # let _ = changes;
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are passed to an operation"]
pub struct Changes {
    start: Start,
    end: End,
    scan: Scan,
    require_feed: bool,
}

#[derive(Clone, Debug)]
enum Start {
    At(When),
    After(Cursor),
}

#[derive(Clone, Debug)]
enum End {
    Open,
    At(When),
    Before(Version),
}

impl Changes {
    /// From a version on, its own changes among them; or from the first version not before a time.
    pub fn new(from: impl Into<When>) -> Changes {
        Changes {
            start: Start::At(from.into()),
            end: End::Open,
            scan: Scan::new(),
            require_feed: true,
        }
    }

    /// On from where an earlier reading stood.
    pub fn after(cursor: Cursor) -> Changes {
        Changes { start: Start::After(cursor), ..Changes::new(Version::ZERO) }
    }

    /// Up to a version, its own changes among them; or to the last version not after a time.
    /// Defaults to the newest version.
    pub fn to(self, to: impl Into<When>) -> Changes {
        Changes { end: End::At(to.into()), ..self }
    }

    /// Only these columns, in this order. `_change_type`, `_commit_version` and
    /// `_commit_timestamp` come after them, unless they are among them. Defaults to all columns.
    pub fn columns<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Changes {
        Changes { scan: self.scan.columns(columns), ..self }
    }

    /// Only rows for which it is true; it may name the columns of the feed. Called twice: both.
    /// Defaults to all rows.
    ///
    /// An update whose row is let in or out by the filter shows one of its two rows.
    pub fn filter(self, filter: Expr) -> Changes {
        Changes { scan: self.scan.filter(filter), ..self }
    }

    /// At most this many rows; the cursor then stands behind the last of them. Defaults to no
    /// limit.
    pub fn limit(self, rows: u64) -> Changes {
        Changes { scan: self.scan.limit(rows), ..self }
    }

    /// At most this many rows per batch, at least one. Defaults to 8,192.
    pub fn batch_rows(self, rows: usize) -> Changes {
        Changes { scan: self.scan.batch_rows(rows), ..self }
    }

    /// Refuses a version that did not keep the change feed, as other engines do. Without it, the
    /// changes of such a version are derived from its files: what left and what joined the table. A
    /// row that was updated is then a delete and an insert, and so are the rows that were copied
    /// beside it. Defaults to `true`.
    pub fn require_feed(self, require_feed: bool) -> Changes {
        Changes { require_feed, ..self }
    }
}

impl From<Cursor> for Changes {
    fn from(cursor: Cursor) -> Changes {
        Changes::after(cursor)
    }
}

impl From<RangeFrom<Version>> for Changes {
    fn from(range: RangeFrom<Version>) -> Changes {
        Changes::new(range.start)
    }
}

impl From<RangeInclusive<Version>> for Changes {
    fn from(range: RangeInclusive<Version>) -> Changes {
        Changes::new(*range.start()).to(*range.end())
    }
}

/// Without the changes of the last version.
impl From<Range<Version>> for Changes {
    fn from(range: Range<Version>) -> Changes {
        Changes { end: End::Before(range.end), ..Changes::new(range.start) }
    }
}

impl From<RangeFrom<Timestamp>> for Changes {
    fn from(range: RangeFrom<Timestamp>) -> Changes {
        Changes::new(range.start)
    }
}

impl From<RangeInclusive<Timestamp>> for Changes {
    fn from(range: RangeInclusive<Timestamp>) -> Changes {
        Changes::new(*range.start()).to(*range.end())
    }
}

/// Row changes in the order of their versions: within a version deletes before inserts, or as its
/// change files have them. Dropping it stops the reading.
pub struct Feed {
    schema: SchemaRef,
    versions: Option<(Version, Version)>,
    cursor: Cursor,
    left: Option<u64>,
    op: Op,
    stream: BoxStream<'static, Result<Step>>,
}

impl Feed {
    /// Shape of the batches: columns of the table as of the last version, then `_change_type`
    /// (string), `_commit_version` (long) and `_commit_timestamp` (timestamp).
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The first and the last version whose changes are told; `None` if there are none yet.
    pub fn versions(&self) -> Option<(Version, Version)> {
        self.versions
    }

    /// Where the reading stands: after the batch that came last; at the end of the stream, after
    /// the last version. What is read ahead does not count.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// The first of the stream; what came before it is dropped.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.try_collect().await
    }

    fn hand_out(&mut self, part: &Part, file: Cursor) -> RecordBatch {
        let (batch, rows) = cut(&mut self.left, &part.batch);
        let last = rows.checked_sub(1).and_then(|it| part.rows.values().get(it));
        let last = last.and_then(|it| u64::try_from(*it).ok());
        self.cursor = Cursor { row: last.map_or(0, |it| it.saturating_add(1)), ..file };
        self.op.rows(u64::try_from(rows).unwrap_or(u64::MAX));
        batch
    }
}

/// What a limit leaves of a batch, and how many rows that is.
fn cut(left: &mut Option<u64>, batch: &RecordBatch) -> (RecordBatch, usize) {
    let most = left.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    let rows = most.min(batch.num_rows());
    *left = left.map(|it| it.saturating_sub(u64::try_from(rows).unwrap_or(u64::MAX)));
    (batch.slice(0, rows), rows)
}

impl Stream for Feed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.left == Some(0) {
                return Poll::Ready(None);
            }
            match ready!(self.stream.poll_next_unpin(poller)) {
                None => return Poll::Ready(None),
                Some(Err(it)) => return Poll::Ready(Some(Err(it))),
                Some(Ok(Step::Passed(at))) => self.cursor = at,
                Some(Ok(Step::Rows { part, file })) => {
                    return Poll::Ready(Some(Ok(self.hand_out(&part, file))));
                }
            }
        }
    }
}

/// Row changes of a range. `newest` is the newest version there is.
pub(crate) async fn changes(
    context: &Context,
    newest: &Snapshot,
    options: &Changes,
) -> Result<Feed> {
    let deadline = context.deadline();
    let plan = async {
        let range = range::resolve(context, newest, options).await?;
        let told = match range.to == newest.version() {
            true => Arc::clone(&newest.loaded().head),
            false => open(context, range.to).await?.head,
        };
        let files = Files::new(context, newest, Arc::clone(&told), &options.scan, true)?;
        let result = Arc::clone(&files.told.result);
        let Some(from) = range.from else {
            return Ok((result, None, range.cursor(&told.metadata.id), stream::empty().boxed()));
        };
        let head = match from == range.to {
            true => told,
            false => open(context, from).await?.head,
        };
        let (commits, times) = range::commits(context, newest, from, range.to).await?;
        let cursor = range.cursor(&head.metadata.id);
        let walk = Walk::new(files, commits, times, options.require_feed, cursor.clone(), head);
        Ok((result, Some((from, range.to)), cursor, walk.lanes()))
    };
    let planned = context.bounded("planning the changes", plan).await;
    let table = context.store.location();
    let (schema, versions, cursor, walk) =
        planned.map_err(|it| range::not_there(it, newest.head(), options))?;
    let (from, to) = versions.map_or((None, None), |it| (Some(it.0.get()), Some(it.1.get())));
    tracing::info!(table, from, to, "changes");
    Ok(Feed {
        schema,
        versions,
        cursor,
        left: options.scan.row_limit(),
        op: context.op.clone(),
        stream: deadline.stream("reading changes", ahead(context, walk).boxed()),
    })
}

/// The rows by which two versions differ.
pub(crate) async fn diff(
    context: &Context,
    newest: &Snapshot,
    [from, to]: [&Snapshot; 2],
    scan: &Scan,
) -> Result<Batches> {
    let deadline = context.deadline();
    let plan = async {
        let Context { env, op, store, .. } = context;
        let is_forward = from.version() <= to.version();
        let (older, newer) = if is_forward { (from, to) } else { (to, from) };
        let head = Arc::clone(&newer.loaded().head);
        check_schema(&head, older.head())?;
        let id = &head.metadata.id;
        let was = older.state(op, Width::Narrow).await?;
        // What both have is then held once, and is not compared.
        let base = context.catalog.is_none() && was.head.metadata.id == *id;
        let base = base.then_some(&*was);
        let is = load::files(env, op, store, newer.loaded(), Width::Narrow, base).await?;
        let files = Files::new(context, newest, head, scan, false)?;
        let (a, b) = if is_forward { (was, is) } else { (is, was) };
        let difference = env.compute(move || Ok(Difference::new(&a.files, &b.files))).await?;
        let schema = Arc::clone(&files.told.result);
        Ok((schema, files.of(difference, None, 0)))
    };
    let (schema, files) = context.bounded("planning the difference", plan).await?;
    let (table, count) = (context.store.location(), files.len());
    tracing::info!(table, from = %from.version(), to = %to.version(), files = count, "diff");

    let lanes = (0..count).zip(Turn::line());
    let lanes = lanes.filter_map(move |(at, turn)| files.lane(at, turn, 0).transpose());
    let parts = ahead(context, stream::iter(lanes).boxed());
    let rows = limited(parts.boxed(), scan.row_limit(), context.op.clone());
    Ok(Batches::new(schema, deadline.stream("reading the difference", rows)))
}

/// The rows of the parts, as many as the limit allows.
fn limited(parts: Lane<Part>, limit: Option<u64>, op: Op) -> Lane<RecordBatch> {
    let next = |(mut parts, mut left, op): (Lane<Part>, Option<u64>, Op)| async move {
        if left == Some(0) {
            return Ok(None);
        }
        let Some(part) = parts.try_next().await? else { return Ok(None) };
        let (batch, rows) = cut(&mut left, &part.batch);
        op.rows(u64::try_from(rows).unwrap_or(u64::MAX));
        Ok(Some((batch, (parts, left, op))))
    };
    stream::try_unfold((parts, limit, op), next).boxed()
}

/// Files are read ahead only while less than half of the memory budget is in use, as in a scan.
fn ahead<T: Send + 'static>(context: &Context, lanes: Lane<Lane<T>>) -> Lanes<T> {
    let budget = context.env.budget().clone();
    let width = (2 * context.env.cores()).max(FILES_MIN);
    Lanes::new(lanes, width, DEPTH, move || budget.used() < budget.total() / 2)
}

async fn open(context: &Context, version: Version) -> Result<Loaded> {
    let Context { env, op, store, catalog, .. } = context;
    load::open_by(env, op, store, Some(version), catalog.as_deref()).await
}

/// Times by version.
type Times = BTreeMap<Version, Timestamp>;

#[cfg(all(test, feature = "tokio"))]
mod tests;
