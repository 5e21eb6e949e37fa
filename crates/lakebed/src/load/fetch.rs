//! Fetches what a checkpoint is made of and decodes it.
//!
//! What can go wrong here is told apart by what to try next: a broken checkpoint may be stepped
//! over, a file that is gone or changed means that the listing is old, and everything else is
//! final.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use lakebed_log::action::Sidecar;
use lakebed_log::batch::{
    Footer, LogBatch, SparseFile, Width, decode_parquet, parquet_footer, parquet_ranges,
};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::limits::CHECKPOINT_WHOLE_BYTES;
use lakebed_log::log_path::{CheckpointName, LogPath};
use lakebed_log::replay::Part;
use lakebed_log::segment::{Hint, LogFile, LogSegment};
use parquet::file::metadata::ParquetMetaData;

use super::sidecar;
use super::units::part_files;
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::{Pin, Store};

/// Checkpoint parts fetched at once.
pub(super) const FETCHES: usize = 16;
/// How much of the end of a large checkpoint is fetched to find its footer there.
const FOOTER_GUESS_BYTES: u64 = 64 << 10;

/// Why a segment did not load.
pub(crate) enum Trouble {
    /// A checkpoint is broken: another one, or the commits, may still prove the version.
    Checkpoint(Error),
    /// Compacted files are broken, or gone: the commits they cover are there.
    Compacted(Vec<LogPath>, Error),
    /// A listed file is gone or is another one now: list again.
    Moved(Error),
    /// Nothing else to try.
    Final(Error),
}

impl Trouble {
    pub(crate) fn error(self) -> Error {
        match self {
            Trouble::Checkpoint(it)
            | Trouble::Compacted(_, it)
            | Trouble::Moved(it)
            | Trouble::Final(it) => it,
        }
    }

    /// Whatever is wrong with a compacted file but the store's silence, it can be done without.
    pub(super) fn of(self, file: &LogFile) -> Trouble {
        let is_compacted = matches!(file.path, LogPath::Compacted { .. });
        match self {
            Trouble::Moved(it) if is_compacted => Trouble::Compacted(vec![file.path.clone()], it),
            Trouble::Final(it)
                if is_compacted
                    && matches!(it.kind(), ErrorKind::Corrupt | ErrorKind::Exhausted) =>
            {
                Trouble::Compacted(vec![file.path.clone()], it)
            }
            it => it,
        }
    }
}

/// What is kept of a part of a checkpoint, so that nothing is fetched twice.
#[derive(Clone, Default)]
pub(crate) struct KeptPart {
    /// All of it, where it is small.
    pub(super) whole: Option<Bytes>,
    /// Its footer, where it is large.
    pub(super) footer: Option<Arc<ParquetMetaData>>,
    /// The sidecars it names, once it was read.
    pub(super) sidecars: Option<Arc<Vec<Sidecar>>>,
}

/// A file of a checkpoint: a part, the top level, or a sidecar.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) json: bool,
    /// Named by the top level, which also gave its size, rather than listed.
    pub(super) is_sidecar: bool,
    /// One of several, over which writers spread the rows by hash: some may get none.
    pub(super) is_part: bool,
    pub(super) pin: Pin,
}

impl Piece {
    pub(super) fn of(file: &LogFile) -> Piece {
        let name = &file.path;
        let json = matches!(name, LogPath::Checkpoint(_, CheckpointName::Uuid { json: true, .. }));
        let is_part = matches!(name, LogPath::Checkpoint(_, CheckpointName::Part { .. }));
        let (key, pin) = (name.to_path(), Pin::default());
        Piece { key, size: file.size, json, is_sidecar: false, is_part, pin }
    }
}

/// The parts of the checkpoint, decoded for the small state, with what of them is kept.
pub(crate) async fn checkpoint_parts(
    env: &Env,
    op: &Op,
    store: &Store,
    segment: &LogSegment,
) -> Result<Vec<(KeptPart, LogBatch)>, Trouble> {
    let read = |file: LogFile| async move { Ok(read_top_level(env, op, store, &file).await) };
    all(map_ordered(segment.checkpoint.clone(), FETCHES, read)).await
}

