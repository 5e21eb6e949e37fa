//! The caller's credentials as the `object_store` crate asks for them: before every request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::lock::Mutex;
use lakebed_log::error::{Error, Result};
use object_store::CredentialProvider;

use crate::env::{Credentials, Env, Fresh};
use crate::op::ANSWER;

/// New credentials are fetched so long before the old ones expire: longer than a request may take.
const AHEAD: Duration = Duration::from_secs(300);

/// What the caller gave last, as the type of one cloud, and its expiry.
pub(super) struct Refreshed<T> {
    env: Env,
    credentials: Arc<dyn Credentials>,
    place: String,
    make: fn(&Fresh) -> Result<T>,
    held: Mutex<Option<(Fresh, Arc<T>)>>,
}

impl<T> Refreshed<T> {
    pub(super) fn new(
        env: &Env,
        credentials: &Arc<dyn Credentials>,
        place: String,
        make: fn(&Fresh) -> Result<T>,
    ) -> Refreshed<T> {
        let (env, credentials) = (env.apart(), Arc::clone(credentials));
        Refreshed { env, credentials, place, make, held: Mutex::new(None) }
    }

    async fn credential(&self) -> Result<Arc<T>> {
        let mut held = self.held.lock().await;
        let now = self.env.now().as_millis();
        let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX);
        if let Some((fresh, made)) = &*held {
            let left = fresh.expiry().map(|it| it.as_millis().saturating_sub(now));
            if left.is_none_or(|it| ahead < it) {
                return Ok(Arc::clone(made));
            }
        }
        let fetch = self.credentials.fetch(&self.place);
        match self.env.timeout(ANSWER, "credentials", fetch).await {
            Ok(fresh) => {
                let made = Arc::new((self.make)(&fresh)?);
                *held = Some((fresh, Arc::clone(&made)));
                Ok(made)
            }
            Err(err) => match &*held {
                // They are good for a while yet; perhaps the next time goes well.
                Some((fresh, made)) if fresh.expiry().is_none_or(|it| now < it.as_millis()) => {
                    tracing::warn!(%err, "credentials were not renewed");
                    Ok(Arc::clone(made))
                }
                _ => Err(err),
            },
        }
    }
}

#[async_trait]
impl<T: Send + Sync> CredentialProvider for Refreshed<T> {
    type Credential = T;

    async fn get_credential(&self) -> object_store::Result<Arc<T>> {
        self.credential().await.map_err(|err| object_store::Error::Unauthenticated {
            path: self.place.clone(),
            source: err.into(),
        })
    }
}

impl<T> fmt::Debug for Refreshed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refreshed").field(&self.place).finish()
    }
}

#[cfg(any(feature = "s3", feature = "gcs"))]
fn needed<'a>(fresh: &'a Fresh, names: &[&str]) -> Result<&'a str> {
    let name = names.first().copied().unwrap_or_default();
    fresh.get(names).ok_or_else(|| {
        Error::new(lakebed_log::error::Code::Permission, format!("credentials without `{name}`"))
    })
}

#[cfg(feature = "s3")]
pub(super) fn aws(fresh: &Fresh) -> Result<object_store::aws::AwsCredential> {
    Ok(object_store::aws::AwsCredential {
        key_id: needed(fresh, &["aws_access_key_id", "access_key_id"])?.to_string(),
        secret_key: needed(fresh, &["aws_secret_access_key", "secret_access_key"])?.to_string(),
        token: fresh
            .get(&["aws_session_token", "session_token", "aws_token", "token"])
            .map(str::to_string),
    })
}

#[cfg(feature = "gcs")]
pub(super) fn google(fresh: &Fresh) -> Result<object_store::gcp::GcpCredential> {
    let bearer = needed(fresh, &["google_token", "token"])?.to_string();
    Ok(object_store::gcp::GcpCredential { bearer })
}

#[cfg(feature = "azure")]
pub(super) fn azure(fresh: &Fresh) -> Result<object_store::azure::AzureCredential> {
    use lakebed_log::error::Code;
    use object_store::azure::{AzureAccessKey, AzureCredential};
    if let Some(token) = fresh.get(&["azure_storage_token", "bearer_token", "token"]) {
        return Ok(AzureCredential::BearerToken(token.to_string()));
    }
    if let Some(key) = fresh.get(&["azure_storage_account_key", "account_key", "access_key"]) {
        let key = AzureAccessKey::try_new(key).map_err(|_| {
            Error::new(Code::Permission, "`azure_storage_account_key` is not a key in base64")
        })?;
        return Ok(AzureCredential::AccessKey(key));
    }
    let sas = fresh.get(&["azure_storage_sas_token", "azure_storage_sas_key", "sas_token"]);
    let sas = sas.ok_or_else(|| {
        let what = "credentials without `azure_storage_token`, `azure_storage_account_key` and \
                    `azure_storage_sas_token`";
        Error::new(Code::Permission, what)
    })?;
    let wrong = || Error::new(Code::Permission, "`azure_storage_sas_token` is not `a=b&c=d`");
    let mut pairs = Vec::new();
    for pair in sas.trim_start_matches('?').split('&').filter(|it| !it.trim().is_empty()) {
        let (name, value) = pair.trim().split_once('=').ok_or_else(wrong)?;
        let decoded = crate::store::percent_decode(value).ok_or_else(wrong)?;
        pairs.push((name.to_string(), decoded));
    }
    Ok(AzureCredential::SASToken(pairs))
}
