//! What is found in tables that were broken on purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::executor::block_on;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::Severity;
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

/// The first commit without some of its lines.
fn without(it: &Path, what: &[&str]) {
    foreign(&commit(it, 0));
    let text = fs::read_to_string(commit(it, 0)).unwrap();
    let is_left = |line: &&str| !what.iter().any(|it| line.contains(&format!("{{\"{it}\":")));
    let lines: Vec<_> = text.lines().filter(is_left).collect();
    assert!(lines.len() < text.lines().count());
    fs::write(commit(it, 0), lines.join("\n")).unwrap();
}

fn without_checkpoint(it: &Path) {
    fs::remove_file(log(it, &format!("{:020}.checkpoint.parquet", 3))).unwrap();
}

/// Whoever does not say what the table is says its files all the same, and these are held against
/// checkpoints, checksums and folders.
///
/// spec: DOC-10
#[test]
fn checks_go_on_without_protocol_and_metadata() {
    let (protocol, metadata) = ("error invalid-protocol", "error invalid-metadata");
    check("no metadata", true, |it| without(it, &["metaData"]), &[metadata]);
    check("no protocol", true, |it| without(it, &["protocol"]), &[protocol]);
    let both = |it: &Path| without(it, &["protocol", "metaData"]);
    check("neither", false, both, &[protocol, metadata]);
    let schema = |it: &Path| {
        foreign(&commit(it, 0));
        edit(&commit(it, 0), "\"schemaString\":\"{", "\"schemaString\":\"");
    };
    check("a schema that is none", false, schema, &["error invalid-schema"]);

    // What the files are is known from the commits alone, up to the checkpoint and without it.
    let counts = |at: u64, lie: &'static str| {
        move |it: &Path| {
            both(it);
            without_checkpoint(it);
            fs::write(log(it, &format!("{at:020}.crc")), lie).unwrap();
        }
    };
    let hint = "warning hint";
    let lie = r#"{"numFiles":7}"#;
    check("a sum", false, counts(4, lie), &[hint, protocol, metadata, "error checksum-mismatch"]);
    let honest = r#"{"numMetadata":3,"numProtocol":1}"#;
    check("a sum of what is unknown", false, counts(4, honest), &[hint, protocol, metadata]);
    let gone = |it: &Path| {
        both(it);
        without_checkpoint(it);
        fs::remove_file(data(it, "c")).unwrap();
    };
    check("a file", false, gone, &[hint, protocol, metadata, "error missing-file"]);
    let gap = |it: &Path| {
        both(it);
        without_checkpoint(it);
        fs::remove_file(commit(it, 2)).unwrap();
    };
    check("a gap", false, gap, &[hint, "error version-gap", protocol, metadata]);
    let other = |it: &Path| {
        both(it);
        foreign(&commit(it, 2));
        edit(&commit(it, 2), "\"day\":\"a\"", "\"day\":\"x\"");
        fs::remove_file(log(it, &format!("{:020}.crc", 2))).unwrap();
    };
    let differs = "error checkpoint-differs";
    check("a checkpoint", false, other, &[protocol, metadata, differs]);

    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    both(folder.path());
    without_checkpoint(folder.path());
    let found = report(folder.path(), false);
    assert_eq!((found.version(), found.checked().data_files), (None, 4));
    assert!(found.findings()[1].place.ends_with(".json"), "{:?}", found.findings());
    assert!(found.findings()[1].advice.contains("`.crc`"));
}

