//! Hints and checkpoints that lie: what is left must still prove the version, or it is an error.

use std::fs;
use std::path::{Path, PathBuf};

use futures::executor::block_on;
use lakebed::{Code, Scan, Version, col, lit};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::help::{grown, rows, table};

/// A local table of 14 versions with checkpoint and hint at 10.
struct Broken {
    folder: tempfile::TempDir,
}

impl Broken {
    fn new() -> Broken {
        let folder = tempfile::tempdir().unwrap();
        grown(folder.path().to_str().unwrap(), 14);
        let it = Broken { folder };
        assert!(it.log("00000000000000000010.checkpoint.parquet").exists());
        assert!(it.log("_last_checkpoint").exists());
        it
    }

    fn root(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn log(&self, name: &str) -> PathBuf {
        Path::new(self.root()).join("_delta_log").join(name)
    }

    fn hint(&self, text: &str) {
        fs::write(self.log("_last_checkpoint"), text).unwrap();
    }

    fn checkpoint(&self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let path = self.log("00000000000000000010.checkpoint.parquet");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, change(bytes)).unwrap();
    }

    fn forget_commits(&self, below: u64) {
        for version in 0..below {
            fs::remove_file(self.log(&format!("{version:020}.json"))).unwrap();
        }
    }

    #[track_caller]
    fn opens(&self) {
        let seen = block_on(table(self.root()).snapshot()).unwrap();
        assert_eq!((seen.version().get(), rows(&seen)), (13, (0..14).collect()));
    }

    #[track_caller]
    fn fails(&self, expected: Code) {
        let error = block_on(table(self.root()).snapshot()).err().unwrap();
        assert_eq!(error.code(), expected, "{error:?}");
    }
}

/// Whatever the hint says, the log decides.
///
/// spec: HINT-2, HINT-3, HINT-5
#[test]
fn hints_are_hints() {
    for hint in [
        "",
        "{",
        "{\"version\":-1,\"size\":4}",
        "{\"version\":99,\"size\":4}",
        "{\"version\":12,\"size\":4}",
        "{\"version\":18446744073709551615,\"size\":4}",
        "{\"version\":10,\"size\":\"four\"}",
        "{\"version\":3,\"size\":5}",
        "{\"version\":10,\"size\":999}",
    ] {
        let table = Broken::new();
        table.hint(hint);
        table.opens();
    }
    let table = Broken::new();
    fs::write(table.log("_last_checkpoint"), vec![b' '; 4 << 20]).unwrap();
    table.opens();
    fs::remove_file(table.log("_last_checkpoint")).unwrap();
    table.opens();
}

/// The commits, while they are all there, prove the version without any checkpoint.
///
/// spec: RECON-18
#[test]
fn broken_checkpoints_with_all_commits() {
    let cut = |mut it: Vec<u8>| {
        it.truncate(it.len() / 2);
        it
    };
    let table = Broken::new();
    table.checkpoint(cut);
    table.opens();
    table.checkpoint(|_| Vec::new());
    table.opens();
    fs::remove_file(table.log("00000000000000000010.checkpoint.parquet")).unwrap();
    table.opens();
    let at = block_on(self::table(table.root()).snapshot_at(Version::from(11))).unwrap();
    assert_eq!(rows(&at), (0..12).collect::<Vec<_>>());
}

/// With nothing else to prove the version, a checkpoint that is broken or cut short is an error.
///
/// spec: RECON-8, HINT-9
#[test]
fn broken_checkpoints_without_them() {
    let table = Broken::new();
    table.forget_commits(10);
    table.opens();
    let gone = block_on(self::table(table.root()).snapshot_at(Version::from(4)));
    assert_eq!(gone.err().unwrap().code(), Code::VersionNotFound);
    table.hint("{\"version\":10,\"size\":999}");
    table.fails(Code::CorruptCheckpoint);
    for hint in ["{}", "{\"version\":10,\"size\":0}", "{\"version\":10,\"size\":1}"] {
        table.hint(hint);
        table.opens();
    }
    table.checkpoint(|it| it[..it.len() - 10].to_vec());
    table.fails(Code::CorruptCheckpoint);
}

