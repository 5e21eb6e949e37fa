//! Checkpoints of tails that count as long: what they hold, and what happens around them.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed_log::action::{Action, Add, DeletionVector};
use lakebed_log::checksum::Counts;
use lakebed_log::expr::{col, lit};
use lakebed_log::log_path::LogPath;
use lakebed_log::schema::Schema;
use proptest::prelude::*;

use super::*;
use crate::append::Append;
use crate::create::Create;
use crate::doctor::Doctor;
use crate::overwrite::Overwrite;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// Every tail is long, and comes in many ranges.
const TINY: TailBounds = TailBounds { from: 0, range: 200 };

fn rows(ids: &[i64]) -> RecordBatch {
    let days = ids.iter().map(|it| it % 3).collect::<Vec<_>>();
    let (ids, days) = (Int64Array::from(ids.to_vec()), Int64Array::from(days));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("day", Arc::new(days) as _)]).unwrap()
}

fn created(name: &str, policy: &str) -> Table {
    let table = Table::open_with(&Env::tokio(), &format!("memory://tail/{name}")).unwrap();
    let create = Create::new(Schema::parse_ddl("id long, day long").unwrap())
        .partition_by(["day"])
        .property("delta.checkpointInterval", "1000")
        .property("lakebed.logCompactionInterval", "4")
        .property("delta.checkpointPolicy", policy);
    block_on(table.create_here(create)).unwrap();
    table
}

/// One commit: appends, and now and then takes something away, again and again.
fn step(table: &Table, at: i64, kind: u8) {
    let ids = [at * 3, at * 3 + 1, at * 3 + 2];
    match kind {
        0 => {
            let gone = Overwrite::filter(col("id").lt(lit(at)));
            block_on(table.overwrite(rows(&[at / 2]), gone)).map(drop).unwrap();
        }
        1 => {
            let gone = Overwrite::filter(col("day").eq(lit(at % 3)));
            block_on(table.overwrite(rows(&[at * 3 + at % 3]), gone)).map(drop).unwrap();
        }
        _ => block_on(table.append(rows(&ids), Append::new())).map(drop).unwrap(),
    }
}

