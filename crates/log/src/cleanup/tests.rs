//! What goes of a listing, and what has to stay.

use super::*;
use crate::log_path::CheckpointName;
use crate::segment::tests::listing as files;

fn word(file: &LogFile) -> String {
    match &file.path {
        LogPath::Commit(it) => it.to_string(),
        LogPath::Checkpoint(it, CheckpointName::Part { part, parts }) => {
            format!("{it}p{part}/{parts}")
        }
        LogPath::Checkpoint(it, _) => format!("{it}c"),
        LogPath::Compacted { first, last } => format!("{first}-{last}"),
        _ => format!("{}x", file.path.version()),
    }
}

/// Base, then what goes in its order; `-` for nothing; or the code of the error.
#[track_caller]
fn check(listing: &str, oldest: u32, unsound: &str, expected: &str) {
    let unsound: Vec<LogPath> = files(unsound).into_iter().map(|it| it.path).collect();
    let found = match Cleanup::of(&files(listing), Version::from(oldest), &unsound) {
        Err(it) => it.code().as_str().to_string(),
        Ok(None) => "-".to_string(),
        Ok(Some(it)) => {
            let gone = it.commits.iter().chain(&it.others).map(word);
            let words: Vec<String> = [format!("{}:", it.base)].into_iter().chain(gone).collect();
            words.join(" ")
        }
    };
    assert_eq!(found, expected, "{listing}, oldest {oldest}");
}

/// spec: CLEAN-1, CLEAN-2, CLEAN-3, CLEAN-4
#[test]
fn what_goes() {
    // Everything below the newest checkpoint that the oldest version kept can stand on.
    check("0 1 2 3 3c 4 5 6 6c 7", 5, "", "3: 0 1 2");
    check("0 1 2 3 3c 4 5 6 6c 7", 6, "", "6: 0 1 2 3 4 5 3c");
    check("0 1 2 3 3c 4 5 6 6c 7", 7, "", "6: 0 1 2 3 4 5 3c");
    check("0 1 2 3 3c 4 5", 2, "", "-");
    check("0 1 2 3", 3, "", "-");
    check("3 3c 4 5", 5, "", "-");
    // Commits from low to high, then aids, then checkpoints.
    check("2 0x 1 1c 2x 0 3c 3 1x 3x", 3, "", "3: 0 1 2 0x 1x 2x 1c");
    // A leftover of a cleanup that was cut short, and a late commit of an old version.
    check("1 2 3 3c 4", 4, "", "3: 1 2");
    check("1 3 3c 4", 4, "", "3: 1");
    check("1c 3 3c 4", 4, "", "3: 1c");
    // Compacted files that begin no later than the checkpoint are of no use any more.
    check("0 1 2 0-1 1-3 2 3 3c 4 5 4-5", 5, "", "3: 0 1 2 2 0-1 1-3");
    // A checkpoint of which a part is missing, or that proved broken, is none.
    check("0 1 2 2p1/2 2p2/2 3 3p1/2 4", 4, "", "2: 0 1");
    check("0 1 2 2c 3 3c 4", 4, "3c", "2: 0 1");
    check("0 1 2 2c 3 4", 4, "2c", "-");
    // What is missing may be missing from the listing alone.
    check("0 1 2 2c 3 5", 3, "", "version-gap");
    check("0 1 2 2c 3 5 6 6c 7", 3, "", "version-gap");
}

/// spec: CLEAN-5
#[test]
fn the_version_of_a_time_is_kept() {
    let times: Vec<_> = [(4u32, 40), (5, 50), (6, 50), (7, 70)]
        .map(|(version, at)| (Version::from(version), Timestamp::from_millis(at)))
        .into();
    let rows = [(39, None), (40, Some(4u32)), (49, Some(4)), (50, Some(6)), (99, Some(7))];
    for (at, expected) in rows {
        let found = newest_at(&times, Timestamp::from_millis(at));
        assert_eq!(found, expected.map(Version::from), "{at}");
    }
    let hour = 3_600_000;
    let at = |now, retention| cut(Timestamp::from_millis(now), retention).as_millis();
    assert_eq!(at(100 * hour, hour), 99 * hour);
    assert_eq!(at(100 * hour + 119_999, hour), 99 * hour);
    assert_eq!(at(100 * hour + 120_000, hour), 99 * hour + 120_000);
    assert_eq!(at(5, i64::MAX), at(6, i64::MAX));
    assert!(at(i64::MIN, i64::MAX) <= 0);
}

/// Commits below a gap lead nowhere.
///
/// spec: CLEAN-5
#[test]
fn times_of_the_commits_that_lead_on() {
    let listing = files("0 2 3 3c 4");
    let found: Vec<String> = leading(&listing).into_iter().map(word).collect();
    assert_eq!(found, ["2", "3", "4"]);
    assert!(leading(&[]).is_empty());
}

/// spec: CLEAN-9
#[test]
fn markers() {
    assert_eq!(marker(marker_text(Version::from(12)).as_bytes()), Some(Version::from(12)));
    for text in ["", "{}", "[]", r#"{"version":-1}"#, r#"{"version":"1"}"#] {
        assert_eq!(marker(text.as_bytes()), None, "{text}");
    }
}
