//! The sources of the workspace, and just enough of a lexer to measure them.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file: path relative to the workspace, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// Every file below `folder` with this extension, in the order of their paths.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The text before the tests of a file.
pub(crate) fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// The text with comments, strings and characters blanked out, line for line.
pub(crate) fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |it| it + 2), ""),
            '"' => (string_len(rest), "\"\""),
            'r' if raw_len(rest).is_some() && !ends_in_word(&out) => {
                (raw_len(rest).unwrap(), "\"\"")
            }
            '\'' => match char_len(rest) {
                Some(len) => (len, "' '"),
                None => (1, "'"),
            },
            _ => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        out.push_str(kept);
        out.extend(rest[..skipped].chars().filter(|it| *it == '\n'));
        rest = &rest[skipped..];
    }
    out
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(|it| it.is_alphanumeric() || it == '_')
}

/// Length of the string literal that `text` starts with.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string literal that `text` starts with.
fn raw_len(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|it| *it == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text[open + 1..].find(&close).map_or(text.len(), |it| open + 1 + it + close.len());
    Some(end)
}

/// Length of the character literal that `text` starts with; `None` for a lifetime.
fn char_len(text: &str) -> Option<usize> {
    let inner = &text[1..];
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|it| 1 + 2 + it + 1);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then(|| 1 + first.len_utf8() + 1)
}
