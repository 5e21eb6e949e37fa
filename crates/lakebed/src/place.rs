//! Locations of tables: from what a person types to a [`Store`].
//!
//! ```text
//!   data/events      /data/events      the local disk; relative to the working directory
//!   file:///data/ev%20ents             the same, percent-encoded
//!   memory://events                    the environment's own memory
//!   sim://events                       whatever Env::with_store registered
//!   s3://bucket/events                 a cloud; see `cloud`
//! ```
//!
//! Anything with another scheme is refused by name: taken for a path, `ftp://host/t` would quietly
//! make a folder `ftp:`.

use std::path::PathBuf;
use std::sync::Arc;

use lakebed_log::error::{Code, Error, Result};
use lakebed_log::uri;
use object_store::path::Path as ObjectPath;

use crate::cloud::{self, Address};
use crate::env::Env;
use crate::store::{Store, percent_decode, redact};

impl Env {
    /// Builds the store of a location: a path, `file://`, `memory://`, a cloud's, or a registered
    /// prefix. No request is made and nothing need be there.
    ///
    /// # Errors
    ///
    /// `unsupported-path` for a scheme that this build does not open; `invalid-argument` for a
    /// location that is none, and for a storage option that is not known or makes no sense.
    ///
    /// ```
    /// use lakebed::{Code, Env};
    ///
    /// let env = Env::tokio();
    /// assert_eq!(env.open("/data/events/")?.location(), "/data/events");
    /// assert_eq!(env.open("ftp://host/events").unwrap_err().code(), Code::UnsupportedPath);
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn open(&self, location: &str) -> Result<Store> {
        self.place(location).map_err(|it| it.at(format!("`{}`", redact(location))))
    }

    fn place(&self, location: &str) -> Result<Store> {
        cloud::check(self)?;
        if location.is_empty() || location.contains('\0') {
            return Err(Error::invalid("a location is a path or a URL, without a zero byte"));
        }
        if let Some((store, rest)) = self.registered(location) {
            let root = rest.trim_matches('/');
            if root.contains(['?', '#']) {
                return Err(Error::invalid("a location has neither query nor fragment"));
            }
            ObjectPath::parse(root).map_err(|_| {
                Error::invalid("the name has an empty or dot segment, or a control character")
            })?;
            return Ok(Store::object(self, store.clone(), root, location));
        }
        match scheme(location) {
            None => match cloud_without_slashes(location) {
                None => self.folder(location, location),
                Some(url) => {
                    let what = format!("`{url}` is what is meant, or else `./{location}`");
                    Err(Error::invalid(redact(&what)))
                }
            },
            Some("file") => self.folder(&file_path(location)?, location),
            Some(it) => match Address::parse(it, location)? {
                Some(address) => cloud::open(self, &address, location),
                None => {
                    let what = format!("no store is known for `{it}:`; a path or `file://` is");
                    Err(Error::new(Code::UnsupportedPath, what))
                }
            },
        }
    }

    fn folder(&self, path: &str, location: &str) -> Result<Store> {
        let root = std::path::absolute(PathBuf::from(path)).map_err(|it| {
            Error::invalid("the working directory of a relative path is not there").because(it)
        })?;
        let store = Store::local(self, &root, location);
        // A root that is no UTF-8 is spelled by no path of a log.
        Ok(root.to_str().into_iter().fold(store, Store::rooted))
    }

    /// Where a store is, for another process: a local path is a URL there, since it may be relative
    /// to the working directory. Without secrets.
    pub(crate) fn portable(&self, store: &Store) -> String {
        let (location, root) = (store.location(), store.root());
        let is_local =
            self.registered(location).is_none() && matches!(scheme(location), None | Some("file"));
        match is_local {
            true if root.starts_with('/') => format!("file://{}", uri::encode(root)),
            true if scheme(location).is_none() => root.to_string(),
            _ => location.to_string(),
        }
    }

