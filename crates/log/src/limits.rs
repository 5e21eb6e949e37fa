//! The named maxima for untrusted input. Passing one is `limit-exceeded`.
//!
//! A log is written by strangers, and parsers that trust it are how tables become weapons: a line
//! without end, a schema nested until the stack is gone. Each bound sits far above what honest
//! writers make and far below what hurts.

/// Longest line of a commit, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// Longest commit file, in bytes.
pub const COMMIT_BYTES_MAX: u64 = 1 << 30;
/// Deepest nesting of a JSON document.
pub const JSON_DEPTH_MAX: usize = 128;
/// Longest text of one variant as JSON, in bytes.
pub const VARIANT_TEXT_MAX: usize = 128 << 20;
/// Deepest nesting of a schema: structs, arrays and maps within each other.
pub const SCHEMA_DEPTH_MAX: usize = 100;
/// Most leaf columns of a schema.
pub const COLUMNS_MAX: usize = 20_000;
/// Longest statistics string of one file, in bytes.
pub const STATS_BYTES_MAX: usize = 1 << 20;
/// How much of the checkpoint hint is read, in bytes.
pub const HINT_BYTES_MAX: u64 = 1 << 20;
/// Largest Parquet footer, in bytes.
pub const FOOTER_BYTES_MAX: u64 = 256 << 20;
/// Longest path of a data file, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Largest deletion vector, in bytes.
pub const VECTOR_BYTES_MAX: u64 = 1 << 30;
/// Most parts of a multi-part checkpoint.
pub const PARTS_MAX: u32 = 100_000;
/// Deepest nesting of an expression.
pub const EXPR_DEPTH_MAX: usize = 128;
/// A checkpoint up to this size is fetched whole, in one request.
pub const CHECKPOINT_WHOLE_BYTES: u64 = 4 << 20;
/// A tail of more bytes of commits is not held while a checkpoint is made of it, but read several
/// times.
pub const CHECKPOINT_TAIL_BYTES: u64 = 96 << 20;
/// Bytes of commits whose files are held together then: some ten thousand files with statistics.
pub const CHECKPOINT_RANGE_BYTES: u64 = 16 << 20;
/// Most ranges: how often a tail is read is bounded, so that of a very long one they are larger.
pub const CHECKPOINT_RANGES: usize = 32;
