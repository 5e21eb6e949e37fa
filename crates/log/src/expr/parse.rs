//! SQL text to an expression.
//!
//! The tokens come from `sqlparser`, so strings, quotes, comments and numbers are read as every
//! SQL tool reads them. The tree is built here, by recursive descent over those tokens, for two
//! reasons. A general SQL parser accepts a whole language of which a filter is a small corner, and
//! knows nothing to say about the rest but its internal names; here what is not supported is named
//! with its place. And its trees nest once per operator, so that a filter of ten thousand terms, or
//! a hostile one, exhausts the stack when the tree is dropped; here a chain of `AND` or `OR` is one
//! flat list, and everything that does nest is counted against one limit.
//!
//! ```text
//!   or         and ( OR and )*
//!   and        not ( AND not )*
//!   not        NOT* predicate
//!   predicate  sum ( cmp sum | IS [NOT] NULL|TRUE|FALSE | [NOT] IN | [NOT] BETWEEN | [NOT] LIKE )?
//!   sum        product ( + - product )*
//!   product    unary ( * / % unary )*
//!   unary      ( + - )* primary
//!   primary    number | 'text' | X'00ff' | DATE 'text' | TRUE | FALSE | NULL
//!            | name ( . name )* | CAST ( or AS type ) | ( or )
//! ```

use std::str::FromStr;

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::bind::invalid;
use super::print::RESERVED;
use super::{ArithmeticOp, CompareOp, Expr, Pattern, number};
use crate::error::{Error, Result};
use crate::schema::{PrimitiveType, type_of_name};
use crate::value::Value;

mod tokens;
use tokens::{describe, lower};

/// Longest text of an expression, in bytes: far above any list of keys that a person or a program
/// sensibly sends, and small enough that its tokens are no burden.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Parses the SQL text of a filter.
///
/// # Errors
///
/// `invalid-expression` with the place in the text: what is not understood or not supported, text
/// over 1 MiB, nesting deeper than
/// [`EXPR_DEPTH_MAX`](crate::limits::EXPR_DEPTH_MAX).
///
/// ```
/// use lakebed_log::expr::Expr;
///
/// let error = "a > 1 and lower(b) = 'x'".parse::<Expr>().unwrap_err();
/// assert_eq!(error.to_string(), "expression, column 11: function `lower` is not supported");
/// ```
impl FromStr for Expr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Expr> {
        if TEXT_BYTES_MAX < text.len() {
            let what =
                format!("text of {} bytes is over the limit of {TEXT_BYTES_MAX} bytes", text.len());
            return Err(invalid(what).at("expression"));
        }
        let mut parser = Parser::new(text)?;
        let (expr, _) = parser.or()?;
        if *parser.peek() != Token::EOF {
            return Err(parser.unexpected("the end"));
        }
        Ok(expr)
    }
}

struct Parser {
    /// Without white space and comments.
    tokens: Vec<TokenWithSpan>,
    next: usize,
    /// Parentheses and casts open.
    depth: usize,
    copies: usize,
}

/// An expression and how deep it nests.
type Tree = (Expr, usize);

