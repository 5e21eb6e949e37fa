//! Rows written, planned and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use futures::executor::block_on;
use lakebed_log::action::{Action, Add, DeletionVector, Metadata, Protocol};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::error::{Code, Result};
use lakebed_log::expr::{Expr, col, lit};
use lakebed_log::replay::Replay;
use lakebed_log::row_set::RowSet;
use lakebed_log::scan::{Scan, plan};
use lakebed_log::schema::Schema;
use lakebed_log::state::TableState;
use lakebed_log::version::Version;

use super::read;
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;
use crate::write::{Layout, write};

/// A table of one commit, without a log in its store.
struct Bed {
    env: Env,
    store: Store,
    actions: Vec<Action>,
    state: TableState,
}

impl Bed {
    fn new(ddl: &str, partition_columns: &[&str], writes: Vec<RecordBatch>) -> Bed {
        let env = Env::tokio();
        let store = env.open(&format!("memory://{}", env.id())).unwrap();
        let schema = Schema::parse_ddl(ddl).unwrap();
        let partition_columns: Vec<String> =
            partition_columns.iter().map(|it| (*it).to_string()).collect();
        let metadata = Metadata {
            id: "5b1c5a6e-0000-4000-8000-000000000000".into(),
            name: None,
            description: None,
            format_provider: "parquet".into(),
            format_options: BTreeMap::new(),
            schema_string: schema.to_json(),
            partition_columns: partition_columns.clone(),
            configuration: BTreeMap::new(),
            created_time: None,
        };
        let mut actions = vec![Action::Protocol(Protocol::legacy()), Action::Metadata(metadata)];
        let properties = lakebed_log::property::Properties::read(&BTreeMap::new());
        for batch in writes {
            let adds = block_on(write(
                &env,
                &Op::default(),
                &store,
                batch.into(),
                "",
                &schema,
                &partition_columns,
                &properties,
                &Layout::default(),
                &crate::env::Deadline::new(&env, crate::op::DEADLINE, crate::op::DEADLINE, "t"),
            ));
            actions.extend(adds.unwrap().into_iter().map(Action::Add));
        }
        let state = state_of(&actions);
        Bed { env, store, actions, state }
    }

    /// The same files, described in another way.
    fn with(&self, change: impl FnOnce(&mut Metadata, Vec<&mut Add>)) -> Bed {
        let mut actions = self.actions.clone();
        let (mut metadata, mut adds) = (None, Vec::new());
        for action in &mut actions {
            match action {
                Action::Metadata(it) => metadata = Some(it),
                Action::Add(it) => adds.push(it),
                Action::Protocol(it) => {
                    use lakebed_log::feature::TableFeature as F;
                    *it = it.with_features(&[F::DeletionVectors, F::RowTracking]);
                }
                _ => {}
            }
        }
        change(metadata.unwrap(), adds);
        let state = state_of(&actions);
        Bed { env: self.env.clone(), store: self.store.clone(), actions, state }
    }

    /// The same without the rows at these positions, file by file, by vectors in one file.
    fn deleting(&self, rows: &[&[u64]]) -> Bed {
        let mut bytes = vec![1];
        let bed = self.with(|_, adds| {
            for (add, rows) in adds.into_iter().zip(rows).filter(|it| !it.1.is_empty()) {
                let payload = rows.iter().copied().collect::<RowSet>().to_bytes();
                add.deletion_vector = Some(DeletionVector {
                    storage_type: "u".to_string(),
                    path_or_inline_dv: format!("vectors{}", "0".repeat(20)),
                    offset: Some(i32::try_from(bytes.len()).unwrap()),
                    size_in_bytes: i32::try_from(payload.len()).unwrap(),
                    cardinality: i64::try_from(rows.len()).unwrap(),
                });
                bytes.extend(lakebed_log::row_set::frame(&payload).unwrap());
            }
        });
        let key = "vectors/deletion_vector_00000000-0000-0000-0000-000000000000.bin";
        block_on(self.store.put(&Op::default(), key, bytes.into())).unwrap();
        bed
    }

