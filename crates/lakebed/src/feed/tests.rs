//! Tables of commits written by hand: what they tell, and where reading can go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed_log::action::{
    Action, Add, AddCdc, CommitInfo, DeletionVector, Metadata, Protocol, Remove, VectorBytes,
};
use lakebed_log::error::{Code, Result};
use lakebed_log::expr::{col, lit};
use lakebed_log::feature::TableFeature;
use lakebed_log::log_path::LogPath;
use lakebed_log::row_set::{FILE_VERSION, RowSet, frame};
use lakebed_log::scan::Scan;
use lakebed_log::schema::Schema;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::{Changes, Cursor, Feed};
use crate::env::Env;
use crate::op::Op;
use crate::store::Store;
use crate::table::Table;

/// A table in memory whose log is written by hand. Data files hold `id` and `name`.
struct Bed {
    env: Env,
    store: Store,
    table: Table,
    next: u32,
    sizes: BTreeMap<String, i64>,
    /// Those that lie in files.
    vectors: BTreeMap<String, DeletionVector>,
}

const DDL: &str = "id long, name string, p string";

fn metadata(ddl: &str, properties: &[(&str, &str)]) -> Metadata {
    let owned = |it: &(&str, &str)| (it.0.to_string(), it.1.to_string());
    Metadata {
        id: "5b1c5a6e-0000-4000-8000-000000000000".into(),
        name: None,
        description: None,
        format_provider: "parquet".into(),
        format_options: BTreeMap::new(),
        schema_string: Schema::parse_ddl(ddl).unwrap().to_json(),
        partition_columns: vec!["p".to_string()],
        configuration: properties.iter().map(owned).collect(),
        created_time: None,
    }
}

const KEPT: (&str, &str) = ("delta.enableChangeDataFeed", "true");

impl Bed {
    fn new() -> Bed {
        Bed::with(&[KEPT])
    }

    fn with(properties: &[(&str, &str)]) -> Bed {
        let env = Env::tokio();
        let location = format!("memory://{}", env.id());
        let store = env.open(&location).unwrap();
        let table = Table::open_with(&env, &location).unwrap();
        let (sizes, vectors) = (BTreeMap::new(), BTreeMap::new());
        let mut bed = Bed { env, store, table, next: 0, sizes, vectors };
        let features = [TableFeature::DeletionVectors, TableFeature::ChangeDataFeed];
        let protocol = Protocol::legacy().with_features(&features);
        bed.actions(&[Action::Protocol(protocol), Action::Metadata(metadata(DDL, properties))]);
        bed
    }

    fn actions(&mut self, actions: &[Action]) {
        let lines: Vec<_> = actions.iter().map(Action::to_json_line).collect();
        let key = LogPath::Commit(Version::from(self.next)).to_path();
        let text = format!("{}\n", lines.join("\n"));
        block_on(self.store.put_if_absent(&Op::default(), &key, text.into())).unwrap();
        self.next += 1;
    }

    fn columns(&mut self, path: &str, columns: &[(&str, ArrayRef)]) {
        let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        self.sizes.insert(path.to_string(), i64::try_from(bytes.len()).unwrap());
        block_on(self.store.put(&Op::default(), path, bytes.into())).unwrap();
    }

