//! Waiting for a condition. The only place in the tests that reads a clock or pauses.

use std::time::{Duration, Instant};

/// The deadline of every condition: a machine with twenty times more work than it can do meets it, and only a
/// failing test waits for it. No test depends on being faster.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The deadline of a build with another language's toolchain, the download of the toolchain included.
pub const BUILD: Duration = Duration::from_secs(1_800);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` returns something, and returns it.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Does [`eventually`] with another deadline.
#[expect(clippy::disallowed_methods, reason = "the processes under test have the system's clock")]
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(PAUSE);
    }
}
