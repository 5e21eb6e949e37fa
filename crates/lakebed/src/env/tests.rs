//! The runtime of real programs, driven as callers do.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use futures::executor::block_on;

use super::*;

/// What each of the three kinds of work gives back: a value, its own error, its panic as an error.
#[test]
fn results_errors_and_panics() {
    let env = Env::tokio();
    let bad = || Err::<u8, _>(Error::invalid("no"));
    assert_eq!(block_on(env.spawn(async { Ok(1) })).unwrap(), 1);
    assert_eq!(block_on(env.compute(|| Ok(2))).unwrap(), 2);
    assert_eq!(block_on(env.block(|| Ok(3))).unwrap(), 3);
    for failed in [
        block_on(env.spawn(async move { bad() })),
        block_on(env.compute(bad)),
        block_on(env.block(bad)),
    ] {
        assert_eq!(failed.unwrap_err().code(), Code::InvalidArgument);
    }
    let panicked = [
        block_on(env.spawn(async { panic!("over {}", 1) })),
        block_on(env.compute(|| panic!("over 1"))),
        block_on(env.block(|| panic!("over 1"))),
    ];
    for result in panicked {
        let err: Error = Result::<u8>::unwrap_err(result);
        assert_eq!(format!("{err:?}"), "a task panicked: over 1 [internal]");
    }
    // And the threads are still there.
    for _ in 0..100 {
        assert_eq!(block_on(env.compute(|| Ok(2))).unwrap(), 2);
    }
}

/// Work begins without being asked for, and a dropped handle does not stop a future.
#[test]
fn background_work_goes_on() {
    let env = Env::tokio();
    let (sender, receiver) = mpsc::channel();
    let (in_block, in_spawn) = (sender.clone(), sender);
    let sleep = env.clone();
    drop(env.spawn(async move {
        sleep.sleep(Duration::from_millis(1)).await;
        in_spawn.send(1).map_err(|_| Error::internal("gone"))
    }));
    drop(env.block(move || in_block.send(2).map_err(|_| Error::internal("gone"))));
    let seen: BTreeSet<i32> = receiver.iter().collect();
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

/// Queued work that nobody waits for any more is not done.
#[test]
fn dropped_compute_is_left_out() {
    let env = Env::new(Arc::new(tokio::Tokio::start()));
    let (release, wait) =
        (0..env.cores()).map(|_| mpsc::channel::<()>()).collect::<(Vec<_>, Vec<_>)>();
    let busy: Vec<_> =
        wait.into_iter().map(|it| env.compute(move || Ok(it.recv().is_ok()))).collect();
    let (sender, receiver) = mpsc::channel::<()>();
    drop(env.compute(move || sender.send(()).map_err(|_| Error::internal("gone"))));
    drop(release);
    busy.into_iter().for_each(|it| assert!(!block_on(it).unwrap()));
    assert!(receiver.recv().is_err());
}

/// What lets more work begin does not wait behind what is long.
#[test]
fn short_work_goes_first() {
    let env = Env::new(Arc::new(tokio::Tokio::start()));
    let (mut release, wait) =
        (0..env.cores()).map(|_| mpsc::channel::<()>()).collect::<(Vec<_>, Vec<_>)>();
    let busy: Vec<_> =
        wait.into_iter().map(|it| env.compute(move || Ok(it.recv().is_ok()))).collect();
    let (sender, receiver) = mpsc::channel();
    let say = |what: &'static str| {
        let sender = sender.clone();
        move || sender.send(what).map_err(|_| Error::internal("gone"))
    };
    let queued = (env.compute(say("long")), env.compute(say("long, too")));
    let first = (env.compute_first(say("short")), env.compute_first(say("short, too")));
    drop(sender);
    // One thread is free, so that there is an order.
    drop(release.pop());
    let said: Vec<_> = receiver.iter().take(4).collect();
    assert_eq!(said, ["short", "short, too", "long", "long, too"]);
    drop((release, queued, first));
    busy.into_iter().for_each(|it| assert!(!block_on(it).unwrap()));
}

