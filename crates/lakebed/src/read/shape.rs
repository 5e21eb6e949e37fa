//! What is the same for every file of a read: which columns, and where each of them comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, cast::AsArray, new_null_array,
    types::Int64Type,
};
use arrow_schema::{DataType as ArrowType, SchemaRef};
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::eval;
use lakebed_log::expr::Expr;
use lakebed_log::scan::{MetadataColumn, RowTracking, ScanPlan};
use lakebed_log::schema::{ColumnMapping, DataType, PrimitiveType, Schema, StructField};
use lakebed_log::value::Value;

use super::file::FileRead;

/// Bytes that the constants of a batch take at most, or one row of them.
const CONSTANT_BYTES: usize = 4 << 20;

/// What to read of every file.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Every column that the filter and the result may name: the table's, then those of
    /// `metadata`, and whatever constants the caller adds.
    pub(crate) schema: Arc<Schema>,
    /// Columns of `schema` that no file holds and each [`FileRead`] has a value for: partition
    /// columns, by the task's partition values, and others, by [`FileRead::constants`]. Exact
    /// names.
    pub(crate) constants: BTreeSet<String>,
    /// Which columns of `schema` are metadata columns.
    pub(crate) metadata: Vec<MetadataColumn>,
    /// Where files keep row ids; needed for `_row_id` and `_commit_version` as metadata columns.
    pub(crate) row_tracking: Option<RowTracking>,
    /// How files name the columns.
    pub(crate) mapping: ColumnMapping,
    /// Bound to `schema`; rows for which it is not true are left out.
    pub(crate) filter: Option<Expr>,
    /// Shape of the result: columns of `schema`, in any order.
    pub(crate) output: SchemaRef,
    /// At most this many rows per batch.
    pub(crate) batch_rows: usize,
}

impl Spec {
    /// Of a plan.
    pub(crate) fn of(plan: &ScanPlan) -> Spec {
        Spec {
            schema: Arc::clone(plan.table_schema()),
            constants: plan.partition_columns().iter().cloned().collect(),
            metadata: plan.metadata_columns().to_vec(),
            row_tracking: plan.row_tracking().cloned(),
            mapping: plan.mapping(),
            filter: plan.filter().cloned(),
            output: Arc::clone(plan.schema()),
            batch_rows: plan.batch_rows(),
        }
    }
}

/// A [`Spec`], worked out once for all files.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(super) spec: Spec,
    /// Columns that are read from files.
    pub(super) file: Arc<Schema>,
    /// The part of the filter that looks at nothing else.
    pub(super) file_filter: Option<Expr>,
    /// Are the physical positions of rows needed?
    pub(super) positions: bool,
    /// Columns that the filter and the result need, in the order of the schema.
    needed: Vec<(StructField, Origin)>,
    /// The same, as Arrow has them.
    arrow: SchemaRef,
    /// For each column of the result its place among them.
    columns: Vec<usize>,
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The column of this place in what the codec yields.
    File(usize),
    /// One value for the file.
    Constant(PrimitiveType),
    /// Null.
    Void,
    /// Path of the file.
    Path,
    /// The position, which the codec yields last.
    Position,
    /// The file's column of this place if it has one and it is not null, else the first row's id
    /// and the position.
    RowId(Option<usize>),
    /// The same with the commit version of the file.
    CommitVersion(Option<usize>),
}

impl Shape {
    /// # Errors
    ///
    /// `invalid-schema` if the columns that hold row ids have names of the table's own columns.
    pub(crate) fn new(spec: Spec) -> Result<Shape> {
        let filter = spec.filter.as_ref();
        let in_filter = filter.map(Expr::columns).unwrap_or_default();
        let in_result = |name: &str| spec.output.column_with_name(name).is_some();
        let fields = spec.schema.fields().iter();
        let fields = fields.filter(|it| in_filter.contains(&it.name) || in_result(&it.name));

        let mut file: Vec<StructField> = Vec::new();
        let mut needed = Vec::new();
        let mut own = BTreeSet::new();
        for field in fields {
            let origin = match spec.origin(field, &mut file)? {
                Some(origin) => origin,
                None => {
                    own.insert(field.name.clone());
                    file.push(field.clone());
                    Origin::File(file.len() - 1)
                }
            };
            needed.push((field.clone(), origin));
        }
        let of_file = |it: &&Expr| it.columns().iter().all(|name| own.contains(name));
        let terms = filter.map(Expr::conjuncts).unwrap_or_default();
        let terms: Vec<Expr> = terms.into_iter().filter(of_file).cloned().collect();

        let arrow = Schema::new(needed.iter().map(|it| it.0.clone()).collect())?.to_arrow();
        let place = |field: &arrow_schema::FieldRef| {
            let at = arrow.index_of(field.name()).ok();
            at.ok_or_else(|| Error::internal(format!("column `{}` is not read", field.name())))
        };
        let columns = spec.output.fields().iter().map(place).collect::<Result<_>>()?;
        let positions = needed.iter().any(|it| matches!(it.1, Origin::Position | Origin::RowId(_)));
        Ok(Shape {
            file: Arc::new(Schema::new(file)?),
            file_filter: (!terms.is_empty()).then_some(Expr::And(terms)),
            positions,
            needed,
            arrow,
            columns,
            spec,
        })
    }

