//! Streams read ahead, in order, where what there is to read is itself found out step by step.
//!
//! The files of a change feed are known commit by commit. So the streams come from a stream: the
//! next commits are fetched while the files of earlier ones are read, and as many files are under
//! way as there are lanes, whichever commits they belong to.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{BoxStream, StreamExt};
use lakebed_log::error::Result;

/// One stream among others.
pub(super) type Lane<T> = BoxStream<'static, Result<T>>;

/// Yields the items of many streams in the order of the streams; ends after the first error.
pub(super) struct Lanes<T> {
    /// Gone once it has ended.
    source: Option<Lane<Lane<T>>>,
    lanes: VecDeque<Ahead<T>>,
    width: usize,
    depth: usize,
    admit: Box<dyn Fn() -> bool + Send>,
}

struct Ahead<T> {
    /// Gone once it has ended.
    stream: Option<Lane<T>>,
    ready: VecDeque<Result<T>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// At most `width` streams at once, each at most `depth` items ahead. A stream that is not the
    /// first begins only while `admit` agrees.
    pub(super) fn new(
        source: Lane<Lane<T>>,
        width: usize,
        depth: usize,
        admit: impl Fn() -> bool + Send + 'static,
    ) -> Lanes<T> {
        Lanes {
            source: Some(source),
            lanes: VecDeque::new(),
            width: width.max(1),
            depth: depth.max(1),
            admit: Box::new(admit),
        }
    }

    fn widen(&mut self, context: &mut Context<'_>) {
        while self.lanes.len() < self.width && (self.lanes.is_empty() || (self.admit)()) {
            let Some(source) = &mut self.source else { return };
            match source.poll_next_unpin(context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.source = None,
                Poll::Ready(Some(Ok(stream))) => {
                    self.lanes.push_back(Ahead { stream: Some(stream), ready: VecDeque::new() });
                }
                Poll::Ready(Some(Err(it))) => {
                    self.source = None;
                    self.lanes.push_back(Ahead { stream: None, ready: [Err(it)].into() });
                }
            }
        }
    }
}

impl<T> Ahead<T> {
    fn fill(&mut self, depth: usize, context: &mut Context<'_>) {
        while self.ready.len() < depth {
            let Some(stream) = &mut self.stream else { return };
            match stream.poll_next_unpin(context) {
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

impl<T: Send + 'static> Stream for Lanes<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            self.widen(context);
            let depth = self.depth;
            for lane in &mut self.lanes {
                lane.fill(depth, context);
            }
            let Some(first) = self.lanes.front_mut() else {
                return if self.source.is_some() { Poll::Pending } else { Poll::Ready(None) };
            };
            match first.ready.pop_front() {
                Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                Some(Err(it)) => {
                    (self.source, self.lanes) = (None, VecDeque::new());
                    return Poll::Ready(Some(Err(it)));
                }
                None if first.stream.is_some() => return Poll::Pending,
                None => drop(self.lanes.pop_front()),
            }
        }
    }
}

/// Boxes do not care where they lie.
impl<T> Unpin for Lanes<T> {}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream;
    use lakebed_log::error::Error;

    use super::*;

    fn item(it: u32) -> Result<u32> {
        if it == 0 { Err(Error::invalid("zero")) } else { Ok(it) }
    }

    fn lanes(of: &[&[u32]], error_at_end: bool, width: usize, depth: usize) -> Vec<Option<u32>> {
        let lane = |it: &&[u32]| {
            let items: Vec<_> = it.iter().map(|it| item(*it)).collect();
            Ok(stream::iter(items).boxed())
        };
        let mut all: Vec<Result<Lane<u32>>> = of.iter().map(lane).collect();
        if error_at_end {
            all.push(Err(Error::invalid("end")));
        }
        // Every other poll of the source finds nothing yet.
        let slow = stream::iter(all).then(|it| async {
            let mut asked = false;
            std::future::poll_fn(|context| match std::mem::replace(&mut asked, true) {
                true => Poll::Ready(()),
                false => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            it
        });
        let all = Lanes::new(slow.boxed(), width, depth, || true);
        block_on(all.map(Result::ok).collect())
    }

    /// The order is that of the streams whatever the width, and nothing follows an error.
    #[test]
    fn order_is_kept() {
        let of: &[&[u32]] = &[&[1, 2], &[], &[3], &[4, 5], &[6]];
        let all: Vec<_> = (1..=6).map(Some).collect();
        for (width, depth) in [(1, 1), (2, 1), (3, 7), (9, 2)] {
            assert_eq!(lanes(of, false, width, depth), all, "{width} {depth}");
            let with_end: Vec<_> = all.iter().copied().chain([None]).collect();
            assert_eq!(lanes(of, true, width, depth), with_end, "{width} {depth}");
            let cut = lanes(&[&[1], &[2, 0, 9], &[3]], false, width, depth);
            assert_eq!(cut, [Some(1), Some(2), None], "{width} {depth}");
        }
    }
}
