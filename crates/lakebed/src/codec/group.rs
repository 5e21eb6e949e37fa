//! One row group: fetched, checked, decoded.
//!
//! ```text
//!   fetch --> check pages --+--> columns a c --> pieces --+
//!                           +--> columns b d --> pieces --+--> batches
//! ```
//!
//! Rows must come out in order and in bounded memory, so threads cannot each take a part of the
//! rows; they take a part of the columns. Each part goes on by steps, on its own, until it is a
//! step ahead of what is handed out: no thread waits for a slower one.
//!
//! With a filter that picks few rows, its columns come first; see [`late`](super::late).

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::Schema as ArrowSchema;
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt};
use lakebed_log::error::{Code, Error, Result};

use super::lane::{self, Form, Ground, Lane, Patch, Piece, Rest, TEXT_BYTES};
use super::late::{self, Found};
use super::live::{self, Shared};
use super::logical;
use super::pick::Picks;
use super::reader::{File, Group, decode, prepare};
use super::sparse::{self, Sparse};
use super::wanted;
use crate::env::BoxFuture;
use crate::op::Request;
use crate::store::join_ranges;

/// A step decodes as many batches as fit in about this many bytes.
const STEP_BYTES: usize = 4 << 20;
/// Batches that one step decodes at most.
const STEP_BATCHES: usize = 16;
/// Rows far apart come in no more batches than about this: pages may say that they are larger than
/// they are.
const FAR_BATCHES: usize = 1_024;
/// So many parts keep a core busy: few, because each step of one is a job and a wake-up, and more
/// than one, because parts never cost quite the same, and who is done with its own goes on with
/// another.
const PARTS_PER_CORE: usize = 2;
/// Rows of fewer bytes are not worth spreading over threads.
const SPREAD_BYTES: usize = 4 << 20;
/// Pages of a file nearby that are closer together are read in one go.
const GAP_BYTES: u64 = 8 << 10;
/// Columns of more bytes wait until it is known which of their rows are needed.
const WAIT_BYTES: u64 = if cfg!(test) { 1 } else { 8 << 20 };

/// Bytes that a row group holds besides pages: a step handed out, one under way, and `ready`
/// batches that nobody has asked for yet; if it is `sifted`, also which rows of them are left.
pub(super) fn decoded_bytes(
    row_bytes: usize,
    batch_rows: usize,
    ready: usize,
    sifted: bool,
) -> u64 {
    let batch = row_bytes.saturating_mul(batch_rows).max(1 << 10);
    let batches = 2 * step_batches(row_bytes, batch_rows) + ready;
    let lives = match sifted {
        true => live::bytes(batch_rows).saturating_mul(lives_most(row_bytes, batch_rows)),
        false => 0,
    };
    batch.saturating_mul(batches).saturating_add(lives) as u64
}

/// Batches of which it is kept which rows are left: no lane is further ahead of another.
fn lives_most(row_bytes: usize, batch_rows: usize) -> usize {
    2 * step_batches(row_bytes, batch_rows) + 1
}

fn step_batches(row_bytes: usize, batch_rows: usize) -> usize {
    let batch = row_bytes.saturating_mul(batch_rows).max(1);
    (STEP_BYTES / batch).clamp(1, STEP_BATCHES)
}

/// How far a part goes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Rows of a batch.
    pub(super) rows: usize,
    /// Batches of a step.
    pub(super) batches: usize,
}

impl Pace {
    /// Rows that lie far apart cost more to unpack than they come to: `unpacked` bytes for `picked`
    /// of them, in the column that has most. Their steps are as long as those of rows side by side,
    /// so that cores can share the columns.
    fn new(row_bytes: usize, batch_rows: usize, unpacked: u64, picked: usize) -> Pace {
        let bytes = usize::try_from(unpacked).unwrap_or(usize::MAX) / picked.max(1);
        if bytes <= row_bytes {
            return Pace { rows: batch_rows, batches: step_batches(row_bytes, batch_rows) };
        }
        let rows = (STEP_BYTES / bytes).max(picked / FAR_BATCHES).clamp(1, batch_rows.max(1));
        Pace { rows, batches: step_batches(bytes, rows) }
    }
}

