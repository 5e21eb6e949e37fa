//! `docs/compatibility.md`: which features of tables are read and written, and on whose tables that
//! was seen.
//!
//! Three sources, so that anyone can make the page anew: the table of features in the code, the
//! tables in `testdata/golden`, and `testdata/seen.json`, which holds what the conformance runner
//! counted where its folder of tables is at hand.
//!
//! ```text
//!   feature.rs ----------.
//!   testdata/golden ------+--> docs/compatibility.md
//!   testdata/seen.json --'
//!      ^ conformance runner, where LAKEBED_CONFORMANCE is set
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use lakebed_log::action::Action;
use lakebed_log::feature::{FeatureKind, TableFeature};
use lakebed_log::log_path::{CheckpointName, LogPath};
use serde::{Deserialize, Serialize};

use crate::conformance::{Line, Report, Verdict, dispute, source};

/// What the conformance runner counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// By word for what a table has, then by who wrote it.
    pub tables: BTreeMap<String, BTreeMap<String, Share>>,
    /// By operation.
    pub operations: BTreeMap<String, Operation>,
    /// By collection of test tables.
    pub sources: BTreeMap<String, Share>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// As expected.
    pub passed: u64,
    /// Asked.
    pub of: u64,
}

/// What became of the cases of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Those that must hold.
    pub must: Share,
    /// Those among them that were refused, by the missing feature.
    pub refused: BTreeMap<String, u64>,
    /// Those that are believed wrong and not among them, by their entry in `spec/discrepancies.md`.
    pub disputed: BTreeMap<u32, u64>,
    /// Those that are advice.
    pub advice: Share,
}

/// Columns of the matrix: who writes, and how its `engineInfo` begins.
const WRITERS: &[(&str, &[&str])] = &[
    ("Spark", &["Apache-Spark"]),
    ("Databricks", &["Databricks"]),
    ("delta-rs", &["delta-rs"]),
    ("Kernel", &["Kernel", "kernel", "Delta-Kernel"]),
    ("DuckDB", &["DuckDB"]),
    ("Lakebed", &["Lakebed"]),
];

/// The rest.
const OTHERS: &str = "others, unnamed";

/// Rows of the matrix that are no table features: what it is, and the words for it.
const SHAPES: &[(&str, &str)] = &[
    ("checkpoint in one file", "checkpoint:classic"),
    ("checkpoint in parts", "checkpoint:multipart"),
    ("V2 checkpoint in JSON", "checkpoint:v2-json"),
    ("V2 checkpoint in Parquet", "checkpoint:v2-parquet"),
    ("sidecars", "checkpoint:sidecars"),
    ("compacted commits", "compacted-log"),
    ("version checksum", "crc"),
    ("checkpoint hint", "last-checkpoint-hint"),
    ("log cleaned up", "log:truncated"),
    ("column mapping by name", "columnMapping:name"),
    ("column mapping by id", "columnMapping:id"),
    ("vectors inline", "dv:i"),
    ("vectors in files of the table", "dv:u"),
    ("vectors by absolute path", "dv:p"),
    ("partitions", "partitioned"),
    ("partition value null", "partition:null"),
    ("encoded paths", "path:percent-encoded"),
    ("no statistics", "stats:missing"),
    ("application transactions", "txn"),
    ("structs", "nested-struct"),
    ("arrays", "nested-array"),
    ("maps", "nested-map"),
    ("decimals", "type-decimal"),
    ("timestamps without zone", "type-timestamp_ntz"),
    ("variants", "type-variant"),
    ("void", "type-void"),
];

impl Seen {
    /// Counts a report; `folder` holds its tables.
    pub fn of(report: &Report, folder: &Path) -> Seen {
        let mut seen = Seen::default();
        let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in &report.lines {
            let operation = seen.operations.entry(line.case.op.clone()).or_default();
            if !operation.add(line) {
                continue;
            }
            let table = &line.case.table;
            let by = writers.entry(table.clone()).or_insert_with(|| wrote(&folder.join(table)));
            for word in &line.case.features {
                let cells = seen.tables.entry(word.clone()).or_default();
                for writer in by.iter() {
                    cells.entry(writer.clone()).or_default().add(line);
                }
            }
            seen.sources.entry(source(&line.case)).or_default().add(line);
        }
        seen
    }
}

impl Operation {
    /// Is it one that must hold?
    fn add(&mut self, line: &Line) -> bool {
        if !line.case.must() {
            self.advice.add(line);
            return false;
        }
        if let Some(entry) = dispute(&line.case) {
            *self.disputed.entry(entry).or_default() += 1;
            return false;
        }
        self.must.add(line);
        if let Verdict::Refused(feature) = &line.verdict {
            *self.refused.entry(feature.clone()).or_default() += 1;
        }
        true
    }
}

