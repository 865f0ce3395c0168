//! `holdfast:object/key-value`: the running turn's key-value operations, one to one.

use wasmtime::component::Resource;

use super::Host;
use crate::storage::{Cursor, Entry, KvError, ListOptions};
use crate::wasm::bindings::key_value as wit;

/// An open listing of a guest.
pub struct Listing(Cursor);

/// What a guest gets; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Gives the guest its own errors; those that end the turn become a trap.
fn answer<T>(result: Result<T, KvError>) -> Answer<T> {
    let error = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    Ok(Err(match error {
        KvError::KeySize(bytes) => wit::Error::KeySize(bytes),
        KvError::ValueSize(bytes) => wit::Error::ValueSize(bytes),
        KvError::TooMany(count) => wit::Error::TooMany(count),
        KvError::BadRange(why) => wit::Error::BadRange(why),
        KvError::Full => wit::Error::Full,
        KvError::Closed => wit::Error::Closed,
        KvError::Exhausted(exhausted) => return Err(exhausted.into()),
        KvError::Other(what) => wit::Error::Other(what),
    }))
}

fn to_guest(entries: Vec<Entry>) -> Vec<wit::Entry> {
    entries.into_iter().map(|Entry { key, value }| wit::Entry { key, value }).collect()
}

impl wit::Host for Host {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        answer(self.turn()?.get(&key))
    }

    fn get_many(&mut self, keys: Vec<String>) -> Answer<Vec<wit::Entry>> {
        answer(self.turn()?.get_many(&keys).map(to_guest))
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        answer(self.turn()?.put(&key, &value))
    }

    fn put_many(&mut self, entries: Vec<wit::Entry>) -> Answer<()> {
        let entries: Vec<Entry> = entries.into_iter().map(|wit::Entry { key, value }| Entry { key, value }).collect();
        answer(self.turn()?.put_many(&entries))
    }

    fn delete(&mut self, key: String) -> Answer<bool> {
        answer(self.turn()?.delete(&key))
    }

    fn delete_many(&mut self, keys: Vec<String>) -> Answer<u32> {
        answer(self.turn()?.delete_many(&keys))
    }

    fn list(&mut self, options: wit::ListOptions) -> Answer<Resource<Listing>> {
        let wit::ListOptions { start, start_after, end, prefix, reverse, limit } = options;
        let options = ListOptions { start, start_after, end, prefix, reverse, limit };
        match self.turn()?.list(options) {
            Ok(cursor) => Ok(Ok(self.table.push(Listing(cursor))?)),
            Err(error) => answer(Err(error)),
        }
    }
}

impl wit::HostEntries for Host {
    fn next(&mut self, listing: Resource<Listing>, max: u32) -> Answer<Vec<wit::Entry>> {
        let cursor = self.table.get(&listing)?.0;
        answer(self.turn()?.list_next(cursor, max).map(to_guest))
    }

    fn drop(&mut self, listing: Resource<Listing>) -> wasmtime::Result<()> {
        let Listing(cursor) = self.table.delete(listing)?;
        // A listing may outlive its turn in the guest's memory; there is nothing left to close then.
        if let Some(turn) = &mut self.turn {
            turn.close(cursor);
        }
        Ok(())
    }
}
