//! A cloud store in this process, on loopback: the S3 protocol, or Google's dialect of it, with
//! faults by script.
//!
//! Real servers say what stores do when all is well. What they do otherwise (an answer lost after
//! the effect, a 409 with nothing there, an effect that comes late) cannot be asked of them, so it
//! is played here, over real connections: the client's own retries, timeouts and error texts are
//! part of what is tested.
//!
//! Signatures are not checked. Refusals send the request back as AWS does, session token included,
//! so that a client that prints what it was told is found out.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod answer;

use answer::Answer;

/// Whose words the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// S3's: `If-None-Match: *`.
    S3,
    /// Google's XML interface: `x-goog-if-generation-match: 0`.
    Google,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What should.
    Fine,
    /// Nothing happens, and the answer is this status with this code.
    Refused(u16, &'static str),
    /// It happens, and the answer is this status with this code.
    RefusedAfter(u16, &'static str),
    /// Nothing happens, and the connection ends.
    ResetBefore,
    /// It happens, and the connection ends.
    ResetAfter,
    /// It happens after a while, and the connection has ended before.
    Late(Duration),
    /// It happens, and no answer comes for so long.
    Silent(Duration),
    /// Nothing happens, and no answer comes for so long.
    SilentBefore(Duration),
    /// It happens, the connection ends, and from then on every request is refused with 503.
    OutageAfter,
}

/// One request, as it arrived.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Decoded, without the slash at its beginning.
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) query: BTreeMap<String, String>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An object.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    pub(crate) modified_millis: i64,
    /// Google's generation; the entity tag is made of it.
    pub(crate) generation: u64,
}

/// What the threads of one server share.
pub(crate) struct Shared {
    pub(crate) dialect: Dialect,
    pub(crate) objects: Mutex<BTreeMap<String, Stored>>,
    pub(crate) uploads: Mutex<BTreeMap<String, BTreeMap<u64, Vec<u8>>>>,
    pub(crate) next: AtomicU64,
    /// An object whose key ends so is replaced by one with the same bytes once part of it was read.
    pub(crate) replaced: Mutex<Option<&'static str>>,
    /// Are conditions of creates obeyed?
    pub(crate) keeps_conditions: AtomicBool,
    plan: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<(&'static str, Fault)>>,
    log: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

/// A running server; it stops when it is dropped. Its one bucket is `bucket`.
pub struct CloudServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl CloudServer {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    ///
    /// What the system says if there is none.
    pub fn start(dialect: Dialect) -> io::Result<CloudServer> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            dialect,
            objects: Mutex::default(),
            uploads: Mutex::default(),
            next: AtomicU64::new(1),
            replaced: Mutex::default(),
            keeps_conditions: AtomicBool::new(true),
            plan: Mutex::default(),
            always: Mutex::default(),
            log: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread(move || {
            for stream in listener.incoming().flatten() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread(move || drop(serve(&shared, &stream)));
            }
        });
        Ok(CloudServer { address, shared })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of the next puts of commits, in turn.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *lock(&self.shared.plan) = faults.into_iter().collect();
    }

    /// How many of them are still to come.
    pub fn left(&self) -> usize {
        lock(&self.shared.plan).len()
    }

    /// What becomes of every request of this method from now on; of all if it is empty.
    pub fn always(&self, method: &'static str, fault: Fault) {
        *lock(&self.shared.always) = Some((method, fault));
    }

    /// The next object whose key ends so is replaced once it was read, by one with the same bytes.
    pub fn replace_after_get(&self, end: &'static str) {
        *lock(&self.shared.replaced) = Some(end);
    }

    /// All is well again.
    pub fn recover(&self) {
        *lock(&self.shared.always) = None;
        lock(&self.shared.plan).clear();
    }

    /// Creates overwrite from now on, as with stores that do not know the condition.
    pub fn forget_conditions(&self) {
        self.shared.keeps_conditions.store(false, Ordering::SeqCst);
    }

    /// Keys that are there, in order.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.shared.objects).keys().cloned().collect()
    }

    /// Bytes of an object.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.shared.objects).get(key).map(|it| it.bytes.clone())
    }

    /// Method and key of each request since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.log))
    }
}

impl Drop for CloudServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The listener waits for one more.
        drop(TcpStream::connect(self.address));
    }
}

#[expect(clippy::disallowed_methods, reason = "a server stands outside of any environment")]
fn thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

#[expect(clippy::disallowed_methods, reason = "a server stands outside of any environment")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of one connection, until either side ends it.
fn serve(shared: &Arc<Shared>, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        if shared.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        lock(&shared.log).push(format!("{} {}", request.method, request.key));
        let request = Arc::new(request);
        let answer = match fate(shared, &request) {
            Fault::Fine => shared.answer(&request),
            Fault::Refused(status, code) => Answer::refusal(status, code, &request),
            Fault::RefusedAfter(status, code) => {
                shared.answer(&request);
                Answer::refusal(status, code, &request)
            }
            Fault::ResetBefore => return Ok(()),
            Fault::ResetAfter => {
                shared.answer(&request);
                return Ok(());
            }
            Fault::Late(after) => {
                let shared = Arc::clone(shared);
                thread(move || {
                    wait(after);
                    shared.answer(&request);
                });
                return Ok(());
            }
            Fault::Silent(duration) => {
                let answer = shared.answer(&request);
                wait(duration);
                answer
            }
            Fault::OutageAfter => {
                shared.answer(&request);
                *lock(&shared.always) = Some(("", Fault::Refused(503, "SlowDown")));
                return Ok(());
            }
            Fault::SilentBefore(duration) => {
                wait(duration);
                return Ok(());
            }
        };
        let mut stream = stream;
        stream.write_all(&answer.bytes(request.method == "HEAD"))?;
    }
    Ok(())
}

fn fate(shared: &Shared, request: &Request) -> Fault {
    if let Some((method, fault)) = *lock(&shared.always)
        && (method.is_empty() || method == request.method)
    {
        return fault;
    }
    let is_commit = request.method == "PUT"
        && request.key.contains("_delta_log/")
        && request.key.ends_with(".json");
    match is_commit {
        true => lock(&shared.plan).pop_front().unwrap_or(Fault::Fine),
        false => Fault::Fine,
    }
}

/// The next request of a connection; `None` at its end.
fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().ok_or_else(|| wrong("no method"))?.to_string();
    let target = words.next().ok_or_else(|| wrong("no target"))?.to_string();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(wrong("headers without an end"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = decoded(path);
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    let pair = |it: &str| {
        let (name, value) = it.split_once('=').unwrap_or((it, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    };
    let query = query.split('&').filter(|it| !it.is_empty()).map(pair).collect();
    let bucket = bucket.trim_matches('/').to_string();
    Ok(Some(Request { method, bucket, key: key.to_string(), query, headers, body }))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        match byte {
            b'%' => {
                let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
                bytes.extend(value.and_then(|it| u8::try_from(it).ok()));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
