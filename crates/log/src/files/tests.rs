//! Lists of files against a model, and what they cost.

use proptest::prelude::*;

use super::*;
use crate::action::{Action, DeletionVector, Remove};
use crate::batch::LogBatch;

/// File actions as a text: `+a` adds `a`, `-a` removes it, `+a:1` and `-a:1` with vector 1.
pub(crate) fn actions(text: &str) -> Vec<Action> {
    text.split_whitespace().map(action).collect()
}

fn action(word: &str) -> Action {
    let (sign, key) = word.split_at(1);
    let vector = key.rsplit_once(':').filter(|it| !it.1.contains('/'));
    let (path, vector) = match vector {
        Some((path, vector)) => (path, Some(vector)),
        None => (key, None),
    };
    let deletion_vector = vector.map(|it| DeletionVector {
        storage_type: "u".to_string(),
        path_or_inline_dv: format!("ab^-aqEH.-t@S}}K{{vb[*k^{it}"),
        offset: Some(1),
        size_in_bytes: 1,
        cardinality: 1,
    });
    let path = path.to_string();
    match sign {
        "+" => Action::Add(Add { path, size: 10, deletion_vector, ..Add::default() }),
        _ => Action::Remove(Remove { path, deletion_vector, ..Remove::default() }),
    }
}

fn batch(text: &str) -> LogBatch {
    LogBatch::from_actions(&actions(text)).unwrap()
}

fn advance(files: &FileList, text: &str) -> Result<FileList> {
    let batch = batch(text);
    files.advance(batch.adds.as_ref(), batch.removes.as_ref())
}

/// The list as sorted keys, adds and tombstones, in the words of [`actions`]; `_` is a space.
pub(crate) fn keys(files: &FileList) -> Vec<String> {
    let key = |sign: char, keys: &Keys, row: u32| {
        let vector = keys.vector(row).map(|it| {
            let digits = it.rfind('^').map_or("", |at| &it[at + 1..]).trim_end_matches("@1");
            format!(":{digits}")
        });
        let path = keys.path(row).replace(' ', "_");
        format!("{sign}{path}{}", vector.unwrap_or_default())
    };
    let mut all: Vec<String> = Vec::new();
    for chunk in files.chunks() {
        let keys = Keys::of_adds(&chunk.rows);
        all.extend(chunk.live.iter().map(|row| key('+', &keys, row)));
    }
    for chunk in files.tombstones() {
        let keys = Keys::of_removes(&chunk.rows);
        all.extend(chunk.live.iter().map(|row| key('-', &keys, row)));
    }
    all.sort();
    all
}

/// Commits, oldest first, separated by `|`, then the keys that must stand.
fn check(commits: &str, expected: &str) {
    let mut files = FileList::empty(Width::Wide);
    for commit in commits.split('|') {
        files = match advance(&files, commit) {
            Ok(it) => it,
            Err(it) => {
                assert_eq!(it.code().as_str(), expected, "{commits}: {it}");
                return;
            }
        };
    }
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(keys(&files), expected, "{commits}");
    let live = expected.iter().filter(|it| it.starts_with('+')).count();
    assert_eq!(files.len(), u64::try_from(live).unwrap(), "{commits}");
    assert_eq!(files.total_bytes(), 10 * files.len(), "{commits}");
    assert_eq!(files.is_empty(), live == 0, "{commits}");
}

/// spec: RECON-10, RECON-11, RECON-12, RECON-13, RECON-14, RECON-15, RECON-16
#[test]
fn newest_action_of_a_key_wins() {
    check("+a +b", "+a +b");
    check("+a | +b", "+a +b");
    check("+a | -a", "-a");
    check("+a | -a | +a", "+a");
    check("+a | +a", "+a");
    check("+a | -x", "+a -x");
    check("-a | +a", "+a");
    check("-a | -a", "-a");
    // Two spellings of one file are one key.
    check("+a%20b | -a%20b", "-a_b");
    check("+a%20b | +a%2520b", "+a_b +a%20b");
    // A vector makes another key of the same path.
    check("+a | -a +a:1", "-a +a:1");
    check("+a | -a +a:1 | -a:1 +a:2", "-a -a:1 +a:2");
    check("+a | -a +a:1 | -a:1 +a", "-a:1 +a");
    // Refused: rows would be read twice.
    check("+a | +a:1", "invalid-action");
    check("+a:1 | +a:2", "invalid-action");
    check("+a:1 | +a", "invalid-action");
}

