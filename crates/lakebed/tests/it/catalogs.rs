//! Tables whose catalog says what is committed.

use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed::{Append, Catalog, Code, Overwrite, Version};

use crate::help::{grown, ids, rows, table};

const ID: &str = "4cb9708e-b478-44de-b203-53f9ba9b2876";

fn commit(folder: &Path, version: u64) -> PathBuf {
    folder.join("_delta_log").join(format!("{version:020}.json"))
}

/// A table of three versions that a catalog manages; the last one is staged, beside another that
/// was never ratified.
fn managed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    grown(folder.path().to_str().unwrap(), 3);
    let protocol = concat!(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"#,
        r#""readerFeatures":["catalogManaged"],"#,
        r#""writerFeatures":["catalogManaged","inCommitTimestamp"]}}"#
    );
    let first = fs::read_to_string(commit(folder.path(), 0)).unwrap();
    let lines = first.lines().filter(|it| !it.starts_with("{\"commitInfo\""));
    let lines = lines.map(|it| if it.starts_with("{\"protocol\"") { protocol } else { it });
    let lines: Vec<_> = lines.collect();
    fs::write(commit(folder.path(), 0), lines.join("\n")).unwrap();
    let staged = folder.path().join("_delta_log/_staged_commits");
    fs::create_dir(&staged).unwrap();
    fs::rename(commit(folder.path(), 2), staged.join(format!("{:020}.{ID}.json", 2))).unwrap();
    let other = ID.replace('4', "5");
    fs::write(staged.join(format!("{:020}.{other}.json", 2)), "garbage").unwrap();
    folder
}

fn at(version: u32) -> Version {
    Version::from(version)
}

/// spec: CAT-1, CAT-2, CAT-3, CAT-4, CAT-8
#[test]
fn a_managed_table_is_read_through_its_catalog() {
    let folder = managed();
    let plain = table(folder.path().to_str().unwrap());
    let refused = block_on(plain.snapshot()).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
    assert_eq!(refused.missing_feature().unwrap().feature.name(), "catalogManaged");

    let name = format!("{:020}.{ID}.json", 2);
    let staged = Catalog::new(at(2)).staged(at(2), &name).unwrap();
    let managed = plain.with_catalog(staged);
    let now = block_on(managed.snapshot()).unwrap();
    assert_eq!((now.version(), rows(&now)), (at(2), vec![0, 1, 2]));
    let before = block_on(managed.snapshot_at(at(1))).unwrap();
    assert_eq!((before.version(), rows(&before)), (at(1), vec![0, 1]));
    let above = block_on(managed.snapshot_at(at(3))).err().unwrap();
    assert_eq!(above.code(), Code::VersionNotFound);
    let entries = block_on(async { managed.history().await?.try_collect::<Vec<_>>().await });
    let versions: Vec<_> = entries.unwrap().iter().map(|it| it.version.get()).collect();
    assert_eq!(versions, [2, 1, 0]);
    let refused = block_on(managed.append(ids([3]), Append::new())).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);

    let refused = block_on(now.checkpoint()).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);

    let only_published = plain.with_catalog(Catalog::new(at(1)));
    assert_eq!(rows(&block_on(only_published.snapshot()).unwrap()), [0, 1]);
    let first = plain.with_catalog(Catalog::new(at(0)));
    assert_eq!(rows(&block_on(first.snapshot()).unwrap()), [0]);
}

/// spec: CAT-5
#[test]
fn bytes_of_the_catalog_are_commits() {
    let folder = managed();
    let plain = table(folder.path().to_str().unwrap());
    let staged =
        folder.path().join("_delta_log/_staged_commits").join(format!("{:020}.{ID}.json", 2));
    let bytes = fs::read(&staged).unwrap();
    fs::remove_file(&staged).unwrap();
    let name = format!("{:020}.{ID}.json", 2);
    let gone = plain.with_catalog(Catalog::new(at(2)).staged(at(2), &name).unwrap());
    assert_eq!(block_on(gone.snapshot()).err().unwrap().code(), Code::MissingFile);

    // The catalog's copy wins over one that is published, and is not looked for in the folder.
    fs::write(commit(folder.path(), 2), "garbage").unwrap();
    let inline = plain.with_catalog(Catalog::new(at(2)).inline(at(2), bytes.clone()));
    let now = block_on(inline.snapshot()).unwrap();
    assert_eq!((now.version(), rows(&now)), (at(2), vec![0, 1, 2]));
    let entries = block_on(async { inline.history().await?.try_collect::<Vec<_>>().await });
    assert_eq!(entries.unwrap().len(), 3);

    // Published by now, and cleaned up where it was staged.
    fs::write(commit(folder.path(), 2), bytes).unwrap();
    assert_eq!(rows(&block_on(gone.snapshot()).unwrap()), [0, 1, 2]);
}

/// Nor is one that no catalog manages, as long as somebody says that it knows better: the next
/// version would be laid over a gap.
///
/// spec: CAT-8
#[test]
fn nothing_is_written_through_a_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let plain = grown(folder.path().to_str().unwrap(), 3);
    let bytes = fs::read(commit(folder.path(), 2)).unwrap();
    fs::remove_file(commit(folder.path(), 2)).unwrap();
    let through = plain.with_catalog(Catalog::new(at(2)).inline(at(2), bytes));
    assert_eq!(rows(&block_on(through.snapshot()).unwrap()), [0, 1, 2]);
    let refused = block_on(through.append(ids([3]), Append::new())).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
    let refused = block_on(through.overwrite(ids([3]), Overwrite::all())).err().unwrap();
    assert_eq!(refused.code(), Code::UnsupportedProtocol);
    assert!(!commit(folder.path(), 3).exists());
}
