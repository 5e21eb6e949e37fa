//! Columns that are not the table's: where a row lies, and which one it is.
//!
//! They are columns of a read, not of the table: asked for by name, and only where the table has
//! no column of that name, so that no table changes its meaning because of them.

use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::feature::TableFeature;
use crate::scan::Scan;
use crate::schema::{DataType, PrimitiveType, Schema, StructField};
use crate::state::Head;

/// A column that tells of a row what is not in its table.
///
/// ```
/// use lakebed_log::scan::MetadataColumn;
///
/// assert_eq!(MetadataColumn::of("_row_index"), Some(MetadataColumn::RowIndex));
/// assert_eq!(MetadataColumn::of("user"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataColumn {
    /// `_file`, a string: the path of the row's data file, as the log has it: percent-encoded and
    /// below the table's root, or absolute.
    File,
    /// `_row_index`, a long: the row's position in its file, from zero, deleted rows counted.
    RowIndex,
    /// `_row_id`, a long: an id that the row keeps when it is changed or moved. Only in tables that
    /// track rows.
    RowId,
    /// `_commit_version`, a long: the version that last wrote the row. Only in tables that track
    /// rows.
    CommitVersion,
}

impl MetadataColumn {
    /// All of them.
    pub const ALL: [MetadataColumn; 4] = [
        MetadataColumn::File,
        MetadataColumn::RowIndex,
        MetadataColumn::RowId,
        MetadataColumn::CommitVersion,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MetadataColumn::File => "_file",
            MetadataColumn::RowIndex => "_row_index",
            MetadataColumn::RowId => "_row_id",
            MetadataColumn::CommitVersion => "_commit_version",
        }
    }

    /// By its exact name.
    pub fn of(name: &str) -> Option<MetadataColumn> {
        MetadataColumn::ALL.into_iter().find(|it| it.name() == name)
    }

    /// As a column; never null.
    pub fn field(self) -> StructField {
        let of = match self {
            MetadataColumn::File => PrimitiveType::String,
            _ => PrimitiveType::Long,
        };
        StructField {
            name: self.name().to_string(),
            data_type: DataType::Primitive(of),
            nullable: false,
            metadata: serde_json::Map::new(),
        }
    }

    fn tracks_rows(self) -> bool {
        matches!(self, MetadataColumn::RowId | MetadataColumn::CommitVersion)
    }
}

/// Where data files keep what follows a row: columns by their physical names. A file may lack
/// them, and a row may have null there; then the file's `add` tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowTracking {
    /// `delta.rowTracking.materializedRowIdColumnName`
    pub row_id_column: Option<String>,
    /// `delta.rowTracking.materializedRowCommitVersionColumnName`
    pub commit_version_column: Option<String>,
}

impl RowTracking {
    /// Of a table that has it enabled.
    pub fn of(head: &Head) -> Option<RowTracking> {
        let on = head.properties.enable_row_tracking
            && head.protocol.supports(&TableFeature::RowTracking);
        let property = |key: &str| head.metadata.configuration.get(key).cloned();
        on.then(|| RowTracking {
            row_id_column: property("delta.rowTracking.materializedRowIdColumnName"),
            commit_version_column: property(
                "delta.rowTracking.materializedRowCommitVersionColumnName",
            ),
        })
    }
}

/// The table's schema and after it the metadata columns that a scan names; and these.
///
/// # Errors
///
/// `unknown-column` for one that needs row tracking where the table has none.
pub(super) fn with_metadata(
    head: &Head,
    scan: &Scan,
) -> Result<(Arc<Schema>, Vec<MetadataColumn>)> {
    let mut names = scan.predicate().map(|it| it.columns()).unwrap_or_default();
    names.extend(scan.projection().unwrap_or_default().iter().cloned());
    let mut added = Vec::new();
    for name in &names {
        let Some(column) = MetadataColumn::of(name) else { continue };
        if head.schema.field(name).is_some() || added.contains(&column) {
            continue;
        }
        if column.tracks_rows() && RowTracking::of(head).is_none() {
            let feature = TableFeature::RowTracking;
            let what =
                format!("column `{name}` needs `{feature}`, which the table has not enabled");
            return Err(Error::new(Code::UnknownColumn, what));
        }
        added.push(column);
    }
    if added.is_empty() {
        return Ok((Arc::clone(&head.schema), added));
    }
    let fields = head.schema.fields().iter().cloned();
    let fields = fields.chain(added.iter().map(|it| it.field())).collect();
    Ok((Arc::new(Schema::new(fields)?), added))
}
