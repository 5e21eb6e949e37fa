//! What ends up in which file, and what is left after a failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, Int64Array, NullArray, RecordBatch, RecordBatchIterator, StringArray,
    StructArray,
};
use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use futures::executor::block_on;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lakebed_log::action::Add;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::property::Properties;
use lakebed_log::schema::Schema;
use lakebed_log::stats::{ColumnStats, Stats};
use lakebed_log::uri;
use lakebed_log::value::Value;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::{Data, Layout, write};
use crate::codec::{Codec, Deletions, FileOptions, FileWriter, Parquet, Source, Turn, Written};
use crate::env::{BoxFuture, Deadline, Env};
use crate::op::Op;
use crate::store::{Store, Upload};

/// A place for files, and the table that they would belong to.
struct Bed {
    env: Env,
    objects: Arc<InMemory>,
    op: Op,
    store: Store,
    schema: Schema,
    partition_columns: Vec<String>,
    properties: BTreeMap<String, String>,
    layout: Layout,
}

impl Bed {
    fn new(schema: &str, partition_columns: &[&str]) -> Bed {
        let objects = Arc::new(InMemory::new());
        let env = Env::tokio().with_store("bed://", Arc::clone(&objects) as _);
        let store = env.open("bed://t").unwrap();
        Bed {
            env,
            objects,
            op: Op::default(),
            store,
            schema: Schema::parse_ddl(schema).unwrap(),
            partition_columns: partition_columns.iter().map(|it| (*it).to_string()).collect(),
            properties: BTreeMap::new(),
            layout: Layout::default(),
        }
    }

    fn write(&self, data: impl Into<Data>) -> Result<Vec<Add>> {
        block_on(write(
            &self.env,
            &self.op,
            &self.store,
            data.into(),
            "",
            &self.schema,
            &self.partition_columns,
            &Properties::read(&self.properties),
            &self.layout,
            &Deadline::new(&self.env, self.op.deadline(), self.op.deadline(), "t"),
        ))
    }

    /// Keys of everything there is, at any depth.
    fn keys(&self) -> Vec<String> {
        let all: Vec<_> = block_on(self.objects.list(None).try_collect()).unwrap();
        let key = |it: &object_store::ObjectMeta| it.location.as_ref()["t/".len()..].to_string();
        all.iter().map(key).collect()
    }

    /// The numbers in column `n` of a file.
    fn numbers(&self, add: &Add) -> Vec<i64> {
        let fields = self.schema.fields().iter().filter(|it| it.name == "n").cloned();
        let source = Source {
            key: uri::decode(&add.path).unwrap().into_owned(),
            size: add.size as u64,
            schema: Arc::new(Schema::new(fields.collect()).unwrap()),
            filter: None,
            mapping: lakebed_log::schema::ColumnMapping::None,
            deleted: None,
            only: None,
            rows: None,
            counted: None,
            positions: false,
            batch_rows: 8192,
            turn: Turn::default(),
        };
        let deleted = Box::pin(std::future::ready(Ok(None)));
        let batches = Parquet.read(&self.env, &self.op, &self.store, source, deleted);
        let batches: Vec<RecordBatch> = block_on(batches.try_collect()).unwrap();
        let column = |it: &RecordBatch| it.column(0).as_primitive::<Int64Type>().values().to_vec();
        batches.iter().flat_map(column).collect()
    }

    fn stats(&self, add: &Add) -> Stats {
        Stats::from_json(add.stats.as_ref().unwrap(), &self.schema, None)
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn numbers(of: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(of))
}

fn texts(of: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(of.to_vec()))
}

