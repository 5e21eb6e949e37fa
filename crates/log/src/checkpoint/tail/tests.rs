//! Tails against the fold of the same commits: the checkpoint is the same, byte by byte, however
//! many ranges it comes in and whatever is older.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::action::{Action, Protocol, Remove};
use crate::batch::{LogBatch, Width};
use crate::checkpoint::tests::{NOW, metadata, min, slices};
use crate::checkpoint::{Pushed, Writer, Written, render, render_in_groups, render_next_sidecars};
use crate::checkpoint::{SidecarFile, render_sidecars};
use crate::compact::compact;
use crate::files::tests::{actions, history};
use crate::replay::Replay;
use crate::state::TableState;
use crate::version::Version;

const GROUP_ROWS: usize = 7;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

/// The commits of a history, with values to order them by.
fn commits(history: &[String]) -> Vec<Vec<Action>> {
    let mut commits = vec![vec![
        Action::Protocol(Protocol::legacy()),
        metadata("p int, x long, t timestamp, s string", &["p"], &[]),
    ]];
    for (version, words) in history.iter().enumerate() {
        let valued = |(at, action): (usize, Action)| match action {
            Action::Add(mut add) => {
                let value = i64::try_from((at * 7 + version * 3) % 20).unwrap();
                add.partition_values = [("p".into(), Some((value % 3).to_string()))].into();
                add.stats = (value % 5 != 0).then(|| min(value));
                Action::Add(add)
            }
            Action::Remove(remove) => {
                // Some of them have expired.
                let deletion_timestamp = (version % 3 != 0).then_some(NOW);
                Action::Remove(Remove { deletion_timestamp, ..remove })
            }
            other => other,
        };
        commits.push(actions(words).into_iter().enumerate().map(valued).collect());
    }
    commits
}

fn text(actions: &[Action]) -> Bytes {
    let lines: Vec<String> = actions.iter().map(Action::to_json_line).collect();
    // A commit that says nothing has a line all the same.
    format!("{{}}\n{}\n", lines.join("\n")).into()
}

fn state(commits: &[Vec<Action>]) -> TableState {
    let mut replay = Replay::new(Version::new(commits.len() as u64).unwrap(), Width::Wide);
    for actions in commits.iter().rev() {
        replay.feed(LogBatch::from_json(&text(actions), Width::Wide).unwrap()).unwrap();
    }
    replay.finish().unwrap()
}

/// The lines of a file, some at a time.
fn pieces(bytes: &Bytes) -> Vec<&[u8]> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|it| *it == b'\n').collect();
    let mut pieces = Vec::new();
    let mut start = 0;
    for lines in lines.chunks(3) {
        let length: usize = lines.iter().map(|it| it.len()).sum();
        pieces.push(&bytes[start..start + length]);
        start += length;
    }
    pieces
}

/// The tail of some files, each with whether it is a commit.
fn surveyed(
    head: &Head,
    files: &[(Bytes, bool)],
    range_bytes: u64,
    above: bool,
) -> Result<Arc<Tail>> {
    let bytes: usize = files.iter().map(|it| it.0.len()).sum();
    let mut sampler = Sampler::new(bytes as u64);
    files.iter().flat_map(|it| pieces(&it.0)).for_each(|it| sampler.take(it));
    let head = Arc::new(head.clone());
    let surveyor = Arc::new(sampler.cut(&head, now(), [1, 2], range_bytes, above)?);
    let mut tail = surveyor.begin_tail();
    for (bytes, is_commit) in files {
        let mut surveyed = surveyor.begin(*is_commit);
        pieces(bytes).into_iter().try_for_each(|it| surveyed.take(it))?;
        if let Some(again) = surveyed.again() {
            surveyed = again;
            pieces(bytes).into_iter().try_for_each(|it| surveyed.take(it))?;
        }
        assert!(surveyed.again().is_none());
        tail.push(surveyed)?;
    }
    tail.settle().map(Arc::new)
}

