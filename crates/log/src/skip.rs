//! Filter and statistics to the files that cannot match.
//!
//! A filter is turned into a tree of checks, and each check answers, for one file, which of true,
//! false and null its expression *may* be for some row. Unknown is all three. A file is skipped if
//! the whole filter may not be true:
//!
//! ```text
//!   filter                x > 10            AND NOT (      p = 'a'        OR  y IS NULL )
//!   file                  x in [1, 7]                      p is 'b'           y unknown
//!   may be                false                            false              true, false
//!                           \________________   __________________________________/
//!                                            \ /
//!                                           false          no row can match
//! ```
//!
//! Asking for what may be, and not for a proof of falsehood, makes negation trivial (swap true and
//! false) and soundness local: each check is right if it leaves out nothing that can happen, and
//! then so is the tree. Partition values are the same as statistics whose bounds meet, so that both
//! combine under any `AND` and `OR`.
//!
//! Comparison is [`Value::compare`], the order by which rows are filtered. A pair of types whose
//! rows are compared less exactly than that (a decimal with a float) proves nothing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::eval;
use crate::expr::{CompareOp, Expr, Pattern};
use crate::schema::{DataType, PrimitiveType, Schema};
use crate::stats::{Stats, Term};
use crate::value::Value;

mod cover;
#[cfg(test)]
mod tests;

/// A filter made ready to judge files: typed partition values and statistics prove that no row can
/// match.
///
/// ```
/// use std::collections::BTreeMap;
/// use lakebed_log::{expr::Expr, schema::Schema, skip::Skipper, stats::Stats, value::Value};
///
/// let schema = Schema::parse_ddl("day string, n long")?;
/// let filter = "day = '2024-01-01' and n > 100".parse::<Expr>()?.bind(&schema)?;
/// let skipper = Skipper::new(&filter, &schema, &["day".to_owned()]);
///
/// let stats = r#"{"numRecords":2,"minValues":{"n":7},"maxValues":{"n":99},"nullCount":{"n":0}}"#;
/// let stats = Stats::from_json(stats, &schema, Some(skipper.stats_columns()));
/// let day = BTreeMap::from([("day".to_owned(), Some(Value::String("2024-01-01".into())))]);
/// assert!(!skipper.skips_partition(&day));
/// assert!(skipper.skips(&day, &stats));
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Skipper {
    filter: Expr,
    check: Check,
    schema: Schema,
    partition_columns: BTreeSet<String>,
    stats_columns: Vec<Vec<String>>,
}

/// What one file says of itself, or what many have in common.
struct Facts<'a> {
    skipper: &'a Skipper,
    partition: &'a BTreeMap<String, Option<Value>>,
    stats: Option<&'a Stats>,
    common: Option<&'a Common>,
}

/// Bounds over the files of a group: of partition columns by name, of others by path. What is
/// absent is unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) partition: BTreeMap<String, Range<'static>>,
    pub(crate) columns: BTreeMap<Vec<String>, Range<'static>>,
}

/// A condition in the form in which it is judged.
#[derive(Clone, Debug)]
enum Check {
    All(Vec<Check>),
    Any(Vec<Check>),
    Not(Box<Check>),
    Compare(CompareOp, Side, Side),
    /// The list is sorted, without nulls and of one type.
    In {
        side: Side,
        list: Vec<Value>,
        has_null: bool,
    },
    Like(Side, Pattern),
    IsNull(Side),
    /// Is the condition null?
    IsUnknown(Box<Check>),
    /// A boolean by itself.
    Truth(Side),
    /// Nothing is known; null or not is all that can be said.
    Anything {
        nullable: bool,
    },
}

/// An operand whose values can be bounded.
#[derive(Clone, Debug)]
enum Side {
    Partition(String),
    /// A leaf column with statistics.
    Column(Vec<String>),
    Constant(Option<Value>),
    /// Computed from partition columns alone.
    Computed(Expr),
}

/// Which results some row may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcomes {
    yes: bool,
    no: bool,
    null: bool,
}

