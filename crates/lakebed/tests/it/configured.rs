//! Stores that are set up wrong, or do less than they should: an error that says what is wrong, and
//! nothing left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use lakebed::env::{BoxFuture, Credentials, Fresh};
use lakebed::{Append, Code, Env, Error, Op, Result, Table, Timestamp};
use lakebed_testkit::cloud::{CloudServer, Dialect, Fault};

use crate::help::{ids, rows};
use crate::places::{self, Place};

const DEADLINE: Duration = Duration::from_secs(20);

fn open(env: &Env, location: &str) -> Table {
    Table::open_with(env, location).unwrap().with_op(Op::new(DEADLINE))
}

/// What an append and a read fail with, which is the same.
fn failure(env: &Env, location: &str) -> Error {
    let start = Env::tokio().elapsed();
    let read = block_on(open(env, location).snapshot()).err().unwrap();
    let written = block_on(open(env, location).append(ids([1]), Append::new())).err().unwrap();
    assert!(Env::tokio().elapsed() - start < 2 * DEADLINE);
    assert_eq!(read.code(), written.code(), "{read:?} {written:?}");
    written
}

#[track_caller]
fn check(err: &Error, code: Code, says: &[&str]) {
    let text = format!("{err:?}");
    assert_eq!(err.code(), code, "{text}");
    for it in says {
        assert!(text.contains(it), "{text} does not say `{it}`");
    }
    for secret in ["testtest", "hunter2", "CanonicalRequest", "x-amz-security-token"] {
        assert!(!text.contains(secret), "{text} says `{secret}`");
    }
}

/// The server in this process, and an environment whose secrets are recognisable.
fn played(dialect: Dialect) -> (CloudServer, Env) {
    let server = CloudServer::start(dialect).unwrap();
    let place = match dialect {
        Dialect::S3 => places::s3("played", &server.endpoint(), "bucket"),
        Dialect::Google => places::google("played", &server.endpoint()),
    };
    (server, place.env().with_option("aws_session_token", "hunter2"))
}

/// spec: STORE-7
#[test]
fn wrong_keys() {
    for (status, code) in [(403, "SignatureDoesNotMatch"), (400, "ExpiredToken")] {
        let (server, env) = played(Dialect::S3);
        server.always("", Fault::Refused(status, code));
        check(&failure(&env, "s3://bucket/t"), Code::Permission, &[code, "s3://bucket/t"]);
        assert_eq!(server.keys(), [""; 0]);
    }
    let (server, env) = played(Dialect::Google);
    server.always("", Fault::Refused(401, "AuthenticationRequired"));
    check(&failure(&env, "gs://bucket/t"), Code::Permission, &["AuthenticationRequired"]);

    let wrong = |place: &Place, option: &str, value: &str| place.env().with_option(option, value);
    if let Some(endpoint) = places::server("LAKEBED_S3_AUTH", false) {
        let place = places::s3("versitygw", &endpoint, "lakebed");
        let location = place.location();
        let env = wrong(&place, "aws_secret_access_key", "hunter2");
        check(&failure(&env, &location), Code::Permission, &["SignatureDoesNotMatch"]);
        let env = wrong(&place, "aws_access_key_id", "nobody");
        check(&failure(&env, &location), Code::Permission, &["XAdminUserNotFound"]);
        assert!(!block_on(open(&place.env(), &location).exists()).unwrap());
    }
    if let Some(endpoint) = places::server("LAKEBED_AZURE", true) {
        let place = places::azure("azurite", &endpoint);
        let env = wrong(&place, "azure_storage_account_key", "aHVudGVyMg==");
        check(&failure(&env, &place.location()), Code::Permission, &["AuthorizationFailure"]);
    }
}

/// Nothing listens there.
///
/// spec: STORE-7
#[test]
fn wrong_endpoints() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = format!("http://127.0.0.1:{port}");
    let (s3, azure, google) = (
        places::s3("none", &endpoint, "bucket"),
        places::azure("none", &format!("{endpoint}/devstoreaccount1")),
        places::google("none", &endpoint),
    );
    for place in [s3, azure, google] {
        let err = failure(&place.env(), &place.location());
        check(&err, Code::Unavailable, &[&port.to_string(), "refused"]);
    }
}