impl Share {
    fn add(&mut self, line: &Line) {
        self.of += 1;
        self.passed += u64::from(line.verdict == Verdict::Passed);
    }

    fn plus(self, other: Share) -> Share {
        Share { passed: self.passed + other.passed, of: self.of + other.of }
    }
}

/// Who wrote the commits of a table, by what they say of themselves.
fn wrote(table: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in lines(table) {
        if let Ok(Some(Action::CommitInfo(info))) = Action::from_json_line(&line) {
            // Old delta-rs names itself elsewhere.
            let engine = info.text("engineInfo").or(info.text("clientVersion"));
            let engine = engine.unwrap_or_default();
            let is = |it: &&(&str, &[&str])| it.1.iter().any(|it| engine.starts_with(it));
            found.extend(WRITERS.iter().find(is).map(|it| it.0.to_string()));
        }
    }
    if found.is_empty() {
        found.insert(OTHERS.to_string());
    }
    found
}

/// Lines of the commits of a table; none if there is no log.
fn lines(table: &Path) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for (path, name) in log_files(table) {
        if let (LogPath::Commit(_), Ok(bytes)) = (&name, fs::read(path)) {
            lines.extend(bytes.split(|it| *it == b'\n').map(|it| it.trim_ascii().to_vec()));
        }
    }
    lines.retain(|it| !it.is_empty());
    lines
}

fn log_files(table: &Path) -> Vec<(PathBuf, LogPath)> {
    let entries = fs::read_dir(table.join("_delta_log")).into_iter().flatten().flatten();
    let named = entries.filter_map(|it| {
        let name = LogPath::parse(it.file_name().to_str()?)?;
        Some((it.path(), name))
    });
    let mut files: Vec<_> = named.collect();
    files.sort();
    files
}

/// The words for what a table has, as in the manifest.
fn words(table: &Path) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut first = None;
    for (_, name) in log_files(table) {
        let word = match name {
            LogPath::Commit(version) => {
                first = first.or(Some(version.get()));
                continue;
            }
            LogPath::Staged { .. } => continue,
            LogPath::Compacted { .. } => "compacted-log",
            LogPath::Checksum(_) => "crc",
            LogPath::Checkpoint(_, CheckpointName::Classic) => "checkpoint:classic",
            LogPath::Checkpoint(_, CheckpointName::Part { .. }) => "checkpoint:multipart",
            LogPath::Checkpoint(_, CheckpointName::Uuid { json: true, .. }) => "checkpoint:v2-json",
            LogPath::Checkpoint(..) => "checkpoint:v2-parquet",
        };
        words.insert(word.to_string());
    }
    let log = table.join("_delta_log");
    let has = |name: &str| log.join(name).exists();
    words.extend(has("_last_checkpoint").then(|| "last-checkpoint-hint".to_string()));
    words.extend(has("_sidecars").then(|| "checkpoint:sidecars".to_string()));
    words.extend((first != Some(0)).then(|| "log:truncated".to_string()));
    for line in lines(table) {
        if let Ok(Some(action)) = Action::from_json_line(&line) {
            of_action(&action, &mut words);
        }
    }
    words
}

fn of_action(action: &Action, words: &mut BTreeSet<String>) {
    match action {
        Action::Protocol(it) => {
            let names = it.reader_features.iter().chain(&it.writer_features).flatten();
            words.extend(names.map(|it| format!("feature:{it}")));
        }
        Action::Metadata(it) => {
            let mode = it.configuration.get("delta.columnMapping.mode");
            let mode = mode.filter(|it| *it != "none");
            words.extend(mode.map(|it| format!("columnMapping:{it}")));
            words.extend((!it.partition_columns.is_empty()).then(|| "partitioned".to_string()));
            for (name, word) in [
                ("struct", "nested-struct"),
                ("array", "nested-array"),
                ("map", "nested-map"),
                ("decimal(", "type-decimal"),
                ("timestamp_ntz", "type-timestamp_ntz"),
                ("variant", "type-variant"),
                ("void", "type-void"),
            ] {
                // The schema is a struct itself.
                let inside = it.schema_string.split_once("\"fields\"").map_or("", |it| it.1);
                let named = inside.contains(&format!("\"{name}"));
                words.extend(named.then(|| word.to_string()));
            }
        }
        Action::Add(it) => {
            let vector = it.deletion_vector.as_ref();
            words.extend(vector.map(|it| format!("dv:{}", it.storage_type)));
            words.extend(it.path.contains('%').then(|| "path:percent-encoded".to_string()));
            words.extend(it.stats.is_none().then(|| "stats:missing".to_string()));
            let nulls = it.partition_values.values().any(Option::is_none);
            words.extend(nulls.then(|| "partition:null".to_string()));
        }
        Action::SetTransaction(_) => {
            words.insert("txn".to_string());
        }
        _ => {}
    }
}

