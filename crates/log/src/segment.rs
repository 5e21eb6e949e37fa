//! `LogSegment`: which log files make up a version, from a list of names.
//!
//! ```text
//!   names     0 1 2 3 4 5 6 7 8 9     commits
//!                   C       M         checkpoints: C whole, M one part of two
//!   target                        ^
//!   segment         C 4 5 6 7 8
//! ```
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

use crate::error::{Code, Error, Result};
use crate::feature::TableFeature;
use crate::limits::{HINT_BYTES_MAX, PARTS_MAX};
use crate::log_path::{CheckpointName, LogPath};
use crate::support::MissingFeature;
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
    /// `skip` names checkpoint versions that proved broken: the next older one, or the commits
    /// alone, is taken. Names may come in any order and more than once. A list that began past the
    /// start of the log may fail here where the whole list would not.
    ///
    /// # Errors
    ///
    /// - `not-a-table`: no commit and no checkpoint at all.
    /// - `version-gap`: a commit that the version needs is missing; the message names it.
    /// - `version-not-found`: `target` is newer than the log, or older than what it can make up;
    ///   the message gives the range that is there.
    /// - `unsupported-protocol`: only a checkpoint named by UUID makes up the version; see
    ///   [`Error::missing_feature`].
    pub fn new(
        files: Vec<LogFile>,
        target: Option<Version>,
        skip: &[Version],
    ) -> Result<LogSegment> {
        let listing = Listing::new(files);
        let mut bases = listing.bases();
        let last = listing.last(&bases)?;
        bases.retain(|version, _| !skip.contains(version));
        let target = listing.target(target, &bases, last)?;

        let base = bases.range(..=target).next_back();
        let checkpoint_version = base.map(|(version, _)| *version);
        let commits = listing.commits_after(checkpoint_version, target);
        let commits = commits.map_err(|gap| listing.blame(gap, target))?;
        Ok(LogSegment {
            version: target,
            checkpoint: base.map(|(_, parts)| parts.clone()).unwrap_or_default(),
            checkpoint_version,
            commits,
            last_commit: listing.commits.get(&target).cloned(),
        })
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
    by_uuid: BTreeSet<Version>,
}

/// The first commit that is not there.
struct Gap(Version);

impl Listing {
    fn new(mut files: Vec<LogFile>) -> Listing {
        files.sort_by(|a, b| (a.modified, a.size, &a.etag).cmp(&(b.modified, b.size, &b.etag)));
        let mut listing = Listing::default();
        for file in files {
            match file.path {
                LogPath::Commit(version) => {
                    listing.commits.insert(version, file);
                }
                LogPath::Checkpoint(version, CheckpointName::Classic) => {
                    listing.classic.insert(version, file);
                }
                LogPath::Checkpoint(version, CheckpointName::Part { part, parts }) => {
                    let set = listing.parts.entry((version, parts)).or_default();
                    set.insert(part, file);
                }
                LogPath::Checkpoint(version, CheckpointName::Uuid { .. }) => {
                    listing.by_uuid.insert(version);
                }
                LogPath::Compacted { .. } | LogPath::Checksum(_) => {}
            }
        }
        listing
    }

    /// The complete checkpoints by version. At one version the classic one is taken, then the one
    /// of the fewest parts.
    ///
    /// A set of parts is complete if as many are there as each of them says. The number is only
    /// compared: a hostile one costs nothing.
    fn bases(&self) -> BTreeMap<Version, Vec<LogFile>> {
        let mut bases = BTreeMap::new();
        for ((version, parts), set) in self.parts.iter().rev() {
            let complete = u32::try_from(set.len()).is_ok_and(|it| it == *parts);
            if complete && *parts <= PARTS_MAX {
                bases.insert(*version, set.values().cloned().collect());
            }
        }
        for (version, file) in &self.classic {
            bases.insert(*version, vec![file.clone()]);
        }
        bases
    }

    /// The newest version that there is, whether or not it can be made up: a checkpoint, even one
    /// that we cannot read, proves that its version was committed.
    fn last(&self, bases: &BTreeMap<Version, Vec<LogFile>>) -> Result<Version> {
        let last = |it: Option<&Version>| it.copied();
        last(self.commits.keys().next_back())
            .max(last(bases.keys().next_back()))
            .max(last(self.by_uuid.last()))
            .or_else(|| self.parts.keys().next_back().map(|(version, _)| *version))
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

    /// Says why there is a gap: perhaps only this build sees one.
    fn blame(&self, Gap(missing): Gap, target: Version) -> Error {
        let base = self.by_uuid.range(..=target).next_back();
        if let Some(base) = base.filter(|it| self.commits_after(Some(**it), target).is_ok()) {
            let feature = TableFeature::V2Checkpoint;
            let what = format!(
                "version {target} is made up by a checkpoint of feature `{feature}` at version \
                 {base}, which this build cannot read"
            );
            return Error::new(Code::UnsupportedProtocol, what)
                .with_payload(MissingFeature { feature, to_read: true });
        }
        let what = format!(
            "the commit of version {missing} is missing, and no complete checkpoint after it \
             makes up version {target}"
        );
        Error::new(Code::VersionGap, what)
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
mod tests;
