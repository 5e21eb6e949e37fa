//! A bar on a terminal, and the figures of `--stats`.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lakebed::op::{Observer, Op};

use crate::args::{Format, Global};

/// Draws what an operation tells, if a person is looking.
struct Bar(ProgressBar);

impl Observer for Bar {
    fn progress(&self, phase: &'static str, done: u64, total: u64) {
        self.0.set_message(phase);
        if total != 0 {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The context of the command's one operation.
pub(crate) fn op(global: &Global) -> Op {
    if global.no_progress || !stderr().is_terminal() {
        return Op::new(global.timeout);
    }
    let bar = ProgressBar::no_length();
    let template = "{msg:>8} {bar:40} {pos}/{len} {elapsed}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    Op::observed(global.timeout, Arc::new(Bar(bar)))
}

/// Prints what was used, to standard error.
pub(crate) fn stats(global: &Global, op: &Op, elapsed: Duration) {
    if !global.stats {
        return;
    }
    let usage = op.usage();
    let seconds = elapsed.as_secs_f64();
    if global.format == Format::Json {
        let json = serde_json::json!({"stats": {
            "seconds": seconds,
            "rows": usage.rows,
            "bytes_read": usage.bytes_read,
            "bytes_written": usage.bytes_written,
            "requests": {
                "list": usage.lists, "get": usage.gets, "head": usage.heads,
                "put": usage.puts, "delete": usage.deletes,
            },
            "files_read": usage.files_read,
            "files_considered": usage.files_considered,
            "partitions_read": usage.partitions_read,
            "partitions_considered": usage.partitions_considered,
        }});
        eprintln!("{json}");
        return;
    }
    eprintln!(
        "{seconds:.3} s, {} rows, {} bytes read, {} written",
        usage.rows, usage.bytes_read, usage.bytes_written
    );
    eprintln!(
        "requests: {} list, {} get, {} head, {} put, {} delete",
        usage.lists, usage.gets, usage.heads, usage.puts, usage.deletes
    );
    if usage.files_considered != 0 {
        eprintln!(
            "files: {} read of {}; partitions: {} read of {}",
            usage.files_read,
            usage.files_considered,
            usage.partitions_read,
            usage.partitions_considered
        );
    }
}
