//! Which files a plan holds.

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StructArray};
use arrow_schema::{DataType as ArrowType, Field};
use proptest::prelude::*;

use super::*;
use crate::action::{Action, Add, Metadata, Protocol};
use crate::batch::{Adds, LogBatch, Width};
use crate::error::ErrorKind;
use crate::expr::lit;
use crate::replay::Replay;
use crate::schema::DataType;

const DDL: &str = "p int, q string, x long, s struct<y: long>, \"Odd.Name\" string";

fn head_actions(ddl: &str, partition_columns: &[&str]) -> Vec<Action> {
    let metadata = Metadata {
        id: "t".to_string(),
        name: None,
        description: None,
        format_provider: "parquet".to_string(),
        format_options: BTreeMap::new(),
        schema_string: Schema::parse_ddl(ddl).unwrap().to_json(),
        partition_columns: partition_columns.iter().map(ToString::to_string).collect(),
        configuration: BTreeMap::new(),
        created_time: None,
    };
    vec![Action::Protocol(Protocol::legacy()), Action::Metadata(metadata)]
}

fn state_of(actions: &[Action], width: Width) -> Result<TableState> {
    let mut replay = Replay::new(Version::from(5), width);
    replay.feed(LogBatch::from_actions(actions)?)?;
    replay.finish()
}

