//! Row changes and differences, as users ask for them.

use serde_json::Value;

use crate::shell::Shell;

/// A table that keeps the feed: made, appended to, one partition of it replaced.
fn table() -> Shell {
    let shell = Shell::new();
    shell.write("a.csv", "p,n\nx,1\ny,2\n");
    shell.write("b.csv", "p,n\nx,3\n");
    shell.write("c.csv", "p,n\nx,4\nx,5\n");
    let kept = "delta.enableChangeDataFeed=true";
    shell.run(&["write", "t", "a.csv", "--partition-by", "p", "--property", kept]);
    shell.run(&["write", "t", "b.csv"]);
    shell.run(&["write", "t", "c.csv", "--mode", "overwrite", "--where", "p = 'x'"]);
    shell
}

/// Rows as `n type version`, sorted.
fn rows(shell: &Shell, words: &[&str]) -> Vec<String> {
    let out = shell.run(&[words, &["--format", "ndjson"]].concat());
    let row = |it: &str| {
        let row: Value = serde_json::from_str(it).unwrap();
        let version = row.get("_commit_version").map(|it| format!(" {it}")).unwrap_or_default();
        assert_eq!(row.get("_commit_timestamp").is_some(), !version.is_empty());
        format!("{} {}{version}", row["n"], row["_change_type"].as_str().unwrap())
    };
    let mut rows: Vec<_> = out.lines().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn changes() {
    let shell = table();
    let all = [
        "1 delete 2",
        "1 insert 0",
        "2 insert 0",
        "3 delete 2",
        "3 insert 1",
        "4 insert 2",
        "5 insert 2",
    ];
    assert_eq!(rows(&shell, &["changes", "t", "--from", "0"]), all);
    assert_eq!(rows(&shell, &["changes", "t", "--from-timestamp", "2001-01-01"]), all);
    assert_eq!(rows(&shell, &["changes", "t", "--from", "1", "--to", "1"]), ["3 insert 1"]);
    let filter = "n >= 3 and _change_type = 'insert'";
    let some = ["changes", "t", "--from", "0", "--where", filter, "--columns", "n"];
    assert_eq!(rows(&shell, &some), ["3 insert 1", "4 insert 2", "5 insert 2"]);
    shell.run(&["changes", "t", "--from", "0", "-o", "x.csv"]);
    let text = std::fs::read_to_string(shell.path("x.csv")).unwrap();
    assert!(text.starts_with("p,n,_change_type,_commit_version,_commit_timestamp\n"), "{text}");
    assert_eq!(text.lines().count(), 8);

    for (words, code) in [
        (&["changes", "t"][..], 2),
        (&["changes", "t", "--from", "0", "--from-timestamp", "2001-01-01"], 2),
        (&["changes", "t", "--from", "x"], 2),
        (&["changes", "t", "--from", "3"], 4),
        (&["changes", "t", "--from", "0", "--to", "3"], 4),
        (&["changes", "t", "--from", "2", "--to", "1"], 5),
        (&["changes", "t", "--from", "0", "--columns", "m"], 5),
        (&["changes", "nobody", "--from", "0"], 4),
        (&["changes", "t", "--cursor", "none"], 5),
    ] {
        let said = shell.try_run(words);
        assert_eq!(said.code, code, "{words:?} {said:?}");
    }
}

/// A job that runs again and again sees each change once.
#[test]
fn cursors() {
    let shell = table();
    let job = ["changes", "t", "--from", "1", "--cursor", "place"];
    assert_eq!(rows(&shell, &[&job[..], &["--limit", "2"]].concat()).len(), 2);
    assert_eq!(rows(&shell, &job).len(), 3);
    assert_eq!(rows(&shell, &job), [] as [&str; 0]);
    shell.run(&["write", "t", "b.csv"]);
    // A call that fails keeps the place.
    let bad = shell.try_run(&[&job[..], &["--where", "n / 0"]].concat());
    assert_eq!(bad.code, 5, "{bad:?}");
    let full = shell.try_run(&[&job[..], &["-o", "no/such/folder.csv"]].concat());
    assert_ne!(full.code, 0, "{full:?}");
    assert_eq!(rows(&shell, &job), ["3 insert 3"]);
    assert_eq!(rows(&shell, &["changes", "t", "--cursor", "place"]), [] as [&str; 0]);

    for text in ["", "{}", "\u{1b}[2J", "[[[["] {
        shell.write("place", text);
        let said = shell.try_run(&job);
        assert_eq!(said.code, 5, "{said:?}");
        assert!(!said.err.contains('\u{1b}'));
    }
    shell.write("other.csv", "p,n\nx,1\n");
    shell.run(&["write", "u", "other.csv"]);
    shell.run(&["changes", "t", "--from", "3", "--cursor", "fresh"]);
    let said = shell.try_run(&["changes", "u", "--cursor", "fresh"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("the cursor is of table"), "{said:?}");
}

/// Rows that come in several batches stand below the heads of their columns.
#[test]
fn columns_are_aligned_over_batches() {
    let shell = table();
    let out = shell.run(&["changes", "t", "--from", "0", "--columns", "n", "--format", "table"]);
    let lines: Vec<&str> = out.lines().collect();
    let at = lines[0].find("_commit_timestamp").unwrap();
    assert_eq!(lines.len(), 10, "{out}");
    for line in &lines[2..9] {
        assert_eq!(line.as_bytes()[at - 1], b' ', "{out}");
        assert!(line[at..].starts_with("20"), "{out}");
    }
    shell.write("wide.csv", &format!("p,n\n{},1234567\n", "w".repeat(30)));
    shell.run(&["write", "t", "wide.csv"]);
    let out = shell.run(&["changes", "t", "--from", "0", "--format", "table"]);
    let at = out.find("_change_type").unwrap();
    for line in out.lines().skip(2).filter(|it| !it.starts_with('(')) {
        let word = line[at..].split(' ').next().unwrap();
        assert!(word == "insert" || word == "delete", "{out}");
    }
}

#[test]
fn without_a_feed() {
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n2\n");
    shell.write("b.csv", "n\n3\n");
    shell.run(&["write", "t", "a.csv"]);
    shell.run(&["write", "t", "b.csv", "--mode", "overwrite"]);
    let said = shell.try_run(&["changes", "t", "--from", "0"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("version 0") && said.err.contains("--derive"), "{said:?}");
    let derived = rows(&shell, &["changes", "t", "--from", "1", "--derive"]);
    assert_eq!(derived, ["1 delete 1", "2 delete 1", "3 insert 1"]);

    assert_eq!(rows(&shell, &["diff", "t", "0", "1"]), ["1 delete", "2 delete", "3 insert"]);
    assert_eq!(rows(&shell, &["diff", "t", "1", "0"]), ["1 insert", "2 insert", "3 delete"]);
    assert_eq!(rows(&shell, &["diff", "t", "1", "1"]), [] as [&str; 0]);
    let some = ["diff", "t", "0", "1", "--where", "n <> 2", "--columns", "n", "--limit", "1"];
    assert_eq!(rows(&shell, &some), ["1 delete"]);
    assert_eq!(rows(&shell, &["diff", "t", "0", "2099-01-01"]).len(), 3);
    assert_eq!(shell.try_run(&["diff", "t", "0", "2"]).code, 4);
    assert_eq!(shell.try_run(&["diff", "t", "0"]).code, 2);
    assert_eq!(shell.try_run(&["diff", "t", "0", "yesterday"]).code, 2);
}
