//! Many writers in simulated worlds. What fails is shrunk and kept as a list of decisions.

use std::fs;
use std::path::Path;

use lakebed_testkit::choices::{Choices, Decisions};
use lakebed_testkit::scenario::{Size, run};

const SIZE: Size = Size { writers: 3, operations: 6 };

/// Every order of events that a few hundred seeds pick, under lost, late, repeated and refused
/// answers.
///
/// spec: TXN-15, TXN-20, TXN-21, TXN-22, TXN-23
#[test]
fn told_truly_under_faults() {
    for seed in 0..seeds() {
        if let Err((what, decisions)) = run(Choices::seeded(seed), SIZE) {
            let fails = |it: &Decisions| run(Choices::replayed(it.clone()), SIZE).is_err();
            let least = decisions.shrink(400, fails);
            let kept = keep(seed, &what, &least);
            let what = format!("seed {seed}, {} decisions in {kept}:\n{what}", least.len());
            panic!("{what}\nkeep the list in testdata/found, then mend it");
        }
    }
}

/// How many worlds: enough to meet each fault often, few enough to wait for.
fn seeds() -> u64 {
    let asked = std::env::var("LAKEBED_SIM_SEEDS").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(400)
}

fn keep(seed: u64, what: &str, decisions: &Decisions) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("found");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("seed-{seed}.txt"));
    let why: String = what.lines().map(|it| format!("# {it}\n")).collect();
    fs::write(&path, format!("{why}{decisions}")).unwrap();
    path.display().to_string()
}

/// A world is a function of its choices: the same seed takes the same course twice.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let traces = [0; 2].map(|_| run(Choices::seeded(seed), SIZE));
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}

/// Runs that failed once, as lists of decisions.
#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/found");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        let list: Decisions = fs::read_to_string(&path).unwrap().parse().unwrap();
        if let Err((what, _)) = run(Choices::replayed(list), SIZE) {
            panic!("{}:\n{what}", path.display());
        }
    }
}
