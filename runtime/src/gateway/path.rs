//! Parses paths: the class and the object that a request addresses.
//!
//! Paths are read as sent, since a framework's decoding would lose distinctions: `%2F` inside a name is part of the
//! name, and only a literal `@` introduces an id (a name that begins with @ is sent as `%40…`). A class name needs no
//! escapes, so it is taken literally. This module does not know which classes exist.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::{BAD_NAME, Problem};
use crate::base::{ClassKey, ClassName, ObjectAddress, ObjectId, ObjectName};

/// The parts of `/{class}/{object}[/{rest}]`, as sent. Any but the prefix may be empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The first segment.
    pub class: &'a str,
    /// The second segment.
    pub object: &'a str,
    /// Both with their slashes: the part that is cut off before the guest sees the path.
    pub prefix: &'a str,
}

impl<'a> Target<'a> {
    /// Splits a path. Returns none if it does not begin with a slash (`OPTIONS *`, `CONNECT`).
    pub fn of(path: &'a str) -> Option<Self> {
        let inner = path.strip_prefix('/')?;
        let (class, below) = inner.split_once('/').unwrap_or((inner, ""));
        let object = below.split_once('/').map_or(below, |(object, _)| object);
        let end = path.len().min(class.len() + object.len() + 2);
        Some(Self { class, object, prefix: &path[..end] })
    }
}

/// Returns the URI that a guest sees of one whose path begins with `prefix`: the rest, undecoded, `/` if it is empty,
/// and the query.
pub fn below(uri: &Uri, prefix: &str) -> Uri {
    let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
    let rest = match &whole[prefix.len()..] {
        "" => return Uri::default(),
        rest if rest.starts_with('/') => Uri::try_from(rest),
        query => Uri::try_from(format!("/{query}")),
    };
    rest.expect("what follows a slash in a valid path is a valid path")
}

/// Returns the object that a path segment of this class addresses: a percent-encoded name, or `@` and an id.
pub fn object(class: ClassName, key: &ClassKey, segment: &str) -> Result<ObjectAddress, Problem> {
    let (id, name) = match segment.strip_prefix('@') {
        Some(id) => (ObjectId::parse(key, id)?, None),
        None => {
            let name = ObjectName::parse(&decode(segment)?)?;
            (ObjectId::from_name(key, &name), Some(name))
        }
    };
    Ok(ObjectAddress { class, key: key.clone(), id, name })
}

/// Percent-decodes a segment that is no object.
pub(super) fn decoded(segment: &str) -> Result<Cow<'_, str>, Problem> {
    decode(segment)
}

