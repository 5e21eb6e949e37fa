//! Bugs that tests plant on purpose, to see that they are found.
//!
//! A simulation that finds nothing proves nothing until it is seen to find what is there. So at
//! the places where a table is won or lost there is a switch that makes the code wrong in the way
//! in which it is usually wrong. The switch is the thread's, so that tests of one process plant
//! apart; it is compiled in with the feature `mutants` alone, which only tests turn on. Without it
//! [`planted`] is `false` when the code is compiled, and nothing of a mutant is left.

/// Is this bug planted here and now?
///
/// ```
/// assert!(!lakebed_log::mutant::planted(1));
/// ```
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_number: u32) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::{plant, planted};

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<u32> = const { Cell::new(0) };
    }

    /// Is this bug planted in this thread?
    pub fn planted(number: u32) -> bool {
        PLANTED.with(Cell::get) == number
    }

    /// Plants a bug in this thread while `work` runs. 0 plants none.
    pub fn plant<T>(number: u32, work: impl FnOnce() -> T) -> T {
        struct Restore(u32);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLANTED.with(|it| it.set(self.0));
            }
        }
        let _restore = Restore(PLANTED.with(|it| it.replace(number)));
        work()
    }
}
