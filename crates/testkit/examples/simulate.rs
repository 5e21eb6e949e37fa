//! The simulator at length: fresh seeds for some minutes, one kept list, or every mutant.
//! `cargo xtask simulate` and `cargo xtask mutants` run it.
//!
//! It is an example, and no program of the crate, because only tests and examples are built with
//! the switches of the mutants.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for people, which reads the clock to keep to its minutes"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lakebed_log::mutant::plant;
use lakebed_testkit::choices::{Choices, Decisions};
use lakebed_testkit::columns::columns;
use lakebed_testkit::mutants::{MUTANTS, Mutant};
use lakebed_testkit::scenario::{Outcome, Size, run};
use lakebed_testkit::script::{SCRIPTS, with_each_fault, with_each_pair};
use lakebed_testkit::weather::Class;

/// Seeds within which a mutant must be found.
const SEEDS_MAX: u64 = 5_000;
/// Scripts with so many runs of one fault are short enough for two.
const PAIRS_OF: usize = 200;
/// Runs that shrinking a failure may take.
const SHRINKS: usize = 1_500;

const USAGE: &str = "\
usage: simulate [--replay FILE] [--minutes N] [--seeds A..B] [--scripts] [--pairs]
                [--mutant N] [--keep FOLDER]
       simulate mutants [--only N] [--seeds N] [--keep FOLDER]
";

