//! The log of guests: a bounded history with live followers.
//!
//! Log entries are for the operators of a class. They are not part of a turn: they are kept when it fails, and they do
//! not wait for the output gate. A follower that reads too slowly misses entries and receives their number.
//!
//! Each class has a history of its own, bounded in entries and in bytes, and followers of its own: a class that logs
//! without end displaces only its own entries. The sum of all histories is bounded, too: beyond the limit, the largest
//! one is shortened. The bytes of a class's history are charged to the class (`base/memory.rs`); a class that may not
//! have more keeps fewer entries, but always its most recent ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::limits::{LOG_HISTORIES_BYTES, LOG_HISTORY_BYTES, LOG_HISTORY_ENTRIES, LOG_HISTORY_KEPT};
use super::{CallId, ClassKey, Env, HostMemory, MemoryCharge, MemoryUse, ObjectAddress};

/// The maximum time for which an entry may be held back.
const HELD_MAX_MS: u64 = 1_000;
/// The bytes of an entry and of each of its fields besides their text.
const ENTRY_BYTES: usize = 192;
const FIELD_BYTES: usize = 64;

/// The severity of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The time, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The name of the class.
    pub class: String,
    /// The key of the class to which the entry's memory is charged. Known on the host only.
    #[serde(skip, default = "no_class")]
    pub key: ClassKey,
    /// The object: its name, or `@` and its id; `(several)` where it is more than one.
    pub object: String,
    /// The call whose turn the entry is about; none if it is about several turns or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The severity.
    pub level: Level,
    /// The message.
    pub message: String,
    /// Named details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

impl LogEntry {
    /// Creates an entry of the host about the turn of a call, with the current time.
    pub fn new(env: &Env, (address, call): (&ObjectAddress, CallId), level: Level, message: String) -> Self {
        let (time, class, key) = (env.wall_ms(), address.class.to_string(), address.key.clone());
        Self { time, class, key, object: shown(address), call: Some(call), level, message, fields: Vec::new() }
    }

    /// Returns the approximate number of bytes that the entry takes.
    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len() + FIELD_BYTES).sum();
        self.message.len() + self.class.len() + self.object.len() + fields + ENTRY_BYTES
    }
}

fn no_class() -> ClassKey {
    ClassKey::new("")
}

/// Returns the display name of an object in the log.
pub fn shown(address: &ObjectAddress) -> String {
    address.name.as_ref().map_or_else(|| format!("@{}", address.id), ToString::to_string)
}

/// The log of all guests of this host.
pub struct GuestLogs {
    memory: HostMemory,
    histories: Mutex<Histories>,
    /// For followers of all classes.
    live: broadcast::Sender<Arc<LogEntry>>,
    /// The places in which entries may be held back.
    held: Mutex<Vec<Weak<HeldEntry>>>,
}

/// An entry that is held back for a moment, because a later event may report it with more detail.
#[derive(Default)]
pub struct HeldEntry(Mutex<Option<LogEntry>>);

impl HeldEntry {
    /// Holds an entry back. The place must be empty.
    pub fn put(&self, entry: LogEntry) {
        *self.0.lock() = Some(entry);
    }

    /// Takes the entry that is held back, if it satisfies the condition.
    pub fn take_if(&self, wanted: impl FnOnce(&LogEntry) -> bool) -> Option<LogEntry> {
        self.0.lock().take_if(|entry| wanted(entry))
    }
}

#[derive(Default)]
struct Histories {
    /// The number of entries added: their order over all classes.
    added: u64,
    /// Bytes of all entries.
    bytes: usize,
    classes: HashMap<String, History>,
}

/// The history of one class.
#[derive(Default)]
struct History {
    entries: VecDeque<(u64, Arc<LogEntry>)>,
    bytes: usize,
    /// The memory charge for `bytes`, and its class. None before the first entry.
    charge: Option<(ClassKey, MemoryCharge)>,
    /// Created when the class is first followed.
    live: Option<broadcast::Sender<Arc<LogEntry>>>,
}

impl GuestLogs {
    /// Creates an empty log, whose entries are charged to this memory budget.
    pub fn new(memory: HostMemory) -> Self {
        let live = broadcast::channel(LOG_HISTORY_ENTRIES).0;
        Self { memory, histories: Mutex::default(), live, held: Mutex::default() }
    }

    /// Adds an entry.
    pub fn add(&self, entry: LogEntry) {
        let entry = Arc::new(entry);
        let mut histories = self.histories.lock();
        histories.add(&entry, &self.memory);
        // Sent under the lock, so that a follower sees each entry once: in its history or live, never in both.
        let _ = self.live.send(entry);
    }

    /// Creates a place in which an entry can be held back.
    pub fn holder(&self) -> Arc<HeldEntry> {
        let holder = Arc::default();
        self.held.lock().push(Arc::downgrade(&holder));
        holder
    }

