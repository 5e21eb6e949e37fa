//! A plan made once, from a large checkpoint, without the state of the table.
//!
//! The decisions are [`Sift`]'s; here its row groups are fetched, a few at once, each in as many
//! rounds as it has steps. What is not needed is not fetched, and nothing is fetched twice.

use std::sync::Arc;

use futures::TryStreamExt;
use lakebed_log::action::Sidecar;
use lakebed_log::batch::{Footer, Group, Width, parquet_footer};
use lakebed_log::error::{Error, ErrorKind, Result};
use lakebed_log::limits::CHECKPOINT_WHOLE_BYTES;
use lakebed_log::replay::Replay;
use lakebed_log::scan::{self, Scan, ScanPlan, Sift, SiftGroup};

use super::fetch::{FETCHES, KeptPart, Piece, Trouble, footer, trouble};
use super::files::commits_above;
use super::source::{Reader, decode_ranges};
use super::{Loaded, sidecar};
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// Which files a scan reads; `None` where the whole state has to be loaded to tell: the checkpoint
/// is small, or there is none, or it does not read, or the filter can leave nothing out.
///
/// # Errors
///
/// Those of the scan, and of the store.
pub(crate) async fn plan_once(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    scan: &Scan,
) -> Result<Option<ScanPlan>> {
    let Some(pieces) = pieces(store, of) else { return Ok(None) };
    let bytes = pieces.iter().map(|it| it.piece.size).fold(0, u64::saturating_add);
    if bytes <= CHECKPOINT_WHOLE_BYTES {
        return Ok(None);
    }
    if !Sift::helps(&of.head, scan)? {
        return Ok(None);
    }
    match sifted(env, op, store, of, scan, pieces).await {
        Ok(it) => Ok(it),
        // The loader knows what else to try, and says it best if there is nothing.
        Err(Trouble::Checkpoint(it) | Trouble::Compacted(_, it) | Trouble::Moved(it)) => {
            tracing::debug!(error = ?it, "the checkpoint does not sift; loading it");
            Ok(None)
        }
        Err(Trouble::Final(it)) if it.kind() == ErrorKind::Corrupt => Ok(None),
        Err(Trouble::Final(it)) => Err(it),
    }
}

/// A file with file actions of the checkpoint.
struct Source {
    piece: Piece,
    kept: KeptPart,
    /// As the top level names it, if it is one.
    sidecar: Option<Sidecar>,
}

/// The files that hold the file actions of the checkpoint; `None` if that is not known, or if one
/// of them has no row groups.
fn pieces(store: &Store, of: &Loaded) -> Option<Vec<Source>> {
    let (mut pieces, mut sidecars) = (Vec::new(), Vec::new());
    for (at, file) in of.segment.checkpoint.iter().enumerate() {
        let kept = of.kept.checkpoint.get(at).cloned().unwrap_or_default();
        let named = kept.sidecars.clone()?;
        if named.is_empty() {
            pieces.push(Source { piece: Piece::of(file), kept, sidecar: None });
        }
        sidecars.extend(named.iter().cloned());
    }
    // Files beside sidecars are for the loader to refuse.
    if !sidecars.is_empty() && !pieces.is_empty() {
        return None;
    }
    let found = sidecar::pieces(store, &sidecars).ok()?;
    pieces.extend(found.into_iter().zip(sidecars).map(|(piece, sidecar)| Source {
        piece,
        kept: KeptPart::default(),
        sidecar: Some(sidecar),
    }));
    pieces.iter().all(|it| !it.piece.json).then_some(pieces)
}

async fn sifted(
    env: &Env,
    op: &Op,
    store: &Store,
    of: &Loaded,
    scan: &Scan,
    pieces: Vec<Source>,
) -> Result<Option<ScanPlan>, Trouble> {
    let final_ = Trouble::Final;
    let width = match scan::needs_stats(&of.head, scan).map_err(final_)? {
        true => Width::Wide,
        false => Width::Narrow,
    };
    let commits = commits_above(env, op, store, of, width).await?;
    let (head, scan) = (Arc::clone(&of.head), scan.clone());
    let prepare = move || {
        let mut replay = Replay::new(head.version, width).by(head.read.access());
        for commit in commits.iter().rev() {
            replay.feed(commit.batch.clone())?;
        }
        Sift::new(&head, head.read, &scan, replay.finish_files()?)
    };
    let Some(sift) = env.compute(prepare).await.map_err(final_)? else { return Ok(None) };

    let mut adds = 0u64;
    let mut groups: Vec<(Piece, KeptPart, SiftGroup)> = Vec::new();
    // What tags rule out is not even looked at.
    let mut wanted = Vec::with_capacity(pieces.len());
    for source in pieces {
        match source.sidecar.as_ref().and_then(|it| sift.rules_out(it)) {
            Some(files) => adds = adds.saturating_add(files),
            None => wanted.push((source.piece, source.kept)),
        }
    }
    let find = |(piece, kept): (Piece, KeptPart)| async move {
        let found = row_groups(op, store, &piece, &kept).await;
        Ok(found.map(|groups| (piece, kept, groups)))
    };
    let found = map_ordered(wanted, FETCHES, find).try_collect::<Vec<_>>().await;
    for found in found.map_err(final_)? {
        let (file, kept, found) = found?;
        for group in found {
            adds = adds.saturating_add(group.adds());
            if let Some(group) = sift.group(group) {
                groups.push((file.clone(), kept.clone(), group));
            }
        }
    }
    let run = |(file, kept, group): (Piece, KeptPart, SiftGroup)| async move {
        Ok(run(env, op, store, &file, &kept, group).await)
    };
    let done = map_ordered(groups, 2 * env.cores(), run).try_collect::<Vec<_>>().await;
    let done = done.map_err(final_)?.into_iter().collect::<Result<Vec<_>, Trouble>>()?;
    let plan = env.compute(move || sift.finish(done, adds)).await;
    plan.map(Some).map_err(final_)
}

/// The row groups of a part that may hold adds.
async fn row_groups(
    op: &Op,
    store: &Store,
    file: &Piece,
    kept: &KeptPart,
) -> Result<Vec<Group>, Trouble> {
    let footer = match kept {
        KeptPart { footer: Some(footer), .. } => Arc::clone(footer),
        KeptPart { whole: Some(bytes), .. } => match parquet_footer(bytes, file.size) {
            Ok(Footer::Ready(footer)) => footer,
            Ok(Footer::Need(_)) => {
                let what = "the checkpoint is shorter than its footer";
                return Err(Trouble::Checkpoint(Error::internal(what)));
            }
            Err(it) => return Err(Trouble::Checkpoint(it)),
        },
        KeptPart { .. } => footer(op, store, file).await.map_err(|it| trouble(file, it))?,
    };
    Ok(Group::of(&footer, file.size))
}

/// All steps of one row group.
async fn run(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    kept: &KeptPart,
    mut group: SiftGroup,
) -> Result<SiftGroup, Trouble> {
    while let Some(ranges) = group.wants() {
        let (whole, step) = (kept.whole.clone(), move |reader: Reader| group.step(reader));
        let stepped = decode_ranges(env, op, store, file, whole, &ranges, step).await?;
        group = stepped.map_err(Trouble::Checkpoint)?;
    }
    Ok(group)
}
