//! The log, commit by commit, against its checkpoints and checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use lakebed_log::action::{CommitInfo, Metadata, Protocol};
use lakebed_log::batch::{LogBatch, Width};
use lakebed_log::checksum::Facts;
use lakebed_log::error::{Code, Error, ErrorKind, Result};
use lakebed_log::files::FileList;
use lakebed_log::limits::HINT_BYTES_MAX;
use lakebed_log::log_path::{CheckpointName, HINT, LOG_DIR, LogPath};
use lakebed_log::replay::Replay;
use lakebed_log::schema::Schema;
use lakebed_log::segment::{Hint, LogFile};
use lakebed_log::state::{Head, TableState};
use lakebed_log::support::Access;
use lakebed_log::uri;
use lakebed_log::version::Version;

use super::{Report, Severity};
use crate::load::{self, Commit};
use crate::pool::map_ordered;
use crate::txn::Context;

/// Commits read ahead.
const AHEAD: usize = 32;
/// How much of a checksum file is read, in bytes.
const CHECKSUM_BYTES_MAX: u64 = 256 << 20;

/// Gives the versions that have a complete checkpoint, and the state of the newest version as far
/// as the log tells it.
pub(super) async fn check(
    context: &Context,
    files: &[LogFile],
    report: &mut Report,
) -> Result<(BTreeSet<Version>, Option<TableState>)> {
    let checkpoints = checkpoints(files, report);
    check_hint(context, files, &checkpoints, report).await?;
    check_gaps(files, &checkpoints, report);
    let access = context.catalog.as_ref().map_or(Access::Path, |_| Access::Catalog);
    let lacks = Lacks::default();
    let walk = Walk { context, access, report, state: None, lacks, last_time: None };
    let state = walk.run(files, &checkpoints).await?;
    Ok((checkpoints.into_keys().collect(), state))
}

/// The complete checkpoints of each version, each with its files.
type Checkpoints = BTreeMap<Version, Vec<Vec<LogFile>>>;

fn checkpoints(files: &[LogFile], report: &mut Report) -> Checkpoints {
    let mut found = Checkpoints::new();
    let mut parts: BTreeMap<(Version, u32), BTreeMap<u32, LogFile>> = BTreeMap::new();
    for file in files {
        match &file.path {
            LogPath::Checkpoint(version, CheckpointName::Part { part, parts: of }) => {
                parts.entry((*version, *of)).or_default().insert(*part, file.clone());
            }
            LogPath::Checkpoint(version, _) => {
                found.entry(*version).or_default().push(vec![file.clone()]);
            }
            _ => {}
        }
    }
    for ((version, of), set) in parts {
        if u32::try_from(set.len()) == Ok(of) {
            found.entry(version).or_default().push(set.into_values().collect());
        } else if let Some(first) = set.values().next() {
            let what = format!("{} of {of} parts of a checkpoint are there", set.len());
            report.push("incomplete-checkpoint", Severity::Warning, &first.path.to_path(), what);
        }
    }
    found
}

async fn check_hint(
    context: &Context,
    files: &[LogFile],
    checkpoints: &Checkpoints,
    report: &mut Report,
) -> Result<()> {
    let key = format!("{LOG_DIR}/{HINT}");
    let wrong = match context.store.get(&context.op, &key, HINT_BYTES_MAX).await {
        Ok(bytes) => match Hint::parse(&bytes) {
            None => "it makes no sense".to_string(),
            Some(hint) if checkpoints.contains_key(&hint.version) => return Ok(()),
            Some(hint) => {
                let newest = files.iter().map(|it| it.path.version()).max();
                let newest = newest.map(|it| it.to_string()).unwrap_or_default();
                format!(
                    "it names version {}, which has no complete checkpoint; the newest version \
                     is {newest}",
                    hint.version
                )
            }
        },
        Err(it) if it.code() == Code::FileNotFound => return Ok(()),
        Err(it) if it.code() == Code::LimitExceeded => it.message().to_string(),
        Err(it) => return Err(it),
    };
    report.push("hint", Severity::Warning, &key, wrong);
    Ok(())
}

fn is_commit(file: &LogFile) -> bool {
    matches!(file.path, LogPath::Commit(_) | LogPath::Staged { .. })
}

