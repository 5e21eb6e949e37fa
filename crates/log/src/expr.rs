//! Expressions over the columns of a table: the tree, its builders, and what they mean.
//!
//! One tree serves every way to say a condition: the text of `--where`, the builder calls of the
//! API and the constraints of a table all become an [`Expr`], and everything that judges one
//! (partition values, statistics, row groups, rows) judges the same tree. So a condition cannot
//! mean one thing while files are skipped and another while rows are read.
//!
//! ```text
//!   text --FromStr--> Expr --bind(schema)--> bound Expr --> skip   which files cannot match
//!   col(..), lit(..) --^        ^                      \--> eval   which rows match
//!                               names in their exact case, text literals typed, types checked
//! ```
//!
//! Everything is three-valued: a comparison with null is null, and a row matches only if its
//! filter is true. Floating point numbers have one order everywhere: `-0.0 = 0.0`, and NaN equals
//! itself and is greater than every other number.

use std::collections::BTreeSet;
use std::ops;

use crate::error::Result;
use crate::schema::{DataType, PrimitiveType, Schema};
use crate::value::Value;

mod bind;
mod like;
mod number;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub(crate) use bind::{arithmetic_type, decimal_digits};
pub(crate) use like::Pattern;
pub(crate) use print::short;

/// An expression over the columns of a table. Three-valued: null is unknown.
///
/// Built by [`col`], [`lit`] and the methods below, or parsed from SQL:
///
/// ```
/// use lakebed_log::expr::{Expr, col, lit};
///
/// let built = col("origin").eq(lit("JFK")).and(col("delay").gt(lit(60)));
/// let parsed: Expr = "origin = 'JFK' and delay > 60".parse()?;
/// assert_eq!(built, parsed);
/// assert_eq!(built.to_string(), "origin = 'JFK' AND delay > 60");
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A column, or a nested field by its path of names.
    Column(Vec<String>),
    /// A value; `None` is null.
    Literal(Option<Value>),
    /// Text whose type is that of the other side of the comparison; bound by [`Expr::bind`].
    Text(String),
    /// Comparison.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// All of them; true if there are none.
    And(Vec<Expr>),
    /// Any of them; false if there are none.
    Or(Vec<Expr>),
    /// Not.
    Not(Box<Expr>),
    /// Is it null? Never null itself.
    IsNull(Box<Expr>),
    /// Is it one of the list?
    In(Box<Expr>, Vec<Expr>),
    /// SQL LIKE: pattern and escape character. Case counts.
    Like {
        /// What is matched.
        expr: Box<Expr>,
        /// `%` any run, `_` any character.
        pattern: String,
        /// Makes the next character plain. `None`: no character does.
        escape: Option<char>,
    },
    /// Checked cast; a value that does not fit is an error, as in ANSI SQL.
    Cast(Box<Expr>, PrimitiveType),
    /// Checked arithmetic.
    Arithmetic(ArithmeticOp, Box<Expr>, Box<Expr>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

/// Arithmetic.
///
/// Whole numbers are computed in 64 bits, and `/` of whole numbers is a double. Decimals stay
/// decimals; with a float or a double on either side the result is a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// A column by name; a dot in the name is part of the name. For nested fields see [`Expr::field`].
///
/// ```
/// use lakebed_log::expr::col;
///
/// assert_eq!(col("user").to_string(), "user");
/// assert_eq!(col("a.b").to_string(), "\"a.b\"");
/// assert_eq!(col("a").field("b").to_string(), "a.b");
/// ```
pub fn col(name: impl Into<String>) -> Expr {
    Expr::Column(vec![name.into()])
}

/// A literal. Text takes the type of what it is compared with.
///
/// ```
/// use lakebed_log::expr::{col, lit};
///
/// let e = col("day").gt_eq(lit("2024-01-01")).and(col("n").not_eq(lit(None::<i64>)));
/// assert_eq!(e.to_string(), "day >= '2024-01-01' AND n <> NULL");
/// ```
pub fn lit(value: impl Into<Literal>) -> Expr {
    value.into().0
}

/// What [`lit`] takes: Rust numbers, `bool`, `&str`, `String`, `Vec<u8>`, [`Value`], and `Option`
/// of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal(Expr);

macro_rules! literals {
    ($($from:ty, $value:ident => $made:expr;)*) => {
        $(
            impl From<$from> for Literal {
                fn from($value: $from) -> Literal {
                    Literal(Expr::Literal(Some($made)))
                }
            }

            impl From<$from> for Expr {
                fn from(value: $from) -> Expr {
                    lit(value)
                }
            }
        )*
    };
}

literals! {
    bool, it => Value::Boolean(it);
    i8, it => Value::Byte(it);
    i16, it => Value::Short(it);
    i32, it => Value::Integer(it);
    i64, it => Value::Long(it);
    u8, it => Value::Short(it.into());
    u16, it => Value::Integer(it.into());
    u32, it => Value::Long(it.into());
    f32, it => Value::Float(it);
    f64, it => Value::Double(it);
    Value, it => it;
}

impl From<&str> for Literal {
    fn from(text: &str) -> Literal {
        Literal(Expr::Text(text.to_owned()))
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Literal {
        Literal(Expr::Text(text))
    }
}

impl From<Vec<u8>> for Literal {
    fn from(bytes: Vec<u8>) -> Literal {
        Literal(Expr::Literal(Some(Value::Binary(bytes))))
    }
}

impl From<&[u8]> for Literal {
    fn from(bytes: &[u8]) -> Literal {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Literal {
    fn from(bytes: &[u8; N]) -> Literal {
        bytes.to_vec().into()
    }
}

impl<T: Into<Literal>> From<Option<T>> for Literal {
    fn from(value: Option<T>) -> Literal {
        value.map_or(Literal(Expr::Literal(None)), Into::into)
    }
}

/// Builders. Each takes the expression and gives a larger one; nothing is checked before
/// [`Expr::bind`].
impl Expr {
    /// Equal. Null if either side is.
    pub fn eq(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::Eq, other)
    }

    /// Not equal. Null if either side is.
    pub fn not_eq(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::NotEq, other)
    }

    /// Less.
    pub fn lt(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::Lt, other)
    }

    /// Less or equal.
    pub fn lt_eq(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::LtEq, other)
    }

    /// Greater.
    pub fn gt(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::Gt, other)
    }

    /// Greater or equal.
    pub fn gt_eq(self, other: impl Into<Expr>) -> Expr {
        self.compare(CompareOp::GtEq, other)
    }

    /// Both. A chain of calls makes one flat list of terms.
    #[must_use]
    pub fn and(self, other: impl Into<Expr>) -> Expr {
        let mut terms = match self {
            Expr::And(terms) => terms,
            it => vec![it],
        };
        match other.into() {
            Expr::And(more) => terms.extend(more),
            it => terms.push(it),
        }
        Expr::And(terms)
    }

    /// Either. A chain of calls makes one flat list of terms.
    #[must_use]
    pub fn or(self, other: impl Into<Expr>) -> Expr {
        let mut terms = match self {
            Expr::Or(terms) => terms,
            it => vec![it],
        };
        match other.into() {
            Expr::Or(more) => terms.extend(more),
            it => terms.push(it),
        }
        Expr::Or(terms)
    }

    /// Not. Null stays null.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "implemented too; this needs no import")]
    pub fn not(self) -> Expr {
        Expr::Not(Box::new(self))
    }

    /// Is it null? True or false, never null.
    #[must_use]
    pub fn is_null(self) -> Expr {
        Expr::IsNull(Box::new(self))
    }

    /// Is it a value? True or false, never null.
    #[must_use]
    pub fn is_not_null(self) -> Expr {
        self.is_null().not()
    }

    /// Is it one of these? An empty list has nothing in it.
    ///
    /// ```
    /// use lakebed_log::expr::{col, lit};
    ///
    /// let e = col("origin").in_list([lit("JFK"), lit("LGA")]);
    /// assert_eq!(e.to_string(), "origin IN ('JFK', 'LGA')");
    /// ```
    #[must_use]
    pub fn in_list<E: Into<Expr>>(self, list: impl IntoIterator<Item = E>) -> Expr {
        Expr::In(Box::new(self), list.into_iter().map(Into::into).collect())
    }

    /// At least `low` and at most `high`.
    #[must_use]
    pub fn between(self, low: impl Into<Expr>, high: impl Into<Expr>) -> Expr {
        let high = self.clone().lt_eq(high);
        Expr::And(vec![self.gt_eq(low), high])
    }

    /// SQL LIKE without an escape character: `%` stands for any run, `_` for any one character.
    #[must_use]
    pub fn like(self, pattern: impl Into<String>) -> Expr {
        Expr::Like { expr: Box::new(self), pattern: pattern.into(), escape: None }
    }

    /// The negation of [`Expr::like`]. Null stays null.
    #[must_use]
    pub fn not_like(self, pattern: impl Into<String>) -> Expr {
        self.like(pattern).not()
    }

    /// Checked cast to a type.
    #[must_use]
    pub fn cast(self, to: PrimitiveType) -> Expr {
        Expr::Cast(Box::new(self), to)
    }

    /// A field of a struct column. On anything but a column it names a column that cannot exist,
    /// which [`Expr::bind`] reports.
    #[must_use]
    pub fn field(self, name: impl Into<String>) -> Expr {
        let mut path = match self {
            Expr::Column(path) => path,
            it => vec![it.to_string()],
        };
        path.push(name.into());
        Expr::Column(path)
    }

    fn compare(self, op: CompareOp, other: impl Into<Expr>) -> Expr {
        Expr::Compare(op, Box::new(self), Box::new(other.into()))
    }

    fn arithmetic(self, op: ArithmeticOp, other: impl Into<Expr>) -> Expr {
        Expr::Arithmetic(op, Box::new(self), Box::new(other.into()))
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $op:ident,)*) => {
        $(
            impl<E: Into<Expr>> ops::$operator<E> for Expr {
                type Output = Expr;
                fn $method(self, other: E) -> Expr {
                    self.arithmetic(ArithmeticOp::$op, other)
                }
            }
        )*
    };
}

