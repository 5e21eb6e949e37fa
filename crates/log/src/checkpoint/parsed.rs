//! Text to typed columns: `partitionValues_parsed` and `stats_parsed`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, NullBufferBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{Array, ArrayRef, StringArray, StructArray};

use super::{arrow_failed, field, structure};
use crate::error::{Error, Result};
use crate::schema::PrimitiveType;
use crate::stats::{Leaf, Reader, Side, least, parse_value};
use crate::value::Value;

/// A column of values of one type being made.
pub(super) enum Values {
    Boolean(BooleanBuilder),
    Byte(Int8Builder),
    Short(Int16Builder),
    Integer(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    String(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    /// Zone or not, the numbers are the same.
    Timestamp(TimestampMicrosecondBuilder),
}

impl Values {
    /// `None` for types without values.
    pub(super) fn new(of: PrimitiveType) -> Result<Option<Values>> {
        Ok(Some(match of {
            PrimitiveType::Boolean => Values::Boolean(BooleanBuilder::new()),
            PrimitiveType::Byte => Values::Byte(Int8Builder::new()),
            PrimitiveType::Short => Values::Short(Int16Builder::new()),
            PrimitiveType::Integer => Values::Integer(Int32Builder::new()),
            PrimitiveType::Long => Values::Long(Int64Builder::new()),
            PrimitiveType::Float => Values::Float(Float32Builder::new()),
            PrimitiveType::Double => Values::Double(Float64Builder::new()),
            PrimitiveType::Decimal { precision, scale } => {
                let scale = i8::try_from(scale)
                    .map_err(|_| Error::internal(format!("decimal scale {scale}")))?;
                let builder = Decimal128Builder::new();
                let typed = builder.with_precision_and_scale(precision, scale);
                Values::Decimal(typed.map_err(arrow_failed)?)
            }
            PrimitiveType::String => Values::String(StringBuilder::new()),
            PrimitiveType::Binary => Values::Binary(BinaryBuilder::new()),
            PrimitiveType::Date => Values::Date(Date32Builder::new()),
            PrimitiveType::Timestamp => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            PrimitiveType::TimestampNtz => Values::Timestamp(TimestampMicrosecondBuilder::new()),
            PrimitiveType::Void | PrimitiveType::Variant | PrimitiveType::Interval(_) => {
                return Ok(None);
            }
        }))
    }

    /// A value of another type becomes null: it was parsed for this one.
    pub(super) fn append(&mut self, value: Option<Value>) {
        match (self, value) {
            (Values::Boolean(to), Some(Value::Boolean(it))) => to.append_value(it),
            (Values::Byte(to), Some(Value::Byte(it))) => to.append_value(it),
            (Values::Short(to), Some(Value::Short(it))) => to.append_value(it),
            (Values::Integer(to), Some(Value::Integer(it))) => to.append_value(it),
            (Values::Long(to), Some(Value::Long(it))) => to.append_value(it),
            (Values::Float(to), Some(Value::Float(it))) => to.append_value(it),
            (Values::Double(to), Some(Value::Double(it))) => to.append_value(it),
            (Values::Decimal(to), Some(Value::Decimal { unscaled, .. })) => {
                to.append_value(unscaled);
            }
            (Values::String(to), Some(Value::String(it))) => to.append_value(it),
            (Values::Binary(to), Some(Value::Binary(it))) => to.append_value(it),
            (Values::Date(to), Some(Value::Date(it))) => to.append_value(it),
            (Values::Timestamp(to), Some(Value::Timestamp(it) | Value::TimestampNtz(it))) => {
                to.append_value(it)
            }
            (to, _) => to.append_null(),
        }
    }

    fn append_null(&mut self) {
        match self {
            Values::Boolean(it) => it.append_null(),
            Values::Byte(it) => it.append_null(),
            Values::Short(it) => it.append_null(),
            Values::Integer(it) => it.append_null(),
            Values::Long(it) => it.append_null(),
            Values::Float(it) => it.append_null(),
            Values::Double(it) => it.append_null(),
            Values::Decimal(it) => it.append_null(),
            Values::String(it) => it.append_null(),
            Values::Binary(it) => it.append_null(),
            Values::Date(it) => it.append_null(),
            Values::Timestamp(it) => it.append_null(),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Values::Boolean(it) => Arc::new(it.finish()),
            Values::Byte(it) => Arc::new(it.finish()),
            Values::Short(it) => Arc::new(it.finish()),
            Values::Integer(it) => Arc::new(it.finish()),
            Values::Long(it) => Arc::new(it.finish()),
            Values::Float(it) => Arc::new(it.finish()),
            Values::Double(it) => Arc::new(it.finish()),
            Values::Decimal(it) => Arc::new(it.finish()),
            Values::String(it) => Arc::new(it.finish()),
            Values::Binary(it) => Arc::new(it.finish()),
            Values::Date(it) => Arc::new(it.finish()),
            Values::Timestamp(it) => Arc::new(it.finish()),
        }
    }
}

/// The `stats_parsed` of some JSON statistics: a struct that is null where they are null or do not
/// parse, and null in the leaves that they do not tell.
///
/// ```text
///   numRecords   minValues{leaf ..}   maxValues{leaf ..}   nullCount{leaf ..}   tightBounds
/// ```
pub(super) fn stats(reader: &Reader, texts: &StringArray) -> Result<StructArray> {
    let mut valid = NullBufferBuilder::new(texts.len());
    let (mut rows, mut tight) = (Int64Builder::new(), BooleanBuilder::new());
    let mut leaves = reader.leaves().iter().map(LeafColumns::new).collect::<Result<Vec<_>>>()?;
    for text in texts {
        let raw = text.and_then(|it| reader.read_raw(it));
        valid.append(raw.is_some());
        let raw = raw.unwrap_or_default();
        rows.append_option(raw.num_records().and_then(|it| i64::try_from(it).ok()));
        tight.append_option(raw.tight_bounds());
        let mut values = raw.leaves.iter();
        for leaf in &mut leaves {
            let it = values.next().copied().unwrap_or_default();
            leaf.append(it.min, it.max, it.null_count());
        }
    }
    let mut sections: [Vec<(&[String], ArrayRef)>; 3] = Default::default();
    let [min, max, nulls] = &mut sections;
    for (leaf, columns) in reader.leaves().iter().zip(&mut leaves) {
        let names = leaf.names.as_slice();
        if let Some((low, high)) = &mut columns.bounds {
            min.push((names, low.finish()));
            max.push((names, high.finish()));
        }
        nulls.push((names, Arc::new(columns.nulls.finish())));
    }

    let mut columns: Vec<(&str, ArrayRef)> = vec![("numRecords", Arc::new(rows.finish()))];
    for (name, section) in [("minValues", min), ("maxValues", max), ("nullCount", nulls)] {
        if !section.is_empty() {
            columns.push((name, nest(section, 0)?));
        }
    }
    columns.push(("tightBounds", Arc::new(tight.finish())));
    let (fields, arrays, _) = structure(columns)?.into_parts();
    StructArray::try_new(fields, arrays, valid.finish()).map_err(arrow_failed)
}

/// The least values of one leaf alone: what checkpoints are ordered by.
pub(super) fn minimums(leaf: &Leaf, texts: &StringArray, to: &mut Values) {
    texts.iter().for_each(|text| to.append(text.and_then(|it| least(it, leaf))));
}

struct LeafColumns {
    of: Option<PrimitiveType>,
    bounds: Option<(Values, Values)>,
    nulls: Int64Builder,
}

impl LeafColumns {
    fn new(leaf: &Leaf) -> Result<LeafColumns> {
        // Spark's struct statistics have no place for those of booleans.
        let of = leaf.of.filter(|it| leaf.has_bounds() && *it != PrimitiveType::Boolean);
        let bounds = match of {
            Some(of) => Values::new(of)?.zip(Values::new(of)?),
            None => None,
        };
        Ok(LeafColumns { of, bounds, nulls: Int64Builder::new() })
    }

    fn append(&mut self, min: Option<&str>, max: Option<&str>, nulls: Option<u64>) {
        if let (Some((low, high)), Some(of)) = (&mut self.bounds, self.of) {
            let min = min.and_then(|it| parse_value(it, of, Side::Min));
            let max = max.and_then(|it| parse_value(it, of, Side::Max));
            // Bounds the wrong way round prove nothing. Left in, they would make those of the row
            // group tighter than what is known of its files.
            let inverted = min.as_ref().zip(max.as_ref()).is_some_and(|(min, max)| {
                !matches!(min.compare(max), Some(Ordering::Less | Ordering::Equal))
            });
            low.append(min.filter(|_| !inverted));
            high.append(max.filter(|_| !inverted));
        }
        self.nulls.append_option(nulls.and_then(|it| i64::try_from(it).ok()));
    }
}

/// Leaves with their paths to a struct. Leaves of one struct follow each other, as in the schema.
fn nest(leaves: &[(&[String], ArrayRef)], depth: usize) -> Result<ArrayRef> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for group in leaves.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
        let Some((names, array)) = group.first() else { continue };
        let Some(name) = names.get(depth) else { continue };
        let array = if names.len() == depth + 1 { array.clone() } else { nest(group, depth + 1)? };
        fields.push(field(name, array.data_type().clone()));
        arrays.push(array);
    }
    Ok(Arc::new(StructArray::try_new(fields.into(), arrays, None).map_err(arrow_failed)?))
}