/// Cleanup takes a log's beginning; what is missing in the middle was lost.
fn check_gaps(files: &[LogFile], checkpoints: &Checkpoints, report: &mut Report) {
    let commits: BTreeSet<Version> =
        files.iter().filter(|it| is_commit(it)).map(|it| it.path.version()).collect();
    let mut before: Option<Version> = None;
    for version in commits {
        let expected = before.map_or(Some(Version::ZERO), Version::next);
        let missing = expected.filter(|it| *it < version);
        let last_missing = version.get().checked_sub(1).and_then(Version::new);
        if let (Some(first), Some(last)) = (missing, last_missing) {
            let bridge = checkpoints.range(last..).next().map(|it| *it.0);
            let is_start = before.is_none();
            let what = match first == last {
                true => format!("the commit of version {first} is missing"),
                false => format!("the commits of versions {first} to {last} are missing"),
            };
            match bridge {
                Some(_) if is_start => {}
                Some(bridge) => {
                    let what = format!("{what}; what is before version {bridge} cannot be read");
                    report.push("version-gap", Severity::Warning, LOG_DIR, what);
                }
                None => report.push("version-gap", Severity::Error, LOG_DIR, what),
            }
        }
        before = Some(version);
    }
}

/// Goes along the log with the state of the version it is at, as long as there is one.
struct Walk<'a> {
    context: &'a Context,
    access: Access,
    report: &'a mut Report,
    state: Option<TableState>,
    /// What in the state only stands in for what is not known.
    lacks: Lacks,
    last_time: Option<i64>,
}

/// What commits should have said, and have not, or not soundly.
#[derive(Clone, Copy, Default)]
struct Lacks {
    protocol: bool,
    metadata: bool,
}

impl Lacks {
    /// What is still lacking after a commit.
    fn after(self, commit: &LogBatch) -> Lacks {
        Lacks {
            protocol: self.protocol && commit.protocol.is_none(),
            metadata: self.metadata && commit.metadata.is_none(),
        }
    }

    /// Does a field of a checksum hold what is not known?
    fn hides(self, field: &str) -> bool {
        match field {
            "protocol" | "numProtocol" => self.protocol,
            "metadata" | "numMetadata" => self.metadata,
            _ => false,
        }
    }
}

type Read = (LogFile, Result<Option<Arc<Commit>>>);

