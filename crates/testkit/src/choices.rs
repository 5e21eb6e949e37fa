//! One source of decisions for a simulated run: drawn from a seed, or read from a list.
//!
//! A decision is named by what is decided, by whom, in which of their operations, and by how often
//! it was decided there before. Its value is a hash of the seed and that name, so that taking one
//! client, one operation or one fault out of a run leaves the decisions of the others as they were.
//! A run keeps the decisions that differ from 0, and 0 is always the uneventful choice: no fault,
//! no delay, nothing to do. The list of a failing run is what is kept of it: a seed stops meaning
//! the same run as soon as the engine makes one request more, and the list still means nearly the
//! same, because a request more moves the decisions of one operation only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who decides: a client of the run, or [`WORLD`].
pub type Client = u32;

/// The client that stands for everything that no client does.
pub const WORLD: Client = u32::MAX;

/// Labels of decisions for or against a fault start with this.
pub const FAULT: &str = "fault-";

/// What is decided, by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Who decides.
    pub client: Client,
    /// In which of the client's operations; 0 is before the first.
    pub operation: u64,
    /// What is decided.
    pub label: String,
    /// How often it was decided there before.
    pub count: u64,
}

/// Decisions that differ from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions(BTreeMap<Name, u64>);

/// The source of decisions of one run.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Source {
    Seed(u64),
    List(Decisions),
}

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<Client, u64>,
    counts: BTreeMap<(&'static str, Client), u64>,
    made: Decisions,
    asked: Vec<Name>,
    trace: u64,
}

impl Choices {
    /// Draws from a seed.
    pub fn seeded(seed: u64) -> Choices {
        Choices { source: Source::Seed(seed), state: Mutex::default() }
    }

    /// Reads from a list; what is not in it is 0.
    pub fn replayed(list: Decisions) -> Choices {
        Choices { source: Source::List(list), state: Mutex::default() }
    }

    /// From here on the client decides within this operation.
    pub fn enter(&self, client: Client, operation: u64) {
        let mut state = self.state();
        state.operations.insert(client, operation);
        state.counts.retain(|(_, other), _| *other != client);
    }

    /// The next decision of this name. From a seed it is what `value` makes of 64 random bits.
    pub fn draw(&self, label: &'static str, client: Client, value: impl Fn(u64) -> u64) -> u64 {
        let mut state = self.state();
        let count = state.counts.entry((label, client)).or_default();
        let nth = *count;
        *count += 1;
        let operation = state.operations.get(&client).copied().unwrap_or(0);
        let name = Name { client, operation, label: label.to_string(), count: nth };
        let bits = hash(0, &name);
        let value = match &self.source {
            Source::Seed(seed) => value(hash(*seed, &name)),
            Source::List(list) => list.0.get(&name).copied().unwrap_or(0),
        };
        state.trace = mix(state.trace ^ bits ^ value);
        if label.starts_with(FAULT) {
            state.asked.push(name.clone());
        }
        if value != 0 {
            state.made.0.insert(name, value);
        }
        value
    }

    /// A number below `below`, which is at least 1.
    pub fn pick(&self, label: &'static str, client: Client, below: u64) -> u64 {
        let below = below.max(1);
        self.draw(label, client, |bits| bits % below).min(below - 1)
    }

    /// True once in `odds` times; never when replayed as uneventful.
    pub fn once_in(&self, label: &'static str, client: Client, odds: u64) -> bool {
        let odds = odds.max(1);
        self.draw(label, client, |bits| u64::from(bits % odds == 0)) == 1
    }

    /// The decisions made so far that differ from 0.
    pub fn made(&self) -> Decisions {
        self.state().made.clone()
    }

    /// Every decision for or against a fault, in order: where one could have been.
    pub fn asked(&self) -> Vec<Name> {
        self.state().asked.clone()
    }

    /// Takes something into the trace that is not a decision: an effect, an answer.
    pub fn note(&self, what: &str) {
        let mut state = self.state();
        state.trace = what.bytes().fold(state.trace, |trace, it| mix(trace ^ u64::from(it)));
    }

    /// A hash over every decision and note so far, in order: two runs that agree in it took the
    /// same course.
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Decisions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is the run uneventful?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one decision more.
    #[must_use]
    pub fn with(&self, name: Name, value: u64) -> Decisions {
        let mut more = self.clone();
        more.0.insert(name, value);
        more
    }

    /// Is there a decision of this name?
    pub fn names(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.0.iter().map(|(name, value)| (name, *value))
    }

    /// Smaller lists for which `fails` still holds: without whole clients, without whole
    /// operations, without halves, quarters, .. of what is left, then with smaller numbers.
    /// `attempts` bounds the number of runs.
    #[must_use]
    pub fn shrink(&self, attempts: usize, fails: impl Fn(&Decisions) -> bool) -> Decisions {
        let mut shrinker = Shrinker { kept: self.clone(), attempts, fails };
        shrinker.groups(|it| (it.client, 0));
        shrinker.groups(|it| (it.client, it.operation + 1));
        loop {
            let before = shrinker.kept.len();
            shrinker.pieces();
            if shrinker.kept.len() == before || shrinker.attempts == 0 {
                break;
            }
        }
        shrinker.values();
        shrinker.kept
    }
}

struct Shrinker<F> {
    kept: Decisions,
    attempts: usize,
    fails: F,
}

