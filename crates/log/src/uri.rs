//! Data file paths: decode, encode, resolve; partition folder names.
//!
//! The `path` of an action is a URI reference, percent-encoded. It is input: a table is a folder
//! that somebody sent, and a path in its log must never lead out of it, neither to
//! `../other/secret.parquet` nor to another store. So a path string is decoded here and nowhere
//! else, exactly once, and what comes out is a key below the table's root with one spelling:
//!
//! ```text
//!   in the log                  key below the root
//!   p=a%253Ab/x%20y.parquet     p=a%3Ab/x y.parquet      a folder, escaped, then encoded
//!   x y.parquet                 x y.parquet              raw spaces and letters occur: accepted
//!   %2e%2e/x.parquet            refused                  decoded first, judged then
//! ```
//!
//! A path that names one file twice over (`./x`, `a//x`) is refused instead of tidied up:
//! reconciliation compares keys, and a file with two names would live twice.

use std::borrow::Cow;
use std::fmt::Write;

use crate::error::{Code, Error, Result};
use crate::limits::PATH_BYTES_MAX;

/// Longest name of a file or folder that we write: what common file systems allow. Other stores
/// allow more, and other writers make use of it.
const SEGMENT_BYTES_MAX: usize = 255;

/// The folder of the log; no data file is in it.
const LOG_FOLDER: &str = "_delta_log";

/// What Hive, and Spark after it, call the partition of null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Schemes that are taken for one even if no slash follows. For others the slash decides, because
/// `a:b.parquet` is the name of a file.
const SCHEMES: &[&str] = &[
    "file", "http", "https", "s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "wasb", "wasbs",
    "hdfs", "data", "ftp", "dbfs",
];

/// Decodes `path` of an action once into the key of the object below the table's root.
///
/// ```
/// use lakebed_log::uri;
///
/// # fn main() -> lakebed_log::error::Result<()> {
/// assert_eq!(uri::decode("p=a%253Ab/x%20y.parquet")?, "p=a%3Ab/x y.parquet");
/// assert!(uri::decode("%2e%2e/other/secret.parquet").is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// - `invalid-path`: a `%` that is no escape, not UTF-8, NUL, an empty or `.` segment, a backslash,
///   too long.
/// - `path-escape`: absolute, a file URL, a drive letter, a `..` segment, inside `_delta_log`.
/// - `unsupported-path`: another scheme. The message names the scheme alone, since the rest of a
///   URL may hold credentials.
pub fn decode(path: &str) -> Result<Cow<'_, str>> {
    let bad = |code: Code, what: &str| Err(Error::new(code, format!("path {what}")));
    match scheme(path) {
        Some(it) if it.len() == 1 => return bad(Code::PathEscape, "starts with a drive letter"),
        Some(it) if it.eq_ignore_ascii_case("file") => {
            return bad(Code::PathEscape, "is a file URL, not relative to the table");
        }
        Some(it) => {
            return bad(Code::UnsupportedPath, &format!("has the scheme `{it}`, not of the table"));
        }
        None => {}
    }
    // An escape has three bytes for one.
    if path.len() > 3 * PATH_BYTES_MAX {
        return bad(Code::InvalidPath, &format!("has {} bytes", path.len()));
    }
    let Some(key) = percent_decode(path) else {
        let shown = shown(path);
        return bad(Code::InvalidPath, &format!("`{shown}` has a `%` that is no escape of UTF-8"));
    };
    match key_fault(&key) {
        Some((code, what)) => bad(code, &format!("`{}` {what}", shown(path))),
        None => Ok(key),
    }
}

/// Decodes `path` of an action: a relative one as [`decode`] does, an absolute one into the
/// location that it names, for [`below`]. A [`rooted_name`] is relative.
///
/// # Errors
///
/// As [`decode`] for a relative path, and for an absolute one that makes no sense.
pub fn locate(path: &str) -> Result<Cow<'_, str>> {
    match rooted_name(path) {
        Some(name) => decode(name),
        None => absolute(path).map_or_else(|| decode(path), Ok),
    }
}

