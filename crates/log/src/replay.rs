//! Folds `LogBatch`es, newest first, into a `TableState`.
//!
//! Newest first, because then the first action seen for a key decides it and no row is ever
//! revisited; oldest first would keep every file that was ever removed.
//!
//! The oldest file, nearly always a checkpoint, is by far the largest, and nothing comes after it.
//! So the keys of a file enter the set of seen keys only when an older file is fed: a checkpoint's
//! rows are looked up among the few keys of the commits above it and never inserted.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::action::{CommitInfo, DomainMetadata, Metadata, Protocol, SetTransaction};
use crate::batch::{LogBatch, Width};
use crate::error::{Code, Error, Result};
use crate::files::{Chunk, FileList, HashedKeys, Keys, TombstoneChunk, decide};
use crate::state::{Head, TableState};
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

    /// Takes the next older log file.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` if the file decides one key twice: then its rows would be read twice.
    /// `limit-exceeded` past `u32::MAX` files or rows.
    pub fn feed(&mut self, batch: LogBatch) -> Result<()> {
        self.feed_checkpoint([batch])
    }

    /// Takes a checkpoint of several parts, the oldest thing there is: no part may repeat what
    /// another one says, so their order does not matter.
    ///
    /// # Errors
    ///
    /// As [`Replay::feed`], over all parts.
    pub fn feed_checkpoint(&mut self, parts: impl IntoIterator<Item = LogBatch>) -> Result<()> {
        let newer_sources = self.seen.sources.len();
        let (mut protocols, mut metadatas) = (0, 0);
        for part in parts {
            protocols += u32::from(part.protocol.is_some());
            metadatas += u32::from(part.metadata.is_some());
            if 1 < protocols || 1 < metadatas {
                let what = "parts of one checkpoint hold two `protocol` or two `metaData` actions";
                return Err(Error::new(Code::CorruptCheckpoint, what));
            }
            self.feed_part(part, newer_sources)?;
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
        Ok(self.into_head()?.0)
    }

    /// All of the version.
    ///
    /// # Errors
    ///
    /// As [`Replay::finish_head`]; `invalid-action` if one path is live with two vectors.
    pub fn finish(self) -> Result<TableState> {
        let (head, chunks, tombstones, width) = self.into_head()?;
        let files = FileList::new(chunks, tombstones, width);
        files.refuse_two_vectors()?;
        Ok(TableState { head, files })
    }

    fn into_head(self) -> Result<(Head, Vec<Chunk>, Vec<TombstoneChunk>, Width)> {
        let missing = |code, what: &str| {
            Error::new(code, format!("the log holds no `{what}` action up to this version"))
        };
        let protocol = self.protocol.ok_or_else(|| missing(Code::InvalidProtocol, "protocol"))?;
        let metadata = self.metadata.ok_or_else(|| missing(Code::InvalidMetadata, "metaData"))?;
        let mut head = Head::new(self.version, protocol, metadata)?;
        head.txns = self.txns;
        head.domains = self.domains;
        head.domains.retain(|_, it| !it.removed);
        head.commit_info = self.commit_info;
        Ok((head, self.chunks, self.tombstones, self.width))
    }

    fn feed_part(&mut self, part: LogBatch, newer_sources: usize) -> Result<()> {
        let LogBatch { adds, removes, protocol, metadata, txns, domains, commit_info, .. } = part;
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
        if self.width == Width::Head {
            return Ok(());
        }
        let code = Code::CorruptCheckpoint;
        let (adds, removes) = decide(adds.as_ref(), removes.as_ref(), self.width, code)?;
        self.seen.settle();
        if let Some(it) = adds {
            let live = self.seen.take(it.keys, newer_sources)?;
            self.chunks.push(Chunk::with_index(Arc::new(it.rows), live, it.index));
        }
        if let Some(it) = removes {
            let live = self.seen.take(it.keys, newer_sources)?;
            self.tombstones.push(TombstoneChunk::with_index(Arc::new(it.rows), live, it.index));
        }
        Ok(())
    }
}

impl Seen {
    /// Which rows no newer file has decided. They are pending from now on.
    fn take(&mut self, keys: HashedKeys, newer_sources: usize) -> Result<RoaringBitmap> {
        let HashedKeys { keys, path_hashes } = keys;
        let source = u32::try_from(self.sources.len())
            .map_err(|_| Error::new(Code::LimitExceeded, "the log has too many files"))?;
        let hashes = keys.key_hashes(path_hashes);
        let mut live = RoaringBitmap::new();
        live.insert_range(keys.rows());
        if !self.table.is_empty() {
            for (row, hash) in keys.rows().zip(&hashes) {
                let Some(at) = self.find(*hash, &keys, row) else { continue };
                if newer_sources <= usize::try_from(at.source).unwrap_or(usize::MAX) {
                    let what = format!("{} stands in two parts of one checkpoint", keys.shown(row));
                    return Err(Error::new(Code::CorruptCheckpoint, what));
                }
                live.remove(row);
            }
        }
        if COLLISIONS_MAX < self.collisions {
            let what = format!("over {COLLISIONS_MAX} paths of the log have colliding hashes");
            return Err(Error::new(Code::LimitExceeded, what));
        }
        self.pending.push(Pending { source, hashes, live: live.clone() });
        self.sources.push(keys);
        Ok(live)
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
