//! Chores of the workspace: `cargo xtask test` prepares what the tests need and runs them all,
//! `cargo xtask simulate` and `cargo xtask mutants` run the simulator at length.
//!
//! The tests talk to real stores, which are servers on loopback: see [`servers`].
//!
//! The tests compare Lakebed with other engines, and those are Python packages. They are installed
//! into virtual environments below `target/`, at the versions that `testdata/peers/` pins, so that
//! nothing outside the checkout changes. Bare `cargo test` works too: it says which peers it left
//! out. Under `cargo xtask test` a missing peer is a failure.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// Environments for other engines: name, variable that tells the tests its Python, pinned packages.
const PEERS: &[(&str, &str, &str)] = &[
    ("delta", "LAKEBED_PYTHON_DELTA", "testdata/peers/requirements-delta.txt"),
    ("duckdb", "LAKEBED_PYTHON_DUCKDB", "testdata/peers/requirements-duckdb.txt"),
];

mod guard;
mod servers;

use guard::Guard;
use servers::Servers;

/// The folder with the script and the pins of the tables by Spark.
const SPARK: &str = "testdata/golden/spark";

const USAGE: &str = "\
usage: cargo xtask test [--full] [--spark] [ARGUMENTS OF CARGO TEST]
       cargo xtask simulate [--replay FILE] [--minutes N] [--seeds A..B]
                            [--scripts] [--pairs]
       cargo xtask mutants [--only N] [--seeds N]

  test       install what the tests need below target/, then run every test of the workspace
  --full     races and killed writers at their full numbers; takes much longer
  --spark    let Spark make its tables anew below target/, and read those too; needs Java 17, Maven,
             and half a gigabyte of downloads the first time

  simulate   run simulated worlds: fresh seeds, which it prints, for a minute or so many; the seeds
             A to B; or one kept list of decisions. A failure is shrunk, kept below target/found,
             and printed as columns, one a client
  --scripts  instead: every written-down run, with every fault at every request; --pairs also with
             every two faults, where the run is short
  mutants    plant one bug after another in the engine, and see each found by the simulator
";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let outcome = match arguments.next().as_deref().and_then(|it| it.to_str()) {
        Some("test") => test(arguments.collect()),
        Some("simulate") => simulate(None, arguments.collect()),
        Some("mutants") => simulate(Some("mutants"), arguments.collect()),
        Some("help" | "--help" | "-h") => {
            eprint!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("xtask: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Prepares the peers and runs `cargo test` over the workspace, in which no peer may be missing.
fn test(arguments: Vec<OsString>) -> Result<(), String> {
    let root = root()?;
    let (spark, arguments): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|it| it == "--spark");
    let (full, arguments): (Vec<_>, Vec<_>) = arguments.into_iter().partition(|it| it == "--full");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).arg("test");
    if arguments.is_empty() {
        cargo.arg("--workspace");
    }
    cargo.args(arguments).env("LAKEBED_PEERS", "required");
    // No test asks for a cloud of whoever runs it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|it| text.starts_with(it)) {
            cargo.env_remove(name);
        }
    }
    for (name, variable, requirements) in PEERS {
        cargo.env(variable, python(&root, name, &root.join(requirements))?);
    }
    let mut guard = Guard::start()?;
    cargo.env("TMPDIR", guard.folder());
    let servers = Servers::start(&root, &mut guard)?;
    cargo.envs(servers.variables.iter().map(|(name, value)| (name, value)));
    cargo.env("LAKEBED_SERVERS", "required");
    if !full.is_empty() {
        cargo.env("LAKEBED_FULL", "1");
    }
    if !spark.is_empty() {
        cargo.env("LAKEBED_GOLDEN", tables_by_spark(&root)?);
    }
    let status = guard.spawn(&mut cargo)?.wait();
    ended(&format!("{cargo:?}"), status)
}

/// Runs the simulator, which is an example of the test kit: only so are mutants compiled in. By the
/// profile of tests, whose checks of overflows it wants, unless a quicker one is asked for.
fn simulate(verb: Option<&str>, mut arguments: Vec<OsString>) -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Of the whole workspace, so that what the tests have built serves here, too.
    cargo.current_dir(root()?).args(["run", "--quiet"]);
    let before = arguments.len();
    arguments.retain(|it| it != "--release");
    if arguments.len() < before {
        cargo.arg("--release");
    }
    cargo.args(["--example", "simulate", "--"]).args(verb).args(arguments);
    run(&mut cargo)
}

/// Runs the script that makes the tables by Spark; the folder of their writers.
fn tables_by_spark(root: &Path) -> Result<PathBuf, String> {
    let script = root.join(SPARK);
    let python = python(root, "spark", &script.join("requirements.txt"))?;
    let jars = root.join("target/peers/spark-jars");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg("-DincludeGroupIds=io.delta,io.unitycatalog").arg("-f").arg(script.join("pom.xml"));
    let mut folder = OsString::from("-DoutputDirectory=");
    folder.push(&jars);
    run(maven.arg(folder))?;
    let golden = root.join("target/golden");
    let out = golden.join("spark");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|it| format!("{}: {it}", out.display()))?;
    }
    run(Command::new(python).arg(script.join("make.py")).arg(jars).arg(out))?;
    Ok(golden)
}

/// The Python of a virtual environment that holds exactly the packages of `requirements`.
fn python(root: &Path, name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let folder = root.join("target/peers").join(name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let pins = fs::read(requirements).map_err(|it| format!("{}: {it}", requirements.display()))?;
    // Written last: an environment without it was left half made.
    let stamp = folder.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|it| it == pins) && python.exists() {
        return Ok(python);
    }
    eprintln!("xtask: installing {} into {}", requirements.display(), folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|it| format!("{}: {it}", folder.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(pip).arg(requirements))?;
    fs::write(&stamp, pins).map_err(|it| format!("{}: {it}", stamp.display()))?;
    Ok(python)
}

/// Runs a command to its end; its output goes where ours goes.
fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    ended(&shown, command.status())
}

fn ended(shown: &str, status: io::Result<ExitStatus>) -> Result<(), String> {
    match status {
        Ok(it) if it.success() => Ok(()),
        Ok(it) => Err(format!("{shown}: {it}")),
        Err(it) => Err(format!("{shown}: {it}")),
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| "no workspace above".to_string())
}
