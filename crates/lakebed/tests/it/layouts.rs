//! One history in every layout a log may have: whichever files of it are read, a version is what
//! its commits say.
//!
//! A model folds commits one by one. Then the log is given checkpoints of both layouts, sidecars,
//! compacted files, cleanup and lying hints, and every version that is left must come out as the
//! model says, opened cold, refreshed from what was held, and after a checkpoint of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_array::{Array, BooleanArray, RecordBatch};
use futures::executor::block_on;
use lakebed::{Code, Op, Snapshot, Table, Version};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::help::table;

/// A file and the vector that goes with it, by number.
type Key = (String, Option<u64>);

/// What the commits up to a version say.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    protocol: u64,
    metadata: u64,
    txns: BTreeMap<String, u64>,
    domains: BTreeMap<String, u64>,
    live: BTreeSet<Key>,
    dead: BTreeSet<Key>,
}

/// What a commit does.
#[derive(Clone, Debug, Default)]
struct Step {
    protocol: Option<u64>,
    metadata: Option<u64>,
    txns: BTreeMap<String, u64>,
    /// `None`: removed.
    domains: BTreeMap<String, Option<u64>>,
    /// Was it added?
    files: BTreeMap<Key, bool>,
}

impl Step {
    /// What two steps amount to, this one being the older.
    fn then(mut self, next: &Step) -> Step {
        self.protocol = next.protocol.or(self.protocol);
        self.metadata = next.metadata.or(self.metadata);
        self.txns.extend(next.txns.clone());
        self.domains.extend(next.domains.clone());
        self.files.extend(next.files.clone());
        self
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        if let Some(it) = self.protocol {
            let _ = writeln!(text, "{}", protocol(it));
        }
        if let Some(it) = self.metadata {
            let _ = writeln!(text, "{}", metadata(it));
        }
        for (app, version) in &self.txns {
            let _ = writeln!(text, r#"{{"txn":{{"appId":"{app}","version":{version}}}}}"#);
        }
        for (name, value) in &self.domains {
            let (value, removed) = (value.unwrap_or(0), value.is_none());
            let _ = writeln!(text, "{}", domain(name, value, removed));
        }
        for (key, added) in &self.files {
            let _ = writeln!(text, "{}", file(key, *added));
        }
        text
    }
}

impl State {
    fn after(&self, step: &Step) -> State {
        let mut next = self.clone();
        next.protocol = step.protocol.unwrap_or(next.protocol);
        next.metadata = step.metadata.unwrap_or(next.metadata);
        next.txns.extend(step.txns.clone());
        for (name, value) in &step.domains {
            match value {
                Some(it) => next.domains.insert(name.clone(), *it),
                None => next.domains.remove(name),
            };
        }
        for (key, added) in &step.files {
            let (into, from) = match added {
                true => (&mut next.live, &mut next.dead),
                false => (&mut next.dead, &mut next.live),
            };
            from.remove(key);
            into.insert(key.clone());
        }
        next
    }