fn gathered(
    tail: &Arc<Tail>,
    files: &[(Bytes, bool)],
    part: Part,
) -> (Option<Chunk>, Option<TombstoneChunk>) {
    let mut gather = tail.gather(part);
    for number in tail.files_of(part) {
        pieces(&files[number].0).into_iter().for_each(|it| gather.take(number, it).unwrap());
        assert!(gather.end_file(number));
    }
    gather.finish().unwrap()
}

/// The checkpoint of an older one and a tail.
fn poured(head: &Head, tail: &Arc<Tail>, files: &[(Bytes, bool)], older: Vec<LogBatch>) -> Written {
    let mut writer = Writer::begin(head, tail.clone(), now(), GROUP_ROWS).unwrap();
    let mut ranges = (0..tail.ranges()).map(|it| gathered(tail, files, Part::Range(it)).0);
    for slice in older {
        let mut pushed = writer.push(slice).unwrap();
        while pushed == Pushed::Waits {
            pushed = match ranges.next() {
                Some(Some(it)) => writer.push_range(it).unwrap(),
                Some(None) => continue,
                None => writer.end_ranges().unwrap(),
            };
        }
        assert_eq!(pushed, Pushed::Merged);
    }
    for range in ranges.flatten() {
        assert_eq!(writer.push_range(range).unwrap(), Pushed::Merged);
        writer.write_ranges().unwrap();
    }
    if let Some(it) = gathered(tail, files, Part::Tombstones).1 {
        writer.add_tombstones(&it);
    }
    writer.finish().unwrap()
}

/// The sidecars of a tail.
fn sidecars(head: &Head, tail: &Arc<Tail>, files: &[(Bytes, bool)]) -> Vec<SidecarFile> {
    let (mut made, mut left) = (Vec::new(), Vec::new());
    for range in 0..tail.ranges() {
        left.extend(gathered(tail, files, Part::Range(range)).0);
        let (next, rest) = render_next_sidecars(head, &left, GROUP_ROWS).unwrap();
        made.extend(next);
        left = rest;
    }
    let dead = gathered(tail, files, Part::Tombstones).1.into_iter().collect();
    let list = crate::files::FileList::new(left, dead, Width::Wide);
    made.extend(render_sidecars(head, &list, now(), GROUP_ROWS).unwrap());
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the commits, some of them compacted, the ranges, and the slices of what is older.
    ///
    /// spec: CKPT-12, CKPT-23, CKPT-31, RECON-10, RECON-18
    #[test]
    fn the_checkpoint_is_that_of_the_state(
        history in history(),
        range_bytes in prop_oneof![Just(1u64), 1u64..3_000, Just(u64::MAX)],
        at in 0.0f64..1.0,
        compacted in 0.0f64..1.0,
        slice_rows in 1usize..20,
    ) {
        let commits = commits(&history);
        let whole = state(&commits);
        let expected = render_in_groups(&whole, now(), GROUP_ROWS).unwrap();

        // From here on the commits are one file.
        let first = 1 + (compacted * (commits.len() - 1) as f64) as usize;
        let mut files: Vec<_> = commits[..first].iter().map(|it| (text(it), true)).collect();
        let rest = commits[first..].iter();
        let rest = rest.map(|it| LogBatch::from_json(&text(it), Width::Wide).unwrap()).collect();
        let rest = compact(rest).unwrap();
        if !rest.is_empty() {
            files.push((rest, false));
        }
        let tail = surveyed(&whole.head, &files, range_bytes, false).unwrap();
        prop_assert_eq!(tail.live(), whole.files.len());
        let written = poured(&whole.head, &tail, &files, Vec::new());
        prop_assert!(written.bytes == expected.bytes, "out of commits alone");
        prop_assert_eq!((written.actions, written.sum), (expected.actions, whole.files.sum()));

        let bytes = |it: &[SidecarFile]| it.iter().map(|it| it.bytes.clone()).collect::<Vec<_>>();
        let made = sidecars(&whole.head, &tail, &files);
        let expected_sidecars =
            render_sidecars(&whole.head, &whole.files, now(), GROUP_ROWS).unwrap();
        prop_assert!(bytes(&made) == bytes(&expected_sidecars), "the second layout");

        let split = 1 + (at * (commits.len() - 1) as f64) as usize;
        let older = render(&state(&commits[..split]), now()).unwrap().bytes;
        let files: Vec<_> = commits[split..].iter().map(|it| (text(it), true)).collect();
        let tail = surveyed(&whole.head, &files, range_bytes, true).unwrap();
        let written = poured(&whole.head, &tail, &files, slices(&older, slice_rows));
        prop_assert!(written.bytes == expected.bytes, "on top of an older one");
        prop_assert_eq!((written.actions, written.sum), (expected.actions, whole.files.sum()));
    }
}

