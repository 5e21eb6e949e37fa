//! `Split`: a part of a scan that can be written down and read elsewhere.
//!
//! ```text
//!   snapshot + scan --> splits --> text --> another process --> rows
//!
//!   { "lakebedSplit": 1,
//!     "location": "file:///data/t", "version": 7,     which version of which table
//!     "protocol": {..}, "metaData": {..},             what it takes to read it
//!     "scan": {"columns": [..], "filter": "..", "limit": n, "batchRows": n},
//!     "files": [ {"add": {..}},                       whole, without its deleted rows
//!                {"add": {..}, "rows": [0, 5000]} ] } a part of a file, by physical rows
//! ```
//!
//! A split holds all that its reader needs, so that a thousand readers do not read the log a
//! thousand times. It holds no secrets: locations are without user and query, and whoever reads a
//! split brings the credentials. Its rows are those of its version, whatever is committed later, as
//! long as the files are there.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use lakebed_log::action::{Action, Add, Metadata, Protocol};
use lakebed_log::error::{Error, Result};
use lakebed_log::scan::{Scan, ScanPlan, ScanTask};
use lakebed_log::state::Head;
use lakebed_log::support::Access;
use lakebed_log::version::Version;
use serde_json::{Map, Value, json};

use crate::env::Env;
use crate::op::Op;
use crate::read::{self, Batches};

/// The one form that there is.
const FORMAT: u64 = 1;
/// No file is cut into more parts.
const PARTS_MAX: u64 = 10_000;

/// A part of a scan of one version, that can be turned into text and read in another process.
///
/// The splits of a scan, read one after the other, give its rows, each once and in its order. Read
/// side by side they give the same rows. A scan with a limit is the exception: every split stops at
/// the limit by itself, and whoever puts the rows together takes the first so many.
///
/// ```
/// # let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
/// # let rows = arrow_array::RecordBatch::try_from_iter([("id", ids as _)]).unwrap();
/// # use lakebed::{*, split::Split};
/// # futures::executor::block_on(async {
/// let table = Table::open("memory://doc/split").await?;
/// # let done = table.append(rows, Append::new()).await?;
/// let splits = table.snapshot().await?.splits(&Scan::new(), 64 << 20).await?;
/// let text = splits[0].to_string();
///
/// let split: Split = text.parse()?;
/// let rows = split.read(&Env::tokio(), &Op::default())?.collect().await?;
/// assert_eq!(rows[0].num_rows(), 2);
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Split {
    location: String,
    head: Arc<Head>,
    scan: Scan,
    files: Vec<Part>,
}

/// A file or a part of one.
#[derive(Clone, Debug)]
struct Part {
    task: ScanTask,
    rows: Option<Range<u64>>,
}

impl Split {
    /// Splits of a plan, of about `target_bytes` bytes of files each; at least one.
    pub(crate) fn plan(
        location: &str,
        head: &Head,
        scan: &Scan,
        plan: &ScanPlan,
        target_bytes: u64,
    ) -> Vec<Split> {
        // Only what it takes to read: what a table's owner noted down is nobody else's business.
        let mut bare =
            Head { txns: Default::default(), domains: Default::default(), ..head.clone() };
        bare.commit_info = None;
        bare.metadata.name = None;
        bare.metadata.description = None;
        bare.metadata.configuration.retain(|key, _| key.starts_with("delta."));
        let head = Arc::new(bare);
        let target = target_bytes.max(1);
        let split = |files: Vec<Part>| Split {
            location: location.to_string(),
            head: Arc::clone(&head),
            scan: scan.clone(),
            files,
        };
        let (mut splits, mut files, mut bytes) = (Vec::new(), Vec::new(), 0u64);
        for task in plan.tasks() {
            for (part, size) in parts(task, target) {
                if !files.is_empty() && target < bytes.saturating_add(size) {
                    splits.push(split(std::mem::take(&mut files)));
                    bytes = 0;
                }
                files.push(part);
                bytes = bytes.saturating_add(size);
            }
        }
        // A scan without files has its columns still, and whoever reads it gets them.
        if !files.is_empty() || splits.is_empty() {
            splits.push(split(files));
        }
        splits
    }

