//! Typed view of `configuration`; unknown keys are kept as they are.
//!
//! A property is text that anyone may have set. What it costs not to understand one depends on who
//! asks: a reader needs none of them, a writer must honour them, and whoever deletes files by a
//! retention that it guessed has lost data. So there is one parser, and three ways to use it:
//! [`Properties::read`] takes the default for what it cannot read, [`Properties::check`] refuses
//! it, and [`Properties::check_set`] refuses in addition what no one should set.

mod known;

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result, similar};
use crate::schema::{ColumnMapping, DataType, Schema};
use crate::time::parse_interval;

/// Typed view of a table's properties, with the protocol's defaults.
///
/// ```
/// use lakebed_log::property::Properties;
/// use std::collections::BTreeMap;
///
/// let set = [("delta.checkpointInterval".to_string(), "25".to_string())];
/// let properties = Properties::read(&BTreeMap::from(set));
/// assert_eq!(properties.checkpoint_interval, 25);
/// assert!(!properties.append_only);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the property of that name")]
pub struct Properties {
    pub append_only: bool,
    pub checkpoint_interval: u64,
    pub checkpoint_write_stats_as_json: bool,
    pub checkpoint_write_stats_as_struct: bool,
    /// Milliseconds.
    pub log_retention_millis: i64,
    /// Milliseconds.
    pub deleted_file_retention_millis: i64,
    pub enable_expired_log_cleanup: bool,
    /// `lakebed.logCompactionInterval`: commits are put together by so many.
    pub log_compaction_interval: Option<u64>,
    /// -1 is all.
    pub data_skipping_num_indexed_cols: i64,
    /// Paths of names.
    pub data_skipping_stats_columns: Option<Vec<Vec<String>>>,
    pub data_skipping_string_prefix_length: usize,
    pub isolation_level: IsolationLevel,
    pub enable_change_data_feed: bool,
    pub enable_deletion_vectors: bool,
    pub enable_in_commit_timestamps: bool,
    /// Version and milliseconds since when commits carry their own time; `None`: since the first.
    pub in_commit_timestamp_enablement: Option<(u64, i64)>,
    pub enable_row_tracking: bool,
    pub enable_type_widening: bool,
    /// `none`, `name`, `id`.
    pub column_mapping_mode: String,
    pub checkpoint_policy_v2: bool,
    /// Name and SQL of each CHECK constraint.
    pub constraints: Vec<(String, String)>,
    /// Milliseconds.
    pub set_transaction_retention_millis: Option<i64>,
    /// Bytes, `delta.targetFileSize`.
    pub target_file_bytes: Option<u64>,
    /// Of data files whose writer names none: `delta.parquet.compression.codec`, under the name
    /// that [`COMPRESSIONS`] has for it.
    pub compression: Option<&'static str>,
}

/// How strictly concurrent commits are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Reads see what serial execution would show.
    #[default]
    Serializable,
    /// Blind appends of others may be ordered before us.
    WriteSerializable,
    /// Only writes conflict.
    SnapshotIsolation,
}

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// The shortest retention that may be set: below it, readers and writers that are still running
/// lose files under their feet.
const RETENTION_MILLIS_MIN: i64 = HOUR_MILLIS;

/// Compressions of data files, each under the name that we use, and then under other names.
pub const COMPRESSIONS: &[&[&str]] = &[
    &["zstd"],
    &["snappy"],
    &["gzip"],
    &["lz4", "lz4_raw", "lz4raw"],
    &["brotli"],
    &["none", "uncompressed"],
];

const COMPRESSION: &str = "delta.parquet.compression.codec";
const STATS_COLUMNS: &str = "delta.dataSkippingStatsColumns";
const LOG_RETENTION: &str = "delta.logRetentionDuration";
const DELETED_FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";
const CONSTRAINT_PREFIX: &str = "delta.constraints.";

impl Properties {
    /// Lenient, because reading is not harmed by what only writers need: a value that cannot be
    /// read counts as not set, and is an error in [`Properties::check`].
    pub fn read(configuration: &BTreeMap<String, String>) -> Properties {
        Parse { configuration, fault: None }.all()
    }

    /// Strict: what a writer needs to understand.
    ///
    /// # Errors
    ///
    /// `invalid-metadata` names key and value.
    pub fn check(configuration: &BTreeMap<String, String>) -> Result<()> {
        let mut parse = Parse { configuration, fault: None };
        parse.all();
        parse.fault.map_or(Ok(()), Err)
    }

