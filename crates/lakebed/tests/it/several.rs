//! Several operations in one commit, staged ones, and files that are written before.

use futures::executor::block_on;
use lakebed::{
    Append, Code, DataFiles, Env, Error, Overwrite, Resolved, Scan, Schema, StagedTransaction,
    Table, Timestamp, Version, col, lit,
};

use crate::help::{grown, ids, memory, parts, rows, table};

/// A table in a folder with rows 0 and 1, and the names of its data files.
fn folder() -> (tempfile::TempDir, Table) {
    let folder = tempfile::tempdir().unwrap();
    let table = grown(folder.path().to_str().unwrap(), 2);
    (folder, table)
}

fn data_files(folder: &tempfile::TempDir) -> usize {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    names.filter(|it| it.ends_with(".parquet")).count()
}

/// Each operation sees the ones before it, nobody else any of them; all of them are one version.
/// What came and went is in no list of the commit and not in the folder.
///
/// spec: MULTI-1, MULTI-2, MULTI-4
#[test]
fn several_operations_are_one_version() {
    let (folder, table) = folder();
    let mut txn = block_on(table.begin()).unwrap();
    block_on(txn.append(ids([10]), Append::new())).unwrap();
    assert_eq!(rows(&txn.snapshot()), [0, 1, 10]);
    block_on(txn.overwrite(ids([20, 21]), Overwrite::all())).unwrap();
    assert_eq!(rows(&txn.snapshot()), [20, 21]);
    block_on(txn.append(ids([30]), Append::new())).unwrap();
    assert_eq!(rows(&txn.snapshot()), [20, 21, 30]);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1]);
    assert_eq!(data_files(&folder), 5);

    let done = block_on(txn.commit()).unwrap();
    assert_eq!((done.version(), rows(&done.snapshot())), (Version::from(2), vec![20, 21, 30]));
    assert_eq!(data_files(&folder), 4);
    let text = std::fs::read_to_string(folder.path().join("_delta_log/00000000000000000002.json"))
        .unwrap();
    let count = |it: &str| text.lines().filter(|line| line.starts_with(it)).count();
    assert_eq!((count("{\"add\""), count("{\"remove\"")), (2, 2));
    let info = done.snapshot().head().commit_info.clone().unwrap();
    assert_eq!(info.text("operation"), Some("TRANSACTION"));
    let said = info.fields["operationParameters"]["operations"].as_str().unwrap().to_string();
    assert_eq!(said.matches("\"WRITE\"").count(), 3, "{said}");
    assert_eq!(done.metrics()["numOutputRows"], "4");
}

/// One operation alone is what it is without a transaction; none is no commit.
#[test]
fn one_operation_or_none() {
    let (_folder, table) = folder();
    let mut txn = block_on(table.begin()).unwrap();
    block_on(txn.append(ids([10]), Append::new())).unwrap();
    let done = block_on(txn.commit()).unwrap();
    let info = done.snapshot().head().commit_info.clone().unwrap();
    assert_eq!(info.text("operation"), Some("WRITE"));
    assert_eq!(info.fields["isBlindAppend"], true);

    let done = block_on(block_on(table.begin()).unwrap().commit()).unwrap();
    assert!(!done.changed());
    let gone = table.clone();
    let mut txn = block_on(gone.begin()).unwrap();
    block_on(txn.append(ids([11]), Append::new())).unwrap();
    block_on(txn.discard());
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1, 10]);
    let nothing = crate::help::table(&memory());
    assert_eq!(block_on(nothing.begin()).err().unwrap().code(), Code::NotATable);
}

