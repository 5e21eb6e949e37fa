//! Lists, fetches, decodes, replays; refreshes a state from an older one.

use std::sync::Arc;

use lakebed_log::batch::Width;
use lakebed_log::error::Result;
use lakebed_log::segment::LogSegment;
use lakebed_log::state::{Head, TableState};
use lakebed_log::version::Version;

use crate::env::Env;
use crate::op::Op;
use crate::store::Store;

/// What one round of loading found. Bytes of small checkpoints and of commits are kept until the files are asked for, so
/// that nothing is fetched twice.
#[derive(Clone)]
pub struct Loaded {
    /// Which log files.
    pub segment: Arc<LogSegment>,
    /// The small state.
    pub head: Arc<Head>,
    kept: Arc<Kept>,
}

struct Kept;

/// Cold open: hint and LIST, then checkpoint (whole up to 4 MiB, else footer and head columns) and commits. Falls back
/// to an older checkpoint or the commits when a checkpoint proves broken. Errors are placed at the file.
pub async fn open(_env: &Env, _op: &Op, _store: &Store, _target: Option<Version>) -> Result<Loaded> { todo!() }

/// One LIST from the version held, inclusive. `Ok(None)`: nothing newer. A replaced table is opened anew.
pub async fn refresh(_env: &Env, _op: &Op, _store: &Store, _from: &Loaded) -> Result<Option<Loaded>> { todo!() }

/// The whole state at a width. Uses kept bytes; `base` is an older state of the same table to advance from, if it is wide
/// enough and its version lies on the segment.
pub async fn files(_env: &Env, _op: &Op, _store: &Store, _of: &Loaded, _width: Width, _base: Option<&TableState>) -> Result<Arc<TableState>> { todo!() }

impl Loaded {
    /// One version on, by a commit we hold decoded (our own, or a winner that was read): no request.
    pub fn advance(&self, _version: Version, _commit: &lakebed_log::batch::LogBatch, _bytes: bytes::Bytes) -> Result<Loaded> { let _ = &self.kept; todo!() }
}
