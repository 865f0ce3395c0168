//! The state of an object's alarm: its due time and its failed attempts.
//!
//! Times are milliseconds since the Unix epoch. `docs/ARCHITECTURE.md`, Alarms, defines the delays.

use std::time::Duration;

use super::Env;
use super::turn_error::TurnError;

/// Failed attempts after which the host discards the alarm.
pub const ATTEMPTS_MAX: u32 = 7;
/// The latest time that an alarm can be set to: the largest integer that the numbers of every guest language hold
/// exactly.
pub const TIME_MAX: u64 = (1 << 53) - 1;

/// A pending alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The time that the alarm was set to.
    pub due_ms: u64,
    /// The number of failed attempts.
    pub attempt: u32,
    /// The time of the next attempt: `due_ms`, or later after a failure.
    pub next_ms: u64,
}

impl Alarm {
    /// Creates an alarm that has not been attempted.
    pub fn at(due_ms: u64) -> Self {
        Self { due_ms, attempt: 0, next_ms: due_ms }
    }

    /// Reports whether the host could have stored this alarm. Validates values that come from outside.
    pub fn is_possible(&self) -> bool {
        (1..=TIME_MAX).contains(&self.due_ms)
            && self.attempt < ATTEMPTS_MAX
            && (self.due_ms..=TIME_MAX).contains(&self.next_ms)
    }

    /// Returns the alarm after a failed attempt that ended at `now_ms`: the same alarm after 2, 4, … 64 s, each delay
    /// up to a quarter longer; none after the last attempt.
    pub fn after_failure(self, now_ms: u64, env: &Env) -> Option<Self> {
        let attempt = self.attempt + 1;
        let delay_ms = 1000u64 << attempt.min(ATTEMPTS_MAX);
        let jitter_ms = u64::from_le_bytes(env.random()) % (delay_ms / 4 + 1);
        let next_ms = now_ms.saturating_add(delay_ms + jitter_ms);
        (attempt < ATTEMPTS_MAX).then_some(Self { attempt, next_ms, ..self })
    }

    /// Returns the alarm after an attempt that has failed with this error; none after the last attempt, and if the
    /// handler asks for none.
    pub fn after_error(self, error: &TurnError, now_ms: u64, env: &Env) -> Option<Self> {
        if gives_up(error) { None } else { self.after_failure(now_ms, env) }
    }

    /// The delay before the host retries an alarm that failed through no fault of the class.
    pub const HOST_RETRY: Duration = Duration::from_secs(1);
    /// The same delay for failures that need an operator: a damaged object, an outdated class.
    pub const DAMAGED_RETRY: Duration = Duration::from_secs(60);
}

/// An alarm that was taken to be run. Its serial number says which of the object's alarms it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenAlarm {
    /// The serial number.
    pub serial: u64,
    /// The alarm.
    pub alarm: Alarm,
    /// Whether it is the running one: its handler was suspended, and failed or ended with its instance.
    pub again: bool,
}

/// Reports whether a handler has failed and asks not to be tried again.
pub fn gives_up(error: &TurnError) -> bool {
    matches!(error, TurnError::Guest(failure) if failure.gives_up())
}

/// Reports whether a failed alarm turn is the fault of the class and so counts as an attempt. Failures of the host do
/// not count, nor does a version without a handler: the alarm waits for a version that has one.
pub fn counts_as_attempt(error: &TurnError) -> bool {
    use TurnError::{
        Abandoned, ClassOutdated, ClassUnavailable, Damaged, Deleted, Host, HostMemory, InstanceDropped, NoCapacity,
        NoHandler, NoRoomToGrow, Overloaded, Stopping, Storage,
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
            | InstanceDropped
            | NoCapacity
            | NoRoomToGrow
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