    /// The top level of a checkpoint with all actions in it.
    fn lines(&self, version: u64, files: bool) -> String {
        let mut text = format!("{}\n{}\n", protocol(self.protocol), metadata(self.metadata));
        let _ = writeln!(text, r#"{{"checkpointMetadata":{{"version":{version}}}}}"#);
        for (app, version) in &self.txns {
            let _ = writeln!(text, r#"{{"txn":{{"appId":"{app}","version":{version}}}}}"#);
        }
        for (name, value) in &self.domains {
            let _ = writeln!(text, "{}", domain(name, *value, false));
        }
        for (keys, added) in [(&self.live, true), (&self.dead, false)] {
            for key in keys.iter().filter(|_| files) {
                let _ = writeln!(text, "{}", file(key, added));
            }
        }
        text
    }

    fn of(snapshot: &Snapshot) -> State {
        let state = block_on(snapshot.files()).unwrap();
        let (head, mut seen) = (&state.head, State::default());
        assert_eq!(head.version, snapshot.version());
        seen.protocol = u64::try_from(head.protocol.min_writer_version).unwrap();
        seen.metadata = head.metadata.configuration["step"].parse().unwrap();
        for (app, txn) in &head.txns {
            seen.txns.insert(app.clone(), u64::try_from(txn.version).unwrap());
        }
        for (name, domain) in &head.domains {
            seen.domains.insert(name.clone(), domain.configuration.parse().unwrap());
        }
        for at in state.files.iter() {
            let (adds, row) = state.files.row(at).unwrap();
            let add = adds.get(row).unwrap();
            let vector = add.deletion_vector.map(|it| u64::try_from(it.cardinality).unwrap());
            assert!(seen.live.insert((add.path, vector)), "a file is live twice");
        }
        for chunk in state.files.tombstones() {
            for row in chunk.live.iter() {
                let remove = chunk.rows.get(usize::try_from(row).unwrap()).unwrap();
                let vector = remove.deletion_vector.map(|it| u64::try_from(it.cardinality));
                seen.dead.insert((remove.path, vector.map(Result::unwrap)));
            }
        }
        seen
    }
}

fn protocol(writer: u64) -> String {
    let (reader, lists) = match writer {
        7 => (
            3,
            r#","readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors","domainMetadata"]"#,
        ),
        _ => (1, ""),
    };
    format!(r#"{{"protocol":{{"minReaderVersion":{reader},"minWriterVersion":{writer}{lists}}}}}"#)
}

fn metadata(step: u64) -> String {
    let schema = concat!(
        r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\","#,
        r#"\"nullable\":true,\"metadata\":{}}]}"#
    );
    format!(
        "{{\"metaData\":{{\"id\":\"t\",\"format\":{{\"provider\":\"parquet\",\"options\":{{}}}},\
         \"schemaString\":\"{schema}\",\"partitionColumns\":[],\
         \"configuration\":{{\"step\":\"{step}\"}}}}}}"
    )
}

fn domain(name: &str, value: u64, removed: bool) -> String {
    format!(
        "{{\"domainMetadata\":{{\"domain\":\"{name}\",\"configuration\":\"{value}\",\
         \"removed\":{removed}}}}}"
    )
}

fn file((path, vector): &Key, added: bool) -> String {
    let vector = vector.map_or(String::new(), |it| {
        format!(
            ",\"deletionVector\":{{\"storageType\":\"u\",\
             \"pathOrInlineDv\":\"ab^-aqEH.-t@S}}K{{vb[*k^\",\"offset\":{it},\
             \"sizeInBytes\":36,\"cardinality\":{it}}}"
        )
    });
    match added {
        true => format!(
            "{{\"add\":{{\"path\":\"{path}\",\"partitionValues\":{{}},\"size\":1,\
             \"modificationTime\":0,\"dataChange\":true{vector}}}}}"
        ),
        false => format!(
            "{{\"remove\":{{\"path\":\"{path}\",\"deletionTimestamp\":4102444800000,\
             \"dataChange\":true{vector}}}}}"
        ),
    }
}

/// Numbers that repeat with the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % sides
    }
}

/// A step that may follow the state of `version - 1`.
fn step(dice: &mut Dice, before: &State, version: u64) -> Step {
    let mut step = Step::default();
    if version == 0 || dice.roll(8) == 0 {
        step.protocol = Some(7);
    }
    if version == 0 || dice.roll(6) == 0 {
        step.metadata = Some(version);
    }
    for _ in 0..dice.roll(3) {
        step.txns.insert(format!("app{}", dice.roll(3)), version);
    }
    for _ in 0..dice.roll(3) {
        let value = (dice.roll(3) > 0).then_some(version);
        step.domains.insert(format!("domain{}", dice.roll(3)), value);
    }
    let mut touched = BTreeSet::new();
    for _ in 0..dice.roll(6) {
        let (path, next) = (format!("f{}", dice.roll(8)), 1 + dice.roll(3));
        if !touched.insert(path.clone()) {
            continue;
        }
        let held = before.live.iter().find(|it| it.0 == path).cloned();
        match (held, dice.roll(3)) {
            (None, 0) => {
                step.files.insert((path, None), false);
            }
            (None, 1) => {
                step.files.insert((path, Some(next)), true);
            }
            (None, _) => {
                step.files.insert((path, None), true);
            }
            (Some(held), 0) => {
                step.files.insert(held, false);
            }
            (Some(held), 1) => {
                step.files.insert(held, true);
            }
            (Some(held), _) => {
                let vector = Some(next).filter(|it| held.1 != Some(*it));
                step.files.insert(held.clone(), false);
                step.files.insert((path, vector), true);
                if vector == held.1 {
                    step.files.insert(held, true);
                }
            }
        }
    }
    step
}

struct Log {
    folder: tempfile::TempDir,
    steps: Vec<Step>,
    states: Vec<State>,
}

impl Log {
    fn new() -> Log {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("_delta_log/_sidecars")).unwrap();
        Log { folder, steps: Vec::new(), states: Vec::new() }
    }

