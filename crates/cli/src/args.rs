//! The words of the command line.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lakebed::{Timestamp, Version, When};

/// Tables on the local disk and in S3, Google Cloud Storage and Azure, in the open Delta Lake
/// protocol: Parquet files and a log.
#[derive(Debug, Parser)]
#[command(name = "lakebed", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// How rows and answers are printed; else as the name of `-o` says, else as a table
    #[arg(long, global = true, value_enum)]
    pub(crate) format: Option<Format>,
    /// An option of the store, such as a key or an endpoint; may be repeated
    #[arg(long, visible_alias = "storage-option", global = true)]
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) option: Vec<(String, String)>,
    /// A folder or location below which absolute paths of a table's log may lead, as those of
    /// shallow clones do; may be repeated
    #[arg(long, global = true, value_name = "LOCATION")]
    pub(crate) allow_root: Vec<String>,
    /// Print time, requests, bytes, files and partitions read, to standard error
    #[arg(long, global = true)]
    pub(crate) stats: bool,
    /// Most memory that data in flight may take, such as 512MiB or 2GB
    #[arg(long, global = true, value_name = "SIZE", value_parser = size, default_value = "1GiB")]
    pub(crate) memory_limit: u64,
    /// Longest time a command may take
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    #[arg(default_value = "600")]
    pub(crate) timeout: Duration,
    /// When commits and data files on the local disk are synced before they are acknowledged
    #[arg(long, global = true, value_enum, default_value = "always", value_name = "WHEN")]
    pub(crate) sync: Sync,
    /// Draw no progress bar, even on a terminal
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// How answers are printed.
    pub(crate) fn format(&self) -> Format {
        self.format.unwrap_or(Format::Table)
    }

    /// How rows are printed: what was said, else what the name of the file says.
    pub(crate) fn format_for(&self, file: Option<&Path>) -> Format {
        let extension = file.and_then(Path::extension).and_then(|it| it.to_str());
        self.format.unwrap_or(match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "ndjson" | "jsonl" => Format::Ndjson,
            "parquet" => Format::Parquet,
            "arrow" => Format::Arrow,
            _ => Format::Table,
        })
    }
}

/// When what must survive a crash of the machine is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// Before a command says that it is done
    Always,
    /// When the system likes: a crash of the machine may lose commits, or damage the table
    Never,
}

/// How rows and answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a line
    Ndjson,
    /// Comma-separated, with a header
    Csv,
    /// Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an empty table
    Create(CreateArgs),
    /// Write files into a table, in one commit; makes the table if there is none
    Write(WriteArgs),
    /// Print rows
    Read(ReadArgs),
    /// Print the first rows
    Head(HeadArgs),
    /// Print rows by their positions among the live rows
    Take(TakeArgs),
    /// Cut a scan into parts that other processes can read, one a line
    Splits(SplitsArgs),
    /// Print the rows of parts that `splits` printed
    ReadSplit(ReadSplitArgs),
    /// Say what a table is: version, protocol, schema, size, properties
    Info(At),
    /// Print the columns and their types
    Schema(At),
    /// List the commits, newest first
    History(HistoryArgs),
    /// List the live data files
    Files(FilesArgs),
    /// Check a table against itself, and say what to do (exit code 5 if something is wrong)
    Doctor(DoctorArgs),
    /// Delete the files of the log that no version within its retention needs
    CleanLog(CleanLogArgs),
    /// Print what happened to the rows, version by version
    Changes(ChangesArgs),
    /// Print the rows by which two versions differ
    Diff(DiffArgs),
    /// Publish what `write --stage` has laid aside, as one commit
    Publish(StagedArgs),
    /// Delete the data files of what `write --stage` has laid aside
    Discard(StagedArgs),
    /// Find out what became of a commit whose outcome was unknown (exit code 7)
    Resolve(ResolveArgs),
    /// Show the whole job on real data: three months of flights, on the local disk
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// Columns, as `a long not null, b string` or as schema JSON
    #[arg(long)]
    pub(crate) schema: String,
    /// Partition columns, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) partition_by: Vec<String>,
    /// A table property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) property: Vec<(String, String)>,
    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A description for people
    #[arg(long)]
    pub(crate) description: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct WriteArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// CSV, NDJSON, Parquet or Arrow files, or globs of them; `-` is standard input
    #[arg(required = true)]
    pub(crate) files: Vec<String>,
    /// What to do if there is a table
    #[arg(long, value_enum, default_value = "append")]
    pub(crate) mode: Mode,
    /// With `--mode overwrite`: replace only rows that match; every new row must match, too
    #[arg(long = "where", value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// With `--where`: take new rows that do not match, too
    #[arg(long, requires = "filter")]
    pub(crate) other_rows: bool,
    /// Partition columns of a new table, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) partition_by: Vec<String>,
    /// A property of a new table; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) property: Vec<(String, String)>,
    /// Do nothing if the table has seen this version, or a later one, of the application
    #[arg(long, value_name = "APP:VERSION", value_parser = once)]
    pub(crate) txn: Option<(String, i64)>,
    /// Add columns that the files have and the table lacks
    #[arg(long)]
    pub(crate) evolve_schema: bool,
    /// What the files are laid out for
    #[arg(long, value_enum, default_value = "scans")]
    pub(crate) layout: LayoutName,
    /// Compression of the data files, such as `snappy` or `zstd:9`: zstd, snappy, gzip, lz4, brotli
    /// or none; else that of the table's `delta.parquet.compression.codec`, else zstd
    #[arg(long, value_name = "CODEC[:LEVEL]", value_parser = compression)]
    pub(crate) compression: Option<(String, Option<i32>)>,
    /// Kept in the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_metadata: Option<String>,
    /// Write the data files and lay the commit aside in a file: to be looked at with
    /// `read --staged`, and then published or discarded
    #[arg(long, value_name = "FILE")]
    pub(crate) stage: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// What data files are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// Large pages: reading many rows
    Scans,
    /// Small pages: reading single rows
    RandomAccess,
}

