//! The bugs that are planted on purpose, and the runs that find them.
//!
//! The switches stand in the engine (see `lakebed_log::mutant`), and in the vacuum of
//! [`crate::care`]. For each one a list of decisions is kept that finds it, so that an ordinary
//! test run shows every one found in seconds; `cargo xtask mutants` finds them anew by seeds.

/// A bug to plant.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Which switch.
    pub number: u32,
    /// What is wrong with it planted.
    pub what: &'static str,
}

macro_rules! mutants {
    ($($number:literal $what:literal,)*) => {
        /// All of them.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            number: $number,
            what: $what,

        },)*];
    };
}

mutants! {
    1 "own commit not recognised",
    2 "an ambiguous put is reported as a failure",
    3 "409 is taken for `exists`, and the next version tried",
    4 "commit by overwriting",
    5 "both remove one file, and that is no conflict",
    6 "of several winners only the newest is checked",
    7 "an append where an overwrite read is no conflict",
    9 "a failed upload of data is ignored",
    10 "vacuum takes young files",
    11 "vacuum takes what left the table just now",
    12 "a checkpoint drops deletion vectors",
    13 "a checkpoint drops tombstones",
    14 "a checkpoint is labelled one version too high",
    15 "cleanup keeps only what the newest checkpoint needs",
    16 "cleanup trusts a checkpoint that is not there",
    17 "data files are deleted after an unknown outcome",
    18 "replay steps over a missing commit",
    19 "a commit that took long is not compared with the log",
    20 "deleted rows are off by one",
    22 "vacuum looks at an old snapshot",
    23 "a caller repeats an unknown append without `once`",
    24 "`exists` and then nothing there is judged a failure",
    25 "a commit need not name its predecessor",
    26 "vacuum takes a tombstone's stamp for the time of removal",
    50 "a sidecar that holds a file that is gone is named again",
    51 "of appends that land together only the first is in the commit",
    52 "under WriteSerializable an overwrite misses what another overwrite brought",
    53 "cleanup takes sidecars that a checkpoint names which stays",
    54 "under SnapshotIsolation what others removed is no conflict",
    55 "an upload in pieces whose end failed is taken for done without a look",
    56 "a commit that a listing does not show yet is taken for one that came too late",
}
