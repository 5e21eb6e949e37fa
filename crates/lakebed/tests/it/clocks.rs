//! Writers that slept: what the log and vacuum have forgotten meanwhile must not be built upon.
//!
//! Time is virtual here: weeks pass at once.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::env::{BoxFuture, Runtime};
use lakebed::write::Data;
use lakebed::{Append, CleanLog, Code, Env, Op, Snapshot, Table, Timestamp};
use lakebed_testkit::choices::Choices;
use lakebed_testkit::sim::{Side, World};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::between::Over;
use crate::faulty::{Fate, Faulty};
use crate::help::ids;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A world in which the clocks of the one client can be moved.
struct Clocks {
    side: Arc<Side>,
    ahead_millis: Arc<AtomicI64>,
}

impl Runtime for Clocks {
    fn now(&self) -> Timestamp {
        self.side.now().plus_millis(self.ahead_millis.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        self.side.elapsed()
    }

    fn random(&self) -> u64 {
        self.side.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.side.sleep(duration)
    }

    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.side.spawn(future);
    }

    fn compute(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }

    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }

    fn cores(&self) -> usize {
        1
    }
}

/// One client, one store, and a table of two versions that it holds.
struct Sleeper {
    world: Arc<World>,
    env: Env,
    ahead_millis: Arc<AtomicI64>,
    store: Arc<Over<Faulty>>,
}

impl Sleeper {
    fn new() -> Sleeper {
        let world = World::new(Choices::seeded(0));
        let ahead_millis = Arc::new(AtomicI64::new(0));
        let side = world.side(1, 0);
        let clocks = Clocks { side, ahead_millis: Arc::clone(&ahead_millis) };
        let store = Faulty::new();
        let shared = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let env = Env::new(Arc::new(clocks))
            .with_codec(Arc::new(lakebed::codec::Parquet))
            .with_store("sim://", shared);
        Sleeper { world, env, ahead_millis, store }
    }

    fn table(&self) -> Table {
        Table::open_with(&self.env, "sim://t").unwrap()
    }

    /// Runs in the world, to its end.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let told = Arc::clone(&result);
        let task = async move { *told.lock().unwrap() = Some(future.await) };
        self.world.spawn(1, Box::pin(task));
        self.world.run().unwrap();
        let done = result.lock().unwrap().take();
        done.unwrap()
    }

    fn append(&self, id: i64) -> Snapshot {
        let table = self.table();
        self.run(async move { table.append(ids([id]), Append::new()).await }).unwrap().snapshot()
    }

    fn append_from(&self, held: &Snapshot) -> lakebed::Result<u64> {
        let held = held.clone();
        let done = self.run(async move { held.append(ids([99]), Append::new()).await });
        done.map(|it| it.version().get())
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }

    fn forget(&self, versions: std::ops::Range<u64>) {
        for version in versions {
            let path = Path::from(format!("t/_delta_log/{version:020}.json"));
            block_on(self.store.delete(&path)).unwrap();
        }
    }

    fn names(&self, end: &str) -> Vec<String> {
        let all = block_on(self.store.list(None).try_collect::<Vec<_>>()).unwrap();
        let names = all.into_iter().map(|it| it.location.to_string());
        names.filter(|it| it.ends_with(end)).collect()
    }
}

/// The version after the held one was there, and cleanup has made it absent again.
#[test]
fn a_base_past_the_log() {
    let sleeper = Sleeper::new();
    sleeper.append(0);
    let held = sleeper.append(1);
    for id in 2..13 {
        sleeper.append(id);
    }
    sleeper.pass(16 * DAY);
    sleeper.forget(0..10);
    let commits = sleeper.names(".json");
    let data = sleeper.names(".parquet").len();
    let error = sleeper.append_from(&held).unwrap_err();
    assert_eq!(error.code(), Code::TransactionExpired, "{error:?}");
    assert_eq!(sleeper.names(".json"), commits);
    assert_eq!(sleeper.names(".parquet").len(), data, "its file is deleted");
}

/// An old base is compared with the log, and is as good as any while the log leads on from it.
#[test]
fn a_base_that_is_old() {
    for others in [0, 11] {
        let sleeper = Sleeper::new();
        sleeper.append(0);
        let held = sleeper.append(1);
        (0..others).for_each(|it| drop(sleeper.append(2 + it)));
        sleeper.pass(16 * DAY);
        assert_eq!(sleeper.append_from(&held).unwrap(), 2 + others.unsigned_abs());
    }
}

