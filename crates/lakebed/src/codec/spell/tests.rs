//! Text is what the library makes of it.

use arrow_array::BooleanArray;
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::filter::filter;
use proptest::prelude::*;

use super::*;

proptest! {
    /// Texts of any length, dictionaries of any size, empty ones, nulls, rows left out: the text is
    /// that of the library.
    #[test]
    fn text_is_spelled_out(
        texts in proptest::collection::vec("[a-z\u{e9}\u{20ac}]{0,10}", 0..6),
        long in proptest::option::of(0..200usize),
        keys in proptest::collection::vec((any::<Option<prop::sample::Index>>(), 0..10u8), 0..200),
        kept_of_ten in 0..=10u8,
        nulls in any::<bool>(),
    ) {
        let texts: Vec<String> =
            texts.into_iter().chain(long.map(|it| "long".repeat(it))).collect();
        let key = |it: Option<prop::sample::Index>| match it {
            _ if texts.is_empty() => None,
            None if nulls => None,
            None => Some(0),
            Some(it) => Some(it.index(texts.len()) as i32),
        };
        let (keys, draws): (Vec<Option<i32>>, Vec<u8>) =
            keys.into_iter().map(|it| (key(it.0), it.1)).unzip();
        let values = Arc::new(StringArray::from(texts));
        let coded = DictionaryArray::new(Int32Array::from(keys), values);
        let mask: Vec<bool> = draws.iter().map(|it| *it < kept_of_ten).collect();
        let mut live = Live::none(mask.len());
        live.keep((0..mask.len()).filter(|at| mask[*at]));
        let text = cast(&coded, &DataType::Utf8).unwrap();
        let expected = filter(&text, &BooleanArray::from(mask)).unwrap();
        let spelled = spell(coded, &live).unwrap();
        prop_assert_eq!(&spelled, &expected);
        spelled.to_data().validate_full().unwrap();
    }
}

/// A place that has no text is an error, whether or not some rows are null.
#[test]
fn places_without_a_text_are_errors() {
    let entries = || filled_up(&StringArray::from(vec!["a", "bc"])).unwrap();
    let spelled = |places: &[Option<i32>]| short(entries(), Int32Array::from(places.to_vec()));
    let text = spelled(&[Some(1), Some(0), Some(1)]).unwrap();
    assert_eq!(text.as_string::<i32>(), &StringArray::from(vec!["bc", "a", "bc"]));
    let text = spelled(&[Some(1), None, Some(0)]).unwrap();
    assert_eq!(text.as_string::<i32>(), &StringArray::from(vec![Some("bc"), None, Some("a")]));
    for at in [2, 3, i32::MAX, -1, i32::MIN] {
        assert!(spelled(&[Some(0), Some(at)]).is_err(), "{at}");
        assert!(spelled(&[Some(0), None, Some(at)]).is_err(), "{at}, with nulls");
    }
    // Nobody looks at what stands where a row is null.
    let nulls = NullBuffer::from(vec![true, false]);
    let text = short(entries(), Int32Array::new(vec![0, 77].into(), Some(nulls))).unwrap();
    assert_eq!(text.as_string::<i32>(), &StringArray::from(vec![Some("a"), None]));
}