    fn code(&self, columns: &[&str]) -> Code {
        self.read(&Scan::new().columns(columns.iter().copied())).unwrap_err().code()
    }

    fn read(&self, scan: &Scan) -> Result<(Vec<RecordBatch>, Op)> {
        let plan = plan(&self.state, self.state.head.read, scan)?;
        let op = Op::default();
        let rows = read(&self.env, &op, &self.store, Arc::new(plan));
        let schema = Arc::clone(rows.schema());
        let rows = block_on(rows.collect())?;
        assert!(rows.iter().all(|it| it.schema() == schema && 0 < it.num_rows()));
        assert_eq!(op.usage().rows, rows.iter().map(|it| it.num_rows() as u64).sum::<u64>());
        Ok((rows, op))
    }

    /// Rows as words, columns separated by commas.
    fn rows(&self, scan: &Scan) -> Vec<String> {
        let show = |array: &ArrayRef, row: usize| match array.data_type() {
            arrow_schema::DataType::Null => "-".to_string(),
            _ if array.is_null(row) => "-".to_string(),
            arrow_schema::DataType::Utf8 => array.as_string::<i32>().value(row).to_string(),
            _ => array.as_primitive::<Int64Type>().value(row).to_string(),
        };
        let (batches, _) = self.read(scan).unwrap();
        let row = |batch: &RecordBatch, row: usize| {
            batch.columns().iter().map(|it| show(it, row)).collect::<Vec<_>>().join(",")
        };
        batches
            .iter()
            .flat_map(|it| (0..it.num_rows()).map(|at| row(it, at)).collect::<Vec<_>>())
            .collect()
    }
}

fn state_of(actions: &[Action]) -> TableState {
    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    replay.feed(LogBatch::from_actions(actions).unwrap()).unwrap();
    replay.finish().unwrap()
}

fn batch(n: impl IntoIterator<Item = Option<i64>>, p: &[Option<&str>]) -> RecordBatch {
    let n: ArrayRef = Arc::new(Int64Array::from_iter(n));
    let p: ArrayRef = Arc::new(StringArray::from(p.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("n", n, true), ("p", p, true)]).unwrap()
}

/// Two commits' worth of rows in three partitions, one of them null.
fn bed() -> Bed {
    let (a, b) = (Some("a"), Some("b"));
    Bed::new(
        "n long, p string, late string, v void",
        &["p"],
        vec![
            batch([Some(1), Some(2), None, Some(4)], &[a, b, a, None]),
            batch([Some(5), Some(6)], &[b, b]),
        ],
    )
}

/// Columns come in the order asked for; partition values from the log, void and late columns as
/// null; the filter sees every row and may name columns that are not asked for.
///
/// spec: DATA-2, DATA-4
#[test]
fn columns_and_filter() {
    let bed = bed();
    let check = |columns: &[&str], filter: Option<Expr>, expected: &[&str]| {
        let scan = Scan::new().columns(columns.iter().copied());
        let scan = filter.into_iter().fold(scan, Scan::filter);
        let mut rows = bed.rows(&scan);
        rows.sort();
        assert_eq!(rows, expected, "{scan:?}");
    };
    check(&["n", "p"], None, &["-,a", "1,a", "2,b", "4,-", "5,b", "6,b"]);
    check(&["p", "n", "v", "late"], Some(col("n").lt(lit(2))), &["a,1,-,-"]);
    check(&["n"], Some(col("p").eq(lit("b"))), &["2", "5", "6"]);
    check(&["p"], Some(col("n").gt(lit(4))), &["b", "b"]);
    check(&["p"], None, &["-", "a", "a", "b", "b", "b"]);
    check(&["n"], Some(col("n").gt(lit(100))), &[]);
    check(&["n"], Some(col("late").is_null().and(col("n").eq(lit(4)))), &["4"]);
}

/// The limit holds across files, for rows and for rows without columns.
#[test]
fn limit_is_exact() {
    let bed = bed();
    for limit in 0..8 {
        let scan = Scan::new().columns(["n"]).limit(limit);
        assert_eq!(bed.rows(&scan).len() as u64, limit.min(6));
        let none = Scan::new().columns(Vec::<String>::new()).limit(limit);
        let (batches, _) = bed.read(&none).unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows as u64, limit.min(6));
    }
}

