//! One function a command: words in, one call of the library, words out.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use lakebed::op::Op;
use lakebed::table::Resolved;
use lakebed::write::{Data, Layout};
use lakebed::{
    Append, ArrowOptions, CleanLog, Code, Committed, Create, Env, Error, Expr, Overwrite, Protocol,
    Result, Scan, Schema, Snapshot, Table, Version,
};
use serde_json::{Value, json};

use crate::args::{
    At, CleanLogArgs, CreateArgs, FilesArgs, Format, Global, HeadArgs, HistoryArgs, LayoutName,
    Mode, ReadArgs, ResolveArgs, Sync, WhichArgs, WriteArgs,
};
use crate::exit::plain;
use crate::input;
use crate::output::{self, Cells, Output};
use crate::progress::Bar;
use crate::rows;
use crate::staging;

/// What every command works with.
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) env: Env,
    pub(crate) op: Op,
    pub(crate) bar: Bar,
}

impl<'a> Session<'a> {
    /// The environment and the operation that the flags ask for.
    pub(crate) fn new(global: &'a Global, op: Op, bar: Bar) -> Session<'a> {
        let mut env = Env::tokio().with_budget(global.memory_limit);
        if global.sync == Sync::Never {
            env = env.with_sync(false);
        }
        for (key, value) in &global.option {
            env = env.with_option(key, value);
        }
        Session { global, env, op, bar }
    }

    pub(crate) fn table(&self, location: &str) -> Result<Table> {
        let table = Table::open_with(&self.env, location)?.with_op(self.op.clone());
        self.global.allow_root.iter().try_fold(table, |table, root| table.allow_root(root))
    }

    pub(crate) async fn snapshot(&self, at: &At) -> Result<Snapshot> {
        let table = self.table(&at.table)?;
        match (at.version, at.at) {
            (Some(version), _) => table.snapshot_at(version).await,
            (None, Some(time)) => table.snapshot_at(time).await,
            (None, None) => table.snapshot().await,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.global.format()
    }

    pub(crate) fn answer(&self, pairs: &[(&str, Value)]) -> Result<()> {
        self.bar.clear();
        output::answer(self.format(), pairs)
    }

    pub(crate) fn list(&self, names: &[&str], rows: &[Vec<Value>], cells: Cells) -> Result<()> {
        self.bar.clear();
        output::list(self.format(), names, rows, cells)
    }

    pub(crate) fn done(&self, committed: &Committed, what: &str) -> Result<()> {
        let mut pairs = vec![
            ("version", json!(committed.version().get())),
            ("changed", json!(committed.changed())),
        ];
        let metrics = committed.metrics();
        for (name, key) in
            [("rows", "numOutputRows"), ("files", "numFiles"), ("bytes", "numOutputBytes")]
        {
            let number =
                metrics.get(key).and_then(Value::as_str).and_then(|it| it.parse::<u64>().ok());
            if let Some(number) = number {
                pairs.push((name, json!(number)));
            }
        }
        pairs.insert(0, ("done", json!(what)));
        let notes = committed.notes();
        if !notes.is_empty() && matches!(self.format(), Format::Json | Format::Ndjson) {
            pairs.push(("notes", json!(notes)));
        } else {
            self.bar.clear();
            notes.iter().for_each(|it| output::aside(&format!("note: {}", plain(it))));
        }
        self.answer(&pairs)
    }
}

pub(crate) async fn create(session: &Session<'_>, args: &CreateArgs) -> Result<()> {
    let mut options =
        Create::new(Schema::parse_ddl(&args.schema)?).partition_by(trimmed(&args.partition_by));
    for (key, value) in &args.property {
        options = options.property(key, value);
    }
    if let Some(name) = &args.name {
        options = options.name(name);
    }
    if let Some(description) = &args.description {
        options = options.description(description);
    }
    let committed = session.table(&args.table)?.create_here(options).await?;
    session.done(&committed, "created")
}

pub(crate) async fn write(session: &Session<'_>, args: &WriteArgs) -> Result<()> {
    let filter = args.filter.as_deref().map(str::parse::<Expr>).transpose()?;
    if filter.is_some() && args.mode != Mode::Overwrite {
        return Err(Error::invalid("`--where` goes with `--mode overwrite`"));
    }
    let table = session.table(&args.table)?;
    let existing = match table.snapshot().await {
        Ok(snapshot) => Some(snapshot),
        Err(error) if error.code() == Code::NotATable => None,
        Err(error) => return Err(error),
    };
    if let Some(snapshot) = &existing {
        let version = snapshot.version();
        match args.mode {
            Mode::Error => {
                let what = format!("there is a table, at version {version}");
                return Err(Error::new(Code::TableExists, what).at(table.location()));
            }
            Mode::Ignore => {
                return ignored(session, version);
            }
            Mode::Append | Mode::Overwrite => {}
        }
    }
    let schema = existing.as_ref().map(|it| it.schema().as_ref());
    let (shape, batches) = input::open(args, schema)?;
    let data = Data::stream(shape, stream::iter(batches).boxed());
    let options = options(args);
    let some = filter.map(|it| Overwrite::filter(it).other_rows(args.other_rows));
    if let Some(path) = &args.stage {
        return staging::stage(session, &table, (data, options), (args.mode, some), path).await;
    }
    let committed = match (args.mode, some) {
        (Mode::Overwrite, Some(it)) => table.overwrite(data, it.options(options)).await?,
        (Mode::Overwrite, None) => table.overwrite(data, Overwrite::all().options(options)).await?,
        _ => match table.append(data, options).await {
            // Another writer made the table in the meantime.
            Err(it) if args.mode == Mode::Ignore && it.code() == Code::TableExists => {
                return ignored(session, table.snapshot().await?.version());
            }
            done => done?,
        },
    };
    let what = match (args.mode, existing.is_some()) {
        _ if !committed.changed() && args.txn.is_some() => "already there",
        (Mode::Overwrite, true) => "overwritten",
        (_, true) => "appended",
        (_, false) => "created and written",
    };
    session.done(&committed, what)
}

fn ignored(session: &Session<'_>, version: Version) -> Result<()> {
    session.answer(&[("done", json!("ignored")), ("version", json!(version.get()))])
}

/// Names that were separated by commas, and perhaps spaces.
pub(crate) fn trimmed(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(|it| it.trim())
}

fn options(args: &WriteArgs) -> Append {
    let arrow = ArrowOptions { uint64_as_decimal: args.input.uint64_as_decimal };
    let layout = match args.layout {
        LayoutName::Scans => Layout::default(),
        LayoutName::RandomAccess => Layout::random_access(),
    };
    let mut options = Append::new()
        .evolve_schema(args.evolve_schema)
        .partition_by(trimmed(&args.partition_by))
        .only_create(matches!(args.mode, Mode::Error | Mode::Ignore))
        .layout(Layout { arrow, compression: args.compression.clone(), ..layout });
    for (key, value) in &args.property {
        options = options.property(key, value);
    }
    if let Some((app, version)) = &args.txn {
        options = options.once(app, *version);
    }
    if let Some(text) = &args.user_metadata {
        options = options.user_metadata(text);
    }
    options
}

pub(crate) async fn read(session: &Session<'_>, args: &ReadArgs) -> Result<()> {
    let snapshot = match &args.staged {
        Some(file) => staging::snapshot(session, &args.from.table, file).await?,
        None => session.snapshot(&args.from).await?,
    };
    let batches = snapshot.read_with(&session.op, &scan(&args.rows.which)?).await?;
    let schema = batches.schema().clone();
    rows::print(session, &args.rows, &schema, batches).await
}

/// What `--columns`, `--where` and `--limit` ask for.
pub(crate) fn scan(args: &WhichArgs) -> Result<Scan> {
    let mut scan = Scan::new();
    if !args.columns.is_empty() {
        scan = scan.columns(trimmed(&args.columns));
    }
    if let Some(filter) = &args.filter {
        scan = scan.filter(filter.parse()?);
    }
    if let Some(limit) = args.limit {
        scan = scan.limit(limit);
    }
    Ok(scan)
}

pub(crate) async fn head(session: &Session<'_>, args: &HeadArgs) -> Result<()> {
    let snapshot = session.snapshot(&args.from).await?;
    let mut batches = snapshot.read_with(&session.op, &Scan::new().limit(args.rows)).await?;
    let schema = batches.schema().clone();
    let mut output = Output::new(session.format(), &schema, None, &session.bar)?;
    while let Some(batch) = batches.try_next().await? {
        output.write(&batch)?;
    }
    output.finish()
}

pub(crate) async fn info(session: &Session<'_>, at: &At) -> Result<()> {
    let snapshot = match session.snapshot(at).await {
        Ok(it) => it,
        Err(it) => return unreadable(session, at, it),
    };
    let head = snapshot.head();
    let state = snapshot.state(&session.op, lakebed::Width::Wide).await?;
    let features: Vec<String> = head.protocol.features().iter().map(ToString::to_string).collect();
    let columns: Vec<&str> = head.schema.fields().iter().map(|it| it.name.as_str()).collect();
    let txns: BTreeMap<&str, i64> =
        head.txns.iter().map(|it| (it.0.as_str(), it.1.version)).collect();
    let plan = snapshot.plan_with(&session.op, &Scan::new()).await?;
    let rows = plan.tasks().iter().try_fold(0u64, |sum, it| sum.checked_add(it.live_records()?));
    session.answer(&[
        ("location", json!(session.table(&at.table)?.location())),
        ("id", json!(head.metadata.id)),
        ("name", json!(head.metadata.name)),
        ("description", json!(head.metadata.description)),
        ("version", json!(snapshot.version().get())),
        ("committed", json!(snapshot.timestamp().await?.to_string())),
        ("protocol", json!(versions(&head.protocol))),
        ("features", json!(features)),
        ("columns", json!(columns)),
        ("partitioned by", json!(head.metadata.partition_columns)),
        ("files", json!(state.files.len())),
        ("bytes", json!(state.files.total_bytes())),
        ("rows", json!(rows)),
        ("properties", json!(head.metadata.configuration)),
        ("transactions", json!(txns)),
    ])
}

fn versions(of: &Protocol) -> String {
    format!("reader {}, writer {}", of.min_reader_version, of.min_writer_version)
}

/// What can be said of a table that this build cannot read, and then why.
fn unreadable(session: &Session<'_>, at: &At, error: lakebed::Error) -> Result<()> {
    if let Some(known) = error.unreadable() {
        let protocol = &known.protocol;
        let lists = [&protocol.reader_features, &protocol.writer_features];
        // What a reader version implies that nobody here knows is not known.
        let is_told = !known.missing.is_empty() || lists.into_iter().any(Option::is_some);
        let features = if is_told { protocol.features() } else { Vec::new() };
        let missing = known.missing.iter().map(|it| it.feature.to_string());
        let mut lacking: Vec<String> = missing.collect();
        if known.missing.is_empty() {
            lacking.push(format!("reader version {}", protocol.min_reader_version));
        }
        session.answer(&[
            ("location", json!(session.table(&at.table)?.location())),
            ("version", json!(known.version.map(Version::get))),
            ("protocol", json!(versions(protocol))),
            ("features", json!(features.iter().map(ToString::to_string).collect::<Vec<_>>())),
            ("not readable here", json!(lacking)),
        ])?;
    }
    Err(error)
}

pub(crate) async fn schema(session: &Session<'_>, at: &At) -> Result<()> {
    let snapshot = session.snapshot(at).await?;
    let head = snapshot.head();
    if session.format() == Format::Json {
        session.bar.clear();
        return output::line(&head.schema.to_json());
    }
    let mut rows = Vec::new();
    for field in head.schema.fields() {
        let is_partition = head.metadata.partition_columns.contains(&field.name);
        rows.push(vec![
            json!(field.name),
            json!(field.data_type.to_string()),
            json!(field.nullable),
            json!(is_partition),
        ]);
    }
    session.list(&["column", "type", "nullable", "partition"], &rows, Cells::Whole)
}

pub(crate) async fn history(session: &Session<'_>, args: &HistoryArgs) -> Result<()> {
    let commits = session.table(&args.table)?.history().await?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let entries: Vec<_> = commits.take(limit).try_collect().await?;
    let is_text = matches!(session.format(), Format::Table | Format::Csv);
    let names: &[&str] = if is_text {
        &["version", "timestamp", "operation", "parameters", "metrics", "engine", "user metadata"]
    } else {
        &["version", "timestamp", "commitInfo"]
    };
    let mut rows = Vec::new();
    for entry in &entries {
        let mut row = vec![json!(entry.version.get()), json!(entry.timestamp.to_string())];
        let field = |key: &str| entry.info.fields.get(key).cloned().unwrap_or_default();
        if is_text {
            let keys = [
                "operation",
                "operationParameters",
                "operationMetrics",
                "engineInfo",
                "userMetadata",
            ];
            row.extend(keys.iter().map(|it| json!(brief(&field(it)))));
        } else {
            row.push(Value::Object(entry.info.fields.clone()));
        }
        rows.push(row);
    }
    session.list(names, &rows, Cells::Short)
}

/// Fields of an object as `a=1, b=2`; what is empty is left out.
fn brief(value: &Value) -> String {
    let text = |it: &Value| match it {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match value {
        Value::Object(fields) => {
            let full = fields.iter().map(|it| (it.0, text(it.1)));
            let shown = full.filter(|it| !it.1.is_empty() && it.1 != "[]" && it.1 != "{}");
            shown.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
        }
        other => text(other),
    }
}

pub(crate) async fn files(session: &Session<'_>, args: &FilesArgs) -> Result<()> {
    let snapshot = session.snapshot(&args.from).await?;
    // Wide, so that numbers of rows are known.
    snapshot.state(&session.op, lakebed::Width::Wide).await?;
    let mut scan = Scan::new();
    if let Some(filter) = &args.filter {
        scan = scan.filter(filter.parse()?);
    }
    let plan = snapshot.plan_with(&session.op, &scan).await?;
    let mut rows = Vec::new();
    for task in plan.tasks() {
        let value = |it: &Option<lakebed::Value>| it.as_ref().map(lakebed::Value::to_partition);
        let partition: BTreeMap<&str, Option<String>> =
            task.partition.iter().map(|it| (it.0.as_str(), value(it.1))).collect();
        rows.push(vec![
            json!(task.key),
            json!(task.size),
            json!(task.live_records()),
            json!(partition),
        ]);
    }
    session.list(&["path", "bytes", "rows", "partition"], &rows, Cells::Whole)
}

pub(crate) async fn clean_log(session: &Session<'_>, args: &CleanLogArgs) -> Result<()> {
    let options = CleanLog::new().dry_run(args.dry_run);
    let cleaned = session.table(&args.table)?.clean_log(options).await?;
    if args.dry_run {
        let row = |it: &(String, u64)| vec![json!(it.0), json!(it.1)];
        let rows: Vec<_> = cleaned.files().iter().map(row).collect();
        return session.list(&["would be deleted", "bytes"], &rows, Cells::Whole);
    }
    session.answer(&[
        ("done", json!("cleaned up")),
        ("files", json!(cleaned.files().len())),
        ("bytes", json!(cleaned.bytes())),
        ("oldest version kept", json!(cleaned.oldest().map(Version::get))),
        ("stands on checkpoint", json!(cleaned.base().map(Version::get))),
    ])
}

pub(crate) async fn resolve(session: &Session<'_>, args: &ResolveArgs) -> Result<()> {
    let (what, version) = match session.table(&args.table)?.resolve(&args.id).await? {
        Resolved::Committed(version) => ("committed", Some(version.get())),
        Resolved::NotCommitted => ("not committed", None),
        Resolved::Unknown => {
            let what = format!("the outcome of `{}` is still unknown", args.id);
            let unresolved = lakebed::txn::Unresolved { id: args.id.clone() };
            return Err(Error::new(Code::OutcomeUnknown, what).with_payload(unresolved));
        }
        Resolved::Expired => {
            let what = format!(
                "the outcome of `{}` can no longer be told: the log was cleaned up past its \
                 version; look for the rows themselves",
                args.id
            );
            return Err(Error::new(Code::OutcomeUnknown, what));
        }
    };
    session.answer(&[("outcome", json!(what)), ("version", json!(version))])
}

/// Prints the figures of `--stats`, whether the command went well or not.
pub(crate) fn stats(session: &Session<'_>, elapsed: Duration) {
    crate::progress::stats(session.global, &session.op, elapsed);
}
