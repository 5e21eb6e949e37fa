//! Rows as the engine takes and gives them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use lakebed::{Error, Expr, Result, Scan, Snapshot, col, lit};

use crate::history::Filter;
use crate::oracle::Row;

/// Rows as a caller hands them in.
///
/// # Errors
///
/// `internal`, never.
pub fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let days = StringArray::from_iter_values(rows.iter().map(|it| it.day.as_str()));
    let ids = Int64Array::from_iter_values(rows.iter().map(|it| it.id));
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("day", Arc::new(days) as ArrayRef), ("id", Arc::new(ids))];
    if rows.iter().any(|it| it.note.is_some()) {
        let notes = StringArray::from_iter(rows.iter().map(|it| it.note.as_deref()));
        columns.push(("note", Arc::new(notes)));
    }
    let columns = columns.into_iter().map(|(name, it)| (name, it, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|it| Error::internal("rows make no batch").because(it))
}

/// The rows of a version that meet a filter, ascending.
///
/// # Errors
///
/// What reading gives.
pub async fn rows(snapshot: &Snapshot, filter: &Filter) -> Result<Vec<Row>> {
    let mut terms: Vec<Expr> = Vec::new();
    terms.extend(filter.day.as_ref().map(|it| col("day").eq(lit(it.as_str()))));
    terms.extend(filter.above.map(|it| col("id").gt(lit(it))));
    let scan = terms.into_iter().reduce(Expr::and).map(|it| Scan::new().filter(it));
    let read = snapshot.read(&scan.unwrap_or_default()).await?;
    let batches: Vec<RecordBatch> = read.try_collect().await?;
    let mut rows = Vec::new();
    for batch in batches {
        let texts = |name: &str| {
            let column = batch.column_by_name(name);
            let column = column.and_then(|it| it.as_any().downcast_ref::<StringArray>()).cloned();
            column.map(|it| it.iter().map(|it| it.map(str::to_string)).collect::<Vec<_>>())
        };
        let (days, notes) = (texts("day").unwrap_or_default(), texts("note").unwrap_or_default());
        let ids = batch.column_by_name("id");
        let ids = ids.and_then(|it| it.as_any().downcast_ref::<Int64Array>()).cloned();
        for (at, id) in ids.iter().flatten().enumerate() {
            let text = |of: &[Option<String>]| of.get(at).cloned().flatten();
            let day = text(&days).unwrap_or_default();
            rows.push(Row { id: id.unwrap_or(-1), day, note: text(&notes) });
        }
    }
    rows.sort_unstable();
    Ok(rows)
}
