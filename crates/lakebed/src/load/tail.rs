//! The commits above a checkpoint where they are too many to be held.
//!
//! They are read several times: for samples, for the survey, and then for each range of the order
//! of a checkpoint, as [`lakebed_log::checkpoint::Tail`] puts it. On a local disk a large one is
//! read in pieces as its lines are looked at; others are fetched some at a time. Whether they are
//! what was surveyed is checked each time.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use lakebed_log::checkpoint::{Part, Sampler, Surveyed, Surveyor, Tail};
use lakebed_log::commit::Verifier;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::files::{Chunk, TombstoneChunk};
use lakebed_log::limits::{CHECKPOINT_RANGE_BYTES, CHECKPOINT_TAIL_BYTES, COMMIT_BYTES_MAX};
use lakebed_log::log_path::LogPath;
use lakebed_log::segment::LogFile;
use lakebed_log::time::Timestamp;

use super::Loaded;
use super::commits::as_listed;
use super::fetch::Trouble;
use crate::budget::Permit;
use crate::env::Env;
use crate::op::{Op, Request};
use crate::pool::map_ordered;
use crate::store::{Near, Store};

/// Bytes of small files that are fetched together, and how many of them.
const TOGETHER_BYTES: u64 = 8 << 20;
const TOGETHER_FILES: usize = 512;
/// Larger ones are read in pieces, where the store can, and of so many bytes, but for longer lines.
const PIECE_BYTES: usize = 1 << 20;

/// What is a long tail, and in what ranges it is read, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailBounds {
    pub(crate) from: u64,
    pub(crate) range: u64,
}

impl Default for TailBounds {
    fn default() -> TailBounds {
        TailBounds { from: CHECKPOINT_TAIL_BYTES, range: CHECKPOINT_RANGE_BYTES }
    }
}

/// A tail that was surveyed.
pub(crate) struct LongTail {
    pub(crate) tail: Arc<Tail>,
    /// The time by which tombstones expire.
    pub(crate) now: Timestamp,
    files: Vec<LogFile>,
}

/// Surveys the commits above the checkpoint. `None` if they may as well be held, or are not the
/// log's alone.
///
/// # Errors
///
/// What reading them gives, and what they say.
pub(crate) async fn long_tail(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    bounds: TailBounds,
) -> Result<Option<LongTail>, Trouble> {
    let files = of.segment.cover(None, None);
    let bytes = files.iter().map(|it| it.size).fold(0, u64::saturating_add);
    if bytes <= bounds.from || of.is_by_catalog() {
        return Ok(None);
    }
    let now = env.now();
    let reading = Reading { env, op, store, files: &files };
    let sampler = reading.sample(bytes).await?;
    let (head, secret) = (Arc::clone(&of.head), [env.random(), env.random()]);
    let above = of.segment.checkpoint_version.is_some();
    let cut = move || sampler.cut(&head, now, secret, bounds.range, above);
    let surveyor = Arc::new(env.compute(cut).await.map_err(Trouble::Final)?);
    let tail = reading.survey(&surveyor).await?;
    let tail = Arc::new(env.compute(move || tail.settle()).await.map_err(Trouble::Final)?);
    Ok(Some(LongTail { tail, now, files }))
}

