//! One history in every shape a log can have: what is read must not depend on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use futures::executor::block_on;
use lakebed::{Append, Code, Env, Scan, Table, Version};
use lakebed_testkit::builder::Builder;
use lakebed_testkit::rows::{Multiset, multiset, read_parquet};
use lakebed_testkit::shape::{Layout, compact, second_layout};
use parquet::arrow::ArrowWriter;

/// The newest version of the history.
const LAST: u64 = 12;

/// Everything that a version says.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: Multiset,
    files: Vec<String>,
    txns: BTreeMap<String, i64>,
    schema: String,
}

fn history() -> Builder {
    let row = |day: &str, id: u64| format!("{{\"day\":\"{day}\",\"id\":{id}}}");
    let two = |id: u64| format!("{}\n{}", row("mon", id), row("tue", id));
    let wide = r#"{"day":"wed","id":8,"note":"x"}"#;
    Builder::new("day string, id long")
        .partition_by(["day"])
        .property("delta.checkpointInterval", "1000")
        .append(&two(1))
        .append(&two(2))
        .append_with(&row("wed", 3), Append::new().once("app", 1))
        .overwrite(&row("mon", 4))
        .append("{\"day\":null,\"id\":5}")
        .append_with(&two(6), Append::new().once("app", 2).user_metadata("six"))
        .append_with(&two(7), Append::new().once("other", 9))
        .evolve("day string, id long, note string", wide)
        .append(r#"{"day":"mon","id":9,"note":null}"#)
        .overwrite(r#"{"day":"tue","id":10,"note":"y"}"#)
        .append(&row("mon", 11))
        .append_with(&row("a/b c%", 12), Append::new().once("app", 3))
}

fn seen(table: &Table, version: u64) -> Result<Seen, Code> {
    let seen = async {
        let snapshot = match version {
            LAST => table.snapshot().await?,
            _ => table.snapshot_at(Version::new(version).unwrap()).await?,
        };
        assert_eq!(snapshot.version().get(), version);
        let batches = snapshot.read(&Scan::new()).await?.collect().await?;
        let state = snapshot.files().await?;
        let path = |at| state.files.get(at).map(|it| it.path);
        let mut files = state.files.iter().map(path).collect::<lakebed::Result<Vec<_>>>()?;
        files.sort();
        let txns = &snapshot.head().txns;
        let txns = txns.iter().map(|(app, it)| (app.to_string(), it.version)).collect();
        let schema = snapshot.schema().to_json();
        Ok::<_, lakebed::Error>(Seen { rows: multiset(&batches).unwrap(), files, txns, schema })
    };
    block_on(seen).map_err(|it| it.code())
}

fn log(table: &Path, name: &str) -> std::path::PathBuf {
    table.join("_delta_log").join(name)
}

fn remove(table: &Path, which: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(log(table, "")).unwrap() {
        let path = entry.unwrap().path();
        if which(path.file_name().unwrap().to_str().unwrap()) {
            fs::remove_file(path).unwrap();
        }
    }
}

fn checkpoint(table: &Path, version: u64) {
    let table = Table::open_with(&Env::tokio(), table.to_str().unwrap()).unwrap();
    let at = table.snapshot_at(Version::new(version).unwrap());
    block_on(block_on(at).unwrap().checkpoint()).unwrap();
}

/// Cuts the one file of a checkpoint into two.
fn split(table: &Path, version: u64) {
    let whole = log(table, &format!("{version:020}.checkpoint.parquet"));
    let batches = read_parquet(&whole).unwrap();
    let schema = batches[0].schema();
    let rows: usize = batches.iter().map(|it| it.num_rows()).sum();
    for part in [1, 2] {
        let name = format!("{version:020}.checkpoint.{part:010}.{:010}.parquet", 2);
        let file = fs::File::create(log(table, &name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema.clone(), None).unwrap();
        let mut at = 0;
        for batch in &batches {
            for row in 0..batch.num_rows() {
                if (at < rows / 2) == (part == 1) {
                    writer.write(&batch.slice(row, 1)).unwrap();
                }
                at += 1;
            }
        }
        writer.close().unwrap();
    }
    fs::remove_file(whole).unwrap();
    fs::write(
        log(table, "_last_checkpoint"),
        format!("{{\"version\":{version},\"size\":{rows},\"parts\":2}}"),
    )
    .unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// What it is called, the first version that is left, and what is done to the log.
type Shape = (String, u64, Box<dyn Fn(&Path)>);

/// Every layout that a checkpoint can have beside the first.
const LAYOUTS: &[Layout] = &[
    Layout { json: false, classic: false, sidecars: 0 },
    Layout { json: true, classic: false, sidecars: 0 },
    Layout { json: false, classic: false, sidecars: 1 },
    Layout { json: true, classic: false, sidecars: 3 },
    Layout { json: false, classic: true, sidecars: 0 },
    Layout { json: false, classic: true, sidecars: 2 },
];

/// Shapes that Lakebed does not write, at a version: sound ones, and broken ones beside commits.
fn foreign_shapes(version: u64) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    let commits_before = move |it: &Path| {
        let name = format!("{version:020}.json");
        remove(it, |other| other.ends_with(".json") && other.len() == 25 && other < name.as_str());
        remove(it, |it| it.ends_with(".crc"));
    };
    for how in LAYOUTS.iter().copied() {
        let make = move |it: &Path| {
            checkpoint(it, version);
            second_layout(it, version, how).unwrap()
        };
        let sound = move |it: &Path| {
            make(it);
            commits_before(it);
        };
        shapes.push((format!("{how:?} at {version}"), version, Box::new(sound)));
        let cut = move |it: &Path| {
            let path = make(it);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        };
        shapes.push((format!("{how:?} at {version}, cut"), 0, Box::new(cut)));
        if how.sidecars > 0 {
            let lost = move |it: &Path| {
                make(it);
                let folder = fs::read_dir(log(it, "_sidecars")).unwrap();
                let first = folder.map(|it| it.unwrap().path()).min().unwrap();
                fs::remove_file(first).unwrap();
            };
            shapes.push((format!("{how:?} at {version}, a sidecar gone"), 0, Box::new(lost)));
        }
    }
    let both = move |it: &Path| {
        checkpoint(it, version);
        let classic = log(it, &format!("{version:020}.checkpoint.parquet"));
        let bytes = fs::read(&classic).unwrap();
        second_layout(it, version, LAYOUTS[2]).unwrap();
        fs::write(&classic, &bytes[..9]).unwrap();
        assert!(!bytes.is_empty());
        commits_before(it);
    };
    shapes.push((
        format!("a classic one cut beside another at {version}"),
        version,
        Box::new(both),
    ));
    shapes
}

/// Compacted files over all of it, some of it, with checkpoints between, and broken ones.
fn compacted_shapes() -> Vec<Shape> {
    let ranges: &[&[(u64, u64)]] =
        &[&[(0, LAST)], &[(0, 3), (4, 8)], &[(2, 6), (5, 9)], &[(1, LAST - 1)], &[(9, LAST)]];
    let mut shapes: Vec<Shape> = Vec::new();
    for ranges in ranges {
        let make = |it: &Path| {
            ranges.iter().map(|(a, b)| compact(it, *a, *b).unwrap()).collect::<Vec<_>>()
        };
        shapes.push((format!("compacted {ranges:?}"), 0, Box::new(move |it| drop(make(it)))));
        let with_checkpoint = move |it: &Path| {
            make(it);
            checkpoint(it, 7);
        };
        shapes.push((format!("compacted {ranges:?}, checkpoint"), 0, Box::new(with_checkpoint)));
        let cut = move |it: &Path| {
            for path in make(it) {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
            }
        };
        shapes.push((format!("compacted {ranges:?}, cut"), 0, Box::new(cut)));
    }
    let over_the_end = |it: &Path| {
        let path = compact(it, 0, 3).unwrap();
        fs::rename(path, log(it, &format!("{:020}.{:020}.compacted.json", 0, 99))).unwrap();
    };
    shapes.push(("compacted past the end".into(), 0, Box::new(over_the_end)));
    shapes
}

/// Shapes that Lakebed itself leaves, and what stale hints and cleanup make of them.
fn own_shapes() -> Vec<Shape> {
    let hint = |text: &'static str| {
        move |it: &Path| {
            checkpoint(it, 4);
            checkpoint(it, 9);
            fs::write(log(it, "_last_checkpoint"), text).unwrap();
        }
    };
    let mut shapes: Vec<Shape> = vec![
        ("commits only".into(), 0, Box::new(|_| {})),
        ("no checksums".into(), 0, Box::new(|it| remove(it, |name| name.ends_with(".crc")))),
        ("stale hint".into(), 0, Box::new(hint("{\"version\":4,\"size\":1}"))),
        ("hint of none".into(), 0, Box::new(hint("{\"version\":11,\"size\":1}"))),
        ("garbage hint".into(), 0, Box::new(hint("{\"version\":"))),
        (
            "no hint".into(),
            0,
            Box::new(|it| {
                checkpoint(it, 9);
                fs::remove_file(log(it, "_last_checkpoint")).unwrap();
            }),
        ),
    ];
    for version in 0..=LAST {
        let name = format!("{version:020}.json");
        shapes.push((
            format!("checkpoint {version}"),
            0,
            Box::new(move |it| checkpoint(it, version)),
        ));
        let parts = move |it: &Path| {
            checkpoint(it, version);
            split(it, version);
        };
        shapes.push((format!("parts {version}"), 0, Box::new(parts)));
        let cleaned = move |it: &Path| {
            parts(it);
            remove(it, |other| !other.contains("checkpoint") && other < name.as_str());
            remove(it, |it| it.ends_with(".crc"));
        };
        shapes.push((format!("cleaned up to {version}"), version, Box::new(cleaned)));
    }
    shapes
}

/// spec: CKPT-3, CKPT-14, CKPT-15, CKPT-16, CKPT-17, CKPT-19, CMP-1, CMP-4, CMP-8
#[test]
fn every_shape_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    let made = block_on(history().build(&Env::tokio(), plain.to_str().unwrap())).unwrap();
    let expected: Vec<Seen> = (0..=LAST).map(|it| seen(&made, it).unwrap()).collect();
    assert_eq!(expected[12].rows.values().sum::<u64>(), 10);
    assert_eq!(expected[12].txns, BTreeMap::from([("app".into(), 3), ("other".into(), 9)]));
    let mut shapes = own_shapes();
    for version in [0, 4, 9, LAST] {
        shapes.extend(foreign_shapes(version));
    }
    shapes.extend(compacted_shapes());
    for (at, (what, first, change)) in shapes.into_iter().enumerate() {
        let place = folder.path().join(at.to_string());
        copy(&plain, &place);
        change(&place);
        for version in 0..=LAST {
            let table = Table::open_with(&Env::tokio(), place.to_str().unwrap()).unwrap();
            let actual = seen(&table, version);
            match version < first {
                true => assert_eq!(actual, Err(Code::VersionNotFound), "{what}, {version}"),
                false => {
                    let expected = &expected[usize::try_from(version).unwrap()];
                    assert_eq!(actual.as_ref(), Ok(expected), "{what}, {version}");
                }
            }
        }
    }
}
