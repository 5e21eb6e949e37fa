//! What holds for the actions of one commit, or of one checkpoint, taken together.

use std::borrow::Cow;

use arrow_array::{Array, StringArray};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use std::hash::BuildHasher;

use crate::action::{invalid, short};
use crate::batch::LogBatch;
use crate::batch::columns::{Adds, Removes};
use crate::error::{Code, Error, Result};
use crate::uri::{canonical, rooted_name};

/// The lines, from 1, on which the actions of a commit stand; empty where they come from no file.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) adds: Vec<usize>,
    pub(super) removes: Vec<usize>,
    pub(super) txns: Vec<usize>,
    pub(super) domains: Vec<usize>,
}

/// Paths of adds as the log spells them. A slash before a single name is how one engine names files
/// below the table's root: if it is not `rooted` by that engine, it is spelled as the URL of a file
/// below the root of the disk, which it then is.
pub(super) fn spelled(paths: StringArray, rooted: bool) -> StringArray {
    if rooted || !paths.iter().flatten().any(|it| rooted_name(it).is_some()) {
        return paths;
    }
    paths.iter().map(|it| it.map(|it| spelled_one(it, rooted))).collect()
}

/// One of them.
pub(super) fn spelled_one(path: &str, rooted: bool) -> Cow<'_, str> {
    match rooted_name(path) {
        Some(_) if !rooted => Cow::Owned(format!("file://{path}")),
        _ => Cow::Borrowed(path),
    }
}

/// Checks what has a name: no two transactions of one application, no two domains of one name.
pub(super) fn check_names(batch: &LogBatch, lines: &Lines) -> Result<()> {
    if let Some((row, app)) = twice(batch.txns.iter().map(|it| it.app_id.as_str())) {
        let what = format!("a second `txn` of application `{}` in one commit", short(app));
        return Err(placed(invalid(what), &lines.txns, row));
    }
    if let Some((row, domain)) = twice(batch.domains.iter().map(|it| it.domain.as_str())) {
        let what = format!("a second `domainMetadata` of `{}` in one commit", short(domain));
        return Err(placed(invalid(what), &lines.domains, row));
    }
    Ok(())
}

/// Checks what several commits amount to. Of one path it may hold removes with several vectors,
/// since each took out what an older commit had added; the rest is as in a checkpoint.
pub(super) fn check_compacted(batch: &LogBatch) -> Result<()> {
    if batch.checkpoint_metadata.is_some() || !batch.sidecars.is_empty() {
        return Err(invalid("a compacted file holds an action of checkpoints"));
    }
    check_checkpoint(batch).map_err(|it| it.with_code(Code::InvalidAction))
}

/// Checks the file actions of one commit: no two adds and no two removes of one path, no add and
/// remove of one path and vector.
pub(super) fn check_files(batch: &LogBatch, lines: &Lines) -> Result<()> {
    let adds = batch.adds.as_ref().map_or(0, Adds::len);
    let removes = batch.removes.as_ref().map_or(0, Removes::len);
    if adds + removes < 2 {
        return Ok(());
    }
    let mut added: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(adds);
    for (row, path) in paths(batch.adds.as_ref().map(Adds::path)) {
        if added.insert(canonical(path), row).is_some() {
            let what = format!("`{}` is added twice in one commit", short(path));
            return Err(placed(invalid(what), &lines.adds, row));
        }
    }
    let mut removed = HashSet::with_capacity(removes);
    for (row, path) in paths(batch.removes.as_ref().map(Removes::path)) {
        let key = canonical(path);
        let add = added.get(&key);
        if !removed.insert(key) {
            let what = format!("`{}` is removed twice in one commit", short(path));
            return Err(placed(invalid(what), &lines.removes, row));
        }
        let vector = batch.removes.as_ref().and_then(|it| it.dv_id(row));
        if let (Some(add), Some(all)) = (add, &batch.adds)
            && all.dv_id(*add) == vector
        {
            let what = format!("`{}` is added and removed in one commit", short(path));
            return Err(placed(invalid(what), &lines.removes, row));
        }
    }
    Ok(())
}

/// Checks the actions of one checkpoint, which are the state of one version: no path is live twice,
/// and no (path, vector) is both live and a tombstone, or a tombstone twice.
pub(super) fn check_checkpoint(batch: &LogBatch) -> Result<()> {
    let hasher = DefaultHashBuilder::default();
    let hash = |path: &str| hasher.hash_one(canonical(path));
    let Some(adds) = &batch.adds else {
        return check_tombstones(batch.removes.as_ref(), None, &HashTable::new(), &hash);
    };
    let live_paths = adds.path();
    let mut live: HashTable<(u64, usize)> = HashTable::with_capacity(adds.len());
    for (row, path) in paths(Some(live_paths)) {
        let code = hash(path);
        let same = |it: &(u64, usize)| {
            it.0 == code && canonical(live_paths.value(it.1)) == canonical(path)
        };
        if live.find(code, same).is_some() {
            return Err(corrupt(format!("`{}` is live twice", short(path))));
        }
        live.insert_unique(code, (code, row), |it| it.0);
    }
    check_tombstones(batch.removes.as_ref(), Some(adds), &live, &hash)
}

fn check_tombstones(
    removes: Option<&Removes>,
    adds: Option<&Adds>,
    live: &HashTable<(u64, usize)>,
    hash: &impl Fn(&str) -> u64,
) -> Result<()> {
    let Some(removes) = removes else {
        return Ok(());
    };
    let mut dead = HashSet::with_capacity(removes.len());
    for (row, path) in paths(Some(removes.path())) {
        let vector = removes.dv_id(row);
        let key = canonical(path);
        let code = hash(path);
        let same = |it: &(u64, usize)| {
            let found = adds.filter(|_| it.0 == code);
            found.is_some_and(|all| {
                canonical(all.path().value(it.1)) == key && all.dv_id(it.1) == vector
            })
        };
        if live.find(code, same).is_some() {
            return Err(corrupt(format!("`{}` is both live and removed", short(path))));
        }
        if !dead.insert((key, vector)) {
            return Err(corrupt(format!("`{}` is removed twice", short(path))));
        }
    }
    Ok(())
}

/// The first name that stands twice.
pub(super) fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    let mut seen = HashSet::new();
    names.enumerate().find(|(_, name)| !seen.insert(*name))
}

fn paths(column: Option<&arrow_array::StringArray>) -> impl Iterator<Item = (usize, &str)> {
    column.into_iter().flat_map(|it| (0..it.len()).map(|row| (row, it.value(row))))
}

/// An error at the line of a row.
fn placed(error: Error, lines: &[usize], row: usize) -> Error {
    match lines.get(row) {
        Some(line) => error.at(format!("line {line}")),
        None => error,
    }
}

pub(super) fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::CorruptCheckpoint, what)
}

/// What is wrong with bytes, if they are a checkpoint's.
pub(super) fn of_checkpoint(error: Error) -> Error {
    match error.code() {
        Code::CorruptData => error.with_code(Code::CorruptCheckpoint),
        _ => error,
    }
}
