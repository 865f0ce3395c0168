//! The object's key-value storage: the contract's functions with typed values. Encodes and decodes; limits and order are
//! the host's.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::holdfast::object::key_value::{self as wit, Entry};

/// The object's own map from strings to values, kept on disk and ordered by the keys' UTF-8 bytes.
///
/// Reads see what this turn has written. What a turn wrote stays if it succeeds and is gone if it fails.
///
/// A key is 1 to 2,048 bytes, key and value together at most 2,000,000 bytes, and the functions on many keys take up to
/// 128 of them.
///
/// # How values are stored
/// As [MessagePack](https://msgpack.org), structs with the names of their fields and enums with the names of their
/// variants. So other languages can read them, and a type can grow: a new field that is an `Option` or has
/// `#[serde(default)]` reads values from before it, and a field that is gone is skipped. Renaming a field needs
/// `#[serde(alias = "...")]`. This encoding will not change. Bytes are best kept with the `_bytes` functions, which store
/// them as they are.
///
/// ```no_run
/// use holdfast::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Player {
///     name: String,
///     score: u64,
/// }
///
/// fn score(ctx: &Context, id: &str, points: u64) -> Result<u64> {
///     let key = format!("player:{id}");
///     let mut player: Player = ctx.storage().get(&key)?.context("scoring: no such player")?;
///     player.score += points;
///     ctx.storage().put(&key, &player)?;
///     Ok(player.score)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Storage(());

impl Storage {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// The value of a key; `None` if there is none.
    ///
    /// # Errors
    /// [`StorageError::Decode`] if the value is of another type; the key's [limits](Storage).
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>, StorageError> {
        let key = key.as_ref();
        wit::get(key)?.map(|value| decode(key, &value)).transpose()
    }

    /// Sets the value of a key, in place of any it had.
    ///
    /// # Errors
    /// [`StorageError::Encode`] if serde cannot write the value; the [limits](Storage); a full disk.
    pub fn put<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<(), StorageError> {
        let key = key.as_ref();
        Ok(wit::put(key, &encode(key, value)?)?)
    }

    /// Removes a key; true if it was there.
    ///
    /// # Errors
    /// The key's [limits](Storage).
    pub fn delete(&self, key: impl AsRef<str>) -> Result<bool, StorageError> {
        Ok(wit::delete(key.as_ref())?)
    }

    /// The values of up to 128 keys, those that exist.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// let limits = ctx.storage().get_many::<u64>(["soft", "hard"])?;
    /// let hard = limits.get("hard").copied().unwrap_or(u64::MAX);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StorageError::Decode`] if a value is of another type; the [limits](Storage).
    pub fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<BTreeMap<String, T>, StorageError> {
        wit::get_many(&owned(keys))?.into_iter().map(decode_entry).collect()
    }

