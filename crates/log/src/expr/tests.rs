//! Expressions as text, as trees and bound.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{ArithmeticOp, CompareOp, Expr, col, lit};
use crate::error::Code;
use crate::limits::EXPR_DEPTH_MAX;
use crate::schema::{ArrayType, DataType, PrimitiveType, Schema, StructField};
use crate::value::Value;

/// What the text parses to, printed. The printed form must parse to the same again.
#[track_caller]
fn check(text: &str, expected: &str) {
    match text.parse::<Expr>() {
        Ok(expr) => {
            assert_eq!(expr.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Expr>().unwrap(), expr, "{text}");
        }
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidExpression, "{text}: {error}");
            let actual = error.to_string();
            assert_eq!(actual.strip_prefix("expression, ").unwrap(), expected, "{text}");
        }
    }
}

/// Every form of the language, and how each prints.
#[test]
fn texts() {
    let rows = [
        ("a = 1", "a = 1"),
        ("a==1 and b!=2", "a = 1 AND b <> 2"),
        ("a<-5", "a < -5"),
        ("a - -5 > - b", "a - -5 > 0 - b"),
        ("NOT NOT a", "NOT NOT a"),
        ("not a = 1 or b and c", "NOT a = 1 OR b AND c"),
        ("(a or b) and c", "(a OR b) AND c"),
        ("((a and b)) and c", "(a AND b) AND c"),
        ("a + b * c - d", "a + b * c - d"),
        ("(a + b) * (c - d) % 2", "(a + b) * (c - d) % 2"),
        ("a - (b - c)", "a - (b - c)"),
        ("a in (1, 'x', null)", "a IN (1, 'x', NULL)"),
        ("a not in ()", "a NOT IN ()"),
        ("a between 1 and 2 and b", "(a >= 1 AND a <= 2) AND b"),
        ("a not between 1 and 2", "NOT (a >= 1 AND a <= 2)"),
        ("a is null and b is not null", "a IS NULL AND b IS NOT NULL"),
        ("a is true", "a AND a IS NOT NULL"),
        ("a is not false", "NOT (NOT a AND a IS NOT NULL)"),
        ("a <=> 1", "a = 1 AND a IS NOT NULL"),
        ("a <=> null", "a IS NULL"),
        ("a <=> b", "a = b AND a IS NOT NULL AND b IS NOT NULL OR a IS NULL AND b IS NULL"),
        ("a like 'it''s %'", "a LIKE 'it''s %'"),
        ("a not like '!%x' escape '!'", "a NOT LIKE '!%x' ESCAPE '!'"),
        (
            "cast(a as int) = cast('1' as decimal(5, 2))",
            "CAST(a AS integer) = CAST('1' AS decimal(5,2))",
        ),
        ("cast(a + 1 as double precision) > 1", "CAST(a + 1 AS double) > 1"),
        ("a = X'00fF'", "a = X'00ff'"),
        ("a = true and b = FALSE", "a = true AND b = false"),
        ("a = 1.50 and b = .5", "a = 1.50 AND b = 0.5"),
        ("a = 1e3 and b = -1.5E-3", "a = 1e3 AND b = -1.5e-3"),
        ("a = -9223372036854775808", "a = -9223372036854775808"),
        ("a = 18446744073709551615", "a = 18446744073709551615"),
        ("d = DATE '2024-01-31'", "d = DATE '2024-01-31'"),
        ("x = double 'NaN' or x = float '-Infinity'", "x = DOUBLE 'NaN' OR x = FLOAT '-Infinity'"),
        ("date >= '2024-01-01'", "date >= '2024-01-01'"),
        ("a.b.c = 1", "a.b.c = 1"),
        ("\"a.b\" = `c d`", "\"a.b\" = \"c d\""),
        ("\"A\"\"b\".\"and\" = 1", "\"A\"\"b\".\"and\" = 1"),
        ("\u{e9}t\u{e9} = 'caf\u{e9}'", "\"\u{e9}t\u{e9}\" = 'caf\u{e9}'"),
        ("a /* note */ = 1 -- more", "a = 1"),
        ("a\n=\n1", "a = 1"),
    ];
    for (text, expected) in rows {
        check(text, expected);
    }
}

