//! Which files of a listing are read; hints.

use proptest::prelude::*;

use super::*;
use crate::batch::Width;

/// A listing as a text of names: `3` is a commit, `3c` a classic checkpoint, `3p1/2` a part, `3u`
/// one named by UUID, `1-3` a compacted file, `3x` a checksum.
pub(crate) fn listing(text: &str) -> Vec<LogFile> {
    text.split_whitespace().map(file).collect()
}

fn file(word: &str) -> LogFile {
    let digits = word.find(|it: char| !it.is_ascii_digit()).unwrap_or(word.len());
    let (number, kind) = word.split_at(digits);
    let version = Version::new(number.parse().unwrap()).unwrap();
    let path = match kind.split_at(kind.len().min(1)) {
        ("", _) => LogPath::Commit(version),
        ("c", _) => LogPath::Checkpoint(version, CheckpointName::Classic),
        ("u", _) => {
            let id = uuid::Uuid::from_u128(7);
            LogPath::Checkpoint(version, CheckpointName::Uuid { id, json: false })
        }
        ("p", rest) => {
            let (part, parts) = rest.split_once('/').unwrap();
            let (part, parts) = (part.parse().unwrap(), parts.parse().unwrap());
            LogPath::Checkpoint(version, CheckpointName::Part { part, parts })
        }
        ("-", last) => {
            let last = Version::new(last.parse().unwrap()).unwrap();
            LogPath::Compacted { first: version, last }
        }
        _ => LogPath::Checksum(version),
    };
    LogFile { path, size: 1, modified: Timestamp::from_millis(0), etag: None }
}

/// The segment as a text: version, `:`, checkpoint files, commits; or the code of the error.
fn show(segment: &Result<LogSegment>) -> String {
    let segment = match segment {
        Ok(it) => it,
        Err(it) => return it.code().as_str().to_string(),
    };
    let mut words = vec![format!("{}:", segment.version)];
    for file in &segment.checkpoint {
        words.push(match &file.path {
            LogPath::Checkpoint(version, CheckpointName::Classic) => format!("{version}c"),
            LogPath::Checkpoint(version, CheckpointName::Part { part, parts }) => {
                format!("{version}p{part}/{parts}")
            }
            LogPath::Checkpoint(version, CheckpointName::Uuid { .. }) => format!("{version}u"),
            other => panic!("{other:?}"),
        });
    }
    words.extend(segment.cover(None, None).iter().map(|it| match it.path {
        LogPath::Compacted { first, last } => format!("{first}-{last}"),
        _ => it.path.version().to_string(),
    }));
    words.join(" ")
}

fn check(names: &str, target: Option<u32>, skip: &[&str], expected: &str) {
    let skip: Vec<LogPath> = skip.iter().map(|it| file(it).path).collect();
    let segment = LogSegment::new(listing(names), target.map(Version::from), &skip);
    assert_eq!(show(&segment), expected, "{names}, target {target:?}, skip {skip:?}");
}

/// spec: RECON-1, RECON-2, RECON-3, RECON-4, RECON-5, RECON-6
#[test]
fn newest_complete_checkpoint_and_the_commits_after_it() {
    let rows: &[(&str, Option<u32>, &[&str], &str)] = &[
        ("0", None, &[], "0: 0"),
        ("0 1 2", None, &[], "2: 0 1 2"),
        ("2 0 1 1 0", None, &[], "2: 0 1 2"),
        ("0 1 2", Some(1), &[], "1: 0 1"),
        ("0 1 2 2c 3 4", None, &[], "4: 2c 3 4"),
        ("0 1 2 2c 3 4", Some(2), &[], "2: 2c"),
        ("0 1 2 2c 3 4", Some(1), &[], "1: 0 1"),
        ("0 1 2 2c 3 4 4c 5", None, &[], "5: 4c 5"),
        ("0 1 2 2c 3 4 4c 5", None, &["4c"], "5: 2c 3 4 5"),
        ("0 1 2 2c 3 4 4c 5", None, &["4c", "2c"], "5: 0 1 2 3 4 5"),
        ("2c", None, &[], "2: 2c"),
        ("2c 3 4", None, &[], "4: 2c 3 4"),
        ("2c 2p1/3", None, &[], "2: 2c"),
        ("2p1/2 2p2/2 2c", None, &[], "2: 2c"),
        ("2p2/2 2p1/2 3", None, &[], "3: 2p1/2 2p2/2 3"),
        ("2p1/3 2p2/3 2p3/3 2p1/2 2p2/2", None, &[], "2: 2p1/2 2p2/2"),
        ("0 1 2 2p1/2", None, &[], "2: 0 1 2"),
        ("0 1 5p1/2", Some(1), &[], "1: 0 1"),
        ("0 1 1c 2 2p1/2", None, &[], "2: 1c 2"),
        ("2c 2p1/2 2p2/2 2u 3", None, &["2c"], "3: 2p1/2 2p2/2 3"),
        ("2c 2p1/2 2p2/2 2u 3", None, &["2c", "2p2/2"], "3: 2u 3"),
        ("0 1 2 2u", None, &[], "2: 2u"),
        ("0 1 1c 2 2u", None, &[], "2: 2u"),
        ("2u 2c 3", None, &[], "3: 2c 3"),
        ("2u 3", None, &[], "3: 2u 3"),
    ];
    for (names, target, skip, expected) in rows {
        check(names, *target, skip, expected);
    }
}