    /// A data file of so many rows: ids `path0`, `path1`, ..
    fn file(&mut self, path: &str, rows: i64) {
        let base = i64::from(path.bytes().next().unwrap() - b'a') * 10;
        let names = (0..rows).map(|it| format!("{path}{it}"));
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from_iter_values(base..base + rows))),
            ("name", Arc::new(StringArray::from_iter_values(names))),
        ];
        self.columns(path, &columns);
    }

    /// One file of vectors, for commits that name these rows.
    fn stored(&mut self, file: u32, all: &[String]) {
        let id = lakebed_log::z85::encode(&[[0; 12].as_slice(), &file.to_be_bytes()].concat());
        let mut bytes = vec![FILE_VERSION];
        for rows in all {
            let offset = Some(i32::try_from(bytes.len()).unwrap());
            let inline = self.vector(rows);
            let Ok(VectorBytes::Inline(payload)) = inline.bytes() else { panic!("{rows}") };
            bytes.extend(frame(&payload).unwrap());
            let (storage_type, path_or_inline_dv) = ("u".to_string(), id.clone());
            let stored = DeletionVector { storage_type, path_or_inline_dv, offset, ..inline };
            self.vectors.insert(rows.clone(), stored);
        }
        let key = format!("deletion_vector_00000000-0000-0000-0000-{file:012x}.bin");
        block_on(self.store.put(&Op::default(), &key, bytes.into())).unwrap();
    }

    fn vector(&mut self, rows: &str) -> DeletionVector {
        if let Some(stored) = self.vectors.get(rows) {
            return stored.clone();
        }
        let set: RowSet = rows.split(',').map(|it| it.parse::<u64>().unwrap()).collect();
        let bytes = set.to_bytes();
        DeletionVector {
            storage_type: "i".to_string(),
            path_or_inline_dv: lakebed_log::z85::encode(&bytes),
            offset: None,
            size_in_bytes: i32::try_from(bytes.len()).unwrap(),
            cardinality: i64::try_from(set.len()).unwrap(),
        }
    }

    /// One commit: `+a` adds the file `a`, `-a` removes it, `*a` is a change file; `:1,4` is its
    /// vector, `~` means no data change, `?` a remove that says nothing of its file.
    fn commit(&mut self, words: &str) {
        let mut actions = Vec::new();
        for word in words.split_whitespace() {
            let (sign, rest) = word.split_at(1);
            let (data_change, terse) = (!rest.contains('~'), rest.contains('?'));
            let rest = rest.trim_end_matches(['~', '?']);
            let (path, rows) = match rest.split_once(':') {
                Some((path, rows)) => (path.to_string(), Some(rows)),
                None => (rest.to_string(), None),
            };
            let deletion_vector = rows.map(|it| self.vector(it));
            let size = self.sizes.get(&path).copied().unwrap_or(1);
            let partition_values: BTreeMap<_, _> =
                [("p".to_string(), Some(format!("p{path}")))].into();
            actions.push(match sign {
                "+" => Action::Add(Add {
                    path,
                    partition_values,
                    size,
                    data_change,
                    deletion_vector,
                    ..Add::default()
                }),
                "-" => Action::Remove(Remove {
                    path,
                    data_change,
                    deletion_vector,
                    size: (!terse).then_some(size),
                    partition_values: (!terse).then_some(partition_values),
                    extended_file_metadata: Some(!terse),
                    ..Remove::default()
                }),
                _ => Action::AddCdc(AddCdc {
                    path,
                    partition_values,
                    size,
                    data_change: false,
                    tags: None,
                }),
            });
        }
        actions.push(Action::CommitInfo(CommitInfo::default()));
        self.actions(&actions);
    }

    fn changes(&self, which: impl Into<Changes>) -> Result<Vec<String>> {
        let feed = block_on(self.table.changes(which))?;
        let batches = block_on(feed.collect())?;
        assert!(batches.iter().all(|it| 0 < it.num_rows()));
        Ok(batches.iter().flat_map(words).collect())
    }

    #[track_caller]
    fn check(&self, which: impl Into<Changes>, expected: &[&str]) {
        match self.changes(which) {
            Ok(actual) => assert_eq!(actual, expected),
            Err(it) => assert_eq!([it.code().as_str()].as_slice(), expected, "{it:?}"),
        }
    }

    #[track_caller]
    fn diff(&self, from: u32, to: u32, scan: &Scan) -> Vec<String> {
        let rows = self.table.diff_with(Version::from(from), Version::from(to), scan);
        let batches = block_on(block_on(rows).unwrap().collect()).unwrap();
        batches.iter().flat_map(words).collect()
    }

    fn rows(&self, version: u32) -> BTreeSet<String> {
        let snapshot = block_on(self.table.snapshot_at(Version::from(version))).unwrap();
        let rows = block_on(snapshot.read(&Scan::new().columns(["name"]))).unwrap();
        let batches = block_on(rows.collect()).unwrap();
        batches.iter().flat_map(words).collect()
    }
}

/// Rows as words; a time is only told apart from null.
fn words(batch: &RecordBatch) -> Vec<String> {
    let cell = |array: &ArrayRef, row: usize| match array.data_type() {
        _ if array.is_null(row) => "-".to_string(),
        arrow_schema::DataType::Utf8 => array.as_string::<i32>().value(row).to_string(),
        arrow_schema::DataType::Timestamp(..) => "t".to_string(),
        _ => array.as_primitive::<Int64Type>().value(row).to_string(),
    };
    let schema = batch.schema();
    let short = |name: &str| name.replace("update_", "");
    let row = |row: usize| {
        let shown = schema.fields().iter().zip(batch.columns());
        let shown = shown.filter(|(field, _)| field.name() != "_commit_timestamp");
        shown.map(|(_, it)| short(&cell(it, row))).collect::<Vec<_>>().join(" ")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn v(version: u32) -> Version {
    Version::from(version)
}

/// A change file with an update of the row `a1`.
fn change_file(bed: &mut Bed, path: &str, changes: &[&str]) {
    let count = i64::try_from(changes.len()).unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..count))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(changes.iter().map(|it| format!("!{it}")))),
        ),
        ("_change_type", Arc::new(StringArray::from_iter_values(changes))),
    ];
    bed.columns(path, &columns);
}

