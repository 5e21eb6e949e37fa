//! Whatever is asked of a file, its rows are those of a plain read, picked by hand.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, Float64Array, StringArray, StructArray};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use lakebed_log::eval;
use lakebed_log::expr::{Expr, col, lit};
use lakebed_log::row_set::RowSet;
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::super::FileOptions;
use super::super::tests::{Case, foreign_with, options, ours};
use super::*;

/// One row as a test compares it: position, number, real, text, text of few.
type Row = (i64, Option<i64>, Option<f64>, Option<String>, Option<String>);

const SCHEMA: &str = "n long, f double, t string, c string";

fn rows_of(batches: &[RecordBatch]) -> Vec<Row> {
    let mut out = Vec::new();
    for batch in batches {
        let text = |name: &str, at: usize| -> Option<String> {
            let column = batch.column_by_name(name)?.as_string::<i32>();
            column.is_valid(at).then(|| column.value(at).to_string())
        };
        for at in 0..batch.num_rows() {
            let long = |name: &str| {
                let column = batch.column_by_name(name)?.as_primitive::<Int64Type>();
                column.is_valid(at).then(|| column.value(at))
            };
            let real = || {
                let column = batch.column_by_name("f")?.as_primitive::<Float64Type>();
                column.is_valid(at).then(|| column.value(at))
            };
            out.push((long(POSITIONS).unwrap(), long("n"), real(), text("t", at), text("c", at)));
        }
    }
    out
}

/// What remains of a read when the filter has seen every row, as the engine above does it.
fn filtered(case: &Case) -> Vec<Row> {
    let batches = case.read().unwrap();
    let Some(by) = &case.filter else { return rows_of(&batches) };
    let by = by.bind_filter(&case.schema).unwrap();
    let keep = |batch: &RecordBatch| {
        let mask = eval::matches(&by, &case.schema, batch).unwrap();
        filter_record_batch(batch, &mask).unwrap()
    };
    rows_of(&batches.iter().map(keep).collect::<Vec<_>>())
}

/// Rows where long stretches are alike, so that pages and row groups can be told apart.
fn table(rows: usize, seed: u64) -> RecordBatch {
    let mut state = seed | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut numbers: Vec<Option<i64>> = Vec::new();
    let mut reals: Vec<Option<f64>> = Vec::new();
    let mut texts: Vec<Option<String>> = Vec::new();
    let mut few: Vec<Option<&str>> = Vec::new();
    for row in 0..rows as i64 {
        numbers.push((draw(20) != 0).then(|| row / 10 + draw(5) as i64));
        reals.push(match draw(50) {
            0 => None,
            1 => Some(f64::NAN),
            it => Some(it as f64),
        });
        texts.push(
            (draw(9) != 0).then(|| format!("{:04}{}", row / 7, "x".repeat(draw(9) as usize))),
        );
    }
    for row in 0..rows {
        few.push(match (row / 50, draw(7)) {
            (0 | 3, 0) => None,
            (_, 1..3) => Some(""),
            (_, 3) => Some("\u{20ac} and a text of thirty bytes."),
            _ => Some("abc"),
        });
    }
    RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(numbers)) as ArrayRef),
        ("f", Arc::new(Float64Array::from(reals)) as ArrayRef),
        ("t", Arc::new(StringArray::from(texts)) as ArrayRef),
        ("c", Arc::new(StringArray::from(few)) as ArrayRef),
    ])
    .unwrap()
}

#[derive(Clone, Debug)]
struct Shape {
    rows: usize,
    seed: u64,
    group_rows: usize,
    page_rows: usize,
    /// Ours, or by another writer: with which statistics, in which format.
    ours: bool,
    statistics: EnabledStatistics,
    version: WriterVersion,
    dictionary: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let statistics = prop_oneof![
        Just(EnabledStatistics::None),
        Just(EnabledStatistics::Chunk),
        Just(EnabledStatistics::Page),
    ];
    let version = prop_oneof![Just(WriterVersion::PARQUET_1_0), Just(WriterVersion::PARQUET_2_0)];
    let sizes = (1usize..700, any::<u64>(), 1usize..300, 1usize..90);
    (sizes, any::<bool>(), statistics, version, any::<bool>()).prop_map(
        |((rows, seed, group_rows, page_rows), ours, statistics, version, dictionary)| Shape {
            rows,
            seed,
            group_rows,
            page_rows,
            ours,
            statistics,
            version,
            dictionary,
        },
    )
}

