//! `check` against rows: what it clears must come to the same as one writer after the other.
//!
//! A table of a few files, winners that append, delete, replace, copy and compact, and an operation
//! of ours that was made before them. Each is applied twice: to files, as its commit says, and to
//! rows, as its words say.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, json};

use super::*;
use crate::action::{Action, Add, CommitInfo, DeletionVector, Remove};
use crate::batch::Width;
use crate::expr::{col, lit};
use crate::files::FileList;
use crate::uri;

/// Partition (0 is null) and value.
type Row = (u8, Option<i64>);

#[derive(Clone, Debug)]
struct File {
    path: String,
    part: u8,
    /// Those that are alive.
    rows: Vec<Option<i64>>,
    /// Number of its vector, and how many rows that deletes.
    vector: Option<(i32, usize)>,
    /// Does it have statistics?
    told: bool,
}

/// Live files.
#[derive(Clone, Debug, Default)]
struct Table(Vec<File>);

#[derive(Clone, Copy, Debug)]
enum Filter {
    All,
    Part(u8),
    Above(i64),
    NotAbove(i64),
    Null,
    PartAbove(u8, i64),
}

#[derive(Clone, Debug)]
enum Op {
    Append {
        rows: Vec<Row>,
        blind: bool,
    },
    Delete {
        filter: Filter,
        by_vector: bool,
    },
    Overwrite {
        filter: Filter,
        rows: Vec<Row>,
    },
    /// Appends a copy of what it reads.
    Copy {
        filter: Filter,
    },
    /// Puts the files of a partition together.
    Compact {
        part: u8,
    },
}

/// What a commit of it holds.
#[derive(Debug, Default)]
struct Change {
    removes: Vec<File>,
    adds: Vec<File>,
    rearranges: bool,
    blind: bool,
}

fn text(part: u8) -> Option<String> {
    (part != 0).then(|| format!("p{part}"))
}

impl Filter {
    fn expr(self) -> Expr {
        let part = |it: u8| match text(it) {
            Some(it) => col("p").eq(lit(it)),
            None => Expr::IsNull(Box::new(col("p"))),
        };
        match self {
            Filter::All => lit(true),
            Filter::Part(it) => part(it),
            Filter::Above(it) => col("x").gt(lit(it)),
            Filter::NotAbove(it) => Expr::Not(Box::new(col("x").gt(lit(it)))),
            Filter::Null => Expr::IsNull(Box::new(col("x"))),
            Filter::PartAbove(at, it) => part(at).and(col("x").gt(lit(it))),
        }
    }

    fn matches(self, (part, x): Row) -> bool {
        match self {
            Filter::All => true,
            Filter::Part(it) => part == it,
            Filter::Above(it) => x.is_some_and(|x| it < x),
            Filter::NotAbove(it) => x.is_some_and(|x| x <= it),
            Filter::Null => x.is_none(),
            Filter::PartAbove(at, it) => part == at && x.is_some_and(|x| it < x),
        }
    }

    fn reads(self) -> Reads {
        match self {
            Filter::All => Reads::Everything,
            other => Reads::Matching(Box::new(other.expr().bind_filter(&head().schema).unwrap())),
        }
    }
}

impl File {
    fn new(path: String, part: u8, rows: Vec<Option<i64>>, told: bool) -> File {
        File { path, part, rows, vector: None, told }
    }

    fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.iter().map(|it| (self.part, *it))
    }

    fn deletion_vector(&self) -> Option<DeletionVector> {
        self.vector.map(|(number, rows)| DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
            offset: Some(number),
            size_in_bytes: 34,
            cardinality: i64::try_from(rows).unwrap(),
        })
    }

    fn add(&self, data_change: bool) -> Add {
        let values = || self.rows.iter().flatten();
        let bound = |it: Option<&i64>| it.map_or(json!({}), |it| json!({ "x": it }));
        let nulls = self.rows.iter().filter(|it| it.is_none()).count();
        let (rows, nulls) = match self.vector {
            // Some of the deleted rows may have been null, too.
            Some((_, deleted)) => (self.rows.len() + deleted, json!({})),
            None => (self.rows.len(), json!({ "x": nulls })),
        };
        let stats = json!({
            "numRecords": rows, "nullCount": nulls, "tightBounds": self.vector.is_none(),
            "minValues": bound(values().min()), "maxValues": bound(values().max()),
        });
        Add {
            path: self.path.clone(),
            partition_values: [("p".to_string(), text(self.part))].into(),
            data_change,
            stats: self.told.then(|| stats.to_string()),
            deletion_vector: self.deletion_vector(),
            ..Add::default()
        }
    }

    fn remove(&self, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(1),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some([("p".to_string(), text(self.part))].into()),
            size: Some(1),
            deletion_vector: self.deletion_vector(),
            ..Remove::default()
        }
    }
}

impl Table {
    fn rows(&self) -> Vec<Row> {
        sorted(self.0.iter().flat_map(File::rows).collect())
    }