/// Batches of one row group.
pub(super) fn read(file: Arc<File>, group: Group) -> BoxStream<'static, Result<RecordBatch>> {
    let queues = Queues::default();
    let reading = Reading { file, group, state: State::Fetch, queues, ready: VecDeque::new() };
    let next = |mut reading: Reading| async move {
        loop {
            if let Some(batch) = reading.ready.pop_front() {
                reading.go_on();
                return Ok(Some((batch, reading)));
            }
            if matches!(reading.state, State::Done) {
                return Ok(None);
            }
            let file = Arc::clone(&reading.file);
            reading = match reading.advance().await {
                Err(err) if err.code() == Code::ShortRead => {
                    return Err(file.job.explain(err).await);
                }
                other => other?,
            };
        }
    };
    stream::try_unfold(reading, next).boxed()
}

/// A row group being read.
struct Reading {
    file: Arc<File>,
    group: Group,
    state: State,
    queues: Queues,
    ready: VecDeque<RecordBatch>,
}

/// Decoded columns that wait for those beside them.
#[derive(Default)]
struct Queues {
    pieces: Vec<VecDeque<Piece>>,
    /// Which columns of the table each has.
    columns: Vec<Vec<usize>>,
}

enum State {
    Fetch,
    /// No column of the file is wanted: rows are only counted.
    Count(Range<u64>),
    Decode(Crew),
    Done,
}

/// The parts of a row group, at work or waiting until what they have decoded is handed out.
struct Crew {
    busy: FuturesUnordered<BoxFuture<'static, Result<Step>>>,
    idle: Vec<Part>,
    pace: Pace,
}

/// What one step of a part gives.
struct Step {
    part: Part,
    pieces: Vec<(usize, VecDeque<Piece>)>,
}

/// Some of the columns, decoded by one thread.
struct Part(Vec<Lane>);

/// A row group whose rows and columns are settled.
struct Begun {
    parts: Vec<Part>,
    queues: Queues,
    pace: Pace,
}

/// Which rows of a row group to read.
#[derive(Clone)]
struct Chosen {
    picks: Picks,
    /// No more rows are to be left out.
    exact: bool,
}

impl Reading {
    async fn advance(self) -> Result<Reading> {
        let Reading { file, group, state, mut queues, mut ready } = self;
        let state = match state {
            State::Done => State::Done,
            State::Fetch if file.choice.decoded.is_empty() => {
                State::Count(wanted::part(&file.job.source, group.positions()))
            }
            State::Fetch => match begin(&file, &group).await? {
                None => State::Done,
                Some(begun) => {
                    queues = begun.queues;
                    let (busy, idle, pace) = (FuturesUnordered::new(), begun.parts, begun.pace);
                    State::Decode(Crew { busy, idle, pace })
                }
            },
            State::Count(rows) => {
                let middle = rows.end.min(rows.start.saturating_add(file.batch_rows as u64));
                ready.push_back(file.count(rows.start..middle)?);
                if middle == rows.end { State::Done } else { State::Count(middle..rows.end) }
            }
            State::Decode(mut crew) => match crew.busy.next().await.transpose()? {
                None if queues.pieces.iter().all(VecDeque::is_empty) => State::Done,
                None => return Err(Error::internal("columns of a row group do not end together")),
                Some(Step { part, pieces }) => {
                    for (slot, mut pieces) in pieces {
                        if let Some(queue) = queues.pieces.get_mut(slot) {
                            queue.append(&mut pieces);
                        }
                    }
                    if part.has_more() {
                        crew.idle.push(part);
                    }
                    let width = file.table.fields().len();
                    while let Some((rows, arrays)) =
                        lane::zip(&mut queues.pieces, &queues.columns, width)
                    {
                        ready.push_back(file.batch(arrays, rows)?);
                    }
                    State::Decode(crew)
                }
            },
        };
        let mut reading = Reading { file, group, state, queues, ready };
        reading.go_on();
        Ok(reading)
    }

    /// Begins the next step of every part that is not far ahead. The one that is last never is, so
    /// some part is always busy until all have ended.
    fn go_on(&mut self) {
        let State::Decode(crew) = &mut self.state else { return };
        let most = crew.pace.batches;
        for part in std::mem::take(&mut crew.idle) {
            let waiting = |it: &Lane| self.queues.pieces.get(it.slot).map_or(0, VecDeque::len);
            let ahead = part.0.iter().map(waiting).max().unwrap_or(0);
            match ahead + self.ready.len() <= most {
                true => crew.busy.push(step(&self.file, part, most)),
                false => crew.idle.push(part),
            }
        }
    }
}

impl Group {
    /// Positions of its rows in the file.
    fn positions(&self) -> Range<u64> {
        self.first..self.first.saturating_add(self.rows as u64)
    }
}

impl Part {
    fn has_more(&self) -> bool {
        self.0.iter().any(|it| 0 < it.left())
    }
}

