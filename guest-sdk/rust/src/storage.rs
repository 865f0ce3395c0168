//! The object's storage: typed key-value, and operations on all of storage. It encodes and decodes; the host has limits
//! and order. SQL is in [`sql`](crate::sql). The rest of this page shows both.
//!
//! # The turn is the transaction
//! All writes of a handler, with key-value and with SQL, are applied if it returns `Ok` and undone if it returns `Err`
//! or panics. Reads see what the turn has written. The caller gets the answer once the turn's writes are on disk. So
//! most classes need only reads and writes:
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! fn sell(ctx: &Context, item: &str) -> Result<u32> {
//!     let left: u32 = ctx.storage().get(item)?.unwrap_or(0);
//!     ensure!(left > 0, "out-of-stock", "no {item} left");
//!     ctx.storage().put(item, &(left - 1))?;
//!     ctx.sql().exec("INSERT INTO sale (item) VALUES (?)", params![item])?;
//!     Ok(left - 1)
//! }
//! ```
//!
//! # Keys and values
//! [`Storage`] maps strings to anything that serde can write: one at a time, up to 128 at once, or as a
//! [`list`](Storage::list) in the order of the keys. Keys with a common beginning are a group, and numbers in keys sort
//! if they are padded. A list is read in batches, however long it is. The functions with `bytes` in their names leave
//! values as they are.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Move { from: (u8, u8), to: (u8, u8) }
//! # fn f(ctx: &Context, number: u32, next: Move) -> Result<()> {
//! ctx.storage().put(format!("move:{number:06}"), &next)?;
//! for entry in ctx.storage().list::<Move>(ListOptions::new().prefix("move:"))? {
//!     let (key, one) = entry?;
//!     info!("{key}: {:?} to {:?}", one.from, one.to);
//! }
//! # Ok(()) }
//! ```
//!
//! # Tables
//! [`Sql`](crate::Sql) is a SQLite database with FTS5, R-Tree, JSON and mathematical functions, and foreign keys on.
//! Parameters are [`params!`](crate::params), rows become [types](crate::Sql#rows-as-types), and results are read in
//! batches: a loop over a million rows needs no more memory than one over a thousand.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # fn f(ctx: &Context) -> Result<()> {
//! let added = ctx.sql().exec("INSERT INTO book (title, price) VALUES (?, ?)", params!["Emma", 9.5])?;
//! info!("{} row, number {}", added.changes(), added.last_insert_rowid());
//!
//! let dearest: Option<(String, f64)> =
//!     ctx.sql().query_optional("SELECT title, price FROM book ORDER BY price DESC LIMIT 1", [])?;
//!
//! let mut total = 0.0;
//! for price in ctx.sql().query_as::<Option<f64>>("SELECT price FROM book", [])? {
//!     total += price?.unwrap_or(0.0);
//! }
//! # Ok(()) }
//! ```
//!
//! Each object has its own copy of the tables, at the version of the class that it last met.
//! [`migrate`](crate::Sql::migrate) in `new` brings them up to date: a list of steps, of which each object runs those
//! it has not run yet.
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # fn f(ctx: &Context) -> Result<()> {
//! ctx.sql().migrate([
//!     "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL)",
//!     "ALTER TABLE book ADD COLUMN price REAL", // came later, so it stands at the end
//! ])?;
//! # Ok(()) }
//! ```
//!
//! # Undoing a part of a turn
//! [`transaction`](Storage::transaction) is for a handler that continues after an error: the writes of the closure are
//! undone, and the rest of the turn is not. Here a wrong line does not affect the others:
//!
//! ```no_run
//! # use holdfast::prelude::*;
//! # #[derive(serde::Deserialize)] struct Line;
//! # fn import_line(_: &Context, _: &Line) -> Result<()> { Ok(()) }
//! fn import(ctx: &Context, lines: &[Line]) -> Result<Response> {
//!     let mut wrong = vec![];
//!     for (number, line) in lines.iter().enumerate() {
//!         if let Err(error) = ctx.storage().transaction(|| import_line(ctx, line)) {
//!             wrong.push(format!("line {number}: {error}"));
//!         }
//!     }
//!     Ok(Response::json(&wrong))
//! }
//! ```
//!
//! # The whole storage
//! [`size`](Storage::size) returns how much an object stores, and [`delete_all`](Storage::delete_all) removes it: an
//! object that stores nothing does not exist any more. [`sync`](Storage::sync) makes the turn's writes so far durable.
//!
//! # Limits
//! | | at most |
//! |---|---|
//! | key | 2,048 bytes, not empty |
//! | key and value together | 2,000,000 bytes |
//! | keys in one call | 128 |
//! | text, BLOB or row in a table | 2,000,000 bytes |
//! | SQL text of one call | 100,000 bytes |
//! | parameters, columns | 100 each |
//! | transactions inside each other | 32 |
//! | database of an object | 10 GiB by default |
//!
//! An operation over a limit is a [`StorageError`] or [`SqlError`](crate::SqlError) that says which; it changed
//! nothing, and the handler can continue. A full database or disk fails the turn in any case.

mod error;
mod list;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::holdfast::object::key_value::{self as wit, Entry};
use crate::bindings::holdfast::object::storage as whole;
use crate::{Result, encoding};
pub use error::StorageError;
pub use list::{Entries, ListOptions};

/// The object's own map from strings to values, kept on disk and ordered by the keys' UTF-8 bytes; and operations on
/// all of its storage, the database of [`Sql`](crate::Sql) included: [`transaction`](Self::transaction),
/// [`size`](Self::size), [`delete_all`](Self::delete_all) and [`sync`](Self::sync).
///
/// Reads see what this turn has written. A turn's writes are applied if it succeeds and undone if it fails.
///
/// A key is 1 to 2,048 bytes, key and value together at most 2,000,000 bytes, and the functions on many keys take up to
/// 128 of them.
///
/// # How values are stored
/// As [MessagePack](https://msgpack.org), structs with the names of their fields and enums with the names of their
/// variants. So other languages can read them, and a type can grow: a new field that is an `Option` or has
/// `#[serde(default)]` reads older values, and a removed field is skipped. Renaming a field needs `#[serde(alias =
/// "...")]`. This encoding will not change. Bytes are best kept with the `_bytes` functions, which store them as they
/// are.
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

    /// Removes up to 128 keys, all or none; returns how many of them existed.
    ///
    /// # Errors
    /// The [limits](Storage).
    pub fn delete_many(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<u32, StorageError> {
        Ok(wit::delete_many(&owned(keys))?)
    }

    /// The entries that the options select, in the order of their keys, read in batches: a long list is never in memory
    /// as a whole. What the turn writes while it reads shows up in the batches to come.
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

    /// Runs `work` atomically: after `Ok` its writes are part of the turn, after `Err` they are
    /// undone, and the error is returned so that the turn can continue without it.
    ///
    /// This is for handlers that continue after an error. Those that return it need no transaction: the turn is one.
    /// Inside, use storage and SQL as usual; all writes meanwhile belong to the transaction. Transactions can be inside
    /// each other, up to 32 deep: an inner one that was kept is undone with the outer one. The object's fields are
    /// memory and are not undone.
    ///
    /// ```no_run
    /// # use holdfast::prelude::*;
    /// fn transfer(ctx: &Context, from: &str, to: &str, amount: u64) -> Result<Response> {
    ///     let moved = ctx.storage().transaction(|| {
    ///         deposit(ctx, to, amount)?;
    ///         withdraw(ctx, from, amount)
    ///     });
    ///     ctx.storage().put("last-attempt", &(from, to, amount))?; // stays in any case
    ///     match moved {
    ///         Ok(()) => Ok(Response::text("moved")),
    ///         Err(error) if error.code() == "overdrawn" => Ok(Response::error(StatusCode::CONFLICT, error)),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    /// # fn deposit(_: &Context, _: &str, _: u64) -> Result<()> { Ok(()) }
    /// # fn withdraw(_: &Context, _: &str, _: u64) -> Result<()> { bail!("overdrawn", "") }
    /// ```
    ///
    /// # Errors
    /// Those of `work`; [`StorageError::TooDeep`]; a full disk.
    pub fn transaction<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let savepoint = whole::open_savepoint().map_err(StorageError::from)?;
        // A return before `keep` drops the savepoint, which undoes it.
        let value = work()?;
        savepoint.keep().map_err(StorageError::from)?;
        Ok(value)
    }

    /// Returns how many bytes the object's storage uses, keys and tables together and with what this turn has written:
    /// pages in use × 4,096. 0 for an object that has stored nothing.
    ///
    /// # Errors
    /// Only failures of the host.
    pub fn size(&self) -> Result<u64, StorageError> {
        Ok(whole::size()?)
    }

    /// Removes everything that is stored, keys and tables, at once and at any size. It is part of the turn: it is
    /// undone when the turn fails.
    ///
    /// What the turn stores afterwards stays; if it stores nothing, the object ceases to exist. Tables that
    /// [`new`](crate::Object::new) created are removed too while this instance stays, so an object that continues calls
    /// [`migrate`](crate::Sql::migrate) again. Open lists and rows are closed.
    ///
    /// # Errors
    /// [`StorageError::InTransaction`].
    pub fn delete_all(&self) -> Result<(), StorageError> {
        Ok(whole::delete_all()?)
    }

    /// Makes the turn's writes so far durable before it continues: they stay even if the turn fails later. Returns
    /// when they are on disk.
    ///
    /// Answers wait for the disk anyway. This is for writes that must be durable before an effect outside the object.
    ///
    /// # Errors
    /// [`StorageError::InTransaction`]; a full disk.
    pub fn sync(&self) -> Result<(), StorageError> {
        Ok(whole::sync()?)
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, StorageError> {
    encoding::encode(value).map_err(|reason| StorageError::Encode { key: key.to_owned(), reason })
}

pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StorageError> {
    let wanted = std::any::type_name::<T>();
    encoding::decode(bytes).map_err(|reason| StorageError::Decode { key: key.to_owned(), wanted, reason })
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
        // Objects written today must always be readable: these bytes may not change.
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
