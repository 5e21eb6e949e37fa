//! Expressions: tree, printer, binding to a schema; text is parsed by `sqlparser` and lowered here.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::schema::{DataType, PrimitiveType, Schema};
use crate::value::Value;

/// An expression over the columns of a table. Three-valued: null is unknown.
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
    /// All of them.
    And(Vec<Expr>),
    /// Any of them.
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
        /// Makes the next character plain.
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
pub enum CompareOp { Eq, NotEq, Lt, LtEq, Gt, GtEq }

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ArithmeticOp { Add, Subtract, Multiply, Divide, Modulo }

/// A column by name; a dot in the name is part of the name. For nested fields see [`Expr::field`].
pub fn col(name: impl Into<String>) -> Expr {
    Expr::Column(vec![name.into()])
}

/// A literal. Text takes the type of what it is compared with.
pub fn lit(value: impl Into<Literal>) -> Expr {
    value.into().0
}

/// What [`lit`] takes: Rust numbers, `bool`, `&str`, `String`, `Vec<u8>`, [`Value`], and `Option` of these.
pub struct Literal(Expr);

impl Expr {
    // eq, not_eq, lt, lt_eq, gt, gt_eq, and, or, not, is_null, is_not_null, in_list, between, like, cast, field
    // and the operators + - * / % on Expr; all `impl Into<Expr>` where it helps.

    /// Resolves columns (`unknown-column` names the nearest), gives text literals the type of their column, checks
    /// types (`invalid-expression`). The result evaluates without name look-ups by case.
    pub fn bind(&self, _schema: &Schema) -> Result<Expr> {
        todo!()
    }
    /// The type of a bound expression.
    pub fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        todo!()
    }
    /// Top-level names of the columns named, each once.
    pub fn columns(&self) -> Vec<String> {
        todo!()
    }
    /// The terms of a top-level AND.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        todo!()
    }
}

/// Parses the SQL text of `--where`. `invalid-expression` with the place in the text.
impl FromStr for Expr {
    type Err = Error;
    fn from_str(_text: &str) -> Result<Expr> {
        todo!()
    }
}

/// SQL that parses back to the same expression.
impl fmt::Display for Expr {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