/// What is read side by side, up to the first trouble: what comes after it is not asked for.
pub(super) async fn all<T>(
    results: impl Stream<Item = Result<Result<T, Trouble>>>,
) -> Result<Vec<T>, Trouble> {
    let mut results = pin!(results);
    let mut found = Vec::new();
    while let Some(it) = results.try_next().await.map_err(Trouble::Final)? {
        found.push(it?);
    }
    Ok(found)
}

async fn read_top_level(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
) -> Result<(KeptPart, LogBatch), Trouble> {
    let piece = Piece::of(file);
    let (mut kept, batch) = read_part(env, op, store, &piece, Width::Head, None).await?;
    LogSegment::check_top_level(&file.path, &batch)
        .map_err(|it| Trouble::Checkpoint(it.at(format!("{}/{}", store.location(), piece.key))))?;
    kept.sidecars = Some(Arc::new(batch.sidecars.clone()));
    Ok((kept, batch))
}

/// The file actions of the checkpoint, in its order, ready for the fold: those of its parts, then
/// those of its sidecars. `kept` is what was kept of its parts before.
pub(crate) async fn checkpoint_files(
    env: &Env,
    op: &Op,
    store: &Store,
    segment: &LogSegment,
    width: Width,
    kept: &[KeptPart],
) -> Result<Vec<Part>, Trouble> {
    let mut items = Vec::with_capacity(segment.checkpoint.len());
    for (part, file) in segment.checkpoint.iter().enumerate() {
        items.push((file.clone(), kept.get(part).cloned().unwrap_or_default()));
    }
    let read = |(file, kept): (LogFile, KeptPart)| async move {
        Ok(top_level_files(env, op, store, &file, kept, width).await)
    };
    let parts = all(map_ordered(items, FETCHES, read)).await?;
    let (mut files, mut sidecars) = (Vec::new(), Vec::new());
    for (parts, named) in parts {
        files.extend(parts);
        sidecars.extend(named.iter().cloned());
    }
    if sidecars.is_empty() {
        return Ok(files);
    }
    let named = || checkpoint_place(store, segment);
    let pieces =
        sidecar::pieces(store, &sidecars).map_err(|it| Trouble::Checkpoint(it.at(named())))?;
    let read = |piece: Piece| async move {
        Ok(part_files(env, op, store, &piece, &KeptPart::default(), width).await)
    };
    let parts = all(map_ordered(pieces, FETCHES, read)).await?;
    files.extend(parts.into_iter().flatten());
    Ok(files)
}

/// The file actions of one part, and the sidecars it names.
async fn top_level_files(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    kept: KeptPart,
    width: Width,
) -> Result<(Vec<Part>, Arc<Vec<Sidecar>>), Trouble> {
    let (kept, sidecars) = named_sidecars(env, op, store, file, kept).await?;
    let parts = part_files(env, op, store, &Piece::of(file), &kept, width).await?;
    if !sidecars.is_empty() && parts.iter().any(Part::has_files) {
        let what = "file actions stand beside sidecars";
        let place = format!("{}/{}", store.location(), file.path.to_path());
        return Err(Trouble::Checkpoint(Error::new(Code::CorruptCheckpoint, what).at(place)));
    }
    Ok((parts, sidecars))
}

/// The sidecars that a part names, read where they are not known, and what is kept of it then.
pub(super) async fn named_sidecars(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &LogFile,
    mut kept: KeptPart,
) -> Result<(KeptPart, Arc<Vec<Sidecar>>), Trouble> {
    match kept.sidecars.take() {
        Some(sidecars) => Ok((kept, sidecars)),
        None => {
            let (read, batch) = read_top_level(env, op, store, file).await?;
            Ok((read, Arc::new(batch.sidecars)))
        }
    }
}