    /// Rows of a batch, fewer where the file's constants are long: each row has its own copy.
    pub(super) fn batch_rows(&self, file: &FileRead) -> Result<usize> {
        let bytes = |(field, origin): &(StructField, Origin)| match origin {
            Origin::Constant(_) => Ok(match file.constant(&field.name)? {
                Some(Value::String(it)) => it.len(),
                Some(Value::Binary(it)) => it.len(),
                _ => 0,
            }),
            Origin::Path => Ok(file.task.path.len()),
            _ => Ok(0),
        };
        let bytes = self.needed.iter().map(bytes).sum::<Result<usize>>()?;
        let rows = CONSTANT_BYTES.checked_div(bytes).unwrap_or(usize::MAX);
        Ok(self.spec.batch_rows.min(rows).max(1))
    }

    /// What the codec read, in the shape of the result: completed, filtered, projected.
    pub(super) fn finish(&self, file: &FileRead, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = self.complete(file, batch)?;
        let Some(filter) = &self.spec.filter else { return self.project(&batch) };
        let kept = eval::matches(filter, &self.spec.schema, &batch)?;
        arrow_select::filter::filter_record_batch(&self.project(&batch)?, &kept)
            .map_err(|it| Error::internal("the rows do not filter").because(it))
    }

    /// All columns that are needed.
    fn complete(&self, file: &FileRead, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let task = &file.task;
        let read = |at: usize| {
            let column = batch.columns().get(at);
            column.cloned().ok_or_else(|| Error::internal(format!("column {at} was not read")))
        };
        let column = |(field, origin): &(StructField, Origin)| -> Result<ArrayRef> {
            match *origin {
                Origin::File(at) => read(at),
                Origin::Void => Ok(new_null_array(&ArrowType::Null, rows)),
                Origin::Constant(of) => Value::to_array(file.constant(&field.name)?, of, rows),
                Origin::Path => {
                    let path = Value::String(task.path.clone());
                    Value::to_array(Some(&path), PrimitiveType::String, rows)
                }
                Origin::Position => read(self.file.fields().len()),
                Origin::RowId(own) => {
                    let own = own.map(read).transpose()?;
                    let positions = read(self.file.fields().len())?;
                    let positions = positions.as_primitive_opt::<Int64Type>();
                    let base = |row: usize| {
                        task.base_row_id?.checked_add(positions?.values().get(row).copied()?)
                    };
                    tracked(own.as_ref(), rows, "baseRowId", base)
                }
                Origin::CommitVersion(own) => {
                    let own = own.map(read).transpose()?;
                    let version = |_| task.default_row_commit_version;
                    tracked(own.as_ref(), rows, "defaultRowCommitVersion", version)
                }
            }
        };
        let arrays = self.needed.iter().map(column).collect::<Result<Vec<_>>>()?;
        assemble(&self.arrow, arrays, rows)
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().filter_map(|it| batch.columns().get(*it).cloned());
        assemble(&self.spec.output, columns.collect(), batch.num_rows())
    }
}

impl Spec {
    /// Where a column comes from; `None`: it is a column of the files like others. Adds to `file`
    /// what else has to be read.
    fn origin(&self, field: &StructField, file: &mut Vec<StructField>) -> Result<Option<Origin>> {
        let DataType::Primitive(of) = field.data_type else { return Ok(None) };
        if self.constants.contains(&field.name) {
            return Ok(Some(Origin::Constant(of)));
        }
        let column = self.metadata.iter().find(|it| it.name() == field.name);
        let mut read = |name: Option<&String>| {
            let name = name?.clone();
            let data_type = DataType::Primitive(PrimitiveType::Long);
            let metadata = serde_json::Map::new();
            file.push(StructField { name, data_type, nullable: true, metadata });
            Some(file.len() - 1)
        };
        let tracking = || {
            let missing = || Error::internal(format!("`{}` without row tracking", field.name));
            self.row_tracking.as_ref().ok_or_else(missing)
        };
        Ok(match column {
            Some(MetadataColumn::File) => Some(Origin::Path),
            Some(MetadataColumn::RowIndex) => Some(Origin::Position),
            Some(MetadataColumn::RowId) => {
                Some(Origin::RowId(read(tracking()?.row_id_column.as_ref())))
            }
            Some(MetadataColumn::CommitVersion) => {
                Some(Origin::CommitVersion(read(tracking()?.commit_version_column.as_ref())))
            }
            None => (of == PrimitiveType::Void).then_some(Origin::Void),
        })
    }
}

/// What follows rows: their own values where they have them, else what the file's action says.
fn tracked(
    own: Option<&ArrayRef>,
    rows: usize,
    field: &str,
    default: impl Fn(usize) -> Option<i64>,
) -> Result<ArrayRef> {
    let own = own.and_then(|it| it.as_primitive_opt::<Int64Type>());
    let value = |row: usize| {
        let own = own.filter(|it| it.is_valid(row)).and_then(|it| it.values().get(row).copied());
        own.or_else(|| default(row)).ok_or_else(|| {
            let what = format!("the table tracks rows and the file has no `{field}` that fits");
            Error::new(Code::InvalidAction, what)
        })
    };
    let values = (0..rows).map(value).collect::<Result<Vec<i64>>>()?;
    Ok(Arc::new(Int64Array::from(values)))
}

/// A null here is one that the log has for a partition column that is not null.
fn assemble(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|it| Error::new(Code::CorruptData, format!("the rows do not fit the table: {it}")))
}
