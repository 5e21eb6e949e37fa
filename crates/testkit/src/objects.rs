//! What a simulated store holds, and all that it ever held.
//!
//! The journal is what the checks go by: whatever cleanup and vacuum delete, it still knows. The
//! *true* commit of a version is the first that was ever created under its name. One that is
//! created there again, after cleanup had deleted the first, is an impostor: no store can refuse
//! it, so nobody may believe it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lakebed::Timestamp;

use crate::choices::Client;

/// What is stored, shared by the handles of all clients.
#[derive(Default)]
pub struct Objects(Mutex<State>);

#[derive(Default)]
struct State {
    map: BTreeMap<String, Object>,
    /// Each key with what was there from when on.
    past: BTreeMap<String, Vec<(Timestamp, Option<Object>)>>,
    journal: Vec<Event>,
    committed: BTreeSet<String>,
    violations: Vec<String>,
    tag: u64,
}

/// An object as it is now.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// When it was stored.
    pub modified: Timestamp,
    /// Another one for every put.
    pub tag: u64,
}

/// One change of the store.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// By whose request.
    pub client: Client,
    /// Where.
    pub key: String,
    /// What is there from then on; `None` for nothing.
    pub bytes: Option<Bytes>,
}

impl Objects {
    /// An object, as it is now.
    pub fn get(&self, key: &str) -> Option<Object> {
        self.state().map.get(key).cloned()
    }

    /// What is below a prefix and after a key, in the order of the keys.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Vec<(String, Object)> {
        let state = self.state();
        let below = state.map.range(prefix.to_string()..);
        let below = below.take_while(|it| it.0.starts_with(prefix));
        let after = below.filter(|it| after.is_none_or(|after| after < it.0.as_str()));
        after.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// The same as it was at an earlier time.
    pub fn list_at(
        &self,
        at: Timestamp,
        prefix: &str,
        after: Option<&str>,
    ) -> Vec<(String, Object)> {
        let state = self.state();
        let below = state.past.range(prefix.to_string()..);
        let below = below.take_while(|it| it.0.starts_with(prefix));
        let after = below.filter(|it| after.is_none_or(|after| after < it.0.as_str()));
        let there = after.filter_map(|(key, changes)| {
            let change = changes.iter().rfind(|it| it.0 <= at)?;
            Some((key.clone(), change.1.clone()?))
        });
        there.collect()
    }

    /// Every change, in order.
    pub fn journal(&self) -> Vec<Event> {
        self.state().journal.clone()
    }

    /// What no store may see: a commit replaced, a version out of order.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Stores, or gives `None` if something is there. A commit is checked against the log it joins.
    pub fn put(
        &self,
        (client, at): (Client, Timestamp),
        key: &str,
        bytes: Bytes,
        create: bool,
    ) -> Option<u64> {
        let mut state = self.state();
        if create && state.map.contains_key(key) {
            return None;
        }
        if let Some(version) = commit_version(key) {
            if state.map.contains_key(key) {
                state.violations.push(format!("I1: commit {version} is replaced"));
            }
            let previous = version.checked_sub(1).map(|it| key.replace(&name(version), &name(it)));
            if previous.is_some_and(|it| !state.committed.contains(&it)) {
                let what = format!("I2: commit {version} comes before its predecessor");
                state.violations.push(what);
            }
            state.committed.insert(key.to_string());
        }
        state.tag += 1;
        let tag = state.tag;
        let event = Event { at, client, key: key.to_string(), bytes: Some(bytes.clone()) };
        state.journal.push(event);
        let object = Object { bytes, modified: at, tag };
        state.past.entry(key.to_string()).or_default().push((at, Some(object.clone())));
        state.map.insert(key.to_string(), object);
        Some(tag)
    }

    /// Deletes, if it is there.
    pub fn delete(&self, (client, at): (Client, Timestamp), key: &str) {
        let mut state = self.state();
        if state.map.remove(key).is_some() {
            state.past.entry(key.to_string()).or_default().push((at, None));
            state.journal.push(Event { at, client, key: key.to_string(), bytes: None });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of a commit's key.
pub fn commit_version(key: &str) -> Option<u64> {
    let (_, file) = key.rsplit_once("_delta_log/")?;
    let digits = file.strip_suffix(".json").filter(|it| it.len() == 20)?;
    digits.parse().ok()
}

fn name(version: u64) -> String {
    format!("{version:020}.json")
}