pub(super) async fn read_part(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    width: Width,
    kept: Option<Bytes>,
) -> Result<(KeptPart, LogBatch), Trouble> {
    let place = || format!("{}/{}", store.location(), file.key);
    let Piece { json, is_sidecar, is_part, .. } = *file;
    let budget = env.budget();
    let permit = budget.acquire(file.size.min(budget.total())).await.map_err(Trouble::Final)?;
    let part = match kept {
        None if !json && CHECKPOINT_WHOLE_BYTES < file.size => {
            fetch_columns(op, store, file, width).await
        }
        None => fetch_whole(op, store, file).await,
        Some(bytes) => Ok(Fetched::Whole(bytes)),
    };
    let part = part.map_err(|it| trouble(file, it))?;
    let kept = match &part {
        Fetched::Whole(bytes) if file.size <= CHECKPOINT_WHOLE_BYTES => {
            KeptPart { whole: Some(bytes.clone()), ..KeptPart::default() }
        }
        Fetched::Whole(_) => KeptPart::default(),
        Fetched::Columns(_, footer) => {
            KeptPart { footer: Some(footer.clone()), ..KeptPart::default() }
        }
    };
    let decode = move || match part {
        Fetched::Whole(bytes) if json => LogBatch::from_json_checkpoint(&bytes, width),
        Fetched::Whole(bytes) if is_sidecar => sidecar::decode(bytes, width),
        Fetched::Whole(bytes) if is_part => sidecar::decode_part(bytes, width),
        Fetched::Whole(bytes) => LogBatch::from_parquet(bytes, width),
        Fetched::Columns(file, footer) => decode_parquet(file, &footer, width),
    };
    let batch = match env.compute(decode).await {
        Ok(it) => it,
        Err(it) if it.kind() == ErrorKind::Internal => return Err(Trouble::Final(it)),
        Err(it) => return Err(Trouble::Checkpoint(it.at(place()))),
    };
    drop(permit);
    Ok((kept, batch))
}

/// What cannot be read as a checkpoint is none; what cannot be read at all is another matter.
pub(super) fn trouble(file: &Piece, it: Error) -> Trouble {
    match it.kind() {
        // No listing vouches for a sidecar, and listing again would not help.
        ErrorKind::NotFound if file.is_sidecar => {
            Trouble::Checkpoint(it.with_code(Code::MissingFile))
        }
        _ if file.is_sidecar && matches!(it.code(), Code::ShortRead | Code::ObjectChanged) => {
            Trouble::Checkpoint(it.with_code(Code::SizeMismatch))
        }
        ErrorKind::Corrupt | ErrorKind::NotFound => Trouble::Checkpoint(it),
        _ if matches!(it.code(), Code::ShortRead | Code::ObjectChanged) => Trouble::Moved(it),
        _ => Trouble::Final(it),
    }
}

/// What was fetched of a checkpoint part.
enum Fetched {
    Whole(Bytes),
    Columns(SparseFile, Arc<ParquetMetaData>),
}

async fn fetch_whole(op: &Op, store: &Store, file: &Piece) -> Result<Fetched> {
    fetch_whole_bytes(op, store, file).await.map(Fetched::Whole)
}

/// All of a file, if it is of its size.
pub(super) async fn fetch_whole_bytes(op: &Op, store: &Store, file: &Piece) -> Result<Bytes> {
    match store.get(op, &file.key, file.size.max(1)).await {
        Ok(bytes) if u64::try_from(bytes.len()) == Ok(file.size) => Ok(bytes),
        Ok(bytes) => Err(changed(store, &file.key, file.size, bytes.len())),
        Err(it) if it.code() == Code::LimitExceeded => {
            let what = format!("{} bytes were listed and there are more", file.size);
            let place = format!("{}/{}", store.location(), file.key);
            Err(Error::new(Code::ObjectChanged, what).at(place).because(it))
        }
        Err(it) => Err(it),
    }
}

