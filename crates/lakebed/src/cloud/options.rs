//! Storage options: their names, where they come from, and who knows which.
//!
//! Users bring the names that other engines and the `object_store` crate taught them, in upper or
//! lower case, as options or as variables of the environment. All of them come down to one name
//! each, here; a name that nobody knows is an error with the nearest that somebody does, because an
//! option that is dropped in silence is a key that is not used.
//!
//! An option of another cloud is stepped over: an [`Env`] opens tables in several. So is what other
//! engines have to be told and this one has not: locks, how many requests at once, how long to wait
//! between two tries.

#[cfg(feature = "cloud")]
use std::collections::BTreeMap;

use lakebed_log::error::{Error, Result, similar};

use super::Kind;
use crate::env::Env;

/// Names of one option: the first is the crate's, or ours where it is ours alone.
type Names = &'static [&'static str];

const S3: &[Names] = &[
    &["aws_access_key_id", "access_key_id", "s3.access-key-id"],
    &["aws_secret_access_key", "secret_access_key", "s3.secret-access-key"],
    &["aws_session_token", "aws_token", "session_token", "token", "s3.session-token"],
    &["aws_region", "region", "s3.region"],
    &["aws_default_region", "default_region"],
    &["aws_endpoint_url", "aws_endpoint", "endpoint_url", "endpoint", "s3.endpoint"],
    &["aws_endpoint_url_s3"],
    &["aws_endpoint_url_sts", "endpoint_url_sts"],
    &[
        "aws_virtual_hosted_style_request",
        "virtual_hosted_style_request",
        "s3.force-virtual-addressing",
    ],
    &["aws_profile", "profile", "s3.profile-name"],
    &["aws_shared_credentials_file"],
    &["aws_config_file"],
    &["aws_role_arn", "role_arn", "aws_iam_role_arn", "s3.role-arn"],
    &[
        "aws_role_session_name",
        "role_session_name",
        "aws_iam_role_session_name",
        "s3.role-session-name",
    ],
    &["aws_web_identity_token_file", "web_identity_token_file"],
    &["aws_container_credentials_relative_uri", "container_credentials_relative_uri"],
    &["aws_container_credentials_full_uri", "container_credentials_full_uri"],
    &["aws_container_authorization_token_file", "container_authorization_token_file"],
    &["aws_metadata_endpoint", "metadata_endpoint"],
    &["aws_imdsv1_fallback", "imdsv1_fallback"],
    &["aws_ec2_metadata_disabled", "ec2_metadata_disabled"],
    &["aws_skip_signature", "skip_signature", "s3.anonymous"],
    &["aws_unsigned_payload", "unsigned_payload"],
    &["aws_checksum_algorithm", "checksum_algorithm"],
    &["aws_request_payer", "request_payer"],
    &["aws_disable_tagging", "disable_tagging"],
    &["aws_s3_express", "s3_express"],
    &["aws_conditional_put", "conditional_put"],
    &["aws_copy_if_not_exists", "copy_if_not_exists"],
    &["aws_server_side_encryption", "server_side_encryption"],
    &["aws_sse_kms_key_id", "sse_kms_key_id"],
    &["aws_sse_bucket_key_enabled", "sse_bucket_key_enabled"],
    &["aws_sse_customer_key_base64", "sse_customer_key_base64"],
    &["aws_s3_locking_provider", "s3_locking_provider"],
    &["single_writer", "aws_s3_allow_unsafe_rename", "s3_allow_unsafe_rename"],
];

const GOOGLE: &[Names] = &[
    &[
        "google_service_account",
        "service_account",
        "google_service_account_path",
        "service_account_path",
    ],
    &["google_service_account_key", "service_account_key"],
    &["google_application_credentials", "application_credentials"],
    &["google_base_url", "base_url", "gcs.service.host"],
    &["google_skip_signature", "skip_signature"],
    &["google_token", "gcs.oauth2.token"],
    &["single_writer"],
];

const AZURE: &[Names] = &[
    &["azure_storage_account_name", "account_name", "adls.account-name"],
    &[
        "azure_storage_account_key",
        "azure_storage_access_key",
        "azure_storage_master_key",
        "master_key",
        "account_key",
        "access_key",
        "adls.account-key",
    ],
    &["azure_storage_sas_token", "azure_storage_sas_key", "sas_token", "sas_key", "adls.sas-token"],
    &["azure_storage_token", "bearer_token", "token", "adls.token"],
    &["azure_client_id", "azure_storage_client_id", "client_id", "adls.client-id"],
    &["azure_client_secret", "azure_storage_client_secret", "client_secret", "adls.client-secret"],
    &[
        "azure_tenant_id",
        "azure_storage_tenant_id",
        "azure_storage_authority_id",
        "azure_authority_id",
        "tenant_id",
        "authority_id",
        "adls.tenant-id",
    ],
    &["azure_authority_host", "azure_storage_authority_host", "authority_host"],
    &["azure_storage_endpoint", "azure_endpoint", "endpoint"],
    &["azure_storage_use_emulator", "use_emulator"],
    &["azure_use_fabric_endpoint", "use_fabric_endpoint"],
    &["azure_use_azure_cli", "use_azure_cli"],
    &["azure_msi_endpoint", "azure_identity_endpoint", "msi_endpoint", "identity_endpoint"],
    &["azure_msi_resource_id", "msi_resource_id"],
    &["azure_object_id", "object_id"],
    &["azure_federated_token_file", "federated_token_file"],
    &["azure_skip_signature", "skip_signature"],
    &["azure_disable_tagging", "disable_tagging"],
    &["single_writer"],
];