    /// Adds the entries that were held back for more than a second. Must be called about once a second.
    pub fn sweep(&self, now_ms: u64) {
        let holders: Vec<_> = {
            let mut held = self.held.lock();
            held.retain(|holder| holder.strong_count() > 0);
            held.iter().filter_map(Weak::upgrade).collect()
        };
        let is_late = |entry: &LogEntry| now_ms.saturating_sub(entry.time) > HELD_MAX_MS;
        holders.into_iter().filter_map(|holder| holder.take_if(is_late)).for_each(|entry| self.add(entry));
    }

    /// Returns the history of a class, or of all, oldest first, and a receiver of all later entries. A receiver may
    /// fall behind by `LOG_HISTORY_ENTRIES` before it misses any.
    pub fn follow(&self, class: Option<&str>) -> (Vec<Arc<LogEntry>>, broadcast::Receiver<Arc<LogEntry>>) {
        let mut histories = self.histories.lock();
        histories.classes.retain(|_, history| !history.is_forgotten());
        match class {
            Some(class) => histories.classes.entry(class.to_owned()).or_default().follow(),
            None => (histories.all(), self.live.subscribe()),
        }
    }

    /// Returns the history of a class, or of all, oldest first.
    pub fn remembered(&self, class: Option<&str>) -> Vec<Arc<LogEntry>> {
        let histories = self.histories.lock();
        match class {
            Some(class) => histories.classes.get(class).map(History::entries).unwrap_or_default(),
            None => histories.all(),
        }
    }
}

impl Histories {
    fn add(&mut self, entry: &Arc<LogEntry>, memory: &HostMemory) {
        self.added += 1;
        let (order, size) = (self.added, entry.size());
        // Nearly always present: the name is copied only for a class's first entry.
        if !self.classes.contains_key(&entry.class) {
            self.classes.insert(entry.class.clone(), History::default());
        }
        let history = self.classes.get_mut(&entry.class).expect("it is there or was put there");
        self.bytes -= history.charge(&entry.key, size, memory);
        history.entries.push_back((order, entry.clone()));
        history.bytes += size;
        self.bytes += size;
        if let Some(live) = &history.live {
            let _ = live.send(entry.clone());
        }
        while history.entries.len() > LOG_HISTORY_ENTRIES || history.bytes > LOG_HISTORY_BYTES {
            self.bytes -= history.forget_oldest();
        }
        while self.bytes > LOG_HISTORIES_BYTES
            && let Some(largest) = self.classes.values_mut().max_by_key(|history| history.bytes)
        {
            self.bytes -= largest.forget_oldest();
        }
    }

    fn all(&self) -> Vec<Arc<LogEntry>> {
        let mut all: Vec<_> = self.classes.values().flat_map(|history| &history.entries).collect();
        all.sort_unstable_by_key(|(order, _)| *order);
        all.into_iter().map(|(_, entry)| entry.clone()).collect()
    }
}

impl History {
    fn entries(&self) -> Vec<Arc<LogEntry>> {
        self.entries.iter().map(|(_, entry)| entry.clone()).collect()
    }

    fn follow(&mut self) -> (Vec<Arc<LogEntry>>, broadcast::Receiver<Arc<LogEntry>>) {
        let live = self.live.get_or_insert_with(|| broadcast::channel(LOG_HISTORY_ENTRIES).0);
        let receiver = live.subscribe();
        (self.entries(), receiver)
    }

    /// Charges an entry. If the class may not have more memory, drops older entries for it, as long as there are many.
    /// Returns the bytes of the dropped entries.
    fn charge(&mut self, class: &ClassKey, size: usize, memory: &HostMemory) -> usize {
        if self.charge.as_ref().is_none_or(|(charged, _)| charged != class) {
            // The first entry, or a class that was created again under the same name.
            let mut charge = memory.account(class).none(MemoryUse::Histories);
            charge.grow_anyway(self.bytes as u64);
            self.charge = Some((class.clone(), charge));
        }
        let mut forgotten = 0;
        loop {
            let (_, charge) = self.charge.as_mut().expect("it was just made");
            if charge.grow(size as u64).is_ok() {
                return forgotten;
            }
            if self.bytes + size <= LOG_HISTORY_KEPT || self.entries.is_empty() {
                charge.grow_anyway(size as u64);
                return forgotten;
            }
            forgotten += self.forget_oldest();
        }
    }

    /// Drops the oldest entry and returns its bytes.
    fn forget_oldest(&mut self) -> usize {
        let size = self.entries.pop_front().map_or(0, |(_, entry)| entry.size());
        self.bytes -= size;
        if let Some((_, charge)) = &mut self.charge {
            charge.shrink(size as u64);
        }
        size
    }

