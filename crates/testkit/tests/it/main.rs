//! Simulation of many writers, and the tables of other writers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod badinput;
mod compatibility;
mod conformance;
mod corpus;
mod crosscheck;
mod exhaustive;
mod golden;
mod shapes;
mod simulation;
mod store;

/// Past the test runner's capture, so that a person sees it.
fn left_out(what: &str) {
    use std::io::Write;

    let _ = writeln!(std::io::stderr(), "left out: {what}");
}
