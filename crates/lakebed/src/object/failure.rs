//! What an error of the `object_store` crate means.
//!
//! The crate keeps its requests' errors to itself but for a few kinds; the status and the store's
//! own words are in the text alone. So the text is read: the status, and of the body what is in
//! `<Code>` and `<Message>`. Nothing else of a body is passed on, because stores send back the
//! request as they saw it, session tokens included.

use lakebed_log::error::{Code, Error, Result};

use crate::store::{Put, redact};

/// Characters of a message that are passed on.
const SHOWN_MAX: usize = 500;

/// What a single create-if-absent came to.
pub(super) fn outcome(answer: object_store::Result<Option<String>>) -> Result<Put> {
    use object_store::Error::{AlreadyExists, Precondition};
    match answer {
        Ok(tag) => Ok(Put::Created(tag)),
        Err(AlreadyExists { .. } | Precondition { .. }) => Ok(Put::Exists),
        Err(err) => {
            let err = failed(err);
            match err.code() {
                Code::Permission
                | Code::NoSpace
                | Code::StoreUnsafe
                | Code::NotATable
                | Code::InvalidArgument
                | Code::ClockSkew => Err(err),
                _ => Ok(Put::Unknown(err)),
            }
        }
    }
}

/// Our error for one of the crate's. The original is not kept as a cause: printed, it may show the
/// URL of the request, and with it the signature.
pub(super) fn failed(err: object_store::Error) -> Error {
    use object_store::Error as E;
    let text = err.to_string();
    let said = Said::of(&text);
    let (code, what) = match &err {
        _ if said.is_of(&["NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"]) => {
            (Code::NotATable, "there is no such bucket or container")
        }
        // Some servers refuse a key with 404, which must not pass for an object that is not there.
        _ if said.is_of(&REFUSALS) => (Code::Permission, "the store refuses access"),
        E::NotFound { .. } => return Error::new(Code::FileNotFound, "there is no such object"),
        _ if said.is_of_the_clock() => (
            Code::ClockSkew,
            "the clock of this machine is too far from the store's, which therefore refuses access",
        ),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            (Code::Permission, "the store refuses access")
        }
        E::Precondition { .. } | E::NotModified { .. } => {
            (Code::ObjectChanged, "the object was replaced")
        }
        E::AlreadyExists { .. } => (Code::Conflict, "the object exists already"),
        E::NotSupported { .. } | E::NotImplemented { .. } => {
            (Code::StoreUnsafe, "the store cannot do what safe commits need")
        }
        E::InvalidPath { .. } => (Code::InvalidPath, "the store refuses the name"),
        E::UnknownConfigurationKey { .. } => {
            (Code::InvalidArgument, "the store does not know an option")
        }
        _ if is_full(&err) => (Code::NoSpace, "the store is full"),
        _ => said.judged(),
    };
    Error::new(code, format!("{what}: {}", said.shown(&err)))
}

