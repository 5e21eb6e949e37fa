//! Deletion vectors, decoded by their descriptors alone.

use std::path::Path;

use lakebed::{Env, Op, vector};
use lakebed_log::action::DeletionVector;
use serde_json::Value;

use super::{Answer, Case, broken};

/// The positions of a vector of the table.
pub(super) async fn decode(env: &Env, case: &Case, location: &Path) -> Answer {
    let field = |name: &str| case.descriptor.as_ref().and_then(|it| it.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let number = |name: &str| field(name).and_then(Value::as_i64);
    let short = |name: &str| number(name).and_then(|it| i32::try_from(it).ok());
    let descriptor = DeletionVector {
        storage_type: text("storageType"),
        path_or_inline_dv: text("pathOrInlineDv"),
        offset: short("offset"),
        size_in_bytes: short("sizeInBytes").ok_or_else(|| broken("no size"))?,
        cardinality: number("cardinality").ok_or_else(|| broken("no cardinality"))?,
    };
    let store = env.open(&location.to_string_lossy())?;
    let rows = vector::rows(env, &Op::default(), &store, &descriptor).await?;
    let mut wrong = Vec::new();
    for (name, expected) in &case.facts() {
        let ours: Value = match name.as_str() {
            "count" => rows.len().into(),
            "min" => rows.iter().next().into(),
            "max" => rows.max().into(),
            "sum" => rows.iter().sum::<u64>().into(),
            "positions" => rows.iter().collect::<Vec<_>>().into(),
            other => format!("no comparison for {other}").into(),
        };
        if ours != *expected {
            wrong.push(format!("{name} is {ours}, should be {expected}"));
        }
    }
    Ok(if wrong.is_empty() { Ok(None) } else { Err(wrong.join("; ")) })
}
