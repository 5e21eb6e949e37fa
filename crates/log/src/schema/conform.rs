//! Data into a table's shape, without loss.
//!
//! Two steps for each leaf: its Arrow type becomes the protocol type that `arrow` names for it, and
//! that becomes the column's by the widenings of `evolve`. Both are lossless for their types or are
//! checked value by value, so an error names the value, and no value ever changes.
//!
//! Nulls are checked where they end up. A field that is not null must have a value in every row,
//! also where a struct around it is null: that is how the reference implementation reads NOT NULL.
//! Inside lists and maps it must have one wherever the struct around it is there.

use std::collections::BTreeMap;
use std::fmt;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, Fields};

use super::{ArrowOptions, DataType, Schema, StructType, folded};
use crate::error::{Code, Error, Result};

mod leaf;
mod nested;
#[cfg(test)]
mod tests;

/// Casts a batch losslessly to the table's schema: the shape of [`Schema::to_arrow`].
///
/// Columns match by exact name, then ignoring case, and may come in any order; nullable ones that
/// are missing are filled with null, also inside structs.
///
/// # Errors
///
/// `schema-mismatch` names the column and the types, for a cast that may lose, for columns that the
/// table does not have, and for a missing one that is not null. `invalid-data` names column, row
/// and value, for one that does not fit exactly and for a null in a column that is not null.
///
/// ```
/// # use std::sync::Arc;
/// use arrow_array::{Int32Array, RecordBatch};
/// use lakebed_log::schema::{ArrowOptions, Schema, conform};
///
/// let table = Schema::parse_ddl("id long, note string")?;
/// let ids = Arc::new(Int32Array::from(vec![1, 2])) as _;
/// let batch = RecordBatch::try_from_iter([("ID", ids)]).unwrap();
/// let rows = conform(&batch, &table, ArrowOptions::default())?;
/// assert_eq!(rows.schema(), table.to_arrow());
/// assert_eq!(rows.column(1).null_count(), 2);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
pub fn conform(batch: &RecordBatch, schema: &Schema, options: ArrowOptions) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let parts = Parts { fields: batch.schema_ref().fields(), columns: batch.columns(), rows };
    let columns = Cast { options }.fields(&parts, schema, &Place::TOP, Parent::default())?;
    let with_rows = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.to_arrow(), columns, &with_rows).map_err(unexpected)
}

/// The columns of a batch or struct.
struct Parts<'a> {
    fields: &'a Fields,
    columns: &'a [ArrayRef],
    rows: usize,
}

/// What is around a field.
#[derive(Clone, Copy, Debug, Default)]
struct Parent<'a> {
    /// Where a struct around the field is null.
    nulls: Option<&'a NullBuffer>,
    /// Whether a field that is not null may do without a value there.
    excuses: bool,
}

/// Casts arrays; what stays the same on the way down.
#[derive(Clone, Copy, Debug)]
struct Cast {
    options: ArrowOptions,
}

impl Cast {
    /// The columns of the struct, in its order.
    fn fields(
        self,
        parts: &Parts<'_>,
        to: &StructType,
        place: &Place<'_>,
        parent: Parent<'_>,
    ) -> Result<Vec<ArrayRef>> {
        let sources = sources(parts.fields, to, place)?;
        let mut columns = Vec::with_capacity(to.fields.len());
        for (field, source) in to.fields.iter().zip(sources) {
            let place = place.field(&field.name);
            let source = source.and_then(|at| parts.columns.get(at));
            let column = match source {
                Some(array) => self.array(array, &field.data_type, &place, parent)?,
                None if field.nullable => {
                    arrow_array::new_null_array(&field.data_type.to_arrow(), parts.rows)
                }
                None => {
                    let what = format!("{place}: the data lacks it and it is not null");
                    return Err(Error::new(Code::SchemaMismatch, what));
                }
            };
            if !field.nullable {
                check_not_null(&column, parent, &place)?;
            }
            columns.push(column);
        }
        Ok(columns)
    }

    /// The array in the shape of the type. Nulls are the caller's to judge.
    fn array(
        self,
        array: &ArrayRef,
        to: &DataType,
        place: &Place<'_>,
        parent: Parent<'_>,
    ) -> Result<ArrayRef> {
        let array = &nested::plain(array)?;
        if array.data_type() == &arrow_schema::DataType::Null {
            return Ok(arrow_array::new_null_array(&to.to_arrow(), array.len()));
        }
        match to {
            DataType::Primitive(it) => leaf::cast(array, *it, self.options, place),
            DataType::Struct(it) => self.structs(array, it, place, parent),
            DataType::Array(it) => self.lists(array, it, place),
            DataType::Map(it) => self.maps(array, it, place),
        }
    }
}

