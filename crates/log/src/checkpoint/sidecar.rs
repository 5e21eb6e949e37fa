//! Checkpoints of the second layout: sidecars, and the top level that names them.
//!
//! Sidecars never change and may be shared, so a checkpoint need not repeat what the one before it
//! says: it names the same sidecars, but for those that held a file that is gone, and a new one for
//! the files that came. Small ones are put together now and then, as in a log-structured tree, so
//! that there are few of each size:
//!
//! ```text
//!   version 10   [ a .. f ] [ g .. m ] [ n .. z ]
//!   version 20   [ a .. f ]            [ n .. z ] [ g .. m, h gone ] [ what came ]
//! ```
//!
//! Each is in order in itself and says in its tags what its files have in common, so that a plan
//! leaves it unread that can read none of them.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::StructArray;
use arrow_schema::{DataType, Schema as ArrowSchema, SchemaRef};
use bytes::Bytes;

use super::encoder::Encoder;
use super::files::{Adds, Removes, Shape, unexpired};
use super::writer::BATCH_ROWS;
use super::{batch, field, small};
use crate::action::{Action, CheckpointMetadata, Sidecar};
use crate::batch::{BODY_CRC32, Width};
use crate::crc::crc32;
use crate::error::{Error, Result};
use crate::files::{Chunk, FileList, FileSum, TombstoneChunk};
use crate::state::Head;
use crate::time::Timestamp;

/// Most rows of a sidecar: so few that to write one anew is cheap beside the whole, so many that a
/// large table has some hundreds.
pub const SIDECAR_ROWS: usize = 25_000;

/// As many sidecars of one size class are put together.
const MERGE_COUNT: usize = 8;

/// A sidecar to write.
#[derive(Clone, Debug)]
pub struct SidecarFile {
    /// The Parquet file.
    pub bytes: Bytes,
    /// Its live files.
    pub sum: FileSum,
    /// How many tombstones it holds.
    pub removes: u64,
}

/// Renders the live files of a wide list, in order, and then its tombstones that have not expired,
/// as sidecars of at most so many rows. None for an empty list.
///
/// # Errors
///
/// As [`render`](super::render).
pub fn render_sidecars(
    head: &Head,
    files: &FileList,
    now: Timestamp,
    rows_max: usize,
) -> Result<Vec<SidecarFile>> {
    if files.width() < Width::Wide {
        return Err(Error::internal("a checkpoint needs files with statistics"));
    }
    let chunks: Vec<Chunk> = files.chunks().iter().rev().cloned().collect();
    let (mut rendered, _) = in_order(head, &chunks, rows_max, true)?;
    let tombstones: Vec<TombstoneChunk> =
        files.tombstones().iter().map(|it| unexpired(it, head, now)).collect();
    let removes = Removes::new(&tombstones)?;
    let schema = schema(&Shape::new(head)?)?;
    for range in ranges(removes.len(), rows_max) {
        let bytes = write(&schema, "remove", range.clone(), |it| removes.rows(it))?;
        let removes = u64::try_from(range.len()).unwrap_or(u64::MAX);
        rendered.push(SidecarFile { bytes, sum: FileSum::default(), removes });
    }
    Ok(rendered)
}

/// Renders the next files of an order that comes in ranges: sidecars of so many rows, and what is
/// left for the next ones, which takes no more memory than it needs.
///
/// # Errors
///
/// As [`render`](super::render).
pub fn render_next_sidecars(
    head: &Head,
    files: &[Chunk],
    rows_max: usize,
) -> Result<(Vec<SidecarFile>, Vec<Chunk>)> {
    in_order(head, files, rows_max, false)
}

