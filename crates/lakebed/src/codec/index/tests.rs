//! Page indexes that lie.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use lakebed_log::expr::{col, lit};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use lakebed_log::error::Code;

use super::super::tests::{Case, foreign_with};
use super::*;

/// 400 rows in pages of 20, with an index.
fn file() -> Bytes {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..400));
    let texts = (0..400).map(|it| it.to_string());
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .build();
    foreign_with(&batch, properties)
}

fn case(bytes: Bytes, from: i64, to: i64) -> Case {
    let filter = col("n").gt_eq(lit(from)).and(col("n").lt(lit(to)));
    Case { filter: Some(filter), positions: true, ..Case::new("n long, t string", bytes) }
}

/// Number, text, position of the rows that match.
fn rows(case: &Case, from: i64, to: i64) -> Result<Vec<(i64, String, i64)>, Code> {
    let mut out = Vec::new();
    for batch in case.read().map_err(|it| it.code())? {
        let longs = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            let number = longs(0).value(at);
            let text = batch.column(1).as_string::<i32>().value(at).to_string();
            if (from..to).contains(&number) {
                out.push((number, text, longs(2).value(at)));
            }
        }
    }
    Ok(out)
}

fn expected(from: i64, to: i64) -> Vec<(i64, String, i64)> {
    (from..to).map(|it| (it, it.to_string(), it)).collect()
}

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(bytes).unwrap()
}

/// A sound index leaves few pages over.
#[test]
fn pages_are_found() {
    let bytes = file();
    let metadata = metadata(&bytes);
    let wanted: Vec<Wanted> =
        (0..2).map(|leaf| Wanted { group: 0, leaf, bounds: leaf == 0 }).collect();
    let size = bytes.len() as u64;
    assert_eq!(Index::ranges(&metadata, &wanted, size).len(), 3);
    let part = super::super::sparse::Part::here(0, bytes);
    let index = Index::decode(&metadata, &wanted, &Sparse::new(size, vec![part], None));
    for leaf in 0..2 {
        let pages = index.pages(0, leaf).unwrap();
        assert_eq!(pages.rows.len(), 20, "{leaf}");
        assert_eq!(pages.of(&Picks::new([5..6, 39..41, 399..400])), [0, 1, 2, 19]);
    }
    assert!(index.bounds(0, 0).is_some() && index.bounds(0, 1).is_none());
}

/// Whatever bit of the page index is flipped, a read gives the rows of the file, or says that the
/// file is not sound; or, where a bound was moved, as with any statistics that lie, fewer rows.
/// None comes out that is another.
///
/// spec: DATA-16
#[test]
fn flipped_bits() {
    let good = file();
    let column = metadata(&good);
    let columns = column.row_group(0).columns();
    let starts = columns.iter().filter_map(|it| it.column_index_offset());
    let (first, footer) = (starts.min().unwrap() as usize, good.len() - 8);
    let len = u32::from_le_bytes(good[footer..][..4].try_into().unwrap()) as usize;
    let offsets = columns.iter().filter_map(|it| it.offset_index_offset()).min().unwrap() as usize;
    assert!(first < offsets && offsets < footer - len);
    let (from, to) = (130, 170);
    assert_eq!(rows(&case(good.clone(), from, to), from, to), Ok(expected(from, to)));
    let (mut same, mut refused) = (0, 0);
    for at in first..footer - len {
        for bit in [0, 3, 7] {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            match rows(&case(bytes.into(), from, to), from, to) {
                Err(code) => {
                    assert_eq!(code, Code::CorruptData, "{at} {bit}");
                    refused += 1;
                }
                Ok(found) if offsets <= at => {
                    assert_eq!(found, expected(from, to), "{at} {bit}");
                    same += 1;
                }
                Ok(found) => assert!(found.iter().all(|it| expected(from, to).contains(it))),
            }
        }
    }
    assert!(200 < same && 5 < refused, "{same} {refused}");
}
