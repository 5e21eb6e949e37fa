//! A checkpoint written from the one before it, a part at a time.
//!
//! A table of a million files has a gigabyte of statistics once they are decoded, and the next
//! checkpoint repeats nearly all of them. So nobody holds them: the older checkpoint passes by in
//! its order, which is the order of the new one, and the few files of the commits above it are
//! merged in:
//!
//! ```text
//!   older    [a c e] [g i] [m p r]        a slice at a time, rows that newer commits decided gone
//!   newest   b h z                        ordered once, pieces of it as their place comes
//!   written   a b c .. e g h i ..         up to the last row of the slice, which waits: nothing
//!                                         of the next slice may come before it
//! ```
//!
//! Nothing depends on how the older one was sliced: rows are written in batches of one size, so
//! that the same state gives the same bytes.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Schema as ArrowSchema, SchemaRef};
use arrow_select::concat::concat;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::files::{Adds, Piece, Removes, Shape, unexpired};
use super::{ROW_GROUP_ROWS, arrow_failed, batch, field, parquet_failed, small};
use crate::batch::LogBatch;
use crate::error::{Error, Result};
use crate::files::{Chunk, FileList, FileSum, TombstoneChunk};
use crate::state::Head;
use crate::time::Timestamp;

/// Rows of one page: of a path column some hundred kilobytes, which is what a selective reader
/// fetches at least.
const PAGE_ROWS: usize = 2_048;

/// Rows handed to Parquet at once.
pub(super) const BATCH_ROWS: usize = 1_024;

/// Who wrote the file, in the form that Parquet readers parse.
const CREATED_BY: &str = concat!("Lakebed version ", env!("CARGO_PKG_VERSION"));

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was written is of no use once a slice was out of order"]
pub enum Pushed {
    /// Its rows are written, or will be.
    Merged,
    /// It comes before a slice that was pushed: the older checkpoint is not in order.
    OutOfOrder,
}

/// The end of a checkpoint.
#[derive(Clone, Debug)]
pub struct Written {
    /// What was not taken yet.
    pub bytes: Bytes,
    /// Actions in all of it.
    pub actions: u64,
    /// Its live files.
    pub sum: FileSum,
}

/// A checkpoint being written.
pub struct Writer {
    shape: Arc<Shape>,
    head: Head,
    now: Timestamp,
    schema: SchemaRef,
    sink: Sink,
    parquet: ArrowWriter<Sink>,
    /// Files of the commits above the older checkpoint, as a whole: what is older is held against
    /// them.
    newest: FileList,
    /// Those whose place has not come yet, in order; all of them at once until the first slice.
    waiting: VecDeque<Piece>,
    /// Those that stand before something of the older checkpoint, or may, and are not written yet.
    ahead: Vec<Chunk>,
    is_ordered: bool,
    piece_rows: usize,
    /// The last row of the older checkpoint so far.
    last: Option<Chunk>,
    tombstones: Vec<TombstoneChunk>,
    pending: Vec<StructArray>,
    pending_rows: usize,
    actions: u64,
    adds: u64,
    sum: FileSum,
}

impl Writer {
    /// Begins the checkpoint of a version, which `newest` gives all commits of that are above the
    /// older checkpoint; all there are, if there is none. They are wide.
    ///
    /// # Errors
    ///
    /// `internal` if Parquet does not take the columns.
    pub fn new(head: &Head, newest: &FileList, now: Timestamp) -> Result<Writer> {
        Writer::in_groups(head, newest, now, ROW_GROUP_ROWS)
    }

