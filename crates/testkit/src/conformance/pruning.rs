//! Filters: which files a plan keeps, which rows a scan gives, what the statistics of the log say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use lakebed::{DataType, Expr, PrimitiveType, Scan, Schema, Snapshot, Value, Width, col, lit};
use lakebed_log::action::Action;
use lakebed_log::batch::LogBatch;
use lakebed_log::skip::Skipper;
use lakebed_log::stats::Stats;
use serde_json::Value as Json;

use super::{Answer, Case, broken};
use crate::rows::multiset;

/// The rows of a filtered scan, and how many files its plan keeps.
pub(super) async fn one(case: &Case, snapshot: &Snapshot) -> Answer {
    let filter = case.predicate.as_ref().and_then(predicate);
    let filter = filter.ok_or_else(|| broken(format!("predicate {:?}", case.predicate)))?;
    let facts = case.facts();
    let number = |name: &str| facts.get(name).and_then(Json::as_u64);
    let column = facts.get("column").and_then(Json::as_str);

    let mut scan = Scan::new().filter(filter.clone());
    if let Some(column) = column {
        scan = scan.columns([column]);
    }
    let planned = snapshot.plan(&scan).await?;
    let files = planned.tasks().len() as u64;
    let bounds = number("files_at_least").unwrap_or(0)..=number("files_at_most").unwrap_or(files);
    let batches: Vec<_> = snapshot.read(&scan).await?.try_collect().await?;
    let ours = multiset(&batches).map_err(broken)?;
    let rows: u64 = ours.values().sum();

    let mut wrong = Vec::new();
    if let Some(expected) = number("rows").filter(|it| *it != rows) {
        wrong.push(format!("{filter} gives {rows} rows, should give {expected}"));
    }
    if let (Some(column), Some(values)) = (column, facts.get("values").and_then(Json::as_array)) {
        let mut theirs = BTreeMap::new();
        for value in values {
            *theirs.entry(format!("{column}={value} ")).or_insert(0u64) += 1;
        }
        if ours != theirs {
            wrong.push(format!("{filter} gives {ours:?}, should give {theirs:?}"));
        }
    }
    if !bounds.contains(&files) {
        let of = planned.considered();
        wrong.push(format!("{filter} keeps {files} files of {of}, should keep {bounds:?}"));
    }
    Ok(if wrong.is_empty() { Ok(Some(rows)) } else { Err(wrong.join("; ")) })
}

/// Every hit keeps a file, every miss none.
pub(super) async fn set(case: &Case, snapshot: &Snapshot) -> Answer {
    let facts = case.facts();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (list, hit) in [("hits", true), ("misses", false)] {
        for json in facts.get(list).and_then(Json::as_array).into_iter().flatten() {
            let filter = predicate(json).ok_or_else(|| broken(format!("predicate {json}")))?;
            let plan = snapshot.plan(&Scan::new().filter(filter.clone())).await?;
            tried += 1;
            if plan.tasks().is_empty() == hit {
                wrong.push(format!("{filter} keeps {} files", plan.tasks().len()));
            }
        }
    }
    if tried == 0 {
        wrong.push("no predicate was tried".to_string());
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
}

/// `{"col": [..], "op": "<", "value": 7, "type": "long"}`, and `and` of such.
fn predicate(json: &Json) -> Option<Expr> {
    let op = json.get("op")?.as_str()?;
    if op == "and" {
        let args = json.get("args")?.as_array()?;
        return Some(Expr::And(args.iter().map(predicate).collect::<Option<_>>()?));
    }
    let mut names = json.get("col")?.as_array()?.iter().map(Json::as_str);
    let first = col(names.next()??);
    let column = names.try_fold(first, |inner, name| Some(inner.field(name?)))?;
    let value = || literal(json.get("value")?, json.get("type").and_then(Json::as_str));
    Some(match op {
        "=" => column.eq(value()?),
        "<" => column.lt(value()?),
        "<=" => column.lt_eq(value()?),
        ">" => column.gt(value()?),
        ">=" => column.gt_eq(value()?),
        "is_null" => column.is_null(),
        "is_not_null" => column.is_not_null(),
        _ => return None,
    })
}

/// Text takes the type of the column, as in a filter that a person writes.
fn literal(json: &Json, of: Option<&str>) -> Option<Expr> {
    Some(match json {
        Json::Bool(it) => lit(*it),
        Json::Number(it) => match it.as_i64() {
            Some(it) => lit(it),
            None => lit(it.as_f64()?),
        },
        Json::String(it) if of == Some("binary-hex") => {
            let digits = it.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).ok());
            let bytes = digits.map(|it| u8::from_str_radix(it?, 16).ok());
            lit(bytes.collect::<Option<Vec<u8>>>()?)
        }
        Json::String(it) => lit(it.as_str()),
        _ => return None,
    })
}

