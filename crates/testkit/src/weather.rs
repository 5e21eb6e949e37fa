//! What can go wrong in a simulated run, and how often: each run draws its own mix, because faults
//! that are spread evenly find less than storms do.

use std::time::Duration;

use lakebed::IsolationLevel;

use crate::choices::{Choices, WORLD};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the client hears of an error.
    Before,
    /// It happens, and the client hears of an error.
    After,
    /// It happens some seconds later, and the client hears of an error now.
    Late,
    /// It happens so late that the log's retention may have passed.
    VeryLate,
    /// It happens, and the client hears that something was there: its own first try.
    OwnExists,
    /// Nothing happens, and the client hears that something was there: a request under way.
    FalseExists,
    /// It happens, and once more some seconds later.
    Twice,
    /// It happens, and once more so late that the log's retention may have passed.
    TwiceVeryLate,
    /// It happens, and no answer comes.
    Lost,
    /// Nothing happens, and no answer comes.
    Hung,
    /// The store says no, and means it, for a while.
    Denied,
    /// The store is full for a while.
    Full,
    /// The client is killed before the request leaves it.
    KillBefore,
    /// The client is killed after the request has left it.
    KillAfter,
    /// The client sleeps long before the request leaves it.
    SleepBefore,
    /// The client sleeps long before it hears the answer.
    SleepAfter,
    /// Fewer bytes come than were announced, without an error.
    Short,
    /// One bit of the body is another one.
    Flip,
    /// The connection is reset in the middle of the body.
    Reset,
    /// An error comes in the place of a page of names.
    Page,
}

use Fault::*;

/// Classes of requests, which fail in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Creates a commit.
    Commit,
    /// Any other write.
    Put,
    /// A read of an object, or of its size.
    Get,
    /// A listing.
    List,
    /// A deletion.
    Delete,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 5] = [Class::Commit, Class::Put, Class::Get, Class::List, Class::Delete];

    /// The label of its decisions.
    pub fn label(self) -> &'static str {
        match self {
            Class::Commit => "fault-commit",
            Class::Put => "fault-put",
            Class::Get => "fault-get",
            Class::List => "fault-list",
            Class::Delete => "fault-delete",
        }
    }

    /// What can go wrong. A decision is the place in this list, counted from 1: only append to it.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Class::Commit => &[
                Before,
                After,
                OwnExists,
                FalseExists,
                Lost,
                Hung,
                Late,
                VeryLate,
                Twice,
                TwiceVeryLate,
                KillBefore,
                KillAfter,
                SleepBefore,
                SleepAfter,
                Denied,
                Full,
            ],
            Class::Put => &[
                Before,
                After,
                Late,
                Twice,
                Lost,
                Hung,
                KillBefore,
                KillAfter,
                SleepBefore,
                SleepAfter,
                Denied,
                Full,
                VeryLate,
            ],
            Class::Get => &[
                Before,
                Short,
                Reset,
                Flip,
                Hung,
                KillBefore,
                KillAfter,
                SleepBefore,
                SleepAfter,
                Denied,
            ],
            Class::List => {
                &[Before, Page, Hung, KillBefore, KillAfter, SleepBefore, SleepAfter, Denied]
            }
            Class::Delete => {
                &[Before, After, Late, Lost, KillBefore, KillAfter, SleepBefore, SleepAfter]
            }
        }
    }
}

/// What sort of trouble a run has most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// None at all.
    Calm,
    /// Everything, often.
    Storm,
    /// Clients that sleep past the retention, and requests that arrive long after.
    Sleepy,
    /// Long pauses between operations.
    Slow,
    /// Commits whose answers are lost.
    FlakyCommit,
    /// Processes that are killed.
    Dying,
    /// Clocks that are wrong, and little else.
    Skewed,
    /// Answers with damaged bytes.
    Corrupting,
    /// A store that is full at times.
    FullDisk,
    /// A store that says no at times.
    Forbidden,
    /// A store that serves so many requests a second and no more.
    Throttled,
    /// A store whose listings are behind.
    WeakList,
}

const PROFILES: [Profile; 14] = [
    Profile::Calm,
    Profile::Storm,
    Profile::Sleepy,
    Profile::Slow,
    Profile::FlakyCommit,
    Profile::Dying,
    Profile::Skewed,
    Profile::Corrupting,
    Profile::FullDisk,
    Profile::Forbidden,
    Profile::Throttled,
    Profile::Sleepy,
    Profile::FlakyCommit,
    Profile::WeakList,
];

/// The mix of one run, and its limits, which are small so that they are met all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Its main trouble.
    pub profile: Profile,
    /// A request meets a fault once in so many; 0 is never.
    pub one_in: u64,
    /// The same for those that create a commit.
    pub commit_one_in: u64,
    /// Longest way of a request.
    pub latency: Duration,
    /// Longest pause between two operations.
    pub pause: Duration,
    /// Requests a second that a throttled store serves.
    pub throttle: u64,
    /// `delta.checkpointInterval`
    pub checkpoint_interval: u64,
    /// Hours of `delta.logRetentionDuration`
    pub log_retention_hours: u64,
    /// Names in one page of a listing.
    pub page: usize,
    /// Longest time by which a page of a listing is behind.
    pub list_lag: Duration,
    /// How the table is, beside what is above.
    pub table: Table,
}

/// Properties of the table of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// `delta.checkpointPolicy` is `v2`.
    pub second_layout: bool,
    /// `delta.isolationLevel`
    pub isolation: IsolationLevel,
    /// `lakebed.logCompactionInterval`; 0 is none.
    pub compaction_interval: u64,
    /// Bytes of a piece, where the engine sends larger objects in pieces; 0 is never.
    pub piece_bytes: usize,
}

