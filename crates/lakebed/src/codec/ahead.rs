//! Streams read ahead, in order.
//!
//! ```text
//!   lane 0   b b b ->  handed out first, until it ends
//!   lane 1   b b ..    filled meanwhile, up to its depth
//!   lane 2   b ....    filled meanwhile, up to its depth
//! ```
//!
//! Nothing is spawned: all lanes are polled whenever the first is, and their work runs on the
//! compute threads and in the store. Dropping the whole drops what is under way. Because a lane is
//! begun only after those before it, and memory is handed out in the order of asking, the lane that
//! everybody waits for never waits for memory that a later one holds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;
use lakebed_log::error::Result;

/// Yields the items of many streams in the order of the streams.
pub(crate) struct Ahead<T> {
    lanes: VecDeque<Lane<T>>,
    rest: Box<dyn Iterator<Item = BoxStream<'static, Result<T>>> + Send>,
    width: usize,
    depth: usize,
    admit: Box<dyn Fn() -> bool + Send>,
    ended: usize,
}

struct Lane<T> {
    /// Gone once it has ended.
    stream: Option<BoxStream<'static, Result<T>>>,
    ready: VecDeque<Result<T>>,
}

impl<T> Ahead<T> {
    /// At most `width` streams at once, each at most `depth` items ahead. A stream that is not the
    /// first begins only while `admit` agrees.
    pub(crate) fn new(
        streams: impl Iterator<Item = BoxStream<'static, Result<T>>> + Send + 'static,
        width: usize,
        depth: usize,
        admit: impl Fn() -> bool + Send + 'static,
    ) -> Ahead<T> {
        Ahead {
            lanes: VecDeque::new(),
            rest: Box::new(streams),
            width: width.max(1),
            depth: depth.max(1),
            admit: Box::new(admit),
            ended: 0,
        }
    }

    /// How many streams have been handed out whole.
    pub(crate) fn ended(&self) -> usize {
        self.ended
    }

    fn widen(&mut self) {
        while self.lanes.len() < self.width && (self.lanes.is_empty() || (self.admit)()) {
            let Some(stream) = self.rest.next() else { return };
            self.lanes.push_back(Lane { stream: Some(stream), ready: VecDeque::new() });
        }
    }
}

impl<T> Lane<T> {
    fn fill(&mut self, depth: usize, context: &mut Context<'_>) {
        while self.ready.len() < depth {
            let Some(stream) = &mut self.stream else { return };
            match stream.as_mut().poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.stream = None,
                Poll::Ready(Some(item)) => {
                    if item.is_err() {
                        self.stream = None;
                    }
                    self.ready.push_back(item);
                }
            }
        }
    }
}

impl<T: Send> Stream for Ahead<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            self.widen();
            let depth = self.depth;
            for lane in &mut self.lanes {
                lane.fill(depth, context);
            }
            let Some(first) = self.lanes.front_mut() else { return Poll::Ready(None) };
            if let Some(item) = first.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            if first.stream.is_some() {
                return Poll::Pending;
            }
            self.lanes.pop_front();
            self.ended += 1;
        }
    }
}

/// Boxes and iterators of boxes do not care where they lie.
impl<T> Unpin for Ahead<T> {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::executor::block_on;
    use futures::{StreamExt, stream};
    use lakebed_log::error::Error;

    use super::*;

    fn lanes(
        of: &'static [&'static [u32]],
    ) -> impl Iterator<Item = BoxStream<'static, Result<u32>>> + Send {
        let item = |it: &u32| if *it == 0 { Err(Error::invalid("zero")) } else { Ok(*it) };
        of.iter().map(move |it| stream::iter(it.iter().map(item)).boxed())
    }

    fn check(of: &'static [&'static [u32]], width: usize, depth: usize) -> Vec<Option<u32>> {
        let all = Ahead::new(lanes(of), width, depth, || true);
        block_on(all.map(Result::ok).collect())
    }

    /// The order is that of the streams whatever the width, and a failed stream ends with its
    /// error.
    #[test]
    fn order_is_kept() {
        let of: &[&[u32]] = &[&[1, 2], &[], &[3], &[4, 0, 9], &[5]];
        let expected = [Some(1), Some(2), Some(3), Some(4), None, Some(5)];
        for (width, depth) in [(1, 1), (2, 1), (3, 7), (9, 2)] {
            assert_eq!(check(of, width, depth), expected, "{width} {depth}");
        }
    }

    /// A closed gate leaves one lane, and no fewer.
    #[test]
    fn gate_leaves_the_first() {
        let begun = Arc::new(AtomicBool::new(false));
        let second = {
            let begun = Arc::clone(&begun);
            stream::once(async move {
                begun.store(true, Ordering::SeqCst);
                Ok(2)
            })
        };
        let both = [stream::iter([Ok(1)]).boxed(), second.boxed()];
        let mut all = Ahead::new(both.into_iter(), 2, 1, || false);
        assert_eq!(block_on(all.next()).unwrap().unwrap(), 1);
        assert!(!begun.load(Ordering::SeqCst));
        assert_eq!(block_on(all.next()).unwrap().unwrap(), 2);
        assert!(block_on(all.next()).is_none());
        assert_eq!(all.ended(), 2);
    }
}
