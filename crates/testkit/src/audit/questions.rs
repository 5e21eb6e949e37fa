//! What the engine says after a run, under a clear sky.

use std::sync::{Arc, Mutex, PoisonError};

use lakebed::op::Op;
use lakebed::table::Resolved;
use lakebed::{Append, ErrorKind, Result, Table, Version};

use super::{Case, Landings, minus};
use crate::choices::Client;
use crate::client::{self, LOCATION, Shared};
use crate::history::{Asked, Deed, Filter, Told};
use crate::oracle::Row;
use crate::weather::Weather;

/// Who asks.
const AUDITOR: Client = 1_000_000;

/// I8 to I12 and I20: asks for every version that there was, for every outcome that was unknown,
/// and for one more append.
///
/// # Errors
///
/// A world that does not come to its end.
pub fn questions(
    shared: &Shared,
    case: Case,
    landings: Landings,
) -> std::result::Result<Vec<String>, String> {
    let broken: Arc<Mutex<Vec<String>>> = Arc::default();
    let shared = Shared { weather: Weather::clear(), ..shared.clone() };
    let (world, told) = (Arc::clone(&shared.world), Arc::clone(&broken));
    world.spawn(
        AUDITOR,
        Box::pin(async move {
            let found = ask(&shared, &case, &landings).await;
            let found = found.unwrap_or_else(|it| vec![format!("I20: the auditor fails: {it:?}")]);
            told.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }),
    );
    world.run()?;
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(broken.clone())
}

async fn ask(shared: &Shared, case: &Case, landings: &Landings) -> Result<Vec<String>> {
    let side = shared.world.side(AUDITOR, 0);
    side.reseed(0, 0);
    let (env, _) = shared.env(AUDITOR, &side);
    let table = Table::open_with(&env, LOCATION)?;
    let mut broken = Vec::new();
    if case.truth.is_empty() {
        return Ok(broken);
    }
    for version in (0u64..).take(case.truth.len()) {
        broken.extend(at_version(shared, case, &table, version).await);
    }
    for (number, deed) in case.deeds.iter().enumerate() {
        broken.extend(outcome(case, &table, deed, landings.get(&number).copied()).await);
    }
    broken.extend(newest(shared, case, &table).await);
    Ok(broken)
}

/// A version reads as what it was, or, past the retention, not at all.
async fn at_version(shared: &Shared, case: &Case, table: &Table, version: u64) -> Option<String> {
    let truth = case.version(version)?.rows();
    let read = async {
        let snapshot = client::open(table, Asked::Version(version)).await?;
        client::rows(&snapshot, &Filter::default()).await
    };
    match read.await {
        Ok(rows) if rows == truth => None,
        Ok(rows) => {
            let (more, less) = (minus(&rows, &truth), minus(&truth, &rows));
            Some(format!("I10: version {version} reads with {more:?} and without {less:?}"))
        }
        Err(error) => {
            let now = shared.world.now();
            let within = |retention: i64| {
                let cut = now.plus_millis(-retention);
                case.passed(version).is_none_or(|it| cut <= it)
            };
            let retained = within(case.log_retention_millis.min(case.data_retention_millis));
            let is_gone = matches!(error.kind(), ErrorKind::NotFound);
            // Its log may be there still and its files not.
            let is_vacuumed =
                !within(case.data_retention_millis) && error.kind() == ErrorKind::Corrupt;
            let fine = !retained && (is_gone || is_vacuumed);
            (!fine).then(|| format!("I12: version {version} does not read: {error:?}"))
        }
    }
}

/// `resolve` says truly where an unknown commit stands, as far as the log still knows.
async fn outcome(case: &Case, table: &Table, deed: &Deed, at: Option<u64>) -> Option<String> {
    for told in &deed.told {
        let Told::Unknown(id) = told else { continue };
        if id.is_empty() {
            continue;
        }
        let own = id.split('@').next().unwrap_or_default();
        // Its rows may stand through a repeated try under another identity.
        let truth = (0u64..).zip(&case.truth).find(|it| it.1.txn_id == own).map(|it| it.0);
        let expected = truth.and_then(Version::new).map(Resolved::Committed);
        match table.resolve(id).await {
            Ok(resolved) if Some(resolved) == expected => {}
            Ok(Resolved::Unknown | Resolved::Expired) => {}
            Ok(Resolved::NotCommitted) if expected.is_none() => {}
            other => {
                return Some(format!(
                    "I6: {id} resolves to {other:?}, stands at {truth:?} ({at:?})"
                ));
            }
        }
    }
    None
}

/// The newest version opens, takes one more append without a retry, and shows it.
async fn newest(shared: &Shared, case: &Case, table: &Table) -> Option<String> {
    let mut expected = case.truth.last()?.rows();
    let last = case.truth.len() as u64 - 1;
    let read = async {
        let snapshot = table.snapshot().await?;
        Ok::<_, lakebed::Error>((
            snapshot.version().get(),
            client::rows(&snapshot, &Filter::default()).await?,
        ))
    };
    match read.await {
        Ok((version, rows)) if version == last && rows == expected => {}
        other => return Some(format!("I9: the newest version is {last}, read {other:?}")),
    }
    if shared.vectors {
        return None;
    }
    let row = Row { id: -1, day: "mon".to_string(), note: None };
    expected.push(row.clone());
    expected.sort_unstable();
    let op = Op::default();
    let more = async {
        let table = table.with_op(op.clone());
        let done = table.append(client::batch(&[row])?, Append::new()).await?;
        let rows = client::rows(&done.snapshot(), &Filter::default()).await?;
        Ok::<_, lakebed::Error>((done.version().get(), rows))
    };
    match more.await {
        Ok((version, rows)) if version == last + 1 && rows == expected => None,
        other => Some(format!("I20: one more append after version {last} gave {other:?}")),
    }
}
