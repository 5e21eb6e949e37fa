//! A plan made once, from the checkpoint itself, without building the state of the table.
//!
//! A state that is kept answers every plan; but a plan that is made once reads few files of many,
//! and knowing the others costs more than finding these. So the row groups of the checkpoint are
//! sifted, each by itself, in steps that read ever more columns of ever fewer rows:
//!
//! ```text
//!   footer         typed partition values, bounds     row groups of our own checkpoints left out
//!   partition      partitionValues                    judged once per distinct tuple
//!   structs        the leaves the filter names        in bulk, then one by one
//!   json           stats, where structs are silent
//!   tasks          path, size, vector ..              of the rows that are left
//! ```
//!
//! What commits above the checkpoint decided is known before: it takes rows out at the end, and
//! brings files of its own. The files are those that [`plan`](super::plan) would read. Whether the
//! rest of the checkpoint is sound is not found out.

mod bounds;
mod tags;

pub use tags::sidecar_tags;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::BooleanBuffer;
use hashbrown::HashMap;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::reader::ChunkReader;

use super::judge::{self, Judge};
use super::partitions::{Codes, PartitionColumn, Partitions};
use super::{Scan, ScanPlan, ScanTask, outline};
use crate::action::Sidecar;
use crate::batch::{Form, Group, TaskRows, kept, valid};
use crate::error::{Code, Error, Result};
use crate::files::FileList;
use crate::skip::Skipper;
use crate::state::Head;
use crate::stats::{Reader, SECTIONS, Structs, Term};
use crate::support::ReadPermit;
use crate::uri;

/// A plan in the making. Cheap to clone.
#[derive(Clone)]
pub struct Sift(Arc<Inner>);

struct Inner {
    head: Arc<Head>,
    plan: ScanPlan,
    skipper: Skipper,
    reader: Reader,
    terms: Vec<Term>,
    by_partition: bool,
    columns: Arc<[PartitionColumn]>,
    tail: FileList,
}

/// A row group being sifted. Tells what to fetch, takes it, and tells again, until it is done.
pub struct SiftGroup {
    sift: Sift,
    group: Group,
    next: Step,
    /// Rows that are left; all of them at first.
    rows: Option<Vec<Left>>,
    partitions: Partitions,
    /// Was the index of the pages asked for?
    asked_pages: bool,
    tasks: Vec<ScanTask>,
}

/// A row that may have to be read.
#[derive(Clone, Copy)]
struct Left {
    row: usize,
    partition: usize,
    is_open: bool,
    num_records: Option<u64>,
}

