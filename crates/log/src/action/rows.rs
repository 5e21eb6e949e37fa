//! File actions as rows that borrow: from the line that they stand in, or from a struct.

use std::borrow::Cow;

use crate::action::decode::{invalid, not_negative};
use crate::action::json::short;
use crate::action::{Add, DeletionVector, NullableMap, Remove};
use crate::error::Result;

/// The entries of a map of strings, in their order.
pub(crate) type Entries<'a> = Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>;

/// An `add` that borrows its text.
#[derive(Debug)]
pub(crate) struct AddRow<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) partition_values: Entries<'a>,
    pub(crate) size: i64,
    pub(crate) modification_time: i64,
    pub(crate) data_change: bool,
    pub(crate) stats: Option<Cow<'a, str>>,
    pub(crate) tags: Option<Entries<'a>>,
    pub(crate) deletion_vector: Option<VectorRow<'a>>,
    pub(crate) base_row_id: Option<i64>,
    pub(crate) default_row_commit_version: Option<i64>,
    pub(crate) clustering_provider: Option<Cow<'a, str>>,
}

/// A `remove` that borrows its text.
#[derive(Debug)]
pub(crate) struct RemoveRow<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) deletion_timestamp: Option<i64>,
    pub(crate) data_change: bool,
    pub(crate) extended_file_metadata: Option<bool>,
    pub(crate) partition_values: Option<Entries<'a>>,
    pub(crate) size: Option<i64>,
    pub(crate) deletion_vector: Option<VectorRow<'a>>,
    pub(crate) base_row_id: Option<i64>,
    pub(crate) default_row_commit_version: Option<i64>,
}

/// A deletion vector that borrows its text.
#[derive(Debug)]
pub(crate) struct VectorRow<'a> {
    pub(crate) storage_type: Cow<'a, str>,
    pub(crate) path_or_inline_dv: Cow<'a, str>,
    pub(crate) offset: Option<i32>,
    pub(crate) size_in_bytes: i32,
    pub(crate) cardinality: i64,
}

impl VectorRow<'_> {
    /// The rules that a descriptor meets by itself.
    pub(crate) fn check(&self) -> Result<()> {
        if !matches!(self.storage_type.as_ref(), "u" | "i" | "p") {
            let shown = short(&self.storage_type);
            let what = format!("`deletionVector.storageType` is `{shown}`, not `u`, `i` or `p`");
            return Err(invalid(what));
        }
        not_negative(self.offset.unwrap_or_default().into(), "deletionVector.offset")?;
        not_negative(self.size_in_bytes.into(), "deletionVector.sizeInBytes")?;
        not_negative(self.cardinality, "deletionVector.cardinality").map(drop)
    }
}

/// A map whose values may be null.
pub(crate) fn owned(entries: Entries<'_>) -> NullableMap {
    let owned = entries.into_iter();
    owned.map(|(key, value)| (key.into_owned(), value.map(Cow::into_owned))).collect()
}

impl From<AddRow<'_>> for Add {
    fn from(row: AddRow<'_>) -> Add {
        Add {
            path: row.path.into_owned(),
            partition_values: owned(row.partition_values),
            size: row.size,
            modification_time: row.modification_time,
            data_change: row.data_change,
            stats: row.stats.map(Cow::into_owned),
            tags: row.tags.map(owned),
            deletion_vector: row.deletion_vector.map(DeletionVector::from),
            base_row_id: row.base_row_id,
            default_row_commit_version: row.default_row_commit_version,
            clustering_provider: row.clustering_provider.map(Cow::into_owned),
        }
    }
}

impl From<RemoveRow<'_>> for Remove {
    fn from(row: RemoveRow<'_>) -> Remove {
        Remove {
            path: row.path.into_owned(),
            deletion_timestamp: row.deletion_timestamp,
            data_change: row.data_change,
            extended_file_metadata: row.extended_file_metadata,
            partition_values: row.partition_values.map(owned),
            size: row.size,
            deletion_vector: row.deletion_vector.map(DeletionVector::from),
            base_row_id: row.base_row_id,
            default_row_commit_version: row.default_row_commit_version,
        }
    }
}

impl From<VectorRow<'_>> for DeletionVector {
    fn from(row: VectorRow<'_>) -> DeletionVector {
        DeletionVector {
            storage_type: row.storage_type.into_owned(),
            path_or_inline_dv: row.path_or_inline_dv.into_owned(),
            offset: row.offset,
            size_in_bytes: row.size_in_bytes,
            cardinality: row.cardinality,
        }
    }
}

fn borrowed(map: &NullableMap) -> Entries<'_> {
    map.iter().map(|(key, value)| (key.into(), value.as_deref().map(Cow::Borrowed))).collect()
}

impl<'a> From<&'a Add> for AddRow<'a> {
    fn from(add: &'a Add) -> AddRow<'a> {
        AddRow {
            path: (&add.path).into(),
            partition_values: borrowed(&add.partition_values),
            size: add.size,
            modification_time: add.modification_time,
            data_change: add.data_change,
            stats: add.stats.as_deref().map(Cow::Borrowed),
            tags: add.tags.as_ref().map(borrowed),
            deletion_vector: add.deletion_vector.as_ref().map(VectorRow::from),
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
            clustering_provider: add.clustering_provider.as_deref().map(Cow::Borrowed),
        }
    }
}

impl<'a> From<&'a Remove> for RemoveRow<'a> {
    fn from(remove: &'a Remove) -> RemoveRow<'a> {
        RemoveRow {
            path: (&remove.path).into(),
            deletion_timestamp: remove.deletion_timestamp,
            data_change: remove.data_change,
            extended_file_metadata: remove.extended_file_metadata,
            partition_values: remove.partition_values.as_ref().map(borrowed),
            size: remove.size,
            deletion_vector: remove.deletion_vector.as_ref().map(VectorRow::from),
            base_row_id: remove.base_row_id,
            default_row_commit_version: remove.default_row_commit_version,
        }
    }
}

impl<'a> From<&'a DeletionVector> for VectorRow<'a> {
    fn from(vector: &'a DeletionVector) -> VectorRow<'a> {
        VectorRow {
            storage_type: (&vector.storage_type).into(),
            path_or_inline_dv: (&vector.path_or_inline_dv).into(),
            offset: vector.offset,
            size_in_bytes: vector.size_in_bytes,
            cardinality: vector.cardinality,
        }
    }
}
