//! Casts of arrays with parts: structs, lists, maps, and the encodings that stand for others.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{
    Array, ArrayRef, ListArray, MapArray, OffsetSizeTrait, StructArray, UInt64Array,
};
use arrow_buffer::{ArrowNativeType, NullBuffer, OffsetBuffer};
use arrow_schema::DataType as ArrowType;

use super::{Cast, Parent, Parts, Place, check_not_null, unexpected};
use crate::error::{Code, Error, Result};
use crate::schema::arrow::{element_of, entries_of, fields_of};
use crate::schema::{ArrayType, MapType, StructType};

/// The array without dictionaries and runs at its top.
pub(super) fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    let mut array = Arc::clone(array);
    loop {
        let (values, positions) = match array.data_type() {
            ArrowType::Dictionary(_, _) => {
                let array = array.as_any_dictionary();
                (Arc::clone(array.values()), arrow_array::make_array(array.keys().to_data()))
            }
            ArrowType::RunEndEncoded(ends, _) => match ends.data_type() {
                ArrowType::Int16 => runs::<Int16Type>(&array)?,
                ArrowType::Int32 => runs::<Int32Type>(&array)?,
                _ => runs::<Int64Type>(&array)?,
            },
            _ => return Ok(array),
        };
        array = taken(&values, &positions)?;
    }
}

/// The values of the runs and, for each row, which of them it is.
fn runs<T: RunEndIndexType>(array: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    let runs = array.as_run::<T>();
    let rows: Vec<u64> = (0u64..).take(runs.len()).collect();
    let positions = runs.get_physical_indices(&rows).map_err(unexpected)?;
    let wide = |it: usize| u64::try_from(it).map_err(|_| too_long());
    let positions: Vec<u64> = positions.into_iter().map(wide).collect::<Result<_>>()?;
    Ok((Arc::clone(runs.values()), Arc::new(UInt64Array::from(positions))))
}

impl Cast {
    pub(super) fn structs(
        self,
        array: &ArrayRef,
        to: &StructType,
        place: &Place<'_>,
        parent: Parent<'_>,
    ) -> Result<ArrayRef> {
        let Some(array) = array.as_struct_opt() else {
            return Err(place.mismatch(format!("{} is no struct", array.data_type())));
        };
        let parts = Parts { fields: array.fields(), columns: array.columns(), rows: array.len() };
        let nulls = NullBuffer::union(array.nulls(), parent.nulls);
        let inside = Parent { nulls: nulls.as_ref(), ..parent };
        let columns = self.fields(&parts, to, place, inside)?;
        let nulls = array.nulls().cloned();
        let made = StructArray::try_new_with_length(fields_of(to), columns, nulls, array.len());
        Ok(Arc::new(made.map_err(unexpected)?))
    }

    pub(super) fn lists(
        self,
        array: &ArrayRef,
        to: &ArrayType,
        place: &Place<'_>,
    ) -> Result<ArrayRef> {
        let Some((values, ranges)) = ranges(array) else {
            return Err(place.mismatch(format!("{} is no list", array.data_type())));
        };
        let (offsets, values) = packed(&values, &ranges)?;
        let place = place.inside("element");
        let inside = Parent { nulls: None, excuses: true };
        let values = self.array(&values, &to.element, &place, inside)?;
        if !to.contains_null {
            check_not_null(&values, inside, &place)?;
        }
        let nulls = array.nulls().cloned();
        let made = ListArray::try_new(element_of(to), offsets, values, nulls);
        Ok(Arc::new(made.map_err(unexpected)?))
    }

    pub(super) fn maps(
        self,
        array: &ArrayRef,
        to: &MapType,
        place: &Place<'_>,
    ) -> Result<ArrayRef> {
        let Some(map) = array.as_map_opt() else {
            return Err(place.mismatch(format!("{} is no map", array.data_type())));
        };
        let entries: ArrayRef = Arc::new(map.entries().clone());
        let ranges = by_offsets(map.offsets(), map.nulls());
        let (offsets, entries) = packed(&entries, &ranges)?;
        let entries = entries.as_struct();
        let inside = Parent { nulls: None, excuses: true };
        let part = |at: usize, of, name: &str, may_be_null: bool| {
            let place = place.inside(name);
            let column =
                entries.columns().get(at).ok_or_else(|| place.mismatch("it is missing"))?;
            let column = self.array(column, of, &place, inside)?;
            if !may_be_null {
                check_not_null(&column, inside, &place)?;
            }
            Ok::<ArrayRef, Error>(column)
        };
        let key = part(0, &to.key, "key", false)?;
        let value = part(1, &to.value, "value", to.value_contains_null)?;
        let field = entries_of(to);
        let ArrowType::Struct(fields) = field.data_type() else {
            return Err(Error::internal("the entries of a map are no struct"));
        };
        let entries =
            StructArray::try_new(fields.clone(), vec![key, value], None).map_err(unexpected)?;
        let made = MapArray::try_new(field, offsets, entries, array.nulls().cloned(), false);
        Ok(Arc::new(made.map_err(unexpected)?))
    }
}

