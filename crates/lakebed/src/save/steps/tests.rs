//! Checkpoints on the way: which versions get one, and what the last of them holds.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use futures::executor::block_on;
use lakebed_log::checksum::Counts;
use lakebed_log::expr::{col, lit};
use lakebed_log::log_path::LogPath;
use lakebed_log::schema::Schema;

use super::*;
use crate::append::Append;
use crate::create::Create;
use crate::doctor::Doctor;
use crate::overwrite::Overwrite;
use crate::snapshot::Snapshot;
use crate::table::Table;

fn ids(ids: [i64; 2]) -> RecordBatch {
    let ids = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids as _)]).unwrap()
}

/// Versions 0 to 9 without a checkpoint; 6 takes away what 1 and 2 brought.
fn grown(name: &str, policy: &str) -> Table {
    let table = Table::open_with(&Env::tokio(), &format!("memory://steps/{name}")).unwrap();
    let create = Create::new(Schema::parse_ddl("id long").unwrap())
        .property("delta.checkpointInterval", "1000")
        .property("delta.checkpointPolicy", policy);
    block_on(table.create_here(create)).unwrap();
    for version in 1..10 {
        let rows = ids([version * 10, version * 10 + 1]);
        let done = match version {
            6 => {
                let gone = Overwrite::filter(col("id").lt(lit(30)));
                block_on(table.overwrite(ids([6, 7]), gone)).unwrap().version()
            }
            _ => block_on(table.append(rows, Append::new())).unwrap().version(),
        };
        assert_eq!(done.get(), version.cast_unsigned());
    }
    table
}

fn run(table: &Table, step: u64) -> Option<Saved> {
    let snapshot = block_on(table.snapshot()).unwrap();
    let op = Op::default();
    let (env, store) = (Env::tokio(), snapshot.store());
    block_on(in_steps(&env, &op, store, snapshot.loaded(), Some(step))).unwrap()
}

/// Versions that have a checkpoint.
fn checkpoints(snapshot: &Snapshot) -> Vec<u64> {
    let files = block_on(load::list(&Op::default(), snapshot.store(), None)).unwrap();
    let versions = files.iter().filter_map(|it| match it.path {
        LogPath::Checkpoint(version, _) => Some(version.get()),
        _ => None,
    });
    versions.collect()
}

/// Whatever the steps, the last checkpoint is the one of the version, and it holds what the commits
/// say; those on the way do as well.
///
/// spec: CKPT-31
#[test]
fn steps_lead_to_the_same_checkpoint() {
    let table = grown("same", "classic");
    let snapshot = block_on(table.snapshot()).unwrap();
    assert!(run(&table, u64::MAX).is_none(), "one step is no way");
    assert!(checkpoints(&snapshot).is_empty());

    let sizes: Vec<u64> = tail(snapshot.loaded(), None).map(|it| it.size).collect();
    let saved = run(&table, sizes[0] + sizes[1] + sizes[2]).unwrap();
    assert_eq!(saved.file.path.version().get(), 9);
    let there = checkpoints(&snapshot);
    assert_eq!((there[0], there.last()), (2, Some(&9)), "{there:?}");
    assert!(3 < there.len() && there.len() < 10, "{there:?}");

    let again = Table::open_with(&Env::tokio(), snapshot.store().location()).unwrap();
    let opened = block_on(again.snapshot()).unwrap();
    assert_eq!(opened.loaded().segment.checkpoint_version, Some(opened.version()));
    assert_eq!(block_on(opened.files()).unwrap().files.sum(), {
        block_on(snapshot.files()).unwrap().files.sum()
    });
    let report = block_on(again.doctor(Doctor::new())).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings());
    assert!(run(&again, 1).is_none(), "nothing is left to do");
}

/// In the second layout files would stand together as the steps had them.
///
/// spec: CKPT-31
#[test]
fn the_second_layout_is_made_at_once() {
    let table = grown("second", "v2");
    assert!(run(&table, 1).is_none());
    block_on(block_on(table.snapshot()).unwrap().checkpoint()).unwrap();
    assert_eq!(checkpoints(&block_on(table.snapshot()).unwrap()), [9]);
}

/// A commit that is larger than a step is one; and what is there, because somebody was interrupted
/// or was faster, is gone on from.
///
/// spec: CKPT-31
#[test]
fn steps_go_on_from_what_is_there() {
    let table = grown("on", "classic");
    let held = block_on(table.snapshot()).unwrap();
    for version in [2, 4] {
        let older = block_on(table.snapshot_at(Version::new(version).unwrap())).unwrap();
        block_on(older.checkpoint()).unwrap();
    }
    // This handle knows of none of them.
    let (env, op) = (Env::tokio(), Op::default());
    let saved = in_steps(&env, &op, held.store(), held.loaded(), Some(1));
    let saved = block_on(saved).unwrap().unwrap();
    let files = block_on(held.files()).unwrap();
    assert_eq!(saved.counts, Counts::of(files.files.sum()));
    assert_eq!(checkpoints(&held), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

    let again = Table::open_with(&Env::tokio(), held.store().location()).unwrap();
    let report = block_on(again.doctor(Doctor::new())).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings());
}
