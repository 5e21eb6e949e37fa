//! What every store must do, run on memory and on the local disk.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use futures::executor::block_on;
use object_store::memory::InMemory;
use proptest::prelude::*;
use tempfile::TempDir;

use super::ranges::GAP_BYTES;
use super::*;
use crate::env::Env;
use crate::op::Usage;

const LOG: &str = "_delta_log/00000000000000000000.json";

/// Runs a test on each kind of store.
fn each(test: impl Fn(&str, &Store)) {
    let env = Env::tokio();
    for root in ["", "some/root"] {
        let store = Store::object(&env, Arc::new(InMemory::new()), root, "memory://t");
        test("memory", &store);
    }
    let folder = TempDir::new().unwrap();
    test("local", &local(&folder.path().join("not/there/yet")));
    assert_eq!(files(folder.path()).iter().filter(|it| it.ends_with(".tmp")).count(), 0);
}

fn local(root: &Path) -> Store {
    Store::local(&Env::tokio(), root, root.to_str().unwrap())
}

/// All files below a folder, by their path from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let path = entry.path();
                    found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_string());
                }
            }
        }
    }
    found.sort();
    found
}

fn put(store: &Store, key: &str, text: &str) {
    let put = block_on(store.put_if_absent(&Op::default(), key, text.to_string().into()));
    assert!(matches!(put, Ok(Put::Created(_))), "{key}: {put:?}");
}

fn get(store: &Store, key: &str) -> String {
    match block_on(store.get(&Op::default(), key, 1 << 30)) {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Err(err) => err.code().as_str().to_string(),
    }
}

fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let listed = block_on(store.list(&Op::default(), prefix, after)).unwrap();
    listed.into_iter().map(|it| it.key).collect()
}

fn code<T: fmt::Debug>(result: Result<T>) -> &'static str {
    result.unwrap_err().code().as_str()
}

/// Of many who create the same object at once, one is told that it did, and its bytes are there.
///
/// spec: TXN-20
#[test]
fn one_creates() {
    const THREADS: usize = 16;
    const ROUNDS: usize = 200;
    each(|kind, store| {
        let barrier = Barrier::new(THREADS);
        let run = |thread: usize| {
            let mut won = Vec::new();
            for round in 0..ROUNDS {
                barrier.wait();
                let (key, text) = (format!("_delta_log/{round}.json"), format!("{thread}"));
                match block_on(store.put_if_absent(&Op::default(), &key, text.into())).unwrap() {
                    Put::Created(_) => won.push(round),
                    Put::Exists => {}
                    Put::Unknown(err) => panic!("{err:?}"),
                }
            }
            won
        };
        let won: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|it| scope.spawn(move || run(it))).collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(won.iter().flatten().count(), ROUNDS, "{kind}");
        for (thread, rounds) in won.iter().enumerate() {
            for round in rounds {
                let text = get(store, &format!("_delta_log/{round}.json"));
                assert_eq!(text, thread.to_string(), "{kind}");
            }
        }
    });
}

#[test]
fn whole_objects() {
    each(|kind, store| {
        let op = Op::default();
        assert_eq!(get(store, LOG), "file-not-found", "{kind}");
        put(store, LOG, "one");
        let again = block_on(store.put_if_absent(&op, LOG, "two".into())).unwrap();
        assert!(matches!(again, Put::Exists));
        assert_eq!(get(store, LOG), "one", "{kind}");
        assert_eq!(block_on(store.get(&op, LOG, 3)).unwrap(), "one");
        assert_eq!(code(block_on(store.get(&op, LOG, 2))), "limit-exceeded");

        assert!(block_on(store.put_new(&op, "a.crc", "one".into())).unwrap());
        assert!(!block_on(store.put_new(&op, "a.crc", "two".into())).unwrap());
        assert_eq!(get(store, "a.crc"), "one");
        for text in ["one", "longer", "", "two"] {
            block_on(store.put(&op, "hint", text.into())).unwrap();
            assert_eq!(get(store, "hint"), text);
        }

        let head = block_on(store.head(&op, "hint")).unwrap();
        assert_eq!((head.key.as_str(), head.size), ("hint", 3));
        let listed = block_on(store.list(&op, "", None)).unwrap();
        assert_eq!(listed.last(), Some(&head), "{kind}");
        assert!(Timestamp::from_millis(1_700_000_000_000) < head.modified);

        block_on(store.delete(&op, "hint")).unwrap();
        block_on(store.delete(&op, "hint")).unwrap();
        block_on(store.delete(&op, "no/folder/hint")).unwrap();
        assert_eq!(code(block_on(store.head(&op, "hint"))), "file-not-found");
        assert_eq!(code(block_on(store.head(&op, "no/folder/hint"))), "file-not-found");
    });
}