    /// Where the table is, without user and query.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The version that is read.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// Identity of the table.
    pub fn table_id(&self) -> &str {
        &self.head.metadata.id
    }

    /// The scan of which this is a part.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// About how many bytes of files are read.
    pub fn bytes(&self) -> u64 {
        let share = |it: &Part| match (&it.rows, it.task.num_records) {
            (Some(rows), Some(all)) if 0 < all => {
                let rows = rows.end.min(all).saturating_sub(rows.start);
                u64::try_from(u128::from(it.task.size) * u128::from(rows) / u128::from(all))
                    .unwrap_or(it.task.size)
            }
            _ => it.task.size,
        };
        self.files.iter().map(share).fold(0, u64::saturating_add)
    }

    /// How many files, whole or in part.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The rows. Neither the log nor a catalog is asked: what is read is what the split names,
    /// below its location and where `env` allows to read besides. A split is to be trusted as much
    /// as who handed it over.
    ///
    /// # Errors
    ///
    /// `unsupported-path` and `invalid-argument` for a location that makes no sense here,
    /// `unknown-column` and `invalid-expression` for a scan that does not fit the table; the stream
    /// yields what reading the data files gives.
    pub fn read(&self, env: &Env, op: &Op) -> Result<Batches> {
        let store = env.open(&self.location)?;
        let tasks = self.files.iter().map(|it| it.task.clone()).collect();
        let plan = Arc::new(ScanPlan::of_tasks(&self.head, &self.scan, tasks)?);
        let rows = self.files.iter().map(|it| it.rows.clone()).collect();
        Ok(read::read_parts(env, op, &store, plan, rows))
    }
}

/// A file in parts of about the target, with their bytes. The last part is open to the end, so that
/// no row is lost if there are more than the statistics say.
fn parts(task: &ScanTask, target: u64) -> Vec<(Part, u64)> {
    let count = task.size.div_ceil(target).min(PARTS_MAX);
    let rows = task.num_records.unwrap_or(0);
    let count = count.min(rows);
    if count < 2 {
        return vec![(Part { task: task.clone(), rows: None }, task.size)];
    }
    let bound = |at: u64| match at == count {
        true => u64::MAX,
        false => {
            u64::try_from(u128::from(rows) * u128::from(at) / u128::from(count)).unwrap_or(rows)
        }
    };
    let part = |at: u64| {
        let rows = Some(bound(at)..bound(at + 1));
        (Part { task: task.clone(), rows }, task.size / count)
    };
    (0..count).map(part).collect()
}

/// As one line of JSON.
impl fmt::Display for Split {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files = Vec::new();
        for part in &self.files {
            let mut file = action(Action::Add(part.task.to_add())).map_err(|_| fmt::Error)?;
            if let (Some(rows), Some(file)) = (&part.rows, file.as_object_mut()) {
                let end = (rows.end != u64::MAX).then_some(rows.end);
                file.insert("rows".into(), json!([rows.start, end]));
            }
            files.push(file);
        }
        let head = &self.head;
        let protocol = action(Action::Protocol(head.protocol.clone())).map_err(|_| fmt::Error)?;
        let metadata = action(Action::Metadata(head.metadata.clone())).map_err(|_| fmt::Error)?;
        let mut scan = Map::new();
        let mut say = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                scan.insert(key.to_string(), value);
            }
        };
        say("columns", self.scan.projection().map(|it| json!(it)));
        say("filter", self.scan.predicate().map(|it| json!(it.to_string())));
        say("limit", self.scan.row_limit().map(|it| json!(it)));
        say("batchRows", self.scan.rows_per_batch().map(|it| json!(it)));
        let split = json!({
            "lakebedSplit": FORMAT,
            "location": self.location,
            "version": head.version.get(),
            "byCatalog": head.read.access() == Access::Catalog,
            "protocol": protocol.get("protocol"),
            "metaData": metadata.get("metaData"),
            "scan": scan,
            "files": files,
        });
        write!(out, "{split}")
    }
}

