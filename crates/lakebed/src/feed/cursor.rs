//! Where a reading of row changes stands, as text that outlives the process.
//!
//! A place is a version, a file of its changes and a physical row of that file, and not a count of
//! rows: counts depend on the filter, and on what the reader could leave out unread.

use std::fmt;
use std::str::FromStr;

use lakebed_log::error::{Error, Result};
use lakebed_log::version::Version;
use serde_json::{Map, Value as Json};

/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// What the text says it is.
const FORMAT: &str = "lakebed-changes-1";

/// Where a reading of row changes stands: everything before was handed out, nothing after. From
/// [`Feed::cursor`](crate::feed::Feed::cursor), for
/// [`Table::changes_after`](crate::Table::changes_after).
///
/// Its text is one line of JSON and holds no secrets.
///
/// ```
/// use lakebed::feed::Cursor;
///
/// let text = r#"{"format":"lakebed-changes-1","table":"5b1c","version":7,"file":0,"row":42}"#;
/// let cursor: Cursor = text.parse()?;
/// assert_eq!(cursor.version().get(), 7);
/// assert_eq!(cursor.to_string(), text);
/// # Ok::<(), lakebed::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Id of the table's metadata, so that another table at the same place is told apart.
    pub(super) table: String,
    /// The version that comes next, or goes on.
    pub(super) version: Version,
    /// Which file of its changes.
    pub(super) file: u64,
    /// The first row of the file that was not handed out.
    pub(super) row: u64,
}

impl Cursor {
    /// The version whose changes come next, or go on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// At the beginning of a version.
    pub(super) fn at(table: &str, version: Version) -> Cursor {
        Cursor { table: table.to_string(), version, file: 0, row: 0 }
    }

    /// Has nothing of its version been handed out?
    pub(super) fn is_start(&self) -> bool {
        self.file == 0 && self.row == 0
    }
}

/// One line of JSON.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = Json::from(self.table.as_str());
        let (version, file, row) = (self.version, self.file, self.row);
        write!(f, r#"{{"format":"{FORMAT}","table":{table},"version":{version},"#)?;
        write!(f, r#""file":{file},"row":{row}}}"#)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cursor> {
        let bad = |what: &str| Error::invalid(format!("this is no cursor: {what}"));
        if TEXT_BYTES_MAX < text.len() {
            return Err(bad(&format!("it is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let mut fields: Map<String, Json> =
            serde_json::from_str(text.trim()).map_err(|_| bad("it is no JSON object"))?;
        if fields.remove("format").as_ref().and_then(Json::as_str) != Some(FORMAT) {
            return Err(bad(&format!("its `format` is not `{FORMAT}`")));
        }
        let mut number = |key: &str| {
            let value = fields.remove(key).as_ref().and_then(Json::as_u64);
            value.ok_or_else(|| bad(&format!("its `{key}` is no whole number from 0")))
        };
        let (version, file, row) = (number("version")?, number("file")?, number("row")?);
        let version = Version::new(version).ok_or_else(|| bad("its `version` is too large"))?;
        let table = match fields.remove("table") {
            Some(Json::String(it)) => it,
            _ => return Err(bad("its `table` is no text")),
        };
        match fields.keys().next() {
            Some(key) => Err(bad(&format!("it has a field `{key}`"))),
            None => Ok(Cursor { table, version, file, row }),
        }
    }
}

#[cfg(test)]
mod tests {
    use lakebed_log::error::Code;

    use super::*;

    /// What does not print as it was parsed is refused.
    ///
    /// spec: CDF-18
    #[test]
    fn text() {
        let cursor = |table: &str| Cursor {
            table: table.to_string(),
            version: Version::from(7),
            file: 3,
            row: u64::MAX,
        };
        for table in ["", "5b1c5a6e-0000-4000-8000-000000000000", "a \"b\" \\ \n \u{1f600}"] {
            let text = cursor(table).to_string();
            assert_eq!(text.lines().count(), 1);
            assert_eq!(text.parse::<Cursor>().unwrap(), cursor(table));
            assert_eq!(format!(" {text}\n").parse::<Cursor>().unwrap(), cursor(table));
        }
        let good = cursor("t").to_string();
        let bad = [
            String::new(),
            "7".to_string(),
            "[]".to_string(),
            good.replace("changes-1", "changes-2"),
            good.replace(":7", ":-7"),
            good.replace(":7", ":7.5"),
            good.replace(":7", ":9223372036854775808"),
            good.replace(":7", ":99999999999999999999999"),
            good.replace("\"t\"", "null"),
            good.replace("\"row\"", "\"rows\""),
            good.replace('}', ",\"more\":1}"),
            good.replace('}', ""),
            format!("{good}{good}"),
            format!("{}{}", "[".repeat(30_000), good),
            " ".repeat(TEXT_BYTES_MAX + 1),
        ];
        for text in bad {
            let error = text.parse::<Cursor>().unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{text}");
        }
    }
}