/// Properties and columns are seen by what follows, and an operation that fails leaves all as it
/// was.
///
/// spec: MULTI-5
#[test]
fn schema_and_properties() {
    let (folder, table) = folder();
    let mut txn = block_on(table.begin()).unwrap();
    let wider = Schema::parse_ddl("id long, name string").unwrap();
    block_on(txn.evolve_schema(&wider)).unwrap();
    block_on(txn.set_property("delta.checkpointInterval", "7")).unwrap();
    assert_eq!(txn.snapshot().schema().fields().len(), 2);
    assert_eq!(rows(&txn.snapshot()), [0, 1]);

    let files = data_files(&folder);
    let bad = block_on(txn.append(parts(&[("a", 1)]), Append::new())).err().unwrap();
    assert_eq!(bad.code(), Code::SchemaMismatch);
    let bad = block_on(txn.set_property("delta.appendOnly", "perhaps")).err().unwrap();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let bad = block_on(txn.append(ids([5]), Append::new().once("a", 1))).err().unwrap();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let bad = block_on(txn.append(ids([5]), Append::new().only_create(true))).err().unwrap();
    assert_eq!(bad.code(), Code::TableExists);
    assert_eq!(data_files(&folder), files);

    block_on(txn.append(ids([2]), Append::new())).unwrap();
    let done = block_on(txn.commit()).unwrap().snapshot();
    assert_eq!((done.version(), rows(&done)), (Version::from(2), vec![0, 1, 2]));
    assert_eq!(done.head().properties.checkpoint_interval, 7);
    assert_eq!(done.schema().fields().len(), 2);
}

/// A transaction that the table has seen commits nothing, and takes its files away.
///
/// spec: MULTI-6
#[test]
fn once() {
    let (folder, table) = folder();
    let run = |row: i64| {
        let mut txn = block_on(table.begin()).unwrap();
        let is_new = txn.once("nightly", 3);
        block_on(txn.append(ids([row]), Append::new())).unwrap();
        (is_new, block_on(txn.commit()).unwrap())
    };
    let (is_new, done) = run(10);
    assert!(is_new && done.changed());
    let (is_new, done) = run(11);
    assert!(!is_new && !done.changed());
    assert_eq!((rows(&done.snapshot()), data_files(&folder)), (vec![0, 1, 10], 3));

    // Another one gets there while this one is under way.
    let mut slow = block_on(table.begin()).unwrap();
    assert!(slow.once("weekly", 1));
    block_on(slow.append(ids([12]), Append::new())).unwrap();
    let mut fast = block_on(table.begin()).unwrap();
    assert!(fast.once("weekly", 1));
    block_on(fast.append(ids([13]), Append::new())).unwrap();
    assert!(block_on(fast.commit()).unwrap().changed());
    assert!(!block_on(slow.commit()).unwrap().changed());
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1, 10, 13]);
    assert_eq!(data_files(&folder), 4);
}

/// What a transaction read, by an operation or by the caller, must not have changed meanwhile; a
/// look at its snapshot does not count.
///
/// spec: MULTI-3
#[test]
fn reads_count() {
    let serializable = Append::new().property("delta.isolationLevel", "Serializable");
    let rows_of = |reads: &str| {
        let table = table(&memory());
        block_on(table.append(ids([0]), serializable.clone())).unwrap();
        let mut txn = block_on(table.begin()).unwrap();
        let small = Scan::new().filter(col("id").lt(lit(10)));
        match reads {
            "all" => drop(block_on(txn.read(&Scan::new())).unwrap()),
            "small" => drop(block_on(txn.read(&small)).unwrap()),
            "look" => drop(block_on(txn.snapshot().read(&small)).unwrap()),
            _ => {}
        }
        block_on(txn.append(ids([1]), Append::new())).unwrap();
        block_on(table.append(ids([100]), Append::new())).unwrap();
        block_on(txn.commit()).map_or_else(|it| it.code().as_str(), |_| "ok")
    };
    let told = ["nothing", "all", "small", "look"].map(rows_of);
    assert_eq!(told, ["ok", "conflict", "ok", "ok"]);
}

