//! Tables of other writers, with expected answers.

use std::path::PathBuf;

use lakebed::Env;
use lakebed_testkit::conformance::run_all;

/// Every case that must hold does; or waits, or is refused, for a reason that stands in a table.
///
/// `LAKEBED_CASES` runs only those whose id holds it.
#[test]
fn tables_of_other_writers() {
    let Some(folder) = std::env::var_os("LAKEBED_CONFORMANCE").map(PathBuf::from) else {
        crate::left_out("LAKEBED_CONFORMANCE names no folder of tables");
        return;
    };
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    let report = futures::executor::block_on(run_all(&Env::tokio(), &folder, &part)).unwrap();
    eprintln!("{}", report.tables());
    eprintln!("refused for: {:?}", report.refused());
    for waiting in report.waiting() {
        eprintln!("waiting: {waiting}");
    }
    for advice in report.advice() {
        eprintln!("advice: {advice}");
    }
    assert!(!report.lines.is_empty(), "no case ran");
    assert!(report.disputed_percent() <= 1.0, "too much is disputed");
    let failures = report.failures();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    if part.is_empty() {
        assert_eq!(report.needless(), [""; 0], "excuses that no case needs");
        crate::compatibility::keep_seen(&report, &folder);
    }
}
