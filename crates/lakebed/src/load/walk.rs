//! The live files of a version, a part at a time.
//!
//! Who wants a sum over all files, or to copy them, needs no list of them: the commits above the
//! checkpoint are few and decide, and the checkpoint's rows pass by. So memory is that of one part,
//! however large the table is.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::Array;
use bytes::Bytes;
use lakebed_log::action::Sidecar;
use lakebed_log::batch::{FileUnit, Footer, LogBatch, Names, SparseFile, Width, parquet_footer};
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::files::{Above, Chunk, FileList, FileSum, path_hashes};
use lakebed_log::log_path::LogPath;
use lakebed_log::replay::Replay;
use lakebed_log::segment::{LogFile, LogSegment};
use lakebed_log::state::Head;
use parquet::file::metadata::ParquetMetaData;

use super::fetch::{
    FETCHES, KeptPart, Piece, Trouble, all, fetch_whole_bytes, footer, named_sidecars, trouble,
};
use super::files::commits_above;
use super::source::{Reader, decode_ranges};
use super::units::{each_unit, is_sparse};
use super::{Loaded, Moment, Opening, Seen, Skips, sidecar};
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// Rows decoded at once where nothing is kept of them.
const SLICE_ROWS: usize = 1_024;

/// A version as the files of the commits above its checkpoint, and what the checkpoint is made of.
pub(crate) struct Layers {
    /// What the commits say.
    pub(crate) newest: Arc<FileList>,
    pieces: Vec<(Piece, KeptPart)>,
    /// As the top level names them, by piece; none for a piece that is no sidecar.
    sidecars: Vec<Option<Sidecar>>,
}

/// What a sidecar holds, without its files: to find out whether it holds one that is gone.
#[derive(Default)]
pub(crate) struct SidecarKeys {
    /// Live files, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) removes: u64,
    /// When the last of its tombstones was made, in milliseconds.
    pub(crate) removed_until: Option<i64>,
    /// Of the paths, ascending.
    hashes: Vec<u64>,
}

impl SidecarKeys {
    /// Of all its rows.
    pub(crate) fn of(names: &Names) -> SidecarKeys {
        let mut keys = SidecarKeys::default();
        keys.add(names);
        keys.sorted()
    }

    /// Adds some of its rows.
    fn add(&mut self, names: &Names) {
        if let Some((paths, sizes)) = &names.added {
            self.files += paths.len() as u64;
            let size = |it: &i64| u64::try_from(*it).unwrap_or(0);
            self.bytes = sizes.values().iter().map(size).fold(self.bytes, u64::saturating_add);
            self.hashes.extend(path_hashes(paths));
        }
        if let Some((paths, times)) = &names.removed {
            self.removes += paths.len() as u64;
            let until = times.iter().map(|it| it.unwrap_or(0)).max();
            self.removed_until = self.removed_until.max(until);
            self.hashes.extend(path_hashes(paths));
        }
    }

    fn sorted(mut self) -> SidecarKeys {
        self.hashes.sort_unstable();
        self
    }

    /// May it hold a file of one of these paths? Their hashes are ascending.
    pub(crate) fn holds_any(&self, paths: &[u64]) -> bool {
        let (few, many) = match paths.len() < self.hashes.len() {
            true => (paths, self.hashes.as_slice()),
            false => (self.hashes.as_slice(), paths),
        };
        few.iter().any(|it| many.binary_search(it).is_ok())
    }
}

/// Some rows of a checkpoint, to be fetched and decoded by themselves.
pub(crate) struct Unit {
    piece: Piece,
    kept: KeptPart,
    width: Width,
    /// Which of the row groups, where the file is large.
    part: Option<(Arc<ParquetMetaData>, FileUnit)>,
}

/// A unit that was fetched.
#[derive(Clone)]
pub(crate) enum Fetched {
    Json(Bytes, Width),
    Whole(Bytes, Width),
    Part(SparseFile, Arc<ParquetMetaData>, FileUnit),
}

/// Reads the commits above the checkpoint of a version.
///
/// # Errors
///
/// What reading them gives; that of the checkpoint if its sidecars make no sense.
pub(crate) async fn layers(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    width: Width,
) -> Result<Layers, Trouble> {
    let commits = commits_above(env, op, store, of, width).await?;
    let (version, access) = (of.head.version, of.head.read.access());
    let fold = move || {
        let mut replay = Replay::new(version, width).by(access);
        for commit in commits.iter().rev() {
            replay.feed(commit.batch.clone())?;
        }
        replay.finish_files()
    };
    let newest = Arc::new(env.compute(fold).await.map_err(Trouble::Final)?);
    Layers::of(env, op, store, newest, &of.segment.checkpoint, &of.kept.checkpoint).await
}

