//! What a person types, taken apart: cloud, account, bucket, key.

use lakebed_log::error::{Code, Error, Result};

use super::Kind;

/// Where a table lies in a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    /// The bucket or container.
    pub(crate) bucket: String,
    /// Azure's account and the domain behind `blob` or `dfs`, if the location says.
    pub(crate) account: Option<(String, String)>,
    /// Without slashes at its ends; may be empty.
    pub(crate) key: String,
}

/// Azure's domain, if nothing else is said.
#[cfg(feature = "cloud")]
pub(super) const AZURE: &str = "core.windows.net";

impl Address {
    /// `None` for a scheme that is none of a cloud.
    ///
    /// # Errors
    ///
    /// `invalid-argument`, `unsupported-path` for a host that is no cloud's.
    pub(crate) fn parse(scheme: &str, location: &str) -> Result<Option<Address>> {
        let rest = location.split_once("://").map_or("", |it| it.1);
        let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
        let address = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" | "s3n" => plain(Kind::S3, host, key)?,
            "gs" | "gcs" => plain(Kind::Google, host, key)?,
            "az" | "azure" | "adl" | "abfs" | "abfss" => match host.split_once('@') {
                None => plain(Kind::Azure, host, key)?,
                Some((container, host)) => {
                    let account = account(host).ok_or_else(no_account)?;
                    Address { account: Some(account), ..plain(Kind::Azure, container, key)? }
                }
            },
            "https" => match account(host) {
                None => {
                    let what = "no store is known at this host; `s3://`, `gs://` and `az://` are \
                                schemes of stores, and an S3 endpoint is the option \
                                `aws_endpoint_url`";
                    return Err(Error::new(Code::UnsupportedPath, what));
                }
                Some(account) => {
                    let decoded = crate::store::percent_decode(key).ok_or_else(|| {
                        Error::invalid("an https URL is percent-encoded UTF-8 without a zero byte")
                    })?;
                    let (container, key) = decoded.split_once('/').unwrap_or((&decoded, ""));
                    Address { account: Some(account), ..plain(Kind::Azure, container, key)? }
                }
            },
            _ => return Ok(None),
        };
        Ok(Some(address))
    }

    /// The bucket without a key, for the caller's credentials.
    #[cfg(feature = "cloud")]
    pub(super) fn place(&self) -> String {
        let bucket = &self.bucket;
        match (self.kind, &self.account) {
            (Kind::S3, _) => format!("s3://{bucket}"),
            (Kind::Google, _) => format!("gs://{bucket}"),
            (Kind::Azure, Some((account, domain))) => {
                format!("abfss://{bucket}@{account}.dfs.{domain}")
            }
            (Kind::Azure, None) => format!("az://{bucket}"),
        }
    }

    /// How paths of a log spell the table's root.
    #[cfg(feature = "cloud")]
    pub(super) fn root(&self) -> String {
        let place = self.place();
        match self.key.as_str() {
            "" => place,
            key => format!("{place}/{key}"),
        }
    }
}

/// A path of a log with the first of the schemes that mean the same.
pub(crate) fn canonical(location: &str) -> String {
    let same = [("s3a://", "s3://"), ("s3n://", "s3://"), ("gcs://", "gs://")];
    let azure = [("abfs://", "abfss://"), ("wasbs://", "abfss://"), ("azure://", "az://")];
    for (from, to) in same.into_iter().chain(azure) {
        if let Some(rest) = location.strip_prefix(from) {
            return format!("{to}{rest}");
        }
    }
    location.to_string()
}

