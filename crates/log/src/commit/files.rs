//! What the file actions of a draft must meet: each by itself, all together, and held against the
//! files of the version it was made on.
//!
//! The last is the net under every verb. A remove of what is not live, a file that is live twice, a
//! rearrangement that loses rows, a vector that forgets deleted ones: each would be a wrong version
//! that reads like a sound one. Winners that pass the conflict check touch none of the draft's
//! files, so what holds for the version read holds for whatever version the draft lands on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draft, VectorChange};
use crate::action::{Add, AddCdc, DeletionVector, Protocol, Remove};
use crate::batch::Adds;
use crate::changes::CHANGE_FOLDER;
use crate::error::{Error, Result};
use crate::feature::TableFeature;
use crate::files::FileAt;
use crate::scan;
use crate::schema::{DataType, Schema};
use crate::state::TableState;
use crate::stats::{Reader, Stats};
use crate::uri;
use crate::value::Value;

pub(super) fn check(
    draft: &Draft,
    protocol: &Protocol,
    partition_columns: &[String],
    schema: &Schema,
) -> Result<()> {
    for add in &draft.adds {
        check_add(add, protocol, partition_columns, schema)
            .map_err(|it| it.at(format!("add `{}`", add.path)))?;
    }
    for cdc in &draft.cdc {
        check_change_file(cdc, protocol, partition_columns, schema)
            .map_err(|it| it.at(format!("cdc `{}`", cdc.path)))?;
    }
    check_together(draft)?;
    check_live(draft)?;
    check_vectors(draft)?;
    check_rows(draft)
}

fn check_add(
    add: &Add,
    protocol: &Protocol,
    partition_columns: &[String],
    schema: &Schema,
) -> Result<()> {
    uri::decode(&add.path)?;
    if add.size < 0 {
        return Err(Error::internal(format!("`size` {} is negative", add.size)));
    }
    if add.deletion_vector.is_some() && !protocol.supports(&TableFeature::DeletionVectors) {
        return Err(Error::internal("it has a vector without the feature"));
    }
    if let Some(name) = add.partition_values.keys().find(|it| !partition_columns.contains(it)) {
        return Err(Error::internal(format!("`{name}` is no partition column")));
    }
    for name in partition_columns {
        let Some(value) = add.partition_values.get(name) else {
            return Err(Error::internal(format!("partition column `{name}` has no value")));
        };
        let field = schema.field(name);
        if let (Some(text), Some(DataType::Primitive(of))) = (value, field.map(|it| &it.data_type))
        {
            Value::from_partition(text, *of)?;
        }
    }
    Ok(())
}

/// As a data file, but where no reader of the table takes it for one.
fn check_change_file(
    cdc: &AddCdc,
    protocol: &Protocol,
    partition_columns: &[String],
    schema: &Schema,
) -> Result<()> {
    if cdc.data_change {
        return Err(Error::internal("a change file is no data change"));
    }
    if !uri::decode(&cdc.path)?.starts_with(CHANGE_FOLDER) {
        return Err(Error::internal(format!("a change file lies outside of `{CHANGE_FOLDER}`")));
    }
    let partition_values = cdc.partition_values.clone();
    let as_add = Add { path: cdc.path.clone(), partition_values, size: cdc.size, ..Add::default() };
    check_add(&as_add, protocol, partition_columns, schema)
}

/// No path twice, and one `dataChange`.
fn check_together(draft: &Draft) -> Result<()> {
    let mut changes = draft.adds.iter().map(|it| it.data_change);
    let mut changes_too = draft.removes.iter().map(|it| it.data_change);
    if let Some(first) = changes.next().or_else(|| changes_too.next())
        && !(changes.all(|it| it == first) && changes_too.all(|it| it == first))
    {
        return Err(Error::internal("file actions of one commit disagree on `dataChange`"));
    }
    let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
    let mut added_keys = BTreeSet::new();
    for add in &draft.adds {
        let path = uri::canonical(&add.path);
        if !added.insert(path.clone()) {
            return Err(Error::internal(format!("`{path}` is added twice")));
        }
        added_keys.insert((path, id(add.deletion_vector.as_ref())));
    }
    for remove in &draft.removes {
        let path = uri::canonical(&remove.path);
        if !removed.insert(path.clone()) {
            return Err(Error::internal(format!("`{path}` is removed twice")));
        }
        let key = (path, id(remove.deletion_vector.as_ref()));
        if added_keys.contains(&key) {
            return Err(Error::internal(format!("`{}` is both added and removed", key.0)));
        }
        if remove.size.is_some_and(|it| it < 0) {
            return Err(Error::internal(format!("`size` of `{}` is negative", key.0)));
        }
    }
    Ok(())
}

/// What leaves is there, and nothing will be there twice.
fn check_live(draft: &Draft) -> Result<()> {
    let Some(state) = &draft.intent.state else {
        return match draft.removes.first() {
            Some(it) => {
                let what = format!("`{}` is removed from files that were not read", it.path);
                Err(Error::internal(what))
            }
            None => Ok(()),
        };
    };
    let mut leaving = BTreeSet::new();
    for remove in &draft.removes {
        let vector = id(remove.deletion_vector.as_ref());
        if state.files.find(&remove.path, vector.as_deref()).is_none() {
            let (path, version) = (&remove.path, state.head.version);
            let what = format!("`{path}` is removed, and is not live in version {version}");
            return Err(Error::internal(what));
        }
        leaving.insert(uri::canonical(&remove.path));
    }
    for add in &draft.adds {
        if let Some(at) = state.files.find_path(&add.path)
            && let Some((files, row)) = state.files.row(at)
            && files.dv_id(row) != id(add.deletion_vector.as_ref())
            && !leaving.contains(&uri::canonical(&add.path))
        {
            let what = format!("`{}` would be live with two deletion vectors", add.path);
            return Err(Error::internal(what));
        }
    }
    Ok(())
}

