//! Judges files by their statistics, and all files of a state.
//!
//! A checkpoint may hold statistics as JSON, as a struct, or both. The struct is typed and cheap to
//! read, so it is asked first; where it leaves a column open that the filter names, the JSON is
//! asked as well. A file is skipped if either proves that it has no matching row. Whoever judges
//! files some other way has to come to the same end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array;

use super::ScanTask;
use super::partitions::Partitions;
use crate::batch::Adds;
use crate::error::{Error, Result};
use crate::files::FileList;
use crate::skip::Skipper;
use crate::state::Head;
use crate::stats::{Reader, Stats, Structs, Templates, Term, is_silent};
use crate::uri;
use crate::value::Value;

/// Judges one file after another.
pub(super) struct Judge<'a> {
    skipper: &'a Skipper,
    reader: &'a Reader,
    terms: Vec<Term>,
    templates: Templates,
    scratch: Stats,
}

/// What one form of statistics says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// No row can match.
    pub(super) skips: bool,
    /// Another form might say more.
    pub(super) is_open: bool,
    pub(super) num_records: Option<u64>,
}

type Tuple = BTreeMap<String, Option<Value>>;

impl<'a> Judge<'a> {
    /// `reader` is of the columns that the skipper wants.
    pub(super) fn new(skipper: &'a Skipper, reader: &'a Reader) -> Judge<'a> {
        let (terms, templates) = (skipper.terms(), Templates::default());
        Judge { skipper, reader, terms, templates, scratch: reader.blank() }
    }

    pub(super) fn structs(&mut self, all: &Structs, row: usize, partition: &Tuple) -> Verdict {
        if !all.is_valid(row) {
            return Verdict { skips: false, is_open: true, num_records: None };
        }
        all.read(self.reader, row, &mut self.scratch);
        Verdict {
            skips: self.skipper.skips(partition, &self.scratch),
            is_open: is_silent(&self.scratch, self.reader),
            num_records: self.scratch.num_records,
        }
    }

    pub(super) fn json(&mut self, text: &str, partition: &Tuple) -> Verdict {
        let Judge { reader, terms, templates, scratch, .. } = self;
        if !templates.read_unless_ruled_out(reader, terms, text, scratch) {
            return Verdict { skips: true, is_open: false, num_records: None };
        }
        Verdict {
            skips: self.skipper.skips(partition, &self.scratch),
            is_open: false,
            num_records: self.scratch.num_records,
        }
    }
}

/// What to read of all files of a list, in its order, and their partitions.
pub(super) fn files(
    head: &Head,
    files: &FileList,
    skipper: Option<&Skipper>,
) -> Result<(Vec<ScanTask>, Partitions)> {
    let wanted = skipper.map_or(&[][..], Skipper::stats_columns);
    let reader = Reader::mapped(&head.schema, head.mapping, Some(wanted));
    let mut judge = skipper.map(|it| Judge::new(it, &reader));
    let mut partitions = Partitions::new(Partitions::columns(head));
    let mut tasks = Vec::new();
    for chunk in files.chunks().iter().rev() {
        let adds = &*chunk.rows;
        let structs = adds.stats_parsed().map(|it| Structs::new(it, &reader));
        for row in chunk.live.iter().filter_map(|it| usize::try_from(it).ok()) {
            if adds.len() <= row {
                return Err(Error::internal(format!("no row {row} of {} files", adds.len())));
            }
            let at = partitions.of(adds.partition_strings(), row, skipper);
            let at = at.map_err(|it| placed(it, adds.path().value(row)))?;
            let partition = partitions.get_mut(at)?;
            if partition.skipped {
                continue;
            }
            let values = Arc::clone(&partition.values);
            let verdict = judged(judge.as_mut(), &reader, adds, structs.as_ref(), row, &values);
            if verdict.skips {
                continue;
            }
            partition.read = true;
            tasks.push(task(adds, row, verdict.num_records, values)?);
        }
    }
    Ok((tasks, partitions))
}

/// What is known of one file. JSON first: it is what a commit holds, and exact.
pub fn stats_at(adds: &Adds, row: usize, reader: &Reader) -> Option<Stats> {
    if let Some(json) = adds.stats().filter(|it| it.is_valid(row)) {
        return Some(reader.read(json.value(row)));
    }
    let parsed = adds.stats_parsed().filter(|it| it.is_valid(row))?;
    Some(reader.read_struct(parsed, row))
}

fn judged(
    judge: Option<&mut Judge<'_>>,
    reader: &Reader,
    adds: &Adds,
    structs: Option<&Structs>,
    row: usize,
    partition: &Tuple,
) -> Verdict {
    let json = adds.stats().filter(|it| it.is_valid(row)).map(|it| it.value(row));
    let Some(judge) = judge else {
        // Nothing to prove, but the count of rows is welcome.
        let count = |it: &Structs| {
            let mut stats = reader.blank();
            it.read(reader, row, &mut stats);
            stats.num_records
        };
        let num_records = structs.and_then(count);
        let num_records = num_records.or_else(|| reader.read(json?).num_records);
        return Verdict { skips: false, is_open: false, num_records };
    };
    let first = structs.map(|it| judge.structs(it, row, partition));
    match (first, json) {
        (Some(first), None) => first,
        (Some(first), Some(_)) if first.skips || !first.is_open => first,
        (first, Some(json)) => {
            let second = judge.json(json, partition);
            let known = first.and_then(|it| it.num_records);
            Verdict { num_records: known.or(second.num_records), ..second }
        }
        (None, None) => Verdict { skips: false, is_open: true, num_records: None },
    }
}

fn task(
    adds: &Adds,
    row: usize,
    num_records: Option<u64>,
    partition: Arc<Tuple>,
) -> Result<ScanTask> {
    let path = adds.path().value(row);
    let has_vector = adds.deletion_vector().is_valid(row);
    Ok(ScanTask {
        key: uri::locate(path)?.into_owned(),
        path: path.to_string(),
        size: u64::try_from(adds.size().value(row)).unwrap_or(0),
        num_records,
        partition,
        deletion_vector: if has_vector { adds.get(row)?.deletion_vector } else { None },
        base_row_id: adds.base_row_id(row),
        default_row_commit_version: adds.default_row_commit_version(row),
    })
}

/// Says which file, if its path is one below the table's root: a URL may hold credentials.
pub(super) fn placed(error: Error, path: &str) -> Error {
    match uri::decode(path) {
        Ok(key) => error.at(key),
        Err(_) => error,
    }
}

/// A path for a message, if it is one below the table's root.
pub(super) fn shown(path: &str) -> String {
    match uri::decode(path) {
        Ok(key) => format!("`{key}`"),
        Err(_) => "a path that is not below the table's root".to_string(),
    }
}
