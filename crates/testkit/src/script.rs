//! Short runs that are written down, each with every single fault at every single request.
//!
//! Random faults find what nobody thought of; this finds what anybody could have: for each script
//! it is run once to see which requests there are, and then once for each of them and each thing
//! that can go wrong with it. No seed is in it, so nothing depends on luck.

use crate::choices::{Choices, Client, Decisions, Name, WORLD};
use crate::scenario::{Outcome, Size, run};
use crate::weather::{Class, Fault, LONG_MINUTES};

/// A short run: what one or two clients do, one operation after another.
pub struct Script {
    /// Its name.
    pub name: &'static str,
    /// Does the table have deletion vectors?
    pub vectors: bool,
    /// Do the clients make the table?
    pub race: bool,
    /// Does every commit write a checkpoint?
    pub checkpoints: bool,
    /// What else is decided about the table.
    pub world: &'static [(&'static str, u64)],
    /// The place of each operation in the list of what clients do, or how many minutes to rest.
    pub clients: &'static [&'static [Step]],
}

/// One operation of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This place in the list of what clients do.
    Do(u64),
    /// So many minutes of rest.
    Rest(u64),
}

use Step::{Do, Rest};

const APPEND: Step = Do(1);
const ONCE: Step = Do(2);
const OVERWRITE: Step = Do(3);
const OVERWRITE_DAY: Step = Do(4);
const OVERWRITE_DAYS: Step = Do(5);
const PROPERTY: Step = Do(6);
const EVOLVE: Step = Do(7);
const HELD: Step = Do(8);
const READ: Step = Do(9);
const READ_VERSION: Step = Do(10);
const CHECKPOINT: Step = Do(12);
const CLEAN: Step = Do(13);
const VACUUM: Step = Do(14);
const FOREIGN: Step = Do(15);
const DELETE: Step = Do(16);
const OVERWRITE_WHERE: Step = Do(18);
const TOGETHER: Step = Do(20);

const SECOND_LAYOUT: (&str, u64) = ("second-layout", 1);
const IN_PIECES: (&str, u64) = ("piece-bytes", 1);
const SNAPSHOT_ISOLATION: (&str, u64) = ("isolation", 2);

