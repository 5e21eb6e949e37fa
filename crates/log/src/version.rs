//! Versions of a table.

use std::fmt;

/// A version of the table: `0 <= v <= i64::MAX`.
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

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
