//! Who goes with whom, and who is told what.

use futures::executor::block_on;
use futures::future::join_all;
use futures::poll;
use lakebed_log::action::Add;
use lakebed_log::schema::Schema;
use lakebed_log::version::Version;

use super::*;
use crate::create::Create;
use crate::env::Env;
use crate::op::Op;
use crate::table::Table;

/// A table of its own, where nobody works on the line yet.
fn line(name: &str) -> (Context, Snapshot, Arc<Line>) {
    line_of(name, 100)
}

/// The same with a checkpoint after so many versions.
fn line_of(name: &str, interval: u64) -> (Context, Snapshot, Arc<Line>) {
    let env = Env::tokio();
    let place = format!("memory://group/{name}");
    let table = Table::open_with(&env, &place).unwrap();
    let create = Create::new(Schema::parse_ddl("id long").unwrap());
    let create = create.property("delta.checkpointInterval", interval.to_string());
    let base = block_on(table.create_here(create)).unwrap().snapshot();
    let context = Context::new(&env, &Op::default(), base.store());
    let line: Arc<Line> = env.shared(&format!("commits to {place}"));
    line.waiting().busy = true;
    (context, base, line)
}

fn append(context: &Context, files: usize, size: i64) -> Staged {
    let add = |_| Add {
        path: format!("{}.parquet", context.env.id()),
        size,
        data_change: true,
        ..Add::default()
    };
    let draft = Draft {
        txn_id: context.env.id().to_string(),
        operation: "WRITE".into(),
        adds: (0..files).map(add).collect(),
        ..Draft::default()
    };
    Staged { joins: true, ..Staged::new(draft).unwrap() }
}

/// A group takes what there is room for, in order; what is too much is first in the next.
///
/// spec: GROUP-10
#[test]
fn groups_are_bounded() {
    let (context, base, line) = line("bounded");
    let (long, short) = ("x".repeat(GROUP_BYTES_MAX / 2), "x".repeat(9));
    let wide = |stats: &str| {
        let mut staged = append(&context, 1, 1);
        staged.draft.adds[0].stats = Some(stats.to_string());
        staged
    };
    let rows = [
        (vec![append(&context, 6_000, 1), append(&context, 3_000, 1)], vec![2]),
        (
            vec![
                append(&context, 6_000, 1),
                append(&context, 5_000, 1),
                append(&context, 4_000, 1),
                append(&context, 5_000, 1),
            ],
            vec![2, 2],
        ),
        // However large: whoever is first goes.
        (vec![append(&context, 20_000, 1), append(&context, 1, 1)], vec![1, 1]),
        (vec![wide(&long), wide(&long), wide(&short), wide(&long)], vec![2, 1, 1]),
    ];
    for (all, sizes) in rows {
        block_on(async {
            let mut waiting: Vec<_> =
                all.into_iter().map(|it| Box::pin(submit(&context, Some(&base), it))).collect();
            for it in &mut waiting {
                assert!(poll!(it).is_pending());
            }
            let groups: Vec<usize> =
                std::iter::from_fn(|| line.next().map(|it| it.entries.len())).collect();
            assert_eq!(groups, sizes);
            line.waiting().busy = true;
        });
    }
}

/// One that no commit may hold is told so by itself, and the others land.
///
/// spec: GROUP-11
#[test]
fn one_bad_member_falls_out_alone() {
    let (context, base, line) = line("bad");
    let all = [1, 1, -1, 1].map(|size| append(&context, 1, size));
    let told = block_on(async {
        let mut waiting: Vec<_> =
            all.into_iter().map(|it| Box::pin(submit(&context, Some(&base), it))).collect();
        for it in &mut waiting {
            assert!(poll!(it).is_pending());
        }
        Works { line: Arc::clone(&line), is_done: false }.run().await;
        join_all(waiting).await
    });
    let codes: Vec<_> = told.iter().map(|it| it.as_ref().err().map(Error::code)).collect();
    assert_eq!(codes, [None, None, Some(Code::Internal), None]);
    let mut at: Vec<u64> = told.iter().flatten().map(|it| it.version().get()).collect();
    at.sort_unstable();
    assert_eq!(at, [1, 2, 3]);
    assert!(!line.waiting().busy);
}

