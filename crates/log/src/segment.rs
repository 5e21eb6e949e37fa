//! `LogSegment`: which log files make up a version, from a list of names.
//!
//! ```text
//!   names     0 1 2 3 4 5 6 7 8 9     commits
//!                   C       M         checkpoints: C whole, M one part of two
//!   target                        ^
//!   segment         C 4 5 6 7 8
//! ```
//!
//! A compacted file holds what several commits amount to. It is read in their place only where all
//! of them are there as well: it saves requests and proves nothing.
//!
//! Names are all there is to go by: what a store says about order, and what the hint says about
//! anything, may be old. So the newest *complete* checkpoint is taken, and the commits after it
//! must be there without a gap, or there is no such version. A gap is never stepped over: the
//! missing commit may have removed what an older one added.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::action::short;
use crate::batch::LogBatch;
use crate::error::{Code, Error, Result};
use crate::limits::{HINT_BYTES_MAX, PARTS_MAX};
use crate::log_path::{CheckpointName, LogPath};
use crate::mutant::planted;
use crate::time::Timestamp;
use crate::version::Version;

/// One name of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Parsed name.
    pub path: LogPath,
    /// Bytes.
    pub size: u64,
    /// Of the store.
    pub modified: Timestamp,
    /// Entity tag of the store, if it gives one.
    pub etag: Option<String>,
}

/// What to read for a version. No gaps; one complete checkpoint or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSegment {
    /// The version it makes up.
    pub version: Version,
    /// Parts of the checkpoint, in part order; empty if replay starts at version 0.
    pub checkpoint: Vec<LogFile>,
    /// Version of the checkpoint.
    pub checkpoint_version: Option<Version>,
    /// Commits after the checkpoint, ascending, no gap.
    pub commits: Vec<LogFile>,
    /// Compacted files, each of which may stand for the commits it covers: see
    /// [`LogSegment::cover`].
    pub compacted: Vec<LogFile>,
    /// The commit of the version itself, also if the checkpoint covers it.
    pub last_commit: Option<LogFile>,
}

/// The checkpoint hint, `_last_checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Version of the checkpoint.
    pub version: Version,
    /// Actions in it.
    pub size: Option<i64>,
    /// Parts, of a multi-part one.
    pub parts: Option<u32>,
    /// Bytes of the checkpoint.
    pub size_in_bytes: Option<u64>,
    /// Live files in it.
    pub num_of_add_files: Option<u64>,
}

impl Hint {
    /// `None` for anything that is not a sound hint: hints are lenient, because without one the
    /// log is listed from its start and nothing is lost but time.
    ///
    /// ```
    /// use lakebed_log::segment::Hint;
    ///
    /// let hint = Hint::parse(br#"{"version":20,"size":312,"someday":true}"#).unwrap();
    /// assert_eq!((hint.version.get(), hint.size), (20, Some(312)));
    /// assert_eq!(Hint::parse(br#"{"version":-1,"size":312}"#), None);
    /// ```
    pub fn parse(bytes: &[u8]) -> Option<Hint> {
        if HINT_BYTES_MAX < u64::try_from(bytes.len()).ok()? {
            return None;
        }
        let Strict(Json::Object(fields)) = serde_json::from_slice(bytes).ok()? else {
            return None;
        };
        // The outer `None` is a field of the wrong type or range, which spoils the hint.
        let number = |key: &str| match fields.get(key) {
            None | Some(Json::Null) => Some(None),
            Some(it) => it.as_u64().filter(|it| i64::try_from(*it).is_ok()).map(Some),
        };
        Some(Hint {
            version: Version::new(number("version")??)?,
            size: number("size")?.and_then(|it| i64::try_from(it).ok()),
            parts: match number("parts")? {
                None => None,
                Some(it) => Some(u32::try_from(it).ok()?),
            },
            size_in_bytes: number("sizeInBytes")?,
            num_of_add_files: number("numOfAddFiles")?,
        })
    }

    /// The JSON to write. Unknown counts are left out.
    pub fn to_json(&self) -> String {
        let mut text = format!("{{\"version\":{}", self.version);
        let mut field = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!(",\"{key}\":{value}"));
            }
        };
        field("size", self.size.map(|it| it.to_string()));
        field("parts", self.parts.map(|it| it.to_string()));
        field("sizeInBytes", self.size_in_bytes.map(|it| it.to_string()));
        field("numOfAddFiles", self.num_of_add_files.map(|it| it.to_string()));
        text.push('}');
        text
    }
}

