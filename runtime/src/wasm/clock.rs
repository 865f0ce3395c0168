//! The clock of a turn: what a guest sees of time.
//!
//! What must stay true: the clock stands still while guest code runs, so no guest can time the host.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Env;

/// The time that a guest sees.
pub(super) struct TurnClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl TurnClock {
    /// Creates a clock that shows the present.
    pub(super) fn new(env: &Env) -> Self {
        let clock = Self { wall: AtomicU64::new(0), monotonic: AtomicU64::new(0) };
        clock.advance(env);
        clock
    }

    /// Moves the clock to the present, in whole milliseconds: at the start of a turn and after a wait, never while
    /// guest code runs.
    pub(super) fn advance(&self, env: &Env) {
        self.wall.store(env.wall_ms(), Ordering::Relaxed);
        self.monotonic.store(env.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns milliseconds since the Unix epoch.
    pub(super) fn wall_ms(&self) -> u64 {
        self.wall.load(Ordering::Relaxed)
    }

    /// Returns milliseconds since the process began.
    pub(super) fn monotonic_ms(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }
}
