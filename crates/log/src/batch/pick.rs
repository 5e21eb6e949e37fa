//! Which row groups and columns of a checkpoint to read, by its footer alone.
//!
//! A footer tells more than where columns lie: a chunk that holds nulls alone need not be fetched
//! to know what is in it. Row groups full of files hold no protocol, most checkpoints hold no
//! vector, and the tombstones stand together at the end.

use std::ops::Range;
use std::sync::Arc;

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnDescriptor;

use crate::batch::columns::STATS_PARSED;
use crate::batch::footer::joined;
use crate::batch::parquet::{guarded, is_ours, read_rows, slices, to_batch};
use crate::batch::rules::corrupt;
use crate::batch::{LogBatch, Width};
use crate::error::{Code, Error, Result};

/// The kinds of action, and their fields that are read at any width that reads the kind.
const KINDS: &[(&str, &[&str])] = &[
    (
        "add",
        &[
            "path",
            "partitionValues",
            "size",
            "modificationTime",
            "dataChange",
            "deletionVector",
            "baseRowId",
            "defaultRowCommitVersion",
            "clusteringProvider",
        ],
    ),
    (
        "remove",
        &[
            "path",
            "deletionTimestamp",
            "dataChange",
            "extendedFileMetadata",
            "partitionValues",
            "size",
            "deletionVector",
            "baseRowId",
            "defaultRowCommitVersion",
        ],
    ),
    ("protocol", &["minReaderVersion", "minWriterVersion", "readerFeatures", "writerFeatures"]),
    (
        "metaData",
        &[
            "id",
            "name",
            "description",
            "format",
            "schemaString",
            "partitionColumns",
            "configuration",
            "createdTime",
        ],
    ),
    ("txn", &["appId", "version", "lastUpdated"]),
    ("domainMetadata", &["domain", "configuration", "removed"]),
    ("checkpointMetadata", &["version", "tags"]),
    ("sidecar", &["path", "sizeInBytes", "modificationTime", "tags"]),
];

/// What `add` has beyond at full width.
const WIDE_ADD: &[&str] = &["stats", "tags", STATS_PARSED];

/// The parts of a deletion vector.
const VECTOR: &[&str] = &["storageType", "pathOrInlineDv", "offset", "sizeInBytes", "cardinality"];

/// How often larger than the file its decoded columns may be, so that a few kilobytes cannot fill
/// the memory. Real checkpoints stay under a hundred.
const EXPANSION_MAX: u64 = 1_000;

/// Up to here no expansion is suspicious.
const EXPANDED_BYTES_MIN: u64 = 64 << 20;

/// Least rows of a unit, but for the last. Smaller ones would be joined again later.
const UNIT_ROWS_MIN: u64 = 70_000;

/// Some row groups of a large checkpoint, to be decoded apart from the others: their file actions.
///
/// One batch of all rows would be decoded by one core, and would exist twice for a moment, as row
/// groups and as what they are joined to.
#[derive(Clone, Debug)]
pub struct FileUnit {
    picked: Picked,
    width: Width,
    rows: u64,
}

impl FileUnit {
    /// The units of a file, in its order. Row groups without file actions are in none.
    pub fn of(metadata: &ParquetMetaData, width: Width) -> Vec<FileUnit> {
        let mut units: Vec<(Vec<usize>, u64)> = Vec::new();
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if rows == 0 || !["add", "remove"].iter().any(|kind| may_hold(group, kind)) {
                continue;
            }
            match units.last_mut().filter(|it| it.1 < UNIT_ROWS_MIN) {
                Some((groups, sum)) => {
                    groups.push(at);
                    *sum += rows;
                }
                None => units.push((vec![at], rows)),
            }
        }
        let unit = |(groups, rows)| FileUnit {
            picked: Picked::files(metadata, width, groups),
            width,
            rows,
        };
        units.into_iter().map(unit).collect()
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The byte ranges to fetch, in order.
    pub fn ranges(&self, metadata: &ParquetMetaData) -> Vec<Range<u64>> {
        self.picked.ranges(metadata)
    }

    /// Decodes it; `reader` must hold its ranges. Whether a key stands twice is for
    /// [`Replay`](crate::replay::Replay) to see, which knows all units.
    ///
    /// # Errors
    ///
    /// Those of [`LogBatch::from_parquet`].
    pub fn decode<R: ChunkReader + 'static>(
        &self,
        reader: R,
        metadata: &Arc<ParquetMetaData>,
    ) -> Result<LogBatch> {
        self.picked.check_shape(metadata, reader.len())?;
        let ours = is_ours(metadata);
        guarded(|| to_batch(&read_rows(reader, metadata, &self.picked)?, self.width, ours))
    }

    /// The same, at most so many rows at a time, in their order.
    ///
    /// # Errors
    ///
    /// As [`FileUnit::decode`], and those of `each`.
    pub fn decode_slices<R: ChunkReader + 'static>(
        &self,
        reader: R,
        metadata: &Arc<ParquetMetaData>,
        rows: usize,
        mut each: impl FnMut(LogBatch) -> Result<()>,
    ) -> Result<()> {
        self.picked.check_shape(metadata, reader.len())?;
        guarded(|| {
            for slice in slices(reader, metadata, &self.picked, rows)? {
                each(to_batch(&slice?, self.width, is_ours(metadata))?)?;
            }
            Ok(())
        })
    }
}

/// Row groups and leaf columns to read.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    pub(super) groups: Vec<usize>,
    pub(super) leaves: Vec<usize>,
}