    /// Reports whether the history can be dropped without losing anything.
    fn is_forgotten(&self) -> bool {
        self.entries.is_empty() && self.live.as_ref().is_none_or(|live| live.receiver_count() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(class: &str, message: String) -> LogEntry {
        let object = "o".into();
        let (key, level) = (ClassKey::new(class), Level::Info);
        LogEntry { time: 0, class: class.into(), key, object, call: None, level, message, fields: Vec::new() }
    }

    fn logs() -> GuestLogs {
        GuestLogs::new(HostMemory::new(1 << 30))
    }

    #[test]
    fn a_class_that_logs_without_end_pushes_out_nobody_else() {
        let logs = logs();
        logs.add(entry("quiet", "still there".into()));
        let (_, mut quiet) = logs.follow(Some("quiet"));
        for number in 0..3 * LOG_HISTORY_ENTRIES {
            logs.add(entry("noisy", number.to_string()));
        }
        logs.add(entry("quiet", "and live".into()));
        assert_eq!(logs.remembered(Some("quiet"))[0].message, "still there");
        assert_eq!(quiet.try_recv().unwrap().message, "and live", "its followers miss nothing");
        let noisy = logs.remembered(Some("noisy"));
        assert_eq!((noisy.len(), &*noisy[0].message), (LOG_HISTORY_ENTRIES, "2048"));
        let all = logs.follow(None).0;
        assert_eq!((&*all[0].message, &*all.last().unwrap().message), ("still there", "and live"));
    }

    #[test]
    fn histories_are_bounded_in_bytes_each_and_together() {
        let logs = logs();
        let long = || "x".repeat(16 * 1024);
        logs.add(entry("small", "kept".into()));
        let classes = 2 * LOG_HISTORIES_BYTES / LOG_HISTORY_BYTES;
        for class in 0..classes {
            for _ in 0..LOG_HISTORY_BYTES / long().len() + 8 {
                logs.add(entry(&format!("c{class}"), long()));
            }
            let histories = logs.histories.lock();
            assert!(histories.classes.values().all(|history| history.bytes <= LOG_HISTORY_BYTES));
            assert!(histories.bytes <= LOG_HISTORIES_BYTES);
            assert_eq!(histories.bytes, histories.classes.values().map(|history| history.bytes).sum::<usize>());
        }
        assert_eq!(logs.remembered(Some("small")).len(), 1, "who has little keeps it");
        assert!((0..classes).all(|class| !logs.remembered(Some(&format!("c{class}"))).is_empty()));
    }

    #[test]
    fn what_is_held_back_for_long_is_told() {
        let logs = logs();
        let holder = logs.holder();
        holder.put(entry("c", "held".into()));
        logs.sweep(HELD_MAX_MS);
        assert!(logs.remembered(None).is_empty());
        logs.sweep(HELD_MAX_MS + 1);
        assert_eq!(logs.remembered(None)[0].message, "held");
        drop(holder);
        logs.sweep(0);
        assert!(logs.held.lock().is_empty());
    }

    #[test]
    fn what_was_followed_and_is_no_more_is_forgotten() {
        let logs = logs();
        let followed = logs.follow(Some("none"));
        drop(logs.follow(Some("other")));
        drop(logs.follow(None));
        assert_eq!(logs.histories.lock().classes.len(), 1);
        drop(followed);
        drop(logs.follow(None));
        assert!(logs.histories.lock().classes.is_empty());
    }

    #[test]
    fn histories_are_charged_and_short_ones_are_always_kept() {
        let memory = HostMemory::new(1 << 20);
        let logs = GuestLogs::new(memory.clone());
        let account = memory.account(&ClassKey::new("c"));
        let long = "x".repeat(16 * 1024);
        for _ in 0..200 {
            logs.add(entry("c", long.clone()));
        }
        assert_eq!(memory.used(), logs.histories.lock().bytes as u64);
        assert_eq!((memory.used_for(MemoryUse::Histories), account.used()), (memory.used(), memory.used()));
        assert!((700_000..900_000).contains(&memory.used()), "four fifths of it: {}", memory.used());
        let others = memory.account(&ClassKey::new("other")).take(MemoryUse::Sql, 150_000).unwrap();
        logs.add(entry("c", "the last words".into()));
        let remembered = logs.remembered(Some("c"));
        assert_eq!(remembered.last().unwrap().message, "the last words");
        drop(others);
        // Whatever its databases take, its last entries are kept.
        let poor = GuestLogs::new(HostMemory::new(0));
        for number in 0..100 {
            poor.add(entry("c", format!("{number}{long}")));
        }
        let kept = poor.remembered(Some("c"));
        assert!(kept.len() >= 3 && kept.last().unwrap().message.starts_with("99"), "{}", kept.len());
        assert!(poor.memory.used() <= LOG_HISTORY_KEPT as u64);
        // A class that replaces another under its name.
        let again = LogEntry { key: ClassKey::new("again"), ..entry("c", "again".into()) };
        logs.add(again);
        assert_eq!((account.used(), memory.used()), (0, logs.histories.lock().bytes as u64));
        drop(logs);
        assert_eq!(memory.used(), 0);
    }
}
