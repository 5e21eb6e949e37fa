//! Parts of a scan: splits that go through text, and rows by position.

use std::collections::BTreeSet;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use futures::executor::block_on;
use lakebed::write::Layout;
use lakebed::{Append, Code, Create, Env, Op, Scan, Schema, Snapshot, Split, Table, col, lit};

use crate::help::{ids, memory, parts, read, table};

/// Whatever a scan yields, in one.
fn whole(batches: &[RecordBatch]) -> Option<RecordBatch> {
    let first = batches.first()?;
    Some(concat_batches(&first.schema(), batches).unwrap())
}

/// The rows of all splits, each written down and read by somebody who knows nothing else.
fn by_splits(snapshot: &Snapshot, scan: &Scan, target: u64) -> (usize, Vec<RecordBatch>) {
    let splits = block_on(snapshot.splits(scan, target)).unwrap();
    let mut rows = Vec::new();
    for split in &splits {
        let split: Split = split.to_string().parse().unwrap();
        assert_eq!((split.version(), split.files()), (snapshot.version(), split.files()));
        let batches = split.read(&Env::tokio().with_budget(256 << 20), &Op::default()).unwrap();
        rows.extend(block_on(batches.collect()).unwrap());
    }
    (splits.len(), rows)
}

/// Splits of any size give the rows of the scan, in its order; takes give any of them in any order.
fn check(snapshot: &Snapshot, scan: &Scan) {
    let expected = whole(&read(snapshot, scan));
    for target in [90, 700, 3000, 1 << 40] {
        let (_, rows) = by_splits(snapshot, scan, target);
        assert_eq!(whole(&rows), expected, "{target} {scan:?}");
    }
    let (Some(expected), None) = (expected, scan.predicate()) else { return };
    let rows = expected.num_rows() as u64;
    let scattered: Vec<u64> = (0..40).map(|it| (it * 7919 + 13) % rows).collect();
    for positions in [vec![], vec![rows - 1, 0, rows - 1], scattered, (0..rows).collect()] {
        let taken = block_on(snapshot.take(&positions, scan)).unwrap();
        let places = arrow_array::UInt64Array::from(positions.clone());
        for (taken, of) in taken.columns().iter().zip(expected.columns()) {
            let wanted = arrow_select::take::take(of, &places, None).unwrap();
            assert_eq!(taken, &wanted, "{positions:?}");
        }
    }
    let past = block_on(snapshot.take(&[0, rows], scan)).unwrap_err();
    assert_eq!(past.code(), Code::InvalidArgument);
}

/// A table in partitions, of files of many sizes and pages.
fn partitioned(layout: &Layout) -> Table {
    let made = table(&memory());
    let schema = Schema::parse_ddl("p string, id long").unwrap();
    let create = Create::new(schema).partition_by(["p"]);
    block_on(made.create_here(create)).unwrap();
    for (from, to) in [(0, 10), (10, 3000), (3000, 3001), (3001, 9000)] {
        let names = ["a", "b", "c d", "100%"];
        let rows: Vec<_> =
            (from..to).map(|it| (names[usize::try_from(it).unwrap() % 4], it)).collect();
        block_on(made.append(parts(&rows), Append::new().layout(layout.clone()))).unwrap();
    }
    made
}

/// In memory, by partitions, filters and columns, with layouts of large and small pages.
///
/// spec: SPLIT-1, SPLIT-2, TAKE-2, TAKE-3
#[test]
fn splits_and_takes() {
    for layout in [Layout::default(), Layout::random_access()] {
        let made = partitioned(&layout);
        let snapshot = block_on(made.snapshot()).unwrap();
        let scans = [
            Scan::new(),
            Scan::new().columns(["id"]),
            Scan::new().columns(["id", "p"]).batch_rows(100),
            Scan::new().filter(col("id").lt(lit(5000)).and(col("p").not_eq(lit("a")))),
            Scan::new().filter(col("id").eq(lit(-1))),
        ];
        for scan in &scans {
            check(&snapshot, scan);
        }
    }
}

