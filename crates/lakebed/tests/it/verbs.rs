//! Create, append, overwrite, travel in time, look back.

use std::collections::BTreeSet;

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::{
    Append, Code, Create, Env, ErrorKind, HistoryEntry, Overwrite, Schema, Table, Timestamp,
    Version, col, lit,
};

use crate::help::{grown, ids, memory, parts, rows, table};

fn schema(ddl: &str) -> Schema {
    Schema::parse_ddl(ddl).unwrap()
}

fn code<T>(result: lakebed::Result<T>) -> Code {
    result.err().expect("it should fail").code()
}

/// A new table asks for no more than its types and properties need.
///
/// spec: PROTO-9
#[test]
fn protocols_of_new_tables() {
    let rows = [
        ("id long", &[][..], "1,2 - -"),
        ("id long", &[("delta.appendOnly", "true")], "1,2 - -"),
        ("id long", &[("delta.enableChangeDataFeed", "true")], "1,4 - -"),
        (
            "id long",
            &[("delta.enableInCommitTimestamps", "true")],
            "1,7 - appendOnly,inCommitTimestamp,invariants",
        ),
        ("t timestamp_ntz", &[], "3,7 timestampNtz appendOnly,invariants,timestampNtz"),
        (
            "s struct<t: array<timestamp_ntz>>",
            &[],
            "3,7 timestampNtz appendOnly,invariants,timestampNtz",
        ),
        ("id long", &[("delta.minWriterVersion", "4")], "1,4 - -"),
        (
            "id long",
            &[("delta.enableDeletionVectors", "true")],
            "3,7 deletionVectors appendOnly,deletionVectors,invariants",
        ),
        (
            "id long",
            &[("delta.feature.domainMetadata", "supported")],
            "1,7 - appendOnly,domainMetadata,invariants",
        ),
    ];
    for (ddl, properties, expected) in rows {
        let create = properties
            .iter()
            .fold(Create::new(schema(ddl)), |it, (key, value)| it.property(*key, *value));
        let made = block_on(table(&memory()).create_here(create)).unwrap().snapshot();
        let protocol = &made.head().protocol;
        let names = |list: &Option<Vec<_>>| match list {
            None => "-".to_string(),
            Some(list) => {
                let names: BTreeSet<String> = list
                    .iter()
                    .map(|it: &lakebed_log::feature::TableFeature| it.to_string())
                    .collect();
                names.into_iter().collect::<Vec<_>>().join(",")
            }
        };
        let actual = format!(
            "{},{} {} {}",
            protocol.min_reader_version,
            protocol.min_writer_version,
            names(&protocol.reader_features),
            names(&protocol.writer_features)
        );
        assert_eq!(actual, expected, "{ddl} {properties:?}");
        let kept = &made.head().metadata.configuration;
        assert!(kept.keys().all(|it| !it.starts_with("delta.feature.") && !it.contains("Version")));
    }
}

#[test]
fn creations_that_are_refused() {
    let id = || Create::new(schema("id long, s struct<x: int>"));
    let rows = [
        (id().partition_by(["nope"]), Code::UnknownColumn),
        (id().partition_by(["s"]), Code::InvalidArgument),
        (id().partition_by(["id", "ID"]), Code::InvalidArgument),
        (Create::new(schema("id long")).partition_by(["id"]), Code::InvalidArgument),
        (id().property("delta.columnMapping.mode", "name"), Code::UnsupportedProtocol),
        (id().property("delta.constraints.a", "id > 0"), Code::UnsupportedProtocol),
        (id().property("delta.feature.telepathy", "supported"), Code::UnsupportedProtocol),
        (id().property("delta.minReaderVersion", "9"), Code::InvalidArgument),
        (id().property("delta.minReaderVersion", "3"), Code::InvalidArgument),
        (id().property("delta.logRetentionDuration", "interval 1 minute"), Code::InvalidArgument),
    ];
    for (create, expected) in rows {
        let place = memory();
        let refused = block_on(table(&place).create_here(create.clone()));
        assert_eq!(code(refused), expected, "{create:?}");
        assert!(!block_on(table(&place).exists()).unwrap());
    }
}

#[test]
fn create_once() {
    let place = memory();
    let made = table(&place);
    assert_eq!(code(block_on(made.snapshot())), Code::NotATable);
    let create = Create::new(schema("p string, id long")).partition_by(["p"]).name("n");
    let done = block_on(made.create_here(create.clone())).unwrap();
    assert_eq!((done.version(), done.changed()), (Version::ZERO, true));
    assert_eq!(code(block_on(made.create_here(create))), Code::TableExists);
    let head = block_on(table(&place).snapshot()).unwrap().head().clone();
    assert_eq!(head.metadata.partition_columns, ["p"]);
    assert_eq!(head.commit_info.unwrap().text("operation"), Some("CREATE TABLE"));
}