#[track_caller]
fn check_refused(files: &[(&str, bool)]) {
    let head = state(&commits(&[])).head;
    let words = |(text_of, is_commit): &(&str, bool)| (text(&actions(text_of)), *is_commit);
    let files: Vec<_> = files.iter().map(words).collect();
    let refused = surveyed(&head, &files, 1, false).map(|it| it.live());
    assert_eq!(refused.map_err(|it| it.code()), Err(Code::InvalidAction));
}

/// What a fold refuses is refused, however far apart it stands.
///
/// spec: RECON-16, RECON-17
#[test]
fn contradictions_are_refused() {
    check_refused(&[("+a:1", true), ("+b", true), ("+a:2", true)]);
    check_refused(&[("+a +a", true)]);
    check_refused(&[("+%61b +ab", true)]);
    check_refused(&[("+a -a", true)]);
    check_refused(&[("-a:1 -a:2", true)]);
    check_refused(&[("-a:1 -a:1", false)]);
    check_refused(&[("+a:1 +a:2", false), ("-a:1", true)]);

    let head = state(&commits(&[])).head;
    let fine = [("+a:1 +b", true), ("-a:1 +a:2", true), ("-a:2 -a:3", false), ("+a", true)];
    let files: Vec<_> = fine.iter().map(|it| (text(&actions(it.0)), it.1)).collect();
    assert_eq!(surveyed(&head, &files, 1, false).unwrap().live(), 2);
}

/// Lines end and begin in several ways, names may have a slash before them, and bytes that were not
/// surveyed are told from those that were.
#[test]
fn lines_as_they_come() {
    let head = state(&commits(&[])).head;
    let add = |path: &str| {
        format!(
            r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"modificationTime":2,"dataChange":true}}}}"#
        )
    };
    let info = r#"{"commitInfo":{"engineInfo":"DuckDB 1"}}"#;
    let rooted = format!("\u{feff}{}\r\n\n  {}\n{info}", add("/a"), add("b/c"));
    let plain = format!("{}\n{}\n{}", add("/e/f"), add("d"), add("/g"));
    let files = [(Bytes::from(rooted), true), (Bytes::from(plain), true)];
    let tail = surveyed(&head, &files, 1, false).unwrap();
    let ranges = (0..tail.ranges()).filter_map(|it| gathered(&tail, &files, Part::Range(it)).0);
    let mut paths = Vec::new();
    ranges.for_each(|it| paths.extend(it.rows.path().iter().flatten().map(str::to_string)));
    paths.sort();
    assert_eq!(paths, ["/a", "/e/f", "b/c", "d", "file:///g"]);

    let mut gather = tail.gather(Part::Range(0));
    let length = files[0].0.len();
    let other = files[0].0.iter().map(|it| if *it == b'b' { b'B' } else { *it });
    gather.take(0, &other.collect::<Vec<_>>()).unwrap();
    assert!(!gather.end_file(0), "other bytes");
    gather.take(0, &files[0].0[..length - 1]).unwrap();
    assert!(!gather.end_file(0), "fewer bytes");
    assert!(!gather.end_file(2), "no such file");
    let gather = tail.gather(Part::Range(tail.ranges() - 1));
    assert!(gather.finish().is_err(), "rows are missing");
    for broken in ["{\"add\":{}}", "{} {}", "[]", "{\"add\":{\"path\":\"\u{0}\""] {
        let files = [(Bytes::from(broken.to_string()), true)];
        assert!(surveyed(&head, &files, 1, false).is_err(), "{broken}");
    }
}
