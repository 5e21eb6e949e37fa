//! A store that loses, delays, repeats and refuses, as its world's choices say.
//!
//! Every call of a client is four steps: the request travels, it takes effect (or not, or later, or
//! twice), the answer travels, the client hears it (or something else). Data and log live in one
//! ordered map that all clients share; each client has its own handle, whose faults are its own
//! decisions.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lakebed::Timestamp;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use crate::choices::Client;
use crate::sim::{BEGINNING, World};

/// What is stored, shared by the handles of all clients.
#[derive(Default)]
pub struct Objects {
    map: Mutex<BTreeMap<String, Object>>,
    violations: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified_millis: i64,
    tag: u64,
}

/// How rough a run is: one in how many calls meets a fault; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of all calls.
    pub any_one_in: u64,
    /// Of those that create a commit.
    pub commit_one_in: u64,
    /// Longest way of a request, in milliseconds.
    pub latency_millis: u64,
    /// Longest time after which a late effect happens, in milliseconds.
    pub late_millis: u64,
}

/// One client's way to the store.
pub struct SimStore {
    world: Arc<World>,
    objects: Arc<Objects>,
    client: Client,
    weather: Weather,
    /// Until when nothing of this client arrives: an outage after a commit is what leaves its
    /// outcome open for long.
    down_until: Arc<Mutex<Timestamp>>,
}

/// What goes wrong with one create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing happens, and the client hears of an error.
    Before,
    /// It happens, and the client hears of an error.
    After,
    /// It happens later, and the client hears of an error now.
    Late,
    /// It happens, and the client hears that something was there: its own first try.
    OwnExists,
    /// Nothing happens, and the client hears that something was there.
    FalseExists,
    /// It happens, and once more later.
    Twice,
    /// The store says no, and means it.
    Denied,
    /// The store is full.
    Full,
}

/// Longest outage of one client, longer than the longest deadline.
const OUTAGE_MILLIS: u64 = 60_000;

const COMMIT_FAULTS: &[Fault] = &[
    Fault::Before,
    Fault::After,
    Fault::Late,
    Fault::OwnExists,
    Fault::FalseExists,
    Fault::Twice,
    Fault::Denied,
    Fault::Full,
];

impl Objects {
    /// Bytes of an object, as they are now.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.map().get(key).map(|it| it.bytes.clone())
    }

    /// Keys below a prefix, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let map = self.map();
        let below = map.range(prefix.to_string()..).map(|it| it.0.clone());
        below.take_while(|it| it.starts_with(prefix)).collect()
    }

    /// What no store may see: a commit replaced, a version out of order.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores, or says that something is there. A commit is checked against the log it joins.
    fn put(&self, key: &str, bytes: Bytes, now_millis: i64, create: bool) -> bool {
        let mut map = self.map();
        if create && map.contains_key(key) {
            return false;
        }
        if let Some(version) = commit_version(key) {
            let previous = version.checked_sub(1).map(|it| key.replace(&name(version), &name(it)));
            let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
            if map.contains_key(key) {
                violations.push(format!("commit {version} is replaced"));
            }
            if previous.is_some_and(|it| !map.contains_key(&it)) {
                violations.push(format!("commit {version} comes before its predecessor"));
            }
        }
        let tag = map.values().map(|it| it.tag).max().unwrap_or(0) + 1;
        map.insert(key.to_string(), Object { bytes, modified_millis: now_millis, tag });
        true
    }
}

/// The version of a commit's key.
fn commit_version(key: &str) -> Option<u64> {
    let (_, file) = key.rsplit_once("_delta_log/")?;
    let digits = file.strip_suffix(".json").filter(|it| it.len() == 20)?;
    digits.parse().ok()
}

fn name(version: u64) -> String {
    format!("{version:020}.json")
}

impl SimStore {
    /// A client's handle.
    pub fn new(
        world: &Arc<World>,
        objects: &Arc<Objects>,
        client: Client,
        weather: Weather,
    ) -> Arc<SimStore> {
        let (world, objects) = (Arc::clone(world), Arc::clone(objects));
        let down_until = Arc::new(Mutex::new(BEGINNING));
        Arc::new(SimStore { world, objects, client, weather, down_until })
    }

    async fn travel(&self) {
        let below = self.weather.latency_millis + 1;
        let millis = self.world.choices().pick("latency", self.client, below);
        self.world.sleep(Duration::from_millis(millis)).await;
    }