impl Walk<'_> {
    async fn run(
        mut self,
        files: &[LogFile],
        checkpoints: &Checkpoints,
    ) -> Result<Option<TableState>> {
        let context = self.context;
        let mut commits: Vec<LogFile> = files.iter().filter(|it| is_commit(it)).cloned().collect();
        let is_staged = |it: &LogFile| matches!(it.path, LogPath::Staged { .. });
        commits.sort_by_key(|it| (it.path.version(), !is_staged(it)));
        commits.dedup_by_key(|it| it.path.version());
        let versions: BTreeSet<Version> =
            commits.iter().map(|it| it.path.version()).chain(checkpoints.keys().copied()).collect();
        let sums: BTreeSet<Version> = files
            .iter()
            .filter(|it| matches!(it.path, LogPath::Checksum(_)))
            .map(|it| it.path.version())
            .collect();
        let read = |file: LogFile| async move {
            let Context { env, op, store, catalog, .. } = context;
            let catalog = catalog.as_deref();
            let read = load::commit_by(env, op, store, &file, catalog, Width::Narrow).await;
            Ok((file, read))
        };
        let mut commits = std::pin::pin!(map_ordered(commits, AHEAD, read).peekable());
        for version in versions {
            let is_next = |it: &Result<Read>| {
                it.as_ref().is_ok_and(|(file, _)| file.path.version() == version)
            };
            match commits.as_mut().next_if(is_next).await {
                Some(it) => {
                    let (file, read) = it?;
                    self.commit(&file, read)?;
                }
                None => self.state = None,
            }
            for set in checkpoints.get(&version).into_iter().flatten() {
                self.checkpoint(version, set).await?;
            }
            if sums.contains(&version) {
                self.checksum(version).await?;
            }
        }
        Ok(self.state)
    }

    fn commit(&mut self, file: &LogFile, read: Result<Option<Arc<Commit>>>) -> Result<()> {
        self.report.checked.commits += 1;
        let place = file.path.to_path();
        // Across a gap there is no state to go on from.
        let follows = |it: &TableState| it.head.version.next() == Some(file.path.version());
        let before = self.state.take().filter(follows);
        let commit = match read {
            Ok(Some(it)) => it,
            // It was cleaned up while we looked.
            Ok(None) => return Ok(()),
            Err(it) => return self.report.take(Severity::Error, &place, &it),
        };
        if before.is_none() && commit.version != Version::ZERO {
            return Ok(());
        }
        if let Some(state) = self.next(before.as_ref(), &commit, &place)? {
            self.time(&state.head, &commit, &place);
            self.state = Some(state);
        }
        Ok(())
    }

    /// The state after a commit. Protocol or metadata that is missing or broken is told, and
    /// something stands in for it, so that what does not depend on it is still looked at.
    fn next(
        &mut self,
        before: Option<&TableState>,
        commit: &Commit,
        place: &str,
    ) -> Result<Option<TableState>> {
        let (version, mut batch) = (commit.version, commit.batch.clone());
        let mut lacks = before.map_or_else(Lacks::default, |_| self.lacks.after(&batch));
        loop {
            let next = match before {
                Some(state) => state.advance(version, &batch),
                None => {
                    let mut replay = Replay::new(version, Width::Narrow).by(self.access);
                    replay.feed(batch.clone()).and_then(|()| replay.finish())
                }
            };
            let error = match next {
                Ok(state) => {
                    self.lacks = lacks;
                    return Ok(Some(state));
                }
                // A version that this build cannot read is not for it to judge.
                Err(it) if it.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(it) => it,
            };
            self.report.take(Severity::Error, place, &error)?;
            match error.code() {
                Code::InvalidProtocol if !lacks.protocol => {
                    batch.protocol = before.is_none().then(Protocol::legacy);
                    lacks.protocol = true;
                }
                Code::InvalidMetadata | Code::InvalidSchema if !lacks.metadata => {
                    batch.metadata = before.is_none().then(no_metadata);
                    lacks.metadata = true;
                }
                _ => return Ok(None),
            }
        }
    }

    fn time(&mut self, head: &Head, commit: &Commit, place: &str) {
        if !head.properties.enable_in_commit_timestamps {
            self.last_time = None;
            return;
        }
        let info = commit.batch.commit_info.as_ref().filter(|_| commit.batch.commit_info_first);
        let time = info.and_then(CommitInfo::in_commit_timestamp);
        let what = match (time, self.last_time) {
            (None, _) => {
                "the table keeps in-commit timestamps, and there is none in a `commitInfo` that \
                 comes first"
                    .to_string()
            }
            (Some(time), Some(last)) if time <= last => {
                format!(
                    "`inCommitTimestamp` is {time}, not after that of the version before, {last}"
                )
            }
            _ => String::new(),
        };
        if !what.is_empty() {
            self.report.push("commit-time", Severity::Error, place, what);
        }
        self.last_time = time.or(self.last_time);
    }

    async fn checkpoint(&mut self, version: Version, set: &[LogFile]) -> Result<()> {
        self.report.checked.checkpoints += 1;
        let place = set.first().map(|it| it.path.to_path()).unwrap_or_default();
        let Context { env, op, store, .. } = self.context;
        let read = load::checkpoint_state(env, op, store, set.to_vec(), self.access).await;
        let found = match read.map_err(load::Trouble::error) {
            Ok(it) => it,
            Err(it) if it.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(it) => {
                let proven = self.state.is_some();
                let severity = if proven { Severity::Warning } else { Severity::Error };
                return match it.kind() {
                    ErrorKind::Exhausted if it.code() == Code::MemoryExceeded => Err(it),
                    ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Exhausted => {
                        let what = it.to_string();
                        self.report.push("corrupt-checkpoint", severity, &place, what);
                        Ok(())
                    }
                    _ => Err(it),
                };
            }
        };
        match &mut self.state {
            Some(state) => {
                let wrong = differences(state, &found, self.lacks);
                if !wrong.is_empty() {
                    let what = format!(
                        "it differs from the commits up to version {version}: {}",
                        wrong.join(", ")
                    );
                    self.report.push("checkpoint-differs", Severity::Error, &place, what);
                }
                if self.lacks.protocol || self.lacks.metadata {
                    state.head = found.head;
                }
            }
            None => self.state = Some(found),
        }
        self.lacks = Lacks::default();
        self.statistics(&place, set).await
    }

    /// Nobody needs statistics to read right, so they are looked at apart.
    async fn statistics(&mut self, place: &str, set: &[LogFile]) -> Result<()> {
        let Context { env, op, store, .. } = self.context;
        let read = load::Layers::read_through(env, op, store, set).await;
        match read.map_err(load::Trouble::error) {
            Ok(()) => Ok(()),
            Err(it) if it.code() == Code::MemoryExceeded => Err(it),
            Err(it) => match it.kind() {
                ErrorKind::Corrupt | ErrorKind::Exhausted => {
                    let what = format!("statistics in it do not read, so filters read more: {it}");
                    self.report.push("corrupt-checkpoint", Severity::Warning, place, what);
                    Ok(())
                }
                // It was cleaned up while we looked.
                ErrorKind::NotFound => Ok(()),
                _ => Err(it),
            },
        }
    }

    async fn checksum(&mut self, version: Version) -> Result<()> {
        self.report.checked.checksums += 1;
        let Context { op, store, .. } = self.context;
        let path = LogPath::Checksum(version).to_path();
        let wrong = |it: &Error| matches!(it.code(), Code::FileNotFound | Code::LimitExceeded);
        let facts = match store.get(op, &path, CHECKSUM_BYTES_MAX).await {
            Ok(it) => Facts::parse(&it),
            Err(it) if wrong(&it) => None,
            Err(it) => return Err(it),
        };
        let Some(facts) = facts else {
            let what = "it is not one JSON object".to_string();
            self.report.push("corrupt-checksum", Severity::Warning, &path, what);
            return Ok(());
        };
        let Some(state) = self.state.as_ref().filter(|it| it.head.version == version) else {
            return Ok(());
        };
        let mut wrong = facts.mismatches(state);
        wrong.retain(|it| !self.lacks.hides(it));
        if !wrong.is_empty() {
            let what = format!("it differs from the log in {}", wrong.join(", "));
            self.report.push("checksum-mismatch", Severity::Error, &path, what);
        }
        Ok(())
    }
}

