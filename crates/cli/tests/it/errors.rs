//! Bad input: a clear error with its exit code, nothing half-written to be seen, nothing lost.

use crate::shell::{Shell, flights, said};

/// Command, exit code, and what the error must name.
#[track_caller]
fn check(shell: &Shell, words: &[&str], code: i32, names: &[&str]) {
    let said = shell.try_run(words);
    assert_eq!(said.code, code, "lakebed {words:?}: {said:?}");
    assert_eq!(said.out, "", "lakebed {words:?}: {said:?}");
    for name in names {
        assert!(said.err.contains(name), "lakebed {words:?} does not name `{name}`: {said:?}");
    }
}

#[test]
fn what_is_not_there() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    check(&shell, &["read", "nowhere"], 4, &["nowhere", "not-a-table", "help"]);
    check(&shell, &["history", "nowhere"], 4, &["nowhere"]);
    shell.run(&["write", "t", "a.csv"]);
    check(&shell, &["read", "t", "--version", "7"], 4, &["7", "version-not-found"]);
    check(&shell, &["read", "t", "--columns", "m"], 5, &["`m`", "`n`"]);
    check(&shell, &["read", "t", "--where", "m = 1"], 5, &["`m`"]);
    check(&shell, &["read", "t", "--where", "n ="], 5, &["invalid-expression"]);
    check(&shell, &["read", "t", "--where", "n = 'x'"], 5, &["`n`"]);
    check(&shell, &["write", "t", "missing.csv"], 4, &["missing.csv"]);
    check(&shell, &["write", "t", "*.nothing"], 4, &["*.nothing"]);
    check(&shell, &["write", "t", "-"], 5, &["--input-format"]);
    check(&shell, &["read", "ftp://host/t"], 6, &["ftp://host/t", "s3://, gs://"]);
}

#[test]
fn usage_is_exit_code_2() {
    let shell = Shell::new();
    for words in [
        &["read"][..],
        &["fly", "t"],
        &["read", "t", "--version", "-1"],
        &["read", "t", "--version", "1", "--at", "2024-01-01"],
    ] {
        assert_eq!(shell.try_run(words).code, 2, "{words:?}");
    }
}

#[test]
fn cells_that_do_not_parse() {
    let shell = Shell::new();
    shell.write("good.csv", "n,d\n1,2024-01-01\n");
    shell.run(&["write", "t", "good.csv"]);
    let before = shell.files("t");
    shell.write("bad.csv", "n,d\n1,2024-01-01\n2,2024-01-02\nx,2024-01-03\n");
    check(&shell, &["write", "t", "bad.csv"], 5, &["bad.csv", "line 4", "`n`", "`x`", "long"]);
    shell.write("date.csv", "n,d\n1,2024-02-30\n");
    check(&shell, &["write", "t", "date.csv"], 5, &["date.csv", "line 2", "`d`", "`2024-02-30`"]);
    shell.write("bad.ndjson", "{\"n\":1}\n{\"n\":1.5}\n");
    check(&shell, &["write", "t", "bad.ndjson"], 5, &["bad.ndjson", "line 2", "`n`", "1.5"]);
    shell.write("ragged.csv", "n,d\n1\n");
    check(&shell, &["write", "t", "ragged.csv"], 5, &["ragged.csv"]);
    shell.write("no.parquet", "n,d\n1\n");
    check(&shell, &["write", "t", "no.parquet"], 5, &["no.parquet"]);
    // Two thousand million row groups, by a field that says it is a number.
    let footer = [0x46, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
    let bomb = [b"PAR1".as_slice(), &footer, &[8, 0, 0, 0], b"PAR1"].concat();
    std::fs::write(shell.path("bomb.parquet"), bomb).unwrap();
    check(&shell, &["write", "t", "bomb.parquet"], 5, &["bomb.parquet", "counts more"]);
    assert_eq!(shell.files("t"), before, "a refused write leaves nothing behind");
}

#[test]
fn schemas_that_do_not_fit() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.run(&["write", "t", "a.csv"]);
    let before = shell.files("t");
    check(&shell, &["write", "t", &flights("2013-02.parquet")], 5, &["schema-mismatch"]);
    shell.write("b.ndjson", "{\"n\":\"text\"}\n");
    check(&shell, &["write", "t", "b.ndjson"], 5, &["`n`"]);
    check(&shell, &["write", "t", "a.csv", "--partition-by", "n"], 5, &["n"]);
    assert_eq!(shell.files("t"), before);
    check(&shell, &["create", "u", "--schema", "n banana"], 5, &["banana"]);
    check(&shell, &["create", "u", "--schema", "n long", "--partition-by", "m"], 5, &["`m`"]);
    let retention = "delta.logRetentionDuration=interval 1 minute";
    check(&shell, &["create", "u", "--schema", "n long", "--property", retention], 5, &["minute"]);
    assert!(!shell.path("u/_delta_log/00000000000000000000.json").exists());
}

