//! Commits of one process to one table: they take turns, and appends that wait land together.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use lakebed::{
    Append, Code, Committed, Create, ErrorKind, HistoryEntry, Op, Overwrite, Resolved, Result,
    Scan, Schema, Table, Version,
};
use object_store::ObjectStore;

use crate::help::{ids, parts};
use crate::slow::{Slow, TAKES};

async fn made(slow: &Slow) -> Table {
    let table = slow.table(0);
    let schema = Schema::parse_ddl("id long").unwrap();
    table.create_here(Create::new(schema)).await.unwrap();
    table
}

/// Appends one row each at once, through clones of one handle.
async fn at_once(table: &Table, rows: std::ops::Range<i64>) -> Vec<Result<Committed>> {
    join_all(rows.map(|id| table.append(ids([id]), Append::new()))).await
}

async fn rows(table: &Table) -> Vec<i64> {
    let snapshot = table.snapshot().await.unwrap();
    let batches = snapshot.read(&Scan::new()).await.unwrap().collect().await.unwrap();
    let column = |it: &arrow_array::RecordBatch| {
        let ids = it.column(0).as_any().downcast_ref::<arrow_array::Int64Array>().unwrap();
        ids.values().to_vec()
    };
    let mut rows: Vec<i64> = batches.iter().flat_map(column).collect();
    rows.sort_unstable();
    rows
}

async fn history(table: &Table) -> Vec<HistoryEntry> {
    let mut log: Vec<_> = table.history().await.unwrap().try_collect().await.unwrap();
    log.reverse();
    log
}

fn versions(done: &[Result<Committed>]) -> Vec<u64> {
    done.iter().map(|it| it.as_ref().map_or(0, |it| it.version().get())).collect()
}

/// A row with a column more.
fn wider(id: i64) -> arrow_array::RecordBatch {
    arrow_array::RecordBatch::try_from_iter([
        ("id", Arc::new(arrow_array::Int64Array::from(vec![id])) as _),
        ("more", Arc::new(arrow_array::Int64Array::from(vec![1])) as _),
    ])
    .unwrap()
}

/// The same of a partitioned table.
fn wider_parts() -> arrow_array::RecordBatch {
    let narrow = parts(&[("a", 2)]);
    let more = arrow_array::RecordBatch::try_from_iter([
        ("p", Arc::clone(narrow.column(0))),
        ("id", Arc::clone(narrow.column(1))),
        ("more", Arc::clone(narrow.column(1))),
    ]);
    more.unwrap()
}

async fn data_files(slow: &Slow) -> usize {
    let all: Vec<_> = slow.inner().list(None).try_collect().await.unwrap();
    let is_data = |it: &&object_store::ObjectMeta| !it.location.as_ref().contains("_delta_log");
    all.iter().filter(is_data).count()
}

/// Of twenty at once the first goes at once, and the nineteen that come meanwhile are one version:
/// two puts of commits, and no time lost. Each is told its own figures; the commit sums them up.
///
/// spec: GROUP-1, GROUP-2, GROUP-3
#[test]
fn appends_in_flight_share_a_version() {
    let slow = Slow::new(1, 0);
    let (world, outcome) = (slow.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&outcome);
    slow.run(async move {
        let table = made(&world).await;
        let before = world.puts();
        let done = at_once(&table, 0..20).await;
        let after = world.puts();
        told.lock().unwrap().push((after.0 - before.0, after.1 - before.1));

        let mut at = versions(&done);
        at.sort_unstable();
        assert_eq!((at[0], &at[1..]), (1, &[2; 19][..]));
        for it in &done {
            let it = it.as_ref().unwrap();
            assert_eq!((it.changed(), &it.metrics()["numOutputRows"]), (true, &"1".into()));
            assert_eq!(it.snapshot().version(), it.version());
        }
        let log = history(&table).await;
        let metrics = |at: usize| log[at].info.fields["operationMetrics"].clone();
        assert_eq!(log.len(), 3);
        assert!(metrics(1).get("numAppends").is_none());
        assert_eq!(metrics(2)["numAppends"], "19");
        assert_eq!(metrics(2)["numOutputRows"], "19");
        assert_eq!(metrics(2)["numFiles"], "19");
        assert_eq!(rows(&table).await, (0..20).collect::<Vec<_>>());
    });
    // Two commits and their checksums, and twenty data files.
    assert_eq!(*outcome.lock().unwrap(), [(2, 24)]);
}