    /// As a reader takes a commit; `Err` if it removes what is not there, or one file is there
    /// twice.
    fn apply(&mut self, change: &Change) -> Result<(), String> {
        for gone in &change.removes {
            let here = |it: &File| it.path == gone.path && it.vector == gone.vector;
            let at = self.0.iter().position(here).ok_or(format!("{} is gone", gone.path))?;
            self.0.remove(at);
        }
        for new in &change.adds {
            if self.0.iter().any(|it| it.path == new.path) {
                return Err(format!("{} is there twice", new.path));
            }
            self.0.push(new.clone());
        }
        Ok(())
    }

    fn state(&self) -> TableState {
        let adds: Vec<Action> = self.0.iter().map(|it| Action::Add(it.add(true))).collect();
        let batch = LogBatch::from_actions(&adds).unwrap_or_default();
        let files = FileList::empty(Width::Wide).advance(batch.adds.as_ref(), None).unwrap();
        TableState { head: head(), files }
    }
}

impl Op {
    /// On rows.
    fn after(&self, mut rows: Vec<Row>) -> Vec<Row> {
        match self {
            Op::Append { rows: new, .. } => rows.extend(new),
            Op::Delete { filter, .. } => rows.retain(|it| !filter.matches(*it)),
            Op::Overwrite { filter, rows: new } => {
                rows.retain(|it| !filter.matches(*it));
                rows.extend(new);
            }
            Op::Copy { filter } => {
                let copied: Vec<Row> =
                    rows.iter().filter(|it| filter.matches(**it)).copied().collect();
                rows.extend(copied);
            }
            Op::Compact { .. } => {}
        }
        sorted(rows)
    }

    /// On files, by whoever is called `who`.
    fn change(&self, table: &Table, who: usize) -> Change {
        let mut change = Change::default();
        match self {
            Op::Append { rows, blind } => {
                change.blind = *blind;
                change.write(rows.iter().copied(), who);
            }
            Op::Delete { filter, by_vector } => change.leave_out(table, *filter, *by_vector, who),
            Op::Overwrite { filter, rows } => {
                change.leave_out(table, *filter, false, who);
                change.write(rows.iter().copied(), who);
            }
            Op::Copy { filter } => {
                change.write(table.rows().into_iter().filter(|it| filter.matches(*it)), who);
            }
            Op::Compact { part } => {
                change.removes = table.0.iter().filter(|it| it.part == *part).cloned().collect();
                change.rearranges = true;
                let rows: Vec<Row> = change.removes.iter().flat_map(File::rows).collect();
                change.write(rows.into_iter(), who);
            }
        }
        change
    }

    fn intent(&self, change: &Change) -> Intent {
        let reads = match self {
            Op::Append { .. } => Reads::Nothing,
            Op::Delete { filter, .. } | Op::Overwrite { filter, .. } | Op::Copy { filter } => {
                filter.reads()
            }
            Op::Compact { .. } => Reads::Everything,
        };
        let key = |it: &File| (it.path.clone(), it.deletion_vector().map(|it| it.unique_id()));
        Intent {
            reads,
            removes: change.removes.iter().map(key).collect(),
            adds: change.adds.iter().map(|it| uri::canonical(&it.path).into_owned()).collect(),
            rearranges_only: change.rearranges,
            ..Intent::default()
        }
    }
}

impl Change {
    fn name(&self, who: usize) -> String {
        format!("{who}-{}", self.adds.len())
    }

    /// One file a partition.
    fn write(&mut self, rows: impl Iterator<Item = Row>, who: usize) {
        let mut parts: BTreeMap<u8, Vec<Option<i64>>> = BTreeMap::new();
        rows.for_each(|(part, x)| parts.entry(part).or_default().push(x));
        for (part, rows) in parts {
            self.adds.push(File::new(self.name(who), part, rows, true));
        }
    }

    fn leave_out(&mut self, table: &Table, filter: Filter, by_vector: bool, who: usize) {
        for file in &table.0 {
            let hit = file.rows().filter(|it| filter.matches(*it)).count();
            if hit == 0 {
                continue;
            }
            self.removes.push(file.clone());
            let mut kept = file.clone();
            kept.rows.retain(|it| !filter.matches((file.part, *it)));
            if kept.rows.is_empty() {
                continue;
            }
            if by_vector {
                let deleted = file.vector.map_or(0, |it| it.1) + hit;
                kept.vector = Some((i32::try_from(who).unwrap(), deleted));
            } else {
                kept = File::new(self.name(who), kept.part, kept.rows, kept.told);
            }
            self.adds.push(kept);
        }
    }

    fn batch(&self) -> LogBatch {
        let mut info = Map::new();
        info.insert("isBlindAppend".into(), json!(self.blind));
        let mut actions = vec![Action::CommitInfo(CommitInfo { fields: info })];
        actions.extend(self.removes.iter().map(|it| Action::Remove(it.remove(!self.rearranges))));
        actions.extend(self.adds.iter().map(|it| Action::Add(it.add(!self.rearranges))));
        LogBatch::from_actions(&actions).unwrap()
    }
}

