//! A store that loses, delays, repeats and refuses, as its world's choices say.
//!
//! Every call of a client is four steps, and between any two of them others may act:
//!
//! ```text
//!   leave the client -> reach the store -> take effect -> answer -> reach the client
//!   ^ may sleep, die    ^ may be lost       ^ may come      ^ may     ^ may sleep, die
//!                                             late, twice     lie
//! ```
//!
//! A write that has left its client is on its way whatever becomes of the client. Each call makes
//! one decision about faults, named by its class, so that a list of decisions says which call of
//! which operation met what.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::channel::oneshot;
use futures::stream::{self, BoxStream};
use lakebed::Timestamp;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use crate::choices::{Client, WORLD};
use crate::objects::{Object, Objects, commit_version};
use crate::sim::World;
use crate::sim_upload::SimUpload;
use crate::weather::{Class, Fault, LONG_MINUTES, Weather};

/// One client's way to the store. Cheap to clone.
#[derive(Clone)]
pub struct SimStore {
    world: Arc<World>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) client: Client,
    weather: Weather,
    trouble: Arc<Trouble>,
}

/// Until when something stays wrong, in milliseconds of the true time.
#[derive(Default)]
struct Trouble {
    /// Nothing arrives: an outage after a commit is what leaves its outcome open for long.
    down: AtomicI64,
    denied: AtomicI64,
    full: AtomicI64,
    /// The second that is being counted, and the requests in it.
    rate: Mutex<(i64, u64)>,
}

/// Longest outage of one client, longer than the default deadline of a request.
const OUTAGE_MILLIS: u64 = 150_000;
/// Longest time for which a store is full, or refuses a client.
const REFUSAL_MILLIS: u64 = 60_000;
/// Longest time by which a late effect is late.
const LATE_MILLIS: u64 = 60_000;
/// An answer that takes longer than anybody waits.
const NEVER: Duration = Duration::from_secs(1_000);

/// What becomes of one write.
type Effect = Box<dyn Fn(Timestamp) -> Result<PutResult> + Send>;

impl SimStore {
    /// A client's handle.
    pub fn new(
        world: &Arc<World>,
        objects: &Arc<Objects>,
        client: Client,
        weather: Weather,
    ) -> SimStore {
        let (world, objects) = (Arc::clone(world), Arc::clone(objects));
        SimStore { world, objects, client, weather, trouble: Arc::default() }
    }

    async fn travel(&self) {
        let micros = u64::try_from(self.weather.latency.as_micros()).unwrap_or(0);
        let micros = self.pick("latency", micros + 1);
        self.world.sleep(Duration::from_micros(micros)).await;
    }

    fn pick(&self, label: &'static str, below: u64) -> u64 {
        self.world.choices().pick(label, self.client, below)
    }

    pub(crate) fn note(&self, what: &str, key: &str, how: &str) {
        let key = key.rsplit_once("/_delta_log/").map_or(key, |it| it.1);
        self.world.note(self.client, || format!("{what} {key}{how}"));
    }

    /// The request is about to leave: what will become of it?
    pub(crate) async fn leave(&self, class: Class, key: &str) -> Result<Option<Fault>> {
        let choices = self.world.choices();
        let drawn = match self.world.is_calm() {
            true => 0,
            false => {
                let draw = |bits| self.weather.fault(class, bits);
                choices.draw(class.label(), self.client, draw)
            }
        };
        let place = drawn.checked_sub(1).and_then(|it| usize::try_from(it).ok());
        let fault = place.and_then(|it| class.faults().get(it)).copied();
        if let Some(fault) = fault {
            self.note("!", key, &format!(" {fault:?}"));
        }
        match fault {
            Some(Fault::KillBefore) => self.die().await,
            Some(Fault::SleepBefore) => self.sleep().await,
            _ => {}
        }
        let now = self.world.now().as_millis();
        let is = |it: &AtomicI64| !self.world.is_calm() && now < it.load(Ordering::Relaxed);
        if is(&self.trouble.down) || self.is_throttled(now) {
            self.travel().await;
            return Err(broken("request", key));
        }
        let writes = matches!(class, Class::Commit | Class::Put);
        let refused = match fault {
            Some(Fault::Denied) => self.begin(&self.trouble.denied, REFUSAL_MILLIS),
            Some(Fault::Full) => self.begin(&self.trouble.full, REFUSAL_MILLIS),
            _ => false,
        };
        if refused || is(&self.trouble.denied) || (writes && is(&self.trouble.full)) {
            self.travel().await;
            let is_full = fault == Some(Fault::Full) || is(&self.trouble.full) && writes;
            return Err(if is_full { full() } else { denied(key) });
        }
        // After a fault of a commit the way to the store may be gone for a while.
        if class == Class::Commit && fault.is_some() && choices.once_in("outage", self.client, 4) {
            self.begin(&self.trouble.down, OUTAGE_MILLIS);
        }
        Ok(fault)
    }

