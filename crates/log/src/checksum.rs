//! The version checksum (`.crc`): compute, advance by one commit, compare.

use crate::error::Result;
use crate::state::{Head, TableState};

/// Contents of a `.crc` file: what the protocol requires.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is the field of that name")]
pub struct Checksum {
    pub txn_id: Option<String>,
    pub table_size_bytes: i64,
    pub num_files: i64,
    pub in_commit_timestamp: Option<i64>,
    /// As in the head.
    pub head: Head,
}

impl Checksum {
    /// From a whole state.
    pub fn of(_state: &TableState) -> Checksum { todo!() }
    /// The next version's, from this one and the counts of one commit.
    pub fn advance(&self, _head: &Head, _files_delta: i64, _bytes_delta: i64) -> Option<Checksum> { todo!() }
    /// The JSON document.
    pub fn to_json(&self) -> String { todo!() }
    /// `(tableSizeBytes, numFiles, txnId)` of a stored one; `None` if it makes no sense: checksums are lenient.
    pub fn parse_counts(_bytes: &[u8]) -> Option<(i64, i64, Option<String>)> { todo!() }
    /// Does a stored checksum agree with the state? `checksum-mismatch` says in what.
    pub fn compare(_bytes: &[u8], _state: &TableState) -> Result<()> { todo!() }
}
