//! Runs the binary in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder that is gone when the test is over.
pub(crate) struct Shell(tempfile::TempDir);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new() -> Shell {
        Shell(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakebed"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        // Whose clouds these are is nothing to a test.
        let prefixes = ["AWS_", "AZURE_", "GOOGLE_"];
        for (name, _) in std::env::vars_os() {
            if prefixes.iter().any(|it| name.to_string_lossy().starts_with(it)) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command whatever becomes of it.
    pub(crate) fn try_run(&self, words: &[&str]) -> Said {
        said(self.command(words).output().unwrap())
    }

    /// Runs a command that must go well, and gives its standard output.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let said = self.try_run(words);
        assert_eq!(said.code, 0, "lakebed {words:?}: {said:?}");
        said.out
    }

    /// Rows of `read` as JSON documents.
    pub(crate) fn rows(&self, words: &[&str]) -> Vec<serde_json::Value> {
        let out = self.run(&[&["read", "--format", "ndjson"], words].concat());
        out.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    /// Every file below the folder of a table, hidden ones too.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A line of the shell `sh`, where `lakebed` is the binary under test.
pub(crate) fn sh(shell: &Shell, line: &str) -> Said {
    let bin = Path::new(env!("CARGO_BIN_EXE_lakebed")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut sh = Command::new("sh");
    sh.args(["-c", line]).current_dir(shell.path("")).env("PATH", path);
    said(sh.stdin(Stdio::null()).output().unwrap())
}

/// The flights of a month.
pub(crate) fn flights(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/flights");
    folder.join(name).canonicalize().unwrap().to_str().unwrap().to_string()
}
