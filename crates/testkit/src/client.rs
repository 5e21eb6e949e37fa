//! A client of a simulated run: a process that does one operation after another, and that begins
//! again after it was killed.
//!
//! What it does is a decision per operation, and 0 is to do nothing, so that leaving decisions out
//! leaves operations out. What it was told goes into the history, truly: also that it was told
//! nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::join_all;
use lakebed::clean::CleanLog;
use lakebed::op::Op;
use lakebed::store::Store;
use lakebed::{
    Append, Committed, Env, Error, IsolationLevel, Overwrite, Result, Snapshot, Table, Timestamp,
    Unresolved, Version, col, lit, txn,
};
use lakebed_log::commit::Draft;
use lakebed_log::conflict::Intent;
use lakebed_log::mutant::planted;

use crate::care;
use crate::choices::{Client, WORLD};
use crate::foreign;
use crate::history::{Asked, Change, Deed, Filter, History, Look, MARK, Told, Which};
use crate::json_rows::JsonRows;
use crate::objects::Objects;
use crate::oracle::Row;
use crate::sim::{Side, World};
use crate::sim_store::SimStore;
use crate::weather::{DATA_RETENTION_HOURS, SKEW_MINUTES, Weather};

mod batches;

pub use batches::{batch, rows};

/// Where the table of a run lies.
pub const LOCATION: &str = "sim://table";
/// The same in the store.
pub const ROOT: &str = "table";
/// Partitions.
pub const DAYS: [&str; 3] = ["mon", "tue", "wed"];

/// What all clients of a run share.
#[derive(Clone)]
pub struct Shared {
    /// Time and choices.
    pub world: Arc<World>,
    /// What is stored.
    pub objects: Arc<Objects>,
    /// What was done and told.
    pub history: Arc<History>,
    /// What goes wrong.
    pub weather: Weather,
    /// Does the table have deletion vectors? Then the engine reads it and others write it.
    pub vectors: bool,
}

/// One client, for all of its lives.
pub struct Actor {
    shared: Shared,
    id: Client,
    side: Arc<Side>,
    store: SimStore,
    operations: u64,
    next: AtomicU64,
    lives: AtomicU64,
    /// Deeds that may be repeated because they have a `once`, and were under way when the client
    /// died.
    open: Mutex<BTreeSet<usize>>,
}

/// What a life of a client has at hand.
struct Hands {
    env: Env,
    held: Option<Snapshot>,
}