/// A missing table is made by the first write, rows and all, in one commit.
#[test]
fn append_makes_the_table() {
    let place = memory();
    let done = block_on(table(&place).append(
        parts(&[("a", 1), ("b", 2), ("a", 3)]),
        Append::new().partition_by(["p"]).property("delta.appendOnly", "true"),
    ))
    .unwrap();
    assert_eq!((done.version(), done.changed()), (Version::ZERO, true));
    assert_eq!(done.metrics()["numFiles"], "2");
    assert_eq!(done.metrics()["numOutputRows"], "3");
    assert_eq!(rows(&done.snapshot()), [1, 2, 3]);
    let seen = block_on(table(&place).snapshot()).unwrap();
    assert!(seen.head().properties.append_only);
    assert_eq!(rows(&seen), [1, 2, 3]);
}

#[test]
fn appends_that_do_nothing_or_do_not_fit() {
    let place = memory();
    let table = grown(&place, 1);
    let empty = block_on(table.append(ids([]), Append::new())).unwrap();
    assert_eq!((empty.version(), empty.changed()), (Version::ZERO, false));

    let wider = || parts(&[("a", 1)]);
    assert_eq!(code(block_on(table.append(wider(), Append::new()))), Code::SchemaMismatch);
    let partitioned = Append::new().partition_by(["id"]);
    assert_eq!(code(block_on(table.append(ids([1]), partitioned))), Code::InvalidArgument);

    let done = block_on(table.append(wider(), Append::new().evolve_schema(true))).unwrap();
    let names: Vec<_> =
        done.snapshot().schema().fields().iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["id", "p"]);
    assert_eq!(rows(&done.snapshot()), [0, 1]);
    assert_eq!(rows(&block_on(self::table(&place).snapshot()).unwrap()), [0, 1]);
}

/// The same batch twice, and one from before: only the first lands.
#[test]
fn once() {
    let table = table(&memory());
    for (version, changed, expected) in
        [(7, true, vec![1]), (7, false, vec![1]), (6, false, vec![1]), (8, true, vec![1, 1])]
    {
        let done = block_on(table.append(ids([1]), Append::new().once("app", version))).unwrap();
        assert_eq!(done.changed(), changed, "{version}");
        assert_eq!(rows(&done.snapshot()), expected, "{version}");
    }
}

#[test]
fn overwrite_all_and_by_partition() {
    let table = table(&memory());
    let by_p = Append::new().partition_by(["p"]);
    block_on(table.append(parts(&[("a", 1), ("b", 2), ("c", 3)]), by_p)).unwrap();

    let a = || col("p").eq(lit("a"));
    let done =
        block_on(table.overwrite(parts(&[("a", 10), ("a", 11)]), Overwrite::filter(a()))).unwrap();
    assert_eq!(rows(&done.snapshot()), [2, 3, 10, 11]);
    assert_eq!(done.metrics()["numRemovedFiles"], "1");
    assert_eq!(
        done.snapshot().head().commit_info.as_ref().unwrap().fields["operationParameters"]["mode"],
        "Overwrite"
    );

    let stray = table.overwrite(parts(&[("a", 1), ("b", 1)]), Overwrite::filter(a()));
    assert_eq!(code(block_on(stray)), Code::InvalidData);
    let unknown = table.overwrite(parts(&[]), Overwrite::filter(col("q").eq(lit(1))));
    assert_eq!(code(block_on(unknown)), Code::UnknownColumn);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [2, 3, 10, 11]);

    let new = parts(&[("b", 20), ("d", 40)]);
    let done = block_on(table.overwrite(new, Overwrite::partitions())).unwrap();
    assert_eq!(rows(&done.snapshot()), [3, 10, 11, 20, 40]);

    let done = block_on(table.overwrite(parts(&[("z", 99)]), Overwrite::all())).unwrap();
    assert_eq!(rows(&done.snapshot()), [99]);
    let done = block_on(table.overwrite(parts(&[]), Overwrite::all())).unwrap();
    assert_eq!((done.changed(), rows(&done.snapshot())), (true, vec![]));
    let done = block_on(table.overwrite(parts(&[]), Overwrite::all())).unwrap();
    assert!(!done.changed());

    let versions: Vec<_> =
        (0..5u32).map(|it| block_on(table.snapshot_at(Version::from(it)))).collect();
    let rows: Vec<_> = versions.into_iter().map(|it| rows(&it.unwrap())).collect();
    assert_eq!(
        rows,
        [vec![1, 2, 3], vec![2, 3, 10, 11], vec![3, 10, 11, 20, 40], vec![99], vec![]]
    );
}