/// spec: RECON-7, TXN-16
#[test]
fn gaps_and_damaged_commits() {
    let table = Broken::new();
    let path = table.log("00000000000000000012.json");
    let commit = fs::read_to_string(&path).unwrap();
    fs::write(&path, commit.replace("\"dataChange\":true", "\"dataChange\":false")).unwrap();
    table.fails(Code::ChecksumMismatch);
    fs::write(&path, &commit[..commit.len() - 10]).unwrap();
    table.fails(Code::ChecksumMismatch);
    fs::write(&path, &commit[..40]).unwrap();
    table.fails(Code::CorruptLog);
    fs::write(&path, "").unwrap();
    table.fails(Code::CorruptLog);
    fs::remove_file(&path).unwrap();
    table.fails(Code::VersionGap);
}

/// The checkpoint breaks after the snapshot was opened and before its files are asked for.
#[test]
fn a_checkpoint_that_breaks_meanwhile() {
    let table = Broken::new();
    let held = block_on(self::table(table.root()).snapshot()).unwrap();
    table.checkpoint(|_| Vec::new());
    assert_eq!(rows(&held), (0..14).collect::<Vec<_>>());
}

/// What was stepped around is said, with the reason.
///
/// spec: CKPT-20, HINT-7
#[test]
fn what_was_skipped_is_told() {
    let skipped = |it: &Broken| {
        let seen = block_on(table(it.root()).snapshot()).unwrap();
        assert_eq!((seen.version().get(), rows(&seen)), (13, (0..14).collect()));
        let skipped = seen.skipped();
        skipped
            .iter()
            .map(|it| format!("{} {}", it.path, it.error.code().as_str()))
            .collect::<Vec<_>>()
    };
    let it = Broken::new();
    assert_eq!(skipped(&it), [""; 0]);
    it.checkpoint(|it| it[..it.len() / 2].to_vec());
    let name = "_delta_log/00000000000000000010.checkpoint.parquet";
    assert_eq!(skipped(&it), [format!("{name} corrupt-checkpoint")]);
    it.hint("{");
    let hint = "_delta_log/_last_checkpoint corrupt-log".to_string();
    assert_eq!(skipped(&it), [hint, format!("{name} corrupt-checkpoint")]);

    let it = Broken::new();
    it.hint("{\"version\":12,\"size\":1}");
    assert_eq!(skipped(&it), ["_delta_log/_last_checkpoint version-gap"]);
    let it = Broken::new();
    let compacted = it.log(&format!("{:020}.{:020}.compacted.json", 11, 13));
    fs::write(compacted, "{").unwrap();
    let compacted = format!("_delta_log/{:020}.{:020}.compacted.json corrupt-log", 11, 13);
    assert_eq!(skipped(&it), [compacted]);
}

/// spec: HINT-8
#[test]
fn a_hint_above_the_log_is_mended_by_the_next_checkpoint() {
    let it = Broken::new();
    it.hint("{\"version\":99,\"size\":1}");
    block_on(block_on(table(it.root()).snapshot()).unwrap().checkpoint()).unwrap();
    let hint = fs::read_to_string(it.log("_last_checkpoint")).unwrap();
    assert!(hint.starts_with("{\"version\":13,"), "{hint}");
    // It does not go back behind one that is there.
    let old = block_on(table(it.root()).snapshot_at(Version::from(12))).unwrap();
    block_on(old.checkpoint()).unwrap();
    assert_eq!(fs::read_to_string(it.log("_last_checkpoint")).unwrap(), hint);
}

/// spec: LOG-10
#[test]
fn a_log_of_a_checkpoint_alone_has_no_history() {
    use futures::TryStreamExt;
    let it = Broken::new();
    it.forget_commits(14);
    let history = async {
        let entries = table(it.root()).history().await?;
        entries.try_collect::<Vec<_>>().await
    };
    assert_eq!(block_on(history).unwrap().len(), 0);
    let empty = tempfile::tempdir().unwrap();
    let none = block_on(table(empty.path().to_str().unwrap()).history()).err().unwrap();
    assert_eq!(none.code(), Code::NotATable);
}

