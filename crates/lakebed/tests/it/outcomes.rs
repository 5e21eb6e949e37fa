//! What a commit says when the store does not say.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::{Append, Code, Env, Op, Resolved, Table, Unresolved};
use object_store::ObjectStore;

use crate::between::Over;
use crate::faulty::{Fate, Faulty};
use crate::help::{ids, rows};

fn place(store: &Arc<Over<Faulty>>) -> Table {
    let env = Env::tokio().with_store("faulty://", Arc::clone(store) as Arc<dyn ObjectStore>);
    Table::open_with(&env, "faulty://bucket/table").unwrap()
}

fn files(store: &Arc<Over<Faulty>>) -> usize {
    let parquet = |it: &object_store::ObjectMeta| {
        let key = it.location.as_ref();
        key.ends_with(".parquet") && !key.contains("_delta_log")
    };
    let all = block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
    all.iter().filter(|it| parquet(it)).count()
}

/// Whatever the answers, a commit that is said to have landed stands there once.
///
/// spec: TXN-22
#[test]
fn answers_are_checked() {
    use Fate::{Denied, FalseExists, Fine, Late, LostAfter, LostBefore, OwnExists};
    let rows_of = |fates: &[Fate], making: bool| {
        let store = Faulty::new();
        let table = place(&store);
        if !making {
            block_on(table.append(ids([0]), Append::new())).unwrap();
        }
        store.plan(fates.iter().copied());
        let done = block_on(table.append(ids([1]), Append::new())).unwrap();
        store.plan([]);
        assert!(done.changed());
        assert_eq!(done.version().get(), u64::from(!making), "{fates:?}");
        let next = block_on(done.snapshot().append(ids([2]), Append::new())).unwrap();
        assert_eq!(rows(&next.snapshot()), rows(&block_on(place(&store).snapshot()).unwrap()));
        rows(&next.snapshot())
    };
    for fates in [
        &[Fine][..],
        &[LostAfter],
        &[LostBefore],
        &[OwnExists],
        &[FalseExists],
        &[Late],
        &[LostBefore, LostAfter],
        &[LostBefore, FalseExists, LostBefore, OwnExists],
        &[Late, LostBefore],
        &[FalseExists, Late],
        &[LostAfter, Denied],
        &[Late, Denied],
    ] {
        assert_eq!(rows_of(fates, false), [0, 1, 2], "{fates:?}");
        assert_eq!(rows_of(fates, true), [1, 2], "{fates:?}");
    }
}

/// A refusal before anything was sent is final, and leaves nothing behind.
#[test]
fn denied() {
    let store = Faulty::new();
    let table = place(&store);
    block_on(table.append(ids([0]), Append::new())).unwrap();
    store.plan([Fate::Denied]);
    let error = block_on(table.append(ids([1]), Append::new())).err().unwrap();
    assert_eq!(error.code(), Code::Permission);
    assert_eq!(files(&store), 1);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0]);
}

/// A winner that matters: the draft is in no version, and its files are gone.
#[test]
fn conflicts_clean_up() {
    let store = Faulty::new();
    let table = place(&store);
    let held = block_on(table.append(ids([0]), Append::new())).unwrap().snapshot();
    block_on(table.append(ids([1]), Append::new())).unwrap();
    let over = held.overwrite(ids([2]), lakebed::Overwrite::all());
    assert_eq!(block_on(over).err().unwrap().code(), Code::Conflict);
    assert_eq!(files(&store), 2);
}

