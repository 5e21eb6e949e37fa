//! Writes checkpoint, hint and checksum. Their failure never fails the commit.

use lakebed_log::error::Result;
use lakebed_log::state::TableState;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// Writes a classic checkpoint of a wide state, reads it back and counts, then the hint (never back to an older version).
pub async fn checkpoint(_env: &Env, _op: &Op, _store: &Store, _state: &TableState) -> Result<()> { todo!() }

/// Writes the checksum of a version if absent. One PUT.
pub async fn checksum(_op: &Op, _store: &Store, _checksum: &lakebed_log::checksum::Checksum) -> Result<()> { todo!() }
