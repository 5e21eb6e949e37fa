//! Files written and read back, and files that lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    NullArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields};
use bytes::Bytes;
use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lakebed_log::error::{Code, Result};
use lakebed_log::expr::{Expr, col, lit};
use lakebed_log::row_set::RowSet;
use lakebed_log::schema::{ArrowOptions, Schema, conform};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;

use super::{Codec, FileOptions, Parquet, Source, Turn};
use crate::env::{BoxFuture, Env};
use crate::op::Op;
use crate::store::{Store, Upload};

/// A file in a store of its own, and how it is read.
pub(super) struct Case {
    pub(super) env: Env,
    pub(super) store: Store,
    pub(super) size: u64,
    pub(super) schema: Schema,
    pub(super) filter: Option<Expr>,
    pub(super) deleted: Option<Arc<RowSet>>,
    pub(super) only: Option<Arc<RowSet>>,
    pub(super) rows: Option<std::ops::Range<u64>>,
    pub(super) positions: bool,
    pub(super) batch_rows: usize,
}

const KEY: &str = "a.parquet";

impl Case {
    pub(super) fn new(schema: &str, bytes: impl Into<Bytes>) -> Case {
        let env = Env::tokio();
        let store = env.open(&format!("memory://{}", env.id())).unwrap();
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        block_on(async {
            let mut upload = store.create(&Op::default(), KEY).await.unwrap();
            upload.write(bytes).await.unwrap();
            upload.finish().await.unwrap();
        });
        let schema = Schema::parse_ddl(schema).unwrap();
        Case {
            env,
            store,
            size,
            schema,
            filter: None,
            deleted: None,
            only: None,
            rows: None,
            positions: false,
            batch_rows: 1000,
        }
    }

    pub(super) fn source(&self) -> Source {
        let filter = self.filter.as_ref().map(|it| it.bind(&self.schema).unwrap());
        Source {
            key: KEY.into(),
            size: self.size,
            schema: Arc::new(self.schema.clone()),
            filter,
            mapping: lakebed_log::schema::ColumnMapping::None,
            deleted: self.deleted.clone(),
            only: self.only.clone(),
            rows: self.rows.clone(),
            counted: None,
            positions: self.positions,
            batch_rows: self.batch_rows,
            turn: Turn::default(),
        }
    }

    pub(super) fn read(&self) -> Result<Vec<RecordBatch>> {
        let source = self.source();
        block_on(decoded(&self.env, &self.store, source).try_collect())
    }

    pub(super) fn code(&self) -> Code {
        self.read().unwrap_err().code()
    }

    fn rows(&self) -> usize {
        self.read().unwrap().iter().map(RecordBatch::num_rows).sum()
    }
}

/// The rows of a source whose deleted rows are known.
pub(super) fn decoded(
    env: &Env,
    store: &Store,
    source: Source,
) -> BoxStream<'static, Result<RecordBatch>> {
    let deleted = std::future::ready(Ok(source.deleted.clone()));
    Parquet.read(env, &Op::default(), store, source, Box::pin(deleted))
}

pub(super) fn options() -> FileOptions {
    FileOptions {
        row_group_rows: 1 << 20,
        row_group_bytes: 128 << 20,
        page_rows: 20_000,
        page_bytes: 1 << 20,
        compression: ("zstd".into(), Some(1)),
    }
}

/// The bytes of a file by our own writer.
pub(super) fn ours(batches: &[RecordBatch], options: &FileOptions) -> Bytes {
    let env = Env::tokio();
    let store = env.open(&format!("memory://{}", env.id())).unwrap();
    block_on(async {
        let op = Op::default();
        let upload = store.create(&op, KEY).await.unwrap();
        let schema = batches[0].schema();
        let mut writer = Parquet.write(&env, &op, upload, schema, options).unwrap();
        for batch in batches {
            writer.write(batch.clone()).await.unwrap();
        }
        let written = writer.finish().await.unwrap();
        let bytes = store.get(&op, KEY, u64::MAX).await.unwrap();
        assert_eq!(written.size, bytes.len() as u64);
        bytes
    })
}

/// The bytes of a file as another writer leaves it.
pub(super) fn foreign(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    foreign_with(&batch, WriterProperties::default())
}

