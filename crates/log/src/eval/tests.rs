//! Expressions over rows, and against a row by row model.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBuffer;
use arrow_select::concat::concat;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{evaluate, matches};
use crate::error::Result;
use crate::expr::{CompareOp, Expr, Pattern, col, lit};
use crate::schema::{DataType, PrimitiveType, Schema, StructField};
use crate::value::Value;

/// A row: one value per column of [`schema`].
pub(crate) type Row = Vec<Option<Value>>;

/// One column of each kind that has an order of its own.
pub(crate) fn schema() -> Schema {
    use PrimitiveType as P;
    let columns = [
        ("l", P::Long),
        ("b", P::Byte),
        ("x", P::Double),
        ("f", P::Float),
        ("d", P::Decimal { precision: 10, scale: 2 }),
        ("s", P::String),
        ("t", P::Timestamp),
        ("y", P::Date),
        ("g", P::Boolean),
        ("p", P::String),
        ("q", P::Integer),
    ];
    Schema::new(columns.map(|(name, of)| StructField::new(name, of, true)).to_vec()).unwrap()
}

/// The rows as a batch.
pub(crate) fn batch(schema: &Schema, rows: &[Row]) -> RecordBatch {
    let column = |(at, field): (usize, &StructField)| -> ArrayRef {
        let of = field.data_type.primitive().unwrap();
        let parts: Vec<ArrayRef> =
            rows.iter().map(|it| Value::to_array(it[at].as_ref(), of, 1).unwrap()).collect();
        let empty = Value::to_array(None, of, 0).unwrap();
        let all: Vec<&dyn Array> =
            parts.iter().map(|it| &**it).chain([&*empty as &dyn Array]).collect();
        concat(&all).unwrap()
    };
    let columns = schema.fields().iter().enumerate().map(column).collect();
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// Evaluates a text over one row of [`schema`], in which columns that are not named are null.
fn over(row: &[(&str, Value)], text: &str) -> Result<Option<Value>> {
    let schema = schema();
    let value = |field: &StructField| {
        row.iter().find(|(name, _)| *name == field.name).map(|(_, it)| it.clone())
    };
    let batch = batch(&schema, &[schema.fields().iter().map(value).collect()]);
    let expr = text.parse::<Expr>()?.bind(&schema)?;
    let array = evaluate(&expr, &schema, &batch)?;
    assert_eq!(array.len(), 1);
    Value::from_array(&array, 0)
}

#[track_caller]
fn check(row: &[(&str, Value)], text: &str, expected: &str) {
    let actual = match over(row, text) {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "NULL".to_owned(),
        Err(error) => format!("{}: {error}", error.code().as_str()),
    };
    assert_eq!(actual, expected, "{text} over {row:?}");
}

/// Null is unknown, and known results survive it.
#[test]
fn three_values() {
    let row =
        [("l", Value::Long(1)), ("s", Value::String("a_b".into())), ("g", Value::Boolean(false))];
    let rows = [
        ("l = 1 and b = 1", "NULL"),
        ("l = 2 and b = 1", "false"),
        ("l = 1 or b = 1", "true"),
        ("l = 2 or b = 1", "NULL"),
        ("not b = 1", "NULL"),
        ("b = null", "NULL"),
        ("b is null and l is not null", "true"),
        ("(b = 1) is null", "true"),
        ("l in (1, null)", "true"),
        ("l in (2, null)", "NULL"),
        ("l not in (2, null)", "NULL"),
        ("l in ()", "false"),
        ("b in ()", "false"),
        ("b in (1)", "NULL"),
        ("b in (1,2,3,4,5,6,7,8,9,10)", "NULL"),
        ("l in (9,8,7,6,5,4,3,2,1,0)", "true"),
        ("l in (9,8,7,6,5,4,3,2,11,0,null)", "NULL"),
        ("l in (9,8,7,6,5,4,3,2,11,0,b)", "NULL"),
        ("l in (9,8,7,6,5,4,3,2,11,0,l)", "true"),
        ("b <=> null", "true"),
        ("l <=> b", "false"),
        ("g", "false"),
        ("g or null", "NULL"),
        ("g is false", "true"),
        ("(b = 1) is true", "false"),
        ("null", "NULL"),
        ("s like 'a!_b' escape '!'", "true"),
        ("s like '_' ", "false"),
        ("p like '%'", "NULL"),
    ];
    for (text, expected) in rows {
        check(&row, text, expected);
    }
}

/// Numbers of different types compare as what they are.
#[test]
fn comparison_across_types() {
    let row = [
        ("b", Value::Byte(-128)),
        ("l", Value::Long((1 << 53) + 1)),
        ("x", Value::Double(9_007_199_254_740_992.0)),
        ("f", Value::Float(0.1)),
        ("d", Value::Decimal { unscaled: 150, precision: 10, scale: 2 }),
        ("y", Value::Date(1)),
        ("t", Value::Timestamp(86_400_000_000)),
    ];
    let rows = [
        ("b < 300", "true"),
        ("b > -128.5", "true"),
        ("b = -128.0", "true"),
        ("l > x", "true"),
        ("x < l", "true"),
        ("l = x", "false"),
        ("x = 9007199254740993", "false"),
        ("x < 9007199254740993", "true"),
        ("l < 1e30", "true"),
        ("l > cast('-Infinity' as double)", "true"),
        ("l < cast('NaN' as double)", "true"),
        ("f = 0.1", "true"),
        ("f < 0.2", "true"),
        ("f > b", "true"),
        ("d = 1.5", "true"),
        ("d > 1.499999", "true"),
        ("d > b", "true"),
        ("l > d", "true"),
        ("d = 15e-1", "true"),
        ("d < 99999999999999999999999999999999999999", "true"),
        ("d > 0.00000000000000000000000000000000000001", "true"),
        ("l > 0.00000000000000000000000000000000000001", "true"),
        ("y = t", "true"),
        ("t > timestamp_ntz '1970-01-01 23:59:59'", "true"),
        ("y = '1970-01-02'", "true"),
        ("y < timestamp '1970-01-02T00:00:00.000001Z'", "true"),
    ];
    for (text, expected) in rows {
        check(&row, text, expected);
    }
}

/// One zero, one NaN, and NaN is greatest.
#[test]
fn floats() {
    let quiet = f64::NAN;
    let signed = -f64::NAN;
    for (x, text, expected) in [
        (-0.0, "x = 0.0", "true"),
        (0.0, "x = -0.0", "true"),
        (-0.0, "x < 0", "false"),
        (-0.0, "x in (5, 6, 7, 8, 9, 10, 11, 12, 13, 0)", "true"),
        (quiet, "x = 'NaN'", "true"),
        (signed, "x = 'NaN'", "true"),
        (signed, "x > 'Infinity'", "true"),
        (signed, "x < 0", "false"),
        (signed, "x in (1, 2, 3, 4, 5, 6, 7, 8, 9, 'NaN')", "true"),
        (quiet, "x <> x", "false"),
        (f64::INFINITY, "x < 'NaN'", "true"),
    ] {
        check(&[("x", Value::Double(x))], text, expected);
        #[expect(clippy::cast_possible_truncation, reason = "zeros, infinities and NaN")]
        let f = x as f32;
        check(&[("f", Value::Float(f))], &text.replace('x', "f"), expected);
    }
}

/// Arithmetic gives the exact result of its type or fails.
#[test]
fn arithmetic() {
    let row = [
        ("l", Value::Long(7)),
        ("b", Value::Byte(100)),
        ("x", Value::Double(0.5)),
        ("d", Value::Decimal { unscaled: 150, precision: 10, scale: 2 }),
        ("q", Value::Integer(0)),
    ];
    let rows = [
        ("b + b", "200"),
        ("l / 2", "3.5e0"),
        ("-l % 4", "-3"),
        ("l - b * 2", "-193"),
        ("x * l", "3.5e0"),
        ("d + 1", "2.50"),
        ("d * d", "2.2500"),
        ("d / 4", "0.375000"),
        ("d % 1", "0.50"),
        ("d + x", "2e0"),
        ("-d", "-1.50"),
        (
            "l + p",
            "invalid-expression: cannot compute `l` (long) + `p` (string): no type for the result",
        ),
        ("l + null", "NULL"),
        ("null / q", "NULL"),
        (
            "9223372036854775807 + l",
            "invalid-data: cannot compute `9223372036854775807 + l`: a result \
             does not fit its type",
        ),
        ("l / q", "invalid-data: cannot compute `l / q`: division by zero"),
        ("l % q", "invalid-data: cannot compute `l % q`: division by zero"),
        ("x / 0.0", "invalid-data: cannot compute `x / 0e0`: division by zero"),
        ("d / q", "invalid-data: cannot compute `d / q`: division by zero"),
        ("q <> 0 and l / q > 1", "false"),
        ("l / q > 1 and q <> 0", "false"),
        ("q = 0 or l / q > 1", "true"),
    ];
    for (text, expected) in rows {
        check(&row, text, expected);
    }
}

/// Casts keep the value, round where the target is coarser, and fail where it does not fit.
#[test]
fn casts() {
    let row = [
        ("l", Value::Long(300)),
        ("x", Value::Double(-1.75)),
        ("d", Value::Decimal { unscaled: 155, precision: 10, scale: 2 }),
        ("s", Value::String(" 42 ".into())),
        ("p", Value::String("2024-02-29".into())),
        ("t", Value::Timestamp(-1)),
        ("y", Value::Date(-1)),
        ("g", Value::Boolean(true)),
    ];
    let rows = [
        ("cast(l as int)", "300"),
        ("cast(l as string)", "'300'"),
        ("cast(l as decimal(5,2))", "300.00"),
        ("cast(l as boolean)", "true"),
        ("cast(x as int)", "-1"),
        ("cast(x as decimal(3,1))", "-1.8"),
        ("cast(d as int)", "1"),
        ("cast(d as decimal(3,1))", "1.6"),
        ("cast(d as double)", "1.55e0"),
        ("cast(s as int)", "42"),
        ("cast(p as date)", "DATE '2024-02-29'"),
        ("cast(t as date)", "DATE '1969-12-31'"),
        ("cast(y as timestamp)", "TIMESTAMP '1969-12-31T00:00:00.000000Z'"),
        ("cast(t as timestamp_ntz)", "TIMESTAMP_NTZ '1969-12-31 23:59:59.999999'"),
        ("cast(g as int)", "1"),
        ("cast(g as decimal(3,1))", "1.0"),
        ("cast(p as binary)", "X'323032342d30322d3239'"),
        ("cast(cast(p as binary) as string)", "'2024-02-29'"),
        ("cast(b as string)", "NULL"),
        ("cast(null as date)", "NULL"),
    ];
    for (text, expected) in rows {
        check(&row, text, expected);
    }
    for text in ["cast(l as byte)", "cast(l as decimal(4,2))", "cast(p as int)"] {
        assert_eq!(over(&row, text).unwrap_err().code().as_str(), "invalid-data", "{text}");
    }
    assert!(over(&[("x", Value::Double(f64::NAN))], "cast(x as int)").is_err());
}

/// A field is null where the struct around it is, whatever lies below.
#[test]
fn nested_fields() {
    let inner = Schema::new(vec![StructField::new("v", PrimitiveType::Integer, true)]).unwrap();
    let fields = vec![StructField::new("n", DataType::Struct(inner), true)];
    let schema = Schema::new(fields).unwrap();
    let arrow = schema.to_arrow();
    let arrow_schema::DataType::Struct(parts) = arrow.field(0).data_type() else { panic!() };
    let values = Value::to_array(Some(&Value::Integer(7)), PrimitiveType::Integer, 2).unwrap();
    let nulls = NullBuffer::from(vec![true, false]);
    let column = StructArray::new(parts.clone(), vec![values], Some(nulls));
    let batch = RecordBatch::try_new(arrow, vec![std::sync::Arc::new(column)]).unwrap();
    for (text, expected) in
        [("N.V = 7", [true, false]), ("n.v is null", [false, true]), ("n is null", [false, true])]
    {
        let expr = text.parse::<Expr>().unwrap().bind_filter(&schema).unwrap();
        let rows = matches(&expr, &schema, &batch).unwrap();
        assert_eq!(rows.values().iter().collect::<Vec<_>>(), expected, "{text}");
    }
}

/// Values of one column, close together and at the seams of its format.
fn value(of: PrimitiveType) -> BoxedStrategy<Value> {
    use PrimitiveType as P;
    let long = prop_oneof![-3..4i64, select(vec![i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1])];
    let double = prop_oneof![
        (-3..4i8).prop_map(f64::from),
        select(vec![
            0.1,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            9.1e15,
            1e300
        ]),
    ];
    let text = prop_oneof![
        "[ab]{0,3}",
        (30..34usize, select(vec!["", "a", "\u{7f}", "\u{fffd}", "\u{1f33c}", "\u{10ffff}z"]))
            .prop_map(|(len, tail)| "a".repeat(len) + tail),
    ];
    match of {
        P::Long => long.prop_map(Value::Long).boxed(),
        P::Integer => (-3..4i32).prop_map(Value::Integer).boxed(),
        P::Byte => prop_oneof![-3..4i8, Just(127)].prop_map(Value::Byte).boxed(),
        P::Double => double.prop_map(Value::Double).boxed(),
        #[expect(clippy::cast_possible_truncation, reason = "any float will do")]
        P::Float => double.prop_map(|it| Value::Float(it as f32)).boxed(),
        P::Decimal { precision, scale } => (-150..150i128)
            .prop_map(move |it| Value::Decimal { unscaled: it, precision, scale })
            .boxed(),
        P::String => text.prop_map(Value::String).boxed(),
        P::Timestamp => (-2_000..2_000i64).prop_map(Value::Timestamp).boxed(),
        P::Date => (-3..4i32).prop_map(Value::Date).boxed(),
        _ => any::<bool>().prop_map(Value::Boolean).boxed(),
    }
}

/// Rows of which many are null, or all in some column.
pub(crate) fn rows() -> impl Strategy<Value = Vec<Row>> {
    let schema = schema();
    let types: Vec<PrimitiveType> =
        schema.fields().iter().map(|it| it.data_type.primitive().unwrap()).collect();
    let nulls = vec(select(vec![0, 0, 3, 10]), types.len());
    nulls.prop_flat_map(move |nulls| {
        let cells: Vec<_> = types
            .iter()
            .zip(nulls)
            .map(|(of, nulls)| match nulls {
                0 => value(*of).prop_map(Some).boxed(),
                10 => Just(None).boxed(),
                _ => proptest::option::weighted(0.7, value(*of)).boxed(),
            })
            .collect();
        vec(cells, 0..6)
    })
}

fn column() -> impl Strategy<Value = (String, PrimitiveType)> {
    let schema = schema();
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|it| (it.name.clone(), it.data_type.primitive().unwrap()))
        .collect();
    select(columns)
}

