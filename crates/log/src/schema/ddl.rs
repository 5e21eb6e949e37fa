//! A schema in words, as people type it.
//!
//! One function for each rule, and one character of lookahead:
//!
//! ```text
//!   schema  := field (',' field)*
//!   field   := name [':'] type ['not' 'null' | 'null'] ['comment' 'text']
//!   type    := word ['(' number [',' number] ')']
//!            | 'struct' '<' schema '>' | 'array' '<' part '>' | 'map' '<' type ',' part '>'
//!   part    := type ['not' 'null' | 'null']
//!   name    := word | "quoted" | `quoted`
//! ```

use serde_json::{Map, Value as Json};

use super::{ArrayType, DataType, MapType, PrimitiveType, StructField, StructType};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::limits;

pub(super) fn parse(text: &str) -> Result<StructType> {
    if text.trim_start().starts_with('{') {
        return StructType::from_json(text).map_err(as_argument);
    }
    let mut parser = Parser { text, rest: text };
    let fields = parser.fields(limits::SCHEMA_DEPTH_MAX)?;
    if !parser.rest.is_empty() {
        return Err(parser.expected("`,` or the end"));
    }
    StructType::new(fields).map_err(as_argument)
}

/// The name as the parser reads it back: in backquotes unless it is a plain word.
pub(super) fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(is_word);
    if plain { name.to_string() } else { format!("`{}`", name.replace('`', "``")) }
}

