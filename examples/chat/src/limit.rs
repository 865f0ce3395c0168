//! The rate limit of messages: a few lines at once, then one per second.
//!
//! It is kept in memory only: a bucket is full again before an idle instance is dropped.

use std::collections::HashMap;

/// Lines that a person may send at once after a pause.
const BURST: u64 = 8;
/// Milliseconds until one more is allowed.
const REFILL: u64 = 1000;

/// When each person's bucket will be full again, in milliseconds since the Unix epoch; those whose bucket is full are
/// not there.
#[derive(Default)]
pub struct Limits(HashMap<String, u64>);

impl Limits {
    /// Takes one line from a person's bucket, or returns the milliseconds until there is one.
    pub fn take(&mut self, name: &str, now: u64) -> Result<(), u64> {
        self.0.retain(|_, full| *full > now);
        let full = self.0.get(name).copied().unwrap_or(now) + REFILL;
        match full.saturating_sub(now + BURST * REFILL) {
            0 => {
                self.0.insert(name.into(), full);
                Ok(())
            }
            wait => Err(wait),
        }
    }
}