/// spec: RECON-3, RECON-7, RECON-8, RECON-9
#[test]
fn what_cannot_be_made_up_is_refused() {
    let rows: &[(&str, Option<u32>, &[&str], &str)] = &[
        ("", None, &[], "not-a-table"),
        ("", Some(0), &[], "not-a-table"),
        ("0x 0-2", None, &[], "not-a-table"),
        ("1", None, &[], "version-gap"),
        ("1 2", Some(2), &[], "version-gap"),
        ("0 1 3", None, &[], "version-gap"),
        ("0 1 3", Some(1), &[], "1: 0 1"),
        ("0 1 3", Some(2), &[], "version-gap"),
        ("2c 4", None, &[], "version-gap"),
        ("2p1/2", None, &[], "version-gap"),
        ("0 1 5p1/2", None, &[], "version-gap"),
        ("2p1/2 2p1/3 2p2/3", None, &[], "version-gap"),
        ("2c", None, &["2c"], "version-gap"),
        ("0 1", Some(2), &[], "version-not-found"),
        ("2c 3", Some(1), &[], "version-not-found"),
        ("2 3 4c 5", Some(3), &[], "version-not-found"),
        ("0 1 4c 5", Some(3), &[], "version-gap"),
        ("2c 4 5c", Some(4), &[], "version-not-found"),
        ("2c 4 5c 7", Some(6), &[], "version-gap"),
        ("2c 4 5p1/2", Some(4), &[], "version-gap"),
        ("2u", None, &["2u"], "version-gap"),
        ("2u 4", None, &[], "version-gap"),
    ];
    for (names, target, skip, expected) in rows {
        check(names, *target, skip, expected);
    }
}

/// spec: CMP-1, CMP-2, CMP-3, CMP-4
#[test]
fn compacted_files_stand_for_commits_that_are_there() {
    let rows: &[(&str, Option<u32>, &[&str], &str)] = &[
        ("0 1 2 0-2 1-9 1x", None, &[], "2: 0-2"),
        ("0 1 2 0-2", Some(1), &[], "1: 0 1"),
        ("0 1 2 0-2", None, &["0-2"], "2: 0 1 2"),
        ("0 1 2 3 4 0-2 2-4", None, &[], "4: 0 1 2-4"),
        ("0 1 2 3 4 0-1 1-4 2-4", None, &[], "4: 0 1-4"),
        ("0 1 2 3 4 0-1 2-3 0-4", None, &[], "4: 0-4"),
        ("0 1 2 3 4 0-1 2-3 3-4", None, &[], "4: 0-1 2 3-4"),
        ("0 1 2 3 0-1", Some(3), &[], "3: 0-1 2 3"),
        ("1 1c 2 3 4 0-3 1-3 2-3", None, &[], "4: 1c 2-3 4"),
        ("0 2 0-2", None, &[], "version-gap"),
        ("0-2", None, &[], "not-a-table"),
    ];
    for (names, target, skip, expected) in rows {
        check(names, *target, skip, expected);
    }
    let segment = LogSegment::new(listing("0 1 2 3 4 0-2 3-4"), None, &[]).unwrap();
    let versions = |after: Option<u32>, before: Option<u32>| {
        let files = segment.cover(after.map(Version::from), before.map(Version::from));
        files.iter().map(|it| it.path.version().get()).collect::<Vec<_>>()
    };
    assert_eq!(versions(Some(0), None), [1, 2, 4]);
    assert_eq!(versions(None, Some(4)), [2, 3]);
    assert_eq!(versions(Some(2), Some(3)), [0; 0]);
}

