//! Waiting for a condition. The only place in the tests that looks at a clock or pauses.

use std::time::{Duration, Instant};

/// The deadline of everything that must happen: a machine that has twenty times more to do than it can meets it, and only a
/// test that fails waits for it. No test depends on being quicker.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The deadline of a build with another language's toolchain, the download of the toolchain included.
pub const BUILD: Duration = Duration::from_secs(1_800);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and returns it.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// [`eventually`], with the deadline of something else.
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
