//! `holdfast:object/logging`, and what guests print: both end in the guest log of the host.
//!
//! One turn may log a limited number of entries of limited size, so that a guest cannot push others out of the history
//! with a loop.
//!
//! The last error that a turn has logged is held back until something else is logged or the turn has ended: SDKs log
//! the exception or panic of a handler, and then let the turn fail with it. Such a failure is one entry, the host's,
//! with the guest's text. An error that is followed by a long wait is logged after a second or two all the same.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use wasmtime::component::HasData;

use super::Host;
use crate::base::limits::{FUEL_PER_ITEM, FUEL_PER_LOG_ENTRY, LOG_ENTRIES_PER_TURN, LOG_ENTRY_MAX};
use crate::base::logs::{GuestLogs, HeldEntry, Level, LogEntry, shown};
use crate::base::turn_error::Logged;
use crate::base::{CallId, ClassKey, Env, ObjectAddress};
use crate::wasm::bindings::logging;
use crate::wasm::pace::Pace;

/// Bytes that a field costs beside its text: without them, an entry of empty fields would take a hundred times its
/// limit.
const FIELD_COST: usize = 64;
/// The field that has the stack of an error.
const STACK: &str = "stack";

/// The log of one instance.
pub(in crate::wasm) struct ObjectLog {
    logs: Arc<GuestLogs>,
    env: Env,
    class: String,
    key: ClassKey,
    object: String,
    /// The call whose turn runs, or ran last.
    call: Mutex<Option<CallId>>,
    entries: AtomicU32,
    last_error: Mutex<Option<LoggedError>>,
    /// Created with the first error, because most instances never log one.
    held: OnceLock<Arc<HeldEntry>>,
}

/// The last error that a turn has logged: a panic before it became a trap, an exception before it became a failure.
#[derive(Clone)]
pub(in crate::wasm) struct LoggedError {
    pub message: String,
    /// Its field `stack`.
    pub stack: Option<String>,
}

impl ObjectLog {
    pub(super) fn new(logs: Arc<GuestLogs>, env: Env, address: &ObjectAddress) -> Self {
        Self {
            logs,
            env,
            class: address.class.to_string(),
            key: address.key.clone(),
            object: shown(address),
            call: Mutex::default(),
            entries: AtomicU32::new(0),
            last_error: Mutex::default(),
            held: OnceLock::new(),
        }
    }

    /// Sets the call whose turn begins.
    pub(in crate::wasm) fn begin_turn(&self, call: CallId) {
        *self.call.lock() = Some(call);
    }

    /// Adds an entry, cut to size, unless the turn has logged as many as it may.
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
        // Remembered also if it is left out: it may be the reason why the turn fails.
        if is_error {
            let stack = fields.iter().find(|(name, _)| name == STACK).map(|(_, stack)| stack.clone());
            *self.last_error.lock() = Some(LoggedError { message: message.clone(), stack });
        }
        self.release();
        match (is_left_out, is_error) {
            (true, _) => {}
            (false, true) => {
                self.held.get_or_init(|| self.logs.holder()).put(self.entry(level, message, fields));
            }
            (false, false) => self.logs.add(self.entry(level, message, fields)),
        }
    }

    /// Logs the error that is held back, if there is one.
    fn release(&self) {
        self.take_held(|_| true).into_iter().for_each(|entry| self.logs.add(entry));
    }

    fn take_held(&self, wanted: impl FnOnce(&LogEntry) -> bool) -> Option<LogEntry> {
        self.held.get()?.take_if(wanted)
    }

    /// Takes the error that is held back, if its text contains that of the turn's failure.
    pub(in crate::wasm) fn take_cause(&self, failure: &str) -> Option<Logged> {
        let cause = self.take_held(|held| held.message.contains(failure));
        cause.map(|LogEntry { message, mut fields, .. }| {
            fields.retain(|(name, _)| name != STACK);
            Logged { message, fields }
        })
    }

    /// Drops the error that is held back, because the failure of the turn has its text.
    pub(in crate::wasm) fn drop_cause(&self) {
        drop(self.take_held(|_| true));
    }

    /// Returns the last error that the turn has logged.
    pub(in crate::wasm) fn last_error(&self) -> Option<LoggedError> {
        self.last_error.lock().clone()
    }

    /// Ends a turn: logs the error that is held back and how many entries were left out, and resets the count.
    pub(in crate::wasm) fn end_turn(&self) {
        self.release();
        *self.last_error.lock() = None;
        let left_out = self.entries.swap(0, Ordering::Relaxed).saturating_sub(LOG_ENTRIES_PER_TURN);
        if left_out > 0 {
            let message = format!("{left_out} more log entries of this turn were left out");
            self.logs.add(self.entry(Level::Warn, message, Vec::new()));
        }
    }

    fn entry(&self, level: Level, message: String, fields: Vec<(String, String)>) -> LogEntry {
        let (class, key, object) = (self.class.clone(), self.key.clone(), self.object.clone());
        let (time, call) = (self.env.wall_ms(), *self.call.lock());
        LogEntry { time, class, key, object, call, level, message, fields }
    }
}