/// The deadline passes while nothing is known: the outcome is unknown, nothing is deleted, and the
/// id tells what became of it.
///
/// spec: TXN-23
#[test]
fn unknown_at_the_deadline() {
    for (last, expected) in [(Fate::LostBefore, 1), (Fate::LostAfter, 1)] {
        let store = Faulty::new();
        let table = place(&store);
        block_on(table.append(ids([0]), Append::new())).unwrap();
        store.plan(std::iter::repeat_n(Fate::FalseExists, 10_000));
        let hurried = table.with_op(Op::new(Duration::from_millis(300)));
        let error = block_on(hurried.append(ids([1]), Append::new())).err().unwrap();
        assert_eq!(error.code(), Code::OutcomeUnknown);
        assert_eq!(files(&store), 2);
        let Unresolved { id } = error.unresolved().unwrap().clone();
        assert!(id.ends_with(&format!("@{expected}")), "{id}");
        assert_eq!(block_on(table.resolve(&id)).unwrap(), Resolved::Unknown);

        store.plan([last]);
        let next = block_on(table.append(ids([2]), Append::new())).unwrap();
        assert_eq!(next.version().get(), 1);
        assert_eq!(block_on(table.resolve(&id)).unwrap(), Resolved::NotCommitted);
        assert_eq!(files(&store), 3);
    }
}

#[test]
fn resolve() {
    let store = Faulty::new();
    let table = place(&store);
    block_on(table.append(ids([0]), Append::new())).unwrap();
    let done = block_on(table.append(ids([1]), Append::new())).unwrap();
    let first = block_on(async {
        let log = table.history().await?;
        log.map_ok(|it| it.info.txn_id().unwrap().to_string()).boxed().try_collect::<Vec<_>>().await
    });
    let ids = first.unwrap();
    let at = |version: u64| Resolved::Committed(lakebed::Version::new(version).unwrap());
    let ask = |id: &str| block_on(table.resolve(id)).unwrap();
    assert_eq!(done.version().get(), 1);
    assert_eq!(ask(&ids[0]), at(1));
    assert_eq!(ask(&ids[1]), at(0));
    assert_eq!(ask(&format!("{}@1", ids[0])), at(1));
    assert_eq!(ask(&format!("{}@0", ids[0])), Resolved::NotCommitted);
    assert_eq!(ask(&format!("{}@2", ids[0])), Resolved::Unknown);
    for nonsense in ["", "x", "x@1", "7d6b@", "7d6b@-1"] {
        let error = block_on(table.resolve(nonsense)).err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument, "{nonsense}");
    }
}

/// A caller that gives up does not stop the commit.
#[test]
fn a_dropped_caller() {
    let store = Faulty::new();
    let table = place(&store);
    let held = block_on(table.append(ids([0]), Append::new())).unwrap().snapshot();
    store.plan(std::iter::repeat_n(Fate::LostBefore, 3));
    let mut append = Box::pin(held.append(ids([1]), Append::new()));
    // On a busy machine it may be done before anybody looks again.
    while store.left() == 3 && block_on(async { futures::poll!(append.as_mut()) }).is_pending() {}
    drop(append);
    for _ in 0..1_000 {
        let seen = block_on(place(&store).snapshot()).unwrap();
        if seen.version().get() == 1 {
            assert_eq!(rows(&seen), [0, 1]);
            return;
        }
        block_on(Env::tokio().sleep(Duration::from_millis(5)));
    }
    panic!("the commit stopped");
}

/// An overwrite that wants to make the table, and finds that another run of it has: there is
/// nothing left to do. Without a counter that is a conflict, as ever.
#[test]
fn an_overwrite_that_is_there_already() {
    for (once, expected) in [(true, "unchanged"), (false, "conflict")] {
        let store = Faulty::new();
        let options = match once {
            true => Append::new().once("nightly", 1),
            false => Append::new(),
        };
        let over = lakebed::Overwrite::all().options(options);
        // While the rows of the first arrive, the second goes all the way.
        let (other, twin) = (place(&store), over.clone());
        let meanwhile = async move {
            assert!(other.overwrite(ids([7]), twin).await?.changed());
            Ok(ids([7]))
        };
        let rows_of = futures::stream::once(meanwhile).boxed();
        let data = lakebed::Data::stream(ids([7]).schema(), rows_of);
        let told = match block_on(place(&store).overwrite(data, over)) {
            Ok(done) if done.changed() => "changed".to_string(),
            Ok(_) => "unchanged".to_string(),
            Err(it) => it.code().as_str().to_string(),
        };
        assert_eq!(told, expected);
        assert_eq!(rows(&block_on(place(&store).snapshot()).unwrap()), [7]);
        assert_eq!(files(&store), 1);
    }
}
