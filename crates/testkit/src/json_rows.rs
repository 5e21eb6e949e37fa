//! Data files as rows in JSON, so that a simulated run costs milliseconds: the second data file
//! codec.

use arrow_array::RecordBatch;
use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use arrow_schema::SchemaRef;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lakebed::codec::{Codec, Deletions, FileOptions, FileWriter, Source, Written};
use lakebed::env::{BoxFuture, Env};
use lakebed::op::Op;
use lakebed::store::{Store, Upload};
use lakebed::{Code, Error, Result};
use lakebed_log::stats::Stats;

/// One row a line. Everything is held in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonRows;

struct Writer {
    upload: Box<dyn Upload>,
    lines: Vec<u8>,
    rows: u64,
}

impl Codec for JsonRows {
    fn extension(&self, _options: &FileOptions) -> String {
        "json".to_string()
    }

    fn read(
        &self,
        _env: &Env,
        op: &Op,
        store: &Store,
        source: Source,
        deleted: Deletions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (op, store) = (op.clone(), store.clone());
        let batches = async move {
            let deleted = deleted.await;
            // Nothing here is taken from the budget.
            source.turn.pass();
            let source = source.leaving_out(deleted?);
            let bytes = store.get(&op, &source.key, u64::MAX).await?;
            let reader = ReaderBuilder::new(source.schema.to_arrow())
                .with_batch_size(source.batch_rows.max(1))
                .build(bytes.as_ref())
                .map_err(broken)?;
            let mut rows = 0..0u64;
            let mut batches = Vec::new();
            for batch in reader {
                let batch = batch.map_err(broken)?;
                rows = rows.end..rows.end + batch.num_rows() as u64;
                batches.push(source.wanted(rows.clone(), batch)?);
            }
            source.check_rows(rows.end)?;
            Ok(batches)
        };
        let flat = |it: Result<Vec<RecordBatch>>| match it {
            Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        };
        stream::once(batches).map(flat).flatten().boxed()
    }

    fn write(
        &self,
        _env: &Env,
        _op: &Op,
        upload: Box<dyn Upload>,
        _schema: SchemaRef,
        _options: &FileOptions,
    ) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(Writer { upload, lines: Vec::new(), rows: 0 }))
    }
}

impl FileWriter for Writer {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut writer = LineDelimitedWriter::new(&mut self.lines);
            writer.write(&batch).map_err(broken)?;
            writer.finish().map_err(broken)?;
            self.rows += batch.num_rows() as u64;
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        self.lines.len() as u64
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<Written>> {
        Box::pin(async move {
            self.upload.write(std::mem::take(&mut self.lines).into()).await?;
            let (rows, recorded) = (self.rows, Stats::default());
            Ok(Written { size: self.upload.finish().await?, rows, recorded })
        })
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.upload.abort()
    }
}

fn broken(error: arrow_schema::ArrowError) -> Error {
    Error::new(Code::CorruptData, "rows in JSON do not fit").because(error)
}
