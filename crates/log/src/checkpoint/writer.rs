//! A checkpoint written from what is older and what is newer, a part at a time.
//!
//! A table of a million files has a gigabyte of statistics once they are decoded. So nobody holds
//! them: the older checkpoint passes by in its order, which is the order of the new one, and so do
//! the files of the commits above it, all at once where they are few, else in ranges of the order:
//!
//! ```text
//!   older    [a c e] [g i] [m p r]        a slice at a time, rows that newer commits decided gone
//!   newest   [b h] [z]                    a range at a time, in pieces
//!   written   a b c .. e g h i ..         what comes before the end of both
//! ```
//!
//! Nothing depends on how either was cut: rows are written in batches of one size, so that the same
//! state gives the same bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Schema as ArrowSchema, SchemaRef};
use arrow_select::concat::concat;
use bytes::Bytes;

use super::encoder::Encoder;
use super::files::{Adds, Removes, Shape, unexpired};
use super::{ROW_GROUP_ROWS, arrow_failed, batch, field, small};
use crate::batch::LogBatch;
use crate::error::{Error, Result};
use crate::files::{Above, Chunk, FileList, FileSum, TombstoneChunk};
use crate::state::Head;
use crate::time::Timestamp;

/// Rows handed to Parquet at once.
pub(super) const BATCH_ROWS: usize = 1_024;

