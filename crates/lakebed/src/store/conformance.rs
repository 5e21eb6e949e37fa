//! What tables need of a store, as a check that any store can be put through.
//!
//! Whoever brings a store of their own with [`Env::with_store`], or a server that speaks S3, finds
//! out here whether tables are safe on it, and what is wrong if they are not. The stores of this
//! crate go through the same.

use std::ops::Range;

use bytes::Bytes;
use futures::future::try_join_all;
use lakebed_log::error::{Code, Error, Result};

use super::{Put, Store};
use crate::env::Env;
use crate::op::Op;

/// Creators of one round of a race.
const RACERS: usize = 16;
/// Objects of the long listing: more than one page of any store's.
const MANY: usize = 1_050;
/// Bytes of the large object: several pieces, and a rest.
const LARGE_BYTES: usize = (20 << 20) + 17;
/// Most bytes that are read back.
const MAX: u64 = 64 << 20;
/// Names that stores and clients get wrong.
const ODD: &[&str] = &[
    "a b",
    "a%20b",
    "a%2Fb",
    "a%",
    "100%25",
    "a+b",
    "p=1",
    "a&b=c",
    "a#b",
    "a?b",
    "it's",
    "(a)~!$,;@*",
    "a[b]{c}",
    "\u{e4}\u{20ac}\u{1f600}",
    "12:30:00",
    "deep/er/still",
];

/// Puts the place of a table through everything that tables ask of a store. It should be empty, and
/// is again afterwards if all is well.
///
/// ```
/// use lakebed::{Env, store::conformance};
///
/// # futures::executor::block_on(async {
/// let env = Env::tokio();
/// let store = env.open("memory://doc/conformance")?;
/// conformance::check(&store).await?;
/// conformance::uploads(&store).await?;
/// conformance::race(&env, &store, 10).await?;
/// # Ok::<(), lakebed::Error>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// `store-unsafe`, which says what does not hold; and whatever the store fails with.
pub async fn check(store: &Store) -> Result<()> {
    let op = &Op::default();
    creates(store, op).await?;
    missing(store, op).await?;
    ranges(store, op).await?;
    replaces(store, op).await?;
    listings(store, op).await?;
    long_listings(store, op).await?;
    odd_names(store, op).await
}

/// The same for objects that are written in pieces.
///
/// # Errors
///
/// As [`check`].
pub async fn uploads(store: &Store) -> Result<()> {
    let op = &Op::default();
    for length in [0, 17, LARGE_BYTES] {
        let key = format!("upload/{length}");
        let bytes: Bytes = (0..=250u8).cycle().take(length).collect::<Vec<u8>>().into();
        let mut upload = store.create(op, &key).await?;
        for start in (0..length).step_by(1 << 20) {
            upload.write(bytes.slice(start..length.min(start + (1 << 20)))).await?;
        }
        hold(upload.finish().await? == length as u64, "an upload has its size", &key)?;
        hold(store.get(op, &key, MAX).await? == bytes, "an upload has its bytes", &key)?;
        store.delete(op, &key).await?;
        let mut upload = store.create(op, &key).await?;
        upload.write(bytes).await?;
        upload.abort().await;
        hold(store.head(op, &key).await.is_err(), "an upload given up leaves nothing", &key)?;
    }
    Ok(())
}

/// Lets sixteen writers create the same object at once, in so many rounds: exactly one may be told
/// that it did, and its bytes must be there.
///
/// # Errors
///
/// As [`check`].
pub async fn race(env: &Env, store: &Store, rounds: u64) -> Result<()> {
    let op = &Op::default();
    for round in 0..rounds {
        let key = format!("race/{round:020}.json");
        let racers = (0..RACERS).map(|racer| {
            let (store, op, key) = (store.clone(), op.clone(), key.clone());
            env.spawn(async move {
                let put = store.put_if_absent(&op, &key, text(racer)).await?;
                Ok((racer, put))
            })
        });
        let done = try_join_all(racers).await?;
        let won = |it: &&(usize, Put)| matches!(it.1, Put::Created(_));
        let winners: Vec<usize> = done.iter().filter(won).map(|it| it.0).collect();
        let there = store.get(op, &key, MAX).await?;
        let [winner] = winners.as_slice() else {
            return Err(broken(&format!("{} writers created `{key}`", winners.len())));
        };
        hold(there == text(*winner), "what is there is what the winner sent", &key)?;
        store.delete(op, &key).await?;
    }
    Ok(())
}

