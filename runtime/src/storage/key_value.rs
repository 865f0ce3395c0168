//! Key-value storage: `wit/key-value.wit` over the table `_hf_kv`.
//!
//! Errors mirror the interface one to one. A listing holds its bounds and the next key, not a statement: it sees what
//! the turn has written up to each call and costs nothing while it waits.

use rusqlite::{Connection as Sqlite, OptionalExtension, StatementStatus, params};

use super::errors::KvError;
use super::key_range::{KeyRange, ListOptions};
use super::statement::{SqliteError, last_error};
use super::turn::{OpenCursor, Remains};
use super::{Cursor, Turn};
use crate::base::limits::{BATCH_BYTES, ENTRY_MAX, KEY_MAX, KEYS_PER_CALL, SQL_VALUE_MAX};

const GET: &str = "SELECT value FROM _hf_kv WHERE key = ?1";
const PUT: &str =
    "INSERT INTO _hf_kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM _hf_kv WHERE key = ?1";
const UP: &str = "SELECT key, value FROM _hf_kv WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3";
const DOWN: &str = "SELECT key, value FROM _hf_kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3";

/// Bytes that a record needs beside its key and value, at most.
const RECORD_OVERHEAD: usize = 32;

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 2,048 bytes of UTF-8.
    pub key: String,
    /// Any bytes.
    pub value: Vec<u8>,
}