    /// For how long a tombstone is kept after its stamp: longer than the file, because a commit may
    /// take effect long after it was stamped.
    pub fn tombstone_retention_millis(&self) -> i64 {
        let retention = self.deleted_file_retention_millis;
        retention.saturating_add(retention / 2)
    }

    /// Strict for properties a user sets through us, on a table of this schema: also refuses names
    /// that nobody knows, columns that are not there, a compression that this build cannot write,
    /// and retentions under an hour.
    ///
    /// # Errors
    ///
    /// `invalid-argument` names key and value; `unknown-column` the column.
    pub fn check_set(configuration: &BTreeMap<String, String>, schema: &Schema) -> Result<()> {
        configuration.keys().try_for_each(|it| known::check(it))?;
        Properties::check(configuration).map_err(|it| Error::invalid(it.message()))?;
        let read = Properties::read(configuration);
        if let (Some(text), None) = (configuration.get(COMPRESSION), read.compression) {
            let names: Vec<_> = COMPRESSIONS.iter().filter_map(|it| it.first().copied()).collect();
            let (text, names) = (shown(text), names.join(", "));
            let what = format!("property `{COMPRESSION}` is `{text}`, not one of {names}");
            return Err(Error::invalid(what));
        }
        check_columns(read.data_skipping_stats_columns.as_ref(), schema)?;
        let retentions = [
            (LOG_RETENTION, read.log_retention_millis),
            (DELETED_FILE_RETENTION, read.deleted_file_retention_millis),
        ];
        match retentions.iter().find(|(_, millis)| *millis < RETENTION_MILLIS_MIN) {
            Some((key, _)) => {
                let value = configuration.get(*key).map_or("", String::as_str);
                Err(Error::invalid(format!(
                    "property `{key}` is `{value}`, which is under an hour"
                )))
            }
            None => Ok(()),
        }
    }
}

/// Reads properties and remembers the first that makes no sense.
struct Parse<'a> {
    configuration: &'a BTreeMap<String, String>,
    fault: Option<Error>,
}

