//! Which versions a feed tells, the commits that made them, and when.

use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::history::{CommitTime, effective_times};
use lakebed_log::segment::LogFile;
use lakebed_log::state::Head;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;

use super::cursor::Cursor;
use super::{Changes, End, Start, Times};
use crate::history;
use crate::snapshot::{Snapshot, When};
use crate::txn::Context;

/// The versions of a feed.
pub(super) struct Resolved {
    /// The first; `None` if there is nothing to tell.
    pub(super) from: Option<Version>,
    /// The last, in whose schema rows are told.
    pub(super) to: Version,
    cursor: Option<Cursor>,
}

impl Resolved {
    /// Where the reading begins, for a table of this id.
    pub(super) fn cursor(&self, id: &str) -> Cursor {
        let after = self.to.next().unwrap_or(self.to);
        match (&self.cursor, self.from) {
            (Some(it), _) => it.clone(),
            (None, from) => Cursor::at(id, from.unwrap_or(after)),
        }
    }
}

/// The versions that the options ask for.
///
/// # Errors
///
/// `version-not-found` past the newest version, `invalid-argument` for a range that runs backwards
/// and for the cursor of another table.
pub(super) async fn resolve(
    context: &Context,
    newest: &Snapshot,
    options: &Changes,
) -> Result<Resolved> {
    let latest = newest.version();
    let place = context.store.location();
    let beyond = |version: Version| {
        let what = format!("there is no version {version}: the newest one is {latest}");
        Error::new(Code::VersionNotFound, what).at(place)
    };
    let to = match &options.end {
        End::Open => latest,
        End::At(When::Version(it)) => *it,
        End::At(When::Timestamp(at)) => {
            history::version_at_time(context, newest.head(), *at).await?
        }
        End::Before(it) => it
            .get()
            .checked_sub(1)
            .and_then(Version::new)
            .ok_or_else(|| Error::invalid("the range of versions ends before version 0"))?,
    };
    if latest < to {
        return Err(beyond(to));
    }
    let (from, cursor) = match &options.start {
        Start::At(When::Version(it)) => (*it, None),
        Start::At(When::Timestamp(at)) => (first_since(context, newest, *at).await?, None),
        Start::After(it) => (it.version, Some(it.clone())),
    };
    let after = to.next();
    if let Some(cursor) = &cursor
        && Some(from) == after
        && cursor.is_start()
    {
        if to == latest && cursor.table != newest.head().metadata.id {
            return Err(other_table(cursor, &newest.head().metadata.id).at(place));
        }
        return Ok(Resolved { from: None, to, cursor: Some(cursor.clone()) });
    }
    if latest < from {
        return Err(beyond(from));
    }
    let backwards = match (&options.start, &options.end) {
        // No commit lies between two times: there is nothing to tell.
        (Start::At(When::Timestamp(a)), End::At(When::Timestamp(b))) if a <= b => false,
        _ => to < from,
    };
    if backwards {
        let what = format!("the range of versions runs backwards, from {from} to {to}");
        return Err(Error::invalid(what));
    }
    Ok(Resolved { from: (from <= to).then_some(from), to, cursor })
}

/// What is to be said where the range of a cursor is not there: of the version, or of the table.
pub(super) fn not_there(error: Error, newest: &Head, options: &Changes) -> Error {
    let id = &newest.metadata.id;
    match &options.start {
        // A version of another table is not expected to be here.
        Start::After(it) if error.kind() == ErrorKind::NotFound && it.table != *id => {
            other_table(it, id)
        }
        _ => error,
    }
}

/// The cursor was made from another table.
pub(super) fn other_table(cursor: &Cursor, id: &str) -> Error {
    let was = &cursor.table;
    Error::invalid(format!("the cursor is of table `{was}`, and this table is `{id}`"))
}

/// The first version not before a time.
async fn first_since(context: &Context, newest: &Snapshot, at: Timestamp) -> Result<Version> {
    let before = history::version_at_time(context, newest.head(), at.plus_millis(-1)).await;
    match before {
        Ok(before) => before.next().filter(|it| *it <= newest.version()).ok_or_else(|| {
            let what = format!("there is no version since {at}: the newest one is older");
            Error::new(Code::VersionNotFound, what).at(context.store.location())
        }),
        // Before the first version: everything that is left.
        Err(it) if it.code() == Code::VersionNotFound => {
            let commits = history::commits(context).await?;
            commits.first().map(|it| it.path.version()).ok_or(it)
        }
        Err(it) => Err(it),
    }
}

/// The commits of a range without gap, and the times of those that go by the times of their files.
///
/// # Errors
///
/// `version-not-found` if the log no longer holds the first of them, `version-gap` for another.
pub(super) async fn commits(
    context: &Context,
    newest: &Snapshot,
    from: Version,
    to: Version,
) -> Result<(Vec<LogFile>, Times)> {
    let all = history::commits(context).await?;
    let place = context.store.location();
    let mut expected = Some(from);
    let in_range = |it: &&LogFile| from <= it.path.version() && it.path.version() <= to;
    let mut commits = Vec::new();
    for file in all.iter().filter(in_range) {
        if expected != Some(file.path.version()) {
            break;
        }
        expected = file.path.version().next();
        commits.push(file.clone());
    }
    let missing = expected.filter(|it| *it <= to);
    if let Some(missing) = missing {
        let first = all.first().map(|it| it.path.version());
        let is_expired = first.is_none_or(|it| missing < it);
        let error = match (is_expired, first) {
            (true, Some(first)) => {
                let what = format!(
                    "the log no longer holds the commit of version {missing}: it begins with \
                     version {first}"
                );
                Error::new(Code::VersionNotFound, what)
            }
            (true, None) => {
                let what = format!("the log no longer holds the commit of version {missing}");
                Error::new(Code::VersionNotFound, what)
            }
            (false, _) => {
                let what = format!("the log lacks the commit of version {missing}");
                Error::new(Code::VersionGap, what)
            }
        };
        return Err(error.at(place));
    }
    Ok((commits, times(newest, &all)?))
}

/// Times of the versions that go by those of their files.
fn times(newest: &Snapshot, commits: &[LogFile]) -> Result<Times> {
    let properties = &newest.head().properties;
    let enablement = match properties.enable_in_commit_timestamps {
        false => None,
        true => {
            let (version, at) = properties.in_commit_timestamp_enablement.unwrap_or((0, i64::MIN));
            Version::new(version).map(|it| (it, Timestamp::from_millis(at)))
        }
    };
    let by_file = |it: &&LogFile| enablement.is_none_or(|(since, _)| it.path.version() < since);
    let time = |it: &LogFile| CommitTime {
        version: it.path.version(),
        modified: it.modified,
        in_commit: None,
    };
    let times: Vec<_> = commits.iter().filter(by_file).map(time).collect();
    Ok(effective_times(&times, enablement)?.into_iter().collect())
}