impl Parser {
    fn or(&mut self) -> Result<Tree> {
        self.chain("or", Parser::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Tree> {
        self.chain("and", Parser::not, Expr::And)
    }

    /// Terms with a word between them, as one flat list.
    fn chain(
        &mut self,
        word: &str,
        term: fn(&mut Parser) -> Result<Tree>,
        make: fn(Vec<Expr>) -> Expr,
    ) -> Result<Tree> {
        let (first, mut depth) = term(self)?;
        if !self.is_word(word) {
            return Ok((first, depth));
        }
        let mut terms = vec![first];
        while self.take_word(word) {
            let (next, its_depth) = term(self)?;
            depth = depth.max(its_depth);
            terms.push(next);
        }
        self.node(make(terms), depth)
    }

    fn not(&mut self) -> Result<Tree> {
        let mut count = 0;
        while self.take_word("not") {
            count += 1;
            self.check_depth(count)?;
        }
        let mut tree = self.predicate()?;
        for _ in 0..count {
            tree = self.node(tree.0.not(), tree.1)?;
        }
        Ok(tree)
    }

    fn predicate(&mut self) -> Result<Tree> {
        let left = self.sum()?;
        let tree = if let Some(op) = self.comparison() {
            self.advance();
            let right = self.sum()?;
            self.node(left.0.compare(op, right.0), left.1.max(right.1))?
        } else if *self.peek() == Token::Spaceship {
            self.advance();
            let right = self.sum()?;
            self.null_safe_equal(left, right)?
        } else if self.take_word("is") {
            self.is(left)?
        } else {
            let negated = self.is_word("not");
            if negated {
                self.advance();
            }
            let tree = if self.take_word("in") {
                self.in_list(left)?
            } else if self.take_word("between") {
                self.between(left)?
            } else if self.take_word("like") {
                self.like(left)?
            } else if negated {
                return Err(self.unexpected("`in`, `between` or `like`"));
            } else {
                return Ok(left);
            };
            if negated { self.node(tree.0.not(), tree.1)? } else { tree }
        };
        let chained = self.comparison().is_some()
            || *self.peek() == Token::Spaceship
            || ["is", "in", "between", "like", "not"].iter().any(|it| self.is_word(it));
        if chained {
            let what = format!(
                "conditions do not chain: put parentheses around what comes before {}",
                describe(self.peek())
            );
            return Err(self.invalid(what));
        }
        Ok(tree)
    }

    /// `a <=> b`: equal, or both null; never null itself.
    fn null_safe_equal(&mut self, (a, a_depth): Tree, (b, b_depth): Tree) -> Result<Tree> {
        let both = a_depth.max(b_depth) + 2;
        let plain = |it: &Expr| matches!(it, Expr::Literal(Some(_)) | Expr::Text(_));
        match (a, b) {
            (a, Expr::Literal(None)) | (Expr::Literal(None), a) => self.node(a.is_null(), a_depth),
            (a, b) if plain(&b) => {
                let known = self.copy(&a)?.is_not_null();
                self.node(Expr::And(vec![a.eq(b), known]), both)
            }
            (a, b) => {
                let (a2, b2) = (self.copy(&a)?, self.copy(&b)?);
                let (a3, b3) = (self.copy(&a)?, self.copy(&b)?);
                let neither = Expr::And(vec![a.eq(b), a2.is_not_null(), b2.is_not_null()]);
                let nulls = Expr::And(vec![a3.is_null(), b3.is_null()]);
                self.node(Expr::Or(vec![neither, nulls]), both + 1)
            }
        }
    }

    /// What follows `IS`.
    fn is(&mut self, (it, depth): Tree) -> Result<Tree> {
        let negated = self.take_word("not");
        let (tree, depth) = if self.take_word("null") {
            (it.is_null(), depth + 1)
        } else if self.is_word("true") || self.is_word("false") {
            let known = self.copy(&it)?.is_not_null();
            let wanted = if self.is_word("true") { it } else { it.not() };
            self.advance();
            (Expr::And(vec![wanted, known]), depth + 3)
        } else {
            return Err(self.unexpected("`null`, `true` or `false`"));
        };
        self.node(if negated { tree.not() } else { tree }, depth)
    }

    fn in_list(&mut self, (it, mut depth): Tree) -> Result<Tree> {
        self.expect(&Token::LParen, "`(`")?;
        let mut list = Vec::new();
        while *self.peek() != Token::RParen {
            if !list.is_empty() {
                self.expect(&Token::Comma, "`,` or `)`")?;
            }
            let (item, its_depth) = self.sum()?;
            depth = depth.max(its_depth);
            list.push(item);
        }
        self.advance();
        self.node(Expr::In(Box::new(it), list), depth)
    }

    fn between(&mut self, (it, depth): Tree) -> Result<Tree> {
        let (low, low_depth) = self.sum()?;
        if !self.take_word("and") {
            return Err(self.unexpected("`and`"));
        }
        let (high, high_depth) = self.sum()?;
        let again = self.copy(&it)?;
        let both = Expr::And(vec![it.gt_eq(low), again.lt_eq(high)]);
        self.node(both, depth.max(low_depth).max(high_depth) + 1)
    }

    fn like(&mut self, (it, depth): Tree) -> Result<Tree> {
        let pattern_at = self.next;
        let pattern = self.text("a like pattern")?;
        let mut escape = None;
        if self.take_word("escape") {
            let mark_at = self.next;
            let mark = self.text("an escape character")?;
            let mut chars = mark.chars();
            escape = chars.next();
            if escape.is_none() || chars.next().is_some() {
                self.next = mark_at;
                return Err(self.invalid(format!("escape `{mark}` is not one character")));
            }
        }
        if let Err(error) = Pattern::new(&pattern, escape) {
            self.next = pattern_at;
            return Err(self.invalid(error.message()));
        }
        self.node(Expr::Like { expr: Box::new(it), pattern, escape }, depth)
    }

    fn sum(&mut self) -> Result<Tree> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Token::Plus => ArithmeticOp::Add,
                Token::Minus => ArithmeticOp::Subtract,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.product()?;
            left = self.node(left.0.arithmetic(op, right.0), left.1.max(right.1))?;
        }
    }

