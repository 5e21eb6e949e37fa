//! What an attempt tells of a commit that another one brought about.

use std::sync::atomic::Ordering;

use futures::executor::block_on;
use lakebed_log::schema::Schema;

use super::*;
use crate::create::Create;
use crate::env::Env;
use crate::op::Op;
use crate::snapshot::Snapshot;
use crate::store::frail::frail;
use crate::table::Table;

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
    let (store, fails) = frail(base.store());
    let context = Context::new(&env, &Op::default(), &store);
    let ours = draft(&env);
    for it in [&draft(&env), &draft(&env), &ours] {
        assert!(run(&context, &base, it).is_ok());
    }

    let again = run(&context, &base, &ours).unwrap_or_else(|it| panic!("{}", it.error));
    assert!(matches!(again, Landed::Ours(version, _) if version.get() == 3));
    fails.sync.store(true, Ordering::Relaxed);
    let Err(doubted) = run(&context, &base, &ours) else { panic!("it is not durable") };
    assert!(doubted.open, "its files stay");
    assert_eq!(doubted.error.code(), Code::OutcomeUnknown);
    assert!(doubted.error.to_string().contains('3'), "{}", doubted.error);
}

/// A data file that somebody has removed before its name was durable: its commit is not made, and
/// those of others are, whoever of them finds out.
///
/// spec: STORE-13
#[cfg(unix)]
#[test]
fn one_that_has_lost_its_files() {
    for innocent_first in [true, false] {
        let folder = tempfile::TempDir::new().unwrap();
        let env = Env::tokio();
        let table = Table::open_with(&env, folder.path().to_str().unwrap()).unwrap();
        let create = Create::new(Schema::parse_ddl("id long").unwrap());
        let base = block_on(table.create_here(create)).unwrap().snapshot();
        let context = Context::new(&env, &Op::default(), base.store());
        let upload = |name: &str| {
            let upload = base.store().create(&context.op, name);
            block_on(async { upload.await?.finish().await }).unwrap();
            let mut draft = draft(&env);
            draft.adds[0].path = name.to_string();
            draft
        };
        let (innocent, bereft) = (upload("a/x.parquet"), upload("b/x.parquet"));
        std::fs::remove_dir_all(folder.path().join("b")).unwrap();
        let order = if innocent_first { [&innocent, &bereft] } else { [&bereft, &innocent] };
        for it in order {
            match run(&context, &base, it) {
                Ok(landed) => {
                    assert_eq!(it.txn_id, innocent.txn_id);
                    assert!(matches!(landed, Landed::Ours(version, _) if version.get() == 1));
                }
                Err(Failure { error, open }) => {
                    assert_eq!((&it.txn_id, open), (&bereft.txn_id, false), "{error}");
                    assert_eq!(error.code(), Code::Unavailable);
                    assert!(error.to_string().contains("removed before its commit"), "{error}");
                }
            }
        }
        let later = Context::new(&env, &Op::default(), base.store());
        assert!(run(&later, &base, &upload("b/y.parquet")).is_ok());
    }
}
