//! Tables of `testdata/golden`: by other engines and by earlier builds, each with the rows that it
//! has.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed::{Env, Scan, Table, Version};
use lakebed_log::schema::variants_as_text;
use lakebed_testkit::rows::{difference, multiset, read_parquet};

/// What stands in one file of expected rows.
struct Expected {
    file: PathBuf,
    table: PathBuf,
    version: Option<u64>,
    changes: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

/// `NAME.parquet`, `NAME@VERSION.parquet` or `NAME.changes.parquet`, for each writer.
fn expected() -> Vec<Expected> {
    let mut found = Vec::new();
    for writer in fs::read_dir(root()).unwrap().map(|it| it.unwrap().path()) {
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
            found.push(Expected { file: file.clone(), table, version, changes });
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

async fn rows(case: &Expected, theirs: &[RecordBatch]) -> Result<Vec<RecordBatch>, lakebed::Error> {
    let table = Table::open_with(&Env::tokio(), &case.table.to_string_lossy())?;
    let snapshot = match case.version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await?,
        None => table.snapshot().await?,
    };
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
/// spec: WIDE-3, WIDE-4, WIDE-5, WIDE-6, VAR-3, VAR-4, VAR-5, VAR-6, VAR-7
#[test]
fn tables_read_back_equal() {
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    let mut wrong = Vec::new();
    let mut read = 0;
    for case in expected() {
        let name = case.file.strip_prefix(root()).unwrap().display().to_string();
        if !name.contains(&part) || case.changes {
            continue;
        }
        let theirs = read_parquet(&case.file).unwrap();
        match block_on(rows(&case, &theirs)) {
            Ok(ours) => {
                let (ours, theirs) = (multiset(&ours).unwrap(), multiset(&theirs).unwrap());
                wrong.extend(difference(&ours, &theirs).map(|it| format!("{name}: {it}")));
                read += 1;
            }
            // By the name of a feature that this build does not claim.
            Err(error) if error.missing_feature().is_some() => {
                crate::left_out(&format!("{name}: {error}"));
            }
            Err(error) => wrong.push(format!("{name}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {read} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(0 < read, "no table was read");
}
