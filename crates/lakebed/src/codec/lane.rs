//! Columns that are decoded together.
//!
//! A column chunk is read in one of two forms. Whole: the library walks its pages and skips what is
//! not picked. Or in pages: only those with picked rows are fetched, and laid side by side they are
//! a column chunk again, of a file that has this column alone. So the library never sees a page
//! index, and what it decodes was checked page by page.
//!
//! ```text
//!   in the file   | dictionary | page 0 | page 1 | page 2 | page 3 |       rows of 0 .. 3
//!   fetched       | dictionary |        | page 1 |        | page 3 |
//!   read          | dictionary | page 1 | page 3 |                         rows of 1, 3
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, FieldRef, Schema};
use lakebed_log::error::{Code, Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ColumnChunkMetaData;

use super::draft::range;
use super::group::Pace;
use super::index::{self, Pages};
use super::live::{Live, Shared};
use super::logical::{self, Place};
use super::page::{self, Text, Walked};
use super::pick::{Cursor, Picks};
use super::reader::{File, bare, corrupt, damaged, undecodable};
use super::sparse::Sparse;
use super::wanted;

/// Text of a batch that is not cut further.
pub(super) const TEXT_BYTES: usize = 64 << 20;

/// Metadata of no more column chunks than this is copied.
const COPIED_MAX: usize = 1_000;

/// How a leaf column of a row group is read.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Whole(Range<u64>),
    /// Some of the pages.
    Paged(Arc<Pages>, Vec<usize>),
}

impl Form {
    /// The cheaper form for these rows.
    pub(super) fn new(file: &File, at: usize, leaf: usize, picks: &Picks) -> Result<Form> {
        let column = file.column(at, leaf)?;
        let whole = range(column, leaf, file.job.source.size)?;
        let Some(pages) = file.index.pages(at, leaf) else { return Ok(Form::Whole(whole)) };
        let wanted = pages.of(picks);
        let bytes = wanted.iter().filter_map(|it| pages.bytes.get(*it));
        let bytes: u64 = bytes.map(|it| it.end - it.start).sum();
        // Most of it is had more cheaply in one piece.
        let most = (whole.end - whole.start) / 5 * 4;
        match most < bytes {
            true => Ok(Form::Whole(whole)),
            false => Ok(Form::Paged(Arc::clone(pages), wanted)),
        }
    }

    /// What has to be fetched.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        match self {
            Form::Whole(range) => vec![range.clone()],
            Form::Paged(pages, wanted) => {
                let mut out: Vec<Range<u64>> = Vec::new();
                let bytes = wanted.iter().filter_map(|it| pages.bytes.get(*it));
                for range in std::iter::once(&pages.head).chain(bytes).filter(|it| !it.is_empty()) {
                    match out.last_mut() {
                        Some(last) if last.end == range.start => last.end = range.end,
                        _ => out.push(range.clone()),
                    }
                }
                out
            }
        }
    }

    /// Looks at the pages.
    pub(super) fn walk(&self, sparse: &Sparse) -> Result<Walked> {
        let mut walked = Walked::default();
        match self {
            Form::Whole(range) => walked.run(sparse, range.clone())?,
            Form::Paged(pages, wanted) => {
                walked.head(sparse, pages.head.clone())?;
                for page in wanted {
                    if let (Some(at), Some(rows)) = (pages.bytes.get(*page), pages.rows.get(*page))
                    {
                        walked.one(sparse, at, rows.len())?;
                    }
                }
            }
        }
        Ok(walked)
    }
}

/// A column chunk made of some pages of one.
pub(super) struct Patch {
    pub(super) column: ColumnChunkMetaData,
    pub(super) sparse: Arc<Sparse>,
    pub(super) rows: usize,
    pub(super) picks: Picks,
}