    fn product(&mut self) -> Result<Tree> {
        let mut left = self.unary()?;
        loop {
            let op = match self.peek() {
                Token::Mul => ArithmeticOp::Multiply,
                Token::Div => ArithmeticOp::Divide,
                Token::Mod => ArithmeticOp::Modulo,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.unary()?;
            left = self.node(left.0.arithmetic(op, right.0), left.1.max(right.1))?;
        }
    }

    /// Signs. One before a number belongs to it, or the least integer could not be written.
    fn unary(&mut self) -> Result<Tree> {
        let mut negative = false;
        loop {
            match self.peek() {
                Token::Minus => negative = !negative,
                Token::Plus => {}
                _ => break,
            }
            self.advance();
        }
        if let Token::Number(digits, _) = self.peek() {
            let digits = if negative { format!("-{digits}") } else { digits.clone() };
            let value = number::parse(&digits)
                .ok_or_else(|| self.invalid(format!("number `{digits}` is out of range")))?;
            self.advance();
            return Ok((Expr::Literal(Some(value)), 1));
        }
        let (it, depth) = self.primary()?;
        if negative { self.node(-it, depth) } else { Ok((it, depth)) }
    }

    fn primary(&mut self) -> Result<Tree> {
        let leaf = match self.peek().clone() {
            Token::SingleQuotedString(text) => Expr::Text(text),
            Token::HexStringLiteral(digits) => match hex(&digits) {
                Some(bytes) => Expr::Literal(Some(Value::Binary(bytes))),
                None => return Err(self.invalid("binary literal has an odd number of digits")),
            },
            Token::LParen => {
                self.advance();
                let inner = self.nested()?;
                self.expect(&Token::RParen, "`)`")?;
                return Ok(inner);
            }
            Token::Word(word) => return self.word(&word),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance();
        Ok((leaf, 1))
    }

    /// A name, a typed literal, or a word with a meaning.
    fn word(&mut self, word: &Word) -> Result<Tree> {
        if word.quote_style.is_some() {
            return self.column();
        }
        let leaf = match lower(&word.value).as_str() {
            "null" => Expr::Literal(None),
            "true" => Expr::Literal(Some(Value::Boolean(true))),
            "false" => Expr::Literal(Some(Value::Boolean(false))),
            "cast" => return self.cast(),
            it if RESERVED.contains(&it) || it == "select" => {
                return Err(self.unexpected("a value"));
            }
            _ => match self.peek_second() {
                Token::SingleQuotedString(text) => return self.typed(&text.clone()),
                Token::LParen => {
                    let what = format!("function `{}` is not supported", word.value);
                    return Err(self.invalid(what));
                }
                _ => return self.column(),
            },
        };
        self.advance();
        Ok((leaf, 1))
    }

    fn column(&mut self) -> Result<Tree> {
        let mut path = Vec::new();
        loop {
            match self.peek() {
                Token::Word(word) => path.push(word.value.clone()),
                _ => return Err(self.unexpected("a name")),
            }
            self.advance();
            if *self.peek() != Token::Period {
                return Ok((Expr::Column(path), 1));
            }
            self.advance();
        }
    }

    /// `DATE '2024-01-01'` and the like.
    fn typed(&mut self, text: &str) -> Result<Tree> {
        let place = self.next;
        let of = self.data_type()?;
        let value = Value::from_literal(text, of).map_err(|it| {
            self.next = place;
            self.invalid(it.message())
        })?;
        self.advance();
        Ok((Expr::Literal(Some(value)), 1))
    }

    fn cast(&mut self) -> Result<Tree> {
        self.advance();
        self.expect(&Token::LParen, "`(`")?;
        let (it, depth) = self.nested()?;
        if !self.take_word("as") {
            return Err(self.unexpected("`as`"));
        }
        let to = self.data_type()?;
        self.expect(&Token::RParen, "`)`")?;
        self.node(it.cast(to), depth)
    }

    /// What parentheses enclose: the one place that recurses.
    fn nested(&mut self) -> Result<Tree> {
        self.depth += 1;
        self.check_depth(self.depth)?;
        let tree = self.or()?;
        self.depth -= 1;
        Ok(tree)
    }

    fn data_type(&mut self) -> Result<PrimitiveType> {
        let Token::Word(Word { value: name, quote_style: None, .. }) = self.peek().clone() else {
            return Err(self.unexpected("a type"));
        };
        let lower = lower(&name);
        if matches!(lower.as_str(), "decimal" | "dec" | "numeric") {
            return self.decimal_type();
        }
        let known = type_of_name(&lower)
            .filter(|it| !matches!(it, PrimitiveType::Void | PrimitiveType::Variant));
        let Some(of) = known else {
            return Err(self.invalid(format!("type `{name}` is not supported")));
        };
        self.advance();
        if of == PrimitiveType::Double {
            self.take_word("precision");
        }
        Ok(of)
    }

    /// `decimal(p, s)`, `decimal(p)`, or `decimal` for `decimal(10,0)`.
    fn decimal_type(&mut self) -> Result<PrimitiveType> {
        self.advance();
        let (mut precision, mut scale) = (10, 0);
        if *self.peek() == Token::LParen {
            self.advance();
            precision = self.small()?;
            if *self.peek() == Token::Comma {
                self.advance();
                scale = self.small()?;
            }
            if !(1..=38).contains(&precision) || precision < scale {
                let what = format!("type `decimal({precision},{scale})` is not within 38 digits");
                return Err(self.invalid(what));
            }
            self.expect(&Token::RParen, "`)`")?;
        }
        Ok(PrimitiveType::Decimal { precision, scale })
    }

    fn small(&mut self) -> Result<u8> {
        match self.peek() {
            Token::Number(digits, false) if let Ok(it) = digits.parse() => {
                self.advance();
                Ok(it)
            }
            _ => Err(self.unexpected("a number of digits")),
        }
    }

    fn text(&mut self, what: &str) -> Result<String> {
        match self.peek().clone() {
            Token::SingleQuotedString(text) => {
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(&format!("{what} in single quotes"))),
        }
    }

    fn comparison(&self) -> Option<CompareOp> {
        Some(match self.peek() {
            Token::Eq | Token::DoubleEq => CompareOp::Eq,
            Token::Neq => CompareOp::NotEq,
            Token::Lt => CompareOp::Lt,
            Token::LtEq => CompareOp::LtEq,
            Token::Gt => CompareOp::Gt,
            Token::GtEq => CompareOp::GtEq,
            _ => return None,
        })
    }
}

/// Bytes of pairs of hex digits.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}