/// What the log's statistics say of columns, over all files. The log may have no protocol and no
/// data files: its actions alone are looked at.
pub(super) fn statistics(case: &Case, location: &Path) -> Answer {
    let (schema, stats) = logged(location)?;
    let facts = case.facts();
    let mut wrong = Vec::new();
    for (name, expected) in facts.get("columns").and_then(Json::as_object).into_iter().flatten() {
        let Some(DataType::Primitive(of)) = schema.field(name).map(|it| it.data_type.clone())
        else {
            return Err(broken(format!("no primitive column {name}")));
        };
        for (fact, expected) in expected.as_object().into_iter().flatten() {
            let says = says(&schema, &stats, name, of, fact, expected);
            if let Err(ours) = says {
                wrong.push(format!("{fact} of {name} is {ours}, should be {expected}"));
            }
        }
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
}

/// Does the fact hold? If not: what is.
fn says(
    schema: &Schema,
    stats: &[Stats],
    name: &str,
    of: PrimitiveType,
    fact: &str,
    expected: &Json,
) -> Result<(), String> {
    let path = vec![name.to_string()];
    let columns = || stats.iter().filter_map(|it| it.columns.get(&path));
    let least = |values: Vec<Value>, wanted: std::cmp::Ordering| {
        let nearer = |a: Value, b: Value| if b.compare(&a) == Some(wanted) { b } else { a };
        values.into_iter().reduce(nearer)
    };
    let text = expected.as_str().map_or_else(|| expected.to_string(), str::to_string);
    let wanted = || Value::from_literal(&text, of).map_err(|it| it.to_string());
    let ours = match fact {
        "min" => {
            least(columns().filter_map(|it| it.min.clone()).collect(), std::cmp::Ordering::Less)
        }
        "max" => {
            least(columns().filter_map(|it| it.max.clone()).collect(), std::cmp::Ordering::Greater)
        }
        "nulls" => {
            let nulls: Option<u64> = columns().map(|it| it.null_count).sum();
            return if nulls == expected.as_u64() { Ok(()) } else { Err(format!("{nulls:?}")) };
        }
        "prunable_above_max" => {
            let filter = col(name).gt(lit(f64::MAX)).bind_filter(schema);
            let skipper = Skipper::new(&filter.map_err(|it| it.to_string())?, schema, &[]);
            let skips = stats.iter().any(|it| skipper.skips(&BTreeMap::new(), it));
            return if Some(skips) == expected.as_bool() { Ok(()) } else { Err(skips.to_string()) };
        }
        _ => return Err(format!("no comparison for {fact}")),
    };
    match ours {
        Some(ours) if ours.compare(&wanted()?) == Some(std::cmp::Ordering::Equal) => Ok(()),
        ours => Err(format!("{ours:?}")),
    }
}

/// The last schema, and the statistics of every file, of commits and checkpoints.
fn logged(location: &Path) -> Result<(Schema, Vec<Stats>), lakebed::Error> {
    let files = fs::read_dir(location.join("_delta_log")).map_err(broken)?;
    let mut paths: Vec<PathBuf> = files.filter_map(|it| Some(it.ok()?.path())).collect();
    paths.sort();
    let ends = |path: &Path, with: &str| path.to_string_lossy().ends_with(with);
    let (mut schema, mut texts) = (None, Vec::new());
    for path in paths.iter().filter(|it| ends(it, ".json")) {
        for line in fs::read(path).map_err(broken)?.split(|it| *it == b'\n') {
            match Action::from_json_line(line.trim_ascii()) {
                Ok(Some(Action::Metadata(it))) => schema = Some(it.schema()?),
                Ok(Some(Action::Add(it))) => texts.extend(it.stats),
                _ => {}
            }
        }
    }
    let mut checkpoints = Vec::new();
    for path in paths.iter().filter(|it| ends(it, ".checkpoint.parquet")) {
        let bytes = Bytes::from(fs::read(path).map_err(broken)?);
        let batch = LogBatch::from_parquet(bytes, Width::Wide)?;
        if let (None, Some(it)) = (&schema, &batch.metadata) {
            schema = Some(it.schema()?);
        }
        checkpoints.extend(batch.adds);
    }
    let schema = schema.ok_or_else(|| broken("no schema"))?;
    let mut stats: Vec<Stats> =
        texts.iter().map(|it| Stats::from_json(it, &schema, None)).collect();
    for (adds, parsed) in checkpoints.iter().filter_map(|it| Some((it, it.stats_parsed()?))) {
        stats.extend((0..adds.len()).map(|it| Stats::from_struct(parsed, it, &schema, None)));
    }
    Ok((schema, stats))
}
