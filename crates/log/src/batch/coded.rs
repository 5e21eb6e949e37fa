//! Partition values as they mostly are stored: as numbers into a dictionary.
//!
//! A table of a million files has a few hundred partitions. Written out, the value of each file is
//! a text to compare and to look up; as it is stored, it is a number, and what was found out about
//! a number holds for every file that has it.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int32Array, MapArray, StringArray, StructArray};

use crate::batch::rules::corrupt;
use crate::error::Result;

/// A batch with more names of columns is read as texts: looking for one among them costs too much.
const NAMES_MAX: usize = 64;

/// The values of one partition column in a batch of adds.
pub(crate) struct Coded {
    maps: MapArray,
    keys: Int32Array,
    values: Int32Array,
    /// Which of the keys are the column.
    is_column: Vec<bool>,
    texts: StringArray,
}

impl Coded {
    /// `None` if they do not come as numbers, or not soundly: then they are to be read as texts.
    ///
    /// # Errors
    ///
    /// `corrupt-checkpoint` for numbers into an empty dictionary.
    pub(crate) fn new(add: &StructArray, column: &str) -> Result<Option<Coded>> {
        let maps = add.column_by_name("partitionValues").and_then(|it| it.as_map_opt());
        let Some(maps) = maps.filter(|it| it.null_count() == 0) else { return Ok(None) };
        let (Some(keys), Some(values)) = (
            maps.keys().as_dictionary_opt::<Int32Type>(),
            maps.values().as_dictionary_opt::<Int32Type>(),
        ) else {
            return Ok(None);
        };
        let names = keys.values().as_string_opt::<i32>();
        let texts = values.values().as_string_opt::<i32>();
        let (Some(names), Some(texts)) = (names, texts) else { return Ok(None) };
        let (keys, values) = (keys.keys(), values.keys());
        let lead_nowhere = |codes: &Int32Array, dictionary: &StringArray| {
            dictionary.is_empty() && codes.null_count() < codes.len()
        };
        if lead_nowhere(keys, names) || lead_nowhere(values, texts) {
            return Err(corrupt("partition values are not in their dictionary"));
        }
        let are_sound = [keys.null_count(), names.null_count(), texts.null_count()] == [0; 3];
        if !are_sound || NAMES_MAX < names.len() {
            return Ok(None);
        }
        Ok(Some(Coded {
            maps: maps.clone(),
            keys: keys.clone(),
            values: values.clone(),
            is_column: names.iter().map(|it| it == Some(column)).collect(),
            texts: texts.clone(),
        }))
    }

    /// The number of the value in a row; the outer `None`: it has none, the inner one: it is null.
    pub(crate) fn get(&self, row: usize) -> Option<Option<usize>> {
        let offsets = self.maps.value_offsets();
        let at = |index: usize| offsets.get(index).and_then(|it| usize::try_from(*it).ok());
        let mut entries = at(row)?..at(row + 1)?;
        let entry = entries.find(|it| {
            let key = self.keys.values().get(*it).and_then(|it| usize::try_from(*it).ok());
            key.and_then(|it| self.is_column.get(it)) == Some(&true)
        })?;
        if self.values.is_null(entry) {
            return Some(None);
        }
        let code = self.values.values().get(entry).and_then(|it| usize::try_from(*it).ok())?;
        (code < self.texts.len()).then_some(Some(code))
    }