/// What is not understood is named, with its place.
#[test]
fn refusals() {
    let rows = [
        ("", "at its end: expected a value, found the end"),
        ("a =", "at its end: expected a value, found the end"),
        ("a = 1 b", "column 7: expected the end, found `b`"),
        ("a = 1)", "column 6: expected the end, found `)`"),
        ("(a = 1", "at its end: expected `)`, found the end"),
        ("a = 'x", "column 5: unterminated string literal"),
        (
            "a = b = c",
            "column 7: conditions do not chain: put parentheses around what comes before `=`",
        ),
        (
            "a = b is null",
            "column 7: conditions do not chain: put parentheses around what comes before `is`",
        ),
        ("upper(a) = 'X'", "column 1: function `upper` is not supported"),
        ("a ilike 'x'", "column 3: `ilike` is not supported"),
        ("a || b = 'x'", "column 3: `||` is not supported"),
        ("case when a then b end", "column 1: `case` is not supported"),
        ("a in (select 1)", "column 7: `select` is not supported"),
        ("a::int = 1", "column 2: `::` is not supported"),
        ("a = ?", "column 5: `?` is not supported"),
        ("a not 1", "column 7: expected `in`, `between` or `like`, found `1`"),
        ("a is 1", "column 6: expected `null`, `true` or `false`, found `1`"),
        ("a between 1 or 2", "column 13: expected `and`, found `or`"),
        ("a like b", "column 8: expected a like pattern in single quotes, found `b`"),
        ("a like 'x' escape 'ab'", "column 19: escape `ab` is not one character"),
        ("a like 'x!' escape '!'", "column 8: like pattern `x!` ends in its escape character"),
        ("cast(a as blob) = 1", "column 11: type `blob` is not supported"),
        ("cast(a as decimal(39)) = 1", "column 21: type `decimal(39,0)` is not within 38 digits"),
        ("cast(a, int)", "column 7: expected `as`, found `,`"),
        ("a = X'123'", "column 5: binary literal has an odd number of digits"),
        ("a = 1e999", "column 5: number `1e999` is out of range"),
        ("a.1 = 2", "column 2: expected the end, found `.1`"),
        ("a. = 2", "column 4: expected a name, found `=`"),
        ("a = 1\nand b ~ 'x'", "line 2, column 7: `~` is not supported"),
    ];
    for (text, expected) in rows {
        check(text, expected);
    }
}

/// Depth is bounded and width is not: neither a long chain nor a deep nest ends the process.
#[test]
fn hostile_texts() {
    let deep = |text: &str| {
        let error = text.parse::<Expr>().unwrap_err();
        assert_eq!(error.code(), Code::InvalidExpression, "{error}");
    };
    let fine = |text: &str| text.parse::<Expr>().unwrap();
    let nest =
        |open: &str, close: &str, depth| format!("{}a{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("(", ")"), ("cast(", " as int)"), ("(not ", ")"), ("(1 + ", ")")] {
        fine(&nest(open, close, EXPR_DEPTH_MAX / 2 - 1));
        deep(&nest(open, close, EXPR_DEPTH_MAX + 1));
        deep(&nest(open, close, 100_000));
        deep(&open.repeat(100_000));
    }
    fine(&nest("(", ")", EXPR_DEPTH_MAX));
    deep(&format!("{}a", "not ".repeat(100_000)));
    fine(&format!("{}a = 1", "- ".repeat(100_000)));
    deep(&format!("a{} = 1", " + a".repeat(100_000)));
    deep(&format!("a{} = ", " * a".repeat(100)));
    deep(&nest("(", " between 1 and 2)", 60));
    deep(&nest("((", ") is true)", 60));
    deep(&format!("a = '{}'", "x".repeat(1 << 20)));

    let schema = schema();
    for word in ["and", "or"] {
        let text = vec!["i <> 12345"; 10_000].join(&format!(" {word} "));
        let bound = fine(&text).bind(&schema).unwrap();
        assert_eq!(bound.to_string().parse::<Expr>().unwrap(), bound);
    }
    let built = (0..10_000).fold(col("i").eq(0), |all, it| all.or(col("i").eq(it)));
    assert!(matches!(&built, Expr::Or(terms) if terms.len() == 10_001));

    let deep_tree = (0..EXPR_DEPTH_MAX).fold(col("g"), |it, _| it.not());
    assert_eq!(deep_tree.bind(&schema).unwrap_err().code(), Code::InvalidExpression);
}

