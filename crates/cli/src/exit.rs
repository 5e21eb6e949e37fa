//! What an error means to a shell, and what a person reads about it.

use std::error::Error as _;
use std::fmt::Write as _;

use lakebed::txn::Unresolved;
use lakebed::{Code, Error, ErrorKind};
use serde_json::json;

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

/// Place and cause, then causes below, then what to do.
pub(crate) fn text(error: &Error) -> String {
    let mut text = format!("error: {error} [{}]", error.code().as_str());
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, "\n  caused by: {}", plain(&cause.to_string()));
        source = cause.source();
    }
    if let Some(unresolved) = error.payload::<Unresolved>() {
        let _ = write!(text, "\n  help: ask `lakebed resolve TABLE {}` later", unresolved.id);
    } else if let Some(help) = help(error) {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}

/// The same for programs.
pub(crate) fn json(error: &Error) -> serde_json::Value {
    json!({"error": {
        "code": error.code().as_str(),
        "kind": format!("{:?}", error.kind()),
        "message": error.to_string(),
        "unresolved": error.payload::<Unresolved>().map(|it| it.id.clone()),
        "exit_code": code(error.kind()),
    }})
}

fn help(error: &Error) -> Option<&'static str> {
    Some(match error.code() {
        Code::NotATable => "check the path; `lakebed write` and `lakebed create` make a table",
        Code::VersionNotFound => "`lakebed history` lists the versions that are there",
        Code::TableExists => "choose another place, or `--mode append`, `overwrite` or `ignore`",
        Code::UnknownColumn => "`lakebed schema` lists the columns",
        Code::InvalidExpression => "text goes in single quotes, names in double quotes",
        Code::SchemaMismatch => "`--schema` gives types, `--evolve-schema` adds columns",
        Code::NoSpace => "make room and run it again; nothing was committed",
        Code::MemoryExceeded => "raise `--memory-limit`",
        Code::Permission => "check who may read and write there",
        _ => match error.kind() {
            ErrorKind::Conflict => "another writer won; run it again",
            ErrorKind::Unavailable => "try again later, or with a longer `--timeout`",
            ErrorKind::Unsupported => "use an engine that has the feature, or a newer release",
            ErrorKind::Corrupt => "running it again will not help; restore the file named",
            ErrorKind::Internal => "this is a bug; please report it",
            _ => return None,
        },
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

    #[test]
    fn a_terminal_is_not_obeyed() {
        assert_eq!(plain("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }
}