impl Patch {
    /// Lays the wanted pages side by side.
    pub(super) fn new(
        column: &ColumnChunkMetaData,
        pages: &Pages,
        wanted: &[usize],
        picks: &Picks,
        sparse: &Sparse,
    ) -> Result<Patch> {
        let (mut parts, mut at) = (Vec::new(), 0u64);
        let (mut picked, mut rows) = (Vec::new(), 0usize);
        let mut lay = |range: &Range<u64>| -> Result<()> {
            let here = sparse.parts(range, at);
            parts.append(&mut here.ok_or_else(|| corrupt("a column is cut short"))?);
            at += range.end - range.start;
            Ok(())
        };
        let head = pages.head.end - pages.head.start;
        if !pages.head.is_empty() {
            lay(&pages.head)?;
        }
        let mut ranges = picks.ranges().iter().peekable();
        for page in wanted {
            let (Some(bytes), Some(held)) = (pages.bytes.get(*page), pages.rows.get(*page)) else {
                return Err(Error::internal("a page is gone"));
            };
            lay(bytes)?;
            while let Some(range) = ranges.peek() {
                let (start, end) = (range.start.max(held.start), range.end.min(held.end));
                if start < end {
                    picked.push(rows + start - held.start..rows + end - held.start);
                }
                if held.end < range.end {
                    break;
                }
                ranges.next();
            }
            rows += held.len();
        }
        let len = |it: u64| i64::try_from(it).map_err(|_| corrupt("a column is too large"));
        let dictionary = column.dictionary_page_offset().is_some() && 0 < head;
        let column = column
            .clone()
            .into_builder()
            .set_dictionary_page_offset(dictionary.then_some(0))
            .set_data_page_offset(if dictionary { len(head)? } else { 0 })
            .set_total_compressed_size(len(at)?)
            .set_num_values(i64::try_from(rows).map_err(|_| corrupt("too many rows"))?)
            .build()
            .map_err(damaged)?;
        let sparse = Arc::new(sparse.patched(at, parts));
        Ok(Patch { column, sparse, rows, picks: Picks::new(picked) })
    }
}

/// Columns of a part, in the order of its places, for some rows.
pub(super) struct Piece {
    pub(super) rows: usize,
    pub(super) arrays: Vec<ArrayRef>,
}

/// A reader of some columns of the picked rows.
pub(super) struct Lane {
    /// Which queue its pieces go to.
    pub(super) slot: usize,
    pub(super) reader: ParquetRecordBatchReader,
    /// What the reader reads from.
    sparse: Arc<Sparse>,
    /// Columns of the table with their place in the reader, converted here.
    places: Vec<Place>,
    /// Text that has the table's form as it comes.
    ready: Vec<Place>,
    /// Text that comes as bytes.
    raw: Vec<Place>,
    /// Hands out the positions of the rows.
    positions: bool,
    /// Position in the file of the row group's first row.
    first: u64,
    /// Deleted rows are not among those that are picked.
    exact: bool,
    left: Cursor,
    lives: Arc<Shared>,
}

/// What is common to the lanes of a row group.
pub(super) struct Ground<'a> {
    pub(super) file: &'a File,
    pub(super) at: usize,
    pub(super) first: u64,
    pub(super) rows: usize,
    pub(super) picks: &'a Picks,
    pub(super) exact: bool,
    pub(super) sparse: &'a Arc<Sparse>,
    /// Top-level columns of the file with text of which no batch grows large.
    pub(super) texts: BTreeMap<usize, Text>,
    /// How far the lanes go at once.
    pub(super) pace: Pace,
    /// Wanted rows of the batches.
    pub(super) lives: Arc<Shared>,
}