/// What the catalog has ratified wins, whatever its time.
///
/// spec: CAT-4
#[test]
fn staged_commits_win() {
    let path = LogPath::Staged { version: Version::from(1), id: uuid::Uuid::from_u128(1) };
    let staged = LogFile { path, size: 1, modified: Timestamp::from_millis(-1), etag: None };
    let mut files = listing("0 1 2");
    files.insert(0, staged.clone());
    let segment = LogSegment::new(files, None, &[]).unwrap();
    assert_eq!(segment.commits.get(1), Some(&staged));
}

/// spec: CKPT-14, CKPT-15, CKPT-17
#[test]
fn the_top_level_says_what_its_name_says() {
    let json = |text: &str| LogBatch::from_json_checkpoint(text.as_bytes(), Width::Narrow).unwrap();
    let marker = r#"{"checkpointMetadata":{"version":2}}"#;
    let sidecar = r#"{"sidecar":{"path":"a","sizeInBytes":1,"modificationTime":1}}"#;
    let other = sidecar.replace("\"a\"", "\"b\"");
    let remove = r#"{"remove":{"path":"x","dataChange":true}}"#;
    let rows = [
        ("2u", vec![marker], true),
        ("2c", vec![marker], true),
        ("2u", vec![marker, sidecar, &other], true),
        ("2c", vec![marker, sidecar], true),
        ("2u", vec![marker, remove], true),
        ("2c", vec![remove], true),
        ("2p1/2", vec![remove], true),
        ("2u", vec![remove], false),
        ("2c", vec![sidecar], false),
        ("3u", vec![marker], false),
        ("2p1/2", vec![marker], false),
        ("2u", vec![marker, sidecar, remove], false),
        ("2u", vec![marker, sidecar, sidecar], false),
    ];
    for (name, lines, sound) in rows {
        let checked = LogSegment::check_top_level(&file(name).path, &json(&lines.join("\n")));
        assert_eq!(checked.is_ok(), sound, "{name} {lines:?}");
    }
}

/// spec: RECON-7, RECON-8, RECON-9
#[test]
fn messages_name_the_version() {
    let error = |names, target: Option<u32>| {
        LogSegment::new(listing(names), target.map(Version::from), &[]).unwrap_err()
    };
    assert!(error("0 1 3", None).message().contains("version 2 is missing"));
    let range = error("3c 4 5", Some(9)).message().to_string();
    assert!(range.contains("version 9") && range.contains("3 to 5"), "{range}");
}

/// A part number of four billion is compared, never counted out.
///
/// spec: RECON-2
#[test]
fn hostile_numbers_cost_nothing() {
    let names = format!("0 1 1p{0}/{0} 1p1/{0} {1}", u32::MAX, i64::MAX);
    check(&names, Some(1), &[], "1: 0 1");
    check(&names, None, &[], "version-gap");
    check(&format!("{}c", i64::MAX), None, &[], &format!("{0}: {0}c", i64::MAX));
}

/// spec: RECON-1
#[test]
fn the_last_commit_is_known_even_below_a_checkpoint() {
    let last = |names| LogSegment::new(listing(names), None, &[]).unwrap().last_commit;
    assert_eq!(last("0 1 1c"), Some(file("1")));
    assert_eq!(last("1c"), None);
}

proptest! {
    /// Whatever the names and their order, a segment leads from a complete checkpoint or version 0
    /// to its version without a gap.
    ///
    /// spec: RECON-1, RECON-3
    #[test]
    fn segments_have_no_gap(
        commits in proptest::collection::btree_set(0u32..12, 0..12),
        checkpoints in proptest::collection::btree_set(0u32..12, 0..3),
        parts in proptest::collection::vec((0u32..12, 1u32..3, 2u32..4), 0..4),
        target in proptest::option::of(0u32..14),
        turn in 0usize..20,
    ) {
        let mut names: Vec<String> = commits.iter().map(u32::to_string).collect();
        names.extend(checkpoints.iter().map(|it| format!("{it}c")));
        names.extend(parts.iter().map(|(v, part, parts)| format!("{v}p{part}/{parts}")));
        let turn = turn % names.len().max(1);
        names.rotate_left(turn);
        let files: Vec<LogFile> = names.iter().map(|it| file(it)).collect();
        let Ok(segment) = LogSegment::new(files, target.map(Version::from), &[]) else {
            return Ok(());
        };
        let first = segment.checkpoint_version.map_or(0, |it| it.get() + 1);
        let expected: Vec<u64> = (first..=segment.version.get()).collect();
        let got: Vec<u64> = segment.commits.iter().map(|it| it.path.version().get()).collect();
        prop_assert_eq!(got, expected);
        prop_assert!(target.is_none_or(|it| Version::from(it) == segment.version));
        prop_assert_eq!(segment.checkpoint.is_empty(), segment.checkpoint_version.is_none());
    }
}

