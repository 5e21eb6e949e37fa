//! The file actions of a checkpoint, fetched and decoded in units, side by side.
//!
//! A checkpoint of a million files is one object of some hundred megabytes. Fetched as a whole and
//! decoded by one core it would cost its size twice over in memory and leave the other cores idle.
//! So row groups become units: each is fetched, decoded and hashed by itself, and what it was
//! decoded from is let go before the next one is fetched.

use std::sync::Arc;

use lakebed_log::batch::{FileUnit, LogBatch, Width};
use lakebed_log::error::{Error, ErrorKind, Result};
use lakebed_log::limits::CHECKPOINT_WHOLE_BYTES;
use lakebed_log::replay::Part;
use parquet::file::metadata::ParquetMetaData;

use super::fetch::{KeptPart, Piece, Trouble, all, footer, read_part, trouble};
use super::source::{Reader, decode_ranges};
use crate::env::Env;
use crate::op::Op;
use crate::pool::map_ordered;
use crate::store::Store;

/// Is the file so large that no more of it is fetched than is needed?
pub(super) fn is_sparse(file: &Piece, kept: &KeptPart) -> bool {
    kept.whole.is_none() && !file.json && CHECKPOINT_WHOLE_BYTES < file.size
}

/// The file actions of one part of a checkpoint, ready for the fold, in the order of the file.
pub(super) async fn part_files(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    kept: &KeptPart,
    width: Width,
) -> Result<Vec<Part>, Trouble> {
    each_unit(env, op, store, file, kept, width, move |it| Part::new(it, width)).await
}

/// What `make` makes of each unit of one part of a checkpoint, in the order of the file. What a
/// unit was decoded from, and into, is let go with it.
pub(super) async fn each_unit<T, F>(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    kept: &KeptPart,
    width: Width,
    make: F,
) -> Result<Vec<T>, Trouble>
where
    T: Send + 'static,
    F: Fn(LogBatch) -> Result<T> + Clone + Send + 'static,
{
    let placed = |it: Error| match it.kind() {
        ErrorKind::Internal => Trouble::Final(it),
        _ => Trouble::Checkpoint(it.at(format!("{}/{}", store.location(), file.key))),
    };
    if !is_sparse(file, kept) {
        let (_, batch) = read_part(env, op, store, file, width, kept.whole.clone()).await?;
        let made = env.compute(move || make(batch)).await;
        return Ok(vec![made.map_err(placed)?]);
    }
    let footer = match &kept.footer {
        Some(it) => Arc::clone(it),
        None => footer(op, store, file).await.map_err(|it| trouble(file, it))?,
    };
    let units = FileUnit::of(&footer, width);
    let decode = |unit: FileUnit| {
        let (footer, make) = (Arc::clone(&footer), make.clone());
        async move {
            let made = unit_files(env, op, store, file, footer, unit, make).await;
            Ok(made.and_then(|it| it.map_err(placed)))
        }
    };
    // One unit is fetched while each core decodes another.
    all(map_ordered(units, env.cores() + 1, decode)).await
}

async fn unit_files<T: Send + 'static>(
    env: &Env,
    op: &Op,
    store: &Store,
    file: &Piece,
    footer: Arc<ParquetMetaData>,
    unit: FileUnit,
    make: impl Fn(LogBatch) -> Result<T> + Send + 'static,
) -> Result<Result<T>, Trouble> {
    let ranges = unit.ranges(&footer);
    let decode = move |reader: Reader| make(unit.decode(reader, &footer)?);
    decode_ranges(env, op, store, file, None, &ranges, decode).await
}
