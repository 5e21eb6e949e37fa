//! The protocol core of Lakebed: turns the bytes of a Delta log into decisions, without I/O.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "test code; the library build is checked without it"
    )
)]

pub mod crc;
pub mod error;
pub mod limits;
#[doc(hidden)]
pub mod mutant;
pub mod time;
pub mod version;
pub mod z85;

pub mod log_path;
pub mod pages;
pub mod places;
pub mod row_set;
pub mod thrift;
pub mod uri;
pub mod variant;

pub mod action;
pub mod expr;
pub mod feature;
pub mod property;
pub mod schema;
pub mod stats;
pub mod value;

pub mod batch;
pub mod eval;
pub mod files;

pub mod history;
pub mod segment;
pub mod state;
pub mod support;

pub mod checkpoint;
pub mod checksum;
pub mod compact;
pub mod replay;

pub mod changes;
pub mod cleanup;
pub mod commit;
pub mod conflict;
pub mod scan;
pub mod skip;