/// A vector names rows that the file has, and forgets none that were deleted.
fn check_vectors(draft: &Draft) -> Result<()> {
    let with_vector = || draft.adds.iter().filter(|it| it.deletion_vector.is_some());
    let paths: BTreeSet<_> = with_vector().map(|it| uri::canonical(&it.path)).collect();
    if let Some(path) = draft.vectors.keys().find(|it| !paths.contains(it.as_str())) {
        return Err(Error::internal(format!("`{path}` is not added with a vector")));
    }
    if paths.is_empty() {
        return Ok(());
    }
    let removes = draft.removes.iter();
    let removes: BTreeMap<_, _> = removes.map(|it| (uri::canonical(&it.path), it)).collect();
    for add in with_vector() {
        let path = uri::canonical(&add.path);
        check_vector(add, removes.get(&path).copied(), draft.vectors.get(path.as_ref()))
            .map_err(|it| it.at(format!("add `{}`", add.path)))?;
    }
    Ok(())
}

fn check_vector(add: &Add, removed: Option<&Remove>, change: Option<&VectorChange>) -> Result<()> {
    let refuse = |what: String| Err(Error::internal(what));
    let deleted = add.deletion_vector.as_ref().map_or(Ok(0), cardinality)?;
    let before = removed.and_then(|it| it.deletion_vector.as_ref());
    let deleted_before = before.map_or(Ok(0), cardinality)?;
    let Some(rows) = rows_in(add) else {
        return refuse("it has a vector and no number of rows".into());
    };
    if rows < deleted {
        return refuse(format!("the vector deletes {deleted} of {rows} rows"));
    }
    if deleted < deleted_before {
        return refuse(format!("{deleted} rows are deleted, before it were {deleted_before}"));
    }
    let Some(change) = change else { return Ok(()) };
    if change.after.len() != deleted {
        return refuse(format!("the vector has {} rows, not {deleted}", change.after.len()));
    }
    if let Some(last) = change.after.max().filter(|it| rows <= *it) {
        return refuse(format!("the vector deletes row {last} of {rows} rows"));
    }
    let Some(old) = &change.before else {
        return match deleted_before {
            0 => Ok(()),
            _ => refuse("the vector before it is not told".into()),
        };
    };
    if old.len() != deleted_before {
        let what = format!("the vector before it has {} rows, not {deleted_before}", old.len());
        return refuse(what);
    }
    match old.minus(&change.after).iter().next() {
        Some(row) => refuse(format!("row {row} was deleted before and is not any more")),
        None => Ok(()),
    }
}

/// A mere rearrangement has as many rows after as before; what cannot be counted cannot be known to
/// be one.
fn check_rows(draft: &Draft) -> Result<()> {
    let rearranges = draft.adds.iter().any(|it| !it.data_change)
        || draft.removes.iter().any(|it| !it.data_change);
    if !rearranges {
        return Ok(());
    }
    let unknown = |path: &str| {
        let what = format!("`{path}` is rearranged, and how many rows it has is not known");
        Error::internal(what)
    };
    let mut after = 0u64;
    for add in &draft.adds {
        let rows = live_rows(add).ok_or_else(|| unknown(&add.path))?;
        after = after.saturating_add(rows);
    }
    let mut before = 0u64;
    if let Some(state) = &draft.intent.state {
        let removed = draft.removes.iter().map(|it| (&it.path, it.deletion_vector.as_ref()));
        // A file that is added again as it is takes the place of itself.
        let again = draft.adds.iter().map(|it| (&it.path, it.deletion_vector.as_ref()));
        let reader = Reader::new(&state.head.schema, Some(&[]));
        for (path, vector) in removed.chain(again) {
            if let Some(at) = state.files.find(path, id(vector).as_deref()) {
                let rows = live_rows_at(state, &reader, at)?.ok_or_else(|| unknown(path))?;
                before = before.saturating_add(rows);
            }
        }
    }
    if before != after {
        let what = format!("files are rearranged, and {before} rows become {after}");
        return Err(Error::internal(what));
    }
    Ok(())
}

fn id(vector: Option<&DeletionVector>) -> Option<String> {
    vector.map(DeletionVector::unique_id)
}

fn cardinality(vector: &DeletionVector) -> Result<u64> {
    u64::try_from(vector.cardinality)
        .map_err(|_| Error::internal(format!("a vector of {} rows", vector.cardinality)))
}

/// Deleted ones included.
fn rows_in(add: &Add) -> Option<u64> {
    Stats::from_json(add.stats.as_deref()?, &Schema::default(), Some(&[])).num_records
}

fn live_rows(add: &Add) -> Option<u64> {
    let deleted = add.deletion_vector.as_ref().map_or(Ok(0), cardinality).ok()?;
    rows_in(add)?.checked_sub(deleted)
}

fn live_rows_at(state: &TableState, reader: &Reader, at: FileAt) -> Result<Option<u64>> {
    let Some((files, row)) = state.files.row(at) else { return Ok(None) };
    let Some(rows) = scan::stats_at(files, row, reader).and_then(|it| it.num_records) else {
        return Ok(None);
    };
    Ok(rows.checked_sub(deleted_at(files, row)?))
}

fn deleted_at(files: &Adds, row: usize) -> Result<u64> {
    match files.get(row)?.deletion_vector {
        Some(vector) => cardinality(&vector),
        None => Ok(0),
    }
}
