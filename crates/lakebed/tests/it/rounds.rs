//! Rounds of requests: how many wait for another. On a store far away each is a pause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use lakebed::{Append, Create, Env, Scan, Schema, Table, col, lit};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt, Result};

use crate::between::{Between, Over};
use crate::help::{ids, parts};
use crate::requests::delete_first_rows;

/// Rows of the one file that is not small.
const LONG: i64 = 400_000;

/// Counts requests and how deep they depend on one another: a request is one deeper than the
/// deepest that was answered before it was made.
struct Counted {
    env: Env,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    slow: bool,
    answered: u64,
    requests: Vec<String>,
}

impl Counted {
    /// A request is made; what it waits for before its answer counts.
    fn ask(&self, what: String) -> BoxFuture<'static, ()> {
        let (env, seen) = (self.env.clone(), Arc::clone(&self.seen));
        let (slow, depth) = {
            let mut seen = self.seen.lock().unwrap();
            if seen.slow {
                seen.requests.push(what);
            }
            (seen.slow, seen.answered + 1)
        };
        let waited = async move {
            if slow {
                // Time for all others of the round to be made.
                env.sleep(Duration::from_millis(150)).await;
            }
            let mut seen = seen.lock().unwrap();
            seen.answered = seen.answered.max(depth);
        };
        waited.boxed()
    }

    fn begin(&self) {
        *self.seen.lock().unwrap() = Seen { slow: true, ..Seen::default() };
    }

    /// Rounds, and requests with how often each was made.
    fn end(&self) -> (u64, BTreeMap<String, usize>) {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let mut counts = BTreeMap::new();
        for request in seen.requests {
            *counts.entry(request).or_default() += 1;
        }
        (seen.answered, counts)
    }
}

#[async_trait]
impl Between for Counted {
    async fn get(
        &self,
        inner: &Arc<InMemory>,
        path: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        self.ask(format!("get {path} {:?}", options.range)).await;
        inner.get_opts(path, options).await
    }

    fn list(&self, prefix: Option<&Path>, offset: Option<&Path>) -> BoxFuture<'static, ()> {
        self.ask(format!("list {prefix:?} {offset:?}"))
    }
}

/// The columns `p` and `id` in a thousand partitions, a checkpoint, fifty commits behind it.
struct Big {
    store: Arc<Over<Counted>>,
    env: Env,
}

/// An empty store that counts, and an environment with it.
fn counted() -> (Arc<Over<Counted>>, Env) {
    let env = Env::tokio();
    let store = Over::new(Counted { env: env.clone(), seen: Arc::default() });
    let env = env.with_store("counted://", Arc::clone(&store) as Arc<dyn ObjectStore>);
    (store, env)
}

impl Big {
    /// One partition, `long`, is a file that is too large to be fetched whole.
    fn new() -> Big {
        let (store, env) = counted();
        let big = Big { store, env };
        let table = big.open();
        let schema = Schema::parse_ddl("p string, id long").unwrap();
        let create =
            Create::new(schema).partition_by(["p"]).property("delta.checkpointInterval", "1000");
        block_on(table.create_here(create)).unwrap();
        let names: Vec<String> = (1..1000).map(|it| format!("{it:04}")).collect();
        let mut rows: Vec<(&str, i64)> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), at as i64)).collect();
        // Numbers that do not get much smaller by compression.
        rows.extend(
            (0..LONG).map(|it| ("long", it.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))),
        );
        block_on(table.append(parts(&rows), Append::new())).unwrap();
        block_on(block_on(table.snapshot()).unwrap().checkpoint()).unwrap();
        for id in 0..50 {
            block_on(table.append(parts(&[("late", id)]), Append::new())).unwrap();
        }
        big
    }

    fn open(&self) -> Table {
        Table::open_with(&self.env, "counted://t").unwrap()
    }

    /// Puts the fifty commits together in one file.
    fn compact(&self) {
        let path = |name: String| Path::from(format!("t/_delta_log/{name}"));
        let mut lines = String::new();
        for version in 2..=51 {
            let commit = path(format!("{version:020}.json"));
            let bytes = async { self.store.inner.get(&commit).await?.bytes().await };
            let text = String::from_utf8(block_on(bytes).unwrap().to_vec()).unwrap();
            let adds = text.lines().filter(|it| !it.contains("commitInfo"));
            lines.extend(adds.flat_map(|it| [it, "\n"]));
        }
        assert_eq!(lines.lines().filter(|it| it.starts_with("{\"add\"")).count(), 50);
        let compacted = path(format!("{:020}.{:020}.compacted.json", 2, 51));
        block_on(self.store.inner.put(&compacted, lines.into())).unwrap();
    }

    /// Opens cold and reads one partition of one file: rounds and requests, none made twice.
    fn read(&self, partition: &str, expected: i64) -> (u64, usize) {
        self.store.begin();
        let scan = Scan::new().filter(col("p").eq(lit(partition)));
        let rows = async {
            let snapshot = self.open().snapshot().await?;
            assert_eq!(snapshot.version().get(), 51);
            snapshot.read(&scan).await?.collect().await
        };
        let rows = block_on(rows.boxed()).unwrap();
        assert_eq!(rows.iter().map(|it| it.num_rows() as i64).sum::<i64>(), expected);
        let (rounds, requests) = self.store.end();
        let twice: Vec<_> = requests.iter().filter(|it| 1 < *it.1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        (rounds, requests.len())
    }
}

/// Opened cold, planned, one file read: nothing is asked for twice, and few requests wait for
/// others. A file that is not fetched whole is one round more, and no commit of a compacted file is
/// asked for.
#[test]
fn a_cold_read() {
    let big = Big::new();
    let (rounds, small) = big.read("0500", 1);
    assert!(rounds <= 4 && small <= 58, "{rounds} {small}");
    let (rounds, requests) = big.read("long", LONG);
    assert!(rounds <= 5 && small < requests && requests <= 60, "{rounds} {requests}");
    big.compact();
    let (rounds, requests) = big.read("0500", 1);
    assert!(rounds <= 4 && requests <= 9, "{rounds} {requests}");
    let (rounds, requests) = big.read("long", LONG);
    assert!(rounds <= 5 && requests <= 9, "{rounds} {requests}");
}

/// A deletion vector is fetched while its file is looked at: it is a request, and no round.
#[test]
fn vectors_are_no_round() {
    let (store, env) = counted();
    let open = || Table::open_with(&env, "counted://t").unwrap();
    block_on(open().append(ids(0..10), Append::new())).unwrap();
    let read = |version: u64, expected: usize| {
        store.begin();
        let rows = async {
            let snapshot = open().snapshot().await?;
            assert_eq!(snapshot.version().get(), version);
            snapshot.read(&Scan::new()).await?.collect().await
        };
        let rows = block_on(rows.boxed()).unwrap();
        assert_eq!(rows.iter().map(|it| it.num_rows()).sum::<usize>(), expected);
        store.end()
    };
    let (rounds, plain) = read(0, 10);
    delete_first_rows(&env, "counted://t", &block_on(open().snapshot()).unwrap());
    let (with_vector, requests) = read(1, 9);
    assert_eq!(with_vector, rounds, "{requests:?}");
    // Its file and its commit.
    assert_eq!(requests.len(), plain.len() + 2, "{requests:?}");
}