/// An object that was replaced by another of the same size has another tag.
#[test]
fn tags_tell_replaced_objects() {
    each(|kind, store| {
        let op = Op::default();
        let tag = |text: &'static str| {
            block_on(store.put(&op, "hint", text.into())).unwrap();
            block_on(store.head(&op, "hint")).unwrap().etag
        };
        assert_ne!(tag("a"), tag("b"), "{kind}");
    });
}

#[test]
fn listings() {
    each(|kind, store| {
        assert_eq!(keys(store, "_delta_log/", None), [""; 0], "{kind}");
        assert_eq!(keys(store, "", None), [""; 0], "{kind}");
        for name in ["b", "a", "B", "c", "a-", "sub/x", "10", "9"] {
            put(store, &format!("_delta_log/{name}"), name);
        }
        put(store, "_delta_log2/x", "");
        put(store, "x", "");
        let all = ["10", "9", "B", "a", "a-", "b", "c"].map(|it| format!("_delta_log/{it}"));
        assert_eq!(keys(store, "_delta_log/", None), all, "{kind}");
        let after = |it| keys(store, "_delta_log/", Some(it)).len();
        assert_eq!(after("_delta_log/10"), 6, "{kind}");
        assert_eq!(after("_delta_log/a"), 3);
        assert_eq!(after("_delta_log/aa"), 2);
        assert_eq!(after("_delta_log/c"), 0);
        assert_eq!(after("_"), 7);
        assert_eq!(keys(store, "_delta_log/sub/", None), ["_delta_log/sub/x"]);
        assert_eq!(keys(store, "", None), ["x"]);
        // An object is no folder.
        assert_eq!(keys(store, "x/", None), [""; 0]);
    });
}

