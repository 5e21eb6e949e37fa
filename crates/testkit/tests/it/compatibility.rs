//! `docs/compatibility.md` says what the code, the kept tables and the last count say.

use std::fs;
use std::path::{Path, PathBuf};

use lakebed_testkit::compatibility::{Seen, page};
use lakebed_testkit::conformance::Report;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Is the file as it should be? With `UPDATE=1` it is made so.
fn keep(path: &str, wanted: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE").is_some_and(|it| it == "1") {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{} is not current; run this test with UPDATE=1", path.display());
}

/// Keeps what a whole run of the conformance cases counted.
pub(crate) fn keep_seen(report: &Report, folder: &Path) {
    let text = serde_json::to_string_pretty(&Seen::of(report, folder)).unwrap();
    keep("testdata/seen.json", &format!("{text}\n"));
}

#[test]
fn the_page_is_current() {
    let text = fs::read_to_string(root().join("testdata/seen.json")).unwrap();
    let seen: Seen = serde_json::from_str(&text).unwrap();
    keep("docs/compatibility.md", &page(&root().join("testdata/golden"), &seen));
}
