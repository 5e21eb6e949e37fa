//! Names of files in `_delta_log`, parsed once.
//!
//! A version is what the file names say it is, so a name read too leniently is a version that does
//! not exist. Log folders also collect what others drop there: temporary files, folders, side
//! files of file systems. So a name either is exactly one of the forms below, or it is `None` and
//! nobody looks at it again:
//!
//! ```text
//!   00000000000000000007.json                                     commit
//!   00000000000000000007.checkpoint.parquet                       classic checkpoint
//!   00000000000000000007.checkpoint.0000000001.0000000003.parquet part 1 of 3
//!   00000000000000000007.checkpoint.<uuid>.parquet, or .json      checkpoint of the second layout
//!   00000000000000000003.00000000000000000007.compacted.json      commits 3 to 7, reconciled
//!   00000000000000000007.crc                                      version checksum
//! ```
//!
//! One more form lies a folder below, `_staged_commits/<version>.<uuid>.json`. It is part of a log
//! only if a catalog says so, and so it is not among what [`LogPath::parse`] reads.

use std::fmt;

use uuid::Uuid;

use crate::version::Version;

/// The folder of the log, below the table's root, without slash.
pub const LOG_DIR: &str = "_delta_log";
/// The folder of staged commits, in the log's folder.
pub const STAGED_DIR: &str = "_staged_commits";
/// The folder of sidecars, in the log's folder.
pub const SIDECAR_DIR: &str = "_sidecars";
/// The checkpoint hint, in the log's folder.
pub const HINT: &str = "_last_checkpoint";

/// A file of the log that takes part in replay.
///
/// `Display` and [`LogPath::parse`] are inverse: a value prints the one name it parses from. A
/// staged commit is read by [`LogPath::parse_staged`] instead.
///
/// ```
/// use lakebed_log::log_path::LogPath;
/// use lakebed_log::version::Version;
///
/// let name = "00000000000000000007.json";
/// let path = LogPath::parse(name).unwrap();
/// assert_eq!(path, LogPath::Commit(Version::from(7)));
/// assert_eq!(path.to_string(), name);
/// assert_eq!(LogPath::parse("7.json"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogPath {
    /// The actions of one version.
    Commit(Version),
    /// The whole state at one version, or one part of it.
    Checkpoint(Version, CheckpointName),
    /// The reconciled actions of `first..=last`. Invariant: `first < last`.
    Compacted {
        /// First version covered.
        first: Version,
        /// Last version covered.
        last: Version,
    },
    /// The version checksum.
    Checksum(Version),
    /// The actions of one version, if the catalog of the table says that this file has them.
    Staged {
        /// Which version.
        version: Version,
        /// What makes the name unique.
        id: Uuid,
    },
}

/// How a checkpoint file is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckpointName {
    /// `<v>.checkpoint.parquet`
    Classic,
    /// `<v>.checkpoint.<part>.<parts>.parquet`. Invariant: `1 <= part <= parts`.
    Part {
        /// One-based.
        part: u32,
        /// How many there are.
        parts: u32,
    },
    /// `<v>.checkpoint.<uuid>.json|parquet`
    Uuid {
        /// What makes the name unique.
        id: Uuid,
        /// JSON rather than Parquet.
        json: bool,
    },
}

impl LogPath {
    /// Reads a file name relative to `_delta_log/`, or `None` if it is no part of replay.
    pub fn parse(name: &str) -> Option<LogPath> {
        let (version, rest) = digits::<20>(name)?;
        let version = Version::new(version)?;
        let path = match rest {
            ".json" => LogPath::Commit(version),
            ".crc" => LogPath::Checksum(version),
            ".checkpoint.parquet" => LogPath::Checkpoint(version, CheckpointName::Classic),
            _ => match rest.strip_prefix(".checkpoint.") {
                Some(rest) => LogPath::Checkpoint(version, CheckpointName::parse(rest)?),
                None => {
                    let (last, rest) = digits::<20>(rest.strip_prefix('.')?)?;
                    let last = Version::new(last)?;
                    if rest != ".compacted.json" || last <= version {
                        return None;
                    }
                    LogPath::Compacted { first: version, last }
                }
            },
        };
        Some(path)
    }