#[test]
fn many_objects() {
    each(|kind, store| {
        let mut keys: Vec<String> = (0..150).map(|it| format!("_delta_log/{it}")).collect();
        keys.iter().for_each(|it| put(store, it, it));
        keys.insert(70, "_delta_log/missing".to_string());
        put(store, "_delta_log/large", &"x".repeat(100));
        keys.push("_delta_log/large".to_string());

        let op = Op::default();
        let got = block_on(store.get_many(&op, &keys, 99));
        assert_eq!(got.len(), 152);
        for (key, got) in keys.iter().zip(got) {
            match key.as_str() {
                "_delta_log/missing" => assert_eq!(code(got), "file-not-found"),
                "_delta_log/large" => assert_eq!(code(got), "limit-exceeded"),
                _ => assert_eq!(got.unwrap(), key.as_bytes(), "{kind}"),
            }
        }
        assert_eq!(op.usage().gets, 152, "{kind}");

        let bad = ["_delta_log/1".to_string(), "../x".to_string()];
        let got = block_on(store.get_many(&op, &bad, 99));
        let [Ok(_), Err(err)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(err.code(), Code::PathEscape);
    });
}

/// Neighbours are one request, far ranges are two; the bytes are as asked for, in the order of
/// asking.
#[test]
fn ranges() {
    each(|kind, store| {
        let text: String = ('a'..='z').cycle().take(300_000).collect();
        put(store, "data", &text);
        let check = |ranges: &[Range<u64>], gets: u64| {
            let op = Op::default();
            let got = block_on(store.get_ranges(&op, "data", ranges)).unwrap();
            assert_eq!(got.len(), ranges.len());
            for (range, got) in ranges.iter().zip(got) {
                let range =
                    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                assert_eq!(got, text[range], "{kind}");
            }
            assert_eq!(op.usage().gets, gets, "{kind}: {ranges:?}");
        };
        check(&[], 0);
        check(&[5..5], 0);
        check(&[0..1], 1);
        check(&[0..300_000], 1);
        check(&[299_999..300_000, 0..3, 26..29], 2);
        check(&[10..20, 15..30, 0..300, 12..13], 1);
        check(&[0..10, 100_000..100_010, 200_000..200_010], 3);

        let op = Op::default();
        assert_eq!(block_on(store.get_range(&op, "data", 1..4)).unwrap(), "bcd");
        for range in [299_999..300_001, 300_000..300_001, 400_000..400_010] {
            assert_eq!(code(block_on(store.get_range(&op, "data", range))), "short-read", "{kind}");
        }
        assert_eq!(code(block_on(store.get_range(&op, "none", 0..1))), "file-not-found");
    });
}

proptest! {
    /// Whatever ranges are asked for, joined ranges are sorted, apart, and hold each of them.
    #[test]
    fn joined_ranges_hold_all(
        ranges in prop::collection::vec((0..400_000u64, 0..100_000u64), 0..20),
    ) {
        let ranges: Vec<Range<u64>> = ranges.into_iter().map(|(at, len)| at..at + len).collect();
        let joined = join_ranges(&ranges);
        for pair in joined.windows(2) {
            prop_assert!(pair[0].end + GAP_BYTES < pair[1].start);
        }
        let byte = |at: u64| u8::try_from(at % 251).unwrap();
        let got: Vec<Bytes> = joined.iter().map(|it| it.clone().map(byte).collect()).collect();
        for range in ranges {
            let expected: Vec<u8> = range.clone().map(byte).collect();
            prop_assert_eq!(cut(&joined, &got, &range).unwrap(), expected);
        }
    }
}

/// Pieces of any size make one object; it is there when finished and gone when not.
#[test]
fn uploads() {
    each(|kind, store| {
        let op = Op::default();
        for (piece, count) in [(0, 0), (1, 1), (1000, 3), (700_000, 5), (3 << 20, 7)] {
            let key = format!("day=1/part-{piece}");
            let mut upload = block_on(store.create(&op, &key)).unwrap();
            let mut expected = Vec::new();
            for at in 0..count {
                let bytes = vec![at; piece];
                expected.extend_from_slice(&bytes);
                block_on(upload.write(bytes.into())).unwrap();
            }
            assert_eq!(block_on(upload.finish()).unwrap(), expected.len() as u64);
            let got = block_on(store.get(&op, &key, 1 << 30)).unwrap();
            assert!(got == expected, "{kind}: {count} pieces of {piece}");
        }
        for (piece, abort) in [(10, true), (10, false), (9 << 20, true), (9 << 20, false)] {
            let mut upload = block_on(store.create(&op, "day=2/part")).unwrap();
            block_on(upload.write(vec![0; piece].into())).unwrap();
            match abort {
                true => block_on(upload.abort()),
                false => drop(upload),
            }
            let gone = || keys(store, "day=2/", None).is_empty();
            assert!(eventually(gone), "{kind}: {piece} bytes, abort {abort}");
        }
        let mut upload = block_on(store.create(&op, "day=2/part")).unwrap();
        block_on(upload.write(vec![0; 2 << 20].into())).unwrap();
        drop(upload.finish());
        assert!(eventually(|| keys(store, "day=2/", None).is_empty()), "{kind}");
    });
}

fn eventually(mut what: impl FnMut() -> bool) -> bool {
    (0..500).any(|_| {
        let done = what();
        if !done {
            block_on(Env::tokio().sleep(Duration::from_millis(10)));
        }
        done
    })
}

/// A small upload is one request, counted with its bytes.
#[test]
fn requests_are_counted() {
    each(|kind, store| {
        let op = Op::default();
        let mut upload = block_on(store.create(&op, "x")).unwrap();
        block_on(upload.write("hello".into())).unwrap();
        block_on(upload.finish()).unwrap();
        block_on(store.get(&op, "x", 10)).unwrap();
        block_on(store.get_range(&op, "x", 1..3)).unwrap();
        block_on(store.list(&op, "", None)).unwrap();
        block_on(store.list(&op, "", Some("a"))).unwrap();
        block_on(store.head(&op, "x")).unwrap();
        block_on(store.put_if_absent(&op, LOG, "1".into())).unwrap();
        block_on(store.put_new(&op, "n", "1".into())).unwrap();
        block_on(store.put(&op, "p", "1".into())).unwrap();
        block_on(store.delete(&op, "x")).unwrap();
        let expected = Usage {
            lists: 2,
            gets: 2,
            heads: 1,
            puts: 4,
            deletes: 1,
            bytes_read: 7,
            bytes_written: 8,
            ..Usage::default()
        };
        assert_eq!(op.usage(), expected, "{kind}");
    });
}

/// A key is the name as it is: nothing is decoded, encoded or joined again.
#[test]
fn odd_keys() {
    let odd = [
        "a b",
        "a%20b",
        "a%2Fb",
        "100%",
        "a+b",
        "a#b?c=d",
        "\u{e4}\u{1f30a}",
        "a~[]{}^|\"<>`\\b",
        "day=2024-01-01 10%3A00/part",
        ".hidden",
        "..a",
        "a..",
    ];
    each(|kind, store| {
        for key in odd {
            put(store, key, key);
        }
        for key in odd {
            assert_eq!(get(store, key), key, "{kind}");
        }
        let mut expected: Vec<_> = odd.into_iter().filter(|it| !it.contains('/')).collect();
        expected.sort_unstable();
        assert_eq!(keys(store, "", None), expected, "{kind}");
    });
}

/// No request is made for a key that is none.
#[test]
fn bad_keys() {
    each(|kind, store| {
        let rows = [
            ("../x", "path-escape"),
            ("a/../../x", "path-escape"),
            ("a/..", "path-escape"),
            ("", "invalid-path"),
            ("/etc/passwd", "invalid-path"),
            ("a//b", "invalid-path"),
            ("a/", "invalid-path"),
            ("./a", "invalid-path"),
            ("a/./b", "invalid-path"),
            ("a\0b", "invalid-path"),
        ];
        for (key, expected) in rows {
            let op = Op::default();
            let bytes = Bytes::new;
            let codes = [
                code(block_on(store.get(&op, key, 1))),
                code(block_on(store.get_range(&op, key, 0..1))),
                code(block_on(store.head(&op, key))),
                code(block_on(store.put_if_absent(&op, key, bytes()))),
                code(block_on(store.put_new(&op, key, bytes()))),
                code(block_on(store.put(&op, key, bytes()))),
                code(block_on(store.create(&op, key)).map(|_| ())),
                code(block_on(store.delete(&op, key))),
            ];
            assert_eq!(codes, [expected; 8], "{kind}: {key:?}");
            assert_eq!(op.usage(), Usage::default(), "{kind}: {key:?}");
        }
        assert_eq!(code(block_on(store.list(&Op::default(), "../", None))), "path-escape");
    });
}

/// Errors say where, in the words the location was given in.
#[test]
fn errors_name_the_object() {
    each(|kind, store| {
        let err = block_on(store.get(&Op::default(), LOG, 1)).unwrap_err();
        let place = format!("{}/{LOG}: there is no such", store.location());
        assert!(err.to_string().starts_with(&place), "{kind}: {err}");
    });
}

#[test]
fn secrets_are_left_out() {
    let rows = [
        ("plain text, with (words) and 3 > 2?", "plain text, with (words) and 3 > 2?"),
        ("s3://bucket/a b", "s3://bucket/a b"),
        ("s3://key:secret@bucket/t", "s3://bucket/t"),
        ("s3://key:sec/r#e?t@bucket/t", "s3://bucket/t"),
        ("abfss://files@account/t", "abfss://files@account/t"),
        ("abfss://files:secret@account/t", "abfss://account/t"),
        ("see https://h/p?X-Amz-Signature=secret, then", "see https://h/p then"),
        ("url \"https://h/p?sig=secret\" failed", "url \"https://h/p\" failed"),
        ("https://h/p#secret", "https://h/p"),
        ("GET /p?sig=a,b=secret", "GET /p"),
        ("https://h:8080/p", "https://h:8080/p"),
        ("", ""),
        ("://", "://"),
        ("a://b://c@d?e=f", "a://d"),
    ];
    for (text, expected) in rows {
        assert_eq!(redact(text), expected, "{text}");
    }
}
