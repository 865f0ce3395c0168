//! An object's alarm: when it is due, and how often it was tried.
//!
//! Times are milliseconds since the Unix epoch. The delays are those of `docs/ARCHITECTURE.md`, Alarms.

use std::time::Duration;

use super::Env;
use super::turn_error::TurnError;

/// Attempts after which an alarm is given up.
pub const ATTEMPTS_MAX: u32 = 7;
/// The latest time that an alarm can be set to: what every language's numbers can hold.
pub const TIME_MAX: u64 = (1 << 53) - 1;

/// A pending alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// What it was set to.
    pub due_ms: u64,
    /// How many attempts have failed.
    pub attempt: u32,
    /// When it is tried next: `due_ms`, or later after a failure.
    pub next_ms: u64,
}

impl Alarm {
    /// One that was just set.
    pub fn at(due_ms: u64) -> Self {
        Self { due_ms, attempt: 0, next_ms: due_ms }
    }

    /// Whether the host could have stored this one: for what comes from outside.
    pub fn is_possible(&self) -> bool {
        (1..=TIME_MAX).contains(&self.due_ms)
            && self.attempt < ATTEMPTS_MAX
            && (self.due_ms..=TIME_MAX).contains(&self.next_ms)
    }

    /// What remains after a failed attempt that ended at `now_ms`: the same alarm after 2, 4, … 64 s, each up to a quarter
    /// longer; none after the last attempt.
    pub fn after_failure(self, now_ms: u64, env: &Env) -> Option<Self> {
        let attempt = self.attempt + 1;
        let delay_ms = 1000u64 << attempt.min(ATTEMPTS_MAX);
        let jitter_ms = u64::from_le_bytes(env.random()) % (delay_ms / 4 + 1);
        let next_ms = now_ms.saturating_add(delay_ms + jitter_ms);
        (attempt < ATTEMPTS_MAX).then_some(Self { attempt, next_ms, ..self })
    }

    /// How long the host waits before it tries again what failed without the class being at fault.
    pub const HOST_RETRY: Duration = Duration::from_secs(1);
    /// The same for what only a person can correct: an object that is damaged, a class that is outdated.
    pub const DAMAGED_RETRY: Duration = Duration::from_secs(60);
}

/// Whether a failed alarm turn is the class's doing, and so counts as an attempt. The host's failures do not, and neither does a version
/// without a handler: the alarm waits for one that has it.
pub fn counts_as_attempt(error: &TurnError) -> bool {
    use TurnError::{
        Abandoned, ClassOutdated, ClassUnavailable, Damaged, Deleted, Host, HostMemory, NoCapacity, NoHandler,
        Overloaded, Stopping, Storage,
    };
    !matches!(
        error,
        Abandoned
            | ClassOutdated(_)
            | ClassUnavailable(_)
            | Damaged(_)
            | Deleted
            | Host(_)
            | HostMemory
            | NoCapacity
            | NoHandler(_)
            | Overloaded
            | Stopping
            | Storage(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_the_seventh_failure_is_the_last() {
        let (env, _) = Env::manual(1);
        let mut alarm = Alarm::at(5);
        for attempt in 1..ATTEMPTS_MAX {
            let now = 1_000_000 * u64::from(attempt);
            alarm = alarm.after_failure(now, &env).unwrap();
            let (delay, base) = (alarm.next_ms - now, 1000 << attempt);
            assert!((base..=base + base / 4).contains(&delay), "{attempt}: {delay}");
            assert_eq!((alarm.due_ms, alarm.attempt), (5, attempt));
        }
        assert_eq!(alarm.after_failure(0, &env), None);
    }
}