/// A handle of its own knows by itself which names are not durable yet. If they cannot be made so,
/// its append fails by itself, and those of other handles land.
///
/// spec: GROUP-11
#[test]
fn names_of_every_handle_are_settled() {
    for lost in [false, true] {
        let (context, base, line) = line(&format!("handles-{lost}"));
        let (store, fails) = crate::store::frail::frail(base.store());
        fails.settle.store(lost, std::sync::atomic::Ordering::Relaxed);
        let other = Context::new(&context.env, &Op::default(), &store);
        let contexts = [&context, &other, &context];
        let told = block_on(async {
            let stand = |it| Box::pin(submit(it, Some(&base), append(it, 1, 1)));
            let mut waiting: Vec<_> = contexts.into_iter().map(stand).collect();
            for it in &mut waiting {
                assert!(poll!(it).is_pending());
            }
            Works { line: Arc::clone(&line), is_done: false }.run().await;
            join_all(waiting).await
        });
        let at: Vec<_> =
            told.iter().map(|it| it.as_ref().ok().map(|it| it.version().get())).collect();
        match lost {
            false => assert_eq!(at, [Some(1); 3], "in one version"),
            true => assert_eq!(at.iter().flatten().count(), 2, "{at:?}"),
        }
        assert_eq!(at[1].is_none(), lost);
    }
}

/// A handle that has found files removed before they were committed looks for those of each commit
/// that it began before: the one without its files fails by itself, and the others land.
///
/// spec: GROUP-11
#[test]
fn one_that_has_lost_its_files_falls_out_alone() {
    let (context, base, line) = line("bereft");
    let (store, fails) = crate::store::frail::frail(base.store());
    let other = Context::new(&context.env, &Op::default(), &store);
    let told = block_on(async {
        let there = append(&other, 1, 1);
        let mut upload = store.create(&other.op, &there.files[0]).await.unwrap();
        upload.write("x".into()).await.unwrap();
        upload.finish().await.unwrap();
        let all = [(&context, append(&context, 1, 1)), (&other, append(&other, 1, 1))];
        let all = all.into_iter().chain([(&other, there)]);
        let mut waiting: Vec<_> =
            all.map(|(context, it)| Box::pin(submit(context, Some(&base), it))).collect();
        for it in &mut waiting {
            assert!(poll!(it).is_pending());
        }
        fails.vanished.store(true, std::sync::atomic::Ordering::Relaxed);
        Works { line: Arc::clone(&line), is_done: false }.run().await;
        join_all(waiting).await
    });
    let landed: Vec<bool> = told.iter().map(Result::is_ok).collect();
    assert_eq!(landed, [true, false, true]);
    let error = told[1].as_ref().err().unwrap();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("was removed before its commit"), "{error}");
}

/// Work that stops in the middle leaves nobody waiting, and the next one begins anew.
#[test]
fn a_line_outlives_its_worker() {
    let (context, base, line) = line("stopped");
    block_on(async {
        let mut waiting = Box::pin(submit(&context, Some(&base), append(&context, 1, 1)));
        assert!(poll!(&mut waiting).is_pending());
        drop(Works { line: Arc::clone(&line), is_done: false });
        assert_eq!(waiting.await.err().unwrap().code(), Code::Internal);
        let done = submit(&context, Some(&base), append(&context, 1, 1)).await.unwrap();
        assert_eq!(done.version().get(), 1);
    });
}

/// The line keeps what landed last, and rests on its checkpoint as soon as there is one, whether it
/// landed alone or with others; an older version that comes to an end later changes nothing.
#[test]
fn a_line_rests_on_the_last_checkpoint() {
    let (context, base, line) = line_of("rests", 1);
    let last = || {
        let (there, _) = line.waiting().last.clone().unwrap();
        (there.version(), there.loaded().segment.checkpoint_version)
    };
    let mut before = base.clone();
    for (count, version) in [(1, 1), (2, 2)] {
        line.waiting().busy = true;
        let told = block_on(async {
            let submit = |_| Box::pin(submit(&context, Some(&base), append(&context, 1, 1)));
            let mut waiting: Vec<_> = (0..count).map(submit).collect();
            for it in &mut waiting {
                assert!(poll!(it).is_pending());
            }
            Works { line: Arc::clone(&line), is_done: false }.run().await;
            join_all(waiting).await
        });
        assert!(told.iter().all(Result::is_ok));
        let version = Version::new(version).unwrap();
        assert_eq!(last(), (version, Some(version)));
        line.rests(&before);
        assert_eq!(last(), (version, Some(version)));
        before = line.waiting().last.clone().unwrap().0;
    }
}