/// spec: RECON-17
#[test]
fn one_commit_decides_a_key_once() {
    // Such commits do not decode; a batch that was put together by hand is refused as well.
    let [one, other] = ["+a", "-a"].map(batch);
    let files = FileList::empty(Width::Wide);
    let both = files.advance(one.adds.as_ref(), other.removes.as_ref());
    assert_eq!(both.unwrap_err().code(), Code::InvalidAction);
}

/// spec: RECON-10, RECON-13
#[test]
fn found_by_key() {
    let mut files = FileList::empty(Width::Wide);
    for commit in ["+a +b +c%20d", "-a +a:1", "-b"] {
        files = advance(&files, commit).unwrap();
    }
    let path =
        |path, vector: Option<&str>| files.find(path, vector).map(|at| files.get(at).unwrap().path);
    assert_eq!(path("a", None), None);
    assert_eq!(path("b", None), None);
    assert_eq!(path("c%20d", None).as_deref(), Some("c%20d"));
    assert_eq!(path("%63%20d", None).as_deref(), Some("c%20d"));
    assert_eq!(path("x", None), None);
    let id = files.iter().find_map(|at| {
        let (rows, row) = files.row(at)?;
        rows.dv_id(row)
    });
    assert_eq!(path("a", id.as_deref()).as_deref(), Some("a"));
}

/// A log may name a file by a URL with a password in it.
#[test]
fn no_credentials_in_messages() {
    let files = advance(&FileList::empty(Width::Wide), "+s3://key:secret@bucket/a").unwrap();
    let error = advance(&files, "+s3://key:secret@bucket/a:1").unwrap_err();
    assert_eq!(error.code(), Code::InvalidAction);
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let named = advance(&advance(&files, "+b%20c").unwrap(), "+b%20c:1").unwrap_err();
    assert!(named.message().contains("`b c`"), "{named}");
}

/// Oldest chunk first, rows as in the log: an order that merging keeps.
#[test]
fn order_is_that_of_the_log() {
    let mut files = FileList::empty(Width::Wide);
    let names: Vec<String> = (0..200).map(|it| format!("{it:03}")).collect();
    for pair in names.chunks(2) {
        files = advance(&files, &format!("+{} +{}", pair[0], pair[1])).unwrap();
    }
    let paths: Vec<String> = files.iter().map(|at| files.get(at).unwrap().path).collect();
    assert_eq!(paths, names);
}

/// A commit costs what it touches: every other chunk is the same allocation as before.
#[test]
fn untouched_chunks_are_shared() {
    let numbered = |range: std::ops::Range<u32>| {
        range.map(|it| format!("+f{it}")).collect::<Vec<_>>().join(" ")
    };
    let mut files = FileList::empty(Width::Wide);
    for commit in [numbered(0..1000), numbered(1000..1100), numbered(1100..1110)] {
        files = advance(&files, &commit).unwrap();
    }
    let next = advance(&files, "-f1050 +g").unwrap();
    assert_eq!((files.chunks().len(), next.chunks().len()), (3, 4));
    for (old, new) in files.chunks().iter().zip(&next.chunks()[1..]) {
        assert!(Arc::ptr_eq(&old.rows, &new.rows));
        let touched = old.live.contains(50) && !new.live.contains(50);
        assert_eq!(Arc::ptr_eq(&old.live, &new.live), !touched);
    }
}

