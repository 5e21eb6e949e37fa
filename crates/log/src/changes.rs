//! A range of versions to what to read for its row changes.
//!
//! A commit tells its row changes in one of two ways. A writer that knew them wrote change files
//! beside the data, and then those are all there is to read. Else they follow from the files:
//!
//! ```text
//!   cdc                                    the rows of the change file, as `_change_type` says
//!   remove a                               delete   the rows of a that were live
//!   add b                                  insert   the rows of b that are live
//!   remove c, vector {1}   add c, {1, 4}   delete   row 4 of c
//!   remove d, vector {2}   add d, {3}      delete   row 3, insert row 2 of d
//!   dataChange is false                    nothing: rows have moved
//! ```
//!
//! Every line of the picture is one shape: the rows of one file that one vector names, or all of
//! them, less those that another one names. So a [`ChangeTask`] has two vectors and no cases, and
//! the difference of two versions, which needs no commit between them, has the same tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array;
use hashbrown::HashMap;

use crate::action::{Add, DeletionVector, NullableMap, Remove};
use crate::batch::{Adds, LogBatch, Removes};
use crate::error::{Code, Error, Result};
use crate::files::{Chunk, FileAt, FileList};
use crate::schema::{DataType, StructField};
use crate::state::Head;
use crate::uri;
use crate::value::Value;

mod compare;

pub use compare::check_schema;

/// The folder of change files, below the table's root.
pub const CHANGE_FOLDER: &str = "_change_data/";
/// The column of a change file that says what became of each row.
pub const CHANGE_TYPE: &str = "_change_type";

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeType {
    /// It joined the table.
    Insert,
    /// It left the table.
    Delete,
    /// It was updated: what it was before.
    UpdatePreimage,
    /// It was updated: what it is now.
    UpdatePostimage,
}

impl ChangeType {
    /// All of them.
    pub const ALL: [ChangeType; 4] = [
        ChangeType::Insert,
        ChangeType::Delete,
        ChangeType::UpdatePreimage,
        ChangeType::UpdatePostimage,
    ];

    /// As the column `_change_type` holds it.
    ///
    /// ```
    /// use lakebed_log::changes::ChangeType;
    /// assert_eq!(ChangeType::UpdatePreimage.as_str(), "update_preimage");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeType::Insert => "insert",
            ChangeType::Delete => "delete",
            ChangeType::UpdatePreimage => "update_preimage",
            ChangeType::UpdatePostimage => "update_postimage",
        }
    }

    /// The reverse of [`ChangeType::as_str`].
    pub fn parse(text: &str) -> Option<ChangeType> {
        ChangeType::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// One file to read for row changes: the rows that `among` names, all of them if there is none,
/// less those that `except` names.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeTask {
    /// What became of the rows; `None`: a change file, which says so row by row.
    pub change: Option<ChangeType>,
    /// As in the log, encoded.
    pub path: String,
    /// Bytes, as the log says.
    pub size: u64,
    /// Typed values of all partition columns.
    pub partition: BTreeMap<String, Option<Value>>,
    /// If given, no rows but these.
    pub among: Option<DeletionVector>,
    /// Rows to leave out.
    pub except: Option<DeletionVector>,
}

/// What to read for row changes, a file at a time.
pub trait Tasks {
    /// How many tasks.
    fn len(&self) -> usize;

    /// No row changes?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vectors of one task, `among` and `except`, without the rest of it.
    fn vectors(&self, at: usize) -> [Option<DeletionVector>; 2];

    /// One task. Partition values are typed by `head`, the version in whose schema rows are told.
    ///
    /// # Errors
    ///
    /// `invalid-partition-value`; `invalid-action` for a negative size; `internal` if there is no
    /// such task.
    fn task(&self, at: usize, head: &Head) -> Result<ChangeTask>;
}

/// What to read for the row changes of one commit: deletes before inserts, in an order that depends
/// on the commit alone. Tasks are made one at a time, so that a commit of a million files costs no
/// more than its columns.
#[derive(Clone, Debug)]
pub struct CommitChanges {
    commit: LogBatch,
    before: Option<FileList>,
    items: Vec<Item>,
}

/// Rows of the commit's columns.
#[derive(Clone, Copy, Debug)]
enum Item {
    Cdc(usize),
    /// `of`: what the version before knew of a file of which the remove says too little.
    Deleted {
        remove: usize,
        of: Option<FileAt>,
    },
    /// The rows that the vector of the add names and that of the remove does not.
    Marked {
        remove: usize,
        add: usize,
    },
    /// The reverse.
    Unmarked {
        remove: usize,
        add: usize,
    },
    Inserted(usize),
}

/// How the file actions of a commit stand to each other, by their rows.
struct Sorted {
    /// Removes of files that leave.
    gone: Vec<usize>,
    /// Remove and add of a file that stays, with another vector.
    stays: Vec<(usize, usize)>,
    /// Adds of files that join.
    new: Vec<usize>,
}