const fn script(name: &'static str, clients: &'static [&'static [Step]]) -> Script {
    Script { name, vectors: false, race: false, checkpoints: false, world: &[], clients }
}

/// All scripts. The log is kept for an hour; where checkpoints matter, every commit writes one.
pub const SCRIPTS: &[Script] = &[
    Script { race: true, ..script("create", &[&[APPEND, READ]]) },
    Script { race: true, ..script("two create", &[&[APPEND, READ], &[APPEND]]) },
    script("append", &[&[APPEND, READ]]),
    script("append once", &[&[ONCE, READ]]),
    script("overwrite", &[&[APPEND, OVERWRITE, READ]]),
    script("overwrite a day", &[&[APPEND, OVERWRITE_DAY, READ]]),
    script("overwrite where", &[&[APPEND, OVERWRITE_WHERE, READ]]),
    script("overwrite partitions", &[&[APPEND, OVERWRITE_DAYS, READ]]),
    script("metadata", &[&[PROPERTY, APPEND, READ]]),
    script("schema evolution", &[&[APPEND, EVOLVE, READ]]),
    script("checkpoint", &[&[APPEND, CHECKPOINT, READ]]),
    script("two append", &[&[APPEND, READ], &[APPEND, APPEND, READ]]),
    script("append against overwrite", &[&[APPEND, APPEND, READ], &[OVERWRITE, READ]]),
    script("two overwrite where", &[&[APPEND, OVERWRITE_WHERE], &[OVERWRITE_WHERE, READ]]),
    script("two overwrite", &[&[APPEND, OVERWRITE_DAY, READ], &[OVERWRITE, READ]]),
    script("append from afar", &[&[READ, APPEND, Rest(70), HELD, READ], &[APPEND, APPEND]]),
    Script {
        checkpoints: true,
        ..script("cleanup", &[&[APPEND, APPEND, Rest(75), APPEND, CLEAN, READ_VERSION, READ]])
    },
    Script {
        checkpoints: true,
        ..script(
            "cleaned up under a writer",
            &[&[APPEND, READ], &[APPEND, APPEND, Rest(75), APPEND, CLEAN, READ]],
        )
    },
    script("append together", &[&[TOGETHER, READ]]),
    Script { world: &[IN_PIECES], ..script("append in pieces", &[&[APPEND, READ]]) },
    Script {
        world: &[SNAPSHOT_ISOLATION],
        ..script("overwrite in isolation", &[&[APPEND, APPEND], &[OVERWRITE_WHERE, READ]])
    },
    Script {
        checkpoints: true,
        world: &[SECOND_LAYOUT],
        ..script("second layout", &[&[APPEND, OVERWRITE_DAY, READ]])
    },
    Script {
        checkpoints: true,
        world: &[SECOND_LAYOUT],
        ..script("second layout cleaned up", &[&[APPEND, Rest(75), APPEND, CLEAN, READ]])
    },
    Script {
        checkpoints: true,
        world: &[SECOND_LAYOUT],
        ..script(
            "old sidecars that stay",
            &[&[APPEND, APPEND, Rest(599), Rest(599), Rest(599), APPEND, CLEAN, READ]],
        )
    },
    script("vacuum", &[&[APPEND, OVERWRITE, Rest(599), Rest(400), VACUUM, READ]]),
    Script {
        vectors: true,
        ..script("vectors", &[&[FOREIGN, FOREIGN, DELETE, CHECKPOINT, READ, VACUUM]])
    },
];

impl Script {
    /// The decisions that make clients do this.
    pub fn decisions(&self) -> Decisions {
        let name = |client: Client, operation: u64, label: &str| Name {
            client,
            operation,
            label: label.to_string(),
            count: 0,
        };
        let mut list = Decisions::default();
        let flags = [
            (self.vectors, "vectors", 1),
            (self.race, "race", 1),
            (self.checkpoints, "checkpoint-interval", 9),
        ];
        // Rows enough that a file can hold both kinds.
        for client in 1..=2 {
            list = list.with(name(client, 1, "rows"), 2);
        }
        for (_, label, value) in flags.into_iter().filter(|it| it.0) {
            list = list.with(name(WORLD, 0, label), value);
        }
        for (label, value) in self.world {
            list = list.with(name(WORLD, 0, label), *value);
        }
        for (client, steps) in (1..).zip(self.clients) {
            for (operation, step) in (1..).zip(*steps) {
                let place = match step {
                    Do(place) => *place,
                    Rest(minutes) => {
                        list = list.with(name(client, operation, "rest-minutes"), *minutes);
                        REST
                    }
                };
                list = list.with(name(client, operation, "does"), place);
            }
        }
        list
    }
}

/// The place of a rest in the list of what clients do.
const REST: u64 = 17;

/// Every list of decisions that adds one fault to `list`, where it asks for one.
pub fn with_each_fault(list: &Decisions) -> Vec<Decisions> {
    faults(list, 0)
}

fn faults(list: &Decisions, from: usize) -> Vec<Decisions> {
    let mut all = Vec::new();
    for name in replay(list).asked.iter().skip(from) {
        let Some(class) = Class::ALL.into_iter().find(|it| it.label() == name.label) else {
            continue;
        };
        for (place, fault) in (1u64..).zip(class.faults()) {
            let with = list.with(name.clone(), place);
            all.push(match duration(*fault) {
                Some((label, value)) => {
                    let label = Name { label: label.to_string(), count: 0, ..name.clone() };
                    with.with(label, value)
                }
                None => with,
            });
        }
    }
    all
}

/// Every list that adds two faults to `list`, the second at a request that comes after the first.
/// Many, so one after another.
pub fn with_each_pair(list: &Decisions) -> impl Iterator<Item = Decisions> {
    with_each_fault(list).into_iter().flat_map(|one| {
        let first = replay(&one).asked.into_iter().position(|it| one.names(&it));
        let first = first.unwrap_or(usize::MAX);
        faults(&one, first.saturating_add(1))
    })
}

/// How long a fault takes: as long as can be, or half a minute.
fn duration(fault: Fault) -> Option<(&'static str, u64)> {
    match fault {
        Fault::Late | Fault::Twice => Some(("late-millis", 30_000)),
        Fault::VeryLate | Fault::TwiceVeryLate => {
            Some(("late-millis", (LONG_MINUTES - 1) * 60_000))
        }
        Fault::SleepBefore | Fault::SleepAfter => Some(("sleep-minutes", LONG_MINUTES - 1)),
        Fault::Denied | Fault::Full => Some(("trouble-millis", 30_000)),
        _ => None,
    }
}

/// Runs a list.
pub fn replay(list: &Decisions) -> Outcome {
    run(Choices::replayed(list.clone()), Size::USUAL)
}