    fn begin(&self, until: &AtomicI64, most: u64) -> bool {
        let millis = i64::try_from(self.pick("trouble-millis", most)).unwrap_or(0);
        until.store(self.world.now().as_millis() + millis, Ordering::Relaxed);
        true
    }

    fn is_throttled(&self, now: i64) -> bool {
        if self.weather.throttle == 0 || self.world.is_calm() {
            return false;
        }
        let mut rate = self.trouble.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if rate.0 != now / 1_000 {
            *rate = (now / 1_000, 0);
        }
        rate.1 += 1;
        self.weather.throttle < rate.1
    }

    async fn die(&self) {
        self.world.doom(self.client);
        futures::future::pending().await
    }

    /// The whole client sleeps; it goes on with what it was about to do.
    async fn sleep(&self) {
        let minutes = 1 + self.pick("sleep-minutes", LONG_MINUTES);
        self.world.freeze(self.client, Duration::from_secs(minutes * 60));
        self.world.sleep(Duration::from_nanos(1)).await;
    }

    /// Sends a write on its way, whatever becomes of the client. Gives the answer.
    pub(crate) async fn send(
        &self,
        fault: Option<Fault>,
        key: &str,
        effect: impl Fn(Timestamp) -> Result<PutResult> + Send + 'static,
    ) -> Result<PutResult> {
        let late = |seconds: u64| Duration::from_millis(1 + self.pick("late-millis", seconds));
        let very = LONG_MINUTES * 60_000;
        let waits: Vec<Duration> = match fault {
            Some(Fault::Before | Fault::FalseExists | Fault::Hung) => vec![],
            Some(Fault::Late) => vec![late(LATE_MILLIS)],
            Some(Fault::VeryLate) => vec![late(very)],
            Some(Fault::Twice) => vec![Duration::ZERO, late(LATE_MILLIS)],
            Some(Fault::TwiceVeryLate) => vec![Duration::ZERO, late(very)],
            _ => vec![Duration::ZERO],
        };
        let micros = u64::try_from(self.weather.latency.as_micros()).unwrap_or(0);
        let way = Duration::from_micros(self.pick("latency", micros + 1));
        let effect: Arc<Mutex<Effect>> = Arc::new(Mutex::new(Box::new(effect)));
        let mut answer = None;
        for wait in waits {
            let (answered, arrives) = oneshot::channel();
            let arrival = self.world.sleep(way + wait);
            let (world, effect) = (Arc::clone(&self.world), Arc::clone(&effect));
            let task = async move {
                arrival.await;
                let effect = effect.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = answered.send(effect(world.now()));
            };
            self.world.spawn(WORLD, Box::pin(task));
            answer = Some((wait, arrives)).filter(|it| it.0.is_zero()).or(answer);
        }
        let done = match answer {
            Some((_, arrives)) => arrives.await.unwrap_or_else(|_| Err(broken("answer", key))),
            None => {
                self.world.sleep(way).await;
                Err(broken("request", key))
            }
        };
        self.arrive(fault, key).await?;
        match fault {
            Some(Fault::OwnExists | Fault::FalseExists) => Err(exists(key)),
            Some(Fault::After) => Err(broken("answer", key)),
            _ => done,
        }
    }

