//! Evaluates an `expr` over a `RecordBatch`; three-valued.

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};

use crate::error::Result;
use crate::expr::Expr;
use crate::schema::Schema;

/// Evaluates a bound expression; the batch has the Arrow shape of (a projection of) `schema`.
pub fn evaluate(_expr: &Expr, _schema: &Schema, _batch: &RecordBatch) -> Result<ArrayRef> {
    todo!()
}

/// Rows for which a bound boolean expression is true: no nulls in the result.
pub fn matches(_expr: &Expr, _schema: &Schema, _batch: &RecordBatch) -> Result<BooleanArray> {
    todo!()
}
