//! Patterns of LIKE, read once and matched many times.
//!
//! `%` cuts a pattern into segments. The first is anchored at the start of the text, the last at
//! its end, and those between are found leftmost first. Leftmost is never wrong, because whatever
//! a later segment could have used is still there; so there is no backtracking, and hostile
//! patterns cost at most their length times that of the text.

use super::bind::invalid;
use crate::error::Result;

/// A LIKE pattern ready to match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    first: Segment,
    /// Segments after each `%`; empty: no `%`, so the first is the whole pattern.
    rest: Vec<Segment>,
}

/// A piece without `%`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Segment {
    /// Plain characters; `None` is `_`.
    chars: Vec<Option<char>>,
    /// The same as text, if there is no `_`.
    plain: Option<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// `invalid-expression` if the pattern ends in the escape character.
    pub(crate) fn new(pattern: &str, escape: Option<char>) -> Result<Pattern> {
        let mut segments = vec![Vec::new()];
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let part = if Some(c) == escape {
                let next = chars.next().ok_or_else(|| {
                    invalid(format!("like pattern `{pattern}` ends in its escape character"))
                })?;
                Some(next)
            } else if c == '%' {
                segments.push(Vec::new());
                continue;
            } else if c == '_' {
                None
            } else {
                Some(c)
            };
            if let Some(last) = segments.last_mut() {
                last.push(part);
            }
        }
        let mut segments = segments.into_iter().map(Segment::new);
        let first = segments.next().unwrap_or_default();
        Ok(Pattern { first, rest: segments.collect() })
    }

    /// Does the whole text match?
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(mut text) = self.first.strip(text) else { return false };
        let Some((last, middle)) = self.rest.split_last() else { return text.is_empty() };
        for segment in middle {
            match segment.find(text) {
                Some(after) => text = after,
                None => return false,
            }
        }
        last.ends(text)
    }

    /// What every matching text starts with.
    pub(crate) fn prefix(&self) -> String {
        self.first.chars.iter().map_while(|it| *it).collect()
    }

    /// The one text that matches, if there is only one.
    pub(crate) fn exact(&self) -> Option<&str> {
        if self.rest.is_empty() { self.first.plain.as_deref() } else { None }
    }
}

impl Segment {
    fn new(chars: Vec<Option<char>>) -> Segment {
        let plain = chars.iter().copied().collect::<Option<String>>();
        Segment { chars, plain }
    }

    /// What is left of `text` after this segment at its start.
    fn strip<'a>(&self, text: &'a str) -> Option<&'a str> {
        if let Some(plain) = &self.plain {
            return text.strip_prefix(plain.as_str());
        }
        let mut left = text.chars();
        for wanted in &self.chars {
            let found = left.next()?;
            if wanted.is_some_and(|it| it != found) {
                return None;
            }
        }
        Some(left.as_str())
    }

    /// What is left of `text` after the leftmost place of this segment.
    fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        if let Some(plain) = &self.plain {
            return text.find(plain.as_str()).and_then(|at| text.get(at + plain.len()..));
        }
        let mut from = text.chars();
        loop {
            if let Some(after) = self.strip(from.as_str()) {
                return Some(after);
            }
            from.next()?;
        }
    }

    /// Does `text` end with this segment?
    fn ends(&self, text: &str) -> bool {
        if let Some(plain) = &self.plain {
            return text.ends_with(plain.as_str());
        }
        let mut left = text.chars();
        self.chars.iter().rev().all(|wanted| match (left.next_back(), wanted) {
            (Some(found), Some(wanted)) => found == *wanted,
            (found, None) => found.is_some(),
            (None, Some(_)) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    /// The only place that knows how patterns are made.
    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let it = Pattern::new(pattern, Some('!')).unwrap();
        assert_eq!(it.matches(text), expected, "{text:?} like {pattern:?}");
        assert!(!expected || text.starts_with(&it.prefix()));
        assert!(it.exact().is_none_or(|only| (only == text) == expected));
    }

    /// Runs, single characters and escapes, by characters and not by bytes.
    #[test]
    fn patterns() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("%%", "abc", true),
            ("a%", "abc", true),
            ("a%", "ba", false),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a%a", "a", false),
            ("a%a", "aa", true),
            ("%ab%ab", "ab", false),
            ("%ab%ab", "abab", true),
            ("%aab", "aaab", true),
            ("_", "", false),
            ("_", "\u{1f33c}", true),
            ("__", "\u{1f33c}", false),
            ("%_", "", false),
            ("_%_", "a", false),
            ("_%_", "ab", true),
            ("%a_c%", "xxabcxx", true),
            ("%a_c", "abcabd", false),
            ("a!%", "a%", true),
            ("a!%", "ab", false),
            ("a!_%", "a_b", true),
            ("a!!b", "a!b", true),
            ("a!bc", "abc", true),
            ("ABC", "abc", false),
        ];
        for (pattern, text, expected) in rows {
            check(pattern, text, expected);
        }
        assert!(Pattern::new("a!", Some('!')).is_err());
        assert!(Pattern::new("a!", None).unwrap().matches("a!"));
        assert_eq!(Pattern::new("ab_d%", None).unwrap().prefix(), "ab");
    }

    /// Many wildcards against a long text end soon.
    #[test]
    fn no_backtracking() {
        let pattern = Pattern::new(&"%a_".repeat(50), None).unwrap();
        assert!(!pattern.matches(&"a".repeat(99)));
        assert!(!pattern.matches(&format!("{}b", "aab".repeat(10))));
    }
}
