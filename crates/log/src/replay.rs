//! Folds `LogBatch`es, newest first, into a `TableState`.
//!
//! Newest first, because then the first action seen for a key decides it and no row is ever
//! revisited; oldest first would keep every file that was ever removed.
//!
//! The oldest file, nearly always a checkpoint, is by far the largest, and nothing comes after it.
//! So the keys of a file enter the set of seen keys only when an older file is fed: a checkpoint's
//! rows are looked up among the few keys of the commits above it and never inserted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::action::{Action, CommitInfo, DomainMetadata, Metadata, Protocol, SetTransaction};
use crate::batch::{Adds, LogBatch, Removes, Run, Width};
use crate::error::{Code, Error, Result};
use crate::files::{
    Chunk, Decided, DecidedFile, FileList, HashedKeys, Keys, Source, TombstoneChunk, contradiction,
    decide, hash, twice,
};
use crate::state::{Head, TableState};
use crate::support::Access;
use crate::version::Version;

/// Different keys of equal 64-bit hash met in one fold. Chance makes none; a log made to collide
/// would turn each look-up into a walk.
const COLLISIONS_MAX: u64 = 1 << 20;

/// The fold. Feed the newest file first; the first action seen for a key decides it.
///
/// ```
/// use lakebed_log::batch::{LogBatch, Width};
/// use lakebed_log::replay::Replay;
/// use lakebed_log::version::Version;
///
/// let commit = concat!(
///     r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#, "\n",
///     r#"{"metaData":{"id":"t","format":{"provider":"parquet","options":{}},"#,
///     r#""schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"long\","#,
///     r#"\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}"#, "\n",
///     r#"{"add":{"path":"a.parquet","partitionValues":{},"size":1,"modificationTime":0,"#,
///     r#""dataChange":true}}"#, "\n",
/// );
/// let mut replay = Replay::new(Version::ZERO, Width::Narrow);
/// replay.feed(LogBatch::from_json(commit.as_bytes(), Width::Narrow)?)?;
/// let state = replay.finish()?;
/// assert_eq!(state.files.len(), 1);
/// # Ok::<(), lakebed_log::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Replay {
    version: Version,
    width: Width,
    access: Access,
    fed: u64,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: BTreeMap<String, SetTransaction>,
    /// Removed ones too: they hide older ones.
    domains: BTreeMap<String, DomainMetadata>,
    commit_info: Option<CommitInfo>,
    chunks: Vec<Chunk>,
    tombstones: Vec<TombstoneChunk>,
    seen: Seen,
}

/// With as many rows for each key that newer files decided, the keys are looked up among the rows,
/// else the rows among the keys.
const LOOK_UPS_PER_PROBE: usize = 32;

/// A part of a checkpoint made ready to be fed. That is the larger share of the work of feeding it,
/// and each part's own, so that it can be done side by side.
pub struct Part {
    /// What is not about files.
    rest: LogBatch,
    adds: Option<Decided<Adds>>,
    removes: Option<Decided<Removes>>,
}

impl Part {
    /// How many adds it holds.
    pub fn adds(&self) -> u64 {
        self.adds.as_ref().map_or(0, |it| it.rows.len() as u64)
    }
}

/// Which keys newer files have decided.
#[derive(Debug, Default)]
struct Seen {
    table: HashTable<At>,
    /// One per list of adds or removes; what [`At::source`] counts.
    sources: Vec<Keys>,
    /// Rows of the newest sources that are not in the table yet.
    pending: Vec<Pending>,
    collisions: u64,
}

/// Where a key is: it is read in place.
///
/// The hash is kept because growing the table would otherwise read every key again, each one a
/// cache miss.
#[derive(Clone, Copy, Debug)]
struct At {
    hash: u64,
    source: u32,
    row: u32,
}

#[derive(Debug)]
struct Pending {
    source: u32,
    hashes: Vec<u64>,
    live: RoaringBitmap,
}

