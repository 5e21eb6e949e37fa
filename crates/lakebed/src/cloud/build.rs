//! Makes the clients of a bucket.

use std::sync::Arc;
use std::time::Duration;

use lakebed_log::error::{Code, Error, Result};
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::options::Options;
use super::{Address, Kind};
use crate::env::Env;
use crate::object::{ATTEMPTS_MAX, Creates, Remote};
use crate::op::ANSWER;
use crate::store::Store;

/// Opens a bucket at a key, with the client that the environment keeps for it.
pub(super) fn open(env: &Env, address: &Address, location: &str) -> Result<Store> {
    let mut address = address.clone();
    let options = Options::of(env, address.kind)?;
    if let (Kind::Azure, None) = (address.kind, &address.account)
        && let Some(account) = options.get("azure_storage_account_name")
    {
        let domain = match options.flag("azure_use_fabric_endpoint")? {
            true => "fabric.microsoft.com",
            false => super::address::AZURE,
        };
        address.account = Some((account.to_string(), domain.to_string()));
    }
    let remote = env.kept(&address.place(), || remote(env, &address, options))?;
    Ok(Store::remote(env, remote, &address.key, location).rooted(&address.root()))
}

fn remote(env: &Env, address: &Address, mut options: Options) -> Result<Remote> {
    let creates = creates(address, &mut options)?;
    let attempts_max = match options.take("max_retries") {
        None => ATTEMPTS_MAX,
        Some(it) => match it.parse::<u32>() {
            Ok(retries) if retries < 1_000 => retries + 1,
            _ => return Err(Error::invalid("storage option `max_retries` is a small number")),
        },
    };
    let answer = match options.take("retry_timeout") {
        None => ANSWER,
        Some(it) => seconds(&it).ok_or_else(|| {
            Error::invalid("storage option `retry_timeout` is a number of seconds, such as `30s`")
        })?,
    };
    if options.get("timeout").is_none() {
        options.set("timeout", format!("{} seconds", ANSWER.as_secs()));
    }
    let client = |retries: u32| {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        };
        let retry = RetryConfig {
            backoff,
            max_retries: usize::try_from(retries).unwrap_or(usize::MAX),
            retry_timeout: answer,
        };
        match address.kind {
            #[cfg(feature = "s3")]
            Kind::S3 => s3(env, address, &options, retry),
            #[cfg(feature = "gcs")]
            Kind::Google => google(env, address, &options, retry),
            #[cfg(feature = "azure")]
            Kind::Azure => azure(env, address, &options, retry),
            #[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
            _ => Err(Error::internal("a cloud that is not built")),
        }
    };
    Ok(Remote {
        store: client(0)?,
        pieces: client(attempts_max - 1)?,
        creates,
        spawned: true,
        attempts_max,
        answer,
    })
}

/// What is known about the creates of a bucket before it is asked.
fn creates(address: &Address, options: &mut Options) -> Result<Creates> {
    let single_writer = options.flag("single_writer")?;
    options.take("single_writer");
    if options.take("aws_s3_locking_provider").is_some_and(|it| !it.is_empty()) {
        return Ok(Creates::Refused(
            "the table is written by others under a locking provider, and this build knows no \
             lock but the store's own; it is only read",
        ));
    }
    match options.take("aws_conditional_put").as_deref() {
        None | Some("etag") => {}
        Some("disabled") => return Ok(Creates::asked(single_writer, Some(false))),
        Some(_) => {
            let what = "storage option `aws_conditional_put` is `etag` or `disabled`";
            return Err(Error::invalid(what));
        }
    }
    Ok(match is_known(address, options)? {
        true => Creates::Kept,
        false => Creates::asked(single_writer, None),
    })
}

/// Where Azure keeps containers.
const AZURE_DOMAINS: &[&str] = &[
    "core.windows.net",
    "fabric.microsoft.com",
    "core.chinacloudapi.cn",
    "core.usgovcloudapi.net",
    "core.cloudapi.de",
];

/// Is the bucket where its cloud keeps buckets, and not at an address that the user named?
fn is_known(address: &Address, options: &Options) -> Result<bool> {
    // Who names a user besides the host means to be asked.
    let host = |it: &str| {
        let rest = it.split_once("://").map_or(it, |it| it.1);
        let authority = rest.split('/').next().filter(|it| !it.contains('@')).unwrap_or_default();
        authority.split(':').next().unwrap_or_default().to_ascii_lowercase()
    };
    let ends = |it: &str, domains: &[&str]| {
        let host = host(it);
        domains.iter().any(|it| host.strip_suffix(it).is_some_and(|it| it.ends_with('.')))
    };
    // Customers' own servers have names below the same domain: those of load balancers, say.
    let is_s3 = |it: &str| {
        let host = host(it);
        let own = |it: &str| it == "s3" || it.starts_with("s3-") || it.starts_with("s3express-");
        let rented = |it: &str| {
            ["elb", "compute", "execute-api"].contains(&it) || it.starts_with("compute-")
        };
        host.split('.').any(own) && !host.split('.').any(rented)
    };
    const AWS: &[&str] = &["amazonaws.com", "amazonaws.com.cn"];
    Ok(match address.kind {
        Kind::S3 => ["aws_endpoint_url", "aws_endpoint_url_s3"]
            .iter()
            .filter_map(|it| options.get(it))
            .all(|it| ends(it, AWS) && is_s3(it)),
        Kind::Google => {
            let key = options.get("google_service_account_key").unwrap_or_default();
            let file = options.get("google_service_account").map(std::fs::read_to_string);
            let file = file.and_then(|it| it.ok()).unwrap_or_default();
            let elsewhere = [key, &file].iter().any(|it| it.contains("gcs_base_url"));
            !elsewhere && options.get("google_base_url").is_none()
        }
        Kind::Azure => {
            let domain = address.account.as_ref().map_or(super::address::AZURE, |it| it.1.as_str());
            let host = format!("account.{domain}");
            let named = options.get("azure_storage_endpoint").unwrap_or(&host);
            !options.flag("azure_storage_use_emulator")? && ends(named, AZURE_DOMAINS)
        }
    })
}

