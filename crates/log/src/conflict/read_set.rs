//! What a draft read, held against the files of a winner.
//!
//! A file that a winner adds is judged by what the winner says of it; one that it removes by what
//! our own version knows of it, which includes statistics, where a remove has none. A file that our
//! version does not know came later: we have not read it.

use std::collections::{BTreeMap, BTreeSet};

use super::{FILES_NAMED_MAX, Intent, Reads};
use crate::batch::{Adds, LogBatch, Removes};
use crate::scan;
use crate::schema::DataType;
use crate::skip::Skipper;
use crate::state::Head;
use crate::stats::Reader;
use crate::uri;
use crate::value::Value;

/// Files of a winner that touch what we do.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    /// As the winner spells them, at most [`FILES_NAMED_MAX`].
    pub(super) files: Vec<String>,
    pub(super) partitions: BTreeSet<String>,
    /// All of them, canonical.
    paths: BTreeSet<String>,
}

impl Overlap {
    pub(super) fn is_some(&self) -> bool {
        !self.paths.is_empty()
    }

    fn take(&mut self, path: &str, partition: Option<String>) {
        if self.paths.insert(uri::canonical(path).into_owned())
            && self.files.len() < FILES_NAMED_MAX
        {
            self.files.push(path.to_string());
            self.partitions.extend(partition);
        }
    }
}

/// What we read and write, made ready to judge files.
pub(super) struct ReadSet<'a> {
    ours: &'a Intent,
    base: &'a Head,
    judge: Option<Judge>,
}

/// Of a read by a filter.
struct Judge {
    skipper: Skipper,
    reader: Reader,
}

impl<'a> ReadSet<'a> {
    pub(super) fn new(ours: &'a Intent, base: &'a Head) -> ReadSet<'a> {
        let judge = match &ours.reads {
            Reads::Matching(filter) => {
                let columns = &base.metadata.partition_columns;
                let skipper = Skipper::new(filter, &base.schema, columns);
                let wanted = Some(skipper.stats_columns());
                let reader = Reader::mapped(&base.schema, base.mapping, wanted);
                Some(Judge { skipper, reader })
            }
            Reads::Nothing | Reads::Everything => None,
        };
        ReadSet { ours, base, judge }
    }

    /// Files that may hold rows we would have read. Rearranged files hold none that are new, and of
    /// those that are among `gone`, added again with another vector, it is told there.
    pub(super) fn added(&self, adds: &Adds, gone: &Overlap) -> Overlap {
        let mut overlap = Overlap::default();
        for row in 0..adds.len() {
            let path = adds.path().value(row);
            if adds.data_change().value(row)
                && self.may_read(adds, row)
                && !gone.paths.contains(uri::canonical(path).as_ref())
            {
                overlap.take(path, self.partition_of(|name| adds.partition_value(row, name)));
            }
        }
        overlap
    }

    /// Files that we read and that are gone, rearranged or not: our answer named them.
    pub(super) fn removed(&self, removes: &Removes) -> Overlap {
        let mut overlap = Overlap::default();
        let reads = !matches!(self.ours.reads, Reads::Nothing) && !self.ours.rearranges_only;
        for row in (0..removes.len()).filter(|_| reads) {
            if self.may_have_read(removes, row) {
                overlap.take(removes.path().value(row), self.partition_of_remove(removes, row));
            }
        }
        overlap
    }

    /// Files that both remove, or add: two changes of one file do not add up, and of one that both
    /// add, each with its own vector, every row would be there twice.
    pub(super) fn both(&self, winner: &LogBatch) -> Overlap {
        let mut overlap = Overlap::default();
        let touches = |path: &str| {
            let path = uri::canonical(path);
            let mut from = self.ours.removes.range((path.to_string(), None)..);
            from.next().is_some_and(|it| it.0 == path) || self.ours.adds.contains(path.as_ref())
        };
        if self.ours.removes.is_empty() && self.ours.adds.is_empty() {
            return overlap;
        }
        if let Some(removes) = &winner.removes {
            for row in (0..removes.len()).filter(|it| touches(removes.path().value(*it))) {
                overlap.take(removes.path().value(row), self.partition_of_remove(removes, row));
            }
        }
        if let Some(adds) = &winner.adds {
            for row in (0..adds.len()).filter(|it| touches(adds.path().value(*it))) {
                let partition = self.partition_of(|name| adds.partition_value(row, name));
                overlap.take(adds.path().value(row), partition);
            }
        }
        overlap
    }

    fn may_have_read(&self, removes: &Removes, row: usize) -> bool {
        let Some(state) = &self.ours.state else {
            return match &self.judge {
                Some(judge) => self.remove_may_match(judge, removes, row),
                None => true,
            };
        };
        match state.files.find_path(removes.path().value(row)) {
            Some(at) => state.files.row(at).is_none_or(|(adds, row)| self.may_read(adds, row)),
            None => false,
        }
    }

    /// By partition values and statistics. A vector takes rows away and adds none, so that what
    /// holds for the file holds with it.
    fn may_read(&self, adds: &Adds, row: usize) -> bool {
        let judge = match (&self.judge, &self.ours.reads) {
            (Some(judge), _) => judge,
            (None, Reads::Nothing) => return false,
            (None, _) => return true,
        };
        let text = |name: &str| adds.partition_value(row, name);
        let Some(partition) = self.typed_partition(text) else { return true };
        if judge.skipper.skips_partition(&partition) {
            return false;
        }
        match scan::stats_at(adds, row, &judge.reader) {
            Some(stats) => !judge.skipper.skips(&partition, &stats),
            None => true,
        }
    }

    fn remove_may_match(&self, judge: &Judge, removes: &Removes, row: usize) -> bool {
        let Ok(remove) = removes.get(row) else { return true };
        let Some(values) = remove.partition_values else { return true };
        // Some writers leave out the keys of null values in removes.
        let text = |name: &str| Some(values.get(name).and_then(|it| it.as_deref()));
        match self.typed_partition(text) {
            Some(partition) => !judge.skipper.skips_partition(&partition),
            None => true,
        }
    }

    /// Typed values of all partition columns; `None` if one is absent or does not parse.
    fn typed_partition<'t>(
        &self,
        text: impl Fn(&str) -> Option<Option<&'t str>>,
    ) -> Option<BTreeMap<String, Option<Value>>> {
        let mut values = BTreeMap::new();
        for name in &self.base.metadata.partition_columns {
            let field = self.base.schema.field(name)?;
            let DataType::Primitive(of) = field.data_type else { return None };
            let value = match text(field.physical_name(self.base.mapping))? {
                Some(text) => Value::from_partition(text, of).ok()?,
                None => None,
            };
            values.insert(name.clone(), value);
        }
        Some(values)
    }

    /// As folders name it, by the columns' own names.
    fn partition_of<'t>(&self, text: impl Fn(&str) -> Option<Option<&'t str>>) -> Option<String> {
        let mut folders = Vec::new();
        for name in &self.base.metadata.partition_columns {
            let field = self.base.schema.field(name)?;
            let value = text(field.physical_name(self.base.mapping))?;
            folders.push(uri::partition_folder(name, value));
        }
        (!folders.is_empty()).then(|| folders.join("/"))
    }

    fn partition_of_remove(&self, removes: &Removes, row: usize) -> Option<String> {
        let values = removes.get(row).ok()?.partition_values?;
        self.partition_of(|name| Some(values.get(name).and_then(|it| it.as_deref())))
    }
}
