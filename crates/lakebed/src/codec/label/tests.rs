//! Files that name their columns in other ways than the table.

use std::collections::BTreeMap;

use arrow_array::Int64Array;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::executor::block_on;
use lakebed_log::expr::{col, lit};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::codec::Source;
use crate::codec::tests::{Case, decoded, foreign_with};

const DDL: &str = "a long, s struct<x: long, y: long>, l array<struct<z: long>>, \
                   m map<long, struct<v: array<struct<k: long>>>>";

/// Rows of a file.
const ROWS: i64 = 6;

/// How a file names a field of the table; what has no entry is not in the file.
type Names = BTreeMap<&'static str, (String, Option<i32>)>;

/// Fields of the table, each with an id.
const FIELDS: &[(&str, i32)] =
    &[("a", 1), ("s", 2), ("x", 3), ("y", 4), ("l", 5), ("z", 6), ("m", 7), ("v", 8), ("k", 9)];

/// A name that the table has for another field: whoever mixes up the two finds something wrong.
fn physical(id: i32) -> String {
    let next = usize::try_from(id).unwrap() % FIELDS.len();
    format!("p{}", FIELDS[next].0)
}

/// The table's schema with ids and physical names.
fn table() -> Schema {
    fn field(it: &StructField) -> StructField {
        let id = FIELDS.iter().find(|field| field.0 == it.name).unwrap().1;
        let mut out = it.clone();
        out.data_type = part(&it.data_type);
        out.metadata.insert("delta.columnMapping.id".into(), id.into());
        out.metadata.insert("delta.columnMapping.physicalName".into(), physical(id).into());
        out
    }
    fn part(of: &TableType) -> TableType {
        match of.clone() {
            TableType::Struct(it) => {
                TableType::Struct(Schema::new(it.fields().iter().map(field).collect()).unwrap())
            }
            TableType::Array(mut it) => {
                it.element = part(&it.element);
                TableType::Array(it)
            }
            TableType::Map(mut it) => {
                it.value = part(&it.value);
                TableType::Map(it)
            }
            other => other,
        }
    }
    let schema = Schema::parse_ddl(DDL).unwrap();
    Schema::new(schema.fields().iter().map(field).collect()).unwrap()
}

/// Fields of one struct being made, in the order in which the file has them.
struct Parts<'n> {
    names: &'n Names,
    /// Fields that are not the table's, by the struct they are in.
    junk: &'n [(&'static str, String, Option<i32>)],
    fields: Vec<(Field, ArrayRef)>,
}