/// Percent-decodes to UTF-8. A `%` without two hex digits is an error, not a literal: two spellings of a name that a
/// proxy could treat differently must not address two objects.
fn decode(segment: &str) -> Result<Cow<'_, str>, Problem> {
    let escaped = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !segment.split('%').skip(1).all(escaped) {
        return Err(Problem::new(
            &BAD_NAME,
            "the object name has a `%` without two hex digits; send `%` itself as %25",
        ));
    }
    let not_utf8 = |_| Problem::new(&BAD_NAME, "the object name is not UTF-8 after percent-decoding");
    percent_decode_str(segment).decode_utf8().map_err(not_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> ClassKey {
        ClassKey::new("key")
    }

    /// Parses a URI into `class|name or id|prefix|uri the guest sees`, or returns the error code.
    fn read(uri: &Uri) -> String {
        let Some(target) = Target::of(uri.path()) else { return "no path".into() };
        let address = ClassName::parse(target.class)
            .map_err(Problem::from)
            .and_then(|class| object(class, &key(), target.object));
        match address {
            Err(problem) => problem.code().into(),
            Ok(address) => {
                let object = address.name.map_or_else(|| format!("@{}", address.id), |name| name.to_string());
                format!("{}|{object}|{}|{}", address.class, target.prefix, below(uri, target.prefix))
            }
        }
    }

    #[test]
    fn paths_are_read_raw() {
        let id = ObjectId::unique(&key(), [7; 16]).to_string();
        let foreign = ObjectId::unique(&ClassKey::new("other"), [7; 16]).to_string();
        let (longest, too_long) = ("n".repeat(1024), "n".repeat(1025));
        let escaped_longest = "%C3%A4".repeat(512);
        for (uri, expected) in [
            ("/c/alice", "c|alice|/c/alice|/"),
            ("/c/alice/", "c|alice|/c/alice|/"),
            ("/c/alice?q=1", "c|alice|/c/alice|/?q=1"),
            ("/c/alice?", "c|alice|/c/alice|/?"),
            ("/c/alice?a/b", "c|alice|/c/alice|/?a/b"),
            ("/c/alice/x/y?q=%2F", "c|alice|/c/alice|/x/y?q=%2F"),
            ("/c/alice//x%20y/", "c|alice|/c/alice|//x%20y/"),
            ("/c/alice/%zz", "c|alice|/c/alice|/%zz"),
            ("http://host:1/c/alice/x", "c|alice|/c/alice|/x"),
            ("/c/a%2Fb/x", "c|a/b|/c/a%2Fb|/x"),
            ("/c/a+b", "c|a+b|/c/a+b|/"),
            ("/c/%40bob", "c|@bob|/c/%40bob|/"),
            ("/c/b@b", "c|b@b|/c/b@b|/"),
            ("/c/%E2%82%AC", "c|€|/c/%E2%82%AC|/"),
            ("/c/€", "c|€|/c/€|/"),
            ("/c/..", "c|..|/c/..|/"),
            ("/c/%2525", "c|%25|/c/%2525|/"),
            ("/c/%00", "c|\0|/c/%00|/"),
            (&format!("/c/@{id}/x"), &format!("c|@{id}|/c/@{id}|/x")),
            (&format!("/c/{longest}"), &format!("c|{longest}|/c/{longest}|/")),
            (&format!("/c/{escaped_longest}"), &format!("c|{}|/c/{escaped_longest}|/", "ä".repeat(512))),
            (&format!("/c/{too_long}"), "bad-name"),
            (&format!("/c/a{escaped_longest}"), "bad-name"),
            ("/c", "bad-name"),
            ("/c/", "bad-name"),
            ("/c//x", "bad-name"),
            ("/c?x", "bad-name"),
            ("/c/%", "bad-name"),
            ("/c/%4", "bad-name"),
            ("/c/%4g", "bad-name"),
            ("/c/%+4", "bad-name"),
            ("/c/a%%41", "bad-name"),
            ("/c/%FF", "bad-name"),
            ("/c/%C3/%A4", "bad-name"),
            ("/c/@", "bad-id"),
            (&format!("/c/@{}", &id[1..]), "bad-id"),
            (&format!("/c/@{id}0"), "bad-id"),
            (&format!("/c/@{}", id.to_uppercase()), "bad-id"),
            (&format!("/c/@{foreign}"), "id-of-other-class"),
            ("/", "bad-class"),
            ("//c/alice", "bad-class"),
            ("/C/alice", "bad-class"),
            ("/%63/alice", "bad-class"),
            ("*", "no path"),
            ("host:443", "no path"),
        ] {
            assert_eq!(read(&uri.parse().unwrap()), expected, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(bytes: Vec<u8>) {
            if let Ok(uri) = Uri::try_from(bytes) {
                read(&uri);
            }
        }

        /// Fragments that make interesting paths common. The path that the guest sees, appended to the prefix, is the
        /// path that was sent (a missing slash aside).
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec(prop::sample::select(
            vec!["/", "/", "c", "@", "%", "%4", "%41", "%2F", "%C3%A4", "€", "?", "#", "\"", "\u{7f}", ".."]), 0..12)) {
            if let Ok(uri) = Uri::try_from(format!("/c{}", pieces.concat())) {
                read(&uri);
                let target = Target::of(uri.path()).unwrap();
                let whole = uri.path_and_query().unwrap().as_str();
                let seen = below(&uri, target.prefix).to_string();
                prop_assert!(target.prefix.to_owned() + &seen == whole || target.prefix.to_owned() + &seen[1..] == whole);
            }
        }

        #[test]
        fn every_name_can_be_sent(name in "\\PC{1,40}") {
            let sent = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
            let class = ClassName::parse("c").unwrap();
            prop_assert_eq!(object(class, &key(), &sent).unwrap().name, Some(ObjectName::parse(&name).unwrap()));
        }
    }
}
