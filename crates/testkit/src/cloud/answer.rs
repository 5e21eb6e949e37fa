//! What the server does with one request, and how it says so.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;

use super::{Dialect, Request, Shared, Stored, lock};

/// Keys of one page of a listing, few enough that tests see several pages.
const PAGE_MAX: usize = 100;

/// Status, headers, body.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    fn xml(text: String) -> Answer {
        let headers = vec![("content-type", "application/xml".to_string())];
        Answer { status: 200, headers, body: text.into_bytes() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// With the request as it was seen, as AWS sends it back.
    pub(crate) fn refusal(status: u16, code: &str, request: &Request) -> Answer {
        let mut seen = String::new();
        for (name, value) in &request.headers {
            let _ = writeln!(seen, "{name}:{value}");
        }
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>It is \
             {code}.</Message><CanonicalRequest>{}</CanonicalRequest></Error>",
            escaped(&seen)
        );
        Answer { status, ..Answer::xml(text) }
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self, is_head: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} x\r\n", self.status);
        let length = self.headers.iter().any(|it| it.0 == "content-length");
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !length && self.status != 204 {
            let _ = write!(text, "content-length: {}\r\n", self.body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn tag(stored: &Stored) -> String {
    format!("\"{:032x}\"", stored.generation)
}

impl Shared {
    /// Does what a request asks for.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        if request.bucket != "bucket" {
            return Answer::refusal(404, "NoSuchBucket", request);
        }
        let has = |name: &str| request.query.contains_key(name);
        match request.method.as_str() {
            "GET" if request.key.is_empty() => self.list(request),
            "GET" | "HEAD" => self.get(request),
            "PUT" if has("partNumber") => self.part(request),
            "PUT" => self.put(request),
            "POST" if has("uploads") => self.start_upload(request),
            "POST" if has("uploadId") => self.complete(request),
            "POST" if has("delete") => self.delete_many(request),
            "DELETE" if has("uploadId") => {
                let id = request.query.get("uploadId").cloned().unwrap_or_default();
                lock(&self.uploads).remove(&id);
                Answer::new(204)
            }
            "DELETE" => match (lock(&self.objects).remove(&request.key), self.dialect) {
                (None, Dialect::Google) => Answer::refusal(404, "NoSuchKey", request),
                _ => Answer::new(204),
            },
            _ => Answer::refusal(405, "MethodNotAllowed", request),
        }
    }

    fn put(&self, request: &Request) -> Answer {
        let condition = match self.dialect {
            Dialect::S3 => request.headers.get("if-none-match").map(String::as_str) == Some("*"),
            Dialect::Google => {
                let generation = request.headers.get("x-goog-if-generation-match");
                generation.map(String::as_str) == Some("0")
            }
        };
        let keeps = self.keeps_conditions.load(Ordering::SeqCst);
        let mut objects = lock(&self.objects);
        if condition && keeps && objects.contains_key(&request.key) {
            return Answer::refusal(412, "PreconditionFailed", request);
        }
        let stored = self.stored(request.body.clone());
        let answer = self.described(&stored, Answer::new(200));
        objects.insert(request.key.clone(), stored);
        answer
    }

    fn stored(&self, bytes: Vec<u8>) -> Stored {
        let generation = self.next.fetch_add(1, Ordering::SeqCst);
        Stored { bytes, modified_millis: now_millis(), generation }
    }

    fn described(&self, stored: &Stored, answer: Answer) -> Answer {
        let answer = answer.with("etag", tag(stored));
        match self.dialect {
            Dialect::S3 => answer,
            Dialect::Google => answer.with("x-goog-generation", stored.generation.to_string()),
        }
    }

    /// An object as it is, which may be replaced at once.
    fn taken(&self, request: &Request) -> Option<Stored> {
        let mut objects = lock(&self.objects);
        let stored = objects.get(&request.key)?.clone();
        let mut replaced = lock(&self.replaced);
        let is_due =
            request.method == "GET" && replaced.is_some_and(|it| request.key.ends_with(it));
        if is_due {
            *replaced = None;
            objects.insert(request.key.clone(), self.stored(stored.bytes.clone()));
        }
        Some(stored)
    }

    fn get(&self, request: &Request) -> Answer {
        let Some(stored) = self.taken(request) else {
            return Answer::refusal(404, "NoSuchKey", request);
        };
        let wanted = request.headers.get("if-match");
        if wanted.is_some_and(|it| *it != tag(&stored)) {
            return Answer::refusal(412, "PreconditionFailed", request);
        }
        let size = stored.bytes.len();
        let modified = time(stored.modified_millis).format("%a, %d %b %Y %H:%M:%S GMT");
        let answer = self.described(&stored, Answer::new(200));
        let answer = answer.with("last-modified", modified.to_string());
        if request.method == "HEAD" {
            return answer.with("content-length", size.to_string());
        }
        let range = request.headers.get("range").and_then(|it| range(it, size));
        match (request.headers.get("range"), range) {
            (None, _) => Answer { body: stored.bytes, ..answer },
            (Some(_), None) => Answer::refusal(416, "InvalidRange", request),
            (Some(_), Some((start, end))) => {
                let body = stored.bytes.get(start..end).unwrap_or_default().to_vec();
                let told = format!("bytes {start}-{}/{size}", end - 1);
                Answer { status: 206, body, ..answer.with("content-range", told) }
            }
        }
    }

    fn list(&self, request: &Request) -> Answer {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let (prefix, delimiter) = (get("prefix"), get("delimiter"));
        let after = get("start-after").max(get("continuation-token"));
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        let (mut folders, mut count) = (Vec::<String>::new(), 0);
        let mut last: Option<String> = None;
        for (key, stored) in lock(&self.objects).range(prefix.clone()..) {
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            let folder = rest.split_once(&delimiter).filter(|_| !delimiter.is_empty());
            let folder = folder.map(|it| format!("{prefix}{}{delimiter}", it.0));
            if *key <= after || folder.as_ref().is_some_and(|it| *it <= after) {
                continue;
            }
            if folder.is_some() && folder.as_ref() == folders.last() {
                continue;
            }
            if count == PAGE_MAX {
                let _ = write!(text, "<IsTruncated>true</IsTruncated>");
                let token = escaped(&last.unwrap_or_default());
                let _ = write!(text, "<NextContinuationToken>{token}</NextContinuationToken>");
                break;
            }
            count += 1;
            last = Some(folder.clone().unwrap_or_else(|| key.clone()));
            match folder {
                Some(folder) => folders.push(folder),
                None => {
                    let _ = write!(
                        text,
                        "<Contents><Key>{}</Key><LastModified>{}</LastModified><Size>{}</Size>\
                         <ETag>&quot;{:032x}&quot;</ETag></Contents>",
                        escaped(key),
                        time(stored.modified_millis).format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                        stored.bytes.len(),
                        stored.generation
                    );
                }
            }
        }
        for folder in folders {
            let folder = escaped(&folder);
            let _ = write!(text, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
        }
        text.push_str("</ListBucketResult>");
        Answer::xml(text)
    }

    fn start_upload(&self, request: &Request) -> Answer {
        let id = self.next.fetch_add(1, Ordering::SeqCst).to_string();
        lock(&self.uploads).insert(id.clone(), Default::default());
        Answer::xml(format!(
            "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{}</Key>\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            escaped(&request.key)
        ))
    }

    fn part(&self, request: &Request) -> Answer {
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        let number = request.query.get("partNumber").and_then(|it| it.parse().ok()).unwrap_or(0);
        match lock(&self.uploads).get_mut(&id) {
            Some(parts) => {
                parts.insert(number, request.body.clone());
                Answer::new(200).with("etag", format!("\"{number}\""))
            }
            None => Answer::refusal(404, "NoSuchUpload", request),
        }
    }

    fn complete(&self, request: &Request) -> Answer {
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        let Some(parts) = lock(&self.uploads).remove(&id) else {
            return Answer::refusal(404, "NoSuchUpload", request);
        };
        let stored = self.stored(parts.into_values().flatten().collect());
        let text = format!(
            "<CompleteMultipartUploadResult><Location>x</Location><Bucket>bucket</Bucket>\
             <Key>{}</Key><ETag>&quot;{:032x}&quot;</ETag></CompleteMultipartUploadResult>",
            escaped(&request.key),
            stored.generation
        );
        let answer = self.described(&stored, Answer::xml(text));
        lock(&self.objects).insert(request.key.clone(), stored);
        answer
    }

    fn delete_many(&self, request: &Request) -> Answer {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let mut text = String::from("<DeleteResult>");
        for part in body.split("<Key>").skip(1) {
            let key = unescaped(part.split("</Key>").next().unwrap_or_default());
            lock(&self.objects).remove(&key);
            let _ = write!(text, "<Deleted><Key>{}</Key></Deleted>", escaped(&key));
        }
        text.push_str("</DeleteResult>");
        Answer::xml(text)
    }
}

/// Start and end of `bytes=a-b` or `bytes=a-`, cut to the size.
fn range(text: &str, size: usize) -> Option<(usize, usize)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = if end.is_empty() { size } else { end.parse::<usize>().ok()?.checked_add(1)? };
    (start < size).then_some((start, end.min(size)))
}

const ESCAPES: [(&str, &str); 5] =
    [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&apos;")];

fn escaped(text: &str) -> String {
    ESCAPES.iter().fold(text.to_string(), |text, (plain, xml)| text.replace(plain, xml))
}

fn unescaped(text: &str) -> String {
    ESCAPES.iter().rev().fold(text.to_string(), |text, (plain, xml)| text.replace(xml, plain))
}

fn time(millis: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a server stands outside of any environment")]
fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
