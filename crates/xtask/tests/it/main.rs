//! Rules of the house as tests: the shape of the code (`tidy`) and the ties between rules and tests
//! (`spec`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod source;
mod spec;
mod tidy;