/// How input files are read.
#[derive(Args, Debug)]
pub(crate) struct InputArgs {
    /// Columns of text files, as `a long not null, b string` or as schema JSON; else those of the
    /// table, else what the files look like
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// Format of the files; else by their names
    #[arg(long, value_enum)]
    pub(crate) input_format: Option<InputFormat>,
    /// Text that means null in CSV, beside the empty cell; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) null: Vec<String>,
    /// What separates the cells of CSV: one character, or `\t`; else a comma, or a tab in `.tsv`
    #[arg(long, value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
    /// CSV files have no header; columns are named by `--schema`, or c0, c1, ..
    #[arg(long)]
    pub(crate) no_header: bool,
    /// Take unsigned 64-bit integers as decimal(20,0)
    #[arg(long)]
    pub(crate) uint64_as_decimal: bool,
}

/// Format of input files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Comma-separated
    Csv,
    /// One JSON object a line
    Ndjson,
    /// Parquet
    Parquet,
    /// Arrow IPC, file or stream
    Arrow,
}

/// What to do if there is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Add the rows
    Append,
    /// Replace all rows, or those that match `--where`
    Overwrite,
    /// Fail
    Error,
    /// Do nothing
    Ignore,
}

/// Which version of which table.
#[derive(Args, Debug)]
pub(crate) struct At {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// A version
    #[arg(long, conflicts_with = "at", value_parser = version)]
    pub(crate) version: Option<Version>,
    /// A point in time (RFC 3339): the newest version not after it
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) at: Option<Timestamp>,
}

/// What to read.
#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) from: At,
    /// The table as what `write --stage` has laid aside in the file would leave it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["version", "at"])]
    pub(crate) staged: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
}

/// Which rows.
#[derive(Args, Debug)]
pub(crate) struct WhichArgs {
    /// Columns, separated by commas; all if not given
    #[arg(long, value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Only rows for which it is true, e.g. "day >= '2024-01-01' and n is not null"
    #[arg(long = "where", value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
}

/// Which rows to print, and where.
#[derive(Args, Debug)]
pub(crate) struct RowsArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Into a file instead of standard output; its name tells the format: .csv, .json, .ndjson,
    /// .jsonl, .parquet, .arrow
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ChangesArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// The first version whose changes are printed
    #[arg(long, value_name = "VERSION", value_parser = version)]
    #[arg(required_unless_present_any = ["from_timestamp", "cursor"])]
    pub(crate) from: Option<Version>,
    /// The same as a point in time (RFC 3339): the first version not before it
    #[arg(long, value_name = "TIME", conflicts_with = "from", value_parser = timestamp)]
    pub(crate) from_timestamp: Option<Timestamp>,
    /// The last version whose changes are printed; the newest if not given
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub(crate) to: Option<Version>,
    /// The same as a point in time: the last version not after it
    #[arg(long, value_name = "TIME", conflicts_with = "to", value_parser = timestamp)]
    pub(crate) to_timestamp: Option<Timestamp>,
    /// A file that keeps the place: go on from it if it is there, and move it on once all rows are
    /// printed
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor: Option<PathBuf>,
    /// Derive the changes of versions that did not keep the change feed from their files
    #[arg(long)]
    pub(crate) derive: bool,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// A version, or a point in time (RFC 3339): its rows that B has not are deletes
    #[arg(value_name = "A", value_parser = when)]
    pub(crate) from: When,
    /// Another one: its rows that A has not are inserts
    #[arg(value_name = "B", value_parser = when)]
    pub(crate) to: When,
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
}

#[derive(Args, Debug)]
pub(crate) struct HeadArgs {
    #[command(flatten)]
    pub(crate) from: At,
    /// How many rows
    #[arg(short = 'n', long = "rows", default_value = "10")]
    pub(crate) rows: u64,
}

