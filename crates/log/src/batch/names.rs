//! The paths of a checkpoint's files, and what is counted of them.
//!
//! Who wants to know whether a file is in it, or how many there are, needs no more: of a sidecar of
//! 25,000 files that is a third of its bytes and few of its columns.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::ChunkReader;
use arrow_array::{Int64Array, StringArray};

use super::LogBatch;
use super::parquet::{check_one_action_per_row, guarded, is_ours, section, slices};
use super::pick::Picked;
use super::rules::spelled;
use crate::error::Result;

/// Rows decoded at a time.
const SLICE_ROWS: usize = 8_192;

/// The columns that are read.
const LEAVES: [[&str; 2]; 4] =
    [["add", "path"], ["add", "size"], ["remove", "path"], ["remove", "deletionTimestamp"]];

/// Paths of files, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Of `add` actions, with the bytes of the files.
    pub added: Option<(StringArray, Int64Array)>,
    /// Of `remove` actions, with the times of removal, in milliseconds.
    pub removed: Option<(StringArray, Int64Array)>,
}

impl Names {
    /// Those of actions that were decoded.
    pub fn of(batch: &LogBatch) -> Names {
        let added = batch.adds.as_ref().map(|it| (it.path().clone(), it.size().clone()));
        let removes = batch.removes.as_ref();
        let removed = removes.map(|it| (it.path().clone(), it.deletion_timestamp().clone()));
        Names { added, removed }
    }

    /// The byte ranges to fetch of a file, in order.
    pub fn ranges(metadata: &ParquetMetaData) -> Vec<Range<u64>> {
        picked(metadata).ranges(metadata)
    }

    /// Decodes them, some rows at a time; `reader` must hold the ranges. A file without rows has
    /// none.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` for columns that do not decode, are not there, or have another type,
    /// and for rows without a path.
    pub fn decode<R: ChunkReader + 'static>(
        reader: R,
        metadata: &Arc<ParquetMetaData>,
        mut each: impl FnMut(&Names),
    ) -> Result<()> {
        if metadata.file_metadata().num_rows() == 0 {
            return Ok(());
        }
        let picked = picked(metadata);
        picked.check_shape(metadata, reader.len())?;
        guarded(|| {
            for rows in slices(reader, metadata, &picked, SLICE_ROWS)? {
                let rows = rows?;
                check_one_action_per_row(&rows)?;
                let mut names = Names::default();
                if let Some(adds) = section(&rows, "add")? {
                    let paths = spelled(adds.paths()?, is_ours(metadata));
                    names.added = Some((paths, adds.sizes("size")?));
                }
                if let Some(removes) = section(&rows, "remove")? {
                    names.removed = Some((removes.paths()?, removes.longs("deletionTimestamp")?));
                }
                each(&names);
            }
            Ok(())
        })
    }
}

/// The leaves. Where a kind of action has no paths all that it has is read, so that it is seen.
fn picked(metadata: &ParquetMetaData) -> Picked {
    let columns = metadata.file_metadata().schema_descr().columns();
    let is_there = |kind: &str| columns.iter().any(|it| it.path().parts() == [kind, "path"]);
    let nameless: Vec<&str> =
        ["add", "remove"].into_iter().filter(|kind| !is_there(kind)).collect();
    let is_wanted = |path: &[String]| {
        let kind = path.first().is_some_and(|it| nameless.contains(&it.as_str()));
        kind || LEAVES.iter().any(|it| path == it)
    };
    let leaves = columns.iter().enumerate().filter(|(_, it)| is_wanted(it.path().parts()));
    let groups = (0..metadata.num_row_groups()).collect();
    Picked { groups, leaves: leaves.map(|(at, _)| at).collect() }
}
