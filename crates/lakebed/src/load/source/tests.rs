//! Pages in memory that is used again, and what is said when they cannot be had.

use std::io::Read;

use lakebed_log::batch::{FileUnit, Footer, LogBatch, Width, parquet_footer};
use lakebed_log::checkpoint::render;
use lakebed_log::error::Code;
use lakebed_log::replay::Replay;
use lakebed_log::time::Timestamp;
use lakebed_log::version::Version;
use proptest::prelude::*;

use super::*;

/// A disk that fails to give what lies at `bad` or after.
#[derive(Debug)]
struct Disk {
    bytes: Bytes,
    bad: usize,
}

impl Near for Disk {
    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes.into())
    }

    fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let at = usize::try_from(at).unwrap();
        let end = at + bytes.len();
        if self.bad < end {
            return Err(Error::new(Code::ShortRead, "the disk gave less"));
        }
        bytes.copy_from_slice(&self.bytes[at..end]);
        Ok(())
    }

    fn expect(&self, _: &[Range<u64>]) {}
}

fn near_file(bytes: Bytes, bad: usize) -> NearFile {
    let size = bytes.len() as u64;
    let near = Arc::new(Disk { bytes, bad });
    NearFile { near, size, kept: Arc::default(), fault: Arc::default() }
}

/// Bytes of which no two neighbourhoods are alike.
fn noise(length: usize) -> Bytes {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect::<Vec<u8>>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A page that somebody still holds never changes, whatever is read after it.
    #[test]
    fn pages_that_are_held_stay(
        reads in proptest::collection::vec(
            (0usize..900_000, 0usize..700_000, any::<bool>()),
            1..30,
        ),
    ) {
        let bytes = noise(1 << 20);
        let file = Reader::Near(near_file(bytes.clone(), usize::MAX));
        let mut held = Vec::new();
        for (start, length, holds) in reads {
            let end = (start + length).min(bytes.len());
            let page = file.get_bytes(start as u64, end - start).unwrap();
            prop_assert!(page == bytes[start..end]);
            if holds {
                held.push((start..end, page));
            } else {
                held.truncate(3);
            }
        }
        prop_assert!(held.iter().all(|(range, page)| *page == bytes[range.clone()]));
    }
}

#[test]
fn headers_are_read_on_to_the_end() {
    let bytes = noise(3_000);
    let file = Reader::Near(near_file(bytes.clone(), usize::MAX));
    for start in [0, 1, 1_023, 2_999, 3_000, 4_000] {
        let mut rest = Vec::new();
        file.get_read(start as u64).unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[start.min(3_000)..], "{start}");
    }
}

/// A file that says it goes on past its end is broken; a disk that fails is another matter.
#[test]
fn what_cannot_be_had() {
    let near = near_file(noise(1_000), 500);
    let file = Reader::Near(near.clone());
    assert!(file.get_bytes(400, 100).is_ok());
    for (start, length) in [(900, 101), (u64::MAX, 1), (0, usize::MAX)] {
        assert!(file.get_bytes(start, length).is_err());
    }
    assert!(near.fault().is_none());
    assert!(file.get_bytes(450, 100).is_err());
    assert_eq!(near.fault().map(|it| it.code()), Some(Code::ShortRead));
    assert!(near.fault().is_none());
    assert!(file.get_read(499).unwrap().read(&mut [0; 10]).is_err());
    assert_eq!(near.fault().map(|it| it.code()), Some(Code::ShortRead));
}

/// From near and from far the same file actions come, more than are decoded at a time.
#[test]
fn near_and_far_are_alike() {
    const HEAD: &str = concat!(
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
        "\n",
        r#"{"metaData":{"id":"t","format":{"provider":"parquet","options":{}},"#,
        r#""schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"long\","#,
        r#"\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}"#,
        "\n"
    );
    let line = |it: u32| match it % 5 {
        0 => {
            format!(r#"{{"remove":{{"path":"{it}","dataChange":true,"deletionTimestamp":{it}}}}}"#)
        }
        _ => format!(
            "{{\"add\":{{\"path\":\"{it:x}/{it}\",\"partitionValues\":{{}},\"size\":{it},\
             \"modificationTime\":1,\"dataChange\":true,\
             \"stats\":\"{{\\\"numRecords\\\":{it}}}\"}}}}"
        ),
    };
    let commit: String = (0..25_000).map(|it| line(it) + "\n").collect();
    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    let batch = LogBatch::from_json((HEAD.to_string() + &commit).as_bytes(), Width::Wide).unwrap();
    replay.feed(batch).unwrap();
    let state = replay.finish().unwrap();
    let bytes = render(&state, Timestamp::from_millis(0)).unwrap().bytes;
    let size = bytes.len() as u64;
    let Footer::Ready(footer) = parquet_footer(&bytes, size).unwrap() else { panic!("no footer") };
    for width in [Width::Narrow, Width::Wide] {
        let (mut adds, mut removes) = (0, 0);
        for unit in FileUnit::of(&footer, width) {
            let mut sparse = SparseFile::new(size);
            sparse.insert(0, bytes.clone());
            let far = unit.decode(Reader::Sparse(sparse), &footer).unwrap();
            let near = near_file(bytes.clone(), usize::MAX);
            let near = unit.decode(Reader::Near(near), &footer).unwrap();
            for batch in [&far, &near] {
                adds += batch.adds.as_ref().map_or(0, |it| it.len());
                removes += batch.removes.as_ref().map_or(0, |it| it.len());
            }
            let columns = |it: &LogBatch| it.adds.as_ref().map(|it| it.batch().clone());
            assert!(columns(&near) == columns(&far));
            let columns = |it: &LogBatch| it.removes.as_ref().map(|it| it.batch().clone());
            assert!(columns(&near) == columns(&far));
        }
        assert_eq!((adds, removes), (2 * 20_000, 2 * 5_000), "{width:?}");
    }
}