pub(super) fn foreign_with(batch: &RecordBatch, properties: WriterProperties) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// A batch of every type, with the values that tend to break: extremes, nulls, empties.
fn everything() -> (&'static str, RecordBatch) {
    let ddl = "b boolean, i8 byte, i16 short, i32 int not null, i64 long, f float, d double, \
        dec9 decimal(9,2), dec38 decimal(38,10), s string, x binary, day date, ts timestamp, \
        ntz timestamp_ntz, st struct<a: int, n: struct<z: string>>, l array<int>, \
        m map<string, int>";
    let schema = Schema::parse_ddl(ddl).unwrap();
    let years = [-62_135_596_800_000_000, 0, 253_402_300_799_999_999];
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(1), None]);
    list.append_value([]);
    list.append_null();
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("z", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![Some(""), None, None])) as ArrayRef,
    )]);
    let nested = StructArray::try_new(
        Fields::from(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("n", inner.data_type().clone(), true),
        ]),
        vec![Arc::new(Int32Array::from(vec![Some(7), None, None])), Arc::new(inner)],
        Some(NullBuffer::from(vec![true, true, false])),
    )
    .unwrap();
    let decimal = |values: Vec<Option<i128>>, precision, scale| {
        let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale);
        Arc::new(array.unwrap()) as ArrayRef
    };
    let most = 10i128.pow(38) - 1;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("i32", Arc::new(Int32Array::from(vec![i32::MIN, 0, i32::MAX]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("f", Arc::new(Float32Array::from(vec![Some(-0.0), None, Some(f32::INFINITY)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(f64::MIN), None, Some(5e-324)]))),
        ("dec9", decimal(vec![Some(-999_999_999), None, Some(0)], 9, 2)),
        ("dec38", decimal(vec![Some(-most), None, Some(most)], 38, 10)),
        ("s", Arc::new(StringArray::from(vec![Some(""), None, Some("\u{0}\u{10ffff}")]))),
        ("x", Arc::new(BinaryArray::from(vec![Some(&b""[..]), None, Some(&b"\xff\x00"[..])]))),
        ("day", Arc::new(Date32Array::from(vec![Some(i32::MIN), None, Some(2_932_896)]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(years.to_vec()).with_timezone("UTC"))),
        ("ntz", Arc::new(TimestampMicrosecondArray::from(years.to_vec()))),
        ("st", Arc::new(nested)),
        ("l", Arc::new(list.finish())),
        ("m", Arc::new(map.finish())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, name != "i32")),
    );
    (ddl, conform(&batch.unwrap(), &schema, ArrowOptions::default()).unwrap())
}

/// Every type comes back as it went in, in every compression, whether the rows are one batch or
/// cut into row groups of two rows.
///
/// spec: DATA-1
#[test]
fn rows_come_back() {
    let (ddl, batch) = everything();
    for compression in ["zstd", "snappy", "none", "gzip", "lz4", "brotli"] {
        for row_group_rows in [1 << 20, 2] {
            let compression = (compression.to_string(), None);
            let options = FileOptions { row_group_rows, compression, ..options() };
            let case = Case::new(ddl, ours(&[batch.clone(), batch.clone()], &options));
            let read = case.read().unwrap();
            let schema = batch.schema();
            let read = arrow_select::concat::concat_batches(&schema, &read).unwrap();
            let twice = [batch.clone(), batch.clone()];
            let expected = arrow_select::concat::concat_batches(&schema, &twice).unwrap();
            assert_eq!(read, expected, "{options:?}");
        }
    }
    let bad = FileOptions { compression: ("zip".into(), None), ..options() };
    let store = Env::tokio().open("memory://bad").unwrap();
    let upload = block_on(store.create(&Op::default(), "x")).unwrap();
    let err = Parquet.write(&Env::tokio(), &Op::default(), upload, batch.schema(), &bad);
    assert_eq!(err.map(|_| ()).unwrap_err().code(), Code::InvalidArgument);
}

/// The same rows in the same batches are the same bytes, although the columns are encoded side by
/// side, and the file says who wrote it and keeps an index of its pages.
#[test]
fn bytes_are_deterministic() {
    let numbers = Int64Array::from_iter_values((0..200_000).map(|it| it * 7_919 % 100_003));
    let texts = StringArray::from_iter_values((0..200_000).map(|it| format!("v{}", it % 977)));
    let columns: Vec<(&str, ArrayRef)> = vec![("a", Arc::new(numbers)), ("b", Arc::new(texts))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let batches: Vec<_> = (0..20).map(|it| batch.slice(it * 10_000, 10_000)).collect();
    let options = FileOptions { row_group_rows: 70_000, ..options() };
    let (one, two) = (ours(&batches, &options), ours(&batches, &options));
    assert!(one == two);

    let reader = parquet::file::serialized_reader::SerializedFileReader::new_with_options(
        one.clone(),
        parquet::file::serialized_reader::ReadOptionsBuilder::new().with_page_index().build(),
    );
    let reader = reader.unwrap();
    let metadata = parquet::file::reader::FileReader::metadata(&reader);
    assert!(metadata.file_metadata().created_by().unwrap().starts_with("Lakebed version "));
    let rows: Vec<i64> = metadata.row_groups().iter().map(|it| it.num_rows()).collect();
    assert_eq!(rows, [70_000, 70_000, 60_000]);
    assert!(metadata.column_index().is_some());
    for (group, columns) in metadata.offset_index().unwrap().iter().enumerate() {
        for (column, index) in columns.iter().enumerate() {
            let chunk = metadata.row_group(group).column(column);
            let pages = index.page_locations();
            assert_eq!(pages[0].offset, chunk.data_page_offset());
            assert_eq!(pages[0].first_row_index, 0);
            let (start, len) = chunk.byte_range();
            let last = pages.last().unwrap();
            let end = last.offset + i64::from(last.compressed_page_size);
            assert_eq!(end as u64, start + len);
        }
    }
}

/// A column whose dictionary is given up early goes without one in the row groups that follow, the
/// others keep theirs; pages that are handed over as they are and pages that are put together stand
/// where the file says.
#[test]
fn dictionaries_in_vain_are_not_built_again() {
    let numbers = Int64Array::from_iter_values((0..90_000).map(|it| it * 7_919));
    let texts = StringArray::from_iter_values((0..90_000).map(|it| format!("v{}", it % 97)));
    let columns: Vec<(&str, ArrayRef)> = vec![("a", Arc::new(numbers)), ("b", Arc::new(texts))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let compression = ("none".to_string(), None);
    let layout = FileOptions { row_group_rows: 30_000, compression, ..options() };
    let cases = [
        // A dictionary of 2,000 of 30,000 numbers; large pages and small ones.
        (FileOptions { page_bytes: 16_000, page_rows: 5_000, ..layout.clone() }, [true, false]),
        (FileOptions { page_bytes: 16_000, page_rows: 300, ..layout.clone() }, [true, false]),
        // One of all numbers, or of nearly all.
        (layout.clone(), [true, true]),
        (FileOptions { page_bytes: 230_000, page_rows: 1_000, ..layout }, [true, true]),
    ];
    for (options, expected) in cases {
        let bytes = ours(std::slice::from_ref(&batch), &options);
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
        let coded = |column: usize| -> Vec<bool> {
            let groups = metadata.row_groups().iter();
            groups.map(|it| it.column(column).dictionary_page_offset().is_some()).collect()
        };
        assert_eq!(coded(0), [expected[0], expected[1], expected[1]], "{options:?}");
        assert_eq!(coded(1), [true; 3], "{options:?}");
        let read = Case::new("a long, b string", bytes).read().unwrap();
        let read = arrow_select::concat::concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(read.columns(), batch.columns(), "{options:?}");
    }
}

/// Columns that cost far more or less than the others, over chunks and row groups that end in the
/// midst of them: each is ahead of the others or behind them, and the rows are whole all the same.
#[test]
fn columns_that_cost_differently() {
    let words = |it: i64| format!("{:x} ", it.wrapping_mul(0x1e37_79b9_7f4a_7c15)).repeat(20);
    let texts = StringArray::from_iter_values((0..30_000).map(words));
    let mut columns: Vec<(String, ArrayRef)> = vec![("text".to_string(), Arc::new(texts))];
    for at in 0..30i64 {
        let numbers = Int64Array::from_iter_values((0..30_000).map(|it| it / (at + 1)));
        columns.push((format!("n{at}"), Arc::new(numbers)));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let batches: Vec<RecordBatch> = (0..30).map(|it| batch.slice(it * 1_000, 1_000)).collect();
    let options = FileOptions { row_group_bytes: 2_600_000, ..options() };
    let (one, two) = (ours(&batches, &options), ours(&batches, &options));
    assert!(one == two);

    let metadata = ParquetMetaDataReader::new().parse_and_finish(&one).unwrap();
    assert_eq!(metadata.num_row_groups(), 6);
    let ddl: Vec<String> = (0..30).map(|at| format!("n{at} long")).collect();
    let case = Case::new(&format!("text string, {}", ddl.join(", ")), one);
    let read = case.read().unwrap();
    let read = arrow_select::concat::concat_batches(&read[0].schema(), &read).unwrap();
    assert_eq!(read.columns(), batch.columns());
}

/// Row groups that are far larger than a chunk go to the store while the next ones are encoded, a
/// part at a time, and stand in order all the same.
#[test]
fn row_groups_go_out_in_parts() {
    let noise = |it: i64| it.wrapping_add(1).wrapping_mul(0x1e37_79b9_7f4a_7c15);
    let batches: Vec<RecordBatch> = (0..40)
        .map(|part| {
            let numbers =
                Int64Array::from_iter_values((0..50_000).map(|it| noise(part << 20 | it)));
            RecordBatch::try_from_iter([("a", Arc::new(numbers) as ArrayRef)]).unwrap()
        })
        .collect();
    let compression = ("none".to_string(), None);
    let options = FileOptions { row_group_bytes: 6 << 20, compression, ..options() };
    let bytes = ours(&batches, &options);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    assert_eq!(metadata.num_row_groups(), 3);
    let read = Case { batch_rows: 1 << 20, ..Case::new("a long", bytes) }.read().unwrap();
    let sources = [batches, read].map(|it| {
        let columns: Vec<ArrayRef> = it.iter().map(|it| Arc::clone(it.column(0))).collect();
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        arrow_select::concat::concat(&columns).unwrap()
    });
    assert_eq!(sources[0].as_primitive::<Int64Type>(), sources[1].as_primitive::<Int64Type>());

    let steps = sent_by_step(&sources[0], &options);
    let group = metadata.row_group(0).compressed_size() as u64;
    let first = steps.iter().position(|it| 0 < *it).unwrap();
    // The first row group is encoded by then, and is out long before the file is closed.
    assert!(options.row_group_bytes <= (first + 1) * STEP_ROWS * 8, "step {first}");
    assert!(group <= steps.iter().sum(), "{steps:?}");
    assert!(steps.iter().all(|it| *it <= group / 2), "{steps:?}");
    assert!(4 <= steps.iter().filter(|it| 0 < **it).count(), "{steps:?}");
}

const STEP_ROWS: usize = 50_000;

/// Bytes that go to the store at each step of a write, before the file is closed.
fn sent_by_step(numbers: &ArrayRef, options: &FileOptions) -> Vec<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let env = Env::tokio();
    block_on(async {
        let schema =
            Arc::new(arrow_schema::Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let upload = Box::new(Counted(Arc::clone(&sent)));
        let mut writer =
            Parquet.write(&env, &Op::default(), upload, Arc::clone(&schema), options).unwrap();
        let (mut steps, mut before) = (Vec::new(), 0);
        for from in (0..numbers.len()).step_by(STEP_ROWS) {
            let column = numbers.slice(from, STEP_ROWS.min(numbers.len() - from));
            writer
                .write(RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap())
                .await
                .unwrap();
            let after = sent.load(Ordering::SeqCst);
            steps.push(after - before);
            before = after;
        }
        let written = writer.finish().await.unwrap();
        assert_eq!(written.size, sent.load(Ordering::SeqCst));
        steps
    })
}

/// Counts bytes.
struct Counted(Arc<AtomicU64>);

impl Upload for Counted {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        self.0.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move { Ok(self.0.load(Ordering::SeqCst)) })
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// Any flipped bit in a file of ours is an error or leaves the rows as they were.
///
/// spec: DATA-12
#[test]
fn flipped_bits_are_found() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..500).map(|it| format!("{}", it % 9))));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
    let uncompressed = FileOptions { compression: ("none".into(), None), ..options() };
    let bytes = ours(std::slice::from_ref(&batch), &uncompressed);
    let ddl = "n long, t string";
    let good = Case::new(ddl, bytes.clone()).read().unwrap();
    assert_eq!(good.len(), 1);
    let footer = bytes.len()
        - 8
        - u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
    let mut found = 0;
    for at in (4..footer).step_by(7) {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        match Case::new(ddl, flipped).read() {
            Ok(rows) => assert_eq!(rows, good, "byte {at}"),
            Err(_) => found += 1,
        }
    }
    assert!(footer / 10 < found, "{found} of {footer}");
}

