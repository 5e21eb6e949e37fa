//! Many processes at one table.

use std::collections::BTreeSet;

use crate::shell::{Shell, said};

const PROCESSES: usize = 8;
const APPENDS: usize = 50;

/// Every append of every process lands exactly once, none fails, and each process's own stay in
/// order.
///
/// spec: TXN-20, TXN-21
#[test]
fn eight_processes_append_at_once() {
    let shell = Shell::new();
    shell.run(&["create", "t", "--schema", "id long"]);
    for process in 0..PROCESSES {
        for append in 0..APPENDS {
            let id = process * APPENDS + append;
            shell.write(&format!("{process}-{append}.csv"), &format!("id\n{id}\n"));
        }
    }
    let loops: Vec<_> = (0..PROCESSES)
        .map(|process| {
            let line = format!(
                "for i in $(seq 0 {}); do {} write t {process}-$i.csv --user-metadata {process}-$i \
                 || exit 1; done",
                APPENDS - 1,
                env!("CARGO_BIN_EXE_lakebed")
            );
            let mut sh = std::process::Command::new("sh");
            let sh = sh.args(["-c", &line]).current_dir(shell.path(""));
            sh.stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in loops {
        let said = said(child.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
    }
    let ids: Vec<i64> = shell.rows(&["t"]).iter().map(|it| it["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), PROCESSES * APPENDS);
    let distinct: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "an append landed twice");
    let history = shell.run(&["history", "t", "--format", "ndjson"]);
    assert_eq!(history.lines().count(), 1 + PROCESSES * APPENDS);
    let mut appends: Vec<Vec<usize>> = vec![Vec::new(); PROCESSES];
    for line in history.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(label) = entry["commitInfo"]["userMetadata"].as_str() else { continue };
        let (process, append) = label.split_once('-').unwrap();
        appends[process.parse::<usize>().unwrap()].push(append.parse().unwrap());
    }
    for own in appends {
        assert!(own.iter().rev().copied().eq(0..APPENDS), "newest first: {own:?}");
    }
}

/// Of many that want to make the table, one does, and nothing of the others is in it.
#[test]
fn eight_processes_create_at_once() {
    for (mode, refused) in [("error", 3), ("ignore", 0)] {
        let shell = Shell::new();
        shell.write("a.csv", "n\n1\n2\n");
        let start = |_| {
            let mut command = shell.command(&["write", "t", "a.csv", "--mode", mode]);
            let pipe = std::process::Stdio::piped;
            command.stdout(pipe()).stderr(pipe()).spawn().unwrap()
        };
        let children: Vec<_> = (0..PROCESSES).map(start).collect();
        let all: Vec<_> =
            children.into_iter().map(|it| said(it.wait_with_output().unwrap())).collect();
        let (made, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|it| it.out.contains("created and written"));
        assert_eq!(made.len(), 1, "{all:?}");
        for it in others {
            assert_eq!(it.code, refused, "{it:?}");
            let told = if mode == "error" { &it.err } else { &it.out };
            assert!(told.contains(if mode == "error" { "table-exists" } else { "ignored" }));
        }
        assert_eq!(shell.rows(&["t"]).len(), 2, "{mode}");
    }
}
