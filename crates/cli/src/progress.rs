//! A bar on a terminal, and the figures of `--stats`.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lakebed::op::{Observer, Op};

use crate::args::{Format, Global};
use crate::output::aside;

/// Draws what an operation tells, if a person is looking. Clones are the same bar.
#[derive(Clone)]
pub(crate) struct Bar(Arc<Inner>);

struct Inner {
    bar: Option<ProgressBar>,
    is_over: AtomicBool,
}

impl Bar {
    /// No bar is drawn from here on: it would mix with what is printed.
    pub(crate) fn clear(&self) {
        if self.0.is_over.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(bar) = &self.0.bar {
            bar.finish_and_clear();
            // A step that is under way on another thread may still tell of itself.
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Observer for Bar {
    fn progress(&self, phase: &'static str, done: u64, total: u64) {
        let Some(bar) = self.0.bar.as_ref().filter(|_| !self.0.is_over.load(Ordering::SeqCst))
        else {
            return;
        };
        bar.set_message(phase);
        if total != 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}

/// The context of the command's one operation, and the bar that shows it.
pub(crate) fn op(global: &Global) -> (Op, Bar) {
    if global.no_progress || !stderr().is_terminal() {
        let none = Inner { bar: None, is_over: AtomicBool::new(true) };
        return (Op::new(global.timeout), Bar(Arc::new(none)));
    }
    let bar = ProgressBar::no_length();
    let template = "{msg:>8} {bar:40} {pos}/{len} {elapsed}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
    let bar = Bar(Arc::new(Inner { bar: Some(bar), is_over: AtomicBool::new(false) }));
    (Op::observed(global.timeout, Arc::new(bar.clone())), bar)
}

/// Prints what was used, to standard error.
pub(crate) fn stats(global: &Global, op: &Op, elapsed: Duration) {
    if !global.stats {
        return;
    }
    let usage = op.usage();
    let seconds = elapsed.as_secs_f64();
    if global.format() == Format::Json {
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
        aside(&json.to_string());
        return;
    }
    aside(&format!(
        "{seconds:.3} s, {} rows, {} bytes read, {} written",
        usage.rows, usage.bytes_read, usage.bytes_written
    ));
    aside(&format!(
        "requests: {} list, {} get, {} head, {} put, {} delete",
        usage.lists, usage.gets, usage.heads, usage.puts, usage.deletes
    ));
    if usage.files_considered != 0 {
        aside(&format!(
            "files: {} read of {}; partitions: {} read of {}",
            usage.files_read,
            usage.files_considered,
            usage.partitions_read,
            usage.partitions_considered
        ));
    }
}