impl Ground<'_> {
    /// Text of which rows are left out would be checked twice: before, by the library, and after.
    /// So it comes as bytes, and what is wrong with a row that goes is of no interest.
    pub(super) fn raw(&self, text: Text, column: &ColumnChunkMetaData) -> Text {
        let metadata = self.file.metadata.metadata();
        let columns = metadata.file_metadata().schema_descr().num_columns();
        let small = metadata.num_row_groups().saturating_mul(columns) <= COPIED_MAX;
        let flat = column.column_path().parts().len() == 1;
        match text {
            Text::Straight if !self.exact && small && flat && page::is_annotated(column) => {
                Text::Raw
            }
            text => text,
        }
    }

    /// A lane of whole columns: `mine` are places among the decoded columns, ascending. The lane
    /// with `rest` has the columns that the file lacks, and positions, too.
    pub(super) fn whole(&self, slot: usize, mine: &[usize], rest: Option<Rest>) -> Result<Lane> {
        let file = self.file;
        let leaves = mine.iter().filter_map(|it| file.choice.decoded.get(*it)).flatten().copied();
        let metadata = file.hinted(&self.texts)?;
        let mask = ProjectionMask::leaves(metadata.parquet_schema(), leaves);
        let sparse = self.sparse.as_ref().clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, metadata)
            .with_projection(mask)
            .with_row_groups(vec![self.at])
            .with_batch_size(self.pace.rows);
        let builder = match self.picks.are_all(self.rows) {
            true => builder,
            false => builder.with_row_selection(self.picks.selection(self.rows)),
        };
        self.lane(slot, builder.build().map_err(damaged)?, mine, rest)
    }

    /// A lane of one column of which some pages are there.
    pub(super) fn paged(
        &self,
        slot: usize,
        mine: usize,
        patch: Patch,
        rest: Option<Rest>,
    ) -> Result<Lane> {
        let file = self.file;
        let root = file.root(mine)?;
        let field = file.choice.schema.fields().get(root);
        let field = field.ok_or_else(|| Error::internal("a column of the file is gone"))?;
        let field = hint(field, self.texts.get(&root)).as_ref().clone();
        let rows = i64::try_from(patch.rows).map_err(|_| corrupt("too many rows"))?;
        let lone = index::lone(file.metadata.metadata(), patch.column, rows);
        let lone = lone.ok_or_else(|| corrupt("a column does not stand alone"))?;
        let options = bare().with_schema(Arc::new(Schema::new(vec![field])));
        let metadata = ArrowReaderMetadata::try_new(Arc::new(lone), options).map_err(damaged)?;
        let sparse = patch.sparse.as_ref().clone();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, metadata)
            .with_row_groups(vec![0])
            .with_batch_size(self.pace.rows)
            .with_row_selection(patch.picks.selection(patch.rows));
        self.lane(slot, reader.build().map_err(damaged)?, &[mine], rest)
    }

    fn lane(
        &self,
        slot: usize,
        reader: ParquetRecordBatchReader,
        mine: &[usize],
        rest: Option<Rest>,
    ) -> Result<Lane> {
        let choice = &self.file.choice;
        let place = |(to, from): Place| match from {
            Some(from) => mine.binary_search(&from).ok().map(|it| (to, Some(it))),
            None => rest.and_then(|it| it.missing.then_some((to, None))),
        };
        let all: Vec<Place> = choice.places().into_iter().filter_map(place).collect();
        let table = self.file.full.fields();
        let text = |(_, from): &Place| {
            let from = from.and_then(|it| mine.get(it))?;
            let root = self.file.root(*from).ok()?;
            Some((*self.texts.get(&root)?, choice.schema.fields().get(root)?.data_type()))
        };
        let is_raw = |it: &&Place| text(it).is_some_and(|it| it.0 == Text::Raw);
        let raw = all.iter().filter(is_raw).copied().collect();
        // Text of another annotation is no view, see `logical`: the library does not check it.
        let ready = |it: &Place| {
            let wanted = table.get(it.0).map(|it| it.data_type());
            text(it).is_some_and(|(_, read)| flat(read) != *read && wanted == Some(&flat(read)))
        };
        let (ready, mut places): (Vec<Place>, Vec<Place>) = all.into_iter().partition(ready);
        let positions = rest.is_some_and(|it| it.positions);
        if positions {
            places.push((choice.columns.len(), Some(mine.len())));
        }
        Ok(Lane {
            slot,
            reader,
            sparse: Arc::clone(self.sparse),
            places,
            ready,
            raw,
            positions,
            first: self.first,
            exact: self.exact,
            left: self.picks.cursor(),
            lives: Arc::clone(&self.lives),
        })
    }
}

/// What the first lane has besides its columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// Columns that the file lacks.
    pub(super) missing: bool,
    pub(super) positions: bool,
}

impl Lane {
    /// Rows to come.
    pub(super) fn left(&self) -> usize {
        self.left.left()
    }

    /// Columns of the table, in the order of a piece.
    pub(super) fn columns(&self) -> Vec<usize> {
        self.places.iter().chain(&self.ready).map(|it| it.0).collect()
    }

    /// Decodes up to `batches` batches.
    pub(super) fn decode(&mut self, file: &File, batches: usize) -> Result<VecDeque<Piece>> {
        let decoded = self.decode_some(file, batches);
        decoded.map_err(|it| self.sparse.fault().unwrap_or(it))
    }

    fn decode_some(&mut self, file: &File, batches: usize) -> Result<VecDeque<Piece>> {
        let mut out = VecDeque::new();
        for _ in 0..batches {
            if self.left() == 0 {
                break;
            }
            let Some(batch) = self.reader.next().transpose().map_err(undecodable)? else {
                let lacking = self.left();
                return Err(corrupt(format!("a row group lacks {lacking} of its rows")));
            };
            if self.left() < batch.num_rows() {
                return Err(corrupt("a row group has more rows than it says"));
            }
            let place = |it: Range<usize>| {
                let start = self.first.saturating_add(it.start as u64);
                start..start.saturating_add(it.len() as u64)
            };
            let before = self.left();
            let rows = self.left.take(batch.num_rows());
            let rows: Vec<Range<u64>> = rows.into_iter().map(place).collect();
            let wanted = || wanted::live(&file.job.source, &rows);
            let live = match self.exact {
                true => Arc::new(Live::all(batch.num_rows())),
                false => self.lives.get(self.left()..before, wanted),
            };
            let batch = match self.positions {
                true => wanted::with_positions(batch, &rows)?,
                false => batch,
            };
            let batch = live.of(batch)?;
            if batch.num_rows() != 0 {
                self.convert(file, batch, &mut out)?;
            }
        }
        if self.left() == 0 && self.reader.next().is_some() {
            return Err(corrupt("a row group has more rows than it says"));
        }
        Ok(out)
    }

