//! Expressions as SQL that parses back to the same expression.

use std::fmt;

use super::{ArithmeticOp, CompareOp, Expr};

/// How tightly each form binds. An operand is put in parentheses if it binds less tightly than
/// its place asks for.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const PREDICATE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const ATOM: u8 = 7;

/// Words that need quotes as a name.
pub(super) const RESERVED: [&str; 14] = [
    "and", "as", "between", "case", "cast", "exists", "false", "in", "is", "like", "not", "null",
    "or", "true",
];

/// The most characters of an expression in a message.
const SHORT_MAX: usize = 60;

/// SQL that parses back to the same expression.
///
/// A few forms have several spellings and print as one: `BETWEEN` as two comparisons, `<>` for
/// `!=`. Numbers compare by value, so `CAST`-free integer literals of any width print alike.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Column(path) => {
                for (at, part) in path.iter().enumerate() {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    name(f, part)?;
                }
                Ok(())
            }
            Expr::Literal(None) => f.write_str("NULL"),
            Expr::Literal(Some(it)) => write!(f, "{it}"),
            Expr::Text(it) => text(f, it),
            Expr::Compare(op, a, b) => {
                operand(f, a, SUM)?;
                write!(f, " {} ", op.as_str())?;
                operand(f, b, SUM)
            }
            Expr::And(terms) => list(f, terms, " AND ", NOT, "true"),
            Expr::Or(terms) => list(f, terms, " OR ", AND, "false"),
            Expr::Not(it) => match &**it {
                Expr::IsNull(it) => {
                    operand(f, it, SUM)?;
                    f.write_str(" IS NOT NULL")
                }
                Expr::In(..) | Expr::Like { .. } => membership(f, it, " NOT"),
                it => {
                    f.write_str("NOT ")?;
                    operand(f, it, NOT)
                }
            },
            Expr::IsNull(it) => {
                operand(f, it, SUM)?;
                f.write_str(" IS NULL")
            }
            Expr::In(..) | Expr::Like { .. } => membership(f, self, ""),
            Expr::Cast(it, to) => {
                write!(f, "CAST({it} AS {to})")
            }
            Expr::Arithmetic(op, a, b) => {
                let (left, right) = match op {
                    ArithmeticOp::Add | ArithmeticOp::Subtract => (SUM, PRODUCT),
                    _ => (PRODUCT, ATOM),
                };
                operand(f, a, left)?;
                write!(f, " {} ", op.as_str())?;
                operand(f, b, right)
            }
        }
    }
}

impl CompareOp {
    /// As in SQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            CompareOp::Eq => "=",
            CompareOp::NotEq => "<>",
            CompareOp::Lt => "<",
            CompareOp::LtEq => "<=",
            CompareOp::Gt => ">",
            CompareOp::GtEq => ">=",
        }
    }
}

impl ArithmeticOp {
    /// As in SQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            ArithmeticOp::Add => "+",
            ArithmeticOp::Subtract => "-",
            ArithmeticOp::Multiply => "*",
            ArithmeticOp::Divide => "/",
            ArithmeticOp::Modulo => "%",
        }
    }
}

/// The beginning of an expression or a type, for messages.
pub(crate) fn short(it: &impl fmt::Display) -> String {
    let whole = it.to_string();
    match whole.char_indices().nth(SHORT_MAX) {
        Some((at, _)) => format!("{}...", whole.get(..at).unwrap_or_default()),
        None => whole,
    }
}

fn level(expr: &Expr) -> u8 {
    match expr {
        Expr::Column(_) | Expr::Literal(_) | Expr::Text(_) | Expr::Cast(..) => ATOM,
        Expr::And(terms) | Expr::Or(terms) => match (&terms[..], expr) {
            ([], _) => ATOM,
            ([only], _) => level(only),
            (_, Expr::And(_)) => AND,
            _ => OR,
        },
        Expr::Not(it) => match **it {
            Expr::IsNull(_) | Expr::In(..) | Expr::Like { .. } => PREDICATE,
            _ => NOT,
        },
        Expr::Compare(..) | Expr::IsNull(_) | Expr::In(..) | Expr::Like { .. } => PREDICATE,
        Expr::Arithmetic(ArithmeticOp::Add | ArithmeticOp::Subtract, ..) => SUM,
        Expr::Arithmetic(..) => PRODUCT,
    }
}

fn operand(f: &mut fmt::Formatter<'_>, expr: &Expr, level_min: u8) -> fmt::Result {
    if level(expr) < level_min { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    terms: &[Expr],
    between: &str,
    level_min: u8,
    empty: &str,
) -> fmt::Result {
    match terms {
        [] => f.write_str(empty),
        [only] => write!(f, "{only}"),
        [first, rest @ ..] => {
            operand(f, first, level_min)?;
            for term in rest {
                f.write_str(between)?;
                operand(f, term, level_min)?;
            }
            Ok(())
        }
    }
}

/// `IN` and `LIKE`, with or without a `NOT` before them.
fn membership(f: &mut fmt::Formatter<'_>, expr: &Expr, not: &str) -> fmt::Result {
    match expr {
        Expr::In(it, list) => {
            operand(f, it, SUM)?;
            write!(f, "{not} IN (")?;
            for (at, it) in list.iter().enumerate() {
                f.write_str(if at > 0 { ", " } else { "" })?;
                operand(f, it, SUM)?;
            }
            f.write_str(")")
        }
        Expr::Like { expr, pattern, escape } => {
            operand(f, expr, SUM)?;
            write!(f, "{not} LIKE ")?;
            text(f, pattern)?;
            match escape {
                Some(it) => {
                    f.write_str(" ESCAPE ")?;
                    text(f, it.encode_utf8(&mut [0; 4]))
                }
                None => Ok(()),
            }
        }
        other => write!(f, "{other}"),
    }
}

fn name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let plain = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        && !RESERVED.iter().any(|it| it.eq_ignore_ascii_case(name))
        && !name.eq_ignore_ascii_case("select");
    if plain { f.write_str(name) } else { write!(f, "\"{}\"", name.replace('"', "\"\"")) }
}

fn text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\'', "''"))
}