/// In what two states of one version differ. Tombstones may: each writer drops them by its own
/// clock.
fn differences(ours: &TableState, theirs: &TableState, lacks: Lacks) -> Vec<String> {
    let mut wrong = Vec::new();
    let (a, b) = (digest(&ours.files), digest(&theirs.files));
    if a.0 != b.0 {
        wrong.push(format!("{} live files, not {}", b.0, a.0));
    } else if a != b {
        wrong.push("other live files".to_string());
    }
    let (a, b) = (&ours.head, &theirs.head);
    let parts = [
        ("`protocol`", lacks.protocol || a.protocol == b.protocol),
        ("`metaData`", lacks.metadata || same_metadata(a, b)),
        ("domains", a.domains == b.domains),
    ];
    wrong.extend(parts.into_iter().filter(|it| !it.1).map(|it| it.0.to_string()));
    // A writer may let old transactions expire, but not make up others.
    if b.txns.iter().any(|(app, it)| a.txns.get(app).map(|it| it.version) != Some(it.version)) {
        wrong.push("application transactions".to_string());
    }
    wrong
}

/// Stands in for metadata that nobody knows.
fn no_metadata() -> Metadata {
    Metadata {
        id: String::new(),
        name: None,
        description: None,
        format_provider: "parquet".to_string(),
        format_options: BTreeMap::new(),
        schema_string: Schema::default().to_json(),
        partition_columns: Vec::new(),
        configuration: BTreeMap::new(),
        created_time: None,
    }
}

/// One schema may be written in several ways.
fn same_metadata(a: &Head, b: &Head) -> bool {
    let other = Metadata { schema_string: a.metadata.schema_string.clone(), ..b.metadata.clone() };
    a.schema == b.schema && a.metadata == other
}

/// Count of the live files, and a sum over what reading them goes by, which does not depend on
/// order.
pub(super) fn digest(files: &FileList) -> (u64, u64) {
    let keys = files.iter().filter_map(|at| {
        let (adds, row) = files.row(at)?;
        let path = uri::canonical(adds.path().value(row));
        let tracked = (adds.base_row_id(row), adds.default_row_commit_version(row));
        let add = adds.get(row).ok()?;
        let deleted = add.deletion_vector.map(|it| (it.unique_id(), it.cardinality));
        Some(sum(&(path, deleted, add.size, add.partition_values, tracked)))
    });
    keys.fold((0, 0), |(count, sum), it| (count + 1, it.wrapping_add(sum)))
}

pub(super) fn sum(it: &impl std::hash::Hash) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}