/// A footer that counts less than nothing is damage, and no reason to ask for more memory.
#[test]
fn negative_counts() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let bytes = ours(&[batch], &options()).to_vec();
    // 200 in zigzag, behind the head of a field of 64 bits: the row group's, and its column's.
    let is_count = |it: &usize| bytes[*it..].starts_with(&[0x16, 0x90, 3]);
    let at: Vec<usize> = (0..bytes.len()).filter(is_count).collect();
    assert!(2 <= at.len(), "{at:?}");
    let mut found = 0;
    for at in at {
        let mut damaged = bytes.clone();
        damaged[at + 1] = 0x91;
        match Case::new("n long", damaged).read() {
            Ok(rows) => assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 200),
            Err(err) => {
                assert_eq!(err.code(), Code::CorruptData, "{err}");
                found += 1;
            }
        }
    }
    assert!(2 <= found, "{found}");
}

/// What a file lacks is null, what it has beyond the table is not read, names match without case
/// when they have to, and void is null.
///
/// spec: DATA-4, DATA-6
#[test]
fn columns_match_by_name() {
    let one = |name: &'static str| (name, Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef);
    let check = |ddl: &str, columns: Vec<(&str, ArrayRef)>| -> String {
        match Case::new(ddl, foreign(columns)).read() {
            Ok(batches) => {
                let [batch] = &batches[..] else { panic!("{batches:?}") };
                let show =
                    |it: &ArrayRef| match it.null_count() == it.len() || it.data_type().is_null() {
                        true => "null".to_string(),
                        false => it.as_primitive::<Int64Type>().value(0).to_string(),
                    };
                batch.columns().iter().map(show).collect::<Vec<_>>().join(" ")
            }
            Err(err) => err.code().as_str().to_string(),
        }
    };
    assert_eq!(check("a long, b long", vec![one("b"), one("a")]), "1 1");
    assert_eq!(check("a long, b long", vec![one("a"), one("c")]), "1 null");
    assert_eq!(check("a long", vec![one("A")]), "1");
    assert_eq!(check("a long", vec![one("A"), one("a")]), "1");
    assert_eq!(check("aB long", vec![one("AB"), one("ab")]), "corrupt-data");
    assert_eq!(check("a long not null", vec![one("b")]), "corrupt-data");
    assert_eq!(check("a long, v void", vec![one("a")]), "1 null");
    assert_eq!(check("v void", vec![one("v")]), "null");
}

