//! Arithmetic that never gives a wrong number: it fails instead.

use arrow_arith::numeric;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type};
use arrow_array::{Array, ArrayRef, Datum, new_null_array};
use arrow_schema::{ArrowError, DataType as ArrowType};

use super::{Column, failed, primitive_type};
use crate::error::{Code, Error, Result};
use crate::expr::{ArithmeticOp, arithmetic_type, decimal_digits};
use crate::schema::PrimitiveType;

/// Computes `a op b`; null where either is. `what` names it in errors.
pub(super) fn compute(op: ArithmeticOp, a: &Column, b: &Column, what: &str) -> Result<Column> {
    let types = (primitive_type(a.array.data_type()), primitive_type(b.array.data_type()));
    let of = match types {
        (Some(a), Some(b)) => arithmetic_type(op, a, b),
        _ => None,
    };
    let (Some(of), (Some(a_type), Some(b_type))) = (of, types) else {
        let what = format!("cannot compute `{what}`: its sides are not numbers");
        return Err(Error::new(Code::InvalidExpression, what));
    };
    let constant = a.constant && b.constant;
    let len = if a.constant { b.array.len() } else { a.array.len() };
    if a_type == PrimitiveType::Void || b_type == PrimitiveType::Void {
        return Ok(Column { array: new_null_array(&of.to_arrow(), len), constant });
    }
    let (a, b) = (a.widen(&operand(a_type, of))?, b.widen(&operand(b_type, of))?);
    let array = apply(op, &a, &b, len).map_err(|it| failed(it, what))?;
    if let PrimitiveType::Decimal { precision, .. } = of {
        array
            .as_primitive::<Decimal128Type>()
            .validate_decimal_precision(precision)
            .map_err(|it| failed(it, what))?;
    }
    Ok(Column { array, constant })
}

/// The type in which an operand goes into the kernel.
fn operand(it: PrimitiveType, result: PrimitiveType) -> ArrowType {
    match (result, decimal_digits(it)) {
        (PrimitiveType::Decimal { .. }, Some(digits)) => ArrowType::Decimal128(digits, 0),
        (PrimitiveType::Decimal { .. }, None) => it.to_arrow(),
        _ => result.to_arrow(),
    }
}

fn apply(op: ArithmeticOp, a: &Column, b: &Column, len: usize) -> Result<ArrayRef, ArrowError> {
    let kernel: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> = match op {
        ArithmeticOp::Add => numeric::add,
        ArithmeticOp::Subtract => numeric::sub,
        ArithmeticOp::Multiply => numeric::mul,
        ArithmeticOp::Divide => numeric::div,
        ArithmeticOp::Modulo => numeric::rem,
    };
    // Arrow follows IEEE for doubles, where a division by zero is infinite.
    if matches!(op, ArithmeticOp::Divide | ArithmeticOp::Modulo)
        && let Some(divisors) = b.array.as_primitive_opt::<Float64Type>()
    {
        let zero = |row: usize| {
            let (x, y) = (a.at(row), b.at(row));
            a.array.is_valid(x) && b.array.is_valid(y) && divisors.values().get(y) == Some(&0.0)
        };
        if (0..len).any(zero) {
            return Err(ArrowError::DivideByZero);
        }
    }
    a.apply(b, kernel)
}
