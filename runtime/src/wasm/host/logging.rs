//! `holdfast:object/logging`, and what guests print: both end in the host's guest log.
//!
//! What one turn may log is bounded, in entries and in bytes per entry, so that a guest cannot push the others out of
//! the history with a loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::Host;
use crate::base::limits::{FUEL_PER_ITEM, FUEL_PER_LOG_ENTRY, LOG_ENTRIES_PER_TURN, LOG_ENTRY_MAX};
use crate::base::logs::{GuestLogs, Level, LogEntry, shown};
use crate::base::{Env, ObjectAddress};
use crate::wasm::bindings::logging;

/// What a field costs besides its bytes: without it, an entry of empty ones would take a hundred times its limit.
const FIELD_COST: usize = 64;
/// The field that says where an error came from.
const STACK: &str = "stack";

/// Where one instance's entries go.
pub(in crate::wasm) struct ObjectLog {
    logs: Arc<GuestLogs>,
    env: Env,
    class: String,
    object: String,
    entries: AtomicU32,
    last_error: Mutex<Option<LoggedError>>,
}

/// What a turn has logged last as an error: a panic before it became a trap, an exception before it became a failure.
#[derive(Clone)]
pub(in crate::wasm) struct LoggedError {
    pub message: String,
    /// Its field of this name.
    pub stack: Option<String>,
}

impl ObjectLog {
    pub(super) fn new(logs: Arc<GuestLogs>, env: Env, address: &ObjectAddress) -> Self {
        Self {
            logs,
            env,
            class: address.class.to_string(),
            object: shown(address),
            entries: AtomicU32::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Adds an entry, cut to size, unless the turn has logged its share.
    pub(in crate::wasm) fn add(&self, level: Level, mut message: String, mut fields: Vec<(String, String)>) {
        let is_left_out = self.entries.fetch_add(1, Ordering::Relaxed) >= LOG_ENTRIES_PER_TURN;
        let is_error = matches!(level, Level::Error);
        if is_left_out && !is_error {
            return;
        }
        let mut room = LOG_ENTRY_MAX;
        cut(&mut message, &mut room);
        fields.retain_mut(|(name, value)| {
            room = room.saturating_sub(FIELD_COST);
            cut(name, &mut room);
            cut(value, &mut room);
            !name.is_empty()
        });
        fields.shrink_to_fit();
        // Also if it is left out: it may be why the turn fails.
        if is_error {
            let stack = fields.iter().find(|(name, _)| name == STACK).map(|(_, stack)| stack.clone());
            *self.last_error.lock() = Some(LoggedError { message: message.clone(), stack });
        }
        if !is_left_out {
            self.push(level, message, fields);
        }
    }

    /// Adds what the host says of a trap, however much the turn has logged.
    pub(in crate::wasm) fn add_trap(&self, mut message: String, stack: Option<String>) {
        cut(&mut message, &mut { LOG_ENTRY_MAX });
        self.push(Level::Error, message, stack.into_iter().map(|stack| (STACK.to_owned(), stack)).collect());
    }

    /// What the turn has logged last as an error.
    pub(in crate::wasm) fn last_error(&self) -> Option<LoggedError> {
        self.last_error.lock().clone()
    }

    /// Begins the count of a new turn, after saying what the last one left out.
    pub(in crate::wasm) fn end_turn(&self) {
        *self.last_error.lock() = None;
        let left_out = self.entries.swap(0, Ordering::Relaxed).saturating_sub(LOG_ENTRIES_PER_TURN);
        if left_out > 0 {
            self.push(Level::Warn, format!("{left_out} more log entries of this turn were left out"), Vec::new());
        }
    }

    fn push(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        let (class, object) = (self.class.clone(), self.object.clone());
        self.logs.add(LogEntry { time: self.env.wall_ms(), class, object, level, message, fields });
    }
}

/// Cuts a text to the room that is left, at a character boundary, and takes what remains of it from the room. What was cut
/// off is given back: entries are remembered.
fn cut(text: &mut String, room: &mut usize) {
    let end = text.floor_char_boundary(*room);
    text.truncate(end);
    text.shrink_to_fit();
    *room -= end;
}

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        };
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + message.len();
        self.price(bytes, FUEL_PER_LOG_ENTRY + fields.len() as u64 * 2 * FUEL_PER_ITEM);
        self.log.add(level, message, fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ClassKey, ClassName, ObjectId};

    fn object_log() -> (Arc<GuestLogs>, ObjectLog) {
        let logs = Arc::new(GuestLogs::default());
        let key = ClassKey::new("key");
        let (class, id) = (ClassName::parse("c").unwrap(), ObjectId::unique(&key, [0; 16]));
        let address = ObjectAddress { class, key, id, name: None };
        (logs.clone(), ObjectLog::new(logs, Env::manual(0).0, &address))
    }

    #[test]
    fn an_entry_holds_no_more_than_its_limit_however_it_is_made() {
        let (logs, log) = object_log();
        log.add(Level::Info, "m".repeat(10 * LOG_ENTRY_MAX), Vec::new());
        log.add(Level::Info, String::new(), vec![("n".into(), String::new()); LOG_ENTRY_MAX]);
        let (entries, _) = logs.follow();
        assert_eq!((entries[0].message.len(), entries[0].message.capacity()), (LOG_ENTRY_MAX, LOG_ENTRY_MAX));
        assert!(entries[1].fields.capacity() <= LOG_ENTRY_MAX / FIELD_COST);
    }

    #[test]
    fn the_last_error_is_known_even_if_its_entry_is_left_out() {
        let (logs, log) = object_log();
        for _ in 0..LOG_ENTRIES_PER_TURN {
            log.add(Level::Info, String::new(), Vec::new());
        }
        log.add(Level::Error, "it broke".into(), vec![(STACK.into(), "here".into())]);
        let last = log.last_error().unwrap();
        assert_eq!((last.message.as_str(), last.stack.as_deref()), ("it broke", Some("here")));
        assert!(logs.follow().0.iter().all(|entry| entry.message.is_empty()), "its entry is left out");
        log.add_trap("trapped".into(), None);
        assert_eq!(logs.follow().0.last().unwrap().message, "trapped");
    }
}
