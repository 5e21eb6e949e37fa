//! What is found in tables that were broken on purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::executor::block_on;

use crate::{Append, Doctor, Env, Overwrite, Table};

fn rows(from: i64, day: &str) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(from), Some(from + 1), None]));
    let days: ArrayRef = Arc::new(StringArray::from(vec![day; 3]));
    RecordBatch::try_from_iter([("id", ids), ("day", days)]).unwrap()
}

/// Five versions, a checkpoint at 3.
fn made(folder: &Path) -> Table {
    let table = Table::open_with(&Env::tokio(), folder.to_str().unwrap()).unwrap();
    let run = async {
        table.append(rows(0, "a"), Append::new().partition_by(["day"])).await?;
        table.append(rows(10, "b"), Append::new().once("app", 1)).await?;
        table.append(rows(20, "a"), Append::new()).await?;
        table.overwrite(rows(30, "b"), Overwrite::partitions()).await?;
        table.snapshot().await?.checkpoint().await?;
        table.append(rows(40, "c"), Append::new()).await
    };
    block_on(run).unwrap();
    table
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join("_delta_log").join(name)
}

fn commit(folder: &Path, version: u64) -> PathBuf {
    log(folder, &format!("{version:020}.json"))
}

/// A live data file of a day.
fn data(folder: &Path, day: &str) -> PathBuf {
    let day = folder.join(format!("day={day}"));
    fs::read_dir(day).unwrap().next().unwrap().unwrap().path()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
    // Our own commits say how long they are.
}

/// A commit without what we say of its length and sum, so that it can be edited.
fn foreign(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|it| !it.contains("commitInfo"));
    let lines: Vec<_> = lines.map(str::to_string).collect();
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// The findings as `severity code`, in order.
#[track_caller]
fn check(what: &str, deep: bool, change: impl Fn(&Path), expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    change(folder.path());
    let table = Table::open_with(&Env::tokio(), folder.path().to_str().unwrap()).unwrap();
    let report = block_on(table.doctor(Doctor::new().deep(deep))).unwrap();
    let found: Vec<_> =
        report.findings().iter().map(|it| format!("{} {}", it.severity, it.code)).collect();
    assert_eq!(found, expected, "{what}: {:#?}", report.findings());
    assert_eq!(report.is_sound(), expected.is_empty(), "{what}");
    assert!(report.findings().iter().all(|it| !it.advice.is_empty()));
}

/// spec: DOC-1, DOC-2, DOC-3, DOC-8
#[test]
fn what_is_broken_is_found() {
    check("sound", true, |_| {}, &[]);
    check(
        "garbage hint",
        false,
        |it| fs::write(log(it, "_last_checkpoint"), "{").unwrap(),
        &["warning hint"],
    );
    check(
        "dangling hint",
        false,
        |it| fs::write(log(it, "_last_checkpoint"), "{\"version\":9,\"size\":1}").unwrap(),
        &["warning hint"],
    );
    check(
        "a hint that counts otherwise",
        false,
        |it| fs::write(log(it, "_last_checkpoint"), "{\"version\":3,\"size\":99}").unwrap(),
        &["warning skipped"],
    );
    check("no hint", false, |it| fs::remove_file(log(it, "_last_checkpoint")).unwrap(), &[]);
    check(
        "gap below the checkpoint",
        false,
        |it| fs::remove_file(commit(it, 1)).unwrap(),
        &["warning version-gap"],
    );
    let cleaned = |it: &Path| (0..3).for_each(|at| fs::remove_file(commit(it, at)).unwrap());
    check("a log cleaned up", false, cleaned, &[]);
    check(
        "a commit cut short",
        false,
        |it| {
            let text = fs::read_to_string(commit(it, 1)).unwrap();
            fs::write(commit(it, 1), &text[..text.len() / 2]).unwrap();
        },
        &["error corrupt-log"],
    );
    check(
        "garbage checkpoint",
        false,
        |it| fs::write(log(it, &format!("{:020}.checkpoint.parquet", 3)), "PAR1").unwrap(),
        &["warning corrupt-checkpoint"],
    );
    check(
        "a checkpoint of another version",
        false,
        |it| {
            let name = |at: u64| log(it, &format!("{at:020}.checkpoint.parquet"));
            fs::rename(name(3), name(2)).unwrap();
            fs::remove_file(log(it, "_last_checkpoint")).unwrap();
        },
        &["error checkpoint-differs"],
    );
    check(
        "half a checkpoint",
        false,
        |it| {
            fs::write(log(it, &format!("{:020}.checkpoint.{:010}.{:010}.parquet", 4, 1, 2)), "")
                .unwrap()
        },
        &["warning incomplete-checkpoint"],
    );
}

