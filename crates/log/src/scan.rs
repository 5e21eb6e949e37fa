//! `Scan` and state to a `ScanPlan`.
//!
//! Planning decides which files a read opens. It goes from cheap to dear: partition values are
//! judged once per distinct tuple (a table of a million files may have a few hundred), and only
//! what they leave in is judged by the statistics of each file, of which only the columns that the
//! filter names are parsed.
//!
//! ```text
//!   live files --partition tuple--> typed once --skips?--> statistics --skips?--> ScanTask
//! ```
//!
//! A plan may hold files without a matching row, never the reverse: what is unknown is read.

mod metadata;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::{Schema as ArrowSchema, SchemaRef};
use hashbrown::HashTable;

use crate::action::DeletionVector;
use crate::batch::Adds;
use crate::error::{Code, Error, Result};
use crate::expr::{Expr, col};
use crate::files::hash;
use crate::schema::{ColumnMapping, DataType, PrimitiveType, Schema, StructField};
use crate::skip::Skipper;
use crate::state::{Head, TableState};
use crate::stats::{Reader, Stats};
use crate::support::ReadPermit;
use crate::uri;
use crate::value::Value;
use crate::version::Version;

pub use metadata::{MetadataColumn, RowTracking};

/// Rows of a batch, unless the scan says otherwise.
const BATCH_ROWS: usize = 8192;

/// What to read. An inert value: building one does nothing.
///
/// ```
/// use lakebed_log::expr::{col, lit};
/// use lakebed_log::scan::Scan;
///
/// let scan = Scan::new().columns(["user", "ts"]).filter(col("n").gt(lit(10))).limit(100);
/// assert_eq!(scan.row_limit(), Some(100));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a scan does nothing until it is planned or read"]
pub struct Scan {
    columns: Option<Vec<String>>,
    filter: Option<Expr>,
    limit: Option<u64>,
    batch_rows: Option<usize>,
}

impl Scan {
    /// Everything.
    pub fn new() -> Scan {
        Scan::default()
    }

