//! Several writers and readers on one table in one simulated world, and the check of what they were
//! told.
//!
//! Each row has an id that only one operation writes, so the log itself tells which operations
//! landed, where, and how often. Afterwards:
//!
//! - the store saw no commit replaced or out of order, and no transaction id stands twice;
//! - an operation that was told its version stands there, whole, and nowhere else;
//! - one that was told of a failure stands nowhere; one told that its outcome is unknown stands at
//!   most once, and `resolve` says truly where;
//! - applied in the order of the log, the operations give the rows that the independent reader
//!   finds at each version, and so does the engine, at every version and at every moment it was
//!   asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use lakebed::op::Op;
use lakebed::table::Resolved;
use lakebed::txn::Unresolved;
use lakebed::{Append, Committed, Create, Env, ErrorKind, Overwrite, Result, Scan, Table, Version};

use crate::choices::{Choices, Client, Decisions};
use crate::json_rows::JsonRows;
use crate::oracle;
use crate::sim::World;
use crate::sim_store::{Objects, SimStore, Weather};

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Clients that write.
    pub writers: u32,
    /// Operations of each.
    pub operations: u32,
}

/// What a client did, and what it was told.
#[derive(Clone, Debug)]
struct Event {
    /// Ids of the rows it writes; empty for a read.
    ids: Vec<i64>,
    /// Does it replace every row?
    overwrites: bool,
    told: Told,
}

#[derive(Clone, Debug)]
enum Told {
    /// It stands at this version.
    Version(u64),
    /// Nothing was changed: the application's version was there already.
    Unchanged,
    /// It failed for good.
    Failed(String),
    /// Ask with this id.
    Unknown(String),
    /// A read of this version gave these ids.
    Rows(u64, Vec<i64>),
}

const LOCATION: &str = "sim://table";
/// Checks after the run have a clear sky and this name.
const AUDITOR: Client = 1_000;

/// Runs one world to its end and checks it. `Ok` holds the trace of its decisions.
///
/// # Errors
///
/// Each violated rule, and the decisions to replay it with.
pub fn run(choices: Choices, size: Size) -> std::result::Result<u64, (String, Decisions)> {
    let world = World::new(choices);
    let objects = Arc::new(Objects::default());
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let weather = weather(&world);
    for client in 0..size.writers {
        let table = table(&world, &objects, client, weather);
        let (world, told) = (Arc::clone(&world), Arc::clone(&events));
        let actor = actor(Arc::clone(&world), table, client, size.operations, told);
        world.spawn(client, Box::pin(actor));
    }
    let verdict = world.run().and_then(|()| {
        let events = events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        audit(&world, &objects, &events)
    });
    match verdict {
        Ok(()) => Ok(world.choices().trace()),
        Err(what) => Err((what, world.choices().made())),
    }
}

/// Each run draws how rough it is: uniform faults find less than mixed ones.
fn weather(world: &Arc<World>) -> Weather {
    let pick = |label, below| world.choices().pick(label, AUDITOR, below);
    let one_in = |drawn: u64| if drawn == 0 { 0 } else { 1 + drawn };
    Weather {
        any_one_in: one_in(pick("weather-any", 4) * 20),
        commit_one_in: one_in(pick("weather-commit", 4)),
        latency_millis: pick("weather-latency", 3) * 40,
        late_millis: 1 + pick("weather-late", 3) * 20_000,
    }
}

fn table(world: &Arc<World>, objects: &Arc<Objects>, client: Client, weather: Weather) -> Table {
    let skew = i64::try_from(world.choices().pick("skew", client, 3)).unwrap_or(0) * 60_000;
    let store = SimStore::new(world, objects, client, weather);
    let env = Env::new(world.side(client, skew))
        .with_codec(Arc::new(JsonRows))
        .with_store("sim://", store);
    let deadline = Duration::from_secs(1 + 10 * world.choices().pick("deadline", client, 3));
    match Table::open_with(&env, LOCATION) {
        Ok(table) => table.with_op(Op::new(deadline)),
        Err(error) => unreachable!("a simulated location opens: {error}"),
    }
}