/// Rows that come too slowly: vacuum may have taken the first files before the last are written.
#[test]
fn an_operation_past_the_retention() {
    let sleeper = Sleeper::new();
    let held = sleeper.append(0);
    let files = sleeper.names(".parquet").len();
    let rows = ids([1]);
    let ahead = Arc::clone(&sleeper.ahead_millis);
    let schema = rows.schema();
    let slow = futures::stream::once(async move {
        ahead.fetch_add(3 * i64::try_from(DAY.as_millis()).unwrap(), Ordering::Relaxed);
        Ok(rows)
    });
    let data = Data::stream(schema, slow.boxed());
    let patient = sleeper.table().with_op(Op::new(30 * DAY));
    let error =
        sleeper.run(async move { patient.append(data, Append::new()).await }).err().unwrap();
    assert_eq!(error.code(), Code::TransactionExpired, "{error:?}");
    assert_eq!(sleeper.names(".parquet").len(), files);
    drop(held);
}

/// The machine stopped while the put was under way, and the number was used and cleaned up
/// meanwhile: a newer commit is older, the marker says so, or the commit before is gone.
///
/// spec: CLEAN-11
#[test]
fn a_put_past_the_log() {
    let log = "t/_delta_log";
    let commit = |version: u64| Path::from(format!("{log}/{version:020}.json"));
    for past in ["newer", "marked", "cut off", "marked below", "nothing"] {
        let sleeper = Sleeper::new();
        let held = sleeper.append(0);
        let put = |path: &Path, text: &'static str| block_on(sleeper.store.put(path, text.into()));
        match past {
            "newer" => {
                put(&commit(5), "{}").unwrap();
                block_on(Env::tokio().sleep(Duration::from_millis(5)));
            }
            "marked" => {
                put(&Path::from(format!("{log}/_lakebed_cleanup")), r#"{"version":1}"#).unwrap();
            }
            "marked below" => {
                put(&Path::from(format!("{log}/_lakebed_cleanup")), r#"{"version":0}"#).unwrap();
            }
            _ => {}
        }
        // The deadline must not come first: the machine stood still, the operation is young.
        let (ahead, store) = (Arc::clone(&sleeper.ahead_millis), Arc::clone(&sleeper.store));
        let jump = 16 * i64::try_from(DAY.as_millis()).unwrap();
        let (is_cut_off, first) = (past == "cut off", commit(0));
        sleeper.store.during_put(move || {
            ahead.fetch_add(jump, Ordering::Relaxed);
            if is_cut_off {
                block_on(store.delete(&first)).unwrap();
            }
        });
        sleeper.store.plan([Fate::Fine]);
        let data = sleeper.names(".parquet").len();
        match (past, sleeper.append_from(&held)) {
            ("nothing" | "marked below", done) => assert_eq!(done.unwrap(), 1, "{past}"),
            (_, done) => {
                assert_eq!(done.unwrap_err().code(), Code::TransactionExpired, "{past}");
            }
        }
        // The log names the file in either case.
        assert_eq!(sleeper.names(".parquet").len(), data + 1);
    }
}

/// The machine stopped while the put was under way, and vacuum took the data files, which no
/// version named yet: that is no success.
#[test]
fn a_put_past_its_files() {
    for taken in [false, true] {
        let sleeper = Sleeper::new();
        let held = sleeper.append(0);
        let before = sleeper.names(".parquet");
        let (ahead, store) = (Arc::clone(&sleeper.ahead_millis), Arc::clone(&sleeper.store));
        // A third of the week for which removed files are kept, and no half of the log's month.
        let jump = 4 * i64::try_from(DAY.as_millis()).unwrap();
        sleeper.store.during_put(move || {
            ahead.fetch_add(jump, Ordering::Relaxed);
            let all = block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
            let ours = all.into_iter().map(|it| it.location).filter(|it| {
                it.as_ref().ends_with(".parquet") && !before.contains(&it.to_string())
            });
            for path in ours.filter(|_| taken) {
                block_on(store.delete(&path)).unwrap();
            }
        });
        sleeper.store.plan([Fate::Fine]);
        match (taken, sleeper.append_from(&held)) {
            (false, done) => assert_eq!(done.unwrap(), 1),
            (true, done) => assert_eq!(done.unwrap_err().code(), Code::MissingFile),
        }
    }
}

/// A machine that lives in the future would find all versions old.
///
/// spec: CLEAN-10
#[test]
fn a_clock_far_ahead_deletes_nothing() {
    let sleeper = Sleeper::new();
    (0..13).for_each(|it| drop(sleeper.append(it)));
    let log = sleeper.names("");
    sleeper.pass(10_000 * DAY);
    let table = sleeper.table();
    let cleaned = sleeper.run(async move { table.clean_log(CleanLog::new()).await });
    assert_eq!(cleaned.unwrap_err().code(), Code::ClockSkew);
    assert_eq!(sleeper.names(""), log);
}