/// The footer, then no more than the columns of the width.
async fn fetch_columns(op: &Op, store: &Store, file: &Piece, width: Width) -> Result<Fetched> {
    let footer = footer(op, store, file).await?;
    let ranges = parquet_ranges(&footer, width);
    let fetched = store.pinned(&file.pin).get_ranges(op, &file.key, &ranges).await?;
    let mut sparse = SparseFile::new(file.size);
    for (range, bytes) in ranges.iter().zip(fetched) {
        sparse.insert(range.start, bytes);
    }
    Ok(Fetched::Columns(sparse, footer))
}

/// The footer of a large file.
pub(super) async fn footer(op: &Op, store: &Store, file: &Piece) -> Result<Arc<ParquetMetaData>> {
    let (key, size) = (&file.key, file.size);
    let placed = |it: Error| it.at(format!("{}/{key}", store.location()));
    let mut wanted = FOOTER_GUESS_BYTES.min(size);
    // The second answer is enough: the first one told how many bytes the footer takes.
    for _ in 0..2 {
        let tail = store.pinned(&file.pin).get_range(op, key, size - wanted..size).await?;
        match parquet_footer(&tail, size).map_err(placed)? {
            Footer::Need(bytes) => wanted = bytes.min(size),
            Footer::Ready(footer) => return Ok(footer),
        }
    }
    let what = "the footer is longer than it says";
    Err(placed(Error::new(Code::CorruptCheckpoint, what)))
}

pub(super) fn changed(store: &Store, key: &str, size: u64, bytes: usize) -> Error {
    let what = format!("{size} bytes were listed and {bytes} were read");
    let place = format!("{}/{key}", store.location());
    Error::new(Code::ObjectChanged, what).at(place)
}

/// A checkpoint that was cut short may still be sound Parquet; the hint knows how long it was.
pub(super) fn check_hint(
    store: &Store,
    segment: &LogSegment,
    hint: Option<&Hint>,
    found: u64,
) -> Result<(), Trouble> {
    let counted = hint.filter(|it| Some(it.version) == segment.checkpoint_version);
    let Some(expected) = counted.and_then(|it| it.size) else { return Ok(()) };
    // Old writers gave bytes where the protocol wants actions.
    let bytes = segment.checkpoint.iter().map(|it| it.size).fold(0, u64::saturating_add);
    // And some gave 0 or 1: a number that is too small proves nothing.
    let is_whole = |it: u64| it <= found || it == bytes;
    if u64::try_from(expected).is_ok_and(is_whole) {
        return Ok(());
    }
    let what = format!("the checkpoint holds {found} actions, the hint says {expected}");
    let at = checkpoint_place(store, segment);
    Err(Trouble::Checkpoint(Error::new(Code::CorruptCheckpoint, what).at(at)))
}

/// How many live files a checkpoint of the second layout says that it has.
pub(super) fn tagged_adds(top: &LogBatch) -> Option<u64> {
    let tags = top.checkpoint_metadata.as_ref()?.tags.as_ref()?;
    tags.get("numOfAddFiles")?.as_deref()?.parse().ok()
}

/// The same for a checkpoint whose files lie in sidecars, so that it takes all of them to count.
pub(super) fn check_hinted_adds(
    store: &Store,
    segment: &LogSegment,
    hinted: Option<u64>,
    parts: &[Part],
) -> Result<(), Trouble> {
    let found: u64 = parts.iter().map(Part::adds).sum();
    let Some(hinted) = hinted.filter(|it| found < *it) else { return Ok(()) };
    let what = format!("the checkpoint holds {found} files and should hold {hinted}");
    let at = checkpoint_place(store, segment);
    Err(Trouble::Checkpoint(Error::new(Code::CorruptCheckpoint, what).at(at)))
}

pub(crate) fn checkpoint_place(store: &Store, segment: &LogSegment) -> String {
    let name = segment.checkpoint.first().map(|it| it.path.to_path()).unwrap_or_default();
    format!("{}/{name}", store.location())
}
