//! A table against itself: whatever is left out of a read for speed must not change what it gives.
//!
//! Files are skipped by partition values and statistics, row groups and pages by what Parquet says
//! of them, columns are read late, deleted rows never. All of that is switched off by reading
//! everything and filtering afterwards, which is what every other way to the same rows is compared
//! with.

use arrow_array::{BooleanArray, RecordBatch};
use futures::TryStreamExt;
use lakebed::{Expr, Scan, Snapshot, Value, lit};
use lakebed_log::eval;
use lakebed_log::schema::{DataType, StructType};

use crate::choices::Choices;
use crate::rows::{Multiset, difference, multiset};

/// What a table says of itself that is not so: one text a read.
type Wrong = Vec<String>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Reads `snapshot` in `tries` ways that a seed picks, and compares each with the whole.
///
/// # Errors
///
/// What keeps the table from being read at all.
pub async fn check(snapshot: &Snapshot, seed: u64, tries: u64) -> Result<Wrong> {
    let all: Vec<RecordBatch> = snapshot.read(&Scan::new()).await?.try_collect().await?;
    let total = multiset(&all)?.values().sum::<u64>();
    let mut leaves = Vec::new();
    collect(snapshot.schema(), &mut Vec::new(), &mut leaves);
    let choices = Choices::seeded(seed);
    let pick = |label, below: usize| index(choices.pick(label, 0, below.max(1) as u64));

    let mut wrong = Vec::new();
    for _ in 0..tries {
        let Some(filter) = filter(&all, &leaves, &pick) else { break };
        let Ok(bound) = filter.bind_filter(snapshot.schema()) else { continue };
        let batch_rows = [1, 7, 1000].get(pick("batch", 4)).copied().unwrap_or(8192);
        let scan = Scan::new().filter(filter.clone()).batch_rows(batch_rows);
        let theirs = match kept(&all, &bound, snapshot) {
            Ok(it) => it,
            Err(_) => continue,
        };
        let ours = read(snapshot, &scan).await?;
        wrong.extend(difference(&ours, &theirs).map(|it| format!("{filter}: {it}")));

        let names: Vec<&str> = snapshot.schema().fields().iter().map(|it| &*it.name).collect();
        let column = names.get(pick("projected", names.len())).copied().unwrap_or_default();
        let ours = read(snapshot, &scan.clone().columns([column])).await?;
        let theirs = projected(&all, &bound, snapshot, column)?;
        wrong.extend(difference(&ours, &theirs).map(|it| format!("{column} where {filter}: {it}")));

        let limit = choices.pick("limit", 0, total + 2);
        let count: u64 = read(snapshot, &scan.limit(limit)).await?.values().sum();
        let wanted = limit.min(theirs.values().sum());
        if count != wanted {
            wrong.push(format!("{filter} limit {limit}: {count} rows, should be {wanted}"));
        }
    }
    wrong.extend(taken(snapshot, &all, total, &pick).await?);
    Ok(wrong)
}

