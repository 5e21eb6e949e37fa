//! States to checkpoints and back.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{RecordBatch, StructArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::action::{
    Action, Add, DeletionVector, DomainMetadata, Metadata, Protocol, Remove, SetTransaction,
    Sidecar,
};
use crate::batch::{FileUnit, Footer, LogBatch, parquet_footer};
use crate::feature::TableFeature;
use crate::log_path::{CheckpointName, LogPath};
use crate::replay::Replay;
use crate::schema::Schema;
use crate::version::Version;

/// Day 20,000 since the epoch, in milliseconds.
pub(super) const NOW: i64 = 20_000 * DAY;
const DAY: i64 = 24 * 3600 * 1000;

pub(super) fn metadata(
    ddl: &str,
    partition_columns: &[&str],
    configuration: &[(&str, &str)],
) -> Action {
    Action::Metadata(Metadata {
        id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".into(),
        name: Some("name".into()),
        description: None,
        format_provider: "parquet".into(),
        format_options: [("a".to_string(), "b".to_string())].into(),
        schema_string: Schema::parse_ddl(ddl).unwrap().to_json(),
        partition_columns: partition_columns.iter().map(ToString::to_string).collect(),
        configuration: configuration.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        created_time: Some(7),
    })
}

fn add(path: &str, p: Option<&str>, stats: Option<&str>) -> Action {
    Action::Add(Add {
        path: path.into(),
        partition_values: [("p".to_string(), p.map(Into::into))].into(),
        size: 10,
        modification_time: 5,
        data_change: true,
        stats: stats.map(Into::into),
        ..Add::default()
    })
}