/// A small write is one file with its statistics, named so that the log can hold it.
///
/// spec: DATA-1
#[test]
fn one_file_for_few_rows() {
    let bed = Bed::new("n long, v void, s struct<x: int, w: void>", &[]);
    let rows = batch(vec![("n", numbers([3, 1, 2])), ("v", Arc::new(NullArray::new(3)))]);
    let adds = bed.write(rows).unwrap();
    let [add] = &adds[..] else { panic!("{adds:?}") };
    assert!(add.path.starts_with("part-00000-") && add.path.ends_with(".c000.zstd.parquet"));
    assert_eq!(bed.keys(), std::slice::from_ref(&add.path));
    assert!(add.data_change && add.partition_values.is_empty() && 0 < add.modification_time);
    assert_eq!(block_on(bed.store.head(&bed.op, &add.path)).unwrap().size, add.size as u64);
    assert_eq!(bed.numbers(add), [3, 1, 2]);
    let stats = bed.stats(add);
    assert_eq!(stats.num_records, Some(3));
    assert_eq!(stats.columns[&vec!["n".to_string()]].min, Some(lakebed_log::value::Value::Long(1)));
    assert_eq!(bed.op.usage().rows, 3);
}

/// Rows go to the file of their partition in the order of the input; null and the empty text are
/// one partition; partition columns are not in the file.
///
/// spec: DATA-1, DATA-2
#[test]
fn rows_split_by_partition() {
    let bed = Bed::new("n long, p string, q int", &["q", "p"]);
    let q: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 1, 2, 1, 1, 1]));
    let p = texts(&[Some("a b"), None, Some("a b"), Some(""), Some("a b"), Some("x/y")]);
    let one = batch(vec![("n", numbers(0..6)), ("p", p), ("q", q)]);
    let adds = bed.write(vec![one.clone(), one]).unwrap();
    let shown: Vec<String> = adds
        .iter()
        .map(|it| {
            format!(
                "{:?} {:?} {:?}",
                it.partition_values["q"],
                it.partition_values["p"],
                bed.numbers(it)
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Some(\"1\") Some(\"a b\") [0, 4, 0, 4]",
            "Some(\"1\") None [1, 3, 1, 3]",
            "Some(\"2\") Some(\"a b\") [2, 2]",
            "Some(\"1\") Some(\"x/y\") [5, 5]",
        ]
    );
    let key = uri::decode(&adds[0].path).unwrap().into_owned();
    assert!(key.starts_with("q=1/p=a b/part-00000-"), "{key}");
    assert!(bed.keys().contains(&key));
    assert!(!adds[0].stats.as_ref().unwrap().contains("\"p\""));

    let strict = Bed::new("n long, p string not null", &["p"]);
    let rows = batch(vec![("n", numbers([1])), ("p", texts(&[Some("")]))]);
    assert_eq!(strict.write(rows).unwrap_err().code(), Code::InvalidData);
    assert!(strict.keys().is_empty());
}

/// Every type that can partition does, by value, and the log's string reads back to it.
#[test]
fn every_type_partitions() {
    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        Int8Array, Int16Array, TimestampMicrosecondArray,
    };
    let micros = || TimestampMicrosecondArray::from(vec![Some(1_500), None, Some(1_500)]);
    let decimal = Decimal128Array::from(vec![Some(125), None, Some(125)]);
    let table: Vec<(&str, ArrayRef)> = vec![
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(true)]))),
        ("byte", Arc::new(Int8Array::from(vec![Some(-5), None, Some(-5)]))),
        ("short", Arc::new(Int16Array::from(vec![Some(-5), None, Some(-5)]))),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MIN)]))),
        ("float", Arc::new(Float32Array::from(vec![Some(f32::NAN), None, Some(f32::NAN)]))),
        ("double", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(0.1)]))),
        ("decimal(5,2)", Arc::new(decimal.with_precision_and_scale(5, 2).unwrap())),
        ("string", texts(&[Some("\u{e9}%=/"), None, Some("\u{e9}%=/")])),
        ("binary", Arc::new(BinaryArray::from(vec![Some(&b"\x00a"[..]), None, Some(b"\x00a")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(-719_162)]))),
        ("timestamp", Arc::new(micros().with_timezone("UTC"))),
        ("timestamp_ntz", Arc::new(micros())),
    ];
    for (of, array) in table {
        let bed = Bed::new(&format!("n long, p {of}"), &["p"]);
        let expected = lakebed_log::value::Value::from_array(array.as_ref(), 0).unwrap();
        let adds = bed.write(batch(vec![("n", numbers(0..3)), ("p", array)])).unwrap();
        assert_eq!(adds.len(), 2, "{of}");
        assert_eq!(bed.numbers(&adds[0]), [0, 2], "{of}");
        assert_eq!(adds[1].partition_values["p"], None, "{of}");
        let text = adds[0].partition_values["p"].as_deref().unwrap();
        let of = expected.as_ref().unwrap().primitive_type();
        let read = lakebed_log::value::Value::from_partition(text, of).unwrap();
        assert_eq!(read, expected, "{text}");
    }
}