/// The snapshot of a transaction reads like any other and takes no commits.
///
/// spec: MULTI-7
#[test]
fn nothing_is_committed_on_a_view() {
    let (folder, table) = folder();
    let mut txn = block_on(table.begin()).unwrap();
    block_on(txn.append(ids([2]), Append::new())).unwrap();
    let view = txn.snapshot();
    let plan = block_on(view.plan(&Scan::new().filter(col("id").eq(lit(2))))).unwrap();
    assert_eq!((plan.considered(), plan.tasks().len(), view.version()), (3, 1, Version::from(2)));
    let split = &block_on(view.splits(&Scan::new(), 1 << 20)).unwrap()[0];
    let read = block_on(async {
        split.read(&Env::tokio(), &lakebed::Op::default()).unwrap().collect().await
    });
    assert_eq!(read.unwrap().iter().map(|it| it.num_rows()).sum::<usize>(), 3);

    let files = data_files(&folder);
    let code = |it: lakebed::Result<lakebed::Committed>| it.err().unwrap().code();
    assert_eq!(code(block_on(view.append(ids([3]), Append::new()))), Code::InvalidArgument);
    let over = view.overwrite(ids([3]), Overwrite::all());
    assert_eq!(code(block_on(over)), Code::InvalidArgument);
    assert_eq!(block_on(view.checkpoint()).err().unwrap().code(), Code::InvalidArgument);
    let written = block_on(view.write_files(ids([3]), Append::new()));
    assert_eq!(written.err().unwrap().code(), Code::InvalidArgument);
    assert_eq!(data_files(&folder), files);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1]);
}

fn staged(table: &Table) -> StagedTransaction {
    let mut txn = block_on(table.begin()).unwrap();
    block_on(txn.append(ids([10]), Append::new())).unwrap();
    block_on(txn.overwrite(ids([20]), Overwrite::all())).unwrap();
    block_on(txn.append(ids([21]), Append::new())).unwrap();
    block_on(txn.stage()).unwrap()
}

/// Staged, written down, read elsewhere, published by whoever comes, however often: once.
///
/// spec: STAGE-1, STAGE-2
#[test]
fn staged_and_published() {
    let (folder, table) = folder();
    let text = staged(&table).to_string();
    assert!(!text.contains('\n'));
    let staged: StagedTransaction = text.parse().unwrap();
    assert_eq!(staged.to_string(), text);
    assert_eq!((staged.version(), staged.files()), (Version::from(1), (2, 2)));

    let other = crate::help::table(folder.path().to_str().unwrap());
    assert_eq!(rows(&block_on(other.staged(&staged)).unwrap()), [20, 21]);
    assert_eq!(rows(&block_on(other.snapshot()).unwrap()), [0, 1]);

    let done = block_on(other.publish(&staged)).unwrap();
    assert_eq!((done.version(), rows(&done.snapshot())), (Version::from(2), vec![20, 21]));
    block_on(table.append(ids([30]), Append::new())).unwrap();
    for again in [&table, &other] {
        assert_eq!(block_on(again.publish(&staged)).unwrap().version(), Version::from(2));
    }
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [20, 21, 30]);
    let refused = block_on(table.discard(&staged)).err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [20, 21, 30]);
}

/// Others may append meanwhile; what the transaction replaces they may not touch.
#[test]
fn staged_meets_others() {
    let (folder, table) = folder();
    let mut txn = block_on(table.begin()).unwrap();
    block_on(txn.set_property("delta.isolationLevel", "WriteSerializable")).unwrap();
    block_on(txn.commit()).unwrap();
    let one = staged(&table);
    block_on(table.append(ids([2]), Append::new())).unwrap();
    assert_eq!(block_on(table.publish(&one)).unwrap().version(), Version::from(4));
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [2, 20, 21]);

    let other = staged(&table);
    block_on(table.overwrite(ids([9]), Overwrite::all())).unwrap();
    let lost = block_on(table.publish(&other)).err().unwrap();
    assert_eq!(lost.code(), Code::Conflict);
    // Its files are still there, until somebody says that they are not wanted.
    let files = data_files(&folder);
    block_on(table.discard(&other)).unwrap();
    assert_eq!(data_files(&folder), files - 2);
    let gone = block_on(table.publish(&other)).err().unwrap();
    assert_eq!(gone.code(), Code::MissingFile);
}

/// The same text with another value of a field.
fn with(text: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    change(&mut value);
    value.to_string()
}