/// spec: STORE-7
#[test]
fn no_bucket() {
    let (server, env) = played(Dialect::S3);
    let says = ["no such bucket", "s3://absent/t"];
    check(&failure(&env, "s3://absent/t"), Code::NotATable, &says);
    assert_eq!(server.keys(), [""; 0]);
    let (_server, env) = played(Dialect::Google);
    check(&failure(&env, "gs://absent/t"), Code::NotATable, &["no such bucket"]);
    if let Some(endpoint) = places::server("LAKEBED_S3", true) {
        let env = places::s3("ministack", &endpoint, "absent").env();
        check(&failure(&env, "s3://absent/t"), Code::NotATable, &["no such bucket"]);
    }
    if let Some(endpoint) = places::server("LAKEBED_S3_AUTH", false) {
        let env = places::s3("versitygw", &endpoint, "absent").env();
        check(&failure(&env, "s3://absent/t"), Code::NotATable, &["no such bucket"]);
    }
    if let Some(endpoint) = places::server("LAKEBED_AZURE", true) {
        let env = places::azure("azurite", &endpoint).env();
        check(&failure(&env, "az://absent/t"), Code::NotATable, &["no such bucket"]);
    }
}

/// Who may read and not write is told so, and leaves nothing.
///
/// spec: STORE-7
#[test]
fn no_permission() {
    let (server, env) = played(Dialect::S3);
    let table = open(&env, "s3://bucket/t");
    block_on(table.append(ids([0]), Append::new())).unwrap();
    let before = server.keys();
    server.always("PUT", Fault::Refused(403, "AccessDenied"));
    let err = block_on(table.append(ids([1]), Append::new())).err().unwrap();
    check(&err, Code::Permission, &["AccessDenied"]);
    assert_eq!(server.keys(), before);
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0]);
    server.always("", Fault::Refused(403, "AccessDenied"));
    check(&failure(&env, "s3://bucket/t"), Code::Permission, &["AccessDenied"]);
}

/// spec: STORE-7
#[test]
fn skewed_clocks() {
    let (server, env) = played(Dialect::S3);
    let table = open(&env, "s3://bucket/t");
    block_on(table.append(ids([0]), Append::new())).unwrap();
    server.always("", Fault::Refused(403, "RequestTimeTooSkewed"));
    check(&failure(&env, "s3://bucket/t"), Code::ClockSkew, &["clock", "RequestTimeTooSkewed"]);
    server.recover();
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0]);
}

/// A store that throttles is asked again, a few times, by us and not by the client as well.
#[test]
fn throttled() {
    let (server, env) = played(Dialect::S3);
    server.always("", Fault::Refused(503, "SlowDown"));
    let env = env.with_option("max_retries", "2");
    let err = block_on(open(&env, "s3://bucket/t").snapshot()).err().unwrap();
    check(&err, Code::Unavailable, &["SlowDown"]);
    // The hint and the listing, three times each.
    assert_eq!(server.requests().len(), 6);
}

/// At an address that the user named, creates are tried out before the first write, once; at one
/// that lets two writers win nothing is written, unless there is one writer.
///
/// spec: STORE-8, STORE-9
#[test]
fn stores_without_conditions() {
    let (server, env) = played(Dialect::S3);
    let probes = |server: &CloudServer| {
        let of_probe = |it: &String| it.starts_with("PUT") && it.contains("_lakebed_probe-");
        server.requests().iter().filter(|it| of_probe(it)).count()
    };
    for id in 0..3 {
        block_on(open(&env, "s3://bucket/t").append(ids([id]), Append::new())).unwrap();
    }
    assert_eq!(probes(&server), 3, "one probe of three creates");
    assert!(!server.keys().iter().any(|it| it.contains("probe")), "{:?}", server.keys());

    server.forget_conditions();
    let (before, other) = (server.keys(), env.with_option("user_agent", "other"));
    let table = open(&other, "s3://bucket/t");
    let err = block_on(table.append(ids([3]), Append::new())).err().unwrap();
    check(&err, Code::StoreUnsafe, &["single_writer"]);
    assert_eq!(server.keys(), before, "nothing is left behind");
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1, 2]);

    for name in ["single_writer", "AWS_S3_ALLOW_UNSAFE_RENAME"] {
        let alone = open(&env.with_option(name, "true"), "s3://bucket/t");
        let held = block_on(alone.snapshot()).unwrap();
        block_on(alone.append(ids([4]), Append::new())).unwrap();
        // A look takes the place of the condition.
        let late = block_on(held.append(ids([5]), Append::new())).unwrap();
        assert_eq!(late.version().get(), held.version().get() + 2);
    }
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [0, 1, 2, 4, 4, 5, 5]);

    let locked = env.with_option("AWS_S3_LOCKING_PROVIDER", "dynamodb");
    let err = block_on(open(&locked, "s3://bucket/t").append(ids([6]), Append::new()));
    check(&err.err().unwrap(), Code::StoreUnsafe, &["locking provider"]);
}