/// What an overwrite has read must not change under it.
#[test]
fn overwrite_meets_an_append() {
    let table = table(&memory());
    let by_p = Append::new().partition_by(["p"]);
    block_on(table.append(parts(&[("a", 1), ("b", 2)]), by_p)).unwrap();
    let held = block_on(table.snapshot()).unwrap();
    block_on(table.append(parts(&[("a", 3)]), Append::new())).unwrap();

    let everything = block_on(held.overwrite(parts(&[("a", 4)]), Overwrite::all()));
    let error = everything.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.conflict().unwrap().reason, lakebed::Reason::ConcurrentAppend);
    let a = Overwrite::filter(col("p").eq(lit("a")));
    assert_eq!(code(block_on(held.overwrite(parts(&[("a", 4)]), a))), Code::Conflict);
    let b = Overwrite::filter(col("p").eq(lit("b")));
    let done = block_on(held.overwrite(parts(&[("b", 5)]), b)).unwrap();
    assert_eq!((done.version().get(), rows(&done.snapshot())), (2, vec![1, 3, 5]));
}

#[test]
fn append_only_tables_keep_their_rows() {
    let table = table(&memory());
    let keep = Append::new().property("delta.appendOnly", "true");
    block_on(table.append(ids([1]), keep)).unwrap();
    let refused = block_on(table.overwrite(ids([2]), Overwrite::all()));
    assert_eq!(code(refused), Code::InvalidArgument);
    block_on(table.append(ids([2]), Append::new())).unwrap();
}

fn history(table: &Table) -> Vec<HistoryEntry> {
    block_on(async { table.history().await?.try_collect::<Vec<_>>().await }).unwrap()
}

/// Every version by its number and by its own time, past a checkpoint, and a little after it.
#[test]
fn time_travel() {
    for ict in [false, true] {
        let table = table(&memory());
        let properties = Append::new().property("delta.enableInCommitTimestamps", ict.to_string());
        for id in 0..13 {
            block_on(table.append(ids([id]), properties.clone())).unwrap();
        }
        let entries = history(&table);
        assert_eq!(entries.len(), 13);
        assert!(entries.windows(2).all(|it| it[1].timestamp < it[0].timestamp));
        for entry in &entries {
            let version = entry.version;
            let expected: Vec<i64> = (0..=version.as_i64()).collect();
            let by_number = block_on(table.snapshot_at(version)).unwrap();
            assert_eq!(rows(&by_number), expected);
            assert_eq!(block_on(by_number.timestamp()).unwrap(), entry.timestamp, "{version}");
            let by_time = block_on(table.snapshot_at(entry.timestamp)).unwrap();
            assert_eq!(by_time.version(), version, "{ict}");
            assert_eq!(entry.info.text("operation"), Some("WRITE"));
        }
        let last = entries[0].timestamp.plus_millis(60_000);
        assert_eq!(block_on(table.snapshot_at(last)).unwrap().version().get(), 12);
        let first = entries[12].timestamp.plus_millis(-1);
        assert_eq!(code(block_on(table.snapshot_at(first))), Code::VersionNotFound);
        let none = block_on(table.snapshot_at(Version::from(13)));
        assert_eq!(code(none), Code::VersionNotFound);
        let epoch = Timestamp::from_millis(0);
        assert_eq!(code(block_on(table.snapshot_at(epoch))), Code::VersionNotFound);
    }
}

/// Eight writers, one environment each as processes have, and a table that none of them has seen:
/// every row lands once.
///
/// spec: TXN-20, TXN-21
#[test]
fn writers_at_once() {
    for place in [memory(), {
        let folder = tempfile::tempdir().unwrap().keep();
        folder.join("t").to_str().unwrap().to_string()
    }] {
        const EACH: i64 = 12;
        let write = |writer: i64| {
            let env = lakebed::Env::tokio().with_budget(64 << 20);
            let table = lakebed::Table::open_with(&env, &place).unwrap();
            async move {
                for at in 0..EACH {
                    table.append(ids([writer * EACH + at]), Append::new()).await?;
                }
                Ok::<(), lakebed::Error>(())
            }
        };
        let done = block_on(futures::future::join_all((0..8).map(write)));
        for it in done {
            it.unwrap();
        }
        let seen = block_on(table(&place).snapshot()).unwrap();
        assert_eq!(rows(&seen), (0..8 * EACH).collect::<Vec<_>>(), "{place}");
        assert_eq!(seen.version().get(), 8 * EACH as u64 - 1);
    }
}

