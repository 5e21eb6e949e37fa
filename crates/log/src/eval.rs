//! Evaluates an `expr` over a `RecordBatch`; three-valued.
//!
//! Whole columns at a time, by Arrow's kernels, with three things done differently. Arrow orders
//! floating point numbers by their bits, so that `-0.0 < 0.0` and a NaN with its sign set is the
//! least number of all; here they are brought to one zero and one NaN first. Arrow compares equal
//! types only; here numbers of different types are brought to a type that holds both exactly. And
//! `AND` and `OR` compute what can fail (a division, a cast) only for the rows that are still
//! undecided, so that `n <> 0 AND total / n > 2` does not fail on the rows it excludes.
//!
//! A literal stays one row until an operator needs it longer: most filters compare a column with a
//! constant, and the kernels have a faster way for that.

use std::sync::Arc;

use arrow_arith::boolean;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Datum, NullArray, RecordBatch, RecordBatchOptions, Scalar,
    StringArray, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, TimeUnit};
use arrow_select::filter::filter_record_batch;
use arrow_select::nullif::nullif;
use arrow_select::take::take;

use crate::error::{Code, Error, Result};
use crate::expr::{Expr, Pattern, short};
use crate::schema::{DataType, PrimitiveType, Schema};
use crate::value::Value;

mod arithmetic;
mod cast;
mod compare;
#[cfg(test)]
pub(crate) mod tests;

/// Evaluates a bound expression; the batch has the Arrow shape of (a projection of) `schema`.
///
/// The result has one row per row of the batch. The type of a bare null is Arrow's null.
///
/// # Errors
///
/// `invalid-data` if a value does not fit: a division by zero, an overflow, a cast that would
/// change the value. `invalid-expression` if the expression was not bound to `schema`.
pub fn evaluate(expr: &Expr, schema: &Schema, batch: &RecordBatch) -> Result<ArrayRef> {
    Evaluator { schema, batch }.evaluate(expr)?.expand(batch.num_rows())
}

/// Rows for which a bound boolean expression is true: no nulls in the result.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Int64Array, RecordBatch};
/// use lakebed_log::{eval, expr::Expr, schema::Schema};
///
/// let schema = Schema::parse_ddl("n long")?;
/// let column = Arc::new(Int64Array::from(vec![Some(1), Some(5), None]));
/// let batch = RecordBatch::try_new(schema.to_arrow(), vec![column]).unwrap();
///
/// let filter = "n > 3".parse::<Expr>()?.bind(&schema)?;
/// let rows = eval::matches(&filter, &schema, &batch)?;
/// assert_eq!(rows.iter().flatten().collect::<Vec<_>>(), [false, true, false]);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`evaluate`], and `invalid-expression` if the expression is not boolean.
pub fn matches(expr: &Expr, schema: &Schema, batch: &RecordBatch) -> Result<BooleanArray> {
    let evaluator = Evaluator { schema, batch };
    let rows = evaluator.condition(expr)?;
    Ok(match rows.nulls() {
        Some(nulls) => BooleanArray::new(rows.values() & nulls.inner(), None),
        None => rows,
    })
}

/// The value of an expression that names no columns; `None` for null.
pub(crate) fn constant(expr: &Expr) -> Result<Option<Value>> {
    let schema = Schema::default();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(schema.to_arrow(), Vec::new(), &options)
        .map_err(|it| Error::internal("cannot build a row without columns").because(it))?;
    let array = evaluate(expr, &schema, &row)?;
    if *array.data_type() == ArrowType::Null { Ok(None) } else { Value::from_array(&array, 0) }
}

/// The type of a column in the shape of [`Schema::to_arrow`]; `None` for nested ones.
fn primitive_type(of: &ArrowType) -> Option<PrimitiveType> {
    Some(match of {
        ArrowType::Boolean => PrimitiveType::Boolean,
        ArrowType::Int8 => PrimitiveType::Byte,
        ArrowType::Int16 => PrimitiveType::Short,
        ArrowType::Int32 => PrimitiveType::Integer,
        ArrowType::Int64 => PrimitiveType::Long,
        ArrowType::Float32 => PrimitiveType::Float,
        ArrowType::Float64 => PrimitiveType::Double,
        ArrowType::Decimal128(precision, scale) => {
            PrimitiveType::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
        }
        ArrowType::Utf8 => PrimitiveType::String,
        ArrowType::Binary => PrimitiveType::Binary,
        ArrowType::Date32 => PrimitiveType::Date,
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamp,
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::TimestampNtz,
        ArrowType::Null => PrimitiveType::Void,
        _ => return None,
    })
}

/// Rows of an operand; one row that stands for all if it is constant.
#[derive(Clone, Debug)]
struct Column {
    array: ArrayRef,
    constant: bool,
}

impl Column {
    fn rows(array: ArrayRef) -> Column {
        Column { array, constant: false }
    }

