//! What is made of the answers of a store that fails.

use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::executor::block_on;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, Error as E, GetResult, ListResult, MultipartUpload, PutMultipartOptions,
    PutPayload, PutResult,
};

use super::*;
use crate::env::PIECE_BYTES;
use crate::op::Usage;

/// A store that fails with the errors it was given, one a call, and then works.
#[derive(Debug)]
struct Failing {
    inner: InMemory,
    errors: Mutex<Vec<E>>,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

impl Failing {
    fn next(&self) -> object_store::Result<()> {
        self.errors.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.next()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.next()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.next()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.next() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(err) => stream::once(async { Err(err) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.next() {
            Ok(()) => self.inner.list(prefix),
            // After a good start: a page that is lost must not pass for the end.
            Err(err) => self.inner.list(prefix).chain(stream::once(async { Err(err) })).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.next()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(outage())
    }
}

fn outage() -> E {
    E::Generic { store: "test", source: "https://user:pw@host/key?sig=pw is down".into() }
}

fn full() -> E {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    E::Generic { store: "test", source: source.into() }
}

fn denied() -> E {
    E::PermissionDenied { path: "x".into(), source: "no".into() }
}

fn exists() -> E {
    E::AlreadyExists { path: "x".into(), source: "there".into() }
}

/// A store with an object `x` that fails first, and the operation that counts.
fn failing(errors: Vec<E>) -> (Store, Op) {
    let inner = InMemory::new();
    block_on(inner.put(&Path::from("root/x"), "hello".into())).unwrap();
    let store = Failing { inner, errors: Mutex::new(errors) };
    (Store::object(&Env::tokio(), Arc::new(store), "root", "test://t"), Op::default())
}

/// What a create says for each answer: only what proves that nothing happened is an error, and it
/// is sent once whatever the answer.
#[test]
fn creates() {
    let precondition = || E::Precondition { path: "x".into(), source: "412".into() };
    let missing = || E::NotFound { path: "x".into(), source: "404".into() };
    let unable = || E::NotImplemented { operation: "put".into(), implementer: "test".into() };
    let rows: [(Option<fn() -> E>, &str); 9] = [
        (None, "created"),
        (Some(exists), "exists"),
        (Some(precondition), "exists"),
        (Some(outage), "unknown unavailable"),
        (Some(missing), "unknown file-not-found"),
        (Some(denied), "permission"),
        (Some(full), "no-space"),
        (Some(unable), "store-unsafe"),
        (Some(|| E::NotSupported { source: "no".into() }), "store-unsafe"),
    ];
    for (error, expected) in rows {
        let (store, op) = failing(error.map(|it| it()).into_iter().collect());
        let actual = match block_on(store.put_if_absent(&op, "y", "z".into())) {
            Ok(Put::Created(_)) => "created".to_string(),
            Ok(Put::Exists) => "exists".to_string(),
            Ok(Put::Unknown(err)) => format!("unknown {}", err.code().as_str()),
            Err(err) => err.code().as_str().to_string(),
        };
        assert_eq!(actual, expected);
        assert_eq!(op.usage().puts, 1, "{expected}");
    }
}

/// Everything but a create is tried again, a few times, and each try is counted.
#[test]
fn repeats() {
    type Call = fn(&Store, &Op) -> Result<()>;
    let calls: [(&str, Call); 8] = [
        ("get", |store, op| block_on(store.get(op, "x", 10)).map(|_| ())),
        ("range", |store, op| block_on(store.get_range(op, "x", 0..2)).map(|_| ())),
        ("list", |store, op| block_on(store.list(op, "", None)).map(|_| ())),
        ("after", |store, op| block_on(store.list(op, "", Some("a"))).map(|_| ())),
        ("head", |store, op| block_on(store.head(op, "x")).map(|_| ())),
        ("put", |store, op| block_on(store.put(op, "x", "y".into()))),
        ("new", |store, op| block_on(store.put_new(op, "y", "y".into())).map(|_| ())),
        ("delete", |store, op| block_on(store.delete(op, "x"))),
    ];
    for (name, call) in calls {
        let (store, op) = failing(vec![outage(), outage()]);
        call(&store, &op).unwrap();
        assert_eq!(op.usage().requests(), 3, "{name}");

        let (store, op) = failing((0..100).map(|_| outage()).collect());
        let err = call(&store, &op).unwrap_err();
        assert_eq!(err.code(), Code::Unavailable, "{name}");
        // A range asks for the size as well, to tell an outage from an end.
        let expected = if name == "range" { 2 * ATTEMPTS_MAX } else { ATTEMPTS_MAX };
        assert_eq!(op.usage().requests(), u64::from(expected), "{name}");
        let text = format!("{err} {err:?}");
        assert!(text.contains("https://host/key is down") && !text.contains("pw"), "{text}");

        let (store, op) = failing(vec![denied()]);
        assert_eq!(call(&store, &op).unwrap_err().code(), Code::Permission, "{name}");
        assert_eq!(op.usage().requests(), 1, "{name}");
    }
}

/// Pauses grow, and are drawn at random below their bound.
#[test]
fn pauses() {
    let (env, store) = (Env::tokio(), Arc::new(InMemory::new()));
    let remote = Arc::new(Remote::plain(store));
    let objects = Objects { env, remote, root: String::new() };
    for attempt in 1..ATTEMPTS_MAX {
        let drawn: Vec<Duration> = (0..100).map(|_| objects.pause(attempt)).collect();
        assert!(drawn.iter().all(|it| *it < PAUSE * (1 << (attempt - 1))));
        assert!(drawn.windows(2).any(|it| it[0] != it[1]));
    }
}

/// Pieces are cut to size, whatever they come in, and counted one by one.
#[test]
fn pieces() {
    let (store, op) = failing(Vec::new());
    let mut upload = block_on(store.create(&op, "large")).unwrap();
    for length in [3, PIECE_BYTES * 2, 1, 5] {
        block_on(upload.write(vec![7; length].into())).unwrap();
    }
    let size = (PIECE_BYTES * 2 + 9) as u64;
    assert_eq!(block_on(upload.finish()).unwrap(), size);
    // The start, three pieces, the end; and a look whether all of it is there.
    assert_eq!(op.usage(), Usage { puts: 5, heads: 1, bytes_written: size, ..Usage::default() });
    assert_eq!(block_on(store.get(&op, "large", size)).unwrap(), vec![7; PIECE_BYTES * 2 + 9]);

    let (store, op) = failing(vec![denied()]);
    let mut upload = block_on(store.create(&op, "large")).unwrap();
    let err = block_on(upload.write(vec![7; PIECE_BYTES + 1].into())).unwrap_err();
    assert_eq!(err.code(), Code::Permission);
    assert!(err.to_string().starts_with("test://t/large: "), "{err}");
}

/// A name of the log belongs to who was first, however large the object and whenever the other
/// one began; one of a data file is nobody else's.
#[test]
fn shared_names_are_not_replaced() {
    for length in [5, PIECE_BYTES + 1] {
        let (store, op) = failing(Vec::new());
        let key = "_delta_log/00000000000000000007.checkpoint.parquet";
        let upload = |byte: u8| {
            let mut upload = block_on(store.create(&op, key)).unwrap();
            block_on(upload.write(vec![byte; length].into())).unwrap();
            upload
        };
        let (first, second) = (upload(1), upload(2));
        assert_eq!(block_on(first.finish()).unwrap(), length as u64);
        assert_eq!(block_on(second.finish()).unwrap_err().code(), Code::Conflict);
        let stored = block_on(store.get(&op, key, length as u64)).unwrap();
        assert!(stored.iter().all(|it| *it == 1), "{length}");
    }
}

/// Text as the crate makes it of an answer.
fn answered(status: &str, body: &str) -> E {
    let text = format!(
        "Error performing PUT http://host/b/k?X-Amz-Signature=pw in 1ms - Server returned non-2xx \
         status code: {status}: {body}"
    );
    E::Generic { store: "S3", source: text.into() }
}

/// What stores say in words of their own is told apart, and nothing else of it is passed on.
///
/// spec: STORE-6, STORE-7
#[test]
fn refusals() {
    let body = |code: &str| {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>It is so.</Message>\
             <CanonicalRequest>x-amz-security-token:pw</CanonicalRequest></Error>"
        )
    };
    let rows = [
        ("403 Forbidden", "RequestTimeTooSkewed", Code::ClockSkew),
        ("403 Forbidden", "AccessDenied", Code::Permission),
        ("401 Unauthorized", "AuthenticationRequired", Code::Permission),
        ("404 Not Found", "InvalidAccessKeyId", Code::Permission),
        ("404 Not Found", "Odd", Code::InvalidArgument),
        ("409 Conflict", "OperationAborted", Code::Unavailable),
        ("404 Not Found", "NoSuchBucket", Code::NotATable),
        ("404 Not Found", "ContainerNotFound", Code::NotATable),
        ("400 Bad Request", "ExpiredToken", Code::Permission),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Code::InvalidArgument),
        ("400 Bad Request", "RequestTimeout", Code::Unavailable),
        ("400 Bad Request", "BadDigest", Code::Unavailable),
        ("301 Moved Permanently", "PermanentRedirect", Code::InvalidArgument),
        ("405 Method Not Allowed", "MethodNotAllowed", Code::InvalidArgument),
        ("408 Request Timeout", "", Code::Unavailable),
        ("429 Too Many Requests", "", Code::Unavailable),
        ("500 Internal Server Error", "InternalError", Code::Unavailable),
        ("501 Not Implemented", "NotImplemented", Code::StoreUnsafe),
        ("503 Service Unavailable", "SlowDown", Code::Unavailable),
        ("507 Insufficient Storage", "XMinioStorageFull", Code::NoSpace),
    ];
    for (status, code, expected) in rows {
        let err = failed(answered(status, &body(code)));
        assert_eq!(err.code(), expected, "{err:?}");
        let text = format!("{err:?}");
        assert!(text.contains(code) && text.contains("It is so."), "{text}");
        assert!(!text.contains("pw") && !text.contains("Canonical"), "{text}");
        // Only what proves that nothing happened ends a create.
        let is_final = !matches!(expected, Code::Unavailable);
        assert_eq!(outcome(Err(answered(status, &body(code)))).is_err(), is_final, "{text}");
    }
    let redirected = E::Generic {
        store: "S3",
        source: "Received redirect without LOCATION, this normally indicates a wrong region".into(),
    };
    assert_eq!(failed(redirected).code(), Code::InvalidArgument);
    let alone = "error sending request for url (http://169.254.169.254/latest/api/token)";
    let err = failed(E::Generic { store: "S3", source: alone.into() });
    assert_eq!(err.code(), Code::Permission);
    assert!(err.to_string().contains("no credentials were given"), "{err}");
}
