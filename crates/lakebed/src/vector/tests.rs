//! Vectors in files, asked for in the order of a plan.

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::join_all;
use lakebed_log::row_set::frame;
use lakebed_log::z85;

use super::*;

/// A store with files of vectors, and the vectors.
struct Bed {
    env: Env,
    store: Store,
    vectors: Vec<DeletionVector>,
}

impl Bed {
    fn new() -> Bed {
        let env = Env::tokio();
        let store = env.open(&format!("memory://{}", env.id())).unwrap();
        Bed { env, store, vectors: Vec::new() }
    }

    /// One file of vectors, `pad` bytes before each.
    fn file(&mut self, name: u32, sets: &[RowSet], pad: usize) {
        let id = z85::encode(&[[0; 12].as_slice(), &name.to_be_bytes()].concat());
        let mut bytes = vec![FILE_VERSION];
        for set in sets {
            bytes.resize(bytes.len() + pad, 0);
            let payload = set.to_bytes();
            self.vectors.push(DeletionVector {
                storage_type: "u".to_string(),
                path_or_inline_dv: id.clone(),
                offset: Some(i32::try_from(bytes.len()).unwrap()),
                size_in_bytes: i32::try_from(payload.len()).unwrap(),
                cardinality: i64::try_from(set.len()).unwrap(),
            });
            bytes.extend(frame(&payload).unwrap());
        }
        self.put(&key(name), bytes);
    }

    fn put(&self, key: &str, bytes: Vec<u8>) {
        block_on(self.store.put(&Op::default(), key, Bytes::from(bytes))).unwrap();
    }

    fn expecting(&self, op: &Op) -> Vectors {
        let (vectors, roots) = (self.vectors.clone(), Roots::new(&self.env, &self.store).unwrap());
        let at = move |at: usize| vectors.get(at).cloned();
        Vectors::new(&self.env, op, &roots).expecting(self.vectors.len(), at)
    }

    fn code(&self, vector: &DeletionVector) -> Code {
        block_on(rows(&self.env, &Op::default(), &self.store, vector)).unwrap_err().code()
    }
}

fn key(name: u32) -> String {
    format!("deletion_vector_00000000-0000-0000-0000-{name:012x}.bin")
}

/// Row `at` and a few behind it.
fn set(at: u64) -> RowSet {
    (at..at + 1 + at % 7).collect()
}

fn sets(rows: impl Iterator<Item = u64>) -> Vec<RowSet> {
    rows.map(set).collect()
}

/// Whatever the order of asking, one request a file, and everybody gets their own.
///
/// spec: DV-13, DV-17
#[test]
fn one_request_a_file() {
    let mut bed = Bed::new();
    bed.file(1, &sets(0..100), 0);
    bed.file(2, &sets(100..150), 10);
    // Tasks ask for files in turn.
    let order: Vec<usize> = (0..50).flat_map(|it| [it, 100 + it, 50 + it]).collect();
    bed.vectors = order.iter().map(|it| bed.vectors[*it].clone()).collect();
    let op = Op::default();
    let vectors = bed.expecting(&op);
    assert_eq!(op.usage().gets, 0);
    let asked = order.iter().enumerate().rev().map(|(at, number)| {
        let (vectors, vector) = (vectors.clone(), &bed.vectors[at]);
        async move {
            let got = vectors.get(at, vector, &Turn::default()).await.unwrap();
            assert_eq!(*got, set(*number as u64));
        }
    });
    block_on(join_all(asked));
    assert_eq!(op.usage().gets, 2);
    assert!(vectors.0.windows().open.is_empty());
}

/// Nothing is fetched for a window before its first task asks, and a file that nobody asks for
/// never is.
///
/// spec: DV-17
#[test]
fn no_more_than_the_next_ones() {
    let mut bed = Bed::new();
    let large: RowSet = (0..100_000).map(|it| it * 64).collect();
    let files = 30;
    (0..files).for_each(|name| bed.file(name, std::slice::from_ref(&large), 0));
    let size = u64::try_from(bed.vectors[0].size_in_bytes).unwrap();
    assert!(100_000 < size && size < SMALL_BYTES, "{size}");
    let op = Op::default();
    let vectors = bed.expecting(&op);
    for at in 0..files as usize {
        block_on(vectors.get(at, &bed.vectors[at], &Turn::default())).unwrap();
        assert_eq!(op.usage().gets, at as u64 + 1);
        let seen = vectors.0.windows().seen as u64 * size;
        let most = (FIRST_BYTES + at as u64 * size).min(WINDOW_BYTES);
        assert!(seen <= at as u64 * size + most + size, "{at}: {seen}");
    }
    assert_eq!(vectors.0.windows().next, WINDOW_BYTES);
}

/// Vectors far apart are fetched by themselves: what lies between is not read. The version of the
/// file is looked at once.
///
/// spec: DV-15, DV-17
#[test]
fn far_apart() {
    let mut bed = Bed::new();
    bed.file(1, &sets(0..3), 200 << 10);
    let op = Op::default();
    let vectors = bed.expecting(&op);
    for at in 0..3 {
        let got = block_on(vectors.get(at, &bed.vectors[at], &Turn::default())).unwrap();
        assert_eq!(*got, set(at as u64));
    }
    assert_eq!(op.usage().gets, 4);
    assert!(op.usage().bytes_read < 1000, "{}", op.usage().bytes_read);
}

