//! Tables of `testdata/golden`: by other engines and by earlier builds, each with the rows that it
//! has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::{Array, ArrayRef, RecordBatch};
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed::feed::Changes;
use lakebed::{
    Env, Expr, PrimitiveType, Scan, Snapshot, Table, Value, Version, lit, variants_as_text,
};
use lakebed_testkit::rows::{difference, multiset, read_parquet};

/// Least number of files of rows that are read, by the folder of the writer.
const TABLES_MIN: &[(&str, u64)] = &[("delta-rs", 3), ("duckdb", 4), ("lakebed", 2), ("spark", 39)];
/// Least number of tables that are filtered.
const FILTERED_MIN: &[(&str, u64)] =
    &[("delta-rs", 3), ("duckdb", 4), ("lakebed", 2), ("spark", 29)];
/// Least number of change feeds that are read.
const FEEDS_MIN: &[(&str, u64)] = &[("spark", 2)];

/// What stands in one file of expected rows.
struct Expected {
    /// The folder of who wrote it.
    writer: String,
    file: PathBuf,
    table: PathBuf,
    version: Option<u64>,
    changes: bool,
}

/// Folders of writers: those of the checkout, and others that were made for this run.
fn roots() -> Vec<PathBuf> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    std::iter::once(kept).chain(std::env::var_os("LAKEBED_GOLDEN").map(PathBuf::from)).collect()
}