#[derive(Args, Debug)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) from: At,
    /// Positions and ranges of them, such as 7,0-3, separated by commas: 0 is the first row, and
    /// ranges have both of their ends; in any order, also more than once
    #[arg(long, value_delimiter = ',', required = true, value_parser = positions)]
    pub(crate) positions: Vec<RangeInclusive<u64>>,
    /// Columns, separated by commas; all if not given
    #[arg(long, value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// Into a file instead of standard output; its name tells the format
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "With --limit each part stops at the limit by itself, and `read-split` prints at \
    most so many rows of all the parts that it is given; whoever reads parts side by side takes \
    the first so many."
)]
pub(crate) struct SplitsArgs {
    #[command(flatten)]
    pub(crate) from: At,
    #[command(flatten)]
    pub(crate) rows: WhichArgs,
    /// About so many bytes of files in each part; at least 1
    #[arg(long, value_name = "BYTES", default_value = "134217728")]
    pub(crate) target_bytes: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ReadSplitArgs {
    /// A file of parts, one a line; `-` is standard input. If they have a limit, it holds for all
    /// of them together
    pub(crate) file: PathBuf,
    /// Into a file instead of standard output; its name tells the format
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// At most so many commits
    #[arg(short = 'n', long, value_name = "COMMITS")]
    pub(crate) limit: Option<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    #[command(flatten)]
    pub(crate) from: At,
    /// Only files that may hold rows for which it is true
    #[arg(long = "where", value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CleanLogArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// Only show what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// Read every row, too: against statistics, partition values, deletion vectors
    #[arg(long)]
    pub(crate) deep: bool,
    /// The same as `--format json`
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StagedArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// What `write --stage` wrote
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ResolveArgs {
    /// Where: a path or a URL
    pub(crate) table: String,
    /// The id that the failed command printed
    pub(crate) id: String,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// A folder to make; the table stays there to play with
    #[arg(default_value = "lakebed-demo")]
    pub(crate) folder: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() { Err("the key is empty".into()) } else { Ok((key.into(), value.into())) }
}

fn once(text: &str) -> Result<(String, i64), String> {
    let (app, version) = text.rsplit_once(':').ok_or("expected APP:VERSION")?;
    let version = version.parse().map_err(|_| format!("`{version}` is no version"))?;
    if app.is_empty() { Err("the application is empty".into()) } else { Ok((app.into(), version)) }
}

fn compression(text: &str) -> Result<(String, Option<i32>), String> {
    let Some((codec, level)) = text.split_once(':') else { return Ok((text.to_string(), None)) };
    let level = level.parse().map_err(|_| format!("`{level}` is no level"))?;
    Ok((codec.to_string(), Some(level)))
}

/// `7`, or `0-3` with both ends.
fn positions(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |it: &str| it.trim().parse::<u64>().map_err(|_| format!("`{text}` is no position"));
    let (first, last) = (number(first)?, number(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(format!("`{text}` ends before it begins")),
    }
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().ok().and_then(Version::new).ok_or_else(|| format!("`{text}` is no version"))
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|it: lakebed::Error| it.to_string())
}

fn when(text: &str) -> Result<When, String> {
    match text.bytes().all(|it| it.is_ascii_digit()) {
        true => version(text).map(When::Version),
        false => timestamp(text).map(When::Timestamp),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|it| it.to_string())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err("expected one character".to_string()),
    }
}

/// Bytes, with K, M, G, T in powers of 1,000 or Ki, Mi, Gi, Ti in powers of 1,024.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
    let factor: u64 = match unit.trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err(format!("`{unit}` is no unit of memory")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| format!("`{text}` is no size"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_fit_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        let rows = [
            ("0", Some(0)),
            ("512MiB", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("1gi", Some(1 << 30)),
            ("7k", Some(7_000)),
            ("-1", None),
            ("1.5G", None),
            ("5 bananas", None),
            ("99999999999T", None),
        ];
        for (text, expected) in rows {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(positions("7").unwrap(), 7..=7);
        assert_eq!(positions("0-3").unwrap(), 0..=3);
        for bad in ["", "-", "-1", "3-", "3-1", "1-2-3", "x", "0..3"] {
            assert!(positions(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_string(), "b=c".to_string()));
        assert!(pair("=b").is_err() && pair("a").is_err());
        assert_eq!(once("a:b:7").unwrap(), ("a:b".to_string(), 7));
        assert_eq!(compression("zstd:9").unwrap(), ("zstd".to_string(), Some(9)));
        assert_eq!(compression("snappy").unwrap(), ("snappy".to_string(), None));
        assert!(compression("zstd:").is_err() && compression("zstd:x").is_err());
        assert!(once("a").is_err() && once(":7").is_err() && once("a:x").is_err());
    }
}
