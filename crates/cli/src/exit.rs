//! What an error means to a shell, and what a person reads about it.

use std::error::Error as _;
use std::fmt::Write as _;

use lakebed::txn::Unresolved;
use lakebed::{Code, Error, ErrorKind};
use serde_json::json;

/// An error that knows better than its code how bad it is, and what to do.
pub(crate) struct Advised(pub(crate) &'static str, pub(crate) &'static str);

/// What to do with a table whose commits a catalog knows.
const MANAGED: &str = "such a table is opened through its catalog, which the command line cannot ask; \
                       in Rust: `Table::with_catalog`";

/// The one table of exit codes.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Conflict => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Invalid | ErrorKind::Corrupt => 5,
        ErrorKind::Unsupported => 6,
        ErrorKind::Unresolved => 7,
        _ => 1,
    }
}

/// Place and cause, then causes below, then what to do. `is_write` is the command `write`.
pub(crate) fn text(error: &Error, is_write: bool) -> String {
    let word = error.payload::<Advised>().map_or("error", |it| it.0);
    let mut text = format!("{word}: {error} [{}]", error.code().as_str());
    for cause in causes(error) {
        let _ = write!(text, "\n  caused by: {cause}");
    }
    if let Some(help) = help(error, is_write) {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

/// The same for programs.
pub(crate) fn json(error: &Error, is_write: bool) -> serde_json::Value {
    json!({"error": {
        "code": error.code().as_str(),
        "kind": format!("{:?}", error.kind()),
        "message": error.to_string(),
        "causes": causes(error),
        "help": help(error, is_write),
        "unresolved": error.payload::<Unresolved>().map(|it| it.id.clone()),
        "exit_code": code(error.kind()),
    }})
}

fn causes(error: &Error) -> Vec<String> {
    std::iter::successors(error.source(), |&it| it.source())
        .map(|it| plain(&it.to_string()))
        .collect()
}

fn help(error: &Error, is_write: bool) -> Option<String> {
    if let Some(unresolved) = error.payload::<Unresolved>() {
        return Some(format!("ask `lakebed resolve TABLE {}` later", unresolved.id));
    }
    if let Some(advised) = error.payload::<Advised>() {
        return Some(advised.1.to_string());
    }
    if let Some(missing) = error.missing_feature()
        && missing.feature.is_catalog_managed()
    {
        return Some(MANAGED.to_string());
    }
    let io = std::iter::successors(error.source(), |&it| it.source())
        .find_map(|it| it.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    let help = match io {
        Some(std::io::ErrorKind::NotADirectory) => {
            Some("a file stands where the path needs a folder")
        }
        Some(std::io::ErrorKind::IsADirectory) => {
            Some("a folder stands where the path needs a file")
        }
        _ => of_code(error.code(), is_write).or_else(|| of_kind(error.kind())),
    };
    help.map(str::to_string)
}

fn of_code(code: Code, is_write: bool) -> Option<&'static str> {
    Some(match code {
        Code::NotATable => "check the location; `lakebed write` and `lakebed create` make a table",
        Code::VersionNotFound => "`lakebed history` lists the versions that are there",
        Code::FileNotFound => "check the name; it is relative to the working directory",
        Code::TableExists if is_write => {
            "choose another place, or `--mode append`, `overwrite` or `ignore`"
        }
        Code::TableExists => "choose another place",
        Code::UnknownColumn => "`lakebed schema` lists the columns",
        Code::InvalidArgument => "`lakebed help COMMAND` explains what a command takes",
        Code::FeedNotEnabled => {
            "`--derive` tells the changes by the files; `lakebed diff` compares two versions"
        }
        Code::InvalidData if is_write => {
            "mend the value, or give its column another type; nothing was written"
        }
        Code::InvalidData => "mend the value, or the expression that meets it",
        Code::InvalidExpression => "text goes in single quotes, names in double quotes",
        Code::SchemaMismatch if is_write => {
            "`--schema` gives types, `--evolve-schema` adds columns"
        }
        Code::NoSpace => "make room and run it again; nothing was committed",
        Code::MemoryExceeded => "raise `--memory-limit`, of which reads and writes have half each",
        Code::Permission => "check who may read and write there",
        Code::UnsupportedPath => {
            "locations are local paths, file://, s3://, gs://, az:// and abfss://"
        }
        Code::StoreUnsafe => {
            "put the table where an object is created only if it is absent; for an object store \
             with one writer: `--option single_writer=true`"
        }
        Code::ClockSkew => "set the clock of this machine right",
        Code::InvalidSchema | Code::InvalidMetadata | Code::InvalidProtocol => {
            "running it again will not help; columns, names and properties must be valid"
        }
        Code::PathEscape => {
            "if the file is meant to lie there, as in a shallow clone, name its root with \
             `--allow-root`; else another writer broke the rules of the format"
        }
        Code::InvalidAction
        | Code::InvalidPartitionValue
        | Code::InvalidPath
        | Code::TypeMismatch
        | Code::StatsMismatch => {
            "running it again will not help; another writer broke the rules of the format"
        }
        _ => return None,
    })
}

fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Conflict => "another writer won; run it again",
        ErrorKind::Unavailable => "try again later, or with a longer `--timeout`",
        ErrorKind::Unsupported => "use an engine that has the feature, or a newer release",
        ErrorKind::Corrupt => "running it again will not help; restore the file named",
        ErrorKind::Internal => "this is a bug; please report it",
        _ => return None,
    })
}

