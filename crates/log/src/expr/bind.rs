//! Resolves names and types.
//!
//! Binding settles three things once, so that no later step can settle them differently: which
//! column a name means, which type a literal has, and whether both sides of an operator go
//! together. A literal takes the type of the column beside it wherever that loses nothing, because
//! then statistics, partition values and rows are compared in one type and the comparison is
//! exact. Where it would lose something (`300` beside a byte, `1.5` beside an integer) it stays as
//! it is and both sides are compared as the numbers they are.

use super::{ArithmeticOp, Expr, Pattern, number, short};
use crate::error::{Code, Error, Result, similar};
use crate::limits::EXPR_DEPTH_MAX;
use crate::schema::{DataType, PrimitiveType, Schema, StructField, StructType};
use crate::value::Value;

/// The most columns that the search for a similar name looks at.
const SIMILAR_COLUMNS_MAX: usize = 1_000;

/// An `invalid-expression`.
pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(Code::InvalidExpression, what)
}

/// The bound expression and its type. See [`Expr::bind`].
pub(super) fn bind(expr: &Expr, schema: &Schema) -> Result<(Expr, DataType)> {
    let bound = Binder { schema }.bind(expr, 1)?.settle();
    Ok((bound.expr, bound.of.unwrap_or(DataType::Primitive(PrimitiveType::String))))
}

struct Binder<'a> {
    schema: &'a Schema,
}

/// A bound expression; text that has not met its other side yet has no type.
struct Typed {
    expr: Expr,
    of: Option<DataType>,
}

impl Typed {
    fn new(expr: Expr, of: PrimitiveType) -> Typed {
        Typed { expr, of: Some(DataType::Primitive(of)) }
    }

    /// Text that meets no typed side is a string.
    fn settle(self) -> Typed {
        match self.expr {
            Expr::Text(text) => {
                Typed::new(Expr::Literal(Some(Value::String(text))), PrimitiveType::String)
            }
            expr => Typed { expr, of: self.of },
        }
    }

    /// Takes the type of the other side, if it is a literal that can.
    fn beside(self, other: Option<&DataType>) -> Result<Typed> {
        let Some(DataType::Primitive(to)) = other else { return Ok(self.settle()) };
        match self.expr {
            Expr::Text(_) if *to == PrimitiveType::Void => Ok(self.settle()),
            Expr::Text(text) => {
                let value = Value::from_literal(&text, *to)?;
                Ok(Typed::new(Expr::Literal(Some(value)), *to))
            }
            Expr::Literal(Some(value)) => {
                let value = adapt(value, *to);
                let of = value.primitive_type();
                Ok(Typed::new(Expr::Literal(Some(value)), of))
            }
            expr => Ok(Typed { expr, of: self.of }),
        }
    }

    fn primitive(&self) -> Option<PrimitiveType> {
        match self.of {
            Some(DataType::Primitive(it)) => Some(it),
            _ => None,
        }
    }

    /// A literal of the type of the other side, which an error names.
    fn literal_of(self, other: &Typed) -> Result<Typed> {
        let of = other.of.clone();
        self.beside(of.as_ref()).map_err(|it| it.at(other.describe()))
    }

    fn describe(&self) -> String {
        let of = self.of.as_ref().map_or_else(|| "text".to_owned(), short);
        format!("`{}` ({of})", short(&self.expr))
    }
}