/// Where a look takes the place of the condition, what landed is found as well: a staged
/// transaction whose publication was not answered is not discarded from under the table.
#[test]
fn nothing_that_landed_is_discarded() {
    let (server, env) = played(Dialect::S3);
    server.forget_conditions();
    let env = env.with_option("single_writer", "true").with_option("timeout", "300ms");
    let table = open(&env, "s3://bucket/t");
    block_on(async {
        table.append(ids([1]), Append::new()).await.unwrap();
        for fault in [Fault::ResetAfter, Fault::OutageAfter] {
            let mut txn = table.begin().await.unwrap();
            txn.append(ids([2]), Append::new()).await.unwrap();
            let staged = txn.stage().await.unwrap();
            server.plan([fault]);
            let hurried = open(&env, "s3://bucket/t").with_op(Op::new(Duration::from_secs(2)));
            let told = hurried.publish(&staged).await;
            if fault == Fault::OutageAfter {
                let told = told.err().unwrap();
                assert_eq!(told.code(), Code::OutcomeUnknown, "{told:?}");
            }
            server.recover();
            let refused = table.discard(&staged).await.err().unwrap();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
    });
    assert_eq!(rows(&block_on(table.snapshot()).unwrap()), [1, 2, 2]);
}

/// They are refused when the table is opened, before anything is sent to anybody.
#[test]
fn options_that_make_no_sense() {
    let check = |options: &[(&str, &str)], location: &str, says: &str| {
        let env = options.iter().fold(Env::tokio(), |env, it| env.with_option(it.0, it.1));
        let err = env.open(location).err().unwrap();
        assert_eq!(err.code(), Code::InvalidArgument, "{err:?}");
        let text = format!("{err:?}");
        assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
    };
    check(&[("aws_endpoint_url", "http://127.0.0.1:1")], "s3://b/t", "allow_http=true");
    check(&[("aws_access_key_id", "hunter2")], "s3://b/t", "SecretAccessKey");
    check(&[("timeout", "hunter2")], "s3://b/t", "refused");
    check(&[("single_writer", "hunter2")], "s3://b/t", "`true` or `false`");
    check(&[("max_retries", "hunter2")], "s3://b/t", "small number");
    check(&[("aws_conditional_put", "hunter2")], "s3://b/t", "`etag` or `disabled`");
    check(&[("aws_profile", "absent-profile")], "s3://b/t", "absent-profile");
    check(&[], "az://c/t", "azure_storage_account_name");
    check(&[("service_account_key", "hunter2")], "gs://b/t", "refused");
    let plain = [("google_base_url", "http://127.0.0.1:1"), ("google_token", "hunter2")];
    check(&plain, "gs://b/t", "allow_http=true");
    // Whoever hands over a location does not say where the keys go.
    let token = [("azure_storage_token", "hunter2")];
    check(&token, "abfss://c@a.dfs.example.com/t", "no domain of Azure");
    check(&token, "abfss://c@a.dfs.core.windows.net.example.com/t", "no domain of Azure");
    check(&[("account_key", "hunter2!")], "abfss://c@a.dfs.core.windows.net/t", "refused");
}

/// Keys that the caller hands in, counted, and short-lived from the third on.
struct Vault {
    asked: AtomicI64,
    expires_millis: i64,
}

impl Credentials for Vault {
    fn fetch<'a>(&'a self, location: &'a str) -> BoxFuture<'a, Result<Fresh>> {
        assert_eq!(location, "s3://bucket");
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let now = Env::tokio().now().as_millis();
        Box::pin(async move {
            if 99 <= asked {
                return Err(Error::invalid("the vault is closed"));
            }
            let keys = [("aws_access_key_id", "test"), ("aws_secret_access_key", "hunter2")];
            Ok(Fresh::new(keys).until(Timestamp::from_millis(now + self.expires_millis)))
        })
    }
}

/// Credentials of the caller's are fetched once while they hold, and anew before they expire.
///
/// spec: STORE-10
#[test]
fn credentials_of_the_caller() {
    for (expires_millis, is_kept) in [(3_600_000, true), (60_000, false)] {
        let (_server, env) = played(Dialect::S3);
        let vault = Arc::new(Vault { asked: AtomicI64::new(0), expires_millis });
        let env = env.with_credentials(Arc::clone(&vault) as Arc<dyn Credentials>);
        let table = open(&env, "s3://bucket/t");
        block_on(table.append(ids([0]), Append::new())).unwrap();
        block_on(table.append(ids([1]), Append::new())).unwrap();
        assert_eq!(vault.asked.load(Ordering::SeqCst) == 1, is_kept);
        assert!(!format!("{env:?}").contains("hunter2"));

        vault.asked.store(99, Ordering::SeqCst);
        let closed = open(&env.with_option("user_agent", "other"), "s3://bucket/t");
        let err = block_on(closed.snapshot()).err().unwrap();
        check(&err, Code::Permission, &["the vault is closed"]);
    }
}
