//! The tokens of an expression: lexical rules, looking ahead, limits and complaints.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::{Parser, Tree};
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::expr::bind::invalid;
use crate::limits::EXPR_DEPTH_MAX;

/// The most nodes that spelling out `BETWEEN`, `<=>` and `IS TRUE` may copy. Nested in each other,
/// they would double the tree at every level.
const COPIES_MAX: usize = 1 << 16;

/// Words that other dialects give a meaning in an expression.
const FOREIGN: [&str; 10] = [
    "case", "collate", "exists", "glob", "ilike", "interval", "regexp", "rlike", "select",
    "similar",
];

/// The lexical rules: names in double quotes or backquotes, text in single quotes, no escapes but
/// doubled quotes.
#[derive(Debug)]
struct Filter;

impl Dialect for Filter {
    fn is_delimited_identifier_start(&self, c: char) -> bool {
        matches!(c, '"' | '`')
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_'
    }
}

/// Tokens, limits and complaints.
impl Parser {
    pub(super) fn new(text: &str) -> Result<Parser> {
        let mut tokens = Tokenizer::new(&Filter, text)
            .tokenize_with_location()
            .map_err(|it| invalid_at(it.location.line, it.location.column, lower(&it.message)))?;
        tokens.retain(|it| !matches!(it.token, Token::Whitespace(_)));
        Ok(Parser { tokens, next: 0, depth: 0, copies: 0 })
    }

    pub(super) fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::EOF, |it| &it.token)
    }

    pub(super) fn peek_second(&self) -> &Token {
        self.tokens.get(self.next + 1).map_or(&Token::EOF, |it| &it.token)
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        match self.peek() {
            Token::Word(it) => it.quote_style.is_none() && it.value.eq_ignore_ascii_case(word),
            _ => false,
        }
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &Token, what: &str) -> Result<()> {
        if self.peek() != token {
            return Err(self.unexpected(what));
        }
        self.advance();
        Ok(())
    }

    /// A node above parts that nest `depth` deep.
    pub(super) fn node(&self, expr: Expr, depth: usize) -> Result<Tree> {
        self.check_depth(depth + 1)?;
        Ok((expr, depth + 1))
    }

    pub(super) fn check_depth(&self, depth: usize) -> Result<()> {
        if EXPR_DEPTH_MAX < depth {
            let what = format!("expression nests deeper than the limit of {EXPR_DEPTH_MAX}");
            return Err(self.invalid(what));
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, expr: &Expr) -> Result<Expr> {
        expr.visit(&mut |_| self.copies += 1);
        if COPIES_MAX < self.copies {
            return Err(self.invalid("`between`, `<=>` or `is true` nest too deep"));
        }
        Ok(expr.clone())
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = self.peek();
        let foreign = match found {
            Token::Word(it) => it.quote_style.is_none() && FOREIGN.contains(&&*lower(&it.value)),
            Token::EOF
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::LParen
            | Token::RParen
            | Token::Comma
            | Token::Period => false,
            other => self.comparison().is_none() && !ARITHMETIC.contains(other),
        };
        self.invalid(if foreign {
            format!("{} is not supported", describe(found))
        } else {
            format!("expected {wanted}, found {}", describe(found))
        })
    }

    /// An error at the next token.
    pub(super) fn invalid(&self, what: impl Into<String>) -> Error {
        match self.tokens.get(self.next).map(|it| it.span.start) {
            Some(place) => invalid_at(place.line, place.column, what),
            None => invalid(what).at("expression, at its end"),
        }
    }
}

const ARITHMETIC: [Token; 5] = [Token::Plus, Token::Minus, Token::Mul, Token::Div, Token::Mod];

/// A token for a message.
pub(super) fn describe(token: &Token) -> String {
    let text = match token {
        Token::EOF => return "the end".to_owned(),
        other => other.to_string(),
    };
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("`{}...`", text.get(..at).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

pub(super) fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// An `invalid-expression` at a place of the text.
fn invalid_at(line: u64, column: u64, what: impl Into<String>) -> Error {
    let place = match line {
        1 => format!("expression, column {column}"),
        _ => format!("expression, line {line}, column {column}"),
    };
    invalid(what).at(place)
}