impl Binder<'_> {
    fn bind(&self, expr: &Expr, depth: usize) -> Result<Typed> {
        if EXPR_DEPTH_MAX < depth {
            let what = format!("expression nests deeper than the limit of {EXPR_DEPTH_MAX}");
            return Err(invalid(what));
        }
        let down = depth + 1;
        match expr {
            Expr::Column(path) => self.column(path),
            Expr::Literal(value) => {
                let of = value.as_ref().map_or(PrimitiveType::Void, Value::primitive_type);
                Ok(Typed::new(expr.clone(), of))
            }
            Expr::Text(_) => Ok(Typed { expr: expr.clone(), of: None }),
            Expr::Compare(op, a, b) => {
                let (a, b) = pair(self.bind(a, down)?, self.bind(b, down)?)?;
                comparable(&a, &b)?;
                let both = Expr::Compare(*op, Box::new(a.expr), Box::new(b.expr));
                Ok(Typed::new(both, PrimitiveType::Boolean))
            }
            Expr::And(terms) => Ok(boolean(Expr::And(self.terms(terms, true, down)?))),
            Expr::Or(terms) => Ok(boolean(Expr::Or(self.terms(terms, false, down)?))),
            Expr::Not(it) => Ok(boolean(Expr::Not(Box::new(self.condition(it, down)?)))),
            Expr::IsNull(it) => {
                let it = self.bind(it, down)?.settle();
                Ok(boolean(Expr::IsNull(Box::new(it.expr))))
            }
            Expr::In(it, list) => self.in_list(it, list, down),
            Expr::Like { expr, pattern, escape } => {
                let it = self.bind(expr, down)?.settle();
                if !matches!(it.primitive(), Some(PrimitiveType::String | PrimitiveType::Void)) {
                    return Err(invalid(format!("like needs text, not {}", it.describe())));
                }
                Pattern::new(pattern, *escape)?;
                let (expr, pattern) = (Box::new(it.expr), pattern.clone());
                Ok(boolean(Expr::Like { expr, pattern, escape: *escape }))
            }
            Expr::Cast(it, to) => cast(self.bind(it, down)?, *to),
            Expr::Arithmetic(op, a, b) => arithmetic(*op, self.bind(a, down)?, self.bind(b, down)?),
        }
    }

    /// Terms of `AND` or `OR`, those of nested ones among them.
    fn terms(&self, terms: &[Expr], and: bool, depth: usize) -> Result<Vec<Expr>> {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match (self.condition(term, depth)?, and) {
                (Expr::And(more), true) | (Expr::Or(more), false) => flat.extend(more),
                (it, _) => flat.push(it),
            }
        }
        Ok(flat)
    }

    /// Something true, false or null.
    fn condition(&self, expr: &Expr, depth: usize) -> Result<Expr> {
        let it = self.bind(expr, depth)?;
        match it.primitive() {
            Some(PrimitiveType::Boolean | PrimitiveType::Void) => Ok(it.expr),
            _ => Err(invalid(format!("{} is not a condition", it.describe()))),
        }
    }

    /// All of the list take the type of the left side; if that is text, of the first that has one.
    fn in_list(&self, it: &Expr, list: &[Expr], depth: usize) -> Result<Typed> {
        let it = self.bind(it, depth)?;
        let list = list.iter().map(|it| self.bind(it, depth)).collect::<Result<Vec<_>>>()?;
        let it = match list.iter().find_map(|it| it.of.clone()) {
            Some(of) if it.of.is_none() => it.beside(Some(&of))?,
            _ => it.settle(),
        };
        let mut bound = Vec::with_capacity(list.len());
        for item in list {
            let item = item.literal_of(&it)?;
            comparable(&it, &item)?;
            bound.push(item.expr);
        }
        Ok(boolean(Expr::In(Box::new(it.expr), bound)))
    }

    /// The path in the exact case of the schema.
    fn column(&self, path: &[String]) -> Result<Typed> {
        let Some((first, rest)) = path.split_first() else {
            return Err(invalid("a column has no name"));
        };
        let mut field = self.field(self.schema, first, &[])?;
        let mut exact = vec![field.name.clone()];
        for name in rest {
            let DataType::Struct(parts) = &field.data_type else {
                let (column, of) = (short(&Expr::Column(exact)), short(&field.data_type));
                let what = format!("`{column}` is a {of} and has no field `{name}`");
                return Err(Error::new(Code::UnknownColumn, what));
            };
            field = self.field(parts, name, &exact)?;
            exact.push(field.name.clone());
        }
        Ok(Typed { expr: Expr::Column(exact), of: Some(field.data_type.clone()) })
    }

    fn field<'a>(
        &self,
        parts: &'a StructType,
        name: &str,
        parent: &[String],
    ) -> Result<&'a StructField> {
        parts.field(name).ok_or_else(|| {
            let below = |name: &str| {
                let mut path = parent.to_vec();
                path.push(name.to_owned());
                Expr::Column(path).to_string()
            };
            let mut what = format!("there is no column `{}`", below(name));
            if let Some(nearest) = nearest(parts, name) {
                what.push_str(&format!("; the nearest is `{}`", below(nearest)));
            }
            Error::new(Code::UnknownColumn, what)
        })
    }
}

fn boolean(expr: Expr) -> Typed {
    Typed::new(expr, PrimitiveType::Boolean)
}

