//! Data file paths: decode, encode, resolve; partition folder names. A path string is decoded here and
//! nowhere else.

use std::borrow::Cow;

use crate::error::Result;

/// Decodes `path` of an action once into the key of the object below the table's root.
///
/// Errors: `invalid-path` (bad escape, not UTF-8, NUL, empty or dot segment, too long, trailing slash),
/// `path-escape` (absolute, file URL, leaves the root, inside `_delta_log`), `unsupported-path` (another
/// scheme). No credentials of a URL are ever printed.
pub fn decode(_path: &str) -> Result<Cow<'_, str>> {
    todo!()
}

/// The canonical key of `path` for reconciliation: two spellings of one file have one key. Never fails: a
/// path that does not decode is its own key (reading it fails later, by `decode`).
pub fn canonical(_path: &str) -> Cow<'_, str> {
    todo!()
}

/// Encodes an object key below the root as the `path` of an action; `decode(encode(x)) == x`.
pub fn encode(_key: &str) -> String {
    todo!()
}

/// The folder of a partition, hive style and escaped as Spark does: `name=value`, or
/// `name=__HIVE_DEFAULT_PARTITION__` for null. `decode` of the action's path gives this string.
pub fn partition_folder(_name: &str, _value: Option<&str>) -> String {
    todo!()
}