/// Types that widen without loss do, and every other is an error that names the column.
///
/// spec: DATA-7, DATA-8, DATA-10
#[test]
fn types_convert_or_fail() {
    let micros = |values: Vec<i64>| TimestampMicrosecondArray::from(values);
    let decimal = |precision, scale| {
        Arc::new(
            Decimal128Array::from(vec![125]).with_precision_and_scale(precision, scale).unwrap(),
        ) as ArrayRef
    };
    let nanos = |it| TimestampNanosecondArray::from(vec![it]).with_timezone("UTC");
    let utc = |it: TimestampMillisecondArray| it.with_timezone("UTC");
    let words: DictionaryArray<Int32Type> = ["x"].into_iter().collect();
    let table: Vec<(&str, ArrayRef, &str)> = vec![
        ("long", Arc::new(Int32Array::from(vec![5])), "ok"),
        ("int", Arc::new(Int64Array::from(vec![1i64 << 40])), "type-mismatch"),
        ("short", Arc::new(Int32Array::from(vec![5])), "ok"),
        ("short", Arc::new(Int32Array::from(vec![50_000])), "type-mismatch"),
        ("double", Arc::new(Float32Array::from(vec![0.5])), "ok"),
        ("float", Arc::new(Float64Array::from(vec![0.5])), "type-mismatch"),
        ("long", Arc::new(StringArray::from(vec!["5"])), "type-mismatch"),
        ("string", Arc::new(Int64Array::from(vec![5])), "type-mismatch"),
        ("string", Arc::new(words), "ok"),
        ("string", Arc::new(BinaryArray::from(vec![&b"text"[..]])), "ok"),
        ("string", Arc::new(BinaryArray::from(vec![&b"\xff"[..]])), "corrupt-data"),
        ("binary", Arc::new(StringArray::from(vec!["text"])), "ok"),
        ("decimal(10,2)", decimal(9, 2), "ok"),
        ("decimal(10,2)", decimal(10, 2), "ok"),
        ("decimal(10,2)", decimal(20, 4), "type-mismatch"),
        ("decimal(10,2)", decimal(12, 2), "type-mismatch"),
        ("timestamp", Arc::new(micros(vec![5]).with_timezone("UTC")), "ok"),
        ("timestamp", Arc::new(micros(vec![5])), "ok"),
        ("timestamp_ntz", Arc::new(micros(vec![5])), "ok"),
        ("timestamp", Arc::new(utc(vec![5i64].into())), "ok"),
        ("timestamp", Arc::new(utc(vec![i64::MAX].into())), "type-mismatch"),
        ("timestamp", Arc::new(nanos(5_000)), "ok"),
        ("timestamp", Arc::new(nanos(5_001)), "type-mismatch"),
        ("date", Arc::new(Int32Array::from(vec![5])), "type-mismatch"),
        ("struct<x: int>", Arc::new(Int32Array::from(vec![5])), "type-mismatch"),
        ("array<int>", Arc::new(Int32Array::from(vec![5])), "type-mismatch"),
    ];
    for (to, array, expected) in table {
        let from = array.data_type().clone();
        let case = Case::new(&format!("c {to}"), foreign(vec![("c", array)]));
        let result = match case.read() {
            Ok(batches) => {
                assert_eq!(batches[0].schema(), case.schema.to_arrow());
                "ok"
            }
            Err(err) => {
                assert!(err.to_string().contains("`c`"), "{err}");
                err.code().as_str()
            }
        };
        assert_eq!(result, expected, "{from} as {to}");
    }
}

