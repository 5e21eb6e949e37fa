//! Other engines read what Lakebed writes, and Lakebed reads what they write.
//!
//! Their Python comes from `cargo xtask test`; without it these tests say what they left out.

use std::io::Write;
use std::process::Command;

use crate::shell::{Shell, flights, said};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/peers/peer.py");

/// Name of an engine and its Python, if it is there.
fn peers() -> Vec<(&'static str, String)> {
    let known = [("deltalake", "LAKEBED_PYTHON_DELTA"), ("duckdb", "LAKEBED_PYTHON_DUCKDB")];
    let mut found = Vec::new();
    for (engine, variable) in known {
        match std::env::var(variable) {
            Ok(python) => found.push((engine, python)),
            Err(_) => {
                let required = std::env::var_os("LAKEBED_PEERS").is_some();
                assert!(!required, "{engine} is missing: {variable} is not set");
                left_out(&format!("{engine}, {variable} is not set"));
            }
        }
    }
    found
}

/// Past the test runner's capture, so that a person sees it.
fn left_out(what: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {what}");
}

#[track_caller]
fn peer(python: &str, words: &[&str]) {
    let said = said(Command::new(python).arg(SCRIPT).args(words).output().unwrap());
    assert_eq!(said.code, 0, "{words:?}: {}", said.err);
}

/// The engine sees the rows that Lakebed reads, at the version.
#[track_caller]
fn agree(shell: &Shell, python: &str, engine: &str, table: &str, version: Option<&str>) {
    let rows = "ours.parquet";
    let mut words = vec!["read", table, "--format", "parquet", "-o", rows];
    words.extend(version.iter().flat_map(|it| ["--version", it]));
    shell.run(&words);
    let (table, rows) = (shell.path(table), shell.path(rows));
    let mut words = vec!["compare", engine, table.to_str().unwrap(), rows.to_str().unwrap()];
    words.extend(version);
    peer(python, &words);
}

#[test]
fn peers_read_our_tables() {
    let peers = peers();
    let shell = Shell::new();
    shell.run(&["write", "t", "--partition-by", "origin", "--null", "NA", &flights("2013-01.csv")]);
    shell.run(&["write", "t", &flights("2013-02.parquet")]);
    for round in 0..11 {
        shell
            .write("few.csv", &format!("origin,day,time_hour\nJFK,{round},2013-01-01T10:00:00Z\n"));
        shell.run(&["write", "t", "few.csv"]);
    }
    assert!(shell.path("t/_delta_log/00000000000000000010.checkpoint.parquet").exists());
    shell.write("ewr.csv", "origin,day\nEWR,1\n");
    shell.run(&["write", "t", "ewr.csv", "--mode", "overwrite", "--where", "origin = 'EWR'"]);
    shell.write("late.csv", "origin,day,dep_delay\nJFK,31,600\n");
    let late = "dep_delay > 500 or day = 31 and dep_delay is null";
    shell.run(&["write", "t", "late.csv", "--mode", "overwrite", "--where", late]);
    for (engine, python) in &peers {
        agree(&shell, python, engine, "t", None);
        agree(&shell, python, engine, "t", Some("1"));
    }
}

