//! The command line, run as users run it; and other engines beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod changes;
mod clouds;
mod commands;
mod concurrency;
mod errors;
mod input;
mod memory;
mod output;
mod peers;
mod shell;
