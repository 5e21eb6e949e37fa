//! Credentials that the caller fetches: from a vault, a catalog, a token service.

use std::fmt;

use lakebed_log::error::Result;
use lakebed_log::time::Timestamp;

use super::BoxFuture;

/// Gives the credentials of a cloud store, and new ones before they expire.
///
/// ```
/// use std::sync::Arc;
/// use lakebed::env::{BoxFuture, Credentials, Fresh};
/// use lakebed::{Env, Result, Timestamp};
///
/// struct Vault;
///
/// impl Credentials for Vault {
///     fn fetch<'a>(&'a self, location: &'a str) -> BoxFuture<'a, Result<Fresh>> {
///         Box::pin(async move {
///             // Ask the vault who may work on `location`.
///             let until = "2026-08-01T12:00:00Z".parse::<Timestamp>()?;
///             Ok(Fresh::new([("aws_access_key_id", "AKIA"), ("aws_secret_access_key", "secret")])
///                 .until(until))
///         })
///     }
/// }
///
/// let env = Env::tokio().with_credentials(Arc::new(Vault));
/// # let _ = env;
/// ```
pub trait Credentials: Send + Sync {
    /// Credentials for a bucket or container, as `s3://bucket`, `gs://bucket` or
    /// `abfss://container@account`. Runs on the threads of [`Env::spawn`](crate::Env::spawn).
    ///
    /// # Errors
    ///
    /// The caller's own. The request that needed the credentials ends with it.
    fn fetch<'a>(&'a self, location: &'a str) -> BoxFuture<'a, Result<Fresh>>;
}

/// Credentials, and until when they hold.
#[derive(Clone)]
pub struct Fresh {
    options: Vec<(String, String)>,
    until: Option<Timestamp>,
}

impl Fresh {
    /// As storage options, under the names that [`Env::with_option`](crate::Env::with_option)
    /// takes. For S3 `aws_access_key_id`, `aws_secret_access_key` and perhaps `aws_session_token`;
    /// for Azure `azure_storage_account_key`, `azure_storage_sas_token` or `azure_storage_token`;
    /// for Google `google_token`, a bearer token. They hold until the store is dropped, unless
    /// [`Fresh::until`] says otherwise.
    pub fn new<K: Into<String>, V: Into<String>>(
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Fresh {
        let options = options.into_iter().map(|(key, value)| (key.into(), value.into()));
        Fresh { options: options.collect(), until: None }
    }

    /// They expire then. New ones are fetched a while before.
    #[must_use]
    pub fn until(self, until: Timestamp) -> Fresh {
        Fresh { until: Some(until), ..self }
    }

    /// When they expire.
    #[cfg(feature = "cloud")]
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        self.until
    }

    /// The value of the option that has one of these names.
    #[cfg(feature = "cloud")]
    pub(crate) fn get(&self, names: &[&str]) -> Option<&str> {
        let named =
            |it: &&(String, String)| names.iter().any(|name| it.0.eq_ignore_ascii_case(name));
        self.options.iter().rev().find(named).map(|it| it.1.as_str())
    }
}

/// Without the values, which are secrets.
impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.options.iter().map(|it| &it.0).collect();
        f.debug_struct("Fresh").field("options", &names).field("until", &self.until).finish()
    }
}
