//! The state of a call of one object to another, as both sides see it: whether its turn has begun.
//!
//! What must stay true: a call that its caller has withdrawn does not begin, and one that has begun cannot be
//! withdrawn, so a call that is reported as not run has not run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use super::waits::{Cycle, Wait};

/// It waits in the mailbox, or for an instance. → `BEGUN`, `WITHDRAWN`
const QUEUED: u8 = 0;
/// Its turn has begun. → `DEFERRED`
const BEGUN: u8 = 1;
/// Its turn is over, and its answer comes later.
const DEFERRED: u8 = 2;
/// Its caller has stopped waiting before its turn began.
const WITHDRAWN: u8 = 3;

/// The state of one call.
pub struct Ticket {
    state: AtomicU8,
    wait: Mutex<CallerWait>,
}

/// The caller's wait for the answer.
enum CallerWait {
    /// It does other things. → `Waits`, `Over`
    NotYet,
    /// It waits. → `NotYet`, `Over`
    Waits { _edge: Wait },
    /// The answer is given, or is not waited for any more.
    Over,
}

impl Ticket {
    /// Creates the ticket of a call. Its caller waits for it from the beginning if there is a wait.
    pub fn new(wait: Option<Wait>) -> Arc<Self> {
        let wait = wait.map_or(CallerWait::NotYet, |edge| CallerWait::Waits { _edge: edge });
        Arc::new(Self { state: AtomicU8::new(QUEUED), wait: Mutex::new(wait) })
    }

    /// Notes that the caller waits from now on, unless the answer is given already.
    pub fn begin_wait(&self, begin: impl FnOnce() -> Result<Wait, Cycle>) -> Result<(), Cycle> {
        // Held while the edge is added, so that an answer which is sent meanwhile finds it.
        let mut wait = self.wait.lock();
        if let CallerWait::NotYet = *wait {
            *wait = CallerWait::Waits { _edge: begin()? };
        }
        Ok(())
    }

    /// Notes that the caller does other things again.
    pub fn pause_wait(&self) {
        let mut wait = self.wait.lock();
        let paused = match &*wait {
            CallerWait::Waits { .. } => std::mem::replace(&mut *wait, CallerWait::NotYet),
            CallerWait::NotYet | CallerWait::Over => return,
        };
        drop(wait);
        drop(paused);
    }

    /// Begins the turn. Returns false if the call was withdrawn.
    pub(super) fn begin(&self) -> bool {
        self.change(QUEUED, BEGUN)
    }

    /// Notes that the answer comes later.
    pub(super) fn defer(&self) {
        self.change(BEGUN, DEFERRED);
    }

    /// Withdraws the call. Returns false if its turn has begun.
    pub fn withdraw(&self) -> bool {
        self.change(QUEUED, WITHDRAWN) || self.is_withdrawn()
    }

    /// Returns whether the call was withdrawn.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.state.load(Ordering::SeqCst) == WITHDRAWN
    }

    /// Returns whether its turn has begun.
    pub fn has_begun(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), BEGUN | DEFERRED)
    }

    /// Returns whether its answer was deferred.
    pub fn is_deferred(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DEFERRED
    }

    /// Ends the caller's wait: the answer is given, or is not waited for.
    pub fn end_wait(&self) {
        let over = std::mem::replace(&mut *self.wait.lock(), CallerWait::Over);
        // Outside of the lock.
        drop(over);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_or_is_withdrawn_and_never_both() {
        let ticket = Ticket::new(None);
        assert!(ticket.withdraw() && ticket.withdraw() && !ticket.begin() && !ticket.has_begun());
        let ticket = Ticket::new(None);
        assert!(ticket.begin() && !ticket.withdraw() && ticket.has_begun() && !ticket.is_deferred());
        ticket.defer();
        assert!(ticket.has_begun() && ticket.is_deferred() && !ticket.is_withdrawn());
    }
}
