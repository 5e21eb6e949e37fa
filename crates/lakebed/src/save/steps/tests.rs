//! Checkpoints on the way: which versions get one, and what the last of them holds.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use futures::executor::block_on;
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
    for policy in ["classic", "v2"] {
        let table = grown(policy, policy);
        let snapshot = block_on(table.snapshot()).unwrap();
        assert!(run(&table, u64::MAX).is_none(), "one step is no way");
        assert!(checkpoints(&snapshot).is_empty());

        let sizes: Vec<u64> = tail(snapshot.loaded()).map(|it| it.size).collect();
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
}

/// A commit that is larger than a step is one, and who was interrupted goes on from there.
///
/// spec: CKPT-31
#[test]
fn a_step_is_one_commit_at_least() {
    let table = grown("on", "classic");
    let older = block_on(table.snapshot_at(Version::new(4).unwrap())).unwrap();
    block_on(older.checkpoint()).unwrap();
    let again = Table::open_with(&Env::tokio(), older.store().location()).unwrap();
    run(&again, 1).unwrap();
    assert_eq!(checkpoints(&older), [4, 5, 6, 7, 8, 9]);
}
