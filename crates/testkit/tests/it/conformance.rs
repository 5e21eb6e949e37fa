//! Tables of other writers, with expected answers.

use std::path::PathBuf;

use lakebed::Env;
use lakebed_testkit::conformance::run_all;

/// Every case that needs no feature this build lacks passes; every other is refused by name.
#[test]
fn tables_of_other_writers() {
    let Some(folder) = std::env::var_os("LAKEBED_CONFORMANCE").map(PathBuf::from) else {
        crate::left_out("LAKEBED_CONFORMANCE names no folder of tables");
        return;
    };
    let report = futures::executor::block_on(run_all(&Env::tokio(), &folder)).unwrap();
    for (operation, (passed, refused, failed)) in &report.counts {
        eprintln!("{operation}: {passed} passed, {refused} refused by name, {failed} failed");
    }
    eprintln!("refused for: {:?}", report.refused);
    eprintln!("not run yet: {:?}", report.waiting);
    for advice in &report.advice {
        eprintln!("advice: {advice}");
    }
    let passed: usize = report.counts.values().map(|it| it.0).sum();
    assert!(passed > 0, "no case ran");
    assert!(
        report.failures.is_empty(),
        "{} failed:\n{}",
        report.failures.len(),
        report.failures.join("\n")
    );
}