/// The same without the commits, for whoever reads them by himself.
///
/// # Errors
///
/// As [`layers`].
pub(crate) async fn layers_below(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
) -> Result<Layers, Trouble> {
    let none = Arc::new(FileList::empty(Width::Wide));
    Layers::of(env, op, store, none, &of.segment.checkpoint, &of.kept.checkpoint).await
}

impl Layers {
    /// Of the files of a checkpoint, of which some may have been read before.
    async fn of(
        env: &Env,
        op: &Op,
        store: &Store,
        newest: Arc<FileList>,
        files: &[LogFile],
        kept: &[KeptPart],
    ) -> Result<Layers, Trouble> {
        let (mut pieces, mut sidecars) = (Vec::new(), Vec::new());
        for (at, file) in files.iter().enumerate() {
            let kept = kept.get(at).cloned().unwrap_or_default();
            let (kept, named) = named_sidecars(env, op, store, file, kept).await?;
            if named.is_empty() {
                pieces.push((Piece::of(file), kept));
            }
            sidecars.extend(named.iter().cloned());
        }
        let mut named: Vec<Option<Sidecar>> = vec![None; pieces.len()];
        let found = sidecar::pieces(store, &sidecars).map_err(Trouble::Checkpoint)?;
        pieces.extend(found.into_iter().map(|it| (it, KeptPart::default())));
        named.extend(sidecars.into_iter().map(Some));
        Ok(Layers { newest, pieces, sidecars: named })
    }

    /// Reads all that a checkpoint says, statistics too, a part at a time, and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// What reading it gives.
    pub(crate) async fn read_through(
        env: &Env,
        op: &Op,
        store: &Store,
        files: &[LogFile],
    ) -> Result<(), Trouble> {
        let none = Arc::new(FileList::empty(Width::Wide));
        let layers = Layers::of(env, op, store, none, files, &[]).await?;
        for at in 0..layers.parts() {
            for unit in layers.units_of(op, store, at, Width::Wide).await? {
                let fetched = unit.fetch(env, op, store).await?;
                let decode = move || fetched.decode(SLICE_ROWS, |_| Ok(()));
                let place = layers.pieces.get(at).map(|it| it.0.key.clone()).unwrap_or_default();
                let placed = |it: Error| it.at(format!("{}/{place}", store.location()));
                env.compute(decode).await.map_err(|it| Trouble::Checkpoint(placed(it)))?;
            }
        }
        Ok(())
    }

    /// What `each` makes of every part of the live files, several at once.
    async fn walk<T, F>(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        width: Width,
        each: F,
    ) -> Result<Vec<T>, Trouble>
    where
        T: Send + 'static,
        F: Fn(&Chunk) -> Result<T> + Clone + Send + 'static,
    {
        let mut made = Vec::new();
        for chunk in self.newest.chunks() {
            made.push(each(chunk).map_err(Trouble::Final)?);
        }
        let part = |(piece, kept): (Piece, KeptPart)| {
            let (newest, each) = (Arc::clone(&self.newest), each.clone());
            let part = move |batch: LogBatch| {
                let Some(adds) = batch.adds else { return Ok(None) };
                each(&newest.undecided(adds)).map(Some)
            };
            async move { Ok(each_unit(env, op, store, &piece, &kept, width, part).await) }
        };
        let limit = FETCHES.min(env.cores() + 1);
        let parts = all(map_ordered(self.pieces.clone(), limit, part)).await?;
        made.extend(parts.into_iter().flatten().flatten());
        Ok(made)
    }

    /// Of how many files the checkpoint is made.
    pub(crate) fn parts(&self) -> usize {
        self.pieces.len()
    }

    /// What the top level says of one of them, if it is a sidecar.
    pub(crate) fn sidecar(&self, at: usize) -> Option<&Sidecar> {
        self.sidecars.get(at)?.as_ref()
    }

