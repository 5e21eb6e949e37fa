//! `TableState` to the bytes of a classic checkpoint, and the hint.

use bytes::Bytes;

use crate::error::Result;
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

/// Renders a classic checkpoint of a wide state: protocol, metadata, txns, domains, adds ordered (by partition values,
/// then by the minimum of the first column with statistics, then path), tombstones younger than the retention. Statistics
/// as JSON and as struct as the properties say; `partitionValues_parsed` beside the struct. Deterministic. `now` decides
/// which tombstones and txns expired.
pub fn render(_state: &TableState, _now: Timestamp) -> Result<Checkpoint> { todo!() }
