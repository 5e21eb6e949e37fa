//! The one error of the workspace: a kind that says what to do, a code that says what exactly.
//!
//! A caller can act on ten kinds and can hardly act on more, so there are ten. Programs that look
//! closer compare the code, which is stable; people read the text, which is not. Where it happened
//! is added while unwinding, because the function that fails knows what is wrong and its callers
//! know where:
//!
//! ```text
//!   s3://bucket/t/_delta_log/00000000000000000007.json: line 3: `size` is negative
//!   ^ at, outermost first                               ^        ^ what
//! ```
//!
//! Messages quote names and values that strangers wrote. They are escaped on the way in, so that no
//! text of an error moves a cursor, paints a terminal or turns the direction of writing.

use std::any::Any;
use std::borrow::Cow;
use std::error;
use std::fmt;

mod similar;

pub use similar::similar;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong and what to do about it.
///
/// One word wide: `Result<()>` is no bigger than a pointer, so hot loops can return it.
///
/// ```
/// use lakebed_log::error::{Code, Error, ErrorKind};
///
/// let error = Error::new(Code::CorruptLog, "`size` is negative").at("line 3").at("7.json");
/// assert_eq!(error.to_string(), "7.json: line 3: `size` is negative");
/// assert_eq!(error.kind(), ErrorKind::Corrupt);
/// assert_eq!(error.code().as_str(), "corrupt-log");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    what: String,
    at: Vec<String>,
    payload: Option<Box<dyn Any + Send + Sync>>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What the caller should do next.
///
/// A new variant is added only when some caller would act differently because of it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The table, version or file does not exist. Check the name; the version may have expired.
    NotFound,
    /// Another writer won and our change no longer applies. Redo the read, then the write.
    Conflict,
    /// The store is unreachable, throttling or moving under us, after retries. Try again later.
    Unavailable,
    /// Whether our commit landed is not known yet. Ask `resolve` before doing it again.
    Unresolved,
    /// The store says no. Check credentials and permissions.
    Denied,
    /// A budget, a named limit or the disk is used up. The message says which and how much.
    Exhausted,
    /// The table needs a feature this build does not have. Upgrade.
    Unsupported,
    /// The caller's argument or data is wrong. Fix the call.
    Invalid,
    /// Stored bytes break the protocol. Repair the table; retrying will not help.
    Corrupt,
    /// A bug in this library. Please report it.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $kind:ident,)*) => {
        /// What exactly went wrong: stable, part of the API.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* #[doc = concat!("(`", $text, "`)")] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The stable name, in kebab case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The kind every error of this code has.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Code::$name => ErrorKind::$kind,)* }
            }
        }
    };
}

