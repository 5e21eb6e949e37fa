//! Rows to partitions, by value.
//!
//! A partition is what its strings in the log say, but making a string per row would cost more than
//! encoding the row. So each partition column numbers its distinct values by their bits, the string
//! is made once per number, and rows are told apart by numbers alone. Two values with one string
//! (an empty text and null) are one partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use hashbrown::HashMap;
use lakebed_log::error::{Code, Error, Result};
use lakebed_log::schema::Schema;
use lakebed_log::value::Value;

/// Values of the partition columns as the log has them.
pub(super) type PartitionValues = BTreeMap<String, Option<String>>;

/// Splits batches of the table's shape into batches of the files' shape.
pub(super) struct Splitter {
    columns: Vec<Column>,
    /// Places of the columns that go into files, in the table's shape.
    kept: Vec<usize>,
    file_schema: SchemaRef,
    /// For each column: the number of the values before it and of its own, to a number for both.
    pairs: Vec<Pairs>,
    /// Combined numbers to partitions.
    partitions: Vec<u32>,
    known: BTreeMap<Vec<Option<String>>, u32>,
}

/// Rows of some partitions, in the order of the input.
pub(super) struct Parts {
    /// Partitions seen for the first time; they are numbered on from those before.
    pub(super) new: Vec<PartitionValues>,
    /// Number of a partition and its rows.
    pub(super) rows: Vec<(usize, RecordBatch)>,
}

/// Numbers pairs of numbers.
#[derive(Clone, Default)]
struct Pairs {
    numbers: HashMap<(u32, u32), u32>,
    pairs: Vec<(u32, u32)>,
}

struct Column {
    at: usize,
    name: String,
    nullable: bool,
    null: Option<u32>,
    numbers: HashMap<i128, u32>,
    texts: HashMap<Vec<u8>, u32>,
    strings: Vec<Option<String>>,
}

impl Splitter {
    pub(super) fn new(
        schema: &Schema,
        partition_columns: &[String],
        kept: Vec<usize>,
        file_schema: SchemaRef,
    ) -> Result<Splitter> {
        let column = |name: &String| {
            let at = schema.fields().iter().position(|it| it.name == *name);
            let Some((at, field)) = at.and_then(|at| Some((at, schema.fields().get(at)?))) else {
                let what = format!("partition column `{name}` is not in the schema");
                return Err(Error::new(Code::UnknownColumn, what));
            };
            Ok(Column {
                at,
                name: name.clone(),
                nullable: field.nullable,
                null: None,
                numbers: HashMap::new(),
                texts: HashMap::new(),
                strings: Vec::new(),
            })
        };
        let columns = partition_columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Splitter {
            pairs: vec![Pairs::default(); columns.len()],
            columns,
            kept,
            file_schema,
            partitions: Vec::new(),
            known: BTreeMap::new(),
        })
    }

    /// Splits; rows of a partition keep their order.
    pub(super) fn split(&mut self, batches: &[RecordBatch]) -> Result<Parts> {
        let mut new = Vec::new();
        if self.columns.is_empty() {
            self.partition(0, &mut new)?;
            let files = batches.iter().map(|it| Ok((0, self.file_batch(it)?)));
            return Ok(Parts { rows: files.collect::<Result<_>>()?, new });
        }
        let mut order: Vec<usize> = Vec::new();
        let mut members: Vec<Vec<(usize, usize)>> = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let partitions = self.partitions_of(batch, &mut new)?;
            members.resize_with(self.known.len(), Vec::new);
            for (row, partition) in partitions.into_iter().enumerate() {
                let Some(rows) = members.get_mut(index(partition)) else { continue };
                if rows.is_empty() {
                    order.push(index(partition));
                }
                rows.push((at, row));
            }
        }
        let files = batches.iter().map(|it| self.file_batch(it)).collect::<Result<Vec<_>>>()?;
        let rows = order.into_iter().map(|partition| {
            let rows = members.get(partition).map(Vec::as_slice).unwrap_or_default();
            Ok((partition, pick(&files, rows)?))
        });
        Ok(Parts { rows: rows.collect::<Result<_>>()?, new })
    }

    /// The columns that go into files.
    fn file_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.kept.iter().filter_map(|it| batch.columns().get(*it));
        let columns = columns.zip(self.file_schema.fields());
        let columns = columns.map(|(array, field)| super::void::strip(array, field.data_type()));
        RecordBatch::try_new(Arc::clone(&self.file_schema), columns.collect::<Result<_>>()?)
            .map_err(|it| Error::internal("rows do not have the shape of their file").because(it))
    }

    /// The partition of every row.
    fn partitions_of(
        &mut self,
        batch: &RecordBatch,
        new: &mut Vec<PartitionValues>,
    ) -> Result<Vec<u32>> {
        let mut combined = vec![0u32; batch.num_rows()];
        for (column, pairs) in self.columns.iter_mut().zip(&mut self.pairs) {
            let array = batch.columns().get(column.at);
            let array = array.ok_or_else(|| Error::internal("a partition column is gone"))?;
            for (left, right) in combined.iter_mut().zip(column.numbers(array)?) {
                *left = pairs.number((*left, right))?;
            }
        }
        let mut seen: Option<(u32, u32)> = None;
        for row in &mut combined {
            match seen {
                Some((number, partition)) if number == *row => *row = partition,
                _ => {
                    let number = *row;
                    *row = self.partition(number, new)?;
                    seen = Some((number, *row));
                }
            }
        }
        Ok(combined)
    }

    /// The partition of a combined number; numbers come in order, so an unknown one is the next.
    fn partition(&mut self, number: u32, new: &mut Vec<PartitionValues>) -> Result<u32> {
        while self.partitions.len() <= index(number) {
            let key = self.strings(next(self.partitions.len())?);
            let next = next(self.known.len())?;
            let partition = *self.known.entry(key.clone()).or_insert(next);
            if partition == next {
                let names = self.columns.iter().map(|it| it.name.clone());
                new.push(names.zip(key).collect());
            }
            self.partitions.push(partition);
        }
        self.partitions
            .get(index(number))
            .copied()
            .ok_or_else(|| Error::internal("a partition is gone"))
    }

    /// The strings behind a combined number.
    fn strings(&self, mut number: u32) -> Vec<Option<String>> {
        let mut strings = Vec::with_capacity(self.columns.len());
        for (column, pairs) in self.columns.iter().zip(&self.pairs).rev() {
            let (left, right) = pairs.pairs.get(index(number)).copied().unwrap_or_default();
            strings.push(column.strings.get(index(right)).cloned().flatten());
            number = left;
        }
        strings.reverse();
        strings
    }
}