/// Compute threads work side by side: as many jobs as cores can wait for one another.
#[test]
fn one_thread_per_core() {
    let env = Env::tokio();
    let barrier = Arc::new(std::sync::Barrier::new(env.cores()));
    let jobs: Vec<_> = (0..env.cores())
        .map(|_| {
            let barrier = barrier.clone();
            env.compute(move || Ok(barrier.wait().is_leader()))
        })
        .collect();
    let leaders = jobs.into_iter().map(|it| block_on(it).unwrap());
    assert_eq!(leaders.filter(|it| *it).count(), 1);
}

/// From inside a runtime of the caller's, even one without a timer.
#[test]
fn inside_another_runtime() {
    let other = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
    let env = Env::tokio();
    let all = other.block_on(async {
        env.sleep(Duration::from_millis(1)).await;
        let spawned = env.spawn(async { Ok(1) }).await.unwrap();
        let blocked = env.block(|| Ok(2)).await.unwrap();
        spawned + blocked + env.compute(|| Ok(3)).await.unwrap()
    });
    assert_eq!(all, 6);
}

#[test]
fn timeout() {
    let env = Env::tokio();
    let minute = Duration::from_secs(60);
    assert_eq!(block_on(env.timeout(minute, "it", async { Ok(1) })).unwrap(), 1);
    let never = std::future::pending::<Result<u8>>();
    let err = block_on(env.timeout(Duration::from_millis(1), "it", never)).unwrap_err();
    assert_eq!(format!("{err:?}"), "it: no answer within 1ms [unavailable]");
}

/// The time of a sleep begins with the call.
#[test]
fn clocks_move() {
    let env = Env::tokio();
    let (wall, mono) = (env.now(), env.elapsed());
    let mut sleep = Box::pin(env.sleep(Duration::from_millis(5)));
    assert_eq!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    block_on(sleep);
    assert!(mono + Duration::from_millis(5) <= env.elapsed());
    assert!(wall <= env.now());
    assert!(Timestamp::from_millis(1_700_000_000_000) < wall);
}

/// Ids are of version 4 and differ, whatever thread or environment makes them.
#[test]
fn ids() {
    let other = Env::new(Arc::new(tokio::Tokio::start()));
    let envs = [Env::tokio(), Env::tokio(), other];
    let ids: BTreeSet<Uuid> = (0..3000).zip(envs.iter().cycle()).map(|(_, env)| env.id()).collect();
    assert_eq!(ids.len(), 3000);
    let id = ids.first().unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
}

/// A changed copy leaves the original alone.
#[test]
fn derived_environments() {
    let env = Env::tokio();
    let small = env.with_budget(7);
    let pools = |it: &Env| (it.budget().total(), it.write_budget().total());
    assert_eq!(pools(&env), (BUDGET_BYTES / 2, BUDGET_BYTES / 2));
    assert_eq!(pools(&small), (4, 3));
    assert_eq!(env.with_option("a", "b").options(), [("a".to_string(), "b".to_string())]);
    assert!(env.options().is_empty());
}

/// A driven future waits for its jobs where it is; more of them than there are threads for that end
/// all the same, and so do their jobs.
#[test]
fn driven_futures_block_in_place() {
    let env = Env::tokio();
    let here = || std::thread::current().id();
    let inside = env.clone();
    let (at, job) = block_on(env.drive(async move {
        let at = here();
        inside.sleep(Duration::from_millis(1)).await;
        Ok((at, inside.block(move || Ok(here())).await?))
    }))
    .unwrap();
    assert_eq!(at, job);
    let other = env.clone();
    let (at, away) = block_on(env.drive(async move {
        let at = here();
        Ok((at, other.compute(move || Ok(here())).await?))
    }))
    .unwrap();
    assert_ne!(at, away, "work of more than a moment goes to its own threads");

    let finds = || Ok(::tokio::runtime::Handle::try_current().is_ok());
    assert!(block_on(env.drive(async move { finds() })).unwrap(), "a runtime, as when spawned");

    let many = (0..300).map(|it: i32| {
        let own = env.clone();
        env.drive(async move {
            own.sleep(Duration::from_millis(1)).await;
            own.block(move || Ok(it)).await
        })
    });
    let done: Vec<i32> = block_on(futures::future::try_join_all(many)).unwrap();
    assert_eq!(done, (0..300).collect::<Vec<_>>());
}