/// A lone append goes as fast as ever: list, data file, commit.
///
/// spec: GROUP-1
#[test]
fn a_lone_append_does_not_wait() {
    let slow = Slow::new(1, 0);
    let world = slow.clone();
    slow.run(async move { drop(made(&world).await) });
    let open = |world: Slow| async move {
        let table = world.table(0);
        table.snapshot().await.unwrap();
        table
    };
    let world = slow.clone();
    let opened = slow.run(async move { drop(open(world).await) });
    let world = slow.clone();
    let appended = slow.run(async move {
        let done = open(world).await.append(ids([1]), Append::new()).await.unwrap();
        assert_eq!(done.version(), Version::from(1));
    });
    // LIST, data, commit; and the checksum before, for the one that follows.
    assert_eq!(appended - opened, TAKES * 5);
}

/// Through handles of their own, too: what counts is the process and the place.
#[test]
fn handles_of_one_process_share_a_line() {
    let slow = Slow::new(2, 0);
    let world = slow.clone();
    slow.run(async move {
        made(&world).await;
        let env = world.process(7);
        let append = |id: i64| {
            let table = Table::open_with(&env, "slow://table").unwrap();
            async move { table.append(ids([id]), Append::new()).await }
        };
        let done = join_all((0..10).map(append)).await;
        let mut at = versions(&done);
        at.sort_unstable();
        assert_eq!(at, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(rows(&world.table(0)).await, (0..10).collect::<Vec<_>>());
    });
}

/// Two of one application never share a version, and the one that comes late is told that its rows
/// are there.
///
/// spec: GROUP-4
#[test]
fn one_application_once_a_version() {
    let slow = Slow::new(3, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        let once =
            |id: i64, app: &str, version| table.append(ids([id]), Append::new().once(app, version));
        let same = [once(1, "a", 1), once(1, "a", 1), once(1, "a", 1), once(2, "b", 1)];
        let done = join_all(same).await;
        let changed = |it: &Result<Committed>| it.as_ref().unwrap().changed();
        assert_eq!(done.iter().filter(|it| changed(it)).count(), 2);
        assert_eq!(rows(&table).await, [1, 2]);
        // Those that were superfluous left nothing behind.
        assert_eq!(data_files(&world).await, 2);

        let next = [once(3, "a", 2), once(4, "a", 3), once(5, "a", 4), once(6, "b", 2)];
        let done = join_all(next).await;
        let landed: Vec<bool> = done.iter().map(changed).collect();
        let there = rows(&table).await;
        let found: Vec<bool> = [3, 4, 5, 6].iter().map(|it| there.contains(it)).collect();
        assert_eq!(landed, found);
        // Whatever their order, the newest of an application lands.
        assert!(landed[2] && landed[3], "{landed:?}");
        let at = versions(&done);
        let of_a: Vec<u64> = (0..3).filter(|it| landed[*it]).map(|it| at[it]).collect();
        assert_eq!(of_a.iter().collect::<BTreeSet<_>>().len(), of_a.len(), "{of_a:?}");
    });
}

/// An overwrite among them goes by itself, in its turn, and those around it together.
///
/// spec: GROUP-2, GROUP-5
#[test]
fn an_overwrite_has_its_turn() {
    let slow = Slow::new(4, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = world.table(0);
        let schema = Schema::parse_ddl("id long").unwrap();
        let create = Create::new(schema).property("delta.isolationLevel", "WriteSerializable");
        table.create_here(create).await.unwrap();
        table.append(ids([100]), Append::new()).await.unwrap();
        let over = table.overwrite(ids([50]), Overwrite::all());
        let (appended, over) = futures::join!(at_once(&table, 0..8), over);
        let over = over.unwrap().version();
        let at = versions(&appended);
        assert!(at.iter().all(|it| *it != 0 && *it != over.get()), "{at:?} {over}");
        // The overwrite, one that went first, and those before and after the overwrite.
        let log = history(&table).await;
        assert!(log.len() <= 2 + 4, "{}", log.len());
        let mut expected: Vec<i64> = (0..8).collect();
        expected.push(50);
        assert_eq!(rows(&table).await, expected);
    });
}

/// The schema changes under a group: it is in no version, everybody is told why, nothing stays.
///
/// spec: GROUP-6
#[test]
fn a_conflict_is_told_to_all() {
    let slow = Slow::new(5, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        table.snapshot().await.unwrap();
        let other = world.table(1);
        let held = table.snapshot().await.unwrap();
        other.append(wider(60), Append::new().evolve_schema(true)).await.unwrap();
        let appends = (0..10).map(|id| held.append(ids([id]), Append::new()));
        for it in join_all(appends).await {
            let error = it.err().unwrap();
            let winner = error.conflict().unwrap();
            assert_eq!((error.code(), winner.version), (Code::Conflict, Version::from(1)));
        }
        assert_eq!((rows(&table).await, data_files(&world).await), (vec![60], 1));
    });
}

