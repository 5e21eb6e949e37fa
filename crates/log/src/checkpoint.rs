//! `TableState` to the bytes of a classic checkpoint, and the hint.
//!
//! A checkpoint is what makes opening a table cheap, and later what makes planning cheap: it is
//! Parquet, so a reader that wants one partition of many can leave row groups unread. That only
//! works if files that belong together stand together. So adds are ordered by partition and then by
//! the clustering columns, or else the first column with bounds, from the first checkpoint on; and
//! pages are small, so that of a row group no more than some pages need be fetched:
//!
//! ```text
//!   row group 0   protocol, metaData, txn.., domainMetadata..   add  day=01, least first ..
//!   row group 1   add  .. day=02 ..                             statistics per row group
//!   row group n   add  .. day=31 ..                             remove.. (tombstones, by path)
//! ```
//!
//! The state holds file actions as the columns they were decoded into. They are picked, renamed and
//! written; no file becomes a struct on the way.

mod encoder;
mod files;
mod parsed;
mod sidecar;
mod small;
mod tail;
mod writer;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Fields, SchemaRef};
use bytes::Bytes;
use parquet::errors::ParquetError;

pub use sidecar::{
    SIDECAR_ROWS, SidecarFile, render_next_sidecars, render_sidecars, render_top_level, to_merge,
};
pub use tail::{Gather, Part, Sampler, Surveyed, Surveyor, Tail};
pub use writer::{Pushed, Writer, Written};

use crate::batch::Width;
use crate::error::{Error, Result};
use crate::segment::Hint;
use crate::state::TableState;
use crate::time::Timestamp;

/// A checkpoint to write.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The Parquet file.
    pub bytes: Bytes,
    /// Actions in it.
    pub actions: u64,
    /// Live files in it.
    pub files: u64,
    /// What to write to `_last_checkpoint` afterwards.
    pub hint: Hint,
}

/// Rows of one row group: small enough that a selective reader saves something, large enough that
/// the footer stays small.
const ROW_GROUP_ROWS: usize = 100_000;

/// Renders a classic checkpoint of a wide state: protocol, metadata, transactions, domains, live
/// files in order, tombstones.
///
/// Live files are ordered by partition values, then by the minimum of the clustering columns or
/// else of the first column with bounds, then by path. Statistics stand as JSON and as struct as
/// the properties say, and `partitionValues_parsed` beside the struct; of the struct, bounds the
/// wrong way round are left out. `now` decides which tombstones and transactions have expired. The
/// same state and time give the same bytes, here and from a [`Writer`].
///
/// # Cost
///
/// Linear in the files but for their order. Memory: the state, the checkpoint, and one row group.
///
/// # Errors
///
/// `invalid-partition-value` if a partition value does not parse. `internal` if the state holds no
/// statistics.
///
/// # Source
///
/// `spec/checkpoint.md`, CKPT-1 to CKPT-13, CKPT-33.
pub fn render(state: &TableState, now: Timestamp) -> Result<Checkpoint> {
    render_in_groups(state, now, ROW_GROUP_ROWS)
}

/// The same with so many rows in each row group.
pub(crate) fn render_in_groups(
    state: &TableState,
    now: Timestamp,
    group_rows: usize,
) -> Result<Checkpoint> {
    if state.files.width() < Width::Wide {
        return Err(Error::internal("a checkpoint needs a state with statistics"));
    }
    let writer = Writer::in_groups(&state.head, &state.files, now, group_rows)?;
    let Written { bytes, actions, sum } = writer.finish()?;
    let hint = Hint {
        version: state.head.version,
        size: i64::try_from(actions).ok(),
        parts: None,
        size_in_bytes: u64::try_from(bytes.len()).ok(),
        num_of_add_files: Some(sum.files),
    };
    Ok(Checkpoint { bytes, actions, files: sum.files, hint })
}

/// Everything may be null: a row holds one action, and that is how other writers declare it.
fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// A struct of columns that may all be null.
fn structure(columns: Vec<(&str, ArrayRef)>) -> Result<StructArray> {
    let fields: Fields =
        columns.iter().map(|(name, it)| field(name, it.data_type().clone())).collect();
    let arrays = columns.into_iter().map(|(_, it)| it).collect();
    StructArray::try_new(fields, arrays, None).map_err(arrow_failed)
}

/// One batch of the file: the given columns, all others null.
fn batch(
    schema: &SchemaRef,
    columns: Vec<(&str, StructArray)>,
    rows: usize,
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut columns: Vec<_> = columns.into_iter().map(|(name, it)| (name, Arc::new(it))).collect();
    for field in schema.fields() {
        match columns.iter().position(|(name, _)| name == field.name()) {
            Some(at) => arrays.push(columns.swap_remove(at).1),
            None => arrays.push(new_null_array(field.data_type(), rows)),
        }
    }
    RecordBatch::try_new(schema.clone(), arrays).map_err(arrow_failed)
}

fn arrow_failed(it: ArrowError) -> Error {
    Error::internal("columns of a checkpoint do not fit together").because(it)
}

fn parquet_failed(it: ParquetError) -> Error {
    Error::internal("a checkpoint does not encode").because(it)
}

#[cfg(test)]
mod tests;
