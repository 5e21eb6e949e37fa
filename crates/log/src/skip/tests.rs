//! Skipping, rule by rule, and that it never loses a row.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Skipper;
use crate::error::Code;
use crate::eval;
use crate::eval::tests::{Row, batch, filter, rows, schema};
use crate::expr::Expr;
use crate::property::Properties;
use crate::stats::{Collector, ColumnStats, Reader, Stats, Templates};
use crate::value::Value;

fn partition_columns() -> Vec<String> {
    vec!["p".to_owned(), "q".to_owned()]
}

fn skipper(text: &str) -> Skipper {
    let schema = schema();
    let filter = text.parse::<Expr>().unwrap().bind_filter(&schema).unwrap();
    Skipper::new(&filter, &schema, &partition_columns())
}

/// A file of ten rows in the partition `p = 'a'`, `q` null; `y` is all null, `g` unknown.
const STATS: &str = r#"{"numRecords":10,
    "minValues":{"l":1,"b":5,"x":-1.5,"d":1.25,"s":"k","t":"1970-01-01T00:00:00.000Z"},
    "maxValues":{"l":9,"b":5,"x":1.5,"d":2.25,"s":"m","t":"1970-01-01T00:00:00.001Z"},
    "nullCount":{"l":0,"b":3,"x":0,"d":0,"s":0,"t":0,"y":10}}"#;

/// `skip` if partition values and statistics prove it, `partition` if partition values do.
#[track_caller]
fn check(text: &str, expected: &str) {
    let skipper = skipper(text);
    let partition = BTreeMap::from([
        ("p".to_owned(), Some(Value::String("a".to_owned()))),
        ("q".to_owned(), None),
    ]);
    let stats = Stats::from_json(STATS, &schema(), Some(skipper.stats_columns()));
    let by_partition = skipper.skips_partition(&partition);
    let by_all = skipper.skips(&partition, &stats);
    assert!(by_all || !by_partition, "{text}");
    assert!(!skipper.skips(&partition, &Stats::default()) || by_partition, "{text}");
    let actual = match (by_partition, by_all) {
        (true, _) => "partition",
        (_, true) => "skip",
        _ => "keep",
    };
    assert_eq!(actual, expected, "{text}");
}

/// What each rule proves of that file.
const RULES: &[(&str, &str)] = &[
    ("l = 0", "skip"),
    ("l = 1", "keep"),
    ("0 = l", "skip"),
    ("l > 9", "skip"),
    ("l >= 9", "keep"),
    ("9 < l", "skip"),
    ("l < 1", "skip"),
    ("l <= 1", "keep"),
    ("l <> 5", "keep"),
    ("b <> 5", "skip"),
    ("b = 5.5", "skip"),
    ("b = 300", "skip"),
    ("not l >= 1", "skip"),
    ("not (l < 1 or l > 9)", "keep"),
    ("not (l < 10 and b = 5)", "skip"),
    ("l in (0, 10, 11)", "skip"),
    ("l in (0, 9, 11)", "keep"),
    ("l in (10, null)", "skip"),
    ("l not in (2)", "keep"),
    ("b not in (4, 5, 6)", "skip"),
    ("l not in (2, null)", "partition"),
    ("l in ()", "partition"),
    ("l between 10 and 20", "skip"),
    ("l between 0 and 1", "keep"),
    ("l is null", "skip"),
    ("b is null", "keep"),
    ("l is not null", "keep"),
    ("y is not null", "skip"),
    ("y is null", "keep"),
    ("y = '2024-01-01'", "skip"),
    ("y <> '2024-01-01'", "skip"),
    ("not y in ('2024-01-01')", "skip"),
    ("(y = '2024-01-01') is null", "keep"),
    ("(l = 5) is null", "skip"),
    ("l = null", "partition"),
    ("l > b", "keep"),
    ("b > l + 100", "keep"),
    ("l + 1 < 0", "keep"),
    ("l > 4 + 5", "skip"),
    ("cast(l as double) > 100", "keep"),
    // A float's maximum proves nothing, its minimum does.
    ("x > 5", "keep"),
    ("x = 'NaN'", "keep"),
    ("x < -1.5", "skip"),
    ("x <= -1.5", "keep"),
    ("x >= -2", "keep"),
    ("not x >= -2", "skip"),
    ("d > 2.25", "skip"),
    ("d > 2.2", "keep"),
    ("d > 2.249e0", "keep"),
    // Timestamps are cut to milliseconds.
    ("t > '1970-01-01T00:00:00.001Z'", "keep"),
    ("t > '1970-01-01T00:00:00.001999Z'", "skip"),
    ("s = 'j'", "skip"),
    ("s like 'l%'", "keep"),
    ("s like 'n%'", "skip"),
    ("s like 'j%'", "skip"),
    ("s like 'ka%'", "keep"),
    ("s like 'm_%'", "keep"),
    ("s like '%z'", "keep"),
    ("s not like 'n%'", "keep"),
    ("s like ''", "skip"),
    ("g", "keep"),
    ("g and l > 9", "skip"),
    ("g or l > 9", "keep"),
    // Partition values are exact.
    ("p = 'b'", "partition"),
    ("p = 'a'", "keep"),
    ("p <> 'a'", "partition"),
    ("p not in ('a', 'b')", "partition"),
    ("p like 'b%'", "partition"),
    ("p not like 'a%'", "partition"),
    ("p = 'b' or l > 9", "skip"),
    ("p = 'a' and l > 9", "skip"),
    ("p = 'a' or l > 9", "keep"),
    ("q = 1", "partition"),
    ("q is not null", "partition"),
    ("q is null", "keep"),
    ("q + 1 = 2", "partition"),
    ("q % 0 = 1", "partition"),
    ("cast(p as int) = 1", "keep"),
    ("not (p = 'a' or g)", "partition"),
    ("false", "partition"),
    ("null", "partition"),
    ("true", "keep"),
];