    /// The answer is on its way back.
    async fn arrive(&self, fault: Option<Fault>, key: &str) -> Result<()> {
        match fault {
            Some(Fault::Lost | Fault::Hung) => {
                self.world.sleep(NEVER).await;
                return Err(broken("answer", key));
            }
            Some(Fault::KillAfter) => self.die().await,
            Some(Fault::SleepAfter) => self.sleep().await,
            _ => {}
        }
        self.travel().await;
        Ok(())
    }

    fn meta(&self, key: &str, object: &Object) -> ObjectMeta {
        ObjectMeta {
            location: Path::parse(key).unwrap_or_else(|_| Path::from(key)),
            last_modified: chrono::DateTime::from_timestamp_millis(object.modified.as_millis())
                .unwrap_or_default(),
            size: object.bytes.len() as u64,
            e_tag: Some(object.tag.to_string()),
            version: None,
        }
    }

    /// Names in pages, each as the store is when it is asked for, and none of it if one fails.
    async fn pages(&self, prefix: String, offset: Option<String>) -> Vec<Result<ObjectMeta>> {
        let mut found = Vec::new();
        let mut after = offset;
        loop {
            let fault = match self.leave(Class::List, &prefix).await {
                Ok(it) => it,
                Err(error) => return vec![Err(error)],
            };
            self.travel().await;
            if matches!(fault, Some(Fault::Before | Fault::Hung)) {
                let _ = self.arrive(fault, &prefix).await;
                return vec![Err(broken("list", &prefix))];
            }
            let all = self.listed(&prefix, after.as_deref());
            let page: Vec<_> = all.iter().take(self.weather.page).collect();
            let is_last = page.len() == all.len();
            after = page.last().map(|it| it.0.clone()).or(after);
            // Stores need not sort, and this one never does.
            let metas: Vec<_> = page.iter().rev().map(|it| Ok(self.meta(&it.0, &it.1))).collect();
            self.note("list", &prefix, &format!(": {}", metas.len()));
            found.extend(metas);
            if let Err(error) = self.arrive(fault, &prefix).await {
                return vec![Err(error)];
            }
            if fault == Some(Fault::Page) {
                found.push(Err(broken("page", &prefix)));
                return found;
            }
            if is_last {
                return found;
            }
        }
    }

    /// What is below a prefix, as far as the store knows when it makes a page.
    fn listed(&self, prefix: &str, after: Option<&str>) -> Vec<(String, Object)> {
        let most = u64::try_from(self.weather.list_lag.as_millis()).unwrap_or(0);
        if most == 0 || self.world.is_calm() {
            return self.objects.list(prefix, after);
        }
        let behind = i64::try_from(self.pick("list-behind", most + 1)).unwrap_or(0);
        self.objects.list_at(self.world.now().plus_millis(-behind), prefix, after)
    }

    fn list_from(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map(|it| format!("{it}/")).unwrap_or_default();
        let (this, offset) = (self.clone(), offset.map(|it| it.to_string()));
        let pages = async move { this.pages(prefix, offset).await };
        stream::once(pages).flat_map(stream::iter).boxed()
    }