/// A place that a dictionary of values of fixed width does not have is an error, and no panic.
#[test]
fn places_past_a_dictionary_are_refused() {
    use parquet::arrow::ArrowWriter;
    let values: Vec<i128> = (0..64).map(|it| it % 3).collect();
    let decimals = Decimal128Array::from(values).with_precision_and_scale(20, 2).unwrap();
    let batch = RecordBatch::try_from_iter([("d", Arc::new(decimals) as ArrayRef)]).unwrap();
    let mut bytes = Vec::new();
    // The first version of the format has no dictionaries of such values.
    let version = parquet::file::properties::WriterVersion::PARQUET_2_0;
    let properties = WriterProperties::builder().set_writer_version(version).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let metadata = writer.close().unwrap();
    let sound = Case::new("d decimal(20,2)", bytes.clone()).read().unwrap();
    assert_eq!(sound.iter().map(RecordBatch::num_rows).sum::<usize>(), 64);

    let (start, len) = metadata.row_group(0).column(0).byte_range();
    let last = (start + len) as usize - 1;
    bytes[last] = 0xff;
    let error = Case::new("d decimal(20,2)", bytes).read().unwrap_err();
    assert_eq!(error.code(), Code::CorruptData);
    assert!(error.to_string().contains("place 3 of a dictionary of 3"), "{error:?}");
}

