//! The protocol core of Lakebed: turns the bytes of a Delta log into decisions, without I/O.

pub mod error;
pub mod version;
pub mod time;
pub mod limits;
pub mod crc;

pub mod log_path;
pub mod uri;

pub mod schema;
pub mod value;
pub mod expr;
pub mod feature;
pub mod property;
pub mod stats;
pub mod action;

pub mod batch;
pub mod files;
pub mod eval;

pub mod support;
pub mod state;
pub mod segment;
pub mod history;

pub mod replay;
pub mod checkpoint;
pub mod checksum;

pub mod skip;
pub mod scan;
pub mod conflict;
pub mod commit;