/// Each rule proves what it may and no more.
#[test]
fn rules() {
    for (text, expected) in RULES {
        check(text, expected);
    }
}

/// Counts that the bounds contradict prove nothing, and neither does one of no rows: where there
/// are none, reading them costs nothing.
///
/// spec: STATS-15
#[test]
fn counts_that_prove_nothing() {
    let skips = |filter: &str, stats: &str| {
        let skipper = skipper(filter);
        let stats = Stats::from_json(stats, &schema(), Some(skipper.stats_columns()));
        skipper.skips(&BTreeMap::new(), &stats)
    };
    let bounds = r#""minValues":{"l":1},"maxValues":{"l":3}"#;
    for rows in [0, 2] {
        let nulls = format!(r#"{{"numRecords":{rows},"nullCount":{{"l":{rows}}}"#);
        assert!(!skips("l = 2", &format!("{nulls},{bounds}}}")), "{rows}");
        assert_eq!(skips("l = 2", &format!("{nulls}}}")), rows == 2, "{rows}");
        assert!(skips("l = 4", &format!("{nulls},{bounds}}}")), "the bounds still do");
    }
    assert!(!skips("true", r#"{"numRecords":0}"#));
}

/// Only statistics that can help are asked for.
#[test]
fn stats_columns() {
    for (text, expected) in [
        ("l > 1 and (s like 'a%' or not b in (1))", "b l s"),
        ("p = 'a' and q = 1", ""),
        ("l + 1 > 2 or cast(x as int) = 3", ""),
        ("y is null", "y"),
    ] {
        let columns: Vec<_> = skipper(text).stats_columns().iter().map(|it| it.join(".")).collect();
        assert_eq!(columns.join(" "), expected, "{text}");
    }
}

/// A filter on partition columns covers all rows of a file or none.
#[test]
fn covers() {
    let partition = BTreeMap::from([
        ("p".to_owned(), Some(Value::String("a".to_owned()))),
        ("q".to_owned(), None),
    ]);
    for (text, expected) in [
        ("p = 'a'", Ok(true)),
        ("p = 'b'", Ok(false)),
        ("q = 1", Ok(false)),
        ("q = 1 or p = 'a'", Ok(true)),
        ("q is null and p like '_'", Ok(true)),
        ("true", Ok(true)),
        ("p = 'a' or l = 1", Err(Code::InvalidExpression)),
        ("cast(p as int) = 1", Err(Code::InvalidData)),
    ] {
        let actual = skipper(text).covers_partition(&partition);
        assert_eq!(actual.map_err(|it| it.code()), expected, "{text}");
    }
}

/// The partition of rows that agree on the partition columns.
fn partition_of(rows: &mut [Row]) -> BTreeMap<String, Option<Value>> {
    let schema = schema();
    let of = |name: &str| schema.position(name).unwrap();
    let first = rows.first().cloned();
    let mut partition = BTreeMap::new();
    for name in partition_columns() {
        let value = first.as_ref().and_then(|it| it[of(&name)].clone());
        rows.iter_mut().for_each(|it| it[of(&name)] = value.clone());
        partition.insert(name, value);
    }
    partition
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A file that is skipped has no row that matches; one that is covered has no other.
    #[test]
    fn never_loses_a_row(mut rows in rows(), filter in filter()) {
        let schema = schema();
        let filter = filter.bind_filter(&schema).unwrap();
        let partition = partition_of(&mut rows);
        let batch = batch(&schema, &rows);
        let mut collector =
            Collector::new(&schema, &partition_columns(), &Properties::read(&BTreeMap::new()));
        collector.update(&batch).unwrap();
        let collected = collector.finish();
        let stored = Stats::from_json(&collected.to_json(), &schema, None);

        let hits = eval::matches(&filter, &schema, &batch).unwrap().true_count();
        let skipper = Skipper::new(&filter, &schema, &partition_columns());
        for stats in [collected, stored] {
            let skips = skipper.skips(&partition, &stats);
            prop_assert!(!skips || hits == 0, "{} over {:?} by {:?}", filter, rows, stats);
            let covers = skipper.covers(&partition, &stats);
            let all = hits == rows.len();
            prop_assert!(!covers || all, "{} over {:?} by {:?}", filter, rows, stats);
        }
        let skips = skipper.skips_partition(&partition);
        prop_assert!(!skips || hits == 0, "{} over {:?}", filter, rows);
        match skipper.covers_partition(&partition) {
            Ok(true) => prop_assert_eq!(hits, rows.len()),
            Ok(false) => prop_assert_eq!(hits, 0),
            Err(error) => prop_assert_eq!(error.code(), Code::InvalidExpression),
        }
    }
}

/// Statistics as writers less careful than ours leave them, all of them allowed: NaN is passed
/// over, texts are cut with a tie-breaker, with a short one, or without, times are cut to
/// milliseconds, bounds are too wide or missing, counts are missing.
fn careless(rows: &[Row], choices: &[u8]) -> Stats {
    let mut stats = Stats { num_records: u64::try_from(rows.len()).ok(), ..Stats::default() };
    for (at, field) in schema().fields().iter().enumerate() {
        if partition_columns().contains(&field.name) {
            continue;
        }
        let is_nan = |it: &&Value| match it {
            Value::Float(it) => it.is_nan(),
            Value::Double(it) => it.is_nan(),
            _ => false,
        };
        let values = rows.iter().filter_map(|it| it[at].as_ref()).filter(|it| !is_nan(it));
        let values: Vec<&Value> = values.collect();
        let order = |a: &&&Value, b: &&&Value| a.compare(b).unwrap();
        let choice = |of: usize| choices[(3 * at + of) % choices.len()];
        let min = values.iter().min_by(order).filter(|_| choice(0) % 4 != 3);
        let max = values.iter().max_by(order).filter(|_| choice(1) % 4 != 3);
        let nulls = rows.iter().filter(|it| it[at].is_none()).count();
        let column = ColumnStats {
            min: min.map(|it| lowered((*it).clone(), choice(0))),
            max: max.map(|it| raised((*it).clone(), choice(1))),
            null_count: u64::try_from(nulls).ok().filter(|_| choice(2) % 4 != 3),
        };
        stats.columns.insert(vec![field.name.clone()], column);
    }
    if choices[0] == 7 {
        stats.num_records = None;
    }
    stats
}

fn lowered(min: Value, choice: u8) -> Value {
    let wide = i64::from(choice % 2) * 3;
    match min {
        Value::Long(it) => Value::Long(it.saturating_sub(wide)),
        Value::Date(it) => Value::Date(it.saturating_sub(i32::from(choice % 2))),
        Value::Timestamp(it) => Value::Timestamp(it.div_euclid(1_000).saturating_mul(1_000)),
        Value::String(it) if choice % 2 == 1 => Value::String(it.chars().take(2).collect()),
        other => other,
    }
}

fn raised(max: Value, choice: u8) -> Value {
    let wide = i64::from(choice % 2) * 3;
    match max {
        Value::Long(it) => Value::Long(it.saturating_add(wide)),
        Value::Date(it) => Value::Date(it.saturating_add(i32::from(choice % 2))),
        Value::Timestamp(it) => Value::Timestamp(it.div_euclid(1_000).saturating_mul(1_000)),
        Value::String(it) => Value::String(match choice {
            0 | 4 => it,
            1 if it.chars().count() > 2 => it.chars().take(2).chain(['\u{fffd}']).collect(),
            _ if it.chars().count() > 32 => it.chars().take(32).collect(),
            _ => it,
        }),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever statistics may have lost, a file that is skipped has no row that matches; read
    /// from JSON, by template or in full, they say the same.
    ///
    /// spec: STATS-14, STATS-15, STATS-16, STATS-17
    #[test]
    fn careless_statistics_lose_no_row(
        mut rows in rows(),
        filter in filter(),
        choices in proptest::collection::vec(0u8..8, 30),
        long in any::<bool>(),
    ) {
        let schema = schema();
        let filter = filter.bind_filter(&schema).unwrap();
        if long {
            let texts = rows.iter_mut().flatten().flatten();
            texts.for_each(|it| if let Value::String(it) = it {
                it.push_str("-and-so-on-and-so-on-and-so-on-and-on");
            });
        }
        let partition = partition_of(&mut rows);
        let batch = batch(&schema, &rows);
        let hits = eval::matches(&filter, &schema, &batch).unwrap().true_count();
        let skipper = Skipper::new(&filter, &schema, &partition_columns());
        let stats = careless(&rows, &choices);
        let text = stats.to_json();
        let stored = Stats::from_json(&text, &schema, Some(skipper.stats_columns()));
        let reader = Reader::new(&schema, Some(skipper.stats_columns()));
        let (mut templates, mut read) = (Templates::default(), reader.blank());
        templates.read(&reader, STATS, &mut read);
        for _ in 0..2 {
            templates.read(&reader, &text, &mut read);
            prop_assert_eq!(skipper.skips(&partition, &read), skipper.skips(&partition, &stored));
        }
        for stats in [stats, stored] {
            let skips = skipper.skips(&partition, &stats);
            prop_assert!(!skips || hits == 0, "{} over {:?} by {:?}", filter, rows, stats);
            let covers = skipper.covers(&partition, &stats);
            let all = hits == rows.len();
            prop_assert!(!covers || all, "{} over {:?} by {:?}", filter, rows, stats);
        }
    }
}