    /// Only these columns, in this order; top-level names. Defaults to all of them.
    ///
    /// Where the table has no column of that name, `_file`, `_row_index`, `_row_id` and
    /// `_commit_version` tell where a row lies and which one it is, see [`MetadataColumn`]; a
    /// filter may name them too.
    pub fn columns<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Scan {
        Scan { columns: Some(columns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Only rows for which it is true. Called twice: both. Defaults to all rows.
    pub fn filter(self, filter: Expr) -> Scan {
        let filter = match self.filter {
            Some(first) => Expr::And(vec![first, filter]),
            None => filter,
        };
        Scan { filter: Some(filter), ..self }
    }

    /// At most this many rows. Defaults to no limit.
    pub fn limit(self, rows: u64) -> Scan {
        Scan { limit: Some(rows), ..self }
    }

    /// At most this many rows per batch, at least one. Defaults to 8,192.
    pub fn batch_rows(self, rows: usize) -> Scan {
        Scan { batch_rows: Some(rows), ..self }
    }

    /// The most rows of a batch; `None` is the default.
    pub fn rows_per_batch(&self) -> Option<usize> {
        self.batch_rows
    }

    /// The columns asked for; `None` is all.
    pub fn projection(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// The filter, not bound to a schema yet.
    pub fn predicate(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// The most rows asked for.
    pub fn row_limit(&self) -> Option<u64> {
        self.limit
    }
}

/// Which files to read for a scan, and how.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    version: Version,
    tasks: Vec<ScanTask>,
    considered: u64,
    partitions_considered: u64,
    partitions_read: u64,
    schema: SchemaRef,
    table_schema: Arc<Schema>,
    metadata_columns: Vec<MetadataColumn>,
    partition_columns: Vec<String>,
    row_tracking: Option<RowTracking>,
    mapping: ColumnMapping,
    filter: Option<Expr>,
    limit: Option<u64>,
    batch_rows: usize,
}

/// One file of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanTask {
    /// As in the log, encoded.
    pub path: String,
    /// Object key below the table's root; of a file elsewhere, its location.
    pub key: String,
    /// Bytes, as the log says.
    pub size: u64,
    /// Rows, if the statistics say.
    pub num_records: Option<u64>,
    /// Typed values of all partition columns. Shared by the files of one partition.
    pub partition: Arc<BTreeMap<String, Option<Value>>>,
    /// Rows to leave out.
    pub deletion_vector: Option<DeletionVector>,
    /// Id of the first row, in tables that track rows.
    pub base_row_id: Option<i64>,
    /// The version that rows without one of their own were last written by.
    pub default_row_commit_version: Option<i64>,
}

impl ScanTask {
    /// Rows that are left, if the statistics say how many there were.
    pub fn live_records(&self) -> Option<u64> {
        let deleted = self.deletion_vector.as_ref().map_or(0, |it| it.cardinality);
        self.num_records?.checked_sub(u64::try_from(deleted).ok()?)
    }
}

/// Plans a read of `state`.
///
/// The state should be wide enough for the filter, see [`needs_stats`]; from a narrower one the
/// plan is sound too, and holds more files.
///
/// # Errors
///
/// `unknown-column`, `invalid-expression` and `invalid-argument` are the caller's.
/// `invalid-partition-value` if a file lacks the value of a partition column or has one that is
/// not of its type; `invalid-path`, `path-escape`, `unsupported-path` for the path of a file that
/// would be read. Absolute paths are in the plan: who reads knows which roots are allowed.
pub fn plan(state: &TableState, _permit: ReadPermit, scan: &Scan) -> Result<ScanPlan> {
    state.head.schema.check_type_changes()?;
    let head = &state.head;
    let (all, metadata_columns) = metadata::with_metadata(head, scan)?;
    let schema = match scan.projection() {
        // Metadata columns come only where they are named.
        None => head.schema.to_arrow(),
        Some(columns) => project(&all, columns)?,
    };
    let filter = bound_filter(&all, scan)?;
    let skipper = filter.as_ref().map(|it| skipper(head, it));
    let wanted = skipper.as_ref().map_or(&[][..], Skipper::stats_columns);

    let mut planner = Planner {
        partitions: Partitions::new(head),
        reader: Reader::mapped(&head.schema, head.mapping, Some(wanted)),
        skipper: skipper.as_ref(),
        tasks: Vec::new(),
    };
    for at in state.files.iter() {
        let (adds, row) =
            state.files.row(at).ok_or_else(|| Error::internal(format!("no file at {at:?}")))?;
        planner.file(adds, row)?;
    }

    let Planner { tasks, partitions, .. } = planner;
    let (partitions_considered, partitions_read) = partitions.count();
    Ok(ScanPlan {
        version: head.version,
        tasks,
        considered: state.files.len(),
        partitions_considered,
        partitions_read,
        schema,
        table_schema: all,
        metadata_columns,
        partition_columns: head.metadata.partition_columns.clone(),
        row_tracking: RowTracking::of(head),
        mapping: head.mapping,
        filter,
        limit: scan.limit,
        batch_rows: scan.batch_rows.unwrap_or(BATCH_ROWS).max(1),
    })
}

/// Does the filter of this scan use statistics, so that a narrow state is not enough?
///
/// # Errors
///
/// `unknown-column` and `invalid-expression`, as [`plan`].
pub fn needs_stats(head: &Head, scan: &Scan) -> Result<bool> {
    let filter = bound_filter(&metadata::with_metadata(head, scan)?.0, scan)?;
    Ok(filter.is_some_and(|it| !skipper(head, &it).stats_columns().is_empty()))
}

impl ScanPlan {
    /// The version read.
    pub fn version(&self) -> Version {
        self.version
    }
    /// The files to read, in a fixed order.
    pub fn tasks(&self) -> &[ScanTask] {
        &self.tasks
    }
    /// How many live files were considered.
    pub fn considered(&self) -> u64 {
        self.considered
    }
    /// How many distinct partitions the table has, and how many of them are read.
    pub fn partitions(&self) -> (u64, u64) {
        (self.partitions_considered, self.partitions_read)
    }
    /// Shape of the batches a read yields.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// The table's schema, and after it the metadata columns that the scan names.
    pub fn table_schema(&self) -> &Arc<Schema> {
        &self.table_schema
    }
    /// The columns of [`ScanPlan::table_schema`] that are not the table's.
    pub fn metadata_columns(&self) -> &[MetadataColumn] {
        &self.metadata_columns
    }
    /// Columns whose values stand in the log and not in the files.
    pub fn partition_columns(&self) -> &[String] {
        &self.partition_columns
    }
    /// Where files keep the ids of rows, if the table tracks them.
    pub fn row_tracking(&self) -> Option<&RowTracking> {
        self.row_tracking.as_ref()
    }

    /// How data files name the columns.
    pub fn mapping(&self) -> ColumnMapping {
        self.mapping
    }
    /// The bound filter, applied to every row.
    pub fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }
    /// At most this many rows.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }
    /// At most this many rows per batch.
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }
}

fn skipper(head: &Head, filter: &Expr) -> Skipper {
    Skipper::new(filter, &head.schema, &head.metadata.partition_columns)
}

fn bound_filter(schema: &Schema, scan: &Scan) -> Result<Option<Expr>> {
    let Some(filter) = scan.predicate() else { return Ok(None) };
    filter.bind_filter(schema).map(Some)
}

/// The Arrow shape of the columns asked for, in the order asked for.
fn project(schema: &Schema, columns: &[String]) -> Result<SchemaRef> {
    let arrow = schema.to_arrow();
    let mut indices: Vec<usize> = Vec::with_capacity(columns.len());
    for name in columns {
        let field = column(schema, name)?;
        let index = schema.fields().iter().position(|it| it.name == field.name);
        let index = index.ok_or_else(|| Error::internal("a field is not in its schema"))?;
        if indices.contains(&index) {
            return Err(Error::invalid(format!("column `{}` is asked for twice", field.name)));
        }
        indices.push(index);
    }
    let fields = arrow.fields();
    let fields: Vec<_> = indices.into_iter().filter_map(|it| fields.get(it).cloned()).collect();
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// A top-level column: the exact name first, then ignoring case.
fn column<'a>(schema: &'a Schema, name: &str) -> Result<&'a StructField> {
    schema.field(name).ok_or_else(|| match col(name).bind(schema) {
        Err(unknown) => unknown,
        Ok(_) => Error::new(Code::UnknownColumn, format!("there is no column `{name}`")),
    })
}