    /// The same with so many rows in each row group.
    pub(crate) fn in_groups(
        head: &Head,
        newest: &FileList,
        now: Timestamp,
        group_rows: usize,
    ) -> Result<Writer> {
        let shape = Arc::new(Shape::new(head)?);
        let small = small::actions(head, now)?;
        let mut fields = small.fields();
        fields.push(field("add", DataType::Struct(Adds::new(&shape, &[])?.fields()?)));
        fields.push(field("remove", DataType::Struct(Removes::new(&[])?.fields()?)));
        let schema: SchemaRef = Arc::new(ArrowSchema::new(fields));
        let sink = Sink::default();
        let mut parquet = parquet_writer(sink.clone(), schema.clone(), group_rows)?;
        parquet.write(&batch(&schema, small.columns, small.rows)?).map_err(parquet_failed)?;
        let tombstones = newest.tombstones().iter().map(|it| unexpired(it, head, now)).collect();
        Ok(Writer {
            shape,
            head: head.clone(),
            now,
            schema,
            sink,
            parquet,
            newest: newest.clone(),
            // Oldest first, as the list goes.
            waiting: VecDeque::new(),
            ahead: newest.chunks().iter().rev().cloned().collect(),
            is_ordered: false,
            piece_rows: BATCH_ROWS.min(group_rows),
            last: None,
            tombstones,
            pending: Vec::new(),
            pending_rows: 0,
            actions: u64::try_from(small.rows).unwrap_or(u64::MAX),
            adds: 0,
            sum: newest.sum(),
        })
    }

    /// Takes the next rows of the older checkpoint, decoded wide.
    ///
    /// # Errors
    ///
    /// As [`render`](super::render).
    pub fn push(&mut self, older: LogBatch) -> Result<Pushed> {
        if let Some(removes) = older.removes {
            let kept = self.newest.undecided_removes(removes);
            self.tombstones.push(unexpired(&kept, &self.head, self.now));
        }
        let Some(adds) = older.adds else { return Ok(Pushed::Merged) };
        let slice = self.newest.undecided(adds);
        if slice.live.is_empty() {
            return Ok(Pushed::Merged);
        }
        self.sum = self.sum.and(FileSum::of(&slice));
        self.call_up(&slice)?;
        let mut chunks: Vec<Chunk> = self.last.take().into_iter().collect();
        let (had_last, older) = (!chunks.is_empty(), chunks.len() + 1);
        chunks.push(slice);
        chunks.append(&mut self.ahead);
        self.merge(chunks, older, had_last)
    }

    /// What of the newest files may come before the last row of a slice.
    fn call_up(&mut self, slice: &Chunk) -> Result<()> {
        let shape = Arc::clone(&self.shape);
        if !self.is_ordered {
            self.is_ordered = true;
            let newest = std::mem::take(&mut self.ahead);
            self.waiting = Adds::new(&shape, &newest)?.pieces(&newest, self.piece_rows).into();
        }
        let last = slice.live.iter().next_back().into_iter().collect();
        let last = Chunk::new(Arc::clone(&slice.rows), last);
        while let Some(piece) = self.waiting.front() {
            let both = [last.clone()].into_iter().chain(piece.first.clone());
            let both: Vec<Chunk> = both.collect();
            if Adds::new(&shape, &both)?.order().next().is_some_and(|it| it.0 == 0) {
                break;
            }
            self.ahead.extend(self.waiting.pop_front().into_iter().flat_map(|it| it.rows));
        }
        Ok(())
    }

    /// Orders the chunks, of which the first ones are of the older checkpoint, and writes what
    /// comes before the last row of those.
    fn merge(&mut self, chunks: Vec<Chunk>, older: usize, had_last: bool) -> Result<Pushed> {
        let shape = Arc::clone(&self.shape);
        let adds = Adds::new(&shape, &chunks)?;
        let is_older = |it: &(usize, usize)| it.0 < older;
        let first = adds.order().find(is_older);
        if had_last && first.is_some_and(|it| it.0 != 0) {
            return Ok(Pushed::OutOfOrder);
        }
        // What was called up is what comes before the last row as it stood.
        let (slice, rows) = (older.saturating_sub(1), chunks.get(older.saturating_sub(1)));
        let last = rows.and_then(|it| usize::try_from(it.live.len()).ok()?.checked_sub(1));
        if adds.order().rfind(is_older) != last.map(|it| (slice, it)) {
            return Ok(Pushed::OutOfOrder);
        }
        let after = adds.order().rev().take_while(|it| !is_older(it)).count();
        let end = adds.len().saturating_sub(after);
        let last = end.saturating_sub(1);
        self.write_adds(&adds, 0..last)?;
        let waiting = adds.pick(&chunks, |at, _| at == last);
        let ahead = adds.pick(&chunks, |at, _| end <= at);
        (self.last, self.ahead) = (waiting.into_iter().next(), ahead);
        Ok(Pushed::Merged)
    }

