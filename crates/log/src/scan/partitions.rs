//! The distinct partition tuples of a scan, each typed and judged once.
//!
//! A table of a million files may have a few hundred partitions, and a file names its own in text.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, StringArray, StructArray};
use hashbrown::HashTable;

use crate::batch::{Coded, Strings, partition_strings};
use crate::error::{Code, Error, Result};
use crate::files::hash;
use crate::schema::{DataType, PrimitiveType};
use crate::skip::Skipper;
use crate::state::Head;
use crate::value::Value;

/// The tuples met so far.
pub(super) struct Partitions {
    columns: Arc<[PartitionColumn]>,
    entries: Vec<Partition>,
    by_hash: HashTable<(u64, usize)>,
    /// Files of one partition mostly stand together.
    last: usize,
}

/// Which partitions the texts of a dictionary name, as far as they were met.
#[derive(Default)]
pub(super) struct Codes {
    texts: Option<StringArray>,
    at: Vec<Option<usize>>,
}

pub(super) struct PartitionColumn {
    name: String,
    /// By which the log knows it.
    physical: String,
    of: PrimitiveType,
}

pub(super) struct Partition {
    /// As in the log, in column order.
    raw: Vec<Option<String>>,
    pub(super) values: Arc<BTreeMap<String, Option<Value>>>,
    /// No row of it can match.
    pub(super) skipped: bool,
    /// A file of it is read.
    pub(super) read: bool,
}

impl Partitions {
    /// The partition columns of a table.
    pub(super) fn columns(head: &Head) -> Arc<[PartitionColumn]> {
        let typed = |name: &String| {
            let field = head.schema.field(name)?;
            let DataType::Primitive(of) = field.data_type else { return None };
            let physical = field.physical_name(head.mapping).to_string();
            Some(PartitionColumn { name: name.clone(), physical, of })
        };
        head.metadata.partition_columns.iter().filter_map(typed).collect()
    }

    pub(super) fn new(columns: Arc<[PartitionColumn]>) -> Partitions {
        Partitions { columns, entries: Vec::new(), by_hash: HashTable::new(), last: 0 }
    }

    /// Are there partition columns that are best read as numbers? A single one is: most tables
    /// have no more.
    pub(super) fn like_codes(columns: &[PartitionColumn]) -> bool {
        columns.len() == 1
    }

    /// Which partition each file of a batch is in; each row of it is an add. `codes` is kept from
    /// batch to batch.
    ///
    /// # Errors
    ///
    /// As [`Partitions::of`]; `corrupt-checkpoint` if partition values are missing altogether.
    pub(super) fn of_all(
        &mut self,
        codes: &mut Codes,
        add: &StructArray,
        skipper: &Skipper,
    ) -> Result<Vec<usize>> {
        let coded = match &*self.columns {
            [column] => Coded::new(add, &column.physical)?,
            _ => None,
        };
        let Some(coded) = coded else {
            let values = partition_strings(add)?;
            return (0..add.len()).map(|row| self.of(&values, row, Some(skipper))).collect();
        };
        let texts = coded.texts();
        codes.meet(texts);
        let partition = |row: usize| {
            let code = coded.get(row);
            if let Some(at) = code.flatten().and_then(|it| codes.at.get(it).copied().flatten()) {
                return Ok(at);
            }
            let at = self.of_one(code.map(|it| it.map(|it| texts.value(it))), Some(skipper))?;
            if let Some(known) = code.flatten().and_then(|it| codes.at.get_mut(it)) {
                *known = Some(at);
            }
            Ok(at)
        };
        (0..add.len()).map(partition).collect()
    }

    /// Which partition the file of a row is in.
    ///
    /// # Errors
    ///
    /// `invalid-partition-value` if a value is missing or not of its type.
    pub(super) fn of(
        &mut self,
        values: &Strings,
        row: usize,
        skipper: Option<&Skipper>,
    ) -> Result<usize> {
        if let [column] = &*self.columns {
            return self.of_one(values.get(row, &column.physical), skipper);
        }
        self.last = match self.entries.get(self.last) {
            Some(last) if self.matches(last, values, row) => self.last,
            _ => self.look_up(values, row, skipper)?,
        };
        Ok(self.last)
    }