    async fn read(&self, key: &str, options: &GetOptions) -> Result<GetResult> {
        let fault = self.leave(Class::Get, key).await?;
        self.travel().await;
        if matches!(fault, Some(Fault::Before | Fault::Hung)) {
            self.arrive(fault, key).await?;
            return Err(broken("get", key));
        }
        let object = self.objects.get(key);
        self.note(if options.head { "head" } else { "get" }, key, absent(object.is_none()));
        self.arrive(fault, key).await?;
        let object = object.ok_or_else(|| missing(key))?;
        let meta = self.meta(key, &object);
        options.check_preconditions(&meta)?;
        let range: Range<u64> = match &options.range {
            None => 0..meta.size,
            Some(range) => range
                .as_range(meta.size)
                .map_err(|it| Error::Generic { store: "sim", source: it.into() })?,
        };
        let at = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        let bytes = match options.head {
            true => Bytes::new(),
            false => object.bytes.slice(at(range.start)..at(range.end)),
        };
        let body = self.body(fault, key, bytes);
        let payload = GetResultPayload::Stream(stream::iter(body).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    /// The bytes as they arrive.
    fn body(&self, fault: Option<Fault>, key: &str, bytes: Bytes) -> Vec<Result<Bytes>> {
        let cut = |at: u64| bytes.slice(..usize::try_from(at).unwrap_or(0).min(bytes.len()));
        let length = bytes.len() as u64;
        match fault {
            Some(Fault::Short) if 0 < length => vec![Ok(cut(self.pick("cut", length)))],
            Some(Fault::Reset) => {
                vec![Ok(cut(self.pick("cut", length + 1))), Err(broken("rest", key))]
            }
            Some(Fault::Flip) => vec![Ok(self.flipped(key, bytes))],
            _ => vec![Ok(bytes)],
        }
    }

    /// One bit of the part that our commits seal. What others write has no seal to break.
    fn flipped(&self, key: &str, bytes: Bytes) -> Bytes {
        let end = bytes.iter().position(|it| *it == b'\n').unwrap_or(bytes.len());
        let sealed = bytes.get(..end).is_some_and(|it| contains(it, b"\"bodyCrc32\""));
        let body = bytes.len().saturating_sub(end + 1) as u64;
        if commit_version(key).is_none() || !sealed || body == 0 {
            return bytes;
        }
        let at = end + 1 + usize::try_from(self.pick("flip", body)).unwrap_or(0);
        let mut changed = bytes.to_vec();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1 << self.pick("flip-bit", 8);
        }
        changed.into()
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|it| it == wanted)
}

fn absent(is: bool) -> &'static str {
    if is { ": none" } else { "" }
}

pub(crate) fn broken(what: &str, key: &str) -> Error {
    Error::Generic { store: "sim", source: format!("{what} of `{key}` was lost").into() }
}

fn full() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
    Error::Generic { store: "sim", source }
}

fn denied(key: &str) -> Error {
    Error::PermissionDenied { path: key.to_string(), source: "not for you".into() }
}

fn exists(key: &str) -> Error {
    Error::AlreadyExists { path: key.to_string(), source: "there is one".into() }
}

pub(crate) fn missing(key: &str) -> Error {
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
        let (key, bytes) = (location.to_string(), Bytes::from(payload));
        let create = options.mode == PutMode::Create;
        let is_commit = commit_version(&key).is_some();
        let class = if is_commit { Class::Commit } else { Class::Put };
        let fault = self.leave(class, &key).await?;
        let this = self.clone();
        let effect = move |now| {
            let put = this.objects.put((this.client, now), &key, bytes.clone(), create);
            this.note("put", &key, if put.is_some() { "" } else { ": there is one" });
            let e_tag = put.ok_or_else(|| exists(&key))?.to_string();
            Ok(PutResult { e_tag: Some(e_tag), version: None })
        };
        self.send(fault, location.as_ref(), effect).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(SimUpload::start(self.clone(), location.to_string()).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read(location.as_ref(), &options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let key = location.to_string();
                let fault = this.leave(Class::Delete, &key).await?;
                let store = this.clone();
                let effect = move |now| {
                    store.note("delete", &key, "");
                    store.objects.delete((store.client, now), &key);
                    Ok(PutResult { e_tag: None, version: None })
                };
                this.send(fault, location.as_ref(), effect).await.map(|_| location)
            }
        };
        locations.then(delete).boxed()
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
        let below = prefix.map(|it| it.as_ref().len() + 1).unwrap_or(0);
        let direct =
            |it: &ObjectMeta| it.location.as_ref().get(below..).is_some_and(|it| !it.contains('/'));
        let prefix = prefix.map(|it| format!("{it}/")).unwrap_or_default();
        let found: Result<Vec<_>> = self.pages(prefix, None).await.into_iter().collect();
        let objects = found?.into_iter().filter(direct).collect();
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