impl Parse<'_> {
    fn all(&mut self) -> Properties {
        let feed = self.boolean("delta.enableChangeDataFeed", false);
        let capture = self.boolean("delta.enableChangeDataCapture", false);
        let early = self.boolean("delta.enableInCommitTimestamps-preview", false);
        Properties {
            append_only: self.boolean("delta.appendOnly", false),
            checkpoint_interval: self
                .one("delta.checkpointInterval", "an integer above 0", positive)
                .unwrap_or(10),
            checkpoint_write_stats_as_json: self.boolean("delta.checkpoint.writeStatsAsJson", true),
            checkpoint_write_stats_as_struct: self
                .boolean("delta.checkpoint.writeStatsAsStruct", true),
            log_retention_millis: self.interval(LOG_RETENTION).unwrap_or(30 * DAY_MILLIS),
            deleted_file_retention_millis: self
                .interval(DELETED_FILE_RETENTION)
                .unwrap_or(7 * DAY_MILLIS),
            enable_expired_log_cleanup: self.boolean("delta.enableExpiredLogCleanup", true),
            log_compaction_interval: self.one(
                "lakebed.logCompactionInterval",
                "an integer above 1",
                |it| positive(it).filter(|it| *it > 1),
            ),
            data_skipping_num_indexed_cols: self
                .one("delta.dataSkippingNumIndexedCols", "an integer from -1", |it| {
                    it.parse().ok().filter(|it| *it >= -1)
                })
                .unwrap_or(32),
            data_skipping_stats_columns: self.one(STATS_COLUMNS, "a list of columns", column_paths),
            data_skipping_string_prefix_length: self
                .one("delta.dataSkippingStringPrefixLength", "an integer above 0", |it| {
                    positive(it).and_then(|it| usize::try_from(it).ok())
                })
                .unwrap_or(32),
            isolation_level: self
                .one("delta.isolationLevel", "an isolation level", isolation_level)
                .unwrap_or_default(),
            enable_change_data_feed: feed || capture,
            enable_deletion_vectors: self.boolean("delta.enableDeletionVectors", false),
            enable_in_commit_timestamps: self.boolean("delta.enableInCommitTimestamps", early),
            in_commit_timestamp_enablement: self
                .enablement("")
                .or_else(|| self.enablement("-preview")),
            enable_row_tracking: self.boolean("delta.enableRowTracking", false),
            enable_type_widening: self.boolean("delta.enableTypeWidening", false),
            column_mapping_mode: self
                .one("delta.columnMapping.mode", "none, name or id", |it| {
                    ColumnMapping::parse(it).map(|_| it.to_ascii_lowercase())
                })
                .unwrap_or_else(|| "none".to_string()),
            checkpoint_policy_v2: self
                .one("delta.checkpointPolicy", "classic or v2", |it| match it {
                    "classic" => Some(false),
                    "v2" => Some(true),
                    _ => None,
                })
                .unwrap_or(false),
            constraints: self.constraints(),
            set_transaction_retention_millis: self
                .interval("delta.setTransactionRetentionDuration"),
            target_file_bytes: self.one("delta.targetFileSize", "a size such as 128mb", bytes),
            // A hint: files are as good in any other.
            compression: self.configuration.get(COMPRESSION).and_then(|it| compression(it)),
        }
    }

    /// The value of one property, if it is set and makes sense.
    fn one<T>(
        &mut self,
        key: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.configuration.get(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            self.fault(format!("property `{key}` is `{}`, not {wanted}", shown(text)));
        }
        value
    }

    fn boolean(&mut self, key: &str, default: bool) -> bool {
        let parse = |it: &str| match it {
            _ if it.eq_ignore_ascii_case("true") => Some(true),
            _ if it.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        self.one(key, "true or false", parse).unwrap_or(default)
    }

    fn interval(&mut self, key: &str) -> Option<i64> {
        self.one(key, "an interval such as `interval 7 days`", |it| parse_interval(it).ok())
    }

    /// `end` is what the names ended in before the feature was settled, or nothing.
    fn enablement(&mut self, end: &str) -> Option<(u64, i64)> {
        let version_key = format!("delta.inCommitTimestampEnablementVersion{end}");
        let timestamp_key = format!("delta.inCommitTimestampEnablementTimestamp{end}");
        let version = self.one(&version_key, "a version", |it| {
            it.parse().ok().filter(|it| i64::try_from(*it).is_ok())
        });
        let timestamp = self.one(&timestamp_key, "a time in milliseconds", |it| it.parse().ok());
        match (version, timestamp) {
            (Some(version), Some(timestamp)) => Some((version, timestamp)),
            (None, None) => None,
            _ => {
                self.fault(format!(
                    "one of `{version_key}` and `{timestamp_key}` stands without the other"
                ));
                None
            }
        }
    }

    fn constraints(&self) -> Vec<(String, String)> {
        let named = self.configuration.iter().filter_map(|(key, sql)| {
            let name = key.strip_prefix(CONSTRAINT_PREFIX)?;
            Some((name.to_string(), sql.clone()))
        });
        named.collect()
    }

    fn fault(&mut self, what: String) {
        self.fault.get_or_insert_with(|| Error::new(Code::InvalidMetadata, what));
    }
}

fn positive(text: &str) -> Option<u64> {
    text.parse().ok().filter(|it| *it > 0)
}

/// The name that [`COMPRESSIONS`] has for a compression, whatever the case; `None` for one that is
/// not written here.
///
/// ```
/// use lakebed_log::property::compression;
///
/// assert_eq!(compression("ZSTD"), Some("zstd"));
/// assert_eq!(compression("uncompressed"), Some("none"));
/// assert_eq!(compression("lzo"), None);
/// ```
pub fn compression(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let names = COMPRESSIONS.iter().find(|it| it.iter().any(|it| it.eq_ignore_ascii_case(text)));
    names.and_then(|it| it.first().copied())
}

/// Are all of them columns of the table, or parts of one?
fn check_columns(paths: Option<&Vec<Vec<String>>>, schema: &Schema) -> Result<()> {
    for path in paths.into_iter().flatten() {
        let mut fields = Some(schema);
        for (at, name) in path.iter().enumerate() {
            let field = fields.and_then(|it| it.field(name));
            let Some(field) = field else {
                let whole = shown(&path.join("."));
                let mut what = format!("property `{STATS_COLUMNS}` names `{whole}`, no column");
                let names = fields.iter().flat_map(|it| it.fields()).map(|it| it.name.as_str());
                if let Some(near) = similar(names, name) {
                    let above = path.get(..at).unwrap_or_default();
                    let near = [above, &[near.to_string()]].concat().join(".");
                    what.push_str(&format!("; the nearest is `{near}`"));
                }
                return Err(Error::new(Code::UnknownColumn, what));
            };
            fields = match &field.data_type {
                DataType::Struct(inner) => Some(inner),
                _ => None,
            };
        }
    }
    Ok(())
}