/// Judges files one by one and collects those to read.
struct Planner<'a> {
    partitions: Partitions,
    reader: Reader,
    skipper: Option<&'a Skipper>,
    tasks: Vec<ScanTask>,
}

impl Planner<'_> {
    fn file(&mut self, adds: &Adds, row: usize) -> Result<()> {
        let partition = self.partitions.of(adds, row, self.skipper)?;
        if partition.skipped {
            return Ok(());
        }
        let stats = stats_at(adds, row, &self.reader);
        if let (Some(skipper), Some(stats)) = (self.skipper, &stats)
            && skipper.skips(&partition.values, stats)
        {
            return Ok(());
        }
        partition.read = true;
        let values = Arc::clone(&partition.values);

        let path = adds.path().value(row);
        let has_vector = adds.deletion_vector().is_valid(row);
        self.tasks.push(ScanTask {
            key: uri::locate(path)?.into_owned(),
            path: path.to_string(),
            size: u64::try_from(adds.size().value(row)).unwrap_or(0),
            num_records: stats.and_then(|it| it.num_records),
            partition: values,
            deletion_vector: if has_vector { adds.get(row)?.deletion_vector } else { None },
            base_row_id: adds.base_row_id(row),
            default_row_commit_version: adds.default_row_commit_version(row),
        });
        Ok(())
    }
}

/// What is known of one file. JSON first: it is what a commit holds, and exact.
pub fn stats_at(adds: &Adds, row: usize, reader: &Reader) -> Option<Stats> {
    if let Some(json) = adds.stats().filter(|it| it.is_valid(row)) {
        return Some(reader.read(json.value(row)));
    }
    let parsed = adds.stats_parsed().filter(|it| it.is_valid(row))?;
    Some(reader.read_struct(parsed, row))
}

/// The distinct partition tuples met so far, each typed and judged once.
struct Partitions {
    columns: Vec<PartitionColumn>,
    entries: Vec<Partition>,
    by_hash: HashTable<(u64, usize)>,
    /// Files of one partition mostly stand together.
    last: usize,
}

struct PartitionColumn {
    name: String,
    /// By which the log knows it.
    physical: String,
    of: PrimitiveType,
}

struct Partition {
    /// As in the log, in column order.
    raw: Vec<Option<String>>,
    values: Arc<BTreeMap<String, Option<Value>>>,
    /// No row of it can match.
    skipped: bool,
    /// A file of it is read.
    read: bool,
}

