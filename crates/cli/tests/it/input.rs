//! What input files hold arrives exactly, or the error names file, line, column and value.

use serde_json::json;

use crate::shell::Shell;

/// A file that is refused, and what the error must name beside the file.
#[track_caller]
fn refused(shell: &Shell, name: &str, text: &str, more: &[&str], names: &[&str]) {
    shell.write(name, text);
    let said = shell.try_run(&[&["write", "refused", name], more].concat());
    assert_eq!(said.code, 5, "{text:?}: {said:?}");
    for name in [&[name], names].concat() {
        assert!(said.err.contains(name), "{text:?} does not name `{name}`: {said:?}");
    }
    assert!(!shell.path("refused/_delta_log").exists(), "{text:?}");
}

#[test]
fn csv_is_refused_with_its_place() {
    let shell = Shell::new();
    refused(&shell, "q.csv", "a,b\n1,\"x\n2,y\n3,z\n", &[], &["line 2", "quote"]);
    refused(&shell, "empty.csv", "", &[], &["empty", "header"]);
    let rows: &[(&str, &str, &[&str])] = &[
        ("a\n1\n\nx\n", "a long", &["line 4", "`a`", "`x`", "long"]),
        ("a,b\n\"p\nq\",1\nr,x\n", "a string, b long", &["line 4", "`b`", "`x`"]),
        ("a\n1e400\n", "a double", &["line 2", "`a`", "1e400"]),
        ("a\n1e39\n", "a float", &["line 2", "`a`", "1e39"]),
        ("a\nxyz\n", "a binary", &["line 2", "`a`", "hexadecimal"]),
        ("a,b\n1,2\n,3\n", "a long not null, b long", &["line 3", "`a`", "null"]),
        ("a\n1\n", "a long, b long", &["`b`", "--schema"]),
    ];
    for (text, schema, names) in rows {
        refused(&shell, "r.csv", text, &["--schema", schema], names);
    }
    let long = format!("a\n{}\n", "x".repeat(5000));
    shell.write("long.csv", &long);
    let said = shell.try_run(&["write", "refused", "long.csv", "--schema", "a long"]);
    assert!(said.err.len() < 500, "{said:?}");
}

#[test]
fn ndjson_is_refused_with_its_place() {
    let shell = Shell::new();
    let rows: &[(&str, &[&str])] = &[
        ("{\"a\":18446744073709551615}\n", &["line 1", "`a`", "18446744073709551615"]),
        ("{\"a\":1.5}\n{\"a\":9007199254740993}\n", &["line 2", "`a`", "9007199254740993"]),
        ("{\"a\":123456789012345678901234567890}\n", &["line 1", "123456789012345678901234567890"]),
        ("{\"a\":1}\n{\"a\":1,\"\\u0061\":2}\n", &["line 2", "`a`", "twice"]),
        ("{\"a\":{\"b\":1,\"b\":1}}\n", &["line 1", "`b`", "twice"]),
        ("{\"a\":\"x\"}\n{\"a\":1}\n", &["line 2", "`a`", "string"]),
        ("", &["empty"]),
    ];
    for (text, names) in rows {
        refused(&shell, "r.ndjson", text, &[], names);
    }
    let schema = ["--schema", "a long not null"];
    refused(&shell, "n.ndjson", "{\"a\":1}\n{\"a\":null}\n", &schema, &["line 2", "`a`", "null"]);
    let schema = ["--schema", "a struct<b: long not null>"];
    refused(&shell, "n.ndjson", "{\"a\":{}}\n", &schema, &["line 1", "`a`"]);
}

#[test]
fn values_arrive_exactly() {
    let shell = Shell::new();
    shell.write("a.ndjson", "\u{feff}{\"n\":null,\"x\":9007199254740992}\n{\"x\":0.5}\n");
    shell.write("b.ndjson", "{\"x\":2,\"s\":\"{\\\"x\\\":1\"}\n");
    shell.run(&["write", "t", "a.ndjson", "b.ndjson"]);
    assert!(!shell.run(&["schema", "t"]).contains("void"));
    assert_eq!(shell.rows(&["t", "--where", "s is not null"])[0]["s"], json!("{\"x\":1"));

    shell.write("b.csv", "b\n00ff\n\n");
    shell.run(&["write", "b", "b.csv", "--schema", "b binary"]);
    let out = shell.run(&["read", "b", "--format", "csv", "-o", "again.csv"]);
    shell.run(&["write", "b", "again.csv"]);
    assert_eq!(out, "");
    assert_eq!(shell.rows(&["b"]), [json!({"b": "00ff"}), json!({"b": "00ff"})]);

    shell.write("t.tsv", "a\tb\n-999\t-1\n");
    shell.run(&["write", "tabs", "t.tsv", "--null", "-999"]);
    assert_eq!(shell.rows(&["tabs", "--where", "-b > 0"]), [json!({"b": -1})]);
}

#[test]
fn files_that_do_not_fit_are_named() {
    let shell = Shell::new();
    shell.write("a.csv", "a\n1\n");
    shell.write("b.ndjson", "{\"a\":1,\"b\":2}\n");
    let said = shell.try_run(&["write", "t", "a.csv", "b.ndjson"]);
    assert!(said.code == 5 && said.err.contains("b.ndjson"), "{said:?}");
    shell.run(&["write", "t", "b.ndjson", "a.csv"]);
    assert_eq!(shell.rows(&["t"]).len(), 2);
    shell.write("d.ndjson", "{\"a\":3,\"d\":4}\n");
    let said = shell.try_run(&["write", "t", "d.ndjson"]);
    assert!(said.code == 5 && said.err.contains("d.ndjson"), "{said:?}");
    shell.run(&["write", "t", "d.ndjson", "--evolve-schema"]);
    assert_eq!(shell.rows(&["t", "--where", "d = 4"]).len(), 1);
    shell.write("c.csv", "a,c\n1,2\n");
    let said = shell.try_run(&["write", "t", "a.csv", "c.csv"]);
    assert!(said.code == 5 && said.err.contains("c.csv") && said.err.contains("`c`"), "{said:?}");
    shell.run(&["read", "t", "-o", "d.parquet", "--format", "parquet"]);
    let said = shell.try_run(&["write", "u", "d.parquet", "--schema", "a long"]);
    assert!(said.code == 5 && said.err.contains("d.parquet"), "{said:?}");
}

/// Wide rows make small batches.
#[cfg(target_os = "linux")]
#[test]
fn wide_rows_within_the_limit() {
    use crate::memory::{BESIDE_BYTES, peak};
    let shell = Shell::new();
    let wide = "x".repeat(20_000);
    let text: String = (0..8000).map(|it| format!("{it},{wide}\n")).collect();
    shell.write("wide.csv", &format!("a,b\n{text}"));
    let text: String = (0..8000).map(|it| format!("{{\"a\":{it},\"b\":\"{wide}\"}}\n")).collect();
    shell.write("wide.ndjson", &text);
    for name in ["wide.csv", "wide.ndjson"] {
        let bytes = peak(&shell, &["write", "t", name, "--memory-limit", "16MiB"]);
        assert!(bytes < (16 << 20) + BESIDE_BYTES, "{name} took {} MiB", bytes >> 20);
    }
}