impl Left {
    fn unread(row: usize) -> Left {
        Left { row, partition: 0, is_open: true, num_records: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Partition,
    Structs,
    Json,
    Tasks,
    Done,
}

impl Sift {
    /// `tail` is what the commits above the checkpoint say: their files, and as tombstones the keys
    /// that they removed; wide, if [`needs_stats`](super::needs_stats). `None` if the filter can
    /// leave no file out.
    ///
    /// # Errors
    ///
    /// As [`plan`](super::plan).
    pub fn new(
        head: &Arc<Head>,
        _permit: ReadPermit,
        scan: &Scan,
        tail: FileList,
    ) -> Result<Option<Sift>> {
        let (plan, skipper) = outline(head, scan)?;
        let Some(skipper) = skipper else { return Ok(None) };
        let by_partition = !skipper.partition_columns().is_empty();
        if !by_partition && skipper.stats_columns().is_empty() {
            return Ok(None);
        }
        let reader = Reader::mapped(&head.schema, head.mapping, Some(skipper.stats_columns()));
        Ok(Some(Sift(Arc::new(Inner {
            head: Arc::clone(head),
            plan,
            terms: skipper.terms(),
            skipper,
            reader,
            by_partition,
            columns: Partitions::columns(head),
            tail,
        }))))
    }

    /// Can a scan be planned this way, with fewer files than all of them?
    ///
    /// # Errors
    ///
    /// As [`plan`](super::plan).
    pub fn helps(head: &Head, scan: &Scan) -> Result<bool> {
        let (_, skipper) = outline(head, scan)?;
        Ok(skipper
            .is_some_and(|it| !it.partition_columns().is_empty() || !it.stats_columns().is_empty()))
    }

    /// Do the tags of a sidecar prove that it holds nothing to read? Then it need not be fetched;
    /// gives how many files it holds.
    pub fn rules_out(&self, sidecar: &Sidecar) -> Option<u64> {
        tags::ruled_out(sidecar, &self.0.head, &self.0.skipper)
    }

    /// A row group ready to be sifted; `None` if its footer proves that it holds nothing to read.
    pub fn group(&self, group: Group) -> Option<SiftGroup> {
        let it = &*self.0;
        if group.is_ours() {
            let common =
                bounds::common(&group, &it.head, it.skipper.partition_columns(), &it.reader);
            if it.skipper.skips_all(&common) {
                return None;
            }
        }
        let mut sifted = SiftGroup {
            sift: self.clone(),
            group,
            next: Step::Partition,
            rows: None,
            partitions: Partitions::new(Arc::clone(&it.columns)),
            asked_pages: false,
            tasks: Vec::new(),
        };
        sifted.settle();
        Some(sifted)
    }

    /// The plan, from all row groups that were sifted, in order. `adds` is how many files the
    /// checkpoint holds.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` if two of the files found are one; `invalid-action` if one of them is
    /// live with another vector; and those of the tail, as [`plan`](super::plan).
    pub fn finish(&self, groups: Vec<SiftGroup>, adds: u64) -> Result<ScanPlan> {
        let it = &*self.0;
        let (tail_tasks, tail_partitions) = judge::files(&it.head, &it.tail, Some(&it.skipper))?;
        let mut tasks = Vec::new();
        let mut seen: HashMap<String, ()> = HashMap::new();
        for group in &groups {
            for task in &group.tasks {
                if seen.insert(uri::canonical(&task.path).into_owned(), ()).is_some() {
                    let what = format!("{} is live twice", judge::shown(&task.path));
                    return Err(Error::new(Code::CorruptCheckpoint, what));
                }
                let vector = task.deletion_vector.as_ref().map(|it| it.unique_id());
                if it.tail.decides(&task.path, vector.as_deref()) {
                    continue;
                }
                if it.tail.is_live(&task.path) {
                    let what =
                        format!("{} is live with two deletion vectors", judge::shown(&task.path));
                    return Err(Error::new(Code::InvalidAction, what));
                }
                tasks.push(task.clone());
            }
        }
        tasks.extend(tail_tasks);
        let removed = it.tail.tombstones().iter().map(|it| it.live.len()).sum();
        let considered = (adds + it.tail.len()).saturating_sub(removed);
        let all = groups.iter().map(|it| &it.partitions).chain([&tail_partitions]);
        let (partitions_considered, partitions_read) = Partitions::count_all(all);
        let plan = it.plan.clone();
        Ok(ScanPlan { tasks, considered, partitions_considered, partitions_read, ..plan })
    }
}

impl SiftGroup {
    /// The byte ranges that the next step needs, in order; `None`: it is done.
    pub fn wants(&mut self) -> Option<Vec<Range<u64>>> {
        if self.next == Step::Done {
            return None;
        }
        if !self.asked_pages
            && let Some(selection) = self.selection()
            && let Some(index) = self.group.page_index(&selection)
        {
            return Some(vec![index]);
        }
        self.asked_pages |= self.rows.is_some();
        Some(self.group.ranges(&self.leaves(), self.selection().as_ref()))
    }

    /// Takes the step; `file` holds the ranges that it wants.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` and `limit-exceeded` if what was fetched does not decode;
    /// `invalid-partition-value`.
    pub fn step<R: ChunkReader + 'static>(mut self, file: R) -> Result<SiftGroup> {
        if !self.asked_pages && self.rows.is_some() {
            self.asked_pages = true;
            self.group = self.group.with_pages(&file)?;
            return Ok(self);
        }
        match self.next {
            Step::Partition => self.by_partition(file)?,
            Step::Structs => self.by_structs(file)?,
            Step::Json => self.by_json(file)?,
            Step::Tasks => self.collect(file)?,
            Step::Done => return Ok(self),
        }
        self.next = match self.next {
            Step::Partition => Step::Structs,
            Step::Structs => Step::Json,
            Step::Json => Step::Tasks,
            Step::Tasks | Step::Done => Step::Done,
        };
        self.settle();
        Ok(self)
    }

    /// Steps over what there is no need to do.
    fn settle(&mut self) {
        let it = Arc::clone(&self.sift.0);
        let wants_stats = !it.reader.leaves().is_empty();
        loop {
            let (needed, after) = match self.next {
                Step::Partition => (it.by_partition, Step::Structs),
                Step::Structs => (wants_stats && !self.leaves().is_empty(), Step::Json),
                Step::Json => {
                    let open = |rows: &Vec<Left>| rows.iter().any(|it| it.is_open);
                    let open = self.rows.as_ref().is_none_or(open);
                    (wants_stats && open && self.group.has(&["stats"]), Step::Tasks)
                }
                Step::Tasks | Step::Done => (true, Step::Done),
            };
            if self.rows.as_ref().is_some_and(Vec::is_empty) {
                self.next = Step::Done;
            }
            if needed || self.next == Step::Done {
                return;
            }
            self.next = after;
        }
    }

    fn leaves(&self) -> Vec<usize> {
        let it = &*self.sift.0;
        let reader = &it.reader;
        let is_leaf = |names: &[&str]| {
            reader
                .leaves()
                .iter()
                .any(|leaf| leaf.names.iter().map(String::as_str).eq(names.iter().copied()))
        };
        self.group.leaves(|path| match (self.next, path) {
            (Step::Partition, ["partitionValues", ..]) => true,
            (Step::Structs, ["stats_parsed", "numRecords"]) => true,
            (Step::Structs, ["stats_parsed", section, names @ ..]) => {
                SECTIONS.contains(section) && is_leaf(names)
            }
            (Step::Json, ["stats"]) => true,
            (Step::Tasks, path) => TaskRows::wants(path, self.partition_is_open()),
            _ => false,
        })
    }

    /// Must the partition still be read?
    fn partition_is_open(&self) -> bool {
        !self.sift.0.by_partition && !self.sift.0.columns.is_empty()
    }

    /// The rows that the next step reads; `None` is all.
    fn selection(&self) -> Option<RowSelection> {
        let rows = self.rows.as_ref()?;
        let open_only = self.next == Step::Json;
        let mut selectors: Vec<RowSelector> = Vec::new();
        let mut after = 0;
        for row in rows.iter().filter(|it| it.is_open || !open_only).map(|it| it.row) {
            match selectors.last_mut().filter(|_| row == after) {
                Some(last) if !last.skip => last.row_count += 1,
                _ => {
                    if after < row {
                        selectors.push(RowSelector::skip(row - after));
                    }
                    selectors.push(RowSelector::select(1));
                }
            }
            after = row + 1;
        }
        if after < self.group.rows() {
            selectors.push(RowSelector::skip(self.group.rows() - after));
        }
        Some(selectors.into())
    }

    /// Reads what the step needs, and keeps the rows that `keep` gives back. It sees each batch
    /// with the rows that are left of it: their places in the batch, and what is known of them.
    fn sieve<R: ChunkReader + 'static>(
        &mut self,
        file: R,
        mut keep: impl FnMut(&StructArray, &[(usize, Left)], &mut Partitions) -> Result<Vec<Left>>,
    ) -> Result<()> {
        let (leaves, selection) = (self.leaves(), self.selection());
        let open_only = self.next == Step::Json;
        let form = match self.next {
            Step::Partition if Partitions::like_codes(&self.sift.0.columns) => Form::Codes,
            _ => Form::Views,
        };
        let old = self.rows.take();
        let mut at = 0;
        let mut left = Vec::new();
        let partitions = &mut self.partitions;
        self.group.read(file, &leaves, selection.as_ref(), form, |add| {
            let valid = valid(&add);
            let Some(old) = &old else {
                let all = |place| (place, Left::unread(at + place));
                let rows: Vec<_> = valid.set_indices().map(all).collect();
                at += add.len();
                left.extend(keep(&add, &rows, partitions)?);
                return Ok(());
            };
            let mut rows = Vec::with_capacity(add.len());
            for place in 0..add.len() {
                // Rows that are not read stay as they are.
                while open_only && let Some(row) = old.get(at).filter(|it| !it.is_open) {
                    left.push(*row);
                    at += 1;
                }
                let row = old.get(at).copied().unwrap_or(Left::unread(at));
                at += 1;
                if valid.value(place) {
                    rows.push((place, row));
                }
            }
            left.extend(keep(&add, &rows, partitions)?);
            Ok(())
        })?;
        while let Some(row) = old.as_deref().and_then(|it| it.get(at)) {
            left.push(*row);
            at += 1;
        }
        // Those that were read come a batch at a time, after those beside them that were not.
        left.sort_unstable_by_key(|it| it.row);
        self.rows = Some(left);
        Ok(())
    }

