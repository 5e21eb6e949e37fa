//! Checks a table against itself, and says what to do.
//!
//! A log says most things more than once: a checkpoint repeats the commits, a checksum counts what
//! both add up to, statistics repeat the data. Reading takes the first source that is sound; here
//! all of them are read and held against each other.
//!
//! ```text
//!   log      hint, gaps, every commit in turn; at each version its checkpoints and checksum
//!            against the state of the commits so far; compacted files against their commits
//!   files    data files and vectors of the newest version: are they there, have they their size
//!   deep     every row of them against statistics, partition values and vectors
//! ```
//!
//! Nothing is written. What is found is a list, and the check goes on after each find. Memory is
//! that of two states of the table; files stream through.

use std::fmt;

use lakebed_log::batch::Width;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::segment::LogSegment;
use lakebed_log::version::Version;

use crate::load::{self, Skipped};
use crate::snapshot::Snapshot;
use crate::store::redact;
use crate::txn::Context;

mod compacted;
mod data;
mod log;

/// Findings that are kept; past it they are counted only.
const FINDINGS_MAX: usize = 10_000;

/// How thoroughly to check.
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// # use lakebed::*;
/// # futures::executor::block_on(async {
/// let table = Table::open("memory://doc/doctor").await?;
/// # let done = table.append(rows, Append::new()).await?;
/// let report = table.doctor(Doctor::new().deep(true)).await?;
/// assert!(report.is_sound(), "{:?}", report.findings());
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Doctor {
    deep: bool,
}

impl Doctor {
    /// Checks the log, and that the files it names are there.
    pub fn new() -> Doctor {
        Doctor::default()
    }

    /// Reads every data file, too: rows against statistics, partition values, vectors, page
    /// checksums. That costs what reading the table costs.
    #[must_use]
    pub fn deep(self, deep: bool) -> Doctor {
        Doctor { deep }
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong; somebody may want to know.
    Note,
    /// Wrong, and stepped around: the newest version reads right.
    Warning,
    /// Wrong rows, or rows or versions that cannot be read.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing, stable: that of an error, or a word of its own.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Which file or folder, below the table's root where it is there.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    version: Option<Version>,
    findings: Vec<Finding>,
    found: u64,
    worst: Option<Severity>,
    checked: Checked,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Checked {
    pub commits: u64,
    pub checkpoints: u64,
    pub compacted: u64,
    pub checksums: u64,
    pub data_files: u64,
    pub vectors: u64,
    /// Rows that were read; 0 unless the check is deep.
    pub rows: u64,
}

impl Report {
    /// The newest version, if the log makes one up.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// What is wrong, in the order in which it was met; at most 10,000.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings there were.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// What was looked at.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// How bad the worst of the findings is.
    pub fn worst(&self) -> Option<Severity> {
        self.worst
    }

    /// Nothing was found but notes?
    pub fn is_sound(&self) -> bool {
        self.worst.is_none_or(|it| it == Severity::Note)
    }

    fn push(&mut self, code: &'static str, severity: Severity, place: &str, what: String) {
        self.found += 1;
        self.worst = self.worst.max(Some(severity));
        if self.findings.len() < FINDINGS_MAX {
            let (place, advice) = (redact(place), advice(code, severity));
            self.findings.push(Finding { code, severity, place, what, advice });
        }
    }

    fn has_error(&self, code: Code) -> bool {
        let is_it = |it: &Finding| it.severity == Severity::Error && it.code == code.as_str();
        self.findings.iter().any(is_it)
    }

    /// What opening the table stepped around and nothing else has found.
    fn skipped(&mut self, skipped: &[Skipped]) {
        for it in skipped {
            if self.findings.len() < FINDINGS_MAX
                && !self.findings.iter().any(|f| f.place == it.path)
            {
                self.push("skipped", Severity::Warning, &it.path, it.error.to_string());
            }
        }
    }

    /// An error as a finding; what is no fault of the table is given back.
    fn take(&mut self, severity: Severity, place: &str, error: &Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Invalid => {}
            _ if error.code() == Code::LimitExceeded => {}
            _ if matches!(error.code(), Code::UnsupportedData | Code::UnsupportedPath) => {}
            _ => return Err(error.copied()),
        }
        // The place stands beside it.
        let what = error.to_string().replacen(&format!("path `{place}` "), "path ", 1);
        self.push(error.code().as_str(), severity, place, what);
        Ok(())
    }
}

/// What to do, in plain words.
fn advice(code: &str, severity: Severity) -> &'static str {
    match code {
        "hint" => "write a checkpoint, which writes the hint anew; readers do without until then",
        "incomplete-checkpoint" => {
            "delete what there is of it once another checkpoint or the commits make up its version"
        }
        "corrupt-checkpoint" | "checkpoint-differs" => {
            "delete this checkpoint if the commits up to its version are all there, else restore \
             it from a backup; then write a new one"
        }
        "corrupt-compacted" | "compacted-differs" => {
            "delete the compacted file: the commits it covers are there"
        }
        "compacted-alone" if severity == Severity::Note => {
            "nothing: a checkpoint stands for the commits that it covers"
        }
        "compacted-alone" => {
            "keep the compacted file, which may be all that tells what they said; restore the \
             missing commits from a backup"
        }
        "checksum-mismatch" | "corrupt-checksum" => {
            "if nothing else is wrong, delete the checksum file; else it may be right, and the log \
             lost something: compare with a backup"
        }
        "skipped" => {
            "it does not agree with what is beside it, the hint perhaps: write a checkpoint, and \
             delete the named file once it is no longer needed"
        }
        "version-gap" => "restore the missing commits from a backup; do not number others anew",
        "corrupt-log" | "invalid-action" => {
            "restore the commit from a backup; a checkpoint at or after it lets newer versions be \
             read"
        }
        "invalid-protocol" | "invalid-metadata" | "invalid-schema" => {
            "restore the commit from a backup; the checksum (`.crc`) of its version may repeat the \
             `protocol` and `metaData` that it should hold, and a checkpoint at or after it lets \
             newer versions be read"
        }
        "missing-file" => {
            "restore the file from a backup, or remove it from the table by overwriting what it \
             held; find out what deleted it"
        }
        "size-mismatch" if severity == Severity::Note => {
            "nothing: the rows are read right, here and in engines that do not go by the size"
        }
        "size-mismatch" if severity == Severity::Warning => {
            "check it with `--deep`: if it does not read, it was cut short or replaced, and is to be \
             restored from a backup"
        }
        "size-mismatch" | "corrupt-data" => {
            "it was cut short, damaged or replaced: restore it from a backup, or overwrite what it \
             held"
        }
        "stats-mismatch" => {
            "write the file's rows anew, which collects statistics again: filters may have missed \
             rows of it"
        }
        "corrupt-dv" => {
            "restore the vector's file from a backup; without it, it is not known which rows were \
             deleted"
        }
        "invalid-partition-value" => "write the rows of the file anew, with sound partition values",
        "path-escape" | "unsupported-path" => {
            "if the file is meant to lie there, as in a shallow clone, allow its root \
             (`--allow-root`); else overwrite what it held"
        }
        "commit-time" => "time travel by timestamp is not to be trusted around this version",
        _ => "restore the named file from a backup",
    }
}