    /// Paths of a log may name files below `root`, too: a location as [`Env::open`] takes it. For
    /// shallow clones, whose files belong to another table. Without it, an absolute path that leads
    /// out of the table is `path-escape`.
    ///
    /// # Errors
    ///
    /// As [`Env::open`].
    ///
    /// ```
    /// let env = lakebed::Env::tokio().allow_root("file:///data/source")?;
    /// # let _ = env;
    /// # Ok::<(), lakebed::Error>(())
    /// ```
    pub fn allow_root(&self, root: &str) -> Result<Env> {
        self.open(root)?;
        Ok(self.with_root(root))
    }
}

/// The roots that the paths of one table's log may lead to: its own, and those that the caller
/// allowed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    own: Store,
    others: Arc<[Store]>,
}

impl Roots {
    pub(crate) fn new(env: &Env, own: &Store) -> Result<Roots> {
        let others = env.roots().iter().map(|it| env.open(it)).collect::<Result<_>>()?;
        Ok(Roots { own: own.clone(), others })
    }

    /// The store and the key of the path of a data file, as [`Roots::find`] says; see
    /// [`uri::rooted_name`].
    ///
    /// # Errors
    ///
    /// Those of [`Roots::find`].
    pub(crate) fn find_file(&self, path: &str) -> Result<(Store, String)> {
        self.find(uri::rooted_name(path).unwrap_or(path))
    }

    /// The store and the key of a path as a log has it. The longest root that fits wins, so that a
    /// file has one name whatever else is allowed.
    ///
    /// # Errors
    ///
    /// `path-escape` for what lies below none of the roots, `unsupported-path` where its scheme is
    /// another, and `invalid-path`. What is shown of a path holds no credentials.
    pub(crate) fn find(&self, path: &str) -> Result<(Store, String)> {
        let Some(location) = uri::absolute(path) else {
            return Ok((self.own.clone(), uri::decode(path)?.into_owned()));
        };
        let location = cloud::canonical(&location);
        let mut roots: Vec<&Store> = std::iter::once(&self.own).chain(&*self.others).collect();
        roots.sort_by_key(|it| std::cmp::Reverse(it.root().len()));
        for store in roots {
            if let Some(key) = uri::below(&cloud::canonical(store.root()), &location)? {
                return Ok((store.clone(), key.to_string()));
            }
        }
        match uri::decode(path) {
            Err(outside) => Err(outside),
            Ok(_) => Err(Error::internal("an absolute path decoded as a relative one")),
        }
    }

    /// A path in a message: below which table, and nothing of it that may be secret.
    pub(crate) fn shown(&self, path: &str) -> String {
        match uri::absolute(path) {
            Some(_) => redact(path),
            None => format!("{}/{path}", self.own.location()),
        }
    }
}

/// What stands before `://`, or `file` for `file:/x` as Hadoop prints it. A drive letter is none.
fn scheme(location: &str) -> Option<&str> {
    let (scheme, rest) = location.split_once(':')?;
    let plain = |it: char| it.is_ascii_alphanumeric() || "+-.".contains(it);
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|it: char| it.is_ascii_alphabetic())
        && scheme.chars().all(plain);
    let is_file = scheme.eq_ignore_ascii_case("file") && rest.starts_with('/');
    match is_scheme && (is_file || rest.starts_with("//")) {
        true if is_file => Some("file"),
        true => Some(scheme),
        false => None,
    }
}

/// What `s3:x` or `s3:/x` is probably meant to be; nobody has a folder of such a name.
fn cloud_without_slashes(location: &str) -> Option<String> {
    let (scheme, rest) = location.split_once(':')?;
    let url = format!("{scheme}://{}", rest.trim_start_matches('/'));
    let known = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "http", "https"];
    known.contains(&scheme).then_some(url)
}

