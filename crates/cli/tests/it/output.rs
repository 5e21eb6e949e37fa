//! Where answers go: pipes that close, full disks, files, devices; and what else is printed.

use std::process::Stdio;

use serde_json::Value;

use crate::shell::{Shell, said, sh};

const FORMATS: [&str; 6] = ["table", "json", "ndjson", "csv", "arrow", "parquet"];

/// A folder with a table `t` of one column and many rows.
fn numbers() -> Shell {
    let shell = Shell::new();
    let rows: String = (0..50_000).map(|it| format!("{it}\n")).collect();
    shell.write("a.csv", &format!("n\n{rows}"));
    shell.run(&["write", "t", "a.csv"]);
    shell
}

/// Runs a command with nobody at the other end of its output; `-1` is a signal.
fn unheard(shell: &Shell, words: &[&str]) -> i32 {
    let mut command = shell.command(words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code().unwrap_or(-1)
}

/// A closed pipe ends a command well, in every format and command.
#[test]
fn closed_pipes() {
    let shell = numbers();
    for format in FORMATS {
        assert_eq!(unheard(&shell, &["read", "t", "--stats", "--format", format]), 0, "{format}");
    }
    for verb in ["schema", "info", "files", "history"] {
        for format in ["table", "json", "csv"] {
            let words = [verb, "t", "--stats", "-vv", "--format", format];
            assert_eq!(unheard(&shell, &words), 0, "{words:?}");
        }
    }
    assert_eq!(unheard(&shell, &["completions", "bash"]), 0);
    assert_eq!(unheard(&shell, &["read", "nowhere"]), 4);
}

/// A full device is told apart from rows that do not fit.
#[cfg(target_os = "linux")]
#[test]
fn full_devices() {
    let shell = numbers();
    for format in FORMATS {
        for to in ["> /dev/full", "-o /dev/full"] {
            let said = sh(&shell, &format!("lakebed read t --format {format} {to}"));
            assert_eq!(said.code, 1, "{format} {to}: {said:?}");
            assert!(said.err.contains("no-space"), "{format} {to}: {said:?}");
        }
    }
    for words in ["schema t --format json", "info t", "files t", "completions bash"] {
        let said = sh(&shell, &format!("lakebed {words} > /dev/full"));
        assert_eq!(said.code, 1, "{words}: {said:?}");
    }
}

/// Names that `-o` takes as they are: pipes, devices, links.
#[cfg(unix)]
#[test]
fn outputs_that_are_no_plain_files() {
    let shell = numbers();
    shell.run(&["read", "t", "-o", "/dev/null"]);
    let piped = sh(&shell, "mkfifo p && (lakebed read t --format csv -o p & wc -l < p; wait)");
    assert_eq!(piped.out.trim(), "50001", "{piped:?}");
    assert!(sh(&shell, "test -p p").code == 0, "the pipe is still one");
    shell.write("real.csv", "old");
    for (target, link) in [("real.csv", "link.csv"), ("new.csv", "dangling.csv")] {
        std::os::unix::fs::symlink(target, shell.path(link)).unwrap();
        shell.run(&["read", "t", "-o", link, "--limit", "1"]);
        assert!(shell.path(link).is_symlink(), "{link}");
        assert_eq!(std::fs::read_to_string(shell.path(target)).unwrap(), "n\n0\n", "{link}");
    }
}

/// An output that cannot be written is a clear error, and no half of it stays.
#[test]
fn outputs_that_fail() {
    let shell = numbers();
    std::fs::create_dir(shell.path("folder")).unwrap();
    shell.write("old.csv", "old");
    let check = |words: &[&str], code: i32, name: &str| {
        let said = shell.try_run(words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert!(said.err.contains(name), "{words:?}: {said:?}");
    };
    check(&["read", "t", "-o", "folder"], 5, "folder");
    check(&["read", "t", "-o", "no/such/x.csv"], 4, "no/such/x.csv");
    check(&["read", "t", "-o", "old.csv/x.csv"], 5, "where the path needs");
    check(&["read", "t", "-o", "old.csv", "--where", "n = 'x'"], 5, "`n`");
    let limit = "trap '' XFSZ; ulimit -f 8; exec lakebed read t -o old.csv";
    let full = sh(&shell, limit);
    assert_eq!(full.code, 1, "{full:?}");
    assert_eq!(std::fs::read_to_string(shell.path("old.csv")).unwrap(), "old");
    let left = std::fs::read_dir(shell.path("")).unwrap().map(|it| it.unwrap().file_name());
    let left: Vec<_> = left.filter(|it| it.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The name of the file tells the format, unless `--format` does.
#[test]
fn formats_by_name() {
    let shell = numbers();
    let begins = |words: &[&str], name: &str, start: &[u8]| {
        let all = [&["read", "t", "--limit", "1", "-o", name], words].concat();
        shell.run(&all);
        let bytes = std::fs::read(shell.path(name)).unwrap();
        assert!(bytes.starts_with(start), "{all:?}: {bytes:?}");
    };
    begins(&[], "x.parquet", b"PAR1");
    begins(&[], "x.arrow", b"\xff\xff\xff\xff");
    begins(&[], "x.csv", b"n\n0\n");
    begins(&[], "x.json", b"[{\"n\":0}]\n");
    begins(&[], "x.ndjson", b"{\"n\":0}\n");
    begins(&[], "x.JSONL", b"{\"n\":0}\n");
    begins(&["--format", "csv"], "y.parquet", b"n\n0\n");
}

#[test]
fn answers_in_every_form() {
    let shell = Shell::new();
    shell.write("a.ndjson", "{\"p\":\"x\",\"s\":\"\",\"n\":null}\n");
    let long = "p".repeat(120);
    shell.write("b.ndjson", &format!("{{\"p\":\"{long}\",\"s\":null,\"n\":1}}\n"));
    shell.run(&["write", "t", "a.ndjson", "b.ndjson", "--partition-by", "p, s"]);
    let files = shell.run(&["files", "t"]);
    assert!(files.contains(&long), "{files}");
    let rows = shell.run(&["read", "t", "--columns", "n , s"]);
    assert_eq!(rows.matches("NULL").count(), 3, "an empty partition value is null: {rows}");
    let info = shell.run(&["info", "t", "--format", "csv"]);
    assert!(info.starts_with("name,value\n") && info.contains("\nversion,0\n"), "{info}");
    let json = shell.run(&["read", "t", "--format", "json"]);
    assert!(json.ends_with("]\n"), "{json}");
}

/// What was decided for the caller is said.
#[test]
fn notes_are_printed() {
    let shell = Shell::new();
    shell.write("a.csv", "at\n2024-01-01 00:00:00\n");
    let said = shell.try_run(&["write", "t", "a.csv"]);
    assert!(said.err.contains("note: ") && said.err.contains("timestamp_ntz"), "{said:?}");
    let json = shell.run(&["write", "u", "a.csv", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["notes"][0].as_str().unwrap().contains("timestamp_ntz"), "{json}");
}

/// On a terminal no bar stands between the lines of a table.
#[cfg(target_os = "linux")]
#[test]
fn no_bar_in_a_table() {
    let shell = numbers();
    let line = "script -qec 'lakebed read t --stats' /dev/null";
    if sh(&shell, "command -v script").code != 0 {
        eprintln!("left out: there is no `script`");
        return;
    }
    let said = sh(&shell, line);
    assert_eq!(said.code, 0, "{said:?}");
    let (_, table) = said.out.split_once("\n--").expect("a rule below the names");
    assert!(!table.contains('\u{1b}'), "{:?}", table.find('\u{1b}'));
}

#[test]
fn more_is_said_when_asked() {
    let shell = numbers();
    assert_eq!(shell.try_run(&["read", "t", "--limit", "1"]).err, "");
    let said = shell.try_run(&["read", "t", "--limit", "1", "-v"]);
    assert!(said.err.contains("INFO"), "{said:?}");
}

/// The lines of the README do what it says.
#[cfg(unix)]
#[test]
fn lines_of_the_readme() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let shell = Shell::new();
    let data = root.canonicalize().unwrap().join("testdata");
    std::os::unix::fs::symlink(data, shell.path("testdata")).unwrap();
    let lines: Vec<&str> = readme.lines().filter(|it| it.starts_with("    lakebed ")).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        let said = sh(&shell, line);
        assert_eq!(said.code, 0, "{line}: {said:?}");
    }
}

/// Variants print as JSON text in every format for people, and filters on them are refused unless
/// they ask for null.
///
/// spec: VAR-8, VAR-9
#[test]
fn variants_print_as_json() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let table = root.join("spark/tables/variant_shredded").to_str().unwrap().to_string();
    let shell = Shell::new();
    let read = |words: &[&str]| shell.run(&[&["read", table.as_str()], words].concat());
    let one = ["--where", "id = 2", "--columns", "id,s"];
    let json = r#"{"a":"not a number","b":{"c":5,"e":[1]},"l":[1,"two",null],"z":true}"#;
    let line: Value =
        serde_json::from_str(&read(&[&one[..], &["--format", "ndjson"]].concat())).unwrap();
    assert_eq!(line["s"]["v"], json);
    assert!(read(&[&one[..], &["--format", "table"]].concat()).contains(r#""two",null]"#));
    let csv = read(&["--where", "id = 5", "--columns", "id,v", "--format", "csv"]);
    assert_eq!(csv, "id,v\n5,7\n");
    let nulls = read(&["--where", "v IS NULL", "--columns", "id", "--format", "csv"]);
    assert_eq!(nulls, "id\n9\n");
    let null = read(&["--where", "id IN (6, 9)", "--columns", "id,v", "--format", "csv"]);
    assert!(null.contains("6,null\n") && null.contains("9,\n"), "{null}");
    for filter in ["v = 7", "v = '7'", "v > v", "v LIKE '7'", "v IN (7)", "CAST(v AS long) = 7"] {
        let said = shell.try_run(&["read", &table, "--where", filter]);
        assert!(said.err.contains("[invalid-expression]"), "{filter}: {said:?}");
    }
}

/// Splits that another process reads give the rows of the whole scan; rows are taken by position
/// from files of small pages.
#[test]
fn splits_and_positions() {
    let shell = Shell::new();
    let rows: String = (0..5000).map(|it| format!("{},{it}\n", it % 3)).collect();
    shell.write("rows.csv", &format!("p,id\n{rows}"));
    shell.run(&["write", "t", "rows.csv", "--partition-by", "p", "--layout", "random-access"]);
    let which = ["--where", "id >= 100 and p <> 1", "--columns", "id"];
    let whole = shell.run(&[&["read", "t", "--format", "csv"], &which[..]].concat());
    for target in ["1", "2000", "100000000"] {
        let splits = shell.run(&[&["splits", "t", "--target-bytes", target], &which[..]].concat());
        shell.write("splits", &splits);
        assert_eq!(shell.run(&["read-split", "splits", "--format", "csv"]), whole, "{target}");
        // Each by a process of its own.
        let mut apart = Vec::new();
        for split in splits.lines().filter(|_| target != "1") {
            shell.write("one", split);
            let rows = shell.run(&["read-split", "one", "--format", "csv"]);
            apart.extend(rows.lines().skip(1).map(str::to_string));
        }
        if target != "1" {
            assert_eq!(apart, whole.lines().skip(1).collect::<Vec<_>>(), "{target}");
        }
    }
    let all = shell.run(&["read", "t", "--format", "csv"]);
    let all: Vec<&str> = all.lines().skip(1).collect();
    let taken = shell.run(&["take", "t", "--positions", "4999,0,7", "--format", "csv"]);
    assert_eq!(taken.lines().skip(1).collect::<Vec<_>>(), [all[4999], all[0], all[7]]);
    assert_eq!(shell.try_run(&["take", "t", "--positions", "5000"]).code, 5);
    let most = shell.try_run(&["take", "t", "--positions", "0-18446744073709551615"]);
    assert_eq!(most.code, 1, "{most:?}");
    shell.run(&["take", "t", "--positions", "4998,0-2,1", "-o", "taken.csv"]);
    let taken = std::fs::read_to_string(shell.path("taken.csv")).unwrap();
    let expected = [all[4998], all[0], all[1], all[2], all[1]];
    assert_eq!(taken.lines().skip(1).collect::<Vec<_>>(), expected);
    assert_eq!(shell.try_run(&["splits", "t", "--target-bytes", "0"]).code, 5);
    shell.write("splits", "{}\n");
    assert_eq!(shell.try_run(&["read-split", "splits"]).code, 5);
}

/// A limit holds for all the splits that one call reads, and splits are read from any folder and
/// without the log.
///
/// spec: SPLIT-3, SPLIT-5, SPLIT-6
#[test]
fn splits_elsewhere() {
    let shell = numbers();
    let splits =
        |limit: &str| shell.run(&["splits", "t", "--target-bytes", "1000", "--limit", limit]);
    std::fs::create_dir(shell.path("else where")).unwrap();
    let read = |splits: &str| {
        shell.write("splits", splits);
        let mut command = shell.command(&["read-split", "../splits", "--format", "csv"]);
        said(command.current_dir(shell.path("else where")).output().unwrap())
    };
    let three = splits("3");
    assert!(1 < three.lines().count(), "{three}");
    for limit in ["0", "3", "49999", "60000"] {
        let said = read(&splits(limit));
        let whole = shell.run(&["read", "t", "--format", "csv", "--limit", limit]);
        assert_eq!((said.code, said.out), (0, whole), "{limit}: {}", said.err);
    }
    let said = read(&(three.clone() + &splits("4")));
    assert_eq!(said.code, 5, "{said:?}");
    std::fs::remove_dir_all(shell.path("t/_delta_log")).unwrap();
    let said = read(&three);
    assert_eq!((said.code, said.out.as_str()), (0, "n\n0\n1\n2\n"), "{}", said.err);
}

/// Dates and times that no calendar of a library reaches are printed as they are, in every format
/// alike, where they once were the text of an error.
#[test]
fn far_years() {
    let shell = Shell::new();
    let (day, time) = ("+5881580-07-11", "+292278-01-01T00:00:00.000000Z");
    shell.write("a.ndjson", "{\"d\":\"2026-01-01\",\"t\":\"2026-01-01T00:00:00Z\"}\n");
    shell.run(&["create", "t", "--schema", "d date, t timestamp", "--partition-by", "t"]);
    shell.run(&["write", "t", "a.ndjson"]);
    let log = shell.path("t/_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let far = text.replace("2026-01-01T00:00:00.000000Z", "292278-01-01T00:00:00Z");
    assert_ne!(far, text);
    // As another writer would have written it, without our checksum of the line.
    let lines = far.lines().filter(|it| !it.contains("commitInfo"));
    std::fs::write(&log, lines.collect::<Vec<_>>().join("\n")).unwrap();
    for path in shell.files("t/_delta_log").iter().filter(|it| it.extension().unwrap() == "crc") {
        std::fs::remove_file(path).unwrap();
    }
    for format in ["table", "json", "ndjson", "csv"] {
        let out = shell.run(&["read", "t", "--format", format]);
        assert!(out.contains(time), "{format}: {out}");
        assert!(!out.to_lowercase().contains("error"), "{format}: {out}");
    }
    assert_eq!(shell.rows(&["t", "--columns", "t"])[0]["t"], time);

    shell.write("b.csv", &format!("d\n{day}\n"));
    shell.run(&["write", "u", "b.csv", "--schema", "d date"]);
    assert_eq!(shell.rows(&["u"])[0]["d"], day);
    assert_eq!(shell.run(&["read", "u", "--format", "csv"]), format!("d\n{day}\n"));
    assert!(shell.run(&["read", "u"]).contains(day));
}

/// JSON has text alone as keys, so keys of maps are printed as text.
#[test]
fn maps_in_json() {
    let shell = Shell::new();
    let schema = "m map<long,string>, n map<date,map<int,boolean>>";
    shell.run(&["create", "t", "--schema", schema]);
    shell.run(&["demo", "d"]);
    let line = r#"{"m":{"7":"x","-1":null},"n":{"2026-08-01":{"3":true}}}"#;
    shell.write("a.ndjson", &format!("{line}\n"));
    let written = shell.try_run(&["write", "t", "a.ndjson"]);
    assert_eq!(written.code, 0, "{written:?}");
    let row: Value = serde_json::from_str(line).unwrap();
    assert_eq!(shell.rows(&["t"])[0]["n"], row["n"]);
    assert_eq!(shell.rows(&["t"])[0]["m"]["7"], "x");
    let all: Value = serde_json::from_str(&shell.run(&["read", "t", "--format", "json"])).unwrap();
    assert_eq!(all[0]["n"], row["n"]);
}
