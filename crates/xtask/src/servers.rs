//! The stores that the tests talk to: installed below `target/`, started on free ports of loopback,
//! ended when the tests are over, however they end: see [`guard`](crate::guard).
//!
//! | server | speaks | why |
//! |---|---|---|
//! | ministack | S3 | quick; its conditional puts are atomic |
//! | versitygw | S3 | checks signatures and keeps data on disk; where `go` is installed |
//! | azurite | Azure | the one there is |

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::guard::Guard;
use crate::{python, run};

/// The pins of the server that is a Python package.
const MINISTACK: &str = "testdata/servers/requirements.txt";
const AZURITE: &str = "azurite@3.35.0";
const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
/// The bucket or container of the tests.
const BUCKET: &str = "lakebed";
/// The account that every Azurite has, and a signature by its well-known key.
const ACCOUNT: &str = "devstoreaccount1";
const SIGNATURE: &str = "sv=2020-08-04&ss=b&srt=sco&sp=rwdlac&se=2999-01-01T00%3A00%3A00Z\
                         &sig=CwaIzFY%2BXtMul1uJY26NVnSJ7%2Bf8dkJPu2O%2Bpp61FP4%3D";
/// How long a server may take to start: a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// Servers, which run as long as their guard lives.
pub(crate) struct Servers<'a> {
    guard: &'a mut Guard,
    children: Vec<(&'static str, Child)>,
    /// Variables that tell the tests where they are.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Servers<'_> {
    /// Installs what is missing and starts all that this machine can have.
    pub(crate) fn start<'a>(root: &Path, guard: &'a mut Guard) -> Result<Servers<'a>, String> {
        let folder = root.join("target/servers");
        fs::create_dir_all(&folder).map_err(|it| format!("{}: {it}", folder.display()))?;
        let mut servers = Servers { guard, children: Vec::new(), variables: Vec::new() };
        servers.ministack(root, &folder)?;
        servers.azurite(&folder)?;
        match Command::new("go").arg("version").output() {
            Ok(it) if it.status.success() => servers.versitygw(&folder)?,
            _ => eprintln!("xtask: left out: versitygw, as `go` is not installed"),
        }
        Ok(servers)
    }

    fn ministack(&mut self, root: &Path, folder: &Path) -> Result<(), String> {
        let python = python(root, "ministack", &root.join(MINISTACK))?;
        let port = free_port()?;
        let mut command = Command::new(python.with_file_name("ministack"));
        command.env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1");
        command.env("SERVICES", "s3").env("GATEWAY_PORT", port.to_string());
        self.spawn("ministack", folder, command)?;
        self.wait("ministack", || status(port, "GET", "/_ministack/ready") == Some(200))?;
        self.wait("ministack", || status(port, "PUT", &format!("/{BUCKET}")) == Some(200))?;
        self.variables.push(("LAKEBED_S3", format!("http://127.0.0.1:{port}")));
        Ok(())
    }

    fn azurite(&mut self, folder: &Path) -> Result<(), String> {
        let home = folder.join("azurite");
        let main = home.join("node_modules/azurite/dist/src/blob/main.js");
        // Written last: a folder without it was left half made.
        let stamp = home.join("installed.txt");
        if !fs::read_to_string(&stamp).is_ok_and(|it| it == AZURITE) {
            fs::create_dir_all(&home).map_err(|it| format!("{}: {it}", home.display()))?;
            eprintln!("xtask: installing {AZURITE} into {}", home.display());
            let npm = ["install", "--no-audit", "--no-fund", "--silent", "--prefix", "."];
            run(Command::new("npm").args(npm).arg(AZURITE).current_dir(&home))?;
            fs::write(&stamp, AZURITE).map_err(|it| format!("{}: {it}", stamp.display()))?;
        }
        let port = free_port()?;
        let mut command = Command::new("node");
        command.arg(main).args(["--silent", "--inMemoryPersistence", "--disableTelemetry"]);
        command.args(["--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort"]);
        self.spawn("azurite", folder, {
            command.arg(port.to_string()).current_dir(&home);
            command
        })?;
        let container = format!("/{ACCOUNT}/{BUCKET}?restype=container&{SIGNATURE}");
        self.wait("azurite", || matches!(status(port, "PUT", &container), Some(201 | 409)))?;
        self.variables.push(("LAKEBED_AZURE", format!("http://127.0.0.1:{port}/{ACCOUNT}")));
        Ok(())
    }

    fn versitygw(&mut self, folder: &Path) -> Result<(), String> {
        let home = folder.join("versitygw");
        let program = home.join("bin").join("versitygw");
        let stamp = home.join("installed.txt");
        if !fs::read_to_string(&stamp).is_ok_and(|it| it == VERSITYGW) {
            eprintln!("xtask: installing {VERSITYGW} into {}", home.display());
            run(Command::new("go").args(["install", VERSITYGW]).env("GOBIN", home.join("bin")))?;
            fs::write(&stamp, VERSITYGW).map_err(|it| format!("{}: {it}", stamp.display()))?;
        }
        let (data, aside) = (home.join("data"), home.join("aside"));
        for folder in [&data, &aside] {
            let _ = fs::remove_dir_all(folder);
        }
        for folder in [&data.join(BUCKET), &aside] {
            fs::create_dir_all(folder).map_err(|it| format!("{}: {it}", folder.display()))?;
        }
        let port = free_port()?;
        let mut command = Command::new(program);
        command.env("ROOT_ACCESS_KEY", "test").env("ROOT_SECRET_KEY", "testtest");
        command.args(["--port", &format!("127.0.0.1:{port}"), "--health", "/health", "--quiet"]);
        command.args(["posix", "--sidecar"]).arg(&aside).arg(&data);
        self.spawn("versitygw", folder, command)?;
        self.wait("versitygw", || status(port, "GET", "/health") == Some(200))?;
        self.variables.push(("LAKEBED_S3_AUTH", format!("http://127.0.0.1:{port}")));
        Ok(())
    }

    /// Starts a server, whose words go to a file beside it.
    fn spawn(
        &mut self,
        name: &'static str,
        folder: &Path,
        mut command: Command,
    ) -> Result<(), String> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).map_err(|it| format!("{}: {it}", log.display()))?;
        let err = out.try_clone().map_err(|it| format!("{}: {it}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        self.children.push((name, self.guard.spawn(&mut command)?));
        Ok(())
    }

    /// Waits until a server is ready, and says so if it ends before.
    #[expect(clippy::disallowed_methods, reason = "chores stand outside of any environment")]
    fn wait(&mut self, name: &str, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let begun = std::time::Instant::now();
        while !is_ready() {
            for (other, child) in &mut self.children {
                if *other == name && child.try_wait().is_ok_and(|it| it.is_some()) {
                    return Err(format!("{name} ended; see target/servers/{name}.log"));
                }
            }
            if PATIENCE < begun.elapsed() {
                return Err(format!("{name} does not answer; see target/servers/{name}.log"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr());
    port.map(|it| it.port()).map_err(|it| format!("no free port: {it}"))
}

/// The status of an answer, if there is one.
fn status(port: u16, method: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-ms-version: 2020-08-04\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(answer.get(9..)?).ok()?.parse().ok()
}