impl LogSegment {
    /// Picks the files for `target` (newest if `None`).
    ///
    /// `skip` names files that proved broken: a checkpoint that one of them belongs to is not
    /// taken, nor a compacted file; another checkpoint, or the commits, take its place. Names may
    /// come in any order and more than once. A list that began past the start of the log may fail
    /// here where the whole list would not.
    ///
    /// # Errors
    ///
    /// - `not-a-table`: no commit and no checkpoint at all.
    /// - `version-gap`: a commit that the version needs is missing; the message names it.
    /// - `version-not-found`: `target` is newer than the log, or older than what it can make up:
    ///   the message gives the range that is there; or it lies below a complete checkpoint, and
    ///   the log has been cleaned up from its beginning on, with a commit that it needs.
    pub fn new(
        files: Vec<LogFile>,
        target: Option<Version>,
        skip: &[LogPath],
    ) -> Result<LogSegment> {
        let listing = Listing::new(files);
        let all = listing.bases(&BTreeSet::new());
        let last = listing.last(&all)?;
        let skip: BTreeSet<&LogPath> = skip.iter().collect();
        let bases = if skip.is_empty() { all } else { listing.bases(&skip) };
        let target = listing.target(target, &bases, last)?;

        let base = bases.range(..=target).next_back();
        let checkpoint_version = base.map(|(version, _)| *version);
        let commits = listing.commits_after(checkpoint_version, target);
        let commits = commits.map_err(|Gap(missing)| {
            // Cleanup takes commits below a checkpoint from the lowest on, and checkpoints last.
            let newer = bases.keys().next_back().filter(|it| target < **it);
            let is_cleaned = !listing.commits.contains_key(&Version::ZERO);
            if let Some(newer) = newer.filter(|_| is_cleaned) {
                let what = format!(
                    "version {target} can no longer be made up: the commit of version {missing} \
                     has been cleaned up; version {newer} is there"
                );
                return Error::new(Code::VersionNotFound, what);
            }
            let what = format!(
                "the commit of version {missing} is missing, and no complete checkpoint after it \
                 makes up version {target}"
            );
            Error::new(Code::VersionGap, what)
        })?;
        Ok(LogSegment {
            version: target,
            checkpoint: base.map(|(_, parts)| parts.clone()).unwrap_or_default(),
            checkpoint_version,
            commits,
            compacted: listing.compacted(checkpoint_version, target, &skip),
            last_commit: listing.commits.get(&target).cloned(),
        })
    }

    /// What to read for the commits after `after` and before `before`, ascending: the commits, with
    /// compacted files in their place where that makes fewer files.
    ///
    /// ```
    /// # use lakebed_log::log_path::LogPath;
    /// # use lakebed_log::segment::{LogFile, LogSegment};
    /// # use lakebed_log::time::Timestamp;
    /// # let file = |path| LogFile {
    /// #     path, size: 1, modified: Timestamp::from_millis(0), etag: None
    /// # };
    /// # let v = lakebed_log::version::Version::from;
    /// let commits = (0..4).map(|it| file(LogPath::Commit(v(it))));
    /// let compacted = file(LogPath::Compacted { first: v(0), last: v(2) });
    /// let segment = LogSegment::new(commits.chain([compacted]).collect(), None, &[])?;
    /// assert_eq!((segment.commits.len(), segment.cover(None, None).len()), (4, 2));
    /// assert_eq!(segment.cover(Some(v(1)), None).len(), 2);
    /// # Ok::<(), lakebed_log::error::Error>(())
    /// ```
    pub fn cover(&self, after: Option<Version>, before: Option<Version>) -> Vec<LogFile> {
        let inside = |first: Version, last: Version| {
            after.is_none_or(|it| it < first) && before.is_none_or(|it| last < it)
        };
        let commits: Vec<_> = (self.commits.iter())
            .filter(|it| inside(it.path.version(), it.path.version()))
            .collect();
        let mut by_first: BTreeMap<Version, Vec<&LogFile>> = BTreeMap::new();
        for file in &self.compacted {
            if let LogPath::Compacted { first, last } = file.path
                && inside(first, last)
            {
                by_first.entry(first).or_default().push(file);
            }
        }
        if by_first.is_empty() {
            return commits.into_iter().cloned().collect();
        }
        // From the end: how many files from here on, and which is the next one. The plain commit
        // wins a tie, because it also says who made it.
        let mut steps: Vec<(usize, usize, &LogFile)> = Vec::with_capacity(commits.len());
        let files_from = |steps: &[(usize, usize, &LogFile)], behind: usize| {
            steps.len().checked_sub(behind).and_then(|it| steps.get(it)).map_or(0, |it| it.0)
        };
        for commit in commits.iter().rev() {
            let version = commit.path.version();
            let mut best = (1 + files_from(&steps, 1), 1, *commit);
            for file in by_first.get(&version).into_iter().flatten() {
                let covered = file.path.version().get() - version.get() + 1;
                let covered = usize::try_from(covered).unwrap_or(usize::MAX);
                if covered > steps.len() + 1 {
                    continue;
                }
                let after =
                    if covered == steps.len() + 1 { 0 } else { files_from(&steps, covered) };
                if 1 + after < best.0 {
                    best = (1 + after, covered, file);
                }
            }
            steps.push(best);
        }
        let mut files = Vec::new();
        let mut at = steps.len();
        while let Some((_, covered, file)) = at.checked_sub(1).and_then(|it| steps.get(it)) {
            files.push((*file).clone());
            at = at.saturating_sub(*covered);
        }
        files
    }