/// Rows come in the order of the plan and of the files, however many are read at once, and batches
/// are no larger than asked.
#[test]
fn order_is_that_of_the_plan() {
    let writes = (0..40).map(|at| {
        let n = (0..100).map(|it| Some(at * 100 + it));
        batch(n, &vec![None; 100])
    });
    let bed = Bed::new("n long, p string", &[], writes.collect());
    let scan = Scan::new().columns(["n"]).batch_rows(33);
    let (batches, op) = bed.read(&scan).unwrap();
    assert!(batches.iter().all(|it| it.num_rows() <= 33));
    let read: Vec<i64> = batches
        .iter()
        .flat_map(|it| it.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(read, (0..4000).collect::<Vec<_>>());
    assert_eq!(op.usage().gets, 40, "a small file is one request");

    let little = Bed { env: bed.env.with_budget(1 << 20), ..bed };
    assert_eq!(little.rows(&scan).len(), 4000);
}

/// A long partition value stands in every row, so there are fewer rows in a batch.
#[test]
fn long_partition_values_make_short_batches() {
    let long = "p".repeat(10_000);
    let rows = batch((0..1000).map(Some), &vec![Some(long.as_str()); 1000]);
    let bed = Bed::new("n long, p string", &["p"], vec![rows]);
    let (batches, _) = bed.read(&Scan::new()).unwrap();
    assert!(batches.iter().all(|it| it.num_rows() <= 420));
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
    let (batches, _) = bed.read(&Scan::new().columns(["n"])).unwrap();
    assert_eq!(batches.len(), 1);
}

/// A file that is gone is the table's damage, named with the table and the path; dropping a read
/// gives its memory back.
///
/// spec: DATA-5
#[test]
fn missing_files_are_named() {
    let bed = bed();
    let all = plan(&bed.state, bed.state.head.read, &Scan::new()).unwrap();
    block_on(bed.store.delete(&Op::default(), &all.tasks()[1].key)).unwrap();
    let err = bed.read(&Scan::new()).unwrap_err();
    assert_eq!(err.code(), Code::MissingFile);
    let place = err.to_string();
    assert!(place.starts_with("memory://") && place.contains(".parquet: "), "{place}");

    let plan = plan(&bed.state, bed.state.head.read, &Scan::new()).unwrap();
    let env = bed.env.with_budget(64 << 20);
    let mut rows = read(&env, &Op::default(), &bed.store, Arc::new(plan));
    let _ = block_on(rows.next());
    drop(rows);
    // A job under way keeps its memory to its end.
    while 0 < env.budget().used() {
        block_on(env.sleep(std::time::Duration::from_millis(1)));
    }
}

/// Files of one column, `n` from `first` on.
fn numbers(files: &[(i64, i64)]) -> Bed {
    let rows = files.iter().map(|(first, count)| {
        let count = usize::try_from(*count).unwrap();
        batch((*first..).take(count).map(Some), &vec![None; count])
    });
    Bed::new("n long, p string", &[], rows.collect())
}

/// Deleted rows do not come, whatever else is asked for; the vectors of all files are one request.
///
/// spec: DV-7, DV-17, DV-18, DV-20, DV-21
#[test]
fn deleted_rows_do_not_come() {
    let bed = numbers(&[(0, 5), (10, 5), (20, 5), (30, 5)]);
    let bed = bed.deleting(&[&[0, 4], &[], &[0, 1, 2, 3, 4], &[2]]);
    let check = |scan: Scan, expected: &[&str]| assert_eq!(bed.rows(&scan), expected, "{scan:?}");
    let n = || Scan::new().columns(["n"]);
    let left = ["1", "2", "3", "10", "11", "12", "13", "14", "30", "31", "33", "34"];
    check(n(), &left);
    check(n().batch_rows(2), &left);
    check(n().limit(4), &left[..4]);
    check(n().filter(col("n").lt(lit(2)).or(col("n").gt(lit(31)))), &["1", "33", "34"]);
    // Statistics do not know what is deleted.
    check(n().filter(col("n").eq(lit(32))), &[]);
    check(n().filter(col("p").is_null()).limit(100), &left);
    let (batches, op) = bed.read(&Scan::new().columns(Vec::<String>::new())).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), left.len());
    assert_eq!(op.usage().gets, 5, "a request a data file and one for the vectors");
}