impl<'n> Parts<'n> {
    fn new(names: &'n Names, junk: &'n [(&'static str, String, Option<i32>)]) -> Parts<'n> {
        Parts { names, junk, fields: Vec::new() }
    }

    fn add(&mut self, name: &str, array: Option<ArrayRef>) {
        if let (Some((name, id)), Some(array)) = (self.names.get(name), array) {
            self.fields.push((labelled_field(name, *id, &array), array));
        }
    }

    /// `None` for a struct without fields.
    fn finish(mut self, of: &str, rows: usize) -> Option<StructArray> {
        for (parent, name, id) in self.junk {
            if *parent == of && !self.fields.iter().any(|it| it.0.name() == name) {
                let array: ArrayRef = Arc::new(Int64Array::from(vec![-7; rows]));
                self.fields.insert(0, (labelled_field(name, *id, &array), array));
            }
        }
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self.fields.into_iter().unzip();
        let nulls = NullBuffer::from_iter((0..rows).map(|it| of.is_empty() || it % 5 != 3));
        let nulls = (!of.is_empty()).then_some(nulls);
        (!fields.is_empty()).then(|| StructArray::new(fields.into(), arrays, nulls))
    }
}

fn labelled_field(name: &str, id: Option<i32>, array: &ArrayRef) -> Field {
    let id = id.map(|it| (PARQUET_FIELD_ID_META_KEY.to_string(), it.to_string()));
    Field::new(name, array.data_type().clone(), true).with_metadata(id.into_iter().collect())
}

fn numbers(base: i64, rows: i64) -> Option<ArrayRef> {
    Some(Arc::new(Int64Array::from_iter((0..rows).map(|it| (it != 1).then_some(base + it)))))
}

fn list(values: Option<StructArray>) -> Option<ArrayRef> {
    let values: ArrayRef = Arc::new(values?);
    let lengths = values.len() / usize::try_from(ROWS).unwrap();
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(vec![lengths; usize::try_from(ROWS).unwrap()]);
    Some(Arc::new(ListArray::new(field, offsets, values, None)))
}

/// Bytes of a file that has the fields in `names`, and junk.
fn file(names: &Names, junk: &[(&'static str, String, Option<i32>)]) -> Bytes {
    let rows = usize::try_from(ROWS).unwrap();
    let parts = || Parts::new(names, junk);
    let mut s = parts();
    s.add("x", numbers(100, ROWS));
    s.add("y", numbers(200, ROWS));
    let mut z = parts();
    z.add("z", numbers(300, 2 * ROWS));
    let mut k = parts();
    k.add("k", numbers(400, ROWS));
    let mut v = parts();
    v.add("v", list(k.finish("k", rows)));
    let map = v.finish("v", rows).map(|values| -> ArrayRef {
        let fields = vec![
            Field::new("key", DataType::Int64, false),
            Field::new("value", values.data_type().clone(), true),
        ];
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let entries = StructArray::new(fields.into(), vec![keys, Arc::new(values)], None);
        let field = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
        let offsets = OffsetBuffer::from_lengths(vec![1; rows]);
        Arc::new(MapArray::new(field, offsets, entries, None, false))
    });

    let mut top = parts();
    top.add("m", map);
    top.add("l", list(z.finish("z", 2 * rows)));
    top.add("a", numbers(0, ROWS));
    top.add("s", s.finish("s", rows).map(|it| -> ArrayRef { Arc::new(it) }));
    let top = top.finish("", rows).map(RecordBatch::from).unwrap();
    foreign_with(&top, WriterProperties::default())
}

/// Rows of a file, read under a mapping.
fn read(bytes: Bytes, mapping: ColumnMapping, schema: &Schema) -> Result<Vec<RecordBatch>> {
    let case = Case { schema: schema.clone(), ..Case::new("a long", bytes) };
    let source = Source { mapping, ..case.source() };
    block_on(decoded(&case.env, &case.store, source).try_collect())
}

/// A file without the fields that are left out; by the names of the table, as the files of an
/// unmapped table have them.
fn plain(left_out: &[&str]) -> Names {
    let names = FIELDS.iter().filter(|it| !left_out.contains(&it.0));
    names.map(|it| (it.0, (it.0.to_string(), None))).collect()
}

fn by_name(names: &Names, ids: bool) -> Names {
    let label = |id: i32| (physical(id), ids.then_some(id));
    names.keys().map(|it| (*it, label(FIELDS.iter().find(|of| of.0 == *it).unwrap().1))).collect()
}

/// Names of another writer, ids of the table.
fn by_id(names: &Names, name: impl Fn(&str) -> String) -> Names {
    let field = |it: &&'static str| FIELDS.iter().find(|of| of.0 == *it).unwrap();
    names.keys().map(|it| (*it, (name(it), Some(field(it).1)))).collect()
}

/// The rows that any mapping must give, if the file lacks these fields.
fn expected(left_out: &[&str]) -> Vec<RecordBatch> {
    read(file(&plain(left_out), &[]), ColumnMapping::None, &table()).unwrap()
}

/// spec: MAP-7, MAP-8, MAP-12
#[test]
fn columns_are_found_at_every_level() {
    let names = plain(&[]);
    let rows = expected(&[]);
    assert_eq!(rows[0].num_rows(), 6);
    assert!(rows[0].columns().iter().all(|it| it.null_count() < 6));
    for ids in [true, false] {
        let found = read(file(&by_name(&names, ids), &[]), ColumnMapping::Name, &table());
        assert_eq!(found.unwrap(), rows);
    }
    let upper: Names = by_name(&names, false)
        .into_iter()
        .map(|(field, (name, id))| (field, (name.to_uppercase(), id)))
        .collect();
    assert_eq!(read(file(&upper, &[]), ColumnMapping::Name, &table()).unwrap(), rows);

    // By id it is of no account what the columns are called, even if it is like another one.
    let others: [&dyn Fn(&str) -> String; 3] =
        [&|it| format!("i{it}"), &|it| it.to_string(), &|it| {
            physical(FIELDS.iter().find(|of| of.0 == it).unwrap().1 % 9 + 1)
        }];
    for name in others {
        let found = read(file(&by_id(&names, name), &[]), ColumnMapping::Id, &table());
        assert_eq!(found.unwrap(), rows);
    }
    // The names of the table mean nothing where columns are mapped by name.
    let found = read(file(&names, &[]), ColumnMapping::Name, &table()).unwrap();
    assert!(found[0].columns().iter().all(|it| it.null_count() == it.len()));
}

/// spec: MAP-9, MAP-10
#[test]
fn a_file_without_ids_is_refused() {
    let names = plain(&[]);
    let refused = read(file(&by_name(&names, false), &[]), ColumnMapping::Id, &table());
    assert_eq!(refused.unwrap_err().code(), Code::CorruptData);
    // An id at any level tells that the file has ids.
    let some = [("s", "_".to_string(), Some(77))];
    let found = read(file(&by_name(&names, false), &some), ColumnMapping::Id, &table()).unwrap();
    assert!(found[0].columns().iter().all(|it| it.null_count() == it.len()));
    // Rows are counted without looking for any column.
    let none = Schema::new(Vec::new()).unwrap();
    for mapping in [ColumnMapping::Name, ColumnMapping::Id] {
        let found = read(file(&by_name(&names, false), &[]), mapping, &none).unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
    }
    // What is no column of the table has no id and is found by its name.
    let extra = StructField::new("_extra", lakebed_log::schema::PrimitiveType::Long, true);
    let mut fields = table().fields().to_vec();
    fields.push(extra);
    let schema = Schema::new(fields).unwrap();
    let junk = [("", "_extra".to_string(), None)];
    let bytes = file(&by_id(&names, |it| format!("i{it}")), &junk);
    let found = read(bytes, ColumnMapping::Id, &schema).unwrap();
    assert_eq!(found[0].column(4).as_primitive::<arrow_array::types::Int64Type>().value(0), -7);
    assert_eq!(found[0].project(&[0, 1, 2, 3]).unwrap().columns(), expected(&[])[0].columns());
}

/// spec: MAP-8
#[test]
fn an_id_twice_is_refused() {
    let twice = [("s", "_".to_string(), Some(3))];
    let bytes = file(&by_id(&plain(&[]), str::to_string), &twice);
    let refused = read(bytes, ColumnMapping::Id, &table()).unwrap_err();
    assert_eq!(refused.code(), Code::CorruptData);
    assert!(refused.message().contains("field id 3"), "{refused}");
}

/// spec: MAP-13
#[test]
fn row_groups_are_judged_by_the_right_column() {
    let names = plain(&[]);
    let rows = |bytes: Bytes, mapping| {
        let filter = Some(col("a").gt(lit(1000)));
        let case = Case { schema: table(), filter, ..Case::new("a long", bytes) };
        let source = Source { mapping, ..case.source() };
        let read = decoded(&case.env, &case.store, source);
        let batches: Vec<RecordBatch> = block_on(read.try_collect()).unwrap();
        batches.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    // A column of the file that is called `a` and holds none of its values rules nothing in or out.
    for (name, mapping) in [("a", ColumnMapping::Id), ("a", ColumnMapping::Name)] {
        let junk = [("", name.to_string(), Some(77))];
        assert_eq!(rows(file(&by_name(&names, true), &junk), mapping), 0);
        let without = by_name(&plain(&["a"]), true);
        assert_eq!(rows(file(&without, &junk), mapping), 6, "{mapping:?}");
    }
}

fn some_junk() -> impl Strategy<Value = Vec<(&'static str, String, Option<i32>)>> {
    let parent = prop::sample::select(vec!["", "s", "z", "v", "k"]);
    let name = prop_oneof![
        prop::sample::select(FIELDS).prop_map(|it| it.0.to_string()),
        prop::sample::select(FIELDS).prop_map(|it| it.0.to_uppercase()),
        Just("typed_value".to_string()),
    ];
    let id = prop_oneof![Just(None), (50i32..60).prop_map(Some)];
    prop::collection::vec((parent, name, id), 0..5).prop_map(|mut all| {
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|it| seen.insert((it.0, it.1.to_lowercase())));
        let mut ids = std::collections::BTreeSet::new();
        all.retain(|it| it.2.is_none_or(|id| ids.insert(id)));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever a file lacks is null, and whatever else it has, under names that the table has for
    /// other columns, is not read.
    ///
    /// spec: MAP-7, MAP-8, MAP-11
    #[test]
    fn dropped_columns_do_not_come_back(
        left_out in prop::sample::subsequence(vec!["a", "x", "y", "z", "k"], 0..5),
        junk in some_junk(),
    ) {
        let names = plain(&left_out);
        // What is left of a struct must be told apart from one that is not there.
        let kept: Vec<_> =
            ["s", "z", "v", "k"].map(|it| (it, "kept".to_string(), Some(40))).into();
        let rows = read(file(&names, &kept), ColumnMapping::None, &table()).unwrap();
        let junk: Vec<_> = junk.into_iter().chain(kept).collect();
        let by_name = file(&by_name(&names, true), &junk);
        prop_assert_eq!(&read(by_name, ColumnMapping::Name, &table()).unwrap(), &rows);
        let by_id = file(&by_id(&names, |it| format!("i{it}")), &junk);
        prop_assert_eq!(&read(by_id, ColumnMapping::Id, &table()).unwrap(), &rows);
    }
}

/// Text of which rows are left out is read by what the file says of it, less one thing: names, ids
/// and nulls stay.
#[test]
fn text_is_found_where_rows_are_left_out() {
    let text = |name: &str, id: i32, nullable: bool, texts: Vec<Option<&str>>| {
        let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())];
        let field = Field::new(name, DataType::Utf8, nullable).with_metadata(id.into());
        (field, Arc::new(arrow_array::StringArray::from(texts)) as ArrayRef)
    };
    let columns = [
        text("y", 1, true, vec![Some("a"), None, Some("c")]),
        text("x", 2, false, vec![Some("d"), Some("e"), Some("f")]),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let rows = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap();
    let plain = WriterProperties::builder().set_dictionary_enabled(false).build();
    let file = foreign_with(&rows, plain);
    let mut fields = Schema::parse_ddl("x string, y string not null").unwrap().fields().to_vec();
    for (field, (id, name)) in fields.iter_mut().zip([(1, "y"), (2, "x")]) {
        field.metadata.insert("delta.columnMapping.id".into(), id.into());
        field.metadata.insert("delta.columnMapping.physicalName".into(), name.into());
    }
    let schema = Schema::new(fields).unwrap();
    for mapping in [ColumnMapping::Id, ColumnMapping::Name] {
        let case = Case::new("x string", file.clone());
        let schema = Arc::new(schema.clone());
        let deleted = Some(Arc::new([0].into_iter().collect()));
        let source = Source { schema, mapping, deleted, ..case.source() };
        let read: Vec<RecordBatch> =
            block_on(decoded(&case.env, &case.store, source).try_collect()).unwrap();
        let column = |name: &str| {
            let text = read[0].column_by_name(name).unwrap().as_string::<i32>();
            text.iter().map(|it| it.unwrap_or("-")).collect::<Vec<_>>()
        };
        assert_eq!((column("x"), column("y")), (vec!["-", "c"], vec!["e", "f"]), "{mapping:?}");
    }
}
