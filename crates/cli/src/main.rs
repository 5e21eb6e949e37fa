//! The command line of Lakebed: parses words, calls the library once, prints words.
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

mod aligned;
mod args;
mod commands;
mod demo;
mod doctor;
mod exit;
mod input;
mod output;
mod portions;
mod progress;
mod rows;
mod staging;
mod texts;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use lakebed::Result;

use crate::args::{Cli, Command, Format};
use crate::commands::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.global.verbose);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let is_write = matches!(cli.command, Command::Write(_));
            let text = match cli.global.format() {
                Format::Json => exit::json(&error, is_write).to_string(),
                _ => exit::text(&error, is_write),
            };
            output::aside(&text);
            ExitCode::from(exit::code(error.kind()))
        }
    }
}

/// What the library says about itself goes to standard error, if asked for.
fn log(verbose: u8) {
    let level = match verbose {
        0 => "lakebed=warn",
        1 => "lakebed=info",
        _ => "lakebed=trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        // It would panic where nobody reads standard error.
        .log_internal_errors(false)
        .try_init();
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Demo(args) => return demo::run(args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "lakebed", &mut script);
            return output::line(String::from_utf8_lossy(&script).trim_end());
        }
        _ => {}
    }
    let (op, bar) = progress::op(&cli.global);
    let session = Session::new(&cli.global, op, bar);
    let start = session.env.elapsed();
    let outcome = futures::executor::block_on(command(&session, &cli.command));
    let elapsed: Duration = session.env.elapsed().saturating_sub(start);
    session.bar.clear();
    commands::stats(&session, elapsed);
    outcome
}

async fn command(session: &Session<'_>, command: &Command) -> Result<()> {
    match command {
        Command::Create(args) => commands::create(session, args).await,
        Command::Write(args) => commands::write(session, args).await,
        Command::Read(args) => commands::read(session, args).await,
        Command::Head(args) => commands::head(session, args).await,
        Command::Take(args) => portions::take(session, args).await,
        Command::Splits(args) => portions::splits(session, args).await,
        Command::ReadSplit(args) => portions::read_split(session, args).await,
        Command::Info(at) => commands::info(session, at).await,
        Command::Schema(at) => commands::schema(session, at).await,
        Command::History(args) => commands::history(session, args).await,
        Command::Files(args) => commands::files(session, args).await,
        Command::CleanLog(args) => commands::clean_log(session, args).await,
        Command::Doctor(args) => doctor::run(session, args).await,
        Command::Changes(args) => rows::changes(session, args).await,
        Command::Diff(args) => rows::diff(session, args).await,
        Command::Publish(args) => staging::publish(session, args).await,
        Command::Discard(args) => staging::discard(session, args).await,
        Command::Resolve(args) => commands::resolve(session, args).await,
        Command::Demo(_) | Command::Completions(_) => Ok(()),
    }
}