/// spec: DV-19
#[test]
fn vectors_of_other_files_are_refused() {
    let bed = numbers(&[(0, 5), (10, 5)]);
    assert_eq!(bed.deleting(&[&[4], &[4]]).rows(&Scan::new().columns(["n"])).len(), 8);
    assert_eq!(bed.deleting(&[&[4], &[5]]).code(&["n"]), Code::CorruptDv);
    assert_eq!(bed.deleting(&[&[], &[1 << 40]]).code(&["n"]), Code::CorruptDv);
    assert_eq!(bed.deleting(&[&[], &[1 << 40]]).code(&[]), Code::CorruptDv);
}

/// Positions and paths are those in the file, whatever is deleted, filtered and cut off.
///
/// spec: ROW-6, ROW-9
#[test]
fn where_rows_lie() {
    let bed = numbers(&[(0, 5), (10, 5)]).deleting(&[&[1], &[0, 3]]);
    let all = plan(&bed.state, bed.state.head.read, &Scan::new()).unwrap();
    let paths: Vec<&str> = all.tasks().iter().map(|it| it.path.as_str()).collect();
    let check = |scan: Scan, expected: &[(i64, usize, i64)]| {
        let scan = scan.columns(["n", "_file", "_row_index"]).batch_rows(2);
        let row = |it: &(i64, usize, i64)| format!("{},{},{}", it.0, paths[it.1], it.2);
        assert_eq!(bed.rows(&scan), expected.iter().map(row).collect::<Vec<_>>(), "{scan:?}");
    };
    let rows = [(0, 0, 0), (2, 0, 2), (3, 0, 3), (4, 0, 4), (11, 1, 1), (12, 1, 2), (14, 1, 4)];
    check(Scan::new(), &rows);
    check(Scan::new().limit(5), &rows[..5]);
    check(Scan::new().filter(col("n").gt(lit(11))), &rows[5..]);
    check(Scan::new().filter(col("_row_index").eq(lit(4))), &[rows[3], rows[6]]);
    check(Scan::new().filter(col("_file").eq(lit(paths[1]))), &rows[4..]);
    let index = Scan::new().columns(["_row_index"]).filter(col("n").eq(lit(3)));
    assert_eq!(bed.rows(&index), ["3"]);
}

/// A column of the table is meant before one of ours.
///
/// spec: ROW-8
#[test]
fn columns_of_the_table_come_first() {
    let rows = batch([Some(7), Some(8)], &[None, None]);
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::clone(rows.column(0)), true),
        ("_ROW_INDEX", Arc::clone(rows.column(0)), true),
    ]);
    let bed = Bed::new("n long, _ROW_INDEX long", &[], vec![rows.unwrap()]);
    let check = |columns: &[&str], expected: &[&str]| {
        let mut rows = bed.rows(&Scan::new().columns(columns.iter().copied()));
        rows.iter_mut().for_each(|it| it.truncate(4));
        assert_eq!(rows, expected, "{columns:?}");
    };
    check(&["_row_index"], &["7", "8"]);
    check(&["_row_index", "n"], &["7,7", "8,8"]);
    let scan = Scan::new().columns(["n"]).filter(col("_row_index").eq(lit(8)));
    assert_eq!(bed.rows(&scan), ["8"]);
}

