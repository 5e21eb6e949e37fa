//! What a file holds, against what its statistics say.
//!
//! Statistics are trusted by whoever skips a file, and so it is checked what they prove, not
//! whether they are what we would have written: a bound that is too wide costs time and is no
//! fault, one that is too narrow loses rows.

use std::cmp::Ordering;

use arrow_array::RecordBatch;

use super::collect::LeafCollector;
use super::{Stats, columns};
use crate::error::Result;
use crate::schema::{ColumnMapping, Schema};
use crate::value::Value;

/// Fed all rows of a file, those that a vector deletes as well, says what its statistics get wrong.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow_array::{Int64Array, RecordBatch};
/// use lakebed_log::schema::Schema;
/// use lakebed_log::stats::{Audit, Stats};
///
/// let schema = Schema::parse_ddl("id long")?;
/// let text = r#"{"numRecords":2,"minValues":{"id":1},"maxValues":{"id":1},"nullCount":{"id":0}}"#;
/// let mut audit = Audit::new(&schema, Stats::from_json(text, &schema, None));
/// # let ids = Arc::new(Int64Array::from(vec![1, 2]));
/// # let rows = RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// audit.update(&rows)?;
/// assert_eq!(audit.finish(), ["`id` has a value above its maximum"]);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Audit {
    stats: Stats,
    leaves: Vec<LeafCollector>,
    rows: u64,
}

impl Audit {
    /// `stats` by the names of the schema; columns without statistics are not looked at.
    pub fn new(schema: &Schema, stats: Stats) -> Audit {
        let paths: Vec<_> = stats.columns.keys().cloned().collect();
        let leaves = columns::wanted(schema, ColumnMapping::None, Some(&paths));
        let leaves = leaves.into_iter().map(LeafCollector::new).collect();
        Audit { stats, leaves, rows: 0 }
    }

    /// Takes the next rows, in the Arrow shape of the schema.
    ///
    /// # Errors
    ///
    /// `internal` if the batch has another shape.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for leaf in &mut self.leaves {
            leaf.update(batch, usize::MAX)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// What was wrong, one sentence each.
    pub fn finish(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(rows) = self.stats.num_records.filter(|it| *it != self.rows) {
            wrong.push(format!("`numRecords` is {rows}, the file has {} rows", self.rows));
        }
        for leaf in &self.leaves {
            let Some(column) = self.stats.columns.get(leaf.path()) else { continue };
            let name = leaf.path().join(".");
            if let Some(said) = column.null_count
                && !self.agrees(leaf, said)
            {
                let found = leaf.nulls();
                wrong.push(format!("`nullCount` of `{name}` is {said}, there are {found}"));
            }
            let (Some((least, greatest)), (min, max)) = (leaf.exact(), Stats::bounds(column))
            else {
                continue;
            };
            if min.is_some_and(|it| least.compare(&it) == Some(Ordering::Less)) {
                wrong.push(format!("`{name}` has a value below its minimum"));
            }
            if max.is_some_and(|it| greatest.compare(&it) == Some(Ordering::Greater)) {
                wrong.push(format!("`{name}` has a value above its maximum"));
            }
        }
        wrong
    }

    /// No null, and nothing but nulls, must be true where it is said: files are skipped by it. Of
    /// counts between, writers do not agree below a struct that is null, nor once bounds are loose.
    fn agrees(&self, leaf: &LeafCollector, said: u64) -> bool {
        let found = leaf.nulls();
        let is_plain = leaf.path().len() == 1 && self.stats.tight_bounds;
        said == found
            || !is_plain && said != 0 && Some(said) != self.stats.num_records && said != self.rows
    }
}

