//! Bounds the memory of results while they are copied out of guests.
//!
//! A result is charged to its class once it is there (`response`). While it is copied its size is not known yet, and
//! each guest thread may be copying one: with four threads for each core, hundreds of megabytes. So a call of an
//! instance with a large memory takes room for its result before that is copied, until guest code or the host runs
//! again.
//!
//! The thread waits for room. What must stay true: a thread that holds room only copies memory, which takes
//! milliseconds; it runs no guest code and waits for nothing.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Instances with no more memory than this, in bytes, take no room: their results are small.
const SMALL: u64 = 4 << 20;

/// The room of one host. Cheap to clone.
#[derive(Clone)]
pub(super) struct CopyRoom(Arc<Shared>);

struct Shared {
    free: Mutex<u64>,
    freed: Condvar,
    /// The largest result, in bytes.
    largest: u64,
}

/// The room that one instance takes.
pub(super) struct Copies {
    room: CopyRoom,
    taken: u64,
    in_host_call: bool,
}

impl CopyRoom {
    /// Creates room for `at_once` results of the largest size, in bytes.
    pub(super) fn new(at_once: usize, largest: u64) -> Self {
        let free = Mutex::new(largest.saturating_mul(at_once as u64));
        Self(Arc::new(Shared { free, freed: Condvar::new(), largest }))
    }

    /// Returns the copies of an instance.
    pub(super) fn of_instance(&self) -> Copies {
        Copies { room: self.clone(), taken: 0, in_host_call: false }
    }

    fn take(&self, bytes: u64) {
        let mut free = self.0.free.lock();
        while *free < bytes {
            self.0.freed.wait(&mut free);
        }
        *free -= bytes;
    }

    fn give_back(&self, bytes: u64) {
        *self.0.free.lock() += bytes;
        self.0.freed.notify_all();
    }
}

impl Copies {
    /// Takes room if a result may be copied next: the code of an instance with `memory` bytes of memory has returned.
    pub(super) fn returned(&mut self, memory: u64) {
        if memory > SMALL && !self.in_host_call && self.taken == 0 {
            self.taken = memory.min(self.room.0.largest);
            self.room.take(self.taken);
        }
    }

    /// Gives the room back: guest code runs again, or the result is there.
    pub(super) fn end(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.room.give_back(taken);
        }
    }

    /// Notes the beginning and the end of a host call. What the guest's allocator returns meanwhile is no result.
    pub(super) fn in_host_call(&mut self, begins: bool) {
        self.in_host_call = begins;
        self.end();
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn no_more_is_copied_at_once_than_there_is_room_for() {
        let room = CopyRoom::new(2, 10 << 20);
        let (mut one, mut two) = (room.of_instance(), room.of_instance());
        one.returned(1 << 30);
        two.returned(10 << 20);
        two.returned(10 << 20);
        assert_eq!(*room.0.free.lock(), 0);
        // A small instance does not wait, nor does the allocator of a guest in a host call.
        room.of_instance().returned(SMALL);
        let mut calls = room.of_instance();
        calls.in_host_call(true);
        calls.returned(1 << 30);
        calls.in_host_call(false);
        let (took, is_taken) = mpsc::channel();
        std::thread::scope(|scope| {
            let room = &room;
            scope.spawn(move || {
                let mut three = room.of_instance();
                three.returned(6 << 20);
                took.send(()).unwrap();
            });
            assert!(is_taken.try_recv().is_err());
            one.end();
            is_taken.recv().unwrap();
        });
        drop(two);
        assert_eq!(*room.0.free.lock(), 20 << 20);
    }
}