/// A file as `path p q min..max`; a value `-` is null, `?` leaves the key out; no range, no
/// statistics.
fn file(text: &str) -> Action {
    let mut words = text.split_whitespace();
    let path = words.next().unwrap().to_string();
    let mut partition_values = BTreeMap::new();
    for name in ["p", "q"] {
        let value = words.next().unwrap();
        if value != "?" {
            partition_values.insert(name.to_string(), (value != "-").then(|| value.to_string()));
        }
    }
    let stats = words.next().map(|range| {
        let (min, max) = range.split_once("..").unwrap();
        let bounds = format!(r#""minValues":{{"x":{min}}},"maxValues":{{"x":{max}}}"#);
        format!(r#"{{"numRecords":3,{bounds},"nullCount":{{"x":0}}}}"#)
    });
    Action::Add(Add { path, partition_values, size: 7, stats, ..Add::default() })
}

fn table(files: &[&str], width: Width) -> Result<TableState> {
    let mut actions = head_actions(DDL, &["p", "q"]);
    actions.extend(files.iter().map(|it| file(it)));
    state_of(&actions, width)
}

const FILES: &[&str] =
    &["a 1 u 0..9", "b 1 u 10..19", "c 2 u 0..9", "d 2 v", "e - v 10..19", "p=01/f 01 u 20..29"];

fn planned(files: &[&str], width: Width, scan: &Scan) -> Result<ScanPlan> {
    let state = table(files, width)?;
    plan(&state, state.head.read, scan)
}

fn keys(plan: &ScanPlan) -> String {
    plan.tasks().iter().map(|it| it.key.as_str()).collect::<Vec<_>>().join(" ")
}

/// The filter, the files it leaves in with and without statistics, and the partitions that there
/// are and that are read with them.
fn check(filter: &str, wide: &str, narrow: &str, partitions: (u64, u64)) {
    let scan = Scan::new().filter(filter.parse().unwrap());
    let plan = planned(FILES, Width::Wide, &scan).unwrap();
    assert_eq!(keys(&plan), wide, "{filter}");
    assert_eq!(plan.partitions(), partitions, "{filter}");
    assert_eq!(plan.considered(), 6, "{filter}");
    let without = planned(FILES, Width::Narrow, &scan).unwrap();
    assert_eq!(keys(&without), narrow, "{filter}");
    let state = table(FILES, Width::Narrow).unwrap();
    let needs = needs_stats(&state.head, &scan).unwrap();
    assert!(needs || wide == narrow, "{filter} skipped by statistics it does not need");
}

/// spec: PART-15
#[test]
fn partitions_are_judged_first_then_statistics() {
    let all = "a b c d e p=01/f";
    check("p = 1", "a b p=01/f", "a b p=01/f", (4, 1));
    check("p = 2 and q = 'v'", "d", "d", (4, 1));
    check("p is null", "e", "e", (4, 1));
    check("p = 7", "", "", (4, 0));
    check("x < 5", "a c d", all, (4, 3));
    check("x >= 20", "d p=01/f", all, (4, 2));
    check("p = 1 and x > 15", "b p=01/f", "a b p=01/f", (4, 1));
    check("p = 1 or x < 5", "a b c d p=01/f", all, (4, 3));
    check("s.y = 3", all, all, (4, 4));
}

#[test]
fn statistics_are_needed_only_by_filters_on_data() {
    let state = table(FILES, Width::Narrow).unwrap();
    let needs = |filter: Option<&str>| {
        let scan = match filter {
            Some(it) => Scan::new().filter(it.parse().unwrap()),
            None => Scan::new(),
        };
        needs_stats(&state.head, &scan).map_err(|it| it.code())
    };
    assert_eq!(needs(None), Ok(false));
    assert_eq!(needs(Some("p = 1")), Ok(false));
    assert_eq!(needs(Some("x = 1")), Ok(true));
    assert_eq!(needs(Some("p = 1 and x = 1")), Ok(true));
    assert_eq!(needs(Some("nope = 1")), Err(Code::UnknownColumn));
    assert_eq!(needs(Some("x + 1")), Err(Code::InvalidExpression));
}

#[test]
fn tasks_say_how_to_read_a_file() {
    let files = ["p=a%253Ab/f%20g 3 - 0..9", "h - v"];
    let plan = planned(&files, Width::Wide, &Scan::new()).unwrap();
    let [first, second] = plan.tasks() else { panic!("{plan:?}") };
    assert_eq!((first.path.as_str(), first.key.as_str()), ("p=a%253Ab/f%20g", "p=a%3Ab/f g"));
    assert_eq!((first.size, first.num_records, second.num_records), (7, Some(3), None));
    let typed: BTreeMap<String, Option<Value>> =
        [("p".to_string(), Some(Value::Integer(3))), ("q".to_string(), None)].into();
    assert_eq!(*first.partition, typed);
    assert_eq!(second.partition["q"], Some(Value::String("v".to_string())));
    assert_eq!(first.deletion_vector, None);
    assert_eq!((plan.version(), plan.batch_rows(), plan.limit()), (Version::from(5), 8192, None));
}

#[test]
fn columns_come_as_asked_for() {
    let names = |columns: &[&str]| {
        let plan = planned(&[], Width::Narrow, &Scan::new().columns(columns.iter().copied()));
        plan.map(|it| it.schema().fields().iter().map(|it| it.name().clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&["x", "p"]).unwrap(), ["x", "p"]);
    assert_eq!(names(&["X", "odd.name"]).unwrap(), ["x", "Odd.Name"]);
    assert_eq!(names(&[]).unwrap(), [""; 0]);
    let unknown = names(&["xx"]).unwrap_err();
    assert_eq!(unknown.code(), Code::UnknownColumn);
    assert!(unknown.message().contains("`x`"), "{unknown}");
    assert_eq!(names(&["s.y"]).unwrap_err().code(), Code::UnknownColumn);
    assert_eq!(names(&["x", "X"]).unwrap_err().kind(), ErrorKind::Invalid);
    let all = planned(&[], Width::Narrow, &Scan::new()).unwrap();
    assert_eq!(all.schema().fields().len(), 5);
}

#[test]
fn filters_add_up() {
    let scan = Scan::new().filter(col("p").eq(lit(2))).filter(col("q").eq(lit("v")));
    assert_eq!(keys(&planned(FILES, Width::Wide, &scan).unwrap()), "d");
    let not_a_condition = Scan::new().filter(col("x"));
    let refused = planned(FILES, Width::Wide, &not_a_condition).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidExpression);
    let plan = planned(FILES, Width::Wide, &Scan::new().batch_rows(0).limit(3)).unwrap();
    assert_eq!((plan.batch_rows(), plan.limit()), (1, Some(3)));
}

/// A file outside the table, or without a value that its rows need, cannot be left out in silence.
#[test]
fn files_that_make_no_sense_are_refused() {
    let code = |text: &str, filter: Option<&str>| {
        let scan = filter.map_or(Scan::new(), |it| Scan::new().filter(it.parse().unwrap()));
        planned(&["a 1 u 0..9", text], Width::Wide, &scan)
            .map(|it| it.tasks().len())
            .map_err(|it| it.code().as_str())
    };
    assert_eq!(code("b 1 -", None), Ok(2));
    assert_eq!(code("b one u", None), Err("invalid-partition-value"));
    assert_eq!(code("b ? u", None), Err("invalid-partition-value"));
    assert_eq!(code("b ? u", Some("q = 'w'")), Err("invalid-partition-value"));
    assert_eq!(code("../b 1 u", None), Err("path-escape"));
    assert_eq!(code("C:/b 1 u", None), Err("path-escape"));
    // Which roots are allowed is known to who reads.
    assert_eq!(code("s3://b/b 1 u", None), Ok(2));
    assert_eq!(code("/b 1 u", None), Ok(2));
}

#[test]
fn tables_without_partitions_count_one() {
    let mut actions = head_actions("x long", &[]);
    let partitions = |actions: &[Action], filter: &str| {
        let state = state_of(actions, Width::Wide).unwrap();
        let scan = Scan::new().filter(filter.parse().unwrap());
        plan(&state, state.head.read, &scan).unwrap().partitions()
    };
    assert_eq!(partitions(&actions, "x = 1"), (0, 0));
    actions.push(file("a ? ? 0..9"));
    assert_eq!(partitions(&actions, "x = 1"), (1, 1));
    assert_eq!(partitions(&actions, "x = 10"), (1, 0));
}

/// A checkpoint may hold statistics as a struct alone.
#[test]
fn struct_statistics_stand_in_for_json() {
    let json = LogBatch::from_actions(&[file("a 1 u 0..9"), file("b 1 u 10..19")]).unwrap();
    let adds = json.adds.unwrap();
    let bound = |values: [i64; 2]| -> ArrayRef {
        let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("x", ArrowType::Int64, true)),
            values,
        )]))
    };
    let counts: ArrayRef = Arc::new(Int64Array::from(vec![3, 3]));
    let parts = [
        ("numRecords", counts),
        ("minValues", bound([0, 10])),
        ("maxValues", bound([9, 19])),
        ("nullCount", bound([0, 0])),
    ];
    let parsed = StructArray::from(
        parts
            .into_iter()
            .map(|(name, it)| (Arc::new(Field::new(name, it.data_type().clone(), true)), it))
            .collect::<Vec<_>>(),
    );
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in adds.batch().schema().fields().iter().zip(adds.batch().columns()) {
        fields.push(Field::clone(field));
        columns.push(match field.name().as_str() {
            "stats" => arrow_array::new_null_array(column.data_type(), column.len()),
            _ => Arc::clone(column),
        });
    }
    fields.push(Field::new("stats_parsed", parsed.data_type().clone(), true));
    columns.push(Arc::new(parsed));
    let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap();

    let mut replay = Replay::new(Version::ZERO, Width::Wide);
    let adds = Some(Adds::new(batch).unwrap());
    replay.feed(LogBatch { adds, ..LogBatch::default() }).unwrap();
    replay.feed(LogBatch::from_actions(&head_actions(DDL, &["p", "q"])).unwrap()).unwrap();
    let state = replay.finish().unwrap();
    let scan = Scan::new().filter("x > 12".parse().unwrap());
    let plan = plan(&state, state.head.read, &scan).unwrap();
    assert_eq!(keys(&plan), "b");
    assert_eq!(plan.tasks()[0].num_records, Some(3));
}