/// A later commit says what the table is, and from there on all is known.
///
/// spec: DOC-10
#[test]
fn metadata_that_comes_late() {
    let (hint, metadata) = ("warning hint", "error invalid-metadata");
    let late = |lie: &'static str| {
        move |it: &Path| {
            without_checkpoint(it);
            let text = fs::read_to_string(commit(it, 0)).unwrap();
            let line = text.lines().find(|it| it.contains("{\"metaData\":")).unwrap().to_string();
            without(it, &["metaData"]);
            foreign(&commit(it, 1));
            let rest = fs::read_to_string(commit(it, 1)).unwrap();
            fs::write(commit(it, 1), line + "\n" + &rest).unwrap();
            fs::write(log(it, &format!("{:020}.crc", 4)), lie).unwrap();
        }
    };
    check("late", true, late(r#"{"numMetadata":1}"#), &[hint, metadata]);
    let lies = late(r#"{"numMetadata":2}"#);
    check("late, and a sum", false, lies, &[hint, metadata, "error checksum-mismatch"]);
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
    check("a file cut short", true, cut, &["error size-mismatch"]);
    check(
        "a file that is gone, deep",
        true,
        |it| fs::remove_file(data(it, "c")).unwrap(),
        &["error missing-file"],
    );
}

fn golden(table: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(table)
}

fn report(folder: &Path, deep: bool) -> super::Report {
    let table = Table::open_with(&Env::tokio(), folder.to_str().unwrap()).unwrap();
    block_on(table.doctor(Doctor::new().deep(deep))).unwrap()
}

/// Tables of other engines are sound, and a file that reads whole is no fault whatever its size.
///
/// spec: DOC-7
#[test]
fn golden_tables_are_sound() {
    let mut tables = 0;
    for engine in fs::read_dir(golden("")).unwrap() {
        let Ok(folders) = fs::read_dir(engine.unwrap().path().join("tables")) else { continue };
        for folder in folders {
            let folder = folder.unwrap().path();
            let report = report(&folder, true);
            let errors: Vec<_> =
                report.findings().iter().filter(|it| it.severity == Severity::Error).collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", folder.display());
            tables += 1;
        }
    }
    assert!(30 < tables, "{tables}");
    for name in ["duckdb/tables/v1_4_plain", "duckdb/tables/v1_4_partitioned"] {
        let findings = |deep: bool| {
            let report = report(&golden(name), deep);
            assert_eq!(report.is_sound(), deep, "{name}: {:#?}", report.findings());
            report.findings().to_vec()
        };
        let (shallow, deep) = (findings(false), findings(true));
        assert_eq!((shallow.is_empty(), shallow.len()), (false, deep.len()));
        for (a, b) in shallow.iter().zip(&deep) {
            assert_eq!((a.code, b.code), ("size-mismatch", "size-mismatch"));
            assert_eq!((a.severity, b.severity), (Severity::Warning, Severity::Note));
            assert!(a.advice.contains("--deep") && !b.advice.contains("--deep"));
            assert!(b.what.contains("something else as the size"), "{b:?}");
        }
    }
}

/// spec: DOC-9
#[test]
fn one_cause_is_told_once() {
    let outside = |it: &Path| {
        foreign(&commit(it, 4));
        edit(&commit(it, 4), "\"path\":\"day=c/", "\"path\":\"/elsewhere/day=c/");
        fs::remove_file(log(it, &format!("{:020}.crc", 4))).unwrap();
    };
    check("a file elsewhere", false, outside, &["error path-escape"]);
    check("a file elsewhere, deep", true, outside, &["error path-escape"]);
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    outside(folder.path());
    let found = report(folder.path(), true).findings().to_vec();
    assert!(found[0].place.starts_with("/elsewhere/day=c/"), "{found:?}");
    assert_eq!(found[0].what, "path is absolute");
    assert!(found[0].advice.contains("--allow-root"));

    let copy = tempfile::tempdir().unwrap();
    copy_folder(&golden("spark/tables/deletion_vectors"), copy.path());
    let vectors = fs::read_dir(copy.path()).unwrap().map(|it| it.unwrap().path());
    let vectors: Vec<_> =
        vectors.filter(|it| it.extension().is_some_and(|it| it == "bin")).collect();
    assert!(!vectors.is_empty());
    let sound = report(copy.path(), true);
    vectors.iter().for_each(|it| fs::remove_file(it).unwrap());
    let broken = report(copy.path(), true);
    assert!(!broken.findings().is_empty());
    let places: Vec<_> = broken.findings().iter().map(|it| (it.code, &it.place)).collect();
    assert!(places.iter().all(|it| it.0 == "missing-file" && it.1.ends_with(".bin")), "{places:?}");
    assert!(places.len() <= vectors.len(), "{places:?}");
    assert_eq!(broken.checked().rows, sound.checked().rows);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for it in fs::read_dir(from).unwrap().map(|it| it.unwrap()) {
        let to = to.join(it.file_name());
        match it.path().is_dir() {
            true => copy_folder(&it.path(), &to),
            false => drop(fs::copy(it.path(), to).unwrap()),
        }
    }
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
        &["warning compacted-alone"],
    );
    check_notes(
        "what it covers was cleaned up below a checkpoint",
        |it| {
            join(it);
            (0..3).for_each(|at| fs::remove_file(commit(it, at)).unwrap());
        },
        &["note compacted-alone"],
    );
}

/// Notes are found, and the table is sound.
#[track_caller]
fn check_notes(what: &str, change: impl Fn(&Path), expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    change(folder.path());
    let found = report(folder.path(), false);
    let notes: Vec<_> =
        found.findings().iter().map(|it| format!("{} {}", it.severity, it.code)).collect();
    assert_eq!(notes, expected, "{what}: {:#?}", found.findings());
    assert!(found.is_sound(), "{what}");
}

/// Statistics of a checkpoint are read, too: filters trust them.
///
/// spec: DOC-3
#[test]
fn statistics_of_checkpoints_are_read() {
    let bend = |it: &Path| {
        let path = log(it, &format!("{:020}.checkpoint.parquet", 3));
        let mut bytes = fs::read(&path).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
        let columns = reader.metadata().row_group(0).columns().iter();
        let named = |it: &&ColumnChunkMetaData| {
            it.column_path().string() == "add.stats_parsed.minValues.id"
        };
        let (start, len) = columns.clone().find(named).unwrap().byte_range();
        bytes[usize::try_from(start + len).unwrap() - 1] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check("bent statistics", false, bend, &["warning corrupt-checkpoint"]);
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

/// A place is told without what may be secret in it.
#[test]
fn no_secret_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let table = made(folder.path());
    foreign(&commit(folder.path(), 4));
    let path = data(folder.path(), "c");
    let path = path.strip_prefix(folder.path()).unwrap().to_str().unwrap();
    edit(&commit(folder.path(), 4), path, "s3://me:hush@elsewhere/x.parquet?token=hush");
    let report = block_on(table.doctor(Doctor::new())).unwrap();
    let told = format!("{report:?}");
    assert!(told.contains("path-escape") || told.contains("unsupported-path"), "{told}");
    assert!(told.contains("elsewhere") && !told.contains("hush"), "{told}");
}
