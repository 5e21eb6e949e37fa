//! Sees to it that nothing outlives a chore: what it has started ends with it, and its temporary
//! folder goes, however it ends.
//!
//! A process that is killed can clean up nothing. So a shell waits beside it, at the other end of a
//! pipe that closes when the process is gone, whatever took it. Until then it is told of each group
//! of processes that was started:
//!
//! ```text
//!   xtask --- pipe: 4711, 4712, .. ---> sh     at its end: kill the groups, remove the folder
//!     |- group 4711: a server
//!     `- group 4712: cargo, its tests, and what these start
//! ```
//!
//! Groups of their own also keep Ctrl-C away from them, which the terminal sends to all of ours:
//! it ends us, and so them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Reads groups until there are no more, which is when their owner is gone.
const WATCH: &str = r#"
while read -r group; do groups="$groups -$group"; done
[ -z "$groups" ] || kill -KILL $groups 2>/dev/null
rm -rf "$1"
"#;

/// Ends what it was told of when this is dropped, or when this process ends.
pub(crate) struct Guard {
    shell: Child,
    folder: PathBuf,
}

impl Guard {
    /// Makes the temporary folder, and starts the shell.
    pub(crate) fn start() -> Result<Guard, String> {
        let name = format!("lakebed-test-{}", std::process::id());
        Guard::over(std::env::temp_dir().join(name))
    }

    fn over(folder: PathBuf) -> Result<Guard, String> {
        fs::create_dir(&folder).map_err(|it| format!("{}: {it}", folder.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh"]).arg(&folder).stdin(Stdio::piped());
        let shell = apart(&mut command).spawn().map_err(|it| format!("sh: {it}"))?;
        Ok(Guard { shell, folder })
    }

    /// The folder that goes at the end.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a command, in a group of its own that ends with us.
    pub(crate) fn spawn(&mut self, command: &mut Command) -> Result<Child, String> {
        let child = apart(command).spawn().map_err(|it| format!("{command:?}: {it}"))?;
        let told = self.shell.stdin.as_mut().map(|it| writeln!(it, "{}", child.id()));
        match told {
            Some(Ok(())) => Ok(child),
            _ => Err("nobody watches over what is started".to_string()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        if let Err(it) = self.shell.wait() {
            eprintln!("xtask: what was started may be running still: {it}");
        }
    }
}

#[cfg(unix)]
fn apart(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::process_group(command, 0)
}

#[cfg(not(unix))]
fn apart(command: &mut Command) -> &mut Command {
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was started ends with its owner, with all that it has started itself, and the folder is
    /// gone.
    #[test]
    fn nothing_is_left() {
        let folder = std::env::temp_dir().join(format!("lakebed-guard-{}", std::process::id()));
        let mut guard = Guard::over(folder.clone()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo; wait"]).stdout(Stdio::piped());
        let mut parent = guard.spawn(&mut command).unwrap();
        // Open for as long as one of both lives.
        let mut heard = parent.stdout.take().unwrap();
        fs::write(guard.folder().join("left"), "x").unwrap();
        drop(guard);
        std::io::copy(&mut heard, &mut std::io::sink()).unwrap();
        assert!(!parent.wait().unwrap().success());
        assert!(!folder.exists());
    }
}