/// Vectors are copied out of what was fetched where they are the lesser part of it.
#[test]
fn frames_far_apart() {
    let check = |first: bool, frames: &[Range<u64>], expected: bool| {
        let unit = Unit::new("a".to_string(), first, frames.to_vec());
        assert_eq!(unit.is_sparse(), expected, "{first} {frames:?}");
    };
    check(false, &[], false);
    check(false, &[500..600], false);
    check(true, &[50..150], false);
    check(true, &[500..600], true);
    check(false, &[0..100, 100..200], false);
    check(false, &[0..100, 300..400], false);
    check(false, &[0..100, 301..400], true);
    // What is there twice is held once.
    check(false, &[0..100, 0..100, 50..100, 900..950], true);
}

/// A large vector takes its memory from the budget while it is fetched and decoded, and waits for
/// its turn to do so. Then whoever has the rows pays for them: he may need more, and must not wait
/// for that while he holds some.
#[test]
fn large_ones_pay() {
    let mut bed = Bed::new();
    let large: RowSet = (0..1_000_000).map(|it| it * 64).collect();
    bed.file(1, &[large.clone(), large], 0);
    bed.env = bed.env.with_budget(128 << 20);
    let op = Op::default();
    let vectors = bed.expecting(&op);
    let [first, second] = Turn::line().take(2).collect::<Vec<_>>().try_into().unwrap();
    let mut waits = Box::pin(vectors.get(1, &bed.vectors[1], &second));
    assert!(futures::FutureExt::now_or_never(&mut waits).is_none());
    assert_eq!((op.usage().gets, bed.env.budget().used()), (0, 0));
    let others = block_on(bed.env.budget().acquire(bed.env.budget().total())).unwrap();
    let mut pays = Box::pin(vectors.get(0, &bed.vectors[0], &first));
    assert!(futures::FutureExt::now_or_never(&mut pays).is_none());
    assert_eq!(op.usage().gets, 0);
    drop(others);
    let held = block_on(pays).unwrap();
    first.pass();
    let more = block_on(waits).unwrap();
    assert_eq!((held.len(), more.len(), bed.env.budget().used()), (1_000_000, 1_000_000, 0));
    assert!(SMALL_BYTES < more.heap_bytes(), "{}", more.heap_bytes());

    bed.env = bed.env.with_budget(1 << 20);
    let small = bed.expecting(&op);
    let err = block_on(small.get(0, &bed.vectors[0], &Turn::default())).unwrap_err();
    assert_eq!(err.code(), Code::MemoryExceeded);
}

/// spec: DV-2, DV-12, DV-13, DV-14, DV-15, DV-16
#[test]
fn files_that_do_not_hold_it() {
    let mut bed = Bed::new();
    bed.file(1, &sets(5..7), 0);
    let good = bed.vectors[1].clone();
    let with = |change: fn(&mut DeletionVector)| {
        let mut vector = good.clone();
        change(&mut vector);
        vector
    };
    assert_eq!(bed.code(&with(|it| it.offset = None)), Code::CorruptDv);
    assert_eq!(bed.code(&with(|it| it.offset = Some(2))), Code::CorruptDv);
    assert_eq!(bed.code(&with(|it| it.offset = Some(i32::MAX))), Code::CorruptDv);
    assert_eq!(bed.code(&with(|it| it.size_in_bytes += 1)), Code::CorruptDv);
    assert_eq!(bed.code(&with(|it| it.size_in_bytes = i32::MAX)), Code::CorruptDv);
    assert_eq!(bed.code(&with(|it| it.cardinality += 1)), Code::CorruptDv);
    assert_eq!(
        bed.code(&with(|it| it.path_or_inline_dv.replace_range(..1, "1"))),
        Code::MissingFile
    );
    let absolute = with(|it| {
        it.storage_type = "p".to_string();
        it.path_or_inline_dv = "file:///elsewhere/x.bin".to_string();
    });
    assert_eq!(bed.code(&absolute), Code::PathEscape);
    let inside = DeletionVector {
        storage_type: "p".to_string(),
        path_or_inline_dv: format!("{}/{}", bed.store.root(), key(1)),
        ..good.clone()
    };
    let read = |vector| block_on(rows(&bed.env, &Op::default(), &bed.store, vector));
    assert_eq!(*read(&inside).unwrap(), set(6));
    assert_eq!(*read(&good).unwrap(), set(6));

    let bytes = block_on(bed.store.get(&Op::default(), &key(1), 1 << 20)).unwrap();
    let mut other = bytes.to_vec();
    other[0] = 2;
    bed.put(&key(1), other);
    assert_eq!(bed.code(&good), Code::CorruptDv);
    bed.put(&key(1), bytes[..bytes.len() - 1].to_vec());
    assert_eq!(bed.code(&good), Code::CorruptDv);
    bed.put(&key(1), Vec::new());
    assert_eq!(bed.code(&good), Code::CorruptDv);
}