    fn by_partition<R: ChunkReader + 'static>(&mut self, file: R) -> Result<()> {
        let it = Arc::clone(&self.sift.0);
        let mut codes = Codes::default();
        self.sieve(file, |add, rows, partitions| {
            let found = match rows.len() == add.len() {
                true => partitions.of_all(&mut codes, add, &it.skipper)?,
                false => partitions.of_all(&mut codes, &kept(add, valid(add))?, &it.skipper)?,
            };
            let mut left = Vec::new();
            for (partition, (_, row)) in found.into_iter().zip(rows) {
                if !partitions.get(partition)?.skipped {
                    left.push(Left { partition, ..*row });
                }
            }
            Ok(left)
        })
    }

    fn by_structs<R: ChunkReader + 'static>(&mut self, file: R) -> Result<()> {
        let it = Arc::clone(&self.sift.0);
        let mut judge = Judge::new(&it.skipper, &it.reader);
        let none = Default::default();
        let by_partition = it.by_partition;
        self.sieve(file, |add, rows, partitions| {
            let parsed = add.column_by_name("stats_parsed").and_then(|it| it.as_struct_opt());
            let Some(parsed) = parsed else { return Ok(rows.iter().map(|it| it.1).collect()) };
            let structs = Structs::new(parsed, &it.reader);
            let out = structs.ruled_out(&it.reader, &it.terms, add.len());
            let mut left = Vec::new();
            for (place, row) in rows.iter().filter(|it| !out.value(it.0)) {
                let values = match by_partition {
                    true => &*partitions.get(row.partition)?.values,
                    false => &none,
                };
                let verdict = judge.structs(&structs, *place, values);
                if !verdict.skips {
                    let (is_open, num_records) = (verdict.is_open, verdict.num_records);
                    left.push(Left { is_open, num_records, ..*row });
                }
            }
            Ok(left)
        })
    }

    fn by_json<R: ChunkReader + 'static>(&mut self, file: R) -> Result<()> {
        let it = Arc::clone(&self.sift.0);
        let mut judge = Judge::new(&it.skipper, &it.reader);
        let none = Default::default();
        let by_partition = it.by_partition;
        self.sieve(file, |add, rows, partitions| {
            let texts = Texts::new(add.column_by_name("stats"))?;
            let mut left = Vec::new();
            for (place, row) in rows {
                let Some(text) = texts.get(*place) else {
                    left.push(*row);
                    continue;
                };
                let values = match by_partition {
                    true => &*partitions.get(row.partition)?.values,
                    false => &none,
                };
                let verdict = judge.json(text, values);
                if !verdict.skips {
                    let num_records = row.num_records.or(verdict.num_records);
                    left.push(Left { is_open: false, num_records, ..*row });
                }
            }
            Ok(left)
        })
    }

    fn collect<R: ChunkReader + 'static>(&mut self, file: R) -> Result<()> {
        let partition_is_open = self.partition_is_open();
        let known = self.sift.0.by_partition;
        let ours = self.group.is_ours();
        let mut tasks = Vec::new();
        self.sieve(file, |add, rows, partitions| {
            let mut mask = vec![false; add.len()];
            for (place, _) in rows {
                if let Some(it) = mask.get_mut(*place) {
                    *it = true;
                }
            }
            let kept = kept(add, BooleanBuffer::from(mask))?;
            let found = TaskRows::new(kept, partition_is_open, ours)?;
            if found.len() != rows.len() {
                return Err(Error::internal("rows of a checkpoint do not add up"));
            }
            for (nth, (_, row)) in rows.iter().enumerate() {
                let path = found.path.value(nth);
                let partition = match &found.partition_values {
                    Some(values) => partitions
                        .of(values, nth, None)
                        .map_err(|it| judge::placed(it, path))
                        .map(Some)?,
                    None => known.then_some(row.partition),
                };
                let values = match partition {
                    Some(at) => {
                        let partition = partitions.get_mut(at)?;
                        partition.read = true;
                        Arc::clone(&partition.values)
                    }
                    None => Arc::default(),
                };
                tasks.push(task(&found, nth, row.num_records, values)?);
            }
            Ok(Vec::new())
        })?;
        self.tasks = tasks;
        Ok(())
    }
}

