//! Two drafts, the second made on top of the first, as one.
//!
//! Whoever does several things in one commit does each of them against the table as the ones before
//! have left it. What they come to is one draft against the table as it was: a file that the second
//! removes and the first has added is in neither, and what either has read is read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::{Draft, VectorChange};
use crate::action::{Add, Remove};
use crate::conflict::{Intent, Reads};
use crate::expr::Expr;
use crate::uri;

/// `operation` of a commit that is made of several.
pub const SEVERAL: &str = "TRANSACTION";

impl Draft {
    /// Both as one. `next` was made on top of this one; what the two are called is kept in
    /// `operationParameters`.
    ///
    /// # Source
    ///
    /// `spec/transactions.md`, MULTI-2 to MULTI-4.
    #[must_use]
    pub fn then(mut self, next: Draft) -> Draft {
        let parameters = described_both(&self, &next);
        let mut intent = self.intent.joined(next.intent);
        let vectors = joined_vectors(std::mem::take(&mut self.vectors), next.vectors);
        let mut staged: BTreeMap<_, _> = self.adds.drain(..).map(|it| (key_of(&it), it)).collect();
        let mut removed: BTreeMap<_, _> =
            self.removes.drain(..).map(|it| (key_of_removed(&it), it)).collect();
        for remove in next.removes {
            let key = key_of_removed(&remove);
            match staged.remove(&key) {
                Some(_) => drop(intent.removes.remove(&key)),
                None => drop(removed.insert(key, remove)),
            }
        }
        for add in next.adds {
            let key = key_of(&add);
            removed.remove(&key);
            staged.insert(key, add);
        }
        for (key, sum) in added_up(&self.metrics, next.metrics) {
            self.metrics.insert(key, sum);
        }
        self.txns.retain(|it| next.txns.iter().all(|new| new.app_id != it.app_id));
        self.txns.extend(next.txns);
        self.domains.retain(|it| next.domains.iter().all(|new| new.domain != it.domain));
        self.domains.extend(next.domains);
        let with_vector: BTreeSet<_> = staged.keys().filter(|it| it.1.is_some()).collect();
        let told = |path: &String| with_vector.iter().any(|it| it.0 == *path);
        let vectors = vectors.into_iter().filter(|it| told(&it.0)).collect();
        Draft {
            operation: SEVERAL.into(),
            parameters,
            user_metadata: next.user_metadata.or(self.user_metadata),
            protocol: next.protocol.or(self.protocol),
            metadata: next.metadata.or(self.metadata),
            adds: staged.into_values().collect(),
            removes: removed.into_values().collect(),
            intent,
            vectors,
            ..self
        }
    }
}

/// From what was deleted before the first to what is deleted after the second.
fn joined_vectors(mut first: Vectors, next: Vectors) -> Vectors {
    for (path, change) in next {
        let before = match first.remove(&path) {
            Some(first) => first.before,
            None => change.before,
        };
        first.insert(path, VectorChange { before, after: change.after });
    }
    first
}

/// By canonical path.
type Vectors = BTreeMap<String, VectorChange>;

impl Intent {
    /// Both together. Of the second nothing is kept of the files that it was made on: they are
    /// those of the first with its changes, which no version has.
    #[must_use]
    pub fn joined(mut self, other: Intent) -> Intent {
        self.reads = self.reads.joined(other.reads);
        self.removes.extend(other.removes);
        self.apps.extend(other.apps);
        self.domains.extend(other.domains);
        self.metadata |= other.metadata;
        self.protocol |= other.protocol;
        self.rearranges_only &= other.rearranges_only;
        self
    }
}

impl Reads {
    /// What either of them read.
    #[must_use]
    pub fn joined(self, other: Reads) -> Reads {
        match (self, other) {
            (Reads::Nothing, it) | (it, Reads::Nothing) => it,
            (Reads::Matching(a), Reads::Matching(b)) if a == b => Reads::Matching(a),
            (Reads::Matching(a), Reads::Matching(b)) => {
                Reads::Matching(Box::new(Expr::Or(vec![*a, *b])))
            }
            _ => Reads::Everything,
        }
    }
}

type Key = (String, Option<String>);

fn key_of(add: &Add) -> Key {
    let vector = add.deletion_vector.as_ref().map(|it| it.unique_id());
    (uri::canonical(&add.path).into_owned(), vector)
}

fn key_of_removed(remove: &Remove) -> Key {
    let vector = remove.deletion_vector.as_ref().map(|it| it.unique_id());
    (uri::canonical(&remove.path).into_owned(), vector)
}

/// `operationParameters`: the operations in order, as JSON text.
fn described_both(first: &Draft, next: &Draft) -> Map<String, Json> {
    let described = |it: &Draft| {
        json!({"operation": it.operation, "operationParameters": it.parameters}).to_string()
    };
    let before = first.parameters.get("operations").and_then(Json::as_str);
    let before = before.filter(|_| first.operation == SEVERAL);
    let all = match before.and_then(|it| it.strip_prefix('[')?.strip_suffix(']')) {
        Some(before) => format!("[{before},{}]", described(next)),
        None => format!("[{},{}]", described(first), described(next)),
    };
    Map::from_iter([("operations".to_string(), Json::from(all))])
}

