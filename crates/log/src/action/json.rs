//! A strict reader of JSON text.
//!
//! A log line decides what a table is, so two readers must never see two tables in one line.
//! General JSON libraries let through what we must not: a key given twice (they differ in which one
//! wins), an escaped half of a surrogate pair, 12.0 for an integer. They also build a tree, and a
//! commit is mostly one long string of statistics that the caller will not look at. This reader
//! checks all of a document, hands out strings borrowed from it, and allocates for nothing that is
//! skipped.
//!
//! A document is one line: a line feed is not white space here, and ends it.

use std::borrow::Cow;

use hashbrown::HashSet;
use serde_json::{Map, Number, Value as Json};

use crate::error::{Code, Error, Result};
use crate::limits::JSON_DEPTH_MAX;

/// Reads documents out of `text`, one after the other.
#[derive(Debug)]
pub(crate) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// What the next value is, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// A string as it stands between its quotes, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawString<'a> {
    text: &'a str,
    escaped: bool,
}

/// The keys of one object. Few objects have many, so a scan is cheaper than hashing, up to a point.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

/// Up to how many keys are compared one by one.
const FEW_KEYS: usize = 16;

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Parser<'a> {
        Parser { text, at: 0, depth: 0 }
    }

    /// Where the reader stands, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Nothing left?
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Steps over white space, then over one line feed. `false` if something else stands there.
    pub(crate) fn end_line(&mut self) -> bool {
        self.skip_space();
        match self.peek() {
            Some(b'\n') => {
                self.at += 1;
                true
            }
            None => true,
            Some(_) => false,
        }
    }

    /// Kind of the next value.
    pub(crate) fn kind(&mut self) -> Result<Kind> {
        self.skip_space();
        match self.peek() {
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'"') => Ok(Kind::String),
            Some(b'[') => Ok(Kind::Array),
            Some(b'{') => Ok(Kind::Object),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Reads an object; `field` must take the value of each key.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Parser<'a>, &Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.open(b'{')?;
        let mut keys = Keys::default();
        if self.close(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.raw_string()?.unescape();
            self.expect(b':')?;
            if keys.contains(&key) {
                return Err(corrupt(format!("key `{}` stands twice in one object", short(&key))));
            }
            field(self, &key)?;
            keys.insert(key);
            if !self.comma(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array; `element` must take each value.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Parser<'a>) -> Result<()>,
    ) -> Result<()> {
        self.open(b'[')?;
        if self.close(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.comma(b']')? {
                return Ok(());
            }
        }
    }

    /// Checks a value and drops it.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.kind()? {
            Kind::Null => self.null(),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::String => self.raw_string().map(drop),
            Kind::Array => self.array(Parser::skip),
            Kind::Object => self.object(|it, _| it.skip()),
        }
    }

    /// A value as a tree, for what is kept as it is. A number past the range of a double becomes
    /// its text: nobody computes with it, and it must not be lost.
    pub(crate) fn tree(&mut self) -> Result<Json> {
        Ok(match self.kind()? {
            Kind::Null => {
                self.null()?;
                Json::Null
            }
            Kind::Boolean => Json::Bool(self.boolean()?),
            Kind::Number => {
                let text = self.number()?;
                let number = match (text.parse::<i64>(), text.parse::<u64>()) {
                    (Ok(number), _) if text != "-0" => Some(Number::from(number)),
                    (_, Ok(number)) => Some(Number::from(number)),
                    _ => text.parse().ok().and_then(Number::from_f64),
                };
                number.map_or_else(|| Json::String(text.to_string()), Json::Number)
            }
            Kind::String => Json::String(self.raw_string()?.unescape().into_owned()),
            Kind::Array => {
                let mut elements = Vec::new();
                self.array(|it| {
                    elements.push(it.tree()?);
                    Ok(())
                })?;
                Json::Array(elements)
            }
            Kind::Object => {
                let mut fields = Map::new();
                self.object(|it, key| {
                    fields.insert(key.to_string(), it.tree()?);
                    Ok(())
                })?;
                Json::Object(fields)
            }
        })
    }

    pub(crate) fn null(&mut self) -> Result<()> {
        self.word("null")
    }

    pub(crate) fn boolean(&mut self) -> Result<bool> {
        if self.peek() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// The text of a number, checked against the grammar.
    pub(crate) fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let integer = self.digits();
        if integer == 0 {
            return Err(self.unexpected("a digit"));
        }
        let leading_zero = integer > 1 && self.byte_at(self.at - integer) == Some(b'0');
        if leading_zero {
            return Err(corrupt("a number starts with 0"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// A string, checked: no control character, no unknown escape, no half of a surrogate pair.
    pub(crate) fn raw_string(&mut self) -> Result<RawString<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string"));
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|it| !is_plain(*it));
            let Some(plain) = plain else {
                return Err(corrupt("a string has no end"));
            };
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(RawString { text, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(b'\n') => return Err(corrupt("a string has no end")),
                other => {
                    let byte = other.unwrap_or_default();
                    return Err(corrupt(format!("control character {byte:#04x} in a string")));
                }
            }
        }
    }

    /// Checks one escape.
    fn escape(&mut self) -> Result<()> {
        match self.byte_at(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let (_, bytes) =
                    self.text.as_bytes().get(self.at..).and_then(unicode_escape).ok_or_else(
                        || corrupt("a string holds a `\\u` escape that is no character"),
                    )?;
                self.at += bytes;
                Ok(())
            }
            _ => Err(corrupt("a string holds an unknown escape")),
        }
    }

    /// Steps into an array or object.
    fn open(&mut self, bracket: u8) -> Result<()> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            let what = format!("JSON is nested deeper than {JSON_DEPTH_MAX}");
            return Err(Error::new(Code::LimitExceeded, what));
        }
        Ok(())
    }

    /// Steps out if the closing bracket comes next.
    fn close(&mut self, bracket: u8) -> bool {
        self.skip_space();
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    /// After an element: is there another?
    fn comma(&mut self, bracket: u8) -> Result<bool> {
        if self.close(bracket) {
            return Ok(false);
        }
        if self.peek() != Some(b',') {
            return Err(self.unexpected(&format!("`,` or `{}`", char::from(bracket))));
        }
        self.at += 1;
        Ok(true)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(self.unexpected(&format!("`{}`", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.text.get(self.at..).is_some_and(|it| it.starts_with(word)) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.byte_at(self.at)
    }

    fn byte_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn unexpected(&self, wanted: &str) -> Error {
        match self.text.get(self.at..).and_then(|it| it.chars().next()) {
            None | Some('\n') => corrupt(format!("the line ends where {wanted} should stand")),
            Some(found) => {
                corrupt(format!("`{}` stands where {wanted} should", found.escape_default()))
            }
        }
    }
}

impl<'a> RawString<'a> {
    /// Bytes between the quotes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The string that is meant.
    pub(crate) fn unescape(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.text);
        }
        let mut meant = String::with_capacity(self.text.len());
        let mut rest = self.text;
        while let Some((plain, escape)) = rest.split_once('\\') {
            meant.push_str(plain);
            let (character, tail) = match escape.as_bytes().first() {
                Some(b'u') => {
                    let at = rest.len() - escape.len() - 1;
                    let (character, bytes) = rest
                        .as_bytes()
                        .get(at..)
                        .and_then(unicode_escape)
                        .unwrap_or((char::REPLACEMENT_CHARACTER, 2));
                    (character, rest.get(at + bytes..))
                }
                other => (simple_escape(other.copied().unwrap_or_default()), escape.get(1..)),
            };
            meant.push(character);
            rest = tail.unwrap_or_default();
        }
        meant.push_str(rest);
        Cow::Owned(meant)
    }
}

impl<'a> Keys<'a> {
    fn contains(&self, key: &str) -> bool {
        self.few.iter().any(|it| it == key) || self.many.contains(key)
    }

    fn insert(&mut self, key: Cow<'a, str>) {
        if self.few.len() < FEW_KEYS {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// The character of an escape of one letter.
fn simple_escape(letter: u8) -> char {
    match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(other),
    }
}

/// The character of a `\uXXXX` escape, or of two that make up a surrogate pair, and their length.
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let first = u32::from(hex4(bytes)?);
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = u32::from(hex4(bytes.get(6..)?)?);
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let character = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Some((char::from_u32(character)?, 12))
}

/// The number of `\uXXXX`.
fn hex4(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |sum: u16, it| {
        let digit = char::from(*it).to_digit(16)?;
        Some(sum << 4 | u16::try_from(digit).ok()?)
    })
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::CorruptLog, what)
}

/// Text of unknown length and content for a message.
pub(crate) fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut shown: String =
        text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push_str("..");
    }
    shown
}
