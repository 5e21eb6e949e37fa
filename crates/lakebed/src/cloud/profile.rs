//! Keys of the AWS command line's files, `~/.aws/credentials` and `~/.aws/config`.
//!
//! Read where no other credentials are given. Keys that stand in a file are taken; a profile that
//! gets its keys by a program or a sign-on is refused by name if it was named, and stepped over if
//! it is the default.

use std::path::PathBuf;

use lakebed_log::error::{Code, Error, Result};
use object_store::aws::AmazonS3ConfigKey;

use super::options::Options;

/// Options that give credentials in another way.
const OTHERS: [&str; 5] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_web_identity_token_file",
    "aws_container_credentials_relative_uri",
    "aws_container_credentials_full_uri",
];

/// Do the options say where credentials are?
pub(super) fn is_told(options: &Options) -> Result<bool> {
    let has_others = OTHERS.iter().any(|it| options.get(it).is_some());
    Ok(has_others || options.flag("aws_skip_signature")?)
}

/// The keys and the region of the profile.
///
/// # Errors
///
/// `invalid-argument` for a profile that was named and is not there; `permission` for one whose
/// keys are not in the files.
pub(super) fn read(options: &Options) -> Result<Vec<(AmazonS3ConfigKey, String)>> {
    let named = options.get("aws_profile");
    if is_told(options)? {
        return Ok(Vec::new());
    }
    let profile = named.unwrap_or("default");
    let text = |option: &str, name: &str| {
        let path = options.get(option).map(PathBuf::from).or_else(|| home(name));
        path.and_then(|it| std::fs::read_to_string(it).ok()).unwrap_or_default()
    };
    let credentials = section(&text("aws_shared_credentials_file", "credentials"), &[profile]);
    let config = section(
        &text("aws_config_file", "config"),
        &[&format!("profile {profile}"), if profile == "default" { "default" } else { "" }],
    );
    let both: Vec<(String, String)> = config
        .clone()
        .into_iter()
        .flatten()
        .chain(credentials.clone().into_iter().flatten())
        .collect();
    let get = |name: &str| both.iter().rev().find(|it| it.0 == name).map(|it| it.1.clone());
    let mut found = Vec::new();
    if let (Some(id), Some(secret)) = (get("aws_access_key_id"), get("aws_secret_access_key")) {
        found.push((AmazonS3ConfigKey::AccessKeyId, id));
        found.push((AmazonS3ConfigKey::SecretAccessKey, secret));
        let token = get("aws_session_token");
        found.extend(token.map(|it| (AmazonS3ConfigKey::Token, it)));
    } else if named.is_some() {
        let what = format!("profile `{profile}` of the AWS configuration");
        return Err(match credentials.is_none() && config.is_none() {
            true => Error::invalid(format!("{what} is not there")),
            false => Error::new(
                Code::Permission,
                format!("{what} has no keys in the files; hand credentials in by the caller"),
            ),
        });
    }
    found.extend(get("region").map(|it| (AmazonS3ConfigKey::Region, it)));
    Ok(found)
}

fn home(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"))?;
    Some(PathBuf::from(home).join(".aws").join(name))
}

/// Names and values of the first section that has one of these names.
fn section(text: &str, names: &[&str]) -> Option<Vec<(String, String)>> {
    let mut found: Option<Vec<(String, String)>> = None;
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            inside = found.is_none() && names.contains(&name.as_str());
            if inside {
                found = Some(Vec::new());
            }
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && let Some(found) = &mut found
        {
            found.push((name.trim().to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    found
}