    /// What is encoded so far and was not taken yet.
    pub fn take(&mut self) -> Bytes {
        self.sink.take()
    }

    /// Writes what is left, the tombstones, and the footer.
    ///
    /// # Errors
    ///
    /// As [`Writer::push`].
    pub fn finish(mut self) -> Result<Written> {
        let mut chunks: Vec<Chunk> = self.last.take().into_iter().collect();
        chunks.append(&mut self.ahead);
        chunks.extend(std::mem::take(&mut self.waiting).into_iter().flat_map(|it| it.rows));
        let shape = Arc::clone(&self.shape);
        let adds = Adds::new(&shape, &chunks)?;
        self.write_adds(&adds, 0..adds.len())?;
        self.flush("add")?;
        if self.adds != self.sum.files {
            return Err(Error::internal("the files of the checkpoint do not add up"));
        }
        let removes = Removes::new(&std::mem::take(&mut self.tombstones))?;
        let mut at = 0;
        while at < removes.len() {
            let end = removes.len().min(at + BATCH_ROWS);
            self.pending.push(removes.rows(at..end)?);
            self.pending_rows += end - at;
            self.flush("remove")?;
            at = end;
        }
        let Writer { parquet, sink, actions, sum, .. } = self;
        parquet.close().map_err(parquet_failed)?;
        Ok(Written { bytes: sink.take(), actions, sum })
    }

    fn write_adds(&mut self, adds: &Adds<'_>, range: std::ops::Range<usize>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + BATCH_ROWS.saturating_sub(self.pending_rows).max(1));
            self.pending.push(adds.rows(at..end)?);
            self.pending_rows += end - at;
            self.adds += u64::try_from(end - at).unwrap_or(u64::MAX);
            at = end;
            if BATCH_ROWS <= self.pending_rows {
                self.flush("add")?;
            }
        }
        Ok(())
    }

    /// Hands the pending rows to Parquet.
    fn flush(&mut self, kind: &str) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        let parts: Vec<&dyn Array> = pending.iter().map(|it| it as &dyn Array).collect();
        let whole = match pending.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            _ => StructArray::from(concat(&parts).map_err(arrow_failed)?.to_data()),
        };
        self.actions += u64::try_from(rows).unwrap_or(u64::MAX);
        let batch: RecordBatch = batch(&self.schema, vec![(kind, whole)], rows)?;
        self.parquet.write(&batch).map_err(parquet_failed)
    }
}

/// Encoded bytes that wait to be taken.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Snappy and the first Parquet version, because every reader of checkpoints knows them. Paths and
/// statistics are nearly all distinct: a dictionary would be built and thrown away.
pub(super) fn parquet_writer<W: io::Write + Send>(
    sink: W,
    schema: SchemaRef,
    group_rows: usize,
) -> Result<ArrowWriter<W>> {
    let column = |path: &[&str]| ColumnPath::new(path.iter().map(ToString::to_string).collect());
    let properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_string())
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group_rows))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS / 2)
        .set_column_statistics_enabled(column(&["add", "stats"]), EnabledStatistics::None)
        .set_column_dictionary_enabled(column(&["add", "path"]), false)
        .set_column_dictionary_enabled(column(&["add", "stats"]), false)
        .set_column_dictionary_enabled(column(&["remove", "path"]), false)
        .build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(sink, schema, options).map_err(parquet_failed)
}