/// The decoded location of an absolute path or a URL; `None` if it is relative or does not decode.
///
/// ```
/// use lakebed_log::uri::absolute;
///
/// assert_eq!(absolute("file:/data/a%20b").unwrap(), "/data/a b");
/// assert_eq!(absolute("s3://bucket/x").unwrap(), "s3://bucket/x");
/// assert_eq!(absolute("a:b.parquet"), None);
/// ```
pub fn absolute(path: &str) -> Option<Cow<'_, str>> {
    let local = local_file(path);
    let rooted = local.starts_with('/') && !local.starts_with("//");
    let elsewhere = |it: &str| it.len() > 1 && local.get(it.len()..).is_some_and(starts_host);
    if 3 * PATH_BYTES_MAX < path.len() || !(rooted || scheme(local).is_some_and(elsewhere)) {
        return None;
    }
    percent_decode(local)
}

/// The key of a decoded absolute location below a root; `None` if it lies elsewhere. The root is
/// decoded as well, `/data/t` or `s3://bucket/t`.
///
/// ```
/// use lakebed_log::uri::below;
///
/// # fn main() -> lakebed_log::error::Result<()> {
/// assert_eq!(below("/data/t", "/data/t/a b")?, Some("a b"));
/// assert_eq!(below("/data/t", "/data/tt/x")?, None);
/// assert!(below("/data/t", "/data/t/../x").is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`decode`] for what is behind the root.
pub fn below<'a>(root: &str, location: &'a str) -> Result<Option<&'a str>> {
    let rest = location.strip_prefix(root.trim_end_matches('/'));
    let Some(key) = rest.and_then(|it| it.strip_prefix('/')) else { return Ok(None) };
    match key_fault(key) {
        Some((code, what)) => Err(Error::new(code, format!("path `{}` {what}", shown(key)))),
        None => Ok(Some(key)),
    }
}

/// The name in an absolute path of one segment. One engine writes names of files below the table
/// so. Where another one says that, it comes out of the log as `file:///x`, which is no such name.
///
/// ```
/// use lakebed_log::uri::rooted_name;
///
/// assert_eq!(rooted_name("/x.parquet"), Some("x.parquet"));
/// assert_eq!(rooted_name("/data/x.parquet"), None);
/// assert_eq!(rooted_name("x.parquet"), None);
/// ```
pub fn rooted_name(path: &str) -> Option<&str> {
    path.strip_prefix('/').filter(|it| !it.is_empty() && !it.contains('/'))
}

fn starts_host(rest: &str) -> bool {
    rest.starts_with("://")
}

/// May a path without an escape have another canonical key than itself? Only one that starts like a
/// root or like `file:`.
pub(crate) fn may_be_rooted(path: &str) -> bool {
    matches!(path.as_bytes().first(), Some(b'/' | b'f' | b'F'))
}

/// The canonical key of `path` for reconciliation: two spellings of one file have one key. Never
/// fails: a relative path that does not decode gets a key that no other path has; reading it fails
/// later.
///
/// ```
/// use lakebed_log::uri::canonical;
///
/// assert_eq!(canonical("a%20b.parquet"), canonical("a b.parquet"));
/// assert_eq!(canonical("file:///data/x"), canonical("/data/x"));
/// assert_ne!(canonical("a%2520b"), canonical("a%20b"));
/// ```
pub fn canonical(path: &str) -> Cow<'_, str> {
    let local = local_file(path);
    let local = rooted_name(local).unwrap_or(local);
    match percent_decode(local) {
        // Without an escape there is nothing that could spell another name.
        Some(Cow::Borrowed(plain)) => Cow::Borrowed(plain),
        Some(key) if local.starts_with('/') || scheme(local).is_some() => key,
        Some(key) if key_fault(&key).is_none() => key,
        _ => Cow::Owned(format!("\0{path}")),
    }
}