/// Nine versions, one of each kind.
fn bed() -> Bed {
    let mut bed = Bed::new();
    for path in ["a", "b", "c", "d"] {
        bed.file(path, 3);
    }
    change_file(&mut bed, "x", &["update_preimage", "update_postimage"]);
    bed.commit("+a +b");
    bed.commit("-a +a:1");
    bed.commit("-a:1 +a:0,2");
    bed.commit("");
    bed.commit("-b~ +c~");
    bed.commit("*x -c +d");
    bed.commit("-a:0,2? -d?");
    bed
}

/// spec: CDF-1, CDF-2, CDF-3, CDF-4, CDF-5, CDF-6, CDF-7, CDF-9, CDF-10, CDF-11
#[test]
fn one_of_each_kind() {
    let bed = bed();
    let all = [
        "0 a0 pa insert 1",
        "1 a1 pa insert 1",
        "2 a2 pa insert 1",
        "10 b0 pb insert 1",
        "11 b1 pb insert 1",
        "12 b2 pb insert 1",
        "1 a1 pa delete 2",
        "0 a0 pa delete 3",
        "2 a2 pa delete 3",
        "1 a1 pa insert 3",
        "0 !preimage px preimage 6",
        "1 !postimage px postimage 6",
        "1 a1 pa delete 7",
        "30 d0 pd delete 7",
        "31 d1 pd delete 7",
        "32 d2 pd delete 7",
    ];
    bed.check(v(0).., &all);
    bed.check(v(1)..=v(7), &all);
    bed.check(v(2)..v(3), &all[6..7]);
    bed.check(v(3)..=v(3), &all[7..10]);
    bed.check(v(4)..v(6), &[]);
    bed.check(v(6).., &all[10..]);
    bed.check(Changes::new(v(0)).limit(7), &all[..7]);
    bed.check(Changes::new(v(0)).limit(0), &[]);
    let columns = Changes::new(v(2)).to(v(3)).columns(["_COMMIT_VERSION", "name"]);
    bed.check(columns, &["2 a1 delete", "3 a0 delete", "3 a2 delete", "3 a1 insert"]);
    let filter = Changes::new(v(0)).filter(col("_change_type").eq(lit("delete")));
    let filter = filter.filter(col("p").eq(lit("pa")).and(col("_commit_version").gt(lit(2))));
    bed.check(filter.columns(["id"]), &["0 delete 3", "2 delete 3", "1 delete 7"]);
    bed.check(Changes::new(v(0)).filter("id = 1 and name <> 'a1'".parse().unwrap()), &all[11..12]);
    bed.check(Changes::new(v(0)).columns(["nobody"]), &["unknown-column"]);
    bed.check(Changes::new(v(0)).columns(["id", "ID"]), &["invalid-argument"]);
    bed.check(Changes::new(v(0)).filter(col("nobody").is_null()), &["unknown-column"]);

    let feed = block_on(bed.table.changes(v(0)..)).unwrap();
    let names: Vec<_> = feed.schema().fields().iter().map(|it| it.name().clone()).collect();
    let expected = ["id", "name", "p", "_change_type", "_commit_version", "_commit_timestamp"];
    assert_eq!(names, expected);
    assert_eq!(feed.versions(), Some((v(0), v(7))));
}

/// A file whose constants rule out the filter is not opened.
#[test]
fn pruned_by_what_is_the_same_for_all_rows() {
    let bed = bed();
    for (filter, expected) in [
        ("p = 'pb' and _change_type = 'insert'", 3),
        ("_commit_version > 70 and p <> ''", 0),
        ("_commit_timestamp < timestamp '2001-01-01T00:00:00Z'", 0),
    ] {
        let op = Op::default();
        let table = bed.table.with_op(op.clone());
        let before = op.usage().requests();
        let which = Changes::new(v(1)).to(v(1)).filter(filter.parse().unwrap());
        let feed = block_on(table.changes(which)).unwrap();
        let planned = op.usage().requests();
        let rows: usize = block_on(feed.collect()).unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, expected);
        // The commit, and a data file if there is one to read.
        let most = if expected == 0 { 1 } else { 2 };
        assert!(op.usage().requests() - planned <= most, "{filter}: {before} {planned}");
    }
}

