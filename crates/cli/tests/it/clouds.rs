//! Tables in clouds on the command line: options, variables of the environment, and secrets that
//! are nowhere to be seen.

use lakebed_testkit::cloud::{CloudServer, Dialect, Fault};

use crate::shell::{Said, Shell, said};

/// What must not be printed: they are in keys, tokens and signatures below.
const SECRETS: [&str; 4] = ["hunter2", "SECRETKEY", "aHVudGVyMg", "PRIVATE"];

/// Runs a command that says all it knows, with options and variables.
fn run(
    shell: &Shell,
    words: &[&str],
    options: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> Said {
    let mut command = shell.command(words);
    for (key, value) in options {
        command.arg("--option").arg(format!("{key}={value}"));
    }
    command.envs(variables.iter().copied()).env("RUST_LOG", "trace").args(["-vv", "--stats"]);
    let said = said(command.output().unwrap());
    for secret in SECRETS {
        let line = said.out.lines().chain(said.err.lines()).find(|it| it.contains(secret));
        assert_eq!(line, None, "{words:?} with {options:?}");
    }
    said
}

/// spec: STORE-2, STORE-7
#[test]
fn no_secret_is_printed() {
    let server = CloudServer::start(Dialect::S3).unwrap();
    let endpoint = server.endpoint();
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n2\n");
    let s3 = [
        ("aws_endpoint_url", endpoint.as_str()),
        ("allow_http", "true"),
        ("aws_access_key_id", "AKIASECRETKEY"),
        ("aws_secret_access_key", "hunter2"),
        ("aws_session_token", "hunter2/token"),
    ];
    let write = ["write", "s3://bucket/t", "a.csv"];
    let read = ["read", "s3://bucket/t", "--format", "csv"];
    assert_eq!(run(&shell, &write, &s3, &[]).code, 0);
    let rows = run(&shell, &read, &s3, &[]);
    assert!(rows.out.contains("n\n1\n2\n"), "{rows:?}");
    for (status, code) in [(403, "SignatureDoesNotMatch"), (400, "Odd"), (500, "InternalError")] {
        server.always("", Fault::Refused(status, code));
        let refused = run(&shell, &read, &s3, &[]);
        assert!(refused.code != 0 && refused.err.contains(code), "{refused:?}");
    }
    server.always("", Fault::ResetBefore);
    assert_ne!(run(&shell, &read, &s3, &[]).code, 0);

    // Options that make no sense, and other clouds.
    let wrong = |location: &str, options: &[(&str, &str)]| {
        let refused = run(&shell, &["read", location], options, &[]);
        assert_ne!(refused.code, 0, "{refused:?}");
    };
    wrong("s3://bucket/t", &[("aws_access_key_id", "hunter2")]);
    wrong("s3://bucket/t", &[("aws_secret_acces_key", "hunter2")]);
    wrong("s3://AKIASECRETKEY:hunter2@bucket/t", &[]);
    let azure =
        [("azure_endpoint", endpoint.as_str()), ("allow_http", "true"), ("account_name", "a")];
    let with = |key, value| [&azure[..], &[(key, value)]].concat();
    wrong("az://c/t", &with("azure_storage_sas_token", "sv=1&sig=hunter2"));
    wrong("az://c/t", &with("azure_storage_account_key", "aHVudGVyMg=="));
    wrong("az://c/t", &with("azure_storage_account_key", "hunter2 is no base64"));
    wrong("az://c/t", &with("azure_storage_token", "hunter2"));
    wrong("gs://b/t", &[("google_service_account_key", "PRIVATE hunter2")]);
    let google = [("google_base_url", endpoint.as_str()), ("google_token", "hunter2")];
    wrong("gs://b/t", &google);
    wrong("gs://b/t", &[&google[..], &[("allow_http", "true")]].concat());
}

/// Variables of the environment do what options do, and options win.
///
/// spec: STORE-2
#[test]
fn variables_of_the_environment() {
    let server = CloudServer::start(Dialect::S3).unwrap();
    let endpoint = server.endpoint();
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n2\n");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "AKIASECRETKEY"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_PAGER", "less"),
    ];
    assert_eq!(run(&shell, &["write", "s3://bucket/t", "a.csv"], &[], &variables).code, 0);
    assert!(server.keys().iter().any(|it| it == "t/_delta_log/00000000000000000000.json"));
    let words = ["read", "s3a://bucket/t", "--format", "csv"];
    let rows = run(&shell, &words, &[], &variables);
    assert!(rows.out.contains("n\n1\n2\n"), "{rows:?}");
    let elsewhere = run(&shell, &words, &[("endpoint", "http://127.0.0.1:9")], &variables);
    assert_eq!(elsewhere.code, 1, "{elsewhere:?}");
    assert!(elsewhere.err.contains("127.0.0.1:9"), "{elsewhere:?}");
}

/// The keys of a profile are taken where nothing else is given.
#[test]
fn profiles() {
    let server = CloudServer::start(Dialect::S3).unwrap();
    let endpoint = server.endpoint();
    let shell = Shell::new();
    shell.write("a.csv", "n\n1\n");
    let keys = "aws_access_key_id = AKIASECRETKEY\naws_secret_access_key=hunter2\n";
    shell.write("keys", &format!("[default]\nregion=x\n# no\n[work]\n{keys}[other]\n"));
    shell.write("config", "[profile work]\nregion = eu-west-1\n[profile sso]\nsso_session = x\n");
    let with = |profile: &str| {
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_SHARED_CREDENTIALS_FILE", "keys"),
            ("AWS_CONFIG_FILE", "config"),
            ("AWS_PROFILE", profile),
        ];
        run(&shell, &["write", "s3://bucket/t", "a.csv"], &[], &variables)
    };
    assert_eq!(with("work").code, 0);
    for (profile, says) in [("sso", "no keys in the files"), ("absent", "is not there")] {
        let refused = with(profile);
        assert!(refused.code != 0 && refused.err.contains(says), "{refused:?}");
    }
}