    /// Sets up to 128 keys, all or none. The last one counts where a key repeats.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// ctx.storage().put_many([("soft", 80), ("hard", 100)])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StorageError::Encode`] if serde cannot write a value; the [limits](Storage); a full disk.
    pub fn put_many<K: AsRef<str>, V: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), StorageError> {
        let entries = entries.into_iter().map(|(key, value)| {
            let (key, value) = (key.as_ref().to_owned(), encode(key.as_ref(), &value)?);
            Ok(Entry { key, value })
        });
        Ok(wit::put_many(&entries.collect::<Result<Vec<_>, StorageError>>()?)?)
    }

    /// Removes up to 128 keys, all or none; tells how many of them were there.
    ///
    /// # Errors
    /// The [limits](Storage).
    pub fn delete_many(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<u32, StorageError> {
        Ok(wit::delete_many(&owned(keys))?)
    }

    /// The entries that the options select, in the order of their keys, read in batches: a long list is never in memory as
    /// a whole. What the turn writes while it reads shows up in the batches to come.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// # fn f(ctx: &Context) -> Result<()> {
    /// for entry in ctx.storage().list::<u64>(ListOptions::new().prefix("score:").reverse().limit(10))? {
    ///     let (key, score) = entry?;
    ///     info!("{key} has {score}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StorageError::BadRange`] if the options contradict each other. Each entry can be a [`StorageError::Decode`].
    pub fn list<T: DeserializeOwned>(&self, options: ListOptions) -> Result<Entries<T>, StorageError> {
        Entries::open(options, decode_entry)
    }

    /// Like [`get`](Self::get), for a value stored with [`put_bytes`](Self::put_bytes).
    ///
    /// # Errors
    /// The key's [limits](Storage).
    pub fn get_bytes(&self, key: impl AsRef<str>) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(wit::get(key.as_ref())?)
    }

    /// Sets the value of a key to these bytes, not encoded.
    ///
    /// # Errors
    /// The [limits](Storage); a full disk.
    pub fn put_bytes(&self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<(), StorageError> {
        Ok(wit::put(key.as_ref(), value.as_ref())?)
    }

    /// Like [`get_many`](Self::get_many), not decoded.
    ///
    /// # Errors
    /// The [limits](Storage).
    pub fn get_many_bytes(
        &self,
        keys: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<BTreeMap<String, Vec<u8>>, StorageError> {
        Ok(wit::get_many(&owned(keys))?.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    /// Like [`put_many`](Self::put_many), not encoded.
    ///
    /// # Errors
    /// The [limits](Storage); a full disk.
    pub fn put_many_bytes<K: Into<String>, V: Into<Vec<u8>>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), StorageError> {
        let entries = entries.into_iter().map(|(key, value)| Entry { key: key.into(), value: value.into() });
        Ok(wit::put_many(&entries.collect::<Vec<_>>())?)
    }

    /// Like [`list`](Self::list), not decoded.
    ///
    /// # Errors
    /// [`StorageError::BadRange`] if the options contradict each other.
    pub fn list_bytes(&self, options: ListOptions) -> Result<Entries<Vec<u8>>, StorageError> {
        Entries::open(options, |entry| Ok((entry.key, entry.value)))
    }
}

/// What [`Storage::list`] returns and in which order; [`new`](Self::new) stands for everything.
///
/// ```
/// # use holdfast::ListOptions;
/// let newest_of_march = ListOptions::new().start("2026-03").end("2026-04").reverse().limit(20);
/// ```
#[derive(Clone, Debug)]
pub struct ListOptions(wit::ListOptions);

impl ListOptions {
    /// Everything, in ascending order.
    pub fn new() -> Self {
        Self(wit::ListOptions { start: None, start_after: None, end: None, prefix: None, reverse: false, limit: None })
    }

    /// From this key on. Not together with [`start_after`](Self::start_after).
    pub fn start(mut self, key: impl Into<String>) -> Self {
        self.0.start = Some(key.into());
        self
    }

    /// Only keys after this one. Not together with [`start`](Self::start).
    pub fn start_after(mut self, key: impl Into<String>) -> Self {
        self.0.start_after = Some(key.into());
        self
    }

    /// Only keys before this one.
    pub fn end(mut self, key: impl Into<String>) -> Self {
        self.0.end = Some(key.into());
        self
    }

    /// Only keys that begin with this.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.prefix = Some(prefix.into());
        self
    }

    /// In descending order. `start` and `end` keep their meaning.
    pub fn reverse(mut self) -> Self {
        self.0.reverse = true;
        self
    }

    /// At most this many, at least 1.
    pub fn limit(mut self, limit: u32) -> Self {
        self.0.limit = Some(limit);
        self
    }
}

impl Default for ListOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries of a [`Storage::list`]: an iterator of keys with their values. It ends at the first error of the host.
#[derive(Debug)]
pub struct Entries<T> {
    /// None once the end, or an error, was reached.
    cursor: Option<wit::Entries>,
    batch: VecDeque<Entry>,
    read: fn(Entry) -> Result<(String, T), StorageError>,
}

impl<T> Entries<T> {
    /// How many entries are asked for at once; the host also ends a batch at about 1 MiB.
    const BATCH: u32 = 256;

    fn open(options: ListOptions, read: fn(Entry) -> Result<(String, T), StorageError>) -> Result<Self, StorageError> {
        Ok(Self { cursor: Some(wit::list(&options.0)?), batch: VecDeque::new(), read })
    }
}

impl<T> Iterator for Entries<T> {
    type Item = Result<(String, T), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty() {
            match self.cursor.as_ref()?.next(Self::BATCH) {
                Ok(batch) => self.batch = batch.into(),
                Err(error) => {
                    self.cursor = None;
                    return Some(Err(error.into()));
                }
            }
        }
        let entry = self.batch.pop_front();
        if entry.is_none() {
            self.cursor = None;
        }
        entry.map(self.read)
    }
}