/// After any batch, by a cursor that went through text: nothing lost and nothing twice, whatever
/// the size of batches, the filter and the limit.
///
/// spec: CDF-18, CDF-19
#[test]
fn going_on_from_everywhere() {
    let bed = bed();
    let plain = || Changes::new(v(0));
    let odd: lakebed_log::expr::Expr = "id % 2 = 1 or _commit_version = 7".parse().unwrap();
    for filter in [None, Some(odd)] {
        let with = |it: Changes| filter.iter().fold(it, |it, filter| it.filter(filter.clone()));
        let all = bed.changes(with(plain())).unwrap();
        for rows in [1, 2, 100] {
            let mut feed = block_on(bed.table.changes(with(plain()).batch_rows(rows))).unwrap();
            let mut seen = Vec::new();
            loop {
                let cursor: Cursor = feed.cursor().to_string().parse().unwrap();
                let rest = bed.changes(with(Changes::after(cursor.clone()))).unwrap();
                assert_eq!([seen.clone(), rest].concat(), all, "{cursor}");
                let limited = with(Changes::after(cursor)).limit(2);
                let mut two = block_on(bed.table.changes(limited)).unwrap();
                let batches: Vec<_> = block_on((&mut two).try_collect()).unwrap();
                let some: Vec<String> = batches.iter().flat_map(words).collect();
                let rest = bed.changes(with(Changes::after(two.cursor().clone()))).unwrap();
                assert_eq!([seen.clone(), some, rest].concat(), all);
                match block_on(feed.try_next()).unwrap() {
                    Some(batch) => seen.extend(words(&batch)),
                    None => break,
                }
            }
            assert_eq!(seen, all);
            assert_eq!(feed.cursor().version(), v(8));
        }
    }
}

/// A cursor at the end waits for what comes, and is of one table.
///
/// spec: CDF-17, CDF-18
#[test]
fn going_on_later() {
    let mut bed = bed();
    let mut feed = block_on(bed.table.changes(v(7)..)).unwrap();
    let end = |feed: &mut Feed| {
        while block_on(feed.try_next()).unwrap().is_some() {}
        feed.cursor().clone()
    };
    let cursor = end(&mut feed);
    let mut later = block_on(bed.table.changes_after(&cursor)).unwrap();
    assert_eq!((later.versions(), end(&mut later)), (None, cursor.clone()));
    assert_eq!(later.schema().fields().len(), 6);
    bed.check(Changes::after(cursor.clone()).to(v(3)), &["version-not-found"]);
    bed.file("e", 1);
    bed.commit("+e");
    bed.check(Changes::after(cursor.clone()).to(v(3)), &["invalid-argument"]);
    bed.check(Changes::after(cursor.clone()).to(v(7)), &[]);
    bed.check(cursor.clone(), &["40 e0 pe insert 8"]);

    let text = cursor.to_string();
    let other = |from: &str, to: &str| text.replace(from, to).parse::<Cursor>().unwrap();
    assert_ne!(other("\"version\":8", "\"version\":9"), cursor);
    bed.check(other("\"version\":8", "\"version\":9"), &[]);
    bed.check(other("\"version\":8", "\"version\":10"), &["version-not-found"]);
    bed.check(other("5b1c", "5b1d"), &["invalid-argument"]);
    let far: Cursor =
        text.replace("5b1c", "5b1d").replace("\"version\":8", "\"version\":10").parse().unwrap();
    bed.check(far, &["invalid-argument"]);
    bed.check(other("\"file\":0", "\"file\":1"), &["invalid-argument"]);
    bed.check(other("\"file\":0", "\"file\":18446744073709551615"), &["invalid-argument"]);
    bed.check(other("\"row\":0", "\"row\":18446744073709551615"), &[]);
}