/// A plain `http:` address is refused when the table is opened, not by every request.
fn check_http(options: &Options, endpoints: &[&str]) -> Result<()> {
    let plain = endpoints.iter().filter_map(|it| options.get(it)).any(|it| {
        let scheme = it.get(..7).unwrap_or_default();
        scheme.eq_ignore_ascii_case("http://")
    });
    if plain && !options.flag("allow_http")? {
        let what =
            "the endpoint is not encrypted; set the option `allow_http=true` if that is meant";
        return Err(Error::invalid(what));
    }
    Ok(())
}

/// What the crate says against the options, without their values.
fn refused(options: &Options, err: object_store::Error) -> Error {
    let text = options.scrub(&err.to_string());
    let text = match text {
        it if it.contains("Account must be specified") => {
            "the account is not known; set `azure_storage_account_name`, or write \
             `abfss://container@account.dfs.core.windows.net/table`"
                .to_string()
        }
        it => it,
    };
    Error::invalid(format!("the options of the store are refused: {text}"))
}

/// `30`, `30s`, `30 seconds`, `2m`.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at)?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(feature = "s3")]
fn s3(
    env: &Env,
    address: &Address,
    options: &Options,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    check_http(options, &["aws_endpoint_url", "aws_endpoint_url_s3"])?;
    let mut builder = AmazonS3Builder::new().with_bucket_name(&address.bucket).with_retry(retry);
    if env.credentials().is_none() {
        let mut has_keys = super::profile::is_told(options)?;
        for (name, value) in super::profile::read(options)? {
            has_keys |= name == AmazonS3ConfigKey::AccessKeyId;
            builder = builder.with_config(name, value);
        }
        if !has_keys && options.flag("aws_ec2_metadata_disabled")? {
            let what = "there are no credentials, and `aws_ec2_metadata_disabled` says not to ask \
                        the machine for some";
            return Err(Error::new(Code::Permission, what));
        }
    }
    for (name, value) in options.iter() {
        // A profile was read above.
        if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(credentials) = env.credentials() {
        let fresh =
            super::fresh::Refreshed::new(env, credentials, address.place(), super::fresh::aws);
        builder = builder.with_credentials(Arc::new(fresh));
    }
    let built = builder.build().map_err(|it| refused(options, it))?;
    Ok(Arc::new(built))
}

#[cfg(feature = "gcs")]
fn google(
    env: &Env,
    address: &Address,
    options: &Options,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
    check_http(options, &["google_base_url"])?;
    let mut builder =
        GoogleCloudStorageBuilder::new().with_bucket_name(&address.bucket).with_retry(retry);
    for (name, value) in options.iter() {
        if let Ok(key) = name.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(credentials) = env.credentials() {
        let fresh =
            super::fresh::Refreshed::new(env, credentials, address.place(), super::fresh::google);
        builder = builder.with_credentials(Arc::new(fresh));
    } else if let Some(token) = options.get("google_token") {
        let credential = GcpCredential { bearer: token.to_string() };
        let fixed = object_store::StaticCredentialProvider::new(credential);
        builder = builder.with_credentials(Arc::new(fixed));
    }
    let built = builder.build().map_err(|it| refused(options, it))?;
    Ok(Arc::new(built))
}

#[cfg(feature = "azure")]
fn azure(
    env: &Env,
    address: &Address,
    options: &Options,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    check_http(options, &["azure_storage_endpoint"])?;
    let mut builder =
        MicrosoftAzureBuilder::new().with_container_name(&address.bucket).with_retry(retry);
    for (name, value) in options.iter() {
        if let Ok(key) = name.parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some((account, domain)) = &address.account {
        builder = builder.with_account(account);
        let is_default = domain == super::address::AZURE;
        if !is_default && options.get("azure_storage_endpoint").is_none() {
            // Credentials go where a location says only if that is where Azure is.
            if !AZURE_DOMAINS.contains(&domain.as_str()) {
                let what = format!(
                    "`{domain}` is no domain of Azure; set `azure_storage_endpoint` if it is meant"
                );
                return Err(Error::invalid(what));
            }
            builder = builder.with_endpoint(format!("https://{account}.blob.{domain}"));
        }
    }
    if let Some(credentials) = env.credentials() {
        let fresh =
            super::fresh::Refreshed::new(env, credentials, address.place(), super::fresh::azure);
        builder = builder.with_credentials(Arc::new(fresh));
    }
    let built = builder.build().map_err(|it| refused(options, it))?;
    Ok(Arc::new(built))
}

#[cfg(all(test, feature = "s3", feature = "gcs", feature = "azure"))]
mod tests;