/// Why a storage operation was refused. It changed nothing, and the turn can go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The key is empty or longer than 2,048 bytes. Carries its length in bytes.
    #[error("a key of {0} bytes: keys are 1 to 2,048 bytes long")]
    KeySize(u32),
    /// Key and value together are longer than 2,000,000 bytes. Carries their length in bytes.
    #[error("key and value of {0} bytes: together they are at most 2,000,000 bytes long")]
    ValueSize(u32),
    /// More than 128 keys or entries in one call. Carries how many there were.
    #[error("{0} keys in one call: at most 128 are allowed")]
    TooMany(u32),
    /// The options of a list contradict each other.
    #[error("the options of the list contradict each other: {0}")]
    BadRange(String),
    /// The object's database is at its limit, or the disk is full.
    #[error("the object's storage is full")]
    Full,
    /// A list outlived the turn that opened it.
    #[error("the list belongs to a turn that has ended")]
    Closed,
    /// Serde could not write the value.
    #[error("the value for key `{key}` cannot be stored: {reason}")]
    Encode {
        /// The key it was meant for.
        key: String,
        /// What serde says.
        reason: String,
    },
    /// The stored value is not of the type that was asked for.
    #[error("the value of key `{key}` is not of type {wanted}: {reason}")]
    Decode {
        /// The key it was read from.
        key: String,
        /// The type that was asked for.
        wanted: &'static str,
        /// What serde says.
        reason: String,
    },
    /// Anything else, in the words of the host.
    #[error("{0}")]
    Other(String),
}

impl From<wit::Error> for StorageError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::KeySize(size) => Self::KeySize(size),
            wit::Error::ValueSize(size) => Self::ValueSize(size),
            wit::Error::TooMany(count) => Self::TooMany(count),
            wit::Error::BadRange(reason) => Self::BadRange(reason),
            wit::Error::Full => Self::Full,
            wit::Error::Closed => Self::Closed,
            wit::Error::Other(reason) => Self::Other(reason),
        }
    }
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, StorageError> {
    rmp_serde::to_vec_named(value)
        .map_err(|error| StorageError::Encode { key: key.to_owned(), reason: error.to_string() })
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StorageError> {
    let fail = |reason| StorageError::Decode { key: key.to_owned(), wanted: std::any::type_name::<T>(), reason };
    let mut rest = bytes;
    let value =
        T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(|error| fail(error.to_string()))?;
    // Only bytes that were never encoded, or not as one value, have a rest.
    if rest.is_empty() { Ok(value) } else { Err(fail(format!("{} bytes follow its end", rest.len()))) }
}

fn decode_entry<T: DeserializeOwned>(entry: Entry) -> Result<(String, T), StorageError> {
    let value = decode(&entry.key, &entry.value)?;
    Ok((entry.key, value))
}

fn owned(keys: impl IntoIterator<Item: AsRef<str>>) -> Vec<String> {
    keys.into_iter().map(|key| key.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        tags: Vec<String>,
        state: State,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum State {
        Open,
        Closed { by: u64 },
    }

    #[test]
    fn the_encoding_is_pinned() {
        // Objects written today must be readable for ever: these bytes may not change.
        let note = Note { text: "hi".into(), tags: vec![], state: State::Closed { by: u64::MAX } };
        let bytes =
            b"\x83\xa4text\xa2hi\xa4tags\x90\xa5state\x81\xa6Closed\x81\xa2by\xcf\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(encode("k", &note).unwrap(), bytes);
        assert_eq!(decode::<Note>("k", bytes).unwrap(), note);
        assert_eq!(encode("k", &State::Open).unwrap(), b"\xa4Open");
        assert_eq!(encode("k", &7u64).unwrap(), b"\x07");
        assert_eq!(encode("k", &None::<u8>).unwrap(), b"\xc0");
    }

    #[test]
    fn a_type_can_grow_and_shrink() {
        #[derive(Deserialize)]
        struct Later {
            text: String,
            author: Option<String>,
            #[serde(default)]
            votes: u32,
        }
        let before = Note { text: "hi".into(), tags: vec!["a".into()], state: State::Open };
        let after: Later = decode("k", &encode("k", &before).unwrap()).unwrap();
        assert_eq!((after.text.as_str(), after.author, after.votes), ("hi", None, 0));
    }

    #[test]
    fn another_type_is_an_error_that_names_the_key() {
        let error = decode::<u64>("n", &encode("n", "seven").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the value of key `n` is not of type u64: wrong msgpack marker FixStr(5)",);
        let error = decode::<u8>("n", b"\x07\x07").unwrap_err();
        assert_eq!(error.to_string(), "the value of key `n` is not of type u8: 1 bytes follow its end");
        assert!(decode::<u8>("n", b"").is_err());
    }
}
