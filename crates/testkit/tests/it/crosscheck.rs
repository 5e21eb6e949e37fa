//! Filters, projections and limits against reading everything, on tables of other writers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::executor::block_on;
use lakebed::{Env, Result, Snapshot, Table};
use lakebed_testkit::conformance::manifest;
use lakebed_testkit::crosscheck::check;

/// Ways to read each table.
const TRIES: u64 = 8;
/// Tables with more rows would cost more time than they find.
const ROWS_MAX: u64 = 3000;

/// Tables whose statistics are known to lie about their files: of a column that no file has.
const LIARS: &[&str] = &["kernel-rs/parsed-stats"];

/// spec: STATS-16, STATS-17, STATS-18, STATS-20
#[test]
fn nothing_is_lost_for_speed() {
    let Some(folder) = std::env::var_os("LAKEBED_CONFORMANCE").map(PathBuf::from) else {
        crate::left_out("LAKEBED_CONFORMANCE names no folder of tables");
        return;
    };
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    let rounds = std::env::var("LAKEBED_FUZZ_ROUNDS").map_or(1, |it| it.parse().unwrap());
    let mut tables = BTreeSet::new();
    for case in manifest(&folder).unwrap() {
        let rows = case.expected.get("rows").and_then(serde_json::Value::as_u64);
        let small = rows.is_some_and(|it| (1..=ROWS_MAX).contains(&it));
        let honest = !LIARS.contains(&&*case.table);
        let newest = case.op == "read" && case.version.is_none();
        if newest && small && honest && case.id.contains(&part) {
            tables.insert(case.table);
        }
    }
    let mut wrong = Vec::new();
    for (seed, table) in (0..).zip(&tables) {
        // What cannot be read is the business of another test.
        let Ok(snapshot) = open(&folder.join(table)) else { continue };
        match block_on(check(&snapshot, seed, TRIES * rounds)) {
            Ok(found) => wrong.extend(found.into_iter().map(|it| format!("{table}: {it}"))),
            Err(error) => eprintln!("{table}: {error}"),
        }
    }
    assert!(!tables.is_empty(), "no table to read");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn open(table: &Path) -> Result<Snapshot> {
    block_on(Table::open_with(&Env::tokio(), &table.to_string_lossy())?.snapshot())
}