/// Tables below a folder, each with the name of the folder right below it: who wrote it.
fn golden(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let writers = fs::read_dir(folder).into_iter().flatten().flatten();
    for writer in writers {
        let name = writer.file_name().to_string_lossy().into_owned();
        let mut folders = vec![writer.path()];
        while let Some(at) = folders.pop() {
            if at.join("_delta_log").is_dir() {
                found.push((name.clone(), at));
                continue;
            }
            let inside = fs::read_dir(at).into_iter().flatten().flatten();
            folders.extend(inside.map(|it| it.path()).filter(|it| it.is_dir()));
        }
    }
    found.sort();
    found
}

/// The same counts of the tables of the checkout: by word, then by who wrote it. Each file of rows
/// is a question, and the tests fail unless every one is answered rightly.
fn kept(folder: &Path) -> BTreeMap<String, BTreeMap<String, Share>> {
    let mut found: BTreeMap<String, BTreeMap<String, Share>> = BTreeMap::new();
    for (writer, table) in golden(folder) {
        let files = fs::read_dir(folder.join(writer).join("expected")).into_iter().flatten();
        let of_table = |it: &fs::DirEntry| {
            let name = it.file_name().to_string_lossy().into_owned();
            let end = name.find(['@', '.']).unwrap_or(name.len());
            name.get(..end) == table.file_name().and_then(|it| it.to_str())
        };
        let of = files.flatten().filter(of_table).count() as u64;
        let by = wrote(&table);
        for word in words(&table) {
            let cells = found.entry(word).or_default();
            for writer in &by {
                let share = cells.entry(writer.clone()).or_default();
                *share = share.plus(Share { passed: of, of });
            }
        }
    }
    found
}

/// The page.
pub fn page(golden_folder: &Path, seen: &Seen) -> String {
    let mut out = PREAMBLE.to_string();
    out.push_str("\n## Table features\n\n| feature | read | write |");
    let writers: Vec<&str> = WRITERS.iter().map(|it| it.0).chain([OTHERS]).collect();
    let asked = [&seen.tables, &kept(golden_folder)];
    head(&mut out, &writers, 3);
    for feature in TableFeature::known() {
        let name = feature.name();
        let (read, write) = claims(&feature);
        let _ = write!(out, "| `{name}` | {read} | {write} |");
        cells(&mut out, asked, &writers, &of_feature(name));
    }
    out.push_str("\n## Shapes of logs, files and values\n\n| what |");
    head(&mut out, &writers, 1);
    for (label, word) in SHAPES {
        let _ = write!(out, "| {label} |");
        cells(&mut out, asked, &writers, &[(*word).to_string()]);
    }
    operations(&mut out, &seen.operations);
    shares(&mut out, "collection of tables", &seen.sources);
    tables(&mut out, golden_folder);
    out.replace("|  ", "| ")
}

const PREAMBLE: &str = "# Compatibility

Made by a test from the code's table of features, `testdata/golden` and `testdata/seen.json`; edit
those. After a change: `UPDATE=1 cargo test -p lakebed-testkit --test it compatibility`. Where the
collection of foreign tables behind `testdata/seen.json` is at hand, `LAKEBED_CONFORMANCE` names its
folder, and `UPDATE=1 cargo test -p lakebed-testkit --test it conformance` counts anew.

`7 of 7` is: seven questions with a known answer were asked of tables that have the feature and were
written, at least in part, by that engine, and all were answered rightly. The tables of
`testdata/golden` are counted in: each of their files of rows is a question that `cargo test` asks.
No answer was wrong: where fewer are right than were asked, the others were refused by the name of a
feature, see \"By operation\". What is not read is refused likewise; so is a table that is read
`through its catalog` when it is opened by its path alone.
";

fn head(out: &mut String, writers: &[&str], before: usize) {
    let _ = writeln!(out, " {} |", writers.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(before + writers.len()));
}

fn claims(feature: &TableFeature) -> (&'static str, &'static str) {
    let read = match (feature.kind(), feature.can_read()) {
        _ if feature.is_catalog_managed() => "through its catalog",
        (Some(FeatureKind::Writer), true) => "nothing to know",
        (_, true) => "yes",
        (_, false) => "no",
    };
    let write = match (feature.can_write(), feature.legacy()) {
        (true, _) => "yes",
        // An old protocol version implies features that the table need not use.
        (false, Some(_)) => "if unused",
        (false, None) => "no",
    };
    (read, write)
}