    /// Reads the name of a staged commit, relative to `_delta_log/_staged_commits/`.
    ///
    /// ```
    /// use lakebed_log::log_path::LogPath;
    ///
    /// let name = "00000000000000000007.80a083e8-7026-4e79-81be-64bd76c43a11.json";
    /// let path = LogPath::parse_staged(name).unwrap();
    /// assert_eq!(path.to_path(), format!("_delta_log/_staged_commits/{name}"));
    /// assert_eq!(LogPath::parse(name), None);
    /// ```
    pub fn parse_staged(name: &str) -> Option<LogPath> {
        let (version, rest) = digits::<20>(name)?;
        let version = Version::new(version)?;
        let id = canonical_id(rest.strip_prefix('.')?.strip_suffix(".json")?)?;
        Some(LogPath::Staged { version, id })
    }

    /// The version the file belongs to; the last one of a compacted file.
    pub fn version(&self) -> Version {
        match self {
            LogPath::Commit(version)
            | LogPath::Checkpoint(version, _)
            | LogPath::Compacted { last: version, .. }
            | LogPath::Staged { version, .. }
            | LogPath::Checksum(version) => *version,
        }
    }

    /// Does it hold the actions of one version, rather than repeat those of others?
    pub fn is_commit(&self) -> bool {
        matches!(self, LogPath::Commit(_) | LogPath::Staged { .. })
    }

    /// The path below the table's root: `_delta_log/<name>`.
    pub fn to_path(&self) -> String {
        format!("{LOG_DIR}/{self}")
    }
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogPath::Commit(version) => write!(f, "{version:020}.json"),
            LogPath::Checkpoint(version, name) => write!(f, "{version:020}.checkpoint.{name}"),
            LogPath::Compacted { first, last } => {
                write!(f, "{first:020}.{last:020}.compacted.json")
            }
            LogPath::Checksum(version) => write!(f, "{version:020}.crc"),
            LogPath::Staged { version, id } => {
                write!(f, "{STAGED_DIR}/{version:020}.{}.json", id.hyphenated())
            }
        }
    }
}

impl CheckpointName {
    /// Reads what follows `.checkpoint.`, where that is not the classic name.
    fn parse(name: &str) -> Option<CheckpointName> {
        if let Some((part, rest)) = digits::<10>(name) {
            let (parts, rest) = digits::<10>(rest.strip_prefix('.')?)?;
            let (part, parts) = (u32::try_from(part).ok()?, u32::try_from(parts).ok()?);
            let counts = 1 <= part && part <= parts && rest == ".parquet";
            return counts.then_some(CheckpointName::Part { part, parts });
        }
        let (stem, extension) = name.split_once('.')?;
        let json = match extension {
            "json" => true,
            "parquet" => false,
            _ => return None,
        };
        Some(CheckpointName::Uuid { id: canonical_id(stem)?, json })
    }
}

/// What follows `.checkpoint.` in the name.
impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointName::Classic => f.write_str("parquet"),
            CheckpointName::Part { part, parts } => write!(f, "{part:010}.{parts:010}.parquet"),
            CheckpointName::Uuid { id, json: true } => write!(f, "{}.json", id.hyphenated()),
            CheckpointName::Uuid { id, json: false } => write!(f, "{}.parquet", id.hyphenated()),
        }
    }
}

/// An id in the one spelling that prints back to the name of the object.
fn canonical_id(text: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(text).ok()?;
    let mut canonical = Uuid::encode_buffer();
    (&*id.hyphenated().encode_lower(&mut canonical) == text).then_some(id)
}