    fn convert(&self, file: &File, batch: RecordBatch, out: &mut VecDeque<Piece>) -> Result<()> {
        let batch = file.choice.labels.name(batch, &self.places)?;
        let batch = self.checked(file, batch)?;
        cut(&batch, &mut |part| {
            let mut arrays = logical::convert(part, &self.places, &file.full)?;
            for (to, from) in &self.ready {
                let field = file.full.fields().get(*to);
                let array = from.and_then(|it| part.columns().get(it));
                let (Some(field), Some(array)) = (field, array) else {
                    return Err(Error::internal("a column of text is gone"));
                };
                match field.is_nullable() || array.null_count() == 0 {
                    true if field.data_type() == array.data_type() => {
                        arrays.push(Arc::clone(array));
                    }
                    _ => arrays.extend(logical::convert(part, &[(*to, *from)], &file.full)?),
                }
            }
            out.push_back(Piece { rows: part.num_rows(), arrays });
            Ok(())
        })
    }

    /// The batch with the text that the file says it has. All of it at once: each part would be
    /// checked with all bytes of the batch.
    fn checked(&self, file: &File, batch: RecordBatch) -> Result<RecordBatch> {
        if self.raw.is_empty() {
            return Ok(batch);
        }
        let (schema, mut columns, rows) = batch.into_parts();
        let mut fields = schema.fields().to_vec();
        for (to, from) in &self.raw {
            let from = from.unwrap_or(usize::MAX);
            let (Some(field), Some(column)) = (fields.get_mut(from), columns.get_mut(from)) else {
                return Err(Error::internal("a column of bytes is gone"));
            };
            let name = file.full.fields().get(*to).map_or("", |it| it.name());
            *column = logical::text(column, name)?;
            *field = Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|it| Error::internal("text does not fit its batch").because(it))
    }
}

/// The field as the library is told to decode it.
pub(super) fn hint(field: &FieldRef, text: Option<&Text>) -> FieldRef {
    let flat = flat(field.data_type());
    let data_type = match text {
        None => return Arc::clone(field),
        Some(Text::Coded) if flat == DataType::Utf8 => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(flat))
        }
        Some(Text::Raw) => DataType::Binary,
        Some(_) => flat,
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The form of text without views.
pub(super) fn flat(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        of => of.clone(),
    }
}

/// Cuts a batch in halves until its text fits in a batch.
fn cut(batch: &RecordBatch, each: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let bytes: usize = batch.columns().iter().map(|it| logical::text_bytes(it)).sum();
    let rows = batch.num_rows();
    if bytes <= TEXT_BYTES {
        return each(batch);
    }
    if rows == 1 {
        return match i32::try_from(bytes) {
            Ok(_) => each(batch),
            Err(_) => {
                Err(Error::new(Code::LimitExceeded, format!("a row of {bytes} bytes of text")))
            }
        };
    }
    cut(&batch.slice(0, rows / 2), each)?;
    cut(&batch.slice(rows / 2, rows - rows / 2), each)
}

/// The next rows of all queues side by side; a queue whose text was cut has more pieces than the
/// others, which are then cut where it was. `columns` says which columns of the table the pieces of
/// a queue have.
pub(super) fn zip(
    queues: &mut [VecDeque<Piece>],
    columns: &[Vec<usize>],
    width: usize,
) -> Option<(usize, Vec<ArrayRef>)> {
    let rows = queues.iter().map(|it| it.front().map(|it| it.rows)).min().flatten()?;
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; width];
    for (pieces, columns) in queues.iter_mut().zip(columns) {
        let Some(piece) = pieces.front_mut() else { continue };
        for (array, to) in piece.arrays.iter_mut().zip(columns) {
            let head = if piece.rows == rows {
                Arc::clone(array)
            } else {
                let head = array.slice(0, rows);
                *array = array.slice(rows, piece.rows - rows);
                head
            };
            if let Some(place) = arrays.get_mut(*to) {
                *place = Some(head);
            }
        }
        piece.rows -= rows;
        if piece.rows == 0 {
            pieces.pop_front();
        }
    }
    Some((rows, arrays.into_iter().flatten().collect()))
}