/// Of the same batch sent by many at once, one lands.
#[test]
fn once_among_many() {
    let place = memory();
    grown(&place, 1);
    let write = |_| {
        let table = table(&place);
        async move { table.append(ids([7]), Append::new().once("app", 1)).await }
    };
    let done = block_on(futures::future::join_all((0..6).map(write)));
    let changed = done.into_iter().filter(|it| it.as_ref().unwrap().changed()).count();
    assert_eq!(changed, 1);
    assert_eq!(rows(&block_on(table(&place).snapshot()).unwrap()), [0, 7]);
}

/// Of many who want to make one table with their rows, one does; what the others wrote is gone.
///
/// spec: TXN-20
#[test]
fn only_create_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let overwritten = folder.path().join("o");
    let appended = folder.path().join("a");
    for (place, over) in [(&appended, false), (&overwritten, true)] {
        let only = || Append::new().only_create(true);
        let write = |id: i64| {
            let table = table(place.to_str().unwrap());
            let make = async move {
                match over {
                    true => table.overwrite(ids([id]), Overwrite::all().options(only())).await,
                    false => table.append(ids([id]), only()).await,
                }
            };
            Env::tokio().spawn(make)
        };
        let racing: Vec<_> = (0..8).map(write).collect();
        let done = block_on(futures::future::join_all(racing));
        let (made, lost): (Vec<_>, Vec<_>) = done.into_iter().partition(|it| it.is_ok());
        assert_eq!(made.len(), 1);
        for it in lost {
            let error = it.err().unwrap();
            assert_eq!((error.code(), error.kind()), (Code::TableExists, ErrorKind::Conflict));
        }
        let again = table(place.to_str().unwrap());
        assert_eq!(code(block_on(again.append(ids([9]), only()))), Code::TableExists);
        assert_eq!(rows(&block_on(again.snapshot()).unwrap()).len(), 1);
        let parquet = |it: &std::io::Result<std::fs::DirEntry>| {
            it.as_ref().unwrap().path().extension().is_some_and(|it| it == "parquet")
        };
        assert_eq!(std::fs::read_dir(place).unwrap().filter(parquet).count(), 1);
    }
}

/// A folder that is deleted and filled with another table is not taken for the old one.
#[test]
fn a_replaced_table_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("t");
    let place = place.to_str().unwrap();
    let held = grown(place, 3);
    block_on(held.snapshot()).unwrap();
    std::fs::remove_dir_all(place).unwrap();
    assert_eq!(code(block_on(held.snapshot())), Code::NotATable);
    block_on(table(place).append(ids([77]), Append::new())).unwrap();
    assert_eq!(rows(&block_on(held.snapshot()).unwrap()), [77]);

    std::fs::remove_dir_all(place).unwrap();
    let other = table(place);
    for id in [5, 6, 7] {
        block_on(other.append(ids([id]), Append::new())).unwrap();
    }
    assert_eq!(rows(&block_on(held.snapshot()).unwrap()), [5, 6, 7]);
}

/// A snapshot that is not the newest looks at what came after it before it writes.
#[test]
fn append_from_an_old_version() {
    let place = memory();
    let table = grown(&place, 4);
    let old = block_on(table.snapshot_at(Version::from(1))).unwrap();
    let done = block_on(old.append(ids([9]), Append::new())).unwrap();
    assert_eq!((done.version().get(), rows(&done.snapshot())), (4, vec![0, 1, 2, 3, 9]));
}

#[test]
fn history_is_lazy() {
    let table = grown(&memory(), 5);
    let first = block_on(async {
        let mut log = table.history().await?;
        log.next().await.unwrap()
    });
    assert_eq!(first.unwrap().version.get(), 4);
}

/// A file that vacuum took is told from one that is lost.
#[test]
fn files_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let table = grown(folder.path().to_str().unwrap(), 1);
    let held = block_on(table.snapshot()).unwrap();
    let data = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|it| it == "parquet").then_some(path)
    };
    let file = std::fs::read_dir(folder.path()).unwrap().find_map(data).unwrap();
    std::fs::remove_file(file).unwrap();
    let read = || code(block_on(async { held.read(&lakebed::Scan::new()).await?.collect().await }));
    assert_eq!(read(), Code::MissingFile);
    block_on(table.overwrite(ids([1]), Overwrite::all())).unwrap();
    assert_eq!(read(), Code::ExpiredSnapshot);
}
