//! Lakebed: an embeddable lakehouse table engine in the open Delta Lake protocol.
//!
//! A table is a folder of Parquet files and a log of commits. Any number of processes append to it,
//! overwrite it and read it at once; each sees whole versions, and every version that the log still
//! holds can be read again.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{Int64Array, RecordBatch, StringArray};
//! use lakebed::{Append, Overwrite, Scan, Table, Version, col, lit};
//!
//! # futures::executor::block_on(async {
//! let rows = |day: &str, users: &[i64]| {
//!     let days = StringArray::from(vec![day; users.len()]);
//!     let users = Int64Array::from(users.to_vec());
//!     RecordBatch::try_from_iter([("day", Arc::new(days) as _), ("user", Arc::new(users) as _)])
//!         .unwrap()
//! };
//! let table = Table::open("memory://doc/events").await?;
//! table.append(rows("2026-08-01", &[7, 8]), Append::new().partition_by(["day"])).await?;
//! table.append(rows("2026-08-02", &[9]), Append::new().once("ingest", 1)).await?;
//!
//! let first = Overwrite::filter(col("day").eq(lit("2026-08-01")));
//! table.overwrite(rows("2026-08-01", &[70]), first).await?;
//!
//! let now = table.snapshot().await?;
//! let plan = now.plan(&Scan::new().filter(col("user").gt(lit(50)))).await?;
//! assert_eq!((plan.tasks().len(), plan.considered()), (1, 2));
//!
//! let then = table.snapshot_at(Version::from(0)).await?;
//! let batches = then.read(&Scan::new().columns(["user"])).await?.collect().await?;
//! assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
//! # Ok::<(), lakebed::Error>(()) }).unwrap();
//! ```
//!
//! What is absent, and stays so: a current version inside [`Table`] that could be stale, an option
//! that runs by itself, a retry that hides an outcome.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::type_complexity,
        clippy::single_range_in_vec_init,
        reason = "test code; the library build is checked without it"
    )
)]

pub mod budget;
mod cloud;
pub mod env;
mod local;
mod object;
pub mod op;
mod place;
#[doc(hidden)]
pub mod pool;
pub mod store;

#[doc(hidden)]
pub mod load;
#[doc(hidden)]
pub mod save;
pub mod clean;

pub mod codec;
#[doc(hidden)]
pub mod vector;
pub mod read;
pub mod split;
pub mod take;
pub mod write;

pub mod snapshot;
pub mod txn;

pub mod append;
pub mod create;
pub mod data_files;
pub mod doctor;
pub mod feed;
mod history;
pub mod overwrite;
mod rewrite;
pub mod transaction;

pub mod blocking;
pub mod table;

pub use append::Append;
pub use clean::{CleanLog, CleanedLog};
pub use create::Create;
pub use data_files::DataFiles;
pub use doctor::Doctor;
pub use env::Env;
pub use feed::Changes;
pub use load::{Catalog, Skipped};
pub use op::{Observer, Op, Usage};
pub use overwrite::Overwrite;
pub use read::Batches;
pub use snapshot::{Snapshot, When};
pub use split::Split;
pub use table::{Resolved, Table};
pub use transaction::{StagedTransaction, Transaction};
pub use txn::{Committed, Unresolved};
pub use write::{Data, Layout};

pub use lakebed_log::action::{Add, Metadata, Protocol};
pub use lakebed_log::batch::Width;
pub use lakebed_log::conflict::{Conflict, Reason};
pub use lakebed_log::error::{Code, Error, ErrorKind, Result};
pub use lakebed_log::expr::{Expr, col, lit};
pub use lakebed_log::feature::TableFeature;
pub use lakebed_log::history::HistoryEntry;
pub use lakebed_log::property::IsolationLevel;
pub use lakebed_log::scan::{Scan, ScanPlan, ScanTask};
pub use lakebed_log::schema::{ArrowOptions, DataType, PrimitiveType, Schema, StructField};
pub use lakebed_log::schema::{is_variant, schema_as_text, variants_as_text};
pub use lakebed_log::support::{MissingFeature, Unreadable};
pub use lakebed_log::time::Timestamp;
pub use lakebed_log::value::Value;
pub use lakebed_log::version::Version;
