//! Where the tests of stores keep their tables: memory, the disk, and what stands in for clouds.

use lakebed::Env;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
use lakebed_testkit::cloud::{CloudServer, Dialect};

/// A store, and how it is come by.
pub struct Place {
    pub name: &'static str,
    pub options: Vec<(&'static str, String)>,
    prefix: String,
    _folder: Option<tempfile::TempDir>,
    #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
    _server: Option<CloudServer>,
}

impl Place {
    fn new(name: &'static str, prefix: &str, options: &[(&'static str, &str)]) -> Place {
        Place {
            name,
            prefix: prefix.to_string(),
            options: options.iter().map(|(key, value)| (*key, value.to_string())).collect(),
            _folder: None,
            #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
            _server: None,
        }
    }

    pub fn disk() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().to_str().unwrap().to_string();
        Place { _folder: Some(folder), ..Place::new("disk", &prefix, &[]) }
    }

    pub fn env(&self) -> Env {
        let env = Env::tokio();
        self.options.iter().fold(env, |env, (key, value)| env.with_option(*key, value))
    }

    /// A location that nobody else uses.
    pub fn location(&self) -> String {
        format!("{}/{}", self.prefix, Env::tokio().id())
    }
}

/// Every place there is.
pub fn all() -> Vec<Place> {
    let mut all = vec![Place::new("memory", "memory://places", &[]), Place::disk()];
    all.extend(servers());
    #[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
    all.extend(played());
    all
}

/// The servers that `cargo xtask test` starts.
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn servers() -> Vec<Place> {
    let ministack = server("LAKEBED_S3", true).map(|it| s3("ministack", &it, "lakebed"));
    let versitygw = server("LAKEBED_S3_AUTH", false).map(|it| s3("versitygw", &it, "lakebed"));
    let azurite = server("LAKEBED_AZURE", true).map(|it| azure("azurite", &it));
    ministack.into_iter().chain(versitygw).chain(azurite).collect()
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
pub fn servers() -> Vec<Place> {
    left_out("stores in clouds; `cargo xtask test` builds and starts them");
    Vec::new()
}

/// Where a server is; what is left out is said.
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn server(variable: &str, is_needed: bool) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        let required = std::env::var("LAKEBED_SERVERS").is_ok_and(|it| it == "required");
        assert!(!(required && is_needed), "{variable} is not set, and no server may be missing");
        left_out(&format!("{variable} is not set; `cargo xtask test` starts that server"));
    }
    found
}

#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn s3(name: &'static str, endpoint: &str, bucket: &str) -> Place {
    Place::new(
        name,
        &format!("s3://{bucket}"),
        &[
            ("aws_endpoint_url", endpoint),
            ("aws_allow_http", "true"),
            ("aws_access_key_id", "test"),
            ("aws_secret_access_key", "testtest"),
            ("aws_region", "us-east-1"),
        ],
    )
}

/// The account and the key that every Azurite has.
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn azure(name: &'static str, endpoint: &str) -> Place {
    let key =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    Place::new(
        name,
        "az://lakebed",
        &[
            ("azure_storage_endpoint", endpoint),
            ("azure_allow_http", "true"),
            ("azure_storage_account_name", "devstoreaccount1"),
            ("azure_storage_account_key", key),
        ],
    )
}

/// Google's store, played by a server in this process.
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn google(name: &'static str, endpoint: &str) -> Place {
    let key = r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#;
    let options = [
        ("google_base_url", endpoint),
        ("google_service_account_key", key),
        ("allow_http", "true"),
    ];
    Place::new(name, "gs://bucket", &options)
}

/// Servers in this process.
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
fn played() -> Vec<Place> {
    let start = |dialect| CloudServer::start(dialect).unwrap();
    let (amazon, other) = (start(Dialect::S3), start(Dialect::Google));
    let mut first = s3("played S3", &amazon.endpoint(), "bucket");
    let mut second = google("played Google", &other.endpoint());
    first._server = Some(amazon);
    second._server = Some(other);
    vec![first, second]
}

/// Past the test runner's capture, so that a person sees it.
fn left_out(what: &str) {
    use std::io::Write;

    let _ = writeln!(std::io::stderr(), "left out: {what}");
}
