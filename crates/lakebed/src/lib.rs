//! Lakebed: an embeddable lakehouse table engine in the open Delta Lake protocol.

pub mod budget;
pub mod env;
mod local;
mod object;
pub mod op;
mod place;
pub mod pool;
pub mod store;

pub mod load;
pub mod save;

pub mod codec;
pub mod read;
pub mod write;

pub mod snapshot;
pub mod txn;

pub mod append;
pub mod create;
mod history;
pub mod overwrite;

pub mod blocking;
pub mod table;

pub use append::Append;
pub use create::Create;
pub use env::Env;
pub use op::{Op, Usage};
pub use overwrite::Overwrite;
pub use snapshot::{Snapshot, When};
pub use table::{Resolved, Table};
pub use txn::{Committed, Unresolved};

pub use lakebed_log::action::{Add, Metadata, Protocol};
pub use lakebed_log::batch::Width;
pub use lakebed_log::conflict::{Conflict, Reason};
pub use lakebed_log::error::{Code, Error, ErrorKind, Result};
pub use lakebed_log::expr::{Expr, col, lit};
pub use lakebed_log::history::HistoryEntry;
pub use lakebed_log::property::IsolationLevel;
pub use lakebed_log::scan::{Scan, ScanPlan, ScanTask};
pub use lakebed_log::schema::{ArrowOptions, DataType, PrimitiveType, Schema, StructField};
pub use lakebed_log::time::Timestamp;
pub use lakebed_log::value::Value;
pub use lakebed_log::version::Version;