impl Partitions {
    fn new(head: &Head) -> Partitions {
        let typed = |name: &String| {
            let field = head.schema.field(name)?;
            let DataType::Primitive(of) = field.data_type else { return None };
            let physical = field.physical_name(head.mapping).to_string();
            Some(PartitionColumn { name: name.clone(), physical, of })
        };
        let columns = head.metadata.partition_columns.iter().filter_map(typed).collect();
        Partitions { columns, entries: Vec::new(), by_hash: HashTable::new(), last: 0 }
    }

    fn of(&mut self, adds: &Adds, row: usize, skipper: Option<&Skipper>) -> Result<&mut Partition> {
        let at = match self.entries.get(self.last) {
            Some(last) if self.matches(last, adds, row) => self.last,
            _ => self.look_up(adds, row, skipper)?,
        };
        self.last = at;
        self.entries.get_mut(at).ok_or_else(|| Error::internal("no such partition"))
    }

    /// How many partitions there are, and how many are read. Tuples that are spelled differently
    /// and mean the same, such as `1` and `01`, are one.
    fn count(&self) -> (u64, u64) {
        let mut entries: Vec<&Partition> = self.entries.iter().collect();
        entries.sort_by(|a, b| order(&a.values, &b.values));
        let (mut all, mut read) = (0, 0);
        for same in entries.chunk_by(|a, b| order(&a.values, &b.values).is_eq()) {
            all += 1;
            read += u64::from(same.iter().any(|it| it.read));
        }
        (all, read)
    }

    fn matches(&self, entry: &Partition, adds: &Adds, row: usize) -> bool {
        self.columns.iter().zip(&entry.raw).all(|(column, raw)| {
            adds.partition_value(row, &column.physical).is_some_and(|it| it == raw.as_deref())
        })
    }

    fn look_up(&mut self, adds: &Adds, row: usize, skipper: Option<&Skipper>) -> Result<usize> {
        let mut combined = 0u64;
        for column in &self.columns {
            let value = adds.partition_value(row, &column.physical).flatten();
            combined = combined.rotate_left(5) ^ value.map_or(1, hash);
        }
        let same = |(hash, at): &(u64, usize)| {
            let entry = self.entries.get(*at);
            *hash == combined && entry.is_some_and(|it| self.matches(it, adds, row))
        };
        if let Some((_, at)) = self.by_hash.find(combined, same) {
            return Ok(*at);
        }
        let at = self.entries.len();
        self.entries.push(self.parse(adds, row, skipper)?);
        self.by_hash.insert_unique(combined, (combined, at), |(hash, _)| *hash);
        Ok(at)
    }

    fn parse(&self, adds: &Adds, row: usize, skipper: Option<&Skipper>) -> Result<Partition> {
        let (mut raw, mut values) = (Vec::new(), BTreeMap::new());
        for PartitionColumn { name, physical, of } in &self.columns {
            let Some(text) = adds.partition_value(row, physical) else {
                let what = format!("a file has no value of partition column `{name}`");
                let error = Error::new(Code::InvalidPartitionValue, what);
                return Err(placed(error, adds, row));
            };
            let value = match text {
                Some(text) => Value::from_partition(text, *of)
                    .map_err(|it| placed(it.at(format!("partition column `{name}`")), adds, row))?,
                None => None,
            };
            raw.push(text.map(str::to_string));
            values.insert(name.clone(), value);
        }
        let skipped = skipper.is_some_and(|it| it.skips_partition(&values));
        Ok(Partition { raw, values: Arc::new(values), skipped, read: false })
    }
}

/// Says which file, if its path is one below the table's root: a URL may hold credentials.
fn placed(error: Error, adds: &Adds, row: usize) -> Error {
    match uri::decode(adds.path().value(row)) {
        Ok(key) => error.at(key),
        Err(_) => error,
    }
}

/// Order of two tuples of the same columns, null first.
fn order(a: &BTreeMap<String, Option<Value>>, b: &BTreeMap<String, Option<Value>>) -> Ordering {
    let one = |(a, b): (&Option<Value>, &Option<Value>)| match (a, b) {
        (Some(a), Some(b)) => a.compare(b).unwrap_or(Ordering::Equal),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    a.values().zip(b.values()).map(one).find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;