/// Structs, lists and maps match at every depth; a null parent needs no children.
#[test]
fn nested_columns_match() {
    let child = |name: &str, of: DataType, nullable| Arc::new(Field::new(name, of, nullable));
    let structs = StructArray::try_new(
        Fields::from(vec![
            Field::new("X", DataType::Int32, true),
            Field::new("y", DataType::Utf8, true),
        ]),
        vec![
            Arc::new(Int32Array::from(vec![Some(1), None])),
            Arc::new(StringArray::from(vec!["a", "b"])),
        ],
        Some(NullBuffer::from(vec![true, false])),
    )
    .unwrap();
    let list = ListArray::new(
        child("item", structs.data_type().clone(), true),
        OffsetBuffer::from_lengths([1, 1]),
        Arc::new(structs.clone()),
        None,
    );
    let bytes = foreign(vec![("s", Arc::new(structs) as ArrayRef), ("l", Arc::new(list))]);
    let read = |ddl: &str| Case::new(ddl, bytes.clone()).read();

    let rows = read("s struct<z: long, x: long not null, v: void>").unwrap();
    let s = rows[0].column(0).as_struct();
    assert!(s.is_valid(0) && s.is_null(1));
    assert_eq!(s.column(1).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(s.column(0).null_count(), 2);

    let rows = read("s struct<w: int>").unwrap();
    assert!(rows[0].column(0).is_valid(0) && rows[0].column(0).is_null(1));

    let rows = read("l array<struct<y: string, q: int>>").unwrap();
    let elements = rows[0].column(0).as_list::<i32>().values().clone();
    assert_eq!(elements.as_struct().column(0).as_string::<i32>().value(0), "a");

    assert_eq!(read("s struct<x: string>").unwrap_err().code(), Code::TypeMismatch);
    assert_eq!(read("s struct<y: string, n: int not null>").unwrap_err().code(), Code::CorruptData);
}

/// Old writers keep timestamps in 96 bits. The last moment of the year 9999 does not fit 64 bits of
/// nanoseconds and must come out right.
///
/// spec: DATA-8
#[test]
fn old_timestamps_are_read() {
    use parquet::data_type::{Int96, Int96Type};
    use parquet::file::writer::SerializedFileWriter;
    let message = "message m { optional int96 t; }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(message).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let moment = |day: u32, nanos: u64| {
        let mut it = Int96::new();
        it.set_data((nanos & 0xffff_ffff) as u32, (nanos >> 32) as u32, day);
        it
    };
    let last = moment(2_440_588 + 2_932_896, 86_399_999_999_000);
    let values = [moment(2_440_588, 1_000), last];
    column.typed::<Int96Type>().write_batch(&values, Some(&[1, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let bytes = Bytes::from(bytes);

    let rows = Case::new("t timestamp", bytes.clone()).read().unwrap();
    let read = rows[0].column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(read.values().as_ref(), [1, 253_402_300_799_999_999]);
    let rows = Case::new("t timestamp_ntz", bytes).read().unwrap();
    let read = rows[0].column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(read.values().as_ref(), [1, 253_402_300_799_999_999]);
}

/// A null where the table has none is an error, never a null.
///
/// spec: DATA-9
#[test]
fn null_in_a_column_that_is_not_null() {
    let bytes = foreign(vec![("a", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef)]);
    assert_eq!(Case::new("a long not null", bytes).code(), Code::CorruptData);
    let all: ArrayRef = Arc::new(NullArray::new(2));
    assert_eq!(Case::new("a long", foreign(vec![("a", all.clone())])).rows(), 2);
    assert_eq!(Case::new("a long not null", foreign(vec![("a", all)])).code(), Code::CorruptData);

    let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let fields = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
    let parent: ArrayRef = Arc::new(StructArray::new(fields, vec![inner], None));
    let case = Case::new("s struct<x: long not null>", foreign(vec![("s", parent)]));
    assert!(case.read().unwrap_err().to_string().contains("column `s.x` is not null"));
}

/// A read of no column of the file still counts its rows.
#[test]
fn rows_without_columns() {
    let bytes = foreign(vec![("a", Arc::new(Int64Array::from_iter_values(0..2500)) as ArrayRef)]);
    assert_eq!(Case::new("b long", bytes.clone()).rows(), 2500);
    let case = Case { schema: Schema::default(), ..Case::new("b long", bytes) };
    let sizes: Vec<usize> = case.read().unwrap().iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
}

/// Footers that count the rows in two ways are refused where nothing else counts them.
///
/// spec: DATA-13
#[test]
fn counts_that_disagree() {
    let bytes = foreign(vec![("a", Arc::new(Int64Array::from_iter_values(0..50)) as ArrayRef)]);
    let tail = bytes.len() - 8;
    let footer = tail - u32::from_le_bytes(bytes[tail..][..4].try_into().unwrap()) as usize;
    let mut found = 0;
    for at in (footer..tail).filter(|at| bytes[*at] == 100) {
        // 50 as a varint is 100; another place may have the byte for another reason.
        let mut lie = bytes.to_vec();
        lie[at] = 102;
        match Case::new("b long", lie).read() {
            Ok(batches) => assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 50),
            Err(err) => found += usize::from(err.code() == Code::CorruptData),
        }
    }
    assert!(3 <= found, "{found}");
}

/// A column chunk with a NaN has no bounds, neither in the footer nor for its pages; its nulls are
/// counted, and the chunks without a NaN keep theirs.
///
/// spec: DATA-15
#[test]
fn no_bounds_with_nan() {
    let double = |nan| Arc::new(Float64Array::from(vec![Some(1.0), None, Some(nan), Some(2.0)]));
    let float = Arc::new(Float32Array::from(vec![1.0, f32::NAN, 2.0, 3.0])) as ArrayRef;
    let item = Arc::new(Field::new("element", DataType::Float64, true));
    let offsets = OffsetBuffer::from_lengths([1, 1, 1, 1]);
    let list = ListArray::new(item, offsets, double(f64::NAN), None);
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("l", list.data_type().clone(), true)), Arc::new(list) as ArrayRef),
        (Arc::new(Field::new("n", DataType::Float64, true)), double(7.0) as ArrayRef),
    ]);
    let batch = RecordBatch::try_from_iter([
        ("a", double(f64::NAN) as ArrayRef),
        ("b", double(3.0)),
        ("c", float),
        ("d", Arc::new(pair)),
    ])
    .unwrap();
    let bytes = ours(&[batch], &FileOptions { row_group_rows: 3, ..options() });
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&bytes)
        .unwrap();
    let mut bounds = Vec::new();
    for group in metadata.row_groups() {
        for column in group.columns() {
            let statistics = column.statistics().unwrap();
            assert!(statistics.null_count_opt().is_some(), "{column:?}");
            assert!(column.offset_index_offset().is_some(), "{column:?}");
            let bounded = statistics.min_bytes_opt().is_some();
            assert_eq!(statistics.max_bytes_opt().is_some(), bounded, "{column:?}");
            assert_eq!(column.column_index_offset().is_some(), bounded, "{column:?}");
            bounds.push(bounded);
        }
    }
    let expected = [[false, true, false, false, true], [true; 5]];
    assert_eq!(bounds, expected.concat());
    let ddl = "a double, b double, c float, d struct<l: array<double>, n: double>";
    assert_eq!(Case::new(ddl, bytes).rows(), 4);
}

