//! Which columns have statistics.

use crate::property::Properties;
use crate::schema::{ColumnMapping, DataType, PrimitiveType, Schema, StructField};

/// A column below which there is no struct: what statistics are about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// Path as asked for.
    pub(crate) path: Vec<String>,
    /// Path of physical names, by which statistics know it.
    pub(crate) names: Vec<String>,
    /// Its type if it may have bounds; `None` for lists, maps and the like.
    pub(crate) of: Option<PrimitiveType>,
}

impl Leaf {
    fn new(path: Vec<String>, names: Vec<String>, data_type: &DataType) -> Leaf {
        let of = match data_type {
            DataType::Primitive(it) => Some(*it),
            _ => None,
        };
        Leaf { path, names, of }
    }

    /// Does its type have minimum and maximum in statistics that we write?
    pub(crate) fn has_bounds(&self) -> bool {
        let without = |it| {
            use PrimitiveType::{Binary, Interval, Variant, Void};
            matches!(it, Binary | Void | Variant | Interval(_))
        };
        self.of.is_some_and(|it| !without(it))
    }
}

/// The leaves that get statistics when a file is written, in schema order.
pub(crate) fn indexed(
    schema: &Schema,
    mapping: ColumnMapping,
    partition_columns: &[String],
    properties: &Properties,
) -> Vec<Leaf> {
    let data = schema.fields().iter().filter(|it| !partition_columns.contains(&it.name));
    let mut walk = Walk::new(mapping);
    data.for_each(|it| walk.field(it));
    let mut leaves = walk.leaves;
    if let Some(named) = &properties.data_skipping_stats_columns {
        // As a schema spells them.
        let spelt = |it: &Vec<String>| schema.physical_path(it, ColumnMapping::None);
        let named: Vec<Vec<String>> = named.iter().filter_map(spelt).collect();
        leaves.retain(|leaf| named.iter().any(|it| leaf.path.starts_with(it)));
    } else if let Ok(most) = usize::try_from(properties.data_skipping_num_indexed_cols) {
        leaves.truncate(most);
    }
    leaves
}

/// The leaves to read statistics of: those named, or all. Names that are no leaf are left out.
pub(super) fn wanted(
    schema: &Schema,
    mapping: ColumnMapping,
    wanted: Option<&[Vec<String>]>,
) -> Vec<Leaf> {
    match wanted {
        None => {
            let mut walk = Walk::new(mapping);
            schema.fields().iter().for_each(|it| walk.field(it));
            walk.leaves
        }
        Some(paths) => paths.iter().filter_map(|it| named(schema, mapping, it)).collect(),
    }
}

fn named(schema: &Schema, mapping: ColumnMapping, path: &[String]) -> Option<Leaf> {
    let names = schema.physical_path(path, mapping)?;
    match &schema.at_path(path)?.data_type {
        DataType::Struct(_) => None,
        other => Some(Leaf::new(path.to_vec(), names, other)),
    }
}

/// Collects leaves in schema order.
struct Walk {
    mapping: ColumnMapping,
    path: Vec<String>,
    names: Vec<String>,
    leaves: Vec<Leaf>,
}

impl Walk {
    fn new(mapping: ColumnMapping) -> Walk {
        Walk { mapping, path: Vec::new(), names: Vec::new(), leaves: Vec::new() }
    }

    /// A void column is in no file and has no place in the order. Depth is bounded by the schema's
    /// limit.
    fn field(&mut self, field: &StructField) {
        self.path.push(field.name.clone());
        self.names.push(field.physical_name(self.mapping).to_string());
        match &field.data_type {
            DataType::Struct(inner) => inner.fields().iter().for_each(|it| self.field(it)),
            DataType::Primitive(PrimitiveType::Void) => {}
            other => self.leaves.push(Leaf::new(self.path.clone(), self.names.clone(), other)),
        }
        self.names.pop();
        self.path.pop();
    }
}