/// Those of the HTTP client and of our own patience, for every cloud.
const CLIENT: &[Names] = &[
    &["allow_http"],
    &["allow_invalid_certificates"],
    &["connect_timeout"],
    &["default_content_type"],
    &["http1_only"],
    &["http2_only"],
    &["http2_keep_alive_interval"],
    &["http2_keep_alive_timeout"],
    &["http2_keep_alive_while_idle"],
    &["http2_max_frame_size"],
    &["pool_idle_timeout"],
    &["pool_max_idle_per_host"],
    &["proxy_url"],
    &["proxy_ca_certificate"],
    &["proxy_excludes"],
    &["randomize_addresses"],
    &["timeout"],
    &["user_agent"],
    &["max_retries"],
    &["retry_timeout"],
];

/// What other engines have to be told and this one has not: it takes no locks, bounds its requests
/// by itself, waits at random between two tries, and asks for tokens when they expire.
const UNNEEDED: &[&str] = &[
    "object_store_concurrency_limit",
    "backoff_config.init_backoff",
    "backoff_config.max_backoff",
    "backoff_config.base",
    "gcs.project-id",
    "gcs.oauth2.token-expires-at",
    "gcs.access",
    "gcs.consistency",
    "gcs.cache-timeout",
    "gcs.default-location",
    "gcs.session-kwargs",
];

/// The same of the lock in DynamoDB, which has many.
fn is_unneeded(name: &str) -> bool {
    let of_the_lock = |it: &str| {
        it.starts_with("delta_dynamo_") || it.starts_with("dynamo_") || it.ends_with("_dynamodb")
    };
    UNNEEDED.contains(&name) || of_the_lock(name)
}

const KINDS: [Kind; 3] = [Kind::S3, Kind::Google, Kind::Azure];

impl Kind {
    fn names(self) -> &'static [Names] {
        match self {
            Kind::S3 => S3,
            Kind::Google => GOOGLE,
            Kind::Azure => AZURE,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Kind::S3 => "aws_",
            Kind::Google => "google_",
            Kind::Azure => "azure_",
        }
    }

    /// The same as pyiceberg says it.
    #[cfg(feature = "cloud")]
    fn dialect(self) -> &'static str {
        match self {
            Kind::S3 => "s3.",
            Kind::Google => "gcs.",
            Kind::Azure => "adls.",
        }
    }

    /// The one name of an option that this cloud knows.
    fn known(self, name: &str) -> Option<&'static str> {
        let one = |all: &'static [Names], name: &str| {
            all.iter().find(|it| it.contains(&name)).and_then(|it| it.first()).copied()
        };
        let client = name.strip_prefix(self.prefix()).unwrap_or(name);
        one(self.names(), name).or_else(|| one(CLIENT, client))
    }

    /// What the environment of the process says, under names that begin as this cloud's do.
    #[cfg(feature = "cloud")]
    fn variables(self) -> BTreeMap<&'static str, String> {
        let prefix = self.prefix();
        let own = self.names().iter().flat_map(|it| it.iter()).filter(|it| it.starts_with(prefix));
        let own = own.map(|it| it.to_string());
        let client = CLIENT.iter().flat_map(|it| it.iter()).map(|it| format!("{prefix}{it}"));
        let mut found = BTreeMap::new();
        for name in own.chain(client) {
            let value = std::env::var_os(name.to_ascii_uppercase());
            let value = value.and_then(|it| it.into_string().ok()).filter(|it| !it.is_empty());
            if let (Some(value), Some(known)) = (value, self.known(&name)) {
                found.entry(known).or_insert(value);
            }
        }
        found
    }
}

/// Refuses an option that no store knows, by name.
///
/// # Errors
///
/// `invalid-argument`, which names the nearest that some store does.
pub(crate) fn check(env: &Env) -> Result<()> {
    for (name, _) in env.options() {
        let lower = name.to_ascii_lowercase();
        if KINDS.iter().all(|it| it.known(&lower).is_none()) && !is_unneeded(&lower) {
            return Err(unknown(name, &KINDS));
        }
    }
    Ok(())
}