/// Rules of schemas that break here are broken by the caller, not by a stored table.
fn as_argument(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_code(Code::InvalidArgument).at("schema"),
        _ => error.at("schema"),
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

struct Parser<'a> {
    text: &'a str,
    /// What is left, which is always a suffix of the text.
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn fields(&mut self, depth_left: usize) -> Result<Vec<StructField>> {
        let mut fields = vec![self.field(depth_left)?];
        while self.take(',') {
            fields.push(self.field(depth_left)?);
        }
        Ok(fields)
    }

    fn field(&mut self, depth_left: usize) -> Result<StructField> {
        let name = self.name()?;
        self.take(':');
        let data_type = self.data_type(depth_left)?;
        let nullable = self.nullable()?;
        let mut metadata = Map::new();
        if self.take_word("comment") {
            let comment = self.quoted_by('\'')?.ok_or_else(|| self.expected("'text'"))?;
            metadata.insert("comment".to_string(), Json::String(comment));
        }
        Ok(StructField { name, data_type, nullable, metadata })
    }

    fn name(&mut self) -> Result<String> {
        for quote in ['"', '`'] {
            if let Some(name) = self.quoted_by(quote)? {
                return Ok(name);
            }
        }
        match self.word() {
            "" => Err(self.expected("the name of a column")),
            word => Ok(word.to_string()),
        }
    }

    fn data_type(&mut self, depth_left: usize) -> Result<DataType> {
        let Some(below) = depth_left.checked_sub(1) else {
            let what = format!("the schema is nested deeper than {}", limits::SCHEMA_DEPTH_MAX);
            return Err(self.at_here(Error::new(Code::LimitExceeded, what)));
        };
        let start = self.clone_here();
        let word = self.word();
        let data_type = match word.to_ascii_lowercase().as_str() {
            "" => return Err(self.expected("a type")),
            "struct" => {
                self.require('<')?;
                let fields = self.fields(below)?;
                self.require('>')?;
                let made = StructType::new(fields).map_err(|it| start.at_here(as_argument(it)));
                DataType::Struct(made?)
            }
            "array" => {
                self.require('<')?;
                let (element, contains_null) = (self.data_type(below)?, self.nullable()?);
                self.require('>')?;
                DataType::Array(Box::new(ArrayType { element, contains_null }))
            }
            "map" => {
                self.require('<')?;
                let key = self.data_type(below)?;
                self.require(',')?;
                let (value, value_contains_null) = (self.data_type(below)?, self.nullable()?);
                self.require('>')?;
                DataType::Map(Box::new(MapType { key, value, value_contains_null }))
            }
            "decimal" | "numeric" | "dec" => self.decimal()?.into(),
            name => match primitive(name) {
                Some(it) => it.into(),
                None => return Err(start.wrong(format!("`{word}` is no type"))),
            },
        };
        if word.eq_ignore_ascii_case("double") {
            self.take_word("precision");
        }
        if self.rest.starts_with('(') {
            return Err(self.wrong(format!("`{word}` takes no length; a column has no such bound")));
        }
        Ok(data_type)
    }

    fn decimal(&mut self) -> Result<PrimitiveType> {
        if !self.take('(') {
            return Ok(PrimitiveType::Decimal { precision: 10, scale: 0 });
        }
        let start = self.clone_here();
        let precision = self.number()?;
        let scale = if self.take(',') { self.number()? } else { 0 };
        self.require(')')?;
        if !(1..=38).contains(&precision) || precision < scale {
            let what =
                format!("decimal({precision},{scale}) has not 1 to 38 digits with the scale");
            return Err(start.wrong(what));
        }
        Ok(PrimitiveType::Decimal { precision, scale })
    }

    fn number(&mut self) -> Result<u8> {
        let start = self.clone_here();
        let word = self.word();
        word.parse().map_err(|_| start.expected("a number of digits"))
    }

    /// `not null`, `null` or neither.
    fn nullable(&mut self) -> Result<bool> {
        if self.take_word("not") {
            if !self.take_word("null") {
                return Err(self.expected("`null`"));
            }
            return Ok(false);
        }
        self.take_word("null");
        Ok(true)
    }

    /// Text between quotes, where the quote itself is doubled; `None` if no quote begins here.
    fn quoted_by(&mut self, quote: char) -> Result<Option<String>> {
        self.skip_space();
        let start = self.clone_here();
        let Some(mut rest) = self.rest.strip_prefix(quote) else { return Ok(None) };
        let mut text = String::new();
        loop {
            let Some((part, after)) = rest.split_once(quote) else {
                return Err(start.wrong(format!("a quote {quote} is not closed")));
            };
            text.push_str(part);
            match after.strip_prefix(quote) {
                Some(after_pair) => {
                    text.push(quote);
                    rest = after_pair;
                }
                None => {
                    self.rest = after;
                    self.skip_space();
                    return Ok(Some(text));
                }
            }
        }
    }

    /// The next word, empty if none begins here.
    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|it| !is_word(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_space();
        word
    }

    fn take_word(&mut self, word: &str) -> bool {
        let before = self.rest;
        let found = self.word().eq_ignore_ascii_case(word);
        if !found {
            self.rest = before;
        }
        found
    }

    fn take(&mut self, char: char) -> bool {
        self.skip_space();
        let after = self.rest.strip_prefix(char);
        self.rest = after.unwrap_or(self.rest);
        self.skip_space();
        after.is_some()
    }

    fn require(&mut self, char: char) -> Result<()> {
        if self.take(char) { Ok(()) } else { Err(self.expected(&format!("`{char}`"))) }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// A mark of the place, for errors that are found after it.
    fn clone_here(&self) -> Parser<'a> {
        Parser { text: self.text, rest: self.rest.trim_start() }
    }

    fn expected(&self, what: &str) -> Error {
        const SHOWN_CHARS_MAX: usize = 20;
        let found: String = self.rest.chars().take(SHOWN_CHARS_MAX).collect();
        match found.as_str() {
            "" => self.wrong(format!("expected {what}, found the end")),
            found => self.wrong(format!("expected {what}, found `{found}`")),
        }
    }

    fn wrong(&self, what: String) -> Error {
        self.at_here(Error::invalid(what))
    }

    fn at_here(&self, error: Error) -> Error {
        let read = self.text.len() - self.rest.len();
        let before = self.text.get(..read).unwrap_or(self.text);
        error.at(format!("schema, at character {}", before.chars().count() + 1))
    }
}

/// The protocol's names and SQL's for types without parts, in lower case.
pub(crate) fn primitive(name: &str) -> Option<PrimitiveType> {
    let primitive = match name {
        "boolean" | "bool" => PrimitiveType::Boolean,
        "byte" | "tinyint" => PrimitiveType::Byte,
        "short" | "smallint" => PrimitiveType::Short,
        "integer" | "int" => PrimitiveType::Integer,
        "long" | "bigint" => PrimitiveType::Long,
        "float" | "real" => PrimitiveType::Float,
        "double" => PrimitiveType::Double,
        "string" | "text" | "varchar" => PrimitiveType::String,
        "binary" | "bytea" => PrimitiveType::Binary,
        "date" => PrimitiveType::Date,
        "timestamp" => PrimitiveType::Timestamp,
        "timestamp_ntz" => PrimitiveType::TimestampNtz,
        "void" => PrimitiveType::Void,
        "variant" => PrimitiveType::Variant,
        _ => return None,
    };
    Some(primitive)
}