/// Files roll at the target, of the layout or of the table, and no row is lost on the way.
#[test]
fn files_roll() {
    let bed = |layout: u64, property: Option<&str>| {
        let mut bed = Bed::new("n long", &[]);
        bed.layout.target_file_bytes = layout;
        let property = property.map(|it| ("delta.targetFileSize".to_string(), it.to_string()));
        bed.properties.extend(property);
        bed
    };
    let default = Layout::default().target_file_bytes;
    // Multiplied so that they do not compress.
    let scattered = |it: i64| it.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
    let all: Vec<i64> = (0..600_000).map(scattered).collect();
    let rows = batch(vec![("n", numbers(all.iter().copied()))]);
    for (bed, least, most) in [
        (bed(default, None), 1, 1),
        (bed(1 << 20, None), 3, 6),
        (bed(default, Some("1048576")), 3, 6),
        (bed(2 << 20, Some("1048576")), 2, 3),
    ] {
        let adds = bed.write(rows.clone()).unwrap();
        assert!((least..=most).contains(&adds.len()), "{}", adds.len());
        let read: Vec<i64> = adds.iter().flat_map(|it| bed.numbers(it)).collect();
        assert!(read == all);
        for (at, add) in adds.iter().enumerate() {
            assert!(add.path.starts_with(&format!("part-{at:05}-")), "{}", add.path);
        }
    }
}

/// Memory stays in the budget when there are more open partitions than fit, at the price of more
/// files.
#[test]
fn many_partitions_in_little_memory() {
    let mut bed = Bed::new("n long, p long", &["p"]);
    bed.env = bed.env.with_budget(4 << 20);
    let one = |from: i64| {
        let range = from..from + 20_000;
        batch(vec![
            ("n", numbers(range.clone().map(|it| it * 0x9e37_79b9))),
            ("p", numbers(range.map(|it| it % 100))),
        ])
    };
    let schema = one(0).schema();
    let rows = stream::iter((0..20).map(move |it| Ok(one(it * 20_000)))).boxed();
    let adds = bed.write(Data::stream(schema, rows)).unwrap();
    let rows: u64 = adds.iter().map(|it| bed.stats(it).num_records.unwrap()).sum();
    assert_eq!(rows, 400_000);
    assert!(100 < adds.len(), "{}", adds.len());
    assert_eq!(bed.env.budget().used(), 0);
}