/// A condition on a column: anything that statistics might judge.
fn condition() -> impl Strategy<Value = Expr> {
    let op = select(vec![
        CompareOp::Eq,
        CompareOp::NotEq,
        CompareOp::Lt,
        CompareOp::LtEq,
        CompareOp::Gt,
        CompareOp::GtEq,
    ]);
    let literal = |of| proptest::option::weighted(0.95, value(of)).prop_map(lit);
    let number = prop_oneof![value(PrimitiveType::Long), value(PrimitiveType::Double)];
    let pair = select(vec![("l", "b"), ("l", "x"), ("f", "x"), ("q", "l"), ("s", "p"), ("d", "b")]);
    prop_oneof![
        8 => (op.clone(), any::<bool>(), column()).prop_flat_map(move |(op, flip, (name, of))| {
            literal(of).prop_map(move |it| {
                let (a, b) = if flip { (it, col(&name)) } else { (col(&name), it) };
                Expr::Compare(op, Box::new(a), Box::new(b))
            })
        }),
        2 => (op.clone(), select(vec!["l", "b", "x", "f", "q"]), number)
            .prop_map(|(op, name, it)| Expr::Compare(op, Box::new(col(name)), Box::new(lit(it)))),
        2 => (op, pair)
            .prop_map(|(op, (a, b))| Expr::Compare(op, Box::new(col(a)), Box::new(col(b)))),
        2 => column().prop_flat_map(move |(name, of)| {
            vec(literal(of), 0..14).prop_map(move |list| col(&name).in_list(list))
        }),
        2 => (select(vec!["s", "p"]), "[ab_%]{0,3}|a{31,33}%?")
            .prop_map(|(name, pattern)| col(name).like(pattern)),
        2 => column().prop_map(|(name, _)| col(name).is_null()),
        1 => Just(col("g")),
        1 => Just(lit(None::<bool>)),
    ]
}