/// How statistics of the log disagree with what the data file's own format has noted, if they do:
/// another number of rows or of nulls, or a bound that leaves out what the file has. What either
/// does not say is no disagreement.
///
/// ```
/// # use lakebed_log::schema::Schema;
/// use lakebed_log::stats::{Stats, disagreement};
///
/// let schema = Schema::parse_ddl("id long")?;
/// let read = |text: &str| Stats::from_json(text, &schema, None);
/// let file = read(r#"{"numRecords":2,"minValues":{"id":1},"maxValues":{"id":7}}"#);
/// assert_eq!(disagreement(&read(r#"{"maxValues":{"id":9}}"#), &file), None);
/// let wrong = disagreement(&read(r#"{"maxValues":{"id":6}}"#), &file);
/// assert_eq!(wrong.unwrap(), "`id` has a value above its maximum");
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn disagreement(said: &Stats, file: &Stats) -> Option<String> {
    let differ = |a: Option<u64>, b: Option<u64>| a.zip(b).filter(|(a, b)| a != b);
    if let Some((said, found)) = differ(said.num_records, file.num_records) {
        return Some(format!("`numRecords` is {said}, the file has {found} rows"));
    }
    said.columns.iter().find_map(|(path, column)| {
        let found = file.columns.get(path)?;
        let name = path.join(".");
        if let Some((said, found)) = differ(column.null_count, found.null_count) {
            return Some(format!("`nullCount` of `{name}` is {said}, there are {found}"));
        }
        let (lower, upper) = Stats::bounds(column);
        let order = |a: &Option<Value>, b: &Option<Value>| a.as_ref()?.compare(b.as_ref()?);
        if order(&found.min, &lower) == Some(Ordering::Less) {
            return Some(format!("`{name}` has a value below its minimum"));
        }
        if order(&found.max, &upper) == Some(Ordering::Greater) {
            return Some(format!("`{name}` has a value above its maximum"));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, StructArray};
    use arrow_array::{TimestampMicrosecondArray, types::TimestampMicrosecondType};

    use super::*;

    /// What is found wrong with statistics of two rows.
    #[track_caller]
    fn check(stats: &str, expected: &[&str]) {
        let ddl = "id long, name string, at timestamp, f double, s struct<x: long>";
        let schema = Schema::parse_ddl(ddl).unwrap();
        let at: TimestampMicrosecondArray =
            arrow_array::PrimitiveArray::<TimestampMicrosecondType>::from(vec![1_500, 2_700]);
        let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let field = arrow_schema::Field::new("x", arrow_schema::DataType::Int64, true);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![Some(5), None]))),
            ("name", Arc::new(StringArray::from(vec!["b", "d"]))),
            ("at", Arc::new(at.with_timezone("UTC"))),
            ("f", Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
            ("s", Arc::new(StructArray::from(vec![(Arc::new(field), x)]))),
        ];
        let mut audit = Audit::new(&schema, Stats::from_json(stats, &schema, None));
        audit.update(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        assert_eq!(audit.finish(), expected, "{stats}");
    }

    /// spec: DOC-6
    #[test]
    fn statistics_are_held_against_rows() {
        check("{}", &[]);
        check(r#"{"numRecords":2,"nullCount":{"id":1,"name":0,"s":{"x":1}}}"#, &[]);
        check(r#"{"numRecords":3}"#, &["`numRecords` is 3, the file has 2 rows"]);
        check(
            r#"{"numRecords":2,"nullCount":{"id":0,"name":2}}"#,
            &["`nullCount` of `id` is 0, there are 1", "`nullCount` of `name` is 2, there are 0"],
        );
        check(r#"{"nullCount":{"s":{"x":0}}}"#, &["`nullCount` of `s.x` is 0, there are 1"]);
        let loose = r#"{"numRecords":9,"tightBounds":false,"nullCount":{"id":5}}"#;
        check(loose, &["`numRecords` is 9, the file has 2 rows"]);
        // Wider is sound.
        check(r#"{"minValues":{"id":0,"name":"a"},"maxValues":{"id":9,"name":"e"}}"#, &[]);
        check(
            r#"{"minValues":{"id":6,"name":"c"},"maxValues":{"name":"c"}}"#,
            &[
                "`id` has a value below its minimum",
                "`name` has a value below its minimum",
                "`name` has a value above its maximum",
            ],
        );
        // Times are cut to milliseconds, and a NaN tells nothing.
        let times = |max: &str| {
            format!(
                r#"{{"minValues":{{"at":"{}"}},"maxValues":{{"at":"{max}","f":0}}}}"#,
                "1970-01-01T00:00:00.001Z"
            )
        };
        check(&times("1970-01-01T00:00:00.002Z"), &[]);
        check(&times("1970-01-01T00:00:00.001Z"), &["`at` has a value above its maximum"]);
    }
}
