//! What input files hold arrives exactly, or the error names file, line, column and value.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::shell::{Shell, sh};

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

/// A file as old writers leave it: INT96 of its own and in nested fields, beside nanoseconds in
/// INT64.
fn old_timestamps(path: &Path) {
    use parquet::data_type::{Int64Type, Int96, Int96Type};
    use parquet::file::writer::SerializedFileWriter;
    let shape = "message m {
        required int64 nanos (TIMESTAMP(NANOS, false));
        required int96 old;
        required group g { required int64 n (TIMESTAMP(NANOS, false)); required int96 o; }
        required group l (LIST) { repeated group list { required int96 element; } }
    }";
    let shape = Arc::new(parquet::schema::parser::parse_message_type(shape).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, shape, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut old = Int96::new();
    // Noon of 1500-01-01, as a Julian day and nanoseconds of it.
    let nanos = 43_200_000_000_000_u64;
    old.set_data((nanos & 0xffff_ffff) as u32, (nanos >> 32) as u32, 2_268_924);
    for is_old in [false, true, false, true, true] {
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Option<&[i16]> = Some(&[1]);
        if is_old {
            column.typed::<Int96Type>().write_batch(&[old], levels, Some(&[0])).unwrap();
        } else {
            column.typed::<Int64Type>().write_batch(&[1_500_000], None, None).unwrap();
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn timestamps_of_old_parquet() {
    let shell = Shell::new();
    old_timestamps(&shell.path("old.parquet"));
    shell.run(&["write", "t", "old.parquet"]);
    let (new, old) = ("1970-01-01T00:00:00.001500", "1500-01-01T12:00:00Z");
    let expected = json!({"nanos": new, "old": old, "g": {"n": new, "o": old}, "l": [old]});
    assert_eq!(shell.rows(&["t"]), [expected]);
}

/// Numbers of decimal columns keep the digits of the line, and floating columns take the names of
/// what JSON has no numbers for.
#[test]
fn ndjson_of_exact_and_special_numbers() {
    let shell = Shell::new();
    let schema = "d decimal(38,18), x double, f float, a array<decimal(38,0)>, \
                  s struct<m: map<string, decimal(20,2)>>";
    let big = "12345678901234567890123456789012345678";
    let row = format!(
        "{{\"d\":-12345678901234567890.123456789012345678,\"x\":\"NaN\",\"f\":\"-Infinity\",\
         \"a\":[{big},1e3,\"7\"],\"s\":{{\"m\":{{\"k\":123456789012345678.25}}}}}}\n\
         {{\"x\":\"Infinity\"}}\n{{\"x\":1.5}}\n"
    );
    shell.write("a.ndjson", &row);
    shell.run(&["write", "t", "a.ndjson", "--schema", schema]);
    let out = shell.run(&["read", "t", "--format", "ndjson"]);
    for digits in ["-12345678901234567890.123456789012345678", big, "123456789012345678.25"] {
        assert!(out.contains(digits), "{out}");
    }
    assert!(out.contains("1000") && !out.contains("1e3"), "{out}");
    for (filter, count) in [("x > 1.5", 2), ("f < -1e38", 1), ("d < 0", 1)] {
        assert_eq!(shell.rows(&["t", "--where", filter]).len(), count, "{filter}");
    }
    shell.write("b.ndjson", &out);
    shell.run(&["write", "t", "b.ndjson"]);
    let both = shell.run(&["read", "t", "--format", "ndjson"]);
    assert_eq!(both.matches(big).count(), 2, "{both}");
    shell.write("c.ndjson", &row.replace("{\"x\":1.5}", "{\"x\":1.5,\"new\":1}"));
    shell.run(&["write", "t", "c.ndjson", "--evolve-schema"]);
    assert_eq!(shell.rows(&["t", "--where", "new = 1"]).len(), 1);

    let wrong = [
        ("{\"d\":0.1234567890123456789}\n", "0.1234567890123456789"),
        ("{\"d\":0.10000000000000000001e0}\n", "0.10000000000000000001e0"),
        ("{\"x\":\"nan\"}\n", "nan"),
        ("{\"x\":\"1.5\"}\n", "1.5"),
        ("{\"x\":12345678901234567890123}\n", "12345678901234567890123"),
    ];
    for (text, name) in wrong {
        refused(&shell, "w.ndjson", text, &["--schema", schema], &["line 1", name]);
    }
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

/// Pipes are read as standard input is: whole, then from their start.
#[cfg(unix)]
#[test]
fn pipes_are_input() {
    let shell = Shell::new();
    shell.write("a.ndjson", "{\"a\":1}\n{\"a\":2}\n");
    shell.write("a.csv", "a\n3\n");
    for (file, format, rows) in [("a.ndjson", "ndjson", 2), ("a.csv", "csv", 3)] {
        let line = format!(
            "rm -f p; mkfifo p && (cat {file} > p & lakebed write t p --input-format {format})"
        );
        let said = sh(&shell, &line);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(shell.rows(&["t"]).len(), rows, "{file}");
    }
    shell.run(&["read", "t", "-o", "b.parquet"]);
    shell.run(&["read", "t", "-o", "b.arrow"]);
    for (format, rows) in [("parquet", 6), ("arrow", 9)] {
        let file = format!("b.{format}");
        let line = format!("cat {file} | lakebed write t /dev/stdin --input-format {format}");
        let said = sh(&shell, &line);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(shell.rows(&["t"]).len(), rows, "{file}");
    }
}