fn of_feature(name: &str) -> Vec<String> {
    let mut words = vec![format!("feature:{name}"), format!("active:{name}")];
    let also: &[&str] = match name {
        "columnMapping" => &["columnMapping:name", "columnMapping:id"],
        "deletionVectors" => &["dv:i", "dv:u", "dv:p"],
        "catalogManaged" => &["feature:catalogOwned", "feature:catalogOwned-preview"],
        _ => &[],
    };
    words.extend(also.iter().map(|it| (*it).to_string()));
    words
}

/// A feature may go by several words, which one case may have together: the fullest counts.
fn cells(
    out: &mut String,
    asked: [&BTreeMap<String, BTreeMap<String, Share>>; 2],
    writers: &[&str],
    words: &[String],
) {
    for writer in writers {
        let most = |of: &BTreeMap<String, BTreeMap<String, Share>>| {
            let shares = words.iter().filter_map(|it| of.get(it)?.get(*writer).copied());
            shares.max_by_key(|it| it.of).unwrap_or_default()
        };
        let _ = write!(
            out,
            " {} |",
            share(asked.map(most).into_iter().fold(Share::default(), Share::plus))
        );
    }
    out.push('\n');
}

/// Nothing where nothing was asked.
fn share(it: Share) -> String {
    match it.of {
        0 => String::new(),
        _ => format!("{} of {}", it.passed, it.of),
    }
}

fn operations(out: &mut String, operations: &BTreeMap<String, Operation>) {
    out.push_str(OPERATIONS);
    let sum = |of: fn(&Operation) -> Share| {
        operations.values().map(of).fold(Share::default(), Share::plus)
    };
    for (name, it) in operations {
        let refused: Vec<_> =
            it.refused.iter().map(|it| format!("{} (`{}`)", it.1, it.0)).collect();
        let disputed: Vec<_> =
            it.disputed.iter().map(|it| format!("{} (entry {})", it.1, it.0)).collect();
        let (must, advice) = (share(it.must), share(it.advice));
        let (refused, disputed) = (refused.join(", "), disputed.join(", "));
        let _ = writeln!(out, "| {name} | {must} | {refused} | {disputed} | {advice} |");
    }
    let count = |of: fn(&Operation) -> u64| operations.values().map(of).sum::<u64>();
    let refused = count(|it| it.refused.values().sum());
    let disputed = count(|it| it.disputed.values().sum());
    let (must, advice) = (share(sum(|it| it.must)), share(sum(|it| it.advice)));
    let _ = writeln!(out, "| all | {must} | {refused} | {disputed} | {advice} |");
}

const OPERATIONS: &str = "
## By operation

`right`, here and in the other tables, leaves out two kinds of cases. `disputed` are those whose
expected answer we hold to be mistaken; [spec/discrepancies.md](../spec/discrepancies.md) says why,
by number of the entry. `advice` are those that the collection itself does not demand: so many are
met. `refused` are part of those that were asked: `append_row` appends to a table that this build
does not write.

| operation | right | refused by feature | disputed | advice |
|---|---|---|---|---|
";

fn shares(out: &mut String, title: &str, shares: &BTreeMap<String, Share>) {
    let _ = writeln!(out, "\n## By {title}\n\n| {title} | right |\n|---|---|");
    for (name, it) in shares {
        let _ = writeln!(out, "| {name} | {} of {} |", it.passed, it.of);
    }
    let all = shares.values().fold(Share::default(), |sum, it| sum.plus(*it));
    let _ = writeln!(out, "| all | {} of {} |", all.passed, all.of);
}

/// Tables of the checkout, by what they have and who wrote them.
fn tables(out: &mut String, folder: &Path) {
    let mut found: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut writers = BTreeSet::new();
    for (writer, table) in golden(folder) {
        for word in words(&table) {
            *found.entry(word).or_default().entry(writer.clone()).or_default() += 1;
        }
        writers.insert(writer);
    }
    if writers.is_empty() {
        return;
    }
    let writers: Vec<&str> = writers.iter().map(String::as_str).collect();
    out.push_str("\n## Tables in `testdata/golden`\n\n| what |");
    head(out, &writers, 1);
    for (word, counts) in &found {
        let _ = write!(out, "| {word} |");
        for writer in &writers {
            let _ = match counts.get(*writer) {
                Some(count) => write!(out, " {count} |"),
                None => write!(out, " |"),
            };
        }
        out.push('\n');
    }
}
