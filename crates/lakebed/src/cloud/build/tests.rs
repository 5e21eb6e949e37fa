//! Which addresses are a cloud's own, and which the user named.

use super::*;
use crate::cloud::options::Options;

/// Is this bucket trusted without being asked?
fn known(location: &str, options: &[(&str, &str)]) -> bool {
    let env = options.iter().fold(Env::tokio(), |env, it| env.with_option(it.0, it.1));
    let (scheme, _) = location.split_once(':').unwrap();
    let address = Address::parse(scheme, location).unwrap().unwrap();
    let options = Options::of(&env, address.kind).unwrap();
    is_known(&address, &options).unwrap()
}

/// spec: STORE-8
#[test]
fn clouds_of_their_own_are_not_asked() {
    assert!(known("s3://b/t", &[]));
    assert!(known("s3://b/t", &[("endpoint", "https://s3.eu-west-1.amazonaws.com")]));
    assert!(known("s3://b/t", &[("endpoint", "https://b.s3.cn-north-1.amazonaws.com.cn:443/")]));
    assert!(known("s3://b/t", &[("endpoint", "https://s3-fips.us-east-1.amazonaws.com")]));
    for other in [
        "https://minio-1.us-east-1.elb.amazonaws.com",
        "https://s3-proxy.us-east-1.elb.amazonaws.com",
        "https://ec2-1-2-3-4.compute-1.amazonaws.com:9000",
        "https://x.execute-api.us-east-1.amazonaws.com/s3",
        "https://s3.amazonaws.com:x@elsewhere.example.com",
        "https://x@s3.amazonaws.com",
    ] {
        assert!(!known("s3://b/t", &[("endpoint", other)]), "{other}");
    }
    assert!(!known("s3://b/t", &[("endpoint", "https://minio.example.com")]));
    assert!(!known("s3://b/t", &[("endpoint", "https://fakeamazonaws.com")]));
    assert!(!known("s3://b/t", &[("endpoint", "https://x/s3.amazonaws.com")]));
    assert!(!known("s3://b/t", &[("aws_endpoint_url_s3", "http://127.0.0.1:1")]));
    assert!(known("gs://b/t", &[]));
    assert!(!known("gs://b/t", &[("google_base_url", "http://127.0.0.1:1")]));
    let key = r#"{"gcs_base_url":"http://127.0.0.1:1"}"#;
    assert!(!known("gs://b/t", &[("google_service_account_key", key)]));
    assert!(known("az://c/t", &[("account_name", "a")]));
    assert!(known("abfss://c@a.dfs.core.windows.net/t", &[]));
    assert!(known("abfss://c@a.dfs.core.usgovcloudapi.net/t", &[]));
    assert!(!known("abfss://c@a.dfs.example.com/t", &[]));
    assert!(!known("az://c/t", &[("azure_endpoint", "http://127.0.0.1:1/a")]));
    assert!(!known("az://c/t", &[("use_emulator", "true")]));
}

/// Where the machine is not to be asked and nothing else has credentials, nobody is asked.
#[test]
fn the_machine_is_not_asked() {
    let bare = ["aws_shared_credentials_file", "aws_config_file"];
    let env = bare.iter().fold(Env::tokio(), |env, it| env.with_option(*it, "/no/such/file"));
    let env = env.with_option("AWS_EC2_METADATA_DISABLED", "true");
    assert_eq!(env.open("s3://b/t").unwrap_err().code(), Code::Permission);
    let keys = env.with_option("aws_access_key_id", "a").with_option("aws_secret_access_key", "b");
    assert!(keys.open("s3://b/t").is_ok());
}

#[test]
fn durations() {
    assert_eq!(seconds("30"), Some(Duration::from_secs(30)));
    assert_eq!(seconds(" 30 seconds "), Some(Duration::from_secs(30)));
    assert_eq!(seconds("2m"), Some(Duration::from_secs(120)));
    assert_eq!(seconds("-1"), None);
    assert_eq!(seconds("soon"), None);
}
