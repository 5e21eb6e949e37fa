//! Memory is a contract: a child process stays under its limit and a fixed share for code and
//! output.

use std::process::Stdio;

use crate::shell::Shell;

/// What a process may take beside its `--memory-limit`.
pub(crate) const BESIDE_BYTES: u64 = 64 << 20;

/// Peak resident memory of a command, in bytes, as the system counted it.
#[cfg(target_os = "linux")]
pub(crate) fn peak(shell: &Shell, words: &[&str]) -> u64 {
    // The shell waits for the one child and tells its peak; /proc of a child is gone with it.
    let script = "import resource, subprocess, sys\n\
                  code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, code)";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_lakebed")]).args(words);
    let output =
        command.current_dir(shell.path("")).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let (bytes, code) = text.trim().split_once(' ').unwrap();
    assert_eq!(code, "0", "{words:?}");
    bytes.parse().unwrap()
}

/// A table of several times the limit is written and read within it.
#[cfg(target_os = "linux")]
#[test]
fn large_tables_within_the_limit() {
    let shell = Shell::new();
    let mut text = String::from("id,text\n");
    for id in 0..1_500_000u64 {
        // Digits that neither dictionaries nor zstd make small.
        let noise = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text += &format!("{id},{noise:020}{:020}{noise:x}\n", noise.rotate_left(17));
    }
    shell.write("big.csv", &text);
    assert!(90 << 20 < text.len());
    let limit_bytes = 32 << 20;
    let commands: [&[&str]; 3] = [
        &["write", "t", "big.csv", "--memory-limit", "32MiB"],
        &["read", "t", "--memory-limit", "32MiB", "--format", "csv"],
        &["read", "t", "--memory-limit", "32MiB", "--where", "text like '%77%'", "--format", "csv"],
    ];
    for words in commands {
        let bytes = peak(&shell, words);
        let allowed = limit_bytes + BESIDE_BYTES;
        assert!(bytes < allowed, "{words:?} took {} MiB", bytes >> 20);
    }
    let too_small = shell.try_run(&["read", "t", "--memory-limit", "1MiB"]);
    assert_eq!(too_small.code, 1, "{too_small:?}");
    assert!(too_small.err.contains("memory-exceeded"), "{too_small:?}");
}