/// Rows by position are those of the whole, in its order.
async fn taken(
    snapshot: &Snapshot,
    all: &[RecordBatch],
    total: u64,
    pick: &impl Fn(&'static str, usize) -> usize,
) -> Result<Wrong> {
    if total == 0 {
        return Ok(Wrong::new());
    }
    let rows = usize::try_from(total)?;
    let positions: Vec<u64> = (0..5).map(|_| pick("position", rows) as u64).collect();
    let ours = snapshot.take(&positions, &Scan::new()).await?;
    let mut wrong = Wrong::new();
    for (at, position) in positions.iter().enumerate() {
        let mut left = usize::try_from(*position)?;
        let mut batches = all.iter();
        let theirs = loop {
            match batches.next() {
                Some(batch) if left < batch.num_rows() => break batch.slice(left, 1),
                Some(batch) => left -= batch.num_rows(),
                None => return Err("fewer rows than counted".into()),
            }
        };
        if ours.num_rows() <= at {
            wrong.push(format!("row {position} is not taken"));
            continue;
        }
        let difference = difference(&multiset(&[ours.slice(at, 1)])?, &multiset(&[theirs])?);
        wrong.extend(difference.map(|it| format!("row {position}: {it}")));
    }
    Ok(wrong)
}

async fn read(snapshot: &Snapshot, scan: &Scan) -> Result<Multiset> {
    let batches: Vec<RecordBatch> = snapshot.read(scan).await?.try_collect().await?;
    Ok(multiset(&batches)?)
}

/// The rows of the whole that match, by evaluating the filter on every one.
fn kept(all: &[RecordBatch], bound: &Expr, snapshot: &Snapshot) -> Result<Multiset> {
    Ok(multiset(&matching(all, bound, snapshot)?)?)
}

fn projected(
    all: &[RecordBatch],
    bound: &Expr,
    snapshot: &Snapshot,
    column: &str,
) -> Result<Multiset> {
    let mut narrow = Vec::new();
    for batch in matching(all, bound, snapshot)? {
        narrow.push(batch.project(&[batch.schema().index_of(column)?])?);
    }
    Ok(multiset(&narrow)?)
}

fn matching(all: &[RecordBatch], bound: &Expr, snapshot: &Snapshot) -> Result<Vec<RecordBatch>> {
    let mut found = Vec::new();
    for batch in all {
        let matches = eval::matches(bound, snapshot.schema(), batch)?;
        let matches: BooleanArray = matches.iter().map(|it| Some(it == Some(true))).collect();
        for (row, _) in matches.iter().enumerate().filter(|it| it.1 == Some(true)) {
            found.push(batch.slice(row, 1));
        }
    }
    Ok(found)
}

/// Paths of the leaves that can be compared.
fn collect(fields: &StructType, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    for field in fields.fields() {
        path.push(field.name.clone());
        match &field.data_type {
            DataType::Primitive(_) => leaves.push(path.clone()),
            DataType::Struct(inside) => collect(inside, path, leaves),
            _ => {}
        }
        path.pop();
    }
}

/// One comparison, or two of them together, with values that are in the table.
fn filter(
    all: &[RecordBatch],
    leaves: &[Vec<String>],
    pick: &impl Fn(&'static str, usize) -> usize,
) -> Option<Expr> {
    let one = || {
        let leaf = leaves.get(pick("leaf", leaves.len()))?;
        let column = Expr::Column(leaf.clone());
        let value = || sample(all, leaf, pick);
        Some(match (pick("how", 9), value()) {
            (0, _) | (1..=5, None) => column.is_null(),
            (1, Some(value)) => column.eq(lit(value)),
            (2, Some(value)) => column.lt(lit(value)),
            (3, Some(value)) => column.gt_eq(lit(value)),
            (4, Some(value)) => column.gt(lit(value)),
            (5, Some(value)) => column.not_eq(lit(value)),
            (6, Some(value)) => {
                let other = value_or(value.clone(), sample(all, leaf, pick));
                Expr::In(Box::new(column), vec![lit(value), lit(other)])
            }
            (7, Some(value)) => !column.lt_eq(lit(value)),
            _ => column.is_not_null(),
        })
    };
    let first = one()?;
    Some(match pick("together", 4) {
        0 => first.and(one()?),
        1 => first.or(one()?),
        _ => first,
    })
}

fn value_or(value: Value, other: Option<Value>) -> Value {
    other.unwrap_or(value)
}

/// A value of the table's.
fn sample(
    all: &[RecordBatch],
    leaf: &[String],
    pick: &impl Fn(&'static str, usize) -> usize,
) -> Option<Value> {
    let batch = all.get(pick("from-batch", all.len()))?;
    let (first, rest) = leaf.split_first()?;
    let mut array = batch.column_by_name(first)?;
    for name in rest {
        array = array.as_any().downcast_ref::<arrow_array::StructArray>()?.column_by_name(name)?;
    }
    Value::from_array(array.as_ref(), pick("from-row", batch.num_rows())).ok().flatten()
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