/// Row groups whose statistics rule them out are not read, and no other is left out.
///
/// spec: DATA-14
#[test]
fn row_groups_are_pruned() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(
        (0..100).map(|it| if it == 5 { f64::NAN } else { f64::from(it) }),
    ));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("f", floats)]).unwrap();
    let options = FileOptions { row_group_rows: 10, ..options() };
    let bytes = ours(&[batch], &options);
    let table = [
        (col("n").eq(lit(42)), 10),
        (col("n").gt_eq(lit(85)), 20),
        (col("n").lt(lit(0)), 0),
        (col("f").gt(lit(1e9)), 100),
        (col("f").lt(lit(15.0)), 20),
    ];
    for (filter, expected) in table {
        // With another column, rows would be picked one by one.
        let name = filter.to_string();
        let schema = if name.contains('n') { "n long" } else { "f double" };
        let case = Case::new(schema, bytes.clone());
        let case = Case { filter: Some(filter), ..case };
        assert_eq!(case.rows(), expected, "{name}");
    }
}

/// Files that are not what they claim: each is an error of its kind, and none ends the process.
///
/// spec: DATA-11, DATA-13
#[test]
fn hostile_files_are_refused() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let good = foreign(vec![("a", numbers)]);
    let with_end = |end: &[u8]| [&good[..good.len() - end.len()], end].concat();
    let table: Vec<(&str, Vec<u8>, Code)> = vec![
        ("empty", vec![], Code::CorruptData),
        ("short", b"PAR1PAR1".to_vec(), Code::CorruptData),
        ("csv", b"a,b,c\n1,2,3\n4,5,6\n".to_vec(), Code::CorruptData),
        ("half", good[..good.len() / 2].to_vec(), Code::CorruptData),
        ("last byte", good[..good.len() - 1].to_vec(), Code::CorruptData),
        ("encrypted", with_end(b"PARE"), Code::UnsupportedData),
        ("huge footer", with_end(b"\xff\xff\xff\x7fPAR1"), Code::CorruptData),
        ("no footer", with_end(b"\0\0\0\0PAR1"), Code::CorruptData),
        ("shifted", [&[7; 64], &good[..]].concat(), Code::CorruptData),
        (
            "list bomb",
            [b"PAR1\x15\x02\x19\xfc\xff\xff\xff\xff\x07" as &[u8], b"\x09\0\0\0PAR1"].concat(),
            Code::CorruptData,
        ),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(Case::new("a long", bytes).code(), expected, "{name}");
    }
    for size in [0, good.len() as u64 - 10, good.len() as u64 + 10, 1 << 30, 1 << 60] {
        let case = Case { size, ..Case::new("a long", good.clone()) };
        assert_eq!(case.read().unwrap().iter().map(|it| it.num_rows()).sum::<usize>(), 1000);
        let cut = good[..good.len() / 2].to_vec();
        let case = Case { size, ..Case::new("a long", cut) };
        assert_eq!(case.code(), Code::SizeMismatch, "{size}");
    }
    let gone = Case::new("a long", good);
    block_on(gone.store.delete(&Op::default(), KEY)).unwrap();
    assert_eq!(gone.code(), Code::FileNotFound);
}