    /// As long as the batch.
    fn expand(self, len: usize) -> Result<ArrayRef> {
        if !self.constant {
            return Ok(self.array);
        }
        if *self.array.data_type() == ArrowType::Null {
            return Ok(Arc::new(NullArray::new(len)));
        }
        let first = UInt32Array::from(vec![0; len]);
        take(&self.array, &first, None).map_err(|it| failed(it, "a constant"))
    }

    /// Where the value of a row is.
    fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    /// The same rows in another type that holds them all.
    fn widen(&self, to: &ArrowType) -> Result<Column> {
        if self.array.data_type() == to {
            return Ok(self.clone());
        }
        Ok(Column { array: cast::exact(&self.array, to)?, constant: self.constant })
    }

    /// Applies a kernel of two operands, keeping a constant a constant.
    fn apply<T>(
        &self,
        other: &Column,
        kernel: impl Fn(&dyn Datum, &dyn Datum) -> Result<T, ArrowError>,
    ) -> Result<T, ArrowError> {
        let scalar = |it: &Column| Scalar::new(Arc::clone(&it.array));
        match (self.constant, other.constant) {
            (true, false) => kernel(&scalar(self), &other.array),
            (false, true) => kernel(&self.array, &scalar(other)),
            _ => kernel(&self.array, &other.array),
        }
    }
}

struct Evaluator<'a> {
    schema: &'a Schema,
    batch: &'a RecordBatch,
}

impl Evaluator<'_> {
    fn evaluate(&self, expr: &Expr) -> Result<Column> {
        match expr {
            Expr::Column(path) => self.column(path).map(Column::rows),
            Expr::Literal(None) => {
                Ok(Column { array: Arc::new(NullArray::new(1)), constant: true })
            }
            Expr::Literal(Some(value)) => {
                let array = Value::to_array(Some(value), value.primitive_type(), 1)?;
                Ok(Column { array, constant: true })
            }
            Expr::Text(text) => Ok(Column {
                array: Arc::new(StringArray::from(vec![text.as_str()])),
                constant: true,
            }),
            Expr::Compare(op, a, b) => {
                let (a, b) = (self.evaluate(a)?, self.evaluate(b)?);
                compare::compare(*op, &a, &b, || short(expr))
            }
            Expr::And(terms) => self.terms(terms, true),
            Expr::Or(terms) => self.terms(terms, false),
            Expr::Not(it) => {
                let rows = self.condition(it)?;
                let rows = boolean::not(&rows).map_err(|it| failed(it, &short(expr)))?;
                Ok(Column::rows(Arc::new(rows)))
            }
            Expr::IsNull(it) => {
                let it = self.evaluate(it)?;
                let rows = nulls(&it.array);
                Ok(Column { array: Arc::new(rows), constant: it.constant })
            }
            Expr::In(it, list) => self.in_list(it, list),
            Expr::Like { expr: it, pattern, escape } => {
                self.like(it, &Pattern::new(pattern, *escape)?)
            }
            Expr::Cast(it, to) => {
                let it = self.evaluate(it)?;
                cast::checked(&it, *to, &short(expr))
            }
            Expr::Arithmetic(op, a, b) => {
                let (a, b) = (self.evaluate(a)?, self.evaluate(b)?);
                arithmetic::compute(*op, &a, &b, &short(expr))
            }
        }
    }

    /// A boolean, as long as the batch.
    fn condition(&self, expr: &Expr) -> Result<BooleanArray> {
        let rows = self.batch.num_rows();
        let array = self.evaluate(expr)?.expand(rows)?;
        match array.as_boolean_opt() {
            Some(it) => Ok(it.clone()),
            None if *array.data_type() == ArrowType::Null => Ok(BooleanArray::new_null(rows)),
            None => {
                let what = format!("`{}` is not a condition", short(expr));
                Err(Error::new(Code::InvalidExpression, what))
            }
        }
    }

    /// `AND` or `OR`. Terms that cannot fail go first; those that can see only what is undecided.
    fn terms(&self, terms: &[Expr], and: bool) -> Result<Column> {
        let rows = self.batch.num_rows();
        let mut so_far = BooleanArray::new(new_bits(rows, and), None);
        let (risky, safe): (Vec<&Expr>, Vec<&Expr>) = terms.iter().partition(|it| can_fail(it));
        for term in safe.into_iter().chain(risky) {
            let open = undecided(&so_far, and);
            let open_count = open.true_count();
            if open_count == 0 {
                break;
            }
            let next = if open_count < rows && can_fail(term) {
                let batch = filter_record_batch(self.batch, &open)
                    .map_err(|it| failed(it, &short(term)))?;
                let some = Evaluator { schema: self.schema, batch: &batch }.condition(term)?;
                spread(&some, &open)
            } else {
                self.condition(term)?
            };
            let kernel = if and { boolean::and_kleene } else { boolean::or_kleene };
            so_far = kernel(&so_far, &next).map_err(|it| failed(it, &short(term)))?;
        }
        Ok(Column::rows(Arc::new(so_far)))
    }

    fn in_list(&self, it: &Expr, list: &[Expr]) -> Result<Column> {
        let column = self.evaluate(it)?;
        let (set, rest) = compare::Set::new(&column, list)?;
        let mut found = match set {
            Some(set) => set.contains(&column)?,
            None => BooleanArray::new(new_bits(column.array.len(), false), None),
        };
        let rows = self.batch.num_rows();
        if rest.is_empty() {
            // Null in no list at all is still null only if there is something it could equal.
            if !list.is_empty() {
                found = with_nulls_of(&found, &column.array);
            }
            return Ok(Column { array: Arc::new(found), constant: column.constant });
        }
        let expanded = Column { array: Arc::new(found), constant: column.constant }.expand(rows)?;
        let mut found = with_nulls_of(expanded.as_boolean(), &column.clone().expand(rows)?);
        for item in rest {
            let item = self.evaluate(item)?;
            let op = crate::expr::CompareOp::Eq;
            let equal = compare::compare(op, &column, &item, || short(it))?.expand(rows)?;
            found = boolean::or_kleene(&found, equal.as_boolean())
                .map_err(|error| failed(error, &short(it)))?;
        }
        Ok(Column::rows(Arc::new(found)))
    }

    fn like(&self, it: &Expr, pattern: &Pattern) -> Result<Column> {
        let column = self.evaluate(it)?;
        let array = if *column.array.data_type() == ArrowType::Null {
            new_null_array(&ArrowType::Boolean, column.array.len())
        } else if let Some(texts) = column.array.as_string_opt::<i32>() {
            let hits: BooleanBuffer =
                texts.iter().map(|it| it.is_some_and(|it| pattern.matches(it))).collect();
            Arc::new(BooleanArray::new(hits, texts.nulls().cloned()))
        } else {
            let what = format!("like needs text, not `{}`", short(it));
            return Err(Error::new(Code::InvalidExpression, what));
        };
        Ok(Column { array, constant: column.constant })
    }

    /// A column or a field; null where any struct around it is.
    fn column(&self, path: &[String]) -> Result<ArrayRef> {
        let lost = || Error::internal(format!("column `{}` is not in the batch", path.join(".")));
        let (first, rest) = path.split_first().ok_or_else(lost)?;
        let mut array = self.batch.column_by_name(first).map(Arc::clone).ok_or_else(lost)?;
        for name in rest {
            let parent = array.as_struct_opt().ok_or_else(lost)?;
            let mut child = parent.column_by_name(name).map(Arc::clone).ok_or_else(lost)?;
            if parent.null_count() > 0 {
                child = nullif(&child, &nulls(&array)).map_err(|it| failed(it, name))?;
            }
            array = child;
        }
        match self.schema.at_path(path).map(|it| &it.data_type) {
            Some(DataType::Primitive(of)) if *array.data_type() != of.to_arrow() => {
                cast::exact(&array, &of.to_arrow())
            }
            _ => Ok(array),
        }
    }
}