fn schema() -> Schema {
    use PrimitiveType as P;
    let of = |name: &str, of: P| StructField::new(name, of, true);
    let nested = vec![of("x", P::Integer), of("Odd Name", P::String)];
    let list = ArrayType { element: P::Integer.into(), contains_null: true };
    let fields = vec![
        of("i", P::Integer),
        of("l", P::Long),
        of("b", P::Byte),
        of("x", P::Double),
        of("f", P::Float),
        of("d", P::Decimal { precision: 10, scale: 2 }),
        of("s", P::String),
        of("bin", P::Binary),
        of("g", P::Boolean),
        of("day", P::Date),
        of("ts", P::Timestamp),
        of("ntz", P::TimestampNtz),
        StructField::new("n", DataType::Struct(Schema::new(nested).unwrap()), true),
        StructField::new("list", DataType::Array(Box::new(list)), true),
        of("Caps", P::Integer),
        of("caps2", P::Integer),
        of("a.b", P::Integer),
    ];
    Schema::new(fields).unwrap()
}

/// What the text is once bound: printed, with the type of each literal, or the error.
#[track_caller]
fn check_bound(text: &str, expected: &str) {
    let schema = schema();
    let expr: Expr = text.parse().unwrap();
    let actual = match expr.bind_filter(&schema) {
        Ok(bound) => {
            assert_eq!(bound.bind(&schema).unwrap(), bound, "{text}");
            let mut literals = Vec::new();
            bound.visit(&mut |it| {
                if let Expr::Literal(Some(value)) = it {
                    literals.push(value.primitive_type().to_string());
                }
            });
            format!("{bound} [{}]", literals.join(" "))
        }
        Err(error) => format!("{}: {error}", error.code().as_str()),
    };
    assert_eq!(actual, expected, "{text}");
}

/// Names get their exact case and literals the type of what they stand beside.
#[test]
fn binding() {
    let rows = [
        ("I = 1", "i = 1 [integer]"),
        ("1 < i", "1 < i [integer]"),
        ("b = 300", "b = 300 [long]"),
        ("i = 1.0", "i = 1 [integer]"),
        ("i > 1.5", "i > 1.5 [decimal(2,1)]"),
        ("x = 0.1", "x = 1e-1 [double]"),
        ("f = 0.1", "f = FLOAT '0.1' [float]"),
        ("f = 1e300", "f = 1e300 [double]"),
        ("x = 1", "x = 1e0 [double]"),
        ("x > 9007199254740993", "x > 9007199254740993 [long]"),
        ("d = 1", "d = 1.00 [decimal(10,2)]"),
        ("d = 1e1", "d = 10.00 [decimal(10,2)]"),
        ("d > 0.005", "d > 0.005 [decimal(3,3)]"),
        ("i = '7'", "i = 7 [integer]"),
        ("x = 'NaN'", "x = DOUBLE 'NaN' [double]"),
        ("day = '2024-02-29'", "day = DATE '2024-02-29' [date]"),
        ("s = 'x' and 'a' = 'b'", "s = 'x' AND 'a' = 'b' [string string string]"),
        ("i in ('1', 2, 300)", "i IN (1, 2, 300) [integer integer integer]"),
        ("'1' in (i, 2)", "1 IN (i, 2) [integer integer]"),
        ("i between '1' and 2", "i >= 1 AND i <= 2 [integer integer]"),
        ("i + '1' = '2'", "i + 1 = 2 [integer long]"),
        ("(g and g) and (g or (g or g))", "g AND g AND (g OR g OR g) []"),
        ("N.X = 1 and n.\"odd name\" = 'a'", "n.x = 1 AND n.\"Odd Name\" = 'a' [integer string]"),
        ("\"A.B\" = 1", "\"a.b\" = 1 [integer]"),
        ("list is null", "list IS NULL []"),
        ("null", "NULL []"),
        ("i = null", "i = NULL []"),
        ("cast('2024-01-01' as date) = day", "DATE '2024-01-01' = day [date]"),
        ("day = timestamp '2024-01-01T00:00:00Z'", "day = DATE '2024-01-01' [date]"),
        ("s like 'a%'", "s LIKE 'a%' []"),
    ];
    for (text, expected) in rows {
        check_bound(text, expected);
    }
}