impl<F: Fn(&Decisions) -> bool> Shrinker<F> {
    fn accepts(&mut self, tried: BTreeMap<Name, u64>) -> bool {
        if self.attempts == 0 {
            return false;
        }
        self.attempts -= 1;
        let tried = Decisions(tried);
        let fails = (self.fails)(&tried);
        if fails {
            self.kept = tried;
        }
        fails
    }

    /// Leaves out all decisions that share a key, one key after another, the last first.
    fn groups(&mut self, key: impl Fn(&Name) -> (Client, u64)) {
        let keys: BTreeSet<_> = self.kept.0.keys().map(&key).collect();
        for group in keys.into_iter().rev() {
            let without = self.kept.0.iter().filter(|it| key(it.0) != group);
            let without: BTreeMap<_, _> = without.map(|(a, b)| (a.clone(), *b)).collect();
            if without.len() < self.kept.len() {
                self.accepts(without);
            }
        }
    }

    fn pieces(&mut self) {
        let mut piece = self.kept.len().div_ceil(2);
        while piece != 0 && self.attempts != 0 {
            let mut at = 0;
            while at < self.kept.len() && self.attempts != 0 {
                let all = self.kept.0.iter();
                let without = all.enumerate().filter(|(n, _)| *n < at || at + piece <= *n);
                let without = without.map(|(_, (name, value))| (name.clone(), *value)).collect();
                if !self.accepts(without) {
                    at += piece;
                }
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
    }

    /// Numbers without a meaning of their own, like times, are easier to read when they are round.
    fn values(&mut self) {
        for (name, value) in self.kept.0.clone() {
            for smaller in [1, value / 2] {
                if smaller != 0 && smaller < value {
                    let mut tried = self.kept.0.clone();
                    tried.insert(name.clone(), smaller);
                    if self.accepts(tried) {
                        break;
                    }
                }
            }
        }
    }
}

/// One decision a line: label, client, operation, count, value; `world` is [`WORLD`]. Lines that
/// start with `#` are for people.
impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Name { client, operation, label, count }, value) in &self.0 {
            match *client {
                WORLD => write!(f, "{label} world")?,
                client => write!(f, "{label} {client}")?,
            }
            writeln!(f, " {operation} {count} {value}")?;
        }
        Ok(())
    }
}

impl FromStr for Decisions {
    type Err = String;

    fn from_str(text: &str) -> Result<Decisions, String> {
        let line = |it: &str| {
            let [label, client, operation, count, value] =
                it.split_whitespace().collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let name = Name {
                client: if client == "world" { WORLD } else { client.parse().ok()? },
                operation: operation.parse().ok()?,
                label: label.to_string(),
                count: count.parse().ok()?,
            };
            Some((name, value.parse().ok()?))
        };
        let lines = text.lines().filter(|it| !it.starts_with('#') && !it.trim().is_empty());
        let parsed = lines.map(|it| line(it).ok_or_else(|| format!("no decision: `{it}`")));
        parsed.collect::<Result<_, _>>().map(Decisions)
    }
}

fn hash(seed: u64, name: &Name) -> u64 {
    let Name { client, operation, label, count } = name;
    let place = mix(operation.wrapping_mul(GOLDEN) ^ u64::from(*client).rotate_left(32));
    let start = mix(seed ^ place ^ count.wrapping_mul(GOLDEN));
    label.bytes().fold(start, |hash, byte| mix(hash ^ u64::from(byte)))
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(choices: &Choices) -> Vec<u64> {
        let draw = |it: u32| {
            choices.enter(it % 3, u64::from(it / 6));
            choices.pick("a", it % 3, 10)
        };
        (0..20).map(draw).collect()
    }

    /// A list says as much as the seed it came from.
    #[test]
    fn a_list_replays_its_run() {
        let seeded = Choices::seeded(7);
        let drawn = draws(&seeded);
        let text = seeded.made().to_string();
        let replayed = Choices::replayed(text.parse().unwrap());
        assert_eq!(draws(&replayed), drawn);
        assert_eq!(replayed.trace(), seeded.trace());
    }

    /// What one client decides does not depend on how often another does, nor on what it decided
    /// itself in an earlier operation.
    #[test]
    fn clients_and_operations_decide_apart() {
        let (one, other) = (Choices::seeded(7), Choices::seeded(7));
        for _ in 0..5 {
            other.pick("a", 1, 10);
            other.pick("a", 2, 10);
        }
        for choices in [&one, &other] {
            choices.enter(2, 1);
        }
        assert_eq!(one.pick("a", 2, 1 << 40), other.pick("a", 2, 1 << 40));
    }

    #[test]
    fn shrinking_keeps_what_matters() {
        let seeded = Choices::seeded(3);
        draws(&seeded);
        let all = seeded.made();
        let wanted = all.0.iter().nth(all.len() / 2).unwrap().0.clone();
        let least = all.shrink(1000, |it| it.0.contains_key(&wanted));
        assert_eq!(least.0.into_iter().collect::<Vec<_>>(), [(wanted, 1)]);
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        assert!("a 1 2 3".parse::<Decisions>().is_err());
        assert!("a 1 2 3 x".parse::<Decisions>().is_err());
        assert_eq!("# for people\n\n".parse::<Decisions>(), Ok(Decisions::default()));
        let text = "a world 0 1 2\n";
        assert_eq!(text.parse::<Decisions>().unwrap().to_string(), text);
    }
}
