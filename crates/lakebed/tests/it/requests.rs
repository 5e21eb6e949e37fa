//! Requests are a contract: each number here is one that somebody pays for.

use futures::executor::block_on;
use lakebed::{Append, Create, Env, Op, Scan, Schema, Snapshot, Table, Width, col, lit};
use lakebed_log::action::{Action, Add, DeletionVector, Remove};
use lakebed_log::feature::TableFeature;
use lakebed_log::row_set::{self, RowSet};

use lakebed_testkit::shape::{Layout, compact, second_layout};

use crate::help::{fresh, grown, ids, memory, parts, read, requests, rows, table};

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

/// An append costs what it adds, and is checked by what it adds: the same requests and bytes,
/// however many files the table has.
///
/// spec: TXN-40
#[test]
fn append_to_a_large_table() {
    let spent = |files: i64| {
        let place = memory();
        let options = Append::new().partition_by(["p"]);
        let names: Vec<String> = (0..files).map(|it| format!("{it:04}")).collect();
        let rows: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(0..).collect();
        block_on(table(&place).append(parts(&rows), options)).unwrap();
        block_on(table(&place).append(parts(&[("0000", -1)]), Append::new())).unwrap();
        let held = block_on(table(&place).snapshot()).unwrap();
        assert_eq!(block_on(held.files()).unwrap().files.len(), files.cast_unsigned() + 1);

        let (table, op) = fresh(&place);
        let held = block_on(table.snapshot()).unwrap();
        let before = op.usage();
        block_on(held.append(parts(&[("0000", -2)]), Append::new())).unwrap();
        let after = op.usage();
        let bytes = after.bytes_written - before.bytes_written;
        (after.requests() - before.requests(), after.bytes_read - before.bytes_read, bytes)
    };
    let (few, many) = (spent(1), spent(400));
    // Data, commit, and the checksum that follows from the one before.
    assert_eq!((few.0, many.0), (4, 4));
    // Sizes and times are told in more or fewer digits.
    assert!(few.1.abs_diff(many.1) < 64, "{few:?} {many:?}");
    assert!(few.2.abs_diff(many.2) < 64, "{few:?} {many:?}");
}