/// spec: CDF-17
#[test]
fn ranges() {
    let mut bed = bed();
    bed.check(v(8).., &["version-not-found"]);
    bed.check(v(0)..=v(8), &["version-not-found"]);
    bed.check(v(0)..v(0), &["invalid-argument"]);
    bed.check(v(3)..v(3), &["invalid-argument"]);
    bed.check(v(3)..=v(2), &["invalid-argument"]);
    let times: Vec<Timestamp> = (0..8)
        .map(|it| block_on(block_on(bed.table.snapshot_at(v(it))).unwrap().timestamp()).unwrap())
        .collect();
    for (from, since) in times.iter().enumerate() {
        let feed = block_on(bed.table.changes(*since..)).unwrap();
        assert_eq!(feed.versions().unwrap().0, v(u32::try_from(from).unwrap()));
        let feed = block_on(bed.table.changes(*since..=*since)).unwrap();
        let only = v(u32::try_from(from).unwrap());
        assert_eq!(feed.versions(), Some((only, only)));
    }
    let (first, last) = (times[0], times[7]);
    assert_eq!(
        block_on(bed.table.changes(first.plus_millis(-9)..)).unwrap().versions(),
        Some((v(0), v(7)))
    );
    bed.check(last.plus_millis(1).., &["version-not-found"]);
    bed.check(first.plus_millis(-9)..=first.plus_millis(-8), &["version-not-found"]);
    bed.check(last..=first, &["invalid-argument"]);
    // The time of a row is that of its version.
    let feed = block_on(bed.table.changes(v(7)..)).unwrap();
    let batches = block_on(feed.collect()).unwrap();
    let micros = batches[0].column(5).as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(micros, last.as_millis() * 1000);

    let key = LogPath::Commit(v(3)).to_path();
    block_on(block_on(bed.table.snapshot()).unwrap().checkpoint()).unwrap();
    block_on(bed.store.delete(&Op::default(), &key)).unwrap();
    bed.file("e", 1);
    bed.commit("+e");
    bed.check(v(8).., &["40 e0 pe insert 8"]);
    // The files of the version before would be needed.
    bed.check(v(7).., &["version-gap"]);
    bed.check(v(2).., &["version-gap"]);
    for version in 0..3 {
        let key = LogPath::Commit(v(version)).to_path();
        block_on(bed.store.delete(&Op::default(), &key)).unwrap();
    }
    bed.check(v(2).., &["version-not-found"]);
}

/// spec: CDF-14
#[test]
fn feeds_that_were_not_kept() {
    let mut bed = Bed::with(&[]);
    bed.file("a", 1);
    bed.file("b", 1);
    bed.commit("+a");
    bed.actions(&[Action::Metadata(metadata(DDL, &[KEPT]))]);
    bed.commit("+b");
    let error = bed.changes(v(1)..).unwrap_err();
    assert_eq!(error.code(), Code::FeedNotEnabled);
    assert!(error.to_string().contains("version 1 "), "{error}");
    bed.check(v(2).., &["10 b0 pb insert 3"]);
    let derived = Changes::new(v(0)).require_feed(false);
    bed.check(derived, &["0 a0 pa insert 1", "10 b0 pb insert 3"]);

    // A version in between that nobody here can read stops the feed, though a later one can.
    let alien = TableFeature::parse("telepathy");
    let features = Some(vec![alien, TableFeature::DeletionVectors]);
    bed.actions(&[Action::Protocol(Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: features.clone(),
        writer_features: features,
    })]);
    let plain = [TableFeature::DeletionVectors, TableFeature::ChangeDataFeed];
    bed.actions(&[Action::Protocol(Protocol::legacy().with_features(&plain))]);
    let error = bed.changes(v(2)..).unwrap_err();
    assert_eq!(error.missing_feature().unwrap().feature.name(), "telepathy");
    bed.table = Table::open_with(&bed.env, bed.store.location()).unwrap();
    bed.check(v(5).., &[]);
}

/// spec: CDF-13, CDF-20
#[test]
fn schemas_that_change() {
    let mut bed = Bed::new();
    bed.file("a", 1);
    bed.commit("+a");
    bed.actions(&[Action::Metadata(metadata(
        "id long, name string, more date, p string",
        &[KEPT],
    ))]);
    let file = bed.sizes["a"];
    bed.check(v(0).., &["0 a0 - pa insert 1"]);
    bed.check(v(0)..=v(1), &["0 a0 pa insert 1"]);
    bed.actions(&[Action::Metadata(metadata("id long, more date, p string", &[KEPT]))]);
    bed.check(v(0).., &["schema-mismatch"]);
    let mismatch = bed.table.diff(v(1), v(3));
    assert_eq!(block_on(mismatch).err().unwrap().code(), Code::SchemaMismatch);

    // A commit that replaces the schema removes rows that had the one before.
    let replaced = metadata("id string, p string", &[KEPT]);
    let remove = Remove {
        path: "a".to_string(),
        size: Some(file),
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: Some([("p".to_string(), Some("x".to_string()))].into()),
        ..Remove::default()
    };
    bed.actions(&[Action::Metadata(replaced), Action::Remove(remove)]);
    bed.check(v(4).., &["schema-mismatch"]);

    let taken = metadata("id string, _Change_Type string, p string", &[KEPT]);
    bed.actions(&[Action::Metadata(taken)]);
    bed.check(v(5).., &["unsupported-data"]);
}

