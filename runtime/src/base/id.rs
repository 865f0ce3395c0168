//! Names and ids, parsed at the edge: below the gateway no raw string is a name.
//!
//! An object id proves which class it belongs to (SEMANTICS, Identity): its second half is a MAC of its first half
//! under the class key, so an id of another class is rejected without a look-up. Creating an id creates no object.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The maximum length of a class name in bytes: fits a DNS label.
pub const CLASS_NAME_MAX: usize = 63;
/// The maximum length of an object name in bytes of UTF-8.
pub const OBJECT_NAME_MAX: usize = 1024;

/// The name of a class: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassName(Arc<str>);

/// The reason why a name or an id was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `[a-z][a-z0-9-]{0,62}`.
    #[error("`{0}` is not a class name: use 1 to 63 of a-z, 0-9 and -, beginning with a letter")]
    ClassName(String),
    /// Empty or over 1,024 bytes; carries the length in bytes.
    #[error("an object name has 1 to 1,024 bytes of UTF-8, this one has {0}")]
    ObjectNameLength(usize),
    /// Not 64 lowercase hex digits.
    #[error("an object id is 64 lowercase hex digits")]
    Malformed,
    /// A well-formed id whose MAC is not of this class.
    #[error("this object id belongs to another class")]
    OtherClass,
}

impl ClassName {
    /// Parses a class name.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        let mut bytes = name.bytes();
        let fits = name.len() <= CLASS_NAME_MAX
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(name.into())) } else { Err(IdError::ClassName(name.chars().take(80).collect())) }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClassName {
    type Error = IdError;
    fn try_from(name: String) -> Result<Self, IdError> {
        Self::parse(&name)
    }
}

impl FromStr for ClassName {
    type Err = IdError;
    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::parse(name)
    }
}

impl From<ClassName> for String {
    fn from(name: ClassName) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The immutable key of a class, from which the ids of its objects are derived. Random when the class is created and
/// independent of its name. Also names the class's directory of databases, so keys that the host creates are 32 hex
/// digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassKey(Arc<str>);

impl ClassKey {
    /// Creates the key with this text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Creates a key from 16 random bytes.
    pub fn random(random: [u8; 16]) -> Self {
        Self(hex::encode(random).into())
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn mac(&self, data: &[u8]) -> [u8; 16] {
        let key = Sha256::digest(self.0.as_bytes());
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(data);
        let full = mac.finalize().into_bytes();
        full[..16].try_into().expect("a SHA-256 MAC has 32 bytes")
    }
}

impl fmt::Display for ClassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name by which a request addressed an object: 1 to 1,024 bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// Parses an object name.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        match name.len() {
            1..=OBJECT_NAME_MAX => Ok(Self(name.into())),
            length => Err(IdError::ObjectNameLength(length)),
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The 32-byte id of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// Returns the id of the object with this name.
    pub fn from_name(key: &ClassKey, name: &ObjectName) -> Self {
        Self::proven(key, key.mac(name.as_str().as_bytes()))
    }

    /// Returns the id of an object without a name, from 16 random bytes.
    pub fn unique(key: &ClassKey, random: [u8; 16]) -> Self {
        Self::proven(key, random)
    }

    fn proven(key: &ClassKey, first: [u8; 16]) -> Self {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&first);
        id[16..].copy_from_slice(&key.mac(&first));
        Self(id)
    }

    /// Parses 64 lowercase hex digits and checks that the id belongs to the class with this key.
    pub fn parse(key: &ClassKey, text: &str) -> Result<Self, IdError> {
        let id = Self::from_hex(text)?;
        let first: [u8; 16] = id.0[..16].try_into().expect("an id has 32 bytes");
        if Self::proven(key, first) == id { Ok(id) } else { Err(IdError::OtherClass) }
    }

    /// Parses 64 lowercase hex digits without checking the class: for ids that the host wrote itself.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(IdError::Malformed);
        }
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id).map_err(|_| IdError::Malformed)?;
        Ok(Self(id))
    }

    /// Returns the id with these bytes, without checking the class: for ids that the host wrote itself.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{self}")
    }
}

/// The complete address of one object: what messages about it print, and what its instance may know of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAddress {
    /// The name of the class at the time of the request.
    pub class: ClassName,
    /// The class's key.
    pub key: ClassKey,
    /// The object's id.
    pub id: ObjectId,
    /// The name by which it was addressed, if any.
    pub name: Option<ObjectName>,
}

/// Formats as `counter/alice`, or `counter/@59002eb8…` for an object that was addressed by id.
impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.class),
            None => write!(f, "{}/@{}", self.class, self.id),
        }
    }
}

/// The SHA-256 of a component, which identifies its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Computes the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        ObjectId::from_hex(text).map(|id| Self(id.0))
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::from_hex(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEMANTICS, Identity: the known answers.
    #[test]
    fn ids_from_names_have_the_known_values() {
        let key = ClassKey::new("mykey");
        let id = |name| ObjectId::from_name(&key, &ObjectName::parse(name).unwrap()).to_string();
        assert_eq!(id("http://foo/"), "59002eb8cf872e541722977a258a12d6a93bbe8192b502e1c0cb250aa91af234");
        assert_eq!(id("http://foo/bar"), "02b496f65dd35cbac90e3e72dc5a398ee93926ea4a3821e26677082d2e6f9b79");
    }

    #[test]
    fn an_id_proves_its_class() {
        let (ours, theirs) = (ClassKey::new("ours"), ClassKey::new("theirs"));
        let id = ObjectId::unique(&ours, [7; 16]).to_string();
        assert!(ObjectId::parse(&ours, &id).is_ok());
        assert_eq!(ObjectId::parse(&theirs, &id), Err(IdError::OtherClass));
        assert_eq!(ObjectId::parse(&ours, &id.to_uppercase()), Err(IdError::Malformed));
        assert_eq!(ObjectId::parse(&ours, &id[1..]), Err(IdError::Malformed));
        assert_eq!(ObjectId::parse(&ours, &"é".repeat(32)), Err(IdError::Malformed));
    }

    #[test]
    fn names_are_checked_at_their_edges() {
        assert!(ClassName::parse("a").is_ok());
        assert!(ClassName::parse(&"a".repeat(63)).is_ok());
        for bad in ["", "A", "1a", "-a", "a_b", "a.b", "ä", &"a".repeat(64)] {
            assert!(ClassName::parse(bad).is_err(), "{bad}");
        }
        assert!(ObjectName::parse(&"n".repeat(1024)).is_ok());
        assert_eq!(ObjectName::parse(&"n".repeat(1025)), Err(IdError::ObjectNameLength(1025)));
        assert_eq!(ObjectName::parse(""), Err(IdError::ObjectNameLength(0)));
    }
}
