//! Requests are a contract: each number here is one that somebody pays for.

use futures::executor::block_on;
use lakebed::{Append, Create, Op, Scan, Schema, Table};

use crate::help::{fresh, grown, ids, memory, requests, rows};

/// `[lists, gets, heads, puts, deletes]`, in memory and on the local disk.
fn places(test: impl Fn(&str)) {
    test(&memory());
    let folder = tempfile::tempdir().unwrap();
    test(folder.path().join("table").to_str().unwrap());
}

/// Hint, one LIST, and a GET for checkpoint and later commit each; nothing more for the files.
#[test]
fn cold_open() {
    places(|place| {
        grown(place, 14);
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let snapshot = block_on(table.snapshot()).unwrap();
        // The hint, the checkpoint of version 10, commits 11 to 13.
        assert_eq!(requests(&op, &mut before), [1, 5, 0, 0, 0], "{place}");
        assert_eq!(snapshot.version().get(), 13);

        block_on(snapshot.files()).unwrap();
        block_on(snapshot.plan(&Scan::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [0; 5], "{place}");
        assert_eq!(rows(&snapshot), (0..14).collect::<Vec<_>>());
    });
}

/// Nothing new: one LIST. Something new: a GET per commit more.
#[test]
fn refresh() {
    places(|place| {
        let other = grown(place, 3);
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let first = block_on(table.snapshot()).unwrap();
        block_on(first.files()).unwrap();
        requests(&op, &mut before);

        block_on(table.snapshot()).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 0, 0, 0, 0], "{place}");

        block_on(other.append(ids([3]), Append::new())).unwrap();
        block_on(other.append(ids([4]), Append::new())).unwrap();
        let next = block_on(table.snapshot()).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 2, 0, 0, 0], "{place}");
        block_on(next.files()).unwrap();
        assert_eq!(requests(&op, &mut before), [0; 5], "{place}");
        assert_eq!((next.version().get(), rows(&next)), (4, vec![0, 1, 2, 3, 4]));
        assert_eq!(rows(&first), [0, 1, 2]);
    });
}

/// From a held snapshot: the data file and the commit; the checksum where the counts are known.
/// From a table one LIST more. No checkpoint is due.
#[test]
fn append() {
    places(|place| {
        grown(place, 2);
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let held = block_on(table.snapshot()).unwrap();
        requests(&op, &mut before);
        let done = block_on(held.append(ids([2]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [0, 0, 0, 2, 0], "{place}");

        block_on(done.snapshot().files()).unwrap();
        assert_eq!(requests(&op, &mut before), [0; 5], "{place}");
        let done = block_on(done.snapshot().append(ids([3]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [0, 0, 0, 3, 0], "{place}");
        let done = block_on(done.snapshot().append(ids([4]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [0, 0, 0, 3, 0], "{place}");
        assert_eq!(rows(&done.snapshot()), [0, 1, 2, 3, 4]);
        requests(&op, &mut before);

        let done = block_on(table.append(ids([5]), Append::new())).unwrap();
        // This handle has not seen the three commits made through the snapshots.
        assert_eq!(requests(&op, &mut before), [1, 3, 0, 2, 0], "{place}");
        let again = block_on(table.append(ids([6]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 0, 0, 2, 0], "{place}");
        assert_eq!((done.version().get(), again.version().get()), (5, 6));
    });
}

/// A table made here has known counts from the start.
#[test]
fn create_and_first_append() {
    places(|place| {
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let schema = Schema::parse_ddl("id long").unwrap();
        block_on(table.create_here(Create::new(schema))).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 0, 0, 2, 0], "{place}");
        block_on(table.append(ids([1]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 0, 0, 3, 0], "{place}");
    });
}

/// An append through a table stays flat, however many there were, checkpoints aside.
#[test]
fn many_appends_stay_flat() {
    let place = memory();
    let (table, op) = fresh(&place);
    let mut before = [0; 5];
    for id in 0..35 {
        let done = block_on(table.append(ids([id]), Append::new())).unwrap();
        let spent = requests(&op, &mut before);
        let due = id > 0 && id % 10 == 0;
        // Making the table takes the hint; a checkpoint its own put, reading back, and the hint.
        let expected = match (id, due) {
            (0, _) => [1, 1, 0, 3, 0],
            (_, false) => [1, 0, 0, 3, 0],
            (_, true) => [1, 2, 0, 5, 0],
        };
        assert_eq!(spent, expected, "append {id}");
        assert_eq!(done.version().get(), u64::try_from(id).unwrap());
    }
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), (0..35).collect::<Vec<_>>());
}

/// Of a checkpoint over 4 MiB an open fetches the footer and the few columns of the small state.
#[test]
fn large_checkpoints() {
    const FILES: u64 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let schema = Schema::parse_ddl("id long").unwrap();
    block_on(fresh(place).0.create_here(Create::new(schema))).unwrap();
    let add = |it: u64| {
        let name = it.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{{\"add\":{{\"path\":\"{name:016x}-{it:016x}-{name:016x}-{name:032x}.parquet\",\
             \"partitionValues\":{{}},\"size\":{it},\"modificationTime\":{it},\"dataChange\":true,\
             \"stats\":\"{{\\\"numRecords\\\":{it},\
             \\\"minValues\\\":{{\\\"id\\\":{name}}}}}\"}}}}\n"
        )
    };
    let commit: String = (0..FILES).map(add).collect();
    let log = folder.path().join("_delta_log");
    std::fs::write(log.join("00000000000000000001.json"), commit).unwrap();
    let made = block_on(fresh(place).0.snapshot()).unwrap();
    block_on(made.checkpoint()).unwrap();
    let size =
        std::fs::metadata(log.join("00000000000000000001.checkpoint.parquet")).unwrap().len();
    assert!(4 << 20 < size, "{size}");

    let (table, op) = fresh(place);
    let opened = block_on(table.snapshot()).unwrap();
    let usage = op.usage();
    assert_eq!((opened.version().get(), usage.lists), (1, 1));
    assert!(usage.gets <= 8 && usage.bytes_read < size / 10, "{usage:?} of {size}");
    let files = block_on(opened.files()).unwrap();
    assert_eq!(files.files.len(), FILES);
    assert_eq!(files.files.total_bytes(), (0..FILES).sum::<u64>());
    assert!(op.usage().bytes_read < size, "{:?} of {size}", op.usage());
}

/// What a verb counts is its own, unless the caller brings a context.
#[test]
fn usage_is_per_verb() {
    let place = memory();
    let table = Table::open_with(&lakebed::Env::tokio(), &place).unwrap();
    block_on(table.append(ids([1]), Append::new())).unwrap();
    let second = block_on(table.append(ids([2]), Append::new())).unwrap();
    assert_eq!((second.usage().lists, second.usage().puts), (1, 3));
    let op = Op::default();
    let third = block_on(table.with_op(op.clone()).append(ids([3]), Append::new())).unwrap();
    assert_eq!(third.usage(), &op.usage());
}