/// Settles which rows are read, and fetches the columns. `None` if there are no such rows.
async fn begin(file: &Arc<File>, group: &Group) -> Result<Option<Begun>> {
    let (of, this) = (Arc::clone(file), group.clone());
    let chosen = prepare(&file.job.env, move || Ok(of.choose_rows(&this))).await?;
    if chosen.picks.is_empty() {
        return Ok(None);
    }
    let every: Vec<usize> = (0..file.choice.decoded.len()).collect();
    let Some(late) = file.late_for(group) else {
        let sparse = file.fetch(group, &every, &chosen.picks).await?;
        return file.begin_with(group, every, chosen, sparse, None).await.map(Some);
    };
    // Columns that are large may turn out not to be needed.
    let waits = WAIT_BYTES <= file.fetched_bytes(group, &late.others, &chosen.picks)?;
    let first = if waits { &late.columns } else { &every };
    let sparse = file.fetch(group, first, &chosen.picks).await?;
    let (of, this, near) = (Arc::clone(file), group.clone(), Arc::clone(&sparse));
    let rows = chosen.clone();
    let found = decode(&file.job.env, move || {
        let ground = of.ground(&this, &rows, &near);
        late::find(ground, of.late_for(&this))
    });
    match found.await? {
        // Too many rows match to win anything.
        None => {
            file.give_up_late();
            let sparse = match waits {
                true => file.fetch(group, &every, &chosen.picks).await?,
                false => sparse,
            };
            file.begin_with(group, every, chosen, sparse, None).await.map(Some)
        }
        Some(found) if found.picks.is_empty() => Ok(None),
        Some(found) => {
            let chosen = Chosen { picks: found.picks.clone(), exact: true };
            let sparse = match waits {
                true => file.fetch(group, &late.others, &chosen.picks).await?,
                false => sparse,
            };
            file.begin_with(group, late.others.clone(), chosen, sparse, Some(found)).await.map(Some)
        }
    }
}

/// Begins the next step of a part.
fn step(file: &Arc<File>, mut part: Part, batches: usize) -> BoxFuture<'static, Result<Step>> {
    let of = Arc::clone(file);
    Box::pin(decode(&file.job.env, move || {
        let one = |lane: &mut Lane| Ok((lane.slot, lane.decode(&of, batches)?));
        let pieces = part.0.iter_mut().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Step { part, pieces })
    }))
}

impl File {
    /// The rows that the vector and the page index leave over.
    fn choose_rows(&self, group: &Group) -> Chosen {
        let picks = group.picks.clone().unwrap_or_else(|| Picks::all(group.rows));
        let part = wanted::part(&self.job.source, group.positions());
        let row = |it: u64| usize::try_from(it - group.first).unwrap_or(usize::MAX);
        let picks = picks.and(&Picks::new(std::iter::once(row(part.start)..row(part.end))));
        match wanted::picks(&self.job.source, group.positions()) {
            Some(few) => Chosen { picks: picks.and(&few), exact: true },
            None => Chosen { picks, exact: !wanted::sifts(&self.job.source) },
        }
    }