proptest! {
    /// Files of one partition share one typed value, however the raw tuples alternate, and no file
    /// is lost or repeated.
    #[test]
    fn partitions_are_typed_once(days in proptest::collection::vec(0u8..5, 1..60)) {
        let names: Vec<String> =
            days.iter().enumerate().map(|(at, day)| format!("f{at} {day} u")).collect();
        let files: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = planned(&files, Width::Narrow, &Scan::new()).unwrap();
        prop_assert_eq!(plan.tasks().len(), days.len());
        let distinct: std::collections::BTreeSet<u8> = days.iter().copied().collect();
        let count = u64::try_from(distinct.len()).unwrap();
        prop_assert_eq!(plan.partitions(), (count, count));
        let shared: std::collections::BTreeSet<usize> =
            plan.tasks().iter().map(|it| Arc::as_ptr(&it.partition).addr()).collect();
        prop_assert_eq!(shared.len(), distinct.len());
        for (task, day) in plan.tasks().iter().zip(&days) {
            prop_assert_eq!(&task.partition["p"], &Some(Value::Integer(i32::from(*day))));
        }
    }
}

/// Names that a mix-up would not survive: every column has the physical name of another.
const CROSSED: &[(&str, &str)] =
    &[("p", "q"), ("q", "p"), ("x", "z"), ("z", "x"), ("s", "t"), ("y", "w"), ("w", "y")];