/// Ids and versions come from the rows where they have them, and from the file else.
///
/// spec: ROW-1, ROW-2, ROW-3, ROW-4, ROW-5, ROW-7, ROW-9
#[test]
fn which_rows_they_are() {
    let column = |of: [Option<i64>; 3]| -> ArrayRef { Arc::new(Int64Array::from(of.to_vec())) };
    let rows = |n, id, version| {
        let columns = [("n", n), ("ids", id), ("versions", version)];
        let columns = columns.map(|it| (it.0, column(it.1), true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let (one, none) = ([Some(1), Some(2), Some(3)], [None; 3]);
    let moved =
        rows(one.map(|it| it.map(|it| it + 10)), [None, Some(5), None], [Some(2), None, None]);
    let bed = Bed::new("n long, ids long, versions long", &[], vec![rows(one, none, none), moved]);
    let tracking = |on: &str| {
        let property = |key: &str, to: &str| (format!("delta.{key}"), to.to_string());
        BTreeMap::from([
            property("enableRowTracking", on),
            property("rowTracking.materializedRowIdColumnName", "ids"),
            property("rowTracking.materializedRowCommitVersionColumnName", "versions"),
        ])
    };
    let tracked = |on: &str, first: Option<i64>| {
        bed.with(|metadata, mut adds| {
            metadata.schema_string = Schema::parse_ddl("n long").unwrap().to_json();
            metadata.configuration = tracking(on);
            adds.iter_mut().for_each(|it| it.stats = None);
            adds[0].base_row_id = first;
            adds[0].default_row_commit_version = Some(7);
            adds[1].base_row_id = Some(200);
            adds[1].default_row_commit_version = Some(8);
        })
    };
    let columns = ["n", "_row_id", "_commit_version"];
    let check = |bed: &Bed, scan: Scan, expected: &[&str]| {
        assert_eq!(bed.rows(&scan.columns(columns)), expected);
    };
    let good = tracked("true", Some(100));
    let all = ["1,100,7", "2,101,7", "3,102,7", "11,200,2", "12,5,8", "13,202,8"];
    check(&good, Scan::new(), &all);
    check(
        &good,
        Scan::new().filter(col("_row_id").gt(lit(101)).and(col("n").lt(lit(12)))),
        &all[2..4],
    );
    check(&good, Scan::new().filter(col("_commit_version").lt(lit(7))), &all[3..4]);
    check(&good.deleting(&[&[0, 1], &[0]]), Scan::new().limit(2), &[all[2], all[4]]);
    assert_eq!(good.rows(&Scan::new().filter(col("_row_id").eq(lit(5)))), ["12"]);

    assert_eq!(tracked("true", None).code(&columns), Code::InvalidAction);
    assert_eq!(tracked("true", Some(i64::MAX - 1)).code(&columns), Code::InvalidAction);
    assert_eq!(tracked("true", None).rows(&Scan::new().columns(["n"])).len(), 6);
    for untracked in [tracked("false", Some(100)), numbers(&[(0, 1)])] {
        for column in ["_row_id", "_commit_version"] {
            let err = untracked.read(&Scan::new().columns([column])).unwrap_err();
            assert_eq!(err.code(), Code::UnknownColumn);
            assert!(err.to_string().contains("rowTracking"), "{err}");
        }
    }
}

/// Files of another table are read only below a root that is allowed, and never by the same name.
///
/// spec: FILE-28, FILE-29
#[test]
fn files_of_other_tables() {
    let source = numbers(&[(0, 3), (10, 3)]);
    let clone = Bed::new("n long, p string", &[], vec![batch([Some(5)], &[None])]);
    let root = source.store.root().to_string();
    let clone = clone.with(|_, mut adds| {
        for (at, action) in
            source.actions.iter().filter(|it| matches!(it, Action::Add(_))).take(1).enumerate()
        {
            let Action::Add(add) = action else { continue };
            *adds[at] = Add { path: format!("{root}/{}", add.path), ..add.clone() };
        }
    });
    assert_eq!(clone.code(&["n"]), Code::UnsupportedPath);
    let allowed = Bed { env: clone.env.allow_root(&root).unwrap(), ..clone };
    assert_eq!(allowed.rows(&Scan::new().columns(["n"])), ["0", "1", "2"]);
    let paths = allowed.rows(&Scan::new().columns(["_file"]).limit(1));
    assert!(paths[0].starts_with(&root), "{paths:?}");
    // Its own root may be spelled out, too.
    let own = source
        .with(|_, adds| adds.into_iter().for_each(|it| it.path = format!("{root}/{}", it.path)));
    assert_eq!(own.rows(&Scan::new().columns(["n"])).len(), 6);
}