/// A split stays at its version, and is cut where files are large.
///
/// spec: SPLIT-3, SPLIT-4, SPLIT-5
#[test]
fn splits_are_pinned() {
    let made = partitioned(&Layout::default());
    let first = block_on(made.snapshot()).unwrap();
    let expected = whole(&read(&first, &Scan::new()));
    let splits = block_on(first.splits(&Scan::new(), 700)).unwrap();
    assert!(20 < splits.len(), "{}", splits.len());
    // Each file that is cut is read to its end, however many rows it has.
    let texts = splits.iter().map(|it| it.to_string().parse::<serde_json::Value>().unwrap());
    let files = texts.flat_map(|it| it["files"].as_array().unwrap().clone());
    let cut: Vec<serde_json::Value> = files.filter(|it| it["rows"].is_array()).collect();
    let names: BTreeSet<&str> = cut.iter().filter_map(|it| it["add"]["path"].as_str()).collect();
    let open = cut.iter().filter(|it| it["rows"][1].is_null());
    let open: Vec<&str> = open.filter_map(|it| it["add"]["path"].as_str()).collect();
    assert!(!open.is_empty() && open.len() == names.len(), "{open:?} {names:?}");
    assert_eq!(open.into_iter().collect::<BTreeSet<_>>(), names);
    let (one, _) = by_splits(&first, &Scan::new(), u64::MAX);
    assert_eq!(one, 1);
    block_on(made.append(parts(&[("a", 1)]), Append::new())).unwrap();
    let read = |it: &Split| block_on(it.read(&Env::tokio(), &Op::default()).unwrap().collect());
    let rows: Vec<RecordBatch> = splits.iter().flat_map(|it| read(it).unwrap()).collect();
    assert_eq!(whole(&rows), expected);
    // Side by side, each stops at the limit by itself.
    let splits = block_on(first.splits(&Scan::new().limit(3), 700)).unwrap();
    assert!(
        splits
            .iter()
            .all(|it| read(it).unwrap().iter().map(|it| it.num_rows()).sum::<usize>() <= 3)
    );
}

/// Tables by other tools, with vectors, mapped names, widened types and row ids.
///
/// spec: SPLIT-1, SPLIT-2, TAKE-1
#[test]
fn tables_by_others() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut seen = 0;
    for maker in ["spark", "delta-rs", "duckdb", "lakebed"] {
        let Ok(tables) = std::fs::read_dir(golden.join(maker).join("tables")) else { continue };
        for it in tables {
            let path = it.unwrap().path().canonicalize().unwrap();
            let made = table(path.to_str().unwrap());
            let Ok(snapshot) = block_on(made.snapshot()) else { continue };
            let Ok(batches) = block_on(snapshot.read(&Scan::new())) else { continue };
            let Ok(batches) = block_on(batches.collect()) else { continue };
            if batches.iter().any(|it| 0 < it.num_rows()) {
                seen += 1;
                check(&snapshot, &Scan::new());
            }
        }
    }
    assert!(10 < seen, "{seen}");
}

/// Text that is no split is an error of its kind.
///
/// spec: SPLIT-8
#[test]
fn hostile_splits() {
    let made = table(&memory());
    block_on(made.append(ids(0..10), Append::new())).unwrap();
    let snapshot = block_on(made.snapshot()).unwrap();
    let text = block_on(snapshot.splits(&Scan::new(), 1)).unwrap()[0].to_string();
    let split: serde_json::Value = serde_json::from_str(&text).unwrap();
    let check = |name: &str, change: &dyn Fn(&mut serde_json::Value), expected: Code| {
        let mut changed = split.clone();
        change(&mut changed);
        let parsed = changed.to_string().parse::<Split>();
        let read = parsed.and_then(|it| it.read(&Env::tokio(), &Op::default()));
        let rows = read.and_then(|it| block_on(it.collect()));
        assert_eq!(rows.unwrap_err().code(), expected, "{name}");
    };
    for text in ["", "{", "[]", "null", "{}", "{\"lakebedSplit\":2}", &"[".repeat(10_000)] {
        assert_eq!(text.parse::<Split>().unwrap_err().code(), Code::InvalidArgument, "{text:.20}");
    }
    let bad = Code::InvalidArgument;
    check("version", &|it| it["version"] = (-1).into(), bad);
    check("location", &|it| it["location"] = 7.into(), bad);
    check("scan", &|it| it["scan"] = "all".into(), bad);
    check("columns", &|it| it["scan"]["columns"] = serde_json::json!([1]), bad);
    check("limit", &|it| it["scan"]["limit"] = (-4).into(), bad);
    check("rows", &|it| it["files"][0]["rows"] = serde_json::json!([5, 2]), bad);
    check("column", &|it| it["scan"]["columns"] = serde_json::json!(["x"]), Code::UnknownColumn);
    check("filter", &|it| it["scan"]["filter"] = "id >".into(), Code::InvalidExpression);
    check(
        "protocol",
        &|it| it["protocol"]["minReaderVersion"] = 99.into(),
        Code::UnsupportedProtocol,
    );
    check("escape", &|it| it["files"][0]["add"]["path"] = "../x".into(), Code::PathEscape);
    check("file", &|it| it["files"][0]["add"]["path"] = "x".into(), Code::MissingFile);
}