/// Outer bounds of the values that are not null.
#[derive(Clone, Debug)]
pub(crate) struct Range<'a> {
    pub(crate) lower: Option<Cow<'a, Value>>,
    pub(crate) upper: Option<Cow<'a, Value>>,
    pub(crate) some_null: bool,
    pub(crate) all_null: bool,
}

impl Skipper {
    /// From a bound filter.
    ///
    /// A filter that was not bound, or not to this schema, makes a skipper that proves less.
    pub fn new(filter: &Expr, schema: &Schema, partition_columns: &[String]) -> Skipper {
        let mut skipper = Skipper {
            filter: filter.clone(),
            check: Check::Anything { nullable: true },
            schema: schema.clone(),
            partition_columns: partition_columns.iter().cloned().collect(),
            stats_columns: Vec::new(),
        };
        skipper.check = skipper.check(filter);
        let mut columns = BTreeSet::new();
        skipper.check.stats_columns(&mut columns);
        skipper.stats_columns = columns.into_iter().collect();
        skipper
    }

    /// Leaf columns whose statistics the filter can use; empty: partition values alone decide.
    pub fn stats_columns(&self) -> &[Vec<String>] {
        &self.stats_columns
    }

    /// Do the partition values alone prove that no row can match?
    pub fn skips_partition(&self, partition: &BTreeMap<String, Option<Value>>) -> bool {
        let facts = Facts { skipper: self, partition, stats: None, common: None };
        !self.check.outcomes(&facts).yes
    }

    /// Do partition values and statistics prove that no row can match? Unknown proves nothing.
    pub fn skips(&self, partition: &BTreeMap<String, Option<Value>>, stats: &Stats) -> bool {
        let facts = Facts { skipper: self, partition, stats: Some(stats), common: None };
        !self.check.outcomes(&facts).yes
    }

    /// Does what many files have in common prove that no row of any can match?
    pub(crate) fn skips_all(&self, common: &Common) -> bool {
        let partition = BTreeMap::new();
        let facts =
            Facts { skipper: self, partition: &partition, stats: None, common: Some(common) };
        !self.check.outcomes(&facts).yes
    }

    /// Partition columns whose values the filter can use.
    pub(crate) fn partition_columns(&self) -> BTreeSet<String> {
        let mut columns = BTreeSet::new();
        self.check.sides(&mut |side| match side {
            Side::Partition(name) => drop(columns.insert(name.clone())),
            Side::Computed(expr) => columns.extend(expr.columns()),
            Side::Column(_) | Side::Constant(_) => {}
        });
        columns
    }

    /// Comparisons of a column with a constant that every row must meet.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let mut terms = Vec::new();
        self.check.terms(&mut terms);
        terms
    }
}

/// From expressions to checks.
impl Skipper {
    fn is_partition(&self, name: &str) -> bool {
        self.partition_columns.contains(name)
    }

    fn check(&self, expr: &Expr) -> Check {
        let anything = Check::Anything { nullable: true };
        match expr {
            Expr::And(terms) => Check::All(terms.iter().map(|it| self.check(it)).collect()),
            Expr::Or(terms) => Check::Any(terms.iter().map(|it| self.check(it)).collect()),
            Expr::Not(it) => Check::Not(Box::new(self.check(it))),
            Expr::Compare(op, a, b) => match (self.side(a), self.side(b)) {
                (Some(a), Some(b)) => Check::Compare(*op, a, b),
                _ => anything,
            },
            Expr::In(it, list) => self.in_list(it, list).unwrap_or(anything),
            Expr::Like { expr, pattern, escape } => {
                match (self.side(expr), Pattern::new(pattern, *escape)) {
                    (Some(side), Ok(pattern)) => Check::Like(side, pattern),
                    _ => anything,
                }
            }
            Expr::IsNull(it) => match (self.side(it), &**it) {
                (Some(side), _) => Check::IsNull(side),
                (None, Expr::Column(_) | Expr::Cast(..) | Expr::Arithmetic(..)) => {
                    Check::Anything { nullable: false }
                }
                (None, it) => Check::IsUnknown(Box::new(self.check(it))),
            },
            Expr::Column(_) | Expr::Literal(_) | Expr::Cast(..) => {
                self.side(expr).map_or(anything, Check::Truth)
            }
            Expr::Text(_) | Expr::Arithmetic(..) => anything,
        }
    }

