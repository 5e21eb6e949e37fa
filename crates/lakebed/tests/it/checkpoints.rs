//! Checkpoints that cost what has changed, checksums with every commit; the doctor, which holds
//! every one of them against the commits, judges.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures::executor::block_on;
use lakebed::{
    Append, Create, Doctor, Overwrite, Scan, Schema, Snapshot, Table, Version, col, lit,
};
use lakebed_log::action::{Action, Sidecar};
use lakebed_log::batch::{LogBatch, Width};

use crate::help::{fresh, ids, memory, parts, rows, table};

/// A table on disk that wants the second layout.
struct Second {
    folder: tempfile::TempDir,
}

impl Second {
    fn new(properties: &[(&str, &str)]) -> Second {
        let second = Second { folder: tempfile::tempdir().unwrap() };
        let schema = Schema::parse_ddl("p string, id long").unwrap();
        let mut create =
            Create::new(schema).partition_by(["p"]).property("delta.checkpointPolicy", "v2");
        for (key, value) in properties {
            create = create.property(*key, *value);
        }
        block_on(second.table().create_here(create)).unwrap();
        second
    }

    fn place(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn table(&self) -> Table {
        table(self.place())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("_delta_log")
    }

    /// The top levels by version.
    fn top_levels(&self) -> BTreeMap<u64, LogBatch> {
        let mut found = BTreeMap::new();
        for name in names(&self.log()) {
            if name.contains(".checkpoint.") {
                assert!(name.ends_with(".json"), "{name}");
                let bytes = fs::read(self.log().join(&name)).unwrap();
                let read = LogBatch::from_json_checkpoint(&bytes, Width::Wide).unwrap();
                found.insert(name[..20].parse().unwrap(), read);
            }
        }
        found
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn paths(top: &LogBatch) -> BTreeSet<&str> {
    top.sidecars.iter().map(|it| it.path.as_str()).collect()
}

#[track_caller]
fn check_sound(table: &Table) {
    let report = block_on(table.doctor(Doctor::new())).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings());
}

/// spec: CKPT-25, CKPT-26, CKPT-27
#[test]
fn the_second_layout_shares_what_has_not_changed() {
    let second = Second::new(&[]);
    let table = second.table();
    for id in 1..=30 {
        block_on(table.append(parts(&[("a", id), ("b", -id)]), Append::new())).unwrap();
    }
    let first = Overwrite::filter(col("p").eq(lit("b")));
    block_on(table.overwrite(parts(&[("b", 0)]), first)).unwrap();
    for id in 32..=41 {
        block_on(table.append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    let tops = second.top_levels();
    assert_eq!(tops.keys().copied().collect::<Vec<_>>(), [10, 20, 30, 40]);
    let shared = |a: u64, b: u64| paths(&tops[&a]).intersection(&paths(&tops[&b])).count();
    assert_eq!((shared(10, 20), shared(20, 30)), (1, 2), "each adds one");
    assert_eq!(shared(30, 40), 0, "a file of each is gone");
    let there = names(&second.log().join("_sidecars"));
    for (version, top) in &tops {
        assert!(paths(top).iter().all(|it| there.iter().any(|name| name == it)), "{version}");
        assert!(top.adds.is_none() && top.removes.is_none());
    }
    check_sound(&second.table());

    // A cold handle knows nothing of the sidecars, and shares them all the same.
    let before = second.top_levels();
    for id in 42..=50 {
        block_on(second.table().append(parts(&[("c", id)]), Append::new())).unwrap();
    }
    let tops = second.top_levels();
    assert!(paths(&before[&40]).is_subset(&paths(&tops[&50])));

    // Opened by the checkpoint alone.
    for version in 0..50 {
        fs::remove_file(second.log().join(format!("{version:020}.json"))).unwrap();
    }
    let mut expected: Vec<i64> = (1..=30).chain(32..=50).chain([0]).collect();
    expected.sort_unstable();
    assert_eq!(rows(&block_on(second.table().snapshot()).unwrap()), expected);
}

/// What is lost of a top level is noticed, whatever it is: ours by the checksum in its first line,
/// others' by the hint's count, when all of its files are asked for.
///
/// spec: HINT-9, CKPT-32
#[test]
fn top_levels_that_lack_something() {
    let second = Second::new(&[]);
    for id in 1..=12 {
        block_on(second.table().append(parts(&[("a", id), ("b", id)]), Append::new())).unwrap();
    }
    let names = names(&second.log());
    let top = names.iter().find(|it| it.contains("10.checkpoint.")).unwrap();
    let top = second.log().join(top);
    for version in 0..10 {
        fs::remove_file(second.log().join(format!("{version:020}.json"))).unwrap();
    }
    let sound = fs::read_to_string(&top).unwrap();
    let (first, rest) = sound.split_once('\n').unwrap();
    let read = || block_on(async { second.table().snapshot().await?.files().await });
    let is_there = || read().map(|it| it.files.len()).map_err(|it| it.code());
    let lost = Err(lakebed::Code::CorruptCheckpoint);
    assert_eq!(is_there(), Ok(24));
    for (what, with) in [("\"sidecar\"", "\"sidecas\""), ("-", "_"), ("}\n{", "}\n\n{")] {
        fs::write(&top, format!("{first}\n{}", rest.replacen(what, with, 1))).unwrap();
        assert_eq!(is_there(), lost, "{what}");
    }

    // One of another writer, with two sidecars: that of ours, and one that holds no file.
    let none: Vec<&str> = rest.lines().filter(|it| !it.contains("\"sidecar\"")).collect();
    let marker = "{\"checkpointMetadata\":{\"version\":10}}";
    let foreign = |lines: &[&str]| fs::write(&top, [&[marker], lines].concat().join("\n"));
    foreign(&rest.lines().collect::<Vec<_>>()).unwrap();
    assert_eq!(is_there(), Ok(24));
    foreign(&none).unwrap();
    assert_eq!(is_there(), lost, "no sidecar");
    let other = rest.lines().find(|it| it.contains("\"sidecar\"")).unwrap();
    let hint = second.log().join("_last_checkpoint");
    let told = fs::read_to_string(&hint).unwrap();
    assert!(told.contains("\"numOfAddFiles\":20"), "{told}");
    fs::write(&hint, told.replace(":20", ":21")).unwrap();
    foreign(&[&none[..], &[other]].concat()).unwrap();
    assert!(block_on(second.table().snapshot()).is_ok(), "it takes all files to count");
    assert_eq!(is_there(), lost, "a sidecar");
    fs::remove_file(&hint).unwrap();
    assert_eq!(is_there(), Ok(24), "nobody says how many");
    for (count, expected) in [("20", Ok(24)), ("21", lost)] {
        let tags = format!("\"tags\":{{\"numOfAddFiles\":\"{count}\"}}");
        let marker = marker.replace("10}", &format!("10,{tags}}}"));
        fs::write(&top, [&[&*marker], &none[..], &[other]].concat().join("\n")).unwrap();
        assert_eq!(is_there(), expected, "{count}");
    }
}

/// What a handle expects of the checkpoint that it was opened with, it does not expect of the next.
///
/// spec: HINT-9
#[test]
fn a_smaller_checkpoint_of_the_same_handle() {
    let second = Second::new(&[]);
    for id in 1..=10 {
        block_on(second.table().append(parts(&[("a", id), ("b", id)]), Append::new())).unwrap();
    }
    let (held, reader) = (second.table(), second.table());
    let open = |it: &Table| block_on(async { it.snapshot().await?.files().await }).unwrap();
    assert_eq!((open(&held).files.len(), open(&reader).files.len()), (20, 20));
    block_on(held.overwrite(parts(&[("a", 0)]), Overwrite::all())).unwrap();
    for id in 12..=20 {
        block_on(held.append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    assert!(second.top_levels().contains_key(&20));
    for table in [&held, &reader, &second.table()] {
        let snapshot = block_on(table.snapshot()).unwrap();
        assert_eq!(block_on(snapshot.files()).unwrap().files.len(), 10);
        assert!(snapshot.skipped().is_empty(), "{:?}", snapshot.skipped());
    }
}

/// A file that gets other statistics without being removed is in one sidecar all the same.
///
/// spec: CKPT-26
#[test]
fn files_that_are_added_again_are_in_one_sidecar() {
    let second = Second::new(&[("delta.checkpointInterval", "2")]);
    let table = second.table();
    for id in 1..=3 {
        block_on(table.append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    let state = block_on(block_on(table.snapshot()).unwrap().files()).unwrap();
    let again: Vec<Action> = (state.files.iter())
        .map(|at| {
            let add = state.files.get(at).unwrap();
            Action::Add(lakebed::Add { stats: None, data_change: false, ..add })
        })
        .collect();
    let text: String = again.iter().map(|it| it.to_json_line() + "\n").collect();
    fs::write(second.log().join("00000000000000000004.json"), text).unwrap();
    for id in [5, 6] {
        block_on(second.table().append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    assert_eq!(second.top_levels().keys().copied().collect::<Vec<_>>(), [2, 6]);
    check_sound(&second.table());
}

/// Eight small ones become one, and the old ones go with cleanup alone.
///
/// spec: CKPT-26
#[test]
fn small_sidecars_are_put_together() {
    let second = Second::new(&[("delta.checkpointInterval", "1")]);
    let table = second.table();
    for id in 1..=40 {
        block_on(table.append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    let tops = second.top_levels();
    assert!(tops.values().all(|it| it.sidecars.len() <= 14));
    let last = &tops[&40];
    assert!(last.sidecars.len() < 10, "{}", last.sidecars.len());
    check_sound(&second.table());
    let snapshot = block_on(second.table().snapshot()).unwrap();
    assert_eq!(rows(&snapshot), (1..=40).collect::<Vec<_>>());
}

/// A handle that does not know what a sidecar holds reads it, or says what is wrong with it.
#[test]
fn sidecars_that_do_not_tell_their_files() {
    type Change = fn(&std::path::Path);
    let changes: [(Change, lakebed::Code); 3] = [
        (|it| fs::remove_file(it).unwrap(), lakebed::Code::MissingFile),
        (|it| fs::write(it, "").unwrap(), lakebed::Code::SizeMismatch),
        (
            |it| fs::write(it, vec![7; fs::read(it).unwrap().len()]).unwrap(),
            lakebed::Code::CorruptCheckpoint,
        ),
    ];
    for (change, expected) in changes {
        let second = Second::new(&[("delta.checkpointInterval", "4")]);
        for id in 1..=5 {
            block_on(second.table().append(parts(&[("a", id)]), Append::new())).unwrap();
        }
        let tops = second.top_levels();
        let sidecar = &tops.values().last().unwrap().sidecars[0];
        change(&second.log().join("_sidecars").join(&sidecar.path));
        let snapshot = block_on(second.table().snapshot()).unwrap();
        let error = block_on(snapshot.checkpoint()).unwrap_err();
        assert_eq!(error.code(), expected, "{error:?}");
        assert!(error.to_string().contains(&sidecar.path), "{error}");
    }
}

fn tag<'a>(sidecar: &'a Sidecar, key: &str) -> Option<&'a str> {
    sidecar.tags.as_ref()?.get(key)?.as_deref()
}

/// spec: CKPT-29
#[test]
fn tags_say_what_files_have_in_common() {
    let second = Second::new(&[("delta.checkpointInterval", "1")]);
    let table = second.table();
    for (at, p) in ["a", "b", "c"].into_iter().enumerate() {
        let id = i64::try_from(at).unwrap() * 10;
        block_on(table.append(parts(&[(p, id), (p, id + 5)]), Append::new())).unwrap();
    }
    let tops = second.top_levels();
    let bounds: Vec<&str> =
        tops[&3].sidecars.iter().filter_map(|it| tag(it, "lakebed.bounds")).collect();
    assert_eq!(bounds.len(), 3);
    let last: serde_json::Value = serde_json::from_str(bounds[2]).unwrap();
    assert_eq!(last["partition"]["p"], serde_json::json!({"min": "c", "max": "c"}));
    assert_eq!(last["columns"][0]["path"], serde_json::json!(["id"]));
    assert_eq!(
        (&last["columns"][0]["min"], &last["columns"][0]["max"]),
        (&"20".into(), &"25".into())
    );
    for sidecar in &tops[&3].sidecars {
        assert_eq!(tag(sidecar, "lakebed.name"), Some(sidecar.path.as_str()));
    }
}

/// What cleanup takes from under a checkpoint that is being written, the checkpoint does not name;
/// and one whose sidecars are all there stays, whatever became of the one before it.
///
/// spec: CKPT-28
#[test]
fn a_checkpoint_whose_sidecars_are_gone_is_taken_back() {
    for gone in [false, true] {
        let second = Second::new(&[]);
        let table = second.table();
        for id in 1..=12 {
            block_on(table.append(parts(&[("a", id)]), Append::new())).unwrap();
        }
        let held = block_on(table.snapshot()).unwrap();
        let is_top = |it: &String| it.contains(".checkpoint.");
        let top = names(&second.log()).into_iter().find(is_top).unwrap();
        // It has been read; only its own look afterwards tells.
        block_on(held.files()).unwrap();
        fs::remove_file(second.log().join(&top)).unwrap();
        if gone {
            fs::remove_dir_all(second.log().join("_sidecars")).unwrap();
            let error = block_on(held.checkpoint()).unwrap_err();
            assert_eq!(error.code(), lakebed::Code::LogMoving, "{error:?}");
        } else {
            block_on(held.checkpoint()).unwrap();
        }
        assert_eq!(names(&second.log()).iter().any(is_top), !gone);
        let now = block_on(second.table().snapshot()).unwrap();
        assert_eq!(rows(&now), (1..=12).collect::<Vec<_>>());
    }
}

/// Facts of the checksum of every version against the state of that version.
fn check_checksums(place: &str, expected: &[bool]) {
    for (version, expected) in expected.iter().enumerate() {
        let version = Version::new(u64::try_from(version).unwrap()).unwrap();
        let then = block_on(table(place).snapshot_at(version)).unwrap();
        let facts = block_on(then.checksum()).unwrap();
        assert_eq!(facts.is_some(), *expected, "version {version}");
        let state = block_on(then.files()).unwrap();
        let wrong = facts.map(|it| it.mismatches(&state)).unwrap_or_default();
        assert_eq!(wrong, [""; 0], "version {version}");
    }
}

/// Handles that know nothing, handles that know much, and one that loses to others.
///
/// spec: CRC-13
#[test]
fn checksums_with_every_commit() {
    let place = memory();
    block_on(table(&place).append(parts(&[("a", 0)]), Append::new())).unwrap();
    for id in 1..4 {
        block_on(table(&place).append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    let held: Snapshot = block_on(table(&place).snapshot()).unwrap();
    for id in 4..7 {
        block_on(table(&place).append(parts(&[("b", id)]), Append::new())).unwrap();
    }
    block_on(held.append(parts(&[("c", 7)]), Append::new())).unwrap();
    let (mine, _) = fresh(&place);
    let b = Overwrite::filter(col("p").eq(lit("b")));
    block_on(mine.overwrite(parts(&[("b", 8)]), b)).ok();
    for id in 9..14 {
        block_on(mine.append(parts(&[("b", id)]), Append::new())).unwrap();
    }
    let newest = block_on(table(&place).snapshot()).unwrap().version().get();
    check_checksums(&place, &vec![true; usize::try_from(newest + 1).unwrap()]);
}

/// After a commit that does not tell, nothing is said until the checkpoint counts the files.
///
/// spec: CRC-12, CRC-13
#[test]
fn no_checksum_is_better_than_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    for id in 0..3 {
        block_on(table(place).append(ids([id]), Append::new())).unwrap();
    }
    let state = block_on(block_on(table(place).snapshot()).unwrap().files()).unwrap();
    let add = state.files.get(state.files.iter().next().unwrap()).unwrap();
    let again = Action::Add(lakebed::Add { stats: None, data_change: false, ..add });
    let log = folder.path().join("_delta_log");
    let text = again.to_json_line() + "\n";
    fs::write(log.join("00000000000000000003.json"), text).unwrap();
    for id in 4..13 {
        block_on(table(place).append(ids([id]), Append::new())).unwrap();
    }
    let mut expected = vec![true; 13];
    expected[3..10].fill(false);
    check_checksums(place, &expected);
    let newest = block_on(table(place).snapshot()).unwrap();
    let plan = block_on(newest.plan(&Scan::new())).unwrap();
    assert_eq!(plan.tasks().len(), 12);
    check_sound(&table(place));
}

/// A count that was damaged is not handed on.
///
/// spec: CRC-13, CRC-14
#[test]
fn damaged_counts_end_with_their_version() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    for id in 0..3 {
        block_on(table(place).append(ids([id]), Append::new())).unwrap();
    }
    let damaged = folder.path().join(format!("_delta_log/{:020}.crc", 2));
    let text = fs::read_to_string(&damaged).unwrap();
    assert!(text.contains("\"numFiles\":3"), "{text}");
    fs::write(&damaged, text.replace("\"numFiles\":3", "\"numFiles\":7")).unwrap();
    block_on(table(place).append(ids([3]), Append::new())).unwrap();
    fs::remove_file(damaged).unwrap();
    check_checksums(place, &[true, true, false, false]);
}

/// A commit names the one before it, also where its base is a checkpoint and nothing above it.
///
/// spec: TXN-2
#[test]
fn commits_name_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let mut before = serde_json::Value::Null;
    for id in 0..13 {
        block_on(table(place).append(ids([id]), Append::new())).unwrap();
        let path = folder.path().join(format!("_delta_log/{id:020}.json"));
        let text = fs::read_to_string(path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["commitInfo"]["prevTxnId"], before, "version {id}");
        before = line["commitInfo"]["txnId"].clone();
        assert!(before.is_string());
    }
}

/// Commits are put together by fives, and read in that form.
///
/// spec: CMP-10
#[test]
fn commits_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let schema = Schema::parse_ddl("p string, id long").unwrap();
    let create = Create::new(schema)
        .partition_by(["p"])
        .property("delta.checkpointInterval", "12")
        .property("lakebed.logCompactionInterval", "5");
    block_on(table(place).create_here(create)).unwrap();
    for id in 1..=20 {
        block_on(table(place).append(parts(&[("a", id)]), Append::new())).unwrap();
    }
    let is_compacted = |it: &String| it.ends_with(".compacted.json");
    let found: Vec<String> =
        names(&folder.path().join("_delta_log")).into_iter().filter(is_compacted).collect();
    let named = |first: u64, last: u64| format!("{first:020}.{last:020}.compacted.json");
    assert_eq!(found, [named(0, 4), named(5, 9), named(13, 17)]);
    check_sound(&table(place));
    let (cold, op) = fresh(place);
    let snapshot = block_on(cold.snapshot()).unwrap();
    // The hint, the checkpoint, one file for five commits, three commits.
    assert_eq!(op.usage().gets, 6);
    assert_eq!(rows(&snapshot), (1..=20).collect::<Vec<_>>());
}
