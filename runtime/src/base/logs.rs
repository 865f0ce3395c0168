//! What guests say: a bounded history with live followers.
//!
//! Log entries are for the people who run a class. They are not part of a turn: they are kept when it fails, and they do
//! not wait for the output gate. A follower that reads too slowly misses entries and is told how many.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{Env, ObjectAddress};

/// Entries that are remembered, and how far a follower may fall behind.
pub const HISTORY: usize = 1_024;

/// How much an entry matters.
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
    /// When, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The class.
    pub class: String,
    /// The object: its name, or `@` and its id.
    pub object: String,
    /// How much it matters.
    pub level: Level,
    /// What was said.
    pub message: String,
    /// Named details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

impl LogEntry {
    /// What the host says of an object at this moment.
    pub fn new(env: &Env, address: &ObjectAddress, level: Level, message: String) -> Self {
        let (time, class, object) = (env.wall_ms(), address.class.to_string(), shown(address));
        Self { time, class, object, level, message, fields: Vec::new() }
    }
}

/// How an object is called in the log.
pub fn shown(address: &ObjectAddress) -> String {
    address.name.as_ref().map_or_else(|| format!("@{}", address.id), ToString::to_string)
}

/// The log of all guests of this host.
pub struct GuestLogs {
    history: Mutex<VecDeque<LogEntry>>,
    live: broadcast::Sender<LogEntry>,
}

impl Default for GuestLogs {
    fn default() -> Self {
        Self { history: Mutex::new(VecDeque::with_capacity(HISTORY)), live: broadcast::channel(HISTORY).0 }
    }
}

impl GuestLogs {
    /// Adds an entry.
    pub fn add(&self, entry: LogEntry) {
        let mut history = self.history.lock();
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(entry.clone());
        // Sent under the lock, so that a follower sees each entry once: in its history or live, never in both.
        let _ = self.live.send(entry);
    }

    /// The remembered entries, oldest first, and a receiver of all that come after them.
    pub fn follow(&self) -> (Vec<LogEntry>, broadcast::Receiver<LogEntry>) {
        let history = self.history.lock();
        (history.iter().cloned().collect(), self.live.subscribe())
    }
}