impl CommitChanges {
    /// Must the live files of the version before be known to tell the changes of this commit?
    ///
    /// They must if a remove leaves out size or partition values, which it may.
    ///
    /// # Errors
    ///
    /// `internal` if the commit was decoded without its file actions.
    pub fn needs_before(commit: &LogBatch, head: &Head) -> Result<bool> {
        let (true, Some(removes)) = (commit.cdc.is_empty(), &commit.removes) else {
            return Ok(false);
        };
        let columns = partition_keys(head);
        for row in Sorted::new(commit.adds.as_ref(), removes).gone {
            if removes.data_change().value(row) && !is_whole(&removes.get(row)?, &columns) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What to read for the row changes of `commit`, which made the version of `head`. `before`
    /// are the live files of the version before, where [`CommitChanges::needs_before`] asks for
    /// them.
    ///
    /// # Errors
    ///
    /// `invalid-action` if a remove that says too little removes no file that was live. `internal`
    /// if `before` was needed and not given.
    pub fn new(commit: &LogBatch, head: &Head, before: Option<&FileList>) -> Result<CommitChanges> {
        let mut changes =
            CommitChanges { commit: commit.clone(), before: before.cloned(), items: Vec::new() };
        if !commit.cdc.is_empty() {
            changes.items = (0..commit.cdc.len()).map(Item::Cdc).collect();
            return Ok(changes);
        }
        let (adds, columns) = (commit.adds.as_ref(), partition_keys(head));
        let is_change = |row: usize| adds.is_some_and(|it| it.data_change().value(row));
        let Some(removes) = &commit.removes else {
            let rows = (0..adds.map_or(0, Adds::len)).filter(|it| is_change(*it));
            changes.items = rows.map(Item::Inserted).collect();
            return Ok(changes);
        };
        let Sorted { gone, stays, new } = Sorted::new(adds, removes);
        let was_change = |row: usize| removes.data_change().value(row);
        for remove in gone.into_iter().filter(|it| was_change(*it)) {
            let item = changes.deleted(removes, remove, &columns)?;
            changes.items.push(item);
        }
        let mut inserts = Vec::new();
        for (remove, add) in stays.into_iter().filter(|it| was_change(it.0) || is_change(it.1)) {
            let marks = adds.is_some_and(|it| it.deletion_vector().is_valid(add));
            changes.items.extend(marks.then_some(Item::Marked { remove, add }));
            let marked = removes.deletion_vector().is_valid(remove);
            inserts.extend(marked.then_some(Item::Unmarked { remove, add }));
        }
        changes.items.extend(inserts);
        let new = new.into_iter().filter(|it| is_change(*it));
        changes.items.extend(new.map(Item::Inserted));
        Ok(changes)
    }

    fn add(&self, row: usize) -> Result<Add> {
        self.commit.adds.as_ref().ok_or_else(|| Error::internal("there are no adds"))?.get(row)
    }

    fn remove(&self, row: usize) -> Result<Remove> {
        let removes = self.commit.removes.as_ref();
        removes.ok_or_else(|| Error::internal("there are no removes"))?.get(row)
    }

    fn deleted(&self, removes: &Removes, remove: usize, columns: &[&str]) -> Result<Item> {
        let it = removes.get(remove)?;
        if is_whole(&it, columns) {
            return Ok(Item::Deleted { remove, of: None });
        }
        let vector = removes.dv_id(remove);
        match before(self.before.as_ref())?.find(&it.path, vector.as_deref()) {
            Some(of) => Ok(Item::Deleted { remove, of: Some(of) }),
            None => {
                let what = "the commit removes a file that was not live, and says neither its size \
                            nor its partition values";
                Err(placed(Error::new(Code::InvalidAction, what), &it.path))
            }
        }
    }
}

impl Tasks for CommitChanges {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn vectors(&self, at: usize) -> [Option<DeletionVector>; 2] {
        let of_add = |row| self.commit.adds.as_ref().and_then(|it| it.vector(row));
        let of_remove = |row| self.commit.removes.as_ref().and_then(|it| it.vector(row));
        match self.items.get(at).copied() {
            None | Some(Item::Cdc(_)) => [None, None],
            Some(Item::Deleted { remove, .. }) => [None, of_remove(remove)],
            Some(Item::Marked { remove, add }) => [of_add(add), of_remove(remove)],
            Some(Item::Unmarked { remove, add }) => [of_remove(remove), of_add(add)],
            Some(Item::Inserted(row)) => [None, of_add(row)],
        }
    }

    fn task(&self, at: usize, head: &Head) -> Result<ChangeTask> {
        let item = self.items.get(at).copied();
        let vectors = self.vectors(at);
        match item.ok_or_else(|| Error::internal(format!("there is no change task {at}")))? {
            Item::Cdc(row) => {
                let cdc = self.commit.cdc.get(row);
                let it = cdc.ok_or_else(|| Error::internal("no such change file"))?;
                File::new(&it.path, it.size, &it.partition_values).task(head, None, vectors)
            }
            Item::Deleted { of: Some(of), .. } => {
                let add = before(self.before.as_ref())?.get(of)?;
                File::of(&add).task(head, Some(ChangeType::Delete), vectors)
            }
            Item::Deleted { remove, of: None } => {
                let remove = self.remove(remove)?;
                let values = remove.partition_values.unwrap_or_default();
                let mut file = File::new(&remove.path, remove.size.unwrap_or(-1), &values);
                file.nulls_left_out = true;
                file.task(head, Some(ChangeType::Delete), vectors)
            }
            Item::Marked { add, .. } => {
                File::of(&self.add(add)?).task(head, Some(ChangeType::Delete), vectors)
            }
            Item::Unmarked { add, .. } | Item::Inserted(add) => {
                File::of(&self.add(add)?).task(head, Some(ChangeType::Insert), vectors)
            }
        }
    }
}

impl Sorted {
    /// No path is added twice in a commit, and none is removed twice.
    fn new(adds: Option<&Adds>, removes: &Removes) -> Sorted {
        let any = |it: &arrow_array::StructArray| it.null_count() < it.len();
        let vectors =
            any(removes.deletion_vector()) || adds.is_some_and(|it| any(it.deletion_vector()));
        if !vectors {
            // Without vectors nothing tells an add from a remove of its path, so there are none.
            let (gone, new) =
                ((0..removes.len()).collect(), (0..adds.map_or(0, Adds::len)).collect());
            return Sorted { gone, stays: Vec::new(), new };
        }
        let mut by_path: HashMap<_, usize> = HashMap::new();
        for (row, path) in adds.into_iter().flat_map(|it| it.path().iter().enumerate()) {
            by_path.insert(uri::canonical(path.unwrap_or_default()), row);
        }
        let (mut gone, mut stays) = (Vec::new(), Vec::new());
        for (row, path) in removes.path().iter().enumerate() {
            match by_path.remove(&*uri::canonical(path.unwrap_or_default())) {
                Some(add) => stays.push((row, add)),
                None => gone.push(row),
            }
        }
        let mut new: Vec<usize> = by_path.into_values().collect();
        new.sort_unstable();
        Sorted { gone, stays, new }
    }
}

/// The difference of two versions by their live files: what to read for the rows of one that the
/// other has not. A file that both have with one vector costs nothing.
#[derive(Clone, Debug)]
pub struct Difference {
    from: FileList,
    to: FileList,
    items: Vec<Differs>,
}

#[derive(Clone, Copy, Debug)]
enum Differs {
    Deleted(FileAt),
    Marked(FileAt, FileAt),
    Unmarked(FileAt, FileAt),
    Inserted(FileAt),
}

impl Difference {
    /// From one list of live files to another, in either order of time: deletes before inserts.
    ///
    /// # Cost
    ///
    /// A look-up for each file in a part that the lists do not share.
    pub fn new(from: &FileList, to: &FileList) -> Difference {
        let (mut items, mut inserts) = (Vec::new(), Vec::new());
        for at in unshared(from, to) {
            let Some((adds, row)) = from.row(at) else { continue };
            match to.find_path(adds.path().value(row)) {
                None => items.push(Differs::Deleted(at)),
                Some(now) if dv_id(to, now) != adds.dv_id(row) => {
                    let marks = has_vector(to, now);
                    items.extend(marks.then_some(Differs::Marked(at, now)));
                    let marked = has_vector(from, at);
                    inserts.extend(marked.then_some(Differs::Unmarked(at, now)));
                }
                Some(_) => {}
            }
        }
        let is_new = |at: &FileAt| {
            let path = to.row(*at).map(|(adds, row)| adds.path().value(row));
            path.is_some_and(|it| from.find_path(it).is_none())
        };
        inserts.extend(unshared(to, from).filter(is_new).map(Differs::Inserted));
        items.extend(inserts);
        Difference { from: from.clone(), to: to.clone(), items }
    }
}

impl Tasks for Difference {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn vectors(&self, at: usize) -> [Option<DeletionVector>; 2] {
        let of = |files: &FileList, at| files.row(at).and_then(|(adds, row)| adds.vector(row));
        match self.items.get(at).copied() {
            None => [None, None],
            Some(Differs::Deleted(at)) => [None, of(&self.from, at)],
            Some(Differs::Marked(was, is)) => [of(&self.to, is), of(&self.from, was)],
            Some(Differs::Unmarked(was, is)) => [of(&self.from, was), of(&self.to, is)],
            Some(Differs::Inserted(at)) => [None, of(&self.to, at)],
        }
    }

    fn task(&self, at: usize, head: &Head) -> Result<ChangeTask> {
        let item = self.items.get(at).copied();
        let item = item.ok_or_else(|| Error::internal(format!("there is no difference {at}")))?;
        let (add, change) = match item {
            Differs::Deleted(at) => (self.from.get(at)?, ChangeType::Delete),
            Differs::Marked(_, is) => (self.to.get(is)?, ChangeType::Delete),
            Differs::Unmarked(_, at) | Differs::Inserted(at) => {
                (self.to.get(at)?, ChangeType::Insert)
            }
        };
        File::of(&add).task(head, Some(change), self.vectors(at))
    }
}

/// Files of a list, oldest first, but for parts that the other list holds just so.
fn unshared<'a>(of: &'a FileList, other: &'a FileList) -> impl Iterator<Item = FileAt> + 'a {
    let is_shared = |it: &Chunk| {
        let mut others = other.chunks().iter();
        others.any(|other| Arc::ptr_eq(&other.rows, &it.rows) && other.live == it.live)
    };
    let shared: Vec<bool> = of.chunks().iter().map(is_shared).collect();
    let is_alone = move |at: &FileAt| {
        let chunk = usize::try_from(at.chunk).ok().and_then(|it| shared.get(it));
        chunk != Some(&true)
    };
    of.iter().filter(is_alone)
}

fn dv_id(files: &FileList, at: FileAt) -> Option<String> {
    files.row(at).and_then(|(adds, row)| adds.dv_id(row))
}

fn has_vector(files: &FileList, at: FileAt) -> bool {
    files.row(at).is_some_and(|(adds, row)| adds.deletion_vector().is_valid(row))
}

/// What an action says of a file.
struct File<'a> {
    path: &'a str,
    size: i64,
    values: &'a NullableMap,
    /// Removes leave out the keys of nulls; adds do not.
    nulls_left_out: bool,
}

impl<'a> File<'a> {
    fn new(path: &'a str, size: i64, values: &'a NullableMap) -> File<'a> {
        File { path, size, values, nulls_left_out: false }
    }