/// Checkpoints of the second layout with shared sidecars, compacted files, and a log that was cut.
#[test]
fn peers_read_our_logs() {
    let peers = peers();
    let shell = Shell::new();
    let properties = [
        "delta.checkpointPolicy=v2",
        "delta.checkpointInterval=4",
        "lakebed.logCompactionInterval=3",
    ];
    let mut create = vec!["create", "t", "--schema", "p string, id long", "--partition-by", "p"];
    create.extend(properties.iter().flat_map(|it| ["--property", it]));
    shell.run(&create);
    for round in 0..15 {
        shell.write("few.csv", &format!("p,id\na,{round}\nb,{}\n", -round));
        shell.run(&["write", "t", "few.csv"]);
    }
    shell.write("b.csv", "p,id\nb,1\n");
    shell.run(&["write", "t", "b.csv", "--mode", "overwrite", "--where", "p = 'b'"]);
    shell.run(&["write", "t", "few.csv"]);
    let log = std::fs::read_dir(shell.path("t/_delta_log")).unwrap();
    let names: Vec<String> = log.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    let count = |end: &str| names.iter().filter(|it| it.ends_with(end)).count();
    assert!(names.iter().any(|it| it.contains(".checkpoint.") && it.ends_with(".json")));
    assert_eq!(count(".compacted.json"), 4);
    for (engine, python) in &peers {
        agree(&shell, python, engine, "t", None);
        agree(&shell, python, engine, "t", Some("9"));
    }
    // By the last checkpoint and what follows it alone.
    for version in 0..16 {
        std::fs::remove_file(shell.path(&format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    for (engine, python) in &peers {
        agree(&shell, python, engine, "t", None);
    }
}

/// DuckDB 1.4 named its files with a slash before them: what is overwritten is gone for others too,
/// whether they go by the commits or by a checkpoint of ours.
///
/// spec: FILE-27
#[test]
fn files_behind_a_slash_are_overwritten() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden");
    let golden = std::path::Path::new(golden).join("duckdb/tables/v1_4_plain");
    let shell = Shell::new();
    for folder in ["", "_delta_log"] {
        std::fs::create_dir_all(shell.path("t").join(folder)).unwrap();
        for entry in std::fs::read_dir(golden.join(folder)).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                let to = shell.path("t").join(folder).join(from.file_name().unwrap());
                std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
            }
        }
    }
    let peers = peers();
    let agree = |what: &str, rows: usize| {
        assert_eq!(shell.run(&["read", "t", "--format", "ndjson"]).lines().count(), rows, "{what}");
        for (engine, python) in peers.iter().filter(|it| it.0 == "duckdb") {
            agree(&shell, python, engine, "t", None);
        }
    };
    agree("as it came", 4);
    let two = "id = 2";
    shell.run(&["read", "t", "--where", two, "-o", "two.parquet"]);
    shell.run(&["write", "t", "two.parquet", "--mode", "overwrite", "--where", two]);
    agree("one file rewritten", 4);
    for _ in 4..=10 {
        shell.run(&["write", "t", "two.parquet"]);
    }
    assert!(shell.path("t/_delta_log/00000000000000000010.checkpoint.parquet").exists());
    agree("with a checkpoint", 11);
    for version in 0..10 {
        std::fs::remove_file(shell.path(&format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    agree("by the checkpoint", 11);
    shell.run(&["read", "t", "--where", "id = 1", "-o", "one.parquet"]);
    shell.run(&["write", "t", "one.parquet", "--mode", "overwrite"]);
    agree("all of it", 1);
}

/// Every type, odd names and odd partition values, written by us from rows that a peer made.
#[test]
fn peers_read_every_type_of_ours() {
    let peers = peers();
    let shell = Shell::new();
    for (engine, python) in peers.iter().filter(|it| it.0 == "deltalake") {
        peer(python, &["write", engine, shell.path("").to_str().unwrap()]);
        shell.run(&["write", "flat", "partitioned.parquet"]);
        shell.run(&["write", "parts", "partitioned.parquet", "--partition-by", "part"]);
        shell.write("ntz.csv", "at,d\n2024-01-01 00:00:00.5,1.25\n,\n");
        shell.run(&["write", "ntz", "ntz.csv", "--schema", "at timestamp_ntz, d decimal(9,2)"]);
    }
    for (engine, python) in &peers {
        for table in ["flat", "parts", "ntz"] {
            if shell.path(table).exists() {
                agree(&shell, python, engine, table, None);
            }
        }
    }
}

#[test]
fn we_read_tables_of_peers() {
    let shell = Shell::new();
    let peers = peers();
    for (engine, python) in peers.iter().filter(|it| it.0 == "deltalake") {
        peer(python, &["write", engine, shell.path("").to_str().unwrap()]);
        for table in ["plain", "partitioned", "replaced"] {
            shell.run(&["read", table, "--format", "parquet", "-o", "ours.parquet"]);
            // The rows that the peer wrote, against those that we read: the peer's own reader is
            // the judge of one, and the file of the other.
            agree(&shell, python, engine, table, None);
            let expected = shell.path(&format!("{table}.parquet"));
            shell.run(&["write", &format!("copy-{table}"), expected.to_str().unwrap()]);
            agree(&shell, python, engine, &format!("copy-{table}"), None);
        }
    }
}

/// Peers append to a table of ours, between appends of our own.
#[test]
fn peers_and_we_take_turns() {
    let peers = peers();
    let shell = Shell::new();
    shell.write("rows.ndjson", "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":null}\n");
    shell.run(&["write", "t", "rows.ndjson"]);
    shell.run(&["read", "t", "--format", "parquet", "-o", "rows.parquet"]);
    let mut rows = 2;
    for _ in 0..6 {
        for (engine, python) in &peers {
            let (table, file) = (shell.path("t"), shell.path("rows.parquet"));
            peer(python, &["append", engine, table.to_str().unwrap(), file.to_str().unwrap()]);
            shell.run(&["write", "t", "rows.ndjson"]);
            rows += 4;
            assert_eq!(shell.rows(&["t"]).len(), rows, "after {engine}");
        }
    }
    for (engine, python) in &peers {
        agree(&shell, python, engine, "t", None);
    }
}

/// Row changes as deltalake tells them, where files were rewritten and where they were not.
///
/// spec: CDF-22
#[test]
fn peers_tell_our_changes() {
    let peers = peers();
    let shell = Shell::new();
    let kept = "delta.enableChangeDataFeed=true";
    shell.write("a.csv", "p,n,s\na b,1,x\na b,2,y\nc,3,\n,4,z\n");
    shell.run(&["write", "t", "a.csv", "--partition-by", "p", "--property", kept]);
    shell.write("b.csv", "p,n,s\na b,5,x\nc,6,y\n");
    shell.run(&["write", "t", "b.csv"]);
    shell.write("c.csv", "p,n,s\na b,20,new\nd,30,new\n");
    shell.run(&["write", "t", "c.csv", "--mode", "overwrite", "--where", "n >= 2 and n <> 4"]);
    shell.run(&["write", "t", "b.csv", "--mode", "overwrite", "--where", "s = 'x' or p = 'c'"]);
    shell.run(&["changes", "t", "--from", "0", "--format", "parquet", "-o", "changes.parquet"]);
    let (table, rows) = (shell.path("t"), shell.path("changes.parquet"));
    for (engine, python) in peers.iter().filter(|it| it.0 == "deltalake") {
        peer(python, &["changes", engine, table.to_str().unwrap(), rows.to_str().unwrap()]);
        agree(&shell, python, engine, "t", None);
    }
}

/// Filters of peers skip by our statistics and footers, and lose no row: NaN is the greatest number
/// for DuckDB, and deltalake takes a bound that is not there for null.
#[test]
fn peers_find_our_rows() {
    let peers = peers();
    let shell = Shell::new();
    let rows = [
        "{\"id\":1,\"f\":1.0,\"b\":true}",
        "{\"id\":2,\"f\":\"NaN\",\"b\":false}",
        "{\"id\":3,\"f\":2.0,\"b\":null}",
    ];
    shell.write("a.ndjson", &rows.join("\n"));
    shell.run(&["write", "t", "a.ndjson", "--schema", "id long, f double, b boolean"]);
    let table = shell.path("t");
    for (engine, python) in &peers {
        let find = |words: &[&str]| {
            peer(python, &[&["find", *engine, table.to_str().unwrap()], words].concat());
        };
        let is_true = if *engine == "deltalake" { "==" } else { "=" };
        find(&["b", is_true, "true", "1"]);
        if *engine == "duckdb" {
            find(&["f", ">", "5", "2"]);
        }
    }
}