/// Writes a checkpoint of the newest version, by the way that is for long tails.
fn run(table: &Table) -> Result<Option<Saved>> {
    let snapshot = block_on(table.snapshot()).unwrap();
    let op = Op::default();
    let (env, store) = (Env::tokio(), snapshot.store());
    let tail = block_on(load::long_tail(&env, &op, store, snapshot.loaded(), TINY));
    assert!(tail.map_err(load::Trouble::error)?.is_none_or(|it| it.tail.ranges() <= 32));
    block_on(from_tail_or_last(&env, &op, store, snapshot.loaded(), TINY))
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

/// What a table opened anew says, and the doctor, is what the commits say.
fn check(before: &Snapshot, saved: &Saved) {
    let again = Table::open_with(&Env::tokio(), before.store().location()).unwrap();
    let opened = block_on(again.snapshot()).unwrap();
    assert_eq!(opened.loaded().segment.checkpoint_version, Some(before.version()));
    let (expected, found) = (block_on(before.files()).unwrap(), block_on(opened.files()).unwrap());
    assert_eq!(found.files.sum(), expected.files.sum());
    assert_eq!(saved.counts, Counts::of(expected.files.sum()));
    let dead = |it: &TableState| it.files.tombstones().iter().map(|it| it.live.len()).sum::<u64>();
    assert_eq!(dead(&found), dead(&expected));
    assert_eq!(opened.head().txns, before.head().txns);
    let report = block_on(again.doctor(Doctor::new())).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Out of commits alone, and then on top of that one, in both layouts.
    ///
    /// spec: CKPT-31
    #[test]
    fn a_long_tail_gives_the_checkpoint_of_its_version(
        first in proptest::collection::vec(0u8..6, 1..14),
        later in proptest::collection::vec(0u8..6, 1..10),
        second in any::<bool>(),
        name in any::<u64>(),
    ) {
        let policy = if second { "v2" } else { "classic" };
        let table = created(&format!("{name:x}"), policy);
        let mut at = 0;
        for steps in [first, later] {
            for kind in steps {
                at += 1;
                step(&table, at, kind);
            }
            let before = block_on(table.snapshot()).unwrap();
            let before = block_on(table.snapshot_at(before.version())).unwrap();
            block_on(before.files()).unwrap();
            let saved = run(&table).unwrap().unwrap();
            check(&before, &saved);
        }
    }
}

/// Two writers of one version write the same, and the second one says so; of the second layout each
/// has its own.
///
/// spec: CKPT-31
#[test]
fn one_that_is_there_is_compared() {
    for (policy, count) in [("classic", 1), ("v2", 2)] {
        let table = created(&format!("there-{policy}"), policy);
        (1..6).for_each(|it| step(&table, it, 2));
        let held = block_on(table.snapshot()).unwrap();
        let (env, op) = (Env::tokio(), Op::default());
        let write = || from_tail_or_last(&env, &op, held.store(), held.loaded(), TINY);
        let (one, other) = block_on(async { futures::join!(write(), write()) });
        assert_eq!(one.unwrap().unwrap().counts, other.unwrap().unwrap().counts);
        assert_eq!(checkpoints(&held).len(), count, "{policy}");
        check(&held, &block_on(write()).unwrap().unwrap());
    }

    // A checkpoint that lacks a file is found out, and pointed at by nothing.
    let table = created("there-wrong", "classic");
    (1..6).for_each(|it| step(&table, it, 2));
    let held = block_on(table.snapshot()).unwrap();
    let older = Version::new(held.version().get() - 1).unwrap();
    let older = block_on(table.snapshot_at(older)).unwrap();
    let (env, op) = (Env::tokio(), Op::default());
    let less = load::files(&env, &op, held.store(), older.loaded(), Width::Wide, None);
    let mut less = block_on(less).unwrap().as_ref().clone();
    less.head = held.head().clone();
    let wrong = checkpoint::render(&less, env.now()).unwrap();
    let key = LogPath::Checkpoint(held.version(), CheckpointName::Classic).to_path();
    block_on(held.store().put(&op, &key, wrong.bytes)).unwrap();
    let found = block_on(from_tail_or_last(&env, &op, held.store(), held.loaded(), TINY));
    assert!(found.unwrap().is_none(), "the whole state has to tell");
    let hint = block_on(held.store().get(&op, &format!("{LOG_DIR}/{HINT}"), HINT_BYTES_MAX));
    assert_eq!(hint.map(drop).map_err(|it| it.code()), Err(Code::FileNotFound));
}

/// Commits on a disk are read in pieces, whatever their lines; one that is not what it was is told,
/// and one of another length as well.
///
/// spec: CKPT-31
#[test]
fn large_commits_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::open_with(&Env::tokio(), folder.path().to_str().unwrap()).unwrap();
    let create = Create::new(Schema::parse_ddl("id long").unwrap());
    block_on(table.create_here(create)).unwrap();
    let add = |it: u64| {
        let stats =
            format!(r#"{{"numRecords":{},"minValues":{{"id":{}}}}}"#, it % 7, it * 31 % 997);
        let path = format!("part-{it:0200}");
        let file = Add { path, size: 1, stats: Some(stats), ..Add::default() };
        Action::Add(file).to_json_line()
    };
    // The last line has no end, and one is longer than a piece.
    let long = format!(r#"{{"commitInfo":{{"note":"{}"}}}}"#, "x".repeat(3 << 20));
    let lines: Vec<String> =
        (0..9_000).map(add).chain([long]).chain((9_000..9_100).map(add)).collect();
    let text = lines.join("\n");
    let place = folder.path().join(LogPath::Commit(Version::from(1)).to_path());
    std::fs::write(&place, &text).unwrap();

    let held = block_on(table.snapshot()).unwrap();
    let (env, op, store) = (Env::tokio(), Op::default(), held.store());
    let tail = block_on(load::long_tail(&env, &op, store, held.loaded(), TINY));
    let tail = tail.map_err(load::Trouble::error).unwrap().unwrap();
    assert_eq!((tail.tail.live(), tail.tail.ranges()), (9_100, 32));
    let gathered = || {
        let ranges = tail.ranges(&env, &op, store).try_collect::<Vec<_>>();
        let chunks =
            block_on(ranges).unwrap().into_iter().map(|it| it.map_err(load::Trouble::error));
        let chunks = chunks.collect::<Result<Vec<_>>>().map_err(|it| it.code())?;
        Ok(chunks.into_iter().flatten().map(|it| it.live.len()).sum::<u64>())
    };
    assert_eq!(gathered(), Ok(9_100));
    for changed in [text.replace("\"size\":1", "\"size\":2"), format!("{text} ")] {
        std::fs::write(&place, changed).unwrap();
        assert_eq!(gathered(), Err(Code::ObjectChanged));
    }
    std::fs::write(&place, &text[1..]).unwrap();
    assert_eq!(gathered(), Err(Code::CorruptLog));
    std::fs::write(&place, &text).unwrap();
    let saved = block_on(from_tail_or_last(&env, &op, store, held.loaded(), TINY)).unwrap();
    assert_eq!(saved.unwrap().counts.unwrap().files, 9_100);
}

/// Adds the file `a` with a vector of its own.
fn vectored(store: &Store, version: Version, vector: char) {
    let deletion_vector = Some(DeletionVector {
        storage_type: "u".into(),
        path_or_inline_dv: format!("ab^-aqEH.-t@S}}K{{vb[*k^{vector}"),
        offset: Some(1),
        size_in_bytes: 1,
        cardinality: 1,
    });
    let add = Action::Add(Add { path: "a".into(), deletion_vector, ..Add::default() });
    let (op, key) = (Op::default(), LogPath::Commit(version).to_path());
    block_on(store.put_new(&op, &key, format!("{}\n", add.to_json_line()).into())).unwrap();
}

/// What stands in the log is for the loader to tell: here a path that is live twice, and a commit
/// that is gone.
///
/// spec: CKPT-31
#[test]
fn what_is_wrong_with_the_log_is_told_by_the_loader() {
    for policy in ["classic", "v2"] {
        let table = created(&format!("wrong-{policy}"), policy);
        (1..4).for_each(|it| step(&table, it, 2));
        let held = block_on(table.snapshot()).unwrap();
        let (env, op, store) = (Env::tokio(), Op::default(), held.store());
        vectored(store, Version::from(4), '1');
        vectored(store, Version::from(5), '2');
        let newer = block_on(load::open(&env, &op, store, None)).unwrap();
        let surveyed = || {
            let tail = block_on(load::long_tail(&env, &op, store, &newer, TINY));
            tail.map(|_| ()).map_err(|it| it.error().code())
        };
        assert_eq!(surveyed(), Err(Code::InvalidAction));
        let saved = block_on(from_tail_or_last(&env, &op, store, &newer, TINY));
        match policy {
            "classic" => assert!(saved.unwrap().is_none(), "the whole state has to tell"),
            _ => assert_eq!(saved.map(|_| ()).map_err(|it| it.code()), Err(Code::InvalidAction)),
        }
        block_on(store.delete(&op, &LogPath::Commit(Version::from(5)).to_path())).unwrap();
        assert_eq!(surveyed(), Err(Code::FileNotFound));
        assert!(checkpoints(&held).is_empty());
    }
}