fn main() -> ExitCode {
    match Asked::parse(env::args().skip(1).collect()) {
        Ok(asked) => match asked.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                println!("{what}");
                ExitCode::FAILURE
            }
        },
        Err(what) => {
            print!("simulate: {what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for.
struct Asked {
    mutants: bool,
    scripts: bool,
    pairs: bool,
    replay: Option<PathBuf>,
    minutes: Option<u64>,
    seeds: Option<(u64, u64)>,
    mutant: u32,
    keep: PathBuf,
}

impl Asked {
    fn parse(arguments: Vec<String>) -> Result<Asked, String> {
        let mut asked = Asked {
            mutants: false,
            scripts: false,
            pairs: false,
            replay: None,
            minutes: None,
            seeds: None,
            mutant: 0,
            keep: PathBuf::from("target/found"),
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "mutants" {
                asked.mutants = true;
                continue;
            }
            if name == "--scripts" || name == "--pairs" {
                asked.scripts = true;
                asked.pairs |= name == "--pairs";
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("`{name}` wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is no number"));
            match name.as_str() {
                "--replay" => asked.replay = Some(PathBuf::from(value)),
                "--minutes" => asked.minutes = Some(number()?),
                "--keep" => asked.keep = PathBuf::from(value),
                "--mutant" | "--only" => {
                    asked.mutant = u32::try_from(number()?).map_err(|it| it.to_string())?;
                }
                "--seeds" => {
                    let (from, to) = value.split_once("..").unwrap_or(("0", &value));
                    let seed = |it: &str| it.parse().map_err(|_| format!("`{it}` is no seed"));
                    asked.seeds = Some((seed(from)?, seed(to)?));
                }
                _ => return Err(format!("no option `{name}`")),
            }
        }
        Ok(asked)
    }

    fn run(&self) -> Result<(), String> {
        match &self.replay {
            Some(path) => replay(path, self.mutant),
            None if self.mutants => self.find_mutants(),
            None if self.scripts => self.scripts(),
            None => self.search(),
        }
    }

    /// Fresh seeds, or those that were asked for, until the time is up.
    fn search(&self) -> Result<(), String> {
        let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let minutes = self.minutes.unwrap_or(if self.seeds.is_some() { u64::MAX / 60 } else { 1 });
        let (from, to) = self.seeds.unwrap_or((fresh * 1_000, u64::MAX));
        let began = Instant::now();
        let (mut seed, mut versions, mut met) = (from, 0, BTreeMap::new());
        println!("seeds from {from}");
        while seed < to && began.elapsed() < Duration::from_secs(minutes * 60) {
            let outcome = self.planted(Choices::seeded(seed));
            versions += outcome.versions;
            count(&outcome, &mut met);
            if !outcome.broken.is_empty() {
                return Err(self.kept(&format!("seed-{seed}"), outcome));
            }
            seed += 1;
        }
        let took = began.elapsed().as_secs_f64();
        println!("{}", table(&met));
        println!("seeds {from}..{seed}: nothing found in {versions} versions, {took:.0} s");
        Ok(())
    }

    fn planting(&self, mutant: u32) -> Asked {
        Asked { mutant, keep: self.keep.clone(), replay: None, ..*self }
    }

    fn planted(&self, choices: Choices) -> Outcome {
        plant(self.mutant, || run(choices, Size::USUAL))
    }

    /// Shrinks a failure, keeps its list, and shows what happened.
    fn kept(&self, name: &str, outcome: Outcome) -> String {
        println!("{name} breaks:\n{}", outcome.broken.join("\n"));
        println!("shrinking {} decisions ..", outcome.made.len());
        let rule = rule_of(&outcome);
        let fails = |it: &Decisions| {
            let outcome = self.planted(Choices::replayed(it.clone()));
            outcome.broken.iter().any(|it| it.starts_with(&rule))
        };
        let least = outcome.made.shrink(SHRINKS, fails);
        let outcome = self.planted(Choices::replayed(least.clone()));
        let why: String = outcome.broken.iter().map(|it| format!("# {it}\n")).collect();
        let path = self.keep.join(format!("{name}.txt"));
        let written =
            fs::create_dir_all(&self.keep).and_then(|()| fs::write(&path, format!("{why}{least}")));
        let kept = match written {
            Ok(()) => format!("{} decisions are kept in {}", least.len(), path.display()),
            Err(error) => format!("{}: {error}", path.display()),
        };
        format!("{}\n{}\n{kept}", columns(&outcome.notes), outcome.broken.join("\n"))
    }

    /// Plants one bug after another, and sees each found.
    fn find_mutants(&self) -> Result<(), String> {
        let mut missed = Vec::new();
        for mutant in MUTANTS.iter().filter(|it| self.mutant == 0 || it.number == self.mutant) {
            match self.find(mutant) {
                Some(found) => println!("M{} {}: {found}", mutant.number, mutant.what),
                None => missed.push(format!("M{} {} is not found", mutant.number, mutant.what)),
            }
        }
        if missed.is_empty() { Ok(()) } else { Err(missed.join("\n")) }
    }

    fn find(&self, mutant: &Mutant) -> Option<String> {
        let asked = self.planting(mutant.number);
        for seed in 0..self.seeds.map_or(SEEDS_MAX, |it| it.1) {
            let outcome = asked.planted(Choices::seeded(seed));
            if !outcome.broken.is_empty() {
                let found = format!("{} by seed {seed}", rule_of(&outcome));
                asked.kept(&format!("M{:02}", mutant.number), outcome);
                return Some(found);
            }
        }
        for script in SCRIPTS {
            for list in with_each_fault(&script.decisions()) {
                let outcome = asked.planted(Choices::replayed(list));
                if !outcome.broken.is_empty() {
                    let found = format!("{} by script `{}`", rule_of(&outcome), script.name);
                    asked.kept(&format!("M{:02}", mutant.number), outcome);
                    return Some(found);
                }
            }
        }
        None
    }

    /// Every script with every fault at every request; every short one with every two faults.
    fn scripts(&self) -> Result<(), String> {
        for script in SCRIPTS {
            let list = script.decisions();
            let lists = with_each_fault(&list);
            let runs = self.all(script.name, lists.iter().cloned())?;
            println!("{}: {runs} runs", script.name);
            if self.pairs && lists.len() <= PAIRS_OF {
                let runs = self.all(script.name, with_each_pair(&list))?;
                println!("{}: {runs} runs with two faults", script.name);
            }
        }
        Ok(())
    }

    fn all(&self, name: &str, lists: impl Iterator<Item = Decisions>) -> Result<u64, String> {
        let mut runs = 0;
        for list in lists {
            let outcome = self.planted(Choices::replayed(list));
            if !outcome.broken.is_empty() {
                return Err(self.kept(&name.replace(' ', "-"), outcome));
            }
            runs += 1;
        }
        Ok(runs)
    }
}

/// How often each fault was met, by class and place in its list.
fn count(outcome: &Outcome, met: &mut BTreeMap<(Class, u64), u64>) {
    for (name, value) in outcome.made.iter() {
        if let Some(class) = Class::ALL.into_iter().find(|it| it.label() == name.label) {
            *met.entry((class, value)).or_default() += 1;
        }
    }
}

fn table(met: &BTreeMap<(Class, u64), u64>) -> String {
    let mut text = "faults met".to_string();
    for class in Class::ALL {
        text += &format!("\n  {class:?}:");
        for (place, fault) in (1u64..).zip(class.faults()) {
            let times = met.get(&(class, place)).copied().unwrap_or(0);
            text += &format!(" {fault:?} {times},");
        }
    }
    text
}

/// The rule that is broken first, e.g. `I8`.
fn rule_of(outcome: &Outcome) -> String {
    let first = outcome.broken.first().map(String::as_str).unwrap_or_default();
    first.split_once(':').map_or("", |it| it.0).to_string()
}

fn replay(path: &Path, mutant: u32) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|it| format!("{}: {it}", path.display()))?;
    let list: Decisions = text.parse()?;
    let outcome = plant(mutant, || run(Choices::replayed(list), Size::USUAL));
    println!("{}", columns(&outcome.notes));
    match outcome.broken.is_empty() {
        true => Ok(()),
        false => Err(outcome.broken.join("\n")),
    }
}
