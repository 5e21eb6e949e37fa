//! Rows written, planned and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use futures::executor::block_on;
use lakebed_log::action::{Action, Metadata, Protocol};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::error::{Code, Result};
use lakebed_log::expr::{Expr, col, lit};
use lakebed_log::replay::Replay;
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
                &schema,
                &partition_columns,
                &properties,
                &Layout::default(),
                &crate::env::Deadline::new(&env, crate::op::DEADLINE, crate::op::DEADLINE, "t"),
            ));
            actions.extend(adds.unwrap().into_iter().map(Action::Add));
        }
        let mut replay = Replay::new(Version::ZERO, Width::Wide);
        replay.feed(LogBatch::from_actions(&actions).unwrap()).unwrap();
        Bed { env, store, state: replay.finish().unwrap() }
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