/// A table that keeps in-commit timestamps: of each version its time, and whether it comes first.
fn timed(times: &[(i64, bool)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("_delta_log");
    fs::create_dir(&log).unwrap();
    let head = concat!(
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"#,
        r#""writerFeatures":["inCommitTimestamp"]}}"#,
        "\n",
        r#"{"metaData":{"id":"t","format":{"provider":"parquet","options":{}},"#,
        r#""schemaString":"{\"type\":\"struct\",\"fields\":[]}","partitionColumns":[],"#,
        r#""configuration":{"delta.enableInCommitTimestamps":"true"}}}"#,
    );
    for (version, (time, first)) in times.iter().enumerate() {
        let info = format!("{{\"commitInfo\":{{\"inCommitTimestamp\":{time}}}}}");
        let rest = if version == 0 { head } else { "{\"txn\":{\"appId\":\"a\",\"version\":1}}" };
        let text = if *first { format!("{info}\n{rest}") } else { format!("{rest}\n{info}") };
        fs::write(log.join(format!("{version:020}.json")), text).unwrap();
    }
    folder
}

/// spec: ICT-6, ICT-7, ICT-8, ICT-9
#[test]
fn in_commit_timestamps() {
    let check = |times: &[(i64, bool)], at: i64, expected: Result<u64, Code>| {
        let folder = timed(times);
        let table = table(folder.path().to_str().unwrap());
        let at = lakebed::Timestamp::from_millis(at);
        let found = block_on(table.version_at(at)).map(|it| it.get()).map_err(|it| it.code());
        assert_eq!(found, expected, "{times:?} {at}");
    };
    let rising = [(100, true), (200, true), (300, true), (400, true)];
    check(&rising, 99, Err(Code::VersionNotFound));
    check(&rising, 100, Ok(0));
    check(&rising, 299, Ok(1));
    check(&rising, 300, Ok(2));
    check(&rising, 9999, Ok(3));
    check(&[(200, true), (100, true)], 150, Err(Code::InvalidAction));
    check(&[(100, true), (100, true)], 150, Err(Code::InvalidAction));
    check(&[(100, true), (200, false)], 250, Err(Code::InvalidAction));

    let first = timed(&[(100, false)]);
    let snapshot = block_on(table(first.path().to_str().unwrap()).snapshot()).unwrap();
    let error = block_on(snapshot.timestamp()).err().unwrap();
    assert_eq!(error.code(), Code::InvalidAction);
    let sound = timed(&rising);
    let snapshot = block_on(table(sound.path().to_str().unwrap()).snapshot()).unwrap();
    assert_eq!(block_on(snapshot.timestamp()).unwrap().as_millis(), 400);
}

/// A handle that lives passes over versions that this build cannot read, to one that it can.
#[test]
fn a_version_in_between_that_is_none_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    grown(root, 3);
    let held = table(root);
    assert_eq!(block_on(held.snapshot()).unwrap().version().get(), 2);
    let write = |version: u64, reader: u32| {
        let features = match reader {
            3 => r#","readerFeatures":["someday"],"writerFeatures":["someday"]"#,
            _ => "",
        };
        let writer = if reader == 3 { 7 } else { 2 };
        let line = format!(
            r#"{{"protocol":{{"minReaderVersion":{reader},"minWriterVersion":{writer}{features}}}}}"#
        );
        fs::write(folder.path().join(format!("_delta_log/{version:020}.json")), line).unwrap();
    };
    write(3, 3);
    let refused = block_on(held.snapshot()).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
    write(4, 1);
    let now = block_on(held.snapshot()).unwrap();
    assert_eq!((now.version().get(), rows(&now)), (4, (0..3).collect()));
}

/// Where statistics alone do not decode, and no commit tells them either, a filter reads every file
/// and finds the same rows.
///
/// spec: CKPT-34
#[test]
fn broken_statistics_are_unknown() {
    let broken = Broken::new();
    broken.checkpoint(|mut bytes| {
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
        let columns = reader.metadata().row_group(0).columns().iter();
        let named = |it: &&ColumnChunkMetaData| {
            it.column_path().string().starts_with("add.stats_parsed.maxValues")
        };
        let (start, len) = columns.clone().find(named).unwrap().byte_range();
        bytes[usize::try_from(start + len).unwrap() - 1] ^= 1;
        bytes
    });
    broken.forget_commits(11);
    let seen = block_on(table(broken.root()).snapshot()).unwrap();
    let scan = Scan::new().filter(col("id").gt_eq(lit(12)));
    let plan = block_on(seen.plan(&scan)).unwrap();
    assert_eq!((plan.considered(), plan.tasks().len()), (14, 14));
    let batches = block_on(async { seen.read(&scan).await?.collect().await }).unwrap();
    assert_eq!(batches.iter().map(|it| it.num_rows()).sum::<usize>(), 2);
}