operators! {
    Add add Add,
    Sub sub Subtract,
    Mul mul Multiply,
    Div div Divide,
    Rem rem Modulo,
}

impl ops::Not for Expr {
    type Output = Expr;
    fn not(self) -> Expr {
        Expr::not(self)
    }
}

/// Zero minus the expression.
impl ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        lit(0i64) - self
    }
}

impl Expr {
    /// Resolves names and types against a schema.
    ///
    /// Columns get the exact case of the schema (an exact match wins over one that ignores case).
    /// Text literals, and numbers where that loses nothing, become values of the type of the
    /// other side. Nested `AND` and `OR` become flat. The result means the same and evaluates
    /// without looking anything up by case; binding it again changes nothing.
    ///
    /// # Errors
    ///
    /// `unknown-column` names the nearest column. `invalid-expression` if the types on both sides
    /// do not compare, a text literal does not read as its type, a condition is not boolean, or
    /// the expression nests deeper than [`EXPR_DEPTH_MAX`](crate::limits::EXPR_DEPTH_MAX).
    pub fn bind(&self, schema: &Schema) -> Result<Expr> {
        bind::bind(self, schema).map(|(bound, _)| bound)
    }

    /// Binds an expression that is to be a filter, so a boolean.
    ///
    /// # Errors
    ///
    /// Those of [`Expr::bind`], and `invalid-expression` if the expression is not a boolean.
    pub fn bind_filter(&self, schema: &Schema) -> Result<Expr> {
        match bind::bind(self, schema)? {
            (bound, DataType::Primitive(PrimitiveType::Boolean | PrimitiveType::Void)) => Ok(bound),
            (bound, other) => Err(bind::invalid(format!(
                "a filter is true or false, but `{}` is of type {}",
                short(&bound),
                short(&other)
            ))),
        }
    }