    fn in_list(&self, it: &Expr, list: &[Expr]) -> Option<Check> {
        let side = self.side(it)?;
        let mut values: Vec<Value> = Vec::with_capacity(list.len());
        let mut has_null = false;
        for item in list {
            match self.side(item) {
                Some(Side::Constant(Some(value))) => values.push(value),
                Some(Side::Constant(None)) => has_null = true,
                _ => return None,
            }
        }
        let of = values.first().map(Value::primitive_type);
        if list.is_empty() || values.iter().any(|it| Some(it.primitive_type()) != of) {
            let equal =
                |it: Value| Check::Compare(CompareOp::Eq, side.clone(), Side::Constant(Some(it)));
            let mut any: Vec<Check> = values.into_iter().map(equal).collect();
            if has_null {
                any.push(Check::Truth(Side::Constant(None)));
            }
            return Some(Check::Any(any));
        }
        values.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
        Some(Check::In { side, list: values, has_null })
    }

    fn side(&self, expr: &Expr) -> Option<Side> {
        match expr {
            Expr::Literal(value) => Some(Side::Constant(value.clone())),
            Expr::Column(path) => match (&path[..], self.schema.at_path(path)) {
                ([name], Some(_)) if self.is_partition(name) => Some(Side::Partition(name.clone())),
                (_, Some(field)) if matches!(field.data_type, DataType::Primitive(_)) => {
                    Some(Side::Column(path.clone()))
                }
                _ => None,
            },
            Expr::Cast(..) | Expr::Arithmetic(..) => {
                let columns = expr.columns();
                if columns.is_empty() {
                    eval::constant(expr).ok().map(Side::Constant)
                } else if columns.iter().all(|it| self.is_partition(it)) {
                    Some(Side::Computed(expr.clone()))
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

impl Check {
    fn stats_columns(&self, into: &mut BTreeSet<Vec<String>>) {
        self.sides(&mut |side| {
            if let Side::Column(path) = side {
                into.insert(path.clone());
            }
        });
    }

    /// Every operand.
    fn sides(&self, take: &mut impl FnMut(&Side)) {
        match self {
            Check::All(parts) | Check::Any(parts) => parts.iter().for_each(|it| it.sides(take)),
            Check::Not(it) | Check::IsUnknown(it) => it.sides(take),
            Check::Compare(_, a, b) => [a, b].into_iter().for_each(take),
            Check::In { side, .. }
            | Check::Like(side, _)
            | Check::IsNull(side)
            | Check::Truth(side) => take(side),
            Check::Anything { .. } => {}
        }
    }

    fn terms(&self, into: &mut Vec<Term>) {
        let mut term = |column: &Vec<String>, op, value: &Value| {
            into.push(Term { column: column.clone(), op, value: value.clone() });
        };
        match self {
            Check::All(parts) => parts.iter().for_each(|it| it.terms(into)),
            Check::Compare(op, Side::Column(column), Side::Constant(Some(value))) => {
                term(column, *op, value);
            }
            Check::Compare(op, Side::Constant(Some(value)), Side::Column(column)) => {
                term(column, flipped(*op), value);
            }
            _ => {}
        }
    }

    fn outcomes(&self, facts: &Facts<'_>) -> Outcomes {
        match self {
            Check::All(parts) => parts.iter().fold(Outcomes::YES, |all, it| {
                if all.yes || all.null { all.and(it.outcomes(facts)) } else { all }
            }),
            Check::Any(parts) => parts.iter().fold(Outcomes::NO, |any, it| {
                if any.no || any.null { any.or(it.outcomes(facts)) } else { any }
            }),
            Check::Not(it) => it.outcomes(facts).not(),
            Check::Compare(op, a, b) => facts.range(a).compare(*op, &facts.range(b)),
            Check::In { side, list, has_null } => facts.range(side).is_in(list, *has_null),
            Check::Like(side, pattern) => facts.range(side).like(pattern),
            Check::IsNull(side) => {
                let range = facts.range(side);
                Outcomes { yes: range.some_null, no: !range.all_null, null: false }
            }
            Check::IsUnknown(it) => {
                let it = it.outcomes(facts);
                Outcomes { yes: it.null, no: it.yes || it.no, null: false }
            }
            Check::Truth(side) => facts.range(side).truth(),
            Check::Anything { nullable } => Outcomes { yes: true, no: true, null: *nullable },
        }
    }
}

impl Outcomes {
    const YES: Outcomes = Outcomes { yes: true, no: false, null: false };
    const NO: Outcomes = Outcomes { yes: false, no: true, null: false };

    fn not(self) -> Outcomes {
        Outcomes { yes: self.no, no: self.yes, ..self }
    }

    /// Null results from a null beside a null or a true.
    fn and(self, other: Outcomes) -> Outcomes {
        Outcomes {
            yes: self.yes && other.yes,
            no: self.no || other.no,
            null: (self.null && (other.yes || other.null)) || (self.yes && other.null),
        }
    }

    fn or(self, other: Outcomes) -> Outcomes {
        self.not().and(other.not()).not()
    }
}

/// With its operands exchanged.
fn flipped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::LtEq => CompareOp::GtEq,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::GtEq => CompareOp::LtEq,
        CompareOp::Eq | CompareOp::NotEq => op,
    }
}

impl<'a> Facts<'a> {
    fn range(&'a self, side: &'a Side) -> Range<'a> {
        if let Some(common) = self.common {
            let known = match side {
                Side::Constant(value) => return Range::exactly(value.as_ref().map(Cow::Borrowed)),
                Side::Partition(name) => common.partition.get(name),
                Side::Column(path) => common.columns.get(path),
                Side::Computed(_) => None,
            };
            return known.cloned().unwrap_or(Range::UNKNOWN);
        }
        match side {
            Side::Constant(value) => Range::exactly(value.as_ref().map(Cow::Borrowed)),
            Side::Partition(name) => match self.partition.get(name) {
                Some(value) => Range::exactly(value.as_ref().map(Cow::Borrowed)),
                None => Range::UNKNOWN,
            },
            Side::Computed(expr) => match self.computed(expr) {
                Ok(value) => Range::exactly(value.map(Cow::Owned)),
                Err(_) => Range::UNKNOWN,
            },
            Side::Column(path) => self.column(path),
        }
    }

    fn computed(&self, expr: &Expr) -> Result<Option<Value>> {
        let row = self.skipper.row(expr, self.partition)?;
        Value::from_array(&eval::evaluate(expr, &self.skipper.schema, &row)?, 0)
    }

    fn column(&self, path: &[String]) -> Range<'a> {
        let Some(stats) = self.stats else { return Range::UNKNOWN };
        let Some(column) = stats.columns.get(path) else { return Range::UNKNOWN };
        let (lower, upper) = Stats::bounds(column);
        // That there are no rows at all is not believed, nor nulls alone where there is a bound.
        let nulls = column.null_count.filter(|it| 0 < *it && *it == stats.num_records.unwrap_or(0));
        Range {
            lower: lower.map(Cow::Owned),
            upper: upper.map(Cow::Owned),
            some_null: column.null_count != Some(0),
            all_null: nulls.is_some() && column.min.is_none() && column.max.is_none(),
        }
    }
}

impl<'a> Range<'a> {
    const UNKNOWN: Range<'static> =
        Range { lower: None, upper: None, some_null: true, all_null: false };

