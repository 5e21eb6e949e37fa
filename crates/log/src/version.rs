//! Versions of a table: consecutive numbers from zero, one per commit.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A version of the table: `0 <= v <= i64::MAX`.
///
/// The upper bound is not ours. File names leave room for twenty digits, but other implementations
/// keep versions in signed 64-bit integers, so a larger one could be written and never read back.
///
/// ```
/// use lakebed_log::version::Version;
/// assert_eq!(Version::ZERO.next(), Version::new(1));
/// assert_eq!(Version::new(u64::MAX), None);
/// assert_eq!(Version::from(42).to_string(), "42");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version that creates the table.
    pub const ZERO: Version = Version(0);

    /// `None` if `version` is above `i64::MAX`.
    pub const fn new(version: u64) -> Option<Version> {
        if version <= i64::MAX as u64 { Some(Version(version)) } else { None }
    }

    /// The next version, `None` at the end of the range.
    pub const fn next(self) -> Option<Version> {
        Version::new(self.0 + 1)
    }

    /// As a plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As the signed number that actions hold.
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

impl From<u32> for Version {
    fn from(version: u32) -> Version {
        Version(u64::from(version))
    }
}

/// Reads decimal digits and nothing else.
impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Version> {
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let version = if digits { text.parse().ok().and_then(Version::new) } else { None };
        let complaint = || format!("`{text}` is no version: a number from 0 to {}", i64::MAX);
        version.ok_or_else(|| Error::invalid(complaint()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec: LOG-4
    #[test]
    fn range_is_the_signed_one() {
        let last = Version::new(i64::MAX as u64).unwrap();
        assert_eq!(last.next(), None);
        assert_eq!(last.as_i64(), i64::MAX);
        assert_eq!(Version::new(1 << 63), None);
        assert_eq!(Version::ZERO.next(), Some(Version::from(1)));
    }

    #[test]
    fn parses_digits_only() {
        assert_eq!("007".parse::<Version>().unwrap(), Version::from(7));
        for bad in ["", "-1", "+1", " 1", "1.0", "9223372036854775808", "\u{0661}"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