impl Drop for ObjectLog {
    /// Logs what is held back also for an instance whose making has failed.
    fn drop(&mut self) {
        self.release();
    }
}

/// Cuts a text to the room that is left, at a character boundary, and takes its length from the room. The memory of the
/// rest is given back, because entries are kept.
fn cut(text: &mut String, room: &mut usize) {
    let end = text.floor_char_boundary(*room);
    text.truncate(end);
    text.shrink_to_fit();
    *room -= end;
}

/// The part of a store that this interface needs.
pub(super) struct View<'a> {
    log: &'a ObjectLog,
    pace: &'a mut Pace,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

/// Borrows that part.
pub(super) fn view(host: &mut Host) -> View<'_> {
    View { log: &host.log, pace: &mut host.pace }
}

impl logging::Host for View<'_> {
    fn log(&mut self, level: logging::Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        };
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + message.len();
        self.pace.price(bytes, FUEL_PER_LOG_ENTRY + fields.len() as u64 * 2 * FUEL_PER_ITEM);
        self.log.add(level, message, fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CallIds, ClassName, HostMemory, ObjectId};

    fn object_log() -> (Arc<GuestLogs>, ObjectLog) {
        let logs = Arc::new(GuestLogs::new(HostMemory::new(1 << 30)));
        let key = ClassKey::new("key");
        let (class, id) = (ClassName::parse("c").unwrap(), ObjectId::unique(&key, [0; 16]));
        let address = ObjectAddress { class, key, id, name: None };
        (logs.clone(), ObjectLog::new(logs, Env::manual(0).0, &address))
    }

    #[test]
    fn an_entry_names_the_call_whose_turn_it_is_about() {
        let (logs, log) = object_log();
        let ids = CallIds::new(&Env::manual(0).0);
        let calls = [ids.next(), ids.next()];
        for call in calls {
            log.begin_turn(call);
            log.add(Level::Info, "said".into(), Vec::new());
            log.add(Level::Error, "held back".into(), Vec::new());
            log.end_turn();
        }
        let of: Vec<_> = logs.remembered(None).iter().map(|entry| entry.call).collect();
        assert_eq!(of, [calls[0], calls[0], calls[1], calls[1]].map(Some));
    }

    #[test]
    fn an_entry_holds_no_more_than_its_limit_however_it_is_made() {
        let (logs, log) = object_log();
        log.add(Level::Info, "m".repeat(10 * LOG_ENTRY_MAX), Vec::new());
        log.add(Level::Info, String::new(), vec![("n".into(), String::new()); LOG_ENTRY_MAX]);
        let entries = logs.remembered(None);
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
        assert!(logs.remembered(None).iter().all(|entry| entry.message.is_empty()), "its entry is left out");
    }

    #[test]
    fn the_last_error_is_held_back_for_the_failure_that_it_explains() {
        let (logs, log) = object_log();
        let said = || logs.remembered(None).iter().map(|entry| entry.message.clone()).collect::<Vec<_>>();
        log.add(Level::Error, "an error".into(), Vec::new());
        log.add(Level::Info, "goes on".into(), Vec::new());
        assert_eq!(said(), ["an error", "goes on"]);
        log.add(Level::Error, "coped with".into(), Vec::new());
        log.end_turn();
        assert_eq!(said().last().unwrap(), "coped with");
        log.add(Level::Error, "TypeError: boom".into(), vec![(STACK.into(), "here".into()), ("a".into(), "b".into())]);
        assert_eq!(log.take_cause("something else"), None);
        let cause = log.take_cause("boom").unwrap();
        assert_eq!((&*cause.message, cause.fields), ("TypeError: boom", vec![("a".into(), "b".into())]));
        log.end_turn();
        assert_eq!(said().len(), 3, "it is not logged twice");
    }
}