/// A long chain of small commits stays flat: few chunks, and memory that grows with the live
/// files, not with the commits.
#[test]
fn a_long_chain_stays_flat() {
    let mut files = FileList::empty(Width::Wide);
    let mut chunks_max = 0;
    for number in 0..2_000 {
        let commit = match number {
            0..50 => format!("+f{number}"),
            _ => format!("+f{number} -f{}", number - 50),
        };
        files = advance(&files, &commit).unwrap();
        chunks_max = chunks_max.max(files.chunks().len() + files.tombstones().len());
    }
    assert_eq!(files.len(), 50);
    assert!(chunks_max < 80, "{chunks_max} chunks");
    let once = advance(
        &FileList::empty(Width::Wide),
        &(0..50).map(|it| format!("+f{it} ")).collect::<String>(),
    );
    let live: usize = files.chunks().iter().map(Layer::memory_bytes).sum();
    let least: usize = once.unwrap().chunks().iter().map(Layer::memory_bytes).sum();
    assert!(live < 20 * least, "{live} bytes for {least}");
}

/// Narrowing drops statistics; widening is refused, because it cannot invent them.
#[test]
fn width_is_kept() {
    let wide = batch("+a");
    let narrow = FileList::empty(Width::Narrow).advance(wide.adds.as_ref(), None).unwrap();
    let rows = &narrow.chunks()[0].rows;
    assert!(rows.stats().is_none());
    let refused = FileList::empty(Width::Wide).advance(Some(rows), None);
    assert_eq!(refused.unwrap_err().code(), Code::Internal);
    let head = FileList::empty(Width::Head).advance(wide.adds.as_ref(), None).unwrap();
    assert!(head.is_empty());
}

/// Paths that collide in half a hash, and in all of it, are told apart.
///
/// spec: RECON-10
#[test]
fn colliding_hashes_are_told_apart() {
    let batch = batch("+a +b +c +d:1 +e");
    let keys = Keys::of_adds(batch.adds.as_ref().unwrap());
    let index = Index::new(keys, &[7, 7, 7 << 32, 7, 7]);
    let rows = |path: &str| index.rows_of_path(7, path).collect::<Vec<_>>();
    assert_eq!([rows("a"), rows("b"), rows("d"), rows("e")], [vec![0], vec![1], vec![3], vec![4]]);
    assert!(rows("c").is_empty() && rows("f").is_empty());
    assert_eq!(index.rows_of_key(7, "d", None).next(), None);
    assert_eq!(index.rows_of_key(7, "a", None).next(), Some(0));
    assert_eq!(index.repeated(false), None);
}

/// Names as writers make them differ in few bytes, yet do not collide.
#[test]
fn hashes_spread() {
    let mut hashes: Vec<u64> = (0..100_000u32)
        .flat_map(|it| [format!("part-{it:05}.parquet"), format!("d=1/{it}"), format!("{it}-x")])
        .map(|it| hash(&it))
        .collect();
    let total = hashes.len();
    let buckets = hashes.iter().fold(vec![0u32; 256], |mut buckets, it| {
        buckets[usize::from(it.to_be_bytes()[0])] += 1;
        buckets
    });
    let mean = u32::try_from(total / 256).unwrap();
    assert!(buckets.iter().all(|it| mean / 2 < *it && *it < mean * 2), "{buckets:?}");
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), total);
    assert_ne!(hash(""), hash("\0"));
}

/// The dullest list that could be right: for each key, what was said last.
type Model = std::collections::BTreeMap<String, char>;

fn apply(model: &mut Model, commit: &str) {
    for word in commit.split_whitespace() {
        let (sign, key) = word.split_at(1);
        model.insert(key.to_string(), sign.chars().next().unwrap());
    }
}

fn shown(model: &Model) -> Vec<String> {
    let mut keys: Vec<String> = model.iter().map(|(key, sign)| format!("{sign}{key}")).collect();
    keys.sort();
    keys
}