/// `NAME.parquet`, `NAME@VERSION.parquet` or `NAME.changes.parquet`, for each writer.
fn expected() -> Vec<Expected> {
    let mut found = Vec::new();
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    let writers = roots().into_iter().flat_map(|it| fs::read_dir(it).unwrap());
    for writer in writers.map(|it| it.unwrap().path()) {
        for file in fs::read_dir(writer.join("expected")).unwrap().map(|it| it.unwrap().path()) {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let (stem, changes) = match stem.strip_suffix(".changes") {
                Some(stem) => (stem, true),
                None => (stem, false),
            };
            let (name, version) = match stem.split_once('@') {
                Some((name, version)) => (name, Some(version.parse().unwrap())),
                None => (stem, None),
            };
            let table = writer.join("tables").join(name);
            if !file.to_string_lossy().contains(&part) {
                continue;
            }
            let writer = writer.file_name().unwrap().to_string_lossy().into_owned();
            found.push(Expected { writer, file: file.clone(), table, version, changes });
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// Every writer had its share, unless only some cases were asked for.
fn enough(ran: &BTreeMap<String, u64>, least: &[(&str, u64)]) {
    if std::env::var_os("LAKEBED_CASES").is_none() {
        for (writer, least) in least {
            let ran = ran.get(*writer).copied().unwrap_or(0);
            assert!(*least <= ran, "only {ran} of at least {least} cases of {writer} ran");
        }
    }
}

async fn open(case: &Expected) -> Result<Snapshot, lakebed::Error> {
    let table = Table::open_with(&Env::tokio(), &case.table.to_string_lossy())?;
    match case.version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await,
        None => table.snapshot().await,
    }
}

async fn rows(case: &Expected, theirs: &[RecordBatch]) -> Result<Vec<RecordBatch>, lakebed::Error> {
    let snapshot = open(case).await?;
    let shape = theirs.first().map(|it| it.schema()).unwrap();
    let columns = shape.fields().iter().map(|it| it.name().clone());
    let batches: Vec<_> = snapshot.read(&Scan::new().columns(columns)).await?.try_collect().await?;
    let all = snapshot.schema().fields().iter().all(|it| shape.field_with_name(&it.name).is_ok());
    assert!(all, "{} lacks columns", case.file.display());
    batches.iter().map(variants_as_text).collect()
}

/// Every table is read back equal: no row more, none less, every value the same.
///
/// `LAKEBED_CASES` reads only those whose file of rows holds it.
///
/// spec: WIDE-3, WIDE-4, VAR-3, VAR-4, VAR-5, VAR-6, VAR-7, VAR-9, FILE-27
#[test]
fn tables_read_back_equal() {
    let mut wrong = Vec::new();
    let mut read = BTreeMap::new();
    for case in expected().into_iter().filter(|it| !it.changes) {
        let name = case.file.display();
        let theirs = read_parquet(&case.file).unwrap();
        match block_on(rows(&case, &theirs)) {
            Ok(ours) => {
                let (ours, theirs) = (multiset(&ours).unwrap(), multiset(&theirs).unwrap());
                wrong.extend(difference(&ours, &theirs).map(|it| format!("{name}: {it}")));
                *read.entry(case.writer.clone()).or_default() += 1;
            }
            Err(error) => wrong.push(format!("{name}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} are wrong, of {read:?}:\n{}", wrong.len(), wrong.join("\n"));
    enough(&read, TABLES_MIN);
}

/// The rows in which a column has a value, or null.
fn matches(batches: &[RecordBatch], name: &str, wanted: Option<&Value>) -> usize {
    let column = |it: &RecordBatch| {
        let array = it.column_by_name(name).unwrap().clone();
        (0..array.len()).map(move |row| Value::from_array(&array, row).unwrap()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).filter(|it| it.as_ref() == wanted).count()
}

/// Whatever the statistics and partition values of a writer are, a filter finds every row.
///
/// spec: WIDE-4, WIDE-5, WIDE-6, STATS-14
#[test]
fn filters_find_every_row() {
    /// Values of a column that are asked for.
    const VALUES_MAX: usize = 4;
    let mut filtered = BTreeMap::new();
    for case in expected().into_iter().filter(|it| !it.changes && it.version.is_none()) {
        let snapshot =
            block_on(open(&case)).unwrap_or_else(|it| panic!("{}: {it}", case.file.display()));
        let mut asked = 0;
        let read = |scan: Scan| -> Vec<RecordBatch> {
            block_on(async { snapshot.read(&scan).await?.try_collect().await })
                .unwrap_or_else(|it: lakebed::Error| panic!("{}: {it}", case.file.display()))
        };
        let all = read(Scan::new());
        for field in snapshot.schema().fields() {
            let Some(of) = field.data_type.primitive() else { continue };
            if matches!(of, PrimitiveType::Variant | PrimitiveType::Void) {
                continue;
            }
            let array = |it: &RecordBatch| it.column_by_name(&field.name).unwrap().clone();
            let cell = |it: ArrayRef| {
                (0..it.len()).map(|row| Value::from_array(&it, row).unwrap()).collect::<Vec<_>>()
            };
            let values = all.iter().flat_map(|it| cell(array(it)));
            for value in values.take(VALUES_MAX) {
                let column = || Expr::Column(vec![field.name.clone()]);
                let filters = match &value {
                    None => vec![column().is_null()],
                    Some(it) => vec![
                        column().eq(lit(it.clone())),
                        column().gt_eq(lit(it.clone())).and(column().lt_eq(lit(it.clone()))),
                    ],
                };
                for filter in filters {
                    let place = format!("{}: {filter}", case.file.display());
                    let found = read(Scan::new().filter(filter).columns([field.name.clone()]));
                    let rows = matches(&found, &field.name, value.as_ref());
                    assert_eq!(rows, matches(&all, &field.name, value.as_ref()), "{place}");
                    assert_eq!(
                        found.iter().map(|it| it.num_rows()).sum::<usize>(),
                        rows,
                        "{place}"
                    );
                    asked += 1;
                }
            }
        }
        assert!(0 < asked, "{}: nothing was asked", case.file.display());
        *filtered.entry(case.writer.clone()).or_default() += 1;
    }
    enough(&filtered, FILTERED_MIN);
}

/// The change rows that Spark reads, from the first version on.
///
/// spec: CDF-1
#[test]
fn change_rows_read_back_equal() {
    let mut read = BTreeMap::new();
    for case in expected().into_iter().filter(|it| it.changes) {
        let theirs = read_parquet(&case.file).unwrap();
        let shape = theirs.first().map(|it| it.schema()).unwrap();
        let ours = block_on(async {
            let table = Table::open_with(&Env::tokio(), &case.table.to_string_lossy())?;
            table.changes(Changes::new(Version::ZERO)).await?.collect().await
        });
        let ours = ours.unwrap_or_else(|it| panic!("{}: {it}", case.file.display()));
        // The times are those of files, which no checkout keeps.
        let kept: Vec<RecordBatch> = ours
            .iter()
            .map(|it| {
                let names = shape.fields().iter().map(|it| it.name().as_str());
                let places: Vec<usize> =
                    names.map(|name| it.schema().index_of(name).unwrap()).collect();
                assert_eq!(it.num_columns(), places.len() + 1);
                it.project(&places).unwrap()
            })
            .collect();
        let (ours, theirs) = (multiset(&kept).unwrap(), multiset(&theirs).unwrap());
        assert_eq!(difference(&ours, &theirs), None, "{}", case.file.display());
        *read.entry(case.writer.clone()).or_default() += 1;
    }
    enough(&read, FEEDS_MIN);
}