async fn actor(
    world: Arc<World>,
    table: Table,
    client: Client,
    operations: u32,
    events: Arc<Mutex<Vec<Event>>>,
) {
    let tell = |event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    if world.choices().pick("creates", client, 2) == 0 {
        let create = Create::new(schema()).property("delta.checkpointInterval", "3");
        // Whether it wins, loses to another, or is lost: the log tells.
        let _ = table.create_here(create).await;
    }
    for operation in 0..operations {
        let pause = world.choices().pick("pause", client, 200);
        world.sleep(Duration::from_millis(pause)).await;
        let first = i64::from(client) * 1_000_000 + i64::from(operation) * 100;
        let ids: Vec<i64> = (first..).take(1 + usize::from(operation % 3 == 0)).collect();
        match world.choices().pick("operation", client, 10) {
            0..=4 => tell(write(&table, ids, false, None).await),
            5 | 6 => {
                let once = (format!("app-{client}"), i64::from(operation));
                let mut event = write(&table, ids.clone(), false, Some(&once)).await;
                // A caller with a `once` may simply repeat what it does not know.
                if matches!(event.told, Told::Unknown(_)) {
                    tell(event);
                    event = write(&table, ids, false, Some(&once)).await;
                    if matches!(event.told, Told::Failed(_)) {
                        // Of this try; the first one may stand all the same.
                        continue;
                    }
                }
                tell(event);
            }
            7 => tell(write(&table, ids, true, None).await),
            _ => {
                if let Ok((version, rows)) = rows(&table, None).await {
                    let told = Told::Rows(version, rows);
                    tell(Event { ids: Vec::new(), overwrites: false, told });
                }
            }
        }
    }
}

async fn write(
    table: &Table,
    ids: Vec<i64>,
    overwrites: bool,
    once: Option<&(String, i64)>,
) -> Event {
    let mut options = Append::new().property("delta.checkpointInterval", "3");
    if let Some((app, version)) = once {
        options = options.once(app.clone(), *version);
    }
    let outcome = match batch(&ids) {
        Ok(batch) if overwrites => table.overwrite(batch, Overwrite::all().options(options)).await,
        Ok(batch) => table.append(batch, options).await,
        Err(error) => Err(error),
    };
    Event { ids, overwrites, told: told(outcome) }
}

fn told(outcome: Result<Committed>) -> Told {
    match outcome {
        Ok(done) if done.changed() => Told::Version(done.version().get()),
        Ok(_) => Told::Unchanged,
        Err(error) if error.kind() == ErrorKind::Unresolved => {
            let id = error.payload::<Unresolved>().map(|it| it.id.clone());
            Told::Unknown(id.unwrap_or_default())
        }
        Err(error) => Told::Failed(format!("{error:?}")),
    }
}

fn schema() -> lakebed::Schema {
    let field = lakebed::StructField {
        name: "id".to_string(),
        data_type: lakebed::DataType::Primitive(lakebed::PrimitiveType::Long),
        nullable: true,
        metadata: Default::default(),
    };
    lakebed::Schema::new(vec![field]).unwrap_or_default()
}

fn batch(ids: &[i64]) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let column = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_new(schema, vec![column])
        .map_err(|it| lakebed::Error::internal("ids make no batch").because(it))
}

/// The version read, and the ids in it, ascending.
async fn rows(table: &Table, version: Option<u64>) -> Result<(u64, Vec<i64>)> {
    let snapshot = match version.and_then(Version::new) {
        Some(version) => table.snapshot_at(version).await?,
        None => table.snapshot().await?,
    };
    let batches: Vec<RecordBatch> = snapshot.read(&Scan::new()).await?.try_collect().await?;
    let mut ids = Vec::new();
    for batch in batches {
        let column =
            batch.column_by_name("id").and_then(|it| it.as_any().downcast_ref::<Int64Array>());
        ids.extend(column.into_iter().flat_map(|it| it.iter().flatten().collect::<Vec<_>>()));
    }
    ids.sort_unstable();
    Ok((snapshot.version().get(), ids))
}

