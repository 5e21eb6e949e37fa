//! What our footers say of texts, next to what the library would have said.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::super::FileOptions;
use super::super::tests::{options, ours};

/// The bytes of a file by the library alone, with the same pages.
fn theirs(batches: &[RecordBatch], options: &FileOptions) -> Bytes {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_data_page_row_count_limit(options.page_rows)
        .set_write_batch_size(options.page_rows.clamp(1, 1024))
        .set_data_page_size_limit(options.page_bytes)
        .set_dictionary_page_size_limit(options.page_bytes)
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batches[0].schema(), Some(properties)).unwrap();
    batches.iter().for_each(|it| writer.write(it).unwrap());
    writer.close().unwrap();
    bytes.into()
}

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.parse_and_finish(bytes).unwrap()
}

/// A batch of one column of texts.
fn batch(texts: &[Option<String>], nullable: bool) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, nullable)]));
    let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_new(schema, vec![array]).unwrap()
}

/// Both files say the same of the texts: in the footer and page by page.
fn check(batches: &[RecordBatch], options: &FileOptions) {
    let (ours, theirs) = (ours(batches, options), theirs(batches, options));
    let (ours, theirs) = (metadata(&ours), metadata(&theirs));
    assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
    for group in 0..ours.num_row_groups() {
        let of = |it: &ParquetMetaData| it.row_group(group).column(0).clone();
        assert_eq!(of(&ours).statistics(), of(&theirs).statistics());
        let length = |it: &ParquetMetaData| of(it).unencoded_byte_array_data_bytes();
        assert_eq!(length(&ours), length(&theirs));
        let histogram = |it: &ParquetMetaData| of(it).definition_level_histogram().cloned();
        assert_eq!(histogram(&ours), histogram(&theirs));
        let rows = |it: &ParquetMetaData| -> Vec<i64> {
            let pages = it.offset_index().unwrap()[group][0].page_locations();
            pages.iter().map(|it| it.first_row_index).collect()
        };
        assert_eq!(rows(&ours), rows(&theirs));
    }
    assert_eq!(ours.column_index(), theirs.column_index());
}

/// Texts that tie, that are long, that are null, that end in the last of all characters.
fn text() -> impl Strategy<Value = Option<String>> {
    let long =
        prop_oneof!["[ab]{60,70}", "a{63}\u{e9}b?", "a{60}[\u{10ffff}]{1,20}", "\u{d7ff}{40}"];
    prop_oneof![
        4 => "[a-c]{0,3}".prop_map(Some),
        1 => long.prop_map(Some),
        1 => "[\u{0}\u{7f}\u{7ff}\u{ffff}]{0,50}".prop_map(Some),
        2 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the texts, wherever batches and pages end.
    #[test]
    fn footers_say_what_the_library_would(
        parts in prop::collection::vec(prop::collection::vec(text(), 1..60), 1..6),
        page_rows in 1usize..32,
    ) {
        let options = FileOptions { page_rows, ..options() };
        let batches: Vec<RecordBatch> = parts.iter().map(|it| batch(it, true)).collect();
        check(&batches, &options);
        let there = |it: &Vec<Option<String>>| -> Vec<Option<String>> {
            it.iter().map(|it| Some(it.clone().unwrap_or_default())).collect()
        };
        let batches: Vec<RecordBatch> = parts.iter().map(|it| batch(&there(it), false)).collect();
        check(&batches, &options);
    }
}

/// Pages of thousands of rows, sorted either way and not, with pages and runs of nothing but nulls.
#[test]
fn many_runs_make_a_page() {
    let order: [fn(usize) -> usize; 3] = [|it| it, |it| 30_000 - it, |it| it * 7_919 % 30_011];
    for order in order {
        let text = |it: usize| {
            let is_null = (6_000..13_000).contains(&it) || it.is_multiple_of(5);
            (!is_null).then(|| format!("v{:05}", order(it)))
        };
        let texts: Vec<Option<String>> = (0..30_000).map(text).collect();
        let batches: Vec<RecordBatch> = texts.chunks(7_000).map(|it| batch(it, true)).collect();
        check(&batches, &FileOptions { page_rows: 2_500, ..options() });
        // Over row groups, of which each begins anew.
        let row_group_rows = 7_300;
        check(&batches, &FileOptions { page_rows: 2_500, row_group_rows, ..options() });
    }
}

/// Where the library ends a page in the midst of a run, as it does when texts are long, the bounds
/// may be wider than theirs, and hold; counts of nulls are exact.
#[test]
fn pages_that_end_in_a_run() {
    let text = |it: usize| {
        (!it.is_multiple_of(7)).then(|| format!("{:03}{}", it * 311 % 997, "x".repeat(3_000)))
    };
    let texts: Vec<Option<String>> = (0..1_000).map(text).collect();
    let compression = ("none".to_string(), None);
    let options = FileOptions { page_bytes: 64 << 10, compression, ..options() };
    let metadata = metadata(&ours(&[batch(&texts, true)], &options));
    let Some(Statistics::ByteArray(all)) = metadata.row_group(0).column(0).statistics() else {
        panic!("the column has no statistics");
    };
    assert_eq!(all.null_count_opt(), Some(143));
    assert!(10 < check_holds(&texts, &metadata, 1_024));
}

/// Batches of some rows share a run, and pages may end in its midst.
#[test]
fn short_batches_share_runs() {
    let text = |it: usize| (!it.is_multiple_of(7)).then(|| format!("{:05}", it * 7_919 % 20_011));
    for len in [1, 3, 17, 40] {
        let texts: Vec<Option<String>> = (0..10_000).map(text).collect();
        let batches: Vec<RecordBatch> = texts.chunks(len).map(|it| batch(it, true)).collect();
        let options = FileOptions { page_rows: 2_048, ..options() };
        let metadata = metadata(&ours(&batches, &options));
        assert!(3 < check_holds(&texts, &metadata, 64), "batches of {len}");
    }
}

/// Bounds of pages hold all texts of the page, and say no more than the runs that it touches;
/// counts of nulls are exact. Gives the number of pages.
fn check_holds(texts: &[Option<String>], metadata: &ParquetMetaData, run: usize) -> usize {
    let pages = metadata.offset_index().unwrap()[0][0].page_locations();
    let ColumnIndexMetaData::BYTE_ARRAY(index) = &metadata.column_index().unwrap()[0][0] else {
        panic!("the column has no index");
    };
    for (at, page) in pages.iter().enumerate() {
        let end = pages.get(at + 1).map_or(texts.len() as i64, |it| it.first_row_index);
        let rows = page.first_row_index as usize..end as usize;
        let (min, max) = (index.min_value(at).unwrap(), index.max_value(at).unwrap());
        for text in texts[rows.clone()].iter().flatten() {
            assert!(min <= text.as_bytes() && text.as_bytes() <= max, "page {at}");
        }
        let nulls = texts[rows.clone()].iter().filter(|it| it.is_none()).count();
        assert_eq!(index.null_count(at), Some(nulls as i64), "page {at}");
        let near = rows.start.saturating_sub(run)..texts.len().min(rows.end + run);
        let near = || texts[near.clone()].iter().flatten().map(|it| it.as_bytes());
        // What is cut is the head of a text, or a little more than it.
        assert!(near().any(|it| it.starts_with(min)), "page {at}");
        assert!(near().any(|it| max <= it || it < max && max[..3] == it[..3]), "page {at}");
    }
    pages.len()
}
