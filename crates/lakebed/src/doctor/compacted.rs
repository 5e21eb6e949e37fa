//! Compacted files against the commits that they stand for.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use lakebed_log::action::{DomainMetadata, Metadata, Protocol};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::error::{ErrorKind, Result};
use lakebed_log::files::FileList;
use lakebed_log::log_path::LogPath;
use lakebed_log::replay::Replay;
use lakebed_log::segment::LogFile;
use lakebed_log::uri;
use lakebed_log::version::Version;

use super::log::{digest, sum};
use super::{Report, Severity};
use crate::load;
use crate::pool::map_ordered;
use crate::txn::Context;

/// Commits read at once.
const AHEAD: usize = 32;

/// `bridges` are the versions that have a complete checkpoint.
pub(super) async fn check(
    context: &Context,
    files: &[LogFile],
    bridges: &BTreeSet<Version>,
    report: &mut Report,
) -> Result<()> {
    let mut commits = BTreeMap::new();
    for file in files {
        if let LogPath::Commit(version) | LogPath::Staged { version, .. } = &file.path {
            commits.insert(*version, file.clone());
        }
    }
    for file in files {
        let LogPath::Compacted { first, last } = file.path else { continue };
        report.checked.compacted += 1;
        let covered: Vec<LogFile> = commits.range(first..=last).map(|it| it.1.clone()).collect();
        let place = file.path.to_path();
        if u64::try_from(covered.len()).ok() != Some(last.get() - first.get() + 1) {
            let what = format!(
                "not all commits of versions {first} to {last} are there, so there is nothing to \
                 hold it against"
            );
            let severity = match bridges.range(last..).next() {
                Some(_) => Severity::Note,
                None => Severity::Warning,
            };
            report.push("compacted-alone", severity, &place, what);
            continue;
        }
        check_one(context, file, covered, report).await?;
    }
    Ok(())
}

async fn check_one(
    context: &Context,
    file: &LogFile,
    covered: Vec<LogFile>,
    report: &mut Report,
) -> Result<()> {
    let (place, last) = (file.path.to_path(), file.path.version());
    let Context { env, op, store, catalog, .. } = context;
    let catalog = catalog.as_deref();
    let read = load::read_commits(env, op, store, std::slice::from_ref(file), Width::Narrow).await;
    let theirs = match read.map_err(load::Trouble::error) {
        Ok(it) => it,
        Err(it) if matches!(it.kind(), ErrorKind::Corrupt | ErrorKind::Exhausted) => {
            report.push("corrupt-compacted", Severity::Warning, &place, it.to_string());
            return Ok(());
        }
        Err(it) => return Err(it),
    };
    let read = |file: LogFile| async move {
        load::commit_by(env, op, store, &file, catalog, Width::Narrow).await
    };
    let ours: Result<Vec<_>> = map_ordered(covered, AHEAD, read).try_collect().await;
    let ours: Vec<_> = match ours {
        Ok(it) => it.into_iter().flatten().collect(),
        // Said where the commits are looked at.
        Err(it) if it.kind() == ErrorKind::Corrupt => return Ok(()),
        Err(it) => return Err(it),
    };
    let ours = Sum::of(last, ours.iter().rev().map(|it| &it.batch));
    let theirs = Sum::of(last, theirs.iter().map(|it| &it.batch));
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => {}
        (Ok(ours), Ok(theirs)) => {
            let what = format!("it differs from the commits it covers in {}", ours.unlike(&theirs));
            report.push("compacted-differs", Severity::Error, &place, what);
        }
        (_, Err(it)) => {
            report.push("corrupt-compacted", Severity::Warning, &place, it.to_string());
        }
        // Said where the commits are looked at.
        (Err(_), _) => {}
    }
    Ok(())
}

/// What some versions amount to.
#[derive(Default, PartialEq)]
struct Sum {
    live: (u64, u64),
    removed: (u64, u64),
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: BTreeMap<String, i64>,
    domains: BTreeMap<String, DomainMetadata>,
}

impl Sum {
    fn of<'a>(last: Version, newest_first: impl Iterator<Item = &'a LogBatch>) -> Result<Sum> {
        let mut replay = Replay::new(last, Width::Narrow);
        let mut sum = Sum::default();
        for batch in newest_first {
            sum.protocol = sum.protocol.or_else(|| batch.protocol.clone());
            sum.metadata = sum.metadata.or_else(|| batch.metadata.clone());
            for txn in &batch.txns {
                sum.txns.entry(txn.app_id.clone()).or_insert(txn.version);
            }
            for domain in &batch.domains {
                sum.domains.entry(domain.domain.clone()).or_insert_with(|| domain.clone());
            }
            replay.feed(batch.clone())?;
        }
        let files = replay.finish_files()?;
        sum.live = digest(&files);
        sum.removed = removed(&files);
        Ok(sum)
    }

    fn unlike(&self, other: &Sum) -> String {
        let parts = [
            ("files added", self.live == other.live),
            ("files removed", self.removed == other.removed),
            ("`protocol`", self.protocol == other.protocol),
            ("`metaData`", self.metadata == other.metadata),
            ("transactions", self.txns == other.txns),
            ("domains", self.domains == other.domains),
        ];
        let names: Vec<_> = parts.iter().filter(|it| !it.1).map(|it| it.0).collect();
        names.join(", ")
    }
}

fn removed(files: &FileList) -> (u64, u64) {
    let mut found = (0_u64, 0_u64);
    for chunk in files.tombstones() {
        for row in chunk.live.iter().filter_map(|it| usize::try_from(it).ok()) {
            let path = uri::canonical(chunk.rows.path().value(row));
            found.0 += 1;
            found.1 = found.1.wrapping_add(sum(&(path, chunk.rows.dv_id(row))));
        }
    }
    found
}
