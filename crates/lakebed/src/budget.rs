//! Memory permits: one pool of bytes, one acquisition per task.

use std::sync::Arc;

use lakebed_log::error::Result;

/// A pool of bytes. A task takes all it needs in one acquisition before its first byte is fetched, so tasks cannot
/// deadlock. First come, first served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<()>);

/// Bytes held; given back on drop.
#[derive(Debug)]
pub struct Permit(());

impl Budget {
    /// A pool of `bytes`.
    pub fn new(_bytes: u64) -> Budget { todo!() }
    /// Waits for `bytes`. More than the whole pool is `memory-exceeded`, naming the number it needs.
    pub async fn acquire(&self, _bytes: u64) -> Result<Permit> { todo!() }
    /// Size of the pool.
    pub fn total(&self) -> u64 { todo!() }
    /// Bytes held now.
    pub fn used(&self) -> u64 { todo!() }
}
