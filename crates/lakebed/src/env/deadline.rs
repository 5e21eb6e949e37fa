//! The end of an operation that goes on after its verb returned: a stream that must not outlive it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use lakebed_log::error::{Code, Error, Result};

use super::{BoxFuture, Env};

/// A moment by which an operation must be done.
#[derive(Clone)]
pub(crate) struct Deadline {
    env: Env,
    limit: Duration,
    end: Duration,
    place: String,
}

impl Deadline {
    /// `left` from now, of an operation that was given `limit`.
    pub(crate) fn new(env: &Env, left: Duration, limit: Duration, place: &str) -> Deadline {
        let end = env.elapsed().saturating_add(left);
        Deadline { env: env.clone(), limit, end, place: place.to_string() }
    }

    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_sub(self.env.elapsed())
    }

    pub(crate) fn error(&self, what: &str) -> Error {
        let what = format!("{what}: not done within {:?}", self.limit);
        Error::new(Code::DeadlineExceeded, what).at(&self.place)
    }

    /// The same stream, which ends in `deadline-exceeded` if it is polled past the deadline, or
    /// waited for until then.
    pub(crate) fn stream<T: 'static>(
        self,
        what: &'static str,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        Bounded { deadline: self, what, stream: Some(stream), timer: None }.boxed()
    }
}

struct Bounded<T> {
    deadline: Deadline,
    what: &'static str,
    /// Gone at the end.
    stream: Option<BoxStream<'static, Result<T>>>,
    /// Set when somebody first waits.
    timer: Option<BoxFuture<'static, ()>>,
}

impl<T> Stream for Bounded<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        let left = this.deadline.left();
        if !left.is_zero() {
            match stream.poll_next_unpin(cx) {
                Poll::Ready(None) => {
                    (this.stream, this.timer) = (None, None);
                    return Poll::Ready(None);
                }
                Poll::Ready(it) => return Poll::Ready(it),
                Poll::Pending => {}
            }
            let runtime = &this.deadline.env.0.runtime;
            let timer = this.timer.get_or_insert_with(|| runtime.sleep(left));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        (this.stream, this.timer) = (None, None);
        Poll::Ready(Some(Err(this.deadline.error(this.what))))
    }
}