    /// One value, or null, in all rows.
    fn exactly(value: Option<Cow<'a, Value>>) -> Range<'a> {
        let null = value.is_none();
        Range { lower: value.clone(), upper: value, some_null: null, all_null: null }
    }

    /// The value, if all that are not null have the same.
    fn only(&self) -> Option<&Value> {
        match (&self.lower, &self.upper) {
            (Some(lower), Some(upper)) if order(lower, upper) == Some(Ordering::Equal) => {
                Some(lower)
            }
            _ => None,
        }
    }

    fn compare(&self, op: CompareOp, other: &Range<'_>) -> Outcomes {
        if self.all_null || other.all_null {
            return Outcomes { yes: false, no: false, null: true };
        }
        let (a, b) = (self, other);
        let (yes, no) = match op {
            CompareOp::Eq => (a.may_equal(b), a.may_differ(b)),
            CompareOp::NotEq => (a.may_differ(b), a.may_equal(b)),
            CompareOp::Lt => (a.may_be_less(b), b.may_be_at_most(a)),
            CompareOp::LtEq => (a.may_be_at_most(b), b.may_be_less(a)),
            CompareOp::Gt => (b.may_be_less(a), a.may_be_at_most(b)),
            CompareOp::GtEq => (b.may_be_at_most(a), a.may_be_less(b)),
        };
        Outcomes { yes, no, null: a.some_null || b.some_null }
    }

    fn may_be_less(&self, other: &Range<'_>) -> bool {
        !proves(self.lower.as_deref(), other.upper.as_deref(), Ordering::is_ge)
    }

    fn may_be_at_most(&self, other: &Range<'_>) -> bool {
        !proves(self.lower.as_deref(), other.upper.as_deref(), Ordering::is_gt)
    }

    fn may_equal(&self, other: &Range<'_>) -> bool {
        self.may_be_at_most(other) && other.may_be_at_most(self)
    }

    fn may_differ(&self, other: &Range<'_>) -> bool {
        !proves(self.only(), other.only(), Ordering::is_eq)
    }

    fn is_in(&self, list: &[Value], has_null: bool) -> Outcomes {
        if self.all_null {
            return Outcomes { yes: false, no: false, null: true };
        }
        let unknown = Outcomes { yes: true, no: true, null: true };
        let Some(first) = list.first() else { return unknown };
        let bounds = [self.lower.as_deref(), self.upper.as_deref()];
        if bounds.into_iter().flatten().any(|it| order(it, first).is_none()) {
            return unknown;
        }
        let is_low = |it: &Value| proves(Some(it), self.lower.as_deref(), Ordering::is_lt);
        let candidate = list.get(list.partition_point(is_low));
        let yes =
            candidate.is_some_and(|it| !proves(Some(it), self.upper.as_deref(), Ordering::is_gt));
        let always = yes && self.only().is_some();
        Outcomes { yes, no: !always && !has_null, null: self.some_null || (has_null && !always) }
    }

    fn like(&self, pattern: &Pattern) -> Outcomes {
        if self.all_null {
            return Outcomes { yes: false, no: false, null: true };
        }
        if let Some(Value::String(text)) = self.only() {
            let yes = pattern.matches(text);
            return Outcomes { yes, no: !yes, null: self.some_null };
        }
        let prefix = pattern.prefix();
        let exact = pattern.exact().is_some();
        let below = text(self.upper.as_deref()).is_some_and(|it| it < prefix.as_str());
        let above = text(self.lower.as_deref())
            .is_some_and(|it| prefix.as_str() < it && (exact || !it.starts_with(&prefix)));
        Outcomes { yes: !below && !above, no: true, null: self.some_null }
    }

    fn truth(&self) -> Outcomes {
        Outcomes {
            yes: !self.all_null && boolean(self.upper.as_deref()) != Some(false),
            no: !self.all_null && boolean(self.lower.as_deref()) != Some(true),
            null: self.some_null,
        }
    }
}

fn boolean(value: Option<&Value>) -> Option<bool> {
    match value {
        Some(Value::Boolean(it)) => Some(*it),
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::String(it)) => Some(it),
        _ => None,
    }
}

/// Do both exist and stand in this order?
fn proves(a: Option<&Value>, b: Option<&Value>, holds: fn(Ordering) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b).is_some_and(holds),
        _ => false,
    }
}

/// The order in which rows are compared, where it is exact.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    let decimal = |it: &Value| matches!(it.primitive_type(), PrimitiveType::Decimal { .. });
    let float = |it: &Value| matches!(it, Value::Float(_) | Value::Double(_));
    if (decimal(a) && float(b)) || (float(a) && decimal(b)) {
        return None;
    }
    a.compare(b)
}
