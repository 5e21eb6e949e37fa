//! What an attempt tells of a commit that another one brought about.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::executor::block_on;
use lakebed_log::schema::Schema;

use super::*;
use crate::create::Create;
use crate::env::{BoxFuture, Env};
use crate::op::Op;
use crate::snapshot::Snapshot;
use crate::store::{Backend, Object, Pin, Store, Upload};
use crate::table::Table;

/// A store that may fail to make durable what is there.
struct Frail {
    of: Store,
    fails: Arc<AtomicBool>,
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
    ) -> BoxFuture<'a, Result<Put>> {
        Box::pin(self.of.put_if_absent(op, key, bytes))
    }

    fn sync<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        let done = match self.fails.load(Ordering::Relaxed) {
            true => Err(Error::new(Code::Unavailable, "the disk does not answer")),
            false => Ok(()),
        };
        Box::pin(std::future::ready(done))
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

fn draft(env: &Env) -> Draft {
    let path = format!("{}.parquet", env.id());
    let add = Add { path, size: 1, data_change: true, ..Add::default() };
    Draft {
        txn_id: env.id().to_string(),
        operation: "WRITE".into(),
        adds: vec![add],
        ..Draft::default()
    }
}

fn run(context: &Context, base: &Snapshot, draft: &Draft) -> Result<Landed, Failure> {
    let base = Some(base.loaded().clone());
    block_on(Attempt::new(context.clone(), base, draft.clone(), false).run())
}

/// A draft that was published before is met on the way, behind two winners: it is told of as
/// committed once its name is durable, and else its outcome is not known.
#[test]
fn what_is_met_is_made_durable() {
    let env = Env::tokio();
    let table = Table::open_with(&env, "memory://attempt/met").unwrap();
    let create = Create::new(Schema::parse_ddl("id long").unwrap());
    let base = block_on(table.create_here(create)).unwrap().snapshot();
    let fails = Arc::new(AtomicBool::new(false));
    let frail = Frail { of: base.store().clone(), fails: Arc::clone(&fails) };
    let store = Store::new(Arc::new(frail), base.store().location());
    let context = Context::new(&env, &Op::default(), &store);
    let ours = draft(&env);
    for it in [&draft(&env), &draft(&env), &ours] {
        assert!(run(&context, &base, it).is_ok());
    }

    let again = run(&context, &base, &ours).unwrap_or_else(|it| panic!("{}", it.error));
    assert!(matches!(again, Landed::Ours(version, _) if version.get() == 3));
    fails.store(true, Ordering::Relaxed);
    let Err(doubted) = run(&context, &base, &ours) else { panic!("it is not durable") };
    assert!(doubted.open, "its files stay");
    assert_eq!(doubted.error.code(), Code::OutcomeUnknown);
    assert!(doubted.error.to_string().contains('3'), "{}", doubted.error);
}
