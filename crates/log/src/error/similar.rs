//! What somebody may have meant who wrote a name that is not known.

/// Characters of a name that are compared; a longer one is no slip of the hand.
const CHARS_MAX: usize = 64;

/// The name that takes the fewest changes of a character, ignoring case.
///
/// ```
/// use lakebed_log::error::similar;
///
/// assert_eq!(similar(["origin", "dest"], "orgin"), Some("origin"));
/// assert_eq!(similar([], "orgin"), None);
/// ```
pub fn similar<'a>(names: impl IntoIterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(CHARS_MAX).collect();
    names.into_iter().min_by_key(|it| distance(&wanted, it))
}

/// Levenshtein's distance, ignoring case.
fn distance(wanted: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (at, c) in name.to_lowercase().chars().take(CHARS_MAX).enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (w, above) in wanted.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(*w != c)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
