//! Hostile and odd tables: each reads to its facts, or is a typed error that names the cause.
//!
//! A case says `ok:rows=3;sum_id=6|error:corrupt-dv`: either is right, anything else is wrong. It
//! is asked twice, on the local disk and through a [fence](crate::fenced) around the table's
//! folder, because the two ways to a file differ and no path of the log may lead outside. Behind
//! the fence the table is audited and its row changes are read, too: whatever they say, they end.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::TryStreamExt;
use lakebed::{
    Changes, Code, Doctor, Env, Error, Expr, Op, Result, Scan, Table, Timestamp, Version,
};
use serde::Deserialize;

use crate::conformance::{UNREAD, copy_folder};
use crate::fenced::fenced;

/// One case of the manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Case {
    /// Names it.
    pub name: String,
    /// What to do.
    pub op: String,
    /// Folder of the table, relative to the manifest.
    pub table: String,
    /// Answers that are right.
    pub expect: String,
    /// What to filter by.
    pub predicate: Option<String>,
    /// Milliseconds since 1970, for what asks for a time.
    pub asof: Option<i64>,
    /// Limits of its own, such as `rss<1GiB; time<1s`.
    pub limit: Option<String>,
    /// What must not be.
    pub never: Option<String>,
    /// What an audit must find, where a scan may pass over it.
    pub strict: Option<String>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the manifest wants.
    Passed,
    /// Refused by the name of a feature that this build does not claim.
    Refused(String),
    /// Anything else.
    Wrong(String),
}

/// Operations that this build cannot be asked for, and cases that wait by name, with the reason.
pub const WAITING: &[(&str, &str)] =
    &[("vacuum", "no verb that deletes files"), ("write", "no verb that deletes rows")];

/// A scan that reads more than this has not been bounded.
const HINT_BYTES_MAX: u64 = 2 << 20;

/// Rows, sum of the column `id`, version.
type Facts = (u64, i64, u64);

