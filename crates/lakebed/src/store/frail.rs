//! A store for tests that may fail to make durable what is there.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::env::BoxFuture;

/// What fails.
#[derive(Default)]
pub(crate) struct Fails {
    /// Making one object durable.
    pub(crate) sync: AtomicBool,
    /// Making durable the names of what was uploaded.
    pub(crate) settle: AtomicBool,
    /// What was uploaded is not there any more.
    pub(crate) vanished: AtomicBool,
}

struct Frail {
    of: Store,
    fails: Arc<Fails>,
}

/// Another handle of the place, and what of it fails.
pub(crate) fn frail(of: &Store) -> (Store, Arc<Fails>) {
    let fails = Arc::new(Fails::default());
    let frail = Frail { of: of.clone(), fails: Arc::clone(&fails) };
    (Store::new(Arc::new(frail), of.location()), fails)
}

fn ask(fails: &AtomicBool) -> BoxFuture<'static, Result<()>> {
    let answer = match fails.load(Ordering::Relaxed) {
        true => Err(Error::new(Code::Unavailable, "the disk does not answer")),
        false => Ok(()),
    };
    Box::pin(std::future::ready(answer))
}

impl Backend for Frail {
    fn get<'a>(&'a self, op: &'a Op, key: &'a str, max: u64) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.of.get(op, key, max))
    }

    fn get_ranges<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        ranges: &'a [Range<u64>],
        _: &'a Pin,
    ) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        Box::pin(self.of.get_ranges(op, key, ranges))
    }

    fn get_many<'a>(
        &'a self,
        op: &'a Op,
        keys: &'a [String],
        max: u64,
    ) -> BoxFuture<'a, Vec<Result<Bytes>>> {
        Box::pin(self.of.get_many(op, keys, max))
    }

    fn list<'a>(
        &'a self,
        op: &'a Op,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Object>>> {
        Box::pin(self.of.list(op, prefix, after))
    }

    fn head<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Object>> {
        Box::pin(self.of.head(op, key))
    }

    fn put_if_absent<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
        seen: Option<u64>,
    ) -> BoxFuture<'a, Result<Put>> {
        Box::pin(self.of.put_seeing(op, key, bytes, seen))
    }

    fn sync<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        ask(&self.fails.sync)
    }

    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        ask(&self.fails.settle)
    }

    fn begin_to_settle(&self) -> BoxFuture<'_, Result<()>> {
        ask(&self.fails.settle)
    }

    fn vanished(&self) -> u64 {
        u64::from(self.fails.vanished.load(Ordering::Relaxed))
    }

    fn put_new<'a>(
        &'a self,
        op: &'a Op,
        key: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.of.put_new(op, key, bytes))
    }

    fn put<'a>(&'a self, op: &'a Op, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.of.put(op, key, bytes))
    }

    fn create<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        Box::pin(self.of.create(op, key))
    }

    fn delete<'a>(&'a self, op: &'a Op, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.of.delete(op, key))
    }
}
