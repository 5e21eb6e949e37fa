//! The whole job on real data: each step prints the command that does it, runs it, and shows what
//! it says.
//!
//! The data is in the binary, so that the demo works wherever the binary is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use lakebed::{Code, Error, Result};

use crate::args::DemoArgs;
use crate::output::aside;

const FLIGHTS: &[(&str, &[u8])] = &[
    ("2013-01.csv", include_bytes!("../../../testdata/flights/2013-01.csv")),
    ("2013-02.parquet", include_bytes!("../../../testdata/flights/2013-02.parquet")),
    ("2013-03.parquet", include_bytes!("../../../testdata/flights/2013-03.parquet")),
];

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let folder = &args.folder;
    if folder.exists() {
        let what = "the folder is there already; name another, or remove it";
        return Err(Error::new(Code::TableExists, what).at(folder.display()));
    }
    let demo = Demo { folder };
    demo.unpack()?;
    say("Three months of flights out of New York, 2013: one as CSV, two as Parquet.");

    say("Create a table from January, partitioned by airport. `NA` is null.");
    demo.run("write flights --partition-by origin --null NA 2013-01.csv")?;

    say("Append February and March, from two processes at the same time.");
    let march = demo.start("write flights 2013-03.parquet")?;
    demo.run("write flights 2013-02.parquet")?;
    demo.finish("write flights 2013-03.parquet", march)?;

    say("Ask for long delays at JFK. One partition of three is read; statistics skip files, too.");
    demo.run(
        "read flights --where \"origin = 'JFK' and dep_delay > 600\" \
         --columns carrier,flight,dest,dep_delay,time_hour --stats",
    )?;

    say("Travel in time: version 0 has January only.");
    demo.run("read flights --version 0 --columns month,carrier --where \"month > 1\"")?;
    demo.run("read flights --columns month,carrier,dest --where \"month > 1\" --limit 3")?;

    say("Replace one airport, in one commit. Readers see all of it or nothing of it.");
    demo.run("read flights --where \"origin = 'LGA' and dep_delay is not null\" --format parquet -o lga.parquet")?;
    demo.run("write flights --mode overwrite --where \"origin = 'LGA'\" lga.parquet")?;

    say("See who did what, and what the table is now.");
    demo.run("history flights")?;
    demo.run("info flights")?;

    let place = folder.canonicalize().unwrap_or_else(|_| folder.clone());
    say(&format!("The table stays in {}. Play with it:", place.join("flights").display()));
    let exe = std::env::current_exe().map_err(lost)?;
    aside(&format!("  cd {} && {} head flights", quoted(&place), quoted(&exe)));
    Ok(())
}

fn lost(error: std::io::Error) -> Error {
    Error::internal("the demo cannot find itself").because(error)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+@%".contains(it);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn say(text: &str) {
    aside(&format!("\n# {text}"));
}

struct Demo<'a> {
    folder: &'a Path,
}

impl Demo<'_> {
    fn unpack(&self) -> Result<()> {
        let failed = |it: std::io::Error| {
            Error::new(Code::Unavailable, "the demo cannot write")
                .at(self.folder.display())
                .because(it)
        };
        fs::create_dir_all(self.folder).map_err(failed)?;
        for (name, bytes) in FLIGHTS {
            fs::write(self.folder.join(name), bytes).map_err(failed)?;
        }
        Ok(())
    }

    fn command(&self, line: &str) -> Result<Command> {
        aside(&format!("$ lakebed {line}"));
        let mut command = Command::new(std::env::current_exe().map_err(lost)?);
        command.args(words(line)).current_dir(self.folder);
        Ok(command)
    }

    fn run(&self, line: &str) -> Result<()> {
        let status = self.command(line)?.status();
        self.check(line, status.is_ok_and(|it| it.success()))
    }

    fn start(&self, line: &str) -> Result<std::process::Child> {
        let mut command = self.command(line)?;
        let failed = |it: std::io::Error| Error::internal("the demo cannot start").because(it);
        command.stdout(Stdio::inherit()).spawn().map_err(failed)
    }

    fn finish(&self, line: &str, mut child: std::process::Child) -> Result<()> {
        self.check(line, child.wait().is_ok_and(|it| it.success()))
    }

    fn check(&self, line: &str, went_well: bool) -> Result<()> {
        if went_well { Ok(()) } else { Err(Error::internal(format!("`lakebed {line}` failed"))) }
    }
}

/// Words of a command line, of which some stand in double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.iter_mut().last().into_iter().for_each(|it| it.push(character)),
        }
    }
    words.retain(|it| !it.is_empty());
    words
}
