//! What became of all cases: tables for people, and a list of what must not be.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Case, DISPUTED, UNREAD, UNWRITTEN, Verdict, WAITING};

/// One case and what became of it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The case.
    pub case: Case,
    /// What became of it.
    pub verdict: Verdict,
}

/// Every case that ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the manifest.
    pub lines: Vec<Line>,
}

/// What a case is counted under.
type Keys = fn(&Case) -> Vec<String>;

/// How many of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// As expected.
    pub passed: u64,
    /// Refused by the name of a feature.
    pub refused: u64,
    /// Not asked.
    pub waiting: u64,
    /// Wrong answers, and errors where none is expected.
    pub wrong: u64,
    /// Believed wrong, see `spec/discrepancies.md`.
    pub disputed: u64,
}

impl Report {
    /// Takes one more case in.
    pub fn add(&mut self, case: Case, verdict: Verdict) {
        self.lines.push(Line { case, verdict });
    }

    /// Counts by what `keys` gives for a case.
    pub fn counts(&self, keys: impl Fn(&Case) -> Vec<String>) -> BTreeMap<String, Counts> {
        let mut all: BTreeMap<String, Counts> = BTreeMap::new();
        for line in &self.lines {
            for key in keys(&line.case) {
                let counts = all.entry(key).or_default();
                match &line.verdict {
                    Verdict::Passed => counts.passed += 1,
                    Verdict::Refused(_) => counts.refused += 1,
                    Verdict::Waiting(_) => counts.waiting += 1,
                    _ if dispute(&line.case).is_some() => counts.disputed += 1,
                    Verdict::Wrong(_) | Verdict::Failed(_) => counts.wrong += 1,
                }
            }
        }
        all
    }

    /// The counts as lines of text, by operation, by feature and by source.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        let tables: [(&str, Keys); 3] = [
            ("operation", |it| vec![it.op.clone(), "(all)".to_string()]),
            ("feature", |it| it.features.clone()),
            ("source", |it| vec![source(it)]),
        ];
        for (title, keys) in tables {
            let _ = writeln!(
                out,
                "\n{title:40} {:>7} {:>7} {:>7} {:>7} {:>8}",
                "passed", "refused", "waiting", "wrong", "disputed"
            );
            for (key, it) in self.counts(keys) {
                let _ = writeln!(
                    out,
                    "{key:40} {:>7} {:>7} {:>7} {:>7} {:>8}",
                    it.passed, it.refused, it.waiting, it.wrong, it.disputed
                );
            }
        }
        out
    }

    /// Cases that must hold and do not, wrong answers first.
    pub fn failures(&self) -> Vec<String> {
        let mut found = self.faults(|it| it.must() && dispute(it).is_none());
        found.extend(self.lines.iter().filter(|it| it.case.must()).filter_map(unexcused));
        found
    }

    /// Cases that are advice, or should hold, and do not.
    pub fn advice(&self) -> Vec<String> {
        self.faults(|it| !it.must())
    }

    /// Cases that wait, and why.
    pub fn waiting(&self) -> Vec<String> {
        let why = |it: &Line| match &it.verdict {
            Verdict::Waiting(why) => Some(format!("{}: {why}", it.case.id)),
            _ => None,
        };
        self.lines.iter().filter_map(why).collect()
    }

    /// Excuses that no case needs, after all cases ran: what waits, is disputed or may be refused.
    pub fn needless(&self) -> Vec<String> {
        let ends = |it: &Line, end: &str| it.case.id.ends_with(end);
        let waits = |it: &Line| matches!(it.verdict, Verdict::Waiting(_));
        let wrong = |it: &Line| matches!(it.verdict, Verdict::Wrong(_) | Verdict::Failed(_));
        let none = |fits: &dyn Fn(&Line) -> bool| !self.lines.iter().any(fits);
        let waiting =
            WAITING.iter().map(|it| it.0).filter(|it| none(&|at| ends(at, it) && waits(at)));
        let disputed =
            DISPUTED.iter().map(|it| it.0).filter(|it| none(&|at| ends(at, it) && wrong(at)));
        let refused = self.refused();
        let features = UNREAD.iter().chain(UNWRITTEN).copied();
        let features = features.filter(|it| !refused.contains_key(*it));
        waiting.chain(disputed).chain(features).map(str::to_string).collect()
    }

    /// How many cases were refused, by the missing feature.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for line in &self.lines {
            if let Verdict::Refused(feature) = &line.verdict {
                *all.entry(feature.clone()).or_default() += 1;
            }
        }
        all
    }

    /// Share of the cases that must hold which are disputed, in percent.
    pub fn disputed_percent(&self) -> f64 {
        let must = self.lines.iter().filter(|it| it.case.must());
        let (mut all, mut disputed) = (0u32, 0u32);
        for line in must {
            all += 1;
            disputed += u32::from(dispute(&line.case).is_some());
        }
        100.0 * f64::from(disputed) / f64::from(all.max(1))
    }

    fn faults(&self, which: impl Fn(&Case) -> bool) -> Vec<String> {
        let (mut wrong, mut failed) = (Vec::new(), Vec::new());
        for line in self.lines.iter().filter(|it| which(&it.case)) {
            match &line.verdict {
                Verdict::Wrong(why) => wrong.push(format!("WRONG {}: {why}", line.case.id)),
                Verdict::Failed(why) => failed.push(format!("ERROR {}: {why}", line.case.id)),
                _ => {}
            }
        }
        wrong.append(&mut failed);
        wrong
    }
}

/// A refusal for a feature that this build claims to have.
fn unexcused(line: &Line) -> Option<String> {
    let Verdict::Refused(feature) = &line.verdict else { return None };
    let name = feature.as_str();
    let to_write = line.case.op.starts_with("append") && UNWRITTEN.contains(&name);
    (!to_write && !UNREAD.contains(&name))
        .then(|| format!("REFUSED {}: for {name}, which this build has", line.case.id))
}

/// The entry of `spec/discrepancies.md` for a case that is believed wrong.
pub fn dispute(case: &Case) -> Option<u32> {
    DISPUTED.iter().find(|it| case.id.ends_with(it.0)).map(|it| it.1)
}

/// The source without what the manifest adds in brackets.
pub fn source(case: &Case) -> String {
    match case.source.split(" (").next().unwrap_or_default() {
        "derived here" => "derived from the others".to_string(),
        source => source.to_string(),
    }
}