fn plain(kind: Kind, bucket: &str, key: &str) -> Result<Address> {
    if key.contains('?') || key.contains('#') || bucket.contains(['?', '#']) {
        return Err(Error::invalid("a location has neither query nor fragment"));
    }
    if bucket.contains(['@', ':']) {
        let what = "a location holds no credentials; they are options, such as \
                    `aws_access_key_id`, or variables of the environment";
        return Err(Error::invalid(what));
    }
    if bucket.is_empty() {
        return Err(Error::invalid("a location names a bucket or container: `s3://bucket/table`"));
    }
    let key = key.trim_matches('/');
    if object_store::path::Path::parse(key).is_err() {
        let what = "the name has an empty or dot segment, or a control character";
        return Err(Error::invalid(what));
    }
    Ok(Address { kind, bucket: bucket.to_string(), account: None, key: key.to_string() })
}

/// Account and domain of `account.blob.domain` or `account.dfs.domain`.
fn account(host: &str) -> Option<(String, String)> {
    let (account, rest) = host.split_once('.')?;
    let (service, domain) = rest.split_once('.')?;
    let is_account = !account.is_empty() && !domain.contains([':', '@']);
    (is_account && matches!(service, "blob" | "dfs"))
        .then(|| (account.to_string(), domain.to_string()))
}

fn no_account() -> Error {
    Error::invalid("behind the container stands `@account.dfs.core.windows.net`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloud, account, bucket and key, or the code of the error.
    #[track_caller]
    fn check(location: &str, expected: &str) {
        let (scheme, _) = location.split_once(':').unwrap();
        let actual = match Address::parse(scheme, location) {
            Ok(None) => "-".to_string(),
            Ok(Some(it)) => {
                let account = it.account.clone().unwrap_or_default();
                format!("{:?} {}.{} {} {}", it.kind, account.0, account.1, it.bucket, it.key)
            }
            Err(err) => {
                assert!(!err.to_string().contains("secret"), "{err}");
                err.code().as_str().to_string()
            }
        };
        assert_eq!(actual, expected, "{location}");
    }

    /// spec: STORE-1
    #[test]
    fn addresses() {
        check("s3://bucket/a/b/", "S3 . bucket a/b");
        check("S3A://bucket", "S3 . bucket ");
        check("s3://bucket/a%20b c", "S3 . bucket a%20b c");
        check("gs://bucket/t", "Google . bucket t");
        check("gcs://bucket//t", "Google . bucket t");
        check("az://container/t", "Azure . container t");
        check("abfss://container/t", "Azure . container t");
        check("abfss://c@a.dfs.core.windows.net/t", "Azure a.core.windows.net c t");
        check("abfs://c@a.blob.core.windows.net/t", "Azure a.core.windows.net c t");
        check("abfss://w@onelake.dfs.fabric.microsoft.com/i/Tables/t", {
            "Azure onelake.fabric.microsoft.com w i/Tables/t"
        });
        check("https://a.blob.core.windows.net/c/t%20u", "Azure a.core.windows.net c t u");
        check("ftp://x/y", "-");
        for bad in [
            "s3://",
            "s3:///t",
            "s3://key:secret@bucket/t",
            "s3://bucket/t?secret",
            "s3://bucket/t#secret",
            "s3://bucket/a/../b",
            "s3://bucket/a//b",
            "abfss://c@host/t",
            "abfss://c@/t",
            "https://a.blob.core.windows.net/c/%zz",
        ] {
            check(bad, "invalid-argument");
        }
        check("https://example.com/t", "unsupported-path");
    }

    #[cfg(feature = "cloud")]
    #[test]
    fn roots_are_spelled_as_logs_spell_them() {
        let root = |scheme, location| Address::parse(scheme, location).unwrap().unwrap().root();
        assert_eq!(root("s3a", "s3a://bucket/t/"), "s3://bucket/t");
        assert_eq!(root("s3", "s3://bucket"), "s3://bucket");
        let long = "abfss://c@a.dfs.core.windows.net/t";
        assert_eq!(root("https", "https://a.blob.core.windows.net/c/t"), long);
        assert_eq!(canonical("s3a://bucket/t/x"), "s3://bucket/t/x");
        assert_eq!(canonical("abfs://c@a.dfs.core.windows.net/t"), long);
        assert_eq!(canonical("/data/t"), "/data/t");
    }
}