    fn is_down(&self) -> bool {
        self.world.now() < *self.down_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a fault of a commit the way to the store may be gone for a while.
    fn maybe_go_down(&self) {
        let choices = self.world.choices();
        if choices.once_in("outage", self.client, 4) {
            let millis = choices.pick("outage-millis", self.client, OUTAGE_MILLIS);
            let until = self.world.now().plus_millis(i64::try_from(millis).unwrap_or(0));
            *self.down_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }

    /// Does a call that changes nothing fail?
    async fn read(&self, what: &str, key: &str) -> Result<()> {
        self.travel().await;
        let odds = self.weather.any_one_in;
        let fails = odds != 0 && self.world.choices().once_in("read-fault", self.client, odds);
        if fails || self.is_down() { Err(broken(what, key)) } else { Ok(()) }
    }

    fn fault(&self, key: &str) -> Fault {
        let is_commit = commit_version(key).is_some();
        let odds = if is_commit { self.weather.commit_one_in } else { self.weather.any_one_in };
        let choices = self.world.choices();
        if odds == 0 || !choices.once_in("put-fault", self.client, odds) {
            return Fault::None;
        }
        let drawn = choices.pick("put-fault-kind", self.client, COMMIT_FAULTS.len() as u64);
        let fault = usize::try_from(drawn).ok().and_then(|it| COMMIT_FAULTS.get(it)).copied();
        match fault.unwrap_or(Fault::None) {
            // Only creates are told that something is there, and only once.
            Fault::OwnExists | Fault::FalseExists | Fault::Twice if !is_commit => Fault::Before,
            fault => fault,
        }
    }

    fn store(&self, key: &str, bytes: Bytes, create: bool) -> bool {
        self.objects.put(key, bytes, self.world.now().as_millis(), create)
    }

    /// Stores later, whatever becomes of the client: the request has left it.
    fn store_late(&self, key: &str, bytes: Bytes, create: bool) {
        let below = self.weather.late_millis.max(1);
        let millis = self.world.choices().pick("late", self.client, below);
        let (world, objects, key) =
            (Arc::clone(&self.world), Arc::clone(&self.objects), key.to_string());
        let wait = self.world.sleep(Duration::from_millis(millis));
        let effect = async move {
            wait.await;
            objects.put(&key, bytes, world.now().as_millis(), create);
        };
        self.world.spawn(crate::choices::WORLD, Box::pin(effect));
    }

    fn meta(&self, key: &str, object: &Object) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(key),
            last_modified: chrono::DateTime::from_timestamp_millis(object.modified_millis)
                .unwrap_or_default(),
            size: object.bytes.len() as u64,
            e_tag: Some(object.tag.to_string()),
            version: None,
        }
    }

    fn listed(&self, prefix: Option<&Path>, offset: Option<&str>) -> Vec<ObjectMeta> {
        let prefix = prefix.map(|it| format!("{it}/")).unwrap_or_default();
        let map = self.objects.map();
        let below = map.range(prefix.clone()..).take_while(|it| it.0.starts_with(&prefix));
        let after = below.filter(|it| offset.is_none_or(|offset| offset < it.0.as_str()));
        after.map(|(key, object)| self.meta(key, object)).collect()
    }

    fn list_from(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.map(|it| it.to_string()));
        let this = SimStore {
            world: Arc::clone(&self.world),
            objects: Arc::clone(&self.objects),
            client: self.client,
            weather: self.weather,
            down_until: Arc::clone(&self.down_until),
        };
        let page = async move {
            match this.read("list", prefix.as_ref().map_or("", |it| it.as_ref())).await {
                Ok(()) => {
                    let found = this.listed(prefix.as_ref(), offset.as_deref());
                    this.travel().await;
                    found.into_iter().map(Ok).collect()
                }
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(page).flat_map(stream::iter).boxed()
    }
}

fn broken(what: &str, key: &str) -> Error {
    Error::Generic { store: "sim", source: format!("{what} of `{key}` was lost").into() }
}

fn exists(key: &str) -> Error {
    Error::AlreadyExists { path: key.to_string(), source: "there is one".into() }
}

fn missing(key: &str) -> Error {
    Error::NotFound { path: key.to_string(), source: "there is none".into() }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (key, bytes) = (location.as_ref(), Bytes::from(payload));
        let create = options.mode == PutMode::Create;
        self.travel().await;
        let fault = if self.is_down() { Fault::Before } else { self.fault(key) };
        let done = match fault {
            Fault::None | Fault::After | Fault::OwnExists => self.store(key, bytes, create),
            Fault::Twice => {
                self.store_late(key, bytes.clone(), create);
                self.store(key, bytes, create)
            }
            Fault::Late => {
                self.store_late(key, bytes, create);
                true
            }
            Fault::Before | Fault::FalseExists | Fault::Denied | Fault::Full => true,
        };
        if fault != Fault::None && commit_version(key).is_some() {
            self.maybe_go_down();
        }
        self.travel().await;
        match fault {
            Fault::None | Fault::Twice if done => Ok(PutResult { e_tag: None, version: None }),
            Fault::None | Fault::Twice | Fault::OwnExists | Fault::FalseExists => Err(exists(key)),
            Fault::Before | Fault::After | Fault::Late => Err(broken("put", key)),
            Fault::Full => Err(Error::Generic {
                store: "sim",
                source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
            }),
            Fault::Denied => {
                Err(Error::PermissionDenied { path: key.to_string(), source: "not for you".into() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "sim".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.as_ref();
        self.read("get", key).await?;
        let object = self.objects.map().get(key).cloned().ok_or_else(|| missing(key))?;
        self.travel().await;
        let meta = self.meta(key, &object);
        options.check_preconditions(&meta)?;
        let range: Range<u64> = match &options.range {
            None => 0..meta.size,
            Some(range) => range
                .as_range(meta.size)
                .map_err(|it| Error::Generic { store: "sim", source: it.into() })?,
        };
        let at = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        let bytes = if options.head {
            Bytes::new()
        } else {
            object.bytes.slice(at(range.start)..at(range.end))
        };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let objects = Arc::clone(&self.objects);
        let delete = move |location: Result<Path>| {
            let location = location?;
            objects.map().remove(location.as_ref());
            Ok(location)
        };
        locations.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read("list", prefix.map_or("", |it| it.as_ref())).await?;
        let below = prefix.map(|it| it.as_ref().len() + 1).unwrap_or(0);
        let direct =
            |it: &ObjectMeta| it.location.as_ref().get(below..).is_some_and(|it| !it.contains('/'));
        let objects = self.listed(prefix, None).into_iter().filter(direct).collect();
        self.travel().await;
        Ok(ListResult { objects, common_prefixes: Vec::new() })
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "sim".into() })
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore of client {}", self.client)
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim://{}", self.client)
    }
}
