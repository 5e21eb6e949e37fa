//! Typed view of `configuration`; unknown keys are kept as they are.

use std::collections::BTreeMap;

use crate::error::Result;

/// Typed view of a table's properties, with the protocol's defaults.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the property of that name")]
pub struct Properties {
    pub append_only: bool,
    pub checkpoint_interval: u64,
    pub checkpoint_write_stats_as_json: bool,
    pub checkpoint_write_stats_as_struct: bool,
    /// Milliseconds.
    pub log_retention_millis: i64,
    /// Milliseconds.
    pub deleted_file_retention_millis: i64,
    pub enable_expired_log_cleanup: bool,
    /// -1 is all.
    pub data_skipping_num_indexed_cols: i64,
    /// Paths of names.
    pub data_skipping_stats_columns: Option<Vec<Vec<String>>>,
    pub data_skipping_string_prefix_length: usize,
    pub isolation_level: IsolationLevel,
    pub enable_change_data_feed: bool,
    pub enable_deletion_vectors: bool,
    pub enable_in_commit_timestamps: bool,
    pub in_commit_timestamp_enablement: Option<(u64, i64)>,
    pub enable_row_tracking: bool,
    pub enable_type_widening: bool,
    /// `none`, `name`, `id`.
    pub column_mapping_mode: String,
    pub checkpoint_policy_v2: bool,
    /// Name and SQL of each CHECK constraint.
    pub constraints: Vec<(String, String)>,
    /// Milliseconds.
    pub set_transaction_retention_millis: Option<i64>,
    /// Bytes, `delta.targetFileSize`.
    pub target_file_bytes: Option<u64>,
}

/// How strictly concurrent commits are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Reads see what serial execution would show.
    #[default]
    Serializable,
    /// Blind appends of others may be ordered before us.
    WriteSerializable,
    /// Only writes conflict.
    SnapshotIsolation,
}

impl Properties {
    /// Lenient where reading is not harmed: an unreadable retention is an error only in [`Properties::check`].
    pub fn read(_configuration: &BTreeMap<String, String>) -> Properties { todo!() }
    /// Strict: what a writer needs to understand. `invalid-metadata` names key and value.
    pub fn check(_configuration: &BTreeMap<String, String>) -> Result<()> { todo!() }
    /// Strict for properties a user sets through us: also refuses retentions under an hour (`invalid-argument`).
    pub fn check_set(_configuration: &BTreeMap<String, String>) -> Result<()> { todo!() }
}