/// A member whose deadline passes while its group is under way is told that the outcome is open,
/// with an id that tells later; one that is still in line is told that nothing was done.
///
/// spec: GROUP-7
#[test]
fn deadlines_are_each_ones_own() {
    let slow = Slow::new(6, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        let held = table.snapshot().await.unwrap();
        let append = |id: i64, seconds: u64| {
            let table = table.with_op(Op::new(Duration::from_secs(seconds)));
            async move { table.append(ids([id]), Append::new()).await }
        };
        world.hang(Duration::from_secs(10));
        // One goes first; two wait in line and are taken after ten seconds; the rest come too late.
        let lone = append(1, 60);
        let waits = join_all([append(2, 15), append(3, 60)]);
        let late = append(4, 5);
        let ((lone, told), late) = futures::join!(futures::future::join(lone, waits), late);
        assert!(lone.is_ok());
        let late = late.err().unwrap();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{late:?}");
        let open = told[0].as_ref().err().unwrap();
        assert_eq!(open.code(), Code::OutcomeUnknown);
        let landed = told[1].as_ref().unwrap().version();
        let id = &open.unresolved().unwrap().id;
        assert_eq!(table.resolve(id).await.unwrap(), Resolved::Committed(landed));
        assert_eq!(rows(&table).await, [1, 2, 3]);
        drop(held);
    });
}

/// What follows a landed commit may take longer than somebody has time: they are told that it has
/// landed.
///
/// spec: GROUP-7
#[test]
fn what_has_landed_is_told_in_time() {
    let slow = Slow::new(8, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        world.linger(Duration::from_secs(40));
        let append = |id: i64, seconds: u64| {
            let table = table.with_op(Op::new(Duration::from_secs(seconds)));
            async move { table.append(ids([id]), Append::new()).await }
        };
        let told = join_all([append(1, 600), append(2, 20), append(3, 20), append(4, 600)]).await;
        let versions: Vec<u64> =
            told.iter().map(|it| it.as_ref().unwrap().version().get()).collect();
        assert_eq!(versions[1..], [versions[1]; 3]);
        let env = world.process(0);
        let began = env.elapsed();
        let alone = append(5, 20).await.unwrap();
        assert!(env.elapsed() - began <= Duration::from_secs(20));
        assert!(alone.changed());
        assert_eq!(alone.metrics()["numFiles"], "1");
        assert_eq!(rows(&table).await, [1, 2, 3, 4, 5]);
    });
}

/// What follows a commit is put off by the next ones, but not without end: while nine checksums are
/// on their way, no tenth commit is sent.
///
/// spec: GROUP-13
#[test]
fn what_follows_does_not_pile_up() {
    let slow = Slow::new(10, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await.with_op(Op::new(Duration::from_secs(600)));
        world.linger(Duration::from_secs(40));
        let before = world.puts().0;
        // Each has something else to say, so none goes with another.
        let append = |id: i64| {
            let options = Append::new().user_metadata(id.to_string());
            table.append(ids([id]), options)
        };
        let later = async {
            world.sleep(Duration::from_secs(20)).await;
            world.puts().0
        };
        let (done, commits) = futures::join!(join_all((0..20).map(append)), later);
        assert_eq!(commits - before, 9);
        let at: BTreeSet<u64> = versions(&done).into_iter().collect();
        assert_eq!(at, (1..=20).collect());
        assert_eq!(rows(&table).await, (0..20).collect::<Vec<_>>());
    });
}

/// A commit that is under way by itself ends by its own clock, which the store may still draw out:
/// then its caller is told, a minute after the deadline, that the outcome is unknown.
///
/// spec: GROUP-7
#[test]
fn a_lone_commit_past_its_deadline() {
    let slow = Slow::new(11, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = world.table(0);
        let first = Append::new().partition_by(["p"]);
        table.append(parts(&[("a", 0)]), first).await.unwrap();
        let env = world.process(0);
        let hurried = table.with_op(Op::new(Duration::from_secs(15)));
        let took = |began: Duration| (env.elapsed() - began).as_secs();
        let open = |it: Result<Committed>| {
            let error = it.err().unwrap();
            assert_eq!(error.code(), Code::OutcomeUnknown, "{error}");
            error.unresolved().unwrap().id.clone()
        };

        let began = env.elapsed();
        world.hang(Duration::from_secs(1000));
        let id = open(hurried.append(parts(&[("a", 1)]), Append::new()).await);
        assert_eq!(took(began), 15);
        assert!(id.ends_with("@1"), "{id}");
        assert_eq!(table.resolve(&id).await.unwrap(), Resolved::Unknown);
        world.hang(TAKES);

        // Another changes the schema; the commit is refused, and its files are long in going.
        let held = hurried.snapshot().await.unwrap();
        let wider = Append::new().evolve_schema(true);
        world.table(1).append(wider_parts(), wider).await.unwrap();
        assert_eq!(table.resolve(&id).await.unwrap(), Resolved::NotCommitted);
        world.cling(Duration::from_secs(1000));
        let began = env.elapsed();
        let names: Vec<String> = (0..40).map(|it| format!("{it:02}")).collect();
        let rows: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(0..).collect();
        let id = open(held.append(parts(&rows), Append::new()).await);
        assert_eq!(took(began), 15 + 60);
        let found = table.resolve(&id).await.unwrap();
        assert!(!matches!(found, Resolved::Committed(_)), "{id} {found:?}");
    });
}

