//! The clock of a load: a load has a rate, ends when it is stopped, and is measured. Assertions wait for
//! conditions, as in every other test.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Stops threads; their pauses end at once.
#[derive(Default)]
pub struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Stops all threads.
    pub fn tell(&self) {
        *self.told.lock() = true;
        self.changed.notify_all();
    }

    /// Returns whether it is stopped.
    pub fn told(&self) -> bool {
        *self.told.lock()
    }

    /// Waits for this long, or until it is stopped. Returns whether it is stopped.
    pub fn pause(&self, time: Duration) -> bool {
        let mut told = self.told.lock();
        if !*told {
            self.changed.wait_for(&mut told, time);
        }
        *told
    }
}

/// Stops `stop` when it goes out of scope, also by a panic: otherwise the scope would wait for its threads without end.
pub struct StopAtEnd<'a>(pub &'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "latencies are measured with the system's clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for this long.
pub fn pass(time: Duration) {
    Stop::default().pause(time);
}