/// Input that fails, does not fit, or cannot be stored leaves nothing behind, and the error is its
/// own.
///
/// spec: DATA-3
#[test]
fn failures_leave_nothing() {
    let good =
        || batch(vec![("n", numbers(0..300_000)), ("p", numbers((0..300_000).map(|it| it % 3)))]);
    let broken = || {
        let schema = good().schema();
        let err = Error::new(Code::Unavailable, "the pipe broke");
        Data::stream(schema, stream::iter([Ok(good()), Ok(good()), Err(err)]).boxed())
    };
    let wrong = || {
        let words = batch(vec![("n", texts(&[Some("x")]))]);
        Data::stream(good().schema(), stream::iter([Ok(good()), Ok(words)]).boxed())
    };
    let check = |data: Data, ddl: &str, layout: Layout| {
        let bed = Bed { layout, ..Bed::new(ddl, &["p"]) };
        let code = bed.write(data).unwrap_err().code();
        assert_eq!(bed.keys(), [""; 0]);
        code
    };
    let small = || Layout { target_file_bytes: 1 << 18, ..Layout::default() };
    let zip = Layout { compression: Some(("zip".into(), None)), ..Layout::default() };
    let level = Layout { compression: Some(("zstd".into(), Some(99))), ..Layout::default() };
    assert_eq!(check(broken(), "n long, p long", small()), Code::Unavailable);
    assert_eq!(check(wrong(), "n long, p long", small()), Code::SchemaMismatch);
    assert_eq!(check(good().into(), "n long, p long", zip), Code::InvalidArgument);
    assert_eq!(check(good().into(), "n long, p long", level), Code::InvalidArgument);
    let layout = Layout::default;
    let only = |it: &str| good().project(&[good().schema().index_of(it).unwrap()]).unwrap().into();
    for void in ["p long, v void", "p long, l array<void>", "p long, s struct<v: void>"] {
        assert_eq!(check(only("p"), void, layout()), Code::UnsupportedData, "{void}");
    }
}

/// No rows are no files, even for a table that could not hold any.
#[test]
fn nothing_writes_nothing() {
    for (ddl, data) in [
        ("n long", Data::from(Vec::new())),
        ("n long", batch(vec![("n", numbers([]))]).into()),
        ("v void", Data::from(Vec::new())),
    ] {
        let bed = Bed::new(ddl, &[]);
        assert!(bed.write(data).unwrap().is_empty());
        assert!(bed.keys().is_empty());
    }
    assert_eq!(Data::from(Vec::new()).schema().as_ref(), &ArrowSchema::empty());
}

/// A reader is pulled to its end, and its error is the write's.
#[test]
fn readers_are_pulled() {
    let one = batch(vec![("n", numbers(0..10))]);
    let schema = one.schema();
    let bed = Bed::new("n long", &[]);
    let good = RecordBatchIterator::new([Ok(one.clone()), Ok(one.clone())], schema.clone());
    let adds = bed.write(Data::reader(good)).unwrap();
    assert_eq!(bed.numbers(&adds[0]).len(), 20);

    let failure = arrow_schema::ArrowError::ParseError("line 3".into());
    let bad = RecordBatchIterator::new([Ok(one), Err(failure)], schema);
    let err = bed.write(Data::reader(bad)).unwrap_err();
    assert_eq!(err.code(), Code::InvalidArgument);
    assert!(format!("{err:?}").contains("line 3"), "{err:?}");
}

/// Files whose footer is told otherwise than it is.
struct Lying(fn(&mut Written));

impl Codec for Lying {
    fn extension(&self, options: &FileOptions) -> String {
        Parquet.extension(options)
    }

    fn read(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        source: Source,
        deleted: Deletions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        Parquet.read(env, op, store, source, deleted)
    }

    fn write(
        &self,
        env: &Env,
        op: &Op,
        upload: Box<dyn Upload>,
        schema: SchemaRef,
        options: &FileOptions,
    ) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(Liar(Parquet.write(env, op, upload, schema, options)?, self.0)))
    }
}

struct Liar(Box<dyn FileWriter>, fn(&mut Written));

impl FileWriter for Liar {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        self.0.write(batch)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Written>> {
        Box::pin(async move {
            let mut written = self.0.finish().await?;
            (self.1)(&mut written);
            Ok(written)
        })
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.abort()
    }
}

fn recorded<'a>(written: &'a mut Written, name: &str) -> &'a mut ColumnStats {
    let path: Vec<String> = name.split('.').map(str::to_string).collect();
    written.recorded.columns.get_mut(&path).unwrap()
}

