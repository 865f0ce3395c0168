//! Lists of key-value entries: what to list, and the iterator over it. Decoding is `storage`'s.

use std::collections::VecDeque;

use super::StorageError;
use crate::bindings::holdfast::object::key_value::{self as wit, Entry};

/// What [`Storage::list`](super::Storage::list) returns and in which order; [`new`](Self::new) stands for everything.
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

/// The entries of a [`Storage::list`](super::Storage::list): an iterator of keys with their values. It ends at the
/// first error of the host.
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

    pub(super) fn open(
        options: ListOptions,
        read: fn(Entry) -> Result<(String, T), StorageError>,
    ) -> Result<Self, StorageError> {
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