impl Shape {
    fn file(&self) -> Bytes {
        let batch = table(self.rows, self.seed);
        if self.ours {
            let (row_group_rows, page_rows) = (self.group_rows, self.page_rows);
            let options = FileOptions { row_group_rows, page_rows, ..options() };
            return ours(&[batch], &options);
        }
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows)
            .set_statistics_enabled(self.statistics)
            .set_writer_version(self.version)
            .set_dictionary_enabled(self.dictionary)
            .build();
        foreign_with(&batch, properties)
    }
}

fn filters() -> impl Strategy<Value = Option<Expr>> {
    let number = (0i64..80).prop_map(|it| col("n").eq(lit(it)));
    let range = (0i64..80, 0i64..20).prop_map(|(from, len)| {
        Expr::And(vec![col("n").gt_eq(lit(from)), col("n").lt(lit(from + len))])
    });
    let real = (0i32..60).prop_map(|it| col("f").gt(lit(f64::from(it))));
    let text = (0i64..110).prop_map(|it| col("t").lt(lit(format!("{it:04}"))));
    let null = Just(col("n").is_null());
    let few = Just(col("c").eq(lit("abc")));
    let both = (0i64..80, 0i64..110).prop_map(|(n, t)| {
        Expr::And(vec![col("n").lt(lit(n)), col("t").gt(lit(format!("{t:04}")))])
    });
    prop_oneof![
        2 => Just(None),
        6 => prop_oneof![number, range, real, text, null, few, both].prop_map(Some),
    ]
}

/// A set of rows of a file of `rows`: sparse, dense, in runs.
fn sets(rows: usize) -> impl Strategy<Value = Option<Arc<RowSet>>> {
    let rows = rows as u64;
    let some = proptest::collection::vec(0..rows, 0..20).prop_map(RowSet::from_iter);
    let most = (1u64..20).prop_map(move |it| (0..rows).filter(|row| row % it != 0).collect());
    let run = (0..rows, 0..rows).prop_map(|(a, b)| (a.min(b)..a.max(b)).collect::<RowSet>());
    let every = (1u64..40).prop_map(move |it| (0..rows).filter(|row| row % it == 0).collect());
    prop_oneof![
        2 => Just(None),
        4 => prop_oneof![some, most, run, every].prop_map(|it: RowSet| Some(Arc::new(it))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Any mix of row groups, pages, statistics, vectors, selections, filters and batch sizes gives
    /// the rows of a plain read, each with its position.
    ///
    /// spec: DATA-14, DATA-16
    #[test]
    fn rows_are_those_of_a_plain_read(
        (shape, deleted, only) in shapes().prop_flat_map(|shape| {
            let rows = shape.rows;
            (Just(shape), sets(rows), sets(rows))
        }),
        filter in filters(),
        batch_rows in 1usize..400,
        columns in 1usize..16,
    ) {
        let bytes = shape.file();
        let names = ["n long", "f double", "t string", "c string"];
        let mut wanted: Vec<&str> = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let column = name[..1].to_string();
            let needed = filter.as_ref().is_some_and(|it| it.columns().contains(&column));
            if columns & (1 << at) != 0 || needed {
                wanted.push(name);
            }
        }
        let schema = wanted.join(", ");
        let plain = Case { positions: true, batch_rows, ..Case::new(&schema, bytes.clone()) };
        let everything = Case::new(SCHEMA, bytes.clone());
        let all = rows_of(&Case { positions: true, ..everything }.read().unwrap());
        let written = table(shape.rows, shape.seed);
        let every = 0..shape.rows as u64;
        let written = rows_of(&[with_positions(written.clone(), &[every]).unwrap()]);
        prop_assert_eq!(format!("{all:?}"), format!("{written:?}"));

        let keep = |row: &Row| {
            let at = row.0 as u64;
            deleted.as_ref().is_none_or(|it| !it.contains(at))
                && only.as_ref().is_none_or(|it| it.contains(at))
        };
        let plain = Case { filter: filter.clone(), ..plain };
        let unfiltered = Case { filter: None, ..Case::new(&schema, bytes) };
        let all = Case { positions: true, ..unfiltered }.read().unwrap();
        let all = match &filter {
            None => all,
            Some(by) => {
                let by = by.bind_filter(&plain.schema).unwrap();
                let one = |it: &RecordBatch| {
                    let mask = eval::matches(&by, &plain.schema, it).unwrap();
                    filter_record_batch(it, &mask).unwrap()
                };
                all.iter().map(one).collect()
            }
        };
        let expected: Vec<Row> = rows_of(&all).into_iter().filter(keep).collect();
        let case = Case { deleted: deleted.clone(), only: only.clone(), ..plain };
        prop_assert_eq!(format!("{:?}", filtered(&case)), format!("{expected:?}"));
    }
}

proptest! {
    /// The rows of a batch that are left are those that the sets want, each asked for by itself.
    #[test]
    fn rows_that_are_left_are_the_wanted_ones(
        deleted in sets(300),
        only in sets(300),
        mut ends in proptest::collection::btree_set(0..300u64, 0..8),
    ) {
        let source = Case { deleted, only, ..Case::new(SCHEMA, Bytes::new()) }.source();
        if ends.len() % 2 == 1 {
            ends.pop_first();
        }
        let ends: Vec<u64> = ends.into_iter().collect();
        let ranges: Vec<Range<u64>> = ends.chunks(2).map(|it| it[0]..it[1]).collect();
        let rows: Vec<u64> = ranges.iter().cloned().flatten().collect();
        let mut expected = Live::none(rows.len());
        expected.keep((0..rows.len()).filter(|at| has(&source, rows[*at])));
        prop_assert_eq!(live(&source, &ranges), expected);
    }
}

/// A file of which no column is read still leaves out what is deleted, and knows positions.
#[test]
fn counting_leaves_out_the_deleted() {
    let shape = Shape {
        rows: 100,
        seed: 1,
        group_rows: 30,
        page_rows: 10,
        ours: true,
        statistics: EnabledStatistics::Page,
        version: WriterVersion::PARQUET_1_0,
        dictionary: false,
    };
    let deleted: RowSet = (20..50).chain([99]).collect();
    let case = Case { deleted: Some(Arc::new(deleted)), ..Case::new("z int", shape.file()) };
    let count = |it: &Case| it.read().unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(count(&case), 69);
    let only: RowSet = (10..25).collect();
    let case = Case { only: Some(Arc::new(only)), positions: true, ..case };
    let rows = rows_of(&case.read().unwrap());
    assert_eq!(rows.iter().map(|it| it.0).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
}

/// A vector that names a row at or past the end of the file belongs to another file.
#[test]
fn vectors_stay_in_the_file() {
    let file = ours(&[table(50, 3)], &options());
    let case = |row: u64| Case {
        deleted: Some(Arc::new([row].into_iter().collect())),
        ..Case::new(SCHEMA, file.clone())
    };
    assert_eq!(case(49).read().unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 49);
    for row in [50, 51, 1 << 33, u64::MAX] {
        assert_eq!(case(row).code(), Code::CorruptDv, "{row}");
    }
}

/// A column of text, each of which stands in the file once.
fn text_file(texts: &[&str]) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None);
    let rows = RecordBatch::try_from_iter([("t", texts)]).unwrap();
    foreign_with(&rows, properties.build()).to_vec()
}