async fn creates(store: &Store, op: &Op) -> Result<()> {
    let key = "create/x";
    let created = store.put_if_absent(op, key, "first".into()).await?;
    let Put::Created(tag) = created else {
        return Err(broken("an object that is not there can be created"));
    };
    for _ in 0..2 {
        let again = store.put_if_absent(op, key, "second".into()).await?;
        hold(matches!(again, Put::Exists), "an object that is there is not created again", key)?;
    }
    let anew = store.put_new(op, key, "third".into()).await?;
    hold(!anew, "an object that is there is not new", key)?;
    hold(store.get(op, key, MAX).await? == "first", "what was created first stays", key)?;
    let listed = store.list(op, "create/", None).await?;
    let [listed] = listed.as_slice() else {
        return Err(broken("an object that was created is listed at once"));
    };
    let head = store.head(op, key).await?;
    hold(head.size == 5 && listed.size == 5, "sizes are those of the bytes", key)?;
    hold(head.etag == listed.etag, "all answers give one entity tag", key)?;
    hold(tag.is_none() || tag == head.etag, "a put gives the entity tag of a look", key)?;
    hold(head.key == key && listed.key == key, "names come back as they were given", key)?;
    store.delete(op, key).await?;
    let after = store.put_if_absent(op, key, "".into()).await?;
    hold(matches!(after, Put::Created(_)), "a name is free after a delete", key)?;
    hold(store.get(op, key, MAX).await?.is_empty(), "an object may have no bytes", key)?;
    store.delete(op, key).await
}

async fn missing(store: &Store, op: &Op) -> Result<()> {
    let key = "missing/x";
    let is_missing = |it: Option<Error>| it.is_some_and(|it| it.code() == Code::FileNotFound);
    let got = store.get(op, key, MAX).await;
    hold(is_missing(got.err()), "an object that is not there is `file-not-found`", "get")?;
    let got = store.get_range(op, key, 0..1).await;
    hold(is_missing(got.err()), "an object that is not there is `file-not-found`", "range")?;
    let got = store.head(op, key).await;
    hold(is_missing(got.err()), "an object that is not there is `file-not-found`", "head")?;
    hold(store.list(op, "missing/", None).await?.is_empty(), "no folder lists nothing", key)?;
    store.delete(op, key).await
}

async fn ranges(store: &Store, op: &Op) -> Result<()> {
    let key = "range/x";
    let bytes: Bytes = (0..=255u8).cycle().take(300_000).collect::<Vec<u8>>().into();
    store.put(op, key, bytes.clone()).await?;
    let far: [Range<u64>; 4] = [299_000..300_000, 0..1, 5..5, 150_000..150_010];
    let got = store.get_ranges(op, key, &far).await?;
    let expected = far.iter().map(|it| {
        let at = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        bytes.slice(at(it.start)..at(it.end))
    });
    hold(got.iter().cloned().eq(expected), "ranges give their bytes, in the order asked", key)?;
    for behind in [299_999..300_001, 300_000..300_001, 400_000..400_010] {
        let got = store.get_range(op, key, behind).await;
        let is_short = got.err().is_some_and(|it| it.code() == Code::ShortRead);
        hold(is_short, "a range behind the end is `short-read`", key)?;
    }
    let got = store.get(op, key, 299_999).await;
    let is_over = got.err().is_some_and(|it| it.code() == Code::LimitExceeded);
    hold(is_over, "an object over the limit is not read", key)?;
    store.delete(op, key).await
}