    /// Checks the top level of a checkpoint against what its name says, once it is decoded.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint`: a name with an id, or a `sidecar`, without `checkpointMetadata`; one
    /// of another version; file actions beside sidecars; one sidecar named twice; a second layout
    /// in a part.
    pub fn check_top_level(path: &LogPath, batch: &LogBatch) -> Result<()> {
        let corrupt = |what: String| Err(Error::new(Code::CorruptCheckpoint, what));
        let LogPath::Checkpoint(version, name) = path else { return Ok(()) };
        let Some(marker) = &batch.checkpoint_metadata else {
            if matches!(name, CheckpointName::Uuid { .. }) {
                return corrupt("a checkpoint named by id has no `checkpointMetadata`".to_string());
            }
            if !batch.sidecars.is_empty() {
                return corrupt("there are sidecars and no `checkpointMetadata`".to_string());
            }
            return Ok(());
        };
        if matches!(name, CheckpointName::Part { .. }) {
            return corrupt("a part of a checkpoint holds `checkpointMetadata`".to_string());
        }
        if u64::try_from(marker.version) != Ok(version.get()) {
            return corrupt(format!("`checkpointMetadata` says version {}", marker.version));
        }
        if !batch.sidecars.is_empty() && (batch.adds.is_some() || batch.removes.is_some()) {
            return corrupt("file actions stand beside sidecars".to_string());
        }
        let mut seen = BTreeSet::new();
        match batch.sidecars.iter().find(|it| !seen.insert(it.path.as_str())) {
            Some(twice) => corrupt(format!("sidecar `{}` is named twice", short(&twice.path))),
            None => Ok(()),
        }
    }
}

/// The names of a log, sorted by what they are. Each has one file: of two with one name, which a
/// listing that was changed under way can give, the younger.
#[derive(Default)]
struct Listing {
    commits: BTreeMap<Version, LogFile>,
    classic: BTreeMap<Version, LogFile>,
    /// By version and number of parts.
    parts: BTreeMap<(Version, u32), BTreeMap<u32, LogFile>>,
    by_id: BTreeMap<(Version, CheckpointName), LogFile>,
    compacted: BTreeMap<(Version, Version), LogFile>,
}

/// The first commit that is not there.
struct Gap(Version);

impl Listing {
    fn new(mut files: Vec<LogFile>) -> Listing {
        files.sort_by(|a, b| {
            // What the catalog has ratified wins over what is published.
            let staged = |it: &LogFile| matches!(it.path, LogPath::Staged { .. });
            let key = |it: &LogFile| (staged(it), it.modified, it.size);
            key(a).cmp(&key(b)).then_with(|| a.etag.cmp(&b.etag))
        });
        let mut listing = Listing::default();
        for file in files {
            match &file.path {
                LogPath::Commit(version) | LogPath::Staged { version, .. } => {
                    listing.commits.insert(*version, file);
                }
                LogPath::Checkpoint(version, CheckpointName::Classic) => {
                    listing.classic.insert(*version, file);
                }
                LogPath::Checkpoint(version, CheckpointName::Part { part, parts }) => {
                    let set = listing.parts.entry((*version, *parts)).or_default();
                    set.insert(*part, file);
                }
                LogPath::Checkpoint(version, name @ CheckpointName::Uuid { .. }) => {
                    listing.by_id.insert((*version, name.clone()), file);
                }
                LogPath::Compacted { first, last } => {
                    listing.compacted.insert((*first, *last), file);
                }
                LogPath::Checksum(_) => {}
            }
        }
        listing
    }

    /// The complete checkpoints by version, without those that a file of `skip` belongs to. At one
    /// version the classic one is taken, then the one of the fewest parts, then the one with the
    /// least id.
    ///
    /// A set of parts is complete if as many are there as each of them says. The number is only
    /// compared: a hostile one costs nothing.
    fn bases(&self, skip: &BTreeSet<&LogPath>) -> BTreeMap<Version, Vec<LogFile>> {
        let is_sound = |it: &LogFile| !skip.contains(&it.path);
        let mut bases = BTreeMap::new();
        for ((version, _), file) in self.by_id.iter().rev().filter(|(_, it)| is_sound(it)) {
            bases.insert(*version, vec![file.clone()]);
        }
        for ((version, parts), set) in self.parts.iter().rev() {
            let complete = u32::try_from(set.len()).is_ok_and(|it| it == *parts);
            if complete && *parts <= PARTS_MAX && set.values().all(is_sound) {
                bases.insert(*version, set.values().cloned().collect());
            }
        }
        for (version, file) in self.classic.iter().filter(|(_, it)| is_sound(it)) {
            bases.insert(*version, vec![file.clone()]);
        }
        bases
    }

