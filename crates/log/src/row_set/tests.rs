//! Round trips, golden bytes, and bytes that are no vector.

use proptest::prelude::*;

use super::*;

fn set(rows: &[u64]) -> RowSet {
    rows.iter().copied().collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Rows of a payload, or the error.
#[track_caller]
fn check(hex: &str, cardinality: u64, expected: &str) {
    let actual = match RowSet::from_bytes(&bytes(hex), cardinality) {
        Ok(rows) => format!("{:?}", rows.iter().collect::<Vec<_>>()),
        Err(error) => format!("{}: {error}", error.code().as_str()),
    };
    assert_eq!(actual, expected, "{hex}");
}

const MAGIC_LE: &str = "d1d33964";

/// The example that the protocol prints for inline vectors is not of this layout; these are bytes
/// that Spark wrote, and others by the format's own description.
///
/// spec: DV-6, DV-7, DV-8, DV-12
#[test]
fn golden() {
    let one = |rows: &str| {
        let count = rows.len() / 4;
        format!(
            "{MAGIC_LE} 0100000000000000 00000000 3a300000 01000000 0000{:02x}00 10000000 {rows}",
            count - 1
        )
    };
    // Row 1, as Spark has it in a file: size, payload, checksum.
    check(&one("0100"), 1, "[1]");
    check(
        &one("0300 0400 0700 0b00 1200 1d00".replace(' ', "").as_str()),
        6,
        "[3, 4, 7, 11, 18, 29]",
    );
    let rows = set(&[3, 4, 7, 11, 18, 29]);
    let golden = bytes(&one("030004000700 0b0012001d00".replace(' ', "").as_str()));
    assert_eq!(rows.to_bytes(), golden);
    // Two buckets: 5 and 2^32 + 6.
    let two = format!(
        "{MAGIC_LE} 0200000000000000 00000000 3a300000 01000000 00000000 10000000 0500 \
         01000000 3a300000 01000000 00000000 10000000 0600"
    );
    check(&two, 2, "[5, 4294967302]");
    // A run of 2 to 6 in its own container.
    let run = format!("{MAGIC_LE} 0100000000000000 00000000 3b300000 01 00000400 0100 02000400");
    check(&run, 5, "[2, 3, 4, 5, 6]");
    assert_eq!(RowSet::from_bytes(&bytes(&run), 5).unwrap(), set(&[2, 3, 4, 5, 6]));
    // None at all, and a bucket that is empty, as Spark writes for one in between.
    check(&format!("{MAGIC_LE} 0000000000000000"), 0, "[]");
    check(&format!("{MAGIC_LE} 0100000000000000 00000000 3a300000 00000000"), 0, "[]");
}

/// spec: DV-8, DV-9, DV-10, DV-11, DV-12
#[test]
fn bytes_that_are_no_vector() {
    let row = "3a300000 01000000 00000000 10000000 0100";
    let low = "corrupt-dv: the log says";
    check("", 0, "corrupt-dv: it ends within a number");
    check("d1d339", 0, "corrupt-dv: it ends within a number");
    check(MAGIC_LE, 0, "corrupt-dv: it ends within a number");
    check(
        &format!("d0d33964 0100000000000000 00000000 {row}"),
        1,
        "corrupt-dv: magic number 1681511376 is of a layout never released",
    );
    check("643939d1 00000000", 0, "corrupt-dv: magic number 3510188388, not 1681511377");
    check(
        &format!("{MAGIC_LE} 0100000000000000 00000000 {row} 00"),
        1,
        "corrupt-dv: 1 bytes follow the bitmap",
    );
    for said in [0, 2, 99, u64::MAX] {
        let expected = format!("{low} {said} rows, the bitmap has 1 or more");
        check(&format!("{MAGIC_LE} 0100000000000000 00000000 {row}"), said, &expected);
    }
    check(
        &format!("{MAGIC_LE} 0200000000000000 00000000 {row} 00000000 {row}"),
        2,
        "corrupt-dv: bucket 0 does not ascend",
    );
    check(
        &format!("{MAGIC_LE} 0100000000000000 00000080 {row}"),
        1,
        "corrupt-dv: bucket 2147483648 is past 63 bits of positions",
    );
    check(
        &format!("{MAGIC_LE} 0000000000000040 00000000 {row}"),
        1,
        "corrupt-dv: it ends within a number",
    );
    let unsound = [
        ("another cookie", "3c300000 01000000 00000000 10000000 0100"),
        (
            "containers do not ascend",
            "3a300000 02000000 01000000 00000000 18000000 1a000000 0100 0200",
        ),
        ("values do not ascend", "3a300000 01000000 00000100 10000000 0200 0100"),
        ("a value twice", "3a300000 01000000 00000100 10000000 0100 0100"),
        ("more containers than there are", "3a300000 00000100 00000000"),
        ("2^32 containers", "3a300000 ffffffff 00000000"),
        ("runs that overlap", "3b300000 01 00000400 0200 02000400 03000100"),
        ("a run past the container", "3b300000 01 00000400 0100 ffff0100"),
        ("no runs", "3b300000 01 00000400 0000"),
        ("a bitmap cut short", "3a300000 01000000 0000ffff 10000000 ffff"),
    ];
    for (what, bitmap) in unsound {
        let payload = bytes(&format!("{MAGIC_LE} 0100000000000000 00000000 {bitmap}"));
        let read = RowSet::from_bytes(&payload, u64::MAX);
        assert_eq!(read.unwrap_err().code(), Code::CorruptDv, "{what}");
    }
}

/// All rows of 32 bits in runs: a megabyte, and no more once it is read.
///
/// spec: DV-11
#[test]
fn runs_stay_runs() {
    let mut all = RowSet::new();
    all.insert_range(0..1 << 32);
    let payload = all.to_bytes();
    assert!(payload.len() < 1 << 20, "{}", payload.len());
    assert_eq!(RowSet::from_bytes(&payload, 1 << 32).unwrap().len(), 1 << 32);
    assert_eq!(RowSet::from_bytes(&payload, 3).unwrap_err().code(), Code::CorruptDv);
}

/// spec: DV-13, DV-14
#[test]
fn frames() {
    let payload = set(&[1]).to_bytes();
    let framed = frame(&payload).unwrap();
    assert_eq!(framed[..4], u32::try_from(payload.len()).unwrap().to_be_bytes());
    assert_eq!(framed[framed.len() - 4..], crc32(&payload).to_be_bytes());
    assert_eq!(unframe(&framed).unwrap(), payload);
    for at in 0..framed.len() {
        for bit in 0..8 {
            let mut flipped = framed.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(unframe(&flipped).unwrap_err().code(), Code::CorruptDv, "{at} {bit}");
        }
        assert_eq!(unframe(&framed[..at]).unwrap_err().code(), Code::CorruptDv, "{at}");
    }
    let longer = [&framed[..], &[0]].concat();
    assert_eq!(unframe(&longer).unwrap_err().code(), Code::CorruptDv);
}

/// spec: DV-7
#[test]
fn questions() {
    let rows = set(&[0, 1, 5, 9, 1 << 33]);
    assert_eq!((rows.len(), rows.max(), rows.is_empty()), (5, Some(1 << 33), false));
    assert_eq!(rows.range(1..9).collect::<Vec<_>>(), [1, 5]);
    assert_eq!((rows.count(1..9), rows.count(9..9), rows.count(0..u64::MAX)), (2, 0, 5));
    assert_eq!(rows.absent(0..10).collect::<Vec<_>>(), [2..5, 6..9]);
    assert_eq!(rows.absent(1..2).count(), 0);
    assert!(RowSet::new().absent(3..5).eq(std::iter::once(3..5)));
    let left: Vec<_> = (0..6).map(|it| rows.nth_absent(it).unwrap()).collect();
    assert_eq!(left, [2, 3, 4, 6, 7, 8]);
    assert_eq!(set(&[1, 2, 3]).minus(&set(&[2, 4])), set(&[1, 3]));
    assert_eq!(set(&[1, 2]).union(&set(&[2, 4])), set(&[1, 2, 4]));
    assert_eq!(set(&[1, 2]).intersection(&set(&[2, 4])), set(&[2]));
}

/// Rows alone, in stretches, and far apart.
fn some_rows() -> impl Strategy<Value = RowSet> {
    let start = prop_oneof![0..200_000u64, 0..(1u64 << 34), (1u64 << 62)..(1 << 63) - 70_000];
    let stretch = prop_oneof![Just(1u64), 1..10u64, 1..70_000u64];
    proptest::collection::vec((start, stretch), 0..8).prop_map(|stretches| {
        let mut rows = RowSet::new();
        stretches.iter().for_each(|it| rows.insert_range(it.0..it.0 + it.1));
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// spec: DV-6, DV-7
    #[test]
    fn what_is_written_is_read(rows in some_rows()) {
        let payload = rows.to_bytes();
        prop_assert_eq!(&RowSet::from_bytes(&payload, rows.len()).unwrap(), &rows);
        let framed = frame(&payload).unwrap();
        prop_assert_eq!(unframe(&framed).unwrap(), &payload[..]);
    }

    /// Whatever the bytes are, they end in rows or in `corrupt-dv`.
    ///
    /// spec: DV-10, DV-11
    #[test]
    fn nothing_panics(
        rows in some_rows(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut payload = rows.to_bytes();
        for (at, to) in changes {
            let at = at.index(payload.len().min(64));
            payload[at] = to;
        }
        for bytes in [&payload[..], &payload[..cut.index(payload.len())]] {
            if let Err(error) = RowSet::from_bytes(bytes, rows.len()) {
                prop_assert_eq!(error.code(), Code::CorruptDv);
            }
        }
    }

    /// Positions of a range are those of the set that lie in it, wherever it begins and ends.
    #[test]
    fn ranges(
        rows in some_rows(),
        near in any::<prop::sample::Index>(),
        before in 0..200u64,
        len in prop_oneof![0..500u64, 0..200_000u64, any::<u64>()],
    ) {
        let all: Vec<u64> = rows.iter().collect();
        let start = match all.is_empty() {
            true => before,
            false => all[near.index(all.len())].saturating_sub(before),
        };
        let end = start.saturating_add(len);
        let inside = |it: &&u64| start <= **it && **it < end;
        let expected: Vec<u64> = all.iter().filter(inside).copied().collect();
        prop_assert_eq!(rows.count(start..end), expected.len() as u64);
        prop_assert!(rows.range(start..end).eq(expected.iter().copied()));
        // All that are left at once, after some one by one.
        for taken in [0, 1, 70] {
            let mut left = rows.range(start..end);
            let first: Vec<u64> = left.by_ref().take(taken).collect();
            let all = left.fold(first, |mut all, it| {
                all.push(it);
                all
            });
            prop_assert_eq!(&all, &expected);
        }
    }

    /// The rows that are left, counted one by one, are those between.
    #[test]
    fn what_is_left(rows in proptest::collection::btree_set(0..60u64, 0..40), n in 0..40u64) {
        let of: RowSet = rows.iter().copied().collect();
        let left: Vec<u64> = (0..200).filter(|it| !rows.contains(it)).collect();
        prop_assert_eq!(of.nth_absent(n), left.get(n as usize).copied());
        let stretches: Vec<u64> = of.absent(0..200).flatten().collect();
        prop_assert_eq!(stretches, left);
    }
}
