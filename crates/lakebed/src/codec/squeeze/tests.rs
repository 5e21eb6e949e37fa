//! Whatever the processor can, the values that are left are those that a loop leaves.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

/// The levels of instructions that can be tried here.
fn levels() -> Vec<Level> {
    let best = Level::new();
    #[allow(unused_mut, reason = "other processors have but one")]
    let mut levels = vec![best];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_avx2().map(|it| it.level()));
        levels.extend(best.as_sse4_2().map(|it| it.level()));
        levels.extend(best.as_sse2().map(|it| it.level()));
    }
    levels
}

fn words(mask: &[bool]) -> Vec<u64> {
    let bit = |(at, it): (usize, &bool)| u64::from(*it) << at;
    mask.chunks(WORD).map(|it| it.iter().enumerate().map(bit).sum()).collect()
}

/// Masks in which single rows go, long stretches go, all go, none goes.
fn masks() -> impl Strategy<Value = Vec<bool>> {
    let single = (0..=100u8, proptest::collection::vec(0..100u8, 0..400))
        .prop_map(|(kept, draws)| draws.into_iter().map(|it| it < kept).collect());
    let stretches = proptest::collection::vec((any::<bool>(), 1..150usize), 0..9).prop_map(|it| {
        it.into_iter().flat_map(|(kept, len)| std::iter::repeat_n(kept, len)).collect()
    });
    let exact = (0..5usize, any::<bool>()).prop_map(|(words, kept)| vec![kept; words * WORD]);
    prop_oneof![4 => single, 4 => stretches, 1 => exact]
}

fn check<T: Squeeze + Debug>(mask: &[bool], value: impl Fn(u64) -> T) {
    let draw = |it: usize| value((it as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let values: Vec<T> = (0..mask.len()).map(draw).collect();
    let left = values.iter().zip(mask).filter(|it| *it.1).map(|it| *it.0);
    let expected: Vec<T> = left.collect();
    for level in levels() {
        let mut values = values.clone();
        let kept = T::squeeze_with(level, &mut values, &words(mask));
        assert_eq!(values[..kept], expected, "{level:?}");
    }
    let mut values = values;
    let kept = runs(&mut values, &words(mask));
    assert_eq!(values[..kept], expected);
}

proptest! {
    /// Values of every width, at every level.
    #[test]
    fn what_is_left_is_in_order(mask in masks()) {
        check::<u8>(&mask, |it| (it >> 56) as u8);
        check::<u16>(&mask, |it| (it >> 48) as u16);
        check::<u32>(&mask, |it| (it >> 32) as u32);
        check::<u64>(&mask, |it| it);
    }

    /// Runs are the bits that are set.
    #[test]
    fn runs_are_the_set_bits(mask in masks()) {
        let words = words(&mask);
        let runs: Vec<Range<usize>> = Runs::new(&words, mask.len()).collect();
        for pair in runs.windows(2) {
            prop_assert!(pair[0].end < pair[1].start);
        }
        prop_assert!(runs.iter().all(|it| !it.is_empty()));
        let set: Vec<usize> = (0..mask.len()).filter(|it| mask[*it]).collect();
        prop_assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), set);
    }
}

/// Bits that are missing are not set, and bits without a value name none.
#[test]
fn words_and_values_need_not_fit() {
    for level in levels() {
        let mut values: Vec<u32> = (0..100).collect();
        assert_eq!(u32::squeeze_with(level, &mut values, &[u64::MAX]), 64);
        assert_eq!(values[..64], (0..64).collect::<Vec<u32>>());
        let mut values: Vec<u32> = (0..70).collect();
        assert_eq!(u32::squeeze_with(level, &mut values, &[1, u64::MAX]), 7);
        assert_eq!(values[..7], [0, 64, 65, 66, 67, 68, 69]);
        assert_eq!(u32::squeeze_with(level, &mut [], &[u64::MAX]), 0);
    }
}