impl Pairs {
    fn number(&mut self, pair: (u32, u32)) -> Result<u32> {
        if let Some(number) = self.numbers.get(&pair) {
            return Ok(*number);
        }
        let number = next(self.pairs.len())?;
        self.numbers.insert(pair, number);
        self.pairs.push(pair);
        Ok(number)
    }
}

impl Column {
    /// A number for the value of every row.
    fn numbers(&mut self, array: &ArrayRef) -> Result<Vec<u32>> {
        if let Some(bits) = bits(array) {
            let mut out = Vec::with_capacity(array.len());
            let mut seen: Option<(i128, u32)> = None;
            for (row, bits) in bits.into_iter().enumerate() {
                if array.is_null(row) {
                    out.push(self.null()?);
                    continue;
                }
                let number = match seen {
                    Some((same, number)) if same == bits => number,
                    _ => match self.numbers.get(&bits) {
                        Some(number) => *number,
                        None => {
                            let number = self.value(array, row)?;
                            self.numbers.insert(bits, number);
                            number
                        }
                    },
                };
                seen = Some((bits, number));
                out.push(number);
            }
            return Ok(out);
        }
        (0..array.len()).map(|row| self.text(array, row)).collect()
    }

    fn text(&mut self, array: &ArrayRef, row: usize) -> Result<u32> {
        if array.is_null(row) {
            return self.null();
        }
        let bytes = match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
            DataType::Binary => array.as_binary::<i32>().value(row),
            other => {
                let what = format!("column `{}` of type {other} cannot partition", self.name);
                return Err(Error::new(Code::SchemaMismatch, what));
            }
        };
        if let Some(number) = self.texts.get(bytes) {
            return Ok(*number);
        }
        let number = self.value(array, row)?;
        self.texts.insert(bytes.to_vec(), number);
        Ok(number)
    }

    fn null(&mut self) -> Result<u32> {
        match self.null {
            Some(number) => Ok(number),
            None => {
                let number = self.number(None)?;
                self.null = Some(number);
                Ok(number)
            }
        }
    }

    fn value(&mut self, array: &ArrayRef, row: usize) -> Result<u32> {
        let value = Value::from_array(array, row)?;
        if value.as_ref().is_some_and(|it| !it.has_partition()) {
            let what = format!(
                "partition column `{}` holds bytes that are no UTF-8, which no partition value can",
                self.name
            );
            return Err(Error::new(Code::InvalidData, what));
        }
        let text = value.map(|it| it.to_partition());
        self.number(text.filter(|it| !it.is_empty()))
    }

    fn number(&mut self, text: Option<String>) -> Result<u32> {
        if text.is_none() && !self.nullable {
            let what = format!("partition column `{}` is not null and has no value", self.name);
            return Err(Error::new(Code::InvalidData, what));
        }
        let number = next(self.strings.len())?;
        self.strings.push(text);
        Ok(number)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The number after `len` others.
fn next(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::new(Code::LimitExceeded, "too many partition values"))
}

/// The values of a column of fixed width, as bits that tell them apart.
fn bits(array: &ArrayRef) -> Option<Vec<i128>> {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<i128>
    where
        T::Native: Into<i128>,
    {
        array.as_primitive::<T>().values().iter().map(|it| (*it).into()).collect()
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().values().iter().map(i128::from).collect(),
        DataType::Int8 => of::<Int8Type>(array),
        DataType::Int16 => of::<Int16Type>(array),
        DataType::Int32 => of::<Int32Type>(array),
        DataType::Int64 => of::<Int64Type>(array),
        DataType::Date32 => of::<Date32Type>(array),
        DataType::Timestamp(..) => of::<TimestampMicrosecondType>(array),
        DataType::Decimal128(..) => of::<Decimal128Type>(array),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            values.iter().map(|it| i128::from(it.to_bits())).collect()
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            values.iter().map(|it| i128::from(it.to_bits())).collect()
        }
        _ => return None,
    })
}

/// The rows at these places. A run of one batch is cut from it without a copy.
fn pick(batches: &[RecordBatch], rows: &[(usize, usize)]) -> Result<RecordBatch> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(Error::internal("a partition without rows"));
    };
    let copied = match batches.get(first.0) {
        Some(batch) if first.0 == last.0 => {
            if last.1 - first.1 + 1 == rows.len() {
                return Ok(batch.slice(first.1, rows.len()));
            }
            let at = rows.iter().map(|it| u32::try_from(it.1).unwrap_or(u32::MAX));
            take_record_batch(batch, &UInt32Array::from_iter_values(at))
        }
        _ => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), rows),
    };
    copied.map_err(|it| Error::internal("the rows of a partition do not gather").because(it))
}