/// Statistics are held against the footer of the file before a commit may name it, and a file that
/// they lie about does not stay.
///
/// spec: TXN-45
#[test]
fn statistics_that_lie() {
    let lies: [(fn(&mut Written), &str); 6] = [
        (|_| {}, ""),
        (|it| it.rows += 1, "statistics of 3 rows for a file of 4"),
        (|it| it.recorded.num_records = Some(2), "`numRecords` is 3, the file has 2 rows"),
        (|it| recorded(it, "n").max = Some(Value::Long(8)), "`n` has a value above its maximum"),
        (|it| recorded(it, "s.x").min = Some(Value::Long(-1)), "`s.x` has a value below its"),
        (|it| recorded(it, "n").null_count = Some(1), "`nullCount` of `n` is 0, there are 1"),
    ];
    for (lie, expected) in lies {
        let mut bed = Bed::new("n long, s struct<x: long>", &[]);
        bed.env = bed.env.with_codec(Arc::new(Lying(lie)));
        let x = numbers([4, 5, 6]);
        let field = Arc::new(arrow_schema::Field::new("x", x.data_type().clone(), true));
        let s: ArrayRef = Arc::new(StructArray::from(vec![(field, x)]));
        let wrote = bed.write(batch(vec![("n", numbers([3, 1, 7])), ("s", s)]));
        match wrote {
            Ok(adds) => assert_eq!((adds.len(), expected), (1, "")),
            Err(err) => {
                assert_eq!(err.code(), Code::Internal);
                assert!(err.to_string().contains(expected) && !expected.is_empty(), "{err}");
                assert!(bed.keys().is_empty(), "{:?}", bed.keys());
            }
        }
    }
}

/// The footer has a say on every type that has bounds, over all row groups.
///
/// spec: TXN-45
#[test]
fn footers_bound_every_type() {
    let types = [
        "boolean",
        "byte",
        "short",
        "int",
        "long",
        "float",
        "double",
        "decimal(5,2)",
        "decimal(15,2)",
        "decimal(38,10)",
        "string",
        "date",
        "timestamp",
        "timestamp_ntz",
    ];
    let columns: Vec<String> =
        types.iter().enumerate().map(|(at, of)| format!("c{at} {of}")).collect();
    let mut bed = Bed::new(&columns.join(", "), &[]);
    bed.layout.row_group_rows = 2;
    bed.env = bed.env.with_codec(Arc::new(Lying(|it| {
        assert_eq!((it.rows, it.recorded.columns.len()), (3, 14));
        for (path, column) in &it.recorded.columns {
            assert!(column.min.is_some() && column.max.is_some(), "{path:?}: {column:?}");
            assert!(column.min != column.max, "{path:?}: {column:?}");
            assert_eq!(column.null_count, Some(1), "{path:?}");
        }
    })));
    let shape = bed.schema.to_arrow();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(1)]));
    let cast = |of: &arrow_schema::DataType| match of {
        arrow_schema::DataType::Date32 => {
            let days = arrow_cast::cast(&values, &arrow_schema::DataType::Int32).unwrap();
            arrow_cast::cast(&days, of).unwrap()
        }
        of => arrow_cast::cast(&values, of).unwrap(),
    };
    let arrays = shape.fields().iter().map(|it| cast(it.data_type())).collect();
    let rows = RecordBatch::try_new(shape, arrays).unwrap();
    assert_eq!(bed.write(rows).unwrap().len(), 1);
}

/// A pool below the least that a write needs is refused, not exceeded.
#[test]
fn a_budget_too_small() {
    for (budget, fits) in [(1 << 10, false), ((2 << 20) - 1, false), (2 << 20, true)] {
        let mut bed = Bed::new("n long", &[]);
        bed.env = bed.env.with_budget(budget);
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let wrote = bed.write(RecordBatch::try_from_iter([("n", n)]).unwrap());
        let code = wrote.as_ref().err().map(Error::code);
        assert_eq!(code, (!fits).then_some(Code::MemoryExceeded), "{budget}");
        assert_eq!(bed.keys().len(), usize::from(fits));
    }
}
