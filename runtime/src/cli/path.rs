//! Names as parts of URLs. An object is `@` and its id, or its percent-encoded name; a name that begins with `@` is
//! sent as `%40…`, so the two never meet.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::id::{ClassName, IdError, ObjectId};

/// What a segment or a query value may hold unencoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What a target typed as a URL may not hold. `%` stays: it begins what is encoded already.
const TARGET: &AsciiSet = &CONTROLS
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

/// Any text as one path segment or query value.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// `alice`, or `@` and 64 hex digits: one path segment that reaches that object.
pub fn object(text: &str) -> String {
    if is_id(text) { text.into() } else { segment(text) }
}

/// `?a=1&b=2` of the pairs that have a value; empty when none has.
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

/// `CLASS/NAME[/path][?query]` as a path of the data listener. It is typed like a URL: `%20` is a space in a name and `/`
/// ends the name.
pub fn target(text: &str) -> Result<String, String> {
    let shape = || "write CLASS/NAME[/PATH][?QUERY], for example counter/alice/add?n=2".to_owned();
    let (class, rest) = text.strip_prefix('/').unwrap_or(text).split_once('/').ok_or_else(shape)?;
    let class = ClassName::parse(class).map_err(|error: IdError| error.to_string())?;
    let (name, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if name.is_empty() {
        return Err(shape());
    }
    let mut encoded = utf8_percent_encode(name, TARGET).to_string();
    if name.starts_with('@') && !is_id(name) {
        encoded.replace_range(..1, "%40");
    }
    Ok(format!("/{class}/{encoded}{}", utf8_percent_encode(path, TARGET)))
}

fn is_id(text: &str) -> bool {
    text.strip_prefix('@').is_some_and(|id| ObjectId::from_hex(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "@59002eb8cf872e541722977a258a12d6a93bbe8192b502e1c0cb250aa91af234";

    #[test]
    fn names_become_one_segment() {
        assert_eq!(object("alice"), "alice");
        assert_eq!(object("a/b c%?#é"), "a%2Fb%20c%25%3F%23%C3%A9");
        assert_eq!(object("@bob"), "%40bob");
        assert_eq!(object(ID), ID);
        assert_eq!(object(&ID.to_uppercase()), ID.to_uppercase().replace('@', "%40"));
    }

    #[test]
    fn targets_are_typed_like_urls() {
        for (typed, path) in [
            ("counter/alice", "/counter/alice".to_owned()),
            ("/counter/alice", "/counter/alice".to_owned()),
            ("counter/alice/", "/counter/alice/".to_owned()),
            ("counter/alice?n=2", "/counter/alice?n=2".to_owned()),
            ("counter/alice/add?n=2&m=a b", "/counter/alice/add?n=2&m=a%20b".to_owned()),
            ("counter/a%2Fb/x/y", "/counter/a%2Fb/x/y".to_owned()),
            ("counter/é#1", "/counter/%C3%A9%231".to_owned()),
            ("counter/@bob/@x", "/counter/%40bob/@x".to_owned()),
            (&format!("counter/{ID}/x"), format!("/counter/{ID}/x")),
        ] {
            assert_eq!(target(typed).as_deref(), Ok(path.as_str()));
        }
        for bad in ["counter", "counter/", "counter/?q", "counter//x", "Counter/x", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_hold_what_is_given() {
        assert_eq!(query(&[("a", None), ("b", None)]), "");
        assert_eq!(query(&[("a", Some("1&2")), ("b", None), ("c", Some("@ "))]), "?a=1%262&c=%40%20");
    }
}
