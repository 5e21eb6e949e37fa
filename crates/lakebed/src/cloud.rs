//! Stores in clouds: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! ```text
//!   s3://bucket/events               s3a:// and s3n:// too
//!   gs://bucket/events               gcs:// too
//!   az://container/events            the account is an option; azure://, adl://, abfs[s]:// too
//!   abfss://container@account.dfs.core.windows.net/events
//!   https://account.blob.core.windows.net/container/events
//! ```
//!
//! What stands behind the bucket is the key as it is; only in `https:` is it percent-encoded.
//!
//! One client a bucket is made for an [`Env`], when its first table is opened, and shared by all
//! tables in it. It sends every request once: a repeated create finds the object of the first try
//! and calls it somebody else's, so repeats are for those who know what they repeat. Only uploads
//! in pieces go through a second client that repeats by itself, because a piece cannot be sent
//! again from outside.

use lakebed_log::error::Result;

use crate::env::Env;
use crate::store::Store;

mod address;
#[cfg(feature = "cloud")]
mod build;
#[cfg(feature = "cloud")]
mod fresh;
mod options;
#[cfg(feature = "s3")]
mod profile;

pub(crate) use address::{Address, canonical};
pub(crate) use options::check;

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Google,
    Azure,
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
impl Kind {
    /// The feature of this crate that opens it.
    fn feature(self) -> &'static str {
        match self {
            Kind::S3 => "s3",
            Kind::Google => "gcs",
            Kind::Azure => "azure",
        }
    }

    fn is_built(self) -> bool {
        match self {
            Kind::S3 => cfg!(feature = "s3"),
            Kind::Google => cfg!(feature = "gcs"),
            Kind::Azure => cfg!(feature = "azure"),
        }
    }
}

/// Opens a bucket at a key. No request is made.
///
/// # Errors
///
/// `unsupported-path` if this build was made without the feature; `invalid-argument` for options
/// that make no sense.
pub(crate) fn open(env: &Env, address: &Address, location: &str) -> Result<Store> {
    #[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
    if !address.kind.is_built() {
        let what = format!(
            "this build does not open such locations; build it with the feature `{}`",
            address.kind.feature()
        );
        return Err(lakebed_log::error::Error::new(
            lakebed_log::error::Code::UnsupportedPath,
            what,
        ));
    }
    #[cfg(feature = "cloud")]
    return build::open(env, address, location);
    #[cfg(not(feature = "cloud"))]
    {
        let _ = (env, location);
        let what = format!("a cloud of no feature is built: `{}`", address.kind.feature());
        Err(lakebed_log::error::Error::internal(what))
    }
}