/// A history without conflicts: each commit sets some of thirty paths, with or without a vector,
/// and removes whatever else of the path was live.
pub(crate) fn history() -> impl Strategy<Value = Vec<String>> {
    let step = (0u8..30, prop_oneof![3 => Just(0u8), 1 => 1u8..3], any::<bool>());
    let commit = proptest::collection::btree_map(0u8..30, step, 0..6);
    proptest::collection::vec(commit, 1..40).prop_map(|commits| {
        let mut live: std::collections::BTreeMap<u8, String> = Default::default();
        let mut history = Vec::new();
        for commit in commits {
            let mut words = Vec::new();
            for (path, (_, vector, add)) in commit {
                let key = match vector {
                    0 => format!("p{path}"),
                    it => format!("p{path}:{it}"),
                };
                let old = if add { live.insert(path, key.clone()) } else { live.remove(&path) };
                if let Some(old) = old.filter(|it| !add || *it != key) {
                    words.push(format!("-{old}"));
                }
                if add {
                    words.push(format!("+{key}"));
                }
            }
            history.push(words.join(" "));
        }
        history
    })
}

proptest! {
    /// Advancing commit by commit agrees with the model, and with the fold of the same commits
    /// from nothing and from any state between.
    ///
    /// spec: RECON-10, RECON-11, RECON-12, RECON-18
    #[test]
    fn advance_agrees_with_model_and_replay(history in history(), split in 0usize..40) {
        let mut model = Model::new();
        let mut files = FileList::empty(Width::Wide);
        for commit in &history {
            files = advance(&files, commit).unwrap();
            apply(&mut model, commit);
            prop_assert_eq!(keys(&files), shown(&model));
            prop_assert_eq!(files.total_bytes(), 10 * files.len());
        }
        let split = split.min(history.len());
        let mut split_files = replayed(&history[..split]);
        for commit in &history[split..] {
            split_files = advance(&split_files, commit).unwrap();
        }
        prop_assert_eq!(keys(&split_files), shown(&model));
        prop_assert_eq!(keys(&replayed(&history)), shown(&model));
    }
}

proptest! {
    /// Commits decoded together, as many at a time as may be, fold to what they fold to alone.
    ///
    /// spec: RECON-10, RECON-11, RECON-12
    #[test]
    fn runs_fold_as_their_commits(history in history(), together in 1usize..10) {
        use crate::batch::Run;
        use crate::replay::Replay;
        let text = |commit: &String| {
            let lines = actions(commit).iter().map(|it| it.to_json_line() + "\n").collect::<String>();
            bytes::Bytes::from(if lines.is_empty() { "{}\n".to_string() } else { lines })
        };
        let texts: Vec<_> = history.iter().map(text).collect();
        let mut replay = Replay::new(crate::version::Version::ZERO, Width::Narrow);
        for texts in texts.rchunks(together) {
            let (batches, run) = Run::from_commits(texts).unwrap().unwrap();
            prop_assert!(batches.iter().all(|it| it.adds.is_none() && it.removes.is_none()));
            replay.feed_run(&run).unwrap();
        }
        let files = replay.finish_files().unwrap();
        prop_assert_eq!(keys(&files), keys(&replayed(&history)));
    }
}

/// Within a run each commit still decides a key once.
#[test]
fn a_commit_of_a_run_decides_a_key_once() {
    use crate::batch::Run;
    let text = |commit: &str| -> bytes::Bytes {
        actions(commit).iter().map(|it| it.to_json_line() + "\n").collect::<String>().into()
    };
    for (commits, expected) in [
        (["+a", "-a +b", "+a"], None),
        (["+a", "+b +b", "+c"], Some(Code::InvalidAction)),
        (["+a", "+b -b", "+c"], Some(Code::InvalidAction)),
    ] {
        let texts = commits.map(text);
        let error = Run::from_commits(&texts).err().map(|it| it.code());
        assert_eq!(error, expected, "{commits:?}");
    }
}

/// The list that the fold gives, newest first.
fn replayed(history: &[String]) -> FileList {
    use crate::replay::{Replay, tests::head_actions};
    let mut replay = Replay::new(crate::version::Version::ZERO, Width::Wide);
    for commit in history.iter().rev() {
        replay.feed(batch(commit)).unwrap();
    }
    replay.feed(LogBatch::from_actions(&head_actions()).unwrap()).unwrap();
    replay.finish().unwrap().files
}
