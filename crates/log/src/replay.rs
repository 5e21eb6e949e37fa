//! Folds `LogBatch`es, newest first, into a `TableState`.

use crate::batch::{LogBatch, Width};
use crate::error::Result;
use crate::state::{Head, TableState};
use crate::version::Version;

/// The fold. Feed the newest file first; the first action seen for a key decides it.
#[derive(Debug)]
pub struct Replay {
    _private: (),
}

impl Replay {
    /// For one version, at one width.
    pub fn new(_version: Version, _width: Width) -> Replay { todo!() }
    /// Takes the next older log file. `limit-exceeded` past `u32::MAX` files or rows.
    pub fn feed(&mut self, _batch: LogBatch) -> Result<()> { todo!() }
    /// Are protocol and metadata known, so that older commits add nothing to the head but txns and domains?
    pub fn has_head(&self) -> bool { todo!() }
    /// The head alone. `invalid-protocol`, `invalid-metadata` if there is none.
    pub fn finish_head(self) -> Result<Head> { todo!() }
    /// All of the version. Two live rows of one path are `invalid-action`.
    pub fn finish(self) -> Result<TableState> { todo!() }
}
