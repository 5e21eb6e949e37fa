//! Many clients in simulated worlds. What fails is shrunk and kept as a list of decisions.

use std::fs;
use std::path::{Path, PathBuf};

use lakebed_log::mutant::plant;
use lakebed_testkit::choices::{Choices, Decisions};
use lakebed_testkit::columns::columns;
use lakebed_testkit::mutants::MUTANTS;
use lakebed_testkit::scenario::{Size, run};
use lakebed_testkit::script::replay;

/// Every order of events that some seeds pick, under lost, late, repeated and refused answers,
/// sleeps, deaths and wrong clocks. More of them, and fresh ones, are `cargo xtask simulate`.
///
/// spec: TXN-15, TXN-20, TXN-21, TXN-22, TXN-23
#[test]
fn told_truly_under_faults() {
    let mut versions = 0;
    for seed in 0..seeds() {
        let outcome = run(Choices::seeded(seed), Size::USUAL);
        versions += outcome.versions;
        assert_eq!(
            outcome.broken,
            [""; 0],
            "seed {seed}; `cargo xtask simulate --seeds {seed}..{}` shrinks it",
            seed + 1
        );
    }
    assert!(seeds() < versions as u64, "clients commit something");
}

/// How many worlds: enough to meet each fault often, few enough to wait for.
fn seeds() -> u64 {
    let asked = std::env::var("LAKEBED_SIM_SEEDS").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(120)
}

/// A world is a function of its choices: the same seed takes the same course twice, and so does the
/// list of its decisions.
#[test]
fn the_same_choices_are_the_same_run() {
    for seed in [3, 14, 15, 92] {
        let first = run(Choices::seeded(seed), Size::USUAL);
        let again = run(Choices::seeded(seed), Size::USUAL);
        assert_eq!(first, again, "seed {seed}");
        let list = first.made.to_string().parse().unwrap();
        assert_eq!(run(Choices::replayed(list), Size::USUAL), first, "seed {seed}");
    }
}

fn lists(folder: &str) -> Vec<(PathBuf, Decisions)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/found").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|it| it.extension().is_some_and(|it| it == "txt")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let list = fs::read_to_string(&path).unwrap().parse().unwrap();
        (path, list)
    };
    paths.into_iter().map(read).collect()
}

/// Runs that failed once, as lists of decisions.
///
/// spec: STORE-14
#[test]
fn what_was_found_stays_mended() {
    for (path, list) in lists("") {
        let outcome = replay(&list);
        let shown = columns(&outcome.notes);
        assert_eq!(outcome.broken, [""; 0], "{}\n{shown}", path.display());
    }
}

/// Each bug that can be planted is found by the list that is kept for it, and by nothing but the
/// bug: without it, the list runs clean.
#[test]
fn every_mutant_is_found() {
    let lists = lists("mutants");
    for mutant in MUTANTS {
        let name = format!("M{:02}.txt", mutant.number);
        let kept = lists.iter().find(|it| it.0.ends_with(&name));
        let (path, list) = kept.unwrap_or_else(|| panic!("no list for {}", mutant.what));
        let sound = replay(list);
        assert_eq!(sound.broken, [""; 0], "{} without the bug", path.display());
        let planted = plant(mutant.number, || replay(list));
        assert!(!planted.broken.is_empty(), "{}: `{}` is not found", path.display(), mutant.what);
    }
    assert_eq!(lists.len(), MUTANTS.len(), "a list without a bug");
}
