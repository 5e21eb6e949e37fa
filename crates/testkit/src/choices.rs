//! One source of decisions for a simulated run: drawn from a seed, or read from a list.
//!
//! A decision is named by what is decided, by whom, and by how often they decided it before. Its
//! value is a hash of the seed and that name, so that taking one client or one step out of a run
//! leaves the decisions of the others as they were. A run keeps the decisions that differ from 0,
//! and 0 is always the uneventful choice: no fault, no delay, the first task. The list of a failing
//! run is what is kept of it: a seed stops meaning the same run as soon as the engine makes one
//! request more.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Who decides: a client of the run, or [`WORLD`].
pub type Client = u32;

/// The client that stands for everything that no client does.
pub const WORLD: Client = u32::MAX;

/// Decisions that differ from 0, by label, client and count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions(BTreeMap<(String, Client, u64), u64>);

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
    counts: BTreeMap<(&'static str, Client), u64>,
    made: Decisions,
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

    /// A number below `below`, which is at least 1.
    pub fn pick(&self, label: &'static str, client: Client, below: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.counts.entry((label, client)).or_default();
        let name = (label.to_string(), client, *count);
        *count += 1;
        let drawn = match &self.source {
            Source::Seed(seed) => hash(*seed, &name),
            Source::List(list) => list.0.get(&name).copied().unwrap_or(0),
        };
        let value = drawn % below.max(1);
        state.trace = mix(state.trace ^ hash(value, &name));
        if value != 0 {
            state.made.0.insert(name, value);
        }
        value
    }

    /// True once in `odds` times; never when replayed as uneventful.
    pub fn once_in(&self, label: &'static str, client: Client, odds: u64) -> bool {
        self.pick(label, client, odds.max(2)) == 1
    }

    /// The decisions made so far that differ from 0.
    pub fn made(&self) -> Decisions {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).made.clone()
    }

    /// A hash over every decision so far, in order: two runs that agree in it took the same course.
    pub fn trace(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).trace
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

    /// Smaller lists for which `fails` still holds, until none of its halves, quarters, .. or
    /// single decisions can be left out. `attempts` bounds the number of runs.
    #[must_use]
    pub fn shrink(&self, mut attempts: usize, fails: impl Fn(&Decisions) -> bool) -> Decisions {
        let mut kept: Vec<_> = self.0.clone().into_iter().collect();
        let mut piece = kept.len().div_ceil(2);
        while piece != 0 && attempts != 0 {
            let mut at = 0;
            while at < kept.len() && attempts != 0 {
                let end = (at + piece).min(kept.len());
                let without = kept.iter().take(at).chain(kept.iter().skip(end));
                let tried = Decisions(without.cloned().collect());
                attempts -= 1;
                if fails(&tried) {
                    kept = tried.0.into_iter().collect();
                } else {
                    at = end;
                }
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
        Decisions(kept.into_iter().collect())
    }
}

/// One decision a line: label, client, count, value. Lines that start with `#` are for people.
impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((label, client, count), value) in &self.0 {
            writeln!(f, "{label} {client} {count} {value}")?;
        }
        Ok(())
    }
}

impl FromStr for Decisions {
    type Err = String;

    fn from_str(text: &str) -> Result<Decisions, String> {
        let line = |it: &str| {
            let [label, client, count, value] = it.split_whitespace().collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let name = (label.to_string(), client.parse().ok()?, count.parse().ok()?);
            Some((name, value.parse().ok()?))
        };
        let lines = text.lines().filter(|it| !it.starts_with('#') && !it.trim().is_empty());
        let parsed = lines.map(|it| line(it).ok_or_else(|| format!("no decision: `{it}`")));
        parsed.collect::<Result<_, _>>().map(Decisions)
    }
}

fn hash(seed: u64, (label, client, count): &(String, Client, u64)) -> u64 {
    let start = mix(seed ^ u64::from(*client).rotate_left(32) ^ count.wrapping_mul(GOLDEN));
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
        (0..20).map(|it| choices.pick("a", it % 3, 10)).collect()
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

    /// What one client decides does not depend on how often another does.
    #[test]
    fn clients_decide_apart() {
        let (one, other) = (Choices::seeded(7), Choices::seeded(7));
        for _ in 0..5 {
            other.pick("a", 1, 10);
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
        assert_eq!(least.0.keys().collect::<Vec<_>>(), [&wanted]);
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        assert!("a 1 2".parse::<Decisions>().is_err());
        assert!("a 1 2 x".parse::<Decisions>().is_err());
        assert_eq!("# for people\n\n".parse::<Decisions>(), Ok(Decisions::default()));
    }
}
