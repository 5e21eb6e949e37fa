//! Many processes at one table.

use std::collections::BTreeSet;

use crate::shell::{Shell, said};

const PROCESSES: usize = 8;
const APPENDS: usize = 50;

/// Every append of every process lands exactly once, none fails, and each process's own stay in
/// order.
///
/// spec: TXN-1
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
                "for i in $(seq 0 {}); do {} write t {process}-$i.csv || exit 1; done",
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
}