/// Splits exactly `N` ASCII digits off the front. Another digit after them means that the number is
/// longer than its field.
fn digits<const N: usize>(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = text.split_at_checked(N)?;
    let all_digits = number.bytes().all(|it| it.is_ascii_digit());
    let longer = rest.starts_with(|it: char| it.is_ascii_digit());
    let number = if all_digits && !longer { number.parse().ok()? } else { return None };
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `expected` is the debug form, or `-` for a file that is no part of replay.
    #[track_caller]
    fn check(name: &str, expected: &str) {
        let path = LogPath::parse(name);
        let seen = path.as_ref().map_or("-".to_string(), |it| format!("{it:?}"));
        assert_eq!(seen, expected, "{name}");
        if let Some(path) = path {
            assert_eq!(path.to_string(), name);
            assert_eq!(path.to_path(), format!("_delta_log/{name}"));
        }
    }

    /// spec: LOG-1, LOG-2, LOG-3, LOG-5, LOG-6, LOG-7, LOG-8
    #[test]
    fn names() {
        let v = "00000000000000000007";
        check(&format!("{v}.json"), "Commit(Version(7))");
        check(&format!("{v}.crc"), "Checksum(Version(7))");
        check(&format!("{v}.checkpoint.parquet"), "Checkpoint(Version(7), Classic)");
        check(
            &format!("{v}.checkpoint.0000000001.0000000003.parquet"),
            "Checkpoint(Version(7), Part { part: 1, parts: 3 })",
        );
        for (extension, json) in [("json", true), ("parquet", false)] {
            let id = "80a083e8-7026-4e79-81be-64bd76c43a11";
            check(
                &format!("{v}.checkpoint.{id}.{extension}"),
                &format!("Checkpoint(Version(7), Uuid {{ id: {id}, json: {json} }})"),
            );
        }
        check(
            &format!("00000000000000000003.{v}.compacted.json"),
            "Compacted { first: Version(3), last: Version(7) }",
        );
    }

    /// Names found in the wild, or made to look like a version.
    ///
    /// spec: LOG-2, LOG-4, LOG-5, LOG-7, LOG-9
    #[test]
    fn what_takes_no_part() {
        let v = "00000000000000000007";
        for name in [
            "",
            "7.json",
            "0000001.json",
            "000000000000000000007.json",
            "99999999999999999999.json",
            "09223372036854775808.json",
            "18446744073709551615.json",
            "+0000000000000000007.json",
            "\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}\u{0660}.json",
            v,
            &format!("{v}.JSON"),
            &format!("{v}.json.tmp"),
            &format!("{v}.json/"),
            &format!(".{v}.json.crc"),
            &format!(".{v}.crc"),
            &format!("{v}.checkpoint.parquet.tmp"),
            &format!("{v}.checkpoint.json"),
            &format!("{v}.checkpoint.0000000000.0000000003.parquet"),
            &format!("{v}.checkpoint.0000000004.0000000003.parquet"),
            &format!("{v}.checkpoint.0000000001.9999999999.parquet"),
            &format!("{v}.checkpoint.0000000001.0000000003.json"),
            &format!("{v}.checkpoint.1.3.parquet"),
            &format!("{v}.checkpoint.80a083e870264e7981be64bd76c43a11.parquet"),
            &format!("{v}.checkpoint.80A083E8-7026-4E79-81BE-64BD76C43A11.parquet"),
            &format!("{v}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.avro"),
            &format!("{v}.{v}.compacted.json"),
            &format!("{v}.00000000000000000003.compacted.json"),
            &format!("{v}.00000000000000000009.json"),
            HINT,
            "_last_vacuum_info",
            "_commits",
            "_sidecars/a.parquet",
            "_staged_commits/00000000000000000007.80a083e8-7026-4e79-81be-64bd76c43a11.json",
        ] {
            check(name, "-");
        }
    }

    /// spec: LOG-7
    #[test]
    fn a_compacted_file_belongs_to_its_last_version() {
        let path = LogPath::Compacted { first: Version::from(3), last: Version::from(7) };
        assert_eq!(path.version(), Version::from(7));
    }

    /// spec: CAT-3
    #[test]
    fn staged_commits() {
        let id = "80a083e8-7026-4e79-81be-64bd76c43a11";
        let name = format!("00000000000000000007.{id}.json");
        let path = LogPath::parse_staged(&name).unwrap();
        assert_eq!(path.version(), Version::from(7));
        assert_eq!(path.to_string(), format!("_staged_commits/{name}"));
        for odd in [
            "00000000000000000007.json",
            &name.replace('8', "A"),
            &format!("7.{id}.json"),
            &format!("../00000000000000000007.{id}.json"),
            &format!("00000000000000000007.{id}.json.tmp"),
        ] {
            assert_eq!(LogPath::parse_staged(odd), None, "{odd}");
        }
    }

    proptest! {
        /// Any text parses or does not, and what parses prints back.
        ///
        /// spec: LOG-2
        #[test]
        fn parse_is_total(name in "[0-9]{0,21}(\\.[0-9a-f-]{0,36}|\\.json|\\.checkpoint){0,4}|.*") {
            if let Some(path) = LogPath::parse(&name) {
                prop_assert_eq!(path.to_string(), name);
            }
        }

        #[test]
        fn display_and_parse_are_inverse(v in 0..=i64::MAX as u64, n in 1u32.., id: u128) {
            let version = Version::new(v).unwrap();
            let names = [
                CheckpointName::Classic,
                CheckpointName::Part { part: 1 + n / 2, parts: n },
                CheckpointName::Uuid { id: Uuid::from_u128(id), json: n % 2 == 0 },
            ];
            let paths = names
                .into_iter()
                .map(|it| LogPath::Checkpoint(version, it))
                .chain([LogPath::Commit(version), LogPath::Checksum(version)]);
            for path in paths {
                prop_assert_eq!(LogPath::parse(&path.to_string()), Some(path));
            }
        }
    }
}
