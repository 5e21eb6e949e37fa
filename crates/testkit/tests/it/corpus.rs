//! The fuzz targets on the kept corpus and on mutations of it.

use std::fs;
use std::path::Path;

use lakebed_testkit::choices::Choices;
use lakebed_testkit::fuzz::TARGETS;

/// Each file of the corpus as it is, and changed in a few hundred ways that a seed picks.
#[test]
fn bytes_of_strangers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/corpus");
    for (name, target) in TARGETS {
        let mut files: Vec<_> =
            fs::read_dir(folder.join(name)).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        for (number, file) in (0u64..).zip(&files) {
            let bytes = fs::read(file).unwrap();
            target(&bytes);
            let choices = Choices::seeded(number);
            for _ in 0..300 {
                target(&mutated(&bytes, &choices));
            }
        }
    }
}

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
                let tokens =
                    ["\"", "{", "}", "null", "-", "9223372036854775808", "\\ud800", "%", "'", "("];
                out.splice(at..at, tokens[pick("token", tokens.len())].bytes());
            }
            _ => {
                out.drain(at..(at + pick("length", 20)).min(out.len()));
            }
        }
    }
    out
}
