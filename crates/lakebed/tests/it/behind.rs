//! A writer that is far behind: many have committed since it looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use lakebed::{Append, Code, Env, Op, Overwrite, Table, col, lit};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, ObjectStore, Result};

use crate::between::{Between, Over};
use crate::help::{ids, rows_of};
use crate::slow::{Slow, TAKES};

/// Versions that others commit meanwhile.
const WINNERS: i64 = 20;

/// Counts the requests for commits, and fails the next ones for one of them.
#[derive(Default)]
struct Counted {
    gets: AtomicU32,
    fails: AtomicU32,
}

#[async_trait]
impl Between for Counted {
    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let less = |it: u32| it.checked_sub(1);
        if path.as_ref().ends_with("00009.json")
            && self.fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            return Err(Error::Generic { store: "counted", source: "no answer".into() });
        }
        inner.get_opts(path, options).await
    }
}

fn tables() -> (Arc<Over<Counted>>, Table, Table) {
    let store = Over::new(Counted::default());
    let env = || Env::tokio().with_store("counted://", Arc::clone(&store) as _);
    let open = || Table::open_with(&env(), "counted://table").unwrap();
    (Arc::clone(&store), open(), open())
}

async fn others(table: &Table) {
    for id in 1..=WINNERS {
        table.append(ids([id]), Append::new()).await.unwrap();
    }
}

/// It reads each of them once, and one that is not there; and lists nothing.
///
/// spec: TXN-20
#[test]
fn winners_are_read_once() {
    let (store, slow, quick) = tables();
    block_on(async {
        slow.append(ids([0]), Append::new()).await.unwrap();
        let op = Op::new(Duration::from_secs(60));
        let mut work = slow.with_op(op.clone()).begin().await.unwrap();
        work.append(ids([100]), Append::new()).await.unwrap();
        others(&quick).await;
        let (lists, gets) = (op.usage().lists, store.gets.load(Ordering::Relaxed));
        let done = work.commit().await.unwrap();
        assert_eq!(done.version().get(), 21);
        assert_eq!(op.usage().lists, lists);
        assert_eq!(store.gets.load(Ordering::Relaxed) - gets, 21);
        assert_eq!(rows_of(&done.snapshot()).await.len(), 22);
    });
}

/// The more there are, the more are read at once: twenty take no twenty rounds.
///
/// spec: TXN-20
#[test]
fn winners_are_read_ahead() {
    let slow = Slow::new(1, 0);
    let world = slow.clone();
    slow.run(async move {
        let (late, quick, env) = (world.table(1), world.table(2), world.process(0));
        late.append(ids([0]), Append::new()).await.unwrap();
        let mut work = late.begin().await.unwrap();
        work.append(ids([100]), Append::new()).await.unwrap();
        others(&quick).await;
        let began = env.elapsed();
        let done = work.commit().await.unwrap();
        assert_eq!(done.version().get(), 21);
        // Two puts are lost and looked after, then 1, 2, 4, 8 and 16 at once; a put, its checksum,
        // and a pause at most as long as one of them.
        let took = env.elapsed() - began;
        assert!(took <= TAKES * 12, "{took:?}");
    });
}

/// A commit that cannot be read for a while ends nothing: the next put tells.
///
/// spec: TXN-20
#[test]
fn winners_that_cannot_be_read_at_once() {
    let (store, slow, quick) = tables();
    block_on(async {
        slow.append(ids([0]), Append::new()).await.unwrap();
        let mut work = slow.begin().await.unwrap();
        work.append(ids([100]), Append::new()).await.unwrap();
        others(&quick).await;
        // As often as a request is sent again.
        store.fails.store(4, Ordering::Relaxed);
        let done = work.commit().await.unwrap();
        assert_eq!(store.fails.load(Ordering::Relaxed), 0);
        assert_eq!(done.version().get(), 21);
        assert_eq!(rows_of(&done.snapshot()).await.len(), 22);
    });
}

/// A conflict among those that were read at once is one, wherever it stands.
///
/// spec: TXN-20
#[test]
fn conflicts_among_many_winners() {
    let (_store, slow, quick) = tables();
    block_on(async {
        slow.append(ids([0]), Append::new()).await.unwrap();
        let mut work = slow.begin().await.unwrap();
        let all = Overwrite::filter(col("id").gt_eq(lit(15i64)));
        work.overwrite(ids([15]), all).await.unwrap();
        others(&quick).await;
        let error = work.commit().await.err().unwrap();
        assert_eq!(error.code(), Code::Conflict, "{error}");
        assert_eq!(error.conflict().unwrap().version.get(), 15);
        assert_eq!(rows_of(&quick.snapshot().await.unwrap()).await.len(), 21);
    });
}
