//! Work of which somebody waits for the result, as the runtime takes it: without one.
//!
//! The result comes back through a channel. A panic becomes an error of the operation.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;
use futures::channel::oneshot;
use lakebed_log::error::{Error, Result};

use super::BoxFuture;

/// Work as the runtime takes it.
pub(super) type Work = Box<dyn FnOnce() + Send + 'static>;

/// A future to run to its end, whether or not somebody still waits for the result; and the result.
pub(super) fn of_future<T, F>(
    future: F,
) -> (BoxFuture<'static, ()>, impl Future<Output = Result<T>> + Send + use<T, F>)
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let future = async move {
        let done = AssertUnwindSafe(future).catch_unwind().await;
        let _ = answer.send(done.unwrap_or_else(|it| Err(panicked(&*it))));
    };
    (Box::pin(future), answered(result))
}

/// The same of work.
pub(super) fn of_work<T, W>(work: W) -> (Work, impl Future<Output = Result<T>> + Send + use<T, W>)
where
    T: Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let work = move || {
        let _ = answer.send(caught(work));
    };
    (Box::new(work), answered(result))
}

/// The same of work that is left out if nobody waits for the result when it would begin.
pub(super) fn of_work_if_wanted<T, W>(
    work: W,
) -> (Work, impl Future<Output = Result<T>> + Send + use<T, W>)
where
    T: Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let work = move || {
        if !answer.is_canceled() {
            let _ = answer.send(caught(work));
        }
    };
    (Box::new(work), answered(result))
}

/// The result of work that is done here.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|it| Err(panicked(&*it)))
}

async fn answered<T>(result: oneshot::Receiver<Result<T>>) -> Result<T> {
    let stopped = |_| Err(Error::internal("the runtime stopped before the task was done"));
    result.await.unwrap_or_else(stopped)
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("a task panicked: {}", text.unwrap_or("no message")))
}