async fn replaces(store: &Store, op: &Op) -> Result<()> {
    let key = "replace/x";
    store.put(op, key, "one".into()).await?;
    let before = store.head(op, key).await?;
    store.put(op, key, "three".into()).await?;
    let after = store.head(op, key).await?;
    hold(store.get(op, key, MAX).await? == "three", "a put replaces what was there", key)?;
    let told_apart = after.etag.is_none() || before.etag != after.etag;
    hold(told_apart, "what was replaced has another entity tag", key)?;
    store.delete(op, key).await?;
    hold(store.head(op, key).await.is_err(), "what was deleted is gone at once", key)
}

async fn listings(store: &Store, op: &Op) -> Result<()> {
    // `-` and `.` come before `/`: a folder is no prefix of its neighbours.
    let keys = ["list/p/1", "list/p/2", "list/p-1/1", "list/p.1/1", "list/a", "list/z", "list/p.x"];
    for key in keys {
        store.put(op, key, text(key.len())).await?;
    }
    let check = async |prefix: &str, after: Option<&str>, expected: &[&str]| {
        let listed = store.list(op, prefix, after).await?;
        let names: Vec<&str> = listed.iter().map(|it| it.key.as_str()).collect();
        let what = "a listing is one folder, behind the offset, in order";
        hold(names == expected, what, &format!("{prefix} after {after:?}: {names:?}"))
    };
    check("list/", None, &["list/a", "list/p.x", "list/z"]).await?;
    check("list/p/", None, &["list/p/1", "list/p/2"]).await?;
    check("list/", Some("list/a"), &["list/p.x", "list/z"]).await?;
    check("list/", Some("list/b"), &["list/p.x", "list/z"]).await?;
    check("list/p/", Some("list/p/1"), &["list/p/2"]).await?;
    check("list/p/", Some("list/p/0"), &["list/p/1", "list/p/2"]).await?;
    check("list/", Some("list/z"), &[]).await?;
    for key in keys {
        store.delete(op, key).await?;
    }
    check("list/", None, &[]).await
}

async fn long_listings(store: &Store, op: &Op) -> Result<()> {
    let key = |at: usize| format!("many/{at:06}.json");
    let all: Vec<String> = (0..MANY).map(key).collect();
    for some in all.chunks(64) {
        try_join_all(some.iter().map(|it| store.put(op, it, "x".into()))).await?;
    }
    for after in [None, Some(3), Some(MANY - 2)] {
        let offset = after.map(key);
        let listed = store.list(op, "many/", offset.as_deref()).await?;
        let expected = all.iter().skip(after.map_or(0, |it| it + 1));
        let what = "a long listing is whole";
        hold(listed.iter().map(|it| &it.key).eq(expected), what, &format!("after {after:?}"))?;
    }
    for some in all.chunks(64) {
        try_join_all(some.iter().map(|it| store.delete(op, it))).await?;
    }
    hold(store.list(op, "many/", None).await?.is_empty(), "what was deleted is not listed", "many")
}

async fn odd_names(store: &Store, op: &Op) -> Result<()> {
    for (at, name) in ODD.iter().enumerate() {
        let key = format!("odd/{name}");
        let put = store.put_if_absent(op, &key, text(at)).await?;
        hold(matches!(put, Put::Created(_)), "odd names can be created", &key)?;
        let (folder, _) = key.rsplit_once('/').unwrap_or_default();
        let listed = store.list(op, &format!("{folder}/"), None).await?;
        hold(listed.iter().any(|it| it.key == key), "odd names are listed as they are", &key)?;
    }
    for (at, name) in ODD.iter().enumerate() {
        let key = format!("odd/{name}");
        let got = store.get(op, &key, MAX).await?;
        hold(got == text(at), "odd names are told apart", &key)?;
        store.delete(op, &key).await?;
        hold(store.head(op, &key).await.is_err(), "odd names are deleted", &key)?;
    }
    Ok(())
}

fn text(number: usize) -> Bytes {
    format!("it is {number}").into()
}

fn hold(holds: bool, what: &str, place: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(broken(&format!("{what}: {place}"))) }
}

fn broken(what: &str) -> Error {
    Error::new(Code::StoreUnsafe, format!("the store breaks a rule that tables need: {what}"))
}