    fn ground<'a>(
        &'a self,
        group: &Group,
        chosen: &'a Chosen,
        sparse: &'a Arc<Sparse>,
    ) -> Ground<'a> {
        Ground {
            file: self,
            at: group.at,
            first: group.first,
            rows: group.rows,
            picks: &chosen.picks,
            exact: chosen.exact,
            sparse,
            texts: BTreeMap::new(),
            pace: Pace::new(self.row_bytes, self.batch_rows, 0, 0),
            lives: Arc::new(Shared::new(lives_most(self.row_bytes, self.batch_rows))),
        }
    }

    fn leaves_of<'a>(&'a self, columns: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        columns.iter().filter_map(|it| self.choice.decoded.get(*it)).flatten().copied()
    }

    /// Bytes that have to be fetched for these rows of these columns.
    fn fetched_bytes(&self, group: &Group, columns: &[usize], picks: &Picks) -> Result<u64> {
        let mut bytes = 0;
        for leaf in self.leaves_of(columns) {
            let ranges = Form::new(self, group.at, leaf, picks)?.ranges();
            bytes += ranges.iter().map(|it| it.end - it.start).sum::<u64>();
        }
        Ok(bytes)
    }

    /// The bytes of these rows of these columns; what came with the footer is not fetched again.
    async fn fetch(&self, group: &Group, columns: &[usize], picks: &Picks) -> Result<Arc<Sparse>> {
        let job = &self.job;
        let (start, tail) = &self.tail;
        let (mut whole, mut missing) = (Vec::new(), Vec::new());
        for leaf in self.leaves_of(columns) {
            let form = Form::new(self, group.at, leaf, picks)?;
            let ranges = form.ranges().into_iter().filter(|it| it.start < *start);
            match (&form, &self.near) {
                (Form::Whole(_), Some(_)) => whole.extend(ranges),
                (Form::Paged(..), Some(_)) => missing.extend(joined(ranges)),
                (_, None) => missing.extend(ranges),
            }
        }
        let mut parts = vec![sparse::Part::here(*start, tail.clone())];
        if let Some(near) = &self.near {
            job.op.read_bytes(whole.iter().map(|it| it.end - it.start).sum());
            join_ranges(&whole).iter().for_each(|_| job.op.count(Request::Get));
            near.expect(&whole);
            parts.extend(whole.iter().map(sparse::Part::near));
        }
        if !missing.is_empty() {
            let bytes = match job.store.get_ranges(&job.op, &job.source.key, &missing).await {
                Ok(bytes) => bytes,
                Err(err) => return Err(job.explain(err).await),
            };
            let found = missing.iter().map(|it| it.start).zip(bytes);
            parts.extend(found.map(|(at, bytes)| sparse::Part::here(at, bytes)));
        }
        Ok(Arc::new(Sparse::new(job.source.size, parts, self.near.clone())))
    }

    /// Deals the columns out, on a compute thread.
    async fn begin_with(
        self: &Arc<File>,
        group: &Group,
        columns: Vec<usize>,
        chosen: Chosen,
        sparse: Arc<Sparse>,
        found: Option<Found>,
    ) -> Result<Begun> {
        let (of, group) = (Arc::clone(self), group.clone());
        let begun = move || {
            let mut ground = of.ground(&group, &chosen, &sparse);
            let rest =
                Rest { missing: true, positions: found.is_none() && of.job.source.positions };
            let (parts, mut columns) = ground.deal(&columns, rest)?;
            let mut pieces: Vec<VecDeque<Piece>> =
                columns.iter().map(|_| VecDeque::new()).collect();
            if let Some(found) = found {
                pieces.push(found.pieces);
                columns.push(found.columns);
            }
            Ok(Begun { parts, queues: Queues { pieces, columns }, pace: ground.pace })
        };
        prepare(&self.job.env, begun).await
    }

    /// Rows of a file of which no column is wanted.
    fn count(&self, rows: Range<u64>) -> Result<RecordBatch> {
        let source = &self.job.source;
        let len = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        let empty = Arc::new(ArrowSchema::empty());
        let batch = RecordBatch::try_new_with_options(empty, Vec::new(), &options)
            .map_err(|it| Error::internal("rows without columns").because(it))?;
        let batch = wanted::of(source, &[rows], source.positions, batch)?;
        let mut places = self.choice.places();
        if source.positions {
            places.push((places.len(), Some(0)));
        }
        self.batch(logical::convert(&batch, &places, &self.full)?, batch.num_rows())
    }

    fn batch(&self, arrays: Vec<arrow_array::ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.table), arrays, &options)
            .map_err(|it| Error::internal("the rows do not have the table's shape").because(it))
    }
}

/// Ascending ranges of pages, with the gaps that are cheaper read than stepped over.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end);
            }
            _ => out.push(range),
        }
    }
    out
}

/// One of the lanes to be: whole columns, or one in pages.
struct Plot {
    columns: Vec<usize>,
    patch: Option<Patch>,
    weight: u64,
    unpacked: u64,
}

