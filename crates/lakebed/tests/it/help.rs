//! What the tests here share: tables, rows in, rows out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::executor::block_on;
use lakebed::{Append, Env, Op, Scan, Snapshot, Table};

/// A new place in memory; an environment shares one store for all of `memory://`.
pub fn memory() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("memory://it/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn table(location: &str) -> Table {
    Table::open_with(&Env::tokio(), location).unwrap()
}

/// The same table as somebody else sees it, and what it costs them.
pub fn fresh(location: &str) -> (Table, Op) {
    let op = Op::new(Duration::from_secs(60));
    (table(location).with_op(op.clone()), op)
}

pub fn ids(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// Rows `p,id`.
pub fn parts(rows: &[(&str, i64)]) -> RecordBatch {
    let p: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|it| it.0)));
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|it| it.1)));
    RecordBatch::try_from_iter([("p", p), ("id", id)]).unwrap()
}

pub fn read(snapshot: &Snapshot, scan: &Scan) -> Vec<RecordBatch> {
    block_on(async { snapshot.read(scan).await?.collect().await }).unwrap()
}

/// The column `id`, sorted.
pub fn rows(snapshot: &Snapshot) -> Vec<i64> {
    block_on(rows_of(snapshot))
}

/// The same where something is awaited already.
pub async fn rows_of(snapshot: &Snapshot) -> Vec<i64> {
    let batches = snapshot.read(&Scan::new().columns(["id"])).await.unwrap();
    let mut ids: Vec<i64> = batches
        .collect()
        .await
        .unwrap()
        .iter()
        .flat_map(|it| it.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    ids.sort_unstable();
    ids
}

/// Versions 0..n, one row each: version v adds row v.
pub fn grown(location: &str, versions: i64) -> Table {
    let table = table(location);
    for id in 0..versions {
        block_on(table.append(ids([id]), Append::new())).unwrap();
    }
    table
}

/// `[lists, gets, heads, puts, deletes]` since the last time.
pub fn requests(op: &Op, before: &mut [u64; 5]) -> [u64; 5] {
    let it = op.usage();
    let now = [it.lists, it.gets, it.heads, it.puts, it.deletes];
    let spent = std::array::from_fn(|at| now[at] - before[at]);
    *before = now;
    spent
}