impl LongTail {
    /// The live files, range by range, each after the ones before. One is read while the one before
    /// it is worked on.
    pub(crate) fn ranges<'a>(
        &'a self,
        env: &'a Env,
        op: &'a Op,
        store: &'a Store,
    ) -> impl Stream<Item = Result<Result<Option<Chunk>, Trouble>>> + 'a {
        let gather = move |range| async move {
            Ok(self.gather(env, op, store, Part::Range(range)).await.map(|it| it.0))
        };
        map_ordered(0..self.tail.ranges(), 1, gather)
    }

    /// The tombstones.
    ///
    /// # Errors
    ///
    /// What reading them gives.
    pub(crate) async fn tombstones(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
    ) -> Result<Option<TombstoneChunk>, Trouble> {
        Ok(self.gather(env, op, store, Part::Tombstones).await?.1)
    }

    async fn gather(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        part: Part,
    ) -> Result<(Option<Chunk>, Option<TombstoneChunk>), Trouble> {
        let reading = Reading { env, op, store, files: &self.files };
        let mut gather = self.tail.gather(part);
        for batch in reading.batches(&self.tail.files_of(part)) {
            let numbers = batch.clone();
            let (texts, permit) = reading.fetch(batch).await?;
            let take = move || {
                let _permit = permit;
                for (number, text) in numbers.into_iter().zip(&texts) {
                    text.each_piece(|it| gather.take(number, it))?;
                    if !gather.end_file(number) {
                        return Ok((gather, Some(number)));
                    }
                }
                Ok((gather, None))
            };
            let (taken, other) = env.compute(take).await.map_err(moved)?;
            gather = taken;
            if let Some(it) = other.and_then(|it| self.files.get(it)) {
                let what = "the file is another one than it was";
                let place = format!("{}/{}", store.location(), it.path.to_path());
                return Err(Trouble::Moved(Error::new(Code::ObjectChanged, what).at(place)));
            }
        }
        env.compute(move || gather.finish()).await.map_err(Trouble::Final)
    }
}

/// A file that ends early is another one than it was.
fn moved(error: Error) -> Trouble {
    match error.code() {
        Code::ShortRead => Trouble::Moved(error.with_code(Code::ObjectChanged)),
        _ => Trouble::Final(error),
    }
}

/// How the files of a tail are read.
struct Reading<'a> {
    env: &'a Env,
    op: &'a Op,
    store: &'a Store,
    files: &'a [LogFile],
}

/// A file to be read.
enum Text {
    Fetched(Bytes),
    Near(Arc<dyn Near>, u64),
}

impl Text {
    /// All of it, in pieces of whole lines.
    fn each_piece(&self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (near, size) = match self {
            Text::Fetched(it) => return each(it),
            Text::Near(near, size) => (near, *size),
        };
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < size {
            let left = usize::try_from(size - at).unwrap_or(usize::MAX);
            let length = buffer.len().min(left);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            near.read_into(at, piece)?;
            let end = piece.iter().rposition(|it| *it == b'\n').map(|it| it + 1);
            match end.or((length == left).then_some(length)) {
                Some(_) if length == left => {
                    each(piece)?;
                    at = size;
                }
                Some(end) => {
                    each(piece.get(..end).unwrap_or_default())?;
                    at = at.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
                }
                // A line that is longer.
                None => buffer = vec![0; buffer.len().saturating_mul(2)],
            }
        }
        // A longer file is another one.
        match near.read(size..size.saturating_add(1)) {
            Ok(_) => Err(Error::new(Code::ShortRead, "the file is longer than it was")),
            Err(it) if it.code() == Code::ShortRead => Ok(()),
            Err(it) => Err(it),
        }
    }
}