    /// The same for a single partition column, which is most tables; its text is read once.
    fn of_one(&mut self, text: Option<Option<&str>>, skipper: Option<&Skipper>) -> Result<usize> {
        let is = |entry: Option<&Partition>| match (entry, text) {
            (Some(Partition { raw, .. }), Some(text)) => {
                raw.first().is_some_and(|it| it.as_deref() == text)
            }
            _ => false,
        };
        if !is(self.entries.get(self.last)) {
            let code = text.flatten().map_or(1, hash);
            let same = |(hash, at): &(u64, usize)| *hash == code && is(self.entries.get(*at));
            self.last = match self.by_hash.find(code, same) {
                Some((_, at)) => *at,
                None => {
                    let at = self.entries.len();
                    self.entries.push(self.parse(|_| text, skipper)?);
                    self.by_hash.insert_unique(code, (code, at), |(hash, _)| *hash);
                    at
                }
            };
        }
        Ok(self.last)
    }

    pub(super) fn get(&self, at: usize) -> Result<&Partition> {
        self.entries.get(at).ok_or_else(|| Error::internal("no such partition"))
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Result<&mut Partition> {
        self.entries.get_mut(at).ok_or_else(|| Error::internal("no such partition"))
    }

    /// How many partitions there are, and how many are read. Tuples that are spelled differently
    /// and mean the same, such as `1` and `01`, are one.
    pub(super) fn count(&self) -> (u64, u64) {
        Partitions::count_all([self])
    }

    /// The same over several scans of one table.
    pub(super) fn count_all<'a>(all: impl IntoIterator<Item = &'a Partitions>) -> (u64, u64) {
        let mut entries: Vec<&Partition> = all.into_iter().flat_map(|it| &it.entries).collect();
        entries.sort_by(|a, b| order(&a.values, &b.values));
        let (mut all, mut read) = (0, 0);
        for same in entries.chunk_by(|a, b| order(&a.values, &b.values).is_eq()) {
            all += 1;
            read += u64::from(same.iter().any(|it| it.read));
        }
        (all, read)
    }

    fn matches(&self, entry: &Partition, values: &Strings, row: usize) -> bool {
        self.columns.iter().zip(&entry.raw).all(|(column, raw)| {
            values.get(row, &column.physical).is_some_and(|it| it == raw.as_deref())
        })
    }

    fn look_up(
        &mut self,
        values: &Strings,
        row: usize,
        skipper: Option<&Skipper>,
    ) -> Result<usize> {
        let mut combined = 0u64;
        for column in self.columns.iter() {
            let value = values.get(row, &column.physical).flatten();
            combined = combined.rotate_left(5) ^ value.map_or(1, hash);
        }
        let same = |(hash, at): &(u64, usize)| {
            let entry = self.entries.get(*at);
            *hash == combined && entry.is_some_and(|it| self.matches(it, values, row))
        };
        if let Some((_, at)) = self.by_hash.find(combined, same) {
            return Ok(*at);
        }
        let at = self.entries.len();
        self.entries.push(self.parse(|it| values.get(row, it), skipper)?);
        self.by_hash.insert_unique(combined, (combined, at), |(hash, _)| *hash);
        Ok(at)
    }

    /// From the texts of its columns, by their physical names.
    fn parse<'a>(
        &self,
        text: impl Fn(&str) -> Option<Option<&'a str>>,
        skipper: Option<&Skipper>,
    ) -> Result<Partition> {
        let (mut raw, mut typed) = (Vec::new(), BTreeMap::new());
        for PartitionColumn { name, physical, of } in self.columns.iter() {
            let Some(text) = text(physical) else {
                let what = format!("a file has no value of partition column `{name}`");
                return Err(Error::new(Code::InvalidPartitionValue, what));
            };
            let value = match text {
                Some(text) => Value::from_partition(text, *of)
                    .map_err(|it| it.at(format!("partition column `{name}`")))?,
                None => None,
            };
            raw.push(text.map(str::to_string));
            typed.insert(name.clone(), value);
        }
        let skipped = skipper.is_some_and(|it| it.skips_partition(&typed));
        Ok(Partition { raw, values: Arc::new(typed), skipped, read: false })
    }
}

impl Codes {
    /// Forgets what another dictionary said.
    fn meet(&mut self, texts: &StringArray) {
        if !self.texts.as_ref().is_some_and(|it| it.to_data().ptr_eq(&texts.to_data())) {
            self.texts = Some(texts.clone());
            self.at.clear();
            self.at.resize(texts.len(), None);
        }
    }
}

/// Order of two tuples of the same columns, null first.
fn order(a: &BTreeMap<String, Option<Value>>, b: &BTreeMap<String, Option<Value>>) -> Ordering {
    let one = |(a, b): (&Option<Value>, &Option<Value>)| match (a, b) {
        (Some(a), Some(b)) => a.compare(b).unwrap_or(Ordering::Equal),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    a.values().zip(b.values()).map(one).find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
}