/// Every rule of the module's header.
fn audit(
    world: &Arc<World>,
    objects: &Arc<Objects>,
    events: &[Event],
) -> std::result::Result<(), String> {
    let log = oracle::read(objects, "table")?;
    let mut broken = objects.violations();
    broken.extend(identities(&log));
    let landed = landings(&log, events, &mut broken);
    for event in events {
        broken.extend(told_wrongly(&log, &landed, event));
    }
    broken.extend(history(&log, &landed));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let calm = Weather { any_one_in: 0, commit_one_in: 0, latency_millis: 0, late_millis: 0 };
    let table = table(world, objects, AUDITOR, calm);
    let questions = questions(table, log, landed, events.to_vec(), Arc::clone(&asked));
    world.spawn(AUDITOR, Box::pin(questions));
    world.run()?;
    broken.extend(asked.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

fn identities(log: &[oracle::Committed]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = log.iter().filter(|it| !seen.insert(&it.txn_id));
    twice.map(|it| format!("transaction {} stands twice", it.txn_id)).collect()
}

/// Where each set of ids landed, and whether it replaced the table.
type Landings = BTreeMap<Vec<i64>, (u64, bool)>;

fn landings(log: &[oracle::Committed], events: &[Event], broken: &mut Vec<String>) -> Landings {
    let mut landed = Landings::new();
    for (version, commit) in (0u64..).zip(log).filter(|it| !it.1.added.is_empty()) {
        let Some(event) = events.iter().find(|it| it.ids == commit.added) else {
            broken.push(format!("version {version} adds {:?}, which nobody wrote", commit.added));
            continue;
        };
        if let Some((first, _)) = landed.insert(commit.added.clone(), (version, event.overwrites)) {
            broken.push(format!("{:?} stands at {first} and at {version}", commit.added));
        }
    }
    landed
}

/// What a client was told against what the log holds.
fn told_wrongly(log: &[oracle::Committed], landed: &Landings, event: &Event) -> Option<String> {
    let at = landed.get(&event.ids).map(|it| it.0);
    match &event.told {
        Told::Version(told) if at != Some(*told) => {
            Some(format!("{:?}: told version {told}, stands at {at:?}", event.ids))
        }
        Told::Unchanged if at.is_none() => Some(format!("{:?}: told it was there", event.ids)),
        Told::Failed(why) if at.is_some() => {
            Some(format!("{:?}: told of failure, stands at {at:?}: {why}", event.ids))
        }
        Told::Rows(version, rows) => {
            let truth = usize::try_from(*version).ok().and_then(|it| log.get(it));
            let agrees = truth.is_some_and(|it| it.rows == *rows);
            (!agrees).then(|| format!("read {rows:?} at version {version}, there is {truth:?}"))
        }
        _ => None,
    }
}

/// The operations, applied in the order of the log, give the table at each version.
fn history(log: &[oracle::Committed], landed: &Landings) -> Vec<String> {
    let mut broken = Vec::new();
    let mut model: Vec<i64> = Vec::new();
    for (version, commit) in log.iter().enumerate() {
        if let Some((_, overwrites)) = landed.get(&commit.added) {
            if *overwrites {
                model.clear();
            }
            model.extend(&commit.added);
            model.sort_unstable();
        }
        if model != commit.rows {
            broken.push(format!("version {version} holds {:?}, should {model:?}", commit.rows));
        }
    }
    broken
}

/// Asks the engine, under a clear sky: every version, and every outcome that was unknown.
async fn questions(
    table: Table,
    log: Vec<oracle::Committed>,
    landed: Landings,
    events: Vec<Event>,
    broken: Arc<Mutex<Vec<String>>>,
) {
    let complain = |what| broken.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    for (version, commit) in (0u64..).zip(&log) {
        match rows(&table, Some(version)).await {
            Ok((read, rows)) if read == version && rows == commit.rows => {}
            other => complain(format!("version {version} reads as {other:?}, is {commit:?}")),
        }
    }
    for event in &events {
        let Told::Unknown(id) = &event.told else { continue };
        // Its rows may stand through a repeated try under another identity.
        let own = id.split('@').next().unwrap_or_default();
        let at = (0u64..).zip(&log).find(|it| it.1.txn_id == own).map(|it| it.0);
        let expected = at.and_then(Version::new).map(Resolved::Committed);
        match table.resolve(id).await {
            Ok(resolved) if Some(resolved) == expected => {}
            // Past the end of the log it could still land, if the store had not gone quiet.
            Ok(Resolved::NotCommitted | Resolved::Unknown) if expected.is_none() => {}
            other => complain(format!("{id} resolves to {other:?}, stands at {at:?}")),
        }
    }
    let _ = landed;
}