/// Rows of one piece of what is newest: so few that looking at them again for the next slice costs
/// little.
const PIECE_ROWS: usize = 256;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was written is of no use once a slice was out of order"]
pub enum Pushed {
    /// All that was pushed is written, or will be: the next slice.
    Merged,
    /// Something of the slice waits for the next range of what is newest.
    Waits,
    /// The slice comes before one that was pushed, or is itself not in order.
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
    parquet: Encoder,
    /// What the commits above the older checkpoint decide.
    above: Arc<dyn Above>,
    /// Their files, a range that was not looked at yet.
    range: Vec<Chunk>,
    /// A range whose place has come, in pieces, in order.
    pieces: VecDeque<Vec<Chunk>>,
    piece_rows: usize,
    /// Will there be no other range?
    is_last: bool,
    /// What of the last slice waits for the next range.
    slice: Option<Chunk>,
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
    /// Begins the checkpoint of a version, of which `newest` gives all commits above the older
    /// checkpoint; all there are, if there is none. They are wide.
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
        let mut writer = Writer::begin(head, Arc::new(newest.clone()), now, group_rows)?;
        newest.tombstones().iter().for_each(|it| writer.add_tombstones(it));
        // Oldest first, as the list goes.
        writer.range = newest.chunks().iter().rev().cloned().collect();
        writer.sum = newest.sum();
        writer.is_last = true;
        Ok(writer)
    }

    /// Begins the checkpoint of a version whose newest commits come in ranges of the order.
    ///
    /// # Errors
    ///
    /// As [`Writer::new`].
    pub fn of_ranges(head: &Head, above: Arc<dyn Above>, now: Timestamp) -> Result<Writer> {
        Writer::begin(head, above, now, ROW_GROUP_ROWS)
    }

    pub(super) fn begin(
        head: &Head,
        above: Arc<dyn Above>,
        now: Timestamp,
        group_rows: usize,
    ) -> Result<Writer> {
        let shape = Arc::new(Shape::new(head)?);
        let small = small::actions(head, now)?;
        let mut fields = small.fields();
        fields.push(field("add", DataType::Struct(Adds::new(&shape, &[])?.fields()?)));
        fields.push(field("remove", DataType::Struct(Removes::new(&[])?.fields()?)));
        let schema: SchemaRef = Arc::new(ArrowSchema::new(fields));
        let mut parquet = Encoder::new(schema.clone(), group_rows)?;
        parquet.write(&batch(&schema, small.columns, small.rows)?)?;
        Ok(Writer {
            shape,
            head: head.clone(),
            now,
            schema,
            parquet,
            above,
            range: Vec::new(),
            pieces: VecDeque::new(),
            piece_rows: PIECE_ROWS.min(group_rows),
            is_last: false,
            slice: None,
            last: None,
            tombstones: Vec::new(),
            pending: Vec::new(),
            pending_rows: 0,
            actions: u64::try_from(small.rows).unwrap_or(u64::MAX),
            adds: 0,
            sum: FileSum::default(),
        })
    }

    /// Takes tombstones that nothing newer has decided.
    pub fn add_tombstones(&mut self, chunk: &TombstoneChunk) {
        self.tombstones.push(unexpired(chunk, &self.head, self.now));
    }

    /// Takes the next rows of the older checkpoint, decoded wide. While something waits there may
    /// be no other slice.
    ///
    /// # Errors
    ///
    /// As [`render`](super::render).
    pub fn push(&mut self, older: LogBatch) -> Result<Pushed> {
        if self.slice.is_some() {
            return Err(Error::internal("a slice is pushed while another one waits"));
        }
        if let Some(removes) = older.removes {
            let kept = self.above.undecided_removes(removes);
            self.add_tombstones(&kept);
        }
        let Some(adds) = older.adds else { return Ok(Pushed::Merged) };
        let slice = self.above.undecided(adds);
        if slice.live.is_empty() {
            return Ok(Pushed::Merged);
        }
        self.sum = self.sum.and(FileSum::of(&slice));
        let at = |row: Option<u32>| Chunk::new(Arc::clone(&slice.rows), row.into_iter().collect());
        let (first, last) = (at(slice.live.min()), at(slice.live.max()).dense()?);
        if let Some(before) = self.last.replace(last) {
            let adds = [before, first];
            if Adds::new(&self.shape, &adds)?.order().next().is_none_or(|it| it.0 != 0) {
                return Ok(Pushed::OutOfOrder);
            }
        }
        self.slice = Some(slice);
        self.merge()
    }

    /// Takes the next range of what is newest: all of it comes after the ranges before.
    ///
    /// # Errors
    ///
    /// As [`Writer::push`].
    pub fn push_range(&mut self, files: Chunk) -> Result<Pushed> {
        self.sum = self.sum.and(FileSum::of(&files));
        self.range.push(files);
        match self.slice {
            Some(_) => self.merge(),
            None => Ok(Pushed::Merged),
        }
    }

    /// There is no other range.
    ///
    /// # Errors
    ///
    /// As [`Writer::push`].
    pub fn end_ranges(&mut self) -> Result<Pushed> {
        self.is_last = true;
        self.merge()
    }

    /// There is nothing older: writes all of the ranges that came so far.
    ///
    /// # Errors
    ///
    /// As [`Writer::push`].
    pub fn write_ranges(&mut self) -> Result<()> {
        let pieces = std::mem::take(&mut self.pieces).into_iter().flatten();
        let chunks: Vec<Chunk> = pieces.chain(self.range.drain(..)).collect();
        let shape = Arc::clone(&self.shape);
        let adds = Adds::new(&shape, &chunks)?;
        self.write_adds(&adds, 0..adds.len())
    }

    /// Writes what of the slice and of the range comes before the end of both.
    fn merge(&mut self) -> Result<Pushed> {
        let shape = Arc::clone(&self.shape);
        while let Some(slice) = self.slice.take() {
            if self.pieces.is_empty() && !self.range.is_empty() {
                let range = std::mem::take(&mut self.range);
                self.pieces = Adds::new(&shape, &range)?.pieces(&range, self.piece_rows).into();
            }
            let piece = self.pieces.pop_front();
            if piece.is_none() && !self.is_last {
                self.slice = Some(slice);
                return Ok(Pushed::Waits);
            }
            let chunks: Vec<Chunk> =
                [slice].into_iter().chain(piece.into_iter().flatten()).collect();
            let adds = Adds::new(&shape, &chunks)?;
            if !adds.order().filter(|it| it.0 == 0).is_sorted() {
                return Ok(Pushed::OutOfOrder);
            }
            let end_of = |older: bool| adds.order().rposition(|it| (it.0 == 0) == older);
            let end = match (end_of(true), end_of(false)) {
                (Some(older), Some(newest)) => older.min(newest) + 1,
                _ => adds.len(),
            };
            self.write_adds(&adds, 0..end)?;
            let (slice, piece): (Vec<Chunk>, Vec<Chunk>) = (
                adds.pick(&chunks, |at, chunk| end <= at && chunk == 0),
                adds.pick(&chunks, |at, chunk| end <= at && chunk != 0),
            );
            self.slice = slice.into_iter().next();
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        Ok(Pushed::Merged)
    }

    /// What is encoded so far and was not taken yet.
    ///
    /// # Errors
    ///
    /// `internal` if Parquet has kept some of it.
    pub fn take(&mut self) -> Result<Bytes> {
        self.parquet.take()
    }

    /// Writes what is left, the tombstones, and the footer.
    ///
    /// # Errors
    ///
    /// As [`Writer::push`].
    pub fn finish(mut self) -> Result<Written> {
        if self.slice.is_some() {
            return Err(Error::internal("the checkpoint ends while something waits"));
        }
        self.write_ranges()?;
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
        let Writer { parquet, actions, sum, .. } = self;
        Ok(Written { bytes: parquet.finish()?, actions, sum })
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
        self.parquet.write(&batch)
    }
}
