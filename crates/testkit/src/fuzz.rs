//! Bodies of the fuzz targets: each takes the bytes of a stranger and must neither panic nor hang.
//!
//! Where the code promises a law, it is asserted as well: what decodes encodes back, what prints
//! parses.

use bytes::Bytes;
use lakebed_log::action::Action;
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::expr::Expr;
use lakebed_log::log_path::LogPath;
use lakebed_log::replay::Replay;
use lakebed_log::schema::{PrimitiveType, Schema};
use lakebed_log::segment::Hint;
use lakebed_log::stats::Stats;
use lakebed_log::uri;
use lakebed_log::value::Value;
use lakebed_log::version::Version;

/// Takes the bytes of a stranger.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("commit", commit),
    ("checkpoint", checkpoint),
    ("schema", schema),
    ("stats", stats),
    ("value", value),
    ("expr", expr),
    ("path", path),
];

/// A commit file, replayed if it decodes; and the lines of it, each of which prints and parses to
/// itself.
pub fn commit(bytes: &[u8]) {
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        if let Ok(batch) = LogBatch::from_json(bytes, width) {
            let mut replay = Replay::new(Version::ZERO, width);
            let fed = replay.feed(batch);
            if width == Width::Head {
                drop(replay.finish_head())
            } else {
                drop(replay.finish())
            }
            drop(fed);
        }
    }
    for line in bytes.split(|it| *it == b'\n') {
        if let Ok(Some(action)) = Action::from_json_line(line) {
            let printed = action.to_json_line();
            let again = Action::from_json_line(printed.as_bytes());
            assert!(matches!(again, Ok(Some(it)) if it == action), "{printed}");
        }
    }
}

/// A Parquet checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    for width in [Width::Head, Width::Narrow, Width::Wide] {
        let _ = LogBatch::from_parquet(Bytes::copy_from_slice(bytes), width);
    }
    let _ = Hint::parse(bytes);
}

/// A schema, as JSON and as DDL; what parses prints back to itself.
pub fn schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(schema) = Schema::from_json(text) {
        let again = Schema::from_json(&schema.to_json());
        assert!(again.is_ok_and(|it| it == schema), "{text}");
        let _ = schema.to_arrow();
    }
    let _ = Schema::parse_ddl(text);
}

/// Statistics of a file.
pub fn stats(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ddl =
        "n long, x double, s string, d date, t timestamp, p decimal(38,10), q struct<b: boolean>";
    let Ok(schema) = Schema::parse_ddl(ddl) else { return };
    let stats = Stats::from_json(text, &schema, None);
    for column in stats.columns.values() {
        let _ = Stats::bounds(column);
    }
    let _ = stats.to_json();
}

/// A partition value and a literal of every type; a value prints to what it was read from, or to
/// its equal.
pub fn value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for primitive in TYPES {
        if let Ok(Some(value)) = Value::from_partition(text, *primitive) {
            let again = Value::from_partition(&value.to_partition(), *primitive);
            let same = matches!(&again, Ok(Some(it)) if *it == value);
            // The empty string is null when read back: that is the protocol's.
            assert!(
                same || value.to_partition().is_empty(),
                "{text:?} as {primitive:?}: {again:?}"
            );
        }
        let _ = Value::from_literal(text, *primitive);
    }
}

const TYPES: &[PrimitiveType] = &[
    PrimitiveType::Boolean,
    PrimitiveType::Byte,
    PrimitiveType::Long,
    PrimitiveType::Float,
    PrimitiveType::Double,
    PrimitiveType::Decimal { precision: 12, scale: 3 },
    PrimitiveType::String,
    PrimitiveType::Binary,
    PrimitiveType::Date,
    PrimitiveType::Timestamp,
    PrimitiveType::TimestampNtz,
];

/// An expression; what parses prints back to itself.
pub fn expr(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(expr) = text.parse::<Expr>() {
        let printed = expr.to_string();
        let again = printed.parse::<Expr>();
        assert!(
            again.as_ref().is_ok_and(|it| *it == expr),
            "{text} prints as {printed}: {again:?}"
        );
    }
}

/// The name of a log file and the path of a data file; a key survives encoding.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(path) = LogPath::parse(text) {
        assert_eq!(path.to_string(), text);
    }
    let _ = uri::canonical(text);
    if let Ok(key) = uri::decode(text) {
        assert!(!key.starts_with('/') && !key.split('/').any(|it| it == ".."), "{text} escapes");
        let encoded = uri::encode(&key);
        assert!(uri::decode(&encoded).is_ok_and(|it| it == key), "{text} encodes as {encoded}");
        assert_eq!(uri::canonical(&encoded), uri::canonical(text));
    }
}