    /// The type of the expression; `void` for a bare null.
    ///
    /// # Errors
    ///
    /// Those of [`Expr::bind`].
    pub fn data_type(&self, schema: &Schema) -> Result<DataType> {
        bind::bind(self, schema).map(|(_, of)| of)
    }

    /// Top-level names of the columns named, each once, in order of appearance.
    pub fn columns(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        self.visit(&mut |it| {
            if let Expr::Column(path) = it
                && let Some(name) = path.first()
                && seen.insert(name.clone())
            {
                names.push(name.clone());
            }
        });
        names
    }

    /// The terms of a top-level `AND`; the expression itself if it is none.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        let mut terms = Vec::new();
        let mut open = vec![self];
        while let Some(next) = open.pop() {
            match next {
                Expr::And(parts) => open.extend(parts.iter().rev()),
                it => terms.push(it),
            }
        }
        terms
    }

    /// Calls `f` for every node, parents first, left to right, without recursion.
    pub(crate) fn visit<'a>(&'a self, f: &mut impl FnMut(&'a Expr)) {
        let mut open = vec![self];
        while let Some(next) = open.pop() {
            f(next);
            match next {
                Expr::Column(_) | Expr::Literal(_) | Expr::Text(_) => {}
                Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => open.extend([&**b, &**a]),
                Expr::And(parts) | Expr::Or(parts) => open.extend(parts.iter().rev()),
                Expr::Not(it) | Expr::IsNull(it) | Expr::Cast(it, _) => open.push(it),
                Expr::Like { expr, .. } => open.push(expr),
                Expr::In(it, list) => {
                    open.extend(list.iter().rev());
                    open.push(it);
                }
            }
        }
    }
}
