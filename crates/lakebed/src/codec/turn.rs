//! The order in which files that are read side by side take their memory.
//!
//! Rows come out in the order of the files, so a later file keeps its memory until all before it
//! are done. If it took memory first, and left too little for an earlier one, both would wait for
//! ever. So each file waits until those before it have theirs; fetching and deciding go on
//! meanwhile.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A file's place in the line. The default stands in no line.
#[derive(Clone, Debug, Default)]
pub struct Turn(Option<(Arc<Line>, usize)>);

#[derive(Debug, Default)]
struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whose turn it is.
    next: usize,
    /// Who passed out of turn: it failed, or was given up.
    passed: BTreeSet<usize>,
    waiting: Vec<Waker>,
}

impl Turn {
    /// A new line, first place first.
    pub fn line() -> impl Iterator<Item = Turn> + Send {
        let line = Arc::new(Line::default());
        (0..).map(move |at| Turn(Some((Arc::clone(&line), at))))
    }

    /// Waits until everybody before has passed.
    pub(crate) async fn come(&self) {
        let Some((line, at)) = &self.0 else { return };
        poll_fn(|context| {
            let mut state = line.state();
            if *at <= state.next {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets the next one come. Passing twice is passing once.
    pub fn pass(&self) {
        let Some((line, at)) = &self.0 else { return };
        let woken = {
            let mut state = line.state();
            if *at < state.next {
                return;
            }
            state.passed.insert(*at);
            loop {
                let next = state.next;
                if !state.passed.remove(&next) {
                    break;
                }
                state.next += 1;
            }
            std::mem::take(&mut state.waiting)
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Each comes when all before it have passed, in whatever order they did.
    #[test]
    fn turns_come_in_order() {
        let [a, b, c, d] = Turn::line().take(4).collect::<Vec<_>>().try_into().unwrap();
        let here = |it: &Turn| it.come().now_or_never().is_some();
        assert!(here(&a) && !here(&b));
        c.pass();
        assert!(!here(&b) && !here(&d));
        a.pass();
        assert!(here(&b) && !here(&d));
        b.pass();
        b.pass();
        assert!(here(&d));
        assert!(here(&Turn::default()));
    }
}