impl Ground<'_> {
    /// Checks the pages and deals the columns out to parts; with the columns of the table that each
    /// lane has.
    fn deal(&mut self, columns: &[usize], rest: Rest) -> Result<(Vec<Part>, Vec<Vec<usize>>)> {
        let plots = self.survey(columns)?;
        let file = self.file;
        let count = match file.row_bytes.saturating_mul(self.picks.rows()) {
            0..SPREAD_BYTES => 1,
            _ => {
                let parts = file.job.env.cores().saturating_mul(PARTS_PER_CORE);
                parts.clamp(1, columns.len().max(1))
            }
        };
        let mut dealt: Vec<(u64, Vec<usize>, Vec<Plot>)> = Vec::new();
        dealt.resize_with(count, || (0, Vec::new(), Vec::new()));
        for plot in plots {
            let Some(lightest) = dealt.iter_mut().min_by_key(|it| it.0) else { continue };
            lightest.0 = lightest.0.saturating_add(plot.weight);
            match plot.patch {
                None => lightest.1.extend(&plot.columns),
                Some(_) => lightest.2.push(plot),
            }
        }
        let (mut parts, mut tables) = (Vec::new(), Vec::new());
        let mut rest = Some(rest);
        for (_, mut whole, paged) in dealt {
            whole.sort_unstable();
            let mut lanes = Vec::new();
            if !whole.is_empty() {
                lanes.push(self.whole(tables.len(), &whole, rest.take())?);
                tables.extend(lanes.last().map(Lane::columns));
            }
            for plot in paged {
                let (Some(patch), Some(column)) = (plot.patch, plot.columns.first()) else {
                    continue;
                };
                lanes.push(self.paged(tables.len(), *column, patch, rest.take())?);
                tables.extend(lanes.last().map(Lane::columns));
            }
            parts.push(Part(lanes));
        }
        parts.retain(|it| !it.0.is_empty());
        Ok((parts, tables))
    }

    /// All lanes in one: for a filter.
    pub(super) fn lanes(&mut self, columns: &[usize]) -> Result<(Vec<Lane>, Vec<Vec<usize>>)> {
        let plots = self.survey(columns)?;
        let (mut lanes, mut tables) = (Vec::new(), Vec::new());
        let mut rest = Some(Rest { missing: false, positions: true });
        let (paged, whole): (Vec<Plot>, Vec<Plot>) =
            plots.into_iter().partition(|it| it.patch.is_some());
        let mut whole: Vec<usize> = whole.into_iter().flat_map(|it| it.columns).collect();
        whole.sort_unstable();
        if !whole.is_empty() {
            lanes.push(self.whole(0, &whole, rest.take())?);
            tables.extend(lanes.last().map(Lane::columns));
        }
        for plot in paged {
            if let (Some(patch), Some(column)) = (plot.patch, plot.columns.first()) {
                lanes.push(self.paged(tables.len(), *column, patch, rest.take())?);
                tables.extend(lanes.last().map(Lane::columns));
            }
        }
        Ok((lanes, tables))
    }

    /// Looks at the pages of the columns, heaviest column first. Finds out how text is decoded, and
    /// how far to go at once.
    fn survey(&mut self, columns: &[usize]) -> Result<Vec<Plot>> {
        let file = self.file;
        let (mut plots, mut largest) = (Vec::new(), 0u64);
        for at in columns {
            let leaves = file.choice.decoded.get(*at).map(Vec::as_slice).unwrap_or_default();
            let mut plot = Plot { columns: vec![*at], patch: None, weight: 0, unpacked: 0 };
            for leaf in leaves {
                let column = file.column(self.at, *leaf)?;
                let form = Form::new(file, self.at, *leaf, self.picks)?;
                let placed = |it: Error| {
                    let it = self.sparse.fault().unwrap_or(it);
                    it.at(format!("row group {}, column {leaf}", self.at))
                };
                let walked = form.walk(self.sparse).map_err(placed)?;
                largest = largest.saturating_add(walked.largest);
                let weight = walked.weight(column.column_type());
                plot.weight = plot.weight.saturating_add(weight);
                plot.unpacked = plot.unpacked.saturating_add(walked.unpacked());
                let (rows, max) = (file.batch_rows, TEXT_BYTES);
                let dense = self.picks.are_all(self.rows);
                let text = match &form {
                    Form::Whole(_) => {
                        walked.check_places(column, self.sparse).map_err(placed)?;
                        let text = walked.text(column, self.sparse, rows, dense, max);
                        text.map(|it| self.raw(it, column))
                    }
                    Form::Paged(pages, wanted) => {
                        let patch = Patch::new(column, pages, wanted, self.picks, self.sparse)?;
                        walked.check_places(&patch.column, &patch.sparse).map_err(placed)?;
                        let text = walked.text(&patch.column, &patch.sparse, rows, false, max);
                        plot.patch = Some(patch);
                        text
                    }
                };
                if let Some(text) = text.filter(|_| leaves.len() == 1) {
                    self.texts.insert(file.root(*at)?, text);
                }
            }
            plots.push(plot);
        }
        let total = file.job.env.budget().total();
        if total < largest {
            let what = format!("pages of one row group take {largest} bytes of {total}");
            return Err(Error::new(Code::MemoryExceeded, what));
        }
        plots.sort_by_key(|it| Reverse(it.weight));
        let unpacked = plots.iter().map(|it| it.unpacked).max().unwrap_or(0);
        self.pace = Pace::new(file.row_bytes, file.batch_rows, unpacked, self.picks.rows());
        Ok(plots)
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