    /// Reads what one of them holds.
    ///
    /// # Errors
    ///
    /// What reading it gives.
    pub(crate) async fn read_keys(
        &self,
        env: &Env,
        op: &Op,
        store: &Store,
        at: usize,
    ) -> Result<SidecarKeys> {
        let Some((piece, kept)) = self.pieces.get(at) else { return Ok(SidecarKeys::default()) };
        let footer = match &kept.footer {
            Some(it) => Arc::clone(it),
            None => footer(op, store, piece).await.map_err(|it| trouble(piece, it).error())?,
        };
        let ranges = Names::ranges(&footer);
        let keys = move |it: Reader| {
            let mut keys = SidecarKeys::default();
            Names::decode(it, &footer, |some| keys.add(some))?;
            Ok(keys.sorted())
        };
        let whole = kept.whole.clone();
        let read = decode_ranges(env, op, store, piece, whole, &ranges, keys).await;
        read.map_err(Trouble::error)?
            .map_err(|it| it.at(format!("{}/{}", store.location(), piece.key)))
    }

    /// The checkpoint in its order, in units that are decoded one by one.
    ///
    /// # Errors
    ///
    /// What reading the footers gives.
    pub(crate) async fn units(
        &self,
        op: &Op,
        store: &Store,
        width: Width,
    ) -> Result<Vec<Unit>, Trouble> {
        let mut units = Vec::new();
        for at in 0..self.pieces.len() {
            units.extend(self.units_of(op, store, at, width).await?);
        }
        Ok(units)
    }

    /// The same of one of its files.
    ///
    /// # Errors
    ///
    /// As [`Layers::units`].
    pub(crate) async fn units_of(
        &self,
        op: &Op,
        store: &Store,
        at: usize,
        width: Width,
    ) -> Result<Vec<Unit>, Trouble> {
        let Some((piece, kept)) = self.pieces.get(at) else { return Ok(Vec::new()) };
        let unit = |part| Unit { piece: piece.clone(), kept: kept.clone(), width, part };
        if !is_sparse(piece, kept) {
            return Ok(vec![unit(None)]);
        }
        let footer = match &kept.footer {
            Some(it) => Arc::clone(it),
            None => footer(op, store, piece).await.map_err(|it| trouble(piece, it))?,
        };
        let parts = FileUnit::of(&footer, width).into_iter();
        Ok(parts.map(|it| unit(Some((Arc::clone(&footer), it)))).collect())
    }
}

impl Unit {
    /// Fetches it.
    ///
    /// # Errors
    ///
    /// What the store gives.
    pub(crate) async fn fetch(self, env: &Env, op: &Op, store: &Store) -> Result<Fetched, Trouble> {
        let Unit { piece, kept, width, part } = self;
        let budget = env.budget();
        let failed = |it| trouble(&piece, it);
        let Some((footer, unit)) = part else {
            let permit = budget.acquire(piece.size.min(budget.total())).await;
            let _permit = permit.map_err(Trouble::Final)?;
            let bytes = match kept.whole {
                Some(it) => it,
                None => fetch_whole_bytes(op, store, &piece).await.map_err(failed)?,
            };
            return Ok(match piece.json {
                true => Fetched::Json(bytes, width),
                false => Fetched::Whole(bytes, width),
            });
        };
        let ranges = unit.ranges(&footer);
        let bytes = ranges.iter().map(|it| it.end - it.start).fold(0, u64::saturating_add);
        let permit = budget.acquire(bytes.min(budget.total())).await;
        let _permit = permit.map_err(Trouble::Final)?;
        let pinned = store.pinned(&piece.pin);
        let fetched = pinned.get_ranges(op, &piece.key, &ranges).await.map_err(failed)?;
        let mut sparse = SparseFile::new(piece.size);
        for (range, bytes) in ranges.iter().zip(fetched) {
            sparse.insert(range.start, bytes);
        }
        Ok(Fetched::Part(sparse, footer, unit))
    }
}

impl Fetched {
    /// Decodes it, at most so many rows at a time.
    ///
    /// # Errors
    ///
    /// Those of decoding, and of `each`.
    pub(crate) fn decode(
        self,
        rows: usize,
        mut each: impl FnMut(LogBatch) -> Result<()>,
    ) -> Result<()> {
        match self {
            Fetched::Json(bytes, width) => each(LogBatch::from_json_checkpoint(&bytes, width)?),
            Fetched::Part(file, footer, unit) => unit.decode_slices(file, &footer, rows, each),
            Fetched::Whole(bytes, width) => {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let Footer::Ready(footer) = parquet_footer(&bytes, size)? else {
                    let what = format!("a file of {size} bytes is not Parquet");
                    return Err(Error::new(Code::CorruptCheckpoint, what));
                };
                for unit in FileUnit::of(&footer, width) {
                    unit.decode_slices(bytes.clone(), &footer, rows, &mut each)?;
                }
                Ok(())
            }
        }
    }
}

