//! The fuzz targets on the kept corpus and on mutations of it.

use std::fs;
use std::path::Path;

use lakebed_testkit::choices::Choices;
use lakebed_testkit::fuzz::TARGETS;

/// Changed inputs of one target, shared by its files.
const MUTANTS: u64 = 3000;
/// The same for targets that open whole tables.
const MUTANTS_OF_TABLES: u64 = 600;

/// Each file of the corpus as it is, and changed in some thousand ways that seeds pick.
#[test]
fn bytes_of_strangers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/corpus");
    let rounds = std::env::var("LAKEBED_FUZZ_ROUNDS").map_or(1, |it| it.parse().unwrap());
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    for (name, target) in TARGETS.iter().filter(|it| it.0.contains(&part)) {
        let started = std::time::Instant::now();
        let mut files: Vec<_> =
            fs::read_dir(folder.join(name)).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        let all = rounds * if ["log", "data"].contains(name) { MUTANTS_OF_TABLES } else { MUTANTS };
        for (number, file) in (0u64..).zip(&files) {
            let bytes = fs::read(file).unwrap();
            target(&bytes);
            let choices = Choices::seeded(number);
            for _ in 0..all / files.len() as u64 {
                target(&mutated(&bytes, &choices));
            }
        }
        eprintln!("{name}: {all} in {:?}", started.elapsed());
    }
}

/// What means something to one parser or another.
const TOKENS: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\n",
    "null",
    "true",
    "-",
    "0",
    "1e400",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "NaN",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "%",
    "%2F",
    "..",
    "/",
    "'",
    "(",
    "\"add\":",
    "\"remove\":",
    "\"struct\"",
    "decimal(38,38)",
];

/// Flips, cuts, repeats and splices, one to three of them.
fn mutated(bytes: &[u8], choices: &Choices) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let pick = |label, below: usize| usize::try_from(choices.pick(label, 0, below as u64)).unwrap();
    for _ in 0..=pick("how-many", 3) {
        let at = pick("at", out.len().max(1)).min(out.len());
        match pick("what", 5) {
            0 if !out.is_empty() => out[at.min(bytes.len().max(1) - 1)] ^= 1 << pick("bit", 8),
            1 => out.truncate(at),
            2 => {
                let piece = out[at..(at + pick("length", 40)).min(out.len())].to_vec();
                out.splice(at..at, piece);
            }
            3 => {
                out.splice(at..at, TOKENS[pick("token", TOKENS.len())].bytes());
            }
            _ => {
                out.drain(at..(at + pick("length", 20)).min(out.len()));
            }
        }
    }
    out
}