    fn root(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.root()).join("_delta_log").join(name)
    }

    fn grow(&mut self, dice: &mut Dice) {
        let version = u64::try_from(self.steps.len()).unwrap();
        let before = self.states.last().cloned().unwrap_or_default();
        let step = step(dice, &before, version);
        self.states.push(before.after(&step));
        let text = step.lines() + "{\"commitInfo\":{}}\n";
        fs::write(self.file(&format!("{version:020}.json")), text).unwrap();
        self.steps.push(step);
    }

    fn last(&self) -> u64 {
        u64::try_from(self.steps.len()).unwrap() - 1
    }

    fn state(&self, version: u64) -> &State {
        &self.states[usize::try_from(version).unwrap()]
    }

    fn compact(&self, first: u64, last: u64) -> PathBuf {
        let (from, to) = (usize::try_from(first).unwrap(), usize::try_from(last).unwrap());
        let all = self.steps[from..=to].iter().fold(Step::default(), Step::then);
        let path = self.file(&format!("{first:020}.{last:020}.compacted.json"));
        fs::write(&path, all.lines() + "{}\n").unwrap();
        path
    }

    fn classic(&self, version: u64) -> PathBuf {
        let at = block_on(table(self.root()).snapshot_at(Version::new(version).unwrap())).unwrap();
        block_on(at.checkpoint()).unwrap();
        self.file(&format!("{version:020}.checkpoint.parquet"))
    }

    /// A checkpoint of the second layout whose files stand in its top level.
    fn inline(&self, version: u64, id: u64) -> PathBuf {
        let name = format!("{version:020}.checkpoint.80a083e8-7026-4e79-81be-{id:012}.json");
        let path = self.file(&name);
        fs::write(&path, self.state(version).lines(version, true)).unwrap();
        path
    }

    /// One whose files stand in sidecars.
    fn with_sidecars(&self, version: u64, id: u64) -> PathBuf {
        let classic = self.file(&format!("{version:020}.checkpoint.parquet"));
        let had = classic.exists();
        let hint = fs::read(self.file("_last_checkpoint")).ok();
        if !had {
            self.classic(version);
        }
        let mut top = self.state(version).lines(version, false);
        for (at, kind) in ["add", "remove"].into_iter().enumerate() {
            let name = format!("{version}-{id}-{at}.parquet");
            let path = self.file(&format!("_sidecars/{name}"));
            if !split(&classic, &path, kind) {
                continue;
            }
            let size = fs::metadata(&path).unwrap().len();
            let _ = writeln!(
                top,
                "{{\"sidecar\":{{\"path\":\"{name}\",\"sizeInBytes\":{size},\
                 \"modificationTime\":0}}}}"
            );
        }
        if !had {
            fs::remove_file(classic).unwrap();
        }
        match hint {
            Some(it) => fs::write(self.file("_last_checkpoint"), it).unwrap(),
            None => drop(fs::remove_file(self.file("_last_checkpoint"))),
        }
        let name = format!("{version:020}.checkpoint.80a083e8-7026-4e79-81be-{id:012}.json");
        let path = self.file(&name);
        fs::write(&path, top).unwrap();
        path
    }

    fn forget(&self, versions: std::ops::Range<u64>) {
        for version in versions {
            let _ = fs::remove_file(self.file(&format!("{version:020}.json")));
        }
    }

