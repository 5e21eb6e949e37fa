//! `map_ordered`: the one way to do things in parallel.
//!
//! Results come back in the order of the items, so that what an operation makes never depends on
//! which file happened to arrive first, and the number in flight is bounded, so that memory is too.
//! Waiting happens here, on the caller's task; work that needs a core goes to
//! [`Env::compute`](crate::env::Env::compute) from inside `f`.

use std::future::Future;
use std::task::{Poll, ready};

use futures::stream::{self, Stream, StreamExt};
use lakebed_log::error::Result;

/// Runs `f` over the items, at most `limit` at once, and yields the results in the order of the
/// items.
///
/// The first error ends the stream: it is yielded, what is still in flight is dropped, and `f` is
/// not called again. A `limit` of 0 counts as 1. Nothing runs until the stream is polled.
///
/// ```
/// use futures::TryStreamExt;
/// use lakebed::pool::map_ordered;
///
/// # futures::executor::block_on(async {
/// let squares = map_ordered(1..=4u64, 2, |it| async move { Ok(it * it) });
/// assert_eq!(squares.try_collect::<Vec<_>>().await?, [1, 4, 9, 16]);
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
pub fn map_ordered<I, T, F>(
    items: impl IntoIterator<Item = I>,
    limit: usize,
    f: impl FnMut(I) -> F,
) -> impl Stream<Item = Result<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut running = Some(Box::pin(stream::iter(items).map(f).buffered(limit.max(1))));
    stream::poll_fn(move |context| {
        let Some(results) = &mut running else {
            return Poll::Ready(None);
        };
        let result = ready!(results.as_mut().poll_next(context));
        if !matches!(result, Some(Ok(_))) {
            running = None;
        }
        Poll::Ready(result)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::executor::block_on;
    use futures::future;
    use lakebed_log::error::Error;

    use super::*;

    /// Gives way to the others `times` times.
    async fn pause(times: usize) {
        let mut left = times;
        future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The later an item, the sooner it is done; the order of the results does not care, and never
    /// are more in flight than allowed.
    #[test]
    fn order_and_limit() {
        for limit in [0, 1, 3, 100] {
            let (running, most) = (Cell::new(0), Cell::new(0));
            let results = map_ordered(0..20, limit, |it| {
                let (running, most) = (&running, &most);
                async move {
                    running.set(running.get() + 1);
                    most.set(most.get().max(running.get()));
                    pause(20 - it).await;
                    running.set(running.get() - 1);
                    Ok(it)
                }
            });
            let results: Vec<_> = block_on(results.map(|it| it.unwrap()).collect());
            assert_eq!(results, (0..20).collect::<Vec<_>>());
            assert_eq!(most.get(), limit.clamp(1, 20));
        }
    }

    /// An error comes out at its place, after what precedes it, and is the last thing to come out.
    #[test]
    fn first_error_ends_it() {
        let started = Cell::new(0);
        let results = map_ordered(0..20, 4, |it| {
            started.set(started.get() + 1);
            let no = (it % 5 == 4).then(|| Error::invalid(format!("no {it}")));
            async move { no.map_or(Ok(it), Err) }
        });
        let results: Vec<_> = block_on(results.collect());
        let text: Vec<_> = results.iter().map(|it| format!("{it:?}")).collect();
        let expected = ["Ok(0)", "Ok(1)", "Ok(2)", "Ok(3)", "Err(no 4 [invalid-argument])"];
        assert_eq!(text, expected);
        assert!(started.get() <= 9, "{} were started", started.get());
    }
}