/// Hours of `delta.deletedFileRetentionDuration`. Reads, writes, sleeps and delays of one operation
/// together stay below it: an operation may run for a third of it, and sleeps and delays are at
/// most [`LONG_MINUTES`].
pub const DATA_RETENTION_HOURS: u64 = 8;
/// Longest sleep of a client, and longest delay of a request: longer than the shortest retention of
/// the log.
pub const LONG_MINUTES: u64 = 100;
/// Longest time by which a page of a listing is behind, where any is.
pub const LAG_SECONDS: u64 = 60;
/// Longest time by which a wall clock is wrong.
pub const SKEW_MINUTES: i64 = 10;

impl Weather {
    /// Nothing goes wrong, and nothing takes time.
    pub fn clear() -> Weather {
        Weather {
            profile: Profile::Calm,
            one_in: 0,
            commit_one_in: 0,
            latency: Duration::ZERO,
            pause: Duration::ZERO,
            throttle: 0,
            checkpoint_interval: 3,
            log_retention_hours: 1,
            page: 1000,
            list_lag: Duration::ZERO,
            table: Table::plain(),
        }
    }

    /// Drawn for a run.
    pub fn drawn(choices: &Choices) -> Weather {
        let pick = |label, below| choices.pick(label, WORLD, below);
        let drawn = pick("profile", PROFILES.len() as u64);
        let profile = usize::try_from(drawn).ok().and_then(|it| PROFILES.get(it).copied());
        let profile = profile.unwrap_or(Profile::Calm);
        let (one_in, commit_one_in, pause) = match profile {
            Profile::Calm => (0, 0, 1_000),
            Profile::Storm => (4 + pick("one-in", 12), 2 + pick("commit-one-in", 3), 200),
            Profile::Sleepy => (16 + pick("one-in", 32), 3 + pick("commit-one-in", 4), 2_000_000),
            Profile::Slow => (60, 12, 4_000_000),
            Profile::FlakyCommit => (0, 2 + pick("commit-one-in", 3), 200),
            Profile::Dying => (20 + pick("one-in", 30), 4 + pick("commit-one-in", 4), 60_000),
            Profile::Skewed => (100, 20, 1_000_000),
            Profile::Corrupting => (12 + pick("one-in", 24), 30, 1_000),
            Profile::FullDisk | Profile::Forbidden => (30, 10, 20_000),
            Profile::Throttled => (200, 100, 500),
            Profile::WeakList => (60, 20, 20_000),
        };
        Weather {
            profile,
            one_in,
            commit_one_in,
            latency: Duration::from_millis(pick("latency-most", 3) * 40),
            pause: Duration::from_millis(pause),
            throttle: if profile == Profile::Throttled { 20 + pick("throttle", 40) } else { 0 },
            checkpoint_interval: 10 - pick("checkpoint-interval", 10),
            log_retention_hours: 1 + pick("log-retention", 3),
            page: usize::try_from(1 + pick("page", 4)).unwrap_or(1),
            list_lag: match profile {
                Profile::WeakList => Duration::from_secs(LAG_SECONDS),
                _ => Duration::ZERO,
            },
            table: Table::drawn(choices),
        }
    }

    /// How much more likely a fault is than others.
    pub fn weight(&self, fault: Fault) -> u64 {
        let dying = matches!(fault, KillBefore | KillAfter);
        let sleepy = matches!(fault, SleepBefore | SleepAfter | VeryLate | TwiceVeryLate);
        match (self.profile, fault) {
            (Profile::Corrupting, Flip | Short | Reset) => 12,
            (_, Flip) => 0,
            (Profile::Dying, _) if dying => 12,
            (Profile::Sleepy, _) if sleepy => 8,
            (Profile::Storm, _) if dying || sleepy => 1,
            (Profile::WeakList, _) if sleepy => 2,
            (_, _) if dying || sleepy => 0,
            (Profile::FullDisk, Full) | (Profile::Forbidden, Denied) => 12,
            (Profile::Storm, _) => 3,
            (_, Full | Denied) => 0,
            (_, _) => 3,
        }
    }

    /// The fault that `bits` stand for: its place in the list of the class, counted from 1; 0 for
    /// none.
    pub fn fault(&self, class: Class, bits: u64) -> u64 {
        let odds = if class == Class::Commit { self.commit_one_in } else { self.one_in };
        if odds == 0 || !bits.is_multiple_of(odds) {
            return 0;
        }
        let total: u64 = class.faults().iter().map(|it| self.weight(*it)).sum();
        let mut at = (bits >> 20) % total.max(1);
        for (place, fault) in (1u64..).zip(class.faults()) {
            match at.checked_sub(self.weight(*fault)) {
                Some(rest) => at = rest,
                None => return place,
            }
        }
        0
    }
}

impl Table {
    fn plain() -> Table {
        let isolation = IsolationLevel::Serializable;
        Table { second_layout: false, isolation, compaction_interval: 0, piece_bytes: 0 }
    }

    fn drawn(choices: &Choices) -> Table {
        let pick = |label, below| choices.pick(label, WORLD, below);
        Table {
            second_layout: pick("second-layout", 3) == 1,
            isolation: match pick("isolation", 8) {
                1 => IsolationLevel::WriteSerializable,
                2 => IsolationLevel::SnapshotIsolation,
                _ => IsolationLevel::Serializable,
            },
            compaction_interval: match pick("compaction-interval", 9) {
                it @ 2..=5 => it,
                _ => 0,
            },
            piece_bytes: match pick("piece-bytes", 4) {
                1 => 20,
                _ => 0,
            },
        }
    }
}