impl Case {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    ///
    /// A manifest that is not there or has another form.
    pub fn all(folder: &Path) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
        #[derive(Deserialize)]
        struct Manifest {
            cases: Vec<Case>,
        }
        let text = std::fs::read(folder.join("manifest.json"))?;
        Ok(serde_json::from_slice::<Manifest>(&text)?.cases)
    }

    /// The number before the unit of a limit of the case's own, `"rss<"` and `"GiB"` for example.
    pub fn limit(&self, name: &str, unit: &str) -> Option<u64> {
        let limits = self.limit.as_deref()?.split(';').map(str::trim);
        limits.filter_map(|it| it.strip_prefix(name)?.strip_suffix(unit)?.parse().ok()).next()
    }

    /// Runs the case both ways; the worse of the two verdicts.
    pub async fn run(&self, env: &Env, folder: &Path) -> Verdict {
        let linked = self.linked(folder);
        let folder = linked.as_ref().map_or(folder, |it| it.path());
        let location = folder.join(&self.table).to_string_lossy().into_owned();
        let plain = match self.op.as_str() {
            "audit" => audited(&self.expect, &audit(env, &location).await),
            _ => self.verdict(self.facts(env, &location).await),
        };
        if plain != Verdict::Passed {
            return plain;
        }
        let (env, touched) = fenced(env, &location);
        let inside = self.facts(&env, &location).await;
        let found = audit(&env, &location).await;
        let fed = feed(&env, &location).await;
        if found.as_ref().err().or(fed.as_ref().err()).is_some_and(|it| it.code() == Code::Internal)
        {
            return Verdict::Wrong(format!("audit {found:?}, row changes {fed:?}"));
        }
        match touched.keys() {
            keys if !keys.is_empty() => Verdict::Wrong(format!("asked for {keys:?}")),
            _ if self.op == "audit" => plain,
            _ if self.must_be_found() => audited(self.strict.as_deref().unwrap_or(""), &found),
            // Not every name on the disk is one of this store; a refusal loses no row.
            _ if inside.is_err() => Verdict::Passed,
            _ => self.verdict(inside),
        }
    }

    /// A copy with the link that does not survive every way of copying a folder.
    #[cfg(unix)]
    fn linked(&self, folder: &Path) -> Option<tempfile::TempDir> {
        let link = folder.join("path_symlink_escape/table/link.parquet");
        if self.name != "path_symlink_escape" || link.is_symlink() {
            return None;
        }
        let copy = tempfile::tempdir().ok()?;
        let at = copy.path().join(&self.name);
        copy_folder(&folder.join(&self.name), &at).ok()?;
        let link = at.join("table/link.parquet");
        std::fs::remove_file(&link).ok()?;
        std::os::unix::fs::symlink("../other/secret.parquet", &link).ok()?;
        Some(copy)
    }

    #[cfg(not(unix))]
    fn linked(&self, _folder: &Path) -> Option<tempfile::TempDir> {
        None
    }

    fn verdict(&self, answer: Result<Facts>) -> Verdict {
        let mut wanted = self.expect.split('|');
        match answer {
            Ok(facts)
                if wanted.any(|it| it.strip_prefix("ok:").is_some_and(|it| fits(it, facts))) =>
            {
                Verdict::Passed
            }
            Ok(facts) => Verdict::Wrong(format!("read rows, sum, version {facts:?}")),
            Err(error) if self.tells(&error) => Verdict::Wrong(format!("tells a secret: {error}")),
            Err(error) => {
                let code = error.code().as_str();
                match error.missing_feature() {
                    _ if wanted.any(|it| it.strip_prefix("error:") == Some(code)) => {
                        Verdict::Passed
                    }
                    Some(missing) if UNREAD.contains(&missing.feature.name()) => {
                        Verdict::Refused(missing.feature.to_string())
                    }
                    _ => Verdict::Wrong(format!("got {error:?}")),
                }
            }
        }
    }

    /// Is there something that a check of the log and the data finds? A link is none: which of them
    /// to follow is for the caller to say.
    fn must_be_found(&self) -> bool {
        self.strict.as_deref().is_some_and(|it| it.ends_with("-mismatch"))
    }

    /// Does the error show what the case calls a secret?
    fn tells(&self, error: &Error) -> bool {
        let secret = self.never.as_deref().is_some_and(|it| it.contains("the word secret"));
        secret && format!("{error} {error:?}").contains("secret")
    }

    async fn facts(&self, env: &Env, location: &str) -> Result<Facts> {
        let op = Op::default();
        let table = Table::open_with(env, location)?.with_op(op.clone());
        let snapshot = match self.asof {
            Some(millis) => table.snapshot_at(Timestamp::from_millis(millis)).await?,
            None => table.snapshot().await?,
        };
        let mut scan = Scan::new();
        if let Some(predicate) = &self.predicate {
            scan = scan.filter(predicate.parse::<Expr>()?);
        }
        let mut batches = snapshot.read(&scan).await?;
        let (mut rows, mut sum) = (0, 0i64);
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
            let id = batch.column_by_name("id").and_then(|it| it.as_primitive_opt::<Int64Type>());
            for id in id.into_iter().flat_map(|it| it.iter().flatten()) {
                sum = sum.wrapping_add(id);
            }
        }
        let bounded = self.limit.as_deref().is_some_and(|it| it.starts_with("at most"));
        if bounded && HINT_BYTES_MAX < op.usage().bytes_read {
            return Err(Error::internal(format!("read {} bytes", op.usage().bytes_read)));
        }
        Ok((rows, sum, snapshot.version().get()))
    }
}

/// The codes of what is wrong with a table, by a check that reads all of it.
async fn audit(env: &Env, location: &str) -> Result<Vec<&'static str>> {
    let table = Table::open_with(env, location)?;
    let report = table.doctor(Doctor::new().deep(true)).await?;
    Ok(report.findings().iter().map(|it| it.code).collect())
}

fn audited(wanted: &str, found: &Result<Vec<&'static str>>) -> Verdict {
    let mut wanted = wanted.split('|').filter_map(|it| it.strip_prefix("error:"));
    match found {
        Ok(found) if wanted.any(|it| found.contains(&it)) => Verdict::Passed,
        found => Verdict::Wrong(format!("the audit says {found:?}")),
    }
}

/// How many row changes there are, from the first version on.
async fn feed(env: &Env, location: &str) -> Result<usize> {
    let table = Table::open_with(env, location)?;
    let mut feed = table.changes(Changes::new(Version::ZERO).require_feed(false)).await?;
    let mut rows = 0;
    while let Some(batch) = feed.try_next().await? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

fn fits(wanted: &str, (rows, sum, version): Facts) -> bool {
    wanted.split(';').all(|it| match it.split_once('=') {
        Some(("rows", number)) => number.parse() == Ok(rows),
        Some(("sum_id", number)) => number.parse() == Ok(sum),
        Some(("version", number)) => number.parse() == Ok(version),
        _ => false,
    })
}