fn isolation_level(text: &str) -> Option<IsolationLevel> {
    let levels = [
        ("Serializable", IsolationLevel::Serializable),
        ("WriteSerializable", IsolationLevel::WriteSerializable),
        ("SnapshotIsolation", IsolationLevel::SnapshotIsolation),
    ];
    levels.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| level)
}

/// Bytes, with an optional unit of 1024.
fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|it| *it > 0)
}

/// Column names between commas, nested by dots; a name with either stands in backquotes.
fn column_paths(text: &str) -> Option<Vec<Vec<String>>> {
    let mut paths = Vec::new();
    let mut path = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|it| it.is_whitespace()).is_some() {}
        let mut name = String::new();
        if characters.next_if_eq(&'`').is_some() {
            loop {
                match characters.next()? {
                    '`' if characters.next_if_eq(&'`').is_none() => break,
                    other => name.push(other),
                }
            }
            while characters.next_if(|it| it.is_whitespace()).is_some() {}
        } else {
            while let Some(it) = characters.next_if(|it| !matches!(it, ',' | '.' | '`')) {
                name.push(it);
            }
            name.truncate(name.trim_end().len());
        }
        if name.is_empty() {
            return None;
        }
        path.push(name);
        match characters.next() {
            Some('.') => {}
            Some(',') => paths.push(std::mem::take(&mut path)),
            Some(_) => return None,
            None => {
                paths.push(path);
                return Some(paths);
            }
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_string(), value.to_string())])
    }

    fn schema() -> Schema {
        Schema::parse_ddl("id long, s struct<a: int, `b.c`: int>").unwrap()
    }

    /// spec: PROP-1
    #[test]
    fn defaults() {
        let read = Properties::read(&BTreeMap::new());
        assert!(!read.append_only && !read.enable_change_data_feed);
        assert_eq!(read.checkpoint_interval, 10);
        assert!(read.checkpoint_write_stats_as_json && read.checkpoint_write_stats_as_struct);
        assert_eq!(read.log_retention_millis, 30 * DAY_MILLIS);
        assert_eq!(read.deleted_file_retention_millis, 7 * DAY_MILLIS);
        assert_eq!(read.data_skipping_num_indexed_cols, 32);
        assert_eq!(read.data_skipping_string_prefix_length, 32);
        assert_eq!(read.column_mapping_mode, "none");
        assert_eq!(read.isolation_level, IsolationLevel::Serializable);
        assert_eq!(read.in_commit_timestamp_enablement, None);
    }

    /// One property set: is it understood, and what is read?
    #[track_caller]
    fn check(key: &str, value: &str, understood: bool, expected: impl Fn(&Properties) -> bool) {
        let set = set(key, value);
        match Properties::check(&set) {
            Ok(()) => assert!(understood, "{key}={value}"),
            Err(error) => {
                assert!(!understood, "{error}");
                assert_eq!(error.code(), Code::InvalidMetadata);
                assert!(error.message().contains(key), "{error}");
                let error = Properties::check_set(&set, &schema()).unwrap_err();
                assert_eq!(error.code(), Code::InvalidArgument);
            }
        }
        assert!(expected(&Properties::read(&set)), "{key}={value}");
    }

    /// spec: PROP-1, PROP-2, PROP-3, PROP-6
    #[test]
    fn one_property_at_a_time() {
        check("delta.appendOnly", "true", true, |it| it.append_only);
        check("delta.appendOnly", "TRUE", true, |it| it.append_only);
        check("delta.appendOnly", "yes", false, |it| !it.append_only);
        check("delta.checkpointInterval", "1", true, |it| it.checkpoint_interval == 1);
        for bad in ["0", "-1", "ten", "", "1.5"] {
            check("delta.checkpointInterval", bad, false, |it| it.checkpoint_interval == 10);
        }
        check(LOG_RETENTION, "interval 1 days", true, |it| it.log_retention_millis == DAY_MILLIS);
        for bad in ["interval banana", "interval -7 days", "interval 9223372036854775807 weeks"] {
            let week = |it: &Properties| it.deleted_file_retention_millis == 7 * DAY_MILLIS;
            check(DELETED_FILE_RETENTION, bad, false, week);
        }
        check("delta.dataSkippingNumIndexedCols", "-1", true, |it| {
            it.data_skipping_num_indexed_cols == -1
        });
        check("delta.dataSkippingNumIndexedCols", "-2", false, |_| true);
        check("delta.enableChangeDataCapture", "true", true, |it| it.enable_change_data_feed);
        check("delta.columnMapping.mode", "telepathy", false, |it| {
            it.column_mapping_mode == "none"
        });
        check("delta.columnMapping.mode", "NAME", true, |it| it.column_mapping_mode == "name");
        check("delta.enableInCommitTimestamps-preview", "true", true, |it| {
            it.enable_in_commit_timestamps
        });
        check("delta.checkpointPolicy", "v2", true, |it| it.checkpoint_policy_v2);
        check("delta.targetFileSize", "128mb", true, |it| it.target_file_bytes == Some(128 << 20));
        check("delta.targetFileSize", "17179869184gb", false, |it| it.target_file_bytes.is_none());
        check("delta.isolationLevel", "writeserializable", true, |it| {
            it.isolation_level == IsolationLevel::WriteSerializable
        });
        check("delta.inCommitTimestampEnablementVersion", "3", false, |it| {
            it.in_commit_timestamp_enablement.is_none()
        });
        check("delta.constraints.positive", "x > 0", true, |it| {
            it.constraints == [("positive".to_string(), "x > 0".to_string())]
        });
        check("delta.someday", "anything", true, |_| true);
        check("team", "blue", true, |_| true);
    }

    /// spec: PROP-4
    #[test]
    fn lists_of_columns() {
        let rows = [
            ("a", Some("a")),
            ("a, b.c ,d", Some("a|b/c|d")),
            ("`a.b`.c,`x``y`", Some("a.b/c|x`y")),
            ("odd name", Some("odd name")),
            ("", None),
            ("a,,b", None),
            ("a,", None),
            ("`a", None),
            ("a`b", None),
        ];
        for (text, expected) in rows {
            let paths = column_paths(text);
            let actual = paths.map(|it| it.iter().map(|it| it.join("/")).collect::<Vec<_>>());
            assert_eq!(actual.map(|it| it.join("|")).as_deref(), expected, "{text}");
        }
    }

    /// spec: PROP-5
    #[test]
    fn a_retention_under_an_hour_is_kept_and_not_set() {
        let short = set(LOG_RETENTION, "interval 5 minutes");
        Properties::check(&short).unwrap();
        let error = Properties::check_set(&short, &schema()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        Properties::check_set(&set(LOG_RETENTION, "interval 1 hours"), &schema()).unwrap();
    }

    /// spec: PROP-7, PROP-8
    #[test]
    fn what_is_set_is_known_and_there() {
        let check = |key: &str, value: &str| Properties::check_set(&set(key, value), &schema());
        for columns in ["id", "ID", "s", "s.a, id", "s.`b.c`"] {
            check(STATS_COLUMNS, columns).unwrap();
        }
        let refused = [
            ("ids", "names `ids`, no column; the nearest is `id`"),
            ("s.aa", "names `s.aa`, no column; the nearest is `s.a`"),
            ("id, s.a.b", "names `s.a.b`, no column"),
        ];
        for (columns, what) in refused {
            let error = check(STATS_COLUMNS, columns).unwrap_err();
            assert_eq!(error.code(), Code::UnknownColumn);
            assert!(error.message().ends_with(what), "{error}");
        }
        let error = check("delta.enableDeletionVector", "true").unwrap_err();
        assert!(error.message().contains("`delta.enableDeletionVectors`"), "{error}");
        // Of others' tables, what nobody knows is kept and hinders nothing.
        Properties::check(&set("delta.enableDeletionVector", "true")).unwrap();
        Properties::check(&set(STATS_COLUMNS, "ids")).unwrap();
    }

    /// spec: PROP-9
    #[test]
    fn compressions() {
        let check = |value: &str| Properties::check_set(&set(COMPRESSION, value), &schema());
        for (value, name) in [("zstd", "zstd"), ("LZ4_RAW", "lz4"), ("uncompressed", "none")] {
            check(value).unwrap();
            assert_eq!(Properties::read(&set(COMPRESSION, value)).compression, Some(name));
        }
        for value in ["lzo", "", "zstd1"] {
            let error = check(value).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains("not one of zstd, snappy, gzip"), "{error}");
            // Where others have set it, it is none, and hinders no write.
            Properties::check(&set(COMPRESSION, value)).unwrap();
            assert_eq!(Properties::read(&set(COMPRESSION, value)).compression, None);
        }
    }
}
