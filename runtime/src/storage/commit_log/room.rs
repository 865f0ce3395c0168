//! Room: how many bytes may still be submitted, under the log's capacity, the memory it may hold and the disk's space.
//!
//! A turn reserves before it is applied, so that lack of space is an answer and never an accident of the writer. Bytes
//! go through three states: *outstanding* (reserved, or submitted and not durable), *live* (in a segment that is still
//! needed), and given back. What must stay true: outstanding bytes always fit into space that the disk has already
//! given ([`Room::allocated`]); nobody here waits.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a record may cost beyond its own bytes: the headers of a batch and of a group that hold nothing else.
const OVERHEAD: u64 = 128;

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Over the capacity, or too much in flight. It passes when the disk catches up or the log is trimmed.
    #[error("the commit log is busy")]
    Wait,
    /// The disk is full, or this is more than the log will ever take. The turn must fail.
    #[error("the commit log has no room: {0}")]
    Full(String),
}

/// Bytes that may be submitted. What is not used is given back when it is dropped.
pub struct Reservation {
    room: Arc<Room>,
    bytes: u64,
}

impl Reservation {
    /// Cuts off what a record takes. Answers how much of it was covered.
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
    /// Bytes that the disk has given and nobody has written yet.
    allocated: u64,
    /// Bytes that somebody found not to be allocated.
    wanted: u64,
    /// Why the disk gives no more.
    full: Option<String>,
    /// Somebody was told to wait since the last change.
    waiting: bool,
}

/// What a failed reservation asks of the log.
pub(super) struct Short {
    pub answer: NoRoom,
    /// Space must be allocated, or tried again.
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

    /// What groups that are durable covered is no longer outstanding; this much is live and allocated now.
    pub fn written(&self, covered: u64, live: u64, allocated: u64) {
        self.change(|state| {
            state.outstanding -= covered;
            (state.live, state.allocated) = (live, allocated);
        });
    }

    /// Bytes that should be allocated beyond what is, for those who wait; asking once answers once.
    pub fn wanted(&self) -> u64 {
        let mut state = self.state.lock();
        let missing = state.wanted.saturating_sub(state.allocated);
        state.wanted = 0;
        missing
    }

    /// Whether the disk has refused to give more, and why.
    pub fn set_full(&self, why: Option<String>) {
        self.change(|state| state.full = why);
    }

    /// (live, outstanding) in bytes.
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