/// spec: CDF-11
#[test]
fn times_of_the_table_itself() {
    let properties = [KEPT, ("delta.enableInCommitTimestamps", "true")];
    let info = |at: Option<i64>| {
        let mut info = CommitInfo::default();
        if let Some(at) = at {
            info.fields.insert("inCommitTimestamp".to_string(), at.into());
        }
        Action::CommitInfo(info)
    };
    let times = |commits: &[Option<i64>]| -> Result<Vec<i64>> {
        let mut bed = Bed::with(&[KEPT]);
        bed.file("a", 1);
        let features = [TableFeature::InCommitTimestamp];
        let protocol = Protocol::legacy().with_features(&features);
        bed.next = 0;
        block_on(bed.store.delete(&Op::default(), &LogPath::Commit(v(0)).to_path())).unwrap();
        let start = [info(Some(1_000)), Action::Protocol(protocol)];
        bed.actions(&[&start[..], &[Action::Metadata(metadata(DDL, &properties))]].concat());
        for (at, path) in commits.iter().zip(["b", "c", "d"]) {
            bed.file(path, 1);
            let values = [("p".to_string(), None)].into();
            let size = bed.sizes[path];
            let path = path.to_string();
            let add =
                Add { path, size, data_change: true, partition_values: values, ..Add::default() };
            bed.actions(&[info(*at), Action::Add(add)]);
        }
        let feed = block_on(bed.table.changes(v(0)..))?;
        let batches = block_on(feed.collect())?;
        let micros = |it: &RecordBatch| {
            it.column_by_name("_commit_timestamp")
                .unwrap()
                .as_primitive::<TimestampMicrosecondType>()
                .value(0)
        };
        Ok(batches.iter().map(micros).collect())
    };
    assert_eq!(times(&[Some(2_000), Some(2_001)]).unwrap(), [2_000_000, 2_001_000]);
    assert_eq!(times(&[Some(2_000), Some(2_000)]).unwrap_err().code(), Code::InvalidAction);
    assert_eq!(times(&[None]).unwrap_err().code(), Code::InvalidAction);
}

/// spec: CDF-7, CDF-12, CDF-21
#[test]
fn files_that_are_wrong() {
    let mut bed = bed();
    change_file(&mut bed, "y", &["insert", "upsert"]);
    bed.commit("*y");
    bed.check(v(8).., &["0 !insert py insert 8", "1 !upsert py upsert 8"]);
    bed.commit("*a");
    bed.check(v(9).., &["corrupt-data"]);
    bed.commit("*../z");
    bed.check(v(10).., &["path-escape"]);
    bed.commit("-nobody?");
    bed.check(v(11).., &["invalid-action"]);
    bed.file("e", 3);
    bed.commit("+e");
    bed.commit("-e +e:3");
    bed.check(v(13).., &["corrupt-dv"]);

    let mut bed = self::bed();
    bed.file("e", 1);
    bed.file("f", 1);
    bed.commit("+e +f");
    bed.commit("-e");
    for path in ["e", "f", "x"] {
        block_on(bed.store.delete(&Op::default(), path)).unwrap();
    }
    let filter = |version: u32, p: &str| {
        let which = Changes::new(v(version)).to(v(version));
        which.filter(col("p").eq(lit(p)))
    };
    bed.check(filter(8, "pe"), &["expired-snapshot"]);
    bed.check(filter(9, "pe"), &["expired-snapshot"]);
    bed.check(filter(6, "px"), &["expired-snapshot"]);
    bed.check(filter(8, "pf"), &["missing-file"]);
}

