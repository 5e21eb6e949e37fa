//! Commit times, in-commit or by file; a time to a version.
//!
//! Without in-commit timestamps the only time of a commit is that of its file, which copying a
//! table or a skewed clock may set to anything. So file times are made to rise along the log.
//! In-commit timestamps are part of the commit and taken as they are, from the version on that
//! enabled them.

use crate::action::CommitInfo;
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;
use crate::version::Version;

/// When one version was committed, as the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTime {
    /// Which version.
    pub version: Version,
    /// Modification time of the file.
    pub modified: Timestamp,
    /// `inCommitTimestamp`, where known.
    pub in_commit: Option<Timestamp>,
}

/// The times that travel goes by. Ascending by version; times never fall.
///
/// File times are made strictly increasing: one that is not later than its predecessor becomes
/// predecessor + 1 ms. From the `enablement` (version, timestamp) on, in-commit timestamps are
/// taken as they are; a table that was born with them has enabled them at its first version. File
/// times before the enablement are never later than it, so that a time from then on means a
/// version from then on, whatever copying did to the files.
///
/// ```
/// use lakebed_log::history::{CommitTime, effective_times};
/// use lakebed_log::time::Timestamp;
/// use lakebed_log::version::Version;
///
/// let commit = |version: u32, modified| CommitTime {
///     version: Version::from(version),
///     modified: Timestamp::from_millis(modified),
///     in_commit: None,
/// };
/// let times = effective_times(&[commit(0, 500), commit(1, 400)], None)?;
/// assert_eq!(times[1], (Version::from(1), Timestamp::from_millis(501)));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
///
/// # Errors
///
/// `invalid-action` if a version that must have an in-commit timestamp has none, or one that is
/// not after its predecessor's.
pub fn effective_times(
    commits: &[CommitTime],
    enablement: Option<(Version, Timestamp)>,
) -> Result<Vec<(Version, Timestamp)>> {
    let mut commits: Vec<&CommitTime> = commits.iter().collect();
    commits.sort_by_key(|it| it.version);
    commits.dedup_by_key(|it| it.version);

    let (mut by_file, mut in_commit) = (None::<Timestamp>, None::<Timestamp>);
    let mut times = Vec::with_capacity(commits.len());
    for commit in commits {
        let version = commit.version;
        let time = match enablement {
            Some((first, _)) if first <= version => {
                let time = in_commit_time(commit, in_commit)?;
                in_commit = Some(time);
                time
            }
            _ => {
                let time = match by_file {
                    Some(last) => commit.modified.max(last.plus_millis(1)),
                    None => commit.modified,
                };
                by_file = Some(time);
                enablement.map_or(time, |(_, limit)| time.min(limit))
            }
        };
        times.push((version, time));
    }
    Ok(times)
}

fn in_commit_time(commit: &CommitTime, last: Option<Timestamp>) -> Result<Timestamp> {
    let version = commit.version;
    let Some(time) = commit.in_commit else {
        let what = format!("commit {version} has no `inCommitTimestamp`, which the table requires");
        return Err(Error::new(Code::InvalidAction, what));
    };
    match last {
        Some(last) if time <= last => {
            let what = format!(
                "`inCommitTimestamp` of commit {version} is {time}, not after its predecessor's \
                 {last}"
            );
            Err(Error::new(Code::InvalidAction, what))
        }
        _ => Ok(time),
    }
}

/// The newest version not after `at`. After the last commit: the last version.
///
/// # Errors
///
/// `version-not-found` before the first; the message gives the range that is there.
pub fn version_at(times: &[(Version, Timestamp)], at: Timestamp) -> Result<Version> {
    let after = times.partition_point(|(_, time)| *time <= at);
    let found = after.checked_sub(1).and_then(|it| times.get(it));
    if let Some((version, _)) = found {
        return Ok(*version);
    }
    let what = match (times.first(), times.last()) {
        (Some((first, since)), Some((last, until))) => format!(
            "the table had no version at {at}: the log has version {first} of {since} to version \
             {last} of {until}"
        ),
        _ => format!("the table had no version at {at}: the log has none"),
    };
    Err(Error::new(Code::VersionNotFound, what))
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// Which version.
    pub version: Version,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// What the commit says about itself, whole.
    pub info: CommitInfo,
}

#[cfg(test)]
mod tests;