/// Metrics of both: numbers as text, added up.
pub fn added_up(one: &Map<String, Json>, other: Map<String, Json>) -> Map<String, Json> {
    let number = |it: Option<&Json>| it.and_then(Json::as_str).and_then(|it| it.parse().ok());
    let mut all = one.clone();
    for (key, value) in other {
        let sum = match (number(all.get(&key)), number(Some(&value))) {
            (Some(a), Some(b)) => Json::from(u64::saturating_add(a, b).to_string()),
            _ => value,
        };
        all.insert(key, sum);
    }
    all
}

/// Of the object keys in `before` those that `after` no longer names. A path of the log is an
/// encoded key; a key is not decoded once more.
pub fn dropped(before: &BTreeSet<String>, after: &Draft) -> Vec<String> {
    let named: BTreeSet<_> = after.adds.iter().map(|it| uri::canonical(&it.path)).collect();
    before.iter().filter(|it| !named.contains(it.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::SetTransaction;

    fn add(path: &str) -> Add {
        Add { path: path.into(), size: 1, data_change: true, ..Add::default() }
    }

    fn remove(path: &str) -> Remove {
        Remove { path: path.into(), data_change: true, ..Remove::default() }
    }

    fn draft(adds: &[&str], removes: &[&str]) -> Draft {
        let mut draft = Draft {
            operation: "WRITE".into(),
            adds: adds.iter().map(|it| add(it)).collect(),
            removes: removes.iter().map(|it| remove(it)).collect(),
            ..Draft::default()
        };
        draft.intent.removes = removes.iter().map(|it| (it.to_string(), None)).collect();
        draft.metrics.insert("numFiles".into(), adds.len().to_string().into());
        draft
    }

    fn paths(draft: &Draft) -> (Vec<&str>, Vec<&str>) {
        let adds = draft.adds.iter().map(|it| it.path.as_str()).collect();
        (adds, draft.removes.iter().map(|it| it.path.as_str()).collect())
    }

    /// spec: MULTI-2
    #[test]
    fn what_comes_and_goes_is_in_neither() {
        let rows: [(Draft, Draft, &[&str], &[&str]); 5] = [
            (draft(&["a"], &[]), draft(&["b"], &[]), &["a", "b"], &[]),
            (draft(&["a"], &[]), draft(&["b"], &["a"]), &["b"], &[]),
            (draft(&["a"], &["x"]), draft(&["b"], &["a", "y"]), &["b"], &["x", "y"]),
            // However it is spelled.
            (draft(&["a%20b"], &[]), draft(&[], &["a b"]), &[], &[]),
            // What left comes back.
            (draft(&[], &["x"]), draft(&["x"], &[]), &["x"], &[]),
        ];
        for (first, next, adds, removes) in rows {
            let both = first.then(next);
            assert_eq!(paths(&both), (adds.to_vec(), removes.to_vec()));
            let told: Vec<_> = both.intent.removes.iter().map(|it| it.0.as_str()).collect();
            let named = |it: &&str| told.contains(it);
            assert!(removes.iter().all(named), "{told:?}");
            assert!(!named(&"a") && !named(&"a b"));
        }
    }

    /// spec: MULTI-3
    #[test]
    fn what_either_read_is_read() {
        let matching = |text: &str| Reads::Matching(Box::new(text.parse().unwrap()));
        let text = |it: Reads| match it {
            Reads::Nothing => "nothing".to_string(),
            Reads::Matching(it) => it.to_string(),
            Reads::Everything => "everything".to_string(),
        };
        let join = |a: Reads, b: Reads| text(a.joined(b));
        assert_eq!(join(Reads::Nothing, Reads::Nothing), "nothing");
        assert_eq!(join(Reads::Nothing, matching("a = 1")), "a = 1");
        assert_eq!(join(matching("a = 1"), matching("a = 1")), "a = 1");
        let either = join(matching("a = 1"), matching("b = 2"));
        assert!(either.contains("a = 1") && either.contains("b = 2"), "{either}");
        assert_eq!(join(matching("a = 1"), Reads::Everything), "everything");
    }

    /// spec: MULTI-4
    #[test]
    fn the_rest_is_the_newer_or_both() {
        let txn =
            |app: &str, version| SetTransaction { app_id: app.into(), version, last_updated: None };
        let mut first = draft(&["a"], &[]);
        first.user_metadata = Some("first".into());
        first.txns = vec![txn("x", 1), txn("y", 1)];
        let mut next = draft(&["b", "c"], &[]);
        next.txns = vec![txn("x", 2)];
        let both = first.then(next).then(draft(&["d"], &[]));
        assert_eq!(both.txns, [txn("y", 1), txn("x", 2)]);
        assert_eq!(both.user_metadata.as_deref(), Some("first"));
        assert_eq!((both.operation.as_str(), &both.metrics["numFiles"]), (SEVERAL, &"4".into()));
        let said: Json =
            serde_json::from_str(both.parameters["operations"].as_str().unwrap()).unwrap();
        assert_eq!(said.as_array().unwrap().len(), 3);
        assert_eq!(said[2]["operation"], "WRITE");
        let written: BTreeSet<String> = ["a".to_string(), "gone".to_string()].into();
        assert_eq!(dropped(&written, &both), ["gone"]);
        let escaped: BTreeSet<String> = ["p=a%3Ab/1".to_string(), "p=a b/2".to_string()].into();
        let kept = draft(&["p=a%253Ab/1", "p=a%20b/2"], &[]);
        assert!(dropped(&escaped, &kept).is_empty());
    }
}
