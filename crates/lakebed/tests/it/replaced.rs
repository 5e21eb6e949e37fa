//! A table that is removed and made anew under a writer that still holds it; and copies at once.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use futures::executor::block_on;
use futures::future::join_all;
use lakebed::{Append, Code, Env, Overwrite, Scan, Table};

use crate::help::{parts, rows_of, table};

fn rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids as _)]).unwrap()
}

async fn count(table: &Table) -> usize {
    let batches = table.snapshot().await.unwrap().read(&Scan::new()).await.unwrap();
    batches.collect().await.unwrap().iter().map(RecordBatch::num_rows).sum()
}

/// A handle that made the newest commit itself tells the table from another of the same place,
/// sizes and times.
#[test]
fn a_table_made_anew_is_seen() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("t");
        let open = || Table::open_with(&Env::tokio(), place.to_str().unwrap()).unwrap();
        let (old, new) = (open(), open());
        block_on(async {
            for id in 0..3 {
                old.append(rows([id]), Append::new()).await.unwrap();
            }
            std::fs::remove_dir_all(&place).unwrap();
            for id in 0..3 {
                new.append(rows([id, id]), Append::new()).await.unwrap();
            }
            old.overwrite(rows([7]), Overwrite::all()).await.unwrap();
            assert_eq!((count(&old).await, count(&new).await), (1, 1));
        });
    }
}

/// A held snapshot of a table that is gone commits nothing into the one that took its place.
#[test]
fn no_gap_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("t");
    let open = || Table::open_with(&Env::tokio(), place.to_str().unwrap()).unwrap();
    block_on(async {
        let old = open();
        for id in 0..6 {
            old.append(rows([id]), Append::new()).await.unwrap();
        }
        let held = old.snapshot().await.unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        let new = open();
        new.append(rows([1]), Append::new()).await.unwrap();
        let refused = held.append(rows([9]), Append::new()).await.err().unwrap();
        assert_eq!(refused.code(), Code::TransactionExpired, "{refused:?}");
        assert_eq!(count(&new).await, 1);
    });
}

/// Reads that feed writes never wait for memory that their own writes hold.
#[test]
fn copies_at_once_end() {
    let env = Env::tokio().with_budget(8 << 20);
    let open = |name: &str| Table::open_with(&env, &format!("memory://copies/{name}")).unwrap();
    block_on(async {
        let source = open("source");
        source.append(rows(0..10_000), Append::new()).await.unwrap();
        let copies = (0..8).map(|it| {
            let (source, target) = (source.clone(), open(&it.to_string()));
            async move {
                let batches = source.snapshot().await.unwrap().read(&Scan::new()).await.unwrap();
                target.append(batches, Append::new()).await.unwrap();
                count(&target).await
            }
        });
        assert_eq!(join_all(copies).await, [10_000; 8]);
    });
}

/// Somebody removes the folder of a partition, by hand, in which a file waits for its commit: the
/// handle commits others, and makes the folder again.
#[test]
fn a_partition_removed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path().to_str().unwrap());
    let append = |p: &'static str, id: i64| table.append(parts(&[(p, id)]), Append::new());
    block_on(async {
        let create = Append::new().partition_by(["p"]);
        table.append(parts(&[("b", 0)]), create).await.unwrap();
        let mut txn = table.begin().await.unwrap();
        txn.append(parts(&[("a", 1)]), Append::new()).await.unwrap();
        std::fs::remove_dir_all(folder.path().join("p=a")).unwrap();
        append("b", 2).await.unwrap();
        append("a", 3).await.unwrap();
        assert_eq!(rows_of(&table.snapshot().await.unwrap()).await, [0, 2, 3]);
    });
}
