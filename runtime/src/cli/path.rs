//! Encoding of texts in URLs. An object is `@` and its id, or its percent-encoded name; a name that begins with `@` is
//! sent as `%40…`, so the two cannot be confused. `target` parses the user's input.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::ObjectId;

/// The characters to encode in a segment or a query value.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The characters to encode in a path that was typed as a URL. `%` stays: it begins an escape that is already encoded.
const TYPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Encodes any text as one path segment or query value.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Returns `?a=1&b=2` of the pairs that have a value; empty if none has.
pub fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        if let Some(value) = value {
            let separator = if query.is_empty() { '?' } else { '&' };
            let _ = write!(query, "{separator}{key}={}", segment(value));
        }
    }
    query
}

/// Encodes a typed path with its query below an object: encodes what a URL may not contain, and keeps existing escapes.
pub fn below(text: &str) -> String {
    utf8_percent_encode(text, TYPED).to_string()
}

/// Reports whether a text is `@` and an id of 64 lowercase hex digits.
pub fn is_id(text: &str) -> bool {
    text.strip_prefix('@').is_some_and(|id| ObjectId::from_hex(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "@59002eb8cf872e541722977a258a12d6a93bbe8192b502e1c0cb250aa91af234";

    #[test]
    fn ids_are_told_from_names() {
        assert!(is_id(ID));
        for name in [&ID[1..], &ID[..64], &ID.to_uppercase(), "@bob", "bob", ""] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn texts_become_one_segment() {
        assert_eq!(segment("alice"), "alice");
        assert_eq!(segment("a/b c%?#é@"), "a%2Fb%20c%25%3F%23%C3%A9%40");
        assert_eq!(below("/add%20?n=2&m=a b#é"), "/add%20?n=2&m=a%20b%23%C3%A9");
    }

    #[test]
    fn queries_hold_what_is_given() {
        assert_eq!(query(&[("a", None), ("b", None)]), "");
        assert_eq!(query(&[("a", Some("1&2")), ("b", None), ("c", Some("@ "))]), "?a=1%262&c=%40%20");
    }
}