impl Turn {
    /// Returns the value of a key; none if the key does not exist.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        self.read(None, |sqlite, steps| get(sqlite, steps, key))
    }

    /// Returns the entries of up to 128 keys, sorted by key. Absent keys are left out, repeated ones appear once.
    pub fn get_many(&mut self, keys: &[String]) -> Result<Vec<Entry>, KvError> {
        check_count(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut keys: Vec<&String> = keys.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        self.read(Vec::new(), |sqlite, steps| {
            let entry = |key: &String| Ok(get(sqlite, steps, key)?.map(|value| Entry { key: key.clone(), value }));
            keys.into_iter().map(entry).filter_map(Result::transpose).collect()
        })
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &str, value: &[u8]) -> Result<(), KvError> {
        check_entry(key, value)?;
        self.write(|sqlite, steps| put(sqlite, steps, key, value))?;
        self.remains = Remains::Key;
        Ok(())
    }

    /// Sets up to 128 entries, all or none. The last one counts where a key is repeated.
    pub fn put_many(&mut self, entries: &[Entry]) -> Result<(), KvError> {
        check_count(entries.len())?;
        entries.iter().try_for_each(|entry| check_entry(&entry.key, &entry.value))?;
        if entries.is_empty() {
            return Ok(());
        }
        self.write(|sqlite, steps| entries.iter().try_for_each(|entry| put(sqlite, steps, &entry.key, &entry.value)))?;
        self.remains = Remains::Key;
        Ok(())
    }

    /// Removes a key. True if it existed.
    pub fn delete(&mut self, key: &str) -> Result<bool, KvError> {
        check_key(key)?;
        Ok(self.remove(&[key])? == 1)
    }

    /// Removes up to 128 keys, all or none. Returns how many existed.
    pub fn delete_many(&mut self, keys: &[String]) -> Result<u32, KvError> {
        check_count(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        self.remove(&keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Opens a listing. It ends with the turn.
    pub fn list(&mut self, options: ListOptions) -> Result<Cursor, KvError> {
        self.check()?;
        let range = KeyRange::new(options).map_err(|why| KvError::BadRange(why.into()))?;
        Ok(self.open_cursor(OpenCursor::Listing(range))?)
    }

    /// Returns the next entries of a listing, at most `max` (0 is taken as 1) and about 1 MiB. An empty list is the
    /// end.
    pub fn list_next(&mut self, cursor: Cursor, max: u32) -> Result<Vec<Entry>, KvError> {
        let Some(OpenCursor::Listing(mut range)) = self.cursors().remove(&cursor) else {
            return Err(KvError::Closed);
        };
        let batch = self.read(Vec::new(), |sqlite, steps| next_batch(&mut range, sqlite, steps, max.max(1)));
        self.cursors().insert(cursor, OpenCursor::Listing(range));
        batch
    }

    /// Removes keys; an object without a file has none.
    fn remove(&mut self, keys: &[&str]) -> Result<u32, KvError> {
        self.check()?;
        if keys.is_empty() || self.existing()?.is_none() {
            return Ok(0);
        }
        self.remains = Remains::Unknown;
        self.write(|sqlite, steps| {
            keys.iter().try_fold(0, |removed, key| {
                let mut statement = sqlite.prepare_cached(DELETE)?;
                let changed = statement.execute([key])?;
                *steps += take_steps(&statement);
                Ok(removed + changed as u32)
            })
        })
    }

    /// Runs the host's statements on the database; returns `absent` if the object has no file.
    fn read<T>(&mut self, absent: T, run: impl FnOnce(&Sqlite, &mut u64) -> rusqlite::Result<T>) -> Result<T, KvError> {
        self.check()?;
        let Some(connection) = self.existing()? else { return Ok(absent) };
        let mut steps = 0;
        let answer = connection.host(|sqlite| run(sqlite, &mut steps).map_err(|_| last_error(sqlite)));
        self.answer(answer, steps)
    }

    /// Runs the host's statements in the turn's transaction.
    fn write<T>(&mut self, run: impl FnOnce(&Sqlite, &mut u64) -> rusqlite::Result<T>) -> Result<T, KvError> {
        self.check()?;
        let connection = self.writing()?;
        let mut steps = 0;
        let answer = connection.host(|sqlite| run(sqlite, &mut steps).map_err(|_| last_error(sqlite)));
        self.answer(answer, steps)
    }

    fn answer<T>(&mut self, answer: Result<T, SqliteError>, steps: u64) -> Result<T, KvError> {
        let answer = answer.map_err(|error| self.refused(error))?;
        self.settle(steps)?;
        Ok(answer)
    }
}

fn get(sqlite: &Sqlite, steps: &mut u64, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = sqlite.prepare_cached(GET)?;
    let value = statement.query_row([key], |row| Ok(row.get_ref(0)?.as_blob()?.to_vec())).optional()?;
    *steps += take_steps(&statement);
    Ok(value)
}

fn put(sqlite: &Sqlite, steps: &mut u64, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare_cached(PUT)?;
    // A record is longer than its key and value, which alone may be as long as SQLite's limit for records.
    let large = key.len() + value.len() + RECORD_OVERHEAD > SQL_VALUE_MAX;
    let limit = |bytes: usize| sqlite.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, bytes as i32);
    if large {
        limit(ENTRY_MAX + RECORD_OVERHEAD)?;
    }
    let done = statement.execute(params![key, value]);
    if large {
        limit(SQL_VALUE_MAX)?;
    }
    *steps += take_steps(&statement);
    done.map(|_| ())
}

fn take_steps(statement: &rusqlite::Statement<'_>) -> u64 {
    statement.reset_status(StatementStatus::VmStep) as u64
}

/// Reads the first entries of the range, at most `max` and about 1 MiB, and takes them off the range.
fn next_batch(range: &mut KeyRange, sqlite: &Sqlite, steps: &mut u64, max: u32) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = sqlite.prepare_cached(if range.reverse { DOWN } else { UP })?;
    // A blob sorts after every text, so an empty one is past all keys.
    let to = match &range.to {
        Some(to) => rusqlite::types::ToSqlOutput::from(to.as_str()),
        None => rusqlite::types::ToSqlOutput::from(&[][..] as &[u8]),
    };
    let mut rows = statement.query(params![range.from, to, max.min(range.left)])?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES
        && let Some(row) = rows.next()?
    {
        let key = row.get_ref(0)?.as_str()?.to_owned();
        let value = row.get_ref(1)?.as_blob()?.to_vec();
        bytes += key.len() + value.len();
        batch.push(Entry { key, value });
    }
    drop(rows);
    *steps += take_steps(&statement);
    if let Some(last) = batch.last() {
        range.advance(batch.len() as u32, &last.key);
    }
    Ok(batch)
}

fn check_key(key: &str) -> Result<(), KvError> {
    match key.len() {
        1..=KEY_MAX => Ok(()),
        length => Err(KvError::KeySize(length as u32)),
    }
}

fn check_entry(key: &str, value: &[u8]) -> Result<(), KvError> {
    check_key(key)?;
    match key.len() + value.len() {
        ..=ENTRY_MAX => Ok(()),
        length => Err(KvError::ValueSize(length as u32)),
    }
}

fn check_count(count: usize) -> Result<(), KvError> {
    if count <= KEYS_PER_CALL { Ok(()) } else { Err(KvError::TooMany(count as u32)) }
}
