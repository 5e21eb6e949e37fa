//! The check of a simulated run: what the clients were told, what the store went through, and what
//! the engine says of it afterwards, against what the log truly said.
//!
//! The log orders all commits, so the check is a walk along it: each version is found to be the one
//! before it changed by the deeds that landed there, whose rows say whose they are; and whatever
//! anybody read or was told of a version is compared with that. The names (I1, ..) are those of the
//! invariants in this crate's README.

use std::collections::{BTreeMap, BTreeSet};

use lakebed::{Code, ErrorKind, IsolationLevel, Timestamp};

use crate::history::{Asked, Change, Deed, Look, Told};
use crate::objects::Event;
use crate::oracle::Version;

mod deletions;
mod order;
mod questions;

pub use deletions::deletions;
pub use questions::questions;

/// All that a check looks at.
pub struct Case {
    /// What clients did.
    pub deeds: Vec<Deed>,
    /// What clients read.
    pub looks: Vec<Look>,
    /// All that the store went through.
    pub journal: Vec<Event>,
    /// Every version there ever was.
    pub truth: Vec<Version>,
    /// `delta.logRetentionDuration`
    pub log_retention_millis: i64,
    /// `delta.deletedFileRetentionDuration`
    pub data_retention_millis: i64,
    /// By how long a listing may have been behind.
    pub list_lag_millis: i64,
    /// `delta.isolationLevel`
    pub isolation: IsolationLevel,
    /// Were answers damaged in a way that may be blamed on the table?
    pub damaged: bool,
}

/// Where each deed landed.
pub type Landings = BTreeMap<usize, u64>;

impl Case {
    /// The version, if there ever was one.
    pub fn version(&self, version: u64) -> Option<&Version> {
        usize::try_from(version).ok().and_then(|it| self.truth.get(it))
    }

    /// When the version ceased to be the newest.
    pub fn passed(&self, version: u64) -> Option<Timestamp> {
        self.version(version.checked_add(1)?).map(|it| it.at)
    }
}

/// Everything that can be checked without asking the engine again.
pub fn check(case: &Case) -> (Landings, Vec<String>) {
    let mut broken = identities(case);
    let landings = landings(case, &mut broken);
    for (number, deed) in case.deeds.iter().enumerate() {
        told(case, deed, landings.get(&number).copied(), &mut broken);
    }
    order::check(case, &landings, &mut broken);
    for look in &case.looks {
        broken.extend(saw(case, look));
    }
    (landings, broken)
}

fn identities(case: &Case) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let named = case.truth.iter().filter(|it| !it.txn_id.is_empty());
    let twice = named.filter(|it| !seen.insert(&it.txn_id));
    twice.map(|it| format!("I3: transaction {} stands twice", it.txn_id)).collect()
}

fn landings(case: &Case, broken: &mut Vec<String>) -> Landings {
    let mut owners: BTreeMap<i64, usize> = BTreeMap::new();
    for (number, deed) in case.deeds.iter().enumerate() {
        owners.extend(deed.change.rows().iter().map(|it| (it.id, number)));
    }
    let mut landed = Landings::new();
    for (version, commit) in (0u64..).zip(&case.truth) {
        let moved: BTreeSet<i64> = commit.removed.iter().map(|it| it.id).collect();
        let mut here: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
        for row in commit.added.iter().filter(|it| !moved.contains(&it.id)) {
            match owners.get(&row.id) {
                Some(owner) => drop(here.entry(*owner).or_default().insert(row.id)),
                None => broken.push(format!("I8: version {version} adds {row:?} of nobody")),
            }
        }
        for (number, deed) in case.deeds.iter().enumerate() {
            let mark = format!("{}/{}", deed.client, deed.operation);
            let plain = matches!(deed.change, Change::Property(_) | Change::Delete(_));
            if plain && commit.user_metadata == mark {
                here.insert(number, BTreeSet::new());
            }
        }
        for (number, ids) in here {
            let Some(deed) = case.deeds.get(number) else { continue };
            let all: BTreeSet<i64> = deed.change.rows().iter().map(|it| it.id).collect();
            if ids != all {
                broken.push(format!("I8: version {version} has {ids:?} of {all:?}"));
            }
            if let Some(first) = landed.insert(number, version) {
                let what = format!("{:?} stands at {first} and at {version}", deed.change);
                broken.push(format!("I4: {what}"));
            }
        }
    }
    landed
}