/// Encodes an object key below the root as the `path` of an action; `decode(encode(x)) == x`.
///
/// ```
/// assert_eq!(lakebed_log::uri::encode("p=a%3Ab/x y.parquet"), "p=a%253Ab/x%20y.parquet");
/// ```
pub fn encode(key: &str) -> String {
    let colon = scheme(key).map(str::len);
    let mut path = String::with_capacity(key.len());
    for (at, byte) in key.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"=:@&+,;~!$'()*-._/".contains(&byte);
        push_escaped(&mut path, byte, plain && colon != Some(at));
    }
    path
}

/// The folder of a partition, hive style and escaped as Spark does: `name=value`, or
/// `name=__HIVE_DEFAULT_PARTITION__` for null. `decode` of the action's path gives this string.
///
/// A folder is decoration, the value stands in the log: one that would be longer than a file system
/// allows is cut, and two partitions may then share it.
///
/// ```
/// use lakebed_log::uri::partition_folder;
///
/// assert_eq!(partition_folder("day", Some("1/2")), "day=1%2F2");
/// assert_eq!(partition_folder("day", None), "day=__HIVE_DEFAULT_PARTITION__");
/// ```
pub fn partition_folder(name: &str, value: Option<&str>) -> String {
    let mut folder = String::new();
    hive_escape(&mut folder, name);
    folder.push('=');
    match value {
        None | Some("") => folder.push_str(NULL_PARTITION),
        Some(value) => hive_escape(&mut folder, value),
    }
    folder
}

/// Why `key` is no key below the root.
fn key_fault(key: &str) -> Option<(Code, String)> {
    if key.is_empty() {
        return Some((Code::InvalidPath, "is empty".to_string()));
    }
    if key.len() > PATH_BYTES_MAX {
        let what = format!("has {} bytes, the limit is {PATH_BYTES_MAX}", key.len());
        return Some((Code::InvalidPath, what));
    }
    if key.starts_with(['/', '\\']) || is_drive(key) {
        return Some((Code::PathEscape, "is absolute".to_string()));
    }
    if key.split(['/', '\\']).any(|it| it == "..") {
        return Some((Code::PathEscape, "has a `..` segment".to_string()));
    }
    if key.contains('\\') {
        return Some((Code::InvalidPath, "has a backslash".to_string()));
    }
    if key.contains('\0') {
        return Some((Code::InvalidPath, "has a NUL".to_string()));
    }
    if key.split('/').next().is_some_and(|it| it.eq_ignore_ascii_case(LOG_FOLDER)) {
        return Some((Code::PathEscape, format!("is in `{LOG_FOLDER}`")));
    }
    for segment in key.split('/') {
        let what = match segment {
            "" => "has an empty segment".to_string(),
            "." => "has a `.` segment".to_string(),
            _ => continue,
        };
        return Some((Code::InvalidPath, what));
    }
    None
}

/// The scheme of a URL, or the letter of a drive.
fn scheme(path: &str) -> Option<&str> {
    let (scheme, rest) = path.split_once(':')?;
    let mut characters = scheme.bytes();
    let starts = characters.next().is_some_and(|it| it.is_ascii_alphabetic());
    let goes_on = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.');
    if !starts || !characters.all(goes_on) {
        return None;
    }
    let known = || SCHEMES.iter().any(|it| scheme.eq_ignore_ascii_case(it));
    (rest.starts_with(['/', '\\']) || known()).then_some(scheme)
}

fn is_drive(key: &str) -> bool {
    scheme(key).is_some_and(|it| it.len() == 1)
}