/// A filter of conditions.
pub(crate) fn filter() -> impl Strategy<Value = Expr> {
    condition().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Expr::And),
            vec(inner.clone(), 1..4).prop_map(Expr::Or),
            inner.clone().prop_map(Expr::not),
            inner.prop_map(Expr::is_null),
        ]
    })
}

/// The dullest evaluation that could be right, of a bound expression.
fn model(expr: &Expr, schema: &Schema, row: &Row) -> Option<bool> {
    let operand = |it: &Expr| match it {
        Expr::Column(path) => row[schema.position(&path[0]).unwrap()].clone(),
        Expr::Literal(value) => value.clone(),
        other => panic!("{other}"),
    };
    match expr {
        Expr::Compare(op, a, b) => {
            let order = operand(a)?.compare(&operand(b)?).unwrap();
            Some(match op {
                CompareOp::Eq => order == Ordering::Equal,
                CompareOp::NotEq => order != Ordering::Equal,
                CompareOp::Lt => order == Ordering::Less,
                CompareOp::LtEq => order != Ordering::Greater,
                CompareOp::Gt => order == Ordering::Greater,
                CompareOp::GtEq => order != Ordering::Less,
            })
        }
        Expr::And(terms) => {
            let terms: Vec<_> = terms.iter().map(|it| model(it, schema, row)).collect();
            if terms.contains(&Some(false)) {
                return Some(false);
            }
            (!terms.contains(&None)).then_some(true)
        }
        Expr::Or(terms) => {
            let terms: Vec<_> = terms.iter().map(|it| model(it, schema, row)).collect();
            if terms.contains(&Some(true)) {
                return Some(true);
            }
            (!terms.contains(&None)).then_some(false)
        }
        Expr::Not(it) => model(it, schema, row).map(|it| !it),
        Expr::IsNull(it) => Some(match &**it {
            Expr::Column(_) | Expr::Literal(_) => operand(it).is_none(),
            it => model(it, schema, row).is_none(),
        }),
        Expr::In(it, list) => {
            let equal =
                |item: &Expr| Expr::Compare(CompareOp::Eq, it.clone(), Box::new(item.clone()));
            model(&Expr::Or(list.iter().map(equal).collect()), schema, row)
        }
        Expr::Like { expr, pattern, escape } => match operand(expr)? {
            Value::String(it) => Some(Pattern::new(pattern, *escape).unwrap().matches(&it)),
            other => panic!("{other}"),
        },
        Expr::Column(_) | Expr::Literal(_) => match operand(expr)? {
            Value::Boolean(it) => Some(it),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Columns and rows agree.
    #[test]
    fn agrees_with_the_model(rows in rows(), filter in filter()) {
        let schema = schema();
        let filter = filter.bind_filter(&schema).unwrap();
        let batch = batch(&schema, &rows);
        let array = evaluate(&filter, &schema, &batch).unwrap();
        prop_assert_eq!(array.len(), rows.len());
        let hits = matches(&filter, &schema, &batch).unwrap();
        for (at, row) in rows.iter().enumerate() {
            let expected = model(&filter, &schema, row);
            let actual = match Value::from_array(&array, at).unwrap() {
                Some(Value::Boolean(it)) => Some(it),
                _ => None,
            };
            prop_assert_eq!(actual, expected, "{} over {:?}", filter, row);
            prop_assert_eq!(hits.value(at), expected == Some(true));
        }
    }
}
