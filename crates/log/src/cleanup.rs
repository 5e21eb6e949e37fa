//! Log cleanup: which files of the log no version that is kept needs.
//!
//! ```text
//!   commits      0 1 2 3 4 5 6 7 8 9
//!   checkpoints        C     C
//!   time                      ^ now - retention
//!   oldest kept             6            it was the newest then, so a reader of that time sees it
//!   base               3                 the newest checkpoint at or before it
//!   goes         0 1 2
//! ```
//!
//! What goes is decided by versions alone: a late checkpoint of an old version is a young file, and
//! a copied log is young altogether. Times only tell which version is the oldest that is kept.
//! Files go in an order that leaves a sound log at every step: commits from low to high, a few at
//! once, so that what is left leads on without a gap from the checkpoint that stays, and then the
//! checkpoints that they led on from.

use std::collections::BTreeSet;

use crate::error::{Code, Error, Result};
use crate::log_path::LogPath;
use crate::mutant::planted;
use crate::property::Properties;
use crate::segment::{LogFile, LogSegment};
use crate::state::Head;
use crate::support;
use crate::time::Timestamp;
use crate::version::Version;

/// The file that says how far cleanup may have gone, in the log's folder.
pub const MARKER: &str = "_lakebed_cleanup";

/// A cut moves in so many steps a retention, a day of the usual thirty: to look for what goes is
/// dearer than to keep it a little longer.
const STEPS_PER_RETENTION: i64 = 30;

/// What goes, and what the rest stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// The oldest version that is kept for its age. It can be opened, and every later one.
    pub oldest: Version,
    /// The version of the checkpoint that it stands on; everything below goes.
    pub base: Version,
    /// The files of that checkpoint.
    pub checkpoint: Vec<LogFile>,
    /// Commits that go, in the order in which they go.
    pub commits: Vec<LogFile>,
    /// What goes after them: checkpoints, checksums, compacted files, oldest first.
    pub others: Vec<LogFile>,
}

/// Checks that a log may be cleaned up at all by this build.
///
/// # Errors
///
/// `unsupported-protocol`: the table is managed by a catalog, or a feature binds its writers that
/// this build does not know, or one that protects checkpoints. `invalid-metadata`: the retention,
/// or another property, cannot be read, and a guess would delete what somebody wanted to keep.
///
/// # Source
///
/// `spec/cleanup.md`, CLEAN-7, CLEAN-8.
pub fn check(head: &Head) -> Result<()> {
    support::checkpointable(&head.protocol, head.read)?;
    Properties::check(&head.metadata.configuration)
}

/// The moment before which versions go: the retention ago, moved back to the last of its steps.
///
/// ```
/// use lakebed_log::cleanup::cut;
/// use lakebed_log::time::Timestamp;
///
/// let day = 24 * 3_600_000;
/// let now = Timestamp::from_millis(100 * day + 5);
/// assert_eq!(cut(now, 30 * day), Timestamp::from_millis(70 * day));
/// ```
pub fn cut(now: Timestamp, retention_millis: i64) -> Timestamp {
    let at = now.as_millis().saturating_sub(retention_millis);
    let step = (retention_millis / STEPS_PER_RETENTION).max(1);
    Timestamp::from_millis(at.saturating_sub(at.rem_euclid(step)))
}

/// The version that was the newest at a time, if the log still tells: the last commit not after it.
/// `times` ascend.
pub fn newest_at(times: &[(Version, Timestamp)], at: Timestamp) -> Option<Version> {
    let after = times.partition_point(|it| it.1 <= at);
    after.checked_sub(1).and_then(|it| times.get(it)).map(|it| it.0)
}