/// Checks a table.
pub(crate) async fn doctor(context: &Context, options: &Doctor) -> Result<Report> {
    let Context { env, op, store, catalog, .. } = context;
    let mut report = Report::default();
    let listed = load::list_by(op, store, None, catalog.as_deref());
    let files = context.bounded("listing the log", listed).await?;
    if let Err(it) = LogSegment::new(files.clone(), None, &[])
        && it.code() == Code::NotATable
    {
        return Err(it.at(store.location()));
    }
    let (bridges, last) = log::check(context, &files, &mut report).await?;
    compacted::check(context, &files, &bridges, &mut report).await?;

    let opened = async {
        let loaded = load::open_by(env, op, store, None, catalog.as_deref()).await?;
        let snapshot = Snapshot::new(env, store, Some(op.clone()), loaded, None);
        let width = if options.deep { Width::Wide } else { Width::Narrow };
        let state = snapshot.state(op, width).await?;
        Ok((state, snapshot.skipped()))
    };
    let (state, skipped) = match context.bounded("opening the table", opened).await {
        Ok(it) => it,
        Err(it) => {
            // Where the log is broken, that was said before.
            if !report.has_error(it.code()) {
                report.take(Severity::Error, lakebed_log::log_path::LOG_DIR, &it)?;
            }
            // The commits may tell the files all the same.
            if let Some(state) = last {
                data::check(context, &state, &mut report).await?.warn(&mut report);
            }
            return Ok(report);
        }
    };
    report.version = Some(state.head.version);
    report.skipped(&skipped);
    let known = data::check(context, &state, &mut report).await?;
    match options.deep {
        true => data::check_rows(context, &state, known, &mut report).await?,
        false => known.warn(&mut report),
    }
    Ok(report)
}

#[cfg(all(test, feature = "tokio"))]
mod tests;