    #[track_caller]
    fn check(&self, at: &Snapshot, what: &str) {
        let version = at.version().get();
        assert_eq!(&State::of(at), self.state(version), "{what}, version {version}");
    }

    #[track_caller]
    fn opens(&self, what: &str) -> Snapshot {
        let seen = block_on(table(self.root()).snapshot()).unwrap();
        assert_eq!(seen.version().get(), self.last(), "{what}");
        self.check(&seen, what);
        seen
    }

    #[track_caller]
    fn fails(&self, expected: Code) {
        let seen = block_on(async { table(self.root()).snapshot().await?.files().await });
        assert_eq!(seen.map(|it| it.files.len()).map_err(|it| it.code()), Err(expected));
    }
}

/// The rows of one kind of a checkpoint as a sidecar; `false` if there are none.
fn split(from: &Path, to: &Path, kind: &str) -> bool {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let column = all.column_by_name(kind).unwrap();
    let keep = BooleanArray::from_iter((0..all.num_rows()).map(|it| Some(column.is_valid(it))));
    let schema = all.schema();
    let wanted: Vec<_> =
        ["add", "remove"].into_iter().map(|it| schema.index_of(it).unwrap()).collect();
    let all = all.project(&wanted).unwrap();
    let rows: RecordBatch = arrow_select::filter::filter_record_batch(&all, &keep).unwrap();
    if rows.num_rows() == 0 {
        return false;
    }
    let mut writer = ArrowWriter::try_new(File::create(to).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    true
}

/// Six versions of random steps, a checkpoint with sidecars at 4, nothing before it if `cleaned`.
fn with_sidecars(cleaned: bool) -> (Log, PathBuf) {
    let (mut dice, mut log) = (Dice(7), Log::new());
    (0..8).for_each(|_| log.grow(&mut dice));
    let top = log.with_sidecars(4, 0);
    assert!(fs::read_to_string(&top).unwrap().contains("sidecar"), "no files");
    if cleaned {
        log.forget(0..4);
    }
    log.opens("sound");
    (log, top)
}

/// A broken sidecar is stepped around where the commits are there, else it is an error.
#[track_caller]
fn broken(what: &str, expected: Code, change: impl Fn(&Log, &Path)) {
    let (log, top) = with_sidecars(false);
    change(&log, &top);
    assert_eq!(log.opens(what).skipped().len(), 1, "{what}");
    let (log, top) = with_sidecars(true);
    let held = block_on(table(log.root()).snapshot()).unwrap();
    change(&log, &top);
    let seen = block_on(async { table(log.root()).snapshot().await?.files().await });
    let seen = seen.map(|it| it.files.len()).map_err(|it| it.code());
    assert_eq!(seen, Err(expected), "{what}");
    let seen = block_on(held.files()).map(|it| it.files.len()).map_err(|it| it.code());
    assert!(seen.is_err() || seen == Ok(log.state(7).live.len() as u64), "{what}: {seen:?}");
}

/// spec: CKPT-14, CKPT-15, CKPT-16, CKPT-17, CKPT-20
#[test]
fn sidecars_that_are_broken() {
    let sidecar = |log: &Log| log.file("_sidecars/4-0-0.parquet");
    let swap = |from: &'static str, to: &'static str| {
        move |_: &Log, top: &Path| {
            let text = fs::read_to_string(top).unwrap();
            assert!(text.contains(from));
            fs::write(top, text.replace(from, to)).unwrap();
        }
    };
    let corrupt = Code::CorruptCheckpoint;
    broken("gone", Code::MissingFile, |log, _| fs::remove_file(sidecar(log)).unwrap());
    broken("empty", Code::SizeMismatch, |log, _| fs::write(sidecar(log), "").unwrap());
    broken("cut", Code::SizeMismatch, |log, _| {
        let bytes = fs::read(sidecar(log)).unwrap();
        fs::write(sidecar(log), &bytes[..bytes.len() - 20]).unwrap();
    });
    broken("garbage of the same size", corrupt, |log, _| {
        let bytes = fs::read(sidecar(log)).unwrap();
        fs::write(sidecar(log), vec![7; bytes.len()]).unwrap();
    });
    broken("a folder", Code::MissingFile, |log, _| {
        fs::remove_file(sidecar(log)).unwrap();
        fs::create_dir(sidecar(log)).unwrap();
    });
    broken("out", Code::PathEscape, swap("4-0-0.parquet", ".."));
    broken("out", Code::PathEscape, swap("4-0-0.parquet", "../../x"));
    broken("dot", Code::InvalidPath, swap("4-0-0.parquet", "."));
    broken("zero", Code::InvalidPath, swap("4-0-0.parquet", "%00"));
    broken("elsewhere", Code::UnsupportedPath, swap("4-0-0.parquet", "s3://b/x.parquet"));
    broken("twice", corrupt, |_, top| {
        let text = fs::read_to_string(top).unwrap();
        let line = text.lines().find(|it| it.contains("4-0-0")).unwrap();
        fs::write(top, format!("{text}{line}\n")).unwrap();
    });
    broken("twice, spelled otherwise", corrupt, |_, top| {
        let text = fs::read_to_string(top).unwrap();
        let line = text.lines().find(|it| it.contains("4-0-0")).unwrap();
        let line = line.replace("4-0-0", "%34-0-0");
        fs::write(top, format!("{text}{line}\n")).unwrap();
    });
    broken("copied", corrupt, |log, top| {
        fs::copy(sidecar(log), log.file("_sidecars/x.parquet")).unwrap();
        let text = fs::read_to_string(top).unwrap();
        let line = text.lines().find(|it| it.contains("4-0-0")).unwrap();
        let line = line.replace("4-0-0", "x");
        fs::write(top, format!("{text}{line}\n")).unwrap();
    });
    broken("files beside them", corrupt, |_, top| {
        let text = fs::read_to_string(top).unwrap();
        let add = file(&("other".to_string(), None), true);
        fs::write(top, format!("{text}{add}\n")).unwrap();
    });
    broken("a tombstone beside them", corrupt, |_, top| {
        let text = fs::read_to_string(top).unwrap();
        let remove = file(&("other".to_string(), None), false);
        fs::write(top, format!("{text}{remove}\n")).unwrap();
    });
    broken("no mark", corrupt, swap("checkpointMetadata", "other"));
    broken("another version", corrupt, swap("\"version\":4}", "\"version\":5}"));
}

/// spec: CKPT-17
#[test]
fn a_sidecar_with_more_than_files() {
    let sidecar = |log: &Log| log.file("_sidecars/4-0-0.parquet");
    broken("a whole checkpoint", Code::CorruptCheckpoint, |log, top| {
        let classic = log.classic(4);
        fs::rename(&classic, sidecar(log)).unwrap();
        let _ = fs::remove_file(log.file("_last_checkpoint"));
        let size = fs::metadata(sidecar(log)).unwrap().len();
        let text = fs::read_to_string(top).unwrap();
        let (before, after) = text.split_once("4-0-0.parquet\",\"sizeInBytes\":").unwrap();
        let (_, after) = after.split_once(',').unwrap();
        let text = format!("{before}4-0-0.parquet\",\"sizeInBytes\":{size},{after}");
        fs::write(top, text).unwrap();
    });
}

/// Whichever of two checkpoints of one version is broken, the other one is taken.
///
/// spec: CKPT-20
#[test]
fn two_layouts_at_one_version() {
    let (log, top) = with_sidecars(true);
    let classic = log.classic(4);
    let (sound, second) = (fs::read(&classic).unwrap(), fs::read(&top).unwrap());
    log.opens("both");
    fs::write(&classic, "PAR1").unwrap();
    log.opens("the second");
    fs::write(&classic, &sound).unwrap();
    fs::write(&top, "{").unwrap();
    log.opens("the first");
    fs::write(&classic, "PAR1").unwrap();
    log.fails(Code::CorruptCheckpoint);
    fs::write(&top, second).unwrap();
    fs::write(log.file("_last_checkpoint"), "{\"version\":4,\"size\":1}").unwrap();
    log.opens("a hint that counts otherwise");
}

/// A checkpoint of the second layout under the classic name stays as it is.
#[test]
fn a_checkpoint_that_is_there_is_left() {
    let (log, top) = with_sidecars(true);
    let classic = log.classic(4);
    let batches = {
        let file = File::open(&classic).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect::<Vec<_>>()
    };
    // The top level of the second layout in Parquet: one more column, one more row.
    let marks = arrow_array::Int64Array::from(vec![4]);
    let mark = arrow_array::StructArray::from(vec![(
        std::sync::Arc::new(arrow_schema::Field::new(
            "version",
            arrow_schema::DataType::Int64,
            true,
        )),
        std::sync::Arc::new(marks) as arrow_array::ArrayRef,
    )]);
    let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let mut fields = all.schema().fields().to_vec();
    let kind = mark.data_type().clone();
    fields.push(arrow_schema::Field::new("checkpointMetadata", kind.clone(), true).into());
    let schema = std::sync::Arc::new(arrow_schema::Schema::new(fields));
    let mut file = ArrowWriter::try_new(File::create(&classic).unwrap(), schema.clone(), None);
    let writer = file.as_mut().unwrap();
    let nulls = |rows| arrow_array::new_null_array(&kind, rows);
    let rows = all.columns().iter().cloned().chain([nulls(all.num_rows())]).collect();
    writer.write(&RecordBatch::try_new(schema.clone(), rows).unwrap()).unwrap();
    let none = all.columns().iter().map(|it| arrow_array::new_null_array(it.data_type(), 1));
    let rows = none.chain([std::sync::Arc::new(mark) as arrow_array::ArrayRef]).collect();
    writer.write(&RecordBatch::try_new(schema, rows).unwrap()).unwrap();
    file.unwrap().close().unwrap();
    fs::remove_file(top).unwrap();
    let before = fs::read(&classic).unwrap();
    fs::write(log.file("_last_checkpoint"), "{\"version\":4}").unwrap();
    let at = block_on(table(log.root()).snapshot_at(Version::from(4))).unwrap();
    log.check(&at, "the second layout by the classic name");
    block_on(at.checkpoint()).unwrap();
    assert_eq!(fs::read(&classic).unwrap(), before);
    assert!(log.opens("still").skipped().is_empty());
}

/// Writers spread rows over parts by hash, and some part may get none.
///
/// spec: CKPT-21
#[test]
fn parts_of_which_one_is_empty() {
    let (log, top) = with_sidecars(true);
    fs::remove_file(top).unwrap();
    let classic = log.file(&format!("{:020}.checkpoint.parquet", 4));
    log.steps.iter().zip(0..4).for_each(|(step, at)| {
        fs::write(log.file(&format!("{at:020}.json")), step.lines() + "{}\n").unwrap();
    });
    log.classic(4);
    log.forget(0..4);
    let _ = fs::remove_file(log.file("_last_checkpoint"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&classic).unwrap()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let all = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let cut = all.num_rows() / 2;
    let parts = [all.slice(0, cut), all.slice(0, 0), all.slice(cut, all.num_rows() - cut)];
    for (part, rows) in (1..).zip(&parts) {
        let name = format!("{:020}.checkpoint.{part:010}.{:010}.parquet", 4, 3);
        let file = File::create(log.file(&name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(rows).unwrap();
        writer.close().unwrap();
    }
    fs::remove_file(classic).unwrap();
    assert!(log.opens("three parts").skipped().is_empty());
    fs::remove_file(log.file(&format!("{:020}.checkpoint.{:010}.{:010}.parquet", 4, 2, 3)))
        .unwrap();
    log.fails(Code::VersionGap);
}

/// Compacted files are an aid: bad means absent.
///
/// spec: CMP-2, CMP-4, CMP-6, CMP-7
#[test]
fn compacted_files_that_are_broken() {
    let (log, _) = with_sidecars(true);
    let compacted = log.compact(5, 7);
    let sound = fs::read_to_string(&compacted).unwrap();
    assert!(log.opens("sound").skipped().is_empty());
    let add = file(&("twice".to_string(), None), true);
    let held = block_on(table(log.root()).snapshot()).unwrap();
    for text in [
        "",
        "{",
        "\u{0}",
        "{}\n{\"add\":{}}",
        &format!("{sound}{add}\n{add}\n"),
        &format!("{sound}{{\"checkpointMetadata\":{{\"version\":7}}}}\n"),
        &format!("{sound}{}\n{}\n", protocol(7), protocol(7)),
        "{\"protocol\":{\"minReaderVersion\":-1,\"minWriterVersion\":2}}",
        "{\"metaData\":{\"id\":\"t\"}}",
    ] {
        fs::write(&compacted, text).unwrap();
        assert_eq!(log.opens(text).skipped().len(), 1, "{text}");
        log.check(&held, text);
    }
    fs::remove_file(&compacted).unwrap();
    fs::create_dir(&compacted).unwrap();
    log.opens("a folder");
    fs::remove_dir(&compacted).unwrap();
    // It covers a commit that is not there.
    log.compact(5, 7);
    fs::remove_file(log.file(&format!("{:020}.json", 6))).unwrap();
    log.fails(Code::VersionGap);
}

/// What is broken costs a request, not a request for each other broken thing.
///
/// spec: CKPT-22
#[test]
fn many_broken_files_are_no_hang() {
    let (log, _) = with_sidecars(false);
    for id in 0..1500 {
        let name = format!("{:020}.checkpoint.80a083e8-7026-4e79-81be-{id:012}.json", 6);
        fs::write(log.file(&name), "{").unwrap();
    }
    assert!(log.opens("many checkpoints").skipped().len() < 40);
    let (log, top) = with_sidecars(false);
    let mut text = fs::read_to_string(&top).unwrap();
    for id in 0..2_000 {
        let _ = writeln!(
            text,
            "{{\"sidecar\":{{\"path\":\"{id}\",\"sizeInBytes\":9,\"modificationTime\":0}}}}"
        );
    }
    fs::write(&top, text).unwrap();
    fs::remove_file(log.file("_sidecars/4-0-0.parquet")).unwrap();
    let op = Op::default();
    let table = table(log.root()).with_op(op.clone());
    log.check(&block_on(table.snapshot()).unwrap(), "many sidecars");
    assert!(op.usage().gets < 100, "{:?}", op.usage());
}

/// Takes a log through random layouts and compares what is read at each step.
fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut log = Log::new();
    log.grow(&mut dice);
    let held: Vec<Table> = vec![table(log.root()), table(log.root())];
    let mut floor = 0;
    for turn in 0..24 {
        let what = format!("seed {seed}, turn {turn}");
        for _ in 0..=dice.roll(4) {
            log.grow(&mut dice);
        }
        let last = log.last();
        let some = floor + dice.roll(last - floor + 1);
        match dice.roll(6) {
            0 => drop(log.classic(some)),
            1 => drop(log.inline(some, turn)),
            2 => drop(log.with_sidecars(some, turn)),
            3 if some < last => drop(log.compact(some, some + 1 + dice.roll(last - some))),
            4 => {
                fs::write(log.file("_last_checkpoint"), format!("{{\"version\":{some}}}")).unwrap()
            }
            _ => {}
        }
        // Cleanup up to a checkpoint.
        if dice.roll(6) == 0 {
            match dice.roll(3) {
                0 => drop(log.classic(some)),
                1 => drop(log.inline(some, 100 + turn)),
                _ => drop(log.with_sidecars(some, 100 + turn)),
            }
            log.forget(floor..some);
            floor = some;
        }
        log.opens(&what);
        let held = &held[usize::try_from(dice.roll(2)).unwrap()];
        log.check(&block_on(held.snapshot()).unwrap(), &what);
        let at = floor + dice.roll(last - floor + 1);
        let at = block_on(table(log.root()).snapshot_at(Version::new(at).unwrap())).unwrap();
        log.check(&at, &what);
    }
}

/// spec: CMP-3, CMP-8, RECON-18
#[test]
fn every_layout_says_the_same() {
    for seed in 1..=6 {
        run(seed);
    }
}