/// spec: CDF-16
#[test]
fn differences() {
    let bed = bed();
    let all = Scan::new();
    assert_eq!(bed.diff(1, 1, &all), [] as [&str; 0]);
    assert_eq!(bed.diff(1, 2, &all), ["1 a1 pa delete"]);
    assert_eq!(bed.diff(2, 1, &all), ["1 a1 pa insert"]);
    assert_eq!(bed.diff(2, 3, &all), ["0 a0 pa delete", "2 a2 pa delete", "1 a1 pa insert"]);
    assert_eq!(bed.diff(3, 4, &all), [] as [&str; 0]);
    // Rows that moved leave and come back.
    let moved = bed.diff(4, 5, &all.clone().columns(["name"]));
    let expected = ["b0 delete", "b1 delete", "b2 delete", "c0 insert", "c1 insert", "c2 insert"];
    assert_eq!(moved, expected);
    let some = all.clone().columns(["name"]).filter("_change_type = 'insert'".parse().unwrap());
    assert_eq!(bed.diff(4, 5, &some.clone().limit(2)), ["c0 insert", "c1 insert"]);
    assert_eq!(bed.diff(4, 5, &some.limit(0)), [] as [&str; 0]);
    assert_eq!(bed.diff(0, 7, &all), [] as [&str; 0]);
    let gone = block_on(bed.table.diff(v(0), v(8)));
    assert_eq!(gone.err().unwrap().code(), Code::VersionNotFound);
    let unkept = Bed::with(&[]);
    assert_eq!(unkept.diff(0, 0, &all), [] as [&str; 0]);
}

/// What both versions have is neither opened nor compared.
#[test]
fn equal_files_cost_nothing() {
    let mut bed = Bed::new();
    for path in ["a", "b", "c", "d", "e"] {
        bed.file(path, 2);
        bed.commit(&format!("+{path}"));
    }
    bed.commit("-c +c:1");
    let op = Op::default();
    let table = bed.table.with_op(op.clone());
    let rows = block_on(table.diff(v(5), v(6))).unwrap();
    let planned = op.usage().requests();
    let batches = block_on(rows.collect()).unwrap();
    assert_eq!(batches.iter().flat_map(words).collect::<Vec<_>>(), ["21 c1 pc delete"]);
    assert_eq!(op.usage().requests() - planned, 1);
}

/// Vectors of a version, and of a difference, are a request a file of them, and none for what the
/// filter leaves out. Each row is told as if they were fetched one by one.
///
/// spec: DV-17
#[test]
fn vectors_of_a_version_are_fetched_together() {
    let mut bed = Bed::new();
    let paths = ["a", "b", "c", "d", "e", "f"];
    let rows = |more: &str| (0..6).map(|it| format!("{it}{more}")).collect::<Vec<_>>();
    let (first, second, third) = (rows(""), rows(",6"), rows(",7"));
    paths.iter().for_each(|it| bed.file(it, 8));
    bed.stored(1, &first);
    bed.stored(2, &second);
    bed.stored(3, &third[..1]);
    bed.stored(4, &third[1..]);
    let commit = |word: &dyn Fn(usize) -> String| (0..6).map(word).collect::<Vec<_>>().join(" ");
    let moved = |from: &[String], to: &[String]| {
        commit(&|it| format!("-{0}:{1} +{0}:{2}", paths[it], from[it], to[it]))
    };
    bed.commit(&commit(&|it| format!("+{}", paths[it])));
    bed.commit(&commit(&|it| format!("-{0} +{0}:{1}", paths[it], first[it])));
    bed.commit(&moved(&first, &second));
    bed.commit(&moved(&second, &third));

    let told = |row: &dyn Fn(usize) -> usize, what: &str| {
        let word = |at: usize| {
            let (path, row) = (paths[at], row(at));
            format!("{} {path}{row} p{path} {what}", at * 10 + row)
        };
        (0..6).map(word).collect::<Vec<_>>()
    };
    let expected = [
        told(&|it| it, "delete 2"),
        told(&|_| 6, "delete 3"),
        [told(&|_| 7, "delete 4"), told(&|_| 6, "insert 4")].concat(),
    ];
    let gets = |which: Changes| {
        let op = Op::default();
        let feed = block_on(bed.table.with_op(op.clone()).changes(which)).unwrap();
        let planned = op.usage().gets;
        let rows = block_on(feed.collect()).unwrap();
        (rows.iter().flat_map(words).collect::<Vec<_>>(), op.usage().gets - planned)
    };
    // The commit, the data files, and the files of vectors.
    for (at, requests) in [(2, 1 + 6 + 1), (3, 1 + 6 + 2), (4, 1 + 12 + 3)] {
        let which = Changes::new(v(at)).to(v(at));
        assert_eq!(gets(which), (expected[at as usize - 2].clone(), requests), "{at}");
    }
    let of_a = Changes::new(v(4)).to(v(4)).filter(col("p").eq(lit("pa")));
    assert_eq!(gets(of_a).1, 1 + 2 + 2, "not the vectors of others");
    let op = Op::default();
    let rows = block_on(bed.table.with_op(op.clone()).diff(v(1), v(3))).unwrap();
    let planned = op.usage().gets;
    let rows: usize = block_on(rows.collect()).unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!((rows, op.usage().gets - planned), (12, 6 + 1));
}

