//! Answers to a commit that are lost, late or wrong, over real connections: what is told is true,
//! and nothing lands twice.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use lakebed::{
    Append, Code, Committed, Env, Error, Op, Overwrite, Resolved, Snapshot, Table, Version, txn,
};
use lakebed_log::commit::Draft;
use lakebed_log::conflict::{Intent, Reads};
use lakebed_testkit::cloud::{CloudServer, Dialect, Fault};

use crate::help::{ids, rows_of};
use crate::places;

/// Commits that meet one fault each, of every kind and for every operation.
const ROUNDS: u32 = 30;
/// How long the client waits for an answer.
const TIMEOUT: Duration = Duration::from_millis(300);
/// How long it waits in vain.
const SILENCE: Duration = Duration::from_millis(400);

/// A fault by its name; the second of two does nothing before the answer is lost.
const FAULTS: [(&str, [Fault; 2]); 6] = [
    ("500", [Fault::RefusedAfter(500, "InternalError"), Fault::Refused(500, "InternalError")]),
    ("503", [Fault::RefusedAfter(503, "SlowDown"), Fault::Refused(503, "SlowDown")]),
    ("reset", [Fault::ResetAfter, Fault::ResetBefore]),
    ("timeout", [Fault::Silent(SILENCE), Fault::SilentBefore(SILENCE)]),
    ("409", [Fault::Refused(409, "ConditionalRequestConflict"); 2]),
    ("late", [Fault::Late(Duration::from_millis(20)), Fault::Late(Duration::from_millis(60))]),
];

fn start() -> (CloudServer, Env) {
    let server = CloudServer::start(Dialect::S3).unwrap();
    let env = places::s3("lost", &server.endpoint(), "bucket").env();
    let env = env.with_option("timeout", format!("{}ms", TIMEOUT.as_millis()));
    (server, env)
}

/// Does `ROUNDS` times what `operate` does, at each of which the first put meets a fault; every one
/// is told as landed at the next version, and every commit is in the log once.
fn check(operate: impl AsyncFn(&Env, &Table, i64) -> Result<Committed, Error>, expected: &[i64]) {
    for (name, faults) in FAULTS {
        let (server, env) = start();
        let table = Table::open_with(&env, "s3://bucket/t").unwrap();
        block_on(async {
            table.append(ids([-1]), Append::new()).await.unwrap();
            for round in 0..ROUNDS {
                server.plan([faults[usize::from(round % 2 == 1)]]);
                let done = operate(&env, &table, i64::from(round)).await;
                let done = done.unwrap_or_else(|it| panic!("{name}, round {round}: {it:?}"));
                assert_eq!(server.left(), 0, "{name}");
                assert!(done.changed(), "{name}, round {round}");
                assert_eq!(done.version(), Version::from(round + 1), "{name}");
            }
            // What is late may still be on its way.
            env.sleep(Duration::from_millis(100)).await;
            let now = Table::open_with(&env, "s3://bucket/t").unwrap().snapshot().await.unwrap();
            assert_eq!(now.version(), Version::from(ROUNDS), "{name}");
            assert_eq!(rows_of(&now).await, expected, "{name}");
            assert_eq!(identities(&table).await, usize::try_from(ROUNDS).unwrap() + 1, "{name}");
        });
    }
}

/// How many different commits the log holds.
async fn identities(table: &Table) -> usize {
    let history = table.history().await.unwrap();
    let all = history.map_ok(|it| it.info.txn_id().unwrap().to_string()).boxed();
    let all: Vec<String> = all.try_collect().await.unwrap();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "a commit landed twice");
    all.len()
}

/// spec: TXN-22, STORE-6
#[test]
fn appends_are_told_truly() {
    let append =
        async |_: &Env, table: &Table, round: i64| table.append(ids([round]), Append::new()).await;
    check(append, &(-1..ROUNDS as i64).collect::<Vec<_>>());
}

/// An append of an application lands once, and a second run of it finds that it did.
///
/// spec: TXN-22, STORE-6
#[test]
fn appends_of_an_application_are_told_truly() {
    let append = async |_: &Env, table: &Table, round: i64| {
        let once = Append::new().once("app", round);
        let done = table.append(ids([round]), once.clone()).await?;
        let again = table.append(ids([round]), once).await?;
        assert!(!again.changed(), "round {round} landed twice");
        Ok(done)
    };
    check(append, &(-1..ROUNDS as i64).collect::<Vec<_>>());
}

/// spec: TXN-22, STORE-6
#[test]
fn overwrites_are_told_truly() {
    let overwrite = async |_: &Env, table: &Table, round: i64| {
        table.overwrite(ids([round, round]), Overwrite::all()).await
    };
    let last = ROUNDS as i64 - 1;
    check(overwrite, &[last, last]);
}

/// A commit that changes the table's properties, as the verbs for schema and properties make it.
///
/// spec: TXN-22, STORE-6
#[test]
fn changes_of_metadata_are_told_truly() {
    let change = async |env: &Env, table: &Table, round: i64| {
        let base = table.snapshot().await?;
        let draft = with_property(env, &base, round);
        let store = env.open("s3://bucket/t")?;
        let done = txn::commit(env, &Op::default(), &store, Some(&base), draft).await?;
        let now = table.snapshot().await?;
        assert_eq!(now.head().metadata.configuration["round"], round.to_string());
        Ok(done)
    };
    check(change, &[-1]);
}

fn with_property(env: &Env, base: &Snapshot, round: i64) -> Draft {
    let mut metadata = base.head().metadata.clone();
    metadata.configuration.insert("round".to_string(), round.to_string());
    Draft {
        txn_id: env.id().to_string(),
        operation: "SET TBLPROPERTIES".to_string(),
        metadata: Some(metadata),
        intent: Intent { reads: Reads::Nothing, metadata: true, ..Intent::default() },
        ..Draft::default()
    }
}

/// Where the store goes away with the answer, the outcome is unknown and said to be; once it is
/// back, the id tells what became of the commit.
///
/// spec: TXN-23, STORE-6
#[test]
fn what_stays_unknown_is_resolved_later() {
    let (server, env) = start();
    let table = Table::open_with(&env, "s3://bucket/t").unwrap();
    block_on(async {
        table.append(ids([0]), Append::new()).await.unwrap();
        let hurried = table.with_op(Op::new(Duration::from_millis(1_500)));

        server.plan([Fault::OutageAfter]);
        let err = hurried.append(ids([1]), Append::new()).await.err().unwrap();
        assert_eq!(err.code(), Code::OutcomeUnknown, "{err:?}");
        let landed = err.unresolved().unwrap().id.clone();
        assert!(table.resolve(&landed).await.is_err(), "the store is still away");
        server.recover();
        assert_eq!(table.resolve(&landed).await.unwrap(), Resolved::Committed(Version::from(1)));

        server.plan(std::iter::repeat_n(Fault::Refused(409, "ConditionalRequestConflict"), 9_999));
        let err = hurried.append(ids([2]), Append::new()).await.err().unwrap();
        assert_eq!(err.code(), Code::OutcomeUnknown, "{err:?}");
        let open = err.unresolved().unwrap().id.clone();
        server.recover();
        assert_eq!(table.resolve(&open).await.unwrap(), Resolved::Unknown);
        table.append(ids([3]), Append::new()).await.unwrap();
        assert_eq!(table.resolve(&open).await.unwrap(), Resolved::NotCommitted);
        assert_eq!(rows_of(&table.snapshot().await.unwrap()).await, [0, 1, 3]);
    });
}
