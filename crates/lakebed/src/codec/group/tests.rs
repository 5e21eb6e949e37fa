//! How far the columns of a row group go at once.

use arrow_array::cast::AsArray;
use arrow_array::{Int64Array, StringArray};
use lakebed_log::row_set::RowSet;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::super::tests::{Case, foreign_with};
use super::*;

/// Rows side by side go as far as their bytes allow, and rows far apart as far as what they lie in.
#[test]
fn paces() {
    let check = |[row_bytes, batch_rows, unpacked, picked]: [usize; 4], rows, batches| {
        let pace = Pace::new(row_bytes, batch_rows, unpacked as u64, picked);
        assert_eq!(pace, Pace { rows, batches }, "{row_bytes} {batch_rows} {unpacked} {picked}");
    };
    // As many batches as fit in a step.
    check([64, 8_192, 64 << 20, 1 << 20], 8_192, 8);
    check([8, 8_192, 8 << 20, 1 << 20], 8_192, STEP_BATCHES);
    // Wide rows are what they are.
    check([4 << 20, 8_192, 8 << 20, 2], 8_192, 1);
    // One row in five hundred: a batch is a step.
    check([64, 8_192, 27 << 20, 2_000], 296, 1);
    // One in ten, of narrow ones: batches remain whole.
    check([8, 8_192, 8 << 20, 100_000], 8_192, 6);
    // One in a page, and nothing.
    check([64, 8_192, 64 << 20, 8], 1, 1);
    check([64, 8_192, 0, 0], 8_192, 8);
    check([64, 1, 27 << 20, 2_000], 1, STEP_BATCHES);
    // Pages that are called larger than anything.
    check([64, 8_192, usize::MAX, 1_000_000], 976, 1);
    check([64, 8_192, usize::MAX, 100_000_000], 8_192, 1);
}

/// Rows that lie far apart come in small batches, all of them.
#[test]
fn rows_far_apart() {
    let rows = 20_000u64;
    let text = |at: u64| format!("{at:0500}");
    let texts: StringArray = (0..rows).map(|it| Some(text(it))).collect();
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
    let plain = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::UNCOMPRESSED)
        .build();
    let mut case = Case::new("text string", foreign_with(&batch, plain));
    let wanted: Vec<u64> = (0..rows).step_by(100).collect();
    case.only = Some(Arc::new(wanted.iter().copied().collect()));
    let batches = case.read().unwrap();
    assert!(2 < batches.len(), "{}", batches.len());
    let read: Vec<&str> =
        batches.iter().flat_map(|it| it.column(0).as_string::<i32>().iter().flatten()).collect();
    assert_eq!(read, wanted.iter().map(|it| text(*it)).collect::<Vec<_>>());

    case.only = None;
    let dense = case.read().unwrap();
    assert!(dense.iter().all(|it| it.num_rows() == case.batch_rows), "other batches");
}

/// The sets of rows that say what is read are paid for with what is read.
#[test]
fn sets_of_rows_are_paid_for() {
    let numbers = Int64Array::from_iter_values(0..100_000);
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
    let mut case = Case::new("n long", foreign_with(&batch, WriterProperties::default()));
    let env = case.env.clone();
    let mut read = |deleted: &RowSet, budget: u64| {
        case.deleted = Some(Arc::new(deleted.clone()));
        // Half of it is for reads.
        case.env = env.with_budget(2 * budget);
        let rows = case.read().map(|it| it.iter().map(RecordBatch::num_rows).sum::<usize>());
        rows.map_err(|it| it.code())
    };
    let (few, many): (RowSet, RowSet) =
        ([7].into_iter().collect(), (0..100_000).step_by(2).collect());
    // The least budget with the smaller set.
    let (mut low, mut high) = (0, 64 << 20);
    while low + 1 < high {
        let middle = (low + high) / 2;
        match read(&few, middle) {
            Ok(99_999) => high = middle,
            other => {
                assert_eq!(other, Err(Code::MemoryExceeded));
                low = middle;
            }
        }
    }
    // A copy of a set has less spare room.
    let (more, spare) = (many.heap_bytes() - few.heap_bytes(), 100);
    assert_eq!(read(&many, high + more - spare), Err(Code::MemoryExceeded));
    assert_eq!(read(&many, high + more + spare), Ok(50_000));
}