/// spec: DOC-4, DOC-7
#[test]
fn checksums_and_files_are_held_against_the_log() {
    check(
        "a partition value that lies",
        false,
        |it| {
            foreign(&commit(it, 3));
            edit(&commit(it, 3), "\"day\":\"b\"", "\"day\":\"x\"");
            fs::remove_file(log(it, &format!("{:020}.crc", 3))).unwrap();
        },
        &["error checkpoint-differs"],
    );
    let sum = |it: &Path| log(it, &format!("{:020}.crc", 4));
    check(
        "a checksum that lies",
        false,
        |it| fs::write(sum(it), "{\"numFiles\":7}").unwrap(),
        &["error checksum-mismatch"],
    );
    check(
        "a checksum that is none",
        false,
        |it| fs::write(sum(it), "{} {}").unwrap(),
        &["warning corrupt-checksum"],
    );
    check(
        "a file that is gone",
        false,
        |it| fs::remove_file(data(it, "c")).unwrap(),
        &["error missing-file"],
    );
    check(
        "a file that grew",
        false,
        |it| fs::write(data(it, "c"), "x").unwrap(),
        &["warning size-mismatch"],
    );
    let cut = |it: &Path| {
        let path = data(it, "c");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
    };
    check("a file cut short", true, cut, &["warning size-mismatch", "error size-mismatch"]);
    check(
        "a file that is gone, deep",
        true,
        |it| fs::remove_file(data(it, "c")).unwrap(),
        &["error missing-file"],
    );
}

/// spec: DOC-5
#[test]
fn compacted_files_are_held_against_commits() {
    let compacted = |it: &Path| log(it, &format!("{:020}.{:020}.compacted.json", 1, 2));
    let join = |it: &Path| {
        foreign(&commit(it, 1));
        foreign(&commit(it, 2));
        let text = |at| fs::read_to_string(commit(it, at)).unwrap();
        fs::write(compacted(it), text(1) + &text(2)).unwrap();
    };
    check("sound", false, join, &[]);
    check(
        "garbage",
        false,
        |it| fs::write(compacted(it), "{").unwrap(),
        &["warning corrupt-compacted"],
    );
    check(
        "one file less",
        false,
        |it| {
            join(it);
            fs::write(compacted(it), fs::read_to_string(commit(it, 1)).unwrap()).unwrap();
        },
        &["error compacted-differs"],
    );
    check(
        "past the end",
        false,
        |it| fs::write(log(it, &format!("{:020}.{:020}.compacted.json", 1, 9)), "{}").unwrap(),
        &["warning compacted-differs"],
    );
}

/// spec: DOC-6
#[test]
fn deep_checks_read_every_row() {
    let lie = |from: &'static str, to: &'static str| {
        move |it: &Path| {
            foreign(&commit(it, 4));
            edit(&commit(it, 4), from, to);
            fs::remove_file(log(it, &format!("{:020}.crc", 4))).unwrap();
        }
    };
    check("statistics that fit", true, lie("\"add\"", "\"add\""), &[]);
    let nulls = lie("\\\"nullCount\\\":{\\\"id\\\":1", "\\\"nullCount\\\":{\\\"id\\\":0");
    check("nulls that are there", true, nulls, &["error stats-mismatch"]);
    check("unless it is deep", false, nulls, &[]);
    let max = lie("\\\"maxValues\\\":{\\\"id\\\":41", "\\\"maxValues\\\":{\\\"id\\\":40");
    check("a maximum too low", true, max, &["error stats-mismatch"]);
    let rows = lie("\\\"numRecords\\\":3", "\\\"numRecords\\\":4");
    check("rows that are not there", true, rows, &["error stats-mismatch"]);
}