/// What a client may do, with how likely each is on a plain table and on one with vectors. A
/// decision is the place in this list, counted from 1: only append to it.
const DEEDS: &[(Doing, u64, u64)] = &[
    (Doing::Append, 18, 0),
    (Doing::AppendOnce, 12, 0),
    (Doing::Overwrite, 4, 0),
    (Doing::OverwriteDay, 12, 0),
    (Doing::OverwriteDays, 6, 0),
    (Doing::Property, 3, 0),
    (Doing::Evolve, 2, 0),
    (Doing::AppendHeld, 6, 0),
    (Doing::Read, 12, 14),
    (Doing::ReadVersion, 7, 7),
    (Doing::ReadTime, 3, 3),
    (Doing::Checkpoint, 4, 8),
    (Doing::Clean, 5, 5),
    (Doing::Vacuum, 5, 6),
    (Doing::ForeignAppend, 4, 20),
    (Doing::ForeignDelete, 0, 16),
    (Doing::Rest, 3, 3),
    (Doing::OverwriteWhere, 10, 0),
    // In written runs alone: without a marker nobody can be safe from who sleeps.
    (Doing::ForeignClean, 0, 0),
    (Doing::Together, 9, 0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Append,
    AppendOnce,
    Overwrite,
    OverwriteDay,
    OverwriteDays,
    Property,
    Evolve,
    AppendHeld,
    Read,
    ReadVersion,
    ReadTime,
    Checkpoint,
    Clean,
    Vacuum,
    ForeignAppend,
    ForeignDelete,
    Rest,
    OverwriteWhere,
    ForeignClean,
    Together,
}

impl Shared {
    /// An environment of a client, and its handle of the store.
    pub fn env(&self, client: Client, side: &Arc<Side>) -> (Env, SimStore) {
        let store = SimStore::new(&self.world, &self.objects, client, self.weather);
        let runtime: Arc<dyn lakebed::env::Runtime> = side.clone();
        let env = Env::new(runtime)
            .with_codec(Arc::new(JsonRows))
            .with_store("sim://", Arc::new(store.clone()));
        let env = match self.weather.table.piece_bytes {
            0 => env,
            bytes => env.with_piece_bytes(bytes),
        };
        (env, store)
    }

    /// Properties of the table.
    pub fn properties(&self) -> Vec<(String, String)> {
        let Weather { checkpoint_interval, log_retention_hours, table, .. } = self.weather;
        let isolation = match table.isolation {
            IsolationLevel::Serializable => None,
            it => Some(format!("{it:?}")),
        };
        let compaction = Some(table.compaction_interval).filter(|it| *it != 0);
        let policy = table.second_layout.then(|| "v2".to_string());
        let asked = [
            ("delta.isolationLevel", isolation),
            ("lakebed.logCompactionInterval", compaction.map(|it| it.to_string())),
            ("delta.checkpointPolicy", policy),
        ];
        let asked = asked.into_iter().filter_map(|(key, it)| Some((key, it?)));
        let pairs = [
            ("delta.checkpointInterval", checkpoint_interval.to_string()),
            ("delta.logRetentionDuration", format!("interval {log_retention_hours} hours")),
            (
                "delta.deletedFileRetentionDuration",
                format!("interval {DATA_RETENTION_HOURS} hours"),
            ),
        ];
        pairs.into_iter().chain(asked).map(|(key, value)| (key.to_string(), value)).collect()
    }
}

impl Actor {
    /// A client that will do so many operations.
    pub fn new(shared: Shared, id: Client, operations: u64) -> Arc<Actor> {
        let choices = shared.world.choices();
        let most = u64::try_from(SKEW_MINUTES).unwrap_or(0) * 2 + 1;
        let skew = i64::try_from(choices.pick("skew", id, most)).unwrap_or(0);
        // 0 is no skew.
        let skew = if SKEW_MINUTES < skew { SKEW_MINUTES - skew } else { skew };
        let side = shared.world.side(id, skew * 60_000);
        let (_, store) = shared.env(id, &side);
        Arc::new(Actor {
            shared,
            id,
            side,
            store,
            operations,
            next: AtomicU64::new(1),
            lives: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    /// Starts it, and starts it again whenever it was killed.
    pub fn start(self: Arc<Actor>) {
        let world = Arc::clone(&self.shared.world);
        let supervisor = async move {
            loop {
                let (alive, ended) = oneshot::channel();
                let this = Arc::clone(&self);
                let life = async move {
                    this.live().await;
                    let _ = alive.send(());
                };
                self.shared.world.spawn(self.id, Box::pin(life));
                if ended.await.is_ok() {
                    return;
                }
                self.shared.world.note(self.id, || "is killed".to_string());
                let millis = self.shared.world.choices().pick("restart-millis", self.id, 100_000);
                self.shared.world.sleep(Duration::from_millis(millis)).await;
            }
        };
        world.spawn(WORLD, Box::pin(supervisor));
    }

    async fn live(&self) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let (env, _) = self.shared.env(self.id, &self.side);
        let mut hands = Hands { env, held: None };
        let open = std::mem::take(&mut *self.open());
        if !open.is_empty() {
            self.side.reseed(life, 0);
        }
        for deed in open {
            self.write(&hands, deed, None).await;
        }
        loop {
            let operation = self.next.fetch_add(1, Ordering::Relaxed);
            if self.operations < operation {
                return;
            }
            self.shared.world.choices().enter(self.id, operation);
            self.side.reseed(life, operation);
            self.operate(&mut hands, operation).await;
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(&self, label: &'static str, below: u64) -> u64 {
        self.shared.world.choices().pick(label, self.id, below)
    }

    async fn operate(&self, hands: &mut Hands, operation: u64) {
        let doing = self.shared.world.choices().draw("does", self.id, |bits| {
            let weight = |it: &(Doing, u64, u64)| if self.shared.vectors { it.2 } else { it.1 };
            let mut at = bits % DEEDS.iter().map(weight).sum::<u64>().max(1);
            for (place, deed) in (1u64..).zip(DEEDS) {
                match at.checked_sub(weight(deed)) {
                    Some(rest) => at = rest,
                    None => return place,
                }
            }
            0
        });
        let place = doing.checked_sub(1).and_then(|it| usize::try_from(it).ok());
        let Some((doing, ..)) = place.and_then(|it| DEEDS.get(it)) else { return };
        let most = u64::try_from(self.shared.weather.pause.as_millis()).unwrap_or(0);
        let pause = self.pick("pause-millis", most + 1);
        self.shared.world.sleep(Duration::from_millis(pause)).await;
        self.shared.world.note(self.id, || format!("{operation}. {doing:?}"));
        match doing {
            Doing::Append | Doing::AppendOnce | Doing::Evolve | Doing::AppendHeld => {
                let rows = self.rows(operation, None, *doing == Doing::Evolve);
                let once = (*doing == Doing::AppendOnce).then(|| {
                    let version = i64::try_from(operation).unwrap_or(0);
                    (format!("app-{}", self.id), version)
                });
                let held = (*doing == Doing::AppendHeld).then(|| hands.held.clone()).flatten();
                self.change(hands, operation, Change::Append(rows), once, held).await;
            }
            Doing::Overwrite | Doing::OverwriteDay | Doing::OverwriteDays => {
                let day = self.day();
                let (which, day) = match doing {
                    Doing::Overwrite => (Which::All, None),
                    Doing::OverwriteDay => (Which::Day(day.clone()), Some(day)),
                    _ => (Which::SameDays, None),
                };
                let change = Change::Overwrite(which, self.rows(operation, day, false));
                self.change(hands, operation, change, None, None).await;
            }
            Doing::OverwriteWhere => {
                let above = self.above(operation);
                let rows = self.rows(operation, None, false);
                let change = Change::Overwrite(Which::Above(above), rows);
                self.change(hands, operation, change, None, None).await;
            }
            Doing::Together => self.together(hands, operation).await,
            Doing::Property => {
                let mark = format!("{}/{operation}", self.id);
                self.change(hands, operation, Change::Property(mark), None, None).await;
            }
            Doing::Read | Doing::ReadVersion | Doing::ReadTime => self.read(hands, *doing).await,
            Doing::Checkpoint | Doing::Clean | Doing::ForeignClean | Doing::Vacuum => {
                self.care(hands, *doing).await;
            }
            Doing::ForeignAppend => {
                let change = Change::Append(self.rows(operation, None, false));
                self.change(hands, operation, change, None, None).await;
            }
            Doing::ForeignDelete => {
                let ids = foreign::some_ids(&self.shared, self.id);
                if !ids.is_empty() {
                    self.change(hands, operation, Change::Delete(ids), None, None).await;
                }
            }
            Doing::Rest => {
                let minutes = self.pick("rest-minutes", 600);
                self.shared.world.sleep(Duration::from_secs(minutes * 60)).await;
            }
        }
    }

    /// Several appends at once, some of them with a `once`, and perhaps an overwrite among them:
    /// the appends land together, or one by one.
    async fn together(&self, hands: &Hands, operation: u64) {
        let members = 2 + self.pick("members", 3);
        let odd = self.pick("odd-member", 2 * members);
        let mut deeds = Vec::new();
        for member in 0..members {
            let rows = self.rows_of(operation, member, None, false);
            let app =
                || (format!("app-{}-{member}", self.id), i64::try_from(operation).unwrap_or(0));
            let once = (self.pick("member-once", 3) == 1).then(app);
            let (change, once) = match member == odd.wrapping_sub(1) {
                true => (Change::Overwrite(Which::Above(self.above(operation)), rows), None),
                false => (Change::Append(rows), once),
            };
            deeds.push(self.change(hands, operation, change, once, None));
        }
        join_all(deeds).await;
    }

    fn day(&self) -> String {
        let day = usize::try_from(self.pick("day", DAYS.len() as u64)).unwrap_or(0);
        DAYS.get(day).copied().unwrap_or("mon").to_string()
    }

    /// An id below those of this operation, most likely in the middle of a file.
    fn above(&self, operation: u64) -> i64 {
        let client = i64::from(self.id);
        let back = i64::try_from(self.pick("clients-back", u64::from(self.id))).unwrap_or(0);
        let before = if back == 0 { operation } else { self.operations };
        let of = i64::try_from(self.pick("operations-back", before)).unwrap_or(0);
        let of = i64::try_from(before).unwrap_or(0) - 1 - of;
        (client - back) * 1_000_000 + of * 100
    }

    /// One to three rows that nobody else writes.
    fn rows(&self, operation: u64, day: Option<String>, with_note: bool) -> Vec<Row> {
        self.rows_of(operation, 0, day, with_note)
    }

    fn rows_of(
        &self,
        operation: u64,
        member: u64,
        day: Option<String>,
        with_note: bool,
    ) -> Vec<Row> {
        let number = i64::try_from(operation * 100 + member * 10).unwrap_or(0);
        let first = i64::from(self.id) * 1_000_000 + number;
        let more = i64::try_from(self.pick("rows", 3)).unwrap_or(0);
        let row = |id: i64| Row {
            id,
            day: day.clone().unwrap_or_else(|| self.day()),
            note: with_note.then(|| format!("note {id}")),
        };
        (first..=first + more).map(row).collect()
    }

    fn table(&self, hands: &Hands) -> Result<(Table, Store, Op)> {
        let seconds = match self.pick("deadline", 4) {
            0 => 600,
            1 => 20,
            2 => 6 * 3600,
            _ => 90,
        };
        let op = Op::new(Duration::from_secs(seconds));
        let table = Table::open_with(&hands.env, LOCATION)?.with_op(op.clone());
        Ok((table, hands.env.open(LOCATION)?, op))
    }

    async fn change(
        &self,
        hands: &Hands,
        operation: u64,
        change: Change,
        once: Option<(String, i64)>,
        held: Option<Snapshot>,
    ) {
        let began = self.shared.world.now();
        let may_repeat = once.is_some();
        let deed = Deed { client: self.id, operation, change, once, began, told: Vec::new() };
        let deed = self.shared.history.begin(deed);
        self.write(hands, deed, held).await;
        let told = self.shared.history.deed(deed).and_then(|it| it.told.last().cloned());
        if matches!(told, Some(Told::Unknown(_))) && (may_repeat || planted(23)) {
            self.write(hands, deed, None).await;
        }
    }

    /// One try of a deed.
    async fn write(&self, hands: &Hands, number: usize, held: Option<Snapshot>) {
        let Some(deed) = self.shared.history.deed(number) else { return };
        self.shared.history.try_again(number);
        if deed.once.is_some() {
            self.open().insert(number);
        }
        let told = match self.shared.vectors || matches!(deed.change, Change::Delete(_)) {
            true => foreign::write(&self.shared, &self.store, &self.side, &deed).await,
            false => told(self.engine_write(hands, &deed, held).await),
        };
        self.open().remove(&number);
        self.shared.world.note(self.id, || format!("= {told:?}"));
        self.shared.history.tell(number, told);
    }

    async fn engine_write(
        &self,
        hands: &Hands,
        deed: &Deed,
        held: Option<Snapshot>,
    ) -> Result<Committed> {
        let (table, store, op) = self.table(hands)?;
        let mut options = Append::new()
            .partition_by(["day"])
            .user_metadata(format!("{}/{}", deed.client, deed.operation));
        for (key, value) in self.shared.properties() {
            options = options.property(key, value);
        }
        if let Some((app, version)) = &deed.once {
            options = options.once(app.clone(), *version);
        }
        match &deed.change {
            Change::Append(rows) => {
                let evolves = rows.iter().any(|it| it.note.is_some());
                let (rows, options) = (batch(rows)?, options.evolve_schema(evolves));
                match held {
                    Some(held) => held.append(rows, options).await,
                    None => table.append(rows, options).await,
                }
            }
            Change::Overwrite(which, rows) => {
                let overwrite = match which {
                    Which::All => Overwrite::all(),
                    Which::Day(day) => Overwrite::filter(col("day").eq(lit(day.as_str()))),
                    Which::SameDays => Overwrite::partitions(),
                    Which::Above(id) => Overwrite::filter(col("id").gt(lit(*id))),
                };
                table.overwrite(batch(rows)?, overwrite.options(options)).await
            }
            Change::Property(mark) => {
                let base = table.snapshot().await?;
                let mut metadata = base.head().metadata.clone();
                metadata.configuration.insert(MARK.to_string(), mark.clone());
                let draft = Draft {
                    txn_id: hands.env.id().to_string(),
                    operation: "SET TBLPROPERTIES".to_string(),
                    user_metadata: Some(mark.clone()),
                    metadata: Some(metadata),
                    intent: Intent { metadata: true, ..Intent::default() },
                    ..Draft::default()
                };
                txn::commit(&hands.env, &op, &store, Some(&base), draft).await
            }
            Change::Delete(_) => Err(Error::internal("the engine deletes no rows yet")),
        }
    }

    async fn read(&self, hands: &mut Hands, doing: Doing) {
        let Ok((table, ..)) = self.table(hands) else { return };
        let asked = match doing {
            Doing::ReadVersion => {
                // It knows of the version that it held, and guesses from there.
                let known = hands.held.as_ref().map_or(0, |it| it.version().get());
                let back = self.pick("versions-back", 12);
                Asked::Version((known + 3).saturating_sub(back))
            }
            Doing::ReadTime => {
                let minutes = i64::try_from(self.pick("minutes-back", 180)).unwrap_or(0);
                Asked::Time(self.shared.world.now().plus_millis(-minutes * 60_000))
            }
            _ => Asked::Newest,
        };
        let filter = Filter {
            day: (self.pick("filters-day", 3) == 1).then(|| self.day()),
            above: (self.pick("filters-id", 3) == 1).then(|| {
                let client = i64::try_from(self.pick("above", 4)).unwrap_or(0);
                client * 1_000_000 + 300
            }),
        };
        let began = self.shared.world.now();
        let snapshot = open(&table, asked).await;
        let told = match snapshot {
            Ok(snapshot) => {
                let rows = rows(&snapshot, &filter).await;
                let version = snapshot.version().get();
                if asked == Asked::Newest {
                    hands.held = Some(snapshot);
                }
                rows.map(|it| (version, it))
            }
            Err(error) => Err(error),
        };
        let told = told.map_err(|it| (it.code(), format!("{it:?}")));
        self.shared.world.note(self.id, || match &told {
            Ok((version, rows)) => format!("= version {version}, {} rows", rows.len()),
            Err((code, _)) => format!("= {}", code.as_str()),
        });
        let took = (began, self.shared.world.now());
        self.shared.history.look(Look { client: self.id, took, asked, filter, told });
    }

    async fn care(&self, hands: &mut Hands, doing: Doing) {
        let Ok((table, store, op)) = self.table(hands) else { return };
        let done = match doing {
            Doing::Checkpoint => match table.snapshot().await {
                Ok(snapshot) => snapshot.checkpoint().await,
                Err(error) => Err(error),
            },
            Doing::Clean => table.clean_log(CleanLog::new()).await.map(|_| ()),
            Doing::ForeignClean => care::clean(&hands.env, &op, &store, &table).await,
            _ => {
                let held = hands.held.as_ref();
                care::vacuum(&hands.env, &op, &store, &self.store, &table, held).await
            }
        };
        // Maintenance may fail at any time; what it may not do is in the checks.
        self.shared.world.note(self.id, || match &done {
            Ok(()) => "= done".to_string(),
            Err(error) => format!("= {}", error.code().as_str()),
        });
    }
}

/// Opens what a read asks for.
pub async fn open(table: &Table, asked: Asked) -> Result<Snapshot> {
    match asked {
        Asked::Newest => table.snapshot().await,
        Asked::Version(version) => match Version::new(version) {
            Some(version) => table.snapshot_at(version).await,
            None => Err(Error::invalid("no version")),
        },
        Asked::Time(at) => table.snapshot_at(Timestamp::from_millis(at.as_millis())).await,
    }
}

fn told(outcome: Result<Committed>) -> Told {
    match outcome {
        Ok(done) if done.changed() => Told::Version(done.version().get()),
        Ok(_) => Told::Unchanged,
        Err(error) => match error.payload::<Unresolved>() {
            Some(it) => Told::Unknown(it.id.clone()),
            None => Told::Failed(error.code(), format!("{error:?}")),
        },
    }
}