/// Texts of strangers are read with care.
///
/// spec: STAGE-3, STAGE-4, STAGE-5
#[test]
fn staged_texts_are_not_trusted() {
    let (folder, table) = folder();
    let text = staged(&table).to_string();
    for bad in ["", "{}", "null", "7", "{\"lakebedTransaction\":2}", "{\"lakebedTransaction\":1}"] {
        assert_eq!(bad.parse::<StagedTransaction>().err().unwrap().code(), Code::InvalidArgument);
    }
    let publish = |text: String| -> Result<Version, Error> {
        let staged: StagedTransaction = text.parse()?;
        block_on(table.publish(&staged)).map(|it| it.version())
    };
    let adds = |it: &mut serde_json::Value, path: &str| {
        let actions = it["actions"].as_array_mut().unwrap();
        actions.last_mut().unwrap()["add"]["path"] = path.into();
    };
    let removes = |it: &mut serde_json::Value| {
        it["actions"][0]["remove"]["path"] = "nobody.parquet".into();
    };
    let long_ago = Timestamp::from_millis(0).as_millis();
    type Change<'a> = Box<dyn Fn(&mut serde_json::Value) + 'a>;
    let rows: [(&str, Change<'_>); 8] = [
        ("invalid-argument", Box::new(|it| it["tableId"] = "another".into())),
        ("transaction-expired", Box::new(|it| it["version"] = 99.into())),
        ("transaction-expired", Box::new(move |it| it["stagedAt"] = long_ago.into())),
        ("path-escape", Box::new(|it| adds(it, "../secret.parquet"))),
        ("path-escape", Box::new(|it| adds(it, "%2e%2e/secret.parquet"))),
        ("missing-file", Box::new(|it| adds(it, "nobody.parquet"))),
        ("invalid-argument", Box::new(removes)),
        ("invalid-argument", Box::new(|it| it["actions"] = serde_json::json!([{"x": 1}, 7]))),
    ];
    let before = data_files(&folder);
    for (at, (expected, change)) in rows.iter().enumerate() {
        let told = publish(with(&text, change)).err().unwrap();
        assert_eq!(told.code().as_str(), *expected, "row {at}: {told}");
    }
    assert_eq!((data_files(&folder), rows_now(&table)), (before, vec![0, 1]));

    // Nor is a file of the table thrown away because a text names it.
    let live = block_on(block_on(table.snapshot()).unwrap().plan(&Scan::new())).unwrap();
    let live = live.tasks()[0].path.clone();
    let hostile: StagedTransaction = with(&text, |it| adds(it, &live)).parse().unwrap();
    let refused = block_on(table.discard(&hostile)).err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!((data_files(&folder), rows_now(&table)), (before, vec![0, 1]));
    publish(text).unwrap();
}

fn rows_now(table: &Table) -> Vec<i64> {
    rows(&block_on(table.snapshot()).unwrap())
}

/// Workers write, the driver commits all at once; what is committed twice is found.
///
/// spec: WRITTEN-1, WRITTEN-4
#[test]
fn workers_write_and_a_driver_commits() {
    let (folder, table) = folder();
    let place = folder.path().to_str().unwrap();
    let work = |id: i64| {
        let files = block_on(crate::help::table(place).write_files(ids([id]), Append::new()));
        files.unwrap().to_string()
    };
    let texts: Vec<String> = (10..14).map(work).collect();
    assert_eq!((rows_now(&table), data_files(&folder)), (vec![0, 1], 6));
    let files: Vec<DataFiles> = texts.iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!(files[0].to_string(), texts[0]);
    assert_eq!((files[0].files(), files[0].rows()), (1, Some(1)));
    assert!(0 < files[0].bytes());

    let done = block_on(table.commit_files(files.clone(), Append::new())).unwrap();
    assert_eq!((done.version(), done.changed()), (Version::from(2), true));
    assert_eq!(rows_now(&table), [0, 1, 10, 11, 12, 13]);
    let again = block_on(table.commit_files(files[1..3].to_vec(), Append::new())).unwrap();
    assert!(!again.changed());
    let more: DataFiles = work(14).parse().unwrap();
    let mixed = block_on(table.commit_files(vec![files[0].clone(), more.clone()], Append::new()));
    assert_eq!(mixed.err().unwrap().code(), Code::InvalidArgument);
    let twice = block_on(table.commit_files(vec![more.clone(), more.clone()], Append::new()));
    assert_eq!(twice.err().unwrap().code(), Code::InvalidArgument);

    let once = Append::new().once("job", 1);
    assert!(block_on(table.commit_files(vec![more.clone()], once.clone())).unwrap().changed());
    assert!(!block_on(table.commit_files(vec![more], once)).unwrap().changed());
    assert_eq!(rows_now(&table), [0, 1, 10, 11, 12, 13, 14]);

    // What was removed since does not come back.
    block_on(table.overwrite(ids([7]), Overwrite::all())).unwrap();
    let back = block_on(table.commit_files(files, Append::new())).unwrap();
    assert!(!back.changed());
    assert_eq!(rows_now(&table), [7]);
}

/// Columns may have come in between, and may come with the files; types may not change.
///
/// spec: WRITTEN-2
#[test]
fn written_by_another_schema() {
    let (_folder, table) = folder();
    let narrow = block_on(table.write_files(ids([10]), Append::new())).unwrap();
    let wider = arrow_array::RecordBatch::try_from_iter([
        ("id", std::sync::Arc::new(arrow_array::Int64Array::from(vec![11])) as _),
        ("more", std::sync::Arc::new(arrow_array::Int64Array::from(vec![1])) as _),
    ])
    .unwrap();
    let wide = Append::new().evolve_schema(true);
    let files = block_on(table.write_files(wider, wide.clone())).unwrap();
    let refused = block_on(table.commit_files(vec![files.clone()], Append::new()));
    assert_eq!(refused.err().unwrap().code(), Code::SchemaMismatch);
    block_on(table.commit_files(vec![files.clone()], wide)).unwrap();
    block_on(table.commit_files(vec![narrow], Append::new())).unwrap();
    assert_eq!(rows_now(&table), [0, 1, 10, 11]);
    assert_eq!(block_on(table.snapshot()).unwrap().schema().fields().len(), 2);

    let text = files.to_string();
    let of = |ddl: &str| {
        let schema = Schema::parse_ddl(ddl).unwrap().to_json();
        with(&text, |it| it["schema"] = serde_json::from_str(&schema).unwrap())
    };
    let changed: DataFiles = of("id string, more long").parse().unwrap();
    let refused = block_on(table.commit_files(vec![changed], Append::new()));
    assert_eq!(refused.err().unwrap().code(), Code::SchemaMismatch);
}

/// Texts of strangers: outside, hidden, elsewhere, of another table, not as they were written.
///
/// spec: WRITTEN-3, WRITTEN-5
#[test]
fn written_texts_are_not_trusted() {
    let (folder, table) = folder();
    let text = block_on(table.write_files(ids([10]), Append::new())).unwrap().to_string();
    for bad in ["", "[]", "{\"lakebedDataFiles\":7}", "{\"lakebedDataFiles\":1}"] {
        assert_eq!(bad.parse::<DataFiles>().err().unwrap().code(), Code::InvalidArgument, "{bad}");
    }
    let other = grown(&memory(), 1);
    let foreign: DataFiles = text.parse().unwrap();
    let refused = block_on(other.commit_files(vec![foreign], Append::new()));
    assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);

    let outside = folder.path().parent().unwrap().join("secret.parquet");
    let rows = [
        ("path", "../secret.parquet".into(), "path-escape"),
        ("path", outside.to_str().unwrap().into(), "path-escape"),
        ("path", "file:///etc/passwd".into(), "path-escape"),
        ("path", "_delta_log/00000000000000000000.json".into(), "invalid-argument"),
        ("path", "nobody.parquet".into(), "missing-file"),
        ("size", 1.into(), "invalid-data"),
        ("dataChange", false.into(), "invalid-argument"),
    ];
    for (key, value, expected) in rows {
        let value: serde_json::Value = value;
        let changed = with(&text, |it| it["files"][0]["add"][key] = value.clone());
        let told = changed.parse::<DataFiles>().and_then(|it| {
            block_on(table.commit_files(vec![it], Append::new())).map(|it| it.version())
        });
        let code = told.map_or_else(|it| it.code().as_str(), |_| "ok");
        let is_path = |it: &str| ["path-escape", "invalid-path", "unsupported-path"].contains(&it);
        match is_path(expected) {
            true => assert!(is_path(code) || code == "invalid-argument", "{value}: {code}"),
            false => assert_eq!(code, expected, "{value}"),
        }
    }
    assert_eq!(rows_now(&table), [0, 1]);
}

