//! Many processes at one table, and processes that are killed.
//!
//! A child is this test program again, told by a variable what to do. It says on its standard
//! output what it is about to append, and then that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::{Append, Env, Scan, Snapshot, Table, col, lit};

use crate::help::{ids, read, rows};
use crate::places::{self, Place};

/// Location, first row, number of appends of one row each; a line each.
const TASK: &str = "LAKEBED_TEST_TASK";
/// Options of the store, a line each.
const OPTIONS: &str = "LAKEBED_TEST_OPTIONS";

/// Ordinarily, and in `cargo xtask test --full`.
fn number(ordinary: usize, full: usize) -> usize {
    if std::env::var_os("LAKEBED_FULL").is_some() { full } else { ordinary }
}

/// What a child does; a test that does nothing where nobody started it as one.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Vec<&str> = task.lines().collect();
    let (first, appends): (i64, i64) = (task[1].parse().unwrap(), task[2].parse().unwrap());
    let options = std::env::var(OPTIONS).unwrap_or_default();
    let options = options.lines().filter_map(|it| it.split_once('='));
    let env = options.fold(Env::tokio(), |env, (key, value)| env.with_option(key, value));
    let table = Table::open_with(&env, task[0]).unwrap();
    for id in first..first + appends {
        println!("\nbegun {id}");
        let options = Append::new().user_metadata(id.to_string());
        block_on(table.append(ids([id]), options)).unwrap();
        println!("\ndone {id}");
    }
}

fn start(place: &Place, location: &str, first: usize, appends: usize) -> Child {
    let options: Vec<String> =
        place.options.iter().map(|it| format!("{}={}", it.0, it.1)).collect();
    Command::new(std::env::current_exe().unwrap())
        .args(["many::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{location}\n{first}\n{appends}"))
        .env(OPTIONS, options.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Every append of every process lands exactly once, none fails, and each process's own stay in
/// order.
#[track_caller]
fn append_at_once(place: &Place, processes: usize, appends: usize) {
    let location = place.location();
    let table = Table::open_with(&place.env(), &location).unwrap();
    block_on(table.append(ids([-1]), Append::new())).unwrap();
    let children: Vec<Child> =
        (0..processes).map(|it| start(place, &location, it * appends, appends)).collect();
    // All of them first: none is left behind by one that failed.
    let said: Vec<_> = children.into_iter().map(|it| it.wait_with_output().unwrap()).collect();
    for said in said {
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{}: {text}", place.name);
    }
    let all = i64::try_from(processes * appends).unwrap();
    let now = block_on(table.snapshot()).unwrap();
    assert_eq!(rows(&now), (-1..all).collect::<Vec<_>>(), "{}", place.name);
    assert_eq!(now.version().get(), u64::try_from(all).unwrap(), "{}", place.name);
    let newest_first = block_on(async {
        let history = table.history().await?;
        let label = |it: lakebed::HistoryEntry| it.info.fields.get("userMetadata").cloned();
        history.map_ok(label).boxed().try_collect::<Vec<_>>().await
    });
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for label in newest_first.unwrap().into_iter().flatten() {
        let id: i64 = label.as_str().unwrap().parse().unwrap();
        let process = id / i64::try_from(appends).unwrap();
        let after = last.insert(process, id);
        assert!(after.is_none_or(|it| id < it), "{}: {id} came late", place.name);
    }
}

/// spec: TXN-20, TXN-21
#[test]
fn many_processes_append_at_once_on_disk() {
    append_at_once(&Place::disk(), 32, number(10, 50));
}

/// spec: TXN-20, TXN-21
#[test]
fn many_processes_append_at_once_in_clouds() {
    for place in places::servers() {
        append_at_once(&place, number(8, 32), number(5, 50));
    }
}

/// What a child said before it was killed.
#[derive(Default)]
struct Said {
    begun: BTreeSet<i64>,
    done: BTreeSet<i64>,
}

impl Said {
    fn and(mut self, other: Said) -> Said {
        self.begun.extend(other.begun);
        self.done.extend(other.done);
        self
    }

    /// No acknowledged row is missing, none is there twice, and none that nobody began.
    #[track_caller]
    fn compare(&self, place: &Place, there: &[i64]) {
        let distinct: BTreeSet<i64> = there.iter().copied().collect();
        assert_eq!(distinct.len(), there.len(), "{}: a row is there twice", place.name);
        let missing: Vec<_> = self.done.difference(&distinct).collect();
        assert!(missing.is_empty(), "{}: {missing:?} were acknowledged", place.name);
        let strange: Vec<_> = distinct.difference(&self.begun).collect();
        assert!(strange.is_empty(), "{}: nobody began {strange:?}", place.name);
    }
}

fn ids_of(snapshot: &Snapshot, scan: &Scan) -> Vec<i64> {
    let column = |it: &RecordBatch| it.column(0).as_primitive::<Int64Type>().values().to_vec();
    read(snapshot, scan).iter().flat_map(column).collect()
}

/// Kills writers at random moments: the table is always readable, no acknowledged row is missing,
/// none is there twice, and none that nobody began.
#[track_caller]
fn kill(place: &Place, times: usize) {
    let location = place.location();
    let table = Table::open_with(&place.env(), &location).unwrap();
    block_on(table.append(ids([-1]), Append::new())).unwrap();
    let now = || {
        let fresh = Table::open_with(&place.env(), &location).unwrap();
        block_on(fresh.snapshot()).unwrap()
    };
    let from = |id: i64| Scan::new().filter(col("id").gt(lit(id - 1)));
    let mut all = Said::default();
    for round in 0..times {
        let first = round * 10_000;
        let said = said_until_killed(start(place, &location, first, 10_000));
        said.compare(place, &ids_of(&now(), &from(i64::try_from(first).unwrap())));
        all = all.and(said);
    }
    // Also of what came late.
    all.compare(place, &ids_of(&now(), &from(0)));
    assert!(!all.done.is_empty(), "{}: none was at work", place.name);
}

fn said_until_killed(mut child: Child) -> Said {
    let env = Env::tokio();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It is at work then, and every other time has done some.
    let sign = if env.random().is_multiple_of(2) { "begun " } else { "done " };
    let mut before = Vec::new();
    while !before.last().is_some_and(|it: &String| it.starts_with(sign)) {
        before.push(lines.next().unwrap().unwrap());
    }
    block_on(env.sleep(Duration::from_micros(env.random() % 150_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut said = Said::default();
    for line in before.into_iter().chain(lines.map_while(Result::ok)) {
        let id = |it: &str| it.parse::<i64>().ok();
        said.begun.extend(line.strip_prefix("begun ").and_then(id));
        said.done.extend(line.strip_prefix("done ").and_then(id));
    }
    said
}

/// spec: TXN-22
#[test]
fn killed_writers_on_disk() {
    kill(&Place::disk(), number(25, 200));
}

/// spec: TXN-22
#[test]
fn killed_writers_in_clouds() {
    for place in places::servers() {
        kill(&place, number(5, 50));
    }
}
