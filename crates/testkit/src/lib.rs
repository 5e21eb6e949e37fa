//! What the tests of Lakebed need and its users do not: a simulated store and executor, an oracle,
//! a builder of tables, the conformance runner. Never published.
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

pub mod audit;
pub mod badinput;
pub mod builder;
pub mod care;
pub mod choices;
pub mod client;
pub mod cloud;
pub mod columns;
pub mod compatibility;
pub mod conformance;
pub mod crosscheck;
pub mod fenced;
pub mod foreign;
pub mod fuzz;
pub mod history;
pub mod json_rows;
pub mod mutants;
pub mod objects;
pub mod oracle;
pub mod rows;
pub mod scenario;
pub mod script;
pub mod shape;
pub mod sim;
pub mod sim_store;
pub mod sim_upload;
pub mod weather;