/// The values of a list array of any kind and, for each row, which of them are its.
fn ranges(array: &ArrayRef) -> Option<(ArrayRef, Vec<(usize, usize)>)> {
    let nulls = array.nulls();
    let found = match array.data_type() {
        ArrowType::List(_) => {
            let list = array.as_list::<i32>();
            (Arc::clone(list.values()), by_offsets(list.offsets(), nulls))
        }
        ArrowType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (Arc::clone(list.values()), by_offsets(list.offsets(), nulls))
        }
        ArrowType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).ok()?;
            let list = array.as_fixed_size_list();
            let all = (0..list.len()).map(|row| (row * size, size));
            (Arc::clone(list.values()), present(all, nulls))
        }
        ArrowType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let all = list.offsets().iter().zip(list.sizes().iter());
            let all = all.map(|(from, size)| (from.as_usize(), size.as_usize()));
            (Arc::clone(list.values()), present(all, nulls))
        }
        ArrowType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let all = list.offsets().iter().zip(list.sizes().iter());
            let all = all.map(|(from, size)| (from.as_usize(), size.as_usize()));
            (Arc::clone(list.values()), present(all, nulls))
        }
        _ => return None,
    };
    Some(found)
}

/// Start and length of each row's values.
fn by_offsets<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    nulls: Option<&NullBuffer>,
) -> Vec<(usize, usize)> {
    let starts = offsets.iter().map(|it| it.as_usize());
    let all = starts.clone().zip(starts.skip(1)).map(|(from, to)| (from, to - from));
    present(all, nulls)
}

/// A null list may have values below it, which nobody sees and nobody may judge.
fn present(
    all: impl Iterator<Item = (usize, usize)>,
    nulls: Option<&NullBuffer>,
) -> Vec<(usize, usize)> {
    let is_null = |row: usize| nulls.is_some_and(|it| it.is_null(row));
    all.enumerate().map(|(row, (from, len))| (from, if is_null(row) { 0 } else { len })).collect()
}

/// Values in the order of the rows without gaps, and the offsets that say so. Copies only if the
/// rows do not follow each other already.
fn packed(values: &ArrayRef, ranges: &[(usize, usize)]) -> Result<(OffsetBuffer<i32>, ArrayRef)> {
    let mut offsets = Vec::with_capacity(ranges.len() + 1);
    let mut total = 0usize;
    offsets.push(0i32);
    for (_, len) in ranges {
        total = total.checked_add(*len).ok_or_else(too_long)?;
        offsets.push(i32::try_from(total).map_err(|_| too_long())?);
    }
    let filled = || ranges.iter().filter(|(_, len)| *len > 0);
    let mut follow = filled().zip(filled().skip(1));
    let values = if follow.all(|((from, len), (next, _))| from + len == *next) {
        values.slice(filled().next().map_or(0, |(from, _)| *from), total)
    } else {
        let wide = |it: usize| u64::try_from(it).map_err(|_| too_long());
        let all = filled().flat_map(|(from, len)| *from..from + len);
        let positions: Vec<u64> = all.map(wide).collect::<Result<_>>()?;
        let positions = UInt64Array::from(positions);
        taken(values, &positions)?
    };
    Ok((OffsetBuffer::new(offsets.into()), values))
}

fn taken(values: &dyn Array, positions: &dyn Array) -> Result<ArrayRef> {
    // The positions are right; only the size of the result can be wrong.
    arrow_select::take::take(values, positions, None).map_err(|it| too_long().because(it))
}

fn too_long() -> Error {
    let what = format!("a batch holds more than {} values or bytes; use smaller ones", i32::MAX);
    Error::new(Code::LimitExceeded, what)
}
