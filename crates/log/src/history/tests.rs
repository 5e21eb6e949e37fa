//! Times along a log.

use proptest::prelude::*;

use super::*;

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Commits of versions 0, 1, .. as `modified` or `modified/in-commit`.
fn commits(text: &str) -> Vec<CommitTime> {
    let commit = |(version, word): (u32, &str)| {
        let (modified, in_commit) = match word.split_once('/') {
            Some((modified, in_commit)) => (modified, Some(in_commit)),
            None => (word, None),
        };
        CommitTime {
            version: Version::from(version),
            modified: time(modified.parse().unwrap()),
            in_commit: in_commit.map(|it| time(it.parse().unwrap())),
        }
    };
    (0..).zip(text.split_whitespace()).map(commit).collect()
}

fn check(text: &str, enablement: Option<(u32, i64)>, expected: &str) {
    let enablement = enablement.map(|(version, millis)| (Version::from(version), time(millis)));
    let shown = match effective_times(&commits(text), enablement) {
        Ok(times) => {
            let millis = times.iter().map(|(_, it)| it.as_millis().to_string());
            millis.collect::<Vec<_>>().join(" ")
        }
        Err(it) => it.code().as_str().to_string(),
    };
    assert_eq!(shown, expected, "{text} {enablement:?}");
}

/// spec: ICT-1, ICT-2, ICT-3, ICT-4, ICT-5
#[test]
fn times_rise_along_the_log() {
    check("", None, "");
    check("10 20 30", None, "10 20 30");
    check("10 10 5 30", None, "10 11 12 30");
    check("10/99 20/99", None, "10 20");
    check("9223372036854775807 0", None, "9223372036854775807 9223372036854775807");
    // From the enablement on, the commit's own time counts, whatever its file says.
    check("0/10 0/20 0/30", Some((0, 10)), "10 20 30");
    check("10 20 99/30 99/40", Some((2, 30)), "10 20 30 40");
    // A copy gives the older files times after the enablement.
    check("99 99 99/30 99/40", Some((2, 30)), "30 30 30 40");
    check("10 20", Some((5, 30)), "10 20");
    check("10 20/30 30", Some((1, 30)), "invalid-action");
    check("10 20/30 30/29", Some((1, 30)), "invalid-action");
    check("10 20/30 30/30", Some((1, 30)), "invalid-action");
}

/// spec: ICT-6, ICT-7
#[test]
fn a_time_means_the_newest_version_not_after_it() {
    let rows = [
        ("10 20 30", None, 9, None),
        ("10 20 30", None, 10, Some(0)),
        ("10 20 30", None, 19, Some(0)),
        ("10 20 30", None, 20, Some(1)),
        ("10 20 30", None, 30, Some(2)),
        ("10 20 30", None, i64::MAX, Some(2)),
        ("", None, 5, None),
        ("99 99 99/30 99/40", Some((2, 30)), 29, None),
        ("99 99 99/30 99/40", Some((2, 30)), 30, Some(2)),
        ("99 99 99/30 99/40", Some((2, 30)), 99, Some(3)),
        ("10 28 99/30 99/40", Some((2, 30)), 29, Some(1)),
    ];
    for (text, enablement, at, expected) in rows {
        let enablement = enablement.map(|(version, it)| (Version::from(version), time(it)));
        let times = effective_times(&commits(text), enablement).unwrap();
        let found = version_at(&times, time(at));
        match (expected, found) {
            (Some(expected), Ok(it)) => assert_eq!(it, Version::from(expected), "{text} at {at}"),
            (None, Err(it)) => assert_eq!(it.code(), Code::VersionNotFound, "{text} at {at}"),
            (_, other) => panic!("{text} at {at}: {other:?}"),
        }
    }
}

/// spec: ICT-7
#[test]
fn before_the_first_version_the_range_is_said() {
    let times = effective_times(&commits("86400000 172800000"), None).unwrap();
    let error = version_at(&times, time(0)).unwrap_err();
    assert!(error.message().contains("1970-01-02"), "{error}");
    assert!(error.message().contains("1970-01-03"), "{error}");
}

proptest! {
    /// Times never fall, a file's time is at least what the store says unless the enablement caps
    /// it, and a version's own time finds that version.
    ///
    /// spec: ICT-1, ICT-6
    #[test]
    fn own_time_finds_the_version(modified in proptest::collection::vec(0i64..50, 1..20)) {
        let commits: Vec<CommitTime> = (0u32..).zip(&modified).map(|(version, it)| CommitTime {
            version: Version::from(version),
            modified: time(*it),
            in_commit: None,
        }).collect();
        let times = effective_times(&commits, None).unwrap();
        prop_assert!(times.array_windows().all(|[a, b]| a.1 < b.1));
        for (commit, (version, at)) in commits.iter().zip(&times) {
            prop_assert!(commit.modified <= *at);
            prop_assert_eq!(version_at(&times, *at).unwrap(), *version);
        }
    }
}