    /// What the numbers mean.
    pub(crate) fn texts(&self) -> &StringArray {
        &self.texts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{MapBuilder, StringBuilder};
    use arrow_array::{ArrayRef, RecordBatch};
    use arrow_schema::{DataType, Field};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::batch::{Footer, Form, Group, parquet_footer, partition_strings};

    type Entry<'a> = (&'a str, Option<&'a str>);

    /// A checkpoint of adds with these partition values.
    fn file(rows: &[Vec<Entry<'_>>], properties: WriterProperties) -> Bytes {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for row in rows {
            for (key, value) in row {
                maps.keys().append_value(key);
                maps.values().append_option(*value);
            }
            maps.append(true).unwrap();
        }
        let maps: ArrayRef = Arc::new(maps.finish());
        let field =
            |name: &str, of: &ArrayRef| Arc::new(Field::new(name, of.data_type().clone(), true));
        let path: ArrayRef = Arc::new(StringArray::from(vec!["a"; rows.len()]));
        let columns = [("path", path), ("partitionValues", maps)];
        let columns: Vec<_> = columns.into_iter().map(|it| (field(it.0, &it.1), it.1)).collect();
        let add: ArrayRef = Arc::new(StructArray::from(columns));
        let batch = RecordBatch::try_from_iter([("add", add)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    /// How many batches came as numbers; they mean what the texts are.
    #[track_caller]
    fn check(rows: &[Vec<Entry<'_>>], properties: WriterProperties) -> usize {
        let (bytes, mut coded, mut at) = (file(rows, properties), 0, 0);
        let size = bytes.len() as u64;
        let Footer::Ready(footer) = parquet_footer(&bytes, size).unwrap() else { panic!() };
        for group in Group::of(&footer, size) {
            let leaves = group.leaves(|path| path.first() == Some(&"partitionValues"));
            let each = |add: StructArray| {
                let texts = partition_strings(&add)?;
                let codes = Coded::new(&add, "p")?;
                coded += usize::from(codes.is_some());
                for row in 0..add.len() {
                    let first = rows[at].iter().find(|it| it.0 == "p");
                    assert_eq!(texts.get(row, "p"), first.map(|it| it.1));
                    if let Some(codes) = &codes {
                        let text = |code: Option<usize>| code.map(|it| codes.texts().value(it));
                        assert_eq!(codes.get(row).map(text), first.map(|it| it.1), "row {at}");
                    }
                    at += 1;
                }
                Ok(())
            };
            group.read(bytes.clone(), &leaves, None, Form::Codes, each).unwrap();
        }
        assert_eq!(at, rows.len());
        coded
    }

    #[test]
    fn numbers_mean_what_texts_say() {
        let days: Vec<String> = (0..20_000).map(|it| format!("2024-{it}")).collect();
        let of = |it: usize| Some(days[it].as_str());
        let plain = || WriterProperties::builder().set_dictionary_enabled(false).build();
        let stored = WriterProperties::default;
        let small = || WriterProperties::builder().set_dictionary_page_size_limit(64).build();
        let one: Vec<_> = (0..20_000).map(|it| vec![("p", of(it % 365))]).collect();
        let odd: Vec<_> = (0..9_000)
            .map(|it| match it % 6 {
                0 => vec![],
                1 => vec![("p", None)],
                2 => vec![("q", of(it)), ("p", of(it % 7))],
                3 => vec![("p", of(it % 9)), ("p", of(it))],
                4 => vec![("q", None)],
                _ => vec![("p", Some(""))],
            })
            .collect();
        let many: Vec<_> = (0..20_000).map(|it| vec![("p", of(it))]).collect();
        let nulls: Vec<_> = (0..100).map(|_| vec![("p", None)]).collect();
        for rows in [&one, &odd, &many, &nulls] {
            assert!(0 < check(rows, stored()));
            check(rows, small());
            check(rows, plain());
        }
        // Too many columns to look for one.
        let wide = (0..100).map(|it| vec![(days[it].as_str(), None), ("p", of(1))]);
        assert_eq!(check(&wide.collect::<Vec<_>>(), stored()), 0);
    }

    #[test]
    fn other_types_are_left_to_others() {
        let values: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
        let field = Field::new("partitionValues", DataType::Int64, true);
        let add = StructArray::from(vec![(Arc::new(field), values)]);
        assert!(Coded::new(&add, "p").unwrap().is_none());
        assert!(Coded::new(&StructArray::new_empty_fields(1, None), "p").unwrap().is_none());
    }
}
