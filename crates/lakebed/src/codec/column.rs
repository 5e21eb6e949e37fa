//! One column of a file being written, from row group to row group.
//!
//! A column knows nothing of the others. When it has closed a row group it makes the writers of the
//! next one itself, with what it has learned, so that it need not wait until the others are there.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use lakebed_log::error::{Error, Result};
use lakebed_log::pages::{Blobs, Chunk, Pieces, Shelf};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::texts::Texts;

/// One top-level column.
pub(super) struct Column {
    /// Which one.
    pub(super) at: usize,
    field: FieldRef,
    parquet: TypePtr,
    /// Of the row groups to come.
    properties: WriterPropertiesPtr,
    /// Of the open row group; none between two.
    leaves: Vec<Leaf>,
    /// Bounds of texts, which the library is told to leave alone.
    texts: Option<Texts>,
}

/// One leaf of the open row group.
struct Leaf {
    writer: ArrowColumnWriter,
    blobs: Blobs,
    /// Was a NaN among its values?
    nan: bool,
}

/// All columns of a file, in their first row group.
pub(super) fn columns(
    file: &SerializedFileWriter<Pieces>,
    schema: &SchemaRef,
) -> Result<Vec<Column>> {
    let mut leaves = open(file, schema)?.into_iter();
    let parquet = file.schema_descr().root_schema().get_fields();
    let columns = schema.fields().iter().zip(parquet).enumerate();
    let column = |(at, (field, parquet)): (usize, (&FieldRef, &TypePtr))| Column {
        at,
        field: Arc::clone(field),
        parquet: Arc::clone(parquet),
        properties: Arc::clone(file.properties()),
        leaves: leaves.by_ref().take(leaf_count(field)).collect(),
        texts: is_text(field).then(|| Texts::new(file.properties().write_batch_size())),
    };
    Ok(columns.map(column).collect())
}

/// Has the library leave texts alone whose bounds are found here: those of top-level columns.
pub(super) fn without_texts(
    properties: WriterPropertiesBuilder,
    schema: &SchemaRef,
) -> WriterPropertiesBuilder {
    let texts = schema.fields().iter().filter(|it| is_text(it));
    texts.fold(properties, |properties, it| {
        let path = ColumnPath::from(vec![it.name().clone()]);
        properties.set_column_statistics_enabled(path, EnabledStatistics::None)
    })
}

fn is_text(field: &FieldRef) -> bool {
    field.data_type() == &DataType::Utf8
}

/// A row group of all columns of `file`.
fn open(file: &SerializedFileWriter<Pieces>, schema: &SchemaRef) -> Result<Vec<Leaf>> {
    let shelf = Arc::new(Shelf::default());
    let factory = ArrowRowGroupWriterFactory::new(file, Arc::clone(schema))
        .with_page_store_factory(Arc::clone(&shelf) as _);
    let writers = factory.create_column_writers(0).map_err(encoding)?;
    let leaves = writers.into_iter().zip(shelf.take());
    Ok(leaves.map(|(writer, blobs)| Leaf { writer, blobs, nan: false }).collect())
}