/// Small files of long text come out in batches of bounded size.
#[test]
fn long_text_is_cut() {
    let long = "x".repeat(900 << 10);
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..300).map(|_| &long)));
    let bytes = foreign(vec![("t", texts)]);
    assert!(bytes.len() < 2 << 20, "{}", bytes.len());
    let case = Case::new("t string", bytes);
    let mut rows = 0;
    for batch in case.read().unwrap() {
        rows += batch.num_rows();
        assert!(batch.get_array_memory_size() < 160 << 20, "{}", batch.get_array_memory_size());
    }
    assert_eq!(rows, 300);
}

/// Columns decoded on different threads stay side by side, also where the text of one of them had
/// to be cut.
#[test]
fn parts_stay_aligned() {
    let long = |it: i64| format!("{}{}", it % 7, "x".repeat(2000));
    let words: Vec<String> = (0..7).map(long).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200_000));
    let texts = StringArray::from_iter_values((0..200_000).map(|it| &words[it % 7]));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("t", Arc::new(texts) as ArrayRef)]);
    let bytes = ours(&[batch.unwrap()], &options());
    let case = Case { batch_rows: 100_000, ..Case::new("n long, z int, t string", bytes) };
    let batches = case.read().unwrap();
    assert!(4 < batches.len(), "{}", batches.len());
    let mut expected = 0;
    for batch in &batches {
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(2).as_string::<i32>();
        assert_eq!(batch.column(1).null_count(), batch.num_rows());
        for (number, text) in numbers.values().iter().zip(texts) {
            assert_eq!(*number, expected);
            assert_eq!(text.unwrap().as_bytes()[0], b'0' + (expected % 7) as u8);
            expected += 1;
        }
    }
    assert_eq!(expected, 200_000);
}

/// A read needs memory, waits for it, and says so when there can never be enough.
#[test]
fn memory_comes_from_the_budget() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50_000).map(|it| it * 7919)));
    let case = Case::new("a long", foreign(vec![("a", numbers)]));
    let small = Case { env: case.env.with_budget(1 << 10), ..case };
    assert_eq!(small.code(), Code::MemoryExceeded);
    let enough = Case { env: small.env.with_budget(8 << 20), ..small };
    let source = Source { batch_rows: 100, ..enough.source() };
    let mut rows = decoded(&enough.env, &enough.store, source);
    block_on(rows.next()).unwrap().unwrap();
    assert!(0 < enough.env.budget().used());
    drop(rows);
    // A job under way keeps its memory to its end.
    while 0 < enough.env.budget().used() {
        block_on(enough.env.sleep(std::time::Duration::from_millis(1)));
    }
}
