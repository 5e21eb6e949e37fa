//! stub
use crate::batch::{LogBatch, Width};
use crate::error::Result;
use bytes::Bytes;
pub(super) fn from_bytes(_bytes: Bytes, _width: Width) -> Result<LogBatch> {
    todo!()
}
/// stub
pub fn decode_parquet() {}
/// stub
pub fn parquet_ranges() {}
