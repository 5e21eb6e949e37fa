//! The sorted and marked ways against the plain ones.

use proptest::prelude::*;

use super::*;
use crate::batch::LogBatch;
use crate::files::tests::actions;

/// Adds of these paths; the number after `:` is a vector.
fn keys_of(paths: &[String]) -> Keys {
    let text: String = paths.iter().map(|it| format!("+{it} ")).collect();
    let adds: Vec<_> = actions(&text).iter().map(|it| vec![it.clone()]).collect();
    let batches = adds.iter().map(|it| LogBatch::from_actions(it).unwrap().adds.unwrap());
    let batches: Vec<_> = batches.map(|it| it.batch().clone()).collect();
    let schema = Adds::schema(crate::batch::Width::Wide);
    let all = arrow_select::concat::concat_batches(&schema, &batches).unwrap();
    Keys::of_adds(&Adds::new(all).unwrap())
}

/// Many rows that contradict nothing.
fn others(rows: usize) -> Keys {
    let path = StringArray::from_iter_values((0..rows).map(|it| format!("other/{it}")));
    Keys { path, vectors: None }
}

/// Do two rows contradict each other?
fn contradict(a: (&Keys, bool, u32), b: (&Keys, bool, u32)) -> bool {
    let paths = a.0.path(a.2) == b.0.path(b.2);
    paths && ((a.1 && b.1) || a.0.vector(a.2) == b.0.vector(b.2))
}

fn source() -> impl Strategy<Value = (bool, Vec<String>)> {
    let key =
        (0u8..40, prop_oneof![2 => Just(0u8), 1 => 1u8..3]).prop_map(
            |(path, vector)| match vector {
                0 => format!("p{path}"),
                it => format!("p{path}:{it}"),
            },
        );
    (any::<bool>(), proptest::collection::vec(key, 1..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the buckets, whatever collides: a contradiction is found if any pair is one, and
    /// what is found is part of one.
    ///
    /// spec: RECON-17
    #[test]
    fn contradictions_are_those_of_pairs(
        parts in proptest::collection::vec(source(), 1..5),
        // How much of the hash is left: little of it makes everything collide.
        mask in prop_oneof![Just(u64::MAX), Just(0xc000_0000_0000_0000), Just(0)],
        pad in prop_oneof![Just(0usize), Just(3_000), Just(20_000)],
        dead in 0usize..20,
    ) {
        let mut all: Vec<(Keys, bool, u64)> =
            parts.iter().map(|(is_add, it)| (keys_of(it), *is_add, mask)).collect();
        // Their hashes are their own, or each comparison would be one with all.
        all.push((others(pad), true, u64::MAX));
        let index = |(keys, is_add, mask): &(Keys, bool, u64)| {
            let hashes: Vec<u64> = keys.path_hashes().iter().map(|it| it & mask).collect();
            (Index::new(keys.clone(), &hashes), *is_add)
        };
        let indexes: Vec<_> = all.iter().map(index).collect();
        let sources: Vec<_> =
            indexes.iter().map(|(index, is_add)| Source { index, is_add: *is_add }).collect();
        let counts = |source: usize, row: u32| (source + row as usize) % 20 != dead;

        let rows = |source: usize| (0..parts[source].1.len() as u32).map(move |row| (source, row));
        let rows: Vec<_> =
            (0..parts.len()).flat_map(rows).filter(|(source, row)| counts(*source, *row)).collect();
        let at = |(source, row): (usize, u32)| (&all[source].0, all[source].1, row);
        let is_bad = |one: (usize, u32)| {
            rows.iter().any(|it| *it != one && contradict(at(*it), at(one)))
        };
        match contradiction(&sources, counts) {
            Some(found) => prop_assert!(is_bad(found), "{:?}", found),
            None => prop_assert!(!rows.iter().any(|it| is_bad(*it))),
        }
    }

    /// Sorting by bytes is sorting, and keeps rows of one hash in order.
    #[test]
    fn sorted_by_bytes(
        hashes in proptest::collection::vec(any::<u32>(), 0..3_000),
        mask in prop_oneof![Just(u32::MAX), Just(0xff), Just(0xff00_0000)],
    ) {
        let pack = |(row, hash): (usize, &u32)| u64::from(hash & mask) << 32 | row as u64;
        let entries: Vec<u64> = hashes.iter().enumerate().map(pack).collect();
        let mut expected = entries.clone();
        expected.sort_unstable();
        prop_assert_eq!(sorted_by_hash(entries), expected);
    }
}

/// spec: RECON-10
#[test]
fn hashes_are_those_of_canonical_paths() {
    let plain =
        ["a/b", "file:///x/y", "FILE:///x/y", "/rooted", "/x/y", "f", "files/x", "s3://b/x"];
    let escaped = ["a%20b", "a b", "%61/b", "a%zz", "/a%20b", "file:///x%2Fy"];
    let check = |path: StringArray| {
        let keys = Keys { path, vectors: None };
        let expected: Vec<u64> = keys.rows().map(|row| hash(&keys.path(row))).collect();
        assert_eq!(keys.path_hashes(), expected, "{:?}", keys.path);
    };
    let all = || plain.iter().chain(&escaped);
    check(StringArray::from_iter_values(plain));
    check(StringArray::from_iter_values(all()));
    // A slice does not look at what stands beside it, and misses nothing in it.
    for start in 0..all().count() {
        check(StringArray::from_iter_values(all()).slice(start, all().count() - start));
        check(StringArray::from_iter_values(all()).slice(0, start));
    }
}
