//! Time, as far as a load needs it: it has a rate, ends when it is told to, and is measured. What the suite asserts waits for
//! conditions, like every other test.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Tells threads to end; their pauses end at once.
#[derive(Default)]
pub struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Tells everybody.
    pub fn tell(&self) {
        *self.told.lock() = true;
        self.changed.notify_all();
    }

    /// Whether it was told.
    pub fn told(&self) -> bool {
        *self.told.lock()
    }

    /// Waits for so long, or until told. Answers whether it was told.
    pub fn pause(&self, time: Duration) -> bool {
        let mut told = self.told.lock();
        if !*told {
            self.changed.wait_for(&mut told, time);
        }
        *told
    }
}

/// Tells `stop` when it goes out of scope, also by a panic: the scope would wait for its threads forever.
pub struct StopAtEnd<'a>(pub &'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "latencies are measured with the system's clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets so much time pass.
pub fn pass(time: Duration) {
    Stop::default().pause(time);
}
