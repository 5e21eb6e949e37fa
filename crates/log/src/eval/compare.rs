//! Comparison across types, by value.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Datum, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_ord::cmp;
use arrow_ord::ord::make_comparator;
use arrow_schema::{ArrowError, DataType as ArrowType, SortOptions, TimeUnit};

use super::{Column, failed};
use crate::error::{Code, Error, Result};
use crate::expr::{CompareOp, Expr};
use crate::value::Value;

/// Lists up to this length are compared item by item, which the kernels do faster than a search.
const LIST_PLAIN_MAX: usize = 8;

/// Compares two operands; null where either is.
pub(super) fn compare(
    op: CompareOp,
    a: &Column,
    b: &Column,
    what: impl Fn() -> String,
) -> Result<Column> {
    let constant = a.constant && b.constant;
    let len = if a.constant { b.array.len() } else { a.array.len() };
    let (x, y) = (a.array.data_type(), b.array.data_type());
    let rows = if *x == ArrowType::Null || *y == ArrowType::Null {
        return Ok(Column { array: new_null_array(&ArrowType::Boolean, len), constant });
    } else if is_long(x) && is_float(y) {
        long_with_double(a, b, len, |it| holds(op, it))?
    } else if is_float(x) && is_long(y) {
        long_with_double(b, a, len, |it| holds(op, it.reverse()))?
    } else {
        let common = common_type(x, y).ok_or_else(|| {
            let what = format!("cannot compare {x} with {y} in `{}`", what());
            Error::new(Code::InvalidExpression, what)
        })?;
        let kernel: fn(&dyn Datum, &dyn Datum) -> Result<BooleanArray, ArrowError> = match op {
            CompareOp::Eq => cmp::eq,
            CompareOp::NotEq => cmp::neq,
            CompareOp::Lt => cmp::lt,
            CompareOp::LtEq => cmp::lt_eq,
            CompareOp::Gt => cmp::gt,
            CompareOp::GtEq => cmp::gt_eq,
        };
        let (a, b) = (normal(a.widen(&common)?), normal(b.widen(&common)?));
        a.apply(&b, kernel).map_err(|it| failed(it, &what()))?
    };
    Ok(Column { array: Arc::new(rows), constant })
}

fn holds(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::NotEq => order.is_ne(),
        CompareOp::Lt => order.is_lt(),
        CompareOp::LtEq => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        CompareOp::GtEq => order.is_ge(),
    }
}

fn is_long(of: &ArrowType) -> bool {
    *of == ArrowType::Int64
}

fn is_float(of: &ArrowType) -> bool {
    matches!(of, ArrowType::Float32 | ArrowType::Float64)
}

/// The type in which both compare exactly; for a decimal and a float the double, which is as good
/// as the float was.
fn common_type(a: &ArrowType, b: &ArrowType) -> Option<ArrowType> {
    use ArrowType as A;
    if a == b {
        return Some(a.clone());
    }
    let micros = |zone| A::Timestamp(TimeUnit::Microsecond, zone);
    match (a, b) {
        (A::Date32, A::Timestamp(_, zone)) | (A::Timestamp(_, zone), A::Date32) => {
            return Some(micros(zone.clone()));
        }
        (A::Timestamp(..), A::Timestamp(..)) => return Some(micros(Some("UTC".into()))),
        _ => {}
    }
    let digits = |it: &A| match it {
        A::Int8 => Some((3, 0)),
        A::Int16 => Some((5, 0)),
        A::Int32 => Some((10, 0)),
        A::Int64 => Some((19, 0)),
        A::Decimal128(precision, scale) => {
            Some((i8::try_from(*precision).ok()?.checked_sub(*scale)?, *scale))
        }
        _ => None,
    };
    match (digits(a), digits(b)) {
        (Some(_), Some(_)) if !a.is_decimal() && !b.is_decimal() => Some(A::Int64),
        (Some((whole_a, scale_a)), Some((whole_b, scale_b))) => {
            let scale = scale_a.max(scale_b);
            let precision = u8::try_from(whole_a.max(whole_b) + scale).ok()?;
            let narrow = precision <= 38;
            Some(if narrow {
                A::Decimal128(precision, scale)
            } else {
                A::Decimal256(precision, scale)
            })
        }
        (x, y) if (x.is_some() || is_float(a)) && (y.is_some() || is_float(b)) => Some(A::Float64),
        _ => None,
    }
}

/// One zero and one NaN, which Arrow's total order puts last.
fn normal(column: Column) -> Column {
    let array: ArrayRef = match column.array.data_type() {
        ArrowType::Float32 => {
            let it = column.array.as_primitive::<Float32Type>();
            Arc::new(it.unary::<_, Float32Type>(|it| if it.is_nan() { f32::NAN } else { it + 0.0 }))
        }
        ArrowType::Float64 => {
            let it = column.array.as_primitive::<Float64Type>();
            Arc::new(it.unary::<_, Float64Type>(|it| if it.is_nan() { f64::NAN } else { it + 0.0 }))
        }
        _ => return column,
    };
    Column { array, constant: column.constant }
}