fn unknown(name: &str, kinds: &[Kind]) -> Error {
    let tables = kinds.iter().flat_map(|it| it.names()).chain(CLIENT);
    let near = similar(tables.flat_map(|it| it.iter()).copied(), name).unwrap_or_default();
    Error::invalid(format!("storage option `{name}` is not known; the nearest is `{near}`"))
}

/// The options of one cloud, under their one name each.
#[cfg(feature = "cloud")]
pub(super) struct Options(BTreeMap<&'static str, String>);

#[cfg(feature = "cloud")]
impl Options {
    /// From the environment of the process, and over them those of the caller.
    ///
    /// # Errors
    ///
    /// `invalid-argument` for an option that neither this nor, by its prefix, another cloud knows.
    pub(super) fn of(env: &Env, kind: Kind) -> Result<Options> {
        let mut ours = BTreeMap::new();
        for (name, value) in env.options() {
            let lower = name.to_ascii_lowercase();
            match kind.known(&lower) {
                Some(known) => drop(ours.insert(known, value.clone())),
                None if is_of_another(kind, &lower) => {}
                None if is_unneeded(&lower) => {
                    tracing::debug!(option = name, "a storage option that nothing here needs");
                }
                None => return Err(unknown(name, &[kind])),
            }
        }
        Ok(Options(over(kind.variables(), ours)))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A yes or no, no unless said.
    ///
    /// # Errors
    ///
    /// `invalid-argument`.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(Error::invalid(format!("storage option `{name}` is `true` or `false`"))),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name, value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// A foreign text without any value of an option that could be a secret.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut secrets: Vec<&String> = self.0.values().filter(|it| it.len() > 3).collect();
        // One may begin another.
        secrets.sort_by_key(|it| std::cmp::Reverse(it.len()));
        secrets.iter().fold(text.to_string(), |text, it| text.replace(it.as_str(), "***"))
    }
}

/// Options that say one thing together: where the store is, or who asks.
#[cfg(feature = "cloud")]
const GROUPS: &[&[&str]] = &[
    &["aws_endpoint_url", "aws_endpoint_url_s3"],
    &["aws_region", "aws_default_region"],
    &[
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_profile",
        "aws_role_arn",
        "aws_web_identity_token_file",
        "aws_container_credentials_relative_uri",
        "aws_container_credentials_full_uri",
        "aws_container_authorization_token_file",
        "aws_skip_signature",
    ],
    &[
        "google_service_account",
        "google_service_account_key",
        "google_application_credentials",
        "google_skip_signature",
        "google_token",
    ],
    &["azure_storage_endpoint", "azure_storage_use_emulator", "azure_use_fabric_endpoint"],
    &[
        "azure_storage_account_key",
        "azure_storage_sas_token",
        "azure_storage_token",
        "azure_client_id",
        "azure_client_secret",
        "azure_tenant_id",
        "azure_use_azure_cli",
        "azure_msi_endpoint",
        "azure_federated_token_file",
        "azure_skip_signature",
    ],
];

/// The options of the caller over those of the environment. Whoever says one of a group says it
/// all: half of another login, or an address that goes before the caller's, would be mixed in.
#[cfg(feature = "cloud")]
fn over(
    mut below: BTreeMap<&'static str, String>,
    ours: BTreeMap<&'static str, String>,
) -> BTreeMap<&'static str, String> {
    for group in GROUPS.iter().filter(|it| it.iter().any(|it| ours.contains_key(it))) {
        below.retain(|name, _| !group.contains(name));
    }
    below.extend(ours);
    below
}

/// An option of another cloud says so by its first word; one without such a word is meant for us.
#[cfg(feature = "cloud")]
fn is_of_another(kind: Kind, name: &str) -> bool {
    let others = KINDS.iter().filter(|it| **it != kind);
    let says = |it: &Kind| name.starts_with(it.prefix()) || name.starts_with(it.dialect());
    others.into_iter().any(|it| says(it) && it.known(name).is_some())
}

#[cfg(all(test, feature = "cloud", feature = "tokio"))]
mod tests {
    use super::*;

    fn of(kind: Kind, name: &str) -> Result<Options> {
        Options::of(&Env::tokio().with_option(name, "hunter2"), kind)
    }

    /// Every spelling comes down to one name; none is in two options.
    ///
    /// spec: STORE-2
    #[test]
    fn names_are_known() {
        for kind in KINDS {
            let mut seen = std::collections::BTreeSet::new();
            for names in kind.names() {
                for name in *names {
                    assert!(seen.insert(name), "{name}");
                    for spelled in [name.to_string(), name.to_ascii_uppercase()] {
                        assert_eq!(of(kind, &spelled).unwrap().get(names[0]), Some("hunter2"));
                    }
                }
            }
        }
        let prefixed = of(Kind::S3, "AWS_ALLOW_HTTP").unwrap();
        assert_eq!(prefixed.get("allow_http"), Some("hunter2"));
        assert!(of(Kind::S3, "azure_storage_account_name").is_ok());
    }

