//! Whatever is left out, the rest is what the library's filter leaves.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, MapBuilder, StringBuilder};
use arrow_array::types::{Int64Type, IntervalDayTime, IntervalMonthDayNano};
use arrow_array::{
    BinaryArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int64Array, IntervalDayTimeArray,
    IntervalMonthDayNanoArray, ListArray, MapArray, NullArray, StringArray, StringViewArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::i256;
use arrow_cast::cast;
use arrow_schema::Field;
use arrow_select::filter::filter_record_batch;
use proptest::prelude::*;

use super::*;

/// The rows for which it is true.
fn live(mask: &[bool]) -> Live {
    let mut live = Live::none(mask.len());
    live.keep((0..mask.len()).filter(|at| mask[*at]));
    live
}

/// A column of each kind: all widths, bits, text, views, nested.
fn batch(values: &[Option<i16>]) -> RecordBatch {
    let each = |to: &dyn Fn(i16) -> i64| values.iter().map(|it| it.map(to)).collect::<Vec<_>>();
    let wide = each(&|it| i64::from(it) << 40);
    let text = || values.iter().map(|it| it.map(|it| "x".repeat((it & 31) as usize)));
    let zoned = TimestampMicrosecondArray::from(wide.clone()).with_timezone("UTC");
    let decimal: Vec<Option<i128>> =
        values.iter().map(|it| it.map(|it| i128::from(it) << 60)).collect();
    let decimal = Decimal128Array::from(decimal).with_precision_and_scale(38, 7).unwrap();
    let huge: Vec<Option<i256>> =
        wide.iter().map(|it| it.map(|it| i256::from_parts(it as u128, i128::from(it)))).collect();
    let huge = Decimal256Array::from(huge).with_precision_and_scale(76, 7).unwrap();
    let byte: Vec<Option<i8>> = values.iter().map(|it| it.map(|it| (it >> 8) as i8)).collect();
    let single: Vec<Option<f32>> = values.iter().map(|it| it.map(f32::from)).collect();
    let days = values.iter().map(|it| it.map(|it| IntervalDayTime::new(i32::from(it), 5)));
    let days: Vec<Option<IntervalDayTime>> = days.collect();
    let months = |it: i16| IntervalMonthDayNano::new(i32::from(it), 2, i64::from(it) << 40);
    let months: Vec<Option<_>> = values.iter().map(|it| it.map(months)).collect();
    let date: Vec<Option<i32>> = values.iter().map(|it| it.map(i32::from)).collect();
    let real: Vec<Option<f64>> = values.iter().map(|it| it.map(f64::from)).collect();
    let binary: BinaryArray = text().map(|it| it.map(String::into_bytes)).collect();
    let whole: Vec<i64> = values.iter().map(|it| i64::from(it.unwrap_or(7))).collect();
    let nested = nested(&[Arc::new(Int64Array::from(wide.clone())), Arc::new(lists(values))]);
    let fixed = values.iter().map(|it| it.map(|it| it.to_le_bytes()));
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 2).unwrap();
    RecordBatch::try_from_iter_with_nullable([
        ("byte", Arc::new(Int8Array::from(byte)) as ArrayRef, true),
        ("short", Arc::new(Int16Array::from(values.to_vec())), true),
        ("long", Arc::new(Int64Array::from(wide)), true),
        ("whole", Arc::new(Int64Array::from(whole)), false),
        ("date", Arc::new(Date32Array::from(date)), true),
        ("real", Arc::new(Float64Array::from(real)), true),
        ("single", Arc::new(Float32Array::from(single)), true),
        ("decimal", Arc::new(decimal), true),
        ("huge", Arc::new(huge), true),
        ("days", Arc::new(IntervalDayTimeArray::from(days)), true),
        ("months", Arc::new(IntervalMonthDayNanoArray::from(months)), true),
        ("zoned", Arc::new(zoned), true),
        (
            "bit",
            Arc::new(values.iter().map(|it| it.map(|it| 0 < it)).collect::<BooleanArray>()),
            true,
        ),
        ("text", Arc::new(text().collect::<StringArray>()), true),
        ("view", Arc::new(text().collect::<StringViewArray>()), true),
        ("binary_view", Arc::new(cast(&binary, &DataType::BinaryView).unwrap()), true),
        ("binary", Arc::new(binary), true),
        ("fixed", Arc::new(fixed), true),
        ("void", Arc::new(NullArray::new(values.len())), true),
        ("list", Arc::new(lists(values)), true),
        ("map", Arc::new(maps(values)), true),
        ("nested", Arc::new(nested), true),
    ])
    .unwrap()
}