codes! {
    /// There is no table at this place.
    NotATable "not-a-table" NotFound,
    /// The table has no such version, or none at that time.
    VersionNotFound "version-not-found" NotFound,
    /// The version was there and its log or files have been cleaned up.
    ExpiredSnapshot "expired-snapshot" NotFound,
    /// An input file of the caller does not exist.
    FileNotFound "file-not-found" NotFound,
    /// A concurrent commit made ours inapplicable.
    Conflict "conflict" Conflict,
    /// The transaction started too long ago to be committed safely.
    TransactionExpired "transaction-expired" Conflict,
    /// A table is there already and the call asked for a new one.
    TableExists "table-exists" Conflict,
    /// The store did not answer, or asked to slow down.
    Unavailable "unavailable" Unavailable,
    /// The operation's deadline passed before anything was decided.
    DeadlineExceeded "deadline-exceeded" Unavailable,
    /// The log kept changing while it was listed.
    LogMoving "log-moving" Unavailable,
    /// An object changed between two reads of it.
    ObjectChanged "object-changed" Unavailable,
    /// The store sent fewer bytes than it announced.
    ShortRead "short-read" Unavailable,
    /// The clocks of this machine and of the store differ too much.
    ClockSkew "clock-skew" Unavailable,
    /// The commit's put was sent and its answer never came.
    OutcomeUnknown "outcome-unknown" Unresolved,
    /// Reading or writing was refused by the store.
    Permission "permission" Denied,
    /// Untrusted input passes one of the named limits.
    LimitExceeded "limit-exceeded" Exhausted,
    /// The memory budget cannot hold what the operation needs.
    MemoryExceeded "memory-exceeded" Exhausted,
    /// The disk, or the quota on it, is full.
    NoSpace "no-space" Exhausted,
    /// The table's protocol names a version or feature this build lacks.
    UnsupportedProtocol "unsupported-protocol" Unsupported,
    /// A data file uses an encoding or type this build lacks.
    UnsupportedData "unsupported-data" Unsupported,
    /// A path names a store this build or this call does not reach.
    UnsupportedPath "unsupported-path" Unsupported,
    /// The store cannot create an object only if it is absent.
    StoreUnsafe "store-unsafe" Unsupported,
    /// An argument is out of range or not of its form.
    InvalidArgument "invalid-argument" Invalid,
    /// An expression does not parse or its types do not fit.
    InvalidExpression "invalid-expression" Invalid,
    /// A named column is not in the schema.
    UnknownColumn "unknown-column" Invalid,
    /// Data has columns or types that the table's schema does not take.
    SchemaMismatch "schema-mismatch" Invalid,
    /// A version of the range did not keep the change feed.
    FeedNotEnabled "feed-not-enabled" Invalid,
    /// A value of the caller's data breaks its column's type or constraint.
    InvalidData "invalid-data" Invalid,
    /// A log file is not what a log file looks like.
    CorruptLog "corrupt-log" Corrupt,
    /// A version is missing between two that exist.
    VersionGap "version-gap" Corrupt,
    /// An action breaks a rule of its kind.
    InvalidAction "invalid-action" Corrupt,
    /// The protocol action contradicts itself or is missing.
    InvalidProtocol "invalid-protocol" Corrupt,
    /// The table's metadata contradicts itself or is missing.
    InvalidMetadata "invalid-metadata" Corrupt,
    /// The table's schema is not one.
    InvalidSchema "invalid-schema" Corrupt,
    /// A partition value is no value of its column's type.
    InvalidPartitionValue "invalid-partition-value" Corrupt,
    /// A checkpoint cannot be read and nothing else replaces it.
    CorruptCheckpoint "corrupt-checkpoint" Corrupt,
    /// Stored bytes do not have the checksum recorded for them.
    ChecksumMismatch "checksum-mismatch" Corrupt,
    /// A deletion vector is malformed or names rows that are not there.
    CorruptDv "corrupt-dv" Corrupt,
    /// A data file is malformed.
    CorruptData "corrupt-data" Corrupt,
    /// A data file holds a column in a type the schema does not allow for it.
    TypeMismatch "type-mismatch" Corrupt,
    /// A file is larger or smaller than the log says.
    SizeMismatch "size-mismatch" Corrupt,
    /// Statistics do not bound the data they describe.
    StatsMismatch "stats-mismatch" Corrupt,
    /// A file that the log names is not there.
    MissingFile "missing-file" Corrupt,
    /// A path in the log does not decode to the name of a file.
    InvalidPath "invalid-path" Corrupt,
    /// A path in the log leaves the table's folder.
    PathEscape "path-escape" Corrupt,
    /// An invariant of ours is broken.
    Internal "internal" Internal,
}

impl Error {
    /// An error of `code`: `what` in lower case, no final stop.
    pub fn new(code: Code, what: impl Into<String>) -> Error {
        let what = escaped(what.into());
        Error(Box::new(Inner { code, what, at: Vec::new(), payload: None, source: None }))
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
        self.0.at.push(escaped(place.to_string()));
        self
    }

    /// A copy without cause and payload, for an error that others hold as well.
    #[must_use]
    pub fn copied(&self) -> Error {
        let Inner { code, what, at, .. } = &*self.0;
        let (what, at) = (what.clone(), at.clone());
        Error(Box::new(Inner { code: *code, what, at, payload: None, source: None }))
    }