/// Strips what makes a file URL of an absolute path, so that both have one key.
fn local_file(path: &str) -> &str {
    let rest = match path.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("file:") => path.get(5..).unwrap_or_default(),
        _ => return path,
    };
    match rest.strip_prefix("//") {
        Some(local) if local.starts_with('/') => local,
        None if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// `None` if a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Escapes what Hive escapes in the name of a folder, and keeps the folder short enough.
fn hive_escape(folder: &mut String, text: &str) {
    for character in text.chars() {
        let special = character.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(character);
        let length = if special { 3 } else { character.len_utf8() };
        if folder.len() + length + NULL_PARTITION.len() >= SEGMENT_BYTES_MAX {
            return;
        }
        match u8::try_from(character) {
            Ok(byte) if special => push_escaped(folder, byte, false),
            _ => folder.push(character),
        }
    }
}

fn push_escaped(text: &mut String, byte: u8, plain: bool) {
    if plain {
        text.push(char::from(byte));
    } else {
        // Writing to a string does not fail.
        let _ = write!(text, "%{byte:02X}");
    }
}

/// A path in a message. Only relative paths get here, so that it holds no credentials.
fn shown(path: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let mut shown: String =
        path.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if path.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a path decodes to, or the code of its error.
    #[track_caller]
    fn check(path: &str, expected: &str) {
        let actual = match decode(path) {
            Ok(key) => key.into_owned(),
            Err(error) => error.code().as_str().to_string(),
        };
        assert_eq!(actual, expected, "{path:?}");
    }

    /// spec: FILE-1, FILE-2, FILE-3
    #[test]
    fn paths_that_name_a_file_of_the_table() {
        let long = "x".repeat(300);
        let rows = [
            ("part-0.parquet", "part-0.parquet"),
            ("a%20b.parquet", "a b.parquet"),
            ("a b.parquet", "a b.parquet"),
            ("a+b.parquet", "a+b.parquet"),
            ("part%2525.parquet", "part%25.parquet"),
            ("p=a%253Db/x.parquet", "p=a%3Db/x.parquet"),
            ("a%3Ab.parquet", "a:b.parquet"),
            ("a:b.parquet", "a:b.parquet"),
            ("ts=12:30:00/x.parquet", "ts=12:30:00/x.parquet"),
            ("a#b.parquet", "a#b.parquet"),
            ("a.parquet#7", "a.parquet#7"),
            ("a?b.parquet", "a?b.parquet"),
            ("%C3%A9.parquet", "\u{e9}.parquet"),
            ("\u{e9}.parquet", "\u{e9}.parquet"),
            ("_change_data/x.parquet", "_change_data/x.parquet"),
            ("_delta_logs/x.parquet", "_delta_logs/x.parquet"),
            ("%252e%252e/x.parquet", "%2e%2e/x.parquet"),
            ("...", "..."),
            // Object stores have no limit of a segment.
            (long.as_str(), long.as_str()),
        ];
        for (path, expected) in rows {
            check(path, expected);
        }
    }

    /// spec: FILE-2, FILE-4, FILE-5, FILE-6
    #[test]
    fn paths_that_do_not() {
        let long = "x".repeat(4_097);
        let deep = "a/".repeat(10_000) + "x";
        let rows = [
            ("", "invalid-path"),
            ("100%.parquet", "invalid-path"),
            ("%zz.parquet", "invalid-path"),
            ("%2", "invalid-path"),
            ("%+1x", "invalid-path"),
            ("%ff.parquet", "invalid-path"),
            ("%c0%ae%c0%ae/x", "invalid-path"),
            ("a\0b", "invalid-path"),
            ("a%00b", "invalid-path"),
            ("./x", "invalid-path"),
            ("a/./x", "invalid-path"),
            ("a//x", "invalid-path"),
            ("a/", "invalid-path"),
            ("a\\x", "invalid-path"),
            (&long, "invalid-path"),
            (&deep, "invalid-path"),
            ("../other/x", "path-escape"),
            ("a/../x", "path-escape"),
            ("a/..", "path-escape"),
            ("%2e%2e/x", "path-escape"),
            ("..%2fx", "path-escape"),
            ("..\\other\\x", "path-escape"),
            ("/abs/x", "path-escape"),
            ("%2Fabs/x", "path-escape"),
            ("//host/x", "path-escape"),
            ("\\\\host\\x", "path-escape"),
            ("C:/x", "path-escape"),
            ("C:\\x", "path-escape"),
            ("C%3A/x", "path-escape"),
            ("file:/abs/x", "path-escape"),
            ("FILE:///abs/x", "path-escape"),
            ("file:x", "path-escape"),
            ("_delta_log/00000000000000000000.json", "path-escape"),
            ("%5Fdelta_log/x", "path-escape"),
            ("_DELTA_LOG/x", "path-escape"),
            ("http://127.0.0.1/x", "unsupported-path"),
            ("s3://bucket/x", "unsupported-path"),
            ("data:text/plain,x", "unsupported-path"),
            ("strange+x://y", "unsupported-path"),
        ];
        for (path, expected) in rows {
            check(path, expected);
        }
    }

    /// spec: FILE-6
    #[test]
    fn no_credentials_in_messages() {
        for path in ["https://user:secret@host/x", "s3://secret:key@bucket/%zz", "ftp:secret@x"] {
            let error = decode(path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    /// spec: FILE-7
    #[test]
    fn one_file_has_one_key() {
        let same = [
            ("a b", "a%20b"),
            ("/abs/x y", "file:/abs/x%20y"),
            ("/abs/x", "file:///abs/x"),
            ("s3://b/%61", "s3://b/a"),
        ];
        for (a, b) in same {
            assert_eq!(canonical(a), canonical(b));
        }
        let other =
            [("a%2520b", "a%20b"), ("100%.x", "100%25.x"), ("../x", "%2e%2e/x"), ("d/x", "/d/x")];
        for (a, b) in other {
            assert_ne!(canonical(a), canonical(b));
        }
        assert!(matches!(canonical("part-0.parquet"), Cow::Borrowed(_)));
    }

    /// spec: FILE-8
    #[test]
    fn partition_folders() {
        let rows = [
            ("day", Some("2024-01-01"), "day=2024-01-01"),
            ("t", Some("2024-01-01 12:00:00"), "t=2024-01-01 12%3A00%3A00"),
            ("a=b", Some("%"), "a%3Db=%25"),
            ("p", Some("../x"), "p=..%2Fx"),
            ("p", Some("\u{e9}\u{7f}\n"), "p=\u{e9}%7F%0A"),
            ("p", Some(""), "p=__HIVE_DEFAULT_PARTITION__"),
            ("p", None, "p=__HIVE_DEFAULT_PARTITION__"),
        ];
        for (name, value, expected) in rows {
            assert_eq!(partition_folder(name, value), expected);
        }
    }

    proptest! {
        /// spec: FILE-1
        #[test]
        fn encode_is_the_inverse(key in "\\PC{1,40}|[a-c:/%. ]{1,12}") {
            if key_fault(&key).is_none() {
                let path = encode(&key);
                prop_assert_eq!(decode(&path).unwrap(), key);
            }
        }

        /// spec: FILE-1, FILE-7
        #[test]
        fn decode_and_canonical_agree(path in "\\PC{0,40}|[a-c:/%0-9. ]{0,12}") {
            if let Ok(key) = decode(&path) {
                prop_assert_eq!(&key, &canonical(&path));
                prop_assert!(!key.starts_with('/') && !key.contains('\0'));
            }
        }

        /// spec: FILE-8
        #[test]
        fn every_folder_is_one_segment(name in "\\PC{1,80}", value in "\\PC{0,400}") {
            let folder = partition_folder(&name, Some(&value));
            prop_assert!(folder.len() <= SEGMENT_BYTES_MAX && !folder.contains('/'));
            let path = encode(&format!("{folder}/x.parquet"));
            prop_assert_eq!(decode(&path).unwrap(), format!("{folder}/x.parquet"));
        }
    }
}
