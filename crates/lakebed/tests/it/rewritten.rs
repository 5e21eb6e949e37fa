//! Checkpoints by this engine of tables by others: nothing is lost on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use futures::executor::block_on;
use lakebed::{Code, Op, Scan, Snapshot, Width};

use crate::help::{read, table};

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copied(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Files with all that is said of them but their statistics, and how many rows those count.
fn files(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let state = block_on(snapshot.state(&Op::default(), Width::Wide)).unwrap();
    let mut files = BTreeMap::new();
    for at in state.files.iter() {
        let (adds, row) = state.files.row(at).unwrap();
        let mut add = adds.get(row).unwrap();
        add.stats = None;
        add.data_change = false;
        files.insert(add.path.clone(), format!("{add:?}"));
    }
    files
}

fn rows(snapshot: &Snapshot) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in read(snapshot, &Scan::new()) {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|it| format!("{:?}", it.slice(row, 1)));
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// Writes a checkpoint of the newest version and takes everything else away.
fn check(from: &Path) -> bool {
    let folder = tempfile::tempdir().unwrap();
    copied(from, folder.path());
    let root = folder.path().to_str().unwrap();
    let Ok(before) = block_on(table(root).snapshot()) else { return false };
    let log = || -> Vec<String> {
        let entries = fs::read_dir(folder.path().join("_delta_log")).unwrap();
        let files = entries.map(Result::unwrap).filter(|it| it.file_type().unwrap().is_file());
        files.map(|it| it.file_name().into_string().unwrap()).collect()
    };
    let found = log();
    match block_on(before.checkpoint()).map_err(|it| it.code()) {
        Ok(()) => {}
        Err(Code::UnsupportedProtocol) => return false,
        Err(it) => panic!("{}: {it:?}", from.display()),
    }
    let version = before.version().get();
    let (classic, commit) =
        (format!("{version:020}.checkpoint.parquet"), format!("{version:020}.json"));
    for name in log() {
        let is_new = name.contains(".checkpoint.") && !found.contains(&name);
        if !is_new && name != classic && name != commit {
            fs::remove_file(folder.path().join("_delta_log").join(name)).unwrap();
        }
    }
    let after = block_on(table(root).snapshot()).unwrap();
    let place = from.display();
    assert_eq!(files(&before), files(&after), "{place}");
    assert_eq!(before.head().protocol, after.head().protocol, "{place}");
    assert_eq!(before.head().metadata, after.head().metadata, "{place}");
    assert_eq!(before.head().domains, after.head().domains, "{place}");
    assert_eq!(before.head().txns, after.head().txns, "{place}");
    assert_eq!(rows(&before), rows(&after), "{place}");
    true
}

/// spec: CKPT-1, CKPT-3, CKPT-10, CKPT-11
#[test]
fn kept_tables_survive_a_checkpoint_of_ours() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut seen = 0;
    for writer in ["delta-rs", "duckdb", "lakebed", "spark"] {
        let tables = fs::read_dir(golden.join(writer).join("tables")).unwrap();
        let tables: Vec<PathBuf> = tables.map(|it| it.unwrap().path()).collect();
        seen += tables.iter().filter(|it| check(it)).count();
    }
    assert!(30 < seen, "{seen} tables");
}