/// What does not go together is refused, naming both sides.
#[test]
fn binding_refusals() {
    let rows = [
        ("s = 1", "invalid-expression: cannot compare `s` (string) with `1` (long)"),
        ("g = 1", "invalid-expression: cannot compare `g` (boolean) with `1` (long)"),
        ("list = 1", "invalid-expression: cannot compare `list` (array<integer>) with `1` (long)"),
        (
            "n = n",
            "invalid-expression: cannot compare `n` (struct<x integer, `Odd Name` string>) \
             with `n` (struct<x integer, `Odd Name` string>)",
        ),
        ("bin = s", "invalid-expression: cannot compare `bin` (binary) with `s` (string)"),
        ("i", "invalid-expression: a filter is true or false, but `i` is of type integer"),
        ("i and g", "invalid-expression: `i` (integer) is not a condition"),
        ("not 'x'", "invalid-expression: `'x'` (text) is not a condition"),
        ("i like 'x'", "invalid-expression: like needs text, not `i` (integer)"),
        (
            "g + 1 = 2",
            "invalid-expression: cannot compute `g` (boolean) + `1` (long): no type for the result",
        ),
        (
            "cast(list as int) = 1",
            "invalid-expression: cannot cast `list` (array<integer>) to integer",
        ),
        ("cast(day as int) = 1", "invalid-expression: cannot cast `day` (date) to integer"),
        ("cap22 = 1", "unknown-column: there is no column `cap22`; the nearest is `caps2`"),
        ("N.y = 1", "unknown-column: there is no column `n.y`; the nearest is `n.x`"),
        ("a.b = 1", "unknown-column: there is no column `a`; the nearest is `i`"),
        ("i.x = 1", "unknown-column: `i` is a integer and has no field `x`"),
    ];
    for (text, expected) in rows {
        check_bound(text, expected);
    }
    for text in ["i = 'seven'", "day = '2024-13-01'", "cast('x' as int) = 1"] {
        let error = text.parse::<Expr>().unwrap().bind(&schema()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidExpression, "{text}");
    }
}

/// The types of results.
#[test]
fn result_types() {
    let rows = [
        ("i + b", "long"),
        ("i / 2", "double"),
        ("i % 2", "long"),
        ("x * i", "double"),
        ("f + f", "double"),
        ("d + 1", "decimal(11,2)"),
        ("d * d", "decimal(21,4)"),
        ("d / 3", "decimal(14,6)"),
        ("d % 3", "decimal(3,2)"),
        ("d + x", "double"),
        ("d + i", "decimal(13,2)"),
        ("i + null", "long"),
        ("cast(s as decimal(5,1))", "decimal(5,1)"),
        ("n.x = 1", "boolean"),
        ("n", "struct<x integer, `Odd Name` string>"),
        ("'x'", "string"),
        ("null", "void"),
    ];
    for (text, expected) in rows {
        let of = text.parse::<Expr>().unwrap().data_type(&schema()).unwrap();
        assert_eq!(of.to_string(), expected, "{text}");
    }
}

/// Builders make what parsing makes.
#[test]
fn builders() {
    let rows = [
        (col("a").eq(1).and(col("b").lt(lit("x"))).and(lit(true)), "a = 1 AND b < 'x' AND true"),
        (col("a").not_eq(lit(2u8)).or(col("b")), "a <> 2 OR b"),
        (!(col("a").gt(1i64).and(col("b"))), "NOT (a > 1 AND b)"),
        (col("a").between(1, 2), "a >= 1 AND a <= 2"),
        (col("a").in_list([1, 2]).not(), "a NOT IN (1, 2)"),
        (col("a").not_like("x%"), "a NOT LIKE 'x%'"),
        (col("a").field("b").is_not_null(), "a.b IS NOT NULL"),
        ((-col("a") + 1 - lit(2) * 3).gt_eq(1.5), "0 - a + 1 - 2 * 3 >= 1.5e0"),
        ((col("a") / 2 % 3).lt_eq(lit(b"\x01\xff")), "a / 2 % 3 <= X'01ff'"),
        (col("a").cast(PrimitiveType::Date).eq(lit(None::<&str>)), "CAST(a AS date) = NULL"),
        (col("a.b").eq(lit(Some("x"))), "\"a.b\" = 'x'"),
    ];
    for (expr, expected) in rows {
        assert_eq!(expr.to_string(), expected);
        assert_eq!(expected.parse::<Expr>().unwrap(), expr);
    }
    let columns = "a.b = 1 and c > a.d or C in (d, c)".parse::<Expr>().unwrap().columns();
    assert_eq!(columns, ["a", "c", "C", "d"]);
    let nested = "(a and b) and (c or d)".parse::<Expr>().unwrap();
    let terms: Vec<_> = nested.conjuncts().iter().map(ToString::to_string).collect();
    assert_eq!(terms, ["a", "b", "c OR d"]);
}