impl Cleanup {
    /// What goes of a whole listing if `oldest` and all later versions are kept. `None` if nothing
    /// does. `unsound` are checkpoints that proved broken: nothing may stand on them.
    ///
    /// # Errors
    ///
    /// `version-gap` if the listing does not lead to its newest version without a gap: then it is
    /// not known what it needs.
    ///
    /// # Source
    ///
    /// `spec/cleanup.md`, CLEAN-1 to CLEAN-4.
    pub fn of(files: &[LogFile], oldest: Version, unsound: &[LogPath]) -> Result<Option<Cleanup>> {
        let newest = LogSegment::new(files.to_vec(), None, unsound)?.version;
        let oldest = if planted(15) { newest } else { oldest };
        let segment = LogSegment::new(files.to_vec(), Some(oldest), unsound)?;
        let base = segment.checkpoint_version.or_else(|| planted(16).then_some(oldest));
        let Some(base) = base else { return Ok(None) };
        refuse_gap(files, base, newest)?;
        let (mut commits, mut others) = (Vec::new(), Vec::new());
        for file in files {
            match file.path {
                LogPath::Commit(version) if version < base => commits.push(file.clone()),
                LogPath::Checkpoint(version, _) | LogPath::Checksum(version) if version < base => {
                    others.push(file.clone());
                }
                // One that begins at the checkpoint or before is of no use to what is kept.
                LogPath::Compacted { first, .. } if first <= base => others.push(file.clone()),
                _ => {}
            }
        }
        if commits.is_empty() && others.is_empty() {
            return Ok(None);
        }
        commits.sort_by_key(|it| it.path.version());
        others.sort_by_key(|it| (matches!(it.path, LogPath::Checkpoint(..)), it.path.version()));
        let checkpoint = segment.checkpoint;
        Ok(Some(Cleanup { oldest, base, checkpoint, commits, others }))
    }

    /// Bytes of what goes.
    pub fn bytes(&self) -> u64 {
        let files = self.commits.iter().chain(&self.others);
        files.map(|it| it.size).fold(0, u64::saturating_add)
    }
}

/// Every version after the base up to the newest has its commit.
fn refuse_gap(files: &[LogFile], base: Version, newest: Version) -> Result<()> {
    let commits: BTreeSet<Version> = files
        .iter()
        .filter(|it| it.path.is_commit())
        .map(|it| it.path.version())
        .filter(|it| base < *it && *it <= newest)
        .collect();
    let mut expected = base.next();
    let missing = commits.iter().find(|it| {
        let fits = Some(**it) == expected;
        expected = expected.and_then(Version::next);
        !fits
    });
    let count = u64::try_from(commits.len()).unwrap_or(u64::MAX);
    if missing.is_none() && count == newest.get() - base.get() {
        return Ok(());
    }
    let what = format!("commits between version {base} and version {newest} are missing");
    Err(Error::new(Code::VersionGap, what))
}

/// The commits that lead without a gap to the newest one, ascending: what time goes by.
pub fn leading(files: &[LogFile]) -> Vec<&LogFile> {
    let mut commits: Vec<&LogFile> = files.iter().filter(|it| it.path.is_commit()).collect();
    commits.sort_by_key(|it| it.path.version());
    commits.dedup_by_key(|it| it.path.version());
    let gap = commits.windows(2).rposition(|it| match it {
        [a, b] => a.path.version().next() != Some(b.path.version()),
        _ => false,
    });
    commits.split_off(gap.map_or(0, |it| it + 1))
}

/// What the marker says: commits below this version may be gone. `None` for what makes no sense.
///
/// ```
/// use lakebed_log::cleanup::{marker, marker_text};
/// use lakebed_log::version::Version;
///
/// let text = marker_text(Version::from(7));
/// assert_eq!(text, r#"{"version":7}"#);
/// assert_eq!(marker(text.as_bytes()), Some(Version::from(7)));
/// ```
pub fn marker(bytes: &[u8]) -> Option<Version> {
    let parsed: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Version::new(parsed.get("version")?.as_u64()?)
}

/// The text of the marker.
pub fn marker_text(version: Version) -> String {
    format!("{{\"version\":{version}}}")
}

#[cfg(test)]
mod tests;