/// Much that is read ahead, in a small budget: the order holds and nothing waits for ever.
#[test]
fn many_files_in_little_memory() {
    let mut bed = Bed::new();
    let mut expected = Vec::new();
    let wide = |at: u32| format!("{at}-{}", "x".repeat(2_000));
    for at in 0..40u32 {
        let path = format!("f{at}");
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..100))),
            ("name", Arc::new(StringArray::from_iter_values((0..100).map(|_| wide(at))))),
        ];
        bed.columns(&path, &columns);
        bed.commit(&format!("+{path}"));
        expected.extend((0..100).map(|it| i64::from(at) * 1_000 + it));
    }
    let env = bed.env.with_budget(5 << 20);
    let table = Table::open_with(&env, bed.store.location()).unwrap();
    let feed = block_on(table.changes(Changes::new(v(0)).batch_rows(17))).unwrap();
    let mut ids = Vec::new();
    for batch in block_on(feed.collect()).unwrap() {
        let id = batch.column(0).as_primitive::<Int64Type>();
        let version = batch.column(4).as_primitive::<Int64Type>();
        ids.extend(id.values().iter().zip(version.values()).map(|(id, v)| (v - 1) * 1_000 + id));
    }
    assert_eq!(ids, expected);
    assert_eq!(env.budget().used(), 0);
}

/// Applies change rows `name type ..`.
fn apply(rows: &mut BTreeSet<String>, changes: &[String]) {
    for change in changes {
        let mut words = change.split(' ');
        let name = words.next().unwrap().to_string();
        match words.next().unwrap() {
            "insert" | "postimage" => assert!(rows.insert(name), "{change}"),
            _ => assert!(rows.remove(&name), "{change}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Random histories, read for real: changes and differences make the rows of one version from
    /// those of another.
    ///
    /// spec: CDF-15, CDF-16
    #[test]
    fn rows_of_one_version_from_another(
        history in prop::collection::vec(
            prop::collection::vec((0u8..4, 0u8..8, any::<bool>()), 3),
            1..6,
        ),
    ) {
        let mut bed = Bed::new();
        let mut live: BTreeMap<&str, u8> = BTreeMap::new();
        for path in ["a", "b", "c"] {
            bed.file(path, 3);
        }
        for commit in &history {
            let mut words = Vec::new();
            for (path, (what, bits, terse)) in ["a", "b", "c"].into_iter().zip(commit) {
                let key = |bits: u8| {
                    let rows = (0..3).filter(|it| bits >> it & 1 == 1).map(|it| it.to_string());
                    let rows = rows.collect::<Vec<_>>().join(",");
                    let colon = if rows.is_empty() { "" } else { ":" };
                    format!("{path}{colon}{rows}")
                };
                let terse = if *terse { "?" } else { "" };
                match (live.get(path).copied(), what) {
                    (None, 0 | 1) => words.push(format!("+{}", key(*bits))),
                    (Some(now), 0) => words.push(format!("-{}{terse}", key(now))),
                    (Some(now), 1 | 2) if now != *bits => {
                        words.push(format!("+{}", key(*bits)));
                        words.push(format!("-{}{terse}", key(now)));
                    }
                    _ => continue,
                }
                match (live.contains_key(path), what) {
                    (true, 0) => drop(live.remove(path)),
                    _ => drop(live.insert(path, *bits)),
                }
            }
            bed.commit(&words.join(" "));
        }
        let last = u32::try_from(history.len()).unwrap();
        let states: Vec<_> = (0..=last).map(|it| bed.rows(it)).collect();
        for a in 0..=last {
            for b in a + 1..=last {
                let (was, is) = (&states[a as usize], &states[b as usize]);
                let which = Changes::new(v(a + 1)).to(v(b)).columns(["name"]);
                let mut rows = was.clone();
                apply(&mut rows, &bed.changes(which).unwrap());
                prop_assert_eq!(&rows, is);
                let names = Scan::new().columns(["name"]);
                apply(&mut rows, &bed.diff(b, a, &names));
                prop_assert_eq!(&rows, was);
                apply(&mut rows, &bed.diff(a, b, &names));
                prop_assert_eq!(&rows, is);
            }
        }
    }
}