/// Text of strangers, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    let is_odd = |it: char| {
        it.is_control() || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_odd(character) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code ends in the exit code that the README promises.
    #[test]
    fn every_code_has_its_exit_code() {
        for it in Code::ALL {
            let expected = match it.kind() {
                ErrorKind::Conflict => 3,
                ErrorKind::NotFound => 4,
                ErrorKind::Invalid | ErrorKind::Corrupt => 5,
                ErrorKind::Unsupported => 6,
                ErrorKind::Unresolved => 7,
                ErrorKind::Unavailable
                | ErrorKind::Denied
                | ErrorKind::Exhausted
                | ErrorKind::Internal => 1,
                other => panic!("{other:?} has no exit code"),
            };
            assert_eq!(code(it.kind()), expected, "{}", it.as_str());
        }
    }

    /// What to do fits what is wrong.
    #[test]
    fn help_fits() {
        let check = |error: Error, is_write: bool, expected: &str| {
            let text = text(&error, is_write);
            assert!(text.contains(expected), "{text}");
            let json = json(&error, is_write);
            assert!(json["error"]["help"].as_str().unwrap().contains(expected), "{json}");
        };
        let new = |code| Error::new(code, "x");
        check(new(Code::TableExists), true, "`--mode append`");
        assert!(!text(&new(Code::TableExists), false).contains("--mode"));
        check(new(Code::UnsupportedPath), false, "gs://, az://");
        check(new(Code::CorruptLog), false, "restore the file named");
        check(new(Code::PathEscape), false, "`--allow-root`");
        check(
            new(Code::CorruptCheckpoint).with_payload(Advised("error", "as above")),
            false,
            "as above",
        );
        let lacks = |feature: &str| {
            let feature = lakebed::TableFeature::parse(feature);
            let missing = lakebed::MissingFeature { feature, to_read: true };
            new(Code::UnsupportedProtocol).with_payload(missing)
        };
        check(lacks("catalogManaged"), false, "`Table::with_catalog`");
        check(lacks("catalogOwned-preview"), false, "`Table::with_catalog`");
        check(lacks("telepathy"), false, "use an engine that has the feature");
        for code in [Code::InvalidSchema, Code::InvalidMetadata] {
            assert!(!text(&new(code), false).contains("restore"), "{}", code.as_str());
        }
        for kind in [std::io::ErrorKind::NotADirectory, std::io::ErrorKind::IsADirectory] {
            let error = new(Code::Unavailable).because(std::io::Error::from(kind));
            check(error, false, "where the path needs");
        }
        for code in [Code::InvalidData, Code::InvalidArgument, Code::FileNotFound] {
            assert!(text(&new(code), false).contains("help: "), "{}", code.as_str());
        }
        let caused = json(&new(Code::InvalidData).because(new(Code::InvalidData)), false);
        assert_eq!(caused["error"]["causes"], json!(["x"]));
    }

    #[test]
    fn a_terminal_is_not_obeyed() {
        assert_eq!(plain("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }
}