/// What a version adds up to.
///
/// # Errors
///
/// As for opening it.
pub(crate) async fn sum(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
) -> Result<FileSum, Trouble> {
    let width = Width::Narrow;
    let layers = layers(env, op, store, of, width).await?;
    let each = |chunk: &Chunk| Ok(FileSum::of(chunk));
    let sums = layers.walk(env, op, store, width, each).await?;
    Ok(sums.into_iter().fold(FileSum::default(), FileSum::and))
}

/// A checkpoint as it alone tells it, read whole, and what it adds up to.
///
/// # Errors
///
/// `corrupt-checkpoint` if it does not read; what the store gives.
pub(crate) async fn checkpoint_alone(
    env: &Env,
    op: &Op,
    store: &Store,
    checkpoint: &[LogFile],
) -> Result<(FileSum, Loaded)> {
    let seen = Seen { at: Moment::now(env), newest: false };
    let (catalog, hint, skips) = (None, None, Skips::default());
    let opening = Opening { env, op, store, catalog, hint, skips };
    let segment = LogSegment::new(checkpoint.to_vec(), None, &[])?;
    let alone = opening.load(segment, seen).await.map_err(Trouble::error)?;
    let sum = sum(env, op, store, &alone).await.map_err(Trouble::error)?;
    Ok((sum, alone))
}

/// Reads a checkpoint whole and holds it against what the older files of the log say of its
/// version, if they still say anything.
///
/// # Errors
///
/// `corrupt-checkpoint` if it does not read or says something else; what the store gives.
pub(crate) async fn prove(
    env: &Env,
    op: &Op,
    store: &Store,
    files: &[LogFile],
    checkpoint: &[LogFile],
) -> Result<FileSum> {
    let (said, alone) = checkpoint_alone(env, op, store, checkpoint).await?;
    let version = alone.head.version;
    let (catalog, hint, skips) = (None, None, Skips::default());
    let opening = Opening { env, op, store, catalog, hint, skips };

    // No checkpoint of this version can vouch for another one.
    let same = files.iter().map(|it| &it.path).filter(|it| match it {
        LogPath::Checkpoint(it, _) => *it == version,
        _ => false,
    });
    let skip: BTreeSet<LogPath> = same.cloned().collect();
    let older = opening.run(Some(version), None, skip.into_iter().collect(), 0).await;
    let older = match older {
        Ok(it) => it,
        Err(it) if matches!(it.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            return Ok(said);
        }
        Err(it) => return Err(it),
    };
    let proved = match sum(env, op, store, &older).await.map_err(Trouble::error) {
        Ok(it) => it,
        Err(it) if it.kind() == ErrorKind::Corrupt => return Ok(said),
        Err(it) => return Err(it),
    };
    if proved == said && same_table(&alone.head, &older.head) {
        return Ok(said);
    }
    let what = format!(
        "the checkpoint of version {version} holds {} files, the log below it says {}, or other \
         ones, or another protocol or metadata",
        said.files, proved.files
    );
    let place = super::checkpoint_place(store, &alone.segment);
    Err(Error::new(Code::CorruptCheckpoint, what).at(place))
}

/// What a checkpoint must repeat; transactions it may let go when they expire.
fn same_table(a: &Head, b: &Head) -> bool {
    a.protocol == b.protocol && a.metadata == b.metadata && a.domains == b.domains
}

/// The keys of the sidecars that a checkpoint names.
///
/// # Errors
///
/// As for opening it.
pub(crate) async fn sidecars_of(
    env: &Env,
    op: &Op,
    store: &Store,
    checkpoint: &[LogFile],
) -> Result<Vec<String>> {
    let segment = LogSegment::new(checkpoint.to_vec(), None, &[])?;
    let parts = super::checkpoint_parts(env, op, store, &segment).await.map_err(Trouble::error)?;
    let mut keys = Vec::new();
    for (_, batch) in parts {
        for sidecar in &batch.sidecars {
            keys.push(sidecar::locate(store, sidecar)?.0);
        }
    }
    Ok(keys)
}
