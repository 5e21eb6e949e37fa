//! Overwrite by any filter: which rows leave, which files, and what others may do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::BoxStream;
use lakebed::codec::{Codec, Deletions, FileOptions, FileWriter, Parquet, Source};
use lakebed::feed::Changes;
use lakebed::store::{Store, Upload};
use lakebed::txn;
use lakebed::{
    Add, Append, Code, Committed, Doctor, Env, Expr, Layout, Op, Overwrite, Reason, Scan, Snapshot,
    Table, Version, Width, col, lit,
};
use lakebed_log::action::{DeletionVector, Remove};
use lakebed_log::commit::{Draft, VectorChange};
use lakebed_log::row_set::RowSet;
use lakebed_log::z85;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use crate::help::{memory, parts, read, rows, table};

/// Partition, number, fraction, text.
type Row = (Option<&'static str>, Option<i64>, Option<f64>, Option<&'static str>);

const TEXTS: [&str; 4] = ["", "abc", "abd", "zz"];
const PARTS: [&str; 3] = ["a", "b", "c d"];
const FRACTIONS: [f64; 5] = [f64::NEG_INFINITY, -0.0, 0.0, 1.5, f64::NAN];

fn batch(rows: &[Row]) -> RecordBatch {
    let p: ArrayRef = Arc::new(rows.iter().map(|it| it.0).collect::<StringArray>());
    let x: ArrayRef = Arc::new(rows.iter().map(|it| it.1).collect::<Int64Array>());
    let f: ArrayRef = Arc::new(rows.iter().map(|it| it.2).collect::<Float64Array>());
    let s: ArrayRef = Arc::new(rows.iter().map(|it| it.3).collect::<StringArray>());
    let columns = [("p", p, true), ("x", x, true), ("f", f, true), ("s", s, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn shown(rows: impl IntoIterator<Item = Row>) -> Vec<String> {
    let mut shown: Vec<String> = rows.into_iter().map(|it| format!("{it:?}")).collect();
    shown.sort_unstable();
    shown
}

/// All rows of a version, as text, sorted.
fn held(snapshot: &Snapshot) -> Vec<String> {
    all_of(&read(snapshot, &Scan::new()))
}

/// The rows of a version of which a thing was told.
fn changed(done: &Committed, table: &Table, change: &str) -> Vec<String> {
    let version = done.version();
    let which = Changes::new(version).to(version).filter(col("_change_type").eq(lit(change)));
    let batches = block_on(async { table.changes(which).await?.collect().await });
    all_of(&batches.unwrap())
}

fn all_of(batches: &[RecordBatch]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let (p, s) = (column("p"), column("s"));
        let (p, s) = (p.as_string::<i32>(), s.as_string::<i32>());
        let (x, f) = (column("x"), column("f"));
        let (x, f) = (x.as_primitive::<Int64Type>(), f.as_primitive::<Float64Type>());
        let text =
            |of: &StringArray, row: usize| of.is_valid(row).then(|| of.value(row).to_string());
        for row in 0..batch.num_rows() {
            let (x, f) =
                (x.is_valid(row).then(|| x.value(row)), f.is_valid(row).then(|| f.value(row)));
            all.push(format!("{:?}", (text(p, row), x, f, text(s, row))));
        }
    }
    all.sort_unstable();
    all
}

/// A filter, and what it says of a row: true, false or null.
#[derive(Clone, Debug)]
enum Filter {
    Part(&'static str),
    Above(i64),
    Fraction(f64),
    Text(&'static str),
    IsNull(&'static str),
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    fn expr(&self) -> Expr {
        match self {
            Filter::Part(it) => col("p").eq(lit(*it)),
            Filter::Above(it) => col("x").gt(lit(*it)),
            Filter::Fraction(it) => col("f").gt(lit(*it)),
            Filter::Text(it) => col("s").eq(lit(*it)),
            Filter::IsNull(name) => Expr::IsNull(Box::new(col(*name))),
            Filter::Not(it) => Expr::Not(Box::new(it.expr())),
            Filter::And(a, b) => Expr::And(vec![a.expr(), b.expr()]),
            Filter::Or(a, b) => Expr::Or(vec![a.expr(), b.expr()]),
        }
    }

    fn of(&self, row: &Row) -> Option<bool> {
        match self {
            Filter::Part(it) => row.0.map(|p| p == *it),
            Filter::Above(it) => row.1.map(|x| *it < x),
            // NaN is the greatest, and equal to itself; the zeros are one.
            Filter::Fraction(it) => row.2.map(|f| *it < f || f.is_nan() && !it.is_nan()),
            Filter::Text(it) => row.3.map(|s| s == *it),
            Filter::IsNull("p") => Some(row.0.is_none()),
            Filter::IsNull("x") => Some(row.1.is_none()),
            Filter::IsNull("f") => Some(row.2.is_none()),
            Filter::IsNull(_) => Some(row.3.is_none()),
            Filter::Not(it) => it.of(row).map(|it| !it),
            Filter::And(a, b) => match (a.of(row), b.of(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Filter::Or(a, b) => match (a.of(row), b.of(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        prop::sample::select(&PARTS[..]).prop_map(Filter::Part),
        (-1..9i64).prop_map(Filter::Above),
        prop::sample::select(&FRACTIONS[..]).prop_map(Filter::Fraction),
        prop::sample::select(&TEXTS[..]).prop_map(Filter::Text),
        prop::sample::select(&["p", "x", "f", "s"][..]).prop_map(Filter::IsNull),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| Filter::Not(Box::new(it))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Filter::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn some_rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.8, prop::sample::select(&PARTS[..])),
        prop::option::weighted(0.8, 0..8i64),
        prop::option::weighted(0.8, prop::sample::select(&FRACTIONS[..])),
        prop::option::weighted(0.8, prop::sample::select(&TEXTS[..])),
    );
    prop::collection::vec(row, 1..=most)
}

/// Which rows each live file holds, by its path.
fn files(snapshot: &Snapshot) -> BTreeMap<String, Vec<i64>> {
    let mut files: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for batch in read(snapshot, &Scan::new().columns(["_file", "x"])) {
        let x = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let path = batch.column(0).as_string::<i32>().value(row).to_string();
            files.entry(path).or_default().push(if x.is_valid(row) { x.value(row) } else { -9 });
        }
    }
    files
}

fn metric(done: &Committed, name: &str) -> u64 {
    done.metrics()[name].as_str().unwrap().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// Rows for which the filter is true leave, all others stay, whatever their files held; and the
    /// log tells as much. So does the change feed, where it is kept.
    ///
    /// spec: OVER-1, OVER-3, OVER-9, CDF-22
    #[test]
    fn rows_that_match_are_replaced(
        written in prop::collection::vec(some_rows(7), 1..4),
        filter in filter(),
        new in some_rows(5),
        partitioned in any::<bool>(),
        fed in any::<bool>(),
    ) {
        let table = table(&memory());
        let by: &[&str] = if partitioned { &["p"] } else { &[] };
        for (number, rows) in written.iter().enumerate() {
            let options = match number {
                0 => Append::new().property("delta.enableChangeDataFeed", fed.to_string()),
                _ => Append::new(),
            };
            let options = options.partition_by(by.iter().copied());
            block_on(table.append(batch(rows), options)).unwrap();
        }
        let before = block_on(table.snapshot()).unwrap();
        let all: Vec<Row> = written.into_iter().flatten().collect();
        let (leave, stay): (Vec<Row>, Vec<Row>) =
            all.into_iter().partition(|it| filter.of(it) == Some(true));

        let fits: Vec<Row> = new.into_iter().filter(|it| filter.of(it) == Some(true)).collect();
        let options = Overwrite::filter(filter.expr());
        let done = block_on(table.overwrite(batch(&fits), options)).unwrap();
        let expected = shown(stay.iter().chain(&fits).copied());
        prop_assert_eq!(held(&done.snapshot()), expected, "{:?}", filter);
        prop_assert_eq!(done.changed(), !(leave.is_empty() && fits.is_empty()));
        if done.changed() {
            prop_assert_eq!(metric(&done, "numOutputRows"), fits.len() as u64);
            prop_assert_eq!(metric(&done, "numDeletedRows"), leave.len() as u64);
            let removed = gone(&before, &done.snapshot());
            prop_assert_eq!(metric(&done, "numRemovedFiles"), removed.len() as u64);
            let held: usize = removed.values().map(Vec::len).sum();
            prop_assert_eq!(metric(&done, "numCopiedRows"), (held - leave.len()) as u64);
            if fed {
                prop_assert_eq!(changed(&done, &table, "delete"), shown(leave));
                prop_assert_eq!(changed(&done, &table, "insert"), shown(fits));
            }
        }
        let deep = Doctor::new().deep(true);
        let report = block_on(table.doctor(deep)).unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.findings());
    }
}

/// Files of one version that another one has no more.
fn gone(before: &Snapshot, after: &Snapshot) -> BTreeMap<String, Vec<i64>> {
    let after: BTreeSet<String> = files(after).into_keys().collect();
    files(before).into_iter().filter(|it| !after.contains(&it.0)).collect()
}

fn numbers(range: impl IntoIterator<Item = i64>) -> RecordBatch {
    let x: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    RecordBatch::try_from_iter([("x", x)]).unwrap()
}

fn above(least: i64) -> Overwrite {
    Overwrite::filter(col("x").gt_eq(lit(least)))
}

/// Statistics tell files that stay and files that leave whole; what is left is read, and rewritten
/// only if it holds both.
///
/// spec: OVER-2, OVER-3, OVER-5
#[test]
fn only_files_of_both_kinds_are_rewritten() {
    let place = memory();
    let table = table(&place);
    for range in [0..10, 10..20, 20..30] {
        block_on(table.append(numbers(range), Append::new())).unwrap();
    }
    // Between its bounds, but not in it.
    block_on(table.append(numbers([0, 100]), Append::new())).unwrap();
    let before = block_on(table.snapshot()).unwrap();
    let sparse = Overwrite::filter(col("x").eq(lit(50)));
    let done = block_on(before.overwrite(numbers([50]), sparse)).unwrap();
    assert_eq!(gone(&before, &done.snapshot()).len(), 0);
    assert_eq!(metric(&done, "numRemovedFiles"), 0);

    let before = done.snapshot();
    let op = Op::default();
    let watched = self::table(&place).with_op(op.clone());
    let some = Overwrite::filter(col("x").gt_eq(lit(15)).and(col("x").lt(lit(40))));
    let done = block_on(watched.overwrite(numbers([16, 17]), some)).unwrap();
    let left: BTreeSet<i64> = gone(&before, &done.snapshot()).into_values().flatten().collect();
    assert_eq!(left, (10..30).collect::<BTreeSet<_>>());
    assert_eq!((metric(&done, "numDeletedRows"), metric(&done, "numCopiedRows")), (15, 5));
    assert_eq!((metric(&done, "numFiles"), metric(&done, "numOutputRows")), (2, 2));
    let mut now: Vec<i64> = files(&done.snapshot()).into_values().flatten().collect();
    now.sort_unstable();
    let expected: Vec<i64> =
        (0..1).chain(0..10).chain([10, 11, 12, 13, 14, 16, 17, 50, 100]).collect();
    assert_eq!(now, expected);
    let info = &done.snapshot().head().commit_info.clone().unwrap().fields;
    assert_eq!(info["isBlindAppend"], false);
    assert_eq!(info["operationParameters"]["predicate"], "x >= 15 AND x < 40");
}

/// A filter on partition columns reads no data, however the partitions are combined.
///
/// spec: OVER-2
#[test]
fn partitions_leave_unread() {
    let place = memory();
    let options = Append::new().partition_by(["p"]);
    block_on(table(&place).append(parts(&[("a", 1), ("b", 2), ("c", 3)]), options)).unwrap();
    let held = block_on(table(&place).snapshot()).unwrap();
    block_on(held.files()).unwrap();
    let op = Op::default();
    let watched = table(&place).with_op(op.clone());
    let snapshot = block_on(watched.snapshot()).unwrap();
    block_on(snapshot.state(&op, lakebed::Width::Wide)).unwrap();
    let before = op.usage().gets;
    let filter = col("p").eq(lit("a")).or(col("p").gt(lit("b")));
    let done = block_on(snapshot.overwrite(parts(&[("a", 9)]), Overwrite::filter(filter))).unwrap();
    assert_eq!(op.usage().gets, before);
    assert_eq!(rows(&done.snapshot()), [2, 9]);
    assert_eq!(metric(&done, "numDeletedRows"), 2);
}

/// New rows that the same overwrite would not replace are refused, unless they are asked for; and
/// whatever fails leaves no file behind.
///
/// spec: OVER-4, OVER-8
#[test]
fn rows_that_do_not_match() {
    let objects = Arc::new(InMemory::new());
    let env = Env::tokio().with_store("mem://", Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let table = Table::open_with(&env, "mem://b/t").unwrap();
    let count = || block_on(objects.list(None).collect::<Vec<_>>()).len();
    block_on(table.append(numbers(0..10), Append::new())).unwrap();
    let before = count();
    let stray = block_on(table.overwrite(numbers([7, 3]), above(5))).err().unwrap();
    assert_eq!(stray.code(), Code::InvalidData);
    assert!(stray.to_string().contains("row 1 "), "{stray}");
    let unknown = Overwrite::filter(col("nope").gt(lit(1)));
    let unknown = block_on(table.overwrite(numbers([7]), unknown)).err().unwrap();
    assert_eq!(unknown.code(), Code::UnknownColumn);
    assert_eq!(count(), before);

    let done = block_on(table.overwrite(numbers([7, 3]), above(5).other_rows(true))).unwrap();
    let mut now: Vec<i64> = files(&done.snapshot()).into_values().flatten().collect();
    now.sort_unstable();
    assert_eq!(now, [0, 1, 2, 3, 3, 4, 7]);

    let held = done.snapshot();
    block_on(table.append(numbers([6]), Append::new())).unwrap();
    let before = count();
    let lost = block_on(held.overwrite(numbers([8]), above(4))).err().unwrap();
    assert_eq!(lost.code(), Code::Conflict);
    assert_eq!(count(), before);

    // A data file that is gone: nothing is committed and nothing stays.
    let held = block_on(table.snapshot()).unwrap();
    let (file, _) = files(&held).into_iter().find(|it| it.1.contains(&0)).unwrap();
    let key = object_store::path::Path::from(format!("b/t/{file}"));
    block_on(objects.delete(&key)).unwrap();
    let before = count();
    let failed = block_on(table.overwrite(numbers([9]), above(1))).err().unwrap();
    assert_eq!(failed.code(), Code::MissingFile);
    assert_eq!(count(), before);
}

/// What others append where rows are replaced conflicts as the level says; elsewhere it does not.
///
/// spec: OVER-5, CON-5, CON-6
#[test]
fn appends_meanwhile() {
    let verdict = |level: &str, appended: i64| {
        let table = table(&memory());
        let options = Append::new().property("delta.isolationLevel", level);
        block_on(table.append(numbers(0..10), options)).unwrap();
        let held = block_on(table.snapshot()).unwrap();
        block_on(table.append(numbers([appended]), Append::new())).unwrap();
        let done = block_on(held.overwrite(numbers([20]), above(5)));
        done.map(|it| files(&it.snapshot()).into_values().flatten().count())
            .map_err(|it| it.conflict().unwrap().reason)
    };
    assert_eq!(verdict("Serializable", 4), Ok(7));
    assert_eq!(verdict("Serializable", 30), Err(Reason::ConcurrentAppend));
    assert_eq!(verdict("WriteSerializable", 30), Ok(7));
}

/// Two overwrites from one version: they may touch other files, not the same.
#[test]
fn overwrites_meanwhile() {
    let table = table(&memory());
    for range in [0..10, 10..20, 20..30] {
        block_on(table.append(numbers(range), Append::new())).unwrap();
    }
    let held = block_on(table.snapshot()).unwrap();
    let between = |low: i64, high: i64| {
        Overwrite::filter(col("x").gt_eq(lit(low)).and(col("x").lt(lit(high))))
    };
    block_on(held.overwrite(numbers([12]), between(11, 14))).unwrap();
    // Another file, by what its own version knows of the file that left.
    block_on(held.overwrite(numbers([22]), between(21, 24))).unwrap();
    let same = block_on(held.overwrite(numbers([17]), between(16, 19))).err().unwrap();
    let conflict = same.conflict().unwrap();
    // What the first one copied is an addition where this one has read.
    assert_eq!(conflict.reason, Reason::ConcurrentAppend);
    assert_eq!((conflict.version.get(), conflict.retry_helps), (3, true));
    let read = block_on(table.snapshot()).unwrap();
    assert_eq!(files(&read).into_values().flatten().count(), 30 - 3 + 1 - 3 + 1);
}

/// A table that keeps its rows keeps them, and one with a change feed is not given a version whose
/// changes would be told wrong.
///
/// spec: OVER-7, TXN-6
#[test]
fn tables_that_refuse() {
    let kept = |key: &str| {
        let table = table(&memory());
        let options = Append::new().property(key, "true");
        block_on(table.append(numbers(0..10), options)).unwrap();
        table
    };
    let append_only = kept("delta.appendOnly");
    let refused = block_on(append_only.overwrite(numbers([7]), above(5))).err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let fed = kept("delta.enableChangeDataFeed");
    let mut txn = block_on(fed.begin()).unwrap();
    let refused = block_on(txn.overwrite(numbers([7]), above(5))).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
    assert!(refused.to_string().contains("change feed"), "{refused}");
    block_on(txn.overwrite(numbers([7]), above(0))).unwrap();
    let done = block_on(txn.commit()).unwrap();
    assert_eq!(metric(&done, "numDeletedRows"), 10);

    // Nor is the feed switched on over rows that were copied.
    let plain = table(&memory());
    block_on(plain.append(numbers(0..10), Append::new())).unwrap();
    let mut txn = block_on(plain.begin()).unwrap();
    block_on(txn.overwrite(numbers([7]), above(5))).unwrap();
    let on = block_on(txn.set_property("delta.enableChangeDataFeed", "true")).err().unwrap();
    assert_eq!(on.code(), Code::UnsupportedProtocol, "{on}");
    block_on(txn.commit()).unwrap();
}

/// Row changes of a version: what became of each number.
fn told(table: &Table, version: u32) -> Vec<(String, i64)> {
    let version = Version::from(version);
    let batches = block_on(async { table.changes(version..=version).await?.collect().await });
    let mut told = Vec::new();
    for batch in batches.unwrap() {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let (change, number) = (column("_change_type"), column("x"));
        let change = change.as_string::<i32>().iter().map(|it| it.unwrap().to_string());
        let number = number.as_primitive::<Int64Type>().values().to_vec();
        told.extend(change.zip(number));
    }
    told.sort();
    told
}

/// A version in which files are rewritten tells what it changes, and no row that was copied: rows
/// that leave, with files that leave whole as well, and those that come.
///
/// spec: OVER-7, CDF-22, CDF-23, CDF-15
#[test]
fn rewritten_files_of_a_table_with_a_feed() {
    let table = table(&memory());
    let kept = Append::new().property("delta.enableChangeDataFeed", "true");
    block_on(table.append(numbers(0..10), kept)).unwrap();
    for from in [10, 20] {
        block_on(table.append(numbers(from..from + 10), Append::new())).unwrap();
    }
    let told_as = |change: &str, numbers: &[i64]| -> Vec<(String, i64)> {
        numbers.iter().map(|it| (change.to_string(), *it)).collect()
    };
    let done = block_on(table.overwrite(numbers([40, 50]), above(15))).unwrap();
    assert_eq!((metric(&done, "numCopiedRows"), metric(&done, "numDeletedRows")), (5, 15));
    assert_eq!(metric(&done, "numAddedChangeFiles"), 3);
    let leave: Vec<i64> = (15..30).collect();
    assert_eq!(told(&table, 3), [told_as("delete", &leave), told_as("insert", &[40, 50])].concat());

    // What leaves whole needs no change file.
    let done = block_on(table.overwrite(numbers([60]), above(39))).unwrap();
    assert!(!done.metrics().contains_key("numAddedChangeFiles"));
    assert_eq!(told(&table, 4), [told_as("delete", &[40, 50]), told_as("insert", &[60])].concat());

    // A column that comes with the rows: each change file has the columns of its time.
    let evolved = Overwrite::filter(col("x").lt(lit(3))).options(Append::new().evolve_schema(true));
    let rows = batch(&[(Some("a"), Some(2), None, Some("s"))]);
    let done = block_on(table.overwrite(rows, evolved)).unwrap();
    assert_eq!(metric(&done, "numCopiedRows"), 7);
    assert_eq!(told(&table, 5), [told_as("delete", &[0, 1, 2]), told_as("insert", &[2])].concat());
    let deep = block_on(table.doctor(Doctor::new().deep(true))).unwrap();
    assert!(deep.is_sound(), "{:?}", deep.findings());
}

/// A draft that deletes rows of the one file of a version by a vector.
fn deleting(env: &Env, snapshot: &Snapshot, deleted: &[u64]) -> Draft {
    let state = block_on(snapshot.state(&Op::default(), Width::Wide)).unwrap();
    let add = state.files.get(state.files.iter().next().unwrap()).unwrap();
    let after: RowSet = deleted.iter().copied().collect();
    let bytes = after.to_bytes();
    let vector = DeletionVector {
        storage_type: "i".to_string(),
        path_or_inline_dv: z85::encode(&bytes),
        offset: None,
        size_in_bytes: i32::try_from(bytes.len()).unwrap(),
        cardinality: i64::try_from(deleted.len()).unwrap(),
    };
    let before = add.deletion_vector.as_ref().map(|it| {
        let store = env.open("memory://").unwrap();
        block_on(lakebed::vector::rows(env, &Op::default(), &store, it)).unwrap()
    });
    let mut draft = Draft {
        txn_id: env.id().to_string(),
        operation: "DELETE".to_string(),
        removes: vec![Remove {
            path: add.path.clone(),
            data_change: true,
            size: Some(add.size),
            deletion_vector: add.deletion_vector.clone(),
            ..Remove::default()
        }],
        ..Draft::default()
    };
    let key = add.deletion_vector.as_ref().map(DeletionVector::unique_id);
    draft.intent.removes.insert((add.path.clone(), key));
    draft.vectors.insert(add.path.clone(), VectorChange { before, after: Arc::new(after) });
    draft.adds.push(Add { deletion_vector: Some(vector), ..add });
    draft
}

/// A table of ten rows that may have vectors.
fn with_vectors(env: &Env, place: &str) -> (Table, Snapshot) {
    let table = Table::open_with(env, place).unwrap();
    let options = Append::new().property("delta.enableDeletionVectors", "true");
    let made = block_on(table.append(numbers(0..10), options)).unwrap().snapshot();
    (table, made)
}

fn committed(env: &Env, place: &str, base: &Snapshot, draft: Draft) -> lakebed::Result<Committed> {
    let (store, op) = (env.open(place).unwrap(), Op::default());
    block_on(txn::commit(env, &op, &store, Some(base), draft))
}

/// Rows that a vector deletes are gone for good when their file is rewritten, and are not counted.
///
/// spec: OVER-3, DV-18
#[test]
fn vectors_are_respected() {
    let (env, place) = (Env::tokio(), memory());
    let (table, made) = with_vectors(&env, &place);
    let commit = |base: &Snapshot, draft| committed(&env, &place, base, draft);
    let once = commit(&made, deleting(&env, &made, &[1, 8])).unwrap().snapshot();
    let twice = commit(&once, deleting(&env, &once, &[1, 4, 8])).unwrap().snapshot();

    let done = block_on(twice.overwrite(numbers([7]), above(5))).unwrap();
    let mut now: Vec<i64> = files(&done.snapshot()).into_values().flatten().collect();
    now.sort_unstable();
    assert_eq!(now, [0, 2, 3, 7]);
    assert_eq!((metric(&done, "numDeletedRows"), metric(&done, "numCopiedRows")), (4, 3));
    let whole = block_on(twice.overwrite(numbers([7]), above(0))).err().unwrap();
    assert_eq!(whole.code(), Code::Conflict);
    let deep = block_on(table.doctor(Doctor::new().deep(true))).unwrap();
    assert!(deep.is_sound(), "{:?}", deep.findings());
    let fresh = block_on(self::table(&place).snapshot()).unwrap();
    assert_eq!(files(&fresh), files(&done.snapshot()));
}

/// Two vectors for one file, each made without the other, would leave the file live twice, or bring
/// rows back: the second writer is told. Nor can a vector be made that forgets rows.
///
/// spec: CON-8, TXN-40, TXN-43
#[test]
fn one_vector_at_a_time() {
    let (env, place) = (Env::tokio(), memory());
    let (table, made) = with_vectors(&env, &place);
    let commit = |base: &Snapshot, draft| committed(&env, &place, base, draft);
    let (one, other) = (deleting(&env, &made, &[1]), deleting(&env, &made, &[8]));
    let done = commit(&made, one).unwrap().snapshot();
    let lost = commit(&made, other).err().unwrap();
    let conflict = lost.conflict().unwrap();
    assert_eq!(conflict.reason, Reason::ConcurrentDeleteDelete);
    assert_eq!(conflict.files.len(), 1);
    let over = block_on(made.overwrite(numbers([7]), above(5))).err().unwrap();
    assert_eq!(over.conflict().unwrap().reason, Reason::ConcurrentDeleteRead);

    let forgets = commit(&done, deleting(&env, &done, &[2, 3])).err().unwrap();
    assert_eq!(forgets.code(), Code::Internal);
    assert!(forgets.to_string().contains("row 1 was deleted before"), "{forgets}");
    let mut gone = deleting(&env, &done, &[1, 3]);
    gone.removes[0].deletion_vector = None;
    let key = (gone.removes[0].path.clone(), None);
    gone.intent.removes.insert(key);
    let gone = commit(&done, gone).err().unwrap();
    assert!(gone.to_string().contains("is not live in version 1"), "{gone}");
    assert_eq!(files(&block_on(table.snapshot()).unwrap()).into_values().flatten().count(), 9);
}

/// Data files whose statistics inside hide the first row that matches.
struct Hiding;

impl Codec for Hiding {
    fn extension(&self, options: &FileOptions) -> String {
        Parquet.extension(options)
    }

    fn read(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        source: Source,
        deleted: Deletions,
    ) -> BoxStream<'static, lakebed::Result<RecordBatch>> {
        let hides = source.filter.is_some();
        let rows = Parquet.read(env, op, store, source, deleted);
        let hidden = |it: RecordBatch| it.slice(it.num_rows() - 1, 1);
        rows.map(move |it| if hides { it.map(hidden) } else { it }).boxed()
    }

    fn write(
        &self,
        env: &Env,
        op: &Op,
        upload: Box<dyn Upload>,
        schema: SchemaRef,
        options: &FileOptions,
    ) -> lakebed::Result<Box<dyn FileWriter>> {
        Parquet.write(env, op, upload, schema, options)
    }
}

/// What a file hides from a filter is not taken for what it holds.
///
/// spec: OVER-6, OVER-8
#[test]
fn files_that_hide_rows() {
    let objects = Arc::new(InMemory::new());
    let env = Env::tokio().with_store("mem://", Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let env = env.with_codec(Arc::new(Hiding));
    let table = Table::open_with(&env, "mem://b/t").unwrap();
    block_on(table.append(numbers(0..10), Append::new())).unwrap();
    let count = || block_on(objects.list(None).collect::<Vec<_>>()).len();
    let before = count();
    let refused = block_on(table.overwrite(numbers([7]), above(5))).err().unwrap();
    assert_eq!(refused.code(), Code::CorruptData);
    assert!(refused.to_string().contains("5 rows match the filter, but 1"), "{refused}");
    assert_eq!(count(), before);
}

/// The log may tell fewer rows than a file has; those that do not match stay all the same.
///
/// spec: OVER-3
#[test]
fn rows_that_the_log_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    block_on(table(place).append(numbers(0..10), Append::new())).unwrap();
    let commit = folder.path().join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&commit).unwrap();
    // As somebody else's, who does not say how long the commit is.
    let lines: Vec<&str> = text.lines().filter(|it| !it.contains("commitInfo")).collect();
    let text = lines.join("\n").replace(r#"\"numRecords\":10"#, r#"\"numRecords\":5"#);
    assert!(text.contains(r#"\"numRecords\":5"#), "{text}");
    std::fs::write(&commit, text).unwrap();
    std::fs::remove_file(commit.with_extension("crc")).unwrap();

    let done = block_on(table(place).overwrite(numbers([7]), above(5))).unwrap();
    let mut now: Vec<i64> = files(&done.snapshot()).into_values().flatten().collect();
    now.sort_unstable();
    assert_eq!(now, [0, 1, 2, 3, 4, 7]);
}

/// A file much larger than memory goes through it in batches.
///
/// spec: OVER-3
#[test]
fn large_files_in_little_memory() {
    let env = Env::tokio();
    let place = memory();
    let table = Table::open_with(&env, &place).unwrap();
    let scattered = |it: i64| it.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> 8;
    let layout = Layout { row_group_rows: 20_000, ..Layout::default() };
    let all: Vec<RecordBatch> =
        (0..60).map(|at| numbers((at * 10_000..(at + 1) * 10_000).map(scattered))).collect();
    block_on(table.append(all, Append::new().layout(layout.clone()))).unwrap();

    let small = env.with_budget(6 << 20);
    let table = Table::open_with(&small, &place).unwrap();
    let options = Append::new().layout(layout);
    let over = above(0).options(options);
    let done = block_on(table.overwrite(numbers([7]), over)).unwrap();
    let negative = (0..600_000).map(scattered).filter(|it| *it < 0).count() as u64;
    assert_eq!(metric(&done, "numCopiedRows"), negative);
    assert_eq!(metric(&done, "numDeletedRows"), 600_000 - negative);
    assert_eq!((small.budget().used(), small.write_budget().used()), (0, 0));
    let low = Scan::new().filter(col("x").lt(lit(0)));
    let kept: usize = read(&done.snapshot(), &low).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(kept as u64, negative);
}
