//! Hostile tables, each in a process of its own with a cap on memory and time.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lakebed::Env;
use lakebed_testkit::badinput::{Case, Verdict, WAITING};

/// Most memory of a case, in bytes, unless it names its own.
const MEMORY_MAX: u64 = 512 << 20;
/// Most time of a processor for a case, in milliseconds, unless it names its own. Time on the wall
/// would measure the neighbours.
const TIME_MILLIS_MAX: u64 = 2000;
/// The process of a case reads its table so often: plainly, behind the fence, for the audit and for
/// the changes.
const READS: u64 = 4;
/// After this a case hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Names the case in the process that runs it.
const NAME: &str = "LAKEBED_BADINPUT_CASE";

#[test]
fn hostile_tables() {
    let Some(folder) = std::env::var_os("LAKEBED_BADINPUT").map(PathBuf::from) else {
        crate::left_out("LAKEBED_BADINPUT names no folder of tables");
        return;
    };
    let part = std::env::var("LAKEBED_CASES").unwrap_or_default();
    let (mut cases, mut waiting) = (Vec::new(), Vec::new());
    for case in Case::all(&folder).unwrap().into_iter().filter(|it| it.name.contains(&part)) {
        match WAITING.iter().find(|it| it.0 == case.op || it.0 == case.name) {
            Some((_, why)) => waiting.push(format!("{}: {why}", case.name)),
            None => cases.push(case),
        }
    }
    let ran = cases.len();
    let cases = Mutex::new(cases);
    let lines = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(case) = cases.lock().unwrap().pop() else { break };
                    let what = alone(&case);
                    lines.lock().unwrap().push((case, what));
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap();
    let of = |start: &str| -> Vec<String> {
        let wanted = lines.iter().filter(|it| it.1.starts_with(start));
        wanted
            .map(|(case, what)| format!("{}: expected {}, {what}", case.name, case.expect))
            .collect()
    };
    let (passed, refused, wrong) = (of("passed"), of("refused"), of("wrong"));
    eprintln!(
        "{} as they should be, {} refused by feature, {} wrong, {} waiting",
        passed.len(),
        refused.len(),
        wrong.len(),
        waiting.len()
    );
    eprintln!(
        "the cap on time is {READS} times that of a case, because one process reads {READS} times: \
         plainly, behind a fence, for the audit and for the row changes"
    );
    for line in refused.iter().chain(&waiting) {
        eprintln!("not run or refused: {line}");
    }
    assert!(ran > 0, "no case ran");
    assert_eq!(passed.len() + refused.len() + wrong.len(), ran);
    assert!(wrong.is_empty(), "{} failed:\n{}", wrong.len(), wrong.join("\n"));
}

/// The case in a process of its own: `passed`, `refused ..` or `wrong ..`.
fn alone(case: &Case) -> String {
    // More than the cap, which is on what is used: threads reserve without using.
    let capped = "ulimit -v 6000000; exec \"$0\" \"$@\"";
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", capped])
        .arg(program)
        .args(["--exact", "badinput::one_case", "--nocapture", "--test-threads=1"])
        .env(NAME, &case.name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if HANGS < started.elapsed() => {
                child.kill().unwrap();
                return "wrong: it hangs".to_string();
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    match text.lines().find_map(|it| it.split_once("verdict: ")) {
        Some((_, verdict)) => verdict.to_string(),
        None => format!("wrong: it ended with {status} and said {text:?}"),
    }
}

/// What the process of one case runs.
#[test]
fn one_case() {
    let Some(name) = std::env::var_os(NAME) else { return };
    let folder = PathBuf::from(std::env::var_os("LAKEBED_BADINPUT").unwrap());
    let case = Case::all(&folder).unwrap().into_iter().find(|it| *it.name == *name).unwrap();
    let verdict = futures::executor::block_on(case.run(&Env::tokio(), &folder));
    let said = match (verdict, over(&case)) {
        (Verdict::Passed, Some(what)) => format!("wrong: {what}"),
        (Verdict::Passed, None) => "passed".to_string(),
        (Verdict::Refused(feature), _) => format!("refused: {feature}"),
        (Verdict::Wrong(what), _) => format!("wrong: {}", what.escape_debug()),
    };
    println!("verdict: {said}");
}

/// Which cap was passed. Linux tells what was used; elsewhere nothing is capped.
fn over(case: &Case) -> Option<String> {
    let own = case.limit("rss<", "MiB").map(|it| it << 20);
    let bytes = own.or(case.limit("rss<", "GiB").map(|it| it << 30)).unwrap_or(MEMORY_MAX);
    let millis = case.limit("time<", "s").map_or(TIME_MILLIS_MAX, |it| it * 1000);
    let Some((used_bytes, used_millis)) = used() else {
        return cfg!(target_os = "linux").then(|| "/proc does not tell what was used".to_string());
    };
    (bytes < used_bytes || READS * millis < used_millis)
        .then(|| format!("took {} MiB and {used_millis} ms of a processor", used_bytes >> 20))
}

/// Most memory and all time of this process, in bytes and milliseconds.
fn used() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let peak: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok());
    // A tick is a hundredth of a second on every Linux.
    Some((peak << 10, (ticks(11)? + ticks(12)?) * 10))
}