/// spec: HINT-1, HINT-2, HINT-3, HINT-4
#[test]
fn hints_are_lenient() {
    let rows = [
        (r#"{"version":2,"size":4}"#, Some((2, Some(4), None, None))),
        (
            r#" {"version":2,"size":4,"parts":3,"sizeInBytes":9} "#,
            Some((2, Some(4), Some(3), Some(9))),
        ),
        (
            r#"{"version":2,"size":null,"checkpointSchema":[1],"tags":{"a":"b"}}"#,
            Some((2, None, None, None)),
        ),
        (
            r#"{"version":2,"v2Checkpoint":{"path":"../../x"},"checksum":"00"}"#,
            Some((2, None, None, None)),
        ),
        (r#"{"version":2,"parts":4294967295}"#, Some((2, None, Some(u32::MAX), None))),
        (r#"{"version":9223372036854775807}"#, Some((i64::MAX.cast_unsigned(), None, None, None))),
        (r#"{"version":18446744073709551615}"#, None),
        (r#"{"version":9223372036854775808}"#, None),
        (r#"{"version":-1}"#, None),
        (r#"{"version":2.0}"#, None),
        (r#"{"version":"2"}"#, None),
        (r#"{"version":null}"#, None),
        (r#"{"size":4}"#, None),
        (r#"{"version":2,"size":"four"}"#, None),
        (r#"{"version":2,"parts":4294967296}"#, None),
        (r#"{"version":2,"sizeInBytes":-1}"#, None),
        (r#"{"version":2,"version":3}"#, None),
        (r#"{"version":2,"tags":{"a":1,"a":1}}"#, None),
        (r#"{"version":2"#, None),
        (r#"{"version":2}{"version":3}"#, None),
        ("[2]", None),
        ("", None),
    ];
    for (text, expected) in rows {
        let hint = Hint::parse(text.as_bytes());
        let hint = hint.map(|it| (it.version.get(), it.size, it.parts, it.size_in_bytes));
        assert_eq!(hint, expected, "{text}");
    }
    let deep = format!("{{\"version\":2,\"tags\":{}1{}}}", "[".repeat(9999), "]".repeat(9999));
    assert_eq!(Hint::parse(deep.as_bytes()), None);
}

/// spec: HINT-5
#[test]
fn long_hints_are_no_hints() {
    let max = usize::try_from(HINT_BYTES_MAX).unwrap();
    let hint = r#"{"version":2}"#;
    let text = |length: usize| format!("{hint}{}", " ".repeat(length - hint.len()));
    assert!(Hint::parse(text(max).as_bytes()).is_some());
    assert_eq!(Hint::parse(text(max + 1).as_bytes()), None);
}

proptest! {
    /// A hint that is written is read back.
    ///
    /// spec: HINT-6
    #[test]
    fn hints_come_back(
        version in 0..=i64::MAX.cast_unsigned(),
        size in proptest::option::of(0..=i64::MAX),
        parts in proptest::option::of(any::<u32>()),
        bytes in proptest::option::of(0..=i64::MAX.cast_unsigned()),
        files in proptest::option::of(0..=i64::MAX.cast_unsigned()),
    ) {
        let hint = Hint {
            version: Version::new(version).unwrap(),
            size,
            parts,
            size_in_bytes: bytes,
            num_of_add_files: files,
        };
        prop_assert_eq!(Hint::parse(hint.to_json().as_bytes()), Some(hint));
    }

    /// Any bytes are a hint or none.
    ///
    /// spec: HINT-2
    #[test]
    fn hint_parse_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Hint::parse(&bytes);
    }
}
