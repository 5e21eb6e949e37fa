//! The one error of the workspace: a kind that says what to do, a code that says what exactly.

use std::any::Any;
use std::error;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong and what to do about it. One word wide.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    what: String,
    at: Vec<String>,
    payload: Option<Box<dyn Any + Send + Sync>>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What the caller should do next.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The table, version or file does not exist.
    NotFound,
    /// Another writer won and our change no longer applies.
    Conflict,
    /// The store is unreachable or throttling, after retries.
    Unavailable,
    /// Whether our commit landed is not known yet.
    Unresolved,
    /// The store says no.
    Denied,
    /// A budget, a named limit or the disk is used up.
    Exhausted,
    /// The table needs a feature this build does not have.
    Unsupported,
    /// The caller's argument is wrong.
    Invalid,
    /// Stored bytes break the protocol.
    Corrupt,
    /// A bug in this library.
    Internal,
}

macro_rules! codes {
    ($($name:ident $text:literal $kind:ident,)*) => {
        /// What exactly went wrong: stable, part of the API.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = concat!("`", $text, "`")] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];
            /// The stable name, in kebab case.
            pub const fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }
            /// The kind every error of this code has.
            pub const fn kind(self) -> ErrorKind { match self { $(Code::$name => ErrorKind::$kind,)* } }
        }
    };
}

codes! {
    NotATable "not-a-table" NotFound,
    VersionNotFound "version-not-found" NotFound,
    ExpiredSnapshot "expired-snapshot" NotFound,
    FileNotFound "file-not-found" NotFound,
    Conflict "conflict" Conflict,
    TransactionExpired "transaction-expired" Conflict,
    TableExists "table-exists" Conflict,
    Unavailable "unavailable" Unavailable,
    DeadlineExceeded "deadline-exceeded" Unavailable,
    LogMoving "log-moving" Unavailable,
    ObjectChanged "object-changed" Unavailable,
    ShortRead "short-read" Unavailable,
    ClockSkew "clock-skew" Unavailable,
    OutcomeUnknown "outcome-unknown" Unresolved,
    Permission "permission" Denied,
    LimitExceeded "limit-exceeded" Exhausted,
    MemoryExceeded "memory-exceeded" Exhausted,
    NoSpace "no-space" Exhausted,
    UnsupportedProtocol "unsupported-protocol" Unsupported,
    UnsupportedData "unsupported-data" Unsupported,
    UnsupportedPath "unsupported-path" Unsupported,
    StoreUnsafe "store-unsafe" Unsupported,
    InvalidArgument "invalid-argument" Invalid,
    InvalidExpression "invalid-expression" Invalid,
    UnknownColumn "unknown-column" Invalid,
    SchemaMismatch "schema-mismatch" Invalid,
    InvalidData "invalid-data" Invalid,
    CorruptLog "corrupt-log" Corrupt,
    VersionGap "version-gap" Corrupt,
    InvalidAction "invalid-action" Corrupt,
    InvalidProtocol "invalid-protocol" Corrupt,
    InvalidMetadata "invalid-metadata" Corrupt,
    InvalidSchema "invalid-schema" Corrupt,
    InvalidPartitionValue "invalid-partition-value" Corrupt,
    CorruptCheckpoint "corrupt-checkpoint" Corrupt,
    ChecksumMismatch "checksum-mismatch" Corrupt,
    CorruptDv "corrupt-dv" Corrupt,
    CorruptData "corrupt-data" Corrupt,
    TypeMismatch "type-mismatch" Corrupt,
    SizeMismatch "size-mismatch" Corrupt,
    StatsMismatch "stats-mismatch" Corrupt,
    MissingFile "missing-file" Corrupt,
    InvalidPath "invalid-path" Corrupt,
    PathEscape "path-escape" Corrupt,
    Internal "internal" Internal,
}

impl Error {
    /// An error of `code`: `what` in lower case, no final stop.
    pub fn new(code: Code, what: impl Into<String>) -> Error {
        Error(Box::new(Inner { code, what: what.into(), at: Vec::new(), payload: None, source: None }))
    }
    /// A wrong argument of the caller, code `invalid-argument`.
    pub fn invalid(what: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, what)
    }
    /// A broken invariant of our own.
    pub fn internal(what: impl Into<String>) -> Error {
        Error::new(Code::Internal, what)
    }
    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        self.0.code.kind()
    }
    /// What exactly went wrong.
    pub fn code(&self) -> Code {
        self.0.code
    }
    /// The sentence without places and causes.
    pub fn message(&self) -> &str {
        &self.0.what
    }
    /// Adds where it happened: a path, a version, a line. Outermost last.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        self.0.at.push(place.to_string());
        self
    }
    /// Keeps the error below this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }
    /// Attaches what programs branch on; see the typed accessors.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Any + Send + Sync) -> Error {
        self.0.payload = Some(Box::new(payload));
        self
    }
    /// The payload of type `T`, if there is one.
    pub fn payload<T: Any>(&self) -> Option<&T> {
        self.0.payload.as_ref().and_then(|it| it.downcast_ref())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.at.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{}]", self.0.code.as_str())?;
        if let Some(source) = &self.0.source {
            write!(f, " because {source}")?;
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|it| it as _)
    }
}
