//! The deeds, applied in the order of the log, give the table at each version; or, where the table
//! allows more than that, as if an overwrite had read an earlier version than the one before it.
//!
//! ```text
//!   Serializable        it has read the version before it
//!   WriteSerializable   it has read one since it began, and what it missed are appends
//!   SnapshotIsolation   it has read one since it began
//! ```
//!
//! A row that it has missed stays. One that it has read and that others removed meanwhile would be
//! a conflict by any level.

use std::collections::BTreeMap;

use lakebed::IsolationLevel;

use super::{Case, Landings, minus};
use crate::history::{Change, Deed, MARK};
use crate::oracle::Row;

/// The rows of a version, each with what brought it.
type Model = BTreeMap<Row, Brought>;

/// By which version a row came, and was that an append?
#[derive(Clone, Copy)]
struct Brought {
    version: u64,
    by_append: bool,
}

/// I8: each version is the one before it, changed by the deeds that landed there.
pub(super) fn check(case: &Case, landings: &Landings, broken: &mut Vec<String>) {
    let mut models: Vec<Model> = Vec::new();
    let mut mark: Option<&String> = None;
    for (version, commit) in (0u64..).zip(&case.truth) {
        let rows = commit.rows();
        let mut model = models.last().cloned().unwrap_or_default();
        let here = landings.iter().filter(|it| *it.1 == version);
        for deed in here.filter_map(|it| case.deeds.get(*it.0)) {
            let read = read_by(case, deed, version, &models, &rows);
            apply(deed, read, version, &mut model);
            if let Change::Property(it) = &deed.change {
                mark = Some(it);
            }
        }
        let expected: Vec<Row> = model.keys().cloned().collect();
        if rows != expected {
            let (more, less) = (minus(&rows, &expected), minus(&expected, &rows));
            broken.push(format!("I8: version {version} has {more:?} too much, lacks {less:?}"));
            // One wrong version is enough.
            return;
        }
        if commit.configuration.get(MARK) != mark {
            broken.push(format!("I8: version {version} does not have the mark {mark:?}"));
        }
        models.push(model);
    }
}

fn apply(deed: &Deed, read: Option<u64>, version: u64, model: &mut Model) {
    let seen = |it: &Brought| read.is_none_or(|read| it.version <= read);
    model.retain(|row, brought| !(deed.change.replaces(row) && seen(brought)));
    let brought = Brought { version, by_append: matches!(deed.change, Change::Append(_)) };
    model.extend(deed.change.rows().iter().map(|it| (it.clone(), brought)));
}

/// The version that an overwrite may have read so that `rows` came of it; `None` is the one before
/// it.
fn read_by(case: &Case, deed: &Deed, version: u64, models: &[Model], rows: &[Row]) -> Option<u64> {
    let is_overwrite = matches!(deed.change, Change::Overwrite(..));
    if !is_overwrite || case.isolation == IsolationLevel::Serializable {
        return None;
    }
    let before = version.checked_sub(1)?;
    let seen = deed.began.plus_millis(-case.list_lag_millis);
    let began = case.truth.iter().rposition(|it| it.at < seen).unwrap_or(0) as u64;
    let model = models.last()?;
    let comes_of = |read: u64| {
        let mut tried = model.clone();
        apply(deed, Some(read), version, &mut tried);
        tried.keys().eq(rows)
    };
    let may_have_read = |read: u64| {
        let mut missed =
            model.iter().filter(|it| deed.change.replaces(it.0) && read < it.1.version);
        let by_appends = missed.all(|it| it.1.by_append);
        let at = usize::try_from(read).ok().and_then(|it| models.get(it));
        let mut had = at.into_iter().flatten().map(|it| it.0).filter(|it| deed.change.replaces(it));
        had.all(|it| model.contains_key(it))
            && (by_appends || case.isolation == IsolationLevel::SnapshotIsolation)
    };
    (began..=before).rev().find(|it| comes_of(*it) && may_have_read(*it))
}