/// A file that may not grow past a limit is what a full disk looks like.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let shell = Shell::new();
    shell.run(&["write", "t", "--null", "NA", &flights("2013-01.csv")]);
    let before = shell.files("t");
    let limit = format!(
        "trap '' XFSZ; ulimit -f 40; exec {} write t {}",
        env!("CARGO_BIN_EXE_lakebed"),
        flights("2013-02.parquet")
    );
    let mut sh = std::process::Command::new("sh");
    let output = sh.args(["-c", &limit]).current_dir(shell.path("")).output().unwrap();
    let said = said(output);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no-space"), "{said:?}");
    assert_eq!(shell.files("t"), before, "nothing half-written stays");
    assert_eq!(shell.rows(&["t", "--columns", "month"]).len(), 27004);
}

#[test]
fn unknown_features_are_refused_by_name() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.run(&["write", "t", "a.csv"]);
    let commit = |protocol: &str| {
        let path = shell.path("t/_delta_log/00000000000000000001.json");
        std::fs::write(path, format!("{{\"protocol\":{protocol}}}\n")).unwrap();
    };
    commit(r#"{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["futureWriter"]}"#);
    assert_eq!(shell.rows(&["t"]).len(), 1);
    let before = shell.files("t");
    check(&shell, &["write", "t", "a.csv"], 6, &["futureWriter"]);
    assert_eq!(shell.files("t"), before);
    commit(
        r#"{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["futureReader"],"writerFeatures":["futureReader"]}"#,
    );
    check(&shell, &["read", "t"], 6, &["futureReader"]);
}

#[test]
fn limits_and_options() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    for flag in ["--option", "--storage-option"] {
        let words = ["write", "t", "a.csv", flag, "aws_regoin=secret"];
        check(&shell, &words, 5, &["aws_regoin", "the nearest is `aws_region`"]);
    }
    let late = ["write", "t", "a.csv", "--timeout", "0.000001"];
    check(&shell, &late, 1, &["deadline-exceeded", "--timeout"]);
    shell.run(&["write", "t", "a.csv"]);
    check(&shell, &["read", "t", "--timeout", "0.000001"], 1, &["deadline-exceeded"]);
}

/// What is wrong with a call is not mended by restoring files, nor by waiting.
#[test]
fn help_for_wrong_calls() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    for words in [
        &["create", "u", "--schema", "n banana"][..],
        &["create", "u", "--schema", "n long, N long"],
    ] {
        let said = shell.try_run(words);
        assert_ne!(said.code, 0, "{words:?}");
        let wrong = ["restore", "try again later"].iter().any(|it| said.err.contains(it));
        assert!(!wrong, "{words:?}: {said:?}");
    }
    shell.run(&["create", "t", "--schema", "n long"]);
    let again = shell.try_run(&["create", "t", "--schema", "n long"]);
    assert!(again.err.contains("another place") && !again.err.contains("--mode"), "{again:?}");
}

/// Errors are JSON where answers are.
#[test]
fn errors_for_programs() {
    let shell = Shell::new();
    let said = shell.try_run(&["read", "nowhere", "--format", "json"]);
    let error: serde_json::Value = serde_json::from_str(said.err.trim()).unwrap();
    assert_eq!(error["error"]["code"], "not-a-table");
    assert_eq!(error["error"]["exit_code"], said.code);
    assert!(error["error"]["causes"].is_array() && error["error"]["help"].is_string(), "{error}");
}

/// What to do is what fits: with each finding of a check, and not once more for its first one.
#[test]
fn help_of_a_check_fits() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    shell.run(&["write", "t", "a.csv"]);
    shell.run(&["doctor", "t", "--deep"]);
    shell.write("t/_delta_log/00000000000000000000.checkpoint.parquet", "PAR1");
    let said = shell.try_run(&["doctor", "t"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("delete this checkpoint"), "{said:?}");
    assert!(said.err.contains("stands with each finding"), "{said:?}");
    assert!(!said.err.contains("restore"), "{said:?}");
}

#[test]
fn tables_of_a_catalog_are_refused_with_the_way_in() {
    let shell = Shell::new();
    std::fs::create_dir_all(shell.path("t/_delta_log")).unwrap();
    let commit = [
        r#"{"commitInfo":{"inCommitTimestamp":1}}"#,
        "\n",
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"#,
        r#""readerFeatures":["catalogManaged"],"#,
        r#""writerFeatures":["catalogManaged","inCommitTimestamp"]}}"#,
        "\n",
        r#"{"metaData":{"id":"t","format":{"provider":"parquet","options":{}},"#,
        r#""schemaString":"{\"type\":\"struct\",\"fields\":[]}","#,
        r#""partitionColumns":[],"configuration":{}}}"#,
        "\n",
    ];
    shell.write("t/_delta_log/00000000000000000000.json", &commit.concat());
    check(&shell, &["read", "t"], 6, &["catalogManaged", "`Table::with_catalog`"]);
}