/// The path of `file:///x`, `file://localhost/x` or `file:/x`.
fn file_path(location: &str) -> Result<String> {
    let rest = location.split_once(':').map_or("", |it| it.1);
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let at = rest.find('/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(at);
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                let what = "a file URL names no other host; it begins with `file:///`";
                return Err(Error::new(Code::UnsupportedPath, what));
            }
            path
        }
        None => rest,
    };
    if path.is_empty() {
        return Err(Error::invalid("a file URL has an absolute path"));
    }
    if path.contains(['?', '#']) {
        return Err(Error::invalid("a file URL has neither query nor fragment; write %3F, %23"));
    }
    percent_decode(path)
        .ok_or_else(|| Error::invalid("a file URL is percent-encoded UTF-8 without a zero byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The location that a store prints, or the error.
    #[track_caller]
    fn check(location: &str, expected: &str) {
        let env = Env::tokio();
        let actual = match env.open(location) {
            Ok(store) => store.location().to_string(),
            Err(err) => format!("{}: {err}", err.code().as_str()),
        };
        assert_eq!(actual, expected, "{location}");
    }

    #[test]
    fn locations() {
        check("data/t", "data/t");
        check("/data/t//", "/data/t");
        check("C:/t", "C:/t");
        check("odd:name", "odd:name");
        check("file:///data/a%20b", "file:///data/a%20b");
        check("file:/data", "file:/data");
        check("FILE://LOCALHOST/data", "FILE://LOCALHOST/data");
        check("memory://t/sub/", "memory://t/sub");

        let empty = "a location is a path or a URL, without a zero byte";
        check("", &format!("invalid-argument: ``: {empty}"));
        check(
            "file://host/x",
            "unsupported-path: `file://host/x`: a file URL names no other host; it begins with \
             `file:///`",
        );
        let encoded = "a file URL is percent-encoded UTF-8 without a zero byte";
        for bad in ["file:///%", "file:///%4", "file:///%zz", "file:///%00", "file:///%ff"] {
            check(bad, &format!("invalid-argument: `{bad}`: {encoded}"));
        }
        check("file://", "invalid-argument: `file://`: a file URL has an absolute path");
        let segment = "the name has an empty or dot segment, or a control character";
        for bad in ["memory://a//b", "memory://a/../b"] {
            check(bad, &format!("invalid-argument: `{bad}`: {segment}"));
        }
        check(
            "s3:b/t",
            "invalid-argument: `s3:b/t`: `s3://b/t` is what is meant, or else `./s3:b/t`",
        );
        check(
            "ftp://h/x",
            "unsupported-path: `ftp://h/x`: no store is known for `ftp:`; a path or `file://` is",
        );
    }

    /// A location never holds a secret, whatever becomes of it.
    #[test]
    fn locations_show_no_secrets() {
        for scheme in ["s3", "gs", "az", "abfss", "https", "ftp"] {
            let location = format!("{scheme}://key:secret@bucket/t?sig=secret#secret");
            let err = Env::tokio().open(&location).unwrap_err();
            assert!(!format!("{err:?}").contains("secret"), "{err:?}");
        }
    }

    /// Where others find a store, which is the same place.
    ///
    /// spec: SPLIT-6
    #[test]
    fn portable_locations() {
        let env = Env::tokio();
        let here = std::env::current_dir().unwrap();
        let below = |name: &str| format!("file://{}/{name}", uri::encode(here.to_str().unwrap()));
        let rows = [
            ("data/a b?#%", below("data/a%20b%3F%23%25")),
            ("./t/", below("t")),
            ("/data/t", "file:///data/t".to_string()),
            ("file:/data/a%3Ab", "file:///data/a:b".to_string()),
            ("memory://t/sub", "memory://t/sub".to_string()),
        ];
        for (location, expected) in rows {
            let store = env.open(location).unwrap();
            let portable = env.portable(&store);
            assert_eq!(portable, expected, "{location}");
            assert_eq!(env.open(&portable).unwrap().root(), store.root(), "{location}");
        }
    }

    #[test]
    fn decoding() {
        assert_eq!(file_path("file:///a%20b/%C3%A4+").unwrap(), "/a b/\u{e4}+");
        assert_eq!(file_path("file:/a").unwrap(), "/a");
        assert_eq!(file_path("file://localhost/a").unwrap(), "/a");
    }

    /// Store root and key, or the code of the error.
    #[track_caller]
    fn finds(roots: &Roots, path: &str, expected: &str) {
        let actual = match roots.find(path) {
            Ok((store, key)) => format!("{} {key}", store.root()),
            Err(err) => {
                assert!(!format!("{err:?}").contains("secret"), "{err:?}");
                err.code().as_str().to_string()
            }
        };
        assert_eq!(actual, expected, "{path}");
    }

    /// An absolute path is the file of that key if it is below the table's root or one that is
    /// allowed, and nothing else.
    ///
    /// spec: FILE-5, FILE-6, FILE-28, FILE-29
    #[test]
    fn absolute_paths() {
        let env = Env::tokio();
        let own = env.open("/data/t/").unwrap();
        let strict = Roots::new(&env, &own).unwrap();
        finds(&strict, "a%20b", "/data/t a b");
        finds(&strict, "/data/t/p=1/x%20y", "/data/t p=1/x y");
        finds(&strict, "file:/data/t/x", "/data/t x");
        finds(&strict, "file:///data/t/x%2520", "/data/t x%20");
        let outside = [
            ("/data/tt/x", "path-escape"),
            ("/data/t", "path-escape"),
            ("/data/t/../s/x", "path-escape"),
            ("/data/t/%2e%2e/s/x", "path-escape"),
            ("/data/t//x", "path-escape"),
            ("/data/t/_delta_log/x", "path-escape"),
            ("//data/t/x", "path-escape"),
            ("file://host/data/t/x", "path-escape"),
            ("file:///data/s/x", "path-escape"),
            ("C:/data/t/x", "path-escape"),
            ("../s/x", "path-escape"),
            ("memory://s/x", "unsupported-path"),
            ("s3://key:secret@bucket/x", "unsupported-path"),
            ("http://127.0.0.1/x", "unsupported-path"),
        ];
        for (path, expected) in outside {
            finds(&strict, path, expected);
        }
        let allowed = env.allow_root("file:///data/s").unwrap().allow_root("memory://s").unwrap();
        let allowed = Roots::new(&allowed, &own).unwrap();
        finds(&allowed, "file:///data/s/x", "/data/s x");
        finds(&allowed, "/data/s/../r/x", "path-escape");
        finds(&allowed, "memory://s/a%20b", "memory://s a b");
        finds(&allowed, "memory://r/x", "unsupported-path");
        finds(&allowed, "/data/t/x", "/data/t x");
        assert!(env.allow_root("ftp://bucket/t").is_err());
    }

    /// An option that nobody knows is named; its value, which may be a secret, is not.
    #[test]
    fn options_are_refused() {
        let env = Env::tokio().with_option("aws_secret", "hunter2");
        let err = env.open("/data/t").unwrap_err();
        assert_eq!(err.code(), Code::InvalidArgument);
        let text = format!("{err:?} {env:?}");
        assert!(text.contains("aws_secret") && !text.contains("hunter2"), "{text}");
    }

    /// The longest prefix wins, and derived environments share the store.
    #[test]
    fn registered_prefixes() {
        let memory = || std::sync::Arc::new(object_store::memory::InMemory::new());
        let env = Env::tokio().with_store("sim://", memory()).with_store("sim://a/", memory());
        let rest = |it| env.with_budget(1).registered(it).map(|it| it.1.to_string());
        assert_eq!(rest("sim://a/t").as_deref(), Some("t"));
        assert_eq!(rest("sim://b/t").as_deref(), Some("b/t"));
        assert_eq!(rest("sim:/b"), None);
    }
}
