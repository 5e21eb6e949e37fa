//! What a sidecar says in its tags of all its files.
//!
//! It is what the footer of the sidecar says of its row groups, taken together, so that a plan need
//! not fetch the footer either. A tag is believed only on the sidecar that it was made for: it
//! repeats the name, since whoever writes a sidecar anew may carry on tags that he does not know.
//!
//! ```text
//!   lakebed.bounds  {"adds":25000,"partition":{"day":{"min":"2024-01-01","max":"2024-02-09"}},
//!                    "columns":[{"path":["id"],"min":"7","max":"900","someNull":true}]}
//!   lakebed.name    5c1f..parquet
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::bounds::common;
use crate::action::{NullableMap, Sidecar};
use crate::batch::{Footer, Group, parquet_footer};
use crate::error::{Error, Result};
use crate::schema::{ColumnMapping, DataType, PrimitiveType};
use crate::skip::{Common, Range, Skipper};
use crate::state::Head;
use crate::stats::{Reader, indexed};
use crate::value::Value;

const BOUNDS: &str = "lakebed.bounds";
const NAME: &str = "lakebed.name";
/// Columns whose bounds are said, in the order of the schema: a tag is read with every checkpoint.
const COLUMNS_MAX: usize = 8;
/// Longest bound that is said, in characters.
const TEXT_MAX: usize = 64;

/// The tags of a sidecar of ours that holds adds, but for its name.
///
/// # Errors
///
/// `internal` if it does not read.
pub fn sidecar_tags(bytes: &Bytes, head: &Head) -> Result<NullableMap> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let Footer::Ready(footer) = parquet_footer(bytes, size)? else {
        return Err(Error::internal("a sidecar has no footer"));
    };
    if head.mapping != ColumnMapping::None {
        return Ok(NullableMap::new());
    }
    let columns = &head.metadata.partition_columns;
    let leaves = indexed(&head.schema, head.mapping, columns, &head.properties);
    let leaves = leaves.into_iter().filter(|it| it.has_bounds()).take(COLUMNS_MAX).collect();
    let reader = Reader::of(leaves);
    let groups = Group::of(&footer, size);
    let [group] = groups.as_slice() else { return Ok(NullableMap::new()) };
    let common = common(group, head, columns.iter().cloned(), &reader);
    let mut partition = Map::new();
    for (name, range) in &common.partition {
        partition.insert(name.clone(), document(range));
    }
    let mut named = Vec::new();
    for (path, range) in &common.columns {
        let mut entry = document(range);
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("path".to_string(), json!(path));
        }
        named.push(entry);
    }
    let text = json!({"adds": group.adds(), "partition": partition, "columns": named}).to_string();
    Ok([(BOUNDS.to_string(), Some(text))].into())
}

/// A range as JSON. A bound that is long is left out, which is unknown.
fn document(range: &Range<'static>) -> Json {
    let bound = |it: &Option<Cow<'static, Value>>| {
        let text = it.as_ref().map(|it| it.to_partition());
        text.filter(|it| it.chars().count() <= TEXT_MAX && !it.is_empty())
    };
    let mut entry = Map::new();
    for (key, text) in [("min", bound(&range.lower)), ("max", bound(&range.upper))] {
        if let Some(text) = text {
            entry.insert(key.to_string(), text.into());
        }
    }
    for (key, flag) in [("someNull", range.some_null), ("allNull", range.all_null)] {
        if flag {
            entry.insert(key.to_string(), flag.into());
        }
    }
    Json::Object(entry)
}

/// What the tags of a sidecar prove of its files, and how many there are. `None` if they are not
/// ours, not of this sidecar, or make no sense.
pub(super) fn common_of(sidecar: &Sidecar, head: &Head) -> Option<(Common, u64)> {
    // Tags outlive a name that is given to another column.
    let tags = sidecar.tags.as_ref().filter(|_| head.mapping == ColumnMapping::None)?;
    if tags.get(NAME)?.as_deref()? != sidecar.path {
        return None;
    }
    let parsed: Json = serde_json::from_str(tags.get(BOUNDS)?.as_deref()?).ok()?;
    let mut common = Common::default();
    for (name, entry) in parsed.get("partition")?.as_object()? {
        if let Some(of) = head.schema.field(name).and_then(|it| primitive(&it.data_type)) {
            common.partition.insert(name.clone(), range(entry, of)?);
        }
    }
    let columns = &head.metadata.partition_columns;
    let leaves = indexed(&head.schema, head.mapping, columns, &head.properties);
    let types: BTreeMap<&Vec<String>, PrimitiveType> =
        leaves.iter().filter_map(|it| Some((&it.path, it.of?))).collect();
    for entry in parsed.get("columns")?.as_array()? {
        let path: Vec<String> = serde_json::from_value(entry.get("path")?.clone()).ok()?;
        if let Some(of) = types.get(&path) {
            let range = range(entry, *of)?;
            common.columns.insert(path, range);
        }
    }
    Some((common, parsed.get("adds")?.as_u64()?))
}

fn primitive(of: &DataType) -> Option<PrimitiveType> {
    match of {
        DataType::Primitive(it) => Some(*it),
        _ => None,
    }
}

/// The outer `None` spoils the tag.
fn range(entry: &Json, of: PrimitiveType) -> Option<Range<'static>> {
    let bound = |key: &str| match entry.get(key) {
        None => Some(None),
        Some(it) => Value::from_partition(it.as_str()?, of).ok().map(|it| it.map(Cow::Owned)),
    };
    let flag = |key: &str| entry.get(key).and_then(Json::as_bool).unwrap_or(false);
    Some(Range {
        lower: bound("min")?,
        upper: bound("max")?,
        some_null: flag("someNull"),
        all_null: flag("allNull"),
    })
}

/// Do the tags prove that no row of any file of the sidecar can match? Then how many files those
/// are.
pub(super) fn ruled_out(sidecar: &Sidecar, head: &Head, skipper: &Skipper) -> Option<u64> {
    let (common, adds) = common_of(sidecar, head)?;
    skipper.skips_all(&common).then_some(adds)
}
