//! Every script with every single fault at every single request.

use lakebed_testkit::columns::columns;
use lakebed_testkit::script::{SCRIPTS, Script, replay, with_each_fault};
use lakebed_testkit::weather::{Class, Fault};

/// One of so many runs, so that all of it takes seconds; `LAKEBED_SIM_ALL=1` takes every one, as
/// `cargo xtask simulate --scripts` does.
const ONE_IN: usize = 4;

/// spec: TXN-15, TXN-20, TXN-21, TXN-22, TXN-23
#[test]
fn every_fault_at_every_request() {
    let one_in = if std::env::var_os("LAKEBED_SIM_ALL").is_some() { 1 } else { ONE_IN };
    let mut broken = Vec::new();
    for script in SCRIPTS {
        every_fault(script, one_in, &mut broken);
    }
    assert!(broken.is_empty(), "{} of the runs: {}", broken.len(), broken[0]);
}

fn every_fault(script: &Script, one_in: usize, broken: &mut Vec<String>) {
    let list = script.decisions();
    let quiet = replay(&list);
    assert_eq!(quiet.broken, [""; 0], "{}\n{}", script.name, columns(&quiet.notes));
    let all = with_each_fault(&list);
    assert!(!all.is_empty(), "{} makes no request", script.name);
    for list in all.iter().step_by(one_in) {
        let outcome = replay(list);
        if !outcome.broken.is_empty() {
            let (shown, what) = (columns(&outcome.notes), outcome.broken.join("\n"));
            println!("{}:\n{list}{what}", script.name);
            broken.push(format!("{}:\n{list}\n{shown}\n{what}", script.name));
        }
    }
    println!("{}: {} of {} runs", script.name, all.len().div_ceil(one_in), all.len());
}

/// A lost answer to the put of a commit, in six ways, for five operations: the outcome that is told
/// is never a failure, and nothing lands twice.
#[test]
fn lost_answers() {
    let names = ["append", "append once", "overwrite", "metadata", "schema evolution"];
    let faults =
        [Fault::After, Fault::OwnExists, Fault::FalseExists, Fault::Lost, Fault::Hung, Fault::Late];
    let mut runs = 0;
    for script in SCRIPTS.iter().filter(|it| names.contains(&it.name)) {
        // The last commit of the script is the one it is about, or the only one.
        let list = script.decisions();
        let asked = replay(&list).asked;
        let put = asked.iter().rfind(|it| it.label == Class::Commit.label()).unwrap();
        for fault in faults {
            let place = Class::Commit.faults().iter().position(|it| *it == fault).unwrap();
            let outcome = replay(&list.with(put.clone(), place as u64 + 1));
            assert_eq!(outcome.broken, [""; 0], "{}: {fault:?}", script.name);
            let told = outcome.notes.iter().filter(|it| it.what.starts_with("= "));
            let failed = told.filter(|it| it.what.starts_with("= Failed")).count();
            assert_eq!(failed, 0, "{}: {fault:?}\n{}", script.name, columns(&outcome.notes));
            runs += 1;
        }
    }
    assert_eq!(runs, 30);
}
