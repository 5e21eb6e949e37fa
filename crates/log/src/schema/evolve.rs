//! Evolution.
use super::*;
/// .
pub fn evolve(_table: &Schema, _incoming: &Schema) -> Result<Schema> {
    todo!()
}
