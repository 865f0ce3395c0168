//! Waiting for a condition. The only place in the tests that looks at a clock or pauses.

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen soon, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and returns it.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// [`eventually`], with a deadline of one's own.
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
