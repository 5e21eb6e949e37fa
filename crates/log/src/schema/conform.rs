//! Casts.
use super::*;
use arrow_array::RecordBatch;
/// .
pub fn conform(
    _batch: &RecordBatch,
    _schema: &Schema,
    _options: ArrowOptions,
) -> Result<RecordBatch> {
    todo!()
}
