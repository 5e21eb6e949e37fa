//! Memory is a contract: a child process stays under its limit and a fixed share for code and
//! output.

use std::process::Stdio;

use serde_json::json;

use crate::shell::Shell;

/// What a process may take beside its `--memory-limit`.
pub(crate) const BESIDE_BYTES: u64 = 64 << 20;

/// Peak resident memory of a command, in bytes, as the system counted it.
#[cfg(target_os = "linux")]
pub(crate) fn peak(shell: &Shell, words: &[&str]) -> u64 {
    peak_with(shell, words, &[])
}

/// The same with variables in its environment.
#[cfg(target_os = "linux")]
fn peak_with(shell: &Shell, words: &[&str], variables: &[(&str, &str)]) -> u64 {
    // The shell waits for the one child and tells its peak; /proc of a child is gone with it.
    let script = "import resource, subprocess, sys\n\
                  code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, code)";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_lakebed")]).args(words);
    command.envs(variables.iter().copied());
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

/// A table of so many files that their statistics alone take more than the checkpoint may: out of
/// commits alone it is made a range at a time, and from the one before it a part at a time, and
/// twice the files take no more.
///
/// spec: CKPT-30, CKPT-31
#[cfg(target_os = "linux")]
#[test]
fn checkpoints_of_many_files() {
    let [_, few] = checkpoint_peaks(300_000, "classic");
    let [first, many] = checkpoint_peaks(600_000, "classic");
    let mebibytes = [few, many, first].map(|it| it >> 20);
    assert!(many < 200 << 20, "{mebibytes:?} MiB, the last out of commits alone");
    assert!(many < few + (32 << 20), "{mebibytes:?} MiB, the last out of commits alone");
    assert!(first < 256 << 20, "{mebibytes:?} MiB, the last out of commits alone");
    let [first, many] = checkpoint_peaks(600_000, "v2");
    let mebibytes = [many, first].map(|it| it >> 20);
    assert!(first < 256 << 20 && many < 200 << 20, "{mebibytes:?} MiB in the second layout");
}

/// Files of one commit: some twenty megabytes of text.
#[cfg(target_os = "linux")]
const COMMIT_FILES: u64 = 30_000;

/// Peak memory of a commit that writes the checkpoint of so many files from commits alone, and of
/// one that writes it from the checkpoint before it. Of the latter with one heap: how much several
/// of them keep of what was freed is chance.
#[cfg(target_os = "linux")]
fn checkpoint_peaks(files: u64, policy: &str) -> [u64; 2] {
    let shell = Shell::new();
    let field =
        |name: &str, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let fields = [field("id", "long"), field("price", "double"), field("name", "string")];
    let features = json!(["v2Checkpoint"]);
    let protocol = json!({"protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": features, "writerFeatures": features,
    }});
    let metadata = json!({"metaData": {
        "id": "t",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json!({"type": "struct", "fields": fields}).to_string(),
        "partitionColumns": [],
        "configuration": {"delta.checkpointInterval": "1", "delta.checkpointPolicy": policy},
    }});
    std::fs::create_dir_all(shell.path("t/_delta_log")).unwrap();
    let mut text = format!("{protocol}\n{metadata}\n");
    let mut version = 0;
    for file in 0..files {
        let noise = file.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stats = json!({
            "numRecords": 9,
            "minValues": {"id": file, "price": 0.25, "name": format!("a{noise:016x}")},
            "maxValues": {"id": noise, "price": 1e9, "name": format!("z{noise:016x}")},
            "nullCount": {"id": 0, "price": 0, "name": 0},
        });
        let add = json!({"add": {
            "path": format!("part-{noise:016x}{:016x}.parquet", noise.rotate_left(29)),
            "partitionValues": {},
            "size": file,
            "modificationTime": file,
            "dataChange": true,
            "stats": stats.to_string(),
        }});
        text += &format!("{add}\n");
        if (file + 1) % COMMIT_FILES == 0 {
            shell.write(&format!("t/_delta_log/{version:020}.json"), &text);
            text.clear();
            version += 1;
        }
    }
    // More bytes of commits than a handle keeps, and than a step takes; none is left out.
    let counted = || {
        let info = shell.run(&["info", "t", "--format", "json"]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        (info["files"].as_u64().unwrap(), info["rows"].as_u64().unwrap())
    };
    assert_eq!(counted(), (files, files * 9));
    shell.write("one.csv", "id,price,name\n1,2.5,x\n");
    let write = ["write", "t", "one.csv"];
    let peaks = [peak(&shell, &write), peak_with(&shell, &write, &[("MALLOC_ARENA_MAX", "1")])];
    let last = version + 1;
    let names = std::fs::read_dir(shell.path("t/_delta_log")).unwrap();
    let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|it| it.starts_with(&format!("{last:020}.checkpoint."))));
    assert_eq!(counted(), (files + 2, files * 9 + 2));
    peaks
}
