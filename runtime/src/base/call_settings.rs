//! The settings of a class about calls: the classes that it may call, and the methods that anyone may call.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ClassName;

/// The classes that a class may call, by the names that its code has for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, ClassName>")]
pub struct Calls(BTreeMap<String, ClassName>);

/// The methods of a class that may be called from outside, without the admin token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Methods {
    /// Their names, or the names of interfaces.
    #[serde(default)]
    pub public: PublicMethods,
}

/// Names of methods and interfaces, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct PublicMethods(Vec<String>);

/// The reason why settings about calls were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCalls {
    /// Not of the form NAME=CLASS.
    #[error("`{0}` is not NAME=CLASS; write for example `stock=stock,ROOM=chat-room`")]
    Form(String),
    /// Not a name that code may have for a class.
    #[error("`{0}` is not a name for a class: use 1 to 63 of A-Z, a-z, 0-9, _ and -")]
    Name(String),
    /// Not a name of a method.
    #[error("`{0}` is not the name of a public method: use 1 to 128 of A-Z, a-z, 0-9, _, -, . and /")]
    Method(String),
    /// Too many entries.
    #[error("a class has at most {0} of them")]
    TooMany(usize),
    /// Not a class name.
    #[error(transparent)]
    Class(#[from] super::id::IdError),
}

/// Entries of either setting: more than a project has classes or methods.
const ENTRIES_MAX: usize = 256;

impl Calls {
    /// Returns whether the class may call nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the class that has this name in the code of the class.
    pub fn get(&self, name: &str) -> Option<&ClassName> {
        self.0.get(name)
    }
}

impl TryFrom<BTreeMap<String, ClassName>> for Calls {
    type Error = BadCalls;

    fn try_from(calls: BTreeMap<String, ClassName>) -> Result<Self, BadCalls> {
        let fits = |name: &str| {
            (1..=63).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        match calls.keys().find(|name| !fits(name)) {
            Some(bad) => Err(BadCalls::Name(bad.chars().take(80).collect())),
            None if calls.len() > ENTRIES_MAX => Err(BadCalls::TooMany(ENTRIES_MAX)),
            None => Ok(Self(calls)),
        }
    }
}

/// Parses `NAME=CLASS,NAME=CLASS`; the empty text is none.
impl FromStr for Calls {
    type Err = BadCalls;

    fn from_str(text: &str) -> Result<Self, BadCalls> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(|entry| {
            let (name, class) =
                entry.split_once('=').ok_or_else(|| BadCalls::Form(entry.chars().take(80).collect()))?;
            Ok((name.trim().to_owned(), ClassName::parse(class.trim())?))
        });
        entries.collect::<Result<BTreeMap<_, _>, BadCalls>>()?.try_into()
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<_> = self.0.iter().map(|(name, class)| format!("{name}={class}")).collect();
        f.write_str(&entries.join(","))
    }
}

impl Methods {
    /// Returns whether nothing is set.
    pub fn is_default(&self) -> bool {
        self.public.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for PublicMethods {
    type Error = BadCalls;

    fn try_from(mut names: Vec<String>) -> Result<Self, BadCalls> {
        let fits = |name: &String| {
            (1..=128).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
        };
        if let Some(bad) = names.iter().find(|name| !fits(name)) {
            return Err(BadCalls::Method(bad.chars().take(80).collect()));
        }
        names.sort_unstable();
        names.dedup();
        if names.len() > ENTRIES_MAX { Err(BadCalls::TooMany(ENTRIES_MAX)) } else { Ok(Self(names)) }
    }
}

/// Parses `METHOD,METHOD`; the empty text is none.
impl FromStr for PublicMethods {
    type Err = BadCalls;

    fn from_str(text: &str) -> Result<Self, BadCalls> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect::<Vec<_>>().try_into()
    }
}

impl fmt::Display for PublicMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, shown) in [("", ""), ("b=room, A_1=chat-room,", "A_1=chat-room,b=room")] {
            let calls: Calls = text.parse().unwrap();
            assert_eq!((calls.to_string().as_str(), calls.to_string().parse()), (shown, Ok(calls)));
        }
        let calls: Calls = serde_json::from_str(r#"{"ROOM":"room"}"#).unwrap();
        assert_eq!((calls.get("ROOM").map(ClassName::as_str), calls.get("room")), (Some("room"), None));
        assert_eq!(serde_json::to_string(&calls).unwrap(), r#"{"ROOM":"room"}"#);
        let public: PublicMethods = "b, a/x,a/x".parse().unwrap();
        assert_eq!(public.to_string(), "a/x,b");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("room", "NAME=CLASS"),
            ("a=Room", "not a class name"),
            ("ä=room", "for a class"),
            ("=room", "for a class"),
        ] {
            let error = text.parse::<Calls>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!("a b".parse::<PublicMethods>().is_err());
        let many = (0..257).map(|n| format!("n{n}=room")).collect::<Vec<_>>().join(",");
        assert_eq!(many.parse::<Calls>(), Err(BadCalls::TooMany(256)));
    }
}