/// Names and texts with everything that needs quoting.
fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,4}", "[ -~]{0,6}", Just("Null".to_owned()), "\\PC{0,3}"]
}

fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        any::<i64>().prop_map(lit),
        (-3i8..3).prop_map(lit),
        any::<bool>().prop_map(lit),
        any::<f64>().prop_map(lit),
        any::<f32>().prop_map(lit),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]).prop_map(lit),
        vec(any::<u8>(), 0..4).prop_map(lit),
        (-100_000i32..100_000).prop_map(|it| lit(Value::Date(it))),
        (-1i64 << 55..1 << 55).prop_map(|it| lit(Value::Timestamp(it))),
        (-1i64 << 55..1 << 55).prop_map(|it| lit(Value::TimestampNtz(it))),
        (any::<i64>(), 0..38u8).prop_map(|(it, scale)| {
            lit(Value::Decimal { unscaled: it.into(), precision: 38, scale })
        }),
        Just(lit(None::<bool>)),
        word().prop_map(lit),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![literal(), vec(word(), 1..3).prop_map(Expr::Column)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        let compare = prop::sample::select(vec![
            CompareOp::Eq,
            CompareOp::NotEq,
            CompareOp::Lt,
            CompareOp::LtEq,
            CompareOp::Gt,
            CompareOp::GtEq,
        ]);
        let arithmetic = prop::sample::select(vec![
            ArithmeticOp::Add,
            ArithmeticOp::Subtract,
            ArithmeticOp::Multiply,
            ArithmeticOp::Divide,
            ArithmeticOp::Modulo,
        ]);
        let like = (inner.clone(), word(), prop::option::of(Just('\u{1f33c}')));
        let types = prop::sample::select(vec![
            PrimitiveType::Boolean,
            PrimitiveType::Double,
            PrimitiveType::TimestampNtz,
            PrimitiveType::Decimal { precision: 7, scale: 3 },
        ]);
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::And),
            vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.clone().prop_map(Expr::not),
            inner.clone().prop_map(Expr::is_null),
            (compare, pair.clone()).prop_map(|(op, (a, b))| a.compare(op, b)),
            (arithmetic, pair).prop_map(|(op, (a, b))| a.arithmetic(op, b)),
            (inner.clone(), vec(inner.clone(), 0..4)).prop_map(|(it, list)| it.in_list(list)),
            (inner.clone(), types).prop_map(|(it, to)| it.cast(to)),
            like.prop_map(|(expr, pattern, escape)| {
                let pattern = pattern.replace('\u{1f33c}', "");
                Expr::Like { expr: Box::new(expr), pattern, escape }
            }),
        ]
    })
}

proptest! {
    /// What an expression prints parses back to it.
    #[test]
    fn print_and_parse_are_inverse(expr in expr()) {
        let text = expr.to_string();
        prop_assert_eq!(text.parse::<Expr>().unwrap(), expr, "{}", text);
    }

    /// Any text is an expression or an error.
    #[test]
    fn parse_is_total(text in "([a-z0-9 '\"`().,=<>!*/%+-]|and|or|not|in|like|is|cast){0,40}") {
        if let Ok(expr) = text.parse::<Expr>() {
            let _ = expr.bind(&schema());
        }
    }

    /// So is any string at all.
    #[test]
    fn parse_takes_anything(text in "\\PC{0,40}") {
        let _ = text.parse::<Expr>();
    }
}

/// What the user's page shows is understood.
#[test]
fn examples_of_the_page() {
    let page = include_str!("../../../../docs/expressions.md");
    let blocks = page.split("```sql\n").skip(1).filter_map(|it| it.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(15 < lines.len());
    for line in lines {
        let expr = line.parse::<Expr>().unwrap();
        assert_eq!(expr.to_string().parse::<Expr>().unwrap(), expr, "{line}");
    }
}