/// `is_last`: what is left makes a sidecar, too.
fn in_order(
    head: &Head,
    chunks: &[Chunk],
    rows_max: usize,
    is_last: bool,
) -> Result<(Vec<SidecarFile>, Vec<Chunk>)> {
    let shape = Shape::new(head)?;
    let adds = Adds::new(&shape, chunks)?;
    let schema = schema(&shape)?;
    let mut rendered = Vec::new();
    for range in ranges(adds.len(), rows_max) {
        let picked = adds.pick(chunks, |at, _| range.contains(&at));
        if range.len() < rows_max && !is_last {
            let left = picked.iter().map(Chunk::dense).collect::<Result<_>>()?;
            return Ok((rendered, left));
        }
        let bytes = write(&schema, "add", range, |it| adds.rows(it))?;
        let sum = picked.iter().map(FileSum::of).fold(FileSum::default(), FileSum::and);
        rendered.push(SidecarFile { bytes, sum, removes: 0 });
    }
    Ok((rendered, Vec::new()))
}

fn schema(shape: &Shape) -> Result<SchemaRef> {
    Ok(Arc::new(ArrowSchema::new(vec![
        field("add", DataType::Struct(Adds::new(shape, &[])?.fields()?)),
        field("remove", DataType::Struct(Removes::new(&[])?.fields()?)),
    ])))
}

/// `0..len` in steps.
fn ranges(len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let step = step.max(1);
    (0..len).step_by(step).map(move |it| it..len.min(it + step))
}

fn write(
    schema: &SchemaRef,
    kind: &str,
    range: Range<usize>,
    rows: impl Fn(Range<usize>) -> Result<StructArray>,
) -> Result<Bytes> {
    let mut writer = Encoder::new(schema.clone(), SIDECAR_ROWS)?;
    for slice in ranges(range.len(), BATCH_ROWS) {
        let slice = range.start + slice.start..range.start + slice.end;
        let count = slice.len();
        let batch = batch(schema, vec![(kind, rows(slice)?)], count)?;
        writer.write(&batch)?;
    }
    writer.finish()
}

/// The top level of a checkpoint of the second layout as lines of JSON, and how many there are.
pub fn render_top_level(head: &Head, now: Timestamp, sidecars: &[Sidecar]) -> (Bytes, u64) {
    let mut actions =
        vec![Action::Protocol(head.protocol.clone()), Action::Metadata(head.metadata.clone())];
    let txns = small::transactions_kept(head, now).into_iter().cloned();
    actions.extend(txns.map(Action::SetTransaction));
    let domains = head.domains.values().filter(|it| !it.removed).cloned();
    actions.extend(domains.map(Action::DomainMetadata));
    actions.extend(sidecars.iter().cloned().map(Action::Sidecar));
    let mut body = String::new();
    for action in &actions {
        body.push_str(&action.to_json_line());
        body.push('\n');
    }
    let version = i64::try_from(head.version.get()).unwrap_or(i64::MAX);
    let crc = crc32(body.as_bytes()).to_string();
    let tags = Some([(BODY_CRC32.to_string(), Some(crc))].into());
    let marker = Action::CheckpointMetadata(CheckpointMetadata { version, tags }).to_json_line();
    let lines = u64::try_from(1 + actions.len()).unwrap_or(u64::MAX);
    (format!("{marker}\n{body}").into(), lines)
}

/// Which sidecars, of so many rows each, are put together with so many new ones: where there are
/// enough that are no larger than what comes. A row is written anew once a size class.
///
/// ```
/// use lakebed_log::checkpoint::to_merge;
///
/// assert!(to_merge(&[100; 6], 100).is_empty());
/// assert_eq!(to_merge(&[100, 20_000, 100, 100, 100, 100, 100, 100], 100).len(), 7);
/// ```
pub fn to_merge(rows: &[u64], new: u64) -> Vec<usize> {
    let class = |rows: u64| rows.max(1).ilog2() / 3;
    let whole = u64::try_from(SIDECAR_ROWS / 2).unwrap_or(u64::MAX);
    let (mut merged, mut sum) = (Vec::new(), new);
    while 0 < sum && sum < whole {
        let small = |(_, it): &(usize, &u64)| **it < whole && class(**it) <= class(sum);
        let found: Vec<usize> = rows.iter().enumerate().filter(small).map(|(at, _)| at).collect();
        if found.len() + 1 < MERGE_COUNT || found.len() == merged.len() {
            break;
        }
        sum = found.iter().filter_map(|it| rows.get(*it)).sum::<u64>().saturating_add(new);
        merged = found;
    }
    merged
}