fn new_bits(len: usize, set: bool) -> BooleanBuffer {
    if set { BooleanBuffer::new_set(len) } else { BooleanBuffer::new_unset(len) }
}

/// Which rows are null; all of an array of Arrow's null type.
fn nulls(array: &ArrayRef) -> BooleanArray {
    match array.logical_nulls() {
        Some(it) => BooleanArray::new(!it.inner(), None),
        None => BooleanArray::new(BooleanBuffer::new_unset(array.len()), None),
    }
}

fn with_nulls_of(rows: &BooleanArray, of: &ArrayRef) -> BooleanArray {
    let nulls = NullBuffer::union(rows.nulls(), of.logical_nulls().as_ref());
    BooleanArray::new(rows.values().clone(), nulls)
}

/// Can evaluating fail, depending on the data?
fn can_fail(expr: &Expr) -> bool {
    let mut found = false;
    expr.visit(&mut |it| found |= matches!(it, Expr::Cast(..) | Expr::Arithmetic(..)));
    found
}

/// Rows that the next term can still change: null, or not false (for `AND`), not true (for `OR`).
fn undecided(so_far: &BooleanArray, and: bool) -> BooleanArray {
    let open = if and { so_far.values().clone() } else { !so_far.values() };
    BooleanArray::new(
        match so_far.nulls() {
            Some(nulls) => &open | &!nulls.inner(),
            None => open,
        },
        None,
    )
}

/// Puts results for the rows where `open` is set back in their places; the others are null.
fn spread(some: &BooleanArray, open: &BooleanArray) -> BooleanArray {
    let mut results = some.iter();
    open.values().iter().map(|it| if it { results.next().flatten() } else { None }).collect()
}

/// A kernel could not compute a value.
fn failed(error: ArrowError, what: &str) -> Error {
    let said = match &error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ArithmeticOverflow(_) => "a result does not fit its type".to_owned(),
        ArrowError::ComputeError(it)
        | ArrowError::CastError(it)
        | ArrowError::InvalidArgumentError(it) => it.clone(),
        other => other.to_string(),
    };
    Error::new(Code::InvalidData, format!("cannot compute `{what}`: {said}")).because(error)
}