fn head() -> Head {
    super::tests::base()
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable();
    rows
}

/// `rows` without one of each of `others`, as far as they are there; and what was.
fn without(mut rows: Vec<Row>, others: &[Row]) -> (Vec<Row>, Vec<Row>) {
    let mut found = Vec::new();
    for other in others {
        if let Some(at) = rows.iter().position(|it| it == other) {
            found.push(rows.remove(at));
        }
    }
    (rows, found)
}

/// Could ours have come to `after`, run on what the winners left, if of their blind appends some
/// came later?
fn explained(
    ours: &Op,
    now: &[Row],
    blind: &[Vec<Row>],
    after: &[Row],
    level: IsolationLevel,
) -> bool {
    let later = match level {
        IsolationLevel::Serializable => 1,
        _ => 1 << blind.len(),
    };
    (0..later).any(|choice: usize| {
        let chosen = blind.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        let chosen: Vec<Row> = chosen.flat_map(|it| it.1.clone()).collect();
        let (seen, later) = without(now.to_vec(), &chosen);
        let mut rows = ours.after(seen);
        rows.extend(later);
        sorted(rows) == after
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::All),
        (0..3u8).prop_map(Filter::Part),
        (-1..6i64).prop_map(Filter::Above),
        (-1..6i64).prop_map(Filter::NotAbove),
        Just(Filter::Null),
        (0..3u8, -1..6i64).prop_map(|(part, x)| Filter::PartAbove(part, x)),
    ]
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..3u8, prop::option::weighted(0.8, 0..6i64)), 0..=most)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (rows(2), any::<bool>()).prop_map(|(rows, blind)| Op::Append { rows, blind }),
        (filter(), any::<bool>()).prop_map(|(filter, by_vector)| Op::Delete { filter, by_vector }),
        (filter(), rows(2)).prop_map(|(filter, rows)| Op::Overwrite { filter, rows }),
        filter().prop_map(|filter| Op::Copy { filter }),
        (0..3u8).prop_map(|part| Op::Compact { part }),
    ]
}

fn files() -> impl Strategy<Value = Table> {
    let x = prop::option::weighted(0.8, 0..6i64);
    let file = (0..3u8, prop::collection::vec(x, 1..4), any::<bool>());
    prop::collection::vec(file, 0..4).prop_map(|files| {
        let files = files.into_iter().enumerate();
        Table(files.map(|(at, it)| File::new(format!("f{at}"), it.0, it.1, it.2)).collect())
    })
}

#[derive(Debug)]
struct Case {
    base: Table,
    winners: Vec<Op>,
    ours: Op,
    with_files: bool,
}

/// Whether it was clear.
fn holds(case: &Case, level: IsolationLevel) -> Result<bool, String> {
    let Case { base, winners, ours, with_files } = case;
    let change = ours.change(base, 0);
    let state = with_files.then(|| Arc::new(base.state()));
    let intent = Intent { state, ..ours.intent(&change) };
    let (mut now, mut blind) = (base.clone(), Vec::new());
    for (at, winner) in winners.iter().enumerate() {
        let theirs = winner.change(&now, at + 1);
        let version = Version::from(u32::try_from(at).unwrap() + 7);
        if check(&intent, &head(), level, version, &theirs.batch()).is_err() {
            return Ok(false);
        }
        now.apply(&theirs)?;
        if theirs.blind {
            blind.push(theirs.adds.iter().flat_map(File::rows).collect());
        }
    }
    let seen = now.rows();
    now.apply(&change)?;
    let is_snapshot = level == IsolationLevel::SnapshotIsolation;
    if !is_snapshot && !explained(ours, &seen, &blind, &now.rows(), level) {
        return Err(format!("{seen:?} became {:?}", now.rows()));
    }
    Ok(true)
}

/// What is clear is live, stands once, and gives the rows that the level allows; and not everything
/// is called a conflict.
///
/// spec: CON-5, CON-6, CON-7, CON-8
#[test]
fn clear_means_in_turn() {
    use IsolationLevel::{Serializable, SnapshotIsolation, WriteSerializable};
    for (level, least) in [(Serializable, 25), (WriteSerializable, 30), (SnapshotIsolation, 40)] {
        let (all, clear) = (Cell::new(0), Cell::new(0));
        let case = (files(), prop::collection::vec(op(), 1..4), op(), any::<bool>());
        let run = TestRunner::new(Config::with_cases(4_000)).run(&case, |case| {
            let (base, winners, ours, with_files) = case;
            let case = Case { base, winners, ours, with_files };
            all.set(all.get() + 1);
            match holds(&case, level) {
                Ok(is_clear) => clear.set(clear.get() + usize::from(is_clear)),
                Err(why) => prop_assert!(false, "{}", why),
            }
            Ok(())
        });
        run.unwrap_or_else(|it| panic!("{level:?}: {it}"));
        let percent = clear.get() * 100 / all.get();
        assert!(least <= percent, "{level:?}: {percent} of 100 are clear");
    }
}