    /// The compacted files whose commits all take part; the caller has seen that there is no gap
    /// among them.
    fn compacted(
        &self,
        checkpoint: Option<Version>,
        target: Version,
        skip: &BTreeSet<&LogPath>,
    ) -> Vec<LogFile> {
        let takes_part = |first: Version, last: Version| {
            checkpoint.is_none_or(|it| it < first) && last <= target
        };
        let usable = self.compacted.iter().filter(|((first, last), file)| {
            takes_part(*first, *last) && !skip.contains(&file.path)
        });
        usable.map(|(_, file)| file.clone()).collect()
    }

    /// The newest version that there is, whether or not it can be made up: a checkpoint, even an
    /// incomplete one, proves that its version was committed.
    fn last(&self, bases: &BTreeMap<Version, Vec<LogFile>>) -> Result<Version> {
        let last = |it: Option<&Version>| it.copied();
        last(self.commits.keys().next_back())
            .max(last(bases.keys().next_back()))
            .max(self.parts.keys().next_back().map(|(version, _)| *version))
            .ok_or_else(|| Error::new(Code::NotATable, "the log holds no commit and no checkpoint"))
    }

    fn target(
        &self,
        wanted: Option<Version>,
        bases: &BTreeMap<Version, Vec<LogFile>>,
        last: Version,
    ) -> Result<Version> {
        let Some(wanted) = wanted else { return Ok(last) };
        let starts_at_zero = self.commits.contains_key(&Version::ZERO).then_some(Version::ZERO);
        let first = starts_at_zero.or_else(|| bases.keys().next().copied());
        match first {
            Some(first) if wanted < first || last < wanted => Err(not_found(wanted, first..=last)),
            None if last < wanted => Err(not_found(wanted, last..=last)),
            _ => Ok(wanted),
        }
    }

    /// The commits that lead from the checkpoint, or from nothing, to `target`.
    fn commits_after(
        &self,
        checkpoint: Option<Version>,
        target: Version,
    ) -> Result<Vec<LogFile>, Gap> {
        let mut wanted = match checkpoint {
            Some(checkpoint) if checkpoint == target => return Ok(Vec::new()),
            Some(checkpoint) => checkpoint.next().ok_or(Gap(target))?,
            None => Version::ZERO,
        };
        let mut commits = Vec::new();
        for (version, file) in self.commits.range(wanted..=target) {
            if *version != wanted && planted(18) {
                wanted = *version;
            }
            if *version != wanted {
                return Err(Gap(wanted));
            }
            commits.push(file.clone());
            if wanted == target {
                return Ok(commits);
            }
            wanted = wanted.next().ok_or(Gap(target))?;
        }
        Err(Gap(wanted))
    }
}

fn not_found(wanted: Version, there: RangeInclusive<Version>) -> Error {
    let (first, last) = there.into_inner();
    let what = format!("version {wanted} is not in the log, which has versions {first} to {last}");
    Error::new(Code::VersionNotFound, what)
}

/// A JSON document without duplicate keys, at any depth. Parsers differ in which of two they take,
/// so a document that has two means different things to different readers.
pub(crate) struct Strict(pub(crate) Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Strict, D::Error> {
        from.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }
    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Json::Null))
    }
    fn visit_bool<E>(self, it: bool) -> Result<Strict, E> {
        Ok(Strict(it.into()))
    }
    fn visit_i64<E>(self, it: i64) -> Result<Strict, E> {
        Ok(Strict(it.into()))
    }
    fn visit_u64<E>(self, it: u64) -> Result<Strict, E> {
        Ok(Strict(it.into()))
    }
    fn visit_f64<E>(self, it: f64) -> Result<Strict, E> {
        Ok(Strict(it.into()))
    }
    fn visit_str<E>(self, it: &str) -> Result<Strict, E> {
        Ok(Strict(it.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Strict, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = from.next_element()? {
            items.push(item);
        }
        Ok(Strict(Json::Array(items)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Strict, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let Strict(value) = from.next_value()?;
            if fields.insert(key, value).is_some() {
                return Err(de::Error::custom("duplicate key"));
            }
        }
        Ok(Strict(Json::Object(fields)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