    fn of(add: &'a Add) -> File<'a> {
        File::new(&add.path, add.size, &add.partition_values)
    }

    fn task(
        self,
        head: &Head,
        change: Option<ChangeType>,
        [among, except]: [Option<DeletionVector>; 2],
    ) -> Result<ChangeTask> {
        let Ok(size) = u64::try_from(self.size) else {
            let what = format!("the size of a file is {}", self.size);
            return Err(placed(Error::new(Code::InvalidAction, what), self.path));
        };
        let partition = self.partition(head).map_err(|it| placed(it, self.path))?;
        Ok(ChangeTask { change, path: self.path.to_string(), size, partition, among, except })
    }

    fn partition(&self, head: &Head) -> Result<BTreeMap<String, Option<Value>>> {
        let mut typed = BTreeMap::new();
        for field in partition_fields(head) {
            let DataType::Primitive(of) = field.data_type else { continue };
            let name = &field.name;
            let text = match self.values.get(field.physical_name(head.mapping)) {
                Some(text) => text.as_deref(),
                None if self.nulls_left_out => None,
                None => {
                    let what = format!("a file has no value of partition column `{name}`");
                    return Err(Error::new(Code::InvalidPartitionValue, what));
                }
            };
            let value = text.map(|it| Value::from_partition(it, of)).transpose();
            let value = value.map_err(|it| it.at(format!("partition column `{name}`")))?;
            typed.insert(name.clone(), value.flatten());
        }
        Ok(typed)
    }
}

fn partition_fields(head: &Head) -> impl Iterator<Item = &StructField> {
    head.metadata.partition_columns.iter().filter_map(|it| head.schema.field(it))
}

/// Partition columns by the names that the log has.
fn partition_keys(head: &Head) -> Vec<&str> {
    partition_fields(head).map(|it| it.physical_name(head.mapping)).collect()
}

/// Does the remove say all that reading its file takes?
fn is_whole(remove: &Remove, columns: &[&str]) -> bool {
    // Only a writer that promises the values may leave out those that are null.
    let promised = remove.extended_file_metadata == Some(true) && remove.partition_values.is_some();
    let holds = |it: &&str| remove.partition_values.as_ref().is_some_and(|of| of.contains_key(*it));
    remove.size.is_some() && (promised || columns.iter().all(holds))
}

fn before(files: Option<&FileList>) -> Result<&FileList> {
    files.ok_or_else(|| Error::internal("the files of the version before are needed"))
}

/// Says which file, if its path is one below the table's root: a URL may hold credentials.
fn placed(error: Error, path: &str) -> Error {
    match uri::decode(path) {
        Ok(key) => error.at(key),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests;
