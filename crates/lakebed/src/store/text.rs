//! Text of locations and of what stores say: secrets left out, percent signs decoded.

/// `text` without what may be a secret: the user part of URLs, and everything of a word from its
/// query or fragment on, as signed requests carry their signature there.
pub(crate) fn redact(text: &str) -> String {
    let ends = |it: char| it.is_whitespace() || "\"'`<>".contains(it);
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(ends) {
        let end = word.chars().next_back().filter(|it| ends(*it));
        let word = word.strip_suffix(ends).unwrap_or(word);
        let (scheme, rest) = match word.split_once("://") {
            Some((scheme, url)) if names_container(scheme, url) => (Some(scheme), url),
            Some((scheme, url)) => (Some(scheme), without_user(url)),
            None => (None, word),
        };
        if let Some(scheme) = scheme {
            out.push_str(scheme);
            out.push_str("://");
        }
        let query = rest.find(['?', '#']).filter(|_| scheme.is_some() || rest.contains('='));
        out.push_str(query.and_then(|it| rest.get(..it)).unwrap_or(rest));
        out.extend(end);
    }
    out
}

/// Azure has the container before the `@`, where others have a user; with a colon it is a user.
fn names_container(scheme: &str, url: &str) -> bool {
    let host = url.split(['/', '?', '#']).next().unwrap_or(url);
    let schemes = ["abfs", "abfss", "wasb", "wasbs", "az", "azure", "adl"];
    schemes.contains(&scheme) && !host.contains(':') && host.matches('@').count() == 1
}

/// `url`, from behind the scheme on, without `user:password@`. A password may hold anything, so
/// where there is a colon before the first slash the last `@` ends it.
fn without_user(url: &str) -> &str {
    let host = url.split(['/', '?', '#']).next().unwrap_or(url);
    let user = if host.contains(':') { url.rfind('@') } else { host.rfind('@') };
    user.and_then(|it| url.get(it + 1..)).unwrap_or(url)
}

/// Percent-encoded text, decoded; `None` if it is none, not UTF-8, or has a zero byte.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        bytes.push(value.and_then(|it| u8::try_from(it).ok()).filter(|it| *it != 0)?);
    }
    String::from_utf8(bytes).ok()
}
