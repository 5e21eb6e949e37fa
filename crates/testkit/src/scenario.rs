//! One simulated run: several clients on one table in one world, and the check of it.
//!
//! How many clients there are, what each does, what goes wrong and when: all of it are decisions,
//! so a run is a seed, or a list of decisions.

use std::sync::Arc;
use std::time::Duration;

use lakebed::{Create, DataType, PrimitiveType, Schema, StructField, Table};

use crate::audit::{self, Case};
use crate::choices::{Choices, Decisions, Name, WORLD};
use crate::client::{Actor, LOCATION, ROOT, Shared};
use crate::foreign;
use crate::history::History;
use crate::objects::Objects;
use crate::oracle;
use crate::sim::{Note, World};
use crate::weather::{DATA_RETENTION_HOURS, Profile, Weather};

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each rule that was broken.
    pub broken: Vec<String>,
    /// Its decisions that differ from 0.
    pub made: Decisions,
    /// Where a fault could have been.
    pub asked: Vec<Name>,
    /// A hash over its whole course.
    pub trace: u64,
    /// What happened.
    pub notes: Vec<Note>,
    /// Versions that were committed.
    pub versions: usize,
}

/// The size of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Most clients.
    pub clients: u32,
    /// Most operations of each.
    pub operations: u64,
}

impl Size {
    /// What a seed runs with, and what a kept list was found with.
    pub const USUAL: Size = Size { clients: 4, operations: 10 };
}

/// Runs one world to its end and checks it.
pub fn run(choices: Choices, size: Size) -> Outcome {
    let world = World::new(choices);
    let weather = Weather::drawn(world.choices());
    let vectors = world.choices().pick("vectors", WORLD, 5) == 1;
    let shared = Shared {
        world,
        objects: Arc::new(Objects::default()),
        history: Arc::new(History::default()),
        weather,
        vectors,
    };
    let mut broken = Vec::new();
    if let Err(what) = begin(&shared) {
        broken.push(what);
    }
    for client in 1..=size.clients {
        Actor::new(shared.clone(), client, size.operations).start();
    }
    match shared.world.run() {
        Ok(()) => broken.extend(judged(&shared)),
        Err(what) => broken.push(format!("I22: {what}")),
    }
    outcome(&shared, broken)
}

/// What became of a run.
pub fn outcome(shared: &Shared, broken: Vec<String>) -> Outcome {
    let choices = shared.world.choices();
    Outcome {
        broken,
        made: choices.made(),
        asked: choices.asked(),
        trace: choices.trace(),
        notes: shared.world.notes(),
        versions: oracle::read(&shared.objects.journal(), ROOT).map_or(0, |it| it.len()),
    }
}

/// The rules that a run broke.
pub fn judged(shared: &Shared) -> Vec<String> {
    shared.world.clear_up();
    let mut broken = shared.objects.violations();
    let journal = shared.objects.journal();
    let truth = match oracle::read(&journal, ROOT) {
        Ok(it) => it,
        Err(what) => {
            broken.push(format!("I8: {what}"));
            return broken;
        }
    };
    let (deeds, looks) = shared.history.all();
    let hour = 3_600_000;
    let log_hours = i64::try_from(shared.weather.log_retention_hours).unwrap_or(0);
    let data_hours = i64::try_from(DATA_RETENTION_HOURS).unwrap_or(0);
    let case = Case {
        deeds,
        looks,
        journal,
        truth,
        log_retention_millis: log_hours * hour,
        data_retention_millis: data_hours * hour,
        list_lag_millis: millis(shared.weather.list_lag),
        isolation: shared.weather.table.isolation,
        damaged: shared.weather.profile == Profile::Corrupting,
    };
    let (landings, found) = audit::check(&case);
    broken.extend(found);
    broken.extend(audit::deletions(&case));
    match audit::questions(shared, case, landings) {
        Ok(found) => broken.extend(found),
        Err(what) => broken.push(format!("I22: the auditor: {what}")),
    }
    broken
}

fn millis(it: Duration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}

/// Makes the table, unless the clients shall race for that.
///
/// # Errors
///
/// What making it gives.
pub fn begin(shared: &Shared) -> Result<(), String> {
    let at = shared.world.now();
    if shared.vectors {
        let key = format!("{ROOT}/_delta_log/{:020}.json", 0);
        shared.objects.put((WORLD, at), &key, foreign::create(shared).into(), true);
        return Ok(());
    }
    if shared.world.choices().pick("race", WORLD, 6) == 1 {
        return Ok(());
    }
    let calm = Shared { weather: Weather::clear(), ..shared.clone() };
    let side = shared.world.side(WORLD, 0);
    let (env, _) = calm.env(WORLD, &side);
    let mut create = Create::new(schema()).partition_by(["day"]);
    for (key, value) in shared.properties() {
        create = create.property(key, value);
    }
    let table = Table::open_with(&env, LOCATION).map_err(|it| it.to_string())?;
    shared.world.spawn(
        WORLD,
        Box::pin(async move {
            let _ = table.create_here(create).await;
        }),
    );
    shared.world.run()
}

fn schema() -> Schema {
    let field = |name: &str, of| StructField {
        name: name.to_string(),
        data_type: DataType::Primitive(of),
        nullable: true,
        metadata: Default::default(),
    };
    let fields = vec![field("day", PrimitiveType::String), field("id", PrimitiveType::Long)];
    Schema::new(fields).unwrap_or_default()
}