/// Who landed with others goes on before the checksum is written, while somebody is still in line;
/// the last ones wait for theirs.
///
/// spec: GROUP-12
#[test]
fn the_checksum_holds_nobody_up() {
    let slow = Slow::new(9, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        let env = world.process(0);
        let took = |id: i64, wait: Duration| {
            let (table, env, world) = (table.clone(), env.clone(), world.clone());
            async move {
                world.sleep(wait).await;
                let began = env.elapsed();
                let done = table.append(ids([id]), Append::new()).await.unwrap();
                (done.version().get(), env.elapsed() - began)
            }
        };
        // Gets into line once the second and the third have left it.
        let late = TAKES * 2;
        let lone = took(1, Duration::ZERO);
        world.linger(Duration::from_secs(40));
        let together = [took(2, TAKES / 2), took(3, TAKES / 2)];
        let (first, group, last) = futures::join!(lone, join_all(together), took(4, late));
        assert!(first.0 < group[0].0 && group[0].0 < last.0);
        assert_eq!(group[0].0, group[1].0);
        assert!(group.iter().all(|it| it.1 < Duration::from_secs(1)), "{group:?}");
        assert!(Duration::from_secs(40) <= last.1, "{last:?}");
    });
}

/// Whoever goes away in the middle hurts nobody, and what was begun is finished.
///
/// spec: GROUP-8
#[test]
fn callers_that_leave_hurt_nobody() {
    let slow = Slow::new(7, 0);
    let world = slow.clone();
    slow.run(async move {
        let table = made(&world).await;
        let patient = at_once(&table, 0..3);
        let hasty = async {
            let gone = join_all((3..6).map(|id| table.append(ids([id]), Append::new())));
            // In the middle of the commits.
            let timer = world.sleep(TAKES * 2 + TAKES / 2);
            drop(futures::future::select(Box::pin(gone), timer).await);
        };
        let (done, ()) = futures::join!(patient, hasty);
        assert!(done.iter().all(|it| it.is_ok()));
        world.sleep(Duration::from_secs(1)).await;
        let rows = rows(&table).await;
        assert!([0, 1, 2].iter().all(|it| rows.contains(it)), "{rows:?}");
        at_once(&table, 6..9).await.into_iter().for_each(|it| drop(it.unwrap()));
    });
}

/// Processes that each commit in groups, over a store that loses answers: what is acknowledged
/// stands there once, where it was said; what failed stands nowhere; what is open is settled later.
///
/// spec: GROUP-9
#[test]
fn groups_of_many_processes_under_faults() {
    for seed in 0..60 {
        let slow = Slow::new(seed, 3);
        let world = slow.clone();
        slow.run(async move {
            made(&world).await;
            let process = |number: u32| {
                let table = world.table(number).with_op(Op::new(Duration::from_secs(3)));
                async move {
                    let first = i64::from(number) * 100;
                    let mut all = Vec::new();
                    for round in 0..3 {
                        let rows = first + round * 10..first + round * 10 + 6;
                        let done = at_once(&table, rows.clone()).await;
                        all.extend(rows.zip(done));
                    }
                    all
                }
            };
            let told = join_all((1..4).map(process)).await;
            // Whatever is on its way arrives.
            world.sleep(Duration::from_secs(5)).await;
            let table = world.table(0);
            let there = rows(&table).await;
            let once: BTreeSet<i64> = there.iter().copied().collect();
            assert_eq!(once.len(), there.len(), "seed {seed}: {there:?}");
            for (id, told) in told.into_iter().flatten() {
                match told {
                    Ok(done) => {
                        assert!(once.contains(&id), "seed {seed}: {id} is lost");
                        let then = table.snapshot_at(done.version()).await.unwrap();
                        assert_eq!(then.version(), done.version());
                    }
                    Err(it) if it.kind() == ErrorKind::Unresolved => {
                        let open = &it.unresolved().unwrap().id;
                        let landed = table.resolve(open).await.unwrap();
                        let is_there = matches!(landed, Resolved::Committed(_));
                        assert_eq!(is_there, once.contains(&id), "seed {seed}: {id} {open}");
                    }
                    Err(it) => assert!(!once.contains(&id), "seed {seed}: {id} landed: {it:?}"),
                }
            }
        });
    }
}