fn cross(name: &str) -> &str {
    CROSSED.iter().find(|it| it.0 == name).map_or("?", |it| it.1)
}

/// The same schema with ids and crossed physical names, at every level of structs.
fn crossed(schema: &Schema, next: &mut i32) -> Schema {
    let field = |it: &StructField| {
        *next += 1;
        let physical = cross(&it.name);
        let mut field = it.clone();
        field.metadata.insert("delta.columnMapping.id".into(), (*next).into());
        field.metadata.insert("delta.columnMapping.physicalName".into(), physical.into());
        if let DataType::Struct(inner) = &it.data_type {
            field.data_type = DataType::Struct(crossed(inner, next));
        }
        field
    };
    Schema::new(schema.fields().iter().map(field).collect()).unwrap()
}

/// A table of three files, whose schema has ids and physical names. What is written of the files
/// has physical names, unless the mode is `none`.
fn mapped_table(mode: &str, configuration: &[(&str, &str)]) -> TableState {
    let schema = Schema::parse_ddl("p int, q string, x long, z long, s struct<y: long, w: long>");
    let schema = crossed(&schema.unwrap(), &mut 0);
    let mut actions = head_actions("a long", &[]);
    actions[0] = Action::Protocol(Protocol {
        min_reader_version: 2,
        min_writer_version: 5,
        ..Protocol::legacy()
    });
    if let Action::Metadata(it) = &mut actions[1] {
        it.schema_string = schema.to_json();
        it.partition_columns = vec!["p".to_string(), "q".to_string()];
        let mode = ("delta.columnMapping.mode", mode);
        let all = configuration.iter().chain([&mode]);
        it.configuration = all.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    }
    let key = |name: &'static str| if mode == "none" { name } else { cross(name) };
    let [x, z, s, y, w] = ["x", "z", "s", "y", "w"].map(key);
    for (path, p, q, base) in [("a", "1", "u", 0), ("b", "2", "v", 10), ("c", "2", "u", 20)] {
        let bounds = |add: i64| {
            let at = |of: i64| of + base + add;
            let inner = format!(r#""{y}":{},"{w}":{}"#, at(200), at(300));
            format!(r#"{{"{x}":{},"{s}":{{{inner}}}}}"#, at(0))
        };
        let (min, max) = (bounds(0), bounds(9));
        let nulls = format!(r#"{{"{x}":0,"{z}":3,"{s}":{{"{y}":0,"{w}":1}}}}"#);
        let stats = format!(
            r#"{{"numRecords":3,"minValues":{min},"maxValues":{max},"nullCount":{nulls}}}"#
        );
        let partition_values = [(key("p"), p), (key("q"), q)];
        let partition_values =
            partition_values.map(|(key, value)| (key.to_string(), Some(value.to_string())));
        actions.push(Action::Add(Add {
            path: path.to_string(),
            partition_values: partition_values.into(),
            size: 7,
            stats: Some(stats),
            ..Add::default()
        }));
    }
    state_of(&actions, Width::Wide).unwrap()
}

/// Partition values and statistics are found by physical names, in commits and in checkpoints of
/// either form; filters and plans have the names of the schema.
///
/// spec: MAP-1, MAP-6, MAP-14
#[test]
fn mapped_tables_are_planned_by_physical_names() {
    let table = [
        ("p = 1", "a"),
        ("p = 2 and q = 'u'", "c"),
        ("q = 'u' and x < 9", "a"),
        ("x >= 20", "c"),
        ("x = 105", ""),
        ("z = 115", ""),
        ("z is null", "a b c"),
        ("x is null", ""),
        ("s.y = 215", "b"),
        ("s.w <= 309", "a"),
        ("s.w is null and s.y > 219", "c"),
        ("s.y is null", ""),
    ];
    let forms: [&[(&str, &str)]; 3] = [
        &[],
        &[("delta.checkpoint.writeStatsAsJson", "false")],
        &[("delta.checkpoint.writeStatsAsStruct", "false")],
    ];
    for mode in ["none", "name", "id"] {
        for form in forms {
            let state = mapped_table(mode, form);
            let now = crate::time::Timestamp::from_millis(0);
            let checkpoint = crate::checkpoint::render(&state, now).unwrap();
            let mut replay = Replay::new(Version::from(5), Width::Wide);
            let bytes = checkpoint.bytes.clone();
            replay.feed(LogBatch::from_parquet(bytes, Width::Wide).unwrap()).unwrap();
            let loaded = replay.finish().unwrap();
            for (filter, expected) in table {
                let scan = Scan::new().filter(filter.parse().unwrap());
                for state in [&state, &loaded] {
                    let plan = plan(state, state.head.read, &scan).unwrap();
                    let mut found: Vec<&str> =
                        plan.tasks().iter().map(|it| it.key.as_str()).collect();
                    found.sort_unstable();
                    assert_eq!(found.join(" "), expected, "{filter}, {mode}, {form:?}");
                }
            }
            let plan = plan(&loaded, loaded.head.read, &Scan::new()).unwrap();
            let [first, ..] = plan.tasks() else { panic!("{plan:?}") };
            assert_eq!(first.partition["p"], Some(Value::Integer(1)));
            assert_eq!(first.partition["q"], Some(Value::String("u".to_string())));
            assert_eq!(plan.schema().field(2).name(), "x");
        }
    }
}

fn some_filter() -> impl Strategy<Value = String> {
    let column = prop::sample::select(vec!["p", "x", "z", "s.y", "s.w"]);
    let op = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let term = prop_oneof![
        (column.clone(), op, 0i64..4, 0i64..32)
            .prop_map(|(column, op, base, add)| { format!("{column} {op} {}", base * 100 + add) }),
        column.prop_map(|it| format!("{it} is null")),
        prop::sample::select(vec!["q = 'u'", "q <> 'v'", "q is null"]).prop_map(str::to_string),
    ];
    term.prop_recursive(2, 6, 2, |inner| {
        let join = prop::sample::select(vec!["and", "or"]);
        (inner.clone(), join, inner).prop_map(|(a, join, b)| format!("not ({a} {join} {b})"))
    })
}

proptest! {
    /// A mapped table is planned as the same table without mapping.
    ///
    /// spec: MAP-6
    #[test]
    fn mapping_changes_no_plan(filter in some_filter()) {
        let scan = Scan::new().filter(filter.parse().unwrap());
        let files = |mode: &str| {
            let state = mapped_table(mode, &[]);
            keys(&plan(&state, state.head.read, &scan).unwrap())
        };
        let plain = files("none");
        prop_assert_eq!(files("name"), plain.clone());
        prop_assert_eq!(files("id"), plain);
    }
}

/// A mode without a protocol that allows it means nothing.
///
/// spec: MAP-2
#[test]
fn a_mode_without_protocol_is_passed_by() {
    let state = mapped_table("name", &[]);
    let mut metadata = state.head.metadata.clone();
    let head = Head::new(Version::ZERO, Protocol::legacy(), metadata.clone()).unwrap();
    assert_eq!(head.mapping, ColumnMapping::None);
    metadata.configuration.insert("delta.columnMapping.mode".into(), "none".into());
    let head = Head::new(Version::ZERO, state.head.protocol.clone(), metadata).unwrap();
    assert_eq!(head.mapping, ColumnMapping::None);
    assert_eq!(state.head.mapping, ColumnMapping::Name);
}