/// What a client was told against what the log holds.
fn told(case: &Case, deed: &Deed, at: Option<u64>, broken: &mut Vec<String>) {
    let mut complain = |rule: &str, what: String| {
        let Deed { client, operation, .. } = deed;
        broken.push(format!("{rule}: operation {operation} of {client}: {what}"));
    };
    for told in &deed.told {
        match told {
            Told::Version(told) if at != Some(*told) => {
                complain("I6", format!("told version {told}, stands at {at:?}"));
            }
            Told::Unchanged if at.is_none() => complain("I6", "told it was there".to_string()),
            Told::Failed(code, text) => {
                let is_bug = match code.kind() {
                    ErrorKind::Internal | ErrorKind::Unsupported => true,
                    ErrorKind::Invalid => *code != Code::SchemaMismatch,
                    ErrorKind::Corrupt => !case.damaged,
                    _ => false,
                };
                if is_bug {
                    complain("I22", format!("failed by {text}"));
                }
            }
            _ => {}
        }
    }
    let failed = |it: &Told| matches!(it, Told::Failed(..));
    if at.is_some() && !deed.told.is_empty() && deed.told.iter().all(failed) {
        complain("I7", format!("told of failure, stands at {at:?}: {:?}", deed.told));
    }
}

/// Rows of the first that are not in the second.
pub fn minus<T: PartialEq + Clone>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().filter(|it| !b.contains(it)).cloned().collect()
}

/// What a reader saw against the version it says it saw.
fn saw(case: &Case, look: &Look) -> Option<String> {
    let who = format!("a read of {} at {:?}", look.client, look.asked);
    let (began, ended) = look.took;
    let seen = began.plus_millis(-case.list_lag_millis);
    match &look.told {
        Ok((version, rows)) => {
            let Some(truth) = case.version(*version) else {
                return Some(format!("I8: {who} found version {version}, which never was"));
            };
            let expected = look.filter.of(&truth.rows());
            if *rows != expected {
                let (more, less) = (minus(rows, &expected), minus(&expected, rows));
                return Some(format!(
                    "I8: {who} by {:?} found version {version} with {more:?} too much, without \
                     {less:?}",
                    look.filter
                ));
            }
            let is_wrong = match look.asked {
                Asked::Version(asked) => *version != asked,
                // What was committed before the read began must be seen.
                Asked::Newest => case.passed(*version).is_some_and(|it| it < seen),
                // It was there by then, and the next one was not, or came while it was read.
                Asked::Time(at) => {
                    at < truth.at || case.passed(*version).is_some_and(|it| it <= at && it < seen)
                }
            };
            is_wrong.then(|| format!("I8: {who} found version {version}"))
        }
        Err((code, text)) => {
            let is_bug = match code.kind() {
                ErrorKind::Internal | ErrorKind::Invalid | ErrorKind::Unsupported => true,
                ErrorKind::Corrupt => !case.damaged,
                ErrorKind::NotFound => !may_be_gone(case, look, *code),
                _ => false,
            };
            let took = ended.as_millis() - began.as_millis();
            is_bug.then(|| format!("I5: {who}, which took {took} ms, failed by {text}"))
        }
    }
}

/// May a reader be told that something is not there?
fn may_be_gone(case: &Case, look: &Look, code: Code) -> bool {
    let (began, ended) = look.took;
    let seen = began.plus_millis(-case.list_lag_millis);
    match (code, look.asked) {
        (Code::NotATable, _) => case.version(0).is_none_or(|it| seen <= it.at),
        (Code::VersionNotFound, Asked::Version(asked)) => {
            let was_there = case.version(asked).is_some_and(|it| it.at < seen);
            let oldest = ended.plus_millis(-case.log_retention_millis);
            let retained = case.passed(asked).is_none_or(|it| oldest <= it);
            !(was_there && retained)
        }
        (Code::VersionNotFound, Asked::Time(at)) => {
            // By the clock of the store, and of a time at which there was a version.
            let there = case.truth.iter().rposition(|it| it.at <= at);
            let oldest = ended.plus_millis(-case.log_retention_millis);
            there.is_none_or(|it| case.passed(it as u64).is_some_and(|it| it < oldest))
        }
        (Code::ExpiredSnapshot, _) => {
            case.data_retention_millis <= ended.as_millis() - began.as_millis()
        }
        _ => false,
    }
}
