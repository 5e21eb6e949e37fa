//! Which columns have statistics.

use crate::property::Properties;
use crate::schema::{DataType, PrimitiveType, Schema, StructField};

/// A column below which there is no struct: what statistics are about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// Path as asked for.
    pub(crate) path: Vec<String>,
    /// Path of names as in the schema; differs from `path` in case only.
    pub(crate) names: Vec<String>,
    /// Its type if it may have bounds; `None` for lists, maps and the like.
    pub(crate) of: Option<PrimitiveType>,
}

impl Leaf {
    fn new(path: Vec<String>, data_type: &DataType) -> Leaf {
        let of = match data_type {
            DataType::Primitive(it) => Some(*it),
            _ => None,
        };
        Leaf { names: path.clone(), path, of }
    }

    /// Does its type have minimum and maximum in statistics that we write?
    pub(crate) fn has_bounds(&self) -> bool {
        let without = |it| {
            use PrimitiveType::{Binary, Variant, Void};
            matches!(it, Binary | Void | Variant)
        };
        self.of.is_some_and(|it| !without(it))
    }
}

/// The leaves that get statistics when a file is written, in schema order.
pub(crate) fn indexed(
    schema: &Schema,
    partition_columns: &[String],
    properties: &Properties,
) -> Vec<Leaf> {
    let data = schema.fields().iter().filter(|it| !partition_columns.contains(&it.name));
    let mut leaves = Vec::new();
    data.for_each(|it| walk(it, &mut Vec::new(), &mut leaves));
    if let Some(named) = &properties.data_skipping_stats_columns {
        leaves.retain(|leaf| named.iter().any(|it| leaf.path.starts_with(it)));
    } else if let Ok(most) = usize::try_from(properties.data_skipping_num_indexed_cols) {
        leaves.truncate(most);
    }
    leaves
}

/// The leaves to read statistics of: those named, or all. Names that are no leaf are left out.
pub(super) fn wanted(schema: &Schema, wanted: Option<&[Vec<String>]>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    match wanted {
        None => schema.fields().iter().for_each(|it| walk(it, &mut Vec::new(), &mut leaves)),
        Some(paths) => leaves.extend(paths.iter().filter_map(|it| named(schema, it))),
    }
    leaves
}

fn named(schema: &Schema, path: &[String]) -> Option<Leaf> {
    let mut fields = schema;
    let mut names = Vec::new();
    let mut found = None;
    for (depth, name) in path.iter().enumerate() {
        let field = fields.field(name)?;
        names.push(field.name.clone());
        match &field.data_type {
            DataType::Struct(inner) => fields = inner,
            other if depth + 1 == path.len() => found = Some(other),
            _ => return None,
        }
    }
    let leaf = Leaf::new(path.to_vec(), found?);
    Some(Leaf { names, ..leaf })
}

/// A void column is in no file and has no place in the order. Depth is bounded by the schema's
/// limit.
fn walk(field: &StructField, parents: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    parents.push(field.name.clone());
    match &field.data_type {
        DataType::Struct(inner) => inner.fields().iter().for_each(|it| walk(it, parents, leaves)),
        DataType::Primitive(PrimitiveType::Void) => {}
        other => leaves.push(Leaf::new(parents.clone(), other)),
    }
    parents.pop();
}