    /// The same error under another code, for a caller who knows better whose fault it is: a schema
    /// that breaks the rules is corrupt in a log and a wrong argument in a call.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Error {
        self.0.code = code;
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

/// Places from the outside in, then the sentence. One line, free of control characters.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.at.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.what)
    }
}

/// As `Display`, with the code and the causes below.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{}]", self.0.code.as_str())?;
        if let Some(source) = &self.0.source {
            write!(f, " because {}", printable(&source.to_string()))?;
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|it| it as _)
    }
}

/// Text of a stranger, safe to print: control characters, and those that turn or hide the
/// direction of writing, become their Rust escapes; text beyond [`PRINTED_BYTES_MAX`] is cut.
///
/// Everything inside an [`Error`] went through here. Whoever prints a foreign error's text, such as
/// a [`source`](error::Error::source), should send it through as well.
///
/// ```
/// use lakebed_log::error::printable;
/// assert_eq!(printable("plain"), "plain");
/// assert_eq!(printable("\u{1b}[2J\u{202e}"), "\\u{1b}[2J\\u{202e}");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.len() <= PRINTED_BYTES_MAX && !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len().min(PRINTED_BYTES_MAX));
    for char in text.chars() {
        if clean.len() > PRINTED_BYTES_MAX {
            clean.push_str("..");
            break;
        }
        match is_unprintable(char) {
            true => clean.extend(char.escape_default()),
            false => clean.push(char),
        }
    }
    Cow::Owned(clean)
}

/// The most of one message or place that is kept. A hostile name may be megabytes long, and every
/// error may be logged.
pub const PRINTED_BYTES_MAX: usize = 8 << 10;

fn escaped(text: String) -> String {
    match printable(&text) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => text,
    }
}

fn is_unprintable(char: char) -> bool {
    let turns_direction = matches!(char,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(char, '\u{2028}' | '\u{2029}');
    char.is_control() || turns_direction || breaks_line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn codes_are_unique_and_in_kebab_case() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for name in names {
            let kebab = name
                .split('-')
                .all(|word| !word.is_empty() && word.bytes().all(|it| it.is_ascii_lowercase()));
            assert!(kebab, "{name}");
        }
    }

    #[test]
    fn places_print_from_the_outside_in() {
        let error = Error::new(Code::CorruptLog, "`size` is negative").at("line 3").at("7.json");
        assert_eq!(error.to_string(), "7.json: line 3: `size` is negative");
        assert_eq!(error.message(), "`size` is negative");
        assert_eq!(format!("{error:?}"), "7.json: line 3: `size` is negative [corrupt-log]");
        let error = error.because(Error::invalid("x\u{7}"));
        assert!(format!("{error:?}").ends_with("because x\\u{7}"));
        assert!(error::Error::source(&error).is_some());
    }

    #[test]
    fn payloads_come_back_by_type() {
        let error = Error::invalid("x").with_payload(7u32);
        assert_eq!(error.payload::<u32>(), Some(&7));
        assert_eq!(error.payload::<u64>(), None);
    }

    /// What a stranger wrote into a name cannot reach a terminal through any text of an error.
    #[test]
    fn hostile_text_is_escaped() {
        for hostile in ["\u{1b}[31m", "a\nb", "\u{202e}gpj", "\u{9b}1m", "\u{2028}", "\u{7f}"] {
            let error = Error::invalid(hostile).at(hostile).because(Error::invalid(hostile));
            for text in [error.to_string(), format!("{error:?}"), error.message().to_string()] {
                assert!(!text.chars().any(is_unprintable), "{text:?}");
            }
        }
        assert_eq!(Error::invalid("caf\u{e9} \u{1f33c}").to_string(), "caf\u{e9} \u{1f33c}");
    }

    #[test]
    fn endless_text_is_cut() {
        let error = Error::invalid("x".repeat(1 << 20));
        assert!(error.to_string().len() <= PRINTED_BYTES_MAX + 16);
    }
}