/// From a held snapshot: the data file, the commit and the checksum; of a version that was opened,
/// its checksum is read for the counts. From a table one LIST more. No checkpoint is due.
#[test]
fn append() {
    places(|place| {
        grown(place, 2);
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let held = block_on(table.snapshot()).unwrap();
        requests(&op, &mut before);
        let done = block_on(held.append(ids([2]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [0, 1, 0, 3, 0], "{place}");

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
        assert_eq!(requests(&op, &mut before), [1, 3, 0, 3, 0], "{place}");
        let again = block_on(table.append(ids([6]), Append::new())).unwrap();
        assert_eq!(requests(&op, &mut before), [1, 0, 0, 3, 0], "{place}");
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
        // Making the table takes the hint; a checkpoint its own put, reading back, and the hint;
        // and the first one a look at what of the log has expired.
        let expected = match (id, due) {
            (0, _) => [1, 1, 0, 3, 0],
            (10, _) => [2, 2, 0, 5, 0],
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
    // A plan made before the files are asked for sifts the checkpoint, and finds the same.
    let scan = Scan::new().filter("id < 1000000000000000".parse().unwrap());
    let once = block_on(opened.plan(&scan)).unwrap();
    let sifted = op.usage();
    // The files have no maximum, so their JSON is asked, too; but nothing is fetched twice.
    assert!(sifted.bytes_read < size + size / 10, "{sifted:?} of {size}");
    let state = block_on(made.state(&Op::default(), Width::Wide)).unwrap();
    assert_eq!(state.files.len(), FILES);
    let mut paths: Vec<_> = once.tasks().iter().map(|it| it.path.clone()).collect();
    let whole = block_on(made.plan(&scan)).unwrap();
    let mut expected: Vec<_> = whole.tasks().iter().map(|it| it.path.clone()).collect();
    paths.sort();
    expected.sort();
    assert!(!paths.is_empty() && paths.len() < 40_000, "{}", paths.len());
    assert_eq!(paths, expected);
    let files = block_on(opened.files()).unwrap();
    assert_eq!(files.files.len(), FILES);
    assert_eq!(files.files.total_bytes(), (0..FILES).sum::<u64>());
    let read = op.usage().bytes_read - sifted.bytes_read;
    assert!(read < size, "{read} of {size}");
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

/// The vectors that one commit wrote are one request, however many files they belong to, and only
/// those of files that survive the filter are fetched.
///
/// spec: DV-17
#[test]
fn deletion_vectors() {
    places(|place| {
        let (table, op) = fresh(place);
        for first in 0..20 {
            block_on(table.append(ids(first * 10..first * 10 + 10), Append::new())).unwrap();
        }
        delete_first_rows(&Env::tokio(), place, &block_on(table.snapshot()).unwrap());
        let (table, _) = (table.with_op(op.clone()), ());
        let snapshot = block_on(table.snapshot()).unwrap();
        block_on(snapshot.files()).unwrap();
        let mut before = [0; 5];
        requests(&op, &mut before);
        let left: Vec<i64> = (0..200).filter(|it| it % 10 != 0).collect();
        assert_eq!(rows(&snapshot), left);
        assert_eq!(requests(&op, &mut before), [0, 21, 0, 0, 0], "{place}");

        let none = Scan::new().filter(col("id").gt(lit(1000)));
        block_on(snapshot.plan(&none)).unwrap();
        requests(&op, &mut before);
        assert!(read(&snapshot, &none).is_empty());
        assert_eq!(requests(&op, &mut before), [0; 5], "{place}");
        let one = Scan::new().filter(col("id").lt(lit(5)));
        assert_eq!(read(&snapshot, &one)[0].num_rows(), 4);
        assert_eq!(requests(&op, &mut before), [0, 2, 0, 0, 0], "{place}");
    });
}

/// The next version: every file without its first row, by a vector each in one file.
pub fn delete_first_rows(env: &Env, place: &str, snapshot: &Snapshot) {
    let state = block_on(snapshot.files()).unwrap();
    let payload = [0].into_iter().collect::<RowSet>().to_bytes();
    let mut bytes = vec![row_set::FILE_VERSION];
    let protocol = snapshot.head().protocol.with_features(&[TableFeature::DeletionVectors]);
    let mut lines = vec![Action::Protocol(protocol).to_json_line()];
    for at in state.files.iter() {
        let (adds, row) = state.files.row(at).unwrap();
        let add = adds.get(row).unwrap();
        let vector = DeletionVector {
            storage_type: "u".to_string(),
            path_or_inline_dv: "0".repeat(20),
            offset: Some(i32::try_from(bytes.len()).unwrap()),
            size_in_bytes: i32::try_from(payload.len()).unwrap(),
            cardinality: 1,
        };
        bytes.extend(row_set::frame(&payload).unwrap());
        let path = add.path.clone();
        let remove = Remove { path, data_change: true, ..Remove::default() };
        lines.push(Action::Remove(remove).to_json_line());
        let stats = add.stats.clone().or(Some(r#"{"numRecords":10}"#.to_string()));
        let add = Add { deletion_vector: Some(vector), stats, data_change: true, ..add };
        lines.push(Action::Add(add).to_json_line());
    }
    let store = env.open(place).unwrap();
    let op = Op::default();
    let vectors = "deletion_vector_00000000-0000-0000-0000-000000000000.bin";
    block_on(store.put(&op, vectors, bytes.into())).unwrap();
    let commit = format!("_delta_log/{:020}.json", snapshot.version().get() + 1);
    block_on(store.put_if_absent(&op, &commit, lines.join("\n").into())).unwrap();
}

/// Opening takes the top level of a checkpoint alone; the files take one GET a sidecar.
///
/// spec: CKPT-19
#[test]
fn sidecars_are_fetched_for_files_alone() {
    for json in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let made = grown(place, 12);
        block_on(block_on(made.snapshot_at(lakebed::Version::from(10))).unwrap().checkpoint())
            .unwrap();
        let how = Layout { json, classic: false, sidecars: 3 };
        second_layout(folder.path(), 10, how).unwrap();
        let (table, op) = fresh(place);
        let mut before = [0; 5];
        let snapshot = block_on(table.snapshot()).unwrap();
        // The hint that is not there, the top level, commit 11.
        assert_eq!(requests(&op, &mut before), [1, 3, 0, 0, 0]);
        block_on(snapshot.files()).unwrap();
        assert_eq!(requests(&op, &mut before), [0, 3, 0, 0, 0]);
        assert_eq!(rows(&snapshot), (0..12).collect::<Vec<_>>());
        assert!(snapshot.skipped().is_empty());
    }
}

/// Fifty commits behind a checkpoint, compacted into one file.
///
/// spec: CMP-1
#[test]
fn compacted_commits_are_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let schema = Schema::parse_ddl("id long").unwrap();
    let table = fresh(place).0;
    let create = Create::new(schema).property("delta.checkpointInterval", "1000");
    block_on(table.create_here(create)).unwrap();
    block_on(block_on(table.snapshot()).unwrap().checkpoint()).unwrap();
    for id in 0..50 {
        block_on(table.append(ids([id]), Append::new())).unwrap();
    }
    compact(folder.path(), 1, 50).unwrap();
    let (table, op) = fresh(place);
    let mut before = [0; 5];
    let snapshot = block_on(table.snapshot()).unwrap();
    // The hint, the checkpoint, the compacted file.
    assert_eq!(requests(&op, &mut before), [1, 3, 0, 0, 0]);
    block_on(snapshot.plan(&Scan::new())).unwrap();
    assert_eq!(requests(&op, &mut before), [0; 5]);
    assert_eq!(rows(&snapshot), (0..50).collect::<Vec<_>>());

    // What comes after it is a commit each, as ever.
    requests(&op, &mut before);
    let other = fresh(place).0;
    block_on(other.append(ids([50]), Append::new())).unwrap();
    let next = block_on(table.snapshot()).unwrap();
    assert_eq!(requests(&op, &mut before), [1, 1, 0, 0, 0]);
    assert_eq!(rows(&next), (0..51).collect::<Vec<_>>());
}