/// Parts of no bytes make no sense.
///
/// spec: SPLIT-7
#[test]
fn splits_of_nothing() {
    let made = table(&memory());
    block_on(made.append(ids(0..10), Append::new())).unwrap();
    let snapshot = block_on(made.snapshot()).unwrap();
    let err = block_on(snapshot.splits(&Scan::new(), 0)).unwrap_err();
    assert_eq!(err.code(), Code::InvalidArgument);
}

/// Rows are found by what the log counts. A file that has fewer or more of them would give rows of
/// the next one.
///
/// spec: TAKE-4
#[test]
fn files_that_are_counted_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let made = table(folder.path().to_str().unwrap());
    for rows in [1..4, 4..7] {
        block_on(made.append(ids(rows), Append::new())).unwrap();
    }
    let taken = |positions: &[u64]| {
        let made = table(folder.path().to_str().unwrap());
        let snapshot = block_on(made.snapshot()).unwrap();
        let taken = block_on(snapshot.take(positions, &Scan::new()));
        taken.map(|it| it.num_rows()).map_err(|it| it.code())
    };
    assert_eq!(taken(&[0, 2, 3]), Ok(3));
    let commit = folder.path().join("_delta_log/00000000000000000001.json");
    let sound = std::fs::read_to_string(&commit).unwrap();
    assert!(sound.contains("numRecords\\\":3"), "{sound}");
    for count in ["2", "4"] {
        let lines = sound.replace("numRecords\\\":3", &format!("numRecords\\\":{count}"));
        // Another writer's, which has no checksum.
        std::fs::write(&commit, lines.replace("\"body", "\"some")).unwrap();
        assert_eq!(taken(&[0, 2, 3]), Err(Code::StatsMismatch), "{count}");
    }
}

/// Rows are taken by position alone.
///
/// spec: TAKE-3
#[test]
fn takes_have_no_filter() {
    let made = table(&memory());
    block_on(made.append(ids(0..10), Append::new())).unwrap();
    let snapshot = block_on(made.snapshot()).unwrap();
    for scan in [Scan::new().limit(3), Scan::new().filter(col("id").eq(lit(1)))] {
        let err = block_on(snapshot.take(&[0], &scan)).unwrap_err();
        assert_eq!(err.code(), Code::InvalidArgument);
    }
}

/// A scan without files is a split still, so that whoever reads it gets the columns.
#[test]
fn a_split_without_rows() {
    let made = partitioned(&Layout::default());
    let snapshot = block_on(made.snapshot()).unwrap();
    let none = Scan::new().columns(["id"]).filter(col("p").eq(lit("nowhere")));
    let (count, rows) = by_splits(&snapshot, &none, 1);
    assert_eq!((count, rows.len()), (1, 0));
    let split = block_on(snapshot.splits(&none, 1)).unwrap().remove(0);
    let batches = split.read(&Env::tokio(), &Op::default()).unwrap();
    assert_eq!((split.files(), batches.schema().fields().len()), (0, 1));
}