/// Bytes that are no text are never handed out as text; where they go, nobody asks.
#[test]
fn text_of_the_rows_that_are_left_is_checked() {
    let mut file = text_file(&["one", "TWO", "\u{20ac}"]);
    let at = file.windows(3).position(|it| it == b"TWO").unwrap();
    let left = |file: &[u8], deleted: u64| {
        let deleted = Some(Arc::new([deleted].into_iter().collect()));
        Case { deleted, positions: true, ..Case::new("t string", file.to_vec()) }
    };
    let texts = |it: Case| {
        let rows = rows_of(&it.read().unwrap());
        rows.into_iter().map(|it| it.3.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(texts(left(&file, 0)), ["TWO", "\u{20ac}"]);
    // Wrong alone, and only right together with what follows.
    for wrong in [b"T\xffO", b"TW\xe2"] {
        file[at..at + 3].copy_from_slice(wrong);
        assert_eq!(left(&file, 0).code(), Code::CorruptData);
        assert_eq!(texts(left(&file, 1)), ["one", "\u{20ac}"]);
        assert_eq!(left(&file, 2).code(), Code::CorruptData);
    }
}

/// The same for a table that takes the text as bytes: the file says that it is text.
#[test]
fn text_that_is_read_as_bytes_is_checked() {
    let mut file = text_file(&["one", "TWO", "three"]);
    let left = |file: &[u8]| {
        let deleted = Some(Arc::new([0].into_iter().collect()));
        Case { deleted, ..Case::new("t binary", file.to_vec()) }
    };
    let read = left(&file).read().unwrap();
    assert_eq!(read[0].column(0).as_binary::<i32>().value(1), b"three");
    let at = file.windows(3).position(|it| it == b"TWO").unwrap();
    file[at] = 0xff;
    assert_eq!(left(&file).code(), Code::CorruptData);
    assert_eq!(Case::new("t binary", file).code(), Code::CorruptData);
}

/// Text within a struct that has no other field, or of which no other is wanted.
#[test]
fn text_alone_in_a_struct() {
    let texts = vec![Some("one"), None, Some("\u{20ac}"), Some("four")];
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let text: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let field = |name: &str, of: &ArrayRef| {
        (Arc::new(Field::new(name, of.data_type().clone(), true)), Arc::clone(of))
    };
    let alone = StructArray::from(vec![field("t", &text)]);
    let beside = StructArray::from(vec![field("n", &numbers), field("t", &text)]);
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    for (of, schema) in [
        (&alone, "s struct<t: string>"),
        (&beside, "s struct<t: string>"),
        (&beside, "s struct<t: string, n: long>"),
        (&alone, "s struct<t: string, n: long>"),
    ] {
        let rows = [("s", Arc::new(of.clone()) as ArrayRef), ("top", Arc::clone(&text))];
        let rows = RecordBatch::try_from_iter_with_nullable(rows.map(|it| (it.0, it.1, true)));
        let file = foreign_with(&rows.unwrap(), properties.clone());
        for deleted in 0..4 {
            let left = Some(Arc::new([deleted as u64].into_iter().collect()));
            let schema = format!("{schema}, top string");
            let read = Case { deleted: left, ..Case::new(&schema, file.clone()) }.read().unwrap();
            let (inner, top) = (read[0].column(0).as_struct(), read[0].column(1));
            let mut expected = texts.clone();
            expected.remove(deleted);
            for text in [inner.column_by_name("t").unwrap(), top] {
                assert_eq!(text.as_string::<i32>().iter().collect::<Vec<_>>(), expected);
            }
        }
    }
}

/// Rows of text come out alike, however the pages have it.
#[test]
fn text_in_every_encoding() {
    let text =
        |at: u64| (at % 7 != 3).then(|| format!("\u{20ac}{at}{}", "x".repeat(at as usize % 60)));
    let rows: ArrayRef = Arc::new((0..5_000).map(text).collect::<StringArray>());
    let rows = RecordBatch::try_from_iter([("t", rows)]).unwrap();
    let deleted: RowSet = (0..5_000).filter(|it| it % 40 == 7 || it % 41 == 0).collect();
    let expected: Vec<_> = (0..5_000).filter(|it| !deleted.contains(*it)).map(text).collect();
    let deleted = Some(Arc::new(deleted));
    for encoding in [Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY]
    {
        for dictionary_bytes in [0, 20_000] {
            let properties = WriterProperties::builder()
                .set_column_encoding("t".into(), encoding)
                .set_dictionary_enabled(0 < dictionary_bytes)
                .set_dictionary_page_size_limit(dictionary_bytes)
                .set_data_page_row_count_limit(300)
                .set_write_batch_size(100)
                .set_max_row_group_row_count(Some(2_000));
            let file = foreign_with(&rows, properties.build());
            for batch_rows in [1, 63, 64, 1_000] {
                let case = Case::new("t string", file.clone());
                let case = Case { deleted: deleted.clone(), positions: true, batch_rows, ..case };
                let read: Vec<_> =
                    rows_of(&case.read().unwrap()).into_iter().map(|it| it.3).collect();
                assert!(read == expected, "{encoding} {dictionary_bytes} {batch_rows}");
            }
        }
    }
}

/// So is text of an annotation that the library knows and does not check.
#[test]
fn text_of_other_annotations_is_checked() {
    let file = |annotation: &str, second: &[u8]| {
        let schema =
            parse_message_type(&format!("message m {{ required binary t {annotation}; }}"));
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None);
        let (schema, properties) = (Arc::new(schema.unwrap()), Arc::new(properties.build()));
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values = [b"one", second, b"\xe2\x82\xac"].map(|it| ByteArray::from(it.to_vec()));
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        bytes
    };
    for annotation in ["(JSON)", "(UTF8)", "(STRING)", "(ENUM)", ""] {
        for second in [&b"T\xffO"[..], b"TW\xe2", b"TWO"] {
            let bytes = file(annotation, second);
            for deleted in [None, Some(0u64), Some(2)] {
                let deleted = deleted.map(|it| Arc::new([it].into_iter().collect()));
                let case = Case { deleted, ..Case::new("t string", bytes.clone()) };
                match second == b"TWO" {
                    true => assert!(case.read().is_ok(), "{annotation}"),
                    false => assert_eq!(case.code(), Code::CorruptData, "{annotation}"),
                }
            }
        }
    }
}
