//! The engine from outside: verbs, versions, requests, and stores that do not tell the truth.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "test code"
)]

mod behind;
mod between;
mod broken;
mod catalogs;
mod checkpoints;
mod cleaning;
mod clocks;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod configured;
mod deadlines;
mod faulty;
mod grouped;
mod help;
mod layouts;
mod lines;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod lost;
mod many;
mod outcomes;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod parts;
mod places;
mod portions;
mod replace;
mod replaced;
mod rewritten;
mod requests;
mod rounds;
mod several;
mod slow;
mod stores;
mod verbs;