impl Replay {
    /// For one version, at one width.
    pub fn new(version: Version, width: Width) -> Replay {
        Replay {
            version,
            width,
            access: Access::Path,
            fed: 0,
            protocol: None,
            metadata: None,
            txns: BTreeMap::new(),
            domains: BTreeMap::new(),
            commit_info: None,
            chunks: Vec::new(),
            tombstones: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// Folds a table that is come by in some way.
    #[must_use]
    pub fn by(self, access: Access) -> Replay {
        Replay { access, ..self }
    }

    /// Takes the next older log file.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` if the file decides one key twice: then its rows would be read twice.
    /// `limit-exceeded` past `u32::MAX` files or rows.
    pub fn feed(&mut self, batch: LogBatch) -> Result<()> {
        let Part { rest, adds, removes } = Part::decided(batch, self.width)?;
        self.take_small(rest);
        self.seen.settle();
        if let Some(it) = adds {
            let live = self.seen.take(it.keys)?;
            self.chunks.push(Chunk::with_index(Arc::new(it.rows), live, it.index));
        }
        if let Some(it) = removes {
            let live = self.seen.take(it.keys)?;
            self.tombstones.push(TombstoneChunk::with_index(Arc::new(it.rows), live, it.index));
        }
        Ok(())
    }

    /// Takes what the next older log file says beside its file actions.
    pub fn feed_small(&mut self, batch: &LogBatch) {
        if self.fed == 0 {
            self.commit_info.clone_from(&batch.commit_info);
        }
        self.fed += 1;
        if self.protocol.is_none() {
            self.protocol.clone_from(&batch.protocol);
        }
        if self.metadata.is_none() {
            self.metadata.clone_from(&batch.metadata);
        }
        for txn in &batch.txns {
            self.txns.entry(txn.app_id.clone()).or_insert_with(|| txn.clone());
        }
        for domain in &batch.domains {
            self.domains.entry(domain.domain.clone()).or_insert_with(|| domain.clone());
        }
    }

    /// Takes the file actions of the next older commits at once.
    ///
    /// # Errors
    ///
    /// `limit-exceeded` past `u32::MAX` files or rows; `internal` for a wide fold.
    pub fn feed_run(&mut self, run: &Run) -> Result<()> {
        if self.width != Width::Narrow {
            return Err(Error::internal("a run of commits has no statistics"));
        }
        self.seen.settle();
        let adds = run.adds.as_ref().map(|it| self.seen.open(Keys::of_adds(it))).transpose()?;
        let removes =
            run.removes.as_ref().map(|it| self.seen.open(Keys::of_removes(it))).transpose()?;
        let (mut added, mut removed) = (RoaringBitmap::new(), RoaringBitmap::new());
        for (adds_at, removes_at) in run.rows.iter().rev() {
            if let Some(source) = &adds {
                self.seen.enter(source, adds_at.clone(), &mut added)?;
            }
            if let Some(source) = &removes {
                self.seen.enter(source, removes_at.clone(), &mut removed)?;
            }
        }
        if let Some(adds) = run.adds.clone().filter(|_| !added.is_empty()) {
            self.chunks.push(Chunk::new(Arc::new(adds), added));
        }
        if let Some(removes) = run.removes.clone().filter(|_| !removed.is_empty()) {
            self.tombstones.push(TombstoneChunk::new(Arc::new(removes), removed));
        }
        Ok(())
    }

    /// Takes a checkpoint of several parts, the oldest thing there is: no part may repeat what
    /// another one says, so their order decides nothing but the order of files.
    ///
    /// # Errors
    ///
    /// As [`Replay::feed`], over all parts.
    pub fn feed_checkpoint(&mut self, parts: impl IntoIterator<Item = LogBatch>) -> Result<()> {
        let width = self.width;
        let parts = parts.into_iter().map(|it| Part::new(it, width)).collect::<Result<_>>()?;
        self.feed_parts(parts)
    }

    /// The same of parts that were made ready before.
    ///
    /// # Errors
    ///
    /// As [`Replay::feed_checkpoint`].
    pub fn feed_parts(&mut self, parts: Vec<Part>) -> Result<()> {
        let (mut protocols, mut metadatas) = (0, 0);
        let mut files = Vec::with_capacity(parts.len());
        for Part { rest, adds, removes } in parts {
            protocols += u32::from(rest.protocol.is_some());
            metadatas += u32::from(rest.metadata.is_some());
            if 1 < protocols || 1 < metadatas {
                let what = "parts of one checkpoint hold two `protocol` or two `metaData` actions";
                return Err(Error::new(Code::CorruptCheckpoint, what));
            }
            self.take_small(rest);
            files.push((adds, removes));
        }
        if 1 < files.len() {
            refuse_contradictions(&files)?;
        }
        self.seen.settle();
        // Layers stand newest first and are read from their end.
        for (adds, removes) in files.into_iter().rev() {
            if let Some(it) = adds {
                let live = self.seen.undecided(&it)?;
                self.chunks.push(Chunk::with_index(Arc::new(it.rows), live, it.index));
            }
            if let Some(it) = removes {
                let live = self.seen.undecided(&it)?;
                let rows = Arc::new(it.rows);
                self.tombstones.push(TombstoneChunk::with_index(rows, live, it.index));
            }
        }
        Ok(())
    }

    /// Are protocol and metadata known, so that older commits add nothing to the head but
    /// transactions and domains?
    pub fn has_head(&self) -> bool {
        self.protocol.is_some() && self.metadata.is_some()
    }

    /// The head alone.
    ///
    /// # Errors
    ///
    /// `invalid-protocol` or `invalid-metadata` if the log holds none; else those of [`Head::new`].
    pub fn finish_head(self) -> Result<Head> {
        let missing = |code, what: &str| {
            Error::new(code, format!("the log holds no `{what}` action up to this version"))
        };
        let protocol = self.protocol.ok_or_else(|| missing(Code::InvalidProtocol, "protocol"))?;
        let metadata = self.metadata.ok_or_else(|| missing(Code::InvalidMetadata, "metaData"))?;
        let mut head = Head::by(self.version, protocol, metadata, self.access)?;
        head.txns = self.txns;
        head.domains = self.domains;
        head.domains.retain(|_, it| !it.removed);
        head.commit_info = self.commit_info;
        Ok(head)
    }

    /// All of the version.
    ///
    /// # Errors
    ///
    /// As [`Replay::finish_head`]; `invalid-action` if one path is live with two vectors.
    pub fn finish(mut self) -> Result<TableState> {
        let (chunks, tombstones) = self.take_layers();
        let width = self.width;
        let head = self.finish_head()?;
        Ok(TableState { head, files: listed(chunks, tombstones, width)? })
    }

    /// The files alone, for whoever has the head already, or wants what a part of the log says.
    ///
    /// # Errors
    ///
    /// `invalid-action` if one path is live with two vectors.
    pub fn finish_files(mut self) -> Result<FileList> {
        let (chunks, tombstones) = self.take_layers();
        listed(chunks, tombstones, self.width)
    }

    /// What the log files fed amount to, as actions: the newest of each file, application and
    /// domain, and the newest protocol and metadata. For a part of a log, which has no state.
    ///
    /// # Errors
    ///
    /// `invalid-action` if one path is live with two vectors.
    pub fn finish_actions(mut self) -> Result<Vec<Action>> {
        let (chunks, tombstones) = self.take_layers();
        let Replay { protocol, metadata, txns, domains, width, .. } = self;
        let mut actions: Vec<Action> = protocol.map(Action::Protocol).into_iter().collect();
        actions.extend(metadata.map(Action::Metadata));
        actions.extend(txns.into_values().map(Action::SetTransaction));
        actions.extend(domains.into_values().map(Action::DomainMetadata));
        let files = listed(chunks, tombstones, width)?;
        for chunk in files.tombstones().iter().rev() {
            for row in chunk.live.iter().filter_map(|it| usize::try_from(it).ok()) {
                actions.push(Action::Remove(chunk.rows.get(row)?));
            }
        }
        for at in files.iter() {
            actions.push(Action::Add(files.get(at)?));
        }
        Ok(actions)
    }

    fn take_layers(&mut self) -> (Vec<Chunk>, Vec<TombstoneChunk>) {
        (std::mem::take(&mut self.chunks), std::mem::take(&mut self.tombstones))
    }

    fn take_small(&mut self, file: LogBatch) {
        let LogBatch { protocol, metadata, txns, domains, commit_info, .. } = file;
        if self.fed == 0 {
            self.commit_info = commit_info;
        }
        self.fed += 1;
        self.protocol = self.protocol.take().or(protocol);
        self.metadata = self.metadata.take().or(metadata);
        for txn in txns {
            self.txns.entry(txn.app_id.clone()).or_insert(txn);
        }
        for domain in domains {
            self.domains.entry(domain.domain.clone()).or_insert(domain);
        }
    }
}

fn listed(chunks: Vec<Chunk>, tombstones: Vec<TombstoneChunk>, width: Width) -> Result<FileList> {
    let files = FileList::new(chunks, tombstones, width);
    files.refuse_two_vectors()?;
    Ok(files)
}

impl Part {
    /// Has it file actions?
    pub fn has_files(&self) -> bool {
        self.adds.is_some() || self.removes.is_some()
    }

    /// Hashes and sorts the keys of its file actions, as far as `width` asks for any.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` if it decides one key twice. `limit-exceeded` past `u32::MAX` rows.
    pub fn new(batch: LogBatch, width: Width) -> Result<Part> {
        let mut part = Part::decided(batch, width)?;
        // Many parts wait for each other, and most look-ups go through the index.
        let keys = part.adds.as_mut().map(|it| &mut it.keys);
        let keys = keys.into_iter().chain(part.removes.as_mut().map(|it| &mut it.keys));
        keys.for_each(|it| it.path_hashes = Vec::new());
        Ok(part)
    }

    fn decided(mut batch: LogBatch, width: Width) -> Result<Part> {
        let (adds, removes) = (batch.adds.take(), batch.removes.take());
        if width == Width::Head {
            return Ok(Part { rest: batch, adds: None, removes: None });
        }
        let code = Code::CorruptCheckpoint;
        let (adds, removes) = decide(adds.as_ref(), removes.as_ref(), width, code)?;
        Ok(Part { rest: batch, adds, removes })
    }
}

/// Each part agrees with itself; do they agree with each other?
fn refuse_contradictions(files: &[DecidedFile]) -> Result<()> {
    let mut sources = Vec::with_capacity(2 * files.len());
    for (adds, removes) in files {
        sources.extend(adds.iter().map(|it| Source { index: &it.index, is_add: true }));
        sources.extend(removes.iter().map(|it| Source { index: &it.index, is_add: false }));
    }
    match contradiction(&sources, |_, _| true) {
        None => Ok(()),
        Some((source, row)) => Err(match sources.get(source) {
            Some(it) => twice(it.index.keys(), row, Code::CorruptCheckpoint),
            None => Error::internal("no such part"),
        }),
    }
}

/// Keys of a run, being entered commit by commit.
struct Opened {
    source: u32,
    keys: Keys,
    hashes: Vec<u64>,
}

impl Seen {
    /// A list of keys that are entered by and by.
    fn open(&mut self, keys: Keys) -> Result<Opened> {
        let source = u32::try_from(self.sources.len())
            .map_err(|_| Error::new(Code::LimitExceeded, "the log has too many files"))?;
        let hashes = keys.key_hashes(keys.path_hashes());
        self.sources.push(keys.clone());
        Ok(Opened { source, keys, hashes })
    }

    /// Enters the rows that nothing newer has decided, and marks them.
    fn enter(
        &mut self,
        opened: &Opened,
        rows: Range<usize>,
        live: &mut RoaringBitmap,
    ) -> Result<()> {
        let Opened { source, keys, hashes } = opened;
        for at in rows {
            let (Ok(row), Some(hash)) = (u32::try_from(at), hashes.get(at)) else {
                return Err(Error::new(Code::LimitExceeded, "the log has too many files"));
            };
            if self.find(*hash, keys, row).is_none() {
                let entry = At { hash: *hash, source: *source, row };
                self.table.insert_unique(*hash, entry, |at| at.hash);
                live.insert(row);
            }
        }
        self.check_collisions()
    }

    /// Which rows no newer file has decided. They are pending from now on.
    fn take(&mut self, keys: HashedKeys) -> Result<RoaringBitmap> {
        let HashedKeys { keys, path_hashes } = keys;
        let source = u32::try_from(self.sources.len())
            .map_err(|_| Error::new(Code::LimitExceeded, "the log has too many files"))?;
        let hashes = keys.key_hashes(path_hashes);
        let live = self.probe(&keys, &hashes)?;
        self.pending.push(Pending { source, hashes, live: live.clone() });
        self.sources.push(keys);
        Ok(live)
    }

    /// Which rows of the oldest file no newer one has decided. They decide nothing themselves.
    fn undecided<R>(&mut self, file: &Decided<R>) -> Result<RoaringBitmap> {
        let keys = &file.keys.keys;
        if keys.len() / LOOK_UPS_PER_PROBE <= self.table.len() {
            return self.probe(keys, &keys.key_hashes(keys.path_hashes()));
        }
        let mut live = RoaringBitmap::new();
        live.insert_range(keys.rows());
        for at in &self.table {
            let source = usize::try_from(at.source).ok().and_then(|it| self.sources.get(it));
            let Some(source) = source else { continue };
            let (path, vector) = (source.path(at.row), source.vector(at.row));
            for row in file.index.rows_of_key(hash(&path), &path, vector.as_deref()) {
                live.remove(row);
            }
        }
        Ok(live)
    }

    fn probe(&mut self, keys: &Keys, hashes: &[u64]) -> Result<RoaringBitmap> {
        let mut live = RoaringBitmap::new();
        live.insert_range(keys.rows());
        if !self.table.is_empty() {
            for (row, hash) in keys.rows().zip(hashes) {
                if self.find(*hash, keys, row).is_some() {
                    live.remove(row);
                }
            }
        }
        self.check_collisions()?;
        Ok(live)
    }

    fn check_collisions(&self) -> Result<()> {
        if COLLISIONS_MAX < self.collisions {
            let what = format!("over {COLLISIONS_MAX} paths of the log have colliding hashes");
            return Err(Error::new(Code::LimitExceeded, what));
        }
        Ok(())
    }

    fn find(&mut self, hash: u64, keys: &Keys, row: u32) -> Option<At> {
        let Seen { table, sources, collisions, .. } = self;
        let same = |at: &At| {
            let older = usize::try_from(at.source).ok().and_then(|it| sources.get(it));
            let same = at.hash == hash && older.is_some_and(|it| it.same(at.row, keys, row));
            *collisions += u64::from(at.hash == hash && !same);
            same
        };
        table.find(hash, same).copied()
    }

    /// Enters the pending rows. Those that a newer file decided are in already.
    fn settle(&mut self) {
        for Pending { source, hashes, live } in self.pending.drain(..) {
            let more = usize::try_from(live.len()).unwrap_or(0);
            self.table.reserve(more, |at| at.hash);
            for row in &live {
                let hash = usize::try_from(row).ok().and_then(|it| hashes.get(it));
                let Some(hash) = hash.copied() else { continue };
                self.table.insert_unique(hash, At { hash, source, row }, |at| at.hash);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