/// Statistics of a file of two rows.
fn printed(min: &str, max: &str, nulls: &str) -> String {
    format!(r#"{{"numRecords":2,"minValues":{min},"maxValues":{max},"nullCount":{nulls}}}"#)
}

pub(super) fn min(x: i64) -> String {
    printed(&format!(r#"{{"x":{x}}}"#), r#"{"x":99}"#, r#"{"x":0}"#)
}

/// The state of a version whose commits, oldest first, hold these actions.
fn state(commits: &[Vec<Action>]) -> TableState {
    let version = Version::new(commits.len() as u64).unwrap();
    let mut replay = Replay::new(version, Width::Wide);
    for actions in commits.iter().rev() {
        replay.feed(LogBatch::from_actions(actions).unwrap()).unwrap();
    }
    replay.finish().unwrap()
}

fn simple(configuration: &[(&str, &str)], adds: Vec<Action>) -> TableState {
    let metadata = metadata("p int, x long, t timestamp, s string", &["p"], configuration);
    state(&[vec![Action::Protocol(Protocol::legacy()), metadata], adds])
}

fn rendered(state: &TableState) -> Checkpoint {
    render(state, Timestamp::from_millis(NOW)).unwrap()
}

/// The state that the checkpoint alone gives.
fn loaded(checkpoint: &Checkpoint, version: Version) -> TableState {
    let mut replay = Replay::new(version, Width::Wide);
    replay.feed(LogBatch::from_parquet(checkpoint.bytes.clone(), Width::Wide).unwrap()).unwrap();
    replay.finish().unwrap()
}

fn rows(checkpoint: &Checkpoint) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(checkpoint.bytes.clone()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a StructArray {
    rows.column_by_name(name).unwrap().as_struct()
}

fn paths(state: &TableState) -> Vec<String> {
    state.files.iter().map(|it| state.files.get(it).unwrap().path).collect()
}

fn tombstones(state: &TableState) -> Vec<Remove> {
    let chunks = state.files.tombstones().iter();
    chunks.flat_map(|it| it.live.iter().map(|row| it.rows.get(row as usize).unwrap())).collect()
}

fn removed(path: &str, deletion_timestamp: Option<i64>) -> Action {
    Action::Remove(Remove {
        path: path.into(),
        deletion_timestamp,
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: Some([("p".to_string(), Some("1".to_string()))].into()),
        size: Some(3),
        ..Remove::default()
    })
}

/// A state with something of everything.
fn full() -> TableState {
    let features = [TableFeature::DomainMetadata, TableFeature::AppendOnly];
    let txn = |app: &str, version| SetTransaction {
        app_id: app.into(),
        version,
        last_updated: (version == 1).then_some(NOW),
    };
    let domain = |name: &str, removed| DomainMetadata {
        domain: name.into(),
        configuration: "{}".into(),
        removed,
    };
    let mut whole = Add {
        path: "p=2/w%20x.parquet".into(),
        partition_values: [("p".to_string(), Some("2".to_string()))].into(),
        size: 1 << 40,
        modification_time: 6,
        data_change: true,
        stats: Some(min(4)),
        ..Add::default()
    };
    whole.tags = Some([("k".to_string(), Some("v".to_string())), ("n".to_string(), None)].into());
    (whole.base_row_id, whole.default_row_commit_version) = (Some(4), Some(2));
    whole.clustering_provider = Some("liquid".into());
    let protocol = Protocol::legacy().with_features(&features);
    let metadata = metadata("p int, x long, t timestamp, s string", &["p"], &[("mine", "1")]);
    state(&[
        vec![Action::Protocol(protocol), metadata, add("gone", Some("1"), None)],
        vec![
            Action::SetTransaction(txn("a", 1)),
            Action::SetTransaction(txn("b", 2)),
            Action::DomainMetadata(domain("kept", false)),
            Action::DomainMetadata(domain("dropped", false)),
            add("p=null/n", None, Some("not json")),
            Action::Add(whole),
        ],
        vec![
            Action::DomainMetadata(domain("dropped", true)),
            removed("gone", Some(NOW)),
            add("p=1/a", Some("1"), Some(&min(1))),
        ],
    ])
}

/// spec: CKPT-1, CKPT-3, CKPT-6, CKPT-11, CKPT-13
#[test]
fn gives_the_same_state() {
    let before = full();
    let checkpoint = rendered(&before);
    let after = loaded(&checkpoint, before.head.version);

    let (a, b) = (&before.head, &after.head);
    assert_eq!((&a.protocol, &a.metadata), (&b.protocol, &b.metadata));
    assert_eq!((&a.txns, &a.domains), (&b.txns, &b.domains));
    assert_eq!(b.domains.keys().collect::<Vec<_>>(), ["kept"]);
    let files = |it: &TableState| -> BTreeMap<String, Add> {
        let adds = it.files.iter().map(|at| it.files.get(at).unwrap());
        adds.map(|it| (it.path.clone(), Add { data_change: false, ..it })).collect()
    };
    assert_eq!(files(&before), files(&after));
    assert!(after.files.iter().all(|it| !after.files.get(it).unwrap().data_change));
    let expected = tombstones(&before).into_iter().map(|it| Remove { data_change: false, ..it });
    assert_eq!(tombstones(&after), expected.collect::<Vec<_>>());

    assert_eq!(checkpoint.files, 3);
    assert_eq!(checkpoint.actions, 2 + 2 + 1 + 3 + 1);
    let hint = Hint {
        version: before.head.version,
        size: Some(9),
        parts: None,
        size_in_bytes: Some(checkpoint.bytes.len() as u64),
        num_of_add_files: Some(3),
    };
    assert_eq!(checkpoint.hint, hint);
    // And again from what was loaded.
    assert_eq!(rendered(&after).bytes, checkpoint.bytes);
}

/// spec: CKPT-2, CKPT-7, CKPT-9, CKPT-11
#[test]
fn columns_of_the_file() {
    let rows = rows(&rendered(&full()));
    for row in 0..rows.num_rows() {
        assert_eq!(rows.columns().iter().filter(|it| it.is_valid(row)).count(), 1);
    }
    let protocol = column(&rows, "protocol");
    let list = |name: &str| protocol.column_by_name(name).unwrap();
    assert_eq!(protocol.column(0).as_primitive::<Int32Type>().value(0), 1);
    assert!(list("readerFeatures").is_null(0) && list("writerFeatures").is_valid(0));
    let remove = column(&rows, "remove");
    assert!(remove.column_by_name("stats").is_none() && remove.column_by_name("tags").is_none());

    let add = column(&rows, "add");
    let parsed: &StructArray = add.column_by_name("stats_parsed").unwrap().as_struct();
    let names: Vec<&str> = parsed.fields().iter().map(|it| it.name().as_str()).collect();
    assert_eq!(names, ["numRecords", "minValues", "maxValues", "nullCount", "tightBounds"]);
    let values = add.column_by_name("partitionValues_parsed").unwrap().as_struct();
    let first = (0..rows.num_rows()).find(|it| add.is_valid(*it)).unwrap();
    let (null, one) = (first, first + 1);
    assert!(values.column(0).is_null(null) && parsed.is_null(null));
    assert_eq!(values.column(0).as_primitive::<Int32Type>().value(one), 1);
    let min: &StructArray = parsed.column_by_name("minValues").unwrap().as_struct();
    assert_eq!(min.column_by_name("x").unwrap().as_primitive::<Int64Type>().value(one), 1);
    assert!(min.column_by_name("t").unwrap().is_null(one));
}

/// spec: CKPT-12
#[test]
fn adds_are_in_order() {
    let (one, two) = (Some("1"), Some("10"));
    let adds = vec![
        add("f", two, Some(&min(-5))),
        add("e", one, None),
        add("d", one, Some(&min(10))),
        add("c", one, Some(&min(9))),
        add("b", None, Some(&min(0))),
        add("g", two, Some(&min(-7))),
        add("a2", one, Some(&min(10))),
    ];
    let together = rendered(&simple(&[], adds.clone()));
    let order = paths(&loaded(&together, Version::from(2)));
    assert_eq!(order, ["b", "e", "c", "a2", "d", "g", "f"]);

    // The commits that brought the files leave no trace in the bytes.
    let first = vec![
        Action::Protocol(Protocol::legacy()),
        metadata("p int, x long, t timestamp, s string", &["p"], &[]),
    ];
    let mut commits = vec![first];
    commits.extend(adds.into_iter().rev().map(|it| vec![it]));
    let mut apart = state(&commits);
    apart.head.version = Version::from(2);
    assert_eq!(rendered(&apart).bytes, together.bytes);

    // All rows of one group, so that its statistics cover them all.
    let file = ParquetRecordBatchReaderBuilder::try_new(together.bytes.clone()).unwrap();
    let [group] = file.metadata().row_groups() else { panic!() };
    for column in group.columns() {
        let stats = column.column_path().string() == "add.stats";
        assert_eq!(column.statistics().is_none(), stats, "{}", column.column_path());
    }
}

/// spec: CKPT-4, CKPT-5
#[test]
fn what_has_expired_is_left_out() {
    let configuration = [
        ("delta.deletedFileRetentionDuration", "interval 2 days"),
        ("delta.setTransactionRetentionDuration", "interval 1 day"),
    ];
    let txn = |app: &str, last_updated| {
        Action::SetTransaction(SetTransaction { app_id: app.into(), version: 1, last_updated })
    };
    let actions = vec![
        removed("a", Some(NOW - 3 * DAY - 1)),
        removed("b", Some(NOW - 3 * DAY)),
        removed("c", None),
        removed("d", Some(i64::MAX)),
        txn("old", Some(NOW - DAY - 1)),
        txn("new", Some(NOW - DAY)),
        txn("timeless", None),
    ];
    let before = simple(&configuration, actions);
    let after = loaded(&rendered(&before), Version::from(2));
    let kept: Vec<String> = tombstones(&after).into_iter().map(|it| it.path).collect();
    assert_eq!(kept, ["b", "d"]);
    assert_eq!(after.head.txns.keys().collect::<Vec<_>>(), ["new", "timeless"]);
    let unset = simple(&[], vec![txn("old", Some(0))]);
    assert_eq!(rendered(&unset).actions, 3);
}

/// spec: CKPT-8, CKPT-9, CKPT-10
#[test]
fn forms_of_statistics() {
    let json = "delta.checkpoint.writeStatsAsJson";
    let structs = "delta.checkpoint.writeStatsAsStruct";
    let min = r#"{"s":"a","t":"1970-01-01T00:00:01.001Z","x":1}"#;
    let max = r#"{"s":"b","t":"1970-01-01T00:00:02.002Z","x":99}"#;
    let stats = &printed(min, max, r#"{"s":0,"t":0,"x":0}"#);
    let adds = || vec![add("a", Some("1"), Some(stats)), add("b", Some("1"), None)];
    let check = |configuration: &[(&str, &str)], expected: [bool; 3]| {
        let checkpoint = rendered(&simple(configuration, adds()));
        let rows = rows(&checkpoint);
        let add = column(&rows, "add");
        let has = |name: &str| add.column_by_name(name).is_some();
        assert_eq!(["stats", "stats_parsed", "partitionValues_parsed"].map(has), expected);
        checkpoint
    };
    check(&[], [true, true, true]);
    check(&[(structs, "false")], [true, false, false]);
    check(&[(json, "false"), (structs, "false")], [false, false, false]);
    let only_struct = check(&[(json, "false")], [false, true, true]);

    let mut again = loaded(&only_struct, Version::from(2));
    assert!(again.files.iter().all(|it| again.files.get(it).unwrap().stats.is_none()));
    again.head.properties.checkpoint_write_stats_as_json = true;
    let again = rendered(&again);
    let rows = rows(&again);
    let first = 2;
    let add = column(&rows, "add");
    let texts = add.column_by_name("stats").unwrap().as_string::<i32>();
    assert!(texts.is_valid(first + 1) && texts.is_null(first));
    assert_eq!(texts.value(first + 1), stats);
    let parsed: &StructArray = add.column_by_name("stats_parsed").unwrap().as_struct();
    let max: &StructArray = parsed.column_by_name("maxValues").unwrap().as_struct();
    let times = max.column_by_name("t").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(first + 1), 2_002_000);
}

/// Every type that a column can have, a table without partitions, one without columns to index, no
/// files at all, and values that do not fit.
#[test]
fn odd_tables() {
    let ddl = "b boolean, y byte, h short, i int, l long, f float, d double, m decimal(38,10), \
               s string, z binary, a date, t timestamp, n timestamp_ntz, v void, \
               r struct<x: struct<y: int>, z: boolean>, k map<string, int>, e array<int>";
    let min = r#"{"y":1,"h":"no","i":5000000000,"f":"NaN","d":1.5,"m":1.0000000001,
        "a":"2026-01-01","n":"2026-01-01T00:00:00.5","r":{"x":{"y":3}},"gone":1}"#;
    let stats = &printed(min, "{}", r#"{"b":0,"k":1}"#);
    let plain = |ddl: &str, configuration: &[(&str, &str)], stats: Option<&str>| {
        let file = Add { path: "a".into(), stats: stats.map(Into::into), ..Add::default() };
        let protocol = Protocol::legacy().with_features(&[TableFeature::TimestampNtz]);
        let first = vec![Action::Protocol(protocol), metadata(ddl, &[], configuration)];
        state(&[first, stats.map(|_| Action::Add(file)).into_iter().collect()])
    };
    let before = plain(ddl, &[("delta.checkpoint.writeStatsAsJson", "false")], Some(stats));
    let again = {
        let mut it = loaded(&rendered(&before), Version::from(2));
        it.head.properties.checkpoint_write_stats_as_json = true;
        loaded(&rendered(&it), Version::from(2))
    };
    let kept = again.files.get(again.files.iter().next().unwrap()).unwrap().stats.unwrap();
    let min = "{\"a\":\"2026-01-01\",\"d\":1.5,\"f\":\"NaN\",\"m\":1.0000000001,\
               \"n\":\"2026-01-01T00:00:00.500\",\"r\":{\"x\":{\"y\":3}},\"y\":1}";
    assert_eq!(kept, printed(min, "{}", r#"{"b":0,"k":1}"#));

    for configuration in [&[][..], &[("delta.dataSkippingNumIndexedCols", "0")]] {
        for stats in [None, Some("{}")] {
            let before = plain("b boolean, e array<int>", configuration, stats);
            let after = loaded(&rendered(&before), Version::from(2));
            assert_eq!(after.files.len(), before.files.len());
        }
    }
    let bad = simple(&[], vec![add("a", Some("one"), None)]);
    assert!(render(&bad, Timestamp::from_millis(NOW)).is_err());
}

/// Vectors: a path may be live with one vector and a tombstone with another.
///
/// spec: CKPT-3
#[test]
fn vectors_are_kept() {
    let vector = |offset| DeletionVector {
        storage_type: "u".into(),
        path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
        offset: Some(offset),
        size_in_bytes: 36,
        cardinality: 2,
    };
    let (old, new) = (Some(vector(1)), Some(vector(9)));
    let Action::Add(file) = add("a", Some("1"), Some(&min(1))) else { panic!() };
    let Action::Remove(gone) = removed("a", Some(NOW)) else { panic!() };
    let mut before = simple(
        &[],
        vec![
            Action::Add(Add { deletion_vector: new.clone(), ..file }),
            Action::Remove(Remove { deletion_vector: old.clone(), ..gone }),
            removed("A", Some(NOW)),
        ],
    );
    before.head.version = Version::from(2);
    let after = loaded(&rendered(&before), Version::from(2));
    assert!(after.files.find("a", new.map(|it| it.unique_id()).as_deref()).is_some());
    let vectors: Vec<_> = tombstones(&after).into_iter().map(|it| it.deletion_vector).collect();
    assert_eq!(vectors, [None, old]);
}

/// A table of some hundred files, and what a later commit does to it.
fn grown() -> (Vec<Action>, Vec<Action>, Vec<Action>) {
    let head = vec![
        Action::Protocol(Protocol::legacy()),
        metadata("p int, x long, t timestamp, s string", &["p"], &[]),
    ];
    let partition = |it: i64| Some(["1", "2", "10"][usize::try_from(it % 3).unwrap()]);
    let file = |it: i64| add(&format!("f{it:03}"), partition(it), Some(&min(it * 7 % 100)));
    let mut first: Vec<Action> = (0..300).map(file).collect();
    first.push(removed("long-gone", Some(NOW)));
    let mut later: Vec<Action> =
        (0..40).map(|it| add(&format!("n{it}"), partition(it), Some(&min(it * 3)))).collect();
    later.extend((0..20).map(|it| removed(&format!("f{:03}", it * 13), Some(NOW))));
    // Other statistics for a file that is live.
    later.push(add("f001", partition(1), Some(&min(50))));
    later.push(add("long-gone", None, None));
    (head, first, later)
}

fn files_of(commit: &[Action]) -> crate::files::FileList {
    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    replay.feed(LogBatch::from_actions(commit).unwrap()).unwrap();
    replay.finish_files().unwrap()
}

/// The units of a checkpoint, so many rows at a time.
pub(super) fn slices(bytes: &Bytes, rows: usize) -> Vec<LogBatch> {
    let size = u64::try_from(bytes.len()).unwrap();
    let Footer::Ready(footer) = parquet_footer(bytes, size).unwrap() else { panic!() };
    let mut slices = Vec::new();
    for unit in FileUnit::of(&footer, Width::Wide) {
        let push = |it| {
            slices.push(it);
            Ok(())
        };
        unit.decode_slices(bytes.clone(), &footer, rows, push).unwrap();
    }
    slices
}

/// Made of the one before, however it is sliced, a checkpoint is byte by byte what it is made of
/// the whole state.
///
/// spec: CKPT-12, CKPT-23
#[test]
fn from_the_one_before_or_from_the_state() {
    let (head, first, later) = grown();
    let older = rendered(&state(&[head.clone(), first.clone()])).bytes;
    let whole = state(&[head, first, later.clone()]);
    let newest = files_of(&later);
    let now = Timestamp::from_millis(NOW);
    // In small groups, what is newest comes in small pieces.
    let cases = [1, 7, 64, 1_000].map(|rows| [(rows, 100_000), (rows, 3)]);
    for (rows, group_rows) in cases.into_iter().flatten() {
        let expected = render_in_groups(&whole, now, group_rows).unwrap();
        let mut writer = Writer::in_groups(&whole.head, &newest, now, group_rows).unwrap();
        let mut bytes = Vec::new();
        for slice in slices(&older, rows) {
            assert_eq!(writer.push(slice).unwrap(), Pushed::Merged);
            bytes.extend(writer.take().unwrap());
        }
        let written = writer.finish().unwrap();
        bytes.extend(written.bytes);
        assert!(expected.bytes == bytes, "{rows} rows at a time, groups of {group_rows}");
        assert_eq!((written.actions, written.sum), (expected.actions, whole.files.sum()));
    }
    let mut writer = Writer::new(&whole.head, &newest, now).unwrap();
    let mut orders = slices(&older, 50).into_iter().rev().map(|it| writer.push(it).unwrap());
    assert!(orders.any(|it| it == Pushed::OutOfOrder));
}

/// spec: CKPT-24
#[test]
fn sidecars_hold_the_files_in_order() {
    let (head, first, later) = grown();
    let whole = state(&[head, first, later]);
    let now = Timestamp::from_millis(NOW);
    let sidecars = render_sidecars(&whole.head, &whole.files, now, 100).unwrap();
    let adds: Vec<u64> = sidecars.iter().map(|it| it.sum.files).collect();
    assert_eq!(adds, [100, 100, 100, 21, 0]);
    assert_eq!(sidecars.iter().map(|it| it.removes).sum::<u64>(), 20);
    let mut replay = Replay::new(whole.head.version, Width::Wide);
    let parts = sidecars.iter().map(|it| {
        let batch = LogBatch::from_parquet(it.bytes.clone(), Width::Wide).unwrap();
        assert!(batch.protocol.is_none() && batch.metadata.is_none());
        batch
    });
    replay.feed_checkpoint(parts.collect::<Vec<_>>()).unwrap();
    let found = replay.finish_files().unwrap();
    assert_eq!(found.sum(), whole.files.sum());
    let tombstones =
        |it: &crate::files::FileList| it.tombstones().iter().map(|it| it.live.len()).sum::<u64>();
    assert_eq!(tombstones(&found), tombstones(&whole.files));
    let classic = loaded(&rendered(&whole), whole.head.version);
    let in_order =
        |it: &crate::files::FileList| it.iter().map(|at| it.get(at).unwrap().path).collect();
    let (sidecars, classic): (Vec<String>, Vec<String>) =
        (in_order(&found), in_order(&classic.files));
    assert_eq!(sidecars, classic);
}

/// spec: CKPT-14, CKPT-15, CKPT-25
#[test]
fn top_levels() {
    let whole = full();
    let sidecar = Sidecar {
        path: "a.parquet".into(),
        size_in_bytes: 5,
        modification_time: 6,
        tags: Some([("k".to_string(), Some("v".to_string()))].into()),
    };
    let now = Timestamp::from_millis(NOW);
    let (text, actions) = render_top_level(&whole.head, now, std::slice::from_ref(&sidecar));
    let read = LogBatch::from_json_checkpoint(&text, Width::Wide).unwrap();
    assert_eq!((read.actions, actions), (7, 7));
    assert_eq!(read.sidecars, [sidecar]);
    let id = uuid::Uuid::from_u128(7);
    let name = CheckpointName::Uuid { id, json: true };
    let path = LogPath::Checkpoint(whole.head.version, name);
    crate::segment::LogSegment::check_top_level(&path, &read).unwrap();
    let mut replay = Replay::new(whole.head.version, Width::Head);
    replay.feed_checkpoint([read]).unwrap();
    let head = replay.finish_head().unwrap();
    assert_eq!((&head.protocol, &head.metadata), (&whole.head.protocol, &whole.head.metadata));
    assert_eq!((&head.txns, &head.domains), (&whole.head.txns, &whole.head.domains));
}

/// Many small checkpoints leave few sidecars, and write each row a few times.
///
/// spec: CKPT-26
#[test]
fn small_sidecars_are_put_together() {
    let (mut sidecars, mut written, mut most) = (Vec::<u64>::new(), 0, 0);
    for _ in 0..1_000 {
        let merged = to_merge(&sidecars, 100);
        let rows = 100 + merged.iter().map(|it| sidecars[*it]).sum::<u64>();
        let kept = sidecars.iter().enumerate().filter(|(at, _)| !merged.contains(at));
        sidecars = kept.map(|it| *it.1).chain([rows]).collect();
        written += rows;
        most = most.max(sidecars.len());
    }
    assert_eq!(sidecars.iter().sum::<u64>(), 100_000);
    assert!(most <= 40, "{most} sidecars");
    assert!(written <= 6 * 100_000, "{written} rows written");
    assert!(to_merge(&[1; 100], 0).is_empty());
}

/// Every page says the checksum of its data, and a bit that flips there is found, but in a page
/// that nobody reads.
///
/// spec: CKPT-33
#[test]
fn a_flipped_bit_is_found() {
    let state = full();
    let sidecars = render_sidecars(&state.head, &state.files, Timestamp::from_millis(NOW), 2);
    let mut files = vec![rendered(&state).bytes];
    files.extend(sidecars.unwrap().into_iter().map(|it| it.bytes));
    for bytes in files {
        let sound = LogBatch::from_parquet(bytes.clone(), Width::Wide).unwrap();
        let sound = format!("{sound:?}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        let groups = reader.metadata().row_groups().iter();
        for (start, length) in groups.flat_map(|it| it.columns()).map(|it| it.byte_range()) {
            let (mut at, end) = (start as usize, (start + length) as usize);
            while at < end {
                let header = crate::thrift::page_header(&bytes[at..]).unwrap();
                assert!(header.checksum, "page at {at}");
                let data = at + header.len;
                at = data + header.compressed as usize;
                for place in data..at {
                    let mut bad = bytes.to_vec();
                    bad[place] ^= 1 << (place % 8);
                    let same = match LogBatch::from_parquet(bad.into(), Width::Wide) {
                        Ok(read) => format!("{read:?}") == sound,
                        Err(error) => error.code().as_str() == "corrupt-checkpoint",
                    };
                    assert!(same, "{place}");
                }
            }
            assert_eq!(at, end);
        }
    }
}