/// Both sides of an operator; a literal takes the type of what is none.
fn pair(a: Typed, b: Typed) -> Result<(Typed, Typed)> {
    let literal = |it: &Typed| matches!(it.expr, Expr::Literal(_) | Expr::Text(_));
    let text = |it: &Typed| it.of.is_none();
    if text(&a) || (literal(&a) && !literal(&b)) {
        let a = a.literal_of(&b)?;
        let b = if text(&b) { b.literal_of(&a)? } else { b };
        Ok((a, b))
    } else if text(&b) || literal(&b) {
        let b = b.literal_of(&a)?;
        Ok((a, b))
    } else {
        Ok((a, b))
    }
}

fn comparable(a: &Typed, b: &Typed) -> Result<()> {
    let class = |it: &Typed| {
        it.primitive().map(|it| match it {
            PrimitiveType::Void => 0,
            PrimitiveType::Boolean => 1,
            PrimitiveType::String => 2,
            PrimitiveType::Binary => 3,
            PrimitiveType::Date | PrimitiveType::Timestamp | PrimitiveType::TimestampNtz => 4,
            PrimitiveType::Variant | PrimitiveType::Interval(_) => 5,
            _ => 6,
        })
    };
    match (class(a), class(b)) {
        (Some(5) | None, _) | (_, Some(5) | None) => {}
        (Some(a), Some(b)) if a == b || a == 0 || b == 0 => return Ok(()),
        _ => {}
    }
    Err(invalid(format!("cannot compare {} with {}", a.describe(), b.describe())))
}

fn cast(it: Typed, to: PrimitiveType) -> Result<Typed> {
    use PrimitiveType as P;
    let to_type = DataType::Primitive(to);
    if let Expr::Text(text) = &it.expr {
        let value = Value::from_literal(text, to)?;
        return Ok(Typed::new(Expr::Literal(Some(value)), to));
    }
    let number = |it| arithmetic_type(ArithmeticOp::Add, it, it).is_some();
    let moment = |it| matches!(it, P::Date | P::Timestamp | P::TimestampNtz);
    let possible = it.primitive().is_some_and(|from| match (from, to) {
        (P::Variant | P::Interval(_), _) => false,
        (_, P::Variant | P::Interval(_) | P::Void) => false,
        (P::Void, _) => true,
        (from, to) if from == to => true,
        (_, P::String) | (P::String, _) => true,
        (P::Boolean, to) if number(to) => true,
        (from, P::Boolean) if number(from) => true,
        (from, to) => (number(from) && number(to)) || (moment(from) && moment(to)),
    });
    if !possible {
        let what = format!("cannot cast {} to {to}", it.describe());
        return Err(invalid(what));
    }
    Ok(Typed { expr: Expr::Cast(Box::new(it.expr), to), of: Some(to_type) })
}

fn arithmetic(op: ArithmeticOp, a: Typed, b: Typed) -> Result<Typed> {
    let (a_type, b_type) = (a.of.clone(), b.of.clone());
    let (a, b) = (operand(a, b_type.as_ref())?, operand(b, a_type.as_ref())?);
    let of = match (a.primitive(), b.primitive()) {
        (Some(a), Some(b)) => arithmetic_type(op, a, b),
        _ => None,
    };
    let Some(of) = of else {
        let (a, b, op) = (a.describe(), b.describe(), op.as_str());
        return Err(invalid(format!("cannot compute {a} {op} {b}: no type for the result")));
    };
    Ok(Typed::new(Expr::Arithmetic(op, Box::new(a.expr), Box::new(b.expr)), of))
}

/// A literal operand. Text takes the type of the other side. A decimal beside a float is a double,
/// and a whole number beside a decimal has as many digits as it needs, not as its type has, so
/// that the result does not run out of digits.
fn operand(it: Typed, other: Option<&DataType>) -> Result<Typed> {
    let Expr::Literal(Some(value)) = &it.expr else {
        return if it.of.is_none() { it.beside(other) } else { Ok(it) };
    };
    let value = match (other.and_then(DataType::primitive), value) {
        (Some(PrimitiveType::Float | PrimitiveType::Double), Value::Decimal { .. }) => {
            adapt(value.clone(), PrimitiveType::Double)
        }
        (Some(PrimitiveType::Decimal { .. }), value)
            if decimal_digits(value.primitive_type()).is_some() =>
        {
            number::decimal(&value.to_partition()).unwrap_or_else(|| value.clone())
        }
        _ => return Ok(it),
    };
    let of = value.primitive_type();
    Ok(Typed::new(Expr::Literal(Some(value)), of))
}