/// Where the log was cleaned up past a commit, the commit after it still names it; where nothing
/// tells any more, that is said.
///
/// spec: RESOLVE-1, RESOLVE-2, RESOLVE-3
#[test]
fn outcomes_outlive_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let table = grown(folder.path().to_str().unwrap(), 5);
    let log = folder.path().join("_delta_log");
    let commit = |version: u64| log.join(format!("{version:020}.json"));
    let id_of = |version: u64| {
        let text = std::fs::read_to_string(commit(version)).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        line["commitInfo"]["txnId"].as_str().unwrap().to_string()
    };
    let ids: Vec<String> = (0..5).map(id_of).collect();
    let resolve =
        |id: &str, version: u64| block_on(table.resolve(&format!("{id}@{version}"))).unwrap();
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert_eq!(resolve(&ids[2], 2), Resolved::Committed(Version::from(2)));
    assert_eq!(resolve(nobody, 2), Resolved::NotCommitted);
    assert_eq!(resolve(nobody, 5), Resolved::Unknown);

    block_on(block_on(table.snapshot()).unwrap().checkpoint()).unwrap();
    for version in 0..3 {
        std::fs::remove_file(commit(version)).unwrap();
    }
    assert_eq!(resolve(&ids[2], 2), Resolved::Committed(Version::from(2)));
    assert_eq!(resolve(nobody, 2), Resolved::NotCommitted);
    assert_eq!(resolve(&ids[1], 1), Resolved::Expired);
    // Another writer's commit names nobody.
    let text = std::fs::read_to_string(commit(3)).unwrap();
    let foreign: String = text.lines().skip(1).map(|it| format!("{it}\n")).collect();
    std::fs::write(commit(3), foreign).unwrap();
    assert_eq!(resolve(&ids[2], 2), Resolved::Expired);
    assert_eq!(block_on(table.resolve(&ids[4])).unwrap(), Resolved::Committed(Version::from(4)));
    assert_eq!(block_on(table.resolve(&ids[2])).unwrap(), Resolved::Unknown);
}

/// Files of partitions whose folder has an escaped name are kept, committed and staged.
///
/// spec: MULTI-2
#[test]
fn partitions_with_escaped_names() {
    let made = table(&memory());
    let names = [("a:b", 1), ("a%b", 2), ("c d", 3), ("2024-01-01 00:00:00", 4)];
    let by = || Append::new().partition_by(["p"]);
    block_on(made.append(parts(&[("plain", 0)]), by())).unwrap();
    let mut txn = block_on(made.begin()).unwrap();
    block_on(txn.append(parts(&names), Append::new())).unwrap();
    block_on(txn.commit()).unwrap();
    assert_eq!(rows(&block_on(made.snapshot()).unwrap()).len(), 5);

    let mut txn = block_on(made.begin()).unwrap();
    block_on(txn.append(parts(&names), Append::new())).unwrap();
    let staged = block_on(txn.stage()).unwrap().to_string();
    let staged: StagedTransaction = staged.parse().unwrap();
    block_on(made.publish(&staged)).unwrap();
    assert_eq!(rows(&block_on(made.snapshot()).unwrap()).len(), 9);
    let again = block_on(made.publish(&staged)).unwrap();
    assert_eq!(rows(&again.snapshot()).len(), 9);
}