/// What a store said, out of the text of an error.
struct Said<'a> {
    text: &'a str,
    status: Option<u16>,
    /// The store's own name for what is wrong.
    code: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn of(text: &'a str) -> Said<'a> {
        let after = |mark: &str| text.split_once(mark).map(|it| it.1);
        let within = |name: &str| {
            let (inside, _) = after(&format!("<{name}>"))?.split_once(&format!("</{name}>"))?;
            Some(inside.lines().next().unwrap_or_default().trim())
        };
        let status = after("status code: ").and_then(|it| it.get(..3)).map(str::parse);
        Said {
            text,
            status: status.and_then(Result::ok),
            code: within("Code"),
            message: within("Message"),
        }
    }

    fn is_of(&self, codes: &[&str]) -> bool {
        self.code.is_some_and(|it| codes.contains(&it))
    }

    fn is_of_the_clock(&self) -> bool {
        let words = ["date header too old", "reasonable timeframe", "date in the header"];
        self.is_of(&["RequestTimeTooSkewed", "RequestExpired"])
            || words.iter().any(|it| self.text.contains(it))
    }

    /// An answer that has no kind of its own in the crate.
    fn judged(&self) -> (Code, &'static str) {
        // On the way: the same bytes, sent again, may arrive.
        let passing =
            ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"];
        let metadata = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];
        let is_of_machine = metadata.iter().any(|it| self.text.contains(it));
        match self.status {
            None | Some(400..=407) if is_of_machine => (
                Code::Permission,
                "no credentials were given, and this machine has none of its own to offer",
            ),
            _ if self.is_of(&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"]) => {
                (Code::Permission, "the credentials have expired or are none")
            }
            _ if self.is_of(&["XMinioStorageFull", "InsufficientStorage"]) => {
                (Code::NoSpace, "the store is full")
            }
            _ if self.is_of(&passing) => (Code::Unavailable, "the store failed"),
            Some(501) => (Code::StoreUnsafe, "the store cannot do what safe commits need"),
            Some(507) => (Code::NoSpace, "the store is full"),
            Some(301 | 302 | 307 | 308) => (Code::InvalidArgument, ELSEWHERE),
            None if self.text.contains("Received redirect") => (Code::InvalidArgument, ELSEWHERE),
            // Listings have no kind of their own.
            Some(401 | 403) => (Code::Permission, "the store refuses access"),
            // They ask for patience, or say that something moved; 416 is a range behind the end.
            Some(408 | 409 | 412 | 416 | 425 | 429) => (Code::Unavailable, "the store failed"),
            Some(400..=499) => (Code::InvalidArgument, "the store refuses the request"),
            _ => (Code::Unavailable, "the store failed"),
        }
    }

    /// What may be printed: without bodies, without queries, and with the root of the matter.
    fn shown(&self, err: &object_store::Error) -> String {
        let mut shown = headline(self.text).trim_end().to_string();
        while shown.ends_with(':') || shown.ends_with(' ') {
            shown.pop();
        }
        let words = [self.code, self.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        if !words.is_empty() {
            shown.push_str(": ");
            shown.push_str(&words);
        }
        let root = causes(err).last().map(ToString::to_string).unwrap_or_default();
        if self.status.is_none() && !self.text.contains(&root) {
            shown.push_str(": ");
            shown.push_str(headline(&root));
        }
        redact(&shown).chars().take(SHOWN_MAX).collect()
    }
}

/// A text up to the body of an answer, which may say anything, secrets among it.
fn headline(text: &str) -> &str {
    let text = text.split('<').next().unwrap_or_default();
    let ends = ["status code: ", "error response"].iter().filter_map(|it| {
        let after = text.find(it)? + it.len();
        Some(after + text.get(after..)?.find(": ")?)
    });
    ends.min().and_then(|it| text.get(..it)).unwrap_or(text)
}

/// Refusals that come with any status.
const REFUSALS: [&str; 4] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "XAdminUserNotFound"];

const ELSEWHERE: &str = "the bucket is elsewhere; set its region or endpoint";

fn causes<'a>(
    err: &'a object_store::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(err as &(dyn std::error::Error + 'static)), |it| it.source())
}

/// A full disk comes without a kind of its own, as the input-output error below.
fn is_full(err: &object_store::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    causes(err)
        .find_map(|it| it.downcast_ref::<std::io::Error>())
        .is_some_and(|it| matches!(it.kind(), FileTooLarge | QuotaExceeded | StorageFull))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of a body is told, whatever its form.
    #[test]
    fn bodies_are_cut_off() {
        let check = |text: &str, expected: &str| assert_eq!(headline(text).trim_end(), expected);
        check(
            "Server returned non-2xx status code: 400 Bad Request: {\"authorization\": \"x\"}",
            "Server returned non-2xx status code: 400 Bad Request",
        );
        check("Server returned error response: hush", "Server returned error response");
        check("Generic S3 error: <Error>hush</Error>", "Generic S3 error:");
        check("nothing of the kind: at all", "nothing of the kind: at all");
    }
}