/// Whole numbers of 64 bits have no exact double, and doubles no exact decimal.
fn long_with_double(
    longs: &Column,
    doubles: &Column,
    len: usize,
    holds: impl Fn(Ordering) -> bool,
) -> Result<BooleanArray> {
    let doubles = doubles.widen(&ArrowType::Float64)?;
    let (x, y) =
        (longs.array.as_primitive::<Int64Type>(), doubles.array.as_primitive::<Float64Type>());
    let (xs, ys) = (x.values(), y.values());
    let hits = BooleanBuffer::collect_bool(len, |row| {
        match (xs.get(longs.at(row)), ys.get(doubles.at(row))) {
            (Some(x), Some(y)) => holds(order(*x, *y)),
            _ => false,
        }
    });
    let nulls = |it: &Column| match (it.constant, it.array.null_count()) {
        (_, 0) => None,
        (true, _) => Some(NullBuffer::new_null(len)),
        (false, _) => it.array.nulls().cloned(),
    };
    let nulls = NullBuffer::union(nulls(longs).as_ref(), nulls(&doubles).as_ref());
    Ok(BooleanArray::new(hits, nulls))
}

/// The exact order of a whole number and a double; NaN is greatest.
#[expect(clippy::cast_possible_truncation, reason = "the whole part was found to be in range")]
fn order(long: i64, double: f64) -> Ordering {
    // Two to the 63rd, the first double above every long.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() || END <= double {
        Ordering::Less
    } else if double < -END {
        Ordering::Greater
    } else {
        let whole = double.trunc();
        long.cmp(&(whole as i64)).then_with(|| whole.total_cmp(&double))
    }
}

/// The constants of a long `IN` list, sorted once per batch and searched for every row.
pub(super) struct Set {
    sorted: Column,
}

impl Set {
    /// Splits a list: constants of the column's own type become a set, if they are many; the rest
    /// is for one-by-one comparison.
    pub(super) fn new<'a>(
        column: &Column,
        list: &'a [Expr],
    ) -> Result<(Option<Set>, Vec<&'a Expr>)> {
        let own = |it: &Expr| match it {
            Expr::Literal(Some(value)) => {
                value.primitive_type().to_arrow() == *column.array.data_type()
            }
            _ => false,
        };
        let (own, rest): (Vec<&Expr>, Vec<&Expr>) = list.iter().partition(|it| own(it));
        if own.len() <= LIST_PLAIN_MAX {
            return Ok((None, list.iter().collect()));
        }
        let values = own.into_iter().map(|it| match it {
            Expr::Literal(value) => value.as_ref(),
            _ => None,
        });
        let array = collect(column.array.data_type(), values)?;
        let Column { array, .. } = normal(Column::rows(array));
        let array = arrow_ord::sort::sort(&array, None).map_err(|it| failed(it, "a list"))?;
        Ok((Some(Set { sorted: Column::rows(array) }), rest))
    }

    /// Is the row's value in the set? Says nothing for null rows.
    pub(super) fn contains(&self, column: &Column) -> Result<BooleanArray> {
        let column = normal(column.clone());
        let order = make_comparator(&self.sorted.array, &column.array, SortOptions::default())
            .map_err(|it| failed(it, "a list"))?;
        let end = self.sorted.array.len();
        let hits = BooleanBuffer::collect_bool(column.array.len(), |row| {
            let (mut low, mut high) = (0, end);
            while low < high {
                let middle = low + (high - low) / 2;
                match order(middle, row) {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return column.array.is_valid(row),
                }
            }
            false
        });
        Ok(BooleanArray::new(hits, None))
    }
}

/// Values of one type as an array of it.
pub(super) fn collect<'a>(
    of: &ArrowType,
    values: impl Iterator<Item = Option<&'a Value>>,
) -> Result<ArrayRef> {
    macro_rules! picked {
        ($array:ty, $variant:ident) => {{
            let picked = values.map(|it| match it {
                Some(Value::$variant(it)) => Some(it.clone()),
                _ => None,
            });
            Arc::new(picked.collect::<$array>())
        }};
    }
    let array: ArrayRef = match of {
        ArrowType::Boolean => picked!(BooleanArray, Boolean),
        ArrowType::Int8 => picked!(Int8Array, Byte),
        ArrowType::Int16 => picked!(Int16Array, Short),
        ArrowType::Int32 => picked!(Int32Array, Integer),
        ArrowType::Int64 => picked!(Int64Array, Long),
        ArrowType::Float32 => picked!(Float32Array, Float),
        ArrowType::Float64 => picked!(Float64Array, Double),
        ArrowType::Utf8 => picked!(StringArray, String),
        ArrowType::Binary => picked!(BinaryArray, Binary),
        ArrowType::Date32 => picked!(Date32Array, Date),
        ArrowType::Timestamp(_, zone) => {
            let micros = values.map(|it| match it {
                Some(Value::Timestamp(it) | Value::TimestampNtz(it)) => Some(*it),
                _ => None,
            });
            let array = micros.collect::<TimestampMicrosecondArray>();
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        ArrowType::Decimal128(precision, scale) => {
            let unscaled = values.map(|it| match it {
                Some(Value::Decimal { unscaled, .. }) => Some(*unscaled),
                _ => None,
            });
            let array = unscaled.collect::<Decimal128Array>();
            let array = array.with_precision_and_scale(*precision, *scale);
            Arc::new(array.map_err(|it| failed(it, "a list"))?)
        }
        other => return Err(Error::internal(format!("no list of {other}"))),
    };
    Ok(array)
}