impl Reading<'_> {
    fn is_commit(&self, number: usize) -> bool {
        let file = self.files.get(number);
        file.is_none_or(|it| !matches!(it.path, LogPath::Compacted { .. }))
    }

    fn all(&self) -> Vec<Vec<usize>> {
        self.batches(&(0..self.files.len()).collect::<Vec<_>>())
    }

    async fn sample(&self, bytes: u64) -> Result<Sampler, Trouble> {
        let mut sampler = Sampler::new(bytes);
        for batch in self.all() {
            let (texts, permit) = self.fetch(batch).await?;
            let take = move || {
                let _permit = permit;
                for text in &texts {
                    text.each_piece(|it| {
                        sampler.take(it);
                        Ok(())
                    })?;
                }
                Ok(sampler)
            };
            sampler = self.env.compute(take).await.map_err(moved)?;
        }
        Ok(sampler)
    }

    async fn survey(&self, surveyor: &Arc<Surveyor>) -> Result<Tail, Trouble> {
        let mut tail = surveyor.begin_tail();
        let survey = |batch: Vec<usize>| async move {
            let forms: Vec<bool> = batch.iter().map(|it| self.is_commit(*it)).collect();
            let (texts, permit) = match self.fetch(batch).await {
                Ok(it) => it,
                Err(it) => return Ok(Err(it)),
            };
            let surveyor = Arc::clone(surveyor);
            let survey = move || {
                let _permit = permit;
                let each = texts.iter().zip(forms);
                each.map(|(text, is_commit)| surveyed(&surveyor, text, is_commit)).collect()
            };
            Ok(self.env.compute(survey).await.map_err(moved))
        };
        let mut surveys = std::pin::pin!(map_ordered(self.all(), self.env.cores(), survey));
        while let Some(surveyed) = surveys.next().await {
            let surveyed: Vec<Surveyed> = surveyed.map_err(Trouble::Final)??;
            for surveyed in surveyed {
                tail.push(surveyed).map_err(Trouble::Final)?;
            }
        }
        Ok(tail)
    }

    /// Some files, by their numbers, as they are read together.
    fn batches(&self, numbers: &[usize]) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut left = 0;
        for number in numbers {
            let size = self.files.get(*number).map_or(0, |it| it.size);
            match batches.last_mut() {
                Some(batch) if size <= left && batch.len() < TOGETHER_FILES => {
                    left -= size;
                    batch.push(*number);
                }
                _ => {
                    left = TOGETHER_BYTES.saturating_sub(size);
                    batches.push(vec![*number]);
                }
            }
        }
        batches
    }

    /// With what they take of the budget, as long as they are held.
    async fn fetch(&self, batch: Vec<usize>) -> Result<(Vec<Text>, Permit), Trouble> {
        let Reading { env, op, store, files, .. } = self;
        let files: Vec<&LogFile> = batch.iter().filter_map(|it| files.get(*it)).collect();
        let bytes = files.iter().map(|it| it.size).fold(0, u64::saturating_add);
        let budget = env.budget();
        let permit = budget.acquire(bytes.min(budget.total())).await.map_err(Trouble::Final)?;
        if let [file] = files.as_slice()
            && u64::try_from(PIECE_BYTES).is_ok_and(|it| it < file.size)
            && let Some(text) = self.read_near(file).await?
        {
            return Ok((vec![text], permit));
        }
        let keys: Vec<String> = files.iter().map(|it| it.path.to_path()).collect();
        let fetched = store.get_many(op, &keys, COMMIT_BYTES_MAX).await;
        let text = |(file, bytes): (&&LogFile, Result<Bytes>)| {
            as_listed(store, file, bytes).map(Text::Fetched).map_err(|it| it.of(file))
        };
        let texts = files.iter().zip(fetched).map(text).collect::<Result<_, Trouble>>()?;
        Ok((texts, permit))
    }

    /// `None` if the store gives no file to read from.
    async fn read_near(&self, file: &LogFile) -> Result<Option<Text>, Trouble> {
        let Reading { op, store, .. } = self;
        let near = match store.near(&file.path.to_path()).await {
            Ok(Some(it)) if file.size <= COMMIT_BYTES_MAX => it,
            Ok(_) => return Ok(None),
            Err(it) => return as_listed(store, file, Err(it)).map(|_| None),
        };
        op.count(Request::Get);
        op.read_bytes(file.size);
        Ok(Some(Text::Near(near, file.size)))
    }
}

fn surveyed(surveyor: &Arc<Surveyor>, text: &Text, is_commit: bool) -> Result<Surveyed> {
    let (mut surveyed, mut verifier) = (surveyor.begin(is_commit), Verifier::default());
    text.each_piece(|it| {
        verifier.take(it);
        surveyed.take(it)
    })?;
    if is_commit {
        verifier.finish()?;
    }
    if let Some(again) = surveyed.again() {
        surveyed = again;
        text.each_piece(|it| surveyed.take(it))?;
    }
    Ok(surveyed)
}
