//! Hostile and odd tables: each reads to its facts, or is a typed error that names the cause.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::TryStreamExt;
use lakebed::{Code, Env, Expr, Result, Scan, Table};
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    op: String,
    table: String,
    expect: String,
    predicate: Option<String>,
}

/// Rows, sum of the column `id`, version.
type Facts = (u64, i64, u64);

#[test]
fn hostile_tables() {
    let Some(folder) = std::env::var_os("LAKEBED_BADINPUT").map(PathBuf::from) else {
        crate::left_out("LAKEBED_BADINPUT names no folder of tables");
        return;
    };
    let text = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&text).unwrap();
    let (mut passed, mut refused, mut waiting, mut failures) = (0, 0, 0, Vec::new());
    for case in &manifest.cases {
        // Links do not survive every way of copying a folder.
        let lost_link = case.name == "path_symlink_escape"
            && !folder.join("path_symlink_escape/table/link.parquet").is_symlink();
        if lost_link || !matches!(case.op.as_str(), "scan" | "filter") {
            waiting += 1;
            continue;
        }
        match verdict(&folder, case) {
            Ok(true) => passed += 1,
            Ok(false) => refused += 1,
            Err(what) => failures.push(format!("{}: expected {}, {what}", case.name, case.expect)),
        }
    }
    eprintln!("{passed} as they should be, {refused} refused by feature, {waiting} not run yet");
    assert!(passed > 0, "no case ran");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// `Ok(true)`: as the manifest wants. `Ok(false)`: refused by the name of a feature that is not
/// claimed.
fn verdict(folder: &Path, case: &Case) -> std::result::Result<bool, String> {
    let answer = futures::executor::block_on(facts(folder, case));
    let wanted: Vec<&str> = case.expect.split('|').collect();
    match &answer {
        Ok(facts) => {
            let fits =
                wanted.iter().filter_map(|it| it.strip_prefix("ok:")).any(|it| fit(it, *facts));
            if fits { Ok(true) } else { Err(format!("read {facts:?}")) }
        }
        Err(error) => {
            let code = error.code().as_str();
            if wanted.iter().filter_map(|it| it.strip_prefix("error:")).any(|it| it == code) {
                return Ok(true);
            }
            let named =
                error.missing_feature().is_some() && error.code() == Code::UnsupportedProtocol;
            if named { Ok(false) } else { Err(format!("got {error:?}")) }
        }
    }
}

fn fit(wanted: &str, (rows, sum, version): Facts) -> bool {
    wanted.split(';').all(|it| match it.split_once('=') {
        Some(("rows", number)) => number.parse() == Ok(rows),
        Some(("sum_id", number)) => number.parse() == Ok(sum),
        Some(("version", number)) => number.parse() == Ok(version),
        _ => false,
    })
}

async fn facts(folder: &Path, case: &Case) -> Result<Facts> {
    let location = folder.join(&case.table);
    let table = Table::open_with(&Env::tokio(), &location.to_string_lossy())?;
    let snapshot = table.snapshot().await?;
    let mut scan = Scan::new();
    if let Some(predicate) = &case.predicate {
        scan = scan.filter(predicate.parse::<Expr>()?);
    }
    let mut batches = snapshot.read(&scan).await?;
    let (mut rows, mut sum) = (0, 0);
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows() as u64;
        let id = batch.column_by_name("id").and_then(|it| it.as_primitive_opt::<Int64Type>());
        sum += id.into_iter().flat_map(|it| it.iter().flatten()).sum::<i64>();
    }
    Ok((rows, sum, snapshot.version().get()))
}
