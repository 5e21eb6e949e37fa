//! A plan to record batches.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use lakebed_log::error::Result;
use lakebed_log::scan::ScanPlan;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// Batches of a plan, in plan order. Dropping it stops the reading.
pub struct Batches {
    schema: SchemaRef,
    stream: BoxStream<'static, Result<RecordBatch>>,
}

/// Reads a plan: partition constants, null columns, the filter on every row, the limit. Files are read ahead.
pub fn read(_env: &Env, _op: &Op, _store: &Store, _plan: Arc<ScanPlan>) -> Batches { todo!() }

impl Batches {
    /// From a stream whose shape is known.
    pub(crate) fn new(schema: SchemaRef, stream: BoxStream<'static, Result<RecordBatch>>) -> Batches {
        Batches { schema, stream }
    }
    /// Shape of the batches.
    pub fn schema(&self) -> &SchemaRef { &self.schema }
    /// All of them.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> { let _ = self.stream; todo!() }
}

impl futures::Stream for Batches {
    type Item = Result<RecordBatch>;
    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
