//! What each command does when all is well.

use serde_json::{Value, json};

use crate::shell::{Shell, flights, said};

/// The main job: create from CSV, append Parquet, prune, travel in time.
#[test]
fn flights_end_to_end() {
    let shell = Shell::new();
    let january = flights("2013-01.csv");
    shell.run(&["write", "t", "--partition-by", "origin", "--null", "NA", &january]);
    shell.run(&["write", "t", &flights("2013-02.parquet")]);
    shell.run(&["write", "t", &flights("2013-03.parquet")]);

    let late = "origin = 'JFK' and dep_delay > 60";
    let words = ["read", "t", "--where", late, "--columns", "carrier,dep_delay", "--stats"];
    let said = shell.try_run(&[&words[..], &["--format", "json"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let rows: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(rows.len(), 523 + 1274);
    assert!(rows.iter().all(|it| it["dep_delay"].as_i64().unwrap() > 60));
    assert!(rows.iter().all(|it| it.as_object().unwrap().len() == 2));
    let stats: Value = serde_json::from_str(said.err.trim()).unwrap();
    assert_eq!(stats["stats"]["partitions_read"], 1);
    assert_eq!(stats["stats"]["partitions_considered"], 3);
    assert_eq!(stats["stats"]["files_read"], 3);
    assert_eq!(stats["stats"]["files_considered"], 9);

    assert_eq!(shell.rows(&["t", "--columns", "month"]).len(), 27004 + 24951 + 28834);
    let first = shell.rows(&["t", "--columns", "month", "--version", "0"]);
    assert_eq!(first.len(), 27004);
    assert!(first.iter().all(|it| it["month"] == 1));
}

#[test]
fn create_write_and_look() {
    let shell = Shell::new();
    let columns = "id long not null, \"a name\" string, at timestamp, price decimal(10,2)";
    shell.run(&["create", "t", "--schema", columns, "--property", "delta.checkpointInterval=5"]);
    shell.write("a.csv", "id,a name,at,price\n1,x,2024-01-01T00:00:00Z,1.50\n2,,,\n");
    shell.run(&["write", "t", "a.csv", "--user-metadata", "by hand"]);
    let rows = shell.rows(&["t", "--where", "\"a name\" = 'x'"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], 1);

    let schema = shell.run(&["schema", "t"]);
    assert!(schema.contains("a name") && schema.contains("decimal(10,2)"), "{schema}");
    let info: Value = serde_json::from_str(&shell.run(&["info", "t", "--format", "json"])).unwrap();
    assert_eq!(info["version"], 1);
    assert_eq!(info["rows"], 2);
    assert_eq!(info["protocol"], "reader 1, writer 2");
    assert_eq!(info["properties"]["delta.checkpointInterval"], "5");
    let files: Value =
        serde_json::from_str(&shell.run(&["files", "t", "--format", "json"])).unwrap();
    assert_eq!(files[0]["rows"], 2);
    let history = shell.run(&["history", "t", "--format", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history[0]["commitInfo"]["userMetadata"], "by hand");
    assert_eq!(history[0]["commitInfo"]["operation"], "WRITE");
    assert_eq!(history[1]["commitInfo"]["operation"], "CREATE TABLE");
    assert_eq!(shell.run(&["history", "t", "-n", "1"]).lines().count(), 2);
}

#[test]
fn modes_of_writing() {
    let shell = Shell::new();
    shell.write("a.csv", "p,n\nx,1\ny,2\n");
    shell.write("b.csv", "p,n\nx,3\n");
    shell.run(&["write", "t", "a.csv", "--partition-by", "p"]);
    assert_eq!(shell.try_run(&["write", "t", "b.csv", "--mode", "error"]).code, 3);
    shell.run(&["write", "t", "b.csv", "--mode", "ignore"]);
    assert_eq!(shell.rows(&["t"]).len(), 2);
    shell.run(&["write", "t", "b.csv", "--mode", "overwrite", "--where", "p = 'x'"]);
    let mut numbers: Vec<i64> =
        shell.rows(&["t"]).iter().map(|it| it["n"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    let outside =
        shell.try_run(&["write", "t", "a.csv", "--mode", "overwrite", "--where", "p = 'x'"]);
    assert_eq!(outside.code, 5, "{outside:?}");
    // Any filter: of a file that holds other rows as well, those stay.
    shell.run(&["write", "o", "a.csv"]);
    let over = ["write", "o", "b.csv", "--mode", "overwrite", "--where", "n < 2"];
    assert_eq!(shell.try_run(&over).code, 5);
    assert_eq!(shell.try_run(&[&over[..], &["--stage", "o.txn"]].concat()).code, 5);
    shell.run(&[&over[..], &["--other-rows", "--stage", "o.txn"]].concat());
    shell.run(&["discard", "o", "o.txn"]);
    shell.run(&[&over[..], &["--other-rows"]].concat());
    let mut rows: Vec<i64> =
        shell.rows(&["o"]).iter().map(|it| it["n"].as_i64().unwrap()).collect();
    rows.sort_unstable();
    assert_eq!(rows, [2, 3]);
    // What is stored as null is not replaced by a filter for the empty text.
    shell.write("e.ndjson", "{\"p\":\"\",\"n\":5}\n");
    let empty = ["write", "t", "e.ndjson", "--mode", "overwrite", "--where", "p = ''"];
    assert_eq!(shell.try_run(&empty).code, 5);
    shell.run(&["write", "t", "b.csv", "--mode", "overwrite"]);
    assert_eq!(shell.rows(&["t"]), [json!({"p": "x", "n": 3})]);
}

/// The same `--txn` lands once, a later one lands too.
#[test]
fn once_is_once() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    for _ in 0..3 {
        shell.run(&["write", "t", "a.csv", "--txn", "job:7"]);
    }
    let again = shell.run(&["write", "t", "a.csv", "--txn", "job:7"]);
    assert!(again.contains("already there") && again.contains("version  0"), "{again}");
    assert_eq!(shell.rows(&["t"]).len(), 1);
    shell.run(&["write", "t", "a.csv", "--txn", "job:6"]);
    assert_eq!(shell.rows(&["t"]).len(), 1);
    shell.run(&["write", "t", "a.csv", "--txn", "job:8"]);
    assert_eq!(shell.rows(&["t"]).len(), 2);
}

/// The id of a commit in the history leads to its version; an id that is in none does not.
#[test]
fn ids_resolve() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.run(&["write", "t", "a.csv"]);
    shell.run(&["write", "t", "a.csv"]);
    let history = shell.run(&["history", "t", "--format", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let resolve = |id: &str| -> Value {
        serde_json::from_str(&shell.run(&["resolve", "t", id, "--format", "json"])).unwrap()
    };
    for entry in history.as_array().unwrap() {
        let landed = resolve(entry["commitInfo"]["txnId"].as_str().unwrap());
        assert_eq!(landed, json!({"outcome": "committed", "version": entry["version"]}));
    }
    let unknown = shell.try_run(&["resolve", "t", "00000000-0000-4000-8000-000000000000"]);
    assert_ne!(unknown.code, 0, "{unknown:?}");
}

/// Written and laid aside, looked at, published by another process, once; or thrown away.
///
/// spec: STAGE-1, STAGE-2, STAGE-5
#[test]
fn staged_writes() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.write("b.csv", "n\n2\n3\n");
    assert_eq!(shell.try_run(&["write", "t", "a.csv", "--stage", "t.txn"]).code, 4);
    shell.run(&["write", "t", "a.csv"]);
    let over = ["write", "t", "b.csv", "--mode", "overwrite", "--txn", "job:1"];
    let staged = shell.run(&[&over[..], &["--stage", "t.txn", "--format", "json"]].concat());
    let staged: Value = serde_json::from_str(&staged).unwrap();
    let expected = json!({"done": "staged", "base": 0, "files": 1, "removed_files": 1});
    assert_eq!(staged, expected);

    let numbers = |rows: Vec<Value>| -> Vec<i64> {
        rows.iter().map(|it| it["n"].as_i64().unwrap()).collect()
    };
    assert_eq!(numbers(shell.rows(&["t"])), [1]);
    assert_eq!(numbers(shell.rows(&["t", "--staged", "t.txn"])), [2, 3]);
    for _ in 0..2 {
        let done = shell.run(&["publish", "t", "t.txn", "--format", "json"]);
        let done: Value = serde_json::from_str(&done).unwrap();
        assert_eq!(done["version"], 1);
    }
    assert_eq!(numbers(shell.rows(&["t"])), [2, 3]);
    assert_eq!(shell.try_run(&["discard", "t", "t.txn"]).code, 5);

    shell.run(&["write", "t", "a.csv", "--stage", "u.txn", "--sync", "never"]);
    shell.run(&["discard", "t", "u.txn"]);
    assert_eq!(shell.try_run(&["publish", "t", "u.txn"]).code, 5);
    shell.write("no.txn", "{}");
    assert_eq!(shell.try_run(&["publish", "t", "no.txn"]).code, 5);
    assert_eq!(shell.try_run(&["publish", "t", "nowhere.txn"]).code, 4);
    assert_eq!(numbers(shell.rows(&["t"])), [2, 3]);
}

/// Every format that goes in comes out, and goes in again.
#[test]
fn formats_there_and_back() {
    let shell = Shell::new();
    shell.write(
        "a.ndjson",
        "{\"n\":1,\"s\":\"a,\\\"b\",\"l\":[1,null]}\n\n{\"n\":null,\"s\":\"\"}\n",
    );
    shell.run(&["write", "t", "a.ndjson"]);
    let rows = shell.rows(&["t"]);
    assert_eq!(rows[0], json!({"n": 1, "s": "a,\"b", "l": [1, null]}));
    for format in ["ndjson", "parquet", "arrow"] {
        let file = format!("out.{format}");
        shell.run(&["read", "t", "--format", format, "-o", &file]);
        let again = format!("t-{format}");
        shell.run(&["write", &again, &file]);
        assert_eq!(shell.rows(&[&again]), rows, "{format}");
    }
    shell.run(&["read", "t", "--columns", "n,s", "--format", "csv", "-o", "out.csv"]);
    shell.run(&["write", "t-csv", "out.csv"]);
    assert_eq!(shell.rows(&["t-csv"]).len(), 2);
    let table = shell.run(&["read", "t", "--columns", "n"]);
    assert!(table.contains("(2 rows)"), "{table}");
    assert_eq!(shell.run(&["head", "t", "-n", "1", "--format", "ndjson"]).lines().count(), 1);
}

/// Text files of many kinds: globs, no header, other delimiters, standard input, types by name.
#[test]
fn text_in_many_forms() {
    let shell = Shell::new();
    shell.write("a1.csv", "1\t2024-01-31\n");
    shell.write("a2.csv", "2\t\n");
    let words = ["--no-header", "--delimiter", "\\t", "--schema", "n int, d date"];
    shell.run(&[&["write", "t", "a*.csv"], &words[..]].concat());
    let rows = shell.rows(&["t", "--where", "d is null"]);
    assert_eq!(rows, [json!({"n": 2})]);

    let mut command = shell.command(&["write", "t", "-", "--input-format", "ndjson"]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"{\"n\":3,\"d\":\"2024-02-29\"}\n").unwrap();
    drop(input);
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(shell.rows(&["t", "--where", "d = '2024-02-29'"]).len(), 1);
}

#[test]
fn schemas_evolve_when_asked() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.write("b.csv", "n,more\n2,x\n");
    shell.run(&["write", "t", "a.csv"]);
    let refused = shell.try_run(&["write", "t", "b.csv"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("more"), "{refused:?}");
    shell.run(&["write", "t", "b.csv", "--evolve-schema"]);
    assert_eq!(shell.rows(&["t", "--where", "more is null"]).len(), 1);
    assert_eq!(shell.rows(&["t", "--where", "more = 'x'"]).len(), 1);
}

#[test]
fn times_name_versions() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.run(&["write", "t", "a.csv"]);
    let history: Value =
        serde_json::from_str(&shell.run(&["history", "t", "--format", "json"])).unwrap();
    let first = history[0]["timestamp"].as_str().unwrap().to_string();
    std::thread::sleep(std::time::Duration::from_millis(20));
    shell.run(&["write", "t", "a.csv"]);
    assert_eq!(shell.rows(&["t", "--at", &first]).len(), 1);
    assert_eq!(shell.rows(&["t", "--at", "2999-01-01T00:00:00Z"]).len(), 2);
    assert_eq!(shell.try_run(&["read", "t", "--at", "1999-01-01T00:00:00Z"]).code, 4);
}

#[test]
fn completions_and_demo() {
    let shell = Shell::new();
    assert!(shell.run(&["completions", "bash"]).contains("lakebed"));
    let demo = shell.try_run(&["demo", "d"]);
    assert_eq!(demo.code, 0, "{demo:?}");
    assert!(demo.err.contains("$ lakebed write flights --partition-by origin"), "{demo:?}");
    assert_eq!(shell.rows(&["d/flights", "--columns", "month"]).len(), 80_789 - lga_nulls(&shell));
    assert!(demo.err.contains(&format!("{} head flights", env!("CARGO_BIN_EXE_lakebed"))));
    let again = shell.try_run(&["demo", "d"]);
    assert!(again.code == 3 && !again.err.contains("--mode"), "{again:?}");
}

/// Rows that the demo's last step leaves out: cancelled flights of one airport.
fn lga_nulls(shell: &Shell) -> usize {
    let filter = "origin = 'LGA' and dep_delay is null";
    let version = ["--version", "2", "--columns", "month", "--where", filter];
    shell.rows(&[&["d/flights"], &version[..]].concat()).len()
}

/// A log with a deletion vector and with files of another table, as a shallow clone has it: rows
/// are those that are left, and the other table is read only if that is allowed.
#[test]
fn clones_and_deleted_rows() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n2\n3\n");
    shell.run(&["write", "source", "a.csv"]);
    let files = |name: &str| shell.files(name);
    let is_data = |it: &&std::path::PathBuf| it.extension().is_some_and(|it| it == "parquet");
    let data = files("source").iter().find(is_data).unwrap().clone();
    let size = data.metadata().unwrap().len();
    std::fs::create_dir_all(shell.path("clone/_delta_log")).unwrap();
    let first = std::fs::read_to_string(shell.path("source/_delta_log/00000000000000000000.json"));
    let metadata: Vec<String> = first
        .unwrap()
        .lines()
        .filter(|it| it.starts_with("{\"metaData\""))
        .map(Into::into)
        .collect();
    let protocol = json!({"protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
    }});
    // Row 1, inline.
    let vector = json!({
        "storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg0rr91",
        "sizeInBytes": 34, "cardinality": 1,
    });
    let add = json!({"add": {
        "path": format!("file://{}", data.display()), "partitionValues": {}, "size": size,
        "modificationTime": 0, "dataChange": true, "stats": "{\"numRecords\":3}",
        "deletionVector": vector,
    }});
    let lines = format!("{protocol}\n{}\n{add}\n", metadata.join("\n"));
    shell.write("clone/_delta_log/00000000000000000000.json", &lines);

    let refused = shell.try_run(&["read", "clone"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("path-escape"), "{refused:?}");
    let columns = "n,_row_index";
    let rows = shell.rows(&["clone", "--allow-root", "source", "--columns", columns]);
    assert_eq!(rows, [json!({"n": 1, "_row_index": 0}), json!({"n": 3, "_row_index": 2})]);
    let info = shell.run(&["info", "clone", "--format", "json"]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["rows"], 2);
}

/// What is old and not needed is shown first, and goes when asked.
#[test]
fn a_log_is_cleaned_up() {
    let shell = Shell::new();
    for id in 0..13 {
        shell.write("one.csv", &format!("id\n{id}\n"));
        shell.run(&["write", "t", "one.csv"]);
    }
    let young = shell.run(&["clean-log", "t", "--format", "json"]);
    assert!(young.contains("\"files\":0"), "{young}");
    let log = shell.path("t/_delta_log");
    let names = || std::fs::read_dir(&log).unwrap().count();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 24 * 3600);
    for entry in std::fs::read_dir(&log).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(then).unwrap();
    }
    let before = names();
    let plan = shell.run(&["clean-log", "t", "--dry-run", "--format", "ndjson"]);
    assert_eq!((plan.lines().count(), names()), (20, before), "{plan}");
    assert!(plan.lines().next().unwrap().contains("/00000000000000000000.json"), "{plan}");
    let done = shell.run(&["clean-log", "t", "--format", "json"]);
    assert!(done.contains("\"stands_on_checkpoint\":10"), "{done}");
    // The marker came.
    assert_eq!(names(), before - 20 + 1);
    assert_eq!(shell.run(&["read", "t", "--format", "csv"]).lines().count(), 14);
    assert_eq!(shell.try_run(&["read", "t", "--version", "9"]).code, 4);
}

/// Data files are compressed as the words say, or else as the table's property does.
#[test]
fn compression() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    let newest = |known: &mut Vec<std::path::PathBuf>| {
        let files = shell.files("t").into_iter();
        let files = files.filter(|it| it.extension().is_some_and(|it| it == "parquet"));
        let new: Vec<_> = files.filter(|it| !known.contains(it)).collect();
        known.extend(new.iter().cloned());
        new.iter().map(|it| it.display().to_string()).collect::<String>()
    };
    let mut known = Vec::new();
    let codec = "delta.parquet.compression.codec=SNAPPY";
    shell.run(&["create", "t", "--schema", "n long", "--property", codec]);
    shell.run(&["write", "t", "a.csv"]);
    assert!(newest(&mut known).ends_with(".snappy.parquet"), "{known:?}");
    shell.run(&["write", "t", "a.csv", "--compression", "zstd:9"]);
    assert!(newest(&mut known).ends_with(".zstd.parquet"), "{known:?}");
    shell.run(&["write", "t", "a.csv", "--compression", "lz4raw"]);
    assert!(newest(&mut known).ends_with(".lz4.parquet"), "{known:?}");
    assert_eq!(shell.rows(&["t"]).len(), 3);
    let check = |words: &[&str], code: i32, says: &str| {
        let said = shell.try_run(words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert!(said.err.contains(says), "{words:?}: {said:?}");
    };
    let known = "zstd, snappy, gzip, lz4, brotli, none";
    check(&["write", "t", "a.csv", "--compression", "zip"], 5, known);
    check(&["write", "t", "a.csv", "--compression", "snappy:3"], 5, "level");
    let lzo = "delta.parquet.compression.codec=lzo";
    check(&["create", "u", "--schema", "n long", "--property", lzo], 5, known);
    let vector = "delta.enableDeletionVector=true";
    check(
        &["create", "u", "--schema", "n long", "--property", vector],
        5,
        "enableDeletionVectors`",
    );
}

/// Of a table that cannot be read, `info` tells what it needs, and the exit code stays.
#[test]
fn info_of_a_table_of_the_future() {
    let shell = Shell::new();
    let ntz = ["create", "t", "--schema", "n long, t timestamp_ntz"];
    shell.run(&ntz);
    let log = shell.path("t/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().filter(|it| !it.contains("commitInfo"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("\"timestampNtz\"", "\"telepathy\",\"timestampNtz\"");
    std::fs::write(&log, &text).unwrap();
    let told = || {
        let said = shell.try_run(&["info", "t", "--format", "json"]);
        assert_eq!(said.code, 6, "{said:?}");
        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["version"], 0);
        assert_eq!(told["location"], "t");
        (told, said.err)
    };
    let (it, error) = told();
    assert_eq!(it["not_readable_here"], serde_json::json!(["telepathy"]));
    assert_eq!(it["protocol"], "reader 3, writer 7");
    assert!(error.contains("telepathy"), "{error}");

    // Of a newer version of the protocol, its features are those that are listed.
    let newer = text.replace("\"minReaderVersion\":3", "\"minReaderVersion\":4");
    std::fs::write(&log, &newer).unwrap();
    let (it, error) = told();
    assert_eq!(it["not_readable_here"], serde_json::json!(["reader version 4"]));
    assert_eq!(it["protocol"], "reader 4, writer 7");
    assert!(it["features"].as_array().unwrap().contains(&"telepathy".into()), "{it}");
    assert!(error.contains("protocol version 4"), "{error}");

    let bare = newer.lines().filter(|it| !it.contains("\"protocol\"")).collect::<Vec<_>>();
    let protocol = r#"{"protocol":{"minReaderVersion":99,"minWriterVersion":99}}"#;
    std::fs::write(&log, [&[protocol], &bare[..]].concat().join("\n")).unwrap();
    let (it, _) = told();
    assert_eq!(it["features"], serde_json::json!([]));
    assert_eq!(it["protocol"], "reader 99, writer 99");
}