impl Column {
    /// Writes its part of the rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(array) = batch.columns().get(self.at) else {
            return Err(Error::internal("a batch has fewer columns than its file"));
        };
        if self.leaves.is_empty() {
            self.leaves = self.open_again()?;
        }
        if let Some(texts) = &mut self.texts {
            texts.take(array)?;
        }
        let arrays = compute_leaves(&self.field, array).map_err(encoding)?;
        let mut nans = Vec::with_capacity(self.leaves.len());
        find_nans(array, &mut nans);
        for ((leaf, array), nan) in self.leaves.iter_mut().zip(&arrays).zip(nans) {
            leaf.writer.write(array).map_err(encoding)?;
            leaf.nan |= nan;
        }
        Ok(())
    }

    /// Closes the row group; nothing if no row came.
    pub(super) fn close(&mut self) -> Result<Vec<Chunk>> {
        let mut chunks = Vec::with_capacity(self.leaves.len());
        for Leaf { writer, blobs, nan } in std::mem::take(&mut self.leaves) {
            let chunk = writer.close().map_err(encoding)?;
            let chunk = Chunk::new(&chunk, &blobs)?;
            let chunk = if nan { chunk.without_bounds()? } else { chunk };
            chunks.push(match &mut self.texts {
                Some(texts) => {
                    let empty = Texts::new(self.properties.write_batch_size());
                    let texts = std::mem::replace(texts, empty);
                    chunk.told(|it| texts.tell(it))?
                }
                None => chunk,
            });
        }
        self.learn(&chunks);
        Ok(chunks)
    }

    /// Goes on without the dictionaries that this row group has given up. The next file tries them
    /// again.
    fn learn(&mut self, chunks: &[Chunk]) {
        let mut in_vain = chunks.iter().filter(|it| it.gave_up_dictionary()).peekable();
        if in_vain.peek().is_none() {
            return;
        }
        let mut properties = WriterProperties::clone(&self.properties).into_builder();
        for chunk in in_vain {
            let path = chunk.close().metadata.column_path().clone();
            properties = properties.set_column_dictionary_enabled(path, false);
        }
        self.properties = Arc::new(properties.build());
    }

    /// The next row group, by way of a file that has this column alone.
    fn open_again(&self) -> Result<Vec<Leaf>> {
        let root = Type::group_type_builder("schema").with_fields(vec![Arc::clone(&self.parquet)]);
        let root = Arc::new(root.build().map_err(encoding)?);
        let alone =
            SerializedFileWriter::new(Pieces::default(), root, Arc::clone(&self.properties));
        open(&alone.map_err(encoding)?, &Arc::new(Schema::new(vec![Arc::clone(&self.field)])))
    }

    /// Bytes of the open row group once it is encoded, an estimate.
    pub(super) fn estimate(&self) -> u64 {
        self.leaves.iter().map(|it| it.writer.get_estimated_total_bytes() as u64).sum()
    }

    /// Bytes of the open row group that are in memory.
    pub(super) fn held(&self) -> u64 {
        self.leaves.iter().map(|it| it.writer.memory_size() as u64).sum()
    }
}

fn leaf_count(field: &FieldRef) -> usize {
    use arrow_schema::DataType::{List, Map, Struct};
    match field.data_type() {
        Struct(fields) => fields.iter().map(leaf_count).sum(),
        List(element) | Map(element, _) => leaf_count(element),
        _ => 1,
    }
}

/// Says of each leaf, in the order of the file, whether there is a NaN in it. One that no row can
/// see, under a null, may count too: that costs bounds and no rows.
fn find_nans(array: &ArrayRef, out: &mut Vec<bool>) {
    use arrow_schema::DataType::{Float32, Float64, List, Map, Struct};
    match array.data_type() {
        Float32 => {
            out.push(array.as_primitive::<Float32Type>().values().iter().any(|it| it.is_nan()));
        }
        Float64 => {
            out.push(array.as_primitive::<Float64Type>().values().iter().any(|it| it.is_nan()));
        }
        Struct(_) => array.as_struct().columns().iter().for_each(|it| find_nans(it, out)),
        List(_) => {
            let list = array.as_list::<i32>();
            find_nans(&within(list.values(), list.offsets()), out);
        }
        Map(..) => {
            let map = array.as_map();
            let entries = map.entries().columns().iter();
            entries.for_each(|it| find_nans(&within(it, map.offsets()), out));
        }
        _ => out.push(false),
    }
}

/// The elements that the lists of a slice can have.
fn within(elements: &ArrayRef, offsets: &OffsetBuffer<i32>) -> ArrayRef {
    let place = |at: Option<&i32>| at.and_then(|it| usize::try_from(*it).ok()).unwrap_or(0);
    let (from, to) = (place(offsets.first()), place(offsets.last()));
    elements.slice(from, to.saturating_sub(from))
}

pub(super) fn encoding(err: ParquetError) -> Error {
    Error::internal("the rows could not be encoded as Parquet").because(err)
}