impl Picked {
    /// What a width reads of a file. The head of a large one stands in one row group of many.
    pub(super) fn all(metadata: &ParquetMetaData, width: Width) -> Picked {
        let leaves = wanted_leaves(metadata, width);
        let groups = metadata.row_groups().iter().enumerate();
        let wanted = |(_, group): &(usize, &RowGroupMetaData)| {
            let mut chunks = leaves.iter().filter_map(|it| group.columns().get(*it));
            width > Width::Head || chunks.any(|it| !is_all_null(it))
        };
        let groups = groups.filter(wanted).map(|(at, _)| at).collect();
        Picked { groups, leaves }
    }

    /// The file actions of some row groups. A column that is null in all their rows need not be
    /// read to know that; but where it may repeat, null is not the same as empty.
    fn files(metadata: &ParquetMetaData, width: Width, groups: Vec<usize>) -> Picked {
        let columns = metadata.file_metadata().schema_descr().columns();
        let is_file = |it: &usize| {
            let kind = columns.get(*it).and_then(|it| it.path().parts().first());
            kind.is_some_and(|it| it == "add" || it == "remove")
        };
        let some = |leaf: &usize| {
            let mut groups = groups.iter().filter_map(|it| metadata.row_groups().get(*it));
            let repeats = columns.get(*leaf).is_none_or(|it| it.max_rep_level() > 0);
            repeats || groups.any(|it| it.columns().get(*leaf).is_none_or(|it| !is_all_null(it)))
        };
        let leaves = wanted_leaves(metadata, width).into_iter();
        let leaves = leaves.filter(is_file).filter(some).collect();
        Picked { groups, leaves }
    }

    fn chunks<'a>(
        &self,
        metadata: &'a ParquetMetaData,
    ) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
        let groups = self.groups.iter().filter_map(|it| metadata.row_groups().get(*it));
        groups.flat_map(|group| self.leaves.iter().filter_map(|it| group.columns().get(*it)))
    }

    pub(super) fn ranges(&self, metadata: &ParquetMetaData) -> Vec<Range<u64>> {
        let chunks = self.chunks(metadata).map(|it| {
            let (start, length) = it.byte_range();
            start..start.saturating_add(length)
        });
        joined(chunks.collect())
    }

    pub(super) fn rows(&self, metadata: &ParquetMetaData) -> usize {
        let groups = self.groups.iter().filter_map(|it| metadata.row_groups().get(*it));
        let rows = groups.filter_map(|it| usize::try_from(it.num_rows()).ok());
        rows.fold(0, usize::saturating_add)
    }

    /// Checks what the footer alone tells.
    pub(super) fn check_shape(&self, metadata: &ParquetMetaData, size: u64) -> Result<()> {
        let file = metadata.file_metadata();
        let roots = file.schema_descr().root_schema().get_fields();
        for root in roots.iter().filter(|it| KINDS.iter().any(|kind| kind.0 == it.name())) {
            if root.is_primitive() {
                return Err(corrupt(format!("column `{}` is not a struct", root.name())));
            }
        }
        if !roots.iter().any(|it| it.name() == "add") {
            return Err(corrupt("there is no column `add`"));
        }
        let rows = u64::try_from(file.num_rows()).unwrap_or_default();
        if rows == 0 {
            return Err(corrupt("there are no rows"));
        }
        // A row holds an action, and no action takes less than a byte.
        if rows > size {
            return Err(corrupt(format!("{rows} rows in {size} bytes")));
        }
        let chunks = self.chunks(metadata);
        check_expansion(chunks, size)
    }
}

/// Refuses columns that are so much larger than the file that only malice can have made them.
pub(super) fn check_expansion<'a>(
    chunks: impl Iterator<Item = &'a ColumnChunkMetaData>,
    size: u64,
) -> Result<()> {
    let expanded = chunks.map(|it| u64::try_from(it.uncompressed_size()).unwrap_or(u64::MAX));
    let expanded = expanded.fold(0, u64::saturating_add);
    let most = size.saturating_mul(EXPANSION_MAX).max(EXPANDED_BYTES_MIN);
    if expanded > most {
        let what = format!("{size} bytes expand to {expanded}, the limit is {most}");
        return Err(Error::new(Code::LimitExceeded, what));
    }
    Ok(())
}

/// Does the footer say that the chunk holds nulls alone?
pub(super) fn is_all_null(chunk: &ColumnChunkMetaData) -> bool {
    let nulls = chunk.statistics().and_then(|it| it.null_count_opt());
    nulls.is_some_and(|it| u64::try_from(chunk.num_values()) == Ok(it))
}

/// May a row group hold actions of a kind? Each has a path.
pub(super) fn may_hold(group: &RowGroupMetaData, kind: &str) -> bool {
    let is_path = |it: &&ColumnChunkMetaData| {
        let parts = it.column_path().parts();
        parts.iter().map(String::as_str).eq([kind, "path"])
    };
    group.columns().iter().find(is_path).is_some_and(|it| !is_all_null(it))
}

/// The leaf columns that a width reads.
fn wanted_leaves(metadata: &ParquetMetaData, width: Width) -> Vec<usize> {
    let columns = metadata.file_metadata().schema_descr().columns().iter().enumerate();
    columns.filter(|(_, it)| is_wanted(it, width)).map(|(at, _)| at).collect()
}

fn is_wanted(column: &ColumnDescriptor, width: Width) -> bool {
    let mut path = column.path().parts().iter().map(String::as_str);
    let (Some(kind), Some(field)) = (path.next(), path.next()) else {
        return false;
    };
    if width == Width::Head && matches!(kind, "add" | "remove") {
        return false;
    }
    let known = KINDS.iter().any(|(name, fields)| *name == kind && fields.contains(&field));
    let wide = width == Width::Wide && kind == "add" && WIDE_ADD.contains(&field);
    let part_is_known =
        field != "deletionVector" || path.next().is_some_and(|it| VECTOR.contains(&it));
    (known || wide) && part_is_known
}
