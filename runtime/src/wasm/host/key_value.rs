//! `holdfast:object/key-value`: the running turn's key-value operations, one to one.

use wasmtime::component::{HasData, Resource, ResourceTable};

use super::{Host, running};
use crate::base::limits::{FUEL_PER_ENTRY, FUEL_PER_ITEM, FUEL_PER_STORED_BYTE};
use crate::storage::{Entry, KvError, ListOptions, Turn};
use crate::wasm::bindings::key_value as wit;
use crate::wasm::pace::Pace;
use crate::wasm::resources::Listing;

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    turn: &'a mut Option<Turn>,
    table: &'a mut ResourceTable,
    pace: &'a mut Pace,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { turn: &mut host.turn, table: &mut host.table, pace: &mut host.pace }
}

/// The answer to the guest; the outer error ends the turn.
type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Converts errors for the guest; those that end the turn become a trap.
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

impl wit::Host for View<'_> {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        self.pace.price(key.len(), FUEL_PER_ENTRY);
        let value = running(self.turn)?.get(&key);
        if let Ok(Some(value)) = &value {
            self.stored(value.len());
        }
        answer(value)
    }

    fn get_many(&mut self, keys: Vec<String>) -> Answer<Vec<wit::Entry>> {
        self.price_of_keys(&keys);
        let entries = running(self.turn)?.get_many(&keys);
        self.price_of_entries(&entries);
        answer(entries.map(to_guest))
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        self.pace.price(key.len(), FUEL_PER_ENTRY);
        self.stored(value.len());
        answer(running(self.turn)?.put(&key, &value))
    }

    fn put_many(&mut self, entries: Vec<wit::Entry>) -> Answer<()> {
        let entries: Vec<Entry> = entries.into_iter().map(|wit::Entry { key, value }| Entry { key, value }).collect();
        let bytes = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        self.pace.price(0, entries.len() as u64 * FUEL_PER_ENTRY);
        self.stored(bytes);
        answer(running(self.turn)?.put_many(&entries))
    }

    fn delete(&mut self, key: String) -> Answer<bool> {
        self.pace.price(key.len(), FUEL_PER_ENTRY);
        answer(running(self.turn)?.delete(&key))
    }

    fn delete_many(&mut self, keys: Vec<String>) -> Answer<u32> {
        self.price_of_keys(&keys);
        answer(running(self.turn)?.delete_many(&keys))
    }

    fn list(&mut self, options: wit::ListOptions) -> Answer<Resource<Listing>> {
        let wit::ListOptions { start, start_after, end, prefix, reverse, limit } = options;
        let options = ListOptions { start, start_after, end, prefix, reverse, limit };
        let bounds = [&options.start, &options.start_after, &options.end, &options.prefix];
        self.pace.price(bounds.into_iter().flatten().map(String::len).sum(), FUEL_PER_ITEM);
        match running(self.turn)?.list(options) {
            Ok(cursor) => Ok(Ok(self.table.push(Listing(cursor))?)),
            Err(error) => answer(Err(error)),
        }
    }
}

impl View<'_> {
    /// Adds the price of so many bytes of values.
    fn stored(&mut self, bytes: usize) {
        self.pace.add_price(bytes as u64 * FUEL_PER_STORED_BYTE);
    }

    fn price_of_keys(&mut self, keys: &[String]) {
        self.pace.price(keys.iter().map(String::len).sum(), keys.len() as u64 * FUEL_PER_ENTRY);
    }

    fn price_of_entries(&mut self, entries: &Result<Vec<Entry>, KvError>) {
        let entries = entries.as_deref().unwrap_or_default();
        self.stored(entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum());
        self.pace.add_price(entries.len() as u64 * FUEL_PER_ITEM);
    }
}

impl wit::HostEntries for View<'_> {
    fn next(&mut self, listing: Resource<Listing>, max: u32) -> Answer<Vec<wit::Entry>> {
        let cursor = self.table.get(&listing)?.0;
        self.pace.price(0, 4 * FUEL_PER_ENTRY);
        let entries = running(self.turn)?.list_next(cursor, max);
        self.price_of_entries(&entries);
        answer(entries.map(to_guest))
    }

    fn drop(&mut self, listing: Resource<Listing>) -> wasmtime::Result<()> {
        let Listing(cursor) = self.table.delete(listing)?;
        // A listing may outlive its turn in the guest's memory; then there is nothing left to close.
        if let Some(turn) = self.turn {
            turn.close(cursor);
        }
        Ok(())
    }
}
