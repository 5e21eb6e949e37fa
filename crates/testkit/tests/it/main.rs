//! Simulation of many writers, and the tables of other writers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod badinput;
mod conformance;
mod corpus;
mod simulation;
