//! Room: the bytes that may still be submitted, limited by the log's capacity, by memory in flight and by the disk's
//! space.
//!
//! A turn reserves before it is applied, so that lack of space is an error of the turn and never a failure of the
//! writer. Bytes pass three states: *outstanding* (reserved, or submitted and not durable), *live* (in a segment that
//! is still needed), and given back. Invariants: outstanding bytes always fit into allocated space of the disk; no
//! function here waits.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The most bytes that a record takes beyond its own: the headers of a batch and of a group that contain nothing else.
const OVERHEAD: u64 = 128;

/// The reasons why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The capacity is reached, or too much is in flight. Passes when the disk catches up or the log is trimmed.
    #[error("the commit log is busy")]
    Wait,
    /// The disk is full, or this is more than the log can ever hold. The turn must fail.
    #[error("the commit log has no room: {0}")]
    Full(String),
}

/// Reserved bytes, which may be submitted. Dropping it gives back what was not used.
pub struct Reservation {
    room: Arc<Room>,
    bytes: u64,
}

impl Reservation {
    /// Takes the bytes of a record off the reservation. Returns how many of them were reserved.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let covered = self.bytes.min(bytes + OVERHEAD);
        self.bytes -= covered;
        covered
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.give_back(self.bytes);
        }
    }
}

pub(super) struct Room {
    capacity: u64,
    in_flight: u64,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    outstanding: u64,
    live: u64,
    /// Bytes that are allocated on the disk and not written yet.
    allocated: u64,
    /// Bytes that a failed reservation found not to be allocated.
    wanted: u64,
    /// Why no more can be allocated.
    full: Option<String>,
    /// A reservation returned [`NoRoom::Wait`] since the last change.
    waiting: bool,
}

/// A failed reservation, and what it needs.
pub(super) struct Short {
    pub answer: NoRoom,
    /// Space must be allocated, or its allocation retried.
    pub allocate: bool,
}

impl Room {
    pub fn new(capacity: u64, in_flight: u64) -> Arc<Self> {
        Arc::new(Self { capacity, in_flight, state: Mutex::default(), changed: watch::Sender::new(()) })
    }

    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, Short> {
        let need = bytes + OVERHEAD;
        let largest = self.capacity / 4 * 3;
        if need > largest {
            let why = format!("{bytes} bytes in one turn, and the log's capacity leaves {largest}");
            return Err(Short { answer: NoRoom::Full(why), allocate: false });
        }
        let mut state = self.state.lock();
        // One reservation may go over what is in flight, so that a large one is never starved by small ones.
        if state.outstanding >= self.in_flight || state.live + state.outstanding + need > self.capacity {
            state.waiting = true;
            return Err(Short { answer: NoRoom::Wait, allocate: false });
        }
        if state.outstanding + need > state.allocated {
            state.waiting = true;
            state.wanted = state.wanted.max(state.outstanding + need);
            let answer = state.full.clone().map_or(NoRoom::Wait, NoRoom::Full);
            return Err(Short { answer, allocate: true });
        }
        state.outstanding += need;
        Ok(Reservation { room: self.clone(), bytes: need })
    }

    /// Resolves at the next change after this call.
    pub fn changed(&self) -> BoxFuture<'static, ()> {
        let mut changed = self.changed.subscribe();
        Box::pin(async move {
            if changed.changed().await.is_err() {
                std::future::pending().await
            }
        })
    }

    fn give_back(&self, bytes: u64) {
        self.change(|state| state.outstanding -= bytes);
    }

    /// Notes that groups are durable: the bytes that they covered are no longer outstanding; this much is live and
    /// allocated now.
    pub fn written(&self, covered: u64, live: u64, allocated: u64) {
        self.change(|state| {
            state.outstanding -= covered;
            (state.live, state.allocated) = (live, allocated);
        });
    }

    /// Takes the number of bytes that should be allocated for those that wait.
    pub fn wanted(&self) -> u64 {
        let mut state = self.state.lock();
        let missing = state.wanted.saturating_sub(state.allocated);
        state.wanted = 0;
        missing
    }

    /// Sets whether the disk has refused to allocate more, and why.
    pub fn set_full(&self, why: Option<String>) {
        self.change(|state| state.full = why);
    }

    /// Returns live and outstanding bytes.
    pub fn usage(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.live, state.outstanding)
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.changed.send_replace(());
        }
    }
}