fn task(
    found: &TaskRows,
    row: usize,
    num_records: Option<u64>,
    partition: Arc<std::collections::BTreeMap<String, Option<crate::value::Value>>>,
) -> Result<ScanTask> {
    let path = found.path.value(row);
    let long = |it: &arrow_array::Int64Array| it.is_valid(row).then(|| it.value(row));
    let counted = found.num_records.as_ref().and_then(long);
    Ok(ScanTask {
        key: uri::locate(path)?.into_owned(),
        path: path.to_string(),
        size: u64::try_from(found.size.value(row)).unwrap_or(0),
        num_records: num_records.or(counted.and_then(|it| u64::try_from(it).ok())),
        partition,
        deletion_vector: found.vector(row),
        base_row_id: long(&found.base_row_id),
        default_row_commit_version: long(&found.default_row_commit_version),
    })
}

/// Text in any of the forms that a reader gives it.
enum Texts<'a> {
    Views(&'a arrow_array::StringViewArray),
    Plain(arrow_array::StringArray),
    None,
}

impl Texts<'_> {
    fn new(column: Option<&ArrayRef>) -> Result<Texts<'_>> {
        let Some(column) = column else { return Ok(Texts::None) };
        if let Some(views) = column.as_string_view_opt() {
            return Ok(Texts::Views(views));
        }
        crate::batch::plain_texts(column, "stats").map(Texts::Plain)
    }

    fn get(&self, row: usize) -> Option<&str> {
        match self {
            Texts::Views(it) => it.is_valid(row).then(|| it.value(row)),
            Texts::Plain(it) => it.is_valid(row).then(|| it.value(row)),
            Texts::None => None,
        }
    }
}

#[cfg(test)]
mod tests;
