//! What the clients of a simulated run did, and what they were told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lakebed::{Code, Timestamp};

use crate::choices::Client;
use crate::oracle::Row;

/// Rows that an overwrite replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those of one day.
    Day(String),
    /// Those of the days that the new rows name.
    SameDays,
    /// Those with an id above this, wherever they lie.
    Above(i64),
}

/// A logical operation, as its caller means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds rows.
    Append(Vec<Row>),
    /// Replaces rows.
    Overwrite(Which, Vec<Row>),
    /// Removes the rows with these ids.
    Delete(Vec<i64>),
    /// Sets [`MARK`] to this.
    Property(String),
}

/// The property that a client sets to leave a mark.
pub const MARK: &str = "sim.mark";

/// One operation that changes the table, with all tries of it.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Whose.
    pub client: Client,
    /// Which of theirs.
    pub operation: u64,
    /// What it means.
    pub change: Change,
    /// Application and version that make its repetition harmless.
    pub once: Option<(String, i64)>,
    /// When it began.
    pub began: Timestamp,
    /// What each try was told.
    pub told: Vec<Told>,
}

/// What a client was told of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: it died, or never came to an end.
    Nothing,
    /// It stands at this version.
    Version(u64),
    /// Nothing was changed: the application's version was there already.
    Unchanged,
    /// It failed for good.
    Failed(Code, String),
    /// Ask with this id; empty where there is none.
    Unknown(String),
}

/// One read.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whose.
    pub client: Client,
    /// When it began and ended.
    pub took: (Timestamp, Timestamp),
    /// What was asked for.
    pub asked: Asked,
    /// Which rows of it.
    pub filter: Filter,
    /// The version read with its rows, or what went wrong.
    pub told: Result<(u64, Vec<Row>), (Code, String)>,
}

/// Which version a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The newest.
    Newest,
    /// This one.
    Version(u64),
    /// The one of this time.
    Time(Timestamp),
}

/// Which rows a read asks for: those that meet both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this day.
    pub day: Option<String>,
    /// With an id above this.
    pub above: Option<i64>,
}

impl Filter {
    /// The rows that meet it.
    pub fn of(&self, rows: &[Row]) -> Vec<Row> {
        let meets = |it: &&Row| {
            self.day.as_ref().is_none_or(|day| it.day == *day)
                && self.above.is_none_or(|above| above < it.id)
        };
        rows.iter().filter(meets).cloned().collect()
    }
}

impl Change {
    /// The rows that it writes.
    pub fn rows(&self) -> &[Row] {
        match self {
            Change::Append(rows) | Change::Overwrite(_, rows) => rows,
            Change::Delete(_) | Change::Property(_) => &[],
        }
    }

    /// Does it replace this row?
    pub fn replaces(&self, row: &Row) -> bool {
        match self {
            Change::Append(_) | Change::Property(_) => false,
            Change::Overwrite(Which::All, _) => true,
            Change::Overwrite(Which::Day(day), _) => row.day == *day,
            Change::Overwrite(Which::Above(id), _) => *id < row.id,
            Change::Overwrite(Which::SameDays, new) => new.iter().any(|it| it.day == row.day),
            Change::Delete(ids) => ids.contains(&row.id),
        }
    }

    /// Changes the rows of a table.
    pub fn apply(&self, rows: &mut Vec<Row>) {
        rows.retain(|it| !self.replaces(it));
        rows.extend(self.rows().iter().cloned());
        rows.sort_unstable();
    }
}

/// All that happened, shared by all clients.
#[derive(Default)]
pub struct History(Mutex<(Vec<Deed>, Vec<Look>)>);

impl History {
    /// A deed begins. Its number.
    pub fn begin(&self, deed: Deed) -> usize {
        let mut it = self.lock();
        it.0.push(deed);
        it.0.len() - 1
    }

    /// One more try of a deed begins, of which nothing was told yet.
    pub fn try_again(&self, deed: usize) {
        if let Some(it) = self.lock().0.get_mut(deed) {
            it.told.push(Told::Nothing);
        }
    }

    /// The last try of a deed was told this.
    pub fn tell(&self, deed: usize, told: Told) {
        let mut it = self.lock();
        if let Some(last) = it.0.get_mut(deed).and_then(|it| it.told.last_mut()) {
            *last = told;
        }
    }

    /// A read came to its end.
    pub fn look(&self, look: Look) {
        self.lock().1.push(look);
    }

    /// The deeds and the looks so far.
    pub fn all(&self) -> (Vec<Deed>, Vec<Look>) {
        self.lock().clone()
    }

    /// One deed.
    pub fn deed(&self, deed: usize) -> Option<Deed> {
        self.lock().0.get(deed).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Deed>, Vec<Look>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