    /// Options of another cloud, by any of the names that say whose they are, and those that only
    /// other engines need, are in nobody's way.
    ///
    /// spec: STORE-3
    #[test]
    fn what_is_not_for_us_is_stepped_over() {
        let others = [
            (Kind::Azure, "s3.endpoint"),
            (Kind::Google, "AWS_REGION"),
            (Kind::S3, "adls.account-name"),
            (Kind::S3, "gcs.oauth2.token"),
        ];
        let unneeded = [
            "OBJECT_STORE_CONCURRENCY_LIMIT",
            "backoff_config.init_backoff",
            "DELTA_DYNAMO_TABLE_NAME",
            "delta_dynamo_billing_mode",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "gcs.project-id",
        ];
        let unneeded = KINDS.into_iter().flat_map(|kind| unneeded.map(|it| (kind, it)));
        for (kind, name) in others.into_iter().chain(unneeded) {
            let options = of(kind, name).unwrap();
            assert!(options.iter().all(|it| it.1 != "hunter2"), "{name}");
            assert!(check(&Env::tokio().with_option(name, "hunter2")).is_ok(), "{name}");
        }
        assert!(of(Kind::S3, "delta_dynamite").is_err() && of(Kind::Azure, "s3.endpiont").is_err());
    }

    /// Whoever says one option of a group says it all; groups have names that there are.
    #[test]
    fn what_belongs_together_is_not_mixed() {
        let map = |all: &[(&'static str, &str)]| -> BTreeMap<&'static str, String> {
            all.iter().map(|it| (it.0, it.1.to_string())).collect()
        };
        let below = map(&[
            ("aws_endpoint_url_s3", "elsewhere"),
            ("aws_session_token", "stale"),
            ("aws_access_key_id", "other"),
            ("aws_region", "far"),
            ("timeout", "5s"),
        ]);
        let both = over(below.clone(), map(&[("aws_endpoint_url", "here")]));
        assert!(!both.contains_key("aws_endpoint_url_s3") && both["aws_session_token"] == "stale");
        let both = over(below.clone(), map(&[("aws_profile", "work"), ("timeout", "9s")]));
        let expected = [
            ("aws_endpoint_url_s3", "elsewhere"),
            ("aws_profile", "work"),
            ("aws_region", "far"),
            ("timeout", "9s"),
        ];
        assert_eq!(both, map(&expected));
        assert_eq!(over(below.clone(), BTreeMap::new()), below);
        let known: Vec<&str> = KINDS.iter().flat_map(|it| it.names()).map(|it| it[0]).collect();
        assert!(GROUPS.iter().flat_map(|it| it.iter()).all(|it| known.contains(it)));
    }

    /// A secret that begins another leaves nothing of it.
    #[test]
    fn secrets_are_scrubbed_whole() {
        let pair = [("aws_access_key_id", "minio"), ("aws_secret_access_key", "minio-s3cret")];
        let options = Options(pair.iter().map(|it| (it.0, it.1.to_string())).collect());
        assert_eq!(options.scrub("key minio-s3cret of minio"), "key *** of ***");
    }

    /// spec: STORE-3
    #[test]
    fn unknown_names_are_refused() {
        let rows = [
            (Kind::S3, "aws_acces_key", "aws_access_key_id"),
            (Kind::S3, "regoin", "region"),
            (Kind::S3, "account_key", "checksum_algorithm"),
            (Kind::Azure, "acount_name", "account_name"),
            (Kind::Google, "service_acount", "service_account"),
            (Kind::Google, "timeuot", "timeout"),
        ];
        for (kind, name, _) in rows {
            let err = of(kind, name).err().unwrap();
            let text = format!("{err:?}");
            assert!(text.contains(&format!("`{name}` is not known; the nearest is")), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        for (kind, name, near) in rows.into_iter().filter(|it| it.1 != "account_key") {
            let err = of(kind, name).err().unwrap().to_string();
            assert!(err.ends_with(&format!("`{near}`")), "{err}");
        }
    }

    #[test]
    fn flags() {
        let flag = |value: &str| {
            let env = Env::tokio().with_option("single_writer", value);
            Options::of(&env, Kind::S3).unwrap().flag("single_writer")
        };
        assert!(flag("TRUE").unwrap() && flag("1").unwrap());
        assert!(!flag("false").unwrap());
        assert!(flag("perhaps").is_err());
        let alias = Env::tokio().with_option("AWS_S3_ALLOW_UNSAFE_RENAME", "true");
        assert!(Options::of(&alias, Kind::S3).unwrap().flag("single_writer").unwrap());
    }
}
