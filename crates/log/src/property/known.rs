//! Names of properties, so that one that is misspelt is told apart from one that is new.
//!
//! A property that nobody knows does nothing, and whoever set it believes that it does. Names that
//! start with `delta.` belong to the format, so those that are handed in must be known here, even
//! if only another engine heeds them. Tables that others made keep what they have.

use crate::error::{Code, Error, Result, similar};

/// What belongs to the format, and to us.
const OWNED: &[&str] = &["delta.", "lakebed."];

/// Names, of whatever engine. Spelt as the format spells them: we heed no other spelling.
const KNOWN: &[&str] = &[
    "delta.appendOnly",
    "delta.autoOptimize",
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.castIcebergTimeType",
    "delta.checkpoint.writeStatsAsJson",
    "delta.checkpoint.writeStatsAsStruct",
    "delta.checkpointInterval",
    "delta.checkpointPolicy",
    "delta.checkpointRetentionDuration",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.dataSkippingStringPrefixLength",
    "delta.deletedFileRetentionDuration",
    "delta.enableChangeDataCapture",
    "delta.enableChangeDataFeed",
    "delta.enableDeletionVectors",
    "delta.enableExpiredLogCleanup",
    "delta.enableFullRetentionRollback",
    "delta.enableIcebergCompatV1",
    "delta.enableIcebergCompatV2",
    "delta.enableIcebergCompatV3",
    "delta.enableIcebergWriterCompatV1",
    "delta.enableIcebergWriterCompatV3",
    "delta.enableInCommitTimestamps",
    "delta.enableInCommitTimestamps-preview",
    "delta.enableMaterializePartitionColumnsFeature",
    "delta.enableRowTracking",
    "delta.enableTypeWidening",
    "delta.enableVariantShredding",
    "delta.ignoreProtocolDefaults",
    "delta.inCommitTimestampEnablementTimestamp",
    "delta.inCommitTimestampEnablementTimestamp-preview",
    "delta.inCommitTimestampEnablementVersion",
    "delta.inCommitTimestampEnablementVersion-preview",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.managedDataSkippingStatsColumns",
    "delta.minReaderVersion",
    "delta.minWriterVersion",
    "delta.parquet.compression.codec",
    "delta.parquet.format.version",
    "delta.randomPrefixLength",
    "delta.randomizeFilePrefixes",
    "delta.redirectReaderWriter-preview",
    "delta.redirectWriterOnly-preview",
    "delta.requireCheckpointProtectionBeforeVersion",
    "delta.rowTrackingSuspended",
    "delta.sampleRetentionDuration",
    "delta.setTransactionRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
    "delta.writePartitionColumnsToParquet",
    "lakebed.logCompactionInterval",
];

/// Below these the user or a feature names what it likes.
const OPEN: &[&str] = &[
    "delta.catalogManaged.",
    "delta.columnMapping.",
    "delta.compatibility.",
    "delta.constraints.",
    "delta.coordinatedCommits.",
    "delta.dropFeatureTruncateHistory.",
    "delta.feature.",
    "delta.parquet.vorder.",
    "delta.rowTracking.",
    "delta.universalFormat.",
    "delta.workloadBasedColumns.",
];

/// Refuses a name that belongs to the format, or to us, and that nobody knows.
pub(super) fn check(key: &str) -> Result<()> {
    let folded = key.to_ascii_lowercase();
    let is_owned = OWNED.iter().any(|it| folded.starts_with(it));
    let is_open = OPEN.iter().any(|it| key.len() > it.len() && key.starts_with(it));
    if !is_owned || is_open || KNOWN.contains(&key) {
        return Ok(());
    }
    let near = similar(KNOWN.iter().copied(), key).unwrap_or_default();
    let key: String = key.chars().take(80).flat_map(char::escape_debug).collect();
    let what = format!(
        "there is no property `{key}`; the nearest is `{near}`; names of your own do not start \
         with `delta.` or `lakebed.`"
    );
    Err(Error::new(Code::InvalidArgument, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec: PROP-7
    #[test]
    fn misspelt_names_are_told() {
        let refused = [
            ("delta.foo", ""),
            ("delta.enableDeletionVector", "`delta.enableDeletionVectors`"),
            ("delta.appendonly", "`delta.appendOnly`"),
            ("DELTA.appendOnly", "`delta.appendOnly`"),
            ("delta.parquet.compresion.codec", "`delta.parquet.compression.codec`"),
            ("lakebed.logCompactInterval", "`lakebed.logCompactionInterval`"),
            ("delta.constraints.", ""),
            ("delta.", ""),
        ];
        for (key, near) in refused {
            let error = check(key).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains(near), "{error}");
        }
        let taken = [
            "delta.appendOnly",
            "delta.constraints.positive",
            "delta.feature.domainMetadata",
            "delta.columnMapping.mode",
            "delta.universalFormat.enabledFormats",
            "delta.targetFileSize",
            "team",
            "deltas",
            "",
        ];
        taken.iter().for_each(|it| check(it).unwrap());
    }

    /// In order, so that a name is there once, and all of them pass.
    #[test]
    fn the_lists_are_in_order() {
        for list in [KNOWN, OPEN] {
            assert!(list.is_sorted(), "{list:?}");
        }
        KNOWN.iter().for_each(|it| check(it).unwrap());
    }
}