/// For each field of the struct, which column is its: the exact name, else the same ignoring case.
fn sources(from: &Fields, to: &StructType, place: &Place<'_>) -> Result<Vec<Option<usize>>> {
    let names: BTreeMap<&str, usize> =
        from.iter().enumerate().map(|(at, it)| (it.name().as_str(), at)).collect();
    let mut loose = None;
    let mut taken = vec![false; from.len()];
    let mut sources = Vec::with_capacity(to.fields.len());
    for field in &to.fields {
        // Most data spells names as the table does, and folding all names costs.
        let source = names.get(field.name.as_str()).copied().or_else(|| {
            let fold = || from.iter().enumerate().map(|(at, it)| (folded(it.name()), at)).collect();
            let loose: &BTreeMap<String, usize> = loose.get_or_insert_with(fold);
            loose.get(&folded(&field.name)).copied()
        });
        if let Some(taken) = source.and_then(|at| taken.get_mut(at)) {
            *taken = true;
        }
        sources.push(source);
    }
    let extra: Vec<&str> = from
        .iter()
        .zip(&taken)
        .filter(|(_, taken)| !**taken)
        .map(|(it, _)| it.name().as_str())
        .collect();
    if extra.is_empty() { Ok(sources) } else { Err(place.extra_columns(&extra, to)) }
}

fn check_not_null(column: &ArrayRef, parent: Parent<'_>, place: &Place<'_>) -> Result<()> {
    let own = column.logical_nulls();
    let null_at = if parent.excuses {
        let is_there = |row: &usize| parent.nulls.is_none_or(|it| it.is_valid(*row));
        own.and_then(|own| (0..column.len()).filter(is_there).find(|row| own.is_null(*row)))
    } else {
        let either = NullBuffer::union(own.as_ref(), parent.nulls);
        either.and_then(|it| (0..column.len()).find(|row| it.is_null(*row)))
    };
    match null_at {
        None => Ok(()),
        Some(row) => {
            let what = format!("{place}: {} {row} is null and must not be", place.rows());
            Err(Error::new(Code::InvalidData, what))
        }
    }
}

/// Where in the table a cast is. A chain on the stack, so that only errors pay for its text.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: &'a str,
    /// Whether rows here are elements of some list, not rows of the batch.
    inside: bool,
}

impl<'a> Place<'a> {
    const TOP: Place<'static> = Place { above: None, name: "", inside: false };

    fn field(&'a self, name: &'a str) -> Place<'a> {
        Place { above: Some(self), name, inside: self.inside }
    }

    fn inside(&'a self, name: &'a str) -> Place<'a> {
        Place { above: Some(self), name, inside: true }
    }

    /// What a position counts here.
    fn rows(&self) -> &'static str {
        if self.inside { "element" } else { "row" }
    }

    fn path(&self) -> String {
        match self.above {
            None => String::new(),
            Some(above) if above.above.is_none() => self.name.to_string(),
            Some(above) => format!("{}.{}", above.path(), self.name),
        }
    }

    fn mismatch(&self, what: impl fmt::Display) -> Error {
        Error::new(Code::SchemaMismatch, format!("{self}: {what}"))
    }

    fn extra_columns(&self, extra: &[&str], to: &StructType) -> Error {
        const SHOWN_MAX: usize = 10;
        let shown: Vec<String> =
            extra.iter().take(SHOWN_MAX).map(|it| format!("`{}`", self.field(it).path())).collect();
        let more = match extra.len().saturating_sub(SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let twice = extra.iter().find(|it| to.position(it).is_some());
        let help = match twice {
            Some(name) => format!("`{name}` is there more than once, ignoring case"),
            None => "schema evolution would add them, or leave them out".to_string(),
        };
        let what = format!("the table has no columns {}{more}; {help}", shown.join(", "));
        Error::new(Code::SchemaMismatch, what)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column `{}`", self.path())
    }
}

/// A failure of Arrow's that our own checks should have made impossible.
fn unexpected(error: ArrowError) -> Error {
    Error::internal("arrays do not fit the table's shape").because(error)
}