/// # Errors
///
/// `invalid-argument` for text that is no split, or one of a later form; `invalid-protocol`,
/// `unsupported-protocol`, `invalid-schema`, `invalid-metadata`, `invalid-path` and their like for
/// what no table of this build can have.
impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Split> {
        let split: Value = serde_json::from_str(text).map_err(|it| bad("JSON").because(it))?;
        match split.get("lakebedSplit").and_then(Value::as_u64) {
            Some(FORMAT) => (),
            Some(other) => {
                return Err(Error::invalid(format!("split of form {other}, known is {FORMAT}")));
            }
            None => return Err(bad("`lakebedSplit`")),
        }
        let location = split.get("location").and_then(Value::as_str);
        let location = location.ok_or_else(|| bad("`location`"))?.to_string();
        let version = split.get("version").and_then(Value::as_u64).map(|it| it.to_string().parse());
        let version = version.and_then(Result::ok).ok_or_else(|| bad("`version`"))?;
        let access = match split.get("byCatalog").and_then(Value::as_bool) {
            Some(true) => Access::Catalog,
            _ => Access::Path,
        };
        let head = Head::by(version, protocol(&split)?, metadata(&split)?, access)?;
        let files = split.get("files").and_then(Value::as_array).ok_or_else(|| bad("`files`"))?;
        let files = files.iter().map(|it| part(&head, it)).collect::<Result<Vec<_>>>()?;
        Ok(Split { location, head: Arc::new(head), scan: scan(&split)?, files })
    }
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("no split: {what} is not what it must be"))
}

/// An action as JSON.
fn action(action: Action) -> Result<Value> {
    let line = action.to_json_line();
    serde_json::from_str(&line).map_err(|it| Error::internal("an action is no JSON").because(it))
}

/// The action under `key`, by the rules of the log.
fn read_action(of: &Value, key: &str) -> Result<Action> {
    let value = of.get(key).ok_or_else(|| bad(&format!("`{key}`")))?;
    let line = json!({ key: value }).to_string();
    let action = Action::from_json_line(line.as_bytes())?;
    action.ok_or_else(|| bad(&format!("`{key}`")))
}

fn protocol(split: &Value) -> Result<Protocol> {
    match read_action(split, "protocol")? {
        Action::Protocol(it) => Ok(it),
        _ => Err(bad("`protocol`")),
    }
}

fn metadata(split: &Value) -> Result<Metadata> {
    match read_action(split, "metaData")? {
        Action::Metadata(it) => Ok(it),
        _ => Err(bad("`metaData`")),
    }
}

fn add(file: &Value) -> Result<Add> {
    match read_action(file, "add")? {
        Action::Add(it) => Ok(it),
        _ => Err(bad("`add`")),
    }
}

fn scan(split: &Value) -> Result<Scan> {
    let said = split.get("scan").and_then(Value::as_object).ok_or_else(|| bad("`scan`"))?;
    let mut scan = Scan::new();
    if let Some(columns) = said.get("columns") {
        let columns = columns.as_array().ok_or_else(|| bad("`columns`"))?;
        let name = |it: &Value| it.as_str().map(str::to_string).ok_or_else(|| bad("`columns`"));
        scan = scan.columns(columns.iter().map(name).collect::<Result<Vec<_>>>()?);
    }
    if let Some(filter) = said.get("filter") {
        scan = scan.filter(filter.as_str().ok_or_else(|| bad("`filter`"))?.parse()?);
    }
    if let Some(limit) = said.get("limit") {
        scan = scan.limit(limit.as_u64().ok_or_else(|| bad("`limit`"))?);
    }
    if let Some(rows) = said.get("batchRows") {
        let rows = rows.as_u64().and_then(|it| usize::try_from(it).ok());
        scan = scan.batch_rows(rows.ok_or_else(|| bad("`batchRows`"))?);
    }
    Ok(scan)
}

fn part(head: &Head, file: &Value) -> Result<Part> {
    let task = ScanTask::from_add(head, &add(file)?)?;
    let rows = match file.get("rows") {
        None => None,
        Some(rows) => {
            let bound = |at: usize| rows.get(at).map(|it| (it.as_u64(), it.is_null()));
            match (bound(0), bound(1)) {
                (Some((Some(start), _)), Some((Some(end), _))) if start <= end => Some(start..end),
                (Some((Some(start), _)), Some((None, true))) => Some(start..u64::MAX),
                _ => return Err(bad("`rows`")),
            }
        }
    };
    Ok(Part { task, rows })
}
