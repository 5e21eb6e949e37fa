//! What is told of a commit that another one has made superfluous.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{Int64Array, RecordBatch};
use futures::executor::block_on;

use super::*;
use crate::append::{self, Append};
use crate::data_files;
use crate::history::{self, Resolved};
use crate::overwrite::{self, Overwrite};
use crate::store::frail::frail;
use crate::table::Table;
use crate::transaction::Transaction;

fn row() -> RecordBatch {
    let ids = Arc::new(Int64Array::from(vec![1]));
    RecordBatch::try_from_iter([("id", ids as _)]).unwrap()
}

/// Whoever brought it about may not have got so far as to make it durable, and may be dead by now.
/// So it is made durable first, and told only then; whichever way it was found.
///
/// spec: STORE-12
#[test]
fn what_is_there_already_is_there_for_good() {
    let env = Env::tokio();
    let table = Table::open_with(&env, "memory://told/there").unwrap();
    let once = || Append::new().once("app", 1);
    block_on(table.append(row(), once())).unwrap();
    let files = block_on(table.write_files(row(), Append::new())).unwrap();
    let base = block_on(table.commit_files(vec![files.clone()], Append::new())).unwrap().snapshot();
    let txn_id = env.id().to_string();
    let draft = Draft { txn_id: txn_id.clone(), operation: "WRITE".into(), ..Draft::default() };
    let base = block_on(commit(&env, &Op::default(), base.store(), Some(&base), draft)).unwrap();
    let base = base.snapshot();

    let (store, fails) = frail(base.store());
    let context = Context::new(&env, &Op::default(), &store);
    let txn = SetTransaction { app_id: "app".into(), version: 1, last_updated: None };
    let check = |lost: bool, what: &str, told: Result<bool>| match (lost, told) {
        (false, Ok(is_there)) => assert!(is_there, "{what}"),
        (true, Err(it)) => assert_eq!(it.code(), Code::Unavailable, "{what}"),
        (_, told) => panic!("{what}: {told:?}"),
    };
    let unchanged = |it: Result<Committed>| it.map(|it| !it.changed());
    for lost in [false, true] {
        fails.sync.store(lost, Ordering::Relaxed);
        let (plain, options) = (Append::new(), once());
        let appended = append::append(&context, Some(&base), row().into(), &options);
        check(lost, "append", unchanged(block_on(appended)));
        let options = Overwrite::all().options(once());
        let over = overwrite::overwrite(&context, Some(&base), row().into(), &options);
        check(lost, "overwrite", unchanged(block_on(over)));
        let again = data_files::commit(&context, &base, vec![files.clone()], &plain);
        check(lost, "files", unchanged(block_on(again)));
        let mut several = Transaction::new(context.clone(), base.clone()).unwrap();
        assert!(!several.once("app", 1));
        check(lost, "transaction", unchanged(block_on(several.commit())));
        let draft = Draft { txns: vec![txn.clone()], ..Draft::default() };
        let staged = Staged { once: true, joins: true, ..Staged::new(draft).unwrap() };
        check(lost, "group", unchanged(block_on(commit_staged(&context, Some(&base), staged))));
        for id in [txn_id.clone(), format!("{txn_id}@2")] {
            let resolved = block_on(history::resolve(&context, &id));
            check(lost, &id, resolved.map(|it| it == Resolved::Committed(base.version())));
        }
    }
}
