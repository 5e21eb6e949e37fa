//! Whatever is left out, the rest is what the library's filter leaves.

use std::sync::Arc;

use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int64Array,
    StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field};
use arrow_select::filter::filter_record_batch;
use proptest::prelude::*;

use super::*;

/// The runs of the rows for which it is true.
fn live(mask: &[bool]) -> Live {
    let mut live = Live::default();
    for (at, _) in mask.iter().enumerate().filter(|it| *it.1) {
        live.keep(at..at + 1);
    }
    live.go_to(mask.len());
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
    let date: Vec<Option<i32>> = values.iter().map(|it| it.map(i32::from)).collect();
    let real: Vec<Option<f64>> = values.iter().map(|it| it.map(f64::from)).collect();
    let binary: BinaryArray = text().map(|it| it.map(String::into_bytes)).collect();
    let whole: Vec<i64> = values.iter().map(|it| i64::from(it.unwrap_or(7))).collect();
    let inner = Arc::new(Int64Array::from(wide.clone())) as ArrayRef;
    let field = Arc::new(Field::new("inner", DataType::Int64, true));
    RecordBatch::try_from_iter_with_nullable([
        ("short", Arc::new(Int16Array::from(values.to_vec())) as ArrayRef, true),
        ("long", Arc::new(Int64Array::from(wide)), true),
        ("whole", Arc::new(Int64Array::from(whole)), false),
        ("date", Arc::new(Date32Array::from(date)), true),
        ("real", Arc::new(Float64Array::from(real)), true),
        ("decimal", Arc::new(decimal), true),
        ("zoned", Arc::new(zoned), true),
        (
            "bit",
            Arc::new(values.iter().map(|it| it.map(|it| 0 < it)).collect::<BooleanArray>()),
            true,
        ),
        ("text", Arc::new(text().collect::<StringArray>()), true),
        ("view", Arc::new(text().collect::<StringViewArray>()), true),
        ("binary", Arc::new(binary), true),
        ("nested", Arc::new(StructArray::from(vec![(field, inner)])), true),
    ])
    .unwrap()
}

proptest! {
    /// Rows are taken out of columns of every kind as the library's filter does it, whether the
    /// memory is the batch's own or shared, and wherever in it the batch begins.
    #[test]
    fn what_is_left_is_what_a_filter_leaves(
        rows in proptest::collection::vec((any::<Option<i16>>(), 0..10u8), 1..300),
        kept_of_ten in 0..=10u8,
        start in 0..20usize,
        shared in any::<bool>(),
    ) {
        let (values, draws): (Vec<Option<i16>>, Vec<u8>) = rows.into_iter().unzip();
        let start = start.min(values.len() - 1);
        let whole = batch(&values);
        let rows = whole.slice(start, values.len() - start);
        let mask: Vec<bool> = draws[start..].iter().map(|it| *it < kept_of_ten).collect();
        let expected = filter_record_batch(&rows, &BooleanArray::from(mask.clone())).unwrap();
        let held = shared.then(|| whole.clone());
        drop(whole);
        let left = live(&mask).of(rows).unwrap();
        prop_assert_eq!(&left, &expected);
        if let Some(held) = held {
            prop_assert_eq!(held, batch(&values));
        }
    }
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