/// The type of an arithmetic result; `None` if there is none.
///
/// Those of decimals are the ones of Arrow's kernels, which compute them.
pub(crate) fn arithmetic_type(
    op: ArithmeticOp,
    a: PrimitiveType,
    b: PrimitiveType,
) -> Option<PrimitiveType> {
    use PrimitiveType as P;
    let known = |it| match it {
        P::Byte | P::Short | P::Integer | P::Long | P::Float | P::Double | P::Decimal { .. } => {
            Some(it)
        }
        _ => None,
    };
    let (a, b) = match (a, b) {
        (P::Void, P::Void) => (P::Long, P::Long),
        (P::Void, it) | (it, P::Void) => (known(it)?, known(it)?),
        (a, b) => (known(a)?, known(b)?),
    };
    let decimal = |it| match it {
        P::Decimal { precision, scale } => Some((precision, scale)),
        it => decimal_digits(it).map(|digits| (digits, 0)),
    };
    if matches!(a, P::Float | P::Double) || matches!(b, P::Float | P::Double) {
        return Some(P::Double);
    }
    if !matches!(a, P::Decimal { .. }) && !matches!(b, P::Decimal { .. }) {
        return Some(if op == ArithmeticOp::Divide { P::Double } else { P::Long });
    }
    let ((p1, s1), (p2, s2)) = (decimal(a)?, decimal(b)?);
    let (whole1, whole2) = (p1.checked_sub(s1)?, p2.checked_sub(s2)?);
    let (precision, scale) = match op {
        ArithmeticOp::Add | ArithmeticOp::Subtract => {
            (s1.max(s2) + whole1.max(whole2) + 1, s1.max(s2))
        }
        ArithmeticOp::Multiply => (p1 + p2 + 1, s1 + s2),
        ArithmeticOp::Divide => {
            let scale = (s1 + 4).min(38);
            (scale - s1 + s2 + p1, scale)
        }
        ArithmeticOp::Modulo => (s1.max(s2) + whole1.min(whole2), s1.max(s2)),
    };
    (scale <= 38).then_some(P::Decimal { precision: precision.min(38), scale })
}

/// How many digits hold every value of a whole number type.
pub(crate) fn decimal_digits(of: PrimitiveType) -> Option<u8> {
    match of {
        PrimitiveType::Byte => Some(3),
        PrimitiveType::Short => Some(5),
        PrimitiveType::Integer => Some(10),
        PrimitiveType::Long => Some(19),
        _ => None,
    }
}

/// The value in another type if it is the same value there, else as it is.
///
/// Beside a float or a double, a number with a fraction becomes the nearest one of that type: who
/// writes `x = 0.1` means the `0.1` that the column can hold.
fn adapt(value: Value, to: PrimitiveType) -> Value {
    let changed = match (&value, to) {
        (Value::TimestampNtz(it), PrimitiveType::Timestamp) => Some(Value::Timestamp(*it)),
        (Value::Timestamp(it), PrimitiveType::TimestampNtz) => Some(Value::TimestampNtz(*it)),
        (Value::Decimal { .. }, PrimitiveType::Double) => {
            value.to_partition().parse().ok().map(Value::Double)
        }
        (Value::Decimal { .. }, PrimitiveType::Float) => {
            value.to_partition().parse().ok().and_then(finite)
        }
        (Value::Double(it), PrimitiveType::Float) if !it.is_finite() => {
            Some(Value::Float(if it.is_nan() {
                f32::NAN
            } else {
                f32::INFINITY.copysign(sign(*it))
            }))
        }
        (Value::Double(it), PrimitiveType::Float) => it.to_string().parse().ok().and_then(finite),
        (Value::Double(it), PrimitiveType::Decimal { .. }) => {
            number::decimal(&it.to_string()).map(|it| it.cast(to).unwrap_or(it))
        }
        _ => value.cast(to),
    };
    changed.unwrap_or(value)
}

fn finite(it: f32) -> Option<Value> {
    it.is_finite().then_some(Value::Float(it))
}

fn sign(it: f64) -> f32 {
    if it.is_sign_negative() { -1.0 } else { 1.0 }
}

/// The field whose name takes the fewest changes of a character.
fn nearest<'a>(parts: &'a StructType, name: &str) -> Option<&'a str> {
    let names = parts.fields().iter().take(SIMILAR_COLUMNS_MAX).map(|it| it.name.as_str());
    similar(names, name)
}