/// A struct of these columns that is null here and there.
fn nested(columns: &[ArrayRef]) -> StructArray {
    let field = |it: &ArrayRef| Field::new("inner", it.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let nulls = (0..columns[0].len()).map(|it| it % 5 != 3).collect::<Vec<_>>();
    StructArray::new(fields.into(), columns.to_vec(), Some(nulls.into()))
}

/// Lists of up to three numbers, some of them null.
fn lists(values: &[Option<i16>]) -> ListArray {
    let list = |it: i16| (0..it & 3).map(move |at| (at != 1).then_some(i64::from(it)));
    ListArray::from_iter_primitive::<Int64Type, _, _>(values.iter().map(|it| it.map(list)))
}

fn maps(values: &[Option<i16>]) -> MapArray {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for value in values {
        for at in 0..value.unwrap_or(0) & 3 {
            maps.keys().append_value(at.to_string());
            maps.values().append_option((at != 2).then_some(i64::from(at)));
        }
        maps.append(value.is_some()).unwrap();
    }
    maps.finish()
}

/// The batch with its text as places in a dictionary.
fn coded(batch: &RecordBatch) -> RecordBatch {
    let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let column = |it: &ArrayRef| match it.data_type() {
        DataType::Utf8 => cast(it, &coded).unwrap(),
        _ => Arc::clone(it),
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(column).collect();
    let schema = batch.schema();
    let field = |(field, to): (&FieldRef, &ArrayRef)| {
        field.as_ref().clone().with_data_type(to.data_type().clone())
    };
    let fields: Vec<Field> = schema.fields().iter().zip(&columns).map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Values, and which of their rows are left: single rows go, or long stretches, or all, or none.
fn rows() -> impl Strategy<Value = Vec<(Option<i16>, bool)>> {
    let kept_of_hundred = prop_oneof![Just(0u8), Just(100), Just(95), 1..100u8];
    let single =
        (kept_of_hundred, proptest::collection::vec((any::<Option<i16>>(), 0..100u8), 0..400))
            .prop_map(|(kept, rows)| rows.into_iter().map(|it| (it.0, it.1 < kept)).collect());
    let stretch = (any::<bool>(), proptest::collection::vec(any::<Option<i16>>(), 1..150));
    let stretches = proptest::collection::vec(stretch, 0..6).prop_map(|it| {
        it.into_iter().flat_map(|(kept, it)| it.into_iter().map(move |it| (it, kept))).collect()
    });
    prop_oneof![3 => single, 1 => stretches]
}

proptest! {
    /// Rows are taken out of columns of every kind as the library's filter does it, whether the
    /// memory is the batch's own or shared, wherever in it the batch begins, and whether text comes
    /// as it is or as places in a dictionary. None may be there, and all or none may go.
    #[test]
    fn what_is_left_is_what_a_filter_leaves(
        rows in rows(),
        without_nulls in any::<bool>(),
        start in 0..20usize,
        shared in any::<bool>(),
        places in any::<bool>(),
    ) {
        let (values, mask): (Vec<Option<i16>>, Vec<bool>) = rows.into_iter().unzip();
        let value = |it: Option<i16>| if without_nulls { it.or(Some(3)) } else { it };
        let values: Vec<Option<i16>> = values.into_iter().map(value).collect();
        let start = start.min(values.len());
        let whole = batch(&values);
        let rows = whole.slice(start, values.len() - start);
        let mask = mask[start..].to_vec();
        let expected = filter_record_batch(&rows, &BooleanArray::from(mask.clone())).unwrap();
        let rows = if places { coded(&rows) } else { rows };
        let held = shared.then(|| whole.clone());
        drop(whole);
        let left = live(&mask).of(rows).unwrap();
        prop_assert_eq!(&left, &expected);
        for column in left.columns() {
            column.to_data().validate_full().unwrap();
        }
        if let Some(held) = held {
            prop_assert_eq!(held, batch(&values));
        }
    }

    /// Rows are kept and left out in any order, as often as one likes.
    #[test]
    fn rows_are_kept_and_left_out(
        rows in 0..200usize,
        steps in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(0..260usize, 0..9)),
            0..20,
        ),
        all in any::<bool>(),
    ) {
        let mut mask = vec![all; rows];
        let mut kept = if all { Live::all(rows) } else { Live::none(rows) };
        for (keep, rows) in steps {
            match keep {
                true => kept.keep(rows.iter().copied()),
                false => kept.leave_out(rows.iter().copied()),
            }
            for row in rows {
                mask.get_mut(row).into_iter().for_each(|it| *it = keep);
            }
        }
        prop_assert_eq!(kept.kept, mask.iter().filter(|it| **it).count());
        prop_assert_eq!(kept, live(&mask));
    }
}

/// Values of a fixed width, and the bytes and offsets of text, stay where they are if nobody else
/// holds them, and then alone.
#[test]
fn memory_is_used_again() {
    let left = |held: bool| {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
        let memory = column.as_primitive::<Int64Type>().values().as_ptr();
        let held = held.then(|| Arc::clone(&column));
        let mask: Vec<bool> = (0..500).map(|it| it % 20 != 7).collect();
        let left = live(&mask).of(RecordBatch::try_from_iter([("a", column)]).unwrap()).unwrap();
        let left = left.column(0).as_primitive::<Int64Type>();
        assert_eq!(left.len(), 475);
        if let Some(held) = held {
            assert_eq!(held.as_primitive::<Int64Type>(), &Int64Array::from_iter_values(0..500));
        }
        left.values().as_ptr() == memory
    };
    assert!(left(false));
    assert!(!left(true));

    let (offsets, bytes) =
        (OffsetBuffer::from_repeated_length(3, 500), Buffer::from_vec(vec![b'x'; 1500]));
    let text: ArrayRef = Arc::new(StringArray::new(offsets, bytes, None));
    let memory = |it: &ArrayRef| {
        let text = it.as_string::<i32>();
        (text.values().as_ptr(), text.value_offsets().as_ptr())
    };
    let before = memory(&text);
    let mask: Vec<bool> = (0..500).map(|it| it % 20 != 7).collect();
    let left = live(&mask).of(RecordBatch::try_from_iter([("a", text)]).unwrap()).unwrap();
    assert_eq!(memory(left.column(0)), before);
}

/// Whoever comes second gets what the first has made, as long as it is kept.
#[test]
fn what_is_left_is_found_out_once() {
    let shared = Shared::new(2);
    let never = || panic!("made twice");
    for from in 0..3 {
        assert_eq!(*shared.get(from..9, || Live::all(from)), Live::all(from));
        assert_eq!(*shared.get(from..9, never), Live::all(from));
    }
    assert_eq!(*shared.get(1..9, never), Live::all(1));
    assert_eq!(*shared.get(0..9, || Live::all(7)), Live::all(7));
}

/// A batch of other rows than were looked at is not taken for the right one.
#[test]
fn rows_must_be_those_of_the_batch() {
    let rows = batch(&[Some(1), None, Some(3)]);
    assert!(live(&[true, false]).of(rows.clone()).is_err());
    assert!(live(&[true, false, true, true]).of(rows.clone()).is_err());
    assert_eq!(Live::all(3).of(rows.clone()).unwrap(), rows);
}
